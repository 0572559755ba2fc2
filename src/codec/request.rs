//! The parts of a request head, before the head is checked and written.
//!
//! The types are plain data, borrowed from the caller. This module does not know which heads may be sent.

use std::fmt;

use http::{HeaderMap, Method};

use super::framing::BodyLength;
use super::shown::FieldNames;
use super::spelling::Spelling;
use super::target::Target;

/// The head of a request, borrowed from the caller.
///
/// ```
/// use handclasp::codec::{BodyLength, RequestHead, Target};
/// use http::{HeaderMap, Method};
///
/// let headers = HeaderMap::new();
/// let mut request = RequestHead::new(&Method::PUT, Target::Origin("/a"), Some(b"example.org"), &headers);
/// request.body = BodyLength::Known(5);
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// Method, sent unchanged.
    pub method: &'a Method,
    /// Request target, which follows the method.
    pub target: Target<'a>,
    /// Value of the Host field. A Host field among [`headers`](Self::headers) replaces this value. If the target also
    /// names a host, the caller must pass the same host here, because the codec compares only a Host field among
    /// `headers` with the target.
    pub host: Option<&'a [u8]>,
    /// All other fields. Framing fields among these headers are checked against [`body`](Self::body) and never sent
    /// twice. Fields that concern only this connection (`te`, `upgrade`, `keep-alive`, `http2-settings`) are named in a
    /// Connection field. The codec adds the Connection field if the headers have no
    /// such field.
    pub headers: &'a HeaderMap,
    /// Length of the body.
    pub body: BodyLength,
    /// Whether to send `Connection: close`. The field is sent once, even if the headers say `close` already. A head
    /// whose headers say `keep-alive` is refused with [`Misuse::CloseContradicted`](super::Misuse::CloseContradicted).
    pub close: bool,
    /// Trailers that are known before the body is sent. The codec checks these trailers with the head and announces
    /// them in the head. The trailers make the body chunked, whatever [`body`](Self::body) says. Pass the trailers to
    /// [`Machine::encode_end`](super::Machine::encode_end) again. An empty map means no trailers.
    pub trailers: Option<&'a HeaderMap>,
    /// Spelling of the names of all fields. With `None`, names are in lower case. Trailers are always in lower case.
    pub spelling: Option<&'a Spelling>,
}

impl<'a> RequestHead<'a> {
    /// Creates a head without a body, without trailers, without `close` and with names in lower case. Set the public
    /// fields to add a body, trailers, `close` or a spelling.
    #[must_use]
    pub fn new(
        method: &'a Method,
        target: Target<'a>,
        host: Option<&'a [u8]>,
        headers: &'a HeaderMap,
    ) -> Self {
        let (body, close) = (BodyLength::None, false);
        Self { method, target, host, headers, body, close, trailers: None, spelling: None }
    }

    /// Returns the trailers that are known before the body is sent, or `None` if no trailers are known.
    #[inline]
    pub(super) fn known_trailers(&self) -> Option<&'a HeaderMap> {
        self.trailers.filter(|trailers| !trailers.is_empty())
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Shows only the names of fields, because their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("target", &self.target)
            .field("host", &self.host.map(String::from_utf8_lossy))
            .field("headers", &FieldNames(self.headers))
            .field("body", &self.body)
            .field("close", &self.close)
            .field("trailers", &self.trailers.map(FieldNames))
            .field("spelling", &self.spelling)
            .finish()
    }
}
