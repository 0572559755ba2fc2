//! Credentials of requests: Basic authentication, and the user and password of a URL.
//!
//! This module does no I/O. Invariants: a value with credentials is sensitive. A URL whose user was taken contains
//! neither user nor password.

use std::fmt::Write;

use http::header::{AUTHORIZATION, COOKIE, Entry, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Uri};

use crate::basic;
use crate::error::{Error, Result, without_credentials};

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
        let value = basic::value(&basic::decode(name), &basic::decode(password))?;
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

/// Returns the value of `Authorization: Basic` for values that can be printed.
///
/// # Errors
///
/// See [`basic::value`].
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
    basic::value(name.as_bytes(), secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(basic::value(b"a:b", b"c").is_err());
        assert!(basic::value(b"a\n", b"c").is_err(), "R-7617-2-2");
        assert!(basic::value(b"a", b"c\0").is_err(), "R-7617-2-2");
        assert!(take_user(&mut "http://a%3Ab@h/".parse().unwrap(), &mut HeaderMap::new()).is_err());
    }
}
