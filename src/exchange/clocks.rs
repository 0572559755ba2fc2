//! The clocks of an exchange: which deadline comes first, and what its passing means.
//!
//! It reads the clock, and knows nothing of bytes. Invariant: a deadline fails an exchange only if the latest
//! read and write could not proceed.

use std::task::{Context, Poll, ready};

use super::timeout::Waits;
use super::{Exchange, Failure};
use crate::call::resend::End;
use crate::error::{Error, ErrorKind};
use crate::time;

impl Exchange {
    /// The total deadline passes also while everything moves.
    #[inline]
    pub(super) fn check_deadline(&self) -> Result<(), Failure> {
        match self.deadline {
            Some(deadline) if time::now() >= deadline.at => {
                let due = Waits { total: Some(deadline), ..Waits::default() }.due(&self.timeouts);
                Err(Failure::Ended(
                    End::Other,
                    due.map_or_else(|| Error::request("no deadline"), |due| due.error(self.phase())),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the earliest deadline, because neither reading nor writing can proceed. Fails if it has passed.
    #[inline]
    pub(super) fn poll_clocks(
        &mut self,
        waits_to_write: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        // (To read the clock costs as much as all else here, and mostly is for nothing.)
        let mut read = None;
        let mut now = || *read.get_or_insert_with(time::now);
        // While the upload waits for the caller, the peer may well wait for the upload.
        // After a complete response and the server's FIN, this clock limits a pause of the caller's source.
        let waits_to_read = match self.machine.is_receive_done() {
            false => self.machine.is_head_received() && (self.written_at.is_some() || waits_to_write),
            true => self.is_eof && self.waits_for_caller,
        };
        self.reading_since = self.reading_since.filter(|_| waits_to_read);
        let waits = Waits {
            total: self.deadline,
            writing_since: waits_to_write.then(|| *self.writing_since.get_or_insert_with(&mut now)),
            written_at: self.written_at.filter(|_| !self.machine.is_head_received()),
            reading_since: waits_to_read.then(|| *self.reading_since.get_or_insert_with(&mut now)),
        };
        let phase = self.phase();
        let due = waits.due(&self.timeouts);
        let mut held_until = if self.is_expecting { self.continue_at } else { self.move_on_at() };
        let error = loop {
            let Some(lease) = &mut self.lease else { return Poll::Pending };
            let Some(at) = due.map(|due| due.at).into_iter().chain(held_until).min() else {
                return Poll::Pending;
            };
            let rung = match read.is_some_and(|now| now >= at) {
                true => Ok(()),
                false if self.assigned.is_some() => {
                    let conn = lease.conn();
                    let here = conn.runtime().id();
                    ready!(conn.timer.poll_until_on(Some(here), at, cx))
                }
                false => ready!(lease.conn().timer.poll_until(at, cx)),
            };
            match (rung, due) {
                (Err(time::RuntimeGone), _) => {
                    let message = "there is no tokio runtime with timers any more";
                    break Error::new(ErrorKind::ConnectionLost, message).in_phase(phase);
                }
                (Ok(()), Some(due))
                    if due.at == at && (due.is_total() || !self.machine.is_receive_done()) =>
                {
                    break due.error(phase);
                }
                (Ok(()), _) if self.move_on(cx).is_ready() => return Poll::Ready(Ok(())),
                // It is asked again with the next poll: until then, the others' deadlines hold.
                (Ok(()), _) => held_until = None,
            }
        };
        Poll::Ready(Err(Failure::Ended(End::Other, error)))
    }
}
