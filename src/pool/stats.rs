//! The ledger in the form that callers read: the current counts, the counts so far, and the handshakes and time that
//! reuse saved.
//!
//! The numbers are copied from the policy's counters. Invariant: the totals include hosts whose own entries have been
//! forgotten.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::policy::ledger::{Counters, Counts};
use super::policy::reasons::{DropReason, REASONS};

/// A copy of the pool's ledger, per host and in total. [`Pool::stats`](super::Pool::stats) returns this copy.
///
/// `Display` writes the total on the first line, and each host on a line of its own. The page on
/// [limits](crate::manual::limits) says which counts show that a limit is too low.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolStats {
    /// All hosts together, including hosts that are no longer listed.
    pub total: HostStats,
    /// Hosts that have connections or had connections lately.
    pub hosts: Vec<HostStats>,
}

impl fmt::Display for PoolStats {
    /// Writes the total, and each host on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total)?;
        self.hosts.iter().try_for_each(|host| write!(f, "\n{host}"))
    }
}

/// The ledger of one host, or of all hosts.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use handclasp::DropReason;
///
/// let client = handclasp::Client::new();
/// let total = client.pool().stats().total;
/// println!("{total}");
/// assert_eq!(total.closed(DropReason::IdleTimeout), 0);
/// # });
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HostStats {
    /// Origin, such as `https://example.org:8443`. Empty for the total.
    pub origin: String,
    /// Isolation tag of the requests that share these connections, if the requests have a tag: see
    /// [`RequestBuilder::isolation`](crate::RequestBuilder::isolation).
    pub isolation: Option<Arc<str>>,
    /// Number of connections kept for the next request.
    pub idle: usize,
    /// Number of connections that are in use, reserved or being closed.
    pub active: usize,
    /// Number of connections being made.
    pub dialing: usize,
    /// Number of requests that wait for a connection.
    pub waiting: usize,
    /// Number of connections made so far.
    pub opened: u64,
    /// Number of requests sent so far.
    ///
    /// A request counts from its first write on, even if no response has arrived or the response was not read. A
    /// request that was sent again counts again.
    pub requests: u64,
    /// Number of requests sent on a connection that had already been used or idle.
    pub reused: u64,
    /// Number of handshakes that reuse made unnecessary: requests whose response began on a connection that had
    /// carried another request before.
    pub handshakes_saved: u64,
    /// Least time that reuse saved: each saved handshake counts as long as the shortest handshake (TCP, proxy and
    /// TLS) that was made to the host until then.
    ///
    /// The time is a sum over all requests. If many requests run in parallel, the sum can be longer than the time
    /// that has passed.
    pub time_saved: Duration,
    /// Number of dials that failed.
    pub failed_dials: u64,
    closed: [u64; REASONS],
}

impl HostStats {
    pub(crate) fn new(origin: String, counters: &Counters, counts: Counts) -> Self {
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

    /// Returns the number of connections closed so far for this reason.
    pub fn closed(&self, reason: DropReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Returns the reasons for which connections were closed, with their counts.
    fn reasons(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let counted = DropReason::ALL.iter().map(|reason| (*reason, self.closed(*reason)));
        counted.filter(|(_, count)| *count > 0)
    }

    /// Returns the number of connections closed so far.
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

/// Reasons for which connections were closed, with their counts. Implements `Debug` as a map.
struct Reasons<'a>(&'a HostStats);

impl fmt::Debug for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.reasons()).finish()
    }
}

/// A count and its noun, which gets an "s" unless the count is 1.
struct Many(u64, &'static str);

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

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
        let counts = Counts { idle: 1, active: 0, dialing: 2, waiting: 3 };
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
}
