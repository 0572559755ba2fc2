//! Switching protocols: what a request offered, and whether a 101 keeps to it.
//!
//! It knows the two Upgrade fields, not what the protocols are nor what becomes of the connection. Invariant: an answer
//! is accepted only if it names a protocol that was offered, and beside such only HTTP/1.1 on top of it.

use http::HeaderMap;
use http::header::UPGRADE;

use super::error::{Misuse, ProtocolError};
use super::grammar::{elements, is_token};

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
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>, and
    ///
    /// > A server that sends a 101 (Switching Protocols) response MUST send an Upgrade header field to indicate the new
    /// > protocol(s) to which the connection is being switched; if multiple protocol layers are being switched, the
    /// > sender MUST list the protocols in layer-ascending order.
    ///
    /// HTTP/1.1 behind one that was offered is such a layer: the same protocol goes on over the new one, as in
    /// `TLS/1.0, HTTP/1.1`, <https://www.rfc-editor.org/rfc/rfc2817#section-3.3>. It needs no offer.
    pub(super) fn judge(&self, headers: &HeaderMap) -> Result<(), ProtocolError> {
        let lines = headers.get_all(UPGRADE).iter();
        let answers = lines.flat_map(|value| elements(value.as_bytes())).filter(|answer| !answer.is_empty());
        let mut has_offered = false;
        for answer in answers {
            if self.contains(answer) {
                has_offered = true;
            } else if !(has_offered && answer.eq_ignore_ascii_case(b"HTTP/1.1")) {
                return Err(ProtocolError::UpgradeNotOffered);
            }
        }
        if has_offered { Ok(()) } else { Err(ProtocolError::UpgradeUnnamed) }
    }

    /// Whether this was offered, in any case of its letters; in any version, if the offer named none.
    fn contains(&self, answer: &[u8]) -> bool {
        let version = answer.iter().position(|&byte| byte == b'/');
        let name = version.filter(|&at| is_token(&answer[at + 1..])).map(|at| &answer[..at]);
        elements(&self.0).any(|offered| {
            offered.eq_ignore_ascii_case(answer)
                || name.is_some_and(|name| offered.eq_ignore_ascii_case(name))
        })
    }
}
