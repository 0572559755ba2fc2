//! The locks of the hand-off cell. They are std's locks; `tests/loom` replaces this file by loom's locks to check every
//! interleaving.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
