//! This bench measures the processor time and the memory of a request, for handclasp, a hand-written tokio loop,
//! hyper's bare connection and hyper-util's pooled client.
//!
//! Run this bench by `cargo bench --bench request`. The bench takes less than a minute. All clients send the same
//! keep-alive GET to the same server in alternating rounds. The server is a process of its own on this machine.
//! Figures are medians over the rounds, and ratios are medians of the ratios of each round. The bench also prints the
//! connections that loads of constant width open, the allocations of a warm request, and the memory of an idle
//! connection.
#![allow(unsafe_code, reason = "an allocator that counts needs an unsafe impl")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::fs;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::server::{self, ROLE, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

fn main() {
    server::serve_if_asked();
    hold_idle_if_asked();
    let is_quick = support::is_quick();
    let server = Server::start();
    let uri: Uri = format!("http://{}/13", server.address()).parse().expect("the URI is valid");

    let (rounds, share) = if is_quick { (1, 100) } else { (ROUNDS, 1) };
    let single = runtime(1);
    let at_1 = compare(&single, &uri, 1, rounds, 5_000 / share);
    print(&at_1, "one thread, 1 in flight");
    let at_32 = compare(&single, &uri, 32, rounds, 24_000 / share);
    print(&at_32, "one thread, 32 in flight");
    let on_two = compare(&runtime(2), &uri, 32, rounds, 16_000 / share);
    print(&on_two, "two threads, 32 in flight");

    widths(&single, &uri, 20_000 / share);
    let allocations = allocations(&single, &uri, 10_000 / share);
    let connections = if is_quick { 50 } else { idle_connections() };
    let idle = idle(&server, connections);

    let handclasp = at_32.iter().find(|row| row.kind == Kind::Handclasp).expect("handclasp was measured");
    println!("\n### Budgets\n");
    println!("| figure | measured | budget | |\n|---|---:|---:|---|");
    budget("allocations per warm GET", allocations, 8.0);
    budget("heap bytes per idle plain connection", idle, 2048.0);
    budget("CPU per pooled GET, 32 in flight, hyper-util = 1", handclasp.to_legacy, 1.0);
}

/// Prints the number of connections that loads of constant width open, with default settings and in one task. The last row
/// shows a load of width 1 over a thousand hosts.
fn widths(runtime: &Runtime, uri: &Uri, requests: usize) {
    println!(
        "\n### Connections opened by a load of constant width ({requests} requests, default settings)\n"
    );
    println!(
        "| hosts | width | opened by handclasp | closed | handclasp | hyper-util |\n|---:|---:|---:|---:|---:|---:|"
    );
    let told = |hosts: usize, width: usize, client: &handclasp::Client, ours: Duration, theirs: &str| {
        let total = client.pool().stats().total;
        println!(
            "| {hosts} | {width} | {} | {} | {ours:.0?} | {theirs} |",
            total.opened,
            total.closed_total()
        );
    };
    for width in [16, 33, 64, 256, 1_000] {
        let (client, legacy) = (handclasp::Client::new(), legacy());
        let (ours, theirs) = runtime.block_on(async {
            let requests = requests.max(2 * width);
            let begun = Instant::now();
            stream::iter(0..requests).for_each_concurrent(width, |_| by_handclasp(&client, uri, 1)).await;
            let ours = begun.elapsed();
            let begun = Instant::now();
            stream::iter(0..requests).for_each_concurrent(width, |_| by_legacy(&legacy, uri, 1)).await;
            (ours, begun.elapsed())
        });
        told(1, width, &client, ours, &format!("{theirs:.0?}"));
    }
    let address: std::net::SocketAddr =
        uri.authority().and_then(|at| at.as_str().parse().ok()).expect("the URI has a socket address");
    let names: Vec<_> = (0..1_000).map(|host| format!("h{host}.test")).collect();
    let builder =
        names.iter().fold(handclasp::Client::builder(), |builder, name| builder.resolve(name, address));
    let client = builder.build().expect("the settings are valid");
    let took = runtime.block_on(async {
        let begun = Instant::now();
        for _ in 0..(requests / names.len()).max(2) {
            for name in &names {
                let uri = format!("http://{name}:{}/13", address.port()).parse().expect("the URI is valid");
                by_handclasp(&client, &uri, 1).await;
            }
        }
        begun.elapsed()
    });
    told(names.len(), 1, &client, took, "-");
}

fn budget(what: &str, measured: f64, budget: f64) {
    let verdict = if measured <= budget { "met" } else { "MISSED" };
    println!("| {what} | {measured:.2} | {budget} | {verdict} |");
}

// ---------------------------------------------------------------------------------------------- the clients

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Loop,
    Bare,
    Legacy,
    Handclasp,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Loop, Self::Bare, Self::Legacy, Self::Handclasp];

    fn name(self) -> &'static str {
        match self {
            Self::Loop => "hand-written loop",
            Self::Bare => "hyper, bare connection",
            Self::Legacy => "hyper-util, legacy client",
            Self::Handclasp => "handclasp",
        }
    }
}

/// One of several workers. Each worker sends one request after another. The workers of a client with a pool share the
/// client.
enum Worker {
    Loop { stream: TcpStream, request: Vec<u8>, length: usize },
    Bare { sender: SendRequest<Empty<Bytes>>, uri: Uri },
    Legacy { client: Legacy<HttpConnector, Empty<Bytes>>, uri: Uri },
    Handclasp { client: handclasp::Client, uri: Uri },
}

impl Worker {
    async fn several(kind: Kind, uri: &Uri, workers: usize) -> Vec<Self> {
        let legacy = legacy();
        let client = handclasp::Client::builder().max_idle_per_host(workers).max_idle(workers).build();
        let client = client.expect("the settings are valid");
        let mut made = Vec::with_capacity(workers);
        for _ in 0..workers {
            made.push(match kind {
                Kind::Loop => Self::raw(uri).await,
                Kind::Bare => Self::bare(uri).await,
                Kind::Legacy => Self::Legacy { client: legacy.clone(), uri: uri.clone() },
                Kind::Handclasp => Self::Handclasp { client: client.clone(), uri: uri.clone() },
            });
        }
        made
    }

    /// Connects, and sends one request to learn the length of the response. The worker only counts the bytes of later responses.
    async fn raw(uri: &Uri) -> Self {
        let mut stream = connect(uri).await;
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\nuser-agent: bench\r\n\r\n",
            uri.path(),
            uri.authority().expect("the URI is absolute")
        )
        .into_bytes();
        stream.write_all(&request).await.expect("the server reads");
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.expect("the server answers");
        Self::Loop { stream, request, length }
    }

    async fn bare(uri: &Uri) -> Self {
        let io = TokioIo::new(connect(uri).await);
        let (sender, connection) =
            hyper::client::conn::http1::handshake(io).await.expect("the HTTP/1 handshake sends nothing");
        tokio::spawn(connection);
        Self::Bare { sender, uri: uri.clone() }
    }

    /// Sends requests one after another. The future is boxed for each kind, so that it is only as large as its client
    /// needs.
    fn repeat(&mut self, times: usize) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        match self {
            Self::Loop { stream, request, length } => Box::pin(by_loop(stream, request, *length, times)),
            Self::Bare { sender, uri } => Box::pin(by_bare(sender, uri, times)),
            Self::Legacy { client, uri } => Box::pin(by_legacy(client, uri, times)),
            Self::Handclasp { client, uri } => Box::pin(by_handclasp(client, uri, times)),
        }
    }
}

async fn by_loop(stream: &mut TcpStream, request: &[u8], length: usize, times: usize) {
    let mut buffer = [0; 4096];
    for _ in 0..times {
        stream.write_all(request).await.expect("the server reads");
        let mut received = 0;
        while received < length {
            received += stream.read(&mut buffer).await.expect("the server answers");
        }
    }
}

async fn by_bare(sender: &mut SendRequest<Empty<Bytes>>, uri: &Uri, times: usize) {
    for _ in 0..times {
        let request = Request::get(uri.path())
            .header("host", uri.authority().expect("the URI is absolute").as_str())
            .header("accept", "*/*")
            .header("user-agent", "bench")
            .body(Empty::new())
            .expect("the request is valid");
        sender.ready().await.expect("the connection is kept");
        let response = sender.send_request(request).await.expect("the server answers");
        response.collect().await.expect("the content arrives").to_bytes();
    }
}

async fn by_legacy(client: &Legacy<HttpConnector, Empty<Bytes>>, uri: &Uri, times: usize) {
    for _ in 0..times {
        let request = Request::get(uri.clone())
            .header("accept", "*/*")
            .header("user-agent", "bench")
            .body(Empty::new())
            .expect("the request is valid");
        let response = client.request(request).await.expect("the server answers");
        response.collect().await.expect("the content arrives").to_bytes();
    }
}

async fn by_handclasp(client: &handclasp::Client, uri: &Uri, times: usize) {
    for _ in 0..times {
        let request = client.get(uri.clone()).header("accept", "*/*").header("user-agent", "bench");
        let response = request.send().await.expect("the server answers");
        response.bytes().await.expect("the content arrives");
    }
}

fn legacy() -> Legacy<HttpConnector, Empty<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Legacy::builder(TokioExecutor::new()).build(connector)
}

async fn connect(uri: &Uri) -> TcpStream {
    let authority = uri.authority().expect("the URI is absolute").as_str();
    let stream = TcpStream::connect(authority).await.expect("the server listens");
    stream.set_nodelay(true).expect("the socket is open");
    stream
}

// ------------------------------------------------------------------------------------------- processor time

/// Medians of one client.
struct Row {
    kind: Kind,
    micros: f64,
    rate: f64,
    to_loop: f64,
    to_legacy: f64,
}

fn compare(runtime: &Runtime, uri: &Uri, in_flight: usize, rounds: usize, requests: usize) -> Vec<Row> {
    let each = (requests / in_flight).max(1);
    let mut teams = Kind::ALL.map(|kind| runtime.block_on(Worker::several(kind, uri, in_flight)));
    for team in &mut teams {
        measure(runtime, team, each.div_ceil(10));
    }
    let mut measured = Kind::ALL.map(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (team, measured) in teams.iter_mut().zip(&mut measured) {
            measured.push(measure(runtime, team, each));
        }
    }
    let [by_loop, _, by_legacy, _] = &measured;
    let ratio = |own: &[Cost], other: &[Cost]| {
        median(own.iter().zip(other).map(|(own, other)| own.micros / other.micros).collect())
    };
    let rows = Kind::ALL.iter().zip(&measured).map(|(kind, costs)| Row {
        kind: *kind,
        micros: median(costs.iter().map(|cost| cost.micros).collect()),
        rate: median(costs.iter().map(|cost| cost.rate).collect()),
        to_loop: ratio(costs, by_loop),
        to_legacy: ratio(costs, by_legacy),
    });
    rows.collect()
}

struct Cost {
    /// Processor time per request, in microseconds.
    micros: f64,
    /// Requests per second.
    rate: f64,
}

/// Lets all workers of a team send `each` requests at the same time, and returns the cost.
fn measure(runtime: &Runtime, team: &mut Vec<Worker>, each: usize) -> Cost {
    let requests = (team.len() * each) as f64;
    let workers = std::mem::take(team);
    let started = (processor_time(), Instant::now());
    *team = runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for mut worker in workers {
            running.spawn(async move {
                worker.repeat(each).await;
                worker
            });
        }
        running.join_all().await
    });
    let (processor, wall) = (processor_time() - started.0, started.1.elapsed());
    Cost { micros: processor.as_secs_f64() * 1e6 / requests, rate: requests / wall.as_secs_f64() }
}

fn print(rows: &[Row], title: &str) {
    println!("\n### Warm GET, {title}\n");
    println!("| client | CPU per request | requests/s | CPU, loop = 1 | CPU, hyper-util = 1 |");
    println!("|---|---:|---:|---:|---:|");
    for Row { kind, micros, rate, to_loop, to_legacy } in rows {
        println!("| {} | {micros:.2} µs | {rate:.0} | {to_loop:.2} | {to_legacy:.2} |", kind.name());
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build().expect("the runtime starts")
}

/// Returns the processor time of all living threads of this process. The kernel counts nanoseconds, but updates the count of
/// a running thread only every few milliseconds.
fn processor_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("Linux lists its threads");
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

// ---------------------------------------------------------------------------------------------- allocations

/// An allocator that counts allocations while `IS_COUNTING` is set.
struct Counting;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
/// Bytes allocated minus bytes freed. The number is correct only if counting began with the process.
static LIVE: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn count(allocated: usize, freed: usize) {
        if IS_COUNTING.load(Ordering::Relaxed) {
            if allocated > 0 {
                ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
                ALLOCATED.fetch_add(allocated as u64, Ordering::Relaxed);
            }
            LIVE.fetch_add(allocated as i64 - freed as i64, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size(), 0);
        // SAFETY: the caller keeps the contract, which is that of the system's allocator.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size, layout.size());
        // SAFETY: the caller keeps the contract, which is that of the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::count(0, layout.size());
        // SAFETY: the caller keeps the contract, which is that of the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Prints the allocations of each client, and returns those of handclasp. A reallocation counts as an allocation.
fn allocations(runtime: &Runtime, uri: &Uri, requests: usize) -> f64 {
    println!("\n### Allocations per warm GET (two request fields, eight response fields)\n");
    println!("| client | allocations | bytes |\n|---|---:|---:|");
    let mut of_handclasp = 0.0;
    for kind in Kind::ALL {
        let per_request = runtime.block_on(async {
            let mut workers = Worker::several(kind, uri, 1).await;
            let worker = &mut workers[0];
            worker.repeat(100).await;
            let before = [&ALLOCATIONS, &ALLOCATED].map(|count| count.load(Ordering::Relaxed));
            IS_COUNTING.store(true, Ordering::Relaxed);
            worker.repeat(requests).await;
            IS_COUNTING.store(false, Ordering::Relaxed);
            let after = [&ALLOCATIONS, &ALLOCATED].map(|count| count.load(Ordering::Relaxed));
            [0, 1].map(|which| (after[which] - before[which]) as f64 / requests as f64)
        });
        println!("| {} | {:.2} | {:.0} |", kind.name(), per_request[0], per_request[1]);
        if kind == Kind::Handclasp {
            of_handclasp = per_request[0];
        }
    }
    of_handclasp
}

// ------------------------------------------------------------------------------------------------ idle memory

/// Returns the number of connections: 2,000, or fewer if the limit of open files is low.
fn idle_connections() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    files.and_then(|files| files.parse::<usize>().ok()).unwrap_or(1024).saturating_sub(100).min(2_000)
}

/// Prints the memory of idle connections, and returns the heap bytes of one idle connection of handclasp. Each measurement runs
/// in a process of its own, so that no measurement reuses memory that another one left.
fn idle(server: &Server, connections: usize) -> f64 {
    println!("\n### Memory per idle plain connection ({connections} of them)\n");
    println!(
        "| client | idle after | heap, bytes | resident, bytes, with free memory that the burst left |\n|---|---|---:|---:|"
    );
    let mut of_handclasp = 0.0;
    for (size, tasks) in [(13, ""), (100_000, ""), (13, ", each by its own task")] {
        for kind in [Kind::Legacy, Kind::Handclasp] {
            let mut command = Command::new(env::current_exe().expect("the path of this program is known"));
            let uri = format!("http://{}/{size}/hold", server.address());
            command.env(ROLE, format!("idle {kind:?} {connections} {uri} {tasks}")).stderr(Stdio::inherit());
            let output = command.output().expect("this program can be started again");
            let text = String::from_utf8_lossy(&output.stdout);
            let Some((heap, resident)) = text.trim().split_once(' ') else {
                println!("| {} | a body of {size} B{tasks} | failed | |", kind.name());
                continue;
            };
            println!("| {} | a body of {size} B{tasks} | {heap} | {resident} |", kind.name());
            if kind == Kind::Handclasp && size == 13 && tasks.is_empty() {
                of_handclasp = heap.parse().unwrap_or(f64::INFINITY);
            }
        }
    }
    of_handclasp
}

/// Opens idle connections and prints the memory of one connection, if this process was started for this purpose.
fn hold_idle_if_asked() {
    let role = env::var(ROLE).unwrap_or_default();
    let mut words = role.split(' ');
    if words.next() != Some("idle") {
        return;
    }
    let (Some(kind), Some(connections), Some(uri)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    let kind =
        Kind::ALL.into_iter().find(|known| format!("{known:?}") == kind).expect("the bench sets the role");
    let connections: usize = connections.parse().expect("the bench sets the role");
    let uri: Uri = uri.parse().expect("the bench sets the role");
    let is_tasks = words.any(|word| word == "task");
    IS_COUNTING.store(true, Ordering::Relaxed);
    let (heap, resident) = runtime(1).block_on(async {
        // The client and the first connection allocate everything that is needed only once.
        let mut workers = Worker::several(kind, &uri, connections).await;
        workers[0].repeat(1).await;
        let before = (LIVE.load(Ordering::Relaxed), resident());
        if is_tasks {
            let mut running = tokio::task::JoinSet::new();
            for worker in &workers {
                match worker {
                    Worker::Legacy { client, uri } => {
                        let (client, uri) = (client.clone(), uri.clone());
                        running.spawn(async move { by_legacy(&client, &uri, 1).await });
                    }
                    Worker::Handclasp { client, uri } => {
                        let (client, uri) = (client.clone(), uri.clone());
                        running.spawn(async move { by_handclasp(&client, &uri, 1).await });
                    }
                    Worker::Loop { .. } | Worker::Bare { .. } => {}
                }
            }
            running.join_all().await;
        } else {
            all(workers.iter_mut().map(|worker| worker.repeat(1))).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Some(Worker::Handclasp { client, .. }) = workers.first() {
            assert_eq!(
                client.pool().stats().total.idle,
                connections,
                "each request has a connection of its own"
            );
        }
        let after = (LIVE.load(Ordering::Relaxed), resident());
        let others = connections as i64 - 1;
        ((after.0 - before.0) / others, (after.1 - before.1) / others)
    });
    println!("{heap} {resident}");
    std::process::exit(0);
}

/// Waits for all futures within one task. When one of the futures wakes the task, all futures are polled.
async fn all(futures: impl Iterator<Item = impl Future<Output = ()> + Unpin>) {
    let mut futures: Vec<_> = futures.collect();
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| Pin::new(future).poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

const ROUNDS: usize = 9;
