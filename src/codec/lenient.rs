//! Field lines of a response head that depart from the grammar, and that [`Leniency`] allows.
//!
//! [`mend`] changes one line in place, before httparse reads the line. Invariants: after the change, httparse and every
//! later reader see only lines that follow the grammar, so that all readers agree about the fields of a head. A line that
//! could be Content-Length or Transfer-Encoding is never changed, so that no leniency changes the framing. The number of
//! bytes does not change, so that every limit counts the bytes that arrived.

use super::error::ProtocolError;
use super::grammar::is_token_byte;
use super::limits::Leniency;

/// The outcome of [`mend`] for one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Valid,
    Mended,
}

impl Leniency {
    /// Whether field lines may have to be mended.
    #[inline]
    pub(super) fn mends_lines(self) -> bool {
        self.blanks_before_colon | self.invalid_lines
    }
}

/// Mends the field line that begins at `start` and ends with `head`. The line end belongs to the line, and spaces have
/// replaced the folds of the line. The line end of the previous line stands directly before `start`.
///
/// > A proxy MUST remove any such whitespace from a response message before forwarding the message downstream.
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-5.1>. RFC 9112 does not say what a user agent does with a line that is
/// not a field.
///
/// # Errors
///
/// The rule that the line breaks, if `leniency` does not allow the departure, if the line has a NUL or a CR, or if the line
/// could be a field that frames the message.
#[cold]
pub(super) fn mend(head: &mut [u8], start: usize, leniency: Leniency) -> Result<Line, ProtocolError> {
    let Err(broken) = check(&head[start..]) else { return Ok(Line::Valid) };
    if has_forbidden_byte(&head[start..]) || may_frame(&head[start..]) {
        return Err(broken);
    }
    if leniency.blanks_before_colon && move_colon(&mut head[start..]) && check(&head[start..]).is_ok() {
        return Ok(Line::Mended);
    }
    if !leniency.invalid_lines {
        return Err(broken);
    }
    erase(head, start);
    Ok(Line::Mended)
}

/// Checks one whole line by httparse.
fn check(line: &[u8]) -> Result<(), ProtocolError> {
    let mut slot = [httparse::EMPTY_HEADER];
    httparse::parse_headers(line, &mut slot).map(|_| ()).map_err(broken_rule)
}

/// Returns a line without its line end.
fn content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether the line has a byte at which other readers may see the end of a line or of a string.
fn has_forbidden_byte(line: &[u8]) -> bool {
    content(line).iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

/// Whether any reader could take the line for a field that frames the message.
///
/// The name ends at the first colon after any byte of a token. Bytes that a name cannot have are left out, because another
/// reader may skip these bytes.
fn may_frame(line: &[u8]) -> bool {
    let line = content(line);
    let start = line.iter().position(|&byte| is_token_byte(byte)).unwrap_or(line.len());
    let name = line[start..].split(|&byte| byte == b':').next().unwrap_or_default();
    let name: Vec<u8> =
        name.iter().filter(|byte| is_token_byte(**byte)).map(u8::to_ascii_lowercase).collect();
    [&b"content-length"[..], b"transfer-encoding"]
        .iter()
        .any(|framing| name.windows(framing.len()).any(|part| part == *framing))
}

/// Moves the colon of `name  : value` to the position directly after the name. Returns `false` if no blank stands before the colon.
fn move_colon(line: &mut [u8]) -> bool {
    let end = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
    let rest = &line[end..];
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if end == 0 || blanks == 0 || rest.get(blanks) != Some(&b':') {
        return false;
    }
    line.swap(end, end + blanks);
    true
}

/// Replaces a line, and the line end of the previous line, with spaces. The line end of the replaced line stays, and ends
/// the previous line.
fn erase(head: &mut [u8], start: usize) {
    let end = start + content(&head[start..]).len();
    let before = content(&head[..start]).len();
    head[before..end].fill(b' ');
}

/// Returns the broken rule that an error of httparse stands for.
pub(super) fn broken_rule(error: httparse::Error) -> ProtocolError {
    match error {
        httparse::Error::HeaderName => ProtocolError::BadFieldName,
        httparse::Error::HeaderValue => ProtocolError::BadFieldValue,
        httparse::Error::NewLine => ProtocolError::BareCarriageReturn,
        httparse::Error::TooManyHeaders => ProtocolError::TooManyFields,
        httparse::Error::Status | httparse::Error::Token | httparse::Error::Version => {
            ProtocolError::BadStatusLine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leniency(blanks_before_colon: bool, invalid_lines: bool) -> Leniency {
        Leniency { blanks_before_colon, invalid_lines, ..Leniency::default() }
    }

    fn mended(line: &str, leniency: Leniency) -> Result<(Line, String), ProtocolError> {
        let before = "A: b\r\n";
        let mut head = [before, line].concat().into_bytes();
        let size = head.len();
        let outcome = mend(&mut head, before.len(), leniency)?;
        assert_eq!(head.len(), size);
        Ok((outcome, String::from_utf8(head).unwrap()))
    }

    #[test]
    fn a_valid_line_stays() {
        for line in ["B: c\r\n", "B:\r\n", "B:c\n", "content-length: x\r\n", "B: \t\u{e9} : \r\n"] {
            let expected = Ok((Line::Valid, format!("A: b\r\n{line}")));
            assert_eq!(mended(line, leniency(true, true)), expected, "{line:?}");
        }
    }

    #[test]
    fn each_leniency_mends_its_own_lines() {
        use ProtocolError::*;
        for (line, moved, error) in [
            ("B : c\r\n", Some("B:  c\r\n"), BadFieldName),
            ("B \t : c\n", Some("B:\t   c\n"), BadFieldName),
            ("B :\r\n", Some("B: \r\n"), BadFieldName),
            ("B\t::\r\n", Some("B:\t:\r\n"), BadFieldName),
            ("no colon\r\n", None, BadFieldName),
            (": c\r\n", None, BadFieldName),
            (" : c\r\n", None, BadFieldName),
            (" B: c\r\n", None, BadFieldName),
            ("B c: d\r\n", None, BadFieldName),
            ("\u{e9}: c\r\n", None, BadFieldName),
            ("B: \x01\n", None, BadFieldValue),
            ("B : \x01\r\n", None, BadFieldName),
            ("Content-Lengt : 5\r\n", Some("Content-Lengt:  5\r\n"), BadFieldName),
        ] {
            let moved = moved.map(|moved| Ok((Line::Mended, format!("A: b\r\n{moved}"))));
            let end = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
            let spaces = " ".repeat("\r\n".len() + line.len() - end.len());
            let erased = Ok((Line::Mended, format!("A: b{spaces}{end}")));
            assert_eq!(mended(line, leniency(false, false)), Err(error), "{line:?}");
            assert_eq!(mended(line, leniency(true, false)), moved.clone().unwrap_or(Err(error)), "{line:?}");
            assert_eq!(mended(line, leniency(false, true)), erased, "{line:?}");
            assert_eq!(mended(line, leniency(true, true)), moved.unwrap_or(erased), "{line:?}");
        }
    }

    #[test]
    fn a_29_no_leniency_mends_a_line_that_may_frame_the_message() {
        for line in [
            "Content-Length : 5\r\n",
            "CONTENT-LENGTH\t: 5\r\n",
            "Transfer-Encoding : chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
            ":Transfer-Encoding: chunked\r\n",
            "\x0bTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding\x0b: chunked\r\n",
            "Transfer\x7f-Encoding: chunked\r\n",
            "Transfer -Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\x01\r\n",
            "X Transfer-Encoding: chunked\r\n",
            "X Transfer-Encoding chunked\r\n",
            "Content-Length 5\r\n",
            "Content-Length: 5\x01\r\n",
            "\u{a0}Content-Length\u{a0}: 5\r\n",
            "junk   Content-Length: 5\n",
            "B\0: c\r\n",
            "B: c\0\r\n",
            "B c\rContent-Length: 5\r\n",
            "B: c\r\r\n",
        ] {
            assert!(mended(line, leniency(true, true)).is_err(), "A-29: {line:?}");
        }
    }
}
