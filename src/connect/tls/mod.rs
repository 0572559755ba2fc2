//! TLS: everything that uses rustls.

#[cfg_attr(not(feature = "rustls"), path = "no_tls.rs")]
mod config;
#[cfg(feature = "rustls")]
mod records;
#[cfg(feature = "rustls")]
mod stream;
#[cfg(feature = "rustls")]
mod wire;

#[cfg(feature = "rustls")]
pub use self::config::Certificate;
#[cfg(all(test, feature = "rustls"))]
pub(super) use self::config::tests;
pub(super) use self::config::{Loaded, Tls};
pub(crate) use self::config::{TlsConfig, TlsStream};
