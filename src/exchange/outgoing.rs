//! The bytes that are written next: the request head, pieces of content, and the framing around each piece.
//!
//! This module knows no codec: the owner of [`Outgoing`] appends framing and content in order. Invariant: content is
//! never copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::buffer;

/// Largest number of pieces of content that one poll takes and that one write sends.
pub(super) const PIECES: usize = 32;

/// Bytes that are encoded and not yet written.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// All bytes that are not content, in order.
    pub(crate) framing: BytesMut,
    pieces: Vec<Piece>,
    /// Number of bytes of content in `pieces`.
    content: usize,
    /// Number of bytes of framing and content that were written.
    written: usize,
    /// Whether a write of the current bytes was pending.
    has_waited: bool,
    /// Whether a write of the previous bytes was pending, which means that the server is slow to read.
    is_held_up: bool,
}

#[derive(Debug)]
struct Piece {
    data: Bytes,
    /// Number of bytes of framing that are written before the piece.
    at: usize,
}

impl Outgoing {
    /// Appends a piece of content, and the framing that ends the piece.
    pub(crate) fn push(&mut self, data: Bytes, suffix: &[u8]) {
        self.content += data.len();
        self.pieces.push(Piece { data, at: self.framing.len() });
        self.framing.extend_from_slice(suffix);
    }

    pub(crate) fn has_content(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Whether enough bytes for one write are ready. For a server that is slow to read, one piece is enough.
    pub(crate) fn is_full(&self) -> bool {
        let most = if self.is_held_up { 1 } else { PIECES };
        self.pieces.len() >= most || self.content >= FULL
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.framing.len() + self.content
    }

    /// Returns the number of bytes of content that were written.
    pub(crate) fn content_written(&self) -> u64 {
        let mut before = 0;
        let written = self.pieces.iter().map(|piece| {
            let begin = piece.at + before;
            before += piece.data.len();
            self.written.saturating_sub(begin).min(piece.data.len())
        });
        written.sum::<usize>() as u64
    }

    /// Writes to the stream once. Returns the number of bytes that were written, which is never 0.
    #[inline]
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

    /// Returns the unwritten parts in order. No part is empty.
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

    /// Takes the pieces of content out. No byte of the pieces may have been written.
    pub(crate) fn take_pieces(&mut self) -> impl DoubleEndedIterator<Item = Bytes> + use<> {
        self.content = 0;
        std::mem::take(&mut self.pieces).into_iter().map(|piece| piece.data)
    }

    /// Returns the pieces of content. No byte of the pieces may have been written, because the pieces are returned
    /// whole.
    pub(crate) fn into_unsent(mut self) -> impl DoubleEndedIterator<Item = Bytes> + use<> {
        let pieces = self.take_pieces();
        self.clear();
        pieces
    }

    /// Discards all bytes, and gives the buffer back to the thread.
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

/// Number of bytes of content from which a write is full. The piece that reaches this number is part of the write.
const FULL: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Checks that after `clear` no byte counts as written, even if the written bytes were content without framing.
    #[test]
    fn nothing_counts_as_written_after_clear() {
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
}
