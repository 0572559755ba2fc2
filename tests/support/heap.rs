//! A global allocator that counts allocations and bytes, for the whole process and for each thread.
//!
//! A binary that includes this file counts all of its allocations. Threads that called [`do_not_count`] are left out of
//! the counts of the process. This file uses neither the crate nor other files of the test kit, so that the fuzz targets
//! can include it by its path.

#![allow(dead_code, unreachable_pub, reason = "each binary uses a part of this file")]
#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_LEFT_OUT: Cell<bool> = const { Cell::new(false) };
    /// Number of bytes that this thread allocated minus the number of bytes that it freed. Negative if the thread freed more.
    static HELD_HERE: Cell<isize> = const { Cell::new(0) };
    static MOST_HERE: Cell<isize> = const { Cell::new(0) };
}

/// Leaves this thread out of the counts of the process. Threads of a test server call this function.
pub fn do_not_count() {
    IS_LEFT_OUT.set(true);
}

/// Returns how often the process allocated.
pub fn allocations() -> usize {
    ALLOCATIONS.load(Relaxed)
}

/// Returns how many bytes the process has allocated, including bytes that it has freed since.
pub fn allocated() -> usize {
    ALLOCATED.load(Relaxed)
}

/// Returns how many bytes the process holds.
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// Largest growth of the process's allocated bytes since the call of [`start`](Self::start).
pub struct Peak {
    before: usize,
}

impl Peak {
    /// Starts a measurement and returns it. Only one measurement of the process can run at a time.
    pub fn start() -> Self {
        let before = held();
        MOST.store(before, Relaxed);
        Self { before }
    }

    pub fn bytes(&self) -> usize {
        MOST.load(Relaxed) - self.before
    }
}

/// Largest growth of this thread's allocated bytes since the call of [`start`](Self::start).
pub struct ThreadPeak {
    before: isize,
}

impl ThreadPeak {
    /// Starts a measurement and returns it. Only one measurement can run at a time on a thread.
    pub fn start() -> Self {
        let before = HELD_HERE.get();
        MOST_HERE.set(before);
        Self { before }
    }

    pub fn bytes(&self) -> usize {
        usize::try_from(MOST_HERE.get() - self.before).unwrap_or(0)
    }
}

struct Counting;

// SAFETY: every call is passed on to the system allocator. Counting does not allocate, and the thread-local cells need no
// destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD_HERE.get() + layout.size() as isize;
        HELD_HERE.set(held);
        MOST_HERE.set(MOST_HERE.get().max(held));
        if !IS_LEFT_OUT.get() {
            ALLOCATIONS.fetch_add(1, Relaxed);
            ALLOCATED.fetch_add(layout.size(), Relaxed);
            let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
            MOST.fetch_max(held, Relaxed);
        }
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD_HERE.set(HELD_HERE.get() - layout.size() as isize);
        if !IS_LEFT_OUT.get() {
            HELD.fetch_sub(layout.size(), Relaxed);
        }
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
