//! A small HTTP/1.1 server on this machine for the example `otel`. The server uses hyper, on the runtime of the caller.
//!
//! `/orders/17` is redirected to `/orders/18`. All other paths are not found, and their connections are closed. The server
//! sends the `traceparent` of a request back in the field `x-traceparent`.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use http::header::{CONNECTION, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Starts a server on a free port of 127.0.0.1, and returns its address.
pub(crate) async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                // An error is ignored because the client reports how the connection ended.
                let _ =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let mut response = Response::new("an order\n".to_owned());
    match request.uri().path() {
        "/orders/17" => {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/orders/18"));
        }
        "/orders/18" => {}
        _ => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if let Some(context) = request.headers().get("traceparent") {
        response.headers_mut().insert("x-traceparent", context.clone());
    }
    Ok(response)
}
