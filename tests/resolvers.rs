//! Names as a user has them: the default resolver with the system's own files, compared case by case with `getaddrinfo`,
//! and against real name servers.
//!
//! Each test runs in a namespace of its own, where `/etc/resolv.conf` and `/etc/hosts` are files of the test and port 53 of
//! loopback is free. A test prints the reason if it cannot run, or if a name server is not installed.
#![cfg(all(target_os = "linux", feature = "hickory-dns", feature = "url", feature = "test-util"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "resolvers/compared.rs"]
mod compared;
#[path = "resolvers/dialled.rs"]
mod dialled;
#[path = "resolvers/namespace.rs"]
mod namespace;
#[path = "resolvers/servers.rs"]
mod servers;
mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use handclasp::{Family, Resolve, SystemResolver};

use crate::support::within;

/// Address of the first name server.
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 53);

/// Outcome of a lookup. The order of the addresses does not count: `getaddrinfo` orders the addresses by RFC 6724, and
/// the client does so later, when it dials.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The name has these addresses.
    Found(BTreeSet<IpAddr>),
    /// There is no such name, or the name has no address.
    Nothing,
    /// The lookup failed, so that nothing is known of the name.
    Failed,
}

use Outcome::{Failed, Nothing};

/// Returns the outcome with these addresses.
fn found(addresses: &[&str]) -> Outcome {
    Outcome::Found(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

/// Looks `name` up, and prints the error of a lookup that failed.
async fn look_up(resolver: &impl Resolve, name: &str) -> Outcome {
    match within(60, resolver.resolve(name, Family::Both)).await {
        Ok(answer) if answer.addresses.is_empty() => Nothing,
        Ok(answer) => Outcome::Found(answer.addresses.iter().map(|address| address.ip()).collect()),
        Err(error) => {
            println!("{name}: {error}");
            Failed
        }
    }
}

/// Asks `getaddrinfo`.
async fn by_the_system(name: &str) -> Outcome {
    look_up(&SystemResolver::new(), name).await
}
