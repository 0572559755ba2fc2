//! Ways in which a connection ends during a request: the peer closes or resets it, or the transport accepts no more
//! bytes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use handclasp::{BoxError, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Peer;
use super::layer::{Layer, Layered};

/// Way in which a peer ends a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    Close,
    Reset,
}

impl Ending {
    pub fn end(self, peer: &mut Peer) -> io::Result<()> {
        match self {
            Self::Close => peer.close(),
            Self::Reset => peer.reset(),
        }
    }
}

/// Connects, calls `made`, and returns the connection only when the server has closed it or sent a byte on it.
pub async fn connect_late(address: SocketAddr, made: impl FnOnce()) -> Result<Box<dyn Transport>, BoxError> {
    let tcp = TcpStream::connect(address).await?;
    made();
    // The peek returns when the server has closed the connection or sent a byte.
    let _ = tcp.peek(&mut [0]).await;
    Ok(Box::new(tcp))
}

/// A transport that accepts `writes` writes and then `bytes` more bytes, and refuses every later write. Until a write is
/// refused, a look finds the connection alive.
pub struct Mute {
    tcp: TcpStream,
    writes: usize,
    bytes: usize,
    ending: Ending,
    is_dead: bool,
}

impl Mute {
    pub fn new(tcp: TcpStream, writes: usize) -> Self {
        Self { tcp, writes, bytes: 0, ending: Ending::Close, is_dead: false }
    }

    /// Lets the transport accept `bytes` more bytes after its last whole write.
    pub fn after(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Makes the refused writes fail as if the peer had ended the connection with `ending`.
    pub fn by(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Returns the transport as a connector gives it to the client.
    pub fn boxed(self) -> Box<dyn Transport> {
        Layered::boxed(self)
    }
}

impl Layer for Mute {
    type Below = TcpStream;

    fn below(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    fn fails_untouched(&self) -> bool {
        true
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match (self.is_dead, self.ending) {
            (false, _) => Pin::new(&mut self.tcp).poll_read(cx, buf),
            (true, Ending::Close) => Poll::Ready(Ok(())),
            (true, Ending::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self;
        if this.writes > 0 {
            this.writes -= 1;
            return Pin::new(&mut this.tcp).poll_write(cx, buf);
        }
        let most = buf.len().min(this.bytes);
        if most == 0 {
            this.is_dead = true;
            return Poll::Ready(Err(match this.ending {
                Ending::Close => io::ErrorKind::BrokenPipe.into(),
                Ending::Reset => io::ErrorKind::ConnectionReset.into(),
            }));
        }
        let written = Pin::new(&mut this.tcp).poll_write(cx, &buf[..most]);
        if let Poll::Ready(Ok(written)) = written {
            this.bytes -= written;
        }
        written
    }
}
