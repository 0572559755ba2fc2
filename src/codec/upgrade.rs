//! Switching protocols: what a request offered, and whether a 101 keeps to it.
//!
//! It knows the two Upgrade fields, not what the protocols are nor what becomes of the connection. Invariant: an answer
//! is accepted only if it names something, and nothing that was not offered.

use http::HeaderMap;
use http::header::UPGRADE;

use super::error::{Misuse, ProtocolError};
use super::fields::{elements, is_token};

/// The protocols that a request offered, in one list.
#[derive(Debug)]
pub(super) struct Offer(Box<[u8]>);

impl Offer {
    /// Checks one line of an offer.
    ///
    /// > protocol = protocol-name ["/" protocol-version]
    ///
    /// Both are tokens: <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>.
    pub(super) fn check(value: &[u8]) -> Result<(), Misuse> {
        let is_protocol = |protocol: &[u8]| {
            let mut parts = protocol.splitn(2, |&byte| byte == b'/');
            parts.all(is_token)
        };
        if elements(value).all(is_protocol) { Ok(()) } else { Err(Misuse::BadUpgrade) }
    }

    /// The offer in these fields, which were checked.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let lines: Vec<&[u8]> = headers.get_all(UPGRADE).iter().map(|value| value.as_bytes()).collect();
        Self(lines.join(&b","[..]).into())
    }

    /// > A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding request's
    /// > Upgrade header field.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>. Names are compared case-insensitively, and
    /// > A server that sends a 101 (Switching Protocols) response MUST send an Upgrade header field to indicate the new
    /// > protocol(s)
    pub(super) fn judge(&self, headers: &HeaderMap) -> Result<(), ProtocolError> {
        let lines = headers.get_all(UPGRADE).iter();
        let mut answers =
            lines.flat_map(|value| elements(value.as_bytes())).filter(|answer| !answer.is_empty()).peekable();
        if answers.peek().is_none() {
            return Err(ProtocolError::UpgradeUnnamed);
        }
        let is_offered =
            |answer: &[u8]| elements(&self.0).any(|offered| offered.eq_ignore_ascii_case(answer));
        if answers.all(is_offered) { Ok(()) } else { Err(ProtocolError::UpgradeNotOffered) }
    }
}
