//! Tests of the servers that a client trusts.

use handclasp::tls::CertificateRevocationList;
use rcgen::{
    CertificateParams, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::*;
use crate::support::tls::Issued;

fn years(from: i32, to: i32) -> impl Fn(&mut CertificateParams) {
    move |params| {
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
    }
}

/// Each bad certificate is refused by an error that says what is wrong and what to do, with every version of TLS.
#[tokio::test]
async fn a_49_each_bad_certificate_is_named_before_any_byte_of_the_request() {
    let ours = Authority::new("ours");
    let constrained = Authority::with("constrained", |params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName("elsewhere.test".into()),
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([192, 0, 2, 0], 24)),
            ],
            excluded_subtrees: Vec::new(),
        });
    });
    for (case, issued, parts) in [
        (
            "A-49 expired",
            ours.issue_with(&[HOST], years(2001, 2002)),
            &["\"server.test\" expired", "days ago"][..],
        ),
        ("A-49 not yet", ours.issue_with(&[HOST], years(2079, 2080)), &["not valid yet", "clock"]),
        (
            "A-49 unknown authority",
            Authority::new("theirs").issue(&[HOST]),
            &["signed by an unknown authority: add its root certificate"],
        ),
        (
            "A-49 the key of another authority of the same name",
            Authority::new("ours").issue(&[HOST]),
            &["is not signed by the trusted authority that has the issuer's name: add the authority's"],
        ),
        (
            "A-49 self-signed",
            Issued::self_signed(&[HOST], false),
            &["\"server.test\" is self-signed: add it with add_root_certificate if you trust it"],
        ),
        (
            "A-49 openssl req -x509",
            Issued::self_signed(&[HOST], true),
            &["is self-signed", "`openssl req -x509`", "-addext basicConstraints=critical,CA:FALSE"],
        ),
        (
            "A-49 another purpose",
            ours.issue_with(&[HOST], |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            &["not for servers"],
        ),
        ("A-49 name constraint", constrained.issue(&[HOST]), &["not accepted: NameConstraintViolation"]),
        (
            "A-50 another name",
            ours.issue(&["other.test", "192.0.2.1"]),
            &["not valid for \"server.test\": it is for other.test, 192.0.2.1"],
        ),
        ("A-50 an address in a name", ours.issue(&["server.test.evil.test"]), &["not valid for"]),
    ] {
        for version in [&TLS12, &TLS13] {
            let server = TlsServer::start(issued.server_of(&[version])).await;
            let client = to(&server).tls_certs_only([root(&ours), root(&constrained)]).build().unwrap();
            let text = refusal(&client, &server, case).await;
            assert!(parts.iter().all(|part| text.contains(part)), "{case}: {text}");
        }
    }
    let server = TlsServer::start(ours.issue(&[HOST]).server()).await;
    get(&to(&server).tls_certs_only([root(&ours)]).build().unwrap(), &server).await.unwrap();
}

/// The platform's verifier gives the same messages.
#[tokio::test]
async fn a_49_a_self_signed_certificate_is_named_with_the_platforms_trust_too() {
    let cases = [(false, "is self-signed: add it"), (true, "-addext basicConstraints")];
    // The verifiers of Apple and Windows say of an authority only that its issuer is unknown.
    let is_webpki = cfg!(all(unix, not(target_vendor = "apple"), not(target_os = "android")));
    for (is_authority, part) in cases.into_iter().filter(|(is_authority, _)| is_webpki || !is_authority) {
        let server = TlsServer::start(Issued::self_signed(&[HOST], is_authority).server()).await;
        let client = to(&server).add_root_certificate(root(&Authority::new("ours"))).build().unwrap();
        let text = refusal(&client, &server, "A-49").await;
        assert!(text.contains(part), "{text}");
    }
}

/// Old devices have such certificates. The verifier reads no certificate of this version, even if the caller accepts
/// invalid certificates.
#[tokio::test]
async fn a_49_a_certificate_of_version_1_is_named() {
    let issued = Issued::of_version_1();
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(issued.shown_with(&issued.key, version)).await;
        let itself = [root(&Authority::new("ours"))];
        for builder in [to(&server).tls_certs_only(itself), to(&server).tls_danger_accept_invalid_certs(true)]
        {
            let text = refusal(&builder.build().unwrap(), &server, "A-49").await;
            assert!(text.contains("is of X.509 version 1"), "{text}");
        }
    }
}

/// The advice in the error for a self-signed certificate is right.
#[tokio::test]
async fn a_self_signed_certificate_that_is_no_authority_can_be_trusted() {
    let issued = Issued::self_signed(&[HOST], false);
    let server = TlsServer::start(issued.server()).await;
    let itself = Certificate::from_pem(issued.pem()).unwrap();
    for builder in [to(&server).add_root_certificate(itself.clone()), to(&server).tls_certs_only([itself])] {
        get(&builder.build().unwrap(), &server).await.unwrap();
    }
}

#[tokio::test]
async fn only_the_given_authorities_are_trusted_in_any_combination() {
    let [one, two, three] = ["one", "two", "three"].map(Authority::new);
    let servers = [
        TlsServer::start(one.issue(&[HOST]).server()).await,
        TlsServer::start(two.issue(&[HOST]).server()).await,
        TlsServer::start(three.issue(&[HOST]).server()).await,
    ];
    for (what, roots, are_trusted) in [
        ("only one", [&one].as_slice(), [true, false, false]),
        ("only one and two", &[&one, &two], [true, true, false]),
    ] {
        for (server, is_trusted) in servers.iter().zip(are_trusted) {
            let certificates = || roots.iter().map(|authority| root(authority));
            let only = to(server).tls_certs_only(certificates()).build().unwrap();
            let merged = to(server).tls_certs_merge(certificates()).build().unwrap();
            let mixed = to(server).tls_certs_only(certificates().take(1));
            let mixed = mixed.tls_certs_merge(certificates().skip(1)).build().unwrap();
            for client in [only, merged, mixed] {
                match is_trusted {
                    true => drop(get(&client, server).await.unwrap()),
                    false => assert!(refusal(&client, server, what).await.contains("unknown authority")),
                }
            }
        }
    }
    let error = Client::builder().tls_certs_only([]).build().unwrap_err();
    assert!(error.to_string().contains("tls_certs_only was given no certificate"), "{error}");
}

#[cfg(feature = "webpki-roots")]
#[tokio::test]
async fn mozillas_authorities_are_trusted_with_those_that_are_added() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.issue(&[HOST]).server()).await;
    let text = refusal(&to(&server).tls_webpki_roots().build().unwrap(), &server, "Mozilla alone").await;
    assert!(text.contains("unknown authority"), "{text}");
    let client = to(&server).tls_webpki_roots().add_root_certificate(root(&ours)).build().unwrap();
    get(&client, &server).await.unwrap();
}

#[tokio::test]
async fn a_49_a_revoked_certificate_is_refused_and_so_is_one_that_no_list_covers() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let numbered = |authority: &Authority, serial: u64| {
        authority.issue_with(&[HOST], |params| params.serial_number = Some(SerialNumber::from(serial)))
    };
    let lists = CertificateRevocationList::from_pem_bundle(ours.revoked(&[7, 9])).unwrap();
    for (what, issued, part) in [
        ("A-49 revoked", numbered(&ours, 7), Some("was revoked")),
        ("not revoked", numbered(&ours, 8), None),
        ("A-49 revoked too", numbered(&ours, 9), Some("was revoked")),
        ("A-49 no list", numbered(&other, 8), Some("no revocation list covers the server's certificate")),
    ] {
        let server = TlsServer::start(issued.server()).await;
        let builder = to(&server).tls_certs_only([root(&ours), root(&other)]);
        let client = builder.tls_crls_only(lists.clone()).build().unwrap();
        match part {
            Some(part) => {
                let text = refusal(&client, &server, what).await;
                assert!(text.contains(part), "{what}: {text}");
            }
            None => drop(get(&client, &server).await.unwrap()),
        }
        let careless = to(&server).tls_certs_only([root(&ours), root(&other)]).build().unwrap();
        get(&careless, &server).await.unwrap();
    }
}

#[test]
fn revocation_lists_that_cannot_be_used_are_refused_when_the_client_is_built() {
    let ours = Authority::new("ours");
    let list = CertificateRevocationList::from_pem(ours.revoked(&[7])).unwrap();
    let both = CertificateRevocationList::from_pem_bundle(ours.revoked(&[7]) + &ours.revoked(&[8])).unwrap();
    assert_eq!(both.len(), 2);
    let builder = || Client::builder().tls_certs_only([root(&ours)]);
    builder().add_crl(list.clone()).add_crls(both).build().unwrap();
    let error = Client::builder().add_crl(list).build().unwrap_err();
    assert!(error.to_string().contains("use tls_certs_only"), "{error}");
    let error = builder().add_crl(CertificateRevocationList::from_der(*b"nothing")).build().unwrap_err();
    assert!(error.is_builder() && error.to_string().contains("a revocation list cannot be used"), "{error}");
    assert!(CertificateRevocationList::from_pem("nothing").is_err());
    assert!(CertificateRevocationList::from_pem_bundle(ours.pem()).is_err());
}

/// A client that accepts invalid certificates accepts each of these certificates and returns the certificate to the
/// caller. The server still has to prove that it holds the key.
#[tokio::test]
async fn any_certificate_is_accepted_if_the_caller_says_so_and_its_key_is_proven() {
    let ours = Authority::new("ours");
    for issued in [
        ours.issue_with(&[HOST], years(2001, 2002)),
        ours.issue(&["other.test"]),
        Issued::self_signed(&[HOST], false),
        Issued::self_signed(&[HOST], true),
    ] {
        let server = TlsServer::start(issued.server()).await;
        let client = to(&server).tls_danger_accept_invalid_certs(true).build().unwrap();
        let connection = get(&client, &server).await.unwrap();
        assert_eq!(info(&connection).peer_certificate(), Some(issued.chain[0].as_ref()));
        let careful = to(&server).tls_danger_accept_invalid_certs(false).build().unwrap();
        refusal(&careful, &server, "A-53: another client").await;
    }
    let (shown, other) = (ours.issue(&[HOST]), ours.issue(&[HOST]));
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(shown.shown_with(&other.key, version)).await;
        for builder in
            [to(&server).danger_accept_invalid_certs(true), to(&server).tls_certs_only([root(&ours)])]
        {
            refusal(&builder.build().unwrap(), &server, "A-49: the key of another certificate").await;
        }
    }
}

/// A client that accepts any host name still checks everything else about a certificate.
#[tokio::test]
async fn any_name_is_accepted_if_the_caller_says_so_and_nothing_else() {
    let ours = Authority::new("ours");
    let other = ours.issue(&["other.test"]);
    for (what, issued, is_accepted) in [
        ("another name", other, true),
        ("no name", ours.issue(&[]), true),
        ("expired", ours.issue_with(&["other.test"], years(2001, 2002)), false),
        ("unknown authority", Authority::new("theirs").issue(&["other.test"]), false),
        ("self-signed", Issued::self_signed(&["other.test"], true), false),
    ] {
        let server = TlsServer::start(issued.server()).await;
        let only = to(&server).tls_certs_only([root(&ours)]);
        let mut builders = vec![only.tls_danger_accept_invalid_hostnames(true)];
        if cfg!(target_os = "linux") {
            let merged = to(&server).tls_certs_merge([root(&ours)]);
            builders.push(merged.danger_accept_invalid_hostnames(true));
        }
        for builder in builders {
            let client = builder.build().unwrap();
            match is_accepted {
                true => drop(get(&client, &server).await.unwrap()),
                false => drop(refusal(&client, &server, what).await),
            }
        }
        let careful = to(&server).tls_certs_only([root(&ours)]).build().unwrap();
        refusal(&careful, &server, "A-53: another client").await;
    }
}
