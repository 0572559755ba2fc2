//! Tests of the spread of connections over the addresses of a host. Each address is a server of its own on loopback.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use handclasp::{Answer, Body, BoxError, Client, DropReason, ErrorKind, Family, Resolve};
use tokio::task::JoinHandle;

use crate::support::{Server, Signal, until, within};

/// A resolver whose answer the test sets.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<Vec<SocketAddr>>>);

impl Addresses {
    fn set(&self, servers: &[Server]) {
        *self.0.lock().unwrap() = servers.iter().map(Server::address).collect();
    }
}

impl Resolve for Addresses {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let answer = Answer::new(self.0.lock().unwrap().iter().copied());
        Box::pin(async { Ok(answer) })
    }
}

/// Starts servers that answer `/held` when the signal is raised, and any other target at once.
fn servers(number: usize, signal: &Signal) -> Vec<Server> {
    let start = |_| {
        let signal = signal.clone();
        Server::start(move |peer| {
            while let Some(request) = peer.request()? {
                if request.target == "/held" {
                    peer.wait(&signal)?;
                }
                peer.respond(&request.target)?;
            }
            Ok(())
        })
    };
    (0..number).map(start).collect()
}

/// Returns a builder of a client that looks the name up at each dial.
fn builder(addresses: &Addresses) -> handclasp::ClientBuilder {
    Client::builder().dns_resolver(addresses.clone()).dns_cache_ttl(Duration::ZERO, Duration::ZERO)
}

async fn get(client: &Client, target: &str) -> handclasp::Result<String> {
    let url = format!("http://many.test{target}");
    within(20, async { client.get(url).send().await?.text().await }).await
}

/// Begins `number` requests that the servers do not answer yet, one after another.
async fn hold(
    client: &Client,
    servers: &[Server],
    number: usize,
) -> Vec<JoinHandle<handclasp::Result<String>>> {
    let arrived = || servers.iter().map(|server| server.seen().len()).sum::<usize>();
    let mut held = Vec::new();
    for _ in 0..number {
        let before = arrived();
        let client = client.clone();
        held.push(tokio::spawn(async move { get(&client, "/held").await }));
        until("the request arrives", || arrived() > before).await;
    }
    held
}

/// Lets the servers answer the requests, and waits for the answers. No request may fail.
async fn answer(signal: &Signal, held: Vec<JoinHandle<handclasp::Result<String>>>) {
    for _ in &held {
        signal.raise();
    }
    for request in held {
        within(20, request).await.unwrap().unwrap();
    }
}

/// Returns the number of connections that each server has got.
fn connections(servers: &[Server]) -> Vec<usize> {
    servers.iter().map(Server::connections).collect()
}

#[tokio::test]
async fn rule_20_new_dials_reach_new_addresses_and_an_address_that_left_drains() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let servers = servers(4, &signal);
    let client = builder(&addresses).spread_connections(true).build().unwrap();
    addresses.set(&servers[..1]);
    let mut held = hold(&client, &servers, 4).await;
    assert_eq!(connections(&servers), [4, 0, 0, 0]);
    // The answer grows. Each dial goes to an address with the fewest connections.
    addresses.set(&servers);
    held.extend(hold(&client, &servers, 12).await);
    assert_eq!(connections(&servers), [4, 4, 4, 4]);
    // The answer loses its first address. The next dial learns of this.
    addresses.set(&servers[1..]);
    held.extend(hold(&client, &servers, 3).await);
    assert_eq!(connections(&servers), [4, 5, 5, 5]);
    assert_eq!(
        client.pool().stats().total.closed(DropReason::AddressLeft),
        0,
        "its requests are not answered yet"
    );
    for _ in 0..held.len() {
        signal.raise();
    }
    for request in held {
        assert_eq!(within(20, request).await.unwrap().unwrap(), "/held", "no request fails");
    }
    assert_eq!(client.pool().stats().total.closed(DropReason::AddressLeft), 4);
    for _ in 0..30 {
        assert_eq!(get(&client, "/").await.unwrap(), "/");
    }
    assert_eq!(
        connections(&servers),
        [4, 5, 5, 5],
        "idle connections of the other addresses serve all requests"
    );
    assert_eq!(servers[0].seen().len(), 4, "rule 20");
}

/// The connections to the address that left are idle when a dial learns of it.
#[tokio::test]
async fn rule_20_an_idle_connection_to_an_address_that_left_serves_no_request() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let servers = servers(2, &signal);
    let client = builder(&addresses).spread_connections(true).build().unwrap();
    addresses.set(&servers[..1]);
    get(&client, "/").await.unwrap();
    addresses.set(&servers[1..]);
    within(20, client.warm("http://many.test/", 2)).await.unwrap();
    until("the second server has its connection", || connections(&servers) == [1, 1]).await;
    for _ in 0..5 {
        let held = hold(&client, &servers, 2).await;
        answer(&signal, held).await;
    }
    assert_eq!(servers[0].seen().len(), 1, "rule 20");
    assert_eq!(client.pool().stats().total.closed(DropReason::AddressLeft), 1);
}

#[tokio::test]
async fn without_the_setting_all_connections_lead_to_the_first_address() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let servers = servers(3, &signal);
    let client = builder(&addresses).build().unwrap();
    addresses.set(&servers);
    let held = hold(&client, &servers, 6).await;
    assert_eq!(connections(&servers), [6, 0, 0]);
    addresses.set(&servers[1..]);
    answer(&signal, held).await;
    assert_eq!(client.pool().stats().total.closed(DropReason::AddressLeft), 0);
}

/// The first address accepts connections and answers no request.
#[tokio::test]
async fn an_address_whose_first_requests_fail_steps_aside() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let mut servers = servers(1, &signal);
    servers.insert(0, Server::start(|peer| peer.request().map(drop)));
    let client = builder(&addresses).spread_connections(true).max_idle_per_host(0).build().unwrap();
    addresses.set(&servers);
    let first = get(&client, "/").await;
    for _ in 0..8 {
        assert_eq!(get(&client, "/").await.unwrap(), "/");
    }
    assert!(first.is_err());
    assert_eq!(connections(&servers), [1, 8]);
}

/// The first address refuses connections.
#[tokio::test]
async fn an_address_that_refuses_steps_aside_and_fails_no_request() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let servers = servers(2, &signal);
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    addresses.set(&servers);
    addresses.0.lock().unwrap().insert(0, refused);
    let client = builder(&addresses).spread_connections(true).build().unwrap();
    let held = hold(&client, &servers, 6).await;
    assert_eq!(connections(&servers), [3, 3]);
    answer(&signal, held).await;
}

/// A resolver whose answer is another one of the addresses each time.
struct InTurn(Addresses);

impl Resolve for InTurn {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let mut addresses = self.0.0.lock().unwrap();
        addresses.rotate_left(1);
        let answer = Answer::new(addresses.first().copied());
        Box::pin(async { Ok(answer) })
    }
}

/// The address of each new connection has left before the connection is up. The connection serves its request.
#[tokio::test]
async fn a_request_does_not_wait_for_one_new_connection_after_another() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let servers = servers(3, &signal);
    addresses.set(&servers);
    let client = builder(&addresses).dns_resolver(InTurn(addresses.clone())).spread_connections(true);
    let client = client.build().unwrap();
    let begin = |_| {
        let client = client.clone();
        tokio::spawn(async move { get(&client, "/").await })
    };
    let requests: Vec<_> = (0..50).map(begin).collect();
    for request in requests {
        assert_eq!(within(20, request).await.unwrap().unwrap(), "/");
    }
    let made: usize = connections(&servers).iter().sum();
    assert!(made <= 50, "{made} connections for 50 requests");
}

/// A resolver that yields each address as a part of the answer, and fails then.
struct Halves(Addresses);

impl Resolve for Halves {
    fn resolve(
        &self,
        name: &str,
        family: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        self.0.resolve(name, family)
    }

    fn resolve_stream(
        &self,
        _: &str,
        _: Family,
    ) -> Pin<Box<dyn Stream<Item = Result<Answer, BoxError>> + Send>> {
        let parts =
            self.0.0.lock().unwrap().iter().map(|address| Ok(Answer::new([*address]))).collect::<Vec<_>>();
        let error = Err("the directory does not answer".into());
        Box::pin(stream::iter(parts).chain(stream::iter([error])))
    }
}

/// A part of an answer says nothing about the addresses that it lacks.
#[tokio::test]
async fn an_address_that_half_an_answer_lacks_has_not_left() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let servers = servers(2, &signal);
    let client = builder(&addresses).dns_resolver(Halves(addresses.clone())).spread_connections(true);
    let client = client.build().unwrap();
    addresses.set(&servers[..1]);
    get(&client, "/").await.unwrap();
    addresses.set(&servers[1..]);
    within(20, client.warm("http://many.test/", 2)).await.unwrap();
    let held = hold(&client, &servers, 2).await;
    assert_eq!(connections(&servers), [1, 1]);
    answer(&signal, held).await;
    assert_eq!(client.pool().stats().total.closed(DropReason::AddressLeft), 0);
}

/// The request fails because of its own body, which says nothing about the address.
#[tokio::test]
async fn an_address_is_not_blamed_for_a_request_that_fails_by_itself() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let servers = servers(2, &signal);
    addresses.set(&servers);
    let client = builder(&addresses).spread_connections(true).max_idle_per_host(0).build().unwrap();
    let pieces = [Ok("a".to_owned()), Err(std::io::Error::other("no more"))];
    let body = Body::from_stream(stream::iter(pieces));
    let error = within(20, client.post("http://many.test/").body(body).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Body);
    for _ in 0..4 {
        assert_eq!(get(&client, "/").await.unwrap(), "/");
    }
    assert_eq!(connections(&servers), [5, 0]);
}

/// The first address accepts connections and closes them at once.
#[tokio::test]
async fn an_address_that_closes_new_connections_steps_aside() {
    let (signal, addresses) = (Signal::new(), Addresses::default());
    let mut servers = servers(1, &signal);
    servers.insert(0, Server::start(|_| Ok(())));
    let client = builder(&addresses).spread_connections(true).max_idle_per_host(0).build().unwrap();
    addresses.set(&servers);
    let _first = get(&client, "/").await;
    for _ in 0..8 {
        assert_eq!(get(&client, "/").await.unwrap(), "/");
    }
    assert!(connections(&servers)[0] <= 2, "{:?}", connections(&servers));
}
