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
//! counts until the shell says it is closed); a host has no more dials under way than waiters, except for
//! waiters that left; nobody waits while a connection of their runtime is idle; idle connections are taken newest
//! first and waiters served oldest first; no call touches more than [`BATCH`] entries.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use super::idle::{IdleId, IdleList, Stay};
use super::stats::{Counters, DropReason};

/// Limits and times of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolConfig {
    /// Connections to one host: idle, in use, and being made. Unlimited by default.
    pub(crate) max_connections_per_host: usize,
    /// Connections to all hosts. Unlimited by default.
    pub(crate) max_connections: usize,
    /// Idle connections kept for one host: 32 by default. The oldest goes first.
    pub(crate) max_idle_per_host: usize,
    /// Idle connections kept for all hosts: 512 by default. The one idle for longest goes first.
    pub(crate) max_idle: usize,
    /// Requests that may wait for a connection of one host: 10,000 by default. One more fails at once.
    pub(crate) max_waiters_per_host: usize,
    /// How long a connection stays idle before it is closed: 60 s by default; `None` keeps it until the server
    /// closes it. A server's `Keep-Alive: timeout=N` shortens it to N - 1 s.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long a request waits for a connection: 30 s by default.
    pub(crate) acquire_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_connections_per_host: usize::MAX,
            max_connections: usize::MAX,
            max_idle_per_host: 32,
            max_idle: 512,
            max_waiters_per_host: 10_000,
            idle_timeout: Some(Duration::from_secs(60)),
            acquire_timeout: Duration::from_secs(30),
        }
    }
}

/// Where a connection belongs: its host's entry, and the shelf of its runtime there.
///
/// Valid as long as something is counted there, so a lease that carries it looks nothing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    host: u32,
    shelf: u32,
}

/// A waiter's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) place: Place,
    turn: Turn,
}

/// Who is served first: the smaller one. The second number is unique over the pool's life.
type Turn = (u64, u64);

/// The answer to a checkout.
#[derive(Debug)]
pub(crate) enum Checkout<T> {
    /// An idle connection, to be looked at before use. Its slot is the caller's now.
    Reuse(T, Place),
    /// The waiter is in the queue.
    Queued(Ticket),
    /// The queue is full, with so many waiting.
    Full(usize),
}

/// What the shell has to do, once it holds no lock, in this order.
#[derive(Debug)]
pub(crate) enum Action<K, T, W, P> {
    /// Hand the connection to the waiter. If it is gone, check the connection in again.
    Grant { waiter: W, conn: T, place: Place },
    /// Tell the waiter that the dial failed.
    Fail { waiter: W },
    /// Make a connection on this runtime, then call `dialed` or `dial_failed` with `began`.
    Dial { key: K, partition: P, place: Place, began: u64 },
    /// Close the connection, then call `release`.
    Bury { conn: T, place: Place, reason: DropReason },
}

/// What a finished exchange adds to the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// A request was sent on the connection.
    pub(crate) request: bool,
    /// The handshake that it did not have to pay for, on a reused connection.
    pub(crate) saved: Option<Duration>,
}

/// The actions that a call asks for.
pub(crate) type Actions<K, T, W, P> = Vec<Action<K, T, W, P>>;

/// The pool's state. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Policy<K, T, W, P> {
    config: PoolConfig,
    index: HashTable<u32>,
    hosts: Vec<Option<Host<K, W, P>>>,
    vacant: Vec<u32>,
    /// Hosts with nothing counted, oldest first; kept for their ledger, up to a bound.
    empties: VecDeque<u32>,
    idle: IdleList<T>,
    /// Connections of all hosts: idle, active and dialing.
    counted: usize,
    dialing: usize,
    waiting: usize,
    /// Connections that were evicted for a blocked host and are not released yet.
    evicting: usize,
    /// Hosts that want to dial but for the total limit, in turn.
    blocked: VecDeque<u32>,
    next_seq: u64,
    totals: Counters,
    shut: bool,
}

#[derive(Debug)]
struct Host<K, W, P> {
    key: K,
    hash: u64,
    shelves: Vec<Shelf<W, P>>,
    /// Idle, active and dialing, on all shelves.
    counted: usize,
    /// Connections of this host that were evicted for another runtime's waiter and are not released yet.
    evicting: usize,
    waiting: usize,
    is_blocked: bool,
    is_listed_empty: bool,
    counters: Counters,
}

#[derive(Debug)]
struct Shelf<W, P> {
    partition: P,
    active: usize,
    dialing: usize,
    idle: usize,
    /// The newest idle connection.
    top: Option<IdleId>,
    /// The oldest.
    bottom: Option<IdleId>,
    /// Served oldest first, by whatever comes first.
    waiting: BTreeMap<Turn, W>,
    /// Requests whose reused connection died: served first, and by fresh connections only.
    resending: BTreeMap<Turn, W>,
}

/// The most entries that one call touches.
pub(crate) const BATCH: usize = 64;

/// Ledgers of hosts without a connection that are kept.
const MAX_EMPTIES: usize = 1024;

impl<K: Clone, T, W, P: Clone + PartialEq> Policy<K, T, W, P> {
    pub(crate) fn new(config: PoolConfig) -> Self {
        Self {
            config,
            index: HashTable::new(),
            hosts: Vec::new(),
            vacant: Vec::new(),
            empties: VecDeque::new(),
            idle: IdleList::new(),
            counted: 0,
            dialing: 0,
            waiting: 0,
            evicting: 0,
            blocked: VecDeque::new(),
            next_seq: 0,
            totals: Counters::default(),
            shut: false,
        }
    }

    /// A request wants a connection: the newest idle one of its runtime, or a place in the queue, and perhaps a dial.
    ///
    /// `is_key` and `key` find the host, or make its entry; `waiter` is called only where the request has to wait.
    #[allow(clippy::too_many_arguments, reason = "one lookup, one lock: what is known goes in at once")]
    pub(crate) fn checkout(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        key: impl FnOnce() -> K,
        partition: &P,
        now: Instant,
        waiter: impl FnOnce() -> W,
        out: &mut Actions<K, T, W, P>,
    ) -> Checkout<T> {
        let place = self.place(hash, is_key, key, partition);
        if let Some(conn) = self.take_idle(place, now, out) {
            return Checkout::Reuse(conn, place);
        }
        let waiting = self.host(place.host).waiting;
        if waiting >= self.config.max_waiters_per_host {
            self.note_if_empty(place.host);
            return Checkout::Full(waiting);
        }
        let seq = self.next_seq();
        self.enqueue(place, (seq, seq), waiter(), Queue::Waiting);
        self.pump(place.host, out);
        Checkout::Queued(Ticket { place, turn: (seq, seq) })
    }

    /// The connection that a request got was dead when it was looked at, and is closed now: the request takes the
    /// next idle one, or waits at the head of the queue while the dead one's slot becomes a dial.
    pub(crate) fn replace(
        &mut self,
        place: Place,
        reason: DropReason,
        now: Instant,
        waiter: impl FnOnce() -> W,
        out: &mut Actions<K, T, W, P>,
    ) -> Checkout<T> {
        if let Some(conn) = self.take_idle(place, now, out) {
            self.release(place, Served::default(), Some(reason), out);
            return Checkout::Reuse(conn, place);
        }
        self.count_closed(place, reason);
        let turn = (0, self.next_seq());
        self.enqueue(place, turn, waiter(), Queue::Waiting);
        self.shelf_mut(place).active -= 1;
        self.start_dial(place, out, Count::AlreadyCounted);
        Checkout::Queued(Ticket { place, turn })
    }

    /// A reused connection died under a request that will be sent again: its slot becomes a dial, which serves the
    /// request before anyone else. The caller has closed the dead connection.
    pub(crate) fn redial(
        &mut self,
        place: Place,
        served: Served,
        reason: DropReason,
        waiter: W,
        out: &mut Actions<K, T, W, P>,
    ) -> Ticket {
        self.account(place, served);
        self.count_closed(place, reason);
        let seq = self.next_seq();
        self.enqueue(place, (seq, seq), waiter, Queue::Resending);
        self.shelf_mut(place).active -= 1;
        self.start_dial(place, out, Count::AlreadyCounted);
        Ticket { place, turn: (seq, seq) }
    }

    /// A connection comes back, proven reusable: to the oldest waiter of its runtime, to the shelf, or to the grave.
    ///
    /// `stay` is how long it may be idle, where the server said so. Answers when the reaper is next needed for it.
    pub(crate) fn checkin(
        &mut self,
        place: Place,
        conn: T,
        stay: Option<Duration>,
        served: Served,
        now: Instant,
        out: &mut Actions<K, T, W, P>,
    ) -> Option<Instant> {
        self.account(place, served);
        self.offer(place, conn, stay, now, out)
    }

    /// A slot is free: its connection was closed, for `reason` unless that was counted when it was buried.
    pub(crate) fn release(
        &mut self,
        place: Place,
        served: Served,
        reason: Option<DropReason>,
        out: &mut Actions<K, T, W, P>,
    ) {
        self.account(place, served);
        if let Some(reason) = reason {
            self.count_closed(place, reason);
        }
        self.shelf_mut(place).active -= 1;
        self.uncount(place.host);
        self.pump(place.host, out);
        self.pump_blocked(out);
        self.note_if_empty(place.host);
    }

    /// A buried connection of ours is closed now.
    pub(crate) fn buried(&mut self, place: Place, out: &mut Actions<K, T, W, P>) {
        self.evicting = self.evicting.saturating_sub(1);
        let host = self.host_mut(place.host);
        host.evicting = host.evicting.saturating_sub(1);
        self.release(place, Served::default(), None, out);
    }

    /// A dial succeeded: its connection goes to a request that is sent again, to the oldest waiter, or to the shelf.
    pub(crate) fn dialed(
        &mut self,
        place: Place,
        conn: T,
        now: Instant,
        out: &mut Actions<K, T, W, P>,
    ) -> Option<Instant> {
        let shelf = self.shelf_mut(place);
        shelf.dialing -= 1;
        shelf.active += 1;
        let resending = shelf.resending.pop_first();
        self.dialing -= 1;
        self.counters(place.host, |c| c.opened += 1);
        if let Some((_, waiter)) = resending {
            self.no_longer_waiting(place.host);
            out.push(Action::Grant { waiter, conn, place });
            return None;
        }
        self.offer(place, conn, None, now, out)
    }

    /// A dial failed: those fail whom it concerns. If it concerns the host, that is everyone who queued before it
    /// began, [`BATCH`] a call; any other failure is one waiter's. `true` when there are more to fail; when there
    /// are none, [`dial_failed`](Self::dial_failed) frees the slot.
    pub(crate) fn fail_waiters(
        &mut self,
        place: Place,
        began: u64,
        concerns_host: bool,
        out: &mut Actions<K, T, W, P>,
    ) -> bool {
        let most = if concerns_host { BATCH } else { 1 };
        let mut failed = 0;
        let shelf = self.shelf_mut(place);
        for queue in [&mut shelf.resending, &mut shelf.waiting] {
            while failed < most && queue.first_key_value().is_some_and(|((turn, _), _)| *turn < began) {
                let Some((_, waiter)) = queue.pop_first() else { break };
                out.push(Action::Fail { waiter });
                failed += 1;
            }
        }
        self.host_mut(place.host).waiting -= failed;
        self.waiting -= failed;
        concerns_host && failed == most
    }

    /// The slot of a failed dial is free.
    pub(crate) fn dial_failed(&mut self, place: Place, out: &mut Actions<K, T, W, P>) {
        self.shelf_mut(place).dialing -= 1;
        self.dialing -= 1;
        self.counters(place.host, |c| c.failed_dials += 1);
        self.uncount(place.host);
        self.pump(place.host, out);
        self.pump_blocked(out);
        self.note_if_empty(place.host);
    }

    /// A waiter leaves. `false`: it has been granted or failed already, and its host may be gone.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let Some(Some(host)) = self.hosts.get_mut(ticket.place.host as usize) else { return false };
        let Some(shelf) = host.shelves.get_mut(ticket.place.shelf as usize) else { return false };
        let waiter = shelf.waiting.remove(&ticket.turn).or_else(|| shelf.resending.remove(&ticket.turn));
        if waiter.is_none() {
            return false;
        }
        host.waiting -= 1;
        self.waiting -= 1;
        self.note_if_empty(ticket.place.host);
        true
    }

    /// Starts dials for which nobody waits, until the host has `wanted` connections idle or under way, within
    /// limits. Answers where, and which dials began.
    pub(crate) fn warm(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        key: impl FnOnce() -> K,
        partition: &P,
        wanted: usize,
        out: &mut Actions<K, T, W, P>,
    ) -> usize {
        let place = self.place(hash, is_key, key, partition);
        let shelf = self.shelf(place);
        let missing = wanted.saturating_sub(shelf.idle + shelf.dialing);
        let room = self.room(place.host).min(missing);
        for _ in 0..room {
            self.start_dial(place, out, Count::Count);
        }
        self.note_if_empty(place.host);
        room
    }

    /// Buries idle connections whose time has come, [`BATCH`] at the most. Answers whether there may be more.
    pub(crate) fn reap(&mut self, now: Instant, out: &mut Actions<K, T, W, P>) -> bool {
        for _ in 0..BATCH {
            let Some(id) = self.idle.expired(now) else { return false };
            self.bury_idle(id, DropReason::IdleTimeout, out);
        }
        true
    }

    /// When [`reap`](Self::reap) is next needed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.idle.due()
    }

    /// Buries all idle connections, [`BATCH`] at the most. Answers whether there may be more.
    pub(crate) fn bury_all(&mut self, reason: DropReason, out: &mut Actions<K, T, W, P>) -> bool {
        for _ in 0..BATCH {
            let Some(id) = self.idle.oldest() else { return false };
            self.bury_idle(id, reason, out);
        }
        true
    }

    /// Buries the idle connections of a runtime that is gone, going on at host `slot`; answers where to go on.
    pub(crate) fn abandon(
        &mut self,
        partition: &P,
        mut slot: usize,
        out: &mut Actions<K, T, W, P>,
    ) -> Option<usize> {
        for _ in 0..BATCH {
            if slot >= self.hosts.len() {
                return None;
            }
            while let Some(id) = self.hosts[slot].as_ref().and_then(|host| {
                host.shelves.iter().find(|shelf| shelf.partition == *partition).and_then(|shelf| shelf.bottom)
            }) {
                if out.len() >= BATCH {
                    return Some(slot);
                }
                self.bury_idle(id, DropReason::RuntimeGone, out);
            }
            slot += 1;
        }
        Some(slot)
    }

    /// From now on nothing is kept: what comes back is closed.
    pub(crate) fn shut(&mut self) {
        self.shut = true;
    }

    /// Whether no connection is idle.
    pub(crate) fn is_idle_empty(&self) -> bool {
        self.idle.len() == 0
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
        self.hosts.len()
    }

    /// The ledger of one host.
    pub(crate) fn host_at(&self, slot: usize) -> Option<(&K, &Counters, Counts)> {
        let host = self.hosts.get(slot)?.as_ref()?;
        Some((&host.key, &host.counters, host.counts()))
    }

    /// The partition of a place where something is counted.
    pub(crate) fn partition(&self, place: Place) -> &P {
        &self.shelf(place).partition
    }

    /// The host whose queue a waiter stands in, if it still stands there.
    pub(crate) fn of_ticket(&self, ticket: Ticket) -> Option<(&K, Counts)> {
        let host = self.hosts.get(ticket.place.host as usize)?.as_ref()?;
        let shelf = host.shelves.get(ticket.place.shelf as usize)?;
        let stands = shelf.waiting.contains_key(&ticket.turn) || shelf.resending.contains_key(&ticket.turn);
        stands.then(|| (&host.key, host.counts()))
    }
}

/// What there is right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) idle: usize,
    pub(crate) active: usize,
    pub(crate) dialing: usize,
    pub(crate) waiting: usize,
}

#[derive(Clone, Copy)]
enum Queue {
    Waiting,
    Resending,
}

#[derive(Clone, Copy, PartialEq)]
enum Count {
    Count,
    AlreadyCounted,
}

impl<K, W, P> Host<K, W, P> {
    fn counts(&self) -> Counts {
        let mut counts = Counts { waiting: self.waiting, ..Counts::default() };
        for shelf in &self.shelves {
            counts.idle += shelf.idle;
            counts.active += shelf.active;
            counts.dialing += shelf.dialing;
        }
        counts
    }
}

impl<W, P> Shelf<W, P> {
    fn new(partition: P) -> Self {
        Self {
            partition,
            active: 0,
            dialing: 0,
            idle: 0,
            top: None,
            bottom: None,
            waiting: BTreeMap::new(),
            resending: BTreeMap::new(),
        }
    }

    fn is_vacant(&self) -> bool {
        self.active + self.dialing + self.idle == 0 && self.waiting.is_empty() && self.resending.is_empty()
    }

    /// Waiters for whom no dial is under way.
    fn demand(&self) -> usize {
        (self.waiting.len() + self.resending.len()).saturating_sub(self.dialing)
    }
}

impl<K: Clone, T, W, P: Clone + PartialEq> Policy<K, T, W, P> {
    fn place(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        key: impl FnOnce() -> K,
        partition: &P,
    ) -> Place {
        let hosts = &mut self.hosts;
        let is_host = |slot: &u32| hosts[*slot as usize].as_ref().is_some_and(|host| is_key(&host.key));
        let slot = match self.index.find(hash, is_host) {
            Some(slot) => *slot,
            None => {
                let host = Host {
                    key: key(),
                    hash,
                    shelves: Vec::with_capacity(1),
                    counted: 0,
                    evicting: 0,
                    waiting: 0,
                    is_blocked: false,
                    is_listed_empty: false,
                    counters: Counters::default(),
                };
                let slot = self.vacant.pop().unwrap_or_else(|| {
                    hosts.push(None);
                    u32::try_from(hosts.len() - 1)
                        .expect("fewer than 2^32 hosts: each takes more than 100 bytes")
                });
                hosts[slot as usize] = Some(host);
                self.index.insert_unique(hash, slot, |slot| {
                    hosts[*slot as usize].as_ref().map_or(0, |host| host.hash)
                });
                slot
            }
        };
        let shelves = &mut self.host_mut(slot).shelves;
        let shelf = shelves.iter().position(|shelf| shelf.partition == *partition).unwrap_or_else(|| {
            let shelf = Shelf::new(partition.clone());
            match shelves.iter().position(Shelf::is_vacant) {
                Some(vacant) => {
                    shelves[vacant] = shelf;
                    vacant
                }
                None => {
                    shelves.push(shelf);
                    shelves.len() - 1
                }
            }
        });
        Place { host: slot, shelf: shelf as u32 }
    }

    /// The newest idle connection that has not expired.
    fn take_idle(&mut self, place: Place, now: Instant, out: &mut Actions<K, T, W, P>) -> Option<T> {
        for _ in 0..BATCH {
            let id = self.shelf(place).top?;
            if self.idle.deadline(id).is_none_or(|deadline| deadline > now) {
                let conn = self.unshelve(id);
                self.shelf_mut(place).active += 1;
                return Some(conn);
            }
            self.bury_idle(id, DropReason::IdleTimeout, out);
        }
        None
    }

    /// A connection that is active has nothing to do.
    fn offer(
        &mut self,
        place: Place,
        conn: T,
        stay: Option<Duration>,
        now: Instant,
        out: &mut Actions<K, T, W, P>,
    ) -> Option<Instant> {
        let shut = self.shut;
        let shelf = self.shelf_mut(place);
        if let Some((_, waiter)) = shelf.waiting.pop_first() {
            self.no_longer_waiting(place.host);
            out.push(Action::Grant { waiter, conn, place });
            return None;
        }
        // What the server said matters only where it is less than what we would do anyway.
        let theirs = stay.filter(|theirs| self.config.idle_timeout.is_none_or(|ours| *theirs < ours));
        let timeout = theirs.or(self.config.idle_timeout);
        let is_wanted_elsewhere =
            self.is_anyone_blocked() || self.host(place.host).shelves.iter().any(|s| s.demand() > 0);
        let reason = if shut {
            Some(DropReason::Shutdown)
        } else if is_wanted_elsewhere {
            Some(DropReason::Evicted)
        } else if timeout == Some(Duration::ZERO)
            || self.config.max_idle_per_host == 0
            || self.config.max_idle == 0
        {
            Some(DropReason::IdleTimeout)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.count_closed(place, reason);
            self.evicting += 1;
            self.host_mut(place.host).evicting += 1;
            out.push(Action::Bury { conn, place, reason });
            return None;
        }
        // The coldest goes, never the one that just came back.
        let host = self.host(place.host);
        let idle_here: usize = host.shelves.iter().map(|shelf| shelf.idle).sum();
        if idle_here >= self.config.max_idle_per_host {
            let oldest =
                host.shelves.iter().filter_map(|shelf| shelf.bottom).min_by_key(|id| self.idle.since(*id));
            if let Some(id) = oldest {
                self.bury_idle(id, DropReason::Evicted, out);
            }
        } else if self.idle.len() >= self.config.max_idle
            && let Some(id) = self.idle.oldest()
        {
            self.bury_idle(id, DropReason::Evicted, out);
        }
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        let stay = match deadline {
            Some(deadline) if theirs.is_some() => Stay::Theirs(deadline),
            deadline => Stay::Ours(deadline),
        };
        self.shelve(place, conn, now, stay);
        deadline
    }

    /// Starts the dials that a host's waiters need, as far as limits allow; makes room where idle ones stand in the way.
    fn pump(&mut self, slot: u32, out: &mut Actions<K, T, W, P>) {
        for shelf in 0..self.host(slot).shelves.len() {
            let place = Place { host: slot, shelf: shelf as u32 };
            let mut demand = self.shelf(place).demand();
            while demand > 0 && self.room(slot) > 0 {
                self.start_dial(place, out, Count::Count);
                demand -= 1;
            }
            if demand == 0 {
                continue;
            }
            let host = self.host(slot);
            if host.counted >= self.config.max_connections_per_host {
                // Idle connections of other runtimes cannot serve this waiter: they give way.
                let mut wanted = demand.saturating_sub(host.evicting);
                while wanted > 0 && out.len() < BATCH {
                    let others = self.host(slot).shelves.iter();
                    let Some(id) = others.filter_map(|s| s.bottom).min_by_key(|id| self.idle.since(*id))
                    else {
                        break;
                    };
                    self.evict(id, out);
                    wanted -= 1;
                }
            } else if self.counted >= self.config.max_connections {
                let mut wanted = demand.saturating_sub(self.evicting);
                while wanted > 0 && out.len() < BATCH {
                    let Some(id) = self.idle.oldest() else { break };
                    self.evict(id, out);
                    wanted -= 1;
                }
                let host = self.host_mut(slot);
                if !std::mem::replace(&mut host.is_blocked, true) {
                    self.blocked.push_back(slot);
                }
            }
        }
    }

    /// Lets hosts that the total limit held back dial, in turn.
    fn pump_blocked(&mut self, out: &mut Actions<K, T, W, P>) {
        for _ in 0..self.blocked.len().min(BATCH) {
            if self.counted >= self.config.max_connections {
                return;
            }
            let Some(slot) = self.blocked.pop_front() else { return };
            let Some(host) = self.hosts[slot as usize].as_mut() else { continue };
            host.is_blocked = false;
            // One dial a turn, so that no host takes all that becomes free.
            let wanting = host.shelves.iter().position(|shelf| shelf.demand() > 0);
            let Some(shelf) = wanting else {
                self.note_if_empty(slot);
                continue;
            };
            if self.room(slot) > 0 {
                self.start_dial(Place { host: slot, shelf: shelf as u32 }, out, Count::Count);
            }
            let host = self.host_mut(slot);
            if host.shelves.iter().any(|shelf| shelf.demand() > 0) {
                host.is_blocked = true;
                self.blocked.push_back(slot);
            }
        }
    }

    /// How many more connections the host may have.
    fn room(&self, slot: u32) -> usize {
        let of_host = self.config.max_connections_per_host.saturating_sub(self.host(slot).counted);
        of_host.min(self.config.max_connections.saturating_sub(self.counted))
    }

    fn start_dial(&mut self, place: Place, out: &mut Actions<K, T, W, P>, count: Count) {
        let began = self.next_seq();
        if count == Count::Count {
            self.counted += 1;
            self.host_mut(place.host).counted += 1;
        }
        let key = self.host(place.host).key.clone();
        self.dialing += 1;
        let shelf = self.shelf_mut(place);
        shelf.dialing += 1;
        let partition = shelf.partition.clone();
        out.push(Action::Dial { key, partition, place, began });
    }

    fn enqueue(&mut self, place: Place, turn: Turn, waiter: W, queue: Queue) {
        self.waiting += 1;
        self.host_mut(place.host).waiting += 1;
        let shelf = self.shelf_mut(place);
        match queue {
            Queue::Waiting => shelf.waiting.insert(turn, waiter),
            Queue::Resending => shelf.resending.insert(turn, waiter),
        };
    }

    fn no_longer_waiting(&mut self, slot: u32) {
        self.waiting -= 1;
        self.host_mut(slot).waiting -= 1;
    }

    fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// Whether a host still wants what the total limit keeps from it.
    fn is_anyone_blocked(&mut self) -> bool {
        for _ in 0..BATCH {
            let Some(slot) = self.blocked.front().copied() else { return false };
            if self.host(slot).shelves.iter().any(|shelf| shelf.demand() > 0) {
                return true;
            }
            self.blocked.pop_front();
            self.host_mut(slot).is_blocked = false;
            self.note_if_empty(slot);
        }
        false
    }

    fn shelve(&mut self, place: Place, conn: T, now: Instant, stay: Stay) {
        let below = self.shelf(place).top;
        let id = self.idle.push(conn, place, now, stay, below);
        let shelf = self.shelf_mut(place);
        shelf.active -= 1;
        shelf.idle += 1;
        shelf.top = Some(id);
        shelf.bottom.get_or_insert(id);
    }

    /// Takes a connection off its shelf, counted nowhere but in the limits.
    fn unshelve(&mut self, id: IdleId) -> T {
        let taken = self.idle.remove(id);
        let shelf = self.shelf_mut(taken.place);
        shelf.idle -= 1;
        if shelf.top == Some(id) {
            shelf.top = taken.below;
        }
        if shelf.bottom == Some(id) {
            shelf.bottom = taken.above;
        }
        taken.conn
    }

    fn bury_idle(&mut self, id: IdleId, reason: DropReason, out: &mut Actions<K, T, W, P>) {
        let place = self.idle.place(id);
        let conn = self.unshelve(id);
        self.shelf_mut(place).active += 1;
        self.count_closed(place, reason);
        self.evicting += 1;
        self.host_mut(place.host).evicting += 1;
        out.push(Action::Bury { conn, place, reason });
    }

    /// An idle connection gives way to a dial.
    fn evict(&mut self, id: IdleId, out: &mut Actions<K, T, W, P>) {
        self.bury_idle(id, DropReason::Evicted, out);
    }

    fn account(&mut self, place: Place, served: Served) {
        if served.request {
            self.counters(place.host, |c| {
                c.requests += 1;
                if let Some(saved) = served.saved {
                    c.reused += 1;
                    c.time_saved += saved;
                }
            });
        }
    }

    fn count_closed(&mut self, place: Place, reason: DropReason) {
        self.counters(place.host, |c| c.closed[reason as usize] += 1);
    }

    fn counters(&mut self, slot: u32, count: impl Fn(&mut Counters)) {
        count(&mut self.host_mut(slot).counters);
        count(&mut self.totals);
    }

    fn uncount(&mut self, slot: u32) {
        self.counted -= 1;
        self.host_mut(slot).counted -= 1;
    }

    /// A host of which nothing is left is listed; the list is bounded, so a crawler keeps no dead keys.
    fn note_if_empty(&mut self, slot: u32) {
        let host = self.host_mut(slot);
        if host.counted > 0 || host.waiting > 0 || std::mem::replace(&mut host.is_listed_empty, true) {
            return;
        }
        self.empties.push_back(slot);
        // A host that came back to life is listed again when it is empty again: one pass each is enough.
        while self.empties.len() > MAX_EMPTIES {
            let Some(oldest) = self.empties.pop_front() else { return };
            let Some(host) = self.hosts[oldest as usize].as_mut() else { continue };
            host.is_listed_empty = false;
            if host.counted == 0 && host.waiting == 0 && !host.is_blocked {
                let hash = host.hash;
                self.hosts[oldest as usize] = None;
                if let Ok(entry) = self.index.find_entry(hash, |slot| *slot == oldest) {
                    entry.remove();
                }
                self.vacant.push(oldest);
            }
        }
    }

    fn host(&self, slot: u32) -> &Host<K, W, P> {
        self.hosts[slot as usize].as_ref().expect("a host stays while a place of it is counted or queued")
    }

    fn host_mut(&mut self, slot: u32) -> &mut Host<K, W, P> {
        self.hosts[slot as usize].as_mut().expect("a host stays while a place of it is counted or queued")
    }

    fn shelf(&self, place: Place) -> &Shelf<W, P> {
        &self.host(place.host).shelves[place.shelf as usize]
    }

    fn shelf_mut(&mut self, place: Place) -> &mut Shelf<W, P> {
        &mut self.host_mut(place.host).shelves[place.shelf as usize]
    }
}
