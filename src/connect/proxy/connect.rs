//! CONNECT as bytes: the request for a tunnel, and the proxy's answer.
//!
//! The crate's codec writes the request and reads the answer, so that the codec's limits and rules apply here too. This
//! file knows no socket. Invariants: a tunnel is open only after a 2xx, and only if no byte follows the head of the
//! 2xx. The content of any other answer is never read.

use bytes::BytesMut;
use http::header::{HeaderMap, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Method, StatusCode};

use super::refusal::Refusal;
use super::socks::Next;
use crate::codec::{Event, Limits, Machine, RequestHead, Target};

/// The client's side of CONNECT.
#[derive(Debug)]
pub(super) struct Connect {
    machine: Machine,
    has_sent_credentials: bool,
}

impl Connect {
    /// Begins CONNECT to `authority`, which is a host and a port as in a URI. `fields` are sent to the proxy only.
    /// `agent` is the `User-Agent`, unless `fields` have one.
    /// Returns the dialog and the bytes to send.
    ///
    /// # Errors
    ///
    /// If the authority or a field cannot be sent.
    pub(super) fn new(
        authority: &str,
        fields: &HeaderMap,
        agent: Option<&HeaderValue>,
    ) -> Result<(Self, Vec<u8>), Refusal> {
        let mut machine = Machine::new(Limits::default());
        let mut out = BytesMut::new();
        // > CONNECT uses a special form of request target, unique to this method, consisting of only the host and port
        // > number of the tunnel destination, separated by a colon.
        // <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6>
        let target = Target::Authority(authority);
        let mut fields = fields.clone();
        if let Some(agent) = agent.filter(|_| !fields.contains_key(USER_AGENT)) {
            fields.insert(USER_AGENT, agent.clone());
        }
        let head = RequestHead::new(&Method::CONNECT, target, Some(authority.as_bytes()), &fields);
        machine.encode_head(&head, &mut out).map_err(Refusal::Unsendable)?;
        let has_sent_credentials = fields.contains_key(PROXY_AUTHORIZATION);
        Ok((Self { machine, has_sent_credentials }, out.to_vec()))
    }

    /// Reads the proxy's answer from `buf`, and returns the next step.
    ///
    /// # Errors
    ///
    /// If the proxy opens no tunnel, if its answer is malformed, or if bytes follow the answer that opens the tunnel.
    pub(super) fn receive(&mut self, buf: &mut BytesMut) -> Result<Next, Refusal> {
        loop {
            let head = match self.machine.decode(buf).map_err(Refusal::Http)? {
                None => return Ok(Next::Wait),
                Some(Event::Head(head)) => head,
                Some(_) => continue,
            };
            return match head.status {
                // > Any 2xx (Successful) response indicates that the sender (and all inbound proxies) will switch to
                // > tunnel mode immediately after the response header section
                // <https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6>
                status if status.is_success() && buf.is_empty() => Ok(Next::Open),
                status if status.is_success() => Err(Refusal::EarlyBytes),
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(Refusal::Credentials {
                    has_sent: self.has_sent_credentials,
                    schemes: schemes(head.headers().get_all(PROXY_AUTHENTICATE)),
                }),
                status => Err(Refusal::Status(status)),
            };
        }
    }
}

/// Returns the names of the authentication schemes of `Proxy-Authenticate`: at most 8 names of at most 32 bytes.
///
/// > challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
///
/// <https://www.rfc-editor.org/rfc/rfc9110#section-11.3>. A comma separates both challenges and parameters. An element is a
/// parameter if its first word is followed by `=`.
fn schemes<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Vec<String> {
    let mut schemes: Vec<String> = Vec::new();
    for element in values.into_iter().flat_map(|value| Elements(value.as_bytes())) {
        let element = element.trim_ascii();
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let end = element.iter().position(|byte| !is_token(byte)).unwrap_or(element.len());
        let (word, rest) = element.split_at(end);
        let is_parameter = rest.trim_ascii_start().first() == Some(&b'=');
        let is_separated = rest.first().is_none_or(|byte| b" \t".contains(byte));
        if word.is_empty() || word.len() > 32 || is_parameter || !is_separated {
            continue;
        }
        let name = String::from_utf8_lossy(word);
        if schemes.len() < 8 && !schemes.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            schemes.push(name.into_owned());
        }
    }
    schemes
}

/// Iterator over the elements of a list. Commas outside of quoted strings separate the elements. A quoted string
/// without an end extends to the end of the value.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (mut is_quoted, mut is_escaped) = (false, false);
        let comma = self.0.iter().position(|&byte| {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                b',' => return !is_quoted,
                _ => {}
            }
            false
        });
        let element = &self.0[..comma.unwrap_or(self.0.len())];
        self.0 = comma.map_or(&[], |comma| &self.0[comma + 1..]);
        Some(element)
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
