//! Stand-in for TLS when the feature `rustls` is off. The stand-in refuses https.
//!
//! This file exports the same names as the real `tls` module. Invariant: no value of [`TlsStream`] exists.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Carrier;
use super::info::{Generation, TlsInfo};
use crate::connect::early::FirstBytes;
use crate::connect::stream::Look;
use crate::connect::{DialError, Scope, Via};
use crate::error::Error;

/// Settings of TLS. This stand-in has no settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub(crate) struct TlsConfig {}

/// TLS of one client, which refuses https.
#[derive(Debug)]
pub(crate) struct Tls;

/// A configuration, which [`Tls::load`] never returns.
#[derive(Clone)]
pub(crate) struct Loaded(Infallible);

/// Result of a handshake, which [`Loaded::handshake`] never returns.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream,
    pub(crate) info: Arc<TlsInfo>,
}

/// A handshake without a connection, which [`Loaded::begin`] never returns.
pub(crate) struct Begun(Infallible);

impl Begun {
    pub(crate) fn first(&self) -> &FirstBytes {
        match self.0 {}
    }
}

/// A TLS stream. No value of this type exists.
pub(crate) struct TlsStream(Infallible);

impl TlsConfig {
    #[allow(clippy::unused_self, reason = "as in settings.rs")]
    pub(crate) fn generation(&self) -> Option<Generation> {
        None
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as in settings.rs")]
    pub(crate) fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Returns `None`, because there are no alerts without TLS.
pub(crate) fn client_refused(_: &io::Error) -> Option<&'static str> {
    None
}

impl Tls {
    pub(crate) fn new(_: TlsConfig) -> Self {
        Self
    }

    #[allow(clippy::unused_async, reason = "as in config.rs")]
    pub(crate) async fn load(&self) -> Result<Loaded, DialError> {
        let message = "this program was built without TLS: enable the feature rustls to use https";
        Err(DialError::tls(message.into(), Scope::Host))
    }
}

impl Loaded {
    pub(crate) fn isolated(self, _tag: Option<&Arc<str>>, _: &Via) -> Self {
        match self.0 {}
    }

    #[cfg(feature = "proxy")]
    pub(crate) fn without_sessions(self) -> Self {
        match self.0 {}
    }

    #[allow(clippy::unused_async, reason = "as in config.rs")]
    pub(crate) async fn handshake(&self, _host: &str, _: impl Into<Carrier>) -> Result<Secured, DialError> {
        match self.0 {}
    }
}

impl Loaded {
    pub(crate) fn begin(&self, _: &str) -> Result<Begun, DialError> {
        match self.0 {}
    }

    #[allow(clippy::unused_async, reason = "as in config.rs")]
    pub(crate) async fn go_on(&self, _: Begun, _: usize, _: TcpStream) -> Result<Secured, DialError> {
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
