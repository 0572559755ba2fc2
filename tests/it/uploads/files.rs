//! Tests of request bodies that are read from files.

use handclasp::{Body, ErrorKind, Written};

use super::{OK, Temporary};
use crate::support::lines::{Lines, send, settle, until};

#[tokio::test]
async fn a_file_is_sent_as_long_as_it_was() {
    let content: Vec<u8> = (0..200_000u32).map(|at| b'a' + (at % 23) as u8).collect();
    let text = String::from_utf8(content.clone()).unwrap();
    let end = &text[text.len() - 100..];
    for (name, change, is_enough) in [("as it is", 0, true), ("grown", 1000, true), ("shrunk", -1000, false)]
    {
        let file = Temporary::new(&content);
        let lines = Lines::default();
        let client = lines.client();
        let body = Body::from_file(&file.0).await.unwrap();
        if change > 0 {
            file.append(&vec![b'!'; change as usize]);
        } else if change < 0 {
            file.truncate((content.len() as i64 + change) as u64);
        }
        let sending = send(client.put("http://h/").body(body));
        if is_enough {
            let line = lines.written(0, end).await;
            settle().await;
            let sent = line.text();
            let (head, sent) = sent.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with("content-length: 200000"), "{name}: {head}");
            assert!(sent == text, "{name}: {} bytes", sent.len());
            line.say(OK);
            sending.await.unwrap().unwrap();
        } else {
            let error = sending.await.unwrap().unwrap_err();
            assert_eq!((error.kind(), error.request_written()), (ErrorKind::Body, Written::Partly), "{name}");
            let line = lines.line(0).await;
            let sent = line.text();
            assert!(sent.split_once("\r\n\r\n").unwrap().1 == &text[..199_000], "{name}");
            assert!(line.is_gone());
        }
    }
}

#[tokio::test]
async fn a_78_a_file_is_sent_without_its_name() {
    let file = Temporary::new(b"content");
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(client.put("http://h/").body(Body::from_file(&file.0).await.unwrap()));
    let line = lines.written(0, "content").await;
    assert_eq!(line.text(), "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\ncontent", "A-78");
    line.say(OK);
    sending.await.unwrap().unwrap();
}

/// A reused connection ends before or after a part of the file was sent. The client reads the file from its start again, and
/// sends the file on a new connection.
#[tokio::test]
async fn a_file_is_sent_again_from_its_start() {
    let content = "0123456789".repeat(20_000);
    let end = &content[content.len() - 20..];
    for is_begun in [false, true] {
        let file = Temporary::new(content.as_bytes());
        let lines = Lines::default();
        let client = lines.client();
        let sending = send(client.get("http://h/"));
        let first = lines.written(0, "\r\n\r\n").await;
        first.say(OK);
        sending.await.unwrap().unwrap();
        let before = first.len();
        first.block();
        if is_begun {
            first.take(100_000);
        } else {
            first.eof();
        }
        let sending = send(client.put("http://h/").body(Body::from_file(&file.0).await.unwrap()));
        if is_begun {
            until("a part of the file is sent", || first.len() == before + 100_000).await;
            first.eof();
        }
        let second = lines.written(1, end).await;
        let text = second.text();
        assert!(text.split_once("\r\n\r\n").unwrap().1 == content, "from its start");
        second.say(OK);
        let response = sending.await.unwrap().unwrap();
        assert_eq!(response.upload().bytes(), content.len() as u64, "the content counts once");
        assert_eq!(lines.count(), 2);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_is_refused() {
    let directory = std::env::temp_dir();
    let missing = directory.join("handclasp-that-is-not-there");
    assert_eq!(Body::from_file(&directory).await.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(Body::from_file(&missing).await.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let pipe = directory.join(format!("handclasp-{}-pipe", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let refused = Body::from_file(&pipe).await.unwrap_err().kind();
    std::fs::remove_file(&pipe).unwrap();
    assert_eq!(refused, std::io::ErrorKind::InvalidInput);
}
