//! Interned names. A symbol is four bytes, equal when the names are.
//!
//! Reading a name takes no lock, so threads that evaluate do not meet here. Making a symbol asks a table of the own
//! thread first and the shared one, behind a lock, only for names this thread has not seen. Names are never freed:
//! there are few of them.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::{LazyLock, OnceLock, RwLock};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// An interned name. Symbols order by age, not by text: sort by [`Symbol::name`] where people or hashes look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

type ByName = HashMap<&'static [u8], Symbol, FxBuildHasher>;

static TABLE: LazyLock<RwLock<ByName>> = LazyLock::new(RwLock::default);

thread_local! {
    static SEEN: RefCell<ByName> = RefCell::default();
}

/// Names by index, in segments of doubling size that never move: segment `k` holds `FIRST << k` of them.
static NAMES: [OnceLock<Segment>; SEGMENTS] = [const { OnceLock::new() }; SEGMENTS];
type Segment = Box<[OnceLock<&'static [u8]>]>;
const FIRST: u32 = 1024;
const SEGMENTS: usize = 22;

/// Segment and place in it of the `index`th name, from 0.
fn place(index: u32) -> (usize, usize) {
    let shifted = index + FIRST;
    let segment = shifted.ilog2() - FIRST.ilog2();
    (segment as usize, (shifted - (FIRST << segment)) as usize)
}

impl Symbol {
    /// Returns the symbol of a name.
    ///
    /// # Panics
    /// When four thousand million names are in use, which memory does not hold.
    pub fn new(name: &[u8]) -> Symbol {
        SEEN.with_borrow_mut(|seen| {
            if let Some(&symbol) = seen.get(name) {
                return symbol;
            }
            let (name, symbol) = Symbol::shared(name);
            seen.insert(name, symbol);
            symbol
        })
    }

    fn shared(name: &[u8]) -> (&'static [u8], Symbol) {
        const PROMISE: &str = "no thread panics while it holds the symbol table";
        if let Some((&name, &symbol)) = TABLE.read().expect(PROMISE).get_key_value(name) {
            return (name, symbol);
        }
        let mut table = TABLE.write().expect(PROMISE);
        if let Some((&name, &symbol)) = table.get_key_value(name) {
            return (name, symbol);
        }
        let name: &'static [u8] = Vec::leak(name.to_vec());
        let index = u32::try_from(table.len()).expect("fewer than 2^32 names fit in memory");
        let (segment, offset) = place(index);
        let segment = NAMES[segment].get_or_init(|| vec![OnceLock::new(); (FIRST as usize) << segment].into());
        segment[offset].set(name).expect("each index is given out once, under the lock");
        let symbol = Symbol(NonZeroU32::new(index + 1).expect("one more than an index is not zero"));
        table.insert(name, symbol);
        (name, symbol)
    }

    pub fn name(self) -> &'static [u8] {
        let (segment, offset) = place(self.0.get() - 1);
        let name = NAMES[segment].get().and_then(|segment| segment[offset].get());
        name.expect("a symbol exists only after its name was stored")
    }

    /// The names of many symbols, in the same order.
    pub fn names(symbols: &[Symbol]) -> Vec<&'static [u8]> {
        symbols.iter().map(|symbol| symbol.name()).collect()
    }

    /// A number from 1, dense over all symbols.
    pub fn index(self) -> u32 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_any_segment() {
        let names: Vec<String> = (0..5000).map(|n| format!("symbol-test-{n}")).collect();
        let symbols: Vec<Symbol> = names.iter().map(|name| Symbol::new(name.as_bytes())).collect();
        for (name, symbol) in names.iter().zip(&symbols) {
            assert_eq!(symbol.name(), name.as_bytes());
            assert_eq!(Symbol::new(name.as_bytes()), *symbol);
        }
    }

    #[test]
    fn threads_agree() {
        let own = Symbol::new(b"shared between threads");
        let other = std::thread::spawn(|| Symbol::new(b"shared between threads")).join().unwrap();
        assert_eq!(own, other);
        assert_ne!(own, Symbol::new(b""));
    }

    #[test]
    fn places_are_dense() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(1023), (0, 1023));
        assert_eq!(place(1024), (1, 0));
        assert_eq!(place(3071), (1, 2047));
        assert_eq!(place(3072), (2, 0));
    }
}
