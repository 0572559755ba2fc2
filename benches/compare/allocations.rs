//! What a warm, small GET allocates, beside others: how often, and how much.
//!
//! `cargo bench --manifest-path benches/compare/Cargo.toml --bench allocations`, for some seconds. The request has two
//! fields given as text, the response eight, one of which is of no standard; all of it is read. Growing counts as
//! allocating. All is counted that the process does meanwhile.

use std::net::Ipv4Addr;
use std::sync::Arc;

use support::clients::Kind;
use support::measure::{Report, Team, origin};
use support::runtime::runtime;
use support::server::Server;
use support::worker::{Job, Reading};
use support::{Arguments, BoxError, heap};

#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    let requests = if arguments.is_quick { 200 } else { 10_000 };
    let mut report = Report::new("allocations");
    let runtime = runtime(1);
    println!("\n### Allocations per warm GET\n");
    println!("| scheme | client | allocations | bytes |\n|---|---|---:|---:|");
    for is_tls in [false, true] {
        let server = Server::start(Ipv4Addr::LOCALHOST, is_tls, 1)?;
        let scheme = server.scheme();
        let job = Arc::new(Job::get(&origin(scheme, server.address), "/13", Reading::Collect)?);
        for kind in Kind::ALL {
            let [allocations, bytes] = runtime.block_on(async {
                let mut team = Team::new(kind, &server, 1).await?;
                team.repeat(&job, 100).await;
                let before = heap::used();
                heap::count(true);
                team.repeat(&job, requests).await;
                heap::count(false);
                Ok::<_, BoxError>(heap::used().each(before, requests))
            })?;
            println!("| {scheme} | {kind} | {allocations:.2} | {bytes:.0} |");
            report.result(&format!("count/{scheme}"), kind.name(), allocations, "allocations");
            report.result(&format!("bytes/{scheme}"), kind.name(), bytes, "bytes");
        }
    }
    report.end();
    Ok(())
}
