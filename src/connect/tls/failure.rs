//! The error of a failed handshake: the fault of the server or of its certificate, and which other dials would fail.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerMisbehaved};

use super::verify::SelfSigned;
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
        Error::InvalidCertRevocationList(why) => {
            let message = format!("a revocation list cannot be used for {host:?}: {why:?}");
            return DialError::tls(message, Scope::Host);
        }
        Error::InvalidCertificate(why) => {
            return DialError::tls(certificate_refused(host, why), Scope::Host);
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            format!("the server at {host:?} does not offer HTTP/1.1: it may speak only HTTP/2")
        }
        Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
            format!(
                "the server at {host:?} chose a protocol that was not offered: the client offers only http/1.1"
            )
        }
        Error::AlertReceived(alert) if is_about_client(*alert).is_some() => {
            let why = is_about_client(*alert).unwrap_or_default();
            format!("the server at {host:?} {why}")
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            format!(
                "the server at {host:?} has no TLS version or cipher that this client accepts: the client speaks TLS 1.2 and 1.3, unless tls_version_min or tls_version_max says otherwise"
            )
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            format!(
                "the server at {host:?} refused the TLS handshake: it may require a client certificate, which ClientBuilder::identity sets, or support no cipher suite of the client"
            )
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            format!("the server does not know the name {host:?}: set another name with tls_server_name")
        }
        Error::AlertReceived(_) => format!("the server at {host:?} refused the TLS handshake"),
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

/// Returns the message for a connection error with which the server refused the client's certificate, or refused a
/// client without a certificate. In TLS 1.3, a server sends the refusal after the handshake, so that a read of the
/// response finds the refusal (<https://www.rfc-editor.org/rfc/rfc8446#section-4.4.2.4>).
pub(crate) fn client_refused(error: &io::Error) -> Option<&'static str> {
    match cause(error) {
        Some(Error::AlertReceived(alert)) => is_about_client(*alert),
        _ => None,
    }
}

/// Returns the message for an alert that concerns the client's certificate, or `None` for another alert.
fn is_about_client(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateRequired => {
            "requires a client certificate: set one with ClientBuilder::identity"
        }
        AlertDescription::CertificateExpired => {
            "refused the client's certificate because it has expired or is not valid yet: set another certificate with ClientBuilder::identity"
        }
        AlertDescription::CertificateRevoked => {
            "refused the client's certificate because it was revoked: set another certificate with ClientBuilder::identity"
        }
        AlertDescription::UnknownCA => {
            "refused the client's certificate because the authority that issued the certificate is not trusted: set another certificate with ClientBuilder::identity"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            "refused the client's certificate, or requires one: set a valid certificate with ClientBuilder::identity"
        }
        _ => return None,
    })
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
        CertificateError::BadSignature => {
            format!(
                "{certificate} for {host:?} is not signed by the trusted authority that has the issuer's name: add the authority's current root certificate if the authority has changed its key"
            )
        }
        CertificateError::Revoked => format!("{certificate} for {host:?} was revoked"),
        CertificateError::UnknownRevocationStatus => {
            format!(
                "no revocation list covers {certificate} for {host:?}: give a list of each authority of the chain"
            )
        }
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            format!("the revocation list for {certificate} for {host:?} has expired: give a newer one")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("{certificate} for {host:?} is not for servers: its extended key usage lacks serverAuth")
        }
        CertificateError::Other(other) => other_refused(&format!("{certificate} for {host:?}"), other),
        other => format!("{certificate} for {host:?} is not accepted: {other}"),
    }
}

/// Returns the message for a certificate that was refused for a reason that has no name in rustls.
fn other_refused(certificate: &str, why: &OtherError) -> String {
    match (why.0.downcast_ref(), &*why.0.to_string()) {
        (Some(SelfSigned { is_authority: false }), _) => {
            format!("{certificate} is self-signed: add it with add_root_certificate if you trust it")
        }
        (Some(SelfSigned { is_authority: true }), _) => format!(
            "{certificate} is self-signed and is marked as an authority (CA:TRUE), which is the default of `openssl req -x509`, so that no server can use it: create the certificate with -addext basicConstraints=critical,CA:FALSE, and add it with add_root_certificate"
        ),
        (None, "CaUsedAsEndEntity") => format!(
            "{certificate} is the certificate of an authority (CA:TRUE), so that no server can use it: give the server a certificate that this authority has signed"
        ),
        (None, "UnsupportedCertVersion") => format!(
            "{certificate} is of X.509 version 1, which has no host names: create a certificate of version 3 with a subjectAltName"
        ),
        (None, other) => format!("{certificate} is not accepted: {other}"),
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
    use super::*;

    #[test]
    fn a_message_shows_four_names_and_counts_the_others() {
        let names = (0..6).map(|n| format!("DnsName(\"{n}.example\")")).collect::<Vec<_>>();
        assert_eq!(super::names(&names), "0.example, 1.example, 2.example, 3.example and 2 more");
    }

    /// Some servers send these alerts to a client that has shown no certificate.
    #[test]
    fn an_alert_about_a_certificate_does_not_claim_that_one_was_shown() {
        for alert in [AlertDescription::BadCertificate, AlertDescription::AccessDenied] {
            let error = io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert));
            let why = client_refused(&error).unwrap();
            assert!(why.contains("or requires one") && why.contains("ClientBuilder::identity"), "{why}");
            let error = refused("a.test", error);
            let start = "the server at \"a.test\" refused the client's certificate, or requires one";
            assert!(error.message().starts_with(start), "{}", error.message());
        }
    }
}
