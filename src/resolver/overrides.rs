//! Addresses that the application fixed for a host, so that no resolver is asked.
//!
//! Pure data: knows neither resolvers nor sockets. Invariant: hosts are held in the form in which they are compared
//! (lower case, no brackets, no trailing dot, IP literals as the standard library prints them).

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{bare, literal};

/// The hosts, or hosts at a port, whose addresses are fixed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    fixed: HashMap<(String, Option<u16>), Vec<SocketAddr>>,
}

impl Overrides {
    /// Fixes the addresses of `host`, or of one port of it if `host` is written `host:port`.
    ///
    /// An address's port 0 stands for the URL's port; any other is connected to instead of it. An earlier override
    /// of the same host is replaced, or taken back if there are no addresses.
    pub(crate) fn set(&mut self, host: &str, addresses: Vec<SocketAddr>) {
        let (host, port) = split_port(host);
        let key = (comparable(host), port);
        if addresses.is_empty() {
            self.fixed.remove(&key);
        } else {
            self.fixed.insert(key, addresses);
        }
    }

    /// The addresses fixed for `host` at `port`; those of that very port come before those of the host.
    pub(crate) fn find(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if self.fixed.is_empty() {
            return None;
        }
        let mut key = (comparable(host), Some(port));
        let found = self.fixed.get(&key).or_else(|| {
            key.1 = None;
            self.fixed.get(&key)
        })?;
        let with_port = |address: &SocketAddr| match address.port() {
            0 => SocketAddr::new(address.ip(), port),
            _ => *address,
        };
        Some(found.iter().map(with_port).collect())
    }
}

/// `host:port` in its parts. A bare IPv6 address is all host; one with a port has brackets.
fn split_port(host: &str) -> (&str, Option<u16>) {
    if literal(host).is_some() {
        return (host, None);
    }
    match host.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
        Some((name, Ok(port))) => (name, Some(port)),
        _ => (host, None),
    }
}

fn comparable(host: &str) -> String {
    literal(host).map_or_else(|| bare(host).to_ascii_lowercase(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_can_be_replaced_and_taken_back() {
        let mut overrides = Overrides::default();
        for addresses in [vec!["192.0.2.1:0"], vec!["192.0.2.2:0", "192.0.2.3:1"], vec![]] {
            overrides.set("a.example", addresses.iter().map(|a| a.parse().unwrap()).collect());
            let found = overrides.find("A.example", 80).unwrap_or_default();
            let told: Vec<_> = found.iter().map(|a| a.to_string().replace(":80", ":0")).collect();
            assert_eq!(told, addresses);
        }
    }

    #[test]
    fn hosts_are_split_from_their_ports() {
        for (text, host, port) in [
            ("example.org", "example.org", None),
            ("example.org:443", "example.org", Some(443)),
            ("::1", "::1", None),
            ("[::1]", "[::1]", None),
            ("[::1]:8443", "[::1]", Some(8443)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("example.org:http", "example.org:http", None),
        ] {
            assert_eq!(split_port(text), (host, port), "{text}");
        }
    }
}
