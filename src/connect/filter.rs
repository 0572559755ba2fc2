//! The address filter: which addresses a client may connect to.
//!
//! Server-side request forgery makes a program fetch a URL of an attacker that leads to a server of the program's own
//! network. A check of the URL does not help, because the name in the URL may resolve to a local address, and to another
//! address the next time (DNS rebinding). So the filter sees each address of each dial, after the name lookup and
//! immediately before the address is tried. An address that a proxy is asked for is checked before the proxy is asked. This
//! file is pure, and knows neither resolvers nor sockets. Invariant: a dial tries no address that the filter has not allowed
//! in this dial.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::destination::Destination;
use crate::error::Error;

/// Decides which addresses a client may connect to:
/// [`ClientBuilder::address_filter`](crate::ClientBuilder::address_filter).
///
/// A filter protects a program that fetches URLs of other people from reaching servers of its own machine or network. The
/// filter is asked about each address that a dial could try: the addresses of a lookup, of an override and of `localhost`,
/// and an address that the URL itself names, in any spelling. Each request of a chain of redirects is checked in this
/// way. A name that resolves to another address later is checked again at the next dial.
///
/// An address that the filter refuses is not tried. If no address is left, the request fails with
/// [`ErrorKind::AddressRefused`](crate::ErrorKind::AddressRefused), and nothing is sent to the host. The error names each
/// refused address.
///
/// The address of a proxy has to pass the filter too. The filter cannot see the address of a name that a proxy looks
/// up. Such a request fails, unless `Proxy::filters_addresses` says that the proxy refuses addresses itself.
///
/// An IPv6 address that contains an IPv4 address counts as both: `::ffff:127.0.0.1` (mapped), `64:ff9b::7f00:1` (NAT64)
/// and `2002:7f00:1::` (6to4) are refused by a filter that refuses `127.0.0.1`. The unspecified addresses `0.0.0.0` and `::`
/// lead to this machine, so that they count as `127.0.0.1` and `::1` too.
///
/// # Examples
///
/// ```
/// use handclasp::{AddressFilter, Client};
///
/// # fn main() -> handclasp::Result<()> {
/// // Public addresses, and one service of the own network.
/// let filter = AddressFilter::public_only().allow(["10.0.7.20"])?;
/// let client = Client::builder().address_filter(filter).build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use handclasp::{AddressFilter, Client, ErrorKind};
///
/// let client = Client::builder().address_filter(AddressFilter::public_only()).build()?;
/// let error = client.get("http://localhost:8080/").send().await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::AddressRefused);
/// # Ok::<(), handclasp::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct AddressFilter {
    /// Rules that refuse addresses. One rule is enough.
    rules: Vec<Rule>,
    /// Blocks that no rule refuses.
    allowed: Vec<Block>,
}

/// A rule that refuses addresses.
#[derive(Clone)]
enum Rule {
    /// Refuses addresses that are not public.
    NotPublic,
    /// Refuses the addresses of these blocks.
    Blocks(Vec<Block>),
    /// Refuses the addresses for which the caller's function returns `false`.
    Function(Arc<dyn Fn(&Candidate<'_>) -> bool + Send + Sync>),
}

/// An address that a dial could try, for the function of [`AddressFilter::from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    to: &'a Destination,
    address: SocketAddr,
}

impl Candidate<'_> {
    /// Returns the destination: the scheme, host and port of the URL.
    pub fn destination(&self) -> &Destination {
        self.to
    }

    /// Returns the address and the port that the dial would connect to. An IPv4 address that is mapped into IPv6 is
    /// returned as an IPv4 address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl AddressFilter {
    /// Returns a filter that allows public addresses only: addresses that are reachable from the whole internet.
    ///
    /// The filter refuses loopback, private, link-local, shared, multicast, reserved and documentation addresses, and
    /// every other block that the registries of [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry) and
    /// [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry) special-purpose addresses do not call globally
    /// reachable. The metadata servers of cloud providers are in these blocks, except one of Azure (168.63.129.16), which
    /// is refused too. Of IPv6, only 2000::/3 is allowed.
    ///
    /// The filter does not know which public addresses belong to this machine or its network: add these with
    /// [`deny`](Self::deny).
    pub fn public_only() -> Self {
        Self { rules: vec![Rule::NotPublic], allowed: Vec::new() }
    }

    /// Returns a filter that allows the addresses for which `allows` returns `true`.
    ///
    /// The function runs in the task of the dial, once for each address of each dial. It must not block. If it panics,
    /// the dial fails. For an address in the URL of a request through a proxy, the function runs in the request's
    /// future instead.
    ///
    /// ```
    /// use handclasp::AddressFilter;
    ///
    /// let filter = AddressFilter::from_fn(|candidate| matches!(candidate.address().port(), 80 | 443));
    /// ```
    pub fn from_fn(allows: impl Fn(&Candidate<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self { rules: vec![Rule::Function(Arc::new(allows))], allowed: Vec::new() }
    }

    /// Returns a filter that refuses the addresses of these blocks and allows all others. A block is an address, or an
    /// address and the length of its prefix: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) if a text is not a block.
    pub fn deny<T: AsRef<str>>(blocks: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        Ok(Self { rules: vec![Rule::Blocks(parse(blocks)?)], allowed: Vec::new() })
    }

    /// Allows the addresses of these blocks, whatever the rules of the filter say. A block is written as in
    /// [`deny`](Self::deny).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) if a text is not a block.
    pub fn allow<T: AsRef<str>>(mut self, blocks: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        self.allowed.extend(parse(blocks)?);
        Ok(self)
    }

    /// Returns a filter that allows an address only if both filters allow the address.
    ///
    /// ```
    /// use handclasp::AddressFilter;
    ///
    /// # fn main() -> handclasp::Result<()> {
    /// let filter = AddressFilter::public_only().and(AddressFilter::deny(["198.18.0.0/15", "2001:db8:7::/48"])?);
    /// # drop(filter);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::from_fn(move |candidate| self.allows(candidate) && other.allows(candidate))
    }

    /// Removes the refused addresses from `addresses`, and returns the refused addresses.
    pub(super) fn remove_refused(
        &self,
        to: &Destination,
        addresses: &mut Vec<SocketAddr>,
    ) -> Vec<SocketAddr> {
        let is_allowed = |address: &SocketAddr| self.allows_address(to, *address);
        let (allowed, refused) = std::mem::take(addresses).into_iter().partition(is_allowed);
        *addresses = allowed;
        refused
    }

    /// Whether a connection to `to` may use this address.
    pub(super) fn allows_address(&self, to: &Destination, address: SocketAddr) -> bool {
        self.allows(&Candidate { to, address: SocketAddr::new(address.ip().to_canonical(), address.port()) })
    }

    fn allows(&self, candidate: &Candidate<'_>) -> bool {
        let address = candidate.address.ip();
        self.allowed.iter().any(|block| block.contains(address))
            || self.rules.iter().all(|rule| match rule {
                Rule::NotPublic => is_public(address),
                Rule::Blocks(blocks) => {
                    let reached = reached_by(address);
                    !blocks.iter().any(|block| {
                        block.contains(address) || reached.is_some_and(|reached| block.contains(reached))
                    })
                }
                Rule::Function(allows) => allows(candidate),
            })
    }
}

impl fmt::Debug for AddressFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressFilter").field("rules", &self.rules).field("allowed", &self.allowed).finish()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublic => f.write_str("NotPublic"),
            Self::Blocks(blocks) => f.debug_tuple("Blocks").field(blocks).finish(),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

/// A block of addresses: all addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    base: IpAddr,
    /// Number of bits that the addresses have in common.
    length: u32,
}

impl Block {
    const fn v4(base: [u8; 4], length: u32) -> Self {
        let [a, b, c, d] = base;
        Self { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length }
    }

    const fn v6(first: [u16; 4], length: u32) -> Self {
        let [a, b, c, d] = first;
        Self { base: IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)), length }
    }

    fn contains(self, address: IpAddr) -> bool {
        let differs = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                u128::from(base.to_bits() ^ address.to_bits()) << (u128::BITS - u32::BITS)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => base.to_bits() ^ address.to_bits(),
            _ => return false,
        };
        differs.leading_zeros() >= self.length
    }
}

/// Reads blocks that are written as `10.0.0.0/8` or `10.0.0.1`.
fn parse<T: AsRef<str>>(blocks: impl IntoIterator<Item = T>) -> Result<Vec<Block>, Error> {
    let parse = |text: &str| {
        let (base, length) = text.split_once('/').map_or((text, None), |(base, rest)| (base, Some(rest)));
        let written: IpAddr = base.parse().ok()?;
        let base = written.to_canonical();
        let longest = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse::<u32>().ok()?
            }
            Some(_) => return None,
            None => longest(written),
        };
        let length = (length <= longest(written)).then_some(length)?;
        // `::ffff:10.0.0.0/104` is the block 10.0.0.0/8.
        let length = length.checked_sub(longest(written) - longest(base))?;
        Some(Block { base, length })
    };
    let parsed = blocks.into_iter().map(|text| {
        let text = text.as_ref();
        parse(text).ok_or_else(|| {
            Error::request(format!(
                "{text:?} is not a block of addresses: give 10.0.0.0/8, fd00::/8 or an address"
            ))
        })
    });
    parsed.collect()
}

/// Whether an address is reachable from the whole internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|block| block.contains(address)),
        IpAddr::V6(_) => match reached_by(address) {
            Some(reached) => is_public(reached),
            None => {
                Block::v6([0x2000, 0, 0, 0], 3).contains(address)
                    && !SPECIAL_V6.iter().any(|block| block.contains(address))
            }
        },
    }
}

/// Returns the other address that a connection to `address` reaches, if there is one.
///
/// A gateway forwards packets for some IPv6 addresses to an IPv4 address: NAT64
/// (<https://www.rfc-editor.org/rfc/rfc6052#section-2.1>) and 6to4 (<https://www.rfc-editor.org/rfc/rfc3056#section-2>). The
/// system connects to itself if the address is unspecified.
fn reached_by(address: IpAddr) -> Option<IpAddr> {
    let v6 = match address {
        IpAddr::V4(v4) => return v4.is_unspecified().then_some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(v6) => v6,
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
        }
        _ => v6.is_unspecified().then_some(Ipv6Addr::LOCALHOST.into()),
    }
}

/// Blocks of IPv4 that are not public.
const SPECIAL_V4: [Block; 17] = [
    Block::v4([0, 0, 0, 0], 8),
    Block::v4([10, 0, 0, 0], 8),
    Block::v4([100, 64, 0, 0], 10),
    Block::v4([127, 0, 0, 0], 8),
    // Azure's servers for metadata and names: <https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>
    Block::v4([168, 63, 129, 16], 32),
    Block::v4([169, 254, 0, 0], 16),
    Block::v4([172, 16, 0, 0], 12),
    Block::v4([192, 0, 0, 0], 24),
    Block::v4([192, 0, 2, 0], 24),
    Block::v4([192, 88, 99, 0], 24),
    Block::v4([192, 168, 0, 0], 16),
    Block::v4([198, 18, 0, 0], 15),
    Block::v4([198, 51, 100, 0], 24),
    Block::v4([203, 0, 113, 0], 24),
    Block::v4([224, 0, 0, 0], 4),
    Block::v4([240, 0, 0, 0], 4),
    Block::v4([255, 255, 255, 255], 32),
];

/// Blocks within 2000::/3 that are not public.
const SPECIAL_V6: [Block; 3] = [
    // Protocol assignments, Teredo among them.
    Block::v6([0x2001, 0, 0, 0], 23),
    Block::v6([0x2001, 0xdb8, 0, 0], 32),
    Block::v6([0x3fff, 0, 0, 0], 20),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(filter: &AddressFilter, addresses: &[&str]) -> Vec<String> {
        let to = Destination::new(false, "a.test", 80);
        let addresses = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 80));
        let (mut left, all) = (addresses.clone().collect(), addresses.collect::<Vec<_>>());
        let refused = filter.remove_refused(&to, &mut left);
        assert_eq!(left.len() + refused.len(), all.len());
        assert!(left.iter().all(|address| all.contains(address) && !refused.contains(address)));
        refused.iter().map(|address| address.ip().to_string()).collect()
    }

    /// The first and the last address of each block, and the addresses beside the block.
    #[test]
    fn a_31_only_public_addresses_are_allowed() {
        let special = [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.0",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.192",
            "192.0.2.255",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff:ffff::",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "1fff::1",
        ];
        let public = [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2001:200::1",
            "2001:db7::1",
            "2001:db9::1",
            "2606:4700::1",
            "3ffe::1",
            "3fff:1000::1",
        ];
        let filter = AddressFilter::public_only();
        assert_eq!(refused(&filter, &special).len(), special.len(), "A-31 A-32");
        assert_eq!(refused(&filter, &public), [] as [&str; 0]);
    }

    #[test]
    fn a_32_an_address_in_an_address_is_seen() {
        let local =
            ["::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::1"];
        let public = ["::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"];
        let filter = AddressFilter::public_only();
        assert_eq!(refused(&filter, &local).len(), local.len(), "A-32");
        assert_eq!(refused(&filter, &public), [] as [&str; 0]);
        let filter = AddressFilter::deny(["10.0.0.0/8", "::ffff:127.0.0.0/104"]).unwrap();
        let local = ["::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:aff:1::1", "127.9.9.9", "10.1.2.3"];
        assert_eq!(refused(&filter, &local).len(), local.len(), "A-32");
        assert_eq!(refused(&filter, &["11.0.0.1", "64:ff9b::b00:1", "::1"]), [] as [&str; 0]);
    }

    /// A connection to the unspecified address leads to this machine.
    #[test]
    fn a_32_the_unspecified_address_is_a_loopback_address_too() {
        let filter = AddressFilter::deny(["127.0.0.0/8", "::1"]).unwrap();
        let local = ["0.0.0.0", "::", "::ffff:0.0.0.0", "127.0.0.1", "::1"];
        assert_eq!(refused(&filter, &local).len(), local.len(), "A-32");
        assert_eq!(refused(&filter, &["0.0.0.1", "::2", "8.8.8.8"]), [] as [&str; 0]);
        let filter = AddressFilter::deny(["0.0.0.0", "::"]).unwrap();
        assert_eq!(refused(&filter, &["0.0.0.0", "::", "127.0.0.1", "::1"]), ["0.0.0.0", "::"]);
    }

    #[test]
    fn exceptions_and_functions_join_the_rules() {
        let filter = AddressFilter::public_only().allow(["10.0.7.0/24", "::1"]).unwrap();
        assert_eq!(refused(&filter, &["10.0.7.9", "::1", "10.0.8.1", "8.8.8.8"]), ["10.0.8.1"]);
        let odd = AddressFilter::from_fn(|candidate| {
            assert_eq!(candidate.destination().host(), "a.test");
            !candidate.address().ip().to_string().ends_with('9')
        });
        let both = filter.and(odd);
        assert_eq!(
            refused(&both, &["10.0.7.9", "10.0.7.8", "10.0.8.1", "8.8.8.9"]),
            ["10.0.7.9", "10.0.8.1", "8.8.8.9"]
        );
        assert!(format!("{both:?}").starts_with("AddressFilter { rules: [Function]"));
    }

    #[test]
    fn the_whole_of_a_family_is_a_block() {
        let filter = AddressFilter::deny(["0.0.0.0/0"]).unwrap();
        assert_eq!(
            refused(&filter, &["0.0.0.0", "255.255.255.255", "2606:4700::1"]),
            ["0.0.0.0", "255.255.255.255"]
        );
        let filter = AddressFilter::deny(["::/0"]).unwrap();
        assert_eq!(refused(&filter, &["8.8.8.8", "::1", "2606:4700::1"]), ["::1", "2606:4700::1"]);
    }

    #[test]
    fn a_text_that_is_no_block_is_an_error() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::/129",
            "::ffff:1.2.3.4/95",
            "fe80::1%1",
            "localhost",
        ] {
            let error = AddressFilter::deny([text]).unwrap_err();
            assert!(error.message().starts_with(&format!("{text:?} is not a block of addresses")), "{text}");
            assert!(AddressFilter::public_only().allow([text]).is_err(), "{text}");
        }
    }
}
