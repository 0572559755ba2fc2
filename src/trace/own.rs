//! A span that is made and closed in one subscriber.
//!
//! `tracing-subscriber` looks up the span above a span in the subscriber of the thread, when the span is made and when it
//! closes. If the thread has another subscriber than the span above, the number of that span means another span there, or
//! no span, so that `tracing-subscriber` panics. A task of a dial, and a request that is polled elsewhere, run on such
//! threads.

use std::ops::Deref;

use tracing::{Span, dispatcher};

/// A span whose subscriber is the subscriber of the thread while a span below it is made, and while the span closes.
#[derive(Debug)]
pub(crate) struct OwnSpan(Span);

impl OwnSpan {
    pub(crate) fn new(span: Span) -> Self {
        Self(span)
    }

    pub(crate) fn none() -> Self {
        Self(Span::none())
    }

    /// Makes a span below this span. Makes no span if no subscriber wants this span.
    pub(crate) fn child(&self, make: impl FnOnce(&Span) -> Span) -> Self {
        let made = self.0.with_subscriber(|(_, own)| dispatcher::with_default(own, || make(&self.0)));
        Self(made.unwrap_or_else(Span::none))
    }
}

impl Deref for OwnSpan {
    type Target = Span;

    fn deref(&self) -> &Span {
        &self.0
    }
}

impl Drop for OwnSpan {
    fn drop(&mut self) {
        if let Some(own) = self.0.with_subscriber(|(_, own)| own.clone()) {
            dispatcher::with_default(&own, || drop(std::mem::replace(&mut self.0, Span::none())));
        }
    }
}
