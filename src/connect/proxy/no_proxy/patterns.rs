//! Patterns of hosts without a proxy, in the form of the settings of Windows and macOS.
//!
//! This file does no I/O. A pattern differs from an entry of `NO_PROXY`: a name matches as a whole, and `*` may stand
//! anywhere. Invariant: an address is matched by addresses and networks only. A pattern that cannot be read matches
//! nothing, so that the client uses the proxy for the hosts of this pattern.

use super::{Entry, NoProxy, port_of};

/// Pattern of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Names without a dot.
    Simple,
    /// Name in lower case, in which `*` stands for any characters, and the port if the pattern has one.
    Name(String, Option<u16>),
}

impl NoProxy {
    /// Reads the patterns of a system's settings. Returns `None` if no pattern can match.
    pub(in crate::connect::proxy) fn of_patterns<'a>(
        patterns: impl Iterator<Item = &'a str>,
        spares_simple: bool,
    ) -> Option<Self> {
        let simple = spares_simple.then_some(Entry::Pattern(Pattern::Simple));
        let entries: Vec<_> = patterns.filter_map(entry).chain(simple).collect();
        if entries.is_empty() { None } else { Some(Self { entries }) }
    }
}

impl Pattern {
    /// Whether the pattern matches a host that is a name.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Simple => !host.contains('.'),
            Self::Name(pattern, own_port) => {
                own_port.is_none_or(|own| own == port) && is_match(pattern.as_bytes(), host.as_bytes())
            }
        }
    }
}

fn entry(text: &str) -> Option<Entry> {
    let text = text.trim();
    if text == "*" {
        return Some(Entry::All);
    }
    if let Some(network) = network(text) {
        return Some(network);
    }
    if let Some(entry @ (Entry::Address(..) | Entry::Network(_))) = Entry::parse(text) {
        return Some(entry);
    }
    let colon = text.find(':').unwrap_or(text.len());
    let (name, port) = (&text[..colon], port_of(&text[colon..])?);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_valid = !name.is_empty() && !name.contains(['/', '<', '>', '%', '[', ']']);
    let name = if name.starts_with('.') { format!("*{name}") } else { name };
    is_valid.then_some(Entry::Pattern(Pattern::Name(name, port)))
}

/// Reads an IPv4 network whose last bytes are left out (`169.254/16`) or are `*` (`192.168.*`).
fn network(text: &str) -> Option<Entry> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let parts: Vec<_> = address.split('.').collect();
    let known = parts.iter().take_while(|part| **part != "*").count();
    let is_cut = if length.is_some() { known == parts.len() } else { known < parts.len() };
    let is_rest_open = parts.iter().skip(known).all(|part| *part == "*");
    if !is_cut || !is_rest_open || known == 0 || parts.len() > 4 {
        return None;
    }
    let mut bytes = [0_u8; 4];
    for (byte, part) in bytes.iter_mut().zip(parts.iter().take(known)) {
        *byte = part.parse().ok().filter(|_| part.bytes().all(|digit| digit.is_ascii_digit()))?;
    }
    let [a, b, c, d] = bytes;
    let length = length.unwrap_or(known as u8 * 8);
    format!("{a}.{b}.{c}.{d}/{length}").parse().ok().map(Entry::Network)
}

/// Whether a text matches a pattern in lower case, in which `*` stands for any characters.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // The latest `*`, and the number of bytes up to which it was tried.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(own) if *own == byte.to_ascii_lowercase() => (at, read) = (at + 1, read + 1),
            _ => {
                let Some((star_at, tried)) = star else { return false };
                star = Some((star_at, tried + 1));
                (at, read) = (star_at + 1, tried + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern, the hosts and ports that it spares, and those that it does not spare.
    type Row = (&'static str, &'static [(&'static str, u16)], &'static [(&'static str, u16)]);

    const TABLE: &[Row] = &[
        ("*", &[("a.test", 80), ("10.0.0.1", 80), ("[::1]", 80)], &[]),
        // A name matches as a whole. In NO_PROXY it matches the names that end in it too.
        (
            "a.test",
            &[("a.test", 80), ("A.TEST.", 443)],
            &[("b.a.test", 80), ("xa.test", 80), ("a.test.x", 80)],
        ),
        ("*.a.test", &[("b.a.test", 80), ("c.b.a.test", 80)], &[("a.test", 80), ("xa.test", 80)]),
        (".a.test", &[("b.a.test", 80)], &[("a.test", 80)]),
        ("*a.test", &[("a.test", 80), ("xa.test", 80), ("b.a.test", 80)], &[("a.test.b", 80)]),
        ("*intra*", &[("intra", 80), ("an.intranet.test", 80)], &[("inter", 80), ("10.0.0.1", 80)]),
        ("w*.*.test", &[("w.a.test", 80), ("www.b.test", 80)], &[("www.test", 80), ("v.a.test", 80)]),
        ("a.test:8080", &[("a.test", 8080)], &[("a.test", 80)]),
        ("10.*", &[("10.0.0.1", 80), ("10.255.0.1", 80)], &[("11.0.0.1", 80), ("10.test", 80)]),
        ("192.168.*.*", &[("192.168.7.1", 80)], &[("192.169.0.1", 80), ("192.168.a.test", 80)]),
        ("169.254/16", &[("169.254.0.1", 80), ("[::ffff:169.254.0.1]", 80)], &[("169.255.0.1", 80)]),
        ("10.0.0.0/8", &[("10.1.2.3", 80)], &[("11.0.0.1", 80)]),
        ("fd00::/8", &[("[fd12::1]", 80)], &[("[fe80::1]", 80)]),
        ("192.0.2.1", &[("192.0.2.1", 80)], &[("192.0.2.10", 80), ("x.192.0.2.1", 80)]),
        ("[2001:db8::1]:8080", &[("[2001:db8::1]", 8080)], &[("[2001:db8::1]", 80)]),
        // Patterns that cannot be read match nothing.
        ("10.*.3.*", &[], &[("10.2.3.4", 80)]),
        ("999.*", &[], &[("9.9.9.1", 80), ("231.1.1.1", 80)]),
        ("1/99", &[], &[("1.0.0.0", 80)]),
        ("http://a.test", &[], &[("a.test", 80)]),
        ("<-loopback>", &[], &[("loopback", 80)]),
        ("a.test:x", &[], &[("a.test", 80)]),
        ("", &[], &[("a.test", 80)]),
    ];

    #[test]
    fn each_pattern_matches_by_the_table() {
        for (pattern, spared, others) in TABLE {
            let hosts = NoProxy::of_patterns([*pattern].into_iter(), false);
            let contains = |host: &str, port| hosts.as_ref().is_some_and(|hosts| hosts.contains(host, port));
            for (host, port) in *spared {
                assert!(contains(host, *port), "{pattern}: {host}:{port}");
            }
            for (host, port) in *others {
                assert!(!contains(host, *port), "{pattern}: {host}:{port}");
            }
        }
    }

    #[test]
    fn simple_names_have_no_dot_and_are_no_addresses() {
        let hosts = NoProxy::of_patterns(std::iter::empty(), true).unwrap();
        for (host, is_spared) in
            [("printer", true), ("printer.", true), ("a.test", false), ("[::1]", false), ("10.0.0.1", false)]
        {
            assert_eq!(hosts.contains(host, 80), is_spared, "{host}");
        }
        assert_eq!(NoProxy::of_patterns(std::iter::empty(), false), None);
    }

    /// A pattern of many stars takes no exponential time.
    #[test]
    fn a_pattern_of_many_stars_ends() {
        let (pattern, text) = ("*a".repeat(60), "a".repeat(5_000));
        assert!(is_match(pattern.as_bytes(), text.as_bytes()));
        assert!(!is_match(format!("{pattern}b").as_bytes(), text.as_bytes()));
    }
}
