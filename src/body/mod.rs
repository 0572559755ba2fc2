//! Content that is sent and content that is received, in one type without type parameters.
//!
//! A body that is sent is empty, bytes, a stream, another body, or a file. A body that is received owns its
//! [`Exchange`], and with the exchange the connection, until the content ends. The exchange does all I/O. Invariant:
//! dropping a body at any point leaves the pool's counts exact.

pub(crate) mod coding;
mod convert;
#[cfg(any(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd"))]
mod decoded;
#[cfg(not(any(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd")))]
#[path = "no_decoded.rs"]
mod decoded;
#[cfg(any(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd"))]
mod decoder;
mod received;
mod source;

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use self::decoded::Decoded;
pub(crate) use self::received::AnsweredRequest;
use self::received::Received;
use self::source::{File, Given};
use crate::codec::BodyLength;
use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::exchange::{Exchange, UploadProgress};
use crate::timings::Timings;

/// The content of a request or of a response.
///
/// Make a body from bytes or text by `From`, from a stream by [`from_stream`](Self::from_stream), from another body by
/// [`wrap`](Self::wrap), and from a file by [`from_file`](Self::from_file). Read a response's body through
/// [`Response`](crate::Response), or as an [`http_body::Body`].
///
/// ```
/// use handclasp::Body;
///
/// let text = Body::from("content");
/// let bytes = Body::from(vec![1, 2, 3]);
/// ```
///
/// # Length
///
/// A body whose length is known is sent with `Content-Length`, and every other body is sent in chunks. The page on
/// [uploads](crate::manual::uploads) has the table. A body that is longer or shorter than its announced length fails
/// the request with [`ErrorKind::Body`](crate::ErrorKind::Body), and the connection is closed.
///
/// # Dropping
///
/// Dropping a response's body before its end closes the connection, unless at most 64 KiB of the response remain. These
/// bytes are read in the background, for up to 100 ms and while no request waits for the connection. If the response
/// ends within these bounds, the connection is kept. See the page on [cancellation](crate::manual::cancel).
#[derive(Default)]
pub struct Body {
    kind: Kind,
    /// Fields to send after the content, if these fields are known before the content is sent.
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Given(Given),
    File(Box<File>),
    Received(Box<Received>),
    #[cfg_attr(
        not(any(feature = "gzip", feature = "deflate", feature = "brotli", feature = "zstd")),
        allow(dead_code, reason = "constructed only if a coding is compiled in")
    )]
    Decoded(Box<Decoded>),
    /// A body with more trailers than a map of fields can hold. Such a body cannot be sent.
    Overfull,
}

impl Body {
    /// Creates a body without content.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Creates a body from a stream of pieces.
    ///
    /// The body is sent in chunks (`Transfer-Encoding: chunked`), unless the request has a `Content-Length` field. The
    /// value of this field must be the exact length of the content.
    ///
    /// An error of the stream fails the request with [`ErrorKind::Body`](crate::ErrorKind::Body) and closes the
    /// connection. A request with such a body is sent again (see the page on [reuse](crate::manual::reuse)) only if
    /// no piece was taken from the stream, or if no byte of the request was written.
    ///
    /// ```
    /// # use std::{io, pin::Pin, task::{Context, Poll}};
    /// # struct Lines(u8);
    /// # impl futures_core::Stream for Lines {
    /// #     type Item = io::Result<String>;
    /// #     fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
    /// #         self.0 += 1;
    /// #         Poll::Ready((self.0 < 3).then(|| Ok(format!("line {}", self.0))))
    /// #     }
    /// # }
    /// # let lines = Lines(0);
    /// // `lines` is any Stream whose items are Result<impl Into<Bytes>, impl Into<BoxError>>.
    /// let body = handclasp::Body::from_stream(lines);
    /// ```
    pub fn from_stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Kind::Given(Given::stream(stream)).into()
    }

    /// Creates a body from another [`http_body::Body`].
    ///
    /// If the [`size_hint`](http_body::Body::size_hint) is exact, the size is sent as `Content-Length`, and the body
    /// must have exactly this size. Without an exact hint the body is sent in chunks.
    ///
    /// Trailers are sent only with a body in chunks. A `Trailer` field in the request makes the body chunked, and
    /// should announce the trailers in any case (<https://www.rfc-editor.org/rfc/rfc9110#section-6.6.2>). Trailers
    /// after content with a `Content-Length` fail the request. [`from_stream`](Self::from_stream) says how an error
    /// of the body ends the request, and when such a request is sent again.
    ///
    /// ```
    /// let body = handclasp::Body::wrap(handclasp::Body::from("any http_body::Body"));
    /// assert_eq!(http_body::Body::size_hint(&body).exact(), Some(19));
    /// ```
    pub fn wrap<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Into<Bytes>,
        B::Error: Into<BoxError>,
    {
        Kind::Given(Given::body(body)).into()
    }

    /// Opens a regular file and creates a body of its content.
    ///
    /// The body has the length that the file has now. The file is read in pieces of 64 KiB during the upload, on the
    /// runtime's threads for blocking work. Bytes that are appended to the file later are not sent. If the file becomes
    /// shorter, the request fails with [`ErrorKind::Body`](crate::ErrorKind::Body). A request with such a body can be
    /// sent again, like a request with bytes. This function and the sending of the file need a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before completion, no file stays open.
    ///
    /// # Errors
    ///
    /// An I/O error if the file cannot be opened, or is not a regular file.
    ///
    /// ```no_run
    /// # async fn example(client: handclasp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let body = handclasp::Body::from_file("image.iso").await?;
    /// client.put("http://example.org/image.iso").body(body).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_file(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Kind::File(Box::new(File::open(path.as_ref()).await?)).into())
    }

    /// Adds fields to send after the content, and returns the body.
    ///
    /// The request is sent in chunks, and announces the names of the fields in `Trailer`. Fields that concern framing,
    /// routing, authentication or the form of the content cannot be trailers
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>). A request with such a trailer is refused before a byte
    /// is written.
    ///
    /// ```
    /// # let mut trailers = http::HeaderMap::new();
    /// trailers.insert("x-checksum", "8d777f38".parse().unwrap());
    /// let body = handclasp::Body::from("content").with_trailers(trailers);
    /// ```
    #[must_use]
    pub fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        if !trailers.is_empty() && !add_fields(self.trailers.get_or_insert_default(), trailers) {
            self.overfill();
        }
        self
    }

    /// Marks a body that has more trailers than a map of fields can hold. Every later read of this body fails.
    pub(crate) fn overfill(&mut self) {
        self.kind = Kind::Overfull;
    }

    /// Creates the body of a response.
    pub(crate) fn received(
        ready: Bytes,
        exchange: Option<Exchange>,
        trailers: Option<Box<HeaderMap>>,
        upload: UploadProgress,
    ) -> Self {
        Kind::Received(Box::new(Received::new(ready, exchange, trailers, upload))).into()
    }

    /// Sets the request whose response has this body, so that errors of the body name the request.
    pub(crate) fn set_request(&mut self, request: AnsweredRequest) {
        match &mut self.kind {
            Kind::Received(received) => received.set_request(request),
            Kind::Decoded(decoded) => decoded.set_request(request),
            _ => {}
        }
    }

    /// Returns the content if the body holds all of it as bytes, and `None` for a stream, a file, a response's content or
    /// another body.
    ///
    /// ```
    /// use handclasp::Body;
    ///
    /// assert_eq!(Body::from("content").as_bytes(), Some(&b"content"[..]));
    /// assert_eq!(Body::empty().as_bytes(), Some(&b""[..]));
    /// ```
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Empty => Some(&[]),
            _ => self.whole().map(|bytes| &**bytes),
        }
    }

    /// Returns the content if it is held as bytes, and `None` otherwise.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Full(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the length that a request announces for this body.
    pub(crate) fn length(&self) -> BodyLength {
        let length = match &self.kind {
            _ if self.trailers.is_some() => None,
            Kind::Overfull | Kind::Decoded(_) => None,
            Kind::Empty => return BodyLength::None,
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Given(given) => given.size_hint().exact(),
            Kind::File(file) => Some(file.length()),
            Kind::Received(received) if received.has_trailers() => None,
            Kind::Received(received) => received.remaining().exact(),
        };
        length.map_or(BodyLength::Chunked, BodyLength::Known)
    }

    /// Whether the body has neither content nor trailers.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty) && self.trailers.is_none()
    }

    /// Whether the source of the content may yield trailers at its end.
    pub(crate) fn may_end_with_trailers(&self) -> bool {
        matches!(self.kind, Kind::Given(_) | Kind::Received(_) | Kind::Decoded(_))
    }

    /// Whether the body has more trailers than a map of fields can hold.
    pub(crate) fn has_too_many_trailers(&self) -> bool {
        matches!(self.kind, Kind::Overfull)
    }

    /// Takes the trailers that are known before the content is sent. Returns `None` if no trailers are known.
    pub(crate) fn take_known_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }

    /// Makes the body start again from its first byte. Returns `false` if this body cannot go back.
    pub(crate) fn rewind(&mut self) -> bool {
        match &mut self.kind {
            Kind::File(file) => {
                file.rewind();
                true
            }
            Kind::Empty => true,
            Kind::Full(_) | Kind::Given(_) | Kind::Received(_) | Kind::Decoded(_) | Kind::Overfull => false,
        }
    }

    /// Whether the content is a file.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    /// Returns a body with the same content, or `None` if the content cannot be shared.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Empty => Kind::Empty,
            Kind::Full(bytes) => Kind::Full(bytes.clone()),
            Kind::Given(_) | Kind::File(_) | Kind::Received(_) | Kind::Decoded(_) | Kind::Overfull => {
                return None;
            }
        };
        Some(Self { kind, trailers: self.trailers.clone() })
    }

    /// Polls the next frame to send, which is content or the trailers of the source.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Overfull => {
                Poll::Ready(Some(Err("the body has more trailers than a header map can hold".into())))
            }
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Given(given) => given.poll_frame(cx),
            Kind::File(file) => file.poll_chunk(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk?)))),
            Kind::Received(received) => match ready!(received.poll_chunk(cx)) {
                Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk?)))),
                None => Poll::Ready(received.take_trailers().map(|trailers| Ok(Frame::trailers(trailers)))),
            },
            Kind::Decoded(decoded) => match ready!(decoded.poll_chunk(cx)) {
                Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk?)))),
                None => {
                    let trailers = decoded.source_mut().take_trailers();
                    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
                }
            },
        }
    }

    /// Polls the next piece of content, for a caller that reads the body. [`take_trailers`](Self::take_trailers)
    /// returns the trailers.
    pub(crate) fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match &mut self.kind {
            Kind::Received(received) => return received.poll_chunk(cx),
            Kind::Decoded(decoded) => return decoded.poll_chunk(cx),
            _ => {}
        }
        let failed = |message| Error::new(ErrorKind::Body, message);
        loop {
            match ready!(self.poll_piece(cx)).transpose() {
                Ok(None) => return Poll::Ready(None),
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(data))),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        if !add_fields(self.trailers.get_or_insert_default(), trailers) {
                            self.overfill();
                            return Poll::Ready(Some(Err(failed(
                                "the source of the body yielded more trailers than a header map can hold",
                            ))));
                        }
                    }
                },
                Err(error) => {
                    return Poll::Ready(Some(Err(failed("the source of the body failed").because(error))));
                }
            }
        }
    }

    /// Asks a received body for its content in one piece, if the content has at most `most` bytes.
    pub(crate) fn gather(&mut self, most: usize) {
        if let Kind::Received(received) = &mut self.kind {
            received.gather(most);
        }
    }

    /// Ends the content early, because the caller makes an error of the response. Returns `error`. The timings of a received
    /// body end at this call.
    #[cold]
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        match &mut self.kind {
            Kind::Received(received) => received.refuse(error),
            Kind::Decoded(decoded) => decoded.source_mut().refuse(error),
            kind => {
                *kind = Kind::Empty;
                error
            }
        }
    }

    /// Ends the content early with an error, which the attempt of a received body fails with. Returns the error with the
    /// facts about the request. The timings of a received body end at this call.
    #[cold]
    pub(crate) fn fail(&mut self, error: Error) -> Error {
        match &mut self.kind {
            Kind::Received(received) => received.fail(error),
            Kind::Decoded(decoded) => decoded.source_mut().fail(error),
            kind => {
                *kind = Kind::Empty;
                error
            }
        }
    }

    /// Takes the trailers. Returns `None` before the content has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.kind {
            Kind::Received(received) => received.take_trailers(),
            Kind::Decoded(decoded) => decoded.source_mut().take_trailers(),
            _ => self.trailers.take().map(|trailers| *trailers),
        }
    }

    /// Returns the final timings of a received body whose content has ended.
    pub(crate) fn timings(&self) -> Option<&Timings> {
        match &self.kind {
            Kind::Received(received) => received.timings(),
            Kind::Decoded(decoded) => decoded.source().timings(),
            _ => None,
        }
    }

    /// Returns the progress of the request's upload, or `None` if the body was not received.
    pub(crate) fn upload_progress(&self) -> Option<UploadProgress> {
        match &self.kind {
            Kind::Received(received) => Some(received.upload_progress()),
            Kind::Decoded(decoded) => decoded.source().upload_progress(),
            _ => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match ready!(self.poll_received(cx)) {
            Some(chunk) => Poll::Ready(Some(chunk.map(Frame::data))),
            None => Poll::Ready(self.take_trailers().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        if self.trailers.is_some() {
            return false;
        }
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Given(_) | Kind::Overfull => false,
            Kind::File(file) => file.rest() == 0,
            Kind::Received(received) => received.is_over(),
            Kind::Decoded(decoded) => decoded.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Overfull | Kind::Decoded(_) => SizeHint::default(),
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Given(given) => given.size_hint(),
            Kind::File(file) => SizeHint::with_exact(file.rest()),
            Kind::Received(received) => received.remaining(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Overfull => f.write_str("Body(too many trailers)"),
            Kind::Empty => f.write_str("Body(empty)"),
            Kind::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Given(_) => f.write_str("Body(stream)"),
            Kind::Decoded(_) => f.write_str("Body(decoded)"),
            Kind::File(file) => write!(f, "Body({file:?})"),
            Kind::Received(received) => {
                let hint = received.remaining();
                match hint.exact() {
                    Some(rest) => write!(f, "Body(received, {rest} bytes unread)"),
                    None => f.write_str("Body(received)"),
                }
            }
        }
    }
}

impl From<Kind> for Body {
    fn from(kind: Kind) -> Self {
        Self { kind, trailers: None }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Kind::Full(bytes).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

/// Adds fields to a map. Returns `false` if the map cannot hold all fields, so that some fields are missing.
pub(crate) fn add_fields(fields: &mut HeaderMap, more: HeaderMap) -> bool {
    let mut last = None;
    more.into_iter().all(|(name, value)| {
        // The iterator yields a name only with the first value of that name.
        last = name.or_else(|| last.take());
        last.as_ref().is_some_and(|name| fields.try_append(name.clone(), value).is_ok())
    })
}
