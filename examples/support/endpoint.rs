//! A small HTTP/1.1 server on this machine for the example `tower`. The server uses hyper, on the runtime of the caller.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Starts a server on a free port of 127.0.0.1, and returns its address.
///
/// The server answers each request after `delay`: every twentieth request with 503, and all others with 200. The server does
/// not answer a request for `/stuck`.
pub(crate) async fn start(delay: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let count = count.clone();
            tokio::spawn(async move {
                let answer = service_fn(|request| answer(request, delay, &count));
                // An error is ignored because the client reports how the connection ended.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    Ok(address)
}

async fn answer(
    request: Request<Incoming>,
    delay: Duration,
    count: &AtomicUsize,
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
