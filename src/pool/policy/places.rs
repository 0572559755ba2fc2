//! Places: where in the table of hosts a connection or a waiter belongs.

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
