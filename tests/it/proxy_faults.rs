//! Faults of requests through proxies, each with the test that showed the fault.
#![allow(missing_docs, clippy::unwrap_used)]

use handclasp::header::{HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use handclasp::{Client, ErrorKind, NoProxy, Phase, Proxy, StatusCode, Written};

use crate::support::gate::{Gate, Kind};
use crate::support::{Server, within};

/// `Basic` for the user `user` and the password `planted`.
const BASIC: &str = "Basic dXNlcjpwbGFudGVk";

#[tokio::test]
async fn the_error_of_a_refused_tunnel_has_the_status_of_the_proxy() {
    for status in [302, 403, 407, 429, 502, 503] {
        let proxy = Server::start(move |peer| {
            while peer.request()?.is_some() {
                peer.send(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"))?;
            }
            Ok(())
        });
        let at = Proxy::all(format!("http://user:planted@{}", proxy.address())).unwrap().tunnel(true);
        let client = Client::builder().proxy(at).build().unwrap();
        let error = within(20, client.get("http://a.test/").send()).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)), "{status}");
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status), "{error}");
        // The status is that of the proxy: no response came.
        assert!(!error.is_status() && error.is_connect(), "{error}");
        assert_eq!(error.request_written(), Written::Nothing, "{status}");
    }
    let gate = Gate::start(Kind::Http, Server::echo().address(), Some(BASIC)).await;
    let proxy = Proxy::all(gate.url("user:wrong")).unwrap().tunnel(true);
    let error = Client::builder().proxy(proxy).build().unwrap().get("http://a.test/").send();
    let error = within(20, error).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED), "{error}");
    // A SOCKS proxy has no status.
    let gate = Gate::start(Kind::Socks5, Server::echo().address(), Some("user:planted")).await;
    let proxy = Proxy::all(gate.url("user:wrong")).unwrap();
    let error = Client::builder().proxy(proxy).build().unwrap().get("http://a.test/").send();
    assert_eq!(within(20, error).await.unwrap_err().status(), None);
}

#[tokio::test]
async fn connect_carries_the_user_agent_of_the_client() {
    let server = Server::echo();
    let own = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static("for-proxy/1"))]);
    for (has_agent, fields, expected) in [
        (true, HeaderMap::new(), Some("agent/1")),
        (true, own.clone(), Some("for-proxy/1")),
        (false, HeaderMap::new(), None),
        (false, own, Some("for-proxy/1")),
    ] {
        let gate = Gate::start(Kind::Http, server.address(), None).await;
        let proxy = Proxy::all(gate.url("")).unwrap().tunnel(true).headers(fields);
        let builder = Client::builder().proxy(proxy);
        let builder = if has_agent { builder.user_agent("agent/1") } else { builder.no_user_agent() };
        let client = builder.build().unwrap();
        let seen = server.seen().len();
        let response = within(20, client.get("http://a.test/x").send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "/x");
        let asked = gate.asked().concat();
        let agents: Vec<_> = asked.lines().filter_map(|line| line.strip_prefix("user-agent: ")).collect();
        assert_eq!(agents, expected.as_slice(), "{asked}");
        let origin = server.fields("user-agent")[seen].clone();
        assert_eq!(origin, if has_agent { vec!["agent/1"] } else { vec![] }, "the origin's field");
    }
    // The agent of one request concerns the origin only.
    let gate = Gate::start(Kind::Http, server.address(), None).await;
    let proxy = Proxy::all(gate.url("")).unwrap().tunnel(true);
    let client = Client::builder().user_agent("agent/1").proxy(proxy).build().unwrap();
    let request = client.get("http://a.test/x").header(USER_AGENT, "own/1");
    within(20, request.send()).await.unwrap().text().await.unwrap();
    assert!(gate.asked()[0].contains("user-agent: agent/1\r\n"), "{:?}", gate.asked());
}

/// A field for the proxy does not reach an origin, whichever setting makes the request direct.
#[tokio::test]
async fn a_60_a_direct_request_loses_the_proxy_authorization_that_is_meant_for_a_proxy() {
    let (proxy, origin) = (Server::echo(), Server::echo());
    let url = format!("http://a.test:{}/x", origin.address().port());
    let meant = HeaderMap::from_iter([(PROXY_AUTHORIZATION, HeaderValue::from_static("Bearer planted"))]);
    let to = |server: &Server| Proxy::all(format!("http://{}", server.address())).unwrap();
    let builder = || Client::builder().default_headers(meant.clone()).resolve("a.test", origin.address());
    let spared = || NoProxy::from_string("a.test");
    let by_list = builder().proxy(to(&proxy).no_proxy(spared())).build().unwrap();
    let always = builder().proxy(to(&proxy)).build().unwrap();
    let never = builder().no_proxy().build().unwrap();
    for request in [
        by_list.get(&url),
        by_list.get(&url).header(PROXY_AUTHORIZATION, "Bearer planted"),
        always.get(&url).no_proxy(),
        never.get(&url).proxy(to(&proxy).no_proxy(spared())),
    ] {
        within(20, request.send()).await.unwrap().text().await.unwrap();
    }
    assert_eq!(origin.fields("proxy-authorization"), vec![Vec::<String>::new(); 4], "A-60 R-9110-11.7-1");
    // Through the proxy, the proxy gets the field.
    within(20, always.get(&url).send()).await.unwrap().text().await.unwrap();
    assert_eq!(proxy.fields("proxy-authorization"), [["Bearer planted"]]);
    // A client without any proxy sends what the caller gives, because the server may be a proxy.
    within(20, never.get(&url).send()).await.unwrap().text().await.unwrap();
    assert_eq!(origin.fields("proxy-authorization")[4], ["Bearer planted"]);
}

/// A field for the proxy does not reach the server of a unix socket either: neither of the request's own socket, nor of
/// the client's.
#[cfg(unix)]
#[tokio::test]
async fn a_60_a_request_over_a_unix_socket_loses_the_proxy_authorization_that_is_meant_for_a_proxy() {
    use crate::support::sockets::{Folder, SocketServer};

    let (folder, proxy) = (Folder::new(), Server::echo());
    let path = folder.path("own.sock");
    let server = SocketServer::echo(&path);
    let meant = HeaderMap::from_iter([(PROXY_AUTHORIZATION, HeaderValue::from_static("Bearer planted"))]);
    let set = || Proxy::all(format!("http://{}", proxy.address())).unwrap();
    let client = Client::builder().default_headers(meant.clone()).proxy(set()).build().unwrap();
    for request in [
        client.get("http://a.test/x").unix_socket(&path),
        client.get("http://a.test/x").unix_socket(&path).header(PROXY_AUTHORIZATION, "Bearer planted"),
    ] {
        within(20, request.send()).await.unwrap().text().await.unwrap();
    }
    let heads = server.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(!head.to_lowercase().contains("proxy-authorization"), "A-60 R-9110-11.7-1: {head}");
    }
    // Without any proxy, the server gets what the caller gives.
    let client = Client::builder().no_proxy().default_headers(meant).unix_socket(&path).build().unwrap();
    within(20, client.get("http://a.test/x").send()).await.unwrap().text().await.unwrap();
    assert!(server.heads()[2].to_lowercase().contains("proxy-authorization: bearer planted"));
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn fields_that_would_break_each_request_are_refused_when_the_proxy_is_given() {
    for name in ["host", "content-length", "transfer-encoding", "connection", "upgrade", "expect"] {
        let name: HeaderName = name.parse().unwrap();
        let fields = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("1"))]);
        let proxy = || Proxy::all("http://127.0.0.1:9").unwrap().headers(fields.clone());
        let error = Client::builder().proxy(proxy()).build().unwrap_err();
        assert!(error.is_request() && error.to_string().contains(name.as_str()), "{name}: {error}");
        let client = Client::builder().no_proxy().build().unwrap();
        assert!(client.get("http://a.test/").proxy(proxy()).send().await.unwrap_err().is_request());
    }
    let many = |prefix: &str| -> HeaderMap {
        let name = |nth| format!("{prefix}-{nth}").parse::<HeaderName>().unwrap();
        (0..20_000).map(|nth| (name(nth), HeaderValue::from_static("1"))).collect()
    };
    let proxy = Proxy::all("http://127.0.0.1:9").unwrap().headers(many("a")).headers(many("b"));
    let error = Client::builder().proxy(proxy).build().unwrap_err();
    assert!(error.to_string().contains("too many header fields"), "{error}");
    let error = Client::builder().default_headers(many("a")).default_headers(many("b")).build().unwrap_err();
    assert!(error.to_string().contains("too many default header fields"), "{error}");
}

#[cfg(feature = "rustls")]
mod secured {
    use handclasp::{Certificate, Identity};
    use tokio_rustls::rustls::version::{TLS12, TLS13};

    use super::*;
    use crate::support::tls::Authority;

    /// In TLS 1.3, the proxy refuses after the handshake.
    #[tokio::test]
    async fn an_https_proxy_that_refuses_the_clients_certificate_is_named() {
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let proxy_side = ours.issue(&["localhost"]);
        let root = Certificate::from_pem(ours.pem()).unwrap();
        let unknown = || Identity::from_pem(theirs.issue(&["client"]).identity()).unwrap();
        for version in [&TLS12, &TLS13] {
            for (is_tunnel, is_shown) in [(true, false), (true, true), (false, false), (false, true)] {
                let config = ours.requiring(&proxy_side, &[version]);
                let gate = Gate::start_tls(config, Server::echo().address(), None).await;
                let at = format!("https://localhost:{}", gate.address.port());
                let proxy = Proxy::all(&at).unwrap().tunnel(is_tunnel);
                let builder = Client::builder().tls_certs_only([root.clone()]).proxy(proxy);
                let builder = if is_shown { builder.identity(unknown()) } else { builder };
                let client = builder.build().unwrap();
                let error = within(20, client.get("http://a.test/").send()).await.unwrap_err();
                let text = error.to_string();
                assert_eq!(error.kind(), ErrorKind::Proxy, "{text}");
                assert!(text.contains(&at), "{text}");
                let part = match (is_shown, is_tunnel || version.version == TLS12.version) {
                    (false, true) if version.version == TLS12.version => "certificate",
                    (false, _) => "requires a client certificate: set one with ClientBuilder::identity",
                    (true, _) => "refused the client's certificate",
                };
                assert!(text.contains(part), "{text}");
                assert!(gate.asked().is_empty(), "the proxy got no request");
                let is_before = error.phase() <= Some(Phase::Tls);
                assert_eq!(error.is_connect(), is_before, "{error:?}");
                assert!(is_before || error.request_written() == Written::All, "{error:?}");
            }
        }
    }
}
