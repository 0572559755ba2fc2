//! Cookies: a jar that stores the cookies of responses and sends them back, and the cookies of one response.
//!
//! [`ClientBuilder::cookie_store`](crate::ClientBuilder::cookie_store) gives a client a [`Jar`] of its own.
//! [`ClientBuilder::cookie_provider`](crate::ClientBuilder::cookie_provider) gives a client a jar that several clients
//! can share, or a [`CookieStore`] of the caller. A client without a store neither stores nor sends cookies.
//!
//! A client asks its store at each request, and gives the store the `Set-Cookie` fields of each response, whatever the
//! status. Every redirect is such a response, so that the next request of a chain has the cookies that the redirect has
//! set. Interim responses and trailers set no cookies. A request has at most one `Cookie` field: if the request or the
//! client's [`default_headers`](crate::ClientBuilder::default_headers) have such a field, the store adds nothing. At a
//! redirect to another origin, a `Cookie` field of the caller is removed, and the store adds the cookies of the new
//! URL. The store is asked for the URL of the request, whatever its `Host` field says, and not at all for CONNECT and
//! TRACE.
//!
//! # The rules of a jar
//!
//! A jar follows RFC 6265bis (<https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis>):
//!
//! - Only `name=value` is sent. The domain and the path of a cookie decide whether the cookie is sent, and cookies with
//!   longer paths come first. Ports make no difference. A host name with a final dot is another host than the name
//!   without this dot.
//! - A cookie whose `Domain` is a public suffix, such as `com` or `co.uk`, is refused, unless the host itself is this
//!   suffix. The list of public suffixes is part of the crate `psl`. A cookie with `Domain` from a host that is an
//!   address is refused.
//! - A cookie with `Secure` is accepted and sent over https only. This rule holds for `localhost` too. A cookie that
//!   came over http does not replace or hide a cookie with `Secure`.
//! - A cookie whose name begins with `__Secure-` or `__Host-`, in any letter case, must meet the demands of this
//!   prefix. `SameSite=None` demands `Secure`. `SameSite` has no other effect, because a client has no pages.
//! - A cookie ends after at most 400 days. A cookie without `Max-Age` and `Expires` ends with its jar.
//! - A name and its value have at most 4,096 bytes together, and the value of an attribute has at most 1,024 bytes. A
//!   cookie without `Path` is refused if the path of its URL, up to the last slash, has more than 1,024 bytes. A cookie
//!   with a control character, or with bytes that are not UTF-8, is ignored.
//! - A jar holds at most 3,300 cookies, and at most 180 cookies of one registrable domain. If there are more, cookies
//!   that have ended are removed first, and then the cookies that have not been used for longest. A `Cookie` field has
//!   at most 8,190 bytes.

mod date;
mod domain;
mod lines;
mod parse;
mod store;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use url::{Host, Url};

use self::parse::{SameSite, SetCookie};
use self::store::{Place, Store};
use crate::error::{Error, Result};
use crate::time;

/// A store of cookies that a client asks at each request. [`Jar`] is the store of this crate.
///
/// Both methods are called within the request's future and must not block.
pub trait CookieStore: Send + Sync {
    /// Stores the cookies of a response. `fields` returns the values of the response's `Set-Cookie` fields, of which
    /// there is at least one. `url` is the URL of the request.
    fn set_cookies(&self, fields: &mut dyn Iterator<Item = &HeaderValue>, url: &Url);

    /// Returns the value of the `Cookie` field of a request to `url`, or `None` if the request has no cookie.
    fn cookies(&self, url: &Url) -> Option<HeaderValue>;
}

/// Cookies in memory, by the rules of the [module](crate::cookie). Several clients can share one jar.
///
/// ```
/// use std::sync::Arc;
/// use handclasp::cookie::{CookieStore, Jar};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let jar = Arc::new(Jar::default());
/// let client = handclasp::Client::builder().cookie_provider(jar.clone()).build()?;
/// let url = "https://example.org/".parse()?;
/// jar.add_cookie_str("session=7; Secure; Max-Age=3600", &url);
/// assert_eq!(jar.cookies(&url).unwrap(), "session=7");
///
/// // The cookies outlive the process.
/// let text = jar.save();
/// let later = Jar::default();
/// later.load(&text)?;
/// assert_eq!(later.cookies(&url).unwrap(), "session=7");
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Jar(Mutex<Store>);

impl Jar {
    /// Returns an empty jar.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a cookie as if a response from `url` had set it. `cookie` is the value of a `Set-Cookie` field.
    ///
    /// Returns whether the rules of the [module](crate::cookie) accept the cookie. A cookie that has ended is accepted, and
    /// removes the cookie that it replaces.
    ///
    /// ```
    /// # let jar = handclasp::cookie::Jar::new();
    /// let url = "https://www.example.org/".parse().unwrap();
    /// assert!(jar.add_cookie_str("theme=dark; Domain=example.org; Max-Age=3600", &url));
    /// assert!(!jar.add_cookie_str("theme=dark; Domain=org", &url));
    /// assert!(jar.add_cookie_str("theme=; Domain=example.org; Max-Age=0", &url) && jar.is_empty());
    /// ```
    pub fn add_cookie_str(&self, cookie: &str, url: &Url) -> bool {
        let (Some(cookie), Some(place)) = (SetCookie::parse(cookie), place(url)) else { return false };
        let now = time::unix();
        self.lock().set(&place, &cookie, now).is_ok()
    }

    /// Returns the cookies that end at a set time, as text: one line for each cookie in the format of Netscape, which curl and
    /// wget also read.
    ///
    /// Cookies that end with the session are left out; see [`save_all`](Self::save_all). The text holds the secrets of the
    /// cookies.
    pub fn save(&self) -> String {
        lines::write(self.lock().in_order(time::unix()).into_iter().filter(|cookie| cookie.expires.is_some()))
    }

    /// Returns all cookies as text, in the format of [`save`](Self::save), including the cookies that end with the
    /// session.
    pub fn save_all(&self) -> String {
        lines::write(self.lock().in_order(time::unix()))
    }

    /// Adds the cookies of a text that [`save`](Self::save) or another program has written. Returns the number of cookies
    /// that were added.
    ///
    /// Cookies that have ended, and cookies that the rules of the [module](crate::cookie) refuse, are not added.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) with the number of the line, if a line is not a cookie. No cookie is
    /// added in this case.
    pub fn load(&self, text: &str) -> Result<usize> {
        let now = time::unix();
        let cookies = lines::read(text, now).map_err(|line| {
            Error::request(format!(
                "line {line} of the cookies is not a cookie: a cookie has seven columns separated by tabs"
            ))
        })?;
        let mut store = self.lock();
        let mut added = 0;
        for cookie in cookies {
            let is_current = cookie.expires.is_none_or(|expires| expires > now);
            let is_name = matches!(Host::parse(&cookie.domain), Ok(Host::Domain(_)));
            if is_current && cookie.is_allowed(is_name) {
                store.insert(cookie, now);
                added += 1;
            }
        }
        Ok(added)
    }

    /// Returns the number of cookies. Some of them may have ended.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether the jar has no cookies.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all cookies.
    pub fn clear(&self) {
        *self.lock() = Store::default();
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CookieStore for Jar {
    fn set_cookies(&self, fields: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        let Some(place) = place(url) else { return };
        // The cookies are read before the jar is locked, because the caller's iterator may run code that uses the jar.
        let cookies: Vec<_> = fields.filter_map(read).take(MOST_PER_RESPONSE).collect();
        let now = time::unix();
        let mut store = self.lock();
        for cookie in cookies {
            // A cookie that is refused is ignored: https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.7.
            let _ = store.set(&place, &cookie, now);
        }
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        let field = self.lock().field(&place(url)?, time::unix())?;
        let mut value = HeaderValue::try_from(field).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Jar {
    /// Shows only the number of cookies, because their values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jar").field("cookies", &self.len()).finish()
    }
}

/// A cookie of a response, as the server has written the cookie. See [`Response::cookies`](crate::Response::cookies).
#[derive(Clone)]
pub struct Cookie<'a>(SetCookie<'a>);

impl<'a> Cookie<'a> {
    /// Reads the value of a `Set-Cookie` field. Returns `None` if the value is malformed.
    pub(crate) fn read(field: &'a HeaderValue) -> Option<Self> {
        read(field).map(Self)
    }

    /// Returns the name, which is empty for a cookie without a name.
    pub fn name(&self) -> &'a str {
        self.0.name
    }

    /// Returns the value, with quotation marks if the server sent them. Nothing is decoded.
    pub fn value(&self) -> &'a str {
        self.0.value
    }

    /// Returns `Domain` without a leading dot.
    pub fn domain(&self) -> Option<&'a str> {
        self.0.domain
    }

    /// Returns `Path`, if it begins with a slash.
    pub fn path(&self) -> Option<&'a str> {
        self.0.path
    }

    /// Returns `Max-Age`. A negative number of seconds becomes zero.
    pub fn max_age(&self) -> Option<Duration> {
        self.0.max_age.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Returns `Expires`.
    pub fn expires(&self) -> Option<time::Wall> {
        self.0.expires.and_then(time::wall_at)
    }

    /// Whether the cookie has `Secure`.
    pub fn secure(&self) -> bool {
        self.0.is_secure
    }

    /// Whether the cookie has `HttpOnly`.
    pub fn http_only(&self) -> bool {
        self.0.is_http_only
    }

    /// Whether the cookie has `SameSite=Lax`.
    pub fn same_site_lax(&self) -> bool {
        self.0.same_site == SameSite::Lax
    }

    /// Whether the cookie has `SameSite=Strict`.
    pub fn same_site_strict(&self) -> bool {
        self.0.same_site == SameSite::Strict
    }
}

impl fmt::Debug for Cookie<'_> {
    /// Leaves the value out, because it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie")
            .field("name", &self.0.name)
            .field("domain", &self.0.domain)
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

fn read(field: &HeaderValue) -> Option<SetCookie<'_>> {
    SetCookie::parse(std::str::from_utf8(field.as_bytes()).ok()?)
}

/// Returns the place of a URL, or `None` if the URL has no host.
fn place(url: &Url) -> Option<Place<'_>> {
    let is_name = matches!(url.host()?, Host::Domain(_));
    Some(Place { host: url.host_str()?, is_name, path: url.path(), is_secure: url.scheme() == "https" })
}

/// Largest number of cookies that one response can set. Bounds the time for which the jar is locked.
const MOST_PER_RESPONSE: usize = 256;
