//! Tests that dropping a request at any point leaves the pool's counts exact, and leaks neither a connection nor a task
//! (rule 31). `tests/sockets.rs` drops requests over real sockets, and counts the sockets.
//!
//! Each scenario runs once for every k: its future is polled k times and then dropped. The runs of a scenario stop at the
//! k within which the future completes. Every operation of the transport is pending once, so that the future is dropped at
//! each of its awaits. After each drop nothing is active, dialing or waiting, every existing connection is idle, and the
//! next request succeeds.

#![allow(
    clippy::unwrap_used,
    clippy::async_yields_async,
    reason = "a test; scenarios prepare work and return it"
)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::support::scripted::{Peers, Reply, Script};
use futures_core::Stream;
use handclasp::{Body, Client, Response};

const URL: &str = "http://a.test/";

type Work = Pin<Box<dyn Future<Output = ()>>>;

fn boxed(work: impl Future<Output = ()> + 'static) -> Work {
    Box::pin(work)
}

/// A client and the peer's end of its connections.
#[derive(Clone)]
struct Bench {
    client: Client,
    peers: Peers,
    limit: usize,
}

impl Bench {
    fn new(script: &Script, limit: usize) -> Self {
        let peers = Peers::new(script.clone());
        let client =
            Client::builder().max_connections_per_host(limit).connector(peers.connector()).build().unwrap();
        Self { client, peers, limit }
    }

    async fn get(&self) -> Response {
        self.client.get(URL).send().await.unwrap()
    }

    /// Checks that the counts are exact at three points: before a further request, after that request, and after the client
    /// is dropped.
    async fn check(self, what: &str) {
        self.check_counts(what).await;
        let next = async { self.client.get(URL).send().await?.text().await };
        let next = tokio::time::timeout(Duration::from_secs(20), next).await;
        let text =
            next.unwrap_or_else(|_| panic!("{what}: the next request hangs: {:?}", self.client.pool()));
        text.unwrap_or_else(|error| panic!("{what}: the next request fails: {}", error.chain()));
        self.check_counts(&format!("{what}, and one more")).await;
        let Self { client, peers, limit } = self;
        assert!(peers.peak() <= limit, "{what}: {} connections at once", peers.peak());
        drop(client);
        settle().await;
        assert_eq!(peers.live(), 0, "{what}: the client is gone");
        assert_eq!(peers.closed(), peers.made(), "{what}: each connection was closed before it was dropped");
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 0, "{what}: the client and its tasks are gone");
    }

    async fn check_counts(&self, what: &str) {
        settle().await;
        let total = self.client.pool().stats().total;
        assert_eq!((total.active, total.dialing, total.waiting), (0, 0, 0), "{what}: {total}");
        assert_eq!(total.idle, self.peers.live(), "{what}: {total}");
        assert_eq!(total.opened, self.peers.made() as u64, "{what}: {total}");
        assert_eq!(total.opened - total.closed_total(), total.idle as u64, "{what}: {total}");
    }
}

/// Lets every task run until it waits. The clock does not advance.
async fn settle() {
    for _ in 0..60 {
        tokio::task::yield_now().await;
    }
}

/// A waker that counts its wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls `work` `polls` times, each time after its waker was called, and drops it. Between two polls other tasks run
/// for `pace` turns, and for more turns until the waker was called. Returns whether `work` completed.
///
/// `other` has a number and a future. The future runs to its end before the poll or drop of that number. Until then
/// `work` is also polled when its waker was not called, because it may wait for that future.
async fn drop_after(
    mut work: Work,
    polls: usize,
    pace: usize,
    mut other: Option<(usize, Work)>,
    what: &str,
) -> bool {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut is_complete = false;
    for poll in 0..=polls {
        if let Some((_, other)) = other.take_if(|(at, _)| *at == poll) {
            other.await;
        }
        if poll == polls {
            break;
        }
        let seen = wakes.0.swap(0, Ordering::SeqCst);
        let mut turns = 0;
        while turns < pace || (poll > 0 && seen + wakes.0.load(Ordering::SeqCst) == 0 && turns < 200) {
            tokio::task::yield_now().await;
            turns += 1;
        }
        assert!(turns < 200 || other.is_some(), "{what}: the future was never woken again");
        if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            is_complete = true;
            break;
        }
    }
    drop(work);
    if let Some((_, other)) = other {
        other.await;
    }
    is_complete
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

/// Tries every k, at several paces of the other tasks.
fn enumerate(name: &str, limit: usize, script: &Script, prepare: impl AsyncFn(Bench) -> Work) {
    let mut drops = 0;
    for pace in [0, 1, 2, 5] {
        for polls in 0.. {
            assert!(polls < 1_000, "{name} does not end");
            let what = format!("{name}, {polls} polls, pace {pace}");
            let is_complete = run(async {
                let bench = Bench::new(script, limit);
                let work = prepare(bench.clone()).await;
                let is_complete = drop_after(work, polls, pace, None, &what).await;
                bench.check(&what).await;
                is_complete
            });
            drops += 1;
            if is_complete {
                break;
            }
        }
    }
    println!("{name}: {drops} drops");
}

/// A response whose content comes in three pieces after its head.
fn slow() -> Reply {
    Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n", "first", "secnd", "third"])
}

fn fetch(bench: Bench) -> Work {
    boxed(async move {
        assert_eq!(bench.get().await.text().await.unwrap(), "hello");
    })
}

#[test]
fn rule_31_a_cold_request_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello")]]);
    enumerate("cold", 2, &script, async |bench| fetch(bench));
    let script = Script { dial_polls: 7, write_most: 5, read_polls: 3, ..script };
    enumerate("cold, in pieces", 2, &script, async |bench| fetch(bench));
}

/// Two requests have a dial each. Dropping one of the requests does not disturb the other request.
#[test]
fn rule_31_a_cold_request_beside_another_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello")]]);
    for limit in [1, 2] {
        enumerate(&format!("beside another, limit {limit}"), limit, &script, async |bench| {
            let other = bench.clone();
            let other = tokio::spawn(async move { other.get().await.text().await.unwrap() });
            let work = fetch(bench);
            boxed(async move {
                // Dropping this future drops the task handle of the other request, which continues to run.
                work.await;
                assert_eq!(other.await.unwrap(), "hello");
            })
        });
    }
}

#[test]
fn rule_31_a_warm_request_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello").split(9)]]);
    enumerate("warm", 2, &script, async |bench| {
        fetch(bench.clone()).await;
        fetch(bench)
    });
}

/// The look finds the idle connection dead, so that the request dials with the slot of that connection.
#[test]
fn rule_31_a_request_that_finds_its_connection_dead_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello")]]);
    for limit in [1, 2] {
        enumerate(&format!("stale, limit {limit}"), limit, &script, async |bench| {
            fetch(bench.clone()).await;
            bench.peers.hang_up();
            fetch(bench)
        });
    }
}

#[test]
fn rule_31_dialing_ahead_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello")]]);
    enumerate("dialing ahead", 2, &script, async |bench| {
        boxed(async move { bench.client.warm(URL, 2).await.unwrap() })
    });
}

#[test]
fn rule_31_a_request_whose_dial_fails_leaves_exact_counts_when_dropped() {
    let script = Script { failed_dials: 1, ..Script::new(&[&[Reply::ok("hello")]]) };
    let mut drops = 0;
    for (pace, polls) in [0, 1, 2, 5].into_iter().flat_map(|pace| (0..6).map(move |polls| (pace, polls))) {
        let what = format!("failed dial, {polls} polls, pace {pace}");
        run(async {
            let bench = Bench::new(&script, 1);
            let client = bench.client.clone();
            let work = async move {
                let error = client.get(URL).send().await.unwrap_err();
                assert_eq!(error.kind(), handclasp::ErrorKind::Connect);
            };
            drop_after(Box::pin(work), polls, pace, None, &what).await;
            settle().await;
            // If the dropped request was never polled, no dial has failed yet, and the scripted failure meets the next request.
            if bench.client.pool().stats().total.failed_dials == 0 {
                let error = bench.client.get(URL).send().await.unwrap_err();
                assert_eq!(error.kind(), handclasp::ErrorKind::Connect);
            }
            bench.check(&what).await;
        });
        drops += 1;
    }
    println!("failed dial: {drops} drops");
}

/// Another response holds the only connection, and ends just before the poll of number `at`. At that poll the request may
/// have been handed the connection, or the error of a failed dial, without having seen it.
#[test]
fn rule_31_a_request_that_waits_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[slow(), Reply::ok("hello")], &[Reply::ok("hello")]]);
    let kept = Script::new(&[&[slow(), Reply::ok("hello").split(7)]]);
    let mut drops = 0;
    for (ending, script) in [("is read", &kept), ("is dropped", &script), ("is half read", &script)] {
        for pace in [0, 1, 2, 5] {
            for at in 0..4 {
                for polls in 0.. {
                    assert!(polls < 1_000, "the request does not end");
                    let what =
                        format!("waited: the holder {ending} before poll {at}, {polls} polls, pace {pace}");
                    let is_complete = run(async {
                        let bench = Bench::new(script, 1);
                        let mut holder = bench.get().await;
                        let end = async move {
                            match ending {
                                "is read" => assert_eq!(holder.text().await.unwrap(), "firstsecndthird"),
                                "is dropped" => drop(holder),
                                _ => assert!(holder.chunk().await.unwrap().is_some()),
                            }
                        };
                        let work = fetch(bench.clone());
                        let other = Some((at, Box::pin(end) as Work));
                        let is_complete = drop_after(work, polls, pace, other, &what).await;
                        bench.check(&what).await;
                        is_complete
                    });
                    drops += 1;
                    if is_complete {
                        break;
                    }
                }
            }
        }
    }
    println!("waited: {drops} drops");
}

/// Three requests wait for one connection. After the second of them is dropped, the other two are served.
#[test]
fn rule_31_a_request_that_waits_among_others_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello")]]);
    enumerate("waited among others", 1, &script, async |bench| {
        let spawn = || tokio::spawn(fetch_text(bench.client.clone()));
        let before = [spawn(), spawn()];
        tokio::task::yield_now().await;
        let work = fetch_text(bench.client.clone());
        let after = [spawn(), spawn()];
        boxed(async move {
            work.await;
            for other in before.into_iter().chain(after) {
                other.await.unwrap();
            }
        })
    });
}

async fn fetch_text(client: Client) {
    assert_eq!(client.get(URL).send().await.unwrap().text().await.unwrap(), "hello");
}

/// A caller's stream that is pending before each piece.
struct Pieces {
    pieces: VecDeque<&'static str>,
    is_awake: bool,
}

impl Pieces {
    fn new(pieces: &[&'static str]) -> Self {
        Self { pieces: pieces.iter().copied().collect(), is_awake: false }
    }
}

impl Stream for Pieces {
    type Item = Result<&'static str, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.is_awake = !self.is_awake;
        if self.is_awake {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.pop_front().map(Ok))
    }
}

#[test]
fn rule_31_an_upload_leaves_exact_counts_when_dropped() {
    let script = Script { write_most: 11, ..Script::new(&[&[Reply::ok("hello")]]) };
    let post = |bench: Bench, body: Body| -> Work {
        boxed(async move {
            let response = bench.client.post(URL).body(body).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "hello");
        })
    };
    for is_warm in [false, true] {
        let prepare = async |bench: &Bench| {
            if is_warm {
                fetch(bench.clone()).await;
            }
        };
        let warmth = if is_warm { "warm" } else { "cold" };
        enumerate(&format!("upload of known length, {warmth}"), 2, &script, async |bench| {
            prepare(&bench).await;
            post(bench, Body::from("a body that takes some writes"))
        });
        enumerate(&format!("upload in chunks, {warmth}"), 2, &script, async |bench| {
            prepare(&bench).await;
            post(bench, Body::from_stream(Pieces::new(&["one", "and two", "and three"])))
        });
        enumerate(&format!("upload of a stream of known length, {warmth}"), 2, &script, async |bench| {
            prepare(&bench).await;
            let body = Body::from_stream(Pieces::new(&["one", "two"]));
            boxed(async move {
                let request = bench.client.post(URL).header("content-length", "6").body(body);
                assert_eq!(request.send().await.unwrap().text().await.unwrap(), "hello");
            })
        });
    }
}

/// A caller's stream that never has a piece. When it is dropped, it records how many connections are active.
struct Witness(Client, Arc<AtomicUsize>);

impl Stream for Witness {
    type Item = Result<&'static str, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.1.store(self.0.pool().stats().total.active, Ordering::Relaxed);
    }
}

/// Dropping the caller's stream runs code of the caller, which may take long or send a request. The connection is therefore
/// released before the stream is dropped.
#[test]
fn rule_31_the_connection_is_free_before_the_body_of_a_dropped_request_is() {
    run(async {
        let bench = Bench::new(&Script::new(&[&[Reply::ok("hello")]]), 1);
        let active = Arc::new(AtomicUsize::new(usize::MAX));
        let body = Body::from_stream(Witness(bench.client.clone(), active.clone()));
        let mut request = Box::pin(bench.client.post(URL).body(body).send());
        for _ in 0..20 {
            let polled = request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "the body has no end");
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.client.pool().stats().total.active, 1, "the head is written");
        drop(request);
        assert_eq!(active.load(Ordering::Relaxed), 0);
        bench.check("an upload that never ends").await;
    });
}

/// The server answers before it has read the whole request.
#[test]
fn rule_31_an_upload_that_is_answered_early_leaves_exact_counts_when_dropped() {
    for (name, reply) in [
        ("early response", Reply::ok("hello").early()),
        ("early response, then closed", Reply::ok("hello").early().eof()),
        ("early response in pieces", slow().early()),
    ] {
        let script = Script { write_most: 11, ..Script::new(&[&[reply]]) };
        enumerate(name, 2, &script, async |bench| {
            let body = Body::from_stream(Pieces::new(&["one", "and two", "and three"]));
            boxed(async move {
                let response = bench.client.post(URL).body(body).send().await.unwrap();
                response.bytes().await.unwrap();
            })
        });
    }
}

#[test]
fn rule_31_a_body_leaves_exact_counts_when_dropped() {
    let chunked = Reply::raw(&[
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "5\r\nfirst\r\n",
        "a\r\nsecndthird\r\n",
        "0\r\nx-trailer: 1\r\n",
        "\r\n",
    ]);
    let until_close = Reply::raw(&["HTTP/1.1 200 OK\r\n\r\n", "first", "secndthird"]).eof();
    for (framing, reply) in [("known length", slow()), ("chunked", chunked), ("until close", until_close)] {
        let script = Script::new(&[&[reply]]);
        enumerate(&format!("body, {framing}"), 2, &script, async |bench| {
            let response = bench.get().await;
            boxed(async move { assert_eq!(response.text().await.unwrap(), "firstsecndthird") })
        });
        enumerate(&format!("body unread, {framing}"), 2, &script, async |bench| {
            boxed(async move { drop(bench.get().await) })
        });
        enumerate(&format!("body collected, {framing}"), 2, &script, async |bench| {
            let response = bench.get().await;
            boxed(async move { assert_eq!(response.collect().await.unwrap().body, "firstsecndthird") })
        });
    }
}

/// Dropping the future of `chunk()` loses no content. The next call returns the content that follows.
#[test]
fn rule_31_a_piece_of_a_body_is_not_lost_when_its_read_is_dropped() {
    let script = Script::new(&[&[slow()]]);
    let mut drops = 0;
    for polls in 1..4 {
        run(async {
            let bench = Bench::new(&script, 1);
            let mut response = bench.get().await;
            let mut all = Vec::new();
            'all: loop {
                {
                    let mut chunk = Box::pin(response.chunk());
                    for _ in 0..polls {
                        let outcome = chunk.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        match outcome {
                            Poll::Ready(Ok(Some(piece))) => {
                                all.extend_from_slice(&piece);
                                continue 'all;
                            }
                            Poll::Ready(Ok(None)) => break 'all,
                            Poll::Ready(Err(error)) => panic!("{}", error.chain()),
                            Poll::Pending => {}
                        }
                    }
                }
                drops += 1;
                settle().await;
            }
            assert_eq!(all, b"firstsecndthird");
            bench.check("chunk").await;
        });
    }
    println!("chunk: {drops} drops");
}

/// A reused connection ends during the request, which is then sent again on a new connection.
#[test]
fn rule_31_a_request_that_is_sent_again_leaves_exact_counts_when_dropped() {
    for (death, reply) in [
        ("closed", Reply::silence().eof()),
        ("reset", Reply::silence().reset()),
        ("408", Reply::raw(&["HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"]).eof()),
    ] {
        let script = Script::new(&[&[Reply::ok("hello"), reply.clone()], &[Reply::ok("hello")]]);
        for limit in [1, 2] {
            enumerate(&format!("retry after {death}, limit {limit}"), limit, &script, async |bench| {
                fetch(bench.clone()).await;
                fetch(bench)
            });
        }
        let script = Script { write_most: 7, ..script };
        enumerate(&format!("retry of an upload after {death}"), 1, &script, async |bench| {
            fetch(bench.clone()).await;
            boxed(async move {
                let request = bench.client.put(URL).body("some content");
                assert_eq!(request.send().await.unwrap().text().await.unwrap(), "hello");
            })
        });
    }
}

/// A request is sent again while other requests wait for the same connection.
#[test]
fn rule_31_a_request_that_is_sent_again_among_others_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello"), Reply::silence().eof()], &[Reply::ok("hello")]]);
    enumerate("retry among others", 1, &script, async |bench| {
        fetch(bench.clone()).await;
        let work = fetch(bench.clone());
        let others = [0, 1].map(|_| tokio::spawn(fetch_text(bench.client.clone())));
        boxed(async move {
            work.await;
            for other in others {
                other.await.unwrap();
            }
        })
    });
}

/// Every await of a reservation, of the requests on its connection, and of the wait for an abandoned response.
#[test]
fn rule_31_a_reservation_leaves_exact_counts_when_dropped() {
    let script = Script::new(&[&[Reply::ok("hello")]]);
    for limit in [1, 2] {
        enumerate(&format!("reserve, cold, limit {limit}"), limit, &script, async |bench| {
            boxed(async move { drop(bench.client.reserve(URL).await.unwrap()) })
        });
        enumerate(&format!("reserve, warm, limit {limit}"), limit, &script, async |bench| {
            fetch(bench.clone()).await;
            boxed(async move { bench.client.reserve(URL).await.unwrap().release() })
        });
        enumerate(&format!("reserve, stale, limit {limit}"), limit, &script, async |bench| {
            fetch(bench.clone()).await;
            bench.peers.hang_up();
            boxed(async move { drop(bench.client.reserve(URL).await.unwrap()) })
        });
    }
    enumerate("reserve, waited among others", 1, &script, async |bench| {
        let spawn = || tokio::spawn(fetch_text(bench.client.clone()));
        let before = [spawn(), spawn()];
        tokio::task::yield_now().await;
        let client = bench.client.clone();
        let after = [spawn(), spawn()];
        boxed(async move {
            drop(client.reserve(URL).await.unwrap());
            for other in before.into_iter().chain(after) {
                other.await.unwrap();
            }
        })
    });
    let pieces = Script::new(&[&[slow(), Reply::ok("hello").split(9)]]);
    for is_released in [false, true] {
        for is_read in [false, true] {
            let name = format!("requests on a reserved connection, released {is_released}, read {is_read}");
            enumerate(&name, 1, &pieces, async |bench| {
                boxed(async move {
                    let mut reserved = bench.client.reserve(URL).await.unwrap();
                    let response = reserved.get(URL).send().await.unwrap();
                    if is_read {
                        assert_eq!(response.text().await.unwrap(), "firstsecndthird");
                    } else {
                        drop(response);
                    }
                    let request = reserved.put(URL).body(Body::from_stream(Pieces::new(&["one", "two"])));
                    let response = request.send().await.unwrap();
                    // The reservation ends while the response is being read.
                    if is_released {
                        reserved.release();
                    } else {
                        drop(reserved);
                    }
                    assert_eq!(response.text().await.unwrap(), "hello");
                })
            });
        }
    }
}

/// A request on a reserved connection is dropped at each of its awaits. If nothing was written, the connection stays
/// reserved. Otherwise the next request fails, and no other connection is made.
#[test]
fn rule_31_a_dropped_request_leaves_its_reservation_free_or_over() {
    let script = Script::new(&[&[Reply::ok("hello").split(9)]]);
    let (mut drops, mut kept, mut over) = (0, 0, 0);
    for (pace, is_read) in [0, 1, 2, 5].into_iter().flat_map(|pace| [(pace, false), (pace, true)]) {
        for polls in 0.. {
            assert!(polls < 1_000, "the request does not end");
            let what =
                format!("dropped on a reserved connection, {polls} polls, pace {pace}, read {is_read}");
            let is_complete = run(async {
                let bench = Bench::new(&script, 1);
                let mut reserved = bench.client.reserve(URL).await.unwrap();
                let request = reserved.get(URL);
                let work = boxed(async move {
                    let response = request.send().await.unwrap();
                    if is_read {
                        assert_eq!(response.text().await.unwrap(), "hello");
                    }
                });
                let is_complete = drop_after(work, polls, pace, None, &what).await;
                let is_written = bench.peers.requests() > 0 || !bench.peers.written(0).is_empty();
                let next = tokio::time::timeout(Duration::from_secs(20), reserved.get(URL).send());
                match next.await.unwrap_or_else(|_| panic!("{what}: the next request hangs")) {
                    Ok(response) => {
                        assert_eq!(response.text().await.unwrap(), "hello", "{what}");
                        assert!(reserved.is_open(), "{what}");
                        kept += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), handclasp::ErrorKind::ConnectionLost, "{what}");
                        assert_eq!(error.request_written(), handclasp::Written::Nothing, "{what}");
                        assert!(is_written && !is_complete && !reserved.is_open(), "{what}");
                        over += 1;
                    }
                }
                assert_eq!(bench.peers.made(), 1, "{what}: no other connection is made");
                drop(reserved);
                bench.check(&what).await;
                is_complete
            });
            drops += 1;
            if is_complete {
                break;
            }
        }
    }
    println!("dropped on a reserved connection: {drops} drops, {kept} kept, {over} over");
    assert!(kept > 0 && over > 0);
}
