//! What the hand-off cell is built of: std's mutex here, loom's where `tests/loom` checks every interleaving.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
