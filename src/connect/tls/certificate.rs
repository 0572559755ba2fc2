//! Root certificates that the caller gives.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{BoxError, Error};

/// Certificate of a certificate authority that the client trusts in addition to the system's authorities.
///
/// # Examples
///
/// ```no_run
/// use handclasp::{Certificate, Client};
///
/// # fn main() -> Result<(), handclasp::BoxError> {
/// let root = Certificate::from_pem(std::fs::read("our-authority.pem")?)?;
/// let client = Client::builder().add_root_certificate(root).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    ///
    /// An error of kind [`Request`](crate::ErrorKind::Request) if the text has no certificate, or its first certificate is not
    /// valid.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let der = CertificateDer::from_pem_slice(pem.as_ref()).map_err(unreadable)?;
        Self::from_der(der.as_ref())
    }

    /// Reads all certificates of a PEM text. Returns at least one.
    ///
    /// # Errors
    ///
    /// An error of kind [`Request`](crate::ErrorKind::Request) if the text has no certificate, or a certificate is not valid.
    pub fn from_pem_bundle(pem: impl AsRef<[u8]>) -> Result<Vec<Self>, Error> {
        let found = CertificateDer::pem_slice_iter(pem.as_ref());
        let all = found
            .map(|der| Self::from_der(der.map_err(unreadable)?.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            Err(Error::request("the PEM text has no certificate: give a BEGIN CERTIFICATE block"))
        } else {
            Ok(all)
        }
    }

    /// Reads a certificate in DER, the binary form.
    ///
    /// # Errors
    ///
    /// An error of kind [`Request`](crate::ErrorKind::Request) if the certificate is not valid.
    pub fn from_der(der: impl AsRef<[u8]>) -> Result<Self, Error> {
        let der = CertificateDer::from(der.as_ref().to_vec());
        RootCertStore::empty().add(der.clone()).map_err(unreadable)?;
        Ok(Self { der })
    }

    /// Returns the certificate in the type of rustls.
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.der.len())
    }
}

fn unreadable(error: impl Into<BoxError>) -> Error {
    Error::request("the certificate cannot be read: give a valid X.509 certificate in PEM or DER")
        .because(error)
}
