//! Chains of decoders of content codings, without I/O.
//!
//! A [`Chain`] takes encoded content and returns decoded pieces. No other file uses the crate that decodes. Invariants:
//! a step takes and returns at most [`PIECE`] bytes, so that the work of one poll is bounded. Memory does not grow with
//! the content: a stage holds one piece and the window of its decoder.

use std::fmt;
use std::io;

use bytes::{Buf, Bytes};
use compression_codecs::DecodeV2;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};

use super::coding::Coding;

/// Largest number of bytes that one step takes, and largest number of bytes that one step returns.
pub(super) const PIECE: usize = 32 * 1024;

/// Result of a call of a [`Chain`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next piece of decoded content, which is not empty.
    Piece(Bytes),
    /// More content is needed.
    Hungry,
    /// The allowed number of steps was not enough for a piece.
    Busy,
    /// The content has ended.
    End,
}

/// Reason for which content cannot be decoded.
#[derive(Debug)]
pub(super) enum Failure {
    /// The bytes are not of this coding.
    Broken(Coding, io::Error),
    /// The content ended within this coding.
    Truncated(Coding),
    /// Bytes that do not belong to this coding follow the end of this coding.
    Surplus(Coding),
    /// The content is brotli with a window of more than 16 MiB. No browser accepts such a window, and RFC 7932 does not
    /// define it.
    #[cfg_attr(
        not(feature = "brotli"),
        allow(dead_code, reason = "no coding except brotli has windows of this size")
    )]
    LargeWindow,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(coding, _) => {
                write!(f, "the server sent content that is not valid {}", coding.name())
            }
            Self::Truncated(coding) => {
                write!(f, "the server sent {} content that ends too early", coding.name())
            }
            Self::Surplus(coding) => {
                write!(f, "the server sent other bytes after the end of the {} content", coding.name())
            }
            Self::LargeWindow => f.write_str("the server sent br content with a window of more than 16 MiB"),
        }?;
        f.write_str(": decompress(false) hands it over as it came")
    }
}

/// The decoders of one content.
pub(super) struct Chain {
    /// The first stage takes the encoded content. The last stage returns the decoded content.
    stages: Vec<Stage>,
}

impl Chain {
    /// Creates decoders of these codings, which are removed from the first to the last.
    pub(super) fn new(codings: &[Coding]) -> Self {
        Self { stages: codings.iter().map(|coding| Stage::new(*coding, PIECE)).collect() }
    }

    /// Decodes bytes of `wire`, and removes these bytes from `wire`. `is_over` says that no bytes follow `wire`.
    /// Subtracts the number of steps from `steps`.
    pub(super) fn next(&mut self, wire: &mut Bytes, is_over: bool, steps: &mut u32) -> Result<Next, Failure> {
        loop {
            let Some(last) = self.stages.last_mut() else { return Ok(Next::End) };
            if !last.held().is_empty() {
                return Ok(Next::Piece(last.take()));
            }
            if last.is_done {
                return Ok(Next::End);
            }
            let Some(at) = self.last_that_can_run(wire, is_over) else { return Ok(Next::Hungry) };
            if *steps == 0 {
                return Ok(Next::Busy);
            }
            *steps -= 1;
            let (before, rest) = self.stages.split_at_mut(at);
            match before.last_mut() {
                Some(feeder) => feeder.from += rest[0].run(feeder.held())?,
                None => wire.advance(rest[0].run(wire)?),
            }
        }
    }

    /// Returns the index of the last stage that can run. A stage runs before the stages that feed it, so that each stage
    /// holds at most one piece.
    fn last_that_can_run(&self, wire: &[u8], is_over: bool) -> Option<usize> {
        (0..self.stages.len()).rev().find(|&at| {
            let (input, is_over) = match at.checked_sub(1) {
                Some(feeder) => (self.stages[feeder].held(), self.stages[feeder].is_done),
                None => (wire, is_over),
            };
            !self.stages[at].needs(input, is_over)
        })
    }
}

/// The decoder of one coding, with its latest decoded piece.
struct Stage {
    coding: Coding,
    /// `None` before the first byte of content.
    decoder: Option<Box<dyn DecodeV2 + Send + Sync>>,
    /// The decoded piece: the bytes between `from` and `to`.
    piece: Box<[u8]>,
    from: usize,
    to: usize,
    /// Whether the decoder may hold more output, because its latest output filled the piece.
    is_full: bool,
    /// Whether a whole member was decoded and no byte of another member came.
    is_between: bool,
    /// Whether all content was decoded.
    is_done: bool,
    /// The failure that follows the piece. A piece that was decoded before a failure is returned, however the content
    /// was split.
    failure: Option<Failure>,
}

impl Stage {
    fn new(coding: Coding, size: usize) -> Self {
        let piece = vec![0; size].into_boxed_slice();
        Self {
            coding,
            decoder: None,
            piece,
            from: 0,
            to: 0,
            is_full: false,
            is_between: false,
            is_done: false,
            failure: None,
        }
    }

    fn held(&self) -> &[u8] {
        &self.piece[self.from..self.to]
    }

    /// Takes the decoded piece.
    fn take(&mut self) -> Bytes {
        let piece = Bytes::copy_from_slice(self.held());
        self.from = self.to;
        piece
    }

    /// Whether the stage cannot run before it gets more input.
    fn needs(&self, input: &[u8], is_over: bool) -> bool {
        self.is_done || (!self.is_full && input.is_empty() && !is_over && self.failure.is_none())
    }

    /// Decodes the next piece, and returns the number of bytes that were taken from `input`. If `input` is empty, no
    /// bytes follow it, unless the decoder holds output. The piece must have been taken.
    fn run(&mut self, input: &[u8]) -> Result<usize, Failure> {
        (self.from, self.to) = (0, 0);
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.is_full {
            return self.drain().map(|()| 0);
        }
        if input.is_empty() {
            return self.finish().map(|()| 0);
        }
        let input = &input[..input.len().min(PIECE)];
        self.begin(input[0])?;
        let Self { decoder: Some(decoder), piece, .. } = self else { return Ok(0) };
        let (mut source, mut target) =
            (PartialBuffer::new(input), WriteBuffer::new_initialized(&mut piece[..]));
        let outcome = decoder.decode(&mut source, &mut target);
        let (taken, to, is_full) = (source.written_len(), target.written_len(), target.has_no_spare_space());
        // A decoder that neither takes nor returns bytes would run for ever.
        let outcome = match outcome {
            Ok(false) if taken == 0 && to == 0 => Err(io::ErrorKind::InvalidData.into()),
            outcome => outcome,
        };
        self.settle(outcome, to, is_full).map(|()| taken)
    }

    /// Stores the results of a call of the decoder: whether a member has ended, and the size of the piece.
    fn settle(&mut self, outcome: io::Result<bool>, to: usize, is_full: bool) -> Result<(), Failure> {
        self.to = to;
        match outcome {
            Ok(is_over) => (self.is_full, self.is_between) = (is_full && !is_over, is_over),
            Err(error) if to == 0 => return Err(self.broken(error)),
            Err(error) => (self.is_full, self.failure) = (false, Some(self.broken(error))),
        }
        Ok(())
    }

    /// Makes a decoder ready for a byte of input. Several members of gzip, and several frames of zstd, are one content:
    /// <https://www.rfc-editor.org/rfc/rfc1952#section-2.2>, <https://www.rfc-editor.org/rfc/rfc8878#section-3.1>.
    fn begin(&mut self, first: u8) -> Result<(), Failure> {
        let Some(decoder) = &mut self.decoder else {
            self.decoder = Some(open(self.coding, first)?);
            return Ok(());
        };
        if !self.is_between {
            return Ok(());
        }
        let is_member = match self.coding {
            Coding::Gzip => first == 0x1f,
            // The first byte begins a frame or a skippable frame.
            Coding::Zstd => matches!(first, 0x28 | 0x50..=0x5f),
            Coding::Deflate | Coding::Brotli => false,
        };
        if !is_member {
            return Err(Failure::Surplus(self.coding));
        }
        self.is_between = false;
        let begun = decoder.reinit();
        begun.map_err(|error| self.broken(error))
    }

    /// Takes the output that the decoder still holds.
    fn drain(&mut self) -> Result<(), Failure> {
        let Self { decoder: Some(decoder), piece, .. } = self else { return Ok(()) };
        let mut target = WriteBuffer::new_initialized(&mut piece[..]);
        let outcome = match self.coding {
            // This decoder fails if it gets no input.
            Coding::Gzip | Coding::Deflate => decoder.flush(&mut target).map(|_| false),
            // This call notices the end of the content, which the call `flush` does not.
            Coding::Brotli | Coding::Zstd => decoder.decode(&mut PartialBuffer::new(&[][..]), &mut target),
        };
        let (to, is_full) = (target.written_len(), target.has_no_spare_space());
        self.settle(outcome, to, is_full)
    }

    /// Ends the content, unless it is incomplete. Content without a byte is complete.
    fn finish(&mut self) -> Result<(), Failure> {
        if let Some(decoder) = self.decoder.as_mut().filter(|_| !self.is_between) {
            let mut target = WriteBuffer::new_initialized(&mut self.piece[..]);
            if !matches!(decoder.finish(&mut target), Ok(true)) {
                return Err(Failure::Truncated(self.coding));
            }
            self.to = target.written_len();
        }
        self.is_done = true;
        Ok(())
    }

    fn broken(&self, error: io::Error) -> Failure {
        Failure::Broken(self.coding, error)
    }
}

/// Creates the decoder of a coding. `first` is the first byte of the content.
#[allow(unused_variables, clippy::unnecessary_wraps, reason = "not every coding is compiled in")]
fn open(coding: Coding, first: u8) -> Result<Box<dyn DecodeV2 + Send + Sync>, Failure> {
    match coding {
        #[cfg(feature = "gzip")]
        Coding::Gzip => Ok(Box::new(compression_codecs::GzipDecoder::new())),
        // The coding is zlib's format, but many servers send deflate alone. No encoder begins deflate with this byte:
        // <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.2>.
        #[cfg(feature = "deflate")]
        Coding::Deflate if first & 0x8f == 0x08 => Ok(Box::new(compression_codecs::ZlibDecoder::new())),
        #[cfg(feature = "deflate")]
        Coding::Deflate => Ok(Box::new(compression_codecs::DeflateDecoder::new())),
        #[cfg(feature = "brotli")]
        Coding::Brotli if first & 0x7f == 0x11 => Err(Failure::LargeWindow),
        #[cfg(feature = "brotli")]
        Coding::Brotli => Ok(Box::new(compression_codecs::BrotliDecoder::new())),
        // The coding has windows of at most 8 MiB: <https://www.rfc-editor.org/rfc/rfc9659#section-3>.
        #[cfg(feature = "zstd")]
        Coding::Zstd => {
            use compression_codecs::zstd::{ZstdDecoder, params::DParameter};
            Ok(Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(23)])))
        }
        #[allow(unreachable_patterns, reason = "reachable unless every feature is on")]
        _ => Err(Failure::Broken(coding, io::ErrorKind::Unsupported.into())),
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
