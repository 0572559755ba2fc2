//! Spans as OpenTelemetry exports them: kinds, names, parents, links, status and attributes.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use opentelemetry::Value;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::Subscriber;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::{URL, client, finish, settle};
use crate::support::plain::Plain;
use crate::support::scripted::{Peers, Reply, Script};
use handclasp::{Client, ErrorKind};

/// Returns an exporter to memory, and the provider of its tracers.
pub(super) fn exporter() -> (InMemorySpanExporter, SdkTracerProvider) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    (exporter, provider)
}

/// Returns the layer that exports spans to a provider.
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
    provider: &SdkTracerProvider,
) -> impl Layer<S> + use<S> {
    tracing_opentelemetry::layer().with_tracer(provider.tracer("handclasp"))
}

/// Exports the spans of this thread to memory, through `tracing-opentelemetry`.
pub(super) struct Exported {
    exporter: InMemorySpanExporter,
    _provider: SdkTracerProvider,
    _guard: DefaultGuard,
}

impl Exported {
    pub(super) fn start() -> Self {
        let (exporter, provider) = exporter();
        let subscriber = tracing_subscriber::registry().with(layer(&provider));
        Self { exporter, _provider: provider, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Returns the spans that have ended since the last call, in the order of their start.
    pub(super) fn take(&self) -> Vec<SpanData> {
        let mut spans = self.exporter.get_finished_spans().unwrap();
        self.exporter.reset();
        spans.sort_by_key(|span| span.start_time);
        spans
    }
}

pub(super) fn value(span: &SpanData, key: &str) -> Option<Value> {
    let mut found = span.attributes.iter().filter(|pair| pair.key.as_str() == key);
    let value = found.next().map(|pair| pair.value.clone());
    assert!(found.next().is_none(), "{key} is there twice");
    value
}

pub(super) fn text(span: &SpanData, key: &str) -> Option<String> {
    value(span, key).map(|value| value.to_string())
}

pub(super) fn find<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}: {spans:?}"));
    assert!(found.next().is_none(), "one span {name}");
    span
}

pub(super) fn links(span: &SpanData) -> Vec<&SpanContext> {
    span.links.iter().map(|link| &link.span_context).collect()
}

pub(super) fn requests(spans: &[SpanData]) -> Vec<&SpanData> {
    spans.iter().filter(|span| span.span_kind == SpanKind::Client).collect()
}

/// Required and recommended attributes have the types that the conventions name.
#[tokio::test]
async fn an_exported_request_is_what_the_conventions_ask_for() {
    let server = Plain::start();
    let port = i64::from(server.address.port());
    let exported = Exported::start();
    let client = Client::builder().dns_resolver(super::Loopback).build().unwrap();
    let url = format!("http://me:secret@a.test:{port}/x?sig=hunter2");
    finish(client.get(&url).url_template("/{page}").send().await.unwrap()).await;
    let spans = exported.take();
    let request = find(&spans, "GET /{page}");
    assert_eq!((&request.span_kind, &request.status), (&SpanKind::Client, &Status::Unset));
    assert_eq!(request.parent_span_id, SpanId::INVALID);
    for (key, expected) in [
        ("http.request.method", "GET".into()),
        ("url.full", format!("http://a.test:{port}/x?sig=REDACTED").into()),
        ("url.template", "/{page}".into()),
        ("server.address", "a.test".into()),
        ("server.port", Value::I64(port)),
        ("http.response.status_code", Value::I64(200)),
        ("network.protocol.version", "1.1".into()),
        ("network.peer.address", "127.0.0.1".into()),
        ("network.peer.port", Value::I64(port)),
        ("handclasp.connection.id", Value::I64(1)),
        ("handclasp.connection.reused", Value::Bool(false)),
    ] {
        assert_eq!(value(request, key), Some(expected), "{key}");
    }
    for key in ["error.type", "http.request.resend_count", "http.request.method_original"] {
        assert_eq!(value(request, key), None, "{key}");
    }
    // The fields that only tracing-opentelemetry reads are no attributes.
    assert!(request.attributes.iter().all(|pair| !pair.key.as_str().starts_with("otel.")));

    let setup = find(&spans, "connection.setup");
    assert_eq!((&setup.span_kind, setup.parent_span_id), (&SpanKind::Internal, SpanId::INVALID));
    assert_ne!(setup.span_context.trace_id(), request.span_context.trace_id(), "a root of its own");
    assert_eq!(links(request), [&setup.span_context]);
    for (parent, names) in [(request, &["queue", "send", "wait", "receive"][..]), (setup, &["dns", "tcp"])] {
        for name in names {
            let phase = find(&spans, name);
            assert_eq!(phase.parent_span_id, parent.span_context.span_id(), "{name}");
            assert_eq!(phase.span_context.trace_id(), parent.span_context.trace_id(), "{name}");
            assert_eq!((&phase.span_kind, &phase.status), (&SpanKind::Internal, &Status::Unset), "{name}");
        }
    }
    assert_eq!(text(find(&spans, "tcp"), "outcome").as_deref(), Some("won"));
    assert_eq!(text(find(&spans, "dns"), "dns.question.name").as_deref(), Some("a.test"));
    assert_eq!(spans.len(), 8);
    assert!(!format!("{spans:?}").contains("secret"), "A-77");
    assert!(!format!("{spans:?}").contains("hunter2"), "A-77");
}

/// The attempts of a call are siblings, and count their resends. An attempt that failed has an error status.
#[tokio::test(start_paused = true)]
async fn exported_attempts_are_siblings_with_a_status() {
    use tracing::Instrument;

    let exported = Exported::start();
    let dying = [Reply::ok("hello"), Reply::silence().eof()];
    let missing = Reply::raw(&["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]);
    let script = Script { is_eager: true, ..Script::new(&[&dying, &[Reply::ok("hello"), missing]]) };
    let peers = Peers::new(script);
    let client = client(&peers);
    finish(client.get(URL).send().await.unwrap()).await;
    exported.take();
    let outer = tracing::info_span!("outer");
    let calls = async {
        finish(client.get(URL).send().await.unwrap()).await;
        let brew: http::Method = "BREW".parse().unwrap();
        finish(client.request(brew, URL).send().await.unwrap()).await;
    };
    calls.instrument(outer).await;
    let spans = exported.take();
    let outer = find(&spans, "outer");
    let attempts = requests(&spans);
    let error = |text: &'static str| (Status::error(""), Some(text.to_owned()));
    for (attempt, (name, resends, (status, kind))) in attempts.iter().zip([
        ("GET", None, error("ConnectionLost")),
        ("GET", Some(Value::I64(1)), (Status::Unset, None)),
        ("HTTP", None, error("404")),
    ]) {
        assert_eq!((&*attempt.name, value(attempt, "http.request.resend_count")), (name, resends));
        assert_eq!((&attempt.status, text(attempt, "error.type")), (&status, kind));
        assert_eq!(attempt.parent_span_id, outer.span_context.span_id());
        assert_eq!(attempt.span_context.trace_id(), outer.span_context.trace_id());
    }
    assert_eq!(attempts.len(), 3);
    assert_eq!(text(attempts[2], "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(text(attempts[2], "http.request.method_original").as_deref(), Some("BREW"));
    let setup = find(&spans, "connection.setup");
    assert_eq!(setup.parent_span_id, SpanId::INVALID, "a dial is no child of the request that began it");
    assert_ne!(setup.span_context.trace_id(), outer.span_context.trace_id());
    assert_eq!(links(attempts[1]), [&setup.span_context]);
    // The span of the dial has closed by then, and tracing-opentelemetry itself links open spans only.
    let later = if cfg!(feature = "otel") { vec![&setup.span_context] } else { Vec::new() };
    assert_eq!(links(attempts[2]), later);
    assert_eq!(value(attempts[2], "handclasp.connection.id"), value(setup, "handclasp.connection.id"));
}

/// A request that failed has an error status. A request that its caller cancelled has none, as the conventions say.
#[tokio::test(start_paused = true)]
async fn exported_spans_of_requests_without_an_answer_have_an_error_status() {
    let exported = Exported::start();
    let cut = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]);
    let peers = Peers::new(Script { failed_dials: 1, ..Script::new(&[&[cut]]) });
    let client = client(&peers);
    assert_eq!(client.get(URL).send().await.unwrap_err().kind(), ErrorKind::Connect);
    drop(client.get(URL).send().await.unwrap());
    drop(client);
    settle().await;
    let spans = exported.take();
    let [failed, cancelled] = requests(&spans)[..] else { panic!("{spans:?}") };
    let error = |span| text(span, "error.type");
    assert_eq!((&failed.status, error(failed).as_deref()), (&Status::error(""), Some("Connect")));
    assert_eq!((&cancelled.status, error(cancelled)), (&Status::Unset, None));
    let is_cancelled = |span| value(span, "handclasp.cancelled");
    assert_eq!((is_cancelled(failed), is_cancelled(cancelled)), (None, Some(Value::Bool(true))));
    let setups: Vec<_> = spans.iter().filter(|span| span.name == "connection.setup").collect();
    assert_eq!((setups.len(), text(setups[0], "error.type").as_deref()), (2, Some("Connect")));
    assert_eq!((&setups[0].status, &setups[1].status), (&Status::error(""), &Status::Unset));
}

/// The span of a dial ends with the dial, also if no request uses the connection yet, and if the request that began the
/// dial is not polled.
#[tokio::test(start_paused = true)]
async fn the_exported_span_of_a_dial_ends_with_the_dial() {
    let exported = Exported::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    client.warm(URL, 1).await.unwrap();
    settle().await;
    assert_eq!(exported.take().len(), 1, "the dial of the idle connection");

    client.pool().close_idle();
    let mut request = Box::pin(client.get(URL).send());
    assert!(futures_util::FutureExt::now_or_never(request.as_mut()).is_none());
    settle().await;
    let now = SystemTime::now();
    finish(request.await.unwrap()).await;
    settle().await;
    let spans = exported.take();
    assert!(find(&spans, "connection.setup").end_time <= now, "the dial had ended");
    assert!(requests(&spans)[0].end_time >= now);
}

/// A propagator that runs in `on_request` gets the context of each attempt. The span of the attempt still lasts until the
/// end of the response, although it was entered at its start.
#[tokio::test]
async fn a_hook_injects_the_context_of_each_attempt() {
    use opentelemetry::trace::TraceContextExt;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let server = Plain::start();
    let exported = Exported::start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let client = Client::builder()
        .on_request(move |_, _| {
            kept.lock().unwrap().push(tracing::Span::current().context().span().span_context().clone());
        })
        .build()
        .unwrap();
    for _ in 0..2 {
        finish(client.get(server.url("/slow/5")).send().await.unwrap()).await;
    }
    let spans = exported.take();
    let requests = requests(&spans);
    let ids: Vec<_> = requests.iter().map(|span| span.span_context.clone()).collect();
    assert_eq!((ids.len(), &ids), (2, &*seen.lock().unwrap()));
    for request in requests {
        let children = spans.iter().filter(|span| span.parent_span_id == request.span_context.span_id());
        let ends: Vec<_> = children.map(|child| child.end_time).collect();
        assert_eq!(ends.len(), 4);
        assert!(ends.iter().all(|end| *end <= request.end_time), "the phases lie within the attempt");
    }
}
