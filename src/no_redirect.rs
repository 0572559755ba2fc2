//! Stand-in for redirects when the feature `url` is off. No redirect is followed, because `Location` cannot be resolved.
//!
//! This file exports the names that other files use for their settings and their results.

/// The settings of redirects that a client has: none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redirects(());

/// What one request says about redirects: nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own(());

impl Own {
    pub(crate) fn of(_: Option<String>) -> Self {
        Self(())
    }

    #[allow(clippy::unused_self, reason = "as in redirect.rs")]
    pub(crate) fn history(&self) -> History {
        History(())
    }
}

/// The redirects that a request has followed: none.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(());
