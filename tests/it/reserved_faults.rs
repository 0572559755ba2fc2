//! Tests of faults that were found in reserved connections: waits that did not end, and redirects that cost the
//! connection.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use handclasp::{Client, ErrorKind, Phase, Written};

use crate::support::scripted::{Peers, Reply, Script};
use crate::support::{Peer, Server, within};

const URL: &str = "http://a.test/";

/// Returns peers in memory whose connections send these replies.
fn peers(replies: &[Reply]) -> Peers {
    Peers::new(Script { is_eager: true, ..Script::new(&[replies]) })
}

/// A response whose content never ends, although little of the content is left.
fn endless() -> Reply {
    Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12"])
}

/// The runtime of the connection is not driven, so that the drain of the latest response never ends.
#[test]
fn a_request_on_another_runtime_does_not_wait_for_a_drain() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (home, other) = (runtime(), runtime());
    let server = Server::start(|peer: &mut Peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12")?;
        peer.drain()
    });
    let (client, url) = (Client::new(), server.url("/"));
    let mut reserved = home.block_on(client.reserve(&url)).unwrap();
    drop(home.block_on(async { within(20, reserved.get(&url).send()).await }).unwrap());
    let error = other.block_on(async { within(20, reserved.get(&url).send()).await }).unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Request, Written::Nothing), "{error}");
    assert!(error.to_string().contains("belongs to another tokio runtime"), "{error}");
}

/// The timeouts of a request include the wait for the end of a drain.
#[tokio::test(start_paused = true)]
async fn the_wait_for_a_drain_has_the_limits_of_a_wait_for_a_connection() {
    let short = Duration::from_millis(10);
    for limit in ["timeout", "connect_timeout", "acquire_timeout", "none"] {
        let mut builder = Client::builder().connector(peers(&[endless()]).connector());
        if limit == "acquire_timeout" {
            builder = builder.acquire_timeout(short);
        }
        let client = builder.build().unwrap();
        let mut reserved = client.reserve(URL).await.unwrap();
        drop(within(20, reserved.get(URL).send()).await.unwrap());
        let next = reserved.get(URL);
        let next = match limit {
            "timeout" => next.timeout(short),
            "connect_timeout" => next.connect_timeout(short),
            _ => next,
        };
        let error = within(20, next.send()).await.unwrap_err();
        let kind = match limit {
            "timeout" | "connect_timeout" => ErrorKind::Timeout,
            "acquire_timeout" => ErrorKind::PoolTimeout,
            _ => ErrorKind::ConnectionLost,
        };
        assert_eq!((error.kind(), error.request_written()), (kind, Written::Nothing), "{limit}: {error}");
        if limit != "none" {
            assert_eq!(error.phase(), Some(Phase::Queue), "{limit}: {error}");
            assert!(error.to_string().contains(limit), "{limit}: {error}");
        }
    }
}

/// A redirect whose content may be long is handed over, because its content could cost the reserved connection.
#[cfg(feature = "url")]
#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed_only_if_its_content_ends_soon() {
    let head = "HTTP/1.1 302 Found\r\nlocation: /end\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let long = format!("{head}content-length: 70000\r\n\r\n");
    let rest = "x".repeat(70_000);
    for (what, pieces, follows) in [
        ("a short length", vec![format!("{head}content-length: 5\r\n\r\nhe"), "llo".to_owned()], true),
        ("no content", vec![format!("{head}content-length: 0\r\n\r\n")], true),
        ("chunks that came", vec![format!("{chunked}2\r\nhe\r\n0\r\n\r\n")], true),
        ("chunks that came with trailers", vec![format!("{chunked}2\r\nhe\r\n0\r\na: b\r\n\r\n")], true),
        ("chunks to come", vec![chunked.clone(), "2\r\nhe\r\n0\r\n\r\n".to_owned()], false),
        ("a part of the chunks", vec![format!("{chunked}2\r\nhe\r\n0\r\n"), "\r\n".to_owned()], false),
        ("a long content", vec![long, rest], false),
    ] {
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        let peers = peers(&[Reply::raw(&pieces), Reply::ok("end")]);
        let client = Client::builder().connector(peers.connector()).build().unwrap();
        let mut reserved = client.reserve(URL).await.unwrap();
        let response = within(20, reserved.get(URL).send()).await.unwrap();
        let status = if follows { 200 } else { 302 };
        let seen = (response.status().as_u16(), response.redirects().len());
        assert_eq!(seen, (status, usize::from(follows)), "{what}");
        response.bytes().await.unwrap();
        assert!(reserved.is_open(), "{what}: the caller keeps the connection");
        let response = within(20, reserved.get(URL).send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "end", "{what}");
    }
}

/// A redirect with a short content that comes late keeps the connection.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_short_content_of_a_redirect_may_come_late() {
    use std::pin::pin;

    use crate::support::Signal;

    let late = Signal::new();
    let signal = late.clone();
    let server = Server::start(move |peer: &mut Peer| {
        peer.request()?;
        peer.send("HTTP/1.1 302 Found\r\nlocation: /end\r\ncontent-length: 4\r\n\r\n")?;
        peer.wait(&signal)?;
        peer.send("gone")?;
        peer.request()?;
        peer.respond("end")
    });
    let client = Client::new();
    let mut reserved = client.reserve(server.url("/")).await.unwrap();
    let mut sending = pin!(within(20, reserved.get(server.url("/")).send()));
    // A drain that is not needed is given up after 100 ms.
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut sending).await;
    assert!(waited.is_err(), "the next hop waits for the content: {waited:?}");
    late.raise();
    assert_eq!(sending.await.unwrap().text().await.unwrap(), "end");
    assert_eq!(server.requests_per_connection(), [2]);
}
