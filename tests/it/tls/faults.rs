//! Faults of the client's identity, of names, and of sessions, each with the test that showed the fault.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use handclasp::{BoxError, DropReason, Identity};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::*;
use crate::support::tls::Issued;

fn identity(issued: &Issued) -> Identity {
    Identity::from_pem(issued.identity()).unwrap()
}

/// Returns an identity whose key belongs to another certificate, as of two files of which one is old.
fn mismatched(one: &Issued, other: &Issued) -> Identity {
    Identity::from_pem(format!("{}{}", one.pem(), other.key.serialize_pem())).unwrap()
}

/// Makes a request with a tag, which needs a new connection.
async fn tagged(client: &Client, server: &TlsServer, tag: &str) -> Result<ConnectionInfo, Error> {
    let response = within(20, client.get(server.url(HOST)).isolation(tag).send()).await?;
    let connection = response.connection().clone();
    response.text().await?;
    Ok(connection)
}

/// While files are replaced, the function may return a certificate and a key that do not belong together.
#[tokio::test]
async fn a_53_an_identity_that_cannot_be_used_ends_no_reuse() {
    let ours = Authority::new("ours");
    let (one, two) = (ours.issue(&["one"]), ours.issue(&["two"]));
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[version])).await;
        let (good, broken, calls) = (identity(&one), mismatched(&one, &two), AtomicUsize::new(0));
        let builder = Client::builder().resolve(HOST, server.address()).tls_certs_only([root(&ours)]);
        let builder = builder.identity_provider(move || {
            let is_second = calls.fetch_add(1, Ordering::SeqCst) == 1;
            Ok(if is_second { broken.clone() } else { good.clone() })
        });
        let client = builder.build().unwrap();
        assert_eq!(get(&client, &server).await.unwrap().id(), 1);
        let error = tagged(&client, &server, "a").await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Some(Phase::Tls)), "{error:?}");
        let kept = get(&client, &server).await.unwrap();
        assert!(kept.is_reused(), "A-53: the identity of the connection did not change");
        // The function returns the first identity again.
        let second = tagged(&client, &server, "b").await.unwrap();
        assert!(!second.is_reused());
        assert!(tagged(&client, &server, "b").await.unwrap().is_reused());
        assert!(get(&client, &server).await.unwrap().is_reused());
        let total = client.pool().stats().total;
        assert_eq!((total.opened, total.closed(DropReason::IdentityChanged)), (2, 0), "{total}");
    }
}

/// A function that hangs occupies one thread of the runtime, however many dials wait for the function.
#[test]
fn a_function_that_hangs_occupies_one_thread() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build().unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    runtime.block_on(async move {
        let ours = Authority::new("ours");
        let issued = ours.issue(&["client"]);
        let server = TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[&TLS13])).await;
        let (receiver, shown) = (Mutex::new(receiver), identity(&issued));
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let builder = to(&server).tls_certs_only([root(&ours)]).connect_timeout(Duration::from_millis(50));
        let builder = builder.identity_provider(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            // The function waits until the test has dropped the sender.
            let _ = receiver.lock().unwrap().recv();
            Ok(shown.clone())
        });
        let client = builder.build().unwrap();
        let dials = futures_util::future::join_all((0..20).map(|_| get(&client, &server))).await;
        for error in dials.into_iter().map(Result::unwrap_err) {
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Tls)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("identity_provider") && !text.contains("handshake"), "{text}");
            assert!(text.contains("50ms") && text.contains("connect_timeout"), "{text}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let free = tokio::time::timeout(Duration::from_secs(20), tokio::task::spawn_blocking(|| ())).await;
        // The function returns before the test can fail, because the runtime waits for its threads.
        drop(sender);
        assert!(free.is_ok(), "the dials occupy all threads of the runtime");
    });
}

/// The dials of two runtimes take turns. A runtime that is not driven holds nobody up.
#[test]
fn a_runtime_that_stands_still_does_not_hold_up_the_function_for_another() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (running, standing) = (runtime(), runtime());
    let ours = Authority::new("ours");
    let issued = ours.issue(&["client"]);
    let server = running.block_on(TlsServer::start(ours.requiring(&ours.issue(&[HOST]), &[&TLS13])));
    let (sender, receiver) = mpsc::channel::<()>();
    let (receiver, shown, calls) = (Mutex::new(receiver), identity(&issued), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let builder = to(&server).tls_certs_only([root(&ours)]).identity_provider(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = receiver.lock().unwrap().recv();
        Ok::<_, BoxError>(shown.clone())
    });
    let client = builder.build().unwrap();
    let url = server.url(HOST);
    let (first, other) = (client.clone(), url.clone());
    let first = running.spawn(async move { first.get(other).send().await.map(drop) });
    running.block_on(crate::support::until("the function runs", || calls.load(Ordering::SeqCst) == 1));
    // The dial of the other runtime waits for its turn, and then its runtime stands still.
    let second = client.clone();
    standing.spawn(async move { second.get(url).send().await.map(drop) });
    standing.block_on(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
    drop(sender);
    running.block_on(async {
        within(20, first).await.unwrap().unwrap();
        get(&client, &server).await.unwrap();
    });
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// A session shows the server that two connections belong to one client. So a request through a proxy that hides the
/// client resumes no session of a direct connection or of another proxy.
#[cfg(feature = "proxy")]
#[tokio::test]
async fn a_55_no_session_crosses_from_one_proxy_to_another() {
    use crate::support::gate::{Gate, Kind};
    use handclasp::Proxy;

    let ours = Authority::new("ours");
    for version in [&TLS12, &TLS13] {
        let server = TlsServer::start(ours.issue(&[HOST]).server_of(&[version])).await;
        let client = to(&server).tls_certs_only([root(&ours)]).build().unwrap();
        let socks = Gate::start(Kind::Socks5, server.address(), None).await;
        let http = Gate::start(Kind::Http, server.address(), None).await;
        let (tor, connect) = (socks.url(""), http.url(""));
        let (one, two) = (http.url("one:x"), http.url("two:x"));
        for (nth, (proxy, tag, is_resumed)) in [
            (None, None, false),
            (None, None, true),
            (Some(&tor), None, false),
            (Some(&connect), None, false),
            (Some(&tor), None, true),
            (Some(&connect), None, true),
            // A proxy may choose its way by the user.
            (Some(&one), None, false),
            (Some(&two), None, false),
            (Some(&one), None, true),
            (Some(&tor), Some("a"), false),
            (None, Some("a"), false),
            (Some(&tor), Some("b"), false),
            (Some(&tor), Some("a"), true),
            (None, Some("a"), true),
            (None, None, true),
        ]
        .into_iter()
        .enumerate()
        {
            let mut request = client.get(server.url(HOST));
            if let Some(proxy) = proxy {
                request = request.proxy(Proxy::all(proxy).unwrap());
            }
            if let Some(tag) = tag {
                request = request.isolation(tag);
            }
            let response = within(20, request.send()).await.unwrap();
            assert_eq!(info(response.connection()).is_resumed(), is_resumed, "A-55: request {nth}");
            drop(response.text().await.unwrap());
        }
    }
}
