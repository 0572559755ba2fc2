//! Tests that a failed body stays failed: no later read makes the body look complete.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use handclasp::{Body, Client, Error, ErrorKind, Response, Written};
use http_body::Body as _;

use crate::support::lines::{Line, Lines, Source, Step, send};

/// A way in which a response breaks: its head, the part of its content that comes, what the server does after that part,
/// and the kind of the expected error.
type Breach = (&'static str, &'static str, &'static str, Then, ErrorKind);

#[derive(Clone, Copy)]
enum Then {
    Eof,
    Reset,
    Stays,
    Shutdown,
}

const BREACHES: [Breach; 12] = [
    ("a cut length", "content-length: 9", "four", Then::Eof, ErrorKind::ConnectionLost),
    ("a cut length, without a byte", "content-length: 9", "", Then::Eof, ErrorKind::ConnectionLost),
    ("a reset within the length", "content-length: 9", "four", Then::Reset, ErrorKind::ConnectionLost),
    ("a cut chunk", "transfer-encoding: chunked", "9\r\nfour", Then::Eof, ErrorKind::ConnectionLost),
    (
        "a cut between chunks",
        "transfer-encoding: chunked",
        "4\r\nfour\r\n",
        Then::Eof,
        ErrorKind::ConnectionLost,
    ),
    (
        "cut trailers",
        "transfer-encoding: chunked",
        "4\r\nfour\r\n0\r\nx-a: 1\r\n",
        Then::Eof,
        ErrorKind::ConnectionLost,
    ),
    (
        "a malformed size",
        "transfer-encoding: chunked",
        "4\r\nfour\r\nzz\r\n",
        Then::Stays,
        ErrorKind::Protocol,
    ),
    ("a malformed first size", "transfer-encoding: chunked", "zz\r\n", Then::Stays, ErrorKind::Protocol),
    (
        "malformed trailers",
        "transfer-encoding: chunked",
        "4\r\nfour\r\n0\r\nx a\r\n\r\n",
        Then::Stays,
        ErrorKind::Protocol,
    ),
    ("a reset before the end", "x-until: close", "four", Then::Reset, ErrorKind::ConnectionLost),
    ("silence", "content-length: 9", "four", Then::Stays, ErrorKind::Timeout),
    ("a shutdown", "content-length: 9", "four", Then::Shutdown, ErrorKind::Shutdown),
];

/// Returns a response that breaks in this way, and the server's end of the connection. With `with_head`, the content comes
/// together with the head.
async fn respond(breach: Breach, with_head: bool, lines: &Lines, client: &Client) -> (Response, Line) {
    let (_, head, content, then, _) = breach;
    let sending = send(client.get("http://h/"));
    let line = lines.written(0, "\r\n\r\n").await;
    let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
    if with_head {
        line.say(format!("{head}{content}"));
    } else {
        line.say(head);
    }
    let response = sending.await.unwrap().unwrap();
    if !with_head {
        line.say(content);
    }
    match then {
        Then::Eof => line.eof(),
        Then::Reset => line.reset(),
        Then::Stays => {}
        Then::Shutdown => client.pool().shutdown(Duration::ZERO).await,
    }
    (response, line)
}

/// Reads the response until a read fails, and returns the error.
async fn fail(response: &mut Response) -> Error {
    loop {
        match response.chunk().await {
            Ok(piece) => assert!(piece.is_some(), "the body ended without an error"),
            Err(error) => return error,
        }
    }
}

/// Returns the text of an error, of its causes and of its timings.
fn said(error: &Error) -> String {
    format!("{error:?}: {} {:?}", error.chain(), error.timings().map(|timings| timings.total))
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

async fn frame(body: &mut Body) -> Option<Result<(), Error>> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    frame.map(|frame| frame.map(drop))
}

#[tokio::test(start_paused = true)]
async fn every_read_of_a_broken_body_repeats_its_error() {
    for breach in BREACHES {
        for with_head in [false, true] {
            for read in ["chunk", "trailers", "bytes", "text", "collect", "stream", "frame", "passed on"] {
                let name = format!("{}, with the head: {with_head}, {read}", breach.0);
                let lines = Lines::default();
                let client = lines.client();
                let (mut response, line) = respond(breach, with_head, &lines, &client).await;
                let first = fail(&mut response).await;
                assert_eq!(first.kind(), breach.4, "{name}");
                assert_eq!(first.request_written(), Written::All, "{name}");
                let first = said(&first);
                match read {
                    "chunk" => {
                        for _ in 0..3 {
                            assert_eq!(said(&response.chunk().await.unwrap_err()), first, "{name}");
                        }
                    }
                    "trailers" => {
                        for _ in 0..2 {
                            assert_eq!(said(&response.trailers().await.unwrap_err()), first, "{name}");
                        }
                    }
                    "bytes" => assert_eq!(said(&response.bytes().await.unwrap_err()), first, "{name}"),
                    "text" => assert_eq!(said(&response.text().await.unwrap_err()), first, "{name}"),
                    "collect" => assert_eq!(said(&response.collect().await.unwrap_err()), first, "{name}"),
                    "stream" => {
                        // The stream must end after its error.
                        // A caller that collects the items would otherwise wait for ever.
                        let mut stream = response.bytes_stream();
                        assert_eq!(said(&next(&mut stream).await.unwrap().unwrap_err()), first, "{name}");
                        for _ in 0..3 {
                            assert!(next(&mut stream).await.is_none(), "{name}");
                        }
                    }
                    "frame" => {
                        let mut body = response.into_body();
                        for _ in 0..3 {
                            assert!(!body.is_end_stream(), "{name}");
                            assert_eq!(body.size_hint().exact(), None, "{name}");
                            assert_eq!(
                                frame(&mut body).await.unwrap().unwrap_err().kind(),
                                breach.4,
                                "{name}"
                            );
                        }
                    }
                    _ => {
                        let lines = Lines::default();
                        let client = lines.client();
                        let request = client.post("http://h/").body(response.into_body());
                        let error = request.send().await.unwrap_err();
                        let seen = (error.kind(), error.request_written());
                        assert_eq!(seen, (ErrorKind::Body, Written::Nothing), "{name}: {error}");
                        assert_eq!(lines.line(0).await.text(), "", "{name}");
                    }
                }
                assert!(line.is_gone(), "{name}");
                assert_eq!(client.pool().stats().total.active, 0, "{name}");
            }
        }
    }
}

/// The stream of a body that breaks gives the content that came, then the error once, and then ends.
#[tokio::test(start_paused = true)]
async fn a_stream_of_a_broken_body_ends_behind_its_error() {
    for breach in BREACHES {
        let lines = Lines::default();
        let client = lines.client();
        let (response, _) = respond(breach, true, &lines, &client).await;
        let mut stream = response.bytes_stream();
        let (mut errors, mut items) = (0, 0);
        while let Some(item) = next(&mut stream).await {
            (items, errors) = (items + 1, errors + u32::from(item.is_err()));
            assert!(items < 10, "{}: the body never ends", breach.0);
        }
        assert_eq!(errors, 1, "{}", breach.0);
        assert!(next(&mut stream).await.is_none(), "{}", breach.0);
    }
}

/// A response that breaks is passed on as a request body before it is read. The reader of that body gets the error.
#[tokio::test(start_paused = true)]
async fn a_broken_body_that_nobody_read_before_fails_where_it_is_read() {
    for breach in BREACHES {
        let lines = Lines::default();
        let client = lines.client();
        let (response, _) = respond(breach, true, &lines, &client).await;
        let (other, wire) = (Lines::default(), breach.0);
        let error = other.client().post("http://h/").body(response.into_body()).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Body, "{wire}");
        let text = other.line(0).await.text();
        assert!(!text.contains("content-length: 0") && !text.ends_with("\r\n0\r\n\r\n"), "{wire}: {text}");

        let lines = Lines::default();
        let client = lines.client();
        let (response, _) = respond(breach, true, &lines, &client).await;
        let mut body = response.into_body();
        while let Some(Ok(())) = frame(&mut body).await {}
        assert_eq!(frame(&mut body).await.unwrap().unwrap_err().kind(), breach.4, "{wire}");
        assert!(!body.is_end_stream(), "{wire}");
    }
}

/// A request body of the caller's source polls the source until the source fails. From then on the body stays failed, and
/// does not poll the source again.
#[tokio::test]
async fn a_body_whose_own_source_failed_never_looks_ended() {
    let bodies: [fn() -> Body; 3] = [
        || Body::from_stream(Source::new(&[Step::Data("a"), Step::Fail])),
        || Body::wrap(Source::new(&[Step::Data("a"), Step::Fail]).sized(9)),
        || Body::wrap(Body::from_stream(Source::new(&[Step::Data("a"), Step::Fail]))),
    ];
    for make in bodies {
        let mut body = make();
        frame(&mut body).await.unwrap().unwrap();
        for _ in 0..3 {
            let error = frame(&mut body).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Body);
            assert!(error.chain().to_string().contains("the source is broken"), "{}", error.chain());
            assert!(!body.is_end_stream());
            assert_eq!(body.size_hint().exact(), None);
        }
        let lines = Lines::default();
        let error = lines.client().post("http://h/").body(body).send().await.unwrap_err();
        assert_eq!((error.kind(), error.request_written()), (ErrorKind::Body, Written::Nothing));
        assert_eq!(lines.line(0).await.text(), "");
    }
}

/// A file that shrinks while it is read is an error for the reader of the body. A chunked upload of the file fails too,
/// because the upload would otherwise look complete.
#[tokio::test]
async fn a_file_that_became_shorter_never_looks_ended() {
    let path = std::env::temp_dir().join(format!("handclasp-broken-{}", std::process::id()));
    let shrunk = async || {
        std::fs::write(&path, b"content").unwrap();
        let body = Body::from_file(&path).await.unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
        body
    };
    let mut body = shrunk().await;
    frame(&mut body).await.unwrap().unwrap();
    for _ in 0..2 {
        let error = frame(&mut body).await.unwrap().unwrap_err();
        assert!(error.chain().to_string().contains("4 bytes are missing"), "{}", error.chain());
        assert!(!body.is_end_stream());
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    for body in [shrunk().await, shrunk().await.with_trailers(trailers)] {
        let lines = Lines::default();
        let error = lines.client().put("http://h/").body(body).send().await.unwrap_err();
        assert_eq!((error.kind(), error.request_written()), (ErrorKind::Body, Written::Partly), "{error}");
        let text = lines.line(0).await.text();
        assert!(!text.contains("\r\n0\r\n"), "{text}");
    }
    std::fs::remove_file(&path).unwrap();
}

/// A trailer section with more fields than the limit is an error. The client does not drop the surplus fields silently.
#[test]
fn a_body_with_too_many_trailers_never_looks_ended() {
    let many = |from: usize| -> http::HeaderMap {
        let names = (from..from + 20_000).map(|at| format!("x-{at}").parse().unwrap());
        names.map(|name: http::HeaderName| (name, "1".parse().unwrap())).collect()
    };
    let inner = Body::from("a").with_trailers(many(0));
    let mut body = Body::wrap(inner).with_trailers(many(20_000));
    let mut cx = Context::from_waker(Waker::noop());
    let mut errors = 0;
    for _ in 0..4 {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(Err(error))) => {
                errors += 1;
                assert_eq!(error.kind(), ErrorKind::Body);
            }
            Poll::Ready(Some(Ok(frame))) => assert!(frame.is_data() && errors == 0),
            other => panic!("{other:?}"),
        }
    }
    assert!(errors >= 2 && !body.is_end_stream());
}
