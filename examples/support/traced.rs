//! The server of the example `otel`.
//!
//! `/orders/17` is redirected to `/orders/18`. All other paths are not found, and their connections are closed. The server
//! sends the `traceparent` of a request back in the field `x-traceparent`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use http::header::{CONNECTION, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

#[path = "served.rs"]
mod served;

/// Starts a server on a free port of 127.0.0.1, and returns its address.
pub(crate) async fn start() -> io::Result<SocketAddr> {
    served::start(answer).await
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
