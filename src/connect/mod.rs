//! Connecting: from a destination to a stream that is ready for a request.
//!
//! A dial looks up the host's addresses (`crate::resolver`), races TCP connections to these addresses while they are
//! found (`order.rs`, `history.rs` and `race.rs` decide, `tcp.rs` connects), and makes the TLS handshake if the URL is
//! https (`tls/`). `dialer.rs` holds these steps in order. `dialer/proxied.rs` and `proxy/` connect through a proxy,
//! `dialer/unix.rs` connects to a unix socket, and `ways.rs` chooses between these. This module knows nothing of pools.
//! Outside of `proxy/`, the only HTTP that this module knows is how the codec classifies unsolicited bytes, and the
//! `User-Agent` of CONNECT.

mod destination;
mod dialer;
mod early;
mod error;
mod failures;
mod fast_open;
mod filter;
mod held_ack;
mod history;
mod limit;
mod options;
mod order;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(not(feature = "proxy"))]
#[path = "without_proxy.rs"]
mod proxy;
mod race;
mod shortage;
mod socket_path;
mod spread;
mod stream;
mod strict;
mod tcp;
mod tls;
mod ways;

pub use self::destination::Destination;
pub(crate) use self::destination::Via;
pub(crate) use self::dialer::{ConnectConfig, Connector, Dialed, Dialer};
pub(crate) use self::early::FirstBytes;
pub(crate) use self::error::{DialError, Scope};
pub use self::filter::{AddressFilter, Candidate};
#[cfg(feature = "proxy")]
pub use self::proxy::{NoProxy, Proxy};
pub(crate) use self::proxy::{Proxies, ProxyServer, Wanted};
pub(crate) use self::socket_path::SocketPath;
pub(crate) use self::spread::Seat;
pub(crate) use self::stream::Stream;
pub use self::stream::{Look, Transport};
#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
pub(crate) use self::strict::Name;
#[cfg(feature = "rustls")]
pub use self::tls::{Backend, Certificate, CertificateRevocationList, Identity, rustls_0_23};
#[cfg(feature = "rustls")]
pub(crate) use self::tls::{ClientIdentity, IdentityProvider, Trust};
pub(crate) use self::tls::{Generation, TlsConfig, client_refused};
pub use self::tls::{TlsInfo, Version};
pub(crate) use self::ways::Ways;
