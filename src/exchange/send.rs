//! The sending half of an exchange: framing what the upload has, and writing it.
//!
//! It knows the codec's sending half, the connection and the upload; nothing of responses but whether the machine
//! still wants a body. Invariant: what is framed is written in order and completely, or the upload is given up and
//! the connection closes.

use std::cmp::Ordering;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::upload::{Beyond, PIECES};
use super::{Exchange, Failure};
use crate::buffer;
use crate::codec::{CloseReason, Misuse};
use crate::error::{BoxError, Error, ErrorKind, Phase, Result, Written};
use crate::time;

impl Exchange {
    /// Frames what the upload has ready behind what is to be written, and takes no more than `left` pieces. Ready also
    /// where there is none to frame.
    pub(super) fn poll_frames(&mut self, left: &mut usize, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while *left > 0 && !self.out.is_full() {
            match self.poll_frame(cx)? {
                Poll::Ready(ControlFlow::Continue(())) => *left -= 1,
                Poll::Ready(ControlFlow::Break(())) => break,
                // It is not waited for: what is there leaves.
                Poll::Pending if self.out.has_content() => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Frames one piece. `Break`: there is none to be framed behind what is there.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<ControlFlow<()>>> {
        if self.machine.is_send_done() {
            return Poll::Ready(self.check_end(cx).map(ControlFlow::Break));
        }
        if self.machine.is_send_aborted() {
            return Poll::Ready(Ok(ControlFlow::Break(())));
        }
        if !self.machine.may_send_body() {
            // The server has answered and wants no more of it.
            self.machine.abort_send();
            return Poll::Ready(Ok(ControlFlow::Break(())));
        }
        Poll::Ready(match ready!(self.upload.poll_chunk(cx)) {
            Some(Ok(chunk)) => self.frame(chunk, cx),
            Some(Err(source)) => self.breach(None, Beyond::Failure(source)),
            None => self.frame_end(),
        })
    }

    fn frame(&mut self, chunk: Bytes, cx: &mut Context<'_>) -> Result<ControlFlow<()>> {
        let rest = self.machine.upload_remaining().map(|rest| rest.cmp(&(chunk.len() as u64)));
        match rest {
            _ if chunk.is_empty() => return Ok(ControlFlow::Continue(())),
            Some(Ordering::Less) => return self.breach(None, Beyond::Content(chunk)),
            // The promised length ends with it.
            Some(Ordering::Equal) => {
                if let Some(beyond) = self.beyond(cx) {
                    return self.breach(Some(chunk), beyond);
                }
            }
            Some(Ordering::Greater) | None => {}
        }
        let framed = self.machine.encode_data(chunk.len(), &mut self.out.framing);
        let suffix = framed.map_err(|misuse| self.body_misused(misuse))?;
        self.out.push(chunk, suffix);
        Ok(if self.machine.is_send_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn frame_end(&mut self) -> Result<ControlFlow<()>> {
        let is_behind = self.out.has_content();
        if is_behind && self.machine.upload_remaining().is_some() {
            // It is shorter than was promised, and will be so when it is asked again.
            return Ok(ControlFlow::Break(()));
        }
        match self.machine.encode_end(self.upload.trailers(), &mut self.out.framing) {
            Err(misuse) if !is_behind => Err(self.body_misused(misuse)),
            Ok(()) | Err(_) => Ok(ControlFlow::Break(())),
        }
    }

    /// What was taken cannot be sent. Behind other pieces it is put back, so that these are written first, and found
    /// again; the first of all fails the request at once.
    fn breach(&mut self, chunk: Option<Bytes>, beyond: Beyond) -> Result<ControlFlow<()>> {
        if self.out.has_content() {
            self.upload.put_back(chunk, beyond);
            return Ok(ControlFlow::Break(()));
        }
        Err(self.body_broken(beyond))
    }

    /// The promised length is framed: the caller's source has to end here, and is asked before the last of it is
    /// written. One that cannot say so yet is not waited for, since it may itself wait for the response; it is asked
    /// again with each poll until the response begins.
    pub(super) fn check_end(&mut self, cx: &mut Context<'_>) -> Result<()> {
        match self.beyond(cx) {
            Some(beyond) => Err(self.body_broken(beyond)),
            None => Ok(()),
        }
    }

    /// What the source has beyond the promised length, if it says so now.
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

    /// A body that breaks its promise: nothing more of it is written, and the connection will close.
    fn body_misused(&mut self, misuse: Misuse) -> Error {
        self.machine.abort_send();
        self.machine.close_after(CloseReason::UploadAborted);
        Error::new(ErrorKind::Body, misuse.to_string()).in_phase(Phase::Send)
    }

    fn body_failed(&mut self, source: BoxError) -> Error {
        self.machine.abort_send();
        self.machine.close_after(CloseReason::UploadAborted);
        let error = Error::new(ErrorKind::Body, "the request's body failed while it was being sent");
        error.in_phase(Phase::Send).because(source)
    }

    /// Writes all that there is, and all that the upload has. Pending while the peer or the caller holds it up.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.waits_for_caller = false;
        // After so many pieces in one poll it is others' turn: tasks, and what the peer has to say.
        let mut left = PIECES;
        loop {
            while !self.out.is_empty() {
                if self.machine.is_upload_refused() {
                    // > If the client sees a response that indicates the server does not wish to receive the message
                    // > body and is closing the connection, the client SHOULD immediately cease transmitting the body
                    // <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>
                    self.give_up_upload();
                    break;
                }
                match ready!(self.poll_write(cx)) {
                    Ok(written) => {
                        (self.writing_since, self.reading_since) = (None, None);
                        self.sent += written as u64;
                        self.written = self.written.max(Written::Partly);
                        self.is_flushed = false;
                        if !self.out.is_empty() {
                            // A peer that takes all of it without a pause holds the deadline off no more than any other.
                            self.check_deadline().map_err(Failure::into_error)?;
                        }
                    }
                    Err(error) => {
                        // It may have answered before it closed: go on reading.
                        if self.lease.as_mut().is_some_and(|lease| !lease.conn().stream.fails_untouched()) {
                            // The failed write may have taken a part of the request, and sent it.
                            self.sent = self.sent.max(1);
                            self.written = self.written.max(Written::Partly);
                        }
                        if self.sent == 0 {
                            // The request may be sent again: what was taken of the caller's stream is still owed.
                            self.upload.rewind(self.out.take_pieces());
                        }
                        self.clear_out();
                        self.break_off(error);
                    }
                }
            }
            self.clear_out();
            if self.machine.is_send_done() || self.machine.is_send_aborted() {
                return self.poll_written(cx);
            }
            if self.is_expecting {
                // > A client that sends a 100-continue expectation is not required to wait for any specific length of
                // > time <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
                if self.poll_flush(cx).is_ready() {
                    self.waits_for_caller = true;
                    self.writing_since = None;
                    let timeout = self.patience;
                    self.continue_at.get_or_insert_with(|| time::after(time::now(), timeout));
                }
                return Poll::Pending;
            }
            if left == 0 {
                self.waits_for_caller = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.check_deadline().map_err(Failure::into_error)?;
            self.out.framing = buffer::take_write();
            match self.poll_frames(&mut left, cx) {
                Poll::Ready(framed) => framed?,
                Poll::Pending => {
                    self.out.clear();
                    // The peer may be waiting for just what was written so far.
                    if self.poll_flush(cx).is_ready() {
                        self.waits_for_caller = true;
                        self.writing_since = None;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nothing more of the request is written, and the connection will close.
    pub(super) fn give_up_upload(&mut self) {
        self.machine.abort_send();
        self.machine.close_after(CloseReason::UploadAborted);
        self.is_cut = true;
    }

    /// The connection takes nothing more. That stays known when the error was told.
    pub(super) fn break_off(&mut self, error: io::Error) {
        self.machine.abort_send();
        self.is_cut = true;
        self.write_error = Some(error);
    }

    /// Whether more of the request is to be written: a success does not end its upload.
    pub(super) fn is_sending(&self) -> bool {
        let is_given_up = self.is_cut || self.machine.is_send_aborted();
        if self.written_at.is_some() || is_given_up || self.machine.is_upload_refused() {
            return false;
        }
        let is_unwritten = !self.machine.is_send_done() || !self.out.is_empty();
        // (Of a request without content, what still waits to leave is nothing that the server can have missed.)
        let is_held = !self.is_flushed && self.content + self.out.content_written() > 0;
        is_unwritten || is_held
    }

    /// What was written of the content is counted, and the rest forgotten.
    pub(super) fn clear_out(&mut self) {
        self.content += self.out.content_written();
        self.out.clear();
    }

    /// All is written, or given up: it leaves, and the wait for the response begins.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.written_at.is_none() {
            ready!(self.poll_flush(cx));
            let now = time::now();
            self.written_at = Some(now);
            if !self.is_cut && self.machine.is_send_done() {
                self.written = Written::All;
            }
            if !self.machine.is_head_received() {
                self.trace.written(self.sent, now);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What was written leaves. A failure shows when we read.
    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(lease) = &mut self.lease
            && !self.is_flushed
            && self.write_error.is_none()
        {
            let flushed = ready!(Pin::new(&mut lease.conn().stream).poll_flush(cx));
            self.is_flushed = true;
            self.writing_since = None;
            if let Err(error) = flushed {
                self.break_off(error);
            }
        }
        Poll::Ready(())
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.lease {
            Some(lease) => self.out.poll_write(&mut lease.conn().stream, cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}
