//! Content codings: the codings that a client accepts, and the codings that the head of a response names.
//!
//! This module decodes nothing. Invariant: a plan names only codings that this build can decode.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, HeaderValue};

/// A content coding that is decoded: <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    const ALL: [Self; 4] = [Self::Gzip, Self::Deflate, Self::Brotli, Self::Zstd];

    /// Returns the coding of this name, in any letter case. `x-gzip` is gzip.
    fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }

    /// Returns the registered name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codings(u8);

impl Default for Codings {
    /// Returns the codings that this build can decode.
    fn default() -> Self {
        Self::BUILT
    }
}

impl Codings {
    /// The codings that this build can decode. Each coding has a feature of the crate.
    pub(crate) const BUILT: Self = Self(
        cfg!(feature = "gzip") as u8
            | (cfg!(feature = "deflate") as u8) << 1
            | (cfg!(feature = "brotli") as u8) << 2
            | (cfg!(feature = "zstd") as u8) << 3,
    );

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, coding: Coding) -> bool {
        self.0 & coding.bit() != 0
    }

    /// Adds or removes a coding. A coding that this build cannot decode is not added.
    pub(crate) fn set(&mut self, coding: Coding, is_wanted: bool) {
        self.0 &= !coding.bit();
        if is_wanted {
            self.0 |= coding.bit() & Self::BUILT.0;
        }
    }

    /// Returns the value of `Accept-Encoding`, or `None` if the set is empty. No coding is preferred, so that the server
    /// chooses.
    pub(crate) fn accept(self) -> Option<HeaderValue> {
        (self.0 != 0).then(|| HeaderValue::from_static(ACCEPT[usize::from(self.0 & 15)]))
    }
}

/// The values of `Accept-Encoding`, by the bits of the set.
const ACCEPT: [&str; 16] = [
    "",
    "gzip",
    "deflate",
    "gzip, deflate",
    "br",
    "gzip, br",
    "deflate, br",
    "gzip, deflate, br",
    "zstd",
    "gzip, zstd",
    "deflate, zstd",
    "gzip, deflate, zstd",
    "br, zstd",
    "gzip, br, zstd",
    "deflate, br, zstd",
    "gzip, deflate, br, zstd",
];

/// Largest number of codings of one content. More than one coding is rare, and each coding multiplies the size that a
/// small content can reach.
pub(crate) const MOST: usize = 4;

/// The plan for the content of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The content is handed over unchanged, because it has no coding, or a coding that is not decoded.
    AsItCame,
    /// These codings are removed, from the first to the last.
    Decode(Vec<Coding>),
    /// The content has this number of codings, which is more than [`MOST`].
    TooMany(usize),
}

/// Reads `Content-Encoding`, which lists the codings in the order in which the server applied them:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-8.4>. Only codings of `accepted` are decoded. `identity` is no
/// coding.
pub(crate) fn plan(headers: &HeaderMap, accepted: Codings) -> Plan {
    let (mut codings, mut count) = (Vec::new(), 0);
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            match Coding::named(name).filter(|coding| accepted.has(*coding)) {
                Some(coding) if count < MOST => codings.push(coding),
                Some(_) => {}
                None => return Plan::AsItCame,
            }
            count += 1;
        }
    }
    codings.reverse();
    match count {
        0 => Plan::AsItCame,
        1..=MOST => Plan::Decode(codings),
        _ => Plan::TooMany(count),
    }
}

#[cfg(test)]
mod tests {
    use super::Coding::{Brotli, Deflate, Gzip, Zstd};
    use super::*;

    const EVERY: Codings = Codings(15);

    fn plan_of(values: &[&'static str], accepted: Codings) -> Plan {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        plan(&headers, accepted)
    }

    #[test]
    fn codings_are_removed_in_the_reverse_order() {
        for (values, expected) in [
            (&["gzip"][..], vec![Gzip]),
            (&["X-GZip"], vec![Gzip]),
            (&["BR"], vec![Brotli]),
            (&["deflate, gzip"], vec![Gzip, Deflate]),
            (&["zstd", "br ,, gzip"], vec![Gzip, Brotli, Zstd]),
            (&["identity, gzip", "Identity"], vec![Gzip]),
            (&["gzip, gzip,gzip", "gzip"], vec![Gzip; 4]),
        ] {
            assert_eq!(plan_of(values, EVERY), Plan::Decode(expected), "R-9110-8.4.1-1: {values:?}");
        }
    }

    #[test]
    fn content_with_an_unknown_coding_is_handed_over_as_it_came() {
        for values in [
            &[][..],
            &[""],
            &["identity"],
            &["foo"],
            &["gzip, foo"],
            &["gzip;q=1"],
            &["gzip gzip"],
            &["compress"],
            &["\"gzip\""],
            &["gzip, gzip, gzip, gzip, gzip, foo"],
        ] {
            assert_eq!(plan_of(values, EVERY), Plan::AsItCame, "{values:?}");
        }
        let mut accepted = EVERY;
        accepted.set(Gzip, false);
        assert_eq!(plan_of(&["gzip"], accepted), Plan::AsItCame);
        assert_eq!(plan_of(&["br, gzip"], accepted), Plan::AsItCame);
        assert_eq!(plan_of(&["br"], accepted), Plan::Decode(vec![Brotli]));
    }

    #[test]
    fn more_than_four_codings_are_too_many() {
        assert_eq!(plan_of(&["gzip, gzip, gzip, br", "zstd"], EVERY), Plan::TooMany(5), "CE-02");
        assert_eq!(plan_of(&["gzip, "; 120], EVERY), Plan::TooMany(120), "CE-02");
    }

    #[test]
    fn the_value_of_accept_encoding_lists_the_set() {
        for bits in 1..16 {
            let codings = Codings(bits);
            let names: Vec<_> =
                Coding::ALL.into_iter().filter(|coding| codings.has(*coding)).map(Coding::name).collect();
            assert_eq!(codings.accept().unwrap(), names.join(", ").as_str());
        }
        let mut codings = Codings::BUILT;
        Coding::ALL.into_iter().for_each(|coding| codings.set(coding, false));
        assert!(codings.is_empty() && codings.accept().is_none());
        Coding::ALL.into_iter().for_each(|coding| codings.set(coding, true));
        assert_eq!(codings, Codings::BUILT, "only built codings are added");
    }
}
