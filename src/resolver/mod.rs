//! Resolving a host name to socket addresses: the [`Resolve`] trait, and the order in which the sources of addresses are
//! asked.
//!
//! The application's overrides come first, then IP literals, then `localhost`, and the resolver last. Invariants: an IP
//! literal or a name under `localhost` never reaches a resolver, and a lookup that succeeds returns at least one address.
//! This module knows nothing of connections.

mod cache;
#[cfg(feature = "hickory-dns")]
mod files;
#[cfg(feature = "hickory-dns")]
mod hickory;
mod lookups;
mod on_lookup;
mod overrides;
#[cfg(feature = "hickory-dns")]
mod search;
#[cfg(feature = "hickory-dns")]
mod servers;
mod stream;
mod system;

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;

pub(crate) use self::cache::Ttl;
#[cfg(feature = "hickory-dns")]
pub use self::hickory::HickoryResolver;
use self::lookups::{Lookups, Outcome};
pub(crate) use self::on_lookup::OnLookup;
pub(crate) use self::overrides::Overrides;
pub use self::system::SystemResolver;
use crate::error::BoxError;
use crate::timings::Rounded;

/// A resolver: looks up the socket addresses of host names.
///
/// The client calls [`resolve`](Self::resolve) when the client dials a host whose addresses are not known. The client
/// does not resolve IP literals, names under `localhost`, and hosts that have an override
/// ([`ClientBuilder::resolve`](crate::ClientBuilder::resolve)).
///
/// All connections of a client that are dialed at the same time share one lookup of a name, on whatever runtime they are
/// dialed. The client caches answers ([`dns_cache_ttl`](crate::ClientBuilder::dns_cache_ttl)), so that a resolver needs no
/// cache of its own. The page on [testing](crate::manual::testing) has a resolver for tests, and `examples/resolver.rs` has
/// one that reads SRV records.
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
    /// `name` is the host name as the URL has it: in ASCII (internationalized labels are A-labels) and in lower case. A final
    /// dot means that the name is absolute, so that no search list applies to it.
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

    /// Looks up the addresses of `name` and yields them as they become known. The client calls this method instead of
    /// [`resolve`](Self::resolve), and begins to connect when the first addresses arrive.
    ///
    /// Implement this method if one part of an answer may come much later than another part, as when the two families
    /// are looked up by two queries. The default yields the answer of [`resolve`](Self::resolve).
    ///
    /// Each item is a part of the answer. The end of the stream means that the answer is complete. If no part has an
    /// address, the name has no address. The time for which the whole answer may be cached is the shortest of its parts.
    /// The client reads at most 1,024 addresses and at most 1,024 parts.
    ///
    /// # Errors
    ///
    /// The client reads no item after an error. An error after addresses means that the rest of the answer is missing. The
    /// client then uses the addresses, and caches them only for a short time.
    ///
    /// # Cancel safety
    ///
    /// The client may drop the stream at any time. Several tasks may poll the stream one after another.
    ///
    /// # Examples
    ///
    /// A resolver that yields the addresses of its cache file before those of a slow directory:
    ///
    /// ```
    /// use std::future::Future;
    /// use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    /// use std::pin::Pin;
    ///
    /// use futures_core::Stream;
    /// use futures_util::stream::{self, StreamExt};
    /// use handclasp::{Answer, BoxError, Client, Family, Resolve};
    ///
    /// struct TwoParts;
    ///
    /// async fn from_file() -> Result<Answer, BoxError> {
    ///     Ok(Answer::new([SocketAddr::from((Ipv6Addr::LOCALHOST, 0))]))
    /// }
    ///
    /// async fn from_directory() -> Result<Answer, BoxError> {
    ///     Ok(Answer::new([SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]))
    /// }
    ///
    /// impl Resolve for TwoParts {
    ///     fn resolve(
    ///         &self,
    ///         name: &str,
    ///         family: Family,
    ///     ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
    ///         let mut parts = self.resolve_stream(name, family);
    ///         Box::pin(async move {
    ///             let mut all = Answer::default();
    ///             while let Some(part) = parts.next().await {
    ///                 all.addresses.extend(part?.addresses);
    ///             }
    ///             Ok(all)
    ///         })
    ///     }
    ///
    ///     fn resolve_stream(
    ///         &self,
    ///         _name: &str,
    ///         _family: Family,
    ///     ) -> Pin<Box<dyn Stream<Item = Result<Answer, BoxError>> + Send>> {
    ///         Box::pin(stream::once(from_file()).chain(stream::once(from_directory())))
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), BoxError> {
    /// let client = Client::builder().dns_resolver(TwoParts).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    fn resolve_stream(
        &self,
        name: &str,
        family: Family,
    ) -> Pin<Box<dyn Stream<Item = Result<Answer, BoxError>> + Send>> {
        Box::pin(stream::once(self.resolve(name, family)))
    }

    /// Tells the resolver that the machine is in another network now.
    /// [`Pool::on_network_change`](crate::Pool::on_network_change) calls this method.
    ///
    /// A resolver that keeps answers, connections or the addresses of name servers forgets them. The default does nothing.
    fn network_changed(&self) {}
}

/// Future that [`Resolve::resolve`] returns.
pub(crate) type Resolving = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// Stream that [`Resolve::resolve_stream`] returns.
pub(crate) type Parts = Pin<Box<dyn Stream<Item = Result<Answer, BoxError>> + Send>>;

/// Addresses of a host in the order in which they become known, in batches.
///
/// Each batch has at least one address, and no address comes twice. The ports are filled in. The stream ends when the
/// lookup is complete. If the lookup failed, or a part of the answer is missing, or nothing was found, the last item is the
/// only error.
pub(crate) type Addresses<'a> =
    Pin<Box<dyn Stream<Item = Result<Vec<SocketAddr>, ResolveError>> + Send + 'a>>;

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

impl Answer {
    /// Adds a part of the answer. The whole answer is valid for the shortest time of the parts that have addresses. If no
    /// part has addresses, the shortest time of all parts counts.
    pub(crate) fn add(&mut self, part: Self) {
        match (self.addresses.is_empty(), part.addresses.is_empty()) {
            (true, false) => *self = part,
            (false, true) => {}
            _ => {
                self.valid_for = [self.valid_for, part.valid_for].into_iter().flatten().min();
                self.addresses.extend(part.addresses);
            }
        }
    }
}

impl<T: Resolve + ?Sized> Resolve for Arc<T> {
    fn resolve(&self, name: &str, family: Family) -> Resolving {
        (**self).resolve(name, family)
    }

    fn is_ordered(&self) -> bool {
        (**self).is_ordered()
    }

    fn resolve_stream(&self, name: &str, family: Family) -> Parts {
        (**self).resolve_stream(name, family)
    }

    fn network_changed(&self) {
        (**self).network_changed();
    }
}

/// Resolver of one client. The sources are asked in this order: overrides, IP literals, `localhost`, and a [`Resolve`].
/// A cache stands in front of the [`Resolve`], and concurrent dials of one name share one lookup.
pub(crate) struct Resolver {
    overrides: Overrides,
    is_ordered: bool,
    resolve: Lookups,
}

impl Resolver {
    /// Returns a resolver that asks `resolve`. The default is hickory if the feature `hickory-dns` is on, and
    /// `getaddrinfo` otherwise.
    pub(crate) fn new(overrides: Overrides, resolve: Option<Arc<dyn Resolve>>) -> Self {
        let resolve = resolve.unwrap_or_else(default_resolver);
        let is_ordered = resolve.is_ordered();
        Self { overrides, is_ordered, resolve: Lookups::new(resolve, Ttl::default()) }
    }

    /// Whether answers are in the order in which their addresses are to be tried.
    pub(crate) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Returns the resolver with an empty cache that has these bounds, and with the function that measures its lookups.
    pub(crate) fn with(mut self, ttl: Ttl, on_lookup: Option<OnLookup>) -> Self {
        self.resolve = self.resolve.with(ttl, on_lookup);
        self
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

    /// Looks up the addresses of `host`, which are not [`known`](Self::known).
    ///
    /// The caller drops the stream when the caller has waited for the time `limit`. The lookup itself has no time limit.
    pub(crate) fn addresses(&self, host: &str, port: u16, family: Family, limit: Duration) -> Addresses<'_> {
        let answers = Some(self.resolve.ask(host, family, limit));
        let batches = Batches { name: host.to_owned(), port, family, answers, told: Vec::new() };
        Box::pin(stream::unfold(batches, Batches::next))
    }

    /// Whether the cache has an answer for `host` that is used without waiting for a lookup.
    pub(crate) fn is_cached(&self, host: &str, family: Family) -> bool {
        self.resolve.is_known(host, family)
    }

    /// Empties the cache, and tells the resolver that the machine is in another network now.
    pub(crate) fn network_changed(&self) {
        self.resolve.network_changed();
    }
}

/// Makes batches of addresses out of the parts of an answer.
struct Batches<S> {
    name: String,
    port: u16,
    family: Family,
    /// Parts of the answer. `None` once the stream has ended.
    answers: Option<S>,
    /// Addresses that were yielded.
    told: Vec<SocketAddr>,
}

impl<S: Stream<Item = Outcome> + Unpin> Batches<S> {
    /// Returns the next batch of addresses that were not yielded before, or the error at the end.
    async fn next(mut self) -> Option<(Result<Vec<SocketAddr>, ResolveError>, Self)> {
        let kind = loop {
            match stream::next(self.answers.as_mut()?).await {
                Some(Ok(answer)) => {
                    let batch = self.new_addresses(&answer);
                    if !batch.is_empty() {
                        self.told.extend(&batch);
                        return Some((Ok(batch), self));
                    }
                }
                Some(Err(source)) => break ResolveErrorKind::Failed(source),
                None if self.told.is_empty() => break ResolveErrorKind::NotFound(self.family),
                None => return None,
            }
        };
        self.answers = None;
        Some((Err(ResolveError { name: self.name.clone(), kind }), self))
    }

    fn new_addresses(&self, answer: &Answer) -> Vec<SocketAddr> {
        let mut new = Vec::with_capacity(answer.addresses.len());
        for address in &answer.addresses {
            let address = with_port(*address, self.port);
            if !self.told.contains(&address) && !new.contains(&address) {
                new.push(address);
            }
        }
        new
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

    /// Returns the addresses of `host` that became known within `timeout`.
    async fn look_up(
        resolver: &Resolver,
        host: &str,
        family: Family,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(known) = resolver.known(host, 80) {
            return Ok(known);
        }
        let mut batches = resolver.addresses(host, 80, family, timeout);
        let mut found = Vec::new();
        let all = async {
            while let Some(batch) = stream::next(&mut batches).await {
                found.extend(batch?);
            }
            Ok(())
        };
        match tokio::time::timeout(timeout, all).await {
            Ok(Err(error)) => Err(error),
            Err(_) if found.is_empty() => {
                let kind = ResolveErrorKind::TimedOut { after: timeout, setting: "dns_timeout" };
                Err(ResolveError { name: host.to_owned(), kind })
            }
            Ok(Ok(())) | Err(_) => Ok(found),
        }
    }

    async fn lookup(resolver: &Resolver, host: &str) -> Result<Vec<String>, String> {
        let found = look_up(resolver, host, Family::Both, LONG).await;
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
        let v6 = look_up(&resolver, "a.example", Family::V6, LONG).await.unwrap();
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
