//! Tests of faults that were found in reserved connections: waits that did not end.

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
