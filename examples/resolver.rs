//! An example of two resolvers: one that reads a table of services, and one that reads SRV records, whose ports differ
//! from the ports of the URLs. The example needs no network.
//!
//! Run the example by `cargo run --release --example resolver`.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use handclasp::{Answer, BoxError, Client, Family, Resolve};

#[path = "support/server.rs"]
mod server;
#[path = "support/terminal.rs"]
mod terminal;

use terminal::say;

/// Future of a lookup, as the trait [`Resolve`] has it.
type Lookup = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// A resolver that reads a table. Port 0 of an address stands for the port of the URL.
struct Table(HashMap<&'static str, Vec<SocketAddr>>);

impl Resolve for Table {
    fn resolve(&self, name: &str, _family: Family) -> Lookup {
        // An answer without addresses means that there is no such host. A failure would be an error instead.
        let addresses = self.0.get(name.trim_end_matches('.')).cloned().unwrap_or_default();
        Box::pin(ready(Ok(Answer::new(addresses))))
    }
}

/// One SRV record (RFC 2782): a server of a service.
#[derive(Clone, Copy)]
struct Srv {
    /// Servers of the lowest number are tried first.
    priority: u16,
    /// Among servers of the same priority, a server of a higher weight is chosen more often.
    weight: u32,
    port: u16,
    target: &'static str,
    ttl: Duration,
}

/// A resolver that looks up the SRV records of a service, and then the addresses of the servers. The records are a table
/// here. A real resolver would ask a DNS server or a directory such as Consul for both.
struct Services {
    records: HashMap<&'static str, Vec<Srv>>,
    hosts: Table,
}

impl Resolve for Services {
    fn resolve(&self, name: &str, family: Family) -> Lookup {
        let service = format!("_http._tcp.{}", name.trim_end_matches('.'));
        let Some(records) = self.records.get(&*service) else {
            // A name without SRV records is an ordinary host.
            return self.hosts.resolve(name, family);
        };
        let valid_for = records.iter().map(|record| record.ttl).min().unwrap_or_default();
        let servers: Vec<_> = in_order(records.clone())
            .into_iter()
            .map(|record| (record.port, self.hosts.resolve(record.target, family)))
            .collect();
        Box::pin(async move {
            let mut addresses = Vec::new();
            for (port, lookup) in servers {
                let found = lookup.await?.addresses;
                addresses.extend(found.into_iter().map(|address| SocketAddr::new(address.ip(), port)));
            }
            Ok(Answer::new(addresses).valid_for(valid_for))
        })
    }
}

/// Returns the records in the order in which their servers are tried: by priority, and among equal priorities by a draw
/// in which each record counts as often as its weight says (RFC 2782, "Usage rules").
fn in_order(mut records: Vec<Srv>) -> Vec<Srv> {
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.iter().map(|record| record.priority).min() {
        let weights = records.iter().filter(|record| record.priority == priority).map(|record| record.weight);
        let mut draw = random() % (weights.sum::<u32>() + 1);
        let chosen = records.iter().position(|record| {
            record.priority == priority && {
                let is_chosen = draw <= record.weight;
                draw = draw.saturating_sub(record.weight);
                is_chosen
            }
        });
        ordered.extend(chosen.map(|at| records.remove(at)));
    }
    ordered
}

/// Returns a random number. The standard library seeds each `RandomState` anew.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) >> 32) as u32
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    terminal::status(run().await)
}

async fn run() -> Result<(), BoxError> {
    if !terminal::is_to_run(HELP)? {
        return Ok(());
    }
    let server = server::Server::start(None)?;
    let port = server.address().port();
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));

    say!("A table of services:\n");
    let table = Table(HashMap::from([("orders.internal", vec![address(port)])]));
    let client = Client::builder().dns_resolver(table).build()?;
    show(&client, "http://orders.internal/hello").await;
    show(&client, "http://unknown.internal/hello").await;

    say!("\nSRV records. No server listens at the port of the first record, so that the");
    say!("second record is used. A host without SRV records has the port of its URL:\n");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let record =
        |priority, port, target| Srv { priority, weight: 1, port, target, ttl: Duration::from_secs(30) };
    let records = vec![record(20, port, "two.internal"), record(10, closed, "one.internal")];
    let services = Services {
        records: HashMap::from([("_http._tcp.shop.internal", records)]),
        hosts: Table(HashMap::from([
            ("one.internal", vec![address(0)]),
            ("two.internal", vec![address(0)]),
            ("plain.internal", vec![address(0)]),
        ])),
    };
    let client = Client::builder().dns_resolver(services).build()?;
    show(&client, "http://shop.internal/hello").await;
    show(&client, &format!("http://plain.internal:{port}/hello")).await;
    Ok(())
}

/// Fetches a URL, and prints which server answered.
async fn show(client: &Client, url: &str) {
    say!("  {url}");
    match client.get(url).send().await {
        Ok(response) => match response.connection().peer_addr() {
            Some(server) => say!("    {} from {server}", response.status()),
            None => say!("    {}", response.status()),
        },
        Err(error) => say!("    {}", error.without_url()),
    }
}

const HELP: &str = "\
resolver

Looks names up by two resolvers: one reads a table of services, and the other
reads SRV records, whose ports differ from the ports of the URLs.
";
