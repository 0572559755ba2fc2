//! Connections: from a destination to a connected stream.

mod destination;
mod dialer;
mod error;
mod race;
mod shortage;
mod stream;
mod tcp;
mod tls;

pub use self::destination::Destination;
pub(crate) use self::dialer::{ConnectConfig, Connector, Dialed, Dialer};
pub(crate) use self::error::{DialError, Scope};
pub(crate) use self::stream::Stream;
pub use self::stream::{Look, Transport};
#[cfg(feature = "rustls")]
pub use self::tls::Certificate;
pub(crate) use self::tls::TlsConfig;
