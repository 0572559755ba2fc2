//! The head of a response, whose fields are put into a map when the caller asks for them.
//!
//! This module knows the bytes of one head. The module knows neither the framing nor the connection of that head.
//! Invariant: all bytes of a head are checked before the head is made, so that no method of the head can fail. The
//! bytes are never changed.

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
    /// Status code, 100 to 999. Codes above 599 are passed on unchanged.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1. A higher minor version is read as 1.1.
    pub version: Version,
    /// Whether the head has a `Content-Encoding` field. The flag is stored, so that this question needs no map of the
    /// fields.
    is_coded: bool,
    /// Whether a field line was mended, so that spaces may follow the reason phrase.
    is_mended: bool,
    fields: OnceLock<FieldMap>,
    raw: Bytes,
}

impl ResponseHead {
    /// Creates a head that did not come over a connection.
    pub(crate) fn made(status: StatusCode, version: Version, headers: HeaderMap) -> Self {
        Self {
            status,
            version,
            fields: OnceLock::from(FieldMap::from(headers)),
            raw: Bytes::new(),
            is_coded: false,
            is_mended: false,
        }
    }

    /// Creates a head from bytes that the module `head` has accepted.
    pub(super) fn new(
        status: StatusCode,
        version: Version,
        is_coded: bool,
        is_mended: bool,
        raw: Bytes,
    ) -> Self {
        Self { status, version, is_coded, is_mended, fields: OnceLock::new(), raw }
    }

    /// Whether the head had a `Content-Encoding` field when it came.
    #[inline]
    pub(crate) fn is_coded(&self) -> bool {
        self.is_coded
    }

    /// Returns the header fields.
    ///
    /// Names are lower case. The values of one name keep the order in which they came, and share the memory of the
    /// buffer in which the head arrived. The first call makes the map, so that a head costs no map if its fields are
    /// never read.
    pub fn headers(&self) -> &HeaderMap {
        self.fields.get_or_init(|| self.read())
    }

    /// Returns the header fields, mutably.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        if self.fields.get().is_none() {
            self.fields = self.read().into();
        }
        self.fields.get_mut().expect("the fields are read")
    }

    /// Returns the header fields. Drops the bytes of the head and the status.
    #[must_use]
    pub fn into_headers(mut self) -> HeaderMap {
        self.fields.take().unwrap_or_else(|| self.read()).take()
    }

    /// Returns the names and values of the fields in the order in which they came. The names are spelled as in the
    /// server's bytes.
    ///
    /// These names and values do not show changes that were made through [`headers_mut`](Self::headers_mut).
    pub fn raw_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        raw_fields(&self.raw)
    }

    /// Returns the first value of a field. Makes no map of fields.
    #[allow(dead_code, reason = "only the feature `charset` uses this function")]
    pub(crate) fn first(&self, name: &http::HeaderName) -> Option<&[u8]> {
        match self.fields.get() {
            Some(fields) => fields.get(name).map(HeaderValue::as_bytes),
            None => {
                let is_named = |field: &[u8]| field.eq_ignore_ascii_case(name.as_str().as_bytes());
                self.raw_fields().find(|(field, _)| is_named(field)).map(|(_, value)| value)
            }
        }
    }

    /// Returns the bytes of the whole head as they came, with these exceptions: spaces replace each fold, and 1 replaces
    /// a minor version above 1. If [`Leniency`](super::Leniency) allows the departure, spaces replace a line that is not a
    /// field, and a colon after blanks changes places with the first of these blanks. [`raw_fields`](Self::raw_fields)
    /// returns the fields in these bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Returns the reason phrase, or `None` if the phrase is the standard phrase of the status code.
    #[must_use]
    pub fn reason(&self) -> Option<&[u8]> {
        let code = self.raw.get(STATUS_LINE_CODE..STATUS_LINE_CODE + 3).unwrap_or_default();
        let usual = StatusCode::from_bytes(code).ok().and_then(|status| status.canonical_reason());
        let phrase = self.raw.get(STATUS_LINE_CODE + 3..).unwrap_or_default();
        let phrase = phrase.strip_prefix(b" ").unwrap_or(phrase);
        let phrase = &phrase[..find_lf(phrase).unwrap_or(phrase.len())];
        let phrase = phrase.strip_suffix(b"\r").unwrap_or(phrase);
        let phrase = if self.is_mended { phrase.trim_ascii_end() } else { phrase };
        (phrase != usual.unwrap_or_default().as_bytes()).then_some(phrase)
    }

    /// Makes the map of fields.
    fn read(&self) -> FieldMap {
        let mut fields = FieldMap::default();
        let stored = Names::with(|names| {
            self.raw_fields().try_for_each(|(name, value)| store(&self.raw, name, value, names, &mut fields))
        });
        debug_assert_eq!(stored, Ok(()), "the head was checked before");
        fields
    }
}

impl fmt::Debug for ResponseHead {
    /// Shows only the names of fields, because their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("headers", &FieldNames(self.headers()))
            .field("raw", &Size(self.raw.len()))
            .finish()
    }
}

/// Returns all lines of a head except the status line, each split into name and value.
fn raw_fields(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = raw;
    let lines = std::iter::from_fn(move || {
        let (line, after) = rest.split_at(find_lf(rest)? + 1);
        rest = after;
        Some(line)
    });
    // Only the empty line has no colon. A CR stands only at the end of a line.
    lines.skip(1).map_while(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// Appends one field of a section to a map.
///
/// The value is never copied. The name is copied only if the name is neither standard nor cached. `value` has no
/// whitespace around it: <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>.
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

/// Index of the status code in a head: the length of `HTTP/1.1 `.
const STATUS_LINE_CODE: usize = 9;
