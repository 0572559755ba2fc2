//! The handshake: versions, names, protocols, and the parameters that a caller gets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use handclasp::rustls_0_23::{self, rustls};
use handclasp::tls::Version;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::*;
use crate::support::PATIENCE;

#[tokio::test]
async fn client_and_server_need_a_common_version() {
    let ours = Authority::new("ours");
    let issued = ours.issue(&[HOST]);
    let both = [Version::TLS_1_2, Version::TLS_1_3];
    for (offered, known) in [(&TLS12, Version::TLS_1_2), (&TLS13, Version::TLS_1_3)] {
        let server = TlsServer::start(issued.server_of(&[offered])).await;
        let builder = || to(&server).tls_certs_only([root(&ours)]);
        let connection = get(&builder().build().unwrap(), &server).await.unwrap();
        assert_eq!(info(&connection).version(), known);
        for only in both {
            let clients = [
                builder().tls_version_min(only).tls_version_max(only).build().unwrap(),
                builder().min_tls_version(only).max_tls_version(only).build().unwrap(),
            ];
            for client in clients {
                if only == known {
                    assert_eq!(info(&get(&client, &server).await.unwrap()).version(), only);
                } else {
                    let text = refusal(&client, &server, "versions").await;
                    assert!(text.contains("no TLS version or cipher that this client accepts"), "{text}");
                }
            }
        }
    }
    let builder = Client::builder().tls_version_min(Version::TLS_1_3).tls_version_max(Version::TLS_1_2);
    let error = builder.build().unwrap_err();
    assert!(error.to_string().contains("the lowest version of TLS is above the highest"), "{error}");
}

#[tokio::test]
async fn the_server_name_is_sent_or_hidden_or_replaced() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.issue(&[HOST, "inner.test", "127.0.0.1"]).server()).await;
    let wrong = TlsServer::start(ours.issue(&["inner.test"]).server()).await;
    let builder = || to(&server).tls_certs_only([root(&ours)]);
    let name = || server.seen().last().unwrap().name.clone();
    get(&builder().build().unwrap(), &server).await.unwrap();
    assert_eq!(name().as_deref(), Some(HOST));
    get(&builder().tls_sni(false).build().unwrap(), &server).await.unwrap();
    assert_eq!(name(), None);
    get(&builder().tls_sni(false).tls_sni(true).build().unwrap(), &server).await.unwrap();
    assert_eq!(name().as_deref(), Some(HOST));
    for host in [HOST, "SERVER.test."] {
        get(&builder().tls_server_name(host, "inner.test").build().unwrap(), &server).await.unwrap();
        assert_eq!(name().as_deref(), Some("inner.test"), "{host}");
    }
    let another_host = builder().tls_server_name("another.test", "inner.test").build().unwrap();
    get(&another_host, &server).await.unwrap();
    assert_eq!(name().as_deref(), Some(HOST));
    get(&builder().tls_server_name(HOST, "127.0.0.1").build().unwrap(), &server).await.unwrap();
    assert_eq!(name(), None, "an address is never sent");
    // The name also replaces the host in the verification of the certificate. The `Host` field does not change.
    let client = to(&wrong).tls_certs_only([root(&ours)]);
    get(&client.tls_server_name(HOST, "inner.test").build().unwrap(), &wrong).await.unwrap();
    let request = String::from_utf8(wrong.seen()[0].requests.clone()).unwrap();
    assert!(request.contains(&format!("host: {HOST}:")), "{request}");
    let text =
        refusal(&builder().tls_server_name(HOST, "outer.test").build().unwrap(), &server, "A-50").await;
    assert!(text.contains("not valid for \"outer.test\""), "{text}");
    // A name can replace an address in the URL.
    let client = Client::builder().tls_certs_only([root(&ours)]).tls_server_name("127.0.0.1", "inner.test");
    within(20, client.build().unwrap().get(wrong.url("127.0.0.1")).send()).await.unwrap();
    let error = Client::builder().tls_server_name(HOST, "no name").build().unwrap_err();
    assert!(error.to_string().contains("cannot be the name of a TLS server"), "{error}");
}

#[tokio::test]
async fn a_54_a_server_that_speaks_only_http_2_is_named() {
    let ours = Authority::new("ours");
    for version in [&TLS12, &TLS13] {
        let mut config = ours.issue(&[HOST]).server_of(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server = TlsServer::start(config).await;
        let client = to(&server).tls_certs_only([root(&ours)]).build().unwrap();
        let text = refusal(&client, &server, "A-54").await;
        assert!(text.contains("\"server.test\" does not offer HTTP/1.1: it may speak only HTTP/2"), "{text}");
    }
}

/// Starts a relay that replaces bytes of the server by other bytes of the same length. Returns the relay's address.
fn forging(server: SocketAddr, from: &'static [u8], into: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(server).unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let (mut asking, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut asking, &mut asked));
        let mut bytes = vec![0; 1 << 16];
        while let Ok(size @ 1..) = (&server).read(&mut bytes) {
            let mut sent = bytes[..size].to_vec();
            if let Some(at) = sent.windows(from.len()).position(|part| part == from) {
                sent[at..at + from.len()].copy_from_slice(into);
            }
            if (&client).write_all(&sent).is_err() {
                break;
            }
        }
    });
    address
}

/// In TLS 1.2, the server's ALPN answer is not encrypted, so that a relay can change the answer.
#[tokio::test]
async fn a_54_a_protocol_that_was_not_offered_is_refused() {
    let ours = Authority::new("ours");
    let mut config = ours.issue(&[HOST]).server_of(&[&TLS12]);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let server = TlsServer::start(config).await;
    let address = forging(server.address(), b"\x08http/1.1", b"\x08http/2.0");
    let client = Client::builder().resolve(HOST, address).tls_certs_only([root(&ours)]).build().unwrap();
    let error = within(20, client.get(format!("https://{HOST}/")).send()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.request_written()),
        (ErrorKind::Tls, Written::Nothing),
        "A-54: {error:?}"
    );
    assert!(error.to_string().contains("chose a protocol that was not offered"), "{error}");
}

#[tokio::test]
async fn a_caller_gets_the_parameters_of_the_handshake() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let issued = ours.issue(&[HOST]);
    for (version, suites) in [(&TLS12, "TLS_ECDHE_ECDSA_WITH_"), (&TLS13, "TLS_AES_256_GCM_SHA384")] {
        for alpn in [None, Some("http/1.1")] {
            let mut config = issued.server_of(&[version]);
            config.alpn_protocols = alpn.map(|name| name.as_bytes().to_vec()).into_iter().collect();
            let server = TlsServer::start(config).await;
            let client = to(&server).tls_certs_only([root(&ours), root(&other)]).build().unwrap();
            let connection = get(&client, &server).await.unwrap();
            let tls = info(&connection);
            assert_eq!(tls.version().to_string(), server.seen()[0].version);
            assert!(tls.cipher_suite().starts_with(suites), "{tls:?}");
            assert_eq!((tls.key_exchange_group(), tls.is_resumed()), (Some("X25519"), false));
            assert_eq!((tls.alpn(), server.seen()[0].alpn.as_deref()), (alpn, alpn));
            let chain: Vec<_> = tls.peer_certificates().collect();
            assert_eq!(chain, [issued.chain[0].as_ref()]);
            let text = format!("{connection:?}");
            assert!(text.contains("version: TLS 1.") && text.contains("peer_certificates: 1"), "{text}");
            // Another connection to the server has the same copy of the certificate.
            let again = get(&client, &server).await.unwrap();
            assert!(std::ptr::eq(info(&again).peer_certificate().unwrap(), chain[0]));
        }
    }
    let plain = crate::support::Server::echo();
    let response = within(20, handclasp::get(plain.url("/"))).await.unwrap();
    assert!(response.connection().tls().is_none());
    let made = handclasp::Response::from(http::Response::new("text"));
    assert!(made.connection().tls().is_none());
}

/// With the feature `aws-lc-rs`, the client offers a key exchange that resists quantum computers.
#[cfg(feature = "aws-lc-rs")]
#[tokio::test]
async fn aws_lc_rs_offers_the_key_exchange_x25519mlkem768() {
    let ours = Authority::new("ours");
    let issued = ours.issue(&[HOST]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(issued.chain.clone(), issued.private_key()).unwrap();
    let server = TlsServer::start(config).await;
    let client = to(&server).tls_certs_only([root(&ours)]).build().unwrap();
    let connection = get(&client, &server).await.unwrap();
    assert_eq!(info(&connection).key_exchange_group(), Some("X25519MLKEM768"));
}

#[tokio::test]
async fn a_crypto_provider_of_the_caller_is_used() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.issue(&[HOST]).server()).await;
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    let builder = || to(&server).tls_certs_only([root(&ours)]);
    let client = builder().tls_backend(rustls_0_23::crypto_provider(provider.clone())).build().unwrap();
    let connection = get(&client, &server).await.unwrap();
    assert_eq!(info(&connection).cipher_suite(), "TLS_CHACHA20_POLY1305_SHA256");
    let client =
        builder().tls_backend(rustls_0_23::crypto_provider(provider)).tls_version_max(Version::TLS_1_2);
    let text = refusal(&client.build().unwrap(), &server, "no suite of TLS 1.2").await;
    assert!(text.contains("the crypto provider has no cipher suite"), "{text}");
}

#[tokio::test]
async fn a_configuration_of_the_caller_decides_all_but_alpn_and_overrides_no_setting() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let mut server_config = ours.issue(&[HOST]).server();
    server_config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = TlsServer::start(server_config).await;
    let configured = |trusted: &Authority| {
        let mut roots = rustls::RootCertStore::empty();
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(trusted.pem().as_bytes()).unwrap();
        roots.add(der).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.enable_early_data = true;
        Arc::new(config)
    };
    let client = to(&server).tls_backend(rustls_0_23::client_config(configured(&ours))).build().unwrap();
    for is_resumed in [false, true] {
        let connection = get(&client, &server).await.unwrap();
        assert_eq!(
            (info(&connection).alpn(), info(&connection).is_resumed()),
            (Some("http/1.1"), is_resumed)
        );
        let tagged = client.get(server.url(HOST)).isolation("tag").send().await.unwrap();
        assert!(!info(tagged.connection()).is_resumed(), "A-55");
    }
    let client = to(&server).tls_backend(rustls_0_23::client_config(configured(&other)));
    refusal(&client.build().unwrap(), &server, "A-49 of the caller's configuration").await;
    let backend = || Client::builder().tls_backend(rustls_0_23::client_config(configured(&ours)));
    backend().tls_server_name("a.test", "b.test").build().unwrap();
    for builder in [
        backend().add_root_certificate(root(&other)),
        backend().tls_certs_only([root(&other)]),
        backend().tls_danger_accept_invalid_certs(true),
        backend().tls_danger_accept_invalid_hostnames(true),
        backend().tls_sni(false),
        backend().tls_version_min(Version::TLS_1_3),
        backend().tls_version_max(Version::TLS_1_3),
        backend().tls_sslkeylogfile(true),
        backend().identity_provider(|| Err("none".into())),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains("which overrides the other TLS settings"), "{error}");
    }
}
