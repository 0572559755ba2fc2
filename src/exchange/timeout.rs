//! Pure decisions about time: which deadline of an exchange comes first, and which error an exchange returns when this
//! deadline passes.
//!
//! This module reads no clock. Invariant: except for the total deadline, which always runs, each deadline runs only
//! while the exchange waits for its event.

use std::time::{Duration, Instant};

use crate::error::{Error, Phase};

/// A timeout as the caller set it. `None` means that the caller did not set this timeout, and `Some(None)` means no
/// limit.
pub(crate) type Setting = Option<Option<Duration>>;

/// A timeout without a limit. Its deadline cannot be represented and never comes.
pub(crate) const NEVER: Duration = Duration::MAX;

/// The timeouts of an exchange, which limit how long the exchange waits for the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Time from the end of writing the request until the response head is complete. Interim responses do not extend
    /// this time.
    pub(crate) response: Duration,
    /// Time for which no content may arrive while the caller waits for content.
    pub(crate) read: Duration,
    /// Time for which no byte of the request may be written while there are bytes to write.
    pub(crate) write: Duration,
}

/// The [`Timeouts`] that a client or a request has set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) response: Setting,
    pub(crate) read: Setting,
    pub(crate) write: Setting,
}

impl Chosen {
    /// Returns the timeouts of a request. For each timeout, the request's setting comes before the client's setting, and
    /// the client's setting before the default.
    ///
    /// A default never shortens a deadline that was set: with a total timeout, the default response timeout has no
    /// limit. The read and write timeouts keep their defaults, because these timeouts end a wait in which no byte
    /// moves, however long the request may take.
    pub(crate) fn or(self, client: Self, has_total: bool) -> Timeouts {
        let choose = |own: Setting, client: Setting, default: Option<Duration>| {
            own.or(client).unwrap_or(default).unwrap_or(NEVER)
        };
        Timeouts {
            response: choose(self.response, client.response, if has_total { None } else { Some(RESPONSE) }),
            read: choose(self.read, client.read, Some(READ)),
            write: choose(self.write, client.write, Some(WRITE)),
        }
    }
}

/// Returns the longest time for which a request waits for a connection: the client's setting, or otherwise the default.
/// The default does not apply to a request that has a deadline of its own for this wait. `None` means no limit.
pub(crate) fn acquire(client: Setting, default: Duration, has_deadline: bool) -> Option<Duration> {
    client.unwrap_or(if has_deadline { None } else { Some(default) })
}

// The default timeouts. `manual/defaults.md` has the reason for each.
const WRITE: Duration = Duration::from_secs(60);
const RESPONSE: Duration = Duration::from_secs(120);
const READ: Duration = Duration::from_secs(120);

/// A deadline, and the timeout from which it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) after: Duration,
}

/// The events for which an exchange waits, each with the time since which the exchange has waited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) total: Option<Deadline>,
    /// Time since which the server has accepted no byte of the request.
    pub(crate) writing_since: Option<Instant>,
    /// Time at which the request was written, if the exchange waits for the response head.
    pub(crate) written_at: Option<Instant>,
    /// Time since which no content has come.
    pub(crate) reading_since: Option<Instant>,
}

/// The first deadline to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    clock: Clock,
    after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Clock {
    Total,
    Write,
    Response,
    Read,
}

impl Waits {
    /// Returns the first deadline to come, or `None` if no deadline comes.
    #[inline]
    pub(crate) fn due(&self, timeouts: &Timeouts) -> Option<Due> {
        let mut first = self.total.map(|Deadline { at, after }| Due { at, clock: Clock::Total, after });
        for (since, after, clock) in [
            (self.writing_since, timeouts.write, Clock::Write),
            (self.written_at, timeouts.response, Clock::Response),
            (self.reading_since, timeouts.read, Clock::Read),
        ] {
            // A deadline that cannot be represented never comes.
            let Some(at) = since.and_then(|since| since.checked_add(after)) else { continue };
            if first.is_none_or(|first| at < first.at) {
                first = Some(Due { at, clock, after });
            }
        }
        first
    }
}

impl Due {
    /// Whether this deadline is the deadline of the total timeout.
    pub(crate) fn is_total(&self) -> bool {
        self.clock == Clock::Total
    }

    /// Returns the error of an exchange that was in `phase` when this deadline passed.
    pub(crate) fn error(&self, phase: Phase) -> Error {
        let (phase, what, setting) = match self.clock {
            Clock::Total => (phase, "the request did not complete", "timeout"),
            Clock::Write => (Phase::Send, "the server took no bytes of the request", "write_timeout"),
            Clock::Response => (Phase::Wait, "the server did not answer the request", "response_timeout"),
            Clock::Read => (Phase::Receive, "the server sent nothing more of the response", "read_timeout"),
        };
        Error::timeout(phase, self.after, what, setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_default_does_not_cut_a_total_timeout_short() {
        let none = Chosen::default();
        let said = |response: Option<Duration>| Chosen { response: Some(response), ..none };
        for (row, own, client, has_total, expected) in [
            (0, none, none, false, RESPONSE),
            (1, none, none, true, NEVER),
            (2, none, said(Some(SECOND)), true, SECOND),
            (3, said(Some(2 * SECOND)), said(Some(SECOND)), true, 2 * SECOND),
            (4, said(None), said(Some(SECOND)), false, NEVER),
            (5, none, said(None), false, NEVER),
        ] {
            let timeouts = own.or(client, has_total);
            assert_eq!(timeouts.response, expected, "row {row}");
            assert_eq!((timeouts.read, timeouts.write), (READ, WRITE), "row {row}");
        }
    }

    #[test]
    fn a_default_does_not_shorten_the_wait_of_a_request_with_a_deadline() {
        let acquire = |client, has_deadline| acquire(client, 30 * SECOND, has_deadline);
        assert_eq!((acquire(None, false), acquire(None, true)), (Some(30 * SECOND), None));
        assert_eq!((acquire(Some(None), false), acquire(Some(Some(SECOND)), true)), (None, Some(SECOND)));
    }

    #[test]
    fn the_first_deadline_wins() {
        let t0 = Instant::now();
        let timeouts = Timeouts { response: 5 * SECOND, read: 3 * SECOND, write: SECOND };
        let total = |seconds: u32| Some(Deadline { at: t0 + seconds * SECOND, after: 9 * SECOND });
        let none = Waits::default();
        for (row, waits, expected) in [
            (0, none, None),
            (1, Waits { total: total(9), ..none }, Some((9, Clock::Total))),
            (2, Waits { total: total(9), written_at: Some(t0), ..none }, Some((5, Clock::Response))),
            (3, Waits { total: total(4), written_at: Some(t0), ..none }, Some((4, Clock::Total))),
            (4, Waits { writing_since: Some(t0), reading_since: Some(t0), ..none }, Some((1, Clock::Write))),
            (
                5,
                Waits { writing_since: Some(t0 + 4 * SECOND), reading_since: Some(t0), ..none },
                Some((3, Clock::Read)),
            ),
        ] {
            let due = waits.due(&timeouts).map(|due| (due.at, due.clock));
            assert_eq!(due, expected.map(|(after, clock)| (t0 + after * SECOND, clock)), "row {row}");
        }
    }
}
