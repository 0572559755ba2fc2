//! The pool's events, and the subscriptions that deliver them.
//!
//! Events are logged under the pool's lock, in the order of the decisions, and delivered after the lock is
//! released. Without a subscriber, no event is logged. Invariants: a slow reader never delays the pool, at most
//! [`CAPACITY`] events are held for readers, and lost events are counted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::PoolInner;
use super::key::Route;
use super::policy::reasons::DropReason;

/// Something that happened in a pool. See [`Pool::subscribe`](super::Pool::subscribe).
///
/// `Display` writes one line: the origin and the event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolEvent {
    /// Time of the event, by tokio's clock.
    pub at: Instant,
    /// Kind of the event.
    pub kind: PoolEventKind,
    route: Arc<Route>,
}

/// Kind of a pool's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolEventKind {
    /// A connection was made.
    #[non_exhaustive]
    Opened {
        /// Number of the connection: see [`ConnectionInfo::id`](super::ConnectionInfo::id).
        id: u64,
    },
    /// A connection could not be made, or the pool gave its dial up.
    #[non_exhaustive]
    DialFailed {
        /// Number that the connection would have had if the dial had succeeded.
        id: u64,
    },
    /// A connection was given to a request.
    #[non_exhaustive]
    Assigned {
        /// Number of the connection.
        id: u64,
        /// Whether the connection had been used or idle before.
        reused: bool,
    },
    /// A connection was kept idle.
    #[non_exhaustive]
    Kept {
        /// Number of the connection.
        id: u64,
    },
    /// The pool closed a connection.
    #[non_exhaustive]
    Closed {
        /// Number of the connection.
        id: u64,
        /// Reason for which the pool closed the connection.
        reason: DropReason,
        /// Sentence that says why the HTTP exchange forbade the reuse of the connection. `None` if the exchange did
        /// not forbid the reuse.
        why: Option<&'static str>,
    },
    /// An answer on a reused connection came too soon: see
    /// [`doubt_early_answers`](crate::ClientBuilder::doubt_early_answers).
    #[non_exhaustive]
    TooSoon {
        /// Number of the connection.
        id: u64,
        /// Time between the start of the attempt and the first byte of the answer.
        after: Duration,
        /// Time after which an answer would have been believed: half of the shortest round trip known for the host.
        believed_after: Duration,
    },
    /// A request joined the queue.
    Waited,
    /// A request got no connection.
    Refused(Refusal),
}

/// Reason for which a request got no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The queue of the host was full.
    Full,
    /// The last dials to the host failed, and the waiting period before the next dial was not over.
    Failing,
    /// The request had waited for as long as the acquire timeout allows.
    TimedOut,
    /// The pool was shut down.
    Shutdown,
}

impl PoolEvent {
    /// Returns the origin that the event concerns, such as `https://example.org:8443`.
    pub fn origin(&self) -> String {
        self.route.to_string()
    }
}

impl fmt::Display for PoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = &self.route;
        match self.kind {
            PoolEventKind::Opened { id } => write!(f, "{route}: connection {id} opened"),
            PoolEventKind::DialFailed { id } => write!(f, "{route}: connection {id} could not be made"),
            PoolEventKind::Assigned { id, reused: true } => write!(f, "{route}: connection {id} reused"),
            PoolEventKind::Assigned { id, .. } => write!(f, "{route}: connection {id} used"),
            PoolEventKind::Kept { id } => write!(f, "{route}: connection {id} kept"),
            PoolEventKind::Closed { id, reason, why } => {
                write!(f, "{route}: connection {id} closed: {reason}")?;
                why.map_or(Ok(()), |why| write!(f, " ({why})"))
            }
            PoolEventKind::TooSoon { id, after, believed_after } => write!(
                f,
                "{route}: connection {id} brought an answer after {after:?}, which is sooner than {believed_after:?}"
            ),
            PoolEventKind::Waited => write!(f, "{route}: a request waits"),
            PoolEventKind::Refused(why) => write!(f, "{route}: a request was refused: {why:?}"),
        }
    }
}

/// A subscription to a pool's events, which come in the order in which they happened.
///
/// A reader that is too slow loses the oldest events. [`missed`](Self::missed) counts the lost events. Dropping the value
/// ends the subscription.
#[derive(Debug)]
pub struct PoolEvents {
    log: Arc<Log>,
    pool: Weak<PoolInner>,
    next: u64,
    missed: u64,
}

impl PoolEvents {
    pub(super) fn new(log: Arc<Log>, pool: Weak<PoolInner>) -> Self {
        let mut ring = log.lock();
        ring.readers += 1;
        let next = ring.first + ring.events.len() as u64;
        drop(ring);
        Self { log, pool, next, missed: 0 }
    }

    /// Returns the next event. Returns `None` once the pool is gone and all its events were read.
    ///
    /// A connection that outlives its pool, because its response is still held, reports no
    /// [`Closed`](PoolEventKind::Closed) event.
    ///
    /// Cancel safe: dropping the future loses no event.
    pub async fn recv(&mut self) -> Option<PoolEvent> {
        loop {
            // The notification is enabled before the log is read, so that an event which is logged right after the read
            // still wakes the reader.
            let log = self.log.clone();
            let mut news = std::pin::pin!(log.news.notified());
            news.as_mut().enable();
            let is_closed = self.log.lock().is_closed;
            let event = self.try_recv();
            if event.is_some() || is_closed {
                return event;
            }
            news.await;
        }
    }

    /// Returns the next event, or `None` if no event is waiting to be read.
    pub fn try_recv(&mut self) -> Option<PoolEvent> {
        let ring = self.log.lock();
        let lost = ring.first.saturating_sub(self.next);
        self.missed += lost;
        self.next += lost;
        let event = ring.events.get((self.next - ring.first) as usize).cloned();
        self.next += u64::from(event.is_some());
        event
    }

    /// Returns the number of events that were lost because the reader was too slow.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl Drop for PoolEvents {
    fn drop(&mut self) {
        let mut ring = self.log.lock();
        ring.readers -= 1;
        let is_last = ring.readers == 0;
        drop(ring);
        if is_last && let Some(inner) = self.pool.upgrade() {
            inner.stop_telling(&self.log);
        }
    }
}

/// Events that not all readers have read.
#[derive(Debug, Default)]
pub(super) struct Log {
    ring: Mutex<Ring>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<PoolEvent>,
    /// Number of the first event in `events`.
    first: u64,
    readers: usize,
    is_closed: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event to the log. Wakes no reader, because the caller holds the pool's lock.
    pub(super) fn push(&self, route: Arc<Route>, at: Instant, kind: PoolEventKind) {
        let mut ring = self.lock();
        if ring.events.len() == CAPACITY {
            ring.events.pop_front();
            ring.first += 1;
        }
        ring.events.push_back(PoolEvent { at, kind, route });
    }

    /// Wakes the readers.
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }

    pub(super) fn has_readers(&self) -> bool {
        self.lock().readers > 0
    }

    /// Closes the log and wakes the readers, because the pool is gone.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.tell();
    }
}

/// Largest number of events that are held for slow readers.
const CAPACITY: usize = 4096;
