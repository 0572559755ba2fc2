//! The settings for data in TCP's handshake.

use super::ClientBuilder;

/// # Data in the handshake
impl ClientBuilder {
    /// Sets whether the first bytes that the client sends on a new connection also carry the acknowledgment that ends
    /// TCP's handshake. `false` by default. Has an effect on Linux and Android only.
    ///
    /// Usually the system sends this acknowledgment at once in a packet of its own, and the request in the next packet.
    /// With `true`, the system waits for the first bytes of the client: the request, or the first message of TLS for
    /// https. The client then sends two packets instead of three before the response. The request is not faster,
    /// because the request leaves at the same time. The server's system has one packet less to handle, and accepts the
    /// connection when the first bytes have arrived.
    ///
    /// A server that sends the first bytes of a connection can do so only after the acknowledgment. For this reason the
    /// acknowledgment is sent at once if no request waits for the connection, such as a connection that
    /// [`Client::warm`](crate::Client::warm) has dialed, a [reserved](crate::Client::reserve) connection, or a
    /// connection whose request was dropped. A custom [`connector`](Self::connector) makes its own sockets, which have no
    /// such setting.
    ///
    /// ```
    /// let client = handclasp::Client::builder().request_on_ack(true).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn request_on_ack(mut self, together: bool) -> Self {
        self.connect.tcp.request_on_ack = together;
        self
    }

    /// Sets whether the first bytes of a connection go with its first packet (TCP Fast Open,
    /// <https://www.rfc-editor.org/rfc/rfc7413>). `false` by default. Has an effect on Linux only.
    ///
    /// With `true`, the first request on a new connection needs one round trip less. A server gives each client a
    /// cookie at the first connection, and the client's bytes are sent early on later connections. So the first
    /// connection to a server is not faster. The systems of both ends must support Fast Open (`net.ipv4.tcp_fastopen`
    /// on Linux). If one of them does not, connections are made as usual.
    ///
    /// The network may repeat the first packet, so that the server gets its bytes twice. For this reason only these
    /// bytes are sent early:
    ///
    /// - For https, the first message of the TLS handshake, which is no part of a request.
    /// - For http, a request without content that may be repeated: a request with an idempotent method, such as GET, or
    ///   with an `Idempotency-Key`. The request is sent early only if no other request waits for a connection to the
    ///   host.
    ///
    /// The page on [limits](crate::manual::limits) lists what is not sent early.
    ///
    /// ```
    /// let client = handclasp::Client::builder().tcp_fast_open(true).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    #[cfg(feature = "fast-open")]
    pub fn tcp_fast_open(mut self, fast: bool) -> Self {
        self.connect.opens_fast = fast;
        self
    }
}
