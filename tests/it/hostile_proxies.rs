//! Tests of proxies that break the rules, stall, or send something else than they were asked for. Each fault is a typed
//! error before any byte of the request, and leaves no connection behind.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handclasp::{Client, ErrorKind, Phase, Proxy, Written};

use crate::support::{Server, Signal, Split, until, within};

/// Returns the proxy, with credentials that its protocol can carry.
fn with_login(proxy: &Server, scheme: &str) -> Proxy {
    let login = if scheme.starts_with("socks4") { "planted" } else { "user:planted" };
    Proxy::all(format!("{scheme}://{login}@{}", proxy.address())).unwrap().tunnel(true)
}

/// Returns a client whose requests go through tunnels of the proxy.
fn tunnels(proxy: &Server, scheme: &str) -> Client {
    Client::builder().proxy(with_login(proxy, scheme)).build().unwrap()
}

/// Makes a request, and checks that its dial fails in the proxy phase. Returns the text of the error and its causes.
async fn refused(client: &Client, case: &str) -> String {
    let request = client.post("http://a.test/x").body("content").header("authorization", "for-origin");
    let error = within(20, request.send()).await.expect_err(case);
    let text = error.chain().to_string();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)), "{case}: {text}");
    assert_eq!((error.request_written(), error.is_connect()), (Written::Nothing, true), "{case}: {text}");
    assert!(!format!("{error:?} {text}").contains("planted"), "A-60 {case}: {text}");
    let total = client.pool().stats().total;
    assert_eq!((total.active, total.idle, total.dialing, total.waiting), (0, 0, 0, 0), "{case}: {total}");
    text
}

/// What a proxy answers to CONNECT, in pieces of any size, and a part of the error. With `None`, the tunnel opens.
const ANSWERS: &[(&str, &str, Option<&str>)] = &[
    ("no content", "HTTP/1.1 200 OK\r\n\r\n", None),
    (
        "interim responses",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        None,
    ),
    ("a length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", None),
    ("a coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None),
    ("an old version", "HTTP/1.0 200 Connection established\r\nproxy-agent: x\r\n\r\n", None),
    ("a close", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", None),
    ("an odd success", "HTTP/1.1 299 Odd\r\n\r\n", None),
    (
        "content after a length",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        Some("sent bytes after its answer"),
    ),
    (
        "a chunk",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Some("sent bytes after its answer"),
    ),
    (
        "a second response",
        "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        Some("sent bytes after its answer"),
    ),
    (
        "another protocol",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        Some("no valid answer"),
    ),
    (
        "a redirect",
        "HTTP/1.1 302 Found\r\nlocation: http://evil.test/\r\ncontent-length: 0\r\n\r\n",
        Some("302 Found"),
    ),
    (
        "a refusal with chunks",
        "HTTP/1.1 403 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Some("403 Forbidden"),
    ),
    (
        "a refusal with a huge length",
        "HTTP/1.1 502 No\r\ncontent-length: 9999999999999\r\n\r\nx",
        Some("502 Bad Gateway"),
    ),
    ("a timeout", "HTTP/1.1 408 Slow\r\nconnection: close\r\n\r\n", Some("408 Request Timeout")),
    ("a 417", "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n", Some("417 Expectation Failed")),
    ("a 407 without challenges", "HTTP/1.1 407 No\r\n\r\n", Some("does not accept the credentials")),
    (
        "both framings",
        "HTTP/1.1 403 No\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        Some("no valid answer"),
    ),
    ("HTTP/2", "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\0\0\0\0", Some("no valid answer")),
    ("a TLS alert", "\x15\x03\x01\0\x02\x02\x28", Some("no valid answer")),
    ("SOCKS", "\x05\0", Some("no valid answer")),
    ("the echo of the request", "CONNECT a.test:80 HTTP/1.1\r\n\r\n", Some("no valid answer")),
    ("nothing", "", Some("closed the connection before the end of its answer")),
    ("half a head", "HTTP/1.1 200 OK\r\nvia: x", Some("closed the connection before the end of its answer")),
];

#[tokio::test]
async fn a_56_each_answer_to_connect_opens_the_tunnel_or_is_an_error_of_its_own() {
    for &(case, answer, expected) in ANSWERS {
        for split in [Split::Whole, Split::Bytes] {
            // Bytes after the answer may come at the same time as the answer, or later.
            if matches!(split, Split::Bytes) && expected.is_some_and(|text| text.starts_with("sent bytes")) {
                continue;
            }
            let proxy = Server::start(move |peer| {
                peer.request()?;
                peer.send_split(answer, split)?;
                if expected.is_some_and(|text| text.starts_with("closed")) {
                    return peer.close();
                }
                while let Some(request) = peer.request()? {
                    peer.respond(&request.target)?;
                }
                Ok(())
            });
            let client = tunnels(&proxy, "http");
            let case = format!("{case}, {split:?}");
            match expected {
                None => {
                    let response = within(20, client.get("http://a.test/x").send()).await;
                    let response = response.unwrap_or_else(|error| panic!("{case}: {}", error.chain()));
                    assert_eq!(response.text().await.unwrap(), "/x", "A-56 {case}");
                }
                Some(expected) => {
                    let text = refused(&client, &case).await;
                    assert!(text.contains(expected), "A-56 {case}: {text}");
                    assert_eq!(proxy.seen().len(), 1, "A-57 {case}: nothing but CONNECT is sent");
                }
            }
            let seen = proxy.seen();
            let connect = &seen[0].request.head;
            assert!(connect.starts_with("CONNECT a.test:80 HTTP/1.1\r\n"), "{case}: {connect}");
            assert!(!connect.contains("for-origin"), "A-60 {case}: {connect}");
            assert_eq!(proxy.connections(), 1, "{case}");
        }
    }
}

/// Bytes that come after the tunnel was opened, and before the request was sent, do not answer the request.
#[tokio::test]
async fn a_68_bytes_that_follow_the_answer_of_the_proxy_are_nobodys_response() {
    let (sent, asked) = (Signal::new(), Signal::new());
    let (told, asking) = (sent.clone(), asked.clone());
    let proxy = Server::start(move |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\n\r\n")?;
        if peer.number() == 0 {
            peer.wait(&asking)?;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")?;
            told.raise();
        }
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let client = tunnels(&proxy, "http");
    within(20, client.warm("http://a.test/", 1)).await.unwrap();
    asked.raise();
    within(20, sent.raised()).await;
    let response = within(20, client.get("http://a.test/x").send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/x", "A-68");
    assert_eq!(proxy.connections(), 2, "A-27: the connection is not used");
}

/// Runs a proxy that sends `first` once, and then `more` without an end. Returns how many bytes the proxy could send.
async fn flooded(first: &'static [u8], more: &'static [u8], scheme: &str, case: &str) -> (usize, String) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let proxy = Server::start(move |peer| {
        peer.take(1)?;
        peer.send(first)?;
        let piece = more.repeat(4_096 / more.len());
        loop {
            peer.send(&piece)?;
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let text = refused(&tunnels(&proxy, scheme), case).await;
    // The proxy sees the end of the connection, and stops.
    let mut last = usize::MAX;
    until("the proxy has stopped", || std::mem::replace(&mut last, sent.load(Ordering::SeqCst)) == last)
        .await;
    (sent.load(Ordering::SeqCst), text)
}

/// What is sent beyond the limits stays in the buffers of the sockets.
const BUFFERS: usize = 16 << 20;

#[tokio::test]
async fn endless_answers_of_a_proxy_are_cut_off() {
    for (case, scheme, first, more, expected) in [
        ("A-02 fields", "http", &b"HTTP/1.1 200 OK\r\n"[..], &b"x: y\r\n"[..], "no valid answer"),
        ("A-03 one line", "http", b"HTTP/1.1 200 OK\r\nx: ", b"y", "no valid answer"),
        ("A-03 the status line", "http", b"HTTP/1.1 200 ", b"y", "no valid answer"),
        ("A-04 interim responses", "http", b"", b"HTTP/1.1 100 Continue\r\n\r\n", "no valid answer"),
        ("A-05 blank lines", "http", b"", b"\r\n", "no valid answer"),
        (
            "A-59 challenges",
            "http",
            b"HTTP/1.1 407 No\r\n",
            b"proxy-authenticate: Basic realm=x\r\n",
            "no valid answer",
        ),
        (
            "A-59 one challenge",
            "http",
            b"HTTP/1.1 407 No\r\nproxy-authenticate: ",
            b"a b=\"c, ",
            "no valid answer",
        ),
        (
            "content of a refusal",
            "http",
            b"HTTP/1.1 403 No\r\ntransfer-encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            "403",
        ),
        // The first byte of the content comes with the head.
        ("content of a success", "http", b"HTTP/1.1 200 OK\r\n\r\nx", b"x", "sent bytes after its answer"),
        ("A-62 methods", "socks5h", b"\x05\x00", b"\x05\x00", "reserved byte"),
        ("A-62 a reply", "socks5h", b"\x05\x00\x05\x00\x00\x03\xff", b"x", "sent bytes after its answer"),
        ("A-62 zeroes", "socks5h", b"", b"\0", "version 0"),
        ("A-62 zeroes", "socks4a", b"", b"\0", "unknown reason"),
        ("A-62 a reply", "socks4a", b"\0\x5a", b"x", "sent bytes after its answer"),
    ] {
        let (sent, text) = flooded(first, more, scheme, case).await;
        assert!(text.contains(expected), "{case}: {text}");
        assert!(sent < BUFFERS, "{case}: {sent} bytes were taken");
        assert!(text.len() < 1_000, "{case}: {text}");
    }
}

/// A dial goes on without its request, until the connect timeout at the latest. The proxy then sees the end of the
/// connection, in whatever step of the dialog it stays silent.
#[tokio::test]
async fn rule_31_a_dial_that_was_left_leaves_a_silent_proxy_too() {
    let mut cases = tokio::task::JoinSet::new();
    for (scheme, steps) in [
        ("http", &[&b""[..], b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"][..]),
        (
            "socks5h",
            &[
                b"",
                b"\x05",
                b"\x05\x02",
                b"\x05\x02\x01",
                b"\x05\x02\x01\x00",
                b"\x05\x02\x01\x00\x05\x00\x00",
            ],
        ),
        ("socks4", &[b"", b"\0", b"\0\x5a\0\0"]),
        #[cfg(feature = "rustls")]
        ("https", &[b"", b"\x16\x03\x03"]),
    ] {
        for &step in steps {
            cases.spawn(async move {
                let (begun, ended) = (Signal::new(), Signal::new());
                let (begins, ends) = (begun.clone(), ended.clone());
                let proxy = Server::start(move |peer| {
                    peer.take(1)?;
                    peer.send(step)?;
                    begins.raise();
                    peer.stall()?;
                    ends.raise();
                    Ok(())
                });
                let builder = Client::builder().resolve("a.test", ([192, 0, 2, 1], 0).into());
                let builder = builder.connect_timeout(Duration::from_secs(2));
                let client = builder.proxy(with_login(&proxy, scheme)).build().unwrap();
                let request = tokio::spawn(client.get("http://a.test/").send());
                within(20, begun.raised()).await;
                request.abort();
                assert!(request.await.unwrap_err().is_cancelled());
                within(20, ended.raised()).await;
                drop(client);
            });
        }
    }
    while let Some(ended) = cases.join_next().await {
        ended.unwrap();
    }
}
