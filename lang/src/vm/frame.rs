#![allow(unsafe_code)] // reason: registers are accessed without bounds checks; the compiler counted them.
//! The stack of registers.
//!
//! ```text
//! … | capture n-1 … capture 0 | argument 0 … | variables, temporaries … | next frame
//!                             ^ base
//! ```
//!
//! Registers are accessed unchecked: see the duties of the compiler in [`super`]. In debug builds a
//! frame knows its bounds, registers start as [`Value::UNWRITTEN`], and every access is checked.

use crate::compile::op::{Op, Reg};
use crate::error::{ErrorKind, Result};
use crate::value::Value;

/// Words of stack. Reserved, not touched: pages are used only when a recursion gets there.
const WORDS: usize = 48 << 20;

pub(super) struct Stack {
    memory: *mut Value,
    /// First free register.
    top: usize,
}

// SAFETY: the memory belongs to the stack alone, and values may be used from any thread.
unsafe impl Send for Stack {}

/// The registers of one running function.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    base: *mut Value,
    #[cfg(debug_assertions)]
    captures: usize,
    #[cfg(debug_assertions)]
    size: usize,
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
    ///
    /// # Safety
    /// There are at most `size` arguments.
    #[inline(always)]
    pub unsafe fn push(&mut self, captures: &[Value], arguments: &[Value], size: usize) -> Result<Frame> {
        debug_assert!(arguments.len() <= size);
        let base = self.top + captures.len();
        if base + size > WORDS {
            return Err(ErrorKind::StackOverflow.into());
        }
        // SAFETY: base + size is within the memory, checked just now; captures go below base,
        // arguments from base up. `arguments` may be registers of the frame below, which ends at
        // `top`, so nothing overlaps.
        unsafe {
            let at = self.memory.add(base);
            for (index, &capture) in captures.iter().enumerate() {
                at.sub(1 + index).write(capture);
            }
            for (index, &argument) in arguments.iter().enumerate() {
                at.add(index).write(argument);
            }
            self.top = base + size;
            #[cfg(debug_assertions)]
            for index in arguments.len()..size {
                at.add(index).write(Value::UNWRITTEN);
            }
            Ok(Frame {
                base: at,
                #[cfg(debug_assertions)]
                captures: captures.len(),
                #[cfg(debug_assertions)]
                size,
            })
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
    /// Returns the address of `count` registers.
    ///
    /// # Safety
    /// The frame has them.
    #[inline(always)]
    unsafe fn at(self, first: Reg, count: usize) -> *mut Value {
        #[cfg(debug_assertions)]
        {
            let (low, high) = (-(self.captures as isize), self.size as isize);
            let first = first.number();
            assert!(low <= first && first + count as isize <= high, "{count} registers from {first} in {low}..{high}");
        }
        #[cfg(not(debug_assertions))]
        let _ = count;
        // SAFETY: by this function's contract the registers are within the stack's memory.
        unsafe { self.base.offset(first.number()) }
    }

    /// # Safety
    /// The code that was compiled for this frame says so: it has the register, and has written it.
    #[inline(always)]
    pub unsafe fn get(self, register: Reg) -> Value {
        // SAFETY: by this function's contract the register is there and holds a value.
        let value = unsafe { self.at(register, 1).read() };
        debug_assert!(!value.same(Value::UNWRITTEN), "register {register:?} is read before it is written");
        value
    }

    /// # Safety
    /// The code that was compiled for this frame says so: it has the register.
    #[inline(always)]
    pub unsafe fn set(self, register: Reg, value: Value) {
        // SAFETY: by this function's contract the register is there.
        unsafe { self.at(register, 1).write(value) }
    }

    /// Returns consecutive registers.
    ///
    /// # Safety
    /// The code that was compiled for this frame says so: it has the registers, and has written
    /// them. While the slice is used they are not written, and the frame does not end.
    #[inline(always)]
    pub unsafe fn slice<'a>(self, first: Reg, count: usize) -> &'a [Value] {
        // SAFETY: by this function's contract the registers are there and hold values.
        let values = unsafe { std::slice::from_raw_parts(self.at(first, count), count) };
        debug_assert!(!values.iter().any(|value| value.same(Value::UNWRITTEN)), "{count} registers from {first:?}");
        values
    }

    /// Returns consecutive registers, to be written.
    ///
    /// # Safety
    /// The code that was compiled for this frame says so: it has the registers. While the slice is
    /// used they are not accessed otherwise, and the frame does not end.
    #[inline(always)]
    pub unsafe fn slice_mut<'a>(self, first: Reg, count: usize) -> &'a mut [Value] {
        // SAFETY: by this function's contract the registers are there, and ours alone. The stack's
        // words are written before they are read, and a word is a valid value for a slice that is
        // only written.
        unsafe { std::slice::from_raw_parts_mut(self.at(first, count), count) }
    }
}

/// Returns operation `pc`.
///
/// # Safety
/// The operations were compiled, and `pc` is 0, or follows an operation that does not end the code,
/// or is the target of one of their jumps.
#[inline(always)]
pub(super) unsafe fn fetch(ops: &'static [Op], pc: usize) -> Op {
    debug_assert!(pc < ops.len());
    // SAFETY: code ends with a return or tail call on every path, and jumps go to operations of the
    // same code.
    unsafe { *ops.get_unchecked(pc) }
}
