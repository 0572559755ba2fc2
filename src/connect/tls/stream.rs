//! A TLS connection over TCP, or over TLS with a proxy. Its look reads the TLS records.
//!
//! A peek at the socket is not enough for TLS: the bytes that wait on the socket may be a session ticket, which a look
//! ignores, or the end of the connection. The look therefore reads and processes the bytes that have arrived.
//! Invariants: a stream that looked silent has no plaintext buffered, has received no alert, and is between two
//! records. A stream on which no request was written may be inside a record. Such a stream owns no buffer, unless the
//! peer left a message unfinished. This file knows nothing of configuration, certificates or records.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Carrier;
use super::records::{Known, Records};
use crate::connect::stream::Look;

/// TLS connection over TCP, or over TLS with a proxy.
pub(crate) struct TlsStream {
    carrier: Carrier,
    records: Records,
}

impl TlsStream {
    /// Makes the TLS handshake over `carrier` and returns the stream. If the handshake fails, an alert is sent to the peer,
    /// and the error wraps the error of rustls.
    pub(super) async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        carrier: Carrier,
    ) -> io::Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::shake_hands(Records::new(tls), carrier).await
    }

    /// Makes the TLS handshake of `records` over `carrier`: see [`connect`](Self::connect).
    pub(super) async fn shake_hands(mut records: Records, mut carrier: Carrier) -> io::Result<Self> {
        poll_fn(|cx| records.poll_handshake(&mut carrier, cx)).await?;
        Ok(Self { carrier, records })
    }

    /// Returns the connection of rustls, which holds the TLS version and whether a session was resumed.
    pub(super) fn tls(&self) -> &UnbufferedClientConnection {
        self.records.tls()
    }

    /// Looks at the connection: see [`Transport::look`](crate::Transport::look). If rustls answers the bytes that
    /// were read, the answer is sent with the next write.
    pub(crate) fn look(&mut self) -> Look {
        let look = self.look_now();
        self.records.rest();
        look
    }

    /// Reads and processes the bytes that have arrived, without freeing buffers. Returns the result of the look.
    fn look_now(&mut self) -> Look {
        for _ in 0..MAX_READS_PER_LOOK {
            match self.records.known() {
                Known::Nothing if self.records.is_lost() => return Look::Closed,
                Known::Nothing => {}
                Known::Plaintext => return Look::Spoke,
                Known::End => return Look::Closed,
            }
            // The socket is read by a system call, because the readiness that tokio caches may be out of date.
            match self.records.fill(READ_PER_LOOK, |room| self.carrier.read_now(room)) {
                Ok(0) => return Look::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Half a record may be half of a session ticket. On a connection without a request, half a record
                    // cannot be half of a response.
                    let is_silent = self.records.is_between_records() || !self.records.is_used();
                    return if is_silent { Look::Silent } else { Look::Spoke };
                }
                Err(_) => return Look::Closed,
            }
        }
        Look::Spoke
    }

    /// Shuts the socket down. If no close_notify was sent, tries to send a close_notify before that, without waiting.
    pub(crate) fn close(&mut self) {
        self.records.send_close_notify();
        self.carrier.close_after(self.records.unsent());
    }

    /// Reads plaintext that was decrypted already: see [`Transport::read_now`](crate::Transport::read_now).
    pub(crate) fn read_now(&mut self, room: &mut [u8]) -> usize {
        let mut room = ReadBuf::new(room);
        self.records.take_plaintext(&mut room);
        room.filled().len()
    }

    /// Looks at the buffers, without a system call; see [`Stream::look_inside`](crate::connect::Stream::look_inside).
    pub(crate) fn look_inside(&mut self) -> Look {
        if self.records.is_settled() {
            return Look::Silent;
        }
        match self.records.known() {
            Known::End => Look::Closed,
            Known::Nothing | Known::Plaintext => Look::Spoke,
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { carrier, records } = self.get_mut();
        records.poll_read(carrier, cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { carrier, records } = self.get_mut();
        records.poll_write(carrier, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { carrier, records } = self.get_mut();
        records.poll_flush(carrier, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { carrier, records } = self.get_mut();
        records.poll_shutdown(carrier, cx)
    }
}

/// Maximum number of reads in one look, so that a look at a peer that never stops sending ends.
const MAX_READS_PER_LOOK: usize = 16;
/// Number of bytes that a look reads at once, which is enough for a server's tickets.
const READ_PER_LOOK: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use rustls::{ServerConfig, ServerConnection};
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_rustls::server;

    use super::super::config::tests::{Authority, connect};
    use super::*;

    /// Returns both ends of a connection that has served a request.
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

    /// Returns the socket of a stream.
    fn tcp(stream: &TlsStream) -> &TcpStream {
        match &stream.carrier {
            Carrier::Tcp(tcp) => tcp,
            _ => panic!("the stream is not TLS over TCP"),
        }
    }

    /// Blocks the runtime's only thread, so that the reactor does not notice bytes that arrive during the sleep.
    fn block() {
        std::thread::sleep(Duration::from_millis(20));
    }

    /// Sends bytes over the server's socket without TLS.
    fn send_raw(server: &server::TlsStream<TcpStream>, bytes: &[u8]) {
        server.get_ref().0.try_write(bytes).unwrap();
    }

    #[tokio::test]
    async fn session_tickets_are_silent_and_the_stream_stays_usable() {
        let authority = Authority::new();
        let (client, server) = connect(&authority, authority.server(&["localhost"]), "localhost").await;
        let (mut client, mut server) = (client.unwrap().stream, server.unwrap());
        server.flush().await.unwrap();
        block();
        assert_ne!(SockRef::from(tcp(&client)).peek(&mut [std::mem::MaybeUninit::uninit()]).unwrap(), 0);
        assert_eq!((client.look(), client.look()), (Look::Silent, Look::Silent));
        assert_eq!(client.look_inside(), Look::Silent);
        server.write_all(b"ok").await.unwrap();
        server.flush().await.unwrap();
        let mut both = [0; 2];
        client.read_exact(&mut both).await.unwrap();
        assert_eq!(&both, b"ok");
        assert_eq!(client.look(), Look::Silent);
    }

    /// Accepts one connection and shakes hands. Returns the socket, the TLS connection, and the tickets that the server
    /// would send next.
    fn accept(
        listener: &std::net::TcpListener,
        config: ServerConfig,
    ) -> (std::net::TcpStream, ServerConnection, Vec<u8>) {
        let mut tcp = listener.accept().unwrap().0;
        tcp.set_nodelay(true).unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        while tls.is_handshaking() {
            while tls.wants_write() {
                tls.write_tls(&mut tcp).unwrap();
            }
            tls.read_tls(&mut tcp).unwrap();
            tls.process_new_packets().unwrap();
        }
        let mut tickets = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut tickets).unwrap();
        }
        (tcp, tls, tickets)
    }

    #[tokio::test]
    async fn a_ticket_in_two_segments_is_not_speech() {
        let authority = Authority::new();
        for at in [1, 3, 4, 5, 6, 100, usize::MAX] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let config = authority.server(&["localhost"]);
            let server = tokio::task::spawn_blocking(move || accept(&listener, config));
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = TlsStream::connect(authority.client().await, name, tcp.into()).await.unwrap();
            let (mut tcp, mut tls, tickets) = server.await.unwrap();
            let (first, second) = tickets.split_at(at.min(tickets.len() - 1));
            tcp.write_all(first).unwrap();
            block();
            assert_eq!((client.look(), client.look()), (Look::Silent, Look::Silent), "{at}");
            tcp.write_all(second).unwrap();
            block();
            assert_eq!((client.look(), client.look_inside()), (Look::Silent, Look::Silent), "{at}");
            client.write_all(b"ping").await.unwrap();
            client.flush().await.unwrap();
            tls.read_tls(&mut tcp).unwrap();
            tls.process_new_packets().unwrap();
            tls.writer().write_all(b"pong").unwrap();
            let mut record = Vec::new();
            tls.write_tls(&mut record).unwrap();
            // A request was sent, so half a record may be half of its response.
            let (first, second) = record.split_at(record.len() / 2);
            tcp.write_all(first).unwrap();
            block();
            assert_eq!(client.look(), Look::Spoke, "{at}");
            tcp.write_all(second).unwrap();
            client.read_exact(&mut [0; 4]).await.unwrap();
            assert_eq!(client.look(), Look::Silent, "{at}");
        }
    }

    /// The second half of the ticket comes with the response.
    #[tokio::test]
    async fn a_request_is_sent_after_half_a_ticket() {
        let authority = Authority::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let config = authority.server(&["127.0.0.1"]);
        let (sent, is_sent) = tokio::sync::oneshot::channel();
        let server = std::thread::spawn(move || {
            let (mut tcp, mut tls, tickets) = accept(&listener, config);
            let (first, second) = tickets.split_at(tickets.len() / 2);
            tcp.write_all(first).unwrap();
            sent.send(()).unwrap();
            tls.read_tls(&mut tcp).unwrap();
            tls.process_new_packets().unwrap();
            tls.writer().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            let mut wire = second.to_vec();
            tls.write_tls(&mut wire).unwrap();
            tcp.write_all(&wire).unwrap();
            tcp
        });
        let client = crate::Client::builder().add_root_certificate(authority.root()).build().unwrap();
        client.warm(&url, 1).await.unwrap();
        is_sent.await.unwrap();
        block();
        let response = client.get(&url).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "ok");
        let total = client.pool().stats().total;
        assert_eq!((total.opened, total.closed_total(), total.idle), (1, 0, 1), "{total}");
        drop(server.join().unwrap());
    }

    #[tokio::test]
    async fn an_idle_stream_owns_no_buffer() {
        let (mut client, mut server) = used().await;
        assert_eq!(client.records.memory(), 0);
        let body = vec![7; 1 << 20];
        let mut read = vec![0; body.len()];
        let (sent, got) = tokio::join!(server.write_all(&body), client.read_exact(&mut read));
        got.unwrap();
        sent.unwrap();
        assert!(read == body && client.look_inside() == Look::Silent);
        assert_eq!(client.records.memory(), 0, "after a large body");
        server.get_mut().1.refresh_traffic_keys().unwrap();
        server.flush().await.unwrap();
        block();
        assert_eq!(
            (client.look(), client.records.memory()),
            (Look::Silent, 0),
            "after a look that read something"
        );
        let (sent, got) = tokio::join!(client.write_all(&body), async {
            let mut got = vec![0; body.len()];
            server.read_exact(&mut got).await.map(|_| got)
        });
        sent.unwrap();
        client.flush().await.unwrap();
        assert!(got.unwrap() == body);
        assert_eq!((client.look(), client.records.memory()), (Look::Silent, 0), "after a large upload");
    }

    #[tokio::test]
    async fn a_stray_record_is_seen() {
        let (mut client, mut server) = used().await;
        assert_eq!(client.look(), Look::Silent);
        server.write_all(b"stray").await.unwrap();
        server.flush().await.unwrap();
        block();
        assert_eq!((client.look(), client.look()), (Look::Spoke, Look::Spoke));
        assert_ne!(client.look_inside(), Look::Silent);
    }

    #[tokio::test]
    async fn half_a_record_is_seen() {
        let (mut client, server) = used().await;
        send_raw(&server, &[23, 3, 3, 0, 100, 1, 2, 3]);
        block();
        assert_eq!((client.look(), client.look()), (Look::Spoke, Look::Spoke));
        assert_ne!(client.look_inside(), Look::Silent);
    }

    #[tokio::test]
    async fn half_a_header_is_seen() {
        let (mut client, server) = used().await;
        send_raw(&server, &[23]);
        block();
        assert_eq!(client.look(), Look::Spoke);
    }

    #[tokio::test]
    async fn a_record_that_does_not_decrypt_closes_the_connection() {
        let (mut client, server) = used().await;
        send_raw(&server, &[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
        block();
        assert_eq!((client.look(), client.look()), (Look::Closed, Look::Closed));
    }

    #[tokio::test]
    async fn a_close_notify_is_seen() {
        let (mut client, mut server) = used().await;
        server.get_mut().1.send_close_notify();
        server.flush().await.unwrap();
        block();
        assert_eq!((client.look(), client.look()), (Look::Closed, Look::Closed));
        assert_ne!(client.look_inside(), Look::Silent);
    }

    #[tokio::test]
    async fn a_fin_without_close_notify_is_seen() {
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
        assert_ne!(client.look_inside(), Look::Silent);
        assert_eq!(client.look(), Look::Spoke);
        client.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(client.look_inside(), Look::Silent);
    }

    #[tokio::test]
    async fn a_close_sends_close_notify() {
        let (mut client, mut server) = used().await;
        client.close();
        // Without the close_notify, rustls would report an unexpected end.
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    }
}
