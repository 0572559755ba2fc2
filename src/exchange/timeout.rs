//! Whose deadline comes first: a pure decision, and what the one who missed it is told.
//!
//! It reads no clock. Invariant: a clock runs only while its wait is on; the total deadline always does.

use std::time::{Duration, Instant};

use crate::error::{Error, Phase};

/// A timeout as a caller set it: `None` where it was not set, `Some(None)` where there is to be no limit.
pub(crate) type Setting = Option<Option<Duration>>;

/// No limit: a deadline that cannot be represented never comes.
pub(crate) const NEVER: Duration = Duration::MAX;

/// How long an exchange waits for the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// From the moment the request is written until the response's head is complete. Interim responses do not extend it.
    pub(crate) response: Duration,
    /// Without a byte of content arriving, while the caller waits for one.
    pub(crate) read: Duration,
    /// Without a byte of the request leaving, while there is something to send.
    pub(crate) write: Duration,
}

/// What a client or a request says of its [`Timeouts`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) response: Setting,
    pub(crate) read: Setting,
    pub(crate) write: Setting,
}

impl Chosen {
    /// Returns the timeouts of a request: what it says itself, or else what its client says, or else the defaults.
    ///
    /// A default never cuts an explicit deadline short: where there is a total timeout, the response has no other by
    /// default. (The other two end a wait in which nothing moves. They have no part in how long a request may take.)
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

/// Returns how long a request waits for a connection: what the client says, or else the default, unless the request has a
/// deadline of its own for that, which a default does not cut short.
pub(crate) fn acquire(client: Setting, default: Duration, has_deadline: bool) -> Option<Duration> {
    client.unwrap_or(if has_deadline { None } else { Some(default) })
}

// The defaults. See the crate's table of them for the reasons.
const WRITE: Duration = Duration::from_secs(60);
const RESPONSE: Duration = Duration::from_secs(120);
const READ: Duration = Duration::from_secs(120);

/// The total deadline of a request, and the time it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) after: Duration,
}

/// What an exchange waits for, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) total: Option<Deadline>,
    /// For the peer to take some of the request.
    pub(crate) writing_since: Option<Instant>,
    /// For the response's head: when the request was written.
    pub(crate) written_at: Option<Instant>,
    /// For content.
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
    /// The first deadline of all; `None` where nothing has one.
    pub(crate) fn due(&self, timeouts: &Timeouts) -> Option<Due> {
        let mut first = self.total.map(|Deadline { at, after }| Due { at, clock: Clock::Total, after });
        for (since, after, clock) in [
            (self.writing_since, timeouts.write, Clock::Write),
            (self.written_at, timeouts.response, Clock::Response),
            (self.reading_since, timeouts.read, Clock::Read),
        ] {
            // What cannot be represented never comes.
            let Some(at) = since.and_then(|since| since.checked_add(after)) else { continue };
            if first.is_none_or(|first| at < first.at) {
                first = Some(Due { at, clock, after });
            }
        }
        first
    }
}

impl Due {
    /// Whether the total timeout has this deadline.
    pub(crate) fn is_total(&self) -> bool {
        self.clock == Clock::Total
    }

    /// The error of an exchange that stood in `phase` when this deadline passed.
    pub(crate) fn error(&self, phase: Phase) -> Error {
        let (phase, what) = match self.clock {
            Clock::Total => (phase, "the request did not complete"),
            Clock::Write => (Phase::Send, "the server took no bytes of the request"),
            Clock::Response => (Phase::Wait, "peer did not answer the request"),
            Clock::Read => (Phase::Receive, "peer sent nothing more of the response"),
        };
        Error::timeout(phase, self.after, what)
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
    fn a_default_does_not_cut_a_request_s_wait_short() {
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
