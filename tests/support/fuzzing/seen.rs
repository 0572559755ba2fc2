//! The visible parts of a response, in a form that the codec and the reference share, and small parts of the grammar.
//!
//! This module knows neither the codec nor the reference. Invariant: two equal values describe the same response.

use http::{HeaderMap, Version};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Interim(Head),
    Head(Head),
    /// All bytes of the content, joined.
    Data(Vec<u8>),
    Trailers(Vec<Field>),
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) version: Version,
    /// Reason phrase as it came, even if it is the usual reason phrase of the status.
    pub(super) reason: Vec<u8>,
    pub(super) fields: Vec<Field>,
    /// Names and values of the fields as they were written, in their order on the wire.
    pub(super) written: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Name of a field in lower case, and its value.
pub(super) type Field = (String, Vec<u8>);

impl Seen {
    pub(super) fn head(&self) -> Option<&Head> {
        match self {
            Self::Interim(head) | Self::Head(head) => Some(head),
            _ => None,
        }
    }
}

pub(super) fn values<'a>(head: &'a Head, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    head.fields.iter().filter(move |(other, _)| other == name).map(|(_, value)| &value[..])
}

/// Returns the connection options in lower case.
pub(super) fn options(head: &Head) -> Vec<String> {
    elements(values(head, "connection"))
}

/// Returns the fields in lower case, grouped by name.
pub(super) fn grouped<'a>(written: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for (name, value) in written {
        let name = String::from_utf8(name.to_ascii_lowercase()).expect("a token");
        let place =
            fields.iter().rposition(|(other, _)| *other == name).map_or(fields.len(), |place| place + 1);
        fields.insert(place, (name, value.to_vec()));
    }
    fields
}

/// Returns the elements of a comma-separated list that is spread over the lines of a field. The elements are in lower
/// case, and empty elements are included.
pub(super) fn elements<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let elements = lines.flat_map(|line| line.split(|&byte| byte == b','));
    elements.map(|element| String::from_utf8_lossy(trim(element)).to_ascii_lowercase()).collect()
}

/// Whether the field means something only before the content (RFC 9110, section 6.5.1).
pub(super) fn is_no_trailer(name: &str) -> bool {
    const FRAMING: [&str; 11] = [
        "content-length",
        "transfer-encoding",
        "trailer",
        "host",
        "te",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
        "expect",
    ];
    const AUTHENTICATION: [&str; 6] = [
        "authorization",
        "proxy-authorization",
        "www-authenticate",
        "proxy-authenticate",
        "cookie",
        "set-cookie",
    ];
    const MODIFIERS: [&str; 13] = [
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "pragma",
        "max-forwards",
        "range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
    ];
    const CONTROLS: [&str; 10] = [
        "age",
        "date",
        "expires",
        "location",
        "retry-after",
        "vary",
        "warning",
        "content-encoding",
        "content-range",
        "content-type",
    ];
    [&FRAMING[..], &AUTHENTICATION, &MODIFIERS, &CONTROLS].iter().any(|names| names.contains(&name))
}

/// Returns the fields of a map that comes from the codec, and checks that they are well formed.
pub(super) fn fields(map: &HeaderMap) -> Vec<Field> {
    let fields = map.iter().map(|(name, value)| {
        assert!(is_token(name.as_str().as_bytes()) && value.as_bytes().iter().all(|&byte| is_text(byte)));
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    });
    fields.collect()
}

pub(super) fn trimmed(fields: &[Field]) -> Vec<Field> {
    fields.iter().map(|(name, value)| (name.clone(), trim(value).to_vec())).collect()
}

/// Removes optional whitespace (OWS) at both ends.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether the byte is HTAB / SP / VCHAR / obs-text.
pub(super) fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Whether the bytes have the form `uri-host [ ":" port ]`. Brackets surround an IPv6 address only.
pub(super) fn is_host(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let is_address = |host: &str| {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        address.is_some_and(|address| {
            address.contains(':')
                && address.chars().all(|letter| letter.is_ascii_hexdigit() || ":.".contains(letter))
        })
    };
    let is_name = |host: &str| {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=".contains(letter);
        !host.is_empty() && host.chars().all(is_letter)
    };
    let is_port = |port: &str| port.chars().all(|digit| digit.is_ascii_digit());
    let (host, _) = text.rsplit_once(':').filter(|(_, port)| is_port(port)).unwrap_or((text, ""));
    is_name(host) || is_address(host)
}
