//! Tests of surplus bytes that a server sends while the connection is idle, or after the head of the next request. The client
//! discards line ends. After bytes that cannot begin a response, the client sends a request that may be repeated again on a
//! new connection. The client keeps no connection to a host that sends surplus repeatedly.
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

/// Highest number of bytes of line ends that the client discards between two responses.
const MOST: usize = 1024;

fn total(client: &Client) -> HostStats {
    client.pool().stats().total
}

fn closed(client: &Client, reason: DropReason) -> u64 {
    total(client).closed(reason)
}

/// Returns a client whose only connection has answered one request and is idle, the client's lines, and that connection.
async fn used() -> (Client, Lines, Line) {
    let lines = Lines::default();
    let client = lines.builder().max_connections_per_host(1).build().unwrap();
    let line = answered(&lines, client.get("http://h/first"), 0).await;
    assert_eq!((total(&client).idle, total(&client).opened), (1, 1));
    (client, lines, line)
}

/// Sends a request, answers the request on connection `number`, and returns the connection.
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

/// Sends a request, and waits until the first bytes of the request are written on the connection.
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

/// Starts and returns a server without TLS and, if TLS is part of the build, a server with TLS.
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
        // Line ends cause no new connection, even for a request that may not be sent twice.
        line.say(line_ends);
        answered(&lines, client.post("http://h/").body("x"), 0).await;
    }
    assert_eq!((total(&client).opened, total(&client).closed_total()), (1, 0));
}

/// Line ends arrive over a socket, with and without TLS, while the only thread of the runtime is blocked. The client discards
/// the line ends although the reactor has not seen them.
#[test]
fn line_ends_that_arrive_while_idle_are_discarded() {
    for line_ends in LINE_ENDS {
        let (due, done) = (Signal::new(), Signal::new());
        let (told, tell) = (due.clone(), done.clone());
        for server in servers(move |peer| {
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

/// On a socket that a custom connector made, the client discards line ends, and a 408 ends the connection. The pool counts
/// neither line ends nor a 408 as unsolicited bytes.
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

/// The client discards line ends that the server sends in the same write as the response.
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

/// Line ends before the first response of a connection are a protocol error. The request fails and is not sent again.
#[tokio::test(start_paused = true)]
async fn line_ends_before_the_first_status_line_of_a_connection_are_refused() {
    let lines = Lines::default();
    let client = lines.client();
    let sent = send(client.get("http://h/"));
    lines.written(0, "\r\n\r\n").await.say(["\r\n", OK].concat());
    assert_not_http(&sent.await.unwrap().unwrap_err(), "a new connection");
    assert_eq!((total(&client).opened, closed(&client, DropReason::Failed)), (1, 1));
}

/// Line ends between an interim response and the final response are a protocol error, because the client accepts line ends
/// only between two exchanges.
#[tokio::test(start_paused = true)]
async fn line_ends_behind_an_interim_response_are_refused() {
    let (client, lines, line) = used().await;
    let sent = sent_on(&line, client.get("http://h/")).await;
    line.say(["\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n", "\r\n", OK].concat());
    assert_not_http(&sent.await.unwrap().unwrap_err(), "behind an interim response");
    assert_eq!((lines.count(), closed(&client, DropReason::Failed)), (1, 1));
}

/// Line ends that arrive while the client writes the head of a request are not treated as a response.
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

/// A server sends line ends and closes the connection. Line ends are not a response. The pool therefore closes the idle
/// connection, and a request that was sent on the connection is sent again.
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

/// More than `MOST` bytes of line ends between two responses count as surplus, however the server splits the bytes.
#[tokio::test(start_paused = true)]
async fn endless_line_ends_end_the_connection() {
    for step in [1, 7, 300, MOST, MOST + 1] {
        // The line ends come while the connection is idle, and the sweep looks at the connection.
        for (count, is_kept) in [(MOST, true), (MOST + 1, false)] {
            let (client, lines, line) = used().await;
            for piece in "\n".repeat(count).as_bytes().chunks(step) {
                line.say(piece);
                // The sweep looks at idle connections every 5 s. Smaller pieces come without a pause, so that the
                // request finds all line ends.
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
    // Line ends that came before an earlier response do not count towards the limit.
    let (client, lines, line) = used().await;
    for _ in 0..5 {
        line.say("\r\n".repeat(MOST / 2));
        answered(&lines, client.get("http://h/"), 0).await;
    }
    assert_eq!(total(&client).opened, 1);
}

/// Texts that cannot be the beginning of an HTTP/1 response.
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

/// A reused connection receives bytes that cannot begin a response. The client closes the connection and sends the request
/// again on a new connection, within a limit of one connection.
#[tokio::test(start_paused = true)]
async fn what_cannot_begin_a_response_is_nobodys_answer_on_a_reused_connection() {
    for foreign in FOREIGN {
        for at in 0..=foreign.len() {
            let (client, lines, line) = used().await;
            let sent = sent_on(&line, client.get("http://h/next")).await;
            line.say(&foreign[..at]);
            lines::settle().await;
            // The client may already have closed the connection, because the first byte of some texts cannot begin a
            // response.
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

/// A request fails with a protocol error if bytes that cannot begin a response arrive on a new connection or in the second
/// attempt of the request.
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

/// Invalid bytes after an interim response, or after a valid version, are a protocol error and not surplus, because the
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

/// The client waits for more bytes while the bytes that have arrived can be the beginning of a response.
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

/// Regression test: after a response that has no content, a server sends content when the next request was sent. No request
/// fails, and the client keeps no further connections to this host for one minute.
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
        // For one minute, the client opens a new connection for each request.
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

/// Regression test: a server sends surplus over a socket, so that the surplus arrives before or after the next request is
/// sent. No request fails.
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

/// A server sends a close_notify right after a response, with nothing, a line end or a 408 between the response and the
/// close_notify. The pool counts the connection as closed by the server.
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
        // After three closed connections, the client keeps no further connection to this host.
        let total = total(&client);
        let reasons = [DropReason::PeerClosed, DropReason::Unsolicited, DropReason::NotKept];
        let closed = reasons.map(|reason| total.closed(reason));
        assert_eq!((total.opened, closed), (4, [3, 0, 1]), "{behind:?}: {total}");
    }
}

/// Without TLS, a 408 right after a response counts as a close by the server, and not as unsolicited bytes.
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

/// A GET is sent again after a 408 response that ends the connection: a response with `Connection: close`, or an HTTP/1.0
/// response without `Connection: keep-alive`. In all other cases, the caller gets the 408 response.
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
