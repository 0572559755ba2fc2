//! An allocator that counts the use of the heap. Counting can be switched on and off.
//!
//! The counters count the bytes that were requested. Memory that the allocator adds for its own use is part of the
//! resident memory only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Allocator of a bench, which counts allocations and bytes.
pub struct Counting;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Allocations and allocated bytes while counting was on. A reallocation counts as an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    pub allocations: u64,
    pub bytes: u64,
}

/// Switches counting on or off.
pub fn count(is_counting: bool) {
    IS_COUNTING.store(is_counting, Ordering::SeqCst);
}

/// Returns the number of bytes that were allocated and not freed. The number is correct only if counting began
/// with the process.
pub fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// Returns the largest value of [`live`] since the last call of this function.
pub fn peak() -> i64 {
    PEAK.swap(live(), Ordering::Relaxed)
}

/// Returns all allocations and bytes that were counted so far.
pub fn used() -> Use {
    Use { allocations: ALLOCATIONS.load(Ordering::Relaxed), bytes: ALLOCATED.load(Ordering::Relaxed) }
}

impl Use {
    /// Returns the allocations and bytes since `earlier`, divided by `times`.
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

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller keeps the contract, which is that of the system's allocator.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: the caller keeps the contract, which is that of the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: the caller keeps the contract, which is that of the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}
