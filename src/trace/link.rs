//! The link from the span of a request to the span of a dial.
//!
//! A subscriber numbers its spans, and may give the number of a span that has closed to another span. The layer of
//! `tracing-opentelemetry` forgets a span that closes, so that it cannot link a request on a kept connection by the number
//! of the dial's span. With the feature `otel`, the link therefore holds the context of the span, which names the span in
//! every subscriber, even after the span has closed. No other file uses `tracing-opentelemetry`.

#[cfg(feature = "otel")]
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::Span;
use tracing::span::Id;
#[cfg(feature = "otel")]
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A link to a span, which outlives the span.
#[derive(Debug)]
pub(crate) enum SpanLink {
    /// The number of the span in its subscriber.
    Id(Id),
    /// The context of the span. A layer of OpenTelemetry exports the span.
    #[cfg(feature = "otel")]
    Context(Box<SpanContext>),
}

impl SpanLink {
    /// Creates a link to a span that has not closed. Returns `None` if no subscriber wants the span.
    pub(crate) fn to(span: &Span) -> Option<Self> {
        let id = span.id()?;
        #[cfg(feature = "otel")]
        if let Some(context) = context(span) {
            return Some(Self::Context(Box::new(context)));
        }
        Some(Self::Id(id))
    }

    /// Adds the link to a span.
    ///
    /// A context goes to the layer of OpenTelemetry alone. If this function also told the subscriber the number, the layer
    /// would add a second link while the named span is open.
    pub(crate) fn add_to(&self, span: &Span) {
        match self {
            Self::Id(id) => {
                span.follows_from(id);
            }
            #[cfg(feature = "otel")]
            Self::Context(context) => span.add_link(SpanContext::clone(context)),
        }
    }
}

/// Returns the context of a span. `None` if no layer of OpenTelemetry exports the span.
#[cfg(feature = "otel")]
fn context(span: &Span) -> Option<SpanContext> {
    let context = OpenTelemetrySpanExt::context(span);
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}
