//! A proxy server: its protocol, its address, and the credentials and fields that the client sends to the server.
//!
//! This file reads the URLs of proxies and does no I/O. Invariants: neither `Debug`, `Display` nor an error shows a
//! user, a password or a field. Two servers are equal only if their protocols, addresses, credentials and fields are
//! equal.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::socks::MOST;
use crate::basic;
use crate::error::{Error, Result};

/// Protocol between the client and a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS4. The client looks names up.
    Socks4,
    /// SOCKS4a. The proxy looks names up.
    Socks4a,
    /// SOCKS5. The client looks names up.
    Socks5,
    /// SOCKS5. The proxy looks names up.
    Socks5h,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Http, Self::Https, Self::Socks4, Self::Socks4a, Self::Socks5, Self::Socks5h];

    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks4 | Self::Socks4a | Self::Socks5 | Self::Socks5h => 1080,
        }
    }

    /// Whether the protocol is HTTP, over TCP or over TLS.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// User and password for a SOCKS proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Login {
    pub(super) user: Box<[u8]>,
    pub(super) password: Box<[u8]>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// A proxy server. `Display` writes the scheme, the host and the port.
#[derive(Clone)]
pub(crate) struct ProxyServer {
    kind: Kind,
    /// Host and port as in a URI. The host is lower case, and the port is always written.
    authority: Box<str>,
    /// Length of the host in `authority`.
    host: usize,
    port: u16,
    /// Credentials for SOCKS.
    login: Option<Login>,
    /// Fields of requests to an HTTP proxy, among them the credentials.
    fields: HeaderMap,
}

impl ProxyServer {
    /// Reads the URL of a proxy. A text without a scheme is the host and the port of an HTTP proxy. Everything after the
    /// port is ignored.
    ///
    /// # Errors
    ///
    /// If the text is not the URL of a proxy. The error shows no part of the text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim_ascii();
        let scheme_end = text.find("://");
        let (kind, rest) = match scheme_end.map(|at| (&text[..at], &text[at + 3..])) {
            Some((scheme, rest)) => {
                // GNOME uses the scheme `socks` for SOCKS proxies of any version, and lets them look names up.
                let scheme = if scheme.eq_ignore_ascii_case("socks") { "socks5h" } else { scheme };
                let kind = Kind::ALL.into_iter().find(|kind| kind.scheme().eq_ignore_ascii_case(scheme));
                let unknown = "the scheme of the proxy's URL is not http, https, socks, socks4, socks4a, socks5 or socks5h";
                (kind.ok_or_else(|| Error::request(unknown))?, rest)
            }
            None => (Kind::Http, text),
        };
        let (authority, ignored) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
        // Without this check, the user would be read as the host if the password has a slash, such as `1/2`.
        if ignored.contains('@') {
            let message = "the proxy's URL has an `@` after the host: percent-encode the password";
            return Err(Error::request(message));
        }
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => (Some(login), authority),
            None => (None, authority),
        };
        let (host, port) = split(authority);
        let port = match port {
            None => kind.default_port(),
            // Without a scheme, a colon without a port belongs to a mistyped scheme: `http:/proxy`.
            Some("") if scheme_end.is_some() => kind.default_port(),
            Some(digits) => match digits.parse() {
                Ok(port @ 1..) if digits.bytes().all(|digit| digit.is_ascii_digit()) => port,
                _ => {
                    let message = "the port of the proxy's URL is not a number from 1 to 65535: correct the port, or percent-encode the password";
                    return Err(Error::request(message));
                }
            },
        };
        let host = checked(host)?;
        let authority = format!("{host}:{port}").into();
        let server = Self { kind, authority, host: host.len(), port, login: None, fields: HeaderMap::new() };
        match login {
            Some(login) if !matches!(login, "" | ":") => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                server.with_login(&basic::decode(user), &basic::decode(password))
            }
            _ => Ok(server),
        }
    }

    /// Returns the server with other credentials.
    ///
    /// # Errors
    ///
    /// If the proxy's protocol cannot carry the credentials.
    pub(super) fn with_login(self, user: &[u8], password: &[u8]) -> Result<Self> {
        if self.kind.is_http() {
            return self.with_authorization(basic::value(user, password)?);
        }
        if user.len() > MOST || password.len() > MOST {
            return Err(Error::request(
                "the user or the password for the SOCKS proxy is longer than 255 bytes (RFC 1929, section 2)",
            ));
        }
        let is_v4 = matches!(self.kind, Kind::Socks4 | Kind::Socks4a);
        if is_v4 && (!password.is_empty() || user.contains(&0)) {
            return Err(Error::request("SOCKS4 carries a user, but no password: use socks5 or socks5h"));
        }
        Ok(Self { login: Some(Login { user: user.into(), password: password.into() }), ..self })
    }

    /// Returns the server with another value of `Proxy-Authorization`.
    ///
    /// # Errors
    ///
    /// If the proxy is not an HTTP proxy.
    pub(super) fn with_authorization(self, value: HeaderValue) -> Result<Self> {
        self.with_fields(HeaderMap::from_iter([(PROXY_AUTHORIZATION, value)]))
    }

    /// Returns the server with further fields, which replace fields of the same names.
    ///
    /// # Errors
    ///
    /// If the proxy is not an HTTP proxy, or if there are too many fields.
    pub(super) fn with_fields(mut self, fields: HeaderMap) -> Result<Self> {
        if !self.kind.is_http() {
            return Err(Error::request(
                "a SOCKS proxy cannot get header fields: set a user and a password instead",
            ));
        }
        for name in fields.keys() {
            if UNSENDABLE.contains(name) {
                let message = format!(
                    "{name} cannot be a header field for a proxy: leave the field out, because each request has its own value"
                );
                return Err(Error::request(message));
            }
            self.fields.remove(name);
        }
        let mut latest = None;
        for (name, mut value) in fields {
            latest = name.or(latest);
            let Some(name) = latest.clone() else { continue };
            // Every field may be a secret between the client and the proxy.
            value.set_sensitive(true);
            if self.fields.try_append(name, value).is_err() {
                return Err(Error::request("there are too many header fields for the proxy"));
            }
        }
        Ok(self)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the host and the port as in a URI.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the host as in a URI: an IPv6 address is in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.authority[..self.host]
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the credentials for SOCKS.
    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Whether the server has credentials.
    pub(super) fn has_login(&self) -> bool {
        self.login.is_some() || self.fields.contains_key(PROXY_AUTHORIZATION)
    }

    /// Returns the fields of requests to an HTTP proxy, among them the credentials.
    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.fields
    }

    /// Whether the proxy looks up the names of destinations, so that the client does not see the addresses.
    pub(crate) fn resolves_names(&self) -> bool {
        !matches!(self.kind, Kind::Socks4 | Kind::Socks5)
    }
}

impl PartialEq for ProxyServer {
    fn eq(&self, other: &Self) -> bool {
        let Self { kind, authority, host: _, port: _, login, fields } = self;
        *kind == other.kind
            && *authority == other.authority
            && *login == other.login
            && *fields == other.fields
    }
}

impl Eq for ProxyServer {}

impl Hash for ProxyServer {
    /// Leaves the fields out, because a map of fields has no order.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
        self.authority.hash(state);
        self.login.hash(state);
        self.fields.get(PROXY_AUTHORIZATION).hash(state);
    }
}

impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(), self.authority)
    }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Splits an authority without user and password into the host and the text of the port.
fn split(authority: &str) -> (&str, Option<&str>) {
    let start =
        if authority.starts_with('[') { authority.find(']').map_or(authority.len(), |at| at + 1) } else { 0 };
    match authority[start..].find(':') {
        Some(colon) => (&authority[..start + colon], Some(&authority[start + colon + 1..])),
        None => (authority, None),
    }
}

/// Returns the host in lower case. Fails unless the host is a name of ASCII characters or an IP address.
fn checked(host: &str) -> Result<String> {
    let invalid = || {
        let message = "the proxy's URL has no valid host: give a name in its ASCII form, or an IP address, with brackets around an IPv6 address";
        Err(Error::request(message))
    };
    if let Some(rest) = host.strip_prefix('[') {
        // An address with a zone does not parse.
        return match rest.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok()) {
            Some(address) => Ok(format!("[{address}]")),
            None => invalid(),
        };
    }
    let is_valid = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // A final dot stays, because the dot makes the name absolute.
    if matches!(host, "" | ".") || !is_valid { invalid() } else { Ok(host.to_ascii_lowercase()) }
}

/// Fields that describe one message or one connection.
const UNSENDABLE: [HeaderName; 9] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("proxy-connection"),
];

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
