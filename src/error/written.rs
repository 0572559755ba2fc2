//! How much of a request was written.
//!
//! A leaf: knows nothing of the rest, so that a decision that depends on it builds alone.

/// How much of a request was given to the connection: the most over all attempts.
///
/// For https, bytes count as written once TLS has taken them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(clippy::exhaustive_enums, reason = "there is nothing between part and all")]
pub enum Written {
    /// Not one byte: the server cannot have acted on it.
    #[default]
    Nothing,
    /// Some of it.
    Partly,
    /// All of it.
    All,
}
