//! Types of rustls 0.23, for callers who configure rustls themselves.
//!
//! This module is not covered by the promise of semantic versioning: when this crate moves to another version of
//! rustls, a module with the name of that version takes its place. All other TLS settings are methods of
//! [`ClientBuilder`](crate::ClientBuilder), which use no type of rustls and do not change with its version.
//!
//! With the feature `aws-lc-rs`, rustls has two crypto providers and cannot choose a default. Code that calls
//! `ClientConfig::builder` or `ServerConfig::builder` of rustls then has to call `CryptoProvider::install_default`
//! first, or has to use `builder_with_provider`. The clients of this crate always use `builder_with_provider`.
//!
//! ```
//! use handclasp::Client;
//! use handclasp::rustls_0_23::{self, rustls};
//!
//! # fn main() -> Result<(), handclasp::BoxError> {
//! // A provider that offers a single cipher suite.
//! let mut provider = rustls::crypto::ring::default_provider();
//! provider.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384];
//! let client = Client::builder().tls_backend(rustls_0_23::crypto_provider(provider)).build()?;
//! # drop(client);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

pub use ::rustls;
use ::rustls::ClientConfig;
use ::rustls::crypto::CryptoProvider;

/// A part of TLS that the caller has configured: see [`ClientBuilder::tls_backend`](crate::ClientBuilder::tls_backend). The
/// functions of [`rustls_0_23`](crate::rustls_0_23) make it.
#[derive(Clone)]
pub struct Backend(pub(super) Part);

#[derive(Clone)]
pub(super) enum Part {
    Config(Arc<ClientConfig>),
    Provider(Arc<CryptoProvider>),
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Part::Config(_) => "Backend(ClientConfig)",
            Part::Provider(_) => "Backend(CryptoProvider)",
        })
    }
}

/// Returns a backend from a whole configuration of rustls: its verifier, its identity, its versions, its crypto
/// provider and its sessions.
///
/// The client replaces two settings. `alpn_protocols` becomes `http/1.1`, the only protocol of this client, and
/// `enable_early_data` becomes `false`, because an attacker can repeat early data
/// (<https://www.rfc-editor.org/rfc/rfc8446#section-8>). Connections with an [isolation
/// tag](crate::RequestBuilder::isolation), connections through a proxy, and connections over a unix socket resume no
/// session of this configuration.
///
/// [`ClientBuilder::build`](crate::ClientBuilder::build) fails if the client has another TLS setting that this
/// configuration would override. Two clients that share a configuration share its sessions.
pub fn client_config(config: impl Into<Arc<ClientConfig>>) -> Backend {
    Backend(Part::Config(config.into()))
}

/// Returns a backend that uses this crypto provider instead of the crate's own. All other TLS settings keep their
/// meaning.
pub fn crypto_provider(provider: impl Into<Arc<CryptoProvider>>) -> Backend {
    Backend(Part::Provider(provider.into()))
}
