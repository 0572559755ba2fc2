//! Tests of redirects to another origin, from https to http, or to a URL that a caller does not expect. The tests check the
//! bytes that the next server gets, and the text of `Debug` and errors.

#![allow(clippy::unwrap_used, reason = "a test")]

use handclasp::redirect::Policy;
use handclasp::{Body, Client, ErrorKind, Written};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::redirect::{get, heads, serve};
use crate::support::{Peer, Seen, Server, within};

fn sensitive(text: &'static str) -> HeaderValue {
    let mut value = HeaderValue::from_static(text);
    value.set_sensitive(true);
    value
}

/// Starts two servers. The first server redirects `/a` to its own `/b`, and `/b` to the second server with `status`.
fn two_origins(status: u16) -> (Server, Server) {
    let other = serve(|_| "end".into());
    let to = other.url("/c");
    let first = serve(move |target| match target {
        "/a" | "/a?q" => format!("{status} /b"),
        _ => format!("{status} {to}"),
    });
    (first, other)
}

#[tokio::test]
async fn a_35_sensitive_default_headers_stay_in_their_origin() {
    let (first, other) = two_origins(302);
    let defaults = HeaderMap::from_iter([
        ("x-api-key".parse().unwrap(), sensitive("hunter2")),
        ("authorization".parse().unwrap(), HeaderValue::from_static("hunter2")),
        ("x-plain".parse().unwrap(), HeaderValue::from_static("kept")),
    ]);
    let client = Client::builder().default_headers(defaults).build().unwrap();
    get(&client, &first.url("/a")).await.unwrap();
    for head in heads(&first) {
        assert!(head.contains("x-api-key: hunter2") && head.contains("authorization: hunter2"), "{head}");
    }
    let last = heads(&other).pop().unwrap();
    assert!(!last.contains("hunter2") && last.contains("x-plain: kept"), "RD-08 A-35: {last}");
    // A request that goes to the second server directly has the fields.
    get(&client, &other.url("/")).await.unwrap();
    assert!(heads(&other).pop().unwrap().contains("x-api-key: hunter2"));
}

#[tokio::test]
async fn a_35_the_user_of_a_url_stays_in_its_origin() {
    let (first, other) = two_origins(302);
    let url = first.url("/a").replace("http://", "http://Aladdin:hunter2@");
    let response = get(&Client::new(), &url).await.unwrap();
    assert!(heads(&first).iter().all(|head| head.contains("authorization: basic")), "A-35");
    assert!(!heads(&other)[0].contains("authorization"), "RD-01 A-35 A-38: {}", heads(&other)[0]);
    let shown = format!("{response:?} {:?} {}", response.redirects(), response.redirects()[0].url());
    assert!(!shown.contains("hunter2") && !shown.contains("Aladdin"), "A-77 A-78: {shown}");
}

#[tokio::test]
async fn a_40_content_is_sent_again_to_another_origin_without_secrets() {
    let path = std::env::temp_dir().join(format!("handclasp-redirect-{}", std::process::id()));
    std::fs::write(&path, "content").unwrap();
    for status in [307, 308] {
        for body in [Body::from("content"), Body::from_file(&path).await.unwrap()] {
            let (first, other) = two_origins(status);
            let request = Client::new().post(first.url("/a")).bearer_auth("hunter2").body(body);
            within(20, request.header("content-type", "text/plain").send()).await.unwrap();
            let bodies: Vec<_> =
                first.seen().into_iter().chain(other.seen()).map(|seen| seen.request.body).collect();
            assert_eq!(bodies, [b"content"; 3], "RD-06 A-40: {status}");
            let last = heads(&other).pop().unwrap();
            assert!(last.starts_with("post /c ") && last.contains("content-type: text/plain"), "{last}");
            assert!(!last.contains("hunter2"), "RD-06 A-35: {last}");
        }
    }
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn same_origin_returns_a_redirect_that_leaves() {
    let (first, other) = two_origins(302);
    let request = Client::new().get(first.url("/a")).redirect(Policy::same_origin());
    let response = within(20, request.send()).await.unwrap();
    assert_eq!((response.status(), response.url().path()), (StatusCode::FOUND, "/b"), "RD-04 RD-09");
    assert_eq!(response.redirects().len(), 1, "only the redirect that was followed");
    assert_eq!(response.text().await.unwrap(), "gone", "the content is the caller's");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_78_a_referer_is_sent_only_if_asked_for() {
    for is_asked in [false, true] {
        let (first, other) = two_origins(302);
        let client = Client::builder().referer(is_asked).build().unwrap();
        get(&client, &first.url("/a?q#f").replace("http://", "http://u:p@")).await.unwrap();
        let referer = |seen: &Seen| seen.request.field("referer").map(str::to_owned);
        let got: Vec<_> = first.seen().iter().chain(&other.seen()).map(referer).collect();
        let expected = match is_asked {
            false => [None, None, None],
            true => [None, Some(first.url("/a?q")), Some(first.url("/"))],
        };
        assert_eq!(got, expected, "R-9110-10.1.3-1 A-36 A-78");
    }
}

#[tokio::test]
async fn a_77_errors_show_no_user_of_a_location() {
    for location in
        ["ftp://u:hunter2@h/", "http://u:hunter2@h:0/", "http://u:hunter2@[::1", "http://u:hunter2@./"]
    {
        let server = serve(move |_| format!("302 {location}"));
        let error = get(&Client::new(), &server.url("/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Redirect, "A-37 A-39: {location}");
        assert_eq!(error.request_written(), Written::All, "{location}");
        assert_eq!(error.url().unwrap().to_string(), server.url("/"), "the URL whose answer failed");
        let shown = format!("{error} {error:?} {} {:?}", error.chain(), error.redirects());
        assert!(!shown.contains("hunter2"), "A-38 A-77: {shown}");
    }
}

#[tokio::test]
async fn a_32_a_policy_sees_the_address_that_is_meant() {
    let server = serve(|_| "end".into());
    let port = server.address().port();
    for host in ["0x7f000001", "2130706433", "0177.0.0.1", "127.1", "localhost"] {
        let from = serve(move |_| format!("302 http://{host}:{port}/"));
        let policy = Policy::custom(|redirect| match redirect.to().host() {
            Some(url::Host::Ipv4(address)) if address.is_loopback() => redirect.error("a local address"),
            _ => redirect.stop(),
        });
        let request = Client::new().get(from.url("/")).redirect(policy);
        let is_refused = within(20, request.send()).await.is_err();
        assert_eq!(is_refused, host != "localhost", "A-32: {host}");
    }
    assert!(server.seen().is_empty(), "A-32");
}

#[tokio::test]
async fn a_74_only_a_redirect_with_a_location_is_followed() {
    for head in [
        "200 OK\r\nrefresh: 0; url=/b\r\nlocation: /b",
        "200 OK\r\nlink: </b>; rel=preload\r\nalt-svc: h2=\":1\"",
        "103 Early Hints\r\nlink: </b>; rel=preload\r\nlocation: /b\r\n\r\nHTTP/1.1 204 No Content",
        "201 Created\r\nlocation: /b",
        "300 Multiple Choices\r\nlocation: /b",
        "302 Found\r\nrefresh: 0; url=/b",
        "305 Use Proxy\r\nlocation: /b",
        "306 X\r\nlocation: /b",
        "399 X\r\nlocation: /b",
    ] {
        let server = Server::start(move |peer: &mut Peer| {
            while peer.request()?.is_some() {
                peer.send(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n"))?;
            }
            Ok(())
        });
        let response = get(&Client::new(), &server.url("/a")).await.unwrap();
        let last = head.rsplit("HTTP/1.1 ").next().unwrap();
        assert_eq!(response.status().as_str(), &last[..3], "A-74");
        assert_eq!((server.seen().len(), response.redirects().len()), (1, 0), "A-74: {head}");
    }
}

#[cfg(feature = "rustls")]
mod over_tls {
    use handclasp::Certificate;

    use super::super::redirect::script;
    use super::*;

    fn client(server: &Server, policy: Policy) -> Client {
        let root = Certificate::from_pem(server.authority()).unwrap();
        Client::builder().add_root_certificate(root).redirect(policy).referer(true).build().unwrap()
    }

    #[tokio::test]
    async fn a_36_https_to_http_needs_permission_and_takes_no_secrets() {
        let plain = serve(|_| "end".into());
        let to = plain.url("/b");
        let server = Server::start_tls(script(move |_| format!("302 {to}")));
        let ask = async |policy: Policy| {
            let request = client(&server, policy).get(server.url("/a")).bearer_auth("hunter2");
            within(20, request.header("referer", "https://a.test/").send()).await
        };
        let error = ask(Policy::default()).await.unwrap_err();
        assert!(error.is_redirect() && error.to_string().contains("allow_https_to_http"), "A-36: {error}");
        assert!(plain.seen().is_empty(), "RD-03 A-36: nothing was sent");
        let response = ask(Policy::default().allow_https_to_http(true)).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "end");
        let head = heads(&plain).pop().unwrap();
        assert!(!head.contains("hunter2") && !head.contains("referer"), "RD-03 A-36: {head}");
    }

    #[tokio::test]
    async fn rd_10_a_redirect_to_content_without_a_close_notify_is_complete() {
        let server = Server::start_tls(|peer: &mut Peer| {
            while let Some(request) = peer.request()? {
                // The content of the redirect is not gzip, and the client does not decode this content.
                let (status, content) = match &*request.target {
                    "/a" => ("302 Found\r\ncontent-encoding: gzip", "\x1f\u{8}no gzip"),
                    _ => ("200 OK", "end"),
                };
                let length = content.len();
                peer.send(format!(
                    "HTTP/1.1 {status}\r\nlocation: /b\r\nconnection: close\r\n\
                     transfer-encoding: chunked\r\n\r\n{length:x}\r\n{content}\r\n0\r\n\r\n"
                ))?;
                peer.fin()?;
            }
            Ok(())
        });
        let response =
            within(20, client(&server, Policy::default()).get(server.url("/a")).send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "end", "RD-10");
        assert_eq!(server.connections(), 2, "RD-10: both connections were closed");
    }
}
