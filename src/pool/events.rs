//! What happens in the pool, told as it happens to those who ask.
//!
//! Events are written down under the pool's lock, in the order in which they were decided, and delivered after it. They
//! cost nothing while nobody listens. Invariants: who listens never holds the pool up, and never holds more than a
//! bounded number of events; what is lost is counted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::PoolInner;
use super::key::Route;
use super::policy::reasons::DropReason;

/// Something that happened in a pool. See [`Pool::subscribe`](super::Pool::subscribe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolEvent {
    /// When, by tokio's clock.
    pub at: Instant,
    /// What.
    pub kind: PoolEventKind,
    route: Arc<Route>,
}

/// What happened in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolEventKind {
    /// A connection was made.
    #[non_exhaustive]
    Opened {
        /// Its number: see [`ConnectionInfo::id`](super::ConnectionInfo::id).
        id: u64,
    },
    /// A connection could not be made.
    #[non_exhaustive]
    DialFailed {
        /// The number that it would have had.
        id: u64,
    },
    /// A connection was given to a request.
    #[non_exhaustive]
    Assigned {
        /// Its number.
        id: u64,
        /// It had been used or kept before.
        reused: bool,
    },
    /// A connection was put on the shelf.
    #[non_exhaustive]
    Kept {
        /// Its number.
        id: u64,
    },
    /// The pool let a connection go.
    #[non_exhaustive]
    Closed {
        /// Its number.
        id: u64,
        /// Why the pool closed it.
        reason: DropReason,
        /// What the HTTP exchange on the connection found that forbids its reuse, as a sentence; `None` where the pool
        /// closed it for a reason of its own.
        why: Option<&'static str>,
    },
    /// A request joined the queue.
    Waited,
    /// A request got no connection.
    Refused(Refusal),
}

/// Why a request got no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The host's queue was full.
    Full,
    /// The last dials to the host had failed, and it was too early for the next.
    Failing,
    /// It had waited for as long as the acquire timeout allows.
    TimedOut,
    /// The pool was shut down.
    Shutdown,
}

impl PoolEvent {
    /// The origin that it concerns, such as `https://example.org:8443`.
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
                write!(f, "{route}: connection {id} closed: {reason:?}")?;
                why.map_or(Ok(()), |why| write!(f, " ({why})"))
            }
            PoolEventKind::Waited => write!(f, "{route}: a request waits"),
            PoolEventKind::Refused(why) => write!(f, "{route}: a request was refused: {why:?}"),
        }
    }
}

/// A pool's events, in the order in which they happened.
///
/// Who reads too slowly loses the oldest; [`missed`](Self::missed) counts them. Dropping it ends the subscription.
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

    /// The next event; `None` once the pool is gone and all were read. (Of connections that outlive their pool, because their
    /// responses are still held, the end is not told.)
    ///
    /// Cancel safe: an event that was not returned is still there.
    pub async fn recv(&mut self) -> Option<PoolEvent> {
        loop {
            // Before looking: what comes in between is not missed.
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

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<PoolEvent> {
        let ring = self.log.lock();
        let lost = ring.first.saturating_sub(self.next);
        self.missed += lost;
        self.next += lost;
        let event = ring.events.get((self.next - ring.first) as usize).cloned();
        self.next += u64::from(event.is_some());
        event
    }

    /// How many events were lost, because they were not read in time.
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

/// What is told, until all have read it or newer ones need the place.
#[derive(Debug, Default)]
pub(super) struct Log {
    ring: Mutex<Ring>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<PoolEvent>,
    /// The number of the first of `events`.
    first: u64,
    readers: usize,
    is_closed: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event down. Wakes nobody: it is called under the pool's lock.
    pub(super) fn push(&self, route: Arc<Route>, at: Instant, kind: PoolEventKind) {
        let mut ring = self.lock();
        if ring.events.len() == CAPACITY {
            ring.events.pop_front();
            ring.first += 1;
        }
        ring.events.push_back(PoolEvent { at, kind, route });
    }

    /// Tells whoever waits that there is something to read.
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }

    pub(super) fn has_readers(&self) -> bool {
        self.lock().readers > 0
    }

    /// The pool is gone.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.tell();
    }
}

/// Events that are held for slow readers.
const CAPACITY: usize = 4096;
