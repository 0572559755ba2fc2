//! Tests of `on_request`: the attempts for which the function is called, and the effect of its changes.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, Mutex, OnceLock};

use handclasp::{Client, ErrorKind};
use http::HeaderValue;

use crate::support::{Peer, Server, until, within};

#[tokio::test]
async fn each_attempt_is_seen_and_changed_alone() {
    let server = Server::start(|peer: &mut Peer| {
        if peer.number() == 0 {
            peer.request()?;
            peer.respond("1")?;
            // The second request on this connection gets no answer, and is sent again.
            peer.request()?;
            return Ok(());
        }
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/to" => peer.send("HTTP/1.1 302 Found\r\nlocation: /end\r\ncontent-length: 0\r\n\r\n")?,
                target => peer.respond(target)?,
            }
        }
        Ok(())
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, redirects) = (seen.clone(), cfg!(feature = "url"));
    let builder = Client::builder().on_request(move |request, attempt| {
        assert!(!request.headers.contains_key("x-once"), "a change applies to one attempt");
        noted.lock().unwrap().push((request.method.to_string(), request.uri.path().to_owned(), attempt));
        request.headers.append("x-once", attempt.into());
        request.headers.remove("x-own");
        request.uri = "http://other.test/".parse().unwrap();
    });
    assert!(format!("{builder:?}").contains("OnRequest"));
    let client = builder.build().unwrap();
    for target in ["/first", "/to"] {
        let request = client.get(server.url(target)).header("x-own", "1");
        within(20, request.send()).await.unwrap().bytes().await.unwrap();
    }
    let paths: Vec<_> =
        seen.lock().unwrap().iter().map(|(_, path, attempt)| (path.clone(), *attempt)).collect();
    let all = [("/first", 1), ("/to", 1), ("/to", 2), ("/end", 3)].map(|(path, n)| (path.to_owned(), n));
    let count = if redirects { 4 } else { 3 };
    assert_eq!(paths, all[..count]);
    assert_eq!(server.fields("x-once"), [["1"], ["1"], ["2"], ["3"]][..count]);
    assert_eq!(server.fields("x-own"), vec![[""; 0]; count]);
}

#[tokio::test]
async fn what_a_hook_adds_is_checked_like_any_field() {
    let server = Server::echo();
    let hook = |name: &'static str, value: &'static str| {
        Client::builder()
            .on_request(move |request, _| {
                request.headers.insert(name, HeaderValue::from_static(value));
            })
            .build()
            .unwrap()
    };
    let client = hook("content-length", "7");
    let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request, "A-25: {error}");
    assert_eq!(server.seen().len(), 0, "A-25");
    let client = hook("authorization", "Negotiate YII=");
    within(20, client.get(server.url("/")).send()).await.unwrap().bytes().await.unwrap();
    assert_eq!(server.fields("connection"), [["close"]], "the connection is for one user");
}

/// No request is sent with framing fields or `Host` fields about which a server and a proxy can disagree.
#[tokio::test]
async fn a_25_framing_and_hosts_that_a_hook_adds_are_checked() {
    for (name, values) in [
        ("host", &["a.test", "b.test"][..]),
        ("host", &["a b"]),
        ("transfer-encoding", &["gzip, chunked"]),
        ("transfer-encoding", &["chunked", "chunked"]),
        ("content-length", &["7", "8"]),
        ("content-length", &["+7"]),
        ("trailer", &["x"]),
    ] {
        let server = Server::echo();
        let client = Client::builder().on_request(move |request, _| {
            for value in values {
                request.headers.append(name, HeaderValue::from_static(value));
            }
        });
        let request = client.build().unwrap().post(server.url("/")).body("content");
        let error = within(20, request.send()).await.unwrap_err();
        assert_eq!((error.kind(), server.seen().len()), (ErrorKind::Request, 0), "A-25: {name} {values:?}");
    }
}

/// The function of `on_request` runs without a lock of the client, so that the function can use the client.
#[tokio::test]
async fn a_hook_may_use_the_client() {
    let server = Server::echo();
    let own = Arc::new(OnceLock::<Client>::new());
    let (used, url) = (own.clone(), server.url("/inner"));
    let client = Client::builder().max_connections(2).on_request(move |request, _| {
        let client = used.get().unwrap();
        request.headers.insert("x-active", client.pool().stats().total.active.into());
        if request.uri.path() == "/outer" {
            tokio::spawn(client.get(&url).send());
        }
    });
    own.set(client.build().unwrap()).unwrap();
    let response = within(20, own.get().unwrap().get(server.url("/outer")).send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/outer");
    until("the other request is seen", || server.seen().len() == 2).await;
    assert!(server.fields("x-active").iter().all(|fields| fields.len() == 1));
}
