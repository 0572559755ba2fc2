//! The pool's settings, and their defaults.

use std::sync::Arc;
use std::time::Duration;

use super::evict::EvictIf;
use super::observer::Observer;
use super::policy::limits::Limits;

/// Settings of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolConfig {
    /// The policy's limits and times.
    pub(crate) limits: Limits,
    /// Time that a request waits for a connection. The outer `None` means that the caller did not set this time.
    pub(crate) acquire_timeout: Option<Option<Duration>>,
    /// Time that a request waits for a connection if `acquire_timeout` was not set: 30 s or one second longer than
    /// the connect timeout, whichever is longer.
    pub(crate) acquire_default: Duration,
    /// Conditions, other than deadlines, under which a connection is closed.
    pub(crate) evict_if: Option<Box<EvictIf>>,
    /// Time within which a connection must have been used for a request that must not be sent twice.
    pub(crate) fresh_for_unsafe: Option<Duration>,
    /// Observer that measures the pool.
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            acquire_timeout: None,
            acquire_default: Duration::from_secs(30),
            evict_if: None,
            fresh_for_unsafe: None,
            observer: None,
        }
    }
}
