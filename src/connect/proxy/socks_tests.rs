//! Tests of the SOCKS dialogs, byte by byte.

use super::super::refusal::Refusal;
use super::*;

/// Returns the outcome of a dialog with a proxy that sends `answers`: the bytes that the client sent, and how the dialog
/// ended. The answers arrive in pieces of `piece` bytes.
fn talk(
    begun: Result<(Socks<'_>, Vec<u8>), Refusal>,
    answers: &[u8],
    piece: usize,
) -> (Vec<u8>, Result<Next, Refusal>) {
    let (mut socks, mut sent) = match begun {
        Ok(begun) => begun,
        Err(refusal) => return (Vec::new(), Err(refusal)),
    };
    let (mut buf, mut pieces) = (BytesMut::new(), answers.chunks(piece));
    loop {
        match socks.receive(&mut buf) {
            Ok(Next::Send(bytes)) => sent.extend(bytes),
            Ok(Next::Wait) => match pieces.next() {
                Some(piece) => buf.extend_from_slice(piece),
                None => return (sent, Ok(Next::Wait)),
            },
            Ok(Next::Open) => {
                // Bytes that come later than the whole reply are early bytes too.
                let is_over = pieces.next().is_none();
                return (sent, if is_over { Ok(Next::Open) } else { Err(Refusal::EarlyBytes) });
            }
            Err(refusal) => return (sent, Err(refusal)),
        }
    }
}

/// Checks that the outcome is the same for every size of the pieces, and returns the outcome.
fn outcome<'a>(
    begin: impl Fn() -> Result<(Socks<'a>, Vec<u8>), Refusal>,
    answers: &[u8],
) -> (Vec<u8>, Result<Next, Refusal>) {
    let whole = talk(begin(), answers, answers.len().max(1));
    for piece in 1..answers.len() {
        assert_eq!(talk(begin(), answers, piece), whole, "A-62 {answers:?} in pieces of {piece}");
    }
    whole
}

fn login(user: &str, password: &str) -> Login {
    Login { user: user.as_bytes().into(), password: password.as_bytes().into() }
}

const REPLY: [u8; 10] = [5, 0, 0, 1, 127, 0, 0, 1, 0x1f, 0x90];

#[test]
fn socks5_sends_each_type_of_destination() {
    for (to, address) in [
        (Asked::of("192.0.2.7", 80), &[1, 192, 0, 2, 7, 0, 80][..]),
        (
            Asked::of("2001:db8::1", 443),
            &[4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0xbb],
        ),
        (Asked::of("a.test", 8080), b"\x03\x06a.test\x1f\x90"),
    ] {
        let answers = [&[5, 0], &REPLY[..]].concat();
        let (sent, end) = outcome(|| Socks::v5(to, None), &answers);
        assert_eq!(sent, [&[5, 1, 0, 5, 1, 0], address].concat(), "R-1928-3-1: {to:?}");
        assert_eq!(end, Ok(Next::Open), "{to:?}");
    }
}

#[test]
fn socks5_sends_user_and_password_only_if_the_proxy_asks() {
    let login = login("user", "secret");
    let to = Asked::Name("h", 80);
    let begin = || Socks::v5(to, Some(&login));
    let request = b"\x05\x01\x00\x03\x01h\x00\x50";
    let (sent, end) = outcome(begin, &[&[5, 2, 1, 0], &REPLY[..]].concat());
    assert_eq!(sent, [b"\x05\x02\x00\x02\x01\x04user\x06secret", &request[..]].concat());
    assert_eq!(end, Ok(Next::Open));
    let (sent, end) = outcome(begin, &[&[5, 0], &REPLY[..]].concat());
    assert_eq!(sent, [b"\x05\x02\x00\x02", &request[..]].concat());
    assert_eq!(end, Ok(Next::Open));
}

#[test]
fn socks5_takes_each_type_of_bound_address() {
    let to = Asked::Name("h", 80);
    let v6 = [&[5, 0, 0, 4][..], &[7; 18]].concat();
    let longest = [&[5, 0, 0, 3, 255][..], &[7; 257]].concat();
    for reply in [&REPLY[..], &v6, &[5, 0, 0, 3, 0, 0, 80], b"\x05\x00\x00\x03\x02ab\x00\x50", &longest] {
        let answers = [&[5, 0], reply].concat();
        assert_eq!(outcome(|| Socks::v5(to, None), &answers).1, Ok(Next::Open), "A-62 R-1928-3-1: {reply:?}");
        let early = [&answers[..], b"x"].concat();
        assert_eq!(outcome(|| Socks::v5(to, None), &early).1, Err(Refusal::EarlyBytes), "A-62 {reply:?}");
        for cut in 0..answers.len() {
            let end = outcome(|| Socks::v5(to, None), &answers[..cut]).1;
            assert_eq!(end, Ok(Next::Wait), "A-62 {reply:?} cut at {cut}");
        }
    }
}

#[test]
fn a_62_each_broken_or_refusing_reply_is_an_error_of_its_own() {
    let plain = |answers: &[u8]| outcome(|| Socks::v5(Asked::Name("h", 80), None), answers).1;
    for (answers, refusal) in [
        (&[4][..], Refusal::SocksVersion(4)),
        (b"HTTP/1.1 400 Bad Request", Refusal::SocksVersion(b'H')),
        (&[5, 0xff], Refusal::SocksMethods { has_offered_password: false }),
        (&[5, 2], Refusal::SocksMethod(2)),
        (&[5, 1], Refusal::SocksMethod(1)),
        (&[5, 0, 4], Refusal::SocksVersion(4)),
        (&[5, 0, 5, 0, 1], Refusal::SocksReserved),
        (&[5, 0, 5, 0, 0, 2], Refusal::SocksAddressType(2)),
        (&[5, 0, 5, 0, 0, 0, 1, 2, 3], Refusal::SocksAddressType(0)),
        // The rest of a reply that refuses may be missing.
        (&[5, 0, 5, 1], Refusal::Socks5(1)),
        (&[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0], Refusal::Socks5(5)),
        (&[5, 0, 5, 9], Refusal::Socks5(9)),
    ] {
        assert_eq!(plain(answers), Err(refusal), "A-62 {answers:?}");
    }
    let login = login("user", "secret");
    let known = |answers: &[u8]| outcome(|| Socks::v5(Asked::Name("h", 80), Some(&login)), answers).1;
    for (answers, refusal) in [
        (&[5, 0xff][..], Refusal::SocksMethods { has_offered_password: true }),
        (&[5, 2, 1, 1], Refusal::SocksLoginRefused),
        (&[5, 2, 1, 255], Refusal::SocksLoginRefused),
        (&[5, 2, 5], Refusal::SocksLogin),
    ] {
        let text = refusal.to_string();
        assert!(!text.contains("secret") && !text.contains("\"user"), "A-60 {text}");
        assert_eq!(known(answers), Err(refusal), "A-62 {answers:?}");
    }
}

#[test]
fn a_62_names_and_credentials_that_are_too_long_are_errors() {
    let names = [255, 256, 300, 65_536].map(|length| "n".repeat(length));
    for name in &names {
        let to = Asked::of(name, 80);
        let expected = if name.len() > 255 { Some(Refusal::NameTooLong(name.len())) } else { None };
        assert_eq!(Socks::v5(to, None).err(), expected, "A-62 {}", name.len());
        assert_eq!(Socks::v4(to, None).err(), expected, "A-62 {}", name.len());
    }
    for name in ["", "a\0b"] {
        assert_eq!(Socks::v5(Asked::Name(name, 80), None).err(), Some(Refusal::BadName), "A-62 {name:?}");
        assert_eq!(Socks::v4(Asked::Name(name, 80), None).err(), Some(Refusal::BadName), "A-62 {name:?}");
    }
    let long = "x".repeat(256);
    for login in [login(&long, ""), login("", &long)] {
        let begun = Socks::v5(Asked::Name("h", 80), Some(&login));
        assert_eq!(begun.err(), Some(Refusal::LoginTooLong));
    }
    for login in [login(&long, ""), login("a\0b", "")] {
        let begun = Socks::v4(Asked::Name("h", 80), Some(&login));
        assert_eq!(begun.err(), Some(Refusal::LoginTooLong));
    }
}

#[test]
fn socks4_sends_addresses_and_socks4a_sends_names() {
    let login = login("me", "");
    let granted = [0, 90, 0, 0, 0, 0, 0, 0];
    for (to, login, request) in [
        (Asked::of("192.0.2.7", 80), None, &[4, 1, 0, 80, 192, 0, 2, 7, 0][..]),
        (Asked::of("::ffff:192.0.2.7", 80), None, &[4, 1, 0, 80, 192, 0, 2, 7, 0]),
        (Asked::of("192.0.2.7", 443), Some(&login), b"\x04\x01\x01\xbb\xc0\x00\x02\x07me\x00"),
        (Asked::of("a.test", 8080), Some(&login), b"\x04\x01\x1f\x90\x00\x00\x00\x01me\x00a.test\x00"),
    ] {
        assert_eq!(outcome(|| Socks::v4(to, login), &granted), (request.to_vec(), Ok(Next::Open)), "{to:?}");
        for cut in 0..granted.len() {
            assert_eq!(outcome(|| Socks::v4(to, login), &granted[..cut]).1, Ok(Next::Wait), "{to:?} {cut}");
        }
    }
    assert_eq!(Socks::v4(Asked::of("2001:db8::1", 80), None).err(), Some(Refusal::NoIpv6));
    for (answers, refusal) in [
        (&[4][..], Refusal::SocksVersion(4)),
        (&[0, 91], Refusal::Socks4(91)),
        (&[0, 92, 0, 0, 0, 0, 0, 0], Refusal::Socks4(92)),
        (&[0, 93], Refusal::Socks4(93)),
        (&[0, 0], Refusal::Socks4(0)),
        (&[0, 90, 0, 0, 0, 0, 0, 0, 1], Refusal::EarlyBytes),
    ] {
        let end = outcome(|| Socks::v4(Asked::of("a.test", 80), None), answers).1;
        assert_eq!(end, Err(refusal), "A-62 {answers:?}");
    }
}

/// No random answer causes a panic, and the outcome does not depend on the size of the pieces.
#[test]
fn a_62_no_answer_panics_and_the_pieces_do_not_matter() {
    let login = login("user", "secret");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut opened = 0;
    for round in 0..20_000 {
        let mut answers = if round % 2 == 0 { vec![5, 2, 1, 0] } else { Vec::new() };
        for _ in 0..random() % 24 {
            // Most bytes have a meaning in SOCKS.
            let common = [0, 0, 0, 1, 3, 4, 5, 5, 90];
            let byte =
                if random() % 8 == 0 { random() as u8 } else { common[random() as usize % common.len()] };
            answers.push(byte);
        }
        let to = Asked::Name("h", 80);
        let ends = [
            outcome(|| Socks::v5(to, Some(&login)), &answers).1,
            outcome(|| Socks::v4(to, None), &answers).1,
        ];
        opened += ends.iter().filter(|end| **end == Ok(Next::Open)).count();
    }
    assert!(opened > 10, "{opened}");
}
