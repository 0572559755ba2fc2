//! This bench measures what the pool saves. The bench sends the same requests on reused connections (*pooled*), and on a new
//! connection for each request (*fresh*).
//!
//! Run this bench by `cargo bench --bench pooled_vs_fresh`. The bench takes about 15 seconds. For each size of the
//! body and each number of requests in flight, the bench prints requests per second, the median and the 99th
//! percentile of their latency, and the number of connections opened. The client has one thread, and the server is a
//! process of its own on this machine. Pooled and fresh rounds alternate.
//!
//! In a fresh round every request says `Connection: close`. A pool that keeps no idle connection is no substitute,
//! because such a pool still hands a connection that becomes free to a request that waits.

mod support;

use std::time::{Duration, Instant};

use handclasp::Client;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Uri};
use support::server::{self, Server};

fn main() {
    server::serve_if_asked();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the runtime starts").block_on(compare(support::is_quick()));
}

async fn compare(is_quick: bool) {
    let server = Server::start();
    let (rounds, turn) = if is_quick { (1, Duration::from_millis(5)) } else { (ROUNDS, TURN) };
    let close = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
    println!(
        "| body | in flight | requests/s, pooled | fresh | ratio | p50 / p99, pooled | fresh | opened, pooled | fresh |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (name, size) in BODIES {
        let uri: Uri = format!("http://{}/{size}", server.address()).parse().expect("the URI is valid");
        for in_flight in IN_FLIGHT {
            let pooled =
                Client::builder().max_idle_per_host(in_flight).build().expect("the settings are valid");
            let fresh =
                Client::builder().default_headers(close.clone()).build().expect("the settings are valid");
            let mut measured = [Measured::default(), Measured::default()];
            for _ in 0..rounds {
                let [with, without] = &mut measured;
                with.run(&pooled, &uri, in_flight, turn, usize::MAX).await;
                without.run(&fresh, &uri, in_flight, turn, PORTS / in_flight).await;
            }
            let [pooled, fresh] = measured;
            println!(
                "| {name} | {in_flight} | {:.0} | {:.0} | {:.1} | {} | {} | {} | {} |",
                pooled.rate(),
                fresh.rate(),
                pooled.rate() / fresh.rate(),
                pooled.latency(),
                fresh.latency(),
                pooled.connections(),
                fresh.connections(),
            );
        }
    }
}

#[derive(Default)]
struct Measured {
    latencies: Vec<Duration>,
    took: Duration,
    opened: u64,
}

impl Measured {
    async fn run(&mut self, client: &Client, uri: &Uri, in_flight: usize, turn: Duration, most: usize) {
        let started = Instant::now();
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..in_flight {
            let (client, uri) = (client.clone(), uri.clone());
            workers.spawn(async move {
                let mut latencies = Vec::new();
                let mut now = started;
                while now - started < turn && latencies.len() < most {
                    let before = Instant::now();
                    let response = client.get(uri.clone()).send().await.expect("the server answers");
                    response.bytes().await.expect("the content comes");
                    now = Instant::now();
                    latencies.push(now - before);
                }
                latencies
            });
        }
        for latencies in workers.join_all().await {
            self.latencies.extend(latencies);
        }
        self.took += started.elapsed();
        self.latencies.sort_unstable();
        self.opened = client.pool().stats().total.opened;
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    fn latency(&self) -> String {
        let at = |percent: usize| self.latencies[(self.latencies.len() - 1) * percent / 100].as_micros();
        format!("{} / {} µs", at(50), at(99))
    }

    fn connections(&self) -> String {
        format!("{} for {}", self.opened, self.latencies.len())
    }
}

const BODIES: [(&str, usize); 3] = [("100 B", 100), ("8 KiB", 8 << 10), ("256 KiB", 256 << 10)];
const IN_FLIGHT: [usize; 3] = [1, 8, 32];
const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_millis(150);
/// Largest number of new connections in one turn. Each connection blocks its port for a minute, and there are about
/// 28,000 ports.
const PORTS: usize = 500;
