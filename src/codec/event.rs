//! The parts of a response, as a machine returns them.
//!
//! This module knows no state. Invariant: the `Debug` text of an event shows no content and no field value.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

use super::response::ResponseHead;
use super::shown::{FieldNames, Size};

/// A part of a response, as [`Machine::decode`](super::Machine::decode) returns it.
#[non_exhaustive]
pub enum Event {
    /// The head of an interim (1xx) response, but never of a 101. More interim responses or the final response follow.
    Informational(ResponseHead),
    /// The head of the final response, or of a 101. After a 101, the connection carries a protocol that the request
    /// offered.
    Head(ResponseHead),
    /// A piece of the body. The piece is never empty, and shares the memory of the buffer in which it arrived.
    Data(Bytes),
    /// The trailers of a chunked body, without the fields whose names cannot be trailers. This event is left out if no
    /// field remains.
    Trailers(HeaderMap),
    /// The end of the response. This event is the last event and is returned once.
    End,
}

impl fmt::Debug for Event {
    /// Shows only the length of content and the names of fields, because content and field values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Informational(head) => f.debug_tuple("Informational").field(head).finish(),
            Self::Head(head) => f.debug_tuple("Head").field(head).finish(),
            Self::Data(data) => f.debug_tuple("Data").field(&Size(data.len())).finish(),
            Self::Trailers(trailers) => f.debug_tuple("Trailers").field(&FieldNames(trailers)).finish(),
            Self::End => f.write_str("End"),
        }
    }
}
