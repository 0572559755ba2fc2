//! This bench measures the heap allocations of a warm, small GET, for handclasp and for other clients: their
//! number and their bytes.
//!
//! Run this bench by `cargo bench --manifest-path benches/compare/Cargo.toml --bench allocations`. The bench
//! takes some seconds. The request has two fields, given as text. The response has eight fields, one of which is
//! not standard, and is read to its end. A reallocation counts as an allocation. All allocations of the process
//! count.

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
