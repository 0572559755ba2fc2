//! The types that the shell chooses and the policy only carries.
//!
//! The policy does not know what these types are. Invariant: the policy clones and compares values of these types,
//! and does nothing else with them, so that it needs no socket, no runtime and no error type to be built and
//! tested.

use std::fmt;

/// The shell's types, of which the policy knows only that they can be carried, and some of them cloned or compared.
pub(crate) trait Kinds: fmt::Debug {
    /// Names a host. Two requests share connections only if their keys are equal.
    type Key: Clone + fmt::Debug;

    /// A connection.
    type Connection: fmt::Debug;

    /// A request that waits for a connection.
    type Waiter: Clone + fmt::Debug;

    /// A group of connections that never leave it: a tokio runtime. Limits hold across all partitions.
    type Partition: Clone + PartialEq + fmt::Debug;

    /// Why a dial failed. Values are dropped under the pool's lock, so they must hold no value of the caller's,
    /// whose drop could run the caller's code.
    type Failure: Clone + fmt::Debug;
}
