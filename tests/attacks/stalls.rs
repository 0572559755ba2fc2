//! servers that answer early, and servers that close the connection after any byte.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use handclasp::codec::ProtocolError;
use handclasp::{Body, Client, DropReason, Error, ErrorKind, Phase, Written};

use super::assert_gone;
use super::support::arrival::wait_for_end;
use super::support::{Peer, Server, Signal, within};

/// A stream whose pieces come from the test, one by one.
struct Pieces(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl futures_core::Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}

fn pieces() -> (tokio::sync::mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    (sender, Body::from_stream(Pieces(receiver)))
}

/// Length of an upload that is larger than all buffers between client and server.
const UPLOAD: usize = 32 << 20;

fn upload() -> Body {
    static CONTENT: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; UPLOAD].into());
    CONTENT.clone().into()
}

/// Fails unless the next request is answered on a new connection.
async fn assert_next_is_fresh(client: &Client, server: &Server, before: usize) {
    let next = within(20, client.get(server.url("/next")).send()).await.unwrap();
    assert!(!next.connection().is_reused());
    assert_eq!(within(20, next.text()).await.unwrap(), "next");
    assert_eq!(server.connections(), before + 1);
    let seen = server.seen();
    let last = seen.last().unwrap();
    assert_eq!((last.connection, last.nth, &*last.request.target), (before, 1, "/next"));
}

/// Returns a server that answers every second request with "next". The function `script` answers the other
/// requests, and gets the index of the request.
fn early(script: impl Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync + 'static) -> Server {
    let requests = AtomicUsize::new(0);
    Server::start(move |peer| {
        while let Some(index) = peer.request_head()? {
            // The client sends one request after another, so every second request is `/next`.
            if requests.fetch_add(1, SeqCst) % 2 == 1 {
                peer.request_body(index)?;
                peer.respond("next")?;
            } else {
                script(peer, index)?;
            }
        }
        Ok(())
    })
}

/// A server refuses an upload early and keeps reading. The client delivers the response, stops the upload, and does
/// not use the connection again.
#[tokio::test]
async fn a_15_early_refusal_by_a_server_that_keeps_reading() {
    for status in ["413 Content Too Large", "401 Unauthorized", "503 Service Unavailable"] {
        let (sent, refused) = (Arc::new(AtomicUsize::new(0)), Signal::new());
        let (counted, done) = (Arc::clone(&sent), refused.clone());
        let server = early(move |peer, _| {
            peer.send(format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nearly"))?;
            while let Ok(bytes) = peer.take(1 << 16) {
                counted.fetch_add(bytes.len(), SeqCst);
            }
            done.raise();
            Ok(())
        });
        let client = Client::new();
        let request = client.post(server.url("/")).body(upload());
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(response.status().as_str(), &status[..3]);
        assert_eq!(within(20, response.text()).await.unwrap(), "early");
        assert_gone(&client, 1);
        within(20, refused.raised()).await;
        assert!(sent.load(SeqCst) < UPLOAD, "the upload went on to its end");
        assert_next_is_fresh(&client, &server, 1).await;
    }
}

/// A server answers early and closes its direction. The client delivers the response, because it can read the
/// response after the FIN.
#[tokio::test]
async fn a_15_early_response_with_close_and_fin() {
    for status in ["413 Content Too Large", "200 OK", "302 Found"] {
        let server = early(move |peer, _| {
            peer.send(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 5\r\n\r\nearly"))?;
            peer.fin()?;
            peer.stall()
        });
        let client = Client::new();
        let request = client.post(server.url("/")).body(upload());
        let response = within(20, request.send()).await.unwrap();
        assert_eq!(response.status().as_str(), &status[..3]);
        assert_eq!(within(20, response.text()).await.unwrap(), "early");
        assert_gone(&client, 1);
        assert_next_is_fresh(&client, &server, 1).await;
    }
}

/// A server answers early and resets the connection. The kernel decides whether the client can still read the
/// response. Either the whole response is delivered, or the connection is lost while the client sends the request. No
/// request is sent again.
#[tokio::test]
async fn a_15_early_response_with_close_and_reset() {
    for round in 0..10 {
        let server = early(move |peer, _| {
            peer.send(
                "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 5\r\n\r\nearly",
            )?;
            if round % 2 == 0 { peer.reset() } else { peer.close() }
        });
        let client = Client::new();
        let request = client.post(server.url("/")).body(upload());
        match within(20, request.send()).await {
            Ok(response) => {
                assert_eq!(response.status(), 413);
                match within(20, response.text()).await {
                    Ok(text) => assert_eq!(text, "early"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionLost),
                }
            }
            Err(error) => {
                let seen = (error.kind(), error.phase(), error.request_written());
                assert_eq!(seen, (ErrorKind::ConnectionLost, Some(Phase::Send), Written::Partly));
            }
        }
        assert_gone(&client, 1);
        assert_next_is_fresh(&client, &server, 1).await;
    }
}

/// The client reads the response before the RST arrives, and delivers the response.
#[tokio::test]
async fn a_15_early_response_that_was_read_outlives_the_reset() {
    let read = Signal::new();
    let when = read.clone();
    let server = early(move |peer, _| {
        peer.send("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 5\r\n\r\nearly")?;
        peer.wait(&when)?;
        peer.reset()
    });
    let client = Client::new();
    let request = client.post(server.url("/")).body(upload());
    let response = within(20, request.send()).await.unwrap();
    read.raise();
    assert_eq!((response.status().as_u16(), &*within(20, response.text()).await.unwrap()), (413, "early"));
    assert_gone(&client, 1);
    assert_next_is_fresh(&client, &server, 1).await;
}

/// An early success is no refusal. The client continues the upload while it reads the response. When upload and
/// response are complete, the connection can be used again.
#[tokio::test]
async fn a_15_early_success_with_a_completed_upload_is_reused() {
    let server = early(move |peer, index| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")?;
        peer.request_body(index)?;
        peer.send("early")
    });
    let client = Client::new();
    let request = client.post(server.url("/")).body(upload());
    let response = within(20, request.send()).await.unwrap();
    assert_eq!(within(60, response.text()).await.unwrap(), "early");
    let next = within(20, client.get(server.url("/next")).send()).await.unwrap();
    assert!(next.connection().is_reused());
    assert_eq!(within(20, next.text()).await.unwrap(), "next");
    assert_eq!((server.connections(), server.seen()[0].request.body.len()), (1, UPLOAD));
}

/// A whole response on the wire, and its content.
struct Wire {
    bytes: &'static str,
    content: &'static str,
    /// Whether the response ends when the connection ends.
    is_close_delimited: bool,
}

const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";

const WIRES: [Wire; 3] = [
    Wire {
        bytes: "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 11\r\nx: y\r\n\r\nhello world",
        content: "hello world",
        is_close_delimited: false,
    },
    Wire {
        bytes: "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nx-t: 1\r\nx-u: 2\r\n\r\n",
        content: "hello world",
        is_close_delimited: false,
    },
    Wire {
        bytes: "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nx: y\r\n\r\nhello world",
        content: "hello world",
        is_close_delimited: true,
    },
];

impl Wire {
    fn head_end(&self) -> usize {
        let head = &self.bytes[INTERIM.len()..];
        INTERIM.len() + head.find("\r\n\r\n").unwrap() + 4
    }

    /// Returns the part of the response in which a connection ends after `sent` bytes. The text is the one that the
    /// errors use.
    fn place(&self, sent: usize) -> &'static str {
        match sent {
            0 => "before the response head",
            _ if sent == INTERIM.len() => "before the response head",
            _ if sent < self.head_end() => "within the response head",
            _ => "within the response body",
        }
    }
}

/// Returns the script of a server that answers `/w/n` with the first n bytes of wire w, and ends the connection by
/// `end`.
fn cut(
    end: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
) -> impl Fn(&mut Peer) -> io::Result<()> {
    move |peer| {
        while let Some(request) = peer.request()? {
            let mut numbers = request.target[1..].split('/').map(|number| number.parse::<usize>().unwrap());
            let (wire, sent) = (numbers.next().unwrap(), numbers.next().unwrap());
            peer.send(&WIRES[wire].bytes[..sent])?;
            end(peer)?;
        }
        Ok(())
    }
}

/// Fetches `url`. Returns whether the response head came, the content that was read, and the error of the exchange if
/// it failed.
async fn fetch(client: &Client, url: String) -> (bool, Vec<u8>, Option<Error>) {
    let mut content = Vec::new();
    let mut response = match within(20, client.get(url).send()).await {
        Ok(response) => response,
        Err(error) => return (false, content, Some(error)),
    };
    loop {
        match within(20, response.chunk()).await {
            Ok(Some(piece)) => content.extend_from_slice(&piece),
            Ok(None) => return (true, content, None),
            Err(error) => return (true, content, Some(error)),
        }
    }
}

/// Fetches each wire once for each number of bytes after which it can be cut, and calls `check` with each outcome.
async fn cut_everywhere(
    server: &Server,
    client: &Client,
    check: impl Fn(&Wire, usize, bool, Vec<u8>, Option<Error>),
) {
    let mut exchanges = 0;
    for (index, wire) in WIRES.iter().enumerate() {
        for sent in 0..=wire.bytes.len() {
            let (has_head, content, error) = fetch(client, server.url(&format!("/{index}/{sent}"))).await;
            check(wire, sent, has_head, content, error);
            exchanges += 1;
            // The client sends no request again, and uses no connection twice.
            assert_eq!(server.connections(), exchanges, "{index}: {sent} bytes");
            assert_eq!(server.seen().len(), exchanges);
            let total = client.pool().stats().total;
            let in_use = (total.active, total.dialing, total.waiting, total.opened);
            assert_eq!(in_use, (0, 0, 0, exchanges as u64), "{index}: {sent} bytes: {total}");
        }
    }
    assert_gone(client, exchanges as u64);
}

fn check_fin(wire: &Wire, sent: usize, has_head: bool, content: &[u8], error: Option<&Error>) {
    let place = wire.place(sent);
    assert_eq!(has_head, sent >= wire.head_end(), "{sent} bytes");
    assert!(wire.content.as_bytes().starts_with(content), "{sent} bytes: {content:?}");
    let is_complete = sent == wire.bytes.len() || (wire.is_close_delimited && has_head);
    let Some(error) = error else {
        assert!(is_complete, "{sent} bytes of {:?} were taken for a complete response", wire.bytes);
        let whole = if wire.is_close_delimited { sent - wire.head_end() } else { wire.content.len() };
        assert_eq!(content, &wire.content.as_bytes()[..whole]);
        return;
    };
    assert!(!is_complete, "{sent} bytes: {}", error.chain());
    let phase = if has_head { Phase::Receive } else { Phase::Wait };
    assert_eq!((error.kind(), error.phase()), (ErrorKind::ConnectionLost, Some(phase)), "{sent} bytes");
    assert_eq!(error.request_written(), Written::All);
    assert!(error.to_string().contains(place), "{sent} bytes: {error}");
}

/// A FIN after any byte before the end gives an error that says where the response broke. If the response ends with
/// the connection, a FIN within the body is its end.
#[tokio::test]
async fn a_16_fin_after_every_byte() {
    let server = Server::start(cut(Peer::close));
    let client = Client::new();
    cut_everywhere(&server, &client, |wire, sent, has_head, content, error| {
        check_fin(wire, sent, has_head, &content, error.as_ref());
    })
    .await;
}

/// Inside TLS, a close_notify counts as the end of the connection.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_16_close_notify_after_every_byte() {
    let server = Server::start_tls(cut(Peer::close));
    let client = trusting(&server);
    cut_everywhere(&server, &client, |wire, sent, has_head, content, error| {
        check_fin(wire, sent, has_head, &content, error.as_ref());
    })
    .await;
}

#[cfg(feature = "rustls")]
fn trusting(server: &Server) -> Client {
    let authority = handclasp::Certificate::from_pem(server.authority().as_bytes()).unwrap();
    Client::builder().add_root_certificate(authority).build().unwrap()
}

/// A new connection that closes before the response is an error at once. The request is sent once, on one connection.
#[tokio::test]
async fn a_16_nothing_on_a_fresh_connection_is_dialed_once() {
    let server = Server::start(cut(Peer::close));
    for method in [http::Method::GET, http::Method::PUT, http::Method::POST] {
        let (before, client) = (server.connections(), Client::new());
        let error = within(20, client.request(method, server.url("/0/0")).send()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message().to_owned()),
            (ErrorKind::ConnectionLost, ProtocolError::ClosedBeforeResponse.to_string(),)
        );
        assert_eq!((server.connections() - before, server.seen().len() - before), (1, 1));
        assert_gone(&client, 1);
    }
}

fn check_reset(wire: &Wire, sent: usize, has_head: bool, content: &[u8], error: Option<&Error>) {
    assert!(wire.content.as_bytes().starts_with(content), "{sent} bytes: {content:?}");
    assert!(!has_head || sent >= wire.head_end(), "{sent} bytes");
    let Some(error) = error else {
        assert!(
            sent == wire.bytes.len() && !wire.is_close_delimited,
            "{sent} bytes of {:?} were taken for a complete response",
            wire.bytes
        );
        assert_eq!(content, wire.content.as_bytes());
        return;
    };
    // The kernel may have discarded bytes that had arrived. In that case the client sees the response break before
    // its head.
    let phase = if has_head { Phase::Receive } else { Phase::Wait };
    assert_eq!((error.kind(), error.phase()), (ErrorKind::ConnectionLost, Some(phase)), "{sent} bytes");
}

/// A RST after any byte gives an error, even if the response ends with the connection, because a RST is not an end.
#[tokio::test]
async fn a_17_reset_after_every_byte() {
    let server = Server::start(cut(Peer::reset));
    let client = Client::new();
    cut_everywhere(&server, &client, |wire, sent, has_head, content, error| {
        check_reset(wire, sent, has_head, &content, error.as_ref());
    })
    .await;
}

/// Inside TLS, neither a RST nor a FIN without a close_notify is the end of a response.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_17_reset_or_bare_fin_after_every_byte_inside_tls() {
    for is_reset in [true, false] {
        let server = Server::start_tls(cut(move |peer| {
            if is_reset {
                return peer.reset();
            }
            peer.fin()?;
            peer.stall()
        }));
        let client = trusting(&server);
        cut_everywhere(&server, &client, |wire, sent, has_head, content, error| {
            check_reset(wire, sent, has_head, &content, error.as_ref());
        })
        .await;
    }
}

/// Returns the outcome of a response whose connection ends during an upload: the content if the client took the
/// response for complete, or the error. The client's next write fails before the client reads. This failed write
/// consumes the kernel's report of a reset, so a later read returns the bytes that had arrived and an end without an
/// error.
fn reset_seen_by_a_write(
    answer: &'static str,
    end: fn(&mut Peer) -> io::Result<()>,
) -> Result<String, Error> {
    let (seen, answers, has_ended) = (Signal::new(), Signal::new(), Signal::new());
    let (said, when, done) = (seen.clone(), answers.clone(), has_ended.clone());
    let server = Server::start(move |peer| {
        peer.request_head()?;
        peer.take(b"5\r\nfirst\r\n".len())?;
        said.raise();
        peer.wait(&when)?;
        peer.send(answer)?;
        end(peer)?;
        done.raise();
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::new();
        let (sender, body) = pieces();
        sender.send(Bytes::from_static(b"first")).unwrap();
        let request = tokio::spawn(client.post(server.url("/")).body(body).send());
        seen.raised().await;
        // The runtime is blocked while the server answers, so the client learns nothing of the response before it
        // writes again.
        answers.raise();
        has_ended.wait();
        wait_for_end(server.clients()[0], server.address());
        sender.send(Bytes::from_static(b"second")).unwrap();
        let outcome = match within(20, request).await.unwrap() {
            Ok(response) => {
                // Only a further write shows that the server has closed both directions.
                tokio::spawn(async move {
                    while sender.send(Bytes::from_static(b"more")).is_ok() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                });
                within(20, response.text()).await
            }
            Err(error) => Err(error),
        };
        assert_gone(&client, 1);
        outcome
    })
}

#[test]
fn a_17_reset_that_a_write_sees_first_leaves_known_lengths_right() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(reset_seen_by_a_write(whole, Peer::reset).unwrap(), "hello");
    for part in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ncontent-len",
        "",
    ] {
        let error = reset_seen_by_a_write(part, Peer::reset).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{part:?}");
    }
}

#[test]
fn a_17_reset_that_a_write_sees_first_is_no_clean_end() {
    for part in ["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 413 Content Too Large\r\n\r\nhello"] {
        let error = reset_seen_by_a_write(part, Peer::reset).expect_err("a reset was taken for a clean end");
        assert_eq!((error.kind(), error.phase()), (ErrorKind::ConnectionLost, Some(Phase::Receive)));
    }
}

/// The FIN came first and is a valid end of the response. The RST only answers bytes that the client wrote after the
/// FIN.
#[test]
fn a_15_fin_before_the_reset_is_a_clean_end() {
    let end = |peer: &mut Peer| {
        peer.fin()?;
        peer.close()
    };
    for whole in ["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 413 Content Too Large\r\n\r\nhello"] {
        assert_eq!(reset_seen_by_a_write(whole, end).unwrap(), "hello");
    }
}

/// A server closes its direction after a whole response, but still reads. The response is complete, and the
/// connection is not used again.
#[tokio::test]
async fn a_18_half_close_by_the_server_retires_the_connection() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
    ] {
        let closed = Signal::new();
        let done = closed.clone();
        let server = Server::start(move |peer| {
            let Some(request) = peer.request()? else { return Ok(()) };
            if request.target == "/next" {
                return peer.respond("next");
            }
            peer.send(response)?;
            peer.fin()?;
            done.raise();
            // The server would read another request, but the client sends none.
            assert!(peer.request()?.is_none(), "a request came on a half-closed connection");
            Ok(())
        });
        let client = Client::new();
        let half_closed = within(20, client.get(server.url("/")).send()).await.unwrap();
        assert_eq!(within(20, half_closed.text()).await.unwrap(), "hello");
        within(20, closed.raised()).await;
        assert_next_is_fresh(&client, &server, 1).await;
    }
}

/// The client ends a request by its framing. The client never closes its direction, because some servers take a half-closed
/// connection for a lost client.
#[tokio::test]
async fn a_18_the_client_does_not_half_close() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            assert!(
                !peer.is_closed_within(Duration::from_millis(30))?,
                "the client half-closed after {}",
                request.target
            );
            peer.respond(&request.target)?;
        }
        Ok(())
    });
    let client = Client::new();
    let (sender, stream) = pieces();
    sender.send(Bytes::from_static(b"hello")).unwrap();
    drop(sender);
    for (path, body) in [("/none", Body::empty()), ("/known", "hello".into()), ("/chunked", stream)] {
        let response = within(20, client.post(server.url(path)).body(body).send()).await.unwrap();
        assert_eq!(within(20, response.text()).await.unwrap(), path);
    }
    let response =
        within(20, client.get(server.url("/close")).header("connection", "close").send()).await.unwrap();
    assert_eq!(within(20, response.text()).await.unwrap(), "/close");
    assert_eq!(server.connections(), 1);
}

/// A RST after the whole response does not change the response. The client finds the connection dead before the next
/// request uses it.
#[tokio::test]
async fn a_19_reset_behind_a_complete_response() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let (read, reset) = (Signal::new(), Signal::new());
        let (when, done) = (read.clone(), reset.clone());
        let server = Server::start(move |peer| {
            let Some(request) = peer.request()? else { return Ok(()) };
            if request.target == "/next" {
                return peer.respond("next");
            }
            peer.send(response)?;
            if request.target == "/later" {
                peer.wait(&when)?;
            }
            peer.reset()?;
            done.raise();
            Ok(())
        });
        for (round, path) in ["/later", "/now"].into_iter().enumerate() {
            let client = Client::new();
            match within(20, client.get(server.url(path)).send()).await {
                Ok(complete) => {
                    let expected = if complete.status() == 204 { "" } else { "hello" };
                    assert_eq!(within(20, complete.text()).await.unwrap(), expected);
                }
                // The request may fail if the reset comes at once, because the kernel may discard bytes that the
                // client has not read.
                Err(error) => assert_eq!((path, error.kind()), ("/now", ErrorKind::ConnectionLost)),
            }
            if path == "/later" {
                assert_eq!(
                    client.pool().stats().total.idle,
                    1,
                    "the connection was kept before the reset came"
                );
                read.raise();
            }
            within(20, reset.raised()).await;
            assert_next_is_fresh(&client, &server, 2 * round + 1).await;
            let total = client.pool().stats().total;
            let closed = total.closed(DropReason::PeerClosed) + total.closed(DropReason::Failed);
            assert_eq!((total.opened, closed), (2, 1), "{total}");
        }
    }
}
