//! A client as a tower service.
//!
//! This module adds nothing to a request: a call is [`Client::execute`]. Invariant: a client is always ready, because its
//! pool makes requests wait in the order of their arrival, and bounds how many wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::body::Body;
use crate::client::Client;
use crate::error::{Error, Result};

/// The future of a request that was sent through [`tower_service::Service`].
///
/// # Cancel safety
///
/// Dropping the future is safe at any point; see [`RequestBuilder::send`](crate::RequestBuilder::send).
#[must_use = "a request does nothing until it is awaited"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<http::Response<Body>>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<http::Response<Body>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

/// Sends requests as [`Client::execute`] does, so that tower's layers can be put around a client.
///
/// A client is always ready: a request that finds no free connection waits in the pool's queue. Layers that limit or
/// shed load can be put around it all the same. The extensions of a response hold its
/// [`Timings`](crate::Timings) and [`ConnectionInfo`](crate::ConnectionInfo). A request with another
/// [`http_body::Body`] can be sent if its body is mapped by [`Body::wrap`] first.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = handclasp::Client::new();
/// let service = ServiceBuilder::new().concurrency_limit(8).service(client);
/// let request = http::Request::get("http://example.org/").body(handclasp::Body::empty())?;
/// let response = service.oneshot(request).await?;
/// println!("{}", response.status());
/// # Ok(())
/// # }
/// ```
impl<B: Into<Body>> Service<http::Request<B>> for Client {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> ResponseFuture {
        Service::call(&mut &*self, request)
    }
}

impl<B: Into<Body>> Service<http::Request<B>> for &Client {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> ResponseFuture {
        let (client, request) = (Client::clone(self), request.map(Into::<Body>::into));
        ResponseFuture(Box::pin(async move { client.execute(request).await.map(Into::into) }))
    }
}
