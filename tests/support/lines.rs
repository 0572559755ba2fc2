//! Connections in memory whose other end is the test. The test sees each write separately, sends bytes when it chooses,
//! and limits how many bytes the connection accepts. This module also has request bodies that follow a list of steps.
//!
//! Nothing in this module waits for time, so that tests can pause the clock. Invariant: the client's writes are recorded
//! one by one.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of this file, and the file is test code"
)]

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use handclasp::{BoxError, Client, ClientBuilder, Destination, Look, RequestBuilder, Response, Transport};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use super::Uncoded;

/// The test's ends of all connections of a client.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    all: Arc<Mutex<Vec<Line>>>,
    /// Number of bytes that a new connection accepts. `None` means no limit.
    room: Arc<Mutex<Option<usize>>>,
    /// Round trip that each new connection reports.
    round_trip: Arc<Mutex<Option<Duration>>>,
}

impl Lines {
    /// Returns a client whose connections are these lines.
    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        let builder = Client::builder().no_user_agent().uncoded().connector(self.connector());
        // These tests check each single response, so that the client follows no redirect.
        #[cfg(feature = "url")]
        let builder = builder.redirect(handclasp::redirect::Policy::none());
        builder
    }

    pub(crate) fn connector(&self) -> impl Fn(Destination) -> Dialing + Send + Sync + 'static {
        let lines = self.clone();
        move |_| {
            let lines = lines.clone();
            Box::pin(async move {
                let line = Line::default();
                line.lock().room = lines.room.lock().unwrap().unwrap_or(usize::MAX);
                line.lock().round_trip = *lines.round_trip.lock().unwrap();
                lines.all.lock().unwrap().push(line.clone());
                Ok(Box::new(Wire(line)) as Box<dyn Transport>)
            })
        }
    }

    /// Lets each connection that is made after this call accept `bytes` bytes. [`Line::take`] allows more.
    pub(crate) fn room(&self, bytes: usize) {
        *self.room.lock().unwrap() = Some(bytes);
    }

    /// Sets the round trip that all later connections report.
    pub(crate) fn round_trip(&self, round_trip: Duration) {
        *self.round_trip.lock().unwrap() = Some(round_trip);
    }

    pub(crate) fn count(&self) -> usize {
        self.all.lock().unwrap().len()
    }

    /// Waits until the connection of this number is made, and returns it. The first connection has number 0.
    pub(crate) async fn line(&self, number: usize) -> Line {
        until("a connection is made", || self.count() > number).await;
        self.all.lock().unwrap()[number].clone()
    }

    /// Waits until the client has written something on the connection of this number that ends with `end`, and returns
    /// the connection.
    #[track_caller]
    pub(crate) fn written(&self, number: usize, end: &str) -> impl Future<Output = Line> {
        let place = std::panic::Location::caller();
        let (lines, end) = (self.clone(), end.to_owned());
        async move {
            let line = lines.line(number).await;
            let begun = Instant::now();
            while !line.text().ends_with(&end) {
                let text = line.text();
                assert!(begun.elapsed() < PATIENCE, "{place}: {text:?} does not end with {end:?}");
                tokio::task::yield_now().await;
            }
            line
        }
    }
}

pub(crate) type Dialing = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, BoxError>> + Send>>;

/// The test's end of one connection.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    writes: Vec<Vec<u8>>,
    room: usize,
    round_trip: Option<Duration>,
    incoming: VecDeque<u8>,
    end: End,
    breaks_writes: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    holds_shutdown: bool,
    is_shut: bool,
    is_gone: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum End {
    #[default]
    Open,
    Eof,
    Reset,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Sends these bytes to the client.
    pub(crate) fn say(&self, bytes: impl AsRef<[u8]>) {
        self.change(|state| state.incoming.extend(bytes.as_ref()));
    }

    /// Ends the direction from the server to the client, after the bytes that were sent before this call.
    pub(crate) fn eof(&self) {
        self.change(|state| state.end = End::Eof);
    }

    /// Resets the connection. The client still reads the bytes that were sent before this call, but its writes fail at once.
    pub(crate) fn reset(&self) {
        self.change(|state| (state.end, state.breaks_writes) = (End::Reset, true));
    }

    /// Sets whether the client's shutdown of its direction is pending.
    pub(crate) fn hold_shutdown(&self, is_held: bool) {
        self.change(|state| state.holds_shutdown = is_held);
    }

    /// Accepts `bytes` more bytes from the client.
    pub(crate) fn take(&self, bytes: usize) {
        self.change(|state| state.room = state.room.saturating_add(bytes));
    }

    /// Accepts no more bytes from the client, until `take` allows more.
    pub(crate) fn block(&self) {
        self.change(|state| state.room = 0);
    }

    /// Returns the client's writes one by one.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.lock().writes.iter().map(|write| String::from_utf8_lossy(write).into_owned()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().writes.concat()).into_owned()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().writes.iter().map(Vec::len).sum()
    }

    /// Returns the number of bytes that the client has not read.
    pub(crate) fn unread(&self) -> usize {
        self.lock().incoming.len()
    }

    /// Whether the client has dropped the connection.
    pub(crate) fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    /// Whether the client has shut down its direction.
    pub(crate) fn is_shut(&self) -> bool {
        self.lock().is_shut
    }
}

/// The client's end of a connection.
struct Wire(Line);

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.incoming.is_empty() {
            return match state.end {
                End::Open => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                End::Eof => Poll::Ready(Ok(())),
                End::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
        }
        let most = state.incoming.len().min(buf.remaining());
        let bytes: Vec<u8> = state.incoming.drain(..most).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if state.breaks_writes {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        bytes.truncate(state.room);
        if bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let written = bytes.len();
        state.room -= if state.room == usize::MAX { 0 } else { written };
        state.writes.push(bytes);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.holds_shutdown {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.is_shut = true;
        Poll::Ready(Ok(()))
    }
}

impl Transport for Wire {
    fn look(&mut self) -> Look {
        let state = self.0.lock();
        match (state.incoming.is_empty(), state.end) {
            (false, _) => Look::Spoke,
            (true, End::Open) => Look::Silent,
            (true, _) => Look::Closed,
        }
    }

    fn close(&mut self) {}

    fn round_trip(&self) -> Option<Duration> {
        self.0.lock().round_trip
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.lock().is_gone = true;
    }
}

/// Sends a request in a task of its own, and returns the handle of the task.
pub(crate) fn send(request: RequestBuilder) -> JoinHandle<handclasp::Result<Response>> {
    tokio::spawn(request.send())
}

/// Yields 300 times, so that all tasks run until they wait. The clock does not advance.
pub(crate) async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

/// Lets other tasks run until `is_so` is true.
#[track_caller]
pub(crate) fn until(what: &'static str, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{place}: timed out waiting until {what}");
            tokio::task::yield_now().await;
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// One action of a [`Source`].
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(&'static str),
    Trailer(&'static str, &'static str),
    Fail,
    /// The source is pending once, and wakes the reader.
    Later,
    /// The source is pending for ever.
    Never,
    /// The source gives empty pieces for ever.
    Empties,
}

/// A stream or a body that follows these steps, and ends after the last step.
pub(crate) struct Source {
    steps: VecDeque<Step>,
    length: Option<u64>,
    pub(crate) polls: Arc<AtomicUsize>,
}

impl Source {
    pub(crate) fn new(steps: &[Step]) -> Self {
        Self { steps: steps.iter().cloned().collect(), length: None, polls: Arc::default() }
    }

    /// Sets the length that the source announces when it is used as a body.
    pub(crate) fn sized(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        let Some(step) = self.steps.pop_front() else { return Poll::Ready(None) };
        Poll::Ready(Some(match step {
            Step::Data(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
            Step::Trailer(name, value) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, value.parse().unwrap());
                Ok(Frame::trailers(trailers))
            }
            Step::Fail => Err(io::Error::other("the source is broken")),
            Step::Later => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Step::Never => {
                self.steps.push_front(step);
                return Poll::Pending;
            }
            Step::Empties => {
                self.steps.push_front(step);
                Ok(Frame::data(Bytes::new()))
            }
        }))
    }
}

impl Stream for Source {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx).map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }
}

impl http_body::Body for Source {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.poll(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A stream of the pieces that the test sends.
pub(crate) struct Fed(pub(crate) tokio::sync::mpsc::Receiver<Bytes>);

impl Stream for Fed {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}
