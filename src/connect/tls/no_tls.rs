//! What stands where TLS would be, when it is not compiled in: it refuses https.
//!
//! The same names as `tls.rs`, so that nobody else has to ask. Invariant: no value of [`TlsStream`] exists.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connect::stream::Look;
use crate::connect::{DialError, Scope};

/// There is nothing to configure.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub(crate) struct TlsConfig {}

/// What refuses https.
#[derive(Debug)]
pub(crate) struct Tls;

/// What [`Tls::load`] never gives.
pub(crate) struct Loaded(Infallible);

/// What [`Loaded::handshake`] never gives.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream,
    pub(crate) version: &'static str,
    pub(crate) is_resumed: bool,
}

/// A stream that cannot be.
pub(crate) struct TlsStream(Infallible);

impl Tls {
    pub(crate) fn new(_: TlsConfig) -> Self {
        Self
    }

    #[allow(clippy::unused_async, reason = "as in tls.rs")]
    pub(crate) async fn load(&self) -> Result<Loaded, DialError> {
        let message = "https needs the feature rustls: this program was built without TLS";
        Err(DialError::tls(message.into(), Scope::Host))
    }
}

impl Loaded {
    pub(crate) fn isolated(self) -> Self {
        match self.0 {}
    }

    #[allow(clippy::unused_async, reason = "as in tls.rs")]
    pub(crate) async fn handshake(&self, _host: &str, _tcp: TcpStream) -> Result<Secured, DialError> {
        match self.0 {}
    }
}

impl TlsStream {
    pub(crate) fn look(&mut self) -> Look {
        match self.0 {}
    }

    pub(crate) fn close(&mut self) {
        match self.0 {}
    }

    pub(crate) fn read_now(&mut self, _: &mut [u8]) -> usize {
        match self.0 {}
    }

    pub(crate) fn look_inside(&mut self) -> Look {
        match self.0 {}
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
