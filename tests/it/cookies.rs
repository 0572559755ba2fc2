//! Tests of the cookies that a client stores and sends over the wire. `src/cookie/store_tests.rs` tests the rules.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handclasp::cookie::{CookieStore, Jar};
use handclasp::{Client, Response};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use crate::support::{PATIENCE, Peer, Rng, Server, within};

/// Starts a server. The target `/set?COOKIE` sets a cookie, and `/to?COOKIE|URL` also redirects.
fn serve() -> Server {
    Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
            let (cookie, to) = query.split_once('|').unwrap_or((query, ""));
            let cookie = match cookie {
                "" => String::new(),
                _ => format!(
                    "set-cookie: {}\r\n",
                    cookie.replace("%20", " ").replace("%22", "\"").replace("&", "\r\nset-cookie: ")
                ),
            };
            peer.send(match path {
                "/to" => format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\n{cookie}content-length: 0\r\n\r\n"),
                "/404" => format!("HTTP/1.1 404 Not Found\r\n{cookie}content-length: 0\r\n\r\n"),
                _ => format!("HTTP/1.1 200 OK\r\n{cookie}content-length: 0\r\n\r\n"),
            })?;
        }
        Ok(())
    })
}

fn client() -> Client {
    Client::builder().cookie_store(true).build().unwrap()
}

async fn get(client: &Client, url: impl handclasp::IntoUrl) -> Response {
    within(20, client.get(url).send()).await.unwrap()
}

fn cookies(server: &Server) -> Vec<Vec<String>> {
    server.fields("cookie")
}

#[tokio::test]
async fn a_cookie_is_sent_back_without_its_attributes() {
    let server = serve();
    let client = client();
    get(&client, server.url("/set?a=1;HttpOnly;Max-Age=60;Path=/&b=2;Path=/x")).await;
    get(&client, server.url("/404?c=3")).await;
    get(&client, server.url("/x/y")).await;
    get(&client, server.url("/set?a=;Max-Age=0")).await;
    get(&client, server.url("/y")).await;
    let sent = ["", "a=1", "b=2; a=1; c=3", "a=1; c=3", "c=3"].map(|it| match it {
        "" => vec![],
        it => vec![it.to_owned()],
    });
    assert_eq!(cookies(&server), sent, "CK-04 R-6265b-5.3-1 R-6265b-5.8-1");
    get(&Client::new(), server.url("/")).await;
    assert_eq!(cookies(&server).pop().unwrap(), [""; 0], "a client has no store by default");
}

#[tokio::test]
async fn ck_03_cookies_of_a_redirect_go_with_the_next_request() {
    let server = serve();
    let client = client();
    let end = get(&client, server.url("/to?a=1|/to?a=2&b=1|/end")).await;
    assert_eq!(end.uri().path(), "/end");
    assert_eq!(
        cookies(&server),
        [vec![], vec!["a=1".to_owned()], vec!["a=2; b=1".to_owned()]],
        "CK-02 CK-03: one field, with the newest cookies"
    );
}

#[tokio::test]
async fn ck_02_a_field_of_the_caller_is_alone_and_stays_with_its_origin() {
    let (first, other) = (serve(), serve());
    let client = client();
    get(&client, first.url("/set?jar=1")).await;
    let url = first.url(&format!("/to?|{}", first.url(&format!("/to?|{}", other.url("/")))));
    let request = client.get(url).header("cookie", "own=1");
    within(20, request.send()).await.unwrap();
    let own = vec!["own=1".to_owned()];
    assert_eq!(cookies(&first)[1..], [own.clone(), own], "CK-02: only the caller's field");
    assert_eq!(
        cookies(&other),
        [vec!["jar=1".to_owned()]],
        "CK-02 A-35 R-6265b-8.5-1: the caller's field is gone, and the jar knows no ports"
    );
    let fields = HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_static("default=1"))]);
    let client = Client::builder().default_headers(fields).cookie_store(true).build().unwrap();
    get(&client, first.url("/set?jar=1")).await;
    get(&client, first.url("/")).await;
    assert_eq!(cookies(&first).pop().unwrap(), ["default=1"], "CK-02");
}

#[tokio::test]
async fn a_policy_does_not_see_and_may_replace_the_field() {
    let server = serve();
    let policy = handclasp::redirect::Policy::custom(|mut redirect| {
        assert!(!redirect.headers().contains_key("cookie"));
        if redirect.to().path() == "/own" {
            redirect.headers_mut().insert("cookie", HeaderValue::from_static("own=1"));
        }
        redirect.follow()
    });
    let client = Client::builder().cookie_store(true).redirect(policy).build().unwrap();
    get(&client, server.url("/to?a=1|/to?|/own")).await;
    assert_eq!(cookies(&server), [vec![], vec!["a=1".to_owned()], vec!["own=1".to_owned()]], "CK-02");
}

#[tokio::test]
async fn a_48_the_url_decides_and_not_the_host_field() {
    let server = serve();
    let client = client();
    let url = server.url("/set?a=1").replace("127.0.0.1", "localhost");
    let request = client.get(&url).header("host", "victim.test");
    within(20, request.send()).await.unwrap();
    within(20, client.get(server.url("/")).header("host", "localhost").send()).await.unwrap();
    within(20, client.get(&url).header("host", "victim.test").send()).await.unwrap();
    let expected: [&[&str]; 3] = [&[], &[], &["a=1"]];
    assert_eq!(cookies(&server), expected, "A-48");
    get(&client, server.url("/set?bad=1;Domain=0.0.1&bad=1;Domain=127.0.0.1&b=1")).await;
    get(&client, server.url("/")).await;
    assert_eq!(cookies(&server).pop().unwrap(), ["b=1"], "CK-06 A-48: addresses have no Domain");
    get(&client, url.replace("localhost", "LOCALHOST")).await;
    assert_eq!(cookies(&server).pop().unwrap(), ["a=1"], "R-6265b-5.1.2-1: hosts are compared in lower case");
}

#[tokio::test]
async fn a_42_no_cookie_is_set_for_a_sibling() {
    let server = serve();
    let hosts = ["a.test", "b.a.test", "c.a.test", "d.test"];
    let builder = Client::builder().cookie_store(true);
    let builder = hosts.into_iter().fold(builder, |it, host| it.resolve(host, server.address()));
    let client = builder.build().unwrap();
    let url = |host: &str, path: &str| format!("http://{host}:{}{path}", server.address().port());
    let set = "/set?up=1;Domain=a.test&down=1;Domain=c.a.test&other=1;Domain=d.test&own=1";
    get(&client, url("b.a.test", set)).await;
    for (host, expected) in
        [("a.test", &["up=1"][..]), ("b.a.test", &["up=1; own=1"]), ("c.a.test", &["up=1"]), ("d.test", &[])]
    {
        get(&client, url(host, "/")).await;
        assert_eq!(cookies(&server).pop().unwrap(), expected, "A-42: {host}");
    }
}

#[tokio::test]
async fn a_46_a_flood_of_cookies_makes_one_bounded_field() {
    let server = serve();
    let jar = Arc::new(Jar::new());
    let client = Client::builder().cookie_provider(jar.clone()).build().unwrap();
    let url: Url = server.url("/").parse().unwrap();
    let value = "x".repeat(1000);
    (0..1000).for_each(|number| assert!(jar.add_cookie_str(&format!("c{number}={value}"), &url)));
    assert!((50..1000).contains(&jar.len()), "A-46: {}", jar.len());
    get(&client, server.url("/")).await;
    let sent = cookies(&server).pop().unwrap();
    assert!(sent.len() == 1 && (5_000..=8_190).contains(&sent[0].len()), "A-46: {}", sent[0].len());
}

#[tokio::test]
async fn ck_06_http_stores_no_secure_cookie() {
    let server = serve();
    let client = client();
    let bad = "/set?a=1;Secure&__Secure-b=1;Secure&__Host-c=1;Secure;Path=/&__secure-d=1&e=1;Domain=com&f=1";
    get(&client, server.url(bad)).await;
    get(&client, server.url("/")).await;
    assert_eq!(cookies(&server).pop().unwrap(), ["f=1"], "CK-01 CK-06 R-6265b-5.7-2 A-43 A-45");
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_36_a_secure_cookie_goes_to_https_alone() {
    let plain = serve();
    let secure = Server::start_tls(|peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send(
                "HTTP/1.1 200 OK\r\nset-cookie: s=1; Secure\r\nset-cookie: p=1\r\ncontent-length: 0\r\n\r\n",
            )?;
        }
        Ok(())
    });
    let root = handclasp::Certificate::from_pem(secure.authority().as_bytes()).unwrap();
    let client = Client::builder().add_root_certificate(root).cookie_store(true).build().unwrap();
    get(&client, secure.url("/")).await;
    get(&client, plain.url("/")).await;
    get(&client, plain.url("/set?s=bad&p=2")).await;
    get(&client, secure.url("/")).await;
    assert_eq!(cookies(&plain)[0], ["p=1"], "A-36 R-6265b-5.8-1");
    assert_eq!(cookies(&secure)[1], ["s=1; p=2"], "A-44 R-6265b-5.7-3");
}

#[tokio::test]
async fn trace_and_interim_responses_have_no_cookies() {
    let server = Server::start(|peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 103 Early\r\nset-cookie: early=1\r\n\r\n")?;
            peer.send(
                "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\ntransfer-encoding: chunked\r\n\r\n\
                 0\r\nset-cookie: trailer=1\r\n\r\n",
            )?;
        }
        Ok(())
    });
    let client = client();
    get(&client, server.url("/")).await.bytes().await.unwrap();
    within(20, client.request(Method::TRACE, server.url("/")).send()).await.unwrap();
    get(&client, server.url("/")).await;
    let expected: [&[&str]; 3] = [&[], &[], &["a=1"]];
    assert_eq!(
        cookies(&server),
        expected,
        "R-9110-9.3.8-1 R-6265b-5.3-1: only the final response sets cookies"
    );
}

#[tokio::test]
async fn a_request_that_is_sent_again_keeps_its_cookies() {
    let server = Server::start(|peer: &mut Peer| {
        if peer.number() == 0 {
            peer.request()?;
            peer.respond("1")?;
            // The second request of this connection gets no answer.
            peer.request()?;
            return Ok(());
        }
        while peer.request()?.is_some() {
            peer.respond("2")?;
        }
        Ok(())
    });
    let jar = Arc::new(Jar::new());
    let client = Client::builder().cookie_provider(jar.clone()).build().unwrap();
    jar.add_cookie_str("a=1", &server.url("/").parse().unwrap());
    for _ in 0..2 {
        get(&client, server.url("/")).await.bytes().await.unwrap();
    }
    assert_eq!(cookies(&server), [["a=1"]; 3], "CK-02: the same field in each attempt");
}

#[tokio::test]
async fn a_jar_is_shared_saved_and_loaded() {
    let server = serve();
    let jar = Arc::new(Jar::default());
    let clients = [(); 2].map(|()| Client::builder().cookie_provider(jar.clone()).build().unwrap());
    let one = server.url("/set?a=1;Max-Age=60;HttpOnly&session=1&n=\"x%20y\";Max-Age=60");
    get(&clients[0], one).await;
    get(&clients[1], server.url("/")).await;
    assert_eq!(cookies(&server)[1], ["a=1; session=1; n=\"x y\""]);
    let url: Url = server.url("/").parse().unwrap();
    for (text, expected) in [(jar.save(), "a=1; n=\"x y\""), (jar.save_all(), "a=1; session=1; n=\"x y\"")] {
        let loaded = Jar::default();
        assert_eq!(loaded.load(&text).unwrap(), expected.split(';').count(), "R-6265b-5.7-8");
        assert_eq!(loaded.cookies(&url).unwrap(), expected, "R-6265b-5.7-8");
        assert_eq!(loaded.save_all(), text);
    }
    jar.clear();
    assert!(jar.is_empty() && jar.cookies(&url).is_none());
    let error = jar.load("# x\nhunter2\n").unwrap_err();
    assert!(error.is_request() && error.to_string().contains("line 2"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "A-77: {error}");
}

#[test]
fn a_43_a_loaded_cookie_keeps_the_rules() {
    let jar = Jar::new();
    for (line, count) in [
        (".com\tTRUE\t/\tFALSE\t0\tx\t1", 0),
        (".co.uk.\tTRUE\t/\tFALSE\t0\tx\t1", 0),
        (".1.2.3.4\tTRUE\t/\tFALSE\t0\tx\t1", 0),
        ("a.test\tFALSE\t/\tFALSE\t0\t__Secure-x\t1", 0),
        (".a.test\tTRUE\t/\tTRUE\t0\t__Host-x\t1", 0),
        ("a.test\tFALSE\t/a\tTRUE\t0\t__Host-x\t1", 0),
        ("a.test\tFALSE\t/\tFALSE\t1\tx\tended", 0),
        ("a.test\tFALSE\t/\tTRUE\t0\t__Host-x\t1", 1),
        ("com\tFALSE\t/\tFALSE\t0\tx\t1", 1),
        ("1.2.3.4\tFALSE\t/\tFALSE\t0\tx\t1", 1),
    ] {
        assert_eq!(jar.load(line).unwrap(), count, "A-43 A-45 A-48 CK-01 CK-05 CK-06: {line}");
    }
}

#[test]
fn a_47_a_cookie_of_the_caller_adds_no_line_and_no_second_cookie() {
    let jar = Jar::new();
    let url: Url = "http://a.test/".parse().unwrap();
    for cookie in ["a=b\r\nx: y", "a=b\n", "a\0=b", "a=b\u{7f}", "", ";"] {
        assert!(!jar.add_cookie_str(cookie, &url), "A-47 R-6265b-5.6-1: {cookie:?}");
    }
    assert!(jar.add_cookie_str("a=b; c=d", &url), "A-47: what follows `;` is an attribute");
    assert_eq!(jar.cookies(&url).unwrap(), "a=b", "A-47");
    assert!(jar.cookies(&url).unwrap().is_sensitive(), "A-77");
    assert!(!jar.add_cookie_str("a=b", &"data:,x".parse().unwrap()));
}

#[tokio::test]
async fn a_response_shows_its_cookies() {
    let server = serve();
    let query = "/set?a=1;Domain=.x.test;Path=/p;Secure;HttpOnly;SameSite=Lax;Max-Age=5&b&%00=1;=&c=2;SameSite=Strict";
    let response = get(
        &Client::new(),
        format!("{}&d=3;Expires=Thu,%2001%20Jan%201970%2000:00:09%20GMT", server.url(query)),
    )
    .await;
    let all: Vec<_> = response.cookies().collect();
    assert_eq!(
        all.iter().map(|it| (it.name(), it.value())).collect::<Vec<_>>(),
        [("a", "1"), ("", "b"), ("%00", "1"), ("c", "2"), ("d", "3")]
    );
    let first = &all[0];
    assert_eq!((first.domain(), first.path()), (Some("x.test"), Some("/p")));
    assert!(first.secure() && first.http_only() && first.same_site_lax() && !first.same_site_strict());
    assert_eq!((first.max_age(), first.expires()), (Some(Duration::from_secs(5)), None));
    assert!(all[3].same_site_strict() && !all[3].same_site_lax());
    let since = all[4].expires().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since, Duration::from_secs(9), "R-6265b-5.1.1-1");
}

/// A store of the caller, which records each call.
#[derive(Default)]
struct Own(Mutex<Vec<String>>);

impl CookieStore for Own {
    fn set_cookies(&self, fields: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        let fields: Vec<_> = fields.map(|field| field.to_str().unwrap()).collect();
        self.0.lock().unwrap().push(format!("{} set {fields:?}", url.path()));
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        self.0.lock().unwrap().push(format!("{} asks", url.path()));
        Some(HeaderValue::from_static("hunter2"))
    }
}

#[tokio::test]
async fn a_store_of_the_caller_is_asked_at_each_hop() {
    let server = serve();
    let own = Arc::new(Own::default());
    let builder = Client::builder().cookie_provider(own.clone());
    assert!(!format!("{builder:?}").contains("hunter2"), "A-77");
    let client = builder.build().unwrap();
    get(&client, server.url("/to?a=1&b=2|/end")).await;
    let calls = own.0.lock().unwrap().clone();
    assert_eq!(calls, ["/to asks", "/to set [\"a=1\", \"b=2\"]", "/end asks"]);
    assert_eq!(cookies(&server), [["hunter2"]; 2]);
}

#[test]
fn a_77_no_cookie_is_shown() {
    let jar = Jar::new();
    let url: Url = "http://a.test/".parse().unwrap();
    jar.add_cookie_str("a=hunter2; Path=/", &url);
    let shown = format!("{jar:?} {:?}", jar.cookies(&url));
    assert!(!shown.contains("hunter2") && shown.contains('1'), "A-77: {shown}");
}

/// The texts are pieces of `Set-Cookie` fields and of a saved jar, joined at random.
#[test]
fn a_80_no_text_makes_a_jar_panic_or_send_what_is_no_cookie() {
    const PIECES: [&str; 32] = [
        "a",
        "b=",
        "=",
        ";",
        "; ",
        "\t",
        " ",
        "Path=/",
        "Path=",
        "/p",
        "Domain=",
        ".",
        "a.test",
        "co.uk",
        "com.",
        "Secure",
        "HttpOnly",
        "Max-Age=",
        "9",
        "-1",
        "99999999999999999999",
        "Expires=",
        "31 Feb 2099 1:2:3",
        "SameSite=None",
        "__Host-",
        "__secure-",
        "\u{1}",
        "\n",
        "é",
        "\u{7f}",
        "TRUE\t",
        "#HttpOnly_",
    ];
    let urls =
        ["http://a.test/", "https://b.a.test/p/q", "http://a.test./", "http://[::1]/", "http://co.uk/p"];
    let urls = urls.map(|url| url.parse::<Url>().unwrap());
    let (jar, mut rng, mut stored) = (Jar::new(), Rng::new(80), 0);
    for round in 0..20_000 {
        let text: String = (0..rng.below(12)).map(|_| *rng.pick(&PIECES)).collect();
        let url = rng.pick(&urls);
        stored += usize::from(jar.add_cookie_str(&text, url));
        let _ = jar.load(&text);
        let Some(field) = jar.cookies(rng.pick(&urls)) else { continue };
        let field = field.as_bytes();
        let is_clean = !field.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
        let is_whole = !field.split(|byte| *byte == b';').any(<[u8]>::is_empty);
        assert!(is_clean && is_whole && field.len() <= 8_190, "A-80 A-47: round {round}: {text:?}");
    }
    assert!(stored > 1_000, "A-80: {stored}");
    let again = Jar::new();
    again.load(&jar.save_all()).unwrap();
    assert_eq!(again.save_all(), jar.save_all(), "A-80: what is saved is read back");
}

/// Checks that no cookie that a server can set makes the saved text of a jar unreadable.
#[test]
fn a_47_what_a_jar_holds_can_be_saved_and_loaded() {
    let long = format!("http://a.test/{}/x", "p".repeat(2_000));
    let mut lost = Vec::new();
    for (url, cookie) in [
        ("http://a.test/app;v=1/login", "x=1"),
        ("http://a.test/a b/'/x", "x=1"),
        (&long, "x=1"),
        ("http://a..test/", "x=1"),
        ("http://a.test./", "x=1"),
        ("http://!a.test/", "x=1"),
        ("http://[::1]/", "x=1"),
        ("http://a.test/", "=x=1"),
        ("http://a.test/", "x="),
        ("http://a.test/", "#HttpOnly_x=1"),
        ("http://a.test/", "x=1; Path=/\u{2028}"),
        ("http://a.test/", "x=\u{85}1\u{2028}"),
        ("http://a.test/", "x=\u{a0}; Path=/\u{a0}"),
    ] {
        let url: Url = url.parse().unwrap();
        let (jar, loaded) = (Jar::new(), Jar::new());
        jar.add_cookie_str(&format!("{cookie}; HttpOnly"), &url);
        jar.add_cookie_str(cookie, &url);
        let is_loaded = loaded.load(&jar.save_all()).is_ok();
        if !is_loaded || loaded.save_all() != jar.save_all() || loaded.cookies(&url) != jar.cookies(&url) {
            lost.push((url.to_string(), cookie, jar.save_all(), loaded.save_all()));
        }
    }
    assert!(lost.is_empty(), "A-47: {lost:#?}");
    let (jar, loaded) = (Jar::new(), Jar::new());
    jar.add_cookie_str("x=1", &"http://.a.test/".parse().unwrap());
    loaded.load(&jar.save_all()).unwrap();
    let other = "http://a.test/".parse().unwrap();
    assert_eq!(loaded.cookies(&other), None, "A-48: a host with a dot is another host");
}

/// Other threads can use the jar while the caller's iterator runs.
#[test]
fn a_jar_reads_the_fields_before_it_is_locked() {
    let jar = Arc::new(Jar::new());
    let url: Url = "http://a.test/".parse().unwrap();
    let fields = [HeaderValue::from_static("a=1"), HeaderValue::from_static("b=2")];
    let mut asked = fields.iter().inspect(|_| {
        // Another thread uses the jar, so that a locked jar fails the test instead of blocking the test.
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = jar.clone();
        std::thread::spawn(move || sender.send(other.len()));
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(0));
    });
    jar.set_cookies(&mut asked, &url);
    assert_eq!(jar.cookies(&url).unwrap(), "a=1; b=2");
}

#[tokio::test]
async fn ck_03_a_response_after_which_a_request_is_sent_again_sets_cookies() {
    let server = Server::start(|peer: &mut Peer| {
        peer.request_head()?;
        peer.send("HTTP/1.1 417 X\r\nset-cookie: a=1\r\ncontent-length: 0\r\n\r\n")?;
        while peer.request()?.is_some() {
            peer.respond("end")?;
        }
        Ok(())
    });
    let (client, other) = (client(), client());
    let request = client.post(server.url("/")).expect_continue().body("content");
    within(20, request.send()).await.unwrap();
    get(&client, server.url("/")).await;
    assert_eq!(cookies(&server).pop().unwrap(), ["a=1"], "CK-03");

    let server = Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            if request.target == "/second" && peer.number() == 0 {
                let fields = "set-cookie: a=1\r\nconnection: close\r\ncontent-length: 0";
                return peer.send(format!("HTTP/1.1 408 X\r\n{fields}\r\n\r\n"));
            }
            peer.respond("end")?;
        }
        Ok(())
    });
    get(&other, server.url("/first")).await.bytes().await.unwrap();
    assert_eq!(get(&other, server.url("/second")).await.text().await.unwrap(), "end");
    get(&other, server.url("/third")).await;
    assert_eq!(cookies(&server).pop().unwrap(), ["a=1"], "CK-03");
}

/// A store that panics in the method of this name while the store is armed.
struct Panicking {
    jar: Jar,
    method: &'static str,
    is_armed: AtomicBool,
}

impl Panicking {
    fn enter(&self, method: &str) {
        assert!(
            method != self.method || !self.is_armed.load(Ordering::SeqCst),
            "the store panics in {method}"
        );
    }
}

impl CookieStore for Panicking {
    fn set_cookies(&self, fields: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        self.jar.set_cookies(&mut fields.inspect(|_| self.enter("set_cookies")), url);
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        self.enter("cookies");
        self.jar.cookies(url)
    }
}

#[tokio::test]
async fn a_panic_of_a_store_frees_the_connection_and_the_jar() {
    for method in ["set_cookies", "cookies"] {
        let server = serve();
        let store = Arc::new(Panicking { jar: Jar::new(), method, is_armed: AtomicBool::new(true) });
        let client = Client::builder().cookie_provider(store.clone()).max_connections(1).build().unwrap();
        let failing = client.get(server.url("/to?a=1|/end")).send();
        assert!(tokio::spawn(failing).await.unwrap_err().is_panic(), "{method}");
        store.is_armed.store(false, Ordering::SeqCst);
        get(&client, server.url("/to?b=1|/end")).await;
        assert_eq!(cookies(&server).pop().unwrap(), ["b=1"], "{method}");
    }
}
