//! Configuration and handshake: which authorities the client trusts, which sessions the client resumes, and which
//! protocols ALPN offers.
//!
//! This file knows nothing of addresses. The only HTTP that this file knows is that ALPN offers HTTP/1.1. Invariants:
//! making a client reads no file. The trust store is read once, when the first https connection is dialed. All dials of
//! a client share its sessions, except dials with an isolation tag, which use no sessions.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error, HandshakeKind, ProtocolVersion, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;

use super::certificate::Certificate;
use super::failure::{cause, refused};
use super::stream::TlsStream;
use crate::connect::{DialError, Scope};

/// Settings of TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsConfig {
    /// Root certificates that are trusted in addition to the platform's root certificates.
    pub(crate) roots: Vec<Certificate>,
}

/// TLS of one client: its settings, and its configuration once the configuration is loaded.
pub(crate) struct Tls {
    loader: Arc<Loader>,
}

/// Loader that loads the configuration once.
struct Loader {
    config: TlsConfig,
    loaded: OnceLock<Loaded>,
    /// Lock that is held while the configuration is loaded. Only blocking threads take this lock, never a runtime's
    /// thread.
    loading: Mutex<()>,
}

/// A configuration that is ready for handshakes.
#[derive(Clone)]
pub(crate) struct Loaded {
    config: Arc<ClientConfig>,
    /// Configuration for connections with an isolation tag, which store and resume no sessions.
    isolated: Arc<ClientConfig>,
    /// Sessions of `config`.
    sessions: Arc<ClientSessionMemoryCache>,
}

/// Result of a handshake.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream,
    /// TLS version: "1.2" or "1.3".
    pub(crate) version: &'static str,
    /// Whether the handshake resumed an earlier session.
    pub(crate) is_resumed: bool,
}

impl Tls {
    /// Returns TLS with these settings. Reads no file.
    pub(crate) fn new(config: TlsConfig) -> Self {
        Self { loader: Arc::new(Loader { config, loaded: OnceLock::new(), loading: Mutex::new(()) }) }
    }

    /// Returns the configuration. The first call reads the trust store.
    pub(crate) async fn load(&self) -> Result<Loaded, DialError> {
        if let Some(loaded) = self.loader.loaded.get() {
            return Ok(loaded.clone());
        }
        // A blocking thread loads the configuration, so that a dial never waits for another runtime. The other runtime
        // may not be driven.
        let loader = Arc::clone(&self.loader);
        let loaded = tokio::task::spawn_blocking(move || loader.load()).await;
        match loaded {
            Ok(Ok(loaded)) => Ok(loaded),
            Ok(Err(error)) => {
                let message = "no trusted certificate authorities were found on this system: install them or add a root certificate";
                Err(DialError::tls(message.into(), Scope::Host).because(error))
            }
            Err(error) => {
                let message = "the trust store could not be loaded";
                Err(DialError::tls(message.into(), Scope::Attempt).because(error))
            }
        }
    }
}

impl Loader {
    /// Returns the configuration. Loads the configuration if no other thread has loaded it.
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
    /// Returns a verifier that trusts the platform's authorities and the roots, or only the roots if the platform has
    /// no store.
    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let roots = || self.roots.iter().map(|root| root.der().clone());
        let no_store = match Verifier::new_with_extra_roots(roots(), Arc::clone(&provider)) {
            Ok(verifier) => return Ok(Arc::new(verifier)),
            Err(error) => error,
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots());
        if store.is_empty() {
            return Err(no_store);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
        verifier.map(|verifier| verifier as _).map_err(|error| Error::General(error.to_string()))
    }
}

impl Loaded {
    /// Returns a configuration with the same trust, whose handshakes neither resume a session nor store one.
    pub(crate) fn isolated(self) -> Self {
        Self { config: Arc::clone(&self.isolated), ..self }
    }

    /// Makes the TLS handshake with `host` over `tcp`, and returns its result. Dropping the future closes `tcp`.
    pub(crate) async fn handshake(&self, host: &str, tcp: TcpStream) -> Result<Secured, DialError> {
        let name = server_name(host)?;
        let connected = TlsStream::connect(Arc::clone(&self.config), name.clone(), tcp).await;
        let stream = connected.map_err(|error| {
            if let Some(Error::DecryptError) = cause(&error) {
                // The server's keys of the resumed session may differ from the client's, so the next handshake must not
                // resume this session.
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

/// Returns the name that the certificate has to be valid for.
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

/// Number of sessions that are kept for resumption, over all hosts. The number is the default of rustls.
const SESSIONS: usize = 256;

#[cfg(test)]
pub(crate) mod tests {
    use std::io;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::StoresServerSessions;
    use rustls::version::TLS12;
    use rustls::{ServerConfig, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, server};

    use super::*;

    type Accepted = io::Result<server::TlsStream<TcpStream>>;

    /// An authority that signs certificates for tests.
    pub(crate) struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        tls: Tls,
    }

    impl Authority {
        pub(crate) fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            // Each authority has its own name, so that the certificate of a foreign authority fails because the
            // authority is unknown instead of because of a bad signature.
            let key = KeyPair::generate().unwrap();
            let name = format!("{:x?}", &key.public_key_raw()[..8]);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
            let root = Certificate::from_pem(issuer.pem()).unwrap();
            Self { issuer, tls: Tls::new(TlsConfig { roots: vec![root] }) }
        }

        /// Returns the root certificate.
        pub(crate) fn root(&self) -> Certificate {
            Certificate::from_der(self.issuer.der()).unwrap()
        }

        /// Returns a server's configuration with a certificate for `names`.
        pub(crate) fn server(&self, names: &[&str]) -> ServerConfig {
            self.server_with(names, |_| {})
        }

        /// Returns a server's configuration for `localhost` with these versions only.
        pub(crate) fn server_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
            self.server_as(&["localhost"], versions, |_| {})
        }

        /// Returns a client's configuration that trusts the authority.
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

    /// Runs both sides of one handshake with a new server.
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
        // Without TCP_NODELAY, a second small write waits for the client's delayed ACK, which is longer than the
        // tests wait.
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

    /// A session store that changes the secret of each session.
    #[derive(Debug)]
    struct Forgetful(Mutex<Vec<(Vec<u8>, Vec<u8>)>>);

    impl StoresServerSessions for Forgetful {
        fn put(&self, key: Vec<u8>, mut value: Vec<u8>) -> bool {
            // Version 3.3 (TLS 1.2), a cipher suite, and the length of the secret: 48.
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
    async fn a_session_with_another_secret_is_not_resumed_again() {
        let authority = Authority::new();
        let mut server = authority.server_of(&[&TLS12]);
        server.session_storage = Arc::new(Forgetful(Mutex::default()));
        let server = Arc::new(server);
        let mut handshakes = Vec::new();
        for _ in 0..3 {
            let (client, _) = handshake(&authority.tls, &server, "localhost").await;
            handshakes.push(client.map(|secured| (secured.version, secured.is_resumed)));
        }
        let text = "the TLS handshake with \"localhost\" failed";
        assert_eq!(handshakes[1].as_ref().err().map(DialError::message), Some(text));
        assert_eq!(
            [&handshakes[0], &handshakes[2]].map(|handshake| *handshake.as_ref().unwrap()),
            [("1.2", false); 2]
        );
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_refused_and_its_names_shown() {
        let authority = Authority::new();
        let error = refusal(&authority, authority.server(&["a.example", "192.0.2.1"]), "b.example").await;
        let text = "the server's certificate is not valid for \"b.example\": it is for a.example, 192.0.2.1";
        assert_eq!((error.message(), error.concerns_host()), (text, true));
    }

    #[tokio::test]
    async fn an_unknown_issuer_is_refused() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let error = refusal(&ours, theirs.server(&["localhost"]), "localhost").await;
        let text = "the server's certificate for \"localhost\" is signed by an unknown authority: add its root certificate if you trust it";
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
        let start = "the server's certificate for \"localhost\" expired ";
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
            "the server at \"localhost\" does not offer HTTP/1.1: it may speak only HTTP/2",
            "R-7301-3-1 A-54"
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
    async fn a_server_that_hangs_up_is_no_failure_of_the_host() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.shutdown().await.unwrap();
        let loaded = Authority::new().tls.load().await.unwrap_or_else(|error| panic!("{error:?}"));
        let error = loaded.handshake("localhost", tcp).await.err().unwrap();
        let text = "the server at \"localhost\" closed the connection during the TLS handshake";
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
