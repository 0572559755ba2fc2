//! Heads with field lines that depart from the grammar, with each leniency switched on and off.

use http::Method;

use super::observe::*;
use super::*;

/// Returns limits with the leniency for blanks before a colon and the leniency for lines that are not fields.
fn limits(blanks_before_colon: bool, invalid_lines: bool) -> Limits {
    let mut limits = Limits::default();
    (limits.leniency.blanks_before_colon, limits.leniency.invalid_lines) =
        (blanks_before_colon, invalid_lines);
    limits
}

fn see(limits: Limits, wire: &str) -> Seen {
    observe_always(&Method::GET, limits, wire.as_bytes(), Peer::Stays)
}

#[track_caller]
fn assert_fields(seen: &Seen, expected: &[(&str, &str)], wire: &str) {
    assert_eq!((seen.error, seen.has_ended), (None, true), "{wire:?}");
    let expected: Vec<_> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    assert_eq!(seen.headers, expected, "{wire:?}");
}

#[test]
fn blanks_before_a_colon_are_an_error_by_default_and_end_reuse_if_allowed() {
    for (lines, expected) in [
        ("X : a\r\n", &[("content-length", "2"), ("x", "a")][..]),
        ("X \t:a\r\nY\t : b: c\n", &[("content-length", "2"), ("x", "a"), ("y", "b: c")]),
        ("X :\r\nY: b\r\n", &[("content-length", "2"), ("x", ""), ("y", "b")]),
        ("X :\r\n a\r\n\tb\r\n", &[("content-length", "2"), ("x", "a   b")]),
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}\r\nhi");
        for limits in [limits(false, false), Limits::default()] {
            assert_eq!(see(limits, &wire).error, Some(ProtocolError::BadFieldName), "{wire:?}");
        }
        for limits in [limits(true, false), limits(true, true)] {
            let seen = see(limits, &wire);
            assert_fields(&seen, expected, &wire);
            assert_eq!(seen.body, b"hi", "{wire:?}");
            assert!(seen.reasons.contains(&CloseReason::LenientField), "{wire:?}: {:?}", seen.reasons);
        }
    }
}

#[test]
fn lines_that_are_not_fields_are_an_error_by_default_and_end_reuse_if_ignored() {
    for lines in [
        "no colon\r\n",
        ": no name\r\n",
        "two words: a\r\n",
        "X : a\r\n",
        "X: a\x01\r\n",
        "X: \x7f\r\n",
        "\u{e9}: a\r\n",
        "HTTP/1.1 200 OK\r\n",
        "no colon\r\n and its\r\n\tfolds: b\r\n",
        "no colon\r\nanother\r\n",
        "X: a\r\n \x01\r\n",
    ] {
        let (before, after) = ("Content-Length: 2\r\n", "Y: b\r\n");
        let fields = [("content-length", "2"), ("y", "b")];
        for wire in [
            format!("HTTP/1.1 200 OK\r\n{lines}{before}{after}\r\nhi"),
            format!("HTTP/1.1 200 OK\r\n{before}{lines}{after}\r\nhi"),
            format!("HTTP/1.1 200 OK\r\n{before}{after}{lines}\r\nhi"),
            format!("HTTP/1.1 200 OK\n{before}{lines}{after}\nhi"),
        ] {
            assert!(see(Limits::default(), &wire).error.is_some(), "{wire:?}");
            let seen = see(limits(false, true), &wire);
            assert_fields(&seen, &fields, &wire);
            assert_eq!(
                (&seen.body[..], &seen.head),
                (&b"hi"[..], &Some((200, http::Version::HTTP_11, None)))
            );
            assert!(seen.reasons.contains(&CloseReason::LenientField), "{wire:?}: {:?}", seen.reasons);
        }
    }
    // A line before the first field begins with a blank.
    for (lines, error) in [
        (" X: a\r\n", ProtocolError::LeadingWhitespace),
        ("\t\r\n more\r\n", ProtocolError::LeadingWhitespace),
    ] {
        let wire = format!("HTTP/1.1 200 Fine\r\n{lines}Content-Length: 2\r\n\r\nhi");
        assert_eq!(see(limits(true, false), &wire).error, Some(error));
        let seen = see(limits(false, true), &wire);
        assert_fields(&seen, &[("content-length", "2")], &wire);
        assert_eq!(seen.head.unwrap().2.as_deref(), Some("Fine"));
        assert_eq!(seen.reasons, [CloseReason::LenientField]);
    }
}

#[test]
fn a_leniency_that_is_not_needed_changes_nothing() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX:a \r\n b\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length:2\r\nX:\r\nY: a : b\r\n\r\nhi",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK \r\nContent-Length: 2\nX: y\n\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        "HTTP/1.1 204 No\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n\r\r\n",
        "HTTP/1.1 2x0 OK\r\nX: a\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(see(limits(true, true), wire), see(Limits::default(), wire), "{wire:?}");
    }
}

#[test]
fn a_29_a_line_that_may_frame_the_message_is_an_error_in_any_case() {
    use ProtocolError::*;
    for (line, error) in [
        ("Content-Length : 2\r\n", BadFieldName),
        ("Content-Length\t: 2\r\n", BadFieldName),
        (" Content-Length: 2\r\n", BadFieldName),
        ("Content-Length 2\r\n", BadFieldName),
        ("X\x01Content-Length: 2\r\n", BadFieldName),
        ("Content-Length: 2\x01\r\n", BadFieldValue),
        ("Content-Length: +2\r\n", BadContentLength),
        ("Transfer-Encoding : chunked\r\n", BadFieldName),
        ("Transfer-Encoding: chunked\x01\r\n", BadFieldValue),
        ("Transfer-Encoding\x0b: chunked\r\n", BadFieldName),
        ("no colon\r\n Transfer-Encoding: chunked\r\n", BadFieldName),
        ("Transfer-Encoding: xchunked\r\n", UnsupportedTransferCoding),
        // Other readers may see a line end in these lines.
        ("no colon\rContent-Length: 2\r\n", BadFieldName),
        ("X: a\rContent-Length: 2\r\n", BadFieldValue),
        ("X: a\0\r\n", BadFieldValue),
        ("X: a\r\r\n", BadFieldValue),
    ] {
        for (before, after) in [("", ""), ("", "Y: b\r\n"), ("no colon\r\n", "")] {
            let wire = format!("HTTP/1.1 200 OK\r\n{before}{line}{after}\r\nhi");
            let seen = see(limits(true, true), &wire);
            assert_eq!(seen.error, Some(error), "A-29: {wire:?}");
            assert!(seen.head.is_none() && seen.reasons.contains(&CloseReason::Protocol), "{wire:?}");
        }
    }
    // Neither leniency applies to the status line, the chunked coding or the trailers.
    for wire in [
        "HTTP/1.1 200 O\0K\r\nno colon\r\n\r\n",
        "HTTP/1.1 20x OK\r\nno colon\r\n\r\n",
        "no colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n X: y\r\n\r\n",
    ] {
        let seen = see(limits(true, true), wire);
        assert_eq!(seen.error, see(Limits::default(), wire).error, "{wire:?}");
        assert!(seen.error.is_some(), "{wire:?}");
    }
}

#[test]
fn lines_that_are_ignored_count_against_the_limits() {
    use ProtocolError::*;
    let mut limits = limits(true, true);
    (limits.head, limits.fields, limits.informational_bytes) = (60, 3, 60);
    for (wire, error) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon 01234567890\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon 012345678901\r\n\r\n", Some(HeadTooLarge)),
        ("HTTP/1.1 200 OK\r\nA\r\nContent-Length: 0\r\nB\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nA\r\nContent-Length: 0\r\nB\r\nC\r\n\r\n", Some(TooManyFields)),
        ("HTTP/1.1 103 Early\r\nno colon 01234567890123456789\r\n\r\nHTTP/1.1 204 No\r\n\r\n", None),
        (
            "HTTP/1.1 103 E\r\n0123456789\r\n\r\nHTTP/1.1 103 E\r\n01234567890\r\n\r\n\
             HTTP/1.1 204 No\r\n\r\n",
            Some(InformationalTooLarge),
        ),
    ] {
        let seen = see(limits, wire);
        assert_eq!((seen.error, seen.has_ended), (error, error.is_none()), "{wire:?}");
        assert!(error.is_some() || seen.reasons == [CloseReason::LenientField], "{wire:?}");
    }
}

#[test]
fn an_unfinished_line_is_no_error_before_its_end() {
    for (wire, error) in [
        ("HTTP/1.1 200 OK\r\nno col", ProtocolError::ClosedWithinHead),
        ("HTTP/1.1 200 OK\r\nX : a\r\nno colon\r\n", ProtocolError::ClosedWithinHead),
        ("HTTP/1.1 2x", ProtocolError::BadStatusLine),
        ("HTTP/1.1 200 OK\r\nX\0\r\nY", ProtocolError::BadFieldName),
    ] {
        let seen = observe_always(&Method::GET, limits(true, true), wire.as_bytes(), Peer::Closes);
        assert_eq!(seen.error, Some(error), "{wire:?}");
    }
}

/// Checks that a mended head has exactly the fields of the head without the lines that are no fields, for random heads in
/// all splits.
#[test]
fn random_heads_are_the_same_without_the_lines_that_are_ignored() {
    let mut below = crate::random::generator();
    const VALID: [&str; 6] =
        ["A: 1\r\n", "b:\r\n", "A:2\n", "C: x\r\n y\r\n", "D:\t \r\n", "set-cookie: a=b; c\r\n"];
    const BLANK: [(&str, &str); 3] =
        [("E : 5\r\n", "E: 5\r\n"), ("f\t\t:6\n", "f:6\n"), ("G :\r\n 7\r\n", "G:\r\n 7\r\n")];
    const INVALID: [&str; 6] = ["x\r\n", ": 1\r\n", "a b: c\n", "y\r\n z: 1\r\n", "H: \x1b\r\n", "\"\r\n"];
    let mut mended = 0;
    for _ in 0..300 {
        let (mut wire, mut plain) = ("HTTP/1.1 204 None\r\n".to_owned(), "HTTP/1.1 204 None\r\n".to_owned());
        for _ in 0..below(6) {
            let (line, same) = match below(4) {
                0 => BLANK[below(3)],
                1 => (INVALID[below(6)], ""),
                _ => [VALID[below(6)]; 2].into(),
            };
            wire += line;
            plain += same;
        }
        let (seen, expected) = (
            see(limits(true, true), &(wire.clone() + "\r\n")),
            see(Limits::default(), &(plain.clone() + "\r\n")),
        );
        assert_eq!((&seen.headers, &seen.head), (&expected.headers, &expected.head), "{wire:?}");
        assert_eq!((seen.error, seen.has_ended, expected.error), (None, true, None), "{wire:?}");
        let is_mended = seen.reasons.contains(&CloseReason::LenientField);
        assert_eq!(is_mended, wire != plain, "{wire:?}");
        mended += usize::from(is_mended);
    }
    assert!(mended > 150, "{mended}");
}
