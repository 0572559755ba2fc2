//! The order of preference of a host's addresses: the destination address selection of RFC 6724, with the two rules of
//! RFC 8305 that use the history of earlier connections.
//!
//! This file knows no sockets: the caller says from which source address each address would be reached. Invariant: ranks
//! have a total order, and addresses of equal rank keep the order in which they came (rule 10).
//!
//! Three rules are left out, because no portable call tells what they need: rule 3 (deprecated source addresses), rule 4
//! (home addresses) and rule 7 (native transport).
//!
//! <https://www.rfc-editor.org/rfc/rfc6724#section-6>

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What is known of the source address from which the system would reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The source address was not looked up, because it would not change the order, or it could not be looked up.
    Unknown,
    /// There is no route to the address.
    Unreachable,
    /// The system would use this source address.
    Address(IpAddr),
}

/// Rank of an address. The fields stand in the order of the rules, and a smaller rank is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Rule 1: avoid unusable destinations.
    is_unreachable: bool,
    /// Recent failures to connect, see `history.rs`. An address that fails is avoided like an address without a route.
    failures: u32,
    /// Rule 2: prefer matching scope.
    has_other_scope: bool,
    /// Rule 5: prefer matching label.
    has_other_label: bool,
    /// Rule 6: prefer higher precedence.
    precedence: Reverse<u8>,
    /// Rule 8: prefer smaller scope.
    scope: Scope,
    /// > it SHOULD add a Destination Address Selection rule between rules 8 and 9 that prefers addresses with lower RTTs.
    /// > If the client keeps track of which addresses it used in the past, it SHOULD add another Destination Address
    /// > Selection rule between the RTT rule and rule 9, which prefers used addresses over unused ones.
    ///
    /// An address that was not used has no round trip. Round trips that differ by less than about a factor of two count
    /// as equal.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc8305#section-4>
    distance: u32,
    /// Rule 9: use the longest matching prefix. Like other implementations, this one uses the rule for IPv6 only and
    /// compares networks only, because an IPv4 prefix says nothing about distance, and the rule would undo the rotation
    /// of answers by name servers.
    prefix: Reverse<u32>,
}

impl Rank {
    /// Returns the rank of `address` by the rules. `failures` is the number of its recent failures to connect, and
    /// `round_trip` is the time that connecting took, if a connection succeeded lately.
    pub(crate) fn new(address: IpAddr, source: Source, failures: u32, round_trip: Option<Duration>) -> Self {
        let (scope, policy) = (Scope::of(address), policy_of(address));
        let source_address = match source {
            Source::Address(source) => Some(source),
            Source::Unknown | Source::Unreachable => None,
        };
        Self {
            is_unreachable: source == Source::Unreachable,
            failures,
            has_other_scope: source_address.is_some_and(|source| Scope::of(source) != scope),
            has_other_label: source_address.is_some_and(|source| policy_of(source).label != policy.label),
            precedence: Reverse(policy.precedence),
            scope,
            distance: round_trip.map_or(u32::MAX, distance),
            prefix: Reverse(source_address.map_or(0, |source| common_prefix(source, address))),
        }
    }

    /// Returns the rank of an address whose resolver or application has ordered the addresses: only failures count.
    pub(crate) fn in_given_order(failures: u32) -> Self {
        Self {
            is_unreachable: false,
            failures,
            has_other_scope: false,
            has_other_label: false,
            precedence: Reverse(0),
            scope: Scope::Global,
            distance: 0,
            prefix: Reverse(0),
        }
    }

    /// Returns the class of the address in a race: addresses of a smaller class are tried first, whatever their family is.
    /// `load` is the number of connections to the address, which counts after the failures.
    pub(crate) fn class(&self, load: usize) -> u32 {
        const LOADS: u32 = 1 << 20;
        let load = u32::try_from(load).unwrap_or(u32::MAX).min(LOADS - 1);
        if self.is_unreachable { u32::MAX } else { self.failures.min(4_000) * LOADS + load }
    }
}

/// Whether source addresses can change the order of these addresses. They cannot if all addresses are IPv4 addresses of one
/// scope, or IPv6 addresses of one network.
pub(crate) fn depends_on_sources(addresses: &[SocketAddr]) -> bool {
    let kind = |address: &SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(_) => (Scope::of(address.ip()), None),
        IpAddr::V6(v6) => (Scope::of(address.ip()), Some(network(v6))),
    };
    addresses.split_first().is_some_and(|(first, rest)| rest.iter().any(|other| kind(other) != kind(first)))
}

/// Scope of an address, from the smallest to the largest.
///
/// <https://www.rfc-editor.org/rfc/rfc6724#section-3>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    InterfaceLocal = 0x1,
    LinkLocal = 0x2,
    AdminLocal = 0x4,
    SiteLocal = 0x5,
    OrganizationLocal = 0x8,
    Global = 0xe,
}

impl Scope {
    /// Loopback and link-local addresses of both families are link-local. Private IPv4 addresses are global.
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => Self::LinkLocal,
            IpAddr::V4(_) => Self::Global,
            IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => Self::LinkLocal,
            IpAddr::V6(v6) if v6.is_multicast() => match v6.segments()[0] & 0xf {
                0x1 => Self::InterfaceLocal,
                0x2 => Self::LinkLocal,
                0x4 => Self::AdminLocal,
                0x5 => Self::SiteLocal,
                0x8 => Self::OrganizationLocal,
                _ => Self::Global,
            },
            IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => Self::SiteLocal,
            IpAddr::V6(_) => Self::Global,
        }
    }
}

/// A row of the policy table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    prefix: Ipv6Addr,
    length: u32,
    precedence: u8,
    label: u8,
}

/// The default policy table, with the longest prefixes first.
///
/// <https://www.rfc-editor.org/rfc/rfc6724#section-2.1>
const POLICIES: [Policy; 9] = [
    row([0, 0, 0, 0, 0, 0, 0, 1], 128, 50, 0),
    row([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, 35, 4),
    row([0, 0, 0, 0, 0, 0, 0, 0], 96, 1, 3),
    row([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 5, 5),
    row([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 30, 2),
    row([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, 1, 12),
    row([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 1, 11),
    row([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 3, 13),
    ANY,
];

/// The row for all other addresses.
const ANY: Policy = row([0; 8], 0, 40, 1);

const fn row(prefix: [u16; 8], length: u32, precedence: u8, label: u8) -> Policy {
    let [a, b, c, d, e, f, g, h] = prefix;
    Policy { prefix: Ipv6Addr::new(a, b, c, d, e, f, g, h), length, precedence, label }
}

/// Returns the row of an address. IPv4 addresses are looked up as IPv4-mapped addresses.
fn policy_of(address: IpAddr) -> Policy {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    POLICIES.into_iter().find(|row| equal_bits(address, row.prefix) >= row.length).unwrap_or(ANY)
}

/// Returns the number of leading bits that two addresses have in common.
fn equal_bits(one: Ipv6Addr, other: Ipv6Addr) -> u32 {
    (one.to_bits() ^ other.to_bits()).leading_zeros()
}

/// Returns the number of leading bits that two IPv6 addresses have in common, of the 64 bits of the network.
fn common_prefix(source: IpAddr, address: IpAddr) -> u32 {
    match (source, address) {
        (IpAddr::V6(source), IpAddr::V6(address)) => equal_bits(source, address).min(64),
        _ => 0,
    }
}

/// Returns the 64 bits of the network of an address.
fn network(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d].into_iter().fold(0, |bits, segment| bits << 16 | u64::from(segment))
}

/// Returns a coarse measure of a round trip, so that noise does not change the order.
fn distance(round_trip: Duration) -> u32 {
    u128::BITS - (round_trip.as_millis() / 8).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A source address, or `-` for no route, or `?` for an unknown source.
    fn source(text: &str) -> Source {
        match text {
            "-" => Source::Unreachable,
            "?" => Source::Unknown,
            _ => Source::Address(ip(text)),
        }
    }

    /// Returns addresses in order of preference. Each candidate is an address and its source.
    fn ordered<'a>(candidates: &[(&'a str, &str)]) -> Vec<&'a str> {
        let mut candidates: Vec<_> = candidates
            .iter()
            .map(|(address, from)| (Rank::new(ip(address), source(from), 0, None), *address))
            .collect();
        candidates.sort_by_key(|(rank, _)| *rank);
        candidates.into_iter().map(|(_, address)| address).collect()
    }

    /// Each pair in order of preference, for both orders in which the two can come.
    #[test]
    fn addresses_are_ordered_by_the_rules() {
        let pairs = [
            // The examples of RFC 6724 section 10.2, except for those that need rule 3, 4 or 7.
            ("rule 2", ("2001:db8:1::1", "2001:db8:1::2"), ("198.51.100.121", "169.254.13.78")),
            ("rule 2", ("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", "fe80::1")),
            ("rule 6", ("2001:db8:1::1", "2001:db8:1::2"), ("10.1.2.3", "10.1.2.4")),
            ("rule 8", ("fe80::1", "fe80::2"), ("2001:db8:1::1", "2001:db8:1::2")),
            ("rule 5", ("2002:c633:6401::1", "2002:c633:6401::2"), ("2001:db8:1::1", "2002:c633:6401::2")),
            ("rule 6", ("2001:db8:1::1", "2001:db8:1::2"), ("2002:c633:6401::1", "2002:c633:6401::2")),
            ("rule 9", ("2001:db8:1::1", "2001:db8:1::2"), ("2001:db8:3ffe::1", "2001:db8:1::2")),
            // Others.
            ("rule 1", ("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "-")),
            ("rule 1", ("2001:db8::1", "2001:db8::9"), ("192.0.2.1", "-")),
            ("rule 1, before scopes", ("2001:db8::1", "fe80::9"), ("192.0.2.1", "-")),
            ("rule 6: loopback", ("::1", "::1"), ("127.0.0.1", "127.0.0.1")),
            ("rule 6: Teredo", ("192.0.2.1", "192.0.2.9"), ("2001::1", "2001::9")),
            (
                "rule 5: a private network without IPv6",
                ("192.0.2.1", "192.0.2.9"),
                ("2001:db8::1", "fd00::9"),
            ),
            ("rule 6: private IPv6", ("192.0.2.1", "192.0.2.9"), ("fd00::1", "fd00::9")),
            ("rule 6: 6bone", ("192.0.2.1", "192.0.2.9"), ("3ffe::1", "3ffe::9")),
            ("rule 6: site-local", ("192.0.2.1", "192.0.2.9"), ("fec0::1", "fec0::9")),
            ("rule 6: compatible", ("192.0.2.1", "192.0.2.9"), ("::192.0.2.1", "::192.0.2.9")),
            ("rule 8: IPv4", ("169.254.1.1", "169.254.1.9"), ("192.0.2.1", "192.0.2.9")),
            ("sources are unknown", ("2001:db8::1", "?"), ("192.0.2.1", "?")),
        ];
        for (rule, first, second) in pairs {
            for candidates in [[first, second], [second, first]] {
                assert_eq!(ordered(&candidates), [first.0, second.0], "R-6724-6-1: {rule}");
            }
        }
    }

    /// Pairs that no rule tells apart keep their order.
    #[test]
    fn addresses_that_rank_equal_keep_their_order() {
        let pairs = [
            // The prefixes of IPv4 addresses do not count.
            (("192.0.2.1", "192.0.2.9"), ("203.0.113.1", "192.0.2.9")),
            // Host parts of IPv6 addresses do not count.
            (("2001:db8::f", "2001:db8::1"), ("2001:db8::1:2", "2001:db8::1")),
            (("192.0.2.1", "-"), ("203.0.113.1", "-")),
        ];
        for (first, second) in pairs {
            assert_eq!(ordered(&[first, second]), [first.0, second.0], "R-6724-6-1: rule 10");
            assert_eq!(ordered(&[second, first]), [second.0, first.0], "R-6724-6-1: rule 10");
        }
    }

    #[test]
    fn ipv6_without_a_route_comes_last() {
        let candidates = [
            ("2001:db8::1", "-"),
            ("192.0.2.1", "192.0.2.9"),
            ("2001:db8::2", "-"),
            ("192.0.2.2", "192.0.2.9"),
        ];
        assert_eq!(
            ordered(&candidates),
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"],
            "R-6724-6-2"
        );
        let rank = |from| Rank::new(ip("2001:db8::1"), source(from), 3, None);
        assert_eq!(
            (rank("-").class(0), rank("?").class(0)),
            (u32::MAX, 3 << 20),
            "R-6724-6-2: its family takes no turns"
        );
        assert!(rank("?").class(7) < rank("?").class(8), "fewer connections come first");
        let failed = |failures| Rank::in_given_order(failures);
        assert!(failed(0).class(usize::MAX) < failed(1).class(0), "failures count before connections");
        assert!(failed(u32::MAX).class(usize::MAX) < u32::MAX);
    }

    #[test]
    fn history_counts_where_the_rfc_says() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let rank = |address, failures, took| Rank::new(ip(address), Source::Unknown, failures, took);
        let (near, far, unused) = ("2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1");
        assert!(
            rank(near, 0, ms(10)) < rank(far, 0, ms(40)),
            "R-8305-4-1: a shorter round trip is preferred"
        );
        assert!(rank(far, 0, ms(40)) < rank(unused, 0, None), "R-8305-4-1: a used address is preferred");
        assert_eq!(rank(near, 0, ms(10)), rank(far, 0, ms(13)), "a small difference does not count");
        assert_eq!(rank(near, 0, ms(0)), rank(far, 0, ms(7)));
        assert!(rank(far, 0, None) < rank("192.0.2.1", 0, ms(1)), "rule 6 comes before round trips");
        assert!(rank("192.0.2.1", 0, None) < rank(near, 1, ms(1)), "failures come before the other rules");
        assert!(rank(far, 1, None) < rank(near, 2, ms(1)));
        assert!(Rank::in_given_order(0) < Rank::in_given_order(1));
    }

    #[test]
    fn sources_are_needed_only_where_they_change_the_order() {
        for (addresses, expected) in [
            (&[][..], false),
            (&["192.0.2.1"], false),
            (&["2001:db8::1"], false),
            (&["192.0.2.1", "203.0.113.1", "10.0.0.1"], false),
            (&["127.0.0.1", "127.0.0.2"], false),
            (&["192.0.2.1", "169.254.0.1"], true),
            (&["2001:db8::1", "2001:db8::2"], false),
            (&["2001:db8::1", "2001:db8:1::1"], true),
            (&["192.0.2.1", "2001:db8::1"], true),
            (&["192.0.2.1", "::ffff:192.0.2.2"], false),
        ] {
            let addresses: Vec<_> =
                addresses.iter().map(|address| SocketAddr::new(ip(address), 80)).collect();
            assert_eq!(depends_on_sources(&addresses), expected, "{addresses:?}");
        }
    }

    #[test]
    fn scopes_and_policies_are_those_of_the_rfc() {
        for (address, scope, precedence, label) in [
            ("::1", Scope::LinkLocal, 50, 0),
            ("2001:db8::1", Scope::Global, 40, 1),
            ("192.0.2.1", Scope::Global, 35, 4),
            ("10.0.0.1", Scope::Global, 35, 4),
            ("127.0.0.1", Scope::LinkLocal, 35, 4),
            ("169.254.0.1", Scope::LinkLocal, 35, 4),
            ("::ffff:169.254.0.1", Scope::LinkLocal, 35, 4),
            ("2002::1", Scope::Global, 30, 2),
            ("2001::1", Scope::Global, 5, 5),
            ("fd00::1", Scope::Global, 3, 13),
            ("fc00::1", Scope::Global, 3, 13),
            ("::2", Scope::Global, 1, 3),
            ("fec0::1", Scope::SiteLocal, 1, 11),
            ("feff::1", Scope::SiteLocal, 1, 11),
            ("3ffe::1", Scope::Global, 1, 12),
            ("fe80::1", Scope::LinkLocal, 40, 1),
            ("ff01::1", Scope::InterfaceLocal, 40, 1),
            ("ff02::1", Scope::LinkLocal, 40, 1),
            ("ff04::1", Scope::AdminLocal, 40, 1),
            ("ff05::1", Scope::SiteLocal, 40, 1),
            ("ff08::1", Scope::OrganizationLocal, 40, 1),
            ("ff0e::1", Scope::Global, 40, 1),
        ] {
            let policy = policy_of(ip(address));
            assert_eq!(
                (Scope::of(ip(address)), policy.precedence, policy.label),
                (scope, precedence, label),
                "{address}"
            );
        }
    }
}
