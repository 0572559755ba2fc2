//! Tests of idle connections as time passes: the pool looks at idle connections, evicts them, and dials new ones ahead of
//! requests. Other tests of this file cover hosts whose dials fail. Every test that depends on time pauses the clock.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use handclasp::{BoxError, Client, ClientBuilder, DropReason, ErrorKind, Transport};
use tokio::net::TcpStream;

use crate::support::layer::Silence;
use crate::support::{Peer, Server, Signal, until, until_now, within};

async fn get(client: &Client, url: &str) -> handclasp::Result<u64> {
    let response = within(2_000, client.get(url).send()).await?;
    let id = response.connection().id();
    response.bytes().await?;
    Ok(id)
}

fn closed(client: &Client, reason: DropReason) -> u64 {
    client.pool().stats().total.closed(reason)
}

/// A connection that its server has closed is removed from the pool even if no further request comes.
#[tokio::test]
async fn rule_22_the_sweep_lets_go_what_the_server_has_closed() {
    let (close, closed_now) = (Signal::new(), Signal::new());
    let (go, done) = (close.clone(), closed_now.clone());
    let server = Server::start(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
            if request.target == "/close" {
                peer.wait(&go)?;
                peer.close()?;
                done.raise();
            } else if request.target == "/speak" {
                peer.wait(&go)?;
                peer.send("HTTP/1.1 200 OK\r\n\r\n")?;
                done.raise();
            }
        }
        Ok(())
    });
    let client = Client::builder().idle_timeout(None).build().unwrap();
    let urls: Vec<_> = ["/close", "/speak", "/stay"].into_iter().map(|path| server.url(path)).collect();
    client.warm(server.url("/"), 3).await.unwrap();
    let all = urls.iter().map(|url| get(&client, url));
    let mut ids = Vec::new();
    let mut all: Vec<_> = all.map(Box::pin).collect();
    // All requests are polled before the first of them ends, so that each request gets a connection of its own.
    for request in &mut all {
        assert!(std::future::poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending())).await);
    }
    for request in all {
        ids.push(request.await.unwrap());
    }
    assert_eq!(client.pool().stats().total.idle, 3);
    for _ in 0..2 {
        close.raise();
    }
    for _ in 0..2 {
        within(20, closed_now.raised()).await;
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    until_now("the sweep has closed the connections", || client.pool().stats().total.idle == 1).await;
    let gone = (closed(&client, DropReason::PeerClosed), closed(&client, DropReason::Unsolicited));
    assert_eq!(gone, (1, 1), "R-9112-9.5-2");
    tokio::time::resume();
    assert_eq!(get(&client, &urls[2]).await.unwrap(), ids[2], "the third connection stays");
}

/// One task closes connections that were idle for too long, whatever their number and even if no further request
/// comes. The task ends when no idle connection is left.
#[tokio::test]
async fn rule_18_one_timer_for_all_and_none_for_nothing() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let server = Server::echo();
    let client =
        Client::builder().max_idle_per_host(50).idle_timeout(Duration::from_secs(30)).build().unwrap();
    assert_eq!(tasks(), 0);
    within(20, client.warm(server.url("/"), 40)).await.unwrap();
    until("the dials are over", || tasks() == 1).await;
    get(&client, &server.url("/")).await.unwrap();
    assert_eq!((tasks(), client.pool().stats().total.idle), (1, 40));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(29)).await;
    until_now("only the reaper's task runs", || tasks() == 1).await;
    assert_eq!(client.pool().stats().total.idle, 40);
    tokio::time::advance(Duration::from_secs(2)).await;
    until_now("the reaper's task has ended", || tasks() == 0).await;
    assert_eq!(closed(&client, DropReason::IdleTimeout), 40);
    tokio::time::resume();
    get(&client, &server.url("/")).await.unwrap();
    until("a reaper's task runs again", || tasks() == 1).await;
}

/// One sweep looks at sixty idle connections, a few at a time. The sweep closes none of them, and does not change their
/// order.
#[tokio::test]
async fn rule_22_a_sweep_keeps_what_is_silent() {
    let server = Server::echo();
    let client = Client::builder().max_idle_per_host(100).idle_timeout(None).build().unwrap();
    within(20, client.warm(server.url("/"), 60)).await.unwrap();
    let newest = get(&client, &server.url("/")).await.unwrap();
    tokio::time::pause();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(6)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::resume();
    let total = client.pool().stats().total;
    assert_eq!((total.opened, total.idle, total.closed_total()), (60, 60, 0), "{total}");
    assert_eq!(get(&client, &server.url("/")).await.unwrap(), newest, "newest first, as before");
}

#[tokio::test]
async fn rule_19_the_caller_evicts() {
    let server = Server::echo();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    let old = Arc::new(AtomicBool::new(false));
    let is_old = old.clone();
    let client = Client::builder()
        .evict_if(move |idle| {
            assert!(idle.local_addr().is_some() && idle.age() < Duration::from_secs(60));
            let peer = idle.peer_addr().unwrap();
            told.lock().unwrap().push((idle.origin(), idle.id(), peer, idle.requests()));
            idle.requests() >= 2 || is_old.load(Ordering::SeqCst)
        })
        .build()
        .unwrap();
    let url = server.url("/");
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(get(&client, &url).await.unwrap());
    }
    // The closure is called when a connection is returned, when a request takes it, and when it is returned again.
    assert_eq!((ids, closed(&client, DropReason::Evicted)), (vec![1, 1, 2, 2], 2));
    let expected = |id, requests| (server.url(""), id, server.address(), requests);
    assert_eq!(
        *asked.lock().unwrap(),
        [(1, 1), (1, 1), (1, 2), (2, 1), (2, 1), (2, 2)].map(|(id, requests)| expected(id, requests))
    );
    // Once the closure returns true, no request uses an idle connection.
    for _ in 0..3 {
        client.warm(&url, 3).await.unwrap();
    }
    old.store(true, Ordering::SeqCst);
    assert_eq!(get(&client, &url).await.unwrap(), 6);
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.closed(DropReason::Evicted)), (0, 0, 6), "{total}");
}

#[tokio::test]
async fn rule_19_what_the_caller_wants_gone_goes_while_it_is_idle() {
    let (server, old) = (Server::echo(), Arc::new(AtomicBool::new(false)));
    let is_old = old.clone();
    let client = Client::builder().evict_if(move |_| is_old.load(Ordering::SeqCst)).build().unwrap();
    client.warm(server.url("/"), 3).await.unwrap();
    old.store(true, Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    until_now("the sweep has closed the connections", || closed(&client, DropReason::Evicted) == 3).await;
}

/// A panic in the caller's code fails only the request that called the code. No slot is lost, and the pool stays usable.
#[tokio::test]
async fn rule_19_a_panic_of_the_callers_loses_nothing() {
    let server = Server::echo();
    let panics = Arc::new(AtomicUsize::new(0));
    let left = panics.clone();
    let client = Client::builder()
        .max_connections_per_host(1)
        .evict_if(move |_| {
            let more = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            assert!(more.is_err(), "this panic is part of the test");
            false
        })
        .build()
        .unwrap();
    for _ in 0..3 {
        panics.store(1, Ordering::SeqCst);
        let (client, url) = (client.clone(), server.url("/"));
        assert!(tokio::spawn(async move { get(&client, &url).await }).await.unwrap_err().is_panic());
    }
    get(&client, &server.url("/")).await.unwrap();
    panics.store(1, Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    until_now("the connection is closed", || client.pool().stats().total.idle == 0).await;
    tokio::time::resume();
    get(&client, &server.url("/")).await.unwrap();
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.opened), (1, 0, total.closed_total() + 1), "{total}");
}

/// `warm` dials few connections at a time, because a thousand dials at once would send a thousand SYNs at once.
#[tokio::test]
async fn rule_14_warm_dials_a_few_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (now.clone(), most.clone());
    let server = Server::echo();
    let address = server.address();
    let client = Client::builder().max_idle_per_host(100).max_connections_per_host(50).connector(move |_| {
        let (now, most) = (counted.clone(), highest.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let tcp = TcpStream::connect(address).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Box::new(tcp?) as Box<dyn Transport>)
        }
    });
    let client = client.build().unwrap();
    within(20, client.warm("http://h.test/", 90)).await.unwrap();
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.opened, most.load(Ordering::SeqCst)), (50, 50, 8), "{total}");
}

#[tokio::test]
async fn rule_14_so_many_are_always_idle() {
    let hold = Signal::new();
    let server = Server::start({
        let hold = hold.clone();
        move |peer: &mut Peer| {
            while let Some(request) = peer.request()? {
                if request.target == "/hold" {
                    peer.wait(&hold)?;
                }
                peer.respond(&request.target)?;
            }
            Ok(())
        }
    });
    let client = Client::builder().max_connections_per_host(5).build().unwrap();
    let idle = |n: usize| {
        until("the expected number of connections is idle", {
            let client = client.clone();
            move || client.pool().stats().total.idle == n
        })
    };
    client.min_idle(server.url("/"), 3).unwrap();
    idle(3).await;
    // Each request takes an idle connection, and the pool dials another connection until the limit is reached.
    let mut held = Vec::new();
    for n in 1..=4 {
        let (client, url) = (client.clone(), server.url("/hold"));
        held.push(tokio::spawn(async move { get(&client, &url).await }));
        until("the request is sent", || server.seen().len() == n).await;
        idle(3.min(5 - n)).await;
        assert!(server.connections() <= 5);
    }
    for _ in &held {
        hold.raise();
    }
    for request in held {
        request.await.unwrap().unwrap();
    }
    idle(5).await;
    // The pool dials a new connection for each closed one.
    client.pool().close_idle();
    idle(3).await;
    let opened = || client.pool().stats().total.opened;
    assert_eq!(opened(), 8);
    // No more connections are dialed after `min_idle` is set to zero.
    client.min_idle(server.url("/"), 0).unwrap();
    client.pool().close_idle();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.dialing, total.opened), (0, 0, 8), "{total}");
}

/// After the end of the runtime on which `min_idle` was called, the pool dials no more idle connections for that call.
#[test]
fn rule_14_idle_connections_end_with_their_runtime() {
    let (server, client) = (Server::echo(), Client::new());
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            client.min_idle(server.url("/"), 2).unwrap();
            until("both connections are idle", || client.pool().stats().total.idle == 2).await;
        });
        drop(runtime);
        let total = client.pool().stats().total;
        assert_eq!((total.idle, total.dialing, total.active), (0, 0, 0), "{total}");
    }
    assert_eq!(client.pool().stats().total.opened, 6);
}

/// A connector whose dials fail until `is_up` is true.
fn flaky<F>(
    is_up: &Arc<AtomicBool>,
    dials: &Arc<AtomicUsize>,
    connect: impl Fn() -> F + Send + Sync + 'static,
) -> ClientBuilder
where
    F: Future<Output = Result<Box<dyn Transport>, BoxError>> + Send + 'static,
{
    let (is_up, dials) = (is_up.clone(), dials.clone());
    Client::builder().connector(move |_| {
        dials.fetch_add(1, Ordering::SeqCst);
        let connected = is_up.load(Ordering::SeqCst).then(&connect);
        async move {
            match connected {
                Some(connected) => connected.await,
                None => Err("refused".into()),
            }
        }
    })
}

/// A failed dial for `min_idle` is tried again after some seconds, and not at once.
#[tokio::test(start_paused = true)]
async fn rule_13_rule_14_a_failing_host_is_tried_again_in_its_time() {
    let (is_up, dials) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let quiet = || async { Ok(Box::new(Silence) as Box<dyn Transport>) };
    let client = flaky(&is_up, &dials, quiet).build().unwrap();
    client.min_idle("http://h.test/", 2).unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tried = dials.load(Ordering::SeqCst);
    // The pool dials again after a few seconds each time.
    assert!((20..200).contains(&tried), "{tried} dials in ten minutes");
    is_up.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(client.pool().stats().total.idle, 2, "the host can be reached again");
}

/// With `wait_for_failing_hosts`, requests wait until the host's waiting period ends. If the next dial fails, all waiting
/// requests fail with it.
#[tokio::test(start_paused = true)]
async fn rule_13_requests_can_wait_for_the_next_dial() {
    let (is_up, dials) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let server = Server::echo();
    let address = server.address();
    let connect =
        move || async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Transport>) };
    let client = flaky(&is_up, &dials, connect)
        .wait_for_failing_hosts(true)
        .failing_host_backoff(Duration::from_secs(30))
        .build()
        .unwrap();
    let url = "http://h.test/";
    for n in 1..=2 {
        get(&client, url).await.unwrap_err();
        assert_eq!(dials.load(Ordering::SeqCst), n);
    }
    let fetch = || {
        let client = client.clone();
        tokio::spawn(async move { get(&client, url).await })
    };
    let waiting: Vec<_> = (0..50).map(|_| fetch()).collect();
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap_err().kind(), ErrorKind::Connect);
    }
    let tried = dials.load(Ordering::SeqCst);
    assert_eq!(tried, 3, "one dial decided for all requests");
    // The rest of the test uses the real clock, because a real socket does not follow the paused clock.
    tokio::time::resume();
    is_up.store(true, Ordering::SeqCst);
    let waiting: Vec<_> = (0..50).map(|_| fetch()).collect();
    for request in waiting {
        request.await.unwrap().unwrap();
    }
    assert!(dials.load(Ordering::SeqCst) <= tried + 50);
    let total = client.pool().stats().total;
    assert_eq!((total.waiting, total.dialing, total.active), (0, 0, 0), "{total}");
}

/// Connections that were made at the same time reach their maximum lifetime at different times. A request under way is
/// not interrupted when its connection reaches its maximum lifetime.
#[tokio::test]
async fn rule_16_a_fleet_is_replaced_one_by_one() {
    let server = Server::echo();
    let lifetime = Duration::from_secs(600);
    let client = Client::builder().max_idle_per_host(100).idle_timeout(None).max_lifetime(lifetime);
    let client = client.build().unwrap();
    within(20, client.warm(server.url("/"), 50)).await.unwrap();
    tokio::time::pause();
    let mut left = Vec::new();
    for _ in 0..600 {
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        left.push(client.pool().stats().total.idle);
    }
    assert_eq!((left[538], left[599]), (50, 0), "all lifetimes are in the last tenth of the maximum");
    let most = left.windows(2).map(|pair| pair[0] - pair[1]).max();
    assert!(most <= Some(3), "{most:?} of 50 within one of 60 seconds");
    assert_eq!(closed(&client, DropReason::MaxLifetime), 50);
}

/// The host refuses new connections, while requests keep reusing one of its connections. The pool does not dial again at
/// each reuse.
#[tokio::test]
async fn rule_14_a_refused_dial_is_not_repeated_on_every_reuse() {
    let dials = Arc::new(AtomicUsize::new(0));
    let (server, counted) = (Server::echo(), dials.clone());
    let address = server.address();
    let client = Client::builder().connector(move |_| {
        let dial = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if dial > 0 {
                return Err("refused".into());
            }
            Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Transport>)
        }
    });
    let client = client.build().unwrap();
    get(&client, "http://h.test/").await.unwrap();
    client.min_idle("http://h.test/", 1).unwrap();
    for _ in 0..500 {
        get(&client, "http://h.test/").await.unwrap();
    }
    let dialed = dials.load(Ordering::SeqCst);
    assert!(dialed <= 4, "{dialed} dials");
}
