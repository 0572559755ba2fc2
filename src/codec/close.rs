//! The reasons to close a connection after an exchange instead of using the connection again.
//!
//! A reason is not an error, because the exchange may have succeeded. This module does not know how the reasons are
//! found. Invariant: a reason that was put into [`CloseReasons`] is never taken out.

use std::fmt;

/// One reason to close a connection after its exchange.
///
/// [`explain`](Self::explain) returns the reason as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server sent `Connection: close`, in the final response or in an interim response.
    PeerClose,
    /// The request said `Connection: close`.
    OwnClose,
    /// The response was HTTP/1.0 without `Connection: keep-alive`.
    Http10,
    /// The end of the response's body was the end of the connection.
    CloseDelimited,
    /// An HTTP/1.0 response used Transfer-Encoding, which HTTP/1.0 does not have.
    Http10TransferEncoding,
    /// The framing of the response departed from the grammar in a way that [`Leniency`](super::Leniency) allows. The
    /// codec also adds this reason if the response has no body, but its head has framing fields that no such response
    /// may have.
    Lenient,
    /// A field line of a response head departed from the grammar in a way that [`Leniency`](super::Leniency) allows:
    /// the line was ignored, or had blanks before its colon.
    LenientField,
    /// Bytes arrived after the end of the response.
    Surplus,
    /// The response began so soon that it cannot answer its request. The codec's caller adds this reason.
    Early,
    /// The upload was aborted, or did not have its promised length.
    UploadAborted,
    /// The response ended before the upload had ended.
    UploadUnfinished,
    /// The connection became a tunnel, or the request asked for a tunnel.
    Tunnel,
    /// The server switched to another protocol.
    Upgrade,
    /// The server broke the rules of HTTP/1.1.
    Protocol,
    /// The server closed the connection.
    Eof,
    /// The server sent bytes before the connection carried a request.
    Unsolicited,
    /// Reading or writing failed, or took too long. The codec's caller adds this reason.
    Failed,
}

impl CloseReason {
    /// Returns the reason as a sentence, for spans, logs and pool events.
    ///
    /// ```
    /// use handclasp::codec::CloseReason;
    ///
    /// assert_eq!(CloseReason::Surplus.explain(), "the server sent bytes after the end of the response");
    /// ```
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::PeerClose => "the server sent `connection: close`",
            Self::OwnClose => "the request said `connection: close`",
            Self::Http10 => "the server answered in HTTP/1.0 without `connection: keep-alive`",
            Self::CloseDelimited => "the server ended the response body by closing the connection",
            Self::Http10TransferEncoding => "the server sent transfer-encoding in an HTTP/1.0 response",
            Self::Lenient => "the server departed from the grammar in the framing of the response",
            Self::LenientField => "the server departed from the grammar in a header field of the response",
            Self::Surplus => "the server sent bytes after the end of the response",
            Self::Early => "the response began too soon to answer its request",
            Self::UploadAborted => "the upload was aborted",
            Self::UploadUnfinished => "the response ended before the upload ended",
            Self::Tunnel => "the connection became a tunnel",
            Self::Upgrade => "the server switched to another protocol",
            Self::Protocol => "the server broke the rules of HTTP/1.1",
            Self::Eof => "the server closed the connection",
            Self::Unsolicited => "the server sent bytes before a request",
            Self::Failed => "reading or writing failed or took too long",
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

/// A set of [`CloseReason`]s. If the set is empty, the connection may be used again.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CloseReasons(u32);

impl CloseReasons {
    /// Adds a reason. Adding the same reason twice has no further effect.
    pub fn insert(&mut self, reason: CloseReason) {
        self.0 |= reason.bit();
    }

    /// Whether the reason is in the set.
    #[must_use]
    pub fn contains(self, reason: CloseReason) -> bool {
        self.0 & reason.bit() != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the reasons in the order in which [`CloseReason`] declares them.
    ///
    /// ```
    /// use handclasp::codec::{CloseReason, CloseReasons};
    ///
    /// let mut reasons = CloseReasons::default();
    /// reasons.insert(CloseReason::Surplus);
    /// reasons.insert(CloseReason::PeerClose);
    /// assert!(reasons.iter().eq([CloseReason::PeerClose, CloseReason::Surplus]));
    /// ```
    pub fn iter(self) -> impl Iterator<Item = CloseReason> {
        ALL.into_iter().filter(move |&reason| self.contains(reason))
    }

    /// Returns the set with one more reason.
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

/// Every reason, in order of declaration.
const ALL: [CloseReason; 17] = [
    CloseReason::PeerClose,
    CloseReason::OwnClose,
    CloseReason::Http10,
    CloseReason::CloseDelimited,
    CloseReason::Http10TransferEncoding,
    CloseReason::Lenient,
    CloseReason::LenientField,
    CloseReason::Surplus,
    CloseReason::Early,
    CloseReason::UploadAborted,
    CloseReason::UploadUnfinished,
    CloseReason::Tunnel,
    CloseReason::Upgrade,
    CloseReason::Protocol,
    CloseReason::Eof,
    CloseReason::Unsolicited,
    CloseReason::Failed,
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
    fn every_reason_has_a_sentence_of_its_own() {
        for (index, reason) in ALL.into_iter().enumerate() {
            let text = reason.to_string();
            assert_eq!(text, reason.explain());
            assert!(text.contains(' ') && !text.ends_with('.'), "{text}");
            assert!(
                ALL[..index].iter().all(|other| other.explain() != text),
                "the same sentence twice: {text}"
            );
        }
    }
}
