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

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abandoned => "abandoned",
            Self::Evicted => "evicted",
            Self::Failed => "failed",
            Self::IdleTimeout => "idle timeout",
            Self::MaxLifetime => "maximum lifetime",
            Self::NetworkChanged => "network changed",
            Self::NotKept => "host not kept",
            Self::NotReusable => "not reusable",
            Self::PeerClosed => "closed by the peer",
            Self::RuntimeGone => "runtime gone",
            Self::Shutdown => "shutdown",
            Self::Suspended => "suspended",
            Self::Unsolicited => "unsolicited bytes",
            Self::Upgraded => "upgraded",
        })
    }
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
    /// The shortest handshake of a host.
    shortest: Shortest,
    pub(crate) opened: u64,
    pub(crate) failed_dials: u64,
    /// By their reasons; nothing while none was.
    closed: Option<Box<[u64; REASONS]>>,
}

/// The shortest handshake seen, in nanoseconds; `u64::MAX` before the first.
#[derive(Clone, Copy, Debug)]
struct Shortest(u64);

impl Default for Shortest {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

impl Counters {
    /// Counts a request that was sent. If `saved`, adds `shortest` nanoseconds to the time that avoided handshakes saved.
    pub(crate) fn count_request(&mut self, reused: bool, saved: bool, shortest: u64) {
        self.requests += 1;
        self.reused += u64::from(reused);
        if saved {
            self.handshakes_saved += 1;
            self.time_saved = self.time_saved.saturating_add(shortest);
        }
    }

    /// Notes how long a handshake took.
    pub(crate) fn note_handshake(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.shortest.0 = self.shortest.0.min(nanos);
    }

    /// Returns the shortest handshake seen, in nanoseconds; 0 where none was.
    pub(crate) fn shortest(&self) -> u64 {
        if self.shortest.0 == u64::MAX { 0 } else { self.shortest.0 }
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

impl fmt::Display for PoolStats {
    /// The total, and each host on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total)?;
        self.hosts.iter().try_for_each(|host| write!(f, "\n{host}"))
    }
}

/// The ledger of one host, or of all.
#[derive(Clone)]
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
    /// Requests sent so far. A request counts from its first write on: before it is answered, while its upload goes on,
    /// while its response is read or lies unread, and after its connection was upgraded. One that was sent again counts
    /// again.
    pub requests: u64,
    /// Requests sent on a connection that had already been used or kept.
    pub reused: u64,
    /// Handshakes that reuse made unnecessary: requests whose response began on a connection that had carried another
    /// request before.
    pub handshakes_saved: u64,
    /// Time that those handshakes would have taken at least: each counts the shortest handshake (TCP, proxy and TLS) seen
    /// to the host by then.
    ///
    /// It adds up over requests: where many run in parallel, their sum can be longer than the time that has passed.
    pub time_saved: Duration,
    /// Dials that failed.
    pub failed_dials: u64,
    closed: [u64; REASONS],
}

impl HostStats {
    pub(crate) fn new(origin: String, counters: &Counters, counts: super::policy::hosts::Counts) -> Self {
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

    /// Returns the reasons for which connections were closed, with their counts.
    fn reasons(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let counted = DropReason::ALL.iter().map(|reason| (*reason, self.closed(*reason)));
        counted.filter(|(_, count)| *count > 0)
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
            "{} opened for {}, {} saved",
            Many(self.opened, "connection"),
            Many(self.requests, "request"),
            Many(self.handshakes_saved, "handshake")
        )?;
        if self.handshakes_saved > 0 {
            write!(f, " (at least {:.1?})", self.time_saved)?;
        }
        let Self { idle, active, dialing, waiting, .. } = self;
        write!(f, "; now {idle} idle, {active} active, {dialing} dialing, {waiting} waiting")?;
        if self.failed_dials > 0 {
            write!(f, "; {} failed", Many(self.failed_dials, "dial"))?;
        }
        if self.closed_total() > 0 {
            write!(f, "; {} closed", self.closed_total())?;
        }
        self.reasons().enumerate().try_for_each(|(nth, (reason, count))| {
            write!(f, "{}{count} {reason}", if nth == 0 { ": " } else { ", " })
        })
    }
}

impl fmt::Debug for HostStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostStats")
            .field("origin", &self.origin)
            .field("isolation", &self.isolation)
            .field("idle", &self.idle)
            .field("active", &self.active)
            .field("dialing", &self.dialing)
            .field("waiting", &self.waiting)
            .field("opened", &self.opened)
            .field("requests", &self.requests)
            .field("reused", &self.reused)
            .field("handshakes_saved", &self.handshakes_saved)
            .field("time_saved", &self.time_saved)
            .field("failed_dials", &self.failed_dials)
            .field("closed", &Reasons(self))
            .finish()
    }
}

/// The reasons for which connections were closed, with their counts.
struct Reasons<'a>(&'a HostStats);

impl fmt::Debug for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.reasons()).finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Counters {
        let mut counters = Counters::default();
        counters.note_handshake(Duration::from_micros(1_250));
        counters.opened = 5;
        for _ in 0..9 {
            counters.count_request(true, true, counters.shortest());
        }
        counters
    }

    #[test]
    fn a_ledger_reads_as_a_person_would_write_it() {
        let counts = super::super::policy::hosts::Counts { idle: 1, active: 0, dialing: 2, waiting: 3 };
        let mut counters = ledger();
        let host = HostStats::new("https://a.test".into(), &counters, counts);
        let start = "https://a.test: 5 connections opened for 9 requests, 9 handshakes saved (at least 11.2ms); \
                     now 1 idle, 0 active, 2 dialing, 3 waiting";
        assert_eq!(host.to_string(), start);
        counters.failed_dials = 1;
        for reason in [DropReason::PeerClosed, DropReason::IdleTimeout, DropReason::IdleTimeout] {
            counters.count_closed(reason);
        }
        let mut host = HostStats::new("https://a.test".into(), &counters, counts);
        let end = "; 1 dial failed; 3 closed: 2 idle timeout, 1 closed by the peer";
        assert_eq!(host.to_string(), format!("{start}{end}"));
        let debug = format!("{host:?}");
        assert!(debug.ends_with("closed: {IdleTimeout: 2, PeerClosed: 1} }"), "{debug}");
        host.isolation = Some("tag".into());
        assert!(host.to_string().starts_with("https://a.test [tag]: 5 connections"), "{host}");

        let total = HostStats::new(String::new(), &Counters::default(), Default::default());
        let none = "0 connections opened for 0 requests, 0 handshakes saved; \
                    now 0 idle, 0 active, 0 dialing, 0 waiting";
        assert_eq!(total.to_string(), none);
        let stats = PoolStats { total, hosts: vec![host.clone()] };
        assert_eq!(stats.to_string(), format!("{none}\n{host}"));
    }

    #[test]
    fn reasons_are_words() {
        let mut seen = std::collections::HashSet::new();
        for reason in DropReason::ALL {
            let text = reason.to_string();
            assert!(text.chars().all(|letter| letter.is_ascii_lowercase() || letter == ' '), "{text}");
            assert!(seen.insert(text), "{reason:?}");
        }
    }
}
