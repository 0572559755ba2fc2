//! Resolving a host name to socket addresses: the [`Resolve`] trait, and the order in which the sources of addresses are
//! asked.
//!
//! The application's overrides come first, then IP literals, then `localhost`, and the resolver last. Invariants: an IP
//! literal or a name under `localhost` never reaches a resolver, and a lookup that succeeds returns at least one address.
//! This module knows nothing of connections.

#[cfg(feature = "hickory-dns")]
mod hickory;
mod overrides;
mod single_flight;
mod system;

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

#[cfg(feature = "hickory-dns")]
pub use self::hickory::HickoryResolver;
pub(crate) use self::overrides::Overrides;
use self::single_flight::SingleFlight;
pub use self::system::SystemResolver;
use crate::error::BoxError;
use crate::timings::Rounded;

/// A resolver: looks up the socket addresses of host names.
///
/// The client calls [`resolve`](Self::resolve) when the client dials a host whose addresses are not known. The client
/// does not resolve IP literals, names under `localhost`, and hosts that have an override
/// ([`ClientBuilder::resolve`](crate::ClientBuilder::resolve)).
///
/// Connections that are dialed at the same time on the same runtime share one lookup of a name. Answers are not cached.
/// The page on [testing](crate::manual::testing) has a resolver for tests.
///
/// # Examples
///
/// A resolver that reads a table of services. A service may listen on a port that differs from the URL's:
///
/// ```
/// use std::collections::HashMap;
/// use std::future::Future;
/// use std::net::SocketAddr;
/// use std::pin::Pin;
///
/// use handclasp::{Answer, BoxError, Client, Family, Resolve};
///
/// struct Services(HashMap<&'static str, SocketAddr>);
///
/// impl Resolve for Services {
///     fn resolve(
///         &self,
///         name: &str,
///         _family: Family,
///     ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
///         // An answer without addresses means that there is no such host.
///         let answer = Answer::new(self.0.get(name).copied());
///         Box::pin(async { Ok(answer) })
///     }
/// }
///
/// # fn main() -> Result<(), BoxError> {
/// let services = Services(HashMap::from([("orders.internal", "192.0.2.7:8080".parse()?)]));
/// let client = Client::builder().dns_resolver(services).build()?;
/// // A request for http://orders.internal/ connects to 192.0.2.7:8080.
/// # drop(client);
/// # Ok(())
/// # }
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// Looks up the addresses of `name` and returns them. The client ignores addresses that are not of `family`.
    ///
    /// `name` is the host name of the URL in ASCII (internationalized labels are A-labels), in lower case. A name with a
    /// final dot is absolute, so that no search domain is added to it.
    ///
    /// An answer without addresses means that the name has no address. After such an answer the request fails with
    /// [`ErrorKind::Dns`](crate::ErrorKind::Dns).
    ///
    /// # Errors
    ///
    /// An error means that the lookup failed. An error does not say whether the name exists. The client returns an
    /// error of kind [`ErrorKind::Dns`](crate::ErrorKind::Dns) whose source is the resolver's error.
    ///
    /// # Cancel safety
    ///
    /// The client may drop the future at any time, for example when the dns timeout passes. Several tasks may poll the
    /// future one after another.
    fn resolve(
        &self,
        name: &str,
        family: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    /// Whether the addresses of an answer are in order of preference, which is the default. The client then tries the
    /// addresses in this order, except that the families take turns and that addresses which failed lately come last.
    ///
    /// The client orders the addresses of a resolver that returns `false` by
    /// [RFC 6724](https://www.rfc-editor.org/rfc/rfc6724#section-6). `HickoryResolver` returns `false`, because name
    /// servers do not know from which network the client connects. The system's resolver orders its answers.
    fn is_ordered(&self) -> bool {
        true
    }
}

/// The addresses that a lookup finds, in batches. No address comes twice. An error comes last, and only if there is no
/// address.
pub(crate) type Addresses<'a> =
    Pin<Box<dyn Stream<Item = Result<Vec<SocketAddr>, ResolveError>> + Send + 'a>>;

/// Future that [`Resolve::resolve`] returns.
pub(crate) type Resolving = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// Address families that a lookup asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "the internet has two families of addresses")]
pub enum Family {
    /// IPv4 addresses only.
    V4,
    /// IPv6 addresses only.
    V6,
    /// Addresses of both families, in order of preference.
    Both,
}

impl Family {
    /// Whether `address` is of this family.
    pub(crate) fn includes(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
            Self::Both => true,
        }
    }
}

/// Answer of a resolver: the socket addresses of a name, and how long these addresses are valid.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use std::time::Duration;
///
/// use handclasp::Answer;
///
/// let answer = Answer::new([SocketAddr::from(([192, 0, 2, 1], 0))]).valid_for(Duration::from_secs(60));
/// assert_eq!(answer.addresses.len(), 1);
/// assert_eq!(answer.valid_for, Some(Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Socket addresses of the name, in order of preference ([`Resolve::is_ordered`]). Empty if the name has no address.
    ///
    /// Port 0 stands for the port of the URL. If an address has another port, the client connects to that port instead
    /// of the URL's port. The `Host` field, the name that TLS verifies, and the key of the pool still come from the
    /// URL.
    pub addresses: Vec<SocketAddr>,
    /// Time for which the answer may be cached, if the resolver knows this time.
    pub valid_for: Option<Duration>,
}

impl Answer {
    /// Returns an answer with these socket addresses, in order of preference. Port 0 stands for the port of the URL.
    ///
    /// The answer does not say for how long it is valid.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { addresses: addresses.into_iter().collect(), valid_for: None }
    }

    /// Returns the answer with the time for which it may be cached.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = Some(time);
        self
    }
}

impl<T: Resolve + ?Sized> Resolve for Arc<T> {
    fn resolve(&self, name: &str, family: Family) -> Resolving {
        (**self).resolve(name, family)
    }

    fn is_ordered(&self) -> bool {
        (**self).is_ordered()
    }
}

/// Resolver of one client. The sources are asked in this order: overrides, IP literals, `localhost`, and a [`Resolve`].
/// Concurrent dials of one name share one lookup of the [`Resolve`].
pub(crate) struct Resolver {
    overrides: Overrides,
    is_ordered: bool,
    resolve: SingleFlight,
}

impl Resolver {
    /// Returns a resolver that asks `resolve`. The default is hickory if the feature `hickory-dns` is on, and
    /// `getaddrinfo` otherwise.
    pub(crate) fn new(overrides: Overrides, resolve: Option<Arc<dyn Resolve>>) -> Self {
        let resolve = resolve.unwrap_or_else(default_resolver);
        Self { overrides, is_ordered: resolve.is_ordered(), resolve: SingleFlight::new(resolve) }
    }

    /// Whether answers are in the order in which their addresses are to be tried.
    pub(crate) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Returns the addresses of `host` that are known without a lookup.
    pub(crate) fn known(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if let Some(addresses) = self.overrides.find(host, port) {
            return Some(addresses);
        }
        if let Some(address) = literal(host) {
            return Some(vec![SocketAddr::new(address, port)]);
        }
        is_localhost(host).then(|| {
            let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            loopback.map(|address| SocketAddr::new(address, port)).to_vec()
        })
    }

    /// Looks up the addresses of `host` of this family. The lookup has no time limit.
    pub(crate) fn addresses<'a>(&'a self, host: &'a str, port: u16, family: Family) -> Addresses<'a> {
        Box::pin(Batch(Some(Box::pin(self.lookup(host, port, family, Duration::MAX)))))
    }

    /// Returns the addresses of `host`: at least one address, and no address twice. Addresses that are known without a
    /// lookup may be of any family.
    pub(crate) async fn lookup(
        &self,
        host: &str,
        port: u16,
        family: Family,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(addresses) = self.known(host, port) {
            return Ok(addresses);
        }
        let error = |kind| ResolveError { name: host.to_owned(), kind };
        let answer = tokio::time::timeout(timeout, self.resolve.resolve(host, family))
            .await
            .map_err(|_| error(ResolveErrorKind::TimedOut { after: timeout, setting: "dns_timeout" }))?
            .map_err(|source| error(ResolveErrorKind::Failed(source)))?;

        let mut addresses = Vec::with_capacity(answer.addresses.len());
        for address in answer.addresses.into_iter().filter(|address| family.includes(address.ip())) {
            let address = with_port(address, port);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(error(ResolveErrorKind::NotFound(family))) } else { Ok(addresses) }
    }
}

/// The one batch of a lookup that tells no partial answers.
struct Batch<'a>(Option<Found<'a>>);

type Found<'a> = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, ResolveError>> + Send + 'a>>;

impl Stream for Batch<'_> {
    type Item = Result<Vec<SocketAddr>, ResolveError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(found) = &mut self.0 else { return Poll::Ready(None) };
        let found = std::task::ready!(found.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(Some(found))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("overrides", &self.overrides).finish_non_exhaustive()
    }
}

/// Failure to resolve a name.
#[derive(Debug)]
pub(crate) struct ResolveError {
    pub(crate) name: String,
    pub(crate) kind: ResolveErrorKind,
}

/// Reason why a name was not resolved.
#[derive(Debug)]
pub(crate) enum ResolveErrorKind {
    /// The resolver answered that the name has no addresses of this family.
    NotFound(Family),
    /// The resolver did not answer within the time that the setting allows.
    TimedOut { after: Duration, setting: &'static str },
    /// The resolver returned this error.
    Failed(Arc<dyn StdError + Send + Sync>),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.kind {
            ResolveErrorKind::NotFound(Family::Both) => {
                write!(f, "no such host: the name {name:?} has no address")
            }
            ResolveErrorKind::NotFound(Family::V4) => {
                write!(f, "no such host: the name {name:?} has no IPv4 address")
            }
            ResolveErrorKind::NotFound(Family::V6) => {
                write!(f, "no such host: the name {name:?} has no IPv6 address")
            }
            ResolveErrorKind::TimedOut { after, setting } => {
                let after = Rounded(*after);
                write!(f, "the resolver did not answer within {after} for the name {name:?} ({setting})")
            }
            ResolveErrorKind::Failed(_) => write!(f, "the resolver could not look up the name {name:?}"),
        }
    }
}

impl StdError for ResolveError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            ResolveErrorKind::Failed(source) => Some(&**source),
            ResolveErrorKind::NotFound(_) | ResolveErrorKind::TimedOut { .. } => None,
        }
    }
}

/// Returns `address` with `port` if its own port is 0, and unchanged otherwise.
fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    if address.port() == 0 {
        address.set_port(port);
    }
    address
}

/// Returns `host` without the brackets that a URI puts around an IPv6 address, and without a final dot.
fn bare(host: &str) -> &str {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

/// Returns the address of an IP literal. Returns `None` if `host` is not an IP literal.
fn literal(host: &str) -> Option<IpAddr> {
    bare(host).parse().ok()
}

/// Whether `host` is `localhost` or a name under `localhost`.
///
/// > Name resolution APIs and libraries SHOULD recognize localhost names as special and SHOULD always return the
/// > IP loopback address for address queries [...]
///
/// <https://www.rfc-editor.org/rfc/rfc6761#section-6.3>
fn is_localhost(host: &str) -> bool {
    let last = bare(host).rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(feature = "hickory-dns")]
fn default_resolver() -> Arc<dyn Resolve> {
    Arc::new(HickoryResolver::new())
}

#[cfg(not(feature = "hickory-dns"))]
fn default_resolver() -> Arc<dyn Resolve> {
    Arc::new(SystemResolver::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    /// A resolver that answers every lookup with these addresses. With `None`, no lookup ends.
    struct Fixed(Option<Vec<SocketAddr>>);

    impl Resolve for Fixed {
        fn resolve(&self, name: &str, _family: Family) -> Resolving {
            assert!(!name.ends_with("localhost") && literal(name).is_none(), "{name} reached the resolver");
            match self.0.clone() {
                Some(addresses) => Box::pin(async { Ok(Answer::new(addresses)) }),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    fn resolver(overrides: Overrides, addresses: &[&str]) -> Resolver {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Resolver::new(overrides, Some(Arc::new(Fixed(Some(addresses)))))
    }

    async fn lookup(resolver: &Resolver, host: &str) -> Result<Vec<String>, String> {
        let found = resolver.lookup(host, 80, Family::Both, LONG).await;
        found.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn literals_and_localhost_never_reach_the_resolver() {
        let resolver = resolver(Overrides::default(), &[]);
        for (host, addresses) in [
            ("127.0.0.9", vec!["127.0.0.9:80"]),
            ("[::9]", vec!["[::9]:80"]),
            ("::9", vec!["[::9]:80"]),
            ("localhost", vec!["127.0.0.1:80", "[::1]:80"]),
            ("LOCALHOST.", vec!["127.0.0.1:80", "[::1]:80"]),
            ("a.b.localhost", vec!["127.0.0.1:80", "[::1]:80"]),
        ] {
            assert_eq!(lookup(&resolver, host).await.unwrap(), addresses, "R-6761-6.3-1: {host}");
        }
    }

    #[tokio::test]
    async fn overrides_come_before_everything() {
        let mut overrides = Overrides::default();
        for (host, address) in [
            ("Example.org", "192.0.2.1:0"),
            ("example.org:80", "192.0.2.2:8080"),
            ("localhost", "192.0.2.3:1"),
            ("192.0.2.9", "192.0.2.4:0"),
            ("[2001:db8::1]:80", "192.0.2.5:0"),
        ] {
            overrides.set(host, vec![address.parse().unwrap()]);
        }
        let resolver = resolver(overrides, &["203.0.113.7:0"]);
        for (host, address) in [
            ("EXAMPLE.ORG.", "192.0.2.2:8080"),
            ("localhost", "192.0.2.3:1"),
            ("192.0.2.9", "192.0.2.4:80"),
            ("[2001:0db8::1]", "192.0.2.5:80"),
            ("other.example", "203.0.113.7:80"),
        ] {
            assert_eq!(lookup(&resolver, host).await.unwrap(), [address], "{host}");
        }
        assert_eq!(resolver.known("example.org", 81).unwrap(), ["192.0.2.1:81".parse().unwrap()]);
    }

    #[tokio::test]
    async fn answers_are_of_the_family_asked_for_and_listed_once() {
        let resolver = resolver(Overrides::default(), &["192.0.2.1:0", "[::9]:0", "192.0.2.1:80"]);
        assert_eq!(lookup(&resolver, "a.example").await.unwrap(), ["192.0.2.1:80", "[::9]:80"]);
        let v6 = resolver.lookup("a.example", 80, Family::V6, LONG).await.unwrap();
        assert_eq!(v6, ["[::9]:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn port_0_of_an_answer_is_the_urls_and_any_other_port_is_kept() {
        let addresses = ["192.0.2.1:0", "192.0.2.1:8080", "[::9]:0", "[::9]:443", "192.0.2.1:8080"];
        let resolver = resolver(Overrides::default(), &addresses);
        let expected = ["192.0.2.1:80", "192.0.2.1:8080", "[::9]:80", "[::9]:443"];
        assert_eq!(lookup(&resolver, "a.example").await.unwrap(), expected);
    }

    #[tokio::test]
    async fn an_empty_answer_means_no_such_host() {
        let resolver = resolver(Overrides::default(), &[]);
        let error = lookup(&resolver, "a.example").await.unwrap_err();
        assert_eq!(error, "no such host: the name \"a.example\" has no address");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_is_not_answered_times_out() {
        let resolver = Resolver::new(Overrides::default(), Some(Arc::new(Fixed(None))));
        let started = crate::time::now();
        let error = lookup(&resolver, "a.example").await.unwrap_err();
        assert_eq!(error, "the resolver did not answer within 5s for the name \"a.example\" (dns_timeout)");
        assert_eq!(crate::time::now() - started, LONG);
    }
}
