//! Tests of responses that come before the request has ended: interim responses, answers to an expectation, and early final
//! responses. The tests use connections in memory and a paused clock.

#![allow(clippy::unwrap_used, reason = "a test")]

mod early;
mod late;
mod progress;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use handclasp::codec::Limits;
use handclasp::{Body, Client, ErrorKind, Phase, RequestBuilder, Response, UploadProgress, Written};
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::lines;
use crate::support::lines::{Fed, Line, Lines, Source, Step, send, settle};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HEAD_END: &str = "\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

/// Returns a body of each kind. The content of each is `hello`.
fn bodies() -> Vec<(&'static str, Body, &'static str)> {
    let steps = [Step::Data("he"), Step::Later, Step::Data("llo")];
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    vec![
        ("text", "hello".into(), "hello"),
        ("a stream", Body::from_stream(Source::new(&steps)), "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ("an exact body", Body::wrap(Source::new(&steps).sized(5)), "hello"),
        ("trailers", Body::from("hello").with_trailers(trailers), "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"),
    ]
}

/// Returns the bytes that were written after the head.
fn content(line: &Line) -> String {
    line.text().split_once(HEAD_END).map(|(_, content)| content.to_owned()).unwrap()
}

fn progress(upload: UploadProgress) -> (u64, bool, bool) {
    (upload.bytes(), upload.is_complete(), upload.is_aborted())
}

/// Returns the number of idle, active and closed connections.
fn counts(client: &Client) -> (usize, usize, u64) {
    let total = client.pool().stats().total;
    assert_eq!((total.waiting, total.dialing), (0, 0));
    (total.idle, total.active, total.closed_total())
}

/// Makes a connection that carries one request and is then idle in the pool, and returns the server's end.
async fn keep(lines: &Lines, client: &Client) -> Line {
    let sending = send(client.get("http://h/"));
    let line = lines.written(0, HEAD_END).await;
    line.say(OK);
    drop(sending.await.unwrap().unwrap());
    assert_eq!(counts(client), (1, 0, 0));
    line
}

/// R-9110-10.1.1-2: the client sends no byte of the content before the 100, even if the 100 comes just before the timeout.
#[tokio::test(start_paused = true)]
async fn a_100_asks_for_the_content_r_9110_10_1_1_2() {
    for (name, body, expected) in bodies() {
        let lines = Lines::default();
        let client = lines.client();
        let sending = send(client.post("http://h/").expect_continue().body(body));
        let line = lines.written(0, HEAD_END).await;
        assert!(line.text().contains("\r\nexpect: 100-continue\r\n"), "R-9110-10.1.1-2: {name}");
        tokio::time::sleep(SECOND * 9 / 10).await;
        settle().await;
        assert_eq!(content(&line), "", "R-9110-10.1.1-2: {name}");
        for byte in CONTINUE.bytes() {
            assert_eq!(content(&line), "", "{name}");
            line.say([byte]);
            settle().await;
        }
        assert_eq!(content(&line), expected, "{name}");
        // a second 100 has no effect.
        line.say(CONTINUE);
        settle().await;
        line.say(OK);
        let response = sending.await.unwrap().unwrap();
        assert_eq!(progress(response.upload()), (5, true, false), "{name}");
        assert_eq!(response.text().await.unwrap(), "ok");
        assert_eq!((content(&line).as_str(), counts(&client)), (expected, (1, 0, 0)), "{name}");
    }
}

/// R-9110-10.1.1-3, A-75: the client sends the content to a silent server after the timeout of the expectation. A later 100 has no
/// effect.
#[tokio::test(start_paused = true)]
async fn silence_lets_the_content_go_r_9110_10_1_1_3() {
    for after in [None, Some(SECOND * 5), Some(Duration::ZERO)] {
        for (name, body, expected) in bodies() {
            let lines = Lines::default();
            let mut builder = lines.builder();
            if let Some(after) = after {
                builder = builder.expect_continue_timeout(after);
            }
            let client = builder.build().unwrap();
            // The caller's own `expect` field has the same effect.
            let sending = send(client.post("http://h/").header("expect", "100-Continue").body(body));
            let begun = Instant::now();
            let line = lines.line(0).await;
            lines::until("the head is there", || line.text().contains(HEAD_END)).await;
            let after = after.unwrap_or(SECOND);
            while content(&line).is_empty() {
                tokio::time::sleep(SECOND / 10).await;
                settle().await;
                assert!(begun.elapsed() <= after + SECOND / 10, "R-9110-10.1.1-3: {name}");
            }
            assert!(begun.elapsed() >= after, "R-9110-10.1.1-3: {name}");
            assert_eq!(content(&line), expected, "{name}");
            line.say(CONTINUE);
            line.say(OK);
            let response = sending.await.unwrap().unwrap();
            assert_eq!(progress(response.upload()), (5, true, false), "{name}");
            drop(response);
            assert_eq!((content(&line).as_str(), counts(&client)), (expected, (1, 0, 0)), "{name}");
        }
    }
}

/// R-9110-10.1.1-4, A-75: after a 417 the request is sent again once, without the expectation and on a new connection.
#[tokio::test(start_paused = true)]
async fn a_417_brings_the_request_without_the_expectation_r_9110_10_1_1_4() {
    for is_kept in [false, true] {
        for (name, body, expected) in bodies() {
            let lines = Lines::default();
            let client =
                lines.builder().max_connections_per_host(1).expect_continue_above(1).build().unwrap();
            if is_kept {
                keep(&lines, &client).await;
            }
            let sending = send(client.post("http://h/").header("x-mine", "1").body(body));
            let line = lines.written(0, HEAD_END).await;
            settle().await;
            assert!(line.text().contains("expect: 100-continue"));
            // Other interim responses before the 417 have no effect.
            line.say("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
            settle().await;
            line.say("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 3\r\n\r\nno!");
            let line = lines.written(1, expected).await;
            assert!(!line.text().contains("expect"), "R-9110-10.1.1-4: {name}: {}", line.text());
            assert!(line.text().contains("x-mine: 1\r\n"), "{name}");
            settle().await;
            assert_eq!(content(&line), expected, "{name}");
            // A 417 to the second request is returned as the response.
            line.say("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 3\r\n\r\nno!");
            let response = sending.await.unwrap().unwrap();
            assert_eq!(
                (response.status().as_u16(), progress(response.upload())),
                (417, (5, true, false)),
                "{name}"
            );
            assert_eq!(response.text().await.unwrap(), "no!");
            assert_eq!((lines.count(), counts(&client)), (2, (1, 0, 1)), "R-9110-10.1.1-4: {name}");
        }
    }
}

/// A 417 is returned as the response if a part of a stream was sent, or if the request had no expectation.
#[tokio::test(start_paused = true)]
async fn a_417_is_delivered_where_the_request_cannot_be_sent_again() {
    let lines = Lines::default();
    let client = lines.client();
    for (number, request) in [
        client
            .post("http://h/")
            .expect_continue()
            .body(Body::from_stream(Source::new(&[Step::Data("he"), Step::Never]))),
        client.post("http://h/").body(Body::from_stream(Source::new(&[Step::Data("he"), Step::Never]))),
    ]
    .into_iter()
    .enumerate()
    {
        let sending = send(request);
        let line = lines.line(number).await;
        tokio::time::sleep(SECOND * 2).await;
        settle().await;
        assert!(line.text().ends_with("2\r\nhe\r\n"));
        line.say("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
        let response = sending.await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), progress(response.upload())), (417, (2, false, true)));
        assert!(line.is_gone());
        assert_eq!(counts(&client), (0, 0, number as u64 + 1));
    }
}

/// A 417 comes after the client has stopped waiting and sent the content. The client does not send the request again,
/// because the server may have acted on the content.
#[tokio::test(start_paused = true)]
async fn a_417_after_content_was_sent_brings_no_post_again() {
    use http::Method;

    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let kinds: [(&str, &dyn Fn() -> Body, &str, bool); 4] = [
        ("text", &|| "hello".into(), "hello", true),
        ("trailers", &|| Body::from("hello").with_trailers(trailers.clone()), "x-sum: 7\r\n\r\n", true),
        ("a stream", &|| Body::from_stream(Source::new(&[Step::Data("hello")])), "0\r\n\r\n", false),
        // The last chunk is the only content of an empty stream, and completes the request.
        ("a stream of nothing", &|| Body::from_stream(Source::new(&[])), "0\r\n\r\n", true),
    ];
    for is_kept in [false, true] {
        for (method, key, may_be_sent_twice) in [
            (Method::POST, None, false),
            (Method::PATCH, None, false),
            (Method::POST, Some("7"), true),
            (Method::PUT, None, true),
            (Method::QUERY, None, true),
        ] {
            for (name, body, sent, is_replayable) in &kinds {
                let name = format!("{method}, {key:?}, {name}, kept: {is_kept}");
                let lines = Lines::default();
                let client = lines.client();
                if is_kept {
                    keep(&lines, &client).await;
                }
                let mut request =
                    client.request(method.clone(), "http://h/up").expect_continue().body(body());
                if let Some(key) = key {
                    request = request.header("idempotency-key", key);
                }
                let sending = send(request);
                let line = lines.line(0).await;
                lines::until("the head is there", || line.text().contains("/up")).await;
                tokio::time::sleep(SECOND * 2).await;
                let line = lines.written(0, sent).await;
                line.say("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 3\r\n\r\nno!");
                if may_be_sent_twice && *is_replayable {
                    let line = lines.written(1, sent).await;
                    assert!(!line.text().contains("expect"), "{name}");
                    line.say(OK);
                    assert_eq!(sending.await.unwrap().unwrap().status(), StatusCode::OK, "{name}");
                } else {
                    let response = sending.await.unwrap().unwrap();
                    assert_eq!(response.status(), StatusCode::EXPECTATION_FAILED, "{name}");
                    assert!(response.upload().is_complete(), "{name}");
                    assert_eq!(response.text().await.unwrap(), "no!", "{name}");
                    assert_eq!(lines.count(), 1, "{name}: the request was sent once");
                }
            }
        }
    }
}

/// A request is not sent again after a 417 if even a part of its content was sent.
#[tokio::test(start_paused = true)]
async fn a_417_after_a_part_of_the_content_was_sent_brings_no_post_again() {
    let lines = Lines::default();
    lines.room(usize::MAX / 2);
    let client = lines.client();
    let sending = send(client.post("http://h/").expect_continue().body(vec![b'x'; 100]));
    let line = lines.written(0, HEAD_END).await;
    line.block();
    line.take(1);
    tokio::time::sleep(SECOND * 2).await;
    lines.written(0, "\r\n\r\nx").await.say("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
    let response = sending.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), response.upload().bytes(), lines.count()), (417, 1, 1));
}

/// R-9110-10.1.1-5, A-75: a final status ends the wait. The client sends no byte of the content, and closes the connection.
#[tokio::test(start_paused = true)]
async fn a_final_status_spares_the_content_r_9110_10_1_1_5() {
    for status in [200, 204, 302, 401, 413, 500] {
        for (name, body, _) in bodies() {
            let lines = Lines::default();
            let client = lines.client();
            let sending = send(client.post("http://h/").expect_continue().body(body));
            let line = lines.written(0, HEAD_END).await;
            let length = if status == 204 { "" } else { "content-length: 2\r\n" };
            line.say(format!("HTTP/1.1 {status} It\r\nlocation: /other\r\n{length}\r\n"));
            let mut response = sending.await.unwrap().unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(progress(response.upload()), (0, false, true), "R-9110-10.1.1-5: {status}, {name}");
            tokio::time::sleep(SECOND * 5).await;
            if status != 204 {
                line.say("ok");
                assert_eq!(response.chunk().await.unwrap().unwrap(), "ok");
                assert_eq!(response.chunk().await.unwrap(), None);
            }
            assert_eq!(progress(response.upload()), (0, false, true), "{status}, {name}");
            settle().await;
            assert_eq!(content(&line), "", "R-9110-10.1.1-5: {status}, {name}");
            assert_eq!(counts(&client), (0, 0, 1), "{status}, {name}");
            assert!(line.is_gone());
        }
    }
}

/// A 103 during the wait neither asks for the content nor extends the wait.
#[tokio::test(start_paused = true)]
async fn other_interim_responses_do_not_ask_for_the_content() {
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(client.post("http://h/").expect_continue().body("hello"));
    let line = lines.written(0, HEAD_END).await;
    for _ in 0..3 {
        tokio::time::sleep(SECOND / 4).await;
        line.say("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        settle().await;
        assert_eq!(content(&line), "");
    }
    tokio::time::sleep(SECOND / 4 + SECOND / 100).await;
    settle().await;
    assert_eq!(content(&line), "hello", "a second has passed");
    line.say(format!("{CONTINUE}{OK}"));
    assert_eq!(sending.await.unwrap().unwrap().text().await.unwrap(), "ok");
}

/// A connection that is lost during the wait is treated like any other lost connection.
#[tokio::test(start_paused = true)]
async fn a_connection_lost_while_waiting_is_like_any_other() {
    // Columns: whether the connection was reused, whether the request is idempotent, whether a byte came from the
    // server, whether the server resets the connection, and whether the request is sent again.
    for (is_kept, is_idempotent, is_heard, is_reset, is_resent) in [
        (true, true, false, false, true),
        (true, true, false, true, true),
        (true, true, true, false, false),
        (true, false, false, false, false),
        (false, true, false, false, false),
        (false, false, false, true, false),
    ] {
        for (name, body, expected) in bodies() {
            let lines = Lines::default();
            let client = lines.client();
            if is_kept {
                keep(&lines, &client).await;
            }
            let method = if is_idempotent { http::Method::PUT } else { http::Method::POST };
            let sending = send(client.request(method, "http://h/up").expect_continue().body(body));
            let line = lines.line(0).await;
            lines::until("the head is there", || {
                let text = line.text();
                text.contains("/up") && text.ends_with(HEAD_END)
            })
            .await;
            if is_heard {
                line.say("HTTP/1.1 102 Processing\r\n\r\n");
            }
            if is_reset {
                line.reset();
            } else {
                line.eof();
            }
            if is_resent {
                let line = lines.written(1, HEAD_END).await;
                assert!(line.text().contains("expect: 100-continue"), "{name}: it still expects");
                line.say(CONTINUE);
                lines.written(1, expected).await.say(OK);
                let response = sending.await.unwrap().unwrap();
                assert_eq!(progress(response.upload()), (5, true, false), "{name}");
                drop(response);
                assert_eq!(counts(&client), (1, 0, 1), "{name}");
            } else {
                let error = sending.await.unwrap().unwrap_err();
                assert_eq!(
                    (error.kind(), error.request_written()),
                    (ErrorKind::ConnectionLost, Written::Partly),
                    "{name}: {error}"
                );
                assert_eq!(counts(&client), (0, 0, 1), "{name}");
            }
        }
    }
}

/// The client adds the expectation to a request whose content has at least the threshold's length or an unknown length. A
/// request without content never has the expectation.
#[tokio::test(start_paused = true)]
async fn large_content_is_announced_by_itself() {
    let stream = || Body::from_stream(Source::new(&[Step::Data("hello")]));
    for (above, body, expects) in [
        (None, Body::from("x".repeat(100_000)), false),
        (None, stream(), false),
        (Some(5), "hell".into(), false),
        (Some(5), "hello".into(), true),
        (Some(5), Body::wrap(Source::new(&[Step::Data("hello")]).sized(5)), true),
        (Some(5), Body::wrap(Source::new(&[Step::Data("h")]).sized(1)), false),
        (Some(5), stream(), true),
        (Some(0), Body::empty(), false),
        (Some(0), "".into(), false),
        (Some(0), "h".into(), true),
    ] {
        let lines = Lines::default();
        let client = lines.builder().expect_continue_above(above).build().unwrap();
        let name = format!("{above:?}, {body:?}");
        let sending = send(client.post("http://h/").body(body));
        let line = lines.line(0).await;
        settle().await;
        assert_eq!(line.text().contains("expect: 100-continue\r\n"), expects, "{name}");
        assert_eq!(content(&line).is_empty(), expects || line.text().contains("length: 0"), "{name}");
        drop(sending);
    }
}

/// The total timeout also ends the wait, and a request that is dropped during the wait leaves no connection and no
/// count in the pool.
#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_total_timeout_or_by_dropping() {
    let lines = Lines::default();
    let client = lines.builder().expect_continue_timeout(SECOND * 60).build().unwrap();
    let begun = Instant::now();
    let request = client.post("http://h/").expect_continue().body("hello").timeout(SECOND * 7);
    let error = request.send().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Send)));
    assert_eq!((error.request_written(), begun.elapsed().as_secs()), (Written::Partly, 7));
    assert_eq!((content(&lines.line(0).await).as_str(), counts(&client)), ("", (0, 0, 1)));

    let sending = send(client.post("http://h/").expect_continue().body("hello"));
    let line = lines.written(1, HEAD_END).await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    assert_eq!((content(&line).as_str(), counts(&client)), ("", (0, 0, 2)));
}

/// Returns a builder with a hook for interim responses, and the list of the responses that the hook has received.
fn told(builder: handclasp::ClientBuilder) -> (handclasp::ClientBuilder, Told) {
    let told = Told::default();
    let hook = told.clone();
    let builder = builder.on_informational(move |status, headers| {
        let fields = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        hook.lock().unwrap().push((status.as_u16(), fields.collect()));
    });
    (builder, told)
}

type Told = Arc<Mutex<Vec<(u16, Vec<String>)>>>;

/// R-8297-2-1, R-9110-15.2-1: the hook is called for all interim responses, in order and with their fields, which do
/// not appear in the final response.
#[tokio::test(start_paused = true)]
async fn interim_responses_are_told_of_r_8297_2_1() {
    let lines = Lines::default();
    let (builder, told) = told(lines.builder());
    let client = builder.build().unwrap();
    let sending = send(client.post("http://h/").expect_continue().body("hello"));
    let line = lines.written(0, HEAD_END).await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </b>\r\nX-A: 1\r\nlink: </a>\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\n\r\n";
    line.say(hints);
    line.say(CONTINUE);
    lines.written(0, "hello").await;
    line.say(format!("HTTP/1.1 102 Processing\r\n\r\n{hints}HTTP/1.1 199 What\r\n\r\n{OK}"));
    let response = sending.await.unwrap().unwrap();
    assert_eq!(response.headers().len(), 1, "R-8297-2-1");
    assert_eq!(response.text().await.unwrap(), "ok");
    let fields = ["link: </b>", "link: </a>", "x-a: 1", "content-length: 9", "set-cookie: a=b"]
        .map(String::from)
        .to_vec();
    let expected =
        [(103, fields.clone()), (100, vec![]), (102, vec![]), (103, fields), (199, vec![])].to_vec();
    assert_eq!(*told.lock().unwrap(), expected, "R-8297-2-1");
    assert_eq!(counts(&client), (1, 0, 0));
}

/// A response may follow at most a hundred interim responses, with a bounded number of bytes. A 100 is one of the hundred.
#[tokio::test(start_paused = true)]
async fn interim_responses_are_bounded() {
    for (number, size, is_taken) in [(100, 0, true), (101, 0, false), (1, 60_000, true), (3, 60_000, false)] {
        let lines = Lines::default();
        let (builder, told) = told(lines.builder());
        let client = builder.build().unwrap();
        let sending = send(client.get("http://h/"));
        let line = lines.written(0, HEAD_END).await;
        for at in 0..number {
            let status = if at % 2 == 0 { 100 } else { 103 };
            line.say(format!("HTTP/1.1 {status} X\r\nx-pad: {}\r\n\r\n", "x".repeat(size)));
        }
        line.say(OK);
        let outcome = sending.await.unwrap();
        if is_taken {
            assert_eq!(outcome.unwrap().status(), StatusCode::OK, "{number} of {size}");
            assert_eq!(told.lock().unwrap().len(), number);
        } else {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Protocol, "{number} of {size}");
            assert!(told.lock().unwrap().len() < number);
            assert_eq!(counts(&client), (0, 0, 1));
        }
    }
}

/// The timeout of the response head starts at the end of the request. Interim responses before the head do not restart the
/// timeout.
#[tokio::test(start_paused = true)]
async fn interim_responses_do_not_extend_the_heads_deadline() {
    let lines = Lines::default();
    let mut limits = Limits::default();
    (limits.informational, limits.informational_bytes) = (usize::MAX, usize::MAX);
    let client = lines.builder().codec_limits(limits).response_timeout(SECOND * 30).build().unwrap();
    let begun = Instant::now();
    let sending = send(client.get("http://h/"));
    let line = lines.written(0, HEAD_END).await;
    while !sending.is_finished() {
        tokio::time::sleep(SECOND).await;
        line.say("HTTP/1.1 102 Processing\r\n\r\n");
        settle().await;
    }
    let error = sending.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Wait)));
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(error.request_written(), Written::All);
}

/// Sends a request whose source the test feeds, sends the first piece, and answers the request early.
async fn early(
    lines: &Lines,
    client: &Client,
    number: usize,
    answer: &str,
) -> (mpsc::Sender<Bytes>, Line, Response) {
    let (feed, fed) = mpsc::channel(64);
    let sending = send(client.post("http://h/").body(Body::from_stream(Fed(fed))));
    feed.send("one".into()).await.unwrap();
    let line = lines.written(number, "3\r\none\r\n").await;
    line.say(answer);
    (feed, line, sending.await.unwrap().unwrap())
}

/// A builder that is never sent does nothing. A request that is built and executed has the expectation as well.
#[tokio::test(start_paused = true)]
async fn a_built_request_expects_as_well() {
    let lines = Lines::default();
    let client = lines.client();
    let request: RequestBuilder = client.post("http://h/").expect_continue().body("hello");
    let again = request.try_clone().unwrap();
    drop(request);
    let request = again.build().unwrap();
    let executing = tokio::spawn(async move { client.execute(request).await });
    let line = lines.written(0, HEAD_END).await;
    settle().await;
    assert_eq!(content(&line), "");
    line.say(CONTINUE);
    lines.written(0, "hello").await.say(OK);
    assert!(executing.await.unwrap().unwrap().upload().is_complete());
}
