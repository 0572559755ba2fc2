//! Parser for the part of X.509 that an error message needs: whether a certificate names itself as its issuer.
//!
//! Every input has a result: a certificate that is not valid counts as not self-issued. No code here decides whether a
//! certificate is accepted.

/// Whether the issuer of a certificate in DER is its subject
/// (<https://www.rfc-editor.org/rfc/rfc5280#section-4.1>).
pub(super) fn is_self_issued(certificate: &[u8]) -> bool {
    names(certificate).is_some_and(|(issuer, subject)| issuer == subject)
}

/// Returns the issuer and the subject of a certificate.
fn names(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if let (VERSION, _, rest) = element(fields)? {
        fields = rest;
    }
    let (_serial, fields) = next(fields)?;
    let (_algorithm, fields) = next(fields)?;
    let (issuer, fields) = next(fields)?;
    let (_validity, fields) = next(fields)?;
    let (subject, _) = next(fields)?;
    Some((issuer, subject))
}

/// Returns the content of the first element, and the bytes after it.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    element(bytes).map(|(_, content, rest)| (content, rest))
}

/// Returns the tag and the content of the first element, and the bytes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (size, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // The length follows in one or two bytes. A longer length would be a certificate of more than 64 KiB.
        0x81 => rest.split_first().map(|(&size, rest)| (usize::from(size), rest))?,
        0x82 => {
            rest.split_first_chunk().map(|(&size, rest)| (usize::from(u16::from_be_bytes(size)), rest))?
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(size)?;
    Some((tag, content, rest))
}

/// Tag of the version, which is missing in a certificate of version 1.
const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};

    use super::*;

    #[test]
    fn an_issuer_that_is_the_subject_is_found_and_no_prefix_panics() {
        let named = |name: &str| {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let issuer = CertifiedIssuer::self_signed(named("one"), KeyPair::generate().unwrap()).unwrap();
        let other = named("two").signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        assert!(is_self_issued(issuer.der()) && !is_self_issued(other.der()));
        for end in 0..issuer.der().len().min(other.der().len()) {
            // The signature comes after the names, so that a long prefix still has both.
            let _ = is_self_issued(&issuer.der()[..end]);
            assert!(!is_self_issued(&other.der()[..end]));
        }
        assert!(!is_self_issued(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]));
    }

    /// A certificate of version 1 has no version field.
    #[test]
    fn the_version_may_be_missing() {
        let name = |letter: u8| [0x30, 1, letter];
        let certificate = |issuer, subject| {
            let mut fields = vec![2, 1, 7, 0x30, 0];
            fields.extend(name(issuer));
            fields.extend([0x30, 0]);
            fields.extend(name(subject));
            let inner = [&[0x30, fields.len() as u8], &*fields].concat();
            [&[0x30, 0x81, inner.len() as u8], &*inner].concat()
        };
        assert!(is_self_issued(&certificate(b'a', b'a')) && !is_self_issued(&certificate(b'a', b'b')));
    }
}
