//! Why a connection must be closed after an exchange instead of being used again.
//!
//! A reason is not an error: the exchange may have gone well. Nothing here knows how the reasons are found.
//! Invariant: [`CloseReasons`] only ever grows, so that a reason once known cannot be forgotten.

use std::fmt;

/// One reason to close a connection after its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent `Connection: close`, in the final response or in an interim one.
    PeerClose,
    /// The request said `Connection: close`.
    OwnClose,
    /// The response was HTTP/1.0 without `Connection: keep-alive`.
    Http10,
    /// The response's body ended with the connection.
    CloseDelimited,
    /// An HTTP/1.0 response used Transfer-Encoding, which its sender cannot have understood.
    Http10TransferEncoding,
    /// A leniency was exercised on what frames the response; or it has no body, but its head frames one in a way in which
    /// none may be framed.
    Lenient,
    /// Bytes arrived after the end of the response.
    Surplus,
    /// The upload was given up, or did not have the length it promised.
    UploadAborted,
    /// The response ended before the upload did.
    UploadUnfinished,
    /// The connection became a tunnel, or was asked to.
    Tunnel,
    /// The peer switched to another protocol.
    Upgrade,
    /// The peer broke the protocol.
    Protocol,
    /// The peer closed the connection.
    Eof,
    /// The peer spoke before it was asked.
    Unsolicited,
    /// The response was not read to its end.
    Abandoned,
    /// Reading or writing failed, or took too long.
    Failed,
    /// The owner of the connection wants it closed.
    Policy,
}

impl CloseReason {
    /// The reason in words, for spans and logs.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::PeerClose => "peer sent connection: close",
            Self::OwnClose => "request said connection: close",
            Self::Http10 => "peer speaks HTTP/1.0 and did not offer keep-alive",
            Self::CloseDelimited => "response body ended with the connection",
            Self::Http10TransferEncoding => "peer used transfer-encoding in an HTTP/1.0 response",
            Self::Lenient => "response was framed by a forgiven departure from the grammar",
            Self::Surplus => "peer sent bytes after the end of the response",
            Self::UploadAborted => "upload was given up",
            Self::UploadUnfinished => "response ended before the upload did",
            Self::Tunnel => "connection became a tunnel",
            Self::Upgrade => "peer switched to another protocol",
            Self::Protocol => "peer broke the protocol",
            Self::Eof => "peer closed the connection",
            Self::Unsolicited => "peer spoke before it was asked",
            Self::Abandoned => "response was not read to its end",
            Self::Failed => "reading or writing failed or took too long",
            Self::Policy => "owner of the connection wants it closed",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

/// A set of [`CloseReason`]s. Empty means: the connection may be used again.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CloseReasons(u32);

impl CloseReasons {
    /// Adds a reason; adding it twice changes nothing.
    pub fn insert(&mut self, reason: CloseReason) {
        self.0 |= reason.bit();
    }

    /// Whether the reason is in the set.
    #[must_use]
    pub fn contains(self, reason: CloseReason) -> bool {
        self.0 & reason.bit() != 0
    }

    /// Whether there is no reason at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The reasons, in the order in which [`CloseReason`] declares them.
    pub fn iter(self) -> impl Iterator<Item = CloseReason> {
        ALL.into_iter().filter(move |&reason| self.contains(reason))
    }

    pub(super) fn with(mut self, reason: CloseReason) -> Self {
        self.insert(reason);
        self
    }
}

impl fmt::Debug for CloseReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// In order of declaration.
const ALL: [CloseReason; 17] = [
    CloseReason::PeerClose,
    CloseReason::OwnClose,
    CloseReason::Http10,
    CloseReason::CloseDelimited,
    CloseReason::Http10TransferEncoding,
    CloseReason::Lenient,
    CloseReason::Surplus,
    CloseReason::UploadAborted,
    CloseReason::UploadUnfinished,
    CloseReason::Tunnel,
    CloseReason::Upgrade,
    CloseReason::Protocol,
    CloseReason::Eof,
    CloseReason::Unsolicited,
    CloseReason::Abandoned,
    CloseReason::Failed,
    CloseReason::Policy,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_holds_every_reason_and_only_those_inserted() {
        let mut set = CloseReasons::default();
        for (index, reason) in ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "ALL is in order of declaration");
            assert!(!set.contains(reason));
            set.insert(reason);
            assert!(set.contains(reason));
            assert_eq!(set.iter().count(), index + 1);
        }
        assert!(!set.is_empty());
        assert!(CloseReasons::default().is_empty());
        assert_eq!(format!("{:?}", CloseReasons::default().with(CloseReason::Eof)), "{Eof}");
    }

    #[test]
    fn every_reason_says_something_of_its_own() {
        for (index, reason) in ALL.into_iter().enumerate() {
            let text = reason.to_string();
            assert_eq!(text, reason.explain());
            assert!(text.contains(' ') && !text.ends_with('.'), "{text}");
            assert!(ALL[..index].iter().all(|other| other.explain() != text), "said twice: {text}");
        }
    }
}
