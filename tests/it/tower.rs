//! Tests of the client as a service, with layers of tower and tower-http.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handclasp::redirect::Policy;
use handclasp::{Body, Client, ConnectionInfo, Timings};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{Constant, Load};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::decompression::DecompressionLayer;
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::trace::TraceLayer;

use crate::support::{Peer, Server, Signal, Tape, within};

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(Body::empty()).unwrap()
}

async fn text<B: http_body::Body>(response: Response<B>) -> String
where
    B::Error: std::fmt::Debug,
{
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

#[tokio::test]
async fn a_client_and_a_shared_client_are_services() {
    let server = Server::echo();
    let mut client = Client::new();
    let response = within(20, Service::call(&mut client, get(&server.url("/a")))).await.unwrap();
    assert!(response.extensions().get::<Timings>().is_some());
    assert!(!response.extensions().get::<ConnectionInfo>().unwrap().is_reused());
    assert_eq!(text(response).await, "/a");
    // The service accepts bodies of other crates.
    let request = Request::post(server.url("/b")).body(Full::<bytes::Bytes>::from("content")).unwrap();
    let response = within(20, (&client).oneshot(request)).await.unwrap();
    assert!(response.extensions().get::<ConnectionInfo>().unwrap().is_reused());
    assert_eq!(text(response).await, "/b");
    let request = Request::get(server.url("/c")).body(Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(text(within(20, (&client).oneshot(request)).await.unwrap()).await, "/c");
    let seen = server.seen();
    assert_eq!(seen[1].request.body, b"content");
    assert_eq!(seen[1].request.field("content-length"), Some("7"));
    assert_eq!(seen[2].request.field("content-length"), None, "a body that has ended is no body");
    let error = within(20, (&client).oneshot(get("/relative"))).await.unwrap_err();
    assert!(error.is_request());
}

#[tokio::test]
async fn a_timeout_layer_ends_a_request() {
    let go = Signal::new();
    let wait = go.clone();
    let server = Server::start(move |peer: &mut Peer| {
        peer.request()?;
        peer.wait(&wait)
    });
    let service = ServiceBuilder::new().timeout(Duration::from_millis(20)).service(Client::new());
    let error = within(20, service.oneshot(get(&server.url("/")))).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    go.raise();
}

#[tokio::test]
async fn a_concurrency_limit_holds_requests_back() {
    let server = Server::echo();
    let service = ServiceBuilder::new().concurrency_limit(1).service(Client::new());
    let calls = (0..8).map(|_| text_of(service.clone(), server.url("/x")));
    let texts = within(20, join(calls.collect())).await;
    assert_eq!(texts, ["/x"; 8]);
}

async fn text_of<S>(service: S, url: String) -> String
where
    S: Service<Request<Body>, Response = Response<Body>, Error = handclasp::Error>,
{
    text(service.oneshot(get(&url)).await.unwrap()).await
}

async fn join<F: Future<Output = String>>(calls: Vec<F>) -> Vec<String> {
    let mut texts = Vec::new();
    for call in calls {
        texts.push(call.await);
    }
    texts
}

/// Repeats a request that got 503, once.
#[derive(Clone)]
struct Once(bool);

impl tower::retry::Policy<Request<Body>, Response<Body>, handclasp::Error> for Once {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<Body>, handclasp::Error>,
    ) -> Option<Ready<()>> {
        let is_busy = result.as_ref().is_ok_and(|it| it.status() == StatusCode::SERVICE_UNAVAILABLE);
        (is_busy && !std::mem::replace(&mut self.0, true)).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = get(&request.uri().to_string());
        *copy.method_mut() = request.method().clone();
        *copy.headers_mut() = request.headers().clone();
        Some(copy)
    }
}

#[tokio::test]
async fn a_retry_layer_sends_a_request_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |peer: &mut Peer| {
        while peer.request()?.is_some() {
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => peer.send("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")?,
                _ => peer.respond("done")?,
            }
        }
        Ok(())
    });
    let service = ServiceBuilder::new().retry(Once(false)).service(Client::new());
    let response = within(20, service.oneshot(get(&server.url("/")))).await.unwrap();
    assert_eq!(text(response).await, "done");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_balancer_distributes_requests() {
    let servers = [Server::echo(), Server::echo()];
    let services = servers.iter().map(|server| {
        let base = server.url("");
        let service = Client::new().map_request(move |path: &'static str| get(&format!("{base}{path}")));
        Constant::new(service, 1)
    });
    let mut balance = Balance::new(ServiceList::new::<&'static str>(services.collect::<Vec<_>>()));
    for _ in 0..40 {
        let response = within(20, balance.ready().await.unwrap().call("/x")).await.unwrap();
        assert_eq!(text(response).await, "/x");
    }
    assert!(servers.iter().all(|server| !server.seen().is_empty()));
    assert_eq!(servers.iter().map(|server| server.seen().len()).sum::<usize>(), 40);
}

/// A client and the origin of its server. The load is the number of requests in the client's pool.
struct Measured(Client, String);

impl Load for Measured {
    type Metric = usize;

    fn load(&self) -> usize {
        let now = self.0.pool().stats().total;
        now.active + now.waiting
    }
}

impl Service<&'static str> for Measured {
    type Response = Response<Body>;
    type Error = handclasp::Error;
    type Future = handclasp::ResponseFuture;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<handclasp::Result<()>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, path: &'static str) -> Self::Future {
        self.0.call(get(&format!("{}{path}", self.1)))
    }
}

/// A response that nobody has read keeps a connection active, so that the balancer prefers the client of the other server.
#[tokio::test]
async fn a_balancer_prefers_the_client_whose_pool_has_fewer_requests() {
    let server = || {
        Server::start(|peer: &mut Peer| {
            while let Some(request) = peer.request()? {
                match &*request.target {
                    "/held" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nthe start")?,
                    target => peer.respond(target)?,
                }
            }
            Ok(())
        })
    };
    let (servers, clients) = ([server(), server()], [Client::new(), Client::new()]);
    let pairs = servers.iter().zip(&clients);
    let services: Vec<_> = pairs.map(|(server, client)| Measured(client.clone(), server.url(""))).collect();
    let mut balance = Balance::new(ServiceList::new::<&'static str>(services));
    let held = within(20, clients[0].get(servers[0].url("/held")).send()).await.unwrap();
    assert_eq!(clients[0].pool().stats().total.active, 1);
    for _ in 0..20 {
        let response = within(20, balance.ready().await.unwrap().call("/x")).await.unwrap();
        assert_eq!(text(response).await, "/x");
    }
    assert_eq!(servers.iter().map(|server| server.seen().len()).collect::<Vec<_>>(), [1, 20]);
    drop(held);
}

#[tokio::test]
async fn layers_of_tower_http_wrap_a_client() {
    let gzip: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0,
        0, 0,
    ];
    let server = Server::start(move |peer: &mut Peer| {
        while let Some(request) = peer.request()? {
            if request.target == "/to" {
                peer.send("HTTP/1.1 302 Found\r\nlocation: /end\r\ncontent-length: 0\r\n\r\n")?;
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 25\r\n\r\n";
            peer.send([head.as_bytes(), gzip].concat())?;
        }
        Ok(())
    });
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let client = Client::builder()
        .redirect(Policy::none())
        .on_request(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(DecompressionLayer::new())
        .layer(FollowRedirectLayer::new())
        .service(client);
    let request = Request::get(server.url("/to")).body(Full::<bytes::Bytes>::default()).unwrap();
    let response = within(20, service.oneshot(request)).await.unwrap();
    assert_eq!(text(response).await, "hello");
    assert_eq!((server.seen().len(), calls.load(Ordering::SeqCst)), (2, 2));
    assert!(server.seen()[0].request.field("accept-encoding").unwrap().contains("gzip"));
}

#[tokio::test]
async fn a_service_sends_what_a_request_holds_and_no_more() {
    let server = Server::echo();
    let client = Client::builder().max_connections(1).build().unwrap();
    // Nothing is sent before the future is polled, and a dropped future leaves the client usable.
    drop((&client).oneshot(get(&server.url("/never"))));
    let url = server.url("/user").replace("http://", "http://Aladdin:open%20sesame@");
    let mut request = Request::get(url).body(Body::empty()).unwrap();
    *request.version_mut() = http::Version::HTTP_2;
    let response = within(20, (&client).oneshot(request)).await.unwrap();
    assert_eq!((response.version(), &*text(response).await), (http::Version::HTTP_11, "/user"));
    assert_eq!(server.fields("authorization"), [["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]], "A-78");
    // The settings of a built request are kept.
    let request = client.get(server.url("/late")).timeout(Duration::ZERO).build().unwrap();
    let error = within(20, (&client).oneshot(request)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    for uri in ["/", "*", "a.test:80", "ftp://u:hunter2@a.test/"] {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let error = within(20, (&client).oneshot(request)).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(error.is_request() && !shown.contains("hunter2"), "A-77: {uri}: {shown}");
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_service_sends_the_trailers_of_a_body() {
    let tape = Tape::default();
    let recorded = tape.clone();
    let server = Server::start(move |peer: &mut Peer| {
        peer.record(&recorded);
        while peer.request()?.is_some() {
            peer.respond("end")?;
        }
        Ok(())
    });
    let trailers = http::HeaderMap::from_iter([("x".parse().unwrap(), "1".parse().unwrap())]);
    let body = Full::<bytes::Bytes>::from("content").with_trailers(ready(Some(Ok(trailers))));
    let request = Request::post(server.url("/")).header("trailer", "x").body(body).unwrap();
    assert_eq!(text(within(20, Client::new().oneshot(request)).await.unwrap()).await, "end");
    assert_eq!(server.seen()[0].request.body, b"content");
    let sent = String::from_utf8(tape.lock().unwrap().clone()).unwrap();
    assert!(sent.contains("\r\ntransfer-encoding: chunked\r\n"), "{sent}");
    assert!(sent.ends_with("0\r\nx: 1\r\n\r\n"), "{sent}");
}
