//! An example that sends the same requests twice: first over reused connections, and then over a new connection for
//! each request. The example shows what the handshakes cost.
//!
//! Run the example by `cargo run --release --example pooled_vs_fresh`.

use std::error::Error;
use std::time::{Duration, Instant};

use handclasp::{Client, ClientBuilder};

#[path = "support/server.rs"]
mod server;
#[cfg(feature = "rustls")]
#[path = "support/tls.rs"]
mod tls;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{REQUESTS} requests, one after another, to a server on this machine:\n");
    println!("| scheme | connections | requests/s |      p50 |      p99 | opened | handshakes saved |");
    println!("|--------|-------------|-----------:|---------:|---------:|-------:|-----------------:|");

    let server = server::Server::start(None)?;
    let url = format!("http://{}/hello", server.address());
    compare("http", &url, Client::builder).await?;

    #[cfg(feature = "rustls")]
    {
        let (acceptor, certificate) = tls::identity("localhost")?;
        let server = server::Server::start(Some(acceptor))?;
        let url = format!("https://localhost:{}/hello", server.address().port());
        compare("https", &url, || Client::builder().add_root_certificate(certificate.clone())).await?;
    }

    println!(
        "\nOn one machine a handshake takes no round trip. Over a network, each fresh connection waits one round trip"
    );
    println!("for TCP, and at least one more for TLS.");
    Ok(())
}

async fn compare(scheme: &str, url: &str, builder: impl Fn() -> ClientBuilder) -> Result<(), Box<dyn Error>> {
    run(scheme, "pooled", url, &builder().build()?).await?;
    // With no idle connection in the pool, each request opens a connection of its own.
    run(scheme, "fresh", url, &builder().max_idle_per_host(0).build()?).await
}

async fn run(scheme: &str, name: &str, url: &str, client: &Client) -> Result<(), Box<dyn Error>> {
    let mut latencies = Vec::with_capacity(REQUESTS);
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let before = Instant::now();
        client.get(url).send().await?.bytes().await?;
        latencies.push(before.elapsed());
    }
    let rate = REQUESTS as f64 / started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let ledger = client.pool().stats().total;
    println!(
        "| {scheme:<6} | {name:<11} | {rate:>10.0} | {:>8} | {:>8} | {:>6} | {:>16} |",
        micros(latencies[REQUESTS / 2]),
        micros(latencies[REQUESTS * 99 / 100]),
        ledger.opened,
        ledger.handshakes_saved,
    );
    Ok(())
}

fn micros(duration: Duration) -> String {
    format!("{} µs", duration.as_micros())
}

const REQUESTS: usize = 500;
