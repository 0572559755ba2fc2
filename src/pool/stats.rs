//! The pool's ledger: what there is, what was, and what reuse saved.
//!
//! Plain numbers, counted by the policy and copied out here. Invariant: the totals include hosts whose own
//! entries have been forgotten.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why the pool let go of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// A request was dropped before its response was read to the end.
    Abandoned,
    /// It made room for another connection, there were enough idle ones, or
    /// [`evict_if`](crate::ClientBuilder::evict_if) said so.
    Evicted,
    /// An error on the connection, or a breach of the protocol.
    Failed,
    /// It was idle for as long as it may be.
    IdleTimeout,
    /// It reached its maximum lifetime.
    MaxLifetime,
    /// The network is another one since.
    NetworkChanged,
    /// Its host closes connections after one response, or sends what nobody has asked for, and is not kept for a while.
    NotKept,
    /// The exchange ended in a way that forbids reuse, such as `Connection: close`.
    NotReusable,
    /// The peer closed it while it was idle, right behind a response, or before it answered. A 408 that nobody asked for is
    /// a close.
    PeerClosed,
    /// The runtime that it belonged to has ended.
    RuntimeGone,
    /// The pool was shut down, or its idle connections were told to go.
    Shutdown,
    /// The machine was suspended while it was idle: its peer may be long gone.
    Suspended,
    /// The peer sent something that nobody had asked for, other than line ends.
    Unsolicited,
    /// It had become a tunnel, by an upgrade or by CONNECT, and was dropped.
    Upgraded,
}

impl DropReason {
    /// All reasons, in alphabetical order.
    pub const ALL: &[Self] = &[
        Self::Abandoned,
        Self::Evicted,
        Self::Failed,
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::NetworkChanged,
        Self::NotKept,
        Self::NotReusable,
        Self::PeerClosed,
        Self::RuntimeGone,
        Self::Shutdown,
        Self::Suspended,
        Self::Unsolicited,
        Self::Upgraded,
    ];
}

/// What is counted per host and in total.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Counters {
    pub(crate) requests: u64,
    pub(crate) reused: u64,
    pub(crate) handshakes_saved: u64,
    /// In nanoseconds: what is counted with each request is one cache line.
    time_saved: u64,
    pub(crate) opened: u64,
    pub(crate) failed_dials: u64,
    /// By their reasons; nothing while none was.
    closed: Option<Box<[u64; REASONS]>>,
}

impl Counters {
    pub(crate) fn save(&mut self, handshake: Duration) {
        self.handshakes_saved += 1;
        let nanos = u64::try_from(handshake.as_nanos()).unwrap_or(u64::MAX);
        self.time_saved = self.time_saved.saturating_add(nanos);
    }

    pub(crate) fn time_saved(&self) -> Duration {
        Duration::from_nanos(self.time_saved)
    }

    pub(crate) fn count_closed(&mut self, reason: DropReason) {
        self.closed.get_or_insert_default()[reason as usize] += 1;
    }

    pub(crate) fn closed(&self) -> [u64; REASONS] {
        self.closed.as_deref().copied().unwrap_or_default()
    }
}

/// A copy of the pool's ledger, per host and in total. See [`Pool::stats`](super::Pool::stats).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolStats {
    /// All hosts together, also those that are no longer listed.
    pub total: HostStats,
    /// The hosts that have connections or had some lately.
    pub hosts: Vec<HostStats>,
}

/// The ledger of one host, or of all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostStats {
    /// The origin, such as `https://example.org:8443`; empty for the total.
    pub origin: String,
    /// The tag of the requests that share these connections, if they have one: see
    /// [`RequestBuilder::isolation`](crate::RequestBuilder::isolation).
    pub isolation: Option<Arc<str>>,
    /// Connections kept for the next request.
    pub idle: usize,
    /// Connections in use, or being closed.
    pub active: usize,
    /// Connections being made.
    pub dialing: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// Connections made so far.
    pub opened: u64,
    /// Requests sent so far; one that was sent again counts again.
    pub requests: u64,
    /// Requests sent on a connection that had already been used or kept.
    pub reused: u64,
    /// Handshakes that reuse made unnecessary: requests that were answered on a connection that had carried one
    /// before.
    pub handshakes_saved: u64,
    /// What those handshakes would have cost: for each, the time that the connection's own handshake (TCP and TLS)
    /// took.
    pub time_saved: Duration,
    /// Dials that failed.
    pub failed_dials: u64,
    closed: [u64; REASONS],
}

impl HostStats {
    pub(crate) fn new(origin: String, counters: &Counters, counts: super::hosts::Counts) -> Self {
        Self {
            origin,
            isolation: None,
            idle: counts.idle,
            active: counts.active,
            dialing: counts.dialing,
            waiting: counts.waiting,
            opened: counters.opened,
            requests: counters.requests,
            reused: counters.reused,
            handshakes_saved: counters.handshakes_saved,
            time_saved: counters.time_saved(),
            failed_dials: counters.failed_dials,
            closed: counters.closed(),
        }
    }

    /// Connections closed so far for this reason.
    pub fn closed(&self, reason: DropReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Connections closed so far.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }
}

impl fmt::Display for HostStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin.is_empty() {
            write!(f, "{}", self.origin)?;
            if let Some(tag) = &self.isolation {
                write!(f, " [{tag}]")?;
            }
            f.write_str(": ")?;
        }
        write!(
            f,
            "{} opened for {}, {} saved ({:.1?}); now {} idle, {} active, {} dialing, {} waiting",
            Many(self.opened, "connection"),
            Many(self.requests, "request"),
            Many(self.handshakes_saved, "handshake"),
            self.time_saved,
            self.idle,
            self.active,
            self.dialing,
            self.waiting
        )?;
        if self.failed_dials > 0 {
            write!(f, "; {} failed", Many(self.failed_dials, "dial"))?;
        }
        for reason in DropReason::ALL.iter().filter(|reason| self.closed(**reason) > 0) {
            write!(f, "; {} closed: {reason:?}", self.closed(*reason))?;
        }
        Ok(())
    }
}

/// A number of things, in words.
struct Many(u64, &'static str);

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

const REASONS: usize = DropReason::ALL.len();
