#![allow(unsafe_code)] // reason: hands out raw memory; everything above it is built on these words.
//! Memory for values: bump allocation, one region per thread, never returned to the system.
//!
//! Values are plain words that can be copied and kept, so their memory lives as long as the
//! process: that makes [`Value`](super::Value) `Copy`, `Send` and free of lifetimes. An evaluator
//! is a short-lived program, and much of its speed comes from not tracing, counting or freeing.
//! Only the captures of a thunk are known to be dead, once it has its value: [`give_back`] keeps
//! those words for the next objects of that size. A collector would replace this module and
//! [`super::word`]; no other module knows where objects are.

use super::account;
use std::alloc::{Layout, alloc};
use std::cell::Cell;

/// Bytes requested from the system at a time. Pages that are not reached are never touched, so the
/// size costs nothing.
const REGION_BYTES: usize = 8 << 20;

/// Pieces up to this many words are kept for reuse.
const KEPT_WORDS_MAX: usize = 15;

struct Region {
    next: Cell<usize>,
    end: Cell<usize>,
    /// For each size in words the first of the pieces given back; each piece holds the address of
    /// the next.
    kept: [Cell<usize>; KEPT_WORDS_MAX + 1],
}

thread_local! {
    static REGION: Region =
        const { Region { next: Cell::new(0), end: Cell::new(0), kept: [const { Cell::new(0) }; KEPT_WORDS_MAX + 1] } };
}

/// Payload of the unwinding when even the slack is used up, or one object alone is too big; never
/// seen outside the evaluator.
pub(crate) struct Exhausted;

/// Returns `words` uninitialised words, aligned to 8 bytes, valid for the rest of the process.
#[inline]
pub(super) fn words(words: usize) -> *mut u64 {
    let bytes = words.saturating_mul(8);
    REGION.with(|region| {
        if let Some(kept) = region.kept.get(words)
            && kept.get() != 0
        {
            let at = kept.get() as *mut u64;
            // SAFETY: `give_back` put the address of the next piece, or 0, into the first word of
            // this one, and the word was not written since.
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

/// Keeps words that are never read again, for later objects of this thread.
///
/// # Safety
/// `words` words from `at` on came from [`words`], and no value leads to them.
#[inline(always)]
pub(super) unsafe fn give_back(at: *mut u64, words: usize) {
    if (2..=KEPT_WORDS_MAX).contains(&words) {
        REGION.with(|region| {
            let kept = &region.kept[words];
            // SAFETY: by this function's contract the words are ours.
            unsafe { at.write(kept.get() as u64) };
            kept.set(at as usize);
        });
    }
}

/// Returns the size of what is left of this thread's region.
pub(super) fn unused_bytes() -> usize {
    REGION.with(|region| region.end.get() - region.next.get())
}

#[cold]
fn refill(region: &Region, bytes: usize) -> *mut u64 {
    let whole = if bytes > REGION_BYTES / 8 { bytes } else { REGION_BYTES };
    if !account::reserve(whole, whole == REGION_BYTES) {
        std::panic::resume_unwind(Box::new(Exhausted));
    }
    let start = match Layout::from_size_align(whole, 4096) {
        // SAFETY: the layout is not of size zero, since an object has at least one word
        // (`whole >= 8`).
        Ok(layout) => unsafe { alloc(layout) },
        Err(_) => std::ptr::null_mut(),
    };
    if start.is_null() {
        account::refused(whole);
        std::panic::resume_unwind(Box::new(Exhausted));
    }
    if whole == REGION_BYTES {
        region.next.set(start as usize + bytes);
        region.end.set(start as usize + whole);
    }
    start.cast()
}
