//! The reaper: the pool's timer. The reaper closes expired idle connections even if no request ever comes again,
//! looks at the other idle connections from time to time, starts dials that are due, and withdraws grants from
//! requests that are not polled.
//!
//! Each runtime that keeps idle connections has one reaper, a task. The task sleeps until the next deadline, and ends
//! if the task finds nothing to do after the sleep. The reaper is woken only for an earlier deadline or when the pool
//! has become empty, so warm requests never wake the reaper. Invariant: the code that shelves a connection finds or
//! starts a reaper on the connection's runtime while that code holds the lock, and a reaper decides to end under the
//! same lock.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::policy::actions::Actions;
use super::{PoolInner, Runtime, State};
use crate::time;

/// The pool's record of a running reaper.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) runtime: Runtime,
    /// Time until which the reaper sleeps.
    pub(crate) due: Instant,
    pub(crate) wake: Arc<Notify>,
}

/// Starts a reaper. The caller has just added the `Entry` of this reaper.
pub(crate) fn start(inner: &Arc<PoolInner>, runtime: &Runtime, due: Instant, wake: Arc<Notify>) {
    let guard = Guard { inner: Arc::downgrade(inner), runtime: runtime.clone(), over: false };
    runtime.handle.spawn(run(guard, due, wake));
}

async fn run(mut guard: Guard, mut due: Instant, wake: Arc<Notify>) {
    let mut sweep = time::after(time::now(), SWEEP);
    due = due.min(sweep);
    loop {
        // The outcome does not matter, because the reaper does the work that is due both when it was woken and when its
        // time has come.
        let _ = tokio::time::timeout_at(due.into(), wake.notified()).await;
        let Some(inner) = guard.inner.upgrade() else { break guard.over = true };
        let now = time::now();
        if now >= sweep {
            inner.sweep(&guard.runtime, now).await;
            sweep = time::after(now, SWEEP);
        }
        match inner.reap(&guard.runtime, sweep) {
            Some(next) => due = next,
            None => break guard.over = true,
        }
    }
}

impl State {
    fn take_reaper(&mut self, runtime: &Runtime) -> Option<Entry> {
        let at = self.reapers.iter().position(|entry| entry.runtime == *runtime)?;
        Some(self.reapers.swap_remove(at))
    }
}

impl PoolInner {
    /// Makes sure that the reaper of a runtime wakes no later than at the next deadline of work that any reaper can do.
    pub(super) fn ensure_timer(self: &Arc<Self>, runtime: &Runtime) {
        let state = self.lock();
        let again = state.policy.is_awaited().then(|| time::now() + WATCH);
        if let Some(due) = state.due_anywhere().into_iter().chain(again).min() {
            self.ensure_reaper(state, runtime.id(), |_| Some(runtime.clone()), due);
        }
    }

    /// Does the work that is due. Returns the time of the next work, or `None` if the reaper has nothing more to do and
    /// its entry was removed.
    fn reap(self: &Arc<Self>, runtime: &Runtime, sweep: Instant) -> Option<Instant> {
        loop {
            let now = time::now();
            self.withdraw(now);
            self.reclaim(now);
            let mut actions = Actions::new();
            let mut state = self.lock();
            let more = state.policy.reap(now, &mut actions);
            state.note_actions(&mut actions, now);
            let next = if more {
                Next::More
            } else if !state.needs_reaper() {
                Next::End(state.take_reaper(runtime))
            } else {
                let mut due = state.due().map_or(sweep, |due| due.min(sweep));
                if state.policy.is_awaited() {
                    due = due.min(now + WATCH);
                }
                for entry in state.reapers.iter_mut().filter(|entry| entry.runtime == *runtime) {
                    entry.due = due;
                }
                Next::Sleep(due)
            };
            drop(state);
            self.perform(actions);
            match next {
                Next::More => {}
                Next::End(entry) => {
                    drop(entry);
                    return None;
                }
                Next::Sleep(due) => return Some(due),
            }
        }
    }
}

enum Next {
    More,
    Sleep(Instant),
    /// The reaper ends, because it has nothing to do. The entry is dropped without the lock, because the entry holds a
    /// runtime's handle.
    End(Option<Entry>),
}

/// Guard inside a reaper's task. If the runtime drops the task, the guard closes the runtime's idle connections.
struct Guard {
    inner: Weak<PoolInner>,
    runtime: Runtime,
    over: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade().filter(|_| !self.over) else { return };
        let entry = inner.lock().take_reaper(&self.runtime);
        drop(entry);
        let mut slot = Some(0);
        while let Some(from) = slot {
            let mut actions = Actions::new();
            slot =
                inner.decide(&mut actions, |policy, _, actions| policy.abandon(&self.runtime, from, actions));
            inner.perform(actions);
        }
    }
}

/// Time between two looks of a reaper while requests wait. The requests may need the room of a dial or connection
/// whose runtime has stopped running.
pub(super) const WATCH: Duration = Duration::from_secs(1);

/// Time between two sweeps of the idle connections.
const SWEEP: Duration = Duration::from_secs(5);
