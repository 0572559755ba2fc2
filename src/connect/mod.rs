//! Connecting: from a destination to a stream that is ready for a request.
//!
//! A dial looks up the host's addresses (`crate::resolver`), races TCP connections to these addresses (`race.rs`
//! decides, `tcp.rs` connects), and makes the TLS handshake if the URL is https (`tls/`). `dialer.rs` holds these steps
//! in order. This module knows nothing of pools. The only HTTP that this module knows is how the codec classifies
//! unsolicited bytes.

mod destination;
mod dialer;
mod error;
mod options;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(not(feature = "proxy"))]
#[path = "without_proxy.rs"]
mod proxy;
mod race;
mod shortage;
mod stream;
mod tcp;
mod tls;

pub use self::destination::Destination;
pub(crate) use self::destination::Via;
pub(crate) use self::dialer::{ConnectConfig, Connector, Dialed, Dialer};
pub(crate) use self::error::{DialError, Scope};
#[cfg(feature = "proxy")]
pub use self::proxy::{NoProxy, Proxy};
pub(crate) use self::proxy::{Proxies, ProxyServer, Wanted};
pub(crate) use self::stream::Stream;
pub use self::stream::{Look, Transport};
#[cfg(feature = "rustls")]
pub use self::tls::Certificate;
pub(crate) use self::tls::TlsConfig;
