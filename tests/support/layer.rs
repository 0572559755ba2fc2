//! A transport that wraps another transport and changes single methods, for tests.
//!
//! Implement [`Layer`] for a type that owns a transport. The methods that the type does not implement itself call
//! the wrapped transport. [`Layered`] around the type is then a [`Transport`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use handclasp::{Look, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub trait Layer: Send + Unpin + 'static {
    type Below: Transport + Unpin;

    /// Returns the wrapped transport.
    fn below(&mut self) -> &mut Self::Below;

    fn look(&mut self) -> Look {
        self.below().look()
    }

    fn close(&mut self) {
        self.below().close();
    }

    fn fails_untouched(&self) -> bool {
        false
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.below()).poll_read(cx, buf)
    }

    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.below()).poll_write(cx, buf)
    }

    /// Writes the first buffer that is not empty. A layer can override this default.
    fn write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.write(cx, first.map_or(&[], |buf| &**buf))
    }

    fn is_write_vectored(&self) -> bool {
        false
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.below()).poll_flush(cx)
    }

    fn shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.below()).poll_shutdown(cx)
    }
}

/// Transport whose methods call those of a [`Layer`].
pub struct Layered<L>(pub L);

impl<L: Layer> Layered<L> {
    /// Returns the layer as a connector gives it to the client.
    pub fn boxed(layer: L) -> Box<dyn Transport> {
        Box::new(Self(layer))
    }
}

impl<L: Layer> Transport for Layered<L> {
    fn look(&mut self) -> Look {
        self.0.look()
    }

    fn close(&mut self) {
        self.0.close();
    }

    fn fails_untouched(&self) -> bool {
        self.0.fails_untouched()
    }
}

impl<L: Layer> AsyncRead for Layered<L> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.read(cx, buf)
    }
}

impl<L: Layer> AsyncWrite for Layered<L> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown(cx)
    }
}

/// A transport whose peer accepts every byte and never sends one. Layers that need no real connection wrap a `Silence`.
pub struct Silence;

impl Transport for Silence {
    fn look(&mut self) -> Look {
        Look::Silent
    }

    fn close(&mut self) {}
}

impl AsyncRead for Silence {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Silence {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
