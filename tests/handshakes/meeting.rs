//! A reserved connection, Fast Open and `request_on_ack`, where two of them meet.

use super::*;

/// A reservation that waits for a dial gets a connection of its own use, and not the connection whose SYN has carried a
/// request of somebody else.
#[cfg(feature = "fast-open")]
#[test]
fn a_reserved_connection_never_has_the_request_of_another() {
    if !is_inside("meeting::a_reserved_connection_never_has_the_request_of_another") {
        return;
    }
    std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1027").unwrap();
    let server = Server::start(echo);
    let url = |path: &str| server.url(path);
    runtime().block_on(async {
        let client = || Client::builder().tcp_fast_open(true).max_connections_per_host(1).build().unwrap();
        get(&client(), &url("/cookie")).await;
        for is_granted in [false, true] {
            let client = client();
            let mut reserving = pin!(client.reserve(url("/")));
            let stats = || client.pool().stats().total;
            let asked = async {
                poll_fn(|cx| {
                    assert!(reserving.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                until("a connection is granted", || !is_granted || stats().active == 1).await;
            };
            drop_early(&client, &url("/first"), asked).await;
            let mut reserved = within(20, reserving).await.unwrap();
            for path in ["/second", "/third"] {
                let response = within(20, reserved.post(url(path)).body("content").send()).await.unwrap();
                assert_eq!(response.text().await.unwrap(), path, "{is_granted}");
            }
            let total = stats();
            assert_eq!((total.active, total.opened), (1, 2), "{is_granted}: {total}");
            reserved.release();
            get(&client, &url("/fourth")).await;
            assert_eq!((stats().opened, stats().idle), (2, 1), "the connection was given back");
        }
    });
}

/// No request is written at once on a reserved connection, so that its handshake must not wait for one.
#[test]
fn a_reserved_connection_is_acknowledged() {
    if !is_inside("meeting::a_reserved_connection_is_acknowledged") {
        return;
    }
    let server = Server::start(echo);
    let url = server.url("/a");
    let client = Client::builder().request_on_ack(true).build().unwrap();
    let mut capture = Capture::start();
    runtime().block_on(async {
        let mut reserved = within(20, client.reserve(&url)).await.unwrap();
        let packets = capture.first_connection();
        let [_, _, ack] = packets[..] else { panic!("{packets:?}") };
        assert!(ack.has_ack && !ack.has_syn && ack.data == 0, "{packets:?}");
        assert_eq!(reserved.get(&url).send().await.unwrap().text().await.unwrap(), "/a");
    });
}

/// A request that went with the SYN leaves nothing to write that could carry the acknowledgment, so that the
/// acknowledgment is sent alone, and the server does not wait for it until it has answered.
#[cfg(feature = "fast-open")]
#[test]
fn nothing_holds_the_acknowledgment_after_a_request_in_the_syn() {
    if !is_inside("meeting::nothing_holds_the_acknowledgment_after_a_request_in_the_syn") {
        return;
    }
    std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1027").unwrap();
    let answers = support::Signal::new();
    let server = Server::start({
        let answers = answers.clone();
        move |peer| {
            while let Some(request) = peer.request()? {
                if request.target == "/held" {
                    peer.wait(&answers)?;
                }
                peer.respond(&request.target)?;
            }
            Ok(())
        }
    });
    let client = || Client::builder().tcp_fast_open(true).request_on_ack(true).build().unwrap();
    runtime().block_on(async {
        get(&client(), &server.url("/cookie")).await;
        let (client, mut capture) = (client(), Capture::start());
        let url = server.url("/held");
        let answer = async {
            until("the connection is granted", || client.pool().stats().total.active == 1).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            answers.raise();
        };
        tokio::join!(get(&client, &url), answer);
        let opening: Vec<_> =
            capture.opening().iter().map(|packet| (packet.has_syn, packet.data > 0)).collect();
        assert_eq!(opening, [(true, true), (false, false)], "the acknowledgment comes before the answer");
    });
}
