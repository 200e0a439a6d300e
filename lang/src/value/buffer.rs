#![allow(unsafe_code)] // reason: threads write to parts of a buffer that they have claimed, while others read the rest.
//! Buffers that lists and strings grow in.
//!
//! ```text
//! [claimed start] [claimed end] [capacity] [slot 0] [slot 1] …
//! ```
//!
//! A list that grows by `++`, or a string by `+`, is a range of the slots of a buffer. When the
//! range ends where the claimed slots end, new elements are written into the slots behind it, and
//! the result is a longer range of the same buffer; the old one stays as it is. So a fold that appends
//! copies each element a few times in all, not once in each step. It is the same at the start.
//!
//! Claimed slots are written once, by the thread whose claim succeeded, before the value that
//! covers them exists. So slots that can be read never change, and of two values made from the same
//! left operand one gets the slots, and the other one a copy.

use super::{account, heap};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

const HEAD_WORDS: usize = 3;
/// An end or start of a buffer that was outgrown: no value claims slots there again.
const CLOSED: usize = usize::MAX;

/// An end of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Start,
    End,
}

/// Result of claiming slots.
pub(super) enum Claim<T> {
    /// They are the caller's, from this address on.
    Slots(*mut T),
    /// There are too few, and so many free ones at the other end. Later claims at this end find the
    /// slots taken.
    Full { opposite: usize },
    /// Another value has them.
    Taken,
}

/// The address of a buffer of slots of type `T`, at most a word each.
pub(super) struct Buffer<T>(*const u64, PhantomData<T>);

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Buffer<T> {
        *self
    }
}

impl<T> Copy for Buffer<T> {}

impl<T: Copy> Buffer<T> {
    /// Makes a buffer of `len` slots that are the caller's, with free ones beside them: `room` at
    /// one end, `opposite` at the other. Returns it with the address of the caller's slots, or
    /// `None` when there is no memory for the free ones.
    pub(super) fn new(len: usize, room: usize, opposite: usize, end: End) -> Option<(Buffer<T>, *mut T)> {
        let capacity = len.checked_add(room)?.checked_add(opposite)?;
        let words = capacity.checked_mul(size_of::<T>())?.div_ceil(8).checked_add(HEAD_WORDS)?;
        if !account::has_room(words.saturating_mul(8)) {
            return None;
        }
        let start = if end == End::Start { room } else { opposite };
        let at = heap::words(words);
        // SAFETY: room for the head and `capacity` slots, and `start + len <= capacity`.
        unsafe {
            at.cast::<AtomicUsize>().write(AtomicUsize::new(start));
            at.add(1).cast::<AtomicUsize>().write(AtomicUsize::new(start + len));
            at.add(2).write(capacity as u64);
            Some((Buffer(at, PhantomData), at.add(HEAD_WORDS).cast::<T>().add(start)))
        }
    }

    /// # Safety
    /// `bits` comes from [`Buffer::to_bits`] for a buffer of such slots.
    pub(super) unsafe fn from_bits(bits: u64) -> Option<Buffer<T>> {
        (bits != 0).then_some(Buffer(bits as *const u64, PhantomData))
    }

    /// Returns the buffer as a word, 0 for none.
    pub(super) fn to_bits(buffer: Option<Buffer<T>>) -> u64 {
        buffer.map_or(0, |buffer| buffer.0 as u64)
    }

    /// Claims `len` slots beside the range of `range_len` slots from `range` on, which is one of
    /// this buffer.
    pub(super) fn claim(self, range: *const T, range_len: usize, len: usize, end: End) -> Claim<T> {
        let start = (range.addr() - self.0.addr() - HEAD_WORDS * 8) / size_of::<T>();
        // SAFETY: the head has three words, of which the first two are only accessed atomically
        // since the buffer was made, and the third one never changes.
        let (starts, ends, capacity) = unsafe {
            let atomic = |index| AtomicUsize::from_ptr(self.0.add(index).cast_mut().cast());
            (atomic(0), atomic(1), self.0.add(2).read() as usize)
        };
        let range_end = start + range_len;
        let (claimed, from, free) = match end {
            End::Start => (starts, start, start),
            End::End => (ends, range_end, capacity - range_end),
        };
        let to = match end {
            _ if len > free => CLOSED,
            End::Start => start - len,
            End::End => range_end + len,
        };
        // Slots are read through values that are made after they were written, and reach other
        // threads with an order of their own. So the claim itself needs none.
        if claimed.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Claim::Taken;
        }
        if to == CLOSED {
            let opposite = match end {
                End::Start if ends.load(Ordering::Relaxed) == range_end => capacity - range_end,
                End::End if starts.load(Ordering::Relaxed) == start => start,
                _ => 0,
            };
            return Claim::Full { opposite };
        }
        let first = if end == End::Start { to } else { from };
        // SAFETY: `first + len` is within the capacity.
        Claim::Slots(unsafe { self.0.add(HEAD_WORDS).cast_mut().cast::<T>().add(first) })
    }
}
