//! Whole exchanges, in tables. Each response is fed whole, byte by byte, at every two-way split, and with a surplus.
//!
//! It knows nothing of how the codec works inside. Invariant: all these ways must come out the same, and the surplus must
//! stay in the buffer.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::*;

/// All that can be observed of a response.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    interim: Vec<u16>,
    head: Option<(u16, Version, Option<String>)>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    has_ended: bool,
    error: Option<ProtocolError>,
    reasons: Vec<CloseReason>,
    left: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Peer {
    Stays,
    Closes,
}

/// `UPGRADE` is a GET that offers protocols.
fn machine(method: &Method, limits: Limits) -> Machine {
    let mut machine = Machine::new(limits);
    if method.as_str() == "UPGRADE" {
        let mut headers = HeaderMap::new();
        headers.append("upgrade", HeaderValue::from_static("foo/1, Bar"));
        headers.append("upgrade", HeaderValue::from_static("baz/2"));
        let request = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), &headers);
        machine.encode_head(&request, &mut BytesMut::new()).unwrap();
        return machine;
    }
    let target = if *method == Method::CONNECT { Target::Authority("h:443") } else { Target::Origin("/") };
    let request = RequestHead::new(method, target, Some(b"h"), &EMPTY);
    machine.encode_head(&request, &mut BytesMut::new()).unwrap();
    machine
}

fn observe(method: &Method, limits: Limits, pieces: &[&[u8]], peer: Peer) -> Seen {
    let mut machine = machine(method, limits);
    let mut seen = Seen {
        interim: Vec::new(),
        head: None,
        headers: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
        has_ended: false,
        error: None,
        reasons: Vec::new(),
        left: Vec::new(),
    };
    let mut buf = BytesMut::new();
    'input: for (index, piece) in pieces.iter().chain([&&b""[..]]).enumerate() {
        buf.extend_from_slice(piece);
        loop {
            let is_eof = index == pieces.len() && peer == Peer::Closes;
            match if is_eof { machine.decode_eof(&mut buf) } else { machine.decode(&mut buf) } {
                Ok(Some(event)) => seen.take(event),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(machine.decode(&mut buf).unwrap_err(), error, "a broken machine stays broken");
                    assert!(matches!(machine.verdict(0), Verdict::Close(_)));
                    seen.error = Some(error);
                    buf.clear();
                    break 'input;
                }
            }
        }
    }
    assert_eq!(machine.is_receive_done(), seen.has_ended);
    assert_eq!(machine.is_head_received(), seen.head.is_some());
    seen.reasons = match machine.verdict(buf.len()) {
        Verdict::Reuse => Vec::new(),
        Verdict::Close(reasons) => reasons.iter().collect(),
        Verdict::Unfinished => {
            assert!(!seen.has_ended);
            Vec::new()
        }
    };
    seen.left = buf.to_vec();
    seen
}

impl Seen {
    fn take(&mut self, event: Event) {
        assert!(!self.has_ended, "nothing follows the end");
        match event {
            Event::Informational(head) => {
                check_raw(&head);
                self.interim.push(head.status.as_u16());
            }
            Event::Head(head) => {
                check_raw(&head);
                let reason = head.reason.map(|reason| String::from_utf8_lossy(&reason).into_owned());
                self.head = Some((head.status.as_u16(), head.version, reason));
                self.headers = pairs(&head.headers);
            }
            Event::Data(data) => {
                assert!(!data.is_empty());
                self.body.extend_from_slice(&data);
            }
            Event::Trailers(trailers) => self.trailers = pairs(&trailers),
            Event::End => self.has_ended = true,
        }
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// Field by field, `raw` holds what `headers` holds, and nothing else but a status line and an empty line.
fn check_raw(head: &ResponseHead) {
    let mut fields = HeaderMap::new();
    let mut length = 0;
    for (name, value) in head.raw_fields() {
        fields.append(http::HeaderName::from_bytes(name).unwrap(), HeaderValue::from_bytes(value).unwrap());
        length += name.len() + 1 + value.len();
    }
    assert_eq!(fields, head.headers);
    assert_eq!((fields.len(), fields.keys_len()), (head.headers.len(), head.headers.keys_len()));
    assert!(head.raw.starts_with(b"HTTP/1.") && head.raw.len() > length);
    assert!(head.raw.ends_with(b"\n\r\n") || head.raw.ends_with(b"\n\n"));
}

/// Observes a response however it is split, and demands that nothing differs.
fn observe_always(method: &Method, limits: Limits, wire: &[u8], peer: Peer) -> Seen {
    let whole = observe(method, limits, &[wire], peer);
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    let wire_text = String::from_utf8_lossy(wire);
    assert_eq!(observe(method, limits, &bytes, peer), whole, "byte by byte: {wire_text:?}");
    for at in 0..=wire.len() {
        let halves = [&wire[..at], &wire[at..]];
        assert_eq!(observe(method, limits, &halves, peer), whole, "split at {at}: {wire_text:?}");
    }
    if whole.has_ended && whole.left.is_empty() && peer == Peer::Stays {
        let surplus = b"\r\nHTTP/1.1 200 OK\r\n\r\n";
        let more = observe(method, limits, &[wire, surplus], peer);
        assert_eq!(more.left, surplus, "surplus is left alone: {wire_text:?}");
        assert_eq!(more.body, whole.body);
        assert_eq!(observe(method, limits, &[&[wire, surplus].concat()], peer), more);
        let is_tunnel =
            [CloseReason::Tunnel, CloseReason::Upgrade].iter().any(|reason| whole.reasons.contains(reason));
        assert_ne!(more.reasons.contains(&CloseReason::Surplus), is_tunnel);
    }
    whole
}

#[test]
fn complete_responses() {
    use CloseReason::*;
    use Peer::{Closes, Stays};
    let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
    for (method, wire, peer, status, body, reasons) in [
        // The body's end, by each step of RFC 9112, section 6.3.
        (&get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Stays, 200, "hello", &[][..]),
        (&get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, 200, "", &[]),
        (&get, "HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\nhello", Stays, 200, "hello", &[]),
        (
            &get,
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\nhello",
            Stays,
            200,
            "hello",
            &[],
        ),
        (&get, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n\r\nhello", Stays, 200, "\r\nhello", &[]),
        (&get, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Stays, 204, "", &[]),
        (&get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Stays, 304, "", &[]),
        (
            &head,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
            Stays,
            200,
            "",
            &[Lenient],
        ),
        (&head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Stays, 200, "", &[]),
        (&head, "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", Stays, 200, "", &[]),
        (&head, "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", Stays, 200, "", &[Lenient]),
        (&head, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", Stays, 204, "", &[Lenient]),
        (&get, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", Stays, 204, "", &[Lenient]),
        (&get, "HTTP/1.1 204 No\r\nContent-Length: x\r\n\r\n", Stays, 204, "", &[Lenient]),
        (&get, "HTTP/1.1 304 No\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Stays, 304, "", &[]),
        (
            &get,
            "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            Stays,
            304,
            "",
            &[Lenient],
        ),
        (
            &get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Stays,
            200,
            "hello",
            &[],
        ),
        (&get, "HTTP/1.1 200 OK\r\n\r\nhello", Closes, 200, "hello", &[CloseDelimited, Eof]),
        (
            &get,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello",
            Closes,
            200,
            "hello",
            &[CloseDelimited, Eof],
        ),
        (&connect, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Stays, 200, "", &[Tunnel]),
        (&connect, "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\nhello", Stays, 407, "hello", &[]),
        // Persistence.
        (
            &get,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo , CLOSE\r\n\r\n",
            Stays,
            200,
            "",
            &[PeerClose],
        ),
        (&get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: closed\r\n\r\n", Stays, 200, "", &[]),
        (&get, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, 200, "", &[Http10]),
        (&get, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", Stays, 200, "", &[]),
        (
            &get,
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, close\r\n\r\n",
            Stays,
            200,
            "",
            &[PeerClose],
        ),
        (
            &get,
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Stays,
            200,
            "",
            &[Http10TransferEncoding],
        ),
        (&get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Closes, 200, "hello", &[Eof]),
        // A field is known by its name, not by how long that is.
        (
            &get,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-Cache-Status: 5\r\nX-Accel-Buffering: gzip\r\n\
                Set-Cookie: close\r\n\r\nx",
            Stays,
            200,
            "x",
            &[],
        ),
        // Interim responses.
        (
            &get,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            Stays,
            200,
            "x",
            &[],
        ),
        (
            &get,
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            Stays,
            204,
            "",
            &[],
        ),
        // Forgiven: bare LF, folds, higher minor versions, odd codes and reasons.
        (&get, "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", Stays, 200, "x", &[Lenient]),
        (&get, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\nx", Stays, 200, "x", &[Lenient]),
        (&get, "HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\nContent-Length: 1\r\n\r\nx", Stays, 200, "x", &[]),
        (&get, "HTTP/1.1 200 OK\r\nContent-LENGTH:\r\n 1\r\n\r\nx", Stays, 200, "x", &[Lenient]),
        (&get, "HTTP/1.7 200 OK\r\nContent-Length: 1\r\n\r\nx", Stays, 200, "x", &[]),
        (&get, "HTTP/1.1 999\r\nContent-Length: 1\r\n\r\nx", Stays, 999, "x", &[]),
    ] {
        let seen = observe_always(method, Limits::default(), wire.as_bytes(), peer);
        assert_eq!(seen.error, None, "{wire:?}");
        assert!(seen.has_ended, "{wire:?}");
        assert_eq!(seen.head.as_ref().unwrap().0, status, "{wire:?}");
        assert_eq!(seen.body, body.as_bytes(), "{wire:?}");
        assert_eq!(seen.reasons, reasons, "{wire:?}");
    }
}

#[test]
fn refused_responses() {
    use Peer::{Closes, Stays};
    use ProtocolError::*;
    for (wire, peer, expected) in [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Stays, NotHttp),
        ("\n", Stays, NotHttp),
        ("SSH-2.0", Stays, NotHttp),
        ("HTTP/2.0 200 OK\r\n\r\n", Stays, UnsupportedVersion),
        ("HTTP/1.10 200 OK\r\n\r\n", Stays, BadStatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", Stays, BadStatusLine),
        ("HTTP/1.1 20x OK\r\n\r\n", Stays, BadStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Stays, BadStatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Stays, BadStatusLine),
        ("HTTP/1.1\r\n 200 OK\r\n\r\n", Stays, BadStatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Stays, BadStatusCode),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Stays, UnsolicitedUpgrade),
        ("HTTP/1.1 200 OK\r\n X: a\r\n\r\n", Stays, LeadingWhitespace),
        ("HTTP/1.1 200 OK\r\n\tContent-Length: 5\r\n\r\n", Stays, LeadingWhitespace),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Stays, BadFieldName),
        ("HTTP/1.1 200 OK\r\n: x\r\n\r\n", Stays, BadFieldName),
        ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", Stays, BadFieldName),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding\t: chunked\r\n\r\n", Stays, BadFieldName),
        ("HTTP/1.1 200 OK\r\nX: a\rContent-Length: 5\r\n\r\n", Stays, BadFieldValue),
        ("HTTP/1.1 200 OK\r\nX: a\r\r\n\r\n", Stays, BadFieldValue),
        ("HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", Stays, BadFieldValue),
        ("HTTP/1.1 200 OK\r\nX: \x7f\r\n\r\n", Stays, BadFieldValue),
        ("HTTP/1.1 200 OK\r\nX: a\r\n\r\r\n", Stays, BareCarriageReturn),
        ("HTTP/1.1 200 OK\r\nX Y: a\r\n\r\r\n", Stays, BadFieldName),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", Stays, BadContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", Stays, BadContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5,6\r\n\r\nhello", Stays, ConflictingContentLength),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            Stays,
            ConflictingContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 05\r\n\r\nhello",
            Stays,
            ConflictingContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Stays,
            LengthWithTransferEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: foo\r\n\r\n",
            Stays,
            LengthWithTransferEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Stays, UnsupportedTransferCoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", Stays, UnsupportedTransferCoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;a=b\r\n\r\n", Stays, ChunkedParameters),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Stays, ChunkedTwice),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello", Stays, BadChunkLine),
        ("", Closes, ClosedBeforeResponse),
        ("HTTP/1.1 100 Continue\r\n\r\n", Closes, ClosedBeforeResponse),
        ("HTTP", Closes, ClosedWithinHead),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Closes, ClosedWithinHead),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r", Closes, ClosedWithinHead),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", Closes, ClosedWithinBody { missing: Some(4) }),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            Closes,
            ClosedWithinBody { missing: None },
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            Closes,
            ClosedWithinBody { missing: None },
        ),
        // What is malformed comes first, even if the rest of it is missing.
        ("HTTP/1.1 200 OK\r\nX Y", Closes, BadFieldName),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Checksum Y", Closes, BadFieldName),
    ] {
        let seen = observe_always(&Method::GET, Limits::default(), wire.as_bytes(), peer);
        assert_eq!(seen.error, Some(expected), "{wire:?}");
        assert!(!seen.has_ended, "{wire:?}");
        let reason = if expected.is_closed() { CloseReason::Eof } else { CloseReason::Protocol };
        assert!(seen.reasons.contains(&reason), "{wire:?}: {:?}", seen.reasons);
        let text = expected.to_string();
        assert!(text.starts_with("peer ") && !text.ends_with('.'), "{text}");
    }
}

#[test]
fn heads_keep_the_order_and_the_case_of_their_names() {
    let wire = "HTTP/1.2 200 Fine\nX-b: 1\r\nSET-Cookie:a=b \t\r\nx-B:\r\neTag: \"x:y\"\r\n folded\n\tagain\r\n\
        set-cookie: \t c\r\nX:\u{e9}\r\n\r\nbody: no field\r\n";
    let (mut machine, mut buf) = (machine(&Method::GET, Limits::default()), BytesMut::from(wire));
    let Ok(Some(Event::Head(head))) = machine.decode(&mut buf) else { panic!("a head") };
    let expected: [(&str, &[u8]); 6] = [
        ("X-b", b"1"),
        ("SET-Cookie", b"a=b"),
        ("x-B", b""),
        ("eTag", b"\"x:y\"   folded  again"),
        ("set-cookie", b"c"),
        ("X", "\u{e9}".as_bytes()),
    ];
    assert!(head.raw_fields().eq(expected.map(|(name, value)| (name.as_bytes(), value))), "{:?}", head.raw);
    assert!(head.raw.starts_with(b"HTTP/1.1 200 Fine\nX-b") && head.raw.ends_with(b"\r\n\r\n"));
    check_raw(&head);
    let wire = "HTTP/1.1 204\r\n\r\n";
    let Ok(Some(Event::Head(head))) = self::machine(&Method::GET, Limits::default()).decode(&mut wire.into())
    else {
        panic!("a head")
    };
    assert_eq!((head.raw_fields().count(), &head.raw[..]), (0, wire.as_bytes()));
}

#[test]
fn random_heads_say_the_same_raw_and_read() {
    // xorshift64: the same heads every time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |count: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % count as u64) as usize
    };
    const PARTS: [&str; 24] = [
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        ":",
        ": ",
        ":\t ",
        " ",
        "\t",
        "\r\n ",
        "\n\t",
        "X-A",
        "a",
        "Connection",
        "close",
        "\u{e9}",
        "\"",
        ",",
        "\r",
        "\0",
        "content-length",
        "7",
        "::",
    ];
    let (mut accepted, mut fields) = (0, 0);
    for _ in 0..40_000 {
        let mut wire = "HTTP/1.1 200 OK\r\n".to_owned();
        for _ in 0..below(6) {
            // Mostly fields as they should be, so that heads are accepted at all.
            if below(4) > 0 {
                wire += ["A:", "Bc: ", "x-d:\t", "a: "][below(4)];
                wire += PARTS[4 + below(PARTS.len() - 4)];
                wire += "\r\n";
            }
            wire += PARTS[below(PARTS.len())];
        }
        wire += "\r\n\r\n";
        if let Ok(Some(Event::Head(head))) =
            machine(&Method::HEAD, Limits::default()).decode(&mut BytesMut::from(&wire[..]))
        {
            check_raw(&head);
            accepted += 1;
            fields += head.headers.len();
        }
    }
    assert!(accepted > 5000 && fields > 5000, "{accepted} heads with {fields} fields");
}

#[test]
fn trailers_that_may_not_be_are_dropped_r_9110_6_5_1_2() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
    for (fields, expected) in [
        ("X-T: v\r\n", &[("x-t", "v")][..]),
        ("X-T: v\r\nContent-Length: 3\r\nETag: w\r\n", &[("x-t", "v"), ("etag", "w")]),
        ("SET-COOKIE: a=b\r\nX-T: v\r\nset-cookie: c=d\r\nX-T: w\r\n", &[("x-t", "v"), ("x-t", "w")]),
        ("Location: http://evil.test/\r\n", &[]),
        ("Transfer-Encoding: chunked\r\nConnection: close\r\nTrailer: x\r\n", &[]),
        ("Content-Encoding: gzip\r\nCache-Control: no-store\r\n", &[]),
    ] {
        let wire = format!("{HEAD}{fields}\r\n");
        let seen = observe_always(&Method::GET, Limits::default(), wire.as_bytes(), Peer::Stays);
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        assert_eq!(seen.trailers, expected, "R-9112-7.1.2-2: {fields:?}");
        assert_eq!((seen.error, seen.has_ended, seen.reasons.len()), (None, true, 0), "they have no effect");
        assert!(seen.headers.iter().all(|(name, _)| name == "transfer-encoding"), "R-9112-7.1.2-1");
    }
    // What is dropped is checked and counted all the same.
    let limits = Limits { fields: 2, ..Limits::default() };
    for (fields, expected) in [
        ("Set-Cookie: a\0\r\n", ProtocolError::BadFieldValue),
        ("Content-Length : 1\r\n", ProtocolError::BadFieldName),
        ("Host: a\r\nHost: b\r\nHost: c\r\n", ProtocolError::TooManyFields),
    ] {
        let wire = format!("{HEAD}{fields}\r\n");
        assert_eq!(observe_always(&Method::GET, limits, wire.as_bytes(), Peer::Stays).error, Some(expected));
    }
}

#[test]
fn switching_protocols_r_9110_7_8_2() {
    use ProtocolError::*;
    let upgrade = Method::from_bytes(b"UPGRADE").unwrap();
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\n";
    for (method, fields, expected) in [
        (&upgrade, "Upgrade: foo/1\r\nConnection: upgrade\r\n", Ok(&[CloseReason::Upgrade][..])),
        (&upgrade, "upgrade: FOO/1\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: baz/2, ,foo/1\r\nUpgrade: bar\r\n", Ok(&[CloseReason::Upgrade])),
        // What frames a message means nothing here (R-9112-6.3-1), not even when it is nonsense.
        (&upgrade, "Upgrade: bar\r\nContent-Length: 3\r\n", Ok(&[CloseReason::Upgrade])),
        (
            &upgrade,
            "Upgrade: bar\r\nContent-Length: x\r\nTransfer-Encoding: y\r\n",
            Ok(&[CloseReason::Upgrade]),
        ),
        (
            &upgrade,
            "Upgrade: bar\r\nConnection: close\r\n",
            Ok(&[CloseReason::PeerClose, CloseReason::Upgrade]),
        ),
        (&upgrade, "", Err(UpgradeUnnamed)),
        (&upgrade, "Connection: upgrade\r\nUpgrade:\r\nUpgrade: , \r\n", Err(UpgradeUnnamed)),
        // No version was asked for, so that any will do.
        (&upgrade, "Upgrade: bar/9\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: BAR/x.y, bar\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: bar/\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: bar/1/2\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: bar/1 2\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: ba/1\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo/2\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo/1/1\r\n", Err(UpgradeNotOffered)),
        // The layer above, as RFC 2817, section 3.3, has it.
        (&upgrade, "Upgrade: foo/1, HTTP/1.1\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: bar/2\r\nUpgrade: http/1.1\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: HTTP/1.1\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: HTTP/1.1, foo/1\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo/1, HTTP/2.0\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo/1, HTTP\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo/1, Bar\r\nUpgrade: other\r\n", Err(UpgradeNotOffered)),
        (&Method::GET, "Upgrade: foo/1\r\n", Err(UnsolicitedUpgrade)),
        (&Method::GET, "", Err(UnsolicitedUpgrade)),
        (&Method::HEAD, "Upgrade: foo/1\r\n", Err(UnsolicitedUpgrade)),
        (&Method::CONNECT, "Upgrade: foo/1\r\n", Err(UnsolicitedUpgrade)),
    ] {
        for before in ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"] {
            let wire = format!("{before}{SWITCH}{fields}\r\n");
            let seen = observe_always(method, Limits::default(), wire.as_bytes(), Peer::Stays);
            assert_eq!((seen.error, seen.has_ended), (expected.err(), expected.is_ok()), "{wire:?}");
            assert!(!seen.interim.contains(&101), "R-9110-15.2.2: it is no interim response");
            if let Ok(reasons) = expected {
                assert_eq!(seen.head.unwrap().0, 101, "{wire:?}");
                assert_eq!(seen.reasons, reasons, "{wire:?}");
            } else {
                assert_eq!(seen.reasons, [CloseReason::Upgrade, CloseReason::Protocol], "{wire:?}");
                let text = seen.error.unwrap().to_string();
                assert!(text.starts_with("peer ") && text.contains("RFC 9110"), "{text}");
            }
        }
    }
    // What CONNECT asks for is a tunnel, whatever it offers.
    let mut headers = HeaderMap::new();
    headers.insert("upgrade", HeaderValue::from_static("foo/1"));
    let mut machine = Machine::new(Limits::default());
    let request = RequestHead::new(&Method::CONNECT, Target::Authority("h:443"), Some(b"h"), &headers);
    machine.encode_head(&request, &mut BytesMut::new()).unwrap();
    let mut buf = BytesMut::from(&format!("{SWITCH}Upgrade: foo/1\r\n\r\n")[..]);
    assert_eq!(machine.decode(&mut buf).unwrap_err(), UnsolicitedUpgrade);
    // A server may ignore the offer: R-9110-7.8-4.
    let wire = b"HTTP/1.1 200 OK\r\nUpgrade: foo/1\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nx";
    let seen = observe_always(&upgrade, Limits::default(), wire, Peer::Stays);
    assert_eq!((&seen.body[..], &seen.reasons[..]), (&b"x"[..], &[][..]));
}

#[test]
fn no_switch_before_the_request_is_sent_r_9110_7_8_2() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\n";
    let mut headers = HeaderMap::new();
    headers.insert("upgrade", HeaderValue::from_static("a"));
    for (sent, expected) in [
        ("nothing", Some(ProtocolError::UpgradeTooEarly)),
        ("half", Some(ProtocolError::UpgradeTooEarly)),
        ("aborted", Some(ProtocolError::UpgradeTooEarly)),
        ("all", None),
    ] {
        let (mut machine, mut dst) = (Machine::new(Limits::default()), BytesMut::new());
        let mut request = RequestHead::new(&Method::POST, Target::Origin("/"), Some(b"h"), &headers);
        request.body = BodyLength::Known(2);
        machine.encode_head(&request, &mut dst).unwrap();
        match sent {
            "half" => assert!(machine.encode_data(1, &mut dst).is_ok()),
            "all" => assert!(machine.encode_data(2, &mut dst).is_ok()),
            "aborted" => machine.abort_send(),
            _ => {}
        }
        let mut buf = BytesMut::from(SWITCH);
        assert_eq!(machine.decode(&mut buf).err(), expected, "{sent}");
        assert_eq!(machine.framing(), expected.is_none().then_some(Framing::Tunnel));
    }
}

#[test]
fn an_expectation_ends_with_100_or_the_final_head_r_9110_10_1_1_5() {
    for (wire, expected) in [
        ("", true),
        ("HTTP/1.1 100 Continue\r\n\r", true),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 102 Processing\r\n\r\n", true),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("expect", HeaderValue::from_static("100-continue"));
        let mut machine = Machine::new(Limits::default());
        assert!(!machine.expects_continue(), "nothing was encoded");
        let mut request = RequestHead::new(&Method::PUT, Target::Origin("/"), Some(b"h"), &headers);
        request.body = BodyLength::Known(2);
        machine.encode_head(&request, &mut BytesMut::new()).unwrap();
        let mut buf = BytesMut::new();
        for byte in wire.bytes() {
            assert!(machine.expects_continue() || !expected, "{wire:?}");
            buf.extend_from_slice(&[byte]);
            machine.decode(&mut buf).unwrap();
        }
        assert_eq!(machine.expects_continue(), expected, "{wire:?}");
    }
}

#[test]
fn garbage_within_an_endless_head_fails_before_the_head_ends() {
    let mut machine = machine(&Method::GET, Limits::default());
    let mut buf = BytesMut::from("HTTP/1.1 200 OK\r\nbad line\r\n");
    assert_eq!(machine.decode(&mut buf).unwrap_err(), ProtocolError::BadFieldName);
}

#[test]
fn heads_are_handed_over_as_they_came() {
    let wire = b"HTTP/1.3 200 Fine\r\nX-A: 1\r\nx-b:\t a\xff\t \r\nX-a:2\r\nX-E:\r\nX-F: a \r\n  b\r\n\r\n";
    let seen = observe_always(&Method::HEAD, Limits::default(), wire, Peer::Stays);
    assert_eq!(seen.head, Some((200, Version::HTTP_11, Some("Fine".to_owned()))));
    let expected: [(&str, &[u8]); 5] =
        [("x-a", b"1"), ("x-a", b"2"), ("x-b", b"a\xff"), ("x-e", b""), ("x-f", b"a     b")];
    assert_eq!(seen.headers, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
    for (line, expected) in [
        ("200 OK\r\n", None),
        ("200 OK\n", None),
        ("200 OKAY\r\n", Some("OKAY")),
        ("200 \r\n", Some("")),
        ("200\r\n", Some("")),
        ("200\nX: y\r\n", Some("")),
        ("200  OK\r\n", Some(" OK")),
        ("299 \r\n", None),
        ("404 not found\r\n", Some("not found")),
    ] {
        let wire = format!("HTTP/1.1 {line}\r\n");
        let seen = observe_always(&Method::HEAD, Limits::default(), wire.as_bytes(), Peer::Stays);
        assert_eq!(seen.head.unwrap().2.as_deref(), expected, "{line:?}");
    }
}

#[test]
fn limits_hold_at_their_exact_boundary_and_at_every_split() {
    use ProtocolError::*;
    let mut limits = Limits::default();
    (limits.head, limits.fields, limits.informational, limits.informational_bytes) = (60, 3, 2, 60);
    for (wire, expected) in [
        // 60 bytes of head, and 61.
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: 01234567890123456\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: 012345678901234567\r\n\r\n", Some(HeadTooLarge)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: 012345678901234567890123\r\n\r\n", Some(HeadTooLarge)),
        ("HTTP/1.1 200 0123456789012345678901234567890123456789012345678\r\n\r\n", Some(HeadTooLarge)),
        ("HTTP/1.1 200 OK\r\nX Y: 0123456789012345678901234567890123456789\r\n\r\n", Some(BadFieldName)),
        // Three fields, and four; a fold is no field.
        ("HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\nB: 1\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n 3\r\nB: 1\r\nContent-Length:0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\nB: 1\r\nC:\r\n\r\n", Some(TooManyFields)),
        ("HTTP/1.1 200 OK\r\nA: 1\r\nB\r\nC: 1\r\nD:\r\n\r\n", Some(BadFieldName)),
        // Two interim heads, and three; 60 bytes of them, and 61.
        ("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 204 N\r\n\r\n", None),
        ("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 102 P\r\n\r\n", Some(TooManyInformational)),
        ("HTTP/1.1 100 01234567890\r\n\r\nHTTP/1.1 100 012345678901234\r\n\r\nHTTP/1.1 204 N\r\n\r\n", None),
        (
            "HTTP/1.1 100 01234567890\r\n\r\nHTTP/1.1 100 0123456789012345\r\n\r\n",
            Some(InformationalTooLarge),
        ),
    ] {
        let seen = observe_always(&Method::GET, limits, wire.as_bytes(), Peer::Stays);
        assert_eq!(seen.error, expected, "{wire:?}");
        assert_eq!(seen.has_ended, expected.is_none(), "{wire:?}");
    }
}

#[test]
fn limits_of_next_to_nothing_are_still_limits() {
    let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\nA: b\r\n\r\n";
    for limit in 0..20 {
        let limits = Limits { head: limit, ..Limits::default() };
        let seen = observe_always(&Method::GET, limits, wire, Peer::Stays);
        assert_eq!(seen.error, Some(ProtocolError::HeadTooLarge));
    }
    for (change, expected) in [
        (&(|limits: &mut Limits| limits.fields = 0) as &dyn Fn(&mut Limits), ProtocolError::TooManyFields),
        (&|limits| limits.chunk_extensions = 0, ProtocolError::ChunkExtensionsTooLarge),
        (&|limits| limits.trailers = 0, ProtocolError::TrailersTooLarge),
    ] {
        let mut limits = Limits::default();
        change(&mut limits);
        assert_eq!(observe_always(&Method::GET, limits, wire, Peer::Stays).error, Some(expected));
    }
}

#[test]
fn many_fields_are_read_up_to_the_ceiling() {
    for (count, limit, expected) in [
        (128, 128, None),
        (129, 128, Some(ProtocolError::TooManyFields)),
        (129, 129, None),
        (4096, usize::MAX, None),
        (4097, usize::MAX, Some(ProtocolError::TooManyFields)),
    ] {
        let mut limits = Limits::default();
        (limits.fields, limits.trailers) = (limit, limits.head);
        let fields = "a: b\r\n".repeat(count);
        for wire in [
            format!("HTTP/1.1 204 No Content\r\n{fields}\r\n"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{fields}\r\n"),
        ] {
            for step in [wire.len(), 1000, 7] {
                let pieces: Vec<&[u8]> = wire.as_bytes().chunks(step).collect();
                let seen = observe(&Method::GET, limits, &pieces, Peer::Stays);
                assert_eq!(seen.error, expected, "{count} of {limit} by {step}");
                let stored = seen.headers.len().max(seen.trailers.len());
                assert!(expected.is_some() || stored == count);
            }
        }
    }
}

#[test]
fn leniencies_can_be_switched() {
    let mut strict = Limits::default();
    (strict.leniency.bare_lf_in_head, strict.leniency.obs_fold) = (false, false);
    for (wire, expected) in [
        ("HTTP/1.1 200 OK\nX: a\r\n\r\n", ProtocolError::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nX: a\n\r\n", ProtocolError::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nX: a\r\n\n", ProtocolError::BareLineFeed),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", ProtocolError::ObsoleteFold),
    ] {
        let seen = observe_always(&Method::HEAD, strict, wire.as_bytes(), Peer::Stays);
        assert_eq!(seen.error, Some(expected), "{wire:?}");
    }
    // Forgiven in a chunk, or in the last one: read, and not reused.
    strict.leniency.empty_chunk_extensions = false;
    for body in ["5;\r\nhello\r\n0\r\n\r\n", "5;a\r\nhello\r\n0;;b\r\nX: y\r\n\r\n"] {
        let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let seen = observe_always(&Method::GET, Limits::default(), wire.as_bytes(), Peer::Stays);
        assert_eq!((&seen.body[..], &seen.reasons[..]), (&b"hello"[..], &[CloseReason::Lenient][..]));
        let seen = observe_always(&Method::GET, strict, wire.as_bytes(), Peer::Stays);
        assert_eq!(seen.error, Some(ProtocolError::BadChunkExtension), "{wire:?}");
    }
    let mut lenient = Limits::default();
    lenient.leniency.length_with_transfer_encoding = true;
    let wire =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let seen = observe_always(&Method::GET, lenient, wire, Peer::Stays);
    assert_eq!((&seen.body[..], &seen.reasons[..]), (&b"hello"[..], &[CloseReason::Lenient][..]));
}

#[test]
fn the_joint_table() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n";
    let close = |reasons: &[CloseReason]| {
        Verdict::Close(reasons.iter().fold(CloseReasons::default(), |set, &reason| set.with(reason)))
    };
    for (send, receive, expected) in [
        ("head", "", Verdict::Unfinished),
        ("body", "", Verdict::Unfinished),
        ("body", HEAD, Verdict::Unfinished),
        ("body", "HTTP/1.1 204 No Content\r\n\r\n", close(&[CloseReason::UploadUnfinished])),
        ("done", "", Verdict::Unfinished),
        ("done", HEAD, Verdict::Unfinished),
        ("done", "HTTP/1.1 204 No Content\r\n\r\n", Verdict::Reuse),
        ("done", "HTTP/1.0 204 No Content\r\n\r\n", close(&[CloseReason::Http10])),
        ("done", "HTTP/1.1 204 No Content\r\n\r\n?", close(&[CloseReason::Surplus])),
        ("aborted", "", Verdict::Unfinished),
        ("aborted", HEAD, Verdict::Unfinished),
        ("aborted", "HTTP/1.1 204 No Content\r\n\r\n", close(&[CloseReason::UploadAborted])),
        ("head", "H", close(&[CloseReason::Unsolicited, CloseReason::Protocol])),
        ("nothing", "", close(&[CloseReason::UploadAborted])),
        (
            "nothing",
            HEAD,
            close(&[CloseReason::UploadAborted, CloseReason::Protocol, CloseReason::Unsolicited]),
        ),
    ] {
        let (mut machine, mut dst) = (Machine::new(Limits::default()), BytesMut::new());
        let mut request = RequestHead::new(&Method::POST, Target::Origin(""), Some(b"h"), &EMPTY);
        request.body = BodyLength::Known(2);
        let is_head_sent = !["head", "nothing"].contains(&send);
        if is_head_sent {
            machine.encode_head(&request, &mut dst).unwrap();
            assert_eq!(machine.upload_remaining(), Some(2));
        }
        match send {
            "done" => assert_eq!(machine.encode_data(2, &mut dst), Ok(&b""[..])),
            "aborted" => machine.abort_send(),
            "nothing" => {
                machine.abort_send();
                assert_eq!(machine.encode_head(&request, &mut dst), Err(Misuse::SendAborted));
                assert_eq!((machine.encode_data(1, &mut dst), dst.len()), (Err(Misuse::SendAborted), 0));
            }
            _ => {}
        }
        assert_eq!(
            (
                machine.is_head_sent(),
                machine.is_send_done(),
                machine.is_send_aborted(),
                machine.may_send_body()
            ),
            (is_head_sent, send == "done", ["aborted", "nothing"].contains(&send), send == "body")
        );
        let mut buf = BytesMut::from(receive);
        while let Ok(Some(event)) = machine.decode(&mut buf) {
            if matches!(event, Event::Head(_)) {
                assert_eq!(machine.receive_remaining(), Some(u64::from(receive == HEAD)));
                assert_eq!(machine.verdict(buf.len()), Verdict::Unfinished, "the end has not been given");
            }
        }
        assert_eq!(machine.verdict(buf.len()), expected, "{send}, {receive:?}");
        assert_eq!(machine.has_peer_spoken(), !receive.is_empty() && is_head_sent);
    }
}

#[test]
fn an_early_response_stops_the_upload_only_if_it_refuses_or_closes() {
    for (head, expected) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true),
        ("HTTP/1.1 200 OK\n\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n", false),
        // An interim one's close counts, once there is a final one to stop for.
        ("HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n", true),
        (
            "HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.1 399 Odd\r\nContent-Length: 1\r\n\r\n", true),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.1 413 Too Large\r\nContent-Length: 1\r\n\r\n", false),
    ] {
        for close in [false, true] {
            let mut machine = Machine::new(Limits::default());
            let mut request = RequestHead::new(&Method::PUT, Target::Origin("/"), Some(b"h"), &EMPTY);
            (request.body, request.close) = (BodyLength::Chunked, close);
            machine.encode_head(&request, &mut BytesMut::new()).unwrap();
            let mut buf = BytesMut::from(head);
            while let Some(Event::Informational(_)) = machine.decode(&mut buf).unwrap() {}
            assert_eq!(machine.may_send_body(), expected, "{head:?}, the request says close: {close}");
            assert_eq!(machine.is_upload_refused(), !expected, "{head:?}");
        }
    }
}

#[test]
fn reasons_of_the_shell_and_hints_of_the_peer_are_kept() {
    let mut machine = machine(&Method::GET, Limits::default());
    let mut spare = HeaderMap::with_capacity(50);
    spare.insert("old", HeaderValue::from_static("x"));
    let capacity = spare.capacity();
    machine.recycle(spare);
    let mut buf = BytesMut::from(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5, max=9\r\n\
            Set-Cookie: timeout=1, max=1\r\n\r\n",
    );
    assert!(matches!(machine.decode(&mut buf), Ok(Some(Event::Informational(_)))));
    let Ok(Some(Event::Head(head))) = machine.decode(&mut buf) else { panic!("a head") };
    assert_eq!((head.status, head.headers.len()), (StatusCode::NO_CONTENT, 2));
    assert_eq!(head.headers.capacity(), capacity);
    assert_eq!((machine.keep_alive().timeout.unwrap().as_secs(), machine.keep_alive().max), (5, Some(9)));
    assert_eq!(machine.framing(), Some(Framing::None));
    assert!(matches!(machine.decode(&mut buf), Ok(Some(Event::End))));
    assert_eq!(machine.verdict(0), Verdict::Reuse);
    machine.close_after(CloseReason::Policy);
    assert!(machine.close_reasons().contains(CloseReason::Policy));
    assert_eq!(machine.verdict(0), Verdict::Close(machine.close_reasons()));
}

#[test]
fn machines_can_move_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Machine>();
    check::<Event>();
}

static EMPTY: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
