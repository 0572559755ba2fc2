//! Tests of requests through proxies: the bytes that the proxy and the origin get, the sharing of connections, and that
//! only the proxy gets its credentials.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use handclasp::header::{HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use handclasp::{Client, ErrorKind, NoProxy, Phase, Proxy, Written};

use crate::support::gate::{Gate, Kind};
use crate::support::{Server, Uncoded, within};

/// `Basic` for the user `user` and the password `planted`.
const BASIC: &str = "Basic dXNlcjpwbGFudGVk";

/// Checks that a text has neither the password nor its encoded form.
#[track_caller]
fn assert_no_secret(text: &str) {
    for secret in ["planted", "dXNlcjpwbGFudGVk", "user:"] {
        assert!(!text.contains(secret), "A-60 {secret} in {text}");
    }
}

fn client(proxy: Proxy) -> Client {
    Client::builder().uncoded().no_user_agent().proxy(proxy).build().unwrap()
}

async fn fetch(client: &Client, url: &str) -> String {
    let response =
        within(20, client.get(url).send()).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    response.error_for_status().unwrap().text().await.unwrap()
}

fn login(proxy: &Server) -> String {
    format!("http://user:planted@{}", proxy.address())
}

#[tokio::test]
async fn a_forwarded_request_names_the_whole_url_and_carries_the_credentials() {
    let server = Server::echo();
    let client = client(Proxy::all(login(&server)).unwrap());
    assert_eq!(fetch(&client, "http://a.test/x?y").await, "http://a.test/x?y");
    let seen = server.seen();
    let expected =
        format!("GET http://a.test/x?y HTTP/1.1\r\nhost: a.test\r\nproxy-authorization: {BASIC}\r\n\r\n");
    assert_eq!(seen[0].request.head, expected, "R-9112-3.2.2-1");
    // A field of the caller takes precedence over a field of the proxy's settings.
    let own = client.get("http://[2001:db8::1]:8080").header("proxy-authorization", "Bearer own");
    assert_eq!(within(20, own.send()).await.unwrap().text().await.unwrap(), "http://[2001:db8::1]:8080/");
    assert_eq!(server.fields("proxy-authorization")[1], ["Bearer own"]);
    assert_eq!(server.fields("host")[1], ["[2001:db8::1]:8080"]);
}

#[tokio::test]
async fn all_origins_behind_a_forwarding_proxy_share_its_connections() {
    let server = Server::echo();
    let client = client(Proxy::all(login(&server)).unwrap());
    for nth in 0..1_000 {
        let url = format!("http://h{}.test/{nth}", nth % 50);
        assert_eq!(fetch(&client, &url).await, url);
    }
    assert_eq!(server.requests_per_connection(), [1_000], "A-53");
    let stats = client.pool().stats();
    assert_eq!((stats.total.opened, stats.total.reused, stats.hosts.len()), (1, 999, 1));
    let text = format!("{stats} {stats:?} {client:?}");
    assert!(text.contains(&format!("http://* via http://{}", server.address())), "{text}");
    assert_no_secret(&text);
}

/// The connections of a proxy are not used without the proxy, with other credentials, or with another tag.
#[tokio::test]
async fn a_53_another_proxy_or_login_or_tag_shares_no_connection() {
    let server = Server::echo();
    let address = server.address();
    let client = Client::builder().no_proxy().resolve("h.test", address).build().unwrap();
    let proxies = [
        None,
        Some(format!("http://{address}")),
        Some(format!("http://user:planted@{address}")),
        Some(format!("http://user:other@{address}")),
        Some(format!("http://localhost:{}", address.port())),
    ];
    for round in 1..=2 {
        for (at, proxy) in proxies.iter().enumerate() {
            for tag in [None, Some("a")] {
                let mut request = client.get(format!("http://h.test:{}/", address.port()));
                if let Some(proxy) = proxy {
                    request = request.proxy(Proxy::all(proxy).unwrap());
                }
                if let Some(tag) = tag {
                    request = request.isolation(tag);
                }
                let response = within(20, request.send()).await.unwrap();
                assert_eq!(response.connection().ordinal(), round, "A-53 {at} {tag:?}");
                response.text().await.unwrap();
            }
        }
    }
    assert_eq!(server.connections(), 2 * proxies.len(), "R-9110-3.3-1");
}

#[tokio::test]
async fn a_tunnel_is_reused_for_its_origin_only_and_the_origin_gets_no_credentials() {
    for (kind, user, credentials) in [
        (Kind::Http, "user:planted", BASIC),
        (Kind::Socks5, "user:planted", "user:planted"),
        (Kind::Socks4, "planted", "planted"),
    ] {
        let server = Server::echo();
        // The answers come one byte at a time.
        let gate = Gate::start_in_pieces(kind, server.address(), Some(credentials), None, 1).await;
        let client = client(Proxy::all(gate.url(user)).unwrap().tunnel(true));
        for nth in 0..1_000 {
            let host = ["a.test", "b.test:8080", "a.test", "192.0.2.1"][nth % 4];
            let url = format!("http://{host}/{nth}");
            assert_eq!(fetch(&client, &url).await, format!("/{nth}"), "{kind:?}");
        }
        assert_eq!((gate.accepted(), server.connections()), (3, 3), "A-53 {kind:?}");
        let asked = gate.asked();
        match kind {
            Kind::Socks5 | Kind::Socks4 => {
                assert_eq!(asked, ["name a.test 80", "name b.test 8080", "v4 192.0.2.1 80"], "A-62 {kind:?}");
            }
            _ => {
                let expected = |to| {
                    format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nproxy-authorization: {BASIC}\r\n\r\n")
                };
                assert_eq!(asked, ["a.test:80", "b.test:8080", "192.0.2.1:80"].map(expected));
            }
        }
        for seen in server.seen() {
            assert_no_secret(&seen.request.head);
            assert!(seen.request.head.starts_with("GET /"), "R-9110-11.7-1: {}", seen.request.head);
        }
        let stats = client.pool().stats();
        assert_eq!((stats.total.opened, stats.total.reused, stats.hosts.len()), (3, 997, 3), "{kind:?}");
        assert_no_secret(&format!("{stats} {stats:?} {client:?}"));
    }
}

#[tokio::test]
async fn an_ipv6_authority_is_in_brackets_in_connect_and_an_address_in_socks() {
    for (kind, expected) in [
        (Kind::Http, "CONNECT [2001:db8::1]:8080 HTTP/1.1\r\nhost: [2001:db8::1]:8080\r\n\r\n"),
        (Kind::Socks5, "v6 2001:db8::1 8080"),
    ] {
        let server = Server::echo();
        let gate = Gate::start(kind, server.address(), None).await;
        let client = client(Proxy::all(gate.url("")).unwrap().tunnel(true));
        assert_eq!(fetch(&client, "http://[2001:db8::1]:8080/x").await, "/x");
        assert_eq!(gate.asked(), [expected], "{kind:?}");
        assert_eq!(server.fields("host")[0], ["[2001:db8::1]:8080"], "{kind:?}");
    }
    let gate = Gate::start(Kind::Socks4, Server::echo().address(), None).await;
    let error = client(Proxy::all(gate.url("")).unwrap()).get("http://[2001:db8::1]/").send();
    let error = within(20, error).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)));
    assert!(gate.asked().is_empty() && error.message().contains("SOCKS4"), "{error}");
}

#[tokio::test]
async fn socks_without_an_h_asks_for_addresses_and_socks_with_an_h_asks_for_names() {
    let server = Server::echo();
    let known = |name: &str| Client::builder().resolve(name, ([192, 0, 2, 9], 0).into());
    for (scheme, kind, asked) in [
        ("socks5", Kind::Socks5, "v4 192.0.2.9 80"),
        ("socks5h", Kind::Socks5, "name a.test 80"),
        ("socks4", Kind::Socks4, "v4 192.0.2.9 80"),
        ("socks4a", Kind::Socks4, "name a.test 80"),
    ] {
        let gate = Gate::start(kind, server.address(), None).await;
        let proxy = Proxy::all(format!("{scheme}://{}", gate.address)).unwrap();
        let client = known("a.test").proxy(proxy).build().unwrap();
        assert_eq!(fetch(&client, "http://a.test/x").await, "/x");
        assert_eq!(gate.asked(), [asked], "A-62 R-1928-5-1: {scheme}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_an_error_before_any_byte_of_the_request() {
    for (kind, credentials, logins) in [
        (Kind::Http, BASIC, ["", "user:planted2", "planted:user"]),
        (Kind::Socks5, "user:planted", ["", "user:planted2", "planted:user"]),
        (Kind::Socks4, "planted", ["", "planted2", "plante"]),
    ] {
        let server = Server::echo();
        let gate = Gate::start(kind, server.address(), Some(credentials)).await;
        for login in logins {
            let client = client(Proxy::all(gate.url(login)).unwrap().tunnel(true));
            let mut events = client.pool().subscribe();
            let error = within(20, client.post("http://a.test/x").body("content").send()).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::Proxy, Some(Phase::Proxy)),
                "{kind:?} {login}"
            );
            assert_eq!((error.request_written(), error.is_connect()), (Written::Nothing, true));
            let mut shown = format!("{error} {error:?} {} {client:?}", error.chain());
            while let Some(event) = events.try_recv() {
                shown += &format!("{event} {event:?}");
            }
            assert!(shown.contains(&format!("{}", gate.address)), "{shown}");
            assert!(error.timings().unwrap().proxy.is_some(), "{:?}", error.timings());
            assert_no_secret(&shown);
        }
        assert_eq!(server.connections(), 0, "{kind:?}");
        let right = client(
            Proxy::all(gate.url(if kind == Kind::Socks4 { "planted" } else { "user:planted" }))
                .unwrap()
                .tunnel(true),
        );
        assert_eq!(fetch(&right, "http://a.test/x").await, "/x");
    }
    // A proxy that forwards answers the request itself.
    let server = Server::start(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let client = client(Proxy::all(format!("http://{}", server.address())).unwrap());
    let response = within(20, client.get("http://a.test/").send()).await.unwrap();
    assert_eq!((response.status().as_u16(), server.seen().len()), (407, 1), "A-59");
}

#[tokio::test]
async fn a_60_credentials_of_a_proxy_do_not_follow_a_redirect() {
    let origin = Server::echo();
    let (to, port) = (origin.address(), origin.address().port());
    // The proxy redirects to a host that is reached without a proxy.
    let proxy = Server::start(move |peer| {
        while peer.request()?.is_some() {
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: http://b.test:{port}/next\r\ncontent-length: 0\r\n\r\n"
            );
            peer.send(head)?;
        }
        Ok(())
    });
    let set = Proxy::all(login(&proxy)).unwrap().no_proxy(NoProxy::from_string("b.test"));
    let fields =
        HeaderMap::from_iter([("x-proxy-token".parse().unwrap(), HeaderValue::from_static("planted"))]);
    let client = Client::builder().proxy(set.headers(fields)).resolve("b.test", to).build().unwrap();
    if cfg!(feature = "url") {
        let response = within(20, client.get("http://a.test/").send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "/next");
        assert_no_secret(&origin.seen()[0].request.head);
        assert_eq!(origin.fields("proxy-authorization"), [Vec::<String>::new()], "A-60");
    } else {
        assert_eq!(within(20, client.get("http://a.test/").send()).await.unwrap().status(), 302);
    }
    assert_eq!(proxy.fields("proxy-authorization"), [[BASIC]], "A-60 R-9110-11.7-1");
    assert_eq!(proxy.fields("x-proxy-token"), [["planted"]], "A-60");
}

/// Fields of the caller that are meant for a proxy do not reach an origin through a tunnel, and fields for the origin do not
/// reach the proxy that opens the tunnel.
#[tokio::test]
async fn a_60_a_tunnel_request_loses_the_proxy_authorization_of_the_caller() {
    let server = Server::echo();
    let gate = Gate::start(Kind::Http, server.address(), None).await;
    let client = client(Proxy::all(gate.url("")).unwrap().tunnel(true));
    let request = client.get("http://a.test/x").header(PROXY_AUTHORIZATION, "Bearer planted");
    let response = within(20, request.header("authorization", "Bearer for-origin").send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/x");
    assert_eq!(server.fields("proxy-authorization"), [Vec::<String>::new()], "A-60");
    assert_eq!(server.fields("authorization"), [["Bearer for-origin"]]);
    assert!(
        !gate.asked()[0].contains("for-origin") && !gate.asked()[0].contains("planted"),
        "A-60 {:?}",
        gate.asked()
    );
}

#[tokio::test]
async fn a_request_can_have_a_proxy_of_its_own_or_none() {
    let (direct, first, second) = (Server::echo(), Server::echo(), Server::echo());
    let proxy = |server: &Server| Proxy::all(format!("http://{}", server.address())).unwrap();
    let builder = Client::builder().resolve("a.test", direct.address());
    let client = builder.proxy(proxy(&first)).build().unwrap();
    let url = format!("http://a.test:{}/", direct.address().port());
    let own = client.get(&url).proxy(proxy(&second));
    let again = own.try_clone().unwrap();
    for request in [client.get(&url), own, again, client.get(&url).no_proxy()] {
        within(20, request.send()).await.unwrap().text().await.unwrap();
    }
    // A request that was built keeps its proxy.
    let built = client.get(&url).proxy(proxy(&second)).build().unwrap();
    within(20, client.execute(built)).await.unwrap().text().await.unwrap();
    assert_eq!((first.seen().len(), second.seen().len(), direct.seen().len()), (1, 3, 1));
    let spared = proxy(&second).no_proxy(NoProxy::from_string("*"));
    within(20, client.get(&url).proxy(spared).send()).await.unwrap().text().await.unwrap();
    assert_eq!((second.seen().len(), direct.seen().len()), (3, 2), "the client's proxies are replaced");
    let broken = proxy(&second).basic_auth("us:er", "planted");
    let error = client.get(&url).proxy(broken.clone()).send().await.unwrap_err();
    assert!(error.is_request(), "{error}");
    assert_no_secret(&format!("{error:?}"));
    assert!(Client::builder().proxy(broken).build().unwrap_err().is_request());
}

#[tokio::test]
async fn connections_are_dialed_ahead_through_the_proxy() {
    let server = Server::echo();
    let gate = Gate::start(Kind::Socks5, server.address(), None).await;
    let client = client(Proxy::all(gate.url("")).unwrap());
    within(20, client.warm("http://a.test/", 2)).await.unwrap();
    assert_eq!(gate.asked(), ["name a.test 80", "name a.test 80"]);
    let response = within(20, client.get("http://a.test/x").send()).await.unwrap();
    assert!(response.connection().handshake() > Duration::ZERO);
    assert_eq!((response.connection().peer_addr(), gate.accepted()), (Some(gate.address), 2));
}

#[tokio::test]
async fn a_client_cannot_have_both_a_connector_and_a_proxy() {
    let builder = || Client::builder().connector(|_| async { Err::<tokio::net::TcpStream, _>("no".into()) });
    let proxy = || Proxy::all("http://127.0.0.1:9").unwrap();
    assert!(builder().proxy(proxy()).build().unwrap_err().is_request());
    let client = builder().no_proxy().build().unwrap();
    let error = within(20, client.get("http://a.test/").proxy(proxy()).send()).await.unwrap_err();
    assert!(error.is_request() && error.message().contains("connector"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_named() {
    let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client(Proxy::all(format!("http://user:planted@{at}")).unwrap());
    let error = within(20, client.get("http://a.test/").send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Some(Phase::Tcp)));
    let text = error.chain().to_string();
    assert!(
        text.starts_with(&format!("GET http://a.test: no connection to the proxy http://{at}:")),
        "{text}"
    );
    assert_no_secret(&format!("{text} {error:?}"));
}

#[cfg(feature = "rustls")]
mod secured {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use handclasp::Certificate;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::server::StoresServerSessions;

    use super::*;

    /// Returns the TLS settings of a proxy with a certificate for these names, and the certificate.
    fn certify(names: &[&str]) -> (ServerConfig, Certificate) {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        (config, Certificate::from_der(made.cert.der()).unwrap())
    }

    fn tls_server() -> (Server, Certificate) {
        let server = Server::start_tls(|peer| {
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
            }
            Ok(())
        });
        let root = Certificate::from_pem(server.authority()).unwrap();
        (server, root)
    }

    #[tokio::test]
    async fn https_goes_through_a_tunnel_of_each_kind_and_is_verified_end_to_end() {
        let (server, root) = tls_server();
        for (kind, user, credentials) in [
            (Kind::Http, "user:planted", BASIC),
            (Kind::Socks5, "user:planted", "user:planted"),
            (Kind::Socks4, "planted", "planted"),
        ] {
            let gate = Gate::start(kind, server.address(), Some(credentials)).await;
            let builder = || Client::builder().proxy(Proxy::all(gate.url(user)).unwrap());
            let client = builder().add_root_certificate(root.clone()).build().unwrap();
            for nth in 0..1_000 {
                assert_eq!(
                    fetch(&client, &format!("https://localhost/{nth}")).await,
                    format!("/{nth}"),
                    "{kind:?}"
                );
            }
            assert_eq!(gate.accepted(), 1, "A-53 {kind:?}");
            // Another origin has its own tunnel.
            assert_eq!(fetch(&client, "https://127.0.0.1/x").await, "/x", "{kind:?}");
            let asked = gate.asked();
            assert_eq!(asked.len(), 2, "A-53 {kind:?}");
            assert!(asked[0].contains("localhost") && asked[1].contains("127.0.0.1"), "{asked:?}");
            assert!(!asked.concat().contains("/x"), "{asked:?}");
            // The certificate is checked for the origin.
            let error = within(20, client.get("https://other.test/").send()).await.unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Some(Phase::Tls)), "{kind:?}");
            let error =
                within(20, builder().build().unwrap().get("https://localhost/").send()).await.unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Some(Phase::Tls)), "{kind:?}");
        }
        for seen in server.seen() {
            assert_no_secret(&seen.request.head);
            assert!(seen.request.field("proxy-authorization").is_none(), "A-60");
        }
    }

    #[tokio::test]
    async fn an_https_proxy_is_verified_and_carries_http_and_https() {
        let (config, proxy_root) = certify(&["localhost"]);
        let (server, root) = tls_server();
        let gate = Gate::start_tls(config, server.address(), Some(BASIC)).await;
        let url = format!("https://user:planted@localhost:{}", gate.address.port());
        let builder =
            |url: &str| Client::builder().add_root_certificate(root.clone()).proxy(Proxy::all(url).unwrap());
        let client = builder(&url).add_root_certificate(proxy_root.clone()).build().unwrap();
        let long = "x".repeat(30_000);
        for nth in 0..1_000 {
            let path = if nth % 100 == 0 { format!("/{nth}/{long}") } else { format!("/{nth}") };
            let response = within(20, client.get(format!("https://localhost{path}")).send()).await.unwrap();
            assert!(
                response.timings().tls.is_some() == (nth == 0)
                    && response.timings().proxy.is_some() == (nth == 0)
            );
            assert_eq!(response.text().await.unwrap(), path);
        }
        assert_eq!((gate.accepted(), server.connections()), (1, 1), "TLS inside TLS is reused");
        // The proxy's certificate is checked for the proxy.
        let other = format!("https://user:planted@127.0.0.1:{}", gate.address.port());
        for client in [
            builder(&url).build().unwrap(),
            builder(&other).add_root_certificate(proxy_root.clone()).build().unwrap(),
        ] {
            let error = within(20, client.get("https://localhost/").send()).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::Proxy, Some(Phase::Proxy)),
                "{}",
                error.chain()
            );
            assert_eq!(error.request_written(), Written::Nothing);
            assert_no_secret(&format!("{error:?} {}", error.chain()));
        }
        assert_eq!(gate.asked().len(), 1, "no credentials reach a proxy that was not verified");
    }

    /// Counts the sessions that clients try to resume.
    #[derive(Debug, Default)]
    struct Sessions(AtomicUsize);

    impl StoresServerSessions for Sessions {
        fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
            true
        }

        fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            None
        }

        fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.get(key)
        }

        fn can_cache(&self) -> bool {
            true
        }
    }

    /// The proxy and the origin are one server with one name. The connections to the origin resume sessions, and the
    /// connections to the proxy do not, so that the client shows no ticket of a proxy to an origin.
    #[tokio::test]
    async fn a_55_no_session_with_an_https_proxy_is_resumed() {
        let (mut config, root) = certify(&["localhost"]);
        let sessions = Arc::new(Sessions::default());
        config.session_storage = sessions.clone();
        let server = Server::start_tls_by(config, |peer| {
            let Some(request) = peer.request()? else { return Ok(()) };
            let (size, body) = (request.target.len(), request.target);
            peer.send(format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n{body}"))
        });
        let at = format!("localhost:{}", server.address().port());
        let proxy = Proxy::http(format!("https://user:planted@{at}")).unwrap();
        let client = Client::builder().add_root_certificate(root).proxy(proxy).build().unwrap();
        for nth in 0..4 {
            let url = format!("http://h{nth}.test/");
            let response = within(20, client.get(&url).send()).await.unwrap();
            let tls = response.connection().tls().unwrap();
            assert!(!tls.is_resumed() && response.timings().tls.is_none(), "the TLS of the proxy");
            assert_eq!(response.text().await.unwrap(), url);
        }
        assert_eq!((sessions.0.load(Ordering::SeqCst), server.connections()), (0, 4), "A-55");
        for nth in 0..4 {
            assert_eq!(fetch(&client, &format!("https://{at}/{nth}")).await, format!("/{nth}"));
        }
        // The first connection to the origin has no session to resume.
        assert_eq!((sessions.0.load(Ordering::SeqCst), server.connections()), (3, 8), "A-55");
    }
}
