//! Tests of the time limits of the single steps of a dial: TCP, the dialog with a proxy, and TLS.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::time::Duration;

use handclasp::{Client, ClientBuilder, ErrorKind, Phase, Written};

use crate::support::{Server, within};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(3_600);

/// A server that accepts connections, reads, and never answers.
#[cfg(any(feature = "proxy", feature = "rustls"))]
fn mute() -> Server {
    Server::start(|peer| peer.stall())
}

/// Makes a request that a timeout ends, and checks which one.
async fn ends(builder: ClientBuilder, url: &str, phase: Phase, message: &str) {
    let client = builder.build().unwrap();
    let error = within(20, client.get(url).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(phase)), "{}", error.chain());
    assert_eq!((error.request_written(), error.is_connect()), (Written::Nothing, true), "{error:?}");
    assert!(error.message().ends_with(message), "{error}");
    let total = client.pool().stats().total;
    assert_eq!((total.active, total.dialing, total.waiting, total.failed_dials), (0, 0, 0, 1), "{total}");
}

/// An address that answers no SYN, because the queue of its listener is full.
#[cfg(target_os = "linux")]
struct BlackHole {
    at: SocketAddr,
    _listener: socket2::Socket,
    _queued: std::net::TcpStream,
}

#[cfg(target_os = "linux")]
impl BlackHole {
    fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = std::net::TcpStream::connect(at).unwrap();
        Self { at, _listener: listener, _queued: queued }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_13_tcp_ends_after_its_own_timeout() {
    let silent = BlackHole::new();
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = || Client::builder().resolve_to_addrs("a.test", &[refused, silent.at]);
    let url = "http://a.test/";
    for builder in [builder(), builder().connect_timeout(LONG), builder().connect_timeout(None)] {
        let client = builder.tcp_timeout(SHORT).build().unwrap();
        let error = within(20, client.get(url).send()).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Tcp)), "A-13");
        let text = format!(
            "GET http://a.test: the client could not connect within 50ms (tcp_timeout): {refused}: connection refused, {}: no answer",
            silent.at
        );
        assert_eq!(error.chain().to_string(), text);
    }
    let message = "could not connect within 50ms (connect_timeout)";
    ends(builder().connect_timeout(SHORT).tcp_timeout(LONG), url, Phase::Tcp, message).await;
    // The address of another family than the local address is refused at once.
    let server = Server::echo();
    let client = Client::builder().resolve_to_addrs("a.test", &[silent.at, server.address()]);
    let client = client.tcp_timeout(LONG).build().unwrap();
    assert_eq!(within(20, client.get(url).send()).await.unwrap().text().await.unwrap(), "/");
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn tls_ends_after_its_own_timeout() {
    let server = mute();
    let url = format!("https://{}/", server.address());
    let own = "the TLS handshake did not end within 50ms (tls_timeout)";
    for builder in [Client::builder(), Client::builder().connect_timeout(None)] {
        ends(builder.tls_timeout(SHORT).tcp_timeout(LONG), &url, Phase::Tls, own).await;
    }
    let whole = "the TLS handshake did not end within 50ms of the start of the dial (connect_timeout)";
    // The time of the whole dial includes the time that it takes to read the system's trust store, which is not read here.
    let builder = Client::builder().tls_danger_accept_invalid_certs(true);
    ends(builder.tls_timeout(LONG).connect_timeout(SHORT), &url, Phase::Tls, whole).await;
}

#[cfg(feature = "proxy")]
#[tokio::test]
async fn the_dialog_with_a_proxy_ends_after_its_own_timeout() {
    use handclasp::Proxy;

    let proxy = mute();
    for scheme in ["http", "socks5h", "socks4a", "socks5", "https"] {
        if scheme == "https" && cfg!(not(feature = "rustls")) {
            continue;
        }
        let at = format!("{scheme}://{}", proxy.address());
        let builder = || {
            let builder = Client::builder().resolve("a.test", ([192, 0, 2, 1], 0).into());
            // As in `tls_ends_after_its_own_timeout`, the system's trust store is not read.
            #[cfg(feature = "rustls")]
            let builder = builder.tls_danger_accept_invalid_certs(true);
            builder.proxy(Proxy::all(&at).unwrap().tunnel(true))
        };
        let step = match scheme {
            "https" => format!("the TLS handshake with the proxy {at} did not end within"),
            _ => format!("the proxy {at} opened no connection within"),
        };
        // The timeout of TLS is for the server.
        let own = builder().proxy_timeout(SHORT).tls_timeout(LONG).tcp_timeout(LONG);
        ends(own, "http://a.test/", Phase::Proxy, &format!("{step} 50ms (proxy_timeout)")).await;
        let whole = builder().proxy_timeout(LONG).connect_timeout(SHORT);
        let message = format!("{step} 50ms of the start of the dial (connect_timeout)");
        ends(whole, "http://a.test/", Phase::Proxy, &message).await;
    }
}

/// A step that ends in time does not use up the time of the next step.
#[cfg(all(feature = "proxy", feature = "rustls"))]
#[tokio::test]
async fn each_step_has_its_own_time() {
    use handclasp::Proxy;

    use crate::support::gate::{Gate, Kind};

    let server = mute();
    let gate = Gate::start(Kind::Http, server.address(), None).await;
    let builder = Client::builder().proxy(Proxy::all(gate.url("")).unwrap());
    let message = "the TLS handshake did not end within 50ms (tls_timeout)";
    let builder = builder.tcp_timeout(LONG).proxy_timeout(LONG).tls_timeout(SHORT);
    ends(builder, "https://a.test/", Phase::Tls, message).await;
    assert_eq!(gate.accepted(), 1);
}
