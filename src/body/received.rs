//! A response's content while it arrives.
//!
//! This module knows the exchange that brings the content, and knows nothing of content that is sent. Invariant: the
//! content owns the exchange and its connection until the content ends, fails or is dropped.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use http_body::SizeHint;

use crate::error::{Error, Result};
use crate::exchange::{Exchange, UploadProgress};
use crate::record::Measured;
use crate::redirect::History;
use crate::timings::Timings;

/// A response's content.
pub(super) struct Received {
    /// Content that arrived with the head.
    ready: Bytes,
    /// Source of all further content.
    rest: Rest,
    trailers: Option<Box<HeaderMap>>,
    /// Final timings, once the exchange of a response with unread content has ended or failed.
    timings: Option<Measured>,
    /// Progress of the upload. Used only once the body has no exchange.
    upload: UploadProgress,
    /// The request that was answered, for errors. `None` while a response holds the content and adds the request itself.
    request: Option<AnsweredRequest>,
}

/// The request that a response answers. Errors of the response's content name the request.
#[derive(Clone)]
pub(crate) struct AnsweredRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// The redirects before the request.
    pub(crate) history: History,
}

impl AnsweredRequest {
    /// Adds the request to an error.
    #[cold]
    pub(crate) fn add_to(&self, error: Error) -> Error {
        error.with_request(&self.method, &self.uri).with_redirects(self.history.clone())
    }
}

/// Source of the content that has not been read yet.
#[allow(clippy::large_enum_variant, reason = "most values are Open, and each value is boxed with its body")]
enum Rest {
    Open(Exchange),
    /// All content has arrived.
    Ended,
    /// The content cannot be completed. Every later read returns this error.
    Failed(Error),
}

impl Received {
    /// Creates the content of a response. Without an exchange, `ready` is all of the content.
    #[inline]
    pub(super) fn new(
        ready: Bytes,
        exchange: Option<Exchange>,
        trailers: Option<Box<HeaderMap>>,
        upload: UploadProgress,
    ) -> Self {
        let rest = exchange.map_or(Rest::Ended, Rest::Open);
        Self { ready, rest, trailers, timings: None, upload, request: None }
    }

    /// Polls the next piece of content.
    #[inline]
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        let exchange = match &mut self.rest {
            Rest::Open(exchange) => exchange,
            Rest::Ended => return Poll::Ready(None),
            Rest::Failed(error) => return Poll::Ready(Some(Err(error.repeat()))),
        };
        let mut outcome = ready!(exchange.poll_data(cx));
        let rest = match outcome {
            Some(Ok(_)) => return Poll::Ready(outcome),
            Some(Err(error)) => {
                let error = match &self.request {
                    Some(request) => request.add_to(error),
                    None => error,
                };
                let rest = Rest::Failed(error.repeat());
                outcome = Some(Err(error));
                rest
            }
            None => Rest::Ended,
        };
        self.timings = Some(exchange.measured());
        self.upload = exchange.upload_progress();
        self.trailers = exchange.take_trailers();
        self.rest = rest;
        Poll::Ready(outcome)
    }

    /// Returns the size of the content that has not been read yet. The size is not known after a failure.
    pub(super) fn remaining(&self) -> SizeHint {
        let rest = match &self.rest {
            Rest::Open(exchange) => exchange.remaining(),
            Rest::Ended => Some(0),
            Rest::Failed(_) => None,
        };
        rest.map_or_else(SizeHint::default, |rest| {
            SizeHint::with_exact(rest.saturating_add(self.ready.len() as u64))
        })
    }

    /// Asks for the content in one piece, if the content has at most `most` bytes.
    #[inline]
    pub(super) fn gather(&mut self, most: usize) {
        // Content that arrived with the head is always a separate piece.
        if self.ready.is_empty()
            && let Rest::Open(exchange) = &mut self.rest
        {
            exchange.gather(most);
        }
    }

    /// Takes the trailers. Returns `None` before the content has ended.
    #[inline]
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| *trailers)
    }

    /// Whether there are trailers that have not been taken.
    #[inline]
    pub(super) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    /// Whether all content has been read and the trailers have been taken.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.ready.is_empty() && matches!(self.rest, Rest::Ended) && self.trailers.is_none()
    }

    /// Returns the final timings, or `None` if the content has not ended.
    #[inline]
    pub(super) fn timings(&self) -> Option<&Timings> {
        self.timings.as_ref().map(Measured::timings)
    }

    /// Returns the progress of the request's upload.
    #[inline]
    pub(super) fn upload_progress(&self) -> UploadProgress {
        match &self.rest {
            Rest::Open(exchange) => exchange.upload_progress(),
            Rest::Ended | Rest::Failed(_) => self.upload,
        }
    }

    /// Sets the request that was answered, so that errors name it.
    pub(super) fn set_request(&mut self, request: AnsweredRequest) {
        if let Rest::Failed(error) = &mut self.rest {
            *error = request.add_to(error.repeat());
        }
        self.request = Some(request);
    }

    /// Ends the content early, because the caller makes an error of the response. Returns `error`. If content is missing,
    /// the attempt fails with this error. The connection is drained or closed, as if the content was dropped.
    #[cold]
    pub(super) fn refuse(&mut self, error: Error) -> Error {
        self.leave_with(error, Exchange::refuse)
    }

    /// Ends the content early, because the client has no use for it. Returns `error` with the facts about the request. The
    /// attempt fails with this error, and its connection is drained or closed.
    #[cold]
    pub(super) fn fail(&mut self, error: Error) -> Error {
        self.leave_with(error, Exchange::error)
    }

    /// Ends the trace of an open exchange by `end`, and leaves the exchange.
    fn leave_with(&mut self, error: Error, end: fn(&mut Exchange, Error) -> Error) -> Error {
        let Rest::Open(mut exchange) = std::mem::replace(&mut self.rest, Rest::Ended) else { return error };
        let error = end(&mut exchange, error);
        self.leave(exchange);
        error
    }

    fn leave(&mut self, exchange: Exchange) {
        self.timings = Some(exchange.measured());
        self.upload = exchange.upload_progress();
        exchange.abandon();
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Rest::Open(exchange) = std::mem::replace(&mut self.rest, Rest::Ended) {
            self.leave(exchange);
        }
    }
}
