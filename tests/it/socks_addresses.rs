//! Tests of SOCKS proxies for which the client looks names up: which addresses the proxy is asked for, and in which
//! order.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handclasp::{
    AddressFilter, Answer, BoxError, Client, ClientBuilder, Error, ErrorKind, Family, Phase, Proxy, Resolve,
    Written,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Server, within};

/// What the proxy does when it is asked for a connection.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// Opens a connection to the server.
    Open,
    /// Refuses with this code.
    Code(u8),
    /// Closes the connection without a reply.
    Close,
    /// Sends no reply.
    Silence,
}

/// A SOCKS proxy that answers by the address that it is asked for.
struct Socks {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    async fn start(to: SocketAddr, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (reply, noted) = (Arc::new(reply), asked.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (reply, noted) = (reply.clone(), noted.clone());
                tokio::spawn(async move {
                    let is_v5 = client.read_u8().await? == 5;
                    let host = read(&mut client, is_v5).await?;
                    noted.lock().unwrap().push(host.clone());
                    let code = match reply(&host) {
                        Reply::Open if is_v5 => 0,
                        Reply::Open => 90,
                        Reply::Code(code) => code,
                        Reply::Close => return Ok(()),
                        Reply::Silence => return std::future::pending().await,
                    };
                    let whole = [if is_v5 { 5 } else { 0 }, code, 0, 1, 0, 0, 0, 0, 0, 0];
                    client.write_all(&whole[..if is_v5 { 10 } else { 8 }]).await?;
                    if matches!(code, 0 | 90) {
                        copy_bidirectional(&mut client, &mut TcpStream::connect(to).await?).await?;
                    }
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { address, asked }
    }

    fn proxy(&self, scheme: &str) -> Proxy {
        Proxy::all(format!("{scheme}://{}", self.address)).unwrap()
    }

    fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Reads what the client sends after the version, and returns the host that it asks for.
async fn read(client: &mut TcpStream, is_v5: bool) -> std::io::Result<String> {
    if !is_v5 {
        let mut request = [0; 8];
        client.read_exact(&mut request).await?;
        return Ok(std::net::Ipv4Addr::from([request[3], request[4], request[5], request[6]]).to_string());
    }
    let mut methods = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut methods).await?;
    client.write_all(&[5, 0]).await?;
    let mut start = [0; 4];
    client.read_exact(&mut start).await?;
    let host = match start[3] {
        1 => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => std::net::Ipv6Addr::from(client.read_u128().await?).to_string(),
        3 => {
            let mut name = vec![0; usize::from(client.read_u8().await?)];
            client.read_exact(&mut name).await?;
            String::from_utf8(name).unwrap()
        }
        other => panic!("the address type {other}"),
    };
    client.read_u16().await?;
    Ok(host)
}

fn at(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
}

fn to(addresses: &[&str]) -> ClientBuilder {
    Client::builder().resolve_to_addrs("a.test", &at(addresses))
}

async fn fetch(client: &Client) -> String {
    let response = within(20, client.get("http://a.test/x").send()).await;
    response.unwrap_or_else(|error| panic!("{}", error.chain())).text().await.unwrap()
}

async fn fails(client: &Client) -> Error {
    let error = within(20, client.get("http://a.test/x").send()).await.unwrap_err();
    assert_eq!(error.request_written(), Written::Nothing, "{}", error.chain());
    error
}

const MANY: &[&str] =
    &["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "192.0.2.4", "192.0.2.5"];

#[tokio::test]
async fn the_next_address_is_asked_for_when_the_proxy_cannot_reach_one() {
    let server = Server::echo();
    for (scheme, codes, expected) in [
        ("socks5", &[1, 2, 3, 4, 5, 6, 8][..], &["192.0.2.1", "2001:db8::1", "192.0.2.2"][..]),
        ("socks4", &[91], &["192.0.2.1", "192.0.2.2"]),
    ] {
        for &code in codes {
            let reached = move |host: &str| {
                if host == "192.0.2.2" { Reply::Open } else { Reply::Code(code) }
            };
            let socks = Socks::start(server.address(), reached).await;
            let client = to(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]).proxy(socks.proxy(scheme)).build();
            let client = client.unwrap();
            let response = within(20, client.get("http://a.test/x").send()).await.unwrap();
            let connection = response.connection().clone();
            assert_eq!(connection.peer_addr(), Some(socks.address));
            let clients = server.clients();
            assert!(!clients.contains(&connection.local_addr().unwrap()), "the proxy stands between");
            assert_eq!(response.text().await.unwrap(), "/x");
            assert_eq!(socks.take_asked(), expected, "{scheme} {code}: the families take turns");
            assert_eq!(fetch(&client).await, "/x");
            assert!(socks.take_asked().is_empty(), "the connection is used again");
            let total = client.pool().stats().total;
            assert_eq!((total.opened, total.reused, total.failed_dials), (1, 1, 0), "{scheme} {code}");
        }
    }
}

/// The phases of a dial with several connections to the proxy do not overlap.
#[tokio::test]
async fn further_connections_to_the_proxy_belong_to_the_proxy_phase() {
    let server = Server::echo();
    let reached = |host: &str| if host == "192.0.2.3" { Reply::Open } else { Reply::Code(5) };
    let socks = Socks::start(server.address(), reached).await;
    let client = to(MANY).proxy(socks.proxy("socks5")).build().unwrap();
    let collected = within(20, client.get("http://a.test/x").send()).await.unwrap();
    let t = collected.collect().await.unwrap().timings;
    let setup: Duration = [t.dns, t.connect, t.proxy, t.tls].into_iter().flatten().sum();
    assert!(t.connect.is_some() && t.proxy.is_some(), "{t:?}");
    assert_eq!(t.previous + t.queued + setup + t.send + t.wait + t.receive.unwrap(), t.total, "{t:?}");
}

#[tokio::test]
async fn a_name_with_many_addresses_is_bounded_and_the_error_says_so() {
    let server = Server::echo();
    let socks = Socks::start(server.address(), |_| Reply::Code(5)).await;
    let client = to(MANY).proxy(socks.proxy("socks5")).build().unwrap();
    let error = fails(&client).await;
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)));
    let text = format!(
        "the proxy socks5://{} made no connection: the host refused the connection (SOCKS reply 5), for the last of 6 addresses",
        socks.address
    );
    assert_eq!(error.message(), text);
    let expected = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3", "192.0.2.4"];
    assert_eq!(socks.take_asked(), expected, "A-70");
    let alone = to(&["192.0.2.1"]).proxy(socks.proxy("socks5")).build().unwrap();
    assert!(fails(&alone).await.message().ends_with("(SOCKS reply 5)"));
    assert_eq!(server.connections(), 0);
}

/// A fault that does not depend on the address ends the dial.
#[tokio::test]
async fn no_other_address_is_asked_for_when_the_fault_is_the_proxys() {
    let server = Server::echo();
    for (scheme, reply) in [
        ("socks5", Reply::Code(7)),
        ("socks5", Reply::Code(9)),
        ("socks5", Reply::Close),
        ("socks4", Reply::Code(92)),
        ("socks4", Reply::Code(93)),
        ("socks4", Reply::Code(5)),
        ("socks4", Reply::Close),
    ] {
        let socks = Socks::start(server.address(), move |_| reply).await;
        let client = to(MANY).proxy(socks.proxy(scheme)).build().unwrap();
        let error = fails(&client).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Proxy, Some(Phase::Proxy)), "{reply:?}");
        assert_eq!(socks.take_asked(), ["192.0.2.1"], "{scheme} {reply:?}");
    }
}

/// One deadline covers all addresses.
#[tokio::test]
async fn the_deadline_of_the_dial_covers_all_addresses() {
    let server = Server::echo();
    let reply = |host: &str| if host == "192.0.2.1" { Reply::Code(4) } else { Reply::Silence };
    let socks = Socks::start(server.address(), reply).await;
    let timeout = Duration::from_millis(100);
    for (builder, setting) in [
        (to(MANY).connect_timeout(timeout), "of the start of the dial (connect_timeout)"),
        (to(MANY).proxy_timeout(timeout), "(proxy_timeout)"),
    ] {
        let client = builder.proxy(socks.proxy("socks5")).build().unwrap();
        let error = fails(&client).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Proxy)));
        assert!(
            error.message().ends_with(&format!("within 100ms {setting}, for the last of 2 addresses")),
            "{error}"
        );
        assert_eq!(socks.take_asked(), ["192.0.2.1", "2001:db8::1"]);
    }
}

/// The filter decides about every address, and not about the first one alone.
#[tokio::test]
async fn a_31_every_address_that_the_proxy_is_asked_for_is_allowed() {
    let server = Server::echo();
    let socks = Socks::start(server.address(), |_| Reply::Code(4)).await;
    let filter = AddressFilter::public_only().allow(["127.0.0.1"]).unwrap();
    let addresses =
        ["8.8.8.8", "10.0.0.1", "127.0.0.2", "fd00::1", "2606:4700::1", "8.8.4.4", "::ffff:10.0.0.1"];
    let client = to(&addresses).address_filter(filter).proxy(socks.proxy("socks5")).build().unwrap();
    fails(&client).await;
    assert_eq!(socks.take_asked(), ["8.8.8.8", "2606:4700::1", "8.8.4.4"], "A-31");
}

/// A resolver that finds an address of each family.
struct Both;

impl Resolve for Both {
    fn resolve(
        &self,
        _: &str,
        family: Family,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        let found: &[&str] = match family {
            Family::V4 => &["192.0.2.1"],
            Family::V6 => &["2001:db8::1"],
            _ => &["2001:db8::1", "192.0.2.1"],
        };
        let answer = Answer::new(at(found));
        Box::pin(async { Ok(answer) })
    }
}

#[tokio::test]
async fn the_addresses_of_a_lookup_are_asked_for_in_turn() {
    let server = Server::echo();
    for (scheme, unreached, expected) in
        [("socks5", "2001:db8::1", &["2001:db8::1", "192.0.2.1"][..]), ("socks4", "", &["192.0.2.1"])]
    {
        let reply = move |host: &str| if host == unreached { Reply::Code(3) } else { Reply::Open };
        let socks = Socks::start(server.address(), reply).await;
        let client = Client::builder().dns_resolver(Both).proxy(socks.proxy(scheme)).build().unwrap();
        assert_eq!(fetch(&client).await, "/x");
        assert_eq!(socks.take_asked(), expected, "{scheme}");
    }
}
