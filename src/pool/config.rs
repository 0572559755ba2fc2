//! The pool's settings, and their defaults.

use std::time::Duration;

use super::evict::EvictIf;
use super::policy::limits::Limits;

/// Settings of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolConfig {
    /// The policy's limits and times.
    pub(crate) limits: Limits,
    /// How long a request waits for a connection; `None` where it was not set.
    pub(crate) acquire_timeout: Option<Option<Duration>>,
    /// How long a request waits for a connection where that was not set: 30 s, or longer than a dial that was given longer.
    pub(crate) acquire_default: Duration,
    /// Whom to ask whether a connection is to be let go.
    pub(crate) evict_if: Option<EvictIf>,
    /// How long ago a connection may have been used for a request that must not be sent twice.
    pub(crate) fresh_for_unsafe: Option<Duration>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            acquire_timeout: None,
            acquire_default: Duration::from_secs(30),
            evict_if: None,
            fresh_for_unsafe: None,
        }
    }
}
