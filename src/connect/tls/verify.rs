//! The verifier of server certificates that the settings configure, and the detection of self-signed certificates.
//!
//! Invariant: with any settings, a server has to prove that it holds the key of the certificate that it presents.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier as PlatformVerifier;

use super::der;
use super::settings::{IS_WEBPKI, TlsConfig, Trust};

/// A certificate that its own key has signed and that no setting trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SelfSigned {
    /// Whether the certificate says that it is an authority, so that it can never be a server's own certificate.
    pub(super) is_authority: bool,
}

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("self-signed certificate")
    }
}

impl std::error::Error for SelfSigned {}

impl TlsConfig {
    /// Returns the verifier that the settings ask for. Reads the platform's trust store if the settings need it.
    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let algorithms = provider.signature_verification_algorithms;
        if self.accepts_invalid_certs {
            return Ok(Arc::new(AnyCertificate { algorithms }));
        }
        let inner = match self.trust {
            Trust::Platform => self.platform(provider)?,
            Trust::Given => self.webpki(self.store()?, provider)?,
            #[cfg(feature = "webpki-roots")]
            Trust::Mozilla => self.webpki(self.with_mozilla()?, provider)?,
        };
        Ok(Arc::new(Verifier { inner, accepts_any_name: self.accepts_invalid_hostnames }))
    }

    /// Returns a verifier that trusts the platform's authorities. The verifier of Android takes no further roots.
    #[cfg(target_os = "android")]
    fn platform(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        Ok(Arc::new(PlatformVerifier::new(Arc::clone(provider))?))
    }

    /// Returns a verifier that trusts the platform's authorities and the given roots. On a platform without a trust
    /// store, the verifier trusts the given roots, and Mozilla's authorities if these are compiled in.
    #[cfg(not(target_os = "android"))]
    fn platform(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let roots = self.roots.iter().map(|root| root.der().clone());
        if !IS_WEBPKI {
            // These platforms always have a trust store. So an error means that a given root is invalid, and the
            // handshake fails instead of trusting other authorities.
            let verifier = match self.roots.is_empty() {
                true => PlatformVerifier::new(Arc::clone(provider)),
                false => PlatformVerifier::new_with_extra_roots(roots, Arc::clone(provider)),
            };
            return Ok(Arc::new(verifier?));
        }
        // The platform's verifier reports a missing trust store only if the caller has given no roots. So this code first
        // makes a verifier that has no given roots, to find out whether the trust store is missing.
        #[cfg(feature = "webpki-roots")]
        if !self.roots.is_empty() && PlatformVerifier::new(Arc::clone(provider)).is_err() {
            return self.webpki(self.with_mozilla()?, provider);
        }
        match PlatformVerifier::new_with_extra_roots(roots, Arc::clone(provider)) {
            Ok(verifier) => Ok(Arc::new(verifier)),
            #[cfg(feature = "webpki-roots")]
            Err(_) => self.webpki(self.with_mozilla()?, provider),
            #[cfg(not(feature = "webpki-roots"))]
            Err(error) if self.roots.is_empty() => Err(error),
            #[cfg(not(feature = "webpki-roots"))]
            Err(_) => self.webpki(self.store()?, provider),
        }
    }

    /// Returns a store with the given roots.
    fn store(&self) -> Result<RootCertStore, Error> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.der().clone())?;
        }
        Ok(store)
    }

    /// Returns a store with Mozilla's roots and the given roots.
    #[cfg(feature = "webpki-roots")]
    fn with_mozilla(&self) -> Result<RootCertStore, Error> {
        let mut store = self.store()?;
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Ok(store)
    }

    /// Returns a verifier that trusts the roots of a store, and knows the revocation lists.
    fn webpki(
        &self,
        store: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let lists = self.crls.iter().map(|list| list.der().clone());
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
        let verifier = builder.with_crls(lists).build();
        verifier.map(|verifier| verifier as _).map_err(|error| Error::General(error.to_string()))
    }
}

/// Verifier that explains why a self-signed certificate is refused. If `accepts_any_name` is set, the verifier accepts
/// a certificate for any name.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ServerCertVerifier>,
    accepts_any_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let Err(Error::InvalidCertificate(why)) = &verified else { return verified };
        match why {
            // webpki verifies the name last, so that the certificate is valid in all other respects.
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
                if self.accepts_any_name =>
            {
                Ok(ServerCertVerified::assertion())
            }
            why => match self_signed(end_entity, why) {
                Some(found) => Err(CertificateError::Other(OtherError(Arc::new(found))).into()),
                None => verified,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Returns the error of a self-signed certificate that was refused because its issuer is unknown, or because it is the
/// certificate of an authority. `None` for any other certificate or reason.
fn self_signed(certificate: &CertificateDer<'_>, why: &CertificateError) -> Option<SelfSigned> {
    let is_authority = match why {
        CertificateError::UnknownIssuer => false,
        // rustls does not export this error of webpki, so that the code compares the text of the error.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => true,
        _ => return None,
    };
    der::is_self_issued(certificate).then_some(SelfSigned { is_authority })
}

/// Verifier that accepts every certificate.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
