//! All settings, as plain nested data, and the builder that sets them.
//!
//! Each group of settings is defined beside the module that consumes it; nothing below [`client`](crate::client)
//! sees the whole. Invariant: building does no I/O and reads no environment.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::call::{Informed, RequestConfig};
use crate::client::Client;
use crate::connect::{ConnectConfig, Connector, Destination, Dialer, TlsConfig, Transport};
use crate::error::{BoxError, Error, Result};
use crate::exchange::ExchangeConfig;
use crate::exchange::timeout::{NEVER, Setting};
use crate::pool::{EvictIf, IdleConnection, PoolConfig};
use crate::resolver::{Names, Overrides, Resolve};

/// Builds a [`Client`]. Every setting has a default; the crate's documentation lists them with their reasons.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> Result<(), handclasp::Error> {
/// let client = handclasp::Client::builder()
///     .max_connections_per_host(8)
///     .idle_timeout(Duration::from_secs(30))
///     .connect_timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    pool: PoolConfig,
    connect: ConnectConfig,
    exchange: ExchangeConfig,
    request: RequestConfig,
    overrides: Overrides,
    resolver: Option<SharedResolver>,
    tls: TlsConfig,
    connector: Option<SharedConnector>,
    dns_timeout: Setting,
    connect_timeout: Setting,
    has_no_user_agent: bool,
    error: Option<Error>,
}

struct SharedResolver(Arc<dyn Resolve>);

impl std::fmt::Debug for SharedResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

struct SharedConnector(Arc<Connector>);

impl std::fmt::Debug for SharedConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// # Connections
impl ClientBuilder {
    /// The most connections to one host: idle, in use and being made. Unlimited by default, as in reqwest and Go.
    /// With a limit, further requests wait their turn, for the [acquire timeout](Self::acquire_timeout) at the most.
    pub fn max_connections_per_host(mut self, connections: usize) -> Self {
        self.pool.max_connections_per_host = connections;
        self
    }

    /// The most connections to all hosts. Unlimited by default. An idle connection of another host gives way to one
    /// that is needed.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.pool.max_connections = connections;
        self
    }

    /// Sets the number of idle connections kept for one host. Unlimited by default, as in reqwest (Go keeps 2): the newest
    /// is used first, and the [idle timeout](Self::idle_timeout) closes those that are not needed. With a limit, the one
    /// idle for longest is closed first. 0 keeps none: every request has a connection of its own, and says
    /// `Connection: close` (<https://www.rfc-editor.org/rfc/rfc9112#section-9.3>).
    pub fn max_idle_per_host(mut self, connections: usize) -> Self {
        self.pool.max_idle_per_host = connections;
        self
    }

    /// Sets the number of idle connections kept for all hosts: 1,024 by default, or as many as a limit on connections
    /// ([`max_connections`](Self::max_connections), [`max_connections_per_host`](Self::max_connections_per_host)) allows, if
    /// that is more. The one idle for longest is closed first, but none that was used in the last second, so that a burst
    /// keeps its connections. 0 keeps none, as for one host.
    pub fn max_idle(mut self, connections: usize) -> Self {
        self.pool.max_idle = Some(connections);
        self
    }

    /// How long a connection may stay idle: 60 s by default (Go and reqwest: 90 s, which is longer than many servers
    /// wait). A server's `Keep-Alive: timeout=N` shortens it to N - 1 s. `None`: until the server closes it. Zero keeps
    /// none, as [`max_idle_per_host`](Self::max_idle_per_host) does.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.pool.idle_timeout = timeout.into();
        self
    }

    /// How long a connection is used at the most: without a limit by default. A tenth of it at the most, drawn for each
    /// connection, is taken off, so that connections that were made together are not replaced together. A request that is
    /// under way is not cut short.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.pool.max_lifetime = lifetime.into();
        self
    }

    /// The most requests that may wait for a connection of one host: 10,000 by default. One more fails at once with
    /// [`ErrorKind::PoolFull`](crate::ErrorKind::PoolFull).
    pub fn max_waiters_per_host(mut self, waiters: usize) -> Self {
        self.pool.max_waiters_per_host = waiters;
        self
    }

    /// A request that must not be sent twice (a POST without an `Idempotency-Key`) takes an idle connection only if it was
    /// used within `fresh`, say 2 s; otherwise it dials. Off by default: a connection is looked at before each request,
    /// and what remains is the moment between the look and the server's reading.
    pub fn fresh_for_unsafe(mut self, fresh: impl Into<Option<Duration>>) -> Self {
        self.pool.fresh_for_unsafe = fresh.into();
        self
    }

    /// Asked whether a connection is to be closed, in place of being kept: each time it comes back, before it is used
    /// again, and every few seconds while it is idle. (One that is handed from one request to the next is asked about
    /// before that, as it comes back.) To be called often, and not to block; it may use the client. A panic fails the
    /// request that met it; in the background, it closes the idle connections of its runtime.
    ///
    /// ```
    /// // For a load balancer that spreads connections, not requests: none gets more than a thousand.
    /// let client = handclasp::Client::builder().evict_if(|idle| idle.requests() >= 1_000).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn evict_if(
        mut self,
        is_unwanted: impl Fn(&IdleConnection<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.pool.evict_if = Some(EvictIf(Arc::new(is_unwanted)));
        self
    }

    /// Sets the longest waiting period between dials to a failing host. `None` by default: after two failed dials in a row,
    /// one dial at a time is made to the host, requests that come meanwhile share its outcome, and the first request after
    /// that begins the next dial. With `Some(longest)`, the next dial waits for a random part of 250 ms, doubled with each
    /// further failure up to `longest`; until then, requests fail at once with
    /// [`is_not_attempted`](crate::Error::is_not_attempted). Dials that [`min_idle`](crate::Client::min_idle) asks for wait
    /// for some seconds in any case.
    pub fn failing_host_backoff(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.pool.failing_host_backoff = longest.into();
        self
    }

    /// Sets whether requests wait for the end of a failing host's waiting period
    /// (see [`failing_host_backoff`](Self::failing_host_backoff)), and for the dial that follows, instead of failing at
    /// once. `false` by default.
    pub fn wait_for_failing_hosts(mut self, wait: bool) -> Self {
        self.pool.wait_for_failing = wait;
        self
    }

    /// A host that closed so many connections in a row, unasked, after one response each, is not kept for 60 s: to keep
    /// its connections would cost each request a retry. The same holds for a host that sent bytes on so many
    /// idle connections, because such bytes can be taken for the next answer. 3 by default, 1 at the least; `None` keeps every host.
    pub fn not_kept_after(mut self, connections: impl Into<Option<u8>>) -> Self {
        self.pool.not_kept_after = connections.into();
        self
    }

    /// Sets how long a request waits for a connection: 30 s by default. Then it fails with
    /// [`ErrorKind::PoolTimeout`](crate::ErrorKind::PoolTimeout). `None`: without a limit.
    ///
    /// The default does not cut a request short that has a deadline of its own, by [`timeout`](Self::timeout) or by
    /// [`RequestBuilder::connect_timeout`](crate::RequestBuilder::connect_timeout): that deadline alone holds.
    pub fn acquire_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.pool.acquire_timeout = Some(timeout.into());
        self
    }
}

/// # Names and addresses
impl ClientBuilder {
    /// Sets how long a name may take to resolve: 5 s by default, or as long as the [`connect_timeout`](Self::connect_timeout)
    /// where that is set. `None`: limited by the connect timeout only.
    pub fn dns_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.dns_timeout = Some(timeout.into());
        self
    }

    /// Sets how long a connection may take to make, from the name to the end of the TLS handshake: 10 s by default.
    /// `None`: without a limit.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = Some(timeout.into());
        self
    }

    /// The address that connections leave from; chosen by the system by default.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.connect.local_address = address.into();
        self
    }

    /// `host`, or only `host:port`, has this address; no resolver is asked. A port of 0 stands for the URL's port.
    /// Called again for the same host, it replaces the address.
    pub fn resolve(mut self, host: &str, address: SocketAddr) -> Self {
        self.overrides.set(host, vec![address]);
        self
    }

    /// Resolves names by `resolver`. By default, `HickoryResolver` with the feature
    /// `hickory`, otherwise [`SystemResolver`](crate::SystemResolver).
    pub fn dns_resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(SharedResolver(Arc::new(resolver)));
        self
    }

    /// Makes connections by `connect`, in place of resolving, TCP and TLS: for tests in memory, tunnels, and
    /// transports of your own. For https, what it returns must have done TLS already.
    ///
    /// It runs in the dial's own task, under the [connect timeout](Self::connect_timeout); an error is reported as
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect).
    pub fn connector<C, F>(mut self, connect: C) -> Self
    where
        C: Fn(Destination) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Box<dyn Transport>, BoxError>> + Send + 'static,
    {
        type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, BoxError>> + Send>>;
        self.connector = Some(SharedConnector(Arc::new(move |to| Box::pin(connect(to)) as Connecting)));
        self
    }

    /// Trusts servers that this certificate vouches for, besides those that the platform trusts.
    #[cfg(feature = "rustls")]
    pub fn add_root_certificate(mut self, certificate: crate::Certificate) -> Self {
        self.tls.roots.push(certificate);
        self
    }
}

/// # Requests and responses
impl ClientBuilder {
    /// Sets how long a response's head may take, from the moment its request is written: 120 s by default. `None`: without
    /// a limit.
    ///
    /// The default does not cut a total [`timeout`](Self::timeout) short: if the client or a request sets a total timeout and
    /// no response timeout, only the total timeout holds. For one request, see
    /// [`RequestBuilder::response_timeout`](crate::RequestBuilder::response_timeout).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), handclasp::Error> {
    /// // A response may take five minutes to begin.
    /// let client = handclasp::Client::builder().timeout(Duration::from_secs(300)).build()?;
    /// // And here, as long as it likes.
    /// let patient = handclasp::Client::builder().response_timeout(None).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn response_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.timeouts.response = Some(timeout.into());
        self
    }

    /// Sets how long a response's content may pause while it is being read: 120 s by default. `None`: without a limit. For
    /// one request, see [`RequestBuilder::read_timeout`](crate::RequestBuilder::read_timeout).
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.timeouts.read = Some(timeout.into());
        self
    }

    /// Sets how long a request may be held up by a server that takes nothing of it: 60 s by default. `None`: without a
    /// limit. For one request, see [`RequestBuilder::write_timeout`](crate::RequestBuilder::write_timeout).
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.timeouts.write = Some(timeout.into());
        self
    }

    /// Sets how long a request with `Expect: 100-continue` holds its content back while the server says nothing to it: 1 s
    /// by default, as in Go and curl. `None`: until the server answers.
    pub fn expect_continue_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.expect_continue = timeout.into().unwrap_or(NEVER);
        self
    }

    /// Sends `Expect: 100-continue` with every request that has at least so many bytes of content, or content of
    /// unknown length: a server that refuses it is spared the upload, and an accepted upload costs one more round
    /// trip. Never by default, nor to a server that was seen to speak HTTP/1.0. See [`expect_continue`](crate::RequestBuilder::expect_continue).
    pub fn expect_continue_above(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.request.expect_continue_above = bytes.into();
        self
    }

    /// Calls `informed` for every interim (1xx) response, such as `103 Early Hints`, before the final one comes. It
    /// runs within the request's future, which it should not hold up.
    ///
    /// How many are taken, and how large, is bounded by [`codec_limits`](Self::codec_limits); they do not extend the
    /// [`response_timeout`](Self::response_timeout).
    ///
    /// ```
    /// let client = handclasp::Client::builder().on_informational(|status, headers| {
    ///     println!("{status}: {:?}", headers.get("link"));
    /// });
    /// ```
    pub fn on_informational(
        mut self,
        informed: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.request.on_informational = Some(Informed(Arc::new(informed)));
        self
    }

    /// Sets how long a request may take as a whole, from the call to the end of its response's content: without a limit
    /// (`None`) by default. For one request, see [`RequestBuilder::timeout`](crate::RequestBuilder::timeout).
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.request.timeout = Some(timeout.into());
        self
    }

    /// Fields that every request has, unless it sets them itself. None by default.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        self.request.default_headers.extend(headers);
        self
    }

    /// The `User-Agent` of every request that does not set its own: `handclasp/` and the crate's version by default
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-10.1.5>).
    pub fn user_agent<V>(mut self, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match value.try_into() {
            Ok(value) => {
                self.request.default_headers.insert(USER_AGENT, value);
            }
            Err(error) => {
                let error = Error::request("the user agent is not a valid field value").because(error.into());
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Sends no `User-Agent`, but for requests that set one.
    pub fn no_user_agent(mut self) -> Self {
        self.has_no_user_agent = true;
        self.request.default_headers.remove(USER_AGENT);
        self
    }

    /// The most content that [`bytes`](crate::Response::bytes), [`text`](crate::Response::text) and
    /// [`collect`](crate::Response::collect) put into memory: 256 MiB by default. A larger body is an error.
    pub fn max_collected_body(mut self, bytes: usize) -> Self {
        self.request.max_collected_body = bytes;
        self
    }

    /// What the codec accepts: sizes of heads and trailers, and leniencies.
    pub fn codec_limits(mut self, limits: crate::codec::Limits) -> Self {
        self.exchange.limits = limits;
        self
    }

    /// Builds the client. No I/O is done: name servers, certificates and hosts are first asked by a request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) when a setting is invalid: a limit of 0 connections, or a
    /// user agent that is no field value.
    pub fn build(self) -> Result<Client> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.pool.max_connections_per_host == 0 || self.pool.max_connections == 0 {
            return Err(Error::request("a limit of 0 connections would let no request through"));
        }
        Ok(self.build_valid())
    }

    /// For the default settings, which are valid.
    pub(crate) fn build_valid(mut self) -> Client {
        if !self.has_no_user_agent {
            let fields = self.request.default_headers.entry(USER_AGENT);
            fields.or_insert(HeaderValue::from_static(concat!("handclasp/", env!("CARGO_PKG_VERSION"))));
        }
        self.request.closes = self.pool.max_idle_per_host == 0
            || self.pool.max_idle == Some(0)
            || self.pool.idle_timeout == Some(Duration::ZERO);
        if let Some(whole) = self.connect_timeout {
            // A default never cuts an explicit deadline short: the lookup has all of it.
            self.connect.connect_timeout = whole.unwrap_or(NEVER);
            self.connect.dns_timeout = NEVER;
            // Nor does the wait for a connection end before the dial.
            let dial = whole.map_or(Duration::ZERO, |whole| whole.saturating_add(Duration::from_secs(1)));
            self.pool.acquire_default = self.pool.acquire_default.max(dial);
        }
        if let Some(lookup) = self.dns_timeout {
            self.connect.dns_timeout = lookup.unwrap_or(NEVER);
            if let (Some(lookup), None) = (lookup, self.connect_timeout) {
                // What follows the lookup has as long as it has by default.
                let whole = lookup.saturating_add(Duration::from_secs(5));
                self.connect.connect_timeout = self.connect.connect_timeout.max(whole);
            }
        }
        self.pool.connect_timeout = Some(self.connect.connect_timeout);
        let names = Names::new(self.overrides, self.resolver.map(|resolver| resolver.0));
        let dialer = Dialer::new(names, self.connect, self.tls, self.connector.map(|connector| connector.0));
        Client::new_with(self.pool, dialer, self.exchange, self.request)
    }
}
