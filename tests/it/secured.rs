//! Tests of a client's TLS: the ClientHello, the certificates that the client accepts, and when the end of a connection ends a
//! response. The messages of the assertions have the ids of the rows of `src/manual/requirements.md` that cite these tests.
#![cfg(all(feature = "url", feature = "rustls"))]
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use handclasp::{Certificate, Client, ErrorKind, Written};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{PATIENCE, Server, Signal, Tape, until, within};

fn client(server: &Server) -> Client {
    let root = Certificate::from_pem(server.authority()).unwrap();
    Client::builder().add_root_certificate(root).build().unwrap()
}

/// Starts a relay to `server`, and returns the address of the relay. The relay accepts one connection for each tape, and
/// records the client's bytes on the tape.
fn tap(server: SocketAddr, tapes: Vec<Tape>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for tape in tapes {
            let (client, _) = listener.accept().unwrap();
            let server = TcpStream::connect(server).unwrap();
            let (answers, asking) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || pass(&answers, &asking, &Tape::default()));
            std::thread::spawn(move || pass(&client, &server, &tape));
        }
    });
    address
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, tape: &Tape) {
    from.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut bytes) {
        tape.lock().unwrap().extend_from_slice(&bytes[..size]);
        if to.write_all(&bytes[..size]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// Returns the type and the content of each TLS record in `sent`, in order. Panics if `sent` is not a sequence of whole
/// records.
fn records(sent: &[u8]) -> Vec<(u8, &[u8])> {
    let mut records = Vec::new();
    let mut rest = sent;
    while let [kind, _, _, high, low, more @ ..] = rest {
        let (content, after) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        records.push((*kind, content));
        rest = after;
    }
    assert!(rest.is_empty(), "a record was cut: {rest:?}");
    records
}

/// Compression methods and extensions of a ClientHello. The key of each extension is its number.
struct Hello<'a> {
    compressions: &'a [u8],
    extensions: BTreeMap<u16, &'a [u8]>,
}

impl<'a> Hello<'a> {
    fn read(record: &'a [u8]) -> Self {
        fn take<'a>(rest: &mut &'a [u8], size: usize) -> &'a [u8] {
            let (taken, left) = rest.split_at(size);
            *rest = left;
            taken
        }
        fn number(rest: &mut &[u8], octets: usize) -> usize {
            take(rest, octets).iter().fold(0, |number, octet| number << 8 | usize::from(*octet))
        }
        let mut rest = record;
        assert_eq!(number(&mut rest, 1), 1, "a ClientHello");
        number(&mut rest, 3);
        take(&mut rest, 2 + 32);
        let session = number(&mut rest, 1);
        take(&mut rest, session);
        let suites = number(&mut rest, 2);
        take(&mut rest, suites);
        let size = number(&mut rest, 1);
        let compressions = take(&mut rest, size);
        let size = number(&mut rest, 2);
        assert_eq!(size, rest.len());
        let mut extensions = BTreeMap::new();
        while !rest.is_empty() {
            let (kind, size) = (number(&mut rest, 2), number(&mut rest, 2));
            extensions.insert(kind as u16, take(&mut rest, size));
        }
        Self { compressions, extensions }
    }

    /// Returns the host name of the server_name extension, or `None` if the ClientHello has no such extension.
    fn server_name(&self) -> Option<String> {
        // Five bytes come before the name: the length of the list, the type of its only element, and the name's length.
        self.extensions.get(&SERVER_NAME).map(|list| String::from_utf8(list[5..].to_vec()).unwrap())
    }
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;

const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

#[tokio::test]
async fn the_client_hello_and_what_follows_keep_to_the_rfcs() {
    let server = Server::start_tls(|peer| {
        while let Some(request) = peer.request()? {
            let body = request.target;
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))?;
        }
        Ok(())
    });
    for (host, name) in
        [("localhost", Some("localhost")), ("localhost.", Some("localhost")), ("127.0.0.1", None)]
    {
        let tapes = vec![Tape::default(), Tape::default()];
        let at = tap(server.address(), tapes.clone());
        let client = client(&server);
        for (nth, tape) in tapes.iter().enumerate() {
            // The test passes an `http::Uri`, so that the dot after the host name is kept.
            let url: http::Uri = format!("https://{host}:{}/secret-path", at.port()).parse().unwrap();
            let response = within(20, client.get(url).header("x", "secret-value").send()).await.unwrap();
            assert_eq!(response.text().await.unwrap(), "/secret-path");
            // The server sent `Connection: close`, so that the next request uses another connection.
            let sent = tape.lock().unwrap().clone();
            let is_in_clear = |text: &[u8]| sent.windows(text.len()).any(|octets| octets == text);
            assert!(
                !is_in_clear(b"secret") && !is_in_clear(b"HTTP/1.1\r\n"),
                "R-9112-9.7-1 R-9110-4.3.3-1: {host}"
            );
            let records = records(&sent);
            let kinds: Vec<_> = records.iter().map(|(kind, _)| *kind).collect();
            // The types 20 and 21 are change_cipher_spec, which carries no data, and alert.
            assert!(kinds.iter().all(|kind| (20..=23).contains(kind)), "R-9112-9.7-1: {kinds:?}");
            assert_eq!(kinds[0], HANDSHAKE, "R-9110-4.3.3-1: {kinds:?}");
            assert!(kinds.contains(&APPLICATION_DATA), "R-9112-9.7-1: {kinds:?}");
            let hello = Hello::read(records[0].1);
            assert_eq!(hello.server_name().as_deref(), name, "R-6066-3-1: {host}");
            assert_eq!(hello.extensions[&ALPN], b"\0\x09\x08http/1.1", "R-7301-3-1");
            // The first octet is the length of the list. TLS 1.3 and TLS 1.2 follow in two octets each.
            assert_eq!(hello.extensions[&SUPPORTED_VERSIONS], b"\x04\x03\x04\x03\x03", "R-9325-3.1-1");
            assert_eq!(hello.compressions, b"\0", "R-9110-17.6-1 R-9325-3.1-1");
            // The client offers no early data, not even on the second connection, which resumes the session.
            assert_eq!(hello.extensions.contains_key(&PRE_SHARED_KEY), nth == 1, "connection {nth}");
            assert!(
                !hello.extensions.contains_key(&EARLY_DATA),
                "R-8470-3-1 R-9110-4.3.3-1: connection {nth}"
            );
        }
    }
}

/// Certificate that a test server presents.
struct Issued {
    names: Vec<SanType>,
    common_name: &'static str,
    years: (i32, i32),
    by: By,
}

#[derive(Clone, Copy)]
enum By {
    Trusted,
    Another,
    Itself,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Issued {
    fn config(&self, trusted: &Authority, another: &Authority) -> ServerConfig {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names.clone_from(&self.names);
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.not_before = rcgen::date_time_ymd(self.years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(self.years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate: CertificateDer<'static> = match self.by {
            By::Trusted => params.signed_by(&key, trusted).unwrap().der().clone(),
            By::Another => params.signed_by(&key, another).unwrap().der().clone(),
            By::Itself => params.self_signed(&key).unwrap().der().clone(),
        };
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap()
    }
}

#[tokio::test]
async fn only_a_certificate_for_the_host_is_accepted() {
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let ip = |address: [u8; 4]| SanType::IpAddress(IpAddr::from(address));
    let (trusted, another) = (authority("trusted"), authority("another"));
    let root = Certificate::from_pem(trusted.pem()).unwrap();
    let valid = (2020, 2080);
    for (rules, host, names, common_name, years, by, is_taken) in [
        ("R-9110-4.3.4-1", "a.test", vec![dns("a.test")], "x", valid, By::Trusted, true),
        ("R-9110-4.3.4-1", "A.Test", vec![dns("b.test"), dns("a.test")], "x", valid, By::Trusted, true),
        ("R-9110-4.3.4-1", "a.test", vec![dns("b.test")], "x", valid, By::Trusted, false),
        ("R-9110-4.3.4-1", "b.a.test", vec![dns("a.test")], "x", valid, By::Trusted, false),
        ("R-9110-4.3.4-1", "a.test", vec![ip([127, 0, 0, 1])], "x", valid, By::Trusted, false),
        ("R-9110-4.3.4-2", "a.test", vec![], "a.test", valid, By::Trusted, false),
        ("R-9110-4.3.4-2", "a.test", vec![dns("b.test")], "a.test", valid, By::Trusted, false),
        ("R-9110-4.3.4-3", "a.test", vec![dns("a.test")], "x", (2001, 2002), By::Trusted, false),
        ("R-9110-4.3.4-3", "a.test", vec![dns("a.test")], "x", (2079, 2080), By::Trusted, false),
        ("R-9110-4.3.4-3", "a.test", vec![dns("a.test")], "x", valid, By::Another, false),
        ("R-9110-4.3.4-3", "a.test", vec![dns("a.test")], "x", valid, By::Itself, false),
        ("R-9110-4.3.5-1", "127.0.0.1", vec![ip([127, 0, 0, 1])], "x", valid, By::Trusted, true),
        ("R-9110-4.3.5-1", "127.0.0.1", vec![ip([127, 0, 0, 2])], "x", valid, By::Trusted, false),
        ("R-9110-4.3.5-1", "127.0.0.1", vec![dns("127.0.0.1")], "x", valid, By::Trusted, false),
        ("R-9110-4.3.5-1", "127.0.0.1", vec![], "127.0.0.1", valid, By::Trusted, false),
        ("R-9525-6-1", "b.a.test", vec![dns("*.a.test")], "x", valid, By::Trusted, true),
        ("R-9525-6-1", "a.test", vec![dns("*.a.test")], "x", valid, By::Trusted, false),
        ("R-9525-6-1", "c.b.a.test", vec![dns("*.a.test")], "x", valid, By::Trusted, false),
        ("R-9525-6-1", "foo.a.test", vec![dns("f*o.a.test")], "x", valid, By::Trusted, false),
        ("R-9525-6-1", "foo.a.test", vec![dns("f*.a.test")], "x", valid, By::Trusted, false),
        ("R-9525-6-1", "c.b.a.test", vec![dns("*.*.a.test")], "x", valid, By::Trusted, false),
        ("R-9525-6-1", "b.a.test", vec![dns("b.*.test")], "x", valid, By::Trusted, false),
        ("R-9525-6-1", "127.0.0.1", vec![dns("*.0.0.1")], "x", valid, By::Trusted, false),
    ] {
        let issued = Issued { names: names.clone(), common_name, years, by };
        let config = issued.config(&trusted, &another);
        let server = Server::start_tls_by(config, |peer| {
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
            }
            Ok(())
        });
        let client = Client::builder().add_root_certificate(root.clone()).resolve(host, server.address());
        let client = client.build().unwrap();
        let sent = within(20, client.get(format!("https://{host}/")).send()).await;
        let what = format!("{rules} A-49 A-50: {host} by a certificate for {names:?}, called {common_name}");
        assert_eq!(sent.is_ok(), is_taken, "{what}: {sent:?}");
        if let Err(error) = sent {
            assert_eq!((error.kind(), error.request_written()), (ErrorKind::Tls, Written::Nothing), "{what}");
            assert!(server.seen().is_empty(), "{what}");
        }
    }
}

/// A response without a length ends with the connection only if the server sends a close_notify. A response with a length or
/// in chunks is complete without a close_notify.
#[tokio::test]
async fn an_end_is_trusted_only_where_tls_says_so() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello";
    for (rules, answer, says_goodbye, expected) in [
        ("R-9112-9.8-1", length, false, Ok("hello")),
        ("R-9112-9.8-1", chunked, false, Ok("hello")),
        ("R-9112-9.8-1 R-9112-8-4", &length[..length.len() - 1], false, Err(ErrorKind::ConnectionLost)),
        ("R-9112-9.8-2 R-9112-8-4", until_close, true, Ok("hello")),
        ("R-9112-9.8-2 R-9112-8-4", until_close, false, Err(ErrorKind::ConnectionLost)),
    ] {
        let server = Server::start_tls(move |peer| {
            peer.request()?;
            peer.send(answer)?;
            if says_goodbye {
                peer.notify()?;
            }
            peer.fin()?;
            peer.stall()
        });
        let client = client(&server);
        let response = within(20, client.get(server.url("/")).send()).await.unwrap();
        let text = within(20, response.text()).await.map_err(|error| error.kind());
        assert_eq!(text.as_deref().map_err(|kind| *kind), expected, "{rules} A-51: {answer:?}");
    }
}

/// The client accepts no plaintext response to an `https` request.
#[tokio::test]
async fn plaintext_is_never_a_response() {
    let plain = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let switching = Server::start_tls(move |peer| {
        peer.request()?;
        peer.send_in_the_clear(plain)?;
        peer.stall()
    });
    let client = client(&switching);
    let error = within(20, client.get(switching.url("/")).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "R-9110-4.2.2-1 A-52: {error:?}");
    // If the TLS handshake fails, the client writes no byte of the request.
    let server = Server::start(move |peer| {
        let first = peer.take(1)?;
        assert_eq!(first, [HANDSHAKE], "R-9110-4.2.2-1");
        peer.send(plain)?;
        peer.stall()
    });
    let error = within(20, client.get(format!("https://{}/", server.address())).send()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.request_written()),
        (ErrorKind::Tls, Written::Nothing),
        "R-9110-4.2.2-1 A-52"
    );
}

/// The client sends a close_notify before the end of the connection, whatever the reason for the close.
#[tokio::test]
async fn a_close_begins_with_a_close_notify() {
    for (path, why) in [
        ("/idle", "the idle connection expired"),
        ("/close", "the server said close"),
        ("/drop", "the response was dropped"),
    ] {
        let ended = Signal::new();
        let tell = ended.clone();
        let server = Server::start_tls(move |peer| {
            while let Some(request) = peer.request()? {
                match &*request.target {
                    "/close" => {
                        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")?
                    }
                    "/drop" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")?,
                    _ => peer.respond("ok")?,
                }
            }
            // `peer.request` returns an error if the client ends the connection without a close_notify.
            tell.raise();
            Ok(())
        });
        let root = Certificate::from_pem(server.authority()).unwrap();
        let builder = Client::builder().add_root_certificate(root).idle_timeout(Duration::from_millis(20));
        let client = builder.build().unwrap();
        let response = within(20, client.get(server.url(path)).send()).await.unwrap();
        if path == "/drop" {
            drop(response);
        } else {
            assert_eq!(response.text().await.unwrap(), "ok");
        }
        tokio::time::timeout(PATIENCE, ended.raised())
            .await
            .unwrap_or_else(|_| panic!("R-9112-9.8-3 R-9112-9.5-1: {why}"));
        until("the connection is counted as closed", || client.pool().stats().total.closed_total() == 1)
            .await;
    }
}
