//! The table of hosts. A host is found by hash, and may be forgotten when it has no connection and no waiter.
//!
//! The table knows nothing of limits or of when to dial. Invariants: a host stays while any of its connections is
//! counted or any of its requests waits, so that a [`Place`] is followed without a lookup. A bounded number of hosts
//! without connections and waiters is kept for their ledgers.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::time::Instant;

use hashbrown::HashTable;

use super::Failing;
use super::idle::IdleId;
use super::kinds::Kinds;
use super::ledger::{Counters, Counts};
use super::places::{HostId, Place};
use super::queue::Queue;
use super::round_trip::RoundTrip;
use super::slots::Slots;
use super::touched::touch;

/// All hosts.
#[derive(Debug)]
pub(super) struct Hosts<K: Kinds> {
    /// Half of the hash and the number of each host. Half a hash keeps the table small. A lookup visits only hosts with
    /// the same half.
    index: HashTable<(u32, u32)>,
    slots: Slots<Host<K>>,
    /// Hosts without connections and waiters, in the order in which they became empty. Their number is bounded.
    empties: VecDeque<u32>,
}

/// Reason for which connections of a host may not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    None,
    /// The host closed connections after one response each. A connection that answers twice clears this suspicion.
    ShortLived,
    /// The host sent unsolicited bytes on connections. Answered requests do not clear this suspicion.
    Talks,
}

/// One host. The fields that a request touches stand together at the start of a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Host<K: Kinds> {
    pub(super) key: K::Key,
    pub(super) shelves: Shelves<K>,
    pub(super) waiting: u32,
    /// Number of connections in a row that the host closed after one response each.
    pub(super) short_lived: u8,
    /// Reason for which connections of the host may not be kept.
    pub(super) suspicion: Suspicion,
    pub(super) is_listed_empty: bool,
    /// The shortest round trip that is known.
    pub(super) round_trip: RoundTrip,
    pub(super) counters: Counters,
    /// Time until which the connections of the host are not kept.
    pub(super) not_kept_until: Option<Instant>,
    /// Number of connections that were closed because the host sent unsolicited bytes.
    pub(super) unasked: u8,
    /// Time at which the latest connection was closed because of unsolicited bytes.
    pub(super) unasked_at: Option<Instant>,
    pub(super) hash: u32,
    /// Number of idle, active and dialing connections, on all shelves.
    pub(super) counted: usize,
    /// Number of connections of this host that the policy has decided to close, and that the shell has not reported as
    /// closed yet.
    pub(super) evicting: usize,
    /// Turn of the host among the hosts that the total limit blocks.
    pub(super) blocked: Option<u64>,
    /// Time since which the total limit blocks the host.
    pub(super) blocked_since: Option<Instant>,
    /// Whether dials ahead wait for `wake`, because a dial has failed or a dial ahead was given up.
    pub(super) is_ahead_paused: bool,
    /// Time at which the dials of the host are considered again.
    pub(super) wake: Option<Instant>,
    /// Record of the failed dials since the last dial that succeeded.
    pub(super) failing: Option<Box<Failing<K::Failure>>>,
}

/// The shelves of a host. The first shelf is part of the host's own entry, because most hosts have only one shelf.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shelves<K: Kinds> {
    first: Shelf<K>,
    #[allow(
        clippy::box_collection,
        reason = "a vector takes three words even when it is empty, and a box takes one"
    )]
    more: Option<Box<Vec<Shelf<K>>>>,
}

impl<K: Kinds> Shelves<K> {
    fn new() -> Self {
        Self { first: Shelf { partition: None, ..Shelf::empty() }, more: None }
    }

    fn more(&self) -> &[Shelf<K>] {
        self.more.as_ref().map_or(&[], |more| more)
    }

    pub(super) fn len(&self) -> usize {
        1 + self.more().len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shelf<K>> {
        std::iter::once(&self.first).chain(self.more())
    }

    pub(super) fn get(&self, at: usize) -> Option<&Shelf<K>> {
        at.checked_sub(1).map_or(Some(&self.first), |at| self.more().get(at))
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Shelf<K>> {
        match at.checked_sub(1) {
            None => Some(&mut self.first),
            Some(at) => self.more.as_mut()?.get_mut(at),
        }
    }
}

impl<K: Kinds> Index<usize> for Shelves<K> {
    type Output = Shelf<K>;

    fn index(&self, at: usize) -> &Shelf<K> {
        if at == 0 { &self.first } else { &self.more()[at - 1] }
    }
}

impl<K: Kinds> IndexMut<usize> for Shelves<K> {
    fn index_mut(&mut self, at: usize) -> &mut Shelf<K> {
        self.get_mut(at).expect("a shelf stays as long as its host")
    }
}

/// The connections and waiters of one host in one partition.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shelf<K: Kinds> {
    /// The partition. `None` while the shelf is empty, so that the shelf keeps no handle of a runtime.
    pub(super) partition: Option<K::Partition>,
    /// The newest idle connection.
    pub(super) top: Option<IdleId>,
    /// The oldest idle connection.
    pub(super) bottom: Option<IdleId>,
    pub(super) active: usize,
    pub(super) idle: usize,
    /// Requests that any connection serves, oldest first.
    pub(super) waiting: Queue<K::Waiter>,
    /// Requests whose reused connection died. New connections serve these requests before the requests in
    /// `waiting`. No other connection serves these requests.
    pub(super) resending: Queue<K::Waiter>,
    pub(super) dialing: usize,
    /// Number of idle connections that are being looked at.
    pub(super) lent: u32,
    /// Number of idle connections that the shelf should always have.
    pub(super) min_idle: usize,
}

impl<K: Kinds> Host<K> {
    /// Whether a waiter has no dial under way.
    pub(super) fn is_wanting(&self) -> bool {
        self.shelves().any(|shelf| shelf.demand() > 0)
    }

    /// Returns the number of dials under way, on all shelves.
    pub(super) fn dialing(&self) -> usize {
        self.shelves().map(|shelf| shelf.dialing).sum()
    }

    /// Among the shelves whose waiters need a dial, returns the shelf whose oldest waiter has waited for longest.
    pub(super) fn neediest(&self) -> Option<u32> {
        let wanting = self.shelves().enumerate().filter(|(_, shelf)| shelf.demand() > 0);
        let neediest = wanting.min_by_key(|(_, shelf)| shelf.oldest());
        neediest.map(|(at, _)| at as u32)
    }

    /// Returns the shelves, and counts each shelf as touched.
    pub(super) fn shelves(&self) -> impl Iterator<Item = &Shelf<K>> {
        self.shelves.iter().inspect(|_| touch())
    }

    /// Whether the host has a connection, a dial, a waiter, a time for its next dials, or a minimum of idle connections.
    pub(super) fn is_in_use(&self) -> bool {
        let is_wanted = || self.wake.is_some() || self.shelves.iter().any(|shelf| shelf.min_idle > 0);
        self.counted > 0 || self.waiting > 0 || is_wanted()
    }

    /// Returns the current counts of the host.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts { waiting: self.waiting as usize, ..Counts::default() };
        for shelf in self.shelves() {
            counts.idle += shelf.idle;
            counts.active += shelf.active;
            counts.dialing += shelf.dialing;
        }
        counts
    }
}

impl<K: Kinds> Shelf<K> {
    pub(super) fn new(partition: K::Partition) -> Self {
        Self { partition: Some(partition), ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            partition: None,
            active: 0,
            dialing: 0,
            idle: 0,
            lent: 0,
            min_idle: 0,
            top: None,
            bottom: None,
            waiting: Queue::new(),
            resending: Queue::new(),
        }
    }

    /// Whether the shelf has no connection, no dial, no waiter and no minimum of idle connections.
    pub(super) fn is_vacant(&self) -> bool {
        self.active + self.dialing + self.idle + self.min_idle == 0
            && self.waiting.is_empty()
            && self.resending.is_empty()
    }

    /// Returns the number of waiters minus dials under way minus idle connections being looked at.
    pub(super) fn demand(&self) -> usize {
        self.waiters().saturating_sub(self.dialing + self.lent as usize)
    }

    /// Returns the number of waiting requests.
    pub(super) fn waiters(&self) -> usize {
        self.waiting.len() + self.resending.len()
    }

    /// Returns the number of dials under way that no request waits for.
    pub(super) fn ahead(&self) -> usize {
        self.dialing.saturating_sub(self.waiters())
    }

    /// Returns the time at which the request that has waited for longest joined the queue.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.resending.oldest().into_iter().chain(self.waiting.oldest()).min()
    }
}

impl<K: Kinds> Hosts<K> {
    pub(super) fn new() -> Self {
        Self { index: HashTable::new(), slots: Slots::new(), empties: VecDeque::new() }
    }

    /// Returns the place of a host in a partition. Adds the host and the shelf if they are missing.
    pub(super) fn place(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K::Key) -> bool,
        key: impl FnOnce() -> K::Key,
        partition: &K::Partition,
    ) -> Place {
        let hosts = &mut self.slots;
        let half = hash as u32;
        let is_host = |(known, host_id): &(u32, u32)| {
            *known == half && {
                touch();
                hosts.get(*host_id).is_some_and(|host| is_key(&host.key))
            }
        };
        let host_id = match self.index.find(whole(half), is_host) {
            Some((_, host_id)) => *host_id,
            None => {
                let host = Host {
                    key: key(),
                    hash: half,
                    shelves: Shelves::new(),
                    counted: 0,
                    evicting: 0,
                    waiting: 0,
                    blocked: None,
                    blocked_since: None,
                    is_ahead_paused: false,
                    wake: None,
                    is_listed_empty: false,
                    round_trip: RoundTrip::unknown(),
                    failing: None,
                    short_lived: 0,
                    unasked: 0,
                    unasked_at: None,
                    suspicion: Suspicion::None,
                    not_kept_until: None,
                    counters: Counters::default(),
                };
                let host_id = hosts.insert(host);
                self.index.insert_unique(whole(half), (half, host_id), |(half, _)| whole(*half));
                host_id
            }
        };
        let shelves = &mut self.host_mut(host_id).shelves;
        let visited = || shelves.iter().inspect(|_| touch());
        let known = visited().position(|shelf| shelf.partition.as_ref() == Some(partition));
        if let Some(shelf) = known {
            return Place { host: host_id, shelf: shelf as u32 };
        }
        let vacant = visited().position(|shelf| shelf.partition.is_none());
        let shelf = vacant.unwrap_or(shelves.len());
        match shelves.get_mut(shelf) {
            Some(vacant) => *vacant = Shelf::new(partition.clone()),
            None => shelves.more.get_or_insert_default().push(Shelf::new(partition.clone())),
        }
        Place { host: host_id, shelf: shelf as u32 }
    }

    /// Takes the partition out of a shelf if the shelf is vacant. Returns the partition, so that the caller drops it
    /// without the lock.
    pub(super) fn vacate(&mut self, place: Place) -> Option<K::Partition> {
        let shelf = self.shelf_mut(place);
        if shelf.is_vacant() { shelf.partition.take() } else { None }
    }

    #[cfg(test)]
    pub(super) fn listed(&self) -> usize {
        self.empties.len()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the number of slots, vacant ones included.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns the host with this number, if there is one.
    pub(super) fn get(&self, host_id: HostId) -> Option<&Host<K>> {
        touch();
        self.slots.get(host_id)
    }

    /// Returns the host with this number, mutably, if there is one.
    pub(super) fn get_mut(&mut self, host_id: HostId) -> Option<&mut Host<K>> {
        touch();
        self.slots.get_mut(host_id)
    }

    /// Lists a host that is not in use. Forgets the oldest listed hosts beyond the bound, so that the pool of a crawler
    /// does not grow.
    pub(super) fn list_if_empty(&mut self, host_id: HostId) {
        let host = self.host_mut(host_id);
        if host.is_in_use() || std::mem::replace(&mut host.is_listed_empty, true) {
            return;
        }
        self.empties.push_back(host_id);
        // Each entry of the list is visited once. A host that is used after it was listed gets a new entry when the
        // host is empty again.
        while self.empties.len() > MAX_EMPTIES {
            let Some(oldest) = self.empties.pop_front() else { return };
            touch();
            let Some(host) = self.slots.get_mut(oldest) else { continue };
            host.is_listed_empty = false;
            if !host.is_in_use() && host.blocked.is_none() {
                let hash = host.hash;
                self.slots.remove(oldest);
                if let Ok(entry) = self.index.find_entry(whole(hash), |(_, host_id)| *host_id == oldest) {
                    entry.remove();
                }
            }
        }
    }

    pub(super) fn host(&self, host_id: HostId) -> &Host<K> {
        touch();
        self.slots.get(host_id).expect("a host stays while a place of it is counted or queued")
    }

    pub(super) fn host_mut(&mut self, host_id: HostId) -> &mut Host<K> {
        touch();
        self.slots.get_mut(host_id).expect("a host stays while a place of it is counted or queued")
    }

    pub(super) fn shelf(&self, place: Place) -> &Shelf<K> {
        &self.host(place.host).shelves[place.shelf as usize]
    }

    pub(super) fn shelf_mut(&mut self, place: Place) -> &mut Shelf<K> {
        &mut self.host_mut(place.host).shelves[place.shelf as usize]
    }
}

/// Returns a 64-bit hash that repeats the 32 bits of `half`, because the table uses both ends of a hash.
fn whole(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

/// Number of hosts without a connection whose ledgers are kept.
pub(super) const MAX_EMPTIES: usize = 1024;
