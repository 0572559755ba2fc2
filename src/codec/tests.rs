//! Tables of whole responses, each with its expected outcome.

use http::Method;

use super::observe::*;
use super::*;

#[test]
fn complete_responses() {
    use CloseReason::*;
    use Peer::{Closes, Stays};
    let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
    for (method, wire, peer, status, body, reasons) in [
        // These rows show where the body ends, for each step of RFC 9112, section 6.3.
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
        // These rows show whether the connection persists.
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
        // Other names with the length of these names are not mistaken for these fields.
        (
            &get,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-Cache-Status: 5\r\nX-Accel-Buffering: gzip\r\n\
                Set-Cookie: close\r\n\r\nx",
            Stays,
            200,
            "x",
            &[],
        ),
        // These rows have interim responses.
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
        // These rows have accepted departures: bare LF, folds, higher minor versions, unusual codes and reasons.
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
        // A malformed part is reported even if later parts of the response are missing.
        ("HTTP/1.1 200 OK\r\nX Y", Closes, BadFieldName),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Checksum Y", Closes, BadFieldName),
    ] {
        let seen = observe_always(&Method::GET, Limits::default(), wire.as_bytes(), peer);
        assert_eq!(seen.error, Some(expected), "{wire:?}");
        assert!(!seen.has_ended, "{wire:?}");
        let reason = if expected.is_closed() { CloseReason::Eof } else { CloseReason::Protocol };
        assert!(seen.reasons.contains(&reason), "{wire:?}: {:?}", seen.reasons);
        let text = expected.to_string();
        assert!(text.starts_with("the server ") && !text.ends_with('.'), "{text}");
    }
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
    // Trailers that are dropped are checked and counted too.
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
fn each_leniency_can_be_switched() {
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
    // Empty extensions are accepted in any chunk, including the last chunk. The body is read, and the connection is not
    // reused.
    strict.leniency.empty_chunk_extensions = false;
    for body in ["5;\r\nhello\r\n0\r\n\r\n", "5;a\r\nhello\r\n0;;b\r\nX: y\r\n\r\n"] {
        let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let seen = observe_always(&Method::GET, Limits::default(), wire.as_bytes(), Peer::Stays);
        assert_eq!((&seen.body[..], &seen.reasons[..]), (&b"hello"[..], &[CloseReason::Lenient][..]));
        let seen = observe_always(&Method::GET, strict, wire.as_bytes(), Peer::Stays);
        assert_eq!(seen.error, Some(ProtocolError::BadChunkExtension), "{wire:?}");
    }
    // Blanks after a chunk size are accepted in any chunk, and the connection is not reused.
    strict.leniency.blanks_after_chunk_size = false;
    for body in ["5 \r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\t\r\nX: y\r\n\r\n"] {
        let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let seen = observe_always(&Method::GET, Limits::default(), wire.as_bytes(), Peer::Stays);
        assert_eq!((&seen.body[..], &seen.reasons[..]), (&b"hello"[..], &[CloseReason::Lenient][..]));
        let seen = observe_always(&Method::GET, strict, wire.as_bytes(), Peer::Stays);
        assert_eq!(seen.error, Some(ProtocolError::BadChunkLine), "{wire:?}");
    }
    let mut lenient = Limits::default();
    lenient.leniency.length_with_transfer_encoding = true;
    let wire =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let seen = observe_always(&Method::GET, lenient, wire, Peer::Stays);
    assert_eq!((&seen.body[..], &seen.reasons[..]), (&b"hello"[..], &[CloseReason::Lenient][..]));
}

/// Checks the order in the module's documentation: each file imports only files of earlier rows.
#[test]
fn each_file_imports_only_files_of_earlier_rows() {
    let rows: [&[(&str, &str)]; 7] = [
        &[
            ("error", include_str!("error.rs")),
            ("limits", include_str!("limits.rs")),
            ("close", include_str!("close.rs")),
            ("shown", include_str!("shown.rs")),
            ("field_map", include_str!("field_map.rs")),
            ("unasked", include_str!("unasked.rs")),
        ],
        &[("grammar", include_str!("grammar.rs"))],
        &[
            ("framing", include_str!("framing.rs")),
            ("names", include_str!("names.rs")),
            ("trailers", include_str!("trailers.rs")),
            ("upgrade", include_str!("upgrade.rs")),
            ("target", include_str!("target.rs")),
            ("spelling", include_str!("spelling.rs")),
            ("lenient", include_str!("lenient.rs")),
        ],
        &[("request", include_str!("request.rs")), ("response", include_str!("response.rs"))],
        &[
            ("fields", include_str!("fields.rs")),
            ("head", include_str!("head.rs")),
            ("event", include_str!("event.rs")),
        ],
        &[("encode", include_str!("encode.rs")), ("chunked", include_str!("chunked.rs"))],
        &[("machine", include_str!("machine.rs"))],
    ];
    let mut earlier = Vec::new();
    for row in rows {
        for (name, text) in row {
            let code = text.split("#[cfg(test)]").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            for path in lines.flat_map(|line| line.split("super::").skip(1)) {
                let file = path.split([':', ';', ',']).next().unwrap();
                assert!(earlier.contains(&file), "{name}.rs imports {file}");
            }
        }
        earlier.extend(row.iter().map(|(name, _)| *name));
    }
    let module = include_str!("mod.rs");
    let declared = module.lines().filter(|line| line.starts_with("mod ") || line.ends_with("mod shown;"));
    let files = declared.filter(|line| !line.contains("tests;") && !line.contains("observe;")).count();
    assert_eq!(files, earlier.len(), "each file has its row");
}
