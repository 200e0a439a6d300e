#![allow(unsafe_code)] // reason: the tagged word; all reading of heap objects through it happens here.
//! One value in one word.
//!
//! ```text
//! …………………………………………………… 000   thunk: pointer to [state, value or captures…]
//! 61 bits, signed      001   integer
//! pointer              010   attribute set: see `attrs`
//! pointer              011   list: [length << 1, values…] or a slice [length << 1 | 1, pointer]
//! pointer              100   string: [length << 1, bytes…] or with context [length << 1 | 1, context, bytes…]
//! pointer              101   function: [code, captures…]
//! pointer              110   path, float, wide integer, partial application: [kind, …]
//! payload     kind     111   null, false, true, builtin
//! ```
//!
//! Objects are written once, before the word that names them exists, and never change, except
//! thunks ([`super::thunk`]) and the flattening of layered sets ([`super::attrs`]), which are
//! atomic. So words can be shared between threads.

use super::attrs::Attrs;
use super::context::Context;
use super::thunk::Thunk;
use super::{account, heap};
use crate::compile::code::Code;
use std::sync::atomic::{AtomicU64, Ordering};

const TAG: u64 = 7;
const THUNK: u64 = 0;
const INT: u64 = 1;
const ATTRS: u64 = 2;
const LIST: u64 = 3;
const STRING: u64 = 4;
const FUNCTION: u64 = 5;
const BOXED: u64 = 6;
const IMMEDIATE: u64 = 7;

const NULL: u64 = IMMEDIATE;
const FALSE: u64 = 1 << 3 | IMMEDIATE;
const TRUE: u64 = 2 << 3 | IMMEDIATE;
const BUILTIN: u64 = 3 << 3 | IMMEDIATE;

const KIND_PATH: u64 = 0;
const KIND_FLOAT: u64 = 1;
const KIND_INT: u64 = 2;
const KIND_PARTIAL: u64 = 3;

const INT_MIN: i64 = i64::MIN >> 3;
const INT_MAX: i64 = i64::MAX >> 3;

/// The strings of one byte, as string objects.
static SINGLE_BYTES: [[u64; 2]; 256] = {
    let mut strings = [[1 << 1, 0]; 256];
    let mut byte = 0;
    while byte < 256 {
        strings[byte][1] = u64::from_ne_bytes([byte as u8, 0, 0, 0, 0, 0, 0, 0]);
        byte += 1;
    }
    strings
};

/// A value of the language, perhaps not yet evaluated. Comparing words with [`Value::same`] is
/// identity, not `==`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Value(u64);

/// Contents of a word, for `match`.
#[derive(Clone, Copy)]
pub enum View {
    Thunk(Thunk),
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Str),
    Path(PathValue),
    List(List),
    Attrs(Attrs),
    Function(Function),
    Builtin(usize),
    Partial(Partial),
}

/// A string: bytes and the store paths they carry.
#[derive(Clone, Copy)]
pub struct Str(*const u64);
/// An absolute path, normalised, without trailing slash.
#[derive(Clone, Copy)]
pub struct PathValue(*const u64);
#[derive(Clone, Copy)]
pub struct List(*const u64);
/// A lambda with its captures.
#[derive(Clone, Copy)]
pub struct Function(*const u64);
/// A function or builtin with some of its arguments.
#[derive(Clone, Copy)]
pub struct Partial(*const u64);

// SAFETY: the objects behind these pointers are immutable once the pointer exists and are never
// freed (`heap`).
unsafe impl Send for Str {}
// SAFETY: as above.
unsafe impl Sync for Str {}
// SAFETY: as above.
unsafe impl Send for PathValue {}
// SAFETY: as above.
unsafe impl Sync for PathValue {}
// SAFETY: as above.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}
// SAFETY: as above.
unsafe impl Send for Partial {}
// SAFETY: as above.
unsafe impl Sync for Partial {}

impl Value {
    pub const NULL: Value = Value(NULL);
    pub const FALSE: Value = Value(FALSE);
    pub const TRUE: Value = Value(TRUE);
    /// Mark of a register that was not written yet, in debug builds; no value of the language.
    pub(crate) const UNWRITTEN: Value = Value(4 << 3 | IMMEDIATE);

    #[inline(always)]
    fn tag(self) -> u64 {
        self.0 & TAG
    }

    #[inline(always)]
    fn pointer(self) -> *const u64 {
        (self.0 & !TAG) as *const u64
    }

    /// # Safety
    /// `pointer` is the address of a thunk object.
    #[inline(always)]
    pub(super) unsafe fn from_thunk(pointer: *const u64) -> Value {
        Value(pointer as u64)
    }

    /// # Safety
    /// `pointer` is the address of an attribute set.
    #[inline(always)]
    pub(super) unsafe fn from_attrs(pointer: *const u64) -> Value {
        Value(pointer as u64 | ATTRS)
    }

    /// Identity: the same immediate or the same object.
    #[inline(always)]
    pub fn same(self, other: Value) -> bool {
        self.0 == other.0
    }

    /// Returns a number that only values that are [`Value::same`] share, for tables.
    pub fn identity(self) -> u64 {
        self.0
    }

    /// Returns the object's address, which distinguishes objects.
    #[inline(always)]
    pub(crate) fn address(self) -> usize {
        self.0 as usize
    }

    #[inline(always)]
    pub fn is_thunk(self) -> bool {
        self.tag() == THUNK
    }

    #[inline(always)]
    pub fn bool(value: bool) -> Value {
        if value { Value::TRUE } else { Value::FALSE }
    }

    #[inline(always)]
    pub fn int(value: i64) -> Value {
        if (INT_MIN..=INT_MAX).contains(&value) { Value((value << 3) as u64 | INT) } else { Value::wide_int(value) }
    }

    #[cold]
    fn wide_int(value: i64) -> Value {
        Value::boxed(KIND_INT, &[value as u64])
    }

    pub fn float(value: f64) -> Value {
        Value::boxed(KIND_FLOAT, &[value.to_bits()])
    }

    fn boxed(kind: u64, rest: &[u64]) -> Value {
        let at = heap::words(1 + rest.len());
        // SAFETY: `words` gave room for 1 + rest.len() words that no other code can reach yet.
        unsafe {
            at.write(kind);
            at.add(1).copy_from_nonoverlapping(rest.as_ptr(), rest.len());
        }
        Value(at as u64 | BOXED)
    }

    pub(crate) fn builtin(index: usize) -> Value {
        Value((index as u64) << 8 | BUILTIN)
    }

    /// Makes a string without context. Strings of one byte are static.
    #[inline]
    pub fn string(bytes: &[u8]) -> Value {
        if let [byte] = bytes {
            return Value(&raw const SINGLE_BYTES[usize::from(*byte)] as u64 | STRING);
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
        // reach yet. No part is written that would go beyond `len`, and all `len` bytes are written
        // before the string exists.
        unsafe {
            at.write((len as u64) << 1 | (head as u64 - 1));
            if head == 2 {
                at.add(1).write(context.to_bits());
            }
            let body = at.add(head).cast::<u8>();
            let mut written = 0;
            for part in parts {
                assert!(part.len() <= len - written, "the parts are as long as promised");
                body.add(written).copy_from_nonoverlapping(part.as_ptr(), part.len());
                written += part.len();
            }
            assert_eq!(written, len, "the parts are as long as promised");
        }
        Value(at as u64 | STRING)
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
            at.write((len as u64) << 1 | u64::from(!context.is_empty()));
            if !context.is_empty() {
                at.add(1).write(context.to_bits());
            }
            Value(at as u64 | STRING)
        }
    }

    /// Makes a path; `bytes` must be absolute and normalised.
    pub fn path(bytes: &[u8]) -> Value {
        let words = bytes.len().div_ceil(8);
        let at = heap::words(2 + words);
        // SAFETY: `words` gave room for two head words and `words * 8 >= bytes.len()` bytes.
        unsafe {
            at.write(KIND_PATH);
            at.add(1).write(bytes.len() as u64);
            at.add(2).cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Value(at as u64 | BOXED)
    }

    pub fn empty_list() -> Value {
        static EMPTY: [u64; 1] = [0];
        Value(EMPTY.as_ptr() as u64 | LIST)
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
            at.write((values.len() as u64) << 1);
            at.add(1).cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
        Value(at as u64 | LIST)
    }

    /// Makes a list of `len` values that `next` gives in order.
    #[inline]
    pub fn list_from_fn(len: usize, mut next: impl FnMut(usize) -> Value) -> Value {
        let at = heap::words(1 + len);
        // SAFETY: room for 1 + len words; each is written before the list's word exists. `next` may
        // allocate, which never moves or reuses these words.
        unsafe {
            at.write((len as u64) << 1);
            for index in 0..len {
                at.add(1 + index).cast::<Value>().write(next(index));
            }
        }
        Value(at as u64 | LIST)
    }

    /// Makes a list of all elements of several lists, one after the other.
    pub(crate) fn list_concat(lists: &[List]) -> Value {
        let len: usize = lists.iter().map(|list| list.len()).sum();
        let at = heap::words(1 + len);
        // SAFETY: room for 1 + len words, and the parts' lengths add up to len.
        unsafe {
            at.write((len as u64) << 1);
            let mut to = at.add(1).cast::<Value>();
            for list in lists {
                let values = list.values();
                to.copy_from_nonoverlapping(values.as_ptr(), values.len());
                to = to.add(values.len());
            }
        }
        Value(at as u64 | LIST)
    }

    /// Makes a list of the elements from `start` on, without copying.
    pub(crate) fn list_slice(list: List, start: usize) -> Value {
        let values = &list.values()[start..];
        if values.len() < 2 {
            return Value::list(values);
        }
        let at = heap::words(2);
        // SAFETY: room for two words; the elements pointed to live as long as the process.
        unsafe {
            at.write((values.len() as u64) << 1 | 1);
            at.add(1).write(values.as_ptr() as u64);
        }
        Value(at as u64 | LIST)
    }

    /// Makes a function whose captures `capture` gives, by index.
    #[inline(always)]
    pub(crate) fn function_from_fn(code: &'static Code, mut capture: impl FnMut(usize) -> Value) -> Value {
        let captures = code.captures.len();
        let at = heap::words(1 + captures);
        // SAFETY: room for 1 + captures words, all written before the function's word exists.
        unsafe {
            at.write(std::ptr::from_ref(code) as u64);
            for index in 0..captures {
                at.add(1 + index).cast::<Value>().write(capture(index));
            }
        }
        Value(at as u64 | FUNCTION)
    }

    /// Makes a function whose captures are written later by [`Function::fill`].
    #[inline]
    pub(crate) fn function_unfilled(code: &'static Code) -> Value {
        let captures = code.captures.len();
        let at = heap::words(1 + captures);
        // SAFETY: room for 1 + captures words; captures start as `null`, so reading them early is
        // harmless.
        unsafe {
            at.write(std::ptr::from_ref(code) as u64);
            for index in 0..captures {
                at.add(1 + index).write(NULL);
            }
        }
        Value(at as u64 | FUNCTION)
    }

    pub(crate) fn partial(function: Value, arguments: &[Value], more: &[Value]) -> Value {
        let len = arguments.len() + more.len();
        let at = heap::words(3 + len);
        // SAFETY: room for three head words and all arguments.
        unsafe {
            at.write(KIND_PARTIAL);
            at.add(1).write(function.0);
            at.add(2).write(len as u64);
            let to = at.add(3).cast::<Value>();
            to.copy_from_nonoverlapping(arguments.as_ptr(), arguments.len());
            to.add(arguments.len()).copy_from_nonoverlapping(more.as_ptr(), more.len());
        }
        Value(at as u64 | BOXED)
    }

    #[inline]
    pub fn view(self) -> View {
        match self.tag() {
            // SAFETY: a word tagged THUNK is the address of a thunk.
            THUNK => View::Thunk(unsafe { Thunk::from_pointer(self.pointer()) }),
            INT => View::Int(self.0 as i64 >> 3),
            // SAFETY: a word tagged ATTRS has the address of a set.
            ATTRS => View::Attrs(unsafe { Attrs::from_pointer(self.pointer()) }),
            LIST => View::List(List(self.pointer())),
            STRING => View::String(Str(self.pointer())),
            FUNCTION => View::Function(Function(self.pointer())),
            BOXED => {
                let at = self.pointer();
                // SAFETY: a word tagged BOXED points to [kind, …] as written by the constructors
                // above.
                unsafe {
                    match at.read() {
                        KIND_PATH => View::Path(PathValue(at)),
                        KIND_FLOAT => View::Float(f64::from_bits(at.add(1).read())),
                        KIND_INT => View::Int(at.add(1).read() as i64),
                        _ => View::Partial(Partial(at)),
                    }
                }
            }
            _ => match self.0 {
                FALSE => View::Bool(false),
                TRUE => View::Bool(true),
                bits if bits & 0xff == BUILTIN => View::Builtin((bits >> 8) as usize),
                _ => View::Null,
            },
        }
    }

    /// Returns `a + b` when both are inline integers and the sum is one too.
    #[inline(always)]
    pub(crate) fn small_add(self, other: Value) -> Option<Value> {
        if self.tag() == INT && other.tag() == INT {
            (self.0 as i64 - INT as i64).checked_add(other.0 as i64).map(|sum| Value(sum as u64))
        } else {
            None
        }
    }

    #[inline(always)]
    pub(crate) fn small_sub(self, other: Value) -> Option<Value> {
        if self.tag() == INT && other.tag() == INT {
            (self.0 as i64).checked_sub(other.0 as i64 - INT as i64).map(|difference| Value(difference as u64))
        } else {
            None
        }
    }

    #[inline(always)]
    pub(crate) fn small_mul(self, other: Value) -> Option<Value> {
        if self.tag() == INT && other.tag() == INT {
            (self.0 as i64 >> 3).checked_mul(other.0 as i64 - INT as i64).map(|product| Value(product as u64 | INT))
        } else {
            None
        }
    }

    /// Orders two inline integers.
    #[inline(always)]
    pub(crate) fn small_cmp(self, other: Value) -> Option<std::cmp::Ordering> {
        if self.tag() == INT && other.tag() == INT { Some((self.0 as i64).cmp(&(other.0 as i64))) } else { None }
    }

    #[inline(always)]
    pub fn as_attrs(self) -> Option<Attrs> {
        // SAFETY: a word tagged ATTRS has the address of a set.
        if self.tag() == ATTRS { Some(unsafe { Attrs::from_pointer(self.pointer()) }) } else { None }
    }

    #[inline(always)]
    pub fn as_list(self) -> Option<List> {
        if self.tag() == LIST { Some(List(self.pointer())) } else { None }
    }

    #[inline(always)]
    pub fn as_string(self) -> Option<Str> {
        if self.tag() == STRING { Some(Str(self.pointer())) } else { None }
    }

    #[inline(always)]
    pub(crate) fn as_function(self) -> Option<Function> {
        if self.tag() == FUNCTION { Some(Function(self.pointer())) } else { None }
    }

    #[inline(always)]
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            TRUE => Some(true),
            FALSE => Some(false),
            _ => None,
        }
    }

    pub fn as_int(self) -> Option<i64> {
        if let View::Int(value) = self.view() { Some(value) } else { None }
    }

    pub fn as_float(self) -> Option<f64> {
        if let View::Float(value) = self.view() { Some(value) } else { None }
    }

    pub fn as_path(self) -> Option<PathValue> {
        if let View::Path(value) = self.view() { Some(value) } else { None }
    }

    pub fn is_null(self) -> bool {
        self.0 == NULL
    }
}

impl Str {
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

    #[inline(always)]
    fn head(self) -> u64 {
        // SAFETY: a `Str` points to a string object, whose first word is its head.
        unsafe { self.0.read() }
    }

    #[inline]
    pub fn bytes(self) -> &'static [u8] {
        let head = self.head();
        // SAFETY: the head holds the length of the bytes that follow it (and the context word, if
        // the low bit says so).
        unsafe { std::slice::from_raw_parts(self.0.add(1 + (head & 1) as usize).cast::<u8>(), (head >> 1) as usize) }
    }

    #[inline]
    pub fn context(self) -> Context {
        if self.head() & 1 == 0 {
            return Context::EMPTY;
        }
        // SAFETY: with the low bit set the second word is a context written by `string_from_parts`.
        unsafe { Context::from_bits(self.0.add(1).read()) }
    }

    pub fn value(self) -> Value {
        Value(self.0 as u64 | STRING)
    }
}

impl PathValue {
    pub fn bytes(self) -> &'static [u8] {
        // SAFETY: a path object is [kind, length, bytes…].
        unsafe { std::slice::from_raw_parts(self.0.add(2).cast::<u8>(), self.0.add(1).read() as usize) }
    }
}

impl List {
    #[inline(always)]
    pub fn len(self) -> usize {
        // SAFETY: a list's first word is its head.
        unsafe { (self.0.read() >> 1) as usize }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn values(self) -> &'static [Value] {
        // SAFETY: the head holds the length; the elements follow, or the second word points to them
        // (low bit set).
        unsafe {
            let head = self.0.read();
            let first = if head & 1 == 0 { self.0.add(1) } else { self.0.add(1).read() as *const u64 };
            std::slice::from_raw_parts(first.cast::<Value>(), (head >> 1) as usize)
        }
    }

    pub fn value(self) -> Value {
        Value(self.0 as u64 | LIST)
    }

    /// Writes elements of a list that is still being made.
    ///
    /// # Safety
    /// The list was made by [`Value::list_from_fn`], and neither another thread nor running code
    /// can reach it yet.
    pub(crate) unsafe fn fill(self, at: usize, values: &[Value]) {
        assert!(at + values.len() <= self.len(), "parts fit in their list");
        // SAFETY: the range is inside the list, checked just now; the list is no slice of another,
        // and ours alone.
        unsafe {
            self.0.add(1 + at).cast_mut().cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
    }
}

impl Function {
    #[inline(always)]
    pub(crate) fn code(self) -> &'static Code {
        // SAFETY: the first word of a function is the address of its code, which lives as long as
        // the process.
        unsafe { &*(self.0.read() as *const Code) }
    }

    #[inline(always)]
    pub(crate) fn captures(self) -> &'static [Value] {
        // SAFETY: a function object has as many captures as its code says, written before anything
        // runs it.
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<Value>(), self.code().captures.len()) }
    }

    /// Writes one capture of a function just made.
    ///
    /// # Safety
    /// The function was made by [`Value::function_unfilled`] for code with more than `index`
    /// captures, and neither another thread nor running code can reach it yet.
    #[inline(always)]
    pub(crate) unsafe fn fill(self, index: usize, value: Value) {
        debug_assert!(index < self.code().captures.len());
        // SAFETY: by this function's contract the word is a capture of the object, and ours alone.
        unsafe { self.0.add(1 + index).cast_mut().cast::<Value>().write(value) }
    }

    pub fn value(self) -> Value {
        Value(self.0 as u64 | FUNCTION)
    }
}

impl Partial {
    pub(crate) fn function(self) -> Value {
        // SAFETY: a partial application is [kind, function, count, arguments…].
        unsafe { self.0.add(1).cast::<Value>().read() }
    }

    pub(crate) fn arguments(self) -> &'static [Value] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.0.add(3).cast::<Value>(), self.0.add(2).read() as usize) }
    }
}

/// A word that threads share, for one value.
#[repr(transparent)]
pub(crate) struct AtomicValue(AtomicU64);

impl AtomicValue {
    pub(crate) fn new(value: Value) -> AtomicValue {
        AtomicValue(AtomicU64::new(value.0))
    }

    /// # Safety
    /// `at` is a word that lives as long as `'a`, is only accessed atomically in that time, and is
    /// loaded only after a value was stored.
    #[inline(always)]
    pub(super) unsafe fn from_ptr<'a>(at: *mut AtomicValue) -> &'a AtomicValue {
        // SAFETY: by this function's contract.
        unsafe { &*at }
    }

    #[inline(always)]
    pub(crate) fn load(&self, order: Ordering) -> Value {
        Value(self.0.load(order))
    }

    #[inline(always)]
    pub(crate) fn store(&self, value: Value, order: Ordering) {
        self.0.store(value.0, order);
    }
}
