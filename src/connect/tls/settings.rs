//! The TLS settings as plain data, and the check that the settings do not contradict each other.
//!
//! Invariant: checking the settings does no I/O.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;

use super::certificate::{Certificate, CertificateRevocationList};
use super::identity::{Identity, IdentityProvider};
use super::info::{Generation, Version};
use super::rustls_0_23::{Backend, Part};
use crate::error::Error;

/// Settings of TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsConfig {
    /// Root certificates that the caller gave.
    pub(crate) roots: Vec<Certificate>,
    /// Authorities that are trusted in addition to `roots`.
    pub(crate) trust: Trust,
    /// Lists of revoked certificates.
    pub(crate) crls: Vec<CertificateRevocationList>,
    pub(crate) identity: ClientIdentity,
    /// Whether every certificate is accepted.
    pub(crate) accepts_invalid_certs: bool,
    /// Whether a certificate is accepted for any name.
    pub(crate) accepts_invalid_hostnames: bool,
    /// Whether no server name is sent.
    pub(crate) hides_server_name: bool,
    /// Names that replace the host of a URL in the handshake. The first text of a pair is the host in lower case.
    pub(crate) names: Vec<(String, String)>,
    pub(crate) min: Option<Version>,
    pub(crate) max: Option<Version>,
    /// Whether secrets are written to the file that the variable SSLKEYLOGFILE names.
    pub(crate) logs_keys: bool,
    pub(crate) backend: Option<Backend>,
}

/// Source of the authorities that are trusted in addition to the roots of the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The authorities that the platform trusts.
    #[default]
    Platform,
    /// No other authorities.
    Given,
    /// The authorities that Mozilla trusts.
    #[cfg(feature = "webpki-roots")]
    Mozilla,
}

/// Source of the client's identity.
#[derive(Clone, Debug, Default)]
pub(crate) enum ClientIdentity {
    /// The client has no identity.
    #[default]
    None,
    /// One identity for all handshakes.
    Fixed(Identity),
    /// A function that returns the identity for each handshake.
    Asked(IdentityProvider),
}

impl TlsConfig {
    /// Sets the name that replaces `host` in the handshake.
    pub(crate) fn set_name(&mut self, host: &str, name: &str) {
        let host = normal(host);
        self.names.retain(|(known, _)| *known != host);
        self.names.push((host, name.to_owned()));
    }

    /// Returns the generation of the client's identity, or `None` if the identity never changes.
    pub(crate) fn generation(&self) -> Option<Generation> {
        match &self.identity {
            ClientIdentity::Asked(provider) => Some(provider.generation()),
            ClientIdentity::None | ClientIdentity::Fixed(_) => None,
        }
    }

    /// Returns an error if settings contradict each other, or if a setting cannot be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (_, name) in &self.names {
            if server_name(name).is_none() {
                let message = "cannot be the name of a TLS server: give a DNS name or an IP address";
                return Err(Error::request(format!("{name:?} {message}")));
            }
        }
        if let Some(Backend(Part::Config(_))) = self.backend {
            return match self.is_hidden() {
                true => Err(Error::request(
                    "the client has a whole rustls configuration, which overrides the other TLS settings of the client: make all TLS settings in the configuration",
                )),
                false => Ok(()),
            };
        }
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            return Err(Error::request(
                "the lowest version of TLS is above the highest: no version is left for a handshake",
            ));
        }
        self.check_trust()?;
        if let ClientIdentity::Fixed(identity) = &self.identity {
            identity.resolver(&self.provider()).map_err(|error| {
                let message =
                    "the client's identity cannot be used: give the private key of the first certificate";
                Error::request(message).because(error)
            })?;
        }
        Ok(())
    }

    fn check_trust(&self) -> Result<(), Error> {
        let is_platform = self.trust == Trust::Platform;
        if self.trust == Trust::Given && self.roots.is_empty() {
            return Err(Error::request(
                "tls_certs_only was given no certificate, so that the client would trust no server: give at least one certificate",
            ));
        }
        if cfg!(target_os = "android") && is_platform && !self.roots.is_empty() {
            return Err(Error::request(
                "the certificate verifier of Android takes no further authorities: use tls_certs_only",
            ));
        }
        // webpki verifies the name last.
        if self.accepts_invalid_hostnames && is_platform && !IS_WEBPKI {
            return Err(Error::request(
                "the certificate verifier of this platform cannot ignore the host name: use tls_certs_only",
            ));
        }
        if self.crls.is_empty() {
            return Ok(());
        }
        if is_platform {
            return Err(Error::request(
                "the certificate verifier of the platform takes no revocation lists: use tls_certs_only with the authorities of the lists",
            ));
        }
        let verifier = self.verifier(&self.provider());
        verifier.map(drop).map_err(|error| {
            Error::request("a revocation list cannot be used: give valid lists in PEM or DER").because(error)
        })
    }

    /// Whether a setting was made that a configuration of the caller would override.
    fn is_hidden(&self) -> bool {
        !self.roots.is_empty()
            || self.trust != Trust::Platform
            || !self.crls.is_empty()
            || !matches!(self.identity, ClientIdentity::None)
            || self.accepts_invalid_certs
            || self.accepts_invalid_hostnames
            || self.hides_server_name
            || self.min.is_some()
            || self.max.is_some()
            || self.logs_keys
    }

    /// Returns the crypto provider: the caller's, or the crate's.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        match &self.backend {
            Some(Backend(Part::Provider(provider))) => Arc::clone(provider),
            _ => Arc::new(default_provider()),
        }
    }

    /// Returns the name that the certificate of `host` has to be valid for. `None` if no certificate can be valid for
    /// the host.
    pub(super) fn server_name(&self, host: &str) -> Option<ServerName<'static>> {
        let normal = normal(host);
        let known = self.names.iter().find(|(known, _)| *known == normal);
        server_name(known.map_or(host, |(_, name)| name))
    }
}

/// Whether webpki verifies certificates against the platform's store. On other platforms, the platform itself verifies.
pub(super) const IS_WEBPKI: bool = cfg!(all(unix, not(target_vendor = "apple"), not(target_os = "android")));

/// Returns a host in one spelling: an address in its canonical form, and a name in lower case without a final dot.
fn normal(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase(),
    }
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.into());
    }
    ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()).ok()
}

/// Returns the crate's own crypto provider.
#[cfg(feature = "aws-lc-rs")]
fn default_provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// Returns the crate's own crypto provider.
#[cfg(not(feature = "aws-lc-rs"))]
fn default_provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_for_the_handshake_is_found_under_each_spelling_of_its_host() {
        for (given, dialed) in [
            ("server.test", "server.test."),
            ("server.test.", "server.test"),
            ("Server.Test", "server.test"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("2001:db8:0:0::1", "2001:db8::1"),
            ("2001:db8::1", "2001:0db8::1"),
        ] {
            let mut settings = TlsConfig::default();
            settings.set_name(given, "other.test");
            assert_eq!(settings.server_name(dialed), server_name("other.test"), "{given} {dialed}");
            assert_eq!(settings.server_name("a.test."), server_name("a.test"));
            settings.set_name(dialed, "third.test");
            assert_eq!(settings.names.len(), 1, "the later call replaces the name");
        }
    }
}
