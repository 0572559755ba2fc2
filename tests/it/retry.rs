//! Tests of requests whose reused connection the server closes: the client sends a request again if the retry rules allow
//! it, and only then. The tests compare the client's counts with the server's record.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use handclasp::{Body, Client, DropReason, ErrorKind, Phase, RequestBuilder, Transport, Written};
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::support::endings::{Ending, Mute, connect_late};
use crate::support::layer::{Layer, Layered};
use crate::support::{Peer, Rng, Server, Signal, until, within};

const GETS: usize = 10_000;
const POSTS: usize = 2_000;
const TASKS: usize = 16;

/// Starts a server that closes each connection 0 to 200 µs after the first response on it.
fn closes_after_each_response(seed: u64) -> Server {
    println!("seed {seed}");
    Server::start(move |peer| {
        let mut rng = Rng::new(seed ^ (peer.number() as u64) << 20);
        let Some(request) = peer.request()? else { return Ok(()) };
        peer.respond(&request.target)?;
        let until = Instant::now() + Duration::from_micros(rng.below(201));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        peer.close()
    })
}

/// Starts a server that answers the first request of each connection, reads the second request, and then ends the
/// connection.
fn ends_on_the_second_request(ending: Ending) -> Server {
    Server::start(move |peer| {
        let Some(request) = peer.request()? else { return Ok(()) };
        peer.respond(&request.target)?;
        if peer.request()?.is_none() {
            return Ok(());
        }
        ending.end(peer)
    })
}

/// Sends `total` GETs from `tasks` tasks, and checks that each GET is answered with its own target.
async fn get_all(client: &Client, server: &Server, tasks: usize, total: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = Vec::new();
    for _ in 0..tasks {
        let (client, base, next) = (client.clone(), server.url("/"), next.clone());
        running.push(tokio::spawn(async move {
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= total {
                    return;
                }
                let response = match client.get(format!("{base}{id}")).send().await {
                    Ok(response) => response,
                    Err(error) => panic!("GET {id}: {}: {error:?}", error.chain()),
                };
                assert_eq!(response.status(), 200, "GET {id}");
                assert_eq!(response.text().await.unwrap(), format!("/{id}"));
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
}

/// Fails unless the counts of client and server agree: this many requests were made, and a request that the server saw
/// twice was seen first on a reused connection and last on a new one.
async fn settle(client: &Client, server: &Server, total: usize) -> usize {
    // A dial may still be under way if another connection has served its request.
    until("all connections are made and accepted", || {
        let stats = client.pool().stats().total;
        stats.dialing == 0 && server.connections() as u64 == stats.opened
    })
    .await;
    let stats = client.pool().stats().total;
    let seen = server.seen_by_target();
    assert_eq!(seen.len(), total, "every request was seen");
    let mut twice = 0;
    for (target, places) in &seen {
        match places[..] {
            [_] => {}
            [(first, nth), (second, again)] => {
                assert!(nth > 1, "{target} was sent again though its connection was fresh");
                assert!(again == 1 && first != second, "{target} was sent again on a reused connection");
                twice += 1;
            }
            _ => panic!("{target} was seen {} times", places.len()),
        }
    }
    assert_eq!(stats.failed_dials, 0, "{stats}");
    assert!(stats.requests as usize >= total + twice, "{stats}");
    assert_eq!(stats.active + stats.dialing + stats.waiting, 0, "{stats}");
    twice
}

#[tokio::test]
async fn rule_28_ten_thousand_gets_against_a_server_that_closes_after_each_response() {
    let server = closes_after_each_response(0x5eed);
    let client = Client::new();
    within(300, get_all(&client, &server, 1, GETS)).await;
    // The server never reads a second request on a connection.
    assert_eq!(settle(&client, &server, GETS).await, 0);
    assert_eq!(server.requests_per_connection(), vec![1; GETS]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_28_ten_thousand_gets_by_sixteen_tasks_against_a_server_that_closes_after_each_response() {
    let server = closes_after_each_response(0xfeed);
    let client = Client::new();
    within(300, get_all(&client, &server, TASKS, GETS)).await;
    assert_eq!(settle(&client, &server, GETS).await, 0);
}

#[tokio::test]
async fn rule_28_ten_thousand_gets_against_a_server_that_closes_on_the_next_request() {
    gets_against_one_that_ends_on_the_next_request(Ending::Close, 1).await;
}

#[tokio::test]
async fn rule_28_ten_thousand_gets_against_a_server_that_resets_on_the_next_request() {
    gets_against_one_that_ends_on_the_next_request(Ending::Reset, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_28_ten_thousand_gets_by_sixteen_tasks_against_a_server_that_closes_on_the_next_request() {
    gets_against_one_that_ends_on_the_next_request(Ending::Close, TASKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_28_ten_thousand_gets_by_sixteen_tasks_against_a_server_that_resets_on_the_next_request() {
    gets_against_one_that_ends_on_the_next_request(Ending::Reset, TASKS).await;
}

/// A resend takes the slot of the connection that died, so that a limit neither blocks it nor is exceeded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_28_resends_keep_to_the_limit_on_connections() {
    const LIMIT: usize = 3;
    let server = ends_on_the_second_request(Ending::Close);
    let client = Client::builder().max_connections_per_host(LIMIT).not_kept_after(None).build().unwrap();
    let watched = client.clone();
    let watch = tokio::spawn(async move {
        loop {
            let stats = watched.pool().stats().total;
            assert!(stats.idle + stats.active + stats.dialing <= LIMIT, "{stats}");
            tokio::task::yield_now().await;
        }
    });
    within(300, get_all(&client, &server, TASKS, 2_000)).await;
    assert!(!watch.is_finished(), "the limit was exceeded");
    watch.abort();
    let twice = settle(&client, &server, 2_000).await;
    assert!(twice > 0);
}

async fn gets_against_one_that_ends_on_the_next_request(ending: Ending, tasks: usize) {
    let server = ends_on_the_second_request(ending);
    // Every connection is kept, so that every request except the first may get a connection that the server is closing.
    let client = Client::builder().not_kept_after(None).build().unwrap();
    within(300, get_all(&client, &server, tasks, GETS)).await;
    let twice = settle(&client, &server, GETS).await;
    let stats = client.pool().stats().total;
    // Every resend cost one dead connection and one more request on the wire.
    assert_eq!(stats.requests as usize, GETS + twice, "{stats}");
    assert_eq!(stats.closed(DropReason::PeerClosed) as usize, twice, "{stats}");
    // If another connection has served the request of a dial, the dialed connection is idle before its first request.
    // The first request on such a connection counts as reused too.
    assert!(stats.reused as usize >= twice, "{stats}");
    if tasks == 1 {
        // The server answers the first request on each connection, and closes the connection without answering the second.
        assert_eq!(
            (twice, stats.reused as usize, stats.opened as usize),
            (GETS - 1, GETS - 1, GETS),
            "{stats}"
        );
    } else {
        assert!(twice > 0);
    }
}

/// Sends POSTs and returns their outcomes by id. The outcome of a failed POST is the error's `request_written`.
async fn post_all(
    client: &Client,
    server: &Server,
    tasks: usize,
    make: fn(RequestBuilder, usize) -> RequestBuilder,
) -> BTreeMap<usize, Result<(), Written>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = Vec::new();
    for _ in 0..tasks {
        let (client, base, next) = (client.clone(), server.url("/"), next.clone());
        running.push(tokio::spawn(async move {
            let mut outcomes = Vec::new();
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= POSTS {
                    return outcomes;
                }
                let outcome = match make(client.post(format!("{base}{id}")), id).send().await {
                    Ok(response) => {
                        assert_eq!(response.text().await.unwrap(), format!("/{id}"));
                        Ok(())
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error:?}");
                        Err(error.request_written())
                    }
                };
                outcomes.push((id, outcome));
            }
        }));
    }
    let mut outcomes = BTreeMap::new();
    for task in running {
        outcomes.extend(task.await.unwrap());
    }
    outcomes
}

fn with_bytes(request: RequestBuilder, id: usize) -> RequestBuilder {
    request.body(format!("content of {id}"))
}

fn with_stream(request: RequestBuilder, id: usize) -> RequestBuilder {
    request.body(Body::from_stream(Pieces::new(&["content ", "of ", &id.to_string()])))
}

/// Checks that the server sees each POST at most once. A POST that the server saw was answered, or failed with an error
/// that reports written bytes.
async fn posts_are_never_seen_twice(server: Server, make: fn(RequestBuilder, usize) -> RequestBuilder) {
    for tasks in [1, TASKS] {
        let client = Client::new();
        let before = server.seen().len();
        let outcomes = within(300, post_all(&client, &server, tasks, make)).await;
        let opened = client.pool().stats().total.opened;
        drop(client);
        assert!(opened > 0);
        let mut counts = vec![0; POSTS];
        for seen in server.seen().into_iter().skip(before) {
            let id: usize = seen.request.target[1..].parse().unwrap();
            counts[id] += 1;
            if seen.is_complete {
                assert_eq!(seen.request.body, format!("content of {id}").into_bytes());
            }
        }
        assert_eq!(outcomes.len(), POSTS);
        for (id, outcome) in outcomes {
            match (outcome, counts[id]) {
                (Ok(()), 1) | (Err(Written::Partly | Written::All), 0 | 1) => {}
                (outcome, seen) => panic!("POST {id} was seen {seen} times and ended as {outcome:?}"),
            }
        }
    }
}

#[tokio::test]
async fn rule_27_a_post_of_bytes_is_never_seen_twice_by_a_server_that_closes_after_each_response() {
    posts_are_never_seen_twice(closes_after_each_response(0xb0d1), with_bytes).await;
}

#[tokio::test]
async fn rule_27_a_post_of_a_stream_is_never_seen_twice_by_a_server_that_closes_after_each_response() {
    posts_are_never_seen_twice(closes_after_each_response(0xb0d2), with_stream).await;
}

#[tokio::test]
async fn rule_27_a_post_of_bytes_is_never_seen_twice_by_a_server_that_closes_on_the_next_request() {
    posts_are_never_seen_twice(ends_on_the_second_request(Ending::Close), with_bytes).await;
}

#[tokio::test]
async fn rule_27_a_post_of_a_stream_is_never_seen_twice_by_a_server_that_closes_on_the_next_request() {
    posts_are_never_seen_twice(ends_on_the_second_request(Ending::Close), with_stream).await;
}

#[tokio::test]
async fn rule_27_a_post_of_bytes_is_never_seen_twice_by_a_server_that_resets_on_the_next_request() {
    posts_are_never_seen_twice(ends_on_the_second_request(Ending::Reset), with_bytes).await;
}

#[tokio::test]
async fn rule_27_a_post_of_a_stream_is_never_seen_twice_by_a_server_that_resets_on_the_next_request() {
    posts_are_never_seen_twice(ends_on_the_second_request(Ending::Reset), with_stream).await;
}

/// Returns a server whose first connection answers one request, and does `then` with the second request. The
/// server echoes every later request.
fn server_that_on_the_second_request(
    then: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
) -> Server {
    Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            if peer.number() == 0 && request.target != "/first" {
                return then(peer);
            }
            peer.respond(&request.target)?;
        }
        Ok(())
    })
}

async fn leave_a_connection_idle(client: &Client, server: &Server) {
    let first = client.get(server.url("/first")).send().await.unwrap();
    assert_eq!(first.text().await.unwrap(), "/first");
    assert_eq!(client.pool().stats().total.idle, 1);
}

/// Returns the connections on which the server saw the request.
fn seen(server: &Server, target: &str) -> Vec<usize> {
    let places = server.seen_by_target().remove(target).unwrap_or_default();
    places.into_iter().map(|(connection, _)| connection).collect()
}

#[tokio::test]
async fn rule_27_idempotent_methods_are_sent_again_with_their_bytes() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::QUERY] {
        for ending in [Ending::Close, Ending::Reset] {
            let server = server_that_on_the_second_request(move |peer| ending.end(peer));
            let client = Client::new();
            leave_a_connection_idle(&client, &server).await;
            let mut request = client.request(method.clone(), server.url("/again"));
            let body = if method == Method::PUT { "all of it" } else { "" };
            if !body.is_empty() {
                request = request.body(body);
            }
            let response = within(20, request.send()).await.unwrap();
            assert_eq!(response.status(), 200, "{method}, {ending:?}");
            assert!(!response.connection().is_reused());
            assert_eq!(response.connection().ordinal(), 1);
            assert_eq!(seen(&server, "/again"), [0, 1], "A-20: {method}, {ending:?}");
            for seen in server.seen().iter().filter(|seen| seen.request.target == "/again") {
                assert_eq!(
                    (&seen.request.method[..], &seen.request.body[..]),
                    (method.as_str(), body.as_bytes())
                );
            }
        }
    }
}

#[tokio::test]
async fn rule_27_a_post_or_patch_is_not_sent_again() {
    for method in [Method::POST, Method::PATCH] {
        let server = server_that_on_the_second_request(Peer::close);
        let client = Client::new();
        leave_a_connection_idle(&client, &server).await;
        let request = client.request(method.clone(), server.url("/again")).body("x");
        let error = within(20, request.send()).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::ConnectionLost, Some(Phase::Wait)), "{method}");
        assert_eq!(error.request_written(), Written::All);
        assert_eq!(error.message(), "the server closed the connection before the response head");
        assert_eq!(seen(&server, "/again"), [0], "R-9110-9.2.2-1 A-20: {method}");
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn rule_27_a_post_with_an_idempotency_key_is_sent_again() {
    let server = server_that_on_the_second_request(Peer::close);
    let client = Client::new();
    leave_a_connection_idle(&client, &server).await;
    let request = client.post(server.url("/again")).header("Idempotency-Key", "7").body("all of it");
    let response = within(20, request.send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/again");
    assert_eq!(seen(&server, "/again"), [0, 1]);
    let bodies: Vec<_> = server.seen().into_iter().skip(1).map(|seen| seen.request.body).collect();
    assert_eq!(bodies, [b"all of it", b"all of it"]);
}

#[tokio::test]
async fn rule_27_a_stream_of_which_something_was_written_is_not_sent_again() {
    let server = server_that_on_the_second_request(Peer::close);
    let client = Client::new();
    leave_a_connection_idle(&client, &server).await;
    let request = client.put(server.url("/again")).body(Body::from_stream(Pieces::new(&["a", "b"])));
    let error = within(20, request.send()).await.unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::ConnectionLost, Written::All));
    assert_eq!(seen(&server, "/again"), [0], "A-20");
}

/// The look finds the connection dead after the first piece of the stream was taken. The piece is not lost.
#[tokio::test]
async fn rule_27_a_stream_of_which_nothing_was_written_is_sent_whole_on_the_next_connection() {
    let (go, gone) = (Signal::new(), Signal::new());
    let (told, tell) = (go.clone(), gone.clone());
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
            if peer.number() == 0 {
                peer.wait(&told)?;
                peer.fin()?;
                tell.raise();
            }
        }
        Ok(())
    });
    let client = Client::new();
    leave_a_connection_idle(&client, &server).await;
    go.raise();
    gone.raised().await;
    let request = client.post(server.url("/again")).body(Body::from_stream(Pieces::new(&["a", "b", "c"])));
    let response = within(20, request.send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/again");
    assert_eq!(server.seen().last().unwrap().request.body, b"abc");
    assert_eq!(seen(&server, "/again"), [1]);
}

/// The look does not find that the connection is dead, and the first write fails. No byte of the POST was written, so that
/// the POST is sent again, and the pieces that were taken from its stream are not lost.
#[tokio::test]
async fn rule_27_a_post_whose_first_write_fails_is_sent_whole_on_a_fresh_connection() {
    let bodies: [fn() -> Body; 3] = [
        || "content".into(),
        || Body::from_stream(Pieces::new(&["con", "te", "nt"])),
        || Body::from_stream(Pieces { pieces: Pieces::new(&["con", "tent"]).pieces, is_late: true }),
    ];
    for body in bodies {
        let server = Server::echo();
        let address = server.address();
        let dials = Arc::new(AtomicUsize::new(0));
        let dialed = dials.clone();
        let client = Client::builder()
            .connector(move |_| {
                let number = dialed.fetch_add(1, Ordering::Relaxed);
                async move {
                    let tcp = TcpStream::connect(address).await?;
                    let transport: Box<dyn Transport> =
                        if number == 0 { Mute::new(tcp, 1).boxed() } else { Box::new(tcp) };
                    Ok(transport)
                }
            })
            .build()
            .unwrap();
        leave_a_connection_idle(&client, &server).await;
        let request = client.post(server.url("/again")).body(body());
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "/again");
        assert_eq!(server.seen().last().unwrap().request.body, b"content");
        assert_eq!((seen(&server, "/again"), dials.load(Ordering::Relaxed)), (vec![1], 2));
    }
}

/// A transport that writes up to `takes` bytes and then fails in the same call.
struct Torn {
    tcp: TcpStream,
    writes: usize,
    takes: usize,
    ending: Ending,
    is_dead: bool,
}

impl Layer for Torn {
    type Below = TcpStream;

    fn below(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match (self.is_dead, self.ending) {
            (false, _) => Pin::new(&mut self.tcp).poll_read(cx, buf),
            (true, Ending::Close) => Poll::Ready(Ok(())),
            (true, Ending::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.writes > 0 {
            self.writes -= 1;
            return Pin::new(&mut self.tcp).poll_write(cx, buf);
        }
        let most = buf.len().min(self.takes);
        let taken = self.tcp.try_write(&buf[..most]);
        assert!(matches!(taken, Ok(taken) if taken == most), "there is room");
        self.is_dead = true;
        Poll::Ready(Err(match self.ending {
            Ending::Close => io::ErrorKind::BrokenPipe.into(),
            Ending::Reset => io::ErrorKind::ConnectionReset.into(),
        }))
    }
}

/// A failed write may have sent a part or all of its bytes. The client assumes that nothing was sent only if the transport's
/// `fails_untouched` returns true.
#[tokio::test]
async fn rule_27_a_post_whose_first_write_fails_after_a_part_was_sent_is_not_sent_again() {
    for ending in [Ending::Close, Ending::Reset] {
        for (method, takes) in
            [(Method::POST, usize::MAX), (Method::POST, 20), (Method::POST, 0), (Method::PUT, usize::MAX)]
        {
            let server = Server::echo();
            let address = server.address();
            let dials = Arc::new(AtomicUsize::new(0));
            let dialed = dials.clone();
            let client = Client::builder()
                .connector(move |_| {
                    let number = dialed.fetch_add(1, Ordering::Relaxed);
                    async move {
                        let tcp = TcpStream::connect(address).await?;
                        let torn = |tcp| Torn { tcp, writes: 1, takes, ending, is_dead: false };
                        let transport: Box<dyn Transport> =
                            if number == 0 { Layered::boxed(torn(tcp)) } else { Box::new(tcp) };
                        Ok(transport)
                    }
                })
                .build()
                .unwrap();
            leave_a_connection_idle(&client, &server).await;
            let name = format!("{method}, {takes} bytes, {ending:?}");
            let request = client.request(method.clone(), server.url("/again")).body("");
            let outcome = within(20, request.send()).await;
            if method == Method::PUT {
                assert_eq!(outcome.unwrap().text().await.unwrap(), "/again", "{name}");
            } else {
                let error = outcome.unwrap_err();
                assert_eq!(
                    (error.kind(), error.request_written()),
                    (ErrorKind::ConnectionLost, Written::Partly),
                    "{name}: {error}"
                );
                assert_eq!(dials.load(Ordering::Relaxed), 1, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn rule_27_a_408_with_close_on_a_reused_connection_is_a_close() {
    let server = server_that_on_the_second_request(|peer| {
        peer.send("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
        peer.close()
    });
    let client = Client::new();
    leave_a_connection_idle(&client, &server).await;
    let response = within(20, client.get(server.url("/again")).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "/again");
    assert_eq!(seen(&server, "/again"), [0, 1], "R-9110-15.5.9-1");
    assert_eq!(client.pool().stats().total.closed(DropReason::PeerClosed), 1);
}

#[tokio::test]
async fn rule_27_a_408_is_delivered_where_it_is_an_answer() {
    // The following 408s do not allow a retry: they answer a POST, come without a close, or come on a new connection.
    let close = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 4\r\n\r\nslow";
    let keep = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nslow";
    for (method, answer, is_fresh) in
        [(Method::POST, close, false), (Method::GET, keep, false), (Method::GET, close, true)]
    {
        let server = server_that_on_the_second_request(move |peer| {
            peer.send(answer)?;
            peer.close()
        });
        let client = Client::new();
        if !is_fresh {
            leave_a_connection_idle(&client, &server).await;
        }
        let response = within(20, client.request(method, server.url("/again")).send()).await.unwrap();
        assert_eq!(response.status(), 408);
        assert_eq!(response.text().await.unwrap(), "slow");
        assert_eq!((seen(&server, "/again"), server.connections()), (vec![0], 1));
    }
}

#[tokio::test]
async fn rule_26_a_request_on_a_fresh_connection_is_never_sent_again() {
    for ending in [Ending::Close, Ending::Reset] {
        let server = server_that_on_the_second_request(move |peer| ending.end(peer));
        let client = Client::new();
        let error = within(20, client.get(server.url("/only")).send()).await.unwrap_err();
        assert_eq!((error.kind(), error.request_written()), (ErrorKind::ConnectionLost, Written::All));
        assert_eq!((seen(&server, "/only"), server.connections()), (vec![0], 1));
    }
}

/// Returns a client whose dials end only when the server has closed the connection or sent a byte.
fn client_that_comes_late(server: &Server) -> Client {
    let address = server.address();
    Client::builder().connector(move |_| connect_late(address, || ())).build().unwrap()
}

/// A server that closes every connection at once costs a request one dial instead of a loop of dials.
#[tokio::test]
async fn rule_26_a_server_that_closes_every_connection_at_once_is_an_error() {
    let server = Server::start(Peer::close);
    let client = client_that_comes_late(&server);
    let error = within(10, client.get(server.url("/")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::ConnectionLost, Some(Phase::Send)), "{error:?}");
    assert_eq!(error.request_written(), Written::Nothing);
    assert_eq!(server.connections(), 1);
}

/// A server that sends a greeting before the request does not speak HTTP. The client does not dial again, because a new
/// connection would have the same greeting.
#[tokio::test]
async fn rule_26_a_server_that_speaks_first_is_an_error() {
    let server = Server::start(|peer| {
        peer.send("220 mail.example ESMTP\r\n")?;
        peer.stall()
    });
    let client = client_that_comes_late(&server);
    let error = within(10, client.get(server.url("/")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Protocol, Some(Phase::Send)), "{error:?}");
    assert_eq!(error.request_written(), Written::Nothing);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn rule_28_a_request_is_sent_again_once_at_the_most() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            if request.target != "/first" {
                return peer.close();
            }
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let client = Client::new();
    leave_a_connection_idle(&client, &server).await;
    let error = within(20, client.get(server.url("/again")).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::ConnectionLost, Written::All));
    assert_eq!((seen(&server, "/again"), server.connections()), (vec![0, 1], 2), "R-9110-9.2.2-2 A-20");
}

/// The request is sent again on a new connection even if another connection is idle, because the idle connection may be
/// dead as well.
#[tokio::test]
async fn rule_28_a_request_is_sent_again_on_a_fresh_connection_only() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            if peer.number() < 3 {
                return peer.close();
            }
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let client = Client::new();
    client.warm(server.url("/"), 3).await.unwrap();
    let response = within(20, client.get(server.url("/again")).send()).await.unwrap();
    assert!(!response.connection().is_reused());
    assert_eq!(response.text().await.unwrap(), "/again");
    let seen = seen(&server, "/again");
    assert!(seen.len() == 2 && seen[0] < 3 && seen[1] == 3, "{seen:?}");
}

#[tokio::test]
async fn rule_27_a_request_that_was_answered_in_part_is_not_sent_again() {
    for part in ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = server_that_on_the_second_request(move |peer| {
            peer.send(part)?;
            peer.close()
        });
        let client = Client::new();
        leave_a_connection_idle(&client, &server).await;
        let error = within(20, client.get(server.url("/again")).send()).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::ConnectionLost, Some(Phase::Wait)), "{part:?}");
        assert_eq!((seen(&server, "/again"), server.connections()), (vec![0], 1), "{part:?}");
    }
}

/// A stream of text. A late stream is pending once before each piece.
struct Pieces {
    pieces: VecDeque<String>,
    is_late: bool,
}

impl Pieces {
    fn new(pieces: &[&str]) -> Self {
        Self { pieces: pieces.iter().map(|&piece| piece.to_owned()).collect(), is_late: false }
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.is_late) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(piece.into())))
    }
}
