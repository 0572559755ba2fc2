//! Dials: each a task of its own, so that a request that gives up throws no handshake away.
//!
//! It knows the policy's answers and the dialer, no HTTP. Invariant: however a dial ends (also by its runtime's end, or by
//! a panic), the policy is told, and those whom its failure concerns.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use super::conn::{Kept, contained};
use super::events::PoolEventKind;
use super::hosts::Place;
use super::key::Route;
use super::stats::DropReason;
use super::{Actions, Decider, Runtime, Shared, Waiting, WarmCell};
use crate::connect::{Destination, DialError, Dialed, Dialer};
use crate::time;
use crate::trace::Setup;

impl Shared {
    /// Makes a connection in a task of its own, so that a request that gives up throws no handshake away.
    pub(super) fn dial(
        self: &Arc<Self>,
        route: Arc<Route>,
        runtime: &Runtime,
        place: Place,
        began: u64,
        wanted_by: Option<&Waiting>,
        warm: Option<Arc<WarmCell>>,
    ) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let setup = Arc::new(Setup::new(id, route.scheme(), route.host(), route.port(), time::now()));
        if let Some(waiting) = wanted_by {
            *waiting.dial.lock().unwrap_or_else(PoisonError::into_inner) = Some(setup.clone());
        }
        let dial = Dial {
            shared: Arc::downgrade(self),
            runtime: runtime.clone(),
            route,
            setup,
            id,
            place,
            began,
            epoch: self.epoch.load(Ordering::Relaxed),
            warm,
            over: false,
        };
        let destination = Destination::new(dial.route.is_https(), dial.route.host(), dial.route.port());
        let mut state = self.lock();
        if state.is_stopped {
            drop(state);
            return dial.refuse();
        }
        state.dials.insert(id, None);
        drop(state);
        let task = runtime.handle.spawn(dial.run(self.dialer.clone(), destination)).abort_handle();
        let mut state = self.lock();
        let is_stopped = state.is_stopped;
        // It may be over already.
        if let Some(handle) = state.dials.get_mut(&id) {
            *handle = Some(task.clone());
        }
        drop(state);
        if is_stopped {
            task.abort();
        }
    }
}

/// A dial under way. Dropped before its end (its runtime stops, or it panics), it counts as failed.
struct Dial {
    shared: Weak<Shared>,
    runtime: Runtime,
    route: Arc<Route>,
    setup: Arc<Setup>,
    id: u64,
    place: Place,
    began: u64,
    epoch: u64,
    warm: Option<Arc<WarmCell>>,
    over: bool,
}

impl Dial {
    async fn run(mut self, dialer: Arc<Dialer>, destination: Destination) {
        let result = if time::has_timers() {
            dialer.dial(&destination, &self.setup).await
        } else {
            Err(DialError::no_timers())
        };
        match result {
            Ok(dialed) => self.succeed(dialed),
            Err(error) => self.fail(&error),
        }
    }

    fn succeed(&mut self, dialed: Dialed) {
        self.over = true;
        self.setup.end(None, time::now());
        let Dialed { stream, peer, local } = dialed;
        let shared = self.shared.upgrade();
        let lifetime = shared.as_ref().and_then(|shared| shared.lifetime(self.id));
        let (runtime, setup) = (self.runtime.clone(), self.setup.clone());
        let kept = Kept::new(
            self.shared.clone(),
            self.id,
            stream,
            peer,
            local,
            runtime,
            setup,
            lifetime,
            self.epoch,
            self.place,
            self.route.clone(),
        );
        let Some(shared) = shared else {
            let _ = kept.close(DropReason::Shutdown);
            return;
        };
        let mut actions = Vec::new();
        let epoch = shared.epoch();
        shared.keep(kept, time::now(), &mut actions, |state, kept, now, actions| {
            state.dials.remove(&self.id);
            state.live.insert(self.id, kept.fixed.clone());
            state.note(self.place, PoolEventKind::Opened { id: self.id });
            let terms = kept.terms(None, epoch);
            state.policy.dialed(self.place, kept, terms, now, actions)
        });
        shared.perform(actions);
        self.tell_warm(Ok(()));
    }

    /// The pool makes no connections any more.
    fn refuse(mut self) {
        self.fail(&DialError::shutdown());
    }

    fn fail(&mut self, error: &DialError) {
        self.over = true;
        self.setup.end(Some(error.kind()), time::now());
        self.tell_warm(Err(error.clone()));
        let Some(shared) = self.shared.upgrade() else { return };
        let (place, began) = (self.place, self.began);
        let kept = error.to_keep();
        let (decides, known) = {
            let mut state = shared.lock();
            state.dials.remove(&self.id);
            state.note(place, PoolEventKind::DialFailed { id: self.id });
            // What failed in a network that is gone says nothing of this one.
            let is_of_now = self.epoch == shared.epoch();
            let decides = is_of_now && state.policy.note_failure(place, began, kept, time::now());
            (decides, state.policy.failure(place))
        };
        let told = |error: &DialError, tell: &dyn Fn(&mut Decider, &mut Actions) -> bool| {
            loop {
                let mut actions = Vec::new();
                let more = shared.decide(&mut actions, |policy, _, actions| tell(policy, actions));
                shared.perform_all(actions, &[], Some((error, &self.setup)));
                if !more {
                    return;
                }
            }
        };
        let concerns_host = error.concerns_host() || decides;
        told(error, &|policy, out| policy.fail_waiters(place, began, concerns_host, out));
        if !error.is_of_host() {
            // A runtime that is gone, or cannot dial, is not asked to keep any ready.
            let mut actions = Vec::new();
            shared.decide(&mut actions, |policy, _, actions| policy.forget_min_idle(place, actions));
            shared.perform(actions);
        }
        // What concerns a runtime alone is no news to those of others.
        let known = known.as_ref().unwrap_or(error);
        told(known, &|policy, out| policy.fail_unserved(place, true, out));
        let mut actions = Vec::new();
        shared.decide(&mut actions, |policy, now, actions| policy.dial_failed(place, now, actions));
        shared.perform_all(actions, &[], Some((known, &self.setup)));
        shared.ensure_timer(&self.runtime);
    }

    fn tell_warm(&mut self, outcome: Result<(), DialError>) {
        if let Some(warm) = self.warm.take() {
            // Who stopped waiting needs no word.
            let _ = contained(|| warm.deliver(outcome));
        }
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        if !self.over {
            self.fail(&DialError::interrupted());
        }
    }
}
