//! Encoders of content codings for tests. The integration tests use this file too.

#![allow(clippy::unwrap_used, reason = "a test")]

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder};

/// Returns `plain` encoded in the coding of this name.
pub(crate) fn encode(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => run(GzipEncoder::new(Level::Default.into()), plain),
        "deflate" => run(ZlibEncoder::new(Level::Default.into()), plain),
        "br" => run(BrotliEncoder::new(EncoderParams::default()), plain),
        "zstd" => zstd(3, plain),
        _ => panic!("{coding}"),
    }
}

/// Returns `plain` encoded as deflate without the zlib format.
pub(crate) fn raw_deflate(plain: &[u8]) -> Vec<u8> {
    run(DeflateEncoder::new(Level::Default.into()), plain)
}

/// Returns `plain` encoded as zstd of this level. A higher level has a larger window.
pub(crate) fn zstd(level: i32, plain: &[u8]) -> Vec<u8> {
    run(ZstdEncoder::new(level), plain)
}

fn run(mut encoder: impl EncodeV2, plain: &[u8]) -> Vec<u8> {
    let (mut out, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    let mut source = PartialBuffer::new(plain);
    loop {
        let mut target = WriteBuffer::new_initialized(&mut piece);
        let is_over = match source.unwritten().is_empty() {
            false => encoder.encode(&mut source, &mut target).map(|()| false),
            true => encoder.finish(&mut target),
        };
        out.extend_from_slice(target.written());
        if is_over.unwrap() {
            return out;
        }
    }
}
