//! Hosts to which dials fail: who is told at once, and when the next dial is made.
//!
//! Invariants: while a host is failing, a request begins no dial before its time has come, and each dial puts that time
//! off; a dial that succeeds forgives everything; who waits for a failing host has a dial under way.

use std::time::{Duration, Instant};

use super::{BATCH, Policy};
use crate::connect::DialError;
use crate::pool::action::{Action, Actions};
use crate::pool::hosts::Place;

/// Dials to a host that failed, since the last that did not.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    /// How many in a row; those that were under way together count as two at the most.
    pub(crate) dials: u32,
    /// The latest, of which nothing is the caller's: it is dropped under the lock.
    pub(crate) error: DialError,
    /// No request begins a dial before.
    pub(crate) until: Instant,
    /// When the first came, and when it became clear that the host is failing.
    first: u64,
    turned: u64,
    /// When the latest came: dials that began before were under way together with it.
    seen: u64,
}

impl Failing {
    /// Whether requests are told at once, in place of a dial each.
    pub(crate) fn is_failing(&self) -> bool {
        self.dials >= FAILURES
    }
}

impl<K: Clone, T, W: Clone, P: Clone + PartialEq> Policy<K, T, W, P> {
    /// A dial failed; it counts as under way until [`dial_failed`](Self::dial_failed). Before that, those fail whom it
    /// concerns: by [`fail_waiters`](Self::fail_waiters), then by [`fail_unserved`](Self::fail_unserved). `true`: the dial
    /// was the one that all who wait for a failing host have waited for.
    pub(crate) fn note_failure(&mut self, place: Place, began: u64, error: DialError, now: Instant) -> bool {
        self.end_late(place, began);
        if !error.is_of_host() {
            return false;
        }
        let seen = self.next_seq();
        let before = self.hosts.host_mut(place.host).failing.take();
        let is_probe = before.as_ref().is_some_and(|failing| failing.is_failing() && began >= failing.seen);
        let (dials, until) = match &before {
            None => (1, None),
            Some(failing) if began < failing.seen && failing.is_failing() => {
                (failing.dials, Some(failing.until))
            }
            Some(failing) if began < failing.seen => (FAILURES.min(failing.dials + 1), None),
            Some(failing) => (failing.dials.saturating_add(1), None),
        };
        let until = until.unwrap_or_else(|| {
            // Full jitter: those who fail together do not come back together.
            let most = BACKOFF.saturating_mul(1 << dials.saturating_sub(FAILURES).min(16)).min(MOST_BACKOFF);
            now + most.mul_f64(self.random())
        });
        let first = before.as_ref().map_or(seen, |failing| failing.first);
        let was_failing = before.as_ref().filter(|failing| failing.is_failing());
        let turned = was_failing.map_or(seen, |failing| failing.turned);
        let failing = Failing { dials, error, until, first, turned, seen };
        self.hosts.host_mut(place.host).failing = Some(Box::new(failing));
        is_probe && self.config.wait_for_failing
    }

    /// What the last dials to the host came to, if it is failing.
    pub(crate) fn failure(&self, place: Place) -> Option<DialError> {
        let failing = self.hosts.host(place.host).failing.as_ref()?;
        failing.is_failing().then(|| failing.error.clone())
    }

    /// Of a failing host, those are told for whom no dial is under way, [`BATCH`] a call; `true`: there may be more. (A dial
    /// that took the place of the first that failed counts for nothing: it is the probe, for which nobody waits.)
    /// `ended`: one of the shelf's dials is over, though it still counts.
    pub(crate) fn fail_unserved(&mut self, place: Place, ended: bool, out: &mut Actions<K, T, W, P>) -> bool {
        let host = self.hosts.host(place.host);
        if self.config.wait_for_failing || !host.failing.as_ref().is_some_and(|failing| failing.is_failing())
        {
            return false;
        }
        let mut failed = 0;
        for index in 0..host.shelves.len() as u32 {
            let at = Place { shelf: index, ..place };
            let shelf = self.hosts.shelf_mut(at);
            let under_way =
                shelf.dialing.saturating_sub(shelf.late as usize + usize::from(ended && at == place));
            while failed < BATCH && shelf.waiting.len() + shelf.resending.len() > under_way {
                // Those who came last: who is in front gets what is still under way.
                let last = shelf.waiting.pop_last().or_else(|| shelf.resending.pop_last());
                let Some(waiter) = last else { break };
                out.push(Action::Fail { waiter });
                failed += 1;
            }
            if at != place {
                self.vacate(at, out);
            }
        }
        self.no_longer_waiting(place.host, failed);
        failed == BATCH
    }

    /// A dial begins: whether it is one that follows the first failure, before it is clear that the host is failing.
    pub(super) fn note_late(&mut self, place: Place) {
        let failing = &self.hosts.host(place.host).failing;
        if failing.as_ref().is_some_and(|failing| !failing.is_failing()) {
            self.hosts.shelf_mut(place).late += 1;
        }
    }

    /// A dial is over.
    fn end_late(&mut self, place: Place, began: u64) {
        let failing = &self.hosts.host(place.host).failing;
        let is_late =
            |failing: &Failing| began >= failing.first && (!failing.is_failing() || began < failing.turned);
        if failing.as_deref().is_some_and(is_late) {
            let shelf = self.hosts.shelf_mut(place);
            shelf.late = shelf.late.saturating_sub(1);
        }
    }

    /// The host is not failing, or no longer.
    pub(super) fn absolve(&mut self, slot: u32) -> bool {
        let host = self.hosts.host_mut(slot);
        let was_failing = host.failing.take().is_some();
        if was_failing {
            host.shelves.iter_mut().for_each(|shelf| shelf.late = 0);
        }
        was_failing
    }

    /// Hosts to which dials failed may be dialed at once: [`BATCH`] of them, from `slot` on; answers where to go on.
    pub(crate) fn forgive(
        &mut self,
        slot: usize,
        now: Instant,
        out: &mut Actions<K, T, W, P>,
    ) -> Option<usize> {
        let end = (slot + BATCH).min(self.hosts.slots());
        for slot in slot..end {
            if self.hosts.get(slot as u32).is_some() && self.absolve(slot as u32) {
                self.pump(slot as u32, now, out);
            }
        }
        (end < self.hosts.slots()).then_some(end)
    }

    /// How many dials the host may begin, limits aside.
    pub(super) fn dials_allowed(&self, slot: u32, now: Instant) -> usize {
        match &self.hosts.host(slot).failing {
            Some(failing) if failing.is_failing() => usize::from(now >= failing.until),
            _ => usize::MAX,
        }
    }

    /// A dial begins: the next is not made before this one had its time, wherever it runs.
    pub(super) fn note_dial(&mut self, slot: u32, now: Instant) {
        if let Some(failing) = &mut self.hosts.host_mut(slot).failing
            && failing.is_failing()
        {
            failing.until = failing.until.max(now + PROBE);
        }
    }

    /// What a request is told that would have to wait for a failing host.
    pub(super) fn refusal(&self, slot: u32, now: Instant) -> Option<Failing> {
        if self.config.wait_for_failing || self.dials_allowed(slot, now) > 0 {
            return None;
        }
        self.hosts.host(slot).failing.as_deref().cloned()
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

/// How long a dial to a failing host is waited for before another may be made: its runtime may not be running.
const PROBE: Duration = Duration::from_secs(10);

#[cfg(test)]
#[path = "failing_tests.rs"]
mod tests;
