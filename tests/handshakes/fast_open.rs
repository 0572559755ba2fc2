//! TCP Fast Open: which requests go with the SYN, and what happens to those that do.

use std::fs;

use handclasp::{ErrorKind, Response};
use http::Method;

use super::*;

/// Lets this namespace open connections fast. `flags` are those of `net.ipv4.tcp_fastopen`.
fn allow(flags: u32) {
    fs::write("/proc/sys/net/ipv4/tcp_fastopen", flags.to_string()).unwrap();
}

/// The client sends data with the SYN, and every server takes it.
const BOTH: u32 = 0x403;
/// The client sends data with the SYN, and no server takes it.
const CLIENT: u32 = 0x1;

/// Names and values of the fields of a request.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// Returns the number of connections whose data in the SYN the server has acknowledged with its own SYN.
fn accepted() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "TCPFastOpenActive").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

fn client() -> Client {
    Client::builder().tcp_fast_open(true).build().unwrap()
}

/// Returns the number of bytes of data in each SYN of a client.
fn in_syns(packets: &[capture::Packet]) -> Vec<usize> {
    let syns = packets.iter().filter(|packet| packet.has_syn && !packet.has_ack);
    syns.map(|packet| packet.data).collect()
}

#[test]
fn only_a_request_that_may_be_repeated_goes_with_the_syn() {
    if !is_inside("fast_open::only_a_request_that_may_be_repeated_goes_with_the_syn") {
        return;
    }
    allow(BOTH);
    let server = Server::start(echo);
    let url = server.url("/a");
    let send = async |method: Method, fields: Fields<'_>, body: Option<&'static str>| -> Response {
        let mut request = client().request(method, &url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        within(20, request.send()).await.unwrap()
    };
    runtime().block_on(async {
        // The first connection asks for a cookie, and later ones have it.
        let mut capture = Capture::start();
        get(&client(), &url).await;
        assert_eq!((in_syns(&capture.packets()), accepted()), (vec![0], 0));
        let early: [(Method, Fields<'_>); 5] = [
            (Method::GET, &[]),
            (Method::HEAD, &[]),
            (Method::DELETE, &[]),
            (Method::OPTIONS, &[]),
            (Method::GET, &[("authorization", "Bearer x")]),
        ];
        for (at, (method, fields)) in early.into_iter().enumerate() {
            let requests = server.seen().len();
            let response = send(method.clone(), fields, None).await;
            assert_eq!((response.status().as_u16(), response.connection().ordinal()), (200, 1));
            drop(response);
            let packets = capture.first_connection();
            println!("{method}: {packets:?}");
            let [data] = in_syns(&packets)[..] else { panic!("{packets:?}") };
            let server_side = server.address().port();
            let sent: usize =
                packets.iter().filter(|packet| packet.to == server_side).map(|packet| packet.data).sum();
            assert!(data > 20 && sent == data, "the whole {method} goes with the SYN, and only once");
            assert_eq!(accepted(), at as u64 + 1);
            assert_eq!(server.seen().len(), requests + 1, "the server gets one request");
        }
        let before = accepted();
        let late: [(Method, Fields<'_>, Option<&str>); 5] = [
            (Method::POST, &[], None),
            (Method::POST, &[], Some("content")),
            (Method::PATCH, &[], Some("content")),
            (Method::PUT, &[], Some("content")),
            (Method::POST, &[("idempotency-key", "1")], Some("content")),
        ];
        for (method, fields, body) in late {
            assert_eq!(send(method.clone(), fields, body).await.status(), 200);
            assert_eq!(in_syns(&capture.packets()), [0], "{method} is not sent early");
        }
        assert_eq!(accepted(), before);
    });
}

/// With `request_on_ack` too, the first bytes carry the acknowledgment if they could not be sent early.
#[test]
fn a_request_goes_early_or_on_the_acknowledgment() {
    if !is_inside("fast_open::a_request_goes_early_or_on_the_acknowledgment") {
        return;
    }
    allow(BOTH);
    let server = Server::start(echo);
    for has_cookie in [false, true] {
        let client = Client::builder().tcp_fast_open(true).request_on_ack(true).build().unwrap();
        let mut capture = Capture::start();
        runtime().block_on(get(&client, &server.url("/a")));
        let data: Vec<_> = capture.opening().iter().map(|packet| packet.data > 0).collect();
        println!("{data:?}");
        assert_eq!(
            (data[0], data.get(1)),
            if has_cookie { (true, data.get(1)) } else { (false, Some(&true)) }
        );
    }
}

/// A connection whose SYN carried a request is kept, and serves later requests like every other connection.
#[test]
fn the_connection_is_kept_and_phases_add_up() {
    if !is_inside("fast_open::the_connection_is_kept_and_phases_add_up") {
        return;
    }
    allow(BOTH);
    let server = Server::start(echo);
    runtime().block_on(async {
        get(&client(), &server.url("/a")).await;
        let client = client();
        let response = client.get(server.url("/b")).send().await.unwrap();
        let timings = *response.timings();
        assert_eq!(response.text().await.unwrap(), "/b");
        assert!(timings.connect.is_some() && !timings.total.is_zero(), "{timings:?}");
        for path in ["/c", "/d"] {
            get(&client, &server.url(path)).await;
        }
        let total = client.pool().stats().total;
        assert_eq!((accepted(), total.opened, total.idle, total.reused), (1, 1, 1, 2));
    });
}

#[cfg(feature = "rustls")]
#[test]
fn the_hello_of_tls_goes_with_the_syn() {
    if !is_inside("fast_open::the_hello_of_tls_goes_with_the_syn") {
        return;
    }
    allow(BOTH);
    let server = Server::start_tls(echo);
    let url = format!("https://localhost:{}/a", server.address().port());
    let root = handclasp::Certificate::from_pem(server.authority()).unwrap();
    let client = Client::builder().resolve("localhost", server.address()).add_root_certificate(root);
    let client = client.tcp_fast_open(true).build().unwrap();
    runtime().block_on(async {
        let mut capture = Capture::start();
        for at in 0..3 {
            // A POST over https is sent after the handshake, so that any dial may be fast.
            let sent = within(20, client.post(&url).body("content").send()).await.unwrap();
            assert_eq!(sent.connection().ordinal(), 1);
            sent.bytes().await.unwrap();
            client.pool().close_idle();
            let [data] = in_syns(&capture.first_connection())[..] else { panic!("one connection") };
            assert_eq!((data > 100, accepted()), (at > 0, at), "connection {at}");
        }
    });
}

/// A closed port is an error of the connection attempt, as without Fast Open.
#[test]
fn a_closed_port_fails_as_usual() {
    if !is_inside("fast_open::a_closed_port_fails_as_usual") {
        return;
    }
    allow(BOTH);
    let server = Server::start(echo);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    runtime().block_on(async {
        get(&client(), &server.url("/a")).await;
        let mut capture = Capture::start();
        let error = within(20, client().get(format!("http://{closed}/")).send()).await.unwrap_err();
        assert!(in_syns(&capture.packets())[0] > 0, "the system has the cookie of the address");
        assert_eq!(
            (error.kind(), error.request_written()),
            (ErrorKind::Connect, handclasp::Written::Nothing)
        );
        assert!(error.chain().to_string().contains("connection refused"), "{}", error.chain());
    });
}

/// The dial goes on to the next address of the host, and sends the request there without Fast Open.
#[test]
fn another_address_gets_the_request_after_the_handshake() {
    if !is_inside("fast_open::another_address_gets_the_request_after_the_handshake") {
        return;
    }
    allow(BOTH);
    let server = Server::start_at([127, 0, 0, 2].into(), echo);
    let port = server.address().port();
    let cookie = Server::start(echo);
    runtime().block_on(async {
        get(&client(), &cookie.url("/a")).await;
        let mut capture = Capture::start();
        let closed = ([127, 0, 0, 1], port).into();
        let builder = Client::builder().resolve_to_addrs("two.test", &[closed, server.address()]);
        let client = builder.tcp_fast_open(true).build().unwrap();
        get(&client, &format!("http://two.test:{port}/b")).await;
        let in_syns = in_syns(&capture.packets());
        assert!(in_syns[0] > 0 && in_syns[1] == 0, "{in_syns:?}");
        assert_eq!(server.seen().len(), 1);
    });
}

/// Without a cookie, without the server's support, and where the system does not allow Fast Open, connections are made
/// as usual.
#[test]
fn connections_are_made_as_usual_where_fast_open_is_missing() {
    if !is_inside("fast_open::connections_are_made_as_usual_where_fast_open_is_missing") {
        return;
    }
    let server = Server::start(echo);
    for flags in [CLIENT, 0] {
        allow(flags);
        let mut capture = Capture::start();
        for path in ["/a", "/b", "/c"] {
            runtime().block_on(get(&client(), &server.url(path)));
            assert_eq!((in_syns(&capture.packets()), accepted()), (vec![0], 0), "{flags}");
        }
    }
    // The server has changed its key: the client sends the data again after the handshake.
    allow(BOTH);
    let server = Server::start(echo);
    let mut capture = Capture::start();
    runtime().block_on(get(&client(), &server.url("/a")));
    fs::write("/proc/sys/net/ipv4/tcp_fastopen_key", "00000001-00000002-00000003-00000004").unwrap();
    capture.packets();
    runtime().block_on(get(&client(), &server.url("/b")));
    let packets = capture.packets();
    assert!(in_syns(&packets)[0] > 0 && accepted() == 0, "{packets:?}");
}

/// The connection of a request that was dropped is closed, because its answer belongs to no later request.
#[test]
fn a_dropped_request_takes_its_connection_along() {
    if !is_inside("fast_open::a_dropped_request_takes_its_connection_along") {
        return;
    }
    allow(BOTH);
    let server = Server::start(echo);
    runtime().block_on(async {
        get(&client(), &server.url("/cookie")).await;
        for is_granted in [false, true] {
            let (client, before) = (client(), accepted());
            let stats = || client.pool().stats().total;
            let granted = until("a connection is granted", || !is_granted || stats().active == 1);
            drop_early(&client, &server.url("/dropped"), granted).await;
            until("the connection is closed", || stats().closed(handclasp::DropReason::Abandoned) == 1).await;
            assert_eq!((accepted(), stats().opened, stats().idle), (before + 1, 1, 0), "{is_granted}");
            get(&client, &server.url("/next")).await;
            assert_eq!(stats().opened, 2, "{is_granted}");
        }
    });
}

/// A connection whose SYN carried a request is not reserved, because only that request can use the connection.
#[test]
fn a_reservation_never_gets_the_connection_of_a_request() {
    if !is_inside("fast_open::a_reservation_never_gets_the_connection_of_a_request") {
        return;
    }
    allow(BOTH);
    let server = Server::start(echo);
    runtime().block_on(async {
        get(&client(), &server.url("/cookie")).await;
        let (client, before) = (client(), accepted());
        let mut reserving = pin!(client.reserve(server.url("/")));
        drop_early(&client, &server.url("/first"), async {
            poll_fn(|cx| {
                assert!(reserving.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        })
        .await;
        let mut reserved = within(20, reserving).await.unwrap();
        let response = within(20, reserved.get(server.url("/second")).send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "/second");
        let stats = client.pool().stats().total;
        println!("{stats}");
        assert_eq!((accepted(), stats.closed(handclasp::DropReason::Abandoned)), (before + 1, 1), "{stats}");
    });
}

/// A request that gets the connection of another request is sent on a new connection, and gets its own answer.
#[test]
fn a_request_never_gets_the_answer_of_another() {
    if !is_inside("fast_open::a_request_never_gets_the_answer_of_another") {
        return;
    }
    allow(BOTH);
    let server = Server::start(echo);
    runtime().block_on(async {
        get(&client(), &server.url("/cookie")).await;
        let client = client();
        let second = server.url("/second");
        let mut next = pin!(get(&client, &second));
        drop_early(&client, &server.url("/first"), async {
            poll_fn(|cx| {
                assert!(next.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        })
        .await;
        next.await;
        let stats = client.pool().stats().total;
        println!("{stats}");
        assert!(stats.opened >= 2 && stats.closed(handclasp::DropReason::Abandoned) >= 1, "{stats}");
        // Of many requests at once, one at most goes with its SYN.
        for round in 0..20 {
            let (client, before) = (self::client(), accepted());
            let urls: Vec<_> = (0..8).map(|at| server.url(&format!("/{round}/{at}"))).collect();
            let all = urls.iter().map(|url| get(&client, url));
            futures_util::future::join_all(all).await;
            assert!(accepted() - before <= 1);
        }
    });
}
