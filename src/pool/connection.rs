//! A connection of the pool, and its description for callers.
//!
//! This file knows nothing of HTTP or of the request that uses the connection. Invariants: the facts about a connection
//! that never change are stored once and shared. While no task polls a connection in use, the connection is parked so
//! that [`Fixed::cut`] can close it from outside.

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
use super::observer::Observer;
use super::policy::actions::{Served, Terms};
use super::policy::places::Place;
use super::policy::reasons::DropReason;
use super::reserved::Reservation;
use super::{PoolInner, Runtime};
use crate::connect::{Look, Seat, Stream, TlsInfo};
use crate::time;
use crate::timer::Timer;
use crate::trace::{Milestones, Setup, SpanLink};

/// One connection, in two parts: `conn` moves to the request that uses the connection, and `fixed` stays reachable
/// from the pool.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) conn: Box<Conn>,
    pub(super) fixed: Arc<Fixed>,
}

/// The part of a connection that moves to the request that uses the connection. The fields that the pool touches for
/// each request stand together, so that they share cache lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Conn {
    pub(super) runtime: Runtime,
    /// Number of requests that were begun on the connection.
    pub(super) requests: u64,
    /// Number of further requests that the server accepts on this connection, if the server announced one.
    pub(super) more: Option<u64>,
    /// Time until which the server keeps the connection idle, if the latest response announced one.
    stay_until: Option<Instant>,
    /// Time at which the latest use ended. Before the first use, the time at which the connection was made.
    pub(super) used_at: Instant,
    /// Milestones of the dial, until the first request has reported the milestones.
    pub(super) dial: Option<Box<Milestones>>,
    /// Whether the connection was ever idle. The server may have closed the connection during that time.
    pub(super) was_idle: bool,
    /// Number of CR and LF bytes discarded while the connection has been idle.
    pub(super) line_ends: u16,
    /// Approximate size of the latest response in bytes.
    pub(super) latest_size: u32,
    /// Time in microseconds between the start of an attempt and the moment from which an answer is believed. Zero if
    /// every answer is believed.
    pub(super) believed_after: u32,
    /// Timer that the requests on this connection share one after another: see [`Timer`].
    pub(crate) timer: Timer,
    pub(crate) stream: Stream,
}

/// The part of a connection that the pool can reach while a request holds the [`Conn`]. `Fixed` has the facts that
/// never change, and the slot in which the [`Conn`] is parked.
///
/// The reference to the pool is weak, so that a connection does not keep the pool's contents alive.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Fixed {
    /// State of the current request, for `Pool::stats`.
    pub(super) open: Open,
    /// Place in the policy where the connection is counted until it is closed.
    pub(super) place: Place,
    pub(super) id: u64,
    /// Network epoch in which the connection was dialed.
    pub(super) epoch: u64,
    /// Time after which the connection is too old to be used.
    pub(super) until: Option<Instant>,
    pub(super) handshake: Duration,
    pub(super) pool: Weak<PoolInner>,
    parked: Mutex<Parked>,
    pub(super) made: Instant,
    pub(super) route: Arc<Route>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    /// The seat at the peer's address, if the client spreads its connections.
    pub(super) seat: Option<Seat>,
    /// Parameters of the TLS handshake. `None` for http, or if a custom connector made the connection.
    pub(super) tls: Option<Arc<TlsInfo>>,
    /// Observer that measures the connection when the connection is closed.
    observer: Option<Arc<dyn Observer>>,
    /// The link to the span of the dial, for the spans of requests. `None` if no subscriber wanted the span.
    setup_link: Option<SpanLink>,
}

/// The state of the request under way on a connection, for `Pool::stats`. The policy counts a request only when its use
/// of the connection ends. The lease writes this state without a lock.
#[derive(Debug, Default)]
pub(super) struct Open(AtomicU8);

/// Content of [`Open`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OpenNow(u8);

impl Open {
    /// Notes how far the request has come.
    pub(super) fn note(&self, now: OpenNow) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// Notes that the caller has a response whose content was not read to the end.
    pub(super) fn set_unread(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) | OpenNow::UNREAD, Ordering::Relaxed);
    }

    /// Returns how far the request has come.
    pub(super) fn now(&self) -> OpenNow {
        OpenNow(self.0.load(Ordering::Relaxed))
    }
}

impl OpenNow {
    const SENT: u8 = 1;
    const REUSED: u8 = 2;
    const SAVED: u8 = 4;
    const UNREAD: u8 = 8;

    /// State of a reserved connection that no request uses.
    pub(super) const RESERVED: Self = Self(16);

    fn new(is_sent: bool, is_reused: bool, has_saved: bool) -> Self {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        Self(flag(is_sent, Self::SENT) | flag(is_reused, Self::REUSED) | flag(has_saved, Self::SAVED))
    }

    /// Whether a request was sent.
    pub(super) fn is_sent(self) -> bool {
        self.0 & Self::SENT != 0
    }

    /// Whether the connection had been used or idle before.
    pub(super) fn is_reused(self) -> bool {
        self.0 & Self::REUSED != 0
    }

    /// Whether the request was answered on a connection that had carried another request before.
    pub(super) fn has_saved(self) -> bool {
        self.0 & Self::SAVED != 0
    }

    /// Whether the connection is reserved, and no request uses it.
    pub(super) fn is_reserved(self) -> bool {
        self == Self::RESERVED
    }

    /// Whether the caller has a response whose content was not read to the end.
    pub(super) fn is_unread(self) -> bool {
        self.0 & Self::UNREAD != 0
    }
}

/// Slot for the [`Conn`] of a connection in use while no task polls the connection.
#[derive(Debug, Default)]
#[repr(C)]
struct Parked {
    /// Whether the connection reads the remainder of an abandoned response.
    is_draining: bool,
    /// Reason to close the connection as soon as the task that polls the connection has ended its poll.
    cut: Option<DropReason>,
    /// Wakers of the tasks that wait to read from the connection and, after an upgrade, to write to the connection.
    wakers: [Option<Waker>; 2],
    conn: Option<Box<Conn>>,
    /// Progress of the request that uses the connection.
    progress: Progress,
    /// Reservation to which the connection returns after the request.
    reservation: Option<Arc<Reservation>>,
}

/// Progress of the request that uses a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Whether a request was begun.
    pub(super) begun: bool,
    /// Whether the request was answered.
    pub(super) answered: bool,
    /// Whether the connection reads the remainder of an abandoned response.
    pub(super) is_draining: bool,
}

/// Outcome of [`Fixed::cut`].
#[derive(Debug)]
pub(super) enum Cut {
    /// The connection, which the caller has to close and to release.
    Taken(Box<Conn>, Served),
    /// A task is polling the connection and will close it after the poll.
    Marked,
    /// The connection stays open, because the reason does not apply to this connection.
    Spared,
}

impl Progress {
    /// Whether the connection was used or idle before this use, so that the server may have closed the connection.
    pub(super) fn is_reused(self, conn: &Conn) -> bool {
        conn.was_idle || conn.requests > u64::from(self.begun)
    }

    /// Whether the request was answered on a connection that had carried another request before.
    fn has_saved(self, conn: &Conn) -> bool {
        self.answered && conn.requests > 1
    }

    /// Returns the state of the request under way. `Pool::stats` shows this state until the use ends.
    pub(super) fn open(self, conn: &Conn) -> OpenNow {
        OpenNow::new(self.begun, self.begun && self.is_reused(conn), self.has_saved(conn))
    }

    /// Returns the counts that the end of the use adds to the ledger.
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
    /// Returns how long the connection may be kept: see [`Connection::terms`].
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

    /// Parks the connection where [`cut`](Self::cut) can take it. If the connection was marked to be closed, returns the
    /// connection and the reason as an error.
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
        // A waker is the caller's code, so the old waker is dropped without the lock.
        drop(old);
        Ok(())
    }

    /// Takes the parked connection back. Returns `None` if the connection was closed.
    pub(super) fn unpark(&self) -> Option<Box<Conn>> {
        self.parked().conn.take()
    }

    /// Sets or removes the reservation to which the connection returns, and returns the earlier one.
    pub(super) fn set_reservation(&self, by: Option<Arc<Reservation>>) -> Option<Arc<Reservation>> {
        std::mem::replace(&mut self.parked().reservation, by)
    }

    /// Returns the reservation to which the connection returns.
    pub(super) fn reservation(&self) -> Option<Arc<Reservation>> {
        self.parked().reservation.clone()
    }

    /// Sets whether the connection reads the remainder of an abandoned response.
    pub(super) fn set_draining(&self, is_draining: bool) {
        self.parked().is_draining = is_draining;
    }

    /// Ends the use of the connection, and drops the wakers, so that the next use starts without wakers. Returns the
    /// reason to close the connection, if there is one.
    pub(super) fn end_use(&self) -> Option<DropReason> {
        let mut parked = self.parked();
        parked.is_draining = false;
        let (cut, wakers) = (parked.cut, std::mem::take(&mut parked.wakers));
        drop(parked);
        drop(wakers);
        cut
    }

    /// Takes the parked connection so that the caller closes the connection, or marks the connection to be closed by
    /// the task that polls the connection. With [`Abandoned`](DropReason::Abandoned), a connection that is not draining
    /// is spared.
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

/// Direction of the I/O that the task of a waker waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Describes the connection that served a request. See [`Response::connection`](crate::Response::connection), and the page
/// on [reuse](crate::manual::reuse).
///
/// ```no_run
/// # async fn run() -> handclasp::Result<()> {
/// let response = handclasp::get("https://example.org/").await?;
/// let connection = response.connection();
/// println!("connection {}, request {} on it", connection.id(), connection.ordinal());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConnectionInfo {
    /// `None` for a response that did not come over a connection.
    pub(super) fixed: Option<Arc<Fixed>>,
    pub(super) ordinal: u64,
    pub(super) reused: bool,
    pub(super) begun: Instant,
}

impl ConnectionInfo {
    /// Creates the description of no connection, for a response that was made from an `http::Response`.
    pub(crate) fn none() -> Self {
        Self { fixed: None, ordinal: 0, reused: false, begun: time::now() }
    }

    /// Returns the link to the span of the dial that made the connection.
    pub(crate) fn setup_link(&self) -> Option<&SpanLink> {
        self.fixed.as_ref()?.setup_link.as_ref()
    }

    /// Returns the connection's number, counted from 1. The number is unique among the connections of this client.
    ///
    /// The number is 0 for a response that was made from an [`http::Response`], which did not come over a connection. Its
    /// ordinal, age and handshake are 0 too.
    pub fn id(&self) -> u64 {
        self.fixed.as_ref().map_or(0, |fixed| fixed.id)
    }

    /// Returns the address of the server or of the proxy. `None` for a connection that a custom connector made, and
    /// for a unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.fixed.as_ref()?.peer
    }

    /// Returns the address of this end. `None` for a connection that a custom connector made, and for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.fixed.as_ref()?.local
    }

    /// Returns the parameters of the TLS handshake, with the server's certificates. `None` for http, and for a
    /// connection that a custom connector made. For an http URL through an https proxy, returns the parameters of TLS
    /// with the proxy.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.fixed.as_ref()?.tls.as_deref()
    }

    /// Whether the connection existed before the request: an earlier request used it, or the pool dialed it ahead.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Returns the position of the request among the requests on this connection, counted from 1.
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Returns how old the connection was when the request was sent.
    pub fn age(&self) -> Duration {
        self.fixed.as_ref().map_or(Duration::ZERO, |fixed| self.begun.saturating_duration_since(fixed.made))
    }

    /// Returns how long the connection's handshake took: TCP, proxy and TLS, without the lookup of the name.
    pub fn handshake(&self) -> Duration {
        self.fixed.as_ref().map_or(Duration::ZERO, |fixed| fixed.handshake)
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo")
            .field("id", &self.id())
            .field("peer_addr", &self.peer_addr())
            .field("local_addr", &self.local_addr())
            .field("tls", &self.tls())
            .field("reused", &self.reused)
            .field("ordinal", &self.ordinal)
            .field("age", &self.age())
            .field("handshake", &self.handshake())
            .finish()
    }
}

impl Connection {
    #[allow(
        clippy::too_many_arguments,
        reason = "each argument is a fact that is known when the connection is made"
    )]
    pub(super) fn new(
        pool: Weak<PoolInner>,
        id: u64,
        stream: Stream,
        peer: Option<SocketAddr>,
        local: Option<SocketAddr>,
        tls: Option<Arc<TlsInfo>>,
        runtime: Runtime,
        setup: &Setup,
        lifetime: Option<Duration>,
        epoch: u64,
        place: Place,
        route: Arc<Route>,
        seat: Option<Seat>,
    ) -> Self {
        let (made, milestones) = (time::now(), setup.milestones());
        let observer = pool.upgrade().and_then(|inner| inner.config.observer.clone());
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
            handshake: milestones.handshake(),
            route,
            peer,
            local,
            seat,
            tls,
            observer,
            setup_link: setup.link(),
        };
        let conn = Conn {
            stream,
            latest_size: 0,
            believed_after: 0,
            timer: Timer::default(),
            runtime,
            requests: 0,
            more: None,
            was_idle: false,
            line_ends: 0,
            stay_until: None,
            used_at: made,
            dial: Some(Box::new(milestones)),
        };
        Self { conn: Box::new(conn), fixed: Arc::new(fixed) }
    }

    pub(super) fn id(&self) -> u64 {
        self.fixed.id
    }

    pub(super) fn place(&self) -> Place {
        self.fixed.place
    }

    /// Returns how long the connection may be kept, if the server keeps it idle for `stay` and the network epoch is
    /// `epoch`.
    pub(super) fn terms(&self, stay: Option<Duration>, epoch: u64) -> Terms {
        self.fixed.terms(&self.conn, stay, epoch)
    }

    /// Closes the connection and drops it. TLS sends a close_notify, without blocking.
    ///
    /// Returns the panic of a caller's transport as an error, so that the pool can free the room of the connection. After
    /// that, [`go_on`] rethrows the panic in the request that the connection belongs to.
    pub(super) fn close(self, reason: DropReason) -> thread::Result<()> {
        let mut this = self;
        let closed = catch_unwind(AssertUnwindSafe(|| {
            tracing::trace!(target: "handclasp", id = this.fixed.id, ?reason, "connection closed");
            this.stream.close();
        }));
        if let Some(observer) = &this.fixed.observer {
            let age = time::now().saturating_duration_since(this.fixed.made);
            contained(|| observer.closed(&this.fixed.route, age, reason));
        }
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
    /// Returns how long the server keeps the connection idle from now on. If a request was sent, the timeout `said` of
    /// its response replaces the earlier timeout.
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

    /// Whether the connection was idle for so long that the machine may have been suspended since its last use.
    #[inline]
    pub(super) fn has_dozed(&self, now: Instant) -> bool {
        now >= self.used_at + DOZE
    }

    /// Looks at a connection that is or was idle. Discards line ends, because line ends mean nothing between responses.
    #[inline]
    pub(crate) fn look(&mut self) -> Look {
        match self.stream.look() {
            Look::Spoke => self.stream.look_closer(&mut self.line_ends),
            look => look,
        }
    }

    /// Whether the connection has carried a request or was idle.
    pub(super) fn is_reused(&self) -> bool {
        self.was_idle || self.requests > 0
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Marks the connection as idle before its next use, so that the connection counts as reused.
    pub(crate) fn set_idle(&mut self) {
        self.was_idle = true;
        self.dial = None;
    }
}

/// Runs a caller's code that does not belong to the current request, such as the waker of another task. Returns `None`
/// if that code panics, because the panic hook has already reported the panic.
pub(super) fn contained<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Rethrows the panic of a [`close`](Connection::close), unless the thread is already panicking.
pub(super) fn go_on(closed: thread::Result<()>) {
    if let Err(panic) = closed
        && !thread::panicking()
    {
        resume_unwind(panic);
    }
}

/// Idle time below which a request does not check whether the machine was suspended.
pub(super) const DOZE: Duration = Duration::from_millis(100);
