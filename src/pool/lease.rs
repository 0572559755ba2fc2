//! A connection, and the right to use it.
//!
//! A [`Lease`] is one counted slot of the pool with the connection in it. However it ends (checked in, buried,
//! turned into a new dial, or dropped in the middle of an exchange), the slot's count follows. It knows nothing of
//! HTTP. Invariants: no lock is held while a socket is closed; and while nobody polls it, its connection is parked,
//! where a shutdown can close it.

use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::connection::{Conn, Connection, ConnectionInfo, Direction, Fixed, Progress, go_on};
use super::events::PoolEventKind;
use super::policy::actions::{Actions, Served};
use super::policy::reasons::DropReason;
use super::{PoolInner, Wait, Waiter};
use crate::connect::Look;
use crate::time;
use crate::trace::Setup;

/// The connection was closed by the pool while nobody polled it.
#[derive(Debug)]
pub(crate) struct Gone;

/// A connection that is in use. Dropped in the middle of an exchange, it closes the connection.
#[derive(Debug)]
pub(crate) struct Lease {
    /// `None` while it is parked, and after it was closed.
    conn: Option<Box<Conn>>,
    /// `None` only when it is over.
    fixed: Option<Arc<Fixed>>,
    progress: Progress,
    /// What lies there is ours: after the lease's end, it is somebody else's.
    is_parked: bool,
}

impl Lease {
    pub(super) fn new(connection: Connection) -> Self {
        let Connection { conn, fixed } = connection;
        Self { conn: Some(conn), fixed: Some(fixed), progress: Progress::default(), is_parked: false }
    }

    /// The connection, while it is in hand.
    pub(super) fn held(&self) -> Option<(&Conn, &Fixed)> {
        self.conn.as_deref().zip(self.fixed.as_deref())
    }

    /// The same, and the lease is over.
    fn let_go(&mut self) -> Option<Connection> {
        let conn = self.conn.take()?;
        Some(Connection { conn, fixed: self.fixed.take()? })
    }

    /// The pool that it belongs to, unless that is gone.
    fn pool(&self) -> Option<Arc<PoolInner>> {
        self.fixed.as_ref()?.pool.upgrade()
    }

    /// Somebody polls it again. An error: it was closed meanwhile.
    #[inline]
    pub(crate) fn resume(&mut self) -> Result<(), Gone> {
        if std::mem::take(&mut self.is_parked) {
            self.conn = self.fixed.as_ref().and_then(|fixed| fixed.unpark());
        }
        if self.conn.is_some() { Ok(()) } else { Err(Gone) }
    }

    /// Nobody polls it until it wakes whoever did (if anybody waits for it). An error: it is to be closed, and was.
    pub(crate) fn park(&mut self, direction: Direction, cx: Option<&mut Context<'_>>) -> Result<(), Gone> {
        // Cloned before anything is taken or locked, because a waker is the caller's code.
        let waker = cx.map(|cx| cx.waker().clone());
        let (Some(conn), Some(fixed)) = (self.conn.take(), &self.fixed) else { return Ok(()) };
        // Set before the waker is cloned, so that a panic there does not lose the connection.
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

    /// The rest of the response is not wanted, and small: whether it may be read, and where.
    pub(crate) fn begin_drain(&mut self) -> Option<Handle> {
        self.resume().ok()?;
        let inner = self.pool()?;
        let (conn, fixed) = self.held()?;
        let terms = fixed.terms(conn, None, inner.epoch());
        let runtime = conn.runtime.handle.clone();
        // Before the policy knows: from then on, somebody may take it away.
        fixed.set_draining(true);
        let is_draining = inner.lock().policy.begin_drain(fixed.place, fixed.id, terms, time::now());
        self.progress.is_draining = is_draining;
        if !is_draining {
            self.fixed.as_ref()?.set_draining(false);
            return None;
        }
        // Until it is polled there, if it ever is, it lies where it can be taken away.
        self.park(Direction::Read, None).ok()?;
        Some(runtime)
    }

    /// The caller has the response now, and reads its content when it likes.
    pub(crate) fn set_unread(&self) {
        if let Some(fixed) = &self.fixed {
            fixed.open.set_unread();
        }
    }

    /// The request that was begun got its response: the head at least.
    pub(crate) fn set_answered(&mut self) {
        self.progress.answered = true;
        self.note_open();
    }

    /// Notes for the pool's ledger how far the use has come.
    #[inline]
    fn note_open(&self) {
        if let Some((conn, fixed)) = self.held() {
            fixed.open.note(self.progress.open(conn));
        }
    }

    /// How many bytes the latest response on it took, about; 0: there was none.
    pub(crate) fn latest_size(&self) -> usize {
        self.conn.as_ref().map_or(0, |conn| conn.latest_size as usize)
    }

    /// The response took about so many bytes.
    pub(crate) fn note_size(&mut self, bytes: u64) {
        if let Some(conn) = &mut self.conn {
            conn.latest_size = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("only the consuming methods take it")
    }

    /// Whether a request on it is on a connection that the peer may have closed meanwhile: used or kept before.
    pub(crate) fn is_reused(&self) -> bool {
        self.conn.as_ref().is_some_and(|conn| self.progress.is_reused(conn))
    }

    /// How the connection was made, if this is its first request.
    pub(crate) fn setup(&self) -> Option<&Arc<Setup>> {
        self.conn.as_ref().and_then(|conn| conn.setup.as_ref())
    }

    /// Looks at the connection: really, and past any cached readiness. A new connection has to be silent; on one that was
    /// used or kept before, what means nothing is discarded.
    pub(crate) fn look(&mut self) -> Look {
        if self.is_reused() { self.conn().look() } else { self.conn().stream.look() }
    }

    /// A request is about to be written.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant) -> ConnectionInfo {
        let reused = self.is_reused();
        self.progress.begun = true;
        let conn = self.conn();
        conn.requests += 1;
        conn.setup = None;
        let ordinal = conn.requests;
        self.note_open();
        let fixed = self.fixed.clone().expect("only the consuming methods take it");
        ConnectionInfo { ordinal, reused, begun: now, fixed }
    }

    /// Gives the connection back, proven reusable. `stay`: how long the server will keep it idle, and `more`: how many
    /// more requests it takes, if it said so.
    pub(crate) fn checkin(mut self, stay: Option<Duration>, more: Option<u64>, now: Instant) {
        if self.resume().is_err() {
            return;
        }
        let (Some(conn), Some(fixed)) = (&mut self.conn, &self.fixed) else { return };
        if let Some(reason) = fixed.end_use() {
            return self.bury(reason);
        }
        // What was said before still holds, less what was sent since.
        conn.more =
            more.or_else(|| conn.more.map(|more| more.saturating_sub(u64::from(self.progress.begun))));
        if conn.more == Some(0) {
            let why = "the server announced that it takes no more requests on this connection";
            return self.bury_because(DropReason::NotReusable, why);
        }
        let pool = fixed.pool.upgrade();
        if pool.as_ref().is_some_and(|inner| inner.is_unwanted(conn, fixed)) {
            return self.bury(DropReason::Evicted);
        }
        conn.timer.forget_task();
        let Some((connection, served)) = self.end() else { return };
        match pool {
            Some(inner) => inner.checkin(connection, stay, served, now),
            None => go_on(connection.close(DropReason::Shutdown)),
        }
    }

    /// Closes the connection, and frees its slot.
    pub(crate) fn bury(mut self, reason: DropReason) {
        self.close(reason, None);
    }

    /// Closes the connection, and frees its room. `why` is a sentence that the pool's event shows next to the reason.
    pub(crate) fn bury_because(mut self, reason: DropReason, why: &'static str) {
        self.close(reason, Some(why));
    }

    /// Closes the connection, which was dead when it was looked at; the request takes the next idle one, or waits
    /// at the head of the queue for a dial in this slot.
    pub(crate) fn replace(self, reason: DropReason, fresh: Option<Duration>) -> Result<Self, Wait> {
        let pool = self.pool();
        let taken = self.swap(reason, fresh);
        match pool {
            Some(pool) => pool.admit(taken, fresh, time::now()),
            None => taken,
        }
    }

    pub(super) fn swap(mut self, reason: DropReason, fresh: Option<Duration>) -> Result<Self, Wait> {
        let (connection, served, pool) = self.take();
        let (id, place) = (connection.id(), connection.place());
        let closed = connection.close(reason);
        let taken = pool.replace(place, id, served, reason, fresh);
        go_on(closed);
        taken
    }

    /// Closes the connection, which died under a request that will be sent again: its slot becomes a dial for it.
    pub(crate) fn redial(mut self, reason: DropReason) -> Wait {
        let (connection, served, pool) = self.take();
        let (id, place) = (connection.id(), connection.place());
        let closed = connection.close(reason);
        let waiter = Arc::new(Waiter::new());
        let mut actions = Actions::new();
        let now = time::now();
        let mut state = pool.lock();
        state.note(place, PoolEventKind::Closed { id, reason, why: None });
        let ticket = state.policy.redial(place, served, reason, waiter.clone(), now, &mut actions);
        state.note(place, PoolEventKind::Waited);
        state.note_actions(&actions, now);
        drop(state);
        pool.perform(actions);
        let wait = Wait::new(pool, ticket, waiter).resending();
        go_on(closed);
        wait
    }

    fn take(&mut self) -> (Connection, Served, Arc<PoolInner>) {
        let pool = self.pool().expect("the request that asks again holds its client");
        self.end_use();
        let (connection, served) = self.end().expect("only the consuming methods take it");
        (connection, served, pool)
    }

    /// Drops the wakers of the tasks that polled the connection. To be called before [`end`](Self::end), so that the lease still
    /// holds the connection if a waker panics.
    fn end_use(&self) {
        if let Some(fixed) = &self.fixed {
            fixed.end_use();
        }
    }

    /// What it adds to the ledger, and its connection.
    fn end(&mut self) -> Option<(Connection, Served)> {
        let connection = self.let_go()?;
        let served = self.progress.served(&connection.conn, &connection.fixed);
        Some((connection, served))
    }

    fn close(&mut self, reason: DropReason, why: Option<&'static str>) {
        if self.resume().is_err() {
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
    fn drop(&mut self) {
        self.close(DropReason::Abandoned, None);
    }
}
