//! Metrics by OpenTelemetry: names, units, bounds and attributes of the instruments, and what is counted.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
#[cfg(feature = "proxy")]
use handclasp::Proxy;
use handclasp::{
    Answer, BoxError, Client, ClientBuilder, DropReason, ErrorKind, ExchangeRecord, Family, Resolve, Response,
};

use crate::support::metrics::Meters;
use crate::support::plain::Plain;
use crate::support::scripted::{Peers, Reply, Script};
use crate::support::{Uncoded, within};

const URL: &str = "http://a.test/";

const DURATION: &str = "http.client.request.duration";
const REQUEST_SIZE: &str = "http.client.request.body.size";
const RESPONSE_SIZE: &str = "http.client.response.body.size";
const QUEUED: &str = "http.client.request.time_in_queue";
const ACTIVE: &str = "http.client.active_requests";
const OPEN: &str = "http.client.open_connections";
const LIFETIME: &str = "http.client.connection.duration";
const LOOKUP: &str = "dns.lookup.duration";
const RESENDS: &str = "handclasp.client.resends";
const CLOSES: &str = "handclasp.client.connection.closes";

const SERVER: &str = "server.address=a.test server.port=80 url.scheme=http";

fn builder(peers: &Peers, meters: &Meters) -> ClientBuilder {
    let builder = Client::builder().uncoded().max_connections_per_host(1);
    builder.connector(peers.connector()).metrics(meters.metrics())
}

/// Reads the response to its end.
async fn finish(response: Response) {
    response.bytes().await.unwrap();
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Returns these counts as `Meters::counts` does.
fn counts<const N: usize>(expected: [(&str, i64); N]) -> Vec<(String, i64)> {
    expected.map(|(attributes, count)| (attributes.to_owned(), count)).into()
}

/// A script in which the second request on the first connection gets no answer.
fn dying() -> Script {
    let first = [Reply::ok("hello"), Reply::silence().eof()];
    Script { is_eager: true, ..Script::new(&[&first, &[Reply::ok("hello")]]) }
}

/// A resolver that knows `a.test` after 5 ms, finds no address of `none.test`, fails for `failing.test`, and never
/// answers for any other name.
struct Names;

impl Resolve for Names {
    fn resolve(
        &self,
        name: &str,
        _: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let name = name.to_owned();
        Box::pin(async move {
            let _ = tokio::time::timeout(Duration::from_millis(5), pending::<()>()).await;
            match &*name {
                "a.test" => Ok(Answer::new([([127, 0, 0, 1], 0).into()])),
                "none.test" => Ok(Answer::default()),
                "failing.test" => Err("the name server is broken".into()),
                _ => pending().await,
            }
        })
    }
}

/// Each instrument has the kind, the unit and the bounds that the conventions name.
#[tokio::test]
async fn rule_39_the_instruments_are_those_of_the_conventions() {
    let server = Plain::start();
    let meters = Meters::new();
    let client = Client::builder().dns_resolver(Names).metrics(meters.metrics()).build().unwrap();
    let url = format!("http://a.test:{}/bytes/1000", server.address.port());
    finish(within(20, client.get(&url).send()).await.unwrap()).await;
    client.pool().close_idle();
    // A second attempt of the same call.
    let peers = Peers::new(dying());
    let other = builder(&peers, &meters).build().unwrap();
    for _ in 0..2 {
        finish(other.get(URL).send().await.unwrap()).await;
    }
    let read = meters.read();
    let latencies = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
    let lifetimes = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
    let sizes: Vec<f64> = (4..15).map(|power| 4_f64.powi(power)).collect();
    let expected: [(&str, &str, &str, &[f64]); 10] = [
        (LOOKUP, "histogram", "s", &latencies),
        (CLOSES, "counter", "{connection}", &[]),
        (RESENDS, "counter", "{resend}", &[]),
        (ACTIVE, "up-down", "{request}", &[]),
        (LIFETIME, "histogram", "s", &lifetimes),
        (OPEN, "up-down", "{connection}", &[]),
        (REQUEST_SIZE, "histogram", "By", &sizes),
        (DURATION, "histogram", "s", &latencies),
        (QUEUED, "histogram", "s", &latencies),
        (RESPONSE_SIZE, "histogram", "By", &sizes),
    ];
    assert_eq!(read.keys().collect::<Vec<_>>(), expected.map(|(name, ..)| name));
    for (name, kind, unit, bounds) in expected {
        let instrument = &read[name];
        assert_eq!((instrument.kind, &*instrument.unit), (kind, unit), "{name}");
        let point = instrument.points.values().next().unwrap();
        assert_eq!(point.bounds, bounds, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_and_a_warm_request_are_each_counted_once() {
    let meters = Meters::new();
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let peers = Peers::new(Script::new(&[&[slow, Reply::ok("hello")]]));
    let client = builder(&peers, &meters).build().unwrap();
    let begun = format!("http.request.method=POST {SERVER}");
    let whole = format!(
        "http.request.method=POST http.response.status_code=200 network.protocol.version=1.1 {SERVER}"
    );
    let [active, idle] = ["active", "idle"]
        .map(|state| format!("http.connection.state={state} network.protocol.version=1.1 {SERVER}"));
    for (number, content) in [(1, 9), (2, 9 + 5)] {
        let response = client.post(URL).body("hi").send().await.unwrap();
        if number == 1 {
            assert_eq!(meters.counts(ACTIVE), counts([(&begun, 1)]), "the response is being read");
            assert_eq!(meters.counts(OPEN), counts([(&active, 1), (&idle, 0)]));
            assert_eq!(meters.counts(DURATION), [], "the attempt has not ended");
        }
        finish(response).await;
        let read = meters.read();
        for (name, sum) in [(REQUEST_SIZE, 2.0 * number as f64), (RESPONSE_SIZE, f64::from(content))] {
            assert_eq!((read[name].points[&whole].count, read[name].points[&whole].sum), (number, sum));
        }
        assert_eq!(meters.counts(DURATION), counts([(&whole, number)]));
        let queued = format!("http.request.method=POST network.protocol.version=1.1 {SERVER}");
        assert_eq!(meters.counts(QUEUED), counts([(&queued, number)]));
        assert_eq!(meters.counts(ACTIVE), counts([(&begun, 0)]));
        assert_eq!(meters.counts(OPEN), counts([(&active, 0), (&idle, 1)]));
        for unused in [RESENDS, CLOSES, LIFETIME, LOOKUP] {
            assert_eq!(meters.counts(unused), [], "{unused}");
        }
    }
    tokio::time::advance(Duration::from_secs(7)).await;
    client.pool().close_idle();
    let closed = format!("network.protocol.version=1.1 {SERVER}");
    assert_eq!(meters.counts(LIFETIME), counts([(&closed, 1)]));
    assert_eq!(meters.read()[LIFETIME].points[&closed].sum, 7.0);
    assert_eq!(meters.counts(CLOSES), counts([(&format!("handclasp.close.reason=Shutdown {SERVER}"), 1)]));
}

/// The sums of the histograms are the sums of the records, to the nanosecond.
#[tokio::test(start_paused = true)]
async fn metrics_have_the_readings_of_the_records() {
    let meters = Meters::new();
    let peers = Peers::new(dying());
    let records = Arc::new(Mutex::new(Vec::new()));
    let kept = records.clone();
    let (first, second) = (meters.metrics(), Meters::new());
    let builder =
        builder(&peers, &second).on_exchange(move |record| kept.lock().unwrap().push(record.clone()));
    // The later call replaces the instruments, and the function stays.
    let client = builder.metrics(first).build().unwrap();
    for _ in 0..3 {
        let sent = client.get(URL).send();
        let (response, ()) = tokio::join!(sent, tokio::time::advance(Duration::from_millis(30)));
        finish(response.unwrap()).await;
    }
    let records = records.lock().unwrap();
    assert_eq!(records.len(), 4, "one request was sent again");
    let read = meters.read();
    let sum = |name: &str| read[name].points.values().map(|point| point.sum).sum::<f64>();
    let of = |measure: &dyn Fn(&ExchangeRecord) -> Duration| {
        records.iter().map(|record| measure(record).as_secs_f64()).sum::<f64>()
    };
    let queued = |record: &ExchangeRecord| {
        let t = record.timings();
        t.queued + [t.dns, t.connect, t.proxy, t.tls].into_iter().flatten().sum::<Duration>()
    };
    assert!((sum(DURATION) - of(&|record| record.timings().total)).abs() < 1e-9);
    assert!((sum(QUEUED) - of(&queued)).abs() < 1e-9);
    assert!(sum(DURATION) >= 0.03, "time has passed");
    assert!(second.read().is_empty(), "the replaced instruments measure nothing");
}

/// The time until the attempt got its connection includes the time for which content was read into memory beforehand.
#[tokio::test(start_paused = true)]
async fn the_time_in_queue_begins_with_the_attempt() {
    let meters = Meters::new();
    let old = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n";
    let peers = Peers::new(Script::new(&[&[Reply::raw(&[old])]]));
    let client = builder(&peers, &meters).build().unwrap();
    finish(client.get(URL).send().await.unwrap()).await;
    let content = futures_util::stream::once(Box::pin(async {
        let _ = tokio::time::timeout(Duration::from_secs(3), pending::<()>()).await;
        Ok::<_, std::io::Error>("content")
    }));
    finish(client.put(URL).body(handclasp::Body::from_stream(content)).send().await.unwrap()).await;
    let read = meters.read();
    for name in [QUEUED, DURATION] {
        assert_eq!(read[name].points.values().map(|point| point.sum).sum::<f64>(), 3.0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resend_is_an_attempt_of_its_own_and_has_a_cause() {
    let meters = Meters::new();
    let peers = Peers::new(dying());
    let client = builder(&peers, &meters).build().unwrap();
    for _ in 0..2 {
        finish(client.get(URL).send().await.unwrap()).await;
    }
    let lost = format!("error.type=ConnectionLost http.request.method=GET {SERVER}");
    let answered = format!(
        "http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 {SERVER}"
    );
    assert_eq!(meters.counts(DURATION), counts([(&lost, 1), (&answered, 2)]));
    assert_eq!(meters.counts(REQUEST_SIZE), counts([(&lost, 1), (&answered, 2)]));
    assert_eq!(meters.counts(RESPONSE_SIZE), counts([(&answered, 2)]), "the lost attempt got no response");
    let cause = format!("handclasp.resend.cause=connection_lost {SERVER}");
    assert_eq!(meters.counts(RESENDS), counts([(&cause, 1)]));
    let reason = format!("handclasp.close.reason=PeerClosed {SERVER}");
    assert_eq!(meters.counts(CLOSES), counts([(&reason, 1)]));
    let total = client.pool().stats().total;
    assert_eq!((total.closed(DropReason::PeerClosed), total.closed_total()), (1, 1), "as the ledger says");
    assert_eq!((meters.total(LIFETIME), meters.total(ACTIVE)), (1, 0));
}

#[cfg(feature = "url")]
#[tokio::test(start_paused = true)]
async fn each_hop_of_a_redirect_is_an_attempt_of_its_own() {
    let meters = Meters::new();
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://B.test:81/\r\ncontent-length: 0\r\n\r\n";
    let peers = Peers::new(Script::new(&[&[Reply::raw(&[moved])], &[Reply::ok("hello")]]));
    let client = builder(&peers, &meters).build().unwrap();
    finish(client.get("http://A.test/{id}").url_template("/{id}").send().await.unwrap()).await;
    let [first, second] = [
        format!(
            "http.request.method=GET http.response.status_code=302 network.protocol.version=1.1 {SERVER} \
             url.template=/{{id}}"
        ),
        "http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 \
         server.address=b.test server.port=81 url.scheme=http"
            .to_owned(),
    ];
    assert_eq!(meters.counts(DURATION), counts([(&second, 1), (&first, 1)]));
    let cause = "handclasp.resend.cause=redirect server.address=b.test server.port=81 url.scheme=http";
    assert_eq!(meters.counts(RESENDS), counts([(cause, 1)]));
    let active = meters.counts(ACTIVE);
    assert_eq!(active.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [0, 0], "{active:?}");
    assert_eq!(meters.total(OPEN), 2, "both connections are idle");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_has_the_type_of_its_error() {
    let meters = Meters::new();
    let missing = Reply::raw(&["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]);
    let cut =
        Reply::raw(&["HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 9\r\n\r\nhalf"]).eof();
    let peers = Peers::new(Script { failed_dials: 1, ..Script::new(&[&[missing, cut]]) });
    let client = builder(&peers, &meters).build().unwrap();
    let brew: http::Method = "BREW".parse().unwrap();
    let error = client.request(brew, "http://[::1]:80/").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    finish(client.get(URL).send().await.unwrap()).await;
    client.get(URL).send().await.unwrap().bytes().await.unwrap_err();
    let unmade =
        "error.type=Connect http.request.method=_OTHER server.address=::1 server.port=80 url.scheme=http";
    let missing = format!(
        "error.type=404 http.request.method=GET http.response.status_code=404 network.protocol.version=1.1 {SERVER}"
    );
    let cut = format!(
        "error.type=ConnectionLost http.request.method=GET http.response.status_code=200 \
         network.protocol.version=1.0 {SERVER}"
    );
    assert_eq!(meters.counts(DURATION), counts([(&missing, 1), (unmade, 1), (&cut, 1)]));
    assert_eq!(meters.counts(REQUEST_SIZE), counts([(&missing, 1), (&cut, 1)]), "nothing was written");
    assert_eq!(meters.counts(RESPONSE_SIZE), counts([(&missing, 1), (&cut, 1)]));
    assert_eq!(meters.read()[RESPONSE_SIZE].points[&cut].sum, 4.0);
    assert_eq!((meters.total(QUEUED), meters.total(ACTIVE)), (3, 0));
    assert_eq!((meters.total(RESENDS), meters.total(LIFETIME)), (0, 1));
}

/// A method of the caller's list is shown by its name, and every other method is `_OTHER`.
#[tokio::test(start_paused = true)]
async fn the_caller_can_say_which_methods_are_known() {
    let meters = Meters::new();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello"), Reply::ok("hello")]]));
    let own: http::Method = "PROPFIND".parse().unwrap();
    let client = builder(&peers, &meters).known_methods([own.clone()]).build().unwrap();
    for method in [own, http::Method::GET] {
        finish(client.request(method, URL).send().await.unwrap()).await;
    }
    let shown = ["PROPFIND", "_OTHER"].map(|name| format!("http.request.method={name} {SERVER}"));
    assert_eq!(meters.counts(ACTIVE), counts([(&shown[0], 0), (&shown[1], 0)]));
}

/// A request that is dropped after any number of polls is counted once, and so is a response that is dropped unread.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_is_counted_once() {
    let meters = Meters::new();
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let peers = Peers::new(Script::new(&[&[slow]]));
    // Each request dials, so that requests are dropped in each phase.
    let client = builder(&peers, &meters).max_idle_per_host(0).build().unwrap();
    let mut begun = 0;
    for polls in 1.. {
        let mut sent = Box::pin(client.get(URL).send());
        let mut answered = None;
        for _ in 0..polls {
            answered = sent.as_mut().now_or_never();
            if answered.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        begun += 1;
        assert_eq!(meters.total(ACTIVE), 1, "after {polls} polls");
        drop(sent);
        let is_answered = answered.is_some();
        drop(answered);
        assert_eq!(meters.total(ACTIVE), 0, "after {polls} polls");
        assert_eq!((meters.total(DURATION), meters.total(QUEUED)), (begun, begun), "after {polls} polls");
        settle().await;
        if is_answered {
            break;
        }
    }
    assert!(begun > 3, "the request was dropped in several phases");
    let shown = meters.counts(DURATION);
    assert!(shown.iter().all(|(attributes, _)| !attributes.contains("error.type")), "{shown:?}");
    tokio::time::advance(Duration::from_secs(90)).await;
    settle().await;
    let total = client.pool().stats().total;
    assert_eq!(meters.total(CLOSES), i64::try_from(total.closed_total()).unwrap(), "{total}");
    assert_eq!(meters.total(LIFETIME), meters.total(CLOSES));
    assert_eq!(meters.total(OPEN), i64::try_from(total.idle + total.active).unwrap());
}

/// Clients that share their instruments are counted together, until they are dropped. A connection whose response
/// outlives its client is measured too.
#[tokio::test(start_paused = true)]
async fn clients_can_share_their_instruments() {
    let meters = Meters::new();
    let metrics = meters.metrics();
    assert_eq!(format!("{metrics:?}"), "Metrics");
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let peers = Peers::new(Script::new(&[&[slow]]));
    let client = || Client::builder().connector(peers.connector()).metrics(metrics.clone()).build().unwrap();
    let (first, second) = (client(), client());
    let one = first.get(URL).isolation("tag").send().await.unwrap();
    let two = second.get(URL).send().await.unwrap();
    let three = second.get(URL).send().await.unwrap();
    finish(three).await;
    let states = |active, idle| {
        let text = |state| format!("http.connection.state={state} network.protocol.version=1.1 {SERVER}");
        counts([(&*text("active"), active), (&*text("idle"), idle)])
    };
    assert_eq!(meters.counts(OPEN), states(2, 1));
    drop(first);
    assert_eq!(meters.counts(OPEN), states(1, 1));
    assert_eq!((meters.total(CLOSES), meters.total(ACTIVE)), (0, 2));
    finish(one).await;
    assert_eq!((meters.total(CLOSES), meters.total(ACTIVE)), (1, 1), "the response outlived its client");
    finish(two).await;
    drop(second);
    settle().await;
    assert_eq!((meters.total(CLOSES), meters.total(LIFETIME)), (3, 3));
    assert_eq!((meters.total(OPEN), meters.total(ACTIVE), meters.total(DURATION)), (0, 0, 3));
}

/// A lookup that several dials share counts once, an answer of the cache does not count, and each way to fail is named.
#[tokio::test(start_paused = true)]
async fn each_lookup_is_counted_once() {
    let meters = Meters::new();
    let builder = Client::builder().dns_resolver(Names).metrics(meters.metrics());
    let client = builder.dns_timeout(Duration::from_secs(3)).build().unwrap();
    // Nothing listens on port 1, because the lookups are what counts here.
    let fetch = |name: &str| client.get(format!("http://{name}.test:1/")).send();
    let _ = tokio::join!(fetch("a"), fetch("a"), fetch("a"));
    let _ = fetch("a").await;
    assert_eq!(meters.counts(LOOKUP), counts([("dns.question.name=a.test", 1)]));
    assert_eq!(meters.read()[LOOKUP].points["dns.question.name=a.test"].sum, 0.005);
    for name in ["none", "failing", "hanging"] {
        fetch(name).await.unwrap_err();
    }
    let _ = client.get("http://127.0.0.1:1/").send().await;
    let _ = client.get("http://localhost:1/").send().await;
    let expected = [
        ("dns.question.name=a.test", 1),
        ("dns.question.name=failing.test error.type=failed", 1),
        ("dns.question.name=hanging.test error.type=cancelled", 1),
        ("dns.question.name=none.test error.type=host_not_found", 1),
    ];
    assert_eq!(meters.counts(LOOKUP), counts(expected));
    let hanging = &meters.read()[LOOKUP].points[expected[2].0];
    assert_eq!(hanging.sum, 3.0, "the lookup was given up after the timeout");
    client.pool().on_network_change();
    let _ = fetch("a").await;
    assert_eq!(meters.counts(LOOKUP)[0].1, 2, "the cache was emptied");
}

/// No attribute holds a path, a query, a user, a password or the value of a field.
#[tokio::test(start_paused = true)]
async fn a_77_no_attribute_shows_a_secret() {
    let meters = Meters::new();
    let peers = Peers::new(dying());
    let client = builder(&peers, &meters).build().unwrap();
    for _ in 0..2 {
        let request = client.get("http://me:hunter2@a.test/hunter2?sig=hunter2").header("x-key", "hunter2");
        finish(request.send().await.unwrap()).await;
    }
    client.pool().close_idle();
    let read = format!("{:?}", meters.read());
    assert!(read.contains("a.test") && !read.contains("hunter2"), "A-77: {read}");
}

/// An attempt has the address of the server, and the connection to a proxy that forwards requests has the proxy's.
#[cfg(feature = "proxy")]
#[tokio::test]
async fn a_connection_to_a_forwarding_proxy_belongs_to_the_proxy() {
    let proxy = Plain::start();
    let meters = Meters::new();
    let builder = Client::builder().proxy(Proxy::all(proxy.url("")).unwrap()).metrics(meters.metrics());
    let client = builder.build().unwrap();
    for origin in ["http://a.test/", "http://b.test/"] {
        finish(within(20, client.get(origin).send()).await.unwrap()).await;
    }
    let attempts = meters.counts(DURATION);
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    for (name, (attributes, _)) in ["a.test", "b.test"].into_iter().zip(&attempts) {
        assert!(attributes.contains(&format!("server.address={name} server.port=80 ")), "{attributes}");
    }
    let server = format!("server.address=127.0.0.1 server.port={} url.scheme=http", proxy.address.port());
    let idle = format!("http.connection.state=idle network.protocol.version=1.1 {server}");
    let open: Vec<_> = meters.counts(OPEN).into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(open, counts([(&idle, 1)]));
}

/// An observer is called in the tasks of requests, so that a panic of the meter must not reach the request.
#[tokio::test(start_paused = true)]
async fn an_instrument_that_panics_costs_no_request_anything() {
    use handclasp::opentelemetry_0_33::{self, opentelemetry::metrics as api};

    struct Panics;

    impl<T> api::SyncInstrument<T> for Panics {
        fn measure(&self, _: T, _: &[opentelemetry::KeyValue]) {
            panic!("the test makes this call panic");
        }
    }

    struct Provider;

    impl api::InstrumentProvider for Provider {
        fn i64_up_down_counter(
            &self,
            _: api::InstrumentBuilder<'_, api::UpDownCounter<i64>>,
        ) -> api::UpDownCounter<i64> {
            api::UpDownCounter::new(Arc::new(Panics))
        }

        fn u64_counter(&self, _: api::InstrumentBuilder<'_, api::Counter<u64>>) -> api::Counter<u64> {
            api::Counter::new(Arc::new(Panics))
        }
    }

    let metrics = opentelemetry_0_33::metrics(&api::Meter::new(Arc::new(Provider)));
    let peers = Peers::new(dying());
    let client = Client::builder().connector(peers.connector()).metrics(metrics).build().unwrap();
    for _ in 0..2 {
        finish(client.get(URL).send().await.unwrap()).await;
    }
    client.pool().close_idle();
    settle().await;
    let total = client.pool().stats().total;
    assert_eq!((total.closed_total(), total.idle, total.active), (2, 0, 0), "{total}");
}
