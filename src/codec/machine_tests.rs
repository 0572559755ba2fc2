//! Tests of both directions of an exchange, and of the effect of each direction on the other direction.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::observe::*;
use super::*;

#[test]
fn switching_protocols_r_9110_7_8_2() {
    use ProtocolError::*;
    let upgrade = Method::from_bytes(b"UPGRADE").unwrap();
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\n";
    for (method, fields, expected) in [
        (&upgrade, "Upgrade: foo/1\r\nConnection: upgrade\r\n", Ok(&[CloseReason::Upgrade][..])),
        (&upgrade, "upgrade: FOO/1\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: baz/2, ,foo/1\r\nUpgrade: bar\r\n", Ok(&[CloseReason::Upgrade])),
        // Framing fields have no effect after a 101 (R-9112-6.3-1), even if they are malformed.
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
        // The request offered no version, so that any version is accepted.
        (&upgrade, "Upgrade: bar/9\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: BAR/x.y, bar\r\n", Ok(&[CloseReason::Upgrade])),
        (&upgrade, "Upgrade: bar/\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: bar/1/2\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: bar/1 2\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: ba/1\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo/2\r\n", Err(UpgradeNotOffered)),
        (&upgrade, "Upgrade: foo/1/1\r\n", Err(UpgradeNotOffered)),
        // HTTP/1.1 may run over the new protocol, as in RFC 2817, section 3.3.
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
                assert!(text.starts_with("the server ") && text.contains("RFC 9110"), "{text}");
            }
        }
    }
    // CONNECT asks for a tunnel, so that a 101 is refused, whatever the request offered.
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
fn each_cell_of_the_joint_table_has_its_verdict() {
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
fn an_early_response_stops_the_upload_unless_it_is_a_success() {
    for (head, expected) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true),
        ("HTTP/1.1 200 OK\n\n", true),
        ("HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\n", true),
        // `Connection: close` says nothing about the upload.
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n", true),
        (
            "HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
            true,
        ),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", true),
        ("HTTP/1.1 300 Multiple Choices\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.1 302 Found\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.1 399 Odd\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.1 413 Too Large\r\nContent-Length: 1\r\n\r\n", false),
        ("HTTP/1.0 503 Unavailable\r\n\r\n", false),
        ("HTTP/1.1 600 Odd\r\nContent-Length: 1\r\n\r\n", false),
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
fn added_close_reasons_and_keep_alive_hints_are_kept() {
    let mut machine = machine(&Method::GET, Limits::default());
    let mut buf = BytesMut::from(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5, max=9\r\n\
            Set-Cookie: timeout=1, max=1\r\n\r\n",
    );
    assert!(matches!(machine.decode(&mut buf), Ok(Some(Event::Informational(_)))));
    let Ok(Some(Event::Head(head))) = machine.decode(&mut buf) else { panic!("a head") };
    assert_eq!((head.status, head.headers().len()), (StatusCode::NO_CONTENT, 2));
    assert_eq!((machine.keep_alive().timeout.unwrap().as_secs(), machine.keep_alive().max), (5, Some(9)));
    assert_eq!(machine.framing(), Some(Framing::None));
    assert!(matches!(machine.decode(&mut buf), Ok(Some(Event::End))));
    assert_eq!(machine.verdict(0), Verdict::Reuse);
    machine.close_after(CloseReason::Failed);
    assert!(machine.close_reasons().contains(CloseReason::Failed));
    assert_eq!(machine.verdict(0), Verdict::Close(machine.close_reasons()));
}

#[test]
fn machines_can_move_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Machine>();
    check::<Event>();
}

/// Checks that a response without content can announce the length of another response's content.
#[test]
fn a_length_is_announced_even_if_no_content_comes_r_9110_8_6() {
    for (method, head, announced, remaining) in [
        (Method::HEAD, "200 OK\r\nContent-Length: 1000", Some(1000), Some(0)),
        (Method::HEAD, "200 OK\r\nContent-Length: 0", Some(0), Some(0)),
        (Method::HEAD, "200 OK\r\nContent-Length: 7, 7", Some(7), Some(0)),
        (Method::HEAD, "200 OK\r\nContent-Length: x", None, Some(0)),
        (Method::HEAD, "200 OK\r\nTransfer-Encoding: chunked", None, Some(0)),
        (Method::HEAD, "200 OK", None, Some(0)),
        (Method::HEAD, "204 No Content", Some(0), Some(0)),
        (Method::GET, "304 Not Modified\r\nContent-Length: 1000", Some(1000), Some(0)),
        (Method::GET, "304 Not Modified", None, Some(0)),
        (Method::GET, "204 No Content\r\nContent-Length: 5", Some(0), Some(0)),
        (Method::GET, "200 OK\r\nContent-Length: 5", Some(5), Some(5)),
        (Method::GET, "200 OK\r\nContent-Length: 0", Some(0), Some(0)),
        (Method::GET, "200 OK\r\nTransfer-Encoding: chunked", None, None),
        (Method::GET, "200 OK", None, None),
        (Method::CONNECT, "200 OK\r\nContent-Length: 5", Some(0), Some(0)),
    ] {
        let mut machine = Machine::new(Limits::default());
        let headers = HeaderMap::new();
        let target = match method {
            Method::CONNECT => Target::Authority("h:1"),
            _ => Target::Origin("/"),
        };
        let request = RequestHead::new(&method, target, Some(b"h:1"), &headers);
        machine.encode_head(&request, &mut BytesMut::new()).unwrap();
        assert_eq!(machine.announced_length(), None);
        let mut buf = BytesMut::from(&*format!("HTTP/1.1 {head}\r\n\r\n"));
        assert!(matches!(machine.decode(&mut buf), Ok(Some(Event::Head(_)))));
        let lengths = (machine.announced_length(), machine.receive_remaining());
        assert_eq!(lengths, (announced, remaining), "{method} {head:?}");
    }
}
