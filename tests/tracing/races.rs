//! Races between real addresses of loopback, seen through the spans of their attempts. A listener with a full accept queue
//! is a black hole: it answers no SYN.
//!
//! These tests wait for real delays between attempts, and assert which attempts were made and in which order, not how long
//! they took.

use std::net::{SocketAddr, TcpListener, TcpStream};

use handclasp::{Client, ErrorKind};

use super::find;
use crate::support::plain::Plain;
use crate::support::recorder::{Recorder, Span};

const URL: &str = "http://race.test/";

/// An address that answers no SYN.
pub(super) struct BlackHole {
    pub(super) at: SocketAddr,
    _listener: socket2::Socket,
    _queued: TcpStream,
}

impl BlackHole {
    pub(super) fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = TcpStream::connect(at).unwrap();
        Self { at, _listener: listener, _queued: queued }
    }
}

/// Returns an address where nothing listens.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Makes a request on a new connection, and returns the port and the outcome of each attempt to connect.
async fn attempts(client: &Client, recorder: &Recorder) -> Vec<(u16, String)> {
    client.pool().close_idle();
    client.get(URL).send().await.unwrap().bytes().await.unwrap();
    outcomes(&recorder.take())
}

fn outcomes(spans: &[Span]) -> Vec<(u16, String)> {
    let attempts = spans.iter().filter(|span| span.name == "tcp");
    let field = |span: &Span, name| span.field(name).unwrap().to_owned();
    attempts.map(|span| (field(span, "network.peer.port").parse().unwrap(), field(span, "outcome"))).collect()
}

fn expected(attempts: &[(SocketAddr, &str)]) -> Vec<(u16, String)> {
    attempts.iter().map(|(at, outcome)| (at.port(), (*outcome).to_owned())).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_black_hole_costs_one_delay_once() {
    let (recorder, _guard) = Recorder::start();
    let (silent, server) = (BlackHole::new(), Plain::start());
    let addresses = [silent.at, server.address];
    let client = Client::builder().resolve_to_addrs("race.test", &addresses).build().unwrap();
    let first = expected(&[(silent.at, "lost"), (server.address, "won")]);
    assert_eq!(attempts(&client, &recorder).await, first, "R-8305-5-1");
    // The black hole was silent for much longer than the other address needed.
    let second = expected(&[(server.address, "won")]);
    assert_eq!(attempts(&client, &recorder).await, second, "the next dial begins with the other address");
    client.pool().on_network_change();
    assert_eq!(attempts(&client, &recorder).await, first, "nothing is known of another network");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn six_black_holes_do_not_block_the_seventh_address() {
    let (recorder, _guard) = Recorder::start();
    let (silent, server): (Vec<_>, _) = ((0..6).map(|_| BlackHole::new()).collect(), Plain::start());
    let mut addresses: Vec<_> = silent.iter().map(|hole| hole.at).collect();
    addresses.push(server.address);
    let client = Client::builder().resolve_to_addrs("race.test", &addresses).build().unwrap();
    let mut first: Vec<_> = silent.iter().map(|hole| (hole.at, "lost")).collect();
    first.push((server.address, "won"));
    assert_eq!(attempts(&client, &recorder).await, expected(&first), "A-13");
    let second = attempts(&client, &recorder).await;
    assert_eq!(second, expected(&[(server.address, "won")]), "A-13: the seventh comes first the next time");
}

#[tokio::test]
async fn an_address_that_refused_comes_last_until_the_network_changes() {
    let (recorder, _guard) = Recorder::start();
    let (refused, server) = (refusing(), Plain::start());
    let addresses = [refused, server.address];
    let client = Client::builder().resolve_to_addrs("race.test", &addresses).build().unwrap();
    let both = expected(&[(refused, "failed"), (server.address, "won")]);
    assert_eq!(attempts(&client, &recorder).await, both);
    for _ in 0..3 {
        assert_eq!(attempts(&client, &recorder).await, expected(&[(server.address, "won")]));
    }
    client.pool().on_network_change();
    assert_eq!(attempts(&client, &recorder).await, both);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_error_names_every_attempt() {
    let (recorder, _guard) = Recorder::start();
    let (silent, refused) = (BlackHole::new(), refusing());
    let client = Client::builder()
        .resolve_to_addrs("race.test", &[refused, silent.at])
        .connect_timeout(std::time::Duration::from_millis(500))
        .build()
        .unwrap();
    let error = client.get(URL).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = format!(
        "the client could not connect within 500ms (connect_timeout): {refused}: connection refused, {}: no answer",
        silent.at
    );
    assert!(error.chain().to_string().ends_with(&text), "R-8305-5-3: {}", error.chain());
    let spans = recorder.take();
    assert_eq!(outcomes(&spans), expected(&[(refused, "failed"), (silent.at, "cancelled")]));
    let failed = spans.iter().find(|span| span.field("outcome") == Some("failed")).unwrap();
    let error = ["error.type", "otel.status_code"].map(|name| failed.field(name));
    assert_eq!(error, [Some("ConnectionRefused"), Some("ERROR")]);
    assert_eq!(find(&spans, "connection.setup").field("error.type"), Some("Timeout"));
}
