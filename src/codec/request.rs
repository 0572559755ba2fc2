//! Request heads: checking what the caller gave, and writing it.
//!
//! It knows nothing of the connection nor of the response. Invariant: what is written is one well-framed head whatever
//! the caller passed, and nothing at all is written when the caller is refused.

use std::fmt;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, Method, Uri};

use super::error::Misuse;
use super::fields::{Fields, is_written_separately};
use super::framing::BodyLength;
use super::shown::{FieldNames, WithoutUser};
use super::trailers;
use super::upgrade::Offer;

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

/// The four forms of a request target, <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Target<'a> {
    /// Path and query, for the origin itself. An empty path is sent as `/`.
    Origin(&'a str),
    /// The whole URI without its userinfo, for a proxy.
    Absolute(&'a Uri),
    /// `OPTIONS *` for a proxy: scheme and authority of the URI, nothing else.
    AbsoluteAsterisk(&'a Uri),
    /// Host and port, for CONNECT.
    Authority(&'a str),
    /// The server as a whole, for OPTIONS.
    Asterisk,
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

impl fmt::Debug for Target<'_> {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = |name, text: &str| f.debug_tuple(name).field(&WithoutUser(text)).finish();
        match self {
            Self::Origin(target) => f.debug_tuple("Origin").field(target).finish(),
            Self::Absolute(uri) => shown("Absolute", &uri.to_string()),
            Self::AbsoluteAsterisk(uri) => shown("AbsoluteAsterisk", &uri.to_string()),
            Self::Authority(authority) => shown("Authority", authority),
            Self::Asterisk => f.write_str("Asterisk"),
        }
    }
}

/// What became of a head that was written.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The framing that was announced, after the caller's own framing fields were considered.
    pub(super) body: BodyLength,
    /// The head says `Connection: close`.
    pub(super) says_close: bool,
    pub(super) expects_continue: bool,
    /// What was offered in Upgrade.
    pub(super) offer: Option<Offer>,
}

/// Checks the head and appends it to `dst`.
pub(super) fn encode(request: &RequestHead<'_>, dst: &mut BytesMut) -> Result<Encoded, Misuse> {
    let method = request.method.as_str().as_bytes();
    let target = target_parts(request)?;
    let fields = Fields::check(request)?;
    request.known_trailers().map_or(Ok(()), trailers::check)?;
    let host = fields.host.or(request.host).ok_or(Misuse::NoHost)?;
    // An empty one is for a target without an authority.
    let is_missing = host.is_empty() && request.host.is_some_and(|host| !host.is_empty());
    if is_missing || !(host.is_empty() || is_host(host)) {
        return Err(Misuse::BadHost);
    }
    // > If the target URI includes an authority component, then a client MUST send a field value for Host that is
    // > identical to that authority component, excluding any userinfo
    // <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>; in these forms the server sees both.
    if let Some(host) = fields.host
        && let Some(authority) = target_authority(request.target)
        && !host.eq_ignore_ascii_case(authority)
    {
        return Err(Misuse::HostMismatch);
    }
    let body = body_length(request, &fields)?;
    fields.check_with_body(request, body)?;
    let digits;
    let (framing_name, framing_value): (&[u8], &[u8]) = match announced(request.method, body, &fields) {
        Announcement::Nothing => (b"", b""),
        Announcement::Chunked => (b"transfer-encoding: ", b"chunked"),
        Announcement::Length(length) => {
            digits = Decimal::new(length);
            (b"content-length: ", digits.as_bytes())
        }
    };

    // All that is mostly there, in room that is there at once.
    let target_size: usize = target.iter().map(|part| part.len()).sum();
    let size = method.len() + 1 + target_size + BEFORE_HOST.len() + host.len() + CRLF.len() + fields.size;
    let unannounced = || trailers::unannounced(request.known_trailers(), request.headers);
    let has_lists = fields.misses_options() || request.known_trailers().is_some();
    let lists_size =
        if has_lists { list_size(fields.missing_options()) + list_size(unannounced()) } else { 0 };
    // And of each line that may follow, its end.
    let begin = dst.len();
    dst.reserve(size + lists_size + framing_name.len() + framing_value.len() + 4 * CRLF.len());
    dst.resize(begin + size, 0);
    let mut head = Room(&mut dst[begin..]);
    head.put(method);
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
    debug_assert!(head.0.is_empty(), "what was counted was written");
    if has_lists {
        put_list(fields.missing_options(), dst);
        put_list(unannounced(), dst);
    }
    if !framing_name.is_empty() {
        put_field(framing_name, framing_value, dst);
    }
    dst.extend_from_slice(CRLF);
    Ok(Encoded {
        body,
        says_close: fields.says_close(),
        expects_continue: fields.expects_continue,
        offer: fields.has_upgrade.then(|| Offer::of(request.headers)),
    })
}

/// The body's length after the caller's framing fields had their say.
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
    // <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.8>; for CONNECT it would be taken for the tunnel's bytes.
    let is_empty = matches!(body, BodyLength::None | BodyLength::Known(0));
    if !is_empty && matches!(*request.method, Method::TRACE | Method::CONNECT) {
        return Err(Misuse::BodyNotAllowed);
    }
    Ok(body)
}

enum Announcement {
    Nothing,
    Length(u64),
    Chunked,
}

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

/// The target, in the parts that are written one after the other.
fn target_parts<'a>(request: &RequestHead<'a>) -> Result<[&'a [u8]; 5], Misuse> {
    let method = request.method;
    let is_options = *method == Method::OPTIONS;
    let is_authority = matches!(request.target, Target::Authority(_));
    if is_authority != (*method == Method::CONNECT) {
        return Err(Misuse::TargetForm);
    }
    let parts: [&'a [u8]; 5] = match request.target {
        Target::Asterisk if is_options => [b"*", b"", b"", b"", b""],
        Target::AbsoluteAsterisk(uri) if is_options => {
            let [scheme, separator, authority] = origin_parts(uri)?;
            [scheme, separator, authority, b"", b""]
        }
        Target::Asterisk | Target::AbsoluteAsterisk(_) => return Err(Misuse::TargetForm),
        Target::Origin(path) => {
            let [root, path] = path_parts(path)?;
            [b"", b"", b"", root, path]
        }
        Target::Absolute(uri) => {
            let [scheme, separator, authority] = origin_parts(uri)?;
            let [root, path] = path_parts(uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str))?;
            [scheme, separator, authority, root, path]
        }
        // > authority-form = uri-host ":" port
        // <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.3>
        Target::Authority(authority) => {
            let has_port = authority.as_bytes().last().is_some_and(u8::is_ascii_digit)
                && authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            if !has_port || !is_host(authority.as_bytes()) {
                return Err(Misuse::BadTarget);
            }
            [authority.as_bytes(), b"", b"", b"", b""]
        }
    };
    checked(parts)
}

/// > If the target URI's path component is empty, the client MUST send "/" as the path within the origin-form
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.1>
fn path_parts(path: &str) -> Result<[&[u8]; 2], Misuse> {
    match path.as_bytes() {
        path @ ([] | [b'?', ..]) => Ok([b"/", path]),
        path @ [b'/', ..] => Ok([b"", path]),
        _ => Err(Misuse::BadTarget),
    }
}

/// > No whitespace is allowed in the request-target.
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>; nor may it hold controls, raw non-ASCII or a fragment.
fn checked(parts: [&[u8]; 5]) -> Result<[&[u8]; 5], Misuse> {
    let is_target_byte = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'#';
    if parts.iter().all(|part| part.iter().all(is_target_byte)) { Ok(parts) } else { Err(Misuse::BadTarget) }
}

/// The authority that the target itself names.
fn target_authority(target: Target<'_>) -> Option<&[u8]> {
    match target {
        Target::Absolute(uri) | Target::AbsoluteAsterisk(uri) => {
            origin_parts(uri).ok().map(|[.., authority]| authority)
        }
        Target::Authority(authority) => Some(authority.as_bytes()),
        Target::Origin(_) | Target::Asterisk => None,
    }
}

/// Scheme, `://` and authority, without userinfo: <https://www.rfc-editor.org/rfc/rfc9110#section-4.2.4>.
fn origin_parts(uri: &Uri) -> Result<[&[u8]; 3], Misuse> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Misuse::BadTarget);
    };
    let authority = authority.as_str();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if !is_host(authority.as_bytes()) {
        return Err(Misuse::BadTarget);
    }
    Ok([scheme.as_bytes(), b"://", authority.as_bytes()])
}

/// > uri-host [ ":" port ]
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-7.2>: a name, an IPv4 address, or an IPv6 address in brackets
/// (<https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2>), and digits.
fn is_host(host: &[u8]) -> bool {
    let is_address_byte = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
    let (is_named, after) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            let (address, after) = (&rest[..end], &rest[end + 1..]);
            (address.contains(&b':') && address.iter().all(is_address_byte), after)
        }
        _ => {
            let end = host.iter().position(|&byte| !NAME_BYTES[usize::from(byte)]).unwrap_or(host.len());
            (end > 0, &host[end..])
        }
    };
    is_named
        && match after {
            [] => true,
            [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

/// What a host's name may consist of, byte by byte: <https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2>.
static NAME_BYTES: [bool; 256] = {
    let mut is_name_byte = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is_name_byte[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~%!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        is_name_byte[others[at] as usize] = true;
        at += 1;
    }
    is_name_byte
};

/// Room for bytes that were counted beforehand, and what is left of it.
struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (room, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        room.copy_from_slice(bytes);
        self.0 = rest;
    }
}

/// The bytes of a list, each element with what goes before it.
fn list_size<'a>(elements: impl Iterator<Item = (&'a str, &'static str)>) -> usize {
    elements.map(|(name, before)| before.len() + name.len()).sum()
}

/// Appends a list and the end of its line; each element brings what goes before it.
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

pub(super) fn put_field(name: &[u8], value: &[u8], dst: &mut BytesMut) {
    dst.extend_from_slice(name);
    dst.extend_from_slice(value);
    dst.extend_from_slice(CRLF);
}

/// A number in decimal digits, on the stack.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new(mut number: u64) -> Self {
        let mut decimal = Self { digits: [b'0'; 20], start: 20 };
        loop {
            decimal.start -= 1;
            decimal.digits[decimal.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

pub(super) const CRLF: &[u8] = b"\r\n";
const BEFORE_HOST: &[u8] = b" HTTP/1.1\r\nhost: ";
pub(super) const SEPARATOR: &[u8] = b": ";

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
