//! Limits of recursion and memory: room on the native stack, and unwinding at the end of the memory
//! for values.
//!
//! Forcing and calling recurse natively, so the first entry moves to a large stack of its own. An
//! allocation beyond the limit unwinds to there too: code outside of [`Evaluator::on_large_stack`]
//! never sees that.

use super::Evaluator;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{Exhausted, account};

/// Native stack of an evaluation; pages are only used when a recursion gets there.
const NATIVE_STACK_BYTES: usize = 2 << 30;
/// Part of it that is usable even when memory is limited to less.
const NATIVE_STACK_BYTES_MIN: usize = 128 << 20;
/// Part of it that stays free for code that does not check.
const NATIVE_RESERVE_BYTES: usize = 1 << 20;

impl Evaluator {
    /// Fails when the native stack is nearly used up, or evaluation has to end; for native code
    /// that recurses.
    #[inline(always)]
    pub(crate) fn check_native_stack(&mut self) -> Result<()> {
        let marker = 0u8;
        let at = &raw const marker as usize;
        if at < self.native_limit && self.on_own_stack && self.is_stack_used_up(at) {
            Err(ErrorKind::StackOverflow.into())
        } else if self.account.is_ended() {
            Err(self.out_of_memory())
        } else {
            Ok(())
        }
    }

    /// Returns true when the stack is used up indeed: the limit of a profiled evaluator pretends
    /// that it always is.
    #[cold]
    pub(super) fn is_stack_used_up(&self, at: usize) -> bool {
        self.profile.as_ref().is_none_or(|profile| at < profile.native_limit)
    }

    /// Runs `work`, which visits the elements of a set or list, as one call deeper: so endlessly
    /// nested data is distinguished from data that is merely large.
    ///
    /// # Errors
    /// Errors of `work`, and reaching the limit of calls.
    pub fn nested<T>(&mut self, work: impl FnOnce(&mut Evaluator) -> Result<T>) -> Result<T> {
        self.check_native_stack()?;
        if self.calls >= self.shared.options.depth_max {
            return Err(ErrorKind::CallDepth.into());
        }
        self.calls += 1;
        let result = work(self);
        self.calls -= 1;
        result
    }

    /// Runs `work` with room for deep recursion, and turns running out of memory into an error.
    /// Many calls in one `work` need that room only once.
    ///
    /// # Errors
    /// Errors of `work`, and running out of memory.
    pub fn on_large_stack<T>(&mut self, work: impl FnOnce(&mut Evaluator) -> Result<T>) -> Result<T> {
        if self.on_own_stack {
            return work(self);
        }
        let (calls, top) = (self.calls, self.stack.top());
        let _entered = account::enter(&self.account);
        self.grow_stack(|ev| {
            // No half-done state is used again: thunks under way stay marked, and forcing one fails
            // for want of memory (`cycle`).
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(ev)));
            result.unwrap_or_else(|cause| {
                if !cause.is::<Exhausted>() {
                    std::panic::resume_unwind(cause);
                }
                ev.calls = calls;
                // A tail call may have replaced the first frame by a smaller one; its caller
                // removes that.
                ev.stack.reset(top.min(ev.stack.top()));
                ev.account.wake_all();
                Err(ev.out_of_memory())
            })
        })
    }

    fn grow_stack<T>(&mut self, work: impl FnOnce(&mut Evaluator) -> T) -> T {
        stacker::grow(NATIVE_STACK_BYTES, || {
            let marker = 0u8;
            self.on_own_stack = true;
            // With little memory only a part of the stack is usable.
            let usable = self.account.limit_bytes().clamp(NATIVE_STACK_BYTES_MIN, NATIVE_STACK_BYTES);
            self.native_limit = (&raw const marker as usize) - usable + NATIVE_RESERVE_BYTES;
            if let Some(profile) = &mut self.profile {
                profile.native_limit = self.native_limit;
                self.native_limit = usize::MAX;
            }
            let result = work(self);
            self.on_own_stack = false;
            self.native_limit = usize::MAX;
            result
        })
    }

    #[cold]
    pub(crate) fn out_of_memory(&self) -> Error {
        if self.account.is_interrupted() {
            return ErrorKind::Interrupted.into();
        }
        ErrorKind::OutOfMemory(self.account.limit_bytes()).into()
    }
}
