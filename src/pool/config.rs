//! The pool's settings, and their defaults.

use std::time::Duration;

use super::evict::EvictIf;

/// Limits and times of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolConfig {
    /// Connections to one host: idle, in use, and being made. Unlimited by default.
    pub(crate) max_connections_per_host: usize,
    /// Connections to all hosts. Unlimited by default.
    pub(crate) max_connections: usize,
    /// Idle connections kept for one host: 32 by default. The oldest goes first.
    pub(crate) max_idle_per_host: usize,
    /// Idle connections kept for all hosts: 512 by default. The one idle for longest goes first.
    pub(crate) max_idle: usize,
    /// Requests that may wait for a connection of one host: 10,000 by default. One more fails at once.
    pub(crate) max_waiters_per_host: usize,
    /// How long a connection stays idle before it is closed: 60 s by default; `None` keeps it until the server
    /// closes it. A server's `Keep-Alive: timeout=N` shortens it to N - 1 s.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long a connection is used, less a tenth at the most that is drawn for each. `None` by default.
    pub(crate) max_lifetime: Option<Duration>,
    /// How long a request waits for a connection; `None` where it was not set.
    pub(crate) acquire_timeout: Option<Option<Duration>>,
    /// Whom to ask whether a connection is to be let go.
    pub(crate) evict_if: Option<EvictIf>,
    /// Requests to a host that cannot be connected to wait for the next dial, in place of failing at once.
    pub(crate) wait_for_failing: bool,
    /// How long ago a connection may have been used for a request that must not be sent twice.
    pub(crate) fresh_for_unsafe: Option<Duration>,
    /// A host that closed so many connections in a row after one response each is not kept for a while: 3 by default.
    pub(crate) not_kept_after: Option<u8>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_connections_per_host: usize::MAX,
            max_connections: usize::MAX,
            max_idle_per_host: 32,
            max_idle: 512,
            max_waiters_per_host: 10_000,
            idle_timeout: Some(Duration::from_secs(60)),
            max_lifetime: None,
            acquire_timeout: None,
            evict_if: None,
            wait_for_failing: false,
            fresh_for_unsafe: None,
            not_kept_after: Some(3),
        }
    }
}
