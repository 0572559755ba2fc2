//! The runtime that a connection belongs to: the policy's partition.
//!
//! Invariant: two values are equal if they name the same tokio runtime.

use tokio::runtime::Handle;

use crate::error::Error;

/// The runtime that a connection belongs to. A connection never leaves its runtime.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) handle: Handle,
}

impl Runtime {
    /// Returns the tokio runtime on which this function is called. Fails outside a runtime.
    pub(crate) fn current() -> Result<Self, Error> {
        let handle = Handle::try_current().map_err(|error| {
            Error::request("the client was used outside a tokio runtime: await the call on a tokio runtime")
                .because(error)
        })?;
        Ok(Self { handle })
    }

    /// Returns the id of the runtime. Each runtime has its own id.
    pub(crate) fn id(&self) -> tokio::runtime::Id {
        self.handle.id()
    }
}

impl PartialEq for Runtime {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}
