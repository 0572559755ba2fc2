//! A connection that carries another protocol after an upgrade or after CONNECT.
//!
//! This module knows no HTTP. Invariants: bytes that arrived with the response's head are read first. The connection
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

/// A connection on which the server switched protocols. [`Response::upgrade`](crate::Response::upgrade) returns this
/// type.
///
/// This type reads and writes bytes of the new protocol, over TLS if the request was https. The client's timeouts do
/// not apply to the connection. The connection counts as active until this value is dropped. Dropping the value
/// closes the connection. For an orderly end, call [`shutdown`](tokio::io::AsyncWriteExt::shutdown) before the drop.
///
/// ```no_run
/// # async fn example(response: handclasp::Response) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut connection = response.upgrade().await?;
/// connection.write_all(b"hello").await?;
/// let mut answer = [0; 5];
/// connection.read_exact(&mut answer).await?;
/// connection.shutdown().await?;
/// # Ok(())
/// # }
/// ```
pub struct Upgraded {
    /// Bytes that arrived with the response's head and have not been read.
    leftover: Bytes,
    /// The lease of the connection. `None` only while this value is dropped.
    lease: Option<Lease>,
    connection: ConnectionInfo,
}

impl Upgraded {
    /// Takes over a connection.
    pub(crate) fn new(mut lease: Lease, leftover: Bytes, connection: ConnectionInfo) -> Self {
        lease.end_reservation(DropReason::Upgraded, None);
        // If the pool is shut down, the first poll returns the error.
        let _ = lease.park(Direction::Read, None);
        Self { leftover, lease: Some(lease), connection }
    }

    /// Returns the connection's id, addresses and age.
    pub fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }

    /// Polls the stream. If the poll is pending, parks the connection so that a shutdown of the pool can close the
    /// connection.
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
