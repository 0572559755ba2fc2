//! values that a caller takes from elsewhere, for example from an attacker, and passes
//! to the client.
//!
//! The client either refuses such a value before it writes a byte, or sends one request that a strict reader
//! understands.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use handclasp::codec::{Limits, Machine, Misuse, RequestHead, Target};
use handclasp::{Body, Client, ErrorKind, RequestBuilder, RequestTarget, Written};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::assert_gone;
use super::meter::Tally;
use super::strict::{Parsed, Recorder, is_token};
use super::support::{Server, Uncoded, within};

/// A client, and a server that receives all requests of the client, whatever host the URL names.
struct Stage {
    recorder: Recorder,
    tally: Tally,
    client: Client,
}

impl Stage {
    fn new() -> Self {
        let tally = Tally::default();
        let client = tally.client().no_user_agent().uncoded().build().unwrap();
        Self { recorder: Recorder::start(), tally, client }
    }

    fn port(&self) -> u16 {
        self.recorder.server.address().port()
    }

    fn url(&self, path: &str) -> String {
        self.recorder.server.url(path)
    }

    /// Sends the request, and returns the request that the server read. Returns `None` if the client refused the
    /// request and wrote no byte.
    #[track_caller]
    fn send(&self, request: RequestBuilder) -> impl Future<Output = Option<Parsed>> {
        let place = std::panic::Location::caller();
        async move {
            let (heard, written) = (self.recorder.count(), self.tally.written());
            match within(20, request.send()).await {
                Ok(response) => {
                    let status = response.status();
                    within(20, response.bytes()).await.unwrap();
                    assert_eq!(self.recorder.count(), heard + 1, "{place}: one request");
                    match self.recorder.last() {
                        Ok(parsed) => Some(parsed),
                        Err(what) => panic!("{place}: {status}, {what}"),
                    }
                }
                Err(error) => {
                    let is_refused = matches!(error.kind(), ErrorKind::Request | ErrorKind::Body);
                    assert!(is_refused && error.request_written() == Written::Nothing, "{place}: {error:?}");
                    assert_eq!(
                        (self.recorder.count(), self.tally.written()),
                        (heard, written),
                        "{place}: refused"
                    );
                    None
                }
            }
        }
    }
}

/// A method is a token. `http::Method` accepts tokens only, and the client sends a method unchanged.
#[tokio::test]
async fn a_21_methods() {
    let stage = Stage::new();
    for byte in 0..=255 {
        let method = [b'G', byte, b'T'];
        let Ok(parsed) = Method::from_bytes(&method) else {
            assert!(!is_token(&method), "{byte:#04x} is part of a token");
            continue;
        };
        let heard = stage.send(stage.client.request(parsed, stage.url("/"))).await.unwrap();
        assert_eq!(heard.method.as_bytes(), method);
    }
    for attack in [
        "GET / HTTP/1.1\r\nx: y\r\n\r\nGET",
        "GET /x HTTP/1.1\r\n",
        "",
        " GET",
        "GET ",
        "GET\t/",
        "G\u{c4}T",
        "GET\0",
    ] {
        assert!(Method::from_bytes(attack.as_bytes()).is_err(), "{attack:?}");
        assert!(http::Request::builder().method(attack).uri(stage.url("/")).body(()).is_err(), "{attack:?}");
    }
    assert_eq!(stage.recorder.server.connections(), 1);
}

/// Returns one request for each type in which a caller can give a URL that contains `text`.
fn ways(stage: &Stage, before: &str, text: &str, after: &str) -> Vec<RequestBuilder> {
    let url = stage.url(&format!("{before}{text}{after}"));
    let mut ways = vec![stage.client.get(&url)];
    ways.extend(Uri::try_from(url.as_bytes()).ok().map(|uri| stage.client.get(uri)));
    ways.extend(http::Request::get(&url).body(()).ok().map(|request| stage.client.get(request.uri())));
    #[cfg(feature = "url")]
    ways.extend(url::Url::parse(&url).ok().map(|url| stage.client.get(url)));
    ways
}

/// The client percent-encodes, drops or refuses each character of a URL that has no place in a request target. It
/// never sends such a character raw.
#[tokio::test]
async fn a_22_paths_and_queries() {
    let stage = Stage::new();
    for char in (0..=255).map(char::from).chain(['\u{10a}', '\u{560a}', '\u{2028}', '\u{ff0d}', '\u{212a}']) {
        for (before, after) in
            [("/a", "b"), ("/?a", "b"), ("/a", "b HTTP/1.1\r\nx: y\r\n\r\nGET /"), ("/", ""), ("/a?", "")]
        {
            for request in ways(&stage, before, &char.to_string(), after) {
                if let Some(heard) = stage.send(request).await {
                    assert_eq!((&*heard.method, heard.fields.len()), ("GET", 1), "{char:?}: {heard:?}");
                    assert!(heard.target.starts_with('/'));
                }
            }
        }
        #[cfg(feature = "query")]
        {
            let request = stage.client.get(stage.url("/")).query(&[(format!("n{char}"), format!("v{char}"))]);
            let heard = stage.send(request).await.expect("a query is always encoded");
            assert_eq!(heard.target.matches(['&', '=', '?']).count(), 2, "{char:?}: {}", heard.target);
        }
    }
    #[cfg(feature = "url")]
    for (path, target) in [
        ("/a b", "/a%20b"),
        ("/a\r\nx: y", "/ax:%20y"),
        ("/a\0b", "/a%00b"),
        ("/a\x7fb", "/a%7Fb"),
        ("/\u{e4}?\u{e4}", "/%C3%A4?%C3%A4"),
        ("/\u{10a}", "/%C4%8A"),
        ("/a%0d%0ab", "/a%0d%0ab"),
        ("/a#\r\nb", "/a"),
        ("//evil.test/", "//evil.test/"),
        ("", "/"),
        ("?a", "/?a"),
    ] {
        let heard = stage.send(stage.client.get(stage.url(path))).await.unwrap();
        assert_eq!(heard.target, target, "{path:?}");
    }
    // The codec refuses characters that `http::Uri` accepts.
    let raw = Uri::try_from(stage.url("/\u{e4}").as_bytes());
    if let Ok(raw) = raw {
        assert_eq!(stage.send(stage.client.get(raw)).await, None);
    }
    assert_eq!(stage.recorder.server.connections(), 1);
}

/// A field name is a token, and the client sends the name in lower case.
#[tokio::test]
async fn a_23_header_names() {
    let stage = Stage::new();
    for byte in 0..=255 {
        let name = [b'X', byte, b'y'];
        let heard = stage.send(stage.client.get(stage.url("/")).header(&name[..], "v")).await;
        assert_eq!(heard.is_some(), is_token(&name), "{byte:#04x}");
        if let Some(heard) = heard {
            let lower = String::from_utf8(name.to_ascii_lowercase()).unwrap();
            assert_eq!(heard.values(&lower), [b"v"]);
        }
    }
    for attack in ["", "x: y\r\nz", "x:", ":x", "x y", "x\r\n", "content-length: 0\r\nx", "\u{212a}"] {
        assert_eq!(
            stage.send(stage.client.get(stage.url("/")).header(attack, "v")).await,
            None,
            "{attack:?}"
        );
    }
}

/// The library owns the framing fields. If the caller sets such a field twice or in another case, the client writes
/// it once or refuses the request. The strict reader counts the fields.
#[tokio::test]
async fn a_23_duplicates_of_framing_fields() {
    let stage = Stage::new();
    for (fields, is_sent) in [
        (&[("Host", "a.test"), ("host", "a.test")][..], false),
        (&[("Host", "a.test"), ("HOST", "b.test")], false),
        (&[("HOST", "a.test")], true),
        (&[("Content-Length", "5"), ("CONTENT-LENGTH", "5")], true),
        (&[("Content-Length", "5"), ("content-length", "6")], false),
        (&[("Transfer-Encoding", "chunked"), ("TRANSFER-ENCODING", "chunked")], false),
        (&[("Transfer-Encoding", "chunked"), ("content-length", "5")], false),
        (&[("Connection", "close"), ("CONNECTION", "close")], true),
        (&[("Connection", "close"), ("connection", "keep-alive")], false),
    ] {
        let mut request = stage.client.post(stage.url("/")).body("hello");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let heard = stage.send(request).await;
        assert_eq!(heard.is_some(), is_sent, "{fields:?}: {heard:?}");
        assert!(heard.is_none_or(|heard| heard.body == b"hello"));
    }
}

/// Returns one request for each way in which text becomes a field value.
fn valued(stage: &Stage, value: &[u8]) -> Vec<RequestBuilder> {
    let get = || stage.client.get(stage.url("/"));
    let mut ways = vec![get().header("x-v", value)];
    if let Ok(text) = str::from_utf8(value) {
        ways.push(get().header("x-v", text));
        ways.push(get().bearer_auth(text));
    }
    ways
}

/// The client refuses CR, LF, NUL and other control characters anywhere in a value. Tab, space and obs-text arrive
/// unchanged.
#[tokio::test]
async fn a_24_header_values() {
    let stage = Stage::new();
    for byte in 0..=255 {
        let is_good = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        for value in [vec![b'a', byte, b'b'], vec![b'a', byte, byte, b'x', b':', b'y']] {
            for (index, request) in valued(&stage, &value).into_iter().enumerate() {
                let heard = stage.send(request).await;
                assert_eq!(heard.is_some(), is_good, "{byte:#04x}: {heard:?}");
                let Some(heard) = heard else { continue };
                let bearer = [b"Bearer ", &value[..]].concat();
                let (name, expected) = if index == 2 { ("authorization", &bearer) } else { ("x-v", &value) };
                assert_eq!(heard.values(name), [&expected[..]], "the value is never cut short");
                assert_eq!(heard.fields.len(), 2);
            }
        }
        let agent = Client::builder().user_agent(&[b'a', byte, b'b'][..]).build();
        assert_eq!(agent.is_ok(), is_good, "{byte:#04x}");
        assert_eq!(
            HeaderValue::from_bytes(&[b'a', byte, b'b']).is_ok(),
            is_good,
            "a value of default_headers"
        );
    }
    for attack in [
        "a\r\nx: y",
        "a\nx: y",
        "a\rx: y",
        "a\r\n x: y",
        "a\n\tx: y",
        "a\0",
        "\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        for request in valued(&stage, attack.as_bytes()) {
            assert_eq!(stage.send(request).await, None, "{attack:?}");
        }
    }
    // U+010A becomes LF in software that drops its upper byte. The client sends both bytes of its UTF-8 form as
    // obs-text.
    let heard =
        stage.send(stage.client.get(stage.url("/")).header("x-v", "\u{10a}".as_bytes())).await.unwrap();
    assert_eq!(heard.values("x-v"), [b"\xc4\x8a"]);
}

/// The client refuses a value with whitespace at its ends, because a recipient would remove the whitespace and read
/// another value.
#[tokio::test]
async fn a_24_whitespace_around_a_value_is_refused() {
    let stage = Stage::new();
    for value in [" a", "a ", "\ta", "a\t", " "] {
        assert_eq!(
            stage.send(stage.client.get(stage.url("/")).header("x-v", value)).await,
            None,
            "{value:?}"
        );
    }
}

/// A host comes as text, as `http::Uri`, or as a Host field. The request names only the host to which the client
/// connects, and a strict reader accepts the name of the host. The client sends the user and the password of a URL only
/// as one value of Basic, in which no character of the user or the password can end a line.
#[tokio::test]
async fn a_25_hosts_and_userinfo() {
    let stage = Stage::new();
    let (port, mut basics) = (stage.port(), 0);
    for char in (0..=255).map(char::from).chain(['\u{10a}', '\u{560a}', '\u{2024}', '\u{ff0f}', '\u{ff20}']) {
        for authority in [
            format!("a{char}b.test:{port}"),
            format!("{char}a.test:{port}"),
            format!("a.test{char}:{port}"),
            format!("secret{char}:secret{char}@h.test:{port}"),
            format!("secret{char}@h.test:{port}"),
            format!("h.test:{port}{char}"),
        ] {
            let url = format!("http://{authority}/");
            let mut ways = vec![stage.client.get(&url)];
            ways.extend(Uri::try_from(url.as_bytes()).ok().map(|uri| stage.client.get(uri)));
            for request in ways {
                // Some characters end the authority before the port. The request would go to another server.
                let built = request.try_clone().and_then(|request| request.build().ok());
                if built.is_some_and(|built| built.uri().port_u16() != Some(port)) {
                    continue;
                }
                for target in [RequestTarget::Origin, RequestTarget::Absolute] {
                    let Some(request) = request.try_clone() else { continue };
                    let Some(heard) = stage.send(request.target(target)).await else { continue };
                    let credentials = heard.values("authorization");
                    let count = (heard.fields.len(), credentials.len());
                    assert!(
                        &*heard.method == "GET" && [(1, 0), (2, 1)].contains(&count),
                        "{url:?}: {heard:?}"
                    );
                    for value in credentials {
                        let coded = value.strip_prefix(b"Basic ").unwrap();
                        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
                        assert!(url.contains('@') && coded.iter().all(is_base64), "{url:?}: {heard:?}");
                        basics += 1;
                    }
                    let raw = heard.raw.escape_ascii().to_string();
                    assert!(!raw.contains("secret") || !url.contains('@'), "{url:?}: {raw}");
                }
            }
        }
        for value in [format!("a{char}b"), format!("a{char}"), format!("{char}a"), format!("a{char}:1")] {
            // The test `a_25_colons_and_brackets_in_hosts` covers these characters.
            if [':', '[', ']'].contains(&char) {
                continue;
            }
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
            let given = value.clone();
            if let Some(heard) = stage.send(stage.client.get(stage.url("/")).header("host", value)).await {
                assert_eq!(heard.values("host"), [given.as_bytes()]);
            }
        }
    }
    assert!(basics > 100, "{basics} requests with a user");
    for attack in ["evil.test\r\nx: y", "a, b", "a b", "a/b", "a@b", "a#b", "a\\b", " ", "a\"b"] {
        let request = stage.client.get(stage.url("/")).header("host", attack);
        assert_eq!(stage.send(request).await, None, "{attack:?}");
    }
}

/// The client refuses an empty host, a colon without a port after it, and brackets that do not surround an address.
#[tokio::test]
async fn a_25_colons_and_brackets_in_hosts() {
    let stage = Stage::new();
    let headers = HeaderMap::new();
    let mut sent = Vec::new();
    for host in ["", "a:b", "a:b:1", "a:!1", "[", "]", "a]b", "[a", "a[::1]", "[::1]a", "[::1", "[x]", ":80"]
    {
        let request = stage.client.get(stage.url("/")).header("host", host).send();
        if within(20, request).await.is_ok() {
            sent.push(format!("host: {host}"));
        }
        let (mut machine, mut out) = (Machine::new(Limits::default()), BytesMut::new());
        let target = format!("{host}:443");
        let head = RequestHead::new(&Method::CONNECT, Target::Authority(&target), Some(b"h:443"), &headers);
        if machine.encode_head(&head, &mut out).is_ok() {
            sent.push(format!("CONNECT {target}"));
        }
    }
    assert!(sent.is_empty(), "{sent:?}");
}

/// The client sends the target of a CONNECT, or another form of target, only in a form that a strict reader accepts.
#[tokio::test]
async fn a_25_targets_of_tunnels() {
    let stage = Stage::new();
    // Colons and brackets are left out, because they have tests of their own.
    for char in (0..=255).map(char::from).filter(|char| ![':', '[', ']'].contains(char)) {
        for authority in
            [format!("a{char}b:443"), format!("a:4{char}3"), format!("{char}a:443"), format!("a:443{char}")]
        {
            let request = stage.client.request(Method::CONNECT, stage.url("/"));
            if let Some(heard) = stage.send(request.target(RequestTarget::Authority(authority.clone()))).await
            {
                assert_eq!((&*heard.method, &heard.target), ("CONNECT", &authority));
                assert_eq!(heard.values("host"), [authority.as_bytes()]);
            }
        }
    }
    let authority = || RequestTarget::Authority("a:443".into());
    for (method, target, is_sent) in [
        (Method::GET, authority(), false),
        (Method::CONNECT, RequestTarget::Origin, false),
        (Method::CONNECT, RequestTarget::Absolute, false),
        (Method::CONNECT, RequestTarget::Asterisk, false),
        (Method::GET, RequestTarget::Asterisk, false),
        (Method::OPTIONS, RequestTarget::Asterisk, true),
        (Method::OPTIONS, RequestTarget::Absolute, true),
        (Method::CONNECT, authority(), true),
    ] {
        let request = stage.client.request(method.clone(), stage.url("/")).target(target.clone());
        assert_eq!(stage.send(request).await.is_some(), is_sent, "{method} {target:?}");
    }
    for body in [Body::from("x"), Pieces::body(&["x"])] {
        let request = stage.client.request(Method::CONNECT, stage.url("/")).target(authority()).body(body);
        assert_eq!(stage.send(request).await, None, "the client sent bytes before the tunnel began");
    }
}

/// The codec writes a CONNECT only if its target is a host and a port. Otherwise it writes nothing.
#[test]
fn a_25_connect_targets() {
    let headers = HeaderMap::new();
    // Colons and brackets are left out, because they have tests of their own.
    for byte in (0..=127u8).filter(|byte| !b":[]".contains(byte)) {
        for target in [
            format!("a{}b:443", byte as char),
            format!("a:4{}3", byte as char),
            format!("{}a:443", byte as char),
        ] {
            let (mut machine, mut out) = (Machine::new(Limits::default()), BytesMut::new());
            let head =
                RequestHead::new(&Method::CONNECT, Target::Authority(&target), Some(b"h:443"), &headers);
            match machine.encode_head(&head, &mut out) {
                Ok(()) => assert!(super::strict::parse(&out).is_ok(), "{target:?}: {out:?}"),
                Err(misuse) => assert_eq!((misuse, &out[..]), (Misuse::BadTarget, &b""[..]), "{target:?}"),
            }
        }
    }
    for target in [
        "a:443\r\nx: y",
        "a:443 HTTP/1.1\r\n\r\n",
        "a@b:443",
        "a/b:443",
        "a",
        "a:",
        ":443",
        "a:x",
        "\u{e4}:443",
        "",
    ] {
        let (mut machine, mut out) = (Machine::new(Limits::default()), BytesMut::new());
        let head = RequestHead::new(&Method::CONNECT, Target::Authority(target), Some(b"h:443"), &headers);
        assert_eq!(machine.encode_head(&head, &mut out), Err(Misuse::BadTarget), "{target:?}");
        assert!(out.is_empty());
    }
}

/// The client begins no TLS handshake with a server name that is invalid in TLS, and sends nothing.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_25_server_names() {
    let server = Server::start_tls(|peer| {
        while peer.request()?.is_some() {
            peer.respond("heard")?;
        }
        Ok(())
    });
    let authority = handclasp::Certificate::from_pem(server.authority()).unwrap();
    for host in [
        "a!b.test",
        "a_b.test",
        "a%00b.test",
        "-a.test",
        "a..test",
        "a*b.test",
        "a,b.test",
        "localhost\u{2024}x",
    ] {
        let client =
            Client::builder().add_root_certificate(authority.clone()).resolve(host, server.address());
        let client = client.build().unwrap();
        let Ok(uri) = Uri::try_from(format!("https://{host}:{}/", server.address().port())) else { continue };
        let error = within(20, client.get(uri).send()).await.unwrap_err();
        assert_eq!(error.request_written(), Written::Nothing, "{host}: {}", error.chain());
        assert!(
            matches!(error.kind(), ErrorKind::Request | ErrorKind::Tls | ErrorKind::Dns),
            "{host}: {error:?}"
        );
    }
    assert!(server.seen().is_empty());
}

/// A stream whose pieces are all ready when it is polled.
struct Pieces(Vec<&'static str>);

impl Pieces {
    fn body(pieces: &[&'static str]) -> Body {
        Body::from_stream(Self(pieces.iter().rev().copied().collect()))
    }
}

impl futures_core::Stream for Pieces {
    type Item = io::Result<&'static str>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

/// A stream brings more or less content than the announced length. The client sends no byte beyond the length, fails
/// the request, and closes the connection, so that the server does not take later bytes for the missing content.
#[tokio::test]
async fn a_72_upload_that_lies_about_its_length() {
    for (length, pieces) in [
        ("7", &["hello", " world"][..]),
        ("5", &["hello", "x"]),
        ("5", &["hello, world"]),
        ("0", &["x"]),
        ("12", &["hello"]),
        ("1", &[]),
        ("18446744073709551615", &["hello"]),
    ] {
        let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let heard = Arc::clone(&bodies);
        let server = Server::start(move |peer| {
            let Some(index) = peer.request_head()? else { return Ok(()) };
            if peer.seen(index).target == "/next" {
                return peer.respond("next");
            }
            let mut body = Vec::new();
            while let Ok(byte) = peer.take(1) {
                body.extend(byte);
            }
            heard.lock().unwrap().push(body);
            Ok(())
        });
        let client = Client::builder().response_timeout(Duration::from_secs(1)).build().unwrap();
        let request =
            client.post(server.url("/")).header("content-length", length).body(Pieces::body(pieces));
        let error = within(20, request.send()).await.expect_err("the announced length is wrong");
        assert_eq!(error.kind(), ErrorKind::Body, "{length}, {pieces:?}: {}", error.chain());
        // The connection stays idle if the client finds the wrong length before it has written a byte.
        let is_untouched =
            error.request_written() == Written::Nothing && client.pool().stats().total.idle == 1;
        if !is_untouched {
            assert_gone(&client, 1);
        }
        let next = within(20, client.get(server.url("/next")).send()).await.unwrap();
        assert_eq!(next.connection().is_reused(), is_untouched);
        assert_eq!(within(20, next.text()).await.unwrap(), "next");
        // The drop joins the server's threads, so that all bodies are recorded.
        drop(server);
        let promised: u64 = length.parse().unwrap();
        for body in bodies.lock().unwrap().iter() {
            assert!(body.len() as u64 <= promised, "{} bytes of {promised}", body.len());
            assert!(pieces.concat().as_bytes().starts_with(body), "{body:?}");
        }
    }
}

/// A body whose size hint is wrong.
struct Hinted {
    hint: u64,
    pieces: Vec<&'static str>,
}

impl http_body::Body for Hinted {
    type Data = bytes::Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<bytes::Bytes>>>> {
        let piece = if self.pieces.is_empty() { None } else { Some(self.pieces.remove(0)) };
        Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.hint)
    }
}

#[tokio::test]
async fn a_72_body_whose_size_hint_lies() {
    for (hint, pieces) in [
        (7, &["hello", " world"][..]),
        (5, &["hello", "x"]),
        (5, &["hello", "", "x"]),
        (0, &["x"]),
        (12, &["hello"]),
        (u64::MAX, &["hello"]),
    ] {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let heard = Arc::clone(&bytes);
        let server = Server::start(move |peer| {
            while let Ok(byte) = peer.take(1) {
                heard.lock().unwrap().extend(byte);
            }
            Ok(())
        });
        let client = Client::builder().response_timeout(Duration::from_secs(1)).build().unwrap();
        let body = Body::wrap(Hinted { hint, pieces: pieces.to_vec() });
        let error = within(20, client.post(server.url("/")).body(body).send())
            .await
            .expect_err("the announced length is wrong");
        assert_eq!(error.kind(), ErrorKind::Body, "{hint}, {pieces:?}: {}", error.chain());
        let is_untouched =
            error.request_written() == Written::Nothing && client.pool().stats().total.idle == 1;
        if !is_untouched {
            assert_gone(&client, 1);
        }
        drop(client);
        drop(server);
        let bytes = bytes.lock().unwrap();
        assert!(!is_untouched || bytes.is_empty());
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = &bytes[head + 4..];
            assert!(body.len() as u64 <= hint && pieces.concat().as_bytes().starts_with(body), "{body:?}");
        }
    }
}

/// A stream brings surplus content after the announced content was sent. The request fails, and the client closes the
/// connection.
#[tokio::test]
async fn a_72_surplus_that_comes_late() {
    let promised = super::support::Signal::new();
    let arrived = promised.clone();
    let server = Server::start(move |peer| {
        let Some(index) = peer.request_head()? else { return Ok(()) };
        peer.request_body(index)?;
        arrived.raise();
        assert!(peer.take(1).is_err(), "a byte more than the announced length was sent");
        Ok(())
    });
    let client = Client::builder().response_timeout(Duration::from_secs(5)).build().unwrap();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    sender.send("hello").unwrap();
    let body = Body::from_stream(Late(receiver));
    let request = client.post(server.url("/")).header("content-length", "5").body(body).send();
    let request = tokio::spawn(request);
    within(20, promised.raised()).await;
    sender.send("x").unwrap();
    let error = within(20, request).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Body, Written::All), "{}", error.chain());
    assert_gone(&client, 1);
}

struct Late(tokio::sync::mpsc::UnboundedReceiver<&'static str>);

impl futures_core::Stream for Late {
    type Item = io::Result<&'static str>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}

/// The client refuses a wrong length of a body in memory before it sends a byte.
#[tokio::test]
async fn a_72_length_that_is_not_the_bodys() {
    let stage = Stage::new();
    for (length, body) in
        [("4", Body::from("hello")), ("6", "hello".into()), ("1", Body::empty()), ("1", "".into())]
    {
        let request = stage.client.post(stage.url("/")).header("content-length", length).body(body);
        assert_eq!(stage.send(request).await, None, "{length}");
    }
    for (length, pieces) in
        [("5", &["hello"][..]), ("11", &["hello", "", " world"]), ("0", &[]), ("0", &[""])]
    {
        let request =
            stage.client.post(stage.url("/")).header("content-length", length).body(Pieces::body(pieces));
        let heard = stage.send(request).await.unwrap();
        assert_eq!(heard.body, pieces.concat().as_bytes());
    }
}

/// Kind of the body of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    Whole,
    Stream,
}

/// Framing and connection fields of the caller are combined with each kind of body. The client sends one consistent
/// message with the given content, or returns an error before it sends a byte.
#[tokio::test]
async fn a_73_framing_and_connection_fields_of_the_callers() {
    use Kind::{None, Stream, Whole};
    let stage = Stage::new();
    let all = &[None, Whole, Stream][..];
    let some = &[Whole, Stream][..];
    for (fields, sent_with) in [
        (&[("content-length", "5")][..], some),
        (&[("content-length", "05")], some),
        (&[("content-length", "5"), ("content-length", "5")], some),
        (&[("content-length", "0")], &[None][..]),
        (&[("content-length", "+5")], &[]),
        (&[("content-length", "5, 5")], &[]),
        (&[("content-length", "5,6")], &[]),
        (&[("content-length", "")], &[]),
        (&[("content-length", "18446744073709551616")], &[]),
        (&[("transfer-encoding", "chunked")], all),
        (&[("transfer-encoding", "Chunked")], all),
        (&[("transfer-encoding", "gzip, chunked")], &[]),
        (&[("transfer-encoding", "chunked, chunked")], &[]),
        (&[("transfer-encoding", "identity")], &[]),
        (&[("transfer-encoding", "chunked;a=b")], &[]),
        (&[("transfer-encoding", "")], &[]),
        (&[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], &[]),
        (&[("content-length", "5"), ("transfer-encoding", "chunked")], &[]),
        (&[("transfer-encoding", "chunked"), ("content-length", "0")], &[]),
        (&[("connection", "close")], all),
        (&[("connection", "Keep-Alive")], all),
        (&[("connection", "close, keep-alive")], &[]),
        (&[("connection", "close, x-hop"), ("x-hop", "1")], all),
        (&[("connection", "content-length")], &[]),
        (&[("connection", "host, transfer-encoding")], &[]),
        (&[("connection", "a b")], &[]),
        (&[("proxy-connection", "keep-alive")], &[]),
        (&[("keep-alive", "timeout=5")], all),
        (&[("te", "trailers")], all),
        (&[("te", "trailers"), ("connection", "te")], all),
        (&[("te", "chunked")], &[]),
        (&[("te", "gzip;q=0.5")], &[]),
        (&[("trailer", "x-t")], &[Stream]),
        (&[("trailer", "x-t"), ("transfer-encoding", "chunked")], all),
        (&[("trailer", "content-length")], &[]),
        (&[("trailer", "x-t"), ("content-length", "5")], &[]),
        (&[("upgrade", "a/1, b")], all),
        (&[("upgrade", "a b")], &[]),
        (&[("expect", "100-continue")], some),
        (&[("expect", "100-continue"), ("expect", "100-continue")], &[]),
        (&[("expect", "200-ok")], &[]),
    ] {
        for kind in [None, Whole, Stream] {
            let mut request = stage.client.post(stage.url("/"));
            for (name, value) in fields {
                request = request.header(HeaderName::from_static(name), *value);
            }
            let (request, content) = match kind {
                None => (request, ""),
                Whole => (request.body("hello"), "hello"),
                Stream => (request.body(Pieces::body(&["he", "llo"])), "hello"),
            };
            let heard = stage.send(request).await;
            assert_eq!(heard.is_some(), sent_with.contains(&kind), "{fields:?} with {kind:?}: {heard:?}");
            let Some(heard) = heard else { continue };
            assert_eq!(heard.body, content.as_bytes(), "{fields:?} with {kind:?}");
            let says_close = heard.list("connection").iter().any(|option| option == "close");
            let is_kept = stage.client.pool().stats().total.idle == 1;
            assert_eq!(is_kept, !says_close, "{fields:?} with {kind:?}");
            for (name, value) in
                fields.iter().filter(|(name, _)| !["content-length", "transfer-encoding"].contains(name))
            {
                assert!(
                    heard.values(name).contains(&value.as_bytes()),
                    "{fields:?} with {kind:?}: {heard:?}"
                );
            }
        }
    }
}

/// The client refuses trailers that would change the message. The client announces other trailers, and sends these trailers
/// after the last chunk.
#[tokio::test]
async fn a_73_trailers_of_the_callers() {
    let stage = Stage::new();
    for (name, is_sent) in [
        ("x-checksum", true),
        ("content-length", false),
        ("transfer-encoding", false),
        ("host", false),
        ("connection", false),
        ("trailer", false),
        ("te", false),
        ("upgrade", false),
        ("expect", false),
        ("content-type", false),
        ("content-encoding", false),
        ("authorization", false),
        ("cookie", false),
    ] {
        for body in [Body::from("hello"), Pieces::body(&["he", "llo"]), Body::empty()] {
            let mut trailers = HeaderMap::new();
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            let heard =
                stage.send(stage.client.post(stage.url("/")).body(body.with_trailers(trailers))).await;
            assert_eq!(heard.is_some(), is_sent, "{name}: {heard:?}");
            let Some(heard) = heard else { continue };
            assert_eq!(heard.trailers, [(name.to_owned(), b"1".to_vec())]);
            assert_eq!(heard.list("trailer"), [name]);
        }
    }
}
