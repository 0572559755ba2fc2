//! The text of an error about a limit of the codec.
//!
//! This file knows the codec's limits and errors only. Invariant: the text names the field of [`Limits`] and its value.

use crate::codec::{Limits, ProtocolError};

/// Returns the message of a protocol error. If the response exceeded a limit, the message names the limit, its value, and
/// the method that sets it.
#[cold]
pub(super) fn message(error: ProtocolError, limits: &Limits) -> String {
    let limit = match error {
        ProtocolError::HeadTooLarge => format!("head is {} bytes", limits.head),
        ProtocolError::TooManyFields => format!("fields is {}", limits.fields),
        ProtocolError::TooManyInformational => format!("informational is {}", limits.informational),
        ProtocolError::InformationalTooLarge => {
            format!("informational_bytes is {} bytes", limits.informational_bytes)
        }
        ProtocolError::ChunkExtensionsTooLarge => {
            format!("chunk_line is {} bytes, chunk_extensions {}", limits.chunk_line, limits.chunk_extensions)
        }
        ProtocolError::TrailersTooLarge => format!("trailers is {} bytes", limits.trailers),
        _ => return error.to_string(),
    };
    format!("{error} ({limit}: raise it with codec_limits)")
}
