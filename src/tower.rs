//! The client as a [`tower_service::Service`], for the layers of tower and tower-http.
//!
//! This module does no I/O. Invariant: a service sends a request in the same way as [`Client::execute`].

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tower_service::Service;

use crate::body::Body;
use crate::client::Client;
use crate::error::{BoxError, Error, Result};

/// The future of a client that is used as a [`Service`]. Its output is the response once its head has arrived.
///
/// # Cancel safety
///
/// Dropping the future is safe at any point; see [`RequestBuilder::send`](crate::RequestBuilder::send).
#[must_use = "a request is sent only while its future is polled"]
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

/// A client as a service. The URI of a request must be absolute.
///
/// The service is always ready: a request that finds no free connection waits in its future, under the limits of the
/// pool. A body that is not a [`Body`] is wrapped by [`Body::wrap`]. The response has its [`Timings`](crate::Timings)
/// and its [`ConnectionInfo`](crate::ConnectionInfo) as extensions. With the feature `url`, a client follows
/// redirects itself. A layer that follows redirects needs a client with `redirect::Policy::none`.
///
/// The example `tower` of the repository has a retry and a balancer that chooses a client by the load of its pool.
///
/// ```
/// use std::time::Duration;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), tower::BoxError> {
/// let client = ServiceBuilder::new()
///     .concurrency_limit(64)
///     .timeout(Duration::from_secs(10))
///     .service(handclasp::Client::new());
/// let request = http::Request::get("http://example.org/").body(handclasp::Body::empty())?;
/// let response = client.oneshot(request).await?;
/// # Ok(())
/// # }
/// ```
impl<B> Service<http::Request<B>> for Client
where
    B: http_body::Body + Send + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
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

/// A reference to a client as a service. The service sends requests as the service of [`Client`] does.
impl<B> Service<http::Request<B>> for &Client
where
    B: http_body::Body + Send + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> ResponseFuture {
        let (client, request) = (Client::clone(self), request.map(body_of));
        ResponseFuture(Box::pin(async move { client.execute(request).await.map(Into::into) }))
    }
}

/// Returns the body that is sent. A body of this crate is not wrapped, so that the body can still be sent again.
fn body_of<B>(body: B) -> Body
where
    B: http_body::Body + Send + 'static,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = Some(body);
    if let Some(own) = (&mut body as &mut dyn Any).downcast_mut::<Option<Body>>() {
        return own.take().unwrap_or_default();
    }
    match body {
        Some(body) if !body.is_end_stream() => Body::wrap(body),
        _ => Body::empty(),
    }
}
