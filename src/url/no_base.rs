//! Stand-in for the base URL of a client when the feature `url` is off. No client has a base, because only a WHATWG parser
//! joins URLs.

use http::Uri;

use super::IntoUrl;
use crate::error::Result;

/// Stand-in for the base URL of a client. The stand-in has no URL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Base(());

impl Base {
    #[inline]
    #[allow(clippy::unused_self, reason = "as in base.rs")]
    pub(crate) fn take_apart(&self, url: impl IntoUrl, fragment: &mut Option<String>) -> Result<Uri> {
        url.take_apart(fragment)
    }

    #[inline]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as in base.rs")]
    pub(crate) fn resolve(&self, _: &mut Uri) -> Result<()> {
        Ok(())
    }
}
