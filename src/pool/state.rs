//! What the pool's one lock guards, and what is done when it is let go.
//!
//! It knows no HTTP and no sockets. Invariant: whatever was noted under the lock (events, things to drop, wakes that are
//! due) is carried out after it, by whoever held it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::connection::{Fixed, contained};
use super::dial::Dialing;
use super::events::{Log, PoolEventKind};
use super::key::Route;
#[cfg(debug_assertions)]
use super::order::Order;
use super::policy::actions::Action;
use super::policy::dials::DialId;
use super::policy::places::Place;
use super::{Act, Decider, Waiter, reaper};
use crate::time;

#[derive(Debug)]
pub(super) struct State {
    pub(super) policy: Decider,
    pub(super) reapers: Vec<reaper::Entry>,
    /// Connections that were made and not let go yet, by their numbers.
    pub(super) live: BTreeMap<u64, Arc<Fixed>>,
    /// Dials under way, by the numbers of the events that began them. A dial that is not here was given up.
    pub(super) dials: BTreeMap<u64, Dialing>,
    /// No dial is begun any more.
    pub(super) is_stopped: bool,
    /// Whom connections were handed to, and until when they are waited for; in that order.
    pub(super) grants: VecDeque<(Instant, Place, Weak<Waiter>)>,
    /// Whoever shuts the pool down waits for it to be empty.
    pub(super) emptied: Option<Arc<Notify>>,
    pub(super) log: Option<Arc<Log>>,
    has_news: bool,
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

    /// Takes a dial that has ended. Returns `None` if the policy has given the dial up, even if that was not carried out yet.
    pub(super) fn take_dial(&mut self, dial_id: DialId) -> Option<Dialing> {
        if self.policy.has_dial(dial_id) { self.dials.remove(&dial_id) } else { None }
    }

    /// Notes what happened at a place where something is counted or queued.
    pub(super) fn note(&mut self, place: Place, kind: PoolEventKind) {
        if self.log.is_some() {
            let route = self.policy.key_at(place).route.clone();
            self.tell(route, kind);
        }
        self.follow(kind);
    }

    /// The same for a route of which nothing may be known.
    pub(super) fn note_at(&mut self, route: impl FnOnce() -> Arc<Route>, kind: PoolEventKind) {
        if self.log.is_some() {
            self.tell(route(), kind);
        }
        self.follow(kind);
    }

    /// Notes what the policy decided, before it is carried out.
    pub(super) fn note_actions(&mut self, actions: &[Act], now: Instant) {
        for action in actions {
            match action {
                Action::Grant { conn, place, waiter } => {
                    self.grants.push_back((time::after(now, super::CLAIM), *place, Arc::downgrade(waiter)));
                    let kind = PoolEventKind::Assigned { id: conn.id(), reused: conn.is_reused() };
                    self.note(*place, kind);
                }
                Action::Bury { conn, place, reason } => {
                    self.note(*place, PoolEventKind::Closed { id: conn.id(), reason: *reason, why: None });
                }
                Action::Abort { dial_id } => {
                    // (Its place may be gone by now.)
                    if let Some(dial) = self.dials.get(dial_id) {
                        let (id, route) = (dial.id, dial.route.clone());
                        self.note_at(|| route, PoolEventKind::DialFailed { id });
                    }
                }
                Action::Fail { .. } | Action::Dial { .. } | Action::Cut { .. } | Action::Forget { .. } => {}
            }
        }
    }

    fn tell(&mut self, route: Arc<Route>, kind: PoolEventKind) {
        if let Some(log) = &self.log {
            log.push(route, time::now(), kind);
            self.has_news = true;
        }
    }

    fn follow(&mut self, kind: PoolEventKind) {
        if let PoolEventKind::Closed { id, .. } = kind {
            // It may hold a waker, which is the caller's code when it is dropped.
            self.trash.extend(self.live.remove(&id));
        }
        #[cfg(debug_assertions)]
        self.order.note(kind);
    }

    /// Whether a timer has something to do.
    pub(super) fn needs_reaper(&self) -> bool {
        !self.grants.is_empty() || self.policy.needs_reaper()
    }

    /// When a timer has something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due_anywhere().into_iter().chain(self.policy.due()).min()
    }

    /// When the timer of any runtime has something to do next. (Idle connections have a timer on their own runtime.)
    pub(super) fn due_anywhere(&self) -> Option<Instant> {
        let grant = self.grants.front().map(|(due, ..)| *due);
        let policy = self.policy.next_wake().into_iter().chain(self.policy.next_overdue());
        grant.into_iter().chain(policy).min()
    }

    /// When a request that has just joined the queue needs a timer. A request whose own dial is under way needs none for
    /// overdue dials, so that a cold request starts no timer.
    pub(super) fn due_for(&self, place: Place, now: Instant) -> Option<Instant> {
        if self.policy.is_wanting(place) {
            return self.due_anywhere().into_iter().chain([now + reaper::WATCH]).min();
        }
        let grant = self.grants.front().map(|(due, ..)| *due);
        grant.into_iter().chain(self.policy.next_wake()).min()
    }
}

/// The state, while it is locked.
pub(super) struct Locked<'a>(Option<MutexGuard<'a, State>>);

impl<'a> Locked<'a> {
    pub(super) fn new(guard: MutexGuard<'a, State>) -> Self {
        Self(Some(guard))
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_ref().expect("it is let go only when it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("it is let go only when it is dropped")
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(state) = &self.0 else { return };
        let is_noted = state.has_news || !state.trash.is_empty() || state.emptied.is_some();
        // In debug builds, everything is counted each time.
        if is_noted || state.policy.is_empty() || cfg!(debug_assertions) {
            self.let_go();
        }
    }
}

impl Locked<'_> {
    /// Lets go, and does what was noted.
    #[inline(never)]
    fn let_go(&mut self) {
        let Some(mut state) = self.0.take() else { return };
        let told = if std::mem::take(&mut state.has_news) { state.log.clone() } else { None };
        let trash = std::mem::take(&mut state.trash);
        // An empty pool has no timers: its reapers look, and end.
        let mut wakes = Vec::new();
        let mut emptied = None;
        if state.policy.is_empty() && !state.needs_reaper() {
            wakes.extend(state.reapers.iter().map(|reaper| reaper.wake.clone()));
        }
        if state.policy.is_quiet() {
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
                    "{idle} idle and {busy} busy connections were told of: {counts:?}"
                );
            }
        }
        #[cfg(not(debug_assertions))]
        drop(state);
        // These wakers belong to other tasks than the one that held the lock.
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
