//! The stream that carries TLS: a TCP socket, a unix socket, or the TLS connection with a proxy, inside which TLS with
//! the origin runs.
//!
//! This file knows no records. Invariant: a read that must not wait makes a system call on the TCP socket.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::TlsStream;
use crate::connect::stream::{Look, close};

/// Stream that carries TLS.
pub(crate) enum Carrier {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// TLS with a proxy.
    Tls(Box<TlsStream>),
}

impl Carrier {
    /// Reads without waiting. Returns [`io::ErrorKind::WouldBlock`] if no byte has arrived.
    #[cfg_attr(not(feature = "rustls"), allow(dead_code, reason = "there is no TLS"))]
    pub(super) fn read_now(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => (&*SockRef::from(&*tcp)).read(room),
            #[cfg(unix)]
            Self::Unix(unix) => (&*SockRef::from(&*unix)).read(room),
            Self::Tls(tls) => match tls.look() {
                Look::Closed => Ok(0),
                Look::Silent => Err(io::ErrorKind::WouldBlock.into()),
                Look::Spoke => match tls.read_now(room) {
                    // Only a part of a record has arrived, which may be the start of plaintext. The error makes the
                    // look report a closed connection.
                    0 => Err(io::ErrorKind::InvalidData.into()),
                    read => Ok(read),
                },
            },
        }
    }

    /// Tries to write `last` without waiting, and closes the stream.
    #[cfg_attr(not(feature = "rustls"), allow(dead_code, reason = "there is no TLS"))]
    pub(super) fn close_after(&mut self, last: &[u8]) {
        match self {
            Self::Tcp(tcp) => {
                if !last.is_empty() {
                    // The write goes through tokio instead of `socket2`, because tokio asks the system not to raise
                    // SIGPIPE.
                    let _ = tcp.try_write(last);
                }
                close(&SockRef::from(&*tcp));
            }
            #[cfg(unix)]
            Self::Unix(unix) => {
                if !last.is_empty() {
                    let _ = unix.try_write(last);
                }
                close(&SockRef::from(&*unix));
            }
            Self::Tls(tls) => {
                if !last.is_empty() {
                    let mut cx = Context::from_waker(std::task::Waker::noop());
                    let _ = Pin::new(&mut **tls).poll_write(&mut cx, last);
                }
                tls.close();
            }
        }
    }
}

impl From<TcpStream> for Carrier {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Carrier {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

impl From<TlsStream> for Carrier {
    fn from(tls: TlsStream) -> Self {
        Self::Tls(Box::new(tls))
    }
}

impl AsyncRead for Carrier {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Carrier {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}
