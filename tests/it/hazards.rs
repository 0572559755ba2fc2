//! Tests of hazards: each test is named after a failure that this client or another HTTP client once had.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use handclasp::{Body, Client, ErrorKind, Phase, Written};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, Runtime};

use crate::support::Uncoded;
use crate::support::layer::{Layer, Layered};
use crate::support::pipe::Pipe;

/// Starts a server that serves each connection on a thread of its own, and returns its port.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Starts a server that answers every request with `ok`, and returns its port.
fn friendly() -> u16 {
    listen(|mut stream| {
        let mut head = [0; 4096];
        while let Ok(1..) = stream.read(&mut head) {
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    })
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// If encoded content is still unwritten when an early response ends, the client must close the connection. Otherwise the
/// server would read the next request as the rest of the content.
#[test]
fn rule_25_an_early_answer_to_a_large_body_ends_the_connection() {
    let (said, drained) = mpsc::channel();
    let port = listen(move |mut stream| {
        let mut some = [0; 1024];
        if stream.read(&mut some).unwrap_or(0) == 0 {
            return;
        }
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nok").unwrap();
        let mut rest = Vec::new();
        // The client closes the connection, so that the server reads the client's bytes, and after them a FIN or a reset.
        let _ = stream.read_to_end(&mut rest);
        said.send(rest.windows(4).any(|window| window == b"GET ")).unwrap();
    });
    one_thread().block_on(async {
        let client = Client::new();
        let large = vec![b'x'; 20_000_000];
        let early = client.post(format!("http://127.0.0.1:{port}/")).body(large).send().await.unwrap();
        assert_eq!(early.status(), 413);
        let error = early.error_for_status().unwrap_err();
        assert_eq!((error.kind(), error.request_written()), (ErrorKind::Status, Written::Partly));
        let total = client.pool().stats().total;
        assert_eq!((total.idle, total.active, total.closed_total()), (0, 0, 1));
    });
    assert!(!drained.recv_timeout(Duration::from_secs(20)).unwrap(), "a request stood within the body");
}

type Running<T> = Pin<Box<dyn Future<Output = T>>>;

/// A future that polls all of its futures in each poll, as `join_all` does.
struct All<T>(Vec<(Running<T>, Option<T>)>);

impl<T: Unpin> Future for All<T> {
    type Output = Vec<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<T>> {
        for (future, output) in &mut self.0 {
            if output.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *output = Some(value);
            }
        }
        if self.0.iter().any(|(_, output)| output.is_none()) {
            return Poll::Pending;
        }
        Poll::Ready(self.0.iter_mut().filter_map(|(_, output)| output.take()).collect())
    }
}

/// tokio's cooperative budget allows a task about 128 operations in a poll. Further operations are pending, and outside of
/// a worker thread they wake the task at once.
#[test]
fn many_requests_in_one_poll_do_not_spin() {
    let port = friendly();
    for runtime in [Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(), one_thread()]
    {
        runtime.block_on(async {
            let client = Client::new();
            let get = |_| {
                let request = client.get(format!("http://127.0.0.1:{port}/"));
                let get = async move { request.send().await.unwrap().text().await.unwrap() };
                (Box::pin(get) as Running<String>, None)
            };
            let all = All((0..400).map(get).collect());
            let texts = tokio::time::timeout(Duration::from_secs(60), all)
                .await
                .expect("all requests end within 60 s");
            assert!(texts.len() == 400 && texts.iter().all(|text| text == "ok"));
        });
    }
}

/// The total timeout ends an exchange even if the exchange makes progress.
#[test]
fn the_total_timeout_ends_a_body_that_never_pauses() {
    let port = listen(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    one_thread().block_on(async {
        let client = Client::builder().timeout(Duration::from_millis(100)).build().unwrap();
        let mut response = client.get(format!("http://127.0.0.1:{port}/")).send().await.unwrap();
        let error = loop {
            match response.chunk().await {
                Ok(piece) => assert!(piece.is_some(), "the body has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Receive)));
        let timings = error.timings().unwrap();
        assert!(timings.receive.is_some() && timings.total >= Duration::from_millis(100), "{timings:?}");
        assert_eq!(client.pool().stats().total.active, 0);
    });
}

/// A transport that buffers written bytes until it is flushed.
struct Buffering {
    pipe: Pipe,
    held: BytesMut,
}

impl Layer for Buffering {
    type Below = Pipe;

    fn below(&mut self) -> &mut Pipe {
        &mut self.pipe
    }

    fn write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.held.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.pipe).poll_write(cx, &self.held))?;
            self.held.advance(written);
        }
        Pin::new(&mut self.pipe).poll_flush(cx)
    }
}

/// Returns a client with connections in memory, and a receiver that returns the server's ends of these connections.
fn in_memory() -> (Client, tokio::sync::mpsc::UnboundedReceiver<DuplexStream>) {
    let (made, peers) = tokio::sync::mpsc::unbounded_channel();
    let client = Client::builder().connector(move |_| {
        let (ours, theirs) = Pipe::pair(1 << 16);
        made.send(theirs).unwrap();
        async { Ok(Layered::boxed(Buffering { pipe: ours, held: BytesMut::new() })) }
    });
    (client.build().unwrap(), peers)
}

struct Pieces(tokio::sync::mpsc::Receiver<Bytes>);

impl futures_core::Stream for Pieces {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}

/// The client flushes before it waits for more content of the source, because the peer may be waiting for the piece that
/// was just written.
#[tokio::test(start_paused = true)]
async fn a_piece_leaves_while_the_callers_stream_pauses() {
    let (client, mut peers) = in_memory();
    let (pieces, body) = tokio::sync::mpsc::channel(1);
    pieces.send(Bytes::from_static(b"first")).await.unwrap();
    let request = client.post("http://h.test/").body(Body::from_stream(Pieces(body))).send();
    let request = tokio::spawn(request);
    let mut peer = peers.recv().await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"5\r\nfirst\r\n") {
        let read = tokio::time::timeout(Duration::from_secs(1), peer.read_buf(&mut seen)).await;
        assert!(read.expect("the piece arrives although the stream is pending").unwrap() > 0);
    }
    request.abort();
}

/// The timer of a reused connection belongs to a runtime that has ended. The client replaces it by a timer of the current
/// runtime, without a panic.
#[test]
fn a_body_outlives_its_runtime() {
    let (client, mut peers) = in_memory();
    let first = one_thread();
    let (mut response, mut peer) = first.block_on(async {
        let request = tokio::spawn(client.get("http://h.test/").send());
        let mut peer = peers.recv().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            peer.read_buf(&mut head).await.unwrap();
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart";
        peer.write_all(answer).await.unwrap();
        (request.await.unwrap().unwrap(), peer)
    });
    drop(first);
    one_thread().block_on(async {
        assert_eq!(response.chunk().await.unwrap().unwrap(), "part");
        let rest = tokio::spawn(async move {
            let piece = response.chunk().await.unwrap().unwrap();
            (piece, response.chunk().await.unwrap())
        });
        // The response waits with a timeout before its remaining content comes.
        tokio::task::yield_now().await;
        peer.write_all(b"-rest").await.unwrap();
        assert_eq!(rest.await.unwrap(), (Bytes::from_static(b"-rest"), None));
    });
    // A connection of a runtime that has ended cannot be used.
    let total = client.pool().stats().total;
    assert_eq!((total.active, total.idle, total.closed_total()), (0, 0, 1), "{total}");
}

/// A stream that is always ready with an empty piece.
struct Empty;

impl futures_core::Stream for Empty {
    type Item = std::io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(Bytes::new())))
    }
}

/// A source that gives only empty pieces is never pending, and nothing is written. The deadline still ends the request, and
/// other tasks still run.
#[test]
fn a_stream_of_empty_pieces_does_not_spin() {
    let port = friendly();
    one_thread().block_on(async {
        let client = Client::new();
        let url = format!("http://127.0.0.1:{port}/");
        // The first request leaves an idle connection to one server. The other server reads all it gets and never answers.
        let stalled = listen(|mut stream| while let Ok(1..) = stream.read(&mut [0; 1024]) {});
        client.get(&url).send().await.unwrap().bytes().await.unwrap();
        let endless = client.post(format!("http://127.0.0.1:{stalled}/")).body(Body::from_stream(Empty));
        let endless = tokio::spawn(endless.timeout(Duration::from_millis(200)).send());
        // The endless upload and this request run on the same thread.
        assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), "ok");
        let error = endless.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Send)));
    });
}

/// A request whose total timeout has passed is not sent.
#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let (port, client) = (friendly(), Client::new());
    let url = format!("http://127.0.0.1:{port}/");
    client.get(&url).send().await.unwrap().bytes().await.unwrap();
    let error = client.post(&url).body("abc").timeout(Duration::ZERO).send().await.unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Timeout, Written::Nothing));
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.requests), (1, 1), "the connection was not touched");
}

/// A request that waits for a connection when the runtime ends fails, without a panic.
#[test]
fn a_wait_outlives_its_runtime() {
    let client = Client::builder()
        .connector(|_| std::future::pending::<Result<Box<dyn handclasp::Transport>, handclasp::BoxError>>())
        .build()
        .unwrap();
    let mut request = Box::pin(client.get("http://h.test/").send());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let first = one_thread();
    first.block_on(async { assert!(request.as_mut().poll(&mut cx).is_pending()) });
    drop(first);
    let Poll::Ready(Err(error)) = request.as_mut().poll(&mut cx) else { panic!("the dial was cut short") };
    assert_eq!(error.kind(), ErrorKind::Connect);
    drop(request);
    let total = client.pool().stats().total;
    assert_eq!((total.dialing, total.waiting, total.failed_dials), (0, 0, 1));
}

/// The client sends all default values of a field unless the request sets the field.
#[tokio::test(start_paused = true)]
async fn default_headers_keep_all_their_values() {
    let (made, mut peers) = tokio::sync::mpsc::unbounded_channel();
    let mut headers = http::HeaderMap::new();
    for value in ["1", "2"] {
        headers.append("x-a", value.parse().unwrap());
        headers.append("x-b", value.parse().unwrap());
    }
    let client = Client::builder().no_user_agent().uncoded().default_headers(headers).connector(move |_| {
        let (ours, theirs) = Pipe::pair(1 << 16);
        made.send(theirs).unwrap();
        async { Ok(Layered::boxed(Buffering { pipe: ours, held: BytesMut::new() })) }
    });
    let request = client.build().unwrap().get("http://h.test/").header("x-b", "mine").send();
    let request = tokio::spawn(request);
    let mut peer = peers.recv().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        peer.read_buf(&mut head).await.unwrap();
    }
    assert_eq!(head, b"GET / HTTP/1.1\r\nhost: h.test\r\nx-b: mine\r\nx-a: 1\r\nx-a: 2\r\n\r\n");
    request.abort();
}

/// The ledger counts a saved handshake when a connection carries a second request. The first request on a connection that
/// was dialed ahead does not count.
#[test]
fn the_ledger_counts_no_handshake_that_was_paid() {
    let port = friendly();
    one_thread().block_on(async {
        let client = Client::new();
        let url = format!("http://127.0.0.1:{port}/");
        client.warm(&url, 1).await.unwrap();
        for saved in 0..3 {
            client.get(&url).send().await.unwrap().bytes().await.unwrap();
            let total = client.pool().stats().total;
            assert_eq!((total.opened, total.requests, total.handshakes_saved), (1, saved + 1, saved));
        }
    });
}

/// The error of a request that times out while its connection is being made says how far the dial had come.
#[tokio::test(start_paused = true)]
async fn a_timeout_in_the_middle_of_a_dial_says_so() {
    let client = Client::builder()
        .connector(|_| std::future::pending::<Result<Box<dyn handclasp::Transport>, handclasp::BoxError>>())
        .build()
        .unwrap();
    for request in [
        client.get("http://h.test/").connect_timeout(Duration::from_secs(1)),
        client.get("http://g.test/").timeout(Duration::from_secs(1)),
    ] {
        let error = request.send().await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Tcp)));
        assert!(error.is_connect() && error.is_timeout());
        assert_eq!(error.timings().unwrap().connect, Some(Duration::from_secs(1)));
    }
}

/// A request blocked by the total limit is not advised to raise the limit per host.
#[tokio::test]
async fn rule_04_a_full_pool_names_the_limit_that_is_in_the_way() {
    let (port, other) = (friendly(), friendly());
    let client =
        Client::builder().max_connections(1).acquire_timeout(Duration::from_millis(50)).build().unwrap();
    let slow = listen(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart");
        let _ = stream.read(&mut [0; 1]);
    });
    let holder = client.get(format!("http://127.0.0.1:{slow}/")).send().await.unwrap();
    let error = client.get(format!("http://127.0.0.1:{port}/")).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolTimeout);
    assert!(
        error.to_string().ends_with(
            "(max_connections allows 1, and all of these connections are taken: raise max_connections, or the acquire_timeout)"
        ),
        "{error}"
    );
    drop(holder);
    assert_eq!(
        client.get(format!("http://127.0.0.1:{other}/")).send().await.unwrap().text().await.unwrap(),
        "ok"
    );
}
