//! This module checks and writes request heads.
//!
//! This module knows neither the connection nor the response. Invariant: for any arguments of the caller, either one
//! well-framed head is written, or an error is returned and nothing is written.

use bytes::{BufMut, BytesMut};
use http::Method;

use super::error::Misuse;
use super::fields::{Fields, is_written_separately};
use super::framing::BodyLength;
use super::grammar::{CRLF, Decimal, SEPARATOR, put_field};
use super::request::RequestHead;
use super::target::is_host;
use super::trailers;
use super::upgrade::Offer;

/// The facts about a written head that the machine needs.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Announced length of the body, with the caller's framing fields taken into account.
    pub(super) body: BodyLength,
    /// Whether the head says `Connection: close`.
    pub(super) says_close: bool,
    pub(super) expects_continue: bool,
    /// The protocols that the Upgrade field offers.
    pub(super) offer: Option<Offer>,
}

/// Checks a head and appends it to `dst`.
pub(super) fn encode(request: &RequestHead<'_>, dst: &mut BytesMut) -> Result<Encoded, Misuse> {
    let method = request.method.as_str().as_bytes();
    let target = request.target.parts(request.method)?;
    let fields = Fields::check(request)?;
    request.known_trailers().map_or(Ok(()), trailers::check)?;
    let host = checked_host(request, &fields)?;
    let body = body_length(request, &fields)?;
    fields.check_with_body(request, body)?;
    let digits;
    let (framing_name, framing_value): (&[u8], &[u8]) = match announced(request.method, body, &fields) {
        Announcement::Nothing => (b"", b""),
        Announcement::Chunked => (b"transfer-encoding", b"chunked"),
        Announcement::Length(length) => {
            digits = Decimal::new(length);
            (b"content-length", digits.as_bytes())
        }
    };

    // The size of the request line and of all ordinary fields is counted first, so that one reservation suffices.
    let target_size: usize = target.iter().map(|part| part.len()).sum();
    let size = method.len() + 1 + target_size + BEFORE_HOST.len() + host.len() + CRLF.len() + fields.size;
    let unannounced = || trailers::unannounced(request.known_trailers(), request.headers);
    let has_lists = fields.misses_options() || request.known_trailers().is_some();
    let lists_size =
        if has_lists { list_size(fields.missing_options()) + list_size(unannounced()) } else { 0 };
    let framing_size = match framing_name.len() {
        0 => 0,
        length => length + SEPARATOR.len() + framing_value.len(),
    };
    let begin = dst.len();
    // Four line ends are reserved: one for each of the two lists, one for the framing field, and one for the head.
    dst.reserve(size + lists_size + framing_size + 4 * CRLF.len());
    dst.resize(begin + size, 0);
    put_ordinary(request, target, host, &mut dst[begin..]);
    if has_lists {
        put_list(fields.missing_options(), dst);
        put_list(unannounced(), dst);
    }
    if !framing_name.is_empty() {
        put_field(framing_name, framing_value, dst);
    }
    dst.extend_from_slice(CRLF);
    if let Some(spelling) = request.spelling {
        spelling.spell(&mut dst[begin..]);
    }
    Ok(Encoded {
        body,
        says_close: fields.says_close(),
        expects_continue: fields.expects_continue,
        offer: fields.has_upgrade.then(|| Offer::of(request.headers)),
    })
}

/// Checks the Host field and returns its value.
#[inline]
fn checked_host<'a>(request: &RequestHead<'a>, fields: &Fields<'a>) -> Result<&'a [u8], Misuse> {
    let host = fields.host.or(request.host).ok_or(Misuse::NoHost)?;
    // An empty Host is allowed only for a target without an authority.
    let is_missing = host.is_empty() && request.host.is_some_and(|host| !host.is_empty());
    if is_missing || !(host.is_empty() || is_host(host)) {
        return Err(Misuse::BadHost);
    }
    // > If the target URI includes an authority component, then a client MUST send a field value for Host that is
    // > identical to that authority component, excluding any userinfo
    // <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>. A target in the absolute or authority form shows the server
    // the host a second time.
    if let Some(host) = fields.host
        && let Some(authority) = request.target.authority()
        && !host.eq_ignore_ascii_case(authority)
    {
        return Err(Misuse::HostMismatch);
    }
    Ok(host)
}

/// Writes the request line, the Host field and all fields that are sent unchanged. These bytes fill `room` completely.
#[inline]
fn put_ordinary(request: &RequestHead<'_>, target: [&[u8]; 5], host: &[u8], room: &mut [u8]) {
    let mut head = Room(room);
    head.put(request.method.as_str().as_bytes());
    head.put(b" ");
    target.iter().filter(|part| !part.is_empty()).for_each(|part| head.put(part));
    // > a user agent SHOULD send Host as the first field in the header section following the request-line
    // <https://www.rfc-editor.org/rfc/rfc9110#section-7.2>
    head.put(BEFORE_HOST);
    head.put(host);
    head.put(CRLF);
    for (name, value) in request.headers {
        let name = name.as_str();
        if !is_written_separately(name) {
            head.put(name.as_bytes());
            head.put(SEPARATOR);
            head.put(value.as_bytes());
            head.put(CRLF);
        }
    }
    debug_assert!(head.0.is_empty(), "the head is shorter than the bytes that were reserved for it");
}

/// Returns the length of the body, with the caller's framing fields taken into account.
fn body_length(request: &RequestHead<'_>, fields: &Fields<'_>) -> Result<BodyLength, Misuse> {
    let has_trailers = request.known_trailers().is_some();
    let body = match (request.body, fields.length) {
        (_, Some(_)) if has_trailers => return Err(Misuse::TrailersWithoutChunked),
        (_, None) if has_trailers => BodyLength::Chunked,
        (_, None) if fields.is_chunked => BodyLength::Chunked,
        (BodyLength::Chunked, Some(length)) => BodyLength::Known(length),
        (BodyLength::Known(length), Some(said)) if said != length => {
            return Err(Misuse::ContentLengthMismatch);
        }
        (BodyLength::None, Some(1..)) => return Err(Misuse::ContentLengthMismatch),
        (body, _) => body,
    };
    // > A client MUST NOT send content in a TRACE request.
    // <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.8>. A server would take content after CONNECT for bytes of
    // the tunnel.
    let is_empty = matches!(body, BodyLength::None | BodyLength::Known(0));
    if !is_empty && matches!(*request.method, Method::TRACE | Method::CONNECT) {
        return Err(Misuse::BodyNotAllowed);
    }
    Ok(body)
}

/// The statement of the head about the body's length.
enum Announcement {
    Nothing,
    Length(u64),
    Chunked,
}

/// Returns how to announce a body of this length.
///
/// > A user agent SHOULD send Content-Length in a request when the method defines a meaning for enclosed content and
/// > it is not sending Transfer-Encoding [...] even when the value is 0
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-8.6>
fn announced(method: &Method, body: BodyLength, fields: &Fields<'_>) -> Announcement {
    match body {
        BodyLength::Chunked => Announcement::Chunked,
        BodyLength::None | BodyLength::Known(0) if matches!(*method, Method::TRACE | Method::CONNECT) => {
            Announcement::Nothing
        }
        BodyLength::Known(length) => Announcement::Length(length),
        BodyLength::None if fields.length.is_some() => Announcement::Length(0),
        BodyLength::None => match *method {
            Method::POST | Method::PUT | Method::PATCH | Method::QUERY => Announcement::Length(0),
            _ => Announcement::Nothing,
        },
    }
}

/// Reserved bytes that have not been written yet.
struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (room, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        room.copy_from_slice(bytes);
        self.0 = rest;
    }
}

/// Returns the size of a list. Each element comes with the text that is written before it.
fn list_size<'a>(elements: impl Iterator<Item = (&'a str, &'static str)>) -> usize {
    elements.map(|(name, before)| before.len() + name.len()).sum()
}

/// Appends a list and the end of its line. Each element comes with the text that is written before it.
fn put_list<'a>(elements: impl Iterator<Item = (&'a str, &'static str)>, dst: &mut BytesMut) {
    let mut is_there = false;
    for (name, before) in elements {
        dst.put_slice(before.as_bytes());
        dst.put_slice(name.as_bytes());
        is_there = true;
    }
    if is_there {
        dst.put_slice(CRLF);
    }
}

const BEFORE_HOST: &[u8] = b" HTTP/1.1\r\nhost: ";

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
