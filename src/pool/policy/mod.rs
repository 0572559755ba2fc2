//! The pool's decisions, as a state machine without sockets, locks or clock: which request gets which connection.
//!
//! The shell tells the policy what happened (`checkout`, `checkin`, `release`, `dialed`, `dial_failed`, `cancel`,
//! `reap`) and what time it is. The policy answers with [`Action`](actions::Action)s, which the shell carries out after
//! it has released its lock. Keys, connections, waiters, partitions and failures have the types of [`Kinds`], which the
//! policy only carries. A partition is a tokio runtime. A connection never leaves the partition in which the connection
//! was made, while the limits hold across all partitions.
//!
//! ```text
//!              checkout                    checkin, nobody waits
//!   (request) ----------> Reuse   active <======================> idle --reap, evict--> Bury
//!       |                           ^  |                            ^
//!       | nothing idle              |  | release (closed)           | nobody waits any more
//!       v                     Grant |  v                            |
//!    waiting -- demand --> Dial  dialing ------- dialed ------------+
//!       ^                           |
//!       +-------- Fail -------------+ dial_failed
//! ```
//!
//! Invariants:
//! - The number of idle, active and dialing connections of a host, and of all hosts, never exceeds its limit. A
//!   connection counts until the shell says that it is closed.
//! - A host has no more dials under way than waiters, except for dials ahead and for dials whose waiters left.
//! - No request waits while an acceptable connection is idle in its partition, unless that connection is being looked
//!   at.
//! - The newest idle connection is taken first, and the oldest waiter is served first.
//! - No call touches more than [`BATCH`] entries.
//!
//! The folder builds as a crate of its own (`.ci/alone`), because its files import only std, hashbrown and one another.

pub(crate) mod actions;
mod ahead;
mod demand;
pub(crate) mod dials;
mod drain;
mod failing;
mod hosts;
mod idle;
mod keep;
pub(crate) mod kinds;
pub(crate) mod ledger;
pub(crate) mod limits;
mod not_kept;
pub(crate) mod places;
mod queue;
pub(crate) mod reasons;
pub(crate) mod round_trip;
mod slots;
mod sweep;
mod touched;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::actions::{Actions, Again, Checkout, Served, Terms, Ticket};
use self::dials::{Dials, Purpose};
pub(crate) use self::failing::Failing;
use self::hosts::Hosts;
use self::idle::IdleList;
use self::kinds::Kinds;
use self::ledger::{Counters, Counts};
use self::limits::Limits;
use self::places::{HostId, Place};
use self::queue::{Lane, Queued};
use self::reasons::DropReason;
pub(crate) use self::sweep::Lent;

#[cfg(test)]
use self::actions::Action;
#[cfg(test)]
use self::ahead::AHEAD;

/// The state from which the policy decides. The documentation of the module describes the decisions.
#[derive(Debug)]
pub(crate) struct Policy<K: Kinds> {
    limits: Limits,
    /// Number of idle connections kept for all hosts.
    idle_room: usize,
    /// Whether any connection is kept for another request.
    keeps_idle: bool,
    hosts: Hosts<K>,
    idle: IdleList<K::Connection>,
    /// Number of idle, active and dialing connections, of all hosts.
    counted: usize,
    /// Number of dials under way, to all hosts.
    dialing: usize,
    /// Dials that have neither ended nor been given up.
    dials: Dials,
    /// Number of waiting requests, of all hosts.
    waiting: usize,
    /// Number of connections that the policy has decided to close, and that the shell has not reported as closed yet.
    evicting: usize,
    /// Connections that read the remainder of an abandoned response, by their numbers. When the total limit leaves a
    /// request no connection, these connections are closed before others.
    draining: BTreeMap<u64, Place>,
    /// Hosts that may have no connection or waiter left, because a dial ahead to the host was given up. See
    /// [`note_left`](Self::note_left).
    left: Vec<u32>,
    /// Hosts that would dial if the total limit left room, by their turns.
    blocked: BTreeMap<u64, u32>,
    /// Times at which a host's dials are considered again, each with its host.
    wakes: BTreeSet<(Instant, u32)>,
    /// Connections that were buried while they were being looked at, by the stamps of their loans.
    doomed: Vec<(u32, DropReason)>,
    /// State of the random generator that draws the jitter of waiting periods.
    seed: u64,
    /// Number of the latest event. Turns and dials take their numbers from this counter.
    next_seq: u64,
    /// Ledger of all hosts together.
    totals: Counters,
    /// Whether the pool was shut down: no connection is kept, and no new request is served.
    shut: bool,
}

/// Largest number of entries that one call touches.
pub(crate) const BATCH: usize = 64;

/// Time that a reaper sleeps when no deadline is known.
pub(crate) const NO_DEADLINE: Duration = Duration::from_secs(3600);

impl<K: Kinds> Policy<K> {
    /// Returns the policy of an empty pool. `seed` starts the random generator that draws waiting periods.
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            idle_room: limits.idle_room(),
            keeps_idle: limits.keeps_idle(),
            limits,
            hosts: Hosts::new(),
            idle: IdleList::new(),
            counted: 0,
            dialing: 0,
            dials: Dials::default(),
            waiting: 0,
            evicting: 0,
            draining: BTreeMap::new(),
            left: Vec::new(),
            blocked: BTreeMap::new(),
            wakes: BTreeSet::new(),
            doomed: Vec::new(),
            seed: seed | 1,
            next_seq: 0,
            totals: Counters::default(),
            shut: false,
        }
    }

    /// Returns the newest idle connection of the request's partition, or puts the request into the queue and starts a
    /// dial if a dial is needed.
    ///
    /// `waiter` is called only if the request has to wait. With `fresh`, only a connection that was used within the
    /// given time is returned. A request whose grant was withdrawn passes `again`, and the request keeps its turn.
    pub(crate) fn checkout(
        &mut self,
        place: Place,
        fresh: Option<Duration>,
        again: Option<Again>,
        now: Instant,
        waiter: impl FnOnce() -> K::Waiter,
        out: &mut Actions<K>,
    ) -> Checkout<K> {
        if self.shut && again.is_none() {
            self.leave(place, out);
            return Checkout::Shut;
        }
        let is_resending = again.is_some_and(|again| again.is_resending);
        if !is_resending && let Some(conn) = self.take_idle(place, fresh, now, out) {
            if self.hosts.shelf(place).min_idle > 0 {
                self.dial_ahead(place, now, out);
            }
            return Checkout::Reuse(conn, place);
        }
        let (turn, since) = match again {
            // The request was admitted to the queue before its grant was withdrawn.
            Some(again) => (again.turn, again.since),
            None => {
                if let Some(answer) = self.turn_away(place, fresh, now, out) {
                    return answer;
                }
                let seq = self.next_seq();
                ((seq, seq), now)
            }
        };
        let lane = if is_resending { Lane::Resending } else { Lane::Waiting };
        self.enqueue(place, turn, Queued { waiter: waiter(), since, fresh }, lane);
        self.dial_as_needed(place.host, now, out);
        Checkout::Queued(Ticket { place, turn, since })
    }

    /// Returns the answer to a request that may not wait, because the queue is full or the host is failing. Returns
    /// `None` if the request may wait.
    fn turn_away(
        &mut self,
        place: Place,
        fresh: Option<Duration>,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Option<Checkout<K>> {
        let waiting = self.hosts.host(place.host).waiting as usize;
        let failing = self.refusal(place.host, now);
        if failing.is_some()
            && fresh.is_some()
            && let Some(conn) = self.take_idle(place, None, now, out)
        {
            // The connection was used longer ago than the request wants, but no other connection can be made now.
            return Some(Checkout::Reuse(conn, place));
        }
        let refused = if waiting >= self.limits.max_waiters_per_host {
            Checkout::Full(waiting)
        } else {
            Checkout::Failing(failing?)
        };
        self.leave(place, out);
        Some(refused)
    }

    /// Releases a connection that was dead when the request looked at it, and serves the request with another
    /// connection.
    ///
    /// The shell has closed the dead connection. The request takes the next idle connection, or waits at the head of
    /// the queue while the room of the dead connection goes to a dial.
    #[allow(clippy::too_many_arguments, reason = "one call does everything, so that the pool locks once")]
    pub(crate) fn replace(
        &mut self,
        place: Place,
        answered: u64,
        reason: DropReason,
        fresh: Option<Duration>,
        now: Instant,
        waiter: impl FnOnce() -> K::Waiter,
        out: &mut Actions<K>,
    ) -> Checkout<K> {
        let served = Served { answered, ..Served::default() };
        if let Some(conn) = self.take_idle(place, fresh, now, out) {
            self.release(place, served, Some(reason), now, out);
            return Checkout::Reuse(conn, place);
        }
        self.note_end(place, served, reason, now);
        self.count_closed(place, reason);
        let turn = (0, self.next_seq());
        let waiter = waiter();
        let queued = Queued { waiter: waiter.clone(), since: now, fresh };
        self.enqueue(place, turn, queued, Lane::Waiting);
        self.hosts.shelf_mut(place).active -= 1;
        self.start_dial(place, now, out, Purpose::Replacement(waiter));
        Checkout::Queued(Ticket { place, turn, since: now })
    }

    /// Starts a dial for a request that will be sent again, because its reused connection died during the exchange.
    ///
    /// The shell has closed the dead connection. The dial takes the room of that connection and serves the request
    /// before all others.
    pub(crate) fn redial(
        &mut self,
        place: Place,
        served: Served,
        reason: DropReason,
        waiter: K::Waiter,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Ticket {
        self.account(place, served);
        self.note_end(place, served, reason, now);
        self.count_closed(place, reason);
        let seq = self.next_seq();
        let queued = Queued { waiter: waiter.clone(), since: now, fresh: None };
        self.enqueue(place, (seq, seq), queued, Lane::Resending);
        self.hosts.shelf_mut(place).active -= 1;
        self.start_dial(place, now, out, Purpose::Replacement(waiter));
        Ticket { place, turn: (seq, seq), since: now }
    }

    /// Starts a dial for a request that will be sent again, because its answer came too soon. The doubted connection
    /// stays active beside that dial, and the caller calls [`begin_doubt`](Self::begin_doubt). Returns `None` if a limit
    /// leaves no room for one more connection, or if another request waits for that room. The caller then closes the
    /// doubted connection and calls [`redial`](Self::redial).
    pub(crate) fn dial_beside(
        &mut self,
        place: Place,
        waiter: &K::Waiter,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Option<Ticket> {
        let is_wanted = !self.blocked.is_empty() || self.hosts.host(place.host).is_wanting();
        if is_wanted || self.room(place.host) == 0 || !self.may_drain() {
            return None;
        }
        let seq = self.next_seq();
        let queued = Queued { waiter: waiter.clone(), since: now, fresh: None };
        self.enqueue(place, (seq, seq), queued, Lane::Resending);
        self.start_dial(place, now, out, Purpose::Waiter);
        Some(Ticket { place, turn: (seq, seq), since: now })
    }

    /// Takes back a connection that can be reused. The connection goes to the oldest waiter of its partition or
    /// to the shelf, or is closed.
    ///
    /// If the connection was kept, returns the time at which a reaper has to look.
    pub(crate) fn checkin(
        &mut self,
        place: Place,
        conn: K::Connection,
        terms: Terms,
        served: Served,
        now: Instant,
        out: &mut Actions<K>,
    ) -> Option<Instant> {
        self.account(place, served);
        self.note_success(place, served);
        self.offer(place, conn, terms, now, out)
    }

    /// Counts a request on a reserved connection. The connection stays in use.
    pub(crate) fn count_reserved(&mut self, place: Place, served: Served) {
        self.account(place, served);
        self.note_success(place, served);
    }

    /// Frees the room of a connection that the shell has closed. `reason` is `None` if the closing was counted when
    /// the connection was buried.
    pub(crate) fn release(
        &mut self,
        place: Place,
        served: Served,
        reason: Option<DropReason>,
        now: Instant,
        out: &mut Actions<K>,
    ) {
        self.account(place, served);
        if let Some(reason) = reason {
            self.note_end(place, served, reason, now);
            self.count_closed(place, reason);
        }
        self.hosts.shelf_mut(place).active -= 1;
        self.uncount(place.host);
        if self.yields_turn(place.host, now) {
            self.dial_for_blocked(now, out);
        }
        self.dial_as_needed(place.host, now, out);
        self.vacate(place, out);
        // The host must not be used after this call: each host that is listed as empty can push out the oldest listed
        // host, so this host may be forgotten.
        self.hosts.list_if_empty(place.host);
        self.dial_for_blocked(now, out);
    }

    /// Frees the room of a connection that was closed by an [`Action::Bury`](actions::Action::Bury).
    pub(crate) fn buried(&mut self, place: Place, now: Instant, out: &mut Actions<K>) {
        self.no_longer_evicting(place);
        self.release(place, Served::default(), None, now, out);
    }

    /// Whether the pool was shut down.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Shuts the pool down: from now on, connections that come back are closed and new requests are refused.
    pub(crate) fn shut(&mut self) {
        self.shut = true;
    }

    /// Whether no connection is idle, active or dialing.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted == 0
    }

    /// Whether no connection is idle, active or dialing, and no request waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.counted == 0 && self.waiting == 0
    }

    /// Whether no connection is idle or active, and no request waits. Dials that nobody waits for may be under way.
    pub(crate) fn is_done(&self) -> bool {
        self.counted == self.dialing && self.waiting == 0
    }

    /// Whether any request waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting > 0
    }

    /// Whether a reaper has work to do at a later time.
    pub(crate) fn needs_reaper(&self) -> bool {
        self.idle.len() > 0 || !self.wakes.is_empty() || self.waiting > 0
    }

    /// Whether any idle connection is being looked at by a sweep.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn is_swept(&self) -> bool {
        self.idle.lent() > 0 || !self.doomed.is_empty()
    }

    /// Whether to take back a granted connection that its waiter has not claimed, because a request waits for the
    /// connection, the connection could be kept idle, or the pool is shut.
    ///
    /// If the connection was claimed in the meantime, the place may be gone and the answer does not matter.
    pub(crate) fn gains_by(&self, place: Place) -> bool {
        let is_wanted = self.hosts.get(place.host).is_some_and(|host| host.waiting > 0);
        is_wanted || self.shut || !self.blocked.is_empty() || self.keeps_idle
    }

    /// Returns the ledger of all hosts together, and their current counts.
    pub(crate) fn total(&self) -> (&Counters, Counts) {
        let idle = self.idle.len();
        let counts = Counts {
            idle,
            active: self.counted - idle - self.dialing,
            dialing: self.dialing,
            waiting: self.waiting,
        };
        (&self.totals, counts)
    }

    /// Returns the number of slots in the table of hosts, for [`host_at`](Self::host_at).
    pub(crate) fn host_slots(&self) -> usize {
        self.hosts.slots()
    }

    /// Returns the key, the ledger and the current counts of the host in a slot, if there is one.
    pub(crate) fn host_at(&self, at: usize) -> Option<(&K::Key, &Counters, Counts)> {
        let host = self.hosts.get(HostId::try_from(at).ok()?)?;
        Some((&host.key, &host.counters, host.counts()))
    }

    /// Returns the number of the next event.
    fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// Adds the counts that the end of a lease reports to the ledger, and ends the drain of the connection.
    fn account(&mut self, place: Place, served: Served) {
        if let Some(id) = served.drained {
            self.end_drain(place, id);
        }
        if served.request {
            let host = &mut self.hosts.host_mut(place.host).counters;
            let shortest = host.shortest();
            host.count_request(served.reused, served.saved, shortest);
            self.totals.count_request(served.reused, served.saved, shortest);
        }
    }

    fn count_closed(&mut self, place: Place, reason: DropReason) {
        self.counters(place.host, |c| c.count_closed(reason));
    }

    /// Applies `count` to the counters of a host and to the totals.
    fn counters(&mut self, host_id: HostId, count: impl Fn(&mut Counters)) {
        count(&mut self.hosts.host_mut(host_id).counters);
        count(&mut self.totals);
    }

    /// Frees the room of one connection.
    fn uncount(&mut self, host_id: HostId) {
        self.counted -= 1;
        self.hosts.host_mut(host_id).counted -= 1;
    }
}

#[cfg(test)]
#[path = "play_tests.rs"]
mod play;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod model_tests;
