//! The upload of a request: the source of its body, whether the body can be sent again, and the progress of the upload.
//!
//! This module knows no sockets and frames nothing. Invariant: every piece that was taken from the caller's stream, and
//! a failure of that stream, is kept until a byte of the request was written. So a request of which no byte was
//! written can always be sent again. If the stream failed, the new attempt fails at the same point.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::outgoing::PIECES;
use crate::body::{Body, add_fields};
use crate::codec::BodyLength;
use crate::error::BoxError;

/// A request's body, and the part of the body that was taken for sending.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Body,
    /// The whole body, if the body is held in memory.
    whole: Option<Bytes>,
    /// Pieces that were put back after they were taken. These pieces are sent before all others.
    kept: VecDeque<Bytes>,
    /// State of the caller's source, whose pieces come after the pieces in `kept`.
    rest: Rest,
    /// Fields to send after the content.
    trailers: Option<Box<HeaderMap>>,
    /// Length of the whole body.
    length: BodyLength,
    is_empty: bool,
    /// Whether a piece was taken from the caller's source.
    is_touched: bool,
}

/// State of the caller's source.
#[derive(Debug)]
enum Rest {
    /// The source may yield more pieces.
    Open,
    /// The source failed. Once this failure was reported, the source is polled again, and fails again.
    Failed(BoxError),
    /// The source has ended and is not polled again.
    Over,
}

impl Upload {
    #[inline]
    pub(crate) fn new(mut source: Body) -> Self {
        let (length, is_empty) = (source.length(), source.is_empty());
        Self {
            whole: source.whole().cloned(),
            kept: VecDeque::new(),
            rest: if is_empty { Rest::Over } else { Rest::Open },
            trailers: source.take_known_trailers(),
            length,
            is_empty,
            is_touched: false,
            source,
        }
    }

    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    /// Makes the body chunked even if its length is known, so that trailers of the source can follow.
    pub(crate) fn expect_trailers(&mut self) {
        if self.source.may_end_with_trailers() {
            self.length = BodyLength::Chunked;
        }
    }

    /// Returns the fields to send after the content, or `None` if no such field is known yet.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// Whether the request can announce the length of its content.
    pub(crate) fn has_known_length(&self) -> bool {
        matches!(self.length, BodyLength::Known(_) | BodyLength::None)
    }

    /// Whether all content was taken and the source has ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.rest, Rest::Over) && self.kept.is_empty()
    }

    /// Whether the body can be sent again from its start, however much of the body was sent.
    pub(crate) fn is_replayable(&self) -> bool {
        self.is_empty || self.whole.is_some() || self.source.is_file() || !self.is_touched
    }

    /// Goes back to the start of the body. `unsent` holds the pieces that were taken but not written. If the source
    /// cannot go back, these pieces are sent first.
    pub(crate) fn rewind(&mut self, unsent: impl DoubleEndedIterator<Item = Bytes>) {
        if let Some(whole) = &self.whole {
            self.source = whole.clone().into();
            self.rest = Rest::Open;
            self.kept.clear();
        } else if self.source.rewind() {
            self.rest = if self.is_empty { Rest::Over } else { Rest::Open };
            self.kept.clear();
        } else {
            unsent.rev().for_each(|piece| self.kept.push_front(piece));
        }
    }

    /// Puts `piece`, which was taken last, back into the upload, and `beyond` after it.
    pub(crate) fn put_back(&mut self, piece: Option<Bytes>, beyond: Beyond) {
        match beyond {
            Beyond::Content(content) => self.kept.push_front(content),
            Beyond::Failure(failure) => self.rest = Rest::Failed(failure),
            // `self.trailers` already holds these trailers. The source reports its end again at the next poll.
            Beyond::Trailers => self.rest = Rest::Open,
        }
        if let Some(piece) = piece {
            self.kept.push_front(piece);
        }
    }

    /// Takes the next piece of content. Returns `None` at the end of the content, when the trailers are complete.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if let Some(kept) = self.kept.pop_front() {
            return Poll::Ready(Some(Ok(kept)));
        }
        if let Rest::Failed(_) = self.rest
            && let Rest::Failed(failure) = std::mem::replace(&mut self.rest, Rest::Open)
        {
            return Poll::Ready(Some(Err(failure)));
        }
        while let Rest::Open = self.rest {
            let Some(piece) = ready!(self.source.poll_piece(cx)) else {
                self.rest = Rest::Over;
                break;
            };
            self.is_touched = true;
            // A source that has failed fails again at the next poll.
            match piece?.into_data() {
                Ok(data) => {
                    if self.whole.is_some() {
                        self.rest = Rest::Over;
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                // No frame may follow the trailers.
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    if !add_fields(self.trailers.get_or_insert_default(), trailers) {
                        self.source.overfill();
                        continue;
                    }
                    self.rest = Rest::Over;
                }
            }
        }
        Poll::Ready(None)
    }

    /// Reads the whole body into memory, so that its length is known. Returns false if the body has more than `most`
    /// bytes.
    pub(crate) fn poll_gather(
        &mut self,
        gathered: &mut BytesMut,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, BoxError>> {
        let mut pieces = 0;
        while let Some(chunk) = ready!(self.poll_chunk(cx)?) {
            if chunk.len() > most - gathered.len() {
                return Poll::Ready(Ok(false));
            }
            gathered.extend_from_slice(&chunk);
            pieces += 1;
            if pieces == PIECES {
                // The task yields after this many pieces, so that other tasks can run.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let whole = gathered.split().freeze();
        self.length = BodyLength::Known(whole.len() as u64);
        self.source = whole.clone().into();
        self.whole = Some(whole);
        self.rest = Rest::Open;
        Poll::Ready(Ok(true))
    }
}

/// Content, trailers or a failure that a source yields after its promised length.
#[derive(Debug)]
pub(crate) enum Beyond {
    Content(Bytes),
    Trailers,
    Failure(BoxError),
}

/// The progress of the upload of a request's content. [`Response::upload`](crate::Response::upload) returns this type.
/// See the page on [uploads](crate::manual::uploads).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadProgress {
    pub(crate) bytes: u64,
    pub(crate) state: UploadState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadState {
    Open,
    Complete,
    Aborted,
}

impl UploadProgress {
    /// Creates the progress of a request without content.
    pub(crate) fn none() -> Self {
        Self { bytes: 0, state: UploadState::Complete }
    }

    /// Returns the number of bytes of content that were given to the connection. Framing is not counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all of the content was sent. Returns true for a request without content.
    pub fn is_complete(&self) -> bool {
        self.state == UploadState::Complete
    }

    /// Whether the upload was aborted, because the server refused or stopped reading the content, or because the
    /// response was dropped first.
    pub fn is_aborted(&self) -> bool {
        self.state == UploadState::Aborted
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::Waker;

    use super::*;

    fn next(upload: &mut Upload) -> Option<Bytes> {
        match upload.poll_chunk(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(chunk) => chunk.map(Result::unwrap),
            Poll::Pending => None,
        }
    }

    #[test]
    fn bytes_are_replayed_from_their_start() {
        let mut upload = Upload::new("hello".into());
        assert!(upload.is_replayable());
        assert_eq!(next(&mut upload).unwrap(), "hello");
        assert_eq!(next(&mut upload), None);
        upload.rewind([Bytes::from_static(b"lo")].into_iter());
        assert_eq!(next(&mut upload).unwrap(), "hello");
        assert_eq!(upload.length(), BodyLength::Known(5));
    }

    #[test]
    fn an_unwritten_piece_of_a_stream_is_kept() {
        let mut upload = Upload::new(Body::from_stream(Pieces(vec!["b", "a"])));
        assert!(upload.is_replayable(), "nothing was taken of the stream");
        let length = upload.length();
        let first = next(&mut upload).unwrap();
        assert!(!upload.is_replayable());
        upload.rewind([first].into_iter());
        assert_eq!(upload.length(), length, "the kept piece is still part of the body");
        assert_eq!(next(&mut upload).unwrap(), "a");
        assert_eq!(next(&mut upload).unwrap(), "b");
        assert_eq!(next(&mut upload), None);
    }

    struct Pieces(Vec<&'static str>);

    impl futures_core::Stream for Pieces {
        type Item = Result<&'static str, io::Error>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.pop().map(Ok))
        }
    }
}
