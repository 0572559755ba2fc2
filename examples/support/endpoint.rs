//! The server of the example `tower`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

#[path = "served.rs"]
mod served;

/// Starts a server on a free port of 127.0.0.1, and returns its address.
///
/// The server answers each request after `delay`: every twentieth request with 503, and all others with 200. The server does
/// not answer a request for `/stuck`.
pub(crate) async fn start(delay: Duration) -> io::Result<SocketAddr> {
    let count = Arc::new(AtomicUsize::new(0));
    served::start(move |request| answer(request, delay, count.clone())).await
}

async fn answer(
    request: Request<Incoming>,
    delay: Duration,
    count: Arc<AtomicUsize>,
) -> Result<Response<String>, Infallible> {
    if request.uri().path() == "/stuck" {
        std::future::pending::<()>().await;
    }
    let is_refused = count.fetch_add(1, Ordering::Relaxed) % 20 == 19;
    tokio::time::sleep(delay).await;
    let mut response = Response::new("an order\n".to_owned());
    if is_refused {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
