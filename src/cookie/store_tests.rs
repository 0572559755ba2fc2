//! Tests of the rules by which cookies are stored, sent and removed.

use super::*;

const NOW: i64 = 1_700_000_000;

fn place(url: &str) -> Place<'_> {
    let (scheme, rest) = url.split_once("://").unwrap();
    let at = rest.find('/').unwrap();
    let (host, path) = rest.split_at(at);
    let is_name = !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err();
    Place { host, is_name, path, is_secure: scheme == "https" }
}

fn set_at(store: &mut Store, url: &str, cookie: &str, now: i64) -> Result<(), Refused> {
    store.set(&place(url), &SetCookie::parse(cookie).unwrap(), now)
}

fn set(store: &mut Store, url: &str, cookie: &str) -> Result<(), Refused> {
    set_at(store, url, cookie, NOW)
}

fn sent(store: &mut Store, url: &str) -> String {
    store.field(&place(url), NOW).unwrap_or_default()
}

/// Stores cookies, each from a URL, and returns what goes to the last URL.
fn after(cookies: &[(&str, &str)], url: &str) -> String {
    let mut store = Store::default();
    for (from, cookie) in cookies {
        let _ = set(&mut store, from, cookie);
    }
    sent(&mut store, url)
}

#[test]
fn a_42_a_cookie_is_for_its_host_or_for_names_below_its_domain() {
    for (from, cookie, to, expected) in [
        ("http://a.test/", "x=1", "http://a.test/", "x=1"),
        ("http://a.test/", "x=1", "http://b.a.test/", ""),
        ("http://b.a.test/", "x=1; Domain=a.test", "http://c.a.test/", "x=1"),
        ("http://b.a.test/", "x=1; Domain=.A.TEST", "http://a.test/", "x=1"),
        ("http://a.test/", "x=1; Domain=", "http://b.a.test/", ""),
        ("http://a.test/", "x=1; Domain=b.test", "http://b.test/", ""),
        ("http://a.test/", "x=1; Domain=b.a.test", "http://b.a.test/", ""),
        ("http://a.test/", "x=1; Domain=est", "http://a.test/", ""),
        ("http://bad-a.test/", "x=1; Domain=a.test", "http://a.test/", ""),
        ("http://a.test/", "x=1; Domain=..a.test", "http://a.test/", ""),
        ("http://a.test/", "x=1; Domain=a.test:80", "http://a.test/", ""),
        ("http://a.test/", "x=1; Domain=%61.test", "http://a.test/", ""),
    ] {
        let is = after(&[(from, cookie)], to);
        assert_eq!(is, expected, "R-6265b-5.1.3-1 R-6265b-5.6.3-1 CK-04 A-42: {from} {cookie} {to}");
    }
}

#[test]
fn a_43_a_public_suffix_has_no_cookies() {
    for (host, domain) in [
        ("example.com", "com"),
        ("example.com", "COM"),
        ("example.com.", "com."),
        ("example.co.uk", ".Co.Uk"),
        ("example.co.uk.", "co.uk."),
        ("me.github.io", "github.io"),
        ("a.b", "b"),
        ("x.compute.amazonaws.com", "amazonaws.com"),
    ] {
        let mut store = Store::default();
        let url = format!("http://{host}/");
        let is = set(&mut store, &url, &format!("x=1; Domain={domain}"));
        assert_eq!(is, Err(Refused::PublicSuffix), "R-6265b-5.7-1 CK-01 CK-05 A-43: {host} {domain}");
        assert_eq!(sent(&mut store, &url), "", "R-6265b-5.7-1 A-43");
    }
    let own = [("http://github.io/", "x=1; Domain=github.io"), ("http://box/", "y=1; Domain=box")];
    assert_eq!(after(&own, "http://github.io/"), "x=1", "R-6265b-5.7-1: the host itself");
    assert_eq!(after(&own, "http://me.github.io/"), "", "R-6265b-5.7-1 A-43");
    assert_eq!(after(&own, "http://box/"), "y=1", "R-6265b-5.7-1 A-48: a host of one label");
    for (from, to) in [("http://a.test/", "http://a.test./"), ("http://a.test./", "http://a.test/")] {
        assert_eq!(after(&[(from, "x=1")], to), "", "CK-05: a final dot shares nothing");
        assert_eq!(after(&[(from, "x=1; Domain=a.test")], to), "", "CK-05: a final dot shares nothing");
    }
}

#[test]
fn a_44_http_neither_sets_nor_hides_a_secure_cookie() {
    let mut store = Store::default();
    let refused = set(&mut store, "http://a.test/", "x=1; Secure");
    assert_eq!(refused, Err(Refused::Insecure), "R-6265b-5.7-2 CK-06");
    set(&mut store, "https://b.a.test/login/", "x=good; Secure; Path=/login").unwrap();
    for (url, cookie) in [
        ("http://b.a.test/login/", "x=bad; Path=/login"),
        ("http://b.a.test/login/", "x=bad; Path=/login/en"),
        ("http://a.test/", "x=bad; Domain=a.test; Path=/login"),
        ("http://c.b.a.test/", "x=bad; Path=/login"),
        ("http://b.a.test/login/", "x=; Max-Age=0; Path=/login"),
    ] {
        assert_eq!(set(&mut store, url, cookie), Err(Refused::HidesSecure), "R-6265b-5.7-3 A-44: {cookie}");
    }
    for (url, cookie) in
        [("http://b.a.test/", "x=root"), ("http://b.a.test/", "y=1"), ("http://d.a.test/login/", "x=other")]
    {
        assert_eq!(set(&mut store, url, cookie), Ok(()), "R-6265b-5.7-3: {url} {cookie}");
    }
    assert_eq!(sent(&mut store, "https://b.a.test/login/"), "x=good; x=root; y=1", "R-6265b-5.8-1 A-44");
    assert_eq!(sent(&mut store, "http://b.a.test/login/"), "x=root; y=1", "R-6265b-5.8-1 A-36 A-44");
}

#[test]
fn a_45_a_prefix_makes_demands_in_every_spelling() {
    for (url, cookie, is_stored) in [
        ("https://a.test/", "__Secure-x=1; Secure", true),
        ("https://a.test/", "__Secure-x=1", false),
        ("https://a.test/", "__SECURE-x=1", false),
        ("http://a.test/", "__Secure-x=1; Secure", false),
        ("http://a.test/", "__Secure-x=1", false),
        ("https://a.test/", "__Host-x=1; Secure; Path=/", true),
        ("https://a.test/", "__Host-x=1; Secure; Path=/; Domain=a.test", false),
        ("https://a.test/", "__Host-x=1; Secure", false),
        ("https://a.test/", "__hOST-x=1; Secure; Path=/a", false),
        ("https://a.test/", "__Host-x=1; Path=/", false),
        ("http://a.test/", "__Host-x=1; Secure; Path=/", false),
        ("https://a.test/", "=__Host-x=1; Secure; Path=/", false),
        ("https://a.test/", "__secure-x", false),
        ("https://a.test/", "x=__Host-", true),
    ] {
        let is = set(&mut Store::default(), url, cookie).is_ok();
        assert_eq!(is, is_stored, "R-6265b-5.4-1 R-6265b-5.7-5 CK-06 A-45: {url} {cookie}");
    }
    let same_site = |cookie| set(&mut Store::default(), "https://a.test/", cookie);
    assert_eq!(same_site("x=1; SameSite=None"), Err(Refused::SameSite), "R-6265b-5.7-4");
    assert!(same_site("x=1; SameSite=None; Secure").is_ok(), "R-6265b-5.7-4");
    assert!(same_site("x=1; SameSite=other").is_ok(), "R-6265b-5.7-4");
}

#[test]
fn a_46_a_flood_of_cookies_stays_within_the_limits() {
    let mut store = Store::default();
    let value = "x".repeat(4_000);
    set(&mut store, "https://a.test/", "secure=1; Secure").unwrap();
    for n in 0..5_000 {
        set(&mut store, &format!("https://h{n}.a.test/"), &format!("c{n}={value}; Domain=a.test")).unwrap();
    }
    assert_eq!(store.len(), MOST_PER_SITE, "R-6265b-5.7-7 A-46: all names below one domain count together");
    let field = sent(&mut store, "https://a.test/");
    assert!(field.starts_with("secure=1; c4821="), "R-6265b-5.7-7: the oldest go, and Secure stays");
    assert!(field.len() <= MOST_OF_FIELD && field.matches('=').count() == 3, "A-46: {}", field.len());
    for n in 0..15_000 {
        set(&mut store, &format!("http://h{n}.test/"), &format!("x={value}")).unwrap();
        assert!(store.len() <= MOST, "A-46");
    }
    assert!(store.len() >= 3_000, "R-6265b-6.1-1: {}", store.len());
    assert_eq!(sent(&mut store, "http://h14999.test/").len(), 4_002, "A-46: the newest stays");
    assert_eq!(sent(&mut store, "http://h0.test/"), "", "A-46: the oldest went");
    assert!(store.sites.values().all(|site| !site.is_empty()), "A-46: no list stays empty");
}

#[test]
fn ended_cookies_go_first_and_used_ones_last() {
    let mut store = Store::default();
    set(&mut store, "http://a.test/", "kept=1; Path=/kept").unwrap();
    for n in 0..50 {
        set(&mut store, "http://a.test/", &format!("brief{n}=1; Max-Age=10")).unwrap();
    }
    for n in 0..129 {
        set(&mut store, "http://a.test/", &format!("c{n}=1; Path=/other")).unwrap();
    }
    assert_eq!(store.len(), MOST_PER_SITE, "R-6265b-6.1-1: 50 and more of one domain are kept");
    let later = NOW + 10;
    set_at(&mut store, "http://a.test/", "new=1; Path=/other", later).unwrap();
    assert_eq!(store.len(), MOST_PER_SITE - 49, "R-6265b-5.7-7: cookies that have ended go first");
    assert_eq!(store.field(&place("http://a.test/kept"), later).unwrap(), "kept=1");
    for n in 0..50 {
        set_at(&mut store, "http://a.test/", &format!("more{n}=1; Path=/other"), later).unwrap();
    }
    assert_eq!(store.field(&place("http://a.test/kept"), later).unwrap(), "kept=1", "R-6265b-5.7-7");
    let other = store.field(&place("http://a.test/other"), later).unwrap();
    assert!(!other.contains("c0=") && other.contains("c1="), "R-6265b-5.7-7: the least used went: {other}");
}

#[test]
fn cookies_end_at_their_time_and_at_most_after_400_days() {
    for (attributes, lifetime) in [
        ("", None),
        ("; Max-Age=60", Some(60)),
        ("; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", Some(60)),
        ("; Expires=Tue, 14 Nov 2023 22:14:20 GMT", Some(60)),
        ("; Max-Age=99999999999", Some(LONGEST)),
        ("; Expires=Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST)),
    ] {
        let mut store = Store::default();
        set(&mut store, "http://a.test/", &format!("x=1{attributes}")).unwrap();
        let mut at = |after| store.field(&place("http://a.test/"), NOW + after).is_some();
        match lifetime {
            None => assert!(at(LONGEST + 1), "R-6265b-5.7-8: {attributes}"),
            Some(lifetime) => {
                assert!(at(lifetime - 1), "R-6265b-5.5-1 R-6265b-5.6.2-1: {attributes}");
                assert!(!at(lifetime), "R-6265b-5.5-1 R-6265b-5.6.2-1: {attributes}");
                assert_eq!(store.len(), 0, "R-6265b-5.7-7: {attributes}");
            }
        }
    }
    for end in ["Max-Age=0", "Max-Age=-1", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"] {
        let cookie = format!("x=; {end}");
        let is = after(&[("http://a.test/", "x=1"), ("http://a.test/", &cookie)], "http://a.test/");
        assert_eq!(is, "", "R-6265b-5.6.2-1: {end}");
    }
}

#[test]
fn the_field_is_in_order_and_replaced_cookies_keep_their_place() {
    let cookies = [
        ("http://a.test/d/", "a=1; Path=/"),
        ("http://a.test/d/", "b=1"),
        ("http://a.test/", "nameless"),
        ("http://a.test/d/", "c=1"),
        ("http://a.test/", "a=2"),
        ("http://a.test/", "a=3; Domain=a.test"),
    ];
    let mut store = Store::default();
    for (url, cookie) in cookies {
        set(&mut store, url, cookie).unwrap();
    }
    let is = sent(&mut store, "http://a.test/d/e");
    assert_eq!(is, "b=1; c=1; a=2; nameless; a=3", "R-6265b-5.7-6 R-6265b-5.8-1 R-6265b-5.8-2 R-6265b-5.8-3");
    assert_eq!(sent(&mut store, "http://a.test/de"), "a=2; nameless; a=3", "R-6265b-5.1.4-2 A-48");
}

#[test]
fn a_48_addresses_match_only_themselves() {
    for (host, domain) in [("1.2.3.4", "3.4"), ("1.2.3.4", "1.2.3.4"), ("[::1]", "1]"), ("[::1]", "[::1]")] {
        let url = format!("http://{host}/");
        let is = set(&mut Store::default(), &url, &format!("x=1; Domain={domain}"));
        assert_eq!(is, Err(Refused::OtherDomain), "R-6265b-5.1.3-1 CK-06 A-48: {host} {domain}");
        assert_eq!(after(&[(&url, "x=1")], &url), "x=1", "A-48");
    }
    assert_eq!(after(&[("http://1.2.3.4/", "x=1")], "http://2.2.3.4/"), "", "A-48");
}

#[test]
fn a_44_a_secure_cookie_that_has_ended_hides_nothing() {
    let mut store = Store::default();
    set(&mut store, "https://a.test/", "x=1; Secure; Max-Age=10").unwrap();
    assert_eq!(set(&mut store, "http://a.test/", "x=2"), Err(Refused::HidesSecure));
    assert_eq!(set_at(&mut store, "http://a.test/", "x=2", NOW + 10), Ok(()));
}

#[test]
fn a_46_a_long_path_of_a_url_takes_no_memory() {
    let mut store = Store::default();
    let long_path = format!("http://a.test/{}/x", "p".repeat(60_000));
    let long_host = format!("http://{}test/", "a.".repeat(600));
    for url in [long_path, long_host] {
        assert_eq!(set(&mut store, &url, "x=1"), Err(Refused::TooLong), "A-46: {url}");
    }
}

#[test]
fn a_45_whitespace_beyond_ascii_hides_no_prefix() {
    for cookie in ["\u{2000}__Host-x=1", "\u{85}__secure-x=1", "\u{a0}__Host-x", "=\u{a0}__Host-x=1"] {
        assert_eq!(set(&mut Store::default(), "https://a.test/", cookie), Err(Refused::Prefix), "{cookie:?}");
    }
}
