#![allow(unsafe_code)] // reason: lays out lists in heap words, and reads them.
//! Lists.
//!
//! ```text
//! [length << 2]         [value 0] [value 1] …    inline
//! [length << 2 | 1]     [pointer]                a part of another list
//! [length << 2 | 2]     [value 0] [value 1] …    inline, made of other lists by `++`
//! [length << 2 | 3]     [pointer] [buffer]       a range of a buffer; or, with 0, a part of such a list
//! ```
//!
//! A list that was made by `++` and is the operand of another one is expected to grow further: the
//! result gets a [`Buffer`] with room, so that the next ones only write their new elements.

use super::buffer::{Buffer, Claim, End};
use super::heap;
use super::word::Value;

const ELSEWHERE: u64 = 1;
const JOINED: u64 = 2;
const IN_BUFFER: u64 = 3;
const FORM: u64 = 3;

/// A shorter list is copied by `++`.
const BUFFER_MIN: usize = 32;

#[derive(Clone, Copy)]
pub struct List(*const u64);

// SAFETY: elements that a list covers are written before it exists, and never change, nor are they
// freed (`heap`, `buffer`).
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

impl Value {
    pub fn empty_list() -> Value {
        static EMPTY: [u64; 1] = [0];
        List(EMPTY.as_ptr()).value()
    }

    #[inline]
    pub fn list(values: &[Value]) -> Value {
        if values.is_empty() {
            return Value::empty_list();
        }
        let at = heap::words(1 + values.len());
        // SAFETY: `words` gave room for 1 + values.len() words; a `Value` is one word (repr
        // transparent).
        unsafe {
            at.write((values.len() as u64) << 2);
            at.add(1).cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
        List(at).value()
    }

    /// Makes a list of `len` values that `next` gives in order.
    #[inline]
    pub fn list_from_fn(len: usize, mut next: impl FnMut(usize) -> Value) -> Value {
        let at = heap::words(1 + len);
        // SAFETY: room for 1 + len words; each is written before the list's word exists. `next` may
        // allocate, which never moves or reuses these words.
        unsafe {
            at.write((len as u64) << 2);
            for index in 0..len {
                at.add(1 + index).cast::<Value>().write(next(index));
            }
        }
        List(at).value()
    }

    /// Makes a list of all elements of several lists, one after the other.
    pub(crate) fn list_concat(lists: &[List]) -> Value {
        let len: usize = lists.iter().map(|list| list.len()).sum();
        if len >= BUFFER_MIN
            && let [first, middle @ .., last] = lists
        {
            // The one that holds most of the elements is the one that grows.
            let grown = if first.len() >= len / 2 {
                first.extended(&lists[1..], len, End::End)
            } else if last.len() >= len / 2 {
                last.extended(&lists[..=middle.len()], len, End::Start)
            } else {
                None
            };
            if let Some(list) = grown {
                return list;
            }
        }
        let at = heap::words(1 + len);
        // SAFETY: room for 1 + len words, and the parts' lengths add up to len.
        unsafe {
            at.write((len as u64) << 2 | JOINED);
            copy_all(lists, at.add(1).cast());
        }
        List(at).value()
    }

    /// Makes a list of the elements from `start` on, without copying.
    pub(crate) fn list_slice(list: List, start: usize) -> Value {
        let values = &list.values()[start..];
        if values.len() < 2 {
            return Value::list(values);
        }
        match list.head() & FORM {
            // It is still expected to grow.
            JOINED | IN_BUFFER => List::in_buffer(values.as_ptr(), values.len(), list.buffer()),
            _ => {
                let at = heap::words(2);
                // SAFETY: room for two words; the elements pointed to live as long as the process.
                unsafe {
                    at.write((values.len() as u64) << 2 | ELSEWHERE);
                    at.add(1).write(values.as_ptr() as u64);
                }
                List(at).value()
            }
        }
    }
}

/// Copies the elements of lists to an address.
///
/// # Safety
/// There is room for all of them, which the caller alone can reach.
unsafe fn copy_all(lists: &[List], mut to: *mut Value) {
    for list in lists {
        let values = list.values();
        // SAFETY: by this function's contract.
        unsafe {
            to.copy_from_nonoverlapping(values.as_ptr(), values.len());
            to = to.add(values.len());
        }
    }
}

impl List {
    /// # Safety
    /// `pointer` is the address of a list.
    #[inline(always)]
    pub(super) unsafe fn from_pointer(pointer: *const u64) -> List {
        List(pointer)
    }

    #[inline(always)]
    pub fn value(self) -> Value {
        // SAFETY: a `List` has the address of a list.
        unsafe { Value::from_list(self.0) }
    }

    #[inline(always)]
    fn head(self) -> u64 {
        // SAFETY: a list's first word is its head.
        unsafe { self.0.read() }
    }

    #[inline(always)]
    pub fn len(self) -> usize {
        (self.head() >> 2) as usize
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn values(self) -> &'static [Value] {
        let head = self.head();
        // SAFETY: the head holds the length; the elements follow, or the second word points to them
        // (low bit set).
        unsafe {
            let first = if head & ELSEWHERE == 0 { self.0.add(1) } else { self.0.add(1).read() as *const u64 };
            std::slice::from_raw_parts(first.cast::<Value>(), (head >> 2) as usize)
        }
    }

    fn buffer(self) -> Option<Buffer<Value>> {
        if self.head() & FORM != IN_BUFFER {
            return None;
        }
        // SAFETY: the head says that the third word is a buffer of values or 0.
        unsafe { Buffer::from_bits(self.0.add(2).read()) }
    }

    fn in_buffer(first: *const Value, len: usize, buffer: Option<Buffer<Value>>) -> Value {
        let at = heap::words(3);
        // SAFETY: room for three words.
        unsafe {
            at.write((len as u64) << 2 | IN_BUFFER);
            at.add(1).write(first as u64);
            at.add(2).write(Buffer::to_bits(buffer));
        }
        List(at).value()
    }

    /// Returns the list of `len` elements that has those of `others` beside the own ones, in a
    /// buffer; `None` where a plain copy is better.
    fn extended(self, others: &[List], len: usize, end: End) -> Option<Value> {
        let own = self.values();
        let more = len - own.len();
        let (room, opposite) = match self.buffer() {
            Some(buffer) => match buffer.claim(own.as_ptr(), own.len(), more, end) {
                Claim::Slots(slots) => {
                    // SAFETY: `more` slots were claimed just now.
                    unsafe { copy_all(others, slots) };
                    let first = if end == End::End { own.as_ptr() } else { slots.cast_const() };
                    return Some(List::in_buffer(first, len, Some(buffer)));
                }
                Claim::Full { opposite } => (len, opposite.min(len)),
                Claim::Taken => return None,
            },
            // It may end here.
            None if self.head() & JOINED != 0 => (len / 4, 0),
            None => return None,
        };
        let (buffer, slots) = Buffer::<Value>::new(len, room, opposite, end)?;
        // SAFETY: the buffer's `len` slots are claimed for this list.
        unsafe {
            if end == End::End {
                slots.copy_from_nonoverlapping(own.as_ptr(), own.len());
                copy_all(others, slots.add(own.len()));
            } else {
                copy_all(others, slots);
                slots.add(more).copy_from_nonoverlapping(own.as_ptr(), own.len());
            }
        }
        Some(List::in_buffer(slots, len, Some(buffer)))
    }

    /// Writes elements of a list that is still being made.
    ///
    /// # Safety
    /// The list was made by [`Value::list_from_fn`], and neither another thread nor running code
    /// can reach it yet.
    pub(crate) unsafe fn fill(self, at: usize, values: &[Value]) {
        assert!(at + values.len() <= self.len(), "parts fit in their list");
        // SAFETY: the range is inside the list, checked just now; the list is inline, and ours
        // alone.
        unsafe {
            self.0.add(1 + at).cast_mut().cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
    }
}
