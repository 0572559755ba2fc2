//! The types that the shell chooses and the policy only carries.
//!
//! Invariant: the policy only moves, clones and compares values of these types, so that the policy can be built and
//! tested without sockets, runtimes and error types.

use std::fmt;

/// The shell's types. The bounds say all that the policy knows about them.
pub(crate) trait Kinds: fmt::Debug {
    /// Key of a host. Two requests share connections only if their keys are equal.
    type Key: Clone + fmt::Debug;

    /// A connection.
    type Connection: fmt::Debug;

    /// A request that waits for a connection.
    type Waiter: Clone + fmt::Debug;

    /// A tokio runtime. A connection never leaves its partition. Limits hold across all partitions.
    type Partition: Clone + PartialEq + fmt::Debug;

    /// Failure of a dial. Failures are dropped under the pool's lock, so a failure must hold no value of the caller's,
    /// because the drop of that value could run the caller's code.
    type Failure: Clone + fmt::Debug;
}
