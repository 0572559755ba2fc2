//! The locks of the hand-off cell: std's here, loom's where `tests/loom` checks every interleaving.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
