//! Request heads: checking what the caller gave, and writing it.
//!
//! It knows nothing of the connection nor of the response. Invariant: what is written is one well-framed head whatever
//! the caller passed, and nothing at all is written when the caller is refused.

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Uri};

use super::error::Misuse;
use super::framing::{BodyLength, parse_decimal};

/// The head of a request, borrowed from wherever its parts live.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method, sent as it is.
    pub method: &'a Method,
    /// What follows the method.
    pub target: Target<'a>,
    /// The value of the Host field; a Host among `headers` replaces it.
    pub host: Option<&'a [u8]>,
    /// All other fields. Framing fields among them are checked against `body` and never sent twice.
    pub headers: &'a HeaderMap,
    /// The length of the body.
    pub body: BodyLength,
}

impl<'a> RequestHead<'a> {
    /// A head without a body; its fields are public for everything else.
    #[must_use]
    pub fn new(
        method: &'a Method,
        target: Target<'a>,
        host: Option<&'a [u8]>,
        headers: &'a HeaderMap,
    ) -> Self {
        Self { method, target, host, headers, body: BodyLength::None }
    }
}

/// The four forms of a request target, <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>.
#[derive(Clone, Copy, Debug)]
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

/// What became of a head that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// The framing that was announced, after the caller's own framing fields were considered.
    pub(super) body: BodyLength,
    /// The caller sent `Connection: close`.
    pub(super) says_close: bool,
}

/// Checks the head and appends it to `dst`.
pub(super) fn encode(request: &RequestHead<'_>, dst: &mut BytesMut) -> Result<Encoded, Misuse> {
    let method = request.method.as_str().as_bytes();
    let target = target_parts(request)?;
    let fields = Fields::check(request.headers)?;
    let host = fields.host.or(request.host).ok_or(Misuse::NoHost)?;
    if !host.iter().copied().all(is_host_byte) {
        return Err(Misuse::BadHost);
    }
    let body = body_length(request, &fields)?;
    let digits;
    let (framing_name, framing_value): (&[u8], &[u8]) = match announced(request.method, body, &fields) {
        Announcement::Nothing => (b"", b""),
        Announcement::Chunked => (b"transfer-encoding: ", b"chunked"),
        Announcement::Length(length) => {
            digits = Decimal::new(length);
            (b"content-length: ", digits.as_bytes())
        }
    };

    let target_size: usize = target.iter().map(|part| part.len()).sum();
    let framing_size = framing_name.len() + framing_value.len() + CRLF.len();
    dst.reserve(
        method.len()
            + 1
            + target_size
            + VERSION.len()
            + HOST_NAME.len()
            + host.len()
            + 2 * CRLF.len()
            + fields.size
            + framing_size,
    );
    dst.put_slice(method);
    dst.put_slice(b" ");
    target.iter().for_each(|part| dst.put_slice(part));
    dst.put_slice(VERSION);
    // > a user agent SHOULD send Host as the first field in the header section following the request-line
    // <https://www.rfc-editor.org/rfc/rfc9110#section-7.2>
    put_field(HOST_NAME, host, dst);
    for (name, value) in request.headers {
        if !is_written_separately(name) {
            dst.put_slice(name.as_str().as_bytes());
            put_field(SEPARATOR, value.as_bytes(), dst);
        }
    }
    if !framing_name.is_empty() {
        put_field(framing_name, framing_value, dst);
    }
    dst.put_slice(CRLF);
    Ok(Encoded { body, says_close: fields.says_close })
}

/// Checks trailers and appends them and the empty line that ends a chunked body.
pub(super) fn encode_trailers(trailers: Option<&HeaderMap>, dst: &mut BytesMut) -> Result<(), Misuse> {
    // > A sender MUST NOT generate a trailer field unless the sender knows the corresponding header field name's
    // > definition permits it; those for framing and routing never do.
    // <https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>
    for (name, value) in trailers.into_iter().flatten() {
        if is_written_separately(name) || *name == CONNECTION || *name == TRAILER {
            return Err(Misuse::BadTrailer);
        }
        check_value(value.as_bytes())?;
    }
    dst.extend_from_slice(super::chunked::LAST_CHUNK);
    for (name, value) in trailers.into_iter().flatten() {
        dst.extend_from_slice(name.as_str().as_bytes());
        put_field(SEPARATOR, value.as_bytes(), dst);
    }
    dst.extend_from_slice(CRLF);
    Ok(())
}

/// What the caller's fields say that concerns the head as a whole.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    /// The bytes of all fields that are written as they are, separators and line ends included.
    size: usize,
}

impl<'a> Fields<'a> {
    fn check(headers: &'a HeaderMap) -> Result<Self, Misuse> {
        let mut fields = Self::default();
        for (name, value) in headers {
            let value = value.as_bytes();
            check_value(value)?;
            if *name == HOST {
                // > A client MUST send a Host header field in all HTTP/1.1 request messages; [more than one is a 400]
                // <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>
                if fields.host.replace(value).is_some() {
                    return Err(Misuse::SeveralHosts);
                }
            } else if *name == CONTENT_LENGTH {
                let length = parse_decimal(value).ok_or(Misuse::BadContentLength)?;
                if fields.length.is_some_and(|before| before != length) {
                    return Err(Misuse::ContentLengthMismatch);
                }
                fields.length = Some(length);
            } else if *name == TRANSFER_ENCODING {
                // > A sender MUST NOT apply the chunked transfer coding more than once to a message body
                // <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>
                if fields.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Misuse::BadTransferEncoding);
                }
                fields.is_chunked = true;
            } else {
                if *name == CONNECTION {
                    let mut options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                    fields.says_close |= options.any(|option| option.eq_ignore_ascii_case(b"close"));
                }
                fields.size += name.as_str().len() + SEPARATOR.len() + value.len() + CRLF.len();
            }
        }
        // > A sender MUST NOT send a Content-Length header field in any message that contains a Transfer-Encoding
        // <https://www.rfc-editor.org/rfc/rfc9112#section-6.2>
        if fields.is_chunked && fields.length.is_some() {
            return Err(Misuse::LengthWithTransferEncoding);
        }
        Ok(fields)
    }
}

/// The body's length after the caller's framing fields had their say.
fn body_length(request: &RequestHead<'_>, fields: &Fields<'_>) -> Result<BodyLength, Misuse> {
    let body = match (request.body, fields.length) {
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
        BodyLength::Known(0) if matches!(*method, Method::TRACE | Method::CONNECT) => Announcement::Nothing,
        BodyLength::Known(length) => Announcement::Length(length),
        BodyLength::None if fields.length.is_some() => Announcement::Length(0),
        BodyLength::None => match *method {
            Method::POST | Method::PUT | Method::PATCH => Announcement::Length(0),
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
            let Some((host, port)) = authority.rsplit_once(':') else { return Err(Misuse::BadTarget) };
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            if host.is_empty() || !is_port || !host.bytes().all(is_host_byte) {
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

/// Scheme, `://` and authority, without userinfo: <https://www.rfc-editor.org/rfc/rfc9110#section-4.2.4>.
fn origin_parts(uri: &Uri) -> Result<[&[u8]; 3], Misuse> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Misuse::BadTarget);
    };
    let authority = authority.as_str();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Ok([scheme.as_bytes(), b"://", authority.as_bytes()])
}

/// Bytes of `uri-host [ ":" port ]`: <https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2>.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// > A sender MUST NOT generate a bare CR [...] within any protocol elements other than the content.
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-2.2>. `HeaderValue` refuses it already, but only its unchecked
/// constructor's callers say so.
fn check_value(value: &[u8]) -> Result<(), Misuse> {
    let is_bad = value.iter().fold(false, |bad, &byte| bad | matches!(byte, b'\r' | b'\n' | 0));
    if is_bad { Err(Misuse::BadHeaderValue) } else { Ok(()) }
}

fn is_written_separately(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING
}

fn put_field(name: &[u8], value: &[u8], dst: &mut BytesMut) {
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

const CRLF: &[u8] = b"\r\n";
const VERSION: &[u8] = b" HTTP/1.1\r\n";
const HOST_NAME: &[u8] = b"host: ";
const SEPARATOR: &[u8] = b": ";

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::codec::{CloseReason, Limits, Machine};

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in fields {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn request_heads() {
        use BodyLength::{Chunked, Known, None};
        for (method, target, fields, body, expected) in [
            ("GET", Target::Origin("/a?b"), &[][..], None, "GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n"),
            ("GET", Target::Origin(""), &[], None, "GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
            ("get", Target::Origin("?q"), &[], None, "get /?q HTTP/1.1\r\nhost: h\r\n\r\n"),
            ("GET", Target::Origin("/"), &[("host", "x:1")], None, "GET / HTTP/1.1\r\nhost: x:1\r\n\r\n"),
            (
                "GET",
                Target::Origin("/"),
                &[("x-b", "1"), ("accept", "a"), ("x-b", "2")],
                None,
                "GET / HTTP/1.1\r\nhost: h\r\nx-b: 1\r\nx-b: 2\r\naccept: a\r\n\r\n",
            ),
            ("OPTIONS", Target::Asterisk, &[], None, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
            (
                "CONNECT",
                Target::Authority("[::1]:443"),
                &[],
                None,
                "CONNECT [::1]:443 HTTP/1.1\r\nhost: h\r\n\r\n",
            ),
            (
                "POST",
                Target::Origin("/"),
                &[],
                None,
                "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
            ),
            ("DELETE", Target::Origin("/"), &[], None, "DELETE / HTTP/1.1\r\nhost: h\r\n\r\n"),
            (
                "PUT",
                Target::Origin("/"),
                &[],
                Known(10),
                "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n",
            ),
            (
                "PUT",
                Target::Origin("/"),
                &[],
                Known(u64::MAX),
                "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 18446744073709551615\r\n\r\n",
            ),
            ("TRACE", Target::Origin("/"), &[], Known(0), "TRACE / HTTP/1.1\r\nhost: h\r\n\r\n"),
            (
                "PUT",
                Target::Origin("/"),
                &[],
                Chunked,
                "PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            // The caller's own framing fields: never two on the wire.
            (
                "PUT",
                Target::Origin("/"),
                &[("content-length", "7"), ("x", "y")],
                Known(7),
                "PUT / HTTP/1.1\r\nhost: h\r\nx: y\r\ncontent-length: 7\r\n\r\n",
            ),
            (
                "PUT",
                Target::Origin("/"),
                &[("content-length", "7"), ("content-length", "7")],
                Chunked,
                "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\n",
            ),
            (
                "GET",
                Target::Origin("/"),
                &[("content-length", "0")],
                None,
                "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
            ),
            (
                "PUT",
                Target::Origin("/"),
                &[("transfer-encoding", "Chunked")],
                Known(7),
                "PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
        ] {
            let (mut machine, mut dst) = (Machine::new(Limits::default()), BytesMut::new());
            let (method, headers) = (Method::from_bytes(method.as_bytes()).unwrap(), headers(fields));
            let mut request = RequestHead::new(&method, target, Some(b"h"), &headers);
            request.body = body;
            machine.encode_head(&request, &mut dst).unwrap();
            assert_eq!(dst, expected);
            assert_eq!(machine.encode_head(&request, &mut dst), Err(Misuse::HeadAlreadySent));
            assert_eq!(dst, expected);
        }
        let none = HeaderMap::new();
        let uri: Uri = "http://user:pass@h:80?q".parse().unwrap();
        for (method, target, expected) in [
            (Method::GET, Target::Absolute(&uri), "GET http://h:80/?q HTTP/1.1\r\nhost: h\r\n\r\n"),
            (
                Method::OPTIONS,
                Target::AbsoluteAsterisk(&uri),
                "OPTIONS http://h:80 HTTP/1.1\r\nhost: h\r\n\r\n",
            ),
        ] {
            let mut dst = BytesMut::new();
            let request = RequestHead::new(&method, target, Some(b"h"), &none);
            Machine::new(Limits::default()).encode_head(&request, &mut dst).unwrap();
            assert_eq!(dst, expected);
        }
    }

    #[test]
    fn refused_request_heads_write_nothing() {
        use BodyLength::{Chunked, Known, None};
        let relative: Uri = "/a".parse().unwrap();
        for (method, target, host, fields, body, expected) in [
            (Method::GET, Target::Origin("/a b"), "h", &[][..], None, Misuse::BadTarget),
            (Method::GET, Target::Origin("/a\r\nX: y"), "h", &[], None, Misuse::BadTarget),
            (Method::GET, Target::Origin("/\u{e9}"), "h", &[], None, Misuse::BadTarget),
            (Method::GET, Target::Origin("/\x7f"), "h", &[], None, Misuse::BadTarget),
            (Method::GET, Target::Origin("/a#b"), "h", &[], None, Misuse::BadTarget),
            (Method::GET, Target::Origin("a"), "h", &[], None, Misuse::BadTarget),
            (Method::GET, Target::Absolute(&relative), "h", &[], None, Misuse::BadTarget),
            (Method::GET, Target::Asterisk, "h", &[], None, Misuse::TargetForm),
            (Method::GET, Target::Authority("h:1"), "h", &[], None, Misuse::TargetForm),
            (Method::CONNECT, Target::Origin("/"), "h", &[], None, Misuse::TargetForm),
            (Method::CONNECT, Target::Authority("h"), "h", &[], None, Misuse::BadTarget),
            (Method::CONNECT, Target::Authority("h:"), "h", &[], None, Misuse::BadTarget),
            (Method::CONNECT, Target::Authority("u@h:1"), "h", &[], None, Misuse::BadTarget),
            (Method::GET, Target::Origin("/"), "h\r\nX: y", &[], None, Misuse::BadHost),
            (Method::GET, Target::Origin("/"), "u@h", &[], None, Misuse::BadHost),
            (Method::GET, Target::Origin("/"), "h", &[("host", "h/x")], None, Misuse::BadHost),
            (
                Method::GET,
                Target::Origin("/"),
                "h",
                &[("host", "h"), ("host", "h")],
                None,
                Misuse::SeveralHosts,
            ),
            (
                Method::PUT,
                Target::Origin("/"),
                "h",
                &[("content-length", "8")],
                Known(7),
                Misuse::ContentLengthMismatch,
            ),
            (
                Method::GET,
                Target::Origin("/"),
                "h",
                &[("content-length", "8")],
                None,
                Misuse::ContentLengthMismatch,
            ),
            (
                Method::PUT,
                Target::Origin("/"),
                "h",
                &[("content-length", "7"), ("content-length", "8")],
                Chunked,
                Misuse::ContentLengthMismatch,
            ),
            (
                Method::PUT,
                Target::Origin("/"),
                "h",
                &[("content-length", "+7")],
                Known(7),
                Misuse::BadContentLength,
            ),
            (
                Method::PUT,
                Target::Origin("/"),
                "h",
                &[("content-length", "7, 7")],
                Known(7),
                Misuse::BadContentLength,
            ),
            (
                Method::PUT,
                Target::Origin("/"),
                "h",
                &[("transfer-encoding", "gzip")],
                Chunked,
                Misuse::BadTransferEncoding,
            ),
            (
                Method::PUT,
                Target::Origin("/"),
                "h",
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Chunked,
                Misuse::BadTransferEncoding,
            ),
            (
                Method::PUT,
                Target::Origin("/"),
                "h",
                &[("transfer-encoding", "chunked"), ("content-length", "7")],
                Known(7),
                Misuse::LengthWithTransferEncoding,
            ),
            (Method::TRACE, Target::Origin("/"), "h", &[], Known(1), Misuse::BodyNotAllowed),
            (Method::TRACE, Target::Origin("/"), "h", &[], Chunked, Misuse::BodyNotAllowed),
            (Method::CONNECT, Target::Authority("h:1"), "h", &[], Known(1), Misuse::BodyNotAllowed),
        ] {
            let (mut machine, mut dst, headers) =
                (Machine::new(Limits::default()), BytesMut::new(), headers(fields));
            let mut request = RequestHead::new(&method, target, Some(host.as_bytes()), &headers);
            request.body = body;
            assert_eq!(machine.encode_head(&request, &mut dst), Err(expected), "{request:?}");
            assert!(dst.is_empty() && !machine.is_head_sent());
        }
        let none = HeaderMap::new();
        let request = RequestHead::new(&Method::GET, Target::Origin("/"), Option::None, &none);
        assert_eq!(
            Machine::new(Limits::default()).encode_head(&request, &mut BytesMut::new()),
            Err(Misuse::NoHost)
        );
    }

    #[test]
    fn uploads() {
        let none = HeaderMap::new();
        let sending = |body| {
            let (mut machine, mut dst) = (Machine::new(Limits::default()), BytesMut::new());
            let mut request = RequestHead::new(&Method::PUT, Target::Origin("/"), Some(b"h"), &none);
            request.body = body;
            assert_eq!(machine.encode_data(1, &mut dst), Err(Misuse::HeadNotSent));
            assert_eq!(machine.encode_end(None, &mut dst), Err(Misuse::HeadNotSent));
            machine.encode_head(&request, &mut dst).unwrap();
            dst.clear();
            (machine, dst)
        };

        let (mut machine, mut dst) = sending(BodyLength::Known(5));
        assert_eq!(machine.encode_data(6, &mut dst), Err(Misuse::MoreThanPromised));
        assert_eq!(machine.encode_data(0, &mut dst), Ok(&b""[..]));
        assert_eq!(machine.encode_data(3, &mut dst), Ok(&b""[..]));
        assert_eq!(machine.upload_remaining(), Some(2));
        assert_eq!(machine.encode_end(None, &mut dst), Err(Misuse::FewerThanPromised { missing: 2 }));
        assert!(machine.is_send_aborted() && machine.close_reasons().contains(CloseReason::UploadAborted));
        assert_eq!(machine.encode_data(1, &mut dst), Err(Misuse::SendAborted));

        let (mut machine, mut dst) = sending(BodyLength::Known(5));
        machine.encode_data(5, &mut dst).unwrap();
        assert!(machine.is_send_done());
        assert_eq!(machine.encode_data(1, &mut dst), Err(Misuse::MoreThanPromised));
        machine.encode_end(None, &mut dst).unwrap();
        machine.abort_send();
        assert!(dst.is_empty() && machine.is_send_done() && machine.close_reasons().is_empty());
        let trailers = headers(&[("x", "y")]);
        assert_eq!(machine.encode_end(Some(&trailers), &mut dst), Err(Misuse::TrailersWithoutChunked));

        let (mut machine, mut dst) = sending(BodyLength::Chunked);
        assert_eq!(machine.encode_data(0, &mut dst), Ok(&b""[..]));
        assert_eq!(machine.encode_data(0x1a, &mut dst), Ok(&b"\r\n"[..]));
        let forbidden = headers(&[("content-length", "1")]);
        assert_eq!(machine.encode_end(Some(&forbidden), &mut dst), Err(Misuse::BadTrailer));
        machine.encode_end(Some(&trailers), &mut dst).unwrap();
        machine.encode_end(None, &mut dst).unwrap();
        assert_eq!(dst, "1a\r\n0\r\nx: y\r\n\r\n");
        assert!(machine.is_send_done());

        let (machine, _) = sending(BodyLength::None);
        assert!(machine.is_send_done());
    }

    #[test]
    fn our_own_close_is_remembered() {
        for (value, expected) in
            [("close", true), ("TE, Close", true), ("keep-alive", false), ("closed", false)]
        {
            let (mut machine, headers) = (Machine::new(Limits::default()), headers(&[("connection", value)]));
            let request = RequestHead::new(&Method::GET, Target::Origin("/"), Some(b"h"), &headers);
            machine.encode_head(&request, &mut BytesMut::new()).unwrap();
            assert_eq!(machine.close_reasons().contains(CloseReason::OwnClose), expected, "{value}");
        }
    }
}
