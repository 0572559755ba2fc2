//! Tests of the pool as the caller sees and controls it: events, the ledger in one line, and the shutdown. Other tests of
//! this file cover connections that no task reads or polls.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use handclasp::{Client, DropReason, ErrorKind, PoolEventKind, Refusal, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::arrival::wait_for_delivery;
use crate::support::{Peer, Server, Signal, until, until_now, within};

async fn get(client: &Client, url: &str) -> handclasp::Result<u64> {
    let response = within(20, client.get(url).send()).await?;
    let id = response.connection().id();
    response.bytes().await?;
    Ok(id)
}

async fn open(client: &Client, url: &str) -> Response {
    within(20, client.get(url).send()).await.unwrap()
}

fn one_at_a_time() -> Client {
    Client::builder().max_connections_per_host(1).build().unwrap()
}

/// Polls the future once, with a waker that does nothing, and returns the result of the poll.
fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Starts a server that answers with content of `length` bytes. The server sends the head and `sent` bytes at once, and the
/// remaining bytes when the signal is raised.
fn slow(length: usize, sent: usize, go: &Signal) -> Server {
    let go = go.clone();
    Server::start(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            if request.target != "/slow" {
                peer.respond("quick")?;
                continue;
            }
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))?;
            peer.send(vec![b'x'; sent])?;
            peer.wait(&go)?;
            peer.send(vec![b'x'; length - sent])?;
        }
        Ok(())
    })
}

#[tokio::test]
async fn events_tell_the_story_in_order() {
    let (server, client) = (Server::echo(), one_at_a_time());
    get(&client, &server.url("/unheard")).await.unwrap();
    let mut events = client.pool().subscribe();
    let url = server.url("/");
    get(&client, &url).await.unwrap();
    let (one, two) = tokio::join!(get(&client, &url), get(&client, &url));
    assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    client.pool().close_idle();
    get(&client, &url).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = events.try_recv() {
        assert_eq!(event.origin(), server.url(""));
        told.push(event.to_string().replace(&server.url(""), "it"));
    }
    assert_eq!(
        told,
        [
            "it: connection 1 reused",
            "it: connection 1 kept",
            // Two requests run at once and share one connection.
            "it: connection 1 reused",
            "it: a request waits",
            "it: connection 1 reused",
            "it: connection 1 kept",
            "it: connection 1 closed: shutdown",
            "it: a request waits",
            "it: connection 2 opened",
            "it: connection 2 used",
            "it: connection 2 kept",
        ]
    );
    assert_eq!(events.missed(), 0);
    // The shutdown of the pool ends its events.
    drop(client);
    let last = within(20, events.recv()).await.unwrap();
    assert_eq!(last.to_string(), format!("{}: connection 2 closed: shutdown", server.url("")));
    assert!(within(20, events.recv()).await.is_none());
}

#[tokio::test]
async fn events_tell_who_was_refused() {
    let client = Client::builder()
        .max_connections_per_host(1)
        .max_waiters_per_host(1)
        .acquire_timeout(Duration::from_millis(20))
        .connector(|_| std::future::pending::<Result<tokio::net::TcpStream, handclasp::BoxError>>())
        .build()
        .unwrap();
    let mut events = client.pool().subscribe();
    let (one, two) = tokio::join!(get(&client, "http://h.test/"), get(&client, "http://h.test/"));
    assert_eq!(one.unwrap_err().kind(), ErrorKind::PoolTimeout);
    assert_eq!(two.unwrap_err().kind(), ErrorKind::PoolFull);
    client.pool().shutdown(Duration::ZERO).await;
    assert_eq!(get(&client, "http://h.test/").await.unwrap_err().kind(), ErrorKind::Shutdown);
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_recv()).map(|event| event.kind).collect();
    let refused = |why| PoolEventKind::Refused(why);
    assert_eq!(kinds[..3], [PoolEventKind::Waited, refused(Refusal::Full), refused(Refusal::TimedOut)]);
    assert!(matches!(kinds[3], PoolEventKind::DialFailed { id: 1, .. }), "{kinds:?}");
    assert_eq!(kinds[4..], [refused(Refusal::Shutdown)]);
}

/// A subscriber that does not read loses the oldest events, and delays no request.
#[tokio::test]
async fn events_that_nobody_reads_are_bounded() {
    let (server, client) = (Server::echo(), Client::new());
    let mut events = client.pool().subscribe();
    for _ in 0..3_000 {
        get(&client, &server.url("/")).await.unwrap();
    }
    let heard = std::iter::from_fn(|| events.try_recv()).count();
    // The first request makes two events, `Opened` and `Waited`. Then each request takes the connection and
    // returns it.
    assert_eq!((heard, events.missed()), (4_096, 2 + 6_000 - 4_096));
    drop(events);
    let mut events = client.pool().subscribe();
    get(&client, &server.url("/")).await.unwrap();
    assert_eq!(
        std::iter::from_fn(|| events.try_recv()).count(),
        2,
        "a new subscription begins without earlier events"
    );
}

#[tokio::test]
async fn the_pool_is_one_line() {
    let (server, client) = (Server::echo(), Client::new());
    for _ in 0..3 {
        get(&client, &server.url("/")).await.unwrap();
    }
    let line = format!("{:#?}", client.pool());
    let start = "Pool(1 connection opened for 3 requests, 2 handshakes saved (";
    assert!(
        line.starts_with(start) && line.ends_with("); now 1 idle, 0 active, 0 dialing, 0 waiting)"),
        "{line}"
    );
}

/// A request that is not polled after it was handed a connection loses the connection to the next request. When the first
/// request is polled again, it queues again.
#[tokio::test]
async fn rule_09_a_grant_that_is_not_claimed_moves_on() {
    let (server, client) = (Server::echo(), one_at_a_time());
    let url = server.url("/");
    let mut held = open(&client, &url).await;
    // The server sends this content only after the signal. A small content would have arrived with the head.
    let go = Signal::new();
    let big = slow(1 << 20, 0, &go);
    drop(held);
    held = open(&client, &big.url("/slow")).await;
    let big_url = big.url("/quick");
    let mut asleep = pin!(client.get(&big_url).send());
    assert!(poll(asleep.as_mut()).is_pending());
    let next = tokio::spawn({
        let client = client.clone();
        async move { get(&client, &big_url).await }
    });
    until("both requests wait", || client.pool().stats().total.waiting == 2).await;
    go.raise();
    assert_eq!(held.bytes().await.unwrap().len(), 1 << 20);
    let id = within(20, next).await.unwrap().unwrap();
    let response = within(20, asleep).await.unwrap();
    assert_eq!(response.connection().id(), id, "one connection served all requests");
    assert_eq!(big.connections(), 1);
}

/// A request never claims the connection that it was handed. Other requests are served, and dropping the client closes the
/// connection.
#[tokio::test]
async fn rule_09_a_grant_that_is_never_claimed_is_kept_for_others() {
    let go = Signal::new();
    let server = slow(1 << 20, 0, &go);
    let client = one_at_a_time();
    let held = open(&client, &server.url("/slow")).await;
    let url = server.url("/quick");
    let mut asleep = Box::pin(client.get(&url).send());
    assert!(poll(asleep.as_mut()).is_pending());
    go.raise();
    held.bytes().await.unwrap();
    until("the granted connection is taken back", || client.pool().stats().total.idle == 1).await;
    get(&client, &url).await.unwrap();
    drop(asleep);
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.waiting, total.opened), (1, 0, 0, 1), "{total}");
}

#[tokio::test]
async fn rule_30_a_small_rest_is_drained() {
    let go = Signal::new();
    let server = slow(60_000, 1_000, &go);
    let client = Client::new();
    let response = open(&client, &server.url("/slow")).await;
    assert_drained(&client, &server, &go, response).await;
}

/// Drops `reading`, and checks that the pool reads the remaining content, however long the server takes, and keeps the
/// connection.
async fn assert_drained<T>(client: &Client, server: &Server, go: &Signal, reading: T) {
    tokio::time::pause();
    drop(reading);
    let total = client.pool().stats().total;
    assert_eq!((total.active, total.idle), (1, 0), "it counts: {total}");
    go.raise();
    until_now("the rest of the content has arrived", || client.pool().stats().total.idle == 1).await;
    tokio::time::resume();
    get(client, &server.url("/quick")).await.unwrap();
    assert_eq!(server.connections(), 1);
}

/// The remaining content is drained if the caller drops a read of the whole content before that read ends.
#[tokio::test]
async fn rule_30_the_rest_of_what_was_wanted_as_one_is_drained() {
    for (length, sent) in [(60_000, 20_000), (60_000, 1), (60_000, 59_999)] {
        let (begin, go) = (Signal::new(), Signal::new());
        let (begun, gone_on) = (begin.clone(), go.clone());
        let server = Server::start(move |peer: &mut Peer| {
            while let Some(request) = peer.request()? {
                if request.target != "/slow" {
                    peer.respond("quick")?;
                    continue;
                }
                peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))?;
                peer.wait(&begun)?;
                peer.send(vec![b'x'; sent])?;
                peer.wait(&gone_on)?;
                peer.send(vec![b'x'; length - sent])?;
            }
            Ok(())
        });
        let client = Client::new();
        let response = open(&client, &server.url("/slow")).await;
        let connection = response.connection().clone();
        let mut reading = Box::pin(response.bytes());
        assert!(poll(reading.as_mut()).is_pending());
        begin.raise();
        wait_for_delivery(connection.local_addr().unwrap(), connection.peer_addr().unwrap());
        tokio::task::yield_now().await;
        assert!(poll(reading.as_mut()).is_pending(), "part of the content was read");
        println!("{length} bytes, {sent} of them before");
        assert_drained(&client, &server, &go, reading).await;
    }
}

#[tokio::test]
async fn rule_30_what_has_come_is_consumed_at_once() {
    let sent = Signal::new();
    let tell = sent.clone();
    let server = Server::start(move |peer: &mut Peer| {
        peer.request()?;
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n{}", "x".repeat(60_000)))?;
        tell.raise();
        peer.stall()
    });
    let client = Client::new();
    let response = open(&client, &server.url("/")).await;
    within(20, sent.raised()).await;
    // All content has arrived in the socket, and the reactor has learned of it.
    let connection = response.connection();
    wait_for_delivery(connection.local_addr().unwrap(), connection.peer_addr().unwrap());
    tokio::task::yield_now().await;
    drop(response);
    assert_eq!(client.pool().stats().total.idle, 1, "the rest was read at once");
    assert_eq!(client.pool().stats().total.closed_total(), 0);
}

#[tokio::test]
async fn rule_30_a_large_or_slow_rest_is_not_drained() {
    let never = Signal::new();
    for (length, what) in [(70_000, "large"), (60_000, "slow")] {
        let server = slow(length, 0, &never);
        let client = Client::new();
        drop(open(&client, &server.url("/slow")).await);
        if what == "large" {
            assert_eq!(client.pool().stats().total.active, 0, "at once");
        }
        until("the connection is closed", || client.pool().stats().total.closed(DropReason::Abandoned) == 1)
            .await;
        let total = client.pool().stats().total;
        assert_eq!((total.idle, total.active), (0, 0), "{what}: {total}");
    }
    // The length of chunked content is not known in advance, and the bytes of its framing count as well.
    let server = Server::start(|peer: &mut Peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        while peer.send("1\r\nx\r\n".repeat(1_000)).is_ok() {}
        Ok(())
    });
    let client = Client::new();
    drop(open(&client, &server.url("/")).await);
    until("the connection is closed", || client.pool().stats().total.closed(DropReason::Abandoned) == 1)
        .await;
}

/// A request that waits for the slot of a draining connection gets the slot at once, because the drain is given up.
#[tokio::test]
async fn rule_30_nothing_is_drained_while_somebody_waits() {
    let never = Signal::new();
    let server = slow(60_000, 0, &never);
    let client = one_at_a_time();
    // The request waits before the response is dropped, so that the connection is closed instead of drained.
    let held = open(&client, &server.url("/slow")).await;
    let url = server.url("/quick");
    let mut waiting = Box::pin(client.get(&url).send());
    assert!(poll(waiting.as_mut()).is_pending());
    drop(held);
    assert_eq!(client.pool().stats().total.closed(DropReason::Abandoned), 1);
    drop(within(20, waiting).await.unwrap());
    // The request comes after the response is dropped, so that it stops the drain that has begun.
    let held = open(&client, &server.url("/slow")).await;
    drop(held);
    assert_eq!(client.pool().stats().total.active, 1);
    let mut waiting = Box::pin(client.get(&url).send());
    assert!(poll(waiting.as_mut()).is_pending());
    let total = client.pool().stats().total;
    assert_eq!((total.closed(DropReason::Abandoned), total.active, total.dialing), (2, 0, 1), "{total}");
    drop(within(20, waiting).await.unwrap());
}

/// A request also stops a drain whose runtime is not running.
#[test]
fn rule_30_a_parked_runtime_holds_no_slot_by_draining() {
    let never = Signal::new();
    let server = slow(60_000, 0, &never);
    let client = one_at_a_time();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (parked, running) = (runtime(), runtime());
    parked.block_on(async { drop(open(&client, &server.url("/slow")).await) });
    assert_eq!(client.pool().stats().total.active, 1);
    running.block_on(async { get(&client, &server.url("/quick")).await.unwrap() });
    drop(parked);
    let total = client.pool().stats().total;
    assert_eq!((total.closed(DropReason::Abandoned), total.active, total.idle), (1, 0, 1), "{total}");
}

#[tokio::test]
async fn a_shutdown_lets_finish_what_can() {
    let go = Signal::new();
    let server = slow(1 << 20, 10, &go);
    let client = Client::new();
    get(&client, &server.url("/quick")).await.unwrap();
    let held = open(&client, &server.url("/slow")).await;
    get(&client, &server.url("/quick")).await.unwrap();
    let (pool, ended) = (client.clone(), Arc::new(AtomicBool::new(false)));
    let flag = ended.clone();
    let shutdown = tokio::spawn(async move {
        pool.pool().shutdown(Duration::from_secs(20)).await;
        flag.store(true, Ordering::SeqCst);
    });
    until("the idle connection is closed", || client.pool().stats().total.closed(DropReason::Shutdown) == 1)
        .await;
    let error = get(&client, &server.url("/quick")).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Shutdown, "the pool was shut down"));
    assert!(!ended.load(Ordering::SeqCst), "the shutdown waits for the response that is being read");
    go.raise();
    assert_eq!(held.bytes().await.unwrap().len(), 1 << 20);
    within(20, shutdown).await.unwrap();
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.closed(DropReason::Shutdown)), (0, 0, 2), "{total}");
}

/// After the deadline no socket is left. The cases are a response that no task reads, a request that no task polls, a
/// request that waits for its response, a request that waits for a connection, a dial, and a tunnel.
#[tokio::test]
async fn a_shutdown_closes_what_does_not_finish() {
    let never = Signal::new();
    let server = slow(1 << 20, 10, &never);
    let tunnel = Server::start(|peer: &mut Peer| {
        peer.request()?;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")?;
        peer.stall()
    });
    let deaf = Server::start(|peer: &mut Peer| peer.stall());
    let client = Client::builder().max_connections_per_host(2).build().unwrap();
    let mut unread = open(&client, &server.url("/slow")).await;
    assert_eq!(unread.chunk().await.unwrap().unwrap().len(), 10);
    let mut unpolled = Box::pin(client.get(deaf.url("/")).send());
    while client.pool().stats().total.opened < 2 {
        assert!(poll(unpolled.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    let request = client.get(tunnel.url("/")).header("connection", "upgrade").header("upgrade", "echo");
    let mut tunneled = within(20, request.send()).await.unwrap().upgrade().await.unwrap();
    let untouched = Server::start(|peer: &mut Peer| {
        peer.request()?;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")?;
        peer.stall()
    });
    let request = client.get(untouched.url("/")).header("connection", "upgrade").header("upgrade", "echo");
    let _untouched = within(20, request.send()).await.unwrap();
    let fetch = |url: String| {
        let client = client.clone();
        tokio::spawn(async move { client.get(url).send().await })
    };
    let waiting = fetch(server.url("/slow"));
    until("the request is sent", || client.pool().stats().total.active == 5).await;
    // The head has arrived before the shutdown begins, however busy the machine is.
    let answered = within(20, waiting).await.unwrap().unwrap();
    let body = tokio::spawn(answered.bytes());
    let queued = fetch(server.url("/slow"));
    until("the request waits", || client.pool().stats().total.waiting == 1).await;
    let reader = tokio::spawn(async move {
        let read = tunneled.read(&mut [0; 8]).await;
        (read, tunneled.write(b"x").await)
    });
    tokio::task::yield_now().await;

    within(20, client.pool().shutdown(Duration::from_millis(10))).await;

    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.dialing, total.waiting), (0, 0, 0, 0), "{total}");
    assert_eq!((total.opened, total.closed(DropReason::Shutdown)), (5, 5), "{total}");
    assert_eq!(
        sockets_to(&[&server, &tunnel, &untouched, &deaf]),
        0,
        "no socket is left although nothing was dropped"
    );
    assert_eq!(unread.chunk().await.unwrap_err().kind(), ErrorKind::Shutdown);
    assert_eq!(within(20, unpolled).await.unwrap_err().kind(), ErrorKind::Shutdown);
    assert_eq!(within(20, body).await.unwrap().unwrap_err().kind(), ErrorKind::Shutdown);
    assert_eq!(within(20, queued).await.unwrap().unwrap_err().kind(), ErrorKind::Shutdown);
    let (read, write) = within(20, reader).await.unwrap();
    for error in [read.unwrap_err(), write.unwrap_err()] {
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected, "{error}");
    }
    within(20, client.pool().shutdown(Duration::ZERO)).await;
}

/// A shutdown stops a dial that does not end.
#[tokio::test]
async fn a_shutdown_stops_dials() {
    struct Noted(Arc<AtomicBool>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = dropped.clone();
    let client = Client::builder()
        .connector(move |_| {
            let noted = Noted(flag.clone());
            async move {
                std::future::pending::<()>().await;
                drop(noted);
                Err::<tokio::net::TcpStream, _>("never".into())
            }
        })
        .build()
        .unwrap();
    let request = client.clone();
    let request = tokio::spawn(async move { get(&request, "http://h.test/").await });
    until("the client dials", || client.pool().stats().total.dialing == 1).await;
    within(20, client.pool().shutdown(Duration::ZERO)).await;
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(within(20, request).await.unwrap().unwrap_err().kind(), ErrorKind::Shutdown);
    assert_eq!(client.pool().stats().total.dialing, 0);
    assert_eq!(
        client.warm("http://h.test/", 1).await.map_err(|error| error.kind()),
        Err(ErrorKind::Shutdown)
    );
}

/// Returns the number of open sockets of this process that are connected to these servers.
fn sockets_to(servers: &[&Server]) -> usize {
    let ports: Vec<_> = servers.iter().map(|server| format!("{:04X}", server.address().port())).collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let inodes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // The kernel lists a closed socket for a while, without an inode.
        let (_, port) = fields[2].split_once(':')?;
        ports.iter().any(|known| known == port).then(|| fields[9].to_owned()).filter(|inode| inode != "0")
    });
    inodes.count()
}

/// `sockets_to` sees a socket where there is one.
#[test]
fn open_sockets_are_seen() {
    if !std::path::Path::new("/proc/net/tcp").exists() {
        println!("skipped: there is no /proc/net/tcp here");
        return;
    }
    let server = Server::start(|peer: &mut Peer| peer.stall());
    let socket = TcpStream::connect(server.address()).unwrap();
    assert_eq!(sockets_to(&[&server]), 1);
    drop(socket);
    assert_eq!(sockets_to(&[&server]), 0);
}
