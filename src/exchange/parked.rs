//! Parking: between two polls, the connection is held where a shutdown of the pool can close it.
//!
//! Invariant: when an exchange is polled, it either holds its connection or learns that the connection was closed.

use std::task::{Context, Poll};

use super::{Exchange, Failure};
use crate::error::Error;
use crate::pool::Direction;
use crate::pool::lease::Lease;

impl Exchange {
    /// Takes the parked connection back, because the exchange is polled again. Fails if a shutdown has closed the
    /// connection.
    pub(super) fn resume(&mut self) -> Result<(), Failure> {
        match self.lease_mut().map(Lease::resume) {
            Some(Err(_)) => Err(self.gone()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Returns `polled`. If `polled` is pending, parks the connection so that a shutdown can close it.
    pub(super) fn rest<T>(
        &mut self,
        polled: Poll<Result<T, Failure>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Failure>> {
        if polled.is_pending()
            && let Some(lease) = self.lease_mut()
            && lease.park(Direction::Read, Some(cx)).is_err()
        {
            return Poll::Ready(Err(self.gone()));
        }
        polled
    }

    /// Parks the connection until the caller polls again.
    pub(super) fn park(&mut self) {
        if let Some(lease) = self.lease_mut() {
            // If parking fails, the next poll returns the error.
            let _ = lease.park(Direction::Read, None);
        }
    }

    /// Notes that the response head has come and that the caller gets the response, so that the request is not sent
    /// again.
    pub(crate) fn set_answered(&mut self) {
        if let Some(lease) = self.lease_mut() {
            lease.set_answered();
        }
    }

    /// Parks the connection, because the caller now has the response and decides when to read its content.
    pub(crate) fn set_unread(&mut self) {
        if let Some(lease) = self.lease() {
            lease.set_unread();
        }
        self.park();
    }

    fn gone(&mut self) -> Failure {
        self.connection = None;
        Error::shutdown().in_phase(self.attempt.phase()).into()
    }
}
