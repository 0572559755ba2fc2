//! Tests of parked runtimes: tokio runtimes that no thread runs at the moment. Another runtime gives up the overdue dials of a
//! parked runtime, so that the waiters of other runtimes can dial.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use handclasp::{Client, ClientBuilder, Error, ErrorKind, Response};
use tokio::runtime::{Builder, Runtime};

use crate::support;
use crate::support::plain::Plain;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

type Sending = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn client(settings: impl FnOnce(ClientBuilder) -> ClientBuilder, server: &Plain) -> Client {
    let builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).resolve("b.test", server.address);
    settings(builder).build().unwrap()
}

/// Begins a request on a runtime: polls the request once, leaves the runtime parked, and returns the pending request.
fn begin(runtime: &Runtime, client: &Client, url: &str) -> Sending {
    let mut sending: Sending = Box::pin(client.get(url).send());
    let _entered = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sending.as_mut().poll(&mut cx).is_pending());
    sending
}

/// Fetches `url` on a new runtime, and panics after 20 seconds.
fn fetch(client: &Client, url: &str) -> Result<(), Error> {
    fetch_and_tell(client, url, || ())
}

/// Fetches `url` on a new runtime, and calls `polled` after each poll of the request. Panics after 20 seconds.
fn fetch_and_tell(client: &Client, url: &str, mut polled: impl FnMut()) -> Result<(), Error> {
    let mut work = Box::pin(async { client.get(url).send().await?.bytes().await.map(drop) });
    let work = poll_fn(|cx| {
        let result = work.as_mut().poll(cx);
        polled();
        result
    });
    single()
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), work).await })
        .expect("the work ends within 20 s")
}

fn counts(client: &Client) -> [usize; 4] {
    let total = client.pool().stats().total;
    [total.idle, total.active, total.dialing, total.waiting]
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_dial_of_a_runtime_that_does_not_run_frees_its_slot() {
    let limits: [fn(ClientBuilder) -> ClientBuilder; 2] =
        [|client| client.max_connections_per_host(1), |client| client.max_connections(1)];
    for (case, limit) in limits.into_iter().enumerate() {
        for keeps_waiting in [false, true] {
            let server = Plain::start();
            let client = client(limit, &server);
            let parked = single();
            let sending = begin(&parked, &client, &server.url("/"));
            let second = begin(&parked, &client, &server.url("/"));
            let waiting = keeps_waiting.then_some((sending, second));
            assert_eq!(counts(&client), [0, 0, 1, if keeps_waiting { 2 } else { 0 }]);
            let url = match case {
                0 => server.url("/"),
                // The dial uses up the total limit, so that requests to another host also wait for its end.
                _ => format!("http://b.test:{}/", server.address.port()),
            };
            fetch(&client, &url).unwrap_or_else(|error| panic!("{}", error.chain()));
            if let Some((first, second)) = waiting {
                // The requests of the parked runtime fail, because their dial was given up.
                for sending in [first, second] {
                    let error = parked.block_on(sending).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
                    assert!(error.is_connect() && error.to_string().contains("tokio runtime does not run"));
                }
            }
            // When the parked runtime runs again, the task of its dial learns that the dial was given up, and ends.
            parked.block_on(support::until("nothing is counted and every socket is closed", || {
                counts(&client) == [0; 4] && server.open() == 0
            }));
            let total = client.pool().stats().total;
            assert_eq!((total.opened, total.failed_dials), (1, 1), "{total}");
            // The client serves a new request on the runtime that was parked.
            parked
                .block_on(async { client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap() });
        }
    }
}

/// A dial has connected, but the parked runtime does not poll the task of the dial again. The socket is closed when another
/// runtime gives up the dial.
#[test]
fn a_late_dial_closes_its_socket_when_it_is_given_up() {
    let server = Plain::start();
    let client = client(|client| client.max_connections_per_host(1), &server);
    let parked = single();
    let sending = begin(&parked, &client, &server.url("/"));
    parked.block_on(tokio::task::yield_now());
    until("the server has accepted", || server.open() == 1);
    assert_eq!(counts(&client), [0, 0, 1, 1]);
    fetch(&client, &server.url("/")).unwrap_or_else(|error| panic!("{}", error.chain()));
    // The socket is closed before the parked runtime runs again.
    until("the socket is closed", || server.open() == 0);
    drop((sending, parked));
}

#[test]
fn a_shutdown_does_not_wait_for_a_runtime_that_does_not_run() {
    let server = Plain::start();
    let client = client(|client| client, &server);
    let parked = single();
    let sending = begin(&parked, &client, &server.url("/"));
    parked.block_on(tokio::task::yield_now());
    until("the server has accepted", || server.open() == 1);
    let begun = Instant::now();
    single().block_on(client.pool().shutdown(Duration::ZERO));
    // A shutdown waits up to one second for connections that a task polls at the moment. No task polls the dial of the
    // parked runtime.
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(counts(&client), [0; 4]);
    until("the socket is closed", || server.open() == 0);
    assert_eq!(parked.block_on(sending).unwrap_err().kind(), ErrorKind::Shutdown);
}

#[test]
fn waiters_of_another_runtime_get_their_turn() {
    let limits: [fn(ClientBuilder) -> ClientBuilder; 2] =
        [|client| client.max_connections_per_host(1), |client| client.max_connections(1)];
    for limit in limits {
        let server = Plain::start();
        let client = client(limit, &server);
        let is_over = Arc::new(AtomicBool::new(false));
        let busy = thread::spawn({
            let (client, url, is_over) = (client.clone(), server.url("/"), is_over.clone());
            move || {
                single().block_on(async {
                    let looping = |client: Client, url: String, is_over: Arc<AtomicBool>| async move {
                        while !is_over.load(Ordering::SeqCst) {
                            client.get(&*url).send().await.unwrap().bytes().await.unwrap();
                        }
                    };
                    let tasks: Vec<_> = (0..6)
                        .map(|_| tokio::spawn(looping(client.clone(), url.clone(), is_over.clone())))
                        .collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                });
            }
        });
        until("the other runtimes are busy", || server.requests() > 20);
        let before = client.pool().stats().total.opened;
        for _ in 0..3 {
            // The acquire timeout is 30 s. The other runtime uses the connection for one second at a time.
            let begun = Instant::now();
            fetch(&client, &server.url("/")).unwrap_or_else(|error| panic!("{}", error.chain()));
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        }
        let opened = client.pool().stats().total.opened - before;
        assert!(opened <= 6, "{opened} connections for three turns there and back");
        is_over.store(true, Ordering::SeqCst);
        busy.join().unwrap();
    }
}

/// A request of a runtime that then stops running is granted a connection or a dial. The pool takes the connection or the
/// dial back, so that the waiting request of another runtime is served.
#[test]
fn what_a_runtime_gets_before_it_stops_is_taken_back() {
    for is_dialed in [false, true] {
        let server = Plain::start();
        let client = client(|client| client.max_connections_per_host(1), &server);
        let parked = single();
        // The content is so large that the response still uses the connection.
        let response = parked.block_on(client.get(server.url("/bytes/20000000")).send()).unwrap();
        let second = begin(&parked, &client, &server.url("/"));
        let (polled, first_poll) = mpsc::channel();
        let waiting = thread::spawn({
            let (client, url) = (client.clone(), server.url("/"));
            move || {
                fetch_and_tell(&client, &url, || {
                    let _ = polled.send(());
                })
            }
        });
        // The request has armed its timer in its first poll. No dial is overdue at that time, so that the request waits
        // until another task wakes the request.
        first_poll.recv().unwrap();
        assert_eq!(client.pool().stats().total.waiting, 2);
        if is_dialed {
            client.pool().on_network_change();
        }
        parked.block_on(response.bytes()).unwrap();
        waiting.join().unwrap().unwrap_or_else(|error| panic!("{}", error.chain()));
        drop(second);
    }
}

/// The requests of a parked runtime to several hosts wait, because the total limit allows one connection. The parked runtime
/// would dial for one request after another. The request of another runtime must wait for only one of these dials.
#[test]
fn requests_of_one_parked_runtime_to_many_hosts_cost_one_timeout() {
    let server = Plain::start();
    let client = client(|client| client.max_connections(1), &server);
    let parked = single();
    let url = server.url("/");
    let held: Vec<Sending> = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .map(|tag| {
            let mut sending: Sending = Box::pin(client.get(&*url).isolation(tag).send());
            let _entered = parked.enter();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(sending.as_mut().poll(&mut cx).is_pending());
            sending
        })
        .into();
    fetch(&client, &url).unwrap_or_else(|error| panic!("{}", error.chain()));
    assert_eq!(client.pool().stats().total.failed_dials, 1, "the only dial was overdue");
    for sending in held {
        assert_eq!(parked.block_on(sending).unwrap_err().kind(), ErrorKind::Timeout);
    }
}
