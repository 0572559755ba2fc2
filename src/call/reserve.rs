//! A reserved connection: how a caller gets the connection, and how a request is bound to the connection.
//!
//! This module decides nothing about connections. Invariant: a request that is bound to a reserved connection is never
//! sent on another connection.

use std::sync::Arc;

use http::Uri;

use super::Environment;
use super::acquire::{self, Limit, LimitedBy, Waited};
use super::attempt::Attempts;
use super::head::binds_connection;
use crate::connect::{DialError, Via};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::exchange::Exchange;
use crate::exchange::timeout;
use crate::pool::key::RouteRef;
use crate::pool::reserved::{Leave, Reservation};
use crate::pool::{ConnectionInfo, DropReason, NotGranted};
use crate::time;

/// The reserved connection that a request is bound to.
#[derive(Clone, Debug)]
pub(crate) struct Pinned(Arc<Reservation>);

impl Environment {
    /// Takes a connection for requests to the origin of `uri` from the pool, and reserves the connection.
    pub(crate) async fn reserve(&self, uri: &Uri) -> Result<(Pinned, ConnectionInfo)> {
        let mut via = Via::Direct;
        let (origin, route) = (RouteRef::of(uri)?, self.route_ahead(uri, &mut via)?);
        let (pool, began) = (&self.pool, time::now());
        // A request on a reserved connection is not repeated on another connection, whatever its method.
        let fresh = pool.fresh_for_unsafe();
        let after = timeout::acquire(pool.acquire_timeout(), pool.acquire_default(), false);
        let limit = Limit::new(after, began, LimitedBy::Acquire);
        let mut found = pool.checkout(route, fresh, None, began)?;
        loop {
            let lease = match found {
                Ok(lease) => lease,
                Err(mut wait) => {
                    match acquire::wait_until(pool, route, fresh, limit.at, &mut wait, |_| {}).await? {
                        Waited::Granted(lease) => lease,
                        Waited::Refused(NotGranted::Failed(error, _)) => return Err(error.into_error()),
                        Waited::Refused(NotGranted::Shutdown | NotGranted::Withdrawn) => {
                            return Err(Error::shutdown());
                        }
                        Waited::NoTimers => return Err(DialError::no_timers().into_error()),
                        Waited::TimedOut => return Err(wait.timed_out(limit.after)),
                    }
                }
            };
            match Reservation::new(lease, origin, route, fresh) {
                Ok((reservation, info)) => return Ok((Pinned(reservation), info)),
                Err(next) => found = next,
            }
        }
    }
}

impl Pinned {
    /// Notes the credentials of `headers` if a server applies them to the whole connection.
    pub(super) fn note_credentials(&self, headers: &http::HeaderMap) {
        if binds_connection(headers) {
            self.0.set_bound();
        }
    }

    /// Whether the connection can carry another request.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Gives the connection back to the pool, once no response needs it.
    pub(crate) fn release(&self) {
        self.0.leave(Leave::Release);
    }

    /// Closes the connection, once no response needs it.
    pub(crate) fn close(&self) {
        self.0.leave(Leave::Close);
    }
}

impl Attempts<'_> {
    /// Whether the request is bound to a reserved connection.
    #[inline]
    pub(super) fn is_pinned(&self) -> bool {
        self.call.settings.pinned.is_some()
    }

    /// Takes the reserved connection for the attempt, and attaches it to the exchange. Waits while the remainder of an
    /// abandoned response is read, for no longer than a wait for a connection from the pool.
    #[cold]
    pub(super) async fn take_pinned(&self, pinned: &Pinned, exchange: &mut Exchange) -> Result<()> {
        let origin = RouteRef::of(self.call.uri)?;
        let limit = self.limit(exchange.trace().attempt_started(), exchange);
        let taking = pinned.0.take(&self.call.env.pool, origin, self.route);
        let lease = acquire::within(limit, taking, || exchange.trace().waits()).await?;
        pinned.note_credentials(self.call.headers);
        exchange.attach(lease, None);
        Ok(())
    }
}

/// Closes a reserved connection that was found dead before the request was written. Returns the error of the request.
#[cold]
pub(super) fn lost(exchange: &mut Exchange, reason: DropReason) -> Error {
    exchange.note_dead(reason);
    let refusal = if reason == DropReason::PeerClosed { exchange.refusal() } else { None };
    if let Some(dead) = exchange.detach() {
        dead.bury(reason);
    }
    let what = match reason {
        DropReason::PeerClosed => "closed the reserved connection",
        _ => "sent bytes on the reserved connection",
    };
    refusal.unwrap_or_else(|| {
        let message = format!("the server {what} before the request was written: reserve another connection");
        Error::new(ErrorKind::ConnectionLost, message).in_phase(Phase::Send)
    })
}
