//! TLS over TCP, with a look that sees through it.
//!
//! Knows nothing of configuration or certificates: the handshake is over. A plain peek is not enough here: what
//! waits on the socket may be a session ticket, which means nothing, or the end of the connection, so the look takes
//! records in through rustls. Half a record stays invisible in rustls; a [`Meter`] below it counts. Invariant: a
//! stream that looked silent has no plaintext buffered, no alert received, and stands between two records.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client;

use super::stream::{Look, close};

/// A connection inside TLS.
pub(crate) struct TlsStream {
    tls: client::TlsStream<Metered>,
}

impl TlsStream {
    pub(super) fn new(tls: client::TlsStream<Metered>) -> Self {
        Self { tls }
    }

    /// See [`super::Transport::look`]. What rustls wants to say in answer goes out with the next write.
    pub(crate) fn look(&mut self) -> Look {
        let (metered, tls) = self.tls.get_mut();
        for _ in 0..MAX_READS_PER_LOOK {
            match tls.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => return Look::Spoke,
                Ok(state) if state.peer_has_closed() => return Look::Closed,
                Ok(_) => {}
                Err(_) => return Look::Closed,
            }
            match tls.read_tls(&mut Raw(metered)) {
                Ok(0) => return Look::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if metered.meter.is_between_records() { Look::Silent } else { Look::Spoke };
                }
                Err(_) => return Look::Closed,
            }
        }
        Look::Spoke
    }

    /// Says goodbye once, if the socket takes it at once, and ends the connection.
    pub(crate) fn close(&mut self) {
        let (metered, tls) = self.tls.get_mut();
        tls.send_close_notify();
        let _ = tls.write_tls(&mut Raw(metered));
        close(&metered.tcp);
    }

    /// See [`super::Stream::is_settled`].
    pub(crate) fn is_settled(&self) -> bool {
        let (metered, tls) = self.tls.get_ref();
        // After the handshake, rustls wants to read unless plaintext is buffered or the peer has closed.
        metered.meter.is_between_records() && tls.wants_read()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
    }
}

/// A socket below TLS: all bytes read from it pass the meter.
#[derive(Debug)]
pub(crate) struct Metered {
    tcp: TcpStream,
    meter: Meter,
}

impl Metered {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, meter: Meter::default() }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.tcp).poll_read(cx, buf);
        this.meter.pass(buf.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The same socket without a task to wake: it reads what is there, past the reactor, and writes what fits.
struct Raw<'a>(&'a mut Metered);

impl Read for Raw<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = (&*SockRef::from(&self.0.tcp)).read(buf)?;
        self.0.meter.pass(buf.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl Write for Raw<'_> {
    /// By tokio, which, unlike `socket2`, asks the system not to raise SIGPIPE.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.tcp.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Walks the headers of TLS records: type, version (two bytes), length (two bytes), then so many bytes.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes of the current header seen: `0 <= header < HEADER`.
    header: u8,
    /// The length so far, while its two bytes are seen; then the bytes of the record that are to come.
    left: u16,
}

impl Meter {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.header == 0 && self.left > 0 {
                let body = bytes.len().min(self.left.into());
                self.left -= u16::try_from(body).unwrap_or(self.left);
                bytes = bytes.get(body..).unwrap_or_default();
                continue;
            }
            match self.header {
                0..3 => self.header += 1,
                3 => {
                    self.left = u16::from(byte) << 8;
                    self.header += 1;
                }
                _ => {
                    self.left |= u16::from(byte);
                    self.header = 0;
                }
            }
            bytes = rest;
        }
    }

    fn is_between_records(&self) -> bool {
        self.header == 0 && self.left == 0
    }
}

/// A look at a peer that never stops sending must end. Each read takes up to 4 KiB; a server's tickets are one.
const MAX_READS_PER_LOOK: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::server;

    use super::super::tls::tests::{Authority, connect};
    use super::*;

    /// A connection over which a request and a response went, and its server.
    async fn used() -> (TlsStream, server::TlsStream<TcpStream>) {
        let authority = Authority::new();
        let (client, server) = connect(&authority, authority.server(&["localhost"]), "localhost").await;
        let (mut client, mut server) = (client.unwrap().stream, server.unwrap());
        client.write_all(b"ping").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
        (client, server)
    }

    /// Blocks the runtime's only thread: whatever arrives meanwhile, the reactor does not hear of it.
    fn block() {
        std::thread::sleep(Duration::from_millis(20));
    }

    fn send_raw(server: &server::TlsStream<TcpStream>, bytes: &[u8]) {
        server.get_ref().0.try_write(bytes).unwrap();
    }

    #[tokio::test]
    async fn session_tickets_are_silence_and_the_stream_lives_on() {
        let authority = Authority::new();
        let (client, server) = connect(&authority, authority.server(&["localhost"]), "localhost").await;
        let (mut client, mut server) = (client.unwrap().stream, server.unwrap());
        server.flush().await.unwrap();
        block();
        assert_ne!(
            SockRef::from(&client.tls.get_ref().0.tcp).peek(&mut [std::mem::MaybeUninit::uninit()]).unwrap(),
            0
        );
        assert_eq!((client.look(), client.look()), (Look::Silent, Look::Silent));
        assert!(client.is_settled());
        server.write_all(b"ok").await.unwrap();
        server.flush().await.unwrap();
        let mut both = [0; 2];
        client.read_exact(&mut both).await.unwrap();
        assert_eq!(&both, b"ok");
        assert_eq!(client.look(), Look::Silent);
    }

    #[tokio::test]
    async fn a_stray_record_is_seen() {
        let (mut client, mut server) = used().await;
        assert_eq!(client.look(), Look::Silent);
        server.write_all(b"stray").await.unwrap();
        server.flush().await.unwrap();
        block();
        assert_eq!((client.look(), client.look()), (Look::Spoke, Look::Spoke));
        assert!(!client.is_settled());
    }

    #[tokio::test]
    async fn half_a_record_is_seen() {
        let (mut client, server) = used().await;
        send_raw(&server, &[23, 3, 3, 0, 100, 1, 2, 3]);
        block();
        assert_eq!((client.look(), client.look()), (Look::Spoke, Look::Spoke));
        assert!(!client.is_settled());
    }

    #[tokio::test]
    async fn half_a_header_is_seen() {
        let (mut client, server) = used().await;
        send_raw(&server, &[23]);
        block();
        assert_eq!(client.look(), Look::Spoke);
    }

    #[tokio::test]
    async fn a_record_that_does_not_decrypt_is_the_end() {
        let (mut client, server) = used().await;
        send_raw(&server, &[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
        block();
        assert_eq!((client.look(), client.look()), (Look::Closed, Look::Closed));
    }

    #[tokio::test]
    async fn a_goodbye_is_seen() {
        let (mut client, mut server) = used().await;
        server.get_mut().1.send_close_notify();
        server.flush().await.unwrap();
        block();
        assert_eq!((client.look(), client.look()), (Look::Closed, Look::Closed));
        assert!(!client.is_settled());
    }

    #[tokio::test]
    async fn a_fin_without_goodbye_is_seen() {
        let (mut client, server) = used().await;
        drop(server);
        block();
        assert_eq!(client.look(), Look::Closed);
    }

    #[tokio::test]
    async fn unread_plaintext_is_not_settled() {
        let (mut client, mut server) = used().await;
        server.write_all(b"four").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'f');
        assert!(!client.is_settled());
        assert_eq!(client.look(), Look::Spoke);
        client.read_exact(&mut [0; 3]).await.unwrap();
        assert!(client.is_settled());
    }

    #[tokio::test]
    async fn a_close_says_goodbye() {
        let (mut client, mut server) = used().await;
        client.close();
        // Without the goodbye, rustls reports the end as an unexpected one.
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn the_meter_gives_the_same_answer_however_the_bytes_arrive() {
        let mut bytes = vec![22, 3, 3, 1, 2];
        bytes.extend([7; 0x102]);
        bytes.extend([23, 3, 3, 0, 0, 21, 3, 3, 0, 2, 1, 0]);
        let ends = [0, 5 + 0x102, 5 + 0x102 + 5, bytes.len()];
        for chunk in [1, 2, 3, 7, bytes.len()] {
            let mut meter = Meter::default();
            let mut passed = 0;
            for part in bytes.chunks(chunk) {
                meter.pass(part);
                passed += part.len();
                assert_eq!(
                    meter.is_between_records(),
                    ends.contains(&passed),
                    "{passed} in chunks of {chunk}"
                );
            }
        }
    }
}
