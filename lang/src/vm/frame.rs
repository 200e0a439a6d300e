#![allow(unsafe_code)] // reason: registers are reached without bounds checks; the compiler counted them.
//! The stack of registers.
//!
//! ```text
//! … | capture n-1 … capture 0 | argument 0 … | variables, temporaries … | next frame
//!                             ^ base
//! ```

use crate::compile::op::Reg;
use crate::error::{ErrorKind, Result};
use crate::value::Value;

/// Words of stack. Reserved, not touched: pages come when a recursion gets there.
const WORDS: usize = 48 << 20;

pub(super) struct Stack {
    memory: *mut Value,
    /// First free register.
    top: usize,
}

// SAFETY: the memory belongs to the stack alone, and values may go to any thread.
unsafe impl Send for Stack {}

/// The registers of one running function.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    base: *mut Value,
}

impl Stack {
    pub fn new() -> Stack {
        let layout = std::alloc::Layout::array::<Value>(WORDS).expect("the stack is smaller than the address space");
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { std::alloc::alloc(layout) };
        if memory.is_null() {
            std::alloc::handle_alloc_error(layout);
        }
        Stack { memory: memory.cast(), top: 0 }
    }

    #[inline(always)]
    pub fn top(&self) -> usize {
        self.top
    }

    /// Drops all frames above.
    #[inline(always)]
    pub fn reset(&mut self, top: usize) {
        debug_assert!(top <= self.top);
        self.top = top;
    }

    /// Begins a frame: copies captures and arguments, leaves room for `size` registers.
    #[inline(always)]
    pub fn push(&mut self, captures: &[Value], arguments: &[Value], size: usize) -> Result<Frame> {
        debug_assert!(arguments.len() <= size);
        let base = self.top + captures.len();
        if base + size > WORDS {
            return Err(ErrorKind::StackOverflow.into());
        }
        // SAFETY: base + size is within the memory, checked just now; captures go below base, arguments from base up.
        // `arguments` may be registers of the frame below, which ends at `top`, so nothing overlaps.
        unsafe {
            let at = self.memory.add(base);
            for (index, &capture) in captures.iter().enumerate() {
                at.sub(1 + index).write(capture);
            }
            for (index, &argument) in arguments.iter().enumerate() {
                at.add(index).write(argument);
            }
            self.top = base + size;
            Ok(Frame { base: at })
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let layout = std::alloc::Layout::array::<Value>(WORDS).expect("as in `new`");
        // SAFETY: allocated in `new` with the same layout; values need no drop.
        unsafe { std::alloc::dealloc(self.memory.cast(), layout) }
    }
}

impl Frame {
    #[inline(always)]
    pub fn get(self, register: Reg) -> Value {
        // SAFETY: the compiler numbers registers from -captures to the frame's size and lets none be read before it
        // is written; `push` made room for them all.
        unsafe { self.base.offset(register as isize).read() }
    }

    #[inline(always)]
    pub fn set(self, register: Reg, value: Value) {
        // SAFETY: as in `get`.
        unsafe { self.base.offset(register as isize).write(value) }
    }

    /// Consecutive registers. They must not be written while the slice is in use.
    #[inline(always)]
    pub fn slice<'a>(self, first: Reg, count: usize) -> &'a [Value] {
        // SAFETY: the compiler allocated `count` registers from `first` and wrote them all. Callers copy from the
        // slice before anything runs that could write these registers or end the frame.
        unsafe { std::slice::from_raw_parts(self.base.offset(first as isize), count) }
    }
}

/// Operation `pc`, which the compiler's jumps and final `Return` keep within bounds.
#[inline(always)]
pub(super) fn fetch(ops: &'static [crate::compile::op::Op], pc: usize) -> crate::compile::op::Op {
    debug_assert!(pc < ops.len());
    // SAFETY: code ends with a return or tail call on every path, and jumps go to operations of the same code.
    unsafe { *ops.get_unchecked(pc) }
}
