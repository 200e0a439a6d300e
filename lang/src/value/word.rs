#![allow(unsafe_code)] // reason: the tagged word; all reading of heap objects through it happens here.
//! One value in one word.
//!
//! ```text
//! …………………………………………………… 000   thunk: pointer to [state, value or captures…]
//! 61 bits, signed      001   integer
//! pointer              010   attribute set: see `attrs`
//! pointer              011   list: see `list`
//! pointer              100   string: see `string`
//! pointer              101   function: [code, captures…]
//! pointer              110   path, float, wide integer, partial application: [kind, …]
//! payload     kind     111   null, false, true, builtin
//! ```
//!
//! Objects are written once, before the word that names them exists, and never change, except
//! thunks ([`super::thunk`]), the flattening of layered sets ([`super::attrs`]) and the room of
//! buffers ([`super::buffer`]), which are atomic. So words can be shared between threads.

use super::attrs::Attrs;
use super::heap;
use super::list::List;
use super::string::Str;
use super::thunk::Thunk;
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

/// An absolute path, normalised, without trailing slash.
#[derive(Clone, Copy)]
pub struct PathValue(*const u64);
/// A lambda with its captures.
#[derive(Clone, Copy)]
pub struct Function(*const u64);
/// A function or builtin with some of its arguments.
#[derive(Clone, Copy)]
pub struct Partial(*const u64);

// SAFETY: the objects behind these pointers are immutable once the pointer exists and are never
// freed (`heap`).
unsafe impl Send for PathValue {}
// SAFETY: as above.
unsafe impl Sync for PathValue {}
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

    /// Mark of a name that a layer of a set removes ([`super::attrs`]); no value of the language.
    pub(super) const REMOVED: Value = Value(5 << 3 | IMMEDIATE);

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

    /// # Safety
    /// `pointer` is the address of a list.
    #[inline(always)]
    pub(super) unsafe fn from_list(pointer: *const u64) -> Value {
        Value(pointer as u64 | LIST)
    }

    /// # Safety
    /// `pointer` is the address of a string.
    #[inline(always)]
    pub(super) unsafe fn from_string(pointer: *const u64) -> Value {
        Value(pointer as u64 | STRING)
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
            // SAFETY: a word tagged LIST has the address of a list.
            LIST => View::List(unsafe { List::from_pointer(self.pointer()) }),
            // SAFETY: a word tagged STRING has the address of a string.
            STRING => View::String(unsafe { Str::from_pointer(self.pointer()) }),
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
        // SAFETY: a word tagged LIST has the address of a list.
        if self.tag() == LIST { Some(unsafe { List::from_pointer(self.pointer()) }) } else { None }
    }

    #[inline(always)]
    pub fn as_string(self) -> Option<Str> {
        // SAFETY: a word tagged STRING has the address of a string.
        if self.tag() == STRING { Some(unsafe { Str::from_pointer(self.pointer()) }) } else { None }
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

impl PathValue {
    pub fn bytes(self) -> &'static [u8] {
        // SAFETY: a path object is [kind, length, bytes…].
        unsafe { std::slice::from_raw_parts(self.0.add(2).cast::<u8>(), self.0.add(1).read() as usize) }
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
