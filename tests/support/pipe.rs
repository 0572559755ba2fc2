//! A connection in memory that is a pipe. [`Pipe`] is the client's end, and tokio's [`DuplexStream`] is the server's
//! end.
//!
//! A pipe needs no socket, so that tests can pause tokio's clock. The server's end is an ordinary stream: a task of
//! the test reads requests from it and writes responses to it. Tests that check each write, or block writes, use
//! `lines` instead.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use handclasp::{Look, Transport};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// The client's end of a pipe.
pub struct Pipe(DuplexStream);

impl Pipe {
    /// Returns both ends of a pipe that holds this many bytes in each direction.
    pub fn pair(bytes: usize) -> (Self, DuplexStream) {
        let (near, far) = tokio::io::duplex(bytes);
        (Self(near), far)
    }

    /// Returns the client's end as a connector gives it to the client.
    pub fn boxed(self) -> Box<dyn Transport> {
        Box::new(self)
    }
}

impl Transport for Pipe {
    /// Returns what has arrived on the pipe. A pipe cannot be peeked, so this method reads a byte and discards it. The client
    /// closes a connection on which it finds a byte, so that the discarded byte is never missed.
    fn look(&mut self) -> Look {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        match Pin::new(self).poll_read(&mut Context::from_waker(Waker::noop()), &mut byte) {
            Poll::Pending => Look::Silent,
            Poll::Ready(Ok(())) if !byte.filled().is_empty() => Look::Spoke,
            Poll::Ready(_) => Look::Closed,
        }
    }

    /// Does nothing, because the client drops the pipe right after this call, and the drop ends the server's stream.
    fn close(&mut self) {}
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
