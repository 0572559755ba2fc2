//! Rules for the caller's request fields: framing, connection options, expectations.
//!
//! This module knows the rules for single fields and for the whole section, but does not know how a head is written.
//! Invariant: a field that concerns only the next hop is always named in Connection, by the caller or by
//! [`Fields::missing_options`].

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, Method, header};

use super::error::Misuse;
use super::framing::BodyLength;
use super::grammar::{CRLF, SEPARATOR, check_value, elements, is_token, parse_decimal};
use super::request::RequestHead;
use super::trailers;
use super::upgrade::Offer;

/// The facts about the head as a whole that the caller's fields determine.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
    pub(super) expects_continue: bool,
    pub(super) has_upgrade: bool,
    has_trailer: bool,
    /// Connection options that the caller named.
    named: Options,
    /// Connection options that must be named.
    needed: Options,
    /// Size of all fields that are written unchanged, separators and line ends included.
    pub(super) size: usize,
}

impl<'a> Fields<'a> {
    /// Checks each field and the section as a whole. Returns the facts that the fields determine.
    #[inline]
    pub(super) fn check(request: &RequestHead<'a>) -> Result<Self, Misuse> {
        let mut fields = Self::default();
        if request.close {
            fields.needed.insert(Options::CLOSE);
        }
        for (name, value) in request.headers {
            let (name, value) = (name.as_str(), value.as_bytes());
            check_value(value)?;
            fields.note(name, value)?;
            if !is_written_separately(name) {
                fields.size += name.len() + SEPARATOR.len() + value.len() + CRLF.len();
            }
        }
        // > A sender MUST NOT send a Content-Length header field in any message that contains a Transfer-Encoding
        // <https://www.rfc-editor.org/rfc/rfc9112#section-6.2>
        if fields.is_chunked && fields.length.is_some() {
            return Err(Misuse::LengthWithTransferEncoding);
        }
        if fields.says_close() && fields.needed.or(fields.named).contains(Options::KEEP_ALIVE) {
            let is_said = fields.named.contains(Options::CLOSE);
            return Err(if is_said { Misuse::BadConnection } else { Misuse::CloseContradicted });
        }
        check_singletons(request.headers)?;
        Ok(fields)
    }

    /// Notes one field. The length of the name is compared first, so that most fields cost only this comparison.
    #[inline]
    fn note(&mut self, name: &str, value: &'a [u8]) -> Result<(), Misuse> {
        match name.len() {
            2 if name == "te" => {
                check_te(value)?;
                self.needed.insert(Options::TE);
            }
            4 if name == "host" => {
                // > A client MUST send a Host header field in all HTTP/1.1 request messages; [more than one is a 400]
                // <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>
                let before = self.host.replace(value);
                if before.is_some() {
                    return Err(Misuse::SeveralHosts);
                }
            }
            6 if name == "expect" => {
                // > The Expect field value is case-insensitive. The only expectation defined by this specification is
                // > "100-continue" (with no defined parameters).
                // <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
                if self.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Misuse::BadExpect);
                }
                self.expects_continue = true;
            }
            7 if name == "trailer" => {
                trailers::check_announcement(value)?;
                self.has_trailer = true;
            }
            7 if name == "upgrade" => {
                Offer::check(value)?;
                self.has_upgrade = true;
                self.needed.insert(Options::UPGRADE);
            }
            10 if name == "connection" => self.named.note(value)?,
            10 if name == "keep-alive" => self.needed.insert(Options::KEEP_ALIVE),
            14 if name == "content-length" => {
                let length = parse_decimal(value).ok_or(Misuse::BadContentLength)?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(Misuse::ContentLengthMismatch);
                }
                self.length = Some(length);
            }
            14 if name == "http2-settings" => self.needed.insert(Options::HTTP2_SETTINGS),
            // > clients are encouraged not to send the Proxy-Connection header field in any requests.
            // <https://www.rfc-editor.org/rfc/rfc9112#appendix-C.2.2>
            16 if name == "proxy-connection" => return Err(Misuse::ProxyConnection),
            17 if name == "transfer-encoding" => {
                // > A sender MUST NOT apply the chunked transfer coding more than once to a message body
                // <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Misuse::BadTransferEncoding);
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks the rules that depend on the method and on the body that will be sent.
    pub(super) fn check_with_body(&self, request: &RequestHead<'_>, body: BodyLength) -> Result<(), Misuse> {
        let (method, headers) = (request.method, request.headers);
        let is_empty = matches!(body, BodyLength::None | BodyLength::Known(0));
        // > A client MUST NOT generate a 100-continue expectation in a request that does not include content.
        // <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>. A Transfer-Encoding header makes an empty body
        // chunked, but the body still has no content.
        let brings_nothing = matches!(request.body, BodyLength::None | BodyLength::Known(0))
            && request.known_trailers().is_none();
        if self.expects_continue && (is_empty || brings_nothing) {
            return Err(Misuse::ExpectWithoutBody);
        }
        if self.has_trailer && body != BodyLength::Chunked {
            return Err(Misuse::TrailersWithoutChunked);
        }
        // > A client MUST NOT generate fields in a TRACE request containing sensitive data that might be disclosed by
        // > the response.
        // <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.8>
        if *method == Method::TRACE
            && [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].iter().any(|name| headers.contains_key(name))
        {
            return Err(Misuse::SensitiveTrace);
        }
        // > A client that generates an OPTIONS request containing content MUST send a valid Content-Type header field
        // <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7>
        if *method == Method::OPTIONS && !is_empty && !headers.contains_key(CONTENT_TYPE) {
            return Err(Misuse::NoContentType);
        }
        Ok(())
    }

    /// Whether the head says `close`, either in the caller's Connection field or in the Connection field that the codec
    /// adds.
    pub(super) fn says_close(&self) -> bool {
        self.needed.or(self.named).contains(Options::CLOSE)
    }

    /// Whether [`missing_options`](Self::missing_options) returns any option.
    pub(super) fn misses_options(&self) -> bool {
        self.needed.0 & !self.named.0 != 0
    }

    /// Returns the connection options that must be named and that the caller has not named. Each option comes with the
    /// text that is written before it.
    ///
    /// > When a field aside from Connection is used to supply control information for or about the current connection,
    /// > the sender MUST list the corresponding field name within the Connection header field.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
    pub(super) fn missing_options(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let missing = Options(self.needed.0 & !self.named.0);
        let names = Options::NAMES.into_iter().enumerate();
        let names = names.filter_map(move |(bit, name)| missing.contains(1 << bit).then_some(name));
        names.zip(std::iter::once("connection: ").chain(std::iter::repeat(", ")))
    }
}

/// A set of the connection options that the codec acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options(u8);

impl Options {
    const NAMES: [&str; 5] = ["te", "upgrade", "keep-alive", "http2-settings", "close"];
    const TE: u8 = 1;
    const UPGRADE: u8 = 1 << 1;
    const KEEP_ALIVE: u8 = 1 << 2;
    const HTTP2_SETTINGS: u8 = 1 << 3;
    const CLOSE: u8 = 1 << 4;

    fn insert(&mut self, bit: u8) {
        self.0 |= bit;
    }

    fn contains(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Notes one Connection line.
    ///
    /// > A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of the
    /// > content.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
    fn note(&mut self, value: &[u8]) -> Result<(), Misuse> {
        for option in elements(value) {
            if !is_token(option) || is_for_all_recipients(option) {
                return Err(Misuse::BadConnection);
            }
            let known = Self::NAMES.iter().position(|name| option.eq_ignore_ascii_case(name.as_bytes()));
            self.0 |= known.map_or(0, |bit| 1 << bit);
        }
        Ok(())
    }
}

/// Whether a field is written at a fixed position of the head, apart from the ordinary fields.
pub(super) fn is_written_separately(name: &str) -> bool {
    match name.len() {
        4 => name == "host",
        14 => name == "content-length",
        17 => name == "transfer-encoding",
        _ => false,
    }
}

/// Whether a field of this name is meant for all recipients, or frames the message.
///
/// Such a name is no connection option, because a proxy removes the fields that Connection names.
/// Transfer-Encoding concerns only one hop, but a connection option must not ask for the removal of this field either.
fn is_for_all_recipients(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 4] = [b"accept", b"access-control-", b"content-", b"if-"];
    const NAMES: [&[u8]; 31] = [
        b"age",
        b"allow",
        b"authorization",
        b"cache-control",
        b"connection",
        b"cookie",
        b"date",
        b"etag",
        b"expect",
        b"expires",
        b"forwarded",
        b"from",
        b"host",
        b"last-modified",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"range",
        b"referer",
        b"retry-after",
        b"server",
        b"set-cookie",
        b"trailer",
        b"transfer-encoding",
        b"user-agent",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
        b"x-forwarded-for",
    ];
    let starts_with =
        |prefix: &&[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    PREFIXES.iter().any(starts_with) || NAMES.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Checks a TE field. Only `trailers` is allowed, because this client decodes no transfer coding except chunked. The
/// name `chunked` is refused for this reason:
///
/// > A client MUST NOT send the chunked transfer coding name in TE
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-7.4>. `trailers` takes no weight:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.4>.
fn check_te(value: &[u8]) -> Result<(), Misuse> {
    let is_good = elements(value).all(|element| element.eq_ignore_ascii_case(b"trailers"));
    if is_good { Ok(()) } else { Err(Misuse::BadTe) }
}

/// Checks that each name which allows only one field line has at most one field line.
///
/// > a sender MUST NOT generate multiple field lines with the same name in a message [...] unless that field's
/// > definition allows multiple field line values to be recombined as a comma-separated list
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.3>. Fast path: the check returns at once if no name has several
/// lines.
fn check_singletons(headers: &HeaderMap) -> Result<(), Misuse> {
    let is_several = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if headers.len() != headers.keys_len() && SINGLETONS.iter().any(is_several) {
        return Err(Misuse::SeveralFields);
    }
    Ok(())
}

/// Names that allow only one field line. Host, Content-Length, Transfer-Encoding and Expect are missing here because
/// [`Fields::note`] checks them. Cookie is in the list for this reason:
///
/// > the user agent MUST NOT attach more than one Cookie header field.
///
/// <https://www.rfc-editor.org/rfc/rfc6265#section-5.4>
static SINGLETONS: [HeaderName; 22] = [
    header::ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    header::DATE,
    header::ETAG,
    header::FROM,
    HeaderName::from_static("http2-settings"),
    header::IF_MODIFIED_SINCE,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::MAX_FORWARDS,
    header::ORIGIN,
    PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::SEC_WEBSOCKET_KEY,
    header::USER_AGENT,
];

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
