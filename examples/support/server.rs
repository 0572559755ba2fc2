//! An HTTP/1.1 server on this machine for the examples. The server uses hyper, on a thread and a runtime of its own.
//!
//! The server has these paths: `/hello`, `/bytes/N` (N bytes with a Content-Length), `/chunked/N` (N bytes in chunks),
//! `/slow/MS` (an answer after MS milliseconds, with a `Server-Timing` field), and `/echo` (the content of the
//! request).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port of 127.0.0.1. The server speaks https if `tls` is given, otherwise http.
    #[allow(dead_code, reason = "some examples use `start_at`")]
    pub(crate) fn start(tls: Option<TlsAcceptor>) -> io::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, tls)
    }

    /// Starts a server on a free port of `address`. The server speaks https if `tls` is given, otherwise http.
    pub(crate) fn start_at(address: Ipv4Addr, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind((address, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the runtime has an I/O driver");
                tokio::select! {
                    () = accept(listener, tls) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("server".into()).spawn(serve)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has already reported a panic of the server thread.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        match tls.clone() {
            None => drop(tokio::spawn(serve(stream))),
            Some(tls) => drop(tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream).await;
                }
            })),
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    // An error is ignored because the client reports how the connection ended.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Content>, Infallible> {
    let path = request.uri().path().to_owned();
    let (route, number) = match path[1..].split_once('/') {
        Some((route, number)) => (route, number.parse().ok()),
        None => (&path[1..], None),
    };
    Ok(Response::new(match (route, number) {
        ("hello", None) => Content::new("hello, world\n"),
        ("bytes", Some(size)) => Content::filler(size, true),
        ("chunked", Some(size)) => Content::filler(size, false),
        ("slow", Some(ms)) => {
            let started = Instant::now();
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let worked = format!("sleep;dur={:.3}", started.elapsed().as_secs_f64() * 1e3);
            let mut response = Response::new(Content::new("here at last\n"));
            response.headers_mut().extend(worked.parse().map(|worked| (SERVER_TIMING, worked)));
            return Ok(response);
        }
        ("echo", None) => match Limited::new(request.into_body(), ECHO_LIMIT).collect().await {
            Ok(body) => Content::new(body.to_bytes()),
            Err(_) => return Ok(status(StatusCode::PAYLOAD_TOO_LARGE)),
        },
        _ => return Ok(status(StatusCode::NOT_FOUND)),
    }))
}

fn status(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Content::new(format!("{status}\n")));
    *response.status_mut() = status;
    response
}

/// A body that repeats one piece until `left` bytes have been sent.
struct Content {
    piece: Bytes,
    left: u64,
    is_sized: bool,
}

impl Content {
    fn new(bytes: impl Into<Bytes>) -> Self {
        let piece = bytes.into();
        Self { left: piece.len() as u64, piece, is_sized: true }
    }

    fn filler(size: u64, is_sized: bool) -> Self {
        Self { piece: Bytes::from_static(&FILLER), left: size, is_sized }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.piece.len());
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(self.piece.slice(..length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_sized { SizeHint::with_exact(self.left) } else { SizeHint::default() }
    }
}

static FILLER: [u8; 16 * 1024] = [b'.'; 16 * 1024];
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const ECHO_LIMIT: usize = 16 << 20;
