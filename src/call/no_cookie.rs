//! Stand-in for cookies when the feature `cookies` is off. No cookie is stored or sent.

use http::{HeaderMap, Method, Uri};

use super::attempt::Attempts;
use crate::codec::ResponseHead;
use crate::error::Result;

/// Stand-in for the store of a client. The stand-in holds no cookies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookies(());

#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as in cookie.rs")]
impl Cookies {
    pub(super) fn is_on(&self) -> bool {
        false
    }

    pub(super) fn add(&self, _: &Method, _: &Uri, _: &mut HeaderMap) -> Result<bool> {
        Ok(false)
    }
}

#[allow(clippy::unused_self, reason = "as in cookie.rs")]
impl Attempts<'_> {
    pub(super) fn keep_cookies(&self, _: &ResponseHead) {}

    #[cfg(feature = "url")]
    pub(super) fn drop_stored_cookies(&mut self) {}
}
