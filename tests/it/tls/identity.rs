//! The client's own certificate: required, refused, and replaced.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use handclasp::{DropReason, Identity};
use rcgen::date_time_ymd;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::*;
use crate::support::tls::Issued;

fn identity(issued: &Issued) -> Identity {
    Identity::from_pem(issued.identity()).unwrap()
}

/// Identity that a function returns, and the number of calls of the function.
#[derive(Clone)]
struct Held(Arc<(Mutex<Identity>, AtomicUsize)>);

impl Held {
    fn new(issued: &Issued) -> Self {
        Self(Arc::new((Mutex::new(identity(issued)), AtomicUsize::new(0))))
    }

    fn replace(&self, issued: &Issued) {
        *self.0.0.lock().unwrap() = identity(issued);
    }

    fn give(&self) -> Identity {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        self.0.0.lock().unwrap().clone()
    }

    fn asked(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_server_that_requires_a_certificate_gets_it() {
    let ours = Authority::new("ours");
    let (server_side, client_side) = (ours.issue(&[HOST]), ours.issue(&["client"]));
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(ours.requiring(&server_side, &[version])).await;
        let held = Held::new(&client_side);
        let builder = || to(&server).tls_certs_only([root(&ours)]);
        let asking = {
            let held = held.clone();
            builder().identity_provider(move || Ok(held.give()))
        };
        for builder in [builder().identity(identity(&client_side)), asking] {
            get(&builder.build().unwrap(), &server).await.unwrap();
            let seen = server.seen();
            assert_eq!(seen.last().unwrap().client.as_ref(), client_side.chain.first());
        }
        assert_eq!(held.asked(), 1);
        // A server that does not ask sees no certificate.
        let open = TlsServer::start(server_side.server()).await;
        let client =
            to(&open).tls_certs_only([root(&ours)]).identity(identity(&client_side)).build().unwrap();
        get(&client, &open).await.unwrap();
        assert_eq!(open.seen()[0].client, None);
    }
}

/// In TLS 1.2, the server refuses within the handshake. In TLS 1.3, the client may have sent its request before the
/// refusal, and the error names the amount that was written.
#[tokio::test]
async fn a_refused_client_certificate_is_named() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server_side = ours.issue(&[HOST]);
    let expired = ours.issue_with(&["client"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    for (what, shown, part) in [
        ("none", None, "requires a client certificate: set one with ClientBuilder::identity"),
        (
            "unknown",
            Some(theirs.issue(&["client"])),
            "refused the client's certificate because the authority that issued",
        ),
        ("expired", Some(expired), "refused the client's certificate because it has expired"),
    ] {
        for version in [&TLS12, &TLS13] {
            let server = TlsServer::start(ours.requiring(&server_side, &[version])).await;
            let builder = to(&server).tls_certs_only([root(&ours)]);
            let builder = match &shown {
                Some(issued) => builder.identity(identity(issued)),
                None => builder,
            };
            let error = get(&builder.build().unwrap(), &server).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Tls, "{what}: {error:?}");
            let is_before = error.phase() == Some(Phase::Tls);
            let written = if is_before { Written::Nothing } else { Written::All };
            assert!(is_before || version.version == TLS13.version, "{what}: {error:?}");
            assert_eq!((error.request_written(), error.is_connect()), (written, is_before), "{what}");
            assert!(error.to_string().contains(part), "{what}: {error}");
            let seen = server.seen();
            assert!(
                seen.len() == 1 && seen[0].error.is_some() && seen[0].requests.is_empty(),
                "{what}: {seen:?}"
            );
        }
    }
}

/// The look at the connection finds a refusal that comes before the request is written, so that nothing is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_right_after_the_handshake_is_found_before_the_request_is_sent() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[&TLS13])).await;
    let server = Arc::new(server);
    let client = to(&server).tls_certs_only([root(&ours)]).build().unwrap();
    // The client polls the body for the first content before the look at the connection.
    let refusing = Arc::clone(&server);
    let content = futures_util::stream::once(async move {
        while refusing.seen().is_empty() {
            std::thread::yield_now();
        }
        Ok::<_, std::io::Error>("content")
    });
    let request = client.post(server.url(HOST)).body(handclasp::Body::from_stream(content));
    let error = within(20, request.send()).await.unwrap_err();
    let facts = (error.kind(), error.phase(), error.request_written(), error.is_connect());
    assert_eq!(facts, (ErrorKind::Tls, Some(Phase::Tls), Written::Nothing, true), "{error:?}");
    assert!(error.to_string().contains("requires a client certificate"), "{error}");
}

/// After a change, the connections of the earlier identity carry no further request, and no session of this identity is
/// resumed.
#[tokio::test]
async fn a_53_a_replaced_identity_shares_no_connection_and_no_session() {
    let ours = Authority::new("ours");
    let (server_side, first, second) = (ours.issue(&[HOST]), ours.issue(&["one"]), ours.issue(&["two"]));
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(ours.requiring(&server_side, &[version])).await;
        let held = Held::new(&first);
        let asked = held.clone();
        let builder = Client::builder().resolve(HOST, server.address()).tls_certs_only([root(&ours)]);
        let client = builder.identity_provider(move || Ok(asked.give())).build().unwrap();
        let (one, two) = (first.chain.first().cloned(), second.chain.first().cloned());
        // Two connections are idle at the time of the change.
        client.warm(server.url(HOST), 2).await.unwrap();
        assert!(get(&client, &server).await.unwrap().is_reused());
        held.replace(&second);
        // The client calls the function when it dials. The request has a tag, so that it needs a new connection.
        let tagged = client.get(server.url(HOST)).isolation("tag").send().await.unwrap();
        assert_eq!((tagged.connection().id(), held.asked()), (3, 3));
        drop(tagged.text().await.unwrap());
        let connection = get(&client, &server).await.unwrap();
        assert_eq!(connection.id(), 4, "A-53: the idle connections were made with the earlier identity");
        assert!(!info(&connection).is_resumed(), "A-55: a session would keep the earlier identity");
        assert_eq!(
            get(&client, &server).await.unwrap().id(),
            4,
            "the connection of the latest identity is kept"
        );
        let total = client.pool().stats().total;
        assert_eq!(total.closed(DropReason::IdentityChanged), 2, "{total}");
        let seen: Vec<_> = server.seen().into_iter().map(|connected| connected.client).collect();
        assert_eq!(seen, [one.clone(), one, two.clone(), two]);
    }
}

/// A request that is under way during the change is not interrupted, and its connection is not kept.
#[tokio::test]
async fn a_53_a_connection_in_use_is_not_kept_after_the_change() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[&TLS13])).await;
    let (first, second) = (ours.issue(&["one"]), ours.issue(&["two"]));
    let held = Held::new(&first);
    let asked = held.clone();
    let builder = Client::builder().resolve(HOST, server.address()).tls_certs_only([root(&ours)]);
    let client = builder.identity_provider(move || Ok(asked.give())).build().unwrap();
    let mut uploading = Uploading::begin(&client, &server).await;
    held.replace(&second);
    let other = get(&client, &server).await.unwrap();
    assert_eq!((other.id(), held.asked()), (2, 2));
    assert_eq!(uploading.end().await, 1);
    let total = client.pool().stats().total;
    assert_eq!((total.closed(DropReason::IdentityChanged), total.idle), (1, 1), "{total}");
    assert_eq!(get(&client, &server).await.unwrap().id(), 2);
}

/// A reserved connection carries no further request after the change, because the connection was made with the earlier
/// identity.
#[tokio::test]
async fn a_53_a_reserved_connection_carries_no_request_after_the_change() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[&TLS13])).await;
    let (first, second) = (ours.issue(&["one"]), ours.issue(&["two"]));
    let held = Held::new(&first);
    let asked = held.clone();
    let builder = Client::builder().resolve(HOST, server.address()).tls_certs_only([root(&ours)]);
    let client = builder.identity_provider(move || Ok(asked.give())).build().unwrap();
    let url = server.url(HOST);
    let mut reserved = within(20, client.reserve(&url)).await.unwrap();
    within(20, reserved.get(&url).send()).await.unwrap().bytes().await.unwrap();
    held.replace(&second);
    assert_eq!(get(&client, &server).await.unwrap().id(), 2);
    let error = within(20, reserved.get(&url).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(error.to_string().contains("(identity changed)"), "{error}");
    let total = client.pool().stats().total;
    assert_eq!((total.closed(DropReason::IdentityChanged), total.idle, total.active), (1, 1, 0), "{total}");
}

/// The https proxy asks for the client's certificate, and forwards requests to http origins: the connection to the
/// proxy has the identity, although there is no TLS with the origin.
#[cfg(feature = "proxy")]
#[tokio::test]
async fn a_53_a_connection_to_an_https_proxy_is_not_kept_after_the_change() {
    use crate::support::gate::Gate;

    let ours = Authority::new("ours");
    let (first, second) = (ours.issue(&["one"]), ours.issue(&["two"]));
    for is_tunnel in [false, true] {
        let origin = crate::support::Server::echo();
        let config = ours.requiring(&ours.issue(&[HOST]), &[&TLS13]);
        let forwarding = TlsServer::start(config.clone()).await;
        let gate = Gate::start_tls(config, origin.address(), None).await;
        let at = if is_tunnel { gate.address } else { forwarding.address() };
        let proxy = handclasp::Proxy::all(format!("https://{HOST}:{}", at.port())).unwrap().tunnel(is_tunnel);
        let held = Held::new(&first);
        let asked = held.clone();
        let builder = Client::builder().resolve(HOST, at).tls_certs_only([root(&ours)]).proxy(proxy);
        let client = builder.identity_provider(move || Ok(asked.give())).build().unwrap();
        let fetch = async |tag: Option<&str>| {
            let mut request = client.get("http://a.test/");
            if let Some(tag) = tag {
                request = request.isolation(tag);
            }
            let response = within(20, request.send()).await.unwrap();
            let id = response.connection().id();
            response.text().await.unwrap();
            id
        };
        assert_eq!((fetch(None).await, fetch(None).await), (1, 1));
        held.replace(&second);
        // The client asks for the identity when it dials.
        assert_eq!(fetch(Some("tag")).await, 2);
        assert_eq!(fetch(None).await, 3, "A-53: tunnel {is_tunnel}");
        let total = client.pool().stats().total;
        assert_eq!(total.closed(DropReason::IdentityChanged), 1, "A-53: tunnel {is_tunnel}: {total}");
        if !is_tunnel {
            let (one, two) = (first.chain.first().cloned(), second.chain.first().cloned());
            let seen: Vec<_> = forwarding.seen().into_iter().map(|connected| connected.client).collect();
            assert_eq!(seen, [one, two.clone(), two]);
        }
    }
}

/// A request whose content the test withholds.
struct Uploading {
    response: tokio::task::JoinHandle<u64>,
    content: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Uploading {
    /// Begins the request, and returns when its head has reached the server.
    async fn begin(client: &Client, server: &TlsServer) -> Self {
        let (content, ready) = tokio::sync::oneshot::channel();
        let stream = futures_util::stream::once(async move {
            ready.await.unwrap();
            Ok::<_, std::io::Error>("content\r\n\r\n")
        });
        let request = client.post(server.url(HOST)).header("content-length", "11");
        let request = request.body(handclasp::Body::from_stream(stream));
        let response = tokio::spawn(async move {
            let response = request.send().await.unwrap();
            let id = response.connection().id();
            response.text().await.unwrap();
            id
        });
        crate::support::until("the server has the head", || {
            server.seen().iter().any(|connected| !connected.requests.is_empty())
        })
        .await;
        Self { response, content: Some(content) }
    }

    /// Sends the content, and returns the number of the connection.
    async fn end(&mut self) -> u64 {
        self.content.take().unwrap().send(()).unwrap();
        within(20, &mut self.response).await.unwrap()
    }
}

#[tokio::test]
async fn a_function_that_gives_no_identity_fails_the_request_before_anything_is_sent() {
    let ours = Authority::new("ours");
    let issued = ours.issue(&[HOST]);
    let server = TlsServer::start(issued.server()).await;
    let builder = || to(&server).tls_certs_only([root(&ours)]);
    let wrong = format!("{}{}", issued.pem(), ours.issue(&["x"]).key.serialize_pem());
    let wrong = Identity::from_pem(wrong).unwrap();
    for (part, builder) in [
        ("gave no identity", builder().identity_provider(|| Err("the vault is sealed".into()))),
        ("could not be loaded", builder().identity_provider(|| panic!("a bug of the caller"))),
        ("cannot be used", builder().identity_provider(move || Ok(wrong.clone()))),
    ] {
        let client = builder.build().unwrap();
        for _ in 0..2 {
            let text = refusal(&client, &server, part).await;
            assert!(text.contains(part), "{text}");
        }
    }
    assert!(server.seen().is_empty());
}

/// The connect timeout ends the wait for a function that blocks, and the next dial calls the function again.
#[tokio::test]
async fn a_function_that_blocks_is_not_waited_for_longer_than_the_connect_timeout() {
    let ours = Authority::new("ours");
    let issued = ours.issue(&["client"]);
    let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[&TLS13])).await;
    // The function waits until the test has dropped the sender.
    let (sender, receiver) = mpsc::channel::<()>();
    let (receiver, shown) = (Mutex::new(receiver), identity(&issued));
    let builder = to(&server).tls_certs_only([root(&ours)]).connect_timeout(Duration::from_millis(100));
    let builder = builder.identity_provider(move || {
        assert!(receiver.lock().unwrap().recv().is_err());
        Ok(shown.clone())
    });
    let client = builder.build().unwrap();
    let error = get(&client, &server).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Tls)), "{error:?}");
    drop(sender);
    let patient = to(&server).tls_certs_only([root(&ours)]).identity(identity(&issued)).build().unwrap();
    get(&patient, &server).await.unwrap();
    // The machine may be slow, so that a handshake may take longer than the short timeout.
    let mut left = 200;
    while let Err(error) = get(&client, &server).await {
        left -= 1;
        assert!(left > 0, "the function no longer blocks, but no request succeeds: {error:?}");
    }
}

/// The function of `evict_if` is called too, and gets the parameters of TLS.
#[tokio::test]
async fn evict_if_and_a_changing_identity_work_together() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[&TLS13])).await;
    let (first, second) = (ours.issue(&["one"]), ours.issue(&["two"]));
    for is_first in [true, false] {
        let held = Held::new(&first);
        let asked = held.clone();
        let mut builder = Client::builder().resolve(HOST, server.address()).tls_certs_only([root(&ours)]);
        let is_old = |idle: &handclasp::IdleConnection<'_>| {
            idle.tls().is_some_and(|tls| tls.alpn().is_none()) && idle.requests() >= 2
        };
        if is_first {
            builder = builder.evict_if(is_old);
        }
        builder = builder.identity_provider(move || Ok(asked.give()));
        if !is_first {
            builder = builder.evict_if(is_old);
        }
        let client = builder.build().unwrap();
        for expected in [1, 1, 2] {
            assert_eq!(get(&client, &server).await.unwrap().id(), expected);
        }
        held.replace(&second);
        let tagged = client.get(server.url(HOST)).isolation("tag").send().await.unwrap();
        drop(tagged.text().await.unwrap());
        assert_eq!(get(&client, &server).await.unwrap().id(), 4);
        let total = client.pool().stats().total;
        let closed = [DropReason::Evicted, DropReason::IdentityChanged].map(|reason| total.closed(reason));
        assert_eq!(closed, [1, 1], "{total}");
    }
}

#[test]
fn an_identity_that_cannot_be_used_is_refused_when_it_is_given() {
    let ours = Authority::new("ours");
    let (issued, other) = (ours.issue(&["client"]), ours.issue(&["other"]));
    let key = issued.key.serialize_pem();
    for (text, part) in [
        (String::new(), "no certificate"),
        (key.clone(), "no certificate"),
        (issued.pem().to_owned(), "no private key"),
        (format!("{}{key}{key}", issued.pem()), "more than one private key"),
        (issued.pem().replace("-----END", "----END"), "not valid"),
    ] {
        let error = Identity::from_pem(&text).unwrap_err();
        assert!(error.is_builder() && error.to_string().contains(part), "{part}: {error}");
    }
    let key_first = format!("{key}{}{}", issued.pem(), ours.pem());
    let identity = Identity::from_pem(key_first).unwrap();
    assert_eq!(format!("{identity:?}"), "Identity(2 certificates)", "A-77: the key is not shown");
    let builder = Client::builder().identity(identity);
    assert!(!format!("{builder:?}").contains("PRIVATE"));
    builder.build().unwrap();
    let mixed = Identity::from_pem(format!("{}{}", issued.pem(), other.key.serialize_pem())).unwrap();
    let error = Client::builder().identity(mixed).build().unwrap_err();
    assert!(error.to_string().contains("give the private key of the first certificate"), "{error}");
}
