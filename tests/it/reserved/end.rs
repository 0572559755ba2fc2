//! The ways in which a reservation ends: by its owner, by the server, by a shutdown, by a change of the network, and by an
//! upgrade.

use std::time::Duration;

use handclasp::{Client, DropReason, ErrorKind, Reserved};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{URL, assert_over, closed, counts, fetch, get, in_memory, text};
use crate::support::scripted::Reply;
use crate::support::{Peer, Server, Signal, within};

/// The server closes the connection between two requests. The next request is not sent anywhere.
#[tokio::test]
async fn a_request_never_moves_from_a_connection_that_the_server_has_closed() {
    for speaks in [false, true] {
        let (go, done) = (Signal::new(), Signal::new());
        let (going, finished) = (go.clone(), done.clone());
        let server = Server::start(move |peer: &mut Peer| {
            peer.request()?;
            peer.respond("one")?;
            peer.wait(&going)?;
            if speaks {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            }
            peer.fin()?;
            finished.raise();
            peer.stall()
        });
        let client = Client::new();
        let url = server.url("/");
        let mut reserved = client.reserve(&url).await.unwrap();
        assert_eq!(text(&mut reserved, &url).await, "one");
        go.raise();
        within(20, done.raised()).await;
        assert_over(
            get(&mut reserved, &url).await,
            "before the request was written: reserve another connection",
        );
        assert_eq!((counts(&client), server.connections()), ((0, 0), 1));
        let reason = if speaks { DropReason::Unsolicited } else { DropReason::PeerClosed };
        assert_eq!(closed(&client, reason), 1);
        let words = format!("the reserved connection was closed ({reason}): reserve another connection");
        assert_over(get(&mut reserved, &url).await, &words);
        assert!(!reserved.is_open());
        assert_eq!((server.connections(), server.seen().len()), (1, 1), "nothing was sent again");
    }
}

/// `is_open` finds the close without a request.
#[tokio::test(start_paused = true)]
async fn a_look_finds_the_end_of_a_reservation() {
    let (client, peers) = in_memory(|builder| builder, &[Reply::ok("hello")]);
    let mut reserved = client.reserve(URL).await.unwrap();
    assert!(reserved.is_open() && reserved.is_open());
    text(&mut reserved, URL).await;
    assert!(reserved.is_open());
    peers.hang_up();
    assert!(!reserved.is_open() && !reserved.is_open());
    assert_eq!((counts(&client), peers.live(), closed(&client, DropReason::PeerClosed)), ((0, 0), 0, 1));
    assert_over(get(&mut reserved, URL).await, "closed by the peer");
}

/// A response that forbids the reuse of the connection ends the reservation. The next error says why.
#[tokio::test(start_paused = true)]
async fn the_error_after_the_end_of_a_reservation_says_why_it_ended() {
    for (reply, words) in [
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "(not reusable: the server"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "(not reusable: "),
        ("HTTP/1.1 200 OK\r\nkeep-alive: max=0\r\ncontent-length: 2\r\n\r\nok", "takes no more requests"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200", "(unsolicited bytes: "),
    ] {
        let (client, peers) = in_memory(|builder| builder, &[Reply::raw(&[reply])]);
        let mut reserved = client.reserve(URL).await.unwrap();
        assert_eq!(text(&mut reserved, URL).await, "ok");
        assert!(!reserved.is_open());
        assert_over(get(&mut reserved, URL).await, words);
        assert_eq!((peers.made(), counts(&client)), (1, (0, 0)), "{reply}");
    }
}

/// Dropping and `close` close the connection, and `release` gives it back. A response under way is read to its end
/// first.
#[tokio::test(start_paused = true)]
async fn only_a_release_gives_the_connection_to_other_requests() {
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "first", "secnd"]);
    let ends: [(fn(Reserved), bool); 3] =
        [(drop, false), (Reserved::close, false), (Reserved::release, true)];
    for (end, is_kept) in ends {
        let gone = u64::from(!is_kept);
        for requests in 0..2 {
            let (client, peers) = in_memory(|builder| builder, &[Reply::ok("hello")]);
            let mut reserved = client.reserve(URL).await.unwrap();
            for _ in 0..requests {
                text(&mut reserved, URL).await;
            }
            let late = reserved.get(URL);
            let id = reserved.connection().id();
            end(reserved);
            assert_eq!(counts(&client), (usize::from(is_kept), 0));
            assert_eq!(closed(&client, DropReason::Reserved), gone);
            assert_over(late.send().await, "the reservation has ended");
            assert_eq!(fetch(&client, URL).await == id, is_kept);
            assert_eq!(peers.closed() as u64, gone, "a close is said to the server");
        }
        // The response is still being read.
        let (client, peers) = in_memory(|builder| builder, &[slow.clone(), Reply::ok("hello")]);
        let mut reserved = client.reserve(URL).await.unwrap();
        let response = get(&mut reserved, URL).await.unwrap();
        let late = reserved.get(URL);
        end(reserved);
        assert_eq!(counts(&client), (0, 1));
        assert_over(late.send().await, "the reservation has ended");
        assert_eq!(response.text().await.unwrap(), "firstsecnd");
        assert_eq!(
            (counts(&client), closed(&client, DropReason::Reserved)),
            ((usize::from(is_kept), 0), gone)
        );
        assert_eq!(peers.live(), usize::from(is_kept));
        let total = client.pool().stats().total;
        assert_eq!((total.requests, total.opened), (1, 1));
    }
}

/// A release looks at the connection first, so that no request gets a dead connection.
#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_not_released() {
    let (client, peers) = in_memory(|builder| builder, &[Reply::ok("hello")]);
    let reserved = client.reserve(URL).await.unwrap();
    peers.hang_up();
    reserved.release();
    assert_eq!((counts(&client), closed(&client, DropReason::PeerClosed)), ((0, 0), 1));
}

/// A shutdown lets the reservation go on for its patience, and then closes the connection, in use or not.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_a_reservation_and_then_closes_it() {
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "first"]);
    for is_in_use in [false, true] {
        let (client, peers) = in_memory(|builder| builder, &[Reply::ok("hello"), slow.clone()]);
        let mut reserved = client.reserve(URL).await.unwrap();
        let shutdown = tokio::spawn({
            let client = client.clone();
            async move { client.pool().shutdown(Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(client.get(URL).send().await.unwrap_err().kind(), ErrorKind::Shutdown);
        assert_eq!(client.reserve(URL).await.unwrap_err().kind(), ErrorKind::Shutdown);
        assert_eq!(text(&mut reserved, URL).await, "hello", "the reservation goes on");
        let response = if is_in_use { Some(get(&mut reserved, URL).await.unwrap()) } else { None };
        assert!(!shutdown.is_finished());
        let begun = tokio::time::Instant::now();
        within(20, shutdown).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 5);
        assert_eq!((counts(&client), peers.live()), ((0, 0), 0), "in use: {is_in_use}");
        if let Some(response) = response {
            assert_eq!(response.text().await.unwrap_err().kind(), ErrorKind::Shutdown);
        }
        let error = get(&mut reserved, URL).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
        assert!(!reserved.is_open());
    }
    // A reservation that ends lets the shutdown end at once.
    for end in [drop, Reserved::release] {
        let (client, _) = in_memory(|builder| builder, &[Reply::ok("hello")]);
        let reserved = client.reserve(URL).await.unwrap();
        let shutdown = tokio::spawn(async move { client.pool().shutdown(Duration::from_secs(5)).await });
        tokio::task::yield_now().await;
        let begun = tokio::time::Instant::now();
        end(reserved);
        within(20, shutdown).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

/// A change of the network ends the reservation, because the connection belongs to the earlier network.
#[tokio::test(start_paused = true)]
async fn a_change_of_the_network_ends_a_reservation() {
    let (client, peers) = in_memory(|builder| builder, &[Reply::ok("hello")]);
    let mut reserved = client.reserve(URL).await.unwrap();
    text(&mut reserved, URL).await;
    client.pool().on_network_change();
    assert_over(get(&mut reserved, URL).await, "(network changed)");
    assert_over(get(&mut reserved, URL).await, "(network changed)");
    assert_eq!((counts(&client), peers.live()), ((0, 0), 0));
}

/// After an upgrade the connection carries another protocol, and no further request.
#[tokio::test]
async fn an_upgrade_ends_a_reservation() {
    let server = Server::start(|peer: &mut Peer| {
        peer.request()?;
        peer.respond("one")?;
        peer.request()?;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n")?;
        let said = peer.take(5)?;
        peer.send(said)?;
        peer.stall()
    });
    let client = Client::new();
    let url = server.url("/");
    let mut reserved = client.reserve(&url).await.unwrap();
    text(&mut reserved, &url).await;
    let response = within(20, reserved.get(&url).header("upgrade", "foo").send()).await.unwrap();
    let mut upgraded = within(20, response.upgrade()).await.unwrap();
    assert_eq!(upgraded.connection().id(), reserved.connection().id());
    assert_over(get(&mut reserved, &url).await, "carries another protocol");
    // The end of the reservation does not end the tunnel.
    drop(reserved);
    upgraded.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    upgraded.read_exact(&mut echo).await.unwrap();
    assert_eq!((&echo, counts(&client)), (b"hello", (0, 1)));
    drop(upgraded);
    assert_eq!((counts(&client), closed(&client, DropReason::Upgraded)), ((0, 0), 1));
}
