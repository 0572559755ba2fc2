//! The end of the sending half: what becomes of an upload that the response has overtaken.
//!
//! After a complete response, the exchange keeps reading while the upload goes on. It gives up an upload of which the server
//! takes nothing more, and closes the sending direction after an upload that was given up. It frames nothing. Invariant: that
//! close never disturbs a response that is under way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;

use super::attempt::Connection;
use super::{Exchange, Failure};
use crate::codec::{CloseReason, Framing, MOST_LINE_ENDS};
use crate::time;

impl Exchange {
    /// Sends what is left of the request after its response is complete. Ready when all was sent, or when the rest is given up
    /// because the server takes no more of it.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while self.is_sending() {
            let waits_to_write = match self.poll_upload(cx) {
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => !self.attempt.waits_for_caller,
            };
            // Bytes after the response are kept, to be judged at the end. A server that sends more of them than a few line ends
            // is not read from any more, not even for its close.
            self.attempt.is_eof |= self.attempt.incoming.len() > MOST_LINE_ENDS;
            // After a FIN there is nothing to read. Whether the server still takes the upload shows when it is written.
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

    /// Returns the time at which to [move on](Self::move_on) if nothing moves until then. Set after an upload was given up and
    /// no content of the response has come, because the server may wait for the rest of the upload before it goes on.
    pub(super) fn move_on_at(&self) -> Option<Instant> {
        let since = self.attempt.reading_since?;
        let is_shut = self.connection.as_ref().is_some_and(|connection| connection.is_shut);
        (!is_shut && self.may_be_waited_for()).then(|| time::after(since, PATIENCE))
    }

    /// Whether the server may be waiting for content that does not come, and is not disturbed by the end of our direction.
    ///
    /// Some servers take that end for a lost client, and cut off a response that is under way. Once content has come, the
    /// server waits for nothing. If the response ends with the connection, a cut would not be noticed. Content that an
    /// expectation held back is not waited for either.
    fn may_be_waited_for(&self) -> bool {
        let attempt = &self.attempt;
        let is_under_way = attempt.received > 0 || attempt.incoming.len() > 0;
        let is_spared = attempt.expectation.was_waited_for() && attempt.content_written() == 0;
        attempt.is_given_up()
            && !is_under_way
            && !is_spared
            && attempt.machine.framing() != Some(Framing::UntilClose)
    }

    /// Ends a wait that took too long: sends the content without a 100, gives up the upload, or closes the sending direction.
    /// Pending if the connection could not be closed yet.
    pub(super) fn move_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.attempt.expectation.end() {
            // The server did not answer the expectation: the content is sent without a 100.
        } else if self.attempt.machine.is_receive_done() {
            // The response is complete without the content that the server does not take.
            self.attempt.give_up_upload();
        } else if let Some(Connection { lease, is_shut, .. }) = &mut self.connection {
            // > the client SHOULD immediately cease transmitting the body and close its side of the connection
            // <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>. Not immediately, see `may_be_waited_for`. A failure shows
            // when we read.
            let _ = ready!(Pin::new(&mut lease.conn().stream).poll_shutdown(cx));
            *is_shut = true;
        }
        Poll::Ready(())
    }
}

/// Time for which a response whose upload was given up may keep us waiting for its content.
const PATIENCE: Duration = Duration::from_secs(1);
