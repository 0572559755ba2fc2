//! The settings of what the handshake of TCP carries.

use super::ClientBuilder;

/// # Data in the handshake
impl ClientBuilder {
    /// Sets whether the first bytes that the client sends on a new connection also carry the acknowledgment that ends TCP's
    /// handshake. `false` by default. Has an effect on Linux and Android only.
    ///
    /// Usually the system sends this acknowledgment at once in a packet of its own, and the request in the next packet. With
    /// `true`, the system waits for the request (for https: for the first bytes of TLS), so that the client sends two
    /// packets instead of three before the response. The request is not faster: it leaves at the same time. The server's
    /// system has one packet less to handle, and accepts the connection when the request is there.
    ///
    /// A server that sends the first bytes of a connection can do so only after the acknowledgment. For this reason the
    /// acknowledgment is sent at once on a connection that no request waits for, such as a connection that
    /// [`Client::warm`](crate::Client::warm) has dialed, or whose request was dropped. A custom
    /// [`connector`](Self::connector) makes its own sockets, which have no such setting.
    ///
    /// ```
    /// let client = handclasp::Client::builder().request_on_ack(true).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn request_on_ack(mut self, together: bool) -> Self {
        self.connect.tcp.request_on_ack = together;
        self
    }
}
