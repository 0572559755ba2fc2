//! The state of one attempt, and the state of one connection. An exchange makes new states when it starts again.
//!
//! This module does no I/O and reads no clock. Invariant: only [`Attempt::new`] and [`Connection::new`] make these
//! states. No code resets the fields of an existing state.

use std::io;
use std::time::Instant;

use http::HeaderMap;

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use crate::codec::{CloseReason, CloseReasons, Event, Limits, Machine, ProtocolError};
use crate::error::{Error, Phase, Written};
use crate::pool::ConnectionInfo;
use crate::pool::lease::Lease;
use crate::record::Amounts;

/// One attempt to send the request and to read its response.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) machine: Machine,
    /// Bytes of the request that are encoded and not yet written.
    pub(super) outgoing: Outgoing,
    /// Bytes of the response that are read and not yet decoded.
    pub(super) incoming: Incoming,
    /// Length of the request head, in bytes.
    pub(super) head_length: u64,
    pub(super) expectation: Expectation,
    pub(super) sending: Sending,
    /// Whether the exchange has asked the body for its first pieces.
    pub(super) is_framed: bool,
    /// Whether the response heads show that the server has begun to act on the request. After such a head, the request is
    /// not sent again. See `Exchange::note_taken_on` for the heads that do not count.
    pub(super) is_taken_on: bool,
    /// Whether bytes of the response came in more than one read. Line ends before the response do not count.
    pub(super) is_split: bool,
    /// Whether the server has closed its side of the connection.
    pub(super) is_eof: bool,
    /// Whether the upload can continue only when the caller's stream has more content.
    pub(super) waits_for_caller: bool,
    /// Time at which the last byte of the request was written, or at which the upload was aborted.
    pub(super) written_at: Option<Instant>,
    /// Time since which the exchange has waited for content without getting any content.
    pub(super) reading_since: Option<Instant>,
    /// Time since which the exchange has waited to write without writing a byte.
    pub(super) writing_since: Option<Instant>,
    /// Number of bytes of the request that were written.
    pub(super) sent: u64,
    /// Number of bytes of content that were written, apart from the bytes that `outgoing` still counts.
    pub(super) content: u64,
    /// Number of bytes of the response's content that were passed to the caller.
    pub(super) received: u64,
    /// Number of bytes read from the connection, framing included.
    pub(super) wire: u64,
    /// Error of an upload that failed while content was being read. The caller gets this content first and the error
    /// after the content.
    pub(super) upload_error: Option<Error>,
    /// Trailers of the response.
    pub(super) trailers: Option<Box<HeaderMap>>,
}

/// Whether the request's body is held back until the server asks for the body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expectation {
    /// The request has no expectation.
    None,
    /// The body is held back, and the request head is not written yet.
    Held,
    /// The request head was written. The body is held back until this time.
    HeldUntil(Instant),
    /// The body was held back after the head was written, and the wait has ended.
    Over,
}

impl Expectation {
    /// Whether the body is held back.
    pub(super) fn holds(self) -> bool {
        matches!(self, Self::Held | Self::HeldUntil(_))
    }

    /// Whether the body was held back after the head was written, so that the server could answer first.
    pub(super) fn was_waited_for(self) -> bool {
        matches!(self, Self::HeldUntil(_) | Self::Over)
    }

    /// Stops holding the body back. Returns whether the body was held back until this call.
    pub(super) fn end(&mut self) -> bool {
        let held = self.holds();
        *self = if self.was_waited_for() { Self::Over } else { Self::None };
        held
    }
}

/// State of the client's sending direction.
#[derive(Debug)]
pub(super) enum Sending {
    /// Framed bytes will be written.
    Open,
    /// The upload was aborted, and framed content was discarded.
    GivenUp,
    /// A write failed, and framed content was discarded. The error is `None` once it was reported. The exchange still
    /// reads the bytes that the server sent before the failure.
    Broken(Option<io::Error>),
}

impl Sending {
    /// Whether framed content was discarded.
    pub(super) fn is_cut(&self) -> bool {
        !matches!(self, Self::Open)
    }

    /// Returns the error of a failed write, or `None` if no write failed or the error was reported.
    pub(super) fn error(&self) -> Option<&io::Error> {
        match self {
            Self::Broken(error) => error.as_ref(),
            Self::Open | Self::GivenUp => None,
        }
    }

    /// Takes the error of a failed write, so that the caller of this method can report the error.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        match self {
            Self::Broken(error) => error.take(),
            Self::Open | Self::GivenUp => None,
        }
    }
}

/// Returns one of the reasons to close as a sentence. [`CloseReason::Surplus`] has precedence, because the pool counts
/// this reason.
pub(super) fn explain(reasons: CloseReasons) -> Option<&'static str> {
    let surplus = reasons.contains(CloseReason::Surplus).then_some(CloseReason::Surplus);
    surplus.or_else(|| reasons.iter().next()).map(CloseReason::explain)
}

impl Attempt {
    #[inline]
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            machine: Machine::new(limits),
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            head_length: 0,
            expectation: Expectation::None,
            sending: Sending::Open,
            is_framed: false,
            is_taken_on: false,
            is_split: false,
            is_eof: false,
            waits_for_caller: false,
            written_at: None,
            reading_since: None,
            writing_since: None,
            sent: 0,
            content: 0,
            received: 0,
            wire: 0,
            upload_error: None,
            trailers: None,
        }
    }

    /// Decodes the next event from the bytes that were read. Returns `None` if more bytes are needed.
    #[inline]
    pub(super) fn decode(&mut self) -> Result<Option<Event>, ProtocolError> {
        if self.is_eof {
            self.machine.decode_eof(self.incoming.bytes())
        } else if self.is_gathering() {
            Ok(None)
        } else {
            self.machine.decode(self.incoming.bytes())
        }
    }

    /// Whether the caller wants the content in one piece, and a part of the content has not come yet.
    #[inline]
    pub(super) fn is_gathering(&self) -> bool {
        self.incoming.is_gathering(self.machine.receive_remaining())
    }

    /// Returns the current phase of the attempt.
    pub(super) fn phase(&self) -> Phase {
        if self.machine.is_head_received() {
            Phase::Receive
        } else if self.written_at.is_none() || self.sending.error().is_some() {
            Phase::Send
        } else {
            Phase::Wait
        }
    }

    /// Notes that bytes were written or that content has come. Restarts the timeouts of reading and of writing, because
    /// a server need not read while it sends. Framing without content is no progress, because a chunk extension could
    /// go on forever.
    #[inline]
    pub(super) fn note_progress(&mut self) {
        (self.reading_since, self.writing_since) = (None, None);
    }

    /// Returns the number of bytes of content that were written.
    pub(super) fn content_written(&self) -> u64 {
        self.content + self.outgoing.content_written()
    }

    /// Counts the content that was written, and discards all framed bytes that were not written.
    pub(super) fn clear_outgoing(&mut self) {
        self.content += self.outgoing.content_written();
        self.outgoing.clear();
    }

    /// Aborts the upload. No further byte of the request is written, and the connection will close.
    pub(super) fn give_up_upload(&mut self) {
        self.machine.abort_send();
        self.machine.close_after(CloseReason::UploadAborted);
        if !self.sending.is_cut() {
            self.sending = Sending::GivenUp;
        }
    }

    /// Notes that a write failed, so that the connection accepts no further byte.
    pub(super) fn break_off(&mut self, error: io::Error) {
        self.machine.abort_send();
        self.sending = Sending::Broken(Some(error));
    }

    /// Returns how much of the request was written.
    pub(super) fn written(&self) -> Written {
        match self.sent {
            0 => Written::Nothing,
            _ if self.written_at.is_some() && !self.sending.is_cut() && self.machine.is_send_done() => {
                Written::All
            }
            _ => Written::Partly,
        }
    }

    /// Returns how much was sent and received.
    pub(super) fn amounts(&self) -> Amounts {
        // Content that is gathered was not passed to the caller yet.
        let gathered = if self.is_gathering() { self.incoming.len() as u64 } else { 0 };
        Amounts {
            written: self.written(),
            sent: self.sent,
            content_sent: self.content_written(),
            received: self.wire,
            content_received: self.received + gathered,
        }
    }

    /// Notes that all framed bytes were written. The upload waits for the caller or for a 100.
    pub(super) fn wait_for_caller(&mut self) {
        self.waits_for_caller = true;
        self.writing_since = None;
    }

    /// Whether the codec has nothing more to send, because the whole request was framed or the upload was aborted.
    pub(super) fn is_send_over(&self) -> bool {
        self.machine.is_send_done() || self.machine.is_send_aborted()
    }

    /// Whether the upload was aborted, by the exchange or by the codec.
    pub(super) fn is_given_up(&self) -> bool {
        self.sending.is_cut() || self.machine.is_send_aborted()
    }

    /// Whether the whole request was framed and written.
    pub(super) fn is_all_written(&self) -> bool {
        self.machine.is_send_done() && self.outgoing.is_empty()
    }
}

/// The connection of an attempt. If a connection is found dead before the first write, the same attempt gets another
/// connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) lease: Lease,
    pub(super) stage: Stage,
    /// Whether the exchange is known to be polled on the connection's own runtime. This is true only during the poll in
    /// which an idle connection was taken.
    pub(super) is_here: bool,
    /// Whether all bytes that were written to the stream were flushed.
    pub(super) is_flushed: bool,
    /// Whether the client's sending direction was closed.
    pub(super) is_shut: bool,
}

/// Progress of an attempt on its connection.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing was written. `assigned` is the time at which the connection was taken, if the connection was idle and
    /// was taken within this poll.
    Attached { assigned: Option<Instant> },
    /// The first write was tried. The response's description of its connection is stored here until the response takes
    /// the description.
    Begun(Option<ConnectionInfo>),
}

impl Connection {
    #[inline]
    pub(super) fn new(lease: Lease, assigned: Option<Instant>) -> Self {
        let is_here = assigned.is_some();
        Self { lease, stage: Stage::Attached { assigned }, is_here, is_flushed: true, is_shut: false }
    }
}
