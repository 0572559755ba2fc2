//! Sweeps: looks at idle connections, because no task reads them and their server may have closed them long ago.
//!
//! The shell looks without the lock. Meanwhile the connection is lent, and its entry keeps its place on the shelf.
//! Invariants: a sweep lends at most [`LENT`] connections at a time; a request that comes meanwhile takes another
//! connection, or waits for the lent ones before a dial is begun for it; and a lent connection that is buried is
//! closed when it comes back.

use std::time::Instant;

use super::actions::{Action, Actions};
use super::idle::IdleId;
use super::kinds::Kinds;
use super::places::Place;
use super::reasons::DropReason;
use super::{BATCH, Policy};

/// An idle connection that is being looked at.
#[derive(Debug)]
pub(crate) struct Lent<T> {
    pub(crate) conn: T,
    pub(crate) id: IdleId,
    pub(crate) stamp: u32,
    pub(crate) place: Place,
}

impl<K: Kinds> Policy<K> {
    /// Lends idle connections of a partition, from idle slot `from` on. Returns the slot to go on from.
    pub(crate) fn lend(
        &mut self,
        partition: &K::Partition,
        from: usize,
        lent: &mut Vec<Lent<K::Connection>>,
    ) -> Option<usize> {
        let end = self.idle.slots();
        for slot in from..end.min(from.saturating_add(BATCH)) {
            let Some(id) = self.idle.at(slot) else { continue };
            let place = self.idle.place(id);
            if self.hosts.shelf(place).partition.as_ref() != Some(partition) {
                continue;
            }
            if let Some((conn, stamp)) = self.idle.lend(id) {
                self.hosts.shelf_mut(place).lent += 1;
                lent.push(Lent { conn, id, stamp, place });
            }
            if lent.len() >= LENT {
                return (slot + 1 < end).then_some(slot + 1);
            }
        }
        let next = from.saturating_add(BATCH);
        (next < end).then_some(next)
    }

    /// Takes back a connection that was looked at. It goes to a request that has come to wait for it or back to its
    /// place on the shelf. With a `reason`, it is closed.
    pub(crate) fn give_back(
        &mut self,
        lent: Lent<K::Connection>,
        reason: Option<DropReason>,
        now: Instant,
        out: &mut Actions<K>,
    ) {
        let Lent { conn, id, stamp, place } = lent;
        if let Some(conn) = self.idle.put_back(id, stamp, conn) {
            // The burial was counted when it was decided.
            let doomed = self.doomed.iter().position(|(doomed, _)| *doomed == stamp);
            let reason = doomed.map_or(DropReason::Evicted, |at| self.doomed.swap_remove(at).1);
            out.push(Action::Bury { conn, place, reason });
            return self.dial_as_needed(place.host, now, out);
        }
        self.hosts.shelf_mut(place).lent -= 1;
        if let Some(reason) = reason {
            self.bury_idle(id, reason, out);
        } else {
            let age = self.idle.seen(id, now).age;
            if let Some(waiter) = self.hosts.shelf_mut(place).waiting.pop_accepting(age, BATCH) {
                self.hosts.shelf_mut(place).active += 1;
                if let Ok(conn) = self.unshelve(id) {
                    self.no_longer_waiting(place.host, 1);
                    out.push(Action::Grant { waiter, conn, place });
                }
            }
        }
        self.dial_as_needed(place.host, now, out);
    }

    /// Marks a lent connection, so that it is closed when it comes back.
    pub(super) fn doom(&mut self, stamp: u32, place: Place, reason: DropReason) {
        self.count_buried(place, reason);
        self.doomed.push((stamp, reason));
    }
}

/// Largest number of connections that a sweep lends together.
const LENT: usize = 16;

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
