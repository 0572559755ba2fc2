//! A handshake that begins before the connection exists, so that the first bytes of the handshake can go with the SYN.
//!
//! The first bytes are the ClientHello. The ClientHello may be repeated, because a server that gets it twice only
//! begins a second handshake. This file knows no records. Invariant: the first bytes are sent once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::records::Records;
use super::{Carrier, TlsStream};
use crate::connect::early::FirstBytes;

/// A handshake with a server to which there is no connection yet.
pub(crate) struct Begun {
    records: Records,
    name: ServerName<'static>,
    first: FirstBytes,
}

impl Begun {
    pub(super) fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name.clone()).map_err(io::Error::other)?;
        let (mut records, mut first) = (Records::new(tls), Collected(Vec::new()));
        let polled = records.poll_handshake(&mut first, &mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(ended) = polled {
            ended?;
        }
        Ok(Self { records, name, first: FirstBytes(first.0.into()) })
    }

    pub(super) fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Returns the first bytes of the client.
    pub(crate) fn first(&self) -> &FirstBytes {
        &self.first
    }

    /// Ends the handshake over `carrier`. The first `sent` bytes of the ClientHello were already written to `carrier`.
    pub(super) async fn connect(self, sent: usize, mut carrier: Carrier) -> io::Result<TlsStream> {
        carrier.write_all(self.first.0.get(sent..).unwrap_or_default()).await?;
        TlsStream::shake_hands(self.records, carrier).await
    }
}

/// A transport that collects what is written, and on which nothing arrives.
struct Collected(Vec<u8>);

impl AsyncRead for Collected {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Collected {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().0.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::super::config::tests::Authority;
    use super::*;

    /// The first bytes are the ClientHello. Any part of it may have been sent with the SYN.
    #[tokio::test]
    async fn a_handshake_goes_on_after_any_part_of_the_first_bytes() {
        let authority = Authority::new();
        let server = TlsAcceptor::from(Arc::new(authority.server(&["localhost"])));
        for sent in [0, 1, 100, usize::MAX] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let loaded = authority.tls.load().await.unwrap();
            let begun = loaded.begin("localhost").unwrap();
            let sent = sent.min(begun.first().0.len());
            let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            tcp.write_all(&begun.first().0[..sent]).await.unwrap();
            let (peer, _) = listener.accept().await.unwrap();
            let (secured, accepted) = tokio::join!(loaded.go_on(begun, sent, tcp), server.accept(peer));
            assert!(secured.is_ok() && accepted.is_ok(), "{sent}");
        }
    }
}
