//! The amount of a request that was written.
//!
//! This module is a leaf: the module imports nothing of the crate, so that a decision that depends on this module
//! builds alone.

/// The amount of a request that was written to a connection. If the request was sent several times, the largest amount
/// counts.
///
/// With https, bytes count as written once they have been passed to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(clippy::exhaustive_enums, reason = "no other amount exists, and callers must handle all three")]
pub enum Written {
    /// No byte was written, so that the server cannot have acted on the request.
    #[default]
    Nothing,
    /// A part was written, so that the server may have acted on the request.
    Partly,
    /// The whole request was written, so that the server may have acted on the request.
    All,
}
