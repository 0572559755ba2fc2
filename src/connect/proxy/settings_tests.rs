//! Tests of the choice of a proxy.

use super::*;

fn choose_as(proxies: &Proxies, method: &Method, uri: &str) -> Result<Via> {
    let uri: Uri = uri.parse().unwrap();
    let is_https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    proxies.choose(Wanted { method, uri: &uri, is_https, host: uri.host().unwrap(), port, filter: None })
}

/// Returns how a GET reaches its origin, as text.
fn way(proxies: &Proxies, uri: &str) -> String {
    match choose_as(proxies, &Method::GET, uri).unwrap() {
        Via::Direct => "direct".to_owned(),
        Via::Forward(server) => format!("forward {server}"),
        Via::Tunnel(server) => format!("tunnel {server}"),
        Via::Unix(path) => format!("unix {path}"),
    }
}

fn of(proxies: impl IntoIterator<Item = Proxy>) -> Proxies {
    proxies.into_iter().fold(Proxies::NONE, |all, proxy| all.and(proxy).unwrap())
}

#[test]
fn the_scheme_of_the_url_and_of_the_proxy_decide_about_the_way() {
    for (proxy, http, https) in [
        (Proxy::all("http://p.test:1"), "forward http://p.test:1", "tunnel http://p.test:1"),
        (Proxy::all("https://p.test:1"), "forward https://p.test:1", "tunnel https://p.test:1"),
        (Proxy::all("socks5h://p.test:1"), "tunnel socks5h://p.test:1", "tunnel socks5h://p.test:1"),
        (Proxy::all("socks4://p.test:1"), "tunnel socks4://p.test:1", "tunnel socks4://p.test:1"),
        (Proxy::http("http://p.test:1"), "forward http://p.test:1", "direct"),
        (Proxy::https("http://p.test:1"), "direct", "tunnel http://p.test:1"),
        (
            Proxy::all("http://p.test:1").map(|p| p.tunnel(true)),
            "tunnel http://p.test:1",
            "tunnel http://p.test:1",
        ),
    ] {
        let proxies = of([proxy.unwrap()]);
        assert_eq!(way(&proxies, "http://a.test/x"), http);
        assert_eq!(way(&proxies, "https://a.test/x"), https);
    }
    let proxies = of([Proxy::all("http://p.test:1").unwrap()]);
    let via = choose_as(&proxies, &Method::CONNECT, "http://a.test").unwrap();
    assert!(matches!(via, Via::Tunnel(_)), "the caller's CONNECT is for the host of the URL");
    assert_eq!(way(&Proxies::NONE, "http://a.test"), "direct");
    assert!(Proxies::NONE.is_empty() && !proxies.is_empty());
}

#[test]
fn the_first_proxy_that_applies_is_used() {
    let spared =
        Proxy::all("http://first.test").unwrap().no_proxy(NoProxy::from_string("b.test, c.test:8080"));
    let chosen = Proxy::custom(|uri: &Uri| (uri.host() == Some("b.test")).then_some("socks5://second.test"));
    let last = Proxy::all("http://last.test").unwrap().no_proxy(NoProxy::from_string("c.test"));
    let proxies = of([spared, chosen, last]);
    for (uri, expected) in [
        ("http://a.test/", "forward http://first.test:80"),
        ("http://b.test/", "tunnel socks5://second.test:1080"),
        ("http://x.b.test/", "forward http://last.test:80"),
        ("http://c.test/", "forward http://first.test:80"),
        ("http://c.test:8080/", "direct"),
        ("https://127.0.0.1/", "tunnel http://first.test:80"),
    ] {
        assert_eq!(way(&proxies, uri), expected, "{uri}");
    }
}

#[test]
fn credentials_belong_to_one_proxy_and_are_never_shown() {
    let fields = |via: Via| match via {
        Via::Forward(server) => server.fields().get(PROXY_AUTHORIZATION).cloned(),
        other => panic!("{other:?}"),
    };
    let basic = HeaderValue::from_static("Basic dXNlcjpzZWNyZXQ=");
    for (proxy, expected) in [
        (Proxy::all("http://user:secret@p.test").unwrap(), Some(basic.clone())),
        (Proxy::all("http://p.test").unwrap().basic_auth("user", "secret"), Some(basic.clone())),
        (Proxy::all("http://x:y@p.test").unwrap().basic_auth("user", "secret"), Some(basic.clone())),
        (
            Proxy::all("http://x:y@p.test")
                .unwrap()
                .custom_http_auth(HeaderValue::from_static("Bearer secret")),
            Some(HeaderValue::from_static("Bearer secret")),
        ),
        // The last call sets the credentials.
        (
            Proxy::all("http://p.test")
                .unwrap()
                .custom_http_auth(HeaderValue::from_static("Bearer secret"))
                .basic_auth("user", "secret"),
            Some(basic.clone()),
        ),
        (
            Proxy::all("http://p.test")
                .unwrap()
                .basic_auth("user", "secret")
                .custom_http_auth(HeaderValue::from_static("Bearer secret")),
            Some(HeaderValue::from_static("Bearer secret")),
        ),
        (
            Proxy::custom(|_: &Uri| Some("http://p.test"))
                .custom_http_auth(HeaderValue::from_static("Bearer secret"))
                .basic_auth("user", "secret"),
            Some(basic.clone()),
        ),
        (Proxy::custom(|_: &Uri| Some("http://p.test")).basic_auth("user", "secret"), Some(basic.clone())),
        (Proxy::custom(|_: &Uri| Some("http://user:secret@p.test")).basic_auth("x", "y"), Some(basic)),
        (Proxy::all("http://p.test").unwrap(), None),
    ] {
        let shown = format!("{proxy:?}");
        let proxies = of([proxy]);
        let via = choose_as(&proxies, &Method::GET, "http://a.test/").unwrap();
        let shown = format!("{shown} {proxies:?} {via:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("user") && !shown.contains("dXNl"),
            "A-60 {shown}"
        );
        assert_eq!(fields(via), expected);
    }
    for broken in [
        Proxy::all("http://p.test").unwrap().basic_auth("us:er", "secret"),
        Proxy::all("http://p.test").unwrap().basic_auth("user", "sec\nret"),
        Proxy::all("socks4://p.test").unwrap().basic_auth("user", "secret"),
        Proxy::all("socks5://p.test").unwrap().basic_auth("user", &"secret".repeat(50)),
        Proxy::all("socks5://p.test").unwrap().custom_http_auth(HeaderValue::from_static("Bearer secret")),
    ] {
        let error = Proxies::NONE.and(broken).unwrap_err();
        assert!(error.is_request() && !format!("{error:?}").contains("secret"), "A-60 {error:?}");
    }
}

#[test]
fn a_function_that_returns_no_url_fails_the_request() {
    let proxies = of([Proxy::custom(|_: &Uri| Some("ftp://user:secret@p.test"))]);
    let error = choose_as(&proxies, &Method::GET, "http://a.test/").unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)));
    assert!(!format!("{error:?} {}", error.chain()).contains("secret"), "A-60 {error:?}");
}

fn variables(http: Option<&str>, https: Option<&str>, no_proxy: Option<&str>) -> Proxies {
    Proxies::of_variables(Variables {
        http: http.map(|url| ("http_proxy", url.to_owned())),
        https: https.map(|url| ("HTTPS_PROXY", url.to_owned())),
        no_proxy: no_proxy.map(str::to_owned),
    })
}

#[test]
fn a_61_proxies_of_the_environment_apply_by_scheme_and_not_to_this_machine() {
    let proxies =
        variables(Some("h.test:3128"), Some("socks5h://s.test"), Some("b.test,10.0.0.0/8,c.test:8080"));
    for (uri, expected) in [
        ("http://a.test/", "forward http://h.test:3128"),
        ("https://a.test/", "tunnel socks5h://s.test:1080"),
        ("http://b.test/", "direct"),
        ("https://x.b.test/", "direct"),
        ("http://10.1.2.3/", "direct"),
        ("http://c.test/", "forward http://h.test:3128"),
        ("http://c.test:8080/", "direct"),
        // curl sends these through the proxy. Go does not.
        ("http://localhost/", "direct"),
        ("http://LocalHost:8080/", "direct"),
        ("http://127.0.0.1/", "direct"),
        ("http://127.9.9.9/", "direct"),
        ("https://[::1]/", "direct"),
        ("https://[::ffff:127.0.0.1]/", "direct"),
        // A name under `localhost` is this machine by RFC 6761, section 6.3. Go sends it through the proxy.
        ("http://a.localhost/", "direct"),
        ("http://nolocalhost/", "forward http://h.test:3128"),
        ("http://localhost.a.test/", "forward http://h.test:3128"),
        ("http://128.0.0.1/", "forward http://h.test:3128"),
    ] {
        assert_eq!(way(&proxies, uri), expected, "A-61 {uri}");
    }
    assert!(variables(None, None, Some("*")).is_empty());
    assert_eq!(way(&variables(Some("h.test"), None, Some("*")), "http://a.test/"), "direct");
    assert_eq!(way(&variables(Some("h.test"), None, None), "https://a.test/"), "direct");
}

#[test]
fn a_variable_that_is_no_url_fails_the_requests_that_would_use_it() {
    let proxies = variables(None, Some("ftp://user:secret@p.test"), Some("b.test"));
    let error = choose_as(&proxies, &Method::GET, "https://a.test/").unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)));
    assert!(
        error.to_string().contains("the environment variable HTTPS_PROXY is not")
            && !format!("{error:?}").contains("secret"),
        "A-60 {error:?}"
    );
    assert_eq!(way(&proxies, "https://b.test/"), "direct");
    assert_eq!(way(&proxies, "http://a.test/"), "direct");
    // The cause tells what to correct.
    for (url, part) in [
        ("ftp://user:secret@p.test", "scheme of the proxy's URL is not"),
        ("http://user:secret@p.test:x", "percent-encode the password"),
        ("socks4://user:secret@p.test", "SOCKS4 carries a user, but no password"),
    ] {
        let error = choose_as(&variables(Some(url), None, None), &Method::GET, "http://a.test/").unwrap_err();
        let shown = format!("{} {error:?}", error.chain());
        assert!(shown.contains(part) && !shown.contains("secret"), "A-60 {shown}");
    }
    // GNOME sets such a variable.
    let proxies = variables(Some("socks://127.0.0.1:1080/"), None, None);
    assert_eq!(way(&proxies, "http://a.test/"), "tunnel socks5h://127.0.0.1:1080");
}

/// A password in Latin-1 is sent with its own bytes, and a host that is not UTF-8 is refused.
#[test]
fn a_variable_that_is_not_utf_8_keeps_its_bytes() {
    let url = text(b"http://user:s\xe9cret\xff@p.test");
    let server = ProxyServer::parse(&url).unwrap();
    let expected = crate::basic::value(b"user", b"s\xe9cret\xff").unwrap();
    assert_eq!(server.fields().get(PROXY_AUTHORIZATION), Some(&expected), "A-60");
    let server = ProxyServer::parse(&text("socks5://us\u{e9}r:p%41@p.test".as_bytes())).unwrap();
    assert_eq!(server.login().map(|login| &*login.user), Some("us\u{e9}r".as_bytes()));
    assert!(ProxyServer::parse(&text(b"http://p\xe9.test")).is_err());
    assert_eq!(text(b"\xe9.test,b.test"), "%E9.test,b.test");
}

/// The text of an address with a final dot is a name: the proxy, and not the client, decides which address it means.
#[test]
fn a_70_an_address_with_a_final_dot_is_a_name_for_the_filter() {
    let filter = AddressFilter::public_only();
    let check = |proxies: &Proxies, host: &str| {
        let uri: Uri = format!("http://{host}/").parse().unwrap();
        let wanted = Wanted {
            method: &Method::GET,
            uri: &uri,
            is_https: false,
            host,
            port: 80,
            filter: Some(&filter),
        };
        proxies.choose(wanted).map_err(|error| (error.kind(), error.to_string()))
    };
    let given = || Proxy::all("http://p.test").unwrap();
    let (untrusted, trusted) = (of([given()]), of([given().filters_addresses(true)]));
    for (host, is_allowed, is_allowed_by_trust) in [
        ("8.8.8.8", true, true),
        ("8.8.8.8.", false, true),
        ("10.0.0.1", false, false),
        ("a.test", false, true),
        ("a.test.", false, true),
    ] {
        assert_eq!(check(&untrusted, host).is_ok(), is_allowed, "A-70 {host}");
        assert_eq!(check(&trusted, host).is_ok(), is_allowed_by_trust, "A-70 {host}");
    }
    let (kind, text) = check(&untrusted, "a.test").unwrap_err();
    assert_eq!(kind, ErrorKind::AddressRefused);
    assert!(text.contains("call Proxy::filters_addresses") && !text.contains("no_proxy"), "{text}");
    // A proxy of the environment has no value on which a method could be called.
    let (_, text) = check(&variables(Some("p.test"), None, None), "a.test").unwrap_err();
    assert!(text.contains("ClientBuilder::no_proxy") && text.contains("ClientBuilder::proxy"), "{text}");
    // The rules for hosts without a proxy ignore the dot.
    let spared = of([given().no_proxy(NoProxy::from_string("b.test,8.8.8.8"))]);
    for host in ["b.test.", "8.8.8.8."] {
        assert_eq!(check(&spared, host).unwrap(), Via::Direct, "A-61 {host}");
    }
}

/// Returns the proxies of variables and of the settings of Windows.
#[cfg(feature = "system-proxy")]
fn of_system(http: Option<&str>, no_proxy: Option<&str>, server: &str, exceptions: &str) -> Proxies {
    let variables = Variables {
        http: http.map(|url| ("http_proxy", url.to_owned())),
        https: None,
        no_proxy: no_proxy.map(str::to_owned),
    };
    Proxies::of_system(variables, System::of_windows(server, exceptions))
}

#[cfg(feature = "system-proxy")]
#[test]
fn the_environment_comes_before_the_settings_of_the_system() {
    let server = "http=s.test:1;https=s.test:2";
    for (http, no_proxy, exceptions, uri, expected) in [
        (None, None, "", "http://a.test/", "forward http://s.test:1"),
        (None, None, "", "https://a.test/", "tunnel http://s.test:2"),
        (Some("e.test:9"), None, "", "http://a.test/", "forward http://e.test:9"),
        (Some("e.test:9"), None, "", "https://a.test/", "tunnel http://s.test:2"),
        // The exceptions of the system are for the proxies of the system.
        (None, None, "a.test", "http://a.test/", "direct"),
        (Some("e.test:9"), None, "a.test", "http://a.test/", "forward http://e.test:9"),
        (Some("e.test:9"), None, "a.test", "https://a.test/", "direct"),
        // The list of the environment is for all proxies, and replaces that of the system.
        (Some("e.test:9"), Some("a.test"), "b.test", "http://a.test/", "direct"),
        (Some("e.test:9"), Some("a.test"), "b.test", "https://a.test/", "direct"),
        (None, Some("a.test"), "b.test", "https://b.test/", "tunnel http://s.test:2"),
        (None, Some("*"), "", "https://a.test/", "direct"),
        // This machine is reached directly, whatever names the proxy.
        (None, None, "", "http://localhost/", "direct"),
        (None, None, "", "https://127.0.0.1/", "direct"),
    ] {
        let proxies = of_system(http, no_proxy, server, exceptions);
        assert_eq!(way(&proxies, uri), expected, "{http:?} {no_proxy:?} {exceptions:?} {uri}");
    }
    assert!(of_system(None, None, "", "").is_empty());
}

/// A request never goes without the proxy that it should go through.
#[cfg(feature = "system-proxy")]
#[test]
fn a_setting_of_the_system_that_is_no_url_fails_the_requests_that_would_use_it() {
    let proxies = of_system(None, None, "https=ftp://user:secret@s.test", "b.test");
    let error = choose_as(&proxies, &Method::GET, "https://a.test/").unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)));
    let text = "the proxy in the settings of the system is not the URL of a proxy: correct the URL, or call ClientBuilder::no_proxy";
    assert!(error.to_string().contains(text) && !format!("{error:?}").contains("secret"), "A-60 {error:?}");
    assert_eq!(way(&proxies, "https://b.test/"), "direct");
}
