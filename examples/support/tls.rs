//! A certificate made on the spot, for servers on loopback.

use std::error::Error;
use std::sync::Arc;

use handclasp::Certificate;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What a server for `name` needs to speak TLS, and the certificate by which a client knows it.
pub(crate) fn identity(name: &str) -> Result<(TlsAcceptor, Certificate), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let trusted = Certificate::from_der(made.cert.der())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), trusted))
}
