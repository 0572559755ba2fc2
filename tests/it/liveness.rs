//! Tests that the client never reuses an idle connection that the server has closed or on which the server has sent bytes.
//! The client must see the close or the bytes even if the runtime's only thread was blocked, so that the reactor has not
//! learned of the close or the bytes.
//!
//! Each test repeats three steps a hundred times. The test sends a request. The test blocks the runtime's thread until the
//! server has done something wrong on the idle connection and the kernel has delivered it. Without an await in between,
//! the test sends the next request, which must get its own response.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;
use std::net::SocketAddr;

use handclasp::{Client, DropReason};

use crate::support::arrival::{wait_for_all, wait_for_delivery, wait_for_end};
use crate::support::{Peer, Server, Signal, within};

const ROUNDS: usize = 100;

/// Misbehaviour of the server on an idle connection.
type Misbehave = fn(&mut Peer) -> io::Result<()>;

#[derive(Clone, Copy)]
enum Scheme {
    Plain,
    #[cfg(feature = "rustls")]
    Tls,
}

const SCHEMES: &[Scheme] = &[
    Scheme::Plain,
    #[cfg(feature = "rustls")]
    Scheme::Tls,
];

/// Starts a server that answers one request on each connection and misbehaves on that connection when a signal is raised.
fn server(scheme: Scheme, misbehave: Misbehave) -> (Server, Signal, Signal) {
    let (now, done) = (Signal::new(), Signal::new());
    let (told, tell) = (now.clone(), done.clone());
    let script = move |peer: &mut Peer| {
        let Some(request) = peer.request()? else { return Ok(()) };
        peer.respond(&format!("answer to {}", request.target))?;
        peer.wait(&told)?;
        misbehave(peer)?;
        tell.raise();
        // The client must not send a further request on this connection. The server counts every such request.
        while peer.request()?.is_some() {}
        Ok(())
    };
    let server = match scheme {
        Scheme::Plain => Server::start(script),
        #[cfg(feature = "rustls")]
        Scheme::Tls => Server::start_tls(script),
    };
    (server, now, done)
}

#[cfg_attr(not(feature = "rustls"), allow(unused_variables))]
fn client_of(server: &Server, scheme: Scheme) -> Client {
    // Each connection is closed after one response.
    let builder = Client::builder().not_kept_after(None);
    let builder = match scheme {
        Scheme::Plain => builder,
        #[cfg(feature = "rustls")]
        Scheme::Tls => {
            builder.add_root_certificate(handclasp::Certificate::from_pem(server.authority()).unwrap())
        }
    };
    builder.build().unwrap()
}

/// Runs the three steps, and checks that all connections except the last were closed for `reason`.
fn prove(scheme: Scheme, misbehave: Misbehave, reason: DropReason) {
    prove_by(wait_for_delivery, scheme, misbehave, reason);
}

/// Runs the three steps with a `misbehave` that ends the connection.
fn prove_end(scheme: Scheme, misbehave: Misbehave, reason: DropReason) {
    prove_by(wait_for_end, scheme, misbehave, reason);
}

fn prove_by(wait: fn(SocketAddr, SocketAddr), scheme: Scheme, misbehave: Misbehave, reason: DropReason) {
    let (server, now, done) = server(scheme, misbehave);
    let client = client_of(&server, scheme);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(within(300, async {
        for round in 0..=ROUNDS {
            let path = format!("/{round}");
            // No await lies between the misbehaviour and this request.
            let response = client.get(server.url(&path)).send().await.unwrap();
            let info = response.connection().clone();
            assert_eq!(response.text().await.unwrap(), format!("answer to {path}"), "round {round}");
            assert!(!info.is_reused(), "round {round}");
            if round < ROUNDS {
                assert_eq!(client.pool().stats().total.idle, 1, "round {round}");
                now.raise();
                done.wait();
                wait(info.local_addr().unwrap(), info.peer_addr().unwrap());
            }
        }
    }));
    let stats = client.pool().stats().total;
    let rounds = ROUNDS as u64;
    assert_eq!((stats.opened, stats.requests, stats.reused), (rounds + 1, rounds + 1, 0), "{stats}");
    assert_eq!((stats.closed(reason), stats.closed_total()), (rounds, rounds), "{stats}");
    assert_eq!(server.requests_per_connection(), [1; ROUNDS + 1]);
    drop(client);
}

const STRAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
const REQUEST_TIMEOUT: &str =
    "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[test]
fn rule_22_a_fin_into_an_idle_connection_is_seen() {
    prove_end(Scheme::Plain, Peer::fin, DropReason::PeerClosed);
}

#[test]
fn rule_22_a_stray_response_into_an_idle_connection_is_never_delivered() {
    prove(Scheme::Plain, |peer| peer.send(STRAY), DropReason::Unsolicited);
}

#[test]
fn rule_22_a_stray_response_and_a_fin_are_never_delivered() {
    let misbehave = |peer: &mut Peer| peer.send(STRAY).and_then(|()| peer.fin());
    prove_end(Scheme::Plain, misbehave, DropReason::Unsolicited);
}

#[test]
fn rule_22_one_stray_byte_is_enough() {
    prove(Scheme::Plain, |peer| peer.send("x"), DropReason::Unsolicited);
}

#[test]
fn rule_22_a_reset_of_an_idle_connection_is_seen() {
    prove_end(Scheme::Plain, Peer::reset, DropReason::PeerClosed);
}

/// The server sends a 408 on the idle connection and closes it, as servers do when no request comes in time.
#[test]
fn rule_22_a_408_into_an_idle_connection_is_a_close() {
    let misbehave = |peer: &mut Peer| peer.send(REQUEST_TIMEOUT).and_then(|()| peer.fin());
    prove_end(Scheme::Plain, misbehave, DropReason::PeerClosed);
    prove(Scheme::Plain, |peer| peer.send("HTTP/1.0 408 Request Timeout\r\n\r\n"), DropReason::PeerClosed);
    prove(Scheme::Plain, |peer| peer.send(["\r\n", REQUEST_TIMEOUT].concat()), DropReason::PeerClosed);
}

#[cfg(feature = "rustls")]
mod tls {
    use super::*;

    #[test]
    fn rule_22_a_goodbye_and_a_fin_are_seen() {
        let misbehave = |peer: &mut Peer| peer.notify().and_then(|()| peer.fin());
        prove_end(Scheme::Tls, misbehave, DropReason::PeerClosed);
    }

    #[test]
    fn rule_22_a_goodbye_alone_is_seen() {
        prove(Scheme::Tls, Peer::notify, DropReason::PeerClosed);
    }

    #[test]
    fn rule_22_a_fin_alone_is_seen() {
        prove_end(Scheme::Tls, Peer::fin, DropReason::PeerClosed);
    }

    #[test]
    fn rule_22_a_reset_is_seen() {
        prove_end(Scheme::Tls, Peer::reset, DropReason::PeerClosed);
    }

    #[test]
    fn rule_22_a_stray_response_is_never_delivered() {
        prove(Scheme::Tls, |peer| peer.send(STRAY), DropReason::Unsolicited);
    }

    #[test]
    fn rule_22_half_a_record_is_not_silence() {
        prove(Scheme::Tls, |peer| peer.send_half_record(STRAY.as_bytes()), DropReason::Unsolicited);
    }

    #[test]
    fn rule_22_half_a_record_and_a_fin_are_seen() {
        let misbehave = |peer: &mut Peer| peer.send_half_record(STRAY.as_bytes()).and_then(|()| peer.fin());
        prove_end(Scheme::Tls, misbehave, DropReason::PeerClosed);
    }

    #[test]
    fn rule_22_a_408_is_a_close() {
        let misbehave = |peer: &mut Peer| {
            peer.send(REQUEST_TIMEOUT)?;
            peer.notify()?;
            peer.fin()
        };
        prove_end(Scheme::Tls, misbehave, DropReason::PeerClosed);
        prove(Scheme::Tls, |peer| peer.send(REQUEST_TIMEOUT), DropReason::PeerClosed);
    }
}

/// A silent connection is kept. Without this test, the other tests would also pass if the client kept no connection.
#[test]
fn rule_23_a_silent_connection_is_used_again() {
    for &scheme in SCHEMES {
        let script = |peer: &mut Peer| {
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
            }
            Ok(())
        };
        let server = match scheme {
            Scheme::Plain => Server::start(script),
            #[cfg(feature = "rustls")]
            Scheme::Tls => Server::start_tls(script),
        };
        let client = client_of(&server, scheme);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(within(20, async {
            for round in 0..ROUNDS {
                let path = format!("/{round}");
                let response = client.get(server.url(&path)).send().await.unwrap();
                assert_eq!(response.connection().is_reused(), round > 0);
                assert_eq!(response.text().await.unwrap(), path);
            }
        }));
        assert_eq!(server.requests_per_connection(), [ROUNDS]);
        drop(client);
    }
}

/// Several idle connections died at the same time. The next request looks at each of them, and uses none of them.
#[test]
fn rule_23_all_of_many_dead_connections_are_passed_over() {
    const DEAD: usize = 10;
    let (now, done) = (Signal::new(), Signal::new());
    let (told, tell) = (now.clone(), done.clone());
    let server = Server::start(move |peer| {
        if peer.number() < DEAD {
            peer.wait(&told)?;
            // Each connection misbehaves in one of three ways.
            match peer.number() % 3 {
                0 => peer.fin()?,
                1 => peer.send(STRAY)?,
                _ => peer.reset()?,
            }
            tell.raise();
        }
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let client = Client::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(within(20, async {
        client.warm(server.url("/"), DEAD).await.unwrap();
        assert_eq!(client.pool().stats().total.idle, DEAD);
        (0..DEAD).for_each(|_| now.raise());
        (0..DEAD).for_each(|_| done.wait());
        wait_for_all(&server);
        let response = client.get(server.url("/after")).send().await.unwrap();
        assert!(!response.connection().is_reused());
        assert_eq!(response.text().await.unwrap(), "/after");
    }));
    let stats = client.pool().stats().total;
    let closed = [DropReason::PeerClosed, DropReason::Unsolicited].map(|reason| stats.closed(reason));
    assert_eq!((stats.opened, closed, stats.closed_total()), (11, [7, 3], 10), "{stats}");
    let mut expected = [0; DEAD + 1];
    expected[DEAD] = 1;
    assert_eq!(server.requests_per_connection(), expected);
}
