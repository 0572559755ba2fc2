//! A connection, and the right to use it.
//!
//! A [`Lease`] is one counted slot of the pool with the connection in it. However it ends (checked in, buried,
//! turned into a new dial, or dropped in the middle of an exchange), the slot's count follows. It knows nothing of
//! HTTP. Invariant: no lock is held while a socket is closed.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::action::{Actions, Served};
use super::conn::{Conn, ConnectionInfo};
use super::hosts::Place;
use super::stats::DropReason;
use super::{Shared, Wait, Waiting};
use crate::connect::Look;
use crate::time;
use crate::trace::Setup;

/// A connection that is in use. Dropped in the middle of an exchange, it closes the connection.
#[derive(Debug)]
pub(crate) struct Lease {
    conn: Option<Box<Conn>>,
    place: Place,
    pool: Weak<Shared>,
    /// Whether a request was begun during this lease.
    begun: bool,
    /// Whether it was answered.
    answered: bool,
}

impl Lease {
    pub(crate) fn new(conn: Box<Conn>, place: Place, pool: Weak<Shared>) -> Self {
        Self { conn: Some(conn), place, pool, begun: false, answered: false }
    }

    /// The request that was begun got its response.
    pub(crate) fn set_answered(&mut self) {
        self.answered = true;
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("only the consuming methods take it")
    }

    /// Whether a request on it is on a connection that the peer may have closed meanwhile: used or kept before.
    pub(crate) fn is_reused(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| self.is_reused_by(conn))
    }

    fn is_reused_by(&self, conn: &Conn) -> bool {
        conn.was_idle || conn.requests > u64::from(self.begun)
    }

    /// How the connection was made, if this is its first request.
    pub(crate) fn setup(&self) -> Option<&Arc<Setup>> {
        self.conn.as_ref().and_then(|conn| conn.setup.as_ref())
    }

    /// Real, and past any cached readiness: is it silent right now?
    pub(crate) fn look(&mut self) -> Look {
        self.conn().stream.look()
    }

    /// A request is about to be written.
    pub(crate) fn begin(&mut self, now: Instant) -> ConnectionInfo {
        let reused = self.is_reused();
        self.begun = true;
        let conn = self.conn();
        conn.requests += 1;
        conn.setup = None;
        ConnectionInfo {
            ordinal: conn.requests,
            reused,
            age: now.saturating_duration_since(conn.fixed.made),
            fixed: conn.fixed.clone(),
        }
    }

    /// Gives the connection back, proven reusable. `stay`: how long the server will keep it idle, and `more`: how many
    /// more requests it takes, if it said so.
    pub(crate) fn checkin(mut self, stay: Option<Duration>, more: Option<u64>) {
        let Some(conn) = &mut self.conn else { return };
        // What was said before still holds, less what was sent since.
        conn.more = more.or_else(|| conn.more.map(|more| more.saturating_sub(u64::from(self.begun))));
        if conn.more == Some(0) {
            return self.bury(DropReason::NotReusable);
        }
        let Some(mut conn) = self.conn.take() else { return };
        let served = self.served(&conn);
        conn.timer.forget_task();
        match self.pool.upgrade() {
            Some(shared) => shared.checkin(self.place, conn, stay, served),
            None => conn.close(DropReason::Shutdown),
        }
    }

    /// Closes the connection, and frees its slot.
    pub(crate) fn bury(mut self, reason: DropReason) {
        self.close(reason);
    }

    /// Closes the connection, which was dead when it was looked at; the request takes the next idle one, or waits
    /// at the head of the queue for a dial in this slot.
    pub(crate) fn replace(mut self, reason: DropReason, fresh: Option<Duration>) -> Result<Self, Wait> {
        let (conn, pool) = self.take();
        let answered = self.served(&conn).answered;
        conn.close(reason);
        pool.replace(self.place, answered, reason, fresh)
    }

    /// Closes the connection, which died under a request that will be sent again: its slot becomes a dial for it.
    pub(crate) fn redial(mut self, reason: DropReason) -> Wait {
        let (conn, pool) = self.take();
        let served = self.served(&conn);
        conn.close(reason);
        let waiting = Arc::new(Waiting::new());
        let mut actions = Actions::new();
        let now = time::now();
        let ticket =
            pool.lock().policy.redial(self.place, served, reason, waiting.clone(), now, &mut actions);
        pool.perform(actions);
        Wait::new(pool, ticket, waiting)
    }

    fn take(&mut self) -> (Box<Conn>, Arc<Shared>) {
        let conn = self.conn.take().expect("only the consuming methods take it");
        let pool = self.pool.upgrade().expect("the request that asks again holds its client");
        (conn, pool)
    }

    fn served(&self, conn: &Conn) -> Served {
        let saved = self.answered && conn.requests > 1;
        Served {
            request: self.begun,
            reused: self.begun && self.is_reused_by(conn),
            saved: saved.then_some(conn.fixed.handshake),
            answered: conn.requests - u64::from(self.begun && !self.answered),
        }
    }

    fn close(&mut self, reason: DropReason) {
        let Some(conn) = self.conn.take() else { return };
        let served = self.served(&conn);
        conn.close(reason);
        if let Some(shared) = self.pool.upgrade() {
            shared.release(self.place, served, reason);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.close(DropReason::Abandoned);
    }
}
