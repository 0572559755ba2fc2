//! The unix socket of one request.

use std::path::Path;

use super::RequestBuilder;
use crate::connect::SocketPath;

/// # Unix sockets
impl RequestBuilder {
    /// Sets the unix socket over which this request is sent. Replaces the unix socket and the proxies of the client.
    /// Exists on unix only.
    ///
    /// The rules are those of [`ClientBuilder::unix_socket`](crate::ClientBuilder::unix_socket). Redirects of this
    /// request stay on the socket. The client's [`address_filter`](crate::ClientBuilder::address_filter) does not check
    /// the path, because a path is no address. So do not use a path from an untrusted source.
    ///
    /// # Errors
    ///
    /// [`send`](Self::send) returns [`ErrorKind::Request`](crate::ErrorKind::Request) if no socket can have the path,
    /// if the request also has a proxy, or if the client has a connector. `send` returns
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) if there is no socket, if no server listens on it, or if this
    /// process may not use it.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let containers = client.get("http://docker/containers/json").unix_socket("/var/run/docker.sock").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn unix_socket(mut self, path: impl AsRef<Path>) -> Self {
        match SocketPath::new(path.as_ref()) {
            Ok(path) => self.settings.ways.set_socket(path),
            Err(error) => self.fail(error),
        }
        self
    }
}
