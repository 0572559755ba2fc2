//! Places: where in the table of hosts a connection or a waiter belongs.

/// Where a connection belongs: its host's entry, and the shelf of its runtime there.
///
/// Valid as long as something is counted there, so whoever has it looks nothing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: u32,
    pub(crate) shelf: u32,
}
