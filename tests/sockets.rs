//! Requests that are dropped after any number of polls leave no socket open. The test counts the open files of this
//! process, in which the server runs too.
//!
//! This file has one test only, because it counts the files of the whole process. The tests of `tests/it/cancel.rs`
//! drop requests at every await, on connections in memory.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/order.rs"]
mod order;
#[path = "support/plain.rs"]
mod plain;

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use handclasp::Client;
use plain::Plain;
use tokio::runtime::{Builder, Runtime};

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Name of a case, and a function that returns the work to drop.
type Case = (&'static str, fn(Client, &Bench) -> Work);

struct Bench {
    server: Plain,
    /// Address of a socket that listens and never accepts. A dial to it takes until the connect timeout.
    silent: SocketAddr,
}

const CASES: [Case; 7] = [
    ("cold, and a body that takes its time", |client, bench| {
        fetch(client, bench.server.url("/bytes/3000000"))
    }),
    ("a response that takes its time", |client, bench| fetch(client, bench.server.url("/slow/5"))),
    ("warm", |client, bench| {
        let url = bench.server.url("/bytes/100000");
        Box::pin(async move {
            fetch(client.clone(), url.clone()).await;
            fetch(client, url).await;
        })
    }),
    ("in the queue", |client, bench| {
        let url = bench.server.url("/bytes/3000000");
        Box::pin(async move {
            let held = client.get(&url).send().await.unwrap();
            let held = async { drop(held.bytes().await.unwrap()) };
            tokio::join!(fetch(client.clone(), url.clone()), held);
        })
    }),
    ("dialing ahead", |client, bench| {
        let url = bench.server.url("/");
        Box::pin(async move { client.warm(url, 2).await.unwrap() })
    }),
    ("while two addresses race", |client, _| fetch(client, "http://race.test/".to_owned())),
    ("while it dials in vain", |client, bench| {
        let url = format!("http://{}/", bench.silent);
        Box::pin(async move { drop(client.get(url).send().await.unwrap_err()) })
    }),
];

fn fetch(client: Client, url: String) -> Work {
    Box::pin(async move { drop(client.get(url).send().await.unwrap().bytes().await.unwrap()) })
}

#[test]
fn rule_31_cancelled_requests_leave_no_socket_behind() {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let bench = Bench { server: Plain::start(), silent: silent.local_addr().unwrap().as_socket().unwrap() };
    let _queued = std::net::TcpStream::connect(bench.silent).unwrap();
    let runtimes = [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ];
    let before = open_files();
    assert!(before.len() > 5, "open files can be counted");
    for (runtime, threads) in runtimes.iter().zip([1, 2]) {
        for (name, case) in CASES {
            let mut polls = 0;
            while !drop_after(runtime, &bench, case, polls, &before, &format!("{name}, {polls} polls")) {
                polls += 1;
                assert!(polls < 10_000, "{name} does not end");
            }
            println!("{name}, {threads} threads: over within {polls} polls");
            // On two threads, a dial may end before the test polls its waiter.
            assert!(polls > 1 || threads > 1, "{name} was dropped while it was under way");
        }
    }
}

/// Drops the work after `polls` polls, and waits until no socket is left. Returns whether the work ended within these
/// polls.
fn drop_after(
    runtime: &Runtime,
    bench: &Bench,
    case: fn(Client, &Bench) -> Work,
    polls: usize,
    before: &BTreeSet<PathBuf>,
    what: &str,
) -> bool {
    // The time is long enough for a second address to be tried, 250 ms after the first one.
    let timeout = Duration::from_millis(500);
    let addresses = [bench.silent, bench.server.address];
    let builder = Client::builder().max_connections_per_host(1).connect_timeout(timeout);
    let client = builder.resolve_to_addrs("race.test", &addresses).build().unwrap();
    runtime.block_on(async {
        let mut work = case(client.clone(), bench);
        let mut left = polls;
        let polled = poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            match work.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending if left == 0 => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        });
        let has_ended =
            tokio::time::timeout(Duration::from_secs(20), polled).await.expect("the work ends within 20 s");
        drop(work);
        until(what, "something is counted", || {
            let total = client.pool().stats().total;
            let is_exact = total.opened == total.closed_total() + total.idle as u64;
            let is_settled = (total.active, total.dialing, total.waiting) == (0, 0, 0);
            (!is_exact || !is_settled || bench.server.open() != total.idle).then(|| total.to_string())
        })
        .await;
        drop(client);
        until(what, "a socket is left", || {
            let files = open_files();
            (files != *before).then(|| format!("{:?}", files.difference(before)))
        })
        .await;
        has_ended
    })
}

async fn until(what: &str, wrong: &str, mut is_wrong: impl FnMut() -> Option<String>) {
    let begun = Instant::now();
    while let Some(found) = is_wrong() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {wrong}: {found}");
        tokio::task::yield_now().await;
    }
}

/// Returns the link target of each open file of this process, except for files of `/proc`.
fn open_files() -> BTreeSet<PathBuf> {
    let folder = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = folder.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    files.filter(|file| !file.starts_with("/proc")).collect()
}
