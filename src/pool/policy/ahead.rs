//! Dials ahead, which are begun for `warm` and `min_idle` before a request needs them. This file also has the times at
//! which a host that may not dial now is considered again.
//!
//! Invariants: at most [`AHEAD`] dials ahead of a shelf are under way. Dials ahead exceed no limit, and no connection
//! is evicted for a dial ahead. No dial ahead begins while a request waits for the room that the dial would take, or
//! right after a dial failed. Every host that has to dial later has a time in `wakes`.

use std::time::{Duration, Instant};

use super::Policy;
use super::actions::Actions;
use super::dials::Purpose;
use super::kinds::Kinds;
use super::places::{HostId, Place};

impl<K: Kinds> Policy<K> {
    /// Starts up to `most` dials ahead, within the limits and at most [`AHEAD`] under way, so that the shelf has `wanted`
    /// connections that are idle or being dialed ahead.
    pub(crate) fn warm(
        &mut self,
        place: Place,
        wanted: usize,
        most: usize,
        now: Instant,
        out: &mut Actions<K>,
    ) {
        let shelf = self.hosts.shelf(place);
        let missing = wanted.saturating_sub(shelf.idle + shelf.dialing).min(most).min(AHEAD);
        if !self.shut && !self.is_room_wanted(place.host) {
            for _ in 0..missing.min(self.room(place.host)).min(self.dials_allowed(place.host, now)) {
                self.start_dial(place, now, out, Purpose::Ahead);
            }
        }
        self.leave(place, out);
        self.note_left();
    }

    /// Whether a request waits for the room that a dial ahead to this host would take.
    fn is_room_wanted(&self, host_id: HostId) -> bool {
        !self.blocked.is_empty()
            || (self.hosts.host(host_id).waiting > 0 && self.hosts.host(host_id).is_wanting())
    }

    /// Sets how many connections the shelf keeps idle, and dials the missing connections.
    pub(crate) fn set_min_idle(&mut self, place: Place, wanted: usize, now: Instant, out: &mut Actions<K>) {
        // A connection beyond these limits would be evicted at once, and another connection would be dialed.
        let most = self.limits.max_idle_per_host.min(self.idle_room);
        self.hosts.shelf_mut(place).min_idle = if self.keeps_idle { wanted.min(most) } else { 0 };
        self.dial_as_needed(place.host, now, out);
        self.leave(place, out);
        self.note_left();
    }

    /// Stops keeping connections idle on a shelf, because its partition is gone or cannot dial.
    pub(crate) fn forget_min_idle(&mut self, place: Place, out: &mut Actions<K>) {
        if std::mem::take(&mut self.hosts.shelf_mut(place).min_idle) > 0 {
            self.leave(place, out);
        }
    }

    /// Starts the dials ahead that a shelf needs for its minimum of idle connections.
    pub(super) fn dial_ahead(&mut self, place: Place, now: Instant, out: &mut Actions<K>) {
        loop {
            let shelf = self.hosts.shelf(place);
            let ahead = shelf.ahead();
            let is_paused = self.hosts.host(place.host).is_ahead_paused;
            if self.shut || is_paused || ahead >= AHEAD || shelf.idle + ahead >= shelf.min_idle {
                return;
            }
            // The connections in use must fit within the limits on idle connections when all of them come back.
            // Otherwise the policy would close and dial connections again and again.
            let is_kept = self.hosts.host(place.host).counted < self.limits.max_idle_per_host
                && self.counted < self.idle_room;
            let has_room = is_kept && self.room(place.host) > 0 && !self.is_room_wanted(place.host);
            if !has_room || self.is_not_kept(place.host, now) || self.dials_allowed(place.host, now) == 0 {
                return self.wake_later(place.host, now);
            }
            self.start_dial(place, now, out, Purpose::Ahead);
        }
    }

    /// Pauses dials ahead to a host, because a dial has failed or a dial ahead was given up for a request.
    pub(super) fn dial_ahead_later(&mut self, host_id: HostId, now: Instant) {
        if self.hosts.host(host_id).shelves().any(|shelf| shelf.min_idle > 0) {
            self.hosts.host_mut(host_id).is_ahead_paused = true;
            self.wake_later(host_id, now);
        }
    }

    /// Schedules the dials of a failing host for the end of its waiting period. Without a waiting period, no time is
    /// scheduled, because the end of the host's dial starts the next dial.
    pub(super) fn wake_when_allowed(&mut self, host_id: HostId, now: Instant) {
        if let Some(failing) = &self.hosts.host(host_id).failing
            && failing.until > now
        {
            self.wake_at(host_id, failing.until);
        }
    }

    /// Schedules the dials of a host after [`LATER`].
    pub(super) fn wake_later(&mut self, host_id: HostId, now: Instant) {
        self.wake_at(host_id, now + LATER);
    }

    /// Schedules the dials of a host for the time `at`, unless they are scheduled for an earlier time.
    fn wake_at(&mut self, host_id: HostId, at: Instant) {
        let wake = &mut self.hosts.host_mut(host_id).wake;
        if wake.is_none_or(|known| at < known) {
            if let Some(known) = wake.replace(at) {
                self.wakes.remove(&(known, host_id));
            }
            self.wakes.insert((at, host_id));
        }
    }

    /// Returns the earliest time for which the dials of a host are scheduled.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(due, _)| *due)
    }

    /// Starts the dials of the next host whose time has come. Returns false if no host's time has come.
    pub(super) fn wake_next(&mut self, now: Instant, out: &mut Actions<K>) -> bool {
        let Some(&(at, host_id)) = self.wakes.first().filter(|(at, _)| *at <= now) else { return false };
        self.wakes.remove(&(at, host_id));
        let host = self.hosts.host_mut(host_id);
        (host.wake, host.is_ahead_paused) = (None, false);
        self.dial_as_needed(host_id, now, out);
        self.hosts.list_if_empty(host_id);
        true
    }
}

/// Largest number of dials ahead of one shelf that are under way at once.
pub(super) const AHEAD: usize = 8;

/// Time after which dials ahead that had no room or were paused are tried again.
const LATER: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
