//! The requests that wait at one host on one runtime, in turn.
//!
//! It knows nothing of what they wait for. Invariant: while nobody waits it is one empty pointer, because every host's entry
//! holds two of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dials::DialId;

/// Who is served first: the smaller one. The second number is unique over the pool's life.
pub(crate) type Turn = (u64, u64);

/// The waiting requests, served first to last.
#[derive(Debug)]
#[allow(clippy::box_collection, reason = "a map is three pointers, also where it is empty")]
pub(super) struct Queue<W>(Option<Box<BTreeMap<Turn, Queued<W>>>>);

/// One waiting request.
#[derive(Debug)]
pub(super) struct Queued<W> {
    pub(super) waiter: W,
    /// Time at which the request joined the queue.
    pub(super) since: Instant,
    /// How long ago a connection may have been used for this request; `None` accepts any connection.
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

    /// Time at which the request whose turn is next joined the queue.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.0.as_ref()?.first_key_value().map(|(_, first)| first.since)
    }

    pub(super) fn contains(&self, turn: Turn) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.contains_key(&turn))
    }

    /// The waiters, in turn.
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

    /// Takes the first of the first `most` waiters that accepts a connection which was used `age` ago.
    pub(super) fn pop_accepting(&mut self, age: Duration, most: usize) -> Option<W> {
        let mut queue = self.0.as_ref()?.iter().take(most);
        let accepts = |queued: &Queued<W>| queued.fresh.is_none_or(|fresh| age <= fresh);
        let turn = queue.find(|(_, queued)| accepts(queued)).map(|(turn, _)| *turn)?;
        self.remove(turn)
    }

    /// Takes a waiter that queued before the event with the number `began`: the first of them, or the last.
    /// Looks at `most` waiters.
    pub(super) fn pop_before(&mut self, dial_id: DialId, end: End, most: usize) -> Option<W> {
        let queue = self.0.as_ref()?;
        let queued_before = |turn: &&Turn| turn.1 < dial_id;
        let turn = match end {
            End::First => queue.keys().take(most).find(queued_before),
            // Later turns have higher numbers, so that none of them needs to be looked at.
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
