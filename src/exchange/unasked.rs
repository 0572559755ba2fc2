//! What the server says when it was not asked: before the request, before its head was written, or after the response.
//!
//! It knows the exchange and what the codec says of the bytes; it decides about no retry. Invariant: nothing here is ever
//! handed to the caller as a response.

use super::{Exchange, Failure};
use crate::call::resend::End;
use crate::codec::{MOST_LINE_ENDS, ProtocolError, Unasked, unasked_status};
use crate::error::{Error, ErrorKind, Phase};
use crate::pool::lease::Lease;

impl Exchange {
    pub(super) fn is_reused(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_reused)
    }

    /// Returns the failure of a new connection on which the server spoke before it was asked, with the status if it
    /// answered already: a server that takes no more connections says so.
    pub(super) fn spoke_first(&mut self) -> Failure {
        let mut room = [0; 64];
        let read = self.lease.as_mut().map_or(0, |lease| lease.conn().stream.read_now(&mut room));
        let message = match unasked_status(room.get(..read).unwrap_or_default()) {
            Some(status) => {
                format!("the server answered {status} before a request was sent (RFC 9112, section 9.2)")
            }
            None => ProtocolError::SpokeFirst.to_string(),
        };
        Failure::Ended(End::Other, Error::new(ErrorKind::Protocol, message).in_phase(self.phase()))
    }

    /// What comes before the request's head was written does not answer it, where another request was there before. Line
    /// ends mean nothing there either.
    pub(super) fn check_premature(&mut self) -> Result<(), Failure> {
        if self.sent >= self.head
            || !self.is_reused()
            || Unasked::of(self.incoming.bytes()) == Unasked::LineEnds
        {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Protocol, ProtocolError::SpokeFirst.to_string());
        Err(Failure::Ended(End::Premature, error.in_phase(Phase::Send)))
    }

    /// Judges what came right behind the response, and discards line ends, as on an idle
    /// connection.
    pub(super) fn take_surplus(&mut self) -> Unasked {
        let surplus = Unasked::of(self.incoming.bytes());
        if surplus == Unasked::LineEnds && self.incoming.len() <= MOST_LINE_ENDS {
            self.incoming.bytes().clear();
        }
        surplus
    }
}
