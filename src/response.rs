//! A response: its head, who served it and how long that took, and the ways to read its content.
//!
//! It does no I/O of its own: reading goes through the [`Body`], which owns the connection until its end. Invariant:
//! content is put into memory only up to the client's limit, and never in proportion to what a peer merely announces.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderMap, StatusCode, Uri, Version};

use crate::body::Body;
use crate::codec::ResponseHead;
use crate::codec::shown::{FieldNames, Size};
use crate::error::{Error, ErrorKind, Phase, Result, Written, without_credentials};
use crate::exchange::UploadProgress;
use crate::pool::ConnectionInfo;
use crate::timings::Timings;
use crate::trace::Measured;
use crate::upgraded::Upgraded;

/// A response: the head is here, the content arrives as it is read.
///
/// Reading the content to its end gives the connection back to the pool. Dropping the response before its end closes the
/// connection, unless what is left is small: what has come is taken in, and a rest of up to 64 KiB is read in the
/// background, for up to 100 ms and while nobody waits for the connection. See the page on
/// [cancellation](crate::manual::cancel).
pub struct Response {
    head: Box<Head>,
    body: Body,
}

/// Everything about a response, its content included. See [`Response::collect`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Collected {
    /// The status.
    pub status: StatusCode,
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The content.
    pub body: Bytes,
    /// The fields behind the content, if there were any.
    pub trailers: Option<HeaderMap>,
    /// Where the time went, to the end of the content.
    pub timings: Timings,
    /// Which connection served it.
    pub connection: ConnectionInfo,
}

impl fmt::Debug for Collected {
    /// Content by its length, and fields by their names: both may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("status", &self.status)
            .field("headers", &FieldNames(&self.headers))
            .field("body", &Size(self.body.len()))
            .field("trailers", &self.trailers.as_ref().map(FieldNames))
            .field("timings", &self.timings)
            .field("connection", &self.connection)
            .finish()
    }
}

/// Everything but the content, in one place, so that a response is cheap to move.
pub(crate) struct Head {
    pub(crate) received: ResponseHead,
    pub(crate) requested: Requested,
    pub(crate) connection: ConnectionInfo,
    pub(crate) measured: Measured,
    pub(crate) content_length: Option<u64>,
    pub(crate) written: Written,
    pub(crate) upload: UploadProgress,
    pub(crate) upgraded: Option<Box<Upgraded>>,
    pub(crate) max_collected: usize,
}

/// The URI of the request, once that has handed it over; and its URL, once somebody has asked for that.
#[derive(Default)]
pub(crate) struct Requested {
    uri: Uri,
    #[cfg(feature = "url")]
    url: std::sync::OnceLock<Box<url::Url>>,
}

impl Response {
    pub(crate) fn new(head: Box<Head>, body: Body) -> Self {
        Self { head, body }
    }

    /// The same as the response to a request for `uri`, which needs it no longer.
    pub(crate) fn to(mut self, uri: Uri) -> Self {
        self.head.requested.uri = uri;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.received.status
    }

    /// HTTP/1.1 or HTTP/1.0, as the server said.
    pub fn version(&self) -> Version {
        self.head.received.version
    }

    /// The fields of the head. Names are lower case; fields of one name stand in the order in which they came.
    pub fn headers(&self) -> &HeaderMap {
        self.head.received.headers()
    }

    /// The fields of the head as they came: all names as the server wrote them, all lines in the server's order.
    pub fn raw_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.received.raw_fields()
    }

    /// The same, to change.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.head.received.headers_mut()
    }

    /// The URI of the request.
    pub fn uri(&self) -> &Uri {
        &self.head.requested.uri
    }

    /// The URL of the request. Of a request made by an [`http::Uri`] that is no WHATWG URL, it is `about:invalid`.
    #[cfg(feature = "url")]
    pub fn url(&self) -> &url::Url {
        self.head.requested.url.get_or_init(|| {
            let invalid = || url::Url::parse("about:invalid").expect("it is a URL");
            Box::new(url::Url::parse(&self.head.requested.uri.to_string()).unwrap_or_else(|_| invalid()))
        })
    }

    /// The length of the content, if the server announced it. A response to HEAD, and a 304, may announce a length although
    /// they have no content.
    pub fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    /// Which connection served the request.
    pub fn connection(&self) -> &ConnectionInfo {
        &self.head.connection
    }

    /// How far the upload of the request's content has come.
    ///
    /// A response may come before all of the request was sent. While it is being read, the upload goes on, unless the
    /// server answers 3xx, 4xx or 5xx. A 2xx that is complete ends when the upload has ended as well; one that is dropped
    /// ends the upload. See the page on [uploads](crate::manual::uploads).
    pub fn upload(&self) -> UploadProgress {
        self.body.upload_progress().unwrap_or(self.head.upload)
    }

    /// The connection itself, whose protocol was switched: after `101 Switching Protocols` to a request with an
    /// `Upgrade` field, or 2xx to CONNECT. What came behind the head is read from it first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Upgrade`] when the server answered otherwise; the response is dropped then.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncWriteExt;
    /// // (Connection: upgrade is sent with it.)
    /// let request = client.get("http://example.org/chat").header("upgrade", "chat/1");
    /// let mut connection = request.send().await?.upgrade().await?;
    /// connection.write_all(b"hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upgrade(mut self) -> Result<Upgraded> {
        let Some(upgraded) = self.head.upgraded.take() else {
            let message = format!("the server did not switch protocols: it answered {}", self.status());
            return Err(Error::new(ErrorKind::Upgrade, message)
                .with_uri(self.uri())
                .with_written(self.head.written)
                .with_timings(*self.timings()));
        };
        Ok(*upgraded)
    }

    /// Where the time went: up to the head, and to the end of the content once it has been read (by
    /// [`chunk`](Self::chunk); [`collect`](Self::collect) gives content and final timings together).
    pub fn timings(&self) -> &Timings {
        self.body.timings().unwrap_or_else(|| self.head.measured.timings())
    }

    /// The next piece of the content; `None` at its end.
    ///
    /// Cancel safe: a future dropped before it is ready loses nothing.
    ///
    /// # Errors
    ///
    /// When the connection is lost, the peer breaks the protocol, or the read or total timeout passes. The
    /// connection is closed then, and every later read of this response, in whatever way, fails with the same error.
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

    /// All of the content.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk); and [`ErrorKind::Decode`] when there is more than
    /// [`max_collected_body`](crate::ClientBuilder::max_collected_body).
    pub async fn bytes(mut self) -> Result<Bytes> {
        self.read().await
    }

    /// All of the content as text. It is read as UTF-8; what is none becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes).
    pub async fn text(self) -> Result<String> {
        let bytes = self.bytes().await?;
        Ok(match String::from_utf8(bytes.into()) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// The whole response: head, content, trailers and final timings.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes).
    pub async fn collect(mut self) -> Result<Collected> {
        let body = self.read().await?;
        let trailers = self.body.take_trailers();
        let timings = *self.timings();
        let Head { received, connection, .. } = *self.head;
        let (status, headers) = (received.status, received.into_headers());
        Ok(Collected { status, headers, body, trailers, timings, connection })
    }

    /// The fields behind the content, if there were any. Content that was not read yet is read and thrown away.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk).
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>> {
        while self.chunk().await?.is_some() {}
        Ok(self.body.take_trailers())
    }

    /// The content as a stream of pieces. It gives an error once, and ends then.
    pub fn bytes_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + Sync + Unpin + 'static {
        BytesStream { response: Some(self) }
    }

    /// The response itself, or an error of kind [`ErrorKind::Status`] when its status is 4xx or 5xx.
    ///
    /// # Errors
    ///
    /// When the status is 400 or more. The response, its content unread, is dropped then.
    pub fn error_for_status(self) -> Result<Self> {
        let status = self.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(self);
        }
        let uri = without_credentials(self.uri());
        let error = Error::new(ErrorKind::Status, format!("{uri} answered {status}"))
            .with_uri(self.uri())
            .with_written(self.head.written)
            .with_timings(*self.timings());
        Err(error)
    }

    /// The content, to be passed on.
    pub fn into_body(self) -> Body {
        self.body
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.body.poll_received(cx).map_err(|error| error.with_uri(&self.head.requested.uri))
    }

    async fn read(&mut self) -> Result<Bytes> {
        let limit = self.head.max_collected;
        self.body.gather(limit.min(RESERVED));
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(self.too_large());
        }
        let Some(second) = self.chunk().await? else { return Ok(first) };
        // What is reserved beforehand is little, whatever was announced; the rest grows with what arrives.
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
        // What is left of it is not wanted: the connection closes.
        self.body = Body::empty();
        Error::new(
            ErrorKind::Decode,
            format!(
                "the content is larger than {limit} bytes; read it in pieces, or raise max_collected_body"
            ),
        )
        .in_phase(Phase::Receive)
        .with_written(self.head.written)
        .with_uri(&self.head.requested.uri)
    }
}

/// Turns a response into the `http` crate's form. Timings and connection go along as extensions; a connection whose
/// protocol was switched does not, and closes: see [`Response::upgrade`].
impl From<Response> for http::Response<Body> {
    fn from(response: Response) -> Self {
        let Response { head, body } = response;
        let Head { received, connection, measured, .. } = *head;
        let mut out = Self::new(body);
        *out.status_mut() = received.status;
        *out.version_mut() = received.version;
        *out.headers_mut() = received.into_headers();
        out.extensions_mut().insert(connection);
        out.extensions_mut().insert(*measured.timings());
        out
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.head.received.status)
            .field("version", &self.head.received.version)
            .field("uri", &without_credentials(&self.head.requested.uri))
            .field("connection", &self.head.connection.id())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A response's content as a stream: `None` behind an error.
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

/// What [`Response::bytes`] reserves at the most before the content has come.
const RESERVED: usize = 256 * 1024;
