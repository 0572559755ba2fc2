//! The crate's own hand-off cell, over loom's mutex in place of std's.
//!
//! The file itself is compiled here, not a copy of it. What it keeps to its crate is passed on for `tests/hand_off.rs`,
//! which is where the models are.

use std::task::{Context, Poll};

#[path = "../../../src/pool/handoff.rs"]
mod handoff;

/// What the file takes from its neighbour in the crate.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

/// One waiter's cell.
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

    /// What was taken back, if it was there: with what stands in its place.
    pub fn withdraw(&self, instead: G) -> Result<G, &'static str> {
        match self.0.withdraw(instead) {
            handoff::Withdrawn::Gift(gift) => Ok(gift),
            handoff::Withdrawn::NotYet => Err("nothing yet"),
            handoff::Withdrawn::Over => Err("it is over"),
        }
    }

    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}
