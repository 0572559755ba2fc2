//! The requests that wait: the queues of a shelf, and how a request enters and leaves a queue.
//!
//! This file knows nothing of why a request waits. Invariant: an empty queue is one empty pointer, because every host's
//! entry holds two queues.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::actions::{Action, Actions, Ticket};
use super::dials::DialId;
use super::kinds::Kinds;
use super::ledger::Counts;
use super::places::{HostId, Place};
use super::{BATCH, Policy};

/// Position in a queue: the request with the smaller turn is served first. The second number of a turn is the number of
/// the event at which the request queued. No two events of a pool have the same number.
pub(crate) type Turn = (u64, u64);

/// The requests that wait at one shelf, first to last.
#[derive(Debug)]
#[allow(
    clippy::box_collection,
    reason = "a map takes three words even when it is empty, and a box takes one"
)]
pub(super) struct Queue<W>(Option<Box<BTreeMap<Turn, Queued<W>>>>);

/// A waiting request.
#[derive(Debug)]
pub(super) struct Queued<W> {
    pub(super) waiter: W,
    /// Time at which the request joined the queue.
    pub(super) since: Instant,
    /// Time within which a connection must have been used for this request. `None` accepts any connection.
    pub(super) fresh: Option<Duration>,
}

impl<W> Queue<W> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the time at which the first request joined the queue.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.0.as_ref()?.first_key_value().map(|(_, first)| first.since)
    }

    pub(super) fn contains(&self, turn: Turn) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.contains_key(&turn))
    }

    /// Returns the waiters, first to last.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &W> {
        self.0.iter().flat_map(|queue| queue.values().map(|queued| &queued.waiter))
    }

    pub(super) fn insert(&mut self, turn: Turn, queued: Queued<W>) {
        self.0.get_or_insert_default().insert(turn, queued);
    }

    pub(super) fn remove(&mut self, turn: Turn) -> Option<W> {
        self.take(|queue| queue.remove(&turn))
    }

    pub(super) fn pop_first(&mut self) -> Option<W> {
        self.take(|queue| queue.pop_first().map(|(_, first)| first))
    }

    pub(super) fn pop_last(&mut self) -> Option<W> {
        self.take(|queue| queue.pop_last().map(|(_, last)| last))
    }

    /// Removes the first waiter that accepts a connection which was used `age` ago. Searches the first `most`
    /// waiters.
    pub(super) fn pop_accepting(&mut self, age: Duration, most: usize) -> Option<W> {
        let mut queue = self.0.as_ref()?.iter().take(most);
        let accepts = |queued: &Queued<W>| queued.fresh.is_none_or(|fresh| age <= fresh);
        let turn = queue.find(|(_, queued)| accepts(queued)).map(|(turn, _)| *turn)?;
        self.remove(turn)
    }

    /// Removes the first or the last waiter that queued before the dial began. Searches `most` waiters.
    pub(super) fn pop_before(&mut self, dial_id: DialId, end: End, most: usize) -> Option<W> {
        let queue = self.0.as_ref()?;
        let queued_before = |turn: &&Turn| turn.1 < dial_id;
        let turn = match end {
            End::First => queue.keys().take(most).find(queued_before),
            // Larger turns have larger event numbers, so requests with larger turns need not be searched.
            End::Last => {
                queue.range(..(dial_id, 0)).map(|(turn, _)| turn).rev().take(most).find(queued_before)
            }
        };
        let turn = *turn?;
        self.remove(turn)
    }

    fn take(&mut self, take: impl FnOnce(&mut BTreeMap<Turn, Queued<W>>) -> Option<Queued<W>>) -> Option<W> {
        let queue = self.0.as_mut()?;
        let taken = take(queue);
        if queue.is_empty() {
            self.0 = None;
        }
        taken.map(|queued| queued.waiter)
    }
}

/// An end of a queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    First,
    Last,
}

/// One of the two queues of a shelf.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// The queue of requests that any connection serves.
    Waiting,
    /// The queue of requests whose reused connection died. Only a new connection serves these requests.
    Resending,
}

/// Facts about the host of a waiting request, for the request's error message.
#[derive(Debug)]
pub(crate) struct WaitedFor<'a, K: Kinds> {
    pub(crate) counts: Counts,
    /// Whether the total limit blocks the host.
    pub(crate) is_blocked: bool,
    /// The latest failure of a dial to the host.
    pub(crate) failure: Option<&'a K::Failure>,
}

impl<K: Kinds> Policy<K> {
    /// Adds a request to a queue of its shelf.
    pub(super) fn enqueue(&mut self, place: Place, turn: Turn, queued: Queued<K::Waiter>, lane: Lane) {
        self.waiting += 1;
        self.hosts.host_mut(place.host).waiting += 1;
        let shelf = self.hosts.shelf_mut(place);
        match lane {
            Lane::Waiting => shelf.waiting.insert(turn, queued),
            Lane::Resending => shelf.resending.insert(turn, queued),
        };
    }

    /// Counts waiters that have left a host's queues.
    pub(super) fn no_longer_waiting(&mut self, host_id: HostId, waiters: usize) {
        self.waiting -= waiters;
        self.hosts.host_mut(host_id).waiting -= waiters as u32;
        self.unblock_if_served(host_id);
    }

    /// Removes a waiting request from its queue. Returns false if the request was already granted a connection or
    /// failed. After a grant or a failure, the host of the request may be gone.
    pub(crate) fn cancel(&mut self, ticket: Ticket, out: &mut Actions<K>) -> bool {
        let Some(host) = self.hosts.get_mut(ticket.place.host) else { return false };
        let Some(shelf) = host.shelves.get_mut(ticket.place.shelf as usize) else { return false };
        let waiter = shelf.waiting.remove(ticket.turn).or_else(|| shelf.resending.remove(ticket.turn));
        if waiter.is_none() {
            return false;
        }
        self.no_longer_waiting(ticket.place.host, 1);
        self.leave(ticket.place, out);
        true
    }

    /// Fails all waiting requests, or all waiting requests of one partition: at most [`BATCH`] in a call, from host slot
    /// `from` on. Returns the slot for the next call, or `None` at the end.
    pub(crate) fn refuse_waiters(
        &mut self,
        partition: Option<&K::Partition>,
        mut from: usize,
        out: &mut Actions<K>,
    ) -> Option<usize> {
        for _ in 0..BATCH {
            let shelves = self.hosts.get(from as u32).map_or(0, |host| host.shelves.len());
            for shelf in 0..shelves {
                let place = Place { host: from as u32, shelf: shelf as u32 };
                let mut refused = 0;
                let shelf = self.hosts.shelf_mut(place);
                if partition.is_some() && shelf.partition.as_ref() != partition {
                    continue;
                }
                while let Some(waiter) = shelf.resending.pop_first().or_else(|| shelf.waiting.pop_first()) {
                    out.push(Action::Fail { waiter });
                    refused += 1;
                    if out.len() >= BATCH {
                        break;
                    }
                }
                self.no_longer_waiting(place.host, refused);
                self.vacate(place, out);
                if out.len() >= BATCH {
                    return Some(from);
                }
            }
            if shelves > 0 {
                self.hosts.list_if_empty(from as u32);
            }
            from += 1;
            if from >= self.hosts.slots() {
                return None;
            }
        }
        Some(from)
    }

    /// Returns the host in whose queue a request waits. Returns `None` if the request does not wait any more.
    pub(crate) fn of_ticket(&self, ticket: Ticket) -> Option<WaitedFor<'_, K>> {
        let host = self.hosts.get(ticket.place.host)?;
        let shelf = host.shelves.get(ticket.place.shelf as usize)?;
        let stands = shelf.waiting.contains(ticket.turn) || shelf.resending.contains(ticket.turn);
        stands.then(|| WaitedFor {
            counts: host.counts(),
            is_blocked: host.blocked.is_some(),
            failure: host.failing.as_ref().map(|failing| &failing.error),
        })
    }
}
