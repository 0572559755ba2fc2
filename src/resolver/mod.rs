//! Names to addresses: what the dialer asks, and the trait by which an application answers instead.
//!
//! Knows nothing of connections. Before any resolver is asked come the answers that need none, in this order:
//! overrides, IP literals, and `localhost`. Invariant: an IP literal and a name under `localhost` never reach a
//! resolver, and a lookup that succeeds has at least one address.

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
use std::time::Duration;

#[cfg(feature = "hickory-dns")]
pub use self::hickory::HickoryResolver;
pub(crate) use self::overrides::Overrides;
use self::single_flight::SingleFlight;
pub use self::system::SystemResolver;
use crate::error::BoxError;

/// Turns names into addresses.
///
/// The names given to it are host names in ASCII (A-labels), without a trailing dot: never IP literals, never
/// `localhost`, never a name that the client has an override for.
///
/// An answer without addresses says that the name is known to have none (no such host); an error says that nothing
/// is known.
///
/// Connections that are made at the same time share a lookup: on one runtime, a name is not asked for again while it
/// is being asked for. (What was answered is not remembered.)
///
/// The future may be dropped at any time, as when the client's dns timeout passes, and may be polled by one task
/// after another.
pub trait Resolve: Send + Sync + 'static {
    /// Looks `name` up, for addresses of `family`.
    fn resolve(
        &self,
        name: &str,
        family: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;
}

/// The lookup that [`Resolve::resolve`] returns.
pub(crate) type Resolving = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "the internet has two families of addresses")]
pub enum Family {
    /// Only IPv4 addresses.
    V4,
    /// Only IPv6 addresses.
    V6,
    /// Addresses of both families, the preferred one first.
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

/// What a resolver found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "resolvers construct it")]
pub struct Answer {
    /// The addresses, in order of preference; none means that there is no such host.
    pub addresses: Vec<IpAddr>,
    /// How long this may be remembered, where the resolver knows.
    pub valid_for: Option<Duration>,
}

impl<T: Resolve + ?Sized> Resolve for Arc<T> {
    fn resolve(&self, name: &str, family: Family) -> Resolving {
        (**self).resolve(name, family)
    }
}

/// What the dialer asks for addresses: overrides, literals, `localhost`, then the resolver, which is asked once for all
/// dials that ask for a name at the same time.
pub(crate) struct Names {
    overrides: Overrides,
    resolver: SingleFlight,
}

impl Names {
    /// With the resolver given, or else the default one: hickory if it is compiled in, `getaddrinfo` otherwise.
    pub(crate) fn new(overrides: Overrides, resolver: Option<Arc<dyn Resolve>>) -> Self {
        Self { overrides, resolver: SingleFlight::new(resolver.unwrap_or_else(default_resolver)) }
    }

    /// The addresses of `host` that are known without a lookup.
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

    /// The addresses of `host`: at least one, of `family` if a resolver was asked, each once.
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
        let error = |why| ResolveError { name: host.to_owned(), why };
        let answer = tokio::time::timeout(timeout, self.resolver.resolve(host, family))
            .await
            .map_err(|_| error(Why::TimedOut(timeout)))?
            .map_err(|source| error(Why::Failed(source)))?;

        let mut addresses = Vec::with_capacity(answer.addresses.len());
        for address in answer.addresses.into_iter().filter(|&address| family.includes(address)) {
            let address = SocketAddr::new(address, port);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(error(Why::NotFound(family))) } else { Ok(addresses) }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("overrides", &self.overrides).finish_non_exhaustive()
    }
}

/// Why a name could not be turned into addresses.
#[derive(Debug)]
pub(crate) struct ResolveError {
    pub(crate) name: String,
    pub(crate) why: Why,
}

/// What happened to a lookup.
#[derive(Debug)]
pub(crate) enum Why {
    /// The resolver says that there are no such addresses.
    NotFound(Family),
    /// The resolver did not answer in time.
    TimedOut(Duration),
    /// The resolver could not say.
    Failed(Arc<dyn StdError + Send + Sync>),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.why {
            Why::NotFound(Family::Both) => write!(f, "no such host: the name {name:?} has no address"),
            Why::NotFound(Family::V4) => write!(f, "no such host: the name {name:?} has no IPv4 address"),
            Why::NotFound(Family::V6) => write!(f, "no such host: the name {name:?} has no IPv6 address"),
            Why::TimedOut(after) => write!(f, "the name {name:?} was not resolved within {after:?}"),
            Why::Failed(_) => write!(f, "the resolver could not look up the name {name:?}"),
        }
    }
}

impl StdError for ResolveError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.why {
            Why::Failed(source) => Some(&**source),
            Why::NotFound(_) | Why::TimedOut(_) => None,
        }
    }
}

/// A host as it is compared: without the brackets that a URI puts around IPv6, and without the root's dot.
fn bare(host: &str) -> &str {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

fn literal(host: &str) -> Option<IpAddr> {
    bare(host).parse().ok()
}

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

    /// Answers every name with the same addresses, or never.
    struct Fixed(Option<Vec<IpAddr>>);

    impl Resolve for Fixed {
        fn resolve(&self, name: &str, _family: Family) -> Resolving {
            assert!(!name.ends_with("localhost") && literal(name).is_none(), "{name} reached the resolver");
            match self.0.clone() {
                Some(addresses) => Box::pin(async { Ok(Answer { addresses, valid_for: None }) }),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    fn names(overrides: Overrides, addresses: &[&str]) -> Names {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Names::new(overrides, Some(Arc::new(Fixed(Some(addresses)))))
    }

    async fn lookup(names: &Names, host: &str) -> Result<Vec<String>, String> {
        let found = names.lookup(host, 80, Family::Both, LONG).await;
        found.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn literals_and_localhost_never_reach_the_resolver() {
        let names = names(Overrides::default(), &[]);
        for (host, addresses) in [
            ("127.0.0.9", vec!["127.0.0.9:80"]),
            ("[::9]", vec!["[::9]:80"]),
            ("::9", vec!["[::9]:80"]),
            ("localhost", vec!["127.0.0.1:80", "[::1]:80"]),
            ("LOCALHOST.", vec!["127.0.0.1:80", "[::1]:80"]),
            ("a.b.localhost", vec!["127.0.0.1:80", "[::1]:80"]),
        ] {
            assert_eq!(lookup(&names, host).await.unwrap(), addresses, "R-6761-6.3-1: {host}");
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
        let names = names(overrides, &["203.0.113.7"]);
        for (host, address) in [
            ("EXAMPLE.ORG.", "192.0.2.2:8080"),
            ("localhost", "192.0.2.3:1"),
            ("192.0.2.9", "192.0.2.4:80"),
            ("[2001:0db8::1]", "192.0.2.5:80"),
            ("other.example", "203.0.113.7:80"),
        ] {
            assert_eq!(lookup(&names, host).await.unwrap(), [address], "{host}");
        }
        assert_eq!(names.known("example.org", 81).unwrap(), ["192.0.2.1:81".parse().unwrap()]);
    }

    #[tokio::test]
    async fn answers_are_of_the_family_asked_for_and_listed_once() {
        let names = names(Overrides::default(), &["192.0.2.1", "::9", "192.0.2.1"]);
        assert_eq!(lookup(&names, "a.example").await.unwrap(), ["192.0.2.1:80", "[::9]:80"]);
        let v6 = names.lookup("a.example", 80, Family::V6, LONG).await.unwrap();
        assert_eq!(v6, ["[::9]:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn an_empty_answer_means_no_such_host() {
        let names = names(Overrides::default(), &[]);
        let error = lookup(&names, "a.example").await.unwrap_err();
        assert_eq!(error, "no such host: the name \"a.example\" has no address");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_is_not_answered_times_out() {
        let names = Names::new(Overrides::default(), Some(Arc::new(Fixed(None))));
        let started = crate::time::now();
        let error = lookup(&names, "a.example").await.unwrap_err();
        assert_eq!(error, "the name \"a.example\" was not resolved within 5s");
        assert_eq!(crate::time::now() - started, LONG);
    }
}
