//! The unix socket of a client.

use std::path::Path;
use std::sync::Arc;

use super::ClientBuilder;
use crate::connect::SocketPath;
use crate::error::{Error, Result};

/// # Unix sockets
impl ClientBuilder {
    /// Sets the unix socket over which the client makes all of its connections, such as the socket of Docker or of a
    /// systemd service. By default, the client uses no unix socket. Exists on unix only.
    ///
    /// These rules apply to the requests of the client:
    ///
    /// - The path is a part of the route: a connection is reused for the same path and the same origin only.
    /// - The URL gives the Host field, the target, and for https the name that the server's certificate must have. No
    ///   name is looked up. The client uses no proxy, whether the caller or the environment names the proxy.
    /// - All redirects stay on the socket, whatever host a redirect names. A response can never choose a path.
    /// - The options of TCP, [`local_address`](Self::local_address) and overrides such as [`resolve`](Self::resolve)
    ///   have no effect, because there is no TCP and no address.
    /// - [`ConnectionInfo::peer_addr`](crate::ConnectionInfo::peer_addr) and `local_addr` are `None`. The time to
    ///   connect counts as the TCP phase.
    ///
    /// On Linux, a path that begins with a NUL is a name in the abstract namespace. A relative path is relative to the
    /// current directory at the time of each dial, so that an absolute path is better.
    /// [`RequestBuilder::unix_socket`](crate::RequestBuilder::unix_socket) sets the socket of one request.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) returns [`ErrorKind::Request`](crate::ErrorKind::Request) if the path is empty, is too
    /// long, or is the path of a file and has a NUL. `build` also returns this error if the client also has a
    /// [`connector`](Self::connector), a proxy, or an [`address_filter`](Self::address_filter), which would have no
    /// address to decide about. A request fails with [`ErrorKind::Connect`](crate::ErrorKind::Connect) if there is no
    /// socket, if no server listens on it, or if this process may not use it. The error names the path. If the queue of
    /// the server is full, a dial waits for room until the [`connect_timeout`](Self::connect_timeout).
    ///
    /// ```no_run
    /// # async fn example() -> handclasp::Result<()> {
    /// let docker = handclasp::Client::builder().unix_socket("/var/run/docker.sock").build()?;
    /// let version = docker.get("http://docker/version").send().await?.text().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn unix_socket(mut self, path: impl AsRef<Path>) -> Self {
        match SocketPath::new(path.as_ref()) {
            Ok(path) => self.unix_socket = Some(Arc::new(path)),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Returns an error if another setting contradicts the unix socket.
    pub(super) fn check_unix_socket(&self) -> Result<()> {
        let Some(path) = &self.unix_socket else { return Ok(()) };
        let (other, why) = if self.connector.is_some() {
            ("a connector", "because a connector makes its connections by itself")
        } else if self.proxies.as_ref().is_some_and(|proxies| !proxies.is_empty()) {
            ("a proxy", "because no proxy is used for a unix socket")
        } else if self.connect.filter.is_some() {
            ("an address filter", "because a unix socket has no address that a filter could decide about")
        } else {
            return Ok(());
        };
        Err(Error::request(format!(
            "the client has both {other} and the unix socket {path}: leave one of them out, {why}"
        )))
    }
}
