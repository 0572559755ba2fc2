//! The ledger: the counters of a host, and of all hosts together.
//!
//! This file has plain numbers only. Invariant: a counter only grows, so that totals include hosts that have been
//! forgotten.

use std::time::Duration;

use super::reasons::{DropReason, REASONS};

/// Counters of one host, or of all hosts together.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Counters {
    pub(crate) requests: u64,
    pub(crate) reused: u64,
    pub(crate) handshakes_saved: u64,
    /// Time that avoided handshakes would have taken, in nanoseconds.
    time_saved: u64,
    /// Duration of the shortest handshake.
    shortest: Shortest,
    pub(crate) opened: u64,
    pub(crate) failed_dials: u64,
    /// Number of closed connections by reason. `None` while no connection was closed.
    closed: Option<Box<[u64; REASONS]>>,
}

/// Duration of the shortest handshake, in nanoseconds. `u64::MAX` before the first handshake.
#[derive(Clone, Copy, Debug)]
struct Shortest(u64);

impl Default for Shortest {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

impl Counters {
    /// Counts a request that was sent. If `saved` is true, adds `shortest` nanoseconds to the time that avoided
    /// handshakes saved.
    pub(crate) fn count_request(&mut self, reused: bool, saved: bool, shortest: u64) {
        self.requests += 1;
        self.reused += u64::from(reused);
        if saved {
            self.handshakes_saved += 1;
            self.time_saved = self.time_saved.saturating_add(shortest);
        }
    }

    /// Notes how long a handshake took.
    pub(crate) fn note_handshake(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.shortest.0 = self.shortest.0.min(nanos);
    }

    /// Returns the duration of the shortest handshake, in nanoseconds, or 0 before the first handshake.
    pub(crate) fn shortest(&self) -> u64 {
        if self.shortest.0 == u64::MAX { 0 } else { self.shortest.0 }
    }

    /// Returns the time that avoided handshakes would have taken.
    pub(crate) fn time_saved(&self) -> Duration {
        Duration::from_nanos(self.time_saved)
    }

    /// Counts a closed connection.
    pub(crate) fn count_closed(&mut self, reason: DropReason) {
        self.closed.get_or_insert_default()[reason as usize] += 1;
    }

    /// Returns the number of closed connections by reason.
    pub(crate) fn closed(&self) -> [u64; REASONS] {
        self.closed.as_deref().copied().unwrap_or_default()
    }
}

/// Current counts of one host, or of all hosts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) idle: usize,
    pub(crate) active: usize,
    pub(crate) dialing: usize,
    pub(crate) waiting: usize,
}
