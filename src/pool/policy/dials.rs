//! Dials under way whose end is not known yet, and how the pool gives one up: it is overdue, because its runtime does not
//! run, or it was begun ahead, and a request wants its room.
//!
//! Invariants: every dial in this list is counted as dialing; and a dial that was given up counts nowhere, so that
//! nothing depends on when its runtime runs again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{BATCH, Policy};
use crate::pool::action::{Action, Actions};
use crate::pool::hosts::Place;
use crate::pool::touched::touch;

/// Dials under way, by the numbers of the events that began them.
#[derive(Debug, Default)]
pub(super) struct Dials(BTreeMap<u64, Dial>);

#[derive(Clone, Copy, Debug)]
struct Dial {
    place: Place,
    /// Time at which the dial is overdue. All dials have the same time, so earlier dials are due earlier.
    due: Option<Instant>,
    /// No request asked for it.
    is_ahead: bool,
}

impl Dials {
    pub(super) fn insert(&mut self, began: u64, place: Place, due: Option<Instant>, is_ahead: bool) {
        self.0.insert(began, Dial { place, due, is_ahead });
    }

    pub(super) fn remove(&mut self, began: u64) -> Option<Place> {
        self.0.remove(&began).map(|dial| dial.place)
    }

    pub(super) fn place(&self, began: u64) -> Option<Place> {
        self.0.get(&began).map(|dial| dial.place)
    }

    /// Time at which the first dial is overdue.
    fn due(&self) -> Option<Instant> {
        self.0.first_key_value().and_then(|(_, dial)| dial.due)
    }
}

impl<K: Clone, T, W: Clone, P: Clone + PartialEq> Policy<K, T, W, P> {
    /// When a dial that is to begin now will be overdue.
    pub(super) fn dial_due(&self, now: Instant) -> Option<Instant> {
        let timeout = self.config.connect_timeout?;
        now.checked_add(timeout)?.checked_add(GRACE)
    }

    /// Whether a dial is under way that was not given up.
    pub(crate) fn has_dial(&self, began: u64) -> bool {
        self.dials.0.contains_key(&began)
    }

    /// When the next dial is overdue, if anybody waits who could use its room.
    pub(crate) fn next_overdue(&self) -> Option<Instant> {
        if self.waiting > 0 { self.dials.due() } else { None }
    }

    /// Whether a waiter of this place has no dial under way.
    pub(crate) fn is_wanting(&self, place: Place) -> bool {
        self.hosts.shelf(place).demand() > 0
    }

    /// Fails waiters of the first overdue dial's runtime, [`BATCH`] a call: that runtime does not run, so no dial there can
    /// serve them. When none is left, gives the dial up. Returns the dial's number; `None`: no dial is overdue.
    pub(crate) fn reclaim(&mut self, now: Instant, out: &mut Actions<K, T, W, P>) -> Option<u64> {
        let (&began, &Dial { place, due, .. }) = self.dials.0.first_key_value()?;
        if due? > now {
            return None;
        }
        let shelf = self.hosts.shelf_mut(place);
        let mut failed = 0;
        while failed < BATCH
            && let Some(waiter) = shelf.resending.pop_first().or_else(|| shelf.waiting.pop_first())
        {
            out.push(Action::Fail { waiter });
            failed += 1;
        }
        self.no_longer_waiting(place.host, failed);
        if failed < BATCH {
            self.give_up(began, out);
            self.dial_ahead_later(place.host, now);
            self.pump_waiting(place.host, now, out);
            self.leave(place, out);
            self.pump_blocked(now, out);
        }
        Some(began)
    }

    /// Gives every dial up, [`BATCH`] a call. Returns true if more remain.
    pub(crate) fn give_up_all(&mut self, out: &mut Actions<K, T, W, P>) -> bool {
        for _ in 0..BATCH {
            let Some((&began, &Dial { place, .. })) = self.dials.0.first_key_value() else { return false };
            self.give_up(began, out);
            self.leave(place, out);
        }
        true
    }

    /// Gives up a dial that was begun ahead and that nobody waits for, of this host or of any, because a request wants its
    /// room. Returns false if none was found.
    pub(super) fn give_up_spare(
        &mut self,
        host: Option<u32>,
        now: Instant,
        out: &mut Actions<K, T, W, P>,
    ) -> bool {
        let is_spare = |(_, dial): &(&u64, &Dial)| {
            touch();
            let known = self.hosts.host(dial.place.host);
            // The waiters of a failing host share its dial, on whatever runtime they are.
            let is_shared = known.failing.is_some() && known.waiting > 0;
            let is_of_host = host.is_none_or(|host| dial.place.host == host);
            dial.is_ahead && is_of_host && !is_shared && known.shelves[dial.place.shelf as usize].ahead() > 0
        };
        let found = self.dials.0.iter().take(BATCH / 2).find(is_spare);
        let Some((&began, &Dial { place, .. })) = found else { return false };
        self.give_up(began, out);
        self.dial_ahead_later(place.host, now);
        self.leave(place, out);
        true
    }

    fn give_up(&mut self, began: u64, out: &mut Actions<K, T, W, P>) {
        let Some(place) = self.dials.remove(began) else { return };
        self.hosts.shelf_mut(place).dialing -= 1;
        self.dialing -= 1;
        self.counters(place.host, |c| c.failed_dials += 1);
        self.uncount(place.host);
        out.push(Action::Abort { began });
    }
}

/// A dial ends by itself at its timeout. It is overdue so much later, because then its runtime does not run.
const GRACE: Duration = Duration::from_millis(250);

#[cfg(test)]
#[path = "dials_tests.rs"]
mod tests;
