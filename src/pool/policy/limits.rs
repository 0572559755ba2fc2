//! The limits and times of the policy, and their defaults.
//!
//! This file has plain settings only.

use std::time::Duration;

/// Limits and times of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Largest number of connections to one host: idle, active and dialing. Unlimited by default.
    pub(crate) max_connections_per_host: usize,
    /// Largest number of connections to all hosts. Unlimited by default.
    pub(crate) max_connections: usize,
    /// Largest number of idle connections of one host. Unlimited by default. The connection that has been idle for
    /// longest is closed first.
    pub(crate) max_idle_per_host: usize,
    /// Largest number of idle connections of all hosts. See [`idle_room`](Self::idle_room) for the default. The
    /// connection that has been idle for longest is closed first. A connection that was used in the last second is not
    /// closed because of this limit.
    pub(crate) max_idle: Option<usize>,
    /// Largest number of requests that wait for a connection of one host. 10,000 by default. Further requests fail
    /// at once.
    pub(crate) max_waiters_per_host: usize,
    /// Time that a connection stays idle before it is closed. 60 s by default. With `None`, a connection stays idle
    /// until the server closes it. A server's `Keep-Alive: timeout=N` shortens the time to N - 1 s.
    pub(crate) idle_timeout: Option<Duration>,
    /// Largest age at which a connection is used. The shell draws a shorter age for each connection, by up to a
    /// tenth. `None`, the default, sets no limit.
    pub(crate) max_lifetime: Option<Duration>,
    /// Time limit of a dial. `None` sets no limit.
    pub(crate) connect_timeout: Option<Duration>,
    /// Longest waiting period between dials to a failing host. With `None`, the default, there is no waiting period.
    pub(crate) failing_host_backoff: Option<Duration>,
    /// Whether requests to a failing host wait until its waiting period ends, instead of failing at once.
    pub(crate) wait_for_failing: bool,
    /// Number of useless connections after which connections of a host are not kept for a while. 3 by default. A
    /// connection is useless if the host closes the connection after one response, or sends unsolicited bytes on it.
    pub(crate) not_kept_after: Option<u8>,
    /// Whether an answer that comes too soon after its request is doubted. True by default.
    pub(crate) doubts_early_answers: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections_per_host: usize::MAX,
            max_connections: usize::MAX,
            max_idle_per_host: usize::MAX,
            max_idle: None,
            max_waiters_per_host: 10_000,
            idle_timeout: Some(Duration::from_secs(60)),
            max_lifetime: None,
            connect_timeout: Some(Duration::from_secs(10)),
            failing_host_backoff: None,
            wait_for_failing: false,
            not_kept_after: Some(3),
            doubts_early_answers: true,
        }
    }
}

impl Limits {
    /// Returns the largest number of idle connections of all hosts.
    ///
    /// The default is 1,024, or a limit on connections if that limit is larger, because connections within the limit
    /// should not be closed.
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

/// Default of the largest number of idle connections of all hosts.
const IDLE_ROOM: usize = 1024;
