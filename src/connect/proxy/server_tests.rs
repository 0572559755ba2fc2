//! Tests of the URLs of proxies.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::*;

#[test]
fn a_url_names_the_kind_the_host_and_the_port() {
    for (url, shown) in [
        ("http://p.test:3128", "http://p.test:3128"),
        ("http://P.Test", "http://p.test:80"),
        ("HTTPS://P.test./", "https://p.test.:443"),
        ("socks://p.test./", "socks5h://p.test.:1080"),
        ("SOCKS://127.0.0.1:1080/", "socks5h://127.0.0.1:1080"),
        ("https://p.test:8443/path?q#f", "https://p.test:8443"),
        ("p.test:3128", "http://p.test:3128"),
        ("p.test", "http://p.test:80"),
        (" 127.0.0.1:8080\n", "http://127.0.0.1:8080"),
        ("user:pass@p.test:3128", "http://p.test:3128"),
        ("http://[2001:DB8::1]:3128", "http://[2001:db8::1]:3128"),
        ("[::1]", "http://[::1]:80"),
        ("socks4://p.test", "socks4://p.test:1080"),
        ("socks4a://me@p.test", "socks4a://p.test:1080"),
        ("socks5://p.test:9050", "socks5://p.test:9050"),
        ("Socks5h://u:p@p_1.test:", "socks5h://p_1.test:1080"),
    ] {
        let server = ProxyServer::parse(url).unwrap();
        assert_eq!(server.to_string(), shown, "{url}");
        assert_eq!(server.authority(), format!("{}:{}", server.host(), server.port()), "{url}");
    }
}

#[test]
fn a_text_that_is_no_url_of_a_proxy_is_refused_without_being_shown() {
    for url in [
        "",
        "http://",
        "http://:3128",
        "http://user:secret@",
        "ftp://user:secret@p.test",
        "secret://p.test",
        "socks6://p.test",
        "http://.",
        "http://user:secret@p.test:0",
        "http://user:secret@p.test:65536",
        "http://user:secret@p.test:+80",
        "http://user:secret@p.test:80:90",
        "http://user:sec/ret@p.test",
        "http://secret:1/2@p.test",
        "http://secret:#2@p.test:80",
        "http:/p.test:80",
        "socks5:/user:secret@p.test",
        "p.test:",
        "http://user:secret@[::1",
        "http://user:secret@[::1]x:80",
        "http://user:secret@[fe80::1%25eth0]:80",
        "http://user:secret@::1:80",
        "http://user:secret@p test",
        "http://user:secret@p\u{e9}.test",
        "http://us%3Aer:secret@p.test",
        "http://user:secret%0a@p.test",
        "socks4://user:secret@p.test",
        "socks4a://us%00er@p.test",
    ] {
        let error = ProxyServer::parse(url).unwrap_err();
        assert!(error.is_request(), "{url}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret") && !text.contains("test"), "A-60 {text}");
    }
    let long = "x".repeat(256);
    assert!(ProxyServer::parse(&format!("socks5://{long}@p.test")).is_err());
    assert!(ProxyServer::parse(&format!("socks5://u:{long}@p.test")).is_err());
}

#[test]
fn the_user_and_password_of_the_url_become_credentials_that_are_never_shown() {
    for (url, basic) in [
        ("http://Aladdin:open%20sesame@p.test", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
        ("https://u@p.test", Some("Basic dTo=")),
        ("http://u:p@q@p.test", Some("Basic dTpwQHE=")),
        ("http://@p.test", None),
        ("http://:@p.test", None),
        ("http://p.test", None),
    ] {
        let server = ProxyServer::parse(url).unwrap();
        let value = server.fields().get(PROXY_AUTHORIZATION);
        assert_eq!(value.map(|value| value.to_str().unwrap()), basic, "{url}");
        assert!(value.is_none_or(HeaderValue::is_sensitive) && server.login().is_none(), "{url}");
    }
    let server = ProxyServer::parse("socks5://us%65r:s%65cret@p.test").unwrap();
    let login = server.login().unwrap();
    assert_eq!((&*login.user, &*login.password), (&b"user"[..], &b"secret"[..]));
    let custom = ProxyServer::parse("http://p.test").unwrap();
    let custom = custom.with_authorization(HeaderValue::from_static("Bearer secret")).unwrap();
    for server in [&server, &custom] {
        let shown = format!("{server} {server:?} {login:?} {:?}", server.fields());
        assert!(!shown.contains("secret") && !shown.contains("user"), "A-60 {shown}");
    }
    assert!(server.with_authorization(HeaderValue::from_static("Bearer x")).is_err());
}

#[test]
fn rule_01_proxies_are_equal_only_if_all_their_settings_are_equal() {
    let state = RandomState::default();
    let urls = [
        "http://p.test",
        "https://p.test:80",
        "http://p.test:81",
        "http://q.test",
        "http://u@p.test",
        "http://u:p@p.test",
        "http://v:p@p.test",
        "socks4://p.test:80",
        "socks4a://p.test:80",
        "socks5://p.test:80",
        "socks5h://p.test:80",
        "socks5h://u@p.test:80",
        "socks5h://u:p@p.test:80",
        // The user and the password are compared separately.
        "socks5h://up:@p.test:80",
    ];
    let servers = urls.map(|url| ProxyServer::parse(url).unwrap());
    for (at, one) in servers.iter().enumerate() {
        for (other_at, other) in servers.iter().enumerate() {
            assert_eq!(one == other, at == other_at, "A-53 {} {}", urls[at], urls[other_at]);
        }
        let same = ProxyServer::parse(urls[at]).unwrap();
        assert_eq!(state.hash_one(&same), state.hash_one(one));
    }
    let with = |name: &'static str| {
        let fields = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("1"))]);
        servers[0].clone().with_fields(fields).unwrap()
    };
    assert!(with("x-a") == with("x-a") && with("x-a") != with("x-b") && with("x-a") != servers[0]);
}
