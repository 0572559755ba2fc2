//! Why connections are closed.
//!
//! A leaf: knows nothing of the rest.

use std::fmt;

/// Why the pool let go of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// A request was dropped before its response was read to the end.
    Abandoned,
    /// It made room for another connection, there were enough idle ones, or
    /// [`evict_if`](crate::ClientBuilder::evict_if) said so.
    Evicted,
    /// An error on the connection, or a breach of the protocol.
    Failed,
    /// It was idle for as long as it may be.
    IdleTimeout,
    /// It reached its maximum lifetime.
    MaxLifetime,
    /// The network is another one since.
    NetworkChanged,
    /// Its host closes connections after one response, or sends what nobody has asked for, and is not kept for a while.
    NotKept,
    /// The exchange ended in a way that forbids reuse, such as `Connection: close`.
    NotReusable,
    /// The peer closed it while it was idle, right behind a response, or before it answered. A 408 that nobody asked for is
    /// a close.
    PeerClosed,
    /// The runtime that it belonged to has ended.
    RuntimeGone,
    /// The pool was shut down, or its idle connections were told to go.
    Shutdown,
    /// The machine was suspended while it was idle: its peer may be long gone.
    Suspended,
    /// The peer sent something that nobody had asked for, other than line ends.
    Unsolicited,
    /// It had become a tunnel, by an upgrade or by CONNECT, and was dropped.
    Upgraded,
}

impl DropReason {
    /// All reasons, in alphabetical order.
    pub const ALL: &[Self] = &[
        Self::Abandoned,
        Self::Evicted,
        Self::Failed,
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::NetworkChanged,
        Self::NotKept,
        Self::NotReusable,
        Self::PeerClosed,
        Self::RuntimeGone,
        Self::Shutdown,
        Self::Suspended,
        Self::Unsolicited,
        Self::Upgraded,
    ];
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abandoned => "abandoned",
            Self::Evicted => "evicted",
            Self::Failed => "failed",
            Self::IdleTimeout => "idle timeout",
            Self::MaxLifetime => "maximum lifetime",
            Self::NetworkChanged => "network changed",
            Self::NotKept => "host not kept",
            Self::NotReusable => "not reusable",
            Self::PeerClosed => "closed by the peer",
            Self::RuntimeGone => "runtime gone",
            Self::Shutdown => "shutdown",
            Self::Suspended => "suspended",
            Self::Unsolicited => "unsolicited bytes",
            Self::Upgraded => "upgraded",
        })
    }
}

/// Number of reasons.
pub(crate) const REASONS: usize = DropReason::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words() {
        let mut seen = std::collections::HashSet::new();
        for reason in DropReason::ALL {
            let text = reason.to_string();
            assert!(text.chars().all(|letter| letter.is_ascii_lowercase() || letter == ' '), "{text}");
            assert!(seen.insert(text), "{reason:?}");
        }
    }
}
