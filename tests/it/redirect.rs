//! Tests of redirects: which redirects are followed, which fields and content the next request has, and what an error says.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use handclasp::redirect::Policy;
use handclasp::{Body, Client, ErrorKind, Response};
use http::{HeaderValue, Method};

use crate::support::{Peer, Server, within};

/// Starts a server that answers each request with the result of `answer`. A status, a space and a location make a redirect.
/// Any other text is content.
pub(crate) fn serve(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
    Server::start(script(answer))
}

pub(crate) fn script(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static {
    move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            let answer = answer(&request.target);
            peer.send(match answer.split_once(' ') {
                Some((status, to)) => {
                    format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 4\r\n\r\ngone")
                }
                None => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()),
            })?;
        }
        Ok(())
    }
}

pub(crate) async fn get(client: &Client, url: &str) -> handclasp::Result<Response> {
    within(20, client.get(url).send()).await
}

pub(crate) fn heads(server: &Server) -> Vec<String> {
    server.seen().into_iter().map(|seen| seen.request.head.to_lowercase()).collect()
}

#[tokio::test]
async fn a_chain_is_followed_on_one_connection_and_shown() {
    let server = serve(|target| match target {
        "/a" => "302 /b".into(),
        "/b" => "308 c?q".into(),
        _ => "end".into(),
    });
    let response = get(&Client::new(), &server.url("/a#top")).await.unwrap();
    let urls: Vec<_> =
        response.redirects().iter().map(|hop| (hop.status().as_u16(), hop.url().path())).collect();
    assert_eq!(urls, [(302, "/a"), (308, "/b")]);
    assert_eq!(
        response.url().as_str(),
        server.url("/c?q#top"),
        "R-9110-10.2.2-2 A-39: fragments are inherited"
    );
    assert_eq!(response.uri().path(), "/c");
    assert!(!response.timings().previous.is_zero(), "earlier hops are `previous`");
    assert_eq!(response.text().await.unwrap(), "end");
    assert_eq!(server.requests_per_connection(), [3]);
}

#[tokio::test]
async fn a_34_loops_end_at_the_limit_with_their_chain() {
    let server = serve(|target| match target.strip_prefix("/grow?") {
        Some(query) => format!("302 /grow?{query}x"),
        None if target == "/1" => "302 /2".into(),
        None => "302 /1".into(),
    });
    let error = get(&Client::new(), &server.url("/1")).await.unwrap_err();
    assert!(
        error.is_redirect() && error.to_string().contains("in a loop"),
        "R-9110-15.4-4 RD-12 A-34: {error}"
    );
    assert_eq!(error.redirects().len(), 11, "RD-12");
    let error = get(&Client::new(), &server.url("/grow?x")).await.unwrap_err();
    assert!(error.is_redirect() && !error.to_string().contains("in a loop"), "RD-12: {error}");
    let request = Client::new().get(server.url("/1")).redirect(Policy::none());
    assert_eq!(
        within(20, request.send()).await.unwrap().status(),
        302,
        "RD-09: one request has a policy of its own"
    );
}

#[tokio::test]
async fn a_35_secrets_do_not_cross_origins_and_do_not_come_back() {
    let to = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let other = {
        let to = to.clone();
        serve(move |target| match target {
            "/1" => "302 /2".into(),
            "/2" => format!("302 {}", to.get().unwrap()),
            _ => "end".into(),
        })
    };
    let first = {
        // User and password of `Location` are not used: A-38.
        let url = other.url("/1").replace("http://", "http://u:p@");
        serve(move |target| if target == "/a" { format!("302 {url}") } else { "end".into() })
    };
    to.set(first.url("/b")).unwrap();
    let mut key = HeaderValue::from_static("hunter2-key");
    key.set_sensitive(true);
    let mut request = Client::new().get(first.url("/a")).bearer_auth("hunter2").header("x-api-key", key);
    for name in ["cookie", "proxy-authorization", "proxy-authenticate"] {
        request = request.header(name, "hunter2");
    }
    let request = request.header("host", "a.test").header("x-plain", "kept");
    let response = within(20, request.send()).await.unwrap();
    assert_eq!(response.url().as_str(), first.url("/b"));
    assert!(!format!("{:?}", response.redirects()).contains("u:p"), "A-38");
    assert!(heads(&first)[0].contains("hunter2") && heads(&first)[0].contains("host: a.test"));
    for head in heads(&other).iter().chain(&heads(&first)[1..]) {
        let is_clean =
            !head.contains("hunter2") && !head.contains("authorization") && !head.contains("a.test");
        assert!(
            is_clean && head.contains("x-plain: kept"),
            "R-9110-4.2.4-2 R-9110-11.5-1 R-9110-15.4-1 R-9110-15.4-2 R-9110-17.16.3-1 RD-01 RD-02 RD-04 RD-08 A-35 A-38: {head}"
        );
    }
    assert_eq!((heads(&other).len(), heads(&first).len()), (2, 2));
}

#[tokio::test]
async fn a_37_other_schemes_fail_with_the_chain_or_stop_by_a_policy() {
    for scheme in ["ftp://h/", "file:///etc/passwd", "javascript:1", "data:,x", "ws://h/", "gopher://h/"] {
        let server = serve(move |_| format!("302 {scheme}"));
        let error = get(&Client::new(), &server.url("/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Redirect, "A-37: {scheme}");
        assert_eq!(error.redirects()[0].headers()["location"], scheme, "A-37: the response is reachable");
        let client = Client::builder().redirect(Policy::custom(|it| it.stop())).build().unwrap();
        assert_eq!(get(&client, &server.url("/")).await.unwrap().headers()["location"], scheme, "A-37");
    }
}

#[tokio::test]
async fn a_39_locations_are_resolved_as_browsers_do() {
    let server = serve(|target| match target {
        "/d/query?old" => "302 ?q".into(),
        "/d/space" => "302 /a b".into(),
        "/d/utf8" => "302 /ü".into(),
        "/d/up" => "302 ../x#f".into(),
        _ => "end".into(),
    });
    for (from, to) in [
        ("/d/query?old", "/d/query?q"),
        ("/d/space", "/a%20b"),
        ("/d/utf8", "/%C3%BC"),
        ("/d/up#old", "/x#f"),
    ] {
        let response = get(&Client::new(), &server.url(from)).await.unwrap();
        assert_eq!(response.url().as_str(), server.url(to), "R-9110-10.2.2-1 R-3986-5.2-1 RD-11 A-39");
    }
}

#[tokio::test]
async fn a_39_several_unequal_locations_are_an_error() {
    for (locations, is_ok) in
        [("location: /b\r\nlocation: /b", true), ("location: /b\r\nlocation: /c", false)]
    {
        let server = Server::start(move |peer: &mut Peer| {
            peer.request()?;
            peer.send(format!("HTTP/1.1 302 Found\r\n{locations}\r\ncontent-length: 0\r\n\r\n"))?;
            while peer.request()?.is_some() {
                peer.respond("end")?;
            }
            Ok(())
        });
        assert_eq!(get(&Client::new(), &server.url("/a")).await.is_ok(), is_ok, "RD-11 A-39: {locations}");
    }
}

#[tokio::test]
async fn a_40_method_and_content_follow_the_status() {
    for (status, method, next, keeps) in [
        (301, "POST", "GET", false),
        (302, "POST", "GET", false),
        (301, "PUT", "PUT", true),
        (302, "DELETE", "DELETE", true),
        (303, "PUT", "GET", false),
        (303, "HEAD", "HEAD", false),
        (307, "POST", "POST", true),
        (308, "PATCH", "PATCH", true),
    ] {
        let server = Server::start(move |peer: &mut Peer| {
            while let Some(request) = peer.request()? {
                peer.send(match &*request.target {
                    "/a" => format!("HTTP/1.1 {status} Moved\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n"),
                    _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
                })?;
            }
            Ok(())
        });
        let method: Method = method.parse().unwrap();
        let request = Client::new().request(method, server.url("/a")).body("content");
        let request = request.header("content-type", "text/plain").header("content-language", "en");
        within(20, request.send()).await.unwrap();
        let seen = server.seen().pop().unwrap().request;
        assert_eq!(seen.method, next, "R-9110-15.4.2-1 R-9110-15.4.4-1 R-9110-15.4.8-1 RD-05 A-40: {status}");
        assert_eq!(seen.body, if keeps { &b"content"[..] } else { b"" }, "RD-05 RD-06 A-40: {status}");
        assert_eq!(
            seen.head.to_lowercase().contains("content-"),
            keeps,
            "R-9110-15.4-3 RD-05 A-40: {status} {}",
            seen.head
        );
    }
}

struct Once(Option<&'static str>);

impl futures_core::Stream for Once {
    type Item = Result<&'static str, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

#[tokio::test]
async fn a_40_content_that_cannot_be_sent_again_is_an_error_before_the_next_request() {
    let server = serve(|target| if target == "/a" { "307 /b".into() } else { "end".into() });
    let request = Client::new().post(server.url("/a")).body(Body::from_stream(Once(Some("content"))));
    let error = within(20, request.send()).await.unwrap_err();
    assert!(error.is_redirect() && error.to_string().contains("cannot be sent again"), "RD-06 A-40: {error}");
    assert_eq!(server.seen().len(), 1, "RD-06: nothing more was sent");
}

#[tokio::test]
async fn a_41_an_endless_redirect_is_not_waited_for() {
    let server = Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            if request.target != "/a" {
                peer.respond("end")?;
                continue;
            }
            peer.send(
                "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
            )?;
            while peer.send(format!("4000\r\n{}\r\n", "x".repeat(0x4000))).is_ok() {}
        }
        Ok(())
    });
    let response = get(&Client::new(), &server.url("/a")).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "end", "RD-07 A-41");
    assert_eq!(server.connections(), 2, "RD-07 A-41: the connection of the redirect was closed");
}

#[tokio::test]
async fn rd_08_a_custom_policy_edits_the_next_head() {
    let server = serve(|target| if target == "/a" { "302 /b".into() } else { "end".into() });
    let policy = Policy::custom(|mut redirect| {
        assert_eq!((redirect.from().path(), redirect.to().path(), redirect.chain().len()), ("/a", "/b", 1));
        redirect.headers_mut().remove("x-key");
        redirect.headers_mut().insert("x-new", HeaderValue::from_static("1"));
        redirect.follow()
    });
    let request = Client::new().get(server.url("/a")).header("x-key", "k").redirect(policy);
    within(20, request.send()).await.unwrap();
    let last = heads(&server).pop().unwrap();
    assert!(!last.contains("x-key") && last.contains("x-new: 1"), "RD-08 RD-09: {last}");
    let refuse = Client::new().get(server.url("/a")).redirect(Policy::custom(|it| it.error("no")));
    let refused = within(20, refuse.send()).await.unwrap_err();
    let chain = refused.chain().to_string();
    assert!(chain.ends_with(": the redirect policy refused a redirect: no"), "RD-08: {chain}");
}

#[tokio::test]
async fn a_78_the_user_of_a_url_is_sent_as_basic_and_shown_nowhere() {
    let server = serve(|_| "end".into());
    let url = server.url("/").replace("http://", "http://Aladdin:open%20sesame@");
    let mut sent = BTreeMap::new();
    for uri in [Client::new().get(&url), Client::new().get(url.parse::<http::Uri>().unwrap())] {
        let response = within(20, uri.send()).await.unwrap();
        assert_eq!(
            (response.uri().to_string(), response.url().as_str()),
            (server.url("/"), &*server.url("/"))
        );
        sent.insert(server.seen().pop().unwrap().request.field("authorization").map(str::to_owned), ());
    }
    assert_eq!(sent.into_keys().collect::<Vec<_>>(), [Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned())]);
    within(20, Client::new().get(&url).header("authorization", "own").send()).await.unwrap();
    assert_eq!(server.seen().pop().unwrap().request.field("authorization"), Some("own"));
    assert!(!heads(&server).iter().any(|head| head.contains("referer")), "A-78: no Referer unless asked for");
}
