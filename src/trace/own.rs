//! A span that is made and closed in one subscriber.
//!
//! `tracing-subscriber` looks up the span above a span in the subscriber of the thread, when the span is made and when it
//! closes. If the thread has another subscriber than the span above, the number of that span means another span there, or
//! no span, so that `tracing-subscriber` panics. A task of a dial, and a request that is polled elsewhere, run on such
//! threads.
//!
//! While `tracing` hands an event or a new span to the subscriber of the thread, `tracing` panics if the thread gets another
//! subscriber. The code of a layer that drops a request then closes the spans of the request in no subscriber. In that case
//! `tracing-subscriber` does not close the span above.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::{Dispatch, Span, dispatcher};
use tracing_core::dispatcher::get_current;

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

    /// Makes a span for the pool. Makes no span if the subscriber panics.
    pub(crate) fn made(make: impl FnOnce() -> Span) -> Self {
        Self(contained(make).unwrap_or_else(Span::none))
    }

    /// Makes a span below this span. Makes no span if no subscriber wants this span.
    pub(crate) fn child(&self, make: impl FnOnce(&Span) -> Span) -> Self {
        let made = self.0.with_subscriber(|(_, own)| within(own, || make(&self.0)));
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
            let span = std::mem::replace(&mut self.0, Span::none());
            let _ = contained(|| within(&own, || drop(span)));
        }
    }
}

/// Runs code of a subscriber where a panic would take a connection, or would meet another panic. Returns `None` if the code
/// panics, because the panic hook has already reported the panic.
pub(crate) fn contained<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Runs `work` in this subscriber, unless the subscriber of the thread is being called.
fn within<R>(own: &Dispatch, work: impl FnOnce() -> R) -> R {
    match get_current(|_| ()) {
        Some(()) => dispatcher::with_default(own, work),
        None => work(),
    }
}
