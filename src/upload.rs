//! What is sent: where a request's body comes from, whether it can be sent again, and what is to be written next.
//!
//! It knows no sockets, and frames nothing itself. Invariant: a piece that was taken from the caller's stream is kept until a
//! byte of the request was written, so a request of which nothing was written can always be sent again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::body::Body;
use crate::buffer;
use crate::codec::BodyLength;
use crate::error::BoxError;

/// A request's body, as far as it has been sent.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Body,
    /// The whole of a body that is held in memory.
    whole: Option<Bytes>,
    /// A piece that was taken and is to be sent (again) first.
    kept: Option<Bytes>,
    /// As it was before anything was taken.
    length: BodyLength,
    is_empty: bool,
    /// The caller's stream has ended: it is not asked again.
    is_over: bool,
}

impl Upload {
    pub(crate) fn new(source: Body) -> Self {
        Self {
            whole: source.whole().cloned(),
            kept: None,
            length: source.length(),
            is_empty: source.is_empty(),
            is_over: false,
            source,
        }
    }

    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    /// Whether it can be sent from its start again whatever was sent of it.
    pub(crate) fn is_replayable(&self) -> bool {
        self.is_empty || self.whole.is_some()
    }

    /// Back to the start. `unsent` was taken and nothing of it was written.
    pub(crate) fn rewind(&mut self, unsent: Bytes) {
        match &self.whole {
            Some(whole) => {
                self.source = whole.clone().into();
                self.is_over = false;
            }
            None if unsent.is_empty() => {}
            None => self.kept = Some(unsent),
        }
    }

    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if let Some(kept) = self.kept.take() {
            return Poll::Ready(Some(Ok(kept)));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.source.poll_chunk(cx));
        self.is_over = !matches!(chunk, Some(Ok(_)));
        Poll::Ready(chunk)
    }
}

/// What is to be written next: framing, content, framing.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) prefix: BytesMut,
    pub(crate) data: Bytes,
    pub(crate) suffix: &'static [u8],
    pub(crate) written: usize,
}

impl Outgoing {
    pub(crate) fn len(&self) -> usize {
        self.prefix.len() + self.data.len() + self.suffix.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.len()
    }

    /// Writes once.
    pub(crate) fn poll_write(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        let written = match self.parts() {
            [part, [], []] | [[], part, []] | [[], [], part] => ready!(stream.poll_write(cx, part)),
            parts => ready!(stream.poll_write_vectored(cx, &parts.map(IoSlice::new))),
        };
        Poll::Ready(match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            other => other,
        })
    }

    /// The unwritten parts.
    fn parts(&self) -> [&[u8]; 3] {
        let mut skip = self.written;
        [&self.prefix[..], &self.data[..], self.suffix].map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            &part[skipped..]
        })
    }

    pub(crate) fn clear(&mut self) {
        let prefix = std::mem::take(&mut self.prefix);
        if prefix.capacity() > 0 {
            buffer::put_write(prefix);
        }
        self.data = Bytes::new();
        self.suffix = b"";
        self.written = 0;
    }
}

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
        upload.rewind(Bytes::from_static(b"lo"));
        assert_eq!(next(&mut upload).unwrap(), "hello");
        assert_eq!(upload.length(), BodyLength::Known(5));
    }

    #[test]
    fn an_unwritten_piece_of_a_stream_is_kept() {
        let mut upload = Upload::new(Body::from_stream(Pieces(vec!["b", "a"])));
        assert!(!upload.is_replayable());
        let length = upload.length();
        let first = next(&mut upload).unwrap();
        upload.rewind(first);
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
