//! Functions with which the benches measure and print results.
//!
//! Clients take turns, in another order each round, so that other work of the machine affects all of them alike. A
//! figure is the median over the rounds. A ratio is the median of the ratios of each round. After the tables, each
//! figure is printed again for programs, as `RESULT <bench> <cell> <client> <value> <unit>`. The unit `x:CLIENT`
//! means a ratio to that client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clients::{Kind, Settings};
use crate::error::BoxError;
use crate::server::{Control, Server};
use crate::worker::{Job, Reading, Worker};

/// Returns the processor time of all threads of this process.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

// ---------------------------------------------------------------------------------------------------- workers

/// Several workers of one kind, which send requests at the same time, each on its own connection.
pub struct Team {
    pub kind: Kind,
    workers: Vec<Worker>,
}

impl Team {
    /// Opens one connection for each worker. The server answers the first requests only when all of them have
    /// arrived, so that no worker reuses the connection of another one.
    pub async fn new(kind: Kind, server: &Server, workers: usize) -> Result<Self, BoxError> {
        let origin = origin(server.scheme(), server.address);
        let job = Job::get(&origin, &format!("/13/together/{workers}"), Reading::Collect)?;
        let settings = Settings::new(&server.root, server.address.ip());
        let mut control = Control::connect(server.control)?;
        let before = control.accepted()?;
        let mut team = Self { kind, workers: Worker::several(kind, &settings, job.uri(), workers).await? };
        team.repeat(&Arc::new(job), 1).await;
        let opened = control.accepted()? - before;
        assert_eq!(opened, workers as u64, "{kind} has opened one connection for each worker");
        Ok(team)
    }

    /// Lets each worker send `each` requests.
    pub async fn repeat(&mut self, job: &Arc<Job>, each: usize) {
        let mut running = tokio::task::JoinSet::new();
        for mut worker in self.workers.drain(..) {
            let job = job.clone();
            running.spawn(async move {
                worker.repeat(&job, each).await;
                worker
            });
        }
        self.workers = running.join_all().await;
    }

    /// Returns the median latency of `requests` requests of one worker, in microseconds.
    pub async fn latency(&mut self, job: &Job, requests: usize) -> f64 {
        let mut took = Vec::with_capacity(requests);
        for _ in 0..requests {
            let begun = Instant::now();
            self.workers[0].repeat(job, 1).await;
            took.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        median(took)
    }
}

pub fn origin(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}")
}

/// Lets all teams take turns for a number of rounds. Returns the values of all rounds, for each team.
pub fn in_turn<T>(teams: &mut [T], rounds: usize, mut round: impl FnMut(&mut T) -> f64) -> Vec<Vec<f64>> {
    let mut measured: Vec<Vec<f64>> = teams.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for which in 0..rounds {
        for place in 0..teams.len() {
            let team = (place + which) % teams.len();
            let value = round(&mut teams[team]);
            measured[team].push(value);
        }
    }
    measured
}

// ----------------------------------------------------------------------------------------------------- report

/// Results of one bench.
pub struct Report {
    bench: &'static str,
    results: Vec<String>,
}

/// Values of all rounds, for each client.
pub type Measured = Vec<(Kind, Vec<f64>)>;

impl Report {
    pub fn new(bench: &'static str) -> Self {
        Self { bench, results: Vec::new() }
    }

    pub fn result(&mut self, cell: &str, client: &str, value: f64, unit: &str) {
        self.results.push(format!("RESULT {} {cell} {client} {value:.4} {unit}", self.bench));
    }

    /// Prints the title and the header of a table. `what` is the title of the first column, and values are in
    /// `unit`.
    pub fn table(&self, title: &str, what: &str, unit: &str) {
        println!("\n### {title}\n");
        println!(
            "| {what} | client | {unit} | loop = 1 | hyper-util = 1 | reqwest = 1 |\n|---|---|---:|---:|---:|---:|"
        );
    }

    /// Prints one cell of a table, with a row for each client.
    pub fn rows(&mut self, cell: &str, measured: &Measured, unit: &str) {
        for (kind, values) in measured {
            let value = median(values.clone());
            self.result(cell, kind.name(), value, unit);
            let mut row = format!("| {cell} | {kind} | {value:.3} |");
            for base in [Kind::Loop, Kind::HyperUtil, Kind::Reqwest, Kind::Hyper] {
                let Some((_, others)) = measured.iter().find(|(kind, _)| *kind == base) else {
                    row += if base == Kind::Hyper { "" } else { " |" };
                    continue;
                };
                let ratios = values.iter().zip(others).map(|(value, other)| value / other);
                // A ratio above 100 is left out, because the other client's value is almost zero.
                let ratio = Some(median(ratios.collect())).filter(|ratio| *ratio < 100.0);
                if let Some(ratio) = ratio {
                    self.result(cell, kind.name(), ratio, &format!("x:{base}"));
                }
                if base != Kind::Hyper {
                    row += &ratio.map_or_else(|| " |".to_owned(), |ratio| format!(" {ratio:.2} |"));
                }
            }
            println!("{row}");
        }
    }

    /// Prints the figures for programs.
    pub fn end(self) {
        println!();
        for result in self.results {
            println!("{result}");
        }
    }
}
