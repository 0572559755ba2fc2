//! The methods whose names spans and metrics show.
//!
//! This module does no I/O. Invariant: a name that is shown is the name of a method that the client knows, so that the
//! number of names is bounded.

use std::sync::Arc;

use http::Method;

/// The methods that spans and metrics show by their names. `None` stands for the methods of OpenTelemetry's conventions.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownMethods(Option<Arc<[Method]>>);

impl KnownMethods {
    pub(crate) fn only(methods: impl IntoIterator<Item = Method>) -> Self {
        Self(Some(methods.into_iter().collect()))
    }

    /// Whether spans and metrics show the name of a method. Letter case counts.
    pub(super) fn has(&self, method: &Method) -> bool {
        match &self.0 {
            Some(methods) => methods.contains(method),
            None => CONVENTIONAL.contains(&method.as_str()),
        }
    }
}

/// Value of `http.request.method` for a method that the client does not know.
pub(crate) const OTHER: &str = "_OTHER";

/// The methods of RFC 9110, PATCH of RFC 5789, and QUERY of
/// <https://datatracker.ietf.org/doc/draft-ietf-httpbis-safe-method-w-body/>.
const CONVENTIONAL: [&str; 10] =
    ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_the_caller_replaces_the_conventional_methods() {
        let method = |name: &str| -> Method { name.parse().unwrap() };
        let own = KnownMethods::only([method("PROPFIND"), Method::GET]);
        for (name, is_conventional, is_own) in [
            ("GET", true, true),
            ("POST", true, false),
            ("QUERY", true, false),
            ("PROPFIND", false, true),
            ("get", false, false),
            ("BREW", false, false),
        ] {
            let method = method(name);
            assert_eq!((KnownMethods::default().has(&method), own.has(&method)), (is_conventional, is_own));
        }
        assert!(!KnownMethods::only([]).has(&Method::GET));
    }
}
