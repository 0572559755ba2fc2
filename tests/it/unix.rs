//! Tests of requests over unix sockets: what the server gets, which connections are shared, what a redirect can do, and
//! what the errors say.
#![allow(missing_docs, clippy::unwrap_used)]

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use handclasp::{
    Answer, BoxError, Client, ClientBuilder, Error, ErrorKind, Family, Phase, Resolve, Response, Written,
};
use tokio::net::{UnixListener, UnixStream};

use crate::support::sockets::{Folder, SocketServer, content, fill};
use crate::support::{Server, Uncoded, until, within};

/// A resolver that counts the lookups, and finds nothing.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Counting {
    fn lookups(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Resolve for Counting {
    fn resolve(
        &self,
        _: &str,
        _: Family,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Answer::new(Vec::new())) })
    }
}

fn builder() -> ClientBuilder {
    Client::builder().uncoded().no_user_agent()
}

/// Returns a builder of a client whose requests go over TCP unless they say otherwise.
fn direct() -> ClientBuilder {
    #[cfg(feature = "proxy")]
    return builder().no_proxy();
    #[cfg(not(feature = "proxy"))]
    builder()
}

fn client(path: &Path) -> Client {
    builder().unix_socket(path).build().unwrap()
}

async fn text(response: Result<Response, Error>) -> String {
    let response = response.unwrap_or_else(|error| panic!("{}", error.chain()));
    response.error_for_status().unwrap().text().await.unwrap()
}

async fn fetch(client: &Client, url: &str) -> String {
    text(within(20, client.get(url).send()).await).await
}

async fn failure(client: &Client, url: &str) -> Error {
    within(20, client.get(url).send()).await.unwrap_err()
}

#[tokio::test]
async fn requests_as_to_docker_share_one_connection_and_look_no_name_up() {
    let (folder, resolver) = (Folder::new(), Counting::default());
    let path = folder.path("docker.sock");
    let server = SocketServer::echo(&path);
    let client = builder().unix_socket(&path).dns_resolver(resolver.clone()).build().unwrap();
    let target = "/v1.45/containers/json?all=1";
    let response = within(20, client.get(format!("http://Docker{target}")).send()).await.unwrap();
    let connection = response.connection().clone();
    assert_eq!((connection.peer_addr(), connection.local_addr()), (None, None));
    let timings = response.timings();
    assert!(timings.dns.is_none() && timings.connect.is_some(), "{timings:?}");
    assert_eq!(response.text().await.unwrap(), target);
    assert_eq!(server.heads(), [format!("GET {target} HTTP/1.1\r\nhost: docker\r\n\r\n")]);
    for nth in 1..1_000 {
        let target = format!("/{nth}");
        let request = client.post(format!("http://docker{target}")).body("x".repeat(nth));
        assert_eq!(text(within(20, request.send()).await).await, target);
    }
    assert_eq!((server.requests_per_connection(), resolver.lookups()), (vec![1_000], 0));
    let stats = client.pool().stats();
    assert_eq!((stats.total.opened, stats.total.reused), (1, 999));
    assert!(stats.to_string().contains(&format!("http://docker via unix:{}", path.display())), "{stats}");
}

/// The path is a part of the route, as the origin and the tag are.
#[tokio::test]
async fn rule_01_another_path_shares_no_connection_and_the_same_path_does() {
    let folder = Folder::new();
    let [a, b] = ["a", "b"].map(|name| folder.path(name));
    let (on_a, on_b, tcp) = (SocketServer::echo(&a), SocketServer::echo(&b), Server::echo());
    let client = direct().resolve("h.test", tcp.address()).build().unwrap();
    let url = |host: &str| format!("http://{host}:{}/", tcp.address().port());
    for round in 1..=2 {
        for (path, host, tag) in [
            (None, "h.test", None),
            (Some(&a), "h.test", None),
            (Some(&b), "h.test", None),
            (Some(&a), "g.test", None),
            (Some(&a), "h.test", Some("tag")),
        ] {
            let mut request = client.get(url(host));
            if let Some(path) = path {
                request = request.unix_socket(path);
            }
            if let Some(tag) = tag {
                request = request.isolation(tag);
            }
            let response = within(20, request.send()).await.unwrap();
            assert_eq!(response.connection().ordinal(), round, "rule 01: {path:?} {host} {tag:?}");
            response.bytes().await.unwrap();
        }
    }
    assert_eq!((on_a.connections(), on_b.connections(), tcp.connections()), (3, 1, 1), "rule 01");
}

/// The POST cannot be sent twice, so that the look has to find the close before the request is written.
#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_found_before_the_next_request() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = SocketServer::echo(&path);
    let client = client(&path);
    for nth in 1..=20 {
        let request = client.post("http://localhost/a").body("once");
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(response.connection().ordinal(), 1);
        response.bytes().await.unwrap();
        server.close_all();
        until("the server has closed", || server.closed() == nth).await;
        assert_eq!(server.heads().len(), nth);
    }
    assert_eq!(server.requests_per_connection(), [1; 20]);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_are_not_taken_for_an_answer() {
    let folder = Folder::new();
    let path = folder.path("s");
    // The first answer is followed by bytes that look like a second one.
    let server = SocketServer::start(&path, |head| {
        let stray = if head.contains("/first") { content("stray") } else { String::new() };
        Some(content("own") + &stray)
    });
    let client = client(&path);
    assert_eq!(fetch(&client, "http://h/first").await, "own");
    assert_eq!(fetch(&client, "http://h/second").await, "own");
    assert_eq!(server.requests_per_connection(), [1, 1]);
}

#[tokio::test]
async fn a_server_that_was_restarted_on_the_same_path_is_found() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = SocketServer::echo(&path);
    let client = client(&path);
    assert_eq!(fetch(&client, "http://h/before").await, "/before");
    drop(server);
    until("the server is gone", || std::os::unix::net::UnixStream::connect(&path).is_err()).await;
    let error = failure(&client, "http://h/between").await;
    assert_eq!(
        (error.kind(), error.request_written()),
        (ErrorKind::Connect, Written::Nothing),
        "{}",
        error.chain()
    );
    let server = SocketServer::echo(&path);
    assert_eq!(fetch(&client, "http://h/after").await, "/after");
    assert_eq!(server.requests_per_connection(), [1]);
}

/// A server cannot lead the client from its socket to an address, nor to another socket.
#[cfg(feature = "url")]
#[tokio::test]
async fn a_redirect_stays_on_the_socket() {
    let folder = Folder::new();
    let [path, other] = ["s", "other"].map(|name| folder.path(name));
    let location = |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    let tcp = Server::echo();
    let (to_tcp, to_other) = (location(&tcp.url("/hop")), location(&format!("unix:{}", other.display())));
    let server = SocketServer::start(&path, move |head| match head.split(' ').nth(1).unwrap() {
        "/tcp" => Some(to_tcp.clone()),
        "/other" => Some(to_other.clone()),
        _ => Some(content("on the socket")),
    });
    let on_other = SocketServer::echo(&other);
    let of_client = client(&path);
    let of_request = direct().build().unwrap();
    for (client, own) in [(&of_client, None), (&of_request, Some(&path))] {
        let request = |url: &str| match own {
            Some(path) => client.get(url).unix_socket(path),
            None => client.get(url),
        };
        assert_eq!(text(within(20, request("http://h/tcp").send()).await).await, "on the socket", "A-32");
        let error = within(20, request("http://h/other").send()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Redirect, "A-32: {}", error.chain());
    }
    let host = format!("host: {}\r\n", tcp.address());
    assert!(server.heads()[1].starts_with("GET /hop HTTP/1.1\r\n") && server.heads()[1].contains(&host));
    assert_eq!((tcp.connections(), on_other.connections()), (0, 0), "A-32");
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn https_verifies_the_host_of_the_url_over_a_socket() {
    use crate::support::tls::Authority;

    let (folder, authority) = (Folder::new(), Authority::new("sockets"));
    let path = folder.path("s");
    let server = SocketServer::echo_tls(&path, authority.issue(&["h.test"]).server());
    let root = handclasp::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = builder().unix_socket(&path).add_root_certificate(root).build().unwrap();
    for nth in 0..3 {
        let response = within(20, client.get(format!("https://h.test/{nth}")).send()).await.unwrap();
        assert!(response.connection().tls().is_some());
        assert_eq!(response.text().await.unwrap(), format!("/{nth}"));
    }
    let error = failure(&client, "https://other.test/").await;
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Some(Phase::Tls)), "{}", error.chain());
    assert_eq!(server.requests_per_connection()[0], 3);
    assert_eq!(server.heads()[0], "GET /0 HTTP/1.1\r\nhost: h.test\r\n\r\n");
    // The server closes its side, which the look has to find behind the records of TLS.
    server.close_all();
    until("the server has closed", || server.closed() == server.connections()).await;
    assert_eq!(fetch(&client, "https://h.test/again").await, "/again");
}

/// A request is dropped after each number of polls. What is left of it disturbs no later request.
#[tokio::test]
async fn a_request_may_be_dropped_at_any_point() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = SocketServer::echo(&path);
    let mut most = 0;
    for polls in 0..40 {
        let client = client(&path);
        let mut is_done = false;
        {
            let mut request = pin!(client.get("http://h/dropped").send());
            for _ in 0..polls {
                let polled = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_ready())).await;
                if polled {
                    is_done = true;
                    break;
                }
                most = most.max(polls);
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(fetch(&client, "http://h/next").await, "/next", "after {polls} polls");
        until("no connection is active", || client.pool().stats().total.active == 0).await;
        let stats = client.pool().stats();
        assert!(stats.total.idle <= 2 && stats.total.waiting == 0, "{stats}");
        if is_done {
            assert!(most > 1, "the request was dropped while it waited");
            assert!(server.connections() > 2);
            return;
        }
    }
    panic!("the request did not end within 40 polls");
}

/// Linux refuses a connection to a full queue at once, instead of letting the client wait.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dial_waits_for_room_in_a_full_queue() {
    let folder = Folder::new();
    let path = folder.path("s");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(1).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(socket.into()).unwrap();
    let waiting = fill(&path);
    let hurried = builder().unix_socket(&path).connect_timeout(Duration::from_millis(40)).build().unwrap();
    let error = failure(&hurried, "http://h/").await;
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Some(Phase::Tcp)));
    let text = format!(
        "the server of the unix socket {} accepted no connection within 40ms (connect_timeout): its queue is full",
        path.display()
    );
    assert!(error.to_string().contains(&text), "{error}");

    let client = client(&path);
    let mut dial = pin!(client.warm("http://h/", 1));
    let is_early = tokio::time::timeout(Duration::from_millis(20), dial.as_mut()).await.is_ok();
    assert!(!is_early, "the queue is full");
    for _ in 0..=waiting.len() {
        drop(listener.accept().await.unwrap());
        if tokio::time::timeout(Duration::from_secs(20), dial.as_mut()).await.unwrap().is_ok() {
            return;
        }
    }
    panic!("the dial failed");
}

#[tokio::test]
async fn an_error_names_the_path_and_what_to_do() {
    let folder = Folder::new();
    let [missing, file, refusing] = ["missing", "file", "refusing"].map(|name| folder.path(name));
    std::fs::write(&file, "text").unwrap();
    drop(std::os::unix::net::UnixListener::bind(&refusing).unwrap());
    let datagrams = folder.path("datagrams");
    let _datagrams = std::os::unix::net::UnixDatagram::bind(&datagrams).unwrap();
    for (path, message) in [
        (&missing, "there is no unix socket {}: start the server, or correct the path"),
        (&file.join("below"), "there is no unix socket {}: start the server, or correct the path"),
        (&file, "the file {} is not a unix socket: give the path on which the server listens"),
        (&refusing, "no server listens on the unix socket {}: start the server"),
        (&datagrams, "the client could not connect to the unix socket {}"),
    ] {
        let error = failure(&client(path), "http://h/").await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Some(Phase::Tcp)));
        assert_eq!(error.request_written(), Written::Nothing);
        let expected = message.replace("{}", path.to_str().unwrap());
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "{}", error.chain());
    }
    let long = builder().unix_socket("x".repeat(300)).build().unwrap_err();
    assert_eq!(long.kind(), ErrorKind::Request);
    for path in ["", "a\0b"] {
        let request = direct().build().unwrap().get("http://h/").unix_socket(path);
        assert_eq!(within(20, request.send()).await.unwrap_err().kind(), ErrorKind::Request, "{path:?}");
    }
}

#[tokio::test]
async fn a_socket_that_this_process_may_not_use_is_an_error_of_its_own() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let path = folder.path("s");
    let _server = SocketServer::echo(&path);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        eprintln!("skipped: this user may use every socket (root)");
        return;
    }
    let error = failure(&client(&path), "http://h/").await;
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Some(Phase::Tcp)));
    let expected =
        format!("this process may not use the unix socket {}: run the process as a user", path.display());
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_setting_that_contradicts_the_socket_is_refused() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = SocketServer::echo(&path);
    let filter = handclasp::AddressFilter::public_only();
    let connector = |_| async { Err::<UnixStream, BoxError>("no connector is asked".into()) };
    let mut refused = vec![
        (builder().unix_socket(&path).address_filter(filter.clone()), "an address filter"),
        (builder().unix_socket(&path).connector(connector), "a connector"),
    ];
    #[cfg(feature = "proxy")]
    let proxy = || handclasp::Proxy::all("http://127.0.0.1:9").unwrap();
    #[cfg(feature = "proxy")]
    refused.push((builder().unix_socket(&path).proxy(proxy()), "a proxy"));
    for (builder, other) in refused.drain(..) {
        let error = builder.build().unwrap_err();
        let text = format!("the client has both {other} and the unix socket {}", path.display());
        assert!(error.kind() == ErrorKind::Request && error.to_string().contains(&text), "{error}");
    }
    let with_connector = builder().connector(connector).build().unwrap();
    let error = within(20, with_connector.get("http://h/").unix_socket(&path).send()).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Request && error.to_string().contains("uses no unix sockets"),
        "{error}"
    );

    // The caller of one request has named the path. The filter of the client has no address to decide about.
    let filtered = direct().address_filter(filter).build().unwrap();
    let request = filtered.get("http://127.0.0.1/x").unix_socket(&path);
    assert_eq!(text(within(20, request.send()).await).await, "/x");
    assert_eq!(failure(&filtered, "http://127.0.0.1/x").await.kind(), ErrorKind::AddressRefused, "A-32");

    #[cfg(feature = "proxy")]
    {
        let own = client(&path);
        let of_client = within(20, own.get("http://h/").proxy(proxy()).send()).await;
        let both = filtered.get("http://h/").unix_socket(&path).proxy(proxy());
        for refused in [of_client, within(20, both.send()).await] {
            let error = refused.unwrap_err();
            let text = format!("the request has both a proxy and the unix socket {}", path.display());
            assert!(error.kind() == ErrorKind::Request && error.to_string().contains(&text), "{error}");
        }
        // Without proxies, a request of the client stays on the socket.
        assert_eq!(text(within(20, own.get("http://h/y").no_proxy().send()).await).await, "/y");
        // The socket of a request replaces the proxies of its client.
        let proxied = builder().proxy(proxy()).build().unwrap();
        let request = proxied.get("http://h/z").unix_socket(&path);
        assert_eq!(text(within(20, request.send()).await).await, "/z");
    }
    assert!(server.connections() >= 1);
}

/// The settings of a request that was built and is executed later, and the ways to dial ahead.
#[tokio::test]
async fn built_requests_and_dials_ahead_use_the_socket() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = SocketServer::echo(&path);
    let plain = direct().build().unwrap();
    let request = plain.get("http://h/built").unix_socket(&path).build().unwrap();
    assert_eq!(text(within(20, plain.execute(request)).await).await, "/built");

    let client = client(&path);
    within(20, client.warm("http://h/", 3)).await.unwrap();
    assert_eq!(server.connections(), 1 + 3);
    let other = plain.get("http://h/other").unix_socket(&path);
    assert_eq!(text(within(20, other.send()).await).await, "/other");
    assert_eq!(fetch(&client, "http://h/warm").await, "/warm");
    assert_eq!(server.connections(), 1 + 3);
    client.min_idle("http://h/", 5).unwrap();
    until("five connections are idle", || client.pool().stats().total.idle == 5).await;
}

#[cfg(feature = "url")]
#[tokio::test]
async fn a_base_url_works_over_a_socket() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = SocketServer::echo(&path);
    let client = builder().unix_socket(&path).base_url("http://docker/v1.45/").build().unwrap();
    assert_eq!(fetch(&client, "version").await, "/v1.45/version");
    assert_eq!(server.connections(), 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_in_the_abstract_namespace_works() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("handclasp-{}-abstract", std::process::id());
    let path = format!("\0{name}");
    let error = failure(&client(Path::new(&path)), "http://h/").await;
    let expected = format!("no server listens on the unix socket @{name}: start the server");
    assert!(error.to_string().contains(&expected), "{error}");

    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(listener).unwrap();
    let accept = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut peer, _) = listener.accept().await.unwrap();
        let read = peer.read(&mut [0; 1_024]).await.unwrap();
        peer.write_all(content("abstract").as_bytes()).await.unwrap();
        (peer, read)
    };
    let client = client(Path::new(&path));
    let (answer, (_peer, read)) =
        within(20, async { tokio::join!(fetch(&client, "http://h/"), accept) }).await;
    assert_eq!((answer, read > 0), ("abstract".into(), true));
}

/// A connector of the caller may return a unix socket.
#[tokio::test]
async fn a_unix_socket_is_a_transport() {
    let folder = Folder::new();
    let path = folder.path("s");
    let server = SocketServer::echo(&path);
    let connector = move |_| {
        let path = path.clone();
        async move { Ok(UnixStream::connect(path).await?) }
    };
    let client = builder().connector(connector).build().unwrap();
    for nth in 0..3 {
        assert_eq!(fetch(&client, &format!("http://h/{nth}")).await, format!("/{nth}"));
    }
    server.close_all();
    assert_eq!(fetch(&client, "http://h/again").await, "/again");
    assert_eq!(server.requests_per_connection(), [3, 1]);
}
