//! Runtimes that do not run: what they hold of the limits is taken back once it is overdue, from any runtime; waiters of
//! another runtime get their turn; and a dial that comes late finds that it was given up.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/plain.rs"]
mod plain;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use handclasp::{Client, ClientBuilder, Error, ErrorKind, Response};
use plain::Plain;
use tokio::runtime::{Builder, Runtime};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

type Sending = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn client(settings: impl FnOnce(ClientBuilder) -> ClientBuilder, server: &Plain) -> Client {
    let builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).resolve("b.test", server.address);
    settings(builder).build().unwrap()
}

/// Begins a request on a runtime, which is polled once and then does not run.
fn begin(runtime: &Runtime, client: &Client, url: &str) -> Sending {
    let mut sending: Sending = Box::pin(client.get(url).send());
    let _entered = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sending.as_mut().poll(&mut cx).is_pending());
    sending
}

/// Fetches on a runtime of its own; nothing may hang.
fn fetch(client: &Client, url: &str) -> Result<(), Error> {
    let work = async { client.get(url).send().await?.bytes().await.map(drop) };
    single().block_on(async { tokio::time::timeout(Duration::from_secs(20), work).await }).expect("it hangs")
}

fn counts(client: &Client) -> [usize; 4] {
    let total = client.pool().stats().total;
    [total.idle, total.active, total.dialing, total.waiting]
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
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
                // Any other host starves for it, too.
                _ => format!("http://b.test:{}/", server.address.port()),
            };
            fetch(&client, &url).unwrap_or_else(|error| panic!("{}", error.chain()));
            if let Some((first, second)) = waiting {
                // Nothing there could have been served.
                for sending in [first, second] {
                    let error = parked.block_on(sending).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
                    assert!(error.is_connect() && error.to_string().contains("tokio runtime does not run"));
                }
            }
            // The dial that comes late finds that it was given up.
            parked.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
            until("nothing is counted", || counts(&client) == [0; 4]);
            let total = client.pool().stats().total;
            assert_eq!((total.opened, total.failed_dials), (1, 1), "{total}");
            until("every socket is closed", || server.open() == 0);
            // It runs again, and is served.
            parked
                .block_on(async { client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap() });
        }
    }
}

/// A dial that has connected already, and whose task is not polled to notice.
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
    // Before the parked runtime runs again.
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
    // (The second it would wait for connections that are being polled.)
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
        until("the others are busy", || server.requests() > 20);
        let before = client.pool().stats().total.opened;
        for _ in 0..3 {
            // (An acquire timeout is 30 s, and a turn is one.)
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

/// A waiter comes while nothing is overdue, and stays while the other runtime is given what it waits for and stops.
#[test]
fn what_a_runtime_gets_before_it_stops_is_taken_back() {
    for is_dialed in [false, true] {
        let server = Plain::start();
        let client = client(|client| client.max_connections_per_host(1), &server);
        let parked = single();
        // So large that it is not here yet.
        let response = parked.block_on(client.get(server.url("/bytes/20000000")).send()).unwrap();
        let second = begin(&parked, &client, &server.url("/"));
        let waiting = thread::spawn({
            let (client, url) = (client.clone(), server.url("/"));
            move || fetch(&client, &url)
        });
        until("both wait", || client.pool().stats().total.waiting == 2);
        // Whatever was due when they came is over.
        thread::sleep(Duration::from_millis(400));
        if is_dialed {
            client.pool().on_network_change();
        }
        parked.block_on(response.bytes()).unwrap();
        waiting.join().unwrap().unwrap_or_else(|error| panic!("{}", error.chain()));
        drop(second);
    }
}

/// Each would have a dial of its own there, one after the other.
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
    assert_eq!(client.pool().stats().total.failed_dials, 1, "the first was overdue, and there was no other");
    for sending in held {
        assert_eq!(parked.block_on(sending).unwrap_err().kind(), ErrorKind::Timeout);
    }
}
