//! What the policy answers: what a request gets, and what the shell has to do.
//!
//! Data only; it knows nothing of how it is decided or carried out. Invariant: whatever holds a resource (a
//! connection, a waiter, a partition) travels to the shell in here, to be dropped without the lock.

use std::time::{Duration, Instant};

use super::Failing;
use super::dials::DialId;
use super::kinds::Kinds;
use super::places::Place;
use super::queue::Turn;
use super::reasons::DropReason;

/// A waiter's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) place: Place,
    pub(crate) turn: Turn,
    /// Time at which the waiter joined the queue.
    pub(crate) since: Instant,
}

/// A waiter that had been served, and was not polled in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    pub(crate) turn: Turn,
    /// Time at which the waiter first joined the queue.
    pub(crate) since: Instant,
    /// Only a fresh connection will do.
    pub(crate) is_resending: bool,
}

/// The answer to a checkout.
#[derive(Debug)]
pub(crate) enum Checkout<K: Kinds> {
    /// An idle connection, to be looked at before use. Its slot is the caller's now.
    Reuse(K::Connection, Place),
    /// The waiter is in the queue.
    Queued(Ticket),
    /// The queue is full, with so many waiting.
    Full(usize),
    /// The host cannot be connected to, and its waiting period is not over.
    Failing(Failing<K::Failure>),
    /// The pool was shut down.
    Shut,
}

/// What the shell has to do, once it holds no lock, in this order.
#[derive(Debug)]
pub(crate) enum Action<K: Kinds> {
    /// Hand the connection to the waiter. If it is gone, check the connection in again.
    Grant { waiter: K::Waiter, conn: K::Connection, place: Place },
    /// Tell the waiter that the dial failed, or that the pool was shut down.
    Fail { waiter: K::Waiter },
    /// Cancel this dial, which is no longer counted. If it succeeds anyway, its connection is closed unused.
    Abort { dial_id: DialId },
    /// Make a connection on this runtime, then call `dialed` or `dial_failed` with `began`.
    /// `wanted_by` is the waiter that is told of its progress; whoever is first in the queue gets the connection.
    Dial { key: K::Key, partition: K::Partition, place: Place, dial_id: DialId, wanted_by: Option<K::Waiter> },
    /// Close the connection, then call `release`.
    Bury { conn: K::Connection, place: Place, reason: DropReason },
    /// Close this connection, which reads what nobody wants, then call `release`; unless it is done by now.
    Cut { id: u64 },
    /// Drop it: nothing of the partition is left here.
    Forget { partition: K::Partition },
}

/// How long a connection may be kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// Time at which the connection was last used, or made; `None`: just now.
    pub(crate) used: Option<Instant>,
    /// How long the server keeps it idle, if it said so.
    pub(crate) stay: Option<Duration>,
    /// From when on it is too old to be used again.
    pub(crate) until: Option<Instant>,
    /// It has answered a request: the next would be its second at least.
    pub(crate) is_used: bool,
    /// It was made in a network that is gone.
    pub(crate) is_of_old_network: bool,
}

/// What a finished exchange adds to the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// A request was sent on the connection.
    pub(crate) request: bool,
    /// The connection had been used or idle before.
    pub(crate) reused: bool,
    /// The request was answered on a connection that had carried one before.
    pub(crate) saved: bool,
    /// The request was answered.
    pub(crate) is_answered: bool,
    /// How many requests the connection has answered, over its life.
    pub(crate) answered: u64,
    /// It read a rest that nobody wanted: its number.
    pub(crate) drained: Option<u64>,
}

/// The actions that a call asks for.
pub(crate) type Actions<K> = Vec<Action<K>>;
