//! Places: the position of a connection or a waiter in the table of hosts, and when a place ends.
//!
//! Invariant: a place is valid while it has a connection, a dial or a waiter.

use super::Policy;
use super::actions::{Action, Actions};
use super::kinds::Kinds;

/// Number of a host: the slot of its entry in the table of hosts.
pub(crate) type HostId = u32;

/// Position in the table of hosts: a host's entry, and the shelf of one partition in that entry.
///
/// A place is valid while it has a connection, a dial or a waiter, so that the holder of the place finds the host
/// without a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: HostId,
    pub(crate) shelf: u32,
}

impl<K: Kinds> Policy<K> {
    /// Returns the place of a host in a partition. Makes the place if it does not exist. `is_key` recognizes the host's
    /// key, and `key` makes the key of a new host.
    ///
    /// The next call of the policy has to be [`checkout`](Self::checkout), [`warm`](Self::warm) or
    /// [`set_min_idle`](Self::set_min_idle) with this place. These functions end the place if the place is still
    /// vacant when the function returns.
    pub(crate) fn place(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K::Key) -> bool,
        key: impl FnOnce() -> K::Key,
        partition: &K::Partition,
    ) -> Place {
        self.hosts.place(hash, is_key, key, partition)
    }

    /// Ends a place if the place is vacant: drops its partition, and lists its host to be forgotten.
    pub(super) fn leave(&mut self, place: Place, out: &mut Actions<K>) {
        self.vacate(place, out);
        self.hosts.list_if_empty(place.host);
    }

    /// Tells the shell to drop the partition of a place if the place is vacant.
    pub(super) fn vacate(&mut self, place: Place, out: &mut Actions<K>) {
        if let Some(partition) = self.hosts.vacate(place) {
            out.push(Action::Forget { partition });
        }
    }

    /// Lists the hosts in `left` that are not in use. Called only while no caller holds a place that the listing could
    /// make invalid.
    pub(super) fn note_left(&mut self) {
        while let Some(host_id) = self.left.pop() {
            if self.hosts.get(host_id).is_some() {
                self.hosts.list_if_empty(host_id);
            }
        }
    }

    /// Returns the key of the host of a valid place.
    pub(crate) fn key_at(&self, place: Place) -> &K::Key {
        &self.hosts.host(place.host).key
    }

    /// Returns the partition of a valid place.
    pub(crate) fn partition(&self, place: Place) -> Option<&K::Partition> {
        self.hosts.shelf(place).partition.as_ref()
    }
}
