//! An example of a client within layers of tower: a timeout, a limit on requests at a time, a retry of 503, and a balancer
//! that chooses one of three servers by the load of its pool.
//!
//! Run the example by `cargo run --release --example tower --features tower`.

use std::future::{Ready, ready};
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use handclasp::{Body, Client, ResponseFuture};
use http::{Request, Response, StatusCode};
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::Load;
use tower::retry::Policy;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/time.rs"]
mod time;

use terminal::say;

#[tokio::main]
async fn main() -> ExitCode {
    terminal::status(run().await)
}

async fn run() -> Result<(), BoxError> {
    if !terminal::is_to_run(HELP)? {
        return Ok(());
    }
    // Each endpoint has a client of its own. All clients have the same URLs, and each client sends the requests to the
    // address of its endpoint.
    let mut endpoints = Vec::new();
    for delay in [2, 2, 40].map(Duration::from_millis) {
        let address = endpoint::start(delay).await?;
        let client = Client::builder().resolve("orders.internal", address).build()?;
        endpoints.push((delay, Endpoint(client)));
    }

    // The balancer picks two endpoints at random, and takes the endpoint with the lower load. The buffer turns the
    // balancer into a service that many tasks can share.
    let clients: Vec<_> = endpoints.iter().map(|(_, endpoint)| endpoint.clone()).collect();
    let balance = Buffer::new(Balance::new(ServiceList::new(clients)), 64);
    // A request passes these layers from top to bottom.
    let service = ServiceBuilder::new()
        // A request counts until the head of its response has arrived.
        .concurrency_limit(8)
        // The timeout covers all attempts of a request, but not the wait for the concurrency limit.
        .timeout(Duration::from_secs(5))
        .retry(Refused { left: 5 })
        .service(balance);

    let fetch = async |order: u32| {
        let request = Request::get(format!("http://orders.internal/orders/{order}")).body(Body::empty())?;
        let response = handclasp::Response::from(service.clone().oneshot(request).await?);
        // The connection is free for another request once the content has been read.
        response.error_for_status()?.bytes().await.map_err(BoxError::from)
    };
    let mut orders = stream::iter(0..300).map(fetch).buffer_unordered(32);
    while let Some(order) = orders.next().await {
        order?;
    }

    say!("300 requests, at most 8 at a time:\n");
    let mut sent = 0;
    for (number, (delay, Endpoint(client))) in (1..).zip(&endpoints) {
        let total = client.pool().stats().total;
        let (requests, opened) = (total.requests, total.opened);
        let delay = time::round_time(*delay);
        say!("  endpoint {number} answers after {delay:>5}: {requests:>3} requests on {opened} connections");
        sent += requests;
    }
    say!(
        "\nAll requests got 200 in the end.\n{} answers were 503, and their requests were sent again.",
        sent - 300
    );

    // This service has a shorter timeout.
    let hasty = ServiceBuilder::new().timeout(Duration::from_millis(100)).service(service.clone());
    let request = Request::get("http://orders.internal/stuck").body(Body::empty())?;
    if let Err(error) = hasty.oneshot(request).await {
        say!("A request that gets no answer within 100 ms fails: {error}.");
    }
    Ok(())
}

const HELP: &str = "\
tower

Sends 300 requests to three servers of the example, through layers of tower: a
timeout, a limit on requests at a time, a retry of 503, and a balancer.
";

/// The client of one endpoint. The load is the number of requests that have a connection or wait for one.
///
/// A response counts until its content has been read. Requests that other parts of the program send by this client count
/// too.
#[derive(Clone)]
struct Endpoint(Client);

impl Load for Endpoint {
    type Metric = usize;

    fn load(&self) -> usize {
        let now = self.0.pool().stats().total;
        now.active + now.waiting
    }
}

impl Service<Request<Body>> for Endpoint {
    type Response = Response<Body>;
    type Error = handclasp::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<handclasp::Result<()>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        self.0.call(request)
    }
}

/// A policy that sends a request again after an answer of 503. Another endpoint may answer the repetition.
#[derive(Clone)]
struct Refused {
    /// Number of repetitions that are left for one request.
    left: u32,
}

impl Policy<Request<Body>, Response<Body>, BoxError> for Refused {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<Body>, BoxError>,
    ) -> Option<Ready<()>> {
        let is_refused =
            matches!(result, Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE);
        if !is_refused || self.left == 0 {
            return None;
        }
        self.left -= 1;
        // A program that must not add to the load of a busy server returns a `tokio::time::Sleep` here.
        Some(ready(()))
    }

    /// Returns a copy of the request, or `None` if the request must not be sent twice or its content is not in memory.
    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        if !request.method().is_idempotent() {
            return None;
        }
        let content = request.body().as_bytes()?.to_vec();
        let mut copy = Request::new(Body::from(content));
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(copy)
    }
}
