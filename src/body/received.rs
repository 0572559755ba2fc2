//! A response's content while it arrives: the exchange that brings it, and what is kept once it has ended.
//!
//! It knows nothing of content that is sent. Invariant: the exchange, and with it the connection, is owned until the
//! content ends, fails or is dropped, and no longer.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::SizeHint;

use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::trace::{Measured, Timings};
use crate::upload::UploadProgress;

/// A response's content.
pub(super) struct Received {
    /// Content that came with the head.
    ready: Bytes,
    rest: Rest,
    trailers: Option<Box<HeaderMap>>,
    /// The final timings, once an exchange that brought the rest has ended or failed.
    timings: Option<Measured>,
    upload: UploadProgress,
}

/// Where the rest of a response's content comes from.
#[allow(clippy::large_enum_variant, reason = "most are open, and all of them are boxed with their body")]
enum Rest {
    Open(Exchange),
    /// All of it has come.
    Ended,
    /// It will never come; every later read repeats the error.
    Failed(Error),
}

impl Received {
    pub(super) fn new(
        ready: Bytes,
        exchange: Option<Exchange>,
        trailers: Option<Box<HeaderMap>>,
        upload: UploadProgress,
    ) -> Self {
        let rest = exchange.map_or(Rest::Ended, Rest::Open);
        Self { ready, rest, trailers, timings: None, upload }
    }

    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        let exchange = match &mut self.rest {
            Rest::Open(exchange) => exchange,
            Rest::Ended => return Poll::Ready(None),
            Rest::Failed(error) => return Poll::Ready(Some(Err(error.repeat()))),
        };
        let outcome = ready!(exchange.poll_data(cx));
        let rest = match &outcome {
            Some(Ok(_)) => return Poll::Ready(outcome),
            Some(Err(error)) => Rest::Failed(error.repeat()),
            None => Rest::Ended,
        };
        self.timings = Some(exchange.measured());
        self.upload = exchange.upload_progress();
        self.trailers = exchange.take_trailers();
        self.rest = rest;
        Poll::Ready(outcome)
    }

    /// How much of the content is still to be read. Of one that failed nothing is known.
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

    /// All of the content is wanted as one: what is known to be no more than `most` comes in one piece.
    pub(super) fn gather(&mut self, most: usize) {
        // (What came with the head is a piece already.)
        if self.ready.is_empty()
            && let Rest::Open(exchange) = &mut self.rest
        {
            exchange.gather(most);
        }
    }

    /// The trailers, once the content has ended.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| *trailers)
    }

    pub(super) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    /// Whether the content and the trailers have been taken.
    pub(super) fn is_over(&self) -> bool {
        self.ready.is_empty() && matches!(self.rest, Rest::Ended) && self.trailers.is_none()
    }

    /// The final timings, once the content has ended.
    pub(super) fn timings(&self) -> Option<&Timings> {
        self.timings.as_ref().map(Measured::timings)
    }

    /// How far the upload has come.
    pub(super) fn upload_progress(&self) -> UploadProgress {
        match &self.rest {
            Rest::Open(exchange) => exchange.upload_progress(),
            Rest::Ended | Rest::Failed(_) => self.upload,
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Rest::Open(exchange) = std::mem::replace(&mut self.rest, Rest::Ended) {
            exchange.abandon();
        }
    }
}
