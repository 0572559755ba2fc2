//! This bench measures what the pool saves. The bench sends the same requests on reused connections (*pooled*), and on a new
//! connection for each request (*fresh*).
//!
//! Run this bench by `cargo bench --bench pooled_vs_fresh`. The bench takes about three minutes. These arguments follow
//! `--`:
//!
//! - `--full` also measures the cells that take minutes, in about 15 minutes.
//! - `--svg FILE` writes a chart of the round trips.
//! - `--check` makes the bench fail if a small request over a long round trip takes 5 % longer or shorter than expected
//!   (10 % at a round trip of 10 ms).
//! - `--link` and `--loopback` run only one of the two parts.
//!
//! The first part sends requests one after another, over links with round-trip times. On Linux, the bench makes a
//! network namespace and the links in it. Elsewhere, the requests of this part stay on this machine.
//!
//! The second part, on this machine, has many requests in flight. For each size of the body and each number of requests
//! in flight, the bench prints requests per second, the median and the 99th percentile of their latency, and the number
//! of connections opened. The client has one thread, and the server is a process of its own on this machine. Pooled and
//! fresh rounds alternate.
//!
//! In a fresh round of the second part every request says `Connection: close`. A pool that keeps no idle connection is
//! no substitute, because such a pool still hands a connection that becomes free to a request that waits.

#[path = "support/link.rs"]
mod link;
#[path = "support/round_trips.rs"]
mod round_trips;
mod support;
#[path = "../examples/support/svg.rs"]
mod svg;

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use handclasp::{Client, ClientBuilder};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Uri};
use link::{HERE, Link, NEEDS, THERE};
use round_trips::{Contender, Extent, Get, Plan};
use support::server::{self, Server};

fn main() {
    server::serve_if_asked();
    let is_quick = support::is_quick();
    let has = |wanted: &str| env::args().any(|argument| argument == wanted);
    // Both parts run, unless one of them is named.
    let (on_link, on_loopback) = (!has("--loopback") || has("--link"), !has("--link") || has("--loopback"));
    // This step comes first, because the program runs again in a namespace.
    let link = if on_link { Link::enter() } else { Err(String::new()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    let mut is_met = true;
    if on_link {
        let extent = match () {
            () if is_quick => Extent::Quick,
            () if has("--full") => Extent::Full,
            () => Extent::Usual,
        };
        is_met = runtime.block_on(over_links(link, extent));
    }
    if on_loopback {
        println!("\nMany requests in flight, on this machine\n");
        runtime.block_on(compare(is_quick));
    }
    if has("--check") && !is_met {
        std::process::exit(1);
    }
}

/// Measures requests over links with round-trip times. Returns whether each time is as expected.
async fn over_links(link: Result<Link, String>, extent: Extent) -> bool {
    let address = if link.is_ok() { HERE } else { Ipv4Addr::LOCALHOST };
    if let Err(reason) = &link {
        println!("The requests stay on this machine, because {reason}.\nA link needs {NEEDS}.");
    }
    let names: Vec<String> = [address, THERE].iter().map(Ipv4Addr::to_string).collect();
    let mut running = vec![("http", Server::start_at(address, &[]))];
    if cfg!(feature = "rustls") {
        running.push(("https", Server::start_at(address, &names)));
    }
    let servers: Vec<(&str, SocketAddr)> =
        running.iter().map(|(scheme, server)| (*scheme, server.address())).collect();
    let certificate = running.last().map(|(_, server)| server.certificate().to_owned()).unwrap_or_default();
    let contender = Contender { name: "handclasp", client: Box::new(move |keeps| get(keeps, &certificate)) };
    let plan = Plan { link: link.ok(), servers, extent };
    let rows = round_trips::measure(&plan, &[contender]).await;
    let mut arguments = env::args();
    if arguments.any(|argument| argument == "--svg") {
        let file = arguments.next().expect("--svg needs the name of a file");
        std::fs::write(&file, round_trips::chart(&rows)).expect("the chart can be written");
        println!("\nThe chart is in {file}.");
    }
    round_trips::report(&rows)
}

/// Returns a way to send requests by a new client, which keeps idle connections if `keeps` is true.
fn get(keeps: bool, certificate: &str) -> Get {
    let mut builder = trusting(Client::builder(), certificate);
    if !keeps {
        // With no idle connection in the pool, each request opens a connection of its own.
        builder = builder.max_idle_per_host(0);
    }
    let client = builder.build().expect("the settings are valid");
    Box::new(move |uri| {
        let client = client.clone();
        Box::pin(async move {
            let response = client.get(uri).send().await.expect("the server answers");
            response.bytes().await.expect("the content comes").len()
        })
    })
}

#[cfg(feature = "rustls")]
fn trusting(builder: ClientBuilder, certificate: &str) -> ClientBuilder {
    let root = handclasp::Certificate::from_pem(certificate).expect("the certificate is valid");
    builder.tls_certs_only([root])
}

#[cfg(not(feature = "rustls"))]
fn trusting(builder: ClientBuilder, _: &str) -> ClientBuilder {
    builder
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
