//! Tables of the rules of single request fields: the lines that are added to a head, and the heads that are refused.
//!
//! The name or the message of each test cites the requirement. Invariant: a refused head writes nothing, and an
//! accepted field is written once.

use bytes::BytesMut;
use http::HeaderValue;

use super::super::{CloseReason, Limits, Machine, Target};
use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for &(name, value) in fields {
        map.append(name, HeaderValue::from_static(value));
    }
    map
}

/// Returns the lines that are written after the Host line, without the empty line.
fn encode(
    method: &Method,
    fields: &[(&'static str, &'static str)],
    body: BodyLength,
    close: bool,
    trailers: &[(&'static str, &'static str)],
) -> Result<(String, Machine), Misuse> {
    let (headers, trailers) = (headers(fields), headers(trailers));
    let mut request = RequestHead::new(method, Target::Origin("/"), Some(b"h"), &headers);
    if *method == Method::CONNECT {
        request.target = Target::Authority("h:1");
    }
    (request.body, request.close, request.trailers) = (body, close, Some(&trailers));
    let (mut machine, mut dst) = (Machine::new(Limits::default()), BytesMut::new());
    if let Err(misuse) = machine.encode_head(&request, &mut dst) {
        assert!(dst.is_empty() && !machine.is_head_sent(), "a refusal leaves no trace: {fields:?}");
        let text = misuse.to_string();
        assert!(text.starts_with(['a', 't']) && !text.ends_with('.'), "{text}");
        return Err(misuse);
    }
    let head = String::from_utf8(dst.to_vec()).unwrap();
    let (_, rest) = head.split_once("\r\nhost: h\r\n").unwrap();
    Ok((rest.strip_suffix("\r\n").unwrap().to_owned(), machine))
}

/// Encodes a GET request with these fields. Returns the written lines, or the misuse.
fn get(fields: &[(&'static str, &'static str)]) -> Result<String, Misuse> {
    encode(&Method::GET, fields, BodyLength::None, false, &[]).map(|(head, _)| head)
}

#[test]
fn connection_specific_fields_are_named_in_connection_r_9110_7_6_1_1() {
    for (fields, close, added) in [
        (&[][..], false, ""),
        (&[], true, "connection: close\r\n"),
        (&[("x", "y")], true, "connection: close\r\n"),
        (&[("te", "trailers")], false, "connection: te\r\n"),
        (&[("te", "trailers")], true, "connection: te, close\r\n"),
        (&[("te", "trailers"), ("te", "Trailers , trailers")], false, "connection: te\r\n"),
        (&[("upgrade", "a/1"), ("te", "trailers")], false, "connection: te, upgrade\r\n"),
        (&[("upgrade", "h2c"), ("http2-settings", "AA")], false, "connection: upgrade, http2-settings\r\n"),
        (&[("keep-alive", "timeout=5")], false, "connection: keep-alive\r\n"),
        // Options that the caller named are not named a second time.
        (&[("connection", "TE"), ("te", "trailers")], false, ""),
        (&[("connection", "Upgrade"), ("upgrade", "a")], false, ""),
        (
            &[("connection", "x, TE"), ("connection", "upgrade"), ("te", "trailers"), ("upgrade", "a")],
            false,
            "",
        ),
        (&[("connection", "te"), ("te", "trailers"), ("upgrade", "a")], false, "connection: upgrade\r\n"),
        (&[("connection", "x , Close")], true, ""),
        (&[("connection", "x")], true, "connection: close\r\n"),
        (&[("connection", "keep-alive")], false, ""),
        (&[("connection", "proxy-authorization, x-hop")], false, ""),
        // Other names with the length of these names are not mistaken for these fields.
        (
            &[
                ("dn", "a b"),
                ("from", "a b"),
                ("cookie", "a b"),
                ("referer", "a b"),
                ("user-agent", "a b"),
                ("accept-charset", "a b"),
                ("content-language", "a b"),
                ("if-modified-since", "a b"),
            ],
            false,
            "",
        ),
    ] {
        let (head, machine) = encode(&Method::GET, fields, BodyLength::None, close, &[]).unwrap();
        let map = headers(fields);
        let own = map.iter().fold(String::new(), |own, (name, value)| {
            own + &format!("{name}: {}\r\n", value.to_str().unwrap())
        });
        assert_eq!(head, own + added, "R-9110-7.6.1-1, R-9112-7.4-2, R-9110-7.8-1: {fields:?}");
        let says_close = head.to_ascii_lowercase().contains("close");
        assert_eq!(machine.close_reasons().contains(CloseReason::OwnClose), says_close, "{fields:?}");
    }
}

#[test]
fn connection_options_are_checked_r_9110_7_6_1_2() {
    for value in [
        "",
        ",",
        "te,",
        ",te",
        "te,,close",
        "a b",
        "\"te\"",
        "te;q=1",
        "close, keep-alive",
        "Host",
        "content-length",
        "Content-Type",
        "content-encoding",
        "transfer-encoding",
        "cache-control",
        "authorization",
        "cookie",
        "date",
        "expect",
        "range",
        "accept",
        "Accept-Encoding",
        "if-match",
        "x, If-None-Match",
        "trailer",
        "user-agent",
    ] {
        assert_eq!(get(&[("connection", value)]), Err(Misuse::BadConnection), "R-9110-7.6.1-2: {value:?}");
    }
    for fields in [
        &[("connection", "close"), ("connection", "Keep-Alive")],
        &[("connection", "close"), ("keep-alive", "max=5")],
    ] {
        assert_eq!(get(fields), Err(Misuse::BadConnection), "{fields:?}");
    }
    // In each row, a header contradicts another header or the request's own `close`.
    for (fields, expected) in [
        (&[("connection", "keep-alive")][..], Misuse::CloseContradicted),
        (&[("connection", "x, Keep-Alive")], Misuse::CloseContradicted),
        (&[("keep-alive", "timeout=5")], Misuse::CloseContradicted),
        (&[("connection", "close, keep-alive")], Misuse::BadConnection),
        (&[("connection", "close"), ("keep-alive", "max=5")], Misuse::BadConnection),
    ] {
        let closing = encode(&Method::GET, fields, BodyLength::None, true, &[]);
        assert_eq!(closing.err(), Some(expected), "both parts of the head count: {fields:?}");
    }
    assert_eq!(get(&[("proxy-connection", "keep-alive")]), Err(Misuse::ProxyConnection), "RFC 9112, C.2.2");
}

#[test]
fn values_end_no_line_and_are_not_padded_r_9112_2_2_r_9110_5_5() {
    use Misuse::{BadHeaderValue, PaddedHeaderValue};
    for (value, expected) in [
        (&b""[..], Ok(())),
        (b"a \t b", Ok(())),
        (b"\xe9\xff", Ok(())),
        (b"a\rb", Err(BadHeaderValue)),
        (b"a\nb", Err(BadHeaderValue)),
        (b"a\0b", Err(BadHeaderValue)),
        (b"a\r\nX: b", Err(BadHeaderValue)),
        (b"\r\n\r\n", Err(BadHeaderValue)),
        (b"\n", Err(BadHeaderValue)),
        (b" a\n", Err(BadHeaderValue)),
        (b" a", Err(PaddedHeaderValue)),
        (b"\ta", Err(PaddedHeaderValue)),
        (b"a ", Err(PaddedHeaderValue)),
        (b"a\t", Err(PaddedHeaderValue)),
        (b" ", Err(PaddedHeaderValue)),
    ] {
        assert_eq!(check_value(value), expected, "{:?}", String::from_utf8_lossy(value));
    }
}

#[test]
fn te_says_trailers_or_nothing_r_9112_7_4_1() {
    for value in
        ["chunked", "trailers, chunked", "gzip", "trailers;q=0.5", "deflate;q=0.5", "", "trailers,", "*"]
    {
        assert_eq!(get(&[("te", value)]), Err(Misuse::BadTe), "R-9112-7.4-1, R-9110-10.1.4-1: {value:?}");
    }
}

#[test]
fn upgrade_is_a_list_of_protocols_r_9110_7_8() {
    for value in ["a", "foo/1", "HTTP/2.0, SHTTP/1.3, IRC/6.9, RTA/x11", "a ,b/1"] {
        let head = format!("upgrade: {value}\r\nconnection: upgrade\r\n");
        assert_eq!(get(&[("upgrade", value)]), Ok(head), "{value:?}");
    }
    for value in ["", ",", "a,", ",a", "a,,b", "a/", "/1", "a/1/2", "a b", "a/1 2", "a;b", "\"a\""] {
        assert_eq!(get(&[("upgrade", value)]), Err(Misuse::BadUpgrade), "{value:?}");
    }
}

#[test]
fn expectations_need_something_to_continue_with_r_9110_10_1_1_1() {
    use BodyLength::{Chunked, Known, None};
    let expect = ("expect", "100-continue");
    for (fields, body, expected) in [
        (&[expect][..], Known(1), Ok(())),
        (&[("expect", "100-Continue")], Chunked, Ok(())),
        (&[expect, ("content-length", "3")], Chunked, Ok(())),
        (&[expect], None, Err(Misuse::ExpectWithoutBody)),
        (&[expect], Known(0), Err(Misuse::ExpectWithoutBody)),
        (&[expect, ("content-length", "0")], Chunked, Err(Misuse::ExpectWithoutBody)),
        (&[expect, ("transfer-encoding", "chunked")], None, Err(Misuse::ExpectWithoutBody)),
        (&[expect, ("transfer-encoding", "chunked")], Known(0), Err(Misuse::ExpectWithoutBody)),
        (&[expect, ("transfer-encoding", "chunked")], Known(1), Ok(())),
        (&[expect, ("transfer-encoding", "chunked")], Chunked, Ok(())),
        (&[expect, expect], Known(1), Err(Misuse::BadExpect)),
        (&[("expect", "100-continue, 100-continue")], Known(1), Err(Misuse::BadExpect)),
        (&[("expect", "x")], Known(1), Err(Misuse::BadExpect)),
        (&[("expect", "")], Known(1), Err(Misuse::BadExpect)),
    ] {
        let encoded = encode(&Method::PUT, fields, body, false, &[]);
        assert_eq!(encoded.map(|(_, machine)| assert!(machine.expects_continue())), expected, "{fields:?}");
    }
    assert!(!encode(&Method::PUT, &[], Known(1), false, &[]).unwrap().1.expects_continue());
    for body in [None, Known(0)] {
        let encoded = encode(&Method::PUT, &[expect], body, false, &[("x-a", "1")]);
        assert!(encoded.unwrap().1.expects_continue(), "there are trailers to go on with: {body:?}");
    }
}

#[test]
fn trailers_are_announced_and_make_the_body_chunked_r_9110_6_6_2_1() {
    use BodyLength::{Chunked, Known, None};
    const CHUNKED: &str = "transfer-encoding: chunked\r\n";
    for (fields, body, trailers, expected) in [
        (&[][..], None, &[("x-a", "1")][..], Ok("trailer: x-a\r\n")),
        (&[], Known(5), &[("x-a", "1"), ("x-a", "2"), ("x-b", "1")], Ok("trailer: x-a, x-b\r\n")),
        (&[], Chunked, &[("etag", "\"x\"")], Ok("trailer: etag\r\n")),
        (
            &[("te", "trailers")],
            Chunked,
            &[("x-a", "1")],
            Ok("te: trailers\r\nconnection: te\r\ntrailer: x-a\r\n"),
        ),
        (&[("trailer", "X-A")], Chunked, &[("x-a", "1")], Ok("trailer: X-A\r\n")),
        (
            &[("trailer", "x-c ,x-a")],
            None,
            &[("x-a", "1"), ("x-b", "1")],
            Ok("trailer: x-c ,x-a\r\ntrailer: x-b\r\n"),
        ),
        (&[("trailer", "x-a")], Chunked, &[], Ok("trailer: x-a\r\n")),
        (&[("trailer", "x-a"), ("transfer-encoding", "chunked")], Known(7), &[], Ok("trailer: x-a\r\n")),
        (&[("trailer", "x-a")], None, &[], Err(Misuse::TrailersWithoutChunked)),
        (&[("trailer", "x-a")], Known(3), &[], Err(Misuse::TrailersWithoutChunked)),
        (&[("trailer", "x-a"), ("content-length", "3")], Chunked, &[], Err(Misuse::TrailersWithoutChunked)),
        (&[("content-length", "3")], Known(3), &[("x-a", "1")], Err(Misuse::TrailersWithoutChunked)),
        (&[("trailer", "")], Chunked, &[], Err(Misuse::BadTrailer)),
        (&[("trailer", "x-a,")], Chunked, &[], Err(Misuse::BadTrailer)),
        (&[("trailer", "x a")], Chunked, &[], Err(Misuse::BadTrailer)),
        (&[("trailer", "x-a, Content-Length")], Chunked, &[], Err(Misuse::BadTrailer)),
        (&[], Chunked, &[("x-a", "1"), ("authorization", "x")], Err(Misuse::BadTrailer)),
        (&[], Known(1), &[("set-cookie", "x")], Err(Misuse::BadTrailer)),
    ] {
        let encoded = encode(&Method::PUT, fields, body, false, trailers);
        let encoded = encoded.map(|(head, machine)| {
            assert_eq!((machine.is_send_done(), machine.upload_remaining()), (false, Option::None));
            head
        });
        let expected = expected.map(|lines| lines.to_owned() + CHUNKED);
        assert_eq!(encoded, expected, "R-9110-6.6.2-1, R-9110-6.5.1-1: {fields:?} {trailers:?}");
    }
    for method in [Method::TRACE, Method::CONNECT] {
        let encoded = encode(&method, &[], None, false, &[("x-a", "1")]);
        assert_eq!(encoded.err(), Some(Misuse::BodyNotAllowed), "{method}");
    }
}

#[test]
fn one_line_where_one_is_allowed_r_9110_5_3_1() {
    for name in [
        "access-control-request-method",
        "authorization",
        "content-disposition",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "etag",
        "from",
        "http2-settings",
        "if-modified-since",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "max-forwards",
        "origin",
        "proxy-authorization",
        "range",
        "referer",
        "sec-websocket-key",
        "user-agent",
    ] {
        let mut map = headers(&[("x", "1"), ("x", "2")]);
        let check = |map: &HeaderMap| {
            let request = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), map);
            Machine::new(Limits::default()).encode_head(&request, &mut BytesMut::new())
        };
        map.append(name, HeaderValue::from_static("a"));
        assert_eq!(check(&map), Ok(()), "{name}");
        map.append(name, HeaderValue::from_static("a"));
        assert_eq!(check(&map), Err(Misuse::SeveralFields), "R-9110-5.3-1, RFC 6265, 5.4: {name}");
    }
    for name in ["accept", "set-cookie", "x-any", "via"] {
        assert!(get(&[(name, "a"), (name, "b")]).is_ok(), "{name}");
    }
}

#[test]
fn trace_sends_no_secrets_r_9110_9_3_8_1_and_options_names_its_type_r_9110_9_3_7_1() {
    use BodyLength::{Chunked, Known, None};
    for (method, fields, body, expected) in [
        (Method::TRACE, &[("authorization", "x")][..], None, Err(Misuse::SensitiveTrace)),
        (Method::TRACE, &[("proxy-authorization", "x")], None, Err(Misuse::SensitiveTrace)),
        (Method::TRACE, &[("x", "y"), ("cookie", "x")], None, Err(Misuse::SensitiveTrace)),
        (Method::TRACE, &[("x", "y")], None, Ok(())),
        (Method::GET, &[("authorization", "x"), ("cookie", "x")], None, Ok(())),
        (Method::OPTIONS, &[], Known(1), Err(Misuse::NoContentType)),
        (Method::OPTIONS, &[], Chunked, Err(Misuse::NoContentType)),
        (Method::OPTIONS, &[("content-type", "a/b")], Known(1), Ok(())),
        (Method::OPTIONS, &[], Known(0), Ok(())),
        (Method::OPTIONS, &[], None, Ok(())),
        (Method::POST, &[], Known(1), Ok(())),
    ] {
        assert_eq!(encode(&method, fields, body, false, &[]).map(|_| ()), expected, "{method} {fields:?}");
    }
}
