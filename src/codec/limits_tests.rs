//! Tables of inputs just below and just above each limit.

use http::Method;

use super::observe::*;
use super::*;

#[test]
fn limits_hold_at_their_exact_boundary_and_at_every_split() {
    use ProtocolError::*;
    let mut limits = Limits::default();
    (limits.head, limits.fields, limits.informational, limits.informational_bytes) = (60, 3, 2, 60);
    for (wire, expected) in [
        // A head of 60 bytes is accepted, and a head of 61 bytes is refused.
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: 01234567890123456\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: 012345678901234567\r\n\r\n", Some(HeadTooLarge)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: 012345678901234567890123\r\n\r\n", Some(HeadTooLarge)),
        ("HTTP/1.1 200 0123456789012345678901234567890123456789012345678\r\n\r\n", Some(HeadTooLarge)),
        ("HTTP/1.1 200 OK\r\nX Y: 0123456789012345678901234567890123456789\r\n\r\n", Some(BadFieldName)),
        // Three fields are accepted, and four fields are refused. A fold does not count as a field.
        ("HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\nB: 1\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n 3\r\nB: 1\r\nContent-Length:0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\nB: 1\r\nC:\r\n\r\n", Some(TooManyFields)),
        ("HTTP/1.1 200 OK\r\nA: 1\r\nB\r\nC: 1\r\nD:\r\n\r\n", Some(BadFieldName)),
        // Two interim heads are accepted, and three are refused. Interim heads of 60 bytes together are accepted, and
        // interim heads of 61 bytes together are refused.
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
fn tiny_limits_work() {
    let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\nA: b\r\n\r\n";
    for limit in 0..20 {
        let limits = Limits { head: limit, ..Limits::default() };
        let seen = observe_always(&Method::GET, limits, wire, Peer::Stays);
        assert_eq!(seen.error, Some(ProtocolError::HeadTooLarge));
    }
    for (change, expected) in [
        (&(|limits: &mut Limits| limits.fields = 0) as &dyn Fn(&mut Limits), ProtocolError::TooManyFields),
        (&|limits| limits.chunk_extensions = 0, ProtocolError::ChunkExtensionsTooLarge),
        (&|limits| limits.chunk_line = 0, ProtocolError::ChunkExtensionsTooLarge),
        (&|limits| limits.trailers = 0, ProtocolError::TrailersTooLarge),
    ] {
        let mut limits = Limits::default();
        change(&mut limits);
        assert_eq!(observe_always(&Method::GET, limits, wire, Peer::Stays).error, Some(expected));
    }
}

#[test]
fn fields_are_accepted_up_to_4096() {
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
