//! Tests of many simultaneous requests to a host without connections, over real sockets. The tests check the numbers of
//! lookups, dials and connections, the order in which requests are served, and hosts that do not answer.
//!
//! `dials.rs` tests each order of events separately, with a paused clock.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use handclasp::{Answer, BoxError, Client, ErrorKind, Family, HostStats, Resolve};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Server, Signal, until, within};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A resolver whose lookups wait until the test answers them.
#[derive(Clone, Default)]
struct Lookups {
    begun: Arc<AtomicUsize>,
    waiting: Arc<Mutex<VecDeque<oneshot::Sender<Vec<IpAddr>>>>>,
}

impl Lookups {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits for a lookup, and returns the sender that answers the oldest waiting lookup.
    async fn want(&self) -> oneshot::Sender<Vec<IpAddr>> {
        until("a name is looked up", || !self.waiting.lock().unwrap().is_empty()).await;
        self.waiting.lock().unwrap().pop_front().unwrap()
    }
}

impl Resolve for Lookups {
    fn resolve(
        &self,
        name: &str,
        _: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        assert!(name.ends_with(".test"));
        self.begun.fetch_add(1, Ordering::SeqCst);
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap().push_back(tell);
        Box::pin(async { Ok(Answer::new(told.await?.into_iter().map(|address| (address, 0).into()))) })
    }
}

/// Sends a request in a task of its own. Tasks of a runtime with one thread are polled in the order in which they were
/// spawned.
fn ask(client: &Client, url: String) -> JoinHandle<handclasp::Result<String>> {
    let request = client.get(url).send();
    tokio::spawn(async move { request.await?.text().await })
}

async fn answer(asked: JoinHandle<handclasp::Result<String>>) -> String {
    within(20, asked).await.unwrap().unwrap_or_else(|error| panic!("{}", error.chain()))
}

async fn kind(asked: JoinHandle<handclasp::Result<String>>) -> ErrorKind {
    within(20, asked).await.unwrap().unwrap_err().kind()
}

fn total(client: &Client) -> HostStats {
    client.pool().stats().total
}

/// The server answers one request at a time, in the order of the requests. After each answer, the freed connection carries
/// the request of the oldest waiter.
#[tokio::test]
async fn rule_10_a_cold_burst_looks_up_once_keeps_to_its_limit_and_is_served_in_order() {
    const BURST: usize = 100;
    const LIMIT: usize = 8;
    let signals: Vec<_> = (0..BURST).map(|_| Signal::new()).collect();
    let turns = signals.clone();
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            peer.wait(&turns[request.target[1..].parse::<usize>().unwrap()])?;
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let lookups = Lookups::default();
    let client =
        Client::builder().max_connections_per_host(LIMIT).dns_resolver(lookups.clone()).build().unwrap();
    let url = |at: usize| format!("http://burst.test:{}/{at}", server.address().port());
    let done: Arc<Mutex<Vec<usize>>> = Arc::default();
    let asked: Vec<_> = (0..BURST)
        .map(|at| {
            let (asked, done) = (client.get(url(at)).send(), done.clone());
            tokio::spawn(async move {
                let text = asked.await?.text().await;
                done.lock().unwrap().push(at);
                text
            })
        })
        .collect();
    let lookup = lookups.want().await;
    until("all requests wait", || total(&client).waiting == BURST).await;
    assert_eq!(total(&client).dialing, LIMIT);
    lookup.send(vec![LOOPBACK]).unwrap();

    until("the first requests have arrived", || server.seen().len() == LIMIT).await;
    let mut seen: Vec<_> = server.seen().into_iter().map(|seen| seen.request.target).collect();
    seen.sort();
    assert_eq!(
        seen,
        [0, 1, 2, 3, 4, 5, 6, 7].map(|at| format!("/{at}")),
        "the requests that came first are sent first"
    );
    for (at, signal) in signals.iter().enumerate() {
        signal.raise();
        until("the request is answered", || done.lock().unwrap().len() == at + 1).await;
        let come = (at + 1 + LIMIT).min(BURST);
        until("the next request has arrived", || server.seen().len() == come).await;
        assert_eq!(server.seen()[come - 1].request.target, format!("/{}", come - 1), "the oldest waiter");
    }
    for (at, asked) in asked.into_iter().enumerate() {
        assert_eq!(answer(asked).await, format!("/{at}"));
    }
    assert!(done.lock().unwrap().is_sorted(), "requests are served in the order of their arrival");
    assert_eq!((lookups.begun(), server.connections()), (1, LIMIT));
    let total = total(&client);
    assert_eq!((total.opened, total.idle, total.failed_dials), (LIMIT as u64, LIMIT, 0), "{total}");
}

/// Without a limit, each waiter has a dial of its own. Waiters that left before they asked for a dial have none.
#[tokio::test]
async fn rule_10_a_cold_burst_without_a_limit_dials_for_live_waiters_alone() {
    let (server, lookups) = (Server::echo(), Lookups::default());
    let client = Client::builder().dns_resolver(lookups.clone()).max_idle_per_host(100).build().unwrap();
    let url = |at: usize| format!("http://burst.test:{}/{at}", server.address().port());
    let mut asked: Vec<_> = (0..60).map(|at| ask(&client, url(at))).collect();
    let lookup = lookups.want().await;
    until("each request has a dial", || total(&client).dialing == 60).await;
    for asked in asked.drain(..25) {
        asked.abort();
    }
    until("the aborted requests have left", || total(&client).waiting == 35).await;
    // 25 dials are under way without a waiter of their own. Of the new waiters, only those beyond 25 begin a dial.
    asked.extend((60..100).map(|at| ask(&client, url(at))));
    until("all requests wait", || total(&client).waiting == 75).await;
    assert_eq!(total(&client).dialing, 75);
    lookup.send(vec![LOOPBACK]).unwrap();
    for (at, asked) in (25..).zip(asked) {
        assert_eq!(answer(asked).await, format!("/{at}"));
    }
    until("all dials have ended", || total(&client).dialing == 0).await;
    until("all connections are accepted", || server.connections() == 75).await;
    let total = total(&client);
    assert_eq!((lookups.begun(), total.opened, total.idle), (1, 75, 75), "{total}");
}

/// A dial whose host name does not exist fails all requests that queued before the dial began. A request that queued
/// later gets another dial, which looks the name up again.
#[tokio::test]
async fn rule_11_a_name_not_found_fails_those_who_queued_before_the_dial() {
    let go = Signal::new();
    let told = go.clone();
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            if request.target == "/holder" {
                peer.wait(&told)?;
                peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlast")?;
                return peer.close();
            }
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let lookups = Lookups::default();
    // The cache is off, so that each dial looks the name up.
    let none = std::time::Duration::ZERO;
    let builder = Client::builder().dns_cache_ttl(none, none);
    let client = builder.max_connections_per_host(1).dns_resolver(lookups.clone()).build().unwrap();
    let url = |path: &str| format!("http://burst.test:{}{path}", server.address().port());
    let holder = ask(&client, url("/holder"));
    lookups.want().await.send(vec![LOOPBACK]).unwrap();
    until("the first request holds the connection", || server.seen().len() == 1).await;
    let before: Vec<_> = (0..100).map(|at| ask(&client, url(&format!("/{at}")))).collect();
    until("the requests wait", || total(&client).waiting == 100).await;
    go.raise();
    assert_eq!(answer(holder).await, "last");
    let lookup = lookups.want().await;
    let after = [ask(&client, url("/after")), ask(&client, url("/later"))];
    until("the later requests wait too", || total(&client).waiting == 102).await;
    assert_eq!(total(&client).dialing, 1);
    lookup.send(Vec::new()).unwrap();
    for asked in before {
        assert_eq!(kind(asked).await, ErrorKind::Dns);
    }
    let lookup = lookups.want().await;
    assert_eq!((total(&client).waiting, total(&client).dialing), (2, 1));
    lookup.send(vec![LOOPBACK]).unwrap();
    for (asked, path) in after.into_iter().zip(["/after", "/later"]) {
        assert_eq!(answer(asked).await, path);
    }
    let total = total(&client);
    assert_eq!((lookups.begun(), server.connections()), (3, 2));
    assert_eq!((total.opened, total.failed_dials, total.idle), (2, 1, 1), "{total}");
}

/// Every address refuses connections. The first dial began when only the first request waited, and fails that request. The
/// second dial began when all requests waited, and fails the others.
#[tokio::test]
async fn rule_11_two_refused_dials_fail_a_hundred() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::builder().max_connections_per_host(1).build().unwrap();
    let asked: Vec<_> = (0..100).map(|_| ask(&client, format!("http://{refusing}/"))).collect();
    for asked in asked {
        assert_eq!(kind(asked).await, ErrorKind::Connect);
    }
    let total = total(&client);
    assert_eq!((total.failed_dials, total.waiting, total.dialing, total.opened), (2, 0, 0, 0), "{total}");
}

/// The host answers no SYN, because its accept queue is full. A hundred requests wait with eight dials at a time. All of
/// them fail when the first eight dials fail, or with the dial that began when the first of these dials failed.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn rule_11_a_hundred_at_a_host_that_takes_no_connection_cost_nine_dials_at_most() {
    use std::net::SocketAddr;
    use std::time::Duration;

    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let _queued = std::net::TcpStream::connect(address).unwrap();

    let client = Client::builder()
        .max_connections_per_host(8)
        .connect_timeout(Duration::from_millis(300))
        .acquire_timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let asked: Vec<_> = (0..100).map(|_| ask(&client, format!("http://{address}/"))).collect();
    for asked in asked {
        assert_eq!(kind(asked).await, ErrorKind::Timeout);
    }
    until("the last dial has ended", || total(&client).dialing == 0).await;
    let total = total(&client);
    assert!((8..=9).contains(&total.failed_dials), "{total}");
    assert_eq!((total.waiting, total.opened, total.active), (0, 0, 0), "{total}");
}
