//! The dial by way of a proxy: from a proxy and a destination to a connected stream.
//!
//! The steps are those of a direct dial, with the proxy as the destination, and the dialog with the proxy between TCP and
//! the TLS handshake with the origin. The proxy phase covers the TLS handshake with the proxy and the dialog. Invariants: a
//! name is looked up here only if the proxy's scheme says so. TLS with a proxy neither stores nor resumes a session,
//! because sessions are found by the name of the server, and an origin may have the name of the proxy.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpStream;

use super::super::proxy::{Asked, Kind, ProxyServer, through};
use super::super::tls::{Carrier, Loaded};
use super::{Dialed, Dialer, end_phase, is_of_this_machine};
use crate::connect::destination::{Destination, Via};
use crate::connect::error::{DialError, Scope};
use crate::connect::stream::Stream;
use crate::connect::tcp::Won;
use crate::error::{ErrorKind, Phase};
use crate::timings::Rounded;
use crate::trace::Setup;

impl Dialer {
    /// Makes one connection by way of a proxy.
    pub(super) async fn dial_by_proxy(
        &self,
        proxy: &ProxyServer,
        to: &Destination,
        is_isolated: bool,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<Dialed, DialError> {
        if self.connector.is_some() {
            let message = "a client with a connector uses no proxies, because the connector makes the connections: leave one of both out";
            return Err(DialError::new(ErrorKind::Request, Phase::Queue, message.into(), Scope::Host));
        }
        let is_tls = proxy.kind() == Kind::Https;
        let tls = match is_tls || to.is_https() {
            true => Some(Box::pin(self.within(deadline, Phase::Tls, self.tls.load())).await??),
            false => None,
        };
        let at = Destination::new(is_tls, proxy.host(), proxy.port());
        let reached = Box::pin(self.reach(&at, setup, deadline)).await;
        let addresses = reached.map_err(|error| error.of_proxy(proxy))?;
        let is_tunnel = matches!(to.via(), Via::Tunnel(_));
        let address = match is_tunnel && !proxy.resolves_names() {
            true => Some(Box::pin(self.address_of(proxy, to, setup, deadline)).await?),
            false => None,
        };
        let connected = Box::pin(self.connect(&at, addresses, setup, deadline)).await;
        let Won { tcp, peer, took } = connected.map_err(|error| error.of_proxy(proxy))?;
        let local = tcp.local_addr().ok();
        let phase = setup.proxy(at.host(), at.port());
        let asked = is_tunnel.then(|| match address {
            Some(address) => Asked::Address(address),
            None => Asked::of(to.host(), to.port()),
        });
        let own_tls = if is_tls { tls.clone().map(Loaded::isolated) } else { None };
        let opened = Box::pin(self.open(proxy, at.host(), own_tls, tcp, asked, deadline)).await;
        let carrier = end_phase(phase, opened)?;
        let stream = match tls.filter(|_| to.is_https()) {
            Some(tls) => {
                let tls = if is_isolated { tls.isolated() } else { tls };
                Box::pin(self.secure(&tls, to, carrier, setup, deadline)).await?
            }
            None => carrier.into(),
        };
        let round_trip = (!is_of_this_machine(peer, local)).then_some(took);
        Ok(Dialed { stream, peer: Some(peer), local, round_trip })
    }

    /// Returns the addresses of a destination.
    async fn reach(
        &self,
        at: &Destination,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, DialError> {
        match self.resolver.known(at.host(), at.port()) {
            Some(addresses) => Ok(addresses),
            None => self.look_up(at, setup, deadline).await,
        }
    }

    /// Returns the address that a proxy which looks up no names is asked for.
    async fn address_of(
        &self,
        proxy: &ProxyServer,
        to: &Destination,
        setup: &Setup,
        deadline: Instant,
    ) -> Result<SocketAddr, DialError> {
        let addresses = self.reach(to, setup, deadline).await?;
        let is_v4 = proxy.kind() == Kind::Socks4;
        let address =
            addresses.iter().find(|address| !is_v4 || address.is_ipv4()).or_else(|| addresses.first());
        address.copied().ok_or_else(|| {
            let message = "the destination has no address that the proxy can be asked for".to_owned();
            DialError::new(ErrorKind::Dns, Phase::Dns, message, Scope::Host)
        })
    }

    /// Makes TLS with the proxy if `tls` is given, and asks the proxy for a connection if `asked` is given. This step is the
    /// proxy phase.
    async fn open(
        &self,
        proxy: &ProxyServer,
        host: &str,
        tls: Option<Loaded>,
        tcp: TcpStream,
        asked: Option<Asked<'_>>,
        deadline: Instant,
    ) -> Result<Carrier, DialError> {
        let after = self.config.connect_timeout;
        let mut carrier = Carrier::from(tcp);
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
        }
        if let Some(asked) = asked {
            through(proxy, &mut carrier, asked, deadline, after).await?;
        }
        Ok(carrier)
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
