//! The dial: from a destination to a connected stream.
//!
//! One deadline lies over everything: the name, the race between addresses, the TLS handshake. Knows nothing of HTTP
//! and of pools; names are the resolver's affair. Invariants: nothing is spawned, so that to drop a dial ends all of
//! it; every phase that begins is told to [`Setup`] and ends there.

#[cfg_attr(not(feature = "rustls"), path = "no_tls.rs")]
mod tls;

mod race;
mod shortage;
mod stream;
mod tcp;
#[cfg(feature = "rustls")]
mod tls_records;
#[cfg(feature = "rustls")]
mod tls_stream;
#[cfg(feature = "rustls")]
mod wire;

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use self::shortage::is_shortage;
use self::stream::Exclusive;
pub(crate) use self::stream::Stream;
pub use self::stream::{Look, Transport};
use self::tcp::Run;
#[cfg(feature = "rustls")]
pub use self::tls::Certificate;
use self::tls::Tls;
pub(crate) use self::tls::TlsConfig;
use crate::error::{BoxError, Error, ErrorKind, Phase};
use crate::resolver::{Family, Names, ResolveError, Why};
use crate::time;
use crate::trace::{Setup, SetupPhase};

/// Where a connection should lead: what a custom connector is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    is_https: bool,
    host: Arc<str>,
    port: u16,
}

impl Destination {
    /// `host` as in a URI.
    pub(crate) fn new(https: bool, host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { is_https: https, host: bare.to_ascii_lowercase().into(), port }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        if self.is_https { "https" } else { "http" }
    }

    /// The host's name in lower case, or its address; an IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, whether the URL named it or not.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Host and port, as in a URI.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A custom connector: makes the connection instead of name lookup, TCP and TLS. The future may be dropped at any
/// time, as when the connect timeout passes.
pub(crate) type Connector = dyn Fn(Destination) -> Connecting + Send + Sync;

/// What a custom connector returns.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, BoxError>> + Send>>;

/// How connections are made.
#[derive(Clone, Debug)]
pub(crate) struct ConnectConfig {
    /// For the lookup of a name; within `connect_timeout`.
    pub(crate) dns_timeout: Duration,
    /// For the whole dial.
    pub(crate) connect_timeout: Duration,
    /// Between attempts to connect, unless one fails.
    pub(crate) attempt_delay: Duration,
    /// Bound before connecting; addresses of the other family cannot be connected to.
    pub(crate) local_address: Option<IpAddr>,
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            // resolv.conf's own default: one server may fail to answer.
            dns_timeout: Duration::from_secs(5),
            // Room for a lost SYN (1 s, 3 s) in each phase. Go's transport gives TLS alone as much.
            connect_timeout: Duration::from_secs(10),
            // > The time to wait between connection attempts in the absence of RTT data. Recommended to be 250
            // > milliseconds.
            // <https://www.rfc-editor.org/rfc/rfc8305#section-8>
            attempt_delay: Duration::from_millis(250),
            local_address: None,
        }
    }
}

/// One client's way to make connections.
pub(crate) struct Dialer {
    names: Names,
    config: ConnectConfig,
    tls: Tls,
    connector: Option<Arc<Connector>>,
}

/// A connection that is ready for a request.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    /// Unknown where a custom connector made it.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
}

impl Dialer {
    /// Touches neither network nor files.
    pub(crate) fn new(
        names: Names,
        config: ConnectConfig,
        tls: TlsConfig,
        connector: Option<Arc<Connector>>,
    ) -> Self {
        Self { names, config, tls: Tls::new(tls), connector }
    }

    /// Makes one connection. Dropped, it leaves nothing behind. If `is_isolated`, it resumes no TLS session, because a
    /// session tells the server that both connections are of the same client.
    ///
    /// Its steps are boxed: so a dial takes no more memory than the step that it is at. (With all of them in it, as large as
    /// TLS needs, each dial left a hole between the connections that are kept, which nothing else filled.)
    pub(crate) async fn dial(
        &self,
        to: &Destination,
        is_isolated: bool,
        setup: &Setup,
    ) -> Result<Dialed, DialError> {
        // From here, and not from the task's first poll, because the pool computes the overdue time from here.
        let deadline = time::after(setup.started(), self.config.connect_timeout);
        if let Some(connector) = &self.connector {
            return Box::pin(self.dial_by(&**connector, to, setup, deadline)).await;
        }
        // First, and outside of all phases: it happens once, and it is not the network that is slow here.
        let tls = match to.is_https {
            true => Some(Box::pin(self.within(deadline, Phase::Tls, to, self.tls.load())).await??),
            false => None,
        };
        let tls = tls.map(|tls| if is_isolated { tls.isolated() } else { tls });
        let addresses = match self.names.known(to.host(), to.port()) {
            Some(addresses) => addresses,
            None => Box::pin(self.look_up(to, setup, deadline)).await?,
        };
        let (tcp, peer) = Box::pin(self.connect(to, addresses, setup, deadline)).await?;
        let local = tcp.local_addr().ok();
        let stream = match tls {
            Some(tls) => Box::pin(self.secure(&tls, to, tcp, setup, deadline)).await?,
            None => Stream::Tcp(tcp),
        };
        Ok(Dialed { stream, peer: Some(peer), local })
    }

    async fn look_up(
        &self,
        to: &Destination,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let family = match self.config.local_address {
            Some(IpAddr::V4(_)) => Family::V4,
            Some(IpAddr::V6(_)) => Family::V6,
            None => Family::Both,
        };
        let phase = setup.dns(to.host());
        phase.span().record("cached", false);
        let left = deadline.saturating_duration_since(time::now());
        let timeout = self.config.dns_timeout.min(left);
        let found = self.names.lookup(to.host(), to.port(), family, timeout).await.map_err(|mut error| {
            if let Why::TimedOut(after) = &mut error.why {
                *after = self.config.dns_timeout.min(self.config.connect_timeout);
            }
            DialError::from(error)
        });
        if let Ok(addresses) = &found {
            phase.span().record("addresses", addresses.len());
        }
        told(phase, found)
    }

    async fn connect(
        &self,
        to: &Destination,
        addresses: Vec<SocketAddr>,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<(TcpStream, SocketAddr), DialError> {
        let ConnectConfig { attempt_delay, local_address, connect_timeout, .. } = self.config;
        let phase = setup.tcp();
        let mut run = Run::new(addresses, attempt_delay, local_address, setup);
        let won = match tokio::time::timeout_at(deadline.into(), run.winner()).await {
            Ok(Some(won)) => Ok(won),
            Ok(None) => {
                let message = format!("could not connect to {to}");
                let failed = run.into_error();
                let scope = failed.scope();
                Err(DialError::new(ErrorKind::Connect, Phase::Tcp, message, scope).because(failed))
            }
            Err(_) => {
                // Where an address was left untried, the next dial may fare better.
                let scope = if run.has_tried_all() { Scope::Host } else { Scope::Attempt };
                let message = format!("could not connect to {to} within {connect_timeout:?}");
                let error = DialError::new(ErrorKind::Timeout, Phase::Tcp, message, scope);
                let failed = run.into_error();
                Err(if failed.attempts.is_empty() { error } else { error.because(failed) })
            }
        };
        told(phase, won)
    }

    async fn secure(
        &self,
        tls: &tls::Loaded,
        to: &Destination,
        tcp: TcpStream,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<Stream, DialError> {
        let phase = setup.tls(to.host());
        let handshake = self.within(deadline, Phase::Tls, to, tls.handshake(to.host(), tcp)).await;
        let secured = handshake.and_then(|done| done);
        if let Ok(secured) = &secured {
            phase
                .span()
                .record("tls.protocol.version", secured.version)
                .record("tls.resumed", secured.is_resumed);
        }
        told(phase, secured.map(|secured| Stream::Tls(Box::new(secured.stream))))
    }

    async fn dial_by(
        &self,
        connector: &Connector,
        to: &Destination,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<Dialed, DialError> {
        let phase = setup.tcp();
        let made = self.within(deadline, Phase::Tcp, to, connector(to.clone())).await;
        let made = made.and_then(|made| {
            made.map_err(|error| {
                let message = format!("the connector could not connect to {to}");
                let scope = if is_shortage(&*error) { Scope::Shortage } else { Scope::Attempt };
                DialError::new(ErrorKind::Connect, Phase::Tcp, message, scope).because(error)
            })
        });
        let stream = Stream::Other(Exclusive::new(told(phase, made)?));
        Ok(Dialed { stream, peer: None, local: None })
    }

    /// `work`, unless the deadline comes first.
    async fn within<T>(
        &self,
        deadline: Instant,
        phase: Phase,
        to: &Destination,
        work: impl Future<Output = T>,
    ) -> Result<T, DialError> {
        tokio::time::timeout_at(deadline.into(), work).await.map_err(|_| {
            let after = self.config.connect_timeout;
            let message = match phase {
                Phase::Tls => {
                    format!("the TLS handshake with {to} was not complete within {after:?} of the dial")
                }
                _ => format!("could not connect to {to} within {after:?}"),
            };
            // A connector of the caller's that does not come to an end would not for the next either: a black hole.
            let scope = if phase == Phase::Tcp { Scope::Host } else { Scope::Attempt };
            DialError::new(ErrorKind::Timeout, phase, message, scope)
        })
    }
}

/// Ends a phase as it went.
fn told<T>(phase: SetupPhase<'_>, result: Result<T, DialError>) -> Result<T, DialError> {
    match &result {
        Ok(_) => phase.end(),
        Err(error) => phase.fail(&format!("{:?}", error.kind())),
    }
    result
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("names", &self.names)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a dial failed. Several requests may be told of the same failure: clones are cheap.
#[derive(Clone)]
pub(crate) struct DialError {
    inner: Arc<Failure>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Debug)]
struct Failure {
    kind: ErrorKind,
    phase: Phase,
    message: String,
    scope: Scope,
}

/// Whom a failed dial concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Another dial to the same destination would fail alike.
    Host,
    /// Another dial may fare better.
    Attempt,
    /// This process ran short of descriptors, memory, ports or a network: it says nothing of the destination.
    Shortage,
    /// Every other dial on the same runtime would fail alike, whatever the destination.
    Runtime,
}

impl DialError {
    fn new(kind: ErrorKind, phase: Phase, message: String, scope: Scope) -> Self {
        Self { inner: Arc::new(Failure { kind, phase, message, scope }), source: None }
    }

    /// The runtime that the dial was to run on has no timers: no deadline could be kept.
    pub(crate) fn no_timers() -> Self {
        let message = "the tokio runtime has no timers: build it with enable_all or enable_time".to_owned();
        Self::new(ErrorKind::Request, Phase::Queue, message, Scope::Runtime)
    }

    /// The dial did not come to its end: its runtime stopped, or has no I/O.
    pub(crate) fn interrupted() -> Self {
        let message = "the dial was cut short: its tokio runtime stopped, or has no I/O enabled".to_owned();
        Self::new(ErrorKind::Connect, Phase::Tcp, message, Scope::Runtime)
    }

    /// Returns the error of a dial that the pool gave up, because it had not ended by its deadline.
    pub(crate) fn stalled(after: Duration) -> Self {
        let message = format!(
            "no connection was made within {after:?} because its tokio runtime is not running: do not block the runtime's thread"
        );
        Self::new(ErrorKind::Timeout, Phase::Tcp, message, Scope::Runtime)
    }

    /// The pool was shut down.
    pub(crate) fn shutdown() -> Self {
        Self::new(ErrorKind::Shutdown, Phase::Queue, Error::SHUTDOWN.to_owned(), Scope::Runtime)
    }

    fn tls(message: String, scope: Scope) -> Self {
        Self::new(ErrorKind::Tls, Phase::Tls, message, scope)
    }

    fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        self.inner.phase
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.inner.message
    }

    /// Whether every dial to the destination from here would fail alike: there is no such host, every address was tried
    /// and failed (or none answered in time), TLS does not accept the server, or the runtime cannot dial at all.
    pub(crate) fn concerns_host(&self) -> bool {
        matches!(self.inner.scope, Scope::Host | Scope::Runtime)
    }

    /// The same, to be kept: the cause is its words alone, so that nothing of the caller's is held, nor dropped where no
    /// caller's code may run.
    pub(crate) fn to_keep(&self) -> Self {
        let mut words = String::new();
        let mut cause = self.source.as_deref().map(|source| source as &(dyn StdError + 'static));
        while let Some(error) = cause {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&error.to_string());
            cause = error.source();
        }
        let source = self.source.as_ref().map(|_| Arc::from(BoxError::from(words)));
        Self { inner: self.inner.clone(), source }
    }

    /// Whether it says anything about the destination.
    pub(crate) fn is_of_host(&self) -> bool {
        matches!(self.inner.scope, Scope::Host | Scope::Attempt)
    }

    /// Whether no dial on the same runtime can succeed.
    pub(crate) fn is_of_runtime(&self) -> bool {
        self.inner.scope == Scope::Runtime
    }

    /// The crate's error for one of the requests that waited.
    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(self.inner.kind, self.inner.message.clone()).in_phase(self.inner.phase);
        match self.source {
            Some(source) => error.because(source),
            None => error,
        }
    }
}

impl From<ResolveError> for DialError {
    fn from(error: ResolveError) -> Self {
        let (kind, scope) = match &error.why {
            Why::NotFound(_) => (ErrorKind::Dns, Scope::Host),
            Why::Failed(source) if is_shortage(&**source) => (ErrorKind::Dns, Scope::Shortage),
            Why::Failed(_) => (ErrorKind::Dns, Scope::Attempt),
            Why::TimedOut(_) => (ErrorKind::Timeout, Scope::Attempt),
        };
        let this = Self::new(kind, Phase::Dns, error.to_string(), scope);
        match error.why {
            Why::Failed(source) => Self { source: Some(source), ..this },
            Why::NotFound(_) | Why::TimedOut(_) => this,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialError").field("failure", &self.inner).field("source", &self.source).finish()
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::resolver::{Answer, Overrides, Resolve};

    /// Answers as it was told to, or never.
    struct Told(Option<Result<Vec<IpAddr>, &'static str>>);

    impl Resolve for Told {
        fn resolve(
            &self,
            _name: &str,
            _family: Family,
        ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
            match self.0.clone() {
                None => Box::pin(std::future::pending()),
                Some(Ok(addresses)) => Box::pin(async { Ok(Answer { addresses, valid_for: None }) }),
                Some(Err(error)) => Box::pin(async move { Err(error.into()) }),
            }
        }
    }

    fn dialer(answer: Option<Result<Vec<IpAddr>, &'static str>>) -> Dialer {
        let names = Names::new(Overrides::default(), Some(Arc::new(Told(answer))));
        Dialer::new(names, ConnectConfig::default(), TlsConfig::default(), None)
    }

    fn connecting<F>(connector: impl Fn(Destination) -> F + Send + Sync + 'static) -> Dialer
    where
        F: Future<Output = Result<Box<dyn Transport>, BoxError>> + Send + 'static,
    {
        let connector: Arc<Connector> = Arc::new(move |to| Box::pin(connector(to)));
        let names = Names::new(Overrides::default(), None);
        Dialer::new(names, ConnectConfig::default(), TlsConfig::default(), Some(connector))
    }

    fn setup(to: &Destination) -> Setup {
        Setup::new(1, to.scheme(), to.host(), to.port(), time::now())
    }

    async fn failure(dialer: &Dialer, to: &Destination) -> DialError {
        dialer.dial(to, false, &setup(to)).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_plain_dial_goes_through_dns_and_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let to = Destination::new(false, "A.Example", at.port());
        let setup = setup(&to);
        let dialed = dialer(Some(Ok(vec![at.ip()]))).dial(&to, false, &setup).await.unwrap();
        let (mut peer, from) = listener.accept().await.unwrap();
        assert_eq!((dialed.peer, dialed.local), (Some(at), Some(from)));
        let mut stream = dialed.stream;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'x');
        let milestones = setup.milestones();
        assert!(milestones.dns.is_some_and(|dns| dns.end.is_some()));
        assert!(milestones.tcp.is_some_and(|tcp| tcp.end.is_some()) && milestones.tls.is_none());
    }

    #[tokio::test]
    async fn a_literal_has_no_dns_phase_and_a_refusal_is_told_in_words() {
        let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let to = Destination::new(false, "127.0.0.1", at.port());
        let setup = setup(&to);
        let error = dialer(None).dial(&to, false, &setup).await.unwrap_err();
        assert!(setup.milestones().dns.is_none());
        assert!(error.concerns_host());
        let error = error.into_error();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Some(Phase::Tcp)));
        let text = format!("could not connect to {at}: {at}: connection refused");
        assert_eq!(error.chain().to_string(), text);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_told() {
        let to = Destination::new(false, "a.example", 80);
        let none = failure(&dialer(Some(Ok(vec![]))), &to).await;
        assert_eq!((none.kind(), none.phase(), none.concerns_host()), (ErrorKind::Dns, Phase::Dns, true));
        assert_eq!(none.message(), "no such host: the name \"a.example\" has no address");

        let broken = failure(&dialer(Some(Err("servers are on strike"))), &to).await;
        assert!(!broken.concerns_host());
        let text = "the resolver could not look up the name \"a.example\": servers are on strike";
        assert_eq!(broken.into_error().chain().to_string(), text);
    }

    #[tokio::test(start_paused = true)]
    async fn timeouts_name_their_phase_and_time() {
        let to = Destination::new(false, "a.example", 80);
        let error = failure(&dialer(None), &to).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Dns));
        assert_eq!(error.message(), "the name \"a.example\" was not resolved within 5s");

        let mut hurried = dialer(None);
        hurried.config.connect_timeout = Duration::from_secs(2);
        let error = failure(&hurried, &to).await;
        assert_eq!(error.message(), "the name \"a.example\" was not resolved within 2s");

        let error = failure(&connecting(|_| std::future::pending()), &to).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Tcp));
        assert_eq!(error.message(), "could not connect to a.example:80 within 10s");
    }

    #[tokio::test]
    async fn a_custom_connector_replaces_everything() {
        let to = Destination::new(true, "[2001:DB8::1]", 443);
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let at = listener.local_addr().unwrap();
        let dialer = connecting(move |to| async move {
            assert_eq!((to.scheme(), to.host(), to.port()), ("https", "2001:db8::1", 443));
            Ok(Box::new(TcpStream::connect(at).await?) as _)
        });
        let mut dialed = dialer.dial(&to, false, &setup(&to)).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        assert_eq!((dialed.peer, dialed.stream.look()), (None, Look::Silent));
        dialed.stream.write_all(b"x").await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'x');

        let error = failure(&connecting(|_| async { Err(io::Error::other("no line").into()) }), &to).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Tcp));
        let text = "the connector could not connect to [2001:db8::1]:443: no line";
        assert_eq!(error.into_error().chain().to_string(), text);
    }

    #[cfg(not(feature = "rustls"))]
    #[tokio::test]
    async fn https_is_refused_without_tls() {
        let error = failure(&dialer(None), &Destination::new(true, "a.example", 443)).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Phase::Tls));
        assert!(error.message().contains("built without TLS"));
    }

    #[cfg(feature = "rustls")]
    #[tokio::test]
    async fn an_https_dial_goes_through_all_phases() {
        let authority = tls::tests::Authority::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server(&["a.example"])));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut dialer = dialer(Some(Ok(vec![at.ip()])));
        dialer.tls = Tls::new(TlsConfig { roots: vec![authority.root()] });
        let to = Destination::new(true, "a.example", at.port());
        let setup = setup(&to);
        let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
        let (dialed, mut peer) = tokio::join!(dialer.dial(&to, false, &setup), server);
        let mut stream = dialed.unwrap().stream;
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'x');
        let milestones = setup.milestones();
        assert!(milestones.dns.is_some() && milestones.tcp.is_some());
        assert!(milestones.tls.is_some_and(|tls| tls.end.is_some()));
    }

    #[cfg(feature = "rustls")]
    #[tokio::test]
    async fn a_server_that_never_shakes_hands_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut dialer = dialer(None);
        dialer.tls = Tls::new(TlsConfig { roots: vec![tls::tests::Authority::new().root()] });
        dialer.config.connect_timeout = Duration::from_secs(3600);
        let to = Destination::new(true, "127.0.0.1", at.port());
        // The server has got the hello, and nothing more comes: only now time runs ahead, to the deadline.
        let silent = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.read_u8().await.unwrap();
            tokio::time::pause();
            peer
        };
        let (error, _peer) = tokio::join!(failure(&dialer, &to), silent);
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Tls));
        let text = format!("the TLS handshake with {at} was not complete within 3600s of the dial");
        assert_eq!((error.message(), error.concerns_host()), (&*text, false));
    }
}
