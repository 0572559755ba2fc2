//! The settings of names, addresses and sockets that most clients leave as they are.

use std::net::SocketAddr;
use std::time::Duration;

use super::ClientBuilder;
use crate::connect::AddressFilter;
use crate::resolver::Ttl;

/// # Sockets and schemes
impl ClientBuilder {
    /// Sets how long connecting by TCP may take, from the first attempt until an address accepts. `None` by default:
    /// only the [`connect_timeout`](Self::connect_timeout) applies, which limits the whole dial in any case.
    ///
    /// The time covers the attempts to all addresses of the host, or of the proxy. After this time the requests that
    /// waited for the dial fail with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) in
    /// [`Phase::Tcp`](crate::Phase::Tcp). A custom [`connector`](Self::connector) is limited by the connect timeout
    /// alone.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let client = handclasp::Client::builder()
    ///     .tcp_timeout(Duration::from_secs(3))
    ///     .tls_timeout(Duration::from_secs(5))
    ///     .build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn tcp_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect.steps.tcp = timeout.into();
        self
    }

    /// Sets how long the TLS handshake with the server may take, like `TLSHandshakeTimeout` in Go. `None` by default:
    /// only the [`connect_timeout`](Self::connect_timeout) applies, which limits the whole dial in any case.
    ///
    /// After this time the requests that waited for the dial fail with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) in [`Phase::Tls`](crate::Phase::Tls). The timeout applies to
    /// https URLs only. The TLS handshake with a proxy counts towards the timeout of the proxy instead.
    pub fn tls_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect.steps.tls = timeout.into();
        self
    }

    /// Sets the addresses of `host`, or only of `host:port`, so that no resolver looks this name up. The client
    /// connects to these addresses in the same way as to the addresses of a lookup: one after another, until one
    /// address accepts. The order is the given one, except that the families take turns, and that addresses which failed
    /// lately come last.
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
    /// not end within 1.8 s or half of the [`dns_timeout`](Self::dns_timeout), whichever is shorter. That there is no such
    /// name is kept for 10 s at most. A failure is not kept. The cache holds 1,024 names, belongs to one client, and is
    /// emptied by [`Pool::on_network_change`](crate::Pool::on_network_change).
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

    /// Sets which addresses the client may connect to. By default (`None`), every address is allowed.
    ///
    /// A program that fetches URLs of other people should set [`AddressFilter::public_only`]. A client with a custom
    /// [`connector`](Self::connector) cannot have a filter, because the connector chooses the addresses:
    /// [`build`](Self::build) returns an error. With a filter, a proxy that looks names up is used for names only if
    /// `Proxy::filters_addresses` is set.
    ///
    /// ```
    /// use handclasp::{AddressFilter, Client};
    /// let client = Client::builder().address_filter(AddressFilter::public_only()).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn address_filter(mut self, filter: impl Into<Option<AddressFilter>>) -> Self {
        self.connect.filter = filter.into();
        self
    }

    /// Sets whether the connections of a host are spread over its addresses. `false` by default: a dial tries the best
    /// address first, so that all connections lead to one address as long as it accepts.
    ///
    /// With `true`, a dial first tries the address to which this client has the fewest connections. An address steps aside
    /// for a minute or more after it did not accept a connection, or after the first request on a connection got no answer.
    /// When a later lookup does not have an address any more, its connections finish their requests and are then closed,
    /// with [`DropReason::AddressLeft`](crate::DropReason::AddressLeft). So the answers have to be whole: with a resolver or a
    /// name server that returns only some of the addresses each time, connections are closed after fewer requests.
    ///
    /// A client learns of new addresses when it dials. A connection that is kept busy is not moved to another address: set
    /// [`max_lifetime`](Self::max_lifetime) to bound how long the load of a host may stay uneven.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let client = handclasp::Client::builder()
    ///     .spread_connections(true)
    ///     .max_lifetime(Duration::from_secs(300))
    ///     .build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn spread_connections(mut self, spread: bool) -> Self {
        self.connect.spreads = spread;
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
