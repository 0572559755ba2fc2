//! Streams of bytes: reading, writing, a look at an idle connection, and a close that does not wait.
//!
//! This file knows nothing of pools. The only HTTP that this file knows is how the codec classifies unsolicited bytes.
//! Invariant: a look makes a system call instead of asking tokio, because after a FIN has arrived, tokio's cached
//! readiness says that no byte can be read until the runtime polls its reactor.

use std::fmt;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::early::Early;
use super::tls::TlsStream;
use crate::codec::{MOST_LINE_ENDS, Unasked};

/// Result of a look at an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a look has only these three results, and callers must handle all of them"
)]
pub enum Look {
    /// No byte waits to be read, and the connection seems to be open. The connection can be used.
    Silent,
    /// The peer has closed the connection, or the connection has failed.
    Closed,
    /// Bytes that no request asked for wait to be read. The connection must not be used, unless all bytes are line ends.
    Spoke,
}

/// A connection that a custom connector makes. The page on [testing](crate::manual::testing) has a transport in memory.
///
/// Reading and writing follow tokio's rules: bytes that a write took may stay in the transport until
/// [`poll_flush`](AsyncWrite::poll_flush). The pool calls [`look`](Self::look) to find out whether an idle connection can
/// still be used.
///
/// # Examples
///
/// A transport that counts the bytes that it reads from a TCP connection. Every method calls the method of the
/// [`TcpStream`], which is a `Transport` itself:
///
/// ```
/// use std::io;
/// use std::pin::Pin;
/// use std::task::{Context, Poll, ready};
///
/// use handclasp::{Look, Transport};
/// use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
/// use tokio::net::TcpStream;
///
/// struct Counted {
///     tcp: TcpStream,
///     read: usize,
/// }
///
/// impl Transport for Counted {
///     fn look(&mut self) -> Look {
///         self.tcp.look()
///     }
///
///     fn read_now(&mut self, buf: &mut [u8]) -> usize {
///         self.tcp.read_now(buf)
///     }
///
///     fn close(&mut self) {
///         self.tcp.close();
///     }
///
///     fn fails_untouched(&self) -> bool {
///         true
///     }
/// }
///
/// impl AsyncRead for Counted {
///     fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
///         let before = buf.filled().len();
///         ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
///         self.read += buf.filled().len() - before;
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// impl AsyncWrite for Counted {
///     fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
///         Pin::new(&mut self.tcp).poll_write(cx, buf)
///     }
///
///     fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Pin::new(&mut self.tcp).poll_flush(cx)
///     }
///
///     fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Pin::new(&mut self.tcp).poll_shutdown(cx)
///     }
/// }
/// ```
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Looks at the connection without blocking, and returns what the look found. A request is written to an idle
    /// connection only if the result is [`Silent`](Look::Silent).
    ///
    /// The look should ask the system instead of a cached readiness, because a cached readiness may be older than the
    /// peer's close.
    ///
    /// A look may read bytes that mean nothing to the user of the transport, such as TLS session tickets. After
    /// [`Spoke`](Look::Spoke), the client calls [`read_now`](Self::read_now). If all bytes are line ends, the client
    /// discards these bytes and looks again.
    fn look(&mut self) -> Look;

    /// Reads the bytes that a look has found, without blocking. Returns the number of bytes of `buf` that were filled.
    /// If the number is 0, no byte can be read at once, and the connection is not used.
    ///
    /// The default polls `poll_read` once, with a waker that does nothing. Over a tokio socket, the poll finds no byte
    /// that arrived after the runtime's latest poll of its reactor. A transport around a [`TcpStream`] should
    /// call the stream's own `read_now`, which makes a system call.
    fn read_now(&mut self, buf: &mut [u8]) -> usize {
        let mut buf = ReadBuf::new(buf);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(self).poll_read(&mut cx, &mut buf);
        buf.filled().len()
    }

    /// Closes the connection as far as possible without blocking. The client drops the transport after this call.
    ///
    /// A panic in this method or in the drop does not affect other connections. The pool releases the connection's slot
    /// and rethrows the panic in the request or response that uses the connection. If no request uses the connection,
    /// the pool catches the panic.
    fn close(&mut self);

    /// Whether a failed write has sent none of its bytes. The answer is true for a plain socket.
    ///
    /// The default is `false`, because a transport that buffers or encrypts may have sent a part of the bytes before a
    /// write fails. With `false`, a request whose write failed counts as written in part, and is sent again only if it
    /// may be sent twice.
    fn fails_untouched(&self) -> bool {
        false
    }

    /// Returns the minimum time of one round trip to the server and back, for example the time that a TCP connection
    /// attempt took. The client calls this method once, when the connection is made.
    ///
    /// If an answer on a reused connection comes in less than half of this time, the client doubts the answer: see
    /// [`doubt_early_answers`](crate::ClientBuilder::doubt_early_answers). The default is `None`: the time is not known.
    /// If the time is not known, the client believes every answer of the host.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Returns the transport in a box. A transport that is boxed already stays in its box.
    #[doc(hidden)]
    fn boxed(self) -> Box<dyn Transport>
    where
        Self: Sized,
    {
        Box::new(self)
    }
}

impl Transport for Box<dyn Transport> {
    fn look(&mut self) -> Look {
        (**self).look()
    }

    fn read_now(&mut self, buf: &mut [u8]) -> usize {
        (**self).read_now(buf)
    }

    fn close(&mut self) {
        (**self).close();
    }

    fn fails_untouched(&self) -> bool {
        (**self).fails_untouched()
    }

    fn round_trip(&self) -> Option<Duration> {
        (**self).round_trip()
    }

    fn boxed(self) -> Box<dyn Transport> {
        self
    }
}

impl Transport for TcpStream {
    fn look(&mut self) -> Look {
        look(&SockRef::from(&*self))
    }

    fn read_now(&mut self, buf: &mut [u8]) -> usize {
        read_now(&SockRef::from(&*self), buf)
    }

    fn close(&mut self) {
        close(&SockRef::from(&*self));
    }

    fn fails_untouched(&self) -> bool {
        true
    }
}

/// Unix sockets that a custom connector returns. A client also connects to unix sockets by itself:
/// [`ClientBuilder::unix_socket`](crate::ClientBuilder::unix_socket).
#[cfg(unix)]
impl Transport for UnixStream {
    fn look(&mut self) -> Look {
        look(&SockRef::from(&*self))
    }

    fn read_now(&mut self, buf: &mut [u8]) -> usize {
        read_now(&SockRef::from(&*self), buf)
    }

    fn close(&mut self) {
        close(&SockRef::from(&*self));
    }

    fn fails_untouched(&self) -> bool {
        true
    }
}

/// Stream of a connection.
pub(crate) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A plain unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// Plain TCP whose SYN carried the first bytes of a request. Boxed because this variant is rare: keeps the stream
    /// small.
    Early(Box<Early>),
    /// TLS over TCP or over a unix socket.
    Tls(Box<TlsStream>),
    /// Transport of a custom connector.
    Other(Exclusive),
}

/// Transport of a custom connector. The transport need not be `Sync`, because the mutex is only used through `&mut`.
pub(crate) struct Exclusive {
    transport: Mutex<Box<dyn Transport>>,
    /// Whether the transport supports vectored writes. The answer is stored because a `&self` method cannot ask through
    /// the mutex.
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
    /// Whether a failed write has sent none of its bytes: see [`Transport::fails_untouched`].
    pub(crate) fn fails_untouched(&mut self) -> bool {
        match self {
            Self::Tcp(_) | Self::Early(_) => true,
            #[cfg(unix)]
            Self::Unix(_) => true,
            Self::Tls(_) => false,
            Self::Other(other) => other.get().fails_untouched(),
        }
    }

    /// Looks at the connection; see [`Transport::look`].
    pub(crate) fn look(&mut self) -> Look {
        match self {
            Self::Tcp(tcp) => look(&SockRef::from(&*tcp)),
            #[cfg(unix)]
            Self::Unix(unix) => look(&SockRef::from(&*unix)),
            // The answer may have arrived before the request is written.
            Self::Early(early) if early.is_unclaimed() => Look::Silent,
            Self::Early(early) => look(&SockRef::from(&early.tcp)),
            Self::Tls(tls) => tls.look(),
            Self::Other(other) => other.get().look(),
        }
    }

    /// Reads the bytes that a look has found on an idle connection. Discards line ends. `line_ends` counts the
    /// discarded bytes of all looks at the idle connection, so that a server cannot send line ends without limit. A 408
    /// response counts as a close.
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

    /// Reads the bytes that a look has found; see [`Transport::read_now`].
    pub(crate) fn read_now(&mut self, room: &mut [u8]) -> usize {
        match self {
            Self::Tcp(tcp) => read_now(&SockRef::from(&*tcp), room),
            #[cfg(unix)]
            Self::Unix(unix) => read_now(&SockRef::from(&*unix), room),
            Self::Early(early) => read_now(&SockRef::from(&early.tcp), room),
            Self::Tls(tls) => tls.read_now(room),
            Self::Other(other) => other.get().read_now(room),
        }
    }

    /// Closes the connection; see [`Transport::close`].
    pub(crate) fn close(&mut self) {
        match self {
            Self::Tcp(tcp) => close(&SockRef::from(&*tcp)),
            #[cfg(unix)]
            Self::Unix(unix) => close(&SockRef::from(&*unix)),
            Self::Early(early) => close(&SockRef::from(&early.tcp)),
            Self::Tls(tls) => tls.close(),
            Self::Other(other) => other.get().close(),
        }
    }

    /// Looks at the buffers between the socket and the reader, without a system call. Returns [`Look::Silent`], unless
    /// TLS has read a part of a record or the peer's close, or holds plaintext that was not read.
    pub(crate) fn look_inside(&mut self) -> Look {
        match self {
            Self::Tcp(_) | Self::Early(_) | Self::Other(_) => Look::Silent,
            #[cfg(unix)]
            Self::Unix(_) => Look::Silent,
            Self::Tls(tls) => tls.look_inside(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(tcp) => f.debug_tuple("Tcp").field(tcp).finish(),
            #[cfg(unix)]
            Self::Unix(unix) => f.debug_tuple("Unix").field(unix).finish(),
            // The bytes that were sent may be secrets.
            Self::Early(early) => f.debug_tuple("Early").field(&early.tcp).finish(),
            Self::Tls(_) => f.write_str("Tls"),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Early(early) => Pin::new(&mut early.tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Other(other) => Pin::new(other.get()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Self::Early(early) if early.is_unclaimed() => Poll::Ready(early.claim(buf)),
            Self::Early(early) => Pin::new(&mut early.tcp).poll_write(cx, buf),
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
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
            Self::Early(early) if early.is_unclaimed() => {
                Poll::Ready(early.claim(bufs.first().map_or(&[], |first| first)))
            }
            Self::Early(early) => Pin::new(&mut early.tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Self::Other(other) => Pin::new(other.get()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            #[cfg(unix)]
            Self::Unix(unix) => unix.is_write_vectored(),
            Self::Early(early) => early.tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
            Self::Other(other) => other.is_vectored,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Self::Early(early) => Pin::new(&mut early.tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Other(other) => Pin::new(other.get()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Early(early) => Pin::new(&mut early.tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Other(other) => Pin::new(other.get()).poll_shutdown(cx),
        }
    }
}

/// Looks at a plain socket by a peek.
#[inline]
fn look(socket: &SockRef<'_>) -> Look {
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

/// Reads a plain socket by a system call. Returns 0 if nothing can be read.
fn read_now(socket: &SockRef<'_>, buf: &mut [u8]) -> usize {
    (&**socket).read(buf).unwrap_or_default()
}

/// Shuts a socket down in both directions. An error is ignored, because an error means that the socket is closed already.
pub(super) fn close(socket: &SockRef<'_>) {
    let _ = socket.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Returns both ends of a connection. The reactor of the first end has found once that no byte can be read.
    async fn pair() -> (Stream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(5), tcp.read_u8()).await;
        (Stream::Tcp(tcp), listener.accept().unwrap().0)
    }

    /// Blocks the runtime's only thread, so that the reactor does not notice bytes that arrive during the sleep.
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
    async fn a_stray_byte_is_seen_past_the_reactor_and_not_read() {
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

    /// The look at a unix socket has the same results as the look at a TCP socket.
    #[cfg(unix)]
    #[tokio::test]
    async fn the_look_at_a_unix_socket_is_a_peek() {
        /// Returns both ends. The reactor of the first end has found once that no byte can be read.
        async fn pair() -> (Stream, std::os::unix::net::UnixStream) {
            let (own, peer) = UnixStream::pair().unwrap();
            let peer = peer.into_std().unwrap();
            peer.set_nonblocking(false).unwrap();
            let mut own = Stream::Unix(own);
            let _ = tokio::time::timeout(Duration::from_millis(5), own.read_u8()).await;
            (own, peer)
        }

        let (mut stream, mut peer) = pair().await;
        assert_eq!((stream.look(), stream.look()), (Look::Silent, Look::Silent));
        peer.write_all(b"xy").unwrap();
        assert_eq!((stream.look(), stream.look()), (Look::Spoke, Look::Spoke), "a peek reads nothing");
        assert_eq!((stream.read_now(&mut [0; 1]), stream.read_u8().await.unwrap()), (1, b'y'));
        assert_eq!((stream.look(), stream.read_now(&mut [0; 1])), (Look::Silent, 0));

        let (mut stream, peer) = pair().await;
        drop(peer);
        let Stream::Unix(unix) = &stream else { unreachable!() };
        assert_eq!(
            unix.try_read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "the reactor is late"
        );
        assert_eq!(stream.look(), Look::Closed);

        // A peer that closes with unread bytes resets the connection.
        let (mut stream, peer) = pair().await;
        stream.write_all(b"x").await.unwrap();
        drop(peer);
        assert_eq!(stream.look(), Look::Closed);

        let (mut stream, mut peer) = pair().await;
        stream.write_all(b"bye").await.unwrap();
        stream.close();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!((&*all, stream.look()), (&b"bye"[..], Look::Closed));
        assert!(stream.fails_untouched() && stream.look_inside() == Look::Silent);
    }
}
