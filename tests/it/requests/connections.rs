//! Tests of the connections of requests: how the client closes them, and which facts about a server the client remembers.

use std::pin::Pin;
use std::time::Duration;

use handclasp::{Client, ErrorKind, RequestTarget};
use http::{Method, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NO_CONTENT, Pieces, Recorder};
use crate::support::{Server, Signal, Tape, Uncoded, until, within};

/// The client closes the connection after `Connection: close`, even if the server never closes it.
#[tokio::test]
async fn after_close_nothing_is_sent_and_the_connection_ends() {
    for (rules, says, answer) in [
        ("R-9112-9.6-2", "close", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ("R-9112-9.6-2", "x, CLOSE", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (
            "R-9112-9.6-3 R-9112-9.3-5",
            "x",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        ),
        ("R-9112-9.3-5", "keep-alive", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ] {
        let ended = Signal::new();
        let tell = ended.clone();
        let server = Server::start(move |peer| {
            peer.request()?;
            peer.send(answer)?;
            // The client must send a FIN, without a second request or a reset before the FIN.
            if peer.request()?.is_none() {
                tell.raise();
            }
            Ok(())
        });
        let client = Client::new();
        let get = || client.get(server.url("/")).header("connection", says);
        assert_eq!(within(20, get().send()).await.unwrap().text().await.unwrap(), "ok", "{rules}");
        within(20, ended.raised()).await;
        within(20, get().send()).await.unwrap();
        assert_eq!(server.requests_per_connection(), [1, 1], "{rules}");
    }
}

/// The client does not shut down its direction until the response has come.
#[tokio::test]
async fn a_request_does_not_end_by_a_fin() {
    let (is_sent, is_looked_at) = (Signal::new(), Signal::new());
    let (told, tell) = (is_sent.clone(), is_looked_at.clone());
    let server = Server::start(move |peer| {
        while peer.request()?.is_some() {
            peer.wait(&told)?;
            assert!(peer.is_silent()?, "R-9112-9.6-5 R-9112-2.2-5");
            tell.raise();
            peer.send(NO_CONTENT)?;
        }
        Ok(())
    });
    let client = Client::new();
    for says in ["keep-alive", "close"] {
        let request = client.post(server.url("/")).header("connection", says).body(Pieces::body(&["x"]));
        let sent = tokio::spawn(request.send());
        until("the request is there", || server.seen().iter().all(|seen| seen.is_complete)).await;
        is_sent.raise();
        within(20, is_looked_at.raised()).await;
        assert_eq!(within(20, sent).await.unwrap().unwrap().status(), 204, "R-9112-9.6-5");
    }
}

/// The client closes an expired idle connection with a FIN, so that the server does not read a reset.
#[tokio::test]
async fn an_idle_connection_is_closed_gracefully() {
    let ended = Signal::new();
    let tell = ended.clone();
    let server = Server::start(move |peer| {
        while peer.request()?.is_some() {
            peer.send(NO_CONTENT)?;
        }
        tell.raise();
        Ok(())
    });
    let client = Client::builder().idle_timeout(Duration::from_millis(20)).build().unwrap();
    within(20, client.get(server.url("/")).send()).await.unwrap();
    within(20, ended.raised()).await;
    assert_eq!(server.requests_per_connection(), [1], "R-9112-9.5-1");
}

#[tokio::test]
async fn connections_to_a_server_keep_to_their_limit() {
    let server = Server::echo();
    let client = Client::builder().max_connections_per_host(3).build().unwrap();
    let asking: Vec<_> = (0..100)
        .map(|at| {
            let request = client.get(server.url(&format!("/{at}")));
            tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() })
        })
        .collect();
    for (at, asking) in asking.into_iter().enumerate() {
        assert_eq!(within(20, asking).await.unwrap(), format!("/{at}"), "R-9112-9.4-1");
    }
    assert!(server.connections() <= 3, "R-9112-9.4-1: {} connections", server.connections());
    assert_eq!(server.seen().len(), 100, "R-9112-9.4-1");
}

/// Every request has the version HTTP/1.1, whatever version the server uses.
#[tokio::test]
async fn the_version_is_1_1_whatever_the_server_says() {
    for version in ["1.0", "1.1", "1.2", "1.9"] {
        let recorder =
            Recorder::answering(move |_| format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n\r\n"));
        let client = recorder.client();
        for _ in 0..2 {
            let response = within(20, client.get("http://a.test/").send()).await.unwrap();
            assert_eq!(response.status(), 200, "R-9110-2.5-1 R-9110-6.2-2: {version}");
            assert!(recorder.take().starts_with("GET / HTTP/1.1\r\n"), "R-9110-6.2-1: {version}");
        }
    }
}

/// `User-Agent` has only the name and version of the crate, without a comment or a platform. The value is the same in all
/// requests.
#[tokio::test]
async fn the_crate_says_its_name_and_no_more() {
    let recorder = Recorder::start();
    let builder = || Client::builder().uncoded().resolve("a.test", recorder.server.address());
    let own = concat!("user-agent: handclasp/", env!("CARGO_PKG_VERSION"), "\r\n");
    for (client, fields) in [
        (builder(), own),
        (builder().user_agent("app/1"), "user-agent: app/1\r\n"),
        (builder().no_user_agent(), ""),
    ] {
        let client = client.build().unwrap();
        for _ in 0..2 {
            within(20, client.get("http://a.test/").send()).await.unwrap();
            let expected = format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n");
            assert_eq!(recorder.take(), expected, "R-9110-10.1.5-1 R-9110-10.1.5-2");
        }
        let request = client.get("http://a.test/").header("user-agent", "b");
        within(20, request.send()).await.unwrap();
        let expected = "GET / HTTP/1.1\r\nhost: a.test\r\nuser-agent: b\r\n\r\n";
        assert_eq!(recorder.take(), expected, "R-9110-10.1.5-1");
    }
}

#[tokio::test]
async fn a_client_that_keeps_nothing_says_close() {
    let recorder = Recorder::start();
    for builder in [
        recorder.builder().max_idle_per_host(0),
        recorder.builder().max_idle(0),
        recorder.builder().idle_timeout(Duration::ZERO),
    ] {
        let client = builder.build().unwrap();
        let before = recorder.server.connections();
        for (says, expected) in [
            (None, "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n"),
            (Some("x, Close"), "GET / HTTP/1.1\r\nhost: a.test\r\nconnection: x, Close\r\n\r\n"),
        ] {
            let mut request = client.get("http://a.test/");
            if let Some(says) = says {
                request = request.header("connection", says);
            }
            within(20, request.send()).await.unwrap();
            assert_eq!(recorder.take(), expected, "R-9112-9.3-3 R-9112-9.6-1");
        }
        assert_eq!(recorder.server.connections() - before, 2, "R-9112-9.3-3");
    }
}

/// The client assumes HTTP/1.1 until the server has answered. After that the version of the server's last response
/// counts.
#[tokio::test]
async fn a_server_that_speaks_1_0_is_remembered() {
    let recorder = Recorder::answering(|request| {
        let version = &request.target[1..];
        format!("HTTP/{version} 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n")
    });
    let client = recorder.client();
    let chunked = "transfer-encoding: chunked\r\n\r\n3\r\none\r\n1\r\n2\r\n0\r\n\r\n";
    for (version, expected) in [
        ("1.1", format!("expect: 100-continue\r\n{chunked}")),
        ("1.0", format!("expect: 100-continue\r\n{chunked}")),
        ("1.0", "content-length: 4\r\n\r\none2".to_owned()),
        ("1.1", "content-length: 4\r\n\r\none2".to_owned()),
        ("1.1", format!("expect: 100-continue\r\n{chunked}")),
    ] {
        let request = client.post(format!("http://a.test/{version}")).body(Pieces::body(&["one", "2"]));
        within(20, request.header("expect", "100-continue").send()).await.unwrap();
        let expected = format!("POST /{version} HTTP/1.1\r\nhost: a.test\r\n{expected}");
        assert_eq!(recorder.take(), expected, "R-9112-2.3-2 R-9112-6.1-3");
    }
}

#[tokio::test]
async fn an_expectation_is_waited_for_and_not_for_ever() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const HOUR: Duration = Duration::from_secs(3600);
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let plain = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 4\r\n\r\n";
    for (rules, first, timeout, status, expected) in [
        (
            "R-9110-10.1.1-2 R-9110-15.2.1-1",
            "HTTP/1.1 100 Continue\r\n\r\n",
            HOUR,
            200,
            format!("{head}body"),
        ),
        ("R-9110-10.1.1-2", "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 100 C\r\n\r\n", HOUR, 200, format!("{head}body")),
        ("R-9110-10.1.1-3", "", Duration::from_millis(20), 200, format!("{head}body")),
        ("R-9110-10.1.1-3", "HTTP/1.1 103 X\r\n\r\n", Duration::from_millis(20), 200, format!("{head}body")),
        (
            "R-9110-10.1.1-4",
            "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n",
            HOUR,
            200,
            format!("{head}{plain}body"),
        ),
        ("R-9110-10.1.1-5", "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", HOUR, 401, head.to_owned()),
        ("R-9110-10.1.1-5", "HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n", HOUR, 413, head.to_owned()),
        ("R-9110-10.1.1-5", "HTTP/1.1 302 No\r\ncontent-length: 0\r\n\r\n", HOUR, 302, head.to_owned()),
        ("R-9110-10.1.1-5", OK, HOUR, 200, head.to_owned()),
    ] {
        let (tape, ended) = (Tape::default(), Signal::new());
        let (recording, tell) = (tape.clone(), ended.clone());
        let server = Server::start(move |peer| {
            peer.record(&recording);
            while let Some(at) = peer.request_head()? {
                let is_expecting =
                    recording.lock().unwrap().windows(6).filter(|six| six == b"expect").count() == 1;
                if is_expecting && peer.number() == 0 {
                    // A short wait may end before the server checks whether the client is silent.
                    let is_waiting = timeout < HOUR || peer.is_silent()?;
                    assert!(is_waiting, "R-9110-10.1.1-2: the content did not wait");
                    peer.send(first)?;
                    if !first.is_empty() && !first.starts_with("HTTP/1.1 10") {
                        peer.stall()?;
                        tell.raise();
                        return Ok(());
                    }
                }
                peer.request_body(at)?;
                peer.send(OK)?;
            }
            Ok(())
        });
        let client = Client::builder().no_user_agent().uncoded().resolve("a.test", server.address());
        let client = client.expect_continue_timeout(timeout).build().unwrap();
        let request = client.post("http://a.test/").expect_continue().body("body");
        let response = within(20, request.send()).await.unwrap_or_else(|error| panic!("{rules}: {error:?}"));
        assert_eq!(response.status(), status, "{rules}: {first:?}");
        if status == 200 {
            assert_eq!(response.text().await.unwrap(), "ok", "{rules}: {first:?}");
        } else {
            drop(response);
        }
        if !first.is_empty() && !first.starts_with("HTTP/1.1 10") {
            // The client has not sent the content, and therefore does not reuse the connection.
            within(20, ended.raised()).await;
        }
        let sent = String::from_utf8(tape.lock().unwrap().clone()).unwrap();
        assert_eq!(sent, expected, "{rules}: {first:?}");
    }
}

/// A tunnel is opened by an upgrade and by CONNECT. The client can write nothing before the server has agreed, and the
/// server's first bytes are not lost.
#[tokio::test]
async fn nothing_of_another_protocol_goes_out_before_its_time() {
    for (rules, answer, expected) in [
        (
            "R-OPTUP-6-2 R-9110-7.8-2 R-9110-7.8-3",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: ECHO/1\r\nconnection: upgrade\r\n\r\n>",
            "POST /x HTTP/1.1\r\nhost: a.test\r\nupgrade: echo/1, other\r\nconnection: upgrade\r\n\
             content-length: 4\r\n\r\nbody",
        ),
        (
            "R-OPTUP-6-1 R-9112-3.2.3-1 R-9110-9.3.6-1 R-9110-9.3.6-2",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n>",
            "CONNECT a.test:80 HTTP/1.1\r\nhost: a.test:80\r\n\r\n",
        ),
        (
            "R-OPTUP-6-1 R-9112-3.2.3-1 R-9110-9.3.6-1",
            "HTTP/1.1 299 OK\r\n\r\n>",
            "CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n\r\n",
        ),
    ] {
        let (tape, is_asked, go) = (Tape::default(), Signal::new(), Signal::new());
        let (recording, tell, told) = (tape.clone(), is_asked.clone(), go.clone());
        let server = Server::start(move |peer| {
            peer.record(&recording);
            peer.request()?;
            tell.raise();
            peer.wait(&told)?;
            assert!(peer.is_silent()?, "{rules}: bytes were sent before the server agreed");
            peer.send(answer)?;
            assert_eq!(peer.take(4)?, b"ping", "{rules}");
            peer.send("pong")?;
            peer.fin()?;
            peer.stall()
        });
        let client =
            Client::builder().no_user_agent().uncoded().resolve("a.test", server.address()).build().unwrap();
        let request = match &expected[..4] {
            "POST" => client.post("http://a.test/x").header("upgrade", "echo/1, other").body("body"),
            _ if expected.contains("[::1]") => client
                .request(Method::CONNECT, "http://a.test/")
                .target(RequestTarget::Authority("[::1]:443".to_owned())),
            _ => client.request(Method::CONNECT, "http://a.test/"),
        };
        let sending = tokio::spawn(request.send());
        within(20, is_asked.raised()).await;
        let sent = String::from_utf8(tape.lock().unwrap().clone()).unwrap();
        assert_eq!(sent, expected, "{rules}");
        go.raise();
        let response =
            within(20, sending).await.unwrap().unwrap_or_else(|error| panic!("{rules}: {error:?}"));
        let mut tunnel = within(20, response.upgrade()).await.unwrap();
        tunnel.write_all(b"ping").await.unwrap();
        let mut heard = String::new();
        within(20, tunnel.read_to_string(&mut heard)).await.unwrap();
        assert_eq!(heard, ">pong", "{rules}");
        drop(tunnel);
        assert_eq!(client.pool().stats().total.idle, 0, "{rules}");
    }
}

/// A response to HEAD announces content that does not come.
#[tokio::test]
async fn the_length_that_a_head_announces_is_told() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/long" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?,
                "/same" => peer.send("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n")?,
                _ => peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?,
            }
        }
        Ok(())
    });
    let client = Client::new();
    for (path, announced) in [("/long", Some(1000)), ("/same", Some(7)), ("/chunked", None)] {
        let mut response = within(20, client.head(server.url(path)).send()).await.unwrap();
        assert_eq!(response.content_length(), announced, "{path}");
        assert!(within(20, response.chunk()).await.unwrap().is_none());
        let response = within(20, client.head(server.url(path)).send()).await.unwrap();
        let body = response.collect().await.unwrap().body;
        assert!(body.is_empty(), "{path}");
    }
    assert_eq!(client.pool().stats().total.opened, 1);
}

#[tokio::test]
async fn a_zone_in_a_url_is_refused_by_its_name() {
    let client = Client::new();
    for url in ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]:8080/x?y", "https://u@[fe80::1%251]"] {
        let error = client.get(url).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{url}");
        assert!(error.to_string().contains("zones are not supported"), "A-78: {url}: {error}");
        // A URL that was parsed to a `Uri` before has the same effect as its text.
        let uri: Uri = url.parse().unwrap();
        let request = http::Request::get(uri.clone()).body(()).unwrap();
        for error in [client.execute(request).await.unwrap_err(), client.get(uri).send().await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Request, "{url}");
            assert!(error.to_string().contains("zones are not supported"), "{url}: {error}");
        }
    }
    for url in ["http://[fe80::1", "http://[::x]/%25", "http://a b/[%25]", "http://[::1]x/?[%]"] {
        let error = client.get(url).send().await.unwrap_err();
        assert!(!error.to_string().contains("zone"), "{url}: {error}");
    }
}

/// A resolver that knows one name and its port.
struct Service(std::net::SocketAddr);

impl handclasp::Resolve for Service {
    fn resolve(
        &self,
        name: &str,
        _: handclasp::Family,
    ) -> Pin<Box<dyn Future<Output = Result<handclasp::Answer, handclasp::BoxError>> + Send>> {
        let answer = handclasp::Answer::new((name == "service.test").then_some(self.0));
        Box::pin(async { Ok(answer) })
    }
}

#[tokio::test]
async fn the_port_of_an_answer_is_dialed_and_the_host_field_keeps_the_port_of_the_url() {
    let recorder = Recorder::start();
    let server = recorder.server.address();
    let client = Client::builder().no_user_agent().uncoded().dns_resolver(Service(server)).build().unwrap();
    for (target, host) in
        [("http://service.test/", "service.test"), ("http://service.test:81/", "service.test:81")]
    {
        let response = within(20, client.get(target).send()).await.unwrap();
        assert_eq!(response.connection().peer_addr(), Some(server), "{target}");
        drop(response.bytes().await.unwrap());
        assert_eq!(recorder.take(), format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    }
    // The pool has a key for each of the two ports of the URLs, although both requests went to the same address.
    assert_eq!(client.pool().stats().hosts.len(), 2);
}
