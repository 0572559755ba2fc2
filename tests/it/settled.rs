//! Tests of the state after an exchange: whether the connection is reused, how much of the upload the response reports as
//! sent, and how long the exchange takes at most.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use handclasp::{Body, BoxError, Client, DropReason, ErrorKind, Written};
use http::Method;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::support::layer::{Layer, Layered, Silence};
use crate::support::lines;
use crate::support::lines::{Line, Lines, Source, Step, send, settle};

const SECOND: Duration = Duration::from_secs(1);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const HEAD_END: &str = "\r\n\r\n";

/// Makes a connection that carries one request and is then idle in the pool, and returns the server's end.
async fn keep(lines: &Lines, client: &Client) -> Line {
    let sending = send(client.get("http://h/"));
    let line = lines.written(0, HEAD_END).await;
    line.say(OK);
    drop(sending.await.unwrap().unwrap());
    assert_eq!(client.pool().stats().total.idle, 1);
    line
}

/// A transport whose look is always silent. The transport answers when it has taken `answers_after` bytes, and
/// then behaves as `then` says.
struct Stubborn {
    answers_after: usize,
    answer: &'static str,
    then: Then,
    taken: usize,
    incoming: VecDeque<u8>,
    reader: Option<Waker>,
    silence: Silence,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    WriteFails,
    FlushFails,
    FlushHangs,
    /// The transport accepts all bytes and answers every request.
    Serves,
}

impl Layer for Stubborn {
    type Below = Silence;

    fn below(&mut self) -> &mut Silence {
        &mut self.silence
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.incoming.is_empty() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = self.incoming.len().min(buf.remaining());
        let bytes: Vec<u8> = self.incoming.drain(..most).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let is_answered = self.taken >= self.answers_after;
        if is_answered && self.then == Then::WriteFails {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = if is_answered { buf.len() } else { buf.len().min(self.answers_after - self.taken) };
        self.taken += most;
        if !is_answered && self.taken == self.answers_after {
            let answer = self.answer;
            self.incoming.extend(answer.as_bytes());
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(most))
    }

    fn flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.then {
            Then::FlushFails => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Then::FlushHangs => Poll::Pending,
            Then::WriteFails | Then::Serves => Poll::Ready(Ok(())),
        }
    }
}

/// A connection that refused or did not flush a byte carries no further request, even if the response is complete and a look
/// finds the connection alive.
#[tokio::test(start_paused = true)]
async fn a_connection_that_did_not_take_all_is_not_used_again_behind_a_complete_response() {
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n".len();
    let refusal = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nok";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for (then, answers_after) in [
        (Then::Serves, head + 10),
        (Then::WriteFails, head),
        (Then::WriteFails, head + 5),
        (Then::WriteFails, head - 5),
        (Then::FlushFails, head + 10),
        (Then::FlushHangs, head + 10),
    ] {
        for answer in [OK, refusal, chunked] {
            let connect = move |_| async move {
                let stubborn = Stubborn {
                    answers_after,
                    answer,
                    then,
                    taken: 0,
                    incoming: VecDeque::new(),
                    reader: None,
                    silence: Silence,
                };
                Ok::<_, BoxError>(Layered::boxed(stubborn))
            };
            let client = Client::builder().no_user_agent().connector(connect).build().unwrap();
            let name = format!("{then:?} after {answers_after}, {}", &answer[9..12]);
            let response = client.post("http://h/").body("0123456789").send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "ok", "{name}");
            settle().await;
            let total = client.pool().stats().total;
            let is_kept = then == Then::Serves;
            assert_eq!((total.idle, total.active), (usize::from(is_kept), 0), "{name}: {total}");
            assert_eq!(total.closed(DropReason::NotReusable), u64::from(!is_kept), "{name}: {total}");
            if !is_kept {
                let next = client.post("http://h/").body("0123456789").send().await.unwrap();
                assert!(!next.connection().is_reused(), "{name}");
            }
        }
    }
}

/// The client does not reuse a connection that was not flushed, even if the request had no content.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_not_flushed_is_not_used_again_behind_a_complete_response() {
    let head = "GET / HTTP/1.1\r\nhost: h\r\n\r\n".len();
    for then in [Then::FlushFails, Then::FlushHangs] {
        let connect = move |_| async move {
            let (taken, incoming) = (0, VecDeque::new());
            let stubborn = Stubborn {
                answers_after: head,
                answer: OK,
                then,
                taken,
                incoming,
                reader: None,
                silence: Silence,
            };
            Ok::<_, BoxError>(Layered::boxed(stubborn))
        };
        let client = Client::builder().no_user_agent().connector(connect).build().unwrap();
        let begun = Instant::now();
        assert_eq!(client.get("http://h/").send().await.unwrap().text().await.unwrap(), "ok");
        assert_eq!(begun.elapsed(), Duration::ZERO, "{then:?}: nothing is waited for");
        let total = client.pool().stats().total;
        assert_eq!((total.idle, total.closed(DropReason::NotReusable)), (0, 1), "{then:?}: {total}");
    }
}

/// The client reads the remaining content of a small chunked response that has arrived or arrives soon, and keeps the
/// connection.
#[tokio::test(start_paused = true)]
async fn rule_30_a_small_chunked_rest_is_read() {
    for is_there in [true, false] {
        for length in [1, 1000, 60_000] {
            let lines = Lines::default();
            let client = lines.client();
            let sending = send(client.get("http://h/"));
            let line = lines.written(0, HEAD_END).await;
            line.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
            let response = sending.await.unwrap().unwrap();
            let rest = format!("{length:x}\r\n{}\r\n0\r\nx-a: 1\r\n\r\n", "x".repeat(length));
            if is_there {
                line.say(&rest);
                drop(response);
            } else {
                drop(response);
                settle().await;
                assert_eq!(client.pool().stats().total.idle, 0);
                for piece in rest.as_bytes().chunks(10_000) {
                    line.say(piece);
                    settle().await;
                }
            }
            settle().await;
            let total = client.pool().stats().total;
            assert_eq!((total.idle, total.active, line.unread()), (1, 0, 0), "{length}, at once: {is_there}");
            let sending = send(client.get("http://h/next"));
            lines.written(0, "/next HTTP/1.1\r\nhost: h\r\n\r\n").await.say(OK);
            assert_eq!(sending.await.unwrap().unwrap().text().await.unwrap(), "ok");
        }
    }
}

/// The client reads at most 64 KiB plus one read of a dropped response that has no end, however fast the bytes come.
#[tokio::test(start_paused = true)]
async fn rule_30_an_endless_rest_is_read_no_further_than_its_bound() {
    const SAID: usize = 4 << 20;
    const BOUND: usize = (64 + 128) << 10;
    for size in [1, 100, 16 << 10, 1 << 20] {
        for is_there in [true, false] {
            let lines = Lines::default();
            let client = lines.client();
            let sending = send(client.get("http://h/"));
            let line = lines.written(0, HEAD_END).await;
            line.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
            let response = sending.await.unwrap().unwrap();
            let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
            let endless = chunk.repeat(SAID / chunk.len() + 1);
            if is_there {
                line.say(&endless);
                drop(response);
            } else {
                drop(response);
                settle().await;
                line.say(&endless);
            }
            lines::until("the connection is closed", || line.is_gone()).await;
            let read = endless.len() - line.unread();
            assert!(read <= BOUND, "{read} bytes, in chunks of {size}, at once: {is_there}");
            assert!(read > 64 << 10, "{read} bytes, in chunks of {size}, at once: {is_there}");
            let total = client.pool().stats().total;
            assert_eq!((total.idle, total.active, total.closed_total()), (0, 0, 1));
        }
    }
}

/// Returns a body of 1 MiB, and the bytes that it makes on the wire.
fn content() -> Vec<u8> {
    (0..1 << 20).map(|at: usize| b'a' + ((at ^ (at >> 8) ^ (at >> 16)) % 26) as u8).collect()
}

/// After each kind of resend, the response reports the length of the whole content once as the bytes of the upload.
#[tokio::test(start_paused = true)]
async fn an_upload_that_was_sent_again_is_told_once_and_complete() {
    let file = std::env::temp_dir().join(format!("handclasp-settled-{}", std::process::id()));
    std::fs::write(&file, content()).unwrap();
    for way in ["lost", "reset", "408", "417", "stale"] {
        for kind in ["bytes", "bytes in chunks", "a file", "with trailers"] {
            // Number of bytes that the first connection accepts: several writes of more than 256 KiB, or a part of one write.
            for taken in [700_000, 1] {
                let name = format!("{way}, {kind}, {taken} bytes taken");
                let lines = Lines::default();
                let client = lines.client();
                let line = keep(&lines, &client).await;
                let before = line.len();
                let request = client.request(Method::PUT, "http://h/up");
                let mut trailers = http::HeaderMap::new();
                trailers.insert("x-sum", "7".parse().unwrap());
                let request = match kind {
                    "bytes" => request.body(content()),
                    "bytes in chunks" => request.header("transfer-encoding", "chunked").body(content()),
                    "a file" => request.body(Body::from_file(&file).await.unwrap()),
                    _ => request.body(Body::from(content()).with_trailers(trailers)),
                };
                let request = if way == "417" { request.expect_continue() } else { request };
                line.block();
                line.take(if way == "417" { 1 << 10 } else { taken });
                if way == "stale" {
                    line.eof();
                }
                let sending = send(request);
                if way == "417" {
                    lines::until("the head is there", || {
                        let text = line.text();
                        text.contains("/up") && text.ends_with(HEAD_END)
                    })
                    .await;
                    line.block();
                    line.take(taken);
                    let head = line.len();
                    tokio::time::sleep(SECOND * 2).await;
                    lines::until("a part of the content has arrived", || line.len() == head + taken).await;
                } else if way != "stale" {
                    lines::until("a part of the content has arrived", || line.len() == before + taken).await;
                }
                match way {
                    "lost" => line.eof(),
                    "reset" => line.reset(),
                    "408" => line.say("HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
                    "417" => line.say("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"),
                    _ => {}
                }
                let again = lines.line(1).await;
                let end = if kind == "with trailers" { "x-sum: 7\r\n\r\n" } else { "" };
                lines::until("the whole content is written", || {
                    again.len() > 1 << 20 && again.text().ends_with(end)
                })
                .await;
                settle().await;
                again.say(OK);
                let response = sending.await.unwrap().unwrap();
                let upload = response.upload();
                assert_eq!(
                    (upload.bytes(), upload.is_complete(), upload.is_aborted()),
                    (1 << 20, true, false),
                    "{name}"
                );
                assert_eq!(response.text().await.unwrap(), "ok", "{name}");
                let text = again.text();
                if matches!(kind, "bytes" | "a file") {
                    let (_, sent) = text.split_once(HEAD_END).unwrap();
                    assert!(sent.as_bytes() == content(), "{name}");
                }
                assert!(!text.contains("expect"), "{name}");
                let total = client.pool().stats().total;
                assert_eq!((total.idle, total.active, total.opened), (1, 0, 2), "{name}: {total}");
            }
        }
    }
    std::fs::remove_file(&file).unwrap();
}

/// The total timeout counts from the beginning of the request, over all attempts, and is reported once.
#[tokio::test(start_paused = true)]
async fn the_total_timeout_holds_across_a_resend() {
    for way in ["lost", "408", "417"] {
        for is_content in [false, true] {
            let name = format!("{way}, with content: {is_content}");
            let lines = Lines::default();
            let client = lines.client();
            let line = keep(&lines, &client).await;
            let before = line.len();
            let begun = Instant::now();
            let request = client.request(Method::PUT, "http://h/up").timeout(SECOND * 10);
            let request = if is_content || way == "417" { request.body("hello") } else { request };
            let request = if way == "417" { request.expect_continue() } else { request };
            let sending = send(request);
            lines::until("the request is sent", || line.len() > before).await;
            tokio::time::sleep(SECOND * 5).await;
            match way {
                "lost" => line.eof(),
                "408" => line.say("HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
                _ => line.say("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"),
            }
            // The second server sends nothing.
            let error = sending.await.unwrap().unwrap_err();
            assert_eq!(
                (error.kind(), begun.elapsed().as_millis() / 100),
                (ErrorKind::Timeout, 100),
                "{name}"
            );
            assert_eq!(error.request_written(), Written::All, "{name}");
            assert_eq!(error.message(), "the request did not complete within 10s (timeout)", "{name}");
            let total = client.pool().stats().total;
            assert_eq!((lines.count(), total.active, total.idle, total.waiting), (2, 0, 0, 0), "{name}");
        }
    }
}

/// The total timeout ends an upload whose server takes every piece at once and whose source never pauses.
#[tokio::test(start_paused = true)]
async fn the_total_timeout_ends_an_upload_that_never_stalls() {
    let lines = Lines::default();
    let client = lines.client();
    let request = client.post("http://h/").timeout(SECOND * 10);
    let steps = [Step::Data("piece"), Step::Empties];
    let sending = send(request.body(Body::from_stream(Source::new(&steps))));
    let begun = Instant::now();
    lines.line(0).await;
    while !sending.is_finished() {
        assert!(begun.elapsed() <= SECOND * 11, "the request does not end");
        tokio::time::advance(SECOND / 2).await;
        settle().await;
    }
    let error = sending.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Timeout, Written::Partly));
    assert_eq!(begun.elapsed().as_secs(), 10);
}

/// A transport that takes one byte in each write and is never pending.
struct Narrow {
    silence: Silence,
    taken: Arc<AtomicUsize>,
}

impl Layer for Narrow {
    type Below = Silence;

    fn below(&mut self) -> &mut Silence {
        &mut self.silence
    }

    fn write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(buf.len().min(1)))
    }
}

/// The total timeout ends an upload of one large piece between two writes of it.
#[tokio::test]
async fn the_total_timeout_ends_an_upload_of_one_piece_that_never_stalls() {
    const LENGTH: usize = 64 << 20;
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let connect = move |_| {
        let narrow = Narrow { silence: Silence, taken: counted.clone() };
        async move { Ok::<_, BoxError>(Layered::boxed(narrow)) }
    };
    let client = Client::builder().connector(connect).build().unwrap();
    let body = Bytes::from(vec![b'x'; LENGTH]);
    let request = client.post("http://h/").timeout(Duration::from_millis(100)).body(body);
    let error = request.send().await.unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Timeout, Written::Partly));
    assert!(taken.load(Ordering::SeqCst) < LENGTH);
}
