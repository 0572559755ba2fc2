//! The default resolver: hickory, with the configuration of the system.
//!
//! Only this file uses hickory, and no type of hickory leaves this file. Invariant: a hickory resolver is only used on
//! the runtime on which the resolver was made, because tasks of that runtime drive its connections. A lookup from
//! another runtime would hang if the resolver's runtime is parked or gone.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hickory_resolver::config::ResolveHosts;
#[cfg(test)]
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::runtime;

use super::{Answer, Family, Resolve, Resolving};
use crate::error::BoxError;
use crate::time;

/// Resolver that sends DNS queries to the name servers of the system's configuration. This is the default resolver.
///
/// This resolver reads the system's name servers and search domains, and the hosts file, which takes precedence over DNS.
/// The resolver asks for IPv4 and IPv6 addresses at the same time, and its answers say how long they are valid.
///
/// The configuration is read at the first lookup on each runtime. If the configuration cannot be read, lookups fail
/// with an error that says why. No public name server is asked instead, because a query to a public name server would
/// reveal the names.
///
/// # Examples
///
/// ```
/// use handclasp::{Client, HickoryResolver};
///
/// # fn main() -> handclasp::Result<()> {
/// let client = Client::builder().dns_resolver(HickoryResolver::new()).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HickoryResolver {
    runtimes: Arc<Runtimes>,
}

/// One resolver for each runtime.
struct Runtimes {
    source: Source,
    /// Resolvers of the latest runtimes, oldest first: `len <= MAX_RUNTIMES`.
    resolvers: Mutex<Vec<(runtime::Id, RuntimeResolver)>>,
}

/// Source of the configuration.
enum Source {
    /// The system's files.
    System,
    /// The configuration of a test.
    #[cfg(test)]
    Given(Box<(ResolverConfig, ResolverOpts)>),
}

/// Resolver of one runtime.
#[derive(Clone)]
struct RuntimeResolver {
    /// Content of the hosts file.
    hosts: Arc<Hosts>,
    /// Client of the name servers, or the error of reading their configuration.
    servers: Result<TokioResolver, Arc<NetError>>,
}

impl HickoryResolver {
    /// Returns a resolver with the system's configuration, which is read at the first lookup.
    pub fn new() -> Self {
        Self::from_source(Source::System)
    }

    /// Returns a resolver with this configuration and without a hosts file.
    #[cfg(test)]
    pub(crate) fn with_config(config: ResolverConfig, options: ResolverOpts) -> Self {
        Self::from_source(Source::Given(Box::new((config, options))))
    }

    fn from_source(source: Source) -> Self {
        Self { runtimes: Arc::new(Runtimes { source, resolvers: Mutex::default() }) }
    }
}

impl Default for HickoryResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HickoryResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HickoryResolver").finish_non_exhaustive()
    }
}

impl Resolve for HickoryResolver {
    fn resolve(&self, name: &str, family: Family) -> Resolving {
        let runtimes = Arc::clone(&self.runtimes);
        let name = Name::from_ascii(name);
        Box::pin(async move {
            let name = name.map_err(|error| format!("the host is not a valid DNS name: {error}"))?;
            runtimes.current()?.look_up(name, family).await
        })
    }

    fn is_ordered(&self) -> bool {
        false
    }
}

impl Runtimes {
    /// Returns the resolver of the runtime that polls the lookup. Makes the resolver if the runtime has no resolver yet.
    fn current(&self) -> Result<RuntimeResolver, BoxError> {
        let id = runtime::Handle::try_current()?.id();
        let find = |resolvers: &[(runtime::Id, RuntimeResolver)]| {
            resolvers.iter().find(|(runtime, _)| *runtime == id).map(|(_, resolver)| resolver.clone())
        };
        if let Some(resolver) = find(&self.lock()) {
            return Ok(resolver);
        }
        // This call reads two small files, once for each runtime. A resolver that failed to read these files is not kept,
        // because the network may not be up yet.
        let resolver = self.source.open();
        if resolver.servers.is_err() {
            return Ok(resolver);
        }
        let mut resolvers = self.lock();
        if let Some(earlier) = find(&resolvers) {
            return Ok(earlier);
        }
        let oldest = (resolvers.len() >= MAX_RUNTIMES).then(|| resolvers.remove(0));
        resolvers.push((id, resolver.clone()));
        drop(resolvers);
        drop(oldest);
        Ok(resolver)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(runtime::Id, RuntimeResolver)>> {
        self.resolvers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Reads the configuration and makes a resolver for the current runtime.
    fn open(&self) -> RuntimeResolver {
        let provider = TokioRuntimeProvider::default();
        let (hosts, builder) = match self {
            Self::System => (Hosts::from_system().unwrap_or_default(), TokioResolver::builder(provider)),
            #[cfg(test)]
            Self::Given(given) => {
                let builder = TokioResolver::builder_with_config(given.0.clone(), provider);
                (Hosts::default(), Ok(builder.with_options(given.1.clone())))
            }
        };
        let servers = builder.and_then(|mut builder| {
            // `RuntimeResolver` reads the hosts file itself, because hickory would send a query for a family that the
            // file lacks.
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder.build()
        });
        RuntimeResolver { hosts: Arc::new(hosts), servers: servers.map_err(Arc::new) }
    }
}

impl RuntimeResolver {
    /// Looks `name` up in the hosts file, and in DNS if the hosts file does not have the name.
    async fn look_up(&self, name: Name, family: Family) -> Result<Answer, BoxError> {
        let addresses = self.in_hosts_file(&name, family);
        if !addresses.is_empty() {
            return Ok(Answer::new(addresses));
        }
        let servers = self.servers.as_ref().map_err(|error| {
            format!(
                "the name servers could not be read from the system's configuration (resolv.conf): {error}"
            )
        })?;
        let v6 = async { answer_of(servers.lookup(name.clone(), RecordType::AAAA).await) };
        let v4 = async { answer_of(servers.lookup(name.clone(), RecordType::A).await) };
        match family {
            Family::V4 => v4.await,
            Family::V6 => v6.await,
            Family::Both => {
                let (v6, v4) = both(v6, v4).await;
                merge(v6, v4)
            }
        }
    }

    /// Returns the addresses of `name` in the hosts file.
    fn in_hosts_file(&self, name: &Name, family: Family) -> Vec<SocketAddr> {
        let of_type = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [of_type(RecordType::AAAA), of_type(RecordType::A)];
        found.iter().flatten().flat_map(addresses).filter(|address| family.includes(address.ip())).collect()
    }
}

/// Returns the answer of one family. If the name has no records, the answer has no addresses.
fn answer_of(found: Result<Lookup, NetError>) -> Result<Answer, BoxError> {
    match found {
        Ok(found) => {
            let valid_for = found.valid_until().saturating_duration_since(time::now());
            Ok(Answer::new(addresses(&found)).valid_for(valid_for))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(no))) => {
            let valid_for = no.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            Ok(Answer { addresses: Vec::new(), valid_for })
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the addresses of a lookup. The port of each address is 0, which stands for the URL's port.
fn addresses(found: &Lookup) -> impl Iterator<Item = SocketAddr> + '_ {
    let found = found.answers().iter().filter_map(|record| record.data.ip_addr());
    found.map(|address| SocketAddr::new(address, 0))
}

/// Merges the answers of both families. If the lookup of one family failed, returns the addresses of the other family. If
/// the other family has no addresses, returns the failure, because the host may exist.
fn merge(v6: Result<Answer, BoxError>, v4: Result<Answer, BoxError>) -> Result<Answer, BoxError> {
    match (v6, v4) {
        (Ok(mut v6), Ok(v4)) => {
            let is_empty = v6.addresses.is_empty() && v4.addresses.is_empty();
            let counts = |answer: &Answer| is_empty || !answer.addresses.is_empty();
            let valid_for =
                [&v6, &v4].into_iter().filter(|answer| counts(answer)).filter_map(|a| a.valid_for).min();
            v6.addresses.extend(v4.addresses);
            Ok(Answer { addresses: v6.addresses, valid_for })
        }
        (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.addresses.is_empty() => Ok(some),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Polls two futures until both have ended, and returns both outputs.
async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    fn advance<F: Future>(future: Pin<&mut F>, out: &mut Option<F::Output>, cx: &mut std::task::Context<'_>) {
        if out.is_none()
            && let Poll::Ready(value) = future.poll(cx)
        {
            *out = Some(value);
        }
    }
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_out, mut b_out) = (None, None);
    poll_fn(|cx| {
        advance(a.as_mut(), &mut a_out, cx);
        advance(b.as_mut(), &mut b_out, cx);
        match (a_out.take(), b_out.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (a_out, b_out) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// Maximum number of runtimes whose resolvers are kept. A program has one or two runtimes; a test suite has one for
/// each test.
const MAX_RUNTIMES: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};

    use super::*;

    const NXDOMAIN: u8 = 3;
    const SERVFAIL: u8 = 2;

    /// Starts a name server on loopback. `dual.` has an address of each family. `four.` has an IPv4 address, and the
    /// lookup of IPv6 fails. `broken.` has no IPv6 address, and the lookup of IPv4 fails. `empty.` has no address. No
    /// other name exists.
    fn server() -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((len, peer)) = socket.recv_from(&mut query) {
                socket.send_to(&reply(&query[..len]), peer).unwrap();
            }
        });
        port
    }

    fn reply(query: &[u8]) -> Vec<u8> {
        let mut end = 12;
        let first = String::from_utf8_lossy(&query[13..13 + usize::from(query[12])]).to_ascii_lowercase();
        while query[end] != 0 {
            end += usize::from(query[end]) + 1;
        }
        let v4 = query[end + 2] == 1;
        let mut out = query[..end + 5].to_vec();
        out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        match (&*first, v4) {
            ("dual" | "four", true) => {
                out[7] = 1;
                out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
            }
            ("dual", false) => {
                out[7] = 1;
                out.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 30, 0, 16]);
                out.extend(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
            }
            ("four", false) | ("broken", true) => out[3] |= SERVFAIL,
            ("broken" | "empty", _) => {}
            _ => out[3] |= NXDOMAIN,
        }
        out
    }

    fn resolver(port: u16) -> HickoryResolver {
        let mut udp = ConnectionConfig::udp();
        udp.port = port;
        let server = NameServerConfig::new(IpAddr::from([127, 0, 0, 1]), true, vec![udp]);
        let mut options = ResolverOpts::default();
        options.timeout = Duration::from_secs(2);
        options.attempts = 1;
        HickoryResolver::with_config(ResolverConfig::from_parts(None, vec![], vec![server]), options)
    }

    fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
        runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[tokio::test]
    async fn both_families_are_found_with_the_shorter_ttl() {
        let resolver = resolver(server());
        let answer = resolver.resolve("dual.example.", Family::Both).await.unwrap();
        assert_eq!(
            answer.addresses,
            ["[2001:db8::1]:0", "192.0.2.1:0"].map(|a| a.parse::<SocketAddr>().unwrap())
        );
        let valid_for = answer.valid_for.unwrap();
        assert!(valid_for > Duration::from_secs(25) && valid_for <= Duration::from_secs(30), "{valid_for:?}");
        let v4 = resolver.resolve("dual.example", Family::V4).await.unwrap();
        assert_eq!(v4.addresses, ["192.0.2.1:0".parse::<SocketAddr>().unwrap()]);
        let odd = resolver.resolve("dual.a_b.xn--bcher-kva.example", Family::V4).await.unwrap();
        assert_eq!(odd.addresses.len(), 1);
    }

    #[tokio::test]
    async fn no_such_host_is_told_apart_from_failure() {
        let resolver = resolver(server());
        for name in ["none.example.", "empty.example."] {
            assert_eq!(
                resolver.resolve(name, Family::Both).await.unwrap().addresses,
                [] as [SocketAddr; 0],
                "{name}"
            );
        }
        let half = resolver.resolve("four.example.", Family::Both).await.unwrap();
        assert_eq!(half.addresses, ["192.0.2.1:0".parse::<SocketAddr>().unwrap()], "R-8305-3-3");
        let error = resolver.resolve("broken.example.", Family::Both).await.unwrap_err().to_string();
        assert!(error.contains("Server Failure") || error.contains("ServFail"), "{error}");
        let error = resolver.resolve("a..b", Family::Both).await.unwrap_err().to_string();
        assert!(error.starts_with("the host is not a valid DNS name: "), "{error}");
    }

    #[test]
    fn each_runtime_has_a_resolver_of_its_own() {
        let resolver = resolver(server());
        for n in 0..MAX_RUNTIMES + 2 {
            let parked = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let name = format!("dual.n{n}.example.");
            parked.block_on(resolver.resolve(&name, Family::Both)).unwrap();
            // The first runtime still exists, but no thread drives it.
            let answer =
                on_a_runtime(resolver.resolve(&format!("dual.m{n}.example."), Family::Both)).unwrap();
            assert_eq!(answer.addresses.len(), 2);
        }
        assert_eq!(resolver.runtimes.lock().len(), MAX_RUNTIMES);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_an_error_of_the_lookup() {
        let resolver = RuntimeResolver {
            hosts: Arc::default(),
            servers: Err(Arc::new(std::io::Error::from(std::io::ErrorKind::NotFound).into())),
        };
        let name = Name::from_ascii("a.example").unwrap();
        let error = on_a_runtime(resolver.look_up(name, Family::Both)).unwrap_err().to_string();
        assert!(error.contains("(resolv.conf): ") && error.contains("not found"), "{error}");
    }

    #[tokio::test]
    async fn the_hosts_file_comes_first() {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"192.0.2.7 Fixed.example fixed"[..]).unwrap();
        let servers = Err(Arc::new(NetError::NoConnections));
        let resolver = RuntimeResolver { hosts: Arc::new(hosts), servers };
        for name in ["fixed", "fixed.example", "fixed.example."] {
            let answer = resolver.look_up(Name::from_ascii(name).unwrap(), Family::Both).await.unwrap();
            assert_eq!(answer.addresses, ["192.0.2.7:0".parse::<SocketAddr>().unwrap()], "{name}");
        }
    }
}
