//! bytes that an attacker wants the client to take for the response to another
//! request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use handclasp::codec::{CloseReason, Limits, Machine, ProtocolError, RequestHead, Target, Verdict};
use handclasp::{Body, Client, DropReason, Error, ErrorKind, Phase, Response, Written};
use http::{HeaderMap, Method};

use super::meter::Tally;
use super::support::arrival::{wait_for_all, wait_for_loopback};
use super::support::{Peer, Server, Signal, until, within};
use super::{assert_gone, assert_protocol, read_away};

/// Response that an attacker wants the client to take for the response to the next request.
pub(super) const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

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
pub(super) fn machine(
    method: &Method,
    target: Target<'_>,
    fields: &[(&'static str, &'static str)],
) -> Machine {
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
                        // During this pause the client most likely reads the response. If the client reads
                        // later, the surplus arrives with the response.
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
pub(super) async fn play(wire: &[u8], limits: Limits) -> Result<(Response, Client), (Error, Client)> {
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
    // The client reads each of these heads in one way, which is not the attacker's way. The client takes no byte after the
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
