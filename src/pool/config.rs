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
    /// Idle connections kept for one host. Unlimited by default. The oldest goes first.
    pub(crate) max_idle_per_host: usize,
    /// Idle connections kept for all hosts: see [`idle_room`](Self::idle_room). The one idle for longest goes first, but none
    /// that was used in the last second.
    pub(crate) max_idle: Option<usize>,
    /// Requests that may wait for a connection of one host: 10,000 by default. One more fails at once.
    pub(crate) max_waiters_per_host: usize,
    /// How long a connection stays idle before it is closed: 60 s by default; `None` keeps it until the server
    /// closes it. A server's `Keep-Alive: timeout=N` shortens it to N - 1 s.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long a connection is used, less a tenth at the most that is drawn for each. `None` by default.
    pub(crate) max_lifetime: Option<Duration>,
    /// How long a request waits for a connection; `None` where it was not set.
    pub(crate) acquire_timeout: Option<Option<Duration>>,
    /// How long a request waits for a connection where that was not set: 30 s, or longer than a dial that was given longer.
    pub(crate) acquire_default: Duration,
    /// Time that a dial has from its beginning. `None` sets no limit.
    pub(crate) connect_timeout: Option<Duration>,
    /// Whom to ask whether a connection is to be let go.
    pub(crate) evict_if: Option<EvictIf>,
    /// The longest waiting period between dials to a failing host. `None`, the default, waits for nothing.
    pub(crate) failing_host_backoff: Option<Duration>,
    /// Whether requests to a failing host wait for the end of its waiting period instead of failing at once.
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
            max_idle_per_host: usize::MAX,
            max_idle: None,
            max_waiters_per_host: 10_000,
            idle_timeout: Some(Duration::from_secs(60)),
            max_lifetime: None,
            acquire_timeout: None,
            acquire_default: Duration::from_secs(30),
            connect_timeout: Some(Duration::from_secs(10)),
            evict_if: None,
            failing_host_backoff: None,
            wait_for_failing: false,
            fresh_for_unsafe: None,
            not_kept_after: Some(3),
        }
    }
}

impl PoolConfig {
    /// Number of idle connections kept for all hosts. By default 1,024, or as many as a limit on connections allows if that
    /// is more, because a limit must not leave less idle room than itself.
    pub(crate) fn idle_room(&self) -> usize {
        self.max_idle.unwrap_or_else(|| {
            let limits = [self.max_connections, self.max_connections_per_host];
            let largest = limits.into_iter().filter(|limit| *limit < usize::MAX).max().unwrap_or_default();
            largest.max(IDLE_ROOM)
        })
    }

    /// Whether any connection is kept for another request.
    pub(crate) fn keeps_idle(&self) -> bool {
        let is_kept = self.idle_timeout != Some(Duration::ZERO) && self.max_lifetime != Some(Duration::ZERO);
        is_kept && self.max_idle_per_host > 0 && self.max_idle != Some(0)
    }
}

/// Idle connections kept for all hosts, by default.
const IDLE_ROOM: usize = 1024;
