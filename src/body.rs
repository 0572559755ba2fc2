//! What is sent and what is received, in one type without parameters.
//!
//! A body that is sent is nothing, bytes, or a stream. A body that is received owns its connection until its end,
//! which is when the connection goes back to the pool. It does no I/O of its own: the [`Exchange`] does. Invariant:
//! dropping a body at any point leaves the pool's counts exact.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::codec::BodyLength;
use crate::error::{BoxError, Error, Result};
use crate::exchange::Exchange;
use crate::trace::Timings;

/// The content of a request or of a response.
///
/// Made from bytes and text by `From`, from a stream by [`from_stream`](Self::from_stream). A response's body is
/// read through [`Response`](crate::Response), or as an [`http_body::Body`].
///
/// # Dropping
///
/// A response's body that is dropped before its end closes the connection, unless all of the content came with the
/// head. See the crate's page on cancellation.
#[derive(Default)]
pub struct Body {
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// The caller's stream is only ever used through `get_mut`, which makes the body `Sync` whatever the stream is.
    Stream(Mutex<CallersStream>),
    Received(Box<Received>),
}

type CallersStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// A response's content.
struct Received {
    /// Content that came with the head.
    ready: Bytes,
    /// What brings the rest; `None` once everything is here.
    exchange: Option<Exchange>,
    trailers: Option<HeaderMap>,
    /// Final once `exchange` is gone.
    timings: Timings,
}

impl Body {
    /// No content.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Content that is made while it is sent, in chunks (`Transfer-Encoding: chunked`), unless the request has a
    /// `Content-Length`.
    ///
    /// An error of the stream ends the request with [`ErrorKind::Body`](crate::ErrorKind::Body) and closes the
    /// connection. A request with such a body is sent again (see the page on reuse) only if nothing of it was written.
    pub fn from_stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        let stream: CallersStream = Box::pin(IntoBytes { stream: Box::pin(stream) });
        Self { kind: Kind::Stream(Mutex::new(stream)) }
    }

    pub(crate) fn received(
        ready: Bytes,
        exchange: Option<Exchange>,
        trailers: Option<HeaderMap>,
        timings: Timings,
    ) -> Self {
        Self { kind: Kind::Received(Box::new(Received { ready, exchange, trailers, timings })) }
    }

    /// The bytes, where all of them are here and no trailers follow.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Full(bytes) => Some(bytes),
            Kind::Empty | Kind::Stream(_) | Kind::Received(_) => None,
        }
    }

    /// The length as it would be announced.
    pub(crate) fn length(&self) -> BodyLength {
        match &self.kind {
            Kind::Empty => BodyLength::None,
            Kind::Full(bytes) => BodyLength::Known(bytes.len() as u64),
            Kind::Stream(_) => BodyLength::Chunked,
            Kind::Received(received) => {
                received.remaining().exact().map_or(BodyLength::Chunked, BodyLength::Known)
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    /// A second body with the same content, where that costs nothing.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        match &self.kind {
            Kind::Empty => Some(Self::empty()),
            Kind::Full(bytes) => Some(bytes.clone().into()),
            Kind::Stream(_) | Kind::Received(_) => None,
        }
    }

    /// The next piece of content.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(_) => match std::mem::take(&mut self.kind) {
                Kind::Full(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(bytes))),
                _ => Poll::Ready(None),
            },
            Kind::Stream(stream) => {
                stream.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut().poll_next(cx)
            }
            Kind::Received(received) => received.poll_chunk(cx).map_err(BoxError::from),
        }
    }

    /// The next piece of a received body.
    pub(crate) fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match &mut self.kind {
            Kind::Received(received) => received.poll_chunk(cx),
            _ => self.poll_chunk(cx).map_err(|error| {
                Error::new(crate::ErrorKind::Body, "the body's own stream failed").because(error)
            }),
        }
    }

    /// The trailers, once the content has ended.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.kind {
            Kind::Received(received) => received.trailers.take(),
            _ => None,
        }
    }

    /// The final timings, once a received body has ended.
    pub(crate) fn timings(&self) -> Option<&Timings> {
        match &self.kind {
            Kind::Received(received) if received.exchange.is_none() => Some(&received.timings),
            _ => None,
        }
    }
}

impl Received {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        let outcome = std::task::ready!(exchange.poll_data(cx));
        match &outcome {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => {
                self.timings = exchange.timings();
                self.trailers = exchange.take_trailers();
                self.exchange = None;
            }
        }
        Poll::Ready(outcome)
    }

    fn remaining(&self) -> SizeHint {
        match &self.exchange {
            None => SizeHint::with_exact(self.ready.len() as u64),
            Some(exchange) => match exchange.remaining() {
                Some(rest) => SizeHint::with_exact(rest.saturating_add(self.ready.len() as u64)),
                None => SizeHint::default(),
            },
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match std::task::ready!(self.poll_received(cx)) {
            Some(chunk) => Poll::Ready(Some(chunk.map(Frame::data))),
            None => Poll::Ready(self.take_trailers().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Stream(_) => false,
            Kind::Received(received) => {
                received.ready.is_empty() && received.exchange.is_none() && received.trailers.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) => SizeHint::default(),
            Kind::Received(received) => received.remaining(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Empty => f.write_str("Body(empty)"),
            Kind::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Stream(_) => f.write_str("Body(stream)"),
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

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(bytes) }
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

/// A caller's stream, its items turned into bytes and its errors into boxed ones.
struct IntoBytes<S> {
    stream: Pin<Box<S>>,
}

impl<S, B, E> Stream for IntoBytes<S>
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = std::task::ready!(self.stream.as_mut().poll_next(cx));
        Poll::Ready(item.map(|item| item.map(Into::into).map_err(Into::into)))
    }
}
