#![allow(unsafe_code)] // reason: the one mutable object; its state word decides who may read what.
//! Suspended expressions.
//!
//! ```text
//! [ code address    | 0 ] [capture 0] [capture 1] …    suspended
//! [ owner << 8 | wait | 1 ] [capture 0] …              being forced by a thread (the blackhole)
//! [ 2                     ] [value]                    done; the words of further captures went back to the heap
//! ```
//!
//! The state word is the lock: whoever turns *suspended* into *blackhole* owns the captures and writes the value.
//! A failed force puts the code back, so the error comes again when asked again. Waiting for another thread, and
//! finding cycles between threads, is in [`claim`](Thunk::claim) and the table of waiters below.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use super::heap;
use super::word::Value;
use crate::compile::code::Code;

const BLACKHOLE: u64 = 1;
const DONE: u64 = 2;
const STATE: u64 = 7;
const AWAITED: u64 = 8;

#[derive(Clone, Copy)]
pub struct Thunk(*const u64);

// SAFETY: all access that may race goes through the atomic state word, see above.
unsafe impl Send for Thunk {}
// SAFETY: as above.
unsafe impl Sync for Thunk {}

/// What asking to force a thunk came to.
pub(crate) enum Claim {
    /// It has a value already.
    Done(Value),
    /// The caller now has to run this code and call [`Thunk::finish`] or [`Thunk::restore`].
    Run(&'static Code),
    /// The caller, or a chain of threads that ends with the caller, is forcing it already.
    Cycle,
}

/// Number of a thread that forces thunks, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Worker(pub u32);

/// Which worker waits for which thunk. Whom that means is read from the thunk when it matters: a worker that was woken
/// and has not run yet still stands here, and the owner it waited for may have gone on to wait for something else.
struct Waiters {
    waits: Vec<(Worker, Thunk)>,
}

static WAITERS: Mutex<Waiters> = Mutex::new(Waiters { waits: Vec::new() });
static WAKE: Condvar = Condvar::new();
const PROMISE: &str = "no thread panics while it holds the table of waiters";

/// Lets all who wait look again.
pub(crate) fn wake_all() {
    let _table = WAITERS.lock().expect(PROMISE);
    WAKE.notify_all();
}

impl Value {
    /// A thunk whose captures are still to be written by [`Thunk::fill`].
    #[inline(always)]
    pub(crate) fn thunk_unfilled(code: &'static Code) -> Value {
        let at = heap::words(1 + code.captures.len().max(1));
        // SAFETY: room for the state and at least one more word; the captures are written before anyone forces it.
        unsafe {
            at.write(std::ptr::from_ref(code) as u64);
            for index in 0..code.captures.len().max(1) {
                at.add(1 + index).cast::<Value>().write(Value::NULL);
            }
        }
        Value::from_thunk(at)
    }

    /// A thunk whose captures `capture` gives, by index.
    #[inline(always)]
    pub(crate) fn thunk_from_fn(code: &'static Code, mut capture: impl FnMut(usize) -> Value) -> Value {
        let count = code.captures.len();
        let at = heap::words(1 + count.max(1));
        // SAFETY: room for the state and at least one more word. Without captures the second word stays unwritten, and
        // is not read before `finish` writes it.
        unsafe {
            at.write(std::ptr::from_ref(code) as u64);
            for index in 0..count {
                at.add(1 + index).cast::<Value>().write(capture(index));
            }
        }
        Value::from_thunk(at)
    }

    pub(crate) fn thunk(code: &'static Code, captures: &[Value]) -> Value {
        debug_assert_eq!(captures.len(), code.captures.len());
        let at = heap::words(1 + captures.len().max(1));
        // SAFETY: room for the state and all captures, at least one word.
        unsafe {
            at.write(std::ptr::from_ref(code) as u64);
            at.add(1).cast::<Value>().copy_from_nonoverlapping(captures.as_ptr(), captures.len());
        }
        Value::from_thunk(at)
    }
}

impl Waiters {
    /// Whether the owner of a thunk in this state waits, perhaps through others, for a thunk that `worker` is forcing.
    ///
    /// Who stands in the table and waits for a blackhole cannot go on while the caller holds the table, so a chain
    /// that is found does not change under it. No chain is longer than the table.
    fn leads_to(&self, worker: Worker, state: u64) -> bool {
        let mut owner = Worker((state >> 8) as u32);
        for _ in 0..=self.waits.len() {
            if owner == worker {
                return true;
            }
            let Some((_, thunk)) = self.waits.iter().find(|(waiting, _)| *waiting == owner) else { return false };
            let state = thunk.state().load(Ordering::Acquire);
            if state & STATE != BLACKHOLE {
                return false;
            }
            owner = Worker((state >> 8) as u32);
        }
        false
    }
}

impl Thunk {
    #[inline(always)]
    pub(super) fn from_pointer(pointer: *const u64) -> Thunk {
        Thunk(pointer)
    }

    #[inline(always)]
    fn state(self) -> &'static AtomicU64 {
        // SAFETY: the first word of a thunk is its state, and is only ever accessed as an atomic once shared.
        unsafe { AtomicU64::from_ptr(self.0.cast_mut()) }
    }

    #[inline(always)]
    fn result(self) -> &'static AtomicU64 {
        // SAFETY: every thunk has a second word; see `thunk_unfilled`.
        unsafe { AtomicU64::from_ptr(self.0.add(1).cast_mut()) }
    }

    /// The value, when it has one.
    #[inline(always)]
    pub fn done(self) -> Option<Value> {
        if self.state().load(Ordering::Acquire) == DONE {
            Some(Value::from_bits(self.result().load(Ordering::Relaxed)))
        } else {
            None
        }
    }

    /// Tries to become the one who forces. With `shared` false no other thread exists, and a plain store will do.
    #[inline(always)]
    pub(crate) fn claim(self, worker: Worker, shared: bool) -> Claim {
        let state = self.state().load(Ordering::Acquire);
        if state == DONE {
            return Claim::Done(Value::from_bits(self.result().load(Ordering::Relaxed)));
        }
        if state & STATE == 0 {
            let mark = u64::from(worker.0) << 8 | BLACKHOLE;
            if !shared {
                self.state().store(mark, Ordering::Relaxed);
                return Claim::Run(Thunk::code_of(state));
            }
            if self.state().compare_exchange(state, mark, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Claim::Run(Thunk::code_of(state));
            }
        }
        self.wait(worker)
    }

    #[inline(always)]
    fn code_of(state: u64) -> &'static Code {
        // SAFETY: a suspended state word is the address of code that lives as long as the process.
        unsafe { &*(state as *const Code) }
    }

    #[cold]
    fn wait(self, worker: Worker) -> Claim {
        let mut table = WAITERS.lock().expect(PROMISE);
        loop {
            // Whoever owns the thunk may have unwound without giving it back.
            if heap::is_exhausted() {
                return Claim::Cycle;
            }
            let state = self.state().load(Ordering::Acquire);
            match state & STATE {
                DONE => return Claim::Done(Value::from_bits(self.result().load(Ordering::Relaxed))),
                0 => {
                    let mark = u64::from(worker.0) << 8 | BLACKHOLE;
                    if self.state().compare_exchange(state, mark, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                        return Claim::Run(Thunk::code_of(state));
                    }
                    continue;
                }
                _ => {}
            }
            if table.leads_to(worker, state) {
                return Claim::Cycle;
            }
            if state & AWAITED == 0
                && self.state().compare_exchange(state, state | AWAITED, Ordering::AcqRel, Ordering::Acquire).is_err()
            {
                continue;
            }
            table.waits.push((worker, self));
            table = WAKE.wait(table).expect(PROMISE);
            table.waits.retain(|(waiting, _)| *waiting != worker);
        }
    }

    /// Captures of a thunk that the caller has claimed.
    #[inline(always)]
    pub(crate) fn captures(self, code: &'static Code) -> &'static [Value] {
        // SAFETY: the caller owns the claim, so nobody writes the words; there are as many as the code says. They stay
        // as they are until `finish`, after which the caller no longer looks (the machine copies them on entry).
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<Value>(), code.captures.len()) }
    }

    /// Writes one capture of a thunk just made and not yet forced.
    #[inline(always)]
    pub(crate) fn fill(self, index: usize, value: Value) {
        // SAFETY: the object was made by `thunk_unfilled` for code with more than `index` captures, and until the
        // group of bindings it belongs to is complete nobody forces it.
        unsafe { self.0.add(1 + index).cast_mut().cast::<Value>().write(value) }
    }

    /// Ends the claim on a thunk of this code with its value.
    #[inline(always)]
    pub(crate) fn finish(self, value: Value, code: &'static Code, shared: bool) {
        self.result().store(value.bits(), Ordering::Relaxed);
        // SAFETY: a thunk has a word for each capture from the second on. Only the claimant, who is the caller, reads
        // captures, and whoever finds the thunk done reads the second word alone.
        unsafe { heap::give_back(self.0.add(2).cast_mut(), code.captures.len().saturating_sub(1)) };
        self.leave(DONE, shared);
    }

    /// Makes the thunk as it was before the claim.
    pub(crate) fn restore(self, code: &'static Code, shared: bool) {
        self.leave(std::ptr::from_ref(code) as u64, shared);
    }

    #[inline(always)]
    fn leave(self, state: u64, shared: bool) {
        if !shared {
            self.state().store(state, Ordering::Release);
        } else if self.state().swap(state, Ordering::AcqRel) & AWAITED != 0 {
            let _table = WAITERS.lock().expect(PROMISE);
            WAKE.notify_all();
        }
    }
}
