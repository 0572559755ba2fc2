//! The options of TCP sockets, and how they are set.
//!
//! This file knows no addresses. Invariant: an option that the system does not take does not end a dial, because a
//! connection without the option works as well.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;

/// Options of the TCP sockets of one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpOptions {
    /// Whether small writes leave at once.
    pub(crate) nodelay: bool,
    /// Silence after which the system sends the first probe, or `None` for no probes.
    pub(crate) keepalive: Option<Duration>,
    /// Time between two probes.
    pub(crate) keepalive_interval: Option<Duration>,
    /// Number of probes without an answer after which the connection is lost.
    pub(crate) keepalive_retries: Option<u32>,
    /// Time after which bytes without an acknowledgment end the connection.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub(crate) user_timeout: Option<Duration>,
}

impl Default for TcpOptions {
    /// With these options, the system notices a peer that vanished after about 75 s, and NAT tables keep the connection. Go
    /// probes every 15 s as well. Nagle's algorithm is off, because a head and its body are written by one call and later
    /// writes must not wait.
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Duration::from_secs(15)),
            keepalive_interval: Some(Duration::from_secs(15)),
            keepalive_retries: Some(4),
            #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
            user_timeout: None,
        }
    }
}

impl TcpOptions {
    /// Sets the options of a socket that is not connected.
    pub(super) fn set(&self, socket: &TcpSocket) {
        // Errors are ignored, because the dial needs no option.
        let _ = socket.set_nodelay(self.nodelay);
        if let Some(keepalive) = self.tcp_keepalive() {
            let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
        }
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        if let Some(timeout) = self.user_timeout {
            let _ = SockRef::from(socket).set_tcp_user_timeout(Some(timeout));
        }
    }

    fn tcp_keepalive(&self) -> Option<TcpKeepalive> {
        let keepalive = TcpKeepalive::new().with_time(self.keepalive?);
        #[cfg(any(
            target_os = "android",
            target_os = "freebsd",
            target_os = "ios",
            target_os = "linux",
            target_os = "macos",
            target_os = "netbsd",
            target_os = "windows",
        ))]
        let keepalive = {
            let keepalive = match self.keepalive_interval {
                Some(interval) => keepalive.with_interval(interval),
                None => keepalive,
            };
            match self.keepalive_retries {
                Some(retries) => keepalive.with_retries(retries),
                None => keepalive,
            }
        };
        Some(keepalive)
    }
}
