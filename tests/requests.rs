//! What a client sends, octet by octet, and what it does with connections and answers where the corpus has no case:
//! the rows carry the ids of `src/manual/requirements.md`, of which these are the tests.
#![cfg(feature = "url")]
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use handclasp::codec::{BodyLength, Event, Framing, Limits, Machine, Misuse, RequestHead, Target};
use handclasp::{Body, Client, ClientBuilder, ErrorKind, RequestTarget, Written};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::support::{Request, Rng, Server, Signal, Tape, until, within};

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A server that is known as `a.test`, all that came to it, and how many of its connections have ended.
struct Recorder {
    server: Server,
    tape: Tape,
    ended: Arc<AtomicUsize>,
}

impl Recorder {
    /// Answers every request with a 204.
    fn start() -> Self {
        Self::answering(|_| NO_CONTENT.to_owned())
    }

    fn answering(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Self {
        let (tape, ended) = (Tape::default(), Arc::<AtomicUsize>::default());
        let (recording, count) = (tape.clone(), ended.clone());
        let server = Server::start(move |peer| {
            peer.record(&recording);
            let mut serve = || {
                while let Some(request) = peer.request()? {
                    peer.send(answer(&request))?;
                }
                Ok(())
            };
            let served = serve();
            count.fetch_add(1, Ordering::SeqCst);
            served
        });
        Self { server, tape, ended }
    }

    /// Until so many connections have been read to their ends.
    async fn ended(&self, count: usize) {
        until("the connections have ended", || self.ended.load(Ordering::SeqCst) == count).await;
    }

    /// What came since the last time.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.tape.lock().unwrap())).unwrap()
    }

    fn builder(&self) -> ClientBuilder {
        let builder = Client::builder().resolve("a.test", self.server.address());
        builder.max_connections_per_host(1).no_user_agent()
    }

    fn client(&self) -> Client {
        self.builder().build().unwrap()
    }
}

/// Content in pieces; where there is no more, it ends.
struct Pieces(VecDeque<&'static str>);

impl Pieces {
    fn of(pieces: &[&'static str]) -> Self {
        Self(pieces.iter().copied().collect())
    }

    fn body(pieces: &[&'static str]) -> Body {
        Body::from_stream(Self::of(pieces))
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(piece.into())))
    }
}

/// Content of a length that it says, whatever it gives.
struct Promise {
    length: Option<u64>,
    pieces: Pieces,
}

impl http_body::Body for Promise {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.pieces.0.pop_front().map(|piece| Ok(http_body::Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

/// Content without an end, and how much of it was taken.
struct Endless(Arc<AtomicUsize>);

impl Stream for Endless {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        self.0.fetch_add(PIECE.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Bytes::from_static(&PIECE))))
    }
}

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

fn trailers(names: &[&'static str]) -> HeaderMap {
    names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("7"))).collect()
}

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).unwrap()
}

/// All on one connection, so that an octet before or behind a request would be seen too.
#[tokio::test]
async fn requests_octet_by_octet() {
    let recorder = Recorder::start();
    let client = recorder.client();
    let root = "http://a.test/";
    let mut count = 0;
    for (rules, request, expected) in [
        // Without a word of the caller's: nothing but what must be.
        (
            "R-9112-2.2-7 R-9112-3-1 R-9112-3.2.1-1 R-9112-7.4-1 R-9112-C.2.2-1 R-9112-C.2.2-2 R-9110-6.2-1 \
             R-9110-7.2-1 R-9110-8.6-2 R-9110-9.3.1-1 R-9110-10.1.2-1 R-9110-12.5.3-1 \
             R-9110-12.5.4-1 R-9110-5.6.1-1 R-9110-5.6.3-1",
            client.get("http://a.test/a/b?c=d"),
            "GET /a/b?c=d HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        ("R-9110-8.6-2 R-9110-9.3.1-1", client.head(root), "HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        ("R-9110-8.6-2 R-9110-9.3.1-1", client.delete(root), "DELETE / HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        ("R-9110-8.6-2", client.request(Method::OPTIONS, root), "OPTIONS / HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        (
            "R-9110-8.6-2 R-9110-9.3.8-1",
            client.request(Method::TRACE, root),
            "TRACE / HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9110-8.6-1 R-9112-6.3-11",
            client.post(root),
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n",
        ),
        ("R-9110-8.6-1", client.put(root), "PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"),
        (
            "R-9110-8.6-1",
            client.patch(root).body(""),
            "PATCH / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n",
        ),
        // Methods.
        (
            "R-9112-3.1-1 R-9110-9.1-1",
            client.request(method("get"), root),
            "get / HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9112-3.1-1 R-9110-9.1-1",
            client.request(method("!#$%&'*+-.^_`|~09Az"), root),
            "!#$%&'*+-.^_`|~09Az / HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9110-9.1-1",
            client.request(method("PROPFIND"), root),
            "PROPFIND / HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9110-9.1-1",
            client.request(method("QUERY"), root).body("a"),
            "QUERY / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\na",
        ),
        // Targets.
        ("R-9112-3.2.1-2", client.get("http://a.test?q"), "GET /?q HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        ("R-9112-3.2.1-2", client.get(uri("http://a.test?q")), "GET /?q HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        ("R-9112-3.2.1-2", client.get(uri("http://a.test")), "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        (
            "R-9112-3.2.1-1 R-9110-4.2.5-1 R-9110-17.11-1",
            client.get("http://a.test/x?y#fragment"),
            "GET /x?y HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9110-4.2.4-1 R-9112-3.2-2",
            client.get("http://user:secret@a.test/x"),
            "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9110-4.2.4-1 R-9112-3.2-2",
            client.get(uri("http://user:secret@a.test/x")),
            "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9112-3.2-1",
            client.get("http://a.test/a b\u{e9}\0?c d\u{e9}\u{7f}"),
            "GET /a%20b%C3%A9%00?c%20d%C3%A9%7F HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        // By the standard of URLs, text has as many slashes as it likes before its host,
        ("R-9110-4.2.1-1", client.get("http:///a.test/x"), "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        // and such characters do not count.
        ("R-9112-3.2-1", client.get("http://a.test/a\r\n\tb"), "GET /ab HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        (
            "R-9112-3.2.4-1 R-9110-7.1-1",
            client.request(Method::OPTIONS, root).target(RequestTarget::Asterisk),
            "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9112-3.2.2-1 R-9112-3.2.2-2 R-9110-4.2.4-1",
            client.get(uri("http://user:secret@a.test?q")).target(RequestTarget::Absolute),
            "GET http://a.test/?q HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        // Fields.
        (
            "R-9110-7.2-1 R-9112-3.2-2",
            client.get(root).header("accept", "*/*").header("host", "b.test:1"),
            "GET / HTTP/1.1\r\nhost: b.test:1\r\naccept: */*\r\n\r\n",
        ),
        (
            "R-9110-16.3.1-1 R-9110-5.6.3-1",
            client.get(root).header("1_.~!#$%&'*+^`|x", "a\tb \u{e9}"),
            "GET / HTTP/1.1\r\nhost: a.test\r\n1_.~!#$%&'*+^`|x: a\tb \u{e9}\r\n\r\n",
        ),
        (
            "R-9110-13.1-1 R-9111-4.3.1-1",
            client.get(root).header("if-none-match", "W/\"a,b\", \"\""),
            "GET / HTTP/1.1\r\nhost: a.test\r\nif-none-match: W/\"a,b\", \"\"\r\n\r\n",
        ),
        // What concerns the connection is named in Connection, once.
        (
            "R-9112-7.4-2 R-9110-10.1.4-1 R-9110-7.6.1-1",
            client.get(root).header("te", "trailers"),
            "GET / HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\nconnection: te\r\n\r\n",
        ),
        (
            "R-9112-7.4-2 R-9110-10.1.4-1 R-9110-7.6.1-1",
            client.get(root).header("te", "trailers").header("connection", "x, TE"),
            "GET / HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\nconnection: x, TE\r\n\r\n",
        ),
        (
            "R-9110-7.8-1 R-9110-7.6.1-1 R-9110-7.8-4",
            client.get(root).header("upgrade", "x/1"),
            "GET / HTTP/1.1\r\nhost: a.test\r\nupgrade: x/1\r\nconnection: upgrade\r\n\r\n",
        ),
        (
            "R-9110-7.6.1-1 R-9110-5.6.1-1",
            client.get(root).header("keep-alive", "timeout=9").header("http2-settings", "AA"),
            "GET / HTTP/1.1\r\nhost: a.test\r\nkeep-alive: timeout=9\r\nhttp2-settings: AA\r\n\
             connection: keep-alive, http2-settings\r\n\r\n",
        ),
        // Content and its length.
        (
            "R-9112-2.2-6 R-9112-6.3-10 R-9112-6.3-11",
            client.post(root).body("a\n"),
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\na\n",
        ),
        (
            "R-9112-2.2-6",
            client.post(root).body("a\r\n"),
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\na\r\n",
        ),
        (
            "R-9112-6.3-11",
            client.delete(root).body("a"),
            "DELETE / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\na",
        ),
        (
            "R-9112-6.3-11",
            client.post(root).body(Pieces::body(&["one", "", "fourteen"])),
            "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n\
             3\r\none\r\n8\r\nfourteen\r\n0\r\n\r\n",
        ),
        (
            "R-9112-6.3-11",
            client.post(root).body(Pieces::body(&[])),
            "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "R-9112-6.3-10 R-9112-6.2-1",
            client.post(root).header("content-length", "4").body(Pieces::body(&["one", "2"])),
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\none2",
        ),
        (
            "R-9112-6.1-2 R-9112-6.2-1",
            client.post(root).header("transfer-encoding", "Chunked").body(Pieces::body(&["one"])),
            "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
        ),
        (
            "R-9112-6.1-2 R-9112-6.2-1",
            client.post(root).header("transfer-encoding", "chunked").body("one"),
            "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
        ),
        (
            "R-9112-6.3-10",
            client
                .post(root)
                .body(Body::wrap(Promise { length: Some(4), pieces: Pieces::of(&["one", "2"]) })),
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\none2",
        ),
        (
            "R-9112-6.3-11",
            client.post(root).body(Body::wrap(Promise { length: None, pieces: Pieces::of(&["one"]) })),
            "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
        ),
        (
            "R-9110-6.6.2-1 R-9110-5.6.1-1",
            client.post(root).body(Body::from("a").with_trailers(trailers(&["x-sum", "x-more"]))),
            "POST / HTTP/1.1\r\nhost: a.test\r\ntrailer: x-sum, x-more\r\ntransfer-encoding: chunked\r\n\r\n\
             1\r\na\r\n0\r\nx-sum: 7\r\nx-more: 7\r\n\r\n",
        ),
        (
            "R-9110-6.6.2-1",
            client
                .post(root)
                .header("trailer", "X-Sum")
                .body(Body::from("a").with_trailers(trailers(&["x-sum"]))),
            "POST / HTTP/1.1\r\nhost: a.test\r\ntrailer: X-Sum\r\ntransfer-encoding: chunked\r\n\r\n\
             1\r\na\r\n0\r\nx-sum: 7\r\n\r\n",
        ),
        (
            "R-9110-5.3-1",
            client.post(root).header("content-length", "1").header("content-length", "1").body("a"),
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\na",
        ),
    ] {
        let response = within(20, request.send()).await.unwrap_or_else(|error| panic!("{rules}: {error:?}"));
        assert_eq!(response.status(), 204, "{rules}");
        assert_eq!(recorder.take(), expected, "{rules}");
        count += 1;
    }
    let response = within(20, client.get("http://a.test/x#fragment").send()).await.unwrap();
    assert_eq!(response.url().as_str(), "http://a.test/x", "R-9110-17.11-1");
    assert_eq!(recorder.take(), "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n", "R-9110-17.11-1");
    assert_eq!(recorder.server.requests_per_connection(), [count + 1], "R-9112-2.2-5");
    drop((response, client));
    recorder.ended(1).await;
    assert_eq!(recorder.take(), "", "R-9112-2.2-5");
}

/// Knows one name, and its port.
struct Service(std::net::SocketAddr);

impl handclasp::Resolve for Service {
    fn resolve(
        &self,
        name: &str,
        _: handclasp::Family,
    ) -> Pin<Box<dyn Future<Output = Result<handclasp::Answer, handclasp::BoxError>> + Send>> {
        let answer = handclasp::Answer::new((name == "service.test").then_some(self.0));
        Box::pin(async { Ok(answer) })
    }
}

#[tokio::test]
async fn the_port_of_an_answer_is_dialed_and_the_host_field_keeps_the_port_of_the_url() {
    let recorder = Recorder::start();
    let server = recorder.server.address();
    let client = Client::builder().no_user_agent().dns_resolver(Service(server)).build().unwrap();
    for (target, host) in
        [("http://service.test/", "service.test"), ("http://service.test:81/", "service.test:81")]
    {
        let response = within(20, client.get(target).send()).await.unwrap();
        assert_eq!(response.connection().peer_addr(), Some(server), "{target}");
        drop(response.bytes().await.unwrap());
        assert_eq!(recorder.take(), format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    }
    // Each port of the URL has its own key in the pool, although both requests went to one address.
    assert_eq!(client.pool().stats().hosts.len(), 2);
}

#[tokio::test]
async fn the_host_is_that_of_the_target() {
    let recorder = Recorder::start();
    let port = recorder.server.address().port();
    let client = recorder.builder().resolve("[2001:db8::1]", recorder.server.address()).build().unwrap();
    for (rules, target, expected) in [
        ("R-9112-3.2-2 R-9110-4.2.3-1", "http://a.test:80/", "a.test".to_owned()),
        ("R-9112-3.2-2 R-9110-4.2.3-1", "http://A.TEST/", "a.test".to_owned()),
        ("R-9112-3.2-2", "http://a.test:8080/", "a.test:8080".to_owned()),
        ("R-9112-3.2-2", "http://u:p@a.test:443/", "a.test:443".to_owned()),
        ("R-9112-3.2-2 R-3986-3.2.2-1", "http://[2001:db8::1]/", "[2001:db8::1]".to_owned()),
        ("R-9112-3.2-2 R-3986-3.2.2-1", "http://[2001:db8::1]:81/", "[2001:db8::1]:81".to_owned()),
        ("R-9112-3.2-2", &format!("http://127.0.0.1:{port}/"), format!("127.0.0.1:{port}")),
    ] {
        for request in [client.get(target), client.get(uri(target))] {
            within(20, request.send()).await.unwrap_or_else(|error| panic!("{rules}: {target}: {error:?}"));
            let expected = format!("GET / HTTP/1.1\r\nhost: {expected}\r\n\r\n");
            assert_eq!(recorder.take(), expected, "{rules}: {target}");
        }
    }
}

/// Nothing is sent, and nothing is even dialed.
#[tokio::test]
async fn what_cannot_be_sent_is_refused_beforehand() {
    let recorder = Recorder::start();
    let client = recorder.client();
    let root = "http://a.test/";
    let get = || client.get(root);
    let connect = |target: &str| {
        client.request(Method::CONNECT, root).target(RequestTarget::Authority(target.to_owned()))
    };
    for (rules, request) in [
        ("R-9112-2.2-3 R-9112-11.1-1", get().header("x", "a\rb")),
        ("R-9112-2.2-3 R-9112-11.1-1", get().header("x", "a\r\nb: c")),
        ("R-9112-2.2-3 R-9112-11.1-1", get().header("x\r", "a")),
        ("R-9112-2.2-3 R-9112-11.1-1", get().header("host", "a\rb")),
        ("R-9112-5.2-1", get().header("x", "a\r\n b")),
        ("R-9112-5.2-1", get().header("x", "a\n\tb")),
        ("R-9112-11.1-1", get().header("x", "a\0")),
        ("R-9112-11.1-1", get().header("x\n", "a")),
        ("R-9112-11.1-1", get().header("x: a\r\ny", "a")),
        ("R-9112-11.1-1", get().bearer_auth("a\r\nb: c")),
        ("R-9112-11.1-1 R-9110-2.2-1", get().header("", "a")),
        ("R-9110-2.2-1", get().header("x y", "a")),
        ("R-9110-2.2-1", get().header("x\u{e9}", "a")),
        ("R-9112-3.2-2 R-9110-5.3-1", get().header("host", "a").header("host", "b")),
        ("R-9112-3.2-2 R-9110-4.2.4-1", get().header("host", "user@a.test")),
        ("R-9112-3.2-3 R-9112-3.2.4-1 R-9110-7.1-1", client.get(uri("*"))),
        ("R-9112-3.2-3", client.get(uri("/path"))),
        ("R-9112-3.2.4-1 R-9110-7.1-1", get().target(RequestTarget::Asterisk)),
        ("R-9110-7.1-1", get().target(RequestTarget::Authority("h:1".to_owned()))),
        ("R-9112-3.2.3-1 R-9110-9.3.6-1", connect("h")),
        ("R-9112-3.2.3-1", connect("u@h:1")),
        ("R-9112-3.2.3-1 R-9112-11.1-1", connect("h:1\r\nx: y")),
        ("R-9110-4.2.1-1", client.get("http://")),
        ("R-9110-4.2.1-1", client.get("https://:443/")),
        ("R-9110-4.2.1-1", client.get("http://user@/")),
        ("R-9110-4.2.1-1", client.get(uri("http://./"))),
        ("R-3986-3.2.2-1", client.get("http://[fe80::1%25lo]/")),
        ("R-3986-3.2.2-1", client.get("http://[fe80::1%lo]/")),
        (
            "R-9112-6.2-1",
            client.post(root).header("transfer-encoding", "chunked").header("content-length", "1").body("a"),
        ),
        ("R-9112-6.1-2", client.post(root).header("transfer-encoding", "gzip, chunked").body("a")),
        ("R-9112-6.1-2", client.post(root).header("transfer-encoding", "chunked, chunked").body("a")),
        (
            "R-9112-6.1-2",
            client
                .post(root)
                .header("transfer-encoding", "chunked")
                .header("transfer-encoding", "chunked")
                .body("a"),
        ),
        ("R-9110-8.6-4", client.post(root).header("content-length", "1").body("ab")),
        ("R-9110-8.6-4", client.post(root).header("content-length", "3").body("ab")),
        ("R-9110-8.6-4", client.get(root).header("content-length", "3")),
        ("R-9110-8.6-4", client.post(root).header("content-length", "+2").body("ab")),
        (
            "R-9110-5.3-1",
            client.post(root).header("content-length", "2").header("content-length", "3").body("ab"),
        ),
        (
            "R-9110-5.3-1",
            client.post(root).header("content-type", "a/b").header("content-type", "c/d").body("ab"),
        ),
        ("R-9110-5.3-1", get().header("user-agent", "a").header("user-agent", "b")),
        ("R-9110-9.3.8-1", client.request(Method::TRACE, root).body("a")),
        ("R-9110-9.3.8-1", client.request(Method::TRACE, root).bearer_auth("a")),
        ("R-9110-9.3.8-1", client.request(Method::TRACE, root).header("cookie", "a=b")),
        ("R-9110-9.3.7-1", client.request(Method::OPTIONS, root).body("a")),
        ("R-9112-7.4-1", get().header("te", "chunked")),
        ("R-9112-7.4-1", get().header("te", "trailers, Chunked;q=0.5")),
        ("R-9112-C.2.2-1", get().header("proxy-connection", "keep-alive")),
        ("R-9110-7.6.1-2", get().header("connection", "cache-control")),
        ("R-9110-7.6.1-2", get().header("connection", "close, Host")),
        ("R-9110-7.6.1-2 R-9110-2.2-1", get().header("connection", "a b")),
        (
            "R-9110-6.5.1-1",
            client.post(root).body(Body::from("a").with_trailers(trailers(&["content-length"]))),
        ),
        (
            "R-9110-6.5.1-1",
            client.post(root).body(Body::from("a").with_trailers(trailers(&["authorization"]))),
        ),
        ("R-9110-6.5.1-1", client.post(root).body(Body::from("a").with_trailers(trailers(&["host"])))),
        ("R-9110-6.5.1-1", client.post(root).header("trailer", "x, Host").body(Pieces::body(&["a"]))),
        ("R-9110-10.1.1-1", get().expect_continue()),
        ("R-9110-10.1.1-1", get().header("expect", "100-continue")),
        ("R-9110-10.1.1-1", client.post(root).header("expect", "100-continue").body("")),
    ] {
        let error = within(20, request.send()).await.expect_err(rules);
        let told = (error.kind(), error.request_written());
        assert_eq!(told, (ErrorKind::Request, Written::Nothing), "{rules}: {error:?}");
    }
    // The types of the `http` crate let no more than this into a request.
    for name in ["", "G T", "GET\r", "G\u{c9}T", "GET\r\nX: y", "G\0"] {
        assert!(Method::from_bytes(name.as_bytes()).is_err(), "R-9112-3.1-1 R-9112-2.2-3: {name:?}");
    }
    for target in ["http://a.test/ b", "http://a.test/\r\nx: y", "http://a.test/\0", "http://a.test/\u{7f}"] {
        assert!(target.parse::<Uri>().is_err(), "R-9112-3.2-1 R-9112-11.1-1: {target:?}");
    }
    assert_eq!(recorder.server.connections(), 0, "R-9112-2.2-3 R-9112-11.1-1");
}

/// Method, target and fields.
type Read<'a> = (&'a [u8], &'a [u8], Vec<(&'a [u8], &'a [u8])>);

/// By RFC 9112 and nothing more: the method, the target, and the fields of a head that is all there is.
fn read_strictly(head: &[u8]) -> Result<Read<'_>, &'static str> {
    let is_token = |name: &[u8]| {
        let is_tchar = |it: &u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(it);
        !name.is_empty() && name.iter().all(is_tchar)
    };
    let head = head.strip_suffix(b"\r\n\r\n").ok_or("no empty line at the end")?;
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    if lines.iter().any(|line| line.iter().any(|it| matches!(it, b'\r' | b'\n' | 0))) {
        return Err("a control character that ends lines elsewhere");
    }
    let mut words = lines[0].split(|it| *it == b' ');
    let [method, target, version] = [words.next(), words.next(), words.next()].map(Option::unwrap_or_default);
    if !is_token(method) || version != b"HTTP/1.1" || words.next().is_some() {
        return Err("not a request line");
    }
    if target.is_empty() || !target.iter().all(|it| it.is_ascii_graphic() && *it != b'#') {
        return Err("not a target");
    }
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|it| *it == b':').ok_or("a field without a colon")?;
        let value = line[colon + 1..].strip_prefix(b" ").ok_or("no space behind the colon")?;
        if !is_token(&line[..colon]) || value.iter().any(|it| it.is_ascii_control() && *it != b'\t') {
            return Err("not a field");
        }
        fields.push((&line[..colon], value));
    }
    Ok((method, target, fields))
}

/// Whatever goes in: it is refused and nothing is written, or exactly this comes out again.
#[test]
fn a_head_is_read_back_as_it_went_in() {
    const SEEDS: [&[u8]; 8] =
        [b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t: ", b"/?#*@[]:%", b"\x7f\xc3\xa9\xff"];
    let mut rng = Rng::new(0x9110);
    let mut draw = |most: u64| {
        let mut text = Vec::new();
        for _ in 0..rng.below(most) {
            match rng.below(8) {
                0 => text.extend_from_slice(SEEDS[rng.below(8) as usize]),
                1 => text.push(rng.below(256) as u8),
                _ => text.push(b'a' + rng.below(26) as u8),
            }
        }
        text
    };
    let (mut written, mut refused) = (0, 0);
    for round in 0..40_000 {
        let method = Method::from_bytes(&draw(6)).unwrap_or(Method::GET);
        let (path, host) = (draw(10), draw(6));
        let path = format!("/{}", String::from_utf8_lossy(&path));
        let mut headers = HeaderMap::new();
        for _ in 0..draw(4).len() {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(&draw(6)), HeaderValue::from_bytes(&draw(8)))
            {
                headers.append(name, value);
            }
        }
        let mut head = RequestHead::new(&method, Target::Origin(&path), Some(&host), &headers);
        head.body = [BodyLength::None, BodyLength::Known(round), BodyLength::Chunked][round as usize % 3];
        let mut out = BytesMut::new();
        if Machine::new(Limits::default()).encode_head(&head, &mut out).is_err() {
            assert!(out.is_empty(), "R-9112-11.1-1: {head:?}");
            refused += 1;
            continue;
        }
        let read = read_strictly(&out);
        let (got_method, target, fields) =
            read.unwrap_or_else(|what| panic!("R-9110-2.2-1 R-9112-2.2-3 R-9112-11.1-1: {what}: {head:?}"));
        assert_eq!((got_method, target), (method.as_str().as_bytes(), path.as_bytes()), "R-9110-2.2-1");
        assert_eq!(fields[0], (&b"host"[..], &host[..]), "R-9110-2.2-1");
        let framing = ["content-length", "transfer-encoding"].map(str::as_bytes);
        let count = fields.iter().filter(|(name, _)| framing.contains(name)).count();
        assert!(count <= 1, "R-9112-6.2-1: {head:?}");
        let given = headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let got = fields[1..].iter().copied().filter(|(name, _)| !framing.contains(name));
        assert!(given.eq(got), "R-9110-2.2-1 R-9110-16.3.1-1: {head:?}");
        written += 1;
    }
    assert!(written > 5_000 && refused > 5_000, "{written} were written and {refused} refused");
}

/// The forms that only proxies and servers as a whole are asked in, by the codec that writes them.
#[test]
fn forms_of_the_target() {
    let (url, v6) = (uri("http://u:p@h.test:8001?q"), uri("http://[::1]"));
    for (rules, method, target, host, expected) in [
        (
            "R-9112-3.2.2-1 R-9112-3.2.2-2 R-9110-4.2.4-1",
            Method::GET,
            Target::Absolute(&url),
            "h.test:8001",
            Ok("GET http://h.test:8001/?q HTTP/1.1\r\nhost: h.test:8001\r\n\r\n"),
        ),
        (
            "R-9112-3.2.2-1 R-9112-3.2.2-2",
            Method::OPTIONS,
            Target::Absolute(&v6),
            "[::1]",
            Ok("OPTIONS http://[::1]/ HTTP/1.1\r\nhost: [::1]\r\n\r\n"),
        ),
        (
            "R-9112-3.2.3-1 R-9110-9.3.6-1",
            Method::CONNECT,
            Target::Authority("h:443"),
            "h:443",
            Ok("CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n"),
        ),
        (
            "R-9112-3.2.3-1 R-9110-9.3.6-1",
            Method::CONNECT,
            Target::Authority("[::1]:443"),
            "[::1]:443",
            Ok("CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n\r\n"),
        ),
        (
            "R-9112-3.2.3-1 R-9110-9.3.6-1",
            Method::CONNECT,
            Target::Authority("h"),
            "h",
            Err(Misuse::BadTarget),
        ),
        ("R-9112-3.2.3-1", Method::CONNECT, Target::Authority("h:"), "h", Err(Misuse::BadTarget)),
        ("R-9112-3.2.3-1", Method::CONNECT, Target::Authority("u@h:1"), "h", Err(Misuse::BadTarget)),
        ("R-9112-3.2.3-1", Method::CONNECT, Target::Origin("/"), "h", Err(Misuse::TargetForm)),
        ("R-9110-7.1-1", Method::GET, Target::Authority("h:443"), "h", Err(Misuse::TargetForm)),
        (
            "R-9112-3.2.4-1",
            Method::OPTIONS,
            Target::Asterisk,
            "h",
            Ok("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
        ),
        ("R-9112-3.2.4-1 R-9110-7.1-1", Method::GET, Target::Asterisk, "h", Err(Misuse::TargetForm)),
        (
            "R-9112-3.2.4-2",
            Method::OPTIONS,
            Target::AbsoluteAsterisk(&url),
            "h.test:8001",
            Ok("OPTIONS http://h.test:8001 HTTP/1.1\r\nhost: h.test:8001\r\n\r\n"),
        ),
        (
            "R-9112-3.2.4-2 R-9110-7.1-1",
            Method::GET,
            Target::AbsoluteAsterisk(&url),
            "h",
            Err(Misuse::TargetForm),
        ),
        ("R-9112-3.2-1", Method::GET, Target::Origin("/a b"), "h", Err(Misuse::BadTarget)),
        ("R-9112-3.2-1", Method::GET, Target::Origin("/\u{e9}"), "h", Err(Misuse::BadTarget)),
        ("R-9110-4.2.5-1", Method::GET, Target::Origin("/#a"), "h", Err(Misuse::BadTarget)),
    ] {
        let (none, mut out) = (HeaderMap::new(), BytesMut::new());
        let head = RequestHead::new(&method, target, Some(host.as_bytes()), &none);
        let encoded = Machine::new(Limits::default()).encode_head(&head, &mut out);
        let written = std::str::from_utf8(&out).unwrap();
        assert_eq!(encoded.map(|()| written), expected, "{rules}");
        assert!(expected.is_ok() || written.is_empty(), "{rules}");
    }
}

#[test]
fn a_tunnel_begins_behind_any_2xx_and_behind_nothing_else() {
    for (status, expected) in [
        (200, Framing::Tunnel),
        (204, Framing::Tunnel),
        (299, Framing::Tunnel),
        (300, Framing::Length(3)),
        (407, Framing::Length(3)),
        (502, Framing::Length(3)),
    ] {
        let (none, mut machine) = (HeaderMap::new(), Machine::new(Limits::default()));
        let head = RequestHead::new(&Method::CONNECT, Target::Authority("h:1"), Some(b"h:1"), &none);
        machine.encode_head(&head, &mut BytesMut::new()).unwrap();
        // What is to go through it is none of the request's content.
        assert!(!machine.may_send_body() && machine.is_send_done(), "R-OPTUP-6-1");
        let mut wire = BytesMut::from(&*format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nabc"));
        assert!(matches!(machine.decode(&mut wire), Ok(Some(Event::Head(_)))), "R-2817-5.3-1: {status}");
        assert_eq!(machine.framing(), Some(expected), "R-2817-5.3-1 R-9112-6.3-2 R-9110-9.3.6-3: {status}");
        if expected == Framing::Tunnel {
            while let Ok(Some(event)) = machine.decode(&mut wire) {
                assert!(!matches!(event, Event::Data(_)), "R-2817-5.3-1 R-9110-9.3.6-2: {status}");
            }
            assert_eq!(wire, "abc", "R-2817-5.3-1 R-9110-9.3.6-2: {status}");
        }
    }
}

/// Long ones go out whole, and what went out comes back.
#[tokio::test]
async fn long_lines_pass_both_ways() {
    let recorder = Recorder::answering(|request| {
        let url = format!("http://a.test{}", request.target);
        format!("HTTP/1.1 200 OK\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n")
    });
    let client = recorder.client();
    for size in [8_000, 9_000, 60_000] {
        let path = format!("/{}", "p".repeat(size));
        let response = within(20, client.get(format!("http://a.test{path}")).send()).await;
        let response =
            response.unwrap_or_else(|error| panic!("R-9112-3-2 R-9110-2.3-1 of {size}: {error:?}"));
        let line = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert!(recorder.take() == line, "R-9112-3-2 of {size}: it did not arrive as it was sent");
        let location = response.headers()["location"].to_str().unwrap();
        assert!(location == format!("http://a.test{path}"), "R-9110-4.1-1 R-9110-2.3-1 of {size}");
    }
    let value = "v".repeat(60_000);
    within(20, client.get("http://a.test/").header("x", &value).send()).await.unwrap();
    assert!(recorder.take().contains(&value), "R-9110-2.3-1: a long field did not arrive as it was sent");
}

/// The length that a stream was announced with is the length that is sent, or the connection ends.
#[tokio::test]
async fn a_stream_keeps_its_promise_or_the_connection_ends() {
    for (pieces, came, written) in [
        (&["four"][..], Some("four"), None),
        (&["fo", "ur"], Some("four"), None),
        // Too little: all of it is sent, and nothing in its stead.
        (&["fou"], Some("fou"), Some(Written::Partly)),
        (&["f", "ou"], Some("fou"), Some(Written::Partly)),
        // Too much, or nothing at all: it is not begun, or not ended.
        (&[], None, Some(Written::Nothing)),
        (&["fourteen"], None, Some(Written::Nothing)),
        (&["four", "!"], None, Some(Written::Nothing)),
        (&["fo", "ur", "!"], Some("fo"), Some(Written::Partly)),
        (&["fo", "urteen"], Some("fo"), Some(Written::Partly)),
    ] {
        for is_said_by_the_body in [false, true] {
            let recorder = Recorder::start();
            let client = recorder.client();
            let request = client.post("http://a.test/");
            let request = if is_said_by_the_body {
                request.body(Body::wrap(Promise { length: Some(4), pieces: Pieces::of(pieces) }))
            } else {
                request.header("content-length", "4").body(Pieces::body(pieces))
            };
            let told = match within(20, request.send()).await {
                Ok(_) => None,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Body, "R-9110-8.6-4: {pieces:?}");
                    Some(error.request_written())
                }
            };
            assert_eq!(told, written, "R-9110-8.6-4: {pieces:?}");
            let total = client.pool().stats().total;
            let is_kept = written != Some(Written::Partly);
            let expected = (1, usize::from(is_kept), 0);
            assert_eq!((total.opened, total.idle, total.active), expected, "R-9110-8.6-4: {pieces:?}");
            // One that was broken ends by itself; and no other is made for the request.
            if is_kept {
                drop(client);
            }
            recorder.ended(1).await;
            let head = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\n";
            let expected = came.map(|content| format!("{head}{content}")).unwrap_or_default();
            assert_eq!(recorder.take(), expected, "R-9110-8.6-4: {pieces:?}");
            assert_eq!(recorder.server.connections(), 1, "R-9110-8.6-4: {pieces:?}");
        }
    }
}

/// The answer comes before the request is over, and says that it shall not go on: nothing more is taken of the content,
/// however long the answer's own content takes, and however much the server would read.
#[tokio::test]
async fn an_early_answer_is_heard_and_ends_the_upload_if_it_must() {
    for head in [
        "413 Content Too Large\r\n",
        "413 Content Too Large\r\nconnection: close\r\n",
        "302 Found\r\nlocation: /\r\n",
    ] {
        let go = Signal::new();
        let told = go.clone();
        let server = Server::start(move |peer| {
            peer.request_head()?;
            peer.send(format!("HTTP/1.1 {head}content-length: 3\r\n\r\ne"))?;
            while !told.is_raised() {
                peer.drain()?;
            }
            peer.send("nd")?;
            // The client's closing ends it.
            peer.stall()
        });
        let taken = Arc::new(AtomicUsize::new(0));
        let client = Client::new();
        let request = client.post(server.url("/")).body(Body::from_stream(Endless(taken.clone())));
        let response = within(20, request.send()).await;
        let mut response = response.unwrap_or_else(|error| panic!("R-9112-9.5-3 of {head}: {error:?}"));
        assert_eq!(response.status().as_str(), &head[..3], "R-9112-9.5-3");
        assert_eq!(within(20, response.chunk()).await.unwrap().unwrap(), "e", "R-9112-9.5-3 of {head}");
        let before = taken.load(Ordering::SeqCst);
        assert!(before < 64 << 20, "R-9112-9.5-4: {before} octets were taken before {head}");
        {
            let mut rest = pin!(response.chunk());
            for round in 0..200 {
                let is_pending = poll_fn(|cx| Poll::Ready(rest.as_mut().poll(cx).is_pending())).await;
                assert!(is_pending, "{head}");
                tokio::time::sleep(Duration::from_millis(u64::from(round % 20 == 0))).await;
            }
        }
        assert_eq!(taken.load(Ordering::SeqCst), before, "R-9112-9.5-4: {head} did not stop the upload");
        go.raise();
        assert_eq!(within(20, response.text()).await.unwrap(), "nd", "R-9112-9.5-3 of {head}");
        assert_eq!(client.pool().stats().total.idle, 0, "R-9112-9.5-4 of {head}");
    }
}

#[tokio::test]
async fn an_early_answer_that_closes_nothing_lets_the_upload_come_to_its_end() {
    let server = Server::start(|peer| {
        while let Some(at) = peer.request_head()? {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")?;
            let request = peer.request_body(at)?;
            assert_eq!(request.body.len(), 3 << 20, "R-9110-7.5-1");
            peer.send("k")?;
        }
        Ok(())
    });
    let client = Client::new();
    for _ in 0..2 {
        let request = client.post(server.url("/")).body(vec![b'x'; 3 << 20]);
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(within(20, response.text()).await.unwrap(), "ok", "R-9110-7.5-1");
    }
    assert!(server.seen().iter().all(|seen| seen.is_complete), "R-9110-7.5-1");
    assert_eq!(server.requests_per_connection(), [2], "R-9110-7.5-1");
}

/// What happens on the server's side behind its octets.
#[derive(Clone, Copy, Debug)]
enum Then {
    Stays,
    Fin,
    Reset,
}

/// What was made of an answer, and whether its connection is kept.
type Made = Result<(u16, &'static str, bool), ErrorKind>;

#[tokio::test]
async fn what_is_made_of_answers() {
    use Then::{Fin, Reset, Stays};

    let huge = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000)).into_boxed_str());
    for (rules, asked, wire, then, expected) in [
        // What was asked for decides what comes.
        (
            "R-9112-6-1 R-9110-6.1-1",
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Stays,
            Ok((200, "", true)),
        ),
        (
            "R-9112-6-1 R-9110-6.1-1",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Stays,
            Ok((200, "hello", true)),
        ),
        (
            "R-9112-6.1-5",
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Stays,
            Ok((200, "", true)),
        ),
        (
            "R-9112-6.1-5",
            "GET",
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            Stays,
            Ok((304, "", true)),
        ),
        (
            "R-9112-6.1-5",
            "GET",
            "HTTP/1.1 102 X\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Ok((200, "ok", true)),
        ),
        // What was cut is no success.
        (
            "R-9112-8-1",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            Fin,
            Err(ErrorKind::ConnectionLost),
        ),
        (
            "R-9112-8-1",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Fin,
            Err(ErrorKind::ConnectionLost),
        ),
        (
            "R-9112-8-1 R-9112-8-4",
            "GET",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            Reset,
            Err(ErrorKind::ConnectionLost),
        ),
        ("R-9112-8-4", "GET", "HTTP/1.1 200 OK\r\n\r\nhello", Fin, Ok((200, "hello", false))),
        // A line that is too long is not left out: it might have been the one that counts.
        ("R-9110-5.4-1", "GET", huge, Stays, Err(ErrorKind::Protocol)),
        (
            "R-9110-7.6.1-3",
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: cLoSe\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Ok((200, "ok", false)),
        ),
        (
            "R-9110-7.6.1-3",
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: KEEP-alive\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Ok((200, "ok", true)),
        ),
        (
            "R-9110-5.6.3-2",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \t; a \t=\t b\r\nok\r\n0\r\n\r\n",
            Stays,
            Ok((200, "ok", true)),
        ),
        (
            "R-8297-3-1",
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Ok((200, "ok", true)),
        ),
        (
            "R-9110-15.2.1-1",
            "POST",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Stays,
            Ok((200, "ok", true)),
        ),
        // Line ends: a lone LF costs the connection where it is forgiven, a lone CR never is one.
        (
            "R-9112-2.2-2",
            "GET",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
            Stays,
            Ok((200, "hello", false)),
        ),
        (
            "R-9112-2.2-2",
            "GET",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        ("R-9112-2.2-4", "GET", "HTTP/1.1 204 OK\r\nA: b\rC: d\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9112-2.2-8", "GET", "HTTP/1.1 204 OK\r\n A: b\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9112-4-2", "GET", "HTTP/1.1  204 OK\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9112-4-2", "GET", "HTTP/1.1\t204 OK\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        // Values.
        ("R-9110-5.5-2", "GET", "HTTP/1.1 204 OK\r\nA: b\0c\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-2", "GET", "HTTP/1.1 204 OK\r\nA: b\0\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-2", "GET", "HTTP/1.1 204 OK\r\nA: b\r\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-3", "GET", "HTTP/1.1 204 OK\r\nA: b\u{1}c\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-3", "GET", "HTTP/1.1 204 OK\r\nA: \u{b}b\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        // What frames the content, and what would have framed it another way.
        (
            "R-9112-6.3-4",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Stays,
            Ok((200, "hello", true)),
        ),
        (
            "R-9112-6.3-4",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nmore",
            Stays,
            Ok((200, "hello", false)),
        ),
        (
            "R-9112-6.3-4 R-9112-6.1-2",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9112-6.3-5",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, x\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Fin,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9112-7.2-1",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip;q=1, chunked\r\n\r\n0\r\n\r\n",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9112-7.2-1",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: deflate; a=\"b\"\r\n\r\nhello",
            Fin,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9112-6.1-4",
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
            Stays,
            Ok((200, "hello", false)),
        ),
        (
            "R-9112-6.3-7",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello",
            Stays,
            Ok((200, "hello", true)),
        ),
        (
            "R-9112-6.3-7",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 05\r\n\r\nhello",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9112-6.3-7",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        // Behind the last chunk there are trailers, and an empty line.
        (
            "R-9112-7.1-4",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            Fin,
            Err(ErrorKind::ConnectionLost),
        ),
        (
            "R-9112-7.1-4",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n",
            Fin,
            Err(ErrorKind::ConnectionLost),
        ),
        (
            "R-9112-7.1-4",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
            Stays,
            Ok((200, "hello", true)),
        ),
        // Elements of lists that are empty do not count.
        (
            "R-9110-5.6.1-2",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: , chunked ,,\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Stays,
            Ok((200, "hello", true)),
        ),
        (
            "R-9110-5.6.1-2",
            "GET",
            "HTTP/1.1 204 OK\r\nConnection: ,, close\t, \r\n\r\n",
            Stays,
            Ok((204, "", false)),
        ),
        (
            "R-9110-5.6.1-2",
            "GET",
            "HTTP/1.0 204 OK\r\nConnection: , keep-alive,\r\n\r\n",
            Stays,
            Ok((204, "", true)),
        ),
        // Nothing is made of what cannot be told from something else.
        (
            "R-9110-2.4-1",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 5 \u{b}\r\n\r\nhello",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9110-2.4-1",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9110-2.4-1",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\r\nhello\r\n0\r\n\r\n",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9110-2.4-1",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-2817-3.1-1",
            "GET",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n",
            Stays,
            Err(ErrorKind::Protocol),
        ),
        (
            "R-9110-15.5-1",
            "GET",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnowhere",
            Stays,
            Ok((404, "nowhere", true)),
        ),
        (
            "R-9110-15.5-1",
            "GET",
            "HTTP/1.1 500 Oh\r\nContent-Length: 7\r\n\r\nnowhere",
            Stays,
            Ok((500, "nowhere", true)),
        ),
    ] {
        let go = Signal::new();
        let told = go.clone();
        let wire = wire.to_owned();
        let server = Server::start(move |peer| {
            while let Some(request) = peer.request()? {
                assert_eq!(request.body.len(), if request.method == "POST" { 4 } else { 0 });
                peer.send(&wire)?;
                match then {
                    Stays => {}
                    Fin => return peer.fin(),
                    Reset => {
                        // Not before the head was read: what a reset overtakes is lost.
                        peer.wait(&told)?;
                        return peer.reset();
                    }
                }
            }
            Ok(())
        });
        let client = Client::new();
        let request = client.request(method(asked), server.url("/"));
        let request = if asked == "POST" { request.body("body") } else { request };
        let made: Made = match within(20, request.send()).await {
            Err(error) => Err(error.kind()),
            Ok(response) => {
                go.raise();
                let status = response.status().as_u16();
                match within(20, response.text()).await {
                    Err(error) => Err(error.kind()),
                    Ok(text) => {
                        let text: &'static str = text.leak();
                        Ok((status, text, client.pool().stats().total.idle == 1))
                    }
                }
            }
        };
        assert_eq!(made, expected, "{rules}: {then:?} after {:?}", &server.seen()[0].request.head);
    }
}

/// One answer with fields that must neither be lost, nor joined, nor obeyed.
#[tokio::test]
async fn fields_are_handed_over_as_they_came() {
    let fields = "set-cookie: a=1; expires=Thu, 01 Jan 2037 00:00:00 GMT\r\nset-cookie: b=2\r\n\
                  etag: W/\"a\"\r\ncache-control: max-age=x\r\nage: -1\r\nexpires: never\r\nvary: *\r\n\
                  warning: 299 - \"x\"\r\ncontent-encoding: gzip\r\naccept-ranges: bytes\r\n\
                  content-range: bytes 5-3/18446744073709551621\r\nalt-svc: h2=\"evil.test:1\"\r\n";
    let recorder = Recorder::answering(move |_| {
        format!("HTTP/1.1 206 Partial Content\r\n{fields}content-length: 2\r\n\r\nok")
    });
    let client = recorder.client();
    let response =
        within(20, client.get("http://a.test/").header("range", "bytes=0-1").send()).await.unwrap();
    let shown: String = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()))
        .collect();
    let mut expected: Vec<_> =
        format!("{fields}content-length: 2").split("\r\n").map(str::to_owned).collect();
    let mut got: Vec<_> = shown.trim_end().split("\r\n").map(str::to_owned).collect();
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies[1], "b=2", "R-9110-5.3-2");
    assert_eq!(cookies.len(), 2, "R-9110-5.3-2");
    expected.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, expected, "R-9111-5.1-1 R-9111-3-1 R-9110-5.1-1");
    assert_eq!(
        (response.status(), recorder.server.seen().len()),
        (StatusCode::PARTIAL_CONTENT, 1),
        "R-9111-3-1"
    );
    // The octets are those of the wire, whatever the field says of their coding.
    assert_eq!(within(20, response.text()).await.unwrap(), "ok", "R-9111-3-1");
}

/// No status moves the client to ask again, or elsewhere, or to give anything away.
#[tokio::test]
async fn every_status_is_the_callers_to_act_on() {
    let recorder = Recorder::answering(|request| {
        let status = &request.target[1..];
        format!(
            "HTTP/1.1 {status} X\r\nlocation: http://a.test/999\r\nretry-after: 0\r\n\
             www-authenticate: Basic realm=\"x\"\r\nproxy-authenticate: Basic realm=\"x\"\r\n\
             content-length: 4\r\n\r\nbody"
        )
    });
    let client = recorder.client();
    let mut asked = 0;
    for (rules, status) in [
        ("R-9110-15.4-5", 300),
        ("R-9110-9.2.1-1", 301),
        ("R-9110-9.2.1-1", 302),
        ("R-9110-9.2.1-1", 303),
        ("R-9110-15.4-5", 305),
        ("R-9110-15.4-5", 306),
        ("R-9110-9.2.1-1", 307),
        ("R-9110-9.2.1-1", 308),
        ("R-9110-15.5.2-1", 401),
        ("R-9110-15.5.4-1", 403),
        ("R-9110-15.5.2-1", 407),
        ("R-9110-15.5.12-1", 411),
        ("R-9110-15.5.20-1", 421),
        ("R-8470-3-1", 425),
        ("R-9110-15.5.22-1", 426),
        ("R-9110-15.5.2-1", 429),
        ("R-9110-9.2.2-1", 503),
        ("R-6585-6-1", 511),
    ] {
        let request = client.post(format!("http://user:secret@a.test/{status}")).body("x");
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(response.status(), status, "{rules}");
        assert_eq!(response.text().await.unwrap(), "body", "{rules}: {status}");
        asked += 1;
        let sent = recorder.take();
        let expected = format!("POST /{status} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\nx");
        assert_eq!(sent, expected, "{rules}");
        assert_eq!(recorder.server.seen().len(), asked, "{rules}: {status} was followed by another request");
    }
    assert_eq!(recorder.server.requests_per_connection(), [asked], "R-9110-15.5.22-1");
}

/// A server that closes nothing by itself, and what the client does with the connection after `close`.
#[tokio::test]
async fn after_close_nothing_is_sent_and_the_connection_ends() {
    for (rules, says, answer) in [
        ("R-9112-9.6-2", "close", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ("R-9112-9.6-2", "x, CLOSE", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (
            "R-9112-9.6-3 R-9112-9.3-5",
            "x",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        ),
        ("R-9112-9.3-5", "keep-alive", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ] {
        let ended = Signal::new();
        let tell = ended.clone();
        let server = Server::start(move |peer| {
            peer.request()?;
            peer.send(answer)?;
            // A FIN and nothing before it: a second request or a reset would not be this.
            if peer.request()?.is_none() {
                tell.raise();
            }
            Ok(())
        });
        let client = Client::new();
        let get = || client.get(server.url("/")).header("connection", says);
        assert_eq!(within(20, get().send()).await.unwrap().text().await.unwrap(), "ok", "{rules}");
        within(20, ended.raised()).await;
        within(20, get().send()).await.unwrap();
        assert_eq!(server.requests_per_connection(), [1, 1], "{rules}");
    }
}

/// The client's side of the connection stays open until the answer is there.
#[tokio::test]
async fn a_request_does_not_end_by_a_fin() {
    let (is_sent, is_looked_at) = (Signal::new(), Signal::new());
    let (told, tell) = (is_sent.clone(), is_looked_at.clone());
    let server = Server::start(move |peer| {
        while peer.request()?.is_some() {
            peer.wait(&told)?;
            assert!(peer.is_silent()?, "R-9112-9.6-5 R-9112-2.2-5");
            tell.raise();
            peer.send(NO_CONTENT)?;
        }
        Ok(())
    });
    let client = Client::new();
    for says in ["keep-alive", "close"] {
        let request = client.post(server.url("/")).header("connection", says).body(Pieces::body(&["x"]));
        let sent = tokio::spawn(request.send());
        until("the request is there", || server.seen().iter().all(|seen| seen.is_complete)).await;
        is_sent.raise();
        within(20, is_looked_at.raised()).await;
        assert_eq!(within(20, sent).await.unwrap().unwrap().status(), 204, "R-9112-9.6-5");
    }
}

/// An idle connection whose time is over is closed as connections are: the server reads to an end, not to a reset.
#[tokio::test]
async fn an_idle_connection_is_closed_gracefully() {
    let ended = Signal::new();
    let tell = ended.clone();
    let server = Server::start(move |peer| {
        while peer.request()?.is_some() {
            peer.send(NO_CONTENT)?;
        }
        tell.raise();
        Ok(())
    });
    let client = Client::builder().idle_timeout(Duration::from_millis(20)).build().unwrap();
    within(20, client.get(server.url("/")).send()).await.unwrap();
    within(20, ended.raised()).await;
    assert_eq!(server.requests_per_connection(), [1], "R-9112-9.5-1");
}

#[tokio::test]
async fn connections_to_a_server_keep_to_their_limit() {
    let server = Server::echo();
    let client = Client::builder().max_connections_per_host(3).build().unwrap();
    let asking: Vec<_> = (0..100)
        .map(|at| {
            let request = client.get(server.url(&format!("/{at}")));
            tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() })
        })
        .collect();
    for (at, asking) in asking.into_iter().enumerate() {
        assert_eq!(within(20, asking).await.unwrap(), format!("/{at}"), "R-9112-9.4-1");
    }
    assert!(server.connections() <= 3, "R-9112-9.4-1: {} connections", server.connections());
    assert_eq!(server.seen().len(), 100, "R-9112-9.4-1");
}

/// The first request speaks 1.1, and so does every other, whatever the server speaks.
#[tokio::test]
async fn the_version_is_1_1_whatever_the_server_says() {
    for version in ["1.0", "1.1", "1.2", "1.9"] {
        let recorder =
            Recorder::answering(move |_| format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n\r\n"));
        let client = recorder.client();
        for _ in 0..2 {
            let response = within(20, client.get("http://a.test/").send()).await.unwrap();
            assert_eq!(response.status(), 200, "R-9110-2.5-1 R-9110-6.2-2: {version}");
            assert!(recorder.take().starts_with("GET / HTTP/1.1\r\n"), "R-9110-6.2-1: {version}");
        }
    }
}

/// The name of the crate and its version: no comment, no platform, nothing that changes from request to request.
#[tokio::test]
async fn the_crate_says_its_name_and_no_more() {
    let recorder = Recorder::start();
    let builder = || Client::builder().resolve("a.test", recorder.server.address());
    let own = concat!("user-agent: handclasp/", env!("CARGO_PKG_VERSION"), "\r\n");
    for (client, fields) in [
        (builder(), own),
        (builder().user_agent("app/1"), "user-agent: app/1\r\n"),
        (builder().no_user_agent(), ""),
    ] {
        let client = client.build().unwrap();
        for _ in 0..2 {
            within(20, client.get("http://a.test/").send()).await.unwrap();
            let expected = format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n");
            assert_eq!(recorder.take(), expected, "R-9110-10.1.5-1 R-9110-10.1.5-2");
        }
        let request = client.get("http://a.test/").header("user-agent", "b");
        within(20, request.send()).await.unwrap();
        let expected = "GET / HTTP/1.1\r\nhost: a.test\r\nuser-agent: b\r\n\r\n";
        assert_eq!(recorder.take(), expected, "R-9110-10.1.5-1");
    }
}

#[tokio::test]
async fn a_client_that_keeps_nothing_says_close() {
    let recorder = Recorder::start();
    for builder in [
        recorder.builder().max_idle_per_host(0),
        recorder.builder().max_idle(0),
        recorder.builder().idle_timeout(Duration::ZERO),
    ] {
        let client = builder.build().unwrap();
        let before = recorder.server.connections();
        for (says, expected) in [
            (None, "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n"),
            (Some("x, Close"), "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: x, Close\r\n\r\n"),
        ] {
            let mut request = client.get("http://a.test/");
            if let Some(says) = says {
                request = request.header("connection", says);
            }
            within(20, request.send()).await.unwrap();
            assert_eq!(recorder.take(), expected, "R-9112-9.3-3 R-9112-9.6-1");
        }
        assert_eq!(recorder.server.connections() - before, 2, "R-9112-9.3-3");
    }
}

/// Until a server has answered, it is taken for one that speaks 1.1; afterwards, for what it said last.
#[tokio::test]
async fn a_server_that_speaks_1_0_is_remembered() {
    let recorder = Recorder::answering(|request| {
        let version = &request.target[1..];
        format!("HTTP/{version} 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n")
    });
    let client = recorder.client();
    let chunked = "transfer-encoding: chunked\r\n\r\n3\r\none\r\n1\r\n2\r\n0\r\n\r\n";
    for (version, expected) in [
        ("1.1", format!("expect: 100-continue\r\n{chunked}")),
        ("1.0", format!("expect: 100-continue\r\n{chunked}")),
        ("1.0", "content-length: 4\r\n\r\none2".to_owned()),
        ("1.1", "content-length: 4\r\n\r\none2".to_owned()),
        ("1.1", format!("expect: 100-continue\r\n{chunked}")),
    ] {
        let request = client.post(format!("http://a.test/{version}")).body(Pieces::body(&["one", "2"]));
        within(20, request.header("expect", "100-continue").send()).await.unwrap();
        let expected = format!("POST /{version} HTTP/1.1\r\nhost: a.test\r\n{expected}");
        assert_eq!(recorder.take(), expected, "R-9112-2.3-2 R-9112-6.1-3");
    }
}

#[tokio::test]
async fn an_expectation_is_waited_for_and_not_for_ever() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const HOUR: Duration = Duration::from_secs(3600);
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let plain = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\n";
    for (rules, first, timeout, status, expected) in [
        (
            "R-9110-10.1.1-2 R-9110-15.2.1-1",
            "HTTP/1.1 100 Continue\r\n\r\n",
            HOUR,
            200,
            format!("{head}body"),
        ),
        ("R-9110-10.1.1-2", "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 100 C\r\n\r\n", HOUR, 200, format!("{head}body")),
        ("R-9110-10.1.1-3", "", Duration::from_millis(20), 200, format!("{head}body")),
        ("R-9110-10.1.1-3", "HTTP/1.1 103 X\r\n\r\n", Duration::from_millis(20), 200, format!("{head}body")),
        (
            "R-9110-10.1.1-4",
            "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n",
            HOUR,
            200,
            format!("{head}{plain}body"),
        ),
        ("R-9110-10.1.1-5", "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", HOUR, 401, head.to_owned()),
        ("R-9110-10.1.1-5", "HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n", HOUR, 413, head.to_owned()),
        ("R-9110-10.1.1-5", "HTTP/1.1 302 No\r\ncontent-length: 0\r\n\r\n", HOUR, 302, head.to_owned()),
        ("R-9110-10.1.1-5", OK, HOUR, 200, head.to_owned()),
    ] {
        let (tape, ended) = (Tape::default(), Signal::new());
        let (recording, tell) = (tape.clone(), ended.clone());
        let server = Server::start(move |peer| {
            peer.record(&recording);
            while let Some(at) = peer.request_head()? {
                let is_expecting =
                    recording.lock().unwrap().windows(6).filter(|six| six == b"expect").count() == 1;
                if is_expecting && peer.number() == 0 {
                    // (A short wait may be over before the server looks.)
                    let is_waiting = timeout < HOUR || peer.is_silent()?;
                    assert!(is_waiting, "R-9110-10.1.1-2: the content did not wait");
                    peer.send(first)?;
                    if !first.is_empty() && !first.starts_with("HTTP/1.1 10") {
                        peer.stall()?;
                        tell.raise();
                        return Ok(());
                    }
                }
                peer.request_body(at)?;
                peer.send(OK)?;
            }
            Ok(())
        });
        let client = Client::builder().no_user_agent().resolve("a.test", server.address());
        let client = client.expect_continue_timeout(timeout).build().unwrap();
        let request = client.post("http://a.test/").expect_continue().body("body");
        let response = within(20, request.send()).await.unwrap_or_else(|error| panic!("{rules}: {error:?}"));
        assert_eq!(response.status(), status, "{rules}: {first:?}");
        if status == 200 {
            assert_eq!(response.text().await.unwrap(), "ok", "{rules}: {first:?}");
        } else {
            drop(response);
        }
        if !first.is_empty() && !first.starts_with("HTTP/1.1 10") {
            // The content is owed: without it, the connection can be of no more use.
            within(20, ended.raised()).await;
        }
        let sent = String::from_utf8(tape.lock().unwrap().clone()).unwrap();
        assert_eq!(sent, expected, "{rules}: {first:?}");
    }
}

/// By an upgrade and through CONNECT: the client has nothing to write by before the server has agreed, and what the
/// server says first is not lost.
#[tokio::test]
async fn nothing_of_another_protocol_goes_out_before_its_time() {
    for (rules, answer, expected) in [
        (
            "R-OPTUP-6-2 R-9110-7.8-2 R-9110-7.8-3",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: ECHO/1\r\nconnection: upgrade\r\n\r\n>",
            "POST /x HTTP/1.1\r\nhost: a.test\r\nupgrade: echo/1, other\r\nconnection: upgrade\r\n\
             content-length: 4\r\n\r\nbody",
        ),
        (
            "R-OPTUP-6-1 R-9112-3.2.3-1 R-9110-9.3.6-1 R-9110-9.3.6-2",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n>",
            "CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\n\r\n",
        ),
        (
            "R-OPTUP-6-1 R-9112-3.2.3-1 R-9110-9.3.6-1",
            "HTTP/1.1 299 OK\r\n\r\n>",
            "CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n\r\n",
        ),
    ] {
        let (tape, is_asked, go) = (Tape::default(), Signal::new(), Signal::new());
        let (recording, tell, told) = (tape.clone(), is_asked.clone(), go.clone());
        let server = Server::start(move |peer| {
            peer.record(&recording);
            peer.request()?;
            tell.raise();
            peer.wait(&told)?;
            assert!(peer.is_silent()?, "{rules}: something went out before the answer");
            peer.send(answer)?;
            assert_eq!(peer.take(4)?, b"ping", "{rules}");
            peer.send("pong")?;
            peer.fin()?;
            peer.stall()
        });
        let client = Client::builder().no_user_agent().resolve("a.test", server.address()).build().unwrap();
        let request = match &expected[..4] {
            "POST" => client.post("http://a.test/x").header("upgrade", "echo/1, other").body("body"),
            _ if expected.contains("[::1]") => client
                .request(Method::CONNECT, "http://a.test/")
                .target(RequestTarget::Authority("[::1]:443".to_owned())),
            _ => client.request(Method::CONNECT, "http://a.test/"),
        };
        let sending = tokio::spawn(request.send());
        within(20, is_asked.raised()).await;
        let sent = String::from_utf8(tape.lock().unwrap().clone()).unwrap();
        assert_eq!(sent, expected, "{rules}");
        go.raise();
        let response =
            within(20, sending).await.unwrap().unwrap_or_else(|error| panic!("{rules}: {error:?}"));
        let mut tunnel = within(20, response.upgrade()).await.unwrap();
        tunnel.write_all(b"ping").await.unwrap();
        let mut heard = String::new();
        within(20, tunnel.read_to_string(&mut heard)).await.unwrap();
        assert_eq!(heard, ">pong", "{rules}");
        drop(tunnel);
        assert_eq!(client.pool().stats().total.idle, 0, "{rules}");
    }
}

/// The content of a response to HEAD is announced and does not come.
#[tokio::test]
async fn the_length_that_a_head_announces_is_told() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/long" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?,
                "/same" => peer.send("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n")?,
                _ => peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?,
            }
        }
        Ok(())
    });
    let client = Client::new();
    for (path, announced) in [("/long", Some(1000)), ("/same", Some(7)), ("/chunked", None)] {
        let mut response = within(20, client.head(server.url(path)).send()).await.unwrap();
        assert_eq!(response.content_length(), announced, "{path}");
        assert!(within(20, response.chunk()).await.unwrap().is_none());
        let response = within(20, client.head(server.url(path)).send()).await.unwrap();
        let body = response.collect().await.unwrap().body;
        assert!(body.is_empty(), "{path}");
    }
    assert_eq!(client.pool().stats().total.opened, 1);
}

#[tokio::test]
async fn a_zone_in_a_url_is_refused_by_its_name() {
    let client = Client::new();
    for url in ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]:8080/x?y", "https://u@[fe80::1%251]"] {
        let error = client.get(url).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{url}");
        assert!(error.to_string().contains("zones are not supported"), "{url}: {error}");
        // As a URI that was read already, too.
        let uri: Uri = url.parse().unwrap();
        let request = http::Request::get(uri.clone()).body(()).unwrap();
        for error in [client.execute(request).await.unwrap_err(), client.get(uri).send().await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Request, "{url}");
            assert!(error.to_string().contains("zones are not supported"), "{url}: {error}");
        }
    }
    for url in ["http://[fe80::1", "http://[::x]/%25", "http://a b/[%25]", "http://[::1]x/?[%]"] {
        let error = client.get(url).send().await.unwrap_err();
        assert!(!error.to_string().contains("zone"), "{url}: {error}");
    }
}
