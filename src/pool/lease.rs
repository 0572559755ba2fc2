//! A lease: a connection, and the right to use it.
//!
//! A [`Lease`] counts as one connection under the limits until the lease ends. A lease may be checked in, buried, turned
//! into a new dial, or dropped in the middle of an exchange. This file knows nothing of HTTP. Invariants: no lock is held
//! while a socket is closed. While no task polls the lease, its connection is parked where a shutdown can close it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::connection::{Conn, Connection, ConnectionInfo, Direction, Fixed, OpenNow, Progress, go_on};
use super::events::PoolEventKind;
use super::policy::actions::{Actions, Served};
use super::policy::reasons::DropReason;
use super::reserved::Reservation;
use super::{PoolInner, Wait, Waiter};
use crate::connect::{Look, ProxyServer, Via};
use crate::time;
use crate::trace::Milestones;

/// Error of a poll that finds its connection closed, because the pool closed the connection while no task polled it.
#[derive(Debug)]
pub(crate) struct Gone;

/// A connection in use. A lease that is dropped in the middle of an exchange closes the connection.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The connection. `None` while the connection is parked, and after the connection was closed.
    conn: Option<Box<Conn>>,
    /// The facts of the connection. `None` only after the end of the lease.
    fixed: Option<Arc<Fixed>>,
    progress: Progress,
    /// Whether this lease has parked the connection. The parked connection of another lease is not taken.
    is_parked: bool,
    /// Whether the connection returns to a reservation when its request ends. [`Fixed`] has the reservation.
    is_reserved: bool,
}

impl Lease {
    pub(super) fn new(connection: Connection) -> Self {
        let Connection { conn, fixed } = connection;
        Self {
            conn: Some(conn),
            fixed: Some(fixed),
            progress: Progress::default(),
            is_parked: false,
            is_reserved: false,
        }
    }

    /// Returns the connection, unless it is parked or closed.
    pub(super) fn held(&self) -> Option<(&Conn, &Fixed)> {
        self.conn.as_deref().zip(self.fixed.as_deref())
    }

    /// Takes the connection out of the lease and ends the lease.
    fn let_go(&mut self) -> Option<Connection> {
        let conn = self.conn.take()?;
        Some(Connection { conn, fixed: self.fixed.take()? })
    }

    /// Returns the pool that the connection belongs to, unless the pool is gone.
    pub(super) fn pool(&self) -> Option<Arc<PoolInner>> {
        self.fixed.as_ref()?.pool.upgrade()
    }

    /// Takes the parked connection back at the start of a poll. Fails if the connection was closed.
    #[inline]
    pub(crate) fn resume(&mut self) -> Result<(), Gone> {
        if std::mem::take(&mut self.is_parked) {
            self.conn = self.fixed.as_ref().and_then(|fixed| fixed.unpark());
        }
        if self.conn.is_some() { Ok(()) } else { Err(Gone) }
    }

    /// Parks the connection until the task of `cx`, if there is one, is woken. If the pool has marked the connection to
    /// be closed, closes the connection and fails.
    pub(crate) fn park(&mut self, direction: Direction, cx: Option<&mut Context<'_>>) -> Result<(), Gone> {
        // The waker is cloned before the connection is taken, because a waker is the caller's code and may panic.
        let waker = cx.map(|cx| cx.waker().clone());
        let (Some(conn), Some(fixed)) = (self.conn.take(), &self.fixed) else { return Ok(()) };
        // `is_parked` is set before the connection is parked, so that a panic while parking does not lose the connection.
        self.is_parked = true;
        match fixed.park(conn, self.progress, direction, waker) {
            Ok(()) => Ok(()),
            Err((conn, reason)) => {
                self.is_parked = false;
                self.conn = Some(conn);
                self.close(reason, None);
                Err(Gone)
            }
        }
    }

    /// Asks the policy whether the remainder of an abandoned response may be read. If so, parks the connection and
    /// returns the runtime on which the remainder is read.
    pub(crate) fn begin_drain(&mut self) -> Option<Handle> {
        self.resume().ok()?;
        if self.is_reserved {
            return self.begin_reserved_drain();
        }
        let inner = self.pool()?;
        let (conn, fixed) = self.held()?;
        let terms = fixed.terms(conn, None, inner.epoch());
        let runtime = conn.runtime.handle.clone();
        // The flag is set before the policy counts the drain, because from that moment on another request may take the
        // connection's room.
        fixed.set_draining(true);
        let is_draining = inner.lock().policy.begin_drain(fixed.place, fixed.id, terms, time::now());
        self.progress.is_draining = is_draining;
        if !is_draining {
            self.fixed.as_ref()?.set_draining(false);
            return None;
        }
        // The connection is parked because the runtime may never poll the connection, and a shutdown must be able to
        // close the connection.
        self.park(Direction::Read, None).ok()?;
        Some(runtime)
    }

    /// Notes that the policy counts the connection as draining, although no remainder is read.
    pub(super) fn count_as_draining(&mut self) {
        self.progress.is_draining = true;
    }

    /// Notes that the caller has the response, and has not read its content to the end.
    pub(crate) fn set_unread(&self) {
        if let Some(fixed) = &self.fixed {
            fixed.open.set_unread();
        }
    }

    /// Notes that the head of the response has arrived.
    pub(crate) fn set_answered(&mut self) {
        self.progress.answered = true;
        self.note_open();
    }

    /// Notes the state of the request under way, for the pool's ledger.
    #[inline]
    fn note_open(&self) {
        if let Some((conn, fixed)) = self.held() {
            fixed.open.note(self.progress.open(conn));
        }
    }

    /// Returns the approximate size in bytes of the latest response on the connection, or 0 before the first
    /// response.
    pub(crate) fn latest_size(&self) -> usize {
        self.conn.as_ref().map_or(0, |conn| conn.latest_size as usize)
    }

    /// Returns the time between the start of an attempt and the moment from which an answer is believed. Returns `None`
    /// if every answer is believed.
    #[inline]
    pub(crate) fn believed_after(&self) -> Option<Duration> {
        match self.conn.as_ref()?.believed_after {
            0 => None,
            micros => Some(Duration::from_micros(micros.into())),
        }
    }

    /// Notes the approximate size of the response in bytes.
    pub(crate) fn note_size(&mut self, bytes: u64) {
        if let Some(conn) = &mut self.conn {
            conn.latest_size = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("only the consuming methods take it")
    }

    /// Whether the connection was used or idle before, so that the server may have closed the connection.
    pub(crate) fn is_reused(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| self.progress.is_reused(conn))
    }

    /// Returns the number of the connection and the address of the peer.
    pub(crate) fn id_and_peer(&self) -> (u64, Option<SocketAddr>) {
        self.fixed.as_ref().map_or((0, None), |fixed| (fixed.id, fixed.peer))
    }

    /// Returns the proxy that forwards the requests on this connection, or `None` if no proxy forwards them.
    pub(crate) fn forwarder(&self) -> Option<&ProxyServer> {
        match self.fixed.as_ref()?.route.via() {
            Via::Forward(proxy) => Some(proxy),
            _ => None,
        }
    }

    /// Returns the milestones of the dial that made the connection, if the current request is the first on the connection.
    pub(crate) fn dial(&self) -> Option<&Milestones> {
        self.conn.as_ref().and_then(|conn| conn.dial.as_deref())
    }

    /// Looks at the connection by a system call that does not block, because cached readiness may be out of date.
    /// Discards line ends on a connection that was used or idle before. Line ends on a new connection count as
    /// unsolicited bytes.
    pub(crate) fn look(&mut self) -> Look {
        if self.is_reused() { self.conn().look() } else { self.conn().stream.look() }
    }

    /// Notes that a request is about to be written. Returns the description of the connection.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant) -> ConnectionInfo {
        let reused = self.is_reused();
        self.progress.begun = true;
        let conn = self.conn();
        conn.requests += 1;
        conn.dial = None;
        let ordinal = conn.requests;
        self.note_open();
        ConnectionInfo { ordinal, reused, begun: now, fixed: self.fixed.clone() }
    }

    /// Gives back a connection that can be reused. `stay` is the time for which the server keeps the connection
    /// idle, and `more` is the number of further requests that the server accepts on the connection. Each of the two is
    /// `None` if the response did not announce the value.
    pub(crate) fn checkin(mut self, stay: Option<Duration>, more: Option<u64>, now: Instant) {
        if self.resume().is_err() {
            return;
        }
        let (Some(conn), Some(fixed)) = (&mut self.conn, &self.fixed) else { return };
        if let Some(reason) = fixed.end_use() {
            return self.bury(reason);
        }
        // If the response announced no number, the number of an earlier response holds, less the requests sent since.
        conn.more =
            more.or_else(|| conn.more.map(|more| more.saturating_sub(u64::from(self.progress.begun))));
        if conn.more == Some(0) {
            let why = "the server announced that it takes no more requests on this connection";
            return self.bury_because(DropReason::NotReusable, Some(why));
        }
        if self.is_reserved {
            return self.give_back(stay, now);
        }
        let pool = fixed.pool.upgrade();
        if let Some(reason) = pool.as_ref().and_then(|inner| inner.unwanted(conn, fixed)) {
            return self.bury(reason);
        }
        conn.timer.forget_task();
        let Some((connection, served)) = self.end() else { return };
        match pool {
            Some(inner) => inner.checkin(connection, stay, served, now),
            None => go_on(connection.close(DropReason::Shutdown)),
        }
    }

    /// Ends the use of a reserved connection by one request: counts the request, and returns the connection to its
    /// reservation.
    #[cold]
    fn give_back(mut self, stay: Option<Duration>, now: Instant) {
        if let (Some(conn), Some(fixed)) = (&mut self.conn, &self.fixed) {
            // If the drop of the caller's waker panics, the lease still has its reservation, and ends it.
            conn.timer.forget_task();
            let served = self.progress.served(conn, fixed);
            if served.request {
                conn.used_at = now;
                conn.line_ends = 0;
            }
            conn.stay(stay, served.request, now);
            if let Some(pool) = fixed.pool.upgrade() {
                let mut state = pool.lock();
                // The state of the request is replaced, because the policy counts the request from this point on.
                fixed.open.note(OpenNow::RESERVED);
                state.policy.count_reserved(fixed.place, served);
            }
        }
        self.progress = Progress::default();
        match self.take_reservation() {
            Some(reservation) => reservation.put_back(self),
            None => self.bury(DropReason::Reserved),
        }
    }

    /// Begins to read the remainder of an abandoned response on a reserved connection. The policy is not asked, because
    /// the connection takes its room even while it reads nothing, so that no other request can have this room.
    #[cold]
    fn begin_reserved_drain(&mut self) -> Option<Handle> {
        let runtime = self.conn.as_ref()?.runtime.handle.clone();
        self.fixed.as_ref()?.reservation()?.set_draining();
        self.park(Direction::Read, None).ok()?;
        Some(runtime)
    }

    /// Prepares a connection that was just taken from the pool for a reservation. From now on the connection counts as
    /// reused, because the server may close it before the first request. Nothing is written now, and so the connection
    /// ends its TCP handshake here.
    pub(super) fn begin_reservation(&mut self) {
        self.conn().set_idle();
        self.send_held_ack();
        if let Some(fixed) = &self.fixed {
            fixed.open.note(OpenNow::RESERVED);
        }
    }

    /// Makes the connection return to `reservation` when the request that begins now ends.
    pub(super) fn set_reservation(&mut self, reservation: Arc<Reservation>) {
        if let Some(fixed) = &self.fixed {
            fixed.set_reservation(Some(reservation));
            self.is_reserved = true;
        }
    }

    fn take_reservation(&mut self) -> Option<Arc<Reservation>> {
        self.is_reserved = false;
        self.fixed.as_ref()?.set_reservation(None)
    }

    /// Ends the reservation of the connection, if it has one, because the connection carries no further request.
    pub(crate) fn end_reservation(&mut self, reason: DropReason, why: Option<&'static str>) {
        if self.is_reserved
            && let Some(reservation) = self.take_reservation()
        {
            reservation.end(reason, why);
        }
    }

    /// Returns the description of a connection that no request uses.
    pub(crate) fn info(&self, now: Instant) -> ConnectionInfo {
        let ordinal = self.conn.as_ref().map_or(0, |conn| conn.requests);
        ConnectionInfo { ordinal, reused: self.is_reused(), begun: now, fixed: self.fixed.clone() }
    }

    /// Ends the handshake of the connection: after the first request was written, or before a time without requests.
    #[cold]
    pub(crate) fn send_held_ack(&self) {
        if let (Some(pool), Some(conn)) = (self.pool(), &self.conn) {
            pool.dialer.send_held_ack(&conn.stream);
        }
    }

    /// Notes that the connection failed without an answer. If it was new, the failure counts as one of its address.
    #[cold]
    pub(crate) fn note_unanswered(&self) {
        let (Some(pool), Some((conn, fixed))) = (self.pool(), self.held()) else { return };
        if let Some(peer) = fixed.peer.filter(|_| !self.progress.answered && !self.progress.is_reused(conn)) {
            pool.dialer.first_request_failed(peer, fixed.made);
        }
    }

    /// Closes the connection and frees its room.
    pub(crate) fn bury(mut self, reason: DropReason) {
        self.close(reason, None);
    }

    /// Closes the connection and frees its room. The pool's event shows the sentence `why` next to the reason.
    pub(crate) fn bury_because(mut self, reason: DropReason, why: Option<&'static str>) {
        self.close(reason, why);
    }

    /// Closes a connection that was dead when the request looked at it. Returns the next idle connection, or a wait at
    /// the head of the queue for a dial in the room of the dead connection.
    pub(crate) fn replace(self, reason: DropReason, fresh: Option<Duration>) -> Result<Self, Wait> {
        self.note_unanswered();
        let pool = self.pool();
        let taken = self.swap(reason, fresh);
        match pool {
            Some(pool) => pool.admit(taken, fresh, time::now()),
            None => taken,
        }
    }

    /// Closes the connection. Returns another idle connection, which `evict_if` may reject, or a wait for a dial.
    pub(super) fn swap(mut self, reason: DropReason, fresh: Option<Duration>) -> Result<Self, Wait> {
        let (connection, served, pool) = self.take();
        let (id, place) = (connection.id(), connection.place());
        let closed = connection.close(reason);
        let taken = pool.replace(place, id, served, reason, fresh);
        go_on(closed);
        taken
    }

    /// Closes the connection of a request that will be sent again. Returns a wait for a dial in the room of that
    /// connection. The pool's event shows the sentence `why` next to the reason.
    pub(crate) fn redial(mut self, reason: DropReason, why: Option<&'static str>) -> Wait {
        let (connection, served, pool) = self.take();
        let (id, place) = (connection.id(), connection.place());
        let closed = connection.close(reason);
        let waiter = Arc::new(Waiter::new());
        let mut actions = Actions::new();
        let now = time::now();
        let mut state = pool.lock();
        state.note(place, PoolEventKind::Closed { id, reason, why });
        let ticket = state.policy.redial(place, served, reason, waiter.clone(), now, &mut actions);
        state.note(place, PoolEventKind::Waited);
        state.note_actions(&mut actions, now);
        drop(state);
        pool.perform(actions);
        let wait = Wait::new(pool, ticket, waiter).resending();
        go_on(closed);
        wait
    }

    /// Ends the lease for a request that continues with another connection. Returns the connection, the counts that the
    /// use of the connection adds to the ledger, and the pool.
    fn take(&mut self) -> (Connection, Served, Arc<PoolInner>) {
        let pool = self.pool().expect("the request that asks again holds its client");
        self.end_use();
        let (connection, served) = self.end().expect("only the consuming methods take it");
        (connection, served, pool)
    }

    /// Drops the wakers of the tasks that polled the connection. This method is called before [`end`](Self::end), so that
    /// the lease still holds the connection if a waker panics.
    fn end_use(&self) {
        if let Some(fixed) = &self.fixed {
            fixed.end_use();
        }
    }

    /// Ends the lease. Returns the connection, and the counts that the use of the connection adds to the ledger.
    fn end(&mut self) -> Option<(Connection, Served)> {
        let connection = self.let_go()?;
        let served = self.progress.served(&connection.conn, &connection.fixed);
        Some((connection, served))
    }

    /// Closes the connection and frees its room, unless the connection was closed already.
    #[cold]
    fn close(&mut self, reason: DropReason, why: Option<&'static str>) {
        let is_gone = self.resume().is_err();
        if self.is_reserved {
            // Only a shutdown closes a reserved connection that its lease does not hold.
            self.end_reservation(if is_gone { DropReason::Shutdown } else { reason }, why);
        }
        if is_gone {
            return;
        }
        let pool = self.pool();
        self.end_use();
        let Some((connection, served)) = self.end() else { return };
        let (id, place) = (connection.id(), connection.place());
        let closed = connection.close(reason);
        if let Some(inner) = pool {
            inner.release(place, id, served, reason, why);
        }
        go_on(closed);
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        // Most leases have ended before their drop.
        if self.fixed.is_some() {
            self.close(DropReason::Abandoned, None);
        }
    }
}
