//! Making a request: sugar over [`http::Request`], and the settings of one request.
//!
//! It does no I/O. Invariant: a mistake in a part is kept until the request is sent or built, and reported then,
//! before a byte is written.

use std::borrow::Borrow;
use std::fmt::{self, Display, Write};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::body::{Body, add_fields};
use crate::call::{RequestTarget, Settings};
use crate::client::Client;
use crate::codec::FieldMap;
use crate::error::{Error, Result};
use crate::response::Response;

/// Something that names what to fetch: text, a `url::Url`, or an `http::Uri`.
///
/// Text is parsed as a WHATWG URL (feature `url`, on by default), which percent-encodes what must be and understands
/// international names; an `http::Uri` is taken as it is.
pub trait IntoUrl: sealed::IntoUri {}

impl<T: sealed::IntoUri> IntoUrl for T {}

mod sealed {
    use http::Uri;

    use crate::error::Result;

    #[allow(unnameable_types, reason = "sealed: the forms that a URL can have are this crate's to choose")]
    pub trait IntoUri {
        fn into_uri(self) -> Result<Uri>;
    }
}

impl sealed::IntoUri for Uri {
    fn into_uri(self) -> Result<Uri> {
        Ok(self)
    }
}

impl sealed::IntoUri for &Uri {
    fn into_uri(self) -> Result<Uri> {
        Ok(self.clone())
    }
}

impl sealed::IntoUri for &str {
    #[cfg(feature = "url")]
    fn into_uri(self) -> Result<Uri> {
        if is_normal(self)
            && let Ok(uri) = self.parse()
        {
            return Ok(uri);
        }
        let url = url::Url::parse(self).map_err(|error| invalid_url(self).because(error))?;
        url.into_uri()
    }

    #[cfg(not(feature = "url"))]
    fn into_uri(self) -> Result<Uri> {
        // A fragment is not sent.
        let text = self.split('#').next().unwrap_or_default();
        text.parse().map_err(|error: http::uri::InvalidUri| invalid_url(self).because(error))
    }
}

impl sealed::IntoUri for String {
    fn into_uri(self) -> Result<Uri> {
        self.as_str().into_uri()
    }
}

impl sealed::IntoUri for &String {
    fn into_uri(self) -> Result<Uri> {
        self.as_str().into_uri()
    }
}

#[cfg(feature = "url")]
impl sealed::IntoUri for url::Url {
    fn into_uri(mut self) -> Result<Uri> {
        if !self.has_host() && !matches!(self.scheme(), "http" | "https") {
            let scheme = self.scheme();
            return Err(Error::request(format!(
                "the URL's scheme is {scheme:?}: only http and https can be fetched"
            )));
        }
        self.set_fragment(None);
        let text = String::from(self);
        Uri::try_from(&text).map_err(|error| invalid_url(&text).because(error))
    }
}

#[cfg(feature = "url")]
impl sealed::IntoUri for &url::Url {
    fn into_uri(self) -> Result<Uri> {
        self.clone().into_uri()
    }
}

/// Whether WHATWG parsing leaves a URL exactly as it is: most are, and it takes longer than all else that is done to make a
/// request. `false` of what is not seen at a glance: names that are not ASCII in lower case, dot segments, whatever needs to
/// be escaped.
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
        // It may mean a number: only an address as everybody writes it is left as it is.
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
            // One segment of dots would be taken out.
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

fn invalid_url(text: &str) -> Error {
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let literal = authority.split_once('[').and_then(|(_, rest)| rest.split(']').next());
    if literal.is_some_and(|literal| literal.contains('%')) {
        return Error::request(crate::pool::key::ZONE);
    }
    Error::request("the URL is invalid")
}

/// A request being made. [`send`](Self::send) sends it.
///
/// ```
/// # fn main() -> handclasp::Result<()> {
/// let client = handclasp::Client::new();
/// let request = client
///     .post("http://example.org/search")
///     .query(&[("q", "one handshake"), ("page", "2")])
///     .header("accept", "text/plain")
///     .body("many requests")
///     .build()?;
/// assert_eq!(request.uri(), "http://example.org/search?q=one+handshake&page=2");
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    method: Method,
    uri: Uri,
    headers: FieldMap,
    body: Body,
    settings: Settings,
    error: Option<Error>,
}

impl RequestBuilder {
    /// One that was made elsewhere.
    pub(crate) fn of(client: Client, request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let mut settings = parts.extensions.get::<Settings>().cloned().unwrap_or_default();
        if let Some(target) = parts.extensions.get::<RequestTarget>() {
            settings.target = Some(target.clone());
        }
        Self {
            client,
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers.into(),
            body,
            settings,
            error: None,
        }
    }

    pub(crate) fn new(client: Client, method: Method, url: impl IntoUrl) -> Self {
        let (uri, error) = match url.into_uri() {
            Ok(uri) => (uri, None),
            Err(error) => (Uri::default(), Some(error)),
        };
        Self {
            client,
            method,
            uri,
            headers: FieldMap::default(),
            body: Body::empty(),
            settings: Settings::default(),
            error,
        }
    }

    /// Adds a field; one of the same name that was added before stays.
    pub fn header<K, V>(mut self, name: K, value: V) -> Self
    where
        K: TryInto<HeaderName>,
        K::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        let name = name.try_into().map_err(|error| ("the name of a header field is invalid", error.into()));
        let field = name.and_then(|name| match value.try_into() {
            Ok(value) => Ok((name, value)),
            Err(error) => Err(("the value of a header field is invalid", error.into())),
        });
        match field {
            Ok((name, value)) => {
                if self.headers.try_append(name, value).is_err() {
                    self.fail(Error::request("the request has too many header fields"));
                }
            }
            Err((message, error)) => self.fail(Error::request(message).because(error)),
        }
        self
    }

    /// Sets fields; those of the same names that were added before are replaced.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        for name in headers.keys() {
            self.headers.remove(name);
        }
        if !add_fields(&mut self.headers, headers) {
            self.fail(Error::request("the request has too many header fields"));
        }
        self
    }

    /// Adds pairs to the URL's query, encoded as a form is: spaces become `+`.
    ///
    /// Takes what gives pairs: `&[("a", "b")]`, a `Vec` of pairs, a map. Values may be anything that can be printed.
    pub fn query<I, K, V>(mut self, pairs: I) -> Self
    where
        I: IntoIterator,
        I::Item: Borrow<(K, V)>,
        K: AsRef<str>,
        V: Display,
    {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut target = path.to_owned();
        let mut value = String::new();
        for pair in pairs {
            let (name, shown) = pair.borrow();
            target.push(if target.contains('?') { '&' } else { '?' });
            if target.ends_with("?&") {
                target.pop();
            }
            encode_form(name.as_ref(), &mut target);
            target.push('=');
            value.clear();
            // Writing into a String does not fail; a Display that does has said what it had to say.
            let _ = write!(value, "{shown}");
            encode_form(&value, &mut target);
        }
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = target.parse().ok();
        match Uri::from_parts(parts) {
            Ok(uri) => self.uri = uri,
            Err(error) => self.fail(Error::request("the URL with its query is invalid").because(error)),
        }
        self
    }

    /// The content to send: bytes, text, a stream, a file, another body; see [`Body`].
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// `Authorization: Bearer`. The value is marked as sensitive, so it is not printed by `Debug`.
    pub fn bearer_auth(mut self, token: impl Display) -> Self {
        match HeaderValue::try_from(format!("Bearer {token}")) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(http::header::AUTHORIZATION, value);
            }
            Err(_) => self.fail(Error::request("the bearer token is not a valid field value")),
        }
        self
    }

    /// Sets how long this request may take as a whole, instead of its client's
    /// [`timeout`](crate::ClientBuilder::timeout). `None`: without a limit.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeout = Some(timeout.into());
        self
    }

    /// Sets how long this request waits for its connection: queue and setup together. A dial that it started goes on
    /// without it, and serves another request or is kept. `None`, the default: the client's timeouts alone hold.
    ///
    /// The default of the client's [`acquire_timeout`](crate::ClientBuilder::acquire_timeout) does not cut it short.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.connect_timeout = timeout.into();
        self
    }

    /// Sets how long this request waits for its response's head, instead of its client's
    /// [`response_timeout`](crate::ClientBuilder::response_timeout). `None`: without a limit.
    pub fn response_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.get_or_insert_default().response = Some(timeout.into());
        self
    }

    /// Sets how long the content of this request's response may pause, instead of its client's
    /// [`read_timeout`](crate::ClientBuilder::read_timeout). `None`: without a limit.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.get_or_insert_default().read = Some(timeout.into());
        self
    }

    /// Sets how long this request may be held up by a server that takes nothing of it, instead of its client's
    /// [`write_timeout`](crate::ClientBuilder::write_timeout). `None`: without a limit.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.get_or_insert_default().write = Some(timeout.into());
        self
    }

    /// Sends the head with `Expect: 100-continue`, and the content when the server asks for it.
    ///
    /// The content is held back until the server answers 100, or for
    /// [`expect_continue_timeout`](crate::ClientBuilder::expect_continue_timeout). A final response instead ends the
    /// request without its content, and its connection; after a 417 the request is sent again without the expectation
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>). A request without content is refused.
    pub fn expect_continue(mut self) -> Self {
        self.headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
        self
    }

    /// Shares connections only with requests of the same tag: for users that must not be mixed up where a server takes
    /// the connection for the user, as with NTLM and Negotiate. (A request with such credentials and no tag says
    /// `Connection: close`: nobody uses its connection afterwards.)
    ///
    /// Connections of a tag resume no TLS session: by a session, the server could tell that two tags are one client.
    pub fn isolation(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.settings.isolation = Some(tag.into());
        self
    }

    /// The form of the request's target. See [`RequestTarget`].
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// use handclasp::RequestTarget;
    /// let request = client.request(http::Method::OPTIONS, "http://example.org/");
    /// let response = request.target(RequestTarget::Asterisk).send().await?;
    /// println!("{:?}", response.headers().get("allow"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn target(mut self, target: RequestTarget) -> Self {
        self.settings.target = Some(target);
        self
    }

    /// The request as it is, for [`Client::execute`]. Its timeouts are in its extensions.
    ///
    /// # Errors
    ///
    /// When one of its parts was invalid.
    pub fn build(self) -> Result<http::Request<Body>> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut request = http::Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers.take();
        request.extensions_mut().insert(self.settings);
        Ok(request)
    }

    /// A second request like this one, if its body is nothing, or bytes.
    pub fn try_clone(&self) -> Option<Self> {
        if self.error.is_some() {
            return None;
        }
        Some(Self {
            client: self.client.clone(),
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            body: self.body.try_clone()?,
            settings: self.settings.clone(),
            error: None,
        })
    }

    /// Sends the request and waits for the head of its response.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe at any point. While it waits for a connection, the connection serves somebody
    /// else; a dial goes on and its connection is kept. Afterwards the connection is closed, and the server may or
    /// may not have acted on the request.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind). A response with any status is not an error; see
    /// [`error_for_status`](Response::error_for_status).
    #[allow(
        clippy::manual_async_fn,
        reason = "the future of an async fn has room for its arguments twice, and is moved whole"
    )]
    pub fn send(mut self) -> impl Future<Output = Result<Response>> {
        async move {
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let body = std::mem::replace(&mut self.body, Body::empty());
            let call = self.client.call(&self.method, &self.uri, &mut self.headers, &self.settings);
            match call.run(body).await {
                Ok(response) => Ok(response.to(self.uri)),
                Err(error) => Err(error.with_uri(&self.uri)),
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("uri", &crate::error::without_credentials(&self.uri))
            .field("headers", &self.headers.len())
            .field("body", &self.body)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// <https://url.spec.whatwg.org/#concept-urlencoded-serializer>
fn encode_form(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.push(HEX[digit as usize] as char);
                }
            }
        }
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(all(test, feature = "url"))]
mod tests {
    use super::sealed::IntoUri as _;
    use super::*;

    fn by_the_book(text: &str) -> Option<String> {
        Some(url::Url::parse(text).ok()?.into_uri().ok()?.to_string())
    }

    #[test]
    fn what_parsing_would_change_is_parsed() {
        for normal in [
            "http://h/",
            "https://example.org/a/b.c?d=e&f=%20",
            "http://127.0.0.1:8080/",
            "http://h:443/a?b=c/d?e",
            "https://a-b.c1:80/~x;y=(z)!",
            "http://h/a%2Fb",
        ] {
            assert!(is_normal(normal), "{normal}");
            assert_eq!(by_the_book(normal).as_deref(), Some(normal));
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

    /// Whatever is taken as it is, the parser would have left as it is.
    #[test]
    fn random_urls_are_the_same_both_ways() {
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
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let mut taken = 0;
        for _ in 0..200_000 {
            let mut text = PARTS[random(2)].to_owned();
            for _ in 0..random(8) {
                text += PARTS[2 + random(PARTS.len() - 2)];
            }
            text += ["", "/", "/a"][random(3)];
            if is_normal(&text) && text.parse::<Uri>().is_ok() {
                assert_eq!(by_the_book(&text).as_deref(), Some(&*text));
                taken += 1;
            }
        }
        assert!(taken > 1_000, "{taken}");
    }
}
