//! Tests of contents in JSON, in both directions.

#![cfg(feature = "json")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;
use std::error::Error as _;

use handclasp::{Client, Error, ErrorKind, StatusCode};
use serde::{Deserialize, Serialize};

use crate::support::scripted::{Peers, Reply, Script};
use crate::support::{Server, within};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Note {
    id: u32,
    text: String,
}

fn client(status: &str, body: &str) -> Client {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    let replies: &[Reply] = &[Reply::raw(&[&head, body])];
    let peers = Peers::new(Script { is_eager: true, ..Script::new(&[replies]) });
    Client::builder().connector(peers.connector()).build().unwrap()
}

async fn failure(status: &str, body: &str) -> Error {
    let response = client(status, body).get("http://a.test/secret").send().await.unwrap();
    let error = response.json::<Note>().await.unwrap_err();
    let collected =
        client(status, body).get("http://a.test/secret").send().await.unwrap().collect().await.unwrap();
    let again = collected.json::<Note>().unwrap_err();
    assert_eq!(error.chain().to_string(), again.chain().to_string(), "both methods have the same error");
    assert_eq!((error.kind(), error.status()), (again.kind(), again.status()));
    error
}

#[tokio::test(start_paused = true)]
async fn a_value_is_read_from_json() {
    let note = Note { id: 7, text: "one handshake".into() };
    for body in [r#"{"id": 7, "text": "one handshake"}"#, "\u{feff}{\"id\":7,\"text\":\"one handshake\"}\r\n"]
    {
        let response = client("200 OK", body).get("http://a.test/").send().await.unwrap();
        assert_eq!(response.json::<Note>().await.unwrap(), note);
        let whole =
            client("500 Oh", body).get("http://a.test/").send().await.unwrap().collect().await.unwrap();
        assert_eq!(
            (whole.json::<Note>().unwrap(), whole.status.as_u16()),
            (Note { id: 7, text: note.text.clone() }, 500)
        );
    }
    let response = client("200 OK", "[1, 2]").get("http://a.test/").send().await.unwrap();
    assert_eq!(response.json::<serde_json::Value>().await.unwrap(), serde_json::json!([1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_decode_error_names_status_position_and_excerpt() {
    let error = failure("200 OK", "{\"id\": 7,\n \"text\": oops}").await;
    assert_eq!((error.kind(), error.status()), (ErrorKind::Decode, Some(StatusCode::OK)));
    assert!(error.is_decode() && error.is_body());
    assert_eq!(
        error.to_string(),
        "GET http://a.test: the content of the response (200 OK) is not the expected JSON at line 2, column 10, \
         near `{\"id\": 7,\\n \"text\": oops}`"
    );
    assert!(error.source().unwrap().downcast_ref::<serde_json::Error>().unwrap().is_syntax());
    assert!(error.timings().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_page_instead_of_json_is_shown_in_part() {
    let page = format!("<html>\x1b[2J{}</html>", "x".repeat(100_000));
    let error = failure("502 Bad Gateway", &page).await;
    let text = error.to_string();
    assert!(
        text.contains("(502 Bad Gateway)") && text.contains("line 1, column 1, near `<html>\\u{1b}[2J"),
        "{text}"
    );
    assert!(text.len() < 400 && text.ends_with("x...`"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_excerpt_is_around_the_position() {
    let items: Vec<String> = (0..20_000).map(|nth| format!("\"n{nth}\"")).collect();
    let body = format!("{{\"id\": 1,\n\"text\": \"a\", \"more\": [{}, oops]}}", items.join(","));
    let text = failure("200 OK", &body).await.to_string();
    assert!(
        text.contains("line 2, ") && text.contains("\"n19999\", oops]}`") && text.contains("near `..."),
        "{text}"
    );
    assert!(text.len() < 400, "{text}");
}

/// The error of serde_json repeats a value of the wrong type, and the name of an unknown field.
#[tokio::test(start_paused = true)]
async fn what_the_error_repeats_of_the_content_is_bounded_and_on_one_line() {
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the test reads the error only")]
    struct Strict {
        id: u32,
    }
    let long = "x".repeat(100_000);
    for (content, expected) in [
        (format!("{{\n\"id\": \"{long}\"}}"), "invalid type: string \"xxx"),
        (format!("{{\n\"{long}\": 1}}"), "unknown field `xxx"),
        ("{\n\"a\\u001b[2J\\nb\": 1}".to_owned(), "unknown field `a\\u{1b}[2J\\nb`"),
        ("{\n\"id\": true}".to_owned(), "invalid type: boolean `true`"),
    ] {
        let response = client("200 OK", &content).get("http://a.test/").send().await.unwrap();
        let error = response.json::<Strict>().await.unwrap_err();
        let cause = error.source().unwrap().downcast_ref::<serde_json::Error>().unwrap();
        assert!(cause.is_data() && cause.line() == 2 && cause.column() > 0, "{cause:?}");
        assert!(cause.to_string().starts_with(expected), "{cause}");
        assert!(cause.to_string().contains(&format!(" at line 2 column {}", cause.column())), "{cause}");
        assert_eq!(cause.to_string().matches(" at line ").count(), 1, "{cause}");
        for text in [error.chain().to_string(), format!("{error:?}")] {
            assert!(text.len() < 1_500 && !text.contains(char::is_control), "{} {text}", text.len());
        }
    }
}

/// The error of a type that refuses a value has no position in the content.
#[tokio::test(start_paused = true)]
async fn an_error_without_a_position_names_none() {
    #[derive(Deserialize, Debug)]
    #[serde(try_from = "String")]
    struct Even;
    impl TryFrom<String> for Even {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            if text.len().is_multiple_of(2) { Ok(Self) } else { Err(format!("{text} is odd")) }
        }
    }
    let get = async |content: &str| client("200 OK", content).get("http://a.test/").send().await.unwrap();
    get("\"ab\"").await.json::<Even>().await.unwrap();
    let error = get("\"abc\"").await.json::<Even>().await.unwrap_err();
    assert_eq!(
        error.chain().to_string(),
        "GET http://a.test: the content of the response (200 OK) is not the expected JSON, near `\"abc\"`: abc is odd"
    );
    let long = format!("\"{}\u{1b}\"", "x".repeat(100_000)).replace('\u{1b}', "\\u001b");
    let error = get(&long).await.json::<Even>().await.unwrap_err();
    assert!(
        error.chain().to_string().ends_with("xxx...") && !error.chain().to_string().contains("line"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn deep_and_large_values_are_errors() {
    for (content, expected) in [
        ("[".repeat(1 << 20), "recursion limit exceeded"),
        ("{\"a\":".repeat(1 << 18), "recursion limit exceeded"),
        ("1e999999999".to_owned(), "number out of range"),
        (format!("1{}", "0".repeat(1 << 20)), "number out of range"),
        ("{} x".to_owned(), "trailing characters"),
        ("\u{feff}\u{feff}{}".to_owned(), "expected value"),
        ("\u{feff}".to_owned(), "EOF while parsing a value"),
    ] {
        let response = client("200 OK", &content).get("http://a.test/").send().await.unwrap();
        let error = response.json::<serde_json::Value>().await.unwrap_err();
        let chain = error.chain().to_string();
        assert!(error.is_decode() && chain.contains(expected) && chain.len() < 600, "{chain}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_content_is_told_from_wrong_content() {
    let error = failure("204 No Content", "").await;
    let text = "GET http://a.test: the response (204 No Content) has no content, but JSON was expected";
    assert_eq!((error.to_string().as_str(), error.kind()), (text, ErrorKind::Decode));
}

#[tokio::test]
async fn a_value_is_sent_as_json_with_its_type() {
    let server = Server::echo();
    let client = Client::new();
    let note = Note { id: 7, text: "é\n".into() };
    within(20, client.post(server.url("/1")).json(&note).send()).await.unwrap();
    let request =
        client.post(server.url("/2")).header("content-type", "application/vnd.note+json").json(&note);
    within(20, request.send()).await.unwrap();
    let seen = server.seen();
    for (request, content_type) in seen.iter().zip(["application/json", "application/vnd.note+json"]) {
        assert_eq!(request.request.body, "{\"id\":7,\"text\":\"é\\n\"}".as_bytes());
        let head = request.request.head.to_ascii_lowercase();
        assert_eq!(head.matches("content-type").count(), 1, "{head}");
        assert_eq!(request.request.field("content-type"), Some(content_type), "R-9110-8.3-1");
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_value_that_is_no_json_is_the_callers_mistake() {
    let keys: HashMap<Vec<u8>, u8> = HashMap::from([(vec![1], 1)]);
    let request = Client::new().post("http://a.test/").json(&keys);
    assert!(request.try_clone().is_none());
    let error = request.send().await.unwrap_err();
    assert!(error.is_request(), "{error:?}");
    assert_eq!(error.chain().to_string(), "the value cannot be written as JSON: key must be a string");
}

/// The content of a request is shown neither by the builder nor by an error about another part of the request.
#[tokio::test]
#[cfg(feature = "form")]
async fn a_77_what_is_sent_as_json_or_form_is_not_shown() {
    let client = Client::builder()
        .connector(|_| async { Err::<Box<dyn handclasp::Transport>, _>("no line".into()) })
        .build()
        .unwrap();
    let post = || client.post("http://user:hunter2@a.test/");
    for request in [post().json(&["hunter2"]), post().form(&[("password", "hunter2")])] {
        assert!(!format!("{request:?}").contains("hunter2"), "A-77: {request:?}");
        let error = request.send().await.unwrap_err();
        assert!(!format!("{error:?} {}", error.chain()).contains("hunter2"), "A-77: {error:?}");
    }
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("out of order"))
        }
    }
    let error = post().json(&Broken).send().await.unwrap_err();
    assert_eq!(error.chain().to_string(), "the value cannot be written as JSON: out of order");
}
