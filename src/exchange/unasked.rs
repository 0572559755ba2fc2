//! Bytes that no request asked for, and that the server sent before the request, before the whole request head was
//! written, or after the response.
//!
//! The codec classifies the bytes, and [`call`](crate::call) decides about retries. Invariant: the caller never gets
//! these bytes as a response.

use super::attempt::Attempt;
use super::{Exchange, Failure};
use crate::codec::{MOST_LINE_ENDS, ProtocolError, Unasked, unasked_status};
use crate::error::{Error, ErrorKind, Phase};

impl Exchange {
    /// Returns the failure of a new connection on which the server sent bytes before the request. If the bytes are a
    /// response, the error names its status, because servers that accept no more connections send such a response.
    pub(super) fn spoke_first(&mut self) -> Failure {
        let mut room = [0; 64];
        let read = self.lease_mut().map_or(0, |lease| lease.conn().stream.read_now(&mut room));
        let message = match unasked_status(room.get(..read).unwrap_or_default()) {
            Some(status) => {
                format!("the server answered {status} before a request was sent (RFC 9112, section 9.2)")
            }
            None => ProtocolError::SpokeFirst.to_string(),
        };
        Error::new(ErrorKind::Protocol, message).in_phase(self.attempt.phase()).into()
    }

    /// Fails if bytes came on a reused connection before the request head was written, because such bytes do not answer
    /// this request. Line ends are allowed, because line ends between responses have no meaning.
    pub(super) fn check_premature(&mut self) -> Result<(), Failure> {
        if self.attempt.sent >= self.attempt.head_length
            || !self.is_reused()
            || Unasked::of(self.attempt.incoming.bytes()) == Unasked::LineEnds
        {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Protocol, ProtocolError::SpokeFirst.to_string());
        Err(Failure::Premature(error.in_phase(Phase::Send)))
    }
}

impl Attempt {
    /// Classifies the bytes after the response, and discards line ends, as the pool does on an idle connection.
    pub(super) fn take_surplus(&mut self) -> Unasked {
        let surplus = Unasked::of(self.incoming.bytes());
        if surplus == Unasked::LineEnds && self.incoming.len() <= MOST_LINE_ENDS {
            self.incoming.bytes().clear();
        }
        surplus
    }
}
