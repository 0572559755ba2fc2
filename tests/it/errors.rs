//! Tests of errors: each failure has the right kind, phase and text, and leaves neither a connection nor a wrong count in
//! the pool.
//!
//! The expected texts are snapshots, so that every change of wording fails a test.

#![cfg(all(feature = "url", feature = "rustls"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::{Future, pending};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use crate::support::scripted::{Peers, Reply, Script};
use handclasp::ErrorKind::{Body as BadBody, *};
use handclasp::Written::{All, Nothing, Partly};
use handclasp::{
    Answer, Body, BoxError, Client, ClientBuilder, Error, ErrorKind, Family, Phase, RequestBuilder, Resolve,
    Response, Written,
};

const URL: &str = "http://a.test/";
const MS: Duration = Duration::from_millis(1);

/// Expected kind, phase, written part and text of a failure.
type Expected = (ErrorKind, Option<Phase>, Written, &'static str);

/// Differences from the expected errors, collected so that one run shows all of them.
#[derive(Default)]
struct Verdicts {
    wrong: Vec<String>,
    texts: Vec<String>,
}

impl Verdicts {
    fn judge(&mut self, name: &str, error: &Error, port: Option<u16>, expected: Expected) {
        let mut text = without_origin(name, error);
        if let Some(port) = port {
            text = text.replace(&format!(":{port}"), ":PORT");
        }
        let got = (error.kind(), error.phase(), error.request_written(), &*text);
        if got != expected {
            self.wrong.push(format!("{name}\n  is        {got:?}\n  should be {expected:?}"));
        }
        if text.contains('\n') || text.len() > 250 || self.texts.contains(&text) {
            self.wrong.push(format!("{name} is not one clear line of its own: {text}"));
        }
        self.texts.push(text);
    }

    fn end(self) {
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
        println!("{} failures", self.texts.len());
    }
}

/// Returns the text of an error and its causes after the method and the origin, which must stand there exactly once.
fn without_origin(name: &str, error: &Error) -> String {
    let text = error.chain().to_string();
    let origin = error.uri().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let Some((scheme, authority)) = origin else { return text };
    let (method, rest) =
        text.split_once(&format!(" {scheme}://{authority}: ")).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(["GET", "POST", "CONNECT"].contains(&method), "{name}: {text}");
    assert!(
        !rest.contains(authority.as_str()) || authority.port().is_none(),
        "{name} has its address twice: {text}"
    );
    rest.to_owned()
}

fn builder() -> ClientBuilder {
    Client::builder().max_connections_per_host(1)
}

async fn run(request: RequestBuilder) -> Result<bytes::Bytes, Error> {
    request.send().await?.bytes().await
}

/// Returns the error of a request, and fails if the request hangs.
async fn failure(name: &str, request: RequestBuilder) -> Error {
    let outcome = tokio::time::timeout(Duration::from_secs(30), run(request)).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("{name} hangs"));
    outcome.err().unwrap_or_else(|| panic!("{name} does not fail"))
}

async fn assert_nothing_left(client: &Client, name: &str) {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    if client.pool().stats().total.active > 0 {
        // The pool reads a small rest of a response for at most 100 ms.
        tokio::time::advance(Duration::from_millis(150)).await;
        tokio::task::yield_now().await;
    }
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.dialing, total.waiting), (0, 0, 0, 0), "{name}: {total}");
}

#[tokio::test]
async fn each_bad_request_has_its_error() {
    let mut verdicts = Verdicts::default();
    let client = builder().connector(|_| async { nothing_is_dialed() }).build().unwrap();
    let uri = |uri: &str| uri.parse::<http::Uri>().unwrap();
    for (name, request, text) in [
        (
            "unknown scheme",
            client.get("ftp://a.test/"),
            "the URL's scheme is \"ftp\": only http and https can be fetched",
        ),
        (
            "no scheme for a host",
            client.get("mailto:me"),
            "the URL's scheme is \"mailto\": only http and https can be fetched",
        ),
        ("no scheme", client.get("a.test/x"), "the URL has no scheme: give http:// or https://"),
        ("only a path", client.get(uri("/x")), "the URL has no scheme: give http:// or https://"),
        ("missing host", client.get("http://"), "the URL is invalid: empty host"),
        ("bad port", client.get("http://a.test:99999/"), "the URL is invalid: invalid port number"),
        (
            "port zero",
            client.get(uri("http://a.test:0/")),
            "the URL's port \"0\" is not a number from 1 to 65535",
        ),
        (
            "bad header name",
            client.get(URL).header("a b", "x"),
            "a header name is not a token (RFC 9110, section 5.1): invalid HTTP header name",
        ),
        (
            "bad header value",
            client.get(URL).header("x", "a\r\nb: c"),
            "a header value has a forbidden byte (RFC 9110, section 5.5): failed to parse header value",
        ),
        (
            "bad token",
            client.get(URL).bearer_auth("a\nb"),
            "the bearer token has a byte that a header value cannot have: remove control characters",
        ),
    ] {
        let error = failure(name, request).await;
        assert!(error.is_request());
        // A missing scheme has one text, whatever the form of the URL.
        verdicts.texts.retain(|text| !text.contains("no scheme"));
        verdicts.judge(name, &error, None, (Request, None, Nothing, text));
    }
    for (name, request, text) in [
        (
            "wrong length",
            client.post(URL).header("content-length", "3").body("four"),
            "the content-length header differs from the length of the body: leave the header out",
        ),
        (
            "length and chunked",
            client
                .post(URL)
                .header("content-length", "4")
                .header("transfer-encoding", "chunked")
                .body("four"),
            "the request has both content-length and transfer-encoding (RFC 9112, section 6.2): leave one of the two headers out",
        ),
        (
            "two hosts",
            client.get(URL).header("host", "a").header("host", "b"),
            "the request has several host headers (RFC 9112, section 3.2): send at most one host header",
        ),
        (
            "CONNECT with content",
            client.request(http::Method::CONNECT, URL).body("x"),
            "the request has a body, but CONNECT and TRACE cannot carry a body (RFC 9110, section 9.3): leave the body out",
        ),
    ] {
        let error = failure(name, request).await;
        verdicts.judge(name, &error, None, (Request, Some(Phase::Send), Nothing, text));
    }
    assert_nothing_left(&client, "bad requests").await;
    let error = Client::builder().max_connections(0).build().unwrap_err();
    let text = "the limit of connections is 0, which would let no request through: set at least 1";
    verdicts.judge("no connections", &error, None, (Request, None, Nothing, text));
    verdicts.end();
}

/// A resolver that returns the given answer, or never answers.
struct Told(Option<Result<Vec<IpAddr>, &'static str>>);

impl Resolve for Told {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        match self.0.clone() {
            None => Box::pin(pending()),
            Some(Ok(addresses)) => {
                Box::pin(async { Ok(Answer::new(addresses.into_iter().map(|address| (address, 0).into()))) })
            }
            Some(Err(error)) => Box::pin(async move { Err(error.into()) }),
        }
    }
}

#[tokio::test]
async fn each_failed_connection_has_its_error() {
    let mut verdicts = Verdicts::default();
    let bound = |address: &str| std::net::TcpListener::bind((address, 0)).unwrap();
    let closed = bound("127.0.0.1").local_addr().unwrap();
    let plain = bound("127.0.0.1");
    let mute = bound("127.0.0.1");
    let (plain_at, mute_at) = (plain.local_addr().unwrap(), mute.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in plain.incoming().map_while(Result::ok) {
            use std::io::{Read, Write};
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let secure = |at: SocketAddr| format!("https://{at}/");
    for (name, port, builder, url, expected) in [
        (
            "refused",
            closed.port(),
            builder(),
            format!("http://{closed}/"),
            (Connect, Some(Phase::Tcp), Nothing, "the client could not connect: connection refused"),
        ),
        (
            "unreachable",
            9,
            builder().connector(|_| async {
                Err::<tokio::net::TcpStream, _>(BoxError::from(std::io::Error::from(
                    std::io::ErrorKind::NetworkUnreachable,
                )))
            }),
            "http://far.test:9/".to_owned(),
            (Connect, Some(Phase::Tcp), Nothing, "the connector could not connect: network unreachable"),
        ),
        (
            "the local address is of another family",
            9,
            builder().local_address(IpAddr::from([127, 0, 0, 1])),
            "http://[::1]:9/".to_owned(),
            (
                Connect,
                Some(Phase::Tcp),
                Nothing,
                "the client could not connect: the local address 127.0.0.1 is not of this address family",
            ),
        ),
        (
            "name not found",
            80,
            builder().dns_resolver(Told(Some(Ok(Vec::new())))),
            "http://nowhere.test/".to_owned(),
            (Dns, Some(Phase::Dns), Nothing, "no such host: the name \"nowhere.test\" has no address"),
        ),
        (
            "resolver failed",
            80,
            builder().dns_resolver(Told(Some(Err("no name server")))),
            "http://somewhere.test/".to_owned(),
            (
                Dns,
                Some(Phase::Dns),
                Nothing,
                "the resolver could not look up the name \"somewhere.test\": no name server",
            ),
        ),
        (
            "dns timeout",
            80,
            builder().dns_resolver(Told(None)).dns_timeout(30 * MS),
            "http://slow.test/".to_owned(),
            (
                Timeout,
                Some(Phase::Dns),
                Nothing,
                "the resolver did not answer within 30ms for the name \"slow.test\" (dns_timeout)",
            ),
        ),
        (
            "connector failed",
            80,
            builder().connector(|_| async { Err::<tokio::net::TcpStream, _>("no line".into()) }),
            URL.to_owned(),
            (Connect, Some(Phase::Tcp), Nothing, "the connector could not connect: no line"),
        ),
        (
            "connect timeout",
            80,
            builder()
                .connector(|_| pending::<Result<tokio::net::TcpStream, BoxError>>())
                .connect_timeout(30 * MS),
            URL.to_owned(),
            (
                Timeout,
                Some(Phase::Tcp),
                Nothing,
                "the connector did not connect within 30ms (connect_timeout)",
            ),
        ),
        (
            "no TLS there",
            plain_at.port(),
            builder(),
            secure(plain_at),
            (
                Tls,
                Some(Phase::Tls),
                Nothing,
                "the server at \"127.0.0.1\" does not speak TLS on this port: received corrupt message of type InvalidContentType",
            ),
        ),
        (
            "tls timeout",
            mute_at.port(),
            builder().connect_timeout(200 * MS),
            secure(mute_at),
            (
                Timeout,
                Some(Phase::Tls),
                Nothing,
                "the TLS handshake did not end within 200ms of the start of the dial (connect_timeout)",
            ),
        ),
    ] {
        let builder = builder.add_root_certificate(authority("another").1);
        let client = builder.build().unwrap();
        let error = failure(name, client.get(url)).await;
        assert!(error.is_connect(), "{name}");
        verdicts.judge(name, &error, Some(port), expected);
        assert_nothing_left(&client, name).await;
        assert_eq!(client.pool().stats().total.failed_dials, 1, "{name}");
    }
    verdicts.end();
}

type Issuer = rcgen::CertifiedIssuer<'static, rcgen::KeyPair>;

fn authority(name: &str) -> (Issuer, handclasp::Certificate) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let root = handclasp::Certificate::from_pem(issuer.pem()).unwrap();
    (issuer, root)
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    use std::sync::Arc;

    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;

    let (issuer, root) = authority("one");
    let params = rcgen::CertificateParams::new(vec!["other.test".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // The request fails, as the test expects.
            let _ = acceptor.accept(tcp).await;
        }
    });
    let mut verdicts = Verdicts::default();
    for (name, client, text) in [
        (
            "name mismatch",
            builder().add_root_certificate(root),
            "the server's certificate is not valid for \"a.test\": it is for other.test",
        ),
        (
            "unknown authority",
            builder().add_root_certificate(authority("another").1),
            "the server's certificate for \"a.test\" is signed by an unknown authority: add its root certificate if you trust it",
        ),
    ] {
        let client = client.resolve("a.test", at).build().unwrap();
        let error = failure(name, client.get("https://a.test/")).await;
        assert!(error.is_tls() && error.is_connect());
        verdicts.judge(name, &error, None, (Tls, Some(Phase::Tls), Nothing, text));
        assert_nothing_left(&client, name).await;
    }
    verdicts.end();
}

/// Returns a script of eager connections in memory that reply with `replies`.
fn peer(replies: &[Reply]) -> Script {
    Script { is_eager: true, ..Script::new(&[replies]) }
}

#[tokio::test(start_paused = true)]
async fn each_bad_response_has_its_error() {
    let mut verdicts = Verdicts::default();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (name, reply, expected) in [
        (
            "garbage",
            Reply::raw(&["SSH-2.0-OpenSSH_9.6\r\n"]),
            (
                Protocol,
                Some(Phase::Wait),
                All,
                "the server sent bytes that are not an HTTP/1 response (RFC 9112, section 2.1)",
            ),
        ),
        (
            "HTTP/2",
            Reply::raw(&["HTTP/2 200\r\n\r\n"]),
            (
                Protocol,
                Some(Phase::Wait),
                All,
                "the server answered in another major version of HTTP (RFC 9112, section 2.3)",
            ),
        ),
        (
            "closed at once",
            Reply::silence().eof(),
            (
                ConnectionLost,
                Some(Phase::Wait),
                All,
                "the server closed the connection before the response head",
            ),
        ),
        (
            "reset at once",
            Reply::silence().reset(),
            (
                ConnectionLost,
                Some(Phase::Wait),
                All,
                "the connection broke before a response came: connection reset",
            ),
        ),
        (
            "closed in the head",
            Reply::raw(&["HTTP/1.1 200 OK\r\nconte"]).eof(),
            (
                ConnectionLost,
                Some(Phase::Wait),
                All,
                "the server closed the connection within the response head (RFC 9112, section 8)",
            ),
        ),
        (
            "body cut short",
            Reply::raw(&[head, "four"]).eof(),
            (
                ConnectionLost,
                Some(Phase::Receive),
                All,
                "the server closed the connection within the response body (RFC 9112, section 8): 5 bytes are missing",
            ),
        ),
        (
            "chunked body cut short",
            Reply::raw(&[chunked, "9\r\nfour"]).eof(),
            (
                ConnectionLost,
                Some(Phase::Receive),
                All,
                "the server closed the connection within the response body (RFC 9112, section 8)",
            ),
        ),
        (
            "body reset",
            Reply::raw(&[head, "four"]).reset(),
            (
                ConnectionLost,
                Some(Phase::Receive),
                All,
                "the connection broke before the response was complete: connection reset",
            ),
        ),
        (
            "bad chunk",
            Reply::raw(&[chunked, "nine\r\n"]),
            (
                Protocol,
                Some(Phase::Receive),
                All,
                "the server sent a chunk size that is not hexadecimal (RFC 9112, section 7.1)",
            ),
        ),
        (
            "smuggling",
            Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"]),
            (
                Protocol,
                Some(Phase::Wait),
                All,
                "the server sent content-length together with transfer-encoding (RFC 9112, section 6.3)",
            ),
        ),
        (
            "wait timeout",
            Reply::silence(),
            (
                Timeout,
                Some(Phase::Wait),
                All,
                "the server did not answer the request within 3s (response_timeout)",
            ),
        ),
        (
            "a head that does not end",
            Reply::raw(&["HTTP/1.1 200 OK\r\nx: y"]).split(1),
            (
                Timeout,
                Some(Phase::Wait),
                All,
                "the server did not answer the request within 3s (response_timeout)",
            ),
        ),
        (
            "receive timeout",
            Reply::raw(&[head, "four"]),
            (
                Timeout,
                Some(Phase::Receive),
                All,
                "the server sent nothing more of the response within 4s (read_timeout)",
            ),
        ),
    ] {
        let peers = Peers::new(peer(&[reply]));
        let client =
            builder().response_timeout(3000 * MS).read_timeout(4000 * MS).connector(peers.connector());
        let client = client.build().unwrap();
        let error = failure(name, client.get(URL)).await;
        if name == "a head that does not end" {
            verdicts.texts.pop_if(|text| text.contains("within 3s"));
        }
        verdicts.judge(name, &error, None, expected);
        assert_nothing_left(&client, name).await;
        assert_eq!((peers.made(), peers.live(), peers.closed()), (1, 0, 1), "{name}");
        assert_eq!(error.url().unwrap().as_str(), URL);
    }
    verdicts.end();
}

#[tokio::test(start_paused = true)]
async fn each_exceeded_limit_has_its_error() {
    let mut verdicts = Verdicts::default();
    let blocked = Script { accepts: 1000, ..peer(&[Reply::ok("")]) };
    let silent = peer(&[Reply::silence()]);
    let half = peer(&[Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four"])]);
    let long = peer(&[Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n", "four", "five!"])]);
    let total = |client: ClientBuilder| client.timeout(2000 * MS);
    type Make = fn(&Client) -> RequestBuilder;
    let get: Make = |client| client.get(URL);
    let post: Make = |client| client.post(URL).body(vec![b'x'; 100_000]);
    let broken: Make = |client| client.post(URL).body(Body::from_stream(Broken));
    let short: Make =
        |client| client.post(URL).header("content-length", "9").body(Body::from_stream(Once(Some("four"))));
    let too_long: Make =
        |client| client.post(URL).header("content-length", "3").body(Body::from_stream(Once(Some("four"))));
    for (name, client, script, request, expected) in [
        (
            "send timeout",
            builder().write_timeout(5000 * MS),
            &blocked,
            post,
            (
                Timeout,
                Some(Phase::Send),
                Partly,
                "the server took no bytes of the request within 5s (write_timeout)",
            ),
        ),
        (
            "total timeout while sending",
            total(builder()),
            &blocked,
            post,
            (Timeout, Some(Phase::Send), Partly, "the request did not complete within 2s (timeout)"),
        ),
        (
            "total timeout while waiting",
            total(builder()),
            &silent,
            get,
            (Timeout, Some(Phase::Wait), All, "the request did not complete within 2s (timeout)"),
        ),
        (
            "total timeout while receiving",
            total(builder()),
            &half,
            get,
            (Timeout, Some(Phase::Receive), All, "the request did not complete within 2s (timeout)"),
        ),
        (
            "too large",
            builder().max_collected_body(8),
            &long,
            get,
            (
                Decode,
                Some(Phase::Receive),
                All,
                "the content is larger than 8 bytes: read it in pieces, or raise max_collected_body",
            ),
        ),
        (
            "the caller's stream fails",
            builder(),
            &silent,
            broken,
            (
                BadBody,
                Some(Phase::Send),
                Nothing,
                "the request's body failed while it was being sent: no more pages",
            ),
        ),
        (
            "the caller's stream is short",
            builder(),
            &silent,
            short,
            (
                BadBody,
                Some(Phase::Send),
                Partly,
                "the request body ended 5 bytes before its promised length: promise the exact length, or no length",
            ),
        ),
        (
            "the caller's stream is long",
            builder(),
            &silent,
            too_long,
            (
                BadBody,
                Some(Phase::Send),
                Nothing,
                "the request body is longer than its promised length: promise the exact length, or no length",
            ),
        ),
    ] {
        let peers = Peers::new(script.clone());
        let client = client.connector(peers.connector()).build().unwrap();
        let error = failure(name, request(&client)).await;
        verdicts.texts.retain(|text| !text.contains("did not complete"));
        verdicts.judge(name, &error, None, expected);
        if error.request_written() == Nothing {
            // The connection is kept, because the failure does not concern the connection.
            assert_eq!((peers.live(), peers.closed(), client.pool().stats().total.idle), (1, 0, 1), "{name}");
        } else {
            assert_nothing_left(&client, name).await;
            assert_eq!((peers.live(), peers.closed()), (0, 1), "{name}");
        }
    }
    verdicts.end();
}

struct Broken;

impl futures_core::Stream for Broken {
    type Item = Result<bytes::Bytes, &'static str>;

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Err("no more pages")))
    }
}

struct Once(Option<&'static str>);

impl futures_core::Stream for Once {
    type Item = Result<&'static str, std::io::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// A request fails to get a connection while another response holds the only connection.
#[tokio::test(start_paused = true)]
async fn each_failed_wait_for_a_connection_has_its_error() {
    let mut verdicts = Verdicts::default();
    let script = peer(&[Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "four"])]);
    let peers = Peers::new(script);
    let make = || builder().max_waiters_per_host(1).acquire_timeout(3000 * MS).connector(peers.connector());
    for (name, client, request_timeouts, expected) in [
        (
            "acquire timeout",
            make(),
            (None, None),
            (
                PoolTimeout,
                Some(Phase::Queue),
                Nothing,
                "no connection became free within 3s: 1 active, 0 idle, 0 dialing, 1 waiting (1 active until the response is read to its end; or raise max_connections_per_host)",
            ),
        ),
        (
            "total timeout in the queue",
            make(),
            (Some(1000 * MS), None),
            (Timeout, Some(Phase::Queue), Nothing, "the request did not complete within 1s (timeout)"),
        ),
        (
            "connect timeout of the request",
            make(),
            (None, Some(2000 * MS)),
            (Timeout, Some(Phase::Queue), Nothing, "no connection was made within 2s (connect_timeout)"),
        ),
    ] {
        let client = client.build().unwrap();
        let holder: Response = client.get(URL).send().await.unwrap();
        let mut request = client.get(URL);
        if let Some(total) = request_timeouts.0 {
            request = request.timeout(total);
        }
        if let Some(connect) = request_timeouts.1 {
            request = request.connect_timeout(connect);
        }
        let waiting = tokio::spawn(run(request));
        tokio::task::yield_now().await;
        let full = failure("full", client.get(URL)).await;
        if name == "acquire timeout" {
            let text = "the queue for connections is full: 1 waiting (raise max_waiters_per_host)";
            verdicts.judge("full", &full, None, (PoolFull, Some(Phase::Queue), Nothing, text));
        }
        let error = waiting.await.unwrap().unwrap_err();
        verdicts.judge(name, &error, None, expected);
        let total = client.pool().stats().total;
        assert_eq!((total.active, total.waiting), (1, 0), "{name}: {total}");
        drop(holder);
        assert_nothing_left(&client, name).await;
    }
    verdicts.end();
}

/// A status is an error only if the caller asks for it with `error_for_status`. No error text contains credentials.
#[tokio::test(start_paused = true)]
async fn a_status_is_an_error_on_request_and_shows_no_secret() {
    let peers = Peers::new(peer(&[Reply::raw(&["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"])]));
    let client = builder().connector(peers.connector()).build().unwrap();
    let response = client.get("http://me:secret@a.test/x?y").send().await.unwrap();
    let error = response.error_for_status().unwrap_err();
    let mut verdicts = Verdicts::default();
    let text = "the server answered 404 Not Found";
    verdicts.judge("status", &error, None, (Status, None, All, text));
    assert!(!format!("{error:?}{error}").contains("secret"));
    verdicts.end();
}

fn nothing_is_dialed() -> Result<tokio::net::TcpStream, BoxError> {
    panic!("nothing is dialed for a bad request")
}
