#![allow(unsafe_code)] // reason: a context is kept in a string's head as one word.
//! String context: the store paths that a string carries.

use super::heap;
use crate::symbol::Symbol;
use std::ptr::NonNull;

/// One store path in a context. Paths and output names are interned, so an element has at most
/// three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContextElement {
    /// The path itself, as from `toFile` or a copied source.
    Opaque(Symbol),
    /// A derivation with its whole build closure, as from `drvPath`.
    DerivationDeep(Symbol),
    /// One output of a derivation.
    Built { derivation: Symbol, output: Symbol },
}

impl ContextElement {
    /// Returns the store path; that of the derivation for [`ContextElement::Built`].
    pub fn path(self) -> &'static [u8] {
        self.symbol().name()
    }

    pub(crate) fn symbol(self) -> Symbol {
        match self {
            ContextElement::Opaque(path) | ContextElement::DerivationDeep(path) => path,
            ContextElement::Built { derivation, .. } => derivation,
        }
    }
}

/// A set of elements, sorted, shared by all strings made from one another. Copying is free.
///
/// One word, since a string has no more room for it: the address of the number of elements, which
/// follow it.
#[derive(Debug, Clone, Copy)]
pub struct Context(Option<NonNull<usize>>);

// SAFETY: the elements at the address are never written again, nor freed.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub const EMPTY: Context = Context(None);

    pub fn one(element: ContextElement) -> Context {
        Context::from_sorted(&[element])
    }

    pub fn from_elements(mut elements: Vec<ContextElement>) -> Context {
        elements.sort_unstable();
        elements.dedup();
        Context::from_sorted(&elements)
    }

    /// Makes the set of elements that are sorted and unique.
    fn from_sorted(elements: &[ContextElement]) -> Context {
        if elements.is_empty() {
            return Context::EMPTY;
        }
        let words = 1 + size_of_val(elements).div_ceil(size_of::<u64>());
        let at = heap::words(words).cast::<usize>();
        // SAFETY: there is room for the number and the elements, which need no more than a word's
        // alignment; the heap's words live as long as the process, and these are not written again.
        unsafe {
            at.write(elements.len());
            at.add(1).cast::<ContextElement>().copy_from_nonoverlapping(elements.as_ptr(), elements.len());
            Context(NonNull::new(at))
        }
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.is_none()
    }

    pub fn elements(self) -> &'static [ContextElement] {
        let Some(len) = self.0 else { return &[] };
        // SAFETY: `from_sorted` wrote the number, and as many elements behind it.
        unsafe { std::slice::from_raw_parts(len.add(1).cast::<ContextElement>().as_ptr(), len.read()) }
    }

    /// Returns the union; free when one set holds the other.
    pub fn union(self, other: Context) -> Context {
        let (left, right) = (self.elements(), other.elements());
        if std::ptr::eq(left, right) || right.iter().all(|element| left.binary_search(element).is_ok()) {
            return self;
        }
        if left.iter().all(|element| right.binary_search(element).is_ok()) {
            return other;
        }
        Context::from_elements([left, right].concat())
    }

    pub(super) fn to_bits(self) -> u64 {
        self.0.map_or(0, |len| len.as_ptr() as u64)
    }

    /// # Safety
    /// `bits` comes from [`Context::to_bits`].
    pub(super) unsafe fn from_bits(bits: u64) -> Context {
        Context(NonNull::new(bits as *mut usize))
    }
}

/// Gathers the contexts of many strings; the union is made once, at the end.
#[derive(Default)]
pub struct ContextBuilder {
    first: Option<Context>,
    more: Vec<ContextElement>,
}

impl ContextBuilder {
    pub fn add(&mut self, context: Context) {
        if context.is_empty() {
            return;
        }
        match self.first {
            None => self.first = Some(context),
            Some(first) if std::ptr::eq(first.elements(), context.elements()) => {}
            Some(_) => self.more.extend_from_slice(context.elements()),
        }
        // Many strings with the same few paths: keep the list from growing with the number of
        // strings.
        if self.more.len() > 1 << 16 {
            self.more.sort_unstable();
            self.more.dedup();
        }
    }

    pub fn finish(self) -> Context {
        let Some(first) = self.first else { return Context::EMPTY };
        if self.more.is_empty() {
            return first;
        }
        first.union(Context::from_elements(self.more))
    }
}
