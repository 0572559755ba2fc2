//! Who broke the rules: the peer ([`ProtocolError`]) or the caller ([`Misuse`]).
//!
//! Neither holds a byte of what was sent, so that no error can print a secret. Invariant: the error of a complete
//! section, or at the end of the input, depends only on the bytes, not on how they were split, and a [`Misuse`] has
//! written nothing.

use std::error::Error;
use std::fmt;

/// What the peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first bytes cannot begin an HTTP/1 response.
    NotHttp,
    /// The response is of another major version.
    UnsupportedVersion,
    /// The status line is malformed.
    BadStatusLine,
    /// The status code is below 100.
    BadStatusCode,
    /// A field line has no colon, or its name is not a token.
    BadFieldName,
    /// A field value contains a byte that no value may contain.
    BadFieldValue,
    /// A carriage return is not followed by a line feed.
    BareCarriageReturn,
    /// A line ended in a bare line feed where that is not forgiven.
    BareLineFeed,
    /// The first field line begins with whitespace.
    LeadingWhitespace,
    /// A field line was folded where that is not forgiven.
    ObsoleteFold,
    /// The head is longer than [`Limits::head`](super::Limits::head).
    HeadTooLarge,
    /// There are more field lines than [`Limits::fields`](super::Limits::fields), in the head or in the trailers.
    TooManyFields,
    /// There are more interim responses than [`Limits::informational`](super::Limits::informational).
    TooManyInformational,
    /// The interim heads are longer than
    /// [`Limits::informational_bytes`](super::Limits::informational_bytes).
    InformationalTooLarge,
    /// The peer switched protocols though the request offered none.
    UnsolicitedUpgrade,
    /// The peer switched protocols without an Upgrade field that names the new one.
    UpgradeUnnamed,
    /// The peer switched to a protocol that the request did not offer.
    UpgradeNotOffered,
    /// The peer switched protocols before the request was sent completely.
    UpgradeTooEarly,
    /// A Content-Length is not a number, or too large for one.
    BadContentLength,
    /// Several Content-Length values differ, be it only in how the number is written.
    ConflictingContentLength,
    /// Both Content-Length and Transfer-Encoding are there.
    LengthWithTransferEncoding,
    /// A transfer coding other than chunked was applied.
    UnsupportedTransferCoding,
    /// The chunked coding has parameters.
    ChunkedParameters,
    /// The chunked coding was applied twice.
    ChunkedTwice,
    /// A chunk size is not hexadecimal.
    BadChunkSize,
    /// A chunk size has more than 16 digits, leading zeros not counted.
    ChunkSizeTooLarge,
    /// A chunk extension is malformed.
    BadChunkExtension,
    /// The chunk extensions are longer than [`Limits::chunk_line`](super::Limits::chunk_line) on one line, or than
    /// [`Limits::chunk_extensions`](super::Limits::chunk_extensions) together.
    ChunkExtensionsTooLarge,
    /// A chunk-size line does not end in CRLF.
    BadChunkLine,
    /// The data of a chunk is not followed by CRLF.
    BadChunkEnd,
    /// The trailer section is longer than [`Limits::trailers`](super::Limits::trailers).
    TrailersTooLarge,
    /// Bytes arrived before a request was sent.
    SpokeFirst,
    /// The connection was closed before the first byte of the (next) response head.
    ClosedBeforeResponse,
    /// The connection was closed within a response head.
    ClosedWithinHead,
    /// The connection was closed within the body.
    ClosedWithinBody {
        /// How many bytes of the announced length are missing; `None` when the length was never announced.
        missing: Option<u64>,
    },
}

impl ProtocolError {
    /// Whether the misdeed was to close the connection too early, rather than to send something malformed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::ClosedBeforeResponse | Self::ClosedWithinHead | Self::ClosedWithinBody { .. })
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotHttp => "peer sent something that is not an HTTP/1 response (RFC 9112, section 2.1)",
            Self::UnsupportedVersion => {
                "peer answered in another major version of HTTP (RFC 9112, section 2.3)"
            }
            Self::BadStatusLine => "peer sent a malformed status line (RFC 9112, section 4)",
            Self::BadStatusCode => "peer sent a status code below 100 (RFC 9110, section 15)",
            Self::BadFieldName => {
                "peer sent a field line without a valid name and colon (RFC 9112, section 5)"
            }
            Self::BadFieldValue => "peer sent a field value with a forbidden byte (RFC 9110, section 5.5)",
            Self::BareCarriageReturn => "peer sent a CR that is not followed by LF (RFC 9112, section 2.2)",
            Self::BareLineFeed => "peer ended a line with a bare LF (RFC 9112, section 2.2)",
            Self::LeadingWhitespace => {
                "peer sent whitespace between the start line and the first field (RFC 9112, section 2.2)"
            }
            Self::ObsoleteFold => "peer folded a field line (RFC 9112, section 5.2)",
            Self::HeadTooLarge => "peer sent a response head larger than the limit",
            Self::TooManyFields => "peer sent more fields than the limit",
            Self::TooManyInformational => "peer sent more interim responses than the limit",
            Self::InformationalTooLarge => "peer sent interim responses larger than the limit",
            Self::UnsolicitedUpgrade => "peer switched protocols unasked (RFC 9110, section 15.2.2)",
            Self::UpgradeUnnamed => {
                "peer switched protocols without naming the new one (RFC 9110, section 15.2.2)"
            }
            Self::UpgradeNotOffered => {
                "peer switched to a protocol that was not offered (RFC 9110, section 7.8)"
            }
            Self::UpgradeTooEarly => {
                "peer switched protocols before the request was sent (RFC 9110, section 7.8)"
            }
            Self::BadContentLength => "peer sent an invalid content-length (RFC 9112, section 6.3)",
            Self::ConflictingContentLength => "peer sent differing content-lengths (RFC 9112, section 6.3)",
            Self::LengthWithTransferEncoding => {
                "peer sent content-length together with transfer-encoding (RFC 9112, section 6.3)"
            }
            Self::UnsupportedTransferCoding => {
                "peer applied a transfer coding that was not asked for (RFC 9112, section 6.1)"
            }
            Self::ChunkedParameters => "peer sent parameters on the chunked coding (RFC 9112, section 7.1)",
            Self::ChunkedTwice => "peer applied the chunked coding twice (RFC 9112, section 6.1)",
            Self::BadChunkSize => "peer sent a chunk size that is not hexadecimal (RFC 9112, section 7.1)",
            Self::ChunkSizeTooLarge => {
                "peer sent a chunk size of more than 16 digits (RFC 9112, section 7.1)"
            }
            Self::BadChunkExtension => "peer sent a malformed chunk extension (RFC 9112, section 7.1.1)",
            Self::ChunkExtensionsTooLarge => "peer sent chunk extensions larger than the limit",
            Self::BadChunkLine => "peer did not end a chunk-size line with CRLF (RFC 9112, section 7.1)",
            Self::BadChunkEnd => "peer did not end a chunk's data with CRLF (RFC 9112, section 7.1)",
            Self::TrailersTooLarge => "peer sent a trailer section larger than the limit",
            Self::SpokeFirst => "peer sent bytes before a request (RFC 9112, section 9.2)",
            Self::ClosedBeforeResponse => "peer closed the connection before the response head",
            Self::ClosedWithinHead => {
                "peer closed the connection within the response head (RFC 9112, section 8)"
            }
            Self::ClosedWithinBody { .. } => {
                "peer closed the connection within the response body (RFC 9112, section 8)"
            }
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::ClosedWithinBody { missing: Some(missing) } => write!(f, ", {missing} bytes missing"),
            _ => Ok(()),
        }
    }
}

impl Error for ProtocolError {}

/// What the caller did wrong. The same call fails the same way every time, before a byte of it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// The request target is malformed: empty, relative, or with a byte that may not appear raw.
    BadTarget,
    /// The method does not go with this form of target.
    TargetForm,
    /// There is no host, neither in the target nor in the headers.
    NoHost,
    /// The host is malformed.
    BadHost,
    /// There are several Host headers.
    SeveralHosts,
    /// A Host header names another host than the target, which is in a form that names one too.
    HostMismatch,
    /// A header value contains CR, LF or NUL.
    BadHeaderValue,
    /// A header value begins or ends with whitespace, which is no part of a value.
    PaddedHeaderValue,
    /// A Content-Length header is not a number.
    BadContentLength,
    /// A Content-Length header differs from the body's length.
    ContentLengthMismatch,
    /// A Transfer-Encoding header is not exactly `chunked`.
    BadTransferEncoding,
    /// Both a Content-Length and a Transfer-Encoding header are there.
    LengthWithTransferEncoding,
    /// The method may not have a body.
    BodyNotAllowed,
    /// A Connection header is not a list of connection options: an element is empty or no token, names a field that is
    /// for all recipients, or it says `close` while the headers say `keep-alive`.
    BadConnection,
    /// The headers say `keep-alive`, in Connection or by a Keep-Alive header, but the connection is to close after this
    /// request: [`RequestHead::close`](super::RequestHead::close) says so, not a header.
    CloseContradicted,
    /// There is a Proxy-Connection header.
    ProxyConnection,
    /// A TE header is not exactly `trailers`.
    BadTe,
    /// An Upgrade header is not a list of protocols.
    BadUpgrade,
    /// An Expect header is not exactly `100-continue`, or there are several.
    BadExpect,
    /// There is an expectation of `100-continue`, but no body to continue with.
    ExpectWithoutBody,
    /// There are several headers of a name that allows one.
    SeveralFields,
    /// A TRACE request, which will be echoed, has Authorization, Proxy-Authorization or Cookie.
    SensitiveTrace,
    /// An OPTIONS request has a body, but no Content-Type.
    NoContentType,
    /// A trailer may not be sent as one, or a Trailer header announces such a one.
    BadTrailer,
    /// Trailers, and announcing them, need a chunked body that has not ended.
    TrailersWithoutChunked,
    /// The head was encoded before.
    HeadAlreadySent,
    /// The head was not encoded yet.
    HeadNotSent,
    /// The body has more bytes than its length promised, or goes on after its end.
    MoreThanPromised,
    /// The body ended before its promised length.
    FewerThanPromised {
        /// How many bytes are missing.
        missing: u64,
    },
    /// The upload was given up before.
    SendAborted,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadTarget => "caller gave a malformed request target",
            Self::TargetForm => "caller gave a form of request target that does not go with the method",
            Self::NoHost => "caller gave no host",
            Self::BadHost => "caller gave a malformed host",
            Self::SeveralHosts => "caller gave several host headers",
            Self::HostMismatch => "caller gave a host header that is not the target's host",
            Self::BadHeaderValue => "caller gave a header value with CR, LF or NUL",
            Self::PaddedHeaderValue => "caller gave a header value that begins or ends with whitespace",
            Self::BadContentLength => "caller gave an invalid content-length",
            Self::ContentLengthMismatch => "caller gave a content-length that is not the body's",
            Self::BadTransferEncoding => "caller gave a transfer-encoding other than chunked",
            Self::LengthWithTransferEncoding => "caller gave both content-length and transfer-encoding",
            Self::BodyNotAllowed => "caller gave a body to a method that may not have one",
            Self::BadConnection => {
                "caller gave a connection option that may not be one, or close beside keep-alive (RFC 9110, section 7.6.1)"
            }
            Self::CloseContradicted => {
                "caller gave keep-alive in the headers of a request after which its own settings close the connection (RFC 9110, section 7.6.1)"
            }
            Self::ProxyConnection => {
                "caller gave a proxy-connection header; connection is the one to use (RFC 9112, appendix C.2.2)"
            }
            Self::BadTe => "caller gave a te header other than trailers (RFC 9110, section 10.1.4)",
            Self::BadUpgrade => {
                "caller gave an upgrade header that is not a list of protocols (RFC 9110, section 7.8)"
            }
            Self::BadExpect => "caller gave an expect header other than 100-continue (RFC 9110, section 10.1.1)",
            Self::ExpectWithoutBody => {
                "caller gave an expectation of 100-continue without a body (RFC 9110, section 10.1.1)"
            }
            Self::SeveralFields => {
                "caller gave several headers of a name that allows one (RFC 9110, section 5.3)"
            }
            Self::SensitiveTrace => "caller gave credentials or cookies to TRACE (RFC 9110, section 9.3.8)",
            Self::NoContentType => {
                "caller gave a body to OPTIONS without a content-type (RFC 9110, section 9.3.7)"
            }
            Self::BadTrailer => "caller gave a trailer that may not be one",
            Self::TrailersWithoutChunked => "caller gave trailers without an open chunked body",
            Self::HeadAlreadySent => "caller sent a second head",
            Self::HeadNotSent => "caller sent a body before its head",
            Self::MoreThanPromised => "caller's body is longer than promised",
            Self::FewerThanPromised { missing } => {
                return write!(f, "caller's body ended {missing} bytes before its promised length");
            }
            Self::SendAborted => "caller went on with an upload that was given up",
        })
    }
}

impl Error for Misuse {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_close_too_early_is_no_malformed_message() {
        for (error, expected) in [
            (ProtocolError::ClosedBeforeResponse, true),
            (ProtocolError::ClosedWithinHead, true),
            (ProtocolError::ClosedWithinBody { missing: Some(1) }, true),
            (ProtocolError::ClosedWithinBody { missing: None }, true),
            (ProtocolError::NotHttp, false),
            (ProtocolError::SpokeFirst, false),
            (ProtocolError::BadChunkEnd, false),
        ] {
            assert_eq!(error.is_closed(), expected, "{error:?}");
        }
    }

    #[test]
    fn what_is_missing_is_counted_where_it_was_announced() {
        let text = |missing| ProtocolError::ClosedWithinBody { missing }.to_string();
        assert_eq!(text(Some(4)), format!("{}, 4 bytes missing", text(None)));
        assert!(!text(None).contains("missing"));
        let misuse = Misuse::FewerThanPromised { missing: 7 }.to_string();
        assert_eq!(misuse, "caller's body ended 7 bytes before its promised length");
    }
}
