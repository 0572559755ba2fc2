//! SOCKS as bytes: SOCKS5 (RFC 1928, with user and password by RFC 1929), SOCKS4 and SOCKS4a.
//!
//! This file knows no socket and no resolver. Invariants: the outcome does not depend on how the bytes of the proxy are
//! split. A name is sent unchanged or refused. No name is looked up here, and no name is truncated.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BytesMut};

use super::refusal::Refusal;
use super::server::Login;

/// Destination of the connection that a proxy is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    /// An address. The proxy looks up nothing.
    Address(SocketAddr),
    /// A name, which the proxy looks up.
    Name(&'a str, u16),
}

impl<'a> Asked<'a> {
    /// Returns the destination for a host without brackets. An address in text form becomes an address.
    pub(crate) fn of(host: &'a str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => Self::Address(SocketAddr::new(address, port)),
            Err(_) => Self::Name(host, port),
        }
    }
}

/// Writes the host and the port as in a URI.
impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Next step of a dialog with a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These bytes are sent to the proxy. After that, the proxy's answer is read.
    Send(Vec<u8>),
    /// More bytes of the proxy's answer are needed.
    Wait,
    /// The connection to the destination is open.
    Open,
}

/// The client's side of a dialog with a SOCKS proxy.
#[derive(Debug)]
pub(super) struct Socks<'a> {
    login: Option<&'a Login>,
    /// The request for the connection.
    request: Vec<u8>,
    awaited: Awaited,
}

/// The message of the proxy that comes next.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    /// SOCKS5: the authentication method that the proxy chose.
    Method,
    /// SOCKS5: the answer to the user and the password.
    Login,
    /// SOCKS5: the answer to the request.
    Reply5,
    /// SOCKS4: the answer to the request.
    Reply4,
}

impl<'a> Socks<'a> {
    /// Begins a dialog in SOCKS5. Returns the dialog and the bytes to send first.
    ///
    /// # Errors
    ///
    /// If SOCKS5 cannot carry the destination, the user or the password.
    pub(super) fn v5(to: Asked<'_>, login: Option<&'a Login>) -> Result<(Self, Vec<u8>), Refusal> {
        if login.is_some_and(|login| login.user.len() > MOST || login.password.len() > MOST) {
            return Err(Refusal::LoginTooLong);
        }
        // > +----+-----+-------+------+----------+----------+
        // > |VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |
        // > +----+-----+-------+------+----------+----------+
        // <https://www.rfc-editor.org/rfc/rfc1928#section-4>
        let mut request = vec![V5, CONNECT, 0];
        let port = match to {
            Asked::Address(address) => {
                match address.ip() {
                    IpAddr::V4(v4) => {
                        request.push(IPV4);
                        request.extend(v4.octets());
                    }
                    IpAddr::V6(v6) => {
                        request.push(IPV6);
                        request.extend(v6.octets());
                    }
                }
                address.port()
            }
            Asked::Name(name, port) => {
                request.extend([NAME, checked(name)?]);
                request.extend(name.as_bytes());
                port
            }
        };
        request.extend(port.to_be_bytes());
        // A client with credentials also offers to connect without authentication, because the proxy chooses.
        let greeting = match login {
            None => vec![V5, 1, NO_AUTHENTICATION],
            Some(_) => vec![V5, 2, NO_AUTHENTICATION, PASSWORD],
        };
        Ok((Self { login, request, awaited: Awaited::Method }, greeting))
    }

    /// Begins a dialog in SOCKS4, or in SOCKS4a for a name. Returns the dialog and the bytes to send first. SOCKS4 has a
    /// user, but no password.
    ///
    /// # Errors
    ///
    /// If SOCKS4 cannot carry the destination or the user.
    pub(super) fn v4(to: Asked<'_>, login: Option<&'a Login>) -> Result<(Self, Vec<u8>), Refusal> {
        let (address, name, port) = match to {
            Asked::Address(address) => match address.ip().to_canonical() {
                IpAddr::V4(v4) => (v4.octets(), None, address.port()),
                IpAddr::V6(_) => return Err(Refusal::NoIpv6),
            },
            // > the client should set the first three bytes of DSTIP to NULL and the last byte to a non-zero value
            // <https://www.openssh.com/txt/socks4a.protocol>
            Asked::Name(name, port) => {
                checked(name)?;
                ([0, 0, 0, 1], Some(name), port)
            }
        };
        let user = login.map_or(&b""[..], |login| &login.user);
        if user.len() > MOST || user.contains(&0) {
            return Err(Refusal::LoginTooLong);
        }
        // > | VN | CD | DSTPORT |      DSTIP        | USERID       |NULL|
        // <https://www.openssh.com/txt/socks4.protocol>
        let mut request = vec![V4, CONNECT];
        request.extend(port.to_be_bytes());
        request.extend(address);
        request.extend(user);
        request.push(0);
        if let Some(name) = name {
            request.extend(name.as_bytes());
            request.push(0);
        }
        Ok((Self { login, request: Vec::new(), awaited: Awaited::Reply4 }, request))
    }

    /// Takes the next message of the proxy from `buf`, if the whole message has arrived, and returns the next step.
    ///
    /// # Errors
    ///
    /// If the proxy refuses, if its message is malformed, or if bytes follow the last message.
    pub(super) fn receive(&mut self, buf: &mut BytesMut) -> Result<Next, Refusal> {
        match self.awaited {
            Awaited::Method => self.receive_method(buf),
            Awaited::Login => self.receive_login(buf),
            Awaited::Reply5 => receive_reply5(buf),
            Awaited::Reply4 => receive_reply4(buf),
        }
    }

    /// > +----+--------+
    /// > |VER | METHOD |
    /// > +----+--------+
    ///
    /// <https://www.rfc-editor.org/rfc/rfc1928#section-3>
    fn receive_method(&mut self, buf: &mut BytesMut) -> Result<Next, Refusal> {
        is_version(buf, V5)?;
        let Some(&method) = buf.get(1) else { return Ok(Next::Wait) };
        let has_offered_password = self.login.is_some();
        match (method, self.login) {
            (NO_AUTHENTICATION, _) => {
                buf.advance(2);
                self.awaited = Awaited::Reply5;
                Ok(Next::Send(std::mem::take(&mut self.request)))
            }
            (PASSWORD, Some(login)) => {
                buf.advance(2);
                self.awaited = Awaited::Login;
                // > +----+------+----------+------+----------+
                // > |VER | ULEN |  UNAME   | PLEN |  PASSWD  |
                // > +----+------+----------+------+----------+
                // <https://www.rfc-editor.org/rfc/rfc1929#section-2>. The lengths were checked at the start.
                let mut message = vec![V1];
                for part in [&login.user, &login.password] {
                    message.push(part.len() as u8);
                    message.extend(part.iter());
                }
                Ok(Next::Send(message))
            }
            (NO_METHOD, _) => Err(Refusal::SocksMethods { has_offered_password }),
            (other, _) => Err(Refusal::SocksMethod(other)),
        }
    }

    /// > +----+--------+
    /// > |VER | STATUS |
    /// > +----+--------+
    ///
    /// <https://www.rfc-editor.org/rfc/rfc1929#section-2>
    fn receive_login(&mut self, buf: &mut BytesMut) -> Result<Next, Refusal> {
        if buf.first().is_some_and(|&version| version != V1) {
            return Err(Refusal::SocksLogin);
        }
        match buf.get(1) {
            None => Ok(Next::Wait),
            Some(0) => {
                buf.advance(2);
                self.awaited = Awaited::Reply5;
                Ok(Next::Send(std::mem::take(&mut self.request)))
            }
            Some(_) => Err(Refusal::SocksLoginRefused),
        }
    }
}

/// > +----+-----+-------+------+----------+----------+
/// > |VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |
/// > +----+-----+-------+------+----------+----------+
///
/// <https://www.rfc-editor.org/rfc/rfc1928#section-6>
fn receive_reply5(buf: &mut BytesMut) -> Result<Next, Refusal> {
    is_version(buf, V5)?;
    // Some proxies leave out the rest of a reply that makes no connection, so the code alone decides.
    if let Some(&code @ 1..) = buf.get(1) {
        return Err(Refusal::Socks5(code));
    }
    if buf.get(2).is_some_and(|&reserved| reserved != 0) {
        return Err(Refusal::SocksReserved);
    }
    let address = match (buf.get(3), buf.get(4)) {
        (Some(&IPV4), _) => 4,
        (Some(&IPV6), _) => 16,
        (Some(&NAME), Some(&length)) => 1 + usize::from(length),
        (Some(&NAME) | None, _) => return Ok(Next::Wait),
        (Some(&other), _) => return Err(Refusal::SocksAddressType(other)),
    };
    end(buf, 4 + address + 2)
}

/// > | VN | CD | DSTPORT |      DSTIP        |
///
/// <https://www.openssh.com/txt/socks4.protocol>
fn receive_reply4(buf: &mut BytesMut) -> Result<Next, Refusal> {
    is_version(buf, 0)?;
    match buf.get(1) {
        None => Ok(Next::Wait),
        Some(&GRANTED) => end(buf, 8),
        Some(&code) => Err(Refusal::Socks4(code)),
    }
}

/// Takes a message that opens the connection from `buf`, and checks that no byte follows.
fn end(buf: &mut BytesMut, length: usize) -> Result<Next, Refusal> {
    if buf.len() < length {
        return Ok(Next::Wait);
    }
    buf.advance(length);
    if buf.is_empty() { Ok(Next::Open) } else { Err(Refusal::EarlyBytes) }
}

fn is_version(buf: &[u8], version: u8) -> Result<(), Refusal> {
    match buf.first() {
        Some(&other) if other != version => Err(Refusal::SocksVersion(other)),
        _ => Ok(()),
    }
}

/// Returns the length of a name. Fails if a SOCKS message cannot carry the name.
fn checked(name: &str) -> Result<u8, Refusal> {
    // The client must neither truncate nor look up a name that is too long: CVE-2023-38545 of curl.
    let length = u8::try_from(name.len()).map_err(|_| Refusal::NameTooLong(name.len()))?;
    if name.is_empty() || name.contains('\0') { Err(Refusal::BadName) } else { Ok(length) }
}

const V1: u8 = 1;
const V4: u8 = 4;
const V5: u8 = 5;
/// Command that asks the proxy for a connection, in both versions.
const CONNECT: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const GRANTED: u8 = 90;
/// Largest number of bytes of a name, a user or a password.
pub(super) const MOST: usize = 255;

#[cfg(test)]
#[path = "socks_tests.rs"]
mod tests;
