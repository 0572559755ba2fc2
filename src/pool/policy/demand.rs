//! Demand: which dials the waiters need, which connections and dials make room for these dials, and the turns of the
//! hosts that the total limit blocks.
//!
//! Invariant: a host whose waiters need a dial either dials, is at its own limit, waits for its turn among the
//! blocked hosts, or has a time at which its dials are considered again.

use std::time::{Duration, Instant};

use super::actions::Actions;
use super::dials::Purpose;
use super::kinds::Kinds;
use super::places::{HostId, Place};
use super::reasons::DropReason;
use super::{BATCH, Policy};

impl<K: Kinds> Policy<K> {
    /// Starts the dials that a host's waiters need, and the dials ahead that its shelves need.
    pub(super) fn dial_as_needed(&mut self, host_id: HostId, now: Instant, out: &mut Actions<K>) {
        self.dial_for_waiters(host_id, now, out);
        for shelf in 0..self.hosts.host(host_id).shelves.len() {
            let place = Place { host: host_id, shelf: shelf as u32 };
            if self.hosts.shelf(place).min_idle > 0 {
                self.dial_ahead(place, now, out);
            }
        }
    }

    /// Starts the dials that a host's waiters need, within the limits and at most [`BATCH`] dials. The end of each dial
    /// starts further dials.
    ///
    /// If a limit leaves no room, this method closes idle and draining connections and gives dials ahead up.
    pub(super) fn dial_for_waiters(&mut self, host_id: HostId, now: Instant, out: &mut Actions<K>) {
        if self.hosts.host(host_id).waiting == 0 {
            return;
        }
        let mut left = BATCH;
        // The request that has waited for longest gets the first dial, whatever its partition.
        let neediest = self.hosts.host(host_id).neediest();
        let shelves = self.hosts.host(host_id).shelves.len() as u32;
        for shelf in neediest.into_iter().chain((0..shelves).filter(|at| Some(*at) != neediest)) {
            let place = Place { host: host_id, shelf };
            let mut demand = self.hosts.shelf(place).demand();
            while demand > 0
                && left > 0
                && self.dials_allowed(host_id, now) > 0
                && self.has_room(host_id, now, out)
            {
                self.start_dial(place, now, out, Purpose::Waiter);
                demand -= 1;
                left -= 1;
            }
            if left == 0 {
                return;
            }
            if demand == 0 {
                continue;
            }
            if self.dials_allowed(host_id, now) == 0 {
                self.wake_when_allowed(host_id, now);
                continue;
            }
            let host = self.hosts.host(host_id);
            if host.counted >= self.limits.max_connections_per_host {
                // Idle connections of other partitions cannot serve this waiter, so they are closed.
                for _ in 0..demand.saturating_sub(host.evicting).min(BATCH) {
                    let others = self.hosts.host(host_id).shelves();
                    let oldest = others.filter_map(|s| s.bottom).min_by_key(|id| self.idle.since(*id));
                    if let Some(id) = oldest {
                        self.bury_idle(id, DropReason::Evicted, out);
                    } else if !self.cut_draining(Some(host_id), out) {
                        break;
                    }
                }
            } else if self.counted >= self.limits.max_connections {
                for _ in 0..demand.saturating_sub(self.evicting).min(BATCH) {
                    if let Some(id) = self.idle.oldest() {
                        self.bury_idle(id, DropReason::Evicted, out);
                    } else if !self.cut_draining(None, out) {
                        break;
                    }
                }
                self.block_if_wanting(host_id, now);
            }
        }
    }

    /// Whether the host may have one more connection. Gives up a dial ahead if the limits leave no room otherwise.
    fn has_room(&mut self, host_id: HostId, now: Instant, out: &mut Actions<K>) -> bool {
        if self.hosts.host(host_id).counted >= self.limits.max_connections_per_host
            && !self.give_up_spare(Some(host_id), now, out)
        {
            return false;
        }
        self.counted < self.limits.max_connections || self.give_up_spare(None, now, out)
    }

    /// Starts dials for the hosts that the total limit blocks, in the order of their turns.
    pub(super) fn dial_for_blocked(&mut self, now: Instant, out: &mut Actions<K>) {
        for _ in 0..BATCH {
            if self.blocked.is_empty() {
                return;
            }
            if self.counted >= self.limits.max_connections && !self.give_up_spare(None, now, out) {
                break;
            }
            let Some((_, host_id)) = self.blocked.pop_first() else { return };
            let host = self.hosts.host_mut(host_id);
            (host.blocked, host.blocked_since) = (None, None);
            // Each host starts one dial per turn, so that no host takes all the room that becomes free.
            let Some(shelf) = host.neediest() else { continue };
            if self.room(host_id) > 0 && self.dials_allowed(host_id, now) > 0 {
                self.start_dial(Place { host: host_id, shelf }, now, out, Purpose::Waiter);
            }
            self.block_if_wanting(host_id, now);
        }
        // Another host may have taken the room of a connection that was evicted for a blocked host, so the next idle
        // connection is evicted.
        if self.evicting == 0 && self.counted >= self.limits.max_connections && !self.blocked.is_empty() {
            match self.idle.oldest() {
                Some(id) => self.bury_idle(id, DropReason::Evicted, out),
                None => _ = self.cut_draining(None, out),
            }
        }
    }

    /// Whether another host has been blocked for longer than [`TURN`]. If true and this host is blocked, gives this
    /// host the last turn among the blocked hosts.
    pub(super) fn yields_turn(&mut self, host_id: HostId, now: Instant) -> bool {
        // The connections that are being closed already make room for the blocked hosts.
        if self.blocked.len() <= self.evicting {
            return false;
        }
        let Some(first) = self.blocked.values().find(|blocked| **blocked != host_id) else { return false };
        let since = self.hosts.host(*first).blocked_since;
        let yields = since.is_some_and(|since| now.saturating_duration_since(since) >= TURN);
        let host = self.hosts.host_mut(host_id);
        if yields && let Some(seq) = host.blocked.take() {
            host.blocked_since = None;
            self.blocked.remove(&seq);
            self.block_if_wanting(host_id, now);
        }
        yields
    }

    /// Whether a connection of this place is closed in favour of another partition of the host: a limit leaves no
    /// room, and a waiter of the other partition has waited for longer than [`TURN`] and longer than every waiter of
    /// this place.
    pub(super) fn yields_to_runtime(&self, place: Place, now: Instant) -> bool {
        let host = self.hosts.host(place.host);
        let is_full = host.counted >= self.limits.max_connections_per_host
            || self.counted >= self.limits.max_connections;
        if !is_full
            || host.shelves.len() == 1
            || host.evicting > 0
            || self.dials_allowed(place.host, now) == 0
        {
            return false;
        }
        let ours = host.shelves[place.shelf as usize].waiting.oldest();
        let others = host.shelves().enumerate().filter(|(at, _)| *at != place.shelf as usize);
        let wanting = others.filter(|(_, shelf)| shelf.demand() > 0).filter_map(|(_, shelf)| shelf.oldest());
        wanting.min().is_some_and(|since| {
            now.saturating_duration_since(since) >= TURN && ours.is_none_or(|ours| since < ours)
        })
    }

    /// Adds a host to the blocked hosts if its waiters need a dial and only the total limit forbids the dial.
    pub(super) fn block_if_wanting(&mut self, host_id: HostId, now: Instant) {
        let seq = self.next_seq();
        let may_dial = self.dials_allowed(host_id, now) > 0;
        let host = self.hosts.host_mut(host_id);
        // A host at its own limit is not blocked, because it waits for one of its own connections.
        let may_grow = may_dial && host.counted < self.limits.max_connections_per_host;
        if host.blocked.is_none() && may_grow && host.is_wanting() {
            (host.blocked, host.blocked_since) = (Some(seq), Some(now));
            self.blocked.insert(seq, host_id);
        }
    }

    /// Removes a host from the blocked hosts if its waiters need no dial any more.
    pub(super) fn unblock_if_served(&mut self, host_id: HostId) {
        let host = self.hosts.host_mut(host_id);
        if !host.is_wanting()
            && let Some(seq) = host.blocked.take()
        {
            host.blocked_since = None;
            self.blocked.remove(&seq);
        }
    }

    /// Returns how many more connections the host may have.
    pub(super) fn room(&self, host_id: HostId) -> usize {
        let of_host = self.limits.max_connections_per_host.saturating_sub(self.hosts.host(host_id).counted);
        of_host.min(self.limits.max_connections.saturating_sub(self.counted))
    }
}

/// Time for which a blocked host waits while the connections of other hosts never become idle. A partition waits for
/// the same time for other partitions of its host.
const TURN: Duration = Duration::from_secs(1);
