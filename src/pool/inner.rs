//! The parts that all handles, leases, dials and reapers of one pool share: the lock, and the code that carries out the
//! policy's decisions.
//!
//! This file knows nothing of HTTP. Invariant: while the lock is held, the pool awaits, closes, wakes, spawns and sends
//! nothing.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::connection::{Connection, OpenNow, contained};
use super::events::{Log, PoolEventKind};
use super::key::{Key, Route};
use super::lease::Lease;
use super::policy::actions::{Action, Checkout, Served};
use super::policy::ledger::{Counters, Counts};
use super::policy::places::Place;
use super::policy::reasons::DropReason;
use super::policy::{self, Policy};
use super::state::{Locked, State};
use super::waiter::{Granted, Wait, Waiter};
use super::{Actions, Decider, PoolConfig, Runtime, Shell, WarmCell, reaper};
use crate::connect::{DialError, Dialer};
use crate::time::{self, Awake};
use crate::trace::Setup;

/// The state that all handles, leases, dials and reapers of one pool share.
#[derive(Debug)]
pub(crate) struct PoolInner {
    state: Mutex<State>,
    pub(super) hasher: RandomState,
    pub(super) config: PoolConfig,
    pub(super) dialer: Arc<Dialer>,
    pub(super) next_id: AtomicU64,
    /// Network epoch. Connections dialed in an earlier epoch are closed at checkin.
    pub(super) epoch: AtomicU64,
    /// Detects that the machine was suspended.
    pub(super) awake: Mutex<Awake>,
}

impl PoolInner {
    pub(super) fn new(config: PoolConfig, dialer: Dialer) -> Self {
        let hasher = RandomState::default();
        let state = State::new(Policy::new(config.limits.clone(), hasher.hash_one(0)));
        Self {
            state: Mutex::new(state),
            hasher,
            config,
            dialer: Arc::new(dialer),
            next_id: AtomicU64::new(1),
            epoch: AtomicU64::new(0),
            awake: Mutex::new(Awake::new()),
        }
    }

    /// Locks the state. Ignores poisoning, so that a panic under the lock does not fail the other requests. No
    /// such panic is known.
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked::new(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops the log of events if the log has no readers any more.
    pub(super) fn stop_telling(&self, log: &Arc<Log>) {
        let mut state = self.lock();
        let is_unheard =
            state.log.as_ref().is_some_and(|known| Arc::ptr_eq(known, log) && !known.has_readers());
        let unheard = if is_unheard { state.log.take() } else { None };
        drop(state);
        drop(unheard);
    }

    /// Returns the ledger of all hosts together. Adds the requests under way to that ledger and to the copied ledgers in
    /// `hosts`, because the policy counts a request only when its use of the connection ends.
    pub(super) fn total_with_open(&self, hosts: &mut [(Key, Counters, Counts)]) -> (Counters, Counts) {
        let by_route = hosts.iter().enumerate().map(|(at, (key, ..))| (Arc::as_ptr(&key.route), at));
        let by_route: HashMap<*const Route, usize> = by_route.collect();
        let mut state = self.lock();
        let (total, counts) = state.policy.total();
        let mut total = total.clone();
        let mut from = 0;
        loop {
            // The first group is copied at the same moment as the total.
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

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Closes all connections that are idle now.
    pub(super) fn bury_idle(self: &Arc<Self>, reason: DropReason) {
        // The loop closes at most the number of connections that are idle now, because connections that come back during
        // the loop are newer.
        let mut left = self.lock().policy.total().1.idle;
        while left > 0 {
            let mut actions = Vec::new();
            let buried =
                self.decide(&mut actions, |policy, _, actions| policy.bury_oldest(left, reason, actions));
            self.perform(actions);
            left = if buried == 0 { 0 } else { left - buried };
        }
    }

    /// Returns the maximum lifetime of a connection. The lifetimes differ, so that connections that are made together
    /// do not end together.
    pub(super) fn lifetime(&self, id: u64) -> Option<Duration> {
        let lifetime = self.config.limits.max_lifetime?;
        let start = self.hasher.hash_one(0) as f64 / u64::MAX as f64;
        // Fractional parts of multiples of the golden ratio are spread evenly for any number of multiples, so that
        // connections made one after another end at different times. The start is random, so that different processes
        // draw different lifetimes.
        let drawn = (start + id as f64 * GOLDEN).fract();
        Some(lifetime - lifetime.mul_f64(drawn * JITTER))
    }

    /// Turns the outcome of a checkout into a lease or a wait.
    pub(super) fn settle(
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
                unreachable!("a queued request has a waiter, and the caller has handled refusals")
            }
        }
    }

    /// Replaces a dead connection: gives its request another connection, or a place in the queue.
    pub(super) fn replace(
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
        let mut checkout =
            state.policy.replace(place, served.answered, reason, fresh, now, waiter, &mut actions);
        state.set_believed_after(&mut checkout);
        match &checkout {
            Checkout::Reuse(conn, place) => {
                state.note(*place, PoolEventKind::Assigned { id: conn.id(), reused: true });
            }
            _ => state.note(place, PoolEventKind::Waited),
        }
        state.note_actions(&mut actions, now);
        drop(state);
        self.perform(actions);
        self.settle(checkout, made)
    }

    /// Takes back a connection that can be reused.
    pub(super) fn checkin(
        self: &Arc<Self>,
        mut connection: Connection,
        stay: Option<Duration>,
        served: Served,
        now: Instant,
    ) {
        let mut actions = Vec::new();
        if served.request {
            // Only a connection that carried a request gets a new `used_at`.
            connection.used_at = now;
            connection.line_ends = 0;
        } else if connection.stream.is_unclaimed() {
            return drop(Lease::new(connection));
        } else {
            self.dialer.send_held_ack(&connection.stream);
        }
        let stay = connection.stay(stay, served.request, now);
        self.keep(self.lock(), connection, now, &mut actions, |state, connection, now, actions| {
            let terms = connection.terms(stay, self.epoch());
            // The state of the request is cleared, because the policy counts the request from this point on.
            connection.fixed.open.note(OpenNow::default());
            state.policy.checkin(connection.place(), connection, terms, served, now, actions)
        });
        self.perform(actions);
    }

    /// Frees the room of a leased connection that was closed.
    pub(super) fn release(
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
        state.note_actions(&mut actions, now);
        // The reaper begins the dials that may begin only later.
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

    /// Lets the policy take a connection, and makes sure that the reaper of the connection's runtime knows when the
    /// connection expires.
    pub(super) fn keep(
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
        state.note_actions(&mut actions[noted..], now);
        let grant = state.grants.back().filter(|_| shelved.is_none()).map(|(due, ..)| *due);
        let Some(deadline) = shelved.or(grant) else { return };
        let partition = |state: &State| state.policy.partition(place).cloned();
        self.ensure_reaper(state, runtime, partition, deadline);
    }

    /// Makes sure that the reaper of a runtime wakes no later than at `deadline`.
    pub(super) fn ensure_reaper(
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

    /// Carries out the policy's actions. The caller holds no lock.
    #[inline]
    pub(super) fn perform(self: &Arc<Self>, actions: Actions) {
        if !actions.is_empty() {
            self.perform_all(actions, &[], None);
        }
    }

    /// Carries out the policy's actions. The cells in `warm` are told of the outcomes of new dials. `failure` is the
    /// error that failed waiters get. Without `failure`, failed waiters get the error of a shutdown.
    pub(super) fn perform_all(
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
                        // The waiter has left, so the policy decides about the connection again.
                        if let Some(Err(Granted::Conn(connection))) = delivered {
                            if connection.stream.is_unclaimed() {
                                drop(Lease::new(connection));
                                continue;
                            }
                            self.dialer.send_held_ack(&connection.stream);
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

    /// Runs a decision of the policy, and notes the actions for the events.
    pub(super) fn decide<R>(
        &self,
        actions: &mut Actions,
        decide: impl FnOnce(&mut Decider, Instant, &mut Actions) -> R,
    ) -> R {
        let (now, noted) = (time::now(), actions.len());
        let mut state = self.lock();
        let decided = decide(&mut state.policy, now, actions);
        state.note_actions(&mut actions[noted..], now);
        decided
    }
}

/// Fractional part of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Largest fraction of the maximum lifetime by which a connection's own lifetime is shorter.
const JITTER: f64 = 0.1;
