//! What a request head is made of, before it is checked and written.
//!
//! Plain data, borrowed from the caller. Nothing here knows which heads may be sent.

use std::fmt;

use http::{HeaderMap, Method};

use super::framing::BodyLength;
use super::shown::FieldNames;
use super::target::Target;

/// The head of a request, borrowed from wherever its parts live.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method, sent as it is.
    pub method: &'a Method,
    /// What follows the method.
    pub target: Target<'a>,
    /// The value of the Host field; a Host among `headers` replaces it. Where the target names a host too, it is the
    /// caller's to say the same: only a Host among `headers` is compared.
    pub host: Option<&'a [u8]>,
    /// All other fields. Framing fields among them are checked against `body` and never sent twice; those that concern
    /// only the connection (`te`, `upgrade`, `keep-alive`, `http2-settings`) are named in a Connection field, which is
    /// added if the caller's own does not name them.
    pub headers: &'a HeaderMap,
    /// The length of the body.
    pub body: BodyLength,
    /// Whether to say `Connection: close`, if `headers` do not say it; they may not say `keep-alive` then. It may be
    /// the caller's word or a client's own setting, such as to keep no idle connections: a contradiction is therefore
    /// [`Misuse::CloseContradicted`], not a fault of the headers alone.
    pub close: bool,
    /// Trailers that are known beforehand. They are checked with the head and announced in it, and make the body
    /// chunked whatever `body` says; give them to [`Machine::encode_end`](super::Machine::encode_end) again. An empty
    /// map is none.
    pub trailers: Option<&'a HeaderMap>,
}

impl<'a> RequestHead<'a> {
    /// A head without a body, trailers or `close`; its fields are public for everything else.
    #[must_use]
    pub fn new(
        method: &'a Method,
        target: Target<'a>,
        host: Option<&'a [u8]>,
        headers: &'a HeaderMap,
    ) -> Self {
        Self { method, target, host, headers, body: BodyLength::None, close: false, trailers: None }
    }

    /// The trailers that are known beforehand, if there are any.
    pub(super) fn known_trailers(&self) -> Option<&'a HeaderMap> {
        self.trailers.filter(|trailers| !trailers.is_empty())
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// The fields by their names alone: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("target", &self.target)
            .field("host", &self.host.map(String::from_utf8_lossy))
            .field("headers", &FieldNames(self.headers))
            .field("body", &self.body)
            .field("close", &self.close)
            .field("trailers", &self.trailers.map(FieldNames))
            .finish()
    }
}
