//! Records of attempts: one for each attempt, with the readings of its spans and its timings.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use handclasp::{
    Client, ClientBuilder, ErrorKind, ExchangeOutcome, ExchangeRecord, Phase, ResendCause, Timings, Version,
    Written,
};
use tracing_subscriber::layer::SubscriberExt;

use super::{URL, find, finish, settle};
use crate::support::plain::Plain;
use crate::support::recorder::{Recorder, Span, tree};
use crate::support::scripted::{Peers, Reply, Script};

/// The records that a client has given, in their order.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<ExchangeRecord>>>);

impl Records {
    /// Returns a builder of a client that gives its records to the returned value.
    pub(crate) fn of(builder: ClientBuilder) -> (Self, ClientBuilder) {
        let records = Self::default();
        let kept = records.clone();
        let builder = builder.no_gzip().no_deflate().no_brotli().no_zstd();
        (records, builder.on_exchange(move |record| kept.0.lock().unwrap().push(record.clone())))
    }

    pub(crate) fn take(&self) -> Vec<ExchangeRecord> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn one(&self) -> ExchangeRecord {
        let mut records = self.take();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }
}

/// Returns the sum of all phases.
pub(crate) fn sum(t: &Timings) -> Duration {
    let setup: Duration = [t.dns, t.connect, t.proxy, t.tls].into_iter().flatten().sum();
    t.previous + t.queued + setup + t.send + t.wait + t.receive.unwrap_or_default()
}

/// Fails unless the record has the readings of its span.
pub(crate) fn assert_same(record: &ExchangeRecord, spans: &[Span], at: usize) {
    let (t, request) = (record.timings(), &spans[at]);
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
    let phase = |name: &str| spans.iter().find(|span| span.parent == Some(at) && span.name == name);
    let setup: Duration = [t.dns, t.connect, t.proxy, t.tls].into_iter().flatten().sum();
    assert_eq!(sum(t), t.total, "{record:?}");
    assert_eq!(nanos(t.total), request.elapsed(), "{record:?}");
    for (name, length) in [
        ("queue", t.queued + setup),
        ("send", t.send),
        ("wait", t.wait),
        ("receive", t.receive.unwrap_or_default()),
    ] {
        let elapsed = phase(name).map_or(0, Span::elapsed);
        assert_eq!(elapsed, nanos(length), "{name}: {record:?}");
    }
    let field = |name: &str| request.field(name).map(ToOwned::to_owned);
    assert_eq!(field("error.type"), record.error_type().map(Into::into));
    let is_cancelled = record.outcome() == ExchangeOutcome::Cancelled;
    assert_eq!(field("handclasp.cancelled").as_deref(), is_cancelled.then_some("true"));
    assert_eq!(field("http.response.status_code"), record.status().map(|status| status.as_u16().to_string()));
    assert_eq!(field("url.full"), Some(record.redacted_url()));
    let resends = Some(record.resend_count()).filter(|count| *count > 0);
    assert_eq!(field("http.request.resend_count"), resends.map(|count| count.to_string()));
    let connection = record.connection();
    assert_eq!(field("handclasp.connection.id"), connection.map(|it| it.id().to_string()));
    assert_eq!(field("handclasp.connection.reused"), connection.map(|it| it.is_reused().to_string()));
    assert_eq!(field("handclasp.connection.close_reason").as_deref(), record.close_reason());
    let last = spans.iter().rfind(|span| span.parent == Some(at)).unwrap().name;
    let expected = match record.phase() {
        Phase::Send => "send",
        Phase::Wait => "wait",
        Phase::Receive => "receive",
        // A dial is a phase of the queue.
        _ => "queue",
    };
    assert_eq!(last, expected, "{record:?}");
}

/// Fails unless each record has the readings of the span of its attempt.
pub(crate) fn assert_all_same(records: &[ExchangeRecord], spans: &[Span]) {
    let attempts: Vec<_> = (0..spans.len()).filter(|at| spans[*at].name == "http.request").collect();
    assert_eq!(attempts.len(), records.len(), "one record for each attempt: {records:?}");
    for (record, at) in records.iter().zip(attempts) {
        assert_same(record, spans, at);
    }
}

#[tokio::test]
async fn a_record_has_the_readings_of_its_span_and_of_the_response() {
    let server = Plain::start();
    let (recorder, _guard) = Recorder::start();
    let (records, builder) = Records::of(Client::builder());
    let client = builder.build().unwrap();
    for round in 0..5 {
        let request = client.post(server.url("/bytes/100000")).header("x-own", "1").body("content");
        let collected = request.send().await.unwrap().collect().await.unwrap();
        let record = records.one();
        assert_all_same(std::slice::from_ref(&record), &recorder.take());
        assert_eq!(*record.timings(), collected.timings, "one attempt: the timings of the response");
        assert_eq!((record.method().as_str(), record.target()), ("POST", "/bytes/100000"));
        assert_eq!(record.uri().to_string(), server.url("/bytes/100000"));
        assert_eq!((record.version(), record.status().unwrap().as_u16()), (Some(Version::HTTP_11), 200));
        assert_eq!(record.outcome(), ExchangeOutcome::Complete);
        assert_eq!((record.phase(), record.request_written()), (Phase::Receive, Written::All));
        assert_eq!((record.resend_count(), record.cause(), record.url_template()), (0, None, None));
        let fields = record.request_headers();
        assert_eq!(
            (&fields["x-own"], &fields["content-length"]),
            (&"1".parse().unwrap(), &"7".parse().unwrap())
        );
        assert_eq!(fields["host"], server.address.to_string());
        assert_eq!(record.request_body_size(), 7);
        assert_eq!(record.bytes_sent(), record.request_head_size() + 7);
        assert_eq!(record.response_body_size(), 100_000);
        assert!(record.bytes_received() > 100_000);
        assert_eq!(record.response_headers().unwrap()["content-length"], "100000");
        let connection = record.connection().unwrap();
        assert_eq!((connection.is_reused(), connection.ordinal()), (round > 0, round + 1));
        assert_eq!(connection.peer_addr(), Some(server.address));
        assert!(record.started() <= std::time::SystemTime::now());
        assert_eq!(record.close_reason(), None);
    }
}

/// A request is sent again because its connection was closed, and is then redirected twice.
#[tokio::test(start_paused = true)]
async fn each_attempt_has_a_record_and_all_but_the_last_are_kept_with_the_response() {
    let (recorder, _guard) = Recorder::start();
    let moved = Reply::raw(&["HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n"]);
    let dying = [Reply::ok("hello"), Reply::silence().eof()];
    let script = Script { is_eager: true, ..Script::new(&[&dying, &[moved, Reply::ok("hello")]]) };
    let peers = Peers::new(script);
    let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
    let client = builder.build().unwrap();
    finish(client.get(URL).send().await.unwrap()).await;
    recorder.take();
    records.take();
    let response = client.get("http://a.test/{id}").url_template("/{id}").send().await.unwrap();
    let earlier = response.earlier_attempts().to_vec();
    let timings = finish(response).await;
    let (records, spans) = (records.take(), recorder.take());
    assert_all_same(&records, &spans);
    let cause = |record: &ExchangeRecord| record.cause();
    let template = |record: &ExchangeRecord| record.url_template().map(ToOwned::to_owned);
    let follows = cfg!(feature = "url");
    let causes = [None, Some(ResendCause::ConnectionLost), Some(ResendCause::Redirect)];
    let count = if follows { 3 } else { 2 };
    assert_eq!(records.iter().map(cause).collect::<Vec<_>>(), causes[..count]);
    let templates = [Some("/{id}".to_owned()), Some("/{id}".to_owned()), None];
    assert_eq!(records.iter().map(template).collect::<Vec<_>>(), templates[..count]);
    let told =
        |name| spans.iter().filter(|span| span.name == "http.request").map(move |span| span.field(name));
    assert!(
        told("otel.name").eq([Some("GET /{id}"), Some("GET /{id}"), Some("GET")].into_iter().take(count))
    );
    assert!(told("url.template").eq([Some("/{id}"), Some("/{id}"), None].into_iter().take(count)));
    assert!(told("http.request.resend_count").eq([None, Some("1"), Some("2")].into_iter().take(count)));
    assert_eq!(records[0].outcome(), ExchangeOutcome::Failed(ErrorKind::ConnectionLost));
    assert_eq!((records[0].phase(), records[0].close_reason().is_some()), (Phase::Wait, true));
    assert_eq!(earlier.len(), count - 1);
    for (attempt, record) in earlier.iter().zip(&records) {
        assert_eq!(attempt.timings(), record.timings());
        assert_eq!((attempt.uri(), attempt.status()), (record.uri(), record.status()));
        assert_eq!(attempt.connection_id(), record.connection().unwrap().id());
    }
    assert_eq!(earlier[0].cause(), ResendCause::ConnectionLost);
    assert_eq!(earlier[0].error_kind(), Some(ErrorKind::ConnectionLost));
    let before: Duration = earlier.iter().map(|attempt| attempt.timings().total).sum();
    assert!(before <= timings.previous, "{before:?} {timings:?}");
}

/// Without a subscriber and without a function, the earlier attempts are kept too.
#[tokio::test(start_paused = true)]
async fn an_error_keeps_the_attempts_before_it() {
    let cut = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]).eof();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello"), Reply::silence().eof()], &[cut]]));
    let client = super::client(&peers);
    finish(client.get(URL).send().await.unwrap()).await;
    let error = client.get(URL).send().await.unwrap().bytes().await.unwrap_err();
    let [attempt] = error.earlier_attempts() else { panic!("{error:?}") };
    assert_eq!((attempt.cause(), attempt.status()), (ResendCause::ConnectionLost, None));
    assert_eq!(sum(error.timings().unwrap()), error.timings().unwrap().total);
    let refused = Peers::new(Script { failed_dials: 1, ..Script::new(&[&[Reply::ok("")]]) });
    let error = super::client(&refused).get(URL).send().await.unwrap_err();
    assert!(error.earlier_attempts().is_empty());
}

/// A request that the server refuses with 408 on a reused connection, or with 417, is sent again.
#[tokio::test(start_paused = true)]
async fn the_cause_of_each_resend_is_in_the_record() {
    let late = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let refused = "HTTP/1.1 417 Expectation Failed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (reply, status, cause) in [
        (Reply::raw(&[late]), 408, ResendCause::RequestTimeout),
        (Reply::raw(&[refused]).early(), 417, ResendCause::ExpectationFailed),
    ] {
        let (recorder, _guard) = Recorder::start();
        let script = Script::new(&[&[Reply::ok("hello"), reply], &[Reply::ok("hello")]]);
        let peers = Peers::new(Script { is_eager: true, ..script });
        let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
        let client = builder.build().unwrap();
        finish(client.get(URL).send().await.unwrap()).await;
        recorder.take();
        records.take();
        let mut request = client.put(URL).body("content");
        if status == 417 {
            request = request.expect_continue();
        }
        finish(request.send().await.unwrap()).await;
        let (records, spans) = (records.take(), recorder.take());
        assert_all_same(&records, &spans);
        assert_eq!(records.len(), 2, "{status}: {records:?}");
        assert_eq!(records[0].status().unwrap().as_u16(), status);
        assert_eq!(records[0].error_type().unwrap(), status.to_string());
        assert_eq!((records[1].cause(), records[1].resend_count()), (Some(cause), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_fields_follow_the_conventions() {
    let (recorder, _guard) = Recorder::start();
    let status = |status: u16| Reply::raw(&[&format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n")]);
    let old = Reply::raw(&["HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n"]);
    let peers = Peers::new(Script::new(&[&[status(200), status(404), status(500), status(200), old]]));
    let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
    let client = builder.build().unwrap();
    let brew: http::Method = "BREW".parse().unwrap();
    for (method, url, template, expected) in [
        (http::Method::GET, "http://a.test/x?sig=hunter2&a=1", None, ["GET", "GET", "", "", "1.1"]),
        (brew, "http://a.test/", Some("/pot"), ["HTTP /pot", "_OTHER", "BREW", "404", "1.1"]),
        (http::Method::PATCH, "http://a.test:80/", Some("/{id}"), ["PATCH /{id}", "PATCH", "", "500", "1.1"]),
        (http::Method::QUERY, "http://a.test/", None, ["QUERY", "QUERY", "", "", "1.1"]),
        (http::Method::GET, "http://a.test", None, ["GET", "GET", "", "", "1.0"]),
    ] {
        let mut request = http::Request::builder().method(method).uri(url);
        if let Some(template) = template {
            request = request.extension(handclasp::UrlTemplate::new(template));
        }
        finish(client.execute(request.body("").unwrap()).await.unwrap()).await;
        let spans = recorder.take();
        let span = find(&spans, "http.request");
        let names = [
            "otel.name",
            "http.request.method",
            "http.request.method_original",
            "error.type",
            "network.protocol.version",
        ];
        assert_eq!(names.map(|name| span.field(name).unwrap_or_default()), expected, "{url}");
        assert_eq!(span.field("otel.kind"), Some("client"));
        assert_eq!(span.field("url.template"), template);
        assert_eq!(span.field("otel.status_code"), (!expected[3].is_empty()).then_some("ERROR"));
        assert_eq!((span.field("server.address"), span.field("server.port")), (Some("a.test"), Some("80")));
        if url.contains("sig") {
            assert_eq!(span.field("url.full"), Some("http://a.test/x?sig=REDACTED&a=1"));
            assert_eq!(records.take()[0].uri(), url, "the record has the URL as it was sent");
        }
    }
}

/// The caller's list of methods replaces the list of the conventions, for each attempt of a call.
#[tokio::test(start_paused = true)]
async fn the_caller_can_say_which_methods_are_known() {
    let (recorder, _guard) = Recorder::start();
    let moved = Reply::raw(&["HTTP/1.1 307 So\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n"]);
    let dying = [Reply::ok("hello"), Reply::silence().eof()];
    let script = Script { is_eager: true, ..Script::new(&[&dying, &[moved, Reply::ok("hello")]]) };
    let peers = Peers::new(script);
    let own: http::Method = "PROPFIND".parse().unwrap();
    let builder = Client::builder().connector(peers.connector()).known_methods([own.clone()]);
    let client = builder.build().unwrap();
    let names = ["otel.name", "http.request.method", "http.request.method_original"];
    let attempts = if cfg!(feature = "url") { 3 } else { 2 };
    for (method, expected) in [
        (own, vec![[Some("PROPFIND"), Some("PROPFIND"), None]]),
        (http::Method::GET, vec![[Some("HTTP"), Some("_OTHER"), Some("GET")]; attempts]),
    ] {
        finish(client.request(method, URL).send().await.unwrap()).await;
        let spans = recorder.take();
        let requests = spans.iter().filter(|span| span.name == "http.request");
        assert_eq!(requests.map(|span| names.map(|name| span.field(name))).collect::<Vec<_>>(), expected);
    }
}

/// At the level INFO, there is one span for each attempt, with the fields of the whole attempt.
#[tokio::test(start_paused = true)]
async fn at_the_level_info_there_is_one_span_for_each_attempt() {
    let recorder = Recorder::default();
    let level = tracing_subscriber::filter::LevelFilter::INFO;
    let subscriber = tracing_subscriber::registry().with(level).with(recorder.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let dying = [Reply::ok("hello"), Reply::silence().eof()];
    let peers = Peers::new(Script::new(&[&dying, &[Reply::ok("hello")]]));
    let client = super::client(&peers);
    for count in [1, 2] {
        finish(client.get(URL).send().await.unwrap()).await;
        let spans = recorder.take();
        assert_eq!(tree(&spans), vec!["http.request"; count]);
        let last = spans.last().unwrap();
        assert_eq!((last.field("http.response.status_code"), last.elapsed()), (Some("200"), last.elapsed()));
    }
}

/// The span of each request that uses a connection follows from the span of the dial, and so does the span of the
/// request for which a dial was begun that served another request.
#[tokio::test(start_paused = true)]
async fn every_request_is_linked_to_the_dial_of_its_connection() {
    let (recorder, _guard) = Recorder::start();
    let peers = Peers::new(Script::new(&[&[Reply::raw(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        "four",
        "five!",
    ])]]));
    let builder = Client::builder().no_gzip().no_deflate().no_brotli().no_zstd();
    let client = builder.connector(peers.connector()).build().unwrap();
    for _ in 0..3 {
        finish(client.get(URL).send().await.unwrap()).await;
    }
    let first = client.get(URL).send().await.unwrap();
    let mut second = Box::pin(client.get(URL).send());
    assert!(
        futures_util::FutureExt::now_or_never(second.as_mut()).is_none(),
        "a second connection is dialed"
    );
    finish(first).await;
    let response = second.await.unwrap();
    let connection = response.connection().id();
    finish(response).await;
    settle().await;
    drop(client);
    settle().await;
    let spans = recorder.take();
    let setups: Vec<_> = (0..spans.len()).filter(|at| spans[*at].name == "connection.setup").collect();
    let requests: Vec<_> = spans.iter().filter(|span| span.name == "http.request").collect();
    assert_eq!((setups.len(), requests.len()), (2, 5));
    for request in &requests[..4] {
        assert_eq!(request.follows, [setups[0]]);
    }
    assert_eq!(connection, 1, "the second request got the first connection");
    assert!(requests[4].follows.contains(&setups[1]), "a dial was begun for the request");
    assert!(requests[4].follows.contains(&setups[0]), "the request has used another connection");
}

/// The attempts of one call are siblings under the caller's span, and a hook sees the span of its attempt.
#[tokio::test(start_paused = true)]
async fn each_attempt_stands_under_the_span_of_the_caller() {
    use tracing::Instrument;

    let (recorder, _guard) = Recorder::start();
    let dying = [Reply::ok("hello"), Reply::silence().eof()];
    let script = Script { is_eager: true, ..Script::new(&[&dying, &[Reply::ok("hello")]]) };
    let peers = Peers::new(script);
    let client = Client::builder()
        .connector(peers.connector())
        .on_request(|_, attempt| {
            tracing::debug_span!(target: "handclasp", "hook", attempt, elapsed_ns = 0).in_scope(|| ());
        })
        .build()
        .unwrap();
    finish(client.get(URL).send().await.unwrap()).await;
    recorder.take();
    let outer = tracing::info_span!(target: "handclasp", "outer", elapsed_ns = 0);
    async { finish(client.get(URL).send().await.unwrap()).await }.instrument(outer).await;
    let told = [
        "outer(http.request(queue hook send wait) http.request(queue hook send wait receive))",
        "connection.setup",
    ];
    assert_eq!(tree(&recorder.take()), told);
}

/// A function that panics costs the request nothing, and the functions after it are called.
#[tokio::test(start_paused = true)]
async fn a_function_that_panics_costs_no_request_anything() {
    let cut = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]);
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello"), Reply::ok("hello"), cut]]));
    let builder = Client::builder()
        .connector(peers.connector())
        .on_exchange(|_| panic!("the test makes this call panic"));
    let (records, builder) = Records::of(builder);
    let client = builder.build().unwrap();
    for ordinal in 1..3 {
        let response = client.get(URL).send().await.unwrap();
        assert_eq!(response.connection().ordinal(), ordinal, "the connection was kept");
        assert_eq!(response.text().await.unwrap(), "hello");
        assert_eq!(records.one().outcome(), ExchangeOutcome::Complete);
    }
    drop(client.get(URL).send().await.unwrap());
    assert_eq!(records.one().outcome(), ExchangeOutcome::Cancelled);
    settle().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    settle().await;
    let total = client.pool().stats().total;
    assert_eq!((total.active, total.dialing, total.waiting), (0, 0, 0));
}

/// Way in which a caller ends a response.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Drop,
    Status,
    /// Reads at most this many bytes into the error.
    StatusWith(usize),
    Upgrade,
}

/// A caller makes an error of a response. If content is missing, the attempt fails with this error. If all content has come,
/// the attempt is complete. In both cases `error.type` is the status from 400 on, as the conventions say.
#[tokio::test(start_paused = true)]
async fn a_response_that_becomes_an_error_ends_its_attempt_with_this_error() {
    use Ends::{Drop, Status, StatusWith, Upgrade};
    use ErrorKind::ConnectionLost;
    use ExchangeOutcome::{Cancelled, Complete, Failed};

    let head = |status: u16| format!("HTTP/1.1 {status} X\r\ncontent-length: 9\r\n\r\n");
    let (missing, ok, whole) = (head(404), head(200), head(503) + "all of it");
    let half = Reply::raw(&[&missing, "four"]);
    let late = Reply::raw(&[&missing, "four", "five!"]);
    let whole = Reply::raw(&[&whole]);
    for (ends, reply, outcome, kind, read, received) in [
        (Drop, half.clone(), Cancelled, "404", None, 0),
        (Status, half.clone(), Failed(ErrorKind::Status), "404", None, 0),
        (StatusWith(0), half.clone(), Failed(ErrorKind::Status), "404", Some(""), 0),
        (StatusWith(3), half.clone(), Failed(ErrorKind::Status), "404", Some("fou"), 4),
        (StatusWith(4), half.clone(), Failed(ErrorKind::Status), "404", Some("four"), 4),
        (StatusWith(99), half.clone().eof(), Failed(ConnectionLost), "404", Some("four"), 4),
        (StatusWith(99), late.clone(), Complete, "404", Some("fourfive!"), 9),
        (StatusWith(9), late, Complete, "404", Some("fourfive!"), 9),
        (Drop, whole.clone(), Complete, "503", None, 9),
        (Status, whole.clone(), Complete, "503", None, 9),
        (StatusWith(2), whole, Complete, "503", Some("al"), 9),
        (Upgrade, half, Failed(ErrorKind::Upgrade), "404", None, 0),
        (Upgrade, Reply::raw(&[&ok, "four"]), Failed(ErrorKind::Upgrade), "Upgrade", None, 0),
    ] {
        let told = format!("{ends:?} {outcome:?}");
        let (recorder, _guard) = Recorder::start();
        let peers = Peers::new(Script::new(&[&[reply]]));
        let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
        let client = builder.build().unwrap();
        let response = client.get(URL).send().await.unwrap();
        let error = match ends {
            Drop => {
                drop(response);
                None
            }
            Status => response.error_for_status().err(),
            StatusWith(limit) => response.error_for_status_with_body(limit).await.err(),
            Upgrade => response.upgrade().await.err(),
        };
        let record = records.one();
        assert_eq!((record.outcome(), record.error_type().as_deref()), (outcome, Some(kind)), "{told}");
        assert_eq!((record.phase(), record.response_body_size()), (Phase::Receive, received), "{told}");
        if let Some(error) = error {
            assert_eq!(error.body_text().as_deref(), read, "{told}");
            assert_eq!(error.timings(), Some(record.timings()), "{told}");
        }
        settle().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        settle().await;
        let total = client.pool().stats().total;
        let kept = usize::from(outcome == Complete);
        assert_eq!((total.idle, total.active, peers.live()), (kept, 0, kept), "{told}");
        drop(client);
        settle().await;
        let spans = recorder.take();
        assert_all_same(std::slice::from_ref(&record), &spans);
        let request = find(&spans, "http.request");
        let status = record.status().unwrap().as_u16().to_string();
        assert_eq!(request.field("http.response.status_code"), Some(&*status));
        assert_eq!(request.field("error.type"), Some(kind), "{told}");
        assert_eq!(request.field("otel.status_code"), Some("ERROR"), "{told}");
    }
}

/// When the function gets the record of a complete response, the connection is already idle.
#[tokio::test(start_paused = true)]
async fn the_connection_is_free_when_the_function_is_called() {
    let idle = Arc::new(Mutex::new(Vec::new()));
    let pool = Arc::new(std::sync::OnceLock::<Client>::new());
    let (seen, asked) = (idle.clone(), pool.clone());
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let builder = Client::builder().connector(peers.connector()).on_exchange(move |_| {
        let total = asked.get().unwrap().pool().stats().total;
        seen.lock().unwrap().push((total.idle, total.active));
    });
    let client = builder.build().unwrap();
    pool.set(client.clone()).unwrap();
    for _ in 0..2 {
        finish(client.get(URL).send().await.unwrap()).await;
    }
    assert_eq!(*idle.lock().unwrap(), [(1, 0), (1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_timing_is_read_from_response_and_record() {
    let reply = "HTTP/1.1 200 OK\r\nserver-timing: db;dur=12, app;desc=\"x, y\"\r\nserver-timing: ;bad\r\ncontent-length: 0\r\n\r\n";
    let peers = Peers::new(Script::new(&[&[Reply::raw(&[reply])]]));
    let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
    let response = builder.build().unwrap().get(URL).send().await.unwrap();
    let metrics = response.server_timing();
    assert_eq!(metrics.len(), 2);
    assert_eq!((&*metrics[0].name, metrics[0].duration), ("db", Some(Duration::from_millis(12))));
    assert_eq!(metrics[1].description.as_deref(), Some("x, y"));
    assert_eq!(records.one().server_timing(), metrics);
}

/// Content of unknown length is read into memory for a server of HTTP/1.0. The time of this step is a part of its attempt,
/// in the record, the span and the earlier attempt alike.
#[cfg(feature = "url")]
#[tokio::test(start_paused = true)]
async fn content_that_is_read_into_memory_is_a_part_of_its_attempt() {
    let (recorder, _guard) = Recorder::start();
    let old = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n";
    let moved =
        "HTTP/1.0 307 Moved\r\nlocation: /next\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n";
    let peers = Peers::new(Script::new(&[&[Reply::raw(&[old]), Reply::raw(&[moved]), Reply::raw(&[old])]]));
    let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
    let client = builder.build().unwrap();
    finish(client.get(URL).send().await.unwrap()).await;
    recorder.take();
    records.take();
    let (pause, none) = (Duration::from_secs(3), Duration::ZERO);
    let content = futures_util::stream::once(Box::pin(async move {
        let _ = tokio::time::timeout(pause, std::future::pending::<()>()).await;
        Ok::<_, std::io::Error>("content")
    }));
    let response = client.put(URL).body(handclasp::Body::from_stream(content)).send().await.unwrap();
    let earlier = response.earlier_attempts().to_vec();
    let timings = finish(response).await;
    let (records, spans) = (records.take(), recorder.take());
    let [attempt] = &earlier[..] else { panic!("{earlier:?}") };
    assert_eq!(attempt.timings(), records[0].timings());
    let parts = |record: &ExchangeRecord| (record.timings().previous, record.timings().total);
    assert_eq!((parts(&records[0]), parts(&records[1])), ((pause, pause), (none, none)));
    assert_eq!((timings.previous, timings.total), (pause, pause));
    assert_eq!(spans.iter().find(|span| span.name == "queue").unwrap().elapsed(), 3_000_000_000);
}

/// The spans of a request and of its dial name an IPv6 address alike: without brackets.
#[tokio::test]
async fn an_ipv6_address_has_no_brackets_in_any_span() {
    let (recorder, _guard) = Recorder::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = super::client(&peers);
    finish(client.get("http://[::1]:81/").send().await.unwrap()).await;
    drop(client);
    settle().await;
    let spans = recorder.take();
    for name in ["http.request", "connection.setup"] {
        assert_eq!(find(&spans, name).field("server.address"), Some("::1"), "{name}");
    }
    assert_eq!(find(&spans, "http.request").field("url.full"), Some("http://[::1]:81/"));
}

/// A request on a reserved connection waits for the rest of an abandoned response, and its span says so.
#[tokio::test(start_paused = true)]
async fn the_span_of_a_request_says_that_it_waited_for_its_reserved_connection() {
    let (recorder, _guard) = Recorder::start();
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello"), slow, Reply::ok("hello")]]));
    let client = super::client(&peers);
    let mut reserved = client.reserve(URL).await.unwrap();
    for (waits, is_read) in [("false", true), ("false", false), ("true", true)] {
        let response = reserved.get(URL).send().await.unwrap();
        match is_read {
            true => _ = finish(response).await,
            false => drop(response),
        }
        let spans = recorder.take();
        assert_eq!(find(&spans, "queue").field("waited"), Some(waits));
    }
}
