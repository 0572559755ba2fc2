//! Tests of connection reuse: when a connection is kept, which request gets the connection next, and when and why the
//! connection is closed. The tests compare the server's counts with the client's ledger.
#![allow(missing_docs, clippy::unwrap_used)]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use handclasp::{Client, DropReason, ErrorKind, HostStats, Phase, Response, Written};
use http::Uri;
use tokio::task::JoinHandle;

use crate::support::{Server, Signal, until, within};

/// Checks the ledger at a moment when no request or dial is under way.
#[track_caller]
fn assert_ledger(stats: &HostStats, opened: u64, requests: u64, reused: u64, closed: &[(DropReason, u64)]) {
    assert_eq!((stats.opened, stats.requests, stats.reused), (opened, requests, reused), "{stats}");
    // The first request on a connection saves no handshake, whichever request began the dial of the connection.
    assert!(stats.handshakes_saved <= reused.min(requests.saturating_sub(opened)), "{stats}");
    for &reason in DropReason::ALL {
        let expected = closed.iter().find(|(it, _)| *it == reason).map_or(0, |(_, count)| *count);
        assert_eq!(stats.closed(reason), expected, "{reason:?}: {stats}");
    }
    assert_eq!(stats.closed_total() + stats.idle as u64 + stats.active as u64, opened, "{stats}");
    assert_eq!((stats.dialing, stats.waiting, stats.failed_dials), (0, 0, 0), "{stats}");
}

fn total(client: &Client) -> HostStats {
    client.pool().stats().total
}

/// Fetches a path, checks that the server echoes the path, and returns the response.
async fn get(client: &Client, server: &Server, path: &str) -> Response {
    within(20, client.get(server.url(path)).send()).await.unwrap()
}

async fn get_text(client: &Client, server: &Server, path: &str) {
    assert_eq!(get(client, server, path).await.text().await.unwrap(), path);
}

/// Sends a request in a task of its own. On a runtime of one thread, tasks begin in the order in which they are
/// spawned.
fn send(client: &Client, url: String) -> JoinHandle<Response> {
    let client = client.clone();
    tokio::spawn(async move { within(20, client.get(url).send()).await.unwrap() })
}

/// Starts a server that answers a request for `/0`, `/1` and so on only after the signal of that number is raised.
fn server_that_waits(signals: &[Signal]) -> Server {
    let signals = signals.to_vec();
    Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            if let Some(signal) = request.target[1..].parse().ok().and_then(|at: usize| signals.get(at)) {
                peer.wait(signal)?;
            }
            peer.respond(&request.target)?;
        }
        Ok(())
    })
}

fn signals(count: usize) -> Vec<Signal> {
    (0..count).map(|_| Signal::new()).collect()
}

/// Starts a server that answers each request with a part of the content and then stalls. The returned counter holds the
/// number of ended connections.
fn server_that_stalls() -> (Server, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let server = Server::start(move |peer| {
        if peer.request()?.is_some() {
            // The remaining content is larger than the client's limit for a drain.
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhello")?;
            peer.stall().unwrap_or_default();
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    (server, ended)
}

/// Starts a server that echoes the target of each request, and counts the connections that have ended.
fn echo_that_counts() -> (Server, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request().unwrap_or_default() {
            peer.respond(&request.target)?;
        }
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    (server, ended)
}

#[tokio::test]
async fn sequential_requests_use_one_connection() {
    let (server, client) = (Server::echo(), Client::new());
    for nth in 1..=20 {
        let response = get(&client, &server, "/").await;
        let info = response.connection();
        assert_eq!((info.id(), info.ordinal(), info.is_reused()), (1, nth, nth > 1));
        // The content had arrived, so that the client read it without waiting.
        let timings = response.timings();
        assert!((nth > 1) == (timings.queued == Duration::ZERO) && timings.send > Duration::ZERO);
        response.text().await.unwrap();
    }
    assert_eq!(server.requests_per_connection(), [20], "R-9112-9.3-1");
    assert_ledger(&total(&client), 1, 20, 19, &[]);
}

#[tokio::test]
async fn parallel_requests_use_several_connections_and_all_are_kept() {
    let signals = signals(4);
    let (server, client) = (server_that_waits(&signals), Client::new());
    let requests: Vec<_> = (0..4).map(|at| send(&client, server.url(&format!("/{at}")))).collect();
    until("four requests have arrived", || server.seen().len() == 4).await;
    assert_eq!((total(&client).active, total(&client).idle), (4, 0));
    signals.iter().for_each(Signal::raise);
    for request in requests {
        request.await.unwrap().text().await.unwrap();
    }
    assert_eq!((total(&client).active, total(&client).idle), (0, 4));
    get_text(&client, &server, "/after").await;
    assert_eq!(server.connections(), 4);
    assert_ledger(&total(&client), 4, 5, 1, &[]);
}

#[tokio::test]
async fn rule_06_the_connection_used_last_is_used_first() {
    let signals = signals(3);
    let (server, client) = (server_that_waits(&signals), Client::new());
    let requests: Vec<_> = (0..3).map(|at| send(&client, server.url(&format!("/{at}")))).collect();
    until("three requests have arrived", || server.seen().len() == 3).await;
    let mut last = 0;
    for (signal, request) in signals.iter().zip(requests) {
        signal.raise();
        let response = request.await.unwrap();
        last = response.connection().id();
        response.text().await.unwrap();
    }
    for _ in 0..3 {
        let response = get(&client, &server, "/after").await;
        assert_eq!(response.connection().id(), last);
        response.text().await.unwrap();
    }
    assert_ledger(&total(&client), 3, 6, 3, &[]);
}

#[tokio::test]
async fn rule_25_a_connection_is_not_kept_when_the_server_says_close() {
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")?;
        }
        Ok(())
    });
    let client = Client::new();
    for _ in 0..3 {
        assert_eq!(get(&client, &server, "/").await.text().await.unwrap(), "ok");
    }
    assert_eq!(server.requests_per_connection(), [1, 1, 1]);
    assert_ledger(&total(&client), 3, 3, 0, &[(DropReason::NotReusable, 3)]);
}

#[tokio::test]
async fn rule_25_a_connection_is_not_kept_when_the_request_says_close() {
    let (server, client) = (Server::echo(), Client::new());
    let response = client.get(server.url("/")).header("connection", "close").send().await.unwrap();
    response.text().await.unwrap();
    assert_ledger(&total(&client), 1, 1, 0, &[(DropReason::NotReusable, 1)]);
    get_text(&client, &server, "/after").await;
    assert_eq!(server.requests_per_connection(), [1, 1]);
}

#[tokio::test]
async fn rule_21_a_connection_is_not_kept_when_bytes_follow_the_response() {
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!")?;
        }
        Ok(())
    });
    let client = Client::new();
    for _ in 0..2 {
        assert_eq!(get(&client, &server, "/").await.text().await.unwrap(), "ok");
    }
    assert_eq!(server.requests_per_connection(), [1, 1]);
    assert_ledger(&total(&client), 2, 2, 0, &[(DropReason::Unsolicited, 2)]);
}

/// Starts a server that answers each request with `answer`, and with `closes` closes the connection after the answer.
fn server_that_says(answer: String, closes: bool) -> Server {
    Server::start(move |peer| {
        while peer.request()?.is_some() {
            peer.send(&answer)?;
            if closes {
                return peer.close();
            }
        }
        Ok(())
    })
}

/// Sends two requests that are answered with `answer`, and checks that their connections are closed for `reason`, or kept
/// if there is no reason.
async fn assert_kept(client: &Client, answer: &str, closes: bool, reason: Option<DropReason>) {
    let server = server_that_says(answer.to_owned(), closes);
    for _ in 0..2 {
        assert_eq!(get(client, &server, "/").await.text().await.unwrap(), "ok", "{answer:?}");
    }
    match reason {
        Some(reason) => {
            assert_eq!(server.requests_per_connection(), [1, 1], "{answer:?}");
            assert_ledger(&total(client), 2, 2, 0, &[(reason, 2)]);
        }
        None => {
            assert_eq!(server.requests_per_connection(), [2], "{answer:?}");
            assert_ledger(&total(client), 1, 2, 1, &[]);
        }
    }
}

/// Sends two requests that are answered with `answer`, and checks that each fails on a connection of its own.
async fn assert_failed(client: &Client, answer: &str) {
    let server = server_that_says(answer.to_owned(), false);
    for _ in 0..2 {
        let outcome = within(20, client.get(server.url("/")).send()).await;
        let error = match outcome {
            Ok(response) => within(20, response.text()).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Protocol, "{answer:?}: {error:?}");
    }
    assert_eq!(server.requests_per_connection(), [1, 1], "{answer:?}");
    assert_ledger(&total(client), 2, 2, 0, &[(DropReason::Failed, 2)]);
}

#[tokio::test]
async fn rule_25_http_1_0_keeps_only_what_it_says_it_keeps() {
    let closes = Some(DropReason::NotReusable);
    for (fields, reason) in
        [("", closes), ("Connection: x\r\n", closes), ("Connection: x, Keep-Alive\r\n", None)]
    {
        let answer = format!("HTTP/1.0 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        assert_kept(&Client::new(), &answer, false, reason).await;
    }
}

#[tokio::test]
async fn rule_25_a_body_that_ends_with_its_connection_takes_it_along() {
    for fields in ["", "Connection: keep-alive\r\n", "Keep-Alive: timeout=60\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\nok");
        assert_kept(&Client::new(), &answer, true, Some(DropReason::NotReusable)).await;
    }
}

#[tokio::test]
async fn rule_25_a_breach_of_framing_ends_the_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
    ] {
        assert_failed(&Client::new(), answer).await;
    }
}

#[tokio::test]
async fn rule_25_what_exceeds_a_limit_ends_the_connection() {
    let long = "x".repeat(70_000);
    let informed = "HTTP/1.1 102 Processing\r\n\r\n".repeat(101);
    for answer in [
        format!("HTTP/1.1 200 OK\r\nx-long: {long}\r\ncontent-length: 2\r\n\r\nok"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x={long}\r\nok\r\n0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: {long}\r\n\r\n"),
        format!("{informed}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ] {
        assert_failed(&Client::new(), &answer).await;
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_unread_closes_the_connection() {
    let (server, ended) = server_that_stalls();
    let client = Client::new();
    let response = get(&client, &server, "/").await;
    assert_eq!(total(&client).active, 1);
    drop(response);
    assert_eq!((total(&client).active, total(&client).idle), (0, 0), "R-9112-9.3-4");
    assert_ledger(&total(&client), 1, 1, 0, &[(DropReason::Abandoned, 1)]);
    until("the server has noticed the close", || ended.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_body_that_is_dropped_when_all_of_it_had_arrived_costs_nothing() {
    let large = "x".repeat(3000);
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n{large}"),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
    ];
    let expected = answers.len();
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            let at: usize = request.target[1..].parse().unwrap();
            peer.send(&answers[at])?;
        }
        Ok(())
    });
    let client = Client::new();
    for at in 0..expected {
        drop(get(&client, &server, &format!("/{at}")).await);
        assert_eq!(total(&client).idle, 1, "answer {at}");
    }
    assert_eq!(server.requests_per_connection(), [expected]);
}

#[tokio::test]
async fn rule_25_a_request_that_is_dropped_while_it_waits_closes_the_connection() {
    let signals = signals(1);
    let (server, client) = (server_that_waits(&signals), Client::new());
    let request = send(&client, server.url("/0"));
    until("the request is there", || server.seen().len() == 1).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert_ledger(&total(&client), 1, 1, 0, &[(DropReason::Abandoned, 1)]);
}

#[tokio::test]
async fn rule_12_the_dial_of_a_dropped_request_goes_on_and_its_connection_is_kept() {
    let (server, client) = (Server::echo(), Client::new());
    let mut request = Box::pin(client.get(server.url("/dropped")).send());
    // After one poll the request has asked for a connection.
    let is_pending = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending);
    drop(request);
    until("the connection is idle", || total(&client).idle == 1).await;
    get_text(&client, &server, "/after").await;
    assert_eq!(server.requests_per_connection(), [1]);
    assert_ledger(&total(&client), 1, 1, 1, &[]);
}

#[tokio::test]
async fn rule_06_at_the_limit_requests_are_served_in_the_order_of_their_asking() {
    let signals = signals(1);
    let server = server_that_waits(&signals);
    let client = Client::builder().max_connections_per_host(1).build().unwrap();
    let requests: Vec<_> = (0..10).map(|at| send(&client, server.url(&format!("/{at}")))).collect();
    until("all requests have asked for a connection", || {
        total(&client).waiting == 9 && server.seen().len() == 1
    })
    .await;
    assert_eq!((total(&client).active, total(&client).idle), (1, 0));
    signals[0].raise();
    for (at, request) in requests.into_iter().enumerate() {
        let response = request.await.unwrap();
        let info = response.connection();
        assert_eq!((info.id(), info.ordinal(), info.is_reused()), (1, at as u64 + 1, at > 0));
        assert_eq!(response.text().await.unwrap(), format!("/{at}"));
    }
    let order: Vec<_> = server.seen().into_iter().map(|seen| seen.request.target).collect();
    assert_eq!(order, (0..10).map(|at| format!("/{at}")).collect::<Vec<_>>());
    assert_eq!(server.connections(), 1);
    assert_ledger(&total(&client), 1, 10, 9, &[]);
}

#[tokio::test]
async fn rule_07_a_waiter_that_left_is_passed_over() {
    let signals = signals(1);
    let server = server_that_waits(&signals);
    let client = Client::builder().max_connections_per_host(1).build().unwrap();
    let first = send(&client, server.url("/0"));
    until("the first request has arrived", || server.seen().len() == 1).await;
    let left = send(&client, server.url("/left"));
    let stays = send(&client, server.url("/stays"));
    until("both wait", || total(&client).waiting == 2).await;
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    assert_eq!(total(&client).waiting, 1);
    signals[0].raise();
    first.await.unwrap().text().await.unwrap();
    assert_eq!(stays.await.unwrap().text().await.unwrap(), "/stays");
    assert_eq!(server.seen_by_target().keys().collect::<Vec<_>>(), ["/0", "/stays"]);
    assert_ledger(&total(&client), 1, 2, 1, &[]);
}

#[tokio::test]
async fn rule_05_at_the_total_limit_another_hosts_idle_connection_gives_way() {
    let ((one, one_ended), (other, _)) = (echo_that_counts(), echo_that_counts());
    let client = Client::builder().max_connections(1).build().unwrap();
    get_text(&client, &one, "/").await;
    get_text(&client, &other, "/").await;
    until("the first server has noticed the close", || one_ended.load(Ordering::SeqCst) == 1).await;
    assert_eq!((one.connections(), other.connections()), (1, 1));
    let stats = client.pool().stats();
    assert_ledger(&stats.total, 2, 2, 0, &[(DropReason::Evicted, 1)]);
    let of = |server: &Server| {
        let origin = format!("http://{}", server.address());
        stats.hosts.iter().find(|host| host.origin == origin).unwrap()
    };
    assert_ledger(of(&one), 1, 1, 0, &[(DropReason::Evicted, 1)]);
    assert_ledger(of(&other), 1, 1, 0, &[]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_its_time_is_over_without_any_request() {
    let (server, ended) = echo_that_counts();
    let client = Client::builder().idle_timeout(Duration::from_millis(50)).build().unwrap();
    get_text(&client, &server, "/").await;
    until("the server has noticed the close", || ended.load(Ordering::SeqCst) == 1).await;
    until("the ledger counts the close", || total(&client).active == 0).await;
    assert_ledger(&total(&client), 1, 1, 0, &[(DropReason::IdleTimeout, 1)]);
    get_text(&client, &server, "/").await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_keeps_connections_for_a_second_is_not_trusted_with_one() {
    for (answer, kept) in [("timeout=1", 0), ("timeout=1, max=100", 0), ("timeout=30", 1), ("max=100", 1)] {
        let server = Server::start(move |peer| {
            while peer.request()?.is_some() {
                peer.send(format!("HTTP/1.1 200 OK\r\nKeep-Alive: {answer}\r\nContent-Length: 2\r\n\r\nok"))?;
            }
            Ok(())
        });
        let client = Client::new();
        get(&client, &server, "/").await.text().await.unwrap();
        let closed = [(DropReason::IdleTimeout, 1 - kept)];
        assert_eq!(total(&client).idle as u64, kept, "{answer}");
        assert_ledger(&total(&client), 1, 1, 0, &closed);
    }
}

#[tokio::test]
async fn rule_03_the_oldest_idle_connection_of_a_host_goes_when_there_are_enough() {
    let signals = signals(3);
    let server = server_that_waits(&signals);
    let client = Client::builder().max_idle_per_host(2).build().unwrap();
    let requests: Vec<_> = (0..3).map(|at| send(&client, server.url(&format!("/{at}")))).collect();
    until("three requests have arrived", || server.seen().len() == 3).await;
    let mut order = Vec::new();
    for (signal, request) in signals.iter().zip(requests) {
        signal.raise();
        let response = request.await.unwrap();
        order.push(response.connection().id());
        response.text().await.unwrap();
    }
    assert_eq!(total(&client).idle, 2);
    assert_ledger(&total(&client), 3, 3, 0, &[(DropReason::Evicted, 1)]);
    // The connection that was returned first is closed. Two requests at once get the other two connections, newest first.
    signals[0].raise();
    signals[1].raise();
    let again: Vec<_> = (0..2).map(|at| send(&client, server.url(&format!("/{at}")))).collect();
    let mut found = Vec::new();
    for request in again {
        found.push(request.await.unwrap().connection().id());
    }
    assert_eq!(found, [order[2], order[1]]);
}

#[tokio::test]
async fn rule_03_nothing_is_kept_where_no_idle_connection_is_allowed() {
    let server = Server::echo();
    for client in [
        Client::builder().max_idle_per_host(0).build().unwrap(),
        Client::builder().max_idle(0).build().unwrap(),
        Client::builder().idle_timeout(Duration::ZERO).build().unwrap(),
    ] {
        get_text(&client, &server, "/").await;
        get_text(&client, &server, "/").await;
        let stats = total(&client);
        assert_eq!(
            (stats.opened, stats.requests, stats.reused, stats.closed_total()),
            (2, 2, 0, 2),
            "{stats}"
        );
    }
}

#[tokio::test]
async fn rule_03_the_connection_idle_for_longest_goes_when_there_are_enough_in_all() {
    let servers: Vec<_> = (0..3).map(|_| Server::echo()).collect();
    let client = Client::builder().max_idle(2).build().unwrap();
    for server in &servers {
        get_text(&client, server, "/").await;
    }
    // After a burst of requests the pool keeps the connections of the burst.
    for server in &servers {
        get_text(&client, server, "/").await;
    }
    assert_ledger(&total(&client), 3, 6, 3, &[]);
    // A surplus connection that was not used for one second is closed, even if no further request comes.
    until("the surplus connection is closed", || total(&client).idle == 2).await;
    assert_ledger(&total(&client), 3, 6, 3, &[(DropReason::Evicted, 1)]);
    for server in &servers[1..] {
        get_text(&client, server, "/").await;
    }
    assert_ledger(&total(&client), 3, 8, 5, &[(DropReason::Evicted, 1)]);
    get_text(&client, &servers[0], "/").await;
    assert_eq!(servers.iter().map(Server::connections).collect::<Vec<_>>(), [2, 1, 1]);
}

#[tokio::test]
async fn spellings_of_a_host_share_its_connection() {
    let server = Server::echo();
    let port = server.address().port();
    let client = Client::builder().resolve("a.test", server.address()).build().unwrap();
    let fetch = async |uri: String| {
        let response = within(20, client.get(uri.parse::<Uri>().unwrap()).send()).await.unwrap();
        let id = response.connection().id();
        response.text().await.unwrap();
        id
    };
    for authority in ["a.test", "A.Test", "user:secret@a.test"] {
        assert_eq!(fetch(format!("http://{authority}:{port}/")).await, 1, "{authority}");
    }
    for seen in server.seen() {
        assert!(!seen.request.head.contains("secret"), "{}", seen.request.head);
    }
    assert_eq!(server.requests_per_connection(), [3]);
    assert_eq!(client.pool().stats().hosts.len(), 1);
}

#[tokio::test]
async fn other_names_and_other_ports_do_not_share_a_connection() {
    let (one, other) = (Server::echo(), Server::echo());
    let (port, address) = (one.address().port(), one.address());
    let client = Client::builder().resolve("a.test", address).resolve("b.test", address).build().unwrap();
    for name in ["a.test", "b.test", "127.0.0.1"] {
        client.get(format!("http://{name}:{port}/")).send().await.unwrap().text().await.unwrap();
    }
    get_text(&client, &other, "/").await;
    assert_eq!((one.requests_per_connection(), other.requests_per_connection()), (vec![1, 1, 1], vec![1]));
    assert_eq!(client.pool().stats().hosts.len(), 4);
    assert_ledger(&total(&client), 4, 4, 0, &[]);
}

#[tokio::test]
async fn rule_14_connections_dialed_ahead_serve_the_requests_that_follow() {
    let signals = signals(4);
    let (server, client) = (server_that_waits(&signals), Client::new());
    within(20, client.warm(server.url("/"), 4)).await.unwrap();
    assert_eq!((total(&client).idle, total(&client).opened), (4, 4));
    // `warm` dials no connections, because enough connections exist.
    within(20, client.warm(server.url("/"), 3)).await.unwrap();
    assert_eq!(total(&client).opened, 4);
    let requests: Vec<_> = (0..4).map(|at| send(&client, server.url(&format!("/{at}")))).collect();
    signals.iter().for_each(Signal::raise);
    for request in requests {
        let response = request.await.unwrap();
        assert_eq!((response.connection().is_reused(), response.connection().ordinal()), (true, 1));
        let timings = *response.timings();
        assert_eq!((timings.dns, timings.connect, timings.tls), (None, None, None));
        response.text().await.unwrap();
    }
    assert_eq!(server.requests_per_connection(), [1, 1, 1, 1]);
    assert_ledger(&total(&client), 4, 4, 4, &[]);
    assert_eq!(total(&client).time_saved, Duration::ZERO, "each request was the first on its connection");
}

#[tokio::test]
async fn rule_14_dialing_ahead_keeps_to_the_limits() {
    let (server, client) = (Server::echo(), Client::builder().max_connections_per_host(2).build().unwrap());
    within(20, client.warm(server.url("/"), 5)).await.unwrap();
    assert_ledger(&total(&client), 2, 0, 0, &[]);
    until("both connections are accepted", || server.connections() == 2).await;
}

#[tokio::test]
async fn rule_04_a_wait_that_takes_too_long_tells_what_the_pool_was_doing() {
    let (server, _) = server_that_stalls();
    let client = Client::builder()
        .max_connections_per_host(1)
        .acquire_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let held = get(&client, &server, "/").await;
    let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::PoolTimeout, Some(Phase::Queue)));
    assert!(error.is_timeout() && !error.is_connect());
    assert_eq!(error.request_written(), Written::Nothing);
    assert_eq!(
        error.chain().to_string(),
        format!(
            "GET {}: no connection became free within 50ms: 1 active, 0 idle, 0 dialing, 1 waiting \
             (1 active until the response is read to its end; or raise max_connections_per_host)",
            server.url("")
        )
    );
    assert_eq!(total(&client).waiting, 0);
    drop(held);
    assert_ledger(&total(&client), 1, 1, 0, &[(DropReason::Abandoned, 1)]);
}

#[tokio::test]
async fn rule_04_a_queue_that_is_full_refuses_at_once() {
    let signals = signals(1);
    let server = server_that_waits(&signals);
    let client = Client::builder().max_connections_per_host(1).max_waiters_per_host(1).build().unwrap();
    let active = send(&client, server.url("/0"));
    until("the first request has arrived", || server.seen().len() == 1).await;
    let waits = send(&client, server.url("/waits"));
    until("the second request waits", || total(&client).waiting == 1).await;
    let error = within(20, client.get(server.url("/refused")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::PoolFull, Some(Phase::Queue)));
    assert_eq!(error.request_written(), Written::Nothing);
    assert_eq!(
        error.chain().to_string(),
        format!(
            "GET {}: the queue for connections is full: 1 waiting (raise max_waiters_per_host)",
            server.url("")
        )
    );
    signals[0].raise();
    active.await.unwrap().text().await.unwrap();
    waits.await.unwrap().text().await.unwrap();
    assert_eq!(server.seen_by_target().keys().collect::<Vec<_>>(), ["/0", "/waits"]);
    assert_ledger(&total(&client), 1, 2, 1, &[]);
}

#[tokio::test]
async fn the_last_clone_of_a_client_takes_its_idle_connections_along() {
    let (server, ended) = echo_that_counts();
    let client = Client::new();
    let clone = client.clone();
    get_text(&client, &server, "/").await;
    drop(client);
    get_text(&clone, &server, "/").await;
    assert_eq!((server.connections(), ended.load(Ordering::SeqCst)), (1, 0));
    drop(clone);
    until("the server has noticed the close", || ended.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_body_outlives_its_client_and_its_connection_is_closed_at_the_end() {
    let go = Signal::new();
    let told = go.clone();
    let ended = Signal::new();
    let tell = ended.clone();
    let server = Server::start(move |peer| {
        if peer.request()?.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")?;
            peer.wait(&told)?;
            peer.send("world")?;
            peer.stall()?;
            tell.raise();
        }
        Ok(())
    });
    let client = Client::new();
    let response = get(&client, &server, "/").await;
    drop(client);
    go.raise();
    assert_eq!(within(20, response.text()).await.unwrap(), "helloworld");
    ended.raised().await;
}

#[test]
fn a_connection_stays_on_the_runtime_that_made_it() {
    let (server, client) = (Server::echo(), Client::new());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, other) = (runtime(), runtime());
    for _ in 0..3 {
        one.block_on(get_text(&client, &server, "/"));
        other.block_on(get_text(&client, &server, "/"));
    }
    assert_eq!(server.requests_per_connection(), [3, 3]);
    drop(other);
    assert_ledger(&total(&client), 2, 6, 4, &[(DropReason::RuntimeGone, 1)]);
    one.block_on(get_text(&client, &server, "/"));
    drop(one);
    assert_ledger(&total(&client), 2, 7, 5, &[(DropReason::RuntimeGone, 2)]);
    runtime().block_on(get_text(&client, &server, "/"));
    assert_eq!(server.requests_per_connection(), [4, 3, 1]);
}

#[tokio::test]
async fn the_ledger_is_exact_after_many_requests_of_all_kinds() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            match &request.target[..] {
                "/close" => {
                    peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")?;
                    return peer.close();
                }
                "/garbage" => {
                    peer.send("SSH-2.0-OpenSSH_9.9\r\n")?;
                    return peer.stall();
                }
                "/long" => {
                    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhello")?;
                    return peer.stall();
                }
                _ => peer.respond("ok")?,
            }
        }
        Ok(())
    });
    let client = Client::new();
    for _ in 0..5 {
        for _ in 0..3 {
            get(&client, &server, "/").await.text().await.unwrap();
        }
        get(&client, &server, "/close").await.text().await.unwrap();
        let error = within(20, client.get(server.url("/garbage")).send()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
        drop(get(&client, &server, "/long").await);
    }
    // Each round uses three connections: one for three requests and the close, one for the garbage, and one for the abandoned
    // body.
    let closed = [(DropReason::NotReusable, 5), (DropReason::Failed, 5), (DropReason::Abandoned, 5)];
    assert_ledger(&total(&client), 15, 30, 15, &closed);
    assert_eq!(server.seen().len(), 30);
    assert_eq!(server.requests_per_connection(), [4, 1, 1].repeat(5));
    assert_eq!(
        total(&client).to_string().split(" (").next().unwrap(),
        "15 connections opened for 30 requests, 15 handshakes saved"
    );
}
