//! The pool: keeps connections, and hands them to the requests that want them.
//!
//! This file is the shell around [`policy`]: one mutex, and the code that carries out what the policy decides once
//! the mutex is released. Knows nothing of HTTP. Invariant: nothing is awaited, closed, woken, spawned or sent while
//! the mutex is held.

mod config;
mod connection;
mod dial;
mod events;
mod evict;
mod handoff;
pub(crate) mod key;
pub(crate) mod lease;
#[cfg(debug_assertions)]
mod order;
pub(crate) mod policy;
mod reaper;
mod shutdown;
mod state;
pub(crate) mod stats;
mod sync;
mod waiter;
mod warm;

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub(crate) use self::config::PoolConfig;
pub use self::connection::ConnectionInfo;
pub(crate) use self::connection::Direction;
use self::connection::{Connection, OpenNow, contained};
use self::events::Log;
pub use self::events::{PoolEvent, PoolEventKind, PoolEvents, Refusal};
pub(crate) use self::evict::EvictIf;
pub use self::evict::IdleConnection;
use self::key::{Key, Route, RouteRef};
use self::lease::Lease;
use self::policy::actions::{Action, Checkout, Served};
use self::policy::kinds::Kinds;
use self::policy::ledger::{Counters, Counts};
use self::policy::places::Place;
pub use self::policy::reasons::DropReason;
use self::policy::{Failing, Policy};
use self::state::{Locked, State};
pub use self::stats::{HostStats, PoolStats};
use self::waiter::{Granted, Waiter};
pub(crate) use self::waiter::{NotGranted, Wait};
use crate::connect::{DialError, Dialer};
use crate::error::{Error, ErrorKind, Phase};
use crate::time::{self, Awake};
use crate::trace::Setup;

/// The connections of a [`Client`](crate::Client), and the ledger of what reuse saved. Returned by
/// [`Client::pool`](crate::Client::pool).
///
/// All clones of a client share one pool. When the last clone is dropped, idle connections are closed, and
/// connections in use are closed when their responses end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let client = handclasp::Client::new();
/// println!("{}", client.pool().stats());
/// client.pool().close_idle();
/// # });
/// ```
pub struct Pool {
    inner: Arc<PoolInner>,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig, dialer: Dialer) -> Self {
        let hasher = RandomState::default();
        let state = State::new(Policy::new(config.limits.clone(), hasher.hash_one(0)));
        let inner = PoolInner {
            state: Mutex::new(state),
            hasher,
            config,
            dialer: Arc::new(dialer),
            next_id: AtomicU64::new(1),
            /// Network epoch. Connections dialed in an earlier epoch are closed at checkin.
            epoch: AtomicU64::new(0),
            awake: Mutex::new(Awake::new()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns a copy of the ledger, per host and in total.
    ///
    /// The hosts, and the connections whose requests are under way, are copied in small groups, so that requests are
    /// not held up. While requests are under way, the groups are of slightly different moments.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let client = handclasp::Client::new();
    /// let stats = client.pool().stats();
    /// assert_eq!((stats.total.opened, stats.total.idle), (0, 0));
    /// # });
    /// ```
    pub fn stats(&self) -> PoolStats {
        let mut hosts = Vec::new();
        let slots = self.inner.lock().policy.host_slots();
        for from in (0..slots).step_by(policy::BATCH) {
            let state = self.inner.lock();
            let found = (from..from + policy::BATCH).filter_map(|slot| state.policy.host_at(slot));
            let copied: Vec<_> =
                found.map(|(key, counters, counts)| (key.clone(), counters.clone(), counts)).collect();
            drop(state);
            hosts.extend(copied);
        }
        let (total, counts) = self.inner.total_with_open(&mut hosts);
        let hosts = hosts.iter().map(|(key, counters, counts)| {
            let mut host = HostStats::new(key.route.to_string(), counters, *counts);
            host.isolation = key.route.tag().cloned();
            host
        });
        PoolStats { total: HostStats::new(String::new(), &total, counts), hosts: hosts.collect() }
    }

    /// Closes all idle connections. Connections in use are not touched.
    pub fn close_idle(&self) {
        self.inner.bury_idle(DropReason::Shutdown);
    }

    /// Tells the pool that the machine is in another network now: closes all idle connections at once, and those in
    /// use when their responses end.
    ///
    /// Hosts to which dials failed are dialed again at once, because the failures say nothing of the new network.
    pub fn on_network_change(&self) {
        let inner = &self.inner;
        inner.epoch.fetch_add(1, Ordering::Relaxed);
        inner.bury_idle(DropReason::NetworkChanged);
        let mut slot = Some(0);
        while let Some(from) = slot {
            let mut actions = Vec::new();
            slot = inner.decide(&mut actions, |policy, now, actions| policy.forgive(from, now, actions));
            inner.perform(actions);
        }
    }

    /// Returns the events of the pool from now on. While nobody subscribes, events cost nothing.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let client = handclasp::Client::new();
    /// let mut events = client.pool().subscribe();
    /// # client.pool().close_idle();
    /// while let Some(event) = events.try_recv() {
    ///     println!("{event}");
    /// }
    /// # });
    /// ```
    pub fn subscribe(&self) -> PoolEvents {
        let mut state = self.inner.lock();
        let log = state.log.get_or_insert_with(Arc::<Log>::default).clone();
        // Created under the lock, because the last other subscriber may just be leaving.
        PoolEvents::new(log, Arc::downgrade(&self.inner))
    }

    /// Returns an idle connection, or a place in the queue.
    ///
    /// `fresh` is the time within which the connection must have been used. `again` is the request's earlier wait, if
    /// a connection was granted to that and withdrawn.
    pub(crate) fn checkout(
        &self,
        route: RouteRef<'_>,
        fresh: Option<Duration>,
        again: Option<&Wait>,
        now: Instant,
    ) -> Result<Result<Lease, Wait>, Error> {
        let runtime = Runtime::current()?;
        let mut made = None;
        let mut actions = Vec::new();
        let inner = &self.inner;
        let mut state = inner.lock();
        let place = inner.place(&mut state.policy, route, &runtime);
        let checkout = state.policy.checkout(
            place,
            fresh,
            again.map(Wait::again),
            now,
            || made.insert(Arc::new(Waiter::new())).clone(),
            &mut actions,
        );
        let refused = match &checkout {
            Checkout::Reuse(connection, place) => {
                let kind = PoolEventKind::Assigned { id: connection.id(), reused: true };
                state.note(*place, kind);
                None
            }
            Checkout::Queued(ticket) => {
                state.note(ticket.place, PoolEventKind::Waited);
                None
            }
            Checkout::Full(_) => Some(Refusal::Full),
            Checkout::Failing(_) => Some(Refusal::Failing),
            Checkout::Shut => Some(Refusal::Shutdown),
        };
        if let Some(why) = refused {
            state.note_at(|| Arc::new(route.to_route()), PoolEventKind::Refused(why));
        }
        state.note_actions(&actions, now);
        let due = match checkout {
            Checkout::Queued(ticket) => state.due_for(ticket.place, now),
            _ => None,
        };
        match due {
            Some(due) => inner.ensure_reaper(state, runtime.id(), |_| Some(runtime.clone()), due),
            None => drop(state),
        }
        inner.perform(actions);
        match checkout {
            Checkout::Full(waiting) => {
                let message = format!(
                    "{waiting} requests are already waiting for a connection to {}",
                    route.to_route()
                );
                Err(Error::new(ErrorKind::PoolFull, message).in_phase(Phase::Queue))
            }
            Checkout::Failing(failing) => {
                let Failing { dials, error, until, .. } = failing;
                Err(error.into_error().not_attempted(dials, until, now))
            }
            Checkout::Shut => Err(Error::shutdown()),
            checkout => {
                let settled = inner.settle(checkout, made);
                let is_resending = again.is_some_and(|wait| wait.again().is_resending);
                let settled = if is_resending { settled.map_err(Wait::resending) } else { settled };
                Ok(inner.admit(settled, fresh, now))
            }
        }
    }

    /// Returns the hash of a route.
    pub(crate) fn key(&self, route: RouteRef<'_>) -> u64 {
        route.hash(&self.inner.hasher)
    }

    /// Returns the time within which a connection must have been used for a request that must not be sent twice.
    pub(crate) fn fresh_for_unsafe(&self) -> Option<Duration> {
        self.inner.config.fresh_for_unsafe
    }

    pub(crate) fn acquire_timeout(&self) -> Option<Option<Duration>> {
        self.inner.config.acquire_timeout
    }

    pub(crate) fn acquire_default(&self) -> Duration {
        self.inner.config.acquire_default
    }
}

impl fmt::Debug for Pool {
    /// Writes one line: what there is, and what there was.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.stats().total)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.policy.shut();
        let reapers = std::mem::take(&mut state.reapers);
        let log = state.log.clone();
        drop(state);
        for reaper in reapers {
            reaper.wake.notify_one();
        }
        self.inner.bury_idle(DropReason::Shutdown);
        if let Some(log) = log {
            log.close();
        }
    }
}

/// The runtime that a connection belongs to. A connection never leaves it.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) handle: Handle,
}

impl Runtime {
    /// Returns the runtime that polls this task, or an error outside of a runtime.
    pub(crate) fn current() -> Result<Self, Error> {
        let handle = Handle::try_current()
            .map_err(|error| Error::request("a request needs a tokio runtime to run on").because(error))?;
        Ok(Self { handle })
    }
}

impl Runtime {
    pub(crate) fn id(&self) -> tokio::runtime::Id {
        self.handle.id()
    }
}

impl PartialEq for Runtime {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

type WarmCell = handoff::Cell<Result<(), DialError>>;
type Act = Action<Shell>;
type Actions = policy::actions::Actions<Shell>;
type Decider = Policy<Shell>;

/// The types that the policy carries for the pool.
#[derive(Debug)]
pub(crate) struct Shell;

impl Kinds for Shell {
    type Key = Key;
    type Connection = Connection;
    type Waiter = Arc<Waiter>;
    type Partition = Runtime;
    type Failure = DialError;
}

/// What all handles, leases, dials and reapers of one pool share.
#[derive(Debug)]
pub(crate) struct PoolInner {
    state: Mutex<State>,
    hasher: RandomState,
    config: PoolConfig,
    dialer: Arc<Dialer>,
    next_id: AtomicU64,
    /// Of the network: a connection that was made in an earlier one is not kept.
    epoch: AtomicU64,
    /// Detects that the machine was suspended.
    awake: Mutex<Awake>,
}

impl PoolInner {
    /// Locks the state. A panic under the lock, of which none is known, must not fail the other requests.
    fn lock(&self) -> Locked<'_> {
        Locked::new(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops the log of events if it has no readers any more.
    fn stop_telling(&self, log: &Arc<Log>) {
        let mut state = self.lock();
        let is_unheard =
            state.log.as_ref().is_some_and(|known| Arc::ptr_eq(known, log) && !known.has_readers());
        let unheard = if is_unheard { state.log.take() } else { None };
        drop(state);
        drop(unheard);
    }

    /// Returns the ledger of all hosts, and adds the requests under way to it and to the copied ledgers in `hosts`.
    /// The policy counts a request only when its use of the connection ends.
    fn total_with_open(&self, hosts: &mut [(Key, Counters, Counts)]) -> (Counters, Counts) {
        let by_route = hosts.iter().enumerate().map(|(at, (key, ..))| (Arc::as_ptr(&key.route), at));
        let by_route: HashMap<*const Route, usize> = by_route.collect();
        let mut state = self.lock();
        let (total, counts) = state.policy.total();
        let mut total = total.clone();
        let mut from = 0;
        loop {
            // The first group is of the same moment as the total.
            let group = state.live.range(from..).take(policy::BATCH);
            let group: Vec<_> =
                group.map(|(id, fixed)| (*id, Arc::as_ptr(&fixed.route), fixed.open.now())).collect();
            drop(state);
            let Some((last, ..)) = group.last() else { return (total, counts) };
            from = last + 1;
            for (_, route, open) in group.into_iter().filter(|(.., open)| open.is_sent()) {
                let host = by_route.get(&route).and_then(|at| hosts.get_mut(*at));
                let host = host.map(|(_, counters, _)| counters);
                let shortest = host.as_ref().map_or(0, |host| host.shortest());
                for counters in [Some(&mut total), host].into_iter().flatten() {
                    counters.count_request(open.is_reused(), open.has_saved(), shortest);
                }
            }
            state = self.lock();
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Closes all connections that are idle now.
    fn bury_idle(self: &Arc<Self>, reason: DropReason) {
        // Only as many as are idle now: connections that come back meanwhile are newer.
        let mut left = self.lock().policy.total().1.idle;
        while left > 0 {
            let mut actions = Vec::new();
            let buried =
                self.decide(&mut actions, |policy, _, actions| policy.bury_oldest(left, reason, actions));
            self.perform(actions);
            left = if buried == 0 { 0 } else { left - buried };
        }
    }

    /// Returns how long this connection may live. Connections that are made together do not end together.
    fn lifetime(&self, id: u64) -> Option<Duration> {
        let lifetime = self.config.limits.max_lifetime?;
        let start = self.hasher.hash_one(0) as f64 / u64::MAX as f64;
        // The fractions of multiples of the golden ratio lie far from each other, however many there are, so that
        // connections made one after another end apart. The start is random, so that other programs begin elsewhere.
        let drawn = (start + id as f64 * GOLDEN).fract();
        Some(lifetime - lifetime.mul_f64(drawn * JITTER))
    }

    /// Returns the lease or the wait that a checkout came to.
    fn settle(
        self: &Arc<Self>,
        checkout: Checkout<Shell>,
        waiting: Option<Arc<Waiter>>,
    ) -> Result<Lease, Wait> {
        match (checkout, waiting) {
            (Checkout::Reuse(mut connection, _), _) => {
                connection.set_idle();
                Ok(Lease::new(connection))
            }
            (Checkout::Queued(ticket), Some(waiting)) => Err(Wait::new(self.clone(), ticket, waiting)),
            (Checkout::Queued(_) | Checkout::Full(_) | Checkout::Failing(_) | Checkout::Shut, _) => {
                unreachable!(
                    "the policy asks for the waiter it queues, and its callers have dealt with refusals"
                )
            }
        }
    }

    /// Gives a request another connection, or a place in the queue, for one that was dead.
    fn replace(
        self: &Arc<Self>,
        place: Place,
        id: u64,
        served: Served,
        reason: DropReason,
        fresh: Option<Duration>,
    ) -> Result<Lease, Wait> {
        let mut made = None;
        let mut actions = Vec::new();
        let waiter = || made.insert(Arc::new(Waiter::new())).clone();
        let now = time::now();
        let mut state = self.lock();
        state.note(place, PoolEventKind::Closed { id, reason, why: None });
        let checkout = state.policy.replace(place, served.answered, reason, fresh, now, waiter, &mut actions);
        match &checkout {
            Checkout::Reuse(conn, place) => {
                state.note(*place, PoolEventKind::Assigned { id: conn.id(), reused: true });
            }
            _ => state.note(place, PoolEventKind::Waited),
        }
        state.note_actions(&actions, now);
        drop(state);
        self.perform(actions);
        self.settle(checkout, made)
    }

    /// Takes back a connection that was proven reusable.
    fn checkin(
        self: &Arc<Self>,
        mut connection: Connection,
        stay: Option<Duration>,
        served: Served,
        now: Instant,
    ) {
        let mut actions = Vec::new();
        if served.request {
            // A connection that comes back unused keeps its `used_at`.
            connection.used_at = now;
            connection.line_ends = 0;
        }
        let stay = connection.stay(stay, served.request, now);
        self.keep(self.lock(), connection, now, &mut actions, |state, connection, now, actions| {
            let terms = connection.terms(stay, self.epoch());
            // From here on, the policy counts the request.
            connection.fixed.open.note(OpenNow::default());
            state.policy.checkin(connection.place(), connection, terms, served, now, actions)
        });
        self.perform(actions);
    }

    /// Frees the room of a leased connection that was closed.
    fn release(
        self: &Arc<Self>,
        place: Place,
        id: u64,
        served: Served,
        reason: DropReason,
        why: Option<&'static str>,
    ) {
        let mut actions = Vec::new();
        let now = time::now();
        let mut state = self.lock();
        state.note(place, PoolEventKind::Closed { id, reason, why });
        let runtime = state.policy.partition(place).cloned();
        state.policy.release(place, served, Some(reason), now, &mut actions);
        state.note_actions(&actions, now);
        // The reaper dials later for what could not be dialed now.
        match (runtime, state.due_anywhere()) {
            (Some(runtime), Some(due)) => {
                self.ensure_reaper(state, runtime.id(), |_| Some(runtime.clone()), due);
            }
            (runtime, _) => {
                drop(state);
                drop(runtime);
            }
        }
        self.perform(actions);
    }

    /// Lets the policy take a connection, and makes sure that the reaper of its runtime knows when it expires.
    fn keep(
        self: &Arc<Self>,
        mut state: Locked<'_>,
        connection: Connection,
        now: Instant,
        actions: &mut Actions,
        give: impl FnOnce(&mut State, Connection, Instant, &mut Actions) -> Option<Instant>,
    ) {
        let (id, place, runtime, noted) =
            (connection.id(), connection.place(), connection.runtime().id(), actions.len());
        let shelved = give(&mut state, connection, now, actions);
        if shelved.is_some() {
            state.note(place, PoolEventKind::Kept { id });
        }
        state.note_actions(&actions[noted..], now);
        let grant = state.grants.back().filter(|_| shelved.is_none()).map(|(due, ..)| *due);
        let Some(deadline) = shelved.or(grant) else { return };
        let partition = |state: &State| state.policy.partition(place).cloned();
        self.ensure_reaper(state, runtime, partition, deadline);
    }

    /// Makes sure that the reaper of a runtime looks no later than at `deadline`.
    fn ensure_reaper(
        self: &Arc<Self>,
        mut state: Locked<'_>,
        id: tokio::runtime::Id,
        runtime: impl FnOnce(&State) -> Option<Runtime>,
        deadline: Instant,
    ) {
        let wake = match state.reapers.iter_mut().find(|entry| entry.runtime.id() == id) {
            Some(entry) if entry.due <= deadline => return,
            Some(entry) => {
                entry.due = deadline;
                let wake = entry.wake.clone();
                drop(state);
                wake.notify_one();
                return;
            }
            None => Arc::new(Notify::new()),
        };
        let Some(runtime) = runtime(&state) else { return };
        state.reapers.push(reaper::Entry { runtime: runtime.clone(), due: deadline, wake: wake.clone() });
        drop(state);
        reaper::start(self, &runtime, deadline, wake);
    }

    /// Carries out what the policy decided. No lock is held.
    #[inline]
    fn perform(self: &Arc<Self>, actions: Actions) {
        if !actions.is_empty() {
            self.perform_all(actions, &[], None);
        }
    }

    /// Carries out what the policy decided. `warm` are the cells that are told of the outcomes of new dials, and
    /// `failure` is what failed waiters are told; without it they are told of the shutdown.
    fn perform_all(
        self: &Arc<Self>,
        mut actions: Actions,
        warm: &[Arc<WarmCell>],
        failure: Option<(&DialError, &Arc<Setup>)>,
    ) {
        let mut warm = warm.iter();
        while !actions.is_empty() {
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Grant { waiter, conn, place } => {
                        // The connection is delivered even if the waker panics.
                        let delivered = contained(|| waiter.cell.deliver(Granted::Conn(conn)));
                        // The waiter left a moment ago: the connection goes to the next one.
                        if let Some(Err(Granted::Conn(connection))) = delivered {
                            // It left a moment ago: the connection goes on to the next.
                            let give =
                                |state: &mut State, connection: Connection, now, actions: &mut Actions| {
                                    let terms = connection.terms(None, self.epoch());
                                    state.policy.checkin(
                                        place,
                                        connection,
                                        terms,
                                        Served::default(),
                                        now,
                                        actions,
                                    )
                                };
                            self.keep(self.lock(), connection, time::now(), &mut actions, give);
                        }
                    }
                    Action::Fail { waiter } => {
                        let failed = match failure {
                            Some((error, setup)) => Granted::Failed(error.clone(), setup.clone()),
                            None => Granted::Shutdown,
                        };
                        // A waiter that has left is not told.
                        let _ = contained(|| waiter.cell.deliver(failed));
                    }
                    Action::Dial { key, partition, place, dial_id, wanted_by } => {
                        let warm = warm.next().cloned();
                        self.dial(key.route, &partition, place, dial_id, wanted_by.as_deref(), warm);
                    }
                    Action::Cut { id } => self.cut_draining(id, &mut actions),
                    Action::Abort { dial_id } => self.abort_dial(dial_id),
                    Action::Forget { partition } => drop(partition),
                    Action::Bury { conn, place, reason } => {
                        // A panic of the transport ends here, because the connection does not belong to the current
                        // request.
                        let _ = conn.close(reason);
                        self.decide(&mut actions, |policy, now, actions| policy.buried(place, now, actions));
                    }
                }
            }
        }
    }

    /// Lets the policy decide, and notes the actions for the events.
    fn decide<R>(
        &self,
        actions: &mut Actions,
        decide: impl FnOnce(&mut Decider, Instant, &mut Actions) -> R,
    ) -> R {
        let (now, noted) = (time::now(), actions.len());
        let mut state = self.lock();
        let decided = decide(&mut state.policy, now, actions);
        state.note_actions(&actions[noted..], now);
        decided
    }
}

/// Fractional part of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Largest part of the maximum lifetime that is drawn off for a connection.
const JITTER: f64 = 0.1;

/// Time in which a request has to be polled to claim a connection that was granted to it.
const CLAIM: Duration = Duration::from_millis(50);
