//! The spans of requests and dials, and the milestones from which [`Timings`](crate::timings::Timings) are cut.
//!
//! [`RequestTrace`] and [`Setup`] have one method per milestone. Each method takes one clock reading for the spans and
//! the milestones, so that a phase ends at the same instant in the spans and in the milestones. `manual/phases.md`
//! names the fields of every span. This module knows nothing of sockets, pools or codecs. Invariant: every span that
//! starts ends once.

mod dial;
mod request;

use std::time::Instant;

use tracing::Span;

pub(crate) use self::dial::{Attempt, Milestones, Setup, SetupPhase};
pub(crate) use self::request::{Measured, RequestTrace};

/// Records the length of the span's phase in `elapsed_ns`, in nanoseconds.
fn record_elapsed(span: &Span, from: Instant, to: Instant) {
    span.record(
        "elapsed_ns",
        u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX),
    );
}

/// Target of every span, for filters such as `handclasp=debug`.
const TARGET: &str = "handclasp";
