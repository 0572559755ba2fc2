//! Counts how many entries a call of the policy touches, in tests. Elsewhere it compiles to nothing.
//!
//! Invariant: each visit of a host, a shelf or an idle connection is counted, in a loop once per step.

/// Counts the visit of one entry.
#[inline]
pub(super) fn touch() {
    #[cfg(test)]
    tests::TOUCHED.set(tests::TOUCHED.get() + 1);
}

#[cfg(test)]
#[path = "touched_tests.rs"]
mod tests;
