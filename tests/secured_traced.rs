//! Tests of TLS that need a `tracing` subscriber: one reads the spans, and one acts when a span begins.
//!
//! These tests are in a file of their own, because `tracing` remembers for the whole process which callsites a thread
//! without a subscriber ignores.
#![cfg(all(feature = "url", feature = "rustls"))]
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use handclasp::{Certificate, Client, ErrorKind, Written};

use crate::support::recorder;
use crate::support::{Server, Signal, within};

fn client(server: &Server) -> Client {
    let root = Certificate::from_pem(server.authority()).unwrap();
    Client::builder().add_root_certificate(root).build().unwrap()
}

/// No TLS session is resumed across isolation tags, because a resumed session shows the server that two connections
/// belong to one client.
#[tokio::test]
async fn no_tls_session_is_resumed_across_isolation_tags() {
    let (recorder, _guard) = recorder::Recorder::start();
    let server = Server::start_tls(|peer| {
        while let Some(request) = peer.request()? {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
            peer.send(format!("{head}: {}\r\n\r\n{}", request.target.len(), request.target))?;
            peer.close()?;
        }
        Ok(())
    });
    let client = client(&server);
    // A connection resumes the session of an earlier connection with the same tag. A connection without a tag resumes
    // the session of an earlier connection without a tag.
    let tags = [None, None, Some("a"), Some("a"), Some("b"), None, Some("a")];
    for (number, tag) in tags.into_iter().enumerate() {
        let mut request = client.get(server.url("/"));
        if let Some(tag) = tag {
            request = request.isolation(tag);
        }
        assert_eq!(within(20, request.send()).await.unwrap().text().await.unwrap(), "/", "{number}");
    }
    let spans = recorder.take();
    let resumed = spans.iter().filter(|span| span.name == "tls").map(|span| span.field("tls.resumed"));
    let expected = ["false", "true", "false", "true", "false", "true", "true"];
    assert!(resumed.eq(expected.map(Some)), "A-55: {spans:?}");
}

/// A `tracing` layer that runs a function once, when the next `send` span begins. At that time the client has looked
/// at the connection, and has written no byte of the request.
#[derive(Clone, Default)]
struct Trap(Arc<std::sync::Mutex<Option<Spring>>>);

type Spring = Box<dyn FnOnce() + Send>;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Trap {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        if attributes.metadata().target() == "handclasp" && attributes.metadata().name() == "send" {
            let sprung = self.0.lock().unwrap().take();
            if let Some(spring) = sprung {
                spring();
            }
        }
    }
}

/// The first write of a request fails inside TLS. The bytes that the client gave to TLS count as written, because TLS
/// may have sent a part of them.
#[tokio::test]
async fn a_post_whose_first_write_fails_inside_tls_is_not_sent_again() {
    use tracing_subscriber::layer::SubscriberExt;

    let trap = Trap::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(trap.clone()));
    for (method, is_resent) in [(http::Method::POST, false), (http::Method::GET, true)] {
        let due = Signal::new();
        let told = due.clone();
        let server = Server::start_tls(move |peer| {
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
                if peer.number() == 0 {
                    peer.wait(&told)?;
                    return peer.reset();
                }
            }
            Ok(())
        });
        let client = client(&server);
        let first = within(20, client.get(server.url("/first")).send()).await.unwrap();
        let (local, remote) = (first.connection().local_addr().unwrap(), server.address());
        assert_eq!(first.text().await.unwrap(), "/first");
        *trap.0.lock().unwrap() = Some(Box::new(move || {
            due.raise();
            support::arrival::wait_for_end(local, remote);
        }));
        let body = if is_resent { "" } else { "content" };
        let outcome = within(20, client.request(method, server.url("/next")).body(body).send()).await;
        assert!(trap.0.lock().unwrap().is_none(), "the trap has run its function");
        if is_resent {
            assert_eq!(outcome.unwrap().text().await.unwrap(), "/next");
            assert_eq!(server.requests_per_connection(), [1, 1]);
        } else {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.request_written()), (ErrorKind::ConnectionLost, Written::Partly));
            assert_eq!(server.requests_per_connection(), [1]);
        }
    }
}
