//! Hosts to which dials fail: who is told at once, and when the next dial is made.
//!
//! Invariants: after [`FAILURES`] dials in a row that failed, a host has one dial under way at the most, and none before
//! its time has come; a dial that succeeds forgives everything.

use std::time::{Duration, Instant};

use super::{BATCH, Policy};
use crate::connect::DialError;
use crate::pool::action::{Action, Actions};
use crate::pool::hosts::Place;

/// Dials to a host that failed, since the last that did not.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    /// How many in a row.
    pub(crate) dials: u32,
    /// The latest.
    pub(crate) error: DialError,
    /// No dial begins before.
    pub(crate) until: Instant,
}

impl Failing {
    /// Whether requests are told at once, in place of a dial each.
    pub(crate) fn is_failing(&self) -> bool {
        self.dials >= FAILURES
    }
}

impl<K: Clone, T, W: Clone, P: Clone + PartialEq> Policy<K, T, W, P> {
    /// A dial failed; it counts as under way until [`dial_failed`](Self::dial_failed). Before that, those fail whom it
    /// concerns: by [`fail_waiters`](Self::fail_waiters), then by [`fail_unserved`](Self::fail_unserved).
    pub(crate) fn note_failure(&mut self, place: Place, error: &DialError, now: Instant) {
        if !error.is_of_host() {
            return;
        }
        let slot = place.host;
        let dials =
            self.hosts.host(slot).failing.as_ref().map_or(0, |failing| failing.dials).saturating_add(1);
        // Full jitter: those who fail together do not come back together.
        let most = BACKOFF.saturating_mul(1 << dials.saturating_sub(FAILURES).min(16)).min(MOST_BACKOFF);
        let wait = most.mul_f64(self.random());
        let failing = Failing { dials, error: error.clone(), until: now + wait };
        if failing.is_failing() && self.config.wait_for_failing_hosts {
            self.probes.insert((failing.until, slot));
        }
        self.hosts.host_mut(slot).failing = Some(Box::new(failing));
    }

    /// Of a failing host, those are told for whom no other dial is under way, [`BATCH`] a call; `true`: there may be
    /// more.
    pub(crate) fn fail_unserved(&mut self, place: Place, out: &mut Actions<K, T, W, P>) -> bool {
        let host = self.hosts.host(place.host);
        let is_failing = host.failing.as_ref().is_some_and(|failing| failing.is_failing());
        if self.config.wait_for_failing_hosts || !is_failing {
            return false;
        }
        let mut failed = 0;
        for shelf in 0..host.shelves.len() as u32 {
            let over = usize::from(shelf == place.shelf);
            let shelf = self.hosts.shelf_mut(Place { shelf, ..place });
            let under_way = shelf.dialing - over;
            while failed < BATCH && shelf.waiting.len() + shelf.resending.len() > under_way {
                // Those who came last: who is in front gets what is still under way.
                let Some((_, waiter)) = shelf.waiting.pop_last() else { break };
                out.push(Action::Fail { waiter });
                failed += 1;
            }
        }
        self.no_longer_waiting(place.host, failed);
        failed == BATCH
    }

    /// Hosts to which dials failed may be dialed at once: [`BATCH`] of them, from `slot` on; answers where to go on.
    pub(crate) fn forgive(&mut self, slot: usize) -> Option<usize> {
        let end = (slot + BATCH).min(self.hosts.slots());
        for slot in slot..end {
            if let Some(host) = self.hosts.get_mut(slot) {
                host.failing = None;
            }
        }
        (end < self.hosts.slots()).then_some(end)
    }

    /// How many dials the host may begin, limits aside.
    pub(super) fn dials_allowed(&self, slot: u32, now: Instant) -> usize {
        let host = self.hosts.host(slot);
        match &host.failing {
            Some(failing) if failing.is_failing() => {
                let is_dialing = host.shelves.iter().any(|shelf| shelf.dialing > 0);
                usize::from(now >= failing.until && !is_dialing)
            }
            _ => usize::MAX,
        }
    }

    /// What a request is told that would have to wait for a failing host.
    pub(super) fn refusal(&self, slot: u32, now: Instant) -> Option<Failing> {
        if self.config.wait_for_failing_hosts || self.dials_allowed(slot, now) > 0 {
            return None;
        }
        self.hosts.host(slot).failing.as_deref().cloned()
    }

    /// Begins the dials of failing hosts for which requests wait and whose time has come, [`BATCH`] at the most.
    pub(super) fn probe(&mut self, now: Instant, out: &mut Actions<K, T, W, P>) -> bool {
        for _ in 0..BATCH {
            let Some(&(_, slot)) = self.probes.first().filter(|(at, _)| *at <= now) else { return false };
            self.probes.pop_first();
            if self.hosts.get(slot as usize).is_some() {
                self.pump(slot, now, out);
            }
        }
        true
    }

    /// When the next of those dials is due.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        self.probes.first().map(|(at, _)| *at)
    }

    /// From 0 to 1.
    fn random(&mut self) -> f64 {
        // xorshift64*, from the seed that the shell gave.
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Failed dials in a row after which requests are told at once.
const FAILURES: u32 = 2;

/// The most that the next dial waits after these, doubled with each further failure.
const BACKOFF: Duration = Duration::from_millis(250);
const MOST_BACKOFF: Duration = Duration::from_secs(30);
