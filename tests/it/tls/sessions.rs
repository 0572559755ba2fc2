//! Resumption: which handshakes share a session.

use handclasp::Identity;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::*;

/// Makes requests on new connections, and returns whether each handshake was resumed. Checks that client and server
/// agree whether a handshake was resumed.
async fn resumed(server: &TlsServer, clients: &[&Client]) -> Vec<bool> {
    let begun = server.seen().len();
    let mut resumed = Vec::new();
    for client in clients {
        resumed.push(info(&get(client, server).await.unwrap()).is_resumed());
    }
    let seen: Vec<_> = server.seen()[begun..].iter().map(|connected| connected.is_resumed).collect();
    assert_eq!(seen, resumed);
    resumed
}

#[tokio::test]
async fn the_second_handshake_with_a_server_resumes_the_session_of_the_first() {
    let ours = Authority::new("ours");
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(ours.issue(&[HOST]).server_of(&[version])).await;
        let client = to(&server).tls_certs_only([root(&ours)]).build().unwrap();
        assert_eq!(resumed(&server, &[&client, &client, &client]).await, [false, true, true]);
        let connection = get(&client, &server).await.unwrap();
        assert_eq!(
            info(&connection).peer_certificates().count(),
            1,
            "a resumed session knows the certificate"
        );
        // Another name of the same server has its own session.
        let named = to(&server).tls_certs_only([root(&ours)]).tls_server_name(HOST, HOST).build().unwrap();
        assert_eq!(resumed(&server, &[&named, &named]).await, [false, true]);
    }
}

/// Trust settings and identities belong to a client, and each client has its own sessions.
#[tokio::test]
async fn a_55_no_session_crosses_trust_settings_identities_or_tags() {
    let ours = Authority::new("ours");
    let (one, two) = (ours.issue(&["one"]), ours.issue(&["two"]));
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[version])).await;
        let shown = |issued: &crate::support::tls::Issued| {
            to(&server).identity(Identity::from_pem(issued.identity()).unwrap())
        };
        let only = shown(&one).tls_certs_only([root(&ours)]).build().unwrap();
        let merged = shown(&one).tls_certs_merge([root(&ours)]).build().unwrap();
        let careless = shown(&one).tls_danger_accept_invalid_certs(true).build().unwrap();
        let other = shown(&two).tls_certs_only([root(&ours)]).build().unwrap();
        let all = [&only, &merged, &careless, &other];
        assert_eq!(resumed(&server, &all).await, [false; 4], "A-55");
        assert_eq!(resumed(&server, &all).await, [true; 4], "each resumes its own session");
        let clients: Vec<_> = server.seen()[4..].iter().map(|connected| connected.client.clone()).collect();
        assert_eq!(clients[3].as_ref(), two.chain.first(), "A-55: the session of the other identity");
        for (tag, is_resumed) in [("a", false), ("b", false), ("a", true), ("b", true)] {
            let response = only.get(server.url(HOST)).isolation(tag).send().await.unwrap();
            assert_eq!(info(response.connection()).is_resumed(), is_resumed, "A-55: {tag}");
            drop(response.text().await.unwrap());
        }
        assert_eq!(resumed(&server, &[&only]).await, [true], "A-55: the tags took no session of the others");
    }
}

/// The sessions of 64 tags are kept.
#[tokio::test]
async fn the_sessions_of_the_latest_tags_are_kept() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.issue(&[HOST]).server()).await;
    let client = to(&server).tls_certs_only([root(&ours)]).build().unwrap();
    let is_resumed = async |tag: usize| {
        let response = client.get(server.url(HOST)).isolation(tag.to_string()).send().await.unwrap();
        let is_resumed = info(response.connection()).is_resumed();
        drop(response.text().await.unwrap());
        is_resumed
    };
    for tag in 0..64 {
        assert!(!is_resumed(tag).await);
    }
    assert!(is_resumed(0).await, "the first tag is now the latest");
    assert!(!is_resumed(64).await);
    assert!(is_resumed(0).await && !is_resumed(1).await, "the second tag was forgotten");
}

/// A server that does not know the session makes a full handshake, in which the client verifies the server's
/// certificate.
#[tokio::test]
async fn a_55_a_session_does_not_outlive_the_trust_of_its_server() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = TlsServer::start(ours.issue(&[HOST]).server()).await;
    let impostor = TlsServer::start(theirs.issue(&[HOST]).server()).await;
    let client = Client::builder()
        .tls_certs_only([root(&ours)])
        .max_idle_per_host(0)
        .resolve(&format!("{HOST}:{}", server.address().port()), server.address())
        .resolve(&format!("{HOST}:{}", impostor.address().port()), impostor.address())
        .build()
        .unwrap();
    get(&client, &server).await.unwrap();
    // The client offers the session of this name to the impostor, which cannot resume the session.
    let text = refusal(&client, &impostor, "A-55").await;
    assert!(text.contains("unknown authority"), "{text}");
}
