//! The default resolver: hickory, with the configuration of the system.
//!
//! Only this file uses hickory, and no type of hickory leaves this file. Invariant: a hickory resolver is only used on
//! the runtime on which the resolver was made, because tasks of that runtime drive its connections. A lookup from
//! another runtime would hang if the resolver's runtime is parked or gone.
//!
//! hickory sends single queries to single servers here. This file walks the search list itself, because hickory walks the
//! list once for each family, and would join the addresses of two different hosts. `servers.rs` has the order of the
//! servers, because hickory asks two servers at once and takes the faster answer, even if only the slower server knows
//! the name. hickory's cache is off, because the client has one cache for all resolvers.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use tokio::runtime;

use super::files::Watched;
use super::{Answer, Family, Parts, Resolve, Resolving, search, servers, stream};
use crate::error::BoxError;
use crate::time;

/// Resolver that sends DNS queries to the name servers of the system's configuration. This is the default resolver.
///
/// This resolver reads the system's name servers, search list and options (`resolv.conf`), and the hosts file, which takes
/// precedence over DNS. The names of the search list are tried one after another. For each name the resolver asks for
/// IPv4 and IPv6 addresses at the same time, and the first name that has an address of either family is used. A name with
/// a final dot is absolute. The answers say how long they are valid.
///
/// The name servers are asked in the order of the configuration. The next one is asked if a server fails, or does not
/// answer within a second. An answer that there is no such name is final.
///
/// The resolver does not read `nsswitch.conf`, and not the environment variables `LOCALDOMAIN`, `RES_OPTIONS` and
/// `HOSTALIASES`. [`SystemResolver`](crate::SystemResolver) does.
///
/// The configuration is read at the first lookup, and again after a file was changed or the network was
/// ([`Pool::on_network_change`](crate::Pool::on_network_change)). A lookup checks at most once a second whether the files
/// were changed. If the configuration cannot be read, lookups fail with an error that says why. No public name server is
/// asked instead, because a query to a public name server would reveal the names.
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
    shared: Arc<Shared>,
}

/// What all clones of a resolver share.
struct Shared {
    source: Source,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The configuration that was read last. `None` if it has to be read again.
    settings: Option<Arc<Settings>>,
    /// Time of the last check whether the files were changed.
    checked: Option<Instant>,
    /// Clients of the name servers for the latest runtimes, oldest first: `len <= MAX_RUNTIMES`.
    clients: Vec<(runtime::Id, RuntimeClient)>,
}

/// Source of the configuration.
struct Source {
    /// The system's `resolv.conf`, or the file of a test. `None` on systems that keep their name servers elsewhere.
    resolv_conf: Option<PathBuf>,
    /// The hosts file of a test. `None` for the system's.
    hosts: Option<PathBuf>,
    /// Port of the name servers, if it is not the port of DNS. `resolv.conf` has no ports.
    port: Option<u16>,
}

/// The configuration.
struct Settings {
    /// Files from which the configuration was read.
    files: Watched,
    hosts: Hosts,
    /// Name servers, or the reason why they are unknown.
    servers: Result<Servers, String>,
}

struct Servers {
    /// Configurations with one name server each, in the order in which the servers are asked.
    configs: Vec<ResolverConfig>,
    /// Options for each server.
    options: ResolverOpts,
    /// How many times each server is asked.
    rounds: usize,
    /// Domains that complete a name that is not absolute.
    search: Vec<String>,
}

/// Clients of the name servers on one runtime, and the configuration from which they were made.
#[derive(Clone)]
struct RuntimeClient {
    settings: Arc<Settings>,
    servers: Clients,
}

/// Clients of the name servers on one runtime, one for each server.
type Clients = Arc<[TokioResolver]>;

impl HickoryResolver {
    /// Returns a resolver with the system's configuration, which is read at the first lookup.
    pub fn new() -> Self {
        Self::from_source(Source::system())
    }

    /// Returns a resolver that reads these files instead of the system's, and whose name servers listen at `port`.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn from_files(resolv_conf: PathBuf, hosts: PathBuf, port: u16) -> Self {
        Self::from_source(Source { resolv_conf: Some(resolv_conf), hosts: Some(hosts), port: Some(port) })
    }

    fn from_source(source: Source) -> Self {
        Self { shared: Arc::new(Shared { source, state: Mutex::default() }) }
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
        let mut parts = self.resolve_stream(name, family);
        Box::pin(async move {
            let mut answer = Answer::default();
            while let Some(part) = stream::next(&mut parts).await {
                match part {
                    Ok(part) => answer.add(part),
                    Err(error) if answer.addresses.is_empty() => return Err(error),
                    Err(_) => break,
                }
            }
            Ok(answer)
        })
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn resolve_stream(&self, name: &str, family: Family) -> Parts {
        let shared = Arc::clone(&self.shared);
        let walk = Walk { name: name.to_owned(), family, stage: Stage::New(shared) };
        Box::pin(stream::unfold(walk, Walk::next))
    }

    /// Forgets the configuration and the connections to the name servers.
    fn network_changed(&self) {
        let state = std::mem::take(&mut *self.shared.lock());
        drop(state);
    }
}

impl Shared {
    /// Returns the clients of the runtime that polls the lookup, with the current configuration.
    fn current(&self) -> Result<(Arc<Settings>, Option<Clients>), BoxError> {
        let id = runtime::Handle::try_current()?.id();
        let settings = self.settings();
        let Ok(servers) = &settings.servers else { return Ok((settings, None)) };
        let find = |state: &State| {
            let mut clients = state.clients.iter();
            let found =
                clients.find(|(runtime, known)| *runtime == id && Arc::ptr_eq(&known.settings, &settings));
            found.map(|(_, known)| Arc::clone(&known.servers))
        };
        if let Some(clients) = find(&self.lock()) {
            return Ok((settings, Some(clients)));
        }
        let clients = servers.configs.iter().map(|config| {
            let builder = TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default());
            builder.with_options(servers.options.clone()).build()
        });
        let clients: Clients = clients.collect::<Result<_, _>>()?;
        let made = RuntimeClient { settings: Arc::clone(&settings), servers: Arc::clone(&clients) };
        let mut state = self.lock();
        if let Some(earlier) = find(&state) {
            return Ok((settings, Some(earlier)));
        }
        // Clients of an older configuration are dropped too.
        let (kept, mut old): (Vec<_>, Vec<_>) = std::mem::take(&mut state.clients)
            .into_iter()
            .partition(|(runtime, known)| *runtime != id && Arc::ptr_eq(&known.settings, &settings));
        state.clients = kept;
        if state.clients.len() >= MAX_RUNTIMES {
            old.push(state.clients.remove(0));
        }
        state.clients.push((id, made));
        drop(state);
        drop(old);
        Ok((settings, Some(clients)))
    }

    /// Returns the current configuration. Reads it at the first call, and after a file was changed.
    ///
    /// This call reads two small files. A configuration without name servers is not kept, because the network may not be
    /// up yet.
    fn settings(&self) -> Arc<Settings> {
        let now = time::now();
        let mut state = self.lock();
        let is_due = state.checked.is_none_or(|last| now.saturating_duration_since(last) >= CHECK);
        if is_due {
            state.checked = Some(now);
        }
        let known = state.settings.clone().filter(|known| known.servers.is_ok());
        drop(state);
        match known {
            Some(known) if !is_due || !known.files.have_changed() => known,
            _ => {
                let read = Arc::new(self.source.read());
                self.lock().settings = Some(Arc::clone(&read));
                read
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn system() -> Self {
        Self { resolv_conf: cfg!(unix).then(|| RESOLV_CONF.into()), hosts: None, port: None }
    }

    /// Reads the configuration.
    fn read(&self) -> Settings {
        let hosts_file = self.hosts.clone().or_else(|| cfg!(unix).then(|| HOSTS.into()));
        let files = Watched::of(self.resolv_conf.iter().chain(&hosts_file).cloned());
        let hosts = match &hosts_file {
            Some(path) => std::fs::read(path).and_then(|bytes| {
                let mut hosts = Hosts::default();
                // hickory would read nothing of a file that is not UTF-8 in one place, for example in a comment.
                let text = String::from_utf8_lossy(&bytes);
                hosts.read_hosts_conf(text.as_bytes()).map(|()| hosts)
            }),
            None => Hosts::from_system(),
        };
        let servers = self.servers().map_err(|error| {
            format!(
                "the name servers could not be read from the system's configuration (resolv.conf): {error}"
            )
        });
        Settings { files, hosts: hosts.unwrap_or_default(), servers }
    }

    fn servers(&self) -> Result<Servers, NetError> {
        let (config, mut options, search) = self.parsed()?;
        let (domain, _, servers) = config.into_parts();
        let configs = servers.into_iter().map(|mut server| {
            for connection in &mut server.connections {
                connection.port = self.port.unwrap_or(connection.port);
            }
            ResolverConfig::from_parts(None, Vec::new(), vec![server])
        });
        let rounds = options.attempts.clamp(1, MAX_ROUNDS);
        // Each query is sent to one server. `Asking` repeats it.
        options.attempts = 0;
        options.cache_size = 0;
        // `Walk` looks names up in the hosts file, because hickory would send a query for a family that the file lacks.
        options.use_hosts_file = ResolveHosts::Never;
        // Without a search list, resolver(5) completes names by the domain of this machine's host name.
        let search = search.unwrap_or_else(|| domain.iter().map(Name::to_ascii).collect());
        Ok(Servers { configs: configs.collect(), options, rounds, search })
    }

    /// Returns the configuration as hickory reads it, and the search list if there is one.
    ///
    /// This function reads the search list of a `resolv.conf` itself, because hickory reads nothing of a file that has a
    /// domain that is no name. Such a domain is left out.
    fn parsed(&self) -> Result<(ResolverConfig, ResolverOpts, Option<Vec<String>>), NetError> {
        #[cfg(all(unix, not(any(target_os = "android", target_vendor = "apple"))))]
        if let Some(path) = &self.resolv_conf {
            let bytes = std::fs::read(path)?;
            let text = String::from_utf8_lossy(&bytes);
            let (search, others) = search::split(&text);
            let names = |domains: Vec<&str>| {
                let domains = domains.into_iter().filter_map(|domain| Name::from_str_relaxed(domain).ok());
                domains.map(|domain| domain.to_ascii()).collect()
            };
            let (config, options) = system_conf::parse_resolv_conf(others)?;
            return Ok((config, options, search.map(names)));
        }
        let (config, options) = system_conf::read_system_conf()?;
        let search: Vec<_> = config.search().iter().map(Name::to_ascii).collect();
        Ok((config, options, Some(search).filter(|search| !search.is_empty())))
    }
}

/// A lookup, which walks the names of the search list.
struct Walk {
    name: String,
    family: Family,
    stage: Stage,
}

enum Stage {
    /// Nothing was asked yet.
    New(Arc<Shared>),
    Asking(Box<Asking>),
    Ended,
}

/// A query for one family of one name.
type QueryFuture = Pin<Box<dyn Future<Output = Result<Answer, NetError>> + Send>>;

/// The names that are left, and the queries for the current name.
struct Asking {
    clients: Clients,
    /// How many times each server is asked.
    rounds: usize,
    /// Names that were not tried yet.
    left: std::vec::IntoIter<Name>,
    /// Queries for the current name that are not answered yet: one for each family.
    queries: Vec<QueryFuture>,
    /// Whether the current name has an address.
    has_found: bool,
    /// Answer of the names that have no address: how long this is valid.
    nothing: Answer,
    /// Failure of a query. A failure for a name that has no address is the outcome if no other name has an address.
    failure: Option<NetError>,
}

impl Walk {
    /// Returns the next part of the answer.
    async fn next(mut self) -> Option<(Result<Answer, BoxError>, Self)> {
        if let Stage::New(shared) = &self.stage {
            match Asking::begin(shared, &self.name, self.family) {
                Ok(Begun::Asking(asking)) => self.stage = Stage::Asking(asking),
                Ok(Begun::Known(answer)) => return Some((Ok(answer), self.ended())),
                Err(error) => return Some((Err(error), self.ended())),
            }
        }
        let Stage::Asking(asking) = &mut self.stage else { return None };
        let part = asking.next(self.family).await;
        match part {
            Some(Ok(answer)) if !answer.addresses.is_empty() => Some((Ok(answer), self)),
            Some(last) => Some((last, self.ended())),
            None => None,
        }
    }

    fn ended(mut self) -> Self {
        self.stage = Stage::Ended;
        self
    }
}

/// First step of a lookup.
enum Begun {
    /// The hosts file has the name.
    Known(Answer),
    /// DNS has to be asked.
    Asking(Box<Asking>),
}

impl Asking {
    /// Looks `name` up in the hosts file, and begins to ask DNS if the hosts file does not have the name.
    fn begin(shared: &Shared, name: &str, family: Family) -> Result<Begun, BoxError> {
        let parsed = parse(name)?;
        let (settings, clients) = shared.current()?;
        let known = settings.in_hosts_file(&parsed, family);
        if !known.is_empty() {
            return Ok(Begun::Known(Answer::new(known)));
        }
        let (servers, clients) = match (&settings.servers, clients) {
            (Ok(servers), Some(clients)) => (servers, clients),
            (Err(error), _) => return Err(error.clone().into()),
            (Ok(_), None) => return Err("the name servers are not known".into()),
        };
        let names = search::names(name, &servers.search, servers.options.ndots);
        // A name of the list that is no valid name with the domain is left out, as a name is that is too long.
        let names: Vec<_> = names.iter().filter_map(|name| Name::from_ascii(name).ok()).collect();
        if names.is_empty() {
            return Err("the host is not a valid DNS name: the name is too long".into());
        }
        Ok(Begun::Asking(Box::new(Self {
            clients,
            rounds: servers.rounds,
            left: names.into_iter(),
            queries: Vec::new(),
            has_found: false,
            nothing: Answer::default(),
            failure: None,
        })))
    }

    /// Returns the next part of the answer. A part with addresses is not the last item. Any other item is the last one.
    async fn next(&mut self, family: Family) -> Option<Result<Answer, BoxError>> {
        loop {
            while !self.queries.is_empty() {
                match first(&mut self.queries).await {
                    Ok(answer) if answer.addresses.is_empty() => self.nothing.add(answer),
                    Ok(answer) => {
                        self.has_found = true;
                        return Some(Ok(answer));
                    }
                    Err(error) => {
                        // A server failure may be about this name only. Any other failure is about the name servers, so that
                        // no other name is tried. The C library does the same.
                        if !matches!(error, NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail))) {
                            self.left = Vec::new().into_iter();
                        }
                        self.failure = Some(error);
                    }
                }
            }
            if self.has_found {
                // The name is the answer, even if the query of the other family failed.
                return self.failure.take().map(|error| Err(error.into()));
            }
            let Some(name) = self.left.next() else {
                return Some(match self.failure.take() {
                    Some(error) => Err(error.into()),
                    None => Ok(std::mem::take(&mut self.nothing)),
                });
            };
            self.ask(&name, family);
        }
    }

    /// Begins the queries for a name. The query for IPv6 is sent first.
    fn ask(&mut self, name: &Name, family: Family) {
        let kinds: &[RecordType] = match family {
            Family::V4 => &[RecordType::A],
            Family::V6 => &[RecordType::AAAA],
            Family::Both => &[RecordType::AAAA, RecordType::A],
        };
        for kind in kinds {
            let (clients, name, kind) = (Arc::clone(&self.clients), name.clone(), *kind);
            let queries = (0..self.rounds * clients.len()).map(move |at| {
                let (client, name) = (clients[at % clients.len()].clone(), name.clone());
                Box::pin(async move { answer_of(client.lookup(name, kind).await) })
            });
            self.queries.push(Box::pin(async move {
                servers::ask(queries, PATIENCE).await.unwrap_or(Err(NetError::NoConnections))
            }));
        }
    }
}

impl Settings {
    /// Returns the addresses of `name` in the hosts file.
    fn in_hosts_file(&self, name: &Name, family: Family) -> Vec<SocketAddr> {
        let of_type = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [of_type(RecordType::AAAA), of_type(RecordType::A)];
        found.iter().flatten().flat_map(addresses).filter(|address| family.includes(address.ip())).collect()
    }
}

/// Returns the outcome of the query that ends first, and removes the query.
async fn first<F: Future + Unpin>(queries: &mut Vec<F>) -> F::Output {
    poll_fn(|cx| {
        for at in 0..queries.len() {
            if let Poll::Ready(outcome) = Pin::new(&mut queries[at]).poll(cx) {
                drop(queries.remove(at));
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await
}

fn parse(name: &str) -> Result<Name, BoxError> {
    Name::from_ascii(name).map_err(|error| format!("the host is not a valid DNS name: {error}").into())
}

/// Returns the answer of one family. If the name has no records, the answer has no addresses.
fn answer_of(found: Result<Lookup, NetError>) -> Result<Answer, NetError> {
    match found {
        Ok(found) => {
            let valid_for = found.valid_until().saturating_duration_since(time::now());
            Ok(Answer::new(addresses(&found)).valid_for(valid_for))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(no))) => {
            let valid_for = no.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            Ok(Answer { addresses: Vec::new(), valid_for })
        }
        Err(error) => Err(error),
    }
}

/// Returns the addresses of a lookup. The port of each address is 0, which stands for the URL's port.
fn addresses(found: &Lookup) -> impl Iterator<Item = SocketAddr> + '_ {
    let found = found.answers().iter().filter_map(|record| record.data.ip_addr());
    found.map(|address| SocketAddr::new(address, 0))
}

/// Maximum number of runtimes whose clients are kept. A program has one or two runtimes; a test suite has one for each
/// test.
const MAX_RUNTIMES: usize = 8;

/// Time between two checks whether the files of the configuration were changed.
const CHECK: Duration = Duration::from_secs(1);

/// Time after which the next name server is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// Largest number of times that the option `attempts` can require. The C library has the same limit.
const MAX_ROUNDS: usize = 5;

const RESOLV_CONF: &str = "/etc/resolv.conf";

const HOSTS: &str = "/etc/hosts";

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a name server on loopback. Every name has the address 192.0.2.1.
    fn server() -> u16 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((len, peer)) = socket.recv_from(&mut query) {
                let mut end = 12;
                while query[end] != 0 {
                    end += usize::from(query[end]) + 1;
                }
                let mut out = query[..len.min(end + 5)].to_vec();
                out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
                if query[end + 2] == 1 {
                    out[7] = 1;
                    out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
                }
                socket.send_to(&out, peer).unwrap();
            }
        });
        port
    }

    /// Writes the files of a test, and returns a resolver that reads them. The folder is named after the test.
    fn resolver(
        test: &str,
        resolv_conf: Option<&str>,
        hosts: impl AsRef<[u8]>,
        port: u16,
    ) -> HickoryResolver {
        let folder = std::env::temp_dir().join(format!("handclasp-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = ["resolv.conf", "hosts"].map(|name| folder.join(name));
        if let Some(text) = resolv_conf {
            std::fs::write(&files[0], text).unwrap();
        }
        std::fs::write(&files[1], hosts).unwrap();
        let [resolv_conf, hosts] = files;
        HickoryResolver::from_files(resolv_conf, hosts, port)
    }

    fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
        runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn each_runtime_has_a_client_of_its_own() {
        let resolver = resolver("runtimes", Some("nameserver 127.0.0.1"), "", server());
        for n in 0..MAX_RUNTIMES + 2 {
            let parked = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let name = format!("n{n}.example.");
            parked.block_on(resolver.resolve(&name, Family::Both)).unwrap();
            // The first runtime still exists, but no thread drives it.
            let answer = on_a_runtime(resolver.resolve(&format!("m{n}.example."), Family::Both)).unwrap();
            assert_eq!(answer.addresses.len(), 1);
        }
        assert_eq!(resolver.shared.lock().clients.len(), MAX_RUNTIMES);
        resolver.network_changed();
        assert_eq!(resolver.shared.lock().clients.len(), 0);
    }

    /// A program may start before the network is up. The configuration is therefore read again at each lookup until the
    /// configuration has a name server.
    #[tokio::test]
    async fn a_configuration_that_cannot_be_read_is_an_error_until_it_can() {
        let resolver = resolver("missing", None, "", server());
        let path = resolver.shared.source.resolv_conf.clone().unwrap();
        drop(std::fs::remove_file(&path));
        for (text, word) in [(None, "no such file"), (Some("search corp"), "no nameservers")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = resolver.resolve("a.example", Family::Both).await.unwrap_err().to_string();
            assert!(error.to_lowercase().contains(word) && error.contains("(resolv.conf): "), "{error}");
        }
        std::fs::write(&path, "nameserver 127.0.0.1").unwrap();
        resolver.resolve("a.example", Family::Both).await.unwrap();
    }

    #[tokio::test]
    async fn the_hosts_file_comes_first() {
        // A byte that is not UTF-8 in one line does not disable the other lines.
        let hosts = b"# K\xf6ln\n192.0.2.8 b\xfccher.example\n192.0.2.7 Fixed.example fixed";
        let resolver = resolver("hosts", None, hosts, 1);
        for name in ["fixed", "fixed.example", "fixed.example."] {
            let answer = resolver.resolve(name, Family::Both).await.unwrap();
            assert_eq!(answer.addresses, ["192.0.2.7:0".parse::<SocketAddr>().unwrap()], "{name}");
        }
    }

    /// hickory reads nothing of a file that has a domain that is no name.
    #[tokio::test]
    async fn a_domain_that_is_no_name_does_not_disable_the_configuration() {
        let text = "nameserver 127.0.0.1\nsearch a..b corp -- \u{fffd}.corp my_corp.";
        let resolver = resolver("domains", Some(text), "", server());
        assert_eq!(resolver.resolve("x.example", Family::Both).await.unwrap().addresses.len(), 1);
        let settings = resolver.shared.settings();
        let Ok(servers) = &settings.servers else { panic!("there is a name server") };
        assert_eq!(servers.search, ["corp", "my_corp."]);
    }

    #[tokio::test]
    async fn a_name_that_dns_cannot_have_is_an_error() {
        let resolver = resolver("names", Some("nameserver 127.0.0.1"), "", server());
        for name in ["a..b", &*format!("{}.example", "a".repeat(64)), &*"a.".repeat(127), &*"a.".repeat(128)]
        {
            let found = resolver.resolve(name, Family::Both).await;
            let Err(error) = found else {
                assert_eq!(name.len(), 254, "{name}");
                continue;
            };
            let error = error.to_string();
            assert!(error.starts_with("the host is not a valid DNS name: "), "{error}");
        }
        let odd = resolver.resolve("a_b.xn--bcher-kva.example", Family::V4).await.unwrap();
        assert_eq!(odd.addresses.len(), 1);
    }
}
