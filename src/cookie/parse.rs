//! The value of a `Set-Cookie` field, taken apart into the cookie and its attributes.
//!
//! This module does no I/O and decides nothing about a host. Invariant: a name or value that was accepted has no control
//! character except the tab, no semicolon, and no whitespace around it.

use super::date;

/// A cookie as a server has written it.
#[derive(Clone, Debug, Default)]
pub(super) struct SetCookie<'a> {
    /// Empty for a cookie without a name.
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// Value of the last `Domain`, without a leading dot. May be empty.
    pub(super) domain: Option<&'a str>,
    /// Value of the last `Path`, if it begins with a slash.
    pub(super) path: Option<&'a str>,
    /// Time of the last valid `Expires`, in seconds from the beginning of 1970.
    pub(super) expires: Option<i64>,
    /// Number of seconds of the last valid `Max-Age`. The number is not positive if the cookie ends at once.
    pub(super) max_age: Option<i64>,
    pub(super) is_secure: bool,
    pub(super) is_http_only: bool,
    pub(super) same_site: SameSite,
}

/// The last `SameSite` of a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SameSite {
    /// Absent, or unknown.
    #[default]
    Unset,
    Strict,
    Lax,
    None,
}

impl<'a> SetCookie<'a> {
    /// Returns the cookie, or `None` if the text is malformed or the cookie is too large.
    /// <https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.6>.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.bytes().any(is_control) {
            return None;
        }
        let mut parts = text.split(';');
        let pair = parts.next()?;
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let mut cookie = Self::new(trim(name), trim(value))?;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            cookie.set(trim(name), trim(value));
        }
        Some(cookie)
    }

    /// Returns a cookie without attributes, or `None` if the cookie is empty or too large.
    pub(super) fn new(name: &'a str, value: &'a str) -> Option<Self> {
        let size = name.len() + value.len();
        (1..=MOST_OF_PAIR).contains(&size).then(|| Self { name, value, ..Self::default() })
    }

    /// Sets an attribute. An attribute that is unknown or too long changes nothing.
    fn set(&mut self, name: &str, value: &'a str) {
        if value.len() > MOST_OF_ATTRIBUTE {
            return;
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("expires") {
            self.expires = date::seconds(value).or(self.expires);
        } else if is("max-age") {
            self.max_age = max_age(value).or(self.max_age);
        } else if is("domain") {
            self.domain = Some(value.strip_prefix('.').unwrap_or(value));
        } else if is("path") {
            self.path = value.starts_with('/').then_some(value);
        } else if is("secure") {
            self.is_secure = true;
        } else if is("httponly") {
            self.is_http_only = true;
        } else if is("samesite") {
            self.same_site = match value {
                _ if value.eq_ignore_ascii_case("strict") => SameSite::Strict,
                _ if value.eq_ignore_ascii_case("lax") => SameSite::Lax,
                _ if value.eq_ignore_ascii_case("none") => SameSite::None,
                _ => SameSite::Unset,
            };
        }
    }
}

/// Whether a byte makes a cookie invalid: a control character other than the tab.
pub(super) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Removes spaces and tabs around `text`.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Reads a number of seconds. A number that is too large for the type becomes the largest or smallest number.
fn max_age(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let extreme = if value.len() > digits.len() { i64::MIN } else { i64::MAX };
    Some(value.parse().unwrap_or(extreme))
}

/// Largest number of bytes that the name and the value of a cookie may have together.
const MOST_OF_PAIR: usize = 4_096;

/// Largest number of bytes that the value of an attribute may have.
pub(super) const MOST_OF_ATTRIBUTE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Option<(&str, &str)> {
        SetCookie::parse(text).map(|cookie| (cookie.name, cookie.value))
    }

    fn parsed(attributes: &str) -> SetCookie<'static> {
        let text: &'static str = format!("a=b; {attributes}").leak();
        SetCookie::parse(text).unwrap()
    }

    #[test]
    fn a_pair_is_split_at_the_first_equals_sign_and_trimmed() {
        for (text, expected) in [
            ("a=b", Some(("a", "b"))),
            (" a\t= b ;", Some(("a", "b"))),
            ("a=b=c;d=e", Some(("a", "b=c"))),
            ("a=\"b c\"", Some(("a", "\"b c\""))),
            ("a=", Some(("a", ""))),
            ("=b", Some(("", "b"))),
            ("b", Some(("", "b"))),
            ("a=é", Some(("a", "é"))),
            ("a=b\tc", Some(("a", "b\tc"))),
            ("", None),
            (" = ", None),
            (";a=b", None),
        ] {
            assert_eq!(pair(text), expected, "R-6265b-5.6-2: {text:?}");
        }
        assert_eq!(pair("a=%3B%61"), Some(("a", "%3B%61")), "R-6265b-5.6-3");
        let (large, larger) = ("x".repeat(4_095), "x".repeat(4_096));
        assert!(pair(&format!("a={large}")).is_some(), "R-6265b-5.6-2");
        assert!(pair(&format!("a={larger}")).is_none(), "R-6265b-5.6-2 A-46");
    }

    #[test]
    fn a_47_control_characters_make_a_cookie_invalid() {
        for byte in (0..=0x1fu8).chain([0x7f]).filter(|byte| *byte != b'\t') {
            for text in [format!("a=b{}c", byte as char), format!("a=b; x={}", byte as char)] {
                assert!(pair(&text).is_none(), "R-6265b-5.6-1 A-47: {byte}");
            }
        }
    }

    #[test]
    fn the_last_valid_attribute_counts() {
        let cookie = parsed("PATH=/a; path=/b; Domain=.A.test; domain=b.TEST; SECURE; HttpOnly=x; other=1");
        assert_eq!(
            (cookie.path, cookie.domain, cookie.is_secure, cookie.is_http_only),
            (Some("/b"), Some("b.TEST"), true, true),
            "R-6265b-5.6-5 R-6265b-5.6.3-1"
        );
        let cookie = parsed("Max-Age=1; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:09 GMT; Expires=x");
        assert_eq!((cookie.max_age, cookie.expires), (Some(1), Some(9)), "R-6265b-5.6-5");
        for path in ["Path", "Path=", "Path=a", "Path=/a; Path=b"] {
            assert_eq!(parsed(path).path, None, "R-6265b-5.6.4-1: {path}");
        }
        let long = "x".repeat(1_024);
        assert_eq!(parsed(&format!("Path=/a; Path=/{long}")).path, Some("/a"), "R-6265b-5.6-4");
        for (text, expected) in [
            ("none", SameSite::None),
            ("LAX", SameSite::Lax),
            ("Strict", SameSite::Strict),
            ("other", SameSite::Unset),
        ] {
            assert_eq!(parsed(&format!("SameSite={text}")).same_site, expected, "R-6265b-5.7-4");
        }
    }

    #[test]
    fn max_age_is_a_number_of_seconds() {
        for (text, expected) in [
            ("60", Some(60)),
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999", Some(i64::MIN)),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1.5", None),
            ("1 s", None),
            ("--1", None),
        ] {
            assert_eq!(parsed(&format!("Max-Age={text}")).max_age, expected, "R-6265b-5.6.2-1: {text:?}");
        }
    }
}
