//! Conversions of the caller's types to a [`Body`].
//!
//! This module does no I/O. Invariant: bytes are never copied, except for a borrowed text or slice that is not static.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;

use super::Body;
use super::source::Opened;
use crate::error::{BoxError, Result};

impl Body {
    /// Creates a body from a stream of pieces. This method is [`from_stream`](Self::from_stream) under its name in
    /// reqwest.
    pub fn wrap_stream<S, B, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self::from_stream(stream)
    }
}

/// Sends the rest of an open file, from its current position to its end, in chunks.
///
/// The length of the content is not announced, and the request is sent again only if nothing was read from the file. Use
/// [`Body::from_file`] to send a whole file with its length.
impl From<tokio::fs::File> for Body {
    fn from(file: tokio::fs::File) -> Self {
        Self::from_stream(Opened::new(file))
    }
}

impl From<BytesMut> for Body {
    fn from(bytes: BytesMut) -> Self {
        bytes.freeze().into()
    }
}

impl From<Box<[u8]>> for Body {
    fn from(bytes: Box<[u8]>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Box<str>> for Body {
    fn from(text: Box<str>) -> Self {
        String::from(text).into()
    }
}

impl From<Cow<'static, str>> for Body {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Cow<'static, [u8]>> for Body {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}
