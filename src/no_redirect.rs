//! Stand-in for redirects when the feature `url` is off. No redirect is followed, because `Location` cannot be resolved.
//!
//! This file exports the names that other files use for their settings and their results.

/// Stand-in for the redirect settings of a client. The stand-in has no settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redirects(());

/// Stand-in for the redirect settings of one request. The stand-in has no settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnRedirects(());

impl OwnRedirects {
    pub(crate) const NONE: Self = Self(());

    pub(crate) fn of(_: Option<String>) -> Self {
        Self(())
    }

    #[allow(clippy::unused_self, reason = "as in redirect.rs")]
    pub(crate) fn history(&self) -> History {
        History(())
    }
}

/// Stand-in for the redirects that a request has followed. The stand-in is always empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(());

impl History {
    #[allow(clippy::unused_self, reason = "as in redirect.rs")]
    pub(crate) fn is_followed(&self) -> bool {
        false
    }
}
