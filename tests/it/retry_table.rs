//! End-to-end tests of the retry rules for every method, every point of failure and every state of the content. The expected
//! outcomes are in a table that was written from RFC 9110, section 9.2.2, and the pool's rules 26 to 28. The tests do not
//! call the crate's own retry function.
//!
//! Each cell of the table has its own server. The first connections to the server fail in the given ways, and further
//! connections answer. The test checks the outcome that the caller gets, on which connections the server saw the request, how
//! many connections were made, and why the connections were closed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use handclasp::{Body, Client, DropReason, ErrorKind, Written};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use self::Content::{Absent, Begun, Held, Taken, Untouched};
use self::Gets::{Answer, Lost, TimedOut};
use self::Point::{AllWritten, AnswerBegun, NothingWritten, RequestTimeout, SomeWritten};
use self::Written::{All, Nothing, Partly};
use crate::support;
use crate::support::arrival::wait_for_all;
use crate::support::endings::{Ending, Mute, connect_late};
use crate::support::lines::Fed;
use crate::support::{Peer, Server, Signal, until, within};

/// Point at which an attempt fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    /// The look finds the connection dead, or the first write fails at once.
    NothingWritten,
    /// The connection ends in the middle of the head.
    SomeWritten,
    /// The connection ends after the whole request was written and before any byte of a response.
    AllWritten,
    /// The connection ends after an interim response, or after a part of a response's head.
    AnswerBegun,
    /// The first answer is a 408 with `Connection: close`.
    RequestTimeout,
}

/// Content of a request, and the part of the content that the first attempt takes before the attempt fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Absent,
    /// Content that is in memory as a whole.
    Held,
    /// A stream that is pending before its first piece.
    Untouched,
    /// A stream that gave one piece and is pending.
    Begun,
    /// A stream that gave all its pieces.
    Taken,
}

/// Outcome that the caller gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gets {
    /// The response to the second attempt, on another connection.
    Answer,
    /// An error that says how much was written.
    Lost(Written),
    /// The 408 response of the server.
    TimedOut,
}

/// Expected outcome for each point of failure and each content. The test treats a request without content like a request
/// with content in memory.
#[rustfmt::skip]
const TABLE: [(Point, Content, Gets, Gets, Gets); 20] = [
    //                | state of | reused connection and method:  | new
    // point          | content  | idempotent   | any other       | connection
    (NothingWritten,  Held,        Answer,        Answer,           Lost(Nothing)),
    (NothingWritten,  Untouched,   Answer,        Answer,           Lost(Nothing)),
    (NothingWritten,  Begun,       Answer,        Answer,           Lost(Nothing)),
    (NothingWritten,  Taken,       Answer,        Answer,           Lost(Nothing)),

    (SomeWritten,     Held,        Answer,        Lost(Partly),     Lost(Partly)),
    (SomeWritten,     Untouched,   Answer,        Lost(Partly),     Lost(Partly)),
    (SomeWritten,     Begun,       Lost(Partly),  Lost(Partly),     Lost(Partly)),
    (SomeWritten,     Taken,       Lost(Partly),  Lost(Partly),     Lost(Partly)),

    (AllWritten,      Held,        Answer,        Lost(All),        Lost(All)),
    (AllWritten,      Untouched,   Answer,        Lost(Partly),     Lost(Partly)),
    (AllWritten,      Begun,       Lost(Partly),  Lost(Partly),     Lost(Partly)),
    (AllWritten,      Taken,       Lost(All),     Lost(All),        Lost(All)),

    (AnswerBegun,     Held,        Lost(All),     Lost(All),        Lost(All)),
    (AnswerBegun,     Untouched,   Lost(Partly),  Lost(Partly),     Lost(Partly)),
    (AnswerBegun,     Begun,       Lost(Partly),  Lost(Partly),     Lost(Partly)),
    (AnswerBegun,     Taken,       Lost(All),     Lost(All),        Lost(All)),

    (RequestTimeout,  Held,        Answer,        TimedOut,         TimedOut),
    (RequestTimeout,  Untouched,   Answer,        TimedOut,         TimedOut),
    (RequestTimeout,  Begun,       TimedOut,      TimedOut,         TimedOut),
    (RequestTimeout,  Taken,       TimedOut,      TimedOut,         TimedOut),
];

/// Method of a request, whether the request has an `Idempotency-Key`, and whether the client may send the request twice. The
/// client does not send a request with an unknown method twice without the key.
type Method = (&'static str, bool, bool);

const METHODS: [Method; 11] = [
    ("GET", false, true),
    ("HEAD", false, true),
    ("OPTIONS", false, true),
    ("TRACE", false, true),
    ("PUT", false, true),
    ("DELETE", false, true),
    ("POST", false, false),
    ("PATCH", false, false),
    ("POST", true, true),
    ("PROPFIND", false, false),
    ("QUERY", false, true),
];

/// Way in which a connection fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// The connection ends before the request.
    EndsBefore(Ending),
    /// The server sends a response before the request.
    SpeaksBefore,
    /// The transport accepts this many bytes of the request, and then refuses every write.
    Takes(usize, Ending),
    /// The connection ends after the server has read the request.
    Ends(Ending),
    /// The connection ends after the server has read the request and sent this text.
    Says(&'static str, Ending),
}

const WAYS: [(Point, Way); 15] = [
    (NothingWritten, Way::EndsBefore(Ending::Close)),
    (NothingWritten, Way::EndsBefore(Ending::Reset)),
    (NothingWritten, Way::SpeaksBefore),
    (NothingWritten, Way::Takes(0, Ending::Close)),
    (NothingWritten, Way::Takes(0, Ending::Reset)),
    (SomeWritten, Way::Takes(1, Ending::Close)),
    (SomeWritten, Way::Takes(20, Ending::Reset)),
    (AllWritten, Way::Ends(Ending::Close)),
    (AllWritten, Way::Ends(Ending::Reset)),
    (AnswerBegun, Way::Says("HTTP/1.1 100 Continue\r\n\r\n", Ending::Close)),
    (AnswerBegun, Way::Says("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", Ending::Reset)),
    (AnswerBegun, Way::Says("H", Ending::Close)),
    (AnswerBegun, Way::Says("HTTP/1.1 200 OK\r\ncontent-le", Ending::Reset)),
    (RequestTimeout, Way::Says(REQUEST_TIMEOUT, Ending::Close)),
    (RequestTimeout, Way::Says(REQUEST_TIMEOUT_AGAIN, Ending::Close)),
];

const REQUEST_TIMEOUT: &str =
    "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A 408 response whose `Connection` field has `Close`, with an upper-case letter, after another option.
const REQUEST_TIMEOUT_AGAIN: &str =
    "HTTP/1.1 408 \r\nkeep-alive: timeout=5\r\nConnection: Keep-Alive, Close\r\ncontent-length: 0\r\n\r\n";

const CONTENT: &str = "content";

/// First piece of the content. `FIRST_CHUNK` is this piece as a chunk.
const FIRST: &str = "con";
const FIRST_CHUNK: &str = "3\r\ncon\r\n";

/// Sender of the remaining pieces of a stream, or `None` if no pieces remain.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Option<Rest>>>);

struct Rest {
    text: &'static str,
    sender: mpsc::Sender<Bytes>,
}

impl Feed {
    fn give(&self) {
        if let Some(rest) = self.0.lock().unwrap().take() {
            // Ignores the error, because a request that has failed takes no more content.
            let _ = rest.sender.try_send(rest.text.into());
        }
    }
}

impl Content {
    /// Returns the body of the request, and the sender of the content's remaining pieces.
    fn make(self) -> (Option<Body>, Feed) {
        let (sender, receiver) = mpsc::channel(2);
        let stream = || Body::from_stream(Fed(receiver));
        let feed = |text| Feed(Arc::new(Mutex::new(Some(Rest { text, sender: sender.clone() }))));
        match self {
            Absent => (None, Feed::default()),
            Held => (Some(CONTENT.into()), Feed::default()),
            Untouched => (Some(stream()), feed(CONTENT)),
            Begun => {
                sender.try_send(FIRST.into()).unwrap();
                (Some(stream()), feed(&CONTENT[FIRST.len()..]))
            }
            Taken => {
                sender.try_send(CONTENT.into()).unwrap();
                (Some(stream()), Feed::default())
            }
        }
    }

    fn text(self) -> &'static str {
        if self == Absent { "" } else { CONTENT }
    }
}

impl Way {
    /// Serves a connection until the connection fails in this way.
    fn fail(self, peer: &mut Peer, content: Content, due: &Signal, done: &Signal) -> io::Result<()> {
        if self.is_before() {
            peer.wait(due)?;
        }
        match self {
            Self::EndsBefore(ending) => ending.end(peer)?,
            Self::SpeaksBefore => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")?,
            Self::Takes(..) => return peer.stall(),
            Self::Ends(ending) => {
                read(peer, content)?;
                ending.end(peer)?;
            }
            Self::Says(what, ending) => {
                read(peer, content)?;
                peer.send(what)?;
                ending.end(peer)?;
            }
        }
        done.raise();
        if self == Self::SpeaksBefore { peer.stall() } else { Ok(()) }
    }

    /// Whether the connection fails before the request, at a moment that the test chooses.
    fn is_before(self) -> bool {
        matches!(self, Self::EndsBefore(_) | Self::SpeaksBefore)
    }

    /// Whether the server sees the request.
    fn is_seen(self) -> bool {
        matches!(self, Self::Ends(_) | Self::Says(..))
    }

    /// Returns the reason for which the pool closes a connection that fails in this way.
    fn reason(self) -> DropReason {
        if self == Self::SpeaksBefore { DropReason::Unsolicited } else { DropReason::PeerClosed }
    }
}

/// Reads every byte of the request that the client sends, so that a later close of the socket does not become a reset.
fn read(peer: &mut Peer, content: Content) -> io::Result<()> {
    let Some(index) = peer.request_head()? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    match content {
        Untouched => {}
        Begun => assert_eq!(peer.take(FIRST_CHUNK.len())?, FIRST_CHUNK.as_bytes()),
        Absent | Held | Taken => drop(peer.request_body(index)?),
    }
    Ok(())
}

/// Answers every request, after giving the remaining pieces of the content to the client's source.
fn serve(peer: &mut Peer, feed: &Feed) -> io::Result<()> {
    while let Some(index) = peer.request_head()? {
        feed.give();
        let request = peer.request_body(index)?;
        let body = if request.method == "HEAD" { "" } else { &request.target };
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", request.target.len()))?;
    }
    Ok(())
}

/// Request of a test, and the ways in which its connections fail.
#[derive(Clone, Copy, Debug)]
struct Cell {
    method: Method,
    content: Content,
    /// Ways in which the first and the second connection fail. A connection with `None` answers.
    ways: [Option<Way>; 2],
    /// Whether another request has used the first connection before.
    is_kept: bool,
    is_tls: bool,
}

impl Cell {
    /// Sends the request, and checks the outcome `gets` and the number of connections that were made.
    async fn play(self, gets: Gets, connections: usize) {
        let (body, feed) = self.content.make();
        let (due, done) = (Signal::new(), Signal::new());
        let (told, tell) = (due.clone(), done.clone());
        let script = move |peer: &mut Peer| {
            let number = peer.number();
            let Some(way) = self.ways.get(number).copied().flatten() else { return serve(peer, &feed) };
            if self.is_kept && number == 0 && peer.request()?.is_some() {
                peer.respond("first")?;
            }
            way.fail(peer, self.content, &told, &tell)
        };
        let server = if self.is_tls { Server::start_tls(script) } else { Server::start(script) };
        let client = self.client(&server, &due);
        if self.is_kept {
            let first = within(20, client.get(server.url("/first")).send()).await.unwrap();
            assert_eq!((first.text().await.unwrap(), total(&client).idle), ("first".to_owned(), 1));
            if self.ways[0].is_some_and(Way::is_before) {
                due.raise();
                done.raised().await;
                wait_for_all(&server);
            }
        }

        let (name, has_key, _) = self.method;
        let mut request = client.request(name.parse().unwrap(), server.url("/again"));
        if has_key {
            request = request.header("idempotency-key", "7");
        }
        if let Some(body) = body {
            request = request.header("content-type", "text/plain").body(body);
        }
        let outcome = within(20, request.send()).await;

        // Checks the outcome that the caller gets.
        if name == "TRACE" && self.content != Absent {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Request, "RFC 9110, section 9.3.8: {self:?}");
            assert_eq!(server.connections(), usize::from(self.is_kept), "{self:?}");
            return;
        }
        match (outcome, gets) {
            (Ok(response), Answer) => {
                assert_eq!((response.status().as_u16(), response.connection().is_reused()), (200, false));
                let text = if name == "HEAD" { "" } else { "/again" };
                assert_eq!(within(20, response.text()).await.unwrap(), text, "{self:?}");
            }
            (Ok(response), TimedOut) => {
                assert_eq!(response.status(), 408, "{self:?}");
                assert_eq!(within(20, response.text()).await.unwrap(), "", "{self:?}");
            }
            (Err(error), Lost(written)) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{self:?}: {error:?}");
                assert_eq!(error.request_written(), written, "{self:?}: {error:?}");
            }
            (outcome, _) => panic!("{self:?}: expected {gets:?}, got {outcome:?}"),
        }

        // Checks which requests the server saw on which connections.
        let ways = self.ways.map(|way| way.is_some_and(Way::is_seen));
        let mut seen: Vec<_> = (0..2).filter(|&number| number < connections && ways[number]).collect();
        if gets == Answer {
            seen.push(connections - 1);
        }
        let requests = server.seen().into_iter().filter(|seen| seen.request.target == "/again");
        let requests: Vec<_> = requests.collect();
        assert_eq!(requests.iter().map(|seen| seen.connection).collect::<Vec<_>>(), seen, "{self:?}");
        for seen in requests {
            assert_eq!(seen.request.method, name);
            assert_eq!(seen.request.field("idempotency-key"), has_key.then_some("7"), "{self:?}");
            if seen.is_complete {
                assert_eq!(seen.request.body, self.content.text().as_bytes(), "{self:?}");
            }
        }
        // The server may not have accepted a connection yet on which the client wrote nothing.
        until("all connections are accepted", || server.connections() >= connections).await;
        assert_eq!(server.connections(), connections, "{self:?}");

        // Checks the pool's counts.
        let total = total(&client);
        let left = (total.active, total.dialing, total.waiting, total.idle, total.failed_dials);
        assert_eq!(left, (0, 0, 0, usize::from(gets == Answer), 0), "{self:?}: {total}");
        assert_eq!(total.opened, connections as u64, "{self:?}: {total}");
        for &reason in DropReason::ALL {
            let mut closed = self.ways.iter().take(connections).flatten().map(|way| way.reason());
            if gets == TimedOut {
                closed.next_back();
            }
            let delivered = u64::from(gets == TimedOut && reason == DropReason::NotReusable);
            let expected = closed.filter(|it| *it == reason).count() as u64 + delivered;
            assert_eq!(total.closed(reason), expected, "{self:?}: {reason:?}: {total}");
        }
    }

    fn client(self, server: &Server, due: &Signal) -> Client {
        #[cfg(feature = "rustls")]
        if self.is_tls {
            let authority = handclasp::Certificate::from_pem(server.authority()).unwrap();
            return Client::builder().add_root_certificate(authority).build().unwrap();
        }
        let is_late = move |number, way: Way| way.is_before() && !(self.is_kept && number == 0);
        let is_own = |(number, way)| is_late(number, way) || matches!(way, Way::Takes(..));
        let mut ways = self.ways.into_iter().enumerate().filter_map(|(number, way)| Some((number, way?)));
        if !ways.any(is_own) {
            // Uses the crate's own sockets if no connection needs the connector below to fail.
            return Client::new();
        }
        let (address, due, dials) = (server.address(), due.clone(), AtomicUsize::new(0));
        let connect = move |_| {
            let number = dials.fetch_add(1, Ordering::SeqCst);
            let (way, due) = (self.ways.get(number).copied().flatten(), due.clone());
            async move {
                if way.is_some_and(|way| is_late(number, way)) {
                    return connect_late(address, || due.raise()).await;
                }
                let tcp = TcpStream::connect(address).await?;
                let Some(Way::Takes(bytes, ending)) = way else { return Ok(Box::new(tcp) as _) };
                let before = usize::from(self.is_kept && number == 0);
                Ok(Mute::new(tcp, before).after(bytes).by(ending).boxed())
            }
        };
        Client::builder().connector(connect).build().unwrap()
    }
}

fn total(client: &Client) -> handclasp::HostStats {
    client.pool().stats().total
}

/// Returns the outcomes of one row of the table: of an idempotent request on a reused connection, of any other request on a
/// reused connection, and of any request on a new connection.
fn row(point: Point, content: Content) -> [Gets; 3] {
    let content = if content == Absent { Held } else { content };
    let rows: Vec<_> = TABLE.iter().filter(|row| (row.0, row.1) == (point, content)).collect();
    let [row] = rows[..] else { panic!("{} rows for {point:?}, {content:?}", rows.len()) };
    [row.2, row.3, row.4]
}

const CONTENTS: [Content; 5] = [Absent, Held, Untouched, Begun, Taken];

/// Plays the cells of these points of failure on a reused connection.
async fn play_kept(points: &[Point]) {
    for (point, way) in WAYS.into_iter().filter(|(point, _)| points.contains(point)) {
        for method in METHODS {
            for content in CONTENTS {
                let [idempotent, other, _] = row(point, content);
                let gets = if method.2 { idempotent } else { other };
                let cell = Cell { method, content, ways: [Some(way), None], is_kept: true, is_tls: false };
                cell.play(gets, if gets == Answer { 2 } else { 1 }).await;
            }
        }
    }
}

#[test]
fn the_table_has_every_cell() {
    for point in [NothingWritten, SomeWritten, AllWritten, AnswerBegun, RequestTimeout] {
        assert!(WAYS.iter().filter(|(it, _)| *it == point).count() >= 2, "{point:?}");
        for content in CONTENTS {
            let [idempotent, other, fresh] = row(point, content);
            // If a request that is not idempotent is sent again, an idempotent request is sent again as well.
            assert!(other != Answer || idempotent == Answer, "{point:?}, {content:?}");
            assert_ne!(fresh, Answer, "{point:?}, {content:?}");
        }
    }
}

/// if nothing was written, a request of any method and with any content is sent again, and pieces that were taken
/// from a stream are not lost.
#[tokio::test]
async fn rule_27_of_which_nothing_was_written_is_sent_again() {
    play_kept(&[NothingWritten]).await;
}

#[tokio::test]
async fn rule_27_of_which_some_was_written_is_sent_again_if_that_does_no_harm() {
    play_kept(&[SomeWritten]).await;
}

#[tokio::test]
async fn rule_27_that_was_not_answered_is_sent_again_if_that_does_no_harm() {
    play_kept(&[AllWritten]).await;
}

#[tokio::test]
async fn rule_27_that_was_answered_by_a_byte_is_not_sent_again() {
    play_kept(&[AnswerBegun]).await;
}

#[tokio::test]
async fn rule_27_to_which_a_server_says_that_it_came_too_late_is_sent_again_if_that_does_no_harm() {
    play_kept(&[RequestTimeout]).await;
}

/// The outcomes inside TLS are the same as without TLS. Inside TLS, a close is a close_notify and a FIN.
#[cfg(feature = "rustls")]
#[tokio::test]
async fn rule_27_is_the_same_inside_tls() {
    for (point, way) in WAYS.into_iter().filter(|(_, way)| !matches!(way, Way::Takes(..))) {
        for method in [("PUT", false, true), ("POST", false, false)] {
            for content in CONTENTS {
                let [idempotent, other, _] = row(point, content);
                let gets = if method.2 { idempotent } else { other };
                let cell = Cell { method, content, ways: [Some(way), None], is_kept: true, is_tls: true };
                cell.play(gets, if gets == Answer { 2 } else { 1 }).await;
            }
        }
    }
}

/// A failure on a new connection is not retried, because the next connection would most likely fail as well.
#[tokio::test]
async fn rule_26_on_a_connection_that_was_never_kept_nothing_is_sent_again() {
    // `retry.rs` tests servers that send a response before the first request.
    for (point, way) in WAYS.into_iter().filter(|(_, way)| *way != Way::SpeaksBefore) {
        for method in METHODS {
            for content in CONTENTS {
                let [.., fresh] = row(point, content);
                let cell = Cell { method, content, ways: [Some(way), None], is_kept: false, is_tls: false };
                cell.play(fresh, 1).await;
            }
        }
    }
}

/// the client makes no third attempt, however the second attempt ends. The error says how much of the request was written in
/// the attempt that wrote more.
#[tokio::test]
async fn rule_28_a_request_is_sent_again_once() {
    for (first, way) in WAYS.into_iter().filter(|(first, _)| *first != AnswerBegun) {
        for (second, then) in WAYS.into_iter().filter(|(_, then)| *then != Way::SpeaksBefore) {
            for (method, content) in [(METHODS[0], Absent), (METHODS[4], Held), (METHODS[8], Held)] {
                let before = match first {
                    NothingWritten => Nothing,
                    SomeWritten => Partly,
                    _ => All,
                };
                let gets = match row(second, content) {
                    [.., Lost(written)] => Lost(written.max(before)),
                    [.., fresh] => fresh,
                };
                let ways = [Some(way), Some(then)];
                Cell { method, content, ways, is_kept: true, is_tls: false }.play(gets, 2).await;
            }
        }
    }
}

/// The look finds the newer of two idle connections dead, and the older connection dies during the request. The client sends
/// the request again, because a dead connection that the look finds is no attempt.
#[tokio::test]
async fn rule_23_a_look_uses_up_no_retry() {
    let (hold, due, done) = (Signal::new(), Signal::new(), Signal::new());
    let (held, told, tell) = (hold.clone(), due.clone(), done.clone());
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            match &*request.target {
                "/older" => peer.respond("")?,
                "/newer" => {
                    peer.wait(&held)?;
                    peer.respond("")?;
                    peer.wait(&told)?;
                    peer.close()?;
                    tell.raise();
                    return Ok(());
                }
                _ if peer.number() < 2 => return peer.close(),
                _ => peer.respond("again")?,
            }
        }
        Ok(())
    });
    let client = Client::new();
    let newer = tokio::spawn(client.get(server.url("/newer")).send());
    until("the first request waits", || server.seen().len() == 1).await;
    let older = within(20, client.get(server.url("/older")).send()).await.unwrap();
    older.text().await.unwrap();
    hold.raise();
    let newer = within(20, newer).await.unwrap().unwrap();
    let dead = newer.connection().clone();
    newer.text().await.unwrap();
    assert_eq!(total(&client).idle, 2);
    due.raise();
    done.raised().await;
    support::arrival::wait_for_delivery(dead.local_addr().unwrap(), server.address());
    let response = within(20, client.get(server.url("/again")).send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "again");
    // No byte of the request was sent on the dead connection.
    assert_eq!(server.seen_by_target()["/again"], [(1, 2), (2, 1)]);
    assert_eq!((total(&client).opened, total(&client).closed(DropReason::PeerClosed)), (3, 2));
}
