//! The clocks of an exchange: which deadline comes first, and what the exchange does when that deadline passes.
//!
//! This module reads the clock, and knows nothing of bytes. Invariant: except for the total deadline, a deadline fails
//! an exchange only if the latest read and write could not proceed.

use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::attempt::{Connection, Expectation};
use super::timeout::{Deadline, Waits};
use super::{Exchange, Failure};
use crate::error::{Error, ErrorKind};
use crate::time;
use crate::timer::RuntimeGone;

impl Exchange {
    /// Fails if the total deadline has passed, even if bytes keep moving.
    #[inline]
    pub(super) fn check_deadline(&self) -> Result<(), Failure> {
        match self.deadline {
            Some(deadline) if time::now() >= deadline.at => Err(self.overdue(deadline)),
            _ => Ok(()),
        }
    }

    /// Returns the failure of an exchange whose total deadline has passed.
    #[cold]
    fn overdue(&self, deadline: Deadline) -> Failure {
        let due = Waits { total: Some(deadline), ..Waits::default() }.due(&self.timeouts);
        let error = || Error::request("no deadline");
        due.map_or_else(error, |due| due.error(self.attempt.phase())).into()
    }

    /// Waits for the earliest deadline, because neither reading nor writing can proceed. Fails if that deadline has
    /// passed. Returns ready without an error if [`Exchange::move_on`] has ended a wait, so that the exchange may
    /// proceed.
    #[inline]
    pub(super) fn poll_clocks(
        &mut self,
        waits_to_write: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let mut read = None;
        let waits = self.waits(waits_to_write, &mut read);
        let phase = self.attempt.phase();
        let due = waits.due(&self.timeouts);
        let mut move_on_at = match self.attempt.expectation {
            Expectation::HeldUntil(until) => Some(until),
            Expectation::Held => None,
            Expectation::None | Expectation::Over => self.move_on_at(),
        };
        let error = loop {
            let Some(connection) = &mut self.connection else { return Poll::Pending };
            let Some(at) = due.map(|due| due.at).into_iter().chain(move_on_at).min() else {
                return Poll::Pending;
            };
            let rung = match read.is_some_and(|now| now >= at) {
                true => Ok(()),
                false => ready!(connection.poll_timer(at, cx)),
            };
            match (rung, due) {
                (Err(RuntimeGone), _) => {
                    let message = "no tokio runtime drives the deadline of the request any more: keep the runtime until the response has ended";
                    break Error::new(ErrorKind::ConnectionLost, message).in_phase(phase);
                }
                (Ok(()), Some(due))
                    if due.at == at && (due.is_total() || !self.attempt.machine.is_receive_done()) =>
                {
                    break due.error(phase);
                }
                (Ok(()), _) if self.move_on(cx).is_ready() => return Poll::Ready(Ok(())),
                // The sending direction could not be closed yet. The next poll tries again. Until that poll, the
                // deadlines hold.
                (Ok(()), _) => move_on_at = None,
            }
        };
        Poll::Ready(Err(error.into()))
    }

    /// Returns the waits of the attempt, each with the time at which the wait began. `read` gets the clock reading if a
    /// reading is needed. Most polls need no reading, and one reading costs as much as all other work of this function.
    #[inline]
    fn waits(&mut self, waits_to_write: bool, read: &mut Option<Instant>) -> Waits {
        let mut now = || *read.get_or_insert_with(time::now);
        let attempt = &mut self.attempt;
        // The read timeout does not run while the upload waits for the caller, because the server may be waiting for
        // the upload. After a complete response and the server's FIN, the read timeout limits the time for which the
        // caller's stream may pause.
        let waits_to_read = match attempt.machine.is_receive_done() {
            false => attempt.machine.is_head_received() && (attempt.written_at.is_some() || waits_to_write),
            true => attempt.is_eof && attempt.waits_for_caller,
        };
        attempt.reading_since = attempt.reading_since.filter(|_| waits_to_read);
        Waits {
            total: self.deadline,
            writing_since: waits_to_write.then(|| *attempt.writing_since.get_or_insert_with(&mut now)),
            written_at: attempt.written_at.filter(|_| !attempt.machine.is_head_received()),
            reading_since: waits_to_read.then(|| *attempt.reading_since.get_or_insert_with(&mut now)),
        }
    }
}

impl Connection {
    /// Waits until `at` has passed. Fails if no runtime drives the timer.
    #[inline]
    fn poll_timer(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<Result<(), RuntimeGone>> {
        let conn = self.lease.conn();
        if self.is_here {
            let here = conn.runtime().id();
            conn.timer.poll_until_on(Some(here), at, cx)
        } else {
            conn.timer.poll_until(at, cx)
        }
    }
}
