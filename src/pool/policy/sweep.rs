//! Sweeps, which look at idle connections. No task reads an idle connection, so the server may have closed the
//! connection long ago.
//!
//! The shell looks at a connection without the lock. During the look, the connection is lent, and its entry stays on
//! the shelf. Invariants: a sweep lends at most [`LENT`] connections at a time. A request that comes during a look
//! takes another connection, or waits for the lent connections before a dial is begun for the request. A lent
//! connection that is buried is closed when the shell gives the connection back.

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
    /// Lends idle connections of a partition, from idle slot `from` on. Returns the slot for the next call, or `None` at
    /// the end.
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

    /// Takes back a connection that was looked at. The connection goes to a request that waits, or back to its entry on
    /// the shelf. With a `reason`, the connection is closed.
    pub(crate) fn give_back(
        &mut self,
        lent: Lent<K::Connection>,
        reason: Option<DropReason>,
        now: Instant,
        out: &mut Actions<K>,
    ) {
        let Lent { conn, id, stamp, place } = lent;
        if let Some(conn) = self.idle.put_back(id, stamp, conn) {
            // The closing was counted when the policy decided to close the connection.
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

    /// Marks a lent connection, so that the connection is closed when the shell gives it back.
    pub(super) fn doom(&mut self, stamp: u32, place: Place, reason: DropReason) {
        self.count_buried(place, reason);
        self.doomed.push((stamp, reason));
    }
}

/// Largest number of connections that a sweep lends at once.
const LENT: usize = 16;

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
