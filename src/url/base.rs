//! The base URL of a client: relative URLs are joined to the base, and a URL of another origin is refused.
//!
//! This module knows no client and no request. Invariant: a URI that this module returns has the scheme, the host and the
//! port of the base. The URI that is sent is compared, instead of the text that the caller gave, so that no spelling of a
//! URL leads to another server.

use std::fmt;

use http::Uri;
use url::Url;

use super::IntoUrl;
use crate::error::{Error, Result};

/// The base URL of a client, if the client has one. Boxed because few clients have a base URL: keeps the settings small.
#[derive(Clone, Default)]
pub(crate) struct Base(Option<Box<Url>>);

impl Base {
    /// Creates a base.
    ///
    /// # Errors
    ///
    /// If the URL is invalid, is not absolute, or has another scheme than http and https.
    pub(crate) fn new(url: impl IntoUrl) -> Result<Self> {
        let uri = url.into_uri()?;
        let parsed = Url::parse(&uri.to_string()).map_err(|error| {
            Error::request("the base URL is not an absolute URL: give http:// or https://").because(error)
        })?;
        if !matches!(parsed.scheme(), "http" | "https") {
            let scheme = parsed.scheme();
            return Err(Error::request(format!(
                "the base URL's scheme is {scheme:?}: only http and https can be fetched"
            )));
        }
        Ok(Self(Some(Box::new(parsed))))
    }

    /// Returns the URI for the URL of a request. Stores the URL's fragment in `fragment`.
    ///
    /// # Errors
    ///
    /// If the URL is invalid, or leaves the origin of the base.
    #[inline]
    pub(crate) fn take_apart(&self, url: impl IntoUrl, fragment: &mut Option<String>) -> Result<Uri> {
        match &self.0 {
            None => url.take_apart(fragment),
            Some(base) => within(base, url.join_to(base, fragment)?),
        }
    }

    /// Joins the URI of a request to the base, in place. Changes nothing if there is no base.
    ///
    /// # Errors
    ///
    /// If the URI is invalid, or leaves the origin of the base.
    #[inline]
    pub(crate) fn resolve(&self, uri: &mut Uri) -> Result<()> {
        if self.0.is_some() {
            *uri = self.take_apart(std::mem::take(uri), &mut None)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Base {
    /// Writes the origin alone, because the base may have a user and a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("None"),
            Some(base) => f.write_str(&base.origin().ascii_serialization()),
        }
    }
}

/// Returns the URI, or an error if its scheme, host or port is not that of the base.
fn within(base: &Url, uri: Uri) -> Result<Uri> {
    let default_port = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let is_within = uri.scheme_str() == Some(base.scheme())
        && uri.port_u16().or(default_port) == base.port_or_known_default()
        && base.host_str().is_some_and(|host| uri.host().is_some_and(|own| own.eq_ignore_ascii_case(host)));
    if is_within { Ok(uri) } else { Err(escape(&uri)) }
}

#[cold]
fn escape(uri: &Uri) -> Error {
    let message =
        "the URL leaves the origin of the client's base URL: use another client for other origins (base_url)";
    Error::request(message).with_uri(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(base: &str, url: &str) -> Result<String> {
        Base::new(base).unwrap().take_apart(url, &mut None).map(|uri| uri.to_string())
    }

    /// Checks the examples of RFC 3986, section 5.4, which WHATWG joins in the same way.
    #[test]
    fn urls_are_joined_as_whatwg_joins_them() {
        for (url, expected) in [
            ("g", "http://a.test/b/c/g"),
            ("./g", "http://a.test/b/c/g"),
            ("g/", "http://a.test/b/c/g/"),
            ("/g", "http://a.test/g"),
            ("?y", "http://a.test/b/c/d;p?y"),
            ("g?y", "http://a.test/b/c/g?y"),
            ("#s", "http://a.test/b/c/d;p?q"),
            ("", "http://a.test/b/c/d;p?q"),
            (";x", "http://a.test/b/c/;x"),
            (".", "http://a.test/b/c/"),
            ("..", "http://a.test/b/"),
            ("../g", "http://a.test/b/g"),
            ("../../../g", "http://a.test/g"),
            ("/./g", "http://a.test/g"),
            ("g;x=1/../y", "http://a.test/b/c/y"),
            ("%2e%2e/g", "http://a.test/b/g"),
            ("a b", "http://a.test/b/c/a%20b"),
            ("\u{fc}", "http://a.test/b/c/%C3%BC"),
            (" g\n", "http://a.test/b/c/g"),
            ("g\\h", "http://a.test/b/c/g/h"),
            ("http:g", "http://a.test/b/c/g"),
            ("@evil.test/g", "http://a.test/b/c/@evil.test/g"),
            ("http://a.test/g", "http://a.test/g"),
            ("HTTP://A.test:80", "http://a.test/"),
            ("//a.test/g", "http://a.test/g"),
            ("http://a.test\\@evil.test/", "http://a.test/@evil.test/"),
        ] {
            assert_eq!(join("http://a.test/b/c/d;p?q", url).unwrap(), expected, "{url:?}");
        }
        for (base, url, expected) in [
            ("http://a.test/v1", "x", "http://a.test/x"),
            ("http://a.test/v1/", "x", "http://a.test/v1/x"),
            ("https://[::1]:8443", "x", "https://[::1]:8443/x"),
            ("http://127.0.0.1/", "http://0x7f.1/x", "http://127.0.0.1/x"),
            ("http://\u{fc}.test/", "x", "http://xn--tda.test/x"),
            ("http://me:pw@a.test/", "x", "http://me:pw@a.test/x"),
            ("http://me:pw@a.test/", "//a.test/x", "http://a.test/x"),
        ] {
            assert_eq!(join(base, url).unwrap(), expected, "{base:?} {url:?}");
        }
    }

    #[test]
    fn a_25_no_spelling_of_a_url_leaves_the_origin_of_the_base() {
        for url in [
            "http://evil.test/x",
            "//evil.test/x",
            "///evil.test/x",
            "////evil.test",
            "\\\\evil.test/x",
            "/\\evil.test/x",
            "\\/evil.test/x",
            "/\t/evil.test/x",
            "\n//evil.test/x",
            " //evil.test",
            "/\r\n\\evil.test",
            "http:\\\\evil.test/x",
            "http:///evil.test/x",
            "hTTp://evil.test",
            "http://a.test@evil.test/",
            "http://a.test:80@evil.test/",
            "http://a.test%40evil.test@evil.test/",
            "//a.test@evil.test",
            "//me:pw@evil.test",
            "http://a.test.evil.test/",
            "http://a.test./",
            "http://evil.test\\@a.test/",
            "http://evil.test#@a.test/",
            "http://evil.test?@a.test/",
            "http://evil.test/@a.test/",
            "http://a.test:81/",
            "//a.test:443/",
            "https://a.test/",
            "https:a.test/",
            "https:x",
            "https://a.test:80/",
            "ws://a.test/",
            "ftp://a.test/x",
            "file:///etc/passwd",
            "mailto:me@a.test",
            "javascript:alert(1)",
            "data:,x",
            "a.test:80/x",
            "http://[::1]/",
            "http://127.0.0.1/",
            "//",
            "http://",
            "http://a.test:99999/",
        ] {
            let error = join("http://a.test/b/", url).unwrap_err();
            assert!(error.is_request(), "A-25: {url:?}: {error:?}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }

    /// An `http::Uri` is sent unchanged, so that the host of the `Uri` is compared with the host of the base.
    #[test]
    fn a_25_a_uri_is_compared_as_it_is_sent() {
        let base = Base::new("http://a.test/v1/").unwrap();
        for (uri, expected) in [
            ("/x?y", Some("http://a.test/x?y")),
            ("x", Some("http://a.test/v1/x")),
            ("http://A.TEST/%7e?", Some("http://A.TEST/%7e?")),
            ("http://a.test:80/x/../y", Some("http://a.test:80/x/../y")),
            ("//evil.test/x", None),
            ("http://evil.test/x", None),
            ("http://a.test./x", None),
            ("http://a.test:80@evil.test/x", None),
            ("https://a.test/x", None),
            ("http://a.test:8080/x", None),
        ] {
            let mut own: Uri = uri.parse().unwrap();
            let outcome = base.resolve(&mut own).map(|()| own.to_string());
            assert_eq!(outcome.ok().as_deref(), expected, "A-25: {uri}");
        }
        let mut uri = Uri::from_static("//evil.test/x");
        Base::default().resolve(&mut uri).unwrap();
        assert_eq!(uri, "//evil.test/x");
    }

    #[test]
    fn a_base_is_an_absolute_http_url() {
        for (url, message) in [
            ("/x", "the URL has no scheme"),
            ("a.test", "the URL has no scheme"),
            ("ftp://a.test/", "the base URL's scheme is \"ftp\""),
            ("mailto:me", "the URL's scheme is \"mailto\""),
            ("http://a.test:99999/", "the URL is invalid"),
        ] {
            let error = Base::new(url).unwrap_err();
            assert!(error.is_request() && error.to_string().starts_with(message), "{url}: {error}");
        }
        let error = Base::new(Uri::from_static("/x")).unwrap_err();
        assert!(error.to_string().starts_with("the base URL is not an absolute URL"), "{error}");
        let base = Base::new("http://me:secret@a.test:81/secret?secret").unwrap();
        assert_eq!(format!("{base:?}"), "http://a.test:81");
    }
}
