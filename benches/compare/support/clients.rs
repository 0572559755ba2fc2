//! The clients that are compared. Their settings are as equal as possible.
//!
//! Each client keeps any number of idle connections for longer than a bench takes, trusts the server's root
//! certificate, and resolves every name to the server's address. No client decompresses content, uses a proxy from
//! the environment, or delays small writes.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::BodyExt;
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
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::error::BoxError;
use crate::payload::Payload;

/// A kind of client. The loop and hyper's bare connection have no pool, so each of their workers has a connection
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Loop,
    Hyper,
    HyperUtil,
    Reqwest,
    Aioduct,
    Ureq,
    Handclasp,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Loop, Self::Hyper, Self::HyperUtil, Self::Reqwest, Self::Aioduct, Self::Ureq, Self::Handclasp];

    pub fn name(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Hyper => "hyper",
            Self::HyperUtil => "hyper-util",
            Self::Reqwest => "reqwest",
            Self::Aioduct => "aioduct",
            Self::Ureq => "ureq",
            Self::Handclasp => "handclasp",
        }
    }

    pub fn named(name: &str) -> Result<Self, BoxError> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| "no such client".into())
    }

    /// Returns the clients that do not block a thread for each request.
    pub fn asynchronous() -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| *kind != Self::Ureq).collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Settings that all clients share.
pub struct Settings {
    /// Trusted root certificate as PEM. Empty without TLS.
    pub root: String,
    pub names: At,
    /// Largest number of connections to a host, for clients that have such a limit.
    pub limit: Option<usize>,
    /// Whether handclasp and reqwest keep idle connections. The other clients always do.
    pub keeps: bool,
}

impl Settings {
    pub fn new(root: &str, server: IpAddr) -> Self {
        Self { root: root.to_owned(), names: At::new(server), limit: None, keeps: true }
    }

    pub fn handclasp(&self) -> Result<handclasp::Client, BoxError> {
        let mut builder = handclasp::Client::builder()
            .max_idle_per_host(if self.keeps { usize::MAX } else { 0 })
            .max_idle(usize::MAX)
            .dns_resolver(self.names.clone())
            .idle_timeout(PATIENCE)
            .response_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .no_gzip()
            .no_deflate()
            .no_brotli()
            .no_zstd();
        if let Some(limit) = self.limit {
            builder = builder.max_connections_per_host(limit);
        }
        if !self.root.is_empty() {
            builder = builder.tls_certs_only([handclasp::Certificate::from_pem(&self.root)?]);
        }
        Ok(builder.build()?)
    }

    pub fn hyper_util(&self) -> Result<HyperUtil, BoxError> {
        let mut tcp = HttpConnector::new_with_resolver(self.names.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config(self.tls()?).https_or_http();
        let mut builder = Legacy::builder(TokioExecutor::new());
        let connector = https.enable_http1().wrap_connector(tcp);
        Ok(builder.pool_idle_timeout(PATIENCE).build(connector))
    }

    pub fn reqwest(&self) -> Result<reqwest::Client, BoxError> {
        let builder = reqwest::Client::builder().tls_backend_preconfigured(self.tls()?).no_proxy();
        let builder = builder.pool_idle_timeout(PATIENCE).dns_resolver(Arc::new(self.names.clone()));
        let builder = builder.pool_max_idle_per_host(if self.keeps { usize::MAX } else { 0 });
        Ok(builder.tcp_nodelay(true).build()?)
    }

    pub fn aioduct(&self) -> Result<aioduct::TokioClient, BoxError> {
        let connector = aioduct::tls::RustlsConnector::new(Arc::new(self.tls()?));
        let builder = aioduct::TokioClient::builder().tls(connector).resolver(self.names.clone());
        let builder = builder.no_default_headers().no_decompression().pool_idle_timeout(PATIENCE);
        let builder = builder.pool_max_idle_per_host(100_000);
        Ok(builder.pool_max_active_per_host(self.limit.unwrap_or(0)).build()?)
    }

    pub fn ureq(&self) -> Result<ureq::Agent, BoxError> {
        let mut tls = ureq::tls::TlsConfig::builder();
        if !self.root.is_empty() {
            let root = ureq::tls::Certificate::from_pem(self.root.as_bytes())?;
            tls = tls.root_certs(ureq::tls::RootCerts::new_with_certs(&[root]));
        }
        let config = ureq::Agent::config_builder().tls_config(tls.build()).proxy(None).max_idle_age(PATIENCE);
        let config = config.max_idle_connections(100_000).max_idle_connections_per_host(100_000);
        let config = config.accept_encoding("").no_delay(true).build();
        Ok(ureq::Agent::with_parts(config, DefaultConnector::new(), self.names.clone()))
    }

    /// Returns the rustls configuration, for clients that take one.
    pub fn tls(&self) -> Result<ClientConfig, BoxError> {
        let mut roots = RootCertStore::empty();
        if !self.root.is_empty() {
            roots.add(CertificateDer::from_pem_slice(self.root.as_bytes())?)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

pub type HyperUtil = Legacy<HttpsConnector<HttpConnector<At>>, Payload>;

/// A client with a pool.
#[derive(Clone)]
pub enum Client {
    Handclasp(handclasp::Client),
    HyperUtil(HyperUtil),
    Reqwest(reqwest::Client),
    Aioduct(Box<aioduct::TokioClient>),
}

pub enum Response {
    Handclasp(handclasp::Response),
    HyperUtil(http::Response<Incoming>),
    Reqwest(reqwest::Response),
    Aioduct(aioduct::BodyStreamSend),
}

impl Client {
    /// The kinds of clients that have an asynchronous pool.
    pub const KINDS: [Kind; 4] = [Kind::Handclasp, Kind::HyperUtil, Kind::Reqwest, Kind::Aioduct];

    pub fn new(kind: Kind, settings: &Settings) -> Result<Self, BoxError> {
        Ok(match kind {
            Kind::Handclasp => Self::Handclasp(settings.handclasp()?),
            Kind::HyperUtil => Self::HyperUtil(settings.hyper_util()?),
            Kind::Reqwest => Self::Reqwest(settings.reqwest()?),
            Kind::Aioduct => Self::Aioduct(Box::new(settings.aioduct()?)),
            Kind::Loop | Kind::Hyper | Kind::Ureq => return Err(format!("{kind} has no such pool").into()),
        })
    }

    /// Sends a GET, and returns the response once its head has arrived.
    pub async fn get(&self, uri: &Uri) -> Result<Response, BoxError> {
        Ok(match self {
            Self::Handclasp(client) => Response::Handclasp(client.get(uri).send().await?),
            Self::HyperUtil(client) => {
                let request = http::Request::get(uri.clone()).body(Payload::EMPTY)?;
                Response::HyperUtil(client.request(request).await?)
            }
            Self::Reqwest(client) => Response::Reqwest(client.get(uri.to_string()).send().await?),
            Self::Aioduct(client) => {
                Response::Aioduct(client.get(&uri.to_string())?.send().await?.into_bytes_stream())
            }
        })
    }
}

impl Response {
    /// Reads the content to its end and drops it. Fails unless it has `size` bytes.
    pub async fn read(self, size: usize) -> Result<(), BoxError> {
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
            Self::Aioduct(mut content) => {
                while let Some(chunk) = content.next().await {
                    length += chunk?.len();
                }
            }
        }
        if length == size { Ok(()) } else { Err(format!("{length} bytes came, of {size}").into()) }
    }
}

/// A resolver that resolves every name to one address, counts its lookups, and can delay each of them.
#[derive(Clone, Debug)]
pub struct At {
    address: IpAddr,
    lookups: Arc<AtomicU64>,
    /// Time that each lookup takes.
    pub delay: Duration,
}

impl At {
    pub fn new(address: IpAddr) -> Self {
        Self { address, lookups: Arc::default(), delay: Duration::ZERO }
    }

    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::SeqCst)
    }

    fn look_up(&self) -> impl Future<Output = IpAddr> + Send + 'static {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let (address, delay) = (self.address, self.delay);
        async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            address
        }
    }
}

type Later<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl handclasp::Resolve for At {
    fn resolve(&self, _: &str, _: handclasp::Family) -> Later<handclasp::Answer, BoxError> {
        let address = self.look_up();
        Box::pin(async { Ok(handclasp::Answer::new([(address.await, 0).into()])) })
    }
}

impl reqwest::dns::Resolve for At {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let address = self.look_up();
        Box::pin(async {
            let addresses: reqwest::dns::Addrs = Box::new([SocketAddr::from((address.await, 0))].into_iter());
            Ok(addresses)
        })
    }
}

impl aioduct::runtime::Resolve for At {
    fn resolve(&self, _: &str, port: u16) -> Later<SocketAddr, io::Error> {
        let address = self.look_up();
        Box::pin(async move { Ok(SocketAddr::from((address.await, port))) })
    }
}

impl tower_service::Service<Name> for At {
    type Response = std::array::IntoIter<SocketAddr, 1>;
    type Error = std::convert::Infallible;
    type Future = Later<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let address = self.look_up();
        Box::pin(async { Ok([SocketAddr::from((address.await, 0))].into_iter()) })
    }
}

impl Resolver for At {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let mut addresses = self.empty();
        let port = uri.port_u16().unwrap_or(80);
        addresses.push(SocketAddr::from((self.address, port)));
        Ok(addresses)
    }
}

const PATIENCE: Duration = Duration::from_secs(600);
