//! The length of a message: the numbered steps of RFC 9112, section 6.3, as one pure function.
//!
//! This module knows the values of the framing fields. The module knows neither where the fields stand in the head nor
//! the bytes after the head. Invariant: a head that does not make exactly one valid statement about the length is an
//! error, and the length is never guessed.

use http::StatusCode;

use super::error::ProtocolError;
use super::grammar::{elements, parse_decimal};
use super::limits::Leniency;

/// The end of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// There is no body, whatever the fields say.
    None,
    /// The body ends after this number of bytes.
    Length(u64),
    /// The body ends with the last chunk and the trailer section.
    Chunked,
    /// The body ends when the server closes the connection.
    UntilClose,
    /// There is no body and no end: the connection is a tunnel after the head.
    Tunnel,
}

/// The length of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyLength {
    /// There is no body.
    None,
    /// The body has this number of bytes. The head announces the number even if the number is zero, unlike for
    /// [`None`](Self::None).
    Known(u64),
    /// The length is not known in advance: the body is sent in chunks.
    Chunked,
}

/// The request's method, reduced to the cases in which the framing of the response depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Head,
    Connect,
    Other,
}

/// The framing fields of one head, collected line by line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FramingFields {
    pub(super) length: Length,
    pub(super) coding: Coding,
}

/// All Content-Length lines taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    #[default]
    Absent,
    /// The number, and its count of digits. The count tells two spellings of one number apart.
    Valid {
        length: u64,
        digits: usize,
    },
    Invalid,
    Conflicting,
}

/// All Transfer-Encoding lines taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Absent,
    /// The field is present but names no coding.
    Empty,
    Chunked,
    /// The field names only `identity`, which older servers send and which has no effect.
    Identity,
    Unsupported,
    Parameters,
    Twice,
}

/// Returns how a response's body ends.
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
pub(super) fn message_length(
    asked: Asked,
    status: StatusCode,
    fields: FramingFields,
    leniency: Leniency,
) -> Result<Framing, ProtocolError> {
    // 1. HEAD, 1xx, 204, 304: "terminated by the first empty line after the header fields, regardless of the header
    //    fields present". A 204 to CONNECT is a tunnel, because by RFC 9110, section 9.3.6, any 2xx to CONNECT opens a tunnel.
    let is_tunnel = asked == Asked::Connect && status.is_success();
    let is_bodyless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
    if asked == Asked::Head || (is_bodyless && !is_tunnel) {
        return Ok(Framing::None);
    }

    // 2. 2xx to CONNECT: a tunnel: "a client MUST ignore any Content-Length or Transfer-Encoding".
    if is_tunnel {
        return Ok(Framing::Tunnel);
    }

    // 3. Both fields: "ought to be handled as an error". With the leniency, Transfer-Encoding decides, and the machine
    //    closes the connection after the response.
    if fields.coding != Coding::Absent
        && fields.length != Length::Absent
        && !leniency.length_with_transfer_encoding
    {
        return Err(ProtocolError::LengthWithTransferEncoding);
    }

    // 4. Transfer-Encoding: if chunked is the final coding, the chunks say where the body ends; otherwise the body ends
    //    with the connection. This crate decodes no other coding and must not return coded bytes as content, so that
    //    other codings are refused.
    match fields.coding {
        Coding::Absent => {}
        Coding::Chunked => return Ok(Framing::Chunked),
        Coding::Identity => return Ok(Framing::UntilClose),
        Coding::Empty | Coding::Unsupported => return Err(ProtocolError::UnsupportedTransferCoding),
        Coding::Parameters => return Err(ProtocolError::ChunkedParameters),
        Coding::Twice => return Err(ProtocolError::ChunkedTwice),
    }

    match fields.length {
        // 5. An invalid Content-Length: "the user agent MUST close the connection and discard the received response".
        Length::Invalid => Err(ProtocolError::BadContentLength),
        Length::Conflicting => Err(ProtocolError::ConflictingContentLength),
        // 6. A valid Content-Length: the body has this number of bytes.
        Length::Valid { length, .. } => Ok(Framing::Length(length)),
        // Step 7 is for requests. 8. Neither field: the body ends when the server closes the connection.
        Length::Absent => Ok(Framing::UntilClose),
    }
}

impl FramingFields {
    /// Whether the head of a response without a body has framing fields that no such response may have.
    ///
    /// This client takes the head of such a response for its end. A proxy that does not know that the response has no
    /// body may look for the end elsewhere.
    ///
    /// > A server MUST NOT send a Transfer-Encoding header field in any response with a status code of 1xx
    /// > (Informational) or 204 (No Content).
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>. In a response to HEAD, and in a 304, either field alone may
    /// describe the response to a GET; both together are never allowed. Interim heads are not checked, because a final
    /// head follows them in any case.
    pub(super) fn is_contradictory(self, status: StatusCode) -> bool {
        let is_coded = self.coding != Coding::Absent;
        match self.length {
            Length::Invalid | Length::Conflicting => true,
            Length::Valid { .. } if is_coded => true,
            Length::Valid { .. } | Length::Absent => is_coded && status == StatusCode::NO_CONTENT,
        }
    }
}

impl Length {
    /// Notes one Content-Length line. Equal values, in several lines or in one list, count as one value. Two spellings
    /// of one number (`5` and `05`) conflict, because another reader may take one spelling for another number. A value
    /// that is not all digits is invalid.
    ///
    /// > a recipient of a Content-Length header field value consisting of the same decimal value repeated as a
    /// > comma-separated list [...] MAY either reject the message as invalid or replace that invalid field value with a
    /// > single valid Content-Length
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-8.6>
    #[inline]
    pub(super) fn note(&mut self, value: &[u8]) {
        for element in elements(value) {
            let said = parse_decimal(element).map(|length| Self::Valid { length, digits: element.len() });
            *self = match (said, *self) {
                (Some(said), Self::Absent) => said,
                (Some(said), before @ Self::Valid { .. }) if said != before => Self::Conflicting,
                (Some(_), same) => same,
                (None, _) => Self::Invalid,
            };
            if *self == Self::Invalid {
                return;
            }
        }
    }
}

impl Coding {
    /// Notes one Transfer-Encoding line. All lines and their list elements form one sequence of codings. Empty elements
    /// are ignored.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>
    pub(super) fn note(&mut self, value: &[u8]) {
        if *self == Self::Absent {
            *self = Self::Empty;
        }
        for element in elements(value) {
            let next = match element {
                b"" => continue,
                _ if element.eq_ignore_ascii_case(b"chunked") => Self::Chunked,
                _ if element.eq_ignore_ascii_case(b"identity") => Self::Identity,
                _ if is_chunked_with_parameters(element) => Self::Parameters,
                _ => Self::Unsupported,
            };
            *self = match (*self, next) {
                (Self::Absent | Self::Empty, next) => next,
                (Self::Chunked, Self::Chunked) => Self::Twice,
                (Self::Identity, Self::Identity) => Self::Identity,
                (Self::Chunked | Self::Identity, Self::Parameters) => Self::Parameters,
                (Self::Chunked | Self::Identity, _) => Self::Unsupported,
                (broken, _) => broken,
            };
        }
    }
}

fn is_chunked_with_parameters(element: &[u8]) -> bool {
    element.split_at_checked(b"chunked".len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(b"chunked") && rest.trim_ascii().starts_with(b";")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn valid(length: u64, digits: usize) -> Length {
        Length::Valid { length, digits }
    }

    fn length(lines: &[&str]) -> Length {
        let mut length = Length::Absent;
        lines.iter().for_each(|line| length.note(line.as_bytes()));
        length
    }

    fn coding(lines: &[&str]) -> Coding {
        let mut coding = Coding::Absent;
        lines.iter().for_each(|line| coding.note(line.as_bytes()));
        coding
    }

    #[test]
    fn content_length_lines_are_combined() {
        for (lines, expected) in [
            (&["5"][..], valid(5, 1)),
            (&["005"], valid(5, 3)),
            (&["05", "05, 05"], valid(5, 2)),
            (&["0"], valid(0, 1)),
            (&["18446744073709551615"], valid(u64::MAX, 20)),
            (&["5", "5"], valid(5, 1)),
            (&["5, 5"], valid(5, 1)),
            (&["5,5", "5"], valid(5, 1)),
            (&[], Length::Absent),
            (&["18446744073709551616"], Length::Invalid),
            (&["99999999999999999999999999"], Length::Invalid),
            (&["+5"], Length::Invalid),
            (&["-5"], Length::Invalid),
            (&["0x5"], Length::Invalid),
            (&["5 5"], Length::Invalid),
            (&["5;5"], Length::Invalid),
            (&["5."], Length::Invalid),
            (&["5e0"], Length::Invalid),
            (&["\u{a0}5"], Length::Invalid),
            (&["\u{ff15}"], Length::Invalid),
            (&[""], Length::Invalid),
            (&["5,"], Length::Invalid),
            (&[",5"], Length::Invalid),
            (&["5,,5"], Length::Invalid),
            (&["5", "x"], Length::Invalid),
            (&["x", "5"], Length::Invalid),
            (&["5", "6", "x"], Length::Invalid),
            (&["5,6"], Length::Conflicting),
            (&["5", "6"], Length::Conflicting),
            (&["5", "6", "5"], Length::Conflicting),
            (&["5", "05"], Length::Conflicting),
            (&["05, 5"], Length::Conflicting),
            (&["5", "005", "x"], Length::Invalid),
            (&["0", "00"], Length::Conflicting),
            (&["05", "50"], Length::Conflicting),
        ] {
            assert_eq!(length(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn transfer_coding_lines_are_combined() {
        for (lines, expected) in [
            (&["chunked"][..], Coding::Chunked),
            (&["ChUnKeD"], Coding::Chunked),
            (&[" \tchunked\t "], Coding::Chunked),
            (&[",,chunked , ,"], Coding::Chunked),
            (&["identity"], Coding::Identity),
            (&[], Coding::Absent),
            (&[""], Coding::Empty),
            (&[", ,"], Coding::Empty),
            (&["chunked, chunked"], Coding::Twice),
            (&["chunked", "chunked"], Coding::Twice),
            (&["chunked;q=1"], Coding::Parameters),
            (&["Chunked ; a = b"], Coding::Parameters),
            (&["gzip, chunked"], Coding::Unsupported),
            (&["chunked, gzip"], Coding::Unsupported),
            (&["identity, chunked"], Coding::Unsupported),
            (&["chunked", "identity"], Coding::Unsupported),
            (&["gzip"], Coding::Unsupported),
            (&["xchunked"], Coding::Unsupported),
            (&["chunkedx"], Coding::Unsupported),
            (&["chunked chunked"], Coding::Unsupported),
            (&["\"chunked\""], Coding::Unsupported),
            (&["chun\u{212a}ed"], Coding::Unsupported),
            (&["\u{a0}chunked"], Coding::Unsupported),
            (&["chunked/1.0"], Coding::Unsupported),
        ] {
            assert_eq!(coding(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn framing_fields_without_a_body_are_told_apart() {
        for (lengths, codings, on_204, on_304) in [
            (&[][..], &[][..], false, false),
            (&["0"], &[], false, false),
            (&["5"], &[], false, false),
            (&["5, 5"], &[], false, false),
            (&[], &["chunked"], true, false),
            (&[], &["gzip"], true, false),
            (&[], &[""], true, false),
            (&["5"], &["chunked"], true, true),
            (&["5"], &[""], true, true),
            (&["x"], &[], true, true),
            (&["x"], &["chunked"], true, true),
            (&["5", "6"], &[], true, true),
            (&["5", "05"], &[], true, true),
        ] {
            let fields = FramingFields { length: length(lengths), coding: coding(codings) };
            for (status, expected) in [
                (StatusCode::NO_CONTENT, on_204),
                (StatusCode::NOT_MODIFIED, on_304),
                (StatusCode::OK, on_304),
            ] {
                assert_eq!(fields.is_contradictory(status), expected, "{status}: {lengths:?} {codings:?}");
            }
        }
    }

    #[test]
    fn the_steps_of_section_6_3() {
        let strict = Leniency::default();
        let mut lenient = strict;
        lenient.length_with_transfer_encoding = true;
        let none = FramingFields::default();
        let five = FramingFields { length: valid(5, 1), ..none };
        let bad = FramingFields { length: Length::Invalid, ..none };
        let chunked = FramingFields { coding: Coding::Chunked, ..none };
        let both = FramingFields { length: Length::Invalid, coding: Coding::Chunked };
        for (step, asked, status, fields, leniency, expected) in [
            (1, Asked::Head, 200, both, strict, Ok(Framing::None)),
            (1, Asked::Other, 204, five, strict, Ok(Framing::None)),
            (1, Asked::Other, 304, bad, strict, Ok(Framing::None)),
            (2, Asked::Connect, 204, none, strict, Ok(Framing::Tunnel)),
            (2, Asked::Connect, 200, both, strict, Ok(Framing::Tunnel)),
            (2, Asked::Connect, 407, five, strict, Ok(Framing::Length(5))),
            (3, Asked::Other, 200, both, strict, Err(ProtocolError::LengthWithTransferEncoding)),
            (3, Asked::Other, 200, both, lenient, Ok(Framing::Chunked)),
            (4, Asked::Other, 200, chunked, strict, Ok(Framing::Chunked)),
            (5, Asked::Other, 200, bad, strict, Err(ProtocolError::BadContentLength)),
            (6, Asked::Other, 404, five, strict, Ok(Framing::Length(5))),
            (8, Asked::Other, 200, none, strict, Ok(Framing::UntilClose)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(message_length(asked, status, fields, leniency), expected, "step {step}");
        }
    }
}
