//! What is sent: where a request's body comes from, whether it can be sent again, and what is to be written next.
//!
//! It knows no sockets, and frames nothing itself. Invariant: what was taken from the caller's stream, pieces and its
//! failure, is kept until a byte of the request was written, so a request of which nothing was written can always be
//! sent again, and fails again where it failed.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use crate::body::{Body, add_fields};
use crate::buffer;
use crate::codec::BodyLength;
use crate::error::BoxError;

/// A request's body, as far as it has been sent.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Body,
    /// The whole of a body that is held in memory.
    whole: Option<Bytes>,
    /// Pieces that were taken and are to be sent (again) first, and the failure behind them.
    kept: VecDeque<Bytes>,
    failure: Option<BoxError>,
    /// What goes behind the content.
    trailers: Option<Box<HeaderMap>>,
    /// As it was before anything was taken.
    length: BodyLength,
    is_empty: bool,
    /// Something was taken of the caller's source.
    is_touched: bool,
    /// The caller's source has ended: it is not asked again.
    is_over: bool,
}

impl Upload {
    pub(crate) fn new(mut source: Body) -> Self {
        let (length, is_empty) = (source.length(), source.is_empty());
        Self {
            whole: source.whole().cloned(),
            kept: VecDeque::new(),
            failure: None,
            trailers: source.take_known_trailers(),
            length,
            is_empty,
            is_touched: false,
            is_over: is_empty,
            source,
        }
    }

    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    /// Sends it in chunks whatever its length is, so that trailers can follow which only the source knows.
    pub(crate) fn expect_trailers(&mut self) {
        if self.source.may_end_with_trailers() {
            self.length = BodyLength::Chunked;
        }
    }

    /// What goes behind the content, as far as it is known.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// The content may be given by the source's own length; its trailers, if there are none, need no announcement.
    pub(crate) fn has_known_length(&self) -> bool {
        matches!(self.length, BodyLength::Known(_) | BodyLength::None)
    }

    /// Whether the source has ended. Of a source that knows its end there is nothing to ask.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over && self.kept.is_empty() && self.failure.is_none()
    }

    /// Whether it can be sent from its start again whatever was sent of it.
    pub(crate) fn is_replayable(&self) -> bool {
        self.is_empty || self.whole.is_some() || self.source.is_file() || !self.is_touched
    }

    /// Back to the start. `unsent` was taken and nothing of it was written.
    pub(crate) fn rewind(&mut self, unsent: impl DoubleEndedIterator<Item = Bytes>) {
        let is_rewound = if let Some(whole) = &self.whole {
            self.source = whole.clone().into();
            self.is_over = false;
            true
        } else if self.source.rewind() {
            self.is_over = self.is_empty;
            true
        } else {
            false
        };
        if is_rewound {
            self.kept.clear();
            self.failure = None;
        } else {
            unsent.rev().for_each(|piece| self.kept.push_front(piece));
        }
    }

    /// What was taken last is the next again: a piece, and what was beyond it.
    pub(crate) fn put_back(&mut self, piece: Option<Bytes>, beyond: Beyond) {
        match beyond {
            Beyond::Content(content) => self.kept.push_front(content),
            Beyond::Failure(failure) => self.failure = Some(failure),
            // They are known; the source says its end again.
            Beyond::Trailers => self.is_over = false,
        }
        if let Some(piece) = piece {
            self.kept.push_front(piece);
        }
    }

    /// The next piece of content. `None` at the end; the trailers are complete then.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if let Some(kept) = self.kept.pop_front() {
            return Poll::Ready(Some(Ok(kept)));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        while !self.is_over {
            let piece = match ready!(self.source.poll_piece(cx)) {
                Some(Ok(frame)) => frame.into_data(),
                // (It fails again whenever it is asked again.)
                Some(Err(error)) => {
                    self.is_touched = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.is_over = true;
                    break;
                }
            };
            self.is_touched = true;
            match piece {
                Ok(data) => {
                    self.is_over = self.whole.is_some();
                    return Poll::Ready(Some(Ok(data)));
                }
                // Nothing may follow them.
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    if !add_fields(self.trailers.get_or_insert_default(), trailers) {
                        self.source.overfill();
                        continue;
                    }
                    self.is_over = true;
                }
            }
        }
        Poll::Ready(None)
    }

    /// Takes all of it into memory, if it is no more than `most` bytes: its length is known then. `false`: it is more.
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
                // It is others' turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let whole = gathered.split().freeze();
        self.length = BodyLength::Known(whole.len() as u64);
        self.source = whole.clone().into();
        self.whole = Some(whole);
        self.is_over = false;
        Poll::Ready(Ok(true))
    }
}

/// Pieces that are taken in one poll, and that leave in one write.
pub(crate) const PIECES: usize = 32;

/// What a source has beyond what may be sent of it.
#[derive(Debug)]
pub(crate) enum Beyond {
    Content(Bytes),
    Trailers,
    Failure(BoxError),
}

/// How far the upload of a request's content came. See [`Response::upload`](crate::Response::upload).
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
    /// The bytes of content that were given to the connection, framing not counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all of the content was sent. True of a request without content.
    pub fn is_complete(&self) -> bool {
        self.state == UploadState::Complete
    }

    /// Whether it was given up: the server wanted or took no more of it, or the response was dropped first.
    pub fn is_aborted(&self) -> bool {
        self.state == UploadState::Aborted
    }
}

/// What is to be written next: pieces of content, and framing around each. Of content nothing is copied.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// All that is not content, in order.
    pub(crate) framing: BytesMut,
    pieces: Vec<Piece>,
    /// The bytes of all pieces.
    content: usize,
    written: usize,
    /// The peer held it up.
    has_waited: bool,
    /// The peer held up what was there before.
    is_held_up: bool,
}

#[derive(Debug)]
struct Piece {
    data: Bytes,
    /// How much of the framing goes before it.
    at: usize,
}

impl Outgoing {
    /// Content goes behind all that is there, and what ends it.
    pub(crate) fn push(&mut self, data: Bytes, suffix: &[u8]) {
        self.content += data.len();
        self.pieces.push(Piece { data, at: self.framing.len() });
        self.framing.extend_from_slice(suffix);
    }

    pub(crate) fn has_content(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Whether as much is there as is to leave in one write. A peer that holds us up gets pieces one by one.
    pub(crate) fn is_full(&self) -> bool {
        let most = if self.is_held_up { 1 } else { PIECES };
        self.pieces.len() >= most || self.content >= MOST
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.framing.len() + self.content
    }

    /// How much of the content was written.
    pub(crate) fn content_written(&self) -> u64 {
        let mut before = 0;
        let written = self.pieces.iter().map(|piece| {
            let begin = piece.at + before;
            before += piece.data.len();
            self.written.saturating_sub(begin).min(piece.data.len())
        });
        written.sum::<usize>() as u64
    }

    /// Writes once.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let written = if self.pieces.is_empty() {
            Pin::new(stream).poll_write(cx, &self.framing[self.written..])
        } else {
            self.poll_write_pieces(stream, cx)
        };
        self.has_waited |= written.is_pending();
        match ready!(written)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => {
                self.written += written;
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_write_pieces(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(b""); 2 * PIECES + 1];
        let mut count = 0;
        for part in self.parts() {
            slices[count] = IoSlice::new(part);
            count += 1;
        }
        match &slices[..count] {
            [part] => Pin::new(stream).poll_write(cx, part),
            parts => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    /// The unwritten parts, none of them empty.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        let pieces = self.pieces.iter().flat_map(move |piece| {
            let framing = &self.framing[begin..piece.at];
            begin = piece.at;
            [framing, &piece.data]
        });
        let last = self.pieces.last().map_or(0, |piece| piece.at);
        let mut skip = self.written;
        pieces.chain([&self.framing[last..]]).filter_map(move |part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            (skipped < part.len()).then(|| &part[skipped..])
        })
    }

    /// The pieces, of which nothing was written.
    pub(crate) fn take_pieces(&mut self) -> impl DoubleEndedIterator<Item = Bytes> + use<> {
        self.content = 0;
        std::mem::take(&mut self.pieces).into_iter().map(|piece| piece.data)
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.written > 0 {
            self.is_held_up = std::mem::take(&mut self.has_waited);
        }
        let framing = std::mem::take(&mut self.framing);
        if framing.capacity() > 0 {
            buffer::put_write(framing);
        }
        self.pieces.clear();
        self.content = 0;
        self.written = 0;
    }
}

/// Content that leaves in one write, at the most, and the piece that goes beyond it.
const MOST: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn next(upload: &mut Upload) -> Option<Bytes> {
        match upload.poll_chunk(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(chunk) => chunk.map(Result::unwrap),
            Poll::Pending => None,
        }
    }

    #[test]
    fn bytes_are_sent_from_their_start_again() {
        let mut upload = Upload::new("hello".into());
        assert!(upload.is_replayable());
        assert_eq!(next(&mut upload).unwrap(), "hello");
        assert_eq!(next(&mut upload), None);
        upload.rewind([Bytes::from_static(b"lo")].into_iter());
        assert_eq!(next(&mut upload).unwrap(), "hello");
        assert_eq!(upload.length(), BodyLength::Known(5));
    }

    /// Also where all that was written was content, whose framing was none.
    #[test]
    fn what_is_cleared_was_not_written() {
        let mut out = Outgoing::default();
        out.push(Bytes::from_static(b"content"), b"");
        let mut room = [0; 4];
        let mut peer = io::Cursor::new(&mut room[..]);
        let written = out.poll_write(&mut peer, &mut Context::from_waker(Waker::noop()));
        assert!(matches!(written, Poll::Ready(Ok(4))) && out.content_written() == 4);
        assert_eq!(out.take_pieces().count(), 1);
        out.clear();
        assert!(out.is_empty() && out.content_written() == 0);
    }

    #[test]
    fn an_unwritten_piece_of_a_stream_is_kept() {
        let mut upload = Upload::new(Body::from_stream(Pieces(vec!["b", "a"])));
        assert!(upload.is_replayable(), "nothing of it was taken");
        let length = upload.length();
        let first = next(&mut upload).unwrap();
        assert!(!upload.is_replayable());
        upload.rewind([first].into_iter());
        assert_eq!(upload.length(), length, "what was taken is still part of it");
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
