//! The dial through a proxy: from a proxy and a destination to a connected stream.
//!
//! The steps are those of a direct dial, with the proxy as the destination, and the dialog with the proxy between TCP
//! and the TLS handshake with the origin. The proxy phase covers the TLS handshake with the proxy and the dialog.
//! Invariants: a name is looked up here only if the proxy's scheme says so, and the address filter has allowed the
//! address that the proxy is asked for. Whether the proxy may be asked for a name was decided when the proxy was
//! chosen. TLS with a proxy neither stores nor resumes a session, because the server's name is the key of a session,
//! and an origin may have the name of the proxy.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::super::proxy::{Asked, Kind, ProxyServer, through};
use super::super::tls::{Carrier, Loaded, TlsInfo};
use super::{Dialed, Dialer, end_phase, is_of_this_machine, refused};
use crate::connect::destination::{Destination, Via};
use crate::connect::error::{DialError, Scope};
use crate::connect::failures::{ConnectError, Failed, Why};
use crate::connect::stream::Stream;
use crate::connect::tcp::{Lookup, Won};
use crate::error::{ErrorKind, Phase};
use crate::resolver::Family;
use crate::timings::Rounded;
use crate::trace::Setup;

/// State of the search for the address that the proxy is asked for.
struct Found {
    is_v4_only: bool,
    /// An address that the filter allows, but that the proxy's protocol cannot carry.
    unsuitable: Option<SocketAddr>,
    refused: Vec<SocketAddr>,
}

impl Dialer {
    /// Makes one connection through a proxy.
    pub(super) async fn dial_by_proxy(
        &self,
        proxy: &ProxyServer,
        to: &Destination,
        tag: Option<&Arc<str>>,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<Dialed, DialError> {
        if self.connector.is_some() {
            let message = "a client with a connector uses no proxies, because the connector makes the connections: leave out the connector or the proxy";
            return Err(DialError::new(ErrorKind::Request, Phase::Queue, message.into(), Scope::Host));
        }
        let is_tls = proxy.kind() == Kind::Https;
        let tls = match is_tls || to.is_https() {
            true => Some(Box::pin(self.load_tls(deadline)).await?),
            false => None,
        };
        let is_tunnel = matches!(to.via(), Via::Tunnel(_));
        let address = match is_tunnel && !proxy.resolves_names() {
            true => Some(Box::pin(self.address_of(proxy, to, setup, deadline)).await?),
            false => None,
        };
        let at = Destination::new(is_tls, proxy.host(), proxy.port());
        let connected = Box::pin(self.connect(&at, setup, deadline)).await;
        let Won { tcp, peer, took, seat } = connected.map_err(|error| error.of_proxy(proxy))?;
        let local = tcp.local_addr().ok();
        let phase = setup.proxy(at.host(), at.port());
        let asked = is_tunnel.then(|| match address {
            Some(address) => Asked::Address(address),
            None => Asked::of(to.host(), to.port()),
        });
        let own_tls = if is_tls { tls.clone().map(Loaded::without_sessions) } else { None };
        let opened = Box::pin(self.open(proxy, at.host(), own_tls, tcp, asked, deadline)).await;
        let (carrier, with_proxy) = end_phase(phase, opened)?;
        let (stream, tls) = match tls.filter(|_| to.is_https()) {
            Some(tls) => {
                let tls = tls.isolated(tag, to.via());
                Box::pin(self.secure(&tls, to, carrier, setup, deadline)).await?
            }
            None => (carrier.into(), with_proxy),
        };
        let round_trip = (!is_of_this_machine(peer, local)).then_some(took);
        Ok(Dialed { stream, peer: Some(peer), local, round_trip, seat, tls })
    }

    /// Returns the address that a proxy which looks up no names is asked for: the first address that the address filter
    /// allows. This step is the dns phase.
    async fn address_of(
        &self,
        proxy: &ProxyServer,
        to: &Destination,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<SocketAddr, DialError> {
        let is_v4_only = proxy.kind() == Kind::Socks4;
        let mut found = Found { is_v4_only, unsuitable: None, refused: Vec::new() };
        if let Some(known) = self.resolver.known(to.host(), to.port()) {
            return self.choose(known, &mut found, to).map_or_else(|| found.end(to), Ok);
        }
        // The proxy connects to the address, so that the families of this machine do not matter.
        let family = if is_v4_only { Family::V4 } else { Family::Both };
        let Lookup { mut answers, deadline, phase, .. } = self.look_up(to, family, setup, deadline);
        let search = async {
            while let Some(answer) = poll_fn(|cx| answers.as_mut().poll_next(cx)).await {
                if let Some(address) = self.choose(answer?, &mut found, to) {
                    return Ok(address);
                }
            }
            found.end(to)
        };
        let searched = tokio::time::timeout_at(deadline.into(), search).await;
        end_phase(phase, searched.unwrap_or_else(|_| Err(self.unresolved(to))))
    }

    /// Returns the first address that the proxy can be asked for.
    fn choose(
        &self,
        mut addresses: Vec<SocketAddr>,
        found: &mut Found,
        to: &Destination,
    ) -> Option<SocketAddr> {
        if let Some(filter) = &self.config.filter {
            found.refused.extend(filter.remove_refused(to, &mut addresses));
        }
        let suitable = addresses.iter().find(|address| !found.is_v4_only || address.is_ipv4());
        if suitable.is_none() {
            found.unsuitable = found.unsuitable.or_else(|| addresses.first().copied());
        }
        suitable.copied()
    }

    /// Makes the TLS handshake with the proxy if `tls` is given, and asks the proxy for a connection if `asked` is
    /// given. Returns the stream and the parameters of TLS with the proxy. This step is the proxy phase.
    async fn open(
        &self,
        proxy: &ProxyServer,
        host: &str,
        tls: Option<Loaded>,
        tcp: TcpStream,
        asked: Option<Asked<'_>>,
        deadline: Instant,
    ) -> Result<(Carrier, Option<Arc<TlsInfo>>), DialError> {
        let after = self.config.connect_timeout;
        let (mut carrier, mut info) = (Carrier::from(tcp), None);
        if let Some(tls) = tls {
            let handshake = tls.handshake(host, carrier);
            let secured = match tokio::time::timeout_at(deadline.into(), handshake).await {
                Ok(secured) => secured.map_err(|error| error.in_proxy_phase(proxy))?,
                Err(_) => {
                    let after = Rounded(after);
                    let message = format!(
                        "the TLS handshake with the proxy {proxy} did not end within {after} of the start of the dial (connect_timeout)"
                    );
                    return Err(DialError::new(ErrorKind::Timeout, Phase::Proxy, message, Scope::Attempt));
                }
            };
            carrier = Carrier::from(secured.stream);
            info = Some(secured.info);
        }
        if let Some(asked) = asked {
            through(proxy, &mut carrier, asked, self.config.user_agent.as_ref(), deadline, after).await?;
        }
        Ok((carrier, info))
    }
}

impl Found {
    /// Ends the search: no address was found that the proxy can be asked for. Returns an address that the proxy's
    /// protocol cannot carry, if there is one, so that the dialog returns the error.
    fn end(&mut self, to: &Destination) -> Result<SocketAddr, DialError> {
        if let Some(address) = self.unsuitable {
            return Ok(address);
        }
        if self.refused.is_empty() {
            let message = "the destination has no address that the proxy can be asked for".to_owned();
            return Err(DialError::new(ErrorKind::Dns, Phase::Dns, message, Scope::Host));
        }
        let failures = self.refused.drain(..).map(|peer| Failed { peer, why: Why::Refused });
        Err(refused(to, ConnectError::new(failures.collect()).without_address_of(to)))
    }
}

impl From<Carrier> for Stream {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Tcp(tcp) => Self::Tcp(tcp),
            Carrier::Tls(tls) => Self::Tls(tls),
        }
    }
}
