//! The end of the sending half: the handling of an upload that is not complete when the response is complete.
//!
//! After a complete response, the exchange continues to read while the upload continues. The exchange aborts an upload
//! once the server accepts no more bytes. After an abort, the exchange may close the sending direction. This module
//! frames nothing. Invariant: closing the sending direction never disturbs a response that is under way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;

use super::attempt::Connection;
use super::{Exchange, Failure};
use crate::codec::{CloseReason, Framing, MOST_LINE_ENDS};
use crate::time;

impl Exchange {
    /// Sends the unsent part of the request after the response is complete. Returns ready when this part is sent, or
    /// when the upload is aborted because the server accepts no more bytes.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while self.is_sending() {
            let waits_to_write = match self.poll_upload(cx) {
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => !self.attempt.waits_for_caller,
            };
            // Bytes after the response stay in the buffer until the exchange ends and judges them. If more than
            // `MOST_LINE_ENDS` bytes have come, the exchange reads nothing more from the server, not even the server's
            // close.
            self.attempt.is_eof |= self.attempt.incoming.len() > MOST_LINE_ENDS;
            // After a FIN no further byte comes. Only a write shows whether the server still accepts the upload.
            if !self.attempt.is_eof {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(read)) => {
                        if read == 0 {
                            self.attempt.is_eof = true;
                            self.attempt.machine.close_after(CloseReason::Eof);
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => {
                        self.attempt.break_off(error);
                        break;
                    }
                    Poll::Pending => {}
                }
            }
            ready!(self.poll_clocks(waits_to_write, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the time at which to [move on](Self::move_on) if neither direction makes progress until that time.
    /// Returns `None` unless the upload was aborted and no content of the response has come. Only after such an abort may
    /// the server be waiting for more of the upload.
    pub(super) fn move_on_at(&self) -> Option<Instant> {
        let since = self.attempt.reading_since?;
        let is_shut = self.connection.as_ref().is_some_and(|connection| connection.is_shut);
        (!is_shut && self.may_be_waited_for()).then(|| time::after(since, PATIENCE))
    }

    /// Whether the server may be waiting for content that never comes, and the client's sending direction can be closed
    /// without harm.
    ///
    /// Some servers mistake a closed sending direction for a lost client, and cut off a response that is under way. If
    /// the response ends with the connection, the client would not notice that the response was cut off. A server that
    /// has sent content does not wait for more of the upload. A server does not wait for content that an expectation
    /// held back.
    fn may_be_waited_for(&self) -> bool {
        let attempt = &self.attempt;
        let is_under_way = attempt.received > 0 || attempt.incoming.len() > 0;
        let is_spared = attempt.expectation.was_waited_for() && attempt.content_written() == 0;
        attempt.is_given_up()
            && !is_under_way
            && !is_spared
            && attempt.machine.framing() != Some(Framing::UntilClose)
    }

    /// Ends a wait that took too long: sends the content without a 100, aborts the upload, or closes the sending
    /// direction. Returns pending if the sending direction could not be closed yet.
    pub(super) fn move_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.attempt.expectation.end() {
            // The server did not answer the expectation, so that the content is sent without a 100.
        } else if self.attempt.machine.is_receive_done() {
            // The response is complete, but the server does not accept more of the upload.
            self.attempt.give_up_upload();
        } else if let Some(Connection { lease, is_shut, .. }) = &mut self.connection {
            // > the client SHOULD immediately cease transmitting the body and close its side of the connection
            // <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>. The exchange does not close its side immediately,
            // for the reasons that `may_be_waited_for` names. The next read returns the error of a failed close.
            let _ = ready!(Pin::new(&mut lease.conn().stream).poll_shutdown(cx));
            *is_shut = true;
        }
        Poll::Ready(())
    }
}

/// Time for which the exchange waits for content of the response after it has aborted the upload.
const PATIENCE: Duration = Duration::from_secs(1);
