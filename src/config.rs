//! All settings, as plain nested data, and the builder that sets them.
//!
//! Each group of settings is defined next to the module that uses the group. No module below [`client`](crate::client)
//! sees all settings. Invariant: building does no I/O, except that building reads the environment variables that name
//! proxies and, with the feature `system-proxy`, the proxies in the settings of the system.

#[cfg(feature = "url")]
mod base;
mod handshake;
mod hooks;
#[cfg(feature = "otel")]
mod metrics;
mod network;
#[cfg(feature = "proxy")]
mod proxies;
mod sockets;
#[cfg(feature = "rustls")]
mod tls;
#[cfg(unix)]
mod unix;

mod codings;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::call::{Informed, RequestConfig, auth};
use crate::client::Client;
use crate::connect::{
    ConnectConfig, Connector, Destination, Dialer, Proxies, SocketPath, TlsConfig, Transport, Ways,
};
use crate::error::{BoxError, Error, Result};
use crate::exchange::ExchangeConfig;
use crate::exchange::timeout::{NEVER, Setting};
use crate::pool::{IdleConnection, PoolConfig};
use crate::resolver::{OnLookup, Overrides, Resolve, Resolver, Ttl};

/// Builds a [`Client`]. The page on [defaults](crate::manual::defaults) lists the default of each setting and its reason.
/// The page on [limits](crate::manual::limits) says how to choose limits and timeouts.
///
/// A timeout or limit that takes an `Option` is switched off by `None`.
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
    dns_ttl: Ttl,
    /// Function that measures the lookups of names.
    on_lookup: Option<OnLookup>,
    tls: TlsConfig,
    connector: Option<SharedConnector>,
    dns_timeout: Setting,
    connect_timeout: Setting,
    has_no_user_agent: bool,
    /// The proxies, or `None` if they come from the environment.
    proxies: Option<Proxies>,
    /// The unix socket of all connections.
    unix_socket: Option<Arc<SocketPath>>,
    error: Option<Error>,
}

/// Largest number of default fields. A map of fields panics above this number.
const MOST_FIELDS: usize = 24_576;

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

impl ClientBuilder {
    /// Returns a builder with the default settings, as [`Client::builder`] does.
    pub fn new() -> Self {
        Self::default()
    }
}

/// # Connections
impl ClientBuilder {
    /// Sets the largest number of connections to one host: idle, active and being made. Unlimited by default, as in
    /// reqwest and Go.
    ///
    /// Further requests wait in the order of their arrival, for at most the [acquire timeout](Self::acquire_timeout).
    /// [`build`](Self::build) refuses 0.
    pub fn max_connections_per_host(mut self, connections: usize) -> Self {
        self.pool.limits.max_connections_per_host = connections;
        self
    }

    /// Sets the largest number of connections to all hosts together: idle, active and being made. Unlimited by default.
    ///
    /// If the limit is reached, an idle connection of another host is closed for a request that needs a new connection.
    /// [`build`](Self::build) refuses 0.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.pool.limits.max_connections = connections;
        self
    }

    /// Sets the largest number of idle connections that are kept for one host. Unlimited by default, as in reqwest (Go
    /// keeps 2), because the [idle timeout](Self::idle_timeout) closes the connections that are not needed.
    ///
    /// The connection that was used last is used first, and the connection that has been idle for longest is closed
    /// first. With 0, no connection is kept: every request has a connection of its own and says `Connection: close`
    /// (<https://www.rfc-editor.org/rfc/rfc9112#section-9.3>).
    pub fn max_idle_per_host(mut self, connections: usize) -> Self {
        self.pool.limits.max_idle_per_host = connections;
        self
    }

    /// Sets the largest number of idle connections that are kept for all hosts together. By default 1,024, or the limit
    /// of [`max_connections`](Self::max_connections) or [`max_connections_per_host`](Self::max_connections_per_host) if
    /// that limit is larger.
    ///
    /// The connection that has been idle for longest is closed first. A connection that was used within the last second
    /// is never closed for this limit, so that a burst keeps its connections. With 0, no connection is kept, as with
    /// [`max_idle_per_host`](Self::max_idle_per_host).
    pub fn max_idle(mut self, connections: usize) -> Self {
        self.pool.limits.max_idle = Some(connections);
        self
    }

    /// Sets how long a connection may stay idle before it is closed: 60 s by default, because many servers close idle
    /// connections after less than the 90 s of Go and reqwest.
    ///
    /// A server's `Keep-Alive: timeout=N` shortens this time to N - 1 s. With `None`, a connection stays until the
    /// server closes it. With zero, no connection is kept, as with [`max_idle_per_host`](Self::max_idle_per_host).
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.pool.limits.idle_timeout = timeout.into();
        self
    }

    /// This method is [`idle_timeout`](Self::idle_timeout) under its name in reqwest.
    pub fn pool_idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout(timeout)
    }

    /// This method is [`max_idle_per_host`](Self::max_idle_per_host) under its name in reqwest.
    pub fn pool_max_idle_per_host(self, connections: usize) -> Self {
        self.max_idle_per_host(connections)
    }

    /// Sets the time after which a connection is used for no further request. Unlimited by default (`None`).
    ///
    /// A random part of up to a tenth is subtracted from the lifetime of each connection, so that connections that were
    /// made together are not replaced together. A request that is under way is not interrupted.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.pool.limits.max_lifetime = lifetime.into();
        self
    }

    /// Sets the largest number of requests that may wait for a connection to one host: 10,000 by default. A further
    /// request fails at once with [`ErrorKind::PoolFull`](crate::ErrorKind::PoolFull).
    pub fn max_waiters_per_host(mut self, waiters: usize) -> Self {
        self.pool.limits.max_waiters_per_host = waiters;
        self
    }

    /// Sets how recently an idle connection must have been used to carry a request that cannot be sent twice, such as a
    /// POST without an `Idempotency-Key`. Off by default (`None`).
    ///
    /// A request of this kind fails if the server closes the connection at the moment at which the request is sent.
    /// Every connection is checked right before a request, so that this moment is short. A value such as 2 s makes the
    /// failure less likely still, because servers close connections that have been idle for long. If no idle connection
    /// is recent enough, a new connection is made.
    pub fn fresh_for_unsafe(mut self, fresh: impl Into<Option<Duration>>) -> Self {
        self.pool.fresh_for_unsafe = fresh.into();
        self
    }

    /// Sets a function that decides whether a connection is closed instead of being kept.
    ///
    /// The function is called when a connection comes back from a request, before an idle connection is used again, and
    /// every few seconds while a connection is idle. The function is called often and must not block. The function may
    /// use the client. If the function panics within a request, that request fails. If the function panics in the
    /// background, the idle connections of that runtime are closed.
    ///
    /// ```
    /// // A load balancer distributes connections instead of requests, so each connection carries at most 1,000 requests.
    /// let client = handclasp::Client::builder().evict_if(|idle| idle.requests() >= 1_000).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn evict_if(
        mut self,
        is_unwanted: impl Fn(&IdleConnection<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.pool.evict_if.get_or_insert_default().predicate = Some(Arc::new(is_unwanted));
        self
    }

    /// Sets the longest waiting period between dials to a failing host. No waiting period by default (`None`).
    ///
    /// A host is failing after two failed dials in a row. Only one dial at a time is made to a failing host, and all
    /// requests that come during this dial share its outcome. With `None`, the next request after a failed dial starts
    /// the next dial. With `Some(longest)`, there is a waiting period before the next dial: a random part of 250 ms,
    /// doubled with each further failure up to `longest`. Requests that come within the waiting period fail at once,
    /// with [`is_not_attempted`](crate::Error::is_not_attempted). Dials for [`min_idle`](crate::Client::min_idle) wait
    /// a few seconds after a failure in any case.
    pub fn failing_host_backoff(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.pool.limits.failing_host_backoff = longest.into();
        self
    }

    /// Sets whether requests wait for the end of a failing host's waiting period (see
    /// [`failing_host_backoff`](Self::failing_host_backoff)) and for the dial after this period, instead of failing at
    /// once. `false` by default.
    pub fn wait_for_failing_hosts(mut self, wait: bool) -> Self {
        self.pool.limits.wait_for_failing = wait;
        self
    }

    /// Sets the number of useless connections after which the client keeps no connection to a host for 60 s: 3 by
    /// default, and at least 1. With `None`, the connections to every host are kept.
    ///
    /// A connection is useless for one of two reasons. The server may close the connection without notice after one
    /// response, which costs a retry. Only connections in a row count for this reason. The server may also send bytes
    /// that no request asked for, which could be taken for the next response.
    pub fn not_kept_after(mut self, connections: impl Into<Option<u8>>) -> Self {
        self.pool.limits.not_kept_after = connections.into();
        self
    }

    /// Sets whether the client doubts an answer that comes too soon on a reused connection. `true` by default.
    ///
    /// An answer cannot come sooner than one round trip after its request was sent. Bytes that come in less than half
    /// of the shortest round trip known for the host cannot answer the request. A request that may be repeated is then
    /// sent again, once, on a new connection. Any other request gets these bytes as its answer, and its connection is
    /// closed, so that no later request gets a wrong answer. See [the page on reuse](crate::manual::reuse).
    ///
    /// The client measures the round trip by its connection attempts and by the first answers on new connections. The
    /// client doubts no answer if the round trip is shorter than 4 ms, if the server is on this machine, or if a custom
    /// [`connector`](Self::connector) makes connections that do not report their
    /// [`round_trip`](crate::Transport::round_trip).
    pub fn doubt_early_answers(mut self, doubt: bool) -> Self {
        self.pool.limits.doubts_early_answers = doubt;
        self
    }

    /// Sets how long a request may wait for a connection: 30 s by default. After this time, the request fails with
    /// [`ErrorKind::PoolTimeout`](crate::ErrorKind::PoolTimeout). With `None`, there is no limit.
    ///
    /// The default does not apply to a request with a [`timeout`](Self::timeout) or a
    /// [`RequestBuilder::connect_timeout`](crate::RequestBuilder::connect_timeout). For such a
    /// request only that limit applies.
    pub fn acquire_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.pool.acquire_timeout = Some(timeout.into());
        self
    }
}

/// # Names and addresses
impl ClientBuilder {
    /// Sets how long resolving a name may take. The default is 5 s, or the [`connect_timeout`](Self::connect_timeout)
    /// if the caller has set one. With `None`, only the connect timeout applies.
    ///
    /// The client tries addresses while others are still looked up. After this time it uses what was found until then.
    pub fn dns_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.dns_timeout = Some(timeout.into());
        self
    }

    /// Sets how long making a connection may take, from resolving the name to the end of the TLS handshake: 10 s by
    /// default. With `None`, there is no limit. [`dns_timeout`](Self::dns_timeout), [`tcp_timeout`](Self::tcp_timeout)
    /// and [`tls_timeout`](Self::tls_timeout) limit single steps.
    ///
    /// The timeout applies to the dial, which may serve another request than the one that started the dial. To limit
    /// how long one request waits, use [`RequestBuilder::connect_timeout`](crate::RequestBuilder::connect_timeout).
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = Some(timeout.into());
        self
    }

    /// Sets the local address of connections. With `None`, which is the default, the system chooses
    /// the address.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.connect.local_address = address.into();
        self
    }

    /// Sets the address of `host`, or only of `host:port`, so that no resolver looks this name up.
    ///
    /// A port of 0 stands for the URL's port. A later call for the same host replaces the address. A final dot of a host
    /// makes no difference here.
    ///
    /// ```
    /// let client = handclasp::Client::builder().resolve("api.example.org", ([127, 0, 0, 1], 8080).into()).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn resolve(mut self, host: &str, address: SocketAddr) -> Self {
        self.overrides.set(host, vec![address]);
        self
    }

    /// Sets the resolver of names. The default is `HickoryResolver` with the feature `hickory-dns`, and
    /// [`SystemResolver`](crate::SystemResolver) without this feature.
    pub fn dns_resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(SharedResolver(Arc::new(resolver)));
        self
    }

    /// Sets a function that makes connections. The function replaces the lookup of names, TCP and TLS, for example in
    /// [tests in memory](crate::manual::testing), for tunnels, and for other transports.
    ///
    /// For https, the function must return a connection on which TLS is established. The function runs in a task of its
    /// own, under the [connect timeout](Self::connect_timeout). An error of the function is reported as
    /// [`ErrorKind::Connect`](crate::ErrorKind::Connect).
    ///
    /// ```
    /// use tokio::net::TcpStream;
    ///
    /// let client = handclasp::Client::builder().connector(|to| async move {
    ///     // A `TcpStream` is a transport. A function that returns different types returns `Box<dyn Transport>`.
    ///     Ok(TcpStream::connect((to.host(), to.port())).await?)
    /// });
    /// ```
    pub fn connector<C, F, T>(mut self, connect: C) -> Self
    where
        C: Fn(Destination) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
        T: Transport,
    {
        type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, BoxError>> + Send>>;
        self.connector = Some(SharedConnector(Arc::new(move |to| {
            let connecting = connect(to);
            Box::pin(async move { connecting.await.map(Transport::boxed) }) as Connecting
        })));
        self
    }
}

/// # Requests and responses
impl ClientBuilder {
    /// Sets how long the server may take from the end of the request to the head of its response: 120 s by default. With
    /// `None`, there is no limit.
    ///
    /// The default does not apply if the client or the request has a total [`timeout`](Self::timeout). In this
    /// case only the total timeout applies.
    /// [`RequestBuilder::response_timeout`](crate::RequestBuilder::response_timeout) sets this timeout for one request.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), handclasp::Error> {
    /// // A response may take up to five minutes.
    /// let client = handclasp::Client::builder().timeout(Duration::from_secs(300)).build()?;
    /// // The head of a response may take any time.
    /// let patient = handclasp::Client::builder().response_timeout(None).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn response_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.timeouts.response = Some(timeout.into());
        self
    }

    /// Sets how long the server may send nothing while a response's content is read: 120 s by default. With `None`,
    /// there is no limit. [`RequestBuilder::read_timeout`](crate::RequestBuilder::read_timeout) sets this timeout for
    /// one request.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.timeouts.read = Some(timeout.into());
        self
    }

    /// Sets for how long the server may accept no byte while a request is written: 60 s by default. With `None`, there
    /// is no limit. [`RequestBuilder::write_timeout`](crate::RequestBuilder::write_timeout) sets this timeout for one
    /// request.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.timeouts.write = Some(timeout.into());
        self
    }

    /// Sets how long a request with `Expect: 100-continue` waits for the server before the request sends its content
    /// without an answer: 1 s by default, as in Go and curl. With `None`, the request waits until the server answers.
    pub fn expect_continue_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.exchange.expect_continue = timeout.into().unwrap_or(NEVER);
        self
    }

    /// Sets the size of content, in bytes, from which a request says `Expect: 100-continue`. By default (`None`), no
    /// request does.
    ///
    /// Content of unknown length counts as larger than any size. With the field, a server can refuse a request before
    /// the upload, but an accepted upload takes one more round trip. The field is not sent to a server that has
    /// answered in HTTP/1.0. [`RequestBuilder::expect_continue`](crate::RequestBuilder::expect_continue) adds the field
    /// to one request.
    pub fn expect_continue_above(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.request.expect_continue_above = bytes.into();
        self
    }

    /// Sets a function that is called for every interim (1xx) response, such as `103 Early Hints`, when it arrives.
    ///
    /// The function runs within the request's future and must not block. [`codec_limits`](Self::codec_limits) limits
    /// the number and the size of interim responses. Interim responses do not extend the
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

    /// Sets how long a request may take from the call to the end of its response's content. Unlimited by default
    /// (`None`). [`RequestBuilder::timeout`](crate::RequestBuilder::timeout) sets this timeout for one request.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.request.timeout = Some(timeout.into());
        self
    }

    /// Adds header fields to every request that does not set fields of the same names. By default no field is added.
    ///
    /// ```
    /// # let mut headers = http::HeaderMap::new();
    /// headers.insert("accept", "application/json".parse().unwrap());
    /// let client = handclasp::Client::builder().default_headers(headers).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        if self.request.default_headers.len().saturating_add(headers.len()) > MOST_FIELDS {
            self.error
                .get_or_insert_with(|| Error::request("there are too many default header fields: set fewer"));
            return self;
        }
        self.request.default_headers.extend(headers);
        self
    }

    /// Sets the `User-Agent` of every request that does not set this field itself. The default is `handclasp/` and the
    /// crate's version (<https://www.rfc-editor.org/rfc/rfc9110#section-10.1.5>). [`build`](Self::build) reports an
    /// invalid value.
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
                let error = Error::request(
                    "the user agent has a byte that a header value cannot have: remove control characters",
                )
                .because(error.into());
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Removes the default `User-Agent`, so that only a request that sets this field sends it.
    pub fn no_user_agent(mut self) -> Self {
        self.has_no_user_agent = true;
        self.request.default_headers.remove(USER_AGENT);
        self
    }

    /// Sets which redirects are followed: up to 10 by default, as in reqwest and Go.
    /// [`RequestBuilder::redirect`](crate::RequestBuilder::redirect) sets the policy of one request.
    ///
    /// ```
    /// use handclasp::redirect::Policy;
    /// let client = handclasp::Client::builder().redirect(Policy::none()).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    #[cfg(feature = "url")]
    pub fn redirect(mut self, policy: crate::redirect::Policy) -> Self {
        self.request.redirects.policy = policy;
        self
    }

    /// Sets whether a request that follows a redirect sends `Referer`. Within one origin the value is the URL of the
    /// redirect. To another origin the value is only the origin of the redirect. `false` by default, so that no URL
    /// reaches another server.
    #[cfg(feature = "url")]
    pub fn referer(mut self, refer: bool) -> Self {
        self.request.redirects.refers = refer;
        self
    }

    /// Sets whether the client stores the cookies of responses in a [`Jar`](crate::cookie::Jar) of its own, and sends
    /// the cookies back. `false` by default. The [module](crate::cookie) has the rules.
    ///
    /// Replaces the store of [`cookie_provider`](Self::cookie_provider).
    ///
    /// ```
    /// let client = handclasp::Client::builder().cookie_store(true).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    #[cfg(feature = "cookies")]
    pub fn cookie_store(mut self, store: bool) -> Self {
        let jar = store.then(|| Arc::new(crate::cookie::Jar::new()) as Arc<dyn crate::cookie::CookieStore>);
        self.request.cookies = crate::call::Cookies::of(jar);
        self
    }

    /// Sets the store of cookies: a [`Jar`](crate::cookie::Jar), which other clients and the caller can share, or a store of the
    /// caller. None by default.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use handclasp::cookie::Jar;
    ///
    /// let jar = Arc::new(Jar::new());
    /// let client = handclasp::Client::builder().cookie_provider(jar.clone()).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    #[cfg(feature = "cookies")]
    pub fn cookie_provider<C: crate::cookie::CookieStore + 'static>(mut self, store: Arc<C>) -> Self {
        self.request.cookies = crate::call::Cookies::of(Some(store));
        self
    }

    /// Sets the largest content, in bytes, that [`bytes`](crate::Response::bytes), [`text`](crate::Response::text) and
    /// [`collect`](crate::Response::collect) read into memory: 256 MiB by default. Larger content fails with
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode). Content that is decoded counts with its decoded size.
    pub fn max_collected_body(mut self, bytes: usize) -> Self {
        self.request.max_collected_body = bytes;
        self
    }

    /// Sets the limits of the codec: the sizes of heads and trailers that the codec accepts, and the departures from
    /// the grammar that the codec allows.
    ///
    /// ```
    /// let mut limits = handclasp::codec::Limits::default();
    /// limits.head = 256 * 1024;
    /// let client = handclasp::Client::builder().codec_limits(limits).build()?;
    /// # Ok::<(), handclasp::Error>(())
    /// ```
    pub fn codec_limits(mut self, limits: crate::codec::Limits) -> Self {
        self.exchange.limits = limits;
        self
    }

    /// Builds the client. This method does no I/O and needs no runtime: the first request reads certificates and
    /// resolves names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) if a setting is invalid: a limit of 0 connections, a user
    /// agent with a byte that a header value cannot have, an address filter together with a custom connector, a unix
    /// socket together with a setting that contradicts it, or TLS settings that contradict each other. A platform
    /// without root certificates is not an error of this method. The first https request fails instead.
    pub fn build(self) -> Result<Client> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.pool.limits.max_connections_per_host == 0 || self.pool.limits.max_connections == 0 {
            return Err(Error::request(
                "the limit of connections is 0, which would let no request through: set at least 1",
            ));
        }
        if self.connector.is_some() && self.connect.filter.is_some() {
            return Err(Error::request(
                "an address filter cannot see the addresses of a custom connector: check the addresses in the connector",
            ));
        }
        if self.connector.is_some() && self.proxies.as_ref().is_some_and(|proxies| !proxies.is_empty()) {
            return Err(Error::request(
                "the client has both a connector and a proxy: leave out the connector or the proxy, because a connector makes its connections itself",
            ));
        }
        self.check_sockets()?;
        #[cfg(unix)]
        self.check_unix_socket()?;
        self.tls.check()?;
        Ok(self.build_valid())
    }

    /// Builds a client from settings that have been checked.
    pub(crate) fn build_valid(mut self) -> Client {
        if !self.has_no_user_agent {
            let fields = self.request.default_headers.entry(USER_AGENT);
            fields.or_insert(HeaderValue::from_static(concat!("handclasp/", env!("CARGO_PKG_VERSION"))));
        }
        auth::mark_secrets(&mut self.request.default_headers);
        self.connect.user_agent = self.request.default_headers.get(USER_AGENT).cloned();
        self.request.closes = self.pool.limits.max_idle_per_host == 0
            || self.pool.limits.max_idle == Some(0)
            || self.pool.limits.idle_timeout == Some(Duration::ZERO);
        if let Some(whole) = self.connect_timeout {
            // A default timeout never shortens a timeout that was set. So the lookup may take the whole connect
            // timeout.
            self.connect.connect_timeout = whole.unwrap_or(NEVER);
            self.connect.dns_timeout = NEVER;
            // By default, a request waits for a connection at least as long as a dial may take.
            let dial = whole.map_or(Duration::ZERO, |whole| whole.saturating_add(Duration::from_secs(1)));
            self.pool.acquire_default = self.pool.acquire_default.max(dial);
        }
        if let Some(lookup) = self.dns_timeout {
            self.connect.dns_timeout = lookup.unwrap_or(NEVER);
            if let (Some(lookup), None) = (lookup, self.connect_timeout) {
                // The steps after the lookup may take 5 s, as they may by default.
                let whole = lookup.saturating_add(Duration::from_secs(5));
                self.connect.connect_timeout = self.connect.connect_timeout.max(whole);
            }
        }
        self.pool.limits.connect_timeout = Some(self.connect.connect_timeout);
        if let Some(generation) = self.tls.generation() {
            self.pool.evict_if.get_or_insert_default().generation = Some(generation);
        }
        if self.connect.spreads {
            // With this value, the pool checks whether the address of a connection has left.
            self.pool.evict_if.get_or_insert_default();
        }
        let proxies = match self.proxies {
            Some(proxies) => proxies,
            // A connector makes its connections itself, and no proxy is used for a unix socket.
            None if self.connector.is_some() || self.unix_socket.is_some() => Proxies::default(),
            None => Proxies::of_environment(),
        };
        self.request.ways = Ways::new(self.unix_socket, proxies);
        self.request.filter.clone_from(&self.connect.filter);
        let resolver = self.resolver.map(|resolver| resolver.0);
        let resolver = Resolver::new(self.overrides, resolver).with(self.dns_ttl, self.on_lookup);
        let dialer =
            Dialer::new(resolver, self.connect, self.tls, self.connector.map(|connector| connector.0));
        Client::new_with(self.pool, dialer, self.exchange, self.request)
    }
}
