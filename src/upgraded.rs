//! A connection that speaks another protocol from here on: after an upgrade, or through a proxy's CONNECT.
//!
//! It knows no HTTP any more. Invariants: bytes that came with the response's head are read first; the connection
//! counts against the pool's limits until it is dropped, and never carries a request again.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connect::Stream;
use crate::error::Error;
use crate::pool::lease::Lease;
use crate::pool::{ConnectionInfo, Direction, DropReason};

/// A connection whose protocol was switched. See [`Response::upgrade`](crate::Response::upgrade).
///
/// It reads and writes the new protocol's bytes, over TLS where the request was https. The client's timeouts do not
/// apply to it. It counts as an active connection until it is dropped, which closes it; to end it in an orderly way,
/// shut it down first.
pub struct Upgraded {
    leftover: Bytes,
    /// `None` only while it is dropped.
    lease: Option<Lease>,
    connection: ConnectionInfo,
}

impl Upgraded {
    pub(crate) fn new(mut lease: Lease, leftover: Bytes, connection: ConnectionInfo) -> Self {
        // If it is to be closed, whoever polls it first learns it.
        let _ = lease.park(Direction::Read, None);
        Self { leftover, lease: Some(lease), connection }
    }

    /// Which connection it is.
    pub fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }

    /// Does something with the stream. Between two polls it lies where a shutdown of the pool can close it.
    fn poll_stream<T>(
        &mut self,
        direction: Direction,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, Error::SHUTDOWN);
        let lease = self.lease.as_mut().ok_or_else(gone)?;
        lease.resume().map_err(|_| gone())?;
        let polled = poll(Pin::new(&mut lease.conn().stream), cx);
        let waits = polled.is_pending().then_some(cx);
        match lease.park(direction, waits) {
            Ok(()) => polled,
            Err(_) if polled.is_ready() => polled,
            Err(_) => Poll::Ready(Err(gone())),
        }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.leftover.is_empty() {
            return self.poll_stream(Direction::Read, cx, |stream, cx| stream.poll_read(cx, buf));
        }
        let size = self.leftover.len().min(buf.remaining());
        buf.put_slice(&self.leftover[..size]);
        self.leftover.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_stream(Direction::Write, cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_stream(Direction::Write, cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_stream(Direction::Write, cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_stream(Direction::Write, cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.bury(DropReason::Upgraded);
        }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("connection", &self.connection)
            .field("leftover", &self.leftover.len())
            .finish_non_exhaustive()
    }
}
