//! Tables of request heads and uploads: the bytes that are written, and the heads that are refused.
//!
//! The rules of single fields are in `fields_tests`. Invariant: a refused head changes neither the buffer nor the
//! machine.

use http::{HeaderMap, HeaderValue, Method, Uri};

use super::super::{CloseReason, Limits, Machine, Target};
use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for &(name, value) in fields {
        map.append(name, HeaderValue::from_static(value));
    }
    map
}

#[test]
fn request_heads() {
    use BodyLength::{Chunked, Known, None};
    for (method, target, fields, body, expected) in [
        ("GET", Target::Origin("/a?b"), &[][..], None, "GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("GET", Target::Origin(""), &[], None, "GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("get", Target::Origin("?q"), &[], None, "get /?q HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("GET", Target::Origin("/"), &[("host", "x:1")], None, "GET / HTTP/1.1\r\nhost: x:1\r\n\r\n"),
        (
            "GET",
            Target::Origin("/"),
            &[("x-b", "1"), ("accept", "a"), ("x-b", "2")],
            None,
            "GET / HTTP/1.1\r\nhost: h\r\nx-b: 1\r\nx-b: 2\r\naccept: a\r\n\r\n",
        ),
        ("OPTIONS", Target::Asterisk, &[], None, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            "CONNECT",
            Target::Authority("[::1]:443"),
            &[],
            None,
            "CONNECT [::1]:443 HTTP/1.1\r\nhost: h\r\n\r\n",
        ),
        ("POST", Target::Origin("/"), &[], None, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"),
        ("QUERY", Target::Origin("/"), &[], None, "QUERY / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"),
        ("DELETE", Target::Origin("/"), &[], None, "DELETE / HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            "PUT",
            Target::Origin("/"),
            &[],
            Known(10),
            "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n",
        ),
        (
            "PUT",
            Target::Origin("/"),
            &[],
            Known(u64::MAX),
            "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 18446744073709551615\r\n\r\n",
        ),
        ("TRACE", Target::Origin("/"), &[], Known(0), "TRACE / HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("CONNECT", Target::Authority("h:1"), &[], Known(0), "CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            "CONNECT",
            Target::Authority("h:1"),
            &[("content-length", "0")],
            None,
            "CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n",
        ),
        (
            "CONNECT",
            Target::Authority("h:1"),
            &[("content-length", "0")],
            Known(0),
            "CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n",
        ),
        (
            "TRACE",
            Target::Origin("/"),
            &[("content-length", "0")],
            None,
            "TRACE / HTTP/1.1\r\nhost: h\r\n\r\n",
        ),
        (
            "DELETE",
            Target::Origin("/"),
            &[],
            Known(0),
            "DELETE / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "PUT",
            Target::Origin("/"),
            &[],
            Chunked,
            "PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        // At most one of the caller's framing fields is written.
        (
            "PUT",
            Target::Origin("/"),
            &[("content-length", "7"), ("x", "y")],
            Known(7),
            "PUT / HTTP/1.1\r\nhost: h\r\nx: y\r\ncontent-length: 7\r\n\r\n",
        ),
        (
            "PUT",
            Target::Origin("/"),
            &[("content-length", "7"), ("content-length", "7")],
            Chunked,
            "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\n",
        ),
        (
            "GET",
            Target::Origin("/"),
            &[("content-length", "0")],
            None,
            "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "PUT",
            Target::Origin("/"),
            &[("transfer-encoding", "Chunked")],
            Known(7),
            "PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
    ] {
        let (mut machine, mut dst) = (Machine::new(Limits::default()), BytesMut::new());
        let (method, headers) = (Method::from_bytes(method.as_bytes()).unwrap(), headers(fields));
        let mut request = RequestHead::new(&method, target, Some(b"h"), &headers);
        request.body = body;
        machine.encode_head(&request, &mut dst).unwrap();
        assert_eq!(dst, expected);
        assert_eq!(machine.encode_head(&request, &mut dst), Err(Misuse::HeadAlreadySent));
        assert_eq!(dst, expected);
    }
    let none = HeaderMap::new();
    let uri: Uri = "http://user:pass@h:80?q".parse().unwrap();
    for (method, target, expected) in [
        (Method::GET, Target::Absolute(&uri), "GET http://h:80/?q HTTP/1.1\r\nhost: h\r\n\r\n"),
        (Method::OPTIONS, Target::AbsoluteAsterisk(&uri), "OPTIONS http://h:80 HTTP/1.1\r\nhost: h\r\n\r\n"),
    ] {
        let mut dst = BytesMut::new();
        let request = RequestHead::new(&method, target, Some(b"h"), &none);
        Machine::new(Limits::default()).encode_head(&request, &mut dst).unwrap();
        assert_eq!(dst, expected);
    }
}

#[test]
fn refused_request_heads_write_nothing() {
    use BodyLength::{Chunked, Known, None};
    let relative: Uri = "/a".parse().unwrap();
    let whole: Uri = "http://h/a".parse().unwrap();
    for (method, target, host, fields, body, expected) in [
        (Method::GET, Target::Origin("/a b"), "h", &[][..], None, Misuse::BadTarget),
        (Method::GET, Target::Origin("/a\r\nX: y"), "h", &[], None, Misuse::BadTarget),
        (Method::GET, Target::Origin("/\u{e9}"), "h", &[], None, Misuse::BadTarget),
        (Method::GET, Target::Origin("/\x7f"), "h", &[], None, Misuse::BadTarget),
        (Method::GET, Target::Origin("/a#b"), "h", &[], None, Misuse::BadTarget),
        (Method::GET, Target::Origin("a"), "h", &[], None, Misuse::BadTarget),
        (Method::GET, Target::Absolute(&relative), "h", &[], None, Misuse::BadTarget),
        (Method::GET, Target::Asterisk, "h", &[], None, Misuse::TargetForm),
        (Method::GET, Target::AbsoluteAsterisk(&whole), "h", &[], None, Misuse::TargetForm),
        (Method::GET, Target::Authority("h:1"), "h", &[], None, Misuse::TargetForm),
        (Method::CONNECT, Target::Origin("/"), "h", &[], None, Misuse::TargetForm),
        (Method::CONNECT, Target::Authority("h"), "h", &[], None, Misuse::BadTarget),
        (Method::CONNECT, Target::Authority("h:"), "h", &[], None, Misuse::BadTarget),
        (Method::CONNECT, Target::Authority("u@h:1"), "h", &[], None, Misuse::BadTarget),
        (Method::GET, Target::Origin("/"), "h\r\nX: y", &[], None, Misuse::BadHost),
        (Method::GET, Target::Origin("/"), "u@h", &[], None, Misuse::BadHost),
        (Method::GET, Target::Origin("/"), "[::g]", &[], None, Misuse::BadHost),
        (Method::GET, Target::Origin("/"), "[12]", &[], None, Misuse::BadHost),
        (Method::GET, Target::Origin("/"), "h", &[("host", "")], None, Misuse::BadHost),
        (Method::GET, Target::Origin("/"), "h", &[("x", " a")], None, Misuse::PaddedHeaderValue),
        (Method::GET, Target::Origin("/"), "h", &[("x", "a\t")], None, Misuse::PaddedHeaderValue),
        (Method::CONNECT, Target::Authority("h:1"), "h:1", &[("host", "g:1")], None, Misuse::HostMismatch),
        (Method::GET, Target::Absolute(&whole), "h", &[("host", "g")], None, Misuse::HostMismatch),
        (Method::GET, Target::Origin("/"), "h", &[("host", "h/x")], None, Misuse::BadHost),
        (Method::GET, Target::Origin("/"), "h", &[("host", "h"), ("host", "h")], None, Misuse::SeveralHosts),
        (
            Method::PUT,
            Target::Origin("/"),
            "h",
            &[("content-length", "8")],
            Known(7),
            Misuse::ContentLengthMismatch,
        ),
        (
            Method::GET,
            Target::Origin("/"),
            "h",
            &[("content-length", "8")],
            None,
            Misuse::ContentLengthMismatch,
        ),
        (
            Method::PUT,
            Target::Origin("/"),
            "h",
            &[("content-length", "7"), ("content-length", "8")],
            Chunked,
            Misuse::ContentLengthMismatch,
        ),
        (
            Method::PUT,
            Target::Origin("/"),
            "h",
            &[("content-length", "+7")],
            Known(7),
            Misuse::BadContentLength,
        ),
        (
            Method::PUT,
            Target::Origin("/"),
            "h",
            &[("content-length", "7, 7")],
            Known(7),
            Misuse::BadContentLength,
        ),
        (
            Method::PUT,
            Target::Origin("/"),
            "h",
            &[("transfer-encoding", "gzip")],
            Chunked,
            Misuse::BadTransferEncoding,
        ),
        (
            Method::PUT,
            Target::Origin("/"),
            "h",
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            Chunked,
            Misuse::BadTransferEncoding,
        ),
        (
            Method::PUT,
            Target::Origin("/"),
            "h",
            &[("transfer-encoding", "chunked"), ("content-length", "7")],
            Known(7),
            Misuse::LengthWithTransferEncoding,
        ),
        (Method::TRACE, Target::Origin("/"), "h", &[], Known(1), Misuse::BodyNotAllowed),
        (Method::TRACE, Target::Origin("/"), "h", &[], Chunked, Misuse::BodyNotAllowed),
        (Method::CONNECT, Target::Authority("h:1"), "h", &[], Known(1), Misuse::BodyNotAllowed),
    ] {
        let (mut machine, mut dst, headers) =
            (Machine::new(Limits::default()), BytesMut::new(), headers(fields));
        let mut request = RequestHead::new(&method, target, Some(host.as_bytes()), &headers);
        request.body = body;
        let rules = "R-9112-3.2.2-2 R-9110-5.6.3-1";
        assert_eq!(machine.encode_head(&request, &mut dst), Err(expected), "{rules}: {request:?}");
        assert!(dst.is_empty() && !machine.is_head_sent());
    }
    let none = HeaderMap::new();
    let request = RequestHead::new(&Method::GET, Target::Origin("/"), Option::None, &none);
    assert_eq!(
        Machine::new(Limits::default()).encode_head(&request, &mut BytesMut::new()),
        Err(Misuse::NoHost)
    );
}

#[test]
fn room_for_a_head_is_reserved_once() {
    let uri: Uri = "http://user@example.test:80/path?query".parse().unwrap();
    let hop = headers(&[("te", "trailers"), ("upgrade", "foo/1, bar"), ("x-a", "1"), ("x-a", "")]);
    let (none, trailers) = (HeaderMap::new(), headers(&[("x-sum", "1"), ("x-sum", "2"), ("etag", "\"\"")]));
    // Two bytes are reserved for each of the last three lines of the head, even if a line is not written.
    for (target, headers, body, close, trailers, spare) in [
        (Target::Absolute(&uri), &hop, BodyLength::None, true, Some(&trailers), 0),
        (Target::Absolute(&uri), &hop, BodyLength::Known(1_234_567), false, None, 2),
        (Target::Origin("/a"), &none, BodyLength::Chunked, false, None, 4),
        (Target::Origin(""), &none, BodyLength::None, false, None, 6),
    ] {
        let mut request = RequestHead::new(&Method::GET, target, Some(b"example.test:80"), headers);
        (request.body, request.close, request.trailers) = (body, close, trailers);
        let mut dst = BytesMut::new();
        Machine::new(Limits::default()).encode_head(&request, &mut dst).unwrap();
        assert_eq!(dst.capacity(), dst.len() + spare, "{dst:?}");
    }
}

#[test]
fn uploads() {
    let none = HeaderMap::new();
    let sending = |body| {
        let (mut machine, mut dst) = (Machine::new(Limits::default()), BytesMut::new());
        let mut request = RequestHead::new(&Method::PUT, Target::Origin("/"), Some(b"h"), &none);
        request.body = body;
        assert_eq!(machine.encode_data(1, &mut dst), Err(Misuse::HeadNotSent));
        assert_eq!(machine.encode_end(None, &mut dst), Err(Misuse::HeadNotSent));
        machine.encode_head(&request, &mut dst).unwrap();
        dst.clear();
        (machine, dst)
    };

    let (mut machine, mut dst) = sending(BodyLength::Known(5));
    assert_eq!(machine.encode_data(6, &mut dst), Err(Misuse::MoreThanPromised));
    assert_eq!(machine.encode_data(0, &mut dst), Ok(&b""[..]));
    assert_eq!(machine.encode_data(3, &mut dst), Ok(&b""[..]));
    assert_eq!(machine.upload_remaining(), Some(2));
    assert_eq!(machine.encode_end(None, &mut dst), Err(Misuse::FewerThanPromised { missing: 2 }));
    assert!(machine.is_send_aborted() && machine.close_reasons().contains(CloseReason::UploadAborted));
    assert_eq!(machine.encode_data(1, &mut dst), Err(Misuse::SendAborted));

    let (mut machine, mut dst) = sending(BodyLength::Known(5));
    machine.encode_data(5, &mut dst).unwrap();
    assert!(machine.is_send_done());
    assert_eq!(machine.encode_data(1, &mut dst), Err(Misuse::MoreThanPromised));
    machine.encode_end(None, &mut dst).unwrap();
    machine.abort_send();
    assert!(dst.is_empty() && machine.is_send_done() && machine.close_reasons().is_empty());
    let trailers = headers(&[("x", "y")]);
    assert_eq!(machine.encode_end(Some(&trailers), &mut dst), Err(Misuse::TrailersWithoutChunked));

    let (mut machine, mut dst) = sending(BodyLength::Chunked);
    assert_eq!(machine.encode_data(0, &mut dst), Ok(&b""[..]));
    assert_eq!(machine.encode_data(0x1a, &mut dst), Ok(&b"\r\n"[..]));
    let forbidden = headers(&[("content-length", "1")]);
    assert_eq!(machine.encode_end(Some(&forbidden), &mut dst), Err(Misuse::BadTrailer));
    machine.encode_end(Some(&trailers), &mut dst).unwrap();
    machine.encode_end(None, &mut dst).unwrap();
    assert_eq!(dst, "1a\r\n0\r\nx: y\r\n\r\n");
    assert!(machine.is_send_done());

    let (machine, _) = sending(BodyLength::None);
    assert!(machine.is_send_done());
}

#[test]
fn a_close_of_the_request_closes_the_connection() {
    for (value, expected) in [("close", true), ("TE, Close", true), ("keep-alive", false), ("closed", false)]
    {
        let (mut machine, headers) = (Machine::new(Limits::default()), headers(&[("connection", value)]));
        let request = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), &headers);
        machine.encode_head(&request, &mut BytesMut::new()).unwrap();
        assert_eq!(machine.close_reasons().contains(CloseReason::OwnClose), expected, "{value}");
    }
}
