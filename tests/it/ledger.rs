//! Tests of the counts in the pool's ledger: requests that were sent, including requests under way, and handshakes that
//! reuse saved.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handclasp::{Body, BoxError, Client, HostStats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::pipe::Pipe;
use crate::support::{Peer, Server, until, within};

const MS: Duration = Duration::from_millis(1);

fn total(client: &Client) -> HostStats {
    client.pool().stats().total
}

/// Checks the counts of the only host, and that the ledger of all hosts equals the ledger of this host.
#[track_caller]
fn assert_sent(client: &Client, requests: u64, reused: u64, saved: u64) {
    let stats = client.pool().stats();
    for ledger in [&stats.total, &stats.hosts[0]] {
        assert_eq!(
            (ledger.requests, ledger.reused, ledger.handshakes_saved),
            (requests, reused, saved),
            "{ledger}"
        );
    }
}

/// Starts a server that answers `/half` with half of the announced content, and `/upgrade` with a 101. The server does not
/// answer `/silent`, and sends a complete response for any other path.
fn server() -> Server {
    Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/half" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhalf")?,
                "/upgrade" => {
                    peer.send("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")?;
                    return peer.is_ended().map(|_| ());
                }
                "/silent" => return peer.is_ended().map(|_| ()),
                _ => peer.respond("whole")?,
            }
        }
        Ok(())
    })
}

async fn get(client: &Client, url: &str) {
    within(20, client.get(url).send()).await.unwrap().bytes().await.unwrap();
}

#[tokio::test]
async fn a_response_that_is_not_read_counts_while_it_is_held_and_after_it_was_dropped() {
    let (server, client) = (server(), Client::new());
    let first = within(20, client.get(server.url("/half")).send()).await.unwrap();
    assert_sent(&client, 1, 0, 0);
    drop(first);
    assert_sent(&client, 1, 0, 0);
    // A request on a connection that has carried an earlier request saves a handshake.
    get(&client, &server.url("/")).await;
    let second = within(20, client.get(server.url("/half")).send()).await.unwrap();
    assert!(second.connection().is_reused());
    assert_sent(&client, 3, 1, 1);
    assert!(total(&client).time_saved > Duration::ZERO);
    drop(second);
    assert_sent(&client, 3, 1, 1);
}

#[tokio::test]
async fn a_request_that_is_not_answered_yet_counts_as_sent_and_saves_nothing() {
    let (server, client) = (server(), Client::new());
    get(&client, &server.url("/")).await;
    let (asking, url) = (client.clone(), server.url("/silent"));
    let request = tokio::spawn(async move { asking.get(url).send().await });
    until("the request is there", || server.seen().len() == 2).await;
    assert_sent(&client, 2, 1, 0);
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert_sent(&client, 2, 1, 0);
}

#[tokio::test]
async fn an_upload_that_goes_on_counts() {
    struct Never;
    impl futures_core::Stream for Never {
        type Item = Result<bytes::Bytes, BoxError>;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Pending
        }
    }
    let (server, client) = (server(), Client::new());
    let (asking, url) = (client.clone(), server.url("/upload"));
    let request = tokio::spawn(async move { asking.post(url).body(Body::from_stream(Never)).send().await });
    until("the head is there", || server.connections() == 1 && total(&client).requests == 1).await;
    assert_sent(&client, 1, 0, 0);
    request.abort();
}

#[tokio::test]
async fn an_upgraded_connection_counts_while_it_is_held_and_after_it_was_dropped() {
    let (server, client) = (server(), Client::new());
    get(&client, &server.url("/")).await;
    let request = client.get(server.url("/upgrade")).header("upgrade", "x");
    let upgraded = within(20, request.send()).await.unwrap().upgrade().await.unwrap();
    assert_sent(&client, 2, 1, 1);
    drop(upgraded);
    assert_sent(&client, 2, 1, 1);
}

#[tokio::test]
async fn many_responses_that_are_held_are_all_counted() {
    let (server, client) = (server(), Client::new());
    let mut held = Vec::new();
    for nth in 1..=150 {
        held.push(within(20, client.get(server.url("/half")).send()).await.unwrap());
        assert_sent(&client, nth, 0, 0);
    }
    drop(held);
    assert_sent(&client, 150, 0, 0);
}

/// Returns a client with connections in memory. The handshakes take the times of `handshakes` in order, and all later
/// handshakes take the last of these times. Each connection answers 10 ms after a request.
fn client_with_handshakes(handshakes: &'static [u64]) -> Client {
    let made = Arc::new(AtomicUsize::new(0));
    Client::builder()
        .connector(move |_| {
            let nth = made.fetch_add(1, Ordering::SeqCst);
            let takes = handshakes[nth.min(handshakes.len() - 1)];
            async move {
                tokio::time::sleep(takes as u32 * MS).await;
                let (ours, mut theirs) = Pipe::pair(4096);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while matches!(theirs.read(&mut buffer).await, Ok(1..)) {
                        tokio::time::sleep(10 * MS).await;
                        theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                });
                Ok(ours.boxed())
            }
        })
        .build()
        .unwrap()
}

async fn get_at_once(client: &Client, url: &str, width: usize) {
    let requests: Vec<_> = (0..width)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            tokio::spawn(async move { get(&client, &url).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_a_burst_slowed_down_are_not_counted_as_saved() {
    let client = client_with_handshakes(&[5, 8, 11, 14]);
    get_at_once(&client, "http://a.test/", 4).await;
    assert_eq!((total(&client).opened, total(&client).time_saved), (4, Duration::ZERO));
    get_at_once(&client, "http://a.test/", 4).await;
    let ledger = total(&client);
    assert_eq!((ledger.opened, ledger.handshakes_saved), (4, 4));
    assert_eq!(ledger.time_saved, 4 * 5 * MS, "each reuse counts the shortest handshake seen");
    assert_eq!(client.pool().stats().hosts[0].time_saved, 4 * 5 * MS);
    assert!(ledger.to_string().contains("at least 20.0ms"), "{ledger}");
}

#[tokio::test(start_paused = true)]
async fn a_shorter_handshake_counts_from_when_it_was_seen() {
    let client = client_with_handshakes(&[40, 8]);
    let url = "http://a.test/";
    get(&client, url).await;
    get(&client, url).await;
    assert_eq!(total(&client).time_saved, 40 * MS);
    // Of two requests at once, one reuses the connection, and the other request dials a second connection.
    get_at_once(&client, url, 2).await;
    let before = total(&client);
    assert_eq!((before.opened, before.handshakes_saved), (2, 2));
    get_at_once(&client, url, 2).await;
    assert_eq!(total(&client).time_saved, before.time_saved + 2 * 8 * MS);
}

#[tokio::test(start_paused = true)]
async fn what_one_host_takes_says_nothing_of_another() {
    let client = client_with_handshakes(&[5, 70]);
    for url in ["http://a.test/", "http://b.test/"] {
        get(&client, url).await;
        get(&client, url).await;
    }
    let stats = client.pool().stats();
    let saved = |origin: &str| stats.hosts.iter().find(|host| host.origin == origin).unwrap().time_saved;
    assert_eq!((saved("http://a.test"), saved("http://b.test")), (5 * MS, 70 * MS));
    assert_eq!(stats.total.time_saved, 75 * MS);
}
