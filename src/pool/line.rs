//! Those who wait at one host, in turn.
//!
//! It knows nothing of what they wait for. Invariant: while nobody waits it is one empty pointer, because it stands in the
//! entry of every host.

use std::collections::BTreeMap;

use super::hosts::Turn;

/// Served first to last.
#[derive(Debug)]
#[allow(clippy::box_collection, reason = "a map is three pointers, also where it is empty")]
pub(super) struct Line<W>(Option<Box<BTreeMap<Turn, W>>>);

impl<W> Line<W> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |line| line.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<Turn> {
        self.0.as_ref()?.first_key_value().map(|(turn, _)| *turn)
    }

    pub(super) fn contains(&self, turn: Turn) -> bool {
        self.0.as_ref().is_some_and(|line| line.contains_key(&turn))
    }

    /// Those who wait, in turn.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &W> {
        self.0.iter().flat_map(|line| line.values())
    }

    pub(super) fn insert(&mut self, turn: Turn, waiter: W) {
        self.0.get_or_insert_default().insert(turn, waiter);
    }

    pub(super) fn remove(&mut self, turn: Turn) -> Option<W> {
        self.take(|line| line.remove(&turn))
    }

    pub(super) fn pop_first(&mut self) -> Option<W> {
        self.take(|line| line.pop_first().map(|(_, waiter)| waiter))
    }

    pub(super) fn pop_last(&mut self) -> Option<W> {
        self.take(|line| line.pop_last().map(|(_, waiter)| waiter))
    }

    fn take(&mut self, take: impl FnOnce(&mut BTreeMap<Turn, W>) -> Option<W>) -> Option<W> {
        let line = self.0.as_mut()?;
        let taken = take(line);
        if line.is_empty() {
            self.0 = None;
        }
        taken
    }
}
