//! What the heap is used for: the system's allocator, with a count of what it gave out, while it is told to count.
//!
//! The bytes are those that were asked for: what the allocator adds for its own use is seen in the resident memory only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// The allocator of a bench.
pub struct Counting;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// What was allocated while it was counted. Growing counts as allocating.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    pub allocations: u64,
    pub bytes: u64,
}

/// Counts, or no longer does.
pub fn count(is_counting: bool) {
    IS_COUNTING.store(is_counting, Ordering::SeqCst);
}

/// Bytes that were allocated and not freed yet: of meaning if it counts since the process began.
pub fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// The most that was [`live`] at any time since this was called last.
pub fn peak() -> i64 {
    PEAK.swap(live(), Ordering::Relaxed)
}

/// All that was counted so far.
pub fn used() -> Use {
    Use { allocations: ALLOCATIONS.load(Ordering::Relaxed), bytes: ALLOCATED.load(Ordering::Relaxed) }
}

impl Use {
    /// Since `earlier`, for each of so many.
    pub fn each(self, earlier: Self, times: usize) -> [f64; 2] {
        [self.allocations - earlier.allocations, self.bytes - earlier.bytes]
            .map(|more| more as f64 / times as f64)
    }
}

fn note(allocated: usize, freed: usize) {
    if !IS_COUNTING.load(Ordering::Relaxed) {
        return;
    }
    if allocated > 0 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED.fetch_add(allocated as u64, Ordering::Relaxed);
    }
    let more = allocated as i64 - freed as i64;
    PEAK.fetch_max(LIVE.fetch_add(more, Ordering::Relaxed) + more, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: what holds for our caller holds for us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
