//! Basic credentials: the value of the header field, and the decoding of a user and a password in a URL.
//!
//! This module uses no module of the crate except `error`. Invariant: a header value with credentials is marked as
//! sensitive.

use http::HeaderValue;

use crate::error::{Error, Result};

/// Returns the value of `Authorization` or `Proxy-Authorization` with the scheme Basic: <https://www.rfc-editor.org/rfc/rfc7617#section-2>.
///
/// # Errors
///
/// If the user contains a colon, or if the user or the password contains a control character.
pub(crate) fn value(user: &[u8], password: &[u8]) -> Result<HeaderValue> {
    if user.contains(&b':') {
        return Err(Error::request(
            "the user name has a colon, which Basic cannot carry (RFC 7617, section 2)",
        ));
    }
    if user.iter().chain(password).any(u8::is_ascii_control) {
        let message = "the user name or the password has a control character (RFC 7617, section 2)";
        return Err(Error::request(message));
    }
    let mut text = "Basic ".to_owned();
    encode(&[user, b":", password].concat(), &mut text);
    let mut value =
        HeaderValue::try_from(text).map_err(|_| Error::request("the credentials are too long"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Decodes percent-encoded bytes, such as `%41` to `A`. All other bytes stay unchanged.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|it| it.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.filter(|_| bytes[at] == b'%').and_then(|it| u8::from_str_radix(it, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    out
}

/// Appends `bytes` in base64: <https://www.rfc-editor.org/rfc/rfc4648#section-4>.
fn encode(bytes: &[u8], out: &mut String) {
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            // A group of n bytes has n + 1 digits.
            out.push(if digit > group.len() { '=' } else { DIGITS[value as usize] as char });
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_the_vectors_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = String::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!(out, coded);
        }
        let mut out = String::new();
        encode(&[0xfb, 0xff, 0xfe], &mut out);
        assert_eq!(out, "+//+");
    }
}
