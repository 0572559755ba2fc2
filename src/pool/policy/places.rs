//! Places: where in the table of hosts a connection or a waiter belongs.

use super::Policy;
use super::actions::{Action, Actions};
use super::kinds::Kinds;

/// Number of a host's entry in the table of hosts.
pub(crate) type HostId = u32;

/// Where a connection belongs: its host's entry, and the shelf of its runtime there.
///
/// Valid as long as something is counted there, so whoever has it looks nothing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: HostId,
    pub(crate) shelf: u32,
}

impl<K: Kinds> Policy<K> {
    /// A host's place on a runtime, of which `is_key` and `key` find the entry, or make it. It is to be used before anything
    /// else happens: by [`checkout`](Self::checkout), [`warm`](Self::warm) or [`set_min_idle`](Self::set_min_idle), which
    /// leave it where nothing comes of it.
    pub(crate) fn place(
        &mut self,
        hash: u64,
        is_key: impl Fn(&K::Key) -> bool,
        key: impl FnOnce() -> K::Key,
        partition: &K::Partition,
    ) -> Place {
        self.hosts.place(hash, is_key, key, partition)
    }

    /// Nothing more is wanted of a place: where nothing is left either, it is given up.
    pub(super) fn leave(&mut self, place: Place, out: &mut Actions<K>) {
        self.vacate(place, out);
        self.hosts.list_if_empty(place.host);
    }

    pub(super) fn vacate(&mut self, place: Place, out: &mut Actions<K>) {
        if let Some(partition) = self.hosts.vacate(place) {
            out.push(Action::Forget { partition });
        }
    }

    /// Lists the hosts whose dials ahead were given up, if nothing is left of them. To be called where nobody holds a place
    /// that could be forgotten by it.
    pub(super) fn note_left(&mut self) {
        while let Some(host_id) = self.left.pop() {
            if self.hosts.get(host_id).is_some() {
                self.hosts.list_if_empty(host_id);
            }
        }
    }

    /// The host of a place where something is counted or queued.
    pub(crate) fn key_at(&self, place: Place) -> &K::Key {
        &self.hosts.host(place.host).key
    }

    /// The partition of a place where something is counted.
    pub(crate) fn partition(&self, place: Place) -> Option<&K::Partition> {
        self.hosts.shelf(place).partition.as_ref()
    }
}
