//! The end of the sending half: what becomes of an upload that the response has overtaken.
//!
//! It reads behind a complete response while its upload goes on, gives up what the server does not take, and closes the
//! sending direction of an upload that was given up. It frames nothing. Invariant: no response that is under way is
//! disturbed by that close.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;

use super::{Exchange, Failure};
use crate::call::resend::End;
use crate::codec::{CloseReason, Framing, MOST_LINE_ENDS};
use crate::time;

impl Exchange {
    /// The response is complete: sends what is left of the request. Ready when that has been sent, or is given up because
    /// the server takes no more of it.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while self.is_sending() {
            let waits_to_write = match self.poll_upload(cx) {
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Ended(End::Other, error))),
                Poll::Pending => !self.waits_for_caller,
            };
            // What comes behind the response is kept to be judged in the end. Of a server that sends more than that, not even
            // a close is waited for.
            self.is_eof |= self.incoming.len() > MOST_LINE_ENDS;
            // A server that has gone takes no more, as a write shows. (One that has only ended its direction may take it.)
            if !self.is_eof {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(read)) => {
                        if read == 0 {
                            self.is_eof = true;
                            self.machine.close_after(CloseReason::Eof);
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => {
                        self.break_off(error);
                        break;
                    }
                    Poll::Pending => {}
                }
            }
            ready!(self.poll_clocks(waits_to_write, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// When to [move on](Self::move_on), if nothing moves until then: behind an upload that was given up, if no content of
    /// the response has come, since the server may wait for the rest of the upload before it goes on.
    pub(super) fn move_on_at(&self) -> Option<Instant> {
        let since = self.reading_since.filter(|_| !self.is_shut && self.may_be_waited_for());
        since.map(|since| time::after(since, PATIENCE))
    }

    /// Whether the server may wait for content that does not come, and is not disturbed by being told so. Some servers take
    /// the end of our direction for hanging up, and cut off a response that is under way: where content has come, nothing
    /// is waited for, and where the response ends with the connection, a cut would not be noticed. Nobody waits for content
    /// either that an expectation held back.
    fn may_be_waited_for(&self) -> bool {
        let is_given_up = self.is_cut || self.machine.is_send_aborted();
        let is_under_way = self.received > 0 || self.incoming.len() > 0;
        let is_spared = self.continue_at.is_some() && self.content + self.out.content_written() == 0;
        is_given_up && !is_under_way && !is_spared && self.machine.framing() != Some(Framing::UntilClose)
    }

    /// Ends a wait that took too long: sends the content without a 100, gives up the upload, or closes the sending direction.
    /// Pending where the connection could not be closed yet.
    pub(super) fn move_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.is_expecting) {
            // The server says nothing to the expectation: the body goes all the same.
        } else if self.machine.is_receive_done() {
            // The response is complete without what the server does not take.
            self.give_up_upload();
        } else {
            // > the client SHOULD immediately cease transmitting the body and close its side of the connection
            // <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>. (Not immediately: see above.)
            if let Some(lease) = &mut self.lease {
                // A failure shows when we read.
                let _ = ready!(Pin::new(&mut lease.conn().stream).poll_shutdown(cx));
            }
            self.is_shut = true;
        }
        Poll::Ready(())
    }
}

/// How long a response whose upload was given up may keep us waiting for content.
const PATIENCE: Duration = Duration::from_secs(1);
