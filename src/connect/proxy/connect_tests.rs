//! Tests of CONNECT, byte by byte.

use super::*;
use crate::basic;

fn fields(user: &str, password: &str) -> HeaderMap {
    let value = basic::value(user.as_bytes(), password.as_bytes()).unwrap();
    HeaderMap::from_iter([(PROXY_AUTHORIZATION, value)])
}

/// Returns how CONNECT ends if the answer arrives in pieces of `piece` bytes.
fn talk(fields: &HeaderMap, answer: &[u8], piece: usize) -> Result<Next, Refusal> {
    let (mut connect, _) = Connect::new("a.test:443", fields, None)?;
    let (mut buf, mut pieces) = (BytesMut::new(), answer.chunks(piece));
    loop {
        match connect.receive(&mut buf)? {
            Next::Wait => match pieces.next() {
                Some(piece) => buf.extend_from_slice(piece),
                None => return Ok(Next::Wait),
            },
            // Bytes that come later than the head are early bytes too.
            Next::Open if pieces.next().is_some() => return Err(Refusal::EarlyBytes),
            next => return Ok(next),
        }
    }
}

/// Checks that the outcome is the same for every size of the pieces, and returns the outcome.
fn outcome(fields: &HeaderMap, answer: &str) -> Result<Next, Refusal> {
    let whole = talk(fields, answer.as_bytes(), answer.len().max(1));
    for piece in 1..answer.len() {
        assert_eq!(talk(fields, answer.as_bytes(), piece), whole, "{answer:?} in pieces of {piece}");
    }
    whole
}

#[test]
fn connect_names_the_destination_and_carries_the_credentials_of_the_proxy() {
    for authority in ["a.test:443", "[2001:db8::1]:443", "192.0.2.7:80"] {
        let (_, sent) = Connect::new(authority, &HeaderMap::new(), None).unwrap();
        let expected = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
    }
    let (_, sent) = Connect::new("a.test:443", &fields("Aladdin", "open sesame"), None).unwrap();
    let expected = "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\
                    proxy-authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    assert_eq!(String::from_utf8(sent).unwrap(), expected);
    for authority in ["a.test", "2001:db8::1:443", "a test:1", ""] {
        let refusal = Connect::new(authority, &HeaderMap::new(), None).unwrap_err();
        assert!(matches!(refusal, Refusal::Unsendable(_)), "{authority}: {refusal:?}");
    }
}

#[test]
fn a_tunnel_opens_after_any_2xx_and_only_if_nothing_follows() {
    let none = HeaderMap::new();
    for answer in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        // > A client MUST ignore any Content-Length or Transfer-Encoding header fields received in a successful response
        // > to CONNECT.
        // <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6>
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        assert_eq!(outcome(&none, answer), Ok(Next::Open), "{answer:?}");
        for early in ["x", "\r\n", "HTTP/1.1 200 OK\r\n\r\n", "\x16\x03\x03"] {
            let answer = format!("{answer}{early}");
            assert_eq!(outcome(&none, &answer), Err(Refusal::EarlyBytes), "A-56 {answer:?}");
        }
        for cut in 0..answer.len() {
            assert_eq!(outcome(&none, &answer[..cut]), Ok(Next::Wait), "{:?}", &answer[..cut]);
        }
    }
}

#[test]
fn every_other_answer_is_an_error_of_its_own() {
    let none = HeaderMap::new();
    for status in [300, 301, 302, 400, 403, 404, 405, 429, 500, 502, 503, 504, 600] {
        let answer =
            format!("HTTP/1.1 {status} No\r\nContent-Length: 9\r\nLocation: http://e/\r\n\r\nforbidden");
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(outcome(&none, &answer), Err(Refusal::Status(status)));
    }
    for (answer, error) in [
        ("\x05\x00", "NotHttp"),
        ("HTTP/2.0 200 OK\r\n\r\n", "UnsupportedVersion"),
        ("HTTP/1.1 abc\r\n\r\n", "BadStatusLine"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "BadFieldName"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "UnsolicitedUpgrade"),
    ] {
        let Err(Refusal::Http(refusal)) = outcome(&none, answer) else { panic!("{answer:?}") };
        assert_eq!(format!("{refusal:?}"), error, "{answer:?}");
    }
}

#[test]
fn a_head_without_an_end_is_bounded() {
    let line = format!("x: {}\r\n", "y".repeat(1_000));
    let (mut connect, _) = Connect::new("a.test:443", &HeaderMap::new(), None).unwrap();
    let mut buf = BytesMut::from("HTTP/1.1 200 OK\r\n");
    let mut sent = 0;
    let refusal = loop {
        match connect.receive(&mut buf) {
            Ok(Next::Wait) => buf.extend_from_slice(line.as_bytes()),
            Ok(next) => panic!("{next:?}"),
            Err(refusal) => break refusal,
        }
        sent += line.len();
        assert!(sent < 200_000, "the head has no limit");
    };
    assert!(matches!(refusal, Refusal::Http(_)), "{refusal:?}");
    let mut buf = BytesMut::new();
    let (mut connect, _) = Connect::new("a.test:443", &HeaderMap::new(), None).unwrap();
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000);
    buf.extend_from_slice(interim.as_bytes());
    assert!(matches!(connect.receive(&mut buf), Err(Refusal::Http(_))), "interim responses are bounded");
}

#[test]
fn a_59_a_407_names_what_the_proxy_accepts_and_no_secret() {
    for (lines, expected) in [
        ("", &[][..]),
        ("Proxy-Authenticate: Basic realm=\"a, Digest b\"\r\n", &["Basic"]),
        (
            "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n, NTLM\", qop = \"auth\" , Basic realm=x\r\n\
             Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate YII==, basic realm=y\r\n",
            &["Digest", "Basic", "NTLM", "Negotiate"],
        ),
        ("Proxy-Authenticate: Basic realm=\"no end, Digest realm=x\r\n", &["Basic"]),
        ("Proxy-Authenticate: Basic realm=\"\\\", Digest \", Bearer\r\n", &["Basic", "Bearer"]),
        ("Proxy-Authenticate: ,, =x, \"a\", ~\u{ff}, ~ x, Bad@Name x\r\n", &["~"]),
    ] {
        let answer =
            format!("HTTP/1.1 407 Proxy Authentication Required\r\n{lines}Content-Length: 2\r\n\r\nno");
        let answer: Vec<u8> = answer.chars().map(|char| char as u8).collect();
        for (fields, has_sent) in [(HeaderMap::new(), false), (fields("user", "secret"), true)] {
            let whole = talk(&fields, &answer, answer.len());
            let schemes: Vec<_> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(whole, Err(Refusal::Credentials { has_sent, schemes }), "A-59 {lines:?}");
            for piece in 1..answer.len() {
                assert_eq!(talk(&fields, &answer, piece), whole, "A-59 {lines:?} in pieces of {piece}");
            }
            let text = format!("{} {whole:?}", whole.as_ref().unwrap_err());
            assert!(!text.contains("secret") && !text.contains("dXNlcjpzZWNyZXQ"), "A-60 {text}");
        }
    }
    let many: Vec<_> =
        (0..20).map(|nth| HeaderValue::try_from(format!("S{nth} {}", "x".repeat(8_000))).unwrap()).collect();
    assert_eq!(schemes(&many).len(), 8, "A-59");
}
