//! Interned names. A symbol is four bytes, equal when the names are.

use std::num::NonZeroU32;
use std::sync::{LazyLock, RwLock};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// An interned name. Symbols order by age, not by text: sort by [`Symbol::name`] where people or hashes look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

struct Table {
    by_name: HashMap<&'static [u8], Symbol, FxBuildHasher>,
    names: Vec<&'static [u8]>,
}

static TABLE: LazyLock<RwLock<Table>> =
    LazyLock::new(|| RwLock::new(Table { by_name: HashMap::default(), names: Vec::new() }));

impl Symbol {
    /// Returns the symbol of a name; names live as long as the process, as there are few of them.
    pub fn new(name: &[u8]) -> Symbol {
        const PROMISE: &str = "no thread panics while it holds the symbol table";
        if let Some(&symbol) = TABLE.read().expect(PROMISE).by_name.get(name) {
            return symbol;
        }
        let mut table = TABLE.write().expect(PROMISE);
        if let Some(&symbol) = table.by_name.get(name) {
            return symbol;
        }
        let name: &'static [u8] = Vec::leak(name.to_vec());
        let index = u32::try_from(table.names.len() + 1).expect("fewer than 2^32 names fit in memory");
        let symbol = Symbol(NonZeroU32::new(index).expect("the index starts at 1"));
        table.names.push(name);
        table.by_name.insert(name, symbol);
        symbol
    }

    pub fn name(self) -> &'static [u8] {
        TABLE.read().expect("no thread panics while it holds the symbol table").names[self.0.get() as usize - 1]
    }

    /// A number from 1, dense over all symbols.
    pub fn index(self) -> u32 {
        self.0.get()
    }
}
