//! This bench measures 100 requests that are sent at once to a host without connections, for handclasp and for
//! other clients.
//!
//! Run this bench by `cargo bench --manifest-path benches/compare/Cargo.toml --bench cold_burst`. The bench takes
//! some seconds. Each round begins with a new client. A lookup takes 2 ms, and the server takes 5 ms for each
//! response. A client that can limit its connections to a host is limited to 8. handclasp is also measured
//! without a limit. The loop dials 8 connections and looks up no name.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Uri;
use support::clients::{At, Client, Kind, Settings};
use support::measure::{Report, in_turn, median, origin, processor_time};
use support::runtime::runtime;
use support::server::{Control, DOMAIN, Server};
use support::worker::{Job, Reading, Worker};
use support::{Arguments, BoxError};
use tokio::task::JoinSet;

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read()?;
    let rounds = if arguments.is_quick { 2 } else { 9 };
    let runtime = runtime(1);
    let mut report = Report::new("cold_burst");
    println!("\n### {REQUESTS} requests at once to a cold host\n");
    println!("| scheme | client | limit | connections | lookups | failed | wall, ms | CPU, ms |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for is_tls in [false, true] {
        let server = Server::start(Ipv4Addr::LOCALHOST, is_tls, 1)?;
        let mut contenders = [
            Contender::new(Kind::Loop, Some(LIMIT)),
            Contender::new(Kind::HyperUtil, None),
            Contender::new(Kind::Reqwest, None),
            Contender::new(Kind::Aioduct, Some(LIMIT)),
            Contender::new(Kind::Handclasp, None),
            Contender::new(Kind::Handclasp, Some(LIMIT)),
        ];
        // The first round is not measured. The round does the work that a process does only once, so that the
        // work is not counted for the first contender.
        in_turn(&mut contenders, 1, |contender| {
            let outcome = runtime.block_on(contender.round(&server));
            outcome.expect("the server listens");
            0.0
        });
        for contender in &mut contenders {
            contender.seen.clear();
        }
        in_turn(&mut contenders, rounds, |contender| {
            let outcome = runtime.block_on(contender.round(&server));
            contender.seen.push(outcome.expect("the server listens"));
            0.0
        });
        for contender in contenders {
            let scheme = server.scheme();
            let (name, limit) = match contender.limit {
                Some(limit) => (contender.kind.name().to_owned(), limit.to_string()),
                None => (format!("{}-unlimited", contender.kind), "none".to_owned()),
            };
            let of = |what: usize| median(contender.seen.iter().map(|seen| seen[what]).collect());
            let [connections, lookups, failed, wall, processor] = [0, 1, 2, 3, 4].map(of);
            println!(
                "| {scheme} | {} | {limit} | {connections} | {lookups} | {failed} | {wall:.2} | {processor:.2} |",
                contender.kind
            );
            let most = contender.seen.iter().map(|seen| seen[0]).fold(0.0, f64::max);
            report.result(&format!("connections/{scheme}"), &name, most, "connections-at-most");
            let most = contender.seen.iter().map(|seen| seen[1]).fold(0.0, f64::max);
            report.result(&format!("lookups/{scheme}"), &name, most, "lookups-at-most");
            let most = contender.seen.iter().map(|seen| seen[2]).fold(0.0, f64::max);
            report.result(&format!("failed/{scheme}"), &name, most, "requests-at-most");
            report.result(&format!("wall/{scheme}"), &name, wall, "ms");
            report.result(&format!("cpu/{scheme}"), &name, processor, "ms");
        }
    }
    report.end();
    Ok(())
}

struct Contender {
    kind: Kind,
    limit: Option<usize>,
    /// Figures of each round: connections, lookups, failed requests, and milliseconds of wall time and of
    /// processor time.
    seen: Vec<[f64; 5]>,
}

impl Contender {
    fn new(kind: Kind, limit: Option<usize>) -> Self {
        Self { kind, limit, seen: Vec::new() }
    }

    async fn round(&self, server: &Server) -> Result<[f64; 5], BoxError> {
        let mut names = At::new(server.address.ip());
        names.delay = Duration::from_millis(2);
        let mut settings = Settings::new(&server.root, server.address.ip());
        (settings.names, settings.limit) = (names.clone(), self.limit);
        let mut control = Control::connect(server.control)?;
        let accepted = control.accepted()?;
        let begun = (processor_time(), Instant::now());
        let failed = match self.kind {
            Kind::Loop => by_loop(&settings, server).await?,
            kind => by_client(&Client::new(kind, &settings)?, server).await?,
        };
        let (processor, wall) = (processor_time() - begun.0, begun.1.elapsed());
        // Waits for connections that are still being made although no request needs them any more.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let connections = control.accepted()? - accepted;
        let [wall, processor] = [wall, processor].map(|time| time.as_secs_f64() * 1e3);
        Ok([connections as f64, names.lookups() as f64, failed as f64, wall, processor])
    }
}

async fn by_client(client: &Client, server: &Server) -> Result<usize, BoxError> {
    let uri: Uri =
        format!("{}://host.{DOMAIN}:{}/13/slow", server.scheme(), server.address.port()).parse()?;
    let mut running = JoinSet::new();
    for _ in 0..REQUESTS {
        let (client, uri) = (client.clone(), uri.clone());
        running.spawn(async move { client.get(&uri).await?.read(13).await });
    }
    let outcomes = tokio::time::timeout(PATIENCE, running.join_all()).await?;
    Ok(outcomes.into_iter().filter(Result::is_err).count())
}

async fn by_loop(settings: &Settings, server: &Server) -> Result<usize, BoxError> {
    let job = Job::get(&origin(server.scheme(), server.address), "/13/slow", Reading::Collect)?;
    let (job, left) = (Arc::new(job), Arc::new(AtomicUsize::new(REQUESTS)));
    let mut running = JoinSet::new();
    for mut worker in Worker::several(Kind::Loop, settings, job.uri(), LIMIT).await? {
        let (job, left) = (job.clone(), left.clone());
        running.spawn(async move {
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                worker.repeat(&job, 1).await;
            }
        });
    }
    tokio::time::timeout(PATIENCE, running.join_all()).await?;
    Ok(0)
}

const REQUESTS: usize = 100;
const LIMIT: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);
