//! Tests of the bodies of requests: the framing of each kind of body, content that differs from its announced length, the
//! bound on content that is taken from the source, files, bodies of other types, and uploads to HTTP/1.0 servers. These
//! tests prove the statements of the manual's page on uploads.

#![allow(clippy::unwrap_used, reason = "a test")]

mod files;
mod old_servers;
mod unread;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use handclasp::{Body, Client, DropReason, ErrorKind, Phase, RequestBuilder, Written};
use http::{HeaderMap, Method};

use crate::support::lines::{Fed, Lines, Source, Step, send, settle, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn trailers(name: &'static str, value: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    trailers
}

/// A file that is deleted when this value is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(content: &[u8]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("handclasp-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn append(&self, content: &[u8]) {
        std::fs::OpenOptions::new().append(true).open(&self.0).unwrap().write_all(content).unwrap();
    }

    fn truncate(&self, length: u64) {
        std::fs::OpenOptions::new().write(true).open(&self.0).unwrap().set_len(length).unwrap();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Sends a request, and checks the bytes of each write after the request line and `Host`.
async fn assert_writes(name: &str, request: impl FnOnce(&Client) -> RequestBuilder, expected: &[&str]) {
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(request(&client));
    let line = lines.written(0, expected.last().unwrap()).await;
    settle().await;
    let mut writes = line.writes();
    let host = "host: h\r\n";
    let at = writes[0].find(host).expect("Host is there") + host.len();
    writes[0].drain(..at);
    if name.contains("file") {
        // The first read of a file may finish before or after the head is written, so that the division into writes varies.
        assert_eq!(writes.concat(), expected.concat(), "{name}");
    } else {
        assert_eq!(writes, expected, "{name}");
    }
    line.say(OK);
    let response = sending.await.unwrap().unwrap();
    assert!(response.upload().is_complete(), "{name}");
    assert_eq!(response.text().await.unwrap(), "ok", "{name}");
    assert_eq!(client.pool().stats().total.idle, 1, "{name}");
}

/// R-9112-6.3-10, R-9112-6.3-11, R-9112-6.1-2, R-9112-6.2-1, R-9110-8.6-1, R-9110-8.6-2, R-9110-6.6.2-1, R-9110-9.3.1-1:
/// the client frames each kind of body as the table in the manual says.
#[tokio::test]
async fn each_kind_of_body_is_framed_by_what_it_knows() {
    use Step::{Data, Later, Trailer};

    let url = "http://h/";
    let known = "content-length: 5\r\n\r\nhello";
    let none = ["\r\n"];
    for method in [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS] {
        if method != Method::HEAD {
            assert_writes("R-9110-8.6-2: nothing", |client| client.request(method, url), &none).await;
        }
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::QUERY] {
        let empty = ["content-length: 0\r\n\r\n"];
        assert_writes("R-9110-8.6-1: empty", |client| client.request(method, url), &empty).await;
    }
    assert_writes("bytes", |client| client.post(url).body(vec![b'z'; 2]), &["content-length: 2\r\n\r\nzz"])
        .await;
    assert_writes("text", |client| client.post(url).body("hello"), &[known]).await;
    assert_writes("text with GET", |client| client.get(url).body("hello"), &[known]).await;
    assert_writes("no bytes", |client| client.put(url).body(""), &["content-length: 0\r\n\r\n"]).await;

    let chunks = ["transfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"];
    let stream = |steps: &[Step]| Body::from_stream(Source::new(steps));
    let two = [Data("a"), Data("bc")];
    assert_writes("R-9112-6.3-11: a stream", |client| client.post(url).body(stream(&two)), &chunks).await;
    let empty = ["transfer-encoding: chunked\r\n\r\n0\r\n\r\n"];
    assert_writes("a stream of nothing", |client| client.post(url).body(stream(&[])), &empty).await;
    let late = ["transfer-encoding: chunked\r\n\r\n", "1\r\na\r\n0\r\n\r\n"];
    let later = [Later, Data("a")];
    assert_writes("pending: the head alone", |client| client.post(url).body(stream(&later)), &late).await;
    let paused = ["transfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n", "1\r\nd\r\n", "0\r\n\r\n"];
    let pausing = [Data("a"), Data("bc"), Later, Data("d"), Later];
    let request = |client: &Client| client.post(url).body(stream(&pausing));
    assert_writes("pending in between: what is there leaves", request, &paused).await;
    let sized = |client: &Client| client.post(url).header("content-length", 3).body(stream(&two));
    assert_writes("a stream of known length", sized, &["content-length: 3\r\n\r\nabc"]).await;
    let coded = |client: &Client| client.post(url).header("transfer-encoding", "chunked").body(stream(&two));
    assert_writes("R-9112-6.1-2: the caller says chunked", coded, &chunks).await;
    let coded = |client: &Client| client.post(url).header("transfer-encoding", "chunked").body("a");
    assert_writes("bytes in chunks", coded, &["transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"]).await;

    let wrapped = |steps: &[Step]| Body::wrap(Source::new(steps));
    assert_writes("a body of unknown length", |client| client.post(url).body(wrapped(&two)), &chunks).await;
    let exact = || Body::wrap(Source::new(&two).sized(3));
    let lengths = ["content-length: 3\r\n\r\nabc"];
    assert_writes("R-9112-6.3-10: an exact size_hint", |client| client.post(url).body(exact()), &lengths)
        .await;
    let ours = || Body::wrap(Body::from("hello"));
    assert_writes("a Body in a Body", |client| client.post(url).body(ours()), &[known]).await;

    let announced = "trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
    let last = "0\r\nx-sum: 7\r\n\r\n";
    let ending = [Data("a"), Trailer("x-sum", "7")];
    let whole = format!("{announced}1\r\na\r\n{last}");
    let body = || Body::wrap(Source::new(&ending).sized(1));
    let request = |client: &Client| client.post(url).header("trailer", "x-sum").body(body());
    assert_writes("R-9110-6.6.2-1: exact, with a Trailer field", request, &[&whole]).await;
    let request = |client: &Client| client.post(url).header("trailer", "x-sum").body(wrapped(&ending));
    assert_writes("R-9110-6.6.2-1: chunked, with a Trailer field", request, &[&whole]).await;

    let ended = trailers("x-sum", "7");
    let request = |client: &Client| client.post(url).body(Body::from("a").with_trailers(ended.clone()));
    assert_writes("R-9110-6.6.2-1: text with trailers", request, &[&whole]).await;
    let request = |client: &Client| client.post(url).body(Body::empty().with_trailers(ended.clone()));
    assert_writes("nothing with trailers", request, &[&format!("{announced}{last}")]).await;
    let request = |client: &Client| client.post(url).body(stream(&[Data("a")]).with_trailers(ended.clone()));
    assert_writes("a stream with trailers", request, &[&whole]).await;
    let request = |client: &Client| client.post(url).body(exact().with_trailers(ended.clone()));
    let both = format!("{announced}1\r\na\r\n2\r\nbc\r\n{last}");
    assert_writes("an exact body with trailers", request, &[&both]).await;

    let file = Temporary::new(b"hello");
    let body = Body::from_file(&file.0).await.unwrap();
    assert_writes("a file", |client| client.put(url).body(body), &["content-length: 5\r\n\r\n", "hello"])
        .await;
    let body = Body::from_file(&file.0).await.unwrap().with_trailers(ended.clone());
    let writes = [announced, "5\r\nhello\r\n", last];
    assert_writes("a file with trailers", |client| client.put(url).body(body), &writes).await;
    let empty = Temporary::new(b"");
    let body = Body::from_file(&empty.0).await.unwrap();
    assert_writes("an empty file", |client| client.put(url).body(body), &["content-length: 0\r\n\r\n"]).await;
}

/// The body of a response can be the body of a request. The client sends the content as it arrives, with the length or the
/// trailers of the response.
#[tokio::test]
async fn a_received_body_is_passed_on() {
    for (name, said, rest, head, end) in [
        ("with its length", "content-length: 5\r\n\r\nhe", "llo", "content-length: 5\r\n\r\n", "hello"),
        (
            "in chunks",
            "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n",
            "3\r\nllo\r\n0\r\nx-sum: 7\r\nhost: evil\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\nx-sum: 7\r\n\r\n",
        ),
        ("to the connection's end", "\r\nhe", "llo", "transfer-encoding: chunked\r\n\r\n", "0\r\n\r\n"),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let sending = send(client.get("http://from/"));
        let from = lines.written(0, "\r\n\r\n").await;
        from.say(format!("HTTP/1.1 200 OK\r\n{said}"));
        let response = sending.await.unwrap().unwrap();
        let sending = send(client.post("http://to/").body(response.into_body()));
        lines.written(1, if head.starts_with("content") { "he" } else { "he\r\n" }).await;
        from.say(rest);
        if name.ends_with("end") {
            from.eof();
        }
        let to = lines.written(1, end).await;
        settle().await;
        let (text, separator) = (to.text(), format!("host: to\r\n{head}"));
        assert!(text.contains(&separator), "{name}: {text:?}");
        assert!(!text.contains("evil"), "R-9110-6.5.1-1: {name}: {text:?}");
        to.say(OK);
        let response = sending.await.unwrap().unwrap();
        assert!(response.upload().is_complete() && response.upload().bytes() == 5, "{name}");
        drop(response);
        let total = client.pool().stats().total;
        assert_eq!((total.active, total.idle), (0, if name.ends_with("end") { 1 } else { 2 }), "{name}");
    }
}

/// R-9110-8.6-4: if the content differs from its announced length, the request fails, and a connection on which a part of the
/// request was written is closed. The client sends no byte beyond the announced length.
#[tokio::test]
async fn a_promised_length_is_exact() {
    use Step::{Data, Fail, Later, Trailer};

    // The last column is the content that was written, or `None` if no byte of the request was written.
    for (name, length, steps, content) in [
        ("R-9110-8.6-4: shorter", 5, vec![Data("hel"), Data("l")], Some("hell")),
        ("shorter, known at once", 5, vec![], None),
        ("longer in one piece", 3, vec![Data("hello")], None),
        (
            "longer by a piece, known before the last one is written",
            3,
            vec![Data("he"), Data("l"), Data("o")],
            Some("he"),
        ),
        ("longer, known at once", 3, vec![Data("hel"), Data("lo")], None),
        (
            "longer behind empty pieces",
            3,
            vec![Data("he"), Data(""), Data("l"), Data(""), Data("o")],
            Some("he"),
        ),
        ("longer, known later", 3, vec![Data("hel"), Later, Data("lo")], Some("hel")),
        ("an error before anything", 3, vec![Fail], None),
        ("an error before the end", 3, vec![Data("he"), Fail], Some("he")),
        ("an error at the end, known at once", 3, vec![Data("hel"), Fail], None),
        ("an error at the end", 3, vec![Data("he"), Data("l"), Fail], Some("he")),
        ("an error after the end", 3, vec![Data("hel"), Later, Fail], Some("hel")),
        ("trailers behind a known length", 3, vec![Data("hel"), Trailer("x-sum", "7")], None),
        (
            "trailers behind a known length, later",
            3,
            vec![Data("hel"), Later, Trailer("x-sum", "7")],
            Some("hel"),
        ),
        ("no length, with content", 0, vec![Data("h")], None),
        ("no length, with content later", 0, vec![Later, Data("h")], Some("")),
        ("no length, with an error", 0, vec![Fail], None),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let body = Body::wrap(Source::new(&steps));
        let request = client.post("http://h/").header("content-length", length).body(body);
        let error = request.send().await.unwrap_err();
        let line = lines.line(0).await;
        let total = client.pool().stats().total;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Body, Some(Phase::Send)), "{name}: {error}");
        assert_eq!((total.active, total.waiting, total.dialing), (0, 0, 0), "{name}");
        match content {
            None => {
                assert_eq!((line.text().as_str(), error.request_written()), ("", Written::Nothing), "{name}");
                assert_eq!(total.idle, 1, "{name}: the connection was not touched");
            }
            Some(content) => {
                let text = line.text();
                let (_, body) = text.split_once("\r\n\r\n").unwrap();
                assert_eq!(body, content, "R-9110-8.6-4: {name}");
                let is_whole = content.len() == length;
                let written = if is_whole { Written::All } else { Written::Partly };
                assert_eq!(error.request_written(), written, "{name}");
                assert!(line.is_gone(), "R-9110-8.6-4: {name}");
                assert_eq!(total.closed(DropReason::Failed), 1, "{name}: {total}");
            }
        }
    }
}

/// If the source of chunked content fails, the client does not send the last chunk.
#[tokio::test]
async fn a_stream_that_fails_never_looks_complete() {
    use Step::{Data, Fail, Later, Trailer};

    for (name, steps, content) in [
        ("at once", vec![Fail], None),
        ("behind a piece", vec![Data("he"), Fail], Some("2\r\nhe\r\n")),
        ("behind a piece, later", vec![Data("he"), Later, Fail], Some("2\r\nhe\r\n")),
        (
            "R-9110-6.5.1-1: a trailer that may be none",
            vec![Data("he"), Trailer("content-length", "2")],
            Some("2\r\nhe\r\n"),
        ),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let error = client.post("http://h/").body(Body::wrap(Source::new(&steps))).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Body, "{name}: {error}");
        let line = lines.line(0).await;
        let text = line.text();
        assert_eq!(text.split_once("\r\n\r\n").map(|(_, body)| body), content, "{name}");
        let total = client.pool().stats().total;
        assert_eq!((total.active, total.idle), (0, usize::from(content.is_none())), "{name}");
    }
}

/// A source that has given the announced content and does not end does not delay the response. The connection is used
/// again.
#[tokio::test]
async fn a_source_that_does_not_end_is_not_waited_for() {
    use Step::{Data, Empties, Never};

    for (name, steps) in [("silence", [Data("hel"), Never]), ("empty pieces", [Data("hel"), Empties])] {
        let lines = Lines::default();
        let client = lines.client();
        let body = Body::from_stream(Source::new(&steps));
        let sending = send(client.post("http://h/").header("content-length", 3).body(body));
        lines.written(0, "hel").await.say(OK);
        let response = sending.await.unwrap().unwrap();
        assert!(response.upload().is_complete(), "{name}");
        assert_eq!(response.text().await.unwrap(), "ok");
        let sending = send(client.get("http://h/next"));
        lines.written(0, "GET /next HTTP/1.1\r\nhost: h\r\n\r\n").await.say(OK);
        assert_eq!(sending.await.unwrap().unwrap().connection().ordinal(), 2, "{name}");
    }
}

/// A source that gives empty pieces without end does not block other tasks, even while the client collects the content
/// for an HTTP/1.0 server.
#[tokio::test]
async fn empty_pieces_for_ever_hang_nobody() {
    let lines = Lines::default();
    let client = lines.client();
    teach_that_it_is_old(&lines, &client, 0).await;
    for url in ["http://h/", "http://other/"] {
        let source = Source::new(&[Step::Empties]);
        let polls = source.polls.clone();
        let sending = send(client.post(url).body(Body::from_stream(source)));
        until("the source is polled a thousand times", || polls.load(Ordering::SeqCst) > 1000).await;
        sending.abort();
        assert!(sending.await.unwrap_err().is_cancelled(), "{url}");
    }
    settle().await;
    assert_eq!(client.pool().stats().total.active, 0);
}

/// R-9112-6.2-1, R-9110-6.5.1-1, R-9110-10.1.1-1, R-9110-7.1-1, R-9112-3.2.4-1: the client refuses a request whose method,
/// header fields and body contradict each other, and dials no connection.
#[tokio::test]
async fn what_contradicts_itself_is_refused_before_dialing() {
    let lines = Lines::default();
    let client = lines.client();
    let url = "http://h/";
    let stream = || Body::from_stream(Source::new(&[Step::Data("a")]));
    let exact = || Body::wrap(Source::new(&[Step::Data("a")]).sized(1));
    for (name, request) in [
        (
            "R-9112-6.2-1",
            client
                .post(url)
                .header("content-length", 1)
                .header("transfer-encoding", "chunked")
                .body(stream()),
        ),
        ("another length", client.post(url).header("content-length", 2).body("a")),
        ("another length than the size_hint", client.post(url).header("content-length", 2).body(exact())),
        ("a length without content", client.post(url).header("content-length", 2)),
        (
            "two lengths",
            client.post(url).header("content-length", 1).header("content-length", 2).body(stream()),
        ),
        ("another coding", client.post(url).header("transfer-encoding", "gzip").body(stream())),
        (
            "a length with trailers",
            client.post(url).header("content-length", 1).body(stream().with_trailers(trailers("x", "1"))),
        ),
        (
            "R-9110-6.5.1-1",
            client.post(url).body(Body::from("a").with_trailers(trailers("content-length", "1"))),
        ),
        (
            "R-9110-6.5.1-1",
            client.post(url).body(Body::from("a").with_trailers(trailers("authorization", "1"))),
        ),
        ("R-9110-10.1.1-1", client.get(url).expect_continue()),
        ("R-9110-10.1.1-1", client.post(url).expect_continue().body("")),
        ("another expectation", client.post(url).header("expect", "200-ok").body("a")),
        ("content of TRACE", client.request(Method::TRACE, url).body("a")),
        ("content of CONNECT", client.request(Method::CONNECT, url).body(stream())),
        ("a foreign trailer field", client.post(url).header("trailer", "host").body(stream())),
        ("trailers announced behind a length", client.post(url).header("trailer", "x").body("a")),
    ] {
        let error = request.send().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.request_written()),
            (ErrorKind::Request, Written::Nothing),
            "{name}: {error}"
        );
    }
    assert_eq!(lines.count(), 0);
}

/// While the server does not read, the client takes no more content from the source than one write holds. After the first
/// write, this is at most one piece.
#[tokio::test]
async fn a_server_that_does_not_read_holds_the_source_up() {
    for is_known in [true, false] {
        let lines = Lines::default();
        lines.room(0);
        let client = lines.client();
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        let body = Body::from_stream(Counted(counted));
        let mut request = client.post("http://h/").body(body);
        if is_known {
            request = request.header("content-length", PIECES * PIECE);
        }
        let sending = send(request);
        let line = lines.line(0).await;
        for step in 0..100 {
            settle().await;
            let taken = taken.load(Ordering::SeqCst);
            let most =
                if line.len() < GATHERED * PIECE { GATHERED * PIECE } else { line.len() + PIECE + 300 };
            assert!(taken * PIECE <= most, "{taken} pieces taken, {} bytes written", line.len());
            assert!(
                step == 0 || line.len() == step * 700,
                "the client writes as much as the connection takes"
            );
            line.take(700);
        }
        line.take(usize::MAX);
        let line = lines.written(0, if is_known { "xx" } else { "0\r\n\r\n" }).await;
        until("all pieces were taken from the source", || taken.load(Ordering::SeqCst) == PIECES).await;
        line.say(OK);
        let response = sending.await.unwrap().unwrap();
        assert_eq!(response.upload().bytes(), (PIECES * PIECE) as u64);
        assert!(response.upload().is_complete());
    }
}

const PIECES: usize = 300;
const PIECE: usize = 1000;

/// Highest number of pieces in one write.
const GATHERED: usize = 32;
/// Number of bytes of content after which the client adds no further piece to a write.
const ENOUGH: usize = 256 * 1024;

/// The client bounds the pieces and the bytes of content in one write.
#[tokio::test]
async fn so_many_pieces_leave_in_one_write() {
    let large = "x".repeat(ENOUGH / 2 - 1);
    let large: &'static str = large.leak();
    for (name, piece, count, writes) in [
        ("few", "ab", 3, vec![3]),
        ("so many, and more", "ab", GATHERED + 3, vec![GATHERED, 3]),
        ("large", large, 4, vec![3, 1]),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let source = Source::new(&vec![Step::Data(piece); count]);
        let request = client.post("http://h/").header("content-length", count * piece.len());
        let sending = send(request.body(Body::from_stream(source)));
        let line = lines.line(0).await;
        let content = || line.text().split_once("\r\n\r\n").map_or(0, |(_, content)| content.len());
        until("all content is written", || content() == count * piece.len()).await;
        let mut seen: Vec<usize> = line.writes().iter().map(String::len).collect();
        seen[0] -= line.text().len() - content();
        let expected: Vec<usize> = writes.iter().map(|pieces| pieces * piece.len()).collect();
        assert_eq!(seen, expected, "{name}");
        line.say(OK);
        let response = sending.await.unwrap().unwrap();
        assert!(response.upload().is_complete(), "{name}");
        assert_eq!(response.upload().bytes(), (count * piece.len()) as u64, "{name}");
    }
}

/// If the connection accepts only a part of a write of several pieces, `UploadProgress::bytes` counts exactly the bytes of
/// content in that part.
#[tokio::test]
async fn progress_is_exact_within_a_write_of_pieces() {
    use Step::Data;

    let steps = [Data("abc"), Data(""), Data("de"), Data("fghi")];
    for is_known in [true, false] {
        let lines = Lines::default();
        let text = if is_known { "abcdefghi" } else { "3\r\nabc\r\n2\r\nde\r\n4\r\nfghi\r\n0\r\n\r\n" };
        for cut in 0..=text.len() {
            lines.room(0);
            let client = lines.client();
            let mut request = client.post("http://h/").body(Body::from_stream(Source::new(&steps)));
            if is_known {
                request = request.header("content-length", 9);
            }
            let sending = send(request);
            let line = lines.line(cut).await;
            let head = if is_known { KNOWN } else { CHUNKED };
            line.take(head.len() + cut);
            until("the expected part is written", || line.len() == head.len() + cut).await;
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
            let response = sending.await.unwrap().unwrap();
            let taken = text[..cut].bytes().filter(u8::is_ascii_lowercase).count();
            assert_eq!(line.text(), format!("{head}{}", &text[..cut]));
            assert_eq!(response.upload().bytes(), taken as u64, "{cut} of {text:?}");
            assert_eq!(response.upload().is_complete(), cut == text.len(), "{cut} of {text:?}");
        }
    }
}

const KNOWN: &str = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";

/// The client takes pieces from a source for a reused connection, and finds that the server has closed the connection. The
/// client sends these pieces on a new connection, and reports the error that follows these pieces in the source.
#[tokio::test]
async fn pieces_and_the_failure_behind_them_survive_a_closed_connection() {
    use Step::{Data, Fail, Trailer};

    let chunks = "2\r\nhe\r\n2\r\nll\r\n";
    for (name, length, steps, content, is_good) in [
        ("pieces", None, vec![Data("he"), Data("ll")], format!("{chunks}0\r\n\r\n"), true),
        ("a failure", None, vec![Data("he"), Data("ll"), Fail], chunks.to_owned(), false),
        ("a failure at the end", Some(4), vec![Data("he"), Data("ll"), Fail], "he".to_owned(), false),
        ("more than promised", Some(4), vec![Data("he"), Data("ll"), Data("o")], "he".to_owned(), false),
        ("less than promised", Some(5), vec![Data("he"), Data("ll")], "hell".to_owned(), false),
        (
            "trailers behind a known length",
            Some(4),
            vec![Data("he"), Data("ll"), Trailer("x-sum", "7")],
            "he".to_owned(),
            false,
        ),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let sending = send(client.get("http://h/"));
        let line = lines.written(0, "\r\n\r\n").await;
        line.say(OK);
        sending.await.unwrap().unwrap();
        line.eof();
        let mut request = client.post("http://h/").body(Body::wrap(Source::new(&steps)));
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let sending = send(request);
        let line = lines.line(1).await;
        let written = || line.text().split_once("\r\n\r\n").map(|(_, content)| content.to_owned());
        until("the content is written", || written() == Some(content.clone())).await;
        if is_good {
            line.say(OK);
            assert_eq!(sending.await.unwrap().unwrap().upload().bytes(), 4, "{name}");
        } else {
            let error = sending.await.unwrap().unwrap_err();
            assert_eq!((error.kind(), error.request_written()), (ErrorKind::Body, Written::Partly), "{name}");
            assert!(line.is_gone(), "{name}");
        }
        assert_eq!(written(), Some(content), "{name}: only the announced content is written");
    }
}

/// A stream of `PIECES` pieces that counts the pieces that were taken.
struct Counted(Arc<AtomicUsize>);

impl futures_core::Stream for Counted {
    type Item = std::io::Result<Bytes>;

    fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        if self.0.load(Ordering::SeqCst) == PIECES {
            return Poll::Ready(None);
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(vec![b'x'; PIECE].into())))
    }
}

/// Sends a GET on connection `number`. The server answers in HTTP/1.0, so that the client closes the connection.
async fn teach_that_it_is_old(lines: &Lines, client: &Client, number: usize) {
    let sending = send(client.get("http://h/"));
    let line = lines.written(number, "\r\n\r\n").await;
    line.say("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n");
    sending.await.unwrap().unwrap();
}

/// The time that the client waits for the caller's source does not count towards the acquire timeout or the connect timeout.
#[tokio::test(start_paused = true)]
async fn a_slow_source_uses_up_no_time_of_the_pool() {
    let lines = Lines::default();
    let client = lines.builder().acquire_timeout(Duration::from_secs(30)).build().unwrap();
    teach_that_it_is_old(&lines, &client, 0).await;
    let (feed, fed) = tokio::sync::mpsc::channel(1);
    let request = client.post("http://h/").connect_timeout(Duration::from_secs(2));
    let sending = send(request.body(Body::from_stream(Fed(fed))));
    tokio::time::sleep(Duration::from_secs(40)).await;
    feed.send("slow".into()).await.unwrap();
    drop(feed);
    lines.written(1, "content-length: 4\r\n\r\nslow").await.say(OK.replace("1.1", "1.0"));
    let response = sending.await.unwrap().unwrap();
    let timings = *response.timings();
    assert!(
        timings.previous >= Duration::from_secs(40) && timings.queued < Duration::from_secs(1),
        "{timings:?}"
    );
    // The total timeout also ends a request that waits for its source, and the error has the timings of the request.
    let sending = client.post("http://h/").timeout(Duration::from_secs(5));
    let (_feed, fed) = tokio::sync::mpsc::channel::<Bytes>(1);
    let error = sending.body(Body::from_stream(Fed(fed))).send().await.unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Timeout, Written::Nothing));
    assert!(error.timings().is_some());
}

/// An `Expect` field among the client's default headers is sent only with requests that have content.
#[tokio::test]
async fn a_default_expectation_is_left_out_where_there_is_no_content() {
    let mut fields = HeaderMap::new();
    fields.insert("expect", "100-continue".parse().unwrap());
    let file = Temporary::new(b"");
    let lines = Lines::default();
    let client = lines.builder().default_headers(fields).build().unwrap();
    for (name, body) in [
        ("none", Body::empty()),
        ("no bytes", "".into()),
        ("no file", Body::from_file(&file.0).await.unwrap()),
        ("no frames", Body::wrap(Source::new(&[]).sized(0))),
    ] {
        let before = if lines.count() > 0 { lines.line(0).await.len() } else { 0 };
        let sending = send(client.post("http://h/").body(body));
        let line = lines.line(0).await;
        until("the request is sent", || line.len() > before).await;
        assert_eq!(
            &line.text()[before..],
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
            "{name}"
        );
        line.say(OK);
        sending.await.unwrap().unwrap();
    }
}

/// Each call of `with_trailers` adds to the earlier trailers. If there are more trailers or header fields than a `HeaderMap`
/// can hold, the client refuses the request.
#[tokio::test]
async fn trailers_add_up() {
    let lines = Lines::default();
    let client = lines.client();
    let body = Body::wrap(Source::new(&[Step::Data("a"), Step::Trailer("x-a", "3")]));
    let body = body.with_trailers(trailers("x-a", "1")).with_trailers(trailers("x-a", "2"));
    let sending = send(client.post("http://h/").body(body));
    let line = lines.written(0, "0\r\nx-a: 1\r\nx-a: 2\r\nx-a: 3\r\n\r\n").await;
    assert!(line.text().contains("trailer: x-a\r\n"));
    line.say(OK);
    sending.await.unwrap().unwrap();

    let many = |from: usize| -> HeaderMap {
        let names = (from..from + 20_000).map(|at| format!("x-{at}").parse().unwrap());
        names.map(|name: http::HeaderName| (name, "1".parse().unwrap())).collect()
    };
    let body = Body::from("a").with_trailers(many(0)).with_trailers(many(20_000));
    let error = client.post("http://h/").body(body).send().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Request, "the request has too many trailers: send fewer")
    );
    let error = client.get("http://h/").headers(many(0)).headers(many(20_000));
    let error = error.send().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Request, "the request has too many header fields: send fewer")
    );
    assert_eq!(lines.count(), 1);
}

/// A body with trailers does not poll its source again after the source has ended.
#[tokio::test]
async fn a_source_is_not_asked_behind_its_end() {
    struct Once(bool);
    impl futures_core::Stream for Once {
        type Item = Result<&'static str, std::io::Error>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Self::Item>> {
            assert!(!std::mem::replace(&mut self.0, true), "asked again");
            Poll::Ready(None)
        }
    }
    let body = Body::from_stream(Once(false)).with_trailers(trailers("x-a", "1"));
    let collected = http_body_util::BodyExt::collect(body).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-a"], "1");
}

/// After the announced content was sent and the response has begun, more content from the source does not fail the request.
#[tokio::test]
async fn an_exact_upload_is_over_when_the_response_begins() {
    let lines = Lines::default();
    let client = lines.client();
    let (feed, fed) = tokio::sync::mpsc::channel(4);
    feed.send("hello".into()).await.unwrap();
    let request = client.post("http://h/").header("content-length", 5).body(Body::from_stream(Fed(fed)));
    let sending = send(request);
    let line = lines.written(0, "hello").await;
    line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhe");
    let mut response = sending.await.unwrap().unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "he");
    feed.send("more".into()).await.unwrap();
    settle().await;
    line.say("re");
    assert_eq!(response.chunk().await.unwrap().unwrap(), "re");
    assert_eq!(response.chunk().await.unwrap(), None);
    assert!(response.upload().is_complete());
    assert_eq!(client.pool().stats().total.idle, 1);
}

/// The source of an upload fails during the response. The caller first reads the content that has arrived, and then the error.
#[tokio::test]
async fn content_comes_before_the_failure_of_the_upload() {
    let lines = Lines::default();
    let client = lines.client();
    let body = Body::from_stream(Source::new(&[Step::Data("a"), Step::Later, Step::Later, Step::Fail]));
    let sending = send(client.post("http://h/").body(body));
    let line = lines.written(0, "1\r\na\r\n").await;
    line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
    let Ok(mut response) = sending.await.unwrap() else { return };
    line.say("he");
    let mut seen = Vec::new();
    let error = loop {
        match response.chunk().await {
            Ok(Some(data)) => seen.extend_from_slice(&data),
            Ok(None) => panic!("the response ended without an error"),
            Err(error) => break error,
        }
    };
    assert_eq!((&*seen, error.kind()), (&b"he"[..], ErrorKind::Body));
}
