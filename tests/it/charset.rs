//! Tests of texts in other character encodings than UTF-8.

#![cfg(feature = "charset")]
#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use handclasp::Response;

fn response(media_type: Option<&str>, content: &[u8]) -> Response {
    let mut response = http::Response::new(Bytes::copy_from_slice(content));
    if let Some(media_type) = media_type {
        response.headers_mut().insert("content-type", media_type.parse().unwrap());
    }
    response.into()
}

#[tokio::test]
async fn text_is_read_in_the_encoding_that_content_type_names() {
    for (media_type, content, expected) in [
        (None, &b"caf\xc3\xa9"[..], "café"),
        (Some("text/plain"), b"caf\xc3\xa9", "café"),
        (Some("text/plain; charset=utf-8"), b"caf\xc3\xa9", "café"),
        (Some("text/plain; charset=UTF8"), b"a\xff\xfeb\xc3", "a\u{fffd}\u{fffd}b\u{fffd}"),
        (Some("text/plain; charset=iso-8859-1"), b"caf\xe9 \x80", "café €"),
        (Some("text/plain; charset=\"windows-1252\""), b"caf\xe9", "café"),
        (Some("text/plain;charset=Shift_JIS"), b"\x93\xfa\x96{", "日本"),
        (Some("text/plain; charset=euc-kr"), b"\xb0\xa1", "가"),
        (Some("text/plain; charset=gbk"), b"\xc4\xe3", "你"),
        (Some("text/plain; charset=utf-16le"), b"a\0\xe9\0", "aé"),
        (Some("text/plain; charset=no-such-thing"), b"caf\xc3\xa9", "café"),
        // The byte order mark takes precedence over the parameter, and is not part of the text.
        (None, b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        (Some("text/plain; charset=iso-8859-1"), b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        (Some("text/plain; charset=utf-8"), b"\xff\xfea\0", "a"),
        (Some("text/plain; charset=utf-8"), b"\xfe\xff\0a", "a"),
        (Some("text/plain; charset=utf-8"), b"", ""),
        (Some("text/plain; charset=utf-8"), b"\xef\xbb\xbf", ""),
    ] {
        let text = response(media_type, content).text().await.unwrap();
        assert_eq!(text, expected, "{media_type:?}");
    }
}

#[tokio::test]
async fn a_default_encoding_is_used_if_content_type_names_none() {
    for (media_type, default, expected) in [
        (None, "windows-1252", "café"),
        (Some("text/plain"), "latin1", "café"),
        (Some("text/plain; charset=koi8-r"), "windows-1252", "cafИ"),
        (None, "no-such-thing", "caf\u{fffd}"),
    ] {
        let text = response(media_type, b"caf\xe9").text_with_charset(default).await.unwrap();
        assert_eq!(text, expected, "{media_type:?}, {default}");
    }
}

/// The text is the same whether or not the map of fields was made or changed.
#[tokio::test(start_paused = true)]
async fn the_field_of_a_received_head_is_read() {
    use crate::support::scripted::{Peers, Reply, Script};
    let head = "HTTP/1.1 200 OK\r\ncontent-type-x: no\r\nContent-TYPE: a/b; charset=utf-16be\r\ncontent-length: 4\r\n\r\n";
    let replies: &[Reply] = &[Reply::raw(&[head, "\0a\0b"])];
    let peers = Peers::new(Script { is_eager: true, ..Script::new(&[replies]) });
    let client = handclasp::Client::builder().connector(peers.connector()).build().unwrap();
    let get = async || client.get("http://a.test/").send().await.unwrap();
    assert_eq!(get().await.text().await.unwrap(), "ab");
    let read = get().await;
    assert_eq!(read.headers().len(), 3);
    assert_eq!(read.text().await.unwrap(), "ab");
    let mut changed = get().await;
    changed.headers_mut().remove("content-type");
    assert_eq!(changed.text().await.unwrap(), "\0a\0b");
}
