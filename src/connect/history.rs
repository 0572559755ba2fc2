//! What earlier dials have shown about addresses: the round trip of the addresses that accepted a connection lately, and
//! the addresses that failed lately.
//!
//! This file knows no sockets and no clock: the caller passes the time. Invariants: the memory is bounded; everything in it
//! expires; and a success ends all failures of an address.
//!
//! > This historical data MUST NOT be used across different network interfaces and SHOULD be flushed when a device changes
//! > the network to which it is attached.
//!
//! <https://www.rfc-editor.org/rfc/rfc8305#section-4>

use std::collections::HashMap;
use std::mem::take;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The outcomes of the attempts of one client to connect, by address.
///
/// The memory has two halves. When the recent half is full, it replaces the older half, so that addresses which no dial
/// has used for long are forgotten without a search.
#[derive(Debug, Default)]
pub(crate) struct History {
    recent: HashMap<SocketAddr, Past>,
    older: HashMap<SocketAddr, Past>,
    /// Time from which the machine is in this network. Attempts that began earlier say nothing. `None` if the network has
    /// not changed.
    since: Option<Instant>,
}

/// What is known of an address at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Number of failures in a row, or 0 if the last one is too long ago to count.
    pub(crate) failures: u32,
    /// Smoothed time that connecting took, if a connection succeeded lately.
    pub(crate) round_trip: Option<Duration>,
}

/// The outcomes of the attempts to connect to one address.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    success: Option<Success>,
    failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug)]
struct Success {
    /// Time from which the round trip counts. Later successes change the round trip only, so that even an address in
    /// steady use loses its preference from time to time.
    ///
    /// > clients can periodically ignore historical data to ensure that fresh addresses are attempted.
    ///
    /// <https://datatracker.ietf.org/doc/html/draft-ietf-happy-happyeyeballs-v3-02>
    since: Instant,
    round_trip: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    last: Instant,
    in_a_row: u32,
}

impl History {
    /// Returns the failures and the round trip of `address` that count at the time `now`.
    pub(crate) fn standing(&self, address: SocketAddr, now: Instant) -> Standing {
        let past = self.recent.get(&address).or_else(|| self.older.get(&address));
        past.map_or_else(Standing::default, |past| Standing {
            failures: past
                .failure
                .filter(|failure| failure.counts(now))
                .map_or(0, |failure| failure.in_a_row),
            round_trip: past.success.filter(|success| success.counts(now)).map(|success| success.round_trip),
        })
    }

    /// Notes that a connection to `address` was made within `took`.
    pub(crate) fn succeeded(&mut self, address: SocketAddr, took: Duration, now: Instant) {
        if now.checked_sub(took).is_some_and(|started| self.is_of_earlier_network(started)) {
            return;
        }
        let past = self.past(address);
        let known = past.success.filter(|success| success.counts(now));
        // > SRTT <- (1 - alpha) * SRTT + alpha * R', with alpha = 1/8
        // <https://www.rfc-editor.org/rfc/rfc6298#section-2>
        let success = match known {
            Some(Success { since, round_trip }) => Success { since, round_trip: (round_trip * 7 + took) / 8 },
            None => Success { since: now, round_trip: took },
        };
        *past = Past { success: Some(success), failure: None };
    }

    /// Notes that an attempt to connect to `address`, which began at `started`, has failed. Attempts that ran at the same
    /// time count as one failure, because they show the same thing.
    pub(crate) fn failed(&mut self, address: SocketAddr, started: Instant, now: Instant) {
        if self.is_of_earlier_network(started) {
            return;
        }
        let past = self.past(address);
        let known = past.failure.filter(|failure| failure.is_remembered(now));
        let in_a_row = match known {
            Some(known) if started <= known.last => known.in_a_row,
            Some(known) => known.in_a_row.saturating_add(1),
            None => 1,
        };
        past.failure = Some(Failure { last: now, in_a_row });
    }

    /// Forgets everything, because the machine is in another network from `now` on.
    pub(crate) fn clear(&mut self, now: Instant) {
        *self = Self { since: Some(now), ..Self::default() };
    }

    /// Whether the network has changed after the time `started`.
    pub(crate) fn is_of_earlier_network(&self, started: Instant) -> bool {
        self.since.is_some_and(|since| started < since)
    }

    fn past(&mut self, address: SocketAddr) -> &mut Past {
        let mut known = None;
        if self.recent.len() >= HALF && !self.recent.contains_key(&address) {
            known = self.older.remove(&address);
            self.older = take(&mut self.recent);
        }
        let older = &mut self.older;
        self.recent
            .entry(address)
            .or_insert_with(|| known.or_else(|| older.remove(&address)).unwrap_or_default())
    }
}

impl Success {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < TRUST
    }
}

impl Failure {
    /// Time for which an address that failed comes last: 1 minute, and twice as long after each further failure in a row,
    /// but at most 8 minutes.
    fn length(&self) -> Duration {
        MINUTE * (1 << self.in_a_row.saturating_sub(1).min(3))
    }

    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < self.length()
    }

    /// Whether a failure at the time `now` is the next one in a row.
    fn is_remembered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < self.length() * 2
    }
}

/// Returns the time from the start of an attempt to the start of the next one. `usual` is the time for an address without a
/// history. A known round trip shortens this time, but not below 100 ms.
///
/// > A more nuanced implementation's delay should correspond to the time when the previous attempt is sending its second TCP
/// > SYN, based on the TCP's retransmission timer
///
/// <https://www.rfc-editor.org/rfc/rfc8305#section-5>
pub(crate) fn attempt_delay(usual: Duration, round_trip: Option<Duration>) -> Duration {
    let usual = usual.min(LONGEST_DELAY);
    match round_trip {
        Some(round_trip) => round_trip.saturating_mul(2).max(SHORTEST_DELAY).min(usual),
        None => usual,
    }
}

/// Number of addresses in each half of the memory.
const HALF: usize = 512;

/// Time for which a round trip counts.
const TRUST: Duration = Duration::from_secs(600);

const MINUTE: Duration = Duration::from_secs(60);

/// > The minimum time to wait between connection attempts. Recommended to be 100 milliseconds.
///
/// <https://www.rfc-editor.org/rfc/rfc8305#section-8>
const SHORTEST_DELAY: Duration = Duration::from_millis(100);

/// > The maximum time to wait between connection attempts. Recommended to be 2 seconds.
///
/// <https://www.rfc-editor.org/rfc/rfc8305#section-8>
const LONGEST_DELAY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn address(n: usize) -> SocketAddr {
        let [a, b, ..] = n.to_le_bytes();
        SocketAddr::from(([10, 0, b, a], 80))
    }

    #[test]
    fn failures_expire_after_a_time_that_grows() {
        let (mut history, origin) = (History::default(), Instant::now());
        let a = address(1);
        let failures = |history: &History, at| history.standing(a, origin + at).failures;
        // The time of each failure, and the time for which it counts.
        for (nth, at, minutes) in
            [(1, 0, 1), (2, 60, 2), (3, 200, 4), (4, 500, 8), (5, 1_000, 8), (6, 1_500, 8)]
        {
            let at = SECOND * at;
            history.failed(a, origin + at, origin + at);
            let end = at + MINUTE * minutes;
            assert_eq!((failures(&history, at), failures(&history, end - MS)), (nth, nth));
            assert_eq!(failures(&history, end), 0, "failure {nth} has expired");
        }
        // The last failure counted for 8 minutes. After 16 minutes the next one is the first again.
        history.failed(a, origin + SECOND * 2_460, origin + SECOND * 2_460);
        assert_eq!(failures(&history, SECOND * 2_460), 1);
    }

    #[test]
    fn attempts_at_the_same_time_are_one_failure() {
        let (mut history, origin) = (History::default(), Instant::now());
        for ms in 0..100 {
            history.failed(address(1), origin, origin + MS * ms);
        }
        assert_eq!(history.standing(address(1), origin + SECOND).failures, 1);
        history.failed(address(1), origin + SECOND, origin + SECOND);
        assert_eq!(history.standing(address(1), origin + SECOND).failures, 2);
    }

    #[test]
    fn a_success_ends_all_failures_and_smooths_the_round_trip() {
        let (mut history, origin) = (History::default(), Instant::now());
        let a = address(1);
        assert_eq!(history.standing(a, origin), Standing::default());
        history.failed(a, origin, origin);
        history.succeeded(a, MS * 80, origin);
        assert_eq!(history.standing(a, origin), Standing { failures: 0, round_trip: Some(MS * 80) });
        history.succeeded(a, MS * 160, origin + SECOND);
        assert_eq!(history.standing(a, origin + SECOND).round_trip, Some(MS * 90));
        // A failure does not end what is known of the round trip.
        history.failed(a, origin + SECOND, origin + SECOND);
        assert_eq!(history.standing(a, origin + SECOND), Standing { failures: 1, round_trip: Some(MS * 90) });
        assert_eq!(history.standing(a, origin + TRUST - MS).round_trip, Some(MS * 90));
        assert_eq!(history.standing(a, origin + TRUST).round_trip, None, "a round trip expires");
        history.succeeded(a, MS * 8, origin + TRUST);
        assert_eq!(history.standing(a, origin + TRUST).round_trip, Some(MS * 8), "it begins anew");
        history.clear(origin);
        assert_eq!(history.standing(a, origin), Standing::default());
    }

    /// An attempt that began before a change of the network ends after the change.
    #[test]
    fn attempts_in_the_earlier_network_say_nothing() {
        let (mut history, origin) = (History::default(), Instant::now());
        let a = address(1);
        history.clear(origin + SECOND);
        history.failed(a, origin, origin + SECOND * 2);
        history.succeeded(a, SECOND * 2, origin + SECOND * 2);
        assert_eq!(history.standing(a, origin + SECOND * 2), Standing::default());
        history.failed(a, origin + SECOND, origin + SECOND * 2);
        history.succeeded(address(2), SECOND, origin + SECOND * 2);
        assert_eq!(history.standing(a, origin + SECOND * 2).failures, 1);
        assert_eq!(history.standing(address(2), origin + SECOND * 2).round_trip, Some(SECOND));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let (mut history, origin) = (History::default(), Instant::now());
        for n in 1..10 * HALF {
            history.failed(address(0), origin, origin);
            history.failed(address(n), origin, origin);
            assert!(history.recent.len() <= HALF && history.older.len() <= HALF);
            assert_eq!(history.standing(address(0), origin).failures, 1, "{n}");
            assert_eq!(history.standing(address(n), origin).failures, 1, "{n}");
        }
        assert_eq!(history.standing(address(1), origin).failures, 0, "it was forgotten");
        assert!(history.recent.len() + history.older.len() > HALF);
    }

    #[test]
    fn a_known_round_trip_shortens_the_delay_within_bounds() {
        for (usual, round_trip, expected) in [
            (250, None, 250),
            (250, Some(0), 100),
            (250, Some(49), 100),
            (250, Some(75), 150),
            (250, Some(300), 250),
            (5_000, None, 2_000),
            (5_000, Some(3_000), 2_000),
            (20, None, 20),
            (20, Some(1), 20),
        ] {
            let delay = attempt_delay(MS * usual, round_trip.map(|ms| MS * ms));
            assert_eq!(delay, MS * expected, "{usual} ms, {round_trip:?}");
        }
    }
}
