//! Tests of a client as a tower service, with the layers of tower and tower-http around it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use handclasp::{Body, Client, ConnectionInfo, ErrorKind, Timings};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::retry::{Policy, RetryLayer};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::decompression::DecompressionLayer;
use tower_http::follow_redirect::{FollowRedirectLayer, RequestUri};
use tower_http::trace::TraceLayer;

use crate::support::{Peer, Server, Uncoded, within};

fn get(server: &Server, path: &str) -> Request<Body> {
    Request::get(server.url(path)).body(Body::empty()).unwrap()
}

async fn text<B: http_body::Body<Error: std::fmt::Debug>>(response: Response<B>) -> String {
    let bytes = within(20, response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

/// Starts a server that answers each request by its number, counted from 1.
fn counting(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |peer: &mut Peer| {
        while peer.request()?.is_some() {
            peer.send(answer(count.fetch_add(1, SeqCst) + 1))?;
        }
        Ok(())
    })
}

fn ok(content: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", content.len())
}

fn assert_send<T: Send + 'static>(value: T) -> T {
    value
}

#[tokio::test]
async fn a_client_and_a_reference_to_it_are_services() {
    let server = Server::echo();
    let mut client = Client::new();
    let request = Request::post(server.url("/")).body("text").unwrap();
    let response = within(20, assert_send(client.call(request))).await.unwrap();
    assert!(response.extensions().get::<Timings>().is_some());
    assert!(!response.extensions().get::<ConnectionInfo>().unwrap().is_reused());
    text(response).await;
    let response = within(20, (&client).oneshot(get(&server, "/"))).await.unwrap();
    assert!(response.extensions().get::<ConnectionInfo>().unwrap().is_reused());
    text(response).await;
    let invalid = Request::get("/relative").body(Body::empty()).unwrap();
    assert_eq!(within(20, client.oneshot(invalid)).await.unwrap_err().kind(), ErrorKind::Request);
    assert_eq!(server.requests_per_connection(), [2]);
}

#[tokio::test]
async fn a_timeout_around_a_client_drops_its_request() {
    let server = Server::start(|peer: &mut Peer| {
        peer.request()?;
        peer.stall()
    });
    let client = Client::new();
    let service = ServiceBuilder::new().timeout(Duration::from_millis(50)).service(client.clone());
    let error = within(20, service.oneshot(get(&server, "/"))).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    crate::support::until("the connection is closed", || client.pool().stats().total.active == 0).await;
}

#[tokio::test]
async fn a_concurrency_limit_bounds_the_connections() {
    let server = Server::echo();
    let service = ServiceBuilder::new().concurrency_limit(2).service(Client::new());
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (service, request) = (service.clone(), get(&server, "/"));
            tokio::spawn(async move { text(service.oneshot(request).await.unwrap()).await })
        })
        .collect();
    for one in all {
        within(20, one).await.unwrap();
    }
    assert_eq!(server.seen().len(), 8);
}

/// Tries a request three times if its answer is a 5xx.
#[derive(Clone)]
struct Thrice(usize);

impl Policy<Request<Body>, Response<Body>, handclasp::Error> for Thrice {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<Body>, handclasp::Error>,
    ) -> Option<Ready<()>> {
        let is_bad = result.as_ref().is_ok_and(|response| response.status().is_server_error());
        self.0 += 1;
        (is_bad && self.0 < 3).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(Body::empty());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        Some(copy)
    }
}

#[tokio::test]
async fn a_retry_layer_sends_a_request_again() {
    let server = counting(|count| match count {
        3 => ok("third"),
        _ => "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".into(),
    });
    let service = ServiceBuilder::new().layer(RetryLayer::new(Thrice(0))).service(Client::new());
    let response = within(20, service.oneshot(get(&server, "/"))).await.unwrap();
    assert_eq!((response.status(), &*text(response).await), (StatusCode::OK, "third"));
    assert_eq!(server.requests_per_connection(), [3]);
}

#[tokio::test]
async fn a_balancer_chooses_among_clients() {
    let server = Server::echo();
    let clients = [Client::new(), Client::new()];
    let loaded = clients.clone().map(|client| PendingRequests::new(client, CompleteOnResponse::default()));
    let mut balance = Balance::new(ServiceList::new::<Request<Body>>(loaded));
    for _ in 0..40 {
        let ready = within(20, balance.ready()).await.unwrap();
        text(within(20, ready.call(get(&server, "/"))).await.unwrap()).await;
    }
    let opened = clients.map(|client| client.pool().stats().total.opened);
    assert_eq!(opened, [1, 1], "each client was chosen, and each kept its connection");
}

#[tokio::test]
async fn layers_that_know_http_work_around_a_client() {
    /// A gzip member with the content "plain".
    const PLAIN: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\xc8\x49\xcc\xcc\x03\x00\xcf\x62\x20\x19\x05\x00\x00\x00";
    let server = Server::start(|peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/a" => peer.send("HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n")?,
                _ => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                        PLAIN.len()
                    );
                    peer.send([head.as_bytes(), PLAIN].concat())?;
                }
            }
        }
        Ok(())
    });
    let builder = Client::builder().uncoded();
    #[cfg(feature = "url")]
    let builder = builder.redirect(handclasp::redirect::Policy::none());
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let trace = TraceLayer::new_for_http().on_response(move |_: &Response<_>, _, _: &tracing::Span| {
        counted.fetch_add(1, SeqCst);
    });
    let service = ServiceBuilder::new()
        .layer(DecompressionLayer::new())
        .layer(FollowRedirectLayer::new())
        .layer(trace)
        .service(builder.build().unwrap());
    let response = within(20, service.oneshot(get(&server, "/a"))).await.unwrap();
    let uri = response.extensions().get::<RequestUri>().unwrap().0.to_string();
    assert_eq!(uri, server.url("/b"));
    assert_eq!((&*text(response).await, seen.load(SeqCst)), ("plain", 2));
    assert_eq!(server.seen()[1].request.field("accept-encoding"), Some("gzip"));
}
