//! The forms of a URL from which a request can be made, and the URI that is sent for each form.
//!
//! This module knows no client and no request. Invariant: only text that the WHATWG parser would leave unchanged skips
//! the parser.

#[cfg(feature = "url")]
mod base;
#[cfg(not(feature = "url"))]
#[path = "url/no_base.rs"]
mod base;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use http::Uri;

pub(crate) use self::base::Base;
use crate::error::{BoxError, Error, Result};

/// A URL in one of the forms from which a request can be made: text, `url::Url`, or [`http::Uri`].
///
/// Text may be a `&str`, a `String`, a `Cow<str>`, a `Box<str>`, an `Rc<str>`, an `Arc<str>`, or a reference to one of these.
/// Text without a scheme, such as `example.org/a`, is a URL only for a client with a base URL (`ClientBuilder::base_url`).
///
/// With the feature `url`, which is on by default, text is parsed as a WHATWG URL: international names and bytes that
/// must be percent-encoded are encoded. Without the feature, text is parsed as an [`http::Uri`]. A `Uri` is sent
/// unchanged. A fragment is never sent. Sending or building a request with an invalid URL fails with
/// [`ErrorKind::Request`](crate::ErrorKind::Request).
///
/// ```
/// # #[cfg(feature = "url")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = handclasp::Client::new();
/// let text = client.get("http://example.org/a b#top").build()?;
/// let uri = client.get(http::Uri::from_static("http://example.org/a%20b")).build()?;
/// assert_eq!(text.uri(), uri.uri());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "url"))]
/// # fn main() {}
/// ```
///
/// The trait is sealed: other crates cannot implement the trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a URL",
    label = "give a URL as text, `http::Uri` or `url::Url`",
    note = "for a type with `Display`, give the text of `.to_string()`",
    note = "`url::Url` is accepted with the feature `url`, if its version is the one that handclasp depends on"
)]
pub trait IntoUrl: sealed::IntoUri {}

impl<T: sealed::IntoUri> IntoUrl for T {}

mod sealed {
    use http::Uri;

    use crate::error::Result;

    #[allow(unnameable_types, reason = "the trait is sealed, so that new types can be added")]
    pub trait IntoUri {
        /// Returns the URI. Stores the URL's fragment, which is not sent and which the URL of a redirect inherits, in
        /// `fragment`.
        fn take_apart(self, fragment: &mut Option<String>) -> Result<Uri>;

        fn into_uri(self) -> Result<Uri>
        where
            Self: Sized,
        {
            self.take_apart(&mut None)
        }

        /// Joins the URL to `base`, and returns the URI of the joined URL. Stores the fragment as `take_apart` does.
        #[cfg(feature = "url")]
        fn join_to(self, base: &url::Url, fragment: &mut Option<String>) -> Result<Uri>;
    }
}

impl sealed::IntoUri for Uri {
    fn take_apart(self, _: &mut Option<String>) -> Result<Uri> {
        Ok(self)
    }

    #[cfg(feature = "url")]
    fn join_to(self, base: &url::Url, fragment: &mut Option<String>) -> Result<Uri> {
        if self.scheme().is_some() { Ok(self) } else { self.to_string().join_to(base, fragment) }
    }
}

impl sealed::IntoUri for &Uri {
    fn take_apart(self, _: &mut Option<String>) -> Result<Uri> {
        Ok(self.clone())
    }

    #[cfg(feature = "url")]
    fn join_to(self, base: &url::Url, fragment: &mut Option<String>) -> Result<Uri> {
        self.clone().join_to(base, fragment)
    }
}

impl sealed::IntoUri for &str {
    #[cfg(feature = "url")]
    fn take_apart(self, fragment: &mut Option<String>) -> Result<Uri> {
        if is_normal(self)
            && let Ok(uri) = self.parse()
        {
            return Ok(uri);
        }
        let url = url::Url::parse(self).map_err(|error| invalid_url(self, error))?;
        url.take_apart(fragment)
    }

    #[cfg(not(feature = "url"))]
    fn take_apart(self, _: &mut Option<String>) -> Result<Uri> {
        // A fragment is never sent.
        let text = self.split('#').next().unwrap_or_default();
        text.parse().map_err(|error: http::uri::InvalidUri| invalid_url(self, error))
    }

    #[cfg(feature = "url")]
    fn join_to(self, base: &url::Url, fragment: &mut Option<String>) -> Result<Uri> {
        let url = base.join(self).map_err(|error| {
            if has_scheme(self) {
                return invalid_url(self, error);
            }
            Error::request("the URL cannot be joined to the client's base URL (base_url)").because(error)
        })?;
        url.take_apart(fragment)
    }
}

/// Implements the trait for types that hold text.
macro_rules! texts {
    ($($text:ty),+ $(,)?) => {$(
        impl sealed::IntoUri for $text {
            fn take_apart(self, fragment: &mut Option<String>) -> Result<Uri> {
                let text: &str = self.as_ref();
                text.take_apart(fragment)
            }

            #[cfg(feature = "url")]
            fn join_to(self, base: &url::Url, fragment: &mut Option<String>) -> Result<Uri> {
                let text: &str = self.as_ref();
                text.join_to(base, fragment)
            }
        }
    )+};
}

texts! {
    String, &String, &mut String, &mut str, &&str, &&String,
    Cow<'_, str>, &Cow<'_, str>, Box<str>, &Box<str>, Rc<str>, &Rc<str>, Arc<str>, &Arc<str>,
}

#[cfg(feature = "url")]
impl sealed::IntoUri for url::Url {
    fn take_apart(mut self, fragment: &mut Option<String>) -> Result<Uri> {
        if !self.has_host() && !matches!(self.scheme(), "http" | "https") {
            if !has_scheme(self.as_str()) {
                return Err(Error::no_scheme());
            }
            let scheme = self.scheme();
            return Err(Error::request(format!(
                "the URL's scheme is {scheme:?}: only http and https can be fetched"
            )));
        }
        *fragment = self.fragment().map(Into::into);
        self.set_fragment(None);
        let text = String::from(self);
        Uri::try_from(&text).map_err(|error| invalid_url(&text, error))
    }

    fn join_to(self, _: &url::Url, fragment: &mut Option<String>) -> Result<Uri> {
        self.take_apart(fragment)
    }
}

#[cfg(feature = "url")]
impl sealed::IntoUri for &url::Url {
    fn take_apart(self, fragment: &mut Option<String>) -> Result<Uri> {
        self.clone().take_apart(fragment)
    }

    fn join_to(self, _: &url::Url, fragment: &mut Option<String>) -> Result<Uri> {
        self.clone().take_apart(fragment)
    }
}

/// Whether a WHATWG parser would leave the URL unchanged.
///
/// Fast path: most URLs are normal, and parsing a URL takes longer than all other steps of making a request. Returns
/// `false` for a URL that may need a change, such as a URL with a name that is not lower-case ASCII, dot segments, or
/// bytes that must be encoded.
#[cfg(feature = "url")]
fn is_normal(url: &str) -> bool {
    let (rest, default_port) = match url.strip_prefix("http") {
        Some(rest) => match rest.strip_prefix("s://") {
            Some(rest) => (rest, "443"),
            None => (rest.strip_prefix("://").unwrap_or_default(), "80"),
        },
        None => return false,
    };
    let Some(slash) = rest.bytes().position(|byte| byte == b'/') else { return false };
    let (authority, path) = rest.split_at(slash);
    let (host, is_normal_port) = match authority.split_once(':') {
        Some((host, port)) => {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
            (host, is_number && port.parse::<u16>().is_ok() && port != default_port)
        }
        None => (authority, true),
    };
    is_normal_port && is_normal_host(host) && is_normal_path(path)
}

#[cfg(feature = "url")]
fn is_normal_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_plain) && !label.starts_with("xn--")
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        // A parser may read the name as a number. Only an IPv4 address in its usual form stays unchanged.
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    host.split('.').all(is_label)
}

#[cfg(feature = "url")]
fn is_normal_path(path: &str) -> bool {
    let mut before = 0;
    for (at, byte) in path.bytes().enumerate() {
        let is_plain = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'?' | b'=' | b'&' | b'-' | b'_' | b'~' => true,
            b'!' | b'$' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b':' | b'@' => true,
            // The parser would remove a segment that consists of dots.
            b'.' => before != b'/',
            b'%' => !path[at + 1..].starts_with("2e") && !path[at + 1..].starts_with("2E"),
            _ => false,
        };
        if !is_plain {
            return false;
        }
        before = byte;
    }
    true
}

/// Whether a text begins with a scheme. A host with a port, such as `localhost:8080`, is no scheme.
fn has_scheme(text: &str) -> bool {
    let text = text.trim_start_matches(|char: char| char <= ' ');
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let port = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_scheme && !is_port
}

/// Returns the error for a text that is not a URL. A missing scheme and an IPv6 zone get messages of their own.
fn invalid_url(text: &str, cause: impl Into<BoxError>) -> Error {
    if !has_scheme(text) {
        return Error::no_scheme();
    }
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let literal = authority.split_once('[').and_then(|(_, rest)| rest.split(']').next());
    if literal.is_some_and(|literal| literal.contains('%')) {
        return Error::zone().because(cause);
    }
    Error::request("the URL is invalid").because(cause)
}

#[cfg(all(test, feature = "url"))]
mod tests {
    use super::sealed::IntoUri as _;
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Some(url::Url::parse(text).ok()?.into_uri().ok()?.to_string())
    }

    #[test]
    fn a_host_with_a_port_is_no_scheme() {
        for text in [
            "a.test",
            "a.test/x:y",
            "localhost:8080",
            "a.test:80/x",
            "127.0.0.1:1",
            "[::1]:80",
            "/x",
            "",
            "a:1?b",
            "//a",
        ] {
            assert!(!has_scheme(text), "{text}");
        }
        for text in ["http://a", "ftp:x", "mailto:me", " http:a", "a+b-c.1:", "http://a:80/", "http:80a"] {
            assert!(has_scheme(text), "{text}");
        }
    }

    #[test]
    fn only_normal_urls_skip_the_parser() {
        for normal in [
            "http://h/",
            "https://example.org/a/b.c?d=e&f=%20",
            "http://127.0.0.1:8080/",
            "http://h:443/a?b=c/d?e",
            "https://a-b.c1:80/~x;y=(z)!",
            "http://h/a%2Fb",
        ] {
            assert!(is_normal(normal), "{normal}");
            assert_eq!(parsed(normal).as_deref(), Some(normal));
        }
        for other in [
            "http://h",
            "http://H/",
            "HTTP://h/",
            "http:/h/",
            "http:h/",
            "ftp://h/",
            "http:///",
            "http://h:80/",
            "https://h:443/",
            "http://h:080/",
            "http://h:/",
            "http://h:99999/",
            "http://u@h/",
            "http://u:1@h/",
            "http://[::1]/",
            "http://h./",
            "http://.h/",
            "http://1.2/",
            "http://1.2.3.04/",
            "http://256.1.1.1/",
            "http://0x7f.1/",
            "http://a.1/",
            "http://xn--a/",
            "http://a.xn--b/",
            "http://a_b/",
            "http://ü/",
            "http://h/ü",
            "http://h/#f",
            "http://h/a b",
            "http://h/./a",
            "http://h/a/..",
            "http://h/.a",
            "http://h/%2e/a",
            "http://h/a/%2E%2e",
            "http://h/a\\b",
            "http://h/'",
            "http://h?q",
            "http://h#f",
            "http://h/a\n",
            " http://h/",
            "http://h/{a}",
            "http://h/\"",
            "http://h/<a>",
            "http://h/`",
            "http://h/^",
            "http://h/|",
            "http://h/[a]",
        ] {
            assert!(!is_normal(other), "{other}");
        }
    }

    /// Checks that the parser leaves every URL unchanged that `is_normal` accepts.
    #[test]
    fn the_parser_leaves_random_normal_urls_unchanged() {
        const PARTS: [&str; 48] = [
            "http://",
            "https://",
            "h",
            "a.b",
            "xn--",
            "1",
            "0",
            "127.0.0.1",
            "255",
            ".",
            "..",
            "-",
            "_",
            ":",
            "80",
            "443",
            "8080",
            "65536",
            "/",
            "//",
            "/.",
            "/..",
            "%2e",
            "%2E",
            "%",
            "%20",
            "?",
            "#",
            "@",
            "=",
            "&",
            "'",
            "~",
            "\\",
            "A",
            "é",
            " ",
            "\t",
            "+",
            "*",
            ";",
            ",",
            "(",
            "!",
            "$",
            "0x1",
            "[",
            "|",
        ];
        let mut random = crate::random::generator();
        let mut taken = 0;
        for _ in 0..200_000 {
            let mut text = PARTS[random(2)].to_owned();
            for _ in 0..random(8) {
                text += PARTS[2 + random(PARTS.len() - 2)];
            }
            text += ["", "/", "/a"][random(3)];
            if is_normal(&text) && text.parse::<Uri>().is_ok() {
                assert_eq!(parsed(&text).as_deref(), Some(&*text));
                taken += 1;
            }
        }
        assert!(taken > 1_000, "{taken}");
    }
}
