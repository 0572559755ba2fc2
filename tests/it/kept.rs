//! Tests of requests that can reuse idle connections: connections that were idle for a short or long time, dead connections,
//! the wakers and the handshake times of reused connections, and a 408 response on a reused connection.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::support::dials::{Dials, Far, ask, counts, settle};
use crate::support::{Peer, Server, until, within};
use handclasp::{Client, ClientBuilder, DropReason, ErrorKind, Phase};

const SECOND: Duration = Duration::from_secs(1);

const URL: &str = "http://a.test/";

/// The newest idle connection is dead, and the next idle connection is too old for a request that must not be repeated. A
/// POST dials, and a GET takes the old connection.
#[tokio::test(start_paused = true)]
async fn a_post_dials_where_the_fresh_connection_is_dead_and_the_next_too_old() {
    for (method, expected) in [("POST", 3), ("PATCH", 3), ("GET", 1), ("QUERY", 1), ("PUT", 1)] {
        for is_dead in [true, false] {
            let dials = Dials::default();
            let client = dials.builder().fresh_for_unsafe(2 * SECOND).build().unwrap();
            let pair = [ask(&client, URL), ask(&client, URL)];
            let fars: Vec<_> = dials.want_dials(2).await.into_iter().map(|dial| dial.hold()).collect();
            settle().await;
            fars[0].release();
            settle().await;
            tokio::time::advance(3 * SECOND).await;
            fars[1].release();
            for asked in pair {
                asked.answer().await;
            }
            assert_eq!(counts(&client), [2, 0, 0, 0]);
            if is_dead {
                fars[1].hang_up();
            }
            let send = client.request(method.parse().unwrap(), URL).send();
            let request = tokio::spawn(async move { send.await.unwrap().text().await.unwrap() });
            settle().await;
            for dial in dials.unseen() {
                dial.finish();
            }
            let answered_by: u32 = within(20, request).await.unwrap().parse().unwrap();
            assert_eq!(answered_by, if is_dead { expected } else { 2 }, "{method}, {is_dead}");
            let total = client.pool().stats().total;
            assert_eq!(total.closed(DropReason::PeerClosed), u64::from(is_dead), "{total}");
        }
    }
}

/// All idle connections are too old for a POST, and the POST dials. If the limit allows no further connection, the pool closes
/// an idle connection, so that the POST can dial.
#[tokio::test(start_paused = true)]
async fn a_post_dials_where_all_idle_connections_are_too_old() {
    for limit in [2, 10] {
        let dials = Dials::default();
        let builder = dials.builder().fresh_for_unsafe(2 * SECOND).max_connections_per_host(limit);
        let client = builder.build().unwrap();
        let pair = [ask(&client, URL), ask(&client, URL)];
        for dial in dials.want_dials(2).await {
            dial.finish();
        }
        for asked in pair {
            asked.answer().await;
        }
        tokio::time::advance(3 * SECOND).await;
        let send = client.post(URL).send();
        let request = tokio::spawn(async move { send.await.unwrap().text().await.unwrap() });
        dials.want_dial().await.finish();
        assert_eq!(within(20, request).await.unwrap(), "3", "limit {limit}");
        assert!(dials.total().peak <= limit, "{:?}", dials.total());
    }
}

/// A waiting request is handed one dead connection after another. The acquire timeout counts from the start of the wait, and
/// does not restart with each connection.
#[tokio::test(start_paused = true)]
async fn the_acquire_timeout_counts_once_over_several_dead_connections() {
    for deaths in 0..=3 {
        let dials = Dials::default();
        let builder = dials.builder().max_connections_per_host(3).acquire_timeout(5 * SECOND);
        let client = builder.build().unwrap();
        let busy: Vec<_> = (0..3).map(|_| ask(&client, URL)).collect();
        let fars: Vec<Far> = dials.want_dials(3).await.into_iter().map(|dial| dial.hold()).collect();
        settle().await;
        let waiter = ask(&client, URL);
        assert!(waiter.is_waiting().await);
        for far in &fars[..deaths] {
            tokio::time::sleep(SECOND).await;
            far.answer();
            far.hang_up();
        }
        let under_way = dials.want_dials(deaths).await;
        assert_eq!(client.pool().stats().total.closed(DropReason::PeerClosed), deaths as u64);
        assert!(waiter.is_waiting().await);
        tokio::time::sleep(10 * SECOND).await;
        let (outcome, after) = waiter.outcome().await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::PoolTimeout, Some(Phase::Queue)), "{deaths}");
        assert!((5 * SECOND..6 * SECOND).contains(&after), "{after:?} after {deaths} dead connections");
        drop(under_way);
        fars.iter().for_each(Far::release);
        for (asked, far) in busy.into_iter().zip(1..) {
            assert_eq!(asked.answer().await, far);
        }
    }
}

/// Returns the values of `is_tls` for which a test runs. A build without TLS has only `false`.
fn schemes() -> &'static [bool] {
    if cfg!(feature = "rustls") { &[false, true] } else { &[false] }
}

/// Returns the builder of a client that trusts the server's authority if the server uses TLS.
fn trusting(builder: ClientBuilder, server: &Server, is_tls: bool) -> ClientBuilder {
    #[cfg(feature = "rustls")]
    if is_tls {
        let authority = handclasp::Certificate::from_pem(server.authority()).unwrap();
        return builder.add_root_certificate(authority);
    }
    let _ = (server, is_tls);
    builder
}

/// A waker whose reference count shows whether a clone of the waker still exists.
struct Held;

impl Wake for Held {
    fn wake(self: Arc<Self>) {}
}

/// Requests wait for the connection, read from the connection slowly, and arm its timer. When the requests have ended, the
/// idle connection holds no waker of the tasks of these requests.
#[tokio::test]
async fn an_idle_connection_does_not_keep_a_finished_task_alive() {
    for is_tls in schemes().iter().copied() {
        let script = |peer: &mut Peer| -> std::io::Result<()> {
            while peer.request()?.is_some() {
                for part in ["HTTP/1.1 200 OK\r\ncontent-", "length: 4\r\n\r\n", "do", "ne"] {
                    std::thread::sleep(Duration::from_millis(20));
                    peer.send(part)?;
                }
            }
            Ok(())
        };
        let server = if is_tls { Server::start_tls(script) } else { Server::start(script) };
        let client = trusting(Client::builder().max_connections(1), &server, is_tls).build().unwrap();
        for round in 0..3 {
            let (held, url) = (Arc::new(Held), server.url("/"));
            let weak = Arc::downgrade(&held);
            // The second of the two requests waits for the connection of the first request.
            let requests = [(); 2].map(|()| {
                let send = client.get(&url).timeout(30 * SECOND).send();
                Box::pin(async move { send.await.unwrap().text().await.unwrap() })
            });
            let waker = Waker::from(held);
            let mut left: Vec<_> = requests.into_iter().collect();
            let work = async {
                while !left.is_empty() {
                    left.retain_mut(|request| {
                        match request.as_mut().poll(&mut Context::from_waker(&waker)) {
                            Poll::Ready(text) => {
                                assert_eq!(text, "done");
                                false
                            }
                            Poll::Pending => true,
                        }
                    });
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            within(20, work).await;
            drop(waker);
            let total = client.pool().stats().total;
            assert_eq!((total.idle, total.opened), (1, 1), "{total}");
            assert_eq!(weak.strong_count(), 0, "round {round}, {is_tls}: a task is kept alive");
        }
    }
}

#[tokio::test]
async fn a_handshake_is_what_tcp_and_tls_took() {
    for is_tls in schemes().iter().copied() {
        let script = |peer: &mut Peer| -> std::io::Result<()> {
            while peer.request()?.is_some() {
                peer.respond("")?;
            }
            Ok(())
        };
        let server = if is_tls { Server::start_tls(script) } else { Server::start(script) };
        let client = trusting(Client::builder(), &server, is_tls).build().unwrap();
        let mut first = None;
        for nth in 1..=3 {
            let response = within(20, client.get(server.url("/")).send()).await.unwrap();
            let (connection, timings) = (response.connection().clone(), *response.timings());
            let handshake = connection.handshake();
            assert_eq!((connection.ordinal(), timings.connect.is_some()), (nth, nth == 1));
            if nth == 1 {
                let (tcp, tls) = (timings.connect.unwrap(), timings.tls);
                assert_eq!(tls.is_some(), is_tls);
                assert!(handshake > Duration::ZERO && tls != Some(Duration::ZERO));
                assert_eq!(handshake, tcp + tls.unwrap_or_default(), "{timings:?}");
            }
            assert_eq!(*first.get_or_insert(handshake), handshake, "the handshake's time does not change");
            response.bytes().await.unwrap();
            let saved = client.pool().stats().total.time_saved;
            assert_eq!(saved, handshake * (nth as u32 - 1));
        }
    }
}

/// An interim response shows that the server has begun to handle the request. A 408 after an interim response is therefore
/// the response to the request.
#[tokio::test]
async fn after_an_interim_response_a_408_with_close_is_an_answer() {
    for (interim, is_resent) in [
        ("", true),
        ("HTTP/1.1 102 Processing\r\n\r\n", false),
        ("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", false),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            for in_parts in [false, true] {
                let server = Server::start(move |peer| {
                    while let Some(request) = peer.request()? {
                        if request.target == "/second" && peer.number() == 0 {
                            if in_parts && !interim.is_empty() {
                                peer.send(interim)?;
                                std::thread::sleep(Duration::from_millis(20));
                            } else {
                                peer.send(format!("{interim}HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"))?;
                                return Ok(());
                            }
                            peer.send("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
                            return Ok(());
                        }
                        peer.respond("")?;
                    }
                    Ok(())
                });
                let client = Client::new();
                within(20, client.get(server.url("/first")).send()).await.unwrap().bytes().await.unwrap();
                let url = server.url("/second");
                let response = within(20, client.request(method.parse().unwrap(), url).send()).await.unwrap();
                let case = format!("{interim:?}, {method}, {in_parts}");
                assert_eq!(response.status(), if is_resent { 200 } else { 408 }, "{case}");
                let seen = server.seen().iter().filter(|seen| seen.request.target == "/second").count();
                assert_eq!(seen, 1 + usize::from(is_resent), "{case}");
                drop(response);
                until("the connection is closed", || client.pool().stats().total.active == 0).await;
            }
        }
    }
}
