//! Between two polls, the connection lies where a shutdown of the pool can close it.
//!
//! Invariant: whoever polls an exchange has its connection in hand, or learns that it is gone.

use std::task::{Context, Poll};

use super::{Exchange, Failure};
use crate::call::resend::End;
use crate::error::Error;
use crate::pool::Direction;
use crate::pool::lease::Lease;

impl Exchange {
    /// Somebody polls again: the connection may have been closed meanwhile.
    pub(super) fn resume(&mut self) -> Result<(), Failure> {
        match self.lease.as_mut().map(Lease::resume) {
            Some(Err(_)) => Err(self.gone()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// What was polled; if it is pending, nobody polls until it wakes whoever does.
    pub(super) fn rest<T>(
        &mut self,
        polled: Poll<Result<T, Failure>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Failure>> {
        if polled.is_pending()
            && let Some(lease) = &mut self.lease
            && lease.park(Direction::Read, Some(cx)).is_err()
        {
            return Poll::Ready(Err(self.gone()));
        }
        polled
    }

    /// Nobody polls until the caller likes to.
    pub(super) fn park(&mut self) {
        if let Some(lease) = &mut self.lease {
            // If it is to be closed, whoever polls next learns it.
            let _ = lease.park(Direction::Read, None);
        }
    }

    /// Notes that the response whose head has come is the answer: the request is not sent again.
    pub(crate) fn set_answered(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.set_answered();
        }
    }

    /// The caller has the response, and reads on when it likes.
    pub(crate) fn set_unread(&mut self) {
        if let Some(lease) = &self.lease {
            lease.set_unread();
        }
        self.park();
    }

    fn gone(&mut self) -> Failure {
        self.lease = None;
        Failure::Ended(End::Other, Error::shutdown().in_phase(self.phase()))
    }
}
