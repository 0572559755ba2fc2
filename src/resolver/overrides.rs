//! Addresses that the application has set for a host, so that the host needs no lookup.
//!
//! This file has pure data and knows neither resolvers nor sockets. Invariant: hosts are stored in the form in which
//! hosts are compared: names in lower case without a final dot, and IP literals as the standard library prints them.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{bare, literal, with_port};

/// Fixed addresses of hosts, and of single ports of hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    fixed: HashMap<(String, Option<u16>), Vec<SocketAddr>>,
}

impl Overrides {
    /// Fixes the addresses of `host`. If `host` has the form `host:port`, fixes the addresses of that port only.
    ///
    /// Port 0 of an address stands for the URL's port. If an address has another port, the client connects to that port
    /// instead of the URL's port. An earlier override of the same host is replaced, or removed if `addresses` is empty.
    pub(crate) fn set(&mut self, host: &str, addresses: Vec<SocketAddr>) {
        let (host, port) = split_port(host);
        let key = (comparable(host), port);
        if addresses.is_empty() {
            self.fixed.remove(&key);
        } else {
            self.fixed.insert(key, addresses);
        }
    }

    /// Returns the addresses fixed for `host` at `port`. An override of the port takes precedence over an override
    /// of the host.
    pub(crate) fn find(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if self.fixed.is_empty() {
            return None;
        }
        let mut key = (comparable(host), Some(port));
        let found = self.fixed.get(&key).or_else(|| {
            key.1 = None;
            self.fixed.get(&key)
        })?;
        Some(found.iter().map(|&address| with_port(address, port)).collect())
    }
}

/// Splits `host:port`. An IPv6 address without brackets has no port.
fn split_port(host: &str) -> (&str, Option<u16>) {
    if literal(host).is_some() {
        return (host, None);
    }
    match host.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
        Some((name, Ok(port))) => (name, Some(port)),
        _ => (host, None),
    }
}

/// Returns `host` in the form in which hosts are compared.
fn comparable(host: &str) -> String {
    literal(host).map_or_else(|| bare(host).to_ascii_lowercase(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_can_be_replaced_and_removed() {
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
