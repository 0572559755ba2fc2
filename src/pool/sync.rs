//! The locks of the hand-off cell. The crate uses the locks of std. `tests/loom` replaces this file by loom's locks to
//! check every interleaving.

pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
