//! bytes that an attacker wants the client to take for the response to another
//! request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use handclasp::codec::{
    BodyLength, CloseReason, Event, Framing, Limits, Machine, Misuse, ProtocolError, RequestHead, Target,
    Verdict,
};
use handclasp::{Body, Client, DropReason, Error, ErrorKind, Phase, RequestTarget, Response, Written};
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::meter::Tally;
use super::support::arrival::{wait_for_all, wait_for_loopback};
use super::support::{Peer, Server, Signal, until, within};
use super::{assert_gone, assert_protocol, read_away};

/// Response that an attacker wants the client to take for the response to the next request.
const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

/// Returns a plain server, and a server inside TLS if the crate has TLS.
fn servers(script: impl Fn(&mut Peer) -> io::Result<()> + Clone + Send + Sync + 'static) -> Vec<Server> {
    let plain = Server::start(script.clone());
    if cfg!(feature = "rustls") { vec![plain, Server::start_tls(script)] } else { vec![plain] }
}

fn client_of(server: &Server) -> Client {
    #[cfg(feature = "rustls")]
    if server.url("/").starts_with("https") {
        let authority = handclasp::Certificate::from_pem(server.authority()).unwrap();
        return Client::builder().add_root_certificate(authority).build().unwrap();
    }
    let _ = server;
    Client::new()
}

/// Fails unless the server answers `/next` with its own response, on a new connection that has the number
/// `connection`.
async fn assert_own_answer(client: &Client, server: &Server, connection: usize) {
    let next = within(20, client.get(server.url("/next")).send()).await.unwrap();
    assert!(!next.connection().is_reused());
    assert_eq!(within(20, next.text()).await.unwrap(), "next");
    let seen = server.seen();
    let last = seen.last().unwrap();
    assert_eq!((last.connection, &*last.request.target), (connection, "/next"));
    assert_eq!(server.connections(), connection + 1);
}

/// Complete responses. Each has the method of its request, its bytes, and its content.
const COMPLETE: [(Method, &str, &str); 6] = [
    (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok"),
    (
        Method::GET,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
        "ok",
    ),
    (Method::POST, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
    (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n", ""),
    (Method::GET, "HTTP/1.1 204 No Content\r\ncontent-length: 45\r\n\r\n", ""),
    (Method::GET, "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", ""),
];

/// Plays surplus bytes in the same write as the response. The client must find the surplus, deliver none of it, and
/// close the connection.
async fn surplus_with_the_response(
    method: Method,
    response: &'static str,
    content: &str,
    surplus: &'static str,
) {
    for server in servers(move |peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/next" => peer.respond("next")?,
                _ => peer.send([response, surplus].concat())?,
            }
        }
        Ok(())
    }) {
        let client = client_of(&server);
        let first = within(20, client.request(method.clone(), server.url("/")).send()).await.unwrap();
        assert_eq!(within(20, first.text()).await.unwrap(), content, "{response:?} {surplus:?}");
        assert_gone(&client, 1);
        assert_eq!(client.pool().stats().total.closed(DropReason::Unsolicited), 1);
        assert_own_answer(&client, &server, 1).await;
    }
}

#[tokio::test]
async fn a_26_surplus_behind_a_response_retires_the_connection() {
    for (method, response, content) in &COMPLETE[..3] {
        for surplus in [POISON, "x", "\r\nx", "\0"] {
            surplus_with_the_response(method.clone(), response, content, surplus).await;
        }
    }
}

/// A request waits for the connection on which surplus bytes come, and does not get this connection.
#[tokio::test]
async fn a_26_surplus_does_not_reach_whoever_waits() {
    let waits = Signal::new();
    let when = waits.clone();
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/next" => peer.respond("next")?,
                _ => {
                    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")?;
                    peer.wait(&when)?;
                    peer.send(["ok", POISON].concat())?;
                }
            }
        }
        Ok(())
    });
    let client = Client::builder().max_connections_per_host(1).build().unwrap();
    let first = within(20, client.get(server.url("/")).send()).await.unwrap();
    let next = tokio::spawn(client.get(server.url("/next")).send());
    until("the second request waits", || client.pool().stats().total.waiting == 1).await;
    waits.raise();
    assert_eq!(within(20, first.text()).await.unwrap(), "ok");
    let next = within(20, next).await.unwrap().unwrap();
    assert_eq!(within(20, next.text()).await.unwrap(), "next");
    assert_eq!(server.requests_per_connection(), [1, 1]);
}

/// The codec leaves surplus bytes in the buffer, however the bytes are split.
#[test]
fn a_26_surplus_is_left_in_the_buffer() {
    for (method, response, _) in &COMPLETE {
        let wire = [response, POISON].concat();
        for at in 0..=wire.len() {
            let (mut machine, mut buf) = (machine(method, Target::Origin("/"), &[]), BytesMut::new());
            for half in [&wire[..at], &wire[at..]] {
                buf.extend_from_slice(half.as_bytes());
                while machine.decode(&mut buf).unwrap().is_some() {}
            }
            assert_eq!(buf, POISON);
            let Verdict::Close(reasons) = machine.verdict(buf.len()) else { panic!("{method} by {at}") };
            assert!(reasons.contains(CloseReason::Surplus));
        }
    }
}

/// Returns a machine that has sent a request with this method, target and fields.
fn machine(method: &Method, target: Target<'_>, fields: &[(&'static str, &'static str)]) -> Machine {
    let mut machine = Machine::new(Limits::default());
    let headers: HeaderMap =
        fields.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    machine
        .encode_head(&RequestHead::new(method, target, Some(b"h"), &headers), &mut BytesMut::new())
        .unwrap();
    machine
}

/// Returns servers whose first connection answers `/first` and sends `stale` when the first signal is raised. The
/// server raises the second signal after it has sent `stale`.
fn stale(stale: &'static str) -> (Vec<Server>, Signal, Signal) {
    let (asked, sent) = (Signal::new(), Signal::new());
    let (when, done) = (asked.clone(), sent.clone());
    let servers = servers(move |peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/first" => {
                    peer.respond("first")?;
                    peer.wait(&when)?;
                    peer.send(stale)?;
                    done.raise();
                }
                _ => peer.respond("next")?,
            }
        }
        Ok(())
    });
    (servers, asked, sent)
}

/// The bytes arrive while the connection is idle, and the runtime does not learn of them. The client still finds them
/// before it uses the connection.
#[tokio::test]
async fn a_27_stale_bytes_on_an_idle_connection_are_seen() {
    const TIMEOUT: &str = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
    for poison in [POISON, TIMEOUT, "x", "\r\nx"] {
        // A server may send a 408 before it closes an idle connection.
        let reason = if poison == TIMEOUT { DropReason::PeerClosed } else { DropReason::Unsolicited };
        let (servers, asked, sent) = stale(poison);
        for server in servers {
            let client = client_of(&server);
            let first = within(20, client.get(server.url("/first")).send()).await.unwrap();
            assert_eq!(within(20, first.text()).await.unwrap(), "first");
            assert_eq!(client.pool().stats().total.idle, 1);
            asked.raise();
            sent.wait();
            wait_for_all(&server);
            assert_own_answer(&client, &server, 1).await;
            let total = client.pool().stats().total;
            assert_eq!((total.idle, total.opened, total.closed(reason)), (1, 2, 1), "{total}");
            assert_eq!(server.requests_per_connection(), [1, 1]);
        }
    }
}

/// A stream whose first poll makes the server send.
struct Trap {
    asked: Signal,
    sent: Signal,
    is_sprung: bool,
    pieces: Vec<&'static str>,
}

impl futures_core::Stream for Trap {
    type Item = io::Result<&'static str>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.is_sprung, true) {
            self.asked.raise();
            self.sent.wait();
            wait_for_loopback();
            if self.pieces.is_empty() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(self.pieces.pop().map(Ok))
    }
}

/// The bytes arrive after a request took the connection and before its first byte is written. The client finds them,
/// because the look is the last step before the write. No part of the request's body is lost.
#[tokio::test]
async fn a_27_stale_bytes_between_checkout_and_write_are_seen() {
    for pieces in [vec!["world", "hello "], Vec::new()] {
        let (servers, asked, sent) = stale(POISON);
        for server in servers {
            let client = client_of(&server);
            let first = within(20, client.get(server.url("/first")).send()).await.unwrap();
            assert_eq!(within(20, first.text()).await.unwrap(), "first");
            let trap =
                Trap { asked: asked.clone(), sent: sent.clone(), is_sprung: false, pieces: pieces.clone() };
            let request = client.post(server.url("/next")).body(Body::from_stream(trap));
            let next = within(20, request.send()).await.unwrap();
            assert_eq!(within(20, next.text()).await.unwrap(), "next");
            let content = pieces.iter().rev().copied().collect::<String>();
            assert_eq!(server.requests_per_connection(), [1, 1]);
            assert_eq!(server.seen()[1].request.body, content.as_bytes());
            assert_eq!(client.pool().stats().total.closed(DropReason::Unsolicited), 1);
        }
    }
}

/// After a response that can have no body, the server sends a body that looks like a response. The bytes come with the
/// head, or while the connection is idle.
#[tokio::test]
async fn rule_25_illegal_body_behind_a_bodyless_response_a_28() {
    for (method, response, content) in &COMPLETE[3..] {
        for surplus in [POISON, "<html>", "2\r\nok\r\n0\r\n\r\n"] {
            surplus_with_the_response(method.clone(), response, content, surplus).await;
        }
        let sent = Signal::new();
        let done = sent.clone();
        let server = Server::start(move |peer| {
            while let Some(request) = peer.request()? {
                match &*request.target {
                    "/next" => peer.respond("next")?,
                    _ => {
                        peer.send(response)?;
                        // During this pause the client most likely reads the response. If it does not, the surplus
                        // arrives with the response, which the loop above covers.
                        std::thread::sleep(Duration::from_millis(5));
                        peer.send(POISON)?;
                        done.raise();
                    }
                }
            }
            Ok(())
        });
        let client = Client::new();
        let first = within(20, client.request(method.clone(), server.url("/")).send()).await.unwrap();
        assert_eq!(within(20, first.text()).await.unwrap(), *content);
        sent.wait();
        wait_for_all(&server);
        assert_own_answer(&client, &server, 1).await;
        assert_eq!(client.pool().stats().total.closed(DropReason::Unsolicited), 1);
    }
}

/// An interim response has no body, whatever its fields say, so the bytes after it are the next head. If the bytes
/// are no head, the response fails. If the bytes are a head, they are the response, and the server's real response is
/// surplus.
#[tokio::test]
async fn a_28_illegal_body_behind_an_interim_response() {
    const INTERIM: &str =
        "HTTP/1.1 103 Early Hints\r\ncontent-length: 45\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/next" => peer.respond("next")?,
                "/text" => peer.send([INTERIM, "hello", POISON].concat())?,
                _ => {
                    peer.send([INTERIM, POISON, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"].concat())?
                }
            }
        }
        Ok(())
    });
    let client = Client::new();
    let error = within(20, client.get(server.url("/text")).send()).await.unwrap_err();
    assert_protocol(&error, ProtocolError::NotHttp, Phase::Wait);
    assert_gone(&client, 1);
    let response = within(20, client.get(server.url("/response")).send()).await.unwrap();
    assert_eq!(within(20, response.text()).await.unwrap(), "poison");
    assert_gone(&client, 2);
    assert_own_answer(&client, &server, 2).await;
}

/// Answers a request with `wire`, and sends a second request, which must get its own response. Returns the outcome of
/// the first request, and the client.
async fn play(wire: &[u8], limits: Limits) -> Result<(Response, Client), (Error, Client)> {
    let answer = wire.to_vec();
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/next" => peer.respond("next")?,
                _ => peer.send(&answer)?,
            }
        }
        Ok(())
    });
    let client = Client::builder().codec_limits(limits).build().unwrap();
    let outcome = within(20, client.get(server.url("/")).send()).await;
    let (mut response, read) = match outcome {
        Ok(mut response) => {
            let (_, read) = within(20, read_away(&mut response)).await;
            (Some(response), read)
        }
        Err(error) => (None, Err(error)),
    };
    let is_kept = client.pool().stats().total.idle == 1;
    let next = within(20, client.get(server.url("/next")).send()).await.unwrap();
    assert_eq!(next.connection().is_reused(), is_kept);
    assert_eq!(within(20, next.text()).await.unwrap(), "next", "{:?}", wire.escape_ascii().to_string());
    match read {
        Ok(()) => Ok((response.take().unwrap(), client)),
        Err(error) => {
            assert!(!is_kept, "the connection was kept after {error}");
            Err((error, client))
        }
    }
}

/// Some software takes other characters for line ends. The client refuses these characters or leaves them in the
/// value. The exception is a bare LF, which a recipient may accept as a line end (RFC 9112, section 2.2). After a
/// bare LF the client does not use the connection again, and a strict setting refuses it.
#[tokio::test]
async fn a_29_response_splitting() {
    use ProtocolError::{BadFieldName, BadFieldValue, BadStatusLine, BareCarriageReturn, BareLineFeed};
    let mut strict = Limits::default();
    strict.leniency.bare_lf_in_head = false;
    strict.leniency.obs_fold = false;
    let lenient = Limits::default();
    type Outcome = Result<&'static [u8], ProtocolError>;
    let cases: &[(&[u8], Limits, Outcome)] = &[
        (b"x: a\rinjected: 1", lenient, Err(BadFieldValue)),
        (b"x: a\r\rinjected: 1", lenient, Err(BadFieldValue)),
        (b"x: a\r\r\ninjected: 1", lenient, Err(BadFieldValue)),
        (b"x: a\r \ninjected: 1", lenient, Err(BadFieldValue)),
        (b"x: a\r\n\rinjected: 1", lenient, Err(BareCarriageReturn)),
        (b"x: a\0injected: 1", lenient, Err(BadFieldValue)),
        (b"x: a\0\r\ny: b", lenient, Err(BadFieldValue)),
        (b"x: a\x0binjected: 1", lenient, Err(BadFieldValue)),
        (b"x: a\x0cinjected: 1", lenient, Err(BadFieldValue)),
        (b"x: a\x7finjected: 1", lenient, Err(BadFieldValue)),
        (b"x\rinjected: 1", lenient, Err(BadFieldName)),
        (b"x\0injected: 1", lenient, Err(BadFieldName)),
        (b"x injected: 1", lenient, Err(BadFieldName)),
        (b"x: a\n\rinjected: 1", lenient, Err(BareCarriageReturn)),
        (b"x: a\ninjected: 1", strict, Err(BareLineFeed)),
        (b"x: a\n injected: 1", strict, Err(BareLineFeed)),
        (b"x: a\r\n injected: 1", strict, Err(ProtocolError::ObsoleteFold)),
        (b"x: a\r\n injected: 1", lenient, Ok(b"a   injected: 1")),
        (b"x: a\r\n\tinjected: 1\r\n\t\tinjected: 2", lenient, Ok(b"a   injected: 1   \tinjected: 2")),
        // U+010A, U+010D, U+560A and U+560D become CR and LF in software that drops their upper byte.
        (b"x: a\xc4\x8d\xc4\x8ainjected: 1", lenient, Ok(b"a\xc4\x8d\xc4\x8ainjected: 1")),
        (b"x: a\xe5\x98\x8d\xe5\x98\x8ainjected: 1", lenient, Ok(b"a\xe5\x98\x8d\xe5\x98\x8ainjected: 1")),
        // These values contain NEL, in ISO-8859-1 and in UTF-8, and U+2028.
        (b"x: a\x85injected: 1", lenient, Ok(b"a\x85injected: 1")),
        (b"x: a\xc2\x85\xe2\x80\xa8injected: 1", lenient, Ok(b"a\xc2\x85\xe2\x80\xa8injected: 1")),
        (b"x: a%0d%0ainjected: 1\\r\\ninjected: 1", lenient, Ok(b"a%0d%0ainjected: 1\\r\\ninjected: 1")),
    ];
    for (field, limits, expected) in cases {
        let wire = [b"HTTP/1.1 200 OK\r\n", *field, b"\r\ncontent-length: 2\r\n\r\nok"].concat();
        match (play(&wire, *limits).await, expected) {
            (Ok((response, client)), Ok(value)) => {
                assert_eq!(response.headers()["x"].as_bytes(), *value);
                assert_eq!(response.headers().len(), 2, "{:?}", response.headers());
                assert_eq!(client.pool().stats().total.opened, 1);
            }
            (Err((error, client)), Err(expected)) => {
                assert_protocol(&error, *expected, Phase::Wait);
                assert_eq!(client.pool().stats().total.closed(DropReason::Failed), 1);
            }
            (Ok(_), Err(expected)) => panic!("{:?} instead of {expected}", field.escape_ascii().to_string()),
            (Err((error, _)), Ok(_)) => panic!("{:?}: {error}", field.escape_ascii().to_string()),
        }
    }
    for line in ["HTTP/1.1 200 O\rinjected: 1\r\n", "HTTP/1.1 200 O\0K\r\n", "HTTP/1.1 200\rOK\r\n"] {
        let (error, _) =
            play(format!("{line}content-length: 2\r\n\r\nok").as_bytes(), lenient).await.unwrap_err();
        assert_protocol(&error, BadStatusLine, Phase::Wait);
    }
    let (response, client) =
        play(b"HTTP/1.1 200 OK\r\nx: a\ny: b\r\ncontent-length: 2\r\n\r\nok", lenient).await.unwrap();
    assert_eq!(
        (&response.headers()["x"], &response.headers()["y"]),
        (&"a".parse().unwrap(), &"b".parse().unwrap())
    );
    assert_eq!(client.pool().stats().total.opened, 2, "a connection with a bare LF was used again");
}

/// The error comes at once, although the server keeps the connection open and sends nothing more.
#[tokio::test]
async fn a_30_unsolicited_101_is_refused_at_once() {
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x01\x02\x03",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\ncontent-length: 45\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    ] {
        let (error, client) = play(head.as_bytes(), Limits::default()).await.unwrap_err();
        assert_protocol(&error, ProtocolError::UnsolicitedUpgrade, Phase::Wait);
        assert_eq!(client.pool().stats().total.closed(DropReason::Failed), 1);
    }
}

/// A request that offers a protocol accepts a switch to that protocol only. If the request named no version, the
/// request accepts any version.
#[tokio::test]
async fn a_30_101_to_a_foreign_protocol_is_refused_at_once() {
    for (fields, expected) in [
        ("upgrade: h2c\r\nconnection: upgrade\r\n", ProtocolError::UpgradeNotOffered),
        ("upgrade: websocket, h2c\r\nconnection: upgrade\r\n", ProtocolError::UpgradeNotOffered),
        ("upgrade: websocket/\r\n", ProtocolError::UpgradeNotOffered),
        ("upgrade: websockets/13\r\n", ProtocolError::UpgradeNotOffered),
        ("upgrade: http/1.1\r\n", ProtocolError::UpgradeNotOffered),
        ("upgrade: http/1.1, websocket\r\n", ProtocolError::UpgradeNotOffered),
        ("upgrade: websocket\r\nupgrade: h2c\r\n", ProtocolError::UpgradeNotOffered),
        ("connection: upgrade\r\n", ProtocolError::UpgradeUnnamed),
        ("upgrade:\r\nconnection: upgrade\r\n", ProtocolError::UpgradeUnnamed),
        ("upgrade: ,\r\n", ProtocolError::UpgradeUnnamed),
    ] {
        // After the 101 the server sends nothing, and keeps the connection open.
        let server = Server::start(move |peer| {
            peer.request()?;
            peer.send(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n"))?;
            assert_eq!(
                peer.take(1).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof,
                "a byte after {fields:?}"
            );
            Ok(())
        });
        let client = Client::new();
        let error =
            within(20, client.get(server.url("/")).header("upgrade", "websocket").send()).await.unwrap_err();
        assert_protocol(&error, expected, Phase::Wait);
        assert_gone(&client, 1);
    }
}

/// In the codec, a tunnel begins right after the empty line of a 2xx response, whatever the fields say. A response
/// with another status is an ordinary response of the proxy.
#[test]
fn a_56_tunnel_begins_exactly_behind_the_empty_line() {
    for (head, tunneled) in [
        ("HTTP/1.1 200 OK\r\n\r\n", POISON),
        ("HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n", POISON),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", "\x16\x03\x01"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "\r\n"),
        ("HTTP/1.0 200 Connection established\r\n\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 299 \r\n\r\n", POISON),
    ] {
        let wire = [head, tunneled].concat();
        for at in 0..=wire.len() {
            let mut machine = machine(&Method::CONNECT, Target::Authority("h:443"), &[]);
            let mut buf = BytesMut::new();
            for half in [&wire[..at], &wire[at..]] {
                buf.extend_from_slice(half.as_bytes());
                while let Some(event) = machine.decode(&mut buf).unwrap() {
                    assert!(!matches!(event, Event::Data(_) | Event::Trailers(_)), "{head:?} by {at}");
                }
            }
            assert_eq!(
                (machine.framing(), &buf[..]),
                (Some(Framing::Tunnel), tunneled.as_bytes()),
                "{head:?} by {at}"
            );
            let Verdict::Close(reasons) = machine.verdict(buf.len()) else { panic!("{head:?} by {at}") };
            assert!(reasons.contains(CloseReason::Tunnel) && !reasons.contains(CloseReason::Surplus));
        }
    }
    for status in ["407 Proxy Authentication Required", "403 Forbidden", "302 Found"] {
        let mut machine = machine(&Method::CONNECT, Target::Authority("h:443"), &[]);
        let wire = format!("HTTP/1.1 {status}\r\nlocation: https://h/\r\ncontent-length: 5\r\n\r\nproxy");
        let (mut buf, mut content) = (BytesMut::from(&*wire), Vec::new());
        while let Some(event) = machine.decode(&mut buf).unwrap() {
            if let Event::Data(data) = event {
                content.extend_from_slice(&data);
            }
        }
        assert_eq!((machine.framing(), &content[..]), (Some(Framing::Length(5)), &b"proxy"[..]));
        assert_eq!(machine.verdict(0), Verdict::Reuse);
    }
}

/// Sends a CONNECT, which the server answers with `answer`. Returns the server, the client, and the outcome of the
/// request.
async fn tunnel(answer: String) -> (Server, Client, Result<Response, Error>) {
    let server = Server::start(move |peer| {
        let Some(request) = peer.request()? else { return Ok(()) };
        assert_eq!((&*request.method, &*request.target), ("CONNECT", "origin.test:443"));
        peer.send(&answer)?;
        // From here on the server echoes four bytes at a time, until the client closes the connection.
        while let Ok(bytes) = peer.take(4) {
            peer.send(bytes)?;
        }
        Ok(())
    });
    let client = Client::new();
    let target = RequestTarget::Authority("origin.test:443".into());
    let request = client.request(Method::CONNECT, server.url("/")).target(target);
    let outcome = within(20, request.send()).await;
    (server, client, outcome)
}

/// In the client, bytes after a 2xx response belong to the tunnel and are never a response. The client has no support
/// for proxies, so the caller opens the tunnel.
#[tokio::test]
async fn a_56_leftover_bytes_come_out_of_the_tunnel() {
    for fields in ["", "content-length: 45\r\n", "transfer-encoding: chunked\r\n", "connection: close\r\n"] {
        for leftover in ["", "x", POISON, "0\r\n\r\n"] {
            let (server, client, outcome) =
                tunnel(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{leftover}")).await;
            let mut connection = within(20, outcome.unwrap().upgrade()).await.unwrap();
            let mut seen = vec![0; leftover.len()];
            within(20, connection.read_exact(&mut seen)).await.unwrap();
            assert_eq!(seen, leftover.as_bytes(), "{fields:?}");
            within(20, connection.write_all(b"ping")).await.unwrap();
            let mut echo = [0; 4];
            within(20, connection.read_exact(&mut echo)).await.unwrap();
            assert_eq!(&echo, b"ping");
            drop(connection);
            assert_gone(&client, 1);
            assert_eq!(server.seen().len(), 1);
        }
    }
}

/// A refusal by the proxy opens no tunnel. The client delivers it as the proxy's response, and does not follow its
/// `Location`.
#[tokio::test]
async fn a_56_refusals_are_the_proxys() {
    for status in ["407 Proxy Authentication Required", "403 Forbidden", "302 Found", "502 Bad Gateway"] {
        let head =
            format!("HTTP/1.1 {status}\r\nlocation: https://evil.test/\r\nproxy-authenticate: Basic\r\n");
        let (server, client, outcome) = tunnel(format!("{head}content-length: 5\r\n\r\nproxy")).await;
        let response = outcome.unwrap();
        assert_eq!(response.status().as_str(), &status[..3]);
        let error = within(20, response.upgrade()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Upgrade);
        assert_eq!((server.connections(), server.seen().len()), (1, 1), "no other request is sent");
        assert_eq!(client.pool().stats().total.active, 0);
    }
}

/// Bytes that come before the TLS handshake go to TLS, and the handshake fails. They do not become the response of
/// the origin.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_56_plaintext_before_the_handshake_fails_it() {
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    let config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let (_server, client, outcome) = tunnel(format!("HTTP/1.1 200 OK\r\n\r\n{POISON}")).await;
    let connection = within(20, outcome.unwrap().upgrade()).await.unwrap();
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let shaken = tls.connect("origin.test".try_into().unwrap(), connection);
    let error = within(20, shaken).await.expect_err("the plaintext was taken for a handshake");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_gone(&client, 1);
}

/// The client sends only the head until the server has agreed to the tunnel or upgrade. The client sends the bytes that the
/// caller writes only after the server has agreed.
#[tokio::test]
async fn a_57_nothing_is_sent_before_the_server_agrees() {
    for (method, field, answer) in [
        (Method::CONNECT, None, "HTTP/1.1 200 OK\r\n\r\n"),
        (Method::GET, Some("chat/1"), "HTTP/1.1 101 Switching Protocols\r\nupgrade: chat/1\r\n\r\n"),
        (
            Method::GET,
            Some("chat/1, chat/2"),
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: Chat/2\r\n\r\nfirst",
        ),
    ] {
        let (asked, agrees) = (Signal::new(), Signal::new());
        let (said, when) = (asked.clone(), agrees.clone());
        let server = Server::start(move |peer| {
            if peer.request_head()?.is_none() {
                return Ok(());
            }
            said.raise();
            peer.wait(&when)?;
            peer.send(answer)?;
            assert_eq!(peer.take(4)?, b"ping");
            peer.send("pong")
        });
        let tally = Tally::default();
        let client = tally.client().build().unwrap();
        let mut request = client.request(method, server.url("/"));
        if let Some(field) = field {
            request = request.header("upgrade", field);
        }
        let request = tokio::spawn(request.send());
        within(20, asked.raised()).await;
        // Other tasks run for some milliseconds, and the client writes nothing more.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(tally.written(), server.seen()[0].request.head.len());
        agrees.raise();
        let response = within(20, request).await.unwrap().unwrap();
        let mut connection = within(20, response.upgrade()).await.unwrap();
        assert_eq!(tally.written(), server.seen()[0].request.head.len());
        within(20, connection.write_all(b"ping")).await.unwrap();
        let mut seen = Vec::new();
        within(20, connection.read_to_end(&mut seen)).await.unwrap();
        let leftover = answer.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(seen, [leftover, "pong"].concat().as_bytes());
        assert_eq!(client.pool().stats().total.idle, 0);
        drop(connection);
        assert_gone(&client, 1);
    }
}

/// In the codec, nothing can be sent after the head of a CONNECT.
#[test]
fn a_57_connect_has_no_content() {
    let (mut machine, mut out, headers) =
        (Machine::new(Limits::default()), BytesMut::new(), HeaderMap::new());
    let mut head = RequestHead::new(&Method::CONNECT, Target::Authority("h:443"), Some(b"h:443"), &headers);
    for body in [BodyLength::Known(5), BodyLength::Chunked] {
        head.body = body;
        assert_eq!(machine.encode_head(&head, &mut out), Err(Misuse::BodyNotAllowed));
    }
    head.body = BodyLength::None;
    machine.encode_head(&head, &mut out).unwrap();
    assert_eq!(out, "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n");
    assert!(machine.is_send_done() && !machine.may_send_body());
    assert_eq!(machine.encode_data(1, &mut out), Err(Misuse::MoreThanPromised));
}

/// Some software reads a different length from these heads. The client refuses a head and closes the connection, or
/// reads the head and does not use the connection again. `tests/it/conformance.rs` plays more cases in its groups
/// framing-cl-te and framing-te.
#[tokio::test]
async fn a_58_ambiguous_framing() {
    use ProtocolError::{
        BadContentLength, BadFieldName, BadFieldValue, ChunkedParameters, ChunkedTwice,
        ConflictingContentLength, LengthWithTransferEncoding, UnsupportedTransferCoding,
    };
    const BODY: &str = "0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for (fields, expected) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", LengthWithTransferEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 50", LengthWithTransferEncoding),
        ("Content-Length: 5\r\nTransfer-Encoding: xchunked", LengthWithTransferEncoding),
        ("Content-Length: 5\r\nTransfer-Encoding: identity", LengthWithTransferEncoding),
        ("Content-Length: 5\r\nTransfer-Encoding:", LengthWithTransferEncoding),
        ("Content-Length: x\r\nTransfer-Encoding: chunked", LengthWithTransferEncoding),
        ("Content-Length: 5\r\nTransfer-Encoding\r\n : chunked", BadFieldName),
        ("Transfer-Encoding : chunked\r\nContent-Length: 5", BadFieldName),
        ("Transfer-Encoding\t: chunked", BadFieldName),
        ("Transfer_Encoding chunked", BadFieldName),
        ("Transfer-Encoding: xchunked", UnsupportedTransferCoding),
        ("Transfer-Encoding: chunked, identity", UnsupportedTransferCoding),
        ("Transfer-Encoding: identity, chunked", UnsupportedTransferCoding),
        ("Transfer-Encoding: gzip, chunked", UnsupportedTransferCoding),
        ("Transfer-Encoding: \"chunked\"", UnsupportedTransferCoding),
        ("Transfer-Encoding: 'chunked'", UnsupportedTransferCoding),
        ("Transfer-Encoding: chun\u{212a}ed", UnsupportedTransferCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", UnsupportedTransferCoding),
        ("Transfer-Encoding:", UnsupportedTransferCoding),
        ("Transfer-Encoding: ,", UnsupportedTransferCoding),
        ("Transfer-Encoding: \u{b}chunked", BadFieldValue),
        ("Transfer-Encoding: chunked\0", BadFieldValue),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", ChunkedTwice),
        ("Transfer-Encoding: chunked, chunked", ChunkedTwice),
        ("Transfer-Encoding: chunked;q=1", ChunkedParameters),
        ("Content-Length: 5\r\nContent-Length: 50", ConflictingContentLength),
        ("Content-Length: 5, 50", ConflictingContentLength),
        ("Content-Length: 5\r\nContent-Length: 05", ConflictingContentLength),
        ("Content-Length: +5", BadContentLength),
        ("Content-Length: -5", BadContentLength),
        ("Content-Length: 0x5", BadContentLength),
        ("Content-Length: 5 5", BadContentLength),
        ("Content-Length: 5,", BadContentLength),
        ("Content-Length:", BadContentLength),
        ("Content-Length: 5.0", BadContentLength),
        ("Content-Length: \u{665}", BadContentLength),
        ("Content-Length: 5\u{a0}", BadContentLength),
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{BODY}");
        let (error, client) = match play(wire.as_bytes(), Limits::default()).await {
            Err(error) => error,
            Ok((response, _)) => panic!("{fields:?} was read: {response:?}"),
        };
        assert_protocol(&error, expected, Phase::Wait);
        assert_eq!(client.pool().stats().total.closed(DropReason::Failed), 1, "{fields:?}");
    }
    // The client reads each of these heads in one way, which is not the attacker's way. It takes no byte after the
    // response for another response.
    let mut lenient = Limits::default();
    lenient.leniency.length_with_transfer_encoding = true;
    for (fields, limits) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", lenient),
        ("Content-Length: 50\r\nTransfer-Encoding: chunked", lenient),
        ("Transfer-Encoding:\r\n chunked", Limits::default()),
        ("Content-Length: 5, 5\r\nContent-Length: 5", Limits::default()),
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{BODY}");
        let (_, client) = play(wire.as_bytes(), limits).await.unwrap();
        assert_eq!(client.pool().stats().total.opened, 2, "{fields:?}");
    }
}

/// Bytes that a server may send before it has read a request.
const BANNERS: [&str; 6] = [
    POISON,
    "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "220 ready\r\n",
    "SSH-2.0-x\r\n",
    "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "\r\n",
];

/// The client does not use a new connection on which bytes have arrived, and does not dial again. If the bytes are a
/// response, the error names its status. For example, a server that takes no more connections sends such a response.
#[tokio::test]
async fn a_68_server_that_speaks_first_is_not_answered() {
    for banner in BANNERS {
        let server = Server::start(move |peer| {
            peer.send(banner)?;
            assert!(peer.request_head()?.is_none(), "a request was sent");
            Ok(())
        });
        let tally = Tally::default();
        let client = tally.patient_client().build().unwrap();
        let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
        let expected = match banner.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split('\r').next()) {
            Some(status) => {
                format!("the server answered {status} before a request was sent (RFC 9112, section 9.2)")
            }
            None => ProtocolError::SpokeFirst.to_string(),
        };
        assert_eq!((error.kind(), error.message()), (ErrorKind::Protocol, &*expected));
        assert_eq!(error.request_written(), Written::Nothing);
        assert_eq!((tally.dials(), tally.written()), (1, 0), "{banner:?}");
        assert!(tally.read() <= 64, "the client reads only the first line");
        assert_gone(&client, 1);
    }
    // The codec refuses bytes that come before the head of the request.
    let mut machine = Machine::new(Limits::default());
    assert_eq!(machine.decode(&mut BytesMut::from(POISON)).unwrap_err(), ProtocolError::SpokeFirst);
    assert!(matches!(machine.verdict(0), Verdict::Close(_)));
}

/// The server sends bytes on a connection that was dialed ahead. The client closes this connection without using it,
/// and another connection serves the request. The client does this over TLS too.
#[tokio::test]
async fn a_68_server_that_speaks_into_a_warm_connection_is_left() {
    for banner in BANNERS {
        let (asked, sent) = (Signal::new(), Signal::new());
        let (when, done) = (asked.clone(), sent.clone());
        for server in servers(move |peer| {
            if peer.number() == 0 {
                peer.wait(&when)?;
                peer.send(banner)?;
                done.raise();
            }
            while peer.request()?.is_some() {
                peer.respond("next")?;
            }
            Ok(())
        }) {
            let client = client_of(&server);
            let warm = tokio::spawn({
                let (client, url) = (client.clone(), server.url("/"));
                async move { client.warm(url, 1).await }
            });
            // The server sends the bytes before the dial is waited for. Inside TLS, the script makes its part of the
            // handshake only when it sends, so the dial cannot end earlier.
            asked.raise();
            within(20, warm).await.unwrap().unwrap();
            sent.raised().await;
            wait_for_loopback();
            let next = within(20, client.get(server.url("/next")).send()).await.unwrap();
            assert_eq!(within(20, next.text()).await.unwrap(), "next");
            let total = client.pool().stats().total;
            let closed = [DropReason::Unsolicited, DropReason::PeerClosed].map(|reason| total.closed(reason));
            let (requests, expected): (&[_], _) = match banner {
                // The client ignores an empty line before a response, and uses the connection.
                "\r\n" => (&[1], (1, [0, 0])),
                _ if banner.contains(" 408 ") => (&[0, 1], (2, [0, 1])),
                _ => (&[0, 1], (2, [1, 0])),
            };
            assert_eq!(server.requests_per_connection(), requests, "{banner:?}");
            assert_eq!((total.opened, closed), expected, "{banner:?}: {total}");
        }
    }
}
