//! Content that is made while it is sent: the caller's stream or body, or a file.
//!
//! This module knows nothing of requests. Invariants: a file yields exactly as many bytes as it had when it was opened,
//! or fails if it has become shorter. After a failure, every later read of the source fails too. At most one
//! piece is read ahead.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io::{self, SeekFrom};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncSeek};

use crate::error::BoxError;

/// The caller's stream or body, with pieces converted to bytes and errors boxed.
///
/// The mutex makes this type `Sync`, whether or not the caller's type is `Sync`. Content is polled through `get_mut`,
/// which takes no lock. The source is dropped at its end, so that the source is not polled again.
pub(super) struct Given(Mutex<State>);

enum State {
    Open(ErasedBody),
    Ended,
    /// The text of the source's error. Every later read returns an error with this text.
    Failed(String),
}

type ErasedBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>;

impl Given {
    /// Wraps a stream.
    pub(super) fn stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self(Mutex::new(State::Open(Box::pin(Streamed { stream: Box::pin(stream) }))))
    }

    /// Wraps a body.
    pub(super) fn body<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Data: Into<Bytes>,
        B::Error: Into<BoxError>,
    {
        Self(Mutex::new(State::Open(Box::pin(Wrapped { body: Box::pin(body) }))))
    }

    /// Polls the next frame of the source.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let given = match state {
            State::Open(given) => given,
            State::Ended => return Poll::Ready(None),
            State::Failed(words) => return Poll::Ready(Some(Err(words.as_str().into()))),
        };
        let frame = ready!(given.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) if frame.is_data() => {}
            // No frame follows the trailers.
            Some(Ok(_)) | None => *state = State::Ended,
            Some(Err(error)) => *state = State::Failed(words(&**error)),
        }
        Poll::Ready(frame)
    }

    /// Returns the size hint of the caller's body, or an empty hint if another thread reads the hint at the same
    /// moment.
    pub(super) fn size_hint(&self) -> SizeHint {
        let Ok(state) = self.0.try_lock() else { return SizeHint::default() };
        match &*state {
            State::Open(given) => given.size_hint(),
            State::Ended => SizeHint::with_exact(0),
            State::Failed(_) => SizeHint::default(),
        }
    }
}

/// Returns the text of an error and of its causes.
fn words(error: &(dyn StdError + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// A stream as an [`http_body::Body`].
struct Streamed<S> {
    stream: Pin<Box<S>>,
}

impl<S, B, E> http_body::Body for Streamed<S>
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let item = ready!(self.stream.as_mut().poll_next(cx));
        Poll::Ready(item.map(|item| item.map(|data| Frame::data(data.into())).map_err(Into::into)))
    }
}

/// A body of any data and error types, as a body of bytes and boxed errors.
struct Wrapped<B> {
    body: Pin<Box<B>>,
}

impl<B> http_body::Body for Wrapped<B>
where
    B: http_body::Body,
    B::Data: Into<Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(Into::into)).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The rest of a file that the caller has opened, from its current position to its end.
pub(super) struct Opened {
    file: tokio::fs::File,
    buffer: BytesMut,
}

impl Opened {
    pub(super) fn new(file: tokio::fs::File) -> Self {
        Self { file, buffer: BytesMut::new() }
    }
}

impl Stream for Opened {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Self { file, buffer } = &mut *self;
        buffer.reserve(PIECE);
        let mut room = buffer.limit(PIECE);
        match ready!(pin!(file.read_buf(&mut room)).poll(cx)) {
            Ok(0) => Poll::Ready(None),
            Ok(_) => Poll::Ready(Some(Ok(self.buffer.split().freeze()))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}

/// A regular file, from its start to the length that it had when it was opened.
pub(super) struct File {
    file: tokio::fs::File,
    /// Length of the file when it was opened.
    length: u64,
    /// Number of bytes that are still to be read.
    rest: u64,
    rewind: Rewind,
    buffer: BytesMut,
}

/// Whether the file must go back to its start before the next read.
#[derive(PartialEq)]
enum Rewind {
    No,
    /// The seek has not been started.
    Due,
    /// The seek has been started.
    Underway,
}

impl File {
    /// Opens a regular file.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        // The type of the file is checked before the file is opened, because opening a pipe would wait for its other
        // end.
        if !tokio::fs::metadata(path).await?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is not a regular file: use Body::from_stream for other sources",
            ));
        }
        let file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        Ok(Self { file, length, rest: length, rewind: Rewind::No, buffer: BytesMut::new() })
    }

    /// Returns the length of the file when it was opened.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the number of bytes that are still to be read.
    pub(super) fn rest(&self) -> u64 {
        self.rest
    }

    /// Makes the next read start at the beginning of the file.
    pub(super) fn rewind(&mut self) {
        if self.rest != self.length || !self.buffer.is_empty() {
            self.rest = self.length;
            self.rewind = Rewind::Due;
        }
    }

    /// Polls the next piece. Returns `None` at the end of the file. Fails if the file has become shorter.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.rest == 0 {
            return Poll::Ready(None);
        }
        if self.rewind != Rewind::No {
            ready!(self.poll_rewind(cx))?;
        }
        let size = usize::try_from(self.rest).unwrap_or(usize::MAX).min(PIECE);
        self.buffer.reserve(size);
        let mut room = (&mut self.buffer).limit(size);
        let read = ready!(pin!(self.file.read_buf(&mut room)).poll(cx))?;
        if read == 0 {
            let missing =
                format!("the file became shorter while it was sent: {} bytes are missing", self.rest);
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, missing))));
        }
        self.rest -= read as u64;
        Poll::Ready(Some(Ok(self.buffer.split().freeze())))
    }

    /// Seeks to the start of the file.
    fn poll_rewind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut file = Pin::new(&mut self.file);
        if self.rewind == Rewind::Due {
            // An earlier operation must complete before a seek.
            ready!(file.as_mut().poll_complete(cx))?;
            file.as_mut().start_seek(SeekFrom::Start(0))?;
            self.rewind = Rewind::Underway;
        }
        ready!(file.poll_complete(cx))?;
        self.rewind = Rewind::No;
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file, {} bytes", self.length)
    }
}

/// Number of bytes that one read of a file asks for.
const PIECE: usize = 64 * 1024;
