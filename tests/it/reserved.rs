//! Tests of reserved connections: several requests of one caller on one connection, and the limits that the connection
//! counts against.

#![allow(clippy::unwrap_used, reason = "a test")]

mod end;

use std::collections::HashMap;
use std::time::Duration;

use handclasp::{Client, ClientBuilder, DropReason, Error, ErrorKind, Phase, Reserved, Response, Written};
use http::Method;

use crate::support::scripted::{Peers, Reply, Script};
use crate::support::{Peer, Server, within};

const URL: &str = "http://a.test/";

/// A change of a client's settings.
type Change = fn(ClientBuilder) -> ClientBuilder;

async fn get(reserved: &mut Reserved, url: &str) -> handclasp::Result<Response> {
    within(20, reserved.get(url).send()).await
}

async fn text(reserved: &mut Reserved, url: &str) -> String {
    let response = get(reserved, url).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    response.text().await.unwrap()
}

async fn fetch(client: &Client, url: &str) -> u64 {
    let response = within(20, client.get(url).send()).await.unwrap();
    let id = response.connection().id();
    response.bytes().await.unwrap();
    id
}

/// Returns the numbers of idle and of active connections.
fn counts(client: &Client) -> (usize, usize) {
    let total = client.pool().stats().total;
    (total.idle, total.active)
}

fn closed(client: &Client, reason: DropReason) -> u64 {
    client.pool().stats().total.closed(reason)
}

/// Checks that a request failed because its reservation is over, and that nothing was written.
#[track_caller]
fn assert_over(outcome: handclasp::Result<Response>, words: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert_eq!(error.request_written(), Written::Nothing, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

/// Returns a client and peers in memory that answer each request with `hello`.
fn in_memory(change: impl FnOnce(ClientBuilder) -> ClientBuilder, replies: &[Reply]) -> (Client, Peers) {
    let peers = Peers::new(Script { is_eager: true, ..Script::new(&[replies]) });
    let builder = Client::builder().connector(peers.connector());
    (change(builder).build().unwrap(), peers)
}

/// A server with a login in three steps on one connection. Each connection begins without a login.
fn ntlm() -> Server {
    Server::start(|peer: &mut Peer| {
        let mut step = 0;
        while let Some(request) = peer.request()? {
            let refuse = |challenge: &str| {
                let head = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 7\r\nwww-authenticate: ";
                format!("{head}{challenge}\r\n\r\nrefused")
            };
            match (step, request.field("authorization")) {
                (2, None) => peer.respond("inside")?,
                (0, Some("NTLM one")) => {
                    step = 1;
                    peer.send(refuse("NTLM two"))?;
                }
                (1, Some("NTLM three")) => {
                    step = 2;
                    peer.respond("inside")?;
                }
                _ => peer.send(refuse("NTLM"))?,
            }
        }
        Ok(())
    })
}

/// The three steps go out on one connection, and no other request gets this connection, not even after a release: rule
/// 2.
#[tokio::test]
async fn rule_02_a_login_in_three_steps_holds_on_a_reserved_connection() {
    let (server, client) = (ntlm(), Client::new());
    let url = server.url("/");
    let mut reserved = client.reserve(&url).await.unwrap();
    assert!(!reserved.connection().is_reused() && reserved.connection().ordinal() == 0);
    let id = reserved.connection().id();
    // The first refusal is dropped unread, and the second one is read.
    let first = get(&mut reserved, &url).await.unwrap();
    assert_eq!(
        (first.status().as_u16(), &first.headers()["www-authenticate"]),
        (401, &"NTLM".parse().unwrap())
    );
    drop(first);
    let second = within(20, reserved.get(&url).header("authorization", "NTLM one").send()).await.unwrap();
    assert_eq!(second.headers()["www-authenticate"], "NTLM two");
    assert_eq!(second.text().await.unwrap(), "refused");
    let third = within(20, reserved.get(&url).header("authorization", "NTLM three").send()).await.unwrap();
    assert_eq!((third.connection().id(), third.connection().ordinal()), (id, 3));
    assert_eq!(third.text().await.unwrap(), "inside");
    let request = http::Request::get(&url).body("").unwrap();
    let fourth = within(20, reserved.execute(request)).await.unwrap();
    assert_eq!(fourth.text().await.unwrap(), "inside", "rule 2: the connection is logged in");
    // Another request has a connection of its own, which is not logged in.
    let other = within(20, client.get(&url).send()).await.unwrap();
    assert_eq!((other.status().as_u16(), other.connection().id() == id), (401, false), "rule 2");
    other.bytes().await.unwrap();
    reserved.release();
    assert_eq!(closed(&client, DropReason::Reserved), 1, "rule 2: a connection with a login is not shared");
    assert_ne!(fetch(&client, &url).await, id);
    assert_eq!(server.requests_per_connection(), [4, 2]);
    for head in server.seen().into_iter().map(|seen| seen.request.head.to_lowercase()) {
        assert!(!head.contains("connection: close"), "{head}");
    }
}

/// A function that adds credentials to each attempt binds the connection too.
#[tokio::test]
async fn rule_02_credentials_of_a_hook_bind_the_reserved_connection() {
    let server = Server::echo();
    let hook = |parts: &mut http::request::Parts, _: u32| {
        parts.headers.insert("authorization", "Negotiate YII=".parse().unwrap());
    };
    let client = Client::builder().on_request(hook).build().unwrap();
    let mut reserved = client.reserve(server.url("/")).await.unwrap();
    text(&mut reserved, &server.url("/1")).await;
    text(&mut reserved, &server.url("/2")).await;
    reserved.release();
    assert_eq!((counts(&client), closed(&client, DropReason::Reserved)), ((0, 0), 1), "rule 2");
    let head = &server.seen()[1].request.head;
    assert!(!head.to_lowercase().contains("connection: close"), "{head}");
}

/// A sticky session: the server counts the requests of each connection. The ledger counts each request once.
#[tokio::test]
async fn a_reserved_connection_is_one_connection_for_all_verbs() {
    let server = Server::start(|peer: &mut Peer| {
        let mut nth = 0;
        while let Some(request) = peer.request()? {
            nth += 1;
            match &*request.method {
                "HEAD" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")?,
                _ => peer.respond(&nth.to_string())?,
            }
        }
        Ok(())
    });
    let (client, url) = (Client::new(), &*server.url("/x"));
    let mut reserved = client.reserve(server.url("/other")).await.unwrap();
    for nth in 1..=50 {
        assert_eq!(text(&mut reserved, url).await, nth.to_string());
        fetch(&client, url).await;
    }
    let requests = [
        reserved.head(url),
        reserved.post(url),
        reserved.put(url),
        reserved.patch(url),
        reserved.delete(url),
        reserved.request(Method::OPTIONS, url),
    ];
    for request in requests {
        within(20, request.send()).await.unwrap().bytes().await.unwrap();
    }
    assert_eq!(counts(&client), (1, 1));
    let total = client.pool().stats().total;
    assert_eq!((total.requests, total.reused, total.opened), (106, 105, 2));
    assert_eq!(server.requests_per_connection(), [56, 50]);
    reserved.release();
    assert_eq!(client.pool().stats().total.requests, 106, "a release counts no request");
    let total = client.pool().stats().total;
    assert_eq!((total.idle, total.active, total.closed_total()), (2, 0, 0));
}

/// A reserved connection counts once against the limit of its host and against the total limit, and is not evicted.
#[tokio::test(start_paused = true)]
async fn rule_03_a_reserved_connection_counts_against_every_limit_once() {
    let hello = [Reply::ok("hello")];
    let second = Duration::from_secs(1);
    let limits: [Change; 2] =
        [|builder| builder.max_connections_per_host(2), |builder| builder.max_connections(2)];
    for (nth, limit) in limits.into_iter().enumerate() {
        let (client, peers) = in_memory(|builder| limit(builder).acquire_timeout(second), &hello);
        let other = if nth == 0 { URL } else { "http://b.test/" };
        let mut reserved = client.reserve(URL).await.unwrap();
        // One more connection has room.
        let held = client.reserve(other).await.unwrap();
        assert_eq!(counts(&client), (0, 2), "limit {nth}");
        for outcome in [client.get(other).send().await.map(drop), client.reserve(other).await.map(drop)] {
            let error = outcome.unwrap_err();
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::PoolTimeout, Some(Phase::Queue)),
                "{error}"
            );
            let words =
                if nth == 0 { "2 active, 0 idle, 0 dialing, 1 waiting (2 reserved; or" } else { "taken" };
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(text(&mut reserved, URL).await, "hello", "limit {nth}: the connection was not evicted");
        // The end of a reservation serves a request that waits.
        let waiting = tokio::spawn(client.get(other).send());
        tokio::task::yield_now().await;
        assert_eq!(client.pool().stats().total.waiting, 1);
        drop(held);
        assert_eq!(waiting.await.unwrap().unwrap().text().await.unwrap(), "hello");
        assert_eq!((peers.peak(), counts(&client)), (2, (1, 1)), "limit {nth}");
        // A release serves a request that waits with this connection.
        let held = client.reserve(other).await.unwrap();
        let id = held.connection().id();
        let waiting = tokio::spawn(client.get(other).send());
        tokio::task::yield_now().await;
        held.release();
        assert_eq!(waiting.await.unwrap().unwrap().connection().id(), id, "limit {nth}");
        drop(reserved);
        assert_eq!(counts(&client), (1, 0), "limit {nth}");
        assert_eq!(client.pool().stats().total.opened as usize, peers.made());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reservation_waits_in_the_queue_like_a_request() {
    let (client, _) = in_memory(
        |builder| builder.max_connections_per_host(1).max_waiters_per_host(1),
        &[Reply::ok("hello")],
    );
    let held = client.reserve(URL).await.unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.reserve(URL).await }
    });
    tokio::task::yield_now().await;
    let error = client.reserve(URL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolFull, "{error}");
    let id = held.connection().id();
    held.release();
    assert_eq!(waiting.await.unwrap().unwrap().connection().id(), id);
    let error = client.reserve("ftp://a.test/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_fails_the_reservation() {
    let script = Script { failed_dials: 1, ..Script::new(&[&[Reply::ok("hello")]]) };
    let peers = Peers::new(script);
    let client = Client::builder().connector(peers.connector()).build().unwrap();
    let error = client.reserve(URL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.to_string().contains("http://a.test"), "{error}");
    assert_eq!(text(&mut client.reserve(URL).await.unwrap(), URL).await, "hello");
}

/// The idle timeout, the lifetime and `evict_if` wait for the end of the reservation. Then they hold.
#[tokio::test(start_paused = true)]
async fn rule_16_time_does_not_end_a_reservation() {
    let hour = Duration::from_secs(3_600);
    let limits: [(Change, DropReason); 4] = [
        (|builder| builder.idle_timeout(Duration::from_secs(60)), DropReason::IdleTimeout),
        (|builder| builder.max_lifetime(Duration::from_secs(60)), DropReason::MaxLifetime),
        (|builder| builder.evict_if(|_| true), DropReason::Evicted),
        (|builder| builder.max_idle_per_host(0).idle_timeout(None), DropReason::IdleTimeout),
    ];
    for (limit, reason) in limits {
        let (client, peers) = in_memory(limit, &[Reply::ok("hello")]);
        let mut reserved = client.reserve(URL).await.unwrap();
        for _ in 0..3 {
            tokio::time::advance(hour).await;
            assert_eq!(text(&mut reserved, URL).await, "hello");
        }
        tokio::time::advance(hour).await;
        assert_eq!((counts(&client), peers.made()), ((0, 1), 1), "{reason}");
        reserved.release();
        tokio::task::yield_now().await;
        assert_eq!(
            (counts(&client), closed(&client, reason)),
            ((0, 0), 1),
            "{reason}: {}",
            client.pool().stats()
        );
    }
}

/// A connection that was idle before is looked at, and replaced if the server has closed it.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_reserved_only_if_it_is_usable() {
    let (client, peers) =
        in_memory(|builder| builder.fresh_for_unsafe(Duration::from_secs(2)), &[Reply::ok("hello")]);
    let id = fetch(&client, URL).await;
    let reserved = client.reserve(URL).await.unwrap();
    let connection = reserved.connection();
    assert_eq!((connection.id(), connection.is_reused(), connection.ordinal()), (id, true, 1));
    reserved.release();
    peers.hang_up();
    let mut reserved = client.reserve(URL).await.unwrap();
    assert_ne!(reserved.connection().id(), id, "the server had closed the idle connection");
    assert_eq!(closed(&client, DropReason::PeerClosed), 1);
    let id = reserved.connection().id();
    text(&mut reserved, URL).await;
    reserved.release();
    tokio::time::advance(Duration::from_secs(3)).await;
    let reserved = client.reserve(URL).await.unwrap();
    assert_ne!(reserved.connection().id(), id, "no request on it is repeated, so that it has to be fresh");
}

/// No request is sent twice: not after a close, not after a 408, not after a 417.
#[tokio::test(start_paused = true)]
async fn a_request_on_a_reserved_connection_is_never_sent_again() {
    for (reply, outcome) in [
        (Reply::silence().eof(), Err(ErrorKind::ConnectionLost)),
        (Reply::silence().reset(), Err(ErrorKind::ConnectionLost)),
        (Reply::raw(&["HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"]).eof(), Ok(408)),
        (Reply::raw(&["HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"]).early(), Ok(417)),
        (Reply::raw(&["nonsense\r\n\r\n"]), Err(ErrorKind::Protocol)),
    ] {
        let (client, peers) = in_memory(|builder| builder, &[Reply::ok("hello"), reply.clone()]);
        let mut reserved = client.reserve(URL).await.unwrap();
        text(&mut reserved, URL).await;
        let request = reserved.put(URL).body("content");
        let request = if outcome == Ok(417) { request.expect_continue() } else { request };
        let sent = request.send().await;
        assert_eq!(sent.as_ref().map(|it| it.status().as_u16()).map_err(Error::kind), outcome, "{reply:?}");
        drop(sent);
        assert_over(get(&mut reserved, URL).await, "reserve another connection");
        assert_eq!((peers.made(), counts(&client)), (1, (0, 0)), "{reply:?}");
    }
}

/// A request begins when the latest response has ended. A response that is held and not read is an error, because
/// waiting for its end could take for ever. A response that was dropped is read to its end first.
#[tokio::test(start_paused = true)]
async fn a_response_is_read_or_dropped_before_the_next_request() {
    let slow = Reply::raw(&["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "first", "secnd"]);
    let (client, peers) = in_memory(|builder| builder, &[slow.clone(), slow, Reply::ok("hello")]);
    let mut reserved = client.reserve(URL).await.unwrap();
    let response = get(&mut reserved, URL).await.unwrap();
    let error = get(&mut reserved, URL).await.unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Request, Written::Nothing), "{error}");
    assert!(error.to_string().contains("read that response to its end, or drop it"), "{error}");
    assert!(reserved.is_open());
    assert_eq!(response.text().await.unwrap(), "firstsecnd", "the error does not disturb the response");
    drop(get(&mut reserved, URL).await.unwrap());
    assert_eq!(text(&mut reserved, URL).await, "hello");
    assert_eq!((peers.made(), peers.requests()), (1, 3));
}

/// A request waits while the remainder of a dropped response is read, even if other requests wait for room in the pool.
/// If the remainder does not come in time or is too long, the reservation is over.
#[tokio::test(start_paused = true)]
async fn the_remainder_of_a_dropped_response_is_read_before_the_next_request() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    for (pieces, is_kept) in
        [(vec![head, "first", "secnd"], true), (vec![head, "first"], false), (vec![long], false)]
    {
        let script = Script { read_polls: 9, ..Script::new(&[&[Reply::raw(&pieces), Reply::ok("hello")]]) };
        let peers = Peers::new(script);
        let client =
            Client::builder().max_connections_per_host(1).connector(peers.connector()).build().unwrap();
        let mut reserved = client.reserve(URL).await.unwrap();
        let waiting = tokio::spawn(client.get(URL).send());
        drop(get(&mut reserved, URL).await.unwrap());
        if is_kept {
            assert_eq!(text(&mut reserved, URL).await, "hello");
            drop(reserved);
        } else {
            assert_over(get(&mut reserved, URL).await, "(abandoned): reserve another connection");
            assert_eq!(closed(&client, DropReason::Abandoned), 1);
        }
        waiting.await.unwrap().unwrap();
        assert_eq!(peers.made(), 2);
    }
}

/// The scheme, the host, the port, the tag and the proxy of each request have to be those of the reservation.
#[tokio::test]
async fn a_request_to_another_origin_is_refused_before_a_byte_is_written() {
    let server = Server::echo();
    let client = Client::builder().resolve("a.test", server.address()).build().unwrap();
    let port = server.address().port();
    let url = format!("http://a.test:{port}/");
    let mut reserved = client.reserve(&url).await.unwrap();
    assert_eq!(text(&mut reserved, &format!("http://A.test:{port}/x")).await, "/x");
    let others = [
        reserved.get(format!("https://a.test:{port}/")),
        reserved.get(format!("http://b.test:{port}/")),
        reserved.get("http://a.test/"),
        reserved.get(&url).isolation("a"),
        #[cfg(feature = "proxy")]
        reserved.get(&url).proxy(handclasp::Proxy::all("http://127.0.0.1:9").unwrap()),
    ];
    for request in others {
        let error = within(20, request.send()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.request_written()),
            (ErrorKind::Request, Written::Nothing),
            "{error}"
        );
        let words = format!("the connection is reserved for http://a.test:{port}: ");
        assert!(error.to_string().contains(&words), "{error}");
    }
    assert!(reserved.is_open());
    assert_eq!(text(&mut reserved, &url).await, "/");
    assert_eq!((server.connections(), server.seen().len()), (1, 2));
}

/// A built request keeps its reservation, and another client cannot send it.
#[tokio::test(start_paused = true)]
async fn a_built_request_stays_bound_to_its_reservation() {
    let (client, peers) = in_memory(|builder| builder, &[Reply::ok("hello")]);
    let mut reserved = client.reserve(URL).await.unwrap();
    let id = reserved.connection().id();
    let response = client.execute(reserved.get(URL).build().unwrap()).await.unwrap();
    assert_eq!(response.connection().id(), id);
    response.bytes().await.unwrap();
    let (other, others) = in_memory(|builder| builder, &[Reply::ok("hello")]);
    let error = other.execute(reserved.get(URL).build().unwrap()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.request_written()),
        (ErrorKind::Request, Written::Nothing),
        "A-53 {error}"
    );
    assert!(error.to_string().contains("reserved from another client"), "{error}");
    assert_eq!((peers.requests(), others.made()), (1, 0));
}

/// A connection belongs to its runtime. A request on another runtime is refused, and the reservation goes on.
#[test]
fn a_reserved_connection_stays_on_its_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (home, other) = (runtime(), runtime());
    let server = Server::echo();
    let (client, url) = (Client::new(), server.url("/"));
    let mut reserved = home.block_on(client.reserve(&url)).unwrap();
    let error = other.block_on(get(&mut reserved, &url)).unwrap_err();
    assert_eq!((error.kind(), error.request_written()), (ErrorKind::Request, Written::Nothing), "{error}");
    assert!(error.to_string().contains("belongs to another tokio runtime"), "{error}");
    assert_eq!(home.block_on(text(&mut reserved, &url)), "/");
    // The end of the runtime does not disturb the end of the reservation.
    drop(home);
    drop(reserved);
    assert_eq!(counts(&client), (0, 0));
}

/// The URLs of a reservation and of its requests are joined to the base URL of the client.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_reserved_connection_has_the_base_url_and_the_fields_of_its_client() {
    let server = Server::echo();
    let client = Client::builder().base_url(server.url("/v1/")).user_agent("reserved").build().unwrap();
    let mut reserved = client.reserve("anything").await.unwrap();
    assert_eq!(text(&mut reserved, "x").await, "/v1/x");
    assert_eq!(server.fields("user-agent"), [["reserved"]]);
}

/// A redirect is followed only on the connection itself.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_redirect_is_followed_on_the_reserved_connection_only() {
    let other = Server::echo();
    let elsewhere = other.url("/elsewhere");
    let server = Server::start(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            let (to, extra) = match &*request.target {
                "/here" => ("/end", ""),
                "/closing" => ("/end", "connection: close\r\n"),
                "/there" | "/stream" => (&*elsewhere, ""),
                _ => {
                    peer.respond("end")?;
                    continue;
                }
            };
            let fields = format!("location: {to}\r\n{extra}content-length: 4\r\n\r\ngone");
            peer.send(format!("HTTP/1.1 307 Elsewhere\r\n{fields}"))?;
        }
        Ok(())
    });
    let client = Client::new();
    let mut reserved = client.reserve(server.url("/")).await.unwrap();
    let response = get(&mut reserved, &server.url("/here")).await.unwrap();
    assert_eq!((response.redirects().len(), response.connection().ordinal()), (1, 2));
    assert_eq!(response.text().await.unwrap(), "end");
    for (path, is_over) in [("/there", false), ("/stream", false), ("/closing", true)] {
        let mut request = reserved.put(server.url(path));
        if path == "/stream" {
            // This content cannot be sent again, which does not matter for a redirect that is not followed.
            let content = futures_util::stream::iter([Ok::<_, std::io::Error>("content")]);
            request = request.body(handclasp::Body::from_stream(content));
        }
        let response = within(20, request.send()).await.unwrap();
        assert_eq!((response.status().as_u16(), response.redirects().len()), (307, 0), "{path}");
        assert_eq!(response.text().await.unwrap(), "gone");
        assert_eq!(reserved.is_open(), !is_over, "{path}");
    }
    assert_eq!((server.requests_per_connection(), other.connections()), (vec![5], 0));
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_reserved_connection_works_over_tls() {
    let server = Server::start_tls(|peer: &mut Peer| {
        for nth in 0..3 {
            peer.request()?;
            peer.respond(&nth.to_string())?;
        }
        peer.close()
    });
    let root = handclasp::Certificate::from_pem(server.authority()).unwrap();
    let client = Client::builder().add_root_certificate(root).build().unwrap();
    let url = server.url("/");
    let mut reserved = client.reserve(&url).await.unwrap();
    assert!(reserved.connection().tls().is_some());
    for nth in 0..3 {
        assert_eq!(text(&mut reserved, &url).await, nth.to_string());
    }
    crate::support::until("the close_notify has come", || !reserved.is_open()).await;
    assert_over(get(&mut reserved, &url).await, "closed by the peer");
    assert_eq!(server.requests_per_connection(), [3]);
}

/// Through a tunnel and through a forwarding proxy, a reserved connection serves its origin only.
#[cfg(feature = "proxy")]
#[tokio::test]
async fn a_reserved_connection_goes_by_the_proxy_of_the_client() {
    use crate::support::gate::{Gate, Kind};
    use handclasp::Proxy;

    let server = Server::echo();
    for kind in [Kind::Http, Kind::Socks5] {
        let gate = Gate::start(kind, server.address(), None).await;
        let client = Client::builder().proxy(Proxy::all(gate.url("")).unwrap().tunnel(true)).build().unwrap();
        let mut reserved = client.reserve("http://a.test/").await.unwrap();
        for nth in 0..3 {
            let path = format!("/{nth}");
            assert_eq!(text(&mut reserved, &format!("http://a.test{path}")).await, path);
        }
        let error = get(&mut reserved, "http://b.test/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{error}");
        assert_eq!(gate.accepted(), 1, "{kind:?}");
    }
    let proxy = Server::echo();
    let url = format!("http://user:planted@{}", proxy.address());
    let client = Client::builder().proxy(Proxy::all(url).unwrap()).build().unwrap();
    let mut reserved = client.reserve("http://a.test/").await.unwrap();
    assert_eq!(text(&mut reserved, "http://a.test/x").await, "http://a.test/x");
    let error = get(&mut reserved, "http://b.test/").await.unwrap_err();
    assert!(error.to_string().contains("the connection is reserved for http://a.test: "), "{error}");
    let shown = format!("{error:?} {} {reserved:?}", error.chain());
    assert!(!shown.contains("planted") && !shown.contains("dXNlcj"), "A-60 {shown}");
    assert_eq!(proxy.requests_per_connection(), [1]);
}

/// Many callers reserve connections of a limited pool at once. No caller sees a request of another caller on its
/// connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reservations_share_a_limited_pool() {
    let server = Server::echo();
    let client = Client::builder().max_connections_per_host(3).build().unwrap();
    let callers = (0..24).map(|caller| {
        let (client, url) = (client.clone(), server.url(&format!("/{caller}")));
        tokio::spawn(async move {
            let mut reserved = client.reserve(&url).await.unwrap();
            for _ in 0..5 {
                text(&mut reserved, &url).await;
                tokio::task::yield_now().await;
            }
            if caller % 2 == 0 { reserved.release() } else { reserved.close() }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        within(20, caller).await.unwrap();
    }
    let mut targets: HashMap<usize, Vec<String>> = HashMap::new();
    for seen in server.seen() {
        targets.entry(seen.connection).or_default().push(seen.request.target);
    }
    for targets in targets.values() {
        for turn in targets.chunks(5) {
            assert!(turn.len() == 5 && turn.iter().all(|target| *target == turn[0]), "{targets:?}");
        }
    }
    let total = client.pool().stats().total;
    assert_eq!((total.requests, total.active, total.closed(DropReason::Reserved)), (120, 0, 12));
    assert!(targets.len() >= 12, "a connection that was closed serves nobody else");
}
