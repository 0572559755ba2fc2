//! The packets of TCP's handshake: which packet carries the first bytes of a request. Each test counts the packets in a
//! network namespace of its own, in which loopback is the only network. A test that cannot run prints the reason.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "handshakes/capture.rs"]
mod capture;
#[cfg(feature = "fast-open")]
#[path = "handshakes/fast_open.rs"]
mod fast_open;
#[path = "handshakes/meeting.rs"]
mod meeting;
mod support;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::Poll;

use handclasp::{Client, ClientBuilder};
use tokio::runtime::{Builder, Runtime};

use crate::capture::Capture;
use crate::support::{Peer, Server, until, within};

/// Name of the variable that tells a process that it runs in the namespace.
const INSIDE: &str = "HANDCLASP_IN_HANDSHAKES";

/// Returns true if this process runs in the network namespace. If not, runs the test `test` again in a new namespace,
/// or prints why this is not possible.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let command = |flags: &str| {
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
        command
    };
    // In a user namespace, a network namespace needs no root. Some systems do not allow user namespaces.
    let works = |flags: &&str| {
        let run = command(flags).arg("true").stdin(Stdio::null()).output();
        run.is_ok_and(|output| output.status.success())
    };
    let Some(flags) = ["-Urn", "-n"].into_iter().find(works) else {
        println!("skipped {test}: no network namespace can be made here");
        return false;
    };
    let program = std::env::current_exe().unwrap();
    let inside = command(flags).arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status();
    assert!(inside.unwrap().success(), "{test} failed in the namespace");
    false
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Answers each request with its target. Answers CONNECT with a tunnel to itself.
fn echo(peer: &mut Peer) -> io::Result<()> {
    while let Some(request) = peer.request()? {
        match request.method.as_str() {
            "CONNECT" => peer.send("HTTP/1.1 200 OK\r\n\r\n")?,
            _ => peer.respond(&request.target)?,
        }
    }
    Ok(())
}

/// Sends a GET request, and checks that the answer belongs to this request.
async fn get(client: &Client, url: &str) {
    let text = within(20, client.get(url).send()).await.unwrap().text().await.unwrap();
    assert!(url.ends_with(&text) && !text.is_empty(), "{url} is answered with {text}");
}

/// Polls a new request to `url` once, so that its dial begins, and runs `then` before the request is dropped.
async fn drop_early<T>(client: &Client, url: &str, then: impl Future<Output = T>) -> T {
    let mut sending = pin!(client.get(url).send());
    poll_fn(|cx| {
        assert!(sending.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    then.await
}

/// The client sends two packets instead of three until the server answers: for http, for https, and to a proxy.
#[test]
fn the_first_bytes_carry_the_acknowledgment() {
    if !is_inside("the_first_bytes_carry_the_acknowledgment") {
        return;
    }
    let server = Server::start(echo);
    let mut ways: Vec<(&str, String, ClientBuilder)> = Vec::new();
    let mut add = |what, url: String, builder: &dyn Fn() -> ClientBuilder| {
        ways.extend([builder(), builder().request_on_ack(true)].map(|builder| (what, url.clone(), builder)));
    };
    add("http", server.url("/a"), &Client::builder);
    #[cfg(feature = "rustls")]
    let secure = Server::start_tls(echo);
    #[cfg(feature = "rustls")]
    add("https", format!("https://localhost:{}/a", secure.address().port()), &|| {
        let root = handclasp::Certificate::from_pem(secure.authority()).unwrap();
        Client::builder().resolve("localhost", secure.address()).add_root_certificate(root)
    });
    #[cfg(feature = "proxy")]
    for is_tunnel in [false, true] {
        let what = if is_tunnel { "a tunnel" } else { "a forwarding proxy" };
        add(what, "http://far.test/a".to_owned(), &|| {
            let proxy = handclasp::Proxy::all(format!("http://{}", server.address())).unwrap();
            Client::builder().proxy(proxy.tunnel(is_tunnel))
        });
    }
    for (at, (what, url, builder)) in ways.into_iter().enumerate() {
        let is_together = at % 2 == 1;
        let client = builder.build().unwrap();
        let mut capture = Capture::start();
        runtime().block_on(get(&client, &url));
        let packets = capture.opening();
        println!("{what}, request_on_ack({is_together}): {packets:?}");
        let kinds: Vec<_> =
            packets.iter().map(|packet| (packet.has_syn, packet.has_ack, packet.data > 0)).collect();
        let (syn, ack, data) = ((true, false, false), (false, true, false), (false, true, true));
        if is_together {
            assert_eq!(kinds, [syn, data], "{what}");
        } else {
            assert_eq!(kinds, [syn, ack, data], "{what}");
        }
    }
}

/// A connection that no request waits for has ended its handshake when the pool keeps it, and not 200 ms later.
#[test]
fn a_connection_that_is_kept_unused_is_acknowledged() {
    if !is_inside("a_connection_that_is_kept_unused_is_acknowledged") {
        return;
    }
    let server = Server::start(echo);
    let url = server.url("/a");
    for way in
        ["warm", "min_idle", "reserved", "dropped while it waits", "dropped when it has the connection"]
    {
        let client = Client::builder().request_on_ack(true).build().unwrap();
        let (mut capture, stats) = (Capture::start(), || client.pool().stats().total);
        runtime().block_on(async {
            match way {
                "warm" => client.warm(&url, 1).await.unwrap(),
                "min_idle" => client.min_idle(&url, 1).unwrap(),
                "reserved" => {
                    let reserved = client.reserve(&url).await.unwrap();
                    let packets = capture.opening();
                    println!("{way}: {packets:?}");
                    let [_, ack] = packets[..] else { panic!("{way}: {packets:?}") };
                    assert!(ack.has_ack && !ack.has_syn && ack.data == 0, "{way}");
                    drop(reserved);
                    return;
                }
                "dropped while it waits" => drop_early(&client, &url, async {}).await,
                _ => {
                    drop_early(&client, &url, until("a connection is granted", || stats().active == 1)).await
                }
            }
            until("the connection is kept", || stats().idle == 1).await;
            let packets = capture.first_connection();
            println!("{way}: {packets:?}");
            let [_, _, ack] = packets[..] else { panic!("{way}: {packets:?}") };
            assert!(ack.has_ack && !ack.has_syn && ack.data == 0, "{way}");
            get(&client, &url).await;
            assert_eq!(stats().reused, 1, "{way}: the kept connection serves a request");
        });
    }
}

/// Bytes that a server sends on a connection before any request reach the client in time, so that the connection is not
/// used.
#[test]
fn a_server_that_speaks_first_is_heard_on_a_kept_connection() {
    if !is_inside("a_server_that_speaks_first_is_heard_on_a_kept_connection") {
        return;
    }
    for early in
        ["HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", "220 ready\r\n"]
    {
        for is_together in [false, true] {
            let server = Server::start(move |peer| {
                if peer.number() > 0 {
                    return echo(peer);
                }
                peer.send(early)?;
                peer.drain()
            });
            let client = Client::builder().request_on_ack(is_together).build().unwrap();
            let (url, mut capture) = (server.url("/a"), Capture::start());
            runtime().block_on(async {
                client.warm(&url, 1).await.unwrap();
                let is_from_server =
                    |packet: &capture::Packet| packet.from == server.address().port() && packet.data > 0;
                until("the server has spoken", || capture.packets().iter().any(is_from_server)).await;
                get(&client, &url).await;
            });
            assert_eq!((server.connections(), server.seen().len()), (2, 1), "{early:?}, {is_together}");
        }
    }
}
