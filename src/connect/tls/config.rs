//! TLS: whom to trust, the handshake, and what went wrong in words.
//!
//! Knows nothing of names' addresses or of HTTP, except that it is HTTP/1.1 that ALPN offers. rustls types do not
//! leave this file, `tls_stream.rs` and `tls_records.rs`. Invariant: to build a client touches no file; the trust store is read when
//! the first https connection is dialed, once, and what sessions it learns is shared by all dials of the client that have no
//! isolation tag.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, HandshakeKind, InvalidMessage, ProtocolVersion,
    RootCertStore,
};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;

pub(crate) use super::stream::TlsStream;
use crate::connect::{DialError, Scope};
use crate::error::{BoxError, Error as CrateError};

/// The certificate of an authority, to be trusted besides those that the system trusts.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
}

impl Certificate {
    /// The first certificate in a PEM text.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, CrateError> {
        let der = CertificateDer::from_pem_slice(pem.as_ref()).map_err(unreadable)?;
        Self::from_der(der.as_ref())
    }

    /// All certificates in a PEM text: at least one.
    ///
    /// # Errors
    ///
    /// If there is none, or one cannot be read.
    pub fn from_pem_bundle(pem: impl AsRef<[u8]>) -> Result<Vec<Self>, CrateError> {
        let found = CertificateDer::pem_slice_iter(pem.as_ref());
        let all = found
            .map(|der| Self::from_der(der.map_err(unreadable)?.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            Err(CrateError::request("there is no certificate in the PEM text"))
        } else {
            Ok(all)
        }
    }

    /// A certificate in DER, the binary form.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn from_der(der: impl AsRef<[u8]>) -> Result<Self, CrateError> {
        let der = CertificateDer::from(der.as_ref().to_vec());
        RootCertStore::empty().add(der.clone()).map_err(unreadable)?;
        Ok(Self { der })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.der.len())
    }
}

fn unreadable(error: impl Into<BoxError>) -> CrateError {
    CrateError::request("the certificate cannot be read").because(error)
}

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsConfig {
    /// Trusted besides the platform's own.
    pub(crate) roots: Vec<Certificate>,
}

/// One client's TLS.
pub(crate) struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    config: TlsConfig,
    loaded: OnceLock<Loaded>,
    /// Held while loading, by a blocking thread: never by a runtime's.
    loading: Mutex<()>,
}

/// TLS that is ready for handshakes.
#[derive(Clone)]
pub(crate) struct Loaded {
    config: Arc<ClientConfig>,
    /// Configuration for connections with an isolation tag: stores and resumes no sessions.
    isolated: Arc<ClientConfig>,
    /// The config's.
    sessions: Arc<ClientSessionMemoryCache>,
}

/// What a handshake gave.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream,
    pub(crate) version: &'static str,
    pub(crate) is_resumed: bool,
}

impl Tls {
    /// Touches no file yet.
    pub(crate) fn new(config: TlsConfig) -> Self {
        Self { shared: Arc::new(Shared { config, loaded: OnceLock::new(), loading: Mutex::new(()) }) }
    }

    /// Reads the trust store, the first time.
    pub(crate) async fn load(&self) -> Result<Loaded, DialError> {
        if let Some(loaded) = self.shared.loaded.get() {
            return Ok(loaded.clone());
        }
        // On a blocking thread as a whole: dials of several runtimes may meet here, and none of them may depend on
        // another's runtime being driven.
        let shared = Arc::clone(&self.shared);
        let loaded = tokio::task::spawn_blocking(move || shared.load()).await;
        match loaded {
            Ok(Ok(loaded)) => Ok(loaded),
            Ok(Err(error)) => {
                let message = "no certificate authorities to trust were found on this system";
                Err(DialError::tls(message.into(), Scope::Host).because(error))
            }
            Err(error) => {
                let message = "the trust store could not be loaded";
                Err(DialError::tls(message.into(), Scope::Attempt).because(error))
            }
        }
    }
}

impl Shared {
    fn load(&self) -> Result<Loaded, Error> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded.clone());
        }
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.config.verifier(provider)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        let isolated = Arc::new(config.clone());
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
        config.resumption = Resumption::store(Arc::clone(&sessions) as _);
        Ok(self.loaded.get_or_init(|| Loaded { config: Arc::new(config), isolated, sessions }).clone())
    }
}

impl TlsConfig {
    /// The platform's judgement, and own roots; own roots alone where the platform has no store.
    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let own = || self.roots.iter().map(|root| root.der.clone());
        let none = match Verifier::new_with_extra_roots(own(), Arc::clone(&provider)) {
            Ok(verifier) => return Ok(Arc::new(verifier)),
            Err(error) => error,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(own());
        if roots.is_empty() {
            return Err(none);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(|verifier| verifier as _).map_err(|error| Error::General(error.to_string()))
    }
}

impl Loaded {
    /// Returns the same trust, for handshakes that neither resume a session nor leave one to be resumed.
    pub(crate) fn isolated(self) -> Self {
        Self { config: Arc::clone(&self.isolated), ..self }
    }

    /// Shakes hands with `host` over `tcp`.
    pub(crate) async fn handshake(&self, host: &str, tcp: TcpStream) -> Result<Secured, DialError> {
        let name = server_name(host)?;
        let shaken = TlsStream::connect(Arc::clone(&self.config), name.clone(), tcp).await;
        let stream = shaken.map_err(|error| {
            if let Some(Error::DecryptError) = inner(&error) {
                // It may be that the server misunderstood a session to be resumed: the next handshake begins anew.
                self.sessions.remove_tls12_session(&name);
            }
            refused(host, error)
        })?;
        let version = match stream.tls().protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "unknown",
        };
        let is_resumed = stream.tls().handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Secured { stream, version, is_resumed })
    }
}

/// What rustls says of it.
fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn server_name(host: &str) -> Result<ServerName<'static>, DialError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_owned();
    ServerName::try_from(name).map_err(|error| {
        let message = format!("no certificate can be valid for the host {host:?}");
        DialError::tls(message, Scope::Host).because(error)
    })
}

/// A handshake that failed, in words.
fn refused(host: &str, error: io::Error) -> DialError {
    let Some(why) = inner(&error) else {
        let lost = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("{host:?} closed the connection during the TLS handshake")
            }
            _ => format!("the connection to {host:?} was lost during the TLS handshake"),
        };
        return DialError::tls(lost, Scope::Attempt).because(error);
    };
    let message = match why {
        // These say all there is to say.
        Error::InvalidCertificate(why) => {
            return DialError::tls(certificate_refused(host, why), Scope::Host);
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            format!("the server at {host:?} does not offer HTTP/1.1 (perhaps only HTTP/2)")
        }
        Error::AlertReceived(_) => format!("the server at {host:?} refused the TLS handshake"),
        Error::PeerIncompatible(_) => {
            format!("the server at {host:?} has no TLS version or cipher that this client accepts")
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => {
            format!("the server at {host:?} does not speak TLS on this port")
        }
        _ => format!("the TLS handshake with {host:?} failed"),
    };
    let why = why.clone();
    DialError::tls(message, Scope::Host).because(why)
}

fn certificate_refused(host: &str, why: &CertificateError) -> String {
    let so = "the server's certificate";
    match why {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!("{so} is not valid for {host:?}: it names no host at all")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("{so} is not valid for {host:?}: it is for {}", names(presented))
        }
        CertificateError::NotValidForName => format!("{so} is not valid for {host:?}"),
        CertificateError::UnknownIssuer => {
            format!("{so} for {host:?} is signed by an unknown authority")
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            format!("{so} for {host:?} has expired, {days} days ago")
        }
        CertificateError::Expired => format!("{so} for {host:?} has expired"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("{so} for {host:?} is not valid yet (is this system's clock right?)")
        }
        CertificateError::Revoked => format!("{so} for {host:?} was revoked"),
        other => format!("{so} for {host:?} was not accepted: {other}"),
    }
}

/// The first few names of a certificate; they come as `DnsName("example.org")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let told: Vec<_> = presented.iter().take(MAX_NAMES).map(bare).collect();
    match presented.len().saturating_sub(MAX_NAMES) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

/// Sessions kept for resumption, over all hosts: rustls's own default.
const SESSIONS: usize = 256;

/// How many of a certificate's names an error tells.
const MAX_NAMES: usize = 4;

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::StoresServerSessions;
    use rustls::version::TLS12;
    use rustls::{ServerConfig, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, server};

    use super::*;

    type Accepted = io::Result<server::TlsStream<TcpStream>>;

    /// An authority that signs certificates on the spot.
    pub(crate) struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        tls: Tls,
    }

    impl Authority {
        pub(crate) fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            // Each of another name: rather an unknown authority than a known one's bad signature.
            let key = KeyPair::generate().unwrap();
            let name = format!("{:x?}", &key.public_key_raw()[..8]);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
            let root = Certificate::from_pem(issuer.pem()).unwrap();
            Self { issuer, tls: Tls::new(TlsConfig { roots: vec![root] }) }
        }

        pub(crate) fn root(&self) -> Certificate {
            Certificate::from_der(self.issuer.der()).unwrap()
        }

        pub(crate) fn server(&self, names: &[&str]) -> ServerConfig {
            self.server_with(names, |_| {})
        }

        /// One for `localhost` of certain versions.
        pub(crate) fn server_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
            self.server_as(&["localhost"], versions, |_| {})
        }

        /// What trusts it.
        pub(crate) async fn client(&self) -> Arc<ClientConfig> {
            self.tls.load().await.unwrap_or_else(|error| panic!("{error:?}")).config
        }

        fn server_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
            self.server_as(names, rustls::DEFAULT_VERSIONS, change)
        }

        fn server_as(
            &self,
            names: &[&str],
            versions: &[&'static SupportedProtocolVersion],
            change: impl FnOnce(&mut CertificateParams),
        ) -> ServerConfig {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let mut params = CertificateParams::new(names).unwrap();
            change(&mut params);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap()
        }
    }

    /// One handshake, both sides.
    pub(crate) async fn connect(
        client: &Authority,
        server: ServerConfig,
        host: &str,
    ) -> (Result<Secured, DialError>, Accepted) {
        handshake(&client.tls, &Arc::new(server), host).await
    }

    async fn handshake(
        client: &Tls,
        server: &Arc<ServerConfig>,
        host: &str,
    ) -> (Result<Secured, DialError>, Accepted) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        // Else a second small write would wait for the client's delayed ACK, longer than the tests do.
        peer.set_nodelay(true).unwrap();
        let loaded = client.load().await.unwrap_or_else(|error| panic!("{error:?}"));
        tokio::join!(loaded.handshake(host, tcp), TlsAcceptor::from(Arc::clone(server)).accept(peer))
    }

    async fn refusal(client: &Authority, server: ServerConfig, host: &str) -> DialError {
        connect(client, server, host).await.0.err().unwrap()
    }

    #[tokio::test]
    async fn names_and_addresses_are_verified_and_sessions_resumed() {
        let authority = Authority::new();
        let server = Arc::new(authority.server(&["localhost", "127.0.0.1"]));
        for (host, is_resumed) in [("localhost", false), ("localhost.", true), ("127.0.0.1", false)] {
            let (client, accepted) = handshake(&authority.tls, &server, host).await;
            let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
            assert_eq!((client.version, client.is_resumed), ("1.3", is_resumed), "{host}");
            accepted.write_all(b"x").await.unwrap();
            accepted.flush().await.unwrap();
            assert_eq!(client.stream.read_u8().await.unwrap(), b'x');
        }
    }

    /// Keeps sessions, and remembers each by another secret than it was made with.
    #[derive(Debug)]
    struct Forgetful(Mutex<Vec<(Vec<u8>, Vec<u8>)>>);

    impl StoresServerSessions for Forgetful {
        fn put(&self, key: Vec<u8>, mut value: Vec<u8>) -> bool {
            // TLS 1.2, one of its suites, and 48 bytes of secret.
            let at = value.windows(5).position(|bytes| bytes[..2] == [3, 3] && bytes[4] == 48).unwrap();
            value[at + 5] ^= 1;
            self.0.lock().unwrap().push((key, value));
            true
        }

        fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
            let kept = self.0.lock().unwrap();
            kept.iter().find(|(kept, _)| kept == key).map(|(_, value)| value.clone())
        }

        fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.get(key)
        }

        fn can_cache(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_session_that_the_server_misunderstood_is_not_resumed_again() {
        let authority = Authority::new();
        let mut server = authority.server_of(&[&TLS12]);
        server.session_storage = Arc::new(Forgetful(Mutex::default()));
        let server = Arc::new(server);
        let mut shaken = Vec::new();
        for _ in 0..3 {
            let (client, _) = handshake(&authority.tls, &server, "localhost").await;
            shaken.push(client.map(|secured| (secured.version, secured.is_resumed)));
        }
        let text = "the TLS handshake with \"localhost\" failed";
        assert_eq!(shaken[1].as_ref().err().map(DialError::message), Some(text));
        assert_eq!([&shaken[0], &shaken[2]].map(|shaken| *shaken.as_ref().unwrap()), [("1.2", false); 2]);
    }

    #[tokio::test]
    async fn another_name_is_refused_and_told() {
        let authority = Authority::new();
        let error = refusal(&authority, authority.server(&["a.example", "192.0.2.1"]), "b.example").await;
        let text = "the server's certificate is not valid for \"b.example\": it is for a.example, 192.0.2.1";
        assert_eq!((error.message(), error.concerns_host()), (text, true));
        let names = (0..6).map(|n| format!("DnsName(\"{n}.example\")")).collect::<Vec<_>>();
        assert_eq!(super::names(&names), "0.example, 1.example, 2.example, 3.example and 2 more");
    }

    #[tokio::test]
    async fn an_unknown_issuer_is_refused() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let error = refusal(&ours, theirs.server(&["localhost"]), "localhost").await;
        let text = "the server's certificate for \"localhost\" is signed by an unknown authority";
        assert_eq!((error.message(), error.concerns_host()), (text, true));
    }

    #[tokio::test]
    async fn an_expired_certificate_is_refused() {
        let authority = Authority::new();
        let server = authority.server_with(&["localhost"], |params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        });
        let error = refusal(&authority, server, "localhost").await;
        let start = "the server's certificate for \"localhost\" has expired, ";
        assert!(error.message().starts_with(start), "{}", error.message());
    }

    #[tokio::test]
    async fn a_server_without_http_1_is_named() {
        let authority = Authority::new();
        let mut server = authority.server(&["localhost"]);
        server.alpn_protocols = vec![b"h2".to_vec()];
        let error = refusal(&authority, server, "localhost").await;
        assert_eq!(
            error.message(),
            "the server at \"localhost\" does not offer HTTP/1.1 (perhaps only HTTP/2)",
            "R-7301-3-1"
        );
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let loaded = Authority::new().tls.load().await.unwrap_or_else(|error| panic!("{error:?}"));
        let error = loaded.handshake("localhost", tcp).await.err().unwrap();
        assert_eq!(error.message(), "the server at \"localhost\" does not speak TLS on this port");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.shutdown().await.unwrap();
        let loaded = Authority::new().tls.load().await.unwrap_or_else(|error| panic!("{error:?}"));
        let error = loaded.handshake("localhost", tcp).await.err().unwrap();
        let text = "\"localhost\" closed the connection during the TLS handshake";
        assert_eq!((error.message(), error.concerns_host()), (text, false));
    }

    #[test]
    fn certificates_are_read_or_refused_when_given() {
        let authority = Authority::new();
        let pem = authority.issuer.pem();
        assert_eq!(Certificate::from_pem(&pem).unwrap(), authority.root());
        assert_eq!(Certificate::from_pem_bundle(format!("{pem}{pem}")).unwrap().len(), 2);
        assert!(Certificate::from_pem_bundle("nothing").is_err());
        assert!(Certificate::from_pem("nothing").is_err());
        assert!(Certificate::from_der(b"nothing").is_err());
    }
}
