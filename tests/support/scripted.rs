//! Connections in memory that follow a script, for tests in paused time.
//!
//! Unless the script is eager, every read, write and flush is pending once and wakes its task before it completes, so
//! that a test can drop the request's future at each of its awaits. This module knows nothing about HTTP except where
//! a request ends. Invariant: a transport counts as live from its creation until it is dropped.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of this file, and the file is test code"
)]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use handclasp::{BoxError, Destination, Look, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The peer's reply to one request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pieces: Vec<Bytes>,
    end: End,
    is_early: bool,
}

/// Event on the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Keep,
    Eof,
    Reset,
}

impl Reply {
    /// Returns a reply of these bytes. The client reads each piece with one read.
    pub(crate) fn raw(pieces: &[&str]) -> Self {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        Self { pieces, end: End::Keep, is_early: false }
    }

    /// Returns a reply with status 200, a `Content-Length` and this content, in one piece.
    pub(crate) fn ok(body: &str) -> Self {
        Self::raw(&[&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())])
    }

    /// Returns a reply that has no bytes and leaves the connection open.
    pub(crate) fn silence() -> Self {
        Self::raw(&[])
    }

    /// Splits the bytes of the reply into pieces of at most `most` bytes.
    pub(crate) fn split(mut self, most: usize) -> Self {
        let all = self.pieces.concat();
        self.pieces = all.chunks(most).map(Bytes::copy_from_slice).collect();
        self
    }

    /// Closes the connection after the reply.
    pub(crate) fn eof(mut self) -> Self {
        self.end = End::Eof;
        self
    }

    /// Resets the connection after the reply.
    pub(crate) fn reset(mut self) -> Self {
        self.end = End::Reset;
        self
    }

    /// Replies as soon as the head of the request has come, without waiting for its body.
    pub(crate) fn early(mut self) -> Self {
        self.is_early = true;
        self
    }
}

/// Behaviour of a client's connections.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Replies of each connection, in the order of the dials. Later connections repeat the replies of the last listed
    /// connection. Each connection repeats its last reply for all further requests.
    pub(crate) connections: Vec<Vec<Reply>>,
    /// Number of polls of a dial that return `Pending`.
    pub(crate) dial_polls: usize,
    /// Number of dials that fail. All later dials succeed.
    pub(crate) failed_dials: usize,
    /// Number of polls of a read that return `Pending` although there are bytes to read.
    pub(crate) read_polls: usize,
    /// Highest number of bytes that one write accepts.
    pub(crate) write_most: usize,
    /// Number of bytes that a connection accepts in all. A write of further bytes is pending for ever.
    pub(crate) accepts: usize,
    /// Whether operations are pending only when they have to wait.
    pub(crate) is_eager: bool,
}

impl Script {
    pub(crate) fn new(connections: &[&[Reply]]) -> Self {
        Self {
            connections: connections.iter().map(|replies| replies.to_vec()).collect(),
            dial_polls: 3,
            failed_dials: 0,
            read_polls: 1,
            write_most: usize::MAX,
            accepts: usize::MAX,
            is_eager: false,
        }
    }
}

/// The peer's end of all connections of a client.
#[derive(Clone)]
pub(crate) struct Peers {
    world: Arc<World>,
}

struct World {
    script: Script,
    dials: AtomicUsize,
    made: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicUsize,
    peak: AtomicUsize,
    requests: AtomicUsize,
    written: Mutex<Vec<Vec<u8>>>,
    /// Whether `hang_up` has closed each connection, by the number of the connection.
    fins: Mutex<Vec<Arc<AtomicBool>>>,
}

impl Peers {
    pub(crate) fn new(script: Script) -> Self {
        super::order::check_all();
        let world = World {
            script,
            dials: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            written: Mutex::default(),
            fins: Mutex::default(),
        };
        Self { world: Arc::new(world) }
    }

    /// Returns a connector for `ClientBuilder::connector`.
    pub(crate) fn connector(&self) -> impl Fn(Destination) -> Dialing + Send + Sync + 'static {
        let peers = self.clone();
        move |_| Box::pin(peers.clone().dial()) as Dialing
    }

    async fn dial(self) -> Result<Box<dyn Transport>, BoxError> {
        for _ in 0..self.world.script.dial_polls {
            tokio::task::yield_now().await;
        }
        if self.world.dials.fetch_add(1, Ordering::SeqCst) < self.world.script.failed_dials {
            return Err(io::Error::other("no line").into());
        }
        Ok(Box::new(Wire::new(&self.world)))
    }

    /// Returns the number of transports that exist.
    pub(crate) fn live(&self) -> usize {
        self.made() - self.world.dropped.load(Ordering::SeqCst)
    }

    pub(crate) fn made(&self) -> usize {
        self.world.made.load(Ordering::SeqCst)
    }

    /// Returns the number of transports that were closed before they were dropped.
    pub(crate) fn closed(&self) -> usize {
        self.world.closed.load(Ordering::SeqCst)
    }

    /// Returns the highest number of transports that existed at once.
    pub(crate) fn peak(&self) -> usize {
        self.world.peak.load(Ordering::SeqCst)
    }

    /// Returns the number of requests that arrived whole.
    pub(crate) fn requests(&self) -> usize {
        self.world.requests.load(Ordering::SeqCst)
    }

    /// Returns the bytes that the client wrote on a connection. The first connection has number 0.
    pub(crate) fn written(&self, number: usize) -> String {
        String::from_utf8(self.world.written.lock().unwrap()[number].clone()).unwrap()
    }

    /// Closes all connections from the peer's side. A look at an idle connection finds that it is closed.
    pub(crate) fn hang_up(&self) {
        for fin in self.world.fins.lock().unwrap().iter() {
            fin.store(true, Ordering::SeqCst);
        }
    }
}

type Dialing = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, BoxError>> + Send>>;

/// The client's end of one connection.
struct Wire {
    world: Arc<World>,
    number: usize,
    replies: VecDeque<Reply>,
    /// Bytes of the request that is arriving.
    request: Vec<u8>,
    is_answered: bool,
    incoming: VecDeque<Bytes>,
    end: End,
    reader: Option<Waker>,
    /// Number of polls of each operation that returned `Pending` since the operation last completed.
    passed: [usize; 3],
    taken: usize,
    fin: Arc<AtomicBool>,
    is_closed: bool,
}

#[derive(Clone, Copy)]
enum Op {
    Read,
    Write,
    Flush,
}

impl Wire {
    fn new(world: &Arc<World>) -> Self {
        let number = world.made.fetch_add(1, Ordering::SeqCst);
        let live = number + 1 - world.dropped.load(Ordering::SeqCst);
        world.peak.fetch_max(live, Ordering::SeqCst);
        world.written.lock().unwrap().push(Vec::new());
        let fin = Arc::new(AtomicBool::new(false));
        world.fins.lock().unwrap().push(fin.clone());
        let script = &world.script.connections;
        Self {
            replies: script[number.min(script.len() - 1)].clone().into(),
            world: world.clone(),
            number,
            request: Vec::new(),
            is_answered: false,
            incoming: VecDeque::new(),
            end: End::Keep,
            reader: None,
            passed: [0; 3],
            taken: 0,
            fin,
            is_closed: false,
        }
    }

    fn poll_pass(&mut self, op: Op, cx: &Context<'_>) -> Poll<()> {
        let polls = if matches!(op, Op::Read) { self.world.script.read_polls } else { 1 };
        if self.world.script.is_eager || self.passed[op as usize] >= polls {
            return Poll::Ready(());
        }
        self.passed[op as usize] += 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Replies to each request that has come completely, or whose head has come if its reply is early.
    fn answer(&mut self) {
        loop {
            let Some(head) = find(&self.request, b"\r\n\r\n") else { return };
            let text = String::from_utf8_lossy(&self.request[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let end = if text.contains("\r\ntransfer-encoding: chunked") {
                find(&self.request[head..], b"\r\n0\r\n\r\n").map(|at| head + at + 7)
            } else {
                Some(head + 4 + length.map_or(0, |length| length.parse().unwrap()))
            };
            let end = end.filter(|end| *end <= self.request.len());
            let is_due = end.is_some() || self.replies.front().is_some_and(|reply| reply.is_early);
            if is_due && !std::mem::replace(&mut self.is_answered, true) {
                self.reply();
            }
            let Some(end) = end else { return };
            self.request.drain(..end);
            self.is_answered = false;
            self.world.requests.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn reply(&mut self) {
        let reply = self.replies[0].clone();
        if self.replies.len() > 1 {
            self.replies.pop_front();
        }
        self.incoming.extend(reply.pieces);
        self.end = reply.end;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pass(Op::Read, cx));
        if let Some(mut piece) = this.incoming.pop_front() {
            let most = piece.len().min(buf.remaining());
            buf.put_slice(&piece.split_to(most));
            if !piece.is_empty() {
                this.incoming.push_front(piece);
            }
        } else if this.fin.load(Ordering::SeqCst) || this.end == End::Eof {
            // The peer sends no further bytes, so the read returns the end of the stream.
        } else if this.end == End::Reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        } else {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        this.passed[Op::Read as usize] = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_pass(Op::Write, cx));
        let script = &this.world.script;
        let most = buf.len().min(script.write_most).min(script.accepts - this.taken);
        if most == 0 {
            return Poll::Pending;
        }
        this.passed[Op::Write as usize] = 0;
        this.taken += most;
        this.world.written.lock().unwrap()[this.number].extend_from_slice(&buf[..most]);
        this.request.extend_from_slice(&buf[..most]);
        this.answer();
        Poll::Ready(Ok(most))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pass(Op::Flush, cx));
        this.passed[Op::Flush as usize] = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Wire {
    fn look(&mut self) -> Look {
        if !self.incoming.is_empty() {
            Look::Spoke
        } else if self.end != End::Keep || self.fin.load(Ordering::SeqCst) {
            Look::Closed
        } else {
            Look::Silent
        }
    }

    fn close(&mut self) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.world.closed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.world.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
