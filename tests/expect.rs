//! What a server says before the request has ended: interim responses, answers to an expectation, and early final
//! responses. In memory, in paused time.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/lines.rs"]
mod lines;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use handclasp::codec::Limits;
use handclasp::{Body, Client, ErrorKind, Phase, RequestBuilder, Response, UploadProgress, Written};
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::lines::{Fed, Line, Lines, Source, Step, send, settle};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HEAD_END: &str = "\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

/// A body of each kind, all of them `hello`.
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

/// What was written behind the head.
fn content(line: &Line) -> String {
    line.text().split_once(HEAD_END).map(|(_, content)| content.to_owned()).unwrap()
}

fn progress(upload: UploadProgress) -> (u64, bool, bool) {
    (upload.bytes(), upload.is_complete(), upload.is_aborted())
}

/// The connection counts: idle and active ones, and those that were closed.
fn counts(client: &Client) -> (usize, usize, u64) {
    let total = client.pool().stats().total;
    assert_eq!((total.waiting, total.dialing), (0, 0));
    (total.idle, total.active, total.closed_total())
}

/// Two connections: a kept one that the client believes to be alive, and none yet.
async fn keep(lines: &Lines, client: &Client) -> Line {
    let sending = send(client.get("http://h/"));
    let line = lines.written(0, HEAD_END).await;
    line.say(OK);
    drop(sending.await.unwrap().unwrap());
    assert_eq!(counts(client), (1, 0, 0));
    line
}

/// R-9110-10.1.1-2: no byte of the content comes before the 100, however long that takes within the timeout.
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
        // Another one means nothing.
        line.say(CONTINUE);
        settle().await;
        line.say(OK);
        let response = sending.await.unwrap().unwrap();
        assert_eq!(progress(response.upload()), (5, true, false), "{name}");
        assert_eq!(response.text().await.unwrap(), "ok");
        assert_eq!((content(&line).as_str(), counts(&client)), (expected, (1, 0, 0)), "{name}");
    }
}

/// R-9110-10.1.1-3: a server that says nothing is not waited for for ever; one that says it later does no harm.
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
            // The caller's own field is the same.
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

/// R-9110-10.1.1-4: 417 brings the request again, once, without the expectation and on a new connection.
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
            // What else is said meanwhile changes nothing.
            line.say("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
            settle().await;
            line.say("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 3\r\n\r\nno!");
            let line = lines.written(1, expected).await;
            assert!(!line.text().contains("expect"), "R-9110-10.1.1-4: {name}: {}", line.text());
            assert!(line.text().contains("x-mine: 1\r\n"), "{name}");
            settle().await;
            assert_eq!(content(&line), expected, "{name}");
            // A second one is an answer.
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

/// A 417 after some of a stream was sent, or to a request that expected nothing, is an answer.
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

/// The content was not held back any longer, and then a 417 comes: the server may have acted on what it got.
#[tokio::test(start_paused = true)]
async fn a_417_after_content_was_sent_brings_no_post_again() {
    use http::Method;

    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let kinds: [(&str, &dyn Fn() -> Body, &str, bool); 4] = [
        ("text", &|| "hello".into(), "hello", true),
        ("trailers", &|| Body::from("hello").with_trailers(trailers.clone()), "x-sum: 7\r\n\r\n", true),
        ("a stream", &|| Body::from_stream(Source::new(&[Step::Data("hello")])), "0\r\n\r\n", false),
        // Its end is all that there is to send, and says that the request is complete.
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
                    assert_eq!(lines.count(), 1, "{name}: it was sent once");
                }
            }
        }
    }
}

/// A part of the content is content as well.
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

/// R-9110-10.1.1-5: a final status ends the wait: not one byte of content is sent, and the connection ends.
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

/// 103 in between neither asks for the content nor extends the wait.
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

/// A connection that is lost while it is waited on: as any other.
#[tokio::test(start_paused = true)]
async fn a_connection_lost_while_waiting_is_like_any_other() {
    // Whether it was kept, whether the request may be repeated, whether anything was heard; whether it is sent again.
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

/// From the threshold on, and for content of unknown length, the field is there by itself; never without content.
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

/// The total timeout does not wait for the expectation's; and who gives up while waiting leaves nothing behind.
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

/// Tells what the hook was told.
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

/// R-8297-2-1, R-9110-15.2-1: all interim responses are told of, in order and with their fields, which are not among
/// those of the final one.
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

/// A hundred of them, and so many bytes; 100 counts as well.
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

/// The head's deadline stands from the moment the request was written, whatever comes before the head.
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

/// A source that the test feeds, and a request of it whose first piece was sent and that was answered early.
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

/// R-9110-7.5-1: an answer that neither refuses nor closes: the upload goes on while the body is polled, and only then.
#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_while_the_body_is_read_r_9110_7_5_1() {
    for closes in [false, true] {
        let lines = Lines::default();
        let mut builder = lines.builder();
        if closes {
            // That the request says close is no word of the server's.
            builder = builder.max_idle(0);
        }
        let client = builder.build().unwrap();
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let (feed, line, mut response) = early(&lines, &client, 0, answer).await;
        assert_eq!(progress(response.upload()), (3, false, false), "R-9110-7.5-1");
        feed.send("two!".into()).await.unwrap();
        settle().await;
        assert!(!line.text().contains("two!"), "nobody reads");
        let mut reading = Box::pin(async {
            let piece = response.chunk().await.unwrap();
            (response, piece)
        });
        tokio::select! {
            _ = &mut reading => panic!("nothing came"),
            _ = lines.written(0, "4\r\ntwo!\r\n") => {}
        }
        line.say("2\r\nok\r\n");
        let (mut response, piece) = reading.await;
        assert_eq!(piece.unwrap(), "ok");
        assert_eq!(progress(response.upload()), (7, false, false));
        drop(feed);
        settle().await;
        assert!(line.text().ends_with("two!\r\n"), "nobody reads");
        let mut ending = Box::pin(async {
            let piece = response.chunk().await.unwrap();
            (response, piece)
        });
        tokio::select! {
            _ = &mut ending => panic!("it has not ended"),
            _ = lines.written(0, "two!\r\n0\r\n\r\n") => {}
        }
        line.say("0\r\n\r\n");
        let (response, piece) = ending.await;
        assert_eq!((piece, progress(response.upload())), (None, (7, true, false)), "R-9110-7.5-1");
        assert_eq!(counts(&client), if closes { (0, 0, 1) } else { (1, 0, 0) });
    }
}

/// R-9112-9.5-4: an answer that refuses stops the upload at once, whatever is ready.
#[tokio::test(start_paused = true)]
async fn an_upload_stops_at_a_refusal_r_9112_9_5_4() {
    for (name, head) in [
        ("413", "HTTP/1.1 413 Too Large\r\n"),
        ("413 and close", "HTTP/1.1 413 Too Large\r\nconnection: close\r\n"),
        ("413 in HTTP/1.0", "HTTP/1.0 413 Too Large\r\n"),
        ("500", "HTTP/1.1 500 Oh\r\n"),
        ("302", "HTTP/1.1 302 Found\r\nlocation: /\r\n"),
        ("300 and close", "HTTP/1.1 300 Multiple\r\nconnection: close\r\n"),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let (feed, line, mut response) =
            early(&lines, &client, 0, &format!("{head}content-length: 4\r\n\r\n")).await;
        feed.send("two".into()).await.unwrap();
        for piece in ["no", "no"] {
            line.say(piece);
            assert_eq!(response.chunk().await.unwrap().unwrap(), piece, "{name}");
        }
        assert_eq!(progress(response.upload()), (3, false, true), "R-9112-9.5-4: {name}");
        assert_eq!(response.chunk().await.unwrap(), None);
        assert_eq!(progress(response.upload()), (3, false, true), "R-9112-9.5-4: {name}");
        assert!(line.text().ends_with("3\r\none\r\n"), "R-9112-9.5-4: {name}");
        assert!(line.is_gone(), "R-9112-9.5-4: {name}");
        assert_eq!(counts(&client), (0, 0, 1), "{name}");
    }
}

/// A server that reads all of the content before its refusal goes on is not waited for in vain: it is told that no more
/// comes, once, though that cannot be told at once.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_waits_for_the_content_is_told_that_none_comes() {
    for is_held in [false, true] {
        for framing in ["content-length: 3\r\n\r\n", "transfer-encoding: chunked\r\n\r\n"] {
            let name = format!("{framing:?}, held: {is_held}");
            let lines = Lines::default();
            let client = lines.client();
            let answer = format!("HTTP/1.1 413 Too Large\r\n{framing}");
            let (_feed, line, mut response) = early(&lines, &client, 0, &answer).await;
            line.hold_shutdown(is_held);
            let begun = Instant::now();
            let reading = tokio::spawn(async move { response.chunk().await.unwrap().unwrap() });
            tokio::time::sleep(SECOND / 2).await;
            assert!(!line.is_shut(), "{name}: it has its time");
            if is_held {
                tokio::time::sleep(SECOND * 10).await;
                assert!(!line.is_shut(), "{name}");
                line.hold_shutdown(false);
            }
            while !line.is_shut() {
                tokio::time::sleep(SECOND / 10).await;
                assert!(begun.elapsed() < SECOND * 15, "{name}: it is told nothing");
            }
            // What it says then is read.
            line.say(if framing.contains("chunked") { "3\r\nno!\r\n" } else { "no!" });
            assert_eq!(reading.await.unwrap(), "no!", "{name}");
        }
    }
}

/// The end of our direction that cannot be sent holds off no timeout.
#[tokio::test(start_paused = true)]
async fn a_shutdown_that_does_not_end_holds_off_no_timeout() {
    let lines = Lines::default();
    let client = lines.client();
    let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\n";
    let (_feed, line, mut response) = early(&lines, &client, 0, answer).await;
    line.hold_shutdown(true);
    let begun = Instant::now();
    let error = response.chunk().await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::Timeout, 120));
}

/// The end of our direction disturbs no response that is under way, none whose end is that of the connection, and none of a
/// server that had no content to wait for: some servers cut the response off then.
#[tokio::test(start_paused = true)]
async fn a_response_that_pauses_is_not_told_that_no_content_comes() {
    for (name, expects, head, content) in [
        ("begun", false, "413 Too Large\r\ncontent-length: 5\r\n", ["no", "no!"]),
        (
            "a chunk",
            false,
            "500 Oh\r\ntransfer-encoding: chunked\r\n",
            ["2\r\nno\r\n", "3\r\nno!\r\n0\r\n\r\n"],
        ),
        (
            "begun a chunk",
            false,
            "302 Found\r\ntransfer-encoding: chunked\r\n",
            ["5\r\nno", "no!\r\n0\r\n\r\n"],
        ),
        ("until the close", false, "401 No\r\n", ["", "nono!"]),
        ("until the close, begun", false, "401 No\r\nconnection: close\r\n", ["no", "no!"]),
        ("expected", true, "413 Too Large\r\ncontent-length: 5\r\n", ["", "nono!"]),
        ("expected, begun", true, "413 Too Large\r\ncontent-length: 5\r\n", ["no", "no!"]),
        ("expected, until the close", true, "401 No\r\nconnection: close\r\n", ["no", "no!"]),
        (
            "expected, a success",
            true,
            "200 OK\r\ntransfer-encoding: chunked\r\n",
            ["", "5\r\nnono!\r\n0\r\n\r\n"],
        ),
    ] {
        for as_one in [false, true] {
            let lines = Lines::default();
            let client = lines.client();
            let request = client.put("http://h/");
            let request = if expects { request.expect_continue() } else { request };
            let sending =
                send(request.body(Body::from_stream(Source::new(&[Step::Data("one"), Step::Never]))));
            let line = lines.written(0, if expects { HEAD_END } else { "3\r\none\r\n" }).await;
            line.say(format!("HTTP/1.1 {head}\r\n{}", content[0]));
            let mut response = sending.await.unwrap().unwrap();
            let reading = tokio::spawn(async move {
                if as_one {
                    return response.text().await.unwrap();
                }
                let mut text = Vec::new();
                while let Some(piece) = response.chunk().await.unwrap() {
                    text.extend_from_slice(&piece);
                }
                String::from_utf8(text).unwrap()
            });
            tokio::time::sleep(SECOND * 100).await;
            assert!(!line.is_shut(), "{name}, as one: {as_one}");
            line.say(content[1]);
            line.eof();
            assert_eq!(reading.await.unwrap(), "nono!", "{name}, as one: {as_one}");
        }
    }
}

/// A 2xx never stops the upload: neither by a close, of whichever side, nor by its version, nor by being complete. Its
/// end comes when the upload has ended, and nothing is cut off.
#[tokio::test(start_paused = true)]
async fn a_success_never_stops_the_upload() {
    for (name, head, content, end, is_kept) in [
        ("keep-alive", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", "ok", false, true),
        ("close", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n", "ok", false, false),
        (
            "close and a FIN",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n",
            "ok",
            true,
            false,
        ),
        ("a FIN", "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n", "ok", true, false),
        ("chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n", false, true),
        (
            "chunks and close",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
            false,
            false,
        ),
        ("until the close", "HTTP/1.1 200 OK\r\n", "ok", true, false),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n", "ok", false, false),
        ("HTTP/1.0, until the close", "HTTP/1.0 200 OK\r\n", "ok", true, false),
        (
            "HTTP/1.0 keep-alive",
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n",
            "ok",
            false,
            true,
        ),
        ("no content", "HTTP/1.1 204 No Content\r\n", "", false, true),
        ("no content, and close", "HTTP/1.1 204 No Content\r\nconnection: close\r\n", "", false, false),
        ("empty", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", "", false, true),
        (
            "close said by a 103",
            "HTTP/1.1 103 Hints\r\nconnection: close\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
            "ok",
            false,
            false,
        ),
    ] {
        for own_close in [false, true] {
            for with_head in [true, false] {
                for kind in ["a stream", "a stream of known length", "bytes", "bytes in chunks"] {
                    let name = format!("{name}, own close: {own_close}, with the head: {with_head}, {kind}");
                    let lines = Lines::default();
                    lines.room(500);
                    let builder = lines.builder();
                    let client = if own_close { builder.max_idle(0) } else { builder }.build().unwrap();
                    let pieces = vec![Step::Data("0123456789"); 1000];
                    let stream = || Body::from_stream(Source::new(&pieces));
                    let request = client.post("http://h/");
                    let request = match kind {
                        "a stream" => request.body(stream()),
                        "a stream of known length" => request.header("content-length", 10_000).body(stream()),
                        "bytes" => request.body("0123456789".repeat(1000)),
                        _ => request.header("transfer-encoding", "chunked").body("0123456789".repeat(1000)),
                    };
                    let sending = send(request);
                    let line = lines.line(0).await;
                    lines::until("all room is taken", || line.len() == 500).await;
                    line.say(if with_head { format!("{head}\r\n{content}") } else { format!("{head}\r\n") });
                    if with_head && end {
                        line.eof();
                    }
                    let mut response = sending.await.unwrap().unwrap();
                    if !with_head {
                        line.say(content);
                        if end {
                            line.eof();
                        }
                    }
                    let expected = if content.is_empty() { "" } else { "ok" };
                    let reading = tokio::spawn(async move {
                        let mut text = Vec::new();
                        while let Some(piece) = response.chunk().await? {
                            text.extend_from_slice(&piece);
                        }
                        Ok::<_, handclasp::Error>((String::from_utf8(text).unwrap(), response.upload()))
                    });
                    // The server takes its time, longer than any timeout, but never pauses for so long.
                    for _ in 0..20 {
                        tokio::time::sleep(SECOND * 30).await;
                        assert!(!reading.is_finished(), "{name}: the end came before that of the upload");
                        line.take(100);
                    }
                    settle().await;
                    assert_eq!(line.len(), 2500, "{name}");
                    line.take(usize::MAX);
                    let (text, upload) = reading.await.unwrap().unwrap();
                    assert_eq!(text, expected, "{name}");
                    assert_eq!(progress(upload), (10_000, true, false), "{name}");
                    let sent = self::content(&line).matches("0123456789").count();
                    assert!(sent == 1000 || kind == "bytes", "{name}: {sent} pieces");
                    if kind.contains("chunks") || kind == "a stream" {
                        assert!(line.text().ends_with("\r\n0\r\n\r\n"), "{name}");
                    }
                    let is_kept = is_kept && !own_close;
                    assert_eq!(counts(&client), if is_kept { (1, 0, 0) } else { (0, 0, 1) }, "{name}");
                }
            }
        }
    }
}

/// The same where all of the content is one piece, of which the server took a part.
#[tokio::test(start_paused = true)]
async fn a_piece_that_was_begun_is_not_ended_after_a_refusal_r_9112_9_5_4() {
    for is_known in [true, false] {
        let lines = Lines::default();
        lines.room(1000);
        let client = lines.client();
        let mut request = client.post("http://h/").body(vec![b'x'; 1 << 20]);
        if !is_known {
            request = request.header("transfer-encoding", "chunked");
        }
        let sending = send(request);
        let line = lines.written(0, "xxx").await;
        line.say("HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\n");
        let mut response = sending.await.unwrap().unwrap();
        let sent = content(&line).trim_start_matches("100000\r\n").len() as u64;
        assert_eq!(progress(response.upload()), (sent, false, false), "known: {is_known}");
        line.take(usize::MAX);
        // The write timeout does not concern what is given up.
        tokio::time::timeout(SECOND * 100, response.chunk()).await.unwrap_err();
        assert_eq!(line.len(), 1000, "R-9112-9.5-4");
        assert_eq!(progress(response.upload()), (sent, false, true), "R-9112-9.5-4: known: {is_known}");
        line.say("no!!");
        assert_eq!(response.chunk().await.unwrap().unwrap(), "no!!");
        assert_eq!(response.chunk().await.unwrap(), None);
        assert_eq!(progress(response.upload()), (sent, false, true));
        let error = response.error_for_status().unwrap_err();
        assert_eq!(error.request_written(), Written::Partly);
        assert_eq!((line.len(), counts(&client)), (1000, (0, 0, 1)));
    }
}

/// A response that is complete waits for its upload, and for what the upload waits for; one that is dropped ends both, and
/// the connection.
#[tokio::test(start_paused = true)]
async fn a_complete_success_waits_for_its_upload_and_a_dropped_one_ends_it() {
    let lines = Lines::default();
    let client = lines.client();
    let (feed, line, mut response) = early(&lines, &client, 0, OK).await;
    assert_eq!(progress(response.upload()), (3, false, false), "all of the response is here");
    assert_eq!(response.chunk().await.unwrap().unwrap(), "ok");
    let reading = tokio::spawn(async move { (response.chunk().await, response) });
    // The caller's source has its time: no timeout but the total one runs.
    tokio::time::sleep(SECOND * 1000).await;
    assert!(!reading.is_finished());
    feed.send("two".into()).await.unwrap();
    lines.written(0, "3\r\ntwo\r\n").await;
    drop(feed);
    let (end, response) = reading.await.unwrap();
    assert_eq!((end.unwrap(), progress(response.upload())), (None, (6, true, false)));
    assert!(line.text().ends_with("3\r\ntwo\r\n0\r\n\r\n"));
    assert_eq!(counts(&client), (1, 0, 0));
    client.pool().close_idle();

    for answer in [OK, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"] {
        for reads in [false, true] {
            let number = lines.count();
            let (feed, line, mut response) = early(&lines, &client, number, answer).await;
            if reads {
                line.say(if answer.ends_with("ok") || answer.contains("204") { "" } else { "ok" });
                tokio::time::timeout(SECOND, async { while response.chunk().await.unwrap().is_some() {} })
                    .await
                    .unwrap_err();
            }
            drop(response);
            assert!(line.is_gone() && feed.is_closed(), "{answer:?}, read: {reads}");
            assert_eq!(counts(&client), (0, 0, number as u64 + 1), "{answer:?}, read: {reads}");
        }
    }
}

/// An upload that fails after a complete success: the response ends well where the server has gone or takes no more, and
/// fails where the caller's own source did, or the total timeout passes.
#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_behind_a_complete_success_ends_the_response() {
    for answer in [OK, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"] {
        for way in [
            "reset",
            "reset while the source pauses",
            "FIN while the source pauses",
            "silence",
            "surplus, then silence",
            "total timeout",
            "source",
        ] {
            let lines = Lines::default();
            lines.room(5000);
            let client = lines.builder().write_timeout(SECOND * 10).build().unwrap();
            let mut request = client.post("http://h/");
            if way == "total timeout" {
                request = request.timeout(SECOND * 5);
            }
            let mut steps = vec![Step::Data("0123456789"); 1000];
            match way {
                way if way.ends_with("pauses") => steps[100] = Step::Never,
                "source" => steps[500] = Step::Fail,
                _ => {}
            }
            let sending = send(request.body(Body::from_stream(Source::new(&steps))));
            let line = lines.line(0).await;
            let room = if way.ends_with("pauses") { 1000 } else { 5000 };
            lines::until("it is under way", || line.len() >= room).await;
            line.say(answer);
            if way.starts_with("surplus") {
                line.say("more");
            }
            let mut response = sending.await.unwrap().unwrap();
            let begun = Instant::now();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "ok", "{way}");
            let reading = tokio::spawn(async move { (response.chunk().await, response.upload()) });
            settle().await;
            assert!(!reading.is_finished(), "{way}");
            match way {
                "source" => line.take(usize::MAX),
                way if way.starts_with("reset") => line.reset(),
                way if way.starts_with("FIN") => line.eof(),
                _ => {}
            }
            let (end, upload) = reading.await.unwrap();
            assert!(upload.is_aborted() && upload.bytes() < 10_000, "{way}: {upload:?}");
            match way {
                "source" => assert_eq!(end.unwrap_err().kind(), ErrorKind::Body, "{way}"),
                "total timeout" => {
                    assert_eq!(end.unwrap_err().kind(), ErrorKind::Timeout, "{way}");
                    assert_eq!(begun.elapsed().as_secs(), 5, "{way}");
                }
                _ => assert_eq!(end.unwrap(), None, "{way}"),
            }
            if way.ends_with("silence") {
                assert_eq!(begun.elapsed().as_secs(), 10, "{way}");
            }
            assert!(line.is_gone(), "{way}");
            assert_eq!(counts(&client), (0, 0, 1), "{way}");
        }
    }
}

/// An upload that a failed write ended stays aborted when the error has been told, though all of it was framed.
#[tokio::test(start_paused = true)]
async fn an_upload_that_a_write_ended_stays_aborted() {
    for end in ["reset", "FIN"] {
        for head in ["content-length: 20\r\n\r\nok", "transfer-encoding: chunked\r\n\r\n9\r\nok"] {
            let name = format!("{head:?}, {end}");
            let lines = Lines::default();
            lines.room(500);
            let client = lines.client();
            let sending = send(client.post("http://h/").body("0123456789".repeat(1000)));
            let line = lines.line(0).await;
            lines::until("all room is taken", || line.len() == 500).await;
            line.say(format!("HTTP/1.1 200 OK\r\n{head}"));
            let mut response = sending.await.unwrap().unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "ok", "{name}");
            assert!(!response.upload().is_aborted(), "{name}");
            // What comes lets the upload have its turn, whose write fails.
            line.say("ok");
            line.reset();
            if end == "FIN" {
                line.eof();
            }
            assert_eq!(response.chunk().await.unwrap().unwrap(), "ok", "{name}");
            assert!(response.upload().is_aborted(), "{name}: before the error");
            for _ in 0..2 {
                let error = response.chunk().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{name}");
                assert_eq!(error.request_written(), Written::Partly, "{name}");
                assert!(response.upload().is_aborted(), "{name}: behind the error");
            }
        }
    }
}

/// The server ends its direction behind a complete success, or says more than the response first: a pause of the caller's
/// source is limited by the read timeout, and all content is sent.
#[tokio::test(start_paused = true)]
async fn a_source_may_pause_behind_a_success_and_a_fin() {
    for surplus in ["", "\r\n", "more", &"x".repeat(5000), &"\n".repeat(5000)] {
        let name = format!("{} bytes of surplus", surplus.len());
        let lines = Lines::default();
        let client = lines.client();
        let (feed, line, mut response) = early(&lines, &client, 0, OK).await;
        line.say(surplus);
        line.eof();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "ok", "{name}");
        let reading = tokio::spawn(async move { (response.chunk().await, response.upload()) });
        for _ in 0..4 {
            tokio::time::sleep(SECOND * 100).await;
            assert!(!reading.is_finished(), "{name}");
            feed.send("two".into()).await.unwrap();
        }
        lines::until("all was sent", || line.text().matches("two").count() == 4).await;
        drop(feed);
        let (end, upload) = reading.await.unwrap();
        assert_eq!((end.unwrap(), progress(upload)), (None, (15, true, false)), "{name}");
        assert!(line.text().ends_with("\r\n0\r\n\r\n"), "{name}");
        assert_eq!(counts(&client), (0, 0, 1), "{name}");
    }
}

/// Bytes behind a complete success hide no close of the server's: a reset ends the response at once, a FIN or endless bytes
/// end it when the source has paused for as long as the read timeout.
#[tokio::test(start_paused = true)]
async fn surplus_behind_a_complete_success_hides_no_close() {
    for surplus in ["\r\n", "junk", "\r\nHTTP/1.1 408 Late\r\n\r\n", &"x".repeat(5000), &"\n".repeat(5000)] {
        for (is_at_once, end) in [true, false]
            .into_iter()
            .flat_map(|at_once| ["reset", "FIN", "silence"].map(|end| (at_once, end)))
        {
            let name = format!("{} bytes, at once: {is_at_once}, {end}", surplus.len());
            let lines = Lines::default();
            let client = lines.client();
            let answer = [OK, if is_at_once { surplus } else { "" }].concat();
            let (feed, line, mut response) = early(&lines, &client, 0, &answer).await;
            assert_eq!(response.chunk().await.unwrap().unwrap(), "ok", "{name}");
            let reading = tokio::spawn(async move { (response.chunk().await, response.upload()) });
            settle().await;
            if !is_at_once {
                line.say(surplus);
                settle().await;
            }
            match end {
                "reset" => line.reset(),
                "FIN" => line.eof(),
                _ => {}
            }
            let begun = Instant::now();
            settle().await;
            let is_endless = surplus.len() > 1024;
            if end == "silence" && !is_endless {
                // The server may go on to take the content: the source has its time.
                tokio::time::sleep(SECOND * 1000).await;
                assert!(!reading.is_finished(), "{name}");
                drop(feed);
                let (ended, upload) = reading.await.unwrap();
                assert_eq!((ended.unwrap(), progress(upload)), (None, (3, true, false)), "{name}");
                let is_kept = surplus.trim().is_empty();
                assert_eq!(counts(&client), if is_kept { (1, 0, 0) } else { (0, 0, 1) }, "{name}");
                continue;
            }
            let (ended, upload) = tokio::time::timeout(SECOND * 1000, reading).await.expect(&name).unwrap();
            assert_eq!((ended.unwrap(), progress(upload)), (None, (3, false, true)), "{name}");
            let expected = if end == "reset" && !is_endless { 0 } else { 120 };
            assert_eq!(begun.elapsed().as_secs(), expected, "{name}");
            assert_eq!(counts(&client), (0, 0, 1), "{name}");
        }
    }
}

/// A server's end that is read in the very poll in which the upload ends is a reason to close as at any other time.
#[tokio::test(start_paused = true)]
async fn an_end_that_is_read_as_the_upload_ends_closes() {
    let lines = Lines::default();
    let client = lines.client();
    // Once it is told to end, it is still pending when it is asked first, and has ended when it is asked again.
    let is_told = Arc::new(AtomicBool::new(false));
    let (mut first, mut asked, told) = (true, 0, is_told.clone());
    let source = Polled(move |cx: &mut Context<'_>| {
        asked += u32::from(told.load(Ordering::SeqCst));
        if std::mem::take(&mut first) {
            return Poll::Ready(Some(Ok(Bytes::from("one"))));
        }
        if asked == 1 {
            cx.waker().wake_by_ref();
        }
        if asked < 2 { Poll::Pending } else { Poll::Ready(None) }
    });
    let sending = send(client.post("http://h/").body(Body::from_stream(source)));
    let line = lines.written(0, "3\r\none\r\n").await;
    line.say(OK);
    let mut response = sending.await.unwrap().unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "ok");
    let reading = tokio::spawn(async move { response.chunk().await });
    settle().await;
    is_told.store(true, Ordering::SeqCst);
    line.eof();
    assert_eq!(reading.await.unwrap().unwrap(), None);
    assert!(line.is_gone());
    assert_eq!(counts(&client), (0, 0, 1));
}

/// A stream that is what the function says.
struct Polled<F>(F);

impl<F: FnMut(&mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> + Unpin> futures_core::Stream
    for Polled<F>
{
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        (self.0)(cx)
    }
}

/// A response with trailers keeps them until the upload has ended; as a body, it says that it has not ended before.
#[tokio::test(start_paused = true)]
async fn a_complete_success_keeps_its_trailers_for_the_end() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
    for is_collected in [false, true] {
        let lines = Lines::default();
        let client = lines.client();
        let (feed, _, response) = early(&lines, &client, 0, answer).await;
        let reading = if is_collected {
            tokio::spawn(async move { response.collect().await.map(|all| all.trailers) })
        } else {
            let mut body = response.into_body();
            tokio::spawn(async move {
                use http_body_util::BodyExt;
                assert_eq!(body.frame().await.unwrap()?.into_data().unwrap(), "ok");
                assert!(!http_body::Body::is_end_stream(&body));
                let trailers = body.frame().await.unwrap()?.into_trailers().unwrap();
                assert!(body.frame().await.is_none() && http_body::Body::is_end_stream(&body));
                Ok(Some(trailers))
            })
        };
        settle().await;
        assert!(!reading.is_finished());
        drop(feed);
        assert_eq!(reading.await.unwrap().unwrap().unwrap()["x-sum"], "7");
        assert_eq!(counts(&client), (1, 0, 0));
    }
}

/// A source that fails after the head is there fails the response's body.
#[tokio::test(start_paused = true)]
async fn a_source_that_fails_after_the_head_fails_the_body() {
    let lines = Lines::default();
    let client = lines.client();
    let steps = [Step::Data("one"), Step::Later, Step::Later, Step::Fail];
    for head in ["content-length: 9", "transfer-encoding: chunked"] {
        let number = lines.count();
        lines.room(0);
        let sending = send(client.post("http://h/").body(Body::from_stream(Source::new(&steps))));
        let line = lines.line(number).await;
        line.take(100);
        lines.written(number, "one\r\n").await;
        line.say(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
        let outcome = match sending.await.unwrap() {
            Ok(mut response) => response.chunk().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.request_written()), (ErrorKind::Body, Written::Partly));
        assert!(line.is_gone());
        assert_eq!(counts(&client), (0, 0, number as u64 + 1));
    }
}

/// R-9112-9.5-3: a server that answers, and then breaks the connection, has answered.
#[tokio::test(start_paused = true)]
async fn an_answer_is_read_behind_a_broken_upload_r_9112_9_5_3() {
    for (is_reset, body) in [(false, true), (true, true), (true, false)] {
        let lines = Lines::default();
        lines.room(1000);
        let client = lines.client();
        let request = client.post("http://h/");
        let request = if body {
            request.body(vec![b'x'; 1 << 20])
        } else {
            let steps = vec![Step::Data("0123456789"); 500];
            request.body(Body::from_stream(Source::new(&steps)))
        };
        let sending = send(request);
        let line = lines.line(0).await;
        lines::until("all room is taken", || line.len() == 1000).await;
        line.say("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
        if is_reset {
            line.reset();
        } else {
            line.eof();
        }
        let response = sending.await.unwrap().unwrap();
        assert_eq!(response.status().as_u16(), 413, "R-9112-9.5-3");
        assert!(response.upload().is_aborted() && response.upload().bytes() < 1000);
        assert_eq!(response.text().await.unwrap(), "no");
        assert_eq!(counts(&client), (0, 0, 1));
    }
}

/// The clocks of an upload with an early answer: what moves either way holds both off, and a caller's source is
/// nobody's delay.
#[tokio::test(start_paused = true)]
async fn either_direction_is_progress_and_the_callers_pause_is_nobodys() {
    let lines = Lines::default();
    let client = lines.builder().read_timeout(SECOND * 10).write_timeout(SECOND * 10).build().unwrap();
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (feed, line, mut response) = early(&lines, &client, 0, answer).await;
    let reading = tokio::spawn(async move {
        let mut pieces = 0;
        loop {
            match response.chunk().await {
                Ok(Some(_)) => pieces += 1,
                Ok(None) => break Ok(pieces),
                Err(error) => break Err((pieces, error)),
            }
        }
    });
    // The source has nothing for a minute.
    tokio::time::sleep(SECOND * 60).await;
    // Then the server takes it slowly for a minute, and says nothing.
    line.block();
    feed.send(vec![b'x'; 1000].into()).await.unwrap();
    for _ in 0..12 {
        tokio::time::sleep(SECOND * 5).await;
        line.take(10);
    }
    // Then it takes nothing for a minute, and speaks.
    for _ in 0..12 {
        tokio::time::sleep(SECOND * 5).await;
        line.say("2\r\nok\r\n");
    }
    settle().await;
    assert!(!reading.is_finished());
    // And then it does neither.
    let begun = Instant::now();
    let (pieces, error) = reading.await.unwrap().unwrap_err();
    assert_eq!((pieces, error.kind(), begun.elapsed().as_secs()), (12, ErrorKind::Timeout, 10));
    assert_eq!(counts(&client), (0, 0, 1));
}

/// Framing alone is no progress, however steadily it comes: the timeout counts from the latest content.
#[tokio::test(start_paused = true)]
async fn framing_without_content_holds_off_no_read_timeout() {
    for (name, content, dribble) in [
        ("an extension", "4\r\nfour\r\n4;", "x"),
        ("a size", "4\r\nfour\r\n", "0"),
        ("trailers", "4\r\nfour\r\n0\r\nx-a: ", "a"),
        ("an extension of the last chunk", "4\r\nfour\r\n0;", "x"),
    ] {
        for read in ["chunk", "bytes", "trailers"] {
            let lines = Lines::default();
            let client = lines.builder().read_timeout(SECOND / 2).build().unwrap();
            let sending = send(client.get("http://h/"));
            let line = lines.written(0, HEAD_END).await;
            line.say(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{content}"));
            let mut response = sending.await.unwrap().unwrap();
            let begun = Instant::now();
            let reading = tokio::spawn(async move {
                match read {
                    "bytes" => response.bytes().await.map(drop),
                    "trailers" => response.trailers().await.map(drop),
                    _ => loop {
                        match response.chunk().await {
                            Ok(None) => break Ok(()),
                            Ok(Some(_)) => {}
                            Err(error) => break Err(error),
                        }
                    },
                }
            });
            for _ in 0..20 {
                tokio::time::sleep(SECOND / 10).await;
                line.say(dribble);
                settle().await;
                if reading.is_finished() {
                    break;
                }
            }
            assert!(reading.is_finished(), "{name}, {read}: it does not end");
            let error = reading.await.unwrap().unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Receive)), "{name}");
            assert_eq!(begun.elapsed().as_millis() / 100, 5, "{name}, {read}");
            assert!(line.is_gone(), "{name}");
        }
    }
}

/// Content is progress, a byte of it and in whatever way it is read; and so is the end.
#[tokio::test(start_paused = true)]
async fn a_byte_of_content_holds_off_the_read_timeout() {
    for (framing, byte, end) in [
        ("content-length: 20", "x", ""),
        ("transfer-encoding: chunked", "1\r\nx\r\n", "0\r\n\r\n"),
        ("x-until: close", "x", ""),
    ] {
        for is_one in [false, true] {
            let lines = Lines::default();
            let client = lines.builder().read_timeout(SECOND / 2).build().unwrap();
            let sending = send(client.get("http://h/"));
            let line = lines.written(0, HEAD_END).await;
            line.say(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            let mut response = sending.await.unwrap().unwrap();
            let reading = tokio::spawn(async move {
                if is_one {
                    return response.bytes().await.map(|bytes| bytes.len());
                }
                let mut length = 0;
                while let Some(piece) = response.chunk().await? {
                    length += piece.len();
                }
                Ok(length)
            });
            for _ in 0..20 {
                tokio::time::sleep(SECOND * 2 / 5).await;
                line.say(byte);
            }
            tokio::time::sleep(SECOND * 2 / 5).await;
            line.say(end);
            line.eof();
            assert_eq!(reading.await.unwrap().unwrap(), 20, "{framing}, as one: {is_one}");
        }
    }
}

/// A server that takes nothing of the upload, and sends nothing but framing, is not waited for either.
#[tokio::test(start_paused = true)]
async fn framing_without_content_holds_off_no_write_timeout() {
    let lines = Lines::default();
    lines.room(1000);
    let client = lines.builder().write_timeout(SECOND * 10).build().unwrap();
    let sending = send(client.post("http://h/").body(vec![b'x'; 1 << 20]));
    let line = lines.line(0).await;
    lines::until("all room is taken", || line.len() == 1000).await;
    line.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n4;");
    let mut response = sending.await.unwrap().unwrap();
    let begun = Instant::now();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "four");
    let reading = tokio::spawn(async move { response.chunk().await });
    while !reading.is_finished() && begun.elapsed() < SECOND * 100 {
        tokio::time::sleep(SECOND).await;
        line.say("x");
        settle().await;
    }
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Send)), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

/// A builder that is never sent does nothing; a request that is built and executed expects all the same.
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
