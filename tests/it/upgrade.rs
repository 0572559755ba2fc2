//! Tests of connections that switch to another protocol after an `Upgrade` or CONNECT request, of the forms of a request's
//! target, and of a few header fields.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use handclasp::{Body, Client, DropReason, ErrorKind, RequestBuilder, RequestTarget, Upgraded, Written};
use http::{HeaderMap, HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support;
use crate::support::lines;
use crate::support::lines::{Lines, Source, Step, send, settle};
use crate::support::{Server, Signal, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: foo/2\r\nconnection: upgrade\r\n\r\n";
const TUNNEL: &str = "HTTP/1.1 200 Connected\r\n\r\n";

/// Returns the two requests that open a tunnel, each with the response that accepts it.
fn ways(client: &Client) -> [(RequestBuilder, &'static str); 2] {
    [
        (client.get("http://h/").header("upgrade", "bar, FOO/2"), SWITCH),
        (client.request(Method::CONNECT, "http://h/"), TUNNEL),
    ]
}

/// Returns the number of idle connections, of active connections, of connections that were closed as tunnels, and of all
/// closed connections.
fn counts(client: &Client) -> (usize, usize, u64, u64) {
    let total = client.pool().stats().total;
    (total.idle, total.active, total.closed(DropReason::Upgraded), total.closed_total())
}

async fn read(tunnel: &mut Upgraded, length: usize) -> String {
    let mut bytes = vec![0; length];
    tunnel.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// R-9110-7.8-1, R-OPTUP-6-1, R-OPTUP-6-2, R-9110-9.3.6-2, R-2817-5.3-1: the client sends no byte of the tunnel before the
/// response. The caller first reads the bytes that followed the response's head, wherever the server's bytes are split. After
/// the response, the connection carries the caller's bytes in both directions.
async fn a_tunnel_begins(way: usize) {
    let answer = |lines: &Lines| format!("{}leftover", ways(&lines.client())[way].1);
    for split in 0..=answer(&Lines::default()).len() {
        let lines = Lines::default();
        let client = lines.client();
        let (request, _) = ways(&client).into_iter().nth(way).unwrap();
        let sending = send(request);
        let line = lines.written(0, "\r\n\r\n").await;
        let head = line.text();
        if way == 0 {
            assert!(head.contains("\r\nconnection: upgrade\r\n"), "R-9110-7.8-1: {head}");
        }
        let answer = answer(&lines);
        line.say(&answer[..split]);
        settle().await;
        assert_eq!(line.text(), head, "R-OPTUP-6-2: nothing before the answer");
        line.say(&answer[split..]);
        let response = sending.await.unwrap().unwrap();
        assert_eq!(response.content_length(), Some(0));
        let mut tunnel = response.upgrade().await.unwrap();
        assert_eq!(counts(&client), (0, 1, 0, 0));
        assert_eq!(client.pool().stats().total.requests, 1, "the request was sent");
        // The caller reads the bytes after the head in two small reads.
        assert_eq!(read(&mut tunnel, 3).await, "lef", "split at {split}");
        assert_eq!(read(&mut tunnel, 5).await, "tover", "split at {split}");
        assert_eq!(line.text(), head, "R-OPTUP-6-1");
        tunnel.write_all(b"hello\r\n\r\n").await.unwrap();
        tunnel.flush().await.unwrap();
        assert_eq!(&line.text()[head.len()..], "hello\r\n\r\n");
        line.say("HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(
            read(&mut tunnel, 19).await,
            "HTTP/1.1 200 OK\r\n\r\n",
            "the tunnel passes these bytes on"
        );
        line.eof();
        assert_eq!(tunnel.read(&mut [0; 9]).await.unwrap(), 0);
        tunnel.shutdown().await.unwrap();
        assert!(line.is_shut() && !line.is_gone());
        drop(tunnel);
        assert!(line.is_gone());
        assert_eq!(counts(&client), (0, 0, 1, 1));
        let sending = send(client.get("http://h/"));
        lines.written(1, "\r\n\r\n").await.say(OK);
        assert!(
            !sending.await.unwrap().unwrap().connection().is_reused(),
            "the connection is never used again"
        );
    }
}

#[tokio::test]
async fn rule_25_after_101_a_connection_is_a_tunnel_r_9110_7_8_1() {
    a_tunnel_begins(0).await;
}

#[tokio::test]
async fn rule_25_after_connect_a_connection_is_a_tunnel_r_9110_9_3_6_2() {
    a_tunnel_begins(1).await;
}

/// A tunnel counts towards the limit of connections until the caller drops the tunnel. A waiting request then dials. If the
/// caller drops, collects or converts the response instead of upgrading it, the connection is closed at once.
#[tokio::test]
async fn a_tunnel_holds_its_slot_until_it_is_dropped() {
    for way in 0..2 {
        for (case, is_upgraded) in
            [("upgraded", true), ("dropped", false), ("collected", false), ("converted", false)]
        {
            let lines = Lines::default();
            let client = lines.builder().max_connections_per_host(1).build().unwrap();
            let (request, answer) = ways(&client).into_iter().nth(way).unwrap();
            let sending = send(request);
            let line = lines.written(0, "\r\n\r\n").await;
            line.say(answer);
            let response = sending.await.unwrap().unwrap();
            let waiter = send(client.get("http://h/"));
            settle().await;
            assert_eq!(
                (lines.count(), client.pool().stats().total.waiting, counts(&client).1),
                (1, 1, 1),
                "{case}"
            );
            if is_upgraded {
                let tunnel = response.upgrade().await.unwrap();
                settle().await;
                assert_eq!((lines.count(), counts(&client)), (1, (0, 1, 0, 0)));
                assert_eq!(tunnel.connection().ordinal(), 1);
                drop(tunnel);
            } else if case == "collected" {
                assert_eq!(response.bytes().await.unwrap(), "");
            } else if case == "converted" {
                drop(http::Response::from(response));
            } else {
                drop(response);
            }
            assert!(line.is_gone(), "{case}");
            lines.written(1, "\r\n\r\n").await.say(OK);
            waiter.await.unwrap().unwrap();
            assert_eq!(counts(&client), (1, 0, 1, 1), "{case}");
        }
    }
}

/// R-9110-7.8-2, R-9110-7.8-3, R-2817-3.1-1: a 101 response to a protocol that the request did not offer is an error.
#[tokio::test]
async fn a_101_keeps_to_what_was_asked_for_r_9110_7_8_2() {
    let stream = || Body::from_stream(Source::new(&[Step::Data("he"), Step::Never]));
    let client = |lines: &Lines| lines.client();
    type Make = fn(&Client) -> RequestBuilder;
    let plain: Make = |client| client.get("http://h/");
    let offer: Make =
        |client| client.post("http://h/").header("upgrade", "foo/2, bar").header("upgrade", "baz");
    let cases: [(&str, Make, &str, bool); 9] = [
        ("not asked for", plain, SWITCH, false),
        (
            "TLS, not asked for",
            plain,
            "HTTP/1.1 101 S\r\nupgrade: TLS/1.0, HTTP/1.1\r\nconnection: upgrade\r\n\r\n",
            false,
        ),
        (
            "to CONNECT",
            |client| client.request(Method::CONNECT, "http://h/").header("upgrade", "foo/2"),
            SWITCH,
            false,
        ),
        ("without Upgrade", offer, "HTTP/1.1 101 S\r\nconnection: upgrade\r\n\r\n", false),
        (
            "with an empty Upgrade",
            offer,
            "HTTP/1.1 101 S\r\nupgrade: ,\r\nconnection: upgrade\r\n\r\n",
            false,
        ),
        ("another version", offer, "HTTP/1.1 101 S\r\nupgrade: foo/3\r\nconnection: upgrade\r\n\r\n", false),
        (
            "a foreign protocol",
            offer,
            "HTTP/1.1 101 S\r\nupgrade: bar, qux\r\nconnection: upgrade\r\n\r\n",
            false,
        ),
        (
            "R-9110-7.8-3: in other letters",
            offer,
            "HTTP/1.1 101 S\r\nupgrade: Foo/2\r\nconnection: upgrade\r\n\r\n",
            true,
        ),
        (
            "from the second line",
            offer,
            "HTTP/1.1 101 S\r\nupgrade: baz\r\nconnection: upgrade\r\n\r\n",
            true,
        ),
    ];
    for (name, make, answer, is_taken) in cases {
        let lines = Lines::default();
        let client = client(&lines);
        let sending = send(make(&client));
        let line = lines.written(0, "\r\n\r\n").await;
        line.say(answer);
        let outcome = sending.await.unwrap();
        if is_taken {
            outcome.unwrap().upgrade().await.unwrap();
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(
                (error.kind(), error.request_written()),
                (ErrorKind::Protocol, Written::All),
                "R-9110-7.8-2: {name}"
            );
            assert_eq!(counts(&client), (0, 0, 0, 1), "{name}");
        }
        assert!(line.is_gone(), "{name}");
    }
    // The 101 response comes before the whole request was sent: while the source of the content pauses, while the client
    // waits for a 100 response, and while the connection accepts no more bytes.
    for (name, body, room, expects) in [
        ("the source pauses", stream(), usize::MAX, false),
        ("an expectation", "hello".into(), usize::MAX, true),
        ("a piece is half written", vec![b'x'; 100_000].into(), 1000, false),
    ] {
        let lines = Lines::default();
        lines.room(room);
        let client = client(&lines);
        let mut request = client.post("http://h/").header("upgrade", "foo/2").body(body);
        if expects {
            request = request.expect_continue();
        }
        let sending = send(request);
        let line = lines.line(0).await;
        settle().await;
        assert!(line.len() > 0);
        line.say(SWITCH);
        let error = sending.await.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.request_written()),
            (ErrorKind::Protocol, Written::Partly),
            "R-9110-7.8-2: {name}"
        );
        assert_eq!(counts(&client), (0, 0, 0, 1), "{name}");
    }
}

/// R-9110-7.8-4, R-9110-9.3.6-3: a response with another status is an ordinary response, and its connection is used again.
/// The connection of a CONNECT request is never used again (rule 25 of the pool).
#[tokio::test]
async fn rule_25_another_answer_is_an_ordinary_response_r_9110_9_3_6_3() {
    for way in 0..2 {
        for status in [200, 204, 302, 407, 426, 500] {
            if way == 1 && status < 300 {
                continue;
            }
            let lines = Lines::default();
            let client = lines.client();
            let (length, content) = if status == 204 { ("", "") } else { ("content-length: 2\r\n", "no") };
            let answer =
                format!("HTTP/1.1 {status} It\r\nupgrade: foo/2\r\nlocation: /x\r\n{length}\r\n{content}");
            for number in 1..=2 {
                let (request, _) = ways(&client).into_iter().nth(way).unwrap();
                let sending = send(request);
                let (index, ordinal) = if way == 1 { (number - 1, 1) } else { (0, number) };
                let line = lines.line(index).await;
                lines::until("the request is sent", || line.text().matches("\r\n\r\n").count() == ordinal)
                    .await;
                line.say(&answer);
                let response = sending.await.unwrap().unwrap();
                assert_eq!(
                    (response.status().as_u16(), response.connection().ordinal()),
                    (status, ordinal as u64),
                    "R-9110-7.8-4"
                );
                if number == 1 {
                    assert_eq!(response.text().await.unwrap(), content, "R-9110-9.3.6-3");
                } else {
                    let error = response.upgrade().await.unwrap_err();
                    assert_eq!(
                        (error.kind(), error.request_written()),
                        (ErrorKind::Upgrade, Written::All),
                        "{error}"
                    );
                }
                let left = if way == 1 { (0, 0, 0, number as u64) } else { (1, 0, 0, 0) };
                assert_eq!(counts(&client), left);
            }
        }
    }
}

/// R-9112-6.3-2: the client ignores `Content-Length` and `Transfer-Encoding` in a 2xx response to CONNECT.
#[tokio::test]
async fn the_framing_of_a_2xx_to_connect_is_ignored_r_9112_6_3_2() {
    for fields in
        ["content-length: 4", "transfer-encoding: chunked", "content-length: x", "connection: close"]
    {
        for status in [200, 204, 299] {
            let lines = Lines::default();
            let client = lines.client();
            let sending = send(client.request(Method::CONNECT, "https://h/"));
            lines
                .written(0, "\r\n\r\n")
                .await
                .say(format!("HTTP/1.1 {status} Yes\r\n{fields}\r\n\r\n4\r\nabcd"));
            let mut tunnel = sending.await.unwrap().unwrap().upgrade().await.unwrap();
            assert_eq!(read(&mut tunnel, 7).await, "4\r\nabcd", "R-9112-6.3-2: {status}, {fields}");
        }
    }
}

/// A reused connection becomes a tunnel, and the 101 response comes after an interim response.
#[tokio::test]
async fn a_kept_connection_becomes_a_tunnel() {
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(client.get("http://h/"));
    let line = lines.written(0, "\r\n\r\n").await;
    line.say(OK);
    sending.await.unwrap().unwrap();
    let sending = send(client.get("http://h/ws").header("upgrade", "foo/2"));
    lines::until("the request is sent", || line.text().contains("/ws")).await;
    line.say(format!("HTTP/1.1 103 Early Hints\r\n\r\n{SWITCH}{}", "x".repeat(100_000)));
    let mut tunnel = sending.await.unwrap().unwrap().upgrade().await.unwrap();
    assert_eq!(read(&mut tunnel, 100_000).await, "x".repeat(100_000));
    assert_eq!(tunnel.connection().ordinal(), 2);
    drop(tunnel);
    assert_eq!(counts(&client), (0, 0, 1, 1));
}

/// A tunnel is opened over a real socket, with and without TLS. The server sees no byte of the tunnel before its response. After
/// the response, the tunnel carries bytes in both directions, and the server sees the end of the client's bytes.
#[tokio::test]
async fn a_tunnel_over_sockets_and_tls() {
    let schemes: &[bool] = if cfg!(feature = "rustls") { &[false, true] } else { &[false] };
    for &is_tls in schemes {
        for way in 0..2 {
            let answered = Signal::new();
            let waits = answered.clone();
            let script = move |peer: &mut support::Peer| {
                let request = peer.request()?.unwrap();
                assert!(peer.is_quiet(Duration::from_millis(30)), "R-OPTUP-6-1: nothing before the answer");
                let answer = if request.method == "CONNECT" { TUNNEL } else { SWITCH };
                peer.send(format!("{answer}left"))?;
                peer.send("over")?;
                assert_eq!(peer.take(5)?, b"hello");
                peer.send("world")?;
                assert!(peer.is_ended()?, "the server reads a FIN, in TLS after a close_notify");
                peer.send("late")?;
                waits.raise();
                peer.stall()
            };
            let server = if is_tls { Server::start_tls(script) } else { Server::start(script) };
            let builder = Client::builder();
            #[cfg(feature = "rustls")]
            let builder = match is_tls {
                true => builder
                    .add_root_certificate(handclasp::Certificate::from_pem(server.authority()).unwrap()),
                false => builder,
            };
            let client = builder.build().unwrap();
            let request = match way {
                0 => client.get(server.url("/")).header("upgrade", "foo/2"),
                _ => client.request(Method::CONNECT, server.url("/")),
            };
            within(20, async {
                let mut tunnel = request.send().await.unwrap().upgrade().await.unwrap();
                assert_eq!(read(&mut tunnel, 8).await, "leftover");
                tunnel.write_all(b"hello").await.unwrap();
                tunnel.flush().await.unwrap();
                assert_eq!(read(&mut tunnel, 5).await, "world");
                tunnel.shutdown().await.unwrap();
                assert_eq!(read(&mut tunnel, 4).await, "late");
                answered.raised().await;
                assert_eq!(counts(&client), (0, 1, 0, 0));
                drop(tunnel);
                assert_eq!(counts(&client), (0, 0, 1, 1));
            })
            .await;
        }
    }
}

/// R-9112-3.2-2, R-9112-3.2.1-2, R-9112-3.2.2-1, R-9112-3.2.2-2, R-9112-3.2.3-1, R-9112-3.2.4-1, R-9110-4.2.4-1,
/// R-9110-9.3.6-1: the client writes the request line and `Host` in the form that the method and the caller ask for.
#[tokio::test]
async fn the_forms_of_a_target() {
    use RequestTarget::{Absolute, Asterisk, Authority, Origin};

    let named = || Authority("[::1]:25".into());
    for (name, method, url, target, expected) in [
        ("R-9112-3.2.1-2", "GET", "http://h?q=1", None, "GET /?q=1 HTTP/1.1\r\nhost: h\r\n"),
        ("origin-form", "GET", "http://h:81/a?b#c", Some(Origin), "GET /a?b HTTP/1.1\r\nhost: h:81\r\n"),
        (
            "R-9112-3.2.2-1",
            "GET",
            "http://u:p@h/a?b",
            Some(Absolute),
            "GET http://h/a?b HTTP/1.1\r\nhost: h\r\n",
        ),
        (
            "R-9112-3.2.2-2",
            "POST",
            "https://[::1]:8443",
            Some(Absolute),
            "POST https://[::1]:8443/ HTTP/1.1\r\nhost: [::1]:8443\r\n",
        ),
        (
            "R-9112-3.2.4-1",
            "OPTIONS",
            "http://h/ignored",
            Some(Asterisk),
            "OPTIONS * HTTP/1.1\r\nhost: h\r\n",
        ),
        ("OPTIONS of a resource", "OPTIONS", "http://h/a", None, "OPTIONS /a HTTP/1.1\r\nhost: h\r\n"),
        ("R-9112-3.2.3-1", "CONNECT", "http://h/", None, "CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n"),
        ("R-9110-9.3.6-1", "CONNECT", "https://H/a", None, "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n"),
        ("IPv6", "CONNECT", "https://[::1]/", None, "CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n"),
        ("userinfo", "CONNECT", "http://u:p@h:1", None, "CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\n"),
        (
            "by hand",
            "CONNECT",
            "http://proxy:3128/",
            Some(Authority("origin:443".into())),
            "CONNECT origin:443 HTTP/1.1\r\nhost: origin:443\r\n",
        ),
        (
            "by hand, IPv6",
            "CONNECT",
            "http://proxy:3128/",
            Some(named()),
            "CONNECT [::1]:25 HTTP/1.1\r\nhost: [::1]:25\r\n",
        ),
    ] {
        for is_executed in [false, true] {
            let lines = Lines::default();
            let client = lines.client();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = client.request(method.clone(), url);
            if is_executed {
                // An `http::Request` carries the form of its target as an extension.
                let mut request = request.build().unwrap();
                if let Some(target) = target.clone() {
                    request.extensions_mut().insert(target);
                }
                tokio::spawn(async move { client.execute(request).await });
            } else {
                if let Some(target) = target.clone() {
                    request = request.target(target);
                }
                send(request);
            }
            let line = lines.written(0, "\r\n\r\n").await;
            assert!(line.text().starts_with(expected), "{name}: {}", line.text());
        }
    }
}

/// R-9110-7.1-1: the client refuses a request whose method and target contradict each other, and dials no connection.
#[tokio::test]
async fn targets_that_do_not_fit_are_refused_r_9110_7_1_1() {
    use RequestTarget::{Absolute, Asterisk, Authority, Origin};

    let lines = Lines::default();
    let client = lines.client();
    let authority = |text: &str| Authority(text.into());
    for (method, target) in [
        ("GET", Asterisk),
        ("POST", Asterisk),
        ("CONNECT", Asterisk),
        ("CONNECT", Origin),
        ("CONNECT", Absolute),
        ("GET", authority("h:80")),
        ("OPTIONS", authority("h:80")),
        ("CONNECT", authority("")),
        ("CONNECT", authority("h")),
        ("CONNECT", authority("h:")),
        ("CONNECT", authority(":80")),
        ("CONNECT", authority("h:x")),
        ("CONNECT", authority("u@h:80")),
        ("CONNECT", authority("h /x:80")),
        ("CONNECT", authority("h\r\nx: y:80")),
        ("CONNECT", authority("http://h:80")),
    ] {
        let request = client.request(method.parse().unwrap(), "http://h/").target(target.clone());
        let error = request.send().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.request_written()),
            (ErrorKind::Request, Written::Nothing),
            "{method} {target:?}"
        );
    }
    assert_eq!(lines.count(), 0);
}

/// R-9110-10.1.5-1, R-9110-10.1.5-2: the default `User-Agent` is the name and version of the crate. The caller can change or
/// remove the field.
#[tokio::test]
async fn the_user_agent_is_short_and_can_be_changed_r_9110_10_1_5_1() {
    let lines = Lines::default();
    let builder = || Client::builder().connector(lines.connector());
    let ours = concat!("handclasp/", env!("CARGO_PKG_VERSION"));
    let mut defaults = HeaderMap::new();
    defaults.insert("user-agent", HeaderValue::from_static("mine/3"));
    for (number, (name, builder, own, expected)) in [
        ("by default", builder(), None, Some(ours)),
        ("the client's", builder().user_agent("mine/1"), None, Some("mine/1")),
        ("the request's", builder().user_agent("mine/1"), Some("mine/2"), Some("mine/2")),
        ("the request's own over ours", builder(), Some("mine/2"), Some("mine/2")),
        ("among the default headers", builder().default_headers(defaults), None, Some("mine/3")),
        ("off", builder().no_user_agent(), None, None),
        ("off after on", builder().user_agent("mine/1").no_user_agent(), None, None),
        ("off, but the request's", builder().no_user_agent(), Some("mine/2"), Some("mine/2")),
    ]
    .into_iter()
    .enumerate()
    {
        let client = builder.build().unwrap();
        let mut request = client.get("http://h/");
        if let Some(own) = own {
            request = request.header("user-agent", own);
        }
        send(request);
        let text = lines.written(number, "\r\n\r\n").await.text();
        let said: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("user-agent: ")).collect();
        assert_eq!(said, expected.into_iter().collect::<Vec<_>>(), "R-9110-10.1.5-1: {name}");
    }
    assert!(builder().user_agent("a\nb").build().is_err());
}

/// R-9112-9.3-3, R-9112-9.6-1: a client that keeps no idle connections sends `Connection: close` with every request, even
/// while other requests wait for a connection.
#[tokio::test]
async fn without_a_shelf_every_request_says_close_r_9112_9_3_3() {
    let lines = Lines::default();
    for (case, builder) in
        [("per host", lines.builder().max_idle_per_host(0)), ("in all", lines.builder().max_idle(0))]
    {
        let client = builder.max_connections_per_host(1).build().unwrap();
        let first = lines.count();
        let all: Vec<_> = (0..3).map(|_| send(client.get("http://h/"))).collect();
        for (at, sending) in all.into_iter().enumerate() {
            let line = lines.written(first + at, "\r\n\r\n").await;
            assert_eq!(
                line.text(),
                "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
                "R-9112-9.3-3: {case}"
            );
            settle().await;
            assert_eq!(lines.count(), first + at + 1, "the other requests wait");
            line.say(OK);
            sending.await.unwrap().unwrap();
            assert!(line.is_gone(), "R-9112-9.6-2: {case}");
        }
        assert_eq!(counts(&client), (0, 0, 0, 3));
        // The client does not repeat a `close` that the caller sent.
        send(client.get("http://h/").header("connection", "Close"));
        let text = lines.written(first + 3, "\r\n\r\n").await.text();
        assert_eq!(text.to_ascii_lowercase().matches("close").count(), 1, "{text}");
        // `Connection` lists both `upgrade` and `close`.
        let client = client.clone();
        send(client.get("http://other/").header("upgrade", "foo"));
        let text = lines.written(first + 4, "\r\n\r\n").await.text();
        assert!(text.contains("connection: upgrade, close\r\n"), "{text}");
    }
}

/// R-9110-5.2-1: `raw_headers` returns each field as the server sent it: upper and lower case, order, duplicates and bytes.
#[tokio::test]
async fn raw_headers_are_as_they_came_r_9110_5_2_1() {
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(client.get("http://h/"));
    let line = lines.written(0, "\r\n\r\n").await;
    line.say(b"HTTP/1.1 200 OK\r\nSet-COOKIE: b=1\r\nX-a:1\r\nset-cookie: \t a=2 \t\r\nx-A: \xff\xe9\r\nEmpty:\r\nContent-Length: 0\r\n\r\n");
    let response = sending.await.unwrap().unwrap();
    let raw: Vec<(&[u8], &[u8])> = response.raw_headers().collect();
    let expected: [(&[u8], &[u8]); 6] = [
        (b"Set-COOKIE", b"b=1"),
        (b"X-a", b"1"),
        (b"set-cookie", b"a=2"),
        (b"x-A", b"\xff\xe9"),
        (b"Empty", b""),
        (b"Content-Length", b"0"),
    ];
    assert_eq!(raw, expected, "R-9110-5.2-1");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["b=1", "a=2"], "R-9110-5.2-1");
}

/// The pool counts a request once, when its connection becomes a tunnel. The end of the tunnel is not counted as another
/// request.
#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_counts_as_one_request() {
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(client.get("http://h/first"));
    let line = lines.written(0, "\r\n\r\n").await;
    line.say("HTTP/1.1 204 No Content\r\n\r\n");
    sending.await.unwrap().unwrap();
    let (request, answer) = ways(&client).into_iter().next().unwrap();
    let sending = send(request);
    lines::until("the request is sent", || line.text().contains("upgrade")).await;
    line.say(answer);
    let tunnel = sending.await.unwrap().unwrap().upgrade().await.unwrap();
    let ledger = || {
        let total = client.pool().stats().total;
        (total.requests, total.reused, total.handshakes_saved)
    };
    assert_eq!((ledger(), counts(&client)), ((2, 1, 1), (0, 1, 0, 0)));
    drop(tunnel);
    assert_eq!((ledger(), counts(&client)), ((2, 1, 1), (0, 0, 1, 1)));
}
