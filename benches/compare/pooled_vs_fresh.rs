//! This bench sends requests one after another over links with round-trip times, on one kept connection and on a new
//! connection for each request, for handclasp and for reqwest.
//!
//! Run this bench by
//! `cargo bench --manifest-path benches/compare/Cargo.toml --bench pooled_vs_fresh [-- --full] [-- --svg FILE]`.
//! The bench takes about three minutes, and about half an hour with `--full`. On Linux, the bench makes a network
//! namespace and the links in it. Elsewhere, the requests stay on this machine. The bench `pooled_vs_fresh` of the crate
//! measures handclasp alone.

#[path = "../support/link.rs"]
mod link;
#[path = "../support/round_trips.rs"]
mod round_trips;
#[path = "../../examples/support/svg.rs"]
mod svg;

use std::net::Ipv4Addr;

use http::Uri;
use link::{HERE, Link, NEEDS};
use round_trips::{Contender, Extent, Get, Plan};
use support::clients::{Client, Kind, Settings};
use support::runtime::runtime;
use support::server::Server;
use support::{Arguments, BoxError};

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    let has = |wanted: &str| arguments.words.iter().any(|word| word == wanted);
    let extent = match () {
        () if arguments.is_quick => Extent::Quick,
        () if has("--full") => Extent::Full,
        () => Extent::Usual,
    };
    // This step comes before the runtime and its threads, because the program runs again in a namespace.
    let link = Link::enter();
    let address = match &link {
        Ok(_) => HERE,
        Err(reason) => {
            println!("The requests stay on this machine, because {reason}.\nA link needs {NEEDS}.");
            Ipv4Addr::LOCALHOST
        }
    };
    let running = [Server::start(address, false, 1)?, Server::start(address, true, 1)?];
    let root = running[1].root.clone();
    let contenders = [Kind::Handclasp, Kind::Reqwest].map(|kind| {
        let root = root.clone();
        let client = move |keeps| get(kind, keeps, &root);
        Contender { name: kind.name(), client: Box::new(client) }
    });
    let servers = running.iter().map(|server| (server.scheme(), server.address)).collect();
    let plan = Plan { link: link.ok(), servers, extent };
    let rows = runtime(1).block_on(round_trips::measure(&plan, &contenders));
    let mut words = arguments.words.iter();
    if words.any(|word| word == "--svg") {
        let file = words.next().ok_or("--svg needs the name of a file")?;
        std::fs::write(file, round_trips::chart(&rows))?;
        println!("\nThe chart is in {file}.");
    }
    round_trips::report(&rows);
    Ok(())
}

/// Returns a way to send requests by a new client, which keeps idle connections if `keeps` is true.
fn get(kind: Kind, keeps: bool, root: &str) -> Get {
    let mut settings = Settings::new(root, HERE.into());
    settings.keeps = keeps;
    let client = Client::new(kind, &settings).expect("the settings are valid");
    Box::new(move |uri: Uri| {
        let client = client.clone();
        Box::pin(async move {
            let size = uri.path()[1..].parse().expect("the path is a size");
            let response = client.get(&uri).await.expect("the server answers");
            response.read(size).await.expect("the content comes");
            size
        })
    })
}
