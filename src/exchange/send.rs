//! The sending half of an exchange: framing what the upload has, and writing it.
//!
//! It knows the codec's sending half, the connection and the upload; nothing of responses but whether the machine
//! still wants a body. Invariant: what is framed is written in order and completely, or the upload is given up and
//! the connection closes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::{Exchange, Failure};
use crate::buffer;
use crate::codec::{CloseReason, Misuse};
use crate::error::{BoxError, Error, ErrorKind, Phase, Result, Written};
use crate::time;
use crate::upload::PIECES;

impl Exchange {
    /// Frames the next piece of the upload behind what is to be written. Ready also where there is none to frame.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.machine.is_send_done() {
            return Poll::Ready(self.check_end(cx));
        }
        if self.machine.is_send_aborted() {
            return Poll::Ready(Ok(()));
        }
        if !self.machine.may_send_body() {
            // The server has answered and wants no more of it.
            self.machine.abort_send();
            return Poll::Ready(Ok(()));
        }
        let framed = match ready!(self.upload.poll_chunk(cx)) {
            Some(Ok(chunk)) => match self.machine.encode_data(chunk.len(), &mut self.out.prefix) {
                Ok(suffix) => {
                    (self.out.data, self.out.suffix) = (chunk, suffix);
                    if self.machine.is_send_done() {
                        return Poll::Ready(self.check_end(cx));
                    }
                    Ok(())
                }
                Err(misuse) => Err(misuse),
            },
            Some(Err(source)) => return Poll::Ready(Err(self.body_failed(source))),
            None => self.machine.encode_end(self.upload.trailers(), &mut self.out.prefix),
        };
        Poll::Ready(framed.map_err(|misuse| self.body_misused(misuse)))
    }

    /// The promised length is framed: the caller's source has to end here, and is asked before the last of it is
    /// written. One that cannot say so yet is not waited for, since it may itself wait for the response; it is asked
    /// again with each poll until the response begins.
    pub(super) fn check_end(&mut self, cx: &mut Context<'_>) -> Result<()> {
        if self.upload.is_over() {
            return Ok(());
        }
        for _ in 0..PIECES {
            let misuse = match self.upload.poll_chunk(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Poll::Ready(Some(Ok(_))) => Misuse::MoreThanPromised,
                Poll::Ready(Some(Err(source))) => return Err(self.body_failed(source)),
                Poll::Ready(None) if self.upload.trailers().is_some() => Misuse::TrailersWithoutChunked,
                Poll::Ready(None) => return Ok(()),
            };
            return Err(self.body_misused(misuse));
        }
        cx.waker().wake_by_ref();
        Ok(())
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
        for _ in 0..PIECES {
            while !self.out.is_empty() {
                if self.machine.is_upload_refused() {
                    // > If the client sees a response that indicates the server does not wish to receive the message
                    // > body and is closing the connection, the client SHOULD immediately cease transmitting the body
                    // <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>
                    self.machine.abort_send();
                    self.machine.close_after(CloseReason::UploadAborted);
                    self.is_cut = true;
                    break;
                }
                match ready!(self.poll_write(cx)) {
                    Ok(written) => {
                        (self.writing_since, self.reading_since) = (None, None);
                        self.out.written += written;
                        self.sent += written as u64;
                        self.written = self.written.max(Written::Partly);
                        self.is_flushed = false;
                    }
                    Err(error) => {
                        // It may have answered before it closed: go on reading.
                        self.machine.abort_send();
                        let unsent = self.out.data.clone();
                        if self.lease.as_mut().is_some_and(|lease| lease.conn().stream.is_tls()) {
                            // What TLS was given counts as written, whatever became of it.
                            self.sent = self.sent.max(1);
                            self.written = self.written.max(Written::Partly);
                        }
                        if self.sent == 0 {
                            // The request may be sent again: what was taken of the caller's stream is still owed.
                            self.upload.rewind(unsent);
                        }
                        self.clear_out();
                        self.write_error = Some(error);
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
            self.check_deadline().map_err(Failure::into_error)?;
            self.out.prefix = buffer::take_write();
            match self.poll_frame(cx) {
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
        self.waits_for_caller = true;
        cx.waker().wake_by_ref();
        Poll::Pending
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
            if self.write_error.is_none() && !self.is_cut && self.machine.is_send_done() {
                self.written = Written::All;
            }
            if !self.machine.is_head_received() {
                self.timeline.written(now);
                self.spans.wait(self.sent, now);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What was written leaves. A failure shows when we read.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(lease) = &mut self.lease
            && !self.is_flushed
            && self.write_error.is_none()
        {
            let flushed = ready!(Pin::new(&mut lease.conn().stream).poll_flush(cx));
            self.is_flushed = true;
            self.writing_since = None;
            if let Err(error) = flushed {
                self.machine.abort_send();
                self.write_error = Some(error);
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
