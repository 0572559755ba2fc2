//! Tests of answers that come too soon and of the race between addresses, over a link with a round-trip time. Each test
//! runs in its own network namespace, with the link that `tests/support/link.py` makes.
//!
//! `link/figures.rs` measures requests in round trips, and `link/request_on_ack.rs` what the first packet of a request
//! costs.
//!
//! The tests take about eight minutes and need the processor for themselves, so that they run only with
//! `HANDCLASP_LONG=1`:
//! `HANDCLASP_LONG=1 cargo test --release --all-features --test link -- --nocapture --test-threads 1`. A test that cannot
//! run prints the reason.
#![cfg(all(target_os = "linux", feature = "proxy", feature = "rustls"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "handshakes/capture.rs"]
mod capture;
#[path = "link/figures.rs"]
mod figures;
#[path = "link/request_on_ack.rs"]
mod request_on_ack;
mod support;

use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use handclasp::{Answer, BoxError, Certificate, Client, ClientBuilder, DropReason, Family, Resolve};
use http::Method;
use tokio::runtime::Builder;

use crate::support::{Peer, Rng, Server};

/// Name of the variable that tells a process that it runs in the namespace.
const INSIDE: &str = "HANDCLASP_IN_LINK";

/// Address at which servers listen in the namespace.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// Address at which clients reach these servers over the link.
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

const STRAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";

/// Longest pause between a response and the stray that follows the response, in microseconds.
const LONGEST_PAUSE: u64 = 8_000;

/// The process that forwards the packets of the link. The process ends when this value is dropped.
struct Link(Child);

impl Link {
    /// Makes the link in the network namespace of this process.
    fn start(round_trip_ms: u64, connect_ms: u64) -> Self {
        Self::lossy(round_trip_ms, connect_ms, 0)
    }

    /// Makes a link that loses `lost` of 100 packets.
    fn lossy(round_trip_ms: u64, connect_ms: u64, lost: u64) -> Self {
        let mut link = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/link.py"))
            .args([round_trip_ms, connect_ms, lost].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(link.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns true if this process runs in the network namespace. If not, runs the test `test` again in a new namespace.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if std::env::var_os("HANDCLASP_LONG").is_none() {
        println!("skipped {test}: it takes a minute, and runs with HANDCLASP_LONG=1");
        return false;
    }
    let works = |command: &[&str]| {
        let run = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
        run.is_ok_and(|output| output.status.success())
    };
    // In a user namespace, a network namespace needs no root. Some systems do not allow user namespaces.
    let link = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/link.py");
    let Some(flags) =
        ["-Urn", "-n"].into_iter().find(|flags| works(&["unshare", flags, "python3", link, "1"]))
    else {
        println!("skipped {test}: no network namespace with a TUN device can be made here");
        return false;
    };
    let inside = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(inside.success(), "{test} failed in the namespace");
    false
}

fn builder() -> ClientBuilder {
    // The network of the namespace has no resolver, and the tests need none.
    Client::builder().max_connections_per_host(64)
}

fn url(server: &Server, path: u64) -> String {
    format!("http://{}/{path}", SocketAddr::new(THERE, server.address().port()))
}

/// Answers each request with its target, and sends a stray 0 to 8 ms after each fifth response. The pause is shorter than the
/// round trip, so that the stray is on its way before the next request can arrive.
fn stray_behind_each_fifth(peer: &mut Peer) -> io::Result<()> {
    let mut random = Rng::new(u64::from(peer.client().port()));
    let mut answered = 0;
    while let Some(request) = peer.request()? {
        peer.respond(&request.target)?;
        answered += 1;
        if answered % 5 == 0 {
            thread::park_timeout(Duration::from_micros(random.below(LONGEST_PAUSE)));
            peer.send(STRAY)?;
        }
    }
    Ok(())
}

/// Counts of the answers that a run of requests got.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    wrong: u64,
    /// Number of answers that answer another request. Each of these answers also counts in `wrong`.
    shifted: u64,
    /// Largest number of wrong answers in a row that one task got.
    in_a_row: u64,
    too_soon: u64,
}

/// Sends `number` requests from `tasks` tasks, and counts the answers that differ from the target of their request.
async fn ask(
    client: &Client,
    method: Method,
    url: impl Fn(u64) -> String,
    number: u64,
    tasks: u64,
) -> Answers {
    let base = url(0);
    let base = base.trim_end_matches('0').to_owned();
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (client, method, base, next) = (client.clone(), method.clone(), base.clone(), next.clone());
            tokio::spawn(async move {
                let (mut answers, mut in_a_row) = (Answers::default(), 0);
                loop {
                    let path = next.fetch_add(1, Ordering::Relaxed);
                    if path >= number {
                        return answers;
                    }
                    let sent = client.request(method.clone(), format!("{base}{path}")).send().await;
                    let text = match sent {
                        Ok(response) => response.text().await.unwrap_or_default(),
                        Err(error) => error.to_string(),
                    };
                    if text != format!("/{path}") {
                        answers.wrong += 1;
                        answers.shifted += u64::from(text.starts_with('/'));
                        in_a_row += 1;
                        answers.in_a_row = answers.in_a_row.max(in_a_row);
                    } else {
                        in_a_row = 0;
                    }
                }
            })
        })
        .collect();
    let mut all = Answers::default();
    for task in tasks {
        let answers = task.await.unwrap();
        all.wrong += answers.wrong;
        all.shifted += answers.shifted;
        all.in_a_row = all.in_a_row.max(answers.in_a_row);
    }
    all.too_soon = client.pool().stats().total.closed(DropReason::TooSoon);
    all
}

/// If the server sends a stray 0 to 8 ms after each fifth response, at most 1 of 100 answers is wrong.
#[test]
fn strays_do_not_take_the_place_of_answers() {
    if !is_inside("strays_do_not_take_the_place_of_answers") {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("wrong answers of 300 in sequence / of 1,200 by 8 tasks");
    for trip in [10, 20, 50] {
        let _link = Link::start(trip, 0);
        let server = Server::start_at(HERE, stray_behind_each_fifth);
        let run = |change: fn(ClientBuilder) -> ClientBuilder| {
            [(300, 1), (1_200, 8)].map(|(number, tasks)| {
                let client = change(builder()).build().unwrap();
                let url = |path| url(&server, path);
                runtime.block_on(ask(&client, Method::GET, url, number, tasks)).wrong
            })
        };
        let neither = run(|builder| builder.doubt_early_answers(false).not_kept_after(None));
        let quarantine = run(|builder| builder.doubt_early_answers(false));
        let clock = run(|builder| builder.not_kept_after(None));
        let both = run(|builder| builder);
        println!(
            "{trip} ms: neither {neither:?}, not_kept_after {quarantine:?}, doubt_early_answers {clock:?}, both {both:?}"
        );
        assert!(neither[0] > 100, "the strays reach the client");
        assert!(both[0] <= 3 && both[1] <= 12, "{trip} ms: {both:?}");
    }
}

/// A POST may get a stray, and the next POST may get the answer to the first POST. The connection is closed after this wrong
/// answer, so that at most two wrong answers follow one another.
#[test]
fn the_answers_to_posts_do_not_stay_shifted() {
    if !is_inside("the_answers_to_posts_do_not_stay_shifted") {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for trip in [10, 20, 50] {
        let _link = Link::start(trip, 0);
        let server = Server::start_at(HERE, stray_behind_each_fifth);
        for (number, tasks) in [(300, 1), (1_200, 8)] {
            let client = builder().build().unwrap();
            let url = |path| url(&server, path);
            let answers = runtime.block_on(ask(&client, Method::POST, url, number, tasks));
            println!("{trip} ms, {tasks} tasks: {answers:?}");
            assert!(answers.in_a_row <= 2 && answers.wrong * 100 <= 2 * number, "{trip} ms: {answers:?}");
        }
    }
}

/// Over TLS, the time of an answer ends with the first byte of the response. Session tickets before the response do not count.
#[test]
fn over_tls_the_decrypted_bytes_count() {
    if !is_inside("over_tls_the_decrypted_bytes_count") {
        return;
    }
    let _link = Link::start(20, 0);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (strays, script) in
        [(false, echo as fn(&mut Peer) -> io::Result<()>), (true, stray_behind_each_fifth)]
    {
        let server = Server::start_tls_at(HERE, script);
        let port = server.address().port();
        let root = Certificate::from_pem(server.authority()).unwrap();
        let there = SocketAddr::new(THERE, port);
        let client = builder()
            .add_root_certificate(root)
            .resolve("localhost", there)
            .not_kept_after(None)
            .build()
            .unwrap();
        let url = |path| format!("https://localhost:{port}/{path}");
        let answers = runtime.block_on(ask(&client, Method::GET, url, 300, 1));
        println!("TLS: {answers:?}");
        if strays {
            assert!(answers.wrong <= 9 && answers.too_soon > 20, "{answers:?}");
        } else {
            assert_eq!((answers.wrong, answers.too_soon), (0, 0));
        }
    }
}

fn echo(peer: &mut Peer) -> io::Result<()> {
    while let Some(request) = peer.request()? {
        peer.respond(&request.target)?;
    }
    Ok(())
}

/// A server that answers its first ten requests on each connection 30 ms later.
fn slow_at_first(peer: &mut Peer) -> io::Result<()> {
    let mut answered = 0;
    while let Some(request) = peer.request()? {
        if answered < 10 {
            thread::park_timeout(Duration::from_millis(30));
        }
        answered += 1;
        peer.respond(&request.target)?;
    }
    Ok(())
}

/// If the server sends no strays, at most 1 of 1,000 requests is sent again, even if the client or the server is delayed.
#[test]
fn without_strays_hardly_any_request_is_sent_again() {
    if !is_inside("without_strays_hardly_any_request_is_sent_again") {
        return;
    }
    let is_over = AtomicBool::new(false);
    for trip in [10, 20, 50] {
        let _link = Link::start(trip, 0);
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let check = |what: &str, script: fn(&mut Peer) -> io::Result<()>| {
            let server = Server::start_at(HERE, script);
            let client = builder().build().unwrap();
            let url = |path| url(&server, path);
            let answers = runtime.block_on(ask(&client, Method::GET, url, 2_000, 8));
            println!("{trip} ms, {what}: {} of 2,000 were sent again", answers.too_soon);
            assert_eq!(answers.wrong, 0);
            assert!(answers.too_soon <= 2, "{trip} ms, {what}: {answers:?}");
        };
        check("plain", echo);
        check("a server that is slow for its first answers", slow_at_first);
        is_over.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            check("beside two busy loops", echo);
            is_over.store(true, Ordering::Relaxed);
        });
        let blocked = runtime.spawn(async {
            let mut random = Rng::new(7);
            let mut ticks = tokio::time::interval(Duration::from_millis(300));
            loop {
                ticks.tick().await;
                let until = Instant::now() + Duration::from_millis(50 + random.below(150));
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
        });
        check("with a runtime thread that blocks", echo);
        blocked.abort();
    }
}

/// If each connection attempt takes 100 ms longer than the round trip, at most 2 of the first 80 requests are sent again, and
/// none of the later requests.
#[test]
fn slow_connects_cause_at_most_two_errors() {
    if !is_inside("slow_connects_cause_at_most_two_errors") {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for trip in [10, 20, 50] {
        let _link = Link::start(trip, 100);
        let server = Server::start_at(HERE, slow_first_answer);
        let client = builder().build().unwrap();
        let url = |path| url(&server, path);
        let first = runtime.block_on(ask(&client, Method::GET, url, 80, 1));
        let then = runtime.block_on(ask(&client, Method::GET, url, 240, 1));
        println!("{trip} ms, connects slowed by 100 ms: {} of 80, then {}", first.too_soon, then.too_soon);
        assert!(first.too_soon <= 2 && then.too_soon == first.too_soon, "{first:?}, {then:?}");
        assert_eq!(first.wrong + then.wrong, 0);
    }
}

/// A server whose first answer on each connection takes as long as a slow connect, so that only later answers show the round
/// trip.
fn slow_first_answer(peer: &mut Peer) -> io::Result<()> {
    let mut pause = Duration::from_millis(100);
    while let Some(request) = peer.request()? {
        thread::park_timeout(pause);
        pause = Duration::ZERO;
        peer.respond(&request.target)?;
    }
    Ok(())
}

/// The addresses of a dual-stack host whose IPv6 packets get lost.
struct DualStack;

/// The link forwards no IPv6.
const LOST: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 2));

impl Resolve for DualStack {
    fn resolve(
        &self,
        name: &str,
        _: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let addresses = if name == "dual.test" { &[THERE, LOST][..] } else { &[THERE] };
        let answer = Answer::new(addresses.iter().map(|address| SocketAddr::new(*address, 0)));
        Box::pin(async move { Ok(answer) })
    }

    fn is_ordered(&self) -> bool {
        false
    }
}

/// A family whose packets get lost costs one delay between attempts (250 ms), and only once. Without the lost family, the
/// first byte takes two round trips.
#[test]
fn a_lost_family_costs_one_delay() {
    if !is_inside("a_lost_family_costs_one_delay") {
        return;
    }
    let trip = 40;
    let _link = Link::start(trip, 0);
    let ip = ["-6", "addr", "add", "2001:db8:77::1/64", "dev", "link0", "nodad"];
    assert!(Command::new("ip").args(ip).status().unwrap().success());
    let server = Server::start_at(HERE, |peer| {
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = builder().dns_resolver(DualStack).build().unwrap();
        let first_byte = async |host: &str| {
            let begun = Instant::now();
            let url = format!("http://{host}:{}/", server.address().port());
            let response = client.get(url).send().await.unwrap();
            let took = begun.elapsed();
            assert_eq!(response.connection().peer_addr().map(|peer| peer.ip()), Some(THERE));
            response.bytes().await.unwrap();
            client.pool().close_idle();
            took
        };
        let (first, second) = (first_byte("dual.test").await, first_byte("dual.test").await);
        let alone = first_byte("single.test").await;
        println!(
            "first byte of a dual-stack host without IPv6: {first:?}, then {second:?}; IPv4 alone: {alone:?}"
        );
        let delay = Duration::from_millis(250);
        assert!(first > delay, "the lost family was tried first");
        assert!(first < alone + delay * 3 / 2, "the lost family costs one delay: {first:?}");
        assert!(second < alone + delay / 2, "the next dial begins with the other family: {second:?}");
    });
}
