//! Wrappers whose `Debug` shows only names and counts of data that may be secret.
//!
//! This module knows maps of fields, bytes and targets. Invariant: no field value, no content, and no user or password
//! is shown.

use std::fmt;

use http::HeaderMap;

/// Shows the names of fields, without their values.
pub(crate) struct FieldNames<'a>(pub(crate) &'a HeaderMap);

impl fmt::Debug for FieldNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys().map(http::HeaderName::as_str)).finish()
    }
}

/// Shows a number of bytes.
pub(crate) struct Size(pub(crate) usize);

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// Shows a URL or an authority, without user and password.
pub(crate) struct WithoutUser<'a>(pub(crate) &'a str);

impl fmt::Debug for WithoutUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.find("://").map_or(0, |at| at + 3);
        let end = self.0[start..].find(['/', '?', '#']).map_or(self.0.len(), |at| start + at);
        let host = self.0[start..end].rsplit('@').next().unwrap_or_default();
        write!(f, "{}{host}{}", &self.0[..start], &self.0[end..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_left_out() {
        for (text, shown) in [
            ("http://user:secret@a.test:80/b@c?d@e", "http://a.test:80/b@c?d@e"),
            ("http://a.test/", "http://a.test/"),
            ("user:secret@a.test:443", "a.test:443"),
            ("http://us@er:secret@a.test", "http://a.test"),
            ("", ""),
        ] {
            assert_eq!(format!("{:?}", WithoutUser(text)), shown);
        }
    }
}
