//! A request or a dial that goes on under another subscriber than the one under which it began.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tracing::instrument::WithSubscriber;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::{client, finish, settle};
use crate::support::plain::Plain;
use crate::support::recorder::{Recorder, tree};
use crate::support::scripted::{Peers, Reply, Script};
use handclasp::Client;

/// The number of a span means nothing, or another span, to a subscriber that did not give the number.
#[tokio::test]
async fn the_phases_of_a_dial_stand_under_the_span_of_the_dial_in_its_own_subscriber() {
    let server = Plain::start();
    let (others, _guard) = Recorder::start();
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    let client = Client::builder().dns_resolver(super::Loopback).build().unwrap();
    let url = format!("http://a.test:{}/", server.address.port());
    let call = async { finish(client.get(&url).send().await.unwrap()).await };
    call.with_subscriber(subscriber).await;
    settle().await;
    let told = ["http.request(queue send wait receive)", "connection.setup(dns tcp)"];
    assert_eq!(tree(&recorder.take()), told);
    assert!(others.take().is_empty());
}

/// A subscriber is set while the request waits for its connection. The span of the caller closes after the request, because
/// a span stays open until all spans below it have closed.
#[tokio::test(start_paused = true)]
async fn the_phases_of_a_request_stand_under_its_span_in_its_own_subscriber() {
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    let (recorder, guard) = Recorder::start();
    let mut request = Box::pin(client.get(super::URL).send());
    let outer = tracing::info_span!(target: "handclasp", "outer", elapsed_ns = 0);
    outer.in_scope(|| assert!(request.as_mut().now_or_never().is_none()));
    drop(outer);
    drop(guard);
    let (others, _guard) = Recorder::start();
    finish(request.await.unwrap()).await;
    settle().await;
    let told = ["outer(http.request(queue send wait receive))", "connection.setup"];
    assert_eq!(tree(&recorder.take()), told);
    assert!(others.take().is_empty());
}

/// Drops its content when a span or an event with this name comes.
#[derive(Clone)]
struct Dropping(&'static str, Arc<Mutex<Option<Box<dyn Send>>>>);

impl Dropping {
    fn see(&self, name: &str) {
        if name == self.0 {
            drop(self.1.lock().unwrap().take());
        }
    }
}

impl<S: Subscriber> Layer<S> for Dropping {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.see(attributes.metadata().name());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.see(event.metadata().name());
    }
}

/// While an event or a new span is handed to a subscriber, `tracing` panics if another subscriber is set.
#[tokio::test(start_paused = true)]
async fn a_layer_may_drop_a_request_and_its_client() {
    for name in ["the event", "the span"] {
        let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
        let (client, other) = (client(&peers), Client::new());
        let mut request = Box::pin(client.get(super::URL).send());
        let layer = Dropping(name, Arc::default());
        let subscriber = tracing_subscriber::registry().with(layer.clone());
        let guard = tracing::subscriber::set_default(subscriber);
        assert!(request.as_mut().now_or_never().is_none());
        *layer.1.lock().unwrap() = Some(Box::new((request, client)));
        match name {
            "the event" => tracing::info!(name: "the event", "an event"),
            _ => drop(tracing::info_span!("the span")),
        }
        assert!(layer.1.lock().unwrap().is_none(), "{name}");
        settle().await;
        assert_eq!(peers.live(), 0, "{name}");
        drop((guard, other));
    }
}

/// Panics when the count of calls reaches zero: once, or from then on.
#[derive(Clone)]
struct Panicking {
    left: Arc<AtomicI64>,
    always: bool,
}

impl Panicking {
    fn step(&self) {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        assert!(left > 1 || left < 1 && !self.always, "this panic is part of the test");
    }
}

impl<S: Subscriber> Layer<S> for Panicking {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.step();
    }

    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {
        self.step();
    }

    fn on_follows_from(&self, _: &Id, _: &Id, _: Context<'_, S>) {
        self.step();
    }

    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        self.step();
    }

    fn on_exit(&self, _: &Id, _: Context<'_, S>) {
        self.step();
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        // After a first panic here, tracing-subscriber closes the span above while it unwinds.
        if !self.always {
            self.step();
        }
    }
}

/// A layer panics in each call that the spans of a request and of its dial make. The request may fail, but the connection
/// and its slot come back.
#[tokio::test(start_paused = true)]
async fn a_layer_that_panics_takes_no_connection() {
    let limit = Duration::from_secs(20);
    let mut calls = 0;
    for (at, always) in (1..).flat_map(|at| [(at, false), (at, true)]) {
        let left = Arc::new(AtomicI64::new(at));
        let layer = Panicking { left: left.clone(), always };
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let replies = [Reply::ok("hello"), Reply::ok("hello")];
        let peers = Peers::new(Script::new(&[&replies, &replies]));
        let client = client(&peers);
        let call = |client: Client| {
            let call = async move { client.get(super::URL).send().await.unwrap().bytes().await.unwrap() };
            tokio::time::timeout(limit, tokio::spawn(call))
        };
        let first = call(client.clone()).await.expect("the first request ends");
        settle().await;
        assert_eq!(client.pool().stats().total.active, 0, "call {at} {always}");
        let is_over = left.swap(i64::MAX, Ordering::SeqCst) > 0;
        drop(guard);
        let second = call(client.clone()).await.expect("the second request ends").unwrap();
        assert_eq!(second, "hello", "call {at} {always}: {first:?}");
        client.pool().shutdown(limit).await;
        let total = client.pool().stats().total;
        assert_eq!(
            (total.active, total.idle, total.dialing, total.waiting),
            (0, 0, 0, 0),
            "call {at} {always}"
        );
        calls = at;
        // The layer that panics once counts more calls.
        if is_over && !always {
            break;
        }
    }
    assert!(calls > 20, "{calls}");
}
