//! This bench counts the system calls of a warm, small GET, for handclasp and for other clients.
//!
//! Run this bench by `cargo bench --manifest-path benches/compare/Cargo.toml --bench syscalls`. The bench takes
//! some seconds and needs `strace`. Each client is a process of its own, which runs twice, with different numbers
//! of requests. The figure is the difference of both runs, divided by the difference in requests. A *look* is a
//! call that leaves the bytes in the socket (`MSG_PEEK`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use support::clients::Kind;
use support::measure::Report;
use support::server::Server;
use support::{Arguments, BoxError, process};

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    if let Err(why) = process::find("strace") {
        println!("Skipped: the count of syscalls needs strace ({why}).");
        return Ok(());
    }
    let requests = if arguments.is_quick { 320 } else { 3_200 };
    let mut report = Report::new("syscalls");
    println!("\n### Syscalls per warm GET\n");
    println!("| scheme, in flight | client | write | read | look | wait | other | what else |");
    println!("|---|---|---:|---:|---:|---:|---:|---|");
    for is_tls in [false, true] {
        let server = Server::start(Ipv4Addr::LOCALHOST, is_tls, 1)?;
        let scheme = server.scheme();
        for in_flight in [1, 32] {
            for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Ureq || in_flight == 1) {
                let cell = format!("{scheme}/{in_flight}");
                let few = 96 / in_flight;
                let more = few + requests / in_flight;
                let calls = |each| calls(&server, kind, in_flight, each);
                let (less, more) = match (calls(few), calls(more)) {
                    (Ok(less), Ok(more)) => (less, more),
                    (Err(why), _) | (_, Err(why)) => {
                        println!("\nSkipped: strace cannot be used here ({why}).");
                        return Ok(());
                    }
                };
                let mut sums = Sorts::ALL.map(|_| 0.0);
                let mut others = Vec::new();
                for (call, count) in more {
                    let count = (count - less.get(&call).copied().unwrap_or(0.0)) / requests as f64;
                    let sort = Sorts::of(&call);
                    sums[sort as usize] += count;
                    if sort == Sorts::Other && count >= 0.005 {
                        others.push(format!("{call} {count:.2}"));
                    }
                }
                let told = sums.map(|sum| format!("{:.2}", sum.max(0.0))).join(" | ");
                println!("| {cell} | {kind} | {told} | {} |", others.join(", "));
                for (sort, sum) in Sorts::ALL.into_iter().zip(sums) {
                    report.result(&format!("{}/{cell}", sort.name()), kind.name(), sum, "calls");
                }
            }
        }
    }
    report.end();
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sorts {
    Write,
    Read,
    Look,
    Wait,
    Other,
}

impl Sorts {
    const ALL: [Self; 5] = [Self::Write, Self::Read, Self::Look, Self::Wait, Self::Other];

    fn name(self) -> &'static str {
        ["write", "read", "look", "wait", "other"][self as usize]
    }

    fn of(call: &str) -> Self {
        match call {
            LOOK => Self::Look,
            "write" | "writev" | "sendto" | "sendmsg" => Self::Write,
            "read" | "readv" | "recvfrom" | "recvmsg" => Self::Read,
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "poll" | "ppoll" => Self::Wait,
            _ => Self::Other,
        }
    }
}

/// Returns the number of calls of each kind.
fn calls(
    server: &Server,
    kind: Kind,
    in_flight: usize,
    each: usize,
) -> Result<BTreeMap<String, f64>, BoxError> {
    let file = std::env::temp_dir().join(format!("handclasp-compare-{}.strace", std::process::id()));
    let path = file.to_string_lossy().into_owned();
    let outcome = process::under(&["strace", "-f", "-qq", "-o", &path], server, kind, in_flight, each);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    // An error means that strace has made no file.
    let _ = std::fs::remove_file(&file);
    outcome?;
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        // A line of a call is `PID call(arguments) = result`. Other lines are signals, or ends of calls that were
        // counted already.
        let Some((call, rest)) = line.split_once(' ').and_then(|(_, line)| line.trim_start().split_once('('))
        else {
            continue;
        };
        if call.is_empty() || !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let call = if rest.contains("MSG_PEEK") { LOOK } else { call };
        *calls.entry(call.to_owned()).or_insert(0.0) += 1.0;
    }
    if calls.is_empty() { Err("strace has printed no call".into()) } else { Ok(calls) }
}

const LOOK: &str = "recvfrom, looking";
