//! Tests of requests and responses that begin on one runtime and are polled on another, while the first runtime exists and
//! is parked: every deadline fires.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use handclasp::{Body, BoxError, Client, ClientBuilder, Error, ErrorKind, Phase, Response, Result};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Peer, Server, Signal, until};

const SOON: Duration = Duration::from_millis(50);

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs `work` on `runtime`, and fails if it hangs.
fn run<T>(runtime: &Runtime, work: impl Future<Output = T>) -> T {
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), work).await })
        .expect("the work ends within 20 s")
}

/// Polls a future on `runtime`, and checks that it is pending.
fn poll_once<F: Future + ?Sized>(runtime: &Runtime, mut future: Pin<&mut F>) {
    run(
        runtime,
        poll_fn(|cx| {
            assert!(future.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        }),
    );
}

type Sending = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

/// Begins a request on `runtime`, runs the runtime until `is_begun` is true, and returns the pending request.
fn begin(runtime: &Runtime, request: handclasp::RequestBuilder, is_begun: impl Fn() -> bool) -> Sending {
    let mut sending: Sending = Box::pin(request.send());
    run(runtime, async {
        tokio::select! {
            biased;
            ended = &mut sending => panic!("the future has ended: {ended:?}"),
            () = until("the request has begun", is_begun) => {}
        }
    });
    sending
}

/// Starts a server that answers `/half` with half of the content and reads only the head of `/stuck`. The server does not
/// answer any other path.
fn server() -> Server {
    Server::start(|peer: &mut Peer| {
        let Some(index) = peer.request_head()? else { return Ok(()) };
        if peer.seen(index).target == "/half" {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhalf")?;
        }
        // The server reads no further bytes of this connection.
        peer.wait(&Signal::new())
    })
}

fn client(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    settings(Client::builder()).build().unwrap()
}

#[track_caller]
fn assert_timeout(error: &Error, phase: Phase) {
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(phase)), "{}", error.chain());
}

/// Reads the head on one runtime and the content on another, and returns the error of the content.
fn read_elsewhere(client: &Client) -> Error {
    let (server, first, second) = (server(), single(), single());
    let mut response = run(&first, client.get(server.url("/half")).send()).unwrap();
    run(&second, async {
        assert_eq!(response.chunk().await.unwrap().unwrap(), "half");
        response.chunk().await.unwrap_err()
    })
}

#[test]
fn the_read_timeout_comes_where_the_content_is_read_on_another_runtime() {
    assert_timeout(&read_elsewhere(&client(|builder| builder.read_timeout(SOON))), Phase::Receive);
}

#[test]
fn the_total_timeout_comes_where_the_content_is_read_on_another_runtime() {
    assert_timeout(&read_elsewhere(&client(|builder| builder.timeout(4 * SOON))), Phase::Receive);
}

/// Two runtimes read the content in turn. Each runtime is parked while the other runtime reads.
#[test]
fn the_read_timeout_comes_on_whatever_runtime_reads() {
    let (server, client) = (server(), client(|builder| builder.read_timeout(4 * SOON)));
    let runtimes = [single(), single()];
    let mut response = run(&runtimes[0], client.get(server.url("/half")).send()).unwrap();
    assert_eq!(run(&runtimes[0], response.chunk()).unwrap().unwrap(), "half");
    for at in [0, 1, 0] {
        // The poll arms a timer on the runtime. The future is then dropped.
        poll_once(&runtimes[at], Box::pin(response.chunk()).as_mut());
    }
    assert_timeout(&run(&runtimes[1], response.chunk()).unwrap_err(), Phase::Receive);
}

fn begin_and_end_elsewhere(client: &Client, path: &str, body: impl Into<Body>) -> Error {
    let (server, first, second) = (server(), single(), single());
    let request = client.post(server.url(path)).body(body);
    let sending = begin(&first, request, || !server.seen().is_empty());
    run(&second, sending).unwrap_err()
}

#[test]
fn the_response_timeout_comes_on_another_runtime() {
    let client = client(|builder| builder.response_timeout(4 * SOON));
    assert_timeout(&begin_and_end_elsewhere(&client, "/silent", "content"), Phase::Wait);
}

#[test]
fn the_total_timeout_comes_on_another_runtime() {
    let client = client(|builder| builder.timeout(4 * SOON));
    assert_timeout(&begin_and_end_elsewhere(&client, "/silent", "content"), Phase::Wait);
}

#[test]
fn the_write_timeout_comes_on_another_runtime() {
    let client = client(|builder| builder.write_timeout(4 * SOON));
    let large = vec![b'x'; 32 << 20];
    assert_timeout(&begin_and_end_elsewhere(&client, "/stuck", large), Phase::Send);
}

/// Holds the only connection while a second request waits for it. The second request begins on one runtime and is polled
/// on another.
fn wait_elsewhere(
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
    own: impl FnOnce(handclasp::RequestBuilder) -> handclasp::RequestBuilder,
) -> Error {
    let client = client(|builder| settings(builder.max_connections_per_host(1)));
    let (server, first, second) = (server(), single(), single());
    let held = run(&first, client.get(server.url("/half")).send()).unwrap();
    let request = own(client.get(server.url("/")));
    let sending = begin(&first, request, || client.pool().stats().total.waiting == 1);
    let error = run(&second, sending).unwrap_err();
    assert_eq!(client.pool().stats().total.waiting, 0);
    drop(held);
    error
}

#[test]
fn the_acquire_timeout_comes_on_another_runtime() {
    let error = wait_elsewhere(|builder| builder.acquire_timeout(4 * SOON), |request| request);
    assert_eq!((error.kind(), error.phase()), (ErrorKind::PoolTimeout, Some(Phase::Queue)));
}

#[test]
fn the_connect_timeout_of_a_request_comes_on_another_runtime() {
    let error = wait_elsewhere(|builder| builder, |request| request.connect_timeout(4 * SOON));
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Queue)));
}

#[test]
fn the_total_timeout_comes_on_another_runtime_while_the_request_waits() {
    let error = wait_elsewhere(|builder| builder, |request| request.timeout(4 * SOON));
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Queue)));
}

/// A stream that is always pending.
struct Never;

impl futures_core::Stream for Never {
    type Item = Result<bytes::Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

#[test]
fn the_total_timeout_comes_on_another_runtime_while_the_caller_has_nothing_to_send() {
    let client = client(|builder| builder.timeout(4 * SOON));
    assert_timeout(&begin_and_end_elsewhere(&client, "/", Body::from_stream(Never)), Phase::Send);
}

/// The client collects the content for an HTTP/1.0 server before it sends the head. The deadline fires during this time.
#[test]
fn the_total_timeout_comes_on_another_runtime_while_content_is_gathered() {
    let server = Server::start(|peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let (client, first, second) = (client(|builder| builder), single(), single());
    run(&first, client.get(server.url("/")).send()).unwrap();
    let body = Body::from_stream(Never);
    let mut sending: Sending = Box::pin(client.post(server.url("/")).timeout(4 * SOON).body(body).send());
    poll_once(&first, sending.as_mut());
    assert_timeout(&run(&second, sending).unwrap_err(), Phase::Send);
}

/// A request with an expectation is polled on another runtime. The client holds the content back until the timeout of the
/// expectation, and then sends it.
#[test]
fn the_expectation_ends_on_another_runtime() {
    let server = Server::start(|peer: &mut Peer| {
        let Some(index) = peer.request_head()? else { return Ok(()) };
        peer.request_body(index)?;
        peer.respond("")?;
        peer.is_ended().map(|_| ())
    });
    let client = client(|builder| builder.expect_continue_timeout(4 * SOON).response_timeout(20 * SOON));
    let (first, second) = (single(), single());
    let request = client.put(server.url("/")).expect_continue().body("content");
    let sending = begin(&first, request, || !server.seen().is_empty());
    // The response cannot be read on this runtime, because the socket belongs to the first one. The timeout that ends
    // the wait shows that the content was sent.
    assert_timeout(&run(&second, sending).unwrap_err(), Phase::Wait);
}

#[test]
fn a_shutdown_that_moves_to_another_runtime_ends() {
    let (server, client, first, second) = (server(), client(|builder| builder), single(), single());
    let held = run(&first, client.get(server.url("/half")).send()).unwrap();
    let mut ending = Box::pin(client.pool().shutdown(4 * SOON));
    poll_once(&first, ending.as_mut());
    run(&second, ending);
    assert_eq!(client.pool().stats().total.active, 0);
    drop(held);
}
