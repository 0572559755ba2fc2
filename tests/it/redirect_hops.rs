//! Tests of the step from one hop to the next hop: time, connections, and what an error says about earlier hops.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use handclasp::redirect::Policy;
use handclasp::{Body, Client, ErrorKind, RequestTarget, Written};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::redirect::{get, serve};
use crate::support::lines::{Lines, send};
use crate::support::pipe::Pipe;
use crate::support::{Peer, Server, Tape, within};

const MS: Duration = Duration::from_millis(1);

/// Returns a client, and the number of its connections. The server sends each redirect `before` after the request, and
/// the content of the redirect `within` after its head. The end of the chain is `/end`.
fn slow(before: Duration, within: Duration) -> (Client, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let dialed = connections.clone();
    // One connection is enough for a chain.
    let client = Client::builder().redirect(Policy::limited(50)).max_connections(1).connector(move |_| {
        dialed.fetch_add(1, Ordering::SeqCst);
        async move {
            let (ours, mut theirs) = Pipe::pair(1024);
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(size @ 1..) = theirs.read(&mut buffer).await {
                    if buffer[..size].starts_with(b"GET /end ") {
                        let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                        continue;
                    }
                    let to = if buffer[..size].starts_with(b"GET /loop ") { "/loop" } else { "/end" };
                    sleep(before).await;
                    let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 4\r\n\r\n");
                    let _ = theirs.write_all(head.as_bytes()).await;
                    sleep(within).await;
                    let _ = theirs.write_all(b"gone").await;
                }
            });
            Ok(ours.boxed())
        }
    });
    (client.build().unwrap(), connections)
}

#[tokio::test(start_paused = true)]
async fn a_34_one_total_timeout_covers_all_hops() {
    let (client, _) = slow(3000 * MS, Duration::ZERO);
    let begun = Instant::now();
    let error = client.get("http://a.test/loop").timeout(10_000 * MS).send().await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Timeout, 10_000 * MS), "A-34");
    assert_eq!((error.redirects().len(), error.request_written()), (3, Written::All));
    let timings = error.timings().unwrap();
    assert_eq!((timings.previous, timings.total), (9000 * MS, 10_000 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_41_a_small_rest_is_read_in_bounded_time() {
    for (within, previous, connected) in [(60, 60, 1), (150, 100, 2), (60_000, 100, 2)] {
        let (client, connections) = slow(Duration::ZERO, within * MS);
        let response = client.get("http://a.test/start").send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.url().path()), (200, "/end"));
        let timings = response.timings();
        assert_eq!(
            (timings.previous, timings.queued),
            (previous * MS, Duration::ZERO),
            "RD-07 A-41: {within}"
        );
        assert_eq!(connections.load(Ordering::SeqCst), connected, "RD-07 A-41: {within}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cancelled_in_a_chain_frees_its_connection() {
    // The head of the redirect comes after 20 ms, and its content 60 ms later.
    for cancelled_after in [10, 50] {
        let (client, _) = slow(20 * MS, 60 * MS);
        let request = client.get("http://a.test/start").send();
        assert!(tokio::time::timeout(cancelled_after * MS, request).await.is_err(), "{cancelled_after}");
        let response = client.get("http://a.test/end").send().await.unwrap();
        assert_eq!((response.status(), client.pool().stats().total.active), (StatusCode::OK, 0));
    }
}

#[tokio::test]
async fn an_error_of_a_later_hop_tells_what_came_before() {
    let dead = Server::echo().url("/b");
    let server = {
        let dead = dead.clone();
        serve(move |target| if target == "/a" { "302 /mid".into() } else { format!("307 {dead}") })
    };
    let error = get(&Client::new(), &server.url("/a")).await.unwrap_err();
    assert!(error.is_connect() && !error.is_redirect(), "{error:?}");
    assert_eq!((error.url().unwrap().to_string(), error.request_written()), (dead, Written::All));
    let hops: Vec<_> =
        error.redirects().iter().map(|hop| (hop.status().as_u16(), hop.url().path())).collect();
    assert_eq!(hops, [(302, "/a"), (307, "/mid")]);
    assert_eq!(error.redirects()[0].method(), Method::GET);
}

/// A stream that gives one piece and never ends.
struct Endless(Option<&'static str>);

impl futures_core::Stream for Endless {
    type Item = Result<&'static str, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece))))
    }
}

#[tokio::test]
async fn rd_05_a_303_ends_the_upload() {
    let server = Server::start(|peer: &mut Peer| {
        while peer.request_head()?.is_some() {
            if peer.seen(0).target == "/a" && peer.number() == 0 {
                peer.send("HTTP/1.1 303 See Other\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n")?;
                return peer.stall();
            }
            peer.respond("end")?;
        }
        Ok(())
    });
    let request = Client::new().post(server.url("/a")).body(Body::from_stream(Endless(Some("content"))));
    let response = within(20, request.send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "end");
    let seen = server.seen();
    assert_eq!((seen.len(), &*seen[1].request.method, seen[1].connection), (2, "GET", 1), "RD-05");
    assert_eq!(seen[1].request.field("transfer-encoding"), None, "RD-05");
}

#[tokio::test]
async fn a_40_trailers_go_with_the_content() {
    for (status, is_kept) in [(307, true), (303, false)] {
        let tape = Tape::default();
        let recorded = tape.clone();
        let server = Server::start(move |peer: &mut Peer| {
            peer.request()?;
            peer.send(format!("HTTP/1.1 {status} X\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"))?;
            peer.record(&recorded);
            while peer.request()?.is_some() {
                peer.respond("end")?;
            }
            Ok(())
        });
        let trailers = HeaderMap::from_iter([("x".parse().unwrap(), HeaderValue::from_static("1"))]);
        let request = Client::new().post(server.url("/a")).header("trailer", "x");
        within(20, request.body(Body::from("content").with_trailers(trailers)).send()).await.unwrap();
        let text = String::from_utf8(tape.lock().unwrap().clone()).unwrap();
        let (head, content) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.contains("trailer"), is_kept, "RD-05 A-40: {status} {head}");
        assert_eq!(content.contains("0\r\nx: 1\r\n\r\n"), is_kept, "RD-05 A-40: {status} {content}");
    }
}

#[tokio::test]
async fn a_request_with_a_target_of_its_own_is_not_redirected() {
    let server = serve(|_| "302 /b".into());
    let request = Client::new().request(Method::OPTIONS, server.url("/")).target(RequestTarget::Asterisk);
    let response = within(20, request.send()).await.unwrap();
    assert_eq!((response.status().as_u16(), server.seen().len()), (302, 1));
}

#[tokio::test(start_paused = true)]
async fn rd_05_an_expectation_goes_with_the_content() {
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let kept = "expect: 100-continue\r\ncontent-length: 7\r\n";
    for (status, method, fields) in
        [(302, "GET", ""), (303, "GET", ""), (307, "POST", kept), (308, "POST", kept)]
    {
        let lines = Lines::default();
        let client = lines.builder().redirect(Policy::default()).build().unwrap();
        let sending = send(client.post("http://h/a").expect_continue().body("content"));
        let line = lines.written(0, &format!("{kept}\r\n")).await;
        line.say(CONTINUE);
        let line = lines.written(0, "content").await;
        let before = line.len();
        line.say(format!("HTTP/1.1 {status} X\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"));
        let line = lines.written(0, "\r\n\r\n").await;
        let head = format!("{method} /b HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
        assert_eq!(line.text()[before..], head, "RD-05 A-40: {status}");
        if !fields.is_empty() {
            line.say(CONTINUE);
            lines.written(0, "content").await;
        }
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(sending.await.unwrap().unwrap().status(), 200, "RD-05 A-40: {status}");
        let rest = if fields.is_empty() { "" } else { "content" };
        assert_eq!(line.text()[before + head.len()..], *rest, "RD-05 A-40: {status}");
    }
}
