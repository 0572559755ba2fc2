//! Tests of content codings: the codings that a request asks for, the content that is decoded, and damaged or hostile
//! content.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use handclasp::{Certificate, Client, ErrorKind, Phase, Response, Written};
use http::Method;

use self::encoder::{encode, raw_deflate};
use crate::support::{Peer, Server, until, within};

#[path = "../../src/body/encoder_tests.rs"]
mod encoder;

fn gzip(plain: &[u8]) -> Vec<u8> {
    encode("gzip", plain)
}

/// Starts a server that answers each request with this status and these fields, and with this content unless the method is
/// HEAD. `fields` must frame the content.
fn serve(status: u16, fields: &str, content: impl Into<Vec<u8>>) -> Server {
    let (head, content) = (format!("HTTP/1.1 {status} S\r\n{fields}\r\n"), content.into());
    Server::start(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            let content: &[u8] = if request.method == "HEAD" { b"" } else { &content };
            peer.send([head.as_bytes(), content].concat())?;
        }
        Ok(())
    })
}

/// Starts a server whose content has these codings and a length.
fn coded(codings: &str, content: impl Into<Vec<u8>>) -> Server {
    let content = content.into();
    let fields = format!("content-encoding: {codings}\r\ncontent-length: {}\r\n", content.len());
    serve(200, &fields, content)
}

async fn get(client: &Client, server: &Server) -> Response {
    within(20, client.get(server.url("/")).send()).await.unwrap()
}

fn has_codings(response: &Response) -> bool {
    response.headers().contains_key("content-encoding")
}

#[tokio::test]
async fn each_coding_is_asked_for_and_decoded() {
    let plain = "one handshake, many requests. ".repeat(5_000);
    for codings in ["gzip", "x-gzip", "GZip", "deflate", "br", "zstd", "deflate, gzip", "identity, zstd, br"]
    {
        let mut content = plain.clone().into_bytes();
        for coding in codings.split(", ").filter(|coding| *coding != "identity") {
            content = encode(coding.to_lowercase().trim_start_matches("x-"), &content);
        }
        let server = coded(codings, content.clone());
        let client = Client::new();
        for _ in 0..2 {
            let response = get(&client, &server).await;
            assert!(!has_codings(&response), "R-9110-8.4.1-1: {codings}");
            assert!(!response.headers().contains_key("content-length"), "{codings}");
            assert_eq!(response.content_length(), None, "the decoded length is not known");
            assert_eq!(response.raw_headers().count(), 2, "raw fields stay");
            let whole = within(20, response.collect()).await.unwrap();
            let length = whole.body.len();
            assert!(whole.body == plain.as_bytes(), "R-9110-8.4.1-2: {codings}: {length} bytes");
            assert!(whole.timings.receive.is_some() || whole.timings.total > Duration::ZERO);
        }
        let raw = client.get(server.url("/")).decompress(false);
        let response = within(20, raw.send()).await.unwrap();
        assert_eq!(
            (response.headers()["content-encoding"].to_str().unwrap(), response.content_length()),
            (codings, Some(content.len() as u64))
        );
        assert!(response.bytes().await.unwrap() == content, "{codings}: handed over as it came");
        assert_eq!(server.requests_per_connection(), [3], "the connection is kept: {codings}");
        let asked: Vec<_> = server.seen().into_iter().map(|seen| seen.request).collect();
        assert_eq!(asked[0].field("accept-encoding"), Some("gzip, deflate, br, zstd"));
        assert_eq!(asked[2].field("accept-encoding"), None);
    }
    let server = coded("deflate", raw_deflate(plain.as_bytes()));
    assert_eq!(
        get(&Client::new(), &server).await.text().await.unwrap(),
        plain,
        "deflate without zlib's header"
    );
}

#[tokio::test]
async fn codings_are_not_asked_for_where_the_caller_decides() {
    let server = coded("gzip", gzip(b"plain"));
    let own = Client::builder().default_headers(
        [("accept-encoding", "gzip")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect(),
    );
    let client = Client::new();
    for (request, expected, is_decoded) in [
        (client.get(server.url("/")).header("accept-encoding", "gzip;q=0.5"), Some("gzip;q=0.5"), true),
        (client.get(server.url("/")).header("range", "bytes=0-"), None, true),
        (own.build().unwrap().get(server.url("/")), Some("gzip"), true),
        (Client::builder().no_gzip().build().unwrap().get(server.url("/")), Some("deflate, br, zstd"), false),
        (
            Client::builder().gzip(false).deflate(false).no_zstd().build().unwrap().get(server.url("/")),
            Some("br"),
            false,
        ),
        (
            Client::builder().brotli(false).zstd(false).gzip(true).build().unwrap().get(server.url("/")),
            Some("gzip, deflate"),
            true,
        ),
        (
            Client::builder()
                .no_gzip()
                .no_deflate()
                .no_brotli()
                .no_zstd()
                .build()
                .unwrap()
                .get(server.url("/")),
            None,
            false,
        ),
    ] {
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(has_codings(&response), !is_decoded);
        let content = response.bytes().await.unwrap();
        assert_eq!(content == "plain", is_decoded);
        let asked = server.seen().pop().unwrap().request;
        assert_eq!(asked.field("accept-encoding"), expected, "R-9110-12.5.3-1");
    }
}

#[tokio::test]
async fn ce_01_responses_without_content_are_not_decoded() {
    let (gzipped, none) = ("content-encoding: gzip\r\n", "");
    for (method, status, fields) in [
        ("HEAD", 200, "content-length: 500\r\n"),
        ("GET", 204, none),
        ("GET", 304, "content-length: 500\r\n"),
        ("GET", 200, "content-length: 0\r\n"),
    ] {
        let server = serve(status, &format!("{gzipped}{fields}"), none);
        let client = Client::new();
        for _ in 0..2 {
            let method: Method = method.parse().unwrap();
            let request = client.request(method.clone(), server.url("/"));
            let response = within(20, request.send()).await.unwrap();
            assert!(has_codings(&response), "CE-01: {method} {status}: the fields describe other content");
            assert_eq!(response.bytes().await.unwrap(), "", "CE-01: {method} {status}");
        }
        assert_eq!(server.requests_per_connection(), [2], "CE-01: {method} {status}");
    }
    // The client learns only at the end of this content that the content is empty.
    let server = serve(200, &format!("{gzipped}transfer-encoding: chunked\r\n"), "0\r\n\r\n");
    assert_eq!(get(&Client::new(), &server).await.bytes().await.unwrap(), "", "CE-01");
    // A part of encoded content cannot be decoded.
    let fields = format!("{gzipped}content-length: 4\r\ncontent-range: bytes 0-3/500\r\n");
    let response = get(&Client::new(), &serve(206, &fields, &gzip(b"x")[..4])).await;
    assert!(has_codings(&response));
    assert_eq!(response.bytes().await.unwrap(), gzip(b"x")[..4]);
}

#[tokio::test]
async fn ce_02_more_than_four_codings_are_an_error_when_the_content_is_read() {
    let stacked = ["gzip"; 20].join(", ");
    let server = coded(&stacked, *b"hello");
    let client = Client::new();
    let mut response = get(&client, &server).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-encoding"], stacked);
    for _ in 0..2 {
        let error = within(20, response.chunk()).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Decode, Some(Phase::Receive)), "CE-02");
        assert_eq!(error.request_written(), Written::All);
        assert_eq!(
            error.message(),
            "the server sent content with 20 codings, and at most 4 are decoded: \
             decompress(false) hands it over as it came",
            "CE-02"
        );
    }
    let raw = client.get(server.url("/")).decompress(false);
    assert_eq!(within(20, raw.send()).await.unwrap().text().await.unwrap(), "hello", "CE-02");
    let unknown = get(&client, &coded("gzip, foo", *b"hello")).await;
    assert_eq!((has_codings(&unknown), &*unknown.text().await.unwrap()), (true, "hello"));
    assert_eq!(server.requests_per_connection(), [2], "CE-02: the connection is kept");
}

#[tokio::test]
async fn ce_03_pieces_and_collected_content_are_bounded_after_decoding() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let server = coded(coding, encode(coding, &vec![0; 8 << 20]));
        let client = Client::builder().max_collected_body(1 << 20).build().unwrap();
        let mut response = get(&client, &server).await;
        let mut length = 0;
        while let Some(piece) = within(20, response.chunk()).await.unwrap() {
            assert!(
                !piece.is_empty() && piece.len() <= 32 * 1024,
                "CE-03: {} bytes of {coding}",
                piece.len()
            );
            length += piece.len();
        }
        assert_eq!(length, 8 << 20, "CE-03: {coding}");
        let error = within(20, get(&client, &server).await.bytes()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "CE-03: {coding}");
        assert!(error.to_string().contains("larger than 1048576 bytes"), "CE-03: {error}");
    }
}

#[tokio::test]
async fn ce_03_content_of_exactly_the_limit_is_collected() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        for (length, is_collected) in [(100_000, true), (100_001, false)] {
            let server = coded(coding, encode(coding, &vec![b'x'; length]));
            let client = Client::builder().max_collected_body(100_000).build().unwrap();
            let outcome = within(20, get(&client, &server).await.bytes()).await;
            assert_eq!(
                outcome.map_or(0, |content| content.len()),
                if is_collected { length } else { 0 },
                "CE-03"
            );
        }
    }
}

#[tokio::test]
async fn a_status_error_has_the_start_of_decoded_content() {
    let content = gzip("no such page ".repeat(100_000).as_bytes());
    let fields = |length: usize| format!("content-encoding: gzip\r\ncontent-length: {length}\r\n");
    let server = serve(404, &fields(content.len()), content);
    let client = Client::new();
    let error = get(&client, &server).await.error_for_status_with_body(12).await.unwrap_err();
    assert_eq!((error.status().unwrap().as_u16(), error.body_text().as_deref()), (404, Some("no such page")));
    let server = serve(503, &fields(5), *b"hello");
    let error = get(&client, &server).await.error_for_status_with_body(99).await.unwrap_err();
    assert_eq!((error.kind(), error.body_text().as_deref()), (ErrorKind::Status, Some("")));
    assert!(error.chain().to_string().contains("not valid gzip"), "{}", error.chain());
}

/// A decoded body that is dropped early leaves a connection that is either idle or closed.
#[tokio::test]
async fn dropping_decoded_content_early_leaves_no_connection_in_use() {
    let small = coded("gzip", gzip(&vec![0; 8 << 20]));
    let endless = Server::start(|peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")?;
            let member = gzip(&vec![0; 1 << 20]);
            let chunk = [format!("{:x}\r\n", member.len()).as_bytes(), &member, b"\r\n"].concat();
            while peer.send(&chunk).is_ok() {}
        }
        Ok(())
    });
    for (server, is_kept) in [(small, 1), (endless, 0)] {
        let client = Client::new();
        for reads in 0..4 {
            let mut response = get(&client, &server).await;
            for _ in 0..reads {
                assert!(within(20, response.chunk()).await.unwrap().is_some());
            }
            drop(response);
            until("the connection is not in use", || client.pool().stats().total.active == 0).await;
            assert_eq!(client.pool().stats().total.idle, is_kept);
        }
        assert_eq!(server.connections(), if is_kept == 1 { 1 } else { 4 });
    }
}

#[tokio::test]
async fn ce_04_rd_10_chunked_gzip_without_a_close_notify_is_complete() {
    let content = gzip(b"complete");
    let server = Server::start_tls(move |peer: &mut Peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for byte in &content {
            peer.send([&b"1\r\n"[..], &[*byte], b"\r\n"].concat())?;
        }
        peer.send("0\r\n\r\n")?;
        peer.fin()
    });
    let root = Certificate::from_pem(server.authority()).unwrap();
    let client = Client::builder().add_root_certificate(root).build().unwrap();
    assert_eq!(get(&client, &server).await.text().await.unwrap(), "complete", "CE-04 RD-10");
}

#[tokio::test]
async fn damaged_content_is_an_error_and_the_connection_is_kept() {
    let whole = gzip(&b"content ".repeat(500));
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (content, expected) in [
        (whole[..whole.len() - 1].to_vec(), "the server sent gzip content that ends too early"),
        (whole[..1].to_vec(), "the server sent gzip content that ends too early"),
        ([&whole[..], b"GARBAGE"].concat(), "the server sent other bytes after the end of the gzip content"),
        (damaged, "the server sent content that is not valid gzip"),
        (b"hello".to_vec(), "the server sent content that is not valid gzip"),
    ] {
        let chunk = [format!("{:x}\r\n", content.len()).as_bytes(), &content, b"\r\n0\r\n\r\n"].concat();
        for server in [
            coded("gzip", content),
            serve(200, "content-encoding: gzip\r\ntransfer-encoding: chunked\r\n", chunk),
        ] {
            let client = Client::new();
            for _ in 0..2 {
                let error = within(20, get(&client, &server).await.bytes()).await.unwrap_err();
                assert_eq!((error.kind(), error.phase()), (ErrorKind::Decode, Some(Phase::Receive)));
                assert!(error.message().starts_with(expected) && error.is_body(), "R-1952-2-1: {error}");
                assert_eq!(error.uri().unwrap().to_string(), server.url("/"));
                assert_eq!(error.request_written(), Written::All);
                assert!(error.timings().is_some_and(|timings| timings.total > Duration::ZERO), "{error}");
            }
            assert_eq!(server.requests_per_connection(), [2], "the wire decides about the connection");
        }
    }
    // If the connection ends within the content, the error is about the connection and not about the coding.
    let server = Server::start(move |peer: &mut Peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9999\r\n\r\n")?;
        peer.send(&whole)?;
        peer.fin()
    });
    let error = within(20, get(&Client::new(), &server).await.bytes()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
}

#[tokio::test]
async fn trailers_and_forwarded_content_are_those_of_the_decoded_response() {
    let content = gzip(b"plain");
    let chunk =
        [format!("{:x}\r\n", content.len()).as_bytes(), &content, b"\r\n0\r\nx-sum: 7\r\n\r\n"].concat();
    let server = serve(200, "content-encoding: gzip\r\ntransfer-encoding: chunked\r\n", chunk);
    let client = Client::new();
    let whole = get(&client, &server).await.collect().await.unwrap();
    assert_eq!((&whole.body[..], &whole.trailers.unwrap()["x-sum"]), (&b"plain"[..], &"7".parse().unwrap()));
    assert!(!whole.headers.contains_key("content-encoding"));

    let echo = Server::echo();
    let body = get(&client, &server).await.into_body();
    assert_eq!(format!("{body:?}"), "Body(decoded)");
    within(20, client.post(echo.url("/")).body(body).send()).await.unwrap();
    let seen = echo.seen().pop().unwrap().request;
    assert_eq!((&seen.body[..], seen.field("content-length")), (&b"plain"[..], None));

    let response: http::Response<handclasp::Body> = get(&client, &server).await.into();
    assert!(!response.headers().contains_key("content-encoding"));
    assert!(!http_body::Body::is_end_stream(response.body()));
    let collected = within(20, http_body_util::BodyExt::collect(response.into_body())).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
    assert_eq!(collected.to_bytes(), "plain");
}

/// Returns less than 100 kB of content that three decoders turn into hundreds of gigabytes.
fn bomb() -> Vec<u8> {
    let zeros = gzip(&vec![0; 1 << 20]);
    let middle = gzip(&zeros.repeat(1000));
    let outer = gzip(&middle.repeat(100));
    assert!(outer.len() < 100_000, "{} bytes", outer.len());
    outer
}

#[tokio::test]
async fn a_10_a_bomb_does_not_outlast_the_total_timeout() {
    let server = coded("gzip, gzip, gzip", bomb());
    let request = Client::new().get(server.url("/")).timeout(Duration::from_millis(200));
    let mut response = request.send().await.unwrap();
    let error = loop {
        match within(60, response.chunk()).await {
            Ok(piece) => assert!(piece.is_some(), "hundreds of gigabytes were read"),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Receive)), "A-10 CE-03");
    assert_eq!(error.message(), "the request did not complete within 200ms (timeout)");
}

#[tokio::test]
async fn a_10_a_bomb_lets_other_tasks_run() {
    let server = coded("gzip, gzip, gzip", bomb());
    let mut response = get(&Client::new(), &server).await;
    // The content that has come decodes to gigabytes, so that no read waits for the server any more.
    within(20, response.chunk()).await.unwrap();
    let has_run = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&has_run);
    tokio::spawn(async move { told.store(true, SeqCst) });
    while !has_run.load(SeqCst) {
        assert!(response.chunk().await.unwrap().is_some(), "A-10: the bomb ended first");
    }
}
