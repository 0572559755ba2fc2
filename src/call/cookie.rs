//! The cookies of a call. This module decides which hop asks the store, and when the store gets the cookies of a
//! response.
//!
//! The store decides about each cookie. Invariants: a request has at most one `Cookie` field, and a field of the caller
//! is never replaced. The store's field belongs to one hop: the field is removed before a redirect is decided.

use std::fmt;
use std::sync::Arc;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Method, Uri};
use url::Url;

use super::attempt::Attempts;
use crate::codec::ResponseHead;
use crate::cookie::CookieStore;
use crate::error::{Error, Result};

/// The store of a client, or `None`.
#[derive(Clone, Default)]
pub(crate) struct Cookies(Option<Arc<dyn CookieStore>>);

impl Cookies {
    pub(crate) fn of(store: Option<Arc<dyn CookieStore>>) -> Self {
        Self(store)
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds the store's cookies to the head of a hop. Returns whether a field was added.
    ///
    /// # Errors
    ///
    /// If the request has too many fields.
    #[inline]
    pub(super) fn add(&self, method: &Method, uri: &Uri, headers: &mut HeaderMap) -> Result<bool> {
        match &self.0 {
            Some(store) if is_asked(method) && !headers.contains_key(COOKIE) => add(&**store, uri, headers),
            _ => Ok(false),
        }
    }
}

/// Whether requests of this method have cookies. A server echoes a TRACE, and CONNECT speaks to a proxy.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.8>.
fn is_asked(method: &Method) -> bool {
    *method != Method::TRACE && *method != Method::CONNECT
}

#[cold]
fn add(store: &dyn CookieStore, uri: &Uri, headers: &mut HeaderMap) -> Result<bool> {
    let Some(mut field) = url_of(uri).and_then(|url| store.cookies(&url)) else { return Ok(false) };
    field.set_sensitive(true);
    match headers.try_insert(COOKIE, field) {
        Ok(_) => Ok(true),
        Err(_) => Err(Error::request("the request has too many header fields: send fewer")),
    }
}

/// Returns the URL of a request, or `None` if the URI is not a WHATWG URL.
fn url_of(uri: &Uri) -> Option<Url> {
    Url::parse(&uri.to_string()).ok()
}

impl Attempts<'_> {
    /// Removes the `Cookie` field that the store added to the request.
    pub(super) fn drop_stored_cookies(&mut self) {
        if std::mem::take(&mut self.call.has_stored_cookies) {
            self.call.headers.remove(COOKIE);
        }
    }

    /// Gives the cookies of a response to the store.
    #[cold]
    pub(super) fn keep_cookies(&self, head: &ResponseHead) {
        let Some(store) = &self.call.env.request.cookies.0 else { return };
        if *self.call.method == Method::CONNECT || !head.headers().contains_key(SET_COOKIE) {
            return;
        }
        if let Some(url) = url_of(self.call.uri) {
            store.set_cookies(&mut head.headers().get_all(SET_COOKIE).iter(), &url);
        }
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "on" } else { "off" })
    }
}
