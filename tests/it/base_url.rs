//! Tests of a client with a base URL: relative URLs are joined to the base, and nothing is sent to another origin.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use handclasp::{Client, ErrorKind, RequestBuilder, Written};
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::redirect::serve;
use crate::support::{Server, within};

const SECRET: &str = "hunter2";

/// Returns a client with a secret default field, which must not go to another server.
fn client(base: impl handclasp::IntoUrl) -> Client {
    let key = HeaderMap::from_iter([("x-api-key".parse().unwrap(), HeaderValue::from_static(SECRET))]);
    Client::builder().default_headers(key).base_url(base).build().unwrap()
}

fn targets(server: &Server) -> Vec<String> {
    server.seen().into_iter().map(|seen| seen.request.target).collect()
}

#[tokio::test]
async fn a_relative_url_of_every_form_is_joined_to_the_base() {
    let server = serve(|target| target.into());
    let client = client(server.url("/v1/"));
    let text = String::from("users?page=2");
    let requests = [
        client.get("users?page=2"),
        client.get(&text),
        client.post(Arc::<str>::from("users?page=2")),
        client.put("./users?page=2"),
        client.delete("/v1/users?page=2"),
        client.patch("../v1/users?page=2#top"),
        client.head(Uri::from_static("/v1/users?page=2")),
        client.request(Method::OPTIONS, url::Url::parse(&server.url("/v1/users?page=2")).unwrap()),
        client.get(server.url("/v1/users?page=2")),
    ];
    let count = requests.len();
    for request in requests {
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(response.uri(), &server.url("/v1/users?page=2").parse::<Uri>().unwrap());
    }
    let request = http::Request::get("/v1/users?page=2").body("").unwrap();
    let response = within(20, client.execute(request.clone())).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/v1/users?page=2");
    within(20, RequestBuilder::from_parts(client.clone(), request).send()).await.unwrap();
    let built = client.get("users?page=2").build().unwrap();
    assert_eq!(built.uri().to_string(), server.url("/v1/users?page=2"));
    within(20, client.execute(built)).await.unwrap();
    assert_eq!(targets(&server), vec!["/v1/users?page=2"; count + 3]);
    assert_eq!(client.get("users#top").send().await.unwrap().url().fragment(), Some("top"));

    within(20, client.warm("", 2)).await.unwrap();
    assert!(client.pool().stats().total.idle >= 2, "{:?}", client.pool().stats());
    client.min_idle("/any", 0).unwrap();
}

#[tokio::test]
async fn a_25_a_client_with_a_base_url_sends_nothing_to_another_origin() {
    let evil = Server::echo();
    let good = serve(|target| target.into());
    let client = client(good.url("/v1/"));
    let (host, port) = (evil.address().ip(), evil.address().port());
    let own = good.address();
    for url in [
        format!("http://{host}:{port}/x"),
        format!("//{host}:{port}/x"),
        format!("///{host}:{port}/x"),
        format!("\\\\{host}:{port}\\x"),
        format!("/\\{host}:{port}/x"),
        format!("/\t/{host}:{port}/x"),
        format!("http:\\\\{host}:{port}/x"),
        format!("//{own}@{host}:{port}/x"),
        format!("http://{own}:{SECRET}@{host}:{port}/x"),
        format!("http://127.1:{port}/x"),
        format!("https://{own}/x"),
        format!("ftp://{own}/x"),
        format!("http://localhost:{port}/x"),
        "https:x".into(),
        "mailto:x".into(),
    ] {
        let error = within(20, client.get(&url).send()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "A-25: {url:?}: {error:?}");
        assert_eq!((error.request_written(), error.phase()), (Written::Nothing, None), "{url:?}");
        let shown = format!("{error} {error:?} {:?}", client.get(&url));
        assert!(!shown.contains(SECRET), "A-77: {shown}");
        assert!(client.get(&url).build().is_err(), "{url:?}");
        assert!(within(20, client.warm(&url, 1)).await.unwrap_err().is_request(), "{url:?}");
        assert!(client.min_idle(&url, 1).unwrap_err().is_request(), "{url:?}");
        if let Ok(uri) = url.parse::<Uri>() {
            let error = within(20, client.get(uri.clone()).send()).await.unwrap_err();
            assert!(error.is_request(), "A-25: {uri:?}: {error:?}");
            let request = http::Request::get(uri).body("").unwrap();
            assert!(within(20, client.execute(request)).await.unwrap_err().is_request(), "{url:?}");
        }
    }
    let error = client.get(format!("//{host}:{port}/x")).send().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "http://{host}:{port}: the URL leaves the origin of the client's base URL: \
             use another client for other origins (base_url)"
        )
    );
    assert_eq!((evil.connections(), good.connections()), (0, 0), "A-25");
    assert_eq!(client.pool().stats().total.opened, 0, "A-25");
}

/// The redirect policy decides about redirects, so that a redirect may lead to another origin.
#[tokio::test]
async fn a_redirect_follows_the_redirect_policy_and_not_the_base() {
    let other = serve(|_| "end".into());
    let to = other.url("/end");
    let good = serve(move |target| if target == "/v1/a" { format!("302 {to}") } else { "302 b".into() });
    let response = within(20, client(good.url("/v1/")).get("a").send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "end");
    assert_eq!((targets(&good), targets(&other)), (vec!["/v1/a".into()], vec!["/end".into()]));
}

#[tokio::test]
async fn the_user_of_the_base_goes_with_relative_urls_and_is_shown_nowhere() {
    let server = serve(|target| target.into());
    let base = server.url("/v1/").replace("http://", &format!("http://Aladdin:{SECRET}@"));
    let builder = Client::builder().base_url(&*base);
    assert!(!format!("{builder:?}").contains(SECRET), "A-77: {builder:?}");
    let client = builder.build().unwrap();
    assert!(!format!("{client:?}").contains(SECRET), "A-77: {client:?}");
    let response = within(20, client.get("a").send()).await.unwrap();
    assert!(!format!("{response:?}{}", response.url()).contains(SECRET), "A-77: {response:?}");
    within(20, client.get(server.url("/b")).send()).await.unwrap();
    let users: Vec<_> =
        server.seen().iter().map(|seen| seen.request.field("authorization").is_some()).collect();
    assert_eq!(users, [true, false], "an absolute URL has its own user, or none");
}

#[test]
fn a_base_that_is_no_absolute_http_url_is_refused_when_the_client_is_built() {
    for base in ["", "/v1/", "a.test/v1/", "ftp://a.test/", "mailto:me", "http://", "http://a.test:99999/"] {
        let error = Client::builder().base_url(base).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{base:?}: {error:?}");
    }
}
