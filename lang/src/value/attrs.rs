#![allow(unsafe_code)] // reason: lays out attribute sets in heap words and flattens layered ones in place.
//! Attribute sets.
//!
//! ```text
//! [shape address]       [value 0] [value 1] …          flat: values in the order of the shape's names
//! [fresh << 8 | 1]      [base] [top]                    layered: `base // top`, top flat and small
//! [fresh << 8 | 5]      [base] [top]                    the same, and a layer removes names
//! [2]                   [flat] [top]                    a layered set that was walked, and so became flat
//! ```
//!
//! A set that grows by `//` step by step is a stack of layers. Every eighth one, the small layers on
//! top are merged into one, and that with the one below while it is not much smaller. So layers
//! become about four times as large from one to the next below, there are few of them (at most
//! seven small ones, and one for each power of four), and each attribute is copied a few times in
//! all, not once in each step.
//!
//! A [`Shape`] holds the sorted names and the positions. All sets that one `{ … }` in a file makes
//! share one shape, so such a set costs one word per attribute; `mapAttrs` keeps its argument's
//! shape; a shape's address keys the inline caches of selections ([`ShapeCache`]). Names sort by
//! symbol number, which is age; [`Attrs::sorted`] gives the order of their texts.

use super::heap;
use super::merge::{merge, merge_above};
use super::word::Value;
use crate::source::Pos;
use crate::symbol::Symbol;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

const LAYERED: u64 = 1;
const FLATTENED: u64 = 2;
/// Bit of the head of a layered set: a layer has names that are removed.
const REMOVES: u64 = 4;
/// Layers added before those on top are merged.
const LAYERS_FRESH: u64 = 8;
/// A layer is at most this part of the layers below it, or of the set below them all.
const LAYER_RATIO: usize = 4;
/// A set smaller than this is copied by `//` rather than layered.
const LAYER_BASE_MIN: usize = 12;
/// A set smaller than this is copied when attributes are removed or added below.
const LARGE_MIN: usize = 64;

/// Number of shapes that each thread remembers, and the largest such shape.
const SHARED_SHAPES_LEN: usize = 4096;
const SHARED_LEN_MAX: usize = 64;

thread_local! {
    static SHARED_SHAPES: std::cell::RefCell<Vec<Option<&'static Shape>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Names and positions of a set, shared by all sets made alike.
#[repr(C, align(8))]
pub struct Shape {
    len: u32,
    _pad: u32,
    /// Indexes in order of the names' texts, made lazily.
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
        // SAFETY: room for the 16-byte head and `len` symbols and positions of 4 bytes each;
        // exactly `len` of each are written before the shape can be reached, or the assertion
        // fails.
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
            assert_eq!(written, len, "a shape gets `len` names");
            &*shape
        }
    }

    /// Like [`Shape::new`], but reuses an equal shape that this thread remembers. So sets made at
    /// run time share shapes, and the caches keyed by them, as those of one `{ … }` do.
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
        let slot = (hash >> 48) as usize & (SHARED_SHAPES_LEN - 1);
        SHARED_SHAPES.with_borrow_mut(|shapes| {
            if shapes.is_empty() {
                shapes.resize(SHARED_SHAPES_LEN, None);
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

    /// Returns the address of the names. A reference to a shape covers its head only, so the address
    /// has the provenance of the heap's region, which was exposed when it was made.
    #[inline(always)]
    fn names_at(&self) -> *const Symbol {
        std::ptr::with_exposed_provenance(std::ptr::from_ref(self).addr() + size_of::<Shape>())
    }

    #[inline(always)]
    pub fn names(&self) -> &'static [Symbol] {
        // SAFETY: `Shape::new` wrote `len` symbols right behind the head; shapes live as long as the
        // process.
        unsafe { std::slice::from_raw_parts(self.names_at(), self.len()) }
    }

    #[inline(always)]
    pub fn positions(&self) -> &'static [Pos] {
        // SAFETY: `Shape::new` wrote `len` positions behind the symbols.
        unsafe { std::slice::from_raw_parts(self.names_at().add(self.len()).cast::<Pos>(), self.len()) }
    }

    #[inline]
    pub fn find(&self, name: Symbol) -> Option<usize> {
        let names = self.names();
        if names.len() <= 8 { names.iter().position(|&each| each == name) } else { names.binary_search(&name).ok() }
    }

    pub(crate) fn by_text(&self) -> &'static [u32] {
        let mut order = self.by_text.load(Ordering::Acquire).cast_const();
        if order.is_null() {
            let names: Vec<&[u8]> = Symbol::names(self.names());
            let mut indexes: Vec<u32> = (0..self.len).collect();
            indexes.sort_unstable_by(|&a, &b| names[a as usize].cmp(names[b as usize]));
            let at = heap::words(indexes.len().div_ceil(2)).cast::<u32>();
            // SAFETY: room for `len` indexes of 4 bytes; when two threads get here, either result
            // is right.
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

    /// Makes a set of a known shape.
    #[inline(always)]
    pub(crate) fn attrs_of_shape(shape: &'static Shape, values: &[Value]) -> Value {
        assert_eq!(shape.len(), values.len(), "a set gets a value for each name");
        let at = heap::words(1 + values.len());
        // SAFETY: room for the head and all values.
        unsafe {
            at.write(std::ptr::from_ref(shape) as u64);
            at.add(1).cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
            Value::from_attrs(at)
        }
    }

    /// Makes a set whose values `next` gives, by index.
    pub(crate) fn attrs_from_fn(shape: &'static Shape, mut next: impl FnMut(usize) -> Value) -> Value {
        let at = heap::words(1 + shape.len());
        // SAFETY: room for the head and `len` values, all written before the word exists.
        unsafe {
            at.write(std::ptr::from_ref(shape) as u64);
            for index in 0..shape.len() {
                at.add(1 + index).cast::<Value>().write(next(index));
            }
            Value::from_attrs(at)
        }
    }

    /// Makes a set of attributes sorted by symbol, names unique.
    pub(crate) fn attrs_sorted(attrs: &[Attr]) -> Value {
        let shape = Shape::shared(attrs.len(), attrs.iter().map(|attr| (attr.name, attr.pos)));
        Value::attrs_from_fn(shape, |index| attrs[index].value)
    }

    /// Makes a set of those attributes that no layer removes.
    fn attrs_present(mut attrs: Vec<Attr>) -> Value {
        attrs.retain(|attr| !attr.value.same(Value::REMOVED));
        Value::attrs_sorted(&attrs)
    }

    /// Makes a set of attributes in any order; of two with one name the first wins.
    pub fn attrs(mut attrs: Vec<Attr>) -> Value {
        attrs.sort_by_key(|attr| attr.name);
        attrs.dedup_by_key(|attr| attr.name);
        Value::attrs_sorted(&attrs)
    }

    /// Makes a set like [`Value::attrs`], with the set itself as its attribute `own`.
    pub(crate) fn attrs_with_own(own: Symbol, mut attrs: Vec<Attr>) -> Value {
        attrs.insert(0, Attr { name: own, pos: Pos::NONE, value: Value::NULL });
        let value = Value::attrs(attrs);
        if let Some(set) = value.as_attrs()
            && let Some(index) = set.shape_if_flat().and_then(|shape| shape.find(own))
        {
            // SAFETY: the set was made just now, so no other code can reach it.
            unsafe { set.fill(index, &[value]) };
        }
        value
    }
}

fn empty_shape() -> &'static Shape {
    static EMPTY: std::sync::OnceLock<&'static Shape> = std::sync::OnceLock::new();
    EMPTY.get_or_init(|| Shape::new(0, std::iter::empty()))
}

/// A flat set as slices.
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

/// The three forms of a set.
enum Form {
    Flat(&'static Shape),
    /// `base // top`; the last `fresh` layers were added since layers were merged, and the set
    /// below all layers has `base_len` attributes.
    Layered {
        base: Attrs,
        top: Attrs,
        fresh: u64,
        removes: u64,
        base_len: usize,
    },
    Flattened(Attrs),
}

impl Attrs {
    /// # Safety
    /// `pointer` is the address of an attribute set.
    #[inline(always)]
    pub(super) unsafe fn from_pointer(pointer: *const u64) -> Attrs {
        Attrs(pointer)
    }

    pub fn value(self) -> Value {
        // SAFETY: an `Attrs` has the address of a set.
        unsafe { Value::from_attrs(self.0) }
    }

    #[inline(always)]
    fn head(self) -> u64 {
        // SAFETY: every set starts with its head word; it may be replaced atomically by `flat`.
        unsafe { AtomicU64::from_ptr(self.0.cast_mut()) }.load(Ordering::Acquire)
    }

    /// Returns the set that word `index` leads to.
    ///
    /// # Safety
    /// The set is layered or flattened, and `index` is 1 or 2; flattened, it is 1.
    #[inline(always)]
    unsafe fn part(self, index: usize) -> Attrs {
        // SAFETY: a layered or flattened set has three words, of which these hold addresses of
        // sets.
        Attrs(unsafe { AtomicU64::from_ptr(self.0.add(index).cast_mut()) }.load(Ordering::Acquire) as *const u64)
    }

    /// Returns the form of the set. A thread that sees the set layered while another flattens it
    /// may get the flattened set as the base, which holds all of `top` too.
    #[inline(always)]
    fn form(self) -> Form {
        let head = self.head();
        match head & 3 {
            // SAFETY: a head with clear low bits is the address of a shape, which lives as long as
            // the process.
            0 => Form::Flat(unsafe { &*(head as *const Shape) }),
            // SAFETY: the head says that the set is layered.
            LAYERED => unsafe {
                let (base, top) = (self.part(1), self.part(2));
                Form::Layered {
                    base,
                    top,
                    fresh: head >> 8 & 0xff,
                    removes: head & REMOVES,
                    base_len: (head >> 16) as usize,
                }
            },
            // SAFETY: the head says that the set is flattened.
            _ => Form::Flattened(unsafe { self.part(1) }),
        }
    }

    /// Returns the shape of a flat set, by which inline caches are keyed.
    #[inline(always)]
    pub(crate) fn shape_if_flat(self) -> Option<&'static Shape> {
        let head = self.head();
        // SAFETY: a head with clear low bits is the address of a shape.
        if head & 3 == 0 { Some(unsafe { &*(head as *const Shape) }) } else { None }
    }

    /// Returns value number `index` of a flat set.
    ///
    /// # Safety
    /// The set is flat, and its shape has more than `index` names.
    #[inline(always)]
    unsafe fn flat_value(self, index: usize) -> Value {
        debug_assert!(self.shape_if_flat().is_some_and(|shape| index < shape.len()));
        // SAFETY: by this function's contract there is such a value.
        unsafe { self.0.add(1 + index).cast::<Value>().read() }
    }

    /// Writes values of a set that is still being made.
    ///
    /// # Safety
    /// Neither another thread nor running code can reach the set yet.
    pub(crate) unsafe fn fill(self, at: usize, values: &[Value]) {
        let len = self.shape_if_flat().map_or(0, Shape::len);
        assert!(at + values.len() <= len, "parts fit in their set");
        // SAFETY: the range is inside the set, checked just now, and the set is ours alone.
        unsafe {
            self.0.add(1 + at).cast_mut().cast::<Value>().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
    }

    /// Returns names and values side by side; merges a layered set once, in place.
    pub fn flat(self) -> Flat {
        match self.form() {
            // SAFETY: a flat set has as many values as its shape has names.
            Form::Flat(shape) => unsafe {
                Flat { shape, values: std::slice::from_raw_parts(self.0.add(1).cast::<Value>(), shape.len()) }
            },
            Form::Flattened(flat) => flat.flat(),
            Form::Layered { base, top, removes, .. } => {
                let merged = match base.form() {
                    Form::Flat(_) | Form::Flattened(_) if removes == 0 => merge(base.flat(), top.flat()),
                    _ => self.merged(),
                };
                let merged = merged.as_attrs().expect("merging returns a set");
                // SAFETY: the object has three words. The pointer is published before the head, so
                // a thread that sees the new head sees the new pointer, and one that saw the old
                // head finds a base that holds all of top.
                unsafe {
                    AtomicU64::from_ptr(self.0.add(1).cast_mut()).store(merged.0 as u64, Ordering::Release);
                    AtomicU64::from_ptr(self.0.cast_mut()).store(FLATTENED, Ordering::Release);
                }
                merged.flat()
            }
        }
    }

    /// Returns all layers of a set in one flat set. Layers between are made in one buffer, from the
    /// smallest on.
    fn merged(self) -> Value {
        let (mut above, mut set) = (Vec::new(), self);
        loop {
            match set.form() {
                Form::Layered { base, top, .. } => {
                    above = merge_above(top.flat(), above);
                    set = base;
                }
                _ => return Value::attrs_present(merge_above(set.flat(), above)),
            }
        }
    }

    pub fn len(self) -> usize {
        self.shape_if_flat().map_or_else(|| self.flat().shape.len(), Shape::len)
    }

    pub fn is_empty(self) -> bool {
        match self.form() {
            Form::Flat(shape) => shape.is_empty(),
            Form::Layered { removes, .. } => removes != 0 && self.len() == 0,
            Form::Flattened(flat) => flat.is_empty(),
        }
    }

    #[inline]
    pub fn get(self, name: Symbol) -> Option<Value> {
        let mut set = self;
        loop {
            match set.form() {
                // SAFETY: the index is one of the shape of this set.
                Form::Flat(shape) => return shape.find(name).map(|index| unsafe { set.flat_value(index) }),
                Form::Layered { base, top, .. } => match top.get(name) {
                    Some(value) => return if value.same(Value::REMOVED) { None } else { Some(value) },
                    None => set = base,
                },
                Form::Flattened(flat) => set = flat,
            }
        }
    }

    pub fn get_attr(self, name: Symbol) -> Option<Attr> {
        let mut set = self;
        loop {
            match set.form() {
                Form::Flat(shape) => {
                    let index = shape.find(name)?;
                    // SAFETY: the index is one of the shape of this set.
                    let value = unsafe { set.flat_value(index) };
                    return Some(Attr { name, pos: shape.positions()[index], value });
                }
                Form::Layered { base, top, .. } => match top.get_attr(name) {
                    Some(attr) => return if attr.value.same(Value::REMOVED) { None } else { Some(attr) },
                    None => set = base,
                },
                Form::Flattened(flat) => set = flat,
            }
        }
    }

    pub fn contains(self, name: Symbol) -> bool {
        self.get(name).is_some()
    }

    /// Returns the attributes in the order of symbols.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Attr> + Clone {
        self.flat().iter()
    }

    /// Returns the attributes in the order of their names' bytes, which `attrNames`, printing and
    /// hashing use.
    pub fn sorted(self) -> impl ExactSizeIterator<Item = Attr> + Clone {
        let flat = self.flat();
        let (names, positions) = (flat.shape.names(), flat.shape.positions());
        flat.shape.by_text().iter().map(move |&index| {
            let index = index as usize;
            Attr { name: names[index], pos: positions[index], value: flat.values[index] }
        })
    }

    /// Returns `self // right`.
    pub fn update(self, right: Attrs) -> Value {
        if self.is_empty() {
            return right.value();
        }
        if right.is_empty() {
            return self.value();
        }
        let (left_len, right_len) = (self.bottom_len(), right.bottom_len());
        if left_len >= LAYER_BASE_MIN && right_len * LAYER_RATIO <= left_len {
            if right.len() * LAYER_RATIO <= left_len {
                return self.layered(right.flat_set(), 0);
            }
        } else if right_len >= LARGE_MIN && left_len * LAYER_RATIO <= right_len {
            // The right one grows: the attributes that it lacks become its top.
            let missing: Vec<Attr> = self.iter().filter(|attr| !right.contains(attr.name)).collect();
            if missing.is_empty() {
                return right.value();
            }
            if missing.len() * LAYER_RATIO <= right_len
                && let Some(top) = Value::attrs_sorted(&missing).as_attrs()
            {
                return right.layered(top, 0);
            }
        }
        merge(self.flat(), right.flat())
    }

    /// Returns the length of the set below all layers.
    fn bottom_len(self) -> usize {
        match self.form() {
            Form::Flat(shape) => shape.len(),
            Form::Flattened(flat) => flat.len(),
            Form::Layered { base_len, .. } => base_len,
        }
    }

    /// Returns what a layered set was merged into, if it was; all other sets as they are.
    fn flat_set(self) -> Attrs {
        match self.form() {
            Form::Flattened(flat) => flat.flat_set(),
            _ => self,
        }
    }

    /// Returns the set with a flat layer on top. `removes` is [`REMOVES`] when that has removed
    /// names, and 0 otherwise.
    fn layered(self, mut top_set: Attrs, mut removes: u64) -> Value {
        let (mut base, mut fresh) = (self.flat_set(), 0);
        let base_len = base.bottom_len();
        if let Form::Layered { fresh: below, removes: also, .. } = base.form() {
            fresh = below + 1;
            removes |= also;
        }
        if fresh >= LAYERS_FRESH {
            let mut merged = merge_above(top_set.flat(), Vec::new());
            while let Form::Layered { base: below, top, .. } = base.form()
                && (fresh > 1 || top.len() < merged.len() * LAYER_RATIO)
            {
                merged = merge_above(top.flat(), merged);
                base = below.flat_set();
                fresh = fresh.saturating_sub(1);
            }
            fresh = 0;
            if merged.len() * LAYER_RATIO > base_len {
                return Value::attrs_present(merge_above(base.flat(), merged));
            }
            top_set = Value::attrs_sorted(&merged).as_attrs().expect("a set was made just now");
        }
        let at = heap::words(3);
        // SAFETY: room for three words.
        unsafe {
            at.write((base_len as u64) << 16 | fresh << 8 | removes | LAYERED);
            at.add(1).write(base.0 as u64);
            at.add(2).write(top_set.0 as u64);
            Value::from_attrs(at)
        }
    }

    /// Returns the set without some of its attributes; `names` are unique, sorted, and in the set.
    pub(crate) fn without(self, names: &[Symbol]) -> Value {
        let len = self.bottom_len();
        if len < LARGE_MIN || names.len() * LAYER_RATIO > len {
            let kept: Vec<Attr> = self.iter().filter(|attr| names.binary_search(&attr.name).is_err()).collect();
            return Value::attrs_sorted(&kept);
        }
        let gone = |&name: &Symbol| Attr { name, pos: Pos::NONE, value: Value::REMOVED };
        let top = Value::attrs_sorted(&names.iter().map(gone).collect::<Vec<_>>());
        self.layered(top.as_attrs().expect("a set was made just now"), REMOVES)
    }
}

/// The shape that one selection in the code saw last, and the index of the selected name in it.
///
/// Shapes are never freed, so an address stands for one shape, and an index found in it stays
/// right.
pub(crate) struct ShapeCache(AtomicU64);

/// Index of a name that the shape does not have.
const ABSENT: u64 = 0xffff;

impl ShapeCache {
    pub fn new() -> ShapeCache {
        ShapeCache(AtomicU64::new(0))
    }

    /// Returns attribute `name` of a set; one cache is for one name.
    #[inline(always)]
    pub fn get(&self, set: Attrs, name: Symbol) -> Option<Value> {
        match set.shape_if_flat() {
            // SAFETY: the index is one of the shape of this set.
            Some(shape) => self.find(shape, name).map(|index| unsafe { set.flat_value(index) }),
            None => ShapeCache::get_layered(set, name),
        }
    }

    #[inline(never)]
    fn get_layered(set: Attrs, name: Symbol) -> Option<Value> {
        set.get(name)
    }

    /// Returns the index of the name in sets of this shape.
    #[inline(always)]
    fn find(&self, shape: &'static Shape, name: Symbol) -> Option<usize> {
        let address = std::ptr::from_ref(shape) as u64;
        let cached = self.0.load(Ordering::Relaxed);
        if cached >> 16 == address {
            let index = cached & ABSENT;
            return if index == ABSENT { None } else { Some(index as usize) };
        }
        self.find_slow(shape, address, name)
    }

    #[inline(never)]
    fn find_slow(&self, shape: &'static Shape, address: u64, name: Symbol) -> Option<usize> {
        let found = shape.find(name);
        let index = found.map_or(ABSENT, |index| index as u64);
        if (index < ABSENT || found.is_none()) && address >> 48 == 0 {
            self.0.store(address << 16 | index, Ordering::Relaxed);
        }
        found
    }
}
