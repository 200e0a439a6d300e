#![allow(unsafe_code)] // reason: lays out attribute sets in heap words and flattens layered ones in place.
//! Attribute sets.
//!
//! ```text
//! [shape address]       [value 0] [value 1] …          flat: values in the order of the shape's names
//! [layers << 8 | 1]     [base] [top]                    layered: `base // top`, top small, at most 8 deep
//! [2]                   [flat] [top]                    a layered set that was walked, and so became flat
//! ```
//!
//! A [`Shape`] holds the sorted names and the positions. All sets that one `{ … }` in a file makes share one shape, so such a
//! set costs a word an attribute; `mapAttrs` keeps its argument's shape; a shape's address keys the
//! inline caches of selections. Names sort by symbol number, which is age; [`Attrs::sorted`] gives the order of texts.

use std::cmp::Ordering as Order;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::heap;
use super::word::Value;
use crate::source::Pos;
use crate::symbol::Symbol;

const LAYERED: u64 = 1;
const FLATTENED: u64 = 2;
const LAYERS_MAX: u64 = 8;
/// A set smaller than this is copied by `//` rather than layered.
const LAYER_BASE_MIN: usize = 12;

/// Shapes that each thread remembers, and up to which size.
const SHARED: usize = 4096;
const SHARED_LEN_MAX: usize = 64;

thread_local! {
    static SHARED_SHAPES: std::cell::RefCell<Vec<Option<&'static Shape>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Names and positions of a set, shared by all sets made alike.
#[repr(C, align(8))]
pub struct Shape {
    len: u32,
    _pad: u32,
    /// Indexes in order of the names' texts, made when first asked for.
    by_text: AtomicPtr<u32>,
    // `len` symbols and `len` positions follow.
}

#[derive(Clone, Copy)]
pub struct Attrs(*const u64);

// SAFETY: flat sets never change; the head of a layered one is only accessed atomically.
unsafe impl Send for Attrs {}
// SAFETY: as above.
unsafe impl Sync for Attrs {}

#[derive(Clone, Copy)]
pub struct Attr {
    pub name: Symbol,
    pub pos: Pos,
    pub value: Value,
}

impl Shape {
    /// Makes a shape of names that are sorted by symbol and unique.
    pub(crate) fn new(len: usize, entries: impl Iterator<Item = (Symbol, Pos)>) -> &'static Shape {
        let words = 2 + len;
        let at = heap::words(words);
        // SAFETY: room for the 16-byte head and `len` symbols and positions of 4 bytes each; exactly `len` of each are
        // written, or the rest is never reached because the assertion ends the process's use of it.
        unsafe {
            let shape = at.cast::<Shape>();
            shape.write(Shape { len: len as u32, _pad: 0, by_text: AtomicPtr::new(std::ptr::null_mut()) });
            let names = at.add(2).cast::<Symbol>();
            let positions = names.add(len).cast::<Pos>();
            let mut written = 0;
            for (name, pos) in entries.take(len) {
                names.add(written).write(name);
                positions.add(written).write(pos);
                written += 1;
            }
            assert_eq!(written, len, "a shape gets as many names as it was promised");
            &*shape
        }
    }

    /// As [`Shape::new`], but gives again a shape made like this before, if this thread remembers it. Sets made at run time
    /// thus get to share shapes, and what is known of them, as those of one `{ … }` do.
    pub(crate) fn shared(len: usize, entries: impl Iterator<Item = (Symbol, Pos)> + Clone) -> &'static Shape {
        if len == 0 {
            return empty_shape();
        }
        if len > SHARED_LEN_MAX {
            return Shape::new(len, entries);
        }
        let hash = entries.clone().take(len).fold(len as u64, |hash, (name, pos)| {
            let entry = u64::from(pos.0) << 32 | u64::from(name.index());
            (hash.rotate_left(23) ^ entry).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let slot = (hash >> 48) as usize & (SHARED - 1);
        SHARED_SHAPES.with_borrow_mut(|shapes| {
            if shapes.is_empty() {
                shapes.resize(SHARED, None);
            }
            if let Some(known) = shapes[slot]
                && known.len() == len
                && known.names().iter().copied().zip(known.positions().iter().copied()).eq(entries.clone().take(len))
            {
                return known;
            }
            let shape = Shape::new(len, entries);
            shapes[slot] = Some(shape);
            shape
        })
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    pub fn names(&self) -> &'static [Symbol] {
        // SAFETY: `Shape::new` wrote `len` symbols right behind the head; shapes live as long as the process.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).add(1).cast::<Symbol>(), self.len()) }
    }

    #[inline(always)]
    pub fn positions(&self) -> &'static [Pos] {
        // SAFETY: `Shape::new` wrote `len` positions behind the symbols.
        unsafe {
            let names = std::ptr::from_ref(self).add(1).cast::<Symbol>();
            std::slice::from_raw_parts(names.add(self.len()).cast::<Pos>(), self.len())
        }
    }

    #[inline]
    pub fn find(&self, name: Symbol) -> Option<usize> {
        let names = self.names();
        if names.len() <= 8 { names.iter().position(|&each| each == name) } else { names.binary_search(&name).ok() }
    }

    pub(super) fn by_text(&self) -> &'static [u32] {
        let mut order = self.by_text.load(Ordering::Acquire).cast_const();
        if order.is_null() {
            let names: Vec<&[u8]> = Symbol::names(self.names());
            let mut indexes: Vec<u32> = (0..self.len).collect();
            indexes.sort_unstable_by(|&a, &b| names[a as usize].cmp(names[b as usize]));
            let at = heap::words(indexes.len().div_ceil(2)).cast::<u32>();
            // SAFETY: room for `len` indexes of 4 bytes; two threads may both get here and either's result will do.
            unsafe { at.copy_from_nonoverlapping(indexes.as_ptr(), indexes.len()) };
            self.by_text.store(at, Ordering::Release);
            order = at;
        }
        // SAFETY: a non-null order has `len` indexes.
        unsafe { std::slice::from_raw_parts(order, self.len()) }
    }
}

impl Value {
    pub fn empty_attrs() -> Value {
        static EMPTY: std::sync::OnceLock<Value> = std::sync::OnceLock::new();
        *EMPTY.get_or_init(|| Value::attrs_of_shape(empty_shape(), &[]))
    }

    /// A set of a known shape.
    #[inline(always)]
    pub(crate) fn attrs_of_shape(shape: &'static Shape, values: &[Value]) -> Value {
        debug_assert_eq!(shape.len(), values.len());
        let at = heap::words(1 + values.len());
        // SAFETY: room for the head and all values.
        unsafe {
            at.write(std::ptr::from_ref(shape) as u64);
            at.add(1).cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
        Value::from_attrs(at)
    }

    pub(crate) fn attrs_from_fn(shape: &'static Shape, mut next: impl FnMut(usize) -> Value) -> Value {
        let at = heap::words(1 + shape.len());
        // SAFETY: room for the head and `len` values, all written before the word exists.
        unsafe {
            at.write(std::ptr::from_ref(shape) as u64);
            for index in 0..shape.len() {
                at.add(1 + index).cast::<Value>().write(next(index));
            }
        }
        Value::from_attrs(at)
    }

    /// A set of attributes sorted by symbol, names unique.
    pub(crate) fn attrs_sorted(attrs: &[Attr]) -> Value {
        let shape = Shape::shared(attrs.len(), attrs.iter().map(|attr| (attr.name, attr.pos)));
        Value::attrs_from_fn(shape, |index| attrs[index].value)
    }

    /// A set of attributes in any order; of two with one name the first counts.
    pub fn attrs(mut attrs: Vec<Attr>) -> Value {
        attrs.sort_by_key(|attr| attr.name);
        attrs.dedup_by_key(|attr| attr.name);
        Value::attrs_sorted(&attrs)
    }
}

fn empty_shape() -> &'static Shape {
    static EMPTY: std::sync::OnceLock<&'static Shape> = std::sync::OnceLock::new();
    EMPTY.get_or_init(|| Shape::new(0, std::iter::empty()))
}

/// A flat set seen as slices.
#[derive(Clone, Copy)]
pub struct Flat {
    pub(crate) shape: &'static Shape,
    pub(crate) values: &'static [Value],
}

impl Flat {
    pub fn iter(self) -> impl ExactSizeIterator<Item = Attr> + Clone {
        let (names, positions, values) = (self.shape.names(), self.shape.positions(), self.values);
        (0..names.len()).map(move |index| Attr { name: names[index], pos: positions[index], value: values[index] })
    }
}

impl Attrs {
    #[inline(always)]
    pub(super) fn from_pointer(pointer: *const u64) -> Attrs {
        Attrs(pointer)
    }

    pub fn value(self) -> Value {
        Value::from_attrs(self.0)
    }

    #[inline(always)]
    fn head(self) -> u64 {
        // SAFETY: every set starts with its head word; it may be replaced atomically by `flat`.
        unsafe { AtomicU64::from_ptr(self.0.cast_mut()) }.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn word(self, index: usize) -> u64 {
        // SAFETY: callers ask for words 1 and 2 of layered or flattened sets only, which have three.
        unsafe { AtomicU64::from_ptr(self.0.add(index).cast_mut()) }.load(Ordering::Acquire)
    }

    /// The shape of a flat set: what inline caches key on.
    #[inline(always)]
    pub(crate) fn shape_if_flat(self) -> Option<&'static Shape> {
        let head = self.head();
        // SAFETY: a head with clear low bits is the address of a shape.
        if head & 3 == 0 { Some(unsafe { &*(head as *const Shape) }) } else { None }
    }

    /// Value number `index` of a flat set with more than `index` attributes.
    #[inline(always)]
    pub(crate) fn flat_value(self, index: usize) -> Value {
        debug_assert!(self.shape_if_flat().is_some_and(|shape| index < shape.len()));
        // SAFETY: the caller saw the shape and got `index` from it (directly or from a cache keyed by it).
        unsafe { self.0.add(1 + index).cast::<Value>().read() }
    }

    /// Writes values of a set that is still being made.
    pub(crate) fn fill(self, at: usize, values: &[Value]) {
        let len = self.shape_if_flat().map_or(0, Shape::len);
        assert!(at + values.len() <= len, "parts fit in the set they are of");
        // SAFETY: the range is inside the set, checked just now; only the code that makes the set knows it.
        unsafe {
            self.0.add(1 + at).cast_mut().cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
    }

    #[inline(always)]
    fn flat_of(self, shape: &'static Shape) -> Flat {
        // SAFETY: a flat set has as many values as its shape has names.
        Flat { shape, values: unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<Value>(), shape.len()) } }
    }

    /// The set as names and values side by side; a layered set is merged once, in place.
    pub fn flat(self) -> Flat {
        if let Some(shape) = self.shape_if_flat() {
            return self.flat_of(shape);
        }
        if self.head() & 3 == LAYERED {
            let base = Attrs(self.word(1) as *const u64).flat();
            let top = Attrs(self.word(2) as *const u64).flat();
            let merged = merge(base, top);
            let merged = merged.as_attrs().expect("merge returns a set");
            // SAFETY: the object has three words. The pointer is published before the head, so whoever sees the
            // new head sees the new pointer, and whoever saw the old head finds a base that holds all of top too.
            unsafe {
                AtomicU64::from_ptr(self.0.add(1).cast_mut()).store(merged.0 as u64, Ordering::Release);
                AtomicU64::from_ptr(self.0.cast_mut()).store(FLATTENED, Ordering::Release);
            }
        }
        Attrs(self.word(1) as *const u64).flat()
    }

    pub fn len(self) -> usize {
        self.shape_if_flat().map_or_else(|| self.flat().shape.len(), Shape::len)
    }

    pub fn is_empty(self) -> bool {
        self.shape_if_flat().is_some_and(Shape::is_empty)
    }

    #[inline]
    pub fn get(self, name: Symbol) -> Option<Value> {
        let mut set = self;
        loop {
            if let Some(shape) = set.shape_if_flat() {
                return shape.find(name).map(|index| set.flat_value(index));
            }
            if set.head() & 3 == LAYERED
                && let Some(value) = Attrs(set.word(2) as *const u64).get(name)
            {
                return Some(value);
            }
            set = Attrs(set.word(1) as *const u64);
        }
    }

    pub fn get_attr(self, name: Symbol) -> Option<Attr> {
        let mut set = self;
        loop {
            if let Some(shape) = set.shape_if_flat() {
                return shape.find(name).map(|index| Attr {
                    name,
                    pos: shape.positions()[index],
                    value: set.flat_value(index),
                });
            }
            if set.head() & 3 == LAYERED
                && let Some(attr) = Attrs(set.word(2) as *const u64).get_attr(name)
            {
                return Some(attr);
            }
            set = Attrs(set.word(1) as *const u64);
        }
    }

    pub fn contains(self, name: Symbol) -> bool {
        self.get(name).is_some()
    }

    /// Attributes in the order of symbols.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Attr> + Clone {
        self.flat().iter()
    }

    /// Attributes in the order of their names' bytes, as `attrNames`, printing and hashing want it.
    pub fn sorted(self) -> impl ExactSizeIterator<Item = Attr> + Clone {
        let flat = self.flat();
        let (names, positions) = (flat.shape.names(), flat.shape.positions());
        flat.shape.by_text().iter().map(move |&index| {
            let index = index as usize;
            Attr { name: names[index], pos: positions[index], value: flat.values[index] }
        })
    }

    /// `self // right`
    pub fn update(self, right: Attrs) -> Value {
        if self.is_empty() {
            return right.value();
        }
        if right.is_empty() {
            return self.value();
        }
        let (base_len, layers) = match self.shape_if_flat() {
            Some(shape) => (shape.len(), 0),
            None => match self.head() {
                FLATTENED => (Attrs(self.word(1) as *const u64).len(), 0),
                // The exact length is not known without merging; layers are only made on big sets.
                head => (LAYER_BASE_MIN.max((head >> 16) as usize), head >> 8 & 0xff),
            },
        };
        if let Some(top) = right.shape_if_flat()
            && base_len >= LAYER_BASE_MIN
            && top.len() * 4 <= base_len
            && layers < LAYERS_MAX
        {
            let at = heap::words(3);
            // SAFETY: room for three words.
            unsafe {
                at.write((base_len as u64) << 16 | (layers + 1) << 8 | LAYERED);
                at.add(1).write(self.0 as u64);
                at.add(2).write(right.0 as u64);
            }
            return Value::from_attrs(at);
        }
        merge(self.flat(), right.flat())
    }
}

/// What one `//` of two shapes comes to, so that doing it again only copies values.
struct Plan {
    left: *const Shape,
    right: *const Shape,
    shape: &'static Shape,
    /// Index into left, or into right with the high bit set.
    sources: Box<[u16]>,
}

const FROM_RIGHT: u16 = 1 << 15;
const PLANS: usize = 1024;
const PLAN_LEN_MAX: usize = 256;

thread_local! {
    static MERGE_PLANS: std::cell::RefCell<Vec<Option<Plan>>> =
        std::cell::RefCell::new(std::iter::repeat_with(|| None).take(PLANS).collect());
}

/// Merges two flat sets. Sets that come again with the same two shapes share the shape of the result.
fn merge(left: Flat, right: Flat) -> Value {
    if left.shape.len() + right.shape.len() > PLAN_LEN_MAX {
        return merge_once(left, right);
    }
    let (left_at, right_at) = (std::ptr::from_ref(left.shape), std::ptr::from_ref(right.shape));
    let slot = ((left_at as usize >> 4).wrapping_mul(0x9e37_79b9) ^ (right_at as usize >> 4).wrapping_mul(0x85eb_ca6b))
        >> 7
        & (PLANS - 1);
    MERGE_PLANS.with_borrow_mut(|plans| {
        if let Some(plan) = &plans[slot]
            && plan.left == left_at
            && plan.right == right_at
        {
            return Value::attrs_from_fn(plan.shape, |index| {
                let source = plan.sources[index];
                if source & FROM_RIGHT != 0 {
                    right.values[(source & !FROM_RIGHT) as usize]
                } else {
                    left.values[source as usize]
                }
            });
        }
        let mut sources = Vec::with_capacity(left.shape.len() + right.shape.len());
        walk(left.shape, right.shape, |side| match side {
            Side::Left(index) => sources.push(index as u16),
            Side::Right(index) => sources.push(index as u16 | FROM_RIGHT),
        });
        let entry = |shape: &Shape, index: usize| (shape.names()[index], shape.positions()[index]);
        let shape = Shape::shared(
            sources.len(),
            sources.iter().map(|&source| {
                if source & FROM_RIGHT != 0 {
                    entry(right.shape, (source & !FROM_RIGHT) as usize)
                } else {
                    entry(left.shape, source as usize)
                }
            }),
        );
        let value = Value::attrs_from_fn(shape, |index| {
            let source = sources[index];
            if source & FROM_RIGHT != 0 {
                right.values[(source & !FROM_RIGHT) as usize]
            } else {
                left.values[source as usize]
            }
        });
        plans[slot] = Some(Plan { left: left_at, right: right_at, shape, sources: sources.into_boxed_slice() });
        value
    })
}

fn merge_once(left: Flat, right: Flat) -> Value {
    let mut attrs = Vec::with_capacity(left.shape.len() + right.shape.len());
    let entry = |flat: Flat, index: usize| Attr {
        name: flat.shape.names()[index],
        pos: flat.shape.positions()[index],
        value: flat.values[index],
    };
    walk(left.shape, right.shape, |side| match side {
        Side::Left(index) => attrs.push(entry(left, index)),
        Side::Right(index) => attrs.push(entry(right, index)),
    });
    Value::attrs_sorted(&attrs)
}

enum Side {
    Left(usize),
    Right(usize),
}

fn walk(left: &Shape, right: &Shape, mut visit: impl FnMut(Side)) {
    let (left, right) = (left.names(), right.names());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        match left[l].cmp(&right[r]) {
            Order::Less => {
                visit(Side::Left(l));
                l += 1;
            }
            order => {
                visit(Side::Right(r));
                r += 1;
                l += usize::from(order == Order::Equal);
            }
        }
    }
    (l..left.len()).for_each(|index| visit(Side::Left(index)));
    (r..right.len()).for_each(|index| visit(Side::Right(index)));
}
