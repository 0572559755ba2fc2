//! The policy's answers: the outcome of a checkout, and the actions that the shell has to carry out.
//!
//! This file has data only, and knows nothing of how the policy decides or how the shell acts. Invariant: the policy
//! moves every connection, waiter and partition to the shell in one of these answers, so that the shell drops them
//! without the lock.

use std::time::{Duration, Instant};

use super::Failing;
use super::dials::DialId;
use super::kinds::Kinds;
use super::places::Place;
use super::queue::Turn;
use super::reasons::DropReason;

/// Identifies a waiting request: its place and its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Host and shelf in whose queue the request waits.
    pub(crate) place: Place,
    /// Position in the queue.
    pub(crate) turn: Turn,
    /// Time at which the waiter joined the queue.
    pub(crate) since: Instant,
}

/// The turn of a request that asks again, because a connection was granted to the request and withdrawn before the
/// request was polled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    /// Position that the request had in the queue and gets again.
    pub(crate) turn: Turn,
    /// Time at which the waiter first joined the queue.
    pub(crate) since: Instant,
    /// Whether only a new connection can serve the request, because its reused connection died.
    pub(crate) is_resending: bool,
}

/// The answer to a checkout.
#[derive(Debug)]
pub(crate) enum Checkout<K: Kinds> {
    /// An idle connection, which is active now. The request has to look at the connection before use.
    Reuse(K::Connection, Place),
    /// The request waits in the queue.
    Queued(Ticket),
    /// The queue is full. The number is the number of waiting requests.
    Full(usize),
    /// The last dials to the host failed, and the waiting period before the next dial is not over.
    Failing(Failing<K::Failure>),
    /// The pool was shut down.
    Shut,
}

/// An action that the shell has to carry out after the release of the lock. Actions are carried out in the given
/// order.
#[derive(Debug)]
pub(crate) enum Action<K: Kinds> {
    /// Hand the connection to the waiter. If the waiter has left, check the connection in again.
    Grant { waiter: K::Waiter, conn: K::Connection, place: Place },
    /// Tell the waiter that the dial failed, or that the pool was shut down.
    Fail { waiter: K::Waiter },
    /// Cancel this dial, which no longer counts under the limits. If the dial succeeds anyway, close its connection.
    Abort { dial_id: DialId },
    /// Make a connection in this partition, and call `dialed` or `dial_failed` with `dial_id` at the end. The
    /// progress of the dial is shown to `wanted_by`. The first waiter in the queue gets the connection.
    Dial { key: K::Key, partition: K::Partition, place: Place, dial_id: DialId, wanted_by: Option<K::Waiter> },
    /// Close the connection, and call `buried` when it is closed.
    Bury { conn: K::Connection, place: Place, reason: DropReason },
    /// Close the draining connection with this number and call `release`, unless the drain has ended.
    Cut { id: u64 },
    /// Drop the partition, because the host's shelf for this partition is vacant.
    Forget { partition: K::Partition },
}

/// The facts that decide how long a connection may be kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// Time at which the latest use ended. Before the first use, the time at which the connection was made. `None` means
    /// now.
    pub(crate) used: Option<Instant>,
    /// Time for which the server keeps the connection idle, if the server announced one.
    pub(crate) stay: Option<Duration>,
    /// Time after which the connection is too old to be used.
    pub(crate) until: Option<Instant>,
    /// Whether the connection has carried a request.
    pub(crate) is_used: bool,
    /// Whether the connection was dialed before the latest change of the network.
    pub(crate) is_of_old_network: bool,
}

/// Counts that the end of a lease adds to the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// Whether a request was sent.
    pub(crate) request: bool,
    /// Whether the connection had been used or idle before.
    pub(crate) reused: bool,
    /// Whether the request was answered on a connection that had carried another request before.
    pub(crate) saved: bool,
    /// Whether the request was answered.
    pub(crate) is_answered: bool,
    /// Number of requests that the connection has answered over its life.
    pub(crate) answered: u64,
    /// Number of the connection, if it was draining.
    pub(crate) drained: Option<u64>,
}

/// The actions that one call asks for.
pub(crate) type Actions<K> = Vec<Action<K>>;
