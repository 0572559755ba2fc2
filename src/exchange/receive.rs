//! The receiving half of an exchange: the effect of each event on the request, and the decision whether the connection is
//! given back at the end.
//!
//! This module drives the codec's receiving half. Where the response depends on the upload, this module drives the
//! sending half too. Invariant: the connection is given back only by [`Exchange::conclude`], with the codec's verdict
//! and a look at the stream.

use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::attempt::{Connection, explain};
use super::incoming::Expected;
use super::{Exchange, Failure, exceeded};
use crate::codec::{CloseReason, Event, Framing, ProtocolError, ResponseHead, Unasked, Verdict};
use crate::connect::{Look, client_refused};
use crate::error::{Error, ErrorKind, Phase};
use crate::pool::{DropReason, Early};
use crate::time;

impl Exchange {
    /// Returns the next event of the response, or `None` once the response is complete. Decodes the bytes that were
    /// read, reads more, and writes the upload. Waits for a deadline only if none of these steps made progress.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Failure>> {
        if let Some(error) = self.attempt.upload_error.take() {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            match self.attempt.decode() {
                Ok(Some(event)) => {
                    self.note_event(&event, cx)?;
                    return Poll::Ready(Ok(Some(event)));
                }
                Ok(None) if self.attempt.machine.is_receive_done() => return Poll::Ready(Ok(None)),
                Ok(None) if self.attempt.incoming.has_more() => continue,
                Ok(None) if self.attempt.is_eof => {
                    return Poll::Ready(Err(self.lost(ProtocolError::ClosedWithinHead)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.lost(error))),
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(read)) => {
                    self.note_read(read)?;
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broken(error))),
                Poll::Pending => {}
            }
            let mut waits_to_write = false;
            if self.attempt.written_at.is_none() {
                match self.poll_upload(cx) {
                    Poll::Ready(sent) => sent?,
                    Poll::Pending => waits_to_write = !self.attempt.waits_for_caller,
                }
            } else if self.attempt.machine.is_send_done() && !self.attempt.machine.is_head_received() {
                self.check_end(cx)?;
            }
            ready!(self.poll_clocks(waits_to_write, cx))?;
        }
    }

    /// Notes the effect of an event on the request, before the event is returned.
    #[inline]
    fn note_event(&mut self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        match event {
            Event::Head(head) => {
                self.note_taken_on(head.status);
                self.note_head(head)
            }
            Event::Informational(head) => {
                self.note_taken_on(head.status);
                if head.status == StatusCode::CONTINUE {
                    self.attempt.expectation.end();
                }
                Ok(())
            }
            Event::Data(_) => {
                self.attempt.note_progress();
                // A long response must not starve the upload.
                if self.attempt.written_at.is_none()
                    && self.attempt.upload_error.is_none()
                    && let Poll::Ready(Err(error)) = self.poll_upload(cx)
                {
                    self.attempt.upload_error = Some(error);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes whether a head shows that the server has begun to act on the request. A 408 is no such head. While
    /// the body is held back, neither a 417 nor an interim response is such a head, because interim responses may come
    /// before a 417.
    #[inline]
    fn note_taken_on(&mut self, status: StatusCode) {
        let is_refusal = status.is_informational() || status == StatusCode::EXPECTATION_FAILED;
        self.attempt.is_taken_on |= status != StatusCode::REQUEST_TIMEOUT
            && !(is_refusal && self.attempt.expectation.was_waited_for());
    }

    #[inline]
    fn note_head(&mut self, head: &ResponseHead) -> Result<(), Failure> {
        let attempt = &mut self.attempt;
        attempt.incoming.end_head();
        // The codec knows only which bytes were encoded. The request is written once `outgoing` is empty and no write
        // has failed.
        let is_written = attempt.outgoing.is_empty() && attempt.sending.error().is_none();
        if attempt.machine.framing() == Some(Framing::Tunnel) && !is_written {
            return Err(self.upgraded_too_early(head));
        }
        if attempt.expectation.end() {
            // A final response has come instead of the 100, so that the server does not want the content.
            // <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
            attempt.machine.abort_send();
        }
        Ok(())
    }

    /// Returns the failure of a response that switches protocols before the whole request was written.
    #[cold]
    fn upgraded_too_early(&mut self, head: &ResponseHead) -> Failure {
        self.trace_head(head);
        self.lost(ProtocolError::UpgradeTooEarly)
    }

    /// Notes that `read` bytes were read. If `read` is 0, the server has closed its sending direction.
    #[inline]
    fn note_read(&mut self, read: usize) -> Result<(), Failure> {
        if read == 0 {
            if self.is_torn() {
                return Err(self.broken(io::ErrorKind::ConnectionReset.into()));
            }
            self.attempt.is_eof = true;
            return Ok(());
        }
        self.attempt.wire += read as u64;
        self.check_premature()?;
        self.attempt.is_split = self.trace.head_at().is_some();
        // Line ends between responses have no meaning, so that they are no byte of a response.
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        if !self.attempt.is_split && !self.attempt.incoming.bytes().iter().all(is_line_end) {
            self.note_first_byte(time::now())?;
        }
        if self.attempt.is_gathering() {
            self.attempt.note_progress();
        }
        self.check_deadline()
    }

    /// Notes that the first byte of a response has come at the time `now`. Fails if the byte came too soon on a reused
    /// connection.
    #[inline]
    fn note_first_byte(&mut self, now: Instant) -> Result<(), Failure> {
        self.trace.first_byte(now);
        let Some(Connection { lease, .. }) = &self.connection else { return Ok(()) };
        let after = || self.trace.assigned_at().map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        if !lease.is_reused() {
            lease.note_first_answer(after());
        } else if let Some(believed_after) = lease.believed_after()
            && after() < believed_after
        {
            let early = Early { after: after(), believed_after, written: self.attempt.written() };
            lease.note_too_soon(early);
            return Err(Failure::TooSoon(early));
        }
        Ok(())
    }

    /// Continues an attempt whose answer came too soon, because its request must not be repeated. The connection closes
    /// after the response, so that no other request gets a wrong answer.
    pub(crate) fn believe(&mut self) {
        if let Some(Connection { lease, .. }) = &self.connection {
            lease.leave_doubted();
        }
        self.attempt.machine.close_after(CloseReason::Early);
    }

    #[inline]
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(Connection { lease, .. }) = &mut self.connection else { return Poll::Ready(Ok(0)) };
        let expected = match self.attempt.machine.is_head_received() {
            true => Expected::Body(self.attempt.machine.receive_remaining()),
            false => Expected::Head(lease.latest_size()),
        };
        self.attempt.incoming.poll_read(&mut lease.conn().stream, expected, cx)
    }

    /// Returns the failure for a response that ended too early or that broke the protocol.
    pub(super) fn lost(&mut self, error: ProtocolError) -> Failure {
        let phase = self.attempt.phase();
        if error.is_closed() {
            let mut lost = Error::new(ErrorKind::ConnectionLost, error.to_string()).in_phase(phase);
            if let Some(source) = self.attempt.sending.take_error() {
                lost = lost.because(source);
            }
            return Failure::Lost(lost);
        }
        let message = exceeded::message(error, self.attempt.machine.limits());
        let breach = Error::new(ErrorKind::Protocol, message).in_phase(phase);
        // On a reused connection, bytes that cannot begin a response belong to an earlier exchange.
        if self.attempt.machine.is_no_response() && self.is_reused() {
            Failure::Premature(breach)
        } else {
            Failure::Other(breach)
        }
    }

    /// Returns the failure of a new connection that ended before the request was written. If the server has refused the
    /// client's certificate, the failure names this refusal, which may come right after the handshake.
    #[cold]
    pub(super) fn lost_unused(&mut self) -> Failure {
        match self.refusal() {
            Some(error) => Failure::Lost(error),
            None => self.lost(ProtocolError::ClosedBeforeResponse),
        }
    }

    /// Returns the error of a connection that ended before the request was written, if the other side has refused the
    /// client's certificate on the connection.
    #[cold]
    pub(crate) fn refusal(&mut self) -> Option<Error> {
        match self.poll_read(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => self.refused(error, None).ok(),
            _ => None,
        }
    }

    /// Returns the error of a connection whose other side refused the client's certificate. Returns `error` unchanged
    /// if `error` has another reason. The phase is that of the handshake if `phase` is `None`.
    #[cold]
    fn refused(&self, error: io::Error, phase: Option<Phase>) -> Result<Error, io::Error> {
        let Some(why) = client_refused(&error) else { return Err(error) };
        let forwarder = self.connection.as_ref().and_then(|connection| connection.lease.forwarder());
        let refused = match forwarder {
            Some(proxy) => Error::new(ErrorKind::Proxy, format!("the proxy {proxy} {why}"))
                .in_phase(phase.unwrap_or(Phase::Proxy)),
            None => {
                Error::new(ErrorKind::Tls, format!("the server {why}")).in_phase(phase.unwrap_or(Phase::Tls))
            }
        };
        Ok(refused.because(error))
    }

    /// Whether the connection was reset, although reading ended as if the server had closed the connection. A write
    /// that fails by a reset consumes the reset, so that a later read does not see the reset. After a close by the
    /// server, a write fails by a broken pipe instead of a reset. After a reset, content that ends with the connection
    /// is incomplete: <https://www.rfc-editor.org/rfc/rfc9112#section-8>.
    fn is_torn(&self) -> bool {
        let is_reset = |error: &io::Error| error.kind() != io::ErrorKind::BrokenPipe;
        self.attempt.machine.framing() == Some(Framing::UntilClose)
            && self.attempt.sending.error().is_some_and(is_reset)
    }

    /// Returns the failure for a read that failed.
    fn broken(&mut self, error: io::Error) -> Failure {
        let phase = self.attempt.phase();
        // The server's refusal is the reason for the end of the connection. A failed write is only a consequence.
        let error = match self.refused(error, Some(phase)) {
            Ok(refused) => return Failure::Lost(refused),
            Err(error) => error,
        };
        let source = self.attempt.sending.take_error().unwrap_or(error);
        let message = match phase {
            Phase::Receive => "the connection broke before the response was complete",
            _ => "the connection broke before a response came",
        };
        Failure::Lost(Error::new(ErrorKind::ConnectionLost, message).in_phase(phase).because(source))
    }

    /// Ends the exchange after a complete response. The trace ends after the connection was given back, so that the
    /// caller's code does not delay the next request.
    pub(super) fn conclude(&mut self, now: Instant) {
        let why = self.give_back(now);
        self.trace.complete(why, now, || self.attempt.amounts());
    }

    /// Gives the connection back or closes the connection, as the codec's verdict says. Returns the reason that forbids
    /// the reuse of the connection, if there is one.
    fn give_back(&mut self, now: Instant) -> Option<&'static str> {
        // The server may have answered while a part of the request was still waiting in the exchange or in the stream.
        let is_flushed = self.poll_flush(&mut Context::from_waker(Waker::noop())).is_ready();
        let attempt = &mut self.attempt;
        if !attempt.is_all_written() || !is_flushed {
            attempt.machine.close_after(CloseReason::UploadUnfinished);
        }
        if attempt.sending.error().is_some() {
            attempt.machine.close_after(CloseReason::Failed);
        }
        let surplus = if attempt.incoming.len() > 0 { attempt.take_surplus() } else { Unasked::Other };
        let verdict = attempt.machine.verdict(attempt.incoming.len());
        let why = match verdict {
            Verdict::Close(reasons) => explain(reasons),
            Verdict::Reuse | Verdict::Unfinished => None,
        };
        let Some(Connection { mut lease, .. }) = self.connection.take() else { return why };
        lease.note_size(attempt.wire);
        let look = match lease.conn().stream.look_inside() {
            Look::Spoke => lease.conn().look(),
            look => look,
        };
        match verdict {
            Verdict::Reuse => match look {
                Look::Silent => {
                    let said = attempt.machine.keep_alive();
                    let stay = said.timeout.map(|timeout| timeout.saturating_sub(MARGIN));
                    lease.checkin(stay, said.max, now);
                    why
                }
                Look::Closed => {
                    lease.bury(DropReason::PeerClosed);
                    Some("the server closed the connection")
                }
                Look::Spoke => {
                    lease.bury(DropReason::Unsolicited);
                    Some(CloseReason::Surplus.explain())
                }
            },
            Verdict::Close(reasons) => {
                let reason = match surplus {
                    _ if reasons.contains(CloseReason::Early) => DropReason::Unsolicited,
                    _ if !reasons.contains(CloseReason::Surplus) => DropReason::NotReusable,
                    Unasked::RequestTimeout => DropReason::PeerClosed,
                    _ => DropReason::Unsolicited,
                };
                lease.bury_because(reason, why);
                why
            }
            Verdict::Unfinished => {
                lease.bury(DropReason::Failed);
                why
            }
        }
    }
}

/// Time between the close of an idle connection and the end of the server's `Keep-Alive: timeout`. The client closes
/// the connection early, because a request takes time to reach the server.
const MARGIN: Duration = Duration::from_secs(1);
