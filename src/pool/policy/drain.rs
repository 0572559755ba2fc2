//! Drains: connections that read the remainder of an abandoned response, so that the connections can be reused.
//!
//! Invariants: no drain begins while a request waits for the room of the connection. If a limit is reached, a draining
//! connection is closed for a request that waits.

use std::time::Instant;

use super::Policy;
use super::actions::{Action, Actions, Terms};
use super::kinds::Kinds;
use super::places::Place;

impl<K: Kinds> Policy<K> {
    /// Whether an active connection may read the remainder of an abandoned response. If true, the connection counts
    /// as draining, and the end of its lease has to report its number in
    /// [`Served::drained`](super::actions::Served::drained).
    pub(crate) fn begin_drain(&mut self, place: Place, id: u64, terms: Terms, now: Instant) -> bool {
        let is_wanted = self.hosts.host(place.host).waiting > 0 || !self.blocked.is_empty();
        let is_too_old = terms.is_of_old_network || terms.until.is_some_and(|until| until <= now);
        let is_kept = !self.shut && !is_too_old && !self.is_not_kept(place.host, now) && self.keeps_idle;
        let may_drain = is_kept && !is_wanted && self.may_drain();
        if may_drain {
            self.draining.insert(id, place);
        }
        may_drain
    }

    /// Whether one more connection may drain.
    pub(super) fn may_drain(&self) -> bool {
        self.draining.len() < MAX_DRAINING
    }

    /// Counts a doubted connection as draining, so that it is closed if a request needs its room. The end of its lease
    /// has to report its number in [`Served::drained`](super::actions::Served::drained).
    pub(crate) fn begin_doubt(&mut self, place: Place, id: u64) {
        self.draining.insert(id, place);
    }

    /// Notes that a drain has ended, because the response was read or the connection was closed.
    pub(super) fn end_drain(&mut self, place: Place, id: u64) {
        if self.draining.remove(&id).is_none() {
            // The policy decided to close this connection for a request, and its lease has ended now.
            self.no_longer_evicting(place);
        }
    }

    /// Tells the shell to close a draining connection, because a request needs the room of a connection. If `host` is
    /// given, only connections of that host are considered. Returns false if no connection drains.
    pub(super) fn cut_draining(&mut self, host: Option<u32>, out: &mut Actions<K>) -> bool {
        let mut draining = self.draining.iter();
        let found = draining.find(|(_, place)| host.is_none_or(|host| place.host == host));
        let Some((&id, &place)) = found else { return false };
        self.draining.remove(&id);
        self.evicting += 1;
        self.hosts.host_mut(place.host).evicting += 1;
        out.push(Action::Cut { id });
        true
    }

    /// Notes that a connection which the policy decided to close has been closed.
    pub(super) fn no_longer_evicting(&mut self, place: Place) {
        self.evicting = self.evicting.saturating_sub(1);
        let host = self.hosts.host_mut(place.host);
        host.evicting = host.evicting.saturating_sub(1);
    }
}

/// Largest number of connections that drain at once.
const MAX_DRAINING: usize = 32;

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
