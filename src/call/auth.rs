//! Credentials of requests: Basic authentication, and the user and password of a URL.
//!
//! This module does no I/O. Invariants: a value with credentials is sensitive. A URL whose user was taken contains
//! neither user nor password.

use std::fmt::Write;

use http::header::{AUTHORIZATION, COOKIE, Entry, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Uri};

use crate::error::{Error, Result, without_credentials};

/// Returns the value of `Authorization: Basic`: <https://www.rfc-editor.org/rfc/rfc7617#section-2>.
///
/// # Errors
///
/// If the user contains a colon, or if the user or the password contains a control character.
pub(crate) fn basic(user: &[u8], password: &[u8]) -> Result<HeaderValue> {
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

/// Removes the user and the password from `uri`, and adds both to `headers` as Basic, unless `headers` has an
/// `Authorization` field.
///
/// # Errors
///
/// If Basic cannot carry the user or the password.
#[cold]
pub(crate) fn take_user(uri: &mut Uri, headers: &mut HeaderMap) -> Result<()> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let Some((user, _)) = authority.rsplit_once('@') else { return Ok(()) };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    if !user.is_empty() && user != ":" && !headers.contains_key(AUTHORIZATION) {
        let value = basic(&decode(name), &decode(password))?;
        if headers.try_insert(AUTHORIZATION, value).is_err() {
            return Err(Error::request("the request has too many header fields: send fewer"));
        }
    }
    *uri = without_credentials(uri);
    Ok(())
}

/// Marks the credentials and the cookies in `headers` as sensitive, so that `Debug` of the map does not print them.
pub(crate) fn mark_secrets(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        // `contains_key` comes first, because `try_entry` may reserve space for a new field.
        if headers.contains_key(&name)
            && let Ok(Entry::Occupied(mut fields)) = headers.try_entry(name)
        {
            fields.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}

/// Decodes percent-encoded bytes, such as `%41` to `A`. All other bytes stay unchanged.
fn decode(text: &str) -> Vec<u8> {
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

/// Returns the value of `Authorization: Basic` for values that can be printed.
///
/// # Errors
///
/// See [`basic`].
pub(crate) fn basic_of(
    user: impl std::fmt::Display,
    password: Option<impl std::fmt::Display>,
) -> Result<HeaderValue> {
    let (mut name, mut secret) = (String::new(), String::new());
    let mut is_shown = write!(name, "{user}").is_ok();
    if let Some(password) = password {
        is_shown &= write!(secret, "{password}").is_ok();
    }
    if !is_shown {
        return Err(Error::request("the user name or the password cannot be printed"));
    }
    basic(name.as_bytes(), secret.as_bytes())
}

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

    #[test]
    fn the_user_of_a_url_becomes_basic_and_leaves_the_url() {
        for (url, value) in [
            ("http://Aladdin:open%20sesame@h/p?q", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("http://u@h/p?q", Some("Basic dTo=")),
            ("http://:p@h/p?q", Some("Basic OnA=")),
            ("http://a:b:c@h/p?q", Some("Basic YTpiOmM=")),
            ("http://%C3%BC:%C3%BC@h/p?q", Some("Basic w7w6w7w=")),
            ("http://h/p?q", None),
        ] {
            let (mut uri, mut headers) = (url.parse().unwrap(), HeaderMap::new());
            take_user(&mut uri, &mut headers).unwrap();
            assert_eq!(uri, "http://h/p?q", "{url}");
            let field = headers.get(AUTHORIZATION);
            let text = field.map(|field| field.to_str().unwrap());
            assert_eq!(text, value, "R-7617-2-1 R-7617-2.1-1: {url}");
            assert!(field.is_none_or(HeaderValue::is_sensitive), "{url}");
        }
    }

    #[test]
    fn what_basic_cannot_carry_is_refused() {
        assert!(basic(b"a:b", b"c").is_err());
        assert!(basic(b"a\n", b"c").is_err(), "R-7617-2-2");
        assert!(basic(b"a", b"c\0").is_err(), "R-7617-2-2");
        assert!(take_user(&mut "http://a%3Ab@h/".parse().unwrap(), &mut HeaderMap::new()).is_err());
    }
}
