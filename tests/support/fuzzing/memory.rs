//! How much memory a thread holds at the most.
//!
//! Knows nothing of what it is held for. Invariant: other threads do not count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The most memory that this thread held at once during `work`, beyond what it held before.
pub(super) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    (done, MOST.get().saturating_sub(before))
}

pub(super) struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(1 << 40) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; what is added only counts, in cells that need no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get() + layout.size();
        HELD.set(held);
        MOST.set(MOST.get().max(held));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
