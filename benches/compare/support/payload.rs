//! The content of a request. Every client sends the same content.

use std::convert::Infallible;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The content of a request.
#[derive(Clone, Debug)]
pub enum Payload {
    /// All content in one buffer, or no content.
    Whole(Option<Bytes>),
    /// Equal pieces, one after another. The pieces are sent in chunks, because their number is not announced.
    Pieces { piece: Bytes, left: usize },
}

impl Payload {
    pub const EMPTY: Self = Self::Whole(None);

    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, Bytes::len),
            Self::Pieces { piece, left } => piece.len() * left,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn next_piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Whole(bytes) => bytes.take(),
            Self::Pieces { left: 0, .. } => None,
            Self::Pieces { piece, left } => {
                *left -= 1;
                Some(piece.clone())
            }
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_piece().map(Frame::data).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(_) => SizeHint::with_exact(self.len() as u64),
            Self::Pieces { .. } => SizeHint::default(),
        }
    }
}

/// The content as a `Read`, for ureq.
pub struct Reader {
    payload: Payload,
    piece: Bytes,
}

impl Reader {
    pub fn new(payload: Payload) -> Self {
        Self { payload, piece: Bytes::new() }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.payload.next_piece().unwrap_or_default();
        }
        let part = self.piece.split_to(into.len().min(self.piece.len()));
        into[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}
