#![allow(unsafe_code)] // reason: lays out strings in heap words, and reads them.
//! Strings: bytes, and the store paths they carry.
//!
//! ```text
//! [length << 3]         [bytes…]                       inline
//! [length << 3 | 1]     [context] [bytes…]             inline, with context
//! [length << 3 | 2, 3]  [pointer] [context] [buffer]   elsewhere: in another string (buffer 0) or a buffer
//!              | 4                                     inline, made of other strings by `+`, `${…}` …
//! ```
//!
//! As with lists ([`super::list`]), a string that was made of others and is a part of another one
//! is expected to grow further, and gets a [`Buffer`] with room.

use super::buffer::{Buffer, Claim, End};
use super::context::Context;
use super::word::Value;
use super::{account, heap};

const WITH_CONTEXT: u64 = 1;
const ELSEWHERE: u64 = 2;
const JOINED: u64 = 4;

/// A shorter part of a string is copied.
const SLICE_MIN: usize = 128;

/// The strings of one byte, as string objects.
static SINGLE_BYTES: [[u64; 2]; 256] = {
    let mut strings = [[1 << 3, 0]; 256];
    let mut byte = 0;
    while byte < 256 {
        strings[byte][1] = u64::from_ne_bytes([byte as u8, 0, 0, 0, 0, 0, 0, 0]);
        byte += 1;
    }
    strings
};

/// A string: bytes and the store paths they carry.
#[derive(Clone, Copy)]
pub struct Str(*const u64);

// SAFETY: bytes that a string covers are written before it exists, and never change, nor are they
// freed (`heap`, `buffer`).
unsafe impl Send for Str {}
// SAFETY: as above.
unsafe impl Sync for Str {}

impl Value {
    /// Makes a string without context. Strings of one byte are static.
    #[inline]
    pub fn string(bytes: &[u8]) -> Value {
        if let [byte] = bytes {
            return Str(SINGLE_BYTES[usize::from(*byte)].as_ptr()).value();
        }
        Value::string_from_parts(bytes.len(), Context::EMPTY, [bytes])
    }

    pub fn string_with_context(bytes: &[u8], context: Context) -> Value {
        if context.is_empty() {
            return Value::string(bytes);
        }
        Value::string_from_parts(bytes.len(), context, [bytes])
    }

    /// Makes a string of parts, one after the other, that are `len` bytes together.
    #[inline]
    pub(crate) fn string_from_parts<'p>(
        len: usize,
        context: Context,
        parts: impl IntoIterator<Item = &'p [u8]>,
    ) -> Value {
        let head = if context.is_empty() { 1 } else { 2 };
        let at = heap::words(head + len.div_ceil(8));
        // SAFETY: `words` gave room for the head and at least `len` bytes that no other code can
        // reach yet.
        unsafe {
            at.write((len as u64) << 3 | (head as u64 - 1));
            if head == 2 {
                at.add(1).write(context.to_bits());
            }
            write_all(parts, len, at.add(head).cast());
        }
        Str(at).value()
    }

    /// Makes the string of `first`, `middle` and `last`, that are `len` bytes together.
    #[inline]
    pub(crate) fn string_joined<'p>(
        len: usize,
        context: Context,
        first: Str,
        middle: impl IntoIterator<Item = &'p [u8]>,
        last: Str,
    ) -> Value {
        let (start, end) = (first.bytes(), last.bytes());
        if len >= Str::JOINED_MIN {
            return Value::string_joined_long(len, context, first, &mut middle.into_iter(), last);
        }
        Value::string_from_parts(len, context, [start].into_iter().chain(middle).chain([end]))
    }

    #[inline(never)]
    fn string_joined_long(
        len: usize,
        context: Context,
        first: Str,
        middle: &mut dyn Iterator<Item = &[u8]>,
        last: Str,
    ) -> Value {
        let (start, end) = (first.bytes(), last.bytes());
        // The one that holds most of the bytes is the one that grows.
        if start.len() >= len / 2
            && let Some(room) = first.extended(len, context, End::End)
        {
            // SAFETY: there is room for all parts but the first.
            unsafe { write_all(middle.chain([end]), len - start.len(), room.slots) };
            return room.string;
        }
        if end.len() >= len / 2
            && let Some(room) = last.extended(len, context, End::Start)
        {
            // SAFETY: there is room for all parts but the last.
            unsafe { write_all([start].into_iter().chain(middle), len - end.len(), room.slots) };
            return room.string;
        }
        let string = Value::string_from_parts(len, context, [start].into_iter().chain(middle).chain([end]));
        if let Some(string) = string.as_string() {
            // SAFETY: the string was made just now, so no other code can reach it.
            unsafe { string.0.cast_mut().write(string.head() | JOINED) };
        }
        string
    }

    /// Makes a string of some bytes of another one, with its context. A long one is not copied.
    pub(crate) fn string_slice(string: Str, range: std::ops::Range<usize>) -> Value {
        let bytes = &string.bytes()[range];
        if bytes.len() < SLICE_MIN {
            return Value::string_with_context(bytes, string.context());
        }
        Str::elsewhere(bytes.as_ptr(), bytes.len(), string.context(), string.room())
    }

    /// Makes a string of the bytes in `buffer` that follow [`Str::HEADROOM`]. A big buffer becomes
    /// the string itself, so that a long text is in memory once.
    pub(crate) fn string_from_buffer(buffer: Vec<u8>, context: Context) -> Value {
        const ADOPTED_MIN: usize = 64 << 10;
        let len = buffer.len() - Str::HEADROOM;
        if len < ADOPTED_MIN || !buffer.as_ptr().cast::<u64>().is_aligned() {
            return Value::string_with_context(&buffer[Str::HEADROOM..], context);
        }
        account::adopt(buffer.len());
        let start = buffer.leak().as_mut_ptr().cast::<u64>();
        // SAFETY: the buffer is aligned, lives as long as the process and begins with two words of
        // headroom, so the head fits in front of the bytes, with the context between when there is
        // one.
        unsafe {
            let at = if context.is_empty() { start.add(1) } else { start };
            at.write((len as u64) << 3 | u64::from(!context.is_empty()));
            if !context.is_empty() {
                at.add(1).write(context.to_bits());
            }
            Str(at).value()
        }
    }
}

/// Writes parts that are `len` bytes together to an address.
///
/// # Safety
/// There is room for `len` bytes, which the caller alone can reach.
#[inline(always)]
unsafe fn write_all<'p>(parts: impl IntoIterator<Item = &'p [u8]>, len: usize, to: *mut u8) {
    let mut written = 0;
    for part in parts {
        assert!(part.len() <= len - written, "the parts are as long as promised");
        // SAFETY: by this function's contract there is room, since no part goes beyond `len`.
        unsafe { to.add(written).copy_from_nonoverlapping(part.as_ptr(), part.len()) };
        written += part.len();
    }
    assert_eq!(written, len, "the parts are as long as promised");
}

/// A string some of whose bytes are still to be written, from `slots` on.
struct Extended {
    string: Value,
    slots: *mut u8,
}

impl Str {
    /// Length from which on [`Value::string_joined`] may do without copying.
    pub(crate) const JOINED_MIN: usize = 256;

    /// Bytes that [`Value::string_from_buffer`] needs at the start of its buffer.
    pub(crate) const HEADROOM: usize = 16;

    /// Reserves sixteen times the room for a long text that still grows, so that it is not copied,
    /// and left behind, many times. That is address space, not memory, until it is written to.
    pub(crate) fn make_room(buffer: &mut Vec<u8>) {
        const LONG_MIN: usize = 128 << 10;
        let len = buffer.len();
        if len >= LONG_MIN && buffer.capacity() - len < len / 4 {
            // Without so much address space, it grows like any other buffer.
            let _ = buffer.try_reserve(len * 15);
        }
    }

    /// Returns an empty buffer for [`Value::string_from_buffer`].
    pub(crate) fn buffer() -> Vec<u8> {
        vec![0; Str::HEADROOM]
    }

    /// # Safety
    /// `pointer` is the address of a string.
    #[inline(always)]
    pub(super) unsafe fn from_pointer(pointer: *const u64) -> Str {
        Str(pointer)
    }

    #[inline(always)]
    pub fn value(self) -> Value {
        // SAFETY: a `Str` has the address of a string.
        unsafe { Value::from_string(self.0) }
    }

    #[inline(always)]
    fn head(self) -> u64 {
        // SAFETY: a `Str` points to a string object, whose first word is its head.
        unsafe { self.0.read() }
    }

    #[inline]
    pub fn bytes(self) -> &'static [u8] {
        let head = self.head();
        // SAFETY: the head holds the length of the bytes, which follow it (and the context word, if
        // the low bit says so) or are where the second word points to.
        unsafe {
            let first = if head & ELSEWHERE == 0 {
                self.0.add(1 + (head & WITH_CONTEXT) as usize).cast::<u8>()
            } else {
                self.0.add(1).read() as *const u8
            };
            std::slice::from_raw_parts(first, (head >> 3) as usize)
        }
    }

    #[inline]
    pub fn context(self) -> Context {
        let head = self.head();
        if head & WITH_CONTEXT == 0 {
            return Context::EMPTY;
        }
        // SAFETY: with the low bit set there is a context: in the third word when the bytes are
        // elsewhere, in the second one otherwise.
        unsafe { Context::from_bits(self.0.add(if head & ELSEWHERE == 0 { 1 } else { 2 }).read()) }
    }

    fn room(self) -> Option<Buffer<u8>> {
        if self.head() & ELSEWHERE == 0 {
            return None;
        }
        // SAFETY: the bytes are elsewhere, so the fourth word is a buffer of bytes or 0.
        unsafe { Buffer::from_bits(self.0.add(3).read()) }
    }

    fn elsewhere(first: *const u8, len: usize, context: Context, buffer: Option<Buffer<u8>>) -> Value {
        let at = heap::words(4);
        // SAFETY: room for four words.
        unsafe {
            at.write((len as u64) << 3 | ELSEWHERE | u64::from(!context.is_empty()));
            at.add(1).write(first as u64);
            at.add(2).write(context.to_bits());
            at.add(3).write(Buffer::to_bits(buffer));
        }
        Str(at).value()
    }

    /// Returns a string of `len` bytes in a buffer that has the own bytes and room beside them;
    /// `None` where a plain copy is better.
    fn extended(self, len: usize, context: Context, end: End) -> Option<Extended> {
        let own = self.bytes();
        let more = len - own.len();
        let (room, opposite) = match self.room() {
            Some(buffer) => match buffer.claim(own.as_ptr(), own.len(), more, end) {
                Claim::Slots(slots) => {
                    let first = if end == End::End { own.as_ptr() } else { slots.cast_const() };
                    return Some(Extended { string: Str::elsewhere(first, len, context, Some(buffer)), slots });
                }
                Claim::Full { opposite } => (len, opposite.min(len)),
                Claim::Taken => return None,
            },
            // It may end here.
            None if self.head() & JOINED != 0 => (len / 4, 0),
            None => return None,
        };
        let (buffer, first) = Buffer::<u8>::new(len, room, opposite, end)?;
        // SAFETY: the buffer's `len` slots are claimed for this string.
        let slots = unsafe {
            let (to, slots) = if end == End::End { (first, first.add(own.len())) } else { (first.add(more), first) };
            to.copy_from_nonoverlapping(own.as_ptr(), own.len());
            slots
        };
        Some(Extended { string: Str::elsewhere(first, len, context, Some(buffer)), slots })
    }
}
