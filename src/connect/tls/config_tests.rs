//! Tests of handshakes against servers of rustls, and the authority that other tests use too.

use std::io;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::StoresServerSessions;
use rustls::version::TLS12;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server};

use super::super::certificate::Certificate;
use super::*;

type Accepted = io::Result<server::TlsStream<TcpStream>>;

/// An authority that signs certificates for tests.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(in crate::connect::tls) tls: Tls,
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
        Self { issuer, tls: Tls::new(TlsConfig { roots: vec![root], ..TlsConfig::default() }) }
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
        assert_eq!(
            (client.info.version(), client.info.is_resumed()),
            (Version::TLS_1_3, is_resumed),
            "{host}"
        );
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
        handshakes.push(client.map(|secured| (secured.info.version(), secured.info.is_resumed())));
    }
    let text = "the TLS handshake with \"localhost\" failed";
    assert_eq!(handshakes[1].as_ref().err().map(DialError::message), Some(text));
    assert_eq!(
        [&handshakes[0], &handshakes[2]].map(|handshake| *handshake.as_ref().unwrap()),
        [(Version::TLS_1_2, false); 2]
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

/// Each dial of the client fails in the same way.
#[tokio::test]
async fn a_fixed_identity_that_cannot_be_used_concerns_the_host() {
    let authority = Authority::new();
    let (chain, key) = (authority.issuer.pem(), KeyPair::generate().unwrap().serialize_pem());
    let identity = ClientIdentity::Fixed(Identity::from_pem(format!("{chain}{key}")).unwrap());
    let tls = Tls::new(TlsConfig { roots: vec![authority.root()], identity, ..TlsConfig::default() });
    let error = tls.load().await.map(|_| ()).unwrap_err();
    assert!(error.message().contains("the client's identity cannot be used"), "{error:?}");
    assert!(error.concerns_host(), "{error:?}");
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
