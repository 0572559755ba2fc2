//! A reserved connection: one connection that carries several requests of one caller, one after another, and no other
//! requests.
//!
//! A [`Reservation`] holds the lease between two requests. The lease of a request has a reference to its reservation,
//! and returns to this reservation when the response has ended. This file knows nothing of HTTP. Invariants: a reserved
//! connection counts as active until it is given back or closed. Between two requests the connection is parked, so that
//! a shutdown can close it. No code of the caller runs under the reservation's lock.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::connection::{ConnectionInfo, Direction, contained};
use super::key::{Key, RouteRef};
use super::lease::Lease;
use super::policy::reasons::DropReason;
use super::{Pool, PoolInner, Runtime, Wait};
use crate::connect::Look;
use crate::error::{Error, ErrorKind};
use crate::time;

/// A connection that is reserved for one caller.
pub(crate) struct Reservation {
    /// Origin for which the connection was reserved.
    origin: Key,
    /// Route of the connection.
    route: Key,
    /// Pool of the client that has reserved the connection.
    pool: Weak<PoolInner>,
    /// Runtime of the connection.
    runtime: tokio::runtime::Id,
    shared: Mutex<Shared>,
    /// Wakes the request that waits for the end of a drain.
    returned: Notify,
}

struct Shared {
    state: State,
    /// Whether a request had credentials that a server applies to the whole connection.
    is_bound: bool,
}

enum State {
    /// No request uses the connection, and its lease is parked.
    Free(Lease),
    /// A request, a response or a look uses the connection.
    Taken {
        /// Whether the connection comes back soon without any action of the caller.
        is_brief: bool,
        then: Then,
    },
    /// The connection was closed, or is not reserved any more.
    Over(DropReason, Option<&'static str>),
}

/// The fate of a connection whose request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The connection stays reserved.
    Stay,
    /// The connection leaves its reservation, because the caller has ended the reservation.
    Leave(Leave),
}

/// The fate of a connection whose reservation the caller ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The pool gets the connection back, and any request can use the connection.
    Release,
    Close,
}

/// Outcome of [`Reservation::try_take`].
enum Taken {
    Lease(Lease),
    /// The remainder of the latest response is being read.
    NotYet,
}

impl Reservation {
    /// Reserves a connection that was just taken from the pool. Returns the description of the connection too. If the
    /// connection was idle and is not usable any more, or if its SYN has carried a request, closes it and returns the next
    /// connection, or a wait.
    pub(crate) fn new(
        mut lease: Lease,
        origin: RouteRef<'_>,
        route: RouteRef<'_>,
        fresh: Option<Duration>,
    ) -> Result<(Arc<Self>, ConnectionInfo), Result<Lease, Wait>> {
        if lease.conn().stream.is_unclaimed() {
            let why = "another request was sent with its SYN";
            return Err(Err(lease.redial(DropReason::Abandoned, Some(why))));
        }
        // A new connection is not replaced, because dialing might never end. The first request finds the close.
        if lease.is_reused() {
            match lease.look() {
                Look::Silent => {}
                Look::Closed => return Err(lease.replace(DropReason::PeerClosed, fresh)),
                Look::Spoke => return Err(lease.replace(DropReason::Unsolicited, fresh)),
            }
        }
        let info = lease.info(time::now());
        lease.begin_reservation();
        let state = State::Taken { is_brief: true, then: Then::Stay };
        let reservation = Arc::new(Self {
            origin: origin.to_key(),
            route: route.to_key(),
            pool: lease.pool().as_ref().map_or_else(Weak::new, Arc::downgrade),
            runtime: lease.conn().runtime().id(),
            shared: Mutex::new(Shared { state, is_bound: false }),
            returned: Notify::new(),
        });
        reservation.put_back(lease);
        Ok((reservation, info))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection for a request of the client of `pool` to `origin` by `route`. Waits while the remainder of
    /// an abandoned response is read.
    ///
    /// # Errors
    ///
    /// If the request needs another connection, if the connection belongs to another runtime, if the caller holds a
    /// response that was not read to its end, or if the connection was closed.
    pub(crate) async fn take(
        self: &Arc<Self>,
        pool: &Pool,
        origin: RouteRef<'_>,
        route: RouteRef<'_>,
    ) -> Result<Lease, Error> {
        // Another client may trust other servers and may send other cookies.
        if self.pool.as_ptr() != Arc::as_ptr(&pool.inner) {
            return Err(Error::request(
                "the connection is reserved from another client: send the request with the client that has reserved \
                 the connection",
            ));
        }
        if !origin.is(&self.origin) || !route.is(&self.route) {
            return Err(Error::request(format!(
                "the connection is reserved for {}: a request to another origin, through another proxy or unix \
                 socket, or with an isolation tag needs another connection",
                self.origin.route
            )));
        }
        // The runtime is compared before the wait, because this runtime may be the only one that is driven.
        if Runtime::current()?.id() != self.runtime {
            return Err(Error::request(
                "the reserved connection belongs to another tokio runtime: use the connection on the runtime on which \
                 the connection was reserved",
            ));
        }
        loop {
            let mut returned = pin!(self.returned.notified());
            returned.as_mut().enable();
            match self.try_take()? {
                Taken::Lease(lease) => return Ok(lease),
                Taken::NotYet => returned.await,
            }
        }
    }

    fn try_take(self: &Arc<Self>) -> Result<Taken, Error> {
        let mut shared = self.lock();
        match &mut shared.state {
            State::Taken { then: Then::Leave(_), .. } => return Err(ended(DropReason::Reserved, None)),
            State::Taken { is_brief: true, .. } => return Ok(Taken::NotYet),
            State::Taken { is_brief: false, .. } => {
                return Err(Error::request(
                    "the reserved connection still carries the latest response: read that response to its end, \
                     or drop it",
                ));
            }
            State::Over(reason, why) => return Err(ended(*reason, *why)),
            State::Free(_) => {}
        }
        let taken = State::Taken { is_brief: false, then: Then::Stay };
        let State::Free(mut lease) = std::mem::replace(&mut shared.state, taken) else {
            unreachable!("every other state was handled")
        };
        drop(shared);
        // From this point on the lease tells the reservation if its connection is closed.
        lease.set_reservation(self.clone());
        if lease.resume().is_err() {
            drop(lease);
            return Err(ended(DropReason::Shutdown, None));
        }
        let outdated = lease.pool().zip(lease.held()).and_then(|(pool, (_, fixed))| pool.outdated(fixed));
        if let Some(reason) = outdated {
            lease.bury(reason);
            return Err(ended(reason, None));
        }
        Ok(Taken::Lease(lease))
    }

    /// Notes that a request has credentials that the server applies to the whole connection.
    pub(crate) fn set_bound(&self) {
        self.lock().is_bound = true;
    }

    /// Notes that the remainder of an abandoned response is read, so that the next request waits for its end.
    pub(super) fn set_draining(&self) {
        if let State::Taken { is_brief, .. } = &mut self.lock().state {
            *is_brief = true;
        }
    }

    /// Takes the connection back after a request.
    pub(super) fn put_back(&self, mut lease: Lease) {
        // If the pool has closed the connection, parking fails.
        let is_parked = lease.park(Direction::Read, None).is_ok();
        let mut shared = self.lock();
        let left = match &shared.state {
            State::Taken { then: Then::Stay, .. } if is_parked => {
                shared.state = State::Free(lease);
                None
            }
            State::Taken { then: Then::Leave(leave), .. } => Some((*leave, lease)),
            State::Taken { .. } | State::Free(_) | State::Over(..) => Some((Leave::Close, lease)),
        };
        if left.is_some() {
            let reason = if is_parked { DropReason::Reserved } else { DropReason::Shutdown };
            shared.state = State::Over(reason, None);
        }
        let is_bound = shared.is_bound;
        drop(shared);
        // The wakers are the caller's code.
        contained(|| self.returned.notify_waiters());
        if let Some((leave, lease)) = left {
            end(lease, leave, is_bound);
        }
    }

    /// Notes that the connection was closed, or carries no further request.
    pub(super) fn end(&self, reason: DropReason, why: Option<&'static str>) {
        let mut shared = self.lock();
        if let State::Taken { .. } = shared.state {
            shared.state = State::Over(reason, why);
        }
        drop(shared);
        contained(|| self.returned.notify_waiters());
    }

    /// Whether the connection can carry another request. If no request uses the connection, looks at it, and closes it
    /// if the server has closed it or has sent bytes.
    pub(crate) fn is_open(&self) -> bool {
        let mut shared = self.lock();
        match &shared.state {
            State::Taken { then: Then::Stay, .. } => return true,
            State::Taken { .. } | State::Over(..) => return false,
            State::Free(_) => {}
        }
        let looked_at = State::Taken { is_brief: true, then: Then::Stay };
        let State::Free(mut lease) = std::mem::replace(&mut shared.state, looked_at) else { return false };
        drop(shared);
        let reason = match lease.resume() {
            Err(_) => DropReason::Shutdown,
            Ok(()) => match contained(|| lease.look()) {
                Some(Look::Silent) => {
                    self.put_back(lease);
                    return self.is_free();
                }
                Some(Look::Closed) => DropReason::PeerClosed,
                Some(Look::Spoke) => DropReason::Unsolicited,
                None => DropReason::Failed,
            },
        };
        self.end(reason, None);
        lease.bury(reason);
        false
    }

    fn is_free(&self) -> bool {
        matches!(self.lock().state, State::Free(_))
    }

    /// Ends the reservation. If a request uses the connection, the connection leaves when its response has ended.
    pub(crate) fn leave(&self, leave: Leave) {
        let mut shared = self.lock();
        let is_bound = shared.is_bound;
        let lease = match &mut shared.state {
            State::Taken { then, .. } => {
                if *then == Then::Stay {
                    *then = Then::Leave(leave);
                }
                return;
            }
            State::Over(..) => return,
            state @ State::Free(_) => {
                match std::mem::replace(state, State::Over(DropReason::Reserved, None)) {
                    State::Free(lease) => lease,
                    _ => return,
                }
            }
        };
        drop(shared);
        end(lease, leave, is_bound);
    }
}

/// Gives a connection back to the pool, or closes the connection. A connection that the server has authenticated as a
/// whole is closed in any case, because the pool would lend the connection to other requests.
fn end(mut lease: Lease, leave: Leave, is_bound: bool) {
    if leave == Leave::Close || is_bound {
        return lease.bury(DropReason::Reserved);
    }
    if lease.resume().is_err() {
        return;
    }
    match lease.look() {
        Look::Silent => lease.checkin(None, None, time::now()),
        Look::Closed => lease.bury(DropReason::PeerClosed),
        Look::Spoke => lease.bury(DropReason::Unsolicited),
    }
}

/// Returns the error of a request whose reservation has lost its connection.
pub(crate) fn ended(reason: DropReason, why: Option<&'static str>) -> Error {
    if reason == DropReason::Shutdown {
        return Error::shutdown();
    }
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let message = match reason {
        DropReason::Reserved => "the reservation has ended: reserve another connection".to_owned(),
        DropReason::Upgraded => {
            "the reserved connection carries another protocol: reserve another connection".to_owned()
        }
        _ => format!("the reserved connection was closed ({reason}{why}): reserve another connection"),
    };
    Error::new(ErrorKind::ConnectionLost, message)
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.lock().state {
            State::Free(_) => "free",
            State::Taken { .. } => "in use",
            State::Over(..) => "over",
        };
        write!(f, "Reservation({}, {state})", self.origin.route)
    }
}
