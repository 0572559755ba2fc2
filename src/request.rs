//! The builder of a request, and the settings of one request.
//!
//! This module does no I/O. Invariant: an invalid part is kept as an error. Sending or building the request returns
//! this error before a byte is written.

#[cfg(any(feature = "json", feature = "form", feature = "query"))]
mod content;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(unix)]
mod unix;

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::body::{Body, add_fields};
use crate::call::{OwnSettings, Pinned, RequestTarget, UrlTemplate, auth};
use crate::client::Client;
use crate::codec::FieldMap;
use crate::error::{Error, Result};
use crate::redirect::OwnRedirects;
use crate::response::Response;
use crate::url::IntoUrl;

/// Builds a request and sends it. [`Client::get`] and the other verbs of a client return a builder.
///
/// An invalid part, such as a malformed URL, is reported by [`send`](Self::send) or [`build`](Self::build).
///
/// ```
/// # fn main() -> handclasp::Result<()> {
/// let client = handclasp::Client::new();
/// let request = client
///     .post("http://example.org/search?page=2")
///     .header("accept", "text/plain")
///     .body("many requests")
///     .build()?;
/// assert_eq!(request.uri(), "http://example.org/search?page=2");
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
    settings: OwnSettings,
    error: Option<Error>,
}

impl RequestBuilder {
    /// Creates a builder from a request, whose extensions may hold settings and a target.
    pub(crate) fn of(client: Client, request: http::Request<Body>) -> Self {
        let (mut parts, body) = request.into_parts();
        let error = client.base().resolve(&mut parts.uri).err();
        let mut settings = parts.extensions.get::<OwnSettings>().cloned().unwrap_or_default();
        if let Some(target) = parts.extensions.get::<RequestTarget>() {
            settings.target = Some(target.clone());
        }
        if let Some(template) = parts.extensions.get::<UrlTemplate>() {
            settings.template = Some(template.clone());
        }
        Self {
            client,
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers.into(),
            body,
            settings,
            error,
        }
    }

    /// Creates a builder from a client and a request, so that settings can be added to a request that other code has made.
    ///
    /// The URI of the request must be absolute, unless the client has a base URL (`ClientBuilder::base_url`). If
    /// [`build`](Self::build) has returned the request, the settings in its extensions are kept.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let request = http::Request::put("http://example.org/notes/1").body("one handshake")?;
    /// let builder = handclasp::RequestBuilder::from_parts(client, request);
    /// let response = builder.timeout(Duration::from_secs(5)).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_parts<B: Into<Body>>(client: Client, request: http::Request<B>) -> Self {
        Self::of(client, request.map(Into::into))
    }

    pub(crate) fn new(client: Client, method: Method, url: impl IntoUrl) -> Self {
        let mut fragment = None;
        let (uri, error) = match client.base().take_apart(url, &mut fragment) {
            Ok(uri) => (uri, None),
            Err(error) => (Uri::default(), Some(error)),
        };
        let mut settings = OwnSettings::default();
        if fragment.is_some() {
            settings.redirect = OwnRedirects::of(fragment);
        }
        Self { client, method, uri, headers: FieldMap::default(), body: Body::empty(), settings, error }
    }

    /// Binds the request to a reserved connection.
    pub(crate) fn on(mut self, pinned: Pinned) -> Self {
        self.settings.pinned = Some(pinned);
        self
    }

    /// Adds a header field.
    ///
    /// A field of the same name that was added before stays. A field of the client's
    /// [`default_headers`](crate::ClientBuilder::default_headers) with this name is not sent. An invalid name or value is
    /// reported by [`send`](Self::send).
    ///
    /// ```
    /// # let client = handclasp::Client::new();
    /// let request = client.get("http://example.org/").header("accept", "text/html").header("accept", "text/plain");
    /// assert_eq!(request.build().unwrap().headers().get_all("accept").iter().count(), 2);
    /// ```
    pub fn header<K, V>(mut self, name: K, value: V) -> Self
    where
        K: TryInto<HeaderName>,
        K::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        let name = name
            .try_into()
            .map_err(|error| ("a header name is not a token (RFC 9110, section 5.1)", error.into()));
        let field = name.and_then(|name| match value.try_into() {
            Ok(value) => Ok((name, value)),
            Err(error) => Err(("a header value has a forbidden byte (RFC 9110, section 5.5)", error.into())),
        });
        match field {
            Ok((name, value)) => {
                if self.headers.try_append(name, value).is_err() {
                    self.fail(Error::request("the request has too many header fields: send fewer"));
                }
            }
            Err((message, error)) => self.fail(Error::request(message).because(error)),
        }
        self
    }

    /// Sets header fields. Fields of the same names that were added before are replaced.
    ///
    /// ```
    /// use handclasp::header::{ACCEPT, HeaderMap, HeaderValue};
    ///
    /// # let client = handclasp::Client::new();
    /// let fields = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/plain"))]);
    /// let request = client.get("http://example.org/").header(ACCEPT, "text/html").headers(fields).build().unwrap();
    /// assert_eq!(request.headers()["accept"], "text/plain");
    /// ```
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        for name in headers.keys() {
            self.headers.remove(name);
        }
        if !add_fields(&mut self.headers, headers) {
            self.fail(Error::request("the request has too many header fields: send fewer"));
        }
        self
    }

    /// Sets the content to send: bytes, text, or any other [`Body`]. Replaces content that was set before.
    ///
    /// This method adds no `Content-Type`.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let json = r#"{"name": "value"}"#;
    /// let request = client.post("http://example.org/").header("content-type", "application/json").body(json);
    /// println!("{}", request.send().await?.status());
    /// # Ok(())
    /// # }
    /// ```
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets `Authorization: Bearer` with this token (<https://www.rfc-editor.org/rfc/rfc6750#section-2.1>).
    ///
    /// The value is marked as sensitive, so that `Debug` does not print it.
    ///
    /// ```
    /// # let client = handclasp::Client::new();
    /// let request = client.get("http://example.org/").bearer_auth("secret").build().unwrap();
    /// assert_eq!(request.headers()["authorization"], "Bearer secret");
    /// assert!(!format!("{request:?}").contains("secret"));
    /// ```
    pub fn bearer_auth(mut self, token: impl Display) -> Self {
        match HeaderValue::try_from(format!("Bearer {token}")) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(http::header::AUTHORIZATION, value);
            }
            Err(_) => self.fail(Error::request(
                "the bearer token has a byte that a header value cannot have: remove control characters",
            )),
        }
        self
    }

    /// Sets `Authorization: Basic` with this user and password (<https://www.rfc-editor.org/rfc/rfc7617#section-2>).
    ///
    /// The value is marked as sensitive, so that `Debug` does not print it. The user and password of a URL are sent in the
    /// same way, unless the request has an `Authorization` field. A user with a colon, and control characters, are
    /// reported by [`send`](Self::send).
    ///
    /// ```
    /// # let client = handclasp::Client::new();
    /// let request = client.get("http://example.org/").basic_auth("Aladdin", Some("open sesame")).build().unwrap();
    /// assert_eq!(request.headers()["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    /// ```
    pub fn basic_auth(mut self, user: impl Display, password: Option<impl Display>) -> Self {
        match auth::basic_of(user, password) {
            Ok(value) => {
                self.headers.insert(http::header::AUTHORIZATION, value);
            }
            Err(error) => self.fail(error),
        }
        self
    }

    /// Sets which redirects this request follows. Overrides the client's
    /// [`redirect`](crate::ClientBuilder::redirect).
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// use handclasp::redirect::Policy;
    ///
    /// let response = client.get("http://example.org/moved").redirect(Policy::none()).send().await?;
    /// println!("{}: {:?}", response.status(), response.headers().get("location"));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "url")]
    pub fn redirect(mut self, policy: crate::redirect::Policy) -> Self {
        self.settings.redirect.set_policy(policy);
        self
    }

    /// Sets whether the content of the response is decoded: `true` by default. With `false`, the content is handed over
    /// without being decoded, and `Accept-Encoding` is sent only if the caller has set this field.
    ///
    /// Content is decoded if `Content-Encoding` names at most four codings, and if the client decodes each of them (see
    /// [`ClientBuilder::no_gzip`](crate::ClientBuilder::no_gzip) and the methods beside it). More codings are an error
    /// of kind [`Decode`](crate::ErrorKind::Decode) when the content is read. Content with a coding that the client
    /// does not decode is handed over unchanged.
    ///
    /// Decoded content arrives in pieces of at most 32 KiB while the content is read, whatever its size. The response
    /// has neither `Content-Encoding` nor `Content-Length`, and
    /// [`max_collected_body`](crate::ClientBuilder::max_collected_body) limits the decoded size. A response without
    /// content, and a part of content (206), keep their fields. [`raw_headers`](crate::Response::raw_headers) returns
    /// all fields as they came.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let request = client.get("http://example.org/log.gz").header("accept-encoding", "gzip");
    /// let compressed = request.decompress(false).send().await?.bytes().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn decompress(mut self, decompress: bool) -> Self {
        self.settings.is_raw = !decompress;
        self
    }

    /// Sets the time that this request may take from the call of [`send`](Self::send) to the end of its response's content.
    ///
    /// Overrides the client's [`timeout`](crate::ClientBuilder::timeout). With `None`, there is no limit.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeout = Some(timeout.into());
        self
    }

    /// Sets the time for which this request may wait for its connection. The time covers the queue and the setup
    /// together.
    ///
    /// With `None`, which is the default, only the client's timeouts apply. If the timeout passes, a dial that the
    /// request started continues, and its connection serves another request or is kept. The default of the client's
    /// [`acquire_timeout`](crate::ClientBuilder::acquire_timeout) does not shorten this time.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.get_or_insert_default().connect = timeout.into();
        self
    }

    /// Sets the time that the server may take from the end of this request to the head of its response.
    ///
    /// Overrides the client's [`response_timeout`](crate::ClientBuilder::response_timeout). With `None`, there is no limit.
    pub fn response_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.get_or_insert_default().exchange.response = Some(timeout.into());
        self
    }

    /// Sets the time that may pass between two pieces of the response's content while it is read.
    ///
    /// Overrides the client's [`read_timeout`](crate::ClientBuilder::read_timeout). With `None`, there is no limit.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.get_or_insert_default().exchange.read = Some(timeout.into());
        self
    }

    /// Sets the time for which the server may accept no byte of this request while it is written.
    ///
    /// Overrides the client's [`write_timeout`](crate::ClientBuilder::write_timeout). With `None`, there is no limit.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.get_or_insert_default().exchange.write = Some(timeout.into());
        self
    }

    /// Adds `Expect: 100-continue`: the content is sent only after the server asks for it.
    ///
    /// The content is held back until the server answers 100, or until
    /// [`expect_continue_timeout`](crate::ClientBuilder::expect_continue_timeout) has passed. If the server sends a final
    /// response instead, the content is not sent and the connection is closed. After a 417, the request is sent again without
    /// the field (<https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>). A request without content is refused with
    /// [`ErrorKind::Request`](crate::ErrorKind::Request).
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let body = handclasp::Body::from_file("large.bin").await?;
    /// let response = client.put("http://example.org/large").expect_continue().body(body).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn expect_continue(mut self) -> Self {
        self.headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
        self
    }

    /// Lets this request share connections only with requests of the same tag.
    ///
    /// Use one tag per user if a server authenticates the connection instead of each request, as with NTLM and
    /// Negotiate. A request with such credentials and without a tag sends `Connection: close`, so that no other request
    /// uses its connection. [`Client::reserve`] returns a connection on which only one caller sends requests.
    ///
    /// Connections with a tag resume only TLS sessions of the same tag, because a resumed session would show the server
    /// that two tags belong to one client.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let request = client.get("http://intranet.example/").isolation("user-17");
    /// let response = request.header("authorization", "Negotiate YII=").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn isolation(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.settings.isolation = Some(tag.into());
        self
    }

    /// Sets the form of the request target. By default, CONNECT has the authority form and other methods the origin form.
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

    /// Sets the template of the URL, such as `/users/{id}`, for spans and [records](crate::ExchangeRecord). By default
    /// there is none.
    ///
    /// The span of the request then has the field `url.template`, and is shown as `GET /users/{id}`. The template
    /// should have few different values, because tools count requests by the template. Requests that follow a redirect
    /// have no template. The template is not sent.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client, id: u32) -> handclasp::Result<()> {
    /// let url = format!("http://example.org/users/{id}");
    /// let user = client.get(url).url_template("/users/{id}").send().await?.text().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn url_template(mut self, template: impl Into<Cow<'static, str>>) -> Self {
        self.settings.template = Some(UrlTemplate::new(template));
        self
    }

    /// Returns the request, for [`Client::execute`]. The extensions of the request hold its settings. The values of
    /// `Authorization`, `Proxy-Authorization` and `Cookie` are marked as sensitive, so that `Debug` does not print them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) if one of its parts is invalid.
    ///
    /// ```
    /// # let client = handclasp::Client::new();
    /// let error = client.get("http://exa mple.org/").build().unwrap_err();
    /// assert!(error.is_request());
    /// ```
    pub fn build(mut self) -> Result<http::Request<Body>> {
        if let Some(error) = self.error {
            return Err(error);
        }
        auth::take_user(&mut self.uri, &mut self.headers)?;
        let mut request = http::Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers.take();
        auth::mark_secrets(request.headers_mut());
        request.extensions_mut().insert(self.settings);
        Ok(request)
    }

    /// Returns a copy of this request, or `None` if its body is a stream, a file or a response's body, or if one of its parts
    /// is invalid.
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

    /// Sends the request and returns the response once its head has arrived.
    ///
    /// A response with any status is a success; see [`error_for_status`](Response::error_for_status). The future must
    /// run on a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe at any point. While the future waits for a connection, nothing has been sent: a dial
    /// that the request started continues, and the connection is kept for other requests. If the future is dropped
    /// later, the connection is closed, and the server may or may not have acted on the request. See the page on
    /// [cancellation](crate::manual::cancel).
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`](crate::ErrorKind) except `Decode`, `Status` and `Upgrade`.
    /// [`Error::request_written`](crate::Error::request_written) says whether the server can have acted on the request.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let response = client.get("http://example.org/").send().await?;
    /// println!("{}", response.status());
    /// # Ok(())
    /// # }
    /// ```
    #[allow(
        clippy::manual_async_fn,
        reason = "the future of an async fn stores its arguments twice, which makes it larger"
    )]
    pub fn send(mut self) -> impl Future<Output = Result<Response>> {
        async move {
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let body = std::mem::replace(&mut self.body, Body::empty());
            let mut history = self.settings.redirect.history();
            let Self { client, method, uri, headers, settings, .. } = &mut self;
            match client.call(method, uri, headers, settings, &mut history).run(body).await {
                Ok(response) => Ok(response.to(self.method, self.uri, history)),
                Err(error) => Err(error.with_request(&self.method, &self.uri).with_redirects(history)),
            }
        }
    }

    /// Stores the first error, which `send` and `build` return.
    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("uri", &format_args!("{}", crate::error::redacted(&self.uri)))
            .field("headers", &self.headers.len())
            .field("body", &self.body)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
