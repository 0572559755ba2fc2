//! Tests of early final responses: a refusal ends the upload, and a success lets the upload continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use handclasp::{Body, ErrorKind, Written};
use tokio::time::Instant;

use super::{HEAD_END, OK, SECOND, content, counts, early, progress};
use crate::support::lines;
use crate::support::lines::{Lines, Source, Step, send, settle};

/// R-9110-7.5-1: after a response that neither refuses nor closes, the upload continues. The upload makes progress only
/// while the response's body is polled.
#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_while_the_body_is_read_r_9110_7_5_1() {
    for closes in [false, true] {
        let lines = Lines::default();
        let mut builder = lines.builder();
        if closes {
            // A `Connection: close` in the request, unlike one in the response, does not stop the upload.
            builder = builder.max_idle(0);
        }
        let client = builder.build().unwrap();
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let (feed, line, mut response) = early(&lines, &client, 0, answer).await;
        assert_eq!(progress(response.upload()), (3, false, false), "R-9110-7.5-1");
        feed.send("two!".into()).await.unwrap();
        settle().await;
        assert!(!line.text().contains("two!"), "the upload goes on although the body is not read");
        let mut reading = Box::pin(async {
            let piece = response.chunk().await.unwrap();
            (response, piece)
        });
        tokio::select! {
            _ = &mut reading => panic!("the read ended before content came"),
            _ = lines.written(0, "4\r\ntwo!\r\n") => {}
        }
        line.say("2\r\nok\r\n");
        let (mut response, piece) = reading.await;
        assert_eq!(piece.unwrap(), "ok");
        assert_eq!(progress(response.upload()), (7, false, false));
        drop(feed);
        settle().await;
        assert!(line.text().ends_with("two!\r\n"), "the upload ends although the body is not read");
        let mut ending = Box::pin(async {
            let piece = response.chunk().await.unwrap();
            (response, piece)
        });
        tokio::select! {
            _ = &mut ending => panic!("the read ended before the response did"),
            _ = lines.written(0, "two!\r\n0\r\n\r\n") => {}
        }
        line.say("0\r\n\r\n");
        let (response, piece) = ending.await;
        assert_eq!((piece, progress(response.upload())), (None, (7, true, false)), "R-9110-7.5-1");
        assert_eq!(counts(&client), if closes { (0, 0, 1) } else { (1, 0, 0) });
    }
}

/// R-9112-9.5-4: a refusal stops the upload at once, even if more content is ready.
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

/// A server may read all content before it sends the rest of its refusal. The client therefore shuts down its direction
/// once, as soon as the transport allows the shutdown.
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
            assert!(!line.is_shut(), "{name}: the response still has time");
            if is_held {
                tokio::time::sleep(SECOND * 10).await;
                assert!(!line.is_shut(), "{name}");
                line.hold_shutdown(false);
            }
            while !line.is_shut() {
                tokio::time::sleep(SECOND / 10).await;
                assert!(begun.elapsed() < SECOND * 15, "{name}: the client did not end its direction");
            }
            // The client reads the rest of the refusal.
            line.say(if framing.contains("chunked") { "3\r\nno!\r\n" } else { "no!" });
            assert_eq!(reading.await.unwrap(), "no!", "{name}");
        }
    }
}

/// A shutdown of the client's direction that stays pending does not delay any timeout.
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

/// The client does not shut down its direction while bytes of the response keep coming, if the response ends with the
/// connection, or if the server had no content to wait for. Some servers would cut off the response after the shutdown.
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

/// A 2xx never stops the upload, even if the client or the server sends `Connection: close`, or if the response is
/// HTTP/1.0 or already complete. The response ends when the upload has ended, and neither of the two is cut off.
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
                    lines::until("the client has written all that the connection takes", || {
                        line.len() == 500
                    })
                    .await;
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
                    // In all the server takes longer than each timeout, but each of its pauses is shorter than the
                    // timeouts.
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

/// R-9112-9.5-4: a refusal also stops an upload of one piece of which the server has accepted a part. The client does not
/// send the rest of the piece.
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
        // The write timeout does not apply to an aborted upload.
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

/// A complete response does not end before its upload and the upload's source have ended. Dropping the response ends the
/// upload and the source, and closes the connection.
#[tokio::test(start_paused = true)]
async fn a_complete_success_waits_for_its_upload_and_a_dropped_one_ends_it() {
    let lines = Lines::default();
    let client = lines.client();
    let (feed, line, mut response) = early(&lines, &client, 0, OK).await;
    assert_eq!(progress(response.upload()), (3, false, false), "the whole response has arrived");
    assert_eq!(response.chunk().await.unwrap().unwrap(), "ok");
    let reading = tokio::spawn(async move { (response.chunk().await, response) });
    // While the caller's source pauses, no timeout except the total timeout runs.
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

/// An upload fails after a complete success. The response succeeds if the server closed the connection or accepts no more
/// bytes. The response fails if the caller's source failed or the total timeout has passed.
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
            lines::until("the upload is under way", || line.len() >= room).await;
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

/// An upload that ended with a failed write stays aborted after the error was returned, although all content was framed.
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
            lines::until("the client has written all that the connection takes", || line.len() == 500).await;
            line.say(format!("HTTP/1.1 200 OK\r\n{head}"));
            let mut response = sending.await.unwrap().unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "ok", "{name}");
            assert!(!response.upload().is_aborted(), "{name}");
            // The response's content wakes the body, which continues the upload. The upload's write fails.
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

/// The server ends its direction after a complete success, with or without surplus bytes before the end. The read timeout
/// limits the pauses of the caller's source, and the client sends all content.
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
        lines::until("the whole upload was sent", || line.text().matches("two").count() == 4).await;
        drop(feed);
        let (end, upload) = reading.await.unwrap();
        assert_eq!((end.unwrap(), progress(upload)), (None, (15, true, false)), "{name}");
        assert!(line.text().ends_with("\r\n0\r\n\r\n"), "{name}");
        assert_eq!(counts(&client), (0, 0, 1), "{name}");
    }
}

/// Bytes after a complete success do not hide a close. A reset ends the response at once. A FIN or endless bytes end the
/// response when the source has paused for the read timeout.
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
                // The source may pause, because the server may still accept the content.
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

/// The client closes the connection if it reads the server's FIN in the same poll in which the upload ends.
#[tokio::test(start_paused = true)]
async fn an_end_that_is_read_as_the_upload_ends_closes() {
    let lines = Lines::default();
    let client = lines.client();
    // After `is_told` is set, the first poll of the source is pending, and the second poll returns the end.
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

/// A stream that calls a function at each poll.
struct Polled<F>(F);

impl<F: FnMut(&mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> + Unpin> futures_core::Stream
    for Polled<F>
{
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        (self.0)(cx)
    }
}

/// A response returns its trailers only after the upload has ended. A body made from the response does not report its end
/// before the upload has ended.
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

/// A source that fails after the response head fails the response's body.
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

/// R-9112-9.5-3: a response that was sent before the server broke the connection is delivered.
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
        lines::until("the client has written all that the connection takes", || line.len() == 1000).await;
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
