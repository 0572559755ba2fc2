//! Dials: how dials begin and end, and when the pool gives a dial up. The pool gives up an overdue dial, because its
//! runtime does not run, and a dial ahead whose room a request needs.
//!
//! Invariants: every dial in the list counts as dialing. A dial that was given up does not count under the limits, so
//! that the pool does not depend on the dial's runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::actions::{Action, Actions, Terms};
use super::kinds::Kinds;
use super::places::Place;
use super::queue::End;
use super::reasons::DropReason;
use super::touched::touch;
use super::{BATCH, Policy};

/// Number of the event that began a dial. A dial that began later, or a waiter that queued later, has a larger number.
pub(crate) type DialId = u64;

/// Dials under way.
#[derive(Debug, Default)]
pub(super) struct Dials {
    all: BTreeMap<DialId, Dial>,
    /// Dials that were begun for `warm` or `min_idle` instead of for a request.
    ahead: BTreeSet<DialId>,
}

#[derive(Clone, Copy, Debug)]
struct Dial {
    place: Place,
    /// Time at which the dial is overdue. All dials have the same time limit, so a dial that began earlier is overdue
    /// earlier.
    due: Option<Instant>,
}

/// Purpose of a dial.
pub(super) enum Purpose<W> {
    /// The dial is for a waiter that has no dial under way.
    Waiter,
    /// The dial is for this waiter, whose connection died. The dial takes the room of the dead connection, which is
    /// still counted.
    Replacement(W),
    /// The dial is for no request.
    Ahead,
}

impl Dials {
    pub(super) fn insert(&mut self, dial_id: DialId, place: Place, due: Option<Instant>, is_ahead: bool) {
        self.all.insert(dial_id, Dial { place, due });
        if is_ahead {
            self.ahead.insert(dial_id);
        }
    }

    pub(super) fn remove(&mut self, dial_id: DialId) -> Option<Place> {
        if !self.ahead.is_empty() {
            self.ahead.remove(&dial_id);
        }
        self.all.remove(&dial_id).map(|dial| dial.place)
    }

    pub(super) fn place(&self, dial_id: DialId) -> Option<Place> {
        self.all.get(&dial_id).map(|dial| dial.place)
    }

    /// Returns the time at which the first dial is overdue.
    fn due(&self) -> Option<Instant> {
        self.all.first_key_value().and_then(|(_, dial)| dial.due)
    }
}

impl<K: Kinds> Policy<K> {
    /// Begins a dial.
    pub(super) fn start_dial(
        &mut self,
        place: Place,
        now: Instant,
        out: &mut Actions<K>,
        purpose: Purpose<K::Waiter>,
    ) {
        let dial_id = self.next_seq();
        if !matches!(purpose, Purpose::Replacement(_)) {
            self.counted += 1;
            self.hosts.host_mut(place.host).counted += 1;
        }
        let key = self.hosts.host(place.host).key.clone();
        self.dialing += 1;
        self.dials.insert(dial_id, place, self.dial_due(now), matches!(purpose, Purpose::Ahead));
        let shelf = self.hosts.shelf_mut(place);
        shelf.dialing += 1;
        // The dial is for the first waiter without a dial. That waiter is sought from the nearer end of the
        // queues. If the waiter is far from either end, the dial is for no particular waiter.
        let before = shelf.dialing - 1;
        let wanting = || {
            let mut queue = shelf.resending.iter().chain(shelf.waiting.iter()).inspect(|_| touch());
            let behind = (shelf.resending.len() + shelf.waiting.len()).checked_sub(shelf.dialing)?;
            let wanting = match before.min(behind) {
                FAR.. => None,
                _ if before <= behind => queue.nth(before),
                _ => queue.nth_back(behind),
            };
            wanting.cloned()
        };
        let wanted_by = match purpose {
            Purpose::Replacement(waiter) => Some(waiter),
            Purpose::Waiter | Purpose::Ahead => wanting(),
        };
        let partition = shelf.partition.clone();
        let Some(partition) = partition else { return };
        self.unblock_if_served(place.host);
        out.push(Action::Dial { key, partition, place, dial_id, wanted_by });
    }

    /// Whether a request waits for the next new connection of the place. False if the place is gone.
    pub(crate) fn is_awaited_at(&self, place: Place) -> bool {
        let shelf = self.hosts.get(place.host).and_then(|host| host.shelves.get(place.shelf as usize));
        shelf.is_some_and(|shelf| shelf.waiters() > 0)
    }

    /// Whether exactly one request waits at the place, and exactly one dial is under way.
    pub(crate) fn is_alone_at(&self, place: Place) -> bool {
        let shelf = self.hosts.get(place.host).and_then(|host| host.shelves.get(place.shelf as usize));
        shelf.is_some_and(|shelf| (shelf.waiters(), shelf.dialing) == (1, 1))
    }

    /// Adds the connection of a dial that succeeded. The connection goes to a request that is sent again, to the oldest
    /// waiter, or to the shelf.
    ///
    /// If the connection was kept, returns the time at which a reaper has to look.
    pub(crate) fn dialed(
        &mut self,
        place: Place,
        dial_id: DialId,
        conn: K::Connection,
        terms: Terms,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Option<Instant> {
        self.end_dial(place, dial_id);
        let resending = self.hosts.shelf_mut(place).resending.pop_first();
        let due = if let Some(waiter) = resending {
            self.no_longer_waiting(place.host, 1);
            out.push(Action::Grant { waiter, conn, place });
            None
        } else {
            self.offer(place, conn, terms, now, out)
        };
        let host = self.hosts.host(place.host);
        if host.is_wanting() || host.shelves[place.shelf as usize].min_idle > 0 {
            // The host may have been failing until now, so its waiters may need more dials than were allowed.
            self.dial_as_needed(place.host, now, out);
        }
        due
    }

    /// Notes that a dial has made a connection, which counts as active.
    fn end_dial(&mut self, place: Place, dial_id: DialId) {
        self.dials.remove(dial_id);
        let shelf = self.hosts.shelf_mut(place);
        shelf.dialing -= 1;
        shelf.active += 1;
        self.dialing -= 1;
        self.counters(place.host, |c| c.opened += 1);
        self.clear_failure(place.host);
    }

    /// Closes the connection of a dial that succeeded, because the only request that could use the connection is gone.
    pub(crate) fn dialed_in_vain(
        &mut self,
        place: Place,
        dial_id: DialId,
        conn: K::Connection,
        now: Instant,
        out: &mut Actions<K>,
    ) {
        self.end_dial(place, dial_id);
        self.bury(conn, place, DropReason::Abandoned, out);
        self.dial_as_needed(place.host, now, out);
    }

    /// Notes how long a dial's handshake took. The shell calls this method before [`dialed`](Self::dialed).
    pub(crate) fn note_handshake(&mut self, place: Place, took: Duration) {
        self.hosts.host_mut(place.host).counters.note_handshake(took);
    }

    /// Fails the waiters that a failed dial concerns, and returns true if more of these waiters are left. When no such
    /// waiter is left, the shell calls [`dial_failed`](Self::dial_failed), which frees the room of the dial.
    ///
    /// A failure that concerns the host fails every waiter that queued before the dial began, [`BATCH`] in a call.
    /// Any other failure fails one waiter. For each other dial under way, one waiter keeps waiting.
    pub(crate) fn fail_waiters(
        &mut self,
        place: Place,
        dial_id: DialId,
        concerns_host: bool,
        out: &mut Actions<K>,
    ) -> bool {
        let others = self.dials_awaited(place, true);
        let shelf = self.hosts.shelf_mut(place);
        let unserved = shelf.waiters().saturating_sub(others);
        let most = unserved.min(if concerns_host { BATCH } else { 1 });
        // The first waiters in the queue get the connections of the dials that are still under way.
        let end = if others == 0 { End::First } else { End::Last };
        let mut failed = 0;
        for queue in [&mut shelf.resending, &mut shelf.waiting] {
            while failed < most
                && let Some(waiter) = queue.pop_before(dial_id, end, BATCH)
            {
                out.push(Action::Fail { waiter });
                failed += 1;
            }
        }
        self.no_longer_waiting(place.host, failed);
        failed == BATCH
    }

    /// Frees the room of a failed dial. `is_shared` says that the failure concerns the host, so that the waiters of a
    /// failing host share the failure.
    pub(crate) fn dial_failed(&mut self, place: Place, is_shared: bool, now: Instant, out: &mut Actions<K>) {
        self.hosts.shelf_mut(place).dialing -= 1;
        self.dialing -= 1;
        self.counters(place.host, |c| c.failed_dials += 1);
        self.uncount(place.host);
        if is_shared {
            // Each dial under way keeps one waiter from failing. This dial has ended, so one more waiter may fail.
            self.fail_unserved(place, false, out);
        }
        // No dial ahead begins right after a failure, because one dial ahead after another would fail.
        self.dial_ahead_later(place.host, now);
        let noted = out.len();
        self.dial_for_waiters(place.host, now, out);
        self.note_replacement(place.host, &out[noted..]);
        self.vacate(place, out);
        // The host must not be used after this call: each host that is listed as empty can push out the oldest listed
        // host, so this host may be forgotten.
        self.hosts.list_if_empty(place.host);
        self.dial_for_blocked(now, out);
    }

    /// Returns the time at which a dial that begins now will be overdue.
    pub(super) fn dial_due(&self, now: Instant) -> Option<Instant> {
        let timeout = self.limits.connect_timeout?;
        now.checked_add(timeout)?.checked_add(OVERDUE_GRACE)
    }

    /// Whether a dial is under way and was not given up.
    pub(crate) fn has_dial(&self, dial_id: DialId) -> bool {
        self.dials.all.contains_key(&dial_id)
    }

    /// Returns the time at which the next dial is overdue, if a request waits that could use the room of the dial.
    pub(crate) fn next_overdue(&self) -> Option<Instant> {
        if self.waiting > 0 { self.dials.due() } else { None }
    }

    /// Whether a waiter of this place has no dial under way.
    pub(crate) fn is_wanting(&self, place: Place) -> bool {
        self.hosts.shelf(place).demand() > 0
    }

    /// Returns the first overdue dial, and the partition that does not run this dial.
    ///
    /// No dial in that partition can serve its requests. The shell fails the partition's requests by
    /// [`refuse_waiters`](Self::refuse_waiters), and gives the dial up by [`reclaim`](Self::reclaim).
    pub(crate) fn overdue(&self, now: Instant) -> Option<(DialId, K::Partition)> {
        let (&dial_id, &Dial { place, due, .. }) = self.dials.all.first_key_value()?;
        let partition = self.hosts.shelf(place).partition.clone()?;
        (due? <= now).then_some((dial_id, partition))
    }

    /// Gives an overdue dial up, and starts other dials in the room of that dial.
    pub(crate) fn reclaim(&mut self, dial_id: DialId, now: Instant, out: &mut Actions<K>) {
        let Some(place) = self.dials.place(dial_id) else { return };
        self.counters(place.host, |c| c.failed_dials += 1);
        self.give_up(dial_id, out);
        self.dial_ahead_later(place.host, now);
        self.dial_for_waiters(place.host, now, out);
        self.leave(place, out);
        self.dial_for_blocked(now, out);
    }

    /// Gives every dial up, [`BATCH`] in a call. Returns true if more may remain.
    pub(crate) fn give_up_all(&mut self, out: &mut Actions<K>) -> bool {
        for _ in 0..BATCH {
            let Some((&dial_id, &Dial { place, .. })) = self.dials.all.first_key_value() else {
                return false;
            };
            self.give_up(dial_id, out);
            self.leave(place, out);
        }
        true
    }

    /// Gives up a dial ahead that no request waits for, because a request needs the room of a dial. If `host` is given,
    /// only dials to that host are considered. Returns false if no dial can be given up.
    pub(super) fn give_up_spare(&mut self, host: Option<u32>, now: Instant, out: &mut Actions<K>) -> bool {
        let is_spare = |(_, dial): &(DialId, Dial)| {
            touch();
            let known = self.hosts.host(dial.place.host);
            // The waiters of a failing host share its dial, whatever their partition.
            let is_shared = known.failing.is_some() && known.waiting > 0;
            let is_of_host = host.is_none_or(|host| dial.place.host == host);
            is_of_host && !is_shared && known.shelves[dial.place.shelf as usize].ahead() > 0
        };
        let ahead = self.dials.ahead.iter().take(BATCH / 2);
        let mut ahead = ahead.filter_map(|dial_id| Some((*dial_id, *self.dials.all.get(dial_id)?)));
        let Some((dial_id, Dial { place, .. })) = ahead.find(is_spare) else { return false };
        self.give_up(dial_id, out);
        self.dial_ahead_later(place.host, now);
        self.vacate(place, out);
        // The host is forgotten later, because the caller may still use the host.
        self.left.push(place.host);
        true
    }

    /// Removes a dial from every count, and tells the shell to cancel it.
    fn give_up(&mut self, dial_id: DialId, out: &mut Actions<K>) {
        let Some(place) = self.dials.remove(dial_id) else { return };
        self.hosts.shelf_mut(place).dialing -= 1;
        self.dialing -= 1;
        self.uncount(place.host);
        out.push(Action::Abort { dial_id });
    }
}

/// Largest distance from an end of the queues at which the waiter of a dial is sought. A dial without a particular
/// waiter serves requests equally well. Only the error of a request that stops waiting says less about the dial.
const FAR: usize = BATCH / 2;

/// Time after the connect timeout at which a dial is overdue. A runtime that runs ends its dials earlier.
const OVERDUE_GRACE: Duration = Duration::from_millis(250);

#[cfg(test)]
#[path = "dials_tests.rs"]
mod tests;
