//! How many entries a call of the policy touches: counted in its tests, and compiled to nothing elsewhere.
//!
//! Knows nothing of what is touched. Invariant: whatever visits a host, a shelf or an idle connection says so, each
//! step of a loop by itself.

/// An entry is visited.
#[inline]
pub(super) fn touch() {
    #[cfg(test)]
    tests::TOUCHED.set(tests::TOUCHED.get() + 1);
}

#[cfg(test)]
#[path = "touched_tests.rs"]
mod tests;
