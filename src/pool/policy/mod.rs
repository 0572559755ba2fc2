//! Who gets which connection: the pool's decisions, as a state machine without sockets, locks or clock.
//!
//! It is told what happened (`checkout`, `checkin`, `release`, `dialed`, `dial_failed`, `cancel`, `reap`) and
//! `now`, and answers with what to do: [`Action`]s that the shell carries out after it has let go of its lock.
//! It knows nothing of what it keeps (`T`), of who waits (`W`), or of what a partition is (`P`: a tokio runtime;
//! a connection never leaves the runtime it was made on, while limits hold across all of them).
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
//! Invariants: `idle + active + dialing` of a host, and of all hosts, never exceed their limits (a connection
//! counts until the shell says it is closed); a host has no more dials under way than waiters, except for waiters that
//! left and dials ahead; nobody waits while a connection of their runtime is idle that would do and is not just being
//! looked at; idle connections are taken newest first and waiters served oldest first; no call touches more than
//! [`BATCH`] entries.

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
mod slots;
mod sweep;
mod touched;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::actions::{Action, Actions, Again, Checkout, Served, Terms, Ticket};
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
use self::ahead::AHEAD;

/// The pool's state. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Policy<K: Kinds> {
    limits: Limits,
    /// Number of idle connections kept for all hosts.
    idle_room: usize,
    /// Whether any connection is kept for another request.
    keeps_idle: bool,
    hosts: Hosts<K>,
    idle: IdleList<K::Connection>,
    /// Connections of all hosts: idle, active and dialing.
    counted: usize,
    dialing: usize,
    /// Dials whose end is not known yet.
    dials: Dials,
    waiting: usize,
    /// Connections that were evicted for a blocked host and are not released yet.
    evicting: usize,
    /// Connections that read what nobody wants: the first to be closed for whoever wants their slots.
    draining: BTreeMap<u64, Place>,
    /// Hosts whose dials ahead were given up, and that may have nothing left.
    left: Vec<u32>,
    /// Hosts that want to dial but for the total limit, in turn.
    blocked: BTreeMap<u64, u32>,
    /// Hosts whose dials are to be thought about again.
    wakes: BTreeSet<(Instant, u32)>,
    /// Connections that were buried while they were looked at, by their stamps.
    doomed: Vec<(u32, DropReason)>,
    seed: u64,
    next_seq: u64,
    totals: Counters,
    shut: bool,
}

/// The most entries that one call touches.
pub(crate) const BATCH: usize = 64;

/// How long a reaper sleeps where nothing has a deadline.
pub(crate) const NO_DEADLINE: Duration = Duration::from_secs(3600);

impl<K: Kinds> Policy<K> {
    /// `seed` is for the jitter of backoffs.
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

    /// A request wants a connection: the newest idle one of its runtime, or a place in the queue, and perhaps a dial.
    ///
    /// `waiter` is called only where the request has to wait. With `fresh`, a connection that was last used longer ago will
    /// not do. Who comes `again` has its old turn.
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
            // It was let in before.
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

    /// What a request is told in place of waiting, if it is not to wait.
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
            // Not as fresh as it should be, but there is no other.
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

    /// The connection that a request got was dead when it was looked at, and is closed now: the request takes the
    /// next idle one, or waits at the head of the queue while the dead one's slot becomes a dial.
    #[allow(clippy::too_many_arguments, reason = "one lock: what is known goes in at once")]
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

    /// A reused connection died under a request that will be sent again: its slot becomes a dial, which serves the
    /// request before anyone else. The caller has closed the dead connection.
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

    /// A connection comes back, proven reusable: to the oldest waiter of its runtime, to the shelf, or to the grave.
    ///
    /// Answers when the reaper is next needed for it.
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

    /// A slot is free: its connection was closed, for `reason` unless that was counted when it was buried.
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
        // Before others are noted, of whom each can make the list forget its oldest.
        self.hosts.list_if_empty(place.host);
        self.dial_for_blocked(now, out);
    }

    /// A buried connection of ours is closed now.
    pub(crate) fn buried(&mut self, place: Place, now: Instant, out: &mut Actions<K>) {
        self.no_longer_evicting(place);
        self.release(place, Served::default(), None, now, out);
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// From now on nothing is kept: what comes back is closed.
    pub(crate) fn shut(&mut self) {
        self.shut = true;
    }

    /// Whether no connection is idle, in use or being made.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted == 0
    }

    /// Whether nobody waits either.
    pub(crate) fn is_quiet(&self) -> bool {
        self.counted == 0 && self.waiting == 0
    }

    /// Whether any request waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting > 0
    }

    /// Whether there is something to be done when its time comes.
    pub(crate) fn needs_reaper(&self) -> bool {
        self.idle.len() > 0 || !self.wakes.is_empty() || self.waiting > 0
    }

    /// Whether idle connections are being looked at.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn is_swept(&self) -> bool {
        self.idle.lent() > 0 || !self.doomed.is_empty()
    }

    /// Whether anything is gained where a connection is taken back from whoever does not claim it. (If it was claimed, the
    /// place may be gone, and the answer does not matter.)
    pub(crate) fn gains_by(&self, place: Place) -> bool {
        let is_wanted = self.hosts.get(place.host).is_some_and(|host| host.waiting > 0);
        is_wanted || self.shut || !self.blocked.is_empty() || self.keeps_idle
    }

    /// The ledger of all hosts, and what there is right now.
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

    /// How many entries there are, for [`host_at`](Self::host_at).
    pub(crate) fn host_slots(&self) -> usize {
        self.hosts.slots()
    }

    /// The ledger of one host.
    pub(crate) fn host_at(&self, at: usize) -> Option<(&K::Key, &Counters, Counts)> {
        let host = self.hosts.get(HostId::try_from(at).ok()?)?;
        Some((&host.key, &host.counters, host.counts()))
    }

    fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

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

    fn counters(&mut self, host_id: HostId, count: impl Fn(&mut Counters)) {
        count(&mut self.hosts.host_mut(host_id).counters);
        count(&mut self.totals);
    }

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
