//! The shelf: which connections are kept idle, which connection a request takes, and which connections are closed.
//!
//! Invariants: a request takes the newest idle connection that has not expired. When there are too many idle
//! connections, the connection that has been idle for longest is closed first.

use std::time::{Duration, Instant};

use super::actions::{Action, Actions, Terms};
use super::hosts::Shelf;
use super::idle::{IdleId, Stay};
use super::kinds::Kinds;
use super::places::Place;
use super::reasons::DropReason;
use super::{BATCH, NO_DEADLINE, Policy};

impl<K: Kinds> Policy<K> {
    /// Buries idle connections that have expired or exceed the limit, and starts dials whose time has come: at most
    /// [`BATCH`] connections and hosts in a call. Returns true if more may remain.
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

    /// Returns the time at which [`reap`](Self::reap) is next needed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.idle.due().into_iter().chain(self.surplus_due()).chain(self.next_wake()).min()
    }

    /// Buries up to `most` connections, at most [`BATCH`], beginning with the connection that has been idle for longest.
    /// Returns the number of buried connections.
    pub(crate) fn bury_oldest(&mut self, most: usize, reason: DropReason, out: &mut Actions<K>) -> usize {
        let most = most.min(BATCH);
        for done in 0..most {
            let Some(id) = self.idle.oldest() else { return done };
            self.bury_idle(id, reason, out);
        }
        most
    }

    /// Buries the idle connections of a partition that is gone, from host slot `from` on. Returns the slot for the next
    /// call, or `None` at the end.
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

    /// Takes the newest idle connection that has not expired, if the connection was used within `fresh`. Buries the
    /// expired connections that the search finds.
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

    /// Returns the connection that has been idle for longest, if the number of idle connections is above the limit and
    /// this connection was not used within [`WARM`].
    fn surplus(&self, now: Instant) -> Option<IdleId> {
        self.surplus_due().filter(|due| *due <= now).and_then(|_| self.idle.oldest())
    }

    /// Returns the time at which the connection that has been idle for longest is closed, because the number of idle
    /// connections is above the limit.
    fn surplus_due(&self) -> Option<Instant> {
        if self.idle.len() <= self.idle_room {
            return None;
        }
        self.idle.oldest().and_then(|id| self.idle.idle_for(id, WARM))
    }

    /// Takes back an active connection that no request uses. The connection goes to a waiter or to the shelf, or is
    /// closed.
    ///
    /// If the connection was kept, returns the time at which a reaper has to look.
    pub(super) fn offer(
        &mut self,
        place: Place,
        conn: K::Connection,
        terms: Terms,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Option<Instant> {
        if let Some(reason) = self.reason_before_waiters(place, &terms, now) {
            self.bury(conn, place, reason, out);
            return None;
        }
        let used = terms.used.unwrap_or(now);
        let unused = now.saturating_duration_since(used);
        if let Some(waiter) = self.hosts.shelf_mut(place).waiting.pop_accepting(unused, BATCH) {
            self.no_longer_waiting(place.host, 1);
            out.push(Action::Grant { waiter, conn, place });
            return None;
        }
        let stay = self.stay(&terms, unused, now);
        if let Some(reason) = self.reason_not_to_shelve(place, stay, now) {
            self.bury(conn, place, reason, out);
            return None;
        }
        self.make_idle_room(place, now, out);
        self.shelve(place, conn, used, stay.since(unused));
        // A connection without a deadline needs a reaper as well, because the reaper notices the end of the runtime.
        let deadline =
            stay.duration().and_then(|stay| now.checked_add(stay)).unwrap_or_else(|| now + NO_DEADLINE);
        Some(self.surplus_due().map_or(deadline, |due| due.min(deadline)))
    }

    /// Returns why a connection is closed even if requests wait for a connection.
    fn reason_before_waiters(&mut self, place: Place, terms: &Terms, now: Instant) -> Option<DropReason> {
        let host = self.hosts.host(place.host);
        let is_awaited = !host.shelves[place.shelf as usize].waiting.is_empty();
        let waiting = host.waiting;
        // A new connection goes to a waiting request whatever the connection's age, and even if its address has left.
        // Otherwise the request might wait for one new connection after another.
        let may_close = terms.is_used || !is_awaited;
        if let Some(reason) = terms.ended.filter(|reason| may_close || *reason != DropReason::AddressLeft) {
            return Some(reason);
        }
        if may_close && terms.until.is_some_and(|until| until <= now) {
            return Some(DropReason::MaxLifetime);
        }
        // A used connection of a host that is not kept still serves a waiter for which no dial may begin.
        let is_needed = || is_awaited && self.dials_allowed(place.host, now) == 0;
        if terms.is_used && self.is_not_kept(place.host, now) && !is_needed() {
            return Some(DropReason::NotKept);
        }
        let yields = may_close
            && (self.yields_turn(place.host, now) || (waiting > 0 && self.yields_to_runtime(place, now)));
        yields.then_some(DropReason::Evicted)
    }

    /// Returns the time for which a connection may stay idle from now on. The connection was last used `unused` ago.
    fn stay(&self, terms: &Terms, unused: Duration, now: Instant) -> Stay {
        let ours = self.limits.idle_timeout.map(|ours| ours.saturating_sub(unused));
        // The server's timeout matters only if it is shorter than the pool's idle timeout.
        let theirs = terms.stay.filter(|theirs| ours.is_none_or(|ours| *theirs < ours));
        let timeout = theirs.or(ours);
        let life = terms.until.map(|until| until.saturating_duration_since(now));
        match (life, timeout) {
            (Some(life), _) if timeout.is_none_or(|timeout| life < timeout) => {
                Stay::Less(life, DropReason::MaxLifetime)
            }
            // A connection that comes back unused keeps its older age, so this connection cannot go to the end of the
            // first list of ages.
            (_, Some(timeout)) if theirs.is_some() || !unused.is_zero() => {
                Stay::Less(timeout, DropReason::IdleTimeout)
            }
            (_, timeout) => Stay::Ours(timeout),
        }
    }

    /// Returns why a connection for which no request waits is closed instead of being kept.
    fn reason_not_to_shelve(&self, place: Place, stay: Stay, now: Instant) -> Option<DropReason> {
        let host = self.hosts.host(place.host);
        let is_wanted_elsewhere = self.blocked.len() > self.evicting
            || (host.waiting > 0
                && self.room(place.host) == 0
                && host.is_wanting()
                && self.dials_allowed(place.host, now) > 0);
        let is_over = match stay {
            Stay::Ours(timeout) => timeout == Some(Duration::ZERO),
            Stay::Less(timeout, reason) => timeout.is_zero() && reason == DropReason::IdleTimeout,
        };
        if self.shut {
            Some(DropReason::Shutdown)
        } else if is_wanted_elsewhere {
            Some(DropReason::Evicted)
        } else if is_over || !self.keeps_idle {
            Some(DropReason::IdleTimeout)
        } else {
            None
        }
    }

    /// Evicts the connection that has been idle for longest if one more idle connection would exceed a limit. A total
    /// limit evicts no connection that was used within [`WARM`].
    fn make_idle_room(&mut self, place: Place, now: Instant, out: &mut Actions<K>) {
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
    }

    /// Puts an active connection on its shelf.
    pub(super) fn shelve(&mut self, place: Place, conn: K::Connection, used: Instant, stay: Stay) {
        let id = self.idle.push(place, conn, used, stay, self.hosts.shelf(place).top);
        let shelf = self.hosts.shelf_mut(place);
        shelf.active -= 1;
        shelf.idle += 1;
        shelf.top = Some(id);
        shelf.bottom.get_or_insert(id);
    }

    /// Takes a connection off its shelf. The connection still counts under the limits, but as neither idle nor active.
    /// Returns the stamp of the loan as an error if the connection is being looked at.
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

    /// Tells the shell to close an idle connection. A connection that is being looked at is closed when the sweep gives
    /// the connection back.
    pub(super) fn bury_idle(&mut self, id: IdleId, reason: DropReason, out: &mut Actions<K>) {
        let place = self.idle.place(id);
        let conn = self.unshelve(id);
        self.hosts.shelf_mut(place).active += 1;
        match conn {
            Ok(conn) => self.bury(conn, place, reason, out),
            Err(stamp) => self.doom(stamp, place, reason),
        }
    }

    /// Tells the shell to close an active connection. The connection counts under the limits until the shell has closed
    /// it.
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

    /// Counts a connection that the policy decided to close.
    pub(super) fn count_buried(&mut self, place: Place, reason: DropReason) {
        self.count_closed(place, reason);
        self.evicting += 1;
        self.hosts.host_mut(place.host).evicting += 1;
    }
}

/// Time since the last use within which the total limit on idle connections closes no connection, so that a burst
/// keeps its connections.
const WARM: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
