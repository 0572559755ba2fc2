//! An HTTP/1.1 server on this machine for the examples `otel` and `tower`. The server uses hyper, on the runtime of the
//! caller.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Starts a server on a free port of 127.0.0.1, and returns its address. The server answers each request by `answer`.
pub(crate) async fn start<F>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> io::Result<SocketAddr>
where
    F: Future<Output = Result<Response<String>, Infallible>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
            // An error is ignored because the client reports how the connection ended.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok(address)
}
