//! Stress test of all features at once. The test runs for 20 seconds, or for 5 minutes with `HANDCLASP_LONG=1`. The test
//! uses several runtimes: one runtime parks, and another runtime ends and is made again. The test uses isolation tags,
//! `min_idle`, limits, requests that are cancelled at any point, and a server that closes connections.
//!
//! The test plays rounds of four seconds. The settings of each round are drawn from its seed, which is printed:
//!
//! ```text
//! HANDCLASP_SEED=17 cargo test --test stress -- --nocapture       # plays the round of seed 17 again and again
//! ```
//!
//! In every round:
//!
//! - Every request on a runtime that is driven ends. A request fails only if its server has cut the response off. A
//!   parked runtime stays parked until these requests have ended.
//! - No request waits longer than [`Stage::longest_wait`]. A request waits for a few dozen earlier requests, which take
//!   some milliseconds each, and for slots of a parked runtime, which are free after the connect timeout.
//! - At no time are there more connections than the limits allow.
//! - Dials stay in proportion to requests: [`Round::most_dials`].
//! - At the end of the round no connection is idle, active or being dialed, no request waits, no socket is open at
//!   the server, and no task is left.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/order.rs"]
mod order;
#[path = "support/random.rs"]
mod random;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use handclasp::{Client, DropReason, HostStats, Response};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};

use self::random::Rng;

/// Time after which a request counts as hanging.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connect timeout. The pool counts a longer dial as failed, even if the runtime of the dial does not run.
const CONNECT: Duration = Duration::from_millis(300);

/// Duration of a round.
const ROUND: Duration = Duration::from_secs(4);

/// Longest time, in nanoseconds, for which a runtime of this round did not run although it should have.
///
/// The machine may run other programs. The time that a request waits for a stalled runtime says nothing about the
/// pool.
static STALL: AtomicU64 = AtomicU64::new(0);

fn stall() -> Duration {
    Duration::from_nanos(STALL.load(Ordering::SeqCst))
}

/// Records the longest time for which the current runtime does not run. Never returns.
async fn measure_stalls() {
    loop {
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        STALL.fetch_max(begun.elapsed().as_nanos() as u64, Ordering::SeqCst);
    }
}

const HOSTS: usize = 3;
const TAGS: [Option<&str>; 3] = [None, Some("a"), Some("b")];

#[test]
fn everything_at_once_leaves_nothing_behind() {
    let is_long = std::env::var_os("HANDCLASP_LONG").is_some();
    let own =
        std::env::var("HANDCLASP_SEED").ok().map(|seed| seed.parse::<u64>().expect("a seed is a number"));
    let until = Instant::now() + Duration::from_secs(if is_long { 300 } else { 20 });
    let drawn = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let first = own.unwrap_or(drawn.as_secs() % 1_000_000 * 1_000);
    let (mut rounds, mut requests) = (0, 0);
    while Instant::now() < until {
        let seed = if own.is_some() { first } else { first + rounds };
        let round = Round::draw(seed);
        println!("{round:?}");
        requests += round.play();
        rounds += 1;
    }
    println!("{rounds} rounds, {requests} requests");
    assert!(rounds >= 3 && requests > 200, "{rounds} rounds, {requests} requests");
}

/// Settings of one round, drawn from its seed.
#[derive(Clone, Debug)]
struct Round {
    seed: u64,
    per_host: Option<usize>,
    total: Option<usize>,
    max_idle: Option<usize>,
    idle_timeout: Duration,
    /// Number of hosts.
    hosts: u64,
    /// Number of isolation tags.
    tags: u64,
    /// Number of connections that each running runtime keeps ready for each host.
    min_idle: [usize; HOSTS],
    /// Number of concurrent requests on each running runtime.
    widths: [u64; 2],
    has_parked: bool,
    has_dying: bool,
    /// Percentage of requests that are cancelled.
    cancelled: u64,
    /// Percentage of requests whose server closes the connection.
    closed: u64,
}

/// State that all threads of a round share.
struct Stage {
    round: Round,
    client: Client,
    server: Server,
    is_over: AtomicBool,
    /// Whether all runtimes are driven from now on, so that none parks.
    is_driven: AtomicBool,
    started: AtomicUsize,
    /// Number of connections that calls of `min_idle` have asked for.
    wanted_idle: AtomicUsize,
    /// Durations of the requests on the running runtimes.
    times: Mutex<Vec<Duration>>,
    findings: Mutex<Vec<String>>,
}

impl Round {
    fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            seed,
            per_host: *rng.pick(&[None, Some(1), Some(1), Some(2), Some(4)]),
            total: *rng.pick(&[None, None, Some(1), Some(2), Some(3), Some(6)]),
            max_idle: *rng.pick(&[None, None, Some(1), Some(4)]),
            idle_timeout: *rng.pick(&[
                Duration::from_millis(40),
                Duration::from_secs(1),
                Duration::from_secs(60),
            ]),
            hosts: *rng.pick(&[1, HOSTS as u64]),
            tags: *rng.pick(&[1, TAGS.len() as u64]),
            min_idle: match rng.below(2) {
                0 => [0; HOSTS],
                _ => std::array::from_fn(|_| *rng.pick(&[0, 1, 1, 2])),
            },
            widths: std::array::from_fn(|_| *rng.pick(&[1, 4, 8])),
            has_parked: rng.below(4) > 0,
            has_dying: rng.below(4) > 0,
            cancelled: *rng.pick(&[0, 10, 50]),
            closed: *rng.pick(&[0, 10, 60]),
        }
    }

    /// Plays the round, and returns how many requests it began.
    fn play(self) -> usize {
        order::check_all();
        STALL.store(0, Ordering::SeqCst);
        let server = Server::start();
        let mut builder = Client::builder()
            .connect_timeout(CONNECT)
            .acquire_timeout(2 * PATIENCE)
            .idle_timeout(self.idle_timeout);
        if let Some(limit) = self.per_host {
            builder = builder.max_connections_per_host(limit);
        }
        if let Some(limit) = self.total {
            builder = builder.max_connections(limit);
        }
        if let Some(limit) = self.max_idle {
            builder = builder.max_idle(limit);
        }
        for host in 0..HOSTS {
            builder = builder.resolve(&format!("h{host}.test"), server.address);
        }
        let stage = Arc::new(Stage {
            client: builder.build().unwrap(),
            server,
            is_over: AtomicBool::new(false),
            is_driven: AtomicBool::new(false),
            started: AtomicUsize::new(0),
            wanted_idle: AtomicUsize::new(0),
            times: Mutex::default(),
            findings: Mutex::default(),
            round: self,
        });
        let begun = Instant::now();
        let watcher = stage.spawn("watcher", Stage::watch);
        let many = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let one = Builder::new_current_thread().enable_all().build().unwrap();
        let drivers = [(many, 0), (one, 1)].map(|(runtime, number)| {
            let drive = move |stage: &Arc<Stage>| {
                stage.drive(&runtime, number);
                runtime
            };
            stage.spawn("driver", drive)
        });
        let parked = stage.round.has_parked.then(|| stage.spawn("parked", Stage::park));
        let dying = stage.round.has_dying.then(|| stage.spawn("dying", Stage::die));
        while begun.elapsed() < ROUND {
            thread::sleep(Duration::from_millis(10));
        }
        stage.is_over.store(true, Ordering::SeqCst);
        let runtimes = drivers.map(|driver| driver.join().unwrap());
        stage.is_driven.store(true, Ordering::SeqCst);
        parked.into_iter().chain(dying).for_each(|other| other.join().unwrap());
        watcher.join().unwrap();
        stage.finish(&runtimes)
    }

    /// Returns the largest number of dials that the round may make. A request dials once, and once more if it lost a
    /// connection. A connection that is kept ready is dialed when `min_idle` is called, and again after it was used,
    /// evicted or expired. Failed dials count too.
    fn most_dials(&self, started: usize, wanted_idle: usize, total: &HostStats) -> usize {
        let by_time = [DropReason::IdleTimeout, DropReason::PeerClosed, DropReason::RuntimeGone];
        let expired: u64 = by_time.into_iter().map(|reason| total.closed(reason)).sum();
        let ready: usize = self.min_idle.iter().sum();
        let again = if ready > 0 { started } else { 0 };
        2 * started + again + wanted_idle + 2 * expired as usize + 20
    }
}

impl Stage {
    fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        play: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let stage = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || play(&stage)).unwrap()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn rng(&self, number: u64) -> Rng {
        Rng::new(self.round.seed.wrapping_mul(1_000).wrapping_add(number))
    }

    fn find(&self, what: String) {
        let mut findings = self.findings.lock().unwrap();
        if findings.len() < 20 {
            findings.push(what);
        }
    }

    fn total(&self) -> HostStats {
        self.client.pool().stats().total
    }

    /// Checks the limits again and again until the round is over.
    fn watch(self: &Arc<Self>) {
        let round = &self.round;
        while !self.is_over() {
            let stats = self.client.pool().stats();
            let count = |host: &HostStats| host.idle + host.active + host.dialing;
            if round.total.is_some_and(|limit| count(&stats.total) > limit) {
                self.find(format!("more connections than max_connections: {}", stats.total));
            }
            for host in &stats.hosts {
                if round.per_host.is_some_and(|limit| count(host) > limit) {
                    self.find(format!("more connections than max_connections_per_host: {host}"));
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Plays a runtime that runs all the time. Each of its tasks sends one request after another.
    fn drive(self: &Arc<Self>, runtime: &Runtime, number: usize) {
        runtime.block_on(async {
            let stalls = tokio::spawn(measure_stalls());
            for (host, connections) in self.round.min_idle.into_iter().enumerate() {
                if connections > 0 {
                    self.wanted_idle.fetch_add(connections, Ordering::SeqCst);
                    self.client.min_idle(format!("http://h{host}.test/"), connections).unwrap();
                }
            }
            let tasks: Vec<_> = (0..self.round.widths[number])
                .map(|task| {
                    let (stage, mut rng) = (self.clone(), self.rng(100 * number as u64 + task));
                    tokio::spawn(async move {
                        while !stage.is_over() {
                            stage.request(&mut rng, &format!("runtime {number}")).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            stalls.abort();
        });
    }

    /// Sends one request, and lets it end or cancels it. Reports a finding if the request neither ends nor is
    /// cancelled in time.
    async fn request(&self, rng: &mut Rng, who: &str) {
        let (plan, cancel) = (Plan::draw(rng, &self.round), rng.below(100) < self.round.cancelled);
        let how = if cancel { rng.below(3) } else { 9 };
        let begun = Instant::now();
        let work = self.exchange(&plan, how == 0, rng.below(2) == 0);
        let outcome = match how {
            // This request is cancelled after a random number of polls, in whatever state it is.
            1 => tokio::time::timeout(PATIENCE, polled(work, rng.below(12))).await,
            // This request is cancelled after a random time of less than 8 ms.
            2 => {
                let moment = Duration::from_micros(rng.below(8_000));
                Ok(tokio::time::timeout(moment, work).await.unwrap_or(Ok(())))
            }
            _ => tokio::time::timeout(PATIENCE, work).await,
        };
        let (took, is_driven) = (begun.elapsed(), who.starts_with("runtime"));
        if is_driven {
            self.times.lock().unwrap().push(took);
        }
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(_)) if plan.is_broken_off || !is_driven => {}
            // The machine did not run this runtime, so the pool gave up a dial of the runtime as overdue.
            Ok(Err(error)) if stall() >= CONNECT && error.chain().to_string().contains("does not run") => {}
            Ok(Err(error)) => {
                let chain = error.chain().to_string();
                self.find(format!("{who}: {plan:?} failed after {took:?}: {chain}; {}", self.total()));
            }
            Err(_) => self.find(format!("{who}: {plan:?} was not served within {took:?}: {}", self.total())),
        }
    }

    /// Sends the request and reads its response to the end, or drops the response after its head.
    async fn exchange(&self, plan: &Plan, is_dropped: bool, in_pieces: bool) -> handclasp::Result<()> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let mut response: Response = plan.request(&self.client).send().await?;
        if is_dropped {
            return Ok(());
        }
        if !in_pieces {
            assert_eq!(response.bytes().await?.len(), plan.length);
            return Ok(());
        }
        let mut length = 0;
        while let Some(piece) = response.chunk().await? {
            length += piece.len();
            tokio::task::yield_now().await;
        }
        assert_eq!(length, plan.length);
        Ok(())
    }

    /// Plays a runtime that begins dials and joins queues, and is not driven for a while after that. No connection is
    /// in use while the runtime is parked, because the pool takes no connection away from a request that uses it.
    fn park(self: &Arc<Self>) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut rng = self.rng(1_000);
        let mut number = 0;
        while !self.is_over() {
            // Some requests run to their end first, so that the parked runtime has idle connections.
            runtime.block_on(async {
                for _ in 0..rng.below(3) {
                    self.request(&mut rng, "parked").await;
                }
            });
            let mut held = Vec::new();
            for _ in 0..rng.below(5) {
                number += 1;
                let plan =
                    Plan { tag: Some(format!("parked {number}")), ..Plan::draw(&mut rng, &self.round) };
                let stage = self.clone();
                let mut request = Box::pin(async move { stage.exchange(&plan, false, false).await });
                // No other task of this runtime runs during this poll. Its dials do not end, and no request gets a
                // connection.
                let is_pending = runtime
                    .block_on(std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending())));
                if is_pending && rng.below(2) == 0 {
                    held.push(request);
                }
            }
            let moment = *rng.pick(&[50, 200, 1_000, 3_600_000]);
            let until = Instant::now() + Duration::from_millis(moment);
            while Instant::now() < until && !self.is_driven.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            // Each held request ends, with a response or with an error.
            for request in held {
                if runtime.block_on(async { tokio::time::timeout(PATIENCE, request).await }).is_err() {
                    self.find(format!("a request of a parked runtime does not end: {}", self.total()));
                }
            }
        }
    }

    /// Plays runtimes that end while requests and dials are under way, one after another.
    fn die(self: &Arc<Self>) {
        let mut rng = self.rng(2_000);
        while !self.is_over() {
            let runtime = match rng.below(2) {
                0 => Builder::new_current_thread().enable_all().build().unwrap(),
                _ => Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            };
            let kept_ready = rng.below(HOSTS as u64) as usize;
            let connections = self.round.min_idle[kept_ready];
            let work = async {
                if connections > 0 {
                    self.wanted_idle.fetch_add(connections, Ordering::SeqCst);
                    self.client.min_idle(format!("http://h{kept_ready}.test/"), connections).unwrap();
                }
                for task in 0..1 + rng.below(6) {
                    let (stage, mut rng) = (self.clone(), Rng::new(rng.draw() ^ task));
                    tokio::spawn(async move {
                        loop {
                            stage.request(&mut rng, "dying").await;
                        }
                    });
                }
                tokio::time::sleep(Duration::from_micros(rng.below(60_000))).await;
            };
            runtime.block_on(work);
            if rng.below(2) == 0 {
                runtime.shutdown_background();
            } else {
                drop(runtime);
            }
        }
    }

    /// Returns how long the slowest request took, and how long it may take. The limit is ten times the average, plus
    /// three times the time after which a parked runtime's slots are free again. The limit also grows with the longest
    /// stall, because each thread that a request waits for may stall more than once on a loaded machine.
    fn longest_wait(&self) -> (Duration, Duration) {
        let times = self.times.lock().unwrap();
        let mean = times.iter().sum::<Duration>() / times.len().max(1) as u32;
        let longest = times.iter().max().copied().unwrap_or_default();
        (longest, 10 * mean + 3 * CONNECT + Duration::from_millis(1_500) + 8 * stall())
    }

    /// Checks that nothing is left after the round, on the runtimes that still run. Returns how many requests the
    /// round began.
    fn finish(self: &Arc<Self>, runtimes: &[Runtime; 2]) -> usize {
        let is_settled = |total: &HostStats| (total.active, total.dialing, total.waiting) == (0, 0, 0);
        let [many, one] = runtimes;
        // A dial runs to its end even if no request waits for it any more.
        let settle = |what: &str, is_so: &dyn Fn() -> bool| {
            let begun = Instant::now();
            while !is_so() {
                if begun.elapsed() > PATIENCE {
                    let tasks = [many, one].map(|runtime| runtime.handle().metrics().num_alive_tasks());
                    let open = self.server.open();
                    return self.find(format!("{what}: {}; {tasks:?} tasks, {open} sockets", self.total()));
                }
                one.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
            }
        };
        settle("something is still under way", &|| is_settled(&self.total()));
        let (longest, most) = self.longest_wait();
        if longest > most {
            self.find(format!("a request took {longest:?}, of {most:?} at the most: {}", self.total()));
        }
        let total = self.total();
        let started = self.started.load(Ordering::SeqCst);
        let dials = (total.opened + total.failed_dials) as usize;
        let most = self.round.most_dials(started, self.wanted_idle.load(Ordering::SeqCst), &total);
        if dials > most {
            self.find(format!("{dials} dials for {started} requests, of {most} at the most: {total}"));
        }
        let shutdown = async { tokio::time::timeout(PATIENCE, self.client.pool().shutdown(PATIENCE)).await };
        if let Err(late) = one.block_on(shutdown) {
            self.find(format!("the shutdown does not end ({late}): {}", self.total()));
        }
        settle("something is left", &|| is_settled(&self.total()) && self.total().idle == 0);
        settle("sockets are left", &|| self.server.open() == 0);
        let tasks = |handle: &Handle| handle.metrics().num_alive_tasks();
        settle("tasks are left", &|| tasks(many.handle()) + tasks(one.handle()) == 0);
        let total = self.total();
        if total.opened != total.closed_total() {
            self.find(format!("opened and not closed: {total}"));
        }
        println!("    {started} requests, the longest took {longest:.1?}, a stall {:.1?}; {total}", stall());
        let findings = self.findings.lock().unwrap();
        assert!(findings.is_empty(), "{:?}:\n  {}", self.round, findings.join("\n  "));
        started
    }
}

/// Settings of one request, and of the server's answer to it.
#[derive(Debug)]
struct Plan {
    host: u64,
    tag: Option<String>,
    /// Length of the response's content.
    length: usize,
    /// Milliseconds until the server answers.
    after: u64,
    ending: &'static str,
    /// Whether the server closes the connection instead of answering. A request on a new connection fails in that
    /// case.
    is_broken_off: bool,
}

impl Plan {
    fn draw(rng: &mut Rng, round: &Round) -> Self {
        let ending =
            if rng.below(100) < round.closed { *rng.pick(&["close", "shut", "break"]) } else { "keep" };
        Self {
            host: rng.below(round.hosts),
            tag: TAGS[rng.below(round.tags) as usize].map(str::to_owned),
            length: *rng.pick(&[0, 10, 10, 3_000, 200_000]),
            after: *rng.pick(&[0, 0, 0, 1, 5]),
            ending,
            is_broken_off: ending == "break",
        }
    }

    fn request(&self, client: &Client) -> handclasp::RequestBuilder {
        let Self { host, length, after, ending, .. } = self;
        let request = client.get(format!("http://h{host}.test/{ending}/{after}/{length}"));
        match &self.tag {
            Some(tag) => request.isolation(&**tag),
            None => request,
        }
    }
}

/// Polls the future `polls` times, and drops it unless it has ended by then.
async fn polled<E>(work: impl Future<Output = Result<(), E>>, polls: u64) -> Result<(), E> {
    let (mut work, mut left) = (pin!(work), polls);
    std::future::poll_fn(|cx| match left.checked_sub(1) {
        None => Poll::Ready(Ok(())),
        Some(fewer) => {
            left = fewer;
            work.as_mut().poll(cx)
        }
    })
    .await
}

/// Server of all hosts, on a runtime of its own.
struct Server {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Server {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = open.clone();
        runtime.spawn(measure_stalls());
        runtime.spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let open = Open::new(&counted);
                tokio::spawn(async move {
                    // A connection may end with an error, because the client cancels requests.
                    let _ = serve(tcp).await;
                    drop(open);
                });
            }
        });
        Self { address, open, runtime: Some(runtime) }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves one connection. A target has the form `/ending/milliseconds/length`.
async fn serve(tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tcp = BufReader::new(tcp);
    loop {
        let (mut line, mut target) = (String::new(), None);
        while line != "\r\n" {
            line.clear();
            if tcp.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            target = target.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        }
        let target = target.unwrap();
        let mut parts = target.split('/').skip(1);
        let ending = parts.next().unwrap();
        let mut number = || parts.next().unwrap().parse::<u64>().unwrap();
        let (after, length) = (number(), number() as usize);
        if after > 0 {
            tokio::time::sleep(Duration::from_millis(after)).await;
        }
        if ending == "break" {
            return Ok(());
        }
        let close = if ending == "close" { "connection: close\r\n" } else { "" };
        let mut answer = format!("HTTP/1.1 200 OK\r\n{close}content-length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'x');
        tcp.write_all(&answer).await?;
        if ending != "keep" {
            return Ok(());
        }
    }
}
