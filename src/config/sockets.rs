//! Options of TCP sockets that few clients set: the interface, the mark, the congestion control, and the buffers.

use super::ClientBuilder;
#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
use crate::connect::Name;
use crate::error::{Error, Result};

/// # Options of TCP
impl ClientBuilder {
    /// Sets the interface through which all connections go (`SO_BINDTODEVICE`), such as `eth1` or `tun0`. By default,
    /// the system chooses the interface by the address.
    ///
    /// The connection to a proxy goes through the interface too. The lookup of names uses the servers and the routes of
    /// the system instead. A unix socket uses no interface.
    ///
    /// Exists on Linux, Android and Fuchsia. Since Linux 5.7, no right is needed. Before that, the process needs
    /// `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) refuses a name that is empty, is longer than 15 bytes or has a NUL, and an interface
    /// together with a [`connector`](Self::connector), which opens its sockets by itself. A request fails with
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) in the phase [`Tcp`](crate::Phase::Tcp) if there is no such
    /// interface, or if the process may not use it. No connection is ever made through another interface instead.
    ///
    /// ```
    /// let client = handclasp::Client::builder().interface("tun0").build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub fn interface(mut self, name: &str) -> Self {
        match Name::new(name, "interface") {
            Ok(name) => self.connect.tcp.strict.interface = Some(name),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Sets the mark of all packets of connections (`SO_MARK`), by which rules of the system choose a route or a class
    /// of traffic (`ip rule add fwmark`). With `None`, which is the default, there is no mark. The lookup of names has
    /// no mark.
    ///
    /// Exists on Linux, Android and Fuchsia. The process needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) refuses a mark together with a [`connector`](Self::connector). A request fails with
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) in the phase [`Tcp`](crate::Phase::Tcp) if the process may not
    /// set the mark. No connection is ever made without the mark instead.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub fn tcp_mark(mut self, mark: impl Into<Option<u32>>) -> Self {
        self.connect.tcp.strict.mark = mark.into();
        self
    }

    /// Sets the algorithm of congestion control (`TCP_CONGESTION`), such as `bbr` or `cubic`. By default, the system
    /// chooses the algorithm.
    ///
    /// Exists on Linux and FreeBSD. Linux lists the algorithms that any process may use in
    /// `net.ipv4.tcp_allowed_congestion_control`.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) refuses a name that is empty, is longer than 15 bytes or has a NUL. A request fails with
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect) in the phase [`Tcp`](crate::Phase::Tcp) if the system has no
    /// such algorithm, or if the process may not use the algorithm. Otherwise nobody would notice a wrong name.
    #[cfg(any(target_os = "freebsd", target_os = "linux"))]
    pub fn tcp_congestion(mut self, name: &str) -> Self {
        match Name::new(name, "tcp_congestion") {
            Ok(name) => self.connect.tcp.strict.congestion = Some(name),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Sets the size, in bytes, of the system's buffer for bytes that are to be sent (`SO_SNDBUF`). With `None`, which
    /// is the default, the system chooses the size and adapts it to the connection.
    ///
    /// The system replaces a size that is too small or too large by the nearest allowed size, or ignores the size.
    /// Linux doubles the size, and limits the size to `net.core.wmem_max`. A fixed size switches the adaptation off,
    /// which usually makes connections slower.
    pub fn tcp_send_buffer_size(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.connect.tcp.send_buffer = bytes.into();
        self
    }

    /// Sets the size, in bytes, of the system's buffer for bytes that were received (`SO_RCVBUF`), which limits what
    /// the server may send without an acknowledgment. With `None`, which is the default, the system chooses the size
    /// and adapts it to the connection.
    ///
    /// The system replaces a size that is too small or too large by the nearest allowed size, or ignores the size.
    /// Linux doubles the size, and limits the size to `net.core.rmem_max`. A fixed size switches the adaptation off,
    /// which usually makes connections slower.
    pub fn tcp_recv_buffer_size(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.connect.tcp.recv_buffer = bytes.into();
        self
    }

    /// Sets the number of unsent bytes in the system's buffer at which a connection stops taking bytes of an upload
    /// (`TCP_NOTSENT_LOWAT`). A small number saves memory, because fewer bytes wait in the system. With `None`, which
    /// is the default, the system chooses the number, which on Linux is unlimited.
    ///
    /// Exists on Linux and Android. The system ignores a number that it does not support.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    pub fn tcp_notsent_lowat(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.connect.tcp.notsent_lowat = bytes.into();
        self
    }

    /// Refuses a connector together with an option that decides which network the bytes take, because a connector opens
    /// its sockets by itself.
    pub(super) fn check_sockets(&self) -> Result<()> {
        if self.connector.is_some() && self.connect.tcp.strict.chooses_network() {
            return Err(Error::request(
                "the client has both a connector and an interface or a mark: set these options in the connector, because it opens the sockets",
            ));
        }
        Ok(())
    }
}
