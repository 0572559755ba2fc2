//! Servers that send bytes which belong to no request, and servers that close. No request gets a response to
//! something else, no request that may be sent again fails, and the pool's ledger accounts for every connection.
//!
//! Poison is a whole response with the content "poison", so that a test recognises it. The content of every right
//! response is the target of its request. The client cannot tell poison from a response if the poison comes when the
//! next request's head is already written. In that case the server has read the head, and counts one harmed request.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use handclasp::{Client, DropReason, ErrorKind, HostStats, Phase, Written};
use http::{Method, Uri};
use tokio::runtime::{Builder, Runtime};

use crate::support::arrival::{wait_for_delivery, wait_for_end};
use crate::support::lines;
use crate::support::lines::{Lines, send};
use crate::support::{PATIENCE, Peer, Server, Signal, until, within};

const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

/// Length of the first part of the poison. The part ends within the head of the poison.
const PART: usize = 30;

fn answer(target: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len())
}

/// Misdeed of the server after its first response on each connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Misdeed {
    /// The server sends poison in the same write as the response.
    Surplus,
    /// The server sends a part of the poison in the same write as the response, and the second part a moment later.
    PartOfAHead,
    /// The server sends poison after this pause.
    LateSurplus(Duration),
    /// The server sends poison as soon as it has read the next request.
    SurplusOnceAsked,
    /// The server closes the connection after this pause.
    Closes(Duration),
    /// The server closes the connection at once, and announces it with `Connection: close`.
    ClosesAsItSays,
}

/// Task that sends the next request, and the time at which it does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// The task of the first request sends at once.
    OneTask,
    /// Several tasks wait for the host's only connection, and the pool hands the connection to one of them directly.
    OneSlot,
    /// The task of the first request sends after the misdeed, when the runtime has had time to learn of the misdeed.
    Idle,
    /// The task of the first request sends after the misdeed, but the runtime's only thread was blocked while the
    /// misdeed arrived.
    Blocked,
}

const AT_ONCE: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(20);

const TASKS: usize = 8;

/// Counts that the server keeps.
#[derive(Default)]
struct Book {
    /// Number of requests whose heads were written before the client could see the poison.
    harmed: AtomicUsize,
    /// Number of requests on a connection that the client should have closed.
    astray: AtomicUsize,
    /// Signal that the server raises after a misdeed on an idle connection.
    done: Signal,
}

impl Misdeed {
    fn serve(self, peer: &mut Peer, book: &Book) -> io::Result<()> {
        let Some(request) = peer.request()? else { return Ok(()) };
        let answer = answer(&request.target);
        match self {
            Self::Surplus => peer.send([&answer, POISON].concat())?,
            Self::PartOfAHead => {
                peer.send([&answer, &POISON[..PART]].concat())?;
                thread::sleep(SOON);
                // The send may fail, because the client may have closed the connection.
                let _ = peer.send(&POISON[PART..]);
            }
            Self::LateSurplus(pause) => {
                peer.send(answer)?;
                thread::sleep(pause);
                if peer.is_silent()? {
                    peer.send(POISON)?;
                    book.done.raise();
                    if peer.request()?.is_some() {
                        // The client had written the request before the poison arrived.
                        book.harmed.fetch_add(1, Ordering::SeqCst);
                    }
                    return peer.close();
                }
                return harm_the_next(peer, book);
            }
            Self::SurplusOnceAsked => {
                peer.send(answer)?;
                return harm_the_next(peer, book);
            }
            Self::Closes(pause) => {
                peer.send(answer)?;
                thread::sleep(pause);
                peer.close()?;
            }
            Self::ClosesAsItSays => {
                peer.send(answer.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"))?;
                peer.close()?;
            }
        }
        book.done.raise();
        expect_nothing(peer, book)
    }

    /// Blocks until the misdeed has arrived at the client's socket.
    fn wait(self, local: SocketAddr, remote: SocketAddr) {
        match self {
            Self::LateSurplus(_) | Self::SurplusOnceAsked => wait_for_delivery(local, remote),
            Self::Closes(_) => wait_for_end(local, remote),
            // The client closed the connection when it read the response.
            Self::Surplus | Self::PartOfAHead | Self::ClosesAsItSays => {}
        }
    }

    /// Whether each request is answered on a connection of its own.
    fn is_once(self) -> bool {
        !matches!(self, Self::LateSurplus(_) | Self::SurplusOnceAsked)
    }

    /// Number of requests that a test sends.
    fn requests(self) -> usize {
        if let Self::LateSurplus(LATER) | Self::Closes(LATER) = self { 40 } else { 100 }
    }
}

/// Waits for the next request, and sends poison and the right response. The client gets the poison as its response.
fn harm_the_next(peer: &mut Peer, book: &Book) -> io::Result<()> {
    let Some(next) = peer.request()? else { return Ok(()) };
    book.harmed.fetch_add(1, Ordering::SeqCst);
    peer.send([POISON, &answer(&next.target)].concat())?;
    expect_nothing(peer, book)
}

/// Waits for the client to close the connection, and counts a request that comes instead.
fn expect_nothing(peer: &mut Peer, book: &Book) -> io::Result<()> {
    if peer.request()?.is_some() {
        book.astray.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

impl Way {
    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::OneSlot => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        builder.worker_threads(2).enable_all().build().unwrap()
    }
}

fn total(client: &Client) -> HostStats {
    client.pool().stats().total
}

/// Sender of numbered requests. Each clone is one task, and all clones share the numbers.
#[derive(Clone)]
struct Asker {
    client: Client,
    address: SocketAddr,
    next: Arc<AtomicUsize>,
    requests: usize,
    /// The misdeed and the way of a test, and the counts of its server. If this field is `Some`, the client waits for the
    /// misdeed after each response.
    cell: Option<(Misdeed, Way, Arc<Book>)>,
}

impl Asker {
    fn new(client: &Client, address: SocketAddr, requests: usize) -> Self {
        Self { client: client.clone(), address, next: Arc::default(), requests, cell: None }
    }

    /// Sends the requests from this many tasks, and fails if one of them fails. Returns how many requests got poison.
    async fn run(self, tasks: usize) -> usize {
        let tasks: Vec<_> = (0..tasks).map(|_| tokio::spawn(self.clone().ask())).collect();
        let mut poisoned = 0;
        for task in tasks {
            poisoned += task.await.unwrap();
        }
        poisoned
    }

    async fn ask(self) -> usize {
        let mut poisoned = 0;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests {
                return poisoned;
            }
            let target = format!("/{number}");
            let uri: Uri = format!("http://{}{target}", self.address).parse().unwrap();
            let response = match self.client.get(uri).send().await {
                Ok(response) => response,
                Err(error) => panic!("GET {target}: {}: {error:?}", error.chain()),
            };
            let local = response.connection().local_addr().unwrap();
            let text = response.text().await.unwrap();
            if text == "poison" {
                poisoned += 1;
            } else {
                assert_eq!(text, target, "a request got the response to another request");
            }
            match &self.cell {
                Some((misdeed, Way::Idle, book)) => {
                    book.done.raised().await;
                    misdeed.wait(local, self.address);
                    // The reactor gets the chance to learn of the misdeed.
                    tokio::task::yield_now().await;
                }
                Some((misdeed, Way::Blocked, book)) => {
                    book.done.wait();
                    misdeed.wait(local, self.address);
                }
                _ => {}
            }
        }
    }
}

/// Sends requests to a server with this misdeed, and checks responses, connections and counts.
fn prove(misdeed: Misdeed, way: Way) {
    let book = Arc::new(Book::default());
    let kept = book.clone();
    let server = Server::start(move |peer| misdeed.serve(peer, &kept));
    // Each connection ends after one or two responses. Without `not_kept_after(None)`, the pool would learn that the
    // host closes its connections.
    let client = Client::builder().not_kept_after(None).max_connections_per_host(1).build().unwrap();
    let made = misdeed.requests();
    let asker =
        Asker { cell: Some((misdeed, way, book.clone())), ..Asker::new(&client, server.address(), made) };
    // The runtime outlives the checks, because its end would close the idle connections.
    let runtime = way.runtime();
    let poisoned = runtime.block_on(within(60, async {
        let poisoned = asker.run(if way == Way::OneSlot { TASKS } else { 1 }).await;
        // The server may count the last harmed request a little later than the client reads the poison.
        until("the server has counted the harmed requests", || {
            book.harmed.load(Ordering::SeqCst) >= poisoned
        })
        .await;
        poisoned
    }));

    let total = total(&client);
    let cell = format!("{misdeed:?}, {way:?}: {total}");
    // A request got poison only if the client could not tell the poison from a response.
    assert_eq!(book.astray.load(Ordering::SeqCst), 0, "a connection was used after the poison: {cell}");
    assert_eq!(poisoned, book.harmed.load(Ordering::SeqCst), "wrong responses: {cell}");
    let is_avoidable = misdeed.is_once() || matches!(way, Way::Idle | Way::Blocked);
    assert!(!is_avoidable || poisoned == 0, "{poisoned} wrong responses: {cell}");
    // Each connection has ended or is idle, and the pool has counted each connection once.
    assert_eq!((total.active, total.dialing, total.waiting, total.failed_dials), (0, 0, 0, 0), "{cell}");
    assert_eq!(total.opened, total.closed_total() + total.idle as u64, "{cell}");
    assert_eq!(server.connections() as u64, total.opened, "{cell}");
    let closed = |reason| total.closed(reason) as usize;
    let [unsolicited, gone, unfit] =
        [DropReason::Unsolicited, DropReason::PeerClosed, DropReason::NotReusable].map(closed);
    assert_eq!(total.closed_total() as usize, unsolicited + gone + unfit, "{cell}");
    if is_avoidable {
        assert_eq!(total.opened as usize, made, "{cell}");
    }
    match misdeed {
        Misdeed::Surplus | Misdeed::PartOfAHead => assert_eq!(unsolicited, made, "{cell}"),
        Misdeed::ClosesAsItSays => assert_eq!(unfit, made, "{cell}"),
        Misdeed::Closes(_) => assert_eq!(gone + total.idle, made, "{cell}"),
        Misdeed::SurplusOnceAsked => {
            assert_eq!((poisoned, unsolicited, total.idle), (made / 2, made / 2, 0), "{cell}");
        }
        Misdeed::LateSurplus(_) if is_avoidable => {
            // The last connection may still be idle, or the sweep may have closed it.
            assert_eq!(unsolicited + total.idle, made, "{cell}");
        }
        // The server closes a connection if its poison came after the next request was written.
        Misdeed::LateSurplus(_) => assert!(gone <= poisoned && unfit == 0, "{cell}"),
    }
    // If the client had time to look, the client wrote no request to a bad connection.
    let (has_time, requests) = (matches!(way, Way::Idle | Way::Blocked), total.requests as usize);
    match misdeed {
        Misdeed::Closes(_) | Misdeed::LateSurplus(_) if !has_time => assert!(requests >= made, "{cell}"),
        _ => assert_eq!(requests, made, "{cell}"),
    }
}

const WAYS: [Way; 4] = [Way::OneTask, Way::OneSlot, Way::Idle, Way::Blocked];

#[test]
fn rule_21_surplus_in_the_same_write_reaches_nobody() {
    for misdeed in [Misdeed::Surplus, Misdeed::PartOfAHead] {
        WAYS.into_iter().for_each(|way| prove(misdeed, way));
    }
}

/// The client cannot tell this poison from the right response. The right response follows as surplus, so the client
/// closes the connection.
#[test]
fn rule_21_surplus_that_meets_the_next_request_harms_one_and_ends_the_connection() {
    for misdeed in [Misdeed::LateSurplus(SOON), Misdeed::LateSurplus(LATER), Misdeed::SurplusOnceAsked] {
        prove(misdeed, Way::OneTask);
        prove(misdeed, Way::OneSlot);
    }
}

/// The look finds the misdeed before the next request is written. The result is the same whether or not the reactor
/// has learned of the misdeed.
#[test]
fn rule_23_what_came_while_a_connection_was_idle_is_seen_before_the_next_request() {
    for pause in [SOON, LATER] {
        prove(Misdeed::LateSurplus(pause), Way::Idle);
        prove(Misdeed::LateSurplus(pause), Way::Blocked);
    }
    for pause in [AT_ONCE, SOON, LATER] {
        prove(Misdeed::Closes(pause), Way::Idle);
        prove(Misdeed::Closes(pause), Way::Blocked);
    }
}

/// the server closes before the look, between the look and the write, or after the write. The client sends the
/// request again if the request may be sent twice.
#[test]
fn rule_27_a_close_at_any_moment_is_no_error() {
    for pause in [AT_ONCE, SOON, LATER] {
        prove(Misdeed::Closes(pause), Way::OneTask);
        prove(Misdeed::Closes(pause), Way::OneSlot);
    }
}

#[test]
fn rule_25_a_connection_whose_close_is_announced_is_not_waited_for() {
    WAYS.into_iter().for_each(|way| prove(Misdeed::ClosesAsItSays, way));
}

/// The look finds nothing, but the head takes more than one write. Bytes that come before the last byte of the head
/// is written cannot belong to the request. Such bytes end the connection. The client sends the request again if a second
/// copy does no harm.
#[tokio::test(start_paused = true)]
async fn rule_24_what_comes_before_the_head_is_written_is_nobodys_answer() {
    for (method, room, is_resent) in [
        (Method::GET, 10, true),
        (Method::GET, 0, true),
        // No byte of the POST is written before the bytes come.
        (Method::POST, 0, true),
        (Method::POST, 10, false),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let first = send(client.get("http://h/first"));
        let line = lines.written(0, "\r\n\r\n").await;
        line.say(answer("/first"));
        assert_eq!(first.await.unwrap().unwrap().text().await.unwrap(), "/first");
        line.block();
        line.take(room);
        let before = line.len();
        let next = send(client.request(method.clone(), "http://h/next"));
        lines::settle().await;
        assert_eq!(line.len() - before, room, "{method}");
        line.say(POISON);
        if is_resent {
            lines.written(1, "\r\n\r\n").await.say(answer("/next"));
            let response = next.await.unwrap().unwrap();
            assert!(!response.connection().is_reused());
            assert_eq!(response.text().await.unwrap(), "/next", "{method}");
        } else {
            let error = next.await.unwrap().unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Protocol, Some(Phase::Send)), "{error:?}");
            assert_eq!((error.request_written(), lines.count()), (Written::Partly, 1));
        }
        assert!(line.is_gone());
        let total = total(&client);
        assert_eq!((total.closed(DropReason::Unsolicited), total.closed_total()), (1, 1), "{total}");
    }
}

/// On a new connection, bytes that come early can only be a response, for example to a head that is too long.
#[tokio::test(start_paused = true)]
async fn rule_24_an_early_answer_on_a_new_connection_is_delivered() {
    let lines = Lines::default();
    lines.room(10);
    let client = lines.client();
    let request = send(client.get("http://h/"));
    let line = lines.line(0).await;
    lines::settle().await;
    line.say("HTTP/1.1 431 Too Large\r\ncontent-length: 2\r\n\r\nno");
    let response = request.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (431, "no".to_owned()));
    assert_eq!((line.len(), line.is_gone(), total(&client).closed(DropReason::NotReusable)), (10, true, 1));
}

/// Server for very many requests. The server has a few threads, and each thread serves one connection after another.
struct Lean {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One connection of the server `Lean`.
struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    is_stopped: Arc<AtomicBool>,
}

impl Lean {
    fn start(threads: usize, serve: impl Fn(&mut Link) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let (is_stopped, serve) = (Arc::new(AtomicBool::new(false)), Arc::new(serve));
        let work = || {
            let (listener, is_stopped, serve) = (listener.clone(), is_stopped.clone(), serve.clone());
            thread::spawn(move || {
                let mut buffer = vec![0; 1024];
                while let Ok((stream, _)) = listener.accept() {
                    if is_stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(LATER)).unwrap();
                    let mut link = Link { stream, buffer, is_stopped: is_stopped.clone() };
                    // An error means that the client has closed the connection, which is no failure of the script.
                    let _ = serve(&mut link);
                    buffer = link.buffer;
                }
            })
        };
        let threads = (0..threads).map(|_| work()).collect();
        Self { address, is_stopped, threads }
    }
}

impl Drop for Lean {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        // One more connection for each thread ends the thread's `accept`.
        for _ in &self.threads {
            let _ = TcpStream::connect(self.address);
        }
        let panicked = self.threads.drain(..).filter_map(|thread| thread.join().err()).count();
        assert!(panicked == 0 || thread::panicking(), "scripts panicked");
    }
}

impl Link {
    /// Reads the next request, which arrives without further bytes, and returns its target. Returns `None` if the
    /// client has closed the connection instead.
    fn request(&mut self) -> io::Result<Option<String>> {
        let (mut filled, begun) = (0, Instant::now());
        while !self.buffer[..filled].ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut self.buffer[filled..]) {
                Ok(0) => return Ok(None),
                Ok(read) => filled += read,
                // The read has timed out, and the server ends or no request has come for too long.
                Err(error) if self.is_stopped.load(Ordering::SeqCst) || begun.elapsed() > PATIENCE => {
                    return Err(error);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
        let target = self.buffer[..filled].split(|byte| *byte == b' ').nth(1).unwrap();
        Ok(Some(String::from_utf8(target.to_vec()).unwrap()))
    }

    /// Sends a response, followed by the bytes `behind`, in one write.
    fn respond(&mut self, target: &str, behind: &str) -> io::Result<()> {
        self.stream.write_all([&*answer(target), behind].concat().as_bytes())
    }
}

const REQUESTS: usize = 100_000;

/// Sends this many requests from several tasks. Fails if a request fails or gets poison.
async fn get_all(client: &Client, address: SocketAddr, requests: usize) {
    assert_eq!(Asker::new(client, address, requests).run(TASKS).await, 0, "a request got poison");
    // A dial may still be under way if another connection has served its request.
    until("no dial is under way", || total(client).dialing == 0).await;
}

/// The server sends the whole poison, or a part of it, after every eighth response, while other requests wait for the
/// host's only connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_21_surplus_reaches_nobody_in_a_hundred_thousand_requests() {
    const EACH: usize = 8;
    let [answered, astray] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let (answers, strays) = (answered.clone(), astray.clone());
    let server = Lean::start(4, move |link| {
        while let Some(target) = link.request()? {
            let number = answers.fetch_add(1, Ordering::SeqCst) + 1;
            if number % EACH > 0 {
                link.respond(&target, "")?;
                continue;
            }
            link.respond(&target, if number % (2 * EACH) == 0 { POISON } else { &POISON[..PART] })?;
            if link.request()?.is_some() {
                strays.fetch_add(1, Ordering::SeqCst);
            }
            return Ok(());
        }
        Ok(())
    });
    let client = Client::builder().idle_timeout(None).max_connections_per_host(1).build().unwrap();
    within(300, get_all(&client, server.address, REQUESTS)).await;
    let total = total(&client);
    let counted = (answered.load(Ordering::SeqCst), astray.load(Ordering::SeqCst));
    assert_eq!(counted, (REQUESTS, 0), "no request was sent twice or after the poison: {total}");
    let poisoned = (REQUESTS / EACH) as u64;
    assert_eq!((total.requests, total.opened), (REQUESTS as u64, poisoned), "{total}");
    assert_eq!(
        (total.closed(DropReason::Unsolicited), total.closed_total()),
        (poisoned, poisoned),
        "{total}"
    );
    assert_eq!((total.idle, total.active, total.waiting, total.failed_dials), (0, 0, 0, 0), "{total}");
}

/// Sends a hundred thousand requests to servers that close after each response, at once or a moment later. One
/// connection of each `asked` closes only when it has read the next request. Returns how many requests were lost in
/// such a close.
async fn against_servers_that_close(client: &Client, asked: usize) -> usize {
    // One server would have too few ports: a connection cannot be made between two ports that still remember an
    // earlier connection.
    const SERVERS: usize = 4;
    let lost = Arc::new(AtomicUsize::new(0));
    for _ in 0..SERVERS {
        let answered = Arc::new(AtomicUsize::new(0));
        let (answers, losses) = (answered.clone(), lost.clone());
        let server = Lean::start(2 * TASKS, move |link| {
            let Some(target) = link.request()? else { return Ok(()) };
            let number = answers.fetch_add(1, Ordering::SeqCst);
            link.respond(&target, "")?;
            if number % asked == asked - 1 {
                losses.fetch_add(usize::from(link.request()?.is_some()), Ordering::SeqCst);
            } else if number.is_multiple_of(4) {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_micros(50) {
                    std::hint::spin_loop();
                }
            }
            Ok(())
        });
        within(300, get_all(client, server.address, REQUESTS / SERVERS)).await;
        assert_eq!(answered.load(Ordering::SeqCst), REQUESTS / SERVERS, "each request was answered once");
    }
    let (total, lost) = (total(client), lost.load(Ordering::SeqCst));
    assert!(total.requests as usize >= REQUESTS + lost, "{lost} lost: {total}");
    assert_eq!((total.active, total.waiting, total.failed_dials), (0, 0, 0), "{total}");
    assert_eq!(total.opened, total.closed_total() + total.idle as u64, "{total}");
    lost
}

/// The pool keeps each connection although the server is about to close it. Every request has to look, and many
/// requests have to be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_28_a_close_behind_each_answer_is_no_error_in_a_hundred_thousand_requests() {
    const EACH: usize = 8;
    let client = Client::builder().not_kept_after(None).idle_timeout(None).max_connections_per_host(4);
    let client = client.build().unwrap();
    let lost = against_servers_that_close(&client, EACH).await;
    let total = total(&client);
    assert!(lost > REQUESTS / EACH / 2, "{lost} lost: {total}");
    assert_eq!(total.closed(DropReason::PeerClosed), total.closed_total(), "{total}");
}

/// By default the pool learns that the host closes each connection, and keeps no connection of the host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_28_a_close_behind_each_answer_is_no_error_where_the_host_is_not_kept() {
    let client = Client::builder().idle_timeout(None).build().unwrap();
    against_servers_that_close(&client, usize::MAX).await;
    let total = total(&client);
    let [gone, unkept] = [DropReason::PeerClosed, DropReason::NotKept].map(|reason| total.closed(reason));
    assert_eq!(gone + unkept, total.closed_total(), "{total}");
    assert!(gone < REQUESTS as u64 / 100, "{total}");
}
