//! Decompression: the codings that a request asks for, and whether the content of its response is decoded.
//!
//! This module decodes nothing: [`Body`](crate::body::Body) decodes the content while the caller reads. Invariants: a
//! field that the caller has set is never replaced. A response whose content is decoded has no fields that describe the
//! encoded content.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::head::has;
use super::{Environment, Hop, Settings};
use crate::body::coding::{Codings, MOST, Plan, plan};
use crate::error::{Error, Result};
use crate::exchange::timeout::Deadline;
use crate::response::Response;

/// Adds `Accept-Encoding`, unless the caller has set this field or asks for a part of the content. A part of encoded
/// content cannot be decoded.
///
/// # Errors
///
/// If the request has too many fields.
#[inline]
pub(super) fn ask(
    env: &Environment,
    method: &Method,
    headers: &mut HeaderMap,
    settings: &Settings,
) -> Result<()> {
    let Some(accepted) = env.accepted.as_ref().filter(|_| !settings.is_raw) else { return Ok(()) };
    let is_tunnel = *method == Method::CONNECT;
    if is_tunnel || has(headers, &ACCEPT_ENCODING) || has(headers, &RANGE) {
        return Ok(());
    }
    match headers.try_append(ACCEPT_ENCODING, accepted.clone()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::request("the request has too many header fields: send fewer")),
    }
}

/// Returns the response, whose content is decoded if it has codings that the client decodes. `deadline` is the request's
/// total deadline.
#[inline]
pub(super) fn decode(call: &Hop<'_>, response: Response, deadline: Option<Deadline>) -> Response {
    if Codings::BUILT.is_empty() || !response.is_coded() {
        return response;
    }
    decode_coded(call, response, deadline)
}

#[cold]
fn decode_coded(call: &Hop<'_>, mut response: Response, deadline: Option<Deadline>) -> Response {
    let (head, body) = response.parts_mut();
    if call.settings.is_raw
        || head.upgraded.is_some()
        || !has_whole_content(call.method, head.received.status)
        || http_body::Body::is_end_stream(body)
    {
        return response;
    }
    let (take, written) = (std::mem::take::<crate::body::Body>, head.written);
    let measured = head.measured.clone();
    match plan(head.received.headers(), call.env.request.codings) {
        Plan::AsItCame => {}
        Plan::Decode(codings) => {
            let headers = head.received.headers_mut();
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
            head.content_length = None;
            *body = take(body).decoded(&codings, deadline, written, measured);
        }
        Plan::TooMany(count) => {
            let message = format!(
                "the server sent content with {count} codings, and at most {MOST} are decoded: \
                 decompress(false) hands it over as it came"
            );
            *body = take(body).refused(message, written, measured);
        }
    }
    response
}

/// Whether a response has content, and all of it: <https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1>. A part of
/// encoded content cannot be decoded: <https://www.rfc-editor.org/rfc/rfc9110#section-14.2>.
fn has_whole_content(method: &Method, status: StatusCode) -> bool {
    let has_none = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    !has_none && status != StatusCode::PARTIAL_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_content_is_decoded() {
        for (method, status, is_decoded) in [
            ("GET", 200, true),
            ("POST", 404, true),
            ("GET", 302, true),
            ("HEAD", 200, false),
            ("GET", 101, false),
            ("GET", 204, false),
            ("GET", 206, false),
            ("GET", 304, false),
        ] {
            let (method, code) = (method.parse().unwrap(), StatusCode::from_u16(status).unwrap());
            assert_eq!(has_whole_content(&method, code), is_decoded, "CE-01: {method} {status}");
        }
    }
}
