//! Tests of features that meet: reservations, unix sockets, proxies, records, and the functions that get the records.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use handclasp::{
    Client, ClientBuilder, DropReason, ErrorKind, ExchangeOutcome, ExchangeRecord, Method, Phase, Timings,
};

use crate::support::{Server, Uncoded, within};

/// The records that a client has given, in their order.
#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<ExchangeRecord>>>);

impl Records {
    fn of(builder: ClientBuilder) -> (Self, ClientBuilder) {
        let records = Self::default();
        let kept = records.clone();
        let builder = builder.uncoded().no_user_agent();
        (records, builder.on_exchange(move |record| kept.0.lock().unwrap().push(record.clone())))
    }

    fn take(&self) -> Vec<ExchangeRecord> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Checks that the phases of a record sum to its total.
fn assert_sums(record: &ExchangeRecord) {
    let t: &Timings = record.timings();
    let setup: Duration = [t.dns, t.connect, t.proxy, t.tls].into_iter().flatten().sum();
    let sum = t.previous + t.queued + setup + t.send + t.wait + t.receive.unwrap_or_default();
    assert_eq!(sum, t.total, "{record:?}");
}

/// The function that gets the record drops the last handle of its client. The response goes on, and its connection is closed
/// when the response has ended.
#[tokio::test]
async fn the_last_client_may_be_dropped_by_the_function_that_gets_a_record() {
    for (path, outcome) in
        [("/small", ExchangeOutcome::Complete), ("/cut", ExchangeOutcome::Failed(ErrorKind::ConnectionLost))]
    {
        let server = Server::start(|peer| {
            while let Some(request) = peer.request()? {
                match request.target.as_str() {
                    "/cut" => {
                        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")?;
                        return peer.close();
                    }
                    _ => peer.respond(&"x".repeat(100_000))?,
                }
            }
            Ok(())
        });
        let (held, ended) = (Arc::new(Mutex::new(None::<Client>)), Arc::new(Mutex::new(Vec::new())));
        let (last, noted) = (held.clone(), ended.clone());
        let builder = Client::builder().on_exchange(move |record| {
            noted.lock().unwrap().push(record.outcome());
            drop(last.lock().unwrap().take());
        });
        let client = builder.build().unwrap();
        let response = within(20, client.get(server.url(path)).send()).await.unwrap();
        *held.lock().unwrap() = Some(client);
        let text = within(20, response.text()).await;
        assert_eq!(text.is_ok(), outcome == ExchangeOutcome::Complete);
        assert_eq!(*ended.lock().unwrap(), [outcome]);
        assert!(held.lock().unwrap().is_none());
    }
}

/// The function that gets a record sends another request of the same client.
#[tokio::test]
async fn the_function_that_gets_a_record_may_use_its_client() {
    let server = Server::echo();
    let (held, tasks) = (Arc::new(Mutex::new(None::<Client>)), Arc::new(Mutex::new(Vec::new())));
    let (own, spawned, url) = (held.clone(), tasks.clone(), server.url("/again"));
    let client = Client::builder()
        .max_connections_per_host(1)
        .on_exchange(move |record| {
            if record.target() == "/again" {
                return;
            }
            let client = own.lock().unwrap().clone().unwrap();
            client.pool().close_idle();
            client.pool().on_network_change();
            spawned.lock().unwrap().push(tokio::spawn(client.get(&url).send()));
        })
        .build()
        .unwrap();
    *held.lock().unwrap() = Some(client.clone());
    for nth in 0..3 {
        let path = format!("/{nth}");
        let response = within(20, client.get(server.url(&path)).send()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), path);
    }
    let mut reserved = within(20, client.reserve(server.url("/"))).await.unwrap();
    drop(within(20, reserved.get(server.url("/reserved")).send()).await.unwrap());
    drop(reserved);
    let sent = std::mem::take(&mut *tasks.lock().unwrap());
    assert_eq!(sent.len(), 4);
    for task in sent {
        let response = within(20, task).await.unwrap().unwrap();
        assert_eq!(response.text().await.unwrap(), "/again");
    }
    let total = client.pool().stats().total;
    assert_eq!((total.active, total.waiting, total.dialing), (0, 0, 0));
    held.lock().unwrap().take();
}

#[cfg(unix)]
mod over_a_socket {
    use super::*;
    use crate::support::sockets::{Folder, SocketServer, content};
    use crate::support::until;

    #[tokio::test]
    async fn a_reservation_is_a_connection_to_the_socket() {
        let folder = Folder::new();
        let [path, other] = ["s", "other"].map(|name| folder.path(name));
        let server = SocketServer::start(&path, |head| match head.split(' ').nth(1).unwrap() {
            "/moved" => Some("HTTP/1.1 302 Found\r\nlocation: /here\r\ncontent-length: 0\r\n\r\n".into()),
            "/far" => {
                Some("HTTP/1.1 302 Found\r\nlocation: http://far.test/\r\ncontent-length: 0\r\n\r\n".into())
            }
            path => Some(content(path)),
        });
        let (records, builder) = Records::of(Client::builder().unix_socket(&path).request_on_ack(true));
        let client = builder.tcp_timeout(Duration::from_nanos(1)).build().unwrap();
        let mut reserved = within(20, client.reserve("http://docker/")).await.unwrap();
        assert_eq!((reserved.connection().peer_addr(), reserved.connection().is_reused()), (None, false));
        assert!(reserved.is_open());
        for path in ["/a", "/b"] {
            let response =
                reserved.post(format!("http://docker{path}")).body("content").send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), path);
        }
        if cfg!(feature = "url") {
            let response = reserved.get("http://docker/moved").send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "/here");
            let response = reserved.get("http://docker/far").send().await.unwrap();
            assert_eq!(response.status(), 302, "another origin needs another connection");
            drop(response);
        }
        let on_other = SocketServer::echo(&other);
        let error = reserved.get("http://docker/").unix_socket(&other).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(error.to_string().contains("through another proxy or unix socket"), "{error}");
        assert_eq!(on_other.connections(), 0);
        for record in records.take() {
            assert_sums(&record);
            assert!(record.timings().connect.is_none(), "the caller waited for the dial before: {record:?}");
        }
        reserved.release();
        let response = client.get("http://docker/c").send().await.unwrap();
        assert!(response.connection().is_reused());
        drop(response.text().await.unwrap());
        client.pool().on_network_change();
        until("the connection is closed", || server.closed() == 1).await;
        let mut reserved = within(20, client.reserve("http://docker/")).await.unwrap();
        client.pool().on_network_change();
        let error = reserved.get("http://docker/").send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
        let total = client.pool().stats().total;
        assert_eq!((total.opened, total.active, total.idle), (2, 0, 0), "{total}");
        assert_eq!(total.closed(DropReason::NetworkChanged), 2);
    }

    #[tokio::test]
    async fn the_phases_of_a_request_over_a_socket_sum_to_its_time() {
        let folder = Folder::new();
        let path = folder.path("s");
        let server = SocketServer::echo(&path);
        let (records, builder) = Records::of(Client::builder().unix_socket(&path));
        let client = builder.build().unwrap();
        for round in 0..3 {
            let response = within(20, client.get("http://docker/a?b#c").send()).await.unwrap();
            response.text().await.unwrap();
            let [record] = &records.take()[..] else { panic!("one record") };
            assert_sums(record);
            assert_eq!(record.timings().connect.is_some(), round == 0);
            assert_eq!(record.timings().dns, None);
            assert_eq!((record.target(), record.server_address()), ("/a?b", "docker"));
            assert_eq!(record.connection().unwrap().peer_addr(), None);
        }
        drop(server);
        std::fs::remove_file(&path).unwrap();
        client.pool().close_idle();
        within(20, client.get("http://docker/").send()).await.unwrap_err();
        let [record] = &records.take()[..] else { panic!("one record") };
        assert_sums(record);
        assert_eq!(
            (record.phase(), record.outcome()),
            (Phase::Tcp, ExchangeOutcome::Failed(ErrorKind::Connect))
        );
    }
}

/// Nothing that can be printed shows the value that signs a URL, nor a fragment, which may hold a token.
#[tokio::test]
async fn no_debug_text_shows_the_signature_of_a_url() {
    const SIGNED: &str = "/x?a=1&X-Amz-Signature=planted&s%69g=planted&SIG=planted&x-amz-%53ignature=planted;sig=planted#planted";
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            match request.target.contains("/x") {
                true => peer.send(format!(
                    "HTTP/1.1 302 Found\r\nlocation: /y{}\r\ncontent-length: 0\r\n\r\n",
                    &SIGNED[2..]
                ))?,
                false => peer.respond("y")?,
            }
        }
        Ok(())
    });
    let shown = Arc::new(Mutex::new(String::new()));
    let (records, builder) = Records::of(Client::builder());
    #[cfg(feature = "url")]
    let builder = builder.redirect(handclasp::redirect::Policy::custom({
        let shown = shown.clone();
        move |proposal| {
            shown.lock().unwrap().push_str(&format!("{proposal:?} {:?}", proposal.chain()));
            proposal.follow()
        }
    }));
    let client = builder.build().unwrap();
    let shown_by =
        |thing: &dyn std::fmt::Debug| shown.lock().unwrap().push_str(&format!("{thing:?} {thing:#?}"));
    let url = server.url(SIGNED).replace("http://", "http://user:planted@");
    let request = client.get(&url);
    shown_by(&request);
    let mut reserved = within(20, client.reserve(&url)).await.unwrap();
    shown_by(&reserved);
    shown_by(&reserved.get(&url));
    drop(reserved);
    let response = within(20, request.send()).await.unwrap();
    shown_by(&response);
    #[cfg(feature = "url")]
    shown_by(&response.redirects());
    shown_by(&response.earlier_attempts());
    shown_by(&response.collect().await.unwrap());
    shown_by(&records.take());
    client.pool().shutdown(Duration::ZERO).await;
    shown_by(&within(20, client.get(&url).send()).await.unwrap_err());
    shown_by(&within(20, client.reserve(&url)).await.unwrap_err());
    shown_by(&client);
    let shown = shown.lock().unwrap();
    assert!(shown.contains("REDACTED") && !shown.contains("planted"), "A-77 {shown}");
}

/// An attempt whose content the client cannot decode, or that is late or too large, has failed, and was not cancelled by the
/// caller.
#[cfg(all(feature = "gzip", feature = "har"))]
#[tokio::test(start_paused = true)]
async fn an_attempt_whose_content_is_of_no_use_has_failed() {
    use crate::support::scripted::{Peers, Reply, Script};

    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 900000\r\n\r\n";
    let pieces = [head, "not coded content"];
    let plain = ["HTTP/1.1 200 OK\r\ncontent-length: 900000\r\n\r\n", "far too large"];
    for (pieces, kind) in [
        (&pieces[..1], ErrorKind::Timeout),
        (&pieces[..], ErrorKind::Decode),
        (&plain[..], ErrorKind::Decode),
    ] {
        let peers = Peers::new(Script::new(&[&[Reply::raw(pieces)]]));
        let (records, log) = (Records::default(), handclasp::har::HarLog::new());
        let kept = records.clone();
        let builder = Client::builder().connector(peers.connector()).on_exchange(log.recorder());
        let builder = builder.max_collected_body(4);
        let client =
            builder.on_exchange(move |record| kept.0.lock().unwrap().push(record.clone())).build().unwrap();
        let request = client.get("http://h.test/").timeout(Duration::from_secs(9));
        let error = request.send().await.unwrap().bytes().await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (kind, Some(Phase::Receive)));
        let [record] = &records.take()[..] else { panic!("one record") };
        assert_eq!((record.outcome(), record.phase()), (ExchangeOutcome::Failed(kind), Phase::Receive));
        assert_eq!(record.error_type().unwrap(), format!("{kind:?}"));
        assert_sums(record);
        assert_eq!(error.timings(), Some(record.timings()));
        assert!(log.to_json().contains(&format!("\"_error\":\"{kind:?}\"")));
    }
}

/// The facts of a record, for each kind of response that ends in a way of its own.
#[tokio::test]
async fn the_record_of_every_kind_of_response_has_its_facts() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            match request.target.as_str() {
                "/head" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")?,
                "/304" => peer.send("HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n")?,
                "/204" => peer.send("HTTP/1.1 204 No Content\r\n\r\n")?,
                "/hints" => peer.send(
                    "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
                )?,
                "/chunks" => peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nt: 1\r\n\r\n")?,
                "/switch" => {
                    peer.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nbytes")?;
                    return peer.drain();
                }
                _ => {
                    peer.send("HTTP/1.0 200 OK\r\n\r\nbody")?;
                    return peer.close();
                }
            }
        }
        Ok(())
    });
    let (records, builder) = Records::of(Client::builder());
    let client = builder.build().unwrap();
    for (method, path, status, size, closes) in [
        (Method::HEAD, "/head", 200, 0, false),
        (Method::GET, "/304", 304, 0, false),
        (Method::GET, "/204", 204, 0, false),
        (Method::GET, "/hints", 200, 4, false),
        (Method::GET, "/chunks", 200, 4, false),
        (Method::GET, "/switch", 101, 0, true),
        (Method::GET, "/old", 200, 4, true),
    ] {
        let mut request = client.request(method, server.url(path));
        if path == "/switch" {
            request = request.header("upgrade", "x").header("connection", "upgrade");
        }
        let response = within(20, request.send()).await.unwrap();
        if status != 101 {
            response.bytes().await.unwrap();
        }
        let [record] = &records.take()[..] else { panic!("one record of {path}") };
        assert_sums(record);
        assert_eq!(record.status().unwrap(), status, "{path}");
        assert_eq!((record.outcome(), record.phase()), (ExchangeOutcome::Complete, Phase::Receive), "{path}");
        assert_eq!(record.response_body_size(), size, "{path}");
        assert_eq!(record.close_reason().is_some(), closes, "{path}: {:?}", record.close_reason());
        assert_eq!(record.bytes_sent(), record.request_head_size(), "{path}");
        assert!(record.bytes_received() > size, "{path}");
        assert!(record.timings().receive.is_some(), "{path}");
    }
}
