//! The sending half of an exchange: frames the pieces of the upload, and writes them.
//!
//! This module knows the codec's sending half, the connection and the upload. About the response, this module knows
//! only whether the codec still wants a body. Invariant: framed bytes are written in order and completely, or the
//! upload is aborted and the connection closes.

use std::cmp::Ordering;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::attempt::{Connection, Expectation};
use super::outgoing::PIECES;
use super::upload::Beyond;
use super::{Exchange, Failure};
use crate::buffer;
use crate::codec::{CloseReason, Misuse};
use crate::error::{BoxError, Error, ErrorKind, Phase, Result, Written};
use crate::time;

impl Exchange {
    /// Frames at most `left` pieces that the upload has ready, and appends them to the bytes that will be written.
    /// Returns pending if no piece is ready and no content waits to be written.
    pub(super) fn poll_frames(&mut self, left: &mut usize, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while *left > 0 && !self.attempt.outgoing.is_full() {
            match self.poll_frame(cx)? {
                Poll::Ready(ControlFlow::Continue(())) => *left -= 1,
                Poll::Ready(ControlFlow::Break(())) => break,
                // The framed pieces are written without waiting for the next piece.
                Poll::Pending if self.attempt.outgoing.has_content() => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Frames one piece. Returns `Break` if no further piece can be framed now.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<ControlFlow<()>>> {
        if self.attempt.machine.is_send_done() {
            return Poll::Ready(self.check_end(cx).map(ControlFlow::Break));
        }
        if self.attempt.machine.is_send_aborted() {
            return Poll::Ready(Ok(ControlFlow::Break(())));
        }
        if !self.attempt.machine.may_send_body() {
            // The server has answered, and does not want more of the body.
            self.attempt.machine.abort_send();
            return Poll::Ready(Ok(ControlFlow::Break(())));
        }
        Poll::Ready(match ready!(self.upload.poll_chunk(cx)) {
            Some(Ok(chunk)) => self.frame(chunk, cx),
            Some(Err(source)) => self.breach(None, Beyond::Failure(source)),
            None => self.frame_end(),
        })
    }

    fn frame(&mut self, chunk: Bytes, cx: &mut Context<'_>) -> Result<ControlFlow<()>> {
        let rest = self.attempt.machine.upload_remaining().map(|rest| rest.cmp(&(chunk.len() as u64)));
        match rest {
            _ if chunk.is_empty() => return Ok(ControlFlow::Continue(())),
            Some(Ordering::Less) => return self.breach(None, Beyond::Content(chunk)),
            // The promised length ends with this piece.
            Some(Ordering::Equal) => {
                if let Some(beyond) = self.beyond(cx) {
                    return self.breach(Some(chunk), beyond);
                }
            }
            Some(Ordering::Greater) | None => {}
        }
        let framed = self.attempt.machine.encode_data(chunk.len(), &mut self.attempt.outgoing.framing);
        let suffix = framed.map_err(|misuse| self.body_misused(misuse))?;
        self.attempt.outgoing.push(chunk, suffix);
        Ok(if self.attempt.machine.is_send_done() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn frame_end(&mut self) -> Result<ControlFlow<()>> {
        let is_behind = self.attempt.outgoing.has_content();
        if is_behind && self.attempt.machine.upload_remaining().is_some() {
            // The body is shorter than it promised. The content before the end is written first. The next poll finds
            // the end again.
            return Ok(ControlFlow::Break(()));
        }
        match self.attempt.machine.encode_end(self.upload.trailers(), &mut self.attempt.outgoing.framing) {
            Err(misuse) if !is_behind => Err(self.body_misused(misuse)),
            Ok(()) | Err(_) => Ok(ControlFlow::Break(())),
        }
    }

    /// Handles a body that does not end at its promised length. If other content waits to be written, puts `chunk` and
    /// `beyond` back, so that the upload yields them again after that content. Otherwise fails the request at once.
    fn breach(&mut self, chunk: Option<Bytes>, beyond: Beyond) -> Result<ControlFlow<()>> {
        if self.attempt.outgoing.has_content() {
            self.upload.put_back(chunk, beyond);
            return Ok(ControlFlow::Break(()));
        }
        Err(self.body_broken(beyond))
    }

    /// Checks that the caller's source ends at the promised length, when content of that length is framed. The source
    /// is polled before the last piece is written, and again at each poll until the response begins. The check does not
    /// wait for a pending source, because the source may itself wait for the response.
    pub(super) fn check_end(&mut self, cx: &mut Context<'_>) -> Result<()> {
        match self.beyond(cx) {
            Some(beyond) => Err(self.body_broken(beyond)),
            None => Ok(()),
        }
    }

    /// Returns what the source yields after the promised length, or `None` if the source yields nothing now.
    fn beyond(&mut self, cx: &mut Context<'_>) -> Option<Beyond> {
        if self.upload.is_over() {
            return None;
        }
        for _ in 0..PIECES {
            return match self.upload.poll_chunk(cx) {
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Poll::Ready(Some(Ok(chunk))) => Some(Beyond::Content(chunk)),
                Poll::Ready(Some(Err(source))) => Some(Beyond::Failure(source)),
                Poll::Ready(None) if self.upload.trailers().is_some() => Some(Beyond::Trailers),
                Poll::Ready(None) | Poll::Pending => None,
            };
        }
        cx.waker().wake_by_ref();
        None
    }

    fn body_broken(&mut self, beyond: Beyond) -> Error {
        match beyond {
            Beyond::Content(_) => self.body_misused(Misuse::MoreThanPromised),
            Beyond::Trailers => self.body_misused(Misuse::TrailersWithoutChunked),
            Beyond::Failure(source) => self.body_failed(source),
        }
    }

    /// Returns the error for a body that does not end at its promised length. No further byte of the body is written,
    /// and the connection will close.
    fn body_misused(&mut self, misuse: Misuse) -> Error {
        self.attempt.machine.abort_send();
        self.attempt.machine.close_after(CloseReason::UploadAborted);
        Error::new(ErrorKind::Body, misuse.to_string()).in_phase(Phase::Send)
    }

    fn body_failed(&mut self, source: BoxError) -> Error {
        self.attempt.machine.abort_send();
        self.attempt.machine.close_after(CloseReason::UploadAborted);
        let error = Error::new(ErrorKind::Body, "the request's body failed while it was being sent");
        error.in_phase(Phase::Send).because(source)
    }

    /// Writes all framed bytes, and all content that the upload has ready. Returns pending while the server or
    /// the caller delays the upload.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.attempt.waits_for_caller = false;
        // The number of pieces in one poll is limited, so that other tasks and the response are not starved.
        let mut left = PIECES;
        loop {
            ready!(self.poll_outgoing(cx))?;
            if self.attempt.is_send_over() {
                return self.poll_written(cx);
            }
            if self.attempt.expectation.holds() {
                self.hold_back(cx);
                return Poll::Pending;
            }
            if left == 0 {
                self.attempt.waits_for_caller = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.check_deadline().map_err(Failure::into_error)?;
            self.attempt.outgoing.framing = buffer::take_write();
            match self.poll_frames(&mut left, cx) {
                Poll::Ready(framed) => framed?,
                Poll::Pending => {
                    self.attempt.outgoing.clear();
                    // The caller may be waiting for the server to answer the content that was written so far.
                    if self.poll_flush(cx).is_ready() {
                        self.attempt.wait_for_caller();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes all framed bytes. Discards the bytes if the server refuses the content or the write fails.
    #[inline]
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.attempt.outgoing.is_empty() {
            if self.attempt.machine.is_upload_refused() {
                // > If the client sees a response that indicates the server does not wish to receive the message
                // > body and is closing the connection, the client SHOULD immediately cease transmitting the body
                // <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>
                self.attempt.give_up_upload();
                break;
            }
            match ready!(self.poll_write(cx)) {
                Ok(written) => {
                    self.attempt.note_progress();
                    self.attempt.sent += written as u64;
                    self.written = self.written.max(Written::Partly);
                    if let Some(connection) = &mut self.connection {
                        connection.is_flushed = false;
                    }
                    if !self.attempt.outgoing.is_empty() {
                        // The total deadline also applies while the server accepts every write without a pause.
                        self.check_deadline().map_err(Failure::into_error)?;
                    }
                }
                Err(error) => self.note_failed_write(error),
            }
        }
        self.attempt.clear_outgoing();
        Poll::Ready(Ok(()))
    }

    /// Notes that a write failed. The exchange continues to read, because the server may have answered before it closed
    /// the connection.
    #[cold]
    fn note_failed_write(&mut self, error: io::Error) {
        if self.lease_mut().is_some_and(|lease| !lease.conn().stream.fails_untouched()) {
            // The failed write may have sent a part of the request.
            self.attempt.sent = self.attempt.sent.max(1);
            self.written = self.written.max(Written::Partly);
        }
        if self.attempt.sent == 0 {
            // Pieces that were taken from the caller's stream are put back into the upload, because the request may be
            // sent again.
            self.upload.rewind(self.attempt.outgoing.take_pieces());
        }
        self.attempt.clear_outgoing();
        self.attempt.break_off(error);
    }

    /// Holds the body back. Once the head is written and flushed, the wait for the server's 100 begins.
    fn hold_back(&mut self, cx: &mut Context<'_>) {
        // > A client that sends a 100-continue expectation is not required to wait for any specific length of
        // > time <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
        if self.poll_flush(cx).is_ready() {
            self.attempt.wait_for_caller();
            if let Expectation::Held = self.attempt.expectation {
                self.attempt.expectation = Expectation::HeldUntil(time::after(time::now(), self.patience));
            }
        }
    }

    /// Whether more of the request must be written. A successful response does not end the upload.
    pub(super) fn is_sending(&self) -> bool {
        let attempt = &self.attempt;
        if attempt.written_at.is_some() || attempt.is_given_up() || attempt.machine.is_upload_refused() {
            return false;
        }
        // A request without content need not be flushed here, because an answer shows that the server has received the
        // whole request.
        let is_flushed = self.connection.as_ref().is_none_or(|connection| connection.is_flushed);
        !attempt.is_all_written() || (!is_flushed && attempt.content_written() > 0)
    }

    /// Flushes a request that is completely written or aborted. The wait for the response begins once the request is
    /// flushed.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.attempt.written_at.is_none() {
            ready!(self.poll_flush(cx));
            let now = time::now();
            self.attempt.written_at = Some(now);
            if !self.attempt.sending.is_cut() && self.attempt.machine.is_send_done() {
                self.written = Written::All;
            }
            if !self.attempt.machine.is_head_received() {
                self.trace.written(self.attempt.sent, now);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Flushes the stream. The next read returns the error of a failed flush.
    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Connection { lease, is_flushed, .. }) = &mut self.connection
            && !*is_flushed
            && self.attempt.sending.error().is_none()
        {
            let flushed = ready!(Pin::new(&mut lease.conn().stream).poll_flush(cx));
            *is_flushed = true;
            self.attempt.writing_since = None;
            if let Err(error) = flushed {
                self.attempt.break_off(error);
            }
        }
        Poll::Ready(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.connection {
            Some(Connection { lease, .. }) => self.attempt.outgoing.poll_write(&mut lease.conn().stream, cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}
