//! Switching protocols: which protocols a request offers, and whether a 101 accepts the offer.
//!
//! This module knows the Upgrade field of the request and the Upgrade field of the 101. The module knows neither the
//! protocols nor the connection. Invariant: a 101 is accepted only if the 101 names a protocol that the request
//! offered. After the offered protocols, the 101 may name HTTP/1.1, which runs over these protocols.

use http::HeaderMap;
use http::header::UPGRADE;

use super::error::{Misuse, ProtocolError};
use super::grammar::{elements, is_token};

/// The protocols that a request offers, as one list.
#[derive(Debug)]
pub(super) struct Offer(Box<[u8]>);

impl Offer {
    /// Checks one line of a request's Upgrade field.
    ///
    /// > protocol = protocol-name ["/" protocol-version]
    ///
    /// Name and version are tokens: <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>.
    pub(super) fn check(value: &[u8]) -> Result<(), Misuse> {
        let is_protocol = |protocol: &[u8]| {
            let mut parts = protocol.splitn(2, |&byte| byte == b'/');
            parts.all(is_token)
        };
        if elements(value).all(is_protocol) { Ok(()) } else { Err(Misuse::BadUpgrade) }
    }

    /// Returns the offer of `headers`, whose Upgrade lines have been checked.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let lines: Vec<&[u8]> = headers.get_all(UPGRADE).iter().map(|value| value.as_bytes()).collect();
        Self(lines.join(&b","[..]).into())
    }

    /// Checks the Upgrade field of a 101.
    ///
    /// > A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding request's
    /// > Upgrade header field.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>, and
    ///
    /// > A server that sends a 101 (Switching Protocols) response MUST send an Upgrade header field to indicate the new
    /// > protocol(s) to which the connection is being switched; if multiple protocol layers are being switched, the
    /// > sender MUST list the protocols in layer-ascending order.
    ///
    /// HTTP/1.1 after an offered protocol is such a layer, because HTTP/1.1 continues over the new protocol. `TLS/1.0,
    /// HTTP/1.1` is an example: <https://www.rfc-editor.org/rfc/rfc2817#section-3.3>. HTTP/1.1 needs no offer.
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

    /// Whether the request offered the protocol `answer`. Letter case does not matter. An offer without a version
    /// covers all versions of the protocol.
    fn contains(&self, answer: &[u8]) -> bool {
        let version = answer.iter().position(|&byte| byte == b'/');
        let name = version.filter(|&at| is_token(&answer[at + 1..])).map(|at| &answer[..at]);
        elements(&self.0).any(|offered| {
            offered.eq_ignore_ascii_case(answer)
                || name.is_some_and(|name| offered.eq_ignore_ascii_case(name))
        })
    }
}
