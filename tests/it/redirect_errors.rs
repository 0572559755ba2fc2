//! Tests that an error after redirects has the chain of redirects and the last URL, however the response is read.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use handclasp::{Client, Error, ErrorKind, Written};
use http_body_util::BodyExt as _;

use crate::support::{Peer, Server, within};

/// Starts a server that redirects `/a` to `/mid` and `/mid` to another target. `/cut` ends before its content is complete,
/// `/bad` has content that is not gzip, `/no` answers 404, and any other target has content that is not JSON.
fn server() -> Server {
    Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            let (path, to) = request.target.split_once('?').unwrap_or((&request.target, ""));
            let moved =
                |to: String| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            match path {
                "/a" => peer.send(moved(format!("/mid?{to}")))?,
                "/mid" => peer.send(moved(format!("/{to}")))?,
                "/cut" => {
                    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi")?;
                    return peer.close();
                }
                "/bad" => peer
                    .send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnot gzip")?,
                "/no" => peer.send("HTTP/1.1 404 No\r\ncontent-length: 8\r\n\r\nnot JSON")?,
                _ => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nnot JSON")?,
            }
        }
        Ok(())
    })
}

#[track_caller]
fn assert_told(server: &Server, path: &str, kind: ErrorKind, error: &Error) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.url().unwrap().as_str(), server.url(path), "{error:?}");
    let hops: Vec<_> = error.redirects().iter().map(|hop| hop.url().path()).collect();
    assert_eq!(hops, ["/a", "/mid"], "RD-12: {error:?}");
    assert_eq!(error.request_written(), Written::All, "{error:?}");
    let origin = server.url("");
    assert!(error.to_string().starts_with(&format!("GET {origin}: ")), "{error}");
    let earlier: Vec<_> = error.earlier_attempts().iter().map(|attempt| attempt.uri().path()).collect();
    assert_eq!(earlier, ["/a", "/mid"], "{error:?}");
    let before: Duration = error.earlier_attempts().iter().map(|attempt| attempt.timings().total).sum();
    let timings = error.timings().unwrap();
    assert!(before > Duration::ZERO && before <= timings.previous, "{before:?} {timings:?}");
}

#[tokio::test]
async fn an_error_of_the_content_tells_the_redirects_before() {
    let server = server();
    let client = Client::builder().max_collected_body(4).build().unwrap();
    let open = async |to: &str| within(20, client.get(server.url(&format!("/a?{to}"))).send()).await.unwrap();
    let lost = ErrorKind::ConnectionLost;

    let mut response = open("cut").await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), "hi");
    for _ in 0..2 {
        assert_told(&server, "/cut", lost, &response.chunk().await.unwrap_err());
    }
    assert_told(&server, "/cut", lost, &open("cut").await.bytes().await.unwrap_err());
    let error = open("cut").await.into_body().collect().await.unwrap_err();
    assert_told(&server, "/cut", lost, &error);
    assert!(error.timings().is_some_and(|timings| !timings.previous.is_zero()), "{error:?}");
    let converted = http::Response::<handclasp::Body>::from(open("cut").await);
    let error = handclasp::Response::from(converted).bytes().await.unwrap_err();
    assert_told(&server, "/cut", lost, &error);

    assert_told(&server, "/large", ErrorKind::Decode, &open("large").await.bytes().await.unwrap_err());
    let response = open("no").await;
    assert_told(&server, "/no", ErrorKind::Status, &response.error_for_status_ref().unwrap_err());
    let error = response.error_for_status_with_body(4).await.unwrap_err();
    assert_told(&server, "/no", ErrorKind::Status, &error);
    assert_told(&server, "/x", ErrorKind::Upgrade, &open("x").await.upgrade().await.unwrap_err());
}

#[cfg(feature = "json")]
#[tokio::test]
async fn an_error_of_json_tells_the_redirects_before() {
    let server = server();
    let client = Client::new();
    let open = async || within(20, client.get(server.url("/a?x")).send()).await.unwrap();
    let error = open().await.json::<u8>().await.unwrap_err();
    assert_told(&server, "/x", ErrorKind::Decode, &error);
    let error = open().await.collect().await.unwrap().json::<u8>().unwrap_err();
    assert_told(&server, "/x", ErrorKind::Decode, &error);
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn an_error_of_a_decoder_tells_the_redirects_before() {
    let server = server();
    let client = Client::new();
    let open = async || within(20, client.get(server.url("/a?bad")).send()).await.unwrap();
    assert_told(&server, "/bad", ErrorKind::Decode, &open().await.bytes().await.unwrap_err());
    let error = open().await.into_body().collect().await.unwrap_err();
    assert_told(&server, "/bad", ErrorKind::Decode, &error);
}
