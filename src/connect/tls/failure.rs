//! The error of a failed handshake: the fault of the server or of its certificate, and which other dials would fail.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::connect::{DialError, Scope};

/// Returns the error of rustls that an I/O error wraps, or `None` if the I/O error wraps no error of rustls.
pub(super) fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Returns the error of a dial whose handshake failed with `error`.
pub(super) fn refused(host: &str, error: io::Error) -> DialError {
    let Some(why) = cause(&error) else {
        let lost = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("the server at {host:?} closed the connection during the TLS handshake")
            }
            _ => format!("the connection to the server at {host:?} was lost during the TLS handshake"),
        };
        return DialError::tls(lost, Scope::Attempt).because(error);
    };
    let message = match why {
        // The error has no source, because the message already contains the text of the source.
        Error::InvalidCertificate(why) => {
            return DialError::tls(certificate_refused(host, why), Scope::Host);
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            format!("the server at {host:?} does not offer HTTP/1.1: it may speak only HTTP/2")
        }
        Error::AlertReceived(_) => format!("the server at {host:?} refused the TLS handshake"),
        Error::PeerIncompatible(_) => {
            format!("the server at {host:?} has no TLS version or cipher that this client accepts")
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => {
            format!("the server at {host:?} does not speak TLS on this port")
        }
        _ => format!("the TLS handshake with {host:?} failed"),
    };
    let why = why.clone();
    DialError::tls(message, Scope::Host).because(why)
}

/// Returns the message for a certificate that was not accepted.
fn certificate_refused(host: &str, why: &CertificateError) -> String {
    let certificate = "the server's certificate";
    match why {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!("{certificate} is not valid for {host:?}: it names no host")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("{certificate} is not valid for {host:?}: it is for {}", names(presented))
        }
        CertificateError::NotValidForName => format!("{certificate} is not valid for {host:?}"),
        CertificateError::UnknownIssuer => {
            format!(
                "{certificate} for {host:?} is signed by an unknown authority: add its root certificate if you trust it"
            )
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            format!("{certificate} for {host:?} expired {days} days ago")
        }
        CertificateError::Expired => format!("{certificate} for {host:?} has expired"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!(
                "{certificate} for {host:?} is not valid yet: check that the clock of this system is right"
            )
        }
        CertificateError::Revoked => format!("{certificate} for {host:?} was revoked"),
        other => format!("{certificate} for {host:?} is not accepted: {other}"),
    }
}

/// Returns the first names of a certificate. rustls writes a name as `DnsName("example.org")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let shown: Vec<_> = presented.iter().take(MAX_NAMES).map(bare).collect();
    match presented.len().saturating_sub(MAX_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Maximum number of a certificate's names that an error shows.
const MAX_NAMES: usize = 4;

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_shows_four_names_and_counts_the_others() {
        let names = (0..6).map(|n| format!("DnsName(\"{n}.example\")")).collect::<Vec<_>>();
        assert_eq!(super::names(&names), "0.example, 1.example, 2.example, 3.example and 2 more");
    }
}
