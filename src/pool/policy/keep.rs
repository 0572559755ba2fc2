//! What is kept: the shelf of idle connections, who is taken from it, and who is buried.

use std::time::{Duration, Instant};

use super::actions::{Action, Actions, Terms};
use super::hosts::Shelf;
use super::idle::{IdleId, Stay};
use super::kinds::Kinds;
use super::places::Place;
use super::reasons::DropReason;
use super::{BATCH, NO_DEADLINE, Policy};

impl<K: Kinds> Policy<K> {
    /// Buries idle connections whose time has come, and dials where it is time to, [`BATCH`] at the most. Answers whether
    /// there may be more.
    pub(crate) fn reap(&mut self, now: Instant, out: &mut Actions<K>) -> bool {
        for _ in 0..BATCH {
            if let Some(id) = self.idle.expired(now) {
                self.bury_idle(id, self.idle.reason(id), out);
            } else if let Some(id) = self.surplus(now) {
                self.bury_idle(id, DropReason::Evicted, out);
            } else if !self.wake_next(now, out) {
                return false;
            }
        }
        true
    }

    /// When [`reap`](Self::reap) is next needed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.idle.due().into_iter().chain(self.surplus_due()).chain(self.next_wake()).min()
    }

    /// Buries the oldest idle connections: so many, [`BATCH`] at the most. Answers how many there were.
    pub(crate) fn bury_oldest(&mut self, most: usize, reason: DropReason, out: &mut Actions<K>) -> usize {
        let most = most.min(BATCH);
        for done in 0..most {
            let Some(id) = self.idle.oldest() else { return done };
            self.bury_idle(id, reason, out);
        }
        most
    }

    /// Buries the idle connections of a runtime that is gone, going on at host `slot`; answers where to go on.
    pub(crate) fn abandon(
        &mut self,
        partition: &K::Partition,
        mut from: usize,
        out: &mut Actions<K>,
    ) -> Option<usize> {
        for _ in 0..BATCH {
            if from >= self.hosts.slots() {
                return None;
            }
            let is_theirs = |shelf: &Shelf<K>| shelf.partition.as_ref() == Some(partition);
            let shelf = self.hosts.get(from as u32).and_then(|host| host.shelves().position(is_theirs));
            if let Some(shelf) = shelf {
                let place = Place { host: from as u32, shelf: shelf as u32 };
                while let Some(id) = self.hosts.shelf(place).bottom {
                    if out.len() >= BATCH {
                        return Some(from);
                    }
                    self.bury_idle(id, DropReason::RuntimeGone, out);
                }
                self.forget_min_idle(place, out);
            }
            from += 1;
        }
        Some(from)
    }

    /// The newest idle connection that has not expired, if it was used within `fresh`.
    pub(super) fn take_idle(
        &mut self,
        place: Place,
        fresh: Option<Duration>,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Option<K::Connection> {
        let mut next = self.hosts.shelf(place).top;
        for _ in 0..BATCH {
            let id = next?;
            let seen = self.idle.seen(id, now);
            next = seen.below;
            if seen.is_lent {
                continue;
            }
            if fresh.is_some_and(|fresh| seen.age > fresh) {
                return None;
            }
            if !seen.is_over {
                self.hosts.shelf_mut(place).active += 1;
                return self.unshelve(id).ok();
            }
            self.bury_idle(id, self.idle.reason(id), out);
        }
        None
    }

    /// The connection idle for longest, if there are too many and it was not used in the last second.
    fn surplus(&self, now: Instant) -> Option<IdleId> {
        self.surplus_due().filter(|due| *due <= now).and_then(|_| self.idle.oldest())
    }

    /// When the connection idle for longest is closed because there are too many.
    fn surplus_due(&self) -> Option<Instant> {
        if self.idle.len() <= self.idle_room {
            return None;
        }
        self.idle.oldest().and_then(|id| self.idle.idle_for(id, WARM))
    }

    /// A connection that is active has nothing to do.
    pub(super) fn offer(
        &mut self,
        place: Place,
        conn: K::Connection,
        terms: Terms,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Option<Instant> {
        if terms.is_of_old_network {
            self.bury(conn, place, DropReason::NetworkChanged, out);
            return None;
        }
        let host = self.hosts.host(place.host);
        let is_awaited = !host.shelves[place.shelf as usize].waiting.is_empty();
        let waiting = host.waiting;
        // (Whoever waits for a new one is not to wait for ever newer ones.)
        if (terms.is_used || !is_awaited) && terms.until.is_some_and(|until| until <= now) {
            self.bury(conn, place, DropReason::MaxLifetime, out);
            return None;
        }
        if terms.is_used && self.is_not_kept(place.host, now) {
            // (Who waits and may not dial is better served by an old connection than by none.)
            let is_needed = is_awaited && self.dials_allowed(place.host, now) == 0;
            if !is_needed {
                self.bury(conn, place, DropReason::NotKept, out);
                return None;
            }
        }
        // A new connection is not given up while a request waits for it, so that each dial serves a request.
        let yields = (terms.is_used || !is_awaited)
            && (self.yields_turn(place.host, now) || (waiting > 0 && self.yields_to_runtime(place, now)));
        if yields {
            self.bury(conn, place, DropReason::Evicted, out);
            return None;
        }
        let used = terms.used.unwrap_or(now);
        if is_awaited {
            let age = now.saturating_duration_since(used);
            if let Some(waiter) = self.hosts.shelf_mut(place).waiting.pop_accepting(age, BATCH) {
                self.no_longer_waiting(place.host, 1);
                out.push(Action::Grant { waiter, conn, place });
                return None;
            }
        }
        // Since its last use, or since it was made: mostly, that was just now.
        let unused = if used == now { Duration::ZERO } else { now.saturating_duration_since(used) };
        let ours = match self.limits.idle_timeout {
            Some(ours) if !unused.is_zero() => Some(ours.saturating_sub(unused)),
            ours => ours,
        };
        // What the server said matters only where it is less than what we would do anyway.
        let theirs = terms.stay.filter(|theirs| ours.is_none_or(|ours| *theirs < ours));
        let timeout = theirs.or(ours);
        let is_wanted_elsewhere = self.blocked.len() > self.evicting
            || (waiting > 0
                && self.room(place.host) == 0
                && self.hosts.host(place.host).is_wanting()
                && self.dials_allowed(place.host, now) > 0);
        let reason = if self.shut {
            Some(DropReason::Shutdown)
        } else if is_wanted_elsewhere {
            Some(DropReason::Evicted)
        } else if timeout == Some(Duration::ZERO) || !self.keeps_idle {
            Some(DropReason::IdleTimeout)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.bury(conn, place, reason, out);
            return None;
        }
        // The coldest goes, never the one that just came back.
        let host = self.hosts.host(place.host);
        let idle_here: usize = host.shelves().map(|shelf| shelf.idle).sum();
        if idle_here >= self.limits.max_idle_per_host {
            let oldest =
                host.shelves().filter_map(|shelf| shelf.bottom).min_by_key(|id| self.idle.since(*id));
            if let Some(id) = oldest {
                self.bury_idle(id, DropReason::Evicted, out);
            }
        } else if self.idle.len() >= self.idle_room
            && let Some(id) = self.idle.oldest()
            && self.idle.seen(id, now).age >= WARM
        {
            self.bury_idle(id, DropReason::Evicted, out);
        }
        let life = terms.until.map(|until| until.saturating_duration_since(now));
        let stay = match (life, timeout) {
            (Some(life), _) if timeout.is_none_or(|timeout| life < timeout) => {
                Stay::Less(life, DropReason::MaxLifetime)
            }
            // A connection that comes back unused keeps its older age, so it cannot go to the end of the list of ages.
            (_, Some(timeout)) if theirs.is_some() || !unused.is_zero() => {
                Stay::Less(timeout, DropReason::IdleTimeout)
            }
            (_, timeout) => Stay::Ours(timeout),
        };
        self.shelve(place, conn, used, stay.since(unused));
        // Without a deadline too: a reaper notices the end of its runtime.
        let deadline =
            stay.duration().and_then(|stay| now.checked_add(stay)).unwrap_or_else(|| now + NO_DEADLINE);
        if self.idle.len() <= self.idle_room {
            return Some(deadline);
        }
        Some(self.surplus_due().map_or(deadline, |due| due.min(deadline)))
    }

    pub(super) fn shelve(&mut self, place: Place, conn: K::Connection, used: Instant, stay: Stay) {
        let id = self.idle.push(place, conn, used, stay, self.hosts.shelf(place).top);
        let shelf = self.hosts.shelf_mut(place);
        shelf.active -= 1;
        shelf.idle += 1;
        shelf.top = Some(id);
        shelf.bottom.get_or_insert(id);
    }

    /// Takes a connection off its shelf, counted nowhere but in the limits. `Err`: it is being looked at.
    pub(super) fn unshelve(&mut self, id: IdleId) -> Result<K::Connection, u32> {
        let taken = self.idle.remove(id);
        let shelf = self.hosts.shelf_mut(taken.place);
        shelf.idle -= 1;
        shelf.lent -= u32::from(taken.conn.is_err());
        if shelf.top == Some(id) {
            shelf.top = taken.below;
        }
        if shelf.bottom == Some(id) {
            shelf.bottom = taken.above;
        }
        taken.conn
    }

    pub(super) fn bury_idle(&mut self, id: IdleId, reason: DropReason, out: &mut Actions<K>) {
        let place = self.idle.place(id);
        let conn = self.unshelve(id);
        self.hosts.shelf_mut(place).active += 1;
        match conn {
            Ok(conn) => self.bury(conn, place, reason, out),
            Err(stamp) => self.doom(stamp, place, reason),
        }
    }

    /// An active connection is to be closed; it counts until it is.
    pub(super) fn bury(
        &mut self,
        conn: K::Connection,
        place: Place,
        reason: DropReason,
        out: &mut Actions<K>,
    ) {
        self.count_buried(place, reason);
        out.push(Action::Bury { conn, place, reason });
    }

    pub(super) fn count_buried(&mut self, place: Place, reason: DropReason) {
        self.count_closed(place, reason);
        self.evicting += 1;
        self.hosts.host_mut(place.host).evicting += 1;
    }
}

/// A connection that was used within this time is not closed for being one of too many, so that a burst keeps its
/// connections.
const WARM: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
