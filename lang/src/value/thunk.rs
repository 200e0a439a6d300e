#![allow(unsafe_code)] // reason: the one mutable object; its state word decides who may read what.
//! Suspended expressions.
//!
//! ```text
//! [ code address    | 0 ] [capture 0] [capture 1] …    suspended
//! [ owner << 8 | wait | 1 ] [capture 0] …              being forced by a thread (the blackhole)
//! [ 2                     ] [value]                    done; the words of further captures are back in the heap
//! ```
//!
//! The state word is the lock: the thread that turns *suspended* into *blackhole* owns the captures
//! and writes the value. Its claim is a [`Claimed`], which ends in [`Claimed::finish`] or, when
//! forcing failed, in [`Claimed::restore`], so that the error comes again with the next force.
//! Waiting for another thread, and finding cycles through several threads, is in
//! [`claim`](Thunk::claim) and [`Waiters`].

use super::account::Account;
use super::heap;
use super::word::{AtomicValue, Value};
use crate::compile::code::Code;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

const BLACKHOLE: u64 = 1;
const DONE: u64 = 2;
const STATE: u64 = 7;
const AWAITED: u64 = 8;

#[derive(Clone, Copy)]
pub struct Thunk(*const u64);

// SAFETY: all accesses that may race go through the atomic state word, see above.
unsafe impl Send for Thunk {}
// SAFETY: as above.
unsafe impl Sync for Thunk {}

/// Result of asking to force a thunk.
pub(crate) enum Claim {
    /// It has a value already.
    Done(Value),
    /// The caller now has to run the code.
    Run(Claimed),
    /// The caller, or a chain of threads that ends with the caller, is forcing it already.
    Cycle,
}

/// The right and duty to force one thunk.
#[must_use = "others wait for the thunk until it is finished or restored"]
pub(crate) struct Claimed {
    thunk: Thunk,
    code: &'static Code,
}

/// Number of a thread that forces thunks, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Worker(pub u32);

/// Workers of one evaluation that wait for a thunk, each with that thunk. The owner of the thunk is
/// read from it when needed: a worker that was woken and has not run yet is still in the table, and
/// the owner it waited for may already wait for something else.
#[derive(Default)]
pub(crate) struct Waiters {
    table: Mutex<Vec<(Worker, Thunk)>>,
    wake: Condvar,
}

const PROMISE: &str = "no thread panics while it holds the table of waiters";

impl Value {
    /// Makes a thunk whose captures are written later by [`Thunk::fill`].
    #[inline(always)]
    pub(crate) fn thunk_unfilled(code: &'static Code) -> Value {
        let at = heap::words(1 + code.captures.len().max(1));
        // SAFETY: room for the state and at least one more word, all written here.
        unsafe {
            at.write(std::ptr::from_ref(code) as u64);
            for index in 0..code.captures.len().max(1) {
                at.add(1 + index).cast::<Value>().write(Value::NULL);
            }
            Value::from_thunk(at)
        }
    }

    /// Makes a thunk whose captures `capture` gives, by index.
    #[inline(always)]
    pub(crate) fn thunk_from_fn(code: &'static Code, mut capture: impl FnMut(usize) -> Value) -> Value {
        let count = code.captures.len();
        let at = heap::words(1 + count.max(1));
        // SAFETY: room for the state and at least one more word. Without captures the second word
        // stays unwritten, and is not read before `finish` writes it.
        unsafe {
            at.write(std::ptr::from_ref(code) as u64);
            for index in 0..count {
                at.add(1 + index).cast::<Value>().write(capture(index));
            }
            Value::from_thunk(at)
        }
    }

    /// Makes a thunk of code that takes as many captures.
    pub(crate) fn thunk(code: &'static Code, captures: &[Value]) -> Value {
        assert_eq!(captures.len(), code.captures.len(), "a thunk gets the captures of its code");
        Value::thunk_from_fn(code, |index| captures[index])
    }
}

impl Waiters {
    /// Lets all waiting workers check again.
    pub(super) fn wake_all(&self) {
        let _table = self.table.lock().expect(PROMISE);
        self.wake.notify_all();
    }
}

/// Returns true when the owner of a thunk in this state waits, perhaps through others, for a thunk
/// that `worker` is forcing.
///
/// A worker in the table that waits for a blackhole cannot go on while the caller holds the table,
/// so a chain that is found does not change under it. No chain is longer than the table.
fn leads_to(table: &[(Worker, Thunk)], worker: Worker, state: u64) -> bool {
    let mut owner = Worker((state >> 8) as u32);
    for _ in 0..=table.len() {
        if owner == worker {
            return true;
        }
        let Some((_, thunk)) = table.iter().find(|(waiting, _)| *waiting == owner) else { return false };
        let state = thunk.state().load(Ordering::Acquire);
        if state & STATE != BLACKHOLE {
            return false;
        }
        owner = Worker((state >> 8) as u32);
    }
    false
}

impl Thunk {
    /// # Safety
    /// `pointer` is the address of a thunk object.
    #[inline(always)]
    pub(super) unsafe fn from_pointer(pointer: *const u64) -> Thunk {
        Thunk(pointer)
    }

    #[inline(always)]
    fn state(self) -> &'static AtomicU64 {
        // SAFETY: the first word of a thunk is its state, and is only ever accessed as an atomic
        // once shared.
        unsafe { AtomicU64::from_ptr(self.0.cast_mut()) }
    }

    #[inline(always)]
    fn result(self) -> &'static AtomicValue {
        // SAFETY: every thunk has a second word; see `thunk_unfilled`. It is read only after
        // `finish` wrote a value.
        unsafe { AtomicValue::from_ptr(self.0.add(1).cast_mut().cast()) }
    }

    /// Returns the value, if it has one.
    #[inline(always)]
    pub fn done(self) -> Option<Value> {
        if self.state().load(Ordering::Acquire) == DONE { Some(self.result().load(Ordering::Relaxed)) } else { None }
    }

    /// Tries to become the worker that forces the thunk. `company` is the account of an evaluation
    /// with several threads; without it no other thread may use the thunk, and a plain store
    /// suffices.
    #[inline(always)]
    pub(crate) fn claim(self, worker: Worker, company: Option<&Account>) -> Claim {
        let state = self.state().load(Ordering::Acquire);
        if state == DONE {
            return Claim::Done(self.result().load(Ordering::Relaxed));
        }
        if state & STATE == 0 {
            let mark = u64::from(worker.0) << 8 | BLACKHOLE;
            if company.is_none() {
                self.state().store(mark, Ordering::Relaxed);
                return Claim::Run(self.claimed(state));
            }
            if self.state().compare_exchange(state, mark, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Claim::Run(self.claimed(state));
            }
        }
        self.wait(worker, company)
    }

    /// The claim on a thunk that this thread has just marked; `state` is the word before that.
    #[inline(always)]
    fn claimed(self, state: u64) -> Claimed {
        // SAFETY: the word of a suspended thunk is the address of code, which lives as long as the
        // process.
        Claimed { thunk: self, code: unsafe { &*(state as *const Code) } }
    }

    #[cold]
    fn wait(self, worker: Worker, company: Option<&Account>) -> Claim {
        // Without company only the caller itself can be forcing the thunk.
        let Some(account) = company else { return Claim::Cycle };
        let mut table = account.waiters.table.lock().expect(PROMISE);
        loop {
            // The owner of the thunk may have unwound without restoring it.
            if account.is_ended() {
                return Claim::Cycle;
            }
            let state = self.state().load(Ordering::Acquire);
            match state & STATE {
                DONE => return Claim::Done(self.result().load(Ordering::Relaxed)),
                0 => {
                    let mark = u64::from(worker.0) << 8 | BLACKHOLE;
                    if self.state().compare_exchange(state, mark, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                        return Claim::Run(self.claimed(state));
                    }
                    continue;
                }
                _ => {}
            }
            if leads_to(&table, worker, state) {
                return Claim::Cycle;
            }
            if state & AWAITED == 0
                && self.state().compare_exchange(state, state | AWAITED, Ordering::AcqRel, Ordering::Acquire).is_err()
            {
                continue;
            }
            table.push((worker, self));
            table = account.waiters.wake.wait(table).expect(PROMISE);
            table.retain(|(waiting, _)| *waiting != worker);
        }
    }

    /// Writes one capture.
    ///
    /// # Safety
    /// The thunk is of code with more than `index` captures, and the caller alone can reach it: it
    /// was made just now by [`Value::thunk_unfilled`], or the caller has claimed it.
    #[inline(always)]
    pub(crate) unsafe fn fill(self, index: usize, value: Value) {
        // SAFETY: by this function's contract the word is a capture of the object, and ours alone.
        unsafe { self.0.add(1 + index).cast_mut().cast::<Value>().write(value) }
    }
}

impl Claimed {
    #[inline(always)]
    pub(crate) fn code(&self) -> &'static Code {
        self.code
    }

    /// Captures of the thunk; they are there until it is finished.
    #[inline(always)]
    pub(crate) fn captures(&self) -> &[Value] {
        // SAFETY: only the owner of the claim writes the words, in `finish`, which ends this
        // borrow; there are as many as the code says.
        unsafe { std::slice::from_raw_parts(self.thunk.0.add(1).cast::<Value>(), self.code.captures.len()) }
    }

    /// Gives the thunk its value.
    #[inline(always)]
    pub(crate) fn finish(self, value: Value, company: Option<&Account>) {
        self.thunk.result().store(value, Ordering::Relaxed);
        // SAFETY: a thunk has a word for each capture from the second on. Only the owner of the
        // claim reads captures, and a reader that finds the thunk done reads the second word alone.
        unsafe { heap::give_back(self.thunk.0.add(2).cast_mut(), self.code.captures.len().saturating_sub(1)) };
        self.thunk.leave(DONE, company);
    }

    /// Suspends the thunk with other captures.
    pub(crate) fn refill(self, captures: &[Value], company: Option<&Account>) {
        assert_eq!(captures.len(), self.code.captures.len(), "a thunk gets the captures of its code");
        for (index, &capture) in captures.iter().enumerate() {
            // SAFETY: the code has as many captures, and the owner of the claim alone may access
            // them.
            unsafe { self.thunk.fill(index, capture) };
        }
        self.restore(company);
    }

    /// Suspends the thunk again, as before the claim.
    pub(crate) fn restore(self, company: Option<&Account>) {
        self.thunk.leave(std::ptr::from_ref(self.code) as u64, company);
    }
}

impl Thunk {
    #[inline(always)]
    fn leave(self, state: u64, company: Option<&Account>) {
        match company {
            None => self.state().store(state, Ordering::Release),
            Some(account) => {
                if self.state().swap(state, Ordering::AcqRel) & AWAITED != 0 {
                    account.waiters.wake_all();
                }
            }
        }
    }
}
