//! Root certificates and revocation lists that the caller gives.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::error::{BoxError, Error};

/// Certificate of a certificate authority that the client trusts.
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

/// List of the certificates that an authority has revoked (CRL): see
/// [`ClientBuilder::tls_crls_only`](crate::ClientBuilder::tls_crls_only).
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateRevocationList {
    der: CertificateRevocationListDer<'static>,
}

impl CertificateRevocationList {
    /// Reads the first revocation list of a PEM text.
    ///
    /// # Errors
    ///
    /// An error of kind [`Request`](crate::ErrorKind::Request) if the text has no revocation list.
    /// [`ClientBuilder::build`](crate::ClientBuilder::build) reports a list whose content is not valid.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let der = CertificateRevocationListDer::from_pem_slice(pem.as_ref());
        der.map(|der| Self { der }).map_err(|error| no_list().because(error))
    }

    /// Reads all revocation lists of a PEM text. Returns at least one.
    ///
    /// # Errors
    ///
    /// See [`from_pem`](Self::from_pem).
    pub fn from_pem_bundle(pem: impl AsRef<[u8]>) -> Result<Vec<Self>, Error> {
        let found = CertificateRevocationListDer::pem_slice_iter(pem.as_ref());
        let all = found.map(|der| der.map(|der| Self { der })).collect::<Result<Vec<_>, _>>();
        match all.map_err(|error| no_list().because(error))? {
            none if none.is_empty() => Err(no_list()),
            all => Ok(all),
        }
    }

    /// Reads a revocation list in DER, the binary form. [`ClientBuilder::build`](crate::ClientBuilder::build) reports a list
    /// that is not valid.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Self {
        Self { der: der.into().into() }
    }

    /// Returns the list in the type of rustls.
    pub(super) fn der(&self) -> &CertificateRevocationListDer<'static> {
        &self.der
    }
}

impl fmt::Debug for CertificateRevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateRevocationList({} bytes)", self.der.len())
    }
}

fn no_list() -> Error {
    Error::request("the PEM text has no revocation list: give a BEGIN X509 CRL block")
}

fn unreadable(error: impl Into<BoxError>) -> Error {
    Error::request("the certificate cannot be read: give a valid X.509 certificate in PEM or DER")
        .because(error)
}
