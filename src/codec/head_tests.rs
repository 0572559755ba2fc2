//! Response heads: their raw bytes and the fields that are read from them.

use bytes::BytesMut;
use http::{HeaderValue, Method, Version};

use super::observe::*;
use super::*;

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
    assert!(head.raw_fields().eq(expected.map(|(name, value)| (name.as_bytes(), value))), "{:?}", head.raw());
    assert!(head.raw().starts_with(b"HTTP/1.1 200 Fine\nX-b") && head.raw().ends_with(b"\r\n\r\n"));
    check_raw(&head);
    let wire = "HTTP/1.1 204\r\n\r\n";
    let Ok(Some(Event::Head(head))) = self::machine(&Method::GET, Limits::default()).decode(&mut wire.into())
    else {
        panic!("a head")
    };
    assert_eq!((head.raw_fields().count(), &head.raw()[..]), (0, wire.as_bytes()));
}

#[test]
fn raw_bytes_and_map_of_random_heads_agree() {
    let mut below = crate::random::generator();
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
            // Most fields are valid, so that some heads are accepted.
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
            fields += head.headers().len();
        }
    }
    assert!(accepted > 5000 && fields > 5000, "{accepted} heads with {fields} fields");
}

#[test]
fn garbage_within_an_endless_head_fails_before_the_head_ends() {
    let mut machine = machine(&Method::GET, Limits::default());
    let mut buf = BytesMut::from("HTTP/1.1 200 OK\r\nbad line\r\n");
    assert_eq!(machine.decode(&mut buf).unwrap_err(), ProtocolError::BadFieldName);
}

#[test]
fn raw_heads_are_unchanged() {
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

/// Checks that the `http` crate accepts every field that httparse accepts, so that the map can later be made without an
/// error. The test tries every byte in a name and in a value, at both ends and within.
#[test]
fn every_accepted_field_fits_a_map() {
    let (mut names, mut values) = (0, 0);
    for byte in 0..=255_u8 {
        for (before, after) in
            [("", "b"), ("a", "b"), ("a", ""), ("", ""), ("abcdefghijklmnopq", "rstuvwxyz")]
        {
            let text = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            for (start, end, accepted) in [("", ": v\r\n", &mut names), ("n: ", "\r\n", &mut values)] {
                let line =
                    [b"HTTP/1.1 200 OK\r\n", start.as_bytes(), &text, end.as_bytes(), b"\r\n"].concat();
                let mut machine = machine(&Method::HEAD, Limits::default());
                if let Ok(Some(Event::Head(head))) = machine.decode(&mut BytesMut::from(&line[..])) {
                    check_raw(&head);
                    *accepted += head.headers().len();
                }
            }
        }
    }
    // 77 bytes can be in a name, and a colon after at least one of these bytes ends the name. 224 bytes can be in a
    // value, and an LF ends the value if a line end follows.
    assert_eq!((names, values), (5 * 77 + 3, 5 * 224 + 2));
    for length in [65_535, 65_536] {
        let limits = Limits { head: 1 << 17, ..Limits::default() };
        let wire = format!("HTTP/1.1 200 OK\r\n{}: v\r\n\r\n", "n".repeat(length));
        for step in [wire.len(), 1000] {
            let pieces: Vec<&[u8]> = wire.as_bytes().chunks(step).collect();
            let seen = observe(&Method::HEAD, limits, &pieces, Peer::Stays);
            assert_eq!(seen.error, (length > 65_535).then_some(ProtocolError::BadFieldName), "{length}");
            assert_eq!(seen.headers.len(), usize::from(length == 65_535));
        }
    }
}

#[test]
fn fields_are_read_once_and_can_be_changed() {
    let mut wire = BytesMut::from("HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\n");
    let Ok(Some(Event::Head(mut head))) = machine(&Method::HEAD, Limits::default()).decode(&mut wire) else {
        panic!("a head")
    };
    let untouched = head.clone();
    assert!(std::ptr::eq(head.headers(), head.headers()));
    let value = head.headers()["b"].as_bytes();
    assert!(head.raw().as_ptr_range().contains(&value.as_ptr()), "no value is copied");
    head.headers_mut().remove("a");
    head.headers_mut().insert("c", HeaderValue::from_static("4"));
    assert_eq!(pairs(head.headers()), [("b".into(), b"2".to_vec()), ("c".into(), b"4".to_vec())]);
    assert_eq!(head.clone().into_headers(), head.into_headers(), "what was changed stays so");
    let mut unread = untouched.clone();
    unread.headers_mut().remove("b");
    assert_eq!(pairs(unread.headers()), [("a".into(), b"1".to_vec()), ("a".into(), b"3".to_vec())]);
    assert!(format!("{untouched:?}").contains(r#"headers: ["a", "b"]"#), "{untouched:?}");
    assert_eq!(untouched.into_headers().len(), 3);
    assert!(size_of::<ResponseHead>() <= 56);
}
