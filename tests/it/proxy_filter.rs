//! Tests of proxies under an address filter: which addresses and names a proxy is asked for. The proxies listen on
//! 127.0.0.1, which the filter allows. Every connection that a proxy opens leads to one server.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use handclasp::{
    AddressFilter, Answer, BoxError, Client, ClientBuilder, Error, ErrorKind, Family, Phase, Proxy, Resolve,
    Written,
};

use crate::support::gate::{Gate, Kind};
use crate::support::{Server, within};

/// A resolver that knows three names.
struct Names;

impl Resolve for Names {
    fn resolve(
        &self,
        name: &str,
        family: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let addresses: &[&str] = match name {
            "local.test" => &["10.0.0.9", "fd00::9"],
            "both.test" => &["fd00::9", "10.0.0.9", "8.8.8.8"],
            "v6.test" => &["2606:4700::1"],
            other => panic!("{other} is looked up"),
        };
        let addresses = addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0));
        let of_family = move |address: &SocketAddr| match family {
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
            _ => true,
        };
        let answer = Answer::new(addresses.filter(of_family));
        Box::pin(async { Ok(answer) })
    }
}

fn filtered() -> ClientBuilder {
    let filter = AddressFilter::public_only().allow(["127.0.0.1"]).unwrap();
    Client::builder().address_filter(filter).dns_resolver(Names)
}

async fn fails(client: &Client, url: &str) -> Error {
    within(20, client.get(url).send()).await.expect_err(url)
}

async fn fetch(client: &Client, url: &str) -> String {
    let response =
        within(20, client.get(url).send()).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    response.text().await.unwrap()
}

/// Checks that the filter has refused a request before anything was sent.
#[track_caller]
fn assert_refused(error: &Error, phase: Phase) {
    let text = error.chain().to_string();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::AddressRefused, Some(phase)), "A-31 {text}");
    assert_eq!((error.request_written(), error.is_connect()), (Written::Nothing, true), "A-31 {text}");
}

/// A name is refused because the client cannot see its addresses. An address is checked, even if the proxy is trusted.
#[tokio::test]
async fn a_31_a_proxy_that_looks_names_up_gets_only_what_the_filter_allows() {
    for kind in [Kind::Http, Kind::Socks5, Kind::Socks4] {
        let server = Server::echo();
        let gate = Gate::start(kind, server.address(), None).await;
        let proxy = Proxy::all(gate.url("")).unwrap().tunnel(true);
        let client = filtered().proxy(proxy.clone()).build().unwrap();
        let error = fails(&client, "http://local.test/").await;
        assert_refused(&error, Phase::Proxy);
        assert!(
            error.message().contains("\"local.test\"") && error.message().contains("filters_addresses"),
            "{error}"
        );
        let trusting = filtered().proxy(proxy.filters_addresses(true)).build().unwrap();
        for client in [&client, &trusting] {
            for url in
                ["http://10.0.0.1/", "http://127.0.0.2/", "http://[fd00::1]/", "http://[::ffff:10.0.0.1]/"]
            {
                let error = fails(client, url).await;
                assert_refused(&error, Phase::Proxy);
                assert!(within(20, client.warm(url, 1)).await.is_err(), "A-32 {url}");
            }
        }
        assert_eq!((gate.accepted(), server.connections()), (0, 0), "{kind:?}");
        assert_eq!(fetch(&client, "http://8.8.8.8/x").await, "/x");
        assert_eq!(fetch(&trusting, "http://local.test/y").await, "/y");
        assert_eq!(gate.asked().len(), 2, "{kind:?}");
        assert!(gate.asked()[0].contains("8.8.8.8") && gate.asked()[1].contains("local.test"), "{kind:?}");
    }
}

/// All origins share the connection to a proxy that forwards, so that the filter is called for each request.
#[tokio::test]
async fn a_31_each_request_on_a_shared_connection_to_a_proxy_is_checked() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            let head = match request.target.ends_with("/moved") {
                true => "HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/secret\r\ncontent-length: 0\r\n\r\n",
                false => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            };
            peer.send(head)?;
        }
        Ok(())
    });
    let proxy = Proxy::all(format!("http://{}", server.address())).unwrap();
    let client = filtered().proxy(proxy.clone()).build().unwrap();
    for _ in 0..2 {
        assert_eq!(fetch(&client, "http://8.8.8.8/x").await, "ok");
        for url in ["http://10.0.0.1/", "http://local.test/"] {
            assert_refused(&fails(&client, url).await, Phase::Proxy);
        }
        if cfg!(feature = "url") {
            let error = fails(&client, "http://8.8.8.8/moved").await;
            assert_eq!(
                (error.kind(), error.phase()),
                (ErrorKind::AddressRefused, Some(Phase::Proxy)),
                "A-32"
            );
        }
        // The proxy of one request has its own setting of filters_addresses.
        let trusting = client.get("http://local.test/").proxy(proxy.clone().filters_addresses(true));
        assert_eq!(within(20, trusting.send()).await.unwrap().text().await.unwrap(), "ok");
    }
    assert_eq!(server.connections(), 1);
    assert!(server.seen().iter().all(|seen| !seen.request.target.contains("10.0.0.1")), "A-31");
}

/// The client looks names up, and asks the proxy for an address that the filter allows.
#[tokio::test]
async fn a_31_addresses_that_are_looked_up_for_a_proxy_are_checked() {
    for (scheme, kind) in [("socks5", Kind::Socks5), ("socks4", Kind::Socks4)] {
        let server = Server::echo();
        let gate = Gate::start(kind, server.address(), None).await;
        let proxy = Proxy::all(format!("{scheme}://{}", gate.address)).unwrap();
        let overridden: [SocketAddr; 1] = [([192, 168, 0, 1], 0).into()];
        let builder = filtered().resolve_to_addrs("own.test", &overridden);
        let client = builder.proxy(proxy.filters_addresses(true)).build().unwrap();
        for url in ["http://local.test/", "http://own.test/", "http://10.0.0.1/"] {
            assert_refused(&fails(&client, url).await, Phase::Tcp);
        }
        assert_eq!(gate.accepted(), 0, "no connection to the proxy is made for an address that is refused");
        assert_eq!(fetch(&client, "http://both.test/x").await, "/x");
        assert_eq!(fetch(&client, "http://8.8.4.4/y").await, "/y");
        assert_eq!(gate.asked(), ["v4 8.8.8.8 80", "v4 8.8.4.4 80"], "{scheme}");
    }
}

#[tokio::test]
async fn a_31_the_address_of_a_proxy_is_checked_too() {
    for kind in [Kind::Http, Kind::Socks5, Kind::Socks4] {
        let gate = Gate::start(kind, Server::echo().address(), None).await;
        for is_tunnel in [false, true] {
            let proxy = Proxy::all(gate.url("")).unwrap().tunnel(is_tunnel).filters_addresses(true);
            let client =
                Client::builder().address_filter(AddressFilter::public_only()).proxy(proxy).build().unwrap();
            for url in ["http://8.8.8.8/", "https://local.test/"] {
                if url.starts_with("https") && cfg!(not(feature = "rustls")) {
                    continue;
                }
                let error = fails(&client, url).await;
                assert_refused(&error, Phase::Tcp);
                assert!(error.message().contains("no connection to the proxy"), "{error}");
            }
        }
        assert_eq!(gate.accepted(), 0, "{kind:?}");
    }
}

/// SOCKS4 carries IPv4 addresses only, so that only IPv4 addresses are looked up.
#[tokio::test]
async fn only_addresses_that_the_proxy_can_be_asked_for_are_looked_up() {
    let server = Server::echo();
    let gate = Gate::start(Kind::Socks4, server.address(), None).await;
    let proxy = Proxy::all(format!("socks4://{}", gate.address)).unwrap();
    let client = Client::builder().dns_resolver(Names).proxy(proxy).build().unwrap();
    let error = fails(&client, "http://v6.test/").await;
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Dns, Some(Phase::Dns)), "{}", error.chain());
    assert_eq!(fetch(&client, "http://local.test/x").await, "/x");
    assert_eq!((gate.accepted(), gate.asked()), (1, vec!["v4 10.0.0.9 80".to_owned()]));
}
