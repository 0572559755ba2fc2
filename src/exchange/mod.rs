//! One request and its response on one connection: the I/O loop between the codec and the stream.
//!
//! It writes what the codec encodes, gives the codec what it reads, keeps the clocks of the phases, and hands the
//! connection back when the codec's verdict allows. It knows no pool policy, no routes and no retries: what failed,
//! and how far it had come, is told to the client, which decides. Invariant: the connection is checked in only
//! after the request was fully written, the response framed to its end, and every buffer found empty; in any other
//! case, dropping the exchange closes it.
//!
//! Everything is done inside `poll_head` and then `poll_data`, by whoever polls the request or its response's body.
//! In one poll, in this order: what was read before is decoded; what can be read is read; what can be written of
//! the upload is written; and only if nothing moved, the clocks are asked.

mod clocks;
mod drain;
mod facts;
mod incoming;
mod parked;
mod send;
mod sent;
pub(crate) mod timeout;
mod unasked;
mod upload;

use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use self::incoming::{Expected, Incoming};
use self::timeout::{Chosen, Deadline, Timeouts};
use crate::buffer;
use crate::call::resend::End;
use crate::codec::{
    CloseReason, Event, Framing, Limits, Machine, ProtocolError, RequestHead, ResponseHead, Unasked, Verdict,
};
use crate::connect::Look;
use crate::error::{Error, ErrorKind, Phase, Result, Written};
use crate::pool::lease::Lease;
use crate::pool::{ConnectionInfo, DropReason};
use crate::time;
use crate::trace::RequestTrace;

pub(crate) use self::upload::Upload;
pub use self::upload::UploadProgress;
use self::upload::{Outgoing, PIECES};

/// The settings of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeConfig {
    pub(crate) timeouts: Chosen,
    /// How long a request with `Expect: 100-continue` holds its body back: 1 s by default.
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

/// Whom to tell of interim responses.
pub(crate) type OnInformational = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection was not silent when it was looked at; nothing was written, and the lease is still there.
    Stale(DropReason),
    /// The attempt ended without a response.
    Ended(End, Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Ended(_, error) => error,
            Self::Stale(_) => Error::new(ErrorKind::ConnectionLost, "the connection was lost"),
        }
    }
}

/// One request's exchange. An attempt begins with [`attach`](Self::attach).
#[derive(Debug)]
pub(crate) struct Exchange {
    lease: Option<Lease>,
    /// Time at which the lease was taken from the shelf; set only during that poll, in which the current runtime is the
    /// connection's.
    assigned: Option<Instant>,
    /// The request's first write was tried on this lease.
    is_begun: bool,
    /// The body was asked for its first pieces.
    is_framed: bool,
    /// The server has taken the request on, so that it is not sent again: it has begun to answer, with neither a 408 nor
    /// (where a 100 was waited for) an interim response or a 417.
    is_taken_on: bool,
    /// The peer has closed its side.
    is_eof: bool,
    /// The upload goes on when the caller's stream has more, and not before.
    waits_for_caller: bool,
    /// Nothing that was written waits inside the stream.
    is_flushed: bool,
    /// The request's body is held back until the server asks for it, or until `continue_at`, which is set once the
    /// head was written.
    is_expecting: bool,
    continue_at: Option<Instant>,
    info: Option<ConnectionInfo>,
    machine: Machine,
    upload: Upload,
    timeouts: Timeouts,
    /// How long the body is held back.
    patience: Duration,
    /// The request's total deadline.
    deadline: Option<Deadline>,
    /// Encoded and not yet written.
    out: Outgoing,
    /// The length of the request's head.
    head: u64,
    /// Read and not yet decoded.
    incoming: Incoming,
    trailers: Option<Box<HeaderMap>>,
    trace: RequestTrace,
    /// When the request's last byte was written.
    written_at: Option<Instant>,
    /// Since when no content has come, and nothing has left, while we waited for it.
    reading_since: Option<Instant>,
    writing_since: Option<Instant>,
    /// Bytes of the request written in this attempt, and the most over all attempts.
    sent: u64,
    written: Written,
    /// Bytes of its content among them.
    content: u64,
    received: u64,
    /// Bytes read from the connection in all attempts, framing included.
    wire: u64,
    /// The socket refused what we wrote: whatever the peer said before is still to be read.
    write_error: Option<io::Error>,
    /// The upload failed while content was being read.
    upload_error: Option<Error>,
    /// Whether framed content was discarded: the upload was given up, or a write failed.
    is_cut: bool,
    /// Whether our sending direction was closed after that.
    is_shut: bool,
}

impl Exchange {
    pub(crate) fn new(
        upload: Upload,
        config: ExchangeConfig,
        timeouts: Timeouts,
        deadline: Option<Deadline>,
        trace: RequestTrace,
    ) -> Self {
        Self {
            lease: None,
            assigned: None,
            is_begun: false,
            is_framed: false,
            is_taken_on: false,
            is_eof: false,
            waits_for_caller: false,
            is_flushed: true,
            is_expecting: false,
            continue_at: None,
            info: None,
            machine: Machine::new(config.limits),
            upload,
            timeouts,
            patience: config.expect_continue,
            deadline,
            out: Outgoing::default(),
            head: 0,
            incoming: Incoming::default(),
            trailers: None,
            trace,
            written_at: None,
            reading_since: None,
            writing_since: None,
            sent: 0,
            written: Written::Nothing,
            content: 0,
            received: 0,
            wire: 0,
            write_error: None,
            upload_error: None,
            is_cut: false,
            is_shut: false,
        }
    }

    /// Takes the connection out, to be replaced or closed.
    pub(crate) fn detach(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
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

    /// Checks and encodes the request's head, before there is a connection: what cannot be sent is refused here. What
    /// it says of the body is the upload's to say.
    pub(crate) fn prepare(&mut self, head: RequestHead<'_>) -> Result<(), Error> {
        if self.machine.is_head_sent() || self.machine.is_send_aborted() {
            self.machine = Machine::new(*self.machine.limits());
        }
        self.out.clear();
        self.out.framing = buffer::take_write();
        self.is_framed = false;
        let (body, trailers) = (self.upload.length(), self.upload.trailers());
        let head = RequestHead { body, trailers, ..head };
        self.machine
            .encode_head(&head, &mut self.out.framing)
            .map_err(|misuse| Error::request(misuse.to_string()).in_phase(Phase::Send))?;
        if *head.method == Method::CONNECT {
            // Also where it is refused: who knows what a proxy has begun for it.
            self.machine.close_after(CloseReason::Tunnel);
        }
        self.head = self.out.framing.len() as u64;
        self.is_expecting = self.machine.expects_continue();
        self.continue_at = None;
        Ok(())
    }

    /// Begins an attempt on a connection, for a request that was prepared. `assigned`: when the connection was had, if it
    /// came from the pool's shelf within this poll.
    pub(crate) fn attach(&mut self, lease: Lease, assigned: Option<Instant>) {
        self.lease = Some(lease);
        self.assigned = assigned;
        self.is_begun = false;
        self.is_flushed = true;
    }

    /// Takes everything back that an attempt did, so that the request can be prepared again. What was taken of the
    /// caller's stream and not written is kept for the next attempt.
    pub(crate) fn rewind(&mut self) {
        self.upload.rewind(self.out.take_pieces());
        self.out.clear();
        self.incoming = Incoming::default();
        self.is_eof = false;
        self.written_at = None;
        (self.reading_since, self.writing_since) = (None, None);
        self.sent = 0;
        self.content = 0;
        (self.write_error, self.upload_error) = (None, None);
        (self.is_cut, self.is_shut) = (false, false);
    }

    /// Sends the prepared request and waits for the head of its response.
    pub(crate) fn poll_head(
        &mut self,
        informed: Option<&OnInformational>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        self.resume()?;
        let polled = self.poll_head_now(informed, cx);
        self.assigned = None;
        self.rest(polled, cx)
    }

    fn poll_head_now(
        &mut self,
        informed: Option<&OnInformational>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        if !self.is_begun {
            self.begin(cx)?;
        }
        loop {
            match ready!(self.poll_event(cx)) {
                Ok(Some(Event::Head(head))) => {
                    let now = time::now();
                    self.trace.head(head.status, self.written_at.is_none().then_some(self.sent), now);
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

    /// The next piece of content. Ends, and gives the connection back, with `None` or an error.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let polled = match self.resume() {
                Ok(()) => self.poll_event(cx),
                Err(gone) => Poll::Ready(Err(gone)),
            };
            match ready!(self.rest(polled, cx)) {
                Ok(Some(Event::Data(data))) => {
                    self.received += data.len() as u64;
                    self.park();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Some(Event::Trailers(trailers))) => self.trailers = Some(Box::new(trailers)),
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

    /// What is left of the content, if it is no more than `most`, is to be one piece.
    pub(crate) fn gather(&mut self, most: usize) {
        let rest = self.remaining().and_then(|rest| usize::try_from(rest).ok());
        if let Some(rest) = rest.filter(|rest| *rest <= most) {
            self.incoming.gather(rest);
        }
    }

    /// The content that came with the head, and whether it is all of it; the connection is then given back already.
    pub(crate) fn take_ready(&mut self) -> (Bytes, bool) {
        let mut ready = Bytes::new();
        let is_whole = self.remaining().is_some_and(|rest| rest <= self.incoming.len() as u64);
        if !is_whole && self.incoming.len() > buffer::SMALL {
            return (ready, false);
        }
        loop {
            match self.machine.decode(self.incoming.bytes()) {
                Ok(Some(Event::Data(data))) => {
                    self.received += data.len() as u64;
                    ready = if ready.is_empty() { data } else { [ready, data].concat().into() };
                }
                Ok(Some(Event::Trailers(trailers))) => self.trailers = Some(Box::new(trailers)),
                Ok(Some(Event::End)) if self.is_sending() => return (ready, false),
                Ok(Some(Event::End)) => {
                    self.conclude(self.trace.head_at().unwrap_or_else(time::now));
                    return (ready, true);
                }
                // An error stays with the machine: whoever reads on is told.
                Ok(_) | Err(_) => return (ready, false),
            }
        }
    }

    /// The connection and what was read behind the head, where the head made a tunnel of it (101, or 2xx to CONNECT).
    pub(crate) fn take_tunnel(&mut self) -> Option<(Lease, Bytes)> {
        if self.machine.framing() != Some(Framing::Tunnel) {
            return None;
        }
        let now = self.trace.head_at().unwrap_or_else(time::now);
        self.trace.complete(self.received, now);
        let lease = self.lease.take()?;
        Some((lease, self.incoming.bytes().split().freeze()))
    }

    /// Closes the connection, unless the attempt ended before it touched it.
    pub(crate) fn bury(&mut self, reason: DropReason) {
        match self.lease.take() {
            Some(lease) if self.is_begun => lease.bury(reason),
            Some(lease) => lease.checkin(None, None, time::now()),
            None => {}
        }
    }

    /// The first poll of an attempt: the body is asked for what is ready, the connection looked at, then the first write made.
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if !self.is_framed && !self.is_expecting {
            self.is_framed = true;
            let mut left = PIECES;
            // Pending: the head goes alone.
            if let Poll::Ready(Err(error)) = self.poll_frames(&mut left, cx) {
                return Err(Failure::Ended(End::Other, error));
            }
        }
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let (look, is_reused) = (lease.look(), lease.is_reused());
        match look {
            Look::Silent => {}
            // What is wrong with a new connection would be wrong with the next: to dial again might never end.
            look if !is_reused => {
                self.is_begun = true;
                return Err(match look {
                    Look::Spoke => self.spoke_first(),
                    _ => self.lost(ProtocolError::ClosedBeforeResponse),
                });
            }
            Look::Closed => return Err(Failure::Stale(DropReason::PeerClosed)),
            Look::Spoke => return Err(Failure::Stale(DropReason::Unsolicited)),
        }
        let now = self.assigned.unwrap_or_else(time::now);
        self.check_deadline()?;
        let Some(lease) = &mut self.lease else { return Ok(()) };
        self.is_begun = true;
        if is_reused {
            self.machine.set_reused();
        }
        let info = lease.begin(now);
        self.trace.assigned(info.id(), info.is_reused(), now);
        self.info = Some(info);
        match self.poll_upload(cx) {
            Poll::Ready(Err(error)) => Err(Failure::Ended(End::Other, error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// The loop: decode, read, write, and only then the clocks.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Failure>> {
        if let Some(error) = self.upload_error.take() {
            return Poll::Ready(Err(Failure::Ended(End::Other, error)));
        }
        loop {
            let decoded = if self.is_eof {
                self.machine.decode_eof(self.incoming.bytes())
            } else if self.incoming.is_gathering(self.machine.receive_remaining()) {
                Ok(None)
            } else {
                self.machine.decode(self.incoming.bytes())
            };
            match decoded {
                Ok(Some(event)) => {
                    if let Event::Head(head) | Event::Informational(head) = &event {
                        let (status, expected) = (head.status, self.continue_at.is_some());
                        // (Before a 417 there may be other interim responses.)
                        let is_refusal =
                            status.is_informational() || status == StatusCode::EXPECTATION_FAILED;
                        self.is_taken_on |=
                            status != StatusCode::REQUEST_TIMEOUT && !(expected && is_refusal);
                    }
                    if let Event::Data(_) = &event {
                        self.note_content();
                    }
                    match &event {
                        Event::Head(_) => {
                            self.incoming.end_head();
                            // Encoded is not written.
                            let is_written = self.out.is_empty() && self.write_error.is_none();
                            if self.machine.framing() == Some(Framing::Tunnel) && !is_written {
                                return Poll::Ready(Err(self.lost(ProtocolError::UpgradeTooEarly)));
                            }
                            if std::mem::take(&mut self.is_expecting) {
                                // A final answer in place of the 100: the content is not wanted.
                                // <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
                                self.machine.abort_send();
                            }
                        }
                        Event::Informational(head) if head.status == StatusCode::CONTINUE => {
                            self.is_expecting = false;
                        }
                        // A response that keeps coming leaves the upload its turn.
                        Event::Data(_) if self.written_at.is_none() && self.upload_error.is_none() => {
                            if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
                                // After what has come.
                                self.upload_error = Some(error);
                            }
                        }
                        _ => {}
                    }
                    return Poll::Ready(Ok(Some(event)));
                }
                Ok(None) if self.machine.is_receive_done() => return Poll::Ready(Ok(None)),
                Ok(None) if self.incoming.has_more() => continue,
                Ok(None) if self.is_eof => {
                    return Poll::Ready(Err(self.lost(ProtocolError::ClosedWithinHead)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.lost(error))),
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    if self.is_torn() {
                        return Poll::Ready(Err(self.broken(io::ErrorKind::ConnectionReset.into())));
                    }
                    self.is_eof = true;
                    continue;
                }
                Poll::Ready(Ok(read)) => {
                    self.wire += read as u64;
                    self.check_premature()?;
                    if self.incoming.is_gathering(self.machine.receive_remaining()) {
                        self.note_content();
                    }
                    self.check_deadline()?;
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broken(error))),
                Poll::Pending => {}
            }
            let mut waits_to_write = false;
            if self.written_at.is_none() {
                match self.poll_upload(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Ended(End::Other, error))),
                    Poll::Pending => waits_to_write = !self.waits_for_caller,
                }
            } else if self.machine.is_send_done()
                && !self.machine.is_head_received()
                && let Err(error) = self.check_end(cx)
            {
                return Poll::Ready(Err(Failure::Ended(End::Other, error)));
            }
            ready!(self.poll_clocks(waits_to_write, cx))?;
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(0)) };
        let expected = match self.machine.is_head_received() {
            true => Expected::Body(self.machine.receive_remaining()),
            false => Expected::Head(lease.latest_size()),
        };
        self.incoming.poll_read(&mut lease.conn().stream, expected, cx)
    }

    /// Content has come, which holds off the clocks of both directions: a server need not read while it is read from.
    /// (Framing alone, as a chunk's extension, is no progress: it could go on for ever.)
    fn note_content(&mut self) {
        (self.reading_since, self.writing_since) = (None, None);
    }

    /// Where the attempt stands.
    pub(super) fn phase(&self) -> Phase {
        if self.machine.is_head_received() {
            Phase::Receive
        } else if self.written_at.is_none() || self.write_error.is_some() {
            Phase::Send
        } else {
            Phase::Wait
        }
    }

    /// The codec found an end that is none, or a breach of the protocol.
    fn lost(&mut self, error: ProtocolError) -> Failure {
        if error.is_closed() {
            let mut lost = Error::new(ErrorKind::ConnectionLost, error.to_string()).in_phase(self.phase());
            if let Some(source) = self.write_error.take() {
                lost = lost.because(source);
            }
            return Failure::Ended(End::Lost, lost);
        }
        let phase = self.phase();
        // On a used connection, what cannot begin a response belongs to what was there before.
        let end = if self.machine.is_no_response() && self.is_reused() { End::Premature } else { End::Other };
        Failure::Ended(end, Error::new(ErrorKind::Protocol, error.to_string()).in_phase(phase))
    }

    /// Whether the end that was read is no close: a write that fails by a reset takes the reset with it, and reading
    /// then ends as if the peer had closed. (Where the peer had closed before, the write fails by a broken pipe.)
    /// Content that ends with the connection is incomplete then: <https://www.rfc-editor.org/rfc/rfc9112#section-8>.
    fn is_torn(&self) -> bool {
        let is_reset = |error: &io::Error| error.kind() != io::ErrorKind::BrokenPipe;
        self.machine.framing() == Some(Framing::UntilClose) && self.write_error.as_ref().is_some_and(is_reset)
    }

    /// Reading failed.
    fn broken(&mut self, error: io::Error) -> Failure {
        let phase = self.phase();
        let source = self.write_error.take().unwrap_or(error);
        let message = match phase {
            Phase::Receive => "the connection broke before the response was complete",
            _ => "the connection broke before a response came",
        };
        Failure::Ended(
            End::Lost,
            Error::new(ErrorKind::ConnectionLost, message).in_phase(phase).because(source),
        )
    }

    /// Returns the error of a failure that ends the exchange, and closes the connection.
    fn fail(&mut self, failure: Failure) -> Error {
        let error = self.error(failure.into_error());
        self.bury(DropReason::Failed);
        error
    }

    /// The response is complete: the connection goes back, or away, as the codec says.
    fn conclude(&mut self, now: Instant) {
        self.trace.complete(self.received, now);
        // Encoded is not written: the peer may have answered while the rest of the request still stood in our way.
        let is_flushed = self.poll_flush(&mut Context::from_waker(Waker::noop())).is_ready();
        if !self.out.is_empty() || !is_flushed || !self.machine.is_send_done() {
            self.machine.close_after(CloseReason::UploadUnfinished);
        }
        if self.write_error.is_some() {
            self.machine.close_after(CloseReason::Failed);
        }
        let Some(mut lease) = self.lease.take() else { return };
        lease.note_size(self.wire);
        let surplus = if self.incoming.len() > 0 { self.take_surplus() } else { Unasked::Other };
        let look = match lease.conn().stream.look_inside() {
            Look::Spoke => lease.conn().look(),
            look => look,
        };
        match self.machine.verdict(self.incoming.len()) {
            Verdict::Reuse => match look {
                Look::Silent => {
                    let said = self.machine.keep_alive();
                    let stay = said.timeout.map(|timeout| timeout.saturating_sub(MARGIN));
                    lease.checkin(stay, said.max, now);
                }
                Look::Closed => lease.bury(DropReason::PeerClosed),
                Look::Spoke => lease.bury(DropReason::Unsolicited),
            },
            Verdict::Close(reasons) if reasons.contains(CloseReason::Surplus) => {
                lease.bury(match surplus {
                    Unasked::RequestTimeout => DropReason::PeerClosed,
                    _ => DropReason::Unsolicited,
                });
            }
            Verdict::Close(_) => lease.bury(DropReason::NotReusable),
            Verdict::Unfinished => lease.bury(DropReason::Failed),
        }
    }
}

impl Drop for Exchange {
    /// Whoever drops a response whose content is here already has not broken the connection.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.take_what_came();
        }
    }
}

/// What a server says of its idle timeout is taken to be this much less, for the way there.
const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    /// A speed bump: an exchange that is boxed with its response must fit into the allocator's cache of the thread, which
    /// takes up to 1,032 bytes in glibc. One step more costs 250 instructions for each request that reads its content later.
    #[test]
    fn an_exchange_fits_into_the_allocators_cache() {
        assert!(size_of::<super::Exchange>() <= 1032);
    }
}
