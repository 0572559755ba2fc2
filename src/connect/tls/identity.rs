//! The client's own certificate: a fixed certificate, or a certificate that a function returns for each handshake.
//!
//! Invariants: the generation grows with each identity that differs from the one before, and each connection knows the
//! generation of its handshake. `Debug` shows no private key.

use std::fmt;
use std::sync::Arc;

use rustls::Error as RustlsError;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::info::Generation;
use crate::error::{BoxError, Error};

/// Certificate and private key with which the client authenticates to a server.
///
/// A server that does not ask for a client certificate never sees the certificate. `Debug` does not show the key.
///
/// ```no_run
/// use handclasp::{Client, Identity};
///
/// # fn main() -> Result<(), handclasp::BoxError> {
/// let identity = Identity::from_pem(std::fs::read("client.pem")?)?;
/// let client = Client::builder().identity(identity).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Identity {
    parts: Arc<Parts>,
}

struct Parts {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads an identity from a PEM text with a private key (PKCS #8, PKCS #1 or SEC 1) and a chain of certificates, of
    /// which the first is the client's own. The key may stand before or after the certificates.
    ///
    /// If the key and the certificates are in two files, concatenate the two texts.
    ///
    /// # Errors
    ///
    /// An error of kind [`Request`](crate::ErrorKind::Request) if the text has no certificate, or not exactly one private
    /// key. [`ClientBuilder::build`](crate::ClientBuilder::build) reports a key that does not belong to the certificate.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let pem = pem.as_ref();
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| unreadable("its PEM text is not valid").because(error))?;
        if chain.is_empty() {
            return Err(unreadable("the PEM text has no certificate: give a BEGIN CERTIFICATE block"));
        }
        let keys = PrivateKeyDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let mut keys = keys.map_err(|error| unreadable("its PEM text is not valid").because(error))?;
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(Self { parts: Arc::new(Parts { chain, key }) }),
            (Some(_), false) => Err(unreadable("the PEM text has more than one private key: give one")),
            (None, _) => Err(unreadable(
                "the PEM text has no private key: give an unencrypted BEGIN PRIVATE KEY block",
            )),
        }
    }

    /// Returns the certificate resolver of rustls for this identity.
    pub(super) fn resolver(&self, provider: &CryptoProvider) -> Result<Arc<SingleCertAndKey>, RustlsError> {
        let Parts { chain, key } = &*self.parts;
        let signer = CertifiedKey::from_der(chain.clone(), key.clone_key(), provider)?;
        Ok(Arc::new(signer.into()))
    }

    /// Whether the other identity has the same certificates and the same key.
    fn is_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&*self.parts, &*other.parts);
        Arc::ptr_eq(&self.parts, &other.parts)
            || ours.chain == theirs.chain && ours.key.secret_der() == theirs.key.secret_der()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.parts.chain.len())
    }
}

fn unreadable(why: &str) -> Error {
    Error::request(format!("the client's identity cannot be read: {why}"))
}

/// Function that returns the identity for the next handshake.
type Ask = dyn Fn() -> Result<Identity, BoxError> + Send + Sync;

/// The caller's function that returns the identity for each handshake, and the generation of the latest identity.
#[derive(Clone)]
pub(crate) struct IdentityProvider {
    ask: Arc<Ask>,
    generation: Generation,
}

impl IdentityProvider {
    pub(crate) fn new(ask: impl Fn() -> Result<Identity, BoxError> + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), generation: Generation::default() }
    }

    /// Returns the generation, which the pool compares with the generation of a connection.
    pub(crate) fn generation(&self) -> Generation {
        self.generation.clone()
    }

    /// Calls the function. Returns `None` if the identity is equal to `latest`. Otherwise returns the identity. The
    /// caller of this method begins a new generation once the identity is in use.
    ///
    /// The caller holds a lock, so that the identities have an order.
    pub(super) fn ask(&self, latest: Option<&Identity>) -> Result<Option<Identity>, BoxError> {
        let identity = (self.ask)()?;
        Ok(if latest.is_some_and(|latest| latest.is_same(&identity)) { None } else { Some(identity) })
    }
}

impl fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityProvider")
    }
}
