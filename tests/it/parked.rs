//! Tests of runtimes that do not run. Another runtime gives up the overdue dials of a parked runtime, so that the waiters
//! of other runtimes get a slot. A dial that ends late finds that it was given up.

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

/// Fetches on a runtime of its own, within 20 seconds.
fn fetch(client: &Client, url: &str) -> Result<(), Error> {
    fetch_and_tell(client, url, || ())
}

/// Fetches on a runtime of its own, within 20 seconds, and calls `polled` after each poll of the request.
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
                // At the total limit, requests to another host wait for that slot too.
                _ => format!("http://b.test:{}/", server.address.port()),
            };
            fetch(&client, &url).unwrap_or_else(|error| panic!("{}", error.chain()));
            if let Some((first, second)) = waiting {
                // No connection of the parked runtime could have served these requests.
                for sending in [first, second] {
                    let error = parked.block_on(sending).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
                    assert!(error.is_connect() && error.to_string().contains("tokio runtime does not run"));
                }
            }
            // The parked runtime runs again: its dial finds that it was given up, and closes its socket.
            parked.block_on(support::until("nothing is counted and every socket is closed", || {
                counts(&client) == [0; 4] && server.open() == 0
            }));
            let total = client.pool().stats().total;
            assert_eq!((total.opened, total.failed_dials), (1, 1), "{total}");
            // A request on that runtime is served.
            parked
                .block_on(async { client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap() });
        }
    }
}

/// The dial has connected, but its parked runtime does not poll the dial's task again.
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
    // A shutdown waits one second for connections that are being polled, and not for this one.
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
            // The acquire timeout is 30 s, and a turn of the other runtime takes one second.
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

/// A request begins to wait while no dial is overdue. The request still waits when another runtime is given the slot and
/// stops running.
#[test]
fn what_a_runtime_gets_before_it_stops_is_taken_back() {
    for is_dialed in [false, true] {
        let server = Plain::start();
        let client = client(|client| client.max_connections_per_host(1), &server);
        let parked = single();
        // The content is so large that most of it has not arrived yet.
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
        // After its first poll the waiter has armed its timer. No dial is overdue, so that only a wake can end the
        // wait.
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

/// Requests of a parked runtime to several hosts wait for one slot. The parked runtime would dial for these requests one
/// after another. The request of another runtime must wait for only one of these dials.
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
