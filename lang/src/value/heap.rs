#![allow(unsafe_code)] // reason: hands out raw memory; everything above it is built on these words.
//! Memory for values: bump allocation, a region a thread, never given back to the system.
//!
//! Values are plain words that anyone may copy and keep, so their memory lives as long as the process: that is what
//! makes [`Value`](super::Value) `Copy`, `Send` and free of lifetimes. An evaluator is a short-lived program, and not
//! tracing, counting or freeing is where much of its speed comes from. The one thing that is known to be dead is what a
//! thunk captured, once it has its value: [`give_back`] keeps those words for the next objects of that size. A collector, should one come, replaces this
//! module and [`super::word`]; nothing else knows where objects are.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes asked from the system at a time. Pages that are not reached are never touched, so the size costs nothing.
const REGION_BYTES: usize = 8 << 20;

/// Pieces up to this many words are kept for reuse.
const KEPT_WORDS_MAX: usize = 15;

struct Region {
    next: Cell<usize>,
    end: Cell<usize>,
    /// For each size in words the first of the pieces given back, each of which holds the address of the next.
    kept: [Cell<usize>; KEPT_WORDS_MAX + 1],
}

thread_local! {
    static REGION: Region =
        const { Region { next: Cell::new(0), end: Cell::new(0), kept: [const { Cell::new(0) }; KEPT_WORDS_MAX + 1] } };
}

static RESERVED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes reserved for values by all threads so far.
pub fn reserved_bytes() -> usize {
    RESERVED_BYTES.load(Ordering::Relaxed)
}

/// Returns `words` uninitialised words, aligned to 8 bytes, valid for the rest of the process.
#[inline]
pub(super) fn words(words: usize) -> *mut u64 {
    let bytes = words * 8;
    REGION.with(|region| {
        if let Some(kept) = region.kept.get(words)
            && kept.get() != 0
        {
            let at = kept.get() as *mut u64;
            // SAFETY: `give_back` put the address of the next piece, or 0, into the first word of this one, and nobody
            // has written it since.
            kept.set(unsafe { at.read() } as usize);
            return at;
        }
        let at = region.next.get();
        if bytes <= region.end.get() - at {
            region.next.set(at + bytes);
            at as *mut u64
        } else {
            refill(region, bytes)
        }
    })
}

/// Takes words that nothing will ever read again, for later objects of this thread.
///
/// # Safety
/// `words` words from `at` on came from [`words`], and no value leads to them.
#[inline(always)]
pub(super) unsafe fn give_back(at: *mut u64, words: usize) {
    if (2..=KEPT_WORDS_MAX).contains(&words) {
        REGION.with(|region| {
            let kept = &region.kept[words];
            // SAFETY: the caller says that the words are ours.
            unsafe { at.write(kept.get() as u64) };
            kept.set(at as usize);
        });
    }
}

/// Counts memory that becomes a value as it is, without having been asked for here.
pub(super) fn adopt(bytes: usize) {
    RESERVED_BYTES.fetch_add(bytes, Ordering::Relaxed);
}

#[cold]
fn refill(region: &Region, bytes: usize) -> *mut u64 {
    let whole = if bytes > REGION_BYTES / 8 { bytes } else { REGION_BYTES };
    RESERVED_BYTES.fetch_add(whole, Ordering::Relaxed);
    let layout = Layout::from_size_align(whole, 4096).expect("an allocation is smaller than the address space");
    // SAFETY: the layout is not of size zero, since an object has at least one word (`whole >= 8`).
    let start = unsafe { alloc(layout) };
    if start.is_null() {
        handle_alloc_error(layout);
    }
    if whole == REGION_BYTES {
        region.next.set(start as usize + bytes);
        region.end.set(start as usize + whole);
    }
    start.cast()
}
