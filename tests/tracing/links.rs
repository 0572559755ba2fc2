//! Links from the span of a request to the span of the dial of its connection, as OpenTelemetry exports them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt};
use opentelemetry_sdk::trace::SpanData;
use tracing::Subscriber;
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::exported::{Exported, exporter, find, layer, links, requests, text, value};
use super::{REDIRECT, URL, client, finish, settle};
use crate::support::plain::Plain;
use crate::support::recorder::Recorder;
use crate::support::scripted::{Peers, Reply, Script};
use handclasp::Client;

/// Returns the number of the connection that a span names.
fn connection(span: &SpanData) -> String {
    text(span, "handclasp.connection.id").unwrap()
}

/// Returns the context of each dial, by the number of its connection.
fn setups(spans: &[SpanData]) -> BTreeMap<String, SpanContext> {
    let setups = spans.iter().filter(|span| span.name == "connection.setup");
    setups.map(|setup| (connection(setup), setup.span_context.clone())).collect()
}

/// A request may wait for its dial, find a connection that another request uses, or find an idle connection. It may also
/// be sent again, on its old connection after a redirect, and on a new connection after its connection was lost.
#[tokio::test(start_paused = true)]
async fn each_request_is_exported_with_one_link_to_the_dial_of_its_connection() {
    let exported = Exported::start();
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let ok = Reply::ok("hello");
    let replies = [slow, ok.clone(), ok.clone(), Reply::raw(&[REDIRECT]), ok.clone(), Reply::silence().eof()];
    let peers = Peers::new(Script { is_eager: true, ..Script::new(&[&replies, &[ok]]) });
    let client = client(&peers);

    let cold = client.get(URL).send().await.unwrap();
    let mut waits = Box::pin(client.get(URL).send());
    assert!(futures_util::FutureExt::now_or_never(waits.as_mut()).is_none(), "there is one connection");
    finish(cold).await;
    finish(waits.await.unwrap()).await;
    // A warm request, a redirect, and a request that is sent again.
    for _ in 0..3 {
        finish(client.get(URL).send().await.unwrap()).await;
    }
    settle().await;

    let spans = exported.take();
    let setups = setups(&spans);
    let seen: Vec<_> = requests(&spans).into_iter().map(|span| (connection(span), links(span))).collect();
    let (first, second) = (("1".to_owned(), vec![&setups["1"]]), ("2".to_owned(), vec![&setups["2"]]));
    let told = [&first, &first, &first, &first, &first, &first, &second];
    assert_eq!(seen.iter().collect::<Vec<_>>(), told);
    assert_eq!(setups.len(), 2);
    assert_ne!(setups["1"].trace_id(), setups["2"].trace_id());
}

/// A request that began a dial and used another connection is linked to both dials, once to each.
#[tokio::test(start_paused = true)]
async fn a_dial_that_served_another_request_is_exported_with_a_link_too() {
    let exported = Exported::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello").split(20)]]));
    let client = Client::builder().connector(peers.connector()).build().unwrap();
    let first = client.get(URL).send().await.unwrap();
    let mut second = Box::pin(client.get(URL).send());
    assert!(futures_util::FutureExt::now_or_never(second.as_mut()).is_none(), "a connection is dialed");
    finish(first).await;
    finish(second.await.unwrap()).await;
    settle().await;
    // The dial has ended, and no request has waited for its end.
    let (response, other) = tokio::join!(client.get(URL).send(), client.get(URL).send());
    finish(response.unwrap()).await;
    finish(other.unwrap()).await;

    let spans = exported.take();
    let setups = setups(&spans);
    let seen: Vec<_> = requests(&spans).into_iter().map(|span| (connection(span), links(span))).collect();
    assert_eq!((setups.len(), seen.len()), (2, 4));
    assert_eq!(seen[0], ("1".to_owned(), vec![&setups["1"]]));
    assert_eq!(seen[1], ("1".to_owned(), vec![&setups["2"], &setups["1"]]));
    for (connection, links) in &seen[2..] {
        assert_eq!(links, &[&setups[connection]]);
    }
    assert_ne!(seen[2].0, seen[3].0, "both connections were used");
}

/// Requests race for connections on several threads. Whether a dial's span is still open when a request gets the
/// connection is left to chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_exported_with_a_link_twice() {
    let server = Plain::start();
    let (exporter, provider) = exporter();
    let subscriber = Arc::new(tracing_subscriber::registry().with(layer(&provider)));
    let client = Client::builder().max_connections_per_host(8).build().unwrap();
    for round in 0..10 {
        let url = server.url("/bytes/10");
        let calls = (0..20).map(|_| {
            let call = client.get(&url).send();
            tokio::spawn(async move { finish(call.await.unwrap()).await }.with_subscriber(subscriber.clone()))
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        if round % 2 == 0 {
            client.pool().close_idle();
        }
    }
    drop(client);
    // The last dials may have ended after the last request.
    let ended = async {
        loop {
            let spans = exporter.get_finished_spans().unwrap();
            let setups = setups(&spans);
            if requests(&spans).into_iter().all(|request| setups.contains_key(&connection(request))) {
                break (spans, setups);
            }
            tokio::task::yield_now().await;
        }
    };
    let (spans, setups) = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    assert_eq!(requests(&spans).len(), 200);
    for request in requests(&spans) {
        let links = links(request);
        let to = |context: &SpanContext| links.iter().filter(|link| **link == context).count();
        assert_eq!(to(&setups[&connection(request)]), 1, "its own dial: {links:?}");
        assert!(links.iter().all(|link| to(link) == 1), "once each: {links:?}");
        assert!(links.len() <= 2, "its own dial, and a dial that it began: {links:?}");
    }
}

/// The client reads the context of the span of a dial while the dial runs. Nothing else of the span changes.
#[tokio::test(start_paused = true)]
async fn the_span_of_a_dial_to_which_requests_are_linked_is_whole() {
    let exported = Exported::start();
    let peers = Peers::new(Script { failed_dials: 1, ..Script::new(&[&[Reply::ok("hello")]]) });
    let client = client(&peers);
    let outer = tracing::info_span!("outer");
    let calls = async {
        client.get(URL).send().await.unwrap_err();
        client.warm(URL, 1).await.unwrap();
        finish(client.get(URL).send().await.unwrap()).await;
    };
    tracing::Instrument::instrument(calls, outer).await;
    assert!(!Context::current().span().span_context().is_valid(), "no span is left as the current span");
    let spans = exported.take();
    let outer = find(&spans, "outer");
    let dials: Vec<_> = spans.iter().filter(|span| span.name == "connection.setup").collect();
    let attempts = requests(&spans);
    assert_eq!((dials.len(), attempts.len()), (2, 2));
    for (dial, (number, error, status)) in
        dials.iter().zip([(1, Some("Connect"), Status::error("")), (2, None, Status::Unset)])
    {
        assert_eq!((&dial.span_kind, dial.parent_span_id), (&SpanKind::Internal, SpanId::INVALID));
        assert_ne!(dial.span_context.trace_id(), outer.span_context.trace_id());
        assert_eq!((text(dial, "error.type").as_deref(), &dial.status), (error, &status));
        assert_eq!(value(dial, "handclasp.connection.id"), Some(number.into()));
        assert_eq!(text(dial, "server.address").as_deref(), Some("a.test"));
        assert!(value(dial, "elapsed_ns").is_some(), "what is recorded at the end is exported");
        assert!(dial.links.is_empty());
    }
    assert_eq!(links(attempts[0]), [&dials[0].span_context], "a dial that failed");
    assert_eq!(links(attempts[1]), [&dials[1].span_context], "a dial that no request waited for");
    for attempt in attempts {
        assert_eq!(attempt.parent_span_id, outer.span_context.span_id());
    }
}

/// The number of a span means another span in another subscriber.
#[tokio::test(start_paused = true)]
async fn a_request_is_linked_to_a_dial_under_another_subscriber() {
    let dialed = Exported::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    finish(client.get(URL).send().await.unwrap()).await;
    let setup = find(&dialed.take(), "connection.setup").span_context.clone();

    let exported = Exported::start();
    // These spans have the numbers that the spans above have in their subscriber.
    let open: Vec<_> = (0..50).map(|_| tracing::info_span!("open")).collect();
    finish(client.get(URL).send().await.unwrap()).await;
    let spans = exported.take();
    assert_eq!(links(requests(&spans)[0]), [&setup]);
    assert!(dialed.take().is_empty());
    drop(open);
}

/// Notes the number of the latest span of a dial.
struct Number(Arc<AtomicU64>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Number {
    fn on_new_span(
        &self,
        attributes: &Attributes<'_>,
        id: &Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        if attributes.metadata().name() == "connection.setup" {
            self.0.store(id.into_u64(), Ordering::Relaxed);
        }
    }
}

/// A subscriber gives the number of a span that has closed to another span after some thousand spans.
#[tokio::test(start_paused = true)]
async fn a_span_that_got_the_number_of_a_dial_is_not_linked() {
    let number = Arc::new(AtomicU64::new(0));
    let (exporter, provider) = exporter();
    let subscriber = tracing_subscriber::registry().with(layer(&provider)).with(Number(number.clone()));
    let _guard = tracing::subscriber::set_default(subscriber);
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    finish(client.get(URL).send().await.unwrap()).await;
    settle().await;
    let setup = setups(&exporter.get_finished_spans().unwrap())["1"].clone();
    let wanted = number.load(Ordering::Relaxed);
    // Sixteen spans at a time, because the number may not be the next one that is free.
    let other = (0..100_000).find_map(|_| {
        exporter.reset();
        let open: Vec<_> = (0..16).map(|_| tracing::info_span!("other")).collect();
        open.into_iter().find(|span| span.id().is_some_and(|id| id.into_u64() == wanted))
    });
    let other = other.expect("a number is given again");
    finish(client.get(URL).send().await.unwrap()).await;
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(links(requests(&spans)[0]), [&setup]);
    drop(other);
}

/// The layer exports spans from the level `info` on, so that it does not know the spans of dials.
#[tokio::test(start_paused = true)]
async fn a_dial_that_is_not_exported_has_no_link() {
    let (exporter, provider) = exporter();
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry()
        .with(layer(&provider).with_filter(LevelFilter::INFO))
        .with(recorder.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    for _ in 0..2 {
        finish(client.get(URL).send().await.unwrap()).await;
    }
    settle().await;
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!((spans.len(), requests(&spans).len()), (2, 2));
    assert!(spans.iter().all(|span| span.links.is_empty()));
    let spans = recorder.take();
    let setup = spans.iter().position(|span| span.name == "connection.setup").unwrap();
    let requests: Vec<_> = spans.iter().filter(|span| span.name == "http.request").collect();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.follows, [setup], "the other layers of the subscriber get the number");
    }
}
