//! A counter of the entries that a call of the policy touches. The counter exists in tests only.
//!
//! Invariant: each visit of a host, a shelf or an idle connection is counted. A loop counts each of its steps.

/// Counts the visit of one entry.
#[inline]
pub(super) fn touch() {
    #[cfg(test)]
    tests::TOUCHED.set(tests::TOUCHED.get() + 1);
}

#[cfg(test)]
#[path = "touched_tests.rs"]
mod tests;
