//! A connection, and the right to use it.
//!
//! A [`Lease`] is one counted slot of the pool with the connection in it. However it ends (checked in, buried,
//! turned into a new dial, or dropped in the middle of an exchange), the slot's count follows. It knows nothing of
//! HTTP. Invariant: no lock is held while a socket is closed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::action::{Actions, Served, Terms};
use super::hosts::Place;
use super::stats::DropReason;
use super::{Runtime, Shared, Wait, Waiting};
use crate::connect::{Look, Stream};
use crate::time::{self, Timer};
use crate::trace::Setup;

/// One connection, as it is kept.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: Stream,
    /// Kept across requests; see [`Timer`].
    pub(crate) timer: Timer,
    fixed: Arc<Fixed>,
    runtime: Runtime,
    /// Requests that were begun on it.
    requests: u64,
    /// How many more the server takes, if it said so.
    more: Option<u64>,
    /// Whether it was ever idle: the peer may have closed it since.
    was_idle: bool,
    /// How it was made, until its first request has been told.
    setup: Option<Arc<Setup>>,
}

/// What never changes about a connection.
#[derive(Debug)]
struct Fixed {
    id: u64,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    made: Instant,
    /// From when on it is too old.
    until: Option<Instant>,
    /// The network that it was made in.
    epoch: u64,
    handshake: Duration,
}

/// Which connection served a request. See [`Response::connection`](crate::Response::connection).
#[derive(Clone)]
pub struct ConnectionInfo {
    fixed: Arc<Fixed>,
    ordinal: u64,
    reused: bool,
    age: Duration,
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
        self.age
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
            .field("age", &self.age)
            .field("handshake", &self.handshake())
            .finish()
    }
}

impl Conn {
    #[allow(clippy::too_many_arguments, reason = "one for each thing that is known of it from the start")]
    pub(crate) fn new(
        id: u64,
        stream: Stream,
        peer: Option<SocketAddr>,
        local: Option<SocketAddr>,
        runtime: Runtime,
        setup: Arc<Setup>,
        lifetime: Option<Duration>,
        epoch: u64,
    ) -> Self {
        let made = time::now();
        let until = lifetime.map(|lifetime| time::after(made, lifetime));
        let fixed = Fixed { id, peer, local, made, until, epoch, handshake: setup.milestones().handshake() };
        Self {
            stream,
            timer: Timer::default(),
            fixed: Arc::new(fixed),
            runtime,
            requests: 0,
            more: None,
            was_idle: false,
            setup: Some(setup),
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// How long it may be kept, where the server keeps it idle for `stay` and the network is that of `epoch`.
    pub(super) fn terms(&self, stay: Option<Duration>, epoch: u64) -> Terms {
        let is_of_old = self.fixed.epoch != epoch;
        Terms { stay, until: self.fixed.until, is_used: self.requests > 0, is_of_old }
    }

    /// It comes from the shelf: from now on it counts as reused.
    pub(crate) fn set_idle(&mut self) {
        self.was_idle = true;
        self.setup = None;
    }

    /// Closes it: TLS says goodbye, without blocking.
    pub(crate) fn close(mut self, reason: DropReason) {
        tracing::trace!(target: "handclasp", id = self.fixed.id, ?reason, "connection closed");
        self.stream.close();
    }
}

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
