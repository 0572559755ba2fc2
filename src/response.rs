//! A response: its head, its connection and timings, and the ways to read its content.
//!
//! This module does no I/O of its own: reading goes through the [`Body`], which owns the connection until the content
//! ends. Invariant: content is collected only up to the client's limit, and memory is never reserved in proportion to a
//! length that the server only announced.

#[cfg(feature = "charset")]
mod charset;
mod convert;
#[cfg(feature = "json")]
mod json;
mod status;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use crate::body::{AnsweredRequest, Body};
use crate::codec::ResponseHead;
use crate::codec::shown::{FieldNames, Size};
use crate::error::{EarlierAttempt, Error, ErrorKind, Phase, Result, Written, redacted};
use crate::exchange::UploadProgress;
use crate::pool::ConnectionInfo;
use crate::record::{Measured, ServerTiming};
use crate::redirect::History;
use crate::timings::Timings;
use crate::upgraded::Upgraded;

/// A response whose head has arrived. The content arrives while the caller reads it.
///
/// Reading the content to its end gives the connection back to the pool. Dropping the response before the end closes
/// the connection, unless at most 64 KiB of the response remain. These bytes are read in the background, for up to 100
/// ms and while no request waits for the connection. If the response ends within these bounds, the connection is kept.
/// See the page on [cancellation](crate::manual::cancel).
///
/// ```no_run
/// # async fn example() -> handclasp::Result<()> {
/// let response = handclasp::get("http://example.org/").await?.error_for_status()?;
/// println!("{:?}, a reused connection: {}", response.version(), response.connection().is_reused());
/// let text = response.text().await?;
/// # Ok(())
/// # }
/// ```
pub struct Response {
    head: Box<Head>,
    body: Body,
}

/// A whole response, with its content. [`Response::collect`] returns one.
#[derive(Clone)]
#[non_exhaustive]
pub struct Collected {
    /// Status code.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// Content.
    pub body: Bytes,
    /// Trailer fields, or `None` if the response had none.
    pub trailers: Option<HeaderMap>,
    /// Timings from the call to the end of the content.
    pub timings: Timings,
    /// The attempts before the attempt that was answered: see [`Response::earlier_attempts`].
    pub earlier_attempts: Vec<EarlierAttempt>,
    /// The connection that carried the request.
    pub connection: ConnectionInfo,
    /// The request that was answered, for errors.
    request: AnsweredRequest,
}

impl fmt::Debug for Collected {
    /// Shows the length of content and the names of fields, because content and values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("status", &self.status)
            .field("headers", &FieldNames(&self.headers))
            .field("body", &Size(self.body.len()))
            .field("trailers", &self.trailers.as_ref().map(FieldNames))
            .field("timings", &self.timings)
            .field("earlier_attempts", &self.earlier_attempts)
            .field("connection", &self.connection)
            .finish()
    }
}

/// The parts of a response, apart from its content. Boxed: keeps a response cheap to move.
pub(crate) struct Head {
    pub(crate) received: ResponseHead,
    /// The method and the URI of the request. `None` until [`Response::to`] sets them, because an empty URI costs
    /// instructions to make, to copy and to drop.
    pub(crate) sent: Option<(Method, Uri)>,
    pub(crate) requested: Requested,
    pub(crate) connection: ConnectionInfo,
    pub(crate) measured: Measured,
    pub(crate) content_length: Option<u64>,
    pub(crate) written: Written,
    pub(crate) upload: UploadProgress,
    pub(crate) upgraded: Option<Box<Upgraded>>,
    pub(crate) max_collected: usize,
}

/// The values that callers keep with a response, and the parsed form of the request's URI.
#[derive(Default)]
pub(crate) struct Requested {
    history: History,
    /// Values that the caller keeps with the response.
    extensions: http::Extensions,
    /// The URL of the request, which the first call that needs the URL parses.
    #[cfg(feature = "url")]
    url: std::sync::OnceLock<Box<url::Url>>,
}

impl Head {
    /// Returns the method and the URI of the request.
    fn sent(&self) -> &(Method, Uri) {
        static NONE: LazyLock<(Method, Uri)> = LazyLock::new(Default::default);
        self.sent.as_ref().unwrap_or_else(|| &NONE)
    }

    /// Adds the request to an error: its method, its URI, and the redirects before the request. Changes nothing if the
    /// error comes from the body of another response, because that body has added its own request.
    #[cold]
    fn add_request_to(&self, error: Error) -> Error {
        if error.uri().is_some() {
            return error;
        }
        let (method, uri) = self.sent();
        error.with_request(method, uri).with_redirects(self.requested.history.clone())
    }
}

impl Response {
    /// Creates a response. [`to`](Self::to) sets the method and the URI of the request.
    pub(crate) fn new(head: Box<Head>, body: Body) -> Self {
        Self { head, body }
    }

    /// Sets the method and the URI of the last request and the redirects before that request, and returns the response.
    #[inline]
    pub(crate) fn to(mut self, method: Method, uri: Uri, history: History) -> Self {
        self.head.sent = Some((method, uri));
        self.head.requested.history = history;
        self
    }

    /// Whether the head had a `Content-Encoding` field when it came.
    #[inline]
    pub(crate) fn is_coded(&self) -> bool {
        self.head.received.is_coded()
    }

    /// Returns the head and the body, mutably.
    pub(crate) fn parts_mut(&mut self) -> (&mut Head, &mut Body) {
        (&mut self.head, &mut self.body)
    }

    /// Returns the status code.
    pub fn status(&self) -> StatusCode {
        self.head.received.status
    }

    /// Returns the version of the response: HTTP/1.1 or HTTP/1.0.
    pub fn version(&self) -> Version {
        self.head.received.version
    }

    /// Returns the header fields.
    ///
    /// Names are lower case. Values of one name keep the order in which they came.
    pub fn headers(&self) -> &HeaderMap {
        self.head.received.headers()
    }

    /// Returns names and values of the header fields as the server sent them. Names keep their case, and lines keep
    /// their order.
    ///
    /// These names and values do not show changes that were made through [`headers_mut`](Self::headers_mut).
    pub fn raw_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.received.raw_fields()
    }

    /// Returns the header fields, mutably.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.head.received.headers_mut()
    }

    /// Returns the URI of the request, without user and password. After redirects, this is the URI of the last request.
    pub fn uri(&self) -> &Uri {
        &self.head.sent().1
    }

    /// Returns the URL of the request, without user and password and with its fragment. After redirects, this is the URL of
    /// the last request. Returns `about:invalid` if the request was made with an [`http::Uri`] that is not a WHATWG
    /// URL.
    #[cfg(feature = "url")]
    pub fn url(&self) -> &url::Url {
        self.head.requested.url.get_or_init(|| {
            let invalid = || url::Url::parse("about:invalid").expect("it is a URL");
            let mut url = url::Url::parse(&self.uri().to_string()).unwrap_or_else(|_| invalid());
            url.set_fragment(self.head.requested.history.fragment());
            Box::new(url)
        })
    }

    /// Returns the requests that were answered by a redirect before this response came, in their order.
    ///
    /// ```no_run
    /// # async fn example() -> handclasp::Result<()> {
    /// let response = handclasp::get("http://example.org/").await?;
    /// for hop in response.redirects() {
    ///     println!("{} {}", hop.status(), hop.url());
    /// }
    /// println!("{} {}", response.status(), response.url());
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "url")]
    pub fn redirects(&self) -> &[crate::redirect::Hop] {
        self.head.requested.history.hops()
    }

    /// Returns the cookies that the response sets, whether or not a store accepts them. Malformed cookies are left out.
    ///
    /// ```
    /// # let made = http::Response::builder().header("set-cookie", "session=7; Path=/shop; Secure").body("").unwrap();
    /// # let response = handclasp::Response::from(made);
    /// // `response` has the field `set-cookie: session=7; Path=/shop; Secure`.
    /// let session = response.cookies().find(|cookie| cookie.name() == "session").unwrap();
    /// assert_eq!((session.value(), session.path(), session.secure()), ("7", Some("/shop"), true));
    /// ```
    #[cfg(feature = "cookies")]
    pub fn cookies(&self) -> impl Iterator<Item = crate::cookie::Cookie<'_>> {
        let fields = self.headers().get_all(http::header::SET_COOKIE);
        fields.into_iter().filter_map(crate::cookie::Cookie::read)
    }

    /// Returns the length of the content in bytes, or `None` if the server did not announce it, or if the content is
    /// [decoded](crate::RequestBuilder::decompress).
    ///
    /// A response to HEAD, and a 304, may announce a length although they have no content
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-8.6>).
    pub fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    /// Returns the connection that carried the request. A response that was made from an [`http::Response`] has
    /// none: see [`ConnectionInfo::id`].
    pub fn connection(&self) -> &ConnectionInfo {
        &self.head.connection
    }

    /// Returns how far the upload of the request's content has come.
    ///
    /// A response may arrive before the whole request was sent. While the content of a 2xx is read, the upload
    /// continues, and this content ends only after the upload has ended. A status of 3xx, 4xx or 5xx ends the upload.
    /// Dropping the response ends the upload. See the page on [uploads](crate::manual::uploads).
    pub fn upload(&self) -> UploadProgress {
        self.body.upload_progress().unwrap_or(self.head.upload)
    }

    /// Returns the connection after the server switched protocols.
    ///
    /// The upgrade is possible after `101 Switching Protocols` to a request with an `Upgrade` field, and after a 2xx to
    /// CONNECT. Bytes that arrived after the response's head are read from the connection first.
    ///
    /// # Cancel safety
    ///
    /// This method never waits. Dropping the future before its first poll closes the connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Upgrade`] if the server did not switch protocols. The response is dropped in this case.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncWriteExt;
    /// // The client adds `Connection: upgrade`.
    /// let request = client.get("http://example.org/chat").header("upgrade", "chat/1");
    /// let mut connection = request.send().await?.upgrade().await?;
    /// connection.write_all(b"hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upgrade(mut self) -> Result<Upgraded> {
        let Some(upgraded) = self.head.upgraded.take() else {
            let message = format!("the server answered {} instead of switching protocols", self.status());
            let error = self.error(ErrorKind::Upgrade, message).with_status(self.status());
            return Err(self.refuse(error));
        };
        Ok(*upgraded)
    }

    /// Returns how long each phase of the request took.
    ///
    /// Until the content has been read to its end, the timings end with the response's head. [`chunk`](Self::chunk)
    /// reads the content and keeps the response. [`collect`](Self::collect) returns the content together with the final
    /// timings.
    pub fn timings(&self) -> &Timings {
        self.body.timings().unwrap_or_else(|| self.head.measured.timings())
    }

    /// Returns the metrics of the `Server-Timing` fields, in their order. With this field, the server describes its own
    /// time: <https://www.w3.org/TR/server-timing/>. At most 64 metrics are read. Characters that are part of
    /// neither a name nor a value are ignored.
    ///
    /// ```
    /// # let made = http::Response::builder().header("server-timing", "db;dur=53.2;desc=\"two queries\", cache").body("").unwrap();
    /// # let response = handclasp::Response::from(made);
    /// // `response` has the field `server-timing: db;dur=53.2;desc="two queries", cache`.
    /// let metrics = response.server_timing();
    /// assert_eq!((&*metrics[0].name, metrics[0].duration.unwrap().as_micros()), ("db", 53_200));
    /// assert_eq!((&*metrics[1].name, metrics[1].duration), ("cache", None));
    /// ```
    pub fn server_timing(&self) -> Vec<ServerTiming> {
        ServerTiming::of(self.headers())
    }

    /// Returns the attempts that were made before the attempt that this response answers, in their order. A request
    /// that was sent once has none.
    ///
    /// Requests that a redirect answered are attempts too. The time of all earlier attempts together is
    /// [`Timings::previous`].
    pub fn earlier_attempts(&self) -> &[EarlierAttempt] {
        self.head.measured.earlier()
    }

    /// Returns the next piece of the content, or `None` at its end. A piece is never empty.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses nothing: the next call returns the piece.
    ///
    /// # Errors
    ///
    /// If the connection is lost, the server breaks the rules of HTTP/1.1, or the read timeout or the total timeout
    /// passes. The connection is closed in each case, and every later read of this response fails with the same error.
    /// Content that cannot be [decoded](crate::RequestBuilder::decompress) fails with [`ErrorKind::Decode`], which does
    /// not close the connection.
    ///
    /// ```no_run
    /// # async fn example() -> handclasp::Result<()> {
    /// let mut response = handclasp::get("http://example.org/large").await?;
    /// while let Some(piece) = response.chunk().await? {
    ///     println!("{} bytes", piece.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_chunk(cx)).await.transpose()
    }

    /// Reads the content to its end and returns it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the response, and the content that was read is lost.
    ///
    /// # Errors
    ///
    /// The errors of [`chunk`](Self::chunk), and [`ErrorKind::Decode`] if the content is larger than
    /// [`max_collected_body`](crate::ClientBuilder::max_collected_body).
    pub async fn bytes(mut self) -> Result<Bytes> {
        self.read().await
    }

    /// Reads the content to its end and returns it as text.
    ///
    /// With the feature `charset`, the content is read in the character encoding that `Content-Type` names, and as
    /// UTF-8 if the field names no encoding. A byte order mark decides about the encoding and is not part of the text.
    /// Without the feature, the content is read as UTF-8, whatever `Content-Type` says. Invalid bytes become U+FFFD.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the response, and the content that was read is lost.
    ///
    /// # Errors
    ///
    /// The errors of [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String> {
        #[cfg(feature = "charset")]
        return self.text_with_charset("utf-8").await;
        #[cfg(not(feature = "charset"))]
        self.bytes().await.map(utf8)
    }

    /// Reads the content to its end and returns it as text, with another encoding than UTF-8 as the default.
    ///
    /// A byte order mark decides about the encoding and is not part of the text. If the content has no byte order mark,
    /// the `charset` that `Content-Type` names decides. If `Content-Type` names none, `default` decides. `charset` and
    /// `default` are labels such as `iso-8859-1` (<https://encoding.spec.whatwg.org/#names-and-labels>), and an unknown
    /// label means UTF-8. Invalid bytes become U+FFFD.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the response, and the content that was read is lost.
    ///
    /// # Errors
    ///
    /// The errors of [`bytes`](Self::bytes).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let old_page = handclasp::Response::from(http::Response::new(&b"d\xe9j\xe0 vu"[..]));
    /// // `old_page` does not say its encoding.
    /// assert_eq!(old_page.text_with_charset("windows-1252").await.unwrap(), "d\u{e9}j\u{e0} vu");
    /// # });
    /// ```
    #[cfg(feature = "charset")]
    pub async fn text_with_charset(mut self, default: &str) -> Result<String> {
        let content = self.read().await?;
        let media_type = self.head.received.first(&http::header::CONTENT_TYPE);
        Ok(charset::text(media_type, content, default))
    }

    /// Reads the content to its end and returns the whole response: head, content, trailers and final timings.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the response, and the content that was read is lost.
    ///
    /// # Errors
    ///
    /// The errors of [`bytes`](Self::bytes).
    ///
    /// ```no_run
    /// # async fn example() -> handclasp::Result<()> {
    /// let whole = handclasp::get("http://example.org/").await?.collect().await?;
    /// println!("{}: {} bytes in {:?}", whole.status, whole.body.len(), whole.timings.total);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn collect(mut self) -> Result<Collected> {
        let body = self.read().await?;
        let trailers = self.body.take_trailers();
        let timings = *self.timings();
        let earlier_attempts = self.earlier_attempts().to_vec();
        let Head { received, connection, sent, requested, .. } = *self.head;
        let (status, headers) = (received.status, received.into_headers());
        let (method, uri) = sent.unwrap_or_default();
        let request = AnsweredRequest { method, uri, history: requested.history };
        Ok(Collected { status, headers, body, trailers, timings, earlier_attempts, connection, request })
    }

    /// Returns the trailer fields, or `None` if there are none. Content that has not been read is read and dropped.
    ///
    /// The trailers are returned once. A second call returns `None`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses content that was read, but no trailers.
    ///
    /// # Errors
    ///
    /// The errors of [`chunk`](Self::chunk).
    ///
    /// ```no_run
    /// # async fn example(mut response: handclasp::Response) -> handclasp::Result<()> {
    /// while let Some(piece) = response.chunk().await? {
    ///     println!("{} bytes", piece.len());
    /// }
    /// println!("{:?}", response.trailers().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>> {
        while self.chunk().await?.is_some() {}
        Ok(self.body.take_trailers())
    }

    /// Returns the content as a stream of pieces.
    ///
    /// The stream ends after its first error, whose reasons are those of [`chunk`](Self::chunk). Dropping the stream has the
    /// effect of dropping the response.
    ///
    /// ```
    /// use futures_util::StreamExt;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let response = handclasp::Response::from(http::Response::new("one handshake"));
    /// let mut content = response.bytes_stream();
    /// let mut length = 0;
    /// while let Some(piece) = content.next().await {
    ///     length += piece?.len();
    /// }
    /// assert_eq!(length, 13);
    /// # Ok::<(), handclasp::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn bytes_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + Sync + Unpin + 'static {
        BytesStream { response: Some(self) }
    }

    /// Returns the content, for example as the body of another request.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> handclasp::Result<()> {
    /// let source = client.get("http://example.org/from").send().await?;
    /// client.put("http://example.org/to").body(source.into_body()).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_body(mut self) -> Body {
        if let Some((method, uri)) = self.head.sent.take() {
            let history = std::mem::take(&mut self.head.requested.history);
            self.body.set_request(AnsweredRequest { method, uri, history });
        }
        self.body
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.body.poll_received(cx).map_err(|error| self.complete(error))
    }

    /// Returns an error of the content with the request and the timings. Content that came with the head has no timings
    /// of its own.
    #[cold]
    fn complete(&self, error: Error) -> Error {
        let error = if error.timings().is_some() { error } else { self.add_timings_to(error) };
        self.head.add_request_to(error)
    }

    /// Returns an error about this response.
    fn error(&self, kind: ErrorKind, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        let error = self.head.add_request_to(Error::new(kind, message));
        self.add_timings_to(error.with_written(self.head.written))
    }

    /// Adds the timings of the request and the attempts before it to an error.
    fn add_timings_to(&self, error: Error) -> Error {
        error.with_timings(*self.timings()).with_earlier(self.earlier_attempts())
    }

    /// Reads all content, up to the client's limit.
    async fn read(&mut self) -> Result<Bytes> {
        let limit = self.head.max_collected;
        self.body.gather(limit.min(RESERVED));
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(self.too_large());
        }
        let Some(second) = self.chunk().await? else { return Ok(first) };
        // Little memory is reserved in advance, whatever length the server announced. The buffer grows with the content
        // that arrives.
        let announced =
            self.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let mut all = BytesMut::with_capacity(announced.min(RESERVED).max(first.len() + second.len()));
        all.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if all.len() + piece.len() > limit {
                return Err(self.too_large());
            }
            all.extend_from_slice(&piece);
            next = self.chunk().await?;
        }
        Ok(all.freeze())
    }

    fn too_large(&mut self) -> Error {
        let limit = self.head.max_collected;
        let message = format!(
            "the content is larger than {limit} bytes: read it in pieces, or raise max_collected_body"
        );
        // Ends the exchange, because the caller does not get the content.
        let error = self.body.fail(Error::new(ErrorKind::Decode, message).in_phase(Phase::Receive));
        self.add_timings_to(self.head.add_request_to(error).with_written(self.head.written))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.head.received.status)
            .field("version", &self.head.received.version)
            .field("uri", &format_args!("{}", redacted(self.uri())))
            .field("connection", &self.head.connection.id())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A response's content as a stream. The response is `None` after an error.
struct BytesStream {
    response: Option<Response>,
}

impl Stream for BytesStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(response) = &mut self.response else { return Poll::Ready(None) };
        let polled = response.poll_chunk(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.response = None;
        }
        polled
    }
}

/// Returns UTF-8 as text. Invalid bytes become U+FFFD.
fn utf8(content: Bytes) -> String {
    match String::from_utf8(content.into()) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Largest content that is collected in memory by default, in bytes.
pub(crate) const MAX_COLLECTED: usize = 256 << 20;
/// Largest number of bytes that [`Response::bytes`] reserves before the content has arrived.
const RESERVED: usize = 256 * 1024;
