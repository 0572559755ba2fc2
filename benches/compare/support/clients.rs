//! The clients that stand side by side, each set so that nothing but its own ways differs.
//!
//! Each keeps any number of idle connections for longer than a bench takes, trusts the server's root, and finds every name
//! at the server's address.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Handclasp,
    HyperUtil,
    Reqwest,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Handclasp, Self::HyperUtil, Self::Reqwest];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handclasp => "handclasp",
            Self::HyperUtil => "hyper-util",
            Self::Reqwest => "reqwest",
        }
    }
}

pub(crate) enum Client {
    Handclasp(handclasp::Client),
    HyperUtil(Legacy<HttpsConnector<HttpConnector<At>>, Empty<Bytes>>),
    Reqwest(reqwest::Client),
}

pub(crate) enum Response {
    Handclasp(handclasp::Response),
    HyperUtil(http::Response<Incoming>),
    Reqwest(reqwest::Response),
}

impl Client {
    /// `root` as PEM, or nothing.
    pub(crate) fn new(kind: Kind, root: &str, server: IpAddr) -> Result<Self, BoxError> {
        let names = At(server);
        Ok(match kind {
            Kind::Handclasp => {
                let mut builder = handclasp::Client::builder()
                    .max_idle_per_host(usize::MAX)
                    .max_idle(usize::MAX)
                    .dns_resolver(names)
                    .idle_timeout(PATIENCE)
                    .response_timeout(PATIENCE)
                    .read_timeout(PATIENCE);
                if !root.is_empty() {
                    builder = builder.add_root_certificate(handclasp::Certificate::from_pem(root)?);
                }
                Self::Handclasp(builder.build()?)
            }
            Kind::HyperUtil => {
                let mut tcp = HttpConnector::new_with_resolver(names);
                tcp.enforce_http(false);
                tcp.set_nodelay(true);
                let https = HttpsConnectorBuilder::new().with_tls_config(tls(root)?).https_or_http();
                let connector = https.enable_http1().wrap_connector(tcp);
                let mut builder = Legacy::builder(TokioExecutor::new());
                Self::HyperUtil(builder.pool_idle_timeout(PATIENCE).build(connector))
            }
            Kind::Reqwest => {
                let builder = reqwest::Client::builder().tls_backend_preconfigured(tls(root)?);
                Self::Reqwest(
                    builder.pool_idle_timeout(PATIENCE).dns_resolver(Arc::new(names)).no_proxy().build()?,
                )
            }
        })
    }

    /// Until the head has come.
    pub(crate) async fn get(&self, uri: &Uri) -> Result<Response, BoxError> {
        Ok(match self {
            Self::Handclasp(client) => Response::Handclasp(client.get(uri).send().await?),
            Self::HyperUtil(client) => Response::HyperUtil(client.get(uri.clone()).await?),
            Self::Reqwest(client) => Response::Reqwest(client.get(uri.to_string()).send().await?),
        })
    }
}

impl Response {
    /// Reads the content to its end, and keeps nothing of it.
    pub(crate) async fn read(self, size: usize) -> Result<(), BoxError> {
        let mut length = 0;
        match self {
            Self::Handclasp(mut response) => {
                while let Some(chunk) = response.chunk().await? {
                    length += chunk.len();
                }
            }
            Self::HyperUtil(mut response) => {
                while let Some(frame) = response.frame().await {
                    length += frame?.data_ref().map_or(0, Bytes::len);
                }
            }
            Self::Reqwest(mut response) => {
                while let Some(chunk) = response.chunk().await? {
                    length += chunk.len();
                }
            }
        }
        if length == size { Ok(()) } else { Err(format!("{length} bytes came, of {size}").into()) }
    }
}

/// For the clients that are handed one.
fn tls(root: &str) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    if !root.is_empty() {
        roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

/// Every name is at this address.
#[derive(Clone, Copy)]
pub(crate) struct At(IpAddr);

type Later<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

impl handclasp::Resolve for At {
    fn resolve(&self, _: &str, _: handclasp::Family) -> Later<handclasp::Answer> {
        let addresses = vec![self.0];
        Box::pin(async { Ok(handclasp::Answer { addresses, valid_for: None }) })
    }
}

impl reqwest::dns::Resolve for At {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let addresses: reqwest::dns::Addrs = Box::new([SocketAddr::from((self.0, 0))].into_iter());
        Box::pin(async { Ok(addresses) })
    }
}

impl tower_service::Service<Name> for At {
    type Response = std::array::IntoIter<SocketAddr, 1>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        std::future::ready(Ok([SocketAddr::from((self.0, 0))].into_iter()))
    }
}

const PATIENCE: Duration = Duration::from_secs(600);
