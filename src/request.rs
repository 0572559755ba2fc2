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
use crate::client::Client;
use crate::codec::FieldMap;
use crate::codec::shown::WithoutUser;
use crate::error::{Error, Result};
use crate::layer::timeout::{Chosen, Setting};
use crate::response::Response;
use crate::url::IntoUrl;

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

/// The form in which a request names what it asks for, <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>.
///
/// Without one, CONNECT has the authority form of its URL, and every other method the origin form. With
/// [`Client::execute`], it may be given among the request's extensions.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestTarget {
    /// `/path?query`: for the server itself.
    Origin,
    /// `http://host/path?query`: for a server that is a proxy.
    Absolute,
    /// `*`: the server as a whole; for OPTIONS only.
    Asterisk,
    /// `host:port`, in place of the URL's: where a proxy is to make a tunnel to; for CONNECT only. The Host field is
    /// the same.
    Authority(String),
}

impl fmt::Debug for RequestTarget {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin => f.write_str("Origin"),
            Self::Absolute => f.write_str("Absolute"),
            Self::Asterisk => f.write_str("Asterisk"),
            Self::Authority(authority) => f.debug_tuple("Authority").field(&WithoutUser(authority)).finish(),
        }
    }
}

/// What one request may set differently from its client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) timeout: Setting,
    pub(crate) connect_timeout: Option<Duration>,
    /// Boxed: keeps requests small, of which few have timeouts of their own.
    pub(crate) timeouts: Option<Box<Chosen>>,
    pub(crate) target: Option<RequestTarget>,
    pub(crate) isolation: Option<Arc<str>>,
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
            self.client.complete(&self.uri, &mut self.headers, &self.body)?;
            let body = std::mem::replace(&mut self.body, Body::empty());
            let sent = self.client.attempt(&self.method, &self.uri, &mut self.headers, body, &self.settings);
            match sent.await {
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
