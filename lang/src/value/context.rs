#![allow(unsafe_code)] // reason: a context is kept in a string's head as one word.
//! String context: the store paths a string carries along.

use crate::symbol::Symbol;

/// One store path in a context. Paths and output names are interned, so an element is three words at the most.
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
    /// The store path named, the derivation's for [`ContextElement::Built`].
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
#[derive(Debug, Clone, Copy)]
#[expect(clippy::borrowed_box, reason = "a string has one word for its context, and a slice takes two")]
pub struct Context(Option<&'static Box<[ContextElement]>>);

impl Context {
    pub const EMPTY: Context = Context(None);

    pub fn one(element: ContextElement) -> Context {
        Context::from_elements(vec![element])
    }

    pub fn from_elements(mut elements: Vec<ContextElement>) -> Context {
        if elements.is_empty() {
            return Context::EMPTY;
        }
        elements.sort_unstable();
        elements.dedup();
        Context(Some(Box::leak(Box::new(elements.into_boxed_slice()))))
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.is_none()
    }

    pub fn elements(self) -> &'static [ContextElement] {
        self.0.map_or(&[], |elements| elements)
    }

    /// Both sets together; costs nothing when one holds the other.
    pub fn union(self, other: Context) -> Context {
        let (Some(left), Some(right)) = (self.0, other.0) else {
            return if self.is_empty() { other } else { self };
        };
        if std::ptr::eq(left, right) || right.iter().all(|element| left.binary_search(element).is_ok()) {
            return self;
        }
        if left.iter().all(|element| right.binary_search(element).is_ok()) {
            return other;
        }
        let mut all = left.to_vec();
        all.extend_from_slice(right);
        Context::from_elements(all)
    }

    pub(super) fn to_bits(self) -> u64 {
        self.0.map_or(0, |elements| std::ptr::from_ref(elements) as u64)
    }

    /// # Safety
    /// `bits` comes from [`Context::to_bits`].
    pub(super) unsafe fn from_bits(bits: u64) -> Context {
        // SAFETY: the caller promises that the word is null or the address of a leaked box.
        Context(unsafe { (bits as *const Box<[ContextElement]>).as_ref() })
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
        // Many strings with the same few paths: keep the list from growing with the number of strings.
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
