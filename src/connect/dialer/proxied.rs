//! The dial through a proxy: from a proxy and a destination to a connected stream.
//!
//! The steps are those of a direct dial, with the proxy as the destination, and the dialog with the proxy between TCP
//! and the TLS handshake with the origin. The proxy phase covers the TLS handshake with the proxy, the dialog, and the
//! further connections to the proxy for further addresses of the destination. Invariants: a name is looked up here only
//! if the proxy's scheme says so, and the address filter has allowed each address that the proxy is asked for. Whether
//! the proxy may be asked for a name was decided when the proxy was chosen. TLS with a proxy neither stores nor resumes
//! a session, because the server's name is the key of a session, and an origin may have the name of the proxy.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::super::proxy::{Asked, Kind, NotOpened, ProxyServer, through};
use super::super::tls::{Carrier, Loaded, TlsInfo};
use super::{Dialed, Dialer, end_phase, is_of_this_machine, refused};
use crate::connect::destination::{Destination, Via};
use crate::connect::error::{DialError, Scope};
use crate::connect::failures::{ConnectError, Failed, Why};
use crate::connect::limit::Limit;
use crate::connect::shortage::shortage;
use crate::connect::stream::Stream;
use crate::connect::tcp::{Lookup, Won, open};
use crate::error::{ErrorKind, Phase};
use crate::resolver::Family;
use crate::time;
use crate::trace::Setup;

/// Largest number of addresses of a destination that a proxy is asked for, one after another.
const MOST_ADDRESSES: usize = 6;

/// Addresses of a destination that the client may ask the proxy for.
struct Found {
    is_v4_only: bool,
    /// Addresses that the filter allows, in the order in which they were found.
    allowed: Vec<SocketAddr>,
    refused: Vec<SocketAddr>,
}

/// A proxy that has accepted the TCP connection of a dial.
struct Reached<'a> {
    proxy: &'a ProxyServer,
    peer: SocketAddr,
    setup: &'a Setup,
    limit: Limit,
}

/// A connection that the proxy has opened, or a connection to a proxy that forwards requests.
struct Opened {
    carrier: Carrier,
    /// Local address of the connection to the proxy.
    local: Option<SocketAddr>,
    /// Parameters of TLS with the proxy.
    tls: Option<Arc<TlsInfo>>,
}

impl Dialer {
    /// Makes one connection through a proxy.
    pub(super) async fn dial_by_proxy(
        &self,
        proxy: &ProxyServer,
        to: &Destination,
        tag: Option<&Arc<str>>,
        setup: &Setup,
        limit: Limit,
    ) -> Result<Dialed, DialError> {
        if self.connector.is_some() {
            let message = "a client with a connector uses no proxies, because the connector makes the connections: leave out the connector or the proxy";
            return Err(DialError::new(ErrorKind::Request, Phase::Queue, message.into(), Scope::Host));
        }
        let is_tls = proxy.kind() == Kind::Https;
        let tls = match is_tls || to.is_https() {
            true => Some(Box::pin(self.load_tls(limit)).await?),
            false => None,
        };
        let is_tunnel = matches!(to.via(), Via::Tunnel(_));
        let asked: Vec<_> = match is_tunnel {
            true if proxy.resolves_names() => vec![Asked::of(to.host(), to.port())],
            true => {
                let addresses = Box::pin(self.addresses_of(proxy, to, setup, limit)).await?;
                addresses.into_iter().map(Asked::Address).collect()
            }
            false => Vec::new(),
        };
        let at = Destination::new(is_tls, proxy.host(), proxy.port());
        let connected = Box::pin(self.connect(&at, setup, limit, None)).await;
        let Won { tcp, peer, took, seat, .. } = connected.map_err(|error| error.of_proxy(proxy))?;
        let phase = setup.proxy(at.host(), at.port());
        let own_tls = if is_tls { tls.clone().map(Loaded::without_sessions) } else { None };
        let own = limit.of_step(self.config.steps.proxy, "proxy_timeout");
        let reached = Reached { proxy, peer, setup, limit: own };
        let opened = Box::pin(self.open(&reached, at.host(), own_tls, tcp, &asked)).await;
        let Opened { carrier, local, tls: with_proxy } = end_phase(phase, opened)?;
        let (stream, tls) = match tls.filter(|_| to.is_https()) {
            Some(tls) => {
                let tls = tls.isolated(tag, to.via());
                Box::pin(self.secure(tls.handshake(to.host(), carrier), to, setup, limit)).await?
            }
            None => (carrier.into(), with_proxy),
        };
        let round_trip = (!is_of_this_machine(peer, local)).then_some(took);
        Ok(Dialed { stream, peer: Some(peer), local, round_trip, seat, tls })
    }

    /// Returns the addresses that the client asks the proxy for, one after another, if the proxy looks up no names. The
    /// address filter allows each of these addresses. This step is the dns phase.
    async fn addresses_of(
        &self,
        proxy: &ProxyServer,
        to: &Destination,
        setup: &Setup,
        limit: Limit,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let is_v4_only = proxy.kind() == Kind::Socks4;
        let mut found = Found { is_v4_only, allowed: Vec::new(), refused: Vec::new() };
        if let Some(known) = self.resolver.known(to.host(), to.port()) {
            self.admit(known, &mut found, to);
            return found.in_order(to);
        }
        // The proxy connects to the addresses, so that the families of this machine do not matter.
        let family = if is_v4_only { Family::V4 } else { Family::Both };
        let Lookup { mut answers, deadline, resolution_delay, phase, .. } =
            self.look_up(to, family, setup, limit);
        let mut end = deadline;
        let searched = loop {
            let next = poll_fn(|cx| answers.as_mut().poll_next(cx));
            match tokio::time::timeout_at(end.into(), next).await {
                Ok(Some(Ok(addresses))) => self.admit(addresses, &mut found, to),
                // The addresses that were found before the failure are enough.
                _ if found.has_suitable() => break Ok(()),
                Ok(Some(Err(error))) => break Err(error.into()),
                Ok(None) => break Ok(()),
                Err(_) => break Err(self.unresolved(to)),
            }
            if end == deadline && found.has_suitable() {
                // The addresses of the other family may come a little later.
                end = time::after(time::now(), resolution_delay).min(deadline);
            }
        };
        end_phase(phase, searched.and_then(|()| found.in_order(to)))
    }

    /// Adds the addresses that the filter allows to `found`.
    fn admit(&self, mut addresses: Vec<SocketAddr>, found: &mut Found, to: &Destination) {
        if let Some(filter) = &self.config.filter {
            found.refused.extend(filter.remove_refused(to, &mut addresses));
        }
        found.allowed.append(&mut addresses);
    }

    /// Makes the TLS handshake with the proxy if `tls` is given, and asks the proxy for a connection to one of the
    /// destinations in `asked`, if there are any. This step is the proxy phase.
    async fn open(
        &self,
        reached: &Reached<'_>,
        host: &str,
        tls: Option<Loaded>,
        tcp: TcpStream,
        asked: &[Asked<'_>],
    ) -> Result<Opened, DialError> {
        let Reached { proxy, limit, .. } = *reached;
        let mut local = tcp.local_addr().ok();
        let (mut carrier, mut info) = (Carrier::from(tcp), None);
        if let Some(tls) = tls {
            let secured = match limit.run(tls.handshake(host, carrier)).await {
                Some(secured) => secured.map_err(|error| error.in_proxy_phase(proxy))?,
                None => {
                    let message =
                        format!("the TLS handshake with the proxy {proxy} did not end within {limit}");
                    return Err(DialError::new(ErrorKind::Timeout, Phase::Proxy, message, Scope::Attempt));
                }
            };
            carrier = Carrier::from(secured.stream);
            info = Some(secured.info);
        }
        let agent = self.config.user_agent.as_ref();
        let mut tries = asked.iter().enumerate().peekable();
        while let Some((at, asked)) = tries.next() {
            match through(proxy, &mut carrier, *asked, agent, limit).await {
                Ok(()) => break,
                Err(NotOpened { is_of_address: true, .. }) if tries.peek().is_some() => {
                    // A proxy that looks up no names is a SOCKS proxy, so that there is no TLS with the proxy.
                    drop(carrier);
                    let tcp = self.reach_again(reached, at + 2).await?;
                    local = tcp.local_addr().ok();
                    carrier = Carrier::from(tcp);
                }
                Err(NotOpened { error, .. }) => return Err(error.after_addresses(at + 1)),
            }
        }
        Ok(Opened { carrier, local, tls: info })
    }

    /// Opens another connection to the address at which the proxy has accepted the first connection. `number` counts
    /// the connections.
    async fn reach_again(&self, reached: &Reached<'_>, number: usize) -> Result<TcpStream, DialError> {
        let Reached { proxy, peer, setup, limit } = *reached;
        let (local, options) = (self.config.local_address, self.config.tcp);
        let attempt = setup.attempt(peer, number);
        match limit.run(async { open(peer, local, options)?.connect(peer).await }).await {
            Some(Ok(tcp)) => {
                attempt.won();
                Ok(tcp)
            }
            Some(Err(error)) => {
                attempt.failed(error.kind());
                let scope = if shortage(&error).is_some() { Scope::Shortage } else { Scope::Attempt };
                let message = format!("the client could not connect to the proxy {proxy} again");
                Err(DialError::new(ErrorKind::Connect, Phase::Proxy, message, scope).because(error))
            }
            None => {
                let message = format!("the proxy {proxy} opened no connection within {limit}");
                Err(DialError::new(ErrorKind::Timeout, Phase::Proxy, message, Scope::Attempt))
            }
        }
    }
}

impl Found {
    /// Whether the protocol of the proxy can carry an address.
    fn is_suitable(&self, address: &SocketAddr) -> bool {
        !self.is_v4_only || address.is_ipv4()
    }

    fn has_suitable(&self) -> bool {
        self.allowed.iter().any(|address| self.is_suitable(address))
    }

    /// Returns the addresses that the proxy is asked for. The families take turns, because the proxy may be unable to
    /// reach one family. If the proxy's protocol can carry none of the addresses, returns them anyway, so that the
    /// dialog returns the error.
    fn in_order(mut self, to: &Destination) -> Result<Vec<SocketAddr>, DialError> {
        if self.has_suitable() {
            let is_v4_only = self.is_v4_only;
            self.allowed.retain(|address| !is_v4_only || address.is_ipv4());
        }
        let Some(first) = self.allowed.first().copied() else {
            if self.refused.is_empty() {
                let message = "the destination has no address that the proxy can be asked for".to_owned();
                return Err(DialError::new(ErrorKind::Dns, Phase::Dns, message, Scope::Host));
            }
            let failures = self.refused.into_iter().map(|peer| Failed { peer, why: Why::Refused });
            return Err(refused(to, ConnectError::new(failures.collect()).without_address_of(to)));
        };
        let is_first = |address: &SocketAddr| address.is_ipv4() == first.is_ipv4();
        let (mut one, mut other): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for address in self.allowed {
            let family = if is_first(&address) { &mut one } else { &mut other };
            if family.len() < MOST_ADDRESSES && !family.contains(&address) {
                family.push(address);
            }
        }
        let (mut one, mut other) = (one.into_iter(), other.into_iter());
        let turns = std::iter::from_fn(|| {
            let pair = [one.next(), other.next()];
            pair.iter().any(Option::is_some).then_some(pair)
        });
        Ok(turns.flatten().flatten().take(MOST_ADDRESSES).collect())
    }
}

impl From<Carrier> for Stream {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Tcp(tcp) => Self::Tcp(tcp),
            #[cfg(unix)]
            Carrier::Unix(unix) => Self::Unix(unix),
            Carrier::Tls(tls) => Self::Tls(tls),
        }
    }
}
