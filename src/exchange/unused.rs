//! The end of an attempt that has a connection, before its first write.
//!
//! This file knows no retries. Invariant: the trace of an attempt that fails here names the connection of the attempt.

use std::time::Instant;

use super::attempt::{Connection, Stage};
use super::{Exchange, Failure};
use crate::codec::CloseReason;
use crate::pool::DropReason;
use crate::time;

impl Exchange {
    /// Returns the failure of a connection that the server has closed, or on which the server has sent bytes, before the
    /// first write. A new connection is not replaced, because the next connection would probably fail in the same way, and
    /// dialing might never end.
    #[cold]
    pub(super) fn found_dead(&mut self, is_reused: bool, reason: DropReason) -> Failure {
        if is_reused {
            return Failure::Stale(reason);
        }
        if let Some(Connection { stage, .. }) = &mut self.connection {
            *stage = Stage::Begun(None);
        }
        self.note_dead(reason);
        match reason {
            DropReason::PeerClosed => self.lost_unused(),
            _ => self.spoke_first(),
        }
    }

    /// Notes in the trace that the attempt has its connection, and ends before its first write for this reason: the server
    /// has closed the connection or sent bytes on it.
    #[cold]
    pub(crate) fn note_dead(&mut self, reason: DropReason) {
        self.attempt.machine.close_after(match reason {
            DropReason::PeerClosed => CloseReason::Eof,
            _ => CloseReason::Unsolicited,
        });
        self.note_unused(None);
    }

    /// Notes in the trace that the attempt has its connection, and ends before its first write. The connection was taken
    /// at the time `assigned`, or is taken now.
    #[cold]
    pub(super) fn note_unused(&mut self, assigned: Option<Instant>) {
        let now = assigned.unwrap_or_else(time::now);
        if let Some(info) = self.lease().map(|lease| lease.info(now)) {
            self.trace.assigned(&info, now);
        }
    }
}
