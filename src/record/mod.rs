//! The spans and the timings of a request, and the records that a caller's function gets.
//!
//! [`RequestTrace`] has one method per milestone. Each method takes one clock reading for the spans, the milestones and
//! the record, so that a phase ends at the same instant in all of them. `manual/phases.md` names the fields of every
//! span. The dial has its own trace, in `trace/`.
//!
//! - `request.rs` is the trace of one request. Every attempt enters it once and leaves it once.
//! - `spans.rs` opens and closes the spans of an attempt.
//! - `timeline.rs` holds the milestones, and cuts the timings from them.
//! - `server_timing.rs` reads the field `Server-Timing`, in which the server describes its own time.
//! - `methods.rs` decides which methods spans and metrics show by their names.
//! - `exchange.rs` has the record of one attempt, which a caller reads.
//!
//! This module knows the pool's description of a connection, and knows nothing of how bytes are sent. Invariants: every
//! span that starts ends once. Each attempt gives one record.

mod exchange;
mod methods;
mod request;
mod server_timing;
mod spans;
mod timeline;

#[cfg_attr(not(feature = "otel"), allow(unused_imports, reason = "nothing measures attempts"))]
pub(crate) use self::exchange::Observer;
pub(crate) use self::exchange::{Amounts, OnExchange};
pub use self::exchange::{ExchangeOutcome, ExchangeRecord};
pub(crate) use self::methods::KnownMethods;
pub(crate) use self::request::{Ended, RequestTrace, Sending};
pub use self::server_timing::ServerTiming;
pub(crate) use self::timeline::Measured;
