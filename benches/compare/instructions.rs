//! This bench counts the instructions of a warm, small GET in the client's process, for handclasp and for other
//! clients. The counts are stable enough to compare commits.
//!
//! Run this bench by `benches/compare/instructions`. The bench takes about a minute and needs `valgrind`. Each
//! client is a process of its own, which runs twice under callgrind, with different numbers of requests. The
//! figure is the difference of both runs, divided by the difference in requests. The instructions of the kernel
//! and of the server do not count.

use std::net::Ipv4Addr;

use support::clients::Kind;
use support::measure::Report;
use support::server::Server;
use support::{Arguments, BoxError, process};

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    if let Err(why) = process::find("valgrind") {
        println!("Skipped: the count of instructions needs valgrind ({why}).");
        return Ok(());
    }
    let wanted: Vec<Kind> = arguments.words.iter().filter_map(|word| Kind::named(word).ok()).collect();
    let kinds = match arguments.is_quick {
        _ if !wanted.is_empty() => wanted,
        true => vec![Kind::Loop, Kind::HyperUtil, Kind::Handclasp],
        false => Kind::asynchronous(),
    };
    let requests = if arguments.is_quick { 320 } else { 1_600 };
    let mut report = Report::new("instructions");
    println!("\n### Instructions per warm GET\n");
    println!("| in flight | client | instructions | loop = 1 |\n|---|---|---:|---:|");
    let server = Server::start(Ipv4Addr::LOCALHOST, false, 1)?;
    // A quick run measures one width only, because each start of valgrind takes seconds.
    for in_flight in if arguments.is_quick { &[1][..] } else { &[1, 32] } {
        let in_flight = *in_flight;
        let mut by_loop = f64::NAN;
        for kind in &kinds {
            let few = 320 / in_flight;
            let less = instructions(&server, *kind, in_flight, few)?;
            let more = instructions(&server, *kind, in_flight, few + requests / in_flight)?;
            let each = (more - less) / requests as f64;
            if *kind == Kind::Loop {
                by_loop = each;
            }
            println!("| {in_flight} | {kind} | {each:.0} | {:.2} |", each / by_loop);
            report.result(&format!("1-thread/{in_flight}"), kind.name(), each, "instructions");
            if by_loop.is_finite() {
                report.result(&format!("1-thread/{in_flight}"), kind.name(), each / by_loop, "x:loop");
            }
        }
    }
    report.end();
    Ok(())
}

/// Returns the number of instructions of the client's whole process.
fn instructions(server: &Server, kind: Kind, in_flight: usize, each: usize) -> Result<f64, BoxError> {
    let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let output = process::under(&tool, server, kind, in_flight, each)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.ok_or_else(|| format!("valgrind has printed no count: {said}").into())
}
