//! Connections that are dialed before any request needs them, for `warm` and `min_idle`.
//!
//! The policy decides about these dials. This file starts the dials and waits for their ends. Invariant: `warm` makes
//! no more dials than its caller asked for.

use std::future::poll_fn;
use std::sync::Arc;

use super::key::RouteRef;
use super::policy::actions::Action;
use super::policy::places::Place;
use super::{Actions, Decider, Pool, PoolInner, Runtime, handoff};
use crate::error::Error;

impl Pool {
    /// Dials until `wanted` connections to the route are idle or being made, and waits for the dials.
    pub(crate) async fn warm(&self, route: RouteRef<'_>, wanted: usize) -> Result<(), Error> {
        let runtime = Runtime::current()?;
        // Requests may take some of the connections before the last connection is made. Connections that requests
        // took are not dialed again.
        let mut left = wanted;
        loop {
            let mut actions = Actions::new();
            let is_shut = self.inner.decide(&mut actions, |policy, now, actions| {
                let place = self.inner.place(policy, route, &runtime);
                policy.warm(place, wanted, left, now, actions);
                policy.is_shut()
            });
            let begun = actions.iter().filter(|action| matches!(action, Action::Dial { .. }));
            let dials: Vec<_> = begun.map(|_| Arc::new(handoff::Cell::new())).collect();
            self.inner.perform_all(actions, &dials, None);
            if dials.is_empty() {
                return if is_shut { Err(Error::shutdown()) } else { Ok(()) };
            }
            left -= dials.len();
            let mut outcome = Ok(());
            for dial in dials {
                if let Err(error) = poll_fn(|cx| dial.poll_take(cx)).await {
                    outcome = outcome.and(Err(error.into_error()));
                }
            }
            outcome?;
        }
    }

    /// Sets the number of idle connections that the pool keeps for the route on this runtime.
    pub(crate) fn set_min_idle(&self, route: RouteRef<'_>, wanted: usize) -> Result<(), Error> {
        let runtime = Runtime::current()?;
        let mut actions = Actions::new();
        let is_shut = self.inner.decide(&mut actions, |policy, now, actions| {
            let place = self.inner.place(policy, route, &runtime);
            policy.set_min_idle(place, wanted, now, actions);
            policy.is_shut()
        });
        self.inner.perform(actions);
        self.inner.ensure_timer(&runtime);
        if is_shut { Err(Error::shutdown()) } else { Ok(()) }
    }
}

impl PoolInner {
    /// Returns the place of a route on a runtime.
    pub(super) fn place(&self, policy: &mut Decider, route: RouteRef<'_>, runtime: &Runtime) -> Place {
        let hash = route.hash(&self.hasher);
        policy.place(hash, |key| route.is(key), || route.to_key(), runtime)
    }
}
