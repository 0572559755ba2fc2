//! The settings of names, addresses and sockets that most clients leave as they are.

use std::net::SocketAddr;
use std::time::Duration;

use super::ClientBuilder;
use crate::resolver::Ttl;

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

    /// Sets the shortest and the longest time for which the client uses the addresses of a name before it looks the name up
    /// again: 1 s and 300 s by default. Within these bounds, the answer of the resolver says how long it is valid. If the
    /// answer does not say, 10 s are assumed. The upper bound takes precedence, and zero switches the cache off.
    ///
    /// After this time the addresses are *stale*. For as long as they were valid, and at most for 30 s, a dial still uses them
    /// at once, while one task looks the name up again. For an hour, a dial uses stale addresses if a lookup fails, or does
    /// not end within 1.8 s. That there is no such name is kept for 10 s at most. A failure is not kept. The cache holds 1,024
    /// names, belongs to one client, and is emptied by
    /// [`Pool::on_network_change`](crate::Pool::on_network_change).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// // Each dial looks the name up.
    /// let client = handclasp::Client::builder().dns_cache_ttl(Duration::ZERO, Duration::ZERO).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn dns_cache_ttl(mut self, min: Duration, max: Duration) -> Self {
        self.dns_ttl = Ttl { min, max };
        self
    }

    /// Sets whether only https is allowed. `false` by default.
    ///
    /// With `true`, a request to an http URL fails with [`ErrorKind::Request`](crate::ErrorKind::Request), and a redirect to an
    /// http URL with [`ErrorKind::Redirect`](crate::ErrorKind::Redirect), whatever the redirect policy says. Nothing is sent in
    /// either case.
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

    /// Sets whether small writes leave at once, instead of waiting for the acknowledgment of earlier writes
    /// (`TCP_NODELAY`). `true` by default.
    pub fn tcp_nodelay(mut self, nodelay: bool) -> Self {
        self.connect.tcp.nodelay = nodelay;
        self
    }

    /// Sets the silence after which the system probes whether the peer is still there (`SO_KEEPALIVE`): 15 s by default. With
    /// `None`, there are no probes.
    pub fn tcp_keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.connect.tcp.keepalive = silence.into();
        self
    }

    /// Sets the time between two probes of [`tcp_keepalive`](Self::tcp_keepalive): 15 s by default. With `None`, the system
    /// chooses it. Systems that do not know this option ignore it.
    pub fn tcp_keepalive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.connect.tcp.keepalive_interval = interval.into();
        self
    }

    /// Sets the number of probes of [`tcp_keepalive`](Self::tcp_keepalive) without an answer after which a connection is lost:
    /// 4 by default. With `None`, the system chooses it. Systems that do not know this option ignore it.
    pub fn tcp_keepalive_retries(mut self, retries: impl Into<Option<u32>>) -> Self {
        self.connect.tcp.keepalive_retries = retries.into();
        self
    }

    /// Sets the time for which bytes that were sent may stay without an acknowledgment before the connection is lost
    /// (`TCP_USER_TIMEOUT`). With `None`, which is the default, the system chooses it.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect.tcp.user_timeout = timeout.into();
        self
    }
}
