//! The dial: from a destination to a connected stream.
//!
//! One deadline covers the whole dial: the name lookup, the race between addresses, the dialog with a proxy, and the
//! TLS handshake. Each of these steps can have a shorter limit of its own. The dialer knows nothing of pools, and of
//! HTTP only the `User-Agent` of CONNECT. Invariants: a dial spawns no task, so that dropping the dial ends all of its
//! work. Each phase that begins in [`Setup`] ends in [`Setup`].

#[cfg(feature = "proxy")]
mod proxied;
mod settings;
mod trust;
#[cfg(unix)]
mod unix;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use self::settings::ConnectConfig;
use super::destination::{Destination, Via};
use super::early::FirstBytes;
use super::error::{DialError, Scope};
use super::failures::ConnectError;
use super::held_ack;
use super::history::History;
use super::limit::Limit;
use super::shortage::is_shortage;
use super::spread::{Seat, Spread};
use super::stream::{Exclusive, Stream, Transport};
use super::tcp::{Attempts, Conditions, Lookup, Unresolved, Won};
use super::tls::{Secured, Tls, TlsConfig, TlsInfo};
use crate::error::{BoxError, ErrorKind, Phase};
use crate::resolver::{Family, ResolveError, ResolveErrorKind, Resolver};
use crate::time;
use crate::timings::Rounded;
use crate::trace::{Setup, SetupPhase};

/// Custom connector, which replaces the name lookup, TCP and TLS. The dialer may drop the future at any time, for example
/// when the connect timeout passes.
pub(crate) type Connector = dyn Fn(Destination) -> Connecting + Send + Sync;

/// Future that a custom connector returns.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, BoxError>> + Send>>;

/// Dialer of one client.
pub(crate) struct Dialer {
    resolver: Resolver,
    /// What earlier dials have shown about addresses.
    history: Mutex<History>,
    /// The connections of each address, if the client spreads its connections.
    spread: Option<Mutex<Spread>>,
    config: ConnectConfig,
    tls: Tls,
    connector: Option<Arc<Connector>>,
}

/// A connection that is ready for a request.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    /// Address of the peer. `None` if a custom connector made the connection, or if the connection is a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Local address. `None` if a custom connector made the connection, or if the connection is a unix socket.
    pub(crate) local: Option<SocketAddr>,
    /// Time that the successful connection attempt took. `None` if the server is on this machine, or if a custom
    /// connector does not report the time.
    pub(crate) round_trip: Option<Duration>,
    /// The seat of the connection at its address, if the client spreads its connections.
    pub(crate) seat: Option<Seat>,
    /// Parameters of TLS with the server, or of TLS with the proxy if there is no TLS with the server. `None` without
    /// TLS, or if a custom connector made the connection.
    pub(crate) tls: Option<Arc<TlsInfo>>,
}

impl Dialer {
    /// Returns a dialer. Reads no file and does no network I/O.
    pub(crate) fn new(
        resolver: Resolver,
        config: ConnectConfig,
        tls: TlsConfig,
        connector: Option<Arc<Connector>>,
    ) -> Self {
        let spread = config.spreads.then(Mutex::default);
        Self { resolver, history: Mutex::default(), spread, config, tls: Tls::new(tls), connector }
    }

    /// Forgets the addresses of names and what earlier dials have shown about addresses, because the machine is in another
    /// network now.
    pub(crate) fn network_changed(&self) {
        self.resolver.network_changed();
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clear(time::now());
    }

    /// Notes that the first request on a connection to `peer` was not answered. If the client spreads its connections, the
    /// address comes after the others for a while. `made` is the time at which the connection was made.
    #[cold]
    pub(crate) fn first_request_failed(&self, peer: SocketAddr, made: Instant) {
        if self.spread.is_some() {
            self.history.lock().unwrap_or_else(PoisonError::into_inner).failed(peer, made, time::now());
        }
    }

    /// Whether the first write of a connection carries the acknowledgment that ends TCP's handshake.
    pub(crate) fn holds_acks(&self) -> bool {
        self.config.tcp.request_on_ack
    }

    /// Whether the first bytes of a connection may go with its SYN.
    pub(crate) fn opens_fast(&self) -> bool {
        self.config.opens_fast
    }

    /// Sends the acknowledgment that ends TCP's handshake, if the system still holds the acknowledgment. Called after
    /// the first write of a connection, and when a connection is kept without a write.
    pub(crate) fn send_held_ack(&self, stream: &Stream) {
        if self.holds_acks() {
            held_ack::send(stream);
        }
    }

    /// Makes one connection and returns it. Dropping the future ends the dial and closes its sockets. The dial resumes only
    /// TLS sessions of the same isolation tag, because a session tells the server that two connections belong to the same
    /// client.
    ///
    /// Each step is boxed, so that a dial takes the memory of its current step only. A future with space for all steps
    /// would leave holes between the allocations of idle connections, because the TLS step needs much space.
    ///
    /// `request` has the first bytes of a request that may be repeated. These bytes may go with the SYN: see
    /// [`Stream::is_unclaimed`].
    pub(crate) async fn dial(
        &self,
        to: &Destination,
        tag: Option<&Arc<str>>,
        setup: &Setup,
        request: Option<FirstBytes>,
    ) -> Result<Dialed, DialError> {
        // The deadline counts from the start of the setup instead of the task's first poll, because the pool counts
        // from the start of the setup when the pool decides that a dial is overdue.
        let limit = Limit::of_dial(setup.started(), self.config.connect_timeout);
        match to.via() {
            Via::Direct => {}
            #[cfg(feature = "proxy")]
            Via::Forward(proxy) | Via::Tunnel(proxy) => {
                return Box::pin(self.dial_by_proxy(proxy, to, tag, setup, limit)).await;
            }
            #[cfg(not(feature = "proxy"))]
            Via::Forward(proxy) | Via::Tunnel(proxy) => match **proxy {},
            #[cfg(unix)]
            Via::Unix(path) => return Box::pin(self.dial_by_socket(path, to, tag, setup, limit)).await,
            #[cfg(not(unix))]
            Via::Unix(path) => match **path {},
        }
        if let Some(connector) = &self.connector {
            return Box::pin(self.connect_by(&**connector, to, setup, limit)).await;
        }
        // The trust store is loaded outside the phases, because loading happens once and takes no network time.
        let tls = match to.is_https() {
            true => Some(Box::pin(self.load_tls(limit)).await?),
            false => None,
        };
        let tls = tls.map(|tls| tls.isolated(tag, to.via()));
        let begun = match &tls {
            Some(tls) if self.config.opens_fast => Some(tls.begin(to.host())?),
            _ => None,
        };
        let first = begun.as_ref().map(|begun| begun.first().clone()).or(request);
        let connected = Box::pin(self.connect(to, setup, limit, first.as_ref())).await;
        let Won { tcp, peer, sent, took, seat } = connected?;
        let local = tcp.local_addr().ok();
        let (stream, tls) = match (tls, begun) {
            (Some(tls), Some(begun)) => {
                let handshake = tls.go_on(begun, sent, tcp);
                Box::pin(self.secure(handshake, to, setup, limit)).await?
            }
            (Some(tls), None) => {
                Box::pin(self.secure(tls.handshake(to.host(), tcp), to, setup, limit)).await?
            }
            (None, _) => (Stream::opened(tcp, first.as_ref(), sent), None),
        };
        let round_trip = (!is_of_this_machine(peer, local)).then_some(took);
        Ok(Dialed { stream, peer: Some(peer), local, round_trip, seat, tls })
    }

    /// Returns the family of the addresses that a socket of this client can connect to.
    fn family(&self) -> Family {
        match self.config.local_address {
            Some(IpAddr::V4(_)) => Family::V4,
            Some(IpAddr::V6(_)) => Family::V6,
            None => Family::Both,
        }
    }

    /// Begins the lookup of the host's addresses, and with the lookup the dns phase.
    fn look_up<'a>(
        &'a self,
        to: &'a Destination,
        family: Family,
        setup: &'a Setup,
        limit: Limit,
    ) -> Lookup<'a> {
        let phase = setup.dns(to.host());
        if !phase.span().is_disabled() {
            phase.span().record("cached", self.resolver.is_cached(to.host(), family));
        }
        let now = time::now();
        let limit = self.config.dns_timeout.min(limit.end().saturating_duration_since(now));
        let resolution_delay = match family {
            Family::Both => self.at_most_a_quarter(RESOLUTION_DELAY),
            Family::V4 | Family::V6 => Duration::ZERO,
        };
        Lookup {
            answers: self.resolver.addresses(to.host(), to.port(), family, limit),
            deadline: time::after(now, limit),
            resolution_delay,
            is_ordered: self.resolver.is_ordered(),
            phase,
        }
    }

    /// Returns the time for which a dial waits before its next step. A wait is at most a quarter of the dial's time, so that
    /// there is time for the step.
    fn at_most_a_quarter(&self, wait: Duration) -> Duration {
        wait.min(self.config.connect_timeout / 4)
    }

    /// Connects to the first address that accepts. This step is the dns phase, until the first address is tried, and the tcp
    /// phase.
    ///
    /// `first` are bytes that may go with the SYN and may be repeated.
    async fn connect(
        &self,
        to: &Destination,
        setup: &Setup,
        limit: Limit,
        first: Option<&FirstBytes>,
    ) -> Result<Won, DialError> {
        let ConnectConfig { local_address: local, tcp: options, steps, .. } = self.config;
        let attempt_delay = self.at_most_a_quarter(self.config.attempt_delay);
        let (history, spread) = (&self.history, self.spread.as_ref());
        let filter = self.config.filter.as_ref();
        let timeout = steps.tcp;
        let conditions =
            Conditions { to, setup, history, spread, filter, attempt_delay, timeout, local, options, first };
        let mut attempts = match self.resolver.known(to.host(), to.port()) {
            Some(addresses) => Attempts::to(addresses, conditions),
            None => Attempts::look_up(self.look_up(to, self.family(), setup, limit), conditions),
        };
        let ended = limit.run(attempts.winner()).await;
        let phase = attempts.take_phase();
        let won = match ended {
            Some(Some(won)) => Ok(won),
            Some(None) => Err(self.failure(to, attempts, false)),
            None => Err(self.failure(to, attempts, true)),
        };
        match phase {
            Some(phase) => end_phase(phase, won),
            None => won,
        }
    }

    /// Returns the error of a dial that connected to no address. `is_late` tells whether the time of the dial is over.
    #[cold]
    fn failure(&self, to: &Destination, mut attempts: Attempts<'_>, is_late: bool) -> DialError {
        // The timeout of the attempts ends before the timeout of the dial.
        let (after, setting) = match (attempts.is_late(), self.config.steps.tcp) {
            (true, Some(after)) => (after, "tcp_timeout"),
            _ => (self.config.connect_timeout, "connect_timeout"),
        };
        let is_late = is_late || attempts.is_late();
        match attempts.take_unresolved() {
            Some(Unresolved::Failed(error)) => return error.into(),
            Some(Unresolved::TimedOut) => return self.unresolved(to),
            None => {}
        }
        let has_tried_all = attempts.has_tried_all();
        let failed = attempts.into_error().without_address_of(to);
        if failed.is_refused() {
            return refused(to, failed);
        }
        if let Some(untaken) = failed.untaken() {
            // No address is to blame.
            let error = DialError::new(ErrorKind::Connect, Phase::Tcp, untaken.to_string(), Scope::Host);
            return match untaken.system_error() {
                Some(source) => error.because(source),
                None => error,
            };
        }
        if !is_late {
            let message = "the client could not connect".to_owned();
            return DialError::new(ErrorKind::Connect, Phase::Tcp, message, failed.scope()).because(failed);
        }
        // If no attempt was started for an address, the next dial may succeed.
        let scope = if has_tried_all { Scope::Host } else { Scope::Attempt };
        let message = format!("the client could not connect within {} ({setting})", Rounded(after));
        let error = DialError::new(ErrorKind::Timeout, Phase::Tcp, message, scope);
        if failed.failures().is_empty() { error } else { error.because(failed) }
    }

    /// Returns the error of a lookup that found no address in time.
    #[cold]
    fn unresolved(&self, to: &Destination) -> DialError {
        let ConnectConfig { dns_timeout, connect_timeout, .. } = self.config;
        let (after, setting) = match dns_timeout <= connect_timeout {
            true => (dns_timeout, "dns_timeout"),
            false => (connect_timeout, "connect_timeout"),
        };
        let kind = ResolveErrorKind::TimedOut { after, setting };
        ResolveError { name: to.host().to_owned(), kind }.into()
    }

    /// Runs a TLS handshake. This step is the tls phase.
    async fn secure(
        &self,
        handshake: impl Future<Output = Result<Secured, DialError>>,
        to: &Destination,
        setup: &Setup,
        limit: Limit,
    ) -> Result<(Stream, Option<Arc<TlsInfo>>), DialError> {
        let phase = setup.tls(to.host());
        let limit = limit.of_step(self.config.steps.tls, "tls_timeout");
        let handshake = self.within(limit, Phase::Tls, handshake).await;
        let secured = handshake.and_then(|done| done);
        if let Ok(secured) = &secured {
            phase
                .span()
                .record("tls.protocol.version", secured.info.version().as_str())
                .record("tls.resumed", secured.info.is_resumed());
        }
        let secured = secured.map(|secured| (Stream::Tls(Box::new(secured.stream)), Some(secured.info)));
        end_phase(phase, secured)
    }

    /// Connects by the custom connector. This step is the tcp phase.
    async fn connect_by(
        &self,
        connector: &Connector,
        to: &Destination,
        setup: &Setup,
        limit: Limit,
    ) -> Result<Dialed, DialError> {
        let phase = setup.tcp();
        let made = self.within(limit, Phase::Tcp, connector(to.clone())).await;
        let made = made.and_then(|made| {
            made.map_err(|error| {
                let message = "the connector could not connect".to_owned();
                let scope = if is_shortage(&*error) { Scope::Shortage } else { Scope::Attempt };
                DialError::new(ErrorKind::Connect, Phase::Tcp, message, scope).because(error)
            })
        });
        let made = end_phase(phase, made)?;
        let round_trip = made.round_trip();
        let stream = Stream::Other(Exclusive::new(made));
        Ok(Dialed { stream, peer: None, local: None, round_trip, seat: None, tls: None })
    }

    /// Runs `work` until its end or the limit. Returns its result, or the error of a timeout.
    async fn within<T>(
        &self,
        limit: Limit,
        phase: Phase,
        work: impl Future<Output = T>,
    ) -> Result<T, DialError> {
        limit.run(work).await.ok_or_else(|| {
            let message = match phase {
                Phase::Tls => format!("the TLS handshake did not end within {limit}"),
                _ => {
                    let after = Rounded(self.config.connect_timeout);
                    format!("the connector did not connect within {after} (connect_timeout)")
                }
            };
            // A custom connector that hangs will probably hang for the next dial too.
            let scope = if phase == Phase::Tcp { Scope::Host } else { Scope::Attempt };
            DialError::new(ErrorKind::Timeout, phase, message, scope)
        })
    }
}

/// > The time to wait for a AAAA response after receiving an A response. Recommended to be 50 milliseconds.
///
/// <https://www.rfc-editor.org/rfc/rfc8305#section-8>
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Returns the error of a host whose addresses the filter has refused, all of them.
#[cold]
fn refused(to: &Destination, failed: ConnectError) -> DialError {
    let message = format!("the address filter refuses every address of {:?}", to.host());
    DialError::new(ErrorKind::AddressRefused, Phase::Tcp, message, Scope::Host).because(failed)
}

/// Whether both ends of a connection are on this machine.
fn is_of_this_machine(peer: SocketAddr, local: Option<SocketAddr>) -> bool {
    peer.ip().to_canonical().is_loopback() || local.is_some_and(|local| local.ip() == peer.ip())
}

/// Ends a phase with the outcome of its work, and returns the outcome.
fn end_phase<T>(phase: SetupPhase<'_>, result: Result<T, DialError>) -> Result<T, DialError> {
    match &result {
        Ok(_) => phase.end(),
        Err(error) => phase.fail(&format!("{:?}", error.kind())),
    }
    result
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("resolver", &self.resolver)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::stream::Look;
    #[cfg(feature = "rustls")]
    use super::super::tls;
    use super::*;
    use crate::resolver::{Answer, Overrides, Resolve};

    /// A resolver that answers every lookup with these addresses or this error. With `None`, no lookup ends.
    struct Fixed(Option<Result<Vec<SocketAddr>, &'static str>>);

    impl Resolve for Fixed {
        fn resolve(
            &self,
            _name: &str,
            _family: Family,
        ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
            match self.0.clone() {
                None => Box::pin(std::future::pending()),
                Some(Ok(addresses)) => Box::pin(async { Ok(Answer::new(addresses)) }),
                Some(Err(error)) => Box::pin(async move { Err(error.into()) }),
            }
        }
    }

    fn dialer(answer: Option<Result<Vec<SocketAddr>, &'static str>>) -> Dialer {
        let resolver = Resolver::new(Overrides::default(), Some(Arc::new(Fixed(answer))));
        Dialer::new(resolver, ConnectConfig::default(), TlsConfig::default(), None)
    }

    fn connecting<F>(connector: impl Fn(Destination) -> F + Send + Sync + 'static) -> Dialer
    where
        F: Future<Output = Result<Box<dyn Transport>, BoxError>> + Send + 'static,
    {
        let connector: Arc<Connector> = Arc::new(move |to| Box::pin(connector(to)));
        let resolver = Resolver::new(Overrides::default(), None);
        Dialer::new(resolver, ConnectConfig::default(), TlsConfig::default(), Some(connector))
    }

    fn setup(to: &Destination) -> Setup {
        Setup::new(1, to.scheme(), to.host(), to.port(), time::now())
    }

    async fn failure(dialer: &Dialer, to: &Destination) -> DialError {
        dialer.dial(to, None, &setup(to), None).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_plain_dial_goes_through_dns_and_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let to = Destination::new(false, "A.Example", at.port());
        let setup = setup(&to);
        let dialed = dialer(Some(Ok(vec![(at.ip(), 0).into()]))).dial(&to, None, &setup, None).await.unwrap();
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
    async fn a_port_of_the_answer_is_dialed_instead_of_the_urls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url_port = SocketAddr::from((at.ip(), 0));
        for (answer, port) in [
            // The server refuses at the URL's port, or at another port that the resolver's answer names.
            (vec![at], refusing.port()),
            (vec![url_port, at], refusing.port()),
            (vec![refusing, url_port], at.port()),
        ] {
            let to = Destination::new(false, "a.example", port);
            let dialed = dialer(Some(Ok(answer.clone()))).dial(&to, None, &setup(&to), None).await.unwrap();
            assert_eq!(dialed.peer, Some(at), "{answer:?} and port {port}");
        }
    }

    #[tokio::test]
    async fn a_literal_has_no_dns_phase_and_a_refusal_names_the_address() {
        let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let to = Destination::new(false, "127.0.0.1", at.port());
        let setup = setup(&to);
        let error = dialer(None).dial(&to, None, &setup, None).await.unwrap_err();
        assert!(setup.milestones().dns.is_none());
        assert!(error.concerns_host());
        let error = error.into_error();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Some(Phase::Tcp)));
        // The text of the request's error begins with the address.
        assert_eq!(error.chain().to_string(), "the client could not connect: connection refused");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_an_error() {
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
        assert_eq!(
            error.message(),
            "the resolver did not answer within 5s for the name \"a.example\" (dns_timeout)"
        );

        let mut hurried = dialer(None);
        hurried.config.connect_timeout = Duration::from_secs(2);
        let error = failure(&hurried, &to).await;
        assert_eq!(
            error.message(),
            "the resolver did not answer within 2s for the name \"a.example\" (connect_timeout)"
        );

        let error = failure(&connecting(|_| std::future::pending()), &to).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Tcp));
        assert_eq!(error.message(), "the connector did not connect within 10s (connect_timeout)");
    }

    #[tokio::test]
    async fn a_custom_connector_replaces_lookup_tcp_and_tls() {
        let to = Destination::new(true, "[2001:DB8::1]", 443);
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let at = listener.local_addr().unwrap();
        let dialer = connecting(move |to| async move {
            assert_eq!((to.scheme(), to.host(), to.port()), ("https", "2001:db8::1", 443));
            Ok(Box::new(TcpStream::connect(at).await?) as _)
        });
        let mut dialed = dialer.dial(&to, None, &setup(&to), None).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        assert_eq!((dialed.peer, dialed.stream.look()), (None, Look::Silent));
        dialed.stream.write_all(b"x").await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'x');

        let error = failure(&connecting(|_| async { Err(io::Error::other("no line").into()) }), &to).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Tcp));
        let text = "the connector could not connect: no line";
        assert_eq!(error.into_error().chain().to_string(), text);
    }

    /// The waits within a dial leave time for what comes after the wait.
    #[tokio::test]
    async fn a_short_connect_timeout_shortens_the_waits_of_the_dial() {
        let (to, ms) = (Destination::new(false, "a.example", 80), Duration::from_millis);
        let setup = setup(&to);
        for (connect_timeout, for_ipv6, for_an_attempt) in [(10_000, 50, 250), (400, 50, 100), (40, 10, 10)] {
            let mut dialer = dialer(None);
            dialer.config.connect_timeout = ms(connect_timeout);
            let limit = Limit::of_dial(setup.started(), ms(connect_timeout));
            let lookup = dialer.look_up(&to, Family::Both, &setup, limit);
            assert_eq!(lookup.resolution_delay, ms(for_ipv6), "{connect_timeout} ms");
            let delay = dialer.at_most_a_quarter(dialer.config.attempt_delay);
            assert_eq!(delay, ms(for_an_attempt), "{connect_timeout} ms");
        }
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
        let mut dialer = dialer(Some(Ok(vec![(at.ip(), 0).into()])));
        dialer.tls = Tls::new(TlsConfig { roots: vec![authority.root()], ..TlsConfig::default() });
        let to = Destination::new(true, "a.example", at.port());
        let setup = setup(&to);
        let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
        let (dialed, mut peer) = tokio::join!(dialer.dial(&to, None, &setup, None), server);
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
        dialer.tls =
            Tls::new(TlsConfig { roots: vec![tls::tests::Authority::new().root()], ..TlsConfig::default() });
        dialer.config.connect_timeout = Duration::from_secs(3600);
        let to = Destination::new(true, "127.0.0.1", at.port());
        // Time is paused only after the server got the client's hello, so that the clock jumps to the deadline.
        let silent = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.read_u8().await.unwrap();
            tokio::time::pause();
            peer
        };
        let (error, _peer) = tokio::join!(failure(&dialer, &to), silent);
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Tls));
        let text = "the TLS handshake did not end within 3600s of the start of the dial (connect_timeout)";
        assert_eq!((error.message(), error.concerns_host()), (text, false));
    }
}
