//! What is known of an exchange: for the client, which decides about retries, and for the response.
//!
//! Questions only; it does no I/O. Invariant: nothing here changes what is sent or what becomes of the connection.

use http::HeaderMap;

use super::Exchange;
use super::upload::{UploadProgress, UploadState};
use crate::codec::CloseReason;
use crate::error::{Error, Written};
use crate::pool::ConnectionInfo;
use crate::time;
use crate::trace::Measured;

impl Exchange {
    /// How much of the request was written in this attempt.
    pub(crate) fn attempt_written(&self) -> Written {
        match self.sent {
            0 => Written::Nothing,
            _ if self.written_at.is_some() && !self.is_cut && self.machine.is_send_done() => Written::All,
            _ => Written::Partly,
        }
    }

    /// Whether the request can be sent again from its start: the server has not taken it on, and its body is still there.
    pub(crate) fn is_replayable(&self) -> bool {
        !self.is_taken_on && (self.sent == 0 || self.upload.is_replayable())
    }

    /// Whether nothing beyond the request's head was written in this attempt, as far as can be known.
    pub(crate) fn is_head_alone(&self) -> bool {
        self.sent <= self.head && self.write_error.is_none()
    }

    /// Whether the server said that it closes the connection: in words, or by an HTTP/1.0 response that does not offer to
    /// keep it.
    pub(crate) fn says_close(&self) -> bool {
        let reasons = self.machine.close_reasons();
        reasons.contains(CloseReason::PeerClose) || reasons.contains(CloseReason::Http10)
    }

    /// Whether the connection closes behind the response, for whatever reason.
    pub(crate) fn closes(&self) -> bool {
        !self.machine.close_reasons().is_empty()
    }

    /// Whether any byte of a response was seen in this attempt.
    pub(crate) fn is_answered(&self) -> bool {
        self.machine.has_peer_spoken()
    }

    /// The timings, once the head has come: final once the content has ended.
    pub(crate) fn measured(&self) -> Measured {
        self.trace.measured()
    }

    pub(crate) fn take_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }

    pub(crate) fn take_info(&mut self) -> Option<ConnectionInfo> {
        self.info.take()
    }

    /// How much of the content is still to come, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.machine.receive_remaining()
    }

    /// The length of the content as the server announced it.
    pub(crate) fn announced_length(&self) -> Option<u64> {
        self.machine.announced_length()
    }

    /// How much of the request was written, over all attempts.
    pub(crate) fn written(&self) -> Written {
        self.written
    }

    /// How far the upload came.
    pub(crate) fn upload_progress(&self) -> UploadProgress {
        let bytes = self.content + self.out.content_written();
        let is_written = self.out.is_empty() && !self.is_cut;
        let state = match (self.machine.is_send_done(), self.machine.is_send_aborted()) {
            (true, _) if is_written => UploadState::Complete,
            // The response is over, or the connection lost: what is left will not be sent.
            _ if self.lease.is_none() || self.is_cut => UploadState::Aborted,
            (_, true) => UploadState::Aborted,
            _ => UploadState::Open,
        };
        UploadProgress { bytes, state }
    }

    /// An error of this request, with all that is known of it.
    pub(crate) fn error(&mut self, error: Error) -> Error {
        let is_head_received = self.machine.is_head_received();
        self.trace.fail(error.with_written(self.written), is_head_received, time::now())
    }
}
