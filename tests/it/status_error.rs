//! Tests of status errors, and of the text of errors: the text has the method, the origin and the progress, and no secret.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::error::Error as _;
use std::time::Duration;

use handclasp::{Client, Error, ErrorKind, Response, StatusCode, Transport, Written};

use crate::support::scripted::{Peers, Reply, Script};
use crate::support::{Peer, Server, within};

const URL: &str = "http://a.test/private/path?token=hunter2";

/// Returns a client whose server sends these replies on each connection.
fn client(replies: &[Reply]) -> (Client, Peers) {
    let peers = Peers::new(Script { is_eager: true, ..Script::new(&[replies]) });
    (Client::builder().connector(peers.connector()).build().unwrap(), peers)
}

async fn get(reply: Reply) -> Response {
    client(&[reply]).0.get(URL).send().await.unwrap()
}

fn answer(status: &str, body: &str) -> Reply {
    Reply::raw(&[&format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len()), body])
}

#[tokio::test(start_paused = true)]
async fn a_status_error_has_the_status_and_leaves_the_response_to_its_owner() {
    for (status, is_error) in
        [("200 OK", false), ("304 Not Modified", false), ("404 Not Found", true), ("599 Odd", true)]
    {
        let response = get(answer(status, if is_error { "why" } else { "" })).await;
        let code = response.status();
        let told = response.error_for_status_ref();
        assert_eq!(told.is_err(), is_error, "{status}");
        if let Err(error) = told {
            assert_eq!(
                (error.kind(), error.status(), error.is_status()),
                (ErrorKind::Status, Some(code), true)
            );
            assert_eq!((error.body(), error.request_written()), (None, Written::All));
            assert_eq!(error.to_string(), format!("GET http://a.test: the server answered {code}"));
            assert_eq!(response.error_for_status_ref().unwrap_err().status(), Some(code));
            assert_eq!(response.text().await.unwrap(), "why", "the response can still be read");
        } else {
            assert_eq!(response.error_for_status().unwrap().status(), code);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_error_has_the_start_of_the_content_if_the_caller_asks() {
    let long = "x".repeat(5_000);
    for (body, limit, expected) in [
        ("", 10, ""),
        ("ten bytes!", 10, "ten bytes!"),
        ("ten bytes!", 9, "ten bytes"),
        ("ten bytes!", 0, ""),
        ("ten bytes!", usize::MAX, "ten bytes!"),
        (&long, 4_096, &long[..4_096]),
    ] {
        let response = get(answer("500 Internal Server Error", body)).await;
        let error = response.error_for_status_with_body(limit).await.unwrap_err();
        assert_eq!(error.body().map(|body| &**body), Some(expected.as_bytes()), "{limit}");
        assert_eq!(error.body_text().as_deref(), Some(expected), "{limit}");
        assert_eq!(error.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        let chain = error.chain().to_string();
        assert!(chain.len() < 320, "the chain shows a bounded part: {chain}");
        assert_eq!(chain.contains("the content is"), !expected.is_empty(), "{chain}");
    }
    let peers =
        Peers::new(Script { is_eager: true, ..Script::new(&[&[answer("404 Not Found", "ten bytes!")]]) });
    let small = Client::builder().max_collected_body(4).connector(peers.connector()).build().unwrap();
    let response = small.get(URL).send().await.unwrap();
    let error = response.error_for_status_with_body(usize::MAX).await.unwrap_err();
    assert_eq!(error.body_text().as_deref(), Some("ten "), "the client's limit holds too");
    let response = get(answer("201 Created", "made")).await;
    assert_eq!(response.error_for_status_with_body(0).await.unwrap().text().await.unwrap(), "made");
}

#[tokio::test(start_paused = true)]
async fn a_77_the_content_of_a_status_error_is_shown_only_by_the_accessors_and_the_chain() {
    let (client, _peers) = client(&[answer("403 Forbidden", "hunter2\r\n\x1b[31m no")]);
    let response = client.get("http://a.test/").send().await.unwrap();
    let error = response.error_for_status_with_body(100).await.unwrap_err();
    assert!(!format!("{error} {error:?} {error:#?}").contains("hunter2"), "A-77: {error:?}");
    assert!(!format!("{error:?}").contains("104, 117"), "A-77: {error:?}");
    assert_eq!(
        error.chain().to_string(),
        "GET http://a.test: the server answered 403 Forbidden: the content is hunter2\\r\\n\\u{1b}[31m no"
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_error_tells_why_its_content_is_not_complete() {
    let head = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 9\r\n\r\n";
    let response = get(Reply::raw(&[head, "four"]).eof()).await;
    let error = response.error_for_status_with_body(100).await.unwrap_err();
    assert_eq!((error.kind(), error.body_text().as_deref()), (ErrorKind::Status, Some("four")));
    let cause = error.source().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(cause.kind(), ErrorKind::ConnectionLost);
    let chain = error.chain().to_string();
    assert_eq!(chain.matches("http://a.test").count(), 1, "{chain}");
    assert!(chain.ends_with("5 bytes are missing: the content is four"), "{chain}");
}

/// If the unread part of the content is small, the connection is kept.
#[tokio::test]
async fn the_connection_is_kept_after_a_short_excerpt() {
    let server = Server::start(|peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\nten bytes!")?;
        }
        Ok(())
    });
    let client = Client::new();
    for _ in 0..2 {
        let response = within(20, client.get(server.url("/")).send()).await.unwrap();
        within(20, response.error_for_status_with_body(10)).await.unwrap_err();
        crate::support::until("the connection is idle", || client.pool().stats().total.idle == 1).await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_names_the_method_and_the_origin_and_never_the_path() {
    let (client, _peers) = client(&[Reply::silence().eof()]);
    for url in ["http://user:hunter2@a.test:8080/hunter2?hunter2", "http://a.test:8080/hunter2"] {
        let error = client.post(url).send().await.unwrap_err();
        let text = "POST http://a.test:8080: the server closed the connection before the response head";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.message(), "the server closed the connection before the response head");
        assert!(!error.chain().to_string().contains("hunter2"), "A-77");
        assert_eq!(error.progress().to_string(), "in phase wait; the request was sent");
        #[cfg(feature = "url")]
        {
            let url = "https://user:hunter2@b.test/hunter2?hunter2#hunter2".parse().unwrap();
            let moved = client.post(url::Url::as_str(&url)).send().await.unwrap_err().with_url(url);
            assert_eq!(moved.to_string(), format!("POST https://b.test: {}", moved.message()));
            assert_eq!(moved.url().unwrap().username(), "");
            assert!(moved.url().unwrap().password().is_none() && moved.url().unwrap().fragment().is_none());
        }
        let error = error.without_url();
        assert_eq!(error.to_string(), error.message());
        assert!(error.uri().is_none() && !format!("{error:?}").contains("a.test"), "{error:?}");
    }
    // `warm` sends no request.
    let client = Client::builder()
        .connector(|_| async { Err::<Box<dyn Transport>, _>("no line".into()) })
        .build()
        .unwrap();
    let error = client.warm("https://b.test/hunter2", 1).await.unwrap_err();
    assert_eq!(error.chain().to_string(), "https://b.test: the connector could not connect: no line");
    assert_eq!(error.progress().to_string(), "in phase TCP; nothing was sent");
}

/// Every way to give a URL without a scheme has the same error.
#[tokio::test]
async fn a_missing_scheme_has_one_text() {
    let client = Client::new();
    let mut errors = Vec::new();
    for url in
        ["a.test", "a.test/x", "/x", "localhost:8080", "localhost:8080/x", "127.0.0.1:80", "//a.test/x", ""]
    {
        errors.push((url, client.get(url).send().await.unwrap_err()));
    }
    for url in ["/x", "a.test", "a.test:80"] {
        errors.push((url, client.get(url.parse::<handclasp::Uri>().unwrap()).send().await.unwrap_err()));
    }
    #[cfg(feature = "url")]
    errors.push((
        "Url",
        client.get(handclasp::Url::parse("localhost:80/x").unwrap()).send().await.unwrap_err(),
    ));
    #[cfg(feature = "query")]
    for url in ["/x", "a.test", "a.test:80"] {
        let request = client.get(url.parse::<handclasp::Uri>().unwrap()).query([("a", "b")]);
        errors.push((url, request.send().await.unwrap_err()));
    }
    errors.push(("warm", client.warm("a.test", 1).await.unwrap_err()));
    for (url, error) in errors {
        assert_eq!(error.chain().to_string(), "the URL has no scheme: give http:// or https://", "{url}");
        assert!(error.is_request() && error.is_builder(), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_question_is_true_for_its_kind() {
    let (client, _peers) = client(&[answer("200 OK", "more than four")]);
    let upgrade = client.get(URL).send().await.unwrap().upgrade().await.unwrap_err();
    assert!(
        upgrade.is_upgrade() && !upgrade.is_decode() && upgrade.status() == Some(StatusCode::OK),
        "{upgrade:?}"
    );
    let peers =
        Peers::new(Script { is_eager: true, ..Script::new(&[&[answer("200 OK", "more than four")]]) });
    let small = Client::builder().max_collected_body(4).connector(peers.connector()).build().unwrap();
    let decode = small.get(URL).send().await.unwrap().text().await.unwrap_err();
    assert!(
        decode.is_decode() && decode.is_body() && !decode.is_upgrade() && !decode.is_builder(),
        "{decode:?}"
    );
    assert!(decode.timings().is_some());
    assert_eq!(decode.status(), None, "the content is too large, whatever the status is");
    assert!(
        decode.to_string().contains("larger than 4 bytes")
            && decode.to_string().contains("max_collected_body")
    );
}

/// The time until the next dial is random, and its text has no nanoseconds.
#[tokio::test(start_paused = true)]
async fn durations_have_no_nanoseconds() {
    let builder = Client::builder().connector(|_| async { Err::<Box<dyn Transport>, _>("no line".into()) });
    let client = builder.failing_host_backoff(Duration::from_secs(60)).build().unwrap();
    let mut seen = 0;
    for _ in 0..50 {
        let error = client.get(URL).send().await.unwrap_err();
        let text = error.to_string();
        let Some((_, wait)) = text.split_once("may be made in ") else { continue };
        seen += 1;
        assert!(error.is_not_attempted() && wait.len() <= "99.99ms".len(), "{text}");
    }
    assert!(seen > 40, "{seen}");
}

/// The error of a limit names the limit, its value, and the method that raises it.
#[tokio::test(start_paused = true)]
async fn an_exceeded_limit_names_its_number_and_setting() {
    let long = "x".repeat(200);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(5);
    let mut limits = handclasp::codec::Limits::default();
    (limits.head, limits.fields, limits.informational) = (150, 3, 2);
    (limits.chunk_line, limits.trailers) = (50, 60);
    let mut few_bytes = limits;
    (few_bytes.informational, few_bytes.informational_bytes) = (100, 70);
    for (limits, reply, expected) in [
        (
            limits,
            format!("HTTP/1.1 200 OK\r\na: {long}\r\n\r\n"),
            "(head is 150 bytes: raise it with codec_limits)",
        ),
        (
            limits,
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(4)),
            "(fields is 3: raise it with codec_limits)",
        ),
        (limits, early.clone(), "(informational is 2: raise it with codec_limits)"),
        (few_bytes, early, "(informational_bytes is 70 bytes: raise it with codec_limits)"),
        (
            limits,
            format!("{chunked}1;{long}\r\n"),
            "(chunk_line is 50 bytes, chunk_extensions 16384: raise it with codec_limits)",
        ),
        (
            limits,
            format!("{chunked}0\r\na: {long}\r\n\r\n"),
            "(trailers is 60 bytes: raise it with codec_limits)",
        ),
    ] {
        let peers = Peers::new(Script { is_eager: true, ..Script::new(&[&[Reply::raw(&[&reply])]]) });
        let client = Client::builder().codec_limits(limits).connector(peers.connector()).build().unwrap();
        let outcome = match client.get(URL).send().await {
            Ok(response) => response.bytes().await,
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().ends_with(expected), "{error} should end with {expected}");
    }
}
