//! One request and its response on one connection: the I/O loop between the codec and the stream.
//!
//! This module writes the bytes that the codec encodes, gives the codec the bytes that were read, and keeps the clocks
//! of the phases. The exchange gives the connection back when the codec's verdict allows the reuse. This module knows
//! no pool policy, no routes and no retries. The exchange reports how an attempt failed and how much was written, and
//! [`call`](crate::call) decides whether the request is sent again. Invariant: a connection is given back only after
//! the request was fully written, the response was framed to its end, and every buffer was found empty. In any other
//! case, dropping the exchange closes the connection.
//!
//! All I/O happens inside `poll_head` and `poll_data`, which run in the task that polls the request or the response's
//! body. One poll decodes the bytes that were read, then reads, then writes as much of the upload as possible. The poll
//! checks the deadlines only if no byte was read or written.
//!
//! The state is split by lifetime. An [`Exchange`] lives as long as the request, an [`Attempt`] as long as one attempt,
//! and a [`Connection`] as long as the use of one connection. The upload belongs to the request, so that a new attempt
//! can replay the upload ([`Exchange::restart`]).

mod attempt;
mod clocks;
mod drain;
mod exceeded;
mod incoming;
mod outgoing;
mod parked;
mod receive;
mod send;
mod sent;
pub(crate) mod timeout;
mod unasked;
mod unused;
mod upload;

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use self::attempt::{Attempt, Connection, Expectation, Stage};
use self::outgoing::PIECES;
use self::timeout::{Chosen, Deadline, Timeouts};
pub(crate) use self::upload::Upload;
pub use self::upload::UploadProgress;
use self::upload::UploadState;
use crate::buffer;
use crate::codec::{CloseReason, Event, Framing, Limits, ProtocolError, RequestHead, ResponseHead};
use crate::connect::Look;
use crate::error::{Error, ErrorKind, Phase, ResendCause, Result, Written};
use crate::pool::lease::Lease;
use crate::pool::{ConnectionInfo, DropReason, Early};
use crate::record::{Ended, Measured, RequestTrace, Sending};
use crate::time;

/// The settings of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeConfig {
    pub(crate) timeouts: Chosen,
    /// Longest time for which a request with `Expect: 100-continue` holds its body back: 1 s by default.
    pub(crate) expect_continue: Duration,
    /// The codec's limits.
    pub(crate) limits: Limits,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        Self {
            timeouts: Chosen::default(),
            expect_continue: Duration::from_secs(1),
            limits: Limits::default(),
        }
    }
}

/// The caller's function that is called for each interim response.
pub(crate) type OnInformational = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

/// The failure of an attempt.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Before the first write, the connection was found closed or with bytes to read. Nothing was written, and the
    /// exchange still has the connection.
    Stale(DropReason),
    /// The connection was closed or reset before the response was complete. Neither a close nor a reset tells whether
    /// the server acted on the request.
    Lost(Error),
    /// Bytes came on a reused connection before the request head was written. These bytes do not answer the request,
    /// and later bytes cannot be trusted to answer the request.
    Premature(Error),
    /// The first byte of an answer came on a reused connection so soon that it was on its way before the server can
    /// have seen the request. The exchange can be [continued](Exchange::believe).
    TooSoon(Early),
    /// The attempt failed in any other way: a deadline passed, the server broke the protocol, or the request's body
    /// failed.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Lost(error) | Self::Premature(error) | Self::Other(error) => error,
            Self::Stale(_) => Error::new(ErrorKind::ConnectionLost, "the connection was lost"),
            Self::TooSoon(early) => early.into_error(),
        }
    }
}

/// The exchange of one request. [`prepare`](Self::prepare) prepares an attempt, [`attach`](Self::attach) gives the
/// attempt its connection, and [`poll_head`](Self::poll_head) runs the attempt.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The connection. This is the first field, because Rust drops fields in order of declaration. So the connection is
    /// free before the drop of the upload or of the trace runs the caller's code.
    connection: Option<Connection>,
    upload: Upload,
    timeouts: Timeouts,
    /// Longest time for which an expectation holds the body back.
    patience: Duration,
    /// The request's total deadline.
    deadline: Option<Deadline>,
    trace: RequestTrace,
    /// Largest part of the request that any attempt has written.
    written: Written,
    attempt: Attempt,
}

/// # The steps of an attempt
impl Exchange {
    #[inline]
    pub(crate) fn new(
        upload: Upload,
        config: ExchangeConfig,
        timeouts: Timeouts,
        deadline: Option<Deadline>,
        trace: RequestTrace,
    ) -> Self {
        Self {
            connection: None,
            upload,
            timeouts,
            patience: config.expect_continue,
            deadline,
            trace,
            written: Written::Nothing,
            attempt: Attempt::new(config.limits),
        }
    }

    /// Encodes the request head before the attempt has a connection. The head's `body` and `trailers` are taken from
    /// the upload.
    ///
    /// # Errors
    ///
    /// An error of the codec if the head breaks a rule of HTTP.
    #[inline]
    pub(crate) fn prepare(&mut self, head: RequestHead<'_>) -> Result<(), Error> {
        let attempt = &mut self.attempt;
        attempt.outgoing.framing = buffer::take_write();
        let (body, trailers) = (self.upload.length(), self.upload.trailers());
        let head = RequestHead { body, trailers, ..head };
        attempt
            .machine
            .encode_head(&head, &mut attempt.outgoing.framing)
            .map_err(|misuse| Error::request(misuse.to_string()).in_phase(Phase::Send))?;
        if self.trace.is_watched() {
            self.trace.encoded(&attempt.outgoing.framing, head.headers);
        }
        if *head.method == Method::CONNECT {
            // A refused CONNECT also closes the connection, because the proxy may already have begun a tunnel.
            attempt.machine.close_after(CloseReason::Tunnel);
        }
        attempt.head_length = attempt.outgoing.framing.len() as u64;
        if attempt.machine.expects_continue() {
            attempt.expectation = Expectation::Held;
        }
        Ok(())
    }

    /// Returns the bytes of the prepared attempt that come first.
    pub(crate) fn first_bytes(&self) -> &[u8] {
        &self.attempt.outgoing.framing
    }

    /// Whether the prepared attempt has nothing to send beyond its [first bytes](Self::first_bytes).
    pub(crate) fn is_head_only(&self) -> bool {
        self.attempt.machine.is_send_done()
    }

    /// Gives the prepared attempt its connection. `assigned` is the time at which the connection was taken, if the
    /// connection was idle and was taken within this poll.
    #[inline]
    pub(crate) fn attach(&mut self, lease: Lease, assigned: Option<Instant>) {
        self.connection = Some(Connection::new(lease, assigned));
    }

    /// Takes the connection out of the exchange and returns it, so that the caller can replace or close the connection.
    pub(crate) fn detach(&mut self) -> Option<Lease> {
        self.connection.take().map(|connection| connection.lease)
    }

    /// Makes a new attempt, which sends the body from its start. Pieces that were taken from the caller's stream but
    /// not written are kept for the new attempt. The body must be [replayable](Self::is_replayable), and the connection
    /// must have been detached.
    pub(crate) fn restart(&mut self) {
        let next = Attempt::new(*self.attempt.machine.limits());
        let attempt = std::mem::replace(&mut self.attempt, next);
        self.upload.rewind(attempt.outgoing.into_unsent());
    }

    /// Sends the prepared request and waits for the head of its response. Interim responses go to `informed`.
    pub(crate) fn poll_head(
        &mut self,
        informed: Option<&OnInformational>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        self.resume()?;
        let polled = self.poll_head_now(informed, cx);
        if let Some(connection) = &mut self.connection {
            connection.is_here = false;
        }
        self.rest(polled, cx)
    }

    /// Whether the request's body can be sent again from its start.
    #[cfg(feature = "url")]
    pub(crate) fn has_replayable_body(&self) -> bool {
        self.upload.is_replayable()
    }

    /// Ends the trace of an attempt that another attempt follows. The content of the response does not count, because
    /// nobody reads this content.
    #[cold]
    pub(crate) fn end_attempt(&mut self, ended: &Ended<'_>) {
        // A resend closes the connection without reading the rest of the response. A redirect reads a small rest, and an
        // answer that came too soon leaves its connection in doubt.
        let unread = match ended.cause {
            ResendCause::Redirect => self.unread(),
            ResendCause::TooSoon => None,
            _ => Some(UNREAD),
        };
        let (close, now) = (self.close_reason().or(unread), self.ended_at(ended));
        self.trace.end_attempt(ended, close, now, || self.attempt.amounts());
    }

    /// Ends the trace of a request that a redirect has answered.
    #[cfg(feature = "url")]
    pub(crate) fn end_hop(&mut self, method: &Method, uri: &http::Uri, status: Option<StatusCode>) {
        self.set_answered();
        let (connection, peer) = self.lease().map_or((0, None), Lease::id_and_peer);
        let (cause, failure) = (ResendCause::Redirect, None);
        self.end_attempt(&Ended { method, uri, status, failure, cause, connection, peer });
    }

    /// Returns the time at which an attempt ended: the time of its response head, or now without a response.
    fn ended_at(&self, ended: &Ended<'_>) -> Instant {
        self.trace.head_at().filter(|_| ended.status.is_some()).unwrap_or_else(time::now)
    }

    /// Begins the trace of an attempt that sends the request again.
    #[cold]
    pub(crate) fn begin_again(&mut self, sending: &Sending<'_>) {
        self.trace = self.trace.next_attempt(sending, time::now());
    }

    /// Makes the exchange ready for the next hop, whose trace is `trace`. With `body`, this body replaces the request's
    /// body. Without it, the request's body must be [replayable](Self::has_replayable_body). Returns the exchange of the
    /// redirect, so that the caller can abandon it.
    #[cfg(feature = "url")]
    pub(crate) fn next_hop(&mut self, body: Option<crate::body::Body>, trace: RequestTrace) -> Self {
        let next = Attempt::new(*self.attempt.machine.limits());
        let upload = match body {
            Some(body) => std::mem::replace(&mut self.upload, Upload::new(body)),
            None => {
                self.upload.rewind(std::iter::empty());
                Upload::new(crate::body::Body::empty())
            }
        };
        Self {
            connection: self.connection.take(),
            upload,
            timeouts: self.timeouts,
            patience: self.patience,
            deadline: self.deadline,
            trace: std::mem::replace(&mut self.trace, trace),
            written: self.written,
            attempt: std::mem::replace(&mut self.attempt, next),
        }
    }

    fn poll_head_now(
        &mut self,
        informed: Option<&OnInformational>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        if let Some(Connection { stage: Stage::Attached { assigned }, .. }) = self.connection {
            self.begin(assigned, cx)?;
        }
        loop {
            match ready!(self.poll_event(cx)) {
                Ok(Some(Event::Head(head))) => {
                    self.trace_head(&head);
                    return Poll::Ready(Ok(head));
                }
                Ok(Some(Event::Informational(head))) => {
                    if let Some(informed) = informed {
                        informed(head.status, head.headers());
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return Poll::Ready(Err(self.lost(ProtocolError::ClosedBeforeResponse))),
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
    }

    /// Notes in the trace that the response head is complete.
    #[inline]
    fn trace_head(&mut self, head: &ResponseHead) {
        let unwritten = self.attempt.written_at.is_none().then_some(self.attempt.sent);
        // Most heads are complete with the first read. The time of the first byte is then used for the head too, which
        // avoids a second reading of the clock.
        let at = self.trace.head_at().filter(|_| !self.attempt.is_split);
        self.trace.head(head, unwritten, at.unwrap_or_else(time::now));
    }

    /// Begins the attempt on its connection: frames the pieces of the body that are ready, checks the connection, and
    /// makes the first write.
    fn begin(&mut self, assigned: Option<Instant>, cx: &mut Context<'_>) -> Result<(), Failure> {
        if !self.attempt.is_framed && !self.attempt.expectation.holds() {
            self.attempt.is_framed = true;
            let mut left = PIECES;
            // If the body is pending, the first write has only the head.
            if let Poll::Ready(Err(error)) = self.poll_frames(&mut left, cx) {
                self.note_unused(assigned);
                return Err(error.into());
            }
        }
        let Some(Connection { lease, .. }) = &mut self.connection else { return Ok(()) };
        let is_reused = lease.is_reused();
        match lease.look() {
            Look::Silent => {}
            Look::Closed => return Err(self.found_dead(is_reused, DropReason::PeerClosed)),
            Look::Spoke => return Err(self.found_dead(is_reused, DropReason::Unsolicited)),
        }
        let now = assigned.unwrap_or_else(time::now);
        if let Err(overdue) = self.check_deadline() {
            self.note_unused(Some(now));
            return Err(overdue);
        }
        let Some(Connection { lease, stage, .. }) = &mut self.connection else { return Ok(()) };
        if is_reused {
            self.attempt.machine.set_reused();
        }
        let info = lease.begin(now);
        self.trace.assigned(&info, now);
        *stage = Stage::Begun(Some(info));
        let sent = self.poll_upload(cx);
        if !is_reused && let Some(Connection { lease, .. }) = &self.connection {
            lease.send_held_ack();
        }
        match sent {
            Poll::Ready(sent) => Ok(sent?),
            Poll::Pending => Ok(()),
        }
    }

    /// Returns the next piece of content, or `None` at the end of the content. When this method returns `None` or an
    /// error, the connection was given back or closed.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let polled = match self.resume() {
                Ok(()) => self.poll_event(cx),
                Err(gone) => Poll::Ready(Err(gone)),
            };
            match ready!(self.rest(polled, cx)) {
                Ok(Some(Event::Data(data))) => {
                    self.attempt.received += data.len() as u64;
                    self.park();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Some(Event::Trailers(trailers))) => self.attempt.trailers = Some(Box::new(trailers)),
                Ok(Some(Event::End) | None) => {
                    let sent = self.poll_sent(cx);
                    if let Err(failure) = ready!(self.rest(sent, cx)) {
                        return Poll::Ready(Some(Err(self.fail(failure))));
                    }
                    self.conclude(time::now());
                    return Poll::Ready(None);
                }
                Ok(Some(_)) => {}
                Err(failure) => return Poll::Ready(Some(Err(self.fail(failure)))),
            }
        }
    }

    /// Asks for the remaining content in one piece, if at most `most` bytes remain.
    pub(crate) fn gather(&mut self, most: usize) {
        let rest = self.remaining().and_then(|rest| usize::try_from(rest).ok());
        if let Some(rest) = rest.filter(|rest| *rest <= most) {
            self.attempt.incoming.gather(rest);
        }
    }

    /// Returns the content that came with the response head, and whether this content is all of the content. If the
    /// content is complete, the connection was given back or closed.
    pub(crate) fn take_ready(&mut self) -> (Bytes, bool) {
        let mut ready = Bytes::new();
        let come = self.attempt.incoming.len();
        let is_whole = self.remaining().is_some_and(|rest| rest <= come as u64);
        if !is_whole && come > buffer::SMALL {
            return (ready, false);
        }
        loop {
            let attempt = &mut self.attempt;
            match attempt.machine.decode(attempt.incoming.bytes()) {
                Ok(Some(Event::Data(data))) => {
                    attempt.received += data.len() as u64;
                    ready = if ready.is_empty() { data } else { [ready, data].concat().into() };
                }
                Ok(Some(Event::Trailers(trailers))) => attempt.trailers = Some(Box::new(trailers)),
                Ok(Some(Event::End)) if self.is_sending() => return (ready, false),
                Ok(Some(Event::End)) => {
                    self.conclude(self.trace.head_at().unwrap_or_else(time::now));
                    return (ready, true);
                }
                // The machine returns an error again at the next read.
                Ok(_) | Err(_) => return (ready, false),
            }
        }
    }

    /// Returns the connection and the bytes that came after the response head, if that head made the connection a
    /// tunnel. A 101, and a 2xx to CONNECT, make a tunnel.
    pub(crate) fn take_tunnel(&mut self) -> Option<(Lease, Bytes)> {
        if self.attempt.machine.framing() != Some(Framing::Tunnel) {
            return None;
        }
        let now = self.trace.head_at().unwrap_or_else(time::now);
        self.trace.complete(self.close_reason(), now, || self.attempt.amounts());
        let lease = self.detach()?;
        Some((lease, self.attempt.incoming.bytes().split().freeze()))
    }

    /// Notes that the attempt failed without an answer, and not because of the request itself.
    #[cold]
    pub(crate) fn note_unanswered(&self) {
        if let Some(Connection { lease, stage: Stage::Begun(_), .. }) = &self.connection {
            lease.note_unanswered();
        }
    }

    /// Whether the attempt has touched its connection, so that the connection is given back only after a complete
    /// response.
    fn has_begun(&self) -> bool {
        matches!(self.connection, Some(Connection { stage: Stage::Begun(_), .. }))
    }

    /// Returns the reason to close a connection whose response is given up now, unless the rest of the response is worth
    /// reading.
    fn unread(&self) -> Option<&'static str> {
        (self.has_begun() && !self.is_worth_draining()).then_some(UNREAD)
    }

    /// Notes that the connection will close because the attempt failed, unless the codec knows a reason.
    #[cold]
    pub(crate) fn set_failed(&mut self) {
        if self.has_begun() && !self.closes() {
            self.attempt.machine.close_after(CloseReason::Failed);
        }
    }

    /// Closes the connection, or gives it back if the attempt has not touched it.
    pub(crate) fn bury(&mut self, reason: DropReason) {
        match self.connection.take() {
            Some(Connection { lease, stage: Stage::Begun(_), .. }) => {
                lease.bury_because(reason, self.close_reason())
            }
            Some(Connection { lease, .. }) => lease.checkin(None, None, time::now()),
            None => {}
        }
    }
}

/// # The state of an exchange
impl Exchange {
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.connection.as_ref().map(|connection| &connection.lease)
    }

    fn lease_mut(&mut self) -> Option<&mut Lease> {
        self.connection.as_mut().map(|connection| &mut connection.lease)
    }

    pub(crate) fn trace(&mut self) -> &mut RequestTrace {
        &mut self.trace
    }

    pub(crate) fn upload(&mut self) -> &mut Upload {
        &mut self.upload
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        self.timeouts.write
    }

    /// Whether the attempt's connection had served a request, or had been idle, before this attempt.
    pub(crate) fn is_reused(&self) -> bool {
        self.lease().is_some_and(Lease::is_reused)
    }

    /// Returns how much of the request was written in this attempt.
    pub(crate) fn attempt_written(&self) -> Written {
        self.attempt.written()
    }

    /// Returns the largest part of the request that any attempt has written.
    pub(crate) fn written(&self) -> Written {
        self.written
    }

    /// Whether the request can be sent again from its start. This requires that the server has not begun to act on the
    /// request, and that the body can be replayed.
    pub(crate) fn is_replayable(&self) -> bool {
        !self.attempt.is_taken_on && (self.attempt.sent == 0 || self.upload.is_replayable())
    }

    /// Whether nothing beyond the request head was written in this attempt. Returns false after a failed write, because
    /// that write may have written more bytes than the write reported.
    pub(crate) fn is_head_alone(&self) -> bool {
        self.attempt.sent <= self.attempt.head_length && self.attempt.sending.error().is_none()
    }

    /// Whether the server said that it closes the connection: by `Connection: close`, or by an HTTP/1.0 response that
    /// does not offer to keep the connection.
    pub(crate) fn says_close(&self) -> bool {
        let reasons = self.attempt.machine.close_reasons();
        reasons.contains(CloseReason::PeerClose) || reasons.contains(CloseReason::Http10)
    }

    /// Whether the connection closes after the response, for any reason.
    pub(crate) fn closes(&self) -> bool {
        !self.attempt.machine.close_reasons().is_empty()
    }

    /// Returns a reason that forbids the reuse of the connection, as a sentence, or `None` if the codec has found no
    /// such reason.
    pub(crate) fn close_reason(&self) -> Option<&'static str> {
        attempt::explain(self.attempt.machine.close_reasons())
    }

    /// Whether any byte of a response was seen in this attempt.
    pub(crate) fn is_answered(&self) -> bool {
        self.attempt.machine.has_peer_spoken()
    }

    /// Returns the timings of a request whose response head has come. The timings are final once the content has ended.
    pub(crate) fn measured(&self) -> Measured {
        self.trace.measured()
    }

    /// Takes the response's trailers. Returns `None` before the content has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.attempt.trailers.take()
    }

    /// Takes the response's description of its connection. Returns `None` before the first write.
    pub(crate) fn take_info(&mut self) -> Option<ConnectionInfo> {
        match &mut self.connection.as_mut()?.stage {
            Stage::Begun(info) => info.take(),
            Stage::Attached { .. } => None,
        }
    }

    /// Returns the number of bytes of content that are still to come, or `None` if this number is not known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.attempt.machine.receive_remaining()
    }

    /// Returns the length of the content that the server announced, or `None` if the server announced no length.
    #[inline]
    pub(crate) fn announced_length(&self) -> Option<u64> {
        self.attempt.machine.announced_length()
    }

    /// Returns the progress of the upload.
    pub(crate) fn upload_progress(&self) -> UploadProgress {
        let attempt = &self.attempt;
        let state = if attempt.is_all_written() && !attempt.sending.is_cut() {
            UploadState::Complete
        } else if self.connection.is_none() || attempt.is_given_up() {
            // Without a connection, the unsent part of the upload is never sent.
            UploadState::Aborted
        } else {
            UploadState::Open
        };
        UploadProgress { bytes: attempt.content_written(), state }
    }

    /// Ends the trace with `error`. Returns the error, with the request's timings and the amount of the request that
    /// was written.
    pub(crate) fn error(&mut self, error: Error) -> Error {
        let is_head_received = self.attempt.machine.is_head_received();
        let close = self.close_reason().or_else(|| self.unread());
        let error = error.with_written(self.written);
        self.trace.fail(error, is_head_received, close, time::now(), || self.attempt.amounts())
    }

    /// Ends the trace, because the caller makes an error of the response. If all content has come, the attempt is complete.
    /// Otherwise the attempt fails with `error`.
    #[cold]
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        if self.take_what_came() { error } else { self.error(error) }
    }

    /// Ends the trace, because the caller does not want any more of the response. `close` is the reason to close the
    /// connection, for which the codec may know a better one.
    #[cold]
    fn cancel(&mut self, close: Option<&'static str>) {
        let is_head_received = self.attempt.machine.is_head_received();
        let close = self.close_reason().or(close);
        self.trace.cancel(is_head_received, close, time::now(), || self.attempt.amounts());
    }

    /// Closes the connection, and returns the error of the failure that ends the exchange.
    fn fail(&mut self, failure: Failure) -> Error {
        self.set_failed();
        let error = self.error(failure.into_error());
        self.bury(DropReason::Failed);
        error
    }
}

impl Drop for Exchange {
    /// Gives the connection back if all of the response was read already, even though the caller has not taken all
    /// content.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.take_what_came();
        }
        if self.trace.is_watched() {
            let close = self.has_begun().then_some(UNREAD);
            // The connection is free before the caller's code runs.
            drop(self.connection.take());
            self.cancel(close);
        }
    }
}

/// The reason to close a connection whose response is given up.
const UNREAD: &str = "the response was not read to its end";

#[cfg(test)]
mod tests {
    /// Checks the size of an exchange that is boxed with its response. The box must fit into the thread's cache of the
    /// allocator, which takes up to 1,032 bytes in glibc. A larger box costs 250 more instructions for each request
    /// whose content is read later.
    #[test]
    fn an_exchange_fits_into_the_allocators_cache() {
        assert!(size_of::<super::Exchange>() <= 1032, "{}", size_of::<super::Exchange>());
    }
}
