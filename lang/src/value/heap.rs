#![allow(unsafe_code)] // reason: hands out raw memory; everything above it is built on these words.
//! Memory for values: bump allocation, a region a thread, never given back to the system.
//!
//! Values are plain words that anyone may copy and keep, so their memory lives as long as the process: that is what
//! makes [`Value`](super::Value) `Copy`, `Send` and free of lifetimes. An evaluator is a short-lived program, and not
//! tracing, counting or freeing is where much of its speed comes from. The one thing that is known to be dead is what a
//! thunk captured, once it has its value: [`give_back`] keeps those words for the next objects of that size. A collector, should one come, replaces this
//! module and [`super::word`]; nothing else knows where objects are.

use std::alloc::{Layout, alloc};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
static LIMIT_BYTES: AtomicUsize = AtomicUsize::new(usize::MAX);
static EXHAUSTED: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Beyond the limit, for code on its way to the next call, where the evaluation ends with a place.
const SLACK_BYTES: usize = 64 << 20;

/// What unwinds when even the slack is used up, or one object alone is too big; never seen outside the evaluator.
pub(crate) struct Exhausted;

/// Sets the most bytes that values may take in this process.
pub(crate) fn set_limit(bytes: usize) {
    LIMIT_BYTES.store(bytes, Ordering::Relaxed);
    EXHAUSTED.store(RESERVED_BYTES.load(Ordering::Relaxed) > bytes, Ordering::Relaxed);
}

pub(crate) fn limit_bytes() -> usize {
    LIMIT_BYTES.load(Ordering::Relaxed)
}

/// Ends every evaluation of the process at its next call, by way of the flag that calls look at for the memory's sake: so
/// looking costs nothing. Until [`resume`], each evaluation ends at once.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
    EXHAUSTED.store(true, Ordering::Release);
    super::thunk::wake_all();
}

/// Lets evaluations go on after [`interrupt`]. Thunks that were being forced are as they were before.
pub fn resume() {
    INTERRUPTED.store(false, Ordering::Relaxed);
    set_limit(limit_bytes());
}

/// Whether evaluations end because of [`interrupt`].
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Whether the limit was reached: all evaluation ends then, as nothing is given back. Or whether it was interrupted.
#[inline(always)]
pub(crate) fn is_exhausted() -> bool {
    EXHAUSTED.load(Ordering::Relaxed)
}

/// Bytes reserved for values by all threads so far.
pub fn reserved_bytes() -> usize {
    RESERVED_BYTES.load(Ordering::Relaxed)
}

/// Returns `words` uninitialised words, aligned to 8 bytes, valid for the rest of the process.
#[inline]
pub(super) fn words(words: usize) -> *mut u64 {
    let bytes = words.saturating_mul(8);
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
    if RESERVED_BYTES.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > limit_bytes() {
        EXHAUSTED.store(true, Ordering::Relaxed);
    }
}

#[cold]
fn refill(region: &Region, bytes: usize) -> *mut u64 {
    let whole = if bytes > REGION_BYTES / 8 { bytes } else { REGION_BYTES };
    let limit = LIMIT_BYTES.load(Ordering::Relaxed);
    let reserved = RESERVED_BYTES.load(Ordering::Relaxed).saturating_add(whole);
    if reserved > limit {
        EXHAUSTED.store(true, Ordering::Relaxed);
        if whole != REGION_BYTES || reserved > limit.saturating_add(SLACK_BYTES) {
            std::panic::resume_unwind(Box::new(Exhausted));
        }
    }
    RESERVED_BYTES.fetch_add(whole, Ordering::Relaxed);
    let start = match Layout::from_size_align(whole, 4096) {
        // SAFETY: the layout is not of size zero, since an object has at least one word (`whole >= 8`).
        Ok(layout) => unsafe { alloc(layout) },
        Err(_) => std::ptr::null_mut(),
    };
    if start.is_null() {
        // What the system gives is the limit, then.
        let reserved = RESERVED_BYTES.fetch_sub(whole, Ordering::Relaxed).saturating_sub(whole);
        LIMIT_BYTES.fetch_min(reserved, Ordering::Relaxed);
        EXHAUSTED.store(true, Ordering::Relaxed);
        std::panic::resume_unwind(Box::new(Exhausted));
    }
    if whole == REGION_BYTES {
        region.next.set(start as usize + bytes);
        region.end.set(start as usize + whole);
    }
    start.cast()
}
