//! The reasons for which the pool closes connections.
//!
//! This file uses no other file of the crate.

use std::fmt;

/// Reason for which the pool closed a connection. The page on [reuse](crate::manual::reuse) has the rules.
///
/// ```
/// use handclasp::DropReason;
///
/// assert_eq!(DropReason::IdleTimeout.to_string(), "idle timeout");
/// assert!(DropReason::ALL.contains(&DropReason::PeerClosed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// A request or its response was dropped before the response was read to the end.
    Abandoned,
    /// A lookup of the host's name does not have the address of the connection any more: see
    /// [`ClientBuilder::spread_connections`](crate::ClientBuilder::spread_connections).
    AddressLeft,
    /// The connection made room for another connection, there were too many idle connections, or
    /// [`evict_if`](crate::ClientBuilder::evict_if) rejected the connection.
    Evicted,
    /// The connection failed, or the server broke the protocol on the connection.
    Failed,
    /// The function of `ClientBuilder::identity_provider` returned another TLS identity after the connection was made.
    IdentityChanged,
    /// The connection was idle for longer than the idle timeout or the server's `Keep-Alive: timeout` allows.
    IdleTimeout,
    /// The connection reached its maximum lifetime.
    MaxLifetime,
    /// The network changed after the connection was made: see
    /// [`Pool::on_network_change`](crate::Pool::on_network_change).
    NetworkChanged,
    /// The host closed connections after one response each, or sent unsolicited bytes, so that its connections are not
    /// kept for a while.
    NotKept,
    /// The exchange ended in a way that forbids reuse, such as with `Connection: close`.
    NotReusable,
    /// The server closed the connection while the connection was idle, right after a response, or before the response
    /// began. An unsolicited 408 response counts as a close.
    PeerClosed,
    /// The connection was reserved, and the caller has ended the reservation without giving the connection back: see
    /// [`Client::reserve`](crate::Client::reserve).
    Reserved,
    /// The runtime that the connection belonged to has ended.
    RuntimeGone,
    /// The pool was shut down, or the caller told the pool to close its idle connections.
    Shutdown,
    /// The machine was suspended while the connection was idle, so the server may have closed the connection.
    Suspended,
    /// An answer began sooner than half of the shortest round trip known for the host, so that it answers an earlier
    /// request. The request was sent again on another connection.
    TooSoon,
    /// The server sent bytes that no request had asked for, other than line ends, or an answer to a request that must
    /// not be repeated began too soon.
    Unsolicited,
    /// The connection became a tunnel by an upgrade or by CONNECT, and the tunnel was dropped.
    Upgraded,
}

impl DropReason {
    /// All reasons, in alphabetical order.
    pub const ALL: &[Self] = &[
        Self::Abandoned,
        Self::AddressLeft,
        Self::Evicted,
        Self::Failed,
        Self::IdentityChanged,
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::NetworkChanged,
        Self::NotKept,
        Self::NotReusable,
        Self::PeerClosed,
        Self::Reserved,
        Self::RuntimeGone,
        Self::Shutdown,
        Self::Suspended,
        Self::TooSoon,
        Self::Unsolicited,
        Self::Upgraded,
    ];
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abandoned => "abandoned",
            Self::AddressLeft => "address left",
            Self::Evicted => "evicted",
            Self::Failed => "failed",
            Self::IdentityChanged => "identity changed",
            Self::IdleTimeout => "idle timeout",
            Self::MaxLifetime => "maximum lifetime",
            Self::NetworkChanged => "network changed",
            Self::NotKept => "host not kept",
            Self::NotReusable => "not reusable",
            Self::PeerClosed => "closed by the peer",
            Self::Reserved => "reservation ended",
            Self::RuntimeGone => "runtime gone",
            Self::Shutdown => "shutdown",
            Self::Suspended => "suspended",
            Self::TooSoon => "answer too soon",
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
