//! Bytes that a server sends on a connection that carries no request.
//!
//! The functions of this module are pure: a function looks at the first bytes, knows no connection, and keeps no state.
//! Invariant: bytes that are not known to be harmless are classified as [`Unasked::Other`].

use http::StatusCode;

/// The kind of bytes that a server sends without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// At least one CR or LF, and no other byte.
    ///
    /// > the client SHOULD close the connection, since message delimitation is now ambiguous, unless the data consists
    /// > only of one or more CRLF (which can be discarded per Section 2.2)
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.2>
    LineEnds,
    /// A 408 response: the server closes the connection because no request came.
    RequestTimeout,
    /// Bytes of any other kind, or no byte.
    Other,
}

impl Unasked {
    /// Returns the kind of the bytes. The first 256 bytes are enough to tell the kind.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if !bytes.is_empty() && after_line_ends(bytes).is_empty() {
            Self::LineEnds
        } else if unasked_status(bytes) == Some(StatusCode::REQUEST_TIMEOUT) {
            Self::RequestTimeout
        } else {
            Self::Other
        }
    }
}

/// Returns the status of the response at the start of the bytes, or `None` if the bytes do not start with a whole status
/// code.
pub(crate) fn unasked_status(bytes: &[u8]) -> Option<StatusCode> {
    match after_line_ends(bytes) {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9', b' ', code @ ..] => {
            let (code, rest) = code.split_at_checked(3)?;
            let is_whole = matches!(rest.first(), Some(b' ' | b'\r' | b'\n'));
            StatusCode::from_bytes(code).ok().filter(|_| is_whole)
        }
        _ => None,
    }
}

/// Returns the number of CR and LF bytes at the start of `bytes`.
pub(super) fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn after_line_ends(bytes: &[u8]) -> &[u8] {
    bytes.get(line_ends(bytes)..).unwrap_or_default()
}

/// Largest number of bytes of line ends that are discarded on an idle connection. The same number may be discarded
/// again before the status line. A server that sends more line ends is broken, or wants to keep the client busy.
pub(crate) const MOST_LINE_ENDS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_kind() {
        for (bytes, expected) in [
            (&b""[..], Unasked::Other),
            (b"\r", Unasked::LineEnds),
            (b"\n", Unasked::LineEnds),
            (b"\r\n", Unasked::LineEnds),
            (b"\n\r\r\n\n", Unasked::LineEnds),
            (b" \r\n", Unasked::Other),
            (b"\r\n ", Unasked::Other),
            (b"\r\n\0", Unasked::Other),
            (b"\t", Unasked::Other),
            (b"HTTP/1.1 408 Request Timeout\r\n\r\n", Unasked::RequestTimeout),
            (b"HTTP/1.0 408\r\n", Unasked::RequestTimeout),
            (b"\r\nHTTP/1.1 408 \r\n", Unasked::RequestTimeout),
            (b"HTTP/1.1 408\n", Unasked::RequestTimeout),
            // A fourth digit may follow the three digits.
            (b"HTTP/1.1 408", Unasked::Other),
            (b"HTTP/1.1 4080 X\r\n", Unasked::Other),
            (b"HTTP/1.1 40", Unasked::Other),
            (b"HTTP/1.1 200 OK\r\n\r\n", Unasked::Other),
            (b"HTTP/2.0 408 X\r\n", Unasked::Other),
            (b"http/1.1 408 X\r\n", Unasked::Other),
            (b"x HTTP/1.1 408 X\r\n", Unasked::Other),
        ] {
            assert_eq!(Unasked::of(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn the_status_of_an_early_response_is_read() {
        for (bytes, expected) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"[..], Some(503)),
            (b"HTTP/1.0 503\r\n", Some(503)),
            (b"HTTP/1.1 503", None),
            (b"HTTP/1.1 099 X\r\n", None),
            (b"HTTP/1.1 5x3 X\r\n", None),
            (b"220 ready\r\n", None),
            (b"\xff\xfe", None),
            (b"", None),
        ] {
            assert_eq!(unasked_status(bytes).map(|status| status.as_u16()), expected, "{bytes:?}");
        }
    }
}
