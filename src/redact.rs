//! URLs without secrets, for spans, records and messages.
//!
//! This module does no I/O. Invariant: no result has a user, a password, or the value of a key that signs a URL.

use http::Uri;

/// The keys of a query whose values sign the URL or name its signer. The conventions of OpenTelemetry list four of
/// these keys for `url.full`, and compare keys with their letter case. The keys of AWS's fourth signature have values
/// of the same kinds.
const SECRET_KEYS: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Goog-Signature",
    "sig",
];

/// Returns a URI without its user and password. The values of keys that sign a URL are replaced by `REDACTED`.
pub(crate) fn redacted(uri: &Uri) -> String {
    without_signature(without_credentials(uri).to_string())
}

/// Returns the text of a URL in which `REDACTED` replaces the values of keys that sign the URL.
pub(crate) fn without_signature(text: String) -> String {
    let Some((path, query)) = text.split_once('?') else { return text };
    if !query.split('&').any(|pair| is_secret(key(pair))) {
        return text;
    }
    let pairs: Vec<_> = query
        .split('&')
        .map(|pair| if is_secret(key(pair)) { format!("{}=REDACTED", key(pair)) } else { pair.to_owned() })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

fn key(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

/// Whether the value of a key signs the URL. A server reads a percent-encoded key as the key itself.
fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
        || (key.contains('%') && SECRET_KEYS.iter().any(|secret| decoded(key).eq(secret.bytes())))
}

/// Returns the bytes of a text without its percent-encoding. A percent sign that encodes nothing stays.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, mut after) = rest.split_first()?;
        let mut byte = *first;
        if let (b'%', [high, low, further @ ..]) = (byte, after)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            (byte, after) = (high * 16 + low, further);
        }
        rest = after;
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Returns a URI without its user and password.
pub(crate) fn without_credentials(uri: &Uri) -> Uri {
    let Some(authority) = uri.authority().filter(|a| a.as_str().contains('@')) else { return uri.clone() };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.authority = host.parse().ok();
    if parts.authority.is_none() {
        parts.scheme = None;
    }
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_keys_that_sign_are_replaced_and_their_keys_stay() {
        for (uri, shown) in [
            ("http://a.test/x?color=blue&sig=hunter2", "http://a.test/x?color=blue&sig=REDACTED"),
            ("http://u:hunter2@a.test/x?sig=hunter2&a=b", "http://a.test/x?sig=REDACTED&a=b"),
            (
                "http://a.test/?X-Amz-Signature=a=b&X-Amz-Date=1",
                "http://a.test/?X-Amz-Signature=REDACTED&X-Amz-Date=1",
            ),
            ("http://a.test/?Signature", "http://a.test/?Signature=REDACTED"),
            ("http://a.test/?signature=1&sigs=2&a=sig", "http://a.test/?signature=1&sigs=2&a=sig"),
            ("http://a.test/sig=1", "http://a.test/sig=1"),
            ("http://a.test/?", "http://a.test/?"),
            ("/path?sig=1", "/path?sig=REDACTED"),
            ("/path?X%2DAmz%2dSignature=1&s%69g=2", "/path?X%2DAmz%2dSignature=REDACTED&s%69g=REDACTED"),
            ("/path?sig%=1&sig%2=1&%ff=1&sig%3D1=1", "/path?sig%=1&sig%2=1&%ff=1&sig%3D1=1"),
        ] {
            assert_eq!(redacted(&uri.parse().unwrap()), shown);
        }
        for secret in SECRET_KEYS {
            let uri = format!("http://a.test/?a=1&{secret}=hunter2&b=2").parse().unwrap();
            assert_eq!(redacted(&uri), format!("http://a.test/?a=1&{secret}=REDACTED&b=2"));
        }
    }
}
