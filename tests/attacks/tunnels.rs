//! switches of protocols and tunnels. The client agrees to no switch that the caller did not ask for,
//! and sends nothing into a tunnel before the server has agreed.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use handclasp::codec::{
    BodyLength, CloseReason, Event, Framing, Limits, Machine, Misuse, ProtocolError, RequestHead, Target,
    Verdict,
};
use handclasp::{Client, DropReason, Error, ErrorKind, Phase, RequestTarget, Response};
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::desync::{POISON, machine, play};
use super::meter::Tally;
use super::support::{Server, Signal, within};
use super::{assert_gone, assert_protocol};

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

/// A refusal by the proxy opens no tunnel. The client delivers the refusal as the proxy's response, and does not follow the
/// `Location` of the refusal.
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

/// Bytes that come before the TLS handshake go to TLS, and the handshake fails. These bytes do not become the
/// response of the origin.
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
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..20 {
            ticks.tick().await;
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
