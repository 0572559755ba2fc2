//! Certificate authorities that issue valid and invalid certificates, and a TLS server that records its handshakes and
//! requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber, SigningKey, date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    DEFAULT_VERSIONS, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its intermediate certificates and its private key.
pub struct Issued {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// Creates an authority. `change` changes the parameters of the authority's own certificate.
    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Returns the authority's own certificate as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for `names`, which are DNS names or IP addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// Issues a certificate. `change` changes the parameters of the certificate.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    /// Returns a list, in PEM, of revoked certificates with these serial numbers.
    pub fn revoked(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2080, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Returns a server's configuration that requires a client certificate of this authority.
    pub fn requiring(&self, server: &Issued, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(server.chain.clone(), server.private_key())
            .unwrap()
    }
}

impl Issued {
    /// Creates a certificate that its own key signs. If `is_authority` is set, the certificate is marked as an
    /// authority, as `openssl req -x509` does by default.
    pub fn self_signed(names: &[&str], is_authority: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names);
        params.is_ca =
            if is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        let certificate = params.self_signed(&key).unwrap();
        Self { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    /// Creates a self-signed certificate of X.509 version 1, which has no extensions.
    pub fn of_version_1() -> Self {
        let key = KeyPair::generate().unwrap();
        let algorithm = der(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        let common_name = der(0x30, &[&[6, 3, 0x55, 4, 3], &der(0x0c, &[b"old"])]);
        let name = der(0x30, &[&der(0x31, &[&common_name])]);
        let [from, to] = [b"200101000000Z", b"400101000000Z"].map(|time| der(0x17, &[time]));
        let validity = der(0x30, &[&from, &to]);
        let public = key.subject_public_key_info();
        let content = der(0x30, &[&[2, 1, 1], &algorithm, &name, &validity, &name, &public]);
        let signature = der(3, &[&[0], &key.sign(&content).unwrap()]);
        let certificate = der(0x30, &[&content, &algorithm, &signature]);
        Self { chain: vec![certificate.into()], pem: String::new(), key }
    }

    /// Returns the configuration of a server that shows this certificate with another key, or that shows a certificate
    /// which rustls would otherwise refuse to load.
    pub fn shown_with(&self, key: &KeyPair, version: &'static SupportedProtocolVersion) -> ServerConfig {
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let key = ring::sign::any_supported_type(&key).unwrap();
        let shows = Shows(Arc::new(CertifiedKey::new(self.chain.clone(), key)));
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shows))
    }

    /// Returns the certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns certificate and private key as one PEM text.
    pub fn identity(&self) -> String {
        format!("{}{}", self.pem, self.key.serialize_pem())
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }

    /// Returns the configuration of a server that shows this certificate.
    pub fn server(&self) -> ServerConfig {
        self.server_of(DEFAULT_VERSIONS)
    }

    /// Returns the configuration of a server that shows this certificate and speaks these versions.
    pub fn server_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.private_key())
            .unwrap()
    }
}

/// Returns an element of DER with this tag.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let size = match u8::try_from(content.len()) {
        Ok(size @ ..=0x7f) => vec![size],
        Ok(size) => vec![0x81, size],
        Err(_) => [&[0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes()].concat(),
    };
    [&[tag], &*size, &*content].concat()
}

/// Certificate resolver of a server with one certificate.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        })
        .collect();
    params.distinguished_name.push(DnType::CommonName, format!("leaf {}", names.concat()));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A TLS server that answers each request with `ok`, and records its handshakes and requests. The server runs in tasks
/// of the test's runtime.
pub struct TlsServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Connected>>>,
}

/// Record of one connection.
#[derive(Clone, Debug, Default)]
pub struct Connected {
    /// Reason why the handshake failed.
    pub error: Option<String>,
    /// "1.2" or "1.3".
    pub version: &'static str,
    pub is_resumed: bool,
    /// Name that the client sent.
    pub name: Option<String>,
    pub alpn: Option<String>,
    /// The client's own certificate.
    pub client: Option<CertificateDer<'static>>,
    /// Plaintext of the client's requests.
    pub requests: Vec<u8>,
}

impl TlsServer {
    pub async fn start(config: ServerConfig) -> Self {
        super::order::check_all();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (acceptor, all) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), tcp, Arc::clone(&all)));
            }
        });
        Self { address, seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the server under a name that the client has to resolve to the server's address.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/secret-path", self.address.port())
    }

    /// Returns the records of the connections whose handshake has ended, in the order in which the handshakes ended.
    pub fn seen(&self) -> Vec<Connected> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, all: Arc<Mutex<Vec<Connected>>>) {
    let _ = tcp.set_nodelay(true);
    let mut tls = match acceptor.accept(tcp).into_fallible().await {
        Ok(tls) => tls,
        Err((error, mut tcp)) => {
            all.lock().unwrap().push(Connected { error: Some(error.to_string()), ..Connected::default() });
            // The socket is read to its end, so that no reset overtakes the alert.
            let _ = tcp.shutdown().await;
            while tcp.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            return;
        }
    };
    let connection = tls.get_ref().1;
    let connected = Connected {
        error: None,
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        },
        is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        name: connection.server_name().map(str::to_owned),
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        client: connection.peer_certificates().and_then(|chain| chain.first()).cloned(),
        requests: Vec::new(),
    };
    let index = {
        let mut all = all.lock().unwrap();
        all.push(connected);
        all.len() - 1
    };
    let mut bytes = vec![0; 4096];
    let mut head = Vec::new();
    while let Ok(size @ 1..) = tls.read(&mut bytes).await {
        all.lock().unwrap()[index].requests.extend_from_slice(&bytes[..size]);
        head.extend_from_slice(&bytes[..size]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if tls.write_all(answer.as_bytes()).await.is_err() || tls.flush().await.is_err() {
                return;
            }
        }
    }
}
