//! URLs without secrets, for spans, records and messages.
//!
//! This module does no I/O. Invariant: no result has a user, a password, or the value of a key that signs a URL.

use http::Uri;

/// The keys of a query whose values sign the URL or name its signer. The conventions of OpenTelemetry list four of
/// these keys for `url.full`. The keys of AWS's fourth signature have values of the same kinds.
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
    let mut shown = String::new();
    let mut copied = 0;
    while let Some(at) = text[copied..].find('=').map(|at| copied + at) {
        let since = &text[copied..at];
        // A key begins at the start of the text or after a separator. No key that signs has an equals sign.
        let key = since.rfind(BEFORE_KEY).map(|before| &since[before + 1..]);
        let is_secret = key.or_else(|| (copied == 0).then_some(since)).is_some_and(is_secret);
        shown.push_str(&text[copied..=at]);
        copied = at + 1;
        if is_secret {
            shown.push_str("REDACTED");
            copied = text[copied..].find(AFTER_VALUE).map_or(text.len(), |end| copied + end);
        }
    }
    if copied == 0 {
        return text;
    }
    shown.push_str(&text[copied..]);
    shown
}

/// The characters before a key. Some servers separate pairs by semicolons, and a value may be a URL with a query.
const BEFORE_KEY: [char; 4] = ['?', '&', ';', '#'];

/// The characters after the value of a key that signs. A semicolon is left out, because most servers read it as a part of
/// the value.
const AFTER_VALUE: [char; 2] = ['&', '#'];

/// Whether the value of a key signs the URL. A server reads a percent-encoded key as the key itself, and may ignore the
/// letter case of keys.
fn is_secret(key: &str) -> bool {
    let is_same = |secret: &str| {
        let secret = secret.bytes().map(|byte| byte.to_ascii_lowercase());
        decoded(key).map(|byte| byte.to_ascii_lowercase()).eq(secret)
    };
    SECRET_KEYS.iter().any(|secret| is_same(secret))
}

/// Returns the bytes of a text without its percent-encoding, and without the tabs and line ends that browsers remove from
/// URLs. A percent sign that encodes nothing stays.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        while let [b'\t' | b'\r' | b'\n', after @ ..] = rest {
            rest = after;
        }
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
            ("http://a.test/?Signature", "http://a.test/?Signature"),
            ("http://a.test/?sigs=2&a=sig&asig=3", "http://a.test/?sigs=2&a=sig&asig=3"),
            ("http://a.test/sig=1", "http://a.test/sig=1"),
            ("http://a.test/?", "http://a.test/?"),
            ("/path?sig=1", "/path?sig=REDACTED"),
            ("/path?X%2DAmz%2dSignature=1&s%69g=2", "/path?X%2DAmz%2dSignature=REDACTED&s%69g=REDACTED"),
            ("/path?sig%=1&sig%2=1&%ff=1&sig%3D1=1", "/path?sig%=1&sig%2=1&%ff=1&sig%3D1=1"),
            // A server may compare keys without their letter case.
            (
                "/?x-amz-signature=1&SIGNATURE=2&Sig=3",
                "/?x-amz-signature=REDACTED&SIGNATURE=REDACTED&Sig=REDACTED",
            ),
            ("/?%58-amz-Signature=1&%73%49g=2", "/?%58-amz-Signature=REDACTED&%73%49g=REDACTED"),
            // Some servers separate pairs by semicolons, and others take a semicolon for a part of the value.
            ("/?a=1;sig=2;b=3&c=4;sig=5", "/?a=1;sig=REDACTED&c=4;sig=REDACTED"),
            ("/p;sig=1/q;b=2?c=3&d=4", "/p;sig=REDACTED&d=4"),
            ("/?sig=1&sig=2&sig", "/?sig=REDACTED&sig=REDACTED&sig"),
            ("/?sig=&sig==&&;", "/?sig=REDACTED&sig=REDACTED&&;"),
            ("/?a=sig=1&=sig=2", "/?a=sig=1&=sig=2"),
            // The URL in the value is not encoded, and signed itself.
            ("/?next=http://b.test/?sig=1&b=2", "/?next=http://b.test/?sig=REDACTED&b=2"),
            ("http://a%3Fsig=x:hunter2@a.test/?sig=1", "http://a.test/?sig=REDACTED"),
        ] {
            assert_eq!(redacted(&uri.parse().unwrap()), shown);
        }
        for secret in SECRET_KEYS {
            for key in [secret.to_owned(), secret.to_ascii_lowercase(), secret.to_ascii_uppercase()] {
                let uri = format!("http://a.test/?a=1&{key}=hunter2&b=2").parse().unwrap();
                assert_eq!(redacted(&uri), format!("http://a.test/?a=1&{key}=REDACTED&b=2"));
            }
        }
    }

    /// The text of a URL, which a URI cannot always hold: a fragment, a relative URL, and the tabs that browsers remove.
    #[test]
    fn a_text_that_is_no_uri_is_searched_too() {
        for (text, shown) in [
            ("http://a.test/?a=1#sig=2", "http://a.test/?a=1#sig=REDACTED"),
            ("http://a.test/#a&sig=2", "http://a.test/#a&sig=REDACTED"),
            ("http://a.test/?sig=1#top", "http://a.test/?sig=REDACTED#top"),
            ("?sig=1", "?sig=REDACTED"),
            ("sig", "sig"),
            ("\u{e4}?sig=\u{e4}\u{e4}&b=\u{e4}", "\u{e4}?sig=REDACTED&b=\u{e4}"),
            ("/?s\tig=1&x=2", "/?s\tig=REDACTED&x=2"),
            ("", ""),
        ] {
            assert_eq!(without_signature(text.to_owned()), shown);
            assert_eq!(without_signature(shown.to_owned()), shown);
        }
    }

    /// Compares all short texts with a search for each key from the start of the text. Time that grows with the square of the
    /// length would be minutes for each long text.
    #[test]
    fn every_key_is_found_in_one_pass() {
        let searched = |text: &str| {
            let (mut shown, mut copied) = (String::new(), 0);
            for (at, _) in text.match_indices('=') {
                let key = text[..at].rsplit(BEFORE_KEY).next().unwrap();
                if at >= copied && is_secret(key) {
                    let value = text[at + 1..].find(AFTER_VALUE).map_or(text.len(), |end| at + 1 + end);
                    shown += &format!("{}=REDACTED", &text[copied..at]);
                    copied = value;
                }
            }
            shown + &text[copied..]
        };
        const PARTS: [&str; 11] = ["sig", "s%69g", "a", "=", "&", ";", "#", "?", "%", "\u{e4}", "\t"];
        for number in 0..PARTS.len().pow(4) {
            let part = |place| PARTS[number / PARTS.len().pow(place) % PARTS.len()];
            let text: String = (0..4).map(part).collect();
            let shown = without_signature(text.clone());
            assert_eq!(shown, searched(&text), "{text}");
            assert_eq!(without_signature(shown.clone()), shown, "{text}");
        }
        for part in ["=", "a=", "sig=&", "?", "%", "&a=b;c"] {
            let text = part.repeat(1 << 18);
            assert_eq!(without_signature(text.clone()).contains("REDACTED"), part == "sig=&");
        }
    }
}
