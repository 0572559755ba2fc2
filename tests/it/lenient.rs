//! Tests of clients that allow departures from the grammar in the head of a response, and of clients that do not.

#![allow(clippy::unwrap_used, reason = "a test")]

use handclasp::{Client, ClientBuilder, ErrorKind};

use crate::support::{Peer, Server, within};

/// Starts a server that adds `line` to the head of each response.
fn server(line: &'static str) -> Server {
    Server::start(move |peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nX: a\r\n{line}\r\nContent-Length: 2\r\n\r\nhi"))?;
        }
        Ok(())
    })
}

const SPACES: fn(ClientBuilder, bool) -> ClientBuilder =
    ClientBuilder::http1_allow_spaces_after_header_name_in_responses;
const INVALID: fn(ClientBuilder, bool) -> ClientBuilder =
    ClientBuilder::http1_ignore_invalid_headers_in_responses;

#[tokio::test]
async fn a_departure_is_an_error_unless_the_client_allows_it() {
    for (line, allow, is_read) in [
        ("Y : b", SPACES, true),
        ("Y : b", INVALID, false),
        ("no colon", INVALID, false),
        ("Y: \x01", INVALID, false),
    ] {
        let server = server(line);
        for client in [Client::new(), allow(Client::builder(), false).build().unwrap()] {
            let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{line:?}: {error:?}");
        }
        let client = allow(Client::builder(), true).build().unwrap();
        let response = within(20, client.get(server.url("/")).send()).await.unwrap();
        assert_eq!(response.headers()["x"], "a");
        assert_eq!(response.headers().contains_key("y"), is_read, "{line:?}");
        assert_eq!(response.raw_headers().count(), response.headers().len());
        assert_eq!(response.text().await.unwrap(), "hi");
    }
}

#[tokio::test]
async fn a_response_that_needs_a_leniency_ends_the_reuse_of_its_connection() {
    for (line, allow, is_needed) in [
        ("Y : b", SPACES, true),
        ("no colon", INVALID, true),
        ("Y: b", SPACES, false),
        ("Y: b", INVALID, false),
    ] {
        let server = server(line);
        let client = allow(Client::builder(), true).build().unwrap();
        let mut events = client.pool().subscribe();
        for _ in 0..3 {
            let response = within(20, client.get(server.url("/")).send()).await.unwrap();
            assert_eq!(response.text().await.unwrap(), "hi", "{line:?}");
        }
        assert_eq!(server.connections(), if is_needed { 3 } else { 1 }, "{line:?}");
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv()).map(|event| event.to_string()).collect();
        let why = "the server departed from the grammar in a header field of the response";
        assert_eq!(
            told.iter().filter(|event| event.contains(why)).count(),
            3 * usize::from(is_needed),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn no_leniency_accepts_a_framing_field_that_departs_from_the_grammar() {
    for line in
        ["Content-Length : 2", "Transfer-Encoding : chunked", "Transfer-Encoding\x0b: chunked", "Y: \0"]
    {
        let server = server(line);
        let client = SPACES(INVALID(Client::builder(), true), true).build().unwrap();
        let error = within(20, client.get(server.url("/")).send()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "A-29: {line:?}: {error:?}");
    }
}
