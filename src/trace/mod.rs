//! The spans of dials, and the milestones of a dial.
//!
//! [`Setup`] has one method per milestone. Each method takes one clock reading for the span and the milestone, so that
//! a phase ends at the same instant in both. `manual/phases.md` names the fields of every span. The trace of a request
//! is in `record/`. This module knows nothing of sockets, pools or codecs. Invariant: every span that starts ends once.

mod dial;
mod link;
mod own;

use std::time::Instant;

use tracing::Span;

pub(crate) use self::dial::{Attempt, Interval, Milestones, Setup, SetupPhase};
pub(crate) use self::link::SpanLink;
pub(crate) use self::own::{OwnSpan, contained};

/// Records the length of the span's phase in `elapsed_ns`, in nanoseconds.
pub(crate) fn record_elapsed(span: &Span, from: Instant, to: Instant) {
    span.record("elapsed_ns", int(to.saturating_duration_since(from).as_nanos()));
}

/// Returns the value of a field that is a number. `tracing-opentelemetry` turns `i64` into a number, and other types of
/// integers into text.
pub(crate) fn int(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Returns a host as the field `server.address` shows it: an IPv6 address has no brackets.
pub(crate) fn server_address(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Target of every span, for filters such as `handclasp=debug`.
pub(crate) const TARGET: &str = "handclasp";
