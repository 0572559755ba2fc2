//! Requests that fail or are dropped in each phase: the spans, the record and the timings name the same phase.

use std::future::{Future, pending};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;

use handclasp::{
    Answer, Body, BoxError, Client, ClientBuilder, ErrorKind, ExchangeOutcome, Family, Phase, PoolEventKind,
    Resolve, Transport, Written,
};
use tokio::net::TcpStream;

use super::records::{Records, assert_all_same};
use super::{URL, settle};
use crate::support::endings::connect_late;
use crate::support::recorder::{Recorder, Span, tree};
use crate::support::scripted::{Peers, Reply, Script};
use crate::support::{Server, until};

/// A resolver that never answers, or that knows no name.
struct Unknown {
    answers: bool,
}

impl Resolve for Unknown {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        if self.answers { Box::pin(async { Err("no such name".into()) }) } else { Box::pin(pending()) }
    }
}

/// A server that accepts connections, reads, and answers with these bytes. Without bytes it says nothing.
fn server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if !answer.is_empty() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
            }
            open.push(stream);
        }
    });
    address
}

/// An address where nothing listens.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A client, a URL, and the trees of spans of a request that ends in `phase`.
struct Case {
    builder: ClientBuilder,
    url: String,
    phase: Phase,
    trees: [&'static str; 2],
}

fn case(phase: Phase, builder: ClientBuilder, url: impl Into<String>, trees: [&'static str; 2]) -> Case {
    Case { builder, url: url.into(), phase, trees }
}

/// Returns requests that never come to the end of one phase of their dial.
fn stuck_dials() -> Vec<Case> {
    let silent = server(b"");
    let port = silent.port();
    #[allow(unused_mut, reason = "without the features, nothing is added")]
    let mut cases = vec![case(
        Phase::Dns,
        Client::builder().dns_resolver(Unknown { answers: false }),
        "http://a.test/",
        ["http.request(queue)", "connection.setup(dns)"],
    )];
    #[cfg(target_os = "linux")]
    {
        let hole = Box::leak(Box::new(super::races::BlackHole::new()));
        cases.push(case(
            Phase::Tcp,
            Client::builder(),
            format!("http://{}/", hole.at),
            ["http.request(queue)", "connection.setup(tcp)"],
        ));
    }
    #[cfg(feature = "proxy")]
    cases.push(case(
        Phase::Proxy,
        Client::builder().proxy(handclasp::Proxy::all(format!("socks5h://{silent}")).unwrap()),
        "http://a.test/",
        ["http.request(queue)", "connection.setup(tcp proxy)"],
    ));
    #[cfg(feature = "rustls")]
    cases.push(case(
        Phase::Tls,
        Client::builder().dns_resolver(super::Loopback).tls_danger_accept_invalid_certs(true),
        format!("https://a.test:{port}/"),
        ["http.request(queue)", "connection.setup(dns tcp tls)"],
    ));
    let _ = port;
    cases
}

/// Returns requests whose dial fails in one phase, with the kind of the error.
fn failing_dials() -> Vec<(Case, ErrorKind)> {
    let nonsense = server(b"this is neither TLS nor a proxy");
    #[allow(unused_mut, reason = "without the features, nothing is added")]
    let mut cases = vec![
        (
            case(
                Phase::Dns,
                Client::builder().dns_resolver(Unknown { answers: true }),
                "http://a.test/",
                ["http.request(queue)", "connection.setup(dns)"],
            ),
            ErrorKind::Dns,
        ),
        (
            case(
                Phase::Tcp,
                Client::builder(),
                format!("http://{}/", refusing()),
                ["http.request(queue)", "connection.setup(tcp)"],
            ),
            ErrorKind::Connect,
        ),
    ];
    #[cfg(unix)]
    cases.push((
        case(
            Phase::Tcp,
            Client::builder().unix_socket("/nowhere/handclasp.sock"),
            "http://a.test/",
            ["http.request(queue)", "connection.setup(unix)"],
        ),
        ErrorKind::Connect,
    ));
    #[cfg(feature = "proxy")]
    cases.push((
        case(
            Phase::Proxy,
            Client::builder().proxy(handclasp::Proxy::all(format!("socks5h://{nonsense}")).unwrap()),
            "http://a.test/",
            ["http.request(queue)", "connection.setup(tcp proxy)"],
        ),
        ErrorKind::Proxy,
    ));
    #[cfg(feature = "rustls")]
    cases.push((
        case(
            Phase::Tls,
            Client::builder().tls_danger_accept_invalid_certs(true),
            format!("https://{nonsense}/"),
            ["http.request(queue)", "connection.setup(tcp tls)"],
        ),
        ErrorKind::Tls,
    ));
    let _ = nonsense;
    cases
}

/// Fails unless the last phase of the dial says how it ended, and has an error status if it has an error.
fn assert_setup(spans: &[Span], tree: &str, kind: &str) {
    let name = last_phase(tree);
    let span = spans.iter().rfind(|span| span.name == name).unwrap();
    let error = span.field("error.type");
    assert!(error.or_else(|| span.field("outcome")).is_some(), "{kind}: {span:?}");
    assert_eq!(span.field("otel.status_code"), error.map(|_| "ERROR"), "{kind}: {span:?}");
}

/// Returns the name of the last span of a tree.
fn last_phase(tree: &str) -> &str {
    tree.trim_end_matches(')').rsplit(['(', ' ']).next().unwrap()
}

#[tokio::test]
async fn a_dial_that_fails_in_each_phase_is_reported_alike() {
    for (Case { builder, url, phase, trees }, kind) in failing_dials() {
        let (recorder, _guard) = Recorder::start();
        let (records, builder) = Records::of(builder);
        let client = builder.build().unwrap();
        let error = client.get(url).send().await.unwrap_err();
        drop(client);
        settle().await;
        let (record, spans) = (records.one(), recorder.take());
        assert_eq!(tree(&spans), trees, "{}", error.chain());
        assert_eq!((error.kind(), error.phase()), (kind, Some(phase)), "{}", error.chain());
        assert_eq!((record.outcome(), record.phase()), (ExchangeOutcome::Failed(kind), phase));
        assert_eq!(record.timings(), error.timings().unwrap());
        assert!(record.connection().is_none() && record.request_written() == Written::Nothing);
        assert_all_same(std::slice::from_ref(&record), &spans);
        assert_setup(&spans, trees[1], "failed");
        assert_eq!(spans[0].follows, [2], "the request is linked to the dial that failed");
        assert_eq!(spans[2].field("error.type"), Some(&*format!("{kind:?}")));
    }
}

/// The request is dropped while its dial is in each phase. The dial goes on, and is cancelled by a shutdown or by the drop
/// of its client.
#[tokio::test]
async fn a_request_that_is_dropped_in_each_phase_of_its_dial_is_reported_alike() {
    let cases = [true, false]
        .into_iter()
        .flat_map(|is_shut_down| stuck_dials().into_iter().map(move |case| (case, is_shut_down)));
    for (Case { builder, url, phase, trees }, is_shut_down) in cases {
        let (recorder, _guard) = Recorder::start();
        let (records, builder) = Records::of(builder);
        let client = builder.build().unwrap();
        let mut request = Box::pin(client.get(url).send());
        let last = last_phase(trees[1]);
        until("the dial is in the phase", || {
            assert!(request.as_mut().now_or_never().is_none());
            recorder.has(last)
        })
        .await;
        drop(request);
        let record = records.one();
        assert_eq!((record.outcome(), record.phase()), (ExchangeOutcome::Cancelled, phase));
        assert_eq!(record.error_type(), None, "a cancellation is no error");
        settle().await;
        assert!(!recorder.is_quiet(), "the dial goes on, because its client lives");
        if is_shut_down {
            client.pool().shutdown(Duration::ZERO).await;
        }
        drop(client);
        // The dial has ended when the drop returns. Its task keeps the span until the runtime runs the task.
        settle().await;
        let spans = recorder.take();
        assert_eq!(tree(&spans), trees);
        assert_all_same(std::slice::from_ref(&record), &spans);
        assert_setup(&spans, trees[1], "cancelled");
        assert_eq!(spans[0].follows, [2], "the request is linked to the dial that it began");
        let setup = &spans[2];
        assert_eq!(setup.field("error.type"), Some("cancelled"));
        assert_eq!(setup.field("otel.status_code"), Some("ERROR"));
    }
}

/// A request is dropped or runs into its timeout while it sends, waits and receives.
#[tokio::test(start_paused = true)]
async fn a_request_that_ends_in_each_phase_of_its_exchange_is_reported_alike() {
    let half = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four"]);
    for (phase, accepts, reply, told) in [
        (Phase::Send, 500, Reply::silence(), "http.request(queue send)"),
        (Phase::Wait, usize::MAX, Reply::silence(), "http.request(queue send wait)"),
        (Phase::Receive, usize::MAX, half, "http.request(queue send wait receive)"),
    ] {
        for is_dropped in [true, false] {
            let (recorder, _guard) = Recorder::start();
            let peers = Peers::new(Script { accepts, ..Script::new(&[std::slice::from_ref(&reply)]) });
            let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
            let client = builder.build().unwrap();
            let request = client.post(URL).timeout(Duration::from_secs(5)).body(vec![b'x'; 2_000]);
            let work = async { request.send().await?.bytes().await };
            let outcome = if is_dropped {
                ExchangeOutcome::Cancelled
            } else {
                ExchangeOutcome::Failed(ErrorKind::Timeout)
            };
            match is_dropped {
                true => assert!(tokio::time::timeout(Duration::from_secs(2), work).await.is_err()),
                false => {
                    let error = work.await.unwrap_err();
                    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(phase)));
                }
            }
            settle().await;
            tokio::time::advance(Duration::from_secs(1)).await;
            settle().await;
            let (record, spans) = (records.one(), recorder.take());
            assert_eq!(tree(&spans), [told, "connection.setup"], "dropped: {is_dropped}");
            assert_eq!((record.outcome(), record.phase()), (outcome, phase));
            let written = if phase == Phase::Send { Written::Partly } else { Written::All };
            assert_eq!(record.request_written(), written);
            let sent = if phase == Phase::Send { 500 } else { record.request_head_size() + 2_000 };
            assert_eq!((record.bytes_sent(), record.connection().unwrap().id()), (sent, 1));
            assert_eq!(record.request_body_size(), sent - record.request_head_size());
            let received = if phase == Phase::Receive { 4 } else { 0 };
            assert_eq!(record.response_body_size(), received);
            let total = Duration::from_secs(if is_dropped { 2 } else { 5 });
            assert_eq!(record.timings().total, total);
            assert_all_same(std::slice::from_ref(&record), &spans);
        }
    }
}

/// A body that fails at once.
fn broken() -> Body {
    Body::from_stream(futures_util::stream::iter([Err::<&str, _>("the source is gone")]))
}

/// The attempt has a connection and ends before its first write: the phase is `send`, and the connection is named.
#[tokio::test]
async fn an_attempt_that_ends_before_its_first_write_names_its_connection() {
    let live = Server::echo();
    let closing = Server::start(|peer| peer.close());
    let speaking = Server::start(|peer| peer.send("HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n"));
    for (server, is_reserved, body, timeout, kind) in [
        (&live, false, broken(), None, ErrorKind::Body),
        (&live, true, broken(), None, ErrorKind::Body),
        (&live, true, Body::empty(), Some(Duration::ZERO), ErrorKind::Timeout),
        (&closing, false, Body::empty(), None, ErrorKind::ConnectionLost),
        (&speaking, false, Body::empty(), None, ErrorKind::Protocol),
        (&closing, true, Body::empty(), None, ErrorKind::ConnectionLost),
    ] {
        let (address, is_late) = (server.address(), kind != ErrorKind::Body && timeout.is_none());
        let connect = move |_| async move {
            match is_late {
                true => connect_late(address, || ()).await,
                false => Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Transport>),
            }
        };
        let (recorder, _guard) = Recorder::start();
        let (records, builder) = Records::of(Client::builder().connector(connect));
        let client = builder.build().unwrap();
        let mut reserved = match is_reserved {
            true => Some(client.reserve(server.url("/")).await.unwrap()),
            false => None,
        };
        let request = match &mut reserved {
            Some(reserved) => reserved.post(server.url("/")),
            None => client.post(server.url("/")),
        };
        let error = request.body(body).timeout(timeout).send().await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (kind, Some(Phase::Send)), "{}", error.chain());
        drop((reserved, client));
        until("all spans have closed", || recorder.is_quiet()).await;
        let (record, spans) = (records.one(), recorder.take());
        let told = "http.request(queue send)";
        assert!(tree(&spans).contains(&told.to_owned()), "{kind:?}: {:?}", tree(&spans));
        assert_all_same(std::slice::from_ref(&record), &spans);
        assert_eq!((record.connection().unwrap().id(), record.bytes_sent()), (1, 0), "{kind:?}");
        assert_eq!(record.timings(), error.timings().unwrap());
    }
}

/// The server switches protocols before it has the whole request. The head of its response is known, and so are its status
/// and the phase `receive`.
#[tokio::test(start_paused = true)]
async fn an_upgrade_that_comes_too_early_is_reported_alike() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n";
    for split in [usize::MAX, 20] {
        let (recorder, _guard) = Recorder::start();
        let script = Script::new(&[&[Reply::raw(&[switch]).split(split).early()]]);
        let peers = Peers::new(Script { accepts: 500, ..script });
        let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
        let client = builder.build().unwrap();
        let request = client.post(URL).header("upgrade", "foo").body(vec![b'x'; 2_000]);
        let error = request.send().await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Protocol, Some(Phase::Receive)));
        settle().await;
        let (record, spans) = (records.one(), recorder.take());
        assert_eq!(tree(&spans), ["http.request(queue send wait receive)", "connection.setup"]);
        assert_all_same(std::slice::from_ref(&record), &spans);
        assert_eq!(record.status(), Some(handclasp::StatusCode::SWITCHING_PROTOCOLS));
        assert_eq!(record.timings(), error.timings().unwrap());
    }
}

/// Behavior of the caller of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Reads,
    DropsRequest,
    DropsResponse,
}

/// Every attempt whose connection is closed says why, and so does the pool's event if the attempt has failed.
#[tokio::test(start_paused = true)]
async fn each_attempt_that_closes_its_connection_says_why() {
    const UNREAD: Option<&str> = Some("the response was not read to its end");
    const FAILED: Option<&str> = Some("reading or writing failed or took too long");
    let long = || Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "some"]);
    let short = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four", "five!"]);
    let lost = [Reply::ok("hello"), Reply::silence().reset()];
    let late = "HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    #[cfg(feature = "url")]
    let moved = "HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 1000000\r\n\r\n";
    let refused = "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n";
    for (replies, does, why) in [
        (vec![Reply::silence()], Does::Reads, FAILED),
        (vec![Reply::silence().reset()], Does::Reads, FAILED),
        (vec![Reply::silence().eof()], Does::Reads, Some("the server closed the connection")),
        (vec![long()], Does::Reads, FAILED),
        (vec![Reply::silence()], Does::DropsRequest, UNREAD),
        (vec![long()], Does::DropsResponse, UNREAD),
        (vec![short], Does::DropsResponse, None),
        (lost.to_vec(), Does::Reads, FAILED),
        (
            vec![Reply::ok("hello"), Reply::raw(&[late])],
            Does::Reads,
            Some("the server sent `connection: close`"),
        ),
        (vec![Reply::raw(&[refused])], Does::Reads, UNREAD),
        (vec![Reply::raw(&[refused]).early()], Does::Reads, Some("the upload was aborted")),
        #[cfg(feature = "url")]
        (vec![Reply::raw(&[moved])], Does::Reads, UNREAD),
    ] {
        let name = format!("{replies:?} {does:?}");
        let (recorder, _guard) = Recorder::start();
        let is_sent_again = replies.len() > 1;
        let script = Script { is_eager: true, ..Script::new(&[&replies, &[Reply::ok("hello")]]) };
        let peers = Peers::new(script);
        let (records, builder) = Records::of(Client::builder().connector(peers.connector()));
        let client = builder.build().unwrap();
        if is_sent_again {
            super::finish(client.get(URL).send().await.unwrap()).await;
            recorder.take();
            records.take();
        }
        let mut events = client.pool().subscribe();
        let request = client.put(URL).expect_continue().timeout(Duration::from_secs(5)).body("content");
        match does {
            Does::Reads => _ = async { request.send().await?.bytes().await }.await,
            Does::DropsRequest => {
                assert!(tokio::time::timeout(Duration::from_secs(2), request.send()).await.is_err());
            }
            Does::DropsResponse => drop(request.send().await.unwrap()),
        }
        settle().await;
        let (records, spans) = (records.take(), recorder.take());
        assert_all_same(&records, &spans);
        assert_eq!(records[0].close_reason(), why, "{name}");
        let closed = std::iter::from_fn(|| events.try_recv()).find_map(|event| match event.kind {
            PoolEventKind::Closed { why, .. } => Some(why),
            _ => None,
        });
        assert_eq!(closed.is_some(), why.is_some(), "{name}");
        if let ExchangeOutcome::Failed(_) = records[0].outcome() {
            assert_eq!(closed, Some(why), "{name}");
        }
    }
}
