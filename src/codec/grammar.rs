//! The smallest elements of the grammar: tokens, field values, numbers and line ends, as RFC 9110 and RFC 9112 define
//! them.
//!
//! Each function reads or writes a few bytes. This module knows no head, no meaning of a field and no connection, and
//! imports only the errors of the codec.

use bytes::BytesMut;

use super::error::Misuse;

/// The bytes that end a line: CR and LF.
pub(super) const CRLF: &[u8] = b"\r\n";

/// Bytes between the name and the value of a field that is written.
pub(super) const SEPARATOR: &[u8] = b": ";

/// The size line of the last chunk. This chunk has no bytes and ends a chunked body. The trailer section follows this
/// line.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n";

/// Returns the elements of a list without the whitespace around them. Empty elements are included.
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1>
#[inline]
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether the bytes are a token: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>.
#[inline]
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// Whether the byte is a `tchar`: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>.
#[inline]
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Checks a field value of a request.
///
/// > A sender MUST NOT generate a bare CR [...] within any protocol elements other than the content.
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-2.2>. `HeaderValue` refuses CR, LF and NUL, except in a value that
/// was made by the unchecked constructor of `HeaderValue`.
#[inline]
pub(super) fn check_value(value: &[u8]) -> Result<(), Misuse> {
    let is_bad = value.iter().fold(false, |bad, &byte| bad | matches!(byte, b'\r' | b'\n' | 0));
    if is_bad {
        return Err(Misuse::BadHeaderValue);
    }
    // > A field value does not include leading or trailing whitespace.
    // <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Err(Misuse::PaddedHeaderValue),
        _ => Ok(()),
    }
}

/// Reads `1*DIGIT` and returns the number. Returns `None` for other bytes, such as a sign or a space, and for numbers
/// beyond 64 bits.
#[inline]
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Returns the value of a `HEXDIG`, or `None` for any other byte.
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A number in decimal digits. The digits are on the stack, so that writing a number allocates no memory.
pub(super) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn new(mut number: u64) -> Self {
        let mut decimal = Self { digits: [b'0'; 20], start: 20 };
        loop {
            decimal.start -= 1;
            decimal.digits[decimal.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Appends one field line.
pub(super) fn put_field(name: &[u8], value: &[u8], dst: &mut BytesMut) {
    dst.extend_from_slice(name);
    dst.extend_from_slice(SEPARATOR);
    dst.extend_from_slice(value);
    dst.extend_from_slice(CRLF);
}

/// Returns a word that has the top bit of each byte set where `word` has a line feed. All other bits are zero.
///
/// The exclusive or turns each line feed into a zero byte. Adding 0x7f to the low seven bits of a byte carries into the
/// top bit of that byte, unless the seven bits are zero.
#[inline]
pub(super) fn line_feeds(word: [u8; 8]) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let zeroed = u64::from_le_bytes(word) ^ u64::from_ne_bytes([b'\n'; 8]);
    !((zeroed & LOW).wrapping_add(LOW) | zeroed | LOW)
}

/// Returns the index of the first line feed, or `None`. Compares eight bytes at a time, which avoids a loop step
/// for each byte.
#[inline]
pub(super) fn find_lf(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let hits = line_feeds(*word);
        if hits != 0 {
            return Some(index * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte == b'\n').map(|offset| words.len() * 8 + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_feeds_are_found_at_every_index() {
        for length in 0..40 {
            let mut bytes = vec![0x0bu8; length];
            assert_eq!(find_lf(&bytes), None);
            for at in (0..length).rev() {
                bytes[at] = b'\n';
                assert_eq!(find_lf(&bytes), Some(at), "the first of several, in {length} bytes");
            }
        }
        for byte in (0..=255).filter(|&byte| byte != b'\n') {
            assert_eq!(find_lf(&[byte; 17]), None);
            assert_eq!(find_lf(&[byte, byte, byte, b'\n', byte, byte, byte, byte, byte]), Some(3));
        }
    }
}
