//! What a connection is made of: bytes in both directions, a look at what is there, and a close that waits for
//! nothing.
//!
//! Knows nothing of pools, and of HTTP only how the codec classifies unsolicited bytes. Invariant: a look makes a
//! system call and never believes the reactor. After a peer's FIN has arrived but before the runtime has polled its
//! reactor, tokio's cached readiness still says that there is nothing to read.

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls::TlsStream;
use crate::codec::{MOST_LINE_ENDS, Unasked};

/// What a look at an idle connection sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "these three decide whether a connection may be used; there is no fourth"
)]
pub enum Look {
    /// Nothing: the connection is open as far as can be known, and no byte waits to be read.
    Silent,
    /// The peer has closed it, or it has failed.
    Closed,
    /// There are bytes that nobody asked for: what they belong to is unknown, so it must not be used, unless they turn out
    /// to be line ends alone.
    Spoke,
}

/// A connection that a custom connector made.
///
/// Reading and writing are as tokio defines them: what a write took may wait inside until `poll_flush`.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// What is there right now, without blocking, and past any cached readiness: the answer decides whether a
    /// request is written to this connection after it was idle.
    ///
    /// Bytes that are of no meaning to the reader, as TLS session tickets, may be taken in. Where it answers
    /// [`Spoke`](Look::Spoke), the bytes are read next, by [`read_now`](Self::read_now): line ends alone are discarded, and
    /// it is asked again.
    fn look(&mut self) -> Look;

    /// Reads what a look has found, without blocking, and past any cached readiness where that is possible. Returns how
    /// many bytes of `room` were filled. If nothing can be read at once, the connection counts as one that spoke.
    ///
    /// The default polls once and wakes nobody. What reads a tokio socket that way may find nothing, although bytes have
    /// arrived: the runtime has not polled its reactor since. A transport around a [`TcpStream`] asks the stream's own
    /// `read_now`, which makes a system call.
    fn read_now(&mut self, room: &mut [u8]) -> usize {
        let mut room = ReadBuf::new(room);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(self).poll_read(&mut cx, &mut room);
        room.filled().len()
    }

    /// Closes it now, as well as that can be done without blocking. It is dropped next.
    ///
    /// A panic in here, or in the drop, does not affect other connections, because the slot is released first. The panic
    /// resumes in the request or response that uses the connection. If the pool closes an idle connection, the panic is
    /// contained.
    fn close(&mut self);

    /// Whether a write that fails has taken none of the bytes that it was given, as is true of a plain socket.
    ///
    /// A transport that buffers or encrypts what it is given may have sent a part of it before the write fails. The
    /// default, `false`, says so: a request whose write failed then counts as written in part, and is sent again only
    /// if it may be sent twice.
    fn fails_untouched(&self) -> bool {
        false
    }
}

impl Transport for TcpStream {
    fn look(&mut self) -> Look {
        look(self)
    }

    fn read_now(&mut self, room: &mut [u8]) -> usize {
        read_now(self, room)
    }

    fn close(&mut self) {
        close(self);
    }

    fn fails_untouched(&self) -> bool {
        true
    }
}

/// The crate's own view of a connection.
pub(crate) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
    /// What a custom connector made.
    Other(Exclusive),
}

/// A transport of the caller's, which need not be `Sync`: it is only ever used through `&mut`.
pub(crate) struct Exclusive {
    transport: Mutex<Box<dyn Transport>>,
    is_vectored: bool,
}

impl Exclusive {
    pub(crate) fn new(transport: Box<dyn Transport>) -> Self {
        Self { is_vectored: transport.is_write_vectored(), transport: Mutex::new(transport) }
    }

    fn get(&mut self) -> &mut Box<dyn Transport> {
        self.transport.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// See [`Transport::fails_untouched`].
    pub(crate) fn fails_untouched(&mut self) -> bool {
        match self {
            Self::Tcp(_) => true,
            Self::Tls(_) => false,
            Self::Other(other) => other.get().fails_untouched(),
        }
    }

    /// See [`Transport::look`].
    pub(crate) fn look(&mut self) -> Look {
        match self {
            Self::Tcp(tcp) => look(tcp),
            Self::Tls(tls) => tls.look(),
            Self::Other(other) => other.get().look(),
        }
    }

    /// Reads what a look has found on an idle connection. Line ends alone are discarded; `line_ends` counts them over all
    /// looks at the idle connection, so that a server cannot send them without limit. A 408 counts as a close.
    #[cold]
    pub(crate) fn look_closer(&mut self, line_ends: &mut u16) -> Look {
        loop {
            let mut room = [0; 256];
            let read = self.read_now(&mut room);
            match Unasked::of(room.get(..read).unwrap_or_default()) {
                Unasked::LineEnds => {}
                Unasked::RequestTimeout => return Look::Closed,
                Unasked::Other => return Look::Spoke,
            }
            *line_ends = line_ends.saturating_add(read as u16);
            if usize::from(*line_ends) > MOST_LINE_ENDS {
                return Look::Spoke;
            }
            match self.look() {
                Look::Spoke => {}
                look => return look,
            }
        }
    }

    /// See [`Transport::read_now`].
    pub(crate) fn read_now(&mut self, room: &mut [u8]) -> usize {
        match self {
            Self::Tcp(tcp) => read_now(tcp, room),
            Self::Tls(tls) => tls.read_now(room),
            Self::Other(other) => other.get().read_now(room),
        }
    }

    /// See [`Transport::close`].
    pub(crate) fn close(&mut self) {
        match self {
            Self::Tcp(tcp) => close(tcp),
            Self::Tls(tls) => tls.close(),
            Self::Other(other) => other.get().close(),
        }
    }

    /// Looks at what is held between the socket and the reader, without a system call: silent unless TLS has read half
    /// a record, or the end, or has decrypted something that was not read yet.
    pub(crate) fn look_inside(&mut self) -> Look {
        match self {
            Self::Tcp(_) | Self::Other(_) => Look::Silent,
            Self::Tls(tls) => tls.look_inside(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(tcp) => f.debug_tuple("Tcp").field(tcp).finish(),
            Self::Tls(_) => f.write_str("Tls"),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Other(other) => Pin::new(other.get()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Other(other) => Pin::new(other.get()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Self::Other(other) => Pin::new(other.get()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
            Self::Other(other) => other.is_vectored,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Other(other) => Pin::new(other.get()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Other(other) => Pin::new(other.get()).poll_shutdown(cx),
        }
    }
}

/// Peeks at a plain socket.
fn look(tcp: &TcpStream) -> Look {
    let socket = SockRef::from(tcp);
    loop {
        match socket.peek(&mut [MaybeUninit::uninit(); 1]) {
            Ok(0) => return Look::Closed,
            Ok(_) => return Look::Spoke,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Look::Silent,
            Err(_) => return Look::Closed,
        }
    }
}

/// Reads a plain socket.
fn read_now(tcp: &TcpStream, room: &mut [u8]) -> usize {
    (&*SockRef::from(tcp)).read(room).unwrap_or_default()
}

/// Ends a socket in both directions; that it has ended already is no matter.
pub(super) fn close(tcp: &TcpStream) {
    let _ = SockRef::from(tcp).shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A connection whose reactor has once seen that there is nothing to read, and its peer.
    async fn pair() -> (Stream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(5), tcp.read_u8()).await;
        (Stream::Tcp(tcp), listener.accept().unwrap().0)
    }

    /// Blocks the runtime's only thread: whatever arrives meanwhile, the reactor does not hear of it.
    fn block() {
        std::thread::sleep(Duration::from_millis(20));
    }

    #[tokio::test]
    async fn a_silent_peer_is_silent() {
        let (mut stream, mut peer) = pair().await;
        assert_eq!((stream.look(), stream.look()), (Look::Silent, Look::Silent));
        peer.write_all(b"x").unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        assert_eq!(stream.look(), Look::Silent);
    }

    #[tokio::test]
    async fn a_fin_is_seen_past_the_reactor() {
        let (mut stream, peer) = pair().await;
        drop(peer);
        block();
        let Stream::Tcp(tcp) = &stream else { unreachable!() };
        assert_eq!(tcp.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(stream.look(), Look::Closed);
    }

    #[tokio::test]
    async fn a_reset_is_seen_past_the_reactor() {
        let (mut stream, peer) = pair().await;
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        block();
        assert_eq!(stream.look(), Look::Closed);
    }

    #[tokio::test]
    async fn a_stray_byte_is_seen_past_the_reactor_and_not_taken() {
        let (mut stream, mut peer) = pair().await;
        peer.write_all(b"HTTP/1.1 408 ").unwrap();
        block();
        assert_eq!((stream.look(), stream.look()), (Look::Spoke, Look::Spoke));
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
    }

    #[tokio::test]
    async fn a_close_reaches_the_peer_before_the_drop() {
        let (mut stream, mut peer) = pair().await;
        stream.write_all(b"bye").await.unwrap();
        stream.close();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"bye");
        assert_eq!(stream.look(), Look::Closed);
    }
}
