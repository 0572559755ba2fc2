//! Requests of a client with its default resolver: the inputs with which this client was seen to reach another host, or
//! none.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use handclasp::{Client, ErrorKind};

use crate::DNS;
use crate::namespace::Namespace;
use crate::support::dns::{DnsServer, Fault, Kind};
use crate::support::recorder::Recorder;
use crate::support::within;

const PORT: u16 = 8081;

/// A server at [`PORT`] of one address. The server answers with its address and the `Host` field of the request.
struct Host {
    connections: Arc<AtomicUsize>,
}

impl Host {
    fn start(address: &'static str) -> Self {
        let listener = TcpListener::bind(at(address)).unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(&stream, address));
            }
        });
        Self { connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), PORT)
}

fn serve(mut stream: &TcpStream, address: &str) -> Option<()> {
    let mut host = None;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        if let Some((_, value)) = line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            host = Some(value.to_owned());
        }
        if line.is_empty() {
            let text = format!("{address} {}", host.take()?);
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).ok()?;
        }
    }
    Some(())
}

/// Sends a request on a new connection, and returns what the server said.
async fn get(client: &Client, url: &str) -> Result<String, ErrorKind> {
    client.pool().close_idle();
    let sent = within(60, client.get(url).send()).await.map_err(|error| error.kind())?;
    Ok(sent.text().await.unwrap())
}

/// The final dot was dropped, so that the search list was asked, and another host was reached.
#[tokio::test]
async fn a_final_dot_keeps_the_search_list_away() {
    let Some(files) = Namespace::enter("dialled::a_final_dot_keeps_the_search_list_away") else { return };
    let dns = DnsServer::start_at(DNS);
    let (_right, evil) = (Host::start("127.0.0.11"), Host::start("127.0.0.66"));
    dns.address("api.test.", "127.0.0.11", 60).address("api.test.evil.corp.", "127.0.0.66", 60);
    files.set_hosts("");
    files.set_resolv_conf("nameserver 127.0.0.1\nsearch evil.corp\noptions ndots:5");
    let client = Client::new();
    let dotted = get(&client, "http://api.test.:8081/").await.unwrap();
    assert_eq!(dotted, "127.0.0.11 api.test.:8081");
    assert_eq!(evil.connections(), 0);
    assert!(dns.asked().iter().all(|asked| asked.name == "api.test."), "{:?}", dns.asked());
    // Without the dot, the search list counts, and the name is another key of the pool.
    assert_eq!(get(&client, "http://api.test:8081/").await.unwrap(), "127.0.0.66 api.test:8081");
    assert_eq!(get(&client, "http://api.test.:8081/").await.unwrap(), dotted);
}

/// The search list was walked for each family apart, so that the IPv6 address of another host was reached.
#[tokio::test]
async fn the_families_of_two_hosts_are_not_mixed() {
    let Some(files) = Namespace::enter("dialled::the_families_of_two_hosts_are_not_mixed") else { return };
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let dns = DnsServer::start_at(DNS);
    let (one, two) = (Host::start("127.0.0.11"), Host::start("::1"));
    dns.address("svc.one.corp.", "127.0.0.11", 60).address("svc.two.corp.", "::1", 60);
    files.set_hosts("");
    for (search, expected) in [("one.corp two.corp", "127.0.0.11"), ("two.corp one.corp", "::1")] {
        files.set_resolv_conf(&format!("nameserver 127.0.0.1\nsearch {search}"));
        let said = get(&Client::new(), "http://svc:8081/").await.unwrap();
        assert_eq!(said, format!("{expected} svc:8081"), "search {search}");
    }
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

/// One family that never answers failed the whole lookup.
#[tokio::test]
async fn a_silent_family_does_not_keep_a_request_waiting() {
    let Some(files) = Namespace::enter("dialled::a_silent_family_does_not_keep_a_request_waiting") else {
        return;
    };
    let dns = DnsServer::start_at(DNS);
    let _host = Host::start("127.0.0.11");
    dns.address("half.test.", "127.0.0.11", 60).fault("half.test.", Kind::Aaaa, Fault::Silent);
    files.set_hosts("");
    // No limit ends the query for IPv6 before the test gives up.
    files.set_resolv_conf("nameserver 127.0.0.1\noptions timeout:30 attempts:5");
    let client = Client::builder().dns_timeout(None).connect_timeout(None).build().unwrap();
    assert_eq!(get(&client, "http://half.test:8081/").await.unwrap(), "127.0.0.11 half.test:8081");
    assert!(dns.count("half.test.", Kind::Aaaa) > 0);
    // If both families are silent, the timeout of the lookup counts.
    dns.fault("quiet.test.", Kind::A, Fault::Silent).fault("quiet.test.", Kind::Aaaa, Fault::Silent);
    let client = Client::builder().dns_timeout(Duration::from_millis(300)).build().unwrap();
    assert_eq!(get(&client, "http://quiet.test:8081/").await.unwrap_err(), ErrorKind::Timeout);
}

/// Six addresses that answer no SYN kept the seventh from being tried, at each dial again.
#[tokio::test]
async fn six_silent_addresses_do_not_hide_the_seventh() {
    let Some(files) = Namespace::enter("dialled::six_silent_addresses_do_not_hide_the_seventh") else {
        return;
    };
    let (recorder, _guard) = Recorder::start();
    let dns = DnsServer::start_at(DNS);
    let silent: Vec<_> = (11..=16).map(|n| format!("127.0.0.{n}")).collect();
    let holes: Vec<_> = silent.iter().map(|address| black_hole(at(address))).collect();
    let host = Host::start("127.0.0.17");
    for address in &silent {
        dns.address("seven.test.", address, 60);
    }
    dns.address("seven.test.", "127.0.0.17", 60);
    files.set_hosts("");
    files.set_resolv_conf("nameserver 127.0.0.1");
    let client = Client::new();
    let url = "http://seven.test:8081/";
    assert_eq!(get(&client, url).await.unwrap(), "127.0.0.17 seven.test:8081");
    let tried = |recorder: &Recorder| {
        let spans = recorder.take().into_iter().filter(|span| span.name == "tcp");
        spans.map(|span| span.field("network.peer.address").unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tried(&recorder).last().unwrap(), "127.0.0.17");
    // The next dial begins with the address that answers.
    assert_eq!(get(&client, url).await.unwrap(), "127.0.0.17 seven.test:8081");
    assert_eq!(tried(&recorder), ["127.0.0.17"]);
    assert_eq!(host.connections(), 2);
    drop(holes);
}

/// Returns the sockets of an address that answers no SYN, because its accept queue is full.
fn black_hole(at: SocketAddr) -> (socket2::Socket, TcpStream) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&at.into()).unwrap();
    listener.listen(0).unwrap();
    let queued = TcpStream::connect(at).unwrap();
    (listener, queued)
}

/// The files were read once for each client.
#[tokio::test]
async fn a_client_follows_its_files() {
    let Some(files) = Namespace::enter("dialled::a_client_follows_its_files") else { return };
    let dns = DnsServer::start_at(DNS);
    let other = DnsServer::start_at(SocketAddr::new(IpAddr::from([127, 0, 0, 2]), 53));
    let _hosts = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"].map(Host::start);
    dns.address("svc.one.corp.", "127.0.0.11", 60).address("svc.two.corp.", "127.0.0.12", 60);
    other.address("svc.two.corp.", "127.0.0.13", 60);
    files.set_hosts("");
    files.set_resolv_conf("nameserver 127.0.0.1\nsearch one.corp");
    // The client's own cache is off, so that each dial looks the name up.
    let builder = Client::builder().dns_cache_ttl(Duration::ZERO, Duration::ZERO);
    let client = builder.build().unwrap();
    let said = async |expected: &str| {
        let said = get(&client, "http://svc:8081/").await.unwrap();
        assert_eq!(said, format!("{expected} svc:8081"));
    };
    said("127.0.0.11").await;
    files.set_resolv_conf("nameserver 127.0.0.1\nsearch two.corp");
    // The files are checked at most once a second.
    pass_a_second().await;
    said("127.0.0.12").await;
    files.set_resolv_conf("nameserver 127.0.0.2\nsearch two.corp");
    client.pool().on_network_change();
    said("127.0.0.13").await;
    files.set_hosts("127.0.0.14 svc\n");
    client.pool().on_network_change();
    said("127.0.0.14").await;
}

/// Lets a second pass for the clock of this runtime.
async fn pass_a_second() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
}
