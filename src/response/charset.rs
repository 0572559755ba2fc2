//! The text of a content in the character encoding that `Content-Type` names.
//!
//! Decoding is done by encoding_rs. Invariant: no content is an error, because a byte that the encoding does not have
//! becomes U+FFFD.

use std::borrow::Cow;

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8};

/// Returns the content as text. A byte order mark decides about the encoding and is not part of the text. If the
/// content has no byte order mark, the parameter `charset` of the media type decides. If there is no such parameter,
/// the label `default` decides. An unknown label means UTF-8.
pub(super) fn text(media_type: Option<&[u8]>, mut content: Bytes, default: &str) -> String {
    let charset = media_type.and_then(charset);
    let label = charset.as_deref().unwrap_or(default.as_bytes());
    let named = || (Encoding::for_label(label).unwrap_or(UTF_8), 0);
    let (encoding, mark) = Encoding::for_bom(&content).unwrap_or_else(named);
    let content = content.split_off(mark);
    if encoding == UTF_8 {
        // Most contents are UTF-8 and become text without a copy.
        return super::utf8(content);
    }
    encoding.decode_without_bom_handling(&content).0.into_owned()
}

/// Returns the value of the parameter `charset` of a media type (<https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1>).
fn charset(media_type: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut rest = &media_type[media_type.iter().position(|&byte| byte == b';')?..];
    while let Some(after) = rest.strip_prefix(b";") {
        let end = after.iter().position(|byte| b"=;".contains(byte)).unwrap_or(after.len());
        let (name, equals) = after.split_at(end);
        let Some(value) = equals.strip_prefix(b"=") else {
            rest = equals;
            continue;
        };
        let (value, next) = parameter_value(value);
        if name.trim_ascii().eq_ignore_ascii_case(b"charset") {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// Splits a parameter into its value and the text after the value. This text is empty, or a semicolon with the next
/// parameter.
fn parameter_value(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let text = text.trim_ascii_start();
    let at_next = |text: &[u8]| text.iter().position(|&byte| byte == b';').unwrap_or(text.len());
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, next) = text.split_at(at_next(text));
        return (value.trim_ascii_end().into(), next);
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => {
                let after = &quoted[at + 1..];
                return (value.into(), &after[at_next(after)..]);
            }
            b'\\' => value.extend(bytes.next().map(|(_, &escaped)| escaped)),
            _ => value.push(byte),
        }
    }
    (value.into(), &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_found_in_every_spelling() {
        for (media_type, expected) in [
            ("text/html; charset=utf-8", Some("utf-8")),
            ("text/html;charset=UTF-8", Some("UTF-8")),
            ("text/html ; Charset = \"iso-8859-1\" ; x=y", Some("iso-8859-1")),
            ("text/html; x=\"; charset=wrong\"; charset=right", Some("right")),
            ("text/html; x=\"a\\\"; charset=wrong\" ;charset=right", Some("right")),
            ("text/html; charset=\"a\\b\"", Some("ab")),
            ("text/html; x; charset=right", Some("right")),
            ("text/html; charset=first; charset=second", Some("first")),
            ("text/html; charset=", Some("")),
            ("text/html; charset=\"open", Some("open")),
            ("text/html; charset=\"open\\", Some("open")),
            ("text/html; xcharset=no", None),
            ("text/html; charset", None),
            ("text/html;", None),
            (";;;", None),
            ("charset=no", None),
            ("", None),
        ] {
            let found = charset(media_type.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "R-9110-5.6.4-1: {media_type}");
        }
    }

    /// Checks that the parser ends for every short input.
    #[test]
    fn every_short_input_is_read_to_its_end() {
        let alphabet = b";=\"\\ c";
        for number in 0..6_usize.pow(7) {
            let text: Vec<u8> = (0..7).map(|digit| alphabet[number / 6_usize.pow(digit) % 6]).collect();
            let _ = charset(&text);
        }
    }
}
