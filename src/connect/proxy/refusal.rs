//! The reasons why a proxy makes no connection to a destination.
//!
//! This file knows neither sockets nor the settings of proxies. Invariant: no text contains a byte of the proxy's answer,
//! except the names of authentication schemes.

use std::fmt;

use http::StatusCode;

use crate::codec::{Misuse, ProtocolError};
use crate::connect::Scope;

/// Reason why a proxy makes no connection. `Display` continues a sentence whose subject is the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The proxy answered CONNECT with a status that opens no tunnel.
    Status(StatusCode),
    /// The proxy answered 407: the proxy requires credentials, or does not accept the credentials that the client sent.
    Credentials {
        has_sent: bool,
        /// Names of the authentication schemes that the proxy accepts.
        schemes: Vec<String>,
    },
    /// The answer to CONNECT breaks the rules of HTTP/1.1.
    Http(ProtocolError),
    /// CONNECT cannot be sent.
    Unsendable(Misuse),
    /// The answer has another version of SOCKS than the request. The number is the version of the answer.
    SocksVersion(u8),
    /// The proxy accepts none of the authentication methods that the client offered.
    SocksMethods { has_offered_password: bool },
    /// The proxy chose an authentication method that the client did not offer.
    SocksMethod(u8),
    /// The answer to the user and the password is malformed.
    SocksLogin,
    /// The proxy does not accept the user and the password.
    SocksLoginRefused,
    /// A byte that must be zero is another byte.
    SocksReserved,
    /// The proxy names an address of an unknown type.
    SocksAddressType(u8),
    /// The proxy made no connection. The number is the reply code of SOCKS5.
    Socks5(u8),
    /// The proxy made no connection. The number is the reply code of SOCKS4.
    Socks4(u8),
    /// The destination's name is too long for a SOCKS message. The number is the length of the name.
    NameTooLong(usize),
    /// The destination's name is empty or has a byte that a SOCKS message cannot carry.
    BadName,
    /// The destination has an IPv6 address, which SOCKS4 cannot carry.
    NoIpv6,
    /// A SOCKS message cannot carry the user or the password.
    LoginTooLong,
    /// Bytes follow the answer that opened the connection.
    EarlyBytes,
    /// The proxy closed the connection before the end of its answer.
    Closed,
}

impl Refusal {
    /// Returns which other dials would be refused in the same way.
    pub(super) fn scope(&self) -> Scope {
        match self {
            // The proxy or the server may be busy, so that the next dial may succeed.
            Self::Status(status) if status.is_server_error() || is_of_attempt(*status) => Scope::Attempt,
            Self::Socks5(1 | 6) | Self::EarlyBytes | Self::Closed => Scope::Attempt,
            _ => Scope::Host,
        }
    }

    /// Whether the proxy may open a connection to another address of the same host. A reply of SOCKS4 does not say why
    /// the proxy made no connection, so that another address is tried.
    pub(super) fn is_of_address(&self) -> bool {
        matches!(self, Self::Socks5(1..=6 | 8) | Self::Socks4(91) | Self::NoIpv6)
    }

    /// Returns the status of the answer to CONNECT, or `None` if the refusal has no status.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(status) => Some(*status),
            Self::Credentials { .. } => Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED),
            _ => None,
        }
    }
}

/// Whether a 4xx status says that a later CONNECT may succeed.
fn is_of_attempt(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "answered CONNECT with {status} and opened no tunnel"),
            Self::Credentials { has_sent, schemes } => {
                f.write_str(match has_sent {
                    false => "requires credentials (407): set a user and a password with Proxy::basic_auth",
                    true => "does not accept the credentials (407): check the user and the password",
                })?;
                let Some((last, others)) = schemes.split_last() else { return Ok(()) };
                f.write_str("; the proxy accepts ")?;
                others.iter().try_for_each(|scheme| write!(f, "{scheme}, "))?;
                return f.write_str(last);
            }
            Self::Http(_) => "sent no valid answer to CONNECT: check the URL and the scheme of the proxy",
            Self::Unsendable(_) => "cannot be asked for this destination",
            Self::SocksVersion(version) => {
                return write!(
                    f,
                    "answered with version {version} of SOCKS: check the URL and the scheme of the proxy"
                );
            }
            Self::SocksMethods { has_offered_password: false } => {
                "accepts no client without credentials (RFC 1928, section 3): give a user and a password"
            }
            Self::SocksMethods { .. } => {
                "does not accept a user and a password (RFC 1928, section 3): the client supports no other authentication"
            }
            Self::SocksMethod(method) => {
                return write!(
                    f,
                    "chose the authentication method {method}, which was not offered (RFC 1928, section 3)"
                );
            }
            Self::SocksLogin => "sent a malformed answer to the user and the password (RFC 1929, section 2)",
            Self::SocksLoginRefused => "does not accept the user and the password (RFC 1929, section 2)",
            Self::SocksReserved => "sent a reply whose reserved byte is not zero (RFC 1928, section 6)",
            Self::SocksAddressType(kind) => {
                return write!(f, "sent a reply with the unknown address type {kind} (RFC 1928, section 6)");
            }
            Self::Socks5(code) => {
                let why = socks5_reply(*code);
                return write!(f, "made no connection: {why} (SOCKS reply {code})");
            }
            Self::Socks4(code) => {
                let why = socks4_reply(*code);
                return write!(f, "made no connection: {why} (SOCKS reply {code})");
            }
            Self::NameTooLong(length) => {
                return write!(f, "cannot be asked for a name of {length} bytes: SOCKS carries at most 255");
            }
            Self::BadName => "cannot be asked for this name, which SOCKS cannot carry",
            Self::NoIpv6 => "cannot be asked for an IPv6 address by SOCKS4: use socks5 or socks5h",
            Self::LoginTooLong => {
                "cannot be given this user and password: SOCKS carries at most 255 bytes of each"
            }
            Self::EarlyBytes => "sent bytes after its answer, before anything was sent over the connection",
            Self::Closed => "closed the connection before the end of its answer",
        })
    }
}

/// Returns the meaning of a reply of SOCKS5: <https://www.rfc-editor.org/rfc/rfc1928#section-6>.
fn socks5_reply(code: u8) -> &'static str {
    match code {
        1 => "general failure of the proxy",
        2 => "the rules of the proxy do not allow the connection",
        3 => "the network cannot be reached",
        4 => "the host cannot be reached",
        5 => "the host refused the connection",
        6 => "the time to live expired",
        7 => "the proxy does not support the command",
        8 => "the proxy does not support the type of address",
        _ => "unknown reason",
    }
}

/// Returns the meaning of a reply of SOCKS4: <https://www.openssh.com/txt/socks4.protocol>.
fn socks4_reply(code: u8) -> &'static str {
    match code {
        91 => "the proxy rejected the request, or the request failed",
        92 => "the proxy could not reach identd on the client",
        93 => "identd on the client reports another user than the request",
        _ => "unknown reason",
    }
}
