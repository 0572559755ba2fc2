//! One connection as the pool keeps it, and what callers are told of it.
//!
//! It knows nothing of HTTP, and nothing of who uses it. Invariants: what never changes about a connection is made once,
//! and shared with whoever asks; and while nobody polls a connection that is in use, it lies where it can be closed from
//! outside (see [`Fixed::cut`]).

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::key::Route;
use super::policy::actions::{Served, Terms};
use super::policy::places::Place;
use super::policy::reasons::DropReason;
use super::{PoolInner, Runtime};
use crate::connect::{Look, Stream};
use crate::time::{self, Timer};
use crate::trace::Setup;

/// One connection, as it is kept: in two parts, of which the second is to be found while the first is away.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) conn: Box<Conn>,
    pub(super) fixed: Arc<Fixed>,
}

/// What changes about a connection. What the pool touches for each request stands together, as in [`Fixed`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Conn {
    pub(super) runtime: Runtime,
    /// Requests that were begun on it.
    pub(super) requests: u64,
    /// How many more the server takes, if it said so.
    pub(super) more: Option<u64>,
    /// How long the server keeps it idle, by its last word.
    stay_until: Option<Instant>,
    /// Time at which its latest use ended, or it was made.
    pub(super) used_at: Instant,
    /// How it was made, until its first request has been told.
    pub(super) setup: Option<Arc<Setup>>,
    /// Whether it was ever idle: the peer may have closed it since.
    pub(super) was_idle: bool,
    /// Number of CR and LF bytes discarded while the connection has been idle.
    pub(super) line_ends: u16,
    /// How many bytes the latest response took, about.
    pub(super) latest_size: u32,
    /// Kept across requests; see [`Timer`].
    pub(crate) timer: Timer,
    pub(crate) stream: Stream,
}

/// What can be reached of a connection while the rest is away: what never changes, and where that lies then. (Of the pool it
/// keeps the memory, not what is in it.)
#[derive(Debug)]
#[repr(C)]
pub(super) struct Fixed {
    /// State of the current request, for `Pool::stats`.
    pub(super) open: Open,
    /// Where it is counted, as long as it is not closed.
    pub(super) place: Place,
    pub(super) id: u64,
    /// The network that it was made in.
    pub(super) epoch: u64,
    /// From when on it is too old.
    pub(super) until: Option<Instant>,
    pub(super) handshake: Duration,
    pub(super) pool: Weak<PoolInner>,
    parked: Mutex<Parked>,
    pub(super) made: Instant,
    pub(super) route: Arc<Route>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
}

/// The request that is under way on a connection, for the pool's ledger: the policy counts a request when its use of the
/// connection ends. Written by whoever uses the connection, without a lock.
#[derive(Debug, Default)]
pub(super) struct Open(AtomicU8);

/// What [`Open`] says at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OpenNow(u8);

impl Open {
    /// Notes how far the request has come.
    pub(super) fn note(&self, now: OpenNow) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// Notes that the caller has a response whose content was not read to its end.
    pub(super) fn set_unread(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) | OpenNow::UNREAD, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> OpenNow {
        OpenNow(self.0.load(Ordering::Relaxed))
    }
}

impl OpenNow {
    const SENT: u8 = 1;
    const REUSED: u8 = 2;
    const SAVED: u8 = 4;
    const UNREAD: u8 = 8;

    fn new(is_sent: bool, is_reused: bool, has_saved: bool) -> Self {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        Self(flag(is_sent, Self::SENT) | flag(is_reused, Self::REUSED) | flag(has_saved, Self::SAVED))
    }

    /// Whether a request was sent.
    pub(super) fn is_sent(self) -> bool {
        self.0 & Self::SENT != 0
    }

    /// Whether the connection had been used or kept before.
    pub(super) fn is_reused(self) -> bool {
        self.0 & Self::REUSED != 0
    }

    /// Whether the request was answered without a handshake of its own.
    pub(super) fn has_saved(self) -> bool {
        self.0 & Self::SAVED != 0
    }

    /// Whether the caller has a response whose content was not read to its end.
    pub(super) fn is_unread(self) -> bool {
        self.0 & Self::UNREAD != 0
    }
}

/// A connection in use, while nobody polls it.
#[derive(Debug, Default)]
#[repr(C)]
struct Parked {
    /// It reads a rest that nobody wants.
    is_draining: bool,
    /// It is to be closed, for this reason, as soon as whoever polls it is done.
    cut: Option<DropReason>,
    /// Who waits for it: to be read from, and (of one that was upgraded) to be written to.
    wakers: [Option<Waker>; 2],
    conn: Option<Box<Conn>>,
    /// How far its use has come.
    progress: Progress,
}

/// How far the use of a connection has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Whether a request was begun.
    pub(super) begun: bool,
    /// Whether it was answered.
    pub(super) answered: bool,
    /// It reads a rest that nobody wants.
    pub(super) is_draining: bool,
}

/// What a cut found.
#[derive(Debug)]
pub(super) enum Cut {
    /// The connection, which is the caller's to close and to release.
    Taken(Box<Conn>, Served),
    /// Somebody is polling it, and closes it next.
    Marked,
    /// It is none of those that were to be cut.
    Spared,
}

impl Progress {
    /// Whether the peer may have closed the connection before this use of it: it was used or kept before.
    pub(super) fn is_reused(self, conn: &Conn) -> bool {
        conn.was_idle || conn.requests > u64::from(self.begun)
    }

    /// Whether the request was answered on a connection that had carried one before.
    fn has_saved(self, conn: &Conn) -> bool {
        self.answered && conn.requests > 1
    }

    /// What the ledger shows until the use ends.
    pub(super) fn open(self, conn: &Conn) -> OpenNow {
        OpenNow::new(self.begun, self.begun && self.is_reused(conn), self.has_saved(conn))
    }

    /// What the end of the use adds to the ledger.
    pub(super) fn served(self, conn: &Conn, fixed: &Fixed) -> Served {
        Served {
            request: self.begun,
            reused: self.begun && self.is_reused(conn),
            saved: self.has_saved(conn),
            is_answered: self.answered,
            answered: conn.requests - u64::from(self.begun && !self.answered),
            drained: self.is_draining.then_some(fixed.id),
        }
    }
}

impl Fixed {
    /// How long its connection may be kept: see [`Kept::terms`].
    pub(super) fn terms(&self, conn: &Conn, stay: Option<Duration>, epoch: u64) -> Terms {
        Terms {
            used: Some(conn.used_at),
            stay,
            until: self.until,
            is_used: conn.requests > 0,
            is_of_old_network: self.epoch != epoch,
        }
    }

    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the connection where it can be closed from outside; it comes back if that has been asked for already.
    pub(super) fn park(
        &self,
        conn: Box<Conn>,
        progress: Progress,
        direction: Direction,
        waker: Option<Waker>,
    ) -> Result<(), (Box<Conn>, DropReason)> {
        let mut parked = self.parked();
        if let Some(reason) = parked.cut {
            return Err((conn, reason));
        }
        parked.progress = progress;
        parked.conn = Some(conn);
        let known = &mut parked.wakers[direction as usize];
        let old = match waker {
            Some(waker) => known.replace(waker),
            None => None,
        };
        drop(parked);
        // (It is the caller's code.)
        drop(old);
        Ok(())
    }

    /// Takes the connection back; `None`: it was closed meanwhile.
    pub(super) fn unpark(&self) -> Option<Box<Conn>> {
        self.parked().conn.take()
    }

    /// From now on it reads a rest that nobody wants, or does not after all.
    pub(super) fn set_draining(&self, is_draining: bool) {
        self.parked().is_draining = is_draining;
    }

    /// Its use ends: what was said of it does not concern the next. Answers why it is to be closed, if it is.
    pub(super) fn end_use(&self) -> Option<DropReason> {
        let mut parked = self.parked();
        parked.is_draining = false;
        let (cut, wakers) = (parked.cut, std::mem::take(&mut parked.wakers));
        drop(parked);
        drop(wakers);
        cut
    }

    /// The connection is to be closed, whoever uses it; if it is [`Abandoned`](DropReason::Abandoned), unless somebody
    /// still wants what it reads.
    pub(super) fn cut(&self, reason: DropReason) -> Cut {
        let mut parked = self.parked();
        if reason == DropReason::Abandoned && !parked.is_draining {
            return Cut::Spared;
        }
        parked.cut = Some(reason);
        let Some(conn) = parked.conn.take() else { return Cut::Marked };
        let served = parked.progress.served(&conn, self);
        let wakers = std::mem::take(&mut parked.wakers);
        drop(parked);
        for waker in wakers.into_iter().flatten() {
            contained(|| waker.wake());
        }
        Cut::Taken(conn, served)
    }
}

/// What a waker waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Which connection served a request. See [`Response::connection`](crate::Response::connection).
#[derive(Clone)]
pub struct ConnectionInfo {
    pub(super) fixed: Arc<Fixed>,
    pub(super) ordinal: u64,
    pub(super) reused: bool,
    pub(super) begun: Instant,
}

impl ConnectionInfo {
    /// A number that is unique among the connections of this client, counted from 1.
    pub fn id(&self) -> u64 {
        self.fixed.id
    }

    /// The address at the other end; `None` for a connector of your own.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.fixed.peer
    }

    /// The address at our end; `None` for a connector of your own.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.fixed.local
    }

    /// Whether the request found the connection already made: used before, or dialed ahead.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Which request on this connection it was, counted from 1.
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// How old the connection was when the request was sent.
    pub fn age(&self) -> Duration {
        self.begun.saturating_duration_since(self.fixed.made)
    }

    /// What the connection's handshake cost: TCP, proxy and TLS, without the name.
    pub fn handshake(&self) -> Duration {
        self.fixed.handshake
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo")
            .field("id", &self.id())
            .field("peer_addr", &self.peer_addr())
            .field("local_addr", &self.local_addr())
            .field("reused", &self.reused)
            .field("ordinal", &self.ordinal)
            .field("age", &self.age())
            .field("handshake", &self.handshake())
            .finish()
    }
}

impl Connection {
    #[allow(clippy::too_many_arguments, reason = "one for each thing that is known of it from the start")]
    pub(super) fn new(
        pool: Weak<PoolInner>,
        id: u64,
        stream: Stream,
        peer: Option<SocketAddr>,
        local: Option<SocketAddr>,
        runtime: Runtime,
        setup: Arc<Setup>,
        lifetime: Option<Duration>,
        epoch: u64,
        place: Place,
        route: Arc<Route>,
    ) -> Self {
        let made = time::now();
        let until = lifetime.map(|lifetime| time::after(made, lifetime));
        let fixed = Fixed {
            parked: Mutex::default(),
            open: Open::default(),
            place,
            pool,
            id,
            epoch,
            made,
            until,
            handshake: setup.milestones().handshake(),
            route,
            peer,
            local,
        };
        let conn = Conn {
            stream,
            latest_size: 0,
            timer: Timer::default(),
            runtime,
            requests: 0,
            more: None,
            was_idle: false,
            line_ends: 0,
            stay_until: None,
            used_at: made,
            setup: Some(setup),
        };
        Self { conn: Box::new(conn), fixed: Arc::new(fixed) }
    }

    pub(super) fn id(&self) -> u64 {
        self.fixed.id
    }

    pub(super) fn place(&self) -> Place {
        self.fixed.place
    }

    /// How long it may be kept, where the server keeps it idle for `stay` and the network is that of `epoch`.
    pub(super) fn terms(&self, stay: Option<Duration>, epoch: u64) -> Terms {
        self.fixed.terms(&self.conn, stay, epoch)
    }

    /// Closes the connection and drops it. TLS says goodbye, without blocking.
    ///
    /// Returns the panic of a caller's transport, so that the slot is released first. [`go_on`] then rethrows the panic in the
    /// request that the connection belongs to.
    pub(super) fn close(self, reason: DropReason) -> thread::Result<()> {
        let mut this = self;
        let closed = catch_unwind(AssertUnwindSafe(|| {
            tracing::trace!(target: "handclasp", id = this.fixed.id, ?reason, "connection closed");
            this.stream.close();
        }));
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(this)));
        closed.and(dropped)
    }
}

impl Deref for Connection {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

impl Conn {
    /// How long the server keeps it idle from now on: as it said with its last response, or before, if there was none since.
    pub(super) fn stay(
        &mut self,
        said: Option<Duration>,
        is_answered: bool,
        now: Instant,
    ) -> Option<Duration> {
        if is_answered {
            self.stay_until = said.map(|stay| time::after(now, stay));
        }
        self.stay_until.map(|until| until.saturating_duration_since(now))
    }

    /// Whether the connection was idle for so long that the machine may have been suspended meanwhile.
    #[inline]
    pub(super) fn has_dozed(&self, now: Instant) -> bool {
        now >= self.used_at + DOZE
    }

    /// Looks at it, as at a connection that is idle or was: what means nothing is discarded.
    #[inline]
    pub(crate) fn look(&mut self) -> Look {
        match self.stream.look() {
            Look::Spoke => self.stream.look_closer(&mut self.line_ends),
            look => look,
        }
    }

    /// Whether it has carried a request, or was idle.
    pub(super) fn is_reused(&self) -> bool {
        self.was_idle || self.requests > 0
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// It comes from the shelf: from now on it counts as reused.
    pub(crate) fn set_idle(&mut self) {
        self.was_idle = true;
        self.setup = None;
    }
}

/// Runs a caller's code that does not belong to the current request, such as the waker of another task. A panic in that code
/// ends here. The panic hook has reported it.
pub(super) fn contained<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Rethrows the panic of a [`close`](Kept::close), unless the thread is already panicking.
pub(super) fn go_on(closed: thread::Result<()>) {
    if let Err(panic) = closed
        && !thread::panicking()
    {
        resume_unwind(panic);
    }
}

/// Connections idle for less than this skip the suspend check.
pub(super) const DOZE: Duration = Duration::from_millis(100);
