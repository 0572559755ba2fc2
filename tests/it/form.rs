//! Tests of forms and queries.

#![cfg(all(feature = "form", feature = "query"))]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(
    clippy::needless_borrows_for_generic_args,
    clippy::useless_vec,
    reason = "each way to give pairs is called"
)]

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use handclasp::{Client, RequestBuilder};
use serde::Serialize;

use crate::support::{Server, within};

#[derive(Serialize)]
struct Page<'a> {
    q: &'a str,
    size: Option<u32>,
    after: Option<&'a str>,
    #[serde(rename = "in")]
    place: IpAddr,
}

const PAGE: Page<'_> =
    Page { q: "one two&=+ü", size: Some(50), after: None, place: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) };
const PAGE_TEXT: &str = "q=one+two%26%3D%2B%C3%BC&size=50&in=127.0.0.1";

/// Calls a method with every shape of pairs by reference.
macro_rules! each_shape {
    ($method:ident, $check:expr) => {{
        let client = Client::new();
        let post = || client.post("http://a.test/");
        let check: &dyn Fn(RequestBuilder, &str) = $check;
        check(post().$method(&PAGE), PAGE_TEXT);
        check(post().$method(&[("a", "b")]), "a=b");
        check(post().$method(&[("a", Some("b")), ("c", None)]), "a=b");
        check(post().$method(&vec![("a", true)]), "a=true");
        check(post().$method(&[("a", "b")][..]), "a=b");
        check(post().$method(&HashMap::from([("a", "b")])), "a=b");
        check(post().$method(&BTreeMap::from([("z", 1.5), ("a", 2.0)])), "a=2.0&z=1.5");
        check(post().$method(&[("a b", 'ß')]), "a+b=%C3%9F");
        check(post().$method(&[("text", "*-._~ \r\n")]), "text=*-._%7E+%0D%0A");
    }};
}

fn assert_query(request: RequestBuilder, expected: &str) {
    assert_eq!(request.build().unwrap().uri(), &*format!("http://a.test/?{expected}"));
}

#[test]
fn a_query_may_have_every_shape() {
    each_shape!(query, &assert_query);
    let client = Client::new();
    let post = || client.post("http://a.test/");
    assert_query(post().query(PAGE), PAGE_TEXT);
    assert_query(post().query([("page", 2), ("size", 50)]), "page=2&size=50");
    assert_query(post().query(vec![("a".to_owned(), 1), ("b".to_owned(), 2)]), "a=1&b=2");
    assert_query(post().query(HashMap::from([("a", "b")])), "a=b");
}

#[test]
fn a_form_may_have_every_shape() {
    each_shape!(form, &|request: RequestBuilder, expected: &str| {
        let request = request.build().unwrap();
        assert_eq!(request.body().as_bytes(), Some(expected.as_bytes()));
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(request.uri(), "http://a.test/");
    });
}

#[test]
fn a_query_is_appended_to_what_the_url_has() {
    let client = Client::new();
    let none: [(&str, &str); 0] = [];
    for (url, expected) in [
        ("http://a.test", "http://a.test/?a=b"),
        ("http://a.test/x", "http://a.test/x?a=b"),
        ("http://a.test/x?", "http://a.test/x?a=b"),
        ("http://a.test/x?c", "http://a.test/x?c&a=b"),
        ("http://a.test/x?c=d&", "http://a.test/x?c=d&a=b"),
        ("http://a.test/x?c=d%20e", "http://a.test/x?c=d%20e&a=b"),
        ("http://a.test/x?c=d?", "http://a.test/x?c=d?&a=b"),
        ("http://a.test/x??", "http://a.test/x??&a=b"),
    ] {
        let request = client.get(url).query(&[("a", "b")]);
        assert_eq!(request.build().unwrap().uri(), expected);
        let unchanged = client.get(url).build().unwrap();
        for nothing in [
            client.get(url).query(none),
            client.get(url).query(&[("a", None::<&str>)]),
            client.get(url).query(()),
        ] {
            assert_eq!(nothing.build().unwrap().uri(), unchanged.uri(), "nothing is added to {url}");
        }
    }
}

#[test]
fn a_value_without_pairs_is_the_callers_mistake() {
    #[derive(Serialize)]
    struct Outer {
        inner: Vec<u8>,
    }
    let client = Client::new();
    let nested = || Outer { inner: vec![1] };
    let error = client.get("http://a.test/").query(nested()).build().unwrap_err();
    assert!(error.is_request(), "{error:?}");
    assert!(
        error.chain().to_string().starts_with("the value cannot be written as a query: "),
        "{}",
        error.chain()
    );
    let error = client.get("http://a.test/").form(&nested()).build().unwrap_err();
    assert!(
        error.chain().to_string().starts_with("the value cannot be written as a form: "),
        "{}",
        error.chain()
    );
    assert!(client.get("http://a.test/").query("a=b").build().unwrap_err().is_request(), "text is not pairs");
    let long = "x".repeat(1 << 17);
    let error = client.get("http://a.test/").query(&[("a", long)]).build().unwrap_err();
    assert!(error.chain().to_string().contains("too long"), "{}", error.chain());
}

#[tokio::test]
async fn a_form_is_sent_with_its_type() {
    let server = Server::echo();
    let client = Client::new();
    within(20, client.post(server.url("/")).form(&PAGE).send()).await.unwrap();
    let request = client.post(server.url("/")).header("content-type", "text/x").form(&[("a", "b")]);
    within(20, request.send()).await.unwrap();
    let seen = server.seen();
    let got: Vec<_> =
        seen.iter().map(|seen| (&*seen.request.body, seen.request.field("content-type").unwrap())).collect();
    let expected: [(&[u8], &str); 2] =
        [(PAGE_TEXT.as_bytes(), "application/x-www-form-urlencoded"), (b"a=b", "text/x")];
    assert_eq!(got, expected, "R-9110-8.3-1");
}
