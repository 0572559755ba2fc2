//! Tests of surplus bytes in a packet of their own, on an idle connection or after the head of the next request was sent.
//! The client discards line ends. After bytes that cannot begin a response, a request that may be sent again is sent again
//! on a new dial. The client keeps no connection to a host that sends surplus repeatedly.
//!
//! The client cannot distinguish surplus that looks like a response from a response: see `tests/poison.rs`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;

use handclasp::{Client, DropReason, Error, ErrorKind, HostStats, Phase, RequestBuilder, Response, Written};
use http::Method;

use crate::support::arrival::{wait_for_all, wait_for_end};
use crate::support::lines;
use crate::support::lines::{Line, Lines, send};
use crate::support::{Peer, Server, Signal, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Highest number of bytes of line ends that the client discards.
const MOST: usize = 1024;

fn total(client: &Client) -> HostStats {
    client.pool().stats().total
}

fn closed(client: &Client, reason: DropReason) -> u64 {
    total(client).closed(reason)
}

/// Returns a client whose first connection has answered once and is idle.
async fn used() -> (Client, Lines, Line) {
    let lines = Lines::default();
    let client = lines.builder().max_connections_per_host(1).build().unwrap();
    let line = answered(&lines, client.get("http://h/first"), 0).await;
    assert_eq!((total(&client).idle, total(&client).opened), (1, 1));
    (client, lines, line)
}

/// Sends a request, checks that it is answered on the connection of this number, and returns the connection.
async fn answered(lines: &Lines, request: RequestBuilder, number: usize) -> Line {
    let begun = if lines.count() > number { lines.line(number).await.len() } else { 0 };
    let sent = send(request);
    lines::until("the request is sent", || lines.count() > number).await;
    let line = lines.line(number).await;
    lines::until("the request is sent", || line.len() > begun).await;
    line.say(OK);
    assert_eq!(text(sent.await.unwrap()).await, "ok");
    line
}

async fn text(outcome: handclasp::Result<Response>) -> String {
    match outcome {
        Ok(response) => response.text().await.unwrap(),
        Err(error) => panic!("{}: {error:?}", error.chain()),
    }
}

/// Sends one more request, and waits until it is written on the connection.
async fn sent_on(
    line: &Line,
    request: RequestBuilder,
) -> tokio::task::JoinHandle<handclasp::Result<Response>> {
    let before = line.len();
    let sent = send(request);
    lines::until("the request is written on the kept connection", || line.len() > before).await;
    sent
}

fn assert_not_http(error: &Error, what: &str) {
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Protocol, Some(Phase::Wait)), "{what}: {error:?}");
    assert!(!error.to_string().is_empty());
}

const LINE_ENDS: [&str; 6] =
    ["\r\n", "\n", "\r", "\r\n\r\n", "\n\n\r\r\n", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"];

/// Returns a plain server, and one inside TLS.
fn servers(script: impl Fn(&mut Peer) -> io::Result<()> + Clone + Send + Sync + 'static) -> Vec<Server> {
    let plain = Server::start(script.clone());
    if cfg!(feature = "rustls") { vec![plain, Server::start_tls(script)] } else { vec![plain] }
}

fn client_of(server: &Server) -> Client {
    #[cfg(feature = "rustls")]
    if server.url("/").starts_with("https") {
        let authority = handclasp::Certificate::from_pem(server.authority()).unwrap();
        return Client::builder().add_root_certificate(authority).build().unwrap();
    }
    let _ = server;
    Client::new()
}

#[tokio::test(start_paused = true)]
async fn line_ends_on_an_idle_connection_are_discarded() {
    let (client, lines, line) = used().await;
    for line_ends in LINE_ENDS {
        line.say(line_ends);
        answered(&lines, client.get("http://h/"), 0).await;
        // Line ends do not delay a request, even if the request may not be sent again.
        line.say(line_ends);
        answered(&lines, client.post("http://h/").body("x"), 0).await;
    }
    assert_eq!((total(&client).opened, total(&client).closed_total()), (1, 0));
}

/// Over sockets, past the reactor, plain and inside TLS, also before the connection was used.
#[test]
fn line_ends_that_arrive_while_idle_are_discarded() {
    for line_ends in LINE_ENDS {
        let (due, done) = (Signal::new(), Signal::new());
        let (told, tell) = (due.clone(), done.clone());
        for server in servers(move |peer| {
            // The TLS handshake happens at the server's first read or write.
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
                peer.wait(&told)?;
                peer.send(line_ends)?;
                tell.raise();
            }
            Ok(())
        }) {
            let client = client_of(&server);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(within(60, async {
                for round in 0..20 {
                    let path = format!("/{round}");
                    let response = client.get(server.url(&path)).send().await.unwrap();
                    assert_eq!(response.text().await.unwrap(), path);
                    due.raise();
                    done.wait();
                    wait_for_all(&server);
                }
            }));
            assert_eq!(server.requests_per_connection(), [20], "{line_ends:?}: {}", total(&client));
        }
    }
}

/// On a socket that a custom connector made, line ends are discarded as well, a 408 is a close, and neither counts as
/// unsolicited bytes.
#[test]
fn what_arrives_while_idle_on_a_connectors_socket_is_read_past_the_reactor() {
    for (said, is_kept) in [("\r\n", true), ("HTTP/1.1 408 Request Timeout\r\n\r\n", false)] {
        let (due, done) = (Signal::new(), Signal::new());
        let (told, tell) = (due.clone(), done.clone());
        let server = Server::start(move |peer| {
            while let Some(request) = peer.request()? {
                peer.respond(&request.target)?;
                peer.wait(&told)?;
                peer.send(said)?;
                tell.raise();
            }
            Ok(())
        });
        let address = server.address();
        let connect = move |_| async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            Ok::<_, handclasp::BoxError>(Box::new(stream) as Box<dyn handclasp::Transport>)
        };
        let client = Client::builder().not_kept_after(None).connector(connect).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(within(60, async {
            for round in 0..6 {
                let path = format!("/{round}");
                let response = client.get(server.url(&path)).send().await.unwrap();
                assert_eq!(response.text().await.unwrap(), path);
                // Blocks the runtime's only thread, so that the reactor does not learn of the bytes.
                due.raise();
                done.wait();
                wait_for_all(&server);
            }
        }));
        let total = total(&client);
        assert_eq!(total.opened, if is_kept { 1 } else { 6 }, "{said:?}: {total}");
        assert_eq!(total.closed(DropReason::Unsolicited), 0, "{said:?}: {total}");
    }
}

/// Line ends in the same write as the response are treated like line ends that come later.
#[test]
fn line_ends_behind_a_response_are_discarded() {
    for line_ends in LINE_ENDS {
        for server in servers(move |peer| {
            while let Some(request) = peer.request()? {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.target.len());
                peer.send([&head, &*request.target, line_ends].concat())?;
            }
            Ok(())
        }) {
            let client = client_of(&server);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(within(60, async {
                for round in 0..20 {
                    let path = format!("/{round}");
                    let response = client.get(server.url(&path)).send().await.unwrap();
                    assert_eq!(response.text().await.unwrap(), path);
                }
            }));
            assert_eq!(server.requests_per_connection(), [20], "{line_ends:?}: {}", total(&client));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn line_ends_before_a_status_line_are_skipped_on_a_reused_connection() {
    let (client, _, line) = used().await;
    for line_ends in LINE_ENDS {
        let wire = [line_ends, "HTTP/1.1 103 Early Hints\r\n\r\n", OK].concat();
        for at in 0..=line_ends.len() + 1 {
            for method in [Method::GET, Method::POST] {
                let sent = sent_on(&line, client.request(method, "http://h/next")).await;
                line.say(&wire[..at]);
                lines::settle().await;
                line.say(&wire[at..]);
                assert_eq!(text(sent.await.unwrap()).await, "ok", "{line_ends:?} at {at}");
            }
        }
        let sent = sent_on(&line, client.get("http://h/next")).await;
        for byte in wire.bytes() {
            line.say([byte]);
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        assert_eq!(text(sent.await.unwrap()).await, "ok", "{line_ends:?}, byte by byte");
    }
    assert_eq!((total(&client).opened, total(&client).closed_total()), (1, 0));
}

/// On a connection that was not used before, line ends are a breach of the protocol. The request fails and is not
/// sent again.
#[tokio::test(start_paused = true)]
async fn line_ends_before_the_first_status_line_of_a_connection_are_refused() {
    let lines = Lines::default();
    let client = lines.client();
    let sent = send(client.get("http://h/"));
    lines.written(0, "\r\n\r\n").await.say(["\r\n", OK].concat());
    assert_not_http(&sent.await.unwrap().unwrap_err(), "a new connection");
    assert_eq!((total(&client).opened, closed(&client, DropReason::Failed)), (1, 1));
}

/// Between an interim response and the final one, line ends are a breach, because no message ends there.
#[tokio::test(start_paused = true)]
async fn line_ends_behind_an_interim_response_are_refused() {
    let (client, lines, line) = used().await;
    let sent = sent_on(&line, client.get("http://h/")).await;
    line.say(["\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n", "\r\n", OK].concat());
    assert_not_http(&sent.await.unwrap().unwrap_err(), "behind an interim response");
    assert_eq!((lines.count(), closed(&client, DropReason::Failed)), (1, 1));
}

/// Line ends that come while the head is being written are not taken for a response.
#[tokio::test(start_paused = true)]
async fn line_ends_before_the_head_is_written_are_skipped() {
    for method in [Method::GET, Method::POST] {
        let (client, lines, line) = used().await;
        line.block();
        line.take(10);
        let sent = sent_on(&line, client.request(method, "http://h/next")).await;
        line.say("\r\n");
        lines::settle().await;
        line.take(1_000);
        lines.written(0, "\r\n\r\n").await.say(OK);
        assert_eq!(text(sent.await.unwrap()).await, "ok");
        assert_eq!((total(&client).opened, total(&client).closed_total()), (1, 0));
    }
}

/// Line ends are not an answer. A server that closes the connection after line ends has not answered the request.
#[tokio::test(start_paused = true)]
async fn a_close_behind_line_ends_is_a_close() {
    let (client, lines, line) = used().await;
    line.say("\r\n");
    line.eof();
    answered(&lines, client.post("http://h/").body("x"), 1).await;
    assert_eq!(closed(&client, DropReason::PeerClosed), 1, "the look found the bytes");
    let line = lines.line(1).await;
    let sent = sent_on(&line, client.get("http://h/")).await;
    line.say("\r\n\r\n");
    lines::settle().await;
    line.eof();
    lines.written(2, "\r\n\r\n").await.say(OK);
    assert_eq!(text(sent.await.unwrap()).await, "ok");
    assert_eq!(closed(&client, DropReason::PeerClosed), 2);
}

/// Line ends between two responses count as surplus if there are more than a limit, in whatever pieces they come.
#[tokio::test(start_paused = true)]
async fn endless_line_ends_end_the_connection() {
    for step in [1, 7, 300, MOST, MOST + 1] {
        // The line ends come while the connection is idle, and the sweep looks at the connection.
        for (count, is_kept) in [(MOST, true), (MOST + 1, false)] {
            let (client, lines, line) = used().await;
            for piece in "\n".repeat(count).as_bytes().chunks(step) {
                line.say(piece);
                // The sweep looks every 5 s. The last line ends are left for the request to find.
                if step >= 300 {
                    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
                }
            }
            answered(&lines, client.get("http://h/"), usize::from(!is_kept)).await;
            assert_eq!(closed(&client, DropReason::Unsolicited), u64::from(!is_kept), "{count} by {step}");
        }
        // The line ends come before the status line.
        for (count, is_kept) in [(MOST, true), (MOST + 1, false)] {
            let (client, lines, line) = used().await;
            let sent = sent_on(&line, client.get("http://h/")).await;
            for piece in "\r".repeat(count).as_bytes().chunks(step) {
                line.say(piece);
                tokio::task::yield_now().await;
            }
            if is_kept {
                line.say(OK);
            } else {
                lines.written(1, "\r\n\r\n").await.say(OK);
            }
            assert_eq!(text(sent.await.unwrap()).await, "ok", "{count} by {step}");
            assert_eq!(closed(&client, DropReason::Unsolicited), u64::from(!is_kept), "{count} by {step}");
        }
    }
    // Line ends before an earlier answer do not count towards the limit.
    let (client, lines, line) = used().await;
    for _ in 0..5 {
        line.say("\r\n".repeat(MOST / 2));
        answered(&lines, client.get("http://h/"), 0).await;
    }
    assert_eq!(total(&client).opened, 1);
}

/// Bytes that cannot begin an HTTP/1 response. The last byte of each text is the first byte that shows it.
const FOREIGN: [&str; 14] = [
    "<html><body>not for you</body></html>",
    "x",
    "\0",
    " ",
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "{\"a\":1}",
    "Hello",
    "HTTP is a protocol",
    "HTTP/x",
    "HTTP/2 200\r\n\r\n",
    "HTTP/0.9 200 OK\r\n\r\n",
    "HTTP/1.x 200 OK\r\n\r\n",
    "\r\n\r\n<html>",
];

/// The request is sent again once, on a new dial, which takes the slot of the connection.
#[tokio::test(start_paused = true)]
async fn what_cannot_begin_a_response_is_nobodys_answer_on_a_reused_connection() {
    for foreign in FOREIGN {
        for at in 0..=foreign.len() {
            let (client, lines, line) = used().await;
            let sent = sent_on(&line, client.get("http://h/next")).await;
            line.say(&foreign[..at]);
            lines::settle().await;
            // Some of the texts are recognised by their first byte.
            line.say(&foreign[at..]);
            let fresh = lines.written(1, "\r\n\r\n").await;
            assert!(line.is_gone() && fresh.text().starts_with("GET /next "), "{foreign:?} at {at}");
            fresh.say(OK);
            let response = sent.await.unwrap().unwrap();
            assert!(!response.connection().is_reused());
            assert_eq!(response.text().await.unwrap(), "ok", "{foreign:?} at {at}");
            let total = total(&client);
            assert_eq!((total.opened, total.closed(DropReason::Unsolicited)), (2, 1), "{foreign:?}: {total}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_begin_a_response_is_a_breach_where_the_request_may_not_be_sent_again() {
    for foreign in FOREIGN {
        let (client, lines, line) = used().await;
        let sent = sent_on(&line, client.post("http://h/next").body("x")).await;
        line.say(foreign);
        let error = sent.await.unwrap().unwrap_err();
        assert_not_http(&error, foreign);
        assert_eq!((error.request_written(), lines.count()), (Written::All, 1), "{foreign:?}");
        assert!(line.is_gone());
        assert_eq!(closed(&client, DropReason::Unsolicited), 1, "{foreign:?}");
        // An `Idempotency-Key` allows the request to be sent again.
        let line = answered(&lines, client.get("http://h/"), 1).await;
        let request = client.post("http://h/next").header("idempotency-key", "7").body("x");
        let sent = sent_on(&line, request).await;
        line.say(foreign);
        lines.written(2, "\r\n\r\nx").await.say(OK);
        assert_eq!(text(sent.await.unwrap()).await, "ok");
    }
}

/// On a new connection, or on the second try of a request, the surplus fails the request as a protocol error.
#[tokio::test(start_paused = true)]
async fn what_cannot_begin_a_response_is_told_where_it_is_no_accident() {
    for foreign in FOREIGN {
        let lines = Lines::default();
        let client = lines.client();
        let sent = send(client.get("http://h/"));
        lines.written(0, "\r\n\r\n").await.say(foreign);
        assert_not_http(&sent.await.unwrap().unwrap_err(), foreign);
        assert_eq!((lines.count(), closed(&client, DropReason::Failed)), (1, 1), "a new connection");

        let (client, lines, line) = used().await;
        let sent = sent_on(&line, client.get("http://h/")).await;
        line.say(foreign);
        lines.written(1, "\r\n\r\n").await.say(foreign);
        assert_not_http(&sent.await.unwrap().unwrap_err(), foreign);
        assert_eq!(
            (lines.count(), closed(&client, DropReason::Unsolicited)),
            (2, 1),
            "one connection was closed for unsolicited bytes, and no third was made"
        );
    }
}

/// Foreign bytes after an interim response, or after a valid version, are a protocol error of the response, because the
/// server has begun to answer.
#[tokio::test(start_paused = true)]
async fn what_follows_the_beginning_of_a_response_is_a_breach() {
    const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";
    for wire in [
        [INTERIM, "<html>"].concat(),
        [INTERIM, "HTTP/2 200\r\n"].concat(),
        "HTTP/1.1 abc\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".to_owned(),
    ] {
        for at in 0..=wire.len() {
            let (client, lines, line) = used().await;
            let sent = sent_on(&line, client.get("http://h/")).await;
            line.say(&wire[..at]);
            tokio::task::yield_now().await;
            line.say(&wire[at..]);
            let error = sent.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{wire:?} at {at}: {error:?}");
            assert_eq!((lines.count(), closed(&client, DropReason::Failed)), (1, 1), "{wire:?} at {at}");
        }
    }
}

/// The client waits for more bytes while the bytes so far can begin a response.
#[tokio::test(start_paused = true)]
async fn the_beginning_of_a_version_is_not_yet_decided() {
    let (client, _, line) = used().await;
    for at in 1.."HTTP/1.1 ".len() {
        let sent = sent_on(&line, client.get("http://h/")).await;
        line.say(&OK[..at]);
        lines::settle().await;
        assert!(!sent.is_finished(), "after {:?}", &OK[..at]);
        line.say(&OK[at..]);
        assert_eq!(text(sent.await.unwrap()).await, "ok");
    }
    assert_eq!(total(&client).opened, 1);
}

/// Regression test: a server answers HEAD with content, in a packet of its own, after the next request was sent.
#[tokio::test(start_paused = true)]
async fn a_host_that_sends_content_after_head_harms_nobody_and_is_not_kept() {
    for (method, head) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\n\r\n"),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let mut line = answered(&lines, client.get("http://h/"), 0).await;
        for round in 1..=3 {
            let sent = sent_on(&line, client.request(method.clone(), "http://h/")).await;
            line.say(head);
            assert_eq!(text(sent.await.unwrap()).await, "");
            let sent = sent_on(&line, client.get("http://h/")).await;
            line.say("<html>");
            line = lines.written(round, "\r\n\r\n").await;
            line.say(OK);
            assert_eq!(text(sent.await.unwrap()).await, "ok", "{method}, round {round}");
            assert_eq!(closed(&client, DropReason::Unsolicited), round as u64);
            assert_eq!(closed(&client, DropReason::NotKept), u64::from(round == 3));
        }
        // For one minute each request has a connection of its own.
        for number in 4..8 {
            answered(&lines, client.get("http://h/"), number).await;
        }
        assert_eq!((total(&client).idle, closed(&client, DropReason::NotKept)), (0, 5));
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        answered(&lines, client.get("http://h/"), 8).await;
        answered(&lines, client.get("http://h/"), 8).await;
        assert_eq!((total(&client).idle, total(&client).opened), (1, 9));
    }
}

/// A reported failure: surplus over sockets, in a random order of events. No request fails.
#[tokio::test]
async fn surplus_in_a_packet_of_its_own_is_no_error_for_fifty_requests() {
    for surplus in ["\r\n", "\n", "<html>not for you</html>", "0\r\n\r\n"] {
        let server = Server::start(move |peer| {
            while let Some(request) = peer.request()? {
                match &*request.method {
                    "HEAD" => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n")?,
                    _ => peer.respond(&request.target)?,
                }
                if request.method == "HEAD" || surplus.trim().is_empty() {
                    std::thread::sleep(std::time::Duration::from_micros(200));
                    peer.send(surplus)?;
                }
            }
            Ok(())
        });
        for not_kept_after in [Some(3), None] {
            let client = Client::builder().not_kept_after(not_kept_after).build().unwrap();
            for round in 0..50 {
                let head = within(20, client.head(server.url("/head")).send()).await;
                assert_eq!(text(head).await, "", "{surplus:?}, round {round}");
                let path = format!("/{round}");
                let get = within(20, client.get(server.url(&path)).send()).await;
                assert_eq!(text(get).await, path, "{surplus:?}, round {round}");
            }
            if surplus.trim().is_empty() {
                assert_eq!(total(&client).opened, 1, "{surplus:?}: {}", total(&client));
            }
        }
    }
}

/// A close_notify, or a 408, right after the response is a close, and counts as one.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_goodbye_right_behind_a_response_is_a_close() {
    for behind in ["", "\r\n", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let server = Server::start_tls(move |peer| {
            while let Some(request) = peer.request()? {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.target.len());
                let answer = [&head, &*request.target].concat();
                if peer.number() < 3 {
                    peer.send_and_notify([&answer, behind].concat().as_bytes())?;
                } else {
                    peer.send(answer)?;
                }
            }
            Ok(())
        });
        let client = client_of(&server);
        for round in 0..4 {
            let path = format!("/{round}");
            let response = within(20, client.get(server.url(&path)).send()).await.unwrap();
            assert!(!response.connection().is_reused());
            assert_eq!(response.text().await.unwrap(), path);
        }
        // After three, the client knows that this host closes each connection.
        let total = total(&client);
        let reasons = [DropReason::PeerClosed, DropReason::Unsolicited, DropReason::NotKept];
        let closed = reasons.map(|reason| total.closed(reason));
        assert_eq!((total.opened, closed), (4, [3, 0, 1]), "{behind:?}: {total}");
    }
}

/// Without TLS: a 408 after a response is a close, and any other surplus is not.
#[tokio::test]
async fn a_408_right_behind_a_response_is_a_close() {
    let server = Server::start(|peer| {
        let Some(request) = peer.request()? else { return Ok(()) };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.target.len());
        peer.send([&head, &*request.target, "HTTP/1.0 408 Request Timeout\r\n\r\n"].concat())?;
        peer.close()
    });
    let client = Client::new();
    let response = within(20, client.get(server.url("/one")).send()).await.unwrap();
    let (local, remote) = (response.connection().local_addr().unwrap(), server.address());
    assert_eq!(response.text().await.unwrap(), "/one");
    wait_for_end(local, remote);
    let response = within(20, client.get(server.url("/two")).send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/two");
    let total = total(&client);
    assert!(total.closed(DropReason::PeerClosed) >= 1, "{total}");
    assert_eq!(total.closed(DropReason::Unsolicited), 0, "{total}");
}

/// An HTTP/1.0 server that gave up waiting closes without saying so.
#[tokio::test(start_paused = true)]
async fn a_408_of_an_http_1_0_server_is_sent_again() {
    for (head, is_resent) in [
        ("HTTP/1.0 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.0 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.0 408 Request Timeout\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n", false),
    ] {
        for method in [Method::GET, Method::POST] {
            let (client, lines, line) = used().await;
            let sent = sent_on(&line, client.request(method.clone(), "http://h/")).await;
            line.say(head);
            if is_resent && method == Method::GET {
                lines.written(1, "\r\n\r\n").await.say(OK);
                assert_eq!(text(sent.await.unwrap()).await, "ok", "{head:?}");
                assert_eq!(closed(&client, DropReason::PeerClosed), 1, "{head:?}");
            } else {
                assert_eq!(sent.await.unwrap().unwrap().status(), 408, "{method} {head:?}");
                assert_eq!(lines.count(), 1, "{method} {head:?}");
            }
        }
    }
}
