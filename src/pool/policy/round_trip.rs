//! The shortest round trip known for a host, and the time after which an answer is believed.
//!
//! An answer cannot come sooner than one round trip after its request was sent. Bytes that come sooner on a reused
//! connection were on their way before the server can have seen the request, so that they belong to an earlier
//! exchange.
//!
//! Only measurements that cannot be too short count: the connection attempts that won, and the first answer on each
//! new connection. Later answers do not count, because an answer that belongs to an earlier exchange would shorten the
//! round trip until the check has no effect. A delay of this process makes a measured round trip longer. A round trip
//! that is too long causes wrong doubts, and wrong doubts make the round trip shorter.
//!
//! Invariants: the round trip of a host never becomes longer, and is unknown until a connection attempt wins.

use std::time::{Duration, Instant};

use super::Policy;
use super::kinds::Kinds;
use super::places::Place;

/// The shortest round trip that is known for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoundTrip {
    /// Length in microseconds. [`UNKNOWN`] before the first connection attempt has won.
    micros: u32,
    /// Number of wrong doubts, less the number of right doubts, and never below 0.
    errors: u8,
}

/// Result of a doubt about an answer that came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// More bytes came, so that the first bytes were not the answer.
    Right,
    /// No more bytes came. The first bytes were the answer, which came this long after its request.
    Wrong(Duration),
    /// No look at the connection could settle the doubt, or the silence of the connection says nothing.
    Unsettled,
}

const UNKNOWN: u32 = u32::MAX;

impl RoundTrip {
    pub(super) const fn unknown() -> Self {
        Self { micros: UNKNOWN, errors: 0 }
    }

    /// Notes the length of a connection attempt that won. `None` means that the length says nothing about the host,
    /// for example because the host is this machine. The host's answers are then always believed.
    fn note_connect(&mut self, took: Option<Duration>) {
        self.micros = self.micros.min(took.map_or(0, micros));
    }

    /// Notes how long the first answer on a connection took, in microseconds.
    fn note_first_answer(&mut self, took: u32) {
        if self.micros != UNKNOWN {
            self.micros = self.micros.min(took);
        }
    }

    /// Notes the result of a doubt. Once the wrong doubts outnumber the right doubts by two, the round trip becomes as
    /// short as the time of the latest answer that was doubted wrongly.
    fn note_doubt(&mut self, doubt: Doubt) {
        match doubt {
            Doubt::Right => self.errors = self.errors.saturating_sub(1),
            Doubt::Wrong(after) => {
                self.errors += 1;
                if self.errors >= MOST_ERRORS {
                    self.errors = 0;
                    self.note_first_answer(micros(after));
                }
            }
            Doubt::Unsettled => {}
        }
    }

    /// Returns the time in microseconds after which an answer is believed: half of the round trip. Returns zero if the
    /// round trip is unknown or shorter than [`SHORTEST`].
    fn believed_after(self) -> u32 {
        match self.micros {
            UNKNOWN | 0..SHORTEST => 0,
            micros => micros / 2,
        }
    }
}

/// Returns a duration in whole microseconds. Durations of more than 71 minutes count as 71 minutes.
fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(UNKNOWN).min(UNKNOWN - 1)
}

impl<K: Kinds> Policy<K> {
    /// Notes how long the connection attempt took that made a connection of the host. `None` means that the length
    /// says nothing about the host.
    pub(crate) fn note_connect(&mut self, place: Place, took: Option<Duration>) {
        self.hosts.host_mut(place.host).round_trip.note_connect(took);
    }

    /// Notes how long the first answer on a connection of the host took.
    pub(crate) fn note_first_answer(&mut self, place: Place, took: Duration) {
        self.hosts.host_mut(place.host).round_trip.note_first_answer(micros(took));
    }

    /// Notes the result of a doubt. The doubted answer counts as unsolicited bytes unless the doubt was wrong.
    pub(crate) fn note_doubt(&mut self, place: Place, doubt: Doubt, now: Instant) {
        self.hosts.host_mut(place.host).round_trip.note_doubt(doubt);
        if !matches!(doubt, Doubt::Wrong(_)) {
            self.note_unasked(place, now);
        }
    }

    /// Returns the time in microseconds between the start of an attempt and the moment from which an answer of the host
    /// is believed. Returns zero if every answer is believed.
    #[inline]
    pub(crate) fn believed_after(&self, place: Place) -> u32 {
        match self.limits.doubts_early_answers {
            true => self.hosts.host(place.host).round_trip.believed_after(),
            false => 0,
        }
    }
}

/// Shortest round trip, in microseconds, with which answers are doubted. With a shorter round trip, delays of this
/// machine decide when an answer is seen.
const SHORTEST: u32 = 4_000;

/// Number by which the wrong doubts outnumber the right doubts when the round trip becomes shorter.
const MOST_ERRORS: u8 = 2;

#[cfg(test)]
#[path = "round_trip_tests.rs"]
mod tests;
