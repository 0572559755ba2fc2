//! The spread of a client's connections over the addresses of a host: how many connections each address has, and which
//! addresses the host has no longer.
//!
//! An attempt to connect takes a [`Seat`] at its address, and the connection keeps the seat until it is closed. The number
//! of seats is the number of owners of one `Arc`, so that no count can differ from what it counts. This file knows no
//! sockets, no clock and no resolver. Invariant: the memory is bounded by the addresses of the latest answers and by the
//! open connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::destination::Destination;

/// The seats of one client.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// The addresses of each destination.
    hosts: HashMap<Destination, Vec<Seat>>,
}

/// A seat at an address: one connection, or one attempt to connect.
#[derive(Clone, Debug)]
pub(crate) struct Seat(Arc<Member>);

/// An address of a host.
#[derive(Debug)]
struct Member {
    address: SocketAddr,
    /// Whether the host does not have the address any more.
    has_left: AtomicBool,
}

impl Seat {
    fn new(address: SocketAddr) -> Self {
        Self(Arc::new(Member { address, has_left: AtomicBool::new(false) }))
    }

    /// Whether the host does not have the address any more, so that its connections end when they are not in use.
    #[inline]
    pub(crate) fn has_left(&self) -> bool {
        self.0.has_left.load(Ordering::Relaxed)
    }

    /// Returns how many seats are taken, apart from this one.
    fn others(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

impl Spread {
    /// Returns how many seats at `address` are taken.
    pub(crate) fn load(&self, to: &Destination, address: SocketAddr) -> usize {
        let seats = self.hosts.get(to);
        seats.into_iter().flatten().find(|seat| seat.0.address == address).map_or(0, Seat::others)
    }

    /// Takes a seat at `address`.
    pub(crate) fn take(&mut self, to: &Destination, address: SocketAddr) -> Seat {
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(to) {
            // A host without connections starts again from nothing.
            self.hosts.retain(|_, seats| seats.iter().any(|seat| seat.others() > 0));
        }
        let seats = self.hosts.entry(to.clone()).or_default();
        match seats.iter().find(|seat| seat.0.address == address) {
            Some(seat) => seat.clone(),
            None => {
                let seat = Seat::new(address);
                seats.push(seat.clone());
                seat
            }
        }
    }

    /// Notes the whole answer of a lookup. The addresses that it lacks have left.
    pub(crate) fn answered(&mut self, to: &Destination, answer: &[SocketAddr]) {
        let Some(seats) = self.hosts.get_mut(to) else { return };
        seats.retain(|Seat(member)| {
            let stays = answer.contains(&member.address);
            if !stays {
                member.has_left.store(true, Ordering::Relaxed);
            }
            stays
        });
    }
}

/// Number of hosts from which hosts without connections are forgotten.
const MAX_HOSTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Destination {
        Destination::new(false, name, 80)
    }

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 80)
    }

    #[test]
    fn each_seat_counts_until_it_is_dropped() {
        let mut spread = Spread::default();
        let (a, one, two) = (host("a"), at("192.0.2.1"), at("192.0.2.2"));
        let mut taken = vec![spread.take(&a, one), spread.take(&a, two), spread.take(&a, one)];
        assert_eq!((spread.load(&a, one), spread.load(&a, two), spread.load(&host("b"), one)), (2, 1, 0));
        drop(taken.remove(0));
        assert_eq!((spread.load(&a, one), spread.load(&a, two)), (1, 1));
        taken.clear();
        assert_eq!((spread.load(&a, one), spread.load(&a, two)), (0, 0));
    }

    #[test]
    fn rule_20_an_address_that_an_answer_lacks_has_left() {
        let mut spread = Spread::default();
        let (a, one, two, six) = (host("a"), at("192.0.2.1"), at("192.0.2.2"), at("2001:db8::1"));
        let seats = [one, two, six].map(|address| spread.take(&a, address));
        let left = || seats.each_ref().map(Seat::has_left);
        spread.answered(&a, &[one, two, six]);
        spread.answered(&host("b"), &[two]);
        assert_eq!(left(), [false; 3]);
        spread.answered(&a, &[two, six]);
        assert_eq!(left(), [true, false, false]);
        // The address comes back with a count of its own.
        spread.answered(&a, &[one, two, six]);
        assert_eq!((left(), spread.load(&a, one)), ([true, false, false], 0));
        assert!(!spread.take(&a, one).has_left());
        spread.answered(&a, &[two]);
        assert_eq!(left(), [true, false, true], "the host has no IPv6 any more");
    }

    #[test]
    fn hosts_without_connections_are_forgotten() {
        let mut spread = Spread::default();
        let kept = spread.take(&host("kept"), at("192.0.2.1"));
        for n in 0..3 * MAX_HOSTS {
            spread.take(&host(&format!("h{n}")), at("192.0.2.1"));
            assert!(spread.hosts.len() <= MAX_HOSTS);
        }
        assert_eq!(spread.load(&host("kept"), at("192.0.2.1")), 1);
        drop(kept);
    }
}
