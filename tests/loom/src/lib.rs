//! The crate's own hand-off cell, compiled with loom's mutex instead of the mutex of std.
//!
//! This crate compiles the file of the library itself, and not a copy of the file. The crate makes the cell public for the
//! models in `tests/hand_off.rs`.

use std::task::{Context, Poll};

#[path = "../../../src/pool/handoff.rs"]
mod handoff;

/// Stands for the module from which the file of the library imports its locks.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

/// The hand-off cell of one waiter.
#[derive(Debug)]
pub struct Cell<G>(handoff::Cell<G>);

impl<G> Cell<G> {
    #[allow(clippy::new_without_default, reason = "as in the crate")]
    pub fn new() -> Self {
        Self(handoff::Cell::new())
    }

    pub fn deliver(&self, gift: G) -> Result<(), G> {
        self.0.deliver(gift)
    }

    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<G> {
        self.0.poll_take(cx)
    }

    pub fn leave(&self) -> Option<G> {
        self.0.leave()
    }

    /// Returns the gift that was withdrawn, or the reason why there is none.
    pub fn withdraw(&self, instead: G) -> Result<G, &'static str> {
        match self.0.withdraw(instead) {
            handoff::Withdrawn::Gift(gift) => Ok(gift),
            handoff::Withdrawn::NotYet => Err("nothing was delivered"),
            handoff::Withdrawn::Over => Err("the wait is over"),
        }
    }

    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}
