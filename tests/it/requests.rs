//! Tests of a client's requests, octet by octet, and of its treatment of connections and responses that no conformance case
//! covers. The rows have the ids of `src/manual/requirements.md`, which cites these tests.
#![cfg(feature = "url")]
#![allow(missing_docs, clippy::unwrap_used)]

mod answers;
mod connections;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use handclasp::codec::{BodyLength, Event, Framing, Limits, Machine, Misuse, RequestHead, Target};
use handclasp::{Body, Client, ClientBuilder, ErrorKind, RequestTarget, Written};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::support::{Request, Rng, Server, Tape, Uncoded, until, within};

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A server that is known as `a.test`, the bytes that it received, and the number of its connections that have ended.
struct Recorder {
    server: Server,
    tape: Tape,
    ended: Arc<AtomicUsize>,
}

impl Recorder {
    /// Starts a server that answers every request with a 204.
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

    /// Waits until the server has read `count` connections to their ends.
    async fn ended(&self, count: usize) {
        until("the connections have ended", || self.ended.load(Ordering::SeqCst) == count).await;
    }

    /// Returns the bytes that came since the last call.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.tape.lock().unwrap())).unwrap()
    }

    fn builder(&self) -> ClientBuilder {
        let builder = Client::builder().resolve("a.test", self.server.address());
        builder.max_connections_per_host(1).no_user_agent().uncoded()
    }

    fn client(&self) -> Client {
        self.builder().build().unwrap()
    }
}

/// Content that ends after the last of its pieces.
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

/// Content that announces a length, which may differ from the length of its pieces.
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

/// Content without an end, and the number of pieces taken from it.
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

/// All requests use one connection, so that the test also finds a surplus octet before or after a request.
#[tokio::test]
async fn each_request_is_written_octet_by_octet_as_expected() {
    let recorder = Recorder::start();
    let client = recorder.client();
    let root = "http://a.test/";
    let mut count = 0;
    for (rules, request, expected) in [
        // A request for which the caller sets nothing has only the required fields.
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
            "GET /x HTTP/1.1\r\nhost: a.test\r\nauthorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n",
        ),
        (
            "R-9110-4.2.4-1 R-9112-3.2-2",
            client.get(uri("http://user:secret@a.test/x")),
            "GET /x HTTP/1.1\r\nhost: a.test\r\nauthorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n",
        ),
        (
            "R-9112-3.2-1",
            client.get("http://a.test/a b\u{e9}\0?c d\u{e9}\u{7f}"),
            "GET /a%20b%C3%A9%00?c%20d%C3%A9%7F HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        // The WHATWG URL Standard allows any number of slashes before the host.
        ("R-9110-4.2.1-1", client.get("http:///a.test/x"), "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        // The WHATWG URL Standard removes tabs and line ends from a URL.
        ("R-9112-3.2-1", client.get("http://a.test/a\r\n\tb"), "GET /ab HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        (
            "R-9112-3.2.4-1 R-9110-7.1-1",
            client.request(Method::OPTIONS, root).target(RequestTarget::Asterisk),
            "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n",
        ),
        (
            "R-9112-3.2.2-1 R-9112-3.2.2-2 R-9110-4.2.4-1",
            client.get(uri("http://user:secret@a.test?q")).target(RequestTarget::Absolute),
            "GET http://a.test/?q HTTP/1.1\r\nhost: a.test\r\nauthorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n",
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
        // Fields that concern the connection are named in Connection, once.
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
    assert_eq!(response.uri(), "http://a.test/x", "R-9110-17.11-1");
    assert_eq!(response.url().as_str(), "http://a.test/x#fragment", "R-9110-17.11-1");
    assert_eq!(recorder.take(), "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n", "R-9110-17.11-1");
    assert_eq!(recorder.server.requests_per_connection(), [count + 1], "R-9112-2.2-5");
    drop((response, client));
    recorder.ended(1).await;
    assert_eq!(recorder.take(), "", "R-9112-2.2-5");
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
            let user = if target.contains('@') { "authorization: Basic dTpw\r\n" } else { "" };
            let expected = format!("GET / HTTP/1.1\r\nhost: {expected}\r\n{user}\r\n");
            assert_eq!(recorder.take(), expected, "{rules}: {target}");
        }
    }
}

/// The client refuses these requests without dialing a connection.
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
    // The types of the `http` crate refuse the following methods and targets, so that no request can contain them.
    for name in ["", "G T", "GET\r", "G\u{c9}T", "GET\r\nX: y", "G\0"] {
        assert!(Method::from_bytes(name.as_bytes()).is_err(), "R-9112-3.1-1 R-9112-2.2-3: {name:?}");
    }
    for target in ["http://a.test/ b", "http://a.test/\r\nx: y", "http://a.test/\0", "http://a.test/\u{7f}"] {
        assert!(target.parse::<Uri>().is_err(), "R-9112-3.2-1 R-9112-11.1-1: {target:?}");
    }
    assert_eq!(recorder.server.connections(), 0, "R-9112-2.2-3 R-9112-11.1-1");
}

/// Method, target and fields of a head.
type Read<'a> = (&'a [u8], &'a [u8], Vec<(&'a [u8], &'a [u8])>);

/// Parses a head strictly by RFC 9112: the method, the target and the fields. Nothing may follow the head.
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

/// The codec either refuses an input and writes nothing, or writes a head from which a strict parser reads the same input.
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

/// The codec writes the forms of a target that are sent only to proxies or to a server as a whole.
#[test]
fn each_form_of_the_target_is_written_by_its_rule() {
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
        // Bytes for the tunnel are not content of the request.
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
