//! Tests of the address filter: which addresses a client tries, however the addresses became known. The server listens on
//! 127.0.0.1, and the filters refuse other addresses of loopback.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
#[cfg(feature = "url")]
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handclasp::{AddressFilter, Answer, BoxError, Client, Error, ErrorKind, Family, Phase, Resolve, Written};

use crate::support::{Server, within};

/// A resolver that returns these answers in turn, and the last answer for ever.
struct Answers(Mutex<VecDeque<Vec<SocketAddr>>>);

impl Answers {
    fn new(answers: &[&[&str]]) -> Self {
        let parse =
            |answer: &&[&str]| answer.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
        Self(Mutex::new(answers.iter().map(parse).collect()))
    }
}

impl Resolve for Answers {
    fn resolve(&self, _: &str, _: Family) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async { Ok(Answer::new(answer.unwrap())) })
    }
}

async fn fails(client: &Client, url: &str) -> Error {
    let error = within(20, client.get(url).send()).await.expect_err(url);
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::AddressRefused, Some(Phase::Tcp)),
        "{url}: {}",
        error.chain()
    );
    error
}

/// Without a filter, each of these URLs reaches a server on this machine.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_32_no_spelling_of_a_local_address_passes() {
    let server = Server::echo();
    let port = server.address().port();
    let client = Client::builder().address_filter(AddressFilter::public_only()).build().unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "\u{ff11}27.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "user:pass@127.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ] {
        let error = fails(&client, &format!("http://{host}:{port}/")).await;
        let chain = error.chain().to_string();
        assert!(chain.contains("refused by the address filter"), "A-32: {host}: {chain}");
    }
    // The `http` crate's URIs are not normalised, so that such a host is a name, and what the name resolves to is checked.
    for host in ["0177.0.0.1", "127.1", "0x7f000001"] {
        let uri: handclasp::Uri = format!("http://{host}:{port}/").parse().unwrap();
        let client = Client::builder()
            .address_filter(AddressFilter::public_only())
            .dns_resolver(handclasp::SystemResolver::new());
        let error = within(20, client.build().unwrap().get(uri).send()).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::AddressRefused | ErrorKind::Dns),
            "A-32: {host}: {}",
            error.chain()
        );
    }
    assert_eq!(server.connections(), 0, "A-32");
}

#[tokio::test]
async fn a_31_overrides_and_answers_of_a_resolver_are_checked() {
    let server = Server::echo();
    let port = server.address().port();
    let filtered = || Client::builder().address_filter(AddressFilter::public_only());
    let overridden = filtered().resolve("a.test", server.address()).build().unwrap();
    let resolved = filtered().dns_resolver(Answers::new(&[&["127.0.0.1", "::1"]])).build().unwrap();
    let error = fails(&overridden, &format!("http://a.test:{port}/")).await;
    assert_eq!(error.request_written(), Written::Nothing, "A-31 R-9110-17.1-1");
    let text = format!("127.0.0.1:{port}: refused by the address filter");
    assert_eq!(
        error.chain().to_string(),
        format!("GET http://a.test:{port}: the address filter refuses every address of \"a.test\": {text}")
    );
    let error = fails(&resolved, &format!("http://a.test:{port}/")).await;
    assert!(
        error.chain().to_string().contains(&format!("{text}, [::1]:{port}: refused")),
        "{}",
        error.chain()
    );
    assert!(within(20, resolved.warm(format!("http://a.test:{port}/"), 1)).await.is_err(), "A-31");
    assert_eq!(server.connections(), 0, "A-31");
}

/// The name is public at the first dial, and local at the second.
#[tokio::test]
async fn a_31_a_name_that_resolves_to_another_address_later_is_checked_again() {
    let server = Server::start(|peer| {
        peer.request()?;
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    });
    let filter = AddressFilter::deny(["127.0.0.2", "::1"]).unwrap();
    let answers = Answers::new(&[&["127.0.0.1"], &["127.0.0.2", "::ffff:127.0.0.2"]]);
    let client = Client::builder().address_filter(filter).dns_resolver(answers);
    // Each dial looks the name up.
    let client = client.dns_cache_ttl(Duration::ZERO, Duration::ZERO).build().unwrap();
    let url = format!("http://a.test:{}/", server.address().port());
    let response = within(20, client.get(&url).send()).await.unwrap();
    assert_eq!(response.connection().peer_addr(), Some(server.address()), "A-31");
    assert_eq!(within(20, response.text()).await.unwrap(), "ok");
    fails(&client, &url).await;
    assert_eq!(server.connections(), 1, "A-31");
}

#[tokio::test]
async fn an_answer_that_is_partly_refused_connects_to_the_rest() {
    let server = Server::echo();
    let filter = AddressFilter::deny(["127.0.0.2", "::/0"]).unwrap();
    let answers = Answers::new(&[&["127.0.0.2", "::1", "127.0.0.1"], &["::1", "127.0.0.3"]]);
    let client = Client::builder().address_filter(filter).dns_resolver(answers);
    // Each dial looks the name up.
    let client = client.dns_cache_ttl(Duration::ZERO, Duration::ZERO).build().unwrap();
    let url = format!("http://a.test:{}/", server.address().port());
    let response = within(20, client.get(&url).send()).await.unwrap();
    assert_eq!(response.connection().peer_addr(), Some(server.address()));
    // Nothing listens at 127.0.0.3. The error names the refused address and the failed one.
    drop(response);
    let error = within(20, client.get(&url).isolation("other").send()).await.unwrap_err();
    let chain = error.chain().to_string();
    assert_eq!(error.kind(), ErrorKind::Connect, "{chain}");
    assert!(
        chain.contains("[::1]")
            && chain.contains("refused by the address filter")
            && chain.contains("127.0.0.3"),
        "{chain}"
    );
}

#[cfg(feature = "url")]
#[tokio::test]
async fn a_32_each_hop_of_a_redirect_is_checked() {
    let server = super::redirect::serve(|path| match path {
        "/a" => "302 /b".into(),
        "/b" => "302 http://2130706434/c".into(),
        other => panic!("{other} was fetched"),
    });
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = seen.clone();
    let filter = AddressFilter::from_fn(move |candidate| {
        told.lock().unwrap().push(format!("{} {}", candidate.destination(), candidate.address()));
        candidate.address().ip().to_string() == "127.0.0.1"
    });
    let client = Client::builder().address_filter(filter).build().unwrap();
    let error = fails(&client, &server.url("/a")).await;
    assert_eq!(error.redirects().len(), 2, "A-32");
    let own = server.address();
    assert_eq!(
        *seen.lock().unwrap(),
        [format!("{own} {own}"), "127.0.0.2:80 127.0.0.2:80".into()],
        "A-32: one dial each"
    );
}

#[test]
fn a_filter_and_a_connector_exclude_each_other() {
    let connector = |_| async { Err::<tokio::net::TcpStream, BoxError>("unused".into()) };
    let builder = || Client::builder().connector(connector).address_filter(AddressFilter::public_only());
    assert!(builder().address_filter(None).build().is_ok());
    let error = builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert_eq!(
        error.message(),
        "an address filter cannot see the addresses of a custom connector: check the addresses in the connector"
    );
}

/// A caller's function that panics fails the dial, and lets no address through.
#[tokio::test]
async fn a_filter_that_panics_refuses() {
    let server = Server::echo();
    let client =
        Client::builder().address_filter(AddressFilter::from_fn(|_| panic!("the test asked for a panic")));
    let error = within(20, client.build().unwrap().get(server.url("/")).send()).await.unwrap_err();
    assert!(error.is_connect(), "{}", error.chain());
    assert_eq!(server.connections(), 0);
}

/// A filter that panics fails one dial. No room is lost, and the requests that wait get the connections of later dials.
#[tokio::test]
async fn a_function_that_panics_fails_its_dial_only() {
    let server = Server::echo();
    let calls = AtomicUsize::new(0);
    let filter = AddressFilter::from_fn(move |_| {
        assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "the first call panics");
        true
    });
    let client = Client::builder().address_filter(filter).max_connections_per_host(1).build().unwrap();
    let begin = |_| {
        let request = client.get(server.url("/")).send();
        tokio::spawn(request)
    };
    let requests: Vec<_> = (0..3).map(begin).collect();
    let mut failed = 0;
    for request in requests {
        failed += usize::from(within(20, request).await.unwrap().is_err());
    }
    assert_eq!(failed, 1);
    let total = client.pool().stats().total;
    assert_eq!((total.dialing, total.waiting, server.connections()), (0, 0, 1), "{total}");
}
