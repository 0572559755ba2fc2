//! The state that the pool's one lock guards, and the work that is done when the lock is released.
//!
//! This file knows nothing of HTTP or sockets. Invariant: events that were written, values to drop and tasks to wake
//! are noted under the lock. After the release, the lock's holder delivers the events, drops the values and wakes the
//! tasks.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::connection::{Fixed, contained};
use super::dial::Dialing;
use super::events::{Log, PoolEventKind, Refusal};
use super::key::{Route, RouteRef};
#[cfg(debug_assertions)]
use super::order::Order;
use super::policy::actions::{Action, Checkout};
use super::policy::dials::DialId;
use super::policy::places::Place;
use super::{Act, Decider, Shell, Waiter, reaper};
use crate::time;

/// State of the pool, guarded by the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) policy: Decider,
    pub(super) reapers: Vec<reaper::Entry>,
    /// Open connections, by their numbers.
    pub(super) live: BTreeMap<u64, Arc<Fixed>>,
    /// Dials under way, by their numbers. A dial that is missing in this map has ended, was given up or has not begun.
    pub(super) dials: BTreeMap<u64, Dialing>,
    /// Whether new dials are refused.
    pub(super) is_stopped: bool,
    /// Grants that may not have been claimed, in order of time. Each grant has the time at which the grant is checked,
    /// its place, and its waiter.
    pub(super) grants: VecDeque<(Instant, Place, Weak<Waiter>)>,
    /// Wakes the shutdowns that wait for the end of the requests and connections. `None` before a shutdown.
    pub(super) emptied: Option<Arc<Notify>>,
    /// The log of events, while there is a subscriber.
    pub(super) log: Option<Arc<Log>>,
    /// Whether the log has new events for which its readers were not woken yet.
    has_news: bool,
    /// Values to drop without the lock.
    trash: Vec<Arc<Fixed>>,
    #[cfg(debug_assertions)]
    order: Order,
}

impl State {
    pub(super) fn new(policy: Decider) -> Self {
        Self {
            policy,
            reapers: Vec::new(),
            live: BTreeMap::new(),
            dials: BTreeMap::new(),
            is_stopped: false,
            grants: VecDeque::new(),
            emptied: None,
            log: None,
            has_news: false,
            trash: Vec::new(),
            #[cfg(debug_assertions)]
            order: Order::default(),
        }
    }

    /// Removes a dial that has ended, and returns the dial. Returns `None` if the policy has given the dial up, even if
    /// the dial was not aborted yet.
    pub(super) fn take_dial(&mut self, dial_id: DialId) -> Option<Dialing> {
        if self.policy.has_dial(dial_id) { self.dials.remove(&dial_id) } else { None }
    }

    /// Notes an event at a valid place.
    pub(super) fn note(&mut self, place: Place, kind: PoolEventKind) {
        if self.log.is_some() {
            let route = self.policy.key_at(place).route.clone();
            self.tell(route, kind);
        }
        self.follow(kind);
    }

    /// Notes an event of a route that may be missing in the table of hosts.
    pub(super) fn note_at(&mut self, route: impl FnOnce() -> Arc<Route>, kind: PoolEventKind) {
        if self.log.is_some() {
            self.tell(route(), kind);
        }
        self.follow(kind);
    }

    /// Gives a connection that a request takes the time after which an answer of its host is believed.
    pub(super) fn set_believed_after(&self, checkout: &mut Checkout<Shell>) {
        if let Checkout::Reuse(connection, place) = checkout {
            connection.believed_after = self.policy.believed_after(*place);
        }
    }

    /// Notes the outcome of a request's checkout.
    #[inline]
    pub(super) fn note_checkout(&mut self, checkout: &Checkout<Shell>, route: RouteRef<'_>) {
        let refusal = match checkout {
            Checkout::Reuse(connection, place) => {
                return self.note(*place, PoolEventKind::Assigned { id: connection.id(), reused: true });
            }
            Checkout::Queued(ticket) => return self.note(ticket.place, PoolEventKind::Waited),
            Checkout::Full(_) => Refusal::Full,
            Checkout::Failing(_) => Refusal::Failing,
            Checkout::Shut => Refusal::Shutdown,
        };
        self.note_at(|| Arc::new(route.to_route()), PoolEventKind::Refused(refusal));
    }

    /// Notes the actions that the policy decided, before the actions are carried out. Gives each granted connection the
    /// time after which an answer of its host is believed.
    pub(super) fn note_actions(&mut self, actions: &mut [Act], now: Instant) {
        for action in actions {
            match action {
                Action::Grant { conn, place, waiter } => {
                    conn.believed_after = self.policy.believed_after(*place);
                    self.grants.push_back((time::after(now, super::CLAIM), *place, Arc::downgrade(waiter)));
                    let kind = PoolEventKind::Assigned { id: conn.id(), reused: conn.is_reused() };
                    self.note(*place, kind);
                }
                Action::Bury { conn, place, reason } => {
                    self.note(*place, PoolEventKind::Closed { id: conn.id(), reason: *reason, why: None });
                }
                Action::Abort { dial_id } => {
                    // The place of the dial may no longer exist.
                    if let Some(dial) = self.dials.get(dial_id) {
                        let (id, route) = (dial.id, dial.route.clone());
                        self.note_at(|| route, PoolEventKind::DialFailed { id });
                    }
                }
                Action::Fail { .. } | Action::Dial { .. } | Action::Cut { .. } | Action::Forget { .. } => {}
            }
        }
    }

    /// Writes an event to the log.
    fn tell(&mut self, route: Arc<Route>, kind: PoolEventKind) {
        if let Some(log) = &self.log {
            log.push(route, time::now(), kind);
            self.has_news = true;
        }
    }

    /// Updates `live` and `order` for an event.
    fn follow(&mut self, kind: PoolEventKind) {
        if let PoolEventKind::Closed { id, .. } = kind {
            // The value is dropped later, because the value may hold a waker, and dropping a waker runs the caller's
            // code.
            self.trash.extend(self.live.remove(&id));
        }
        #[cfg(debug_assertions)]
        self.order.note(kind);
    }

    /// Whether a reaper has work to do at a later time.
    pub(super) fn needs_reaper(&self) -> bool {
        !self.grants.is_empty() || self.policy.needs_reaper()
    }

    /// Returns the time of the next work of a reaper.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due_anywhere().into_iter().chain(self.policy.due()).min()
    }

    /// Returns the time of the next work that the reaper of any runtime can do. Idle connections do not count, because
    /// only the reaper of their own runtime closes them.
    pub(super) fn due_anywhere(&self) -> Option<Instant> {
        let grant = self.grants.front().map(|(due, ..)| *due);
        let policy = self.policy.next_wake().into_iter().chain(self.policy.next_overdue());
        grant.into_iter().chain(policy).min()
    }

    /// Returns the time at which a request that has just queued needs a reaper. A request whose own dial is under way
    /// does not need a reaper for overdue dials, so that a cold request starts no reaper.
    pub(super) fn due_for(&self, place: Place, now: Instant) -> Option<Instant> {
        if self.policy.is_wanting(place) {
            return self.due_anywhere().into_iter().chain([now + reaper::WATCH]).min();
        }
        let grant = self.grants.front().map(|(due, ..)| *due);
        grant.into_iter().chain(self.policy.next_wake()).min()
    }
}

/// Guard of the locked state. Dropping the guard releases the lock and does the noted work.
pub(super) struct Locked<'a>(Option<MutexGuard<'a, State>>);

impl<'a> Locked<'a> {
    pub(super) fn new(guard: MutexGuard<'a, State>) -> Self {
        Self(Some(guard))
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_ref().expect("the guard is taken only by drop")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("the guard is taken only by drop")
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(state) = &self.0 else { return };
        let is_noted = state.has_news || !state.trash.is_empty() || state.emptied.is_some();
        // Debug builds call `let_go` every time, because `let_go` checks the counts.
        if is_noted || state.policy.is_empty() || cfg!(debug_assertions) {
            self.let_go();
        }
    }
}

impl Locked<'_> {
    /// Releases the lock, and does the work that was noted.
    #[inline(never)]
    fn let_go(&mut self) {
        let Some(mut state) = self.0.take() else { return };
        let told = if std::mem::take(&mut state.has_news) { state.log.clone() } else { None };
        let trash = std::mem::take(&mut state.trash);
        // An empty pool keeps no reapers: woken reapers find nothing to do and end.
        let mut wakes = Vec::new();
        let mut emptied = None;
        if state.policy.is_empty() && !state.needs_reaper() {
            wakes.extend(state.reapers.iter().map(|reaper| reaper.wake.clone()));
        }
        if state.policy.is_done() {
            emptied.clone_from(&state.emptied);
        }
        #[cfg(debug_assertions)]
        {
            let (idle, busy) = state.order.counts();
            let counts = state.policy.total().1;
            let is_exact = state.policy.is_swept() || (idle == counts.idle && busy <= counts.active);
            let is_known = state.live.len() == idle + busy;
            drop(state);
            if !std::thread::panicking() {
                assert!(
                    is_exact && is_known,
                    "the events count {idle} idle and {busy} busy connections, but the policy counts {counts:?}"
                );
            }
        }
        #[cfg(not(debug_assertions))]
        drop(state);
        // The calls below may run the wakers of tasks other than the lock's holder, so the panics of those wakers are
        // caught here.
        contained(|| drop(trash));
        if let Some(log) = told {
            contained(|| log.tell());
        }
        for wake in wakes {
            wake.notify_one();
        }
        if let Some(emptied) = emptied {
            contained(|| emptied.notify_waiters());
        }
    }
}
