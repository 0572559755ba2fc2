//! Tests of whole requests by way of proxies: what is shared between origins, what is sent again, where redirects lead,
//! and what is written for odd URLs.

#![allow(clippy::unwrap_used, reason = "a test")]

use handclasp::{Client, ErrorKind, NoProxy, Proxy, Written};
use http::Method;

use crate::support::gate::{Gate, Kind};
use crate::support::{Server, within};

fn by(server: &Server) -> Proxy {
    Proxy::all(format!("http://user:planted@{}", server.address())).unwrap()
}

/// A server that closes its first connection after one answer, with a FIN after the next request.
fn closing() -> Server {
    Server::start(|peer| {
        let mut count = 0;
        while let Some(request) = peer.request()? {
            count += 1;
            if peer.number() == 0 && count == 2 {
                return peer.close();
            }
            peer.respond(&request.target)?;
        }
        Ok(())
    })
}

/// What one origin gets does not depend on the requests that another origin got on the same connection.
#[tokio::test]
async fn a_60_origins_that_share_a_proxied_connection_share_no_field() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            let (name, body) = (request.field("host").unwrap().to_owned(), &request.target);
            let (size, cookie) = (body.len(), format!("from={name}; Path=/"));
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nset-cookie: {cookie}\r\ncontent-length: {size}\r\n\r\n{body}"
            ))?;
        }
        Ok(())
    });
    #[allow(unused_mut, reason = "there are no cookies without the feature")]
    let mut builder = Client::builder().proxy(by(&server));
    #[cfg(feature = "cookies")]
    {
        builder = builder.cookie_store(true);
    }
    let client = builder.build().unwrap();
    for _ in 0..2 {
        for (host, secret) in [("a.test", Some("for-a")), ("b.test", None), ("c.test:81", Some("for-c"))] {
            let mut request = client.get(format!("http://{host}/"));
            if let Some(secret) = secret {
                request = request.bearer_auth(secret);
            }
            within(20, request.send()).await.unwrap().text().await.unwrap();
        }
    }
    assert_eq!(server.connections(), 1, "A-53");
    for seen in server.seen() {
        let request = seen.request;
        let host = request.field("host").unwrap();
        let expected: &[String] = match host {
            "a.test" => &["Bearer for-a".to_owned()],
            "c.test:81" => &["Bearer for-c".to_owned()],
            _ => &[],
        };
        assert_eq!(request.fields("authorization"), expected, "A-60 {host}");
        assert!(request.target.starts_with(&format!("http://{host}/")), "{}", request.target);
        for cookie in request.fields("cookie") {
            assert_eq!(cookie, format!("from={host}"), "A-48 {host}");
        }
    }
}

/// The caller's field for a proxy does not reach an origin, whether the request goes through a tunnel or spares the
/// proxy.
#[tokio::test]
async fn a_60_a_field_for_a_proxy_does_not_reach_an_origin_that_is_spared() {
    let (proxy, origin) = (Server::echo(), Server::echo());
    let set = by(&proxy).no_proxy(NoProxy::from_string("b.test"));
    let builder = Client::builder().resolve("b.test", origin.address()).proxy(set);
    let client = builder.build().unwrap();
    let direct = format!("http://b.test:{}/", origin.address().port());
    for url in [&*direct, "http://a.test/"] {
        let request = client.get(url).header("proxy-authorization", "Bearer own").bearer_auth("origin");
        within(20, request.send()).await.unwrap().text().await.unwrap();
    }
    assert_eq!(origin.fields("proxy-authorization"), [Vec::<String>::new()], "A-60");
    assert_eq!(origin.fields("authorization"), [["Bearer origin"]]);
    assert_eq!(proxy.fields("proxy-authorization"), [["Bearer own"]]);
    // Without proxies, the server may be a proxy that the caller speaks to.
    let client = Client::builder().no_proxy().resolve("b.test", origin.address()).build().unwrap();
    let request = client.get(&direct).header("proxy-authorization", "Bearer own");
    within(20, request.send()).await.unwrap().text().await.unwrap();
    assert_eq!(origin.fields("proxy-authorization")[1], ["Bearer own"]);
}

/// A proxy that closes an idle connection costs no request that may be repeated, and no other request is sent twice.
#[tokio::test]
async fn rule_27_a_request_is_sent_again_to_the_same_proxy_with_its_fields() {
    for (method, is_repeated) in [(Method::GET, true), (Method::POST, false)] {
        let server = closing();
        let client = Client::builder().proxy(by(&server)).build().unwrap();
        within(20, client.get("http://a.test/1").send()).await.unwrap().text().await.unwrap();
        let outcome = within(20, client.request(method.clone(), "http://b.test/2").send()).await;
        if is_repeated {
            assert_eq!(outcome.unwrap().text().await.unwrap(), "http://b.test/2");
        } else {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.request_written()), (ErrorKind::ConnectionLost, Written::All));
        }
        let again = within(20, client.get("http://c.test/3").send()).await.unwrap();
        assert_eq!(again.text().await.unwrap(), "http://c.test/3");
        let seen = server.seen();
        let sent = seen.iter().filter(|seen| seen.request.target.ends_with("/2")).count();
        assert_eq!(sent, if is_repeated { 2 } else { 1 }, "{method}");
        assert!(seen.iter().all(|seen| seen.request.fields("proxy-authorization").len() == 1), "A-60");
    }
}

/// A status is the caller's to act on, whether the proxy or the origin has sent it.
#[tokio::test]
async fn a_76_no_status_of_a_proxy_makes_the_client_ask_again() {
    for status in [407, 429, 500, 502, 503, 504, 511] {
        let server = Server::start(move |peer| {
            while peer.request()?.is_some() {
                peer.send(format!(
                    "HTTP/1.1 {status} x\r\nretry-after: 0\r\nproxy-authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n"
                ))?;
            }
            Ok(())
        });
        let client = Client::builder().proxy(by(&server)).build().unwrap();
        for _ in 0..2 {
            let response = within(20, client.get("http://a.test/").send()).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
        }
        assert_eq!((server.seen().len(), server.connections()), (2, 1), "A-59 A-76 {status}");
    }
}

/// The target and the `Host` field of each URL, as a proxy that forwards gets them.
#[tokio::test]
async fn odd_urls_are_written_whole_and_without_user_and_fragment() {
    let server = Server::echo();
    let client = Client::builder().proxy(by(&server)).build().unwrap();
    for (method, url, target, host) in [
        (Method::GET, "http://me:hunted@a.test/x", "http://a.test/x", "a.test"),
        (Method::GET, "http://me:hunted@a.test:8080", "http://a.test:8080/", "a.test:8080"),
        (Method::GET, "http://a.test?q=1", "http://a.test/?q=1", "a.test"),
        (Method::GET, "http://a.test/x#fragment", "http://a.test/x", "a.test"),
        (Method::GET, "http://a.test/?a=http://b.test/@c", "http://a.test/?a=http://b.test/@c", "a.test"),
        (Method::GET, "http://a.test//b.test/", "http://a.test//b.test/", "a.test"),
        (Method::GET, "http://[2001:db8::1]:81/%20", "http://[2001:db8::1]:81/%20", "[2001:db8::1]:81"),
        (Method::GET, "http://a.test./", "http://a.test./", "a.test."),
        (Method::OPTIONS, "http://a.test/", "http://a.test/", "a.test"),
        (Method::HEAD, "http://a.test:81/", "http://a.test:81/", "a.test:81"),
    ] {
        let before = server.seen().len();
        within(20, client.request(method.clone(), url).send()).await.unwrap();
        let request = &server.seen()[before].request;
        assert_eq!(
            request.head.split("\r\n").next().unwrap(),
            format!("{method} {target} HTTP/1.1"),
            "{url}"
        );
        assert_eq!(request.fields("host"), [host], "{url}");
        assert!(
            !request.head.contains("hunted") && !request.head.contains("fragment"),
            "A-78 {}",
            request.head
        );
    }
    let asterisk = client.request(Method::OPTIONS, "http://a.test:81/");
    let mut request = asterisk.build().unwrap();
    request.extensions_mut().insert(handclasp::RequestTarget::Asterisk);
    within(20, client.execute(request)).await.unwrap();
    let last = server.seen().pop().unwrap().request.head;
    assert!(
        last.starts_with("OPTIONS http://a.test:81 HTTP/1.1\r\nhost: a.test:81\r\n"),
        "R-9112-3.2.4: {last}"
    );
}

/// Each hop of a chain goes by its own way.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_60_a_chain_between_direct_and_proxied_hosts_shows_credentials_to_the_proxy_only() {
    let origin = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            let to = match &*request.target {
                "/1" => "http://a.test/2",
                "/3" => "http://c.test/4",
                _ => return peer.respond("end"),
            };
            peer.send(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"))?;
        }
        Ok(())
    });
    let port = origin.address().port();
    let proxy = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            if request.target.ends_with("/4") {
                peer.respond("end")?;
                continue;
            }
            let to = format!("http://b.test:{port}/3");
            peer.send(format!("HTTP/1.1 307 Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"))?;
        }
        Ok(())
    });
    let set = by(&proxy).no_proxy(NoProxy::from_string("b.test"));
    let client = Client::builder().resolve("b.test", origin.address()).proxy(set).build().unwrap();
    let request = client.get(format!("http://b.test:{port}/1")).header("proxy-authorization", "Bearer own");
    let response = within(20, request.bearer_auth("for-b").send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "end");
    let targets = |server: &Server| -> Vec<String> {
        server.seen().into_iter().map(|seen| seen.request.target).collect()
    };
    assert_eq!(targets(&origin), ["/1", "/3"]);
    assert_eq!(targets(&proxy), ["http://a.test/2", "http://c.test/4"]);
    assert_eq!(origin.fields("proxy-authorization"), [Vec::<String>::new(), Vec::new()], "A-60");
    let basic = "Basic dXNlcjpwbGFudGVk";
    assert_eq!(
        proxy.fields("proxy-authorization"),
        [[basic], [basic]],
        "the caller's field was for the first hop"
    );
    assert_eq!(proxy.fields("authorization"), [Vec::<String>::new(), Vec::new()], "A-35");
}

/// No spelling of an address gets past the filter by way of a proxy that is trusted with names.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_32_no_spelling_of_an_address_passes_by_a_proxy() {
    let server = Server::echo();
    let filter = handclasp::AddressFilter::public_only().allow(["127.0.0.1"]).unwrap();
    for is_tunnel in [false, true] {
        let proxy = by(&server).filters_addresses(true).tunnel(is_tunnel);
        let client = Client::builder().address_filter(filter.clone()).proxy(proxy).build().unwrap();
        for host in [
            "10.0.0.1",
            "10.0.0.1.",
            "167772161",
            "0xa.1",
            "012.0.0.1",
            "10.1",
            "%31%30.0.0.1",
            "１０.0.0.1",
            "[::ffff:10.0.0.1]",
            "[::ffff:a00:1]",
            "[64:ff9b::a00:1]",
            "[fe80::1]",
            "169.254.169.254",
            "0",
        ] {
            let error = within(20, client.get(format!("http://{host}/")).send()).await.expect_err(host);
            assert_eq!(error.kind(), ErrorKind::AddressRefused, "A-32 {host}: {}", error.chain());
        }
    }
    assert_eq!(server.connections(), 0, "A-32");
}

/// No spelling of a host gets past `NO_PROXY`, in either direction.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_61_no_spelling_of_a_spared_host_goes_to_the_proxy() {
    let (proxy, origin) = (Server::echo(), Server::echo());
    let (at, port) = (origin.address(), origin.address().port());
    let set = by(&proxy).no_proxy(NoProxy::from_string("spared.test, xn--bcher-kva.test, 127.0.0.0/8"));
    let mut builder = Client::builder().proxy(set);
    for host in ["spared.test", "a.spared.test", "xn--bcher-kva.test", "notspared.test"] {
        builder = builder.resolve(host, at);
    }
    let client = builder.build().unwrap();
    for host in [
        "spared.test",
        "SPARED.test",
        "spared.test.",
        "a.Spared.Test.",
        "sp%61red.test",
        "ｓpared.test",
        "b\u{fc}cher.test",
        "B\u{dc}CHER.test",
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "127.1",
    ] {
        let response = within(20, client.get(format!("http://{host}:{port}/")).send()).await;
        let response = response.unwrap_or_else(|error| panic!("{host}: {}", error.chain()));
        assert_eq!(response.text().await.unwrap(), "/", "A-61 {host}");
    }
    assert_eq!(proxy.connections(), 0, "A-61");
    for host in ["notspared.test", "spared.test.evil.test", "user@evil.test", "spared.test@evil.test"] {
        let response = within(20, client.get(format!("http://{host}:{port}/")).send()).await.unwrap();
        assert!(response.text().await.unwrap().starts_with("http://"), "A-61 {host}");
    }
}

/// A request for another protocol, and a CONNECT to another proxy, go through a tunnel.
#[tokio::test]
async fn upgrades_and_connects_go_through_a_proxy() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    for kind in [Kind::Http, Kind::Socks5] {
        let server = Server::start(|peer| {
            let Some(request) = peer.request()? else { return Ok(()) };
            peer.send(match request.field("upgrade") {
                Some(_) => "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
                None => "HTTP/1.1 200 Connected\r\n\r\n",
            })?;
            let sent = peer.take(4)?;
            peer.send(sent)
        });
        let gate = Gate::start(kind, server.address(), None).await;
        let proxy = Proxy::all(gate.url("")).unwrap().tunnel(true);
        let client = Client::builder().proxy(proxy).build().unwrap();
        let upgrade = client.get("http://a.test/").header("connection", "upgrade").header("upgrade", "echo");
        let connect = client.request(Method::CONNECT, "http://inner.test:3128");
        let connect = connect.header("proxy-authorization", "Bearer inner");
        for request in [upgrade, connect] {
            let response = within(20, request.send()).await.unwrap();
            let mut upgraded = within(20, response.upgrade()).await.unwrap();
            upgraded.write_all(b"ping").await.unwrap();
            let mut pong = [0; 4];
            within(20, upgraded.read_exact(&mut pong)).await.unwrap();
            assert_eq!(&pong, b"ping", "{kind:?}");
        }
        let asked = gate.asked();
        assert!(asked[0].contains("a.test") && asked[1].contains("inner.test"), "{asked:?}");
        let heads: Vec<_> = server.seen().into_iter().map(|seen| seen.request.head).collect();
        assert!(heads[0].starts_with("GET / HTTP/1.1\r\n"), "{heads:?}");
        assert!(heads[1].starts_with("CONNECT inner.test:3128 HTTP/1.1\r\n"), "{heads:?}");
        assert_eq!(server.fields("proxy-authorization"), [vec![], vec!["Bearer inner".to_owned()]]);
    }
}

/// The name with its final dot is what the proxy is asked for, and TLS takes the name without the dot.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_50_a_final_dot_reaches_the_proxy_and_not_the_server_name() {
    use handclasp::Certificate;

    let server = Server::start_tls(|peer| {
        while let Some(request) = peer.request()? {
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    for (kind, expected) in
        [(Kind::Http, "CONNECT localhost.:443 HTTP/1.1\r\n"), (Kind::Socks5, "name localhost. 443")]
    {
        let gate = Gate::start(kind, server.address(), None).await;
        let builder = Client::builder().proxy(Proxy::all(gate.url("")).unwrap());
        let client = builder.add_root_certificate(Certificate::from_pem(server.authority()).unwrap()).build();
        let client = client.unwrap();
        for url in ["https://localhost./x", "https://localhost/x"] {
            let response = within(20, client.get(url).send()).await;
            let response = response.unwrap_or_else(|error| panic!("{url}: {}", error.chain()));
            assert_eq!(response.text().await.unwrap(), "/x");
        }
        assert!(gate.asked()[0].starts_with(expected), "{:?}", gate.asked());
        assert_eq!(gate.accepted(), 2, "A-53: the two names are two origins");
    }
}
