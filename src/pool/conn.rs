//! One connection as the pool keeps it, and what callers are told of it.
//!
//! It knows nothing of HTTP, and nothing of who uses it. Invariant: what never changes about a connection is made once,
//! and shared with whoever asks.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Runtime;
use super::action::Terms;
use super::stats::DropReason;
use crate::connect::Stream;
use crate::time::{self, Timer};
use crate::trace::Setup;

/// One connection, as it is kept.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: Stream,
    /// Kept across requests; see [`Timer`].
    pub(crate) timer: Timer,
    pub(super) fixed: Arc<Fixed>,
    pub(super) runtime: Runtime,
    /// Requests that were begun on it.
    pub(super) requests: u64,
    /// How many more the server takes, if it said so.
    pub(super) more: Option<u64>,
    /// Whether it was ever idle: the peer may have closed it since.
    pub(super) was_idle: bool,
    /// How it was made, until its first request has been told.
    pub(super) setup: Option<Arc<Setup>>,
}

/// What never changes about a connection.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) id: u64,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) made: Instant,
    /// From when on it is too old.
    pub(super) until: Option<Instant>,
    /// The network that it was made in.
    pub(super) epoch: u64,
    pub(super) handshake: Duration,
}

/// Which connection served a request. See [`Response::connection`](crate::Response::connection).
#[derive(Clone)]
pub struct ConnectionInfo {
    pub(super) fixed: Arc<Fixed>,
    pub(super) ordinal: u64,
    pub(super) reused: bool,
    pub(super) age: Duration,
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
