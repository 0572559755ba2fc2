//! This bench measures the processor time and the latency of a warm, small GET, for handclasp and for other
//! clients.
//!
//! Run this bench by `cargo bench --manifest-path benches/compare/Cargo.toml --bench request [-- CELL...]`. The
//! bench takes some minutes. A cell is a name such as `cpu/http/1-thread/32`, or a part of a name. If cells are
//! given, only these cells are measured. All clients send the same request, with two fields, to the same server.
//! The server is another process with one thread. The server answers with eight fields and 13 bytes, which the
//! client reads to the end. Each worker has one connection, and the bench prints how many more connections were
//! opened. ureq is measured with one worker only, because ureq blocks its thread.

use std::net::Ipv4Addr;
use std::sync::Arc;

use support::clients::Kind;
use support::measure::{Measured, Report, Team, in_turn, origin, processor_time};
use support::runtime::runtime;
use support::server::{Control, Server};
use support::worker::{Job, Reading};
use support::{Arguments, BoxError};
use tokio::runtime::Runtime;

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    let (rounds, share) = if arguments.is_quick { (3, 40) } else { (ROUNDS, 1) };
    let mut report = Report::new("request");
    let servers = [false, true].map(|is_tls| Server::start(Ipv4Addr::LOCALHOST, is_tls, 1));
    for server in servers {
        let bench = Bench { server: server?, rounds, share };
        let scheme = bench.server.scheme();
        let single = runtime(1);
        report.table(&format!("Latency of a warm GET, {scheme}"), "one in flight", "median, µs");
        let cell = format!("latency/{scheme}/1-thread/1");
        if arguments.wants(&cell) {
            report.rows(&cell, &bench.latency(&single)?, "us");
        }
        report.table(
            &format!("Processor time of a warm GET, {scheme}"),
            "threads, in flight",
            "µs per request",
        );
        for threads in [1, 2] {
            // A quick run opens fewer connections, because TLS handshakes take long.
            let most = if arguments.is_quick { 32 } else { 256 };
            for in_flight in [1, 32, 256].into_iter().filter(|in_flight| *in_flight <= most) {
                let what = if threads == 1 { "1-thread" } else { "2-threads" };
                let cell = format!("cpu/{scheme}/{what}/{in_flight}");
                if arguments.wants(&cell) {
                    report.rows(&cell, &bench.processor(&runtime(threads), in_flight)?, "us");
                }
            }
        }
        bench.heads(&single)?;
    }
    report.end();
    Ok(())
}

struct Bench {
    server: Server,
    rounds: usize,
    /// Divisor of the number of requests. The divisor is larger in a quick run.
    share: usize,
}

impl Bench {
    fn job(&self) -> Result<Arc<Job>, BoxError> {
        let origin = origin(self.server.scheme(), self.server.address);
        Ok(Arc::new(Job::get(&origin, "/13", Reading::Collect)?))
    }

    fn teams(&self, runtime: &Runtime, in_flight: usize) -> Result<Vec<Team>, BoxError> {
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Ureq || in_flight == 1);
        kinds.map(|kind| runtime.block_on(Team::new(kind, &self.server, in_flight))).collect()
    }

    fn processor(&self, runtime: &Runtime, in_flight: usize) -> Result<Measured, BoxError> {
        let requests = if in_flight == 1 { 6_000 } else { 16_000 } / self.share;
        let (job, each) = (self.job()?, (requests / in_flight).max(2));
        self.compare(runtime, in_flight, |team| {
            let begun = processor_time();
            runtime.block_on(team.repeat(&job, each));
            (processor_time() - begun).as_secs_f64() * 1e6 / (each * in_flight) as f64
        })
    }

    fn latency(&self, runtime: &Runtime) -> Result<Measured, BoxError> {
        let job = self.job()?;
        self.compare(runtime, 1, |team| runtime.block_on(team.latency(&job, 6_000 / self.share)))
    }

    fn compare(
        &self,
        runtime: &Runtime,
        in_flight: usize,
        round: impl FnMut(&mut Team) -> f64,
    ) -> Result<Measured, BoxError> {
        let mut control = Control::connect(self.server.control)?;
        let mut teams = self.teams(runtime, in_flight)?;
        let job = self.job()?;
        for team in &mut teams {
            runtime.block_on(team.repeat(&job, (1_000 / self.share / in_flight).max(2)));
        }
        let before = control.accepted()?;
        let measured = in_turn(&mut teams, self.rounds, round);
        let opened = control.accepted()? - before;
        if opened > 0 {
            println!("({opened} connections were opened meanwhile.)");
        }
        Ok(teams.iter().map(|team| team.kind).zip(measured).collect())
    }

    /// Prints the size of each client's request head, to show that no client sends less than the others.
    fn heads(&self, runtime: &Runtime) -> Result<(), BoxError> {
        let mut control = Control::connect(self.server.control)?;
        let mut told = Vec::new();
        for mut team in self.teams(runtime, 1)? {
            runtime.block_on(team.repeat(&self.job()?, 1));
            told.push(format!("{} {}", team.kind, control.latest_head()?));
        }
        println!("\nBytes of a request's head: {}.", told.join(", "));
        Ok(())
    }
}

const ROUNDS: usize = 7;
