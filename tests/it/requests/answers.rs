//! Tests of responses as the caller gets them: early responses, every status, fields as the server sent them, and responses
//! that end an upload.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use handclasp::{Body, Client, ErrorKind, Written};
use http::StatusCode;

use super::{Endless, Pieces, Promise, Recorder, method};
use crate::support::{Server, Signal, within};

/// Long request lines are sent whole, and long response lines arrive whole.
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

/// The client sends exactly as many bytes of a stream as the request announced, or closes the connection.
#[tokio::test]
async fn a_stream_keeps_its_promise_or_the_connection_ends() {
    for (pieces, came, written) in [
        (&["four"][..], Some("four"), None),
        (&["fo", "ur"], Some("four"), None),
        // The source gives too little content. The client sends this content and adds nothing to it.
        (&["fou"], Some("fou"), Some(Written::Partly)),
        (&["f", "ou"], Some("fou"), Some(Written::Partly)),
        // The source gives too much content or none. The client does not send surplus content.
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
            // The client closes the connection of a broken request, and makes no other connection for the request.
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

/// The response comes before the request has ended, and tells the client to stop the upload. The client takes no more
/// content from the source, even if the response takes long or the server would read more.
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
            // The loop of the server ends when the client closes the connection.
            peer.stall()
        });
        let taken = Arc::new(AtomicUsize::new(0));
        let builder = Client::builder();
        #[cfg(feature = "url")]
        let builder = builder.redirect(handclasp::redirect::Policy::none());
        let client = builder.build().unwrap();
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

/// Event on the server's side after its octets.
#[derive(Clone, Copy, Debug)]
enum Then {
    Stays,
    Fin,
    Reset,
}

/// Outcome of a response, and whether its connection is kept.
type Made = Result<(u16, &'static str, bool), ErrorKind>;

#[tokio::test]
async fn each_response_is_read_by_its_rule() {
    use Then::{Fin, Reset, Stays};

    let huge = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000)).into_boxed_str());
    for (rules, asked, wire, then, expected) in [
        // The request's method decides whether content comes.
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
        // A cut response is no success.
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
        // The client refuses a line that is too long instead of skipping the line, because its field might have mattered.
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
        // These rows have unusual line ends. After the client has accepted a lone LF, it does not reuse the connection. A
        // lone CR is never a line end.
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
        // Field values.
        ("R-9110-5.5-2", "GET", "HTTP/1.1 204 OK\r\nA: b\0c\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-2", "GET", "HTTP/1.1 204 OK\r\nA: b\0\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-2", "GET", "HTTP/1.1 204 OK\r\nA: b\r\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-3", "GET", "HTTP/1.1 204 OK\r\nA: b\u{1}c\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        ("R-9110-5.5-3", "GET", "HTTP/1.1 204 OK\r\nA: \u{b}b\r\n\r\n", Stays, Err(ErrorKind::Protocol)),
        // These rows have fields that frame the content, and fields that would frame the content in another way.
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
        // Trailers and an empty line follow the last chunk.
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
        // The client ignores empty elements of lists.
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
        // The client refuses ambiguous input.
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
                        // The server resets only after the client has read the head, because a reset discards unread bytes.
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

/// One response with fields that must not be lost, joined or obeyed.
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
    // The client returns the octets of the wire, whatever the field says about their coding.
    assert_eq!(within(20, response.text()).await.unwrap(), "ok", "R-9111-3-1");
}

/// Without a policy that follows redirects, no status makes the client send another request, or send the credentials of the
/// URL again. The first request had these credentials. This is A-63 of the list of attacks.
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
    let builder = recorder.builder();
    #[cfg(feature = "url")]
    let builder = builder.redirect(handclasp::redirect::Policy::none());
    let client = builder.build().unwrap();
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
        let expected = format!(
            "POST /{status} HTTP/1.1\r\nhost: a.test\r\nauthorization: Basic dXNlcjpzZWNyZXQ=\r\n\
             content-length: 1\r\n\r\nx"
        );
        assert_eq!(sent, expected, "{rules}");
        assert_eq!(recorder.server.seen().len(), asked, "{rules}: {status} was followed by another request");
    }
    assert_eq!(recorder.server.requests_per_connection(), [asked], "R-9110-15.5.22-1");
}
