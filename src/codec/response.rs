//! The head of a response as it is handed over, and its fields, which are made when somebody asks for them.
//!
//! It knows the bytes of one head, and neither its framing nor its connection. Invariant: the bytes were judged when
//! they were read, to the last one, so that nothing can fail here; and they are never changed.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode, Version};

use super::error::ProtocolError;
use super::field_map::FieldMap;
use super::grammar::find_lf;
use super::names::Names;
use super::shown::{FieldNames, Size};

/// The head of a response, interim or final.
#[derive(Clone)]
#[non_exhaustive]
pub struct ResponseHead {
    /// 100 to 999: codes beyond 599 are handed over as they came, and are no success.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1; a higher minor version is read as 1.1.
    pub version: Version,
    fields: OnceLock<FieldMap>,
    raw: Bytes,
}

impl ResponseHead {
    /// Of bytes that `head` has accepted.
    pub(super) fn new(status: StatusCode, version: Version, raw: Bytes) -> Self {
        Self { status, version, fields: OnceLock::new(), raw }
    }

    /// The fields, in order per name. Their values share the buffer that the head arrived in.
    ///
    /// They are put into a map by the first call. A head whose fields nobody asks for has none.
    pub fn headers(&self) -> &HeaderMap {
        self.fields.get_or_init(|| self.read())
    }

    /// The same, to change.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        if self.fields.get().is_none() {
            self.fields = self.read().into();
        }
        self.fields.get_mut().expect("they were read")
    }

    /// The same, to keep.
    #[must_use]
    pub fn into_headers(mut self) -> HeaderMap {
        self.fields.take().unwrap_or_else(|| self.read()).take()
    }

    /// The fields in the order in which they came, with their names as they were written: the same as
    /// [`headers`](Self::headers), unless those were changed.
    pub fn raw_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        raw_fields(&self.raw)
    }

    /// The bytes of the whole head, as they came, but with spaces for each fold, and with the minor version that was
    /// read. [`raw_fields`](Self::raw_fields) takes them apart.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The reason phrase, if it is not the usual one of the status.
    #[must_use]
    pub fn reason(&self) -> Option<&[u8]> {
        let code = self.raw.get(STATUS_LINE_CODE..STATUS_LINE_CODE + 3).unwrap_or_default();
        let usual = StatusCode::from_bytes(code).ok().and_then(|status| status.canonical_reason());
        let phrase = self.raw.get(STATUS_LINE_CODE + 3..).unwrap_or_default();
        let phrase = phrase.strip_prefix(b" ").unwrap_or(phrase);
        let phrase = &phrase[..find_lf(phrase).unwrap_or(phrase.len())];
        let phrase = phrase.strip_suffix(b"\r").unwrap_or(phrase);
        (phrase != usual.unwrap_or_default().as_bytes()).then_some(phrase)
    }

    fn read(&self) -> FieldMap {
        let mut fields = FieldMap::default();
        let stored = Names::with(|names| {
            self.raw_fields().try_for_each(|(name, value)| store(&self.raw, name, value, names, &mut fields))
        });
        debug_assert_eq!(stored, Ok(()), "the head was judged when it was read");
        fields
    }
}

impl fmt::Debug for ResponseHead {
    /// The fields by their names alone: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("headers", &FieldNames(self.headers()))
            .field("raw", &Size(self.raw.len()))
            .finish()
    }
}

/// The lines of a head behind its first, each cut into name and value.
fn raw_fields(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = raw;
    let lines = std::iter::from_fn(move || {
        let (line, after) = rest.split_at(find_lf(rest)? + 1);
        rest = after;
        Some(line)
    });
    // Only the empty line has no colon. A CR cannot be but at a line's end, nor other whitespace around a value.
    lines.skip(1).map_while(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// Appends one field of a section. Its name is copied only if it is not a standard one and was not read lately, its
/// value never; there is no whitespace around it: <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>.
pub(super) fn store(
    section: &Bytes,
    name: &[u8],
    value: &[u8],
    names: &mut Names,
    map: &mut HeaderMap,
) -> Result<(), ProtocolError> {
    let name = names.name(name)?;
    let value = HeaderValue::from_maybe_shared(section.slice_ref(value));
    let value = value.map_err(|_| ProtocolError::BadFieldValue)?;
    map.try_append(name, value).map_err(|_| ProtocolError::TooManyFields)?;
    Ok(())
}

/// Where the status code stands: behind `HTTP/1.1 `.
const STATUS_LINE_CODE: usize = 9;
