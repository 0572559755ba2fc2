//! Dials in memory that end as the test says, and the far ends of their connections, for tests with a paused clock.
//!
//! ```text
//! let far = dials.want_dial().await.finish();      // the dial succeeds; its connection answers each request at once
//! let far = dials.want_dial().await.hold();        // the dial succeeds; its connection waits for far.answer()
//! dials.want_dial().await.fail("no line");         // the dial fails; others are .hang() and .panic()
//! dials.none_wanted().await;                       // no further dial has begun
//! ```
//!
//! `want_dial` and `none_wanted` first let every task run until the task waits, which takes a millisecond of the paused
//! time. Both functions fail if the expected dial has not begun after this time, or if an unexpected dial has begun.
//! Invariant: a connection counts as live from the end of its dial until it is dropped, so that `dialing + live` is the number that limits bound.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::manual_async_fn,
    reason = "each test uses a part of this file, and the file is test code"
)]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use handclasp::{BoxError, Client, ClientBuilder, Destination, Error, Look, Response, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// All dials of a client.
#[derive(Clone, Default)]
pub(crate) struct Dials {
    desk: Arc<Mutex<Desk>>,
}

#[derive(Default)]
struct Desk {
    begun: usize,
    /// Dials that have begun and that the test has not taken yet.
    unseen: VecDeque<Dial>,
    /// Counts of each host. The name "" holds the counts of all hosts.
    counts: BTreeMap<String, Counts>,
    /// The connection and the target of each request, in the order of arrival.
    served: Vec<(usize, String)>,
}

/// Numbers of dials and connections of a host, and the highest sum of the two numbers so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) dialing: usize,
    pub(crate) live: usize,
    /// Highest sum of dials under way and live connections.
    pub(crate) peak: usize,
}

impl Dials {
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder().connector(self.connector())
    }

    pub(crate) fn connector(&self) -> impl Fn(Destination) -> Dialing + Send + Sync + 'static {
        let dials = self.clone();
        move |to| dials.begin(to.host())
    }

    fn begin(&self, host: &str) -> Dialing {
        let mut desk = self.lock();
        desk.begun += 1;
        desk.count(host, |counts| counts.dialing += 1);
        let dial = Dial { number: desk.begun, host: host.to_owned(), slot: Arc::default() };
        desk.unseen.push_back(dial.clone());
        Box::pin(UnderWay { dials: self.clone(), dial })
    }

    /// Returns the oldest dial that has begun and that the test has not taken yet. Fails if there is none.
    #[track_caller]
    pub(crate) fn want_dial(&self) -> impl Future<Output = Dial> {
        let place = Location::caller();
        async move {
            settle().await;
            let dial = self.lock().unseen.pop_front();
            dial.unwrap_or_else(|| panic!("{place}: no dial was begun"))
        }
    }

    /// Returns all dials that have begun and that the test has not taken yet, oldest first. Fails unless there are `count`.
    #[track_caller]
    pub(crate) fn want_dials(&self, count: usize) -> impl Future<Output = Vec<Dial>> {
        let place = Location::caller();
        async move {
            settle().await;
            let dials: Vec<_> = self.lock().unseen.drain(..).collect();
            assert_eq!(dials.len(), count, "{place}: dials that were begun");
            dials
        }
    }

    /// Fails if a dial has begun that the test has not taken yet.
    #[track_caller]
    pub(crate) fn none_wanted(&self) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            settle().await;
            let unseen: Vec<_> = self.lock().unseen.iter().map(|dial| dial.number).collect();
            assert!(unseen.is_empty(), "{place}: dials were begun: {unseen:?}");
        }
    }

    /// Takes the dials that the test has not taken yet. Unlike `want_dial`, this method does not let other tasks run.
    pub(crate) fn unseen(&self) -> Vec<Dial> {
        self.lock().unseen.drain(..).collect()
    }

    /// Returns the number of dials that have begun.
    pub(crate) fn begun(&self) -> usize {
        self.lock().begun
    }

    pub(crate) fn counts(&self, host: &str) -> Counts {
        self.lock().counts.get(host).copied().unwrap_or_default()
    }

    /// Returns the counts of all hosts together.
    pub(crate) fn total(&self) -> Counts {
        self.counts("")
    }

    /// Returns the connection and the target of each request, in the order of arrival. The connection has the number of its
    /// dial, counted from 1.
    pub(crate) fn served(&self) -> Vec<(usize, String)> {
        self.lock().served.clone()
    }

    /// Returns the target of each request, in the order of arrival.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.served().into_iter().map(|(_, target)| target).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

impl Desk {
    fn count(&mut self, host: &str, change: impl Fn(&mut Counts)) {
        for name in [host, ""] {
            let counts = self.counts.entry(name.to_owned()).or_default();
            change(counts);
            counts.peak = counts.peak.max(counts.dialing + counts.live);
        }
    }
}

/// A dial under way. The dial hangs until the test ends it.
#[derive(Clone)]
#[must_use = "a dial waits to be told how it ends"]
pub(crate) struct Dial {
    pub(crate) number: usize,
    pub(crate) host: String,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    is_over: bool,
    verdict: Option<Verdict>,
    dialer: Option<Waker>,
}

enum Verdict {
    Finish(Far),
    Fail(String),
    Panic,
}

impl Dial {
    /// Lets the dial succeed. The new connection answers each request at once with the number of the dial.
    pub(crate) fn finish(self) -> Far {
        self.connect(false)
    }

    /// Lets the dial succeed. The new connection answers a request only when the test calls `answer` or `release`.
    pub(crate) fn hold(self) -> Far {
        self.connect(true)
    }

    pub(crate) fn fail(self, why: &str) {
        self.tell(Verdict::Fail(why.to_owned()));
    }

    /// Lets the dial panic. The panic happens in the dial's own task.
    pub(crate) fn panic(self) {
        self.tell(Verdict::Panic);
    }

    /// Leaves the dial hanging until its connect timeout ends it.
    pub(crate) fn hang(self) {}

    /// Whether the dial has not ended.
    pub(crate) fn is_under_way(&self) -> bool {
        !lock(&self.slot).is_over
    }

    fn connect(self, is_held: bool) -> Far {
        let line = Line { is_held, ..Line::default() };
        let far = Far { number: self.number, line: Arc::new(Mutex::new(line)) };
        self.tell(Verdict::Finish(far.clone()));
        far
    }

    fn tell(&self, verdict: Verdict) {
        let mut slot = lock(&self.slot);
        slot.verdict = Some(verdict);
        let dialer = slot.dialer.take();
        drop(slot);
        if let Some(dialer) = dialer {
            dialer.wake();
        }
    }
}

pub(crate) type Dialing = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, BoxError>> + Send>>;

/// The dial that the client polls.
struct UnderWay {
    dials: Dials,
    dial: Dial,
}

impl UnderWay {
    fn end(&self, live: usize) {
        let is_over = std::mem::replace(&mut lock(&self.dial.slot).is_over, true);
        if !is_over {
            self.dials.lock().count(&self.dial.host, |counts| {
                counts.dialing -= 1;
                counts.live += live;
            });
        }
    }
}

impl Future for UnderWay {
    type Output = Result<Box<dyn Transport>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut slot = lock(&this.dial.slot);
        let Some(verdict) = slot.verdict.take() else {
            slot.dialer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        drop(slot);
        match verdict {
            Verdict::Finish(far) => {
                this.end(1);
                let (dials, host) = (this.dials.clone(), this.dial.host.clone());
                Poll::Ready(Ok(Box::new(Wire { far, dials, host, request: Vec::new() })))
            }
            Verdict::Fail(why) => {
                this.end(0);
                Poll::Ready(Err(why.into()))
            }
            Verdict::Panic => panic!("this panic is part of the test"),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.end(0);
        let number = self.dial.number;
        self.dials.lock().unseen.retain(|dial| dial.number != number);
    }
}

/// The far end of a connection.
#[derive(Clone)]
pub(crate) struct Far {
    /// Number of the connection's dial.
    pub(crate) number: usize,
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    is_held: bool,
    /// Targets of the requests that have arrived and are not answered.
    asked: VecDeque<String>,
    incoming: VecDeque<u8>,
    is_eof: bool,
    is_gone: bool,
    reader: Option<Waker>,
}

impl Far {
    /// Returns the targets of the requests that have arrived and are not answered.
    pub(crate) fn asked(&self) -> Vec<String> {
        lock(&self.line).asked.iter().cloned().collect()
    }

    /// Answers the oldest request.
    #[track_caller]
    pub(crate) fn answer(&self) {
        self.say("");
    }

    /// Answers the oldest request with `Connection: close`.
    #[track_caller]
    pub(crate) fn answer_last(&self) {
        self.say("connection: close\r\n");
    }

    #[track_caller]
    fn say(&self, field: &str) {
        let asked = self.change(|line| {
            let asked = line.asked.pop_front();
            line.incoming.extend(response(self.number, field).bytes());
            asked
        });
        assert!(asked.is_some(), "no request has arrived on connection {}", self.number);
    }

    /// Answers the requests that have arrived, and every later request as soon as it arrives.
    pub(crate) fn release(&self) {
        lock(&self.line).is_held = false;
        while !self.asked().is_empty() {
            self.answer();
        }
    }

    /// Closes the connection from the far end.
    pub(crate) fn hang_up(&self) {
        self.change(|line| line.is_eof = true);
    }

    /// Whether the client has dropped the connection.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.line).is_gone
    }

    fn change<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = lock(&self.line);
        let changed = change(&mut line);
        let reader = line.reader.take();
        drop(line);
        if let Some(reader) = reader {
            reader.wake();
        }
        changed
    }
}

fn response(number: usize, field: &str) -> String {
    let number = number.to_string();
    format!("HTTP/1.1 200 OK\r\n{field}content-length: {}\r\n\r\n{number}", number.len())
}

/// The client's end of a connection.
struct Wire {
    far: Far,
    dials: Dials,
    host: String,
    /// Bytes of the request that is arriving.
    request: Vec<u8>,
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut line = lock(&self.far.line);
        if line.incoming.is_empty() && !line.is_eof {
            line.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = line.incoming.len().min(buf.remaining());
        let bytes: Vec<u8> = line.incoming.drain(..most).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.request.extend_from_slice(buf);
        // Requests have no content in these tests, so that an empty line ends each request.
        while let Some(end) = this.request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = this.request.drain(..end + 4).collect();
            let target = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
            this.dials.lock().served.push((this.far.number, target.clone()));
            let mut line = lock(&this.far.line);
            line.asked.push_back(target);
            let is_held = line.is_held;
            drop(line);
            if !is_held {
                this.far.answer();
            }
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Transport for Wire {
    fn look(&mut self) -> Look {
        let line = lock(&self.far.line);
        match (line.incoming.is_empty(), line.is_eof) {
            (false, _) => Look::Spoke,
            (true, true) => Look::Closed,
            (true, false) => Look::Silent,
        }
    }

    fn close(&mut self) {}
}

impl Drop for Wire {
    fn drop(&mut self) {
        lock(&self.far.line).is_gone = true;
        self.dials.lock().count(&self.host, |counts| counts.live -= 1);
    }
}

/// A request that runs in a task of its own.
pub(crate) struct Asked {
    task: JoinHandle<(Result<String, Error>, Duration)>,
}

/// Sends a request in a task of its own, and returns the task. The tasks are polled in the order of these calls.
pub(crate) fn ask(client: &Client, url: &str) -> Asked {
    let request = client.get(url).send();
    Asked { task: tokio::spawn(timed(request)) }
}

async fn timed(request: impl Future<Output = Result<Response, Error>>) -> (Result<String, Error>, Duration) {
    let begun = Instant::now();
    let outcome = async { request.await?.text().await };
    (outcome.await, begun.elapsed())
}

impl Asked {
    /// Lets every task run until it waits, and returns whether the request is still unanswered.
    pub(crate) async fn is_waiting(&self) -> bool {
        settle().await;
        !self.task.is_finished()
    }

    /// Returns the content of the response, or the error, and the time that the request took. Fails if the request has not
    /// ended.
    #[track_caller]
    pub(crate) fn outcome(self) -> impl Future<Output = (Result<String, Error>, Duration)> {
        let place = Location::caller();
        async move {
            settle().await;
            assert!(self.task.is_finished(), "{place}: the request has not ended");
            self.task.await.unwrap()
        }
    }

    /// Returns the number of the connection that answered. Fails if the request has not succeeded.
    #[track_caller]
    pub(crate) fn answer(self) -> impl Future<Output = usize> {
        let place = Location::caller();
        let outcome = self.outcome();
        async move {
            let text = outcome.await.0.unwrap_or_else(|error| panic!("{place}: {}", error.chain()));
            text.parse().unwrap()
        }
    }

    /// Returns the error of the request. Fails if the request has not failed.
    #[track_caller]
    pub(crate) fn error(self) -> impl Future<Output = Error> {
        let place = Location::caller();
        let outcome = self.outcome();
        async move {
            match outcome.await.0 {
                Ok(text) => panic!("{place}: it was answered by connection {text}"),
                Err(error) => error,
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Aborts the request's task. The runtime drops the request when it next runs other tasks.
    pub(crate) fn abort(self) {
        self.task.abort();
    }

    /// Aborts the request's task, and waits until the request is dropped.
    pub(crate) async fn cancel(self) {
        self.task.abort();
        settle().await;
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "the request had ended before");
    }
}

/// Lets every task run until it waits. The paused clock advances only when no task can run.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Returns the client's counts: idle, active, dialing, waiting.
pub(crate) fn counts(client: &Client) -> [usize; 4] {
    let total = client.pool().stats().total;
    [total.idle, total.active, total.dialing, total.waiting]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
