//! Request targets and hosts: which target form a method allows, and the bytes that are written for each form.
//!
//! This module knows a method and a target, and no other part of a head. Invariant: the returned parts hold only bytes
//! that a request line may contain unencoded, and no userinfo.

use std::fmt;

use http::{Method, Uri};

use super::error::Misuse;
use super::shown::WithoutUser;

/// The four forms of a request target, <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Target<'a> {
    /// Origin form: the path and the query, for the server that has the resource. An empty path is sent as `/`.
    Origin(&'a str),
    /// Absolute form: the whole URI without its userinfo, for a proxy.
    Absolute(&'a Uri),
    /// Scheme and authority of the URI, which a proxy turns into `OPTIONS *`.
    AbsoluteAsterisk(&'a Uri),
    /// Authority form: host and port, for CONNECT.
    Authority(&'a str),
    /// Asterisk form: the server as a whole, for OPTIONS.
    Asterisk,
}

impl fmt::Debug for Target<'_> {
    /// Shows URIs without their user and password.
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

impl<'a> Target<'a> {
    /// Checks the target. Returns the parts of the target in the order in which they are written.
    #[inline]
    pub(super) fn parts(self, method: &Method) -> Result<[&'a [u8]; 5], Misuse> {
        let is_options = *method == Method::OPTIONS;
        let is_authority = matches!(self, Self::Authority(_));
        if is_authority != (*method == Method::CONNECT) {
            return Err(Misuse::TargetForm);
        }
        let parts: [&'a [u8]; 5] = match self {
            Self::Asterisk if is_options => [b"*", b"", b"", b"", b""],
            Self::AbsoluteAsterisk(uri) if is_options => {
                let [scheme, separator, authority] = origin_parts(uri)?;
                [scheme, separator, authority, b"", b""]
            }
            Self::Asterisk | Self::AbsoluteAsterisk(_) => return Err(Misuse::TargetForm),
            Self::Origin(path) => {
                let [root, path] = path_parts(path)?;
                [b"", b"", b"", root, path]
            }
            Self::Absolute(uri) => {
                let [scheme, separator, authority] = origin_parts(uri)?;
                let [root, path] =
                    path_parts(uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str))?;
                [scheme, separator, authority, root, path]
            }
            // > authority-form = uri-host ":" port
            // <https://www.rfc-editor.org/rfc/rfc9112#section-3.2.3>
            Self::Authority(authority) => {
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

    /// Returns the authority that the target names.
    #[inline]
    pub(super) fn authority(self) -> Option<&'a [u8]> {
        match self {
            Self::Absolute(uri) | Self::AbsoluteAsterisk(uri) => {
                origin_parts(uri).ok().map(|[.., authority]| authority)
            }
            Self::Authority(authority) => Some(authority.as_bytes()),
            Self::Origin(_) | Self::Asterisk => None,
        }
    }
}

/// Returns the bytes to write for a path and query.
///
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

/// Checks the bytes of a target and returns the parts unchanged.
///
/// > No whitespace is allowed in the request-target.
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>. Control characters, raw non-ASCII bytes and fragments are also
/// refused.
fn checked(parts: [&[u8]; 5]) -> Result<[&[u8]; 5], Misuse> {
    let is_target_byte = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'#';
    if parts.iter().all(|part| part.iter().all(is_target_byte)) { Ok(parts) } else { Err(Misuse::BadTarget) }
}

/// Returns the scheme, `://`, and the authority without its userinfo:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-4.2.4>.
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

/// Whether the bytes are a host and, optionally, a port.
///
/// > uri-host [ ":" port ]
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-7.2>. The host is a name, an IPv4 address, or an IPv6 address in
/// brackets (<https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2>). The port consists of digits.
#[inline]
pub(super) fn is_host(host: &[u8]) -> bool {
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

/// Whether each byte can be part of a host's name: <https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2>.
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
