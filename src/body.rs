//! What is sent and what is received, in one type without parameters.
//!
//! A body that is sent is nothing, bytes, a stream, another body, or a file. A body that is received owns the
//! [`Exchange`] that brings it, and with it the connection, until its end. The exchange does all I/O. Invariant: dropping a body at any point leaves the pool's counts exact.

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

use self::source::{File, Given};
use crate::codec::BodyLength;
use crate::error::{BoxError, Error, Result};
use crate::exchange::Exchange;
use crate::exchange::UploadProgress;
use crate::timings::Timings;
use crate::trace::Measured;

/// The content of a request or of a response.
///
/// Made from bytes and text by `From`, from a stream by [`from_stream`](Self::from_stream), from another body by
/// [`wrap`](Self::wrap), from a file by [`from_file`](Self::from_file). A response's body is read through
/// [`Response`](crate::Response), or as an [`http_body::Body`].
///
/// # Length
///
/// A body is sent with the length that it has or promises, or else in chunks; the page on
/// [uploads](crate::manual::uploads) has the table. One that turns out longer or shorter than it promised fails the
/// request with [`ErrorKind::Body`](crate::ErrorKind::Body), and closes the connection.
///
/// # Dropping
///
/// A response's body that is dropped before its end closes the connection, unless what is left is small: what has come is
/// taken in, and a rest of up to 64 KiB is read in the background, for up to 100 ms and while nobody waits for the
/// connection. See the crate's page on [cancellation](crate::manual::cancel).
#[derive(Default)]
pub struct Body {
    kind: Kind,
    /// Fields to send behind the content, known beforehand.
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
    /// With more trailers than a map of fields can hold: not to be sent.
    Overfull,
}

/// A response's content.
struct Received {
    /// Content that came with the head.
    ready: Bytes,
    rest: Rest,
    trailers: Option<Box<HeaderMap>>,
    /// The final timings, once an exchange that brought the rest has ended or failed.
    timings: Option<Measured>,
    upload: UploadProgress,
}

/// Where the rest of a response's content comes from.
#[allow(clippy::large_enum_variant, reason = "most are open, and all of them are boxed with their body")]
enum Rest {
    Open(Exchange),
    /// All of it has come.
    Ended,
    /// It will never come; every later read repeats the error.
    Failed(Error),
}

impl Body {
    /// No content.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Content that is made while it is sent, in chunks (`Transfer-Encoding: chunked`), unless the request has a
    /// `Content-Length`, which must then be its exact length.
    ///
    /// An error of the stream ends the request with [`ErrorKind::Body`](crate::ErrorKind::Body) and closes the
    /// connection. A request with such a body is sent again (see the page on [reuse](crate::manual::reuse)) only if nothing
    /// was taken from the stream, or nothing of the request was written.
    pub fn from_stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Kind::Given(Given::stream(stream)).into()
    }

    /// Another body of the ecosystem. An exact [`size_hint`](http_body::Body::size_hint) is sent as `Content-Length`,
    /// and must then be true; otherwise it is sent in chunks.
    ///
    /// Trailers that it ends with are sent, if it is sent in chunks: that can be had by a `Trailer` field in the
    /// request, which should announce them (<https://www.rfc-editor.org/rfc/rfc9110#section-6.6.2>). Trailers behind a
    /// known length have no place on the wire, and fail the request. Errors and resending as for
    /// [`from_stream`](Self::from_stream).
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

    /// The content of a regular file, sent with the length that it has now. It is read in pieces of 64 KiB while it is
    /// sent, on the runtime's threads for blocking work.
    ///
    /// What is appended to the file meanwhile is not sent; if it becomes shorter, the request fails with
    /// [`ErrorKind::Body`](crate::ErrorKind::Body). It can be sent again from its start, as bytes can.
    ///
    /// Needs a tokio runtime, here and while it is sent. Dropping the future before it is ready opens nothing that stays
    /// open.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or is no regular file.
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

    /// The same content, with fields behind it. The request is then sent in chunks, and announces their names in
    /// `Trailer`. Called again, it adds fields.
    ///
    /// Fields that concern framing, routing, authentication or the content's form cannot be trailers
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>): a request with such is refused before a byte is
    /// written.
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

    /// There are more trailers than can be held: from now on, every read fails.
    pub(crate) fn overfill(&mut self) {
        self.kind = Kind::Overfull;
    }

    pub(crate) fn received(
        ready: Bytes,
        exchange: Option<Exchange>,
        trailers: Option<Box<HeaderMap>>,
        upload: UploadProgress,
    ) -> Self {
        let rest = exchange.map_or(Rest::Ended, Rest::Open);
        Kind::Received(Box::new(Received { ready, rest, trailers, timings: None, upload })).into()
    }

    /// The bytes, where all of them are here.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Full(bytes) => Some(bytes),
            Kind::Empty | Kind::Given(_) | Kind::File(_) | Kind::Received(_) | Kind::Overfull => None,
        }
    }

    /// The length as it would be announced.
    pub(crate) fn length(&self) -> BodyLength {
        let length = match &self.kind {
            _ if self.trailers.is_some() => None,
            Kind::Overfull => None,
            Kind::Empty => return BodyLength::None,
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Given(given) => given.size_hint().exact(),
            Kind::File(file) => Some(file.length()),
            Kind::Received(received) if received.trailers.is_some() => None,
            Kind::Received(received) => received.remaining().exact(),
        };
        length.map_or(BodyLength::Chunked, BodyLength::Known)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty) && self.trailers.is_none()
    }

    /// Whether it may end with trailers that only it knows.
    pub(crate) fn may_end_with_trailers(&self) -> bool {
        matches!(self.kind, Kind::Given(_) | Kind::Received(_))
    }

    /// Whether it was given more trailers than a map of fields can hold.
    pub(crate) fn has_too_many_trailers(&self) -> bool {
        matches!(self.kind, Kind::Overfull)
    }

    /// The trailers that are known beforehand.
    pub(crate) fn take_known_trailers(&mut self) -> Option<Box<HeaderMap>> {
        self.trailers.take()
    }

    /// Back to its start; `false` where that cannot be.
    pub(crate) fn rewind(&mut self) -> bool {
        match &mut self.kind {
            Kind::File(file) => {
                file.rewind();
                true
            }
            Kind::Empty => true,
            Kind::Full(_) | Kind::Given(_) | Kind::Received(_) | Kind::Overfull => false,
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    /// A second body with the same content, where that costs nothing.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Empty => Kind::Empty,
            Kind::Full(bytes) => Kind::Full(bytes.clone()),
            Kind::Given(_) | Kind::File(_) | Kind::Received(_) | Kind::Overfull => return None,
        };
        Some(Self { kind, trailers: self.trailers.clone() })
    }

    /// The next piece to send: content, or the trailers that only the source knows.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Overfull => Poll::Ready(Some(Err("there are too many trailers".into()))),
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Given(given) => given.poll_frame(cx),
            Kind::File(file) => file.poll_chunk(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk?)))),
            Kind::Received(received) => match ready!(received.poll_chunk(cx)) {
                Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk?)))),
                None => Poll::Ready(received.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers)))),
            },
        }
    }

    /// The next piece of a received body's content.
    pub(crate) fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Kind::Received(received) = &mut self.kind {
            return received.poll_chunk(cx);
        }
        let failed = |message| Error::new(crate::ErrorKind::Body, message);
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
                                "the body's own source gave too many trailers",
                            ))));
                        }
                    }
                },
                Err(error) => {
                    return Poll::Ready(Some(Err(failed("the body's own source failed").because(error))));
                }
            }
        }
    }

    /// All of a received body's content is wanted as one: what is known to be no more than `most` comes in one piece.
    pub(crate) fn gather(&mut self, most: usize) {
        if let Kind::Received(received) = &mut self.kind
            // (What came with the head is a piece already.)
            && received.ready.is_empty()
            && let Rest::Open(exchange) = &mut received.rest
        {
            exchange.gather(most);
        }
    }

    /// The trailers, once the content has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.kind {
            Kind::Received(received) => received.trailers.take().map(|trailers| *trailers),
            _ => self.trailers.take().map(|trailers| *trailers),
        }
    }

    /// The final timings, once a received body has ended.
    pub(crate) fn timings(&self) -> Option<&Timings> {
        match &self.kind {
            Kind::Received(received) => received.timings.as_ref().map(Measured::timings),
            _ => None,
        }
    }

    /// How far the upload has come, while or after a received body is read.
    pub(crate) fn upload_progress(&self) -> Option<UploadProgress> {
        match &self.kind {
            Kind::Received(received) => Some(match &received.rest {
                Rest::Open(exchange) => exchange.upload_progress(),
                Rest::Ended | Rest::Failed(_) => received.upload,
            }),
            _ => None,
        }
    }
}

impl Received {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        let exchange = match &mut self.rest {
            Rest::Open(exchange) => exchange,
            Rest::Ended => return Poll::Ready(None),
            Rest::Failed(error) => return Poll::Ready(Some(Err(error.repeat()))),
        };
        let outcome = ready!(exchange.poll_data(cx));
        let rest = match &outcome {
            Some(Ok(_)) => return Poll::Ready(outcome),
            Some(Err(error)) => Rest::Failed(error.repeat()),
            None => Rest::Ended,
        };
        self.timings = Some(exchange.measured());
        self.upload = exchange.upload_progress();
        self.trailers = exchange.take_trailers();
        self.rest = rest;
        Poll::Ready(outcome)
    }

    /// How much of the content is still to be read. Of one that failed nothing is known.
    fn remaining(&self) -> SizeHint {
        let rest = match &self.rest {
            Rest::Open(exchange) => exchange.remaining(),
            Rest::Ended => Some(0),
            Rest::Failed(_) => None,
        };
        rest.map_or_else(SizeHint::default, |rest| {
            SizeHint::with_exact(rest.saturating_add(self.ready.len() as u64))
        })
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Rest::Open(exchange) = std::mem::replace(&mut self.rest, Rest::Ended) {
            exchange.abandon();
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
            Kind::Received(received) => {
                received.ready.is_empty()
                    && matches!(received.rest, Rest::Ended)
                    && received.trailers.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Overfull => SizeHint::default(),
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

/// Adds fields to those that are there; `false`: there are too many, and some are missing.
pub(crate) fn add_fields(fields: &mut HeaderMap, more: HeaderMap) -> bool {
    let mut last = None;
    more.into_iter().all(|(name, value)| {
        // Only the first of several values comes with its name.
        last = name.or_else(|| last.take());
        last.as_ref().is_some_and(|name| fields.try_append(name.clone(), value).is_ok())
    })
}
