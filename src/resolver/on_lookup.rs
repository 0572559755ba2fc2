//! The function that measures the lookups of names.
//!
//! This file uses no other file of the crate. Invariant: a panic of the function does not leave this file.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// A function that gets the name, the duration and the error of each lookup. A lookup that several dials share counts once,
/// and an answer of the cache is no lookup.
#[derive(Clone)]
pub(crate) struct OnLookup(Arc<Hook>);

type Hook = dyn Fn(&str, Duration, Option<&'static str>) + Send + Sync;

impl OnLookup {
    /// The error of a lookup that all its dials have stopped waiting for.
    pub(super) const CANCELLED: &'static str = "cancelled";
    /// The error of a lookup that has failed.
    pub(super) const FAILED: &'static str = "failed";
    /// The error of a lookup of a name that has no address.
    pub(super) const NOT_FOUND: &'static str = "host_not_found";

    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nothing measures lookups"))]
    pub(crate) fn new(hook: impl Fn(&str, Duration, Option<&'static str>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(super) fn call(&self, name: &str, took: Duration, error: Option<&'static str>) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.0(name, took, error)));
    }
}

impl fmt::Debug for OnLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLookup")
    }
}
