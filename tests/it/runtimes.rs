//! Tests of one client on many runtimes: runtimes in turn, several at once, parked, without timers, and ended.
//!
//! A connection is used only on the runtime that made it, while the limits apply to all runtimes together. No request hangs
//! and no slot stays taken, whether a runtime is parked or has ended.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::plain::Plain;
use handclasp::{Client, ErrorKind};
use tokio::runtime::{Builder, Runtime};

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn any(n: usize) -> Runtime {
    if n.is_multiple_of(2) { single() } else { multi() }
}

/// Runs `work` on `runtime`, and fails if it hangs.
fn run<T>(runtime: &Runtime, work: impl Future<Output = T>) -> T {
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), work).await })
        .expect("the work ends within 20 s")
}

/// Fetches `path`, and returns the number of the client's connection and whether it was reused.
async fn fetch(client: &Client, server: &Plain, path: &str) -> (u64, bool) {
    let response = client.get(server.url(path)).send().await.unwrap_or_else(|e| panic!("{}", e.chain()));
    let connection = response.connection();
    let told = (connection.id(), connection.is_reused());
    response.bytes().await.unwrap_or_else(|error| panic!("{}", error.chain()));
    told
}

/// Waits until the pool counts `idle` idle connections and nothing else.
fn assert_settled(client: &Client, idle: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let total = client.pool().stats().total;
        let counts = (total.idle, total.active, total.dialing, total.waiting);
        if counts == (idle, 0, 0, 0) {
            assert_eq!(total.opened, idle as u64 + total.closed_total(), "{total}");
            return;
        }
        assert!(Instant::now() < deadline, "{total}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the server has as many connections open as the client says it has.
fn assert_open(server: &Plain, open: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.open() != open {
        assert!(Instant::now() < deadline, "{} open", server.open());
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn one_client_serves_fifty_runtimes_in_turn() {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let client = CLIENT.get_or_init(|| Client::builder().max_connections_per_host(2).build().unwrap());
    let server = Plain::start();
    let mut seen = HashSet::new();
    for n in 0..50 {
        let runtime = any(n);
        run(&runtime, async {
            let (first, is_reused) = fetch(client, &server, "/").await;
            assert!(!is_reused && seen.insert(first), "runtime {n} got connection {first} of an earlier one");
            for _ in 0..5 {
                assert_eq!(fetch(client, &server, "/").await, (first, true), "runtime {n}");
            }
        });
        if n % 3 == 0 {
            runtime.shutdown_background();
        }
    }
    assert_settled(client, 0);
    assert_open(&server, 0);
    assert_eq!((client.pool().stats().total.opened, server.accepted(), server.requests()), (50, 50, 300));
}

/// Without an idle timeout the client has no deadline to wait for, but must still notice the end of a runtime.
#[test]
fn one_client_serves_runtimes_in_turn_without_an_idle_timeout() {
    let client = Client::builder().idle_timeout(None).build().unwrap();
    let server = Plain::start();
    for n in 0..10 {
        run(&any(n), fetch(&client, &server, "/"));
    }
    assert_settled(&client, 0);
    assert_open(&server, 0);
}

#[test]
fn one_client_serves_four_runtimes_at_once() {
    const LIMIT: usize = 3;
    let client = Client::builder().max_connections_per_host(LIMIT).build().unwrap();
    let server = Plain::start();
    let owners: Mutex<HashMap<u64, usize>> = Mutex::default();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::SeqCst) {
                let total = client.pool().stats().total;
                most = most.max(total.idle + total.active + total.dialing);
                thread::yield_now();
            }
            most
        });
        let workers: Vec<_> = (0..4)
            .map(|n| {
                let (client, server, owners) = (&client, &server, &owners);
                scope.spawn(move || {
                    let runtime = any(n);
                    run(&runtime, async {
                        let tasks: Vec<_> = (0..4)
                            .map(|_| {
                                let (client, server) = (client.clone(), server.clone());
                                tokio::spawn(async move {
                                    let mut used = Vec::new();
                                    for _ in 0..50 {
                                        used.push(fetch(&client, &server, "/").await.0);
                                    }
                                    used
                                })
                            })
                            .collect();
                        for task in tasks {
                            for id in task.await.unwrap() {
                                assert_eq!(
                                    *owners.lock().unwrap().entry(id).or_insert(n),
                                    n,
                                    "connection {id} was used on two runtimes"
                                );
                            }
                        }
                    });
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
        let most = watcher.join().unwrap();
        assert!(most <= LIMIT, "{most} connections at once");
    });
    assert_settled(&client, 0);
    assert_open(&server, 0);
    assert_eq!(server.requests(), 4 * 4 * 50);
    println!("four at once: {}", client.pool().stats().total);
}

/// A runtime whose thread is busy has idle connections up to the limit. The pool closes these connections without reading
/// from them, so that requests of another runtime can dial.
#[test]
fn a_client_works_beside_a_parked_runtime() {
    let client = Client::builder().max_connections_per_host(2).build().unwrap();
    let server = Plain::start();
    let (parked, is_parked) = mpsc::channel();
    let (wake, woken) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (client, server) = (&client, &server);
        scope.spawn(move || {
            let runtime = single();
            let pair =
                async { tokio::join!(fetch(client, server, "/slow/50"), fetch(client, server, "/slow/50")) };
            let ((one, _), (two, _)) = run(&runtime, pair);
            assert_ne!(one, two);
            parked.send([one, two]).unwrap();
            woken.recv().unwrap();
            for _ in 0..3 {
                run(&runtime, fetch(client, server, "/"));
            }
        });
        let theirs = is_parked.recv().unwrap();
        let runtime = single();
        for n in 0..10 {
            let (id, is_reused) = run(&runtime, fetch(client, server, "/"));
            assert!(!theirs.contains(&id), "connection {id} was used on two runtimes");
            assert_eq!(is_reused, n > 0);
        }
        assert_settled(client, 2);
        wake.send(()).unwrap();
    });
    assert_settled(&client, 0);
    assert_open(&server, 0);
}

/// Uses one client in a `static` on many runtimes: a runtime that is parked with an idle connection and an unread
/// response, fifty other runtimes in turn, four runtimes at once, and the parked runtime again. Each runtime uses only its
/// own connections. By the server's count, all runtimes together stay within the limit.
#[test]
fn a_static_client_works_beside_a_parked_runtime() {
    const LIMIT: usize = 4;
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let client = CLIENT.get_or_init(|| Client::builder().max_connections_per_host(LIMIT).build().unwrap());
    let server = Plain::start();
    let owners: Mutex<HashMap<u64, usize>> = Mutex::default();
    let requests = AtomicUsize::new(0);
    // Spawns `tasks` tasks on a runtime, each of which sends `rounds` requests, and checks the owner of each connection.
    let use_it = |runtime: &Runtime, owner: usize, tasks: usize, rounds: usize| {
        let paths = ["/", "/slow/1", "/bytes/100000"];
        let tasks: Vec<_> = (0..tasks)
            .map(|task| {
                let server = server.clone();
                runtime.spawn(async move {
                    let mut used = Vec::new();
                    for round in 0..rounds {
                        used.push(fetch(client, &server, paths[(task + round) % 3]).await.0);
                    }
                    used
                })
            })
            .collect();
        for task in tasks {
            for id in run(runtime, task).unwrap() {
                let first = *owners.lock().unwrap().entry(id).or_insert(owner);
                assert_eq!(first, owner, "connection {id} was used on two runtimes");
                requests.fetch_add(1, Ordering::SeqCst);
            }
        }
    };

    let parked = single();
    use_it(&parked, 0, 1, 3);
    let unread = run(&parked, client.get(server.url("/bytes/1000000")).send()).unwrap();
    use_it(&parked, 0, 1, 3);
    for n in 1..=50 {
        let runtime = any(n);
        use_it(&runtime, n, 3, 4);
        if n % 2 == 0 {
            runtime.shutdown_background();
        }
    }
    thread::scope(|scope| {
        for n in 51..=54 {
            let use_it = &use_it;
            scope.spawn(move || use_it(&any(n), n, 4, 25));
        }
    });
    use_it(&parked, 0, 3, 4);
    assert_eq!(run(&parked, unread.bytes()).unwrap().len(), 1_000_000);
    use_it(&parked, 0, 1, 1);
    // A dial continues after its waiter got a freed connection.
    run(&parked, async {
        while client.pool().stats().total.dialing > 0 {
            tokio::task::yield_now().await;
        }
    });
    let total = client.pool().stats().total;
    assert_settled(client, total.idle);
    assert_open(&server, total.idle);
    assert!((1..=LIMIT).contains(&total.idle), "{total}");
    let requests = requests.load(Ordering::SeqCst) as u64 + 1;
    assert_eq!(
        (total.requests, server.requests() as u64),
        (requests, requests),
        "a request was sent again: {total}"
    );
    #[cfg(target_os = "linux")]
    assert_eq!(server.peak(), LIMIT, "the limit is reached and not exceeded");
    drop(parked);
    assert_settled(client, 0);
    assert_open(&server, 0);
    println!("beside a parked runtime: {}", client.pool().stats().total);
}

/// The parked runtime has a dial under way. That dial holds one slot, and the other runtimes use the remaining slots.
#[test]
fn a_client_works_beside_a_runtime_that_parked_while_dialing() {
    let client = Client::builder().max_connections_per_host(2).build().unwrap();
    let server = Plain::start();
    let parked = single();
    {
        let _inside = parked.enter();
        let mut request = Box::pin(client.get(server.url("/")).send());
        assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    for _ in 0..3 {
        run(&single(), fetch(&client, &server, "/"));
    }
    assert_eq!(client.pool().stats().total.dialing, 1);
    // The dial ends when the parked runtime runs again.
    run(&parked, async {
        while client.pool().stats().total.dialing > 0 {
            tokio::task::yield_now().await;
        }
    });
    assert_settled(&client, 1);
    drop(parked);
    assert_settled(&client, 0);
    assert_open(&server, 0);
}

#[test]
fn a_response_can_be_dropped_outside_any_runtime() {
    let client = Client::builder().max_connections_per_host(1).build().unwrap();
    let server = Plain::start();
    let runtime = single();
    for path in ["/bytes/1000000", "/bytes/10"] {
        let response = run(&runtime, client.get(server.url(path)).send()).unwrap();
        drop(response);
        run(&runtime, fetch(&client, &server, "/"));
        // The response is dropped after the runtime that received it.
        let short_lived = multi();
        let response = run(&short_lived, client.get(server.url(path)).send()).unwrap();
        drop(short_lived);
        drop(response);
        run(&runtime, fetch(&client, &server, "/"));
    }
    drop(runtime);
    assert_settled(&client, 0);
    assert_open(&server, 0);
}

#[test]
fn a_client_can_be_dropped_outside_any_runtime() {
    let server = Plain::start();
    let runtime = single();
    let client = Client::new();
    run(&runtime, fetch(&client, &server, "/"));
    assert_eq!(server.open(), 1);
    drop(client);
    assert_open(&server, 0);
    // This response outlives the runtime that received it.
    let client = Client::new();
    run(&runtime, fetch(&client, &server, "/"));
    drop(runtime);
    assert_settled(&client, 0);
    drop(client);
    assert_open(&server, 0);
}

/// A response that outlives the client can still be read. Its connection is closed after the read.
#[test]
fn a_response_that_outlives_the_client_is_still_read() {
    let server = Plain::start();
    let runtime = single();
    let client = Client::new();
    let response = run(&runtime, client.get(server.url("/bytes/1000000")).send()).unwrap();
    drop(client);
    assert_eq!(run(&runtime, response.bytes()).unwrap().len(), 1_000_000);
    assert_open(&server, 0);
}

#[test]
fn no_runtime_is_a_typed_error() {
    let client = Client::new();
    let mut request = Box::pin(client.get("http://127.0.0.1:9/").send());
    let Poll::Ready(Err(error)) = request.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a request without a runtime waits for something");
    };
    assert_eq!(error.kind(), ErrorKind::Request);
    assert!(error.message().starts_with("the client was used outside a tokio runtime:"), "{}", error.chain());
    let mut warm = Box::pin(client.warm("http://127.0.0.1:9/", 1));
    let outcome = warm.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(outcome, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Request));
    assert_settled(&client, 0);
}

/// Requests on runtimes without the drivers that a request needs fail with an error.
#[test]
fn no_timers_and_no_sockets_are_typed_errors() {
    let server = Plain::start();
    for (runtime, kind, text) in [
        (
            Builder::new_current_thread().enable_io().build().unwrap(),
            ErrorKind::Request,
            "the tokio runtime has no timers: build it with enable_all or enable_time",
        ),
        (
            Builder::new_current_thread().enable_time().build().unwrap(),
            ErrorKind::Connect,
            "the tokio runtime of the dial stopped, or has no I/O: build it with enable_all or enable_io",
        ),
    ] {
        let client = Client::new();
        let url = server.url("/");
        let error = runtime.block_on(client.get(&url).send()).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, text));
        // The dial that the request began also ends.
        while client.pool().stats().total.dialing > 0 {
            runtime.block_on(tokio::task::yield_now());
        }
        let error = runtime.block_on(client.warm(&url, 1)).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, text));
        assert_settled(&client, 0);
        run(&single(), fetch(&client, &server, "/"));
        assert_settled(&client, 0);
    }
}

#[test]
fn a_runtime_that_stops_leaves_nothing_counted() {
    let server = Plain::start();
    let client = Arc::new(Client::builder().max_connections_per_host(2).build().unwrap());
    for n in 0..8 {
        for after in [0, 1, 5, 30] {
            let runtime = any(n);
            for _ in 0..4 {
                let (client, url) = (client.clone(), server.url("/slow/20"));
                runtime.spawn(async move { client.get(url).send().await?.bytes().await });
            }
            run(&runtime, async { tokio::time::sleep(Duration::from_millis(after)).await });
            if n % 4 < 2 {
                drop(runtime)
            } else {
                runtime.shutdown_background()
            }
            assert_settled(&client, 0);
        }
    }
    // The dial hangs, because the resolver never answers.
    struct Never;
    impl handclasp::Resolve for Never {
        fn resolve(
            &self,
            _: &str,
            _: handclasp::Family,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<handclasp::Answer, handclasp::BoxError>> + Send>>
        {
            Box::pin(std::future::pending())
        }
    }
    let hanging = Client::builder().dns_resolver(Never).max_connections(1).build().unwrap();
    for n in 0..2 {
        let runtime = any(n);
        let request = hanging.get("http://a.test/").send();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(20), request).await })
            .unwrap_err();
        assert_eq!(hanging.pool().stats().total.dialing, 1);
        drop(runtime);
        assert_settled(&hanging, 0);
    }
    assert_open(&server, 0);
}

/// Requests of two runtimes wait for each other's connections at the total limit.
#[test]
fn requests_of_two_runtimes_share_a_limit_of_one_connection() {
    let servers = [Plain::start(), Plain::start()];
    let client = Client::builder().max_connections(1).build().unwrap();
    thread::scope(|scope| {
        for (n, server) in servers.iter().enumerate() {
            let client = &client;
            scope.spawn(move || {
                let runtime = any(n);
                for _ in 0..30 {
                    run(&runtime, fetch(client, server, "/"));
                }
            });
        }
    });
    assert_settled(&client, 0);
    println!("two hosts, one connection: {}", client.pool().stats().total);
}
