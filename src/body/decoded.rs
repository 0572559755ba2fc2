//! Content of a response that is decoded while it arrives.
//!
//! This module polls the content that arrives, and feeds the decoders of `decoder.rs`. This module does no I/O of its
//! own. Invariants: the content that arrives is read to its end, so that only the framing of the message decides
//! whether the connection is kept. One poll does a bounded amount of work, and a task that reads without a pause
//! yields.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::coop;

use super::coding::Coding;
use super::decoder::{Chain, Failure, Next};
use super::received::AnsweredRequest;
use super::{Body, Kind};
use crate::error::{Error, ErrorKind, Phase, Result, Written};
use crate::exchange::timeout::Deadline;
use crate::record::Measured;
use crate::time;

/// Largest number of steps of one poll. Each step takes and returns at most 32 KiB.
const STEPS: u32 = 32;

impl Body {
    /// Creates the body of a response from which these codings are removed.
    pub(crate) fn decoded(
        self,
        codings: &[Coding],
        deadline: Option<Deadline>,
        written: Written,
        measured: Measured,
    ) -> Self {
        Kind::Decoded(Box::new(Decoded::new(self, codings, deadline, written, measured))).into()
    }

    /// Creates the body of a response that cannot be decoded, as `message` says. Every read fails.
    pub(crate) fn refused(self, message: String, written: Written, measured: Measured) -> Self {
        let mut refused = Decoded::new(self, &[], None, written, measured);
        let error = refused.failed(Error::new(ErrorKind::Decode, message).in_phase(Phase::Receive));
        refused.end = Some(End::Failed(error));
        Kind::Decoded(Box::new(refused)).into()
    }
}

/// Content that is decoded.
pub(super) struct Decoded {
    /// The content that arrives, before it is decoded.
    source: Body,
    /// Content that has arrived and was not decoded yet.
    wire: Bytes,
    /// Whether no content follows `wire`.
    is_over: bool,
    chain: Chain,
    end: Option<End>,
    /// The request's total deadline.
    deadline: Option<Deadline>,
    /// Amount of the request that was written.
    written: Written,
    /// The timings until the head, for errors of content that came with the head, and the attempts before the request.
    measured: Measured,
    /// The request that was answered, for errors. `None` while a response holds the content and adds the request itself.
    request: Option<AnsweredRequest>,
}

/// The end of decoded content.
enum End {
    Complete,
    /// Every later read returns this error.
    Failed(Error),
}

impl Decoded {
    fn new(
        source: Body,
        codings: &[Coding],
        deadline: Option<Deadline>,
        written: Written,
        measured: Measured,
    ) -> Self {
        let chain = Chain::new(codings);
        Self {
            source,
            wire: Bytes::new(),
            is_over: false,
            chain,
            end: None,
            deadline,
            written,
            measured,
            request: None,
        }
    }

    /// Sets the request that was answered, so that errors name it.
    pub(super) fn set_request(&mut self, request: AnsweredRequest) {
        if let Some(End::Failed(error)) = &mut self.end {
            *error = request.add_to(error.repeat());
        }
        self.request = Some(request);
    }

    /// Returns the content that arrives, which has the trailers and the timings.
    pub(super) fn source(&self) -> &Body {
        &self.source
    }

    pub(super) fn source_mut(&mut self) -> &mut Body {
        &mut self.source
    }

    /// Whether all content has been read and the trailers have been taken.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.end, Some(End::Complete)) && http_body::Body::is_end_stream(&self.source)
    }

    /// Polls the next piece of decoded content.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match &self.end {
            None => {}
            Some(End::Complete) => return Poll::Ready(None),
            Some(End::Failed(error)) => return Poll::Ready(Some(Err(error.repeat()))),
        }
        // A decoder can return pieces for a long time without any I/O. A task yields only at I/O, so this code yields
        // itself.
        let progress = ready!(coop::poll_proceed(cx));
        let next = match self.check_deadline() {
            Ok(()) => ready!(self.poll_next(cx)),
            Err(error) => Err(self.failed(error)),
        };
        progress.made_progress();
        Poll::Ready(match next {
            Ok(Next::Piece(piece)) => Some(Ok(piece)),
            Ok(Next::Hungry | Next::Busy) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(Next::End) => {
                self.end = Some(End::Complete);
                None
            }
            Err(error) => {
                let error = match &self.request {
                    Some(request) => request.add_to(error),
                    None => error,
                };
                self.end = Some(End::Failed(error.repeat()));
                Some(Err(error))
            }
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next>> {
        let mut steps = STEPS;
        loop {
            match self.chain.next(&mut self.wire, self.is_over, &mut steps) {
                Ok(Next::Hungry) => match ready!(self.source.poll_received(cx)) {
                    Some(Ok(piece)) => self.wire = piece,
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => self.is_over = true,
                },
                Ok(next) => return Poll::Ready(Ok(next)),
                Err(failure) => {
                    let message = failure.to_string();
                    let mut error = Error::new(ErrorKind::Decode, message).in_phase(Phase::Receive);
                    if let Failure::Broken(_, source) = failure {
                        error = error.because(source);
                    }
                    return Poll::Ready(Err(self.failed(error)));
                }
            }
        }
    }

    /// The source checks the deadline only while it is polled.
    fn check_deadline(&self) -> Result<()> {
        match self.deadline {
            Some(Deadline { at, after }) if time::now() >= at => {
                Err(Error::timeout(Phase::Receive, after, "the request did not complete", "timeout"))
            }
            _ => Ok(()),
        }
    }

    /// Drops the source, and returns the error with the facts about the request.
    fn failed(&mut self, error: Error) -> Error {
        self.wire = Bytes::new();
        let error = self.source.fail(error.with_written(self.written));
        let timings = self.source.timings().unwrap_or_else(|| self.measured.timings());
        error.with_timings(*timings).with_earlier(self.measured.earlier())
    }
}
