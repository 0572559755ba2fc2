//! Failing hosts: how many dials to a host may begin after earlier dials to that host failed, and which requests share
//! a failure.
//!
//! Invariants: while a host is failing, waiting requests begin one dial at a time, and every request that waits for the
//! host shares the outcome of that dial. A dial that succeeds clears every earlier failure of the host. If a waiting
//! period is set, no dial begins before the period is over, with one exception: a request whose reused connection died
//! dials at once, in the room of that connection.

use std::time::{Duration, Instant};

use super::actions::{Action, Actions};
use super::dials::DialId;
use super::kinds::Kinds;
use super::places::{HostId, Place};
use super::{BATCH, Policy};

/// Record of the failed dials to a host since the last dial that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Failing<F> {
    /// Number of failed dials in a row. Dials that were under way together count as at most two.
    pub(crate) dials: u32,
    /// The latest failure. The error is dropped under the lock, so it holds no value of the caller's.
    pub(crate) error: F,
    /// End of the waiting period, before which no request begins a dial.
    pub(crate) until: Instant,
    /// Number of the event by which the latest failure became known. Dials with smaller numbers were under way
    /// together with the failed dial.
    seen: u64,
    /// Number of the dial that began when the first failed dial freed its room.
    replacement: Option<u64>,
}

impl<F> Failing<F> {
    /// Whether requests share one dial instead of beginning a dial for each request.
    pub(crate) fn is_failing(&self) -> bool {
        self.dials >= FAILURES
    }
}

impl<K: Kinds> Policy<K> {
    /// Notes that a dial failed. `failure` is `None` if the failure says nothing about the current state of the host,
    /// because this process ran short of something, or the dial began in an earlier network.
    ///
    /// The dial counts under the limits until the shell calls [`dial_failed`](Self::dial_failed). Before that call, the
    /// shell fails the dial's waiters by [`fail_waiters`](Self::fail_waiters) and [`fail_unserved`](Self::fail_unserved).
    /// Returns true if all requests that wait for a failing host have waited for this dial.
    pub(crate) fn note_failure(
        &mut self,
        place: Place,
        dial_id: DialId,
        failure: Option<K::Failure>,
        now: Instant,
    ) -> bool {
        self.dials.remove(dial_id);
        let Some(error) = failure else { return false };
        let seen = self.next_seq();
        let before = self.hosts.host_mut(place.host).failing.take();
        let is_probe = before.as_ref().is_some_and(|failing| failing.is_failing() && dial_id >= failing.seen);
        let (dials, until) = match &before {
            None => (1, None),
            Some(failing) if dial_id < failing.seen && failing.is_failing() => {
                (failing.dials, Some(failing.until))
            }
            Some(failing) if dial_id < failing.seen => (FAILURES.min(failing.dials + 1), None),
            Some(failing) => (failing.dials.saturating_add(1), None),
        };
        let until = until.unwrap_or_else(|| {
            let Some(longest) = self.limits.failing_host_backoff.filter(|_| dials >= FAILURES) else {
                return now;
            };
            // The jitter covers the whole period, so that clients that fail together do not dial again together.
            let most = BACKOFF.saturating_mul(1 << dials.saturating_sub(FAILURES).min(16)).min(longest);
            now + most.mul_f64(self.random())
        });
        let replacement = before.and_then(|failing| failing.replacement);
        let failing = Failing { dials, error, until, seen, replacement };
        self.hosts.host_mut(place.host).failing = Some(Box::new(failing));
        is_probe && self.limits.wait_for_failing
    }

    /// Returns the latest failure of a host that is failing.
    pub(crate) fn failure(&self, place: Place) -> Option<K::Failure> {
        let failing = self.hosts.host(place.host).failing.as_ref()?;
        failing.is_failing().then(|| failing.error.clone())
    }

    /// Fails up to [`BATCH`] waiters of a failing host for which no dial is under way, because they share the failure.
    /// Returns true if more may remain.
    ///
    /// `ended` says that one of the shelf's dials has ended but still counts under the limits.
    pub(crate) fn fail_unserved(&mut self, place: Place, ended: bool, out: &mut Actions<K>) -> bool {
        let host = self.hosts.host(place.host);
        if self.limits.wait_for_failing || !host.failing.as_ref().is_some_and(|failing| failing.is_failing())
        {
            return false;
        }
        let mut failed = 0;
        for index in 0..host.shelves.len() as u32 {
            let at = Place { shelf: index, ..place };
            let under_way = self.dials_awaited(at, ended && at == place);
            let shelf = self.hosts.shelf_mut(at);
            while failed < BATCH && shelf.waiters() > under_way {
                // The last waiters fail, because the first waiters get the connections of the dials that are under way.
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

    /// Returns the number of dials under way that the waiters of a shelf wait for.
    ///
    /// Once a host is failing, the dial that replaced the first failed dial is not counted, because its waiter would
    /// wait for another failure. `ended` says that one of the dials has ended but still counts under the limits.
    pub(super) fn dials_awaited(&self, place: Place, ended: bool) -> usize {
        let host = self.hosts.host(place.host);
        let failing = host.failing.as_ref().filter(|failing| failing.is_failing());
        let replacement = failing.and_then(|failing| self.dials.place(failing.replacement?));
        let not_awaited = usize::from(ended) + usize::from(replacement == Some(place));
        host.shelves[place.shelf as usize].dialing.saturating_sub(not_awaited)
    }

    /// Notes which dial took the room of the first failed dial.
    pub(super) fn note_replacement(&mut self, host_id: HostId, begun: &[Action<K>]) {
        let Some(failing) = &mut self.hosts.host_mut(host_id).failing else { return };
        let dial = begun.iter().find_map(|action| match action {
            Action::Dial { dial_id, .. } => Some(*dial_id),
            _ => None,
        });
        failing.replacement = failing.replacement.or(dial);
    }

    /// Forgets the failures of a host. Returns whether the host had failures.
    pub(super) fn clear_failure(&mut self, host_id: HostId) -> bool {
        let host = self.hosts.host_mut(host_id);
        host.is_ahead_paused = false;
        host.failing.take().is_some()
    }

    /// Forgets the failures of up to [`BATCH`] hosts, from slot `from` on, and dials for their waiters. Returns the
    /// slot for the next call, or `None` at the end.
    pub(crate) fn forgive(&mut self, from: usize, now: Instant, out: &mut Actions<K>) -> Option<usize> {
        let end = (from + BATCH).min(self.hosts.slots());
        for host_id in from..end {
            if self.hosts.get(host_id as HostId).is_some() && self.clear_failure(host_id as HostId) {
                self.dial_as_needed(host_id as HostId, now, out);
            }
        }
        (end < self.hosts.slots()).then_some(end)
    }

    /// Returns the number of dials that may begin to the host in view of its failures. The limits on connections apply
    /// too.
    pub(super) fn dials_allowed(&self, host_id: HostId, now: Instant) -> usize {
        let host = self.hosts.host(host_id);
        match &host.failing {
            Some(failing) if failing.is_failing() => usize::from(now >= failing.until && host.dialing() == 0),
            _ => usize::MAX,
        }
    }

    /// Returns the failure that a request gets instead of waiting, if the waiting period is not over and no dial is
    /// under way that the request could share.
    pub(super) fn refusal(&self, host_id: HostId, now: Instant) -> Option<Failing<K::Failure>> {
        let host = self.hosts.host(host_id);
        let failing = host.failing.as_deref()?;
        let is_refused = failing.is_failing()
            && now < failing.until
            && !self.limits.wait_for_failing
            && host.dialing() == 0;
        is_refused.then(|| failing.clone())
    }

    /// Returns a number from 0 to 1.
    fn random(&mut self) -> f64 {
        // The generator is xorshift64*, and the shell gave its first seed.
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Number of failed dials in a row after which requests share one dial.
const FAILURES: u32 = 2;

/// Upper bound of the first waiting period. The bound doubles with each further failure.
const BACKOFF: Duration = Duration::from_millis(250);

#[cfg(test)]
#[path = "failing_tests.rs"]
mod tests;
