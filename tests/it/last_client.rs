//! The drop of the last handle of a client. Nobody can use the result of a dial or a lookup any more, so that both end at
//! once instead of at their timeouts.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::{self, StreamExt};
use handclasp::{Answer, BoxError, Client, Destination, Family, PoolEventKind, Resolve, Transport};
use tokio::time::Instant;

use crate::support::dials::{Dial, Dials, ask, counts, settle};
use crate::support::plain::Plain;
use crate::support::scripted::{Peers, Reply, Script};
use crate::support::{until, until_now, within};

const URL: &str = "http://a.test/";

fn bench() -> (Dials, Client) {
    let dials = Dials::default();
    let client = dials.builder().build().unwrap();
    (dials, client)
}

/// Begins two dials that no request waits for: a dial for a request that was dropped, and a dial ahead.
async fn useless(dials: &Dials, client: &Client) -> [Dial; 2] {
    let asked = ask(client, URL);
    let cancelled = dials.want_dial().await;
    asked.cancel().await;
    client.min_idle("http://b.test/", 1).unwrap();
    [cancelled, dials.want_dial().await]
}

/// Dials for a request that was dropped, for `warm` and for `min_idle` go on while a clone of the client lives, and end with
/// the last clone, at once.
#[tokio::test(start_paused = true)]
async fn a_dial_ends_with_the_last_client() {
    let (dials, client) = bench();
    let useless = useless(&dials, &client).await;
    let warming = tokio::spawn({
        let client = client.clone();
        async move { client.warm("http://c.test/", 2).await }
    });
    let mut under_way = dials.want_dials(2).await;
    warming.abort();
    under_way.extend(useless);
    let (clone, mut events) = (client.clone(), client.pool().subscribe());
    drop(client);
    settle().await;
    assert!(under_way.iter().all(|dial| dial.is_under_way()), "a clone of the client lives");
    assert_eq!(counts(&clone), [0, 0, 4, 0]);
    drop(clone);
    assert!(!under_way.iter().any(|dial| dial.is_under_way()), "nobody can use the dials");
    assert_eq!((dials.total().dialing, dials.total().live), (0, 0));
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        assert!(matches!(event.kind, PoolEventKind::DialFailed { .. }), "{event}");
        told.push(event.to_string());
    }
    assert_eq!(told.len(), 4, "each dial has one end: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_on_while_a_request_holds_the_last_client() {
    let (dials, client) = bench();
    let asked = ask(&client, URL);
    let dial = dials.want_dial().await;
    drop(client);
    tokio::time::advance(Duration::from_secs(5)).await;
    settle().await;
    assert!(dial.is_under_way());
    let far = dial.finish();
    assert_eq!(asked.answer().await, 1);
    assert!(far.is_gone(), "the connection is closed, because the request held the last handle");
    // The request itself is dropped with the last handle.
    let (dials, client) = bench();
    let asked = ask(&client, URL);
    let dial = dials.want_dial().await;
    drop(client);
    asked.cancel().await;
    assert!(!dial.is_under_way());
}

/// A response needs its connection and no dial. A dial therefore ends with the last client, although a response is being read.
#[tokio::test(start_paused = true)]
async fn a_dial_ends_although_a_response_is_being_read() {
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let peers = Peers::new(Script::new(&[&[slow]]));
    let (held, counted) = (Arc::new(()), Arc::new(Mutex::new(None)));
    let (known, alive) = (peers.connector(), counted.clone());
    let connect = move |to: Destination| {
        *alive.lock().unwrap() = Some(Arc::downgrade(&held));
        let (dial, held) = (known(to.clone()), held.clone());
        async move {
            match to.host() {
                "a.test" => dial.await,
                _ => {
                    let never = pending().await;
                    drop(held);
                    never
                }
            }
        }
    };
    let client = Client::builder().connector(connect).build().unwrap();
    let response = client.get(URL).send().await.unwrap();
    client.min_idle("http://b.test/", 1).unwrap();
    settle().await;
    assert_eq!(counts(&client), [0, 1, 1, 0]);
    let dials = counted.lock().unwrap().clone().unwrap();
    drop(client);
    assert_eq!(dials.strong_count(), 0, "the dial and the connector are dropped");
    assert_eq!(response.bytes().await.unwrap(), "fourfive!");
}

/// Behavior of a dial after it has dropped the last handle of its client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Waits,
    Connects,
    Fails,
    /// The drop of the dial drops another client, and panics.
    Panics,
}

struct Panicking(Dials);

impl Drop for Panicking {
    fn drop(&mut self) {
        let (dials, client) = bench();
        client.min_idle(URL, 1).unwrap();
        drop(client);
        assert_eq!(dials.total().dialing, 0);
        drop(self.0.builder().build().unwrap());
        if !std::thread::panicking() {
            panic!("this panic is part of the test");
        }
    }
}

/// The last handle is dropped by the code of the dial itself, while the dial is polled. The dial ends, and its connection is
/// closed.
#[tokio::test(start_paused = true)]
async fn a_dial_may_drop_the_last_client() {
    for then in [Then::Waits, Then::Connects, Then::Fails, Then::Panics] {
        let (held, peers) = (Arc::new(Mutex::new(None::<Client>)), Peers::new(Script::new(&[&[]])));
        let (last, known, alive) = (held.clone(), peers.connector(), Arc::new(()));
        let counted = Arc::downgrade(&alive);
        let connect = move |to: Destination| {
            let (last, dial, alive) = (last.clone(), known(to), alive.clone());
            async move {
                let _alive = alive;
                let _panicking = (then == Then::Panics).then(|| Panicking(Dials::default()));
                // The task of the dial is polled for the first time after the client was stored.
                let client = poll_fn(|_| {
                    let client = last.lock().unwrap_or_else(PoisonError::into_inner).take();
                    client.map_or(Poll::Pending, Poll::Ready)
                });
                drop(client.await);
                match then {
                    Then::Waits | Then::Panics => pending().await,
                    Then::Connects => dial.await,
                    Then::Fails => Err::<Box<dyn Transport>, _>(BoxError::from("no line")),
                }
            }
        };
        let client = Client::builder().connector(connect).build().unwrap();
        client.min_idle(URL, 1).unwrap();
        *held.lock().unwrap() = Some(client);
        settle().await;
        assert!(held.lock().unwrap().is_none(), "{then:?}: the dial has dropped the client");
        assert_eq!((counted.strong_count(), peers.live()), (0, 0), "{then:?}");
    }
}

/// The last handle is dropped on a thread without a runtime, on another runtime, and after the runtime of the dial has ended.
#[test]
fn a_dial_ends_wherever_the_last_client_is_dropped() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for place in 0..4 {
        let (dials, client) = bench();
        let home = runtime();
        home.block_on(async {
            client.min_idle(URL, 1).unwrap();
            until("the dial is under way", || dials.total().dialing == 1).await;
        });
        match place {
            0 => std::thread::spawn(move || drop(client)).join().unwrap(),
            1 => runtime().block_on(async { drop(client) }),
            2 => home.block_on(async { drop(client) }),
            _ => {
                drop(home);
                assert_eq!(dials.total().dialing, 0, "the runtime has dropped the dial");
                drop(client);
                continue;
            }
        }
        assert_eq!(dials.total().dialing, 0, "place {place}");
        home.block_on(until("the task of the dial has ended", || home.metrics().num_alive_tasks() == 0));
    }
}

/// A resolver whose answer has a part that never comes.
struct Half {
    first: SocketAddr,
    /// Held by the resolver and by each lookup.
    held: Arc<()>,
}

impl Resolve for Half {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        unreachable!("the client asks for the parts")
    }

    fn resolve_stream(
        &self,
        name: &str,
        _: Family,
    ) -> Pin<Box<dyn Stream<Item = Result<Answer, BoxError>> + Send>> {
        let held = self.held.clone();
        let rest = stream::once(async move {
            let _held = held;
            pending().await
        });
        match name {
            "half.test" => Box::pin(stream::iter([Ok(Answer::new([self.first]))]).chain(rest)),
            _ => Box::pin(rest),
        }
    }
}

/// A lookup that has found an address goes on in a task of its own, so that the cache gets the whole answer. That task ends
/// with the client of the cache, and so does a lookup that has found nothing.
#[tokio::test]
async fn a_lookup_ends_with_the_last_client() {
    let (server, held) = (Plain::start(), Arc::new(()));
    let counted = Arc::downgrade(&held);
    let resolver = Half { first: server.address, held };
    let client = Client::builder().dns_resolver(resolver).build().unwrap();
    let response = within(20, client.get("http://half.test/").send()).await.unwrap();
    response.bytes().await.unwrap();
    client.min_idle("http://nothing.test/", 1).unwrap();
    until("the lookups are under way", || counted.strong_count() == 3).await;
    // The clock is paused, so that no timeout ends the lookups.
    tokio::time::pause();
    let begun = Instant::now();
    drop(client);
    until_now("the lookups and the resolver are dropped", || counted.strong_count() == 0).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// A resolver that drops the last handle of its client when it is asked.
struct Dropping {
    client: Arc<Mutex<Option<Client>>>,
    address: SocketAddr,
    answers: bool,
}

impl Resolve for Dropping {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        drop(self.client.lock().unwrap().take());
        let (address, answers) = (self.address, self.answers);
        Box::pin(async move { if answers { Ok(Answer::new([address])) } else { pending().await } })
    }
}

/// The dial goes on until its poll ends. The span of the dial ends after the phases that this poll begins, which the kit
/// checks.
#[tokio::test]
async fn a_resolver_may_drop_the_last_client() {
    for answers in [false, true] {
        let (server, held) = (Plain::start(), Arc::new(Mutex::new(None)));
        let resolver = Dropping { client: held.clone(), address: server.address, answers };
        let client = Client::builder().dns_resolver(resolver).build().unwrap();
        let mut events = client.pool().subscribe();
        client.min_idle(URL, 1).unwrap();
        *held.lock().unwrap() = Some(client);
        let event = within(20, events.recv()).await.unwrap();
        assert!(matches!(event.kind, PoolEventKind::DialFailed { .. }), "{event}");
        assert!(within(20, events.recv()).await.is_none() && held.lock().unwrap().is_none());
    }
}

/// A shutdown waits for the dial of a waiting request, but not for a dial that no request waits for.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_no_dial_that_nobody_waits_for() {
    let patience = Duration::from_secs(5);
    let shut_down = |client: &Client| {
        let client = client.clone();
        tokio::spawn(async move { client.pool().shutdown(patience).await })
    };
    // Nobody waits for any dial.
    let (dials, client) = bench();
    let useless = useless(&dials, &client).await;
    let begun = Instant::now();
    client.pool().shutdown(patience).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(!useless.iter().any(Dial::is_under_way));
    // A request is being answered, and another one waits for its dial.
    let (dials, client) = bench();
    let busy = ask(&client, URL);
    let far = dials.want_dial().await.hold();
    let (left, waiting) = (ask(&client, "http://b.test/"), ask(&client, "http://c.test/"));
    let [useless, wanted] = dials.want_dials(2).await.try_into().unwrap_or_else(|_| unreachable!());
    left.cancel().await;
    let shutdown = shut_down(&client);
    settle().await;
    far.answer();
    assert_eq!(busy.answer().await, 1);
    assert!(!shutdown.is_finished() && wanted.is_under_way(), "a request waits for its dial");
    wanted.finish();
    assert_eq!(waiting.answer().await, 3);
    let begun = Instant::now();
    shutdown.await.unwrap();
    assert_eq!((begun.elapsed(), useless.is_under_way()), (Duration::ZERO, false));
    assert_eq!((counts(&client), dials.total().live), ([0; 4], 0));
    // The last waiting request is dropped during the shutdown.
    let (dials, client) = bench();
    let asked = ask(&client, URL);
    let dial = dials.want_dial().await;
    let shutdown = shut_down(&client);
    settle().await;
    assert!(!shutdown.is_finished() && dial.is_under_way());
    asked.cancel().await;
    let begun = Instant::now();
    shutdown.await.unwrap();
    assert_eq!((begun.elapsed(), dial.is_under_way()), (Duration::ZERO, false));
}
