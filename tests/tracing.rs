//! Spans of the phases of a request. Each span starts once and ends once, and its duration agrees with the timings of
//! the response.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "tracing/ends.rs"]
mod ends;
#[cfg(all(feature = "har", feature = "otel"))]
#[path = "tracing/exits.rs"]
mod exits;
#[path = "tracing/exported.rs"]
mod exported;
#[path = "tracing/lines.rs"]
mod lines;
#[cfg(all(feature = "otel", feature = "url"))]
#[path = "tracing/links.rs"]
mod links;
#[path = "tracing/races.rs"]
mod races;
#[path = "tracing/records.rs"]
mod records;
#[path = "tracing/secrets.rs"]
mod secrets;
#[path = "tracing/subscribers.rs"]
mod subscribers;
mod support;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::support::plain::Plain;
use crate::support::recorder::{Recorder, Span, tree};
use crate::support::scripted::{Peers, Reply, Script};
use handclasp::{Answer, BoxError, Client, Family, Resolve, Response, Timings};

const URL: &str = "http://a.test/";

fn client(peers: &Peers) -> Client {
    let builder = Client::builder().no_gzip().no_deflate().no_brotli().no_zstd();
    builder.max_connections_per_host(1).connector(peers.connector()).build().unwrap()
}

fn find<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}: {:?}", tree(spans)));
    assert!(found.next().is_none(), "one span {name}: {:?}", tree(spans));
    span
}

/// Reads the response to its end, and returns its final timings.
async fn finish(mut response: Response) -> Timings {
    while response.chunk().await.unwrap().is_some() {}
    *response.timings()
}

/// Fails unless the phases add up to the total, and each span lasts exactly as long as its phase.
fn assert_exact(timings: &Timings, spans: &[Span]) {
    let setup: Duration =
        [timings.dns, timings.connect, timings.proxy, timings.tls].into_iter().flatten().sum();
    let t = timings;
    let sum = t.previous + t.queued + setup + t.send + t.wait + t.receive.unwrap();
    assert_eq!(sum, t.total, "{t:?}");
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
    let span = |name: &str| spans.iter().rfind(|span| span.name == name).unwrap().elapsed();
    assert_eq!(span("queue"), nanos(t.queued + setup), "queue: {t:?}");
    assert_eq!(span("send"), nanos(t.send), "send: {t:?}");
    assert_eq!(span("wait"), nanos(t.wait), "wait: {t:?}");
    assert_eq!(span("receive"), nanos(t.receive.unwrap()), "receive: {t:?}");
    assert_eq!(span("http.request"), nanos(t.total - t.previous), "total: {t:?}");
}

/// The span of the attempt is the parent of a span that `on_request` opens.
#[tokio::test(start_paused = true)]
async fn a_hook_runs_within_the_span_of_its_attempt() {
    let (recorder, _guard) = Recorder::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let builder = Client::builder().connector(peers.connector()).on_request(|_, _| {
        tracing::debug_span!(target: "handclasp", "hook", elapsed_ns = 0).in_scope(|| ());
    });
    let _ = finish(builder.build().unwrap().get(URL).send().await.unwrap()).await;
    let spans = tree(&recorder.take());
    assert!(spans[0].starts_with("http.request(") && spans[0].contains("hook"), "{spans:?}");
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_spans_of_a_cold_and_a_warm_request_are_exact() {
    let (recorder, _guard) = Recorder::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello").split(10)]]));
    let client = client(&peers);
    let timings = finish(client.get("http://me:secret@a.test/x?y").send().await.unwrap()).await;
    let spans = recorder.take();
    assert_eq!(tree(&spans), ["http.request(queue send wait receive)", "connection.setup"]);
    assert_exact(&timings, &spans);
    assert!(timings.connect.is_some(), "{timings:?}");
    assert_eq!(
        (timings.dns, timings.proxy, timings.tls, timings.previous),
        (None, None, None, Duration::ZERO)
    );
    let request = find(&spans, "http.request");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.full", "http://a.test/x?y"),
        ("server.address", "a.test"),
        ("server.port", "80"),
        ("http.response.status_code", "200"),
        ("handclasp.connection.id", "1"),
        ("handclasp.connection.reused", "false"),
    ] {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    assert_eq!((request.field("error.type"), request.field("http.request.resend_count")), (None, None));
    let setup = spans.iter().position(|span| span.name == "connection.setup").unwrap();
    assert_eq!(request.follows, [setup], "the request is linked to the setup it waited for");
    assert_eq!(spans[setup].field("server.address"), Some("a.test"));
    assert_eq!(find(&spans, "queue").field("waited"), Some("true"));
    let sent = peers.written(0).len().to_string();
    assert_eq!(find(&spans, "send").field("bytes"), Some(&*sent));
    assert_eq!(find(&spans, "receive").field("bytes"), Some("5"));

    for ordinal in 2..5 {
        let response = client.get(URL).send().await.unwrap();
        assert_eq!(response.connection().ordinal(), ordinal);
        let timings = finish(response).await;
        let spans = recorder.take();
        assert_eq!(tree(&spans), ["http.request(queue send wait receive)"]);
        assert_exact(&timings, &spans);
        assert_eq!((timings.dns, timings.connect, timings.tls), (None, None, None));
        let request = find(&spans, "http.request");
        assert_eq!((request.field("handclasp.connection.reused"), request.follows.len()), (Some("true"), 0));
        assert_eq!(find(&spans, "queue").field("waited"), Some("false"));
    }
}

/// The span of the request and the pool's event give the same reason why a connection cannot be reused.
#[tokio::test(start_paused = true)]
async fn the_reason_that_forbids_reuse_is_in_the_span_and_in_the_event() {
    for (reply, why) in [
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
            "the server sent `connection: close`",
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi, and more",
            "the server sent bytes after the end of the response",
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "the server answered in HTTP/1.0 without `connection: keep-alive`",
        ),
    ] {
        let (recorder, _guard) = Recorder::start();
        let peers = Peers::new(Script::new(&[&[Reply::raw(&[reply])]]));
        let client = client(&peers);
        let mut events = client.pool().subscribe();
        finish(client.get(URL).send().await.unwrap()).await;
        let spans = recorder.take();
        let field = find(&spans, "http.request").field("handclasp.connection.close_reason");
        assert_eq!(field, Some(why));
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv()).map(|event| event.to_string()).collect();
        let last = told.last().unwrap();
        assert!(last.ends_with(&format!(" ({why})")), "{last}");
    }
}

/// A resolver that answers every name with a loopback address after 5 ms.
struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(Answer::new([([127, 0, 0, 1], 0).into()]))
        })
    }
}

/// The durations of the spans equal the timings, over a real socket and in real time.
#[tokio::test]
async fn the_spans_of_a_cold_request_by_name_are_exact() {
    let server = Plain::start();
    let (recorder, _guard) = Recorder::start();
    let client = Client::builder().dns_resolver(Loopback).build().unwrap();
    let url = format!("http://a.test:{}/bytes/300000", server.address.port());
    let timings = finish(client.get(&url).send().await.unwrap()).await;
    let spans = recorder.take();
    assert_eq!(tree(&spans), ["http.request(queue send wait receive)", "connection.setup(dns tcp)"]);
    assert_exact(&timings, &spans);
    assert!(timings.dns.unwrap() >= Duration::from_millis(5) && timings.connect.is_some(), "{timings:?}");
    let (dns, tcp) = (find(&spans, "dns"), find(&spans, "tcp"));
    assert_eq!((dns.field("dns.question.name"), dns.field("addresses")), (Some("a.test"), Some("1")));
    assert_eq!(u128::from(dns.elapsed()), timings.dns.unwrap().as_nanos());
    assert_eq!(tcp.field("network.peer.address"), Some("127.0.0.1"));
    assert_eq!((tcp.field("attempt"), tcp.field("outcome")), (Some("1"), Some("won")));
    assert!(u128::from(tcp.elapsed()) <= timings.connect.unwrap().as_nanos());

    for _ in 0..20 {
        let collected = client.get(&url).send().await.unwrap().collect().await.unwrap();
        let spans = recorder.take();
        assert_eq!(tree(&spans), ["http.request(queue send wait receive)"]);
        assert_exact(&collected.timings, &spans);
        assert_eq!((collected.timings.dns, collected.timings.connect), (None, None));
    }
}

#[tokio::test]
async fn a_lookup_says_whether_its_answer_came_from_the_cache() {
    let server = Plain::start();
    let (recorder, _guard) = Recorder::start();
    let url = format!("http://a.test:{}/", server.address.port());
    for (seconds, expected) in [(300, ["false", "true", "true"]), (0, ["false", "false", "false"])] {
        let longest = Duration::from_secs(seconds);
        let builder = Client::builder().dns_resolver(Loopback).dns_cache_ttl(Duration::ZERO, longest);
        let client = builder.build().unwrap();
        for cached in expected {
            finish(client.get(&url).send().await.unwrap()).await;
            client.pool().close_idle();
            let spans = recorder.take();
            assert_eq!(find(&spans, "dns").field("cached"), Some(cached), "with {seconds} s");
        }
        client.pool().on_network_change();
        finish(client.get(&url).send().await.unwrap()).await;
        client.pool().close_idle();
        assert_eq!(find(&recorder.take(), "dns").field("cached"), Some("false"));
    }
}

#[tokio::test]
async fn a_refused_address_before_one_that_answers() {
    struct Both(u16);
    impl Resolve for Both {
        fn resolve(
            &self,
            _: &str,
            _: Family,
        ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
            assert!(self.0 > 0);
            let addresses = [[127, 0, 0, 2], [127, 0, 0, 1]].map(|address| (address, 0).into());
            Box::pin(async move { Ok(Answer::new(addresses)) })
        }
    }
    let server = Plain::start();
    let port = server.address.port();
    let (recorder, _guard) = Recorder::start();
    let client = Client::builder().dns_resolver(Both(port)).build().unwrap();
    let timings = finish(client.get(format!("http://a.test:{port}/")).send().await.unwrap()).await;
    let spans = recorder.take();
    assert_eq!(tree(&spans), ["http.request(queue send wait receive)", "connection.setup(dns tcp tcp)"]);
    assert_exact(&timings, &spans);
    let outcomes: Vec<_> = spans.iter().filter_map(|span| span.field("outcome")).collect();
    assert_eq!(outcomes, ["failed", "won"]);
}

/// A request waits for a connection that another request uses, and dials none.
#[tokio::test(start_paused = true)]
async fn the_spans_of_a_request_that_waited_are_exact() {
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let peers = Peers::new(Script::new(&[&[slow, Reply::ok("hello")]]));
    let client = client(&peers);
    let holder = client.get(URL).send().await.unwrap();
    let (recorder, _guard) = Recorder::start();
    let (response, ()) = tokio::join!(client.get(URL).send(), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        finish(holder).await;
    });
    let timings = finish(response.unwrap()).await;
    let spans = recorder.take();
    assert_eq!(tree(&spans), ["http.request(queue send wait receive)"]);
    assert_exact(&timings, &spans);
    assert_eq!(timings.queued, Duration::from_secs(3));
    assert_eq!(
        (timings.connect, find(&spans, "http.request").field("handclasp.connection.reused")),
        (None, Some("true"))
    );
    assert_eq!(find(&spans, "queue").field("waited"), Some("true"));
}

#[tokio::test(start_paused = true)]
async fn the_spans_of_a_request_that_was_sent_again_are_exact() {
    let (recorder, _guard) = Recorder::start();
    let dying = [Reply::ok("hello"), Reply::silence().eof()];
    let script = Script { is_eager: true, ..Script::new(&[&dying, &[Reply::ok("hello")]]) };
    let peers = Peers::new(script);
    let client = client(&peers);
    finish(client.get(URL).send().await.unwrap()).await;
    recorder.take();
    let timings = finish(client.get(URL).send().await.unwrap()).await;
    let spans = recorder.take();
    let told = ["http.request(queue send wait)", "http.request(queue send wait receive)", "connection.setup"];
    assert_eq!(tree(&spans), told);
    assert_exact(&timings, &spans);
    let attempts: Vec<_> = spans.iter().filter(|span| span.name == "http.request").collect();
    for (attempt, expected) in attempts.iter().zip([
        [None, Some("1"), Some("true"), Some("ConnectionLost"), Some("ERROR"), None],
        [Some("1"), Some("2"), Some("false"), None, None, Some("200")],
    ]) {
        let names = [
            "http.request.resend_count",
            "handclasp.connection.id",
            "handclasp.connection.reused",
            "error.type",
            "otel.status_code",
            "http.response.status_code",
        ];
        assert_eq!(names.map(|name| attempt.field(name)), expected);
    }
    assert!(timings.connect.is_some());
}

#[cfg(feature = "url")]
const REDIRECT: &str = "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 4\r\n\r\ngone";

#[cfg(feature = "url")]
#[tokio::test(start_paused = true)]
async fn each_hop_of_a_redirect_has_a_span_of_its_own() {
    let (recorder, _guard) = Recorder::start();
    let peers = Peers::new(Script::new(&[&[Reply::raw(&[REDIRECT]).split(50), Reply::ok("hello")]]));
    let timings = finish(client(&peers).get(URL).send().await.unwrap()).await;
    let spans = recorder.take();
    let hop = "http.request(queue send wait receive)";
    assert_eq!(tree(&spans), [hop, "connection.setup", hop]);
    let hops: Vec<_> = spans.iter().filter(|span| span.name == "http.request").collect();
    for (hop, url, status, resends) in
        [(hops[0], URL, "302", None), (hops[1], "http://a.test/b", "200", Some("1"))]
    {
        assert_eq!(hop.field("url.full"), Some(url));
        assert_eq!(hop.field("http.response.status_code"), Some(status), "{url}");
        assert_eq!(hop.field("http.request.resend_count"), resends, "{url}");
        assert_eq!(hop.field("error.type"), None, "a redirect that was followed is no error");
        assert_eq!(hop.field("handclasp.connection.id"), Some("1"), "{url}");
    }
    let t = &timings;
    assert_eq!(t.previous + t.queued + t.send + t.wait + t.receive.unwrap(), t.total, "{t:?}");
    assert_eq!(Duration::from_nanos(hops[1].elapsed()), t.total - t.previous, "{t:?}");
}

/// A request that is redirected is dropped after each possible number of polls. Every span that was started has ended,
/// and no connection is left in use.
#[cfg(feature = "url")]
#[tokio::test(start_paused = true)]
async fn every_span_ends_when_a_redirected_request_is_dropped_anywhere() {
    let (recorder, _guard) = Recorder::start();
    let (mut drops, mut most) = (0, 0);
    for polls in 0..60 {
        let redirect = Reply::raw(&[REDIRECT.strip_suffix("gone").unwrap(), "go", "ne"]);
        let script = Script { read_polls: 4, ..Script::new(&[&[redirect, Reply::ok("hello")]]) };
        let peers = Peers::new(script);
        let client = client(&peers);
        let mut work = Box::pin(async { client.get(URL).send().await.unwrap().bytes().await.unwrap() });
        let mut is_complete = false;
        for _ in 0..polls {
            settle().await;
            is_complete = work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            if is_complete {
                break;
            }
        }
        drop(work);
        settle().await;
        // A drain of the redirect's content ends by then.
        tokio::time::advance(Duration::from_secs(1)).await;
        settle().await;
        assert_eq!(client.pool().stats().total.active, 0, "after {polls} polls");
        // The span of a dial ends with its connection, if no request has used the connection.
        drop(client);
        settle().await;
        let spans = recorder.take();
        most = most.max(spans.iter().filter(|span| span.name == "http.request").count());
        drops += usize::from(!is_complete);
    }
    assert!((10..60).contains(&drops), "{drops} drops");
    assert_eq!(most, 2, "some requests were dropped in the second hop");
}

#[tokio::test(start_paused = true)]
async fn the_spans_of_a_failed_request_are_exact() {
    let (recorder, _guard) = Recorder::start();
    let half = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four"]);
    for (reply, failed_dials, told, kind) in [
        (Reply::silence().eof(), 0, "http.request(queue send wait)", "ConnectionLost"),
        (Reply::raw(&["nonsense\r\n\r\n"]), 0, "http.request(queue send wait)", "Protocol"),
        (Reply::silence(), 0, "http.request(queue send wait)", "Timeout"),
        (half.clone().eof(), 0, "http.request(queue send wait receive)", "ConnectionLost"),
        (half, 0, "http.request(queue send wait receive)", "Timeout"),
        (Reply::ok("hello"), 1, "http.request(queue)", "Connect"),
    ] {
        let peers = Peers::new(Script { failed_dials, is_eager: true, ..Script::new(&[&[reply]]) });
        let client = client(&peers);
        let outcome = async { client.get(URL).send().await?.bytes().await };
        let error = outcome.await.unwrap_err();
        settle().await;
        let spans = recorder.take();
        assert_eq!(tree(&spans), [told, "connection.setup"], "{}", error.chain());
        let request = find(&spans, "http.request");
        assert_eq!(request.field("error.type"), Some(kind));
        let setup = find(&spans, "connection.setup");
        assert_eq!(setup.field("error.type"), (failed_dials > 0).then_some("Connect"));
        let t = error.timings().unwrap();
        let setup: Duration = [t.dns, t.connect, t.proxy, t.tls].into_iter().flatten().sum();
        let sum = t.previous + t.queued + setup + t.send + t.wait + t.receive.unwrap_or_default();
        assert_eq!(sum, t.total, "{kind}: {t:?}");
    }
}

/// A request is dropped after each possible number of polls. Every span that was started has ended.
#[tokio::test(start_paused = true)]
async fn every_span_ends_when_a_request_is_dropped_anywhere() {
    let (recorder, _guard) = Recorder::start();
    let mut drops = 0;
    let mut trees = Vec::new();
    for polls in 0..40 {
        let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
        let peers = Peers::new(Script { write_most: 30, read_polls: 4, ..Script::new(&[&[slow]]) });
        let client = client(&peers);
        let mut work = Box::pin(async { client.get(URL).send().await.unwrap().bytes().await.unwrap() });
        let mut is_complete = false;
        for _ in 0..polls {
            settle().await;
            if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                is_complete = true;
                break;
            }
        }
        drop(work);
        settle().await;
        drop(client);
        settle().await;
        let spans = recorder.take();
        if polls == 0 {
            assert!(spans.is_empty());
        } else {
            let request = find(&spans, "http.request");
            let cancelled = request.field("handclasp.cancelled");
            assert_eq!(cancelled, (!is_complete).then_some("true"), "{polls} polls");
            assert_eq!(request.field("error.type"), None, "a cancellation is no error");
            trees.push(tree(&spans).remove(0));
        }
        drops += 1;
        if is_complete {
            break;
        }
    }
    trees.dedup();
    let told = [
        "http.request(queue)",
        "http.request(queue send)",
        "http.request(queue send wait)",
        "http.request(queue send wait receive)",
    ];
    assert_eq!(trees, told);
    println!("{drops} drops");
}

/// A dial ends its own spans although its request was dropped.
#[tokio::test(start_paused = true)]
async fn a_dial_that_no_request_waits_for_ends_its_own_spans() {
    let (recorder, _guard) = Recorder::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    let mut request = Box::pin(client.get(URL).send());
    assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(request);
    settle().await;
    finish(client.get(URL).send().await.unwrap()).await;
    let spans = recorder.take();
    let told = ["http.request(queue)", "connection.setup", "http.request(queue send wait receive)"];
    assert_eq!(tree(&spans), told);
    assert_eq!(spans[0].field("handclasp.cancelled"), Some("true"));
    assert_eq!(client.pool().stats().total.opened, 1);
}

/// A request runs inside a span of the caller. In some cases a subscriber is set or removed while the request runs.
#[tokio::test(start_paused = true)]
async fn spans_stand_under_a_span_of_the_caller() {
    let (recorder, _guard) = Recorder::start();
    let peers = Peers::new(Script::new(&[&[Reply::ok("hello")]]));
    let client = client(&peers);
    let outer = tracing::info_span!(target: "handclasp", "outer", elapsed_ns = 0);
    let entered = outer.enter();
    let mut request = Box::pin(client.get(URL).send());
    assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(entered);
    drop(outer);
    finish(request.await.unwrap()).await;
    let spans = recorder.take();
    assert_eq!(spans.iter().filter(|span| span.name == "connection.setup").count(), 1);
    let setup = find(&spans, "connection.setup");
    assert_eq!(setup.parent, None, "a root, whatever span the caller is in");
}
