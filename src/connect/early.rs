//! A connection whose SYN carried the first bytes of a request.
//!
//! Invariants: the first write must begin with the bytes that were sent with the SYN, and these bytes are not sent
//! again. After the first write, the stream is like plain TCP.

use std::fmt;
use std::io;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::Stream;

/// The first bytes of a connection, which may go with its SYN and may be repeated.
#[derive(Clone)]
pub(crate) struct FirstBytes(pub(in crate::connect) Bytes);

impl From<Bytes> for FirstBytes {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// Writes the number of bytes, because the bytes may be secrets.
impl fmt::Debug for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FirstBytes").field(&self.0.len()).finish()
    }
}

/// A connection, and the bytes that were sent with its SYN.
pub(crate) struct Early {
    pub(super) tcp: TcpStream,
    /// Bytes that were sent with the SYN. Empty once the request was written.
    sent: Box<[u8]>,
}

impl Early {
    /// Whether a request was sent with the SYN and not written yet.
    pub(super) fn is_unclaimed(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Returns the number of bytes of `first` that were sent with the SYN and must not be written. Fails if `first`
    /// does not begin with the bytes that were sent.
    pub(super) fn claim(&mut self, first: &[u8]) -> io::Result<usize> {
        if !first.starts_with(&self.sent) {
            let text = "another request was sent with the SYN";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(std::mem::take(&mut self.sent).len())
    }
}

impl Stream {
    /// Returns the stream of a new connection. `sent` is the number of the bytes of `first` that were sent with the
    /// SYN.
    pub(crate) fn opened(tcp: TcpStream, first: Option<&FirstBytes>, sent: usize) -> Self {
        match first.and_then(|first| first.0.get(..sent)) {
            None | Some([]) => Self::Tcp(tcp),
            Some(sent) => Self::Early(Box::new(Early { tcp, sent: sent.into() })),
        }
    }

    /// Whether a request was sent with the SYN and not written yet, so that only that request can use the connection.
    pub(crate) fn is_unclaimed(&self) -> bool {
        match self {
            Self::Early(early) => early.is_unclaimed(),
            _ => false,
        }
    }

    /// Whether the first request was sent with the SYN, so that its answer may come at once after the handshake.
    pub(crate) fn was_opened_early(&self) -> bool {
        matches!(self, Self::Early(_))
    }

    /// Whether a request that begins with `head` can be written.
    pub(crate) fn takes(&self, head: &[u8]) -> bool {
        match self {
            Self::Early(early) => head.starts_with(&early.sent),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::Look;
    use super::*;

    #[tokio::test]
    async fn bytes_that_were_sent_are_not_sent_again_and_belong_to_one_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut stream = Stream::opened(tcp, Some(&Bytes::from("GET /a b").into()), 6);
        // The answer to the request may be here before the request is claimed.
        peer.write_all(b"answer").await.unwrap();
        let Stream::Early(early) = &stream else { unreachable!() };
        early.tcp.readable().await.unwrap();
        assert!(stream.is_unclaimed() && stream.look() == Look::Silent);
        for (head, takes) in [("GET /b", false), ("GET /", false), ("GET /a", true), ("GET /a c", true)] {
            assert_eq!(stream.takes(head.as_bytes()), takes, "{head}");
        }
        assert!(stream.write(b"GET /b HTTP/1.1\r\n").await.is_err());
        stream.write_all(b"GET /a HTTP/1.1\r\n").await.unwrap();
        assert!(!stream.is_unclaimed() && stream.look() == Look::Spoke);
        stream.write_all(b"\r\n").await.unwrap();
        stream.read_exact(&mut [0; 6]).await.unwrap();
        stream.close();
        let mut received = String::new();
        peer.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, " HTTP/1.1\r\n\r\n");
    }
}
