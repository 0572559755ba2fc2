//! Tests of what a failing, cancelled or hostile redirect leaves in the pool and on the wire.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handclasp::redirect::Policy;
use handclasp::{Body, Client, ErrorKind};
use http::{HeaderName, HeaderValue, Method};

use super::redirect::{get, serve};
use crate::support::{Peer, Server, Signal, within};

/// Starts a server that redirects `/a` to `/b` with `rest` after the `location` field, and answers any other target with
/// `end`. With `closes`, the server closes the connection after the redirect.
fn after_location(rest: &'static str, closes: bool) -> Server {
    Server::start(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            if request.target != "/a" {
                peer.respond("end")?;
                continue;
            }
            peer.send(format!("HTTP/1.1 302 Found\r\nlocation: /b\r\n{rest}"))?;
            if closes {
                return peer.close();
            }
        }
        Ok(())
    })
}

#[tokio::test]
async fn a_41_one_connection_per_host_is_enough_for_a_chain() {
    for (rest, closes) in [
        ("content-length: 4\r\n\r\ngone", false),
        ("content-length: 4\r\n\r\ngo", false),
        ("content-length: 4000000\r\n\r\ngo", false),
        ("\r\nwithout a length", false),
        ("\r\nwithout a length", true),
        ("transfer-encoding: chunked\r\n\r\n4\r\ngone\r\n", false),
        ("transfer-encoding: chunked\r\n\r\nno chunk", false),
        ("connection: close\r\ncontent-length: 4\r\n\r\ngone", false),
        ("content-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad", false),
    ] {
        let server = after_location(rest, closes);
        let client = Client::builder().max_connections_per_host(1).max_connections(1).build().unwrap();
        let response = get(&client, &server.url("/a")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "end", "A-41: {rest:?}");
        let response = get(&client, &server.url("/a")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "end", "A-41: {rest:?}");
    }
}

#[tokio::test]
async fn a_41_a_chain_that_comes_back_needs_one_connection() {
    let to = Arc::new(std::sync::OnceLock::<String>::new());
    let back = to.clone();
    let other = serve(move |_| format!("302 {}", back.get().unwrap()));
    let url = other.url("/x");
    let first = Server::start(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            if request.target != "/a" {
                peer.respond("end")?;
                continue;
            }
            peer.send(format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 40\r\n\r\ngo"))?;
        }
        Ok(())
    });
    to.set(first.url("/end")).unwrap();
    let client = Client::builder().max_connections_per_host(1).max_connections(1).build().unwrap();
    let response = get(&client, &first.url("/a")).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "end", "A-41");
}

#[tokio::test]
async fn a_panic_of_a_policy_or_a_hook_frees_the_connection() {
    for place in ["policy", "hook"] {
        let server = serve(|target| if target == "/a" { "302 /b".into() } else { "end".into() });
        let is_armed = Arc::new(AtomicBool::new(true));
        let armed = is_armed.clone();
        let enter = Arc::new(move |now| {
            assert!(now != place || !armed.load(Ordering::SeqCst), "the {place} panics");
        });
        let (in_policy, in_hook) = (enter.clone(), enter);
        let policy = Policy::custom(move |redirect| {
            in_policy("policy");
            redirect.follow()
        });
        let client = Client::builder().max_connections(1).redirect(policy);
        let client = client.on_request(move |_, _| in_hook("hook")).build().unwrap();
        let failing = client.get(server.url("/a")).send();
        assert!(tokio::spawn(failing).await.unwrap_err().is_panic(), "{place}");
        is_armed.store(false, Ordering::SeqCst);
        let response = get(&client, &server.url("/a")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "end", "{place}");
    }
}

#[tokio::test]
async fn a_25_framing_that_a_policy_adds_is_checked() {
    for (name, values) in [
        ("content-length", &["5"][..]),
        ("content-length", &["0", "5"]),
        ("transfer-encoding", &["chunked"]),
        ("transfer-encoding", &["gzip", "chunked"]),
        ("transfer-encoding", &["identity"]),
        ("host", &["a.test", "b.test"]),
        ("host", &["a b"]),
        ("host", &[""]),
        ("expect", &["100-continue"]),
        ("connection", &["close, x"]),
        ("trailer", &["x"]),
    ] {
        for content in ["", "content"] {
            let server = serve(|target| if target == "/a" { "307 /b".into() } else { "end".into() });
            let policy = Policy::custom(move |mut redirect| {
                redirect.headers_mut().remove(name);
                for value in values {
                    let value = HeaderValue::from_static(value);
                    redirect.headers_mut().append(HeaderName::from_static(name), value);
                }
                redirect.follow()
            });
            let request = Client::new().post(server.url("/a")).body(content).redirect(policy);
            match within(20, request.send()).await {
                Ok(response) => {
                    assert_eq!(response.text().await.unwrap(), "end", "A-25: {name} {values:?}");
                    assert_eq!(server.seen()[1].request.body, content.as_bytes(), "{name} {values:?}");
                }
                Err(error) => {
                    assert_eq!(
                        (error.kind(), server.seen().len()),
                        (ErrorKind::Request, 1),
                        "{name} {values:?} {error}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_37_a_long_scheme_is_not_repeated() {
    let location = format!("302 {}://h/", "x".repeat(20_000));
    let server = serve(move |_| location.clone());
    let error = get(&Client::new(), &server.url("/")).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(text.matches(&"x".repeat(40)).count(), 1, "A-37: {text}");
    assert!(!text.contains(&"x".repeat(41)), "A-37: {text}");
}

#[tokio::test]
async fn rd_06_an_early_307_sends_large_content_again() {
    let done = Signal::new();
    let wait = done.clone();
    let server = Server::start(move |peer: &mut Peer| {
        while let Some(index) = peer.request_head()? {
            if peer.seen(index).target == "/a" {
                peer.send("HTTP/1.1 307 X\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n")?;
                // The content is left unread.
                return peer.wait(&wait);
            }
            peer.request_body(index)?;
            peer.respond("end")?;
        }
        Ok(())
    });
    let client = Client::builder().max_connections(1).build().unwrap();
    let content = "x".repeat(8 << 20);
    let request = client.request(Method::PUT, server.url("/a")).body(Body::from(content.clone()));
    let response = within(20, request.send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "end", "RD-06");
    assert_eq!(server.seen()[1].request.body.len(), content.len(), "RD-06 A-40");
    done.raise();
}

#[tokio::test]
async fn a_77_an_error_of_the_user_shows_no_secret() {
    for url in [
        "http://a%3Ahunter1:hunter2@h/",
        "http://hunter1:hunter2%0a@h/",
        "http://hunter1:hunter2@/x",
        "http://hunter1:hunter2@h:99999/",
        "ftp://hunter1:hunter2@h/",
        "http://hunter1:hunter2@[::1%25x]/",
    ] {
        let one = Client::new().get(url).send().await.unwrap_err();
        let mut shown = format!("{one} {one:?} {} {:?}", one.chain(), one.url());
        if let Ok(uri) = url.parse::<http::Uri>() {
            let two = Client::new().execute(http::Request::get(uri).body("").unwrap()).await.unwrap_err();
            shown += &format!("{two} {two:?} {} {:?}", two.chain(), two.url());
        }
        assert!(!shown.contains("hunter"), "A-77: {url}: {shown}");
    }
}
