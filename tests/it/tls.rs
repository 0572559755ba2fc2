//! Tests of the TLS settings against servers of tokio-rustls. Each test creates its certificates. The ids of the
//! attacks that a test covers are in the name of the test or in its messages.
#![cfg(all(feature = "url", feature = "rustls"))]
#![allow(missing_docs, clippy::unwrap_used)]

use handclasp::tls::TlsInfo;
use handclasp::{Certificate, Client, ClientBuilder, ConnectionInfo, Error, ErrorKind, Phase, Written};

use crate::support::tls::{Authority, TlsServer};
use crate::support::within;

mod faults;
mod handshake;
mod identity;
mod sessions;
mod trust;

/// Name of the servers of these tests.
const HOST: &str = "server.test";

fn root(authority: &Authority) -> Certificate {
    Certificate::from_pem(authority.pem()).unwrap()
}

/// Returns a builder of a client that finds the server under [`HOST`], and keeps no connection, so that each request has a
/// handshake.
fn to(server: &TlsServer) -> ClientBuilder {
    Client::builder().resolve(HOST, server.address()).max_idle_per_host(0)
}

/// Makes a request, and returns the description of its connection.
async fn get(client: &Client, server: &TlsServer) -> Result<ConnectionInfo, Error> {
    let response = within(20, client.get(server.url(HOST)).send()).await?;
    let connection = response.connection().clone();
    assert_eq!(response.text().await?, "ok");
    Ok(connection)
}

/// Returns the parameters of a connection's handshake.
fn info(connection: &ConnectionInfo) -> &TlsInfo {
    connection.tls().unwrap()
}

/// Makes a request that TLS refuses, and returns the message. The refusal is typed, and the server gets no byte of the request.
async fn refusal(client: &Client, server: &TlsServer, case: &str) -> String {
    let begun = server.seen().len();
    let Err(error) = get(client, server).await else { panic!("{case}: accepted") };
    let facts = (error.kind(), error.phase(), error.request_written());
    assert_eq!(facts, (ErrorKind::Tls, Some(Phase::Tls), Written::Nothing), "{case}: {error:?}");
    assert!(server.seen()[begun..].iter().all(|connected| connected.requests.is_empty()), "{case}");
    let text = error.to_string();
    assert!(!text.contains("secret"), "{case}: {text}");
    text
}
