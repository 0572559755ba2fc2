//! Trailer fields: which names a trailer can have in a request or a response, and how trailers are announced and
//! written.
//!
//! This module knows neither chunks nor connections. Invariant: no field that decides how a message is framed, routed,
//! authenticated or understood is sent or received as a trailer.

use bytes::{BufMut, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, TRAILER};

use super::error::Misuse;
use super::grammar::{CRLF, LAST_CHUNK, check_value, elements, is_token, put_field};

/// Whether a field of this name cannot be a trailer.
///
/// > Many fields cannot be processed outside the header section because their evaluation is necessary prior to
/// > receiving the content, such as those that describe message framing, routing, authentication, request modifiers,
/// > response controls, or content format.
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>. Cookie fields are forbidden because they authenticate.
/// Fields that concern the connection are forbidden because they take effect before the content. ETag, Accept-Ranges
/// and Authentication-Info are allowed, because the definitions of these fields allow trailers.
pub(super) fn is_forbidden(name: &[u8]) -> bool {
    FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}

/// Checks the value of a Trailer field that the caller has set.
pub(super) fn check_announcement(value: &[u8]) -> Result<(), Misuse> {
    let is_good = elements(value).all(|name| is_token(name) && !is_forbidden(name));
    if is_good { Ok(()) } else { Err(Misuse::BadTrailer) }
}

/// Checks the trailers of a request.
///
/// > A sender MUST NOT generate a trailer field unless the sender knows the corresponding header field name's
/// > definition permits [...]
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>
pub(super) fn check(trailers: &HeaderMap) -> Result<(), Misuse> {
    for (name, value) in trailers {
        if is_forbidden(name.as_str().as_bytes()) {
            return Err(Misuse::BadTrailer);
        }
        check_value(value.as_bytes())?;
    }
    Ok(())
}

/// Returns the names of the trailers that no Trailer field of the caller announces. Each name comes with the text that
/// is written before it.
///
/// > a sender SHOULD generate a Trailer header field before the content to indicate which fields might be present in
/// > the trailers.
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-6.6.2>
pub(super) fn unannounced<'a>(
    trailers: Option<&'a HeaderMap>,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = (&'a str, &'static str)> {
    let is_announced = |name: &HeaderName| {
        let mut said = headers.get_all(TRAILER).iter().flat_map(|value| elements(value.as_bytes()));
        said.any(|said| said.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    let names = trailers.into_iter().flat_map(HeaderMap::keys).filter(move |name| !is_announced(name));
    names.map(HeaderName::as_str).zip(std::iter::once("trailer: ").chain(std::iter::repeat(", ")))
}

/// Checks the trailers, then appends the last chunk, the trailers, and the empty line that ends a chunked body.
pub(super) fn encode(trailers: Option<&HeaderMap>, dst: &mut BytesMut) -> Result<(), Misuse> {
    trailers.map_or(Ok(()), check)?;
    dst.put_slice(LAST_CHUNK);
    for (name, value) in trailers.into_iter().flatten() {
        put_field(name.as_str().as_bytes(), value.as_bytes(), dst);
    }
    dst.put_slice(CRLF);
    Ok(())
}

const FORBIDDEN: [&str; 40] = [
    // These fields frame or route the message.
    "content-length",
    "host",
    "transfer-encoding",
    // These fields concern the connection.
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    // These fields authenticate a party.
    "authorization",
    "cookie",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "www-authenticate",
    // These fields modify the request: controls, conditions and preferences.
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "range",
    // These fields control the use of the response.
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    // These fields describe the format of the content.
    "content-encoding",
    "content-range",
    "content-type",
    "trailer",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_fields_may_be_trailers() {
        for name in FORBIDDEN {
            assert!(is_forbidden(name.to_ascii_uppercase().as_bytes()), "R-9110-6.5.1-1: {name}");
        }
        for name in
            ["etag", "server-timing", "digest", "x-checksum", "accept-ranges", "authentication-info", ""]
        {
            assert!(!is_forbidden(name.as_bytes()), "{name}");
        }
    }
}
