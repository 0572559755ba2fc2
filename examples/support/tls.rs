//! A self-signed certificate for a server on this machine.

use std::sync::Arc;

use handclasp::{BoxError, Certificate};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Returns an acceptor for a TLS server of the given name, and the certificate that a client has to trust.
pub(crate) fn identity(name: &str) -> Result<(TlsAcceptor, Certificate), BoxError> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let trusted = Certificate::from_der(made.cert.der())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    // The crypto provider is given, because rustls cannot choose a provider if the features of a program include two.
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), trusted))
}
