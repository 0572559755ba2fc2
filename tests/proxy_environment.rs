//! Tests of the proxies that the environment names. Each case runs in its own process, because a process has one
//! environment.
#![cfg(feature = "proxy")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::process::Command;

use support::{Server, within};

/// The variables that name proxies, in lower case. Each has a second name in upper case.
const VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// The clients of all tests take their proxies from the environment of their process, unless a test says otherwise. A proxy
/// of the developer would get the requests of many tests.
#[test]
fn the_environment_of_the_tests_names_no_proxies() {
    for name in ["http_proxy", "https_proxy", "all_proxy"].map(str::to_owned) {
        for name in [name.to_uppercase(), name] {
            let value = std::env::var(&name).unwrap_or_default();
            assert!(
                value.is_empty(),
                "{name} is set: run the tests by env -u {name}, as CONTRIBUTING.md says"
            );
        }
    }
}

/// Runs [`child`] with these variables and no other variables that name proxies. Returns what the child prints.
fn run(url: &str, builds: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    for name in VARIABLES {
        child.env_remove(name).env_remove(name.to_uppercase());
    }
    child.args(["--exact", "child", "--ignored", "--nocapture"]).env_remove("REQUEST_METHOD");
    child.env("TEST_URL", url).env("TEST_BUILDS", builds).envs(variables.iter().copied());
    let out = child.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Makes the request of a case and prints the outcome.
#[tokio::test]
#[ignore = "the other tests run this test as a program of their own"]
async fn child() {
    let url = std::env::var("TEST_URL").unwrap();
    let client = match &*std::env::var("TEST_BUILDS").unwrap() {
        "no_proxy" => handclasp::Client::builder().no_proxy().build().unwrap(),
        "builder" => handclasp::Client::builder().build().unwrap(),
        _ => handclasp::Client::new(),
    };
    match within(20, client.get(&url).send()).await {
        Ok(response) => println!("got {}", response.text().await.unwrap()),
        Err(error) => println!("failed {:?} {} {error:?}", error.kind(), error.chain()),
    }
    println!("client {client:?}");
}

#[test]
fn a_61_a_client_takes_its_proxies_from_the_environment_unless_it_is_told_not_to() {
    let proxy = Server::echo();
    let with = |login: &str| format!("http://{login}{}", proxy.address());
    let (plain, known) = (with(""), with("user:planted@"));
    let url = "http://a.invalid/x";
    let through = format!("got {url}");
    for (builds, variables, expected) in [
        ("new", &[("http_proxy", &*known)][..], &*through),
        ("builder", &[("HTTP_PROXY", &*plain)], &*through),
        ("new", &[("ALL_PROXY", &*plain), ("NO_PROXY", "b.invalid")], &*through),
        ("no_proxy", &[("http_proxy", &*plain)], "failed "),
        ("new", &[("http_proxy", &*plain), ("no_proxy", "invalid")], "failed "),
        ("new", &[("https_proxy", &*plain)], "failed "),
        // The field `Proxy` of a CGI request becomes this variable.
        ("new", &[("HTTP_PROXY", &*plain), ("REQUEST_METHOD", "GET")], "failed "),
        ("new", &[("http_proxy", "ftp://user:planted@p.invalid")], "failed Proxy"),
    ] {
        let before = proxy.seen().len();
        let out = run(url, builds, variables);
        assert!(out.contains(expected), "A-61 {variables:?}: {out}");
        assert!(!out.contains("planted"), "A-60 {variables:?}: {out}");
        assert_eq!(proxy.seen().len() - before, usize::from(expected == through), "A-61 {variables:?}");
    }
    assert_eq!(proxy.fields("proxy-authorization")[0], ["Basic dXNlcjpwbGFudGVk"]);
    assert_eq!(proxy.fields("proxy-authorization")[1], Vec::<String>::new());
}

#[test]
fn a_61_this_machine_is_reached_without_a_proxy_of_the_environment() {
    let (proxy, server) = (Server::echo(), Server::echo());
    let named = format!("http://{}", proxy.address());
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/x", server.address().port());
        let out = run(&url, "new", &[("http_proxy", &named), ("all_proxy", &named)]);
        assert!(out.contains("got /x"), "A-61 {url}: {out}");
    }
    assert_eq!((proxy.seen().len(), server.seen().len()), (0, 2), "A-61");
}

/// A list of hosts without a proxy, a URL, and whether a request to the URL goes without a proxy.
type Row = (&'static str, &'static str, bool);

/// The lists that curl reads in the same way, since version 7.86.
const AS_CURL: &[Row] = &[
    ("", "http://a.test/", false),
    ("*", "http://a.test/", true),
    ("*", "http://192.0.2.1/", true),
    ("*", "http://[2001:db8::1]/", true),
    ("example.com", "http://example.com/", true),
    ("example.com", "http://a.example.com:8080/", true),
    ("example.com", "http://EXAMPLE.com/", true),
    ("EXAMPLE.com", "http://example.com/", true),
    ("example.com", "http://nonexample.com/", false),
    ("example.com", "http://example.com.evil.test/", false),
    (".example.com", "http://example.com/", true),
    (".example.com", "http://a.example.com/", true),
    (".example.com", "http://nonexample.com/", false),
    ("example.com.", "http://example.com/", true),
    ("example.com", "http://example.com./", true),
    ("a.test,b.test", "http://b.test/", true),
    (" a.test , b.test", "http://b.test/", true),
    (",,a.test,,b.test", "http://b.test/", true),
    ("192.0.2.1", "http://192.0.2.1:8080/", true),
    ("192.0.2.1", "http://192.0.2.10/", false),
    ("192.0.2.0/24", "http://192.0.2.77/", true),
    ("192.0.2.0/24", "http://198.51.100.1/", false),
    ("192.0.2.77/24", "http://192.0.2.1/", true),
    ("192.0.2.0/33", "http://192.0.2.1/", false),
    ("2001:db8::1", "http://[2001:db8::1]/", true),
    ("2001:db8::/32", "http://[2001:db9::1]/", false),
    ("2.1", "http://192.0.2.1/", false),
    ("b\u{fc}cher.test", "http://xn--bcher-kva.test/", false),
    ("xn--bcher-kva.test", "http://xn--bcher-kva.test/", true),
];

/// The lists that curl reads in another way, by the table of [`handclasp::NoProxy`].
const NOT_AS_CURL: &[Row] = &[
    ("a.test, *", "http://b.test/", true),
    ("*.example.com", "http://a.example.com/", true),
    ("example.com:8080", "http://example.com:8080/", true),
    ("[2001:db8::1]", "http://[2001:db8::1]/", true),
    // curl 7.88 takes an IPv6 address for a name, and compares the text.
    ("2001:db8::/32", "http://[2001:db8:7::1]/", true),
    ("2001:db8:0:0::1", "http://[2001:db8::1]/", true),
    ("192.0.2.1", "http://[::ffff:192.0.2.1]/", true),
    ("192.0.2.1:8080", "http://192.0.2.1:8080/", true),
    ("0.0.0.0/0", "http://192.0.2.1/", true),
];

/// Whether this crate sends a request without the proxy. A filter refuses the addresses of the URLs, so that nothing
/// leaves this machine: the phase of the refusal says which way the request would have gone.
async fn is_direct(proxy: &Server, direct: &Server, (list, url, _): Row) -> bool {
    use handclasp::{AddressFilter, Client, NoProxy, Phase, Proxy};

    let filter = AddressFilter::from_fn(|candidate| candidate.address().ip().is_loopback());
    let by_proxy = Proxy::all(format!("http://{}", proxy.address())).unwrap().filters_addresses(true);
    let mut builder = Client::builder().address_filter(filter);
    builder = builder.proxy(by_proxy.no_proxy(NoProxy::from_string(list)));
    let uri: http::Uri = url.parse().unwrap();
    builder = builder.resolve(uri.host().unwrap(), direct.address());
    match within(20, builder.build().unwrap().get(url).send()).await {
        Ok(response) => response.text().await.unwrap() == "/",
        Err(error) => match error.phase() {
            Some(Phase::Tcp) => true,
            Some(Phase::Proxy) => false,
            _ => panic!("{list:?} {url}: {}", error.chain()),
        },
    }
}

/// Whether curl sends a request without the proxy. All direct connections of curl lead to one server. Returns `None` if
/// curl is not installed.
fn is_direct_in_curl(proxy: &Server, direct: &Server, (list, url, _): Row) -> Option<bool> {
    let mut curl = Command::new("curl");
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        curl.env_remove(name).env_remove(name.to_uppercase());
    }
    curl.args(["-q", "-g", "-s", "-m", "20", "--connect-to", &format!("::{}", direct.address()), url]);
    curl.env("http_proxy", format!("http://{}", proxy.address())).env("no_proxy", list);
    let (before, before_direct) = (proxy.connections(), direct.connections());
    curl.output().ok()?;
    let (by_proxy, is_direct) = (proxy.connections() > before, direct.connections() > before_direct);
    assert!(by_proxy != is_direct, "{list:?} {url}: curl has asked one of both");
    Some(is_direct)
}

/// Returns the version of curl, if curl is installed.
fn version_of_curl() -> Option<(u32, u32)> {
    let out = Command::new("curl").arg("--version").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let mut parts = text.strip_prefix("curl ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[tokio::test]
async fn a_61_no_proxy_is_read_as_by_curl_but_for_the_differences_of_the_table() {
    // curl asks for a tunnel if all connections lead elsewhere. The refusal is enough to know the way.
    let proxy = Server::start(|peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let direct = Server::echo();
    let curl = version_of_curl().filter(|version| *version >= (7, 86));
    if curl.is_none() {
        println!("skipped: curl 7.86 or newer is not installed");
    }
    for (rows, is_as_curl) in [(AS_CURL, true), (NOT_AS_CURL, false)] {
        for &row in rows {
            assert_eq!(is_direct(&proxy, &direct, row).await, row.2, "A-61 {row:?}");
            match curl.and_then(|_| is_direct_in_curl(&proxy, &direct, row)) {
                Some(theirs) if is_as_curl => assert_eq!(theirs, row.2, "A-61 curl {row:?}"),
                Some(theirs) => println!("{row:?}: {theirs} in curl {curl:?}"),
                None => {}
            }
        }
    }
}

/// The values of a variable that are not the URL of a proxy, or only nearly so.
#[test]
fn a_61_a_value_without_a_scheme_is_an_http_proxy_and_an_invalid_value_fails_the_request() {
    let proxy = Server::echo();
    let at = proxy.address();
    let url = "http://a.invalid/x";
    for (value, is_used) in [
        (format!("{at}"), true),
        (format!(" {at} "), true),
        (format!("user:planted@{at}"), true),
        (format!("HTTP://{at}/"), true),
        (format!("http://{at}/path?planted"), true),
        (format!("ftp://{at}"), false),
        (format!("http:/{at}"), false),
        (format!("http://planted:planted@{at}:1:2"), false),
        ("http://planted:pl/anted@".to_owned() + &at.to_string(), false),
        ("http://".to_owned(), false),
        ("direct".to_owned() + "\u{e9}", false),
    ] {
        for (name, other) in [("http_proxy", "https_proxy"), ("ALL_PROXY", "https_proxy")] {
            let before = proxy.connections();
            let out = run(url, "new", &[(name, &value), (other, "http://127.0.0.1:9")]);
            let expected = if is_used { format!("got {url}") } else { "failed Proxy".to_owned() };
            assert!(out.contains(&expected), "A-61 {name}={value}: {out}");
            assert!(!out.contains("planted"), "A-60 {name}={value}: {out}");
            assert!(is_used || out.contains("the environment variable"), "A-61 {value}: {out}");
            assert_eq!(proxy.connections() > before, is_used, "A-61 {name}={value}");
        }
    }
}
