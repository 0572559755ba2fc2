//! Observers, which measure a pool for the metrics of its client, and the counts that an observer reads at any time.
//!
//! This file knows nothing of HTTP. Invariant: an observer is called without the pool's lock, and only at the start of a
//! pool and at the end of a connection.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::key::Route;
use super::policy::reasons::DropReason;
use super::{PoolInner, policy};

/// Listener that measures the pool of a client.
pub(crate) trait Observer: fmt::Debug + Send + Sync {
    /// A pool was made.
    fn began(&self, pool: Counted);

    /// The pool closed a connection that was open for `age`.
    fn closed(&self, route: &Route, age: Duration, reason: DropReason);
}

/// A pool whose connections can be counted while the pool lives.
#[derive(Clone)]
pub(crate) struct Counted(Weak<PoolInner>);

/// The number of open connections of one route.
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nothing counts them"))]
pub(crate) struct OpenConnections {
    pub(crate) route: Arc<Route>,
    /// Number of connections kept for the next request.
    pub(crate) idle: usize,
    /// Number of connections that are in use or being closed.
    pub(crate) active: usize,
}

impl Counted {
    pub(super) fn new(inner: &Arc<PoolInner>) -> Self {
        Self(Arc::downgrade(inner))
    }
}

#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nothing counts connections"))]
impl Counted {
    /// Whether the pool lives.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Counts the open connections of each route. The routes are copied in small groups, so that requests are not delayed.
    /// Returns nothing if the pool is gone.
    pub(crate) fn open(&self) -> Vec<OpenConnections> {
        let Some(inner) = self.0.upgrade() else { return Vec::new() };
        let mut open = Vec::new();
        let slots = inner.lock().policy.host_slots();
        for from in (0..slots).step_by(policy::BATCH) {
            let state = inner.lock();
            let found = (from..from + policy::BATCH).filter_map(|slot| state.policy.host_at(slot));
            let copied: Vec<_> = found
                .map(|(key, _, counts)| OpenConnections {
                    route: key.route.clone(),
                    idle: counts.idle,
                    active: counts.active,
                })
                .collect();
            drop(state);
            open.extend(copied);
        }
        open
    }
}
