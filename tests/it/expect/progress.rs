//! Tests of the read and write timeouts while a request and its response are under way at the same time: which bytes count
//! as progress.

use handclasp::{ErrorKind, Phase};
use tokio::time::Instant;

use super::{HEAD_END, SECOND, counts, early};
use crate::support::lines;
use crate::support::lines::{Lines, send, settle};

/// During an upload with an early response, bytes in either direction restart the read timeout and the write timeout. A
/// pause of the caller's source neither restarts a timeout nor counts towards one.
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
    // The source gives no content for a minute.
    tokio::time::sleep(SECOND * 60).await;
    // For a minute the server accepts the content slowly, and sends nothing.
    line.block();
    feed.send(vec![b'x'; 1000].into()).await.unwrap();
    for _ in 0..12 {
        tokio::time::sleep(SECOND * 5).await;
        line.take(10);
    }
    // For a minute the server accepts no content, and sends bytes.
    for _ in 0..12 {
        tokio::time::sleep(SECOND * 5).await;
        line.say("2\r\nok\r\n");
    }
    settle().await;
    assert!(!reading.is_finished());
    // The server now neither accepts nor sends bytes.
    let begun = Instant::now();
    let (pieces, error) = reading.await.unwrap().unwrap_err();
    assert_eq!((pieces, error.kind(), begun.elapsed().as_secs()), (12, ErrorKind::Timeout, 10));
    assert_eq!(counts(&client), (0, 0, 1));
}

/// Bytes of the framing alone are no progress, however steadily they come. The timeout counts from the latest content.
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

/// One byte of content is progress, in whatever way the caller reads it. The end of the content is progress as well.
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

/// The write timeout ends the wait for a server that accepts nothing of the upload and sends only framing.
#[tokio::test(start_paused = true)]
async fn framing_without_content_holds_off_no_write_timeout() {
    let lines = Lines::default();
    lines.room(1000);
    let client = lines.builder().write_timeout(SECOND * 10).build().unwrap();
    let sending = send(client.post("http://h/").body(vec![b'x'; 1 << 20]));
    let line = lines.line(0).await;
    lines::until("the client has written all that the connection takes", || line.len() == 1000).await;
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
