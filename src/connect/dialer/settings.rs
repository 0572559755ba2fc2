//! The settings of a dialer, with their defaults.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;

use crate::connect::filter::AddressFilter;
use crate::connect::options::TcpOptions;

/// Settings of a dialer.
#[derive(Clone, Debug)]
pub(crate) struct ConnectConfig {
    /// Time limit of a name lookup, within `connect_timeout`.
    pub(crate) dns_timeout: Duration,
    /// Time limit of the whole dial.
    pub(crate) connect_timeout: Duration,
    /// Time limits of single steps, within `connect_timeout`.
    pub(crate) steps: StepTimeouts,
    /// Time between the starts of two attempts to connect, unless an attempt fails earlier.
    pub(crate) attempt_delay: Duration,
    /// Local address that sockets are bound to. The dialer connects to addresses of the same family only.
    pub(crate) local_address: Option<IpAddr>,
    /// Options of sockets.
    pub(crate) tcp: TcpOptions,
    /// Addresses that a dial may try. With `None`, all.
    pub(crate) filter: Option<AddressFilter>,
    /// Whether the connections of a host are spread over its addresses.
    pub(crate) spreads: bool,
    /// Whether the first bytes of a connection may go with its SYN.
    pub(crate) opens_fast: bool,
    /// `User-Agent` of CONNECT.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "there are no proxies"))]
    pub(crate) user_agent: Option<HeaderValue>,
}

/// Time limits of the steps of a dial after the lookup. With `None`, only the whole dial is limited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepTimeouts {
    pub(crate) tcp: Option<Duration>,
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "there are no proxies"))]
    pub(crate) proxy: Option<Duration>,
    pub(crate) tls: Option<Duration>,
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            // 5 s is the default of resolv.conf for one name server.
            dns_timeout: Duration::from_secs(5),
            // 10 s leave time for lost SYNs: the kernel sends a SYN again after 1 s and after 3 s. Go's transport allows
            // 10 s for TLS alone.
            connect_timeout: Duration::from_secs(10),
            steps: StepTimeouts::default(),
            // > The time to wait between connection attempts in the absence of RTT data. Recommended to be 250
            // > milliseconds.
            // <https://www.rfc-editor.org/rfc/rfc8305#section-8>
            attempt_delay: Duration::from_millis(250),
            local_address: None,
            tcp: TcpOptions::default(),
            filter: None,
            spreads: false,
            opens_fast: false,
            user_agent: None,
        }
    }
}
