//! The party that broke the rules of HTTP/1.1: the server ([`ProtocolError`]) or the caller ([`Misuse`]).
//!
//! Neither error type holds a byte of the message, so that no error can print a secret. Invariants: the error of a
//! complete section, and the error at the end of the input, depend only on the bytes and not on how the bytes were
//! split. A call that returns a [`Misuse`] has written nothing.

use std::error::Error;
use std::fmt;

/// A rule of HTTP/1.1 that the server broke.
///
/// `Display` says what the server did and which section of the RFC forbids this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first bytes cannot begin an HTTP/1 response.
    NotHttp,
    /// The response has another major version of HTTP.
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
    /// A line ended in a line feed without a carriage return, and [`Leniency`](super::Leniency) does not allow that.
    BareLineFeed,
    /// The first field line begins with whitespace.
    LeadingWhitespace,
    /// A field line was folded, and [`Leniency`](super::Leniency) does not allow that.
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
    /// The server switched protocols although the request did not ask for a switch.
    UnsolicitedUpgrade,
    /// The server switched protocols without an Upgrade field that names the new protocol.
    UpgradeUnnamed,
    /// The server switched to a protocol that the request did not offer.
    UpgradeNotOffered,
    /// The server switched protocols before the request was sent completely.
    UpgradeTooEarly,
    /// A Content-Length is not a decimal number, or the number does not fit 64 bits.
    BadContentLength,
    /// Several Content-Length values differ. Two spellings of one number (`5` and `05`) differ too.
    ConflictingContentLength,
    /// The response has both Content-Length and Transfer-Encoding.
    LengthWithTransferEncoding,
    /// A transfer coding other than chunked was applied.
    UnsupportedTransferCoding,
    /// The chunked coding has parameters.
    ChunkedParameters,
    /// The chunked coding was applied twice.
    ChunkedTwice,
    /// A chunk size is not hexadecimal.
    BadChunkSize,
    /// A chunk size has more than 16 hexadecimal digits after its leading zeros.
    ChunkSizeTooLarge,
    /// A chunk extension is malformed.
    BadChunkExtension,
    /// The chunk extensions of one line are longer than [`Limits::chunk_line`](super::Limits::chunk_line), or the
    /// extensions of all lines are longer than [`Limits::chunk_extensions`](super::Limits::chunk_extensions).
    ChunkExtensionsTooLarge,
    /// A chunk-size line does not end in CRLF.
    BadChunkLine,
    /// The data of a chunk is not followed by CRLF.
    BadChunkEnd,
    /// The trailer section is longer than [`Limits::trailers`](super::Limits::trailers).
    TrailersTooLarge,
    /// Bytes arrived before the connection carried a request.
    SpokeFirst,
    /// The connection was closed before the first byte of a response head.
    ClosedBeforeResponse,
    /// The connection was closed within a response head.
    ClosedWithinHead,
    /// The connection was closed within the body.
    ClosedWithinBody {
        /// Number of bytes of the announced length that did not arrive, or `None` if the server announced no length.
        missing: Option<u64>,
    },
}

impl ProtocolError {
    /// Whether the server closed the connection too early. If not, the server sent malformed bytes.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::ClosedBeforeResponse | Self::ClosedWithinHead | Self::ClosedWithinBody { .. })
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotHttp => "the server sent bytes that are not an HTTP/1 response (RFC 9112, section 2.1)",
            Self::UnsupportedVersion => {
                "the server answered in another major version of HTTP (RFC 9112, section 2.3)"
            }
            Self::BadStatusLine => "the server sent a malformed status line (RFC 9112, section 4)",
            Self::BadStatusCode => "the server sent a status code below 100 (RFC 9110, section 15)",
            Self::BadFieldName => {
                "the server sent a field line without a valid name and colon (RFC 9112, section 5)"
            }
            Self::BadFieldValue => {
                "the server sent a field value with a forbidden byte (RFC 9110, section 5.5)"
            }
            Self::BareCarriageReturn => {
                "the server sent a CR that is not followed by LF (RFC 9112, section 2.2)"
            }
            Self::BareLineFeed => "the server ended a line with a bare LF (RFC 9112, section 2.2)",
            Self::LeadingWhitespace => {
                "the server sent whitespace between the status line and the first field (RFC 9112, section 2.2)"
            }
            Self::ObsoleteFold => "the server folded a field line (RFC 9112, section 5.2)",
            Self::HeadTooLarge => "the server sent a response head larger than the limit",
            Self::TooManyFields => "the server sent more fields than the limit",
            Self::TooManyInformational => "the server sent more interim responses than the limit",
            Self::InformationalTooLarge => {
                "the server sent interim responses that are together larger than the limit"
            }
            Self::UnsolicitedUpgrade => {
                "the server switched protocols although the request did not ask for a switch (RFC 9110, section 15.2.2)"
            }
            Self::UpgradeUnnamed => {
                "the server switched protocols without naming the new protocol (RFC 9110, section 15.2.2)"
            }
            Self::UpgradeNotOffered => {
                "the server switched to a protocol that the request did not offer (RFC 9110, section 7.8)"
            }
            Self::UpgradeTooEarly => {
                "the server switched protocols before the request was sent completely (RFC 9110, section 7.8)"
            }
            Self::BadContentLength => "the server sent an invalid content-length (RFC 9112, section 6.3)",
            Self::ConflictingContentLength => {
                "the server sent content-lengths that differ (RFC 9112, section 6.3)"
            }
            Self::LengthWithTransferEncoding => {
                "the server sent content-length together with transfer-encoding (RFC 9112, section 6.3)"
            }
            Self::UnsupportedTransferCoding => {
                "the server applied a transfer coding that the request did not ask for (RFC 9112, section 6.1)"
            }
            Self::ChunkedParameters => {
                "the server sent parameters on the chunked coding (RFC 9112, section 7.1)"
            }
            Self::ChunkedTwice => "the server applied the chunked coding twice (RFC 9112, section 6.1)",
            Self::BadChunkSize => {
                "the server sent a chunk size that is not hexadecimal (RFC 9112, section 7.1)"
            }
            Self::ChunkSizeTooLarge => {
                "the server sent a chunk size of more than 16 digits (RFC 9112, section 7.1)"
            }
            Self::BadChunkExtension => {
                "the server sent a malformed chunk extension (RFC 9112, section 7.1.1)"
            }
            Self::ChunkExtensionsTooLarge => "the server sent chunk extensions larger than the limit",
            Self::BadChunkLine => {
                "the server did not end a chunk-size line with CRLF (RFC 9112, section 7.1)"
            }
            Self::BadChunkEnd => "the server did not end a chunk's data with CRLF (RFC 9112, section 7.1)",
            Self::TrailersTooLarge => "the server sent a trailer section larger than the limit",
            Self::SpokeFirst => {
                "the server sent bytes before the connection carried a request (RFC 9112, section 9.2)"
            }
            Self::ClosedBeforeResponse => "the server closed the connection before the response head",
            Self::ClosedWithinHead => {
                "the server closed the connection within the response head (RFC 9112, section 8)"
            }
            Self::ClosedWithinBody { .. } => {
                "the server closed the connection within the response body (RFC 9112, section 8)"
            }
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::ClosedWithinBody { missing: Some(missing) } => write!(f, ": {missing} bytes are missing"),
            _ => Ok(()),
        }
    }
}

impl Error for ProtocolError {}

/// A mistake of the caller.
///
/// The same call with the same arguments fails in the same way every time, before a byte is written. `Display` says
/// what the caller did wrong and how to correct the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// The request target is empty, relative, or has a byte that must be percent-encoded.
    BadTarget,
    /// The method does not allow this form of target.
    TargetForm,
    /// Neither the target nor the headers name a host.
    NoHost,
    /// The host is malformed.
    BadHost,
    /// The request has several Host headers.
    SeveralHosts,
    /// The Host header and the target name different hosts. Only a target in the absolute or authority form names a
    /// host.
    HostMismatch,
    /// A header value contains CR, LF or NUL.
    BadHeaderValue,
    /// A header value begins or ends with whitespace, which is not part of a value.
    PaddedHeaderValue,
    /// A Content-Length header is not a number.
    BadContentLength,
    /// A Content-Length header differs from the body's length.
    ContentLengthMismatch,
    /// A Transfer-Encoding header is not exactly `chunked`.
    BadTransferEncoding,
    /// The request has both a Content-Length and a Transfer-Encoding header.
    LengthWithTransferEncoding,
    /// The request has a body, but its method does not allow a body.
    BodyNotAllowed,
    /// A Connection header is not a list of connection options, or contradicts itself: an element is empty or not a
    /// token, an element names a field that is meant for all recipients, or the headers say `close` and `keep-alive`.
    BadConnection,
    /// The headers say `keep-alive`, in Connection or by a Keep-Alive header, but
    /// [`RequestHead::close`](super::RequestHead::close) is set.
    CloseContradicted,
    /// The request has a Proxy-Connection header.
    ProxyConnection,
    /// A TE header is not exactly `trailers`.
    BadTe,
    /// An Upgrade header is not a list of protocols.
    BadUpgrade,
    /// An Expect header is not exactly `100-continue`, or the request has several Expect headers.
    BadExpect,
    /// The request expects `100-continue`, but has no body to send after the expectation.
    ExpectWithoutBody,
    /// The request has several headers with a name that allows only one header.
    SeveralFields,
    /// A TRACE request has an Authorization, Proxy-Authorization or Cookie header, which the server would echo.
    SensitiveTrace,
    /// An OPTIONS request has a body but no Content-Type.
    NoContentType,
    /// A name is forbidden for trailers, but a trailer has this name or a Trailer header announces it.
    BadTrailer,
    /// Trailers were given or announced, but the body is not chunked or has already ended.
    TrailersWithoutChunked,
    /// The head was encoded already.
    HeadAlreadySent,
    /// The head has not been encoded yet.
    HeadNotSent,
    /// The body is longer than its promised length, or continues after its end.
    MoreThanPromised,
    /// The body ended before its promised length.
    FewerThanPromised {
        /// Number of missing bytes.
        missing: u64,
    },
    /// The upload was aborted already.
    SendAborted,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadTarget => {
                "the request target is empty, relative or has a byte that must be percent-encoded (RFC 9112, section 3.2): give an absolute URL"
            }
            Self::TargetForm => {
                "the method does not allow this form of request target (RFC 9112, section 3.2): CONNECT takes `host:port`, only OPTIONS takes `*`"
            }
            Self::NoHost => "the request names no host: give a host in the URL or in a host header",
            Self::BadHost => "the request names a malformed host (RFC 9110, section 7.2): give a name or an IP address, with a port or without",
            Self::SeveralHosts => {
                "the request has several host headers (RFC 9112, section 3.2): send at most one host header"
            }
            Self::HostMismatch => {
                "the host header and the request target name different hosts (RFC 9112, section 3.2): leave the host header out"
            }
            Self::BadHeaderValue => "a header value contains CR, LF or NUL (RFC 9110, section 5.5): remove these bytes",
            Self::PaddedHeaderValue => {
                "a header value begins or ends with whitespace (RFC 9110, section 5.5): trim the value"
            }
            Self::BadContentLength => {
                "the content-length header is not a decimal number (RFC 9110, section 8.6): leave the header out"
            }
            Self::ContentLengthMismatch => {
                "the content-length header differs from the length of the body: leave the header out"
            }
            Self::BadTransferEncoding => {
                "the transfer-encoding header is not exactly `chunked` (RFC 9112, section 6.1): leave the header out"
            }
            Self::LengthWithTransferEncoding => {
                "the request has both content-length and transfer-encoding (RFC 9112, section 6.2): leave one of the two headers out"
            }
            Self::BodyNotAllowed => {
                "the request has a body, but CONNECT and TRACE cannot carry a body (RFC 9110, section 9.3): leave the body out"
            }
            Self::BadConnection => {
                "the connection header has an element that cannot be a connection option, or the headers say both close and keep-alive (RFC 9110, section 7.6.1): leave the header out"
            }
            Self::CloseContradicted => {
                "a header says keep-alive, but the request's settings close the connection (RFC 9110, section 7.6.1): leave the header out"
            }
            Self::ProxyConnection => {
                "the proxy-connection header cannot be sent (RFC 9112, appendix C.2.2): use the connection header"
            }
            Self::BadTe => "the te header is not exactly `trailers` (RFC 9110, section 10.1.4): leave the header out",
            Self::BadUpgrade => "the upgrade header is not a list of protocols (RFC 9110, section 7.8): separate the protocols by commas",
            Self::BadExpect => {
                "the request has an expect header that is not exactly `100-continue`, or several expect headers (RFC 9110, section 10.1.1): send `100-continue` once"
            }
            Self::ExpectWithoutBody => {
                "the request expects 100-continue, but has no body (RFC 9110, section 10.1.1): leave the expect header out"
            }
            Self::SeveralFields => {
                "the request has several headers of a name that allows only one header (RFC 9110, section 5.3): send at most one header of this name"
            }
            Self::SensitiveTrace => {
                "the TRACE request has credentials or cookies, which the server would echo (RFC 9110, section 9.3.8): leave these headers out"
            }
            Self::NoContentType => {
                "the OPTIONS request has a body but no content-type header (RFC 9110, section 9.3.7): set the header"
            }
            Self::BadTrailer => {
                "a trailer has a name that cannot be sent as a trailer (RFC 9110, section 6.5.1): send the field as a header"
            }
            Self::TrailersWithoutChunked => {
                "the request has trailers, but no chunked body that can end with trailers (RFC 9112, section 7.1.2): send a chunked body, or leave the trailers out"
            }
            Self::HeadAlreadySent => "the request head was encoded twice: use a new machine for each request",
            Self::HeadNotSent => "the request body was encoded before the head: encode the head first",
            Self::MoreThanPromised => "the request body is longer than its promised length: promise the exact length, or no length",
            Self::FewerThanPromised { missing } => {
                return write!(f, "the request body ended {missing} bytes before its promised length: promise the exact length, or no length");
            }
            Self::SendAborted => "the upload was continued after it had been aborted: send the request again on a new machine",
        })
    }
}

impl Error for Misuse {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_too_early_is_told_from_malformed_messages() {
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
    fn missing_bytes_are_counted_if_the_length_was_announced() {
        let text = |missing| ProtocolError::ClosedWithinBody { missing }.to_string();
        assert_eq!(text(Some(4)), format!("{}: 4 bytes are missing", text(None)));
        assert!(!text(None).contains("missing"));
        let misuse = Misuse::FewerThanPromised { missing: 7 }.to_string();
        assert!(misuse.starts_with("the request body ended 7 bytes before its promised length:"), "{misuse}");
    }
}
