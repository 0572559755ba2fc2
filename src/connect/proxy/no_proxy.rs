//! The hosts to which requests go without a proxy, as `NO_PROXY` names them.
//!
//! This file does no I/O and looks up no name. Invariant: only addresses and networks match an address. The end of an
//! address's text never matches.

#[cfg(feature = "system-proxy")]
mod patterns;

use std::net::IpAddr;

use ipnet::IpNet;

/// Hosts to which requests go without a proxy.
///
/// The list has the form of the environment variable `NO_PROXY`: entries that are separated by commas or blanks. Letter
/// case and a dot at the end of a name do not matter. The table shows the forms of an entry. The columns for curl and
/// Go say how `lib/noproxy.c` and `golang.org/x/net/http/httpproxy` read the entry. An entry of any other form is
/// ignored, as in curl and Go.
///
/// | entry | hosts without a proxy | in curl | in Go |
/// |---|---|---|---|
/// | `*` | all | only if the whole list is `*` | as here |
/// | `example.com` | `example.com` and all names that end in `.example.com` | as here | as here |
/// | `.example.com` | `example.com` and all names that end in `.example.com` | as here | only names that end in `.example.com` |
/// | `*.example.com` | only names that end in `.example.com` | none | as here |
/// | `example.com:8080` | the hosts of `example.com`, for this port only | none | as here |
/// | `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]` | this address | as here, but without brackets only | as here |
/// | `192.0.2.1:8080`, `[2001:db8::1]:8080` | this address, for this port only | none | as here |
/// | `10.0.0.0/8`, `fd00::/8` | the addresses of this network | as here | as here |
/// | `a.example b.example` | both, because blanks separate entries | some versions read only the first | none |
/// | `bücher.example` | none: write `xn--bcher-kva.example` | none | matched as its ASCII form |
///
/// A dot at the end of a URL's name does not matter in curl, and keeps an entry from matching in Go. An IPv4-mapped
/// address is matched as its IPv4 address in Go, and never in curl.
///
/// No name is looked up: an address or a network matches only a URL that names an address. An IPv4 address matches its
/// IPv4-mapped IPv6 address too. An address, with or without a zone, never matches by the end of its text: `.1` does
/// not match `127.0.0.1`, and `.example.com` does not match `[::1%25.example.com]`. Go has matched addresses in this
/// way.
///
/// ```
/// use handclasp::{NoProxy, Proxy};
///
/// # fn main() -> handclasp::Result<()> {
/// let direct = NoProxy::from_string("localhost, .internal.example, 10.0.0.0/8, [::1]");
/// let proxy = Proxy::all("http://proxy.example:3128")?.no_proxy(direct);
/// let client = handclasp::Client::builder().proxy(proxy).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoProxy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    All,
    Network(IpNet),
    /// Address, and the port if the entry has one.
    Address(IpAddr, Option<u16>),
    /// Name in lower case without dots at its ends.
    Name {
        name: String,
        /// Whether only longer names match.
        is_suffix: bool,
        port: Option<u16>,
    },
    /// Pattern of the settings of a system.
    #[cfg(feature = "system-proxy")]
    Pattern(patterns::Pattern),
}

impl NoProxy {
    /// Reads a list in the form of `NO_PROXY`. Returns `None` if the list has no valid entry.
    pub fn from_string(list: &str) -> Option<Self> {
        let entries = list.split(|char: char| char == ',' || char.is_ascii_whitespace());
        let entries: Vec<_> = entries.filter_map(Entry::parse).collect();
        if entries.is_empty() { None } else { Some(Self { entries }) }
    }

    /// Whether requests to this host and port go without a proxy. `host` has the form that a host has in a URI.
    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address: Option<IpAddr> = bare.unwrap_or(host).parse().ok();
        // A host with a colon or a zone is an address, even if the address is not valid.
        let is_name = address.is_none() && !host.contains(['[', ':', '%']);
        self.entries.iter().any(|entry| match entry {
            Entry::All => true,
            Entry::Network(network) => address.is_some_and(|address| {
                network.contains(&address) || network.contains(&address.to_canonical())
            }),
            Entry::Address(own, own_port) => {
                address.is_some_and(|address| address.to_canonical() == own.to_canonical())
                    && own_port.is_none_or(|own| own == port)
            }
            Entry::Name { name, is_suffix, port: own_port } => {
                is_name && own_port.is_none_or(|own| own == port) && matches(host, name, *is_suffix)
            }
            #[cfg(feature = "system-proxy")]
            Entry::Pattern(pattern) => is_name && pattern.matches(host, port),
        })
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if text.contains('/') {
            return text.parse().ok().map(Self::Network);
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address, None));
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            return Some(Self::Address(IpAddr::V6(address.parse().ok()?), port_of(port)?));
        }
        let colon = text.find(':').unwrap_or(text.len());
        let (name, port) = (&text[..colon], port_of(&text[colon..])?);
        if let Ok(address) = name.parse() {
            return Some(Self::Address(address, port));
        }
        let (name, is_suffix) = match name.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (name.strip_prefix('.').unwrap_or(name), false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_valid = !name.is_empty() && !name.starts_with('.') && !name.contains(['*', '%', '[', ']']);
        is_valid.then_some(Self::Name { name, is_suffix, port })
    }
}

/// Reads `:port`. Returns `Some(None)` for an empty text, and `None` for any other text.
fn port_of(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty().then_some(None) };
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| is_number && *port > 0)?;
    Some(Some(port))
}

/// Whether `host` is `name`, or ends in `name` after a dot.
fn matches(host: &str, name: &str, is_suffix: bool) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    let Some(start) = host.len().checked_sub(name.len()) else { return false };
    let is_end = host[start..].eq_ignore_ascii_case(name.as_bytes());
    let is_at_dot = start > 1 && host[start - 1] == b'.';
    is_end && (is_at_dot || (start == 0 && !is_suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry, the hosts and ports that match the entry, and the hosts and ports that do not match.
    type Row = (&'static str, &'static [(&'static str, u16)], &'static [(&'static str, u16)]);

    /// The comments on the rows say where curl (`lib/noproxy.c`) and Go (`golang.org/x/net/http/httpproxy`) differ.
    const TABLE: &[Row] = &[
        // In curl, `*` has a meaning only if the whole list is `*`.
        ("a.test, *", &[("b.test", 80), ("10.0.0.1", 80), ("[::1]", 443), ("[fe80::1%25x]", 80)], &[]),
        (
            "example.com",
            &[("example.com", 80), ("a.example.com", 443), ("EXAMPLE.com", 80), ("b.a.Example.Com", 1)],
            &[("nonexample.com", 80), ("example.com.evil.test", 80), ("example", 80), ("com", 80)],
        ),
        ("Example.COM.", &[("example.com", 80), ("example.com.", 80), ("a.example.com.", 80)], &[]),
        // In Go, an entry with a leading dot does not match the name itself.
        (".example.com", &[("example.com", 80), ("a.example.com", 80)], &[("nonexample.com", 80)]),
        // In curl, `*.` matches nothing.
        ("*.example.com", &[("a.example.com", 80), ("b.a.example.com", 80)], &[("example.com", 80)]),
        ("*.example.com", &[], &[("xexample.com", 80), (".example.com", 80)]),
        // In curl, an entry with a port matches nothing.
        ("example.com:8080", &[("example.com", 8080), ("a.example.com", 8080)], &[("example.com", 80)]),
        (".example.com:8080", &[("a.example.com", 8080)], &[("a.example.com", 808)]),
        (
            "192.0.2.1",
            &[("192.0.2.1", 80), ("[::ffff:192.0.2.1]", 80)],
            &[("192.0.2.10", 80), ("1.192.0.2.1", 80)],
        ),
        ("192.0.2.1:8080", &[("192.0.2.1", 8080)], &[("192.0.2.1", 80)]),
        ("::ffff:192.0.2.1", &[("192.0.2.1", 80)], &[("192.0.2.2", 80)]),
        ("2001:DB8::1", &[("[2001:db8::1]", 80), ("[2001:db8:0::1]", 443)], &[("[2001:db8::2]", 80)]),
        ("[2001:db8::1]", &[("[2001:db8::1]", 80)], &[("[2001:db8::10]", 80)]),
        ("[2001:db8::1]:443", &[("[2001:db8::1]", 443)], &[("[2001:db8::1]", 80)]),
        (
            "10.0.0.0/8",
            &[("10.0.0.0", 80), ("10.255.255.255", 1), ("[::ffff:10.1.2.3]", 80)],
            &[("11.0.0.1", 80), ("10.a.test", 80), ("[::a00:1]", 80)],
        ),
        // The bits after the prefix length of the network are ignored.
        ("10.1.2.3/8", &[("10.9.9.9", 80)], &[("9.1.2.3", 80)]),
        ("0.0.0.0/0", &[("192.0.2.1", 80)], &[("[2001:db8::1]", 80), ("a.test", 80)]),
        ("fd00::/8", &[("[fd12::1]", 80)], &[("[fe80::1]", 80), ("fd00", 80)]),
        // A name matches whole labels only. Go also matches the ends of addresses.
        ("0.1", &[("x.0.1", 80)], &[("127.0.0.1", 80), ("10.0.0.1", 80)]),
        (".1", &[], &[("127.0.0.1", 80)]),
        // A-61: an address with a zone never matches by the end of its text.
        (
            "example.com, ::1, fe80::/10",
            &[],
            &[
                ("[::1%25.example.com]", 80),
                ("[fe80::1%25example.com]", 80),
                ("::1%.example.com", 80),
                ("[example.com", 80),
            ],
        ),
        // A name that is not ASCII is compared as it is, and the host of a URL is ASCII. Go converts the entry.
        ("b\u{fc}cher.test", &[], &[("xn--bcher-kva.test", 80)]),
        ("xn--bcher-kva.test", &[("XN--bcher-kva.test", 80), ("a.xn--bcher-kva.test.", 80)], &[]),
        // Blanks separate entries. In Go they do not, and some versions of curl stop after the first entry.
        (" a.test\t,,b.test c.test,\n", &[("a.test", 80), ("b.test", 80), ("c.test", 80)], &[("d.test", 80)]),
    ];

    #[test]
    fn a_61_each_form_of_an_entry_matches_by_the_table() {
        for (list, spared, others) in TABLE {
            let no_proxy = NoProxy::from_string(list).unwrap();
            for (host, port) in *spared {
                assert!(no_proxy.contains(host, *port), "A-61 {list:?} {host}:{port}");
            }
            for (host, port) in *others {
                assert!(!no_proxy.contains(host, *port), "A-61 {list:?} {host}:{port}");
            }
        }
    }

    #[test]
    fn a_61_an_entry_of_another_form_matches_nothing() {
        for list in [
            "",
            " , ",
            ".",
            "..",
            "*.",
            "*x",
            "a.*.test",
            "**",
            "*:80",
            ":80",
            "a.test:",
            "a.test:0",
            "a.test:65536",
            "a.test:+80",
            "a.test:http",
            "a.test:80:90",
            "..a.test",
            "10.0.0.0/33",
            "10.0.0/8",
            "a.test/8",
            "/",
            "fd00::/129",
            "[::1",
            "[::1]80",
            "[::1]:",
            "[192.0.2.1]",
            "[a.test]",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "%25.example.com",
        ] {
            assert_eq!(NoProxy::from_string(list), None, "A-61 {list:?}");
        }
        let rest = NoProxy::from_string("10.0.0.0/33, a.test:x, b.test").unwrap();
        assert!(
            rest.contains("b.test", 80) && !rest.contains("a.test", 80) && !rest.contains("10.0.0.1", 80)
        );
    }
}
