//! The settings of names, addresses and sockets that most clients leave as they are.

use std::net::SocketAddr;
use std::time::Duration;

use super::ClientBuilder;

/// # Sockets and schemes
impl ClientBuilder {
    /// Sets the addresses of `host`, or only of `host:port`, so that no resolver looks this name up. The client
    /// connects to these addresses in the same way as to the addresses of a lookup: one after another, until one
    /// address accepts.
    ///
    /// A port of 0 stands for the URL's port. A later call for the same host replaces the addresses, and a call without
    /// addresses removes them.
    ///
    /// ```
    /// let addresses = [([192, 0, 2, 1], 0).into(), ([192, 0, 2, 2], 0).into()];
    /// let client = handclasp::Client::builder().resolve_to_addrs("api.example.org", &addresses).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn resolve_to_addrs(mut self, host: &str, addresses: &[SocketAddr]) -> Self {
        self.overrides.set(host, addresses.to_vec());
        self
    }

    /// Sets whether only https is allowed. `false` by default.
    ///
    /// With `true`, a request to an http URL fails with [`ErrorKind::Request`](crate::ErrorKind::Request), and a redirect to an
    /// http URL with [`ErrorKind::Redirect`](crate::ErrorKind::Redirect), whatever the redirect policy says. Nothing is sent in
    /// either case. [`Client::warm`](crate::Client::warm) and [`Client::min_idle`](crate::Client::min_idle) refuse an http URL in
    /// the same way, and dial nothing.
    pub fn https_only(mut self, only: bool) -> Self {
        self.request.https_only = only;
        self
    }

    /// Sets whether a field of a response may be continued on the next line, which is called `obs-fold`. `true` by default,
    /// because RFC 9112, section 5.2, requires this of a client. [`codec_limits`](Self::codec_limits) has further leniencies, and
    /// replaces this setting.
    ///
    /// The codec reads a fold as spaces.
    pub fn http1_allow_obsolete_multiline_headers_in_responses(mut self, allow: bool) -> Self {
        self.exchange.limits.leniency.obs_fold = allow;
        self
    }

    /// Sets whether spaces and tabs may stand between the name of a response's header field and its colon. `false` by default:
    /// a response with such blanks fails with [`ErrorKind::Protocol`](crate::ErrorKind::Protocol), because RFC 9112, section 5.1, forbids
    /// these blanks. [`codec_limits`](Self::codec_limits) replaces this setting.
    ///
    /// The connection is closed after a response with such blanks. A response with blanks between `Content-Length` or
    /// `Transfer-Encoding` and its colon fails in any case.
    pub fn http1_allow_spaces_after_header_name_in_responses(mut self, allow: bool) -> Self {
        self.exchange.limits.leniency.blanks_before_colon = allow;
        self
    }

    /// Sets whether lines of a response's head that are not header fields are ignored. `false` by default: a response with
    /// such a line fails with [`ErrorKind::Protocol`](crate::ErrorKind::Protocol). [`codec_limits`](Self::codec_limits) replaces this
    /// setting.
    ///
    /// A line is not a field if it has no colon, no name, or a byte that a name or a value cannot have. The connection is
    /// closed after a response with such a line. If the line could be `Content-Length` or `Transfer-Encoding`, or has a NUL or
    /// a CR before its end, the response fails in any case.
    pub fn http1_ignore_invalid_headers_in_responses(mut self, ignore: bool) -> Self {
        self.exchange.limits.leniency.invalid_lines = ignore;
        self
    }

    /// Sets whether small writes leave at once, instead of waiting for the acknowledgment of earlier writes
    /// (`TCP_NODELAY`). `true` by default.
    pub fn tcp_nodelay(mut self, nodelay: bool) -> Self {
        self.connect.tcp.nodelay = nodelay;
        self
    }

    /// Sets the silence after which the system probes whether the peer is still there (`SO_KEEPALIVE`): 15 s by default. With
    /// `None`, there are no probes.
    ///
    /// The time is rounded up to whole seconds, and is at least 1 s and at most 32,767 s.
    pub fn tcp_keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.connect.tcp.keepalive = silence.into();
        self
    }

    /// Sets the time between two probes of [`tcp_keepalive`](Self::tcp_keepalive): 15 s by default. With `None`, the system
    /// chooses the time. This setting has no effect on a system without such an option.
    ///
    /// The time is rounded up to whole seconds, and is at least 1 s and at most 32,767 s.
    pub fn tcp_keepalive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.connect.tcp.keepalive_interval = interval.into();
        self
    }

    /// Sets the number of probes of [`tcp_keepalive`](Self::tcp_keepalive) without an answer after which a connection is lost:
    /// 4 by default. With `None`, the system chooses the number. This setting has no effect on a system without such an
    /// option. The number is at least 1 and at most 127.
    pub fn tcp_keepalive_retries(mut self, retries: impl Into<Option<u32>>) -> Self {
        self.connect.tcp.keepalive_retries = retries.into();
        self
    }

    /// Sets the time for which bytes that were sent may stay without an acknowledgment before the connection is lost
    /// (`TCP_USER_TIMEOUT`). With `None`, which is the default, or with a time of zero, the system chooses the time.
    ///
    /// The time is rounded up to whole milliseconds, and is at most 24 days.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect.tcp.user_timeout = timeout.into();
        self
    }
}
