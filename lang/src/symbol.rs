//! Interned names. A symbol is four bytes, equal when the names are.
//!
//! Neither reading a name nor finding the symbol of a known one takes a lock, so evaluating threads
//! do not contend here; only making a symbol locks. A name is kept as a string value, so that names
//! become values for free. Names are never freed: there are few of them.
//!
//! The table is the process's, not an evaluator's: the symbols in compiled code and shapes mean the
//! same in each.

use crate::value::{AtomicValue, Value};
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// An interned name. Symbols order by age, not by text: sort by [`Symbol::name`] for output and
/// hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(NonZeroU32);

/// Names by index, as string values, in segments of doubling size that never move: segment `k`
/// holds `FIRST << k` of them.
static NAMES: [OnceLock<Box<[AtomicValue]>>; SEGMENTS] = [const { OnceLock::new() }; SEGMENTS];
const FIRST: u32 = 1024;
const SEGMENTS: usize = 22;

/// Symbols by the hash of their name, with open addressing: half of the hash in front of the
/// symbol, 0 where there is none. A full table is followed by one of twice the size, which holds
/// all of it. Only a lookup that is under way still reads an older table, and a name that it misses
/// is searched for again under the lock.
static TABLES: [OnceLock<Box<[AtomicU64]>>; TABLES_MAX] = [const { OnceLock::new() }; TABLES_MAX];
/// Length of the first table. Miri visits every element of a table that it accesses.
const TABLE_FIRST: usize = if cfg!(miri) { 128 } else { 8192 };
const TABLES_MAX: usize = 21;

/// The table in use.
static CURRENT: AtomicUsize = AtomicUsize::new(0);
/// Number of symbols; locked by the thread that makes one.
static COUNT: Mutex<u32> = Mutex::new(0);

/// Returns the segment of the `index`th name, from 0, and its index in there.
fn position(index: u32) -> (usize, usize) {
    let shifted = index + FIRST;
    let segment = shifted.ilog2() - FIRST.ilog2();
    (segment as usize, (shifted - (FIRST << segment)) as usize)
}

fn zeros(len: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(|| AtomicU64::new(0)).take(len).collect()
}

fn hash(name: &[u8]) -> u64 {
    FxBuildHasher.hash_one(name)
}

/// Inserts a symbol into a table that does not have it and has room.
fn insert(table: &[AtomicU64], hash: u64, symbol: Symbol) {
    let mask = table.len() - 1;
    let mut at = hash as usize & mask;
    while table[at].load(Ordering::Relaxed) != 0 {
        at = (at + 1) & mask;
    }
    table[at].store(hash >> 32 << 32 | u64::from(symbol.0.get()), Ordering::Release);
}

impl Symbol {
    /// Returns the symbol of a name.
    ///
    /// # Panics
    /// When four thousand million names are in use, which memory does not hold.
    #[inline]
    pub fn new(name: &[u8]) -> Symbol {
        let hash = hash(name);
        Symbol::find(CURRENT.load(Ordering::Acquire), hash, name).unwrap_or_else(|| Symbol::make(hash, name))
    }

    #[inline]
    fn find(table: usize, hash: u64, name: &[u8]) -> Option<Symbol> {
        let table = TABLES[table].get()?;
        let mask = table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = table[at].load(Ordering::Acquire);
            let symbol = Symbol(NonZeroU32::new(slot as u32)?);
            if slot >> 32 == hash >> 32 && symbol.name() == name {
                return Some(symbol);
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn make(hash: u64, name: &[u8]) -> Symbol {
        // Before locking: without memory for the text, this unwinds.
        let text = Value::string(name);
        let mut count = COUNT.lock().expect("no thread panics while it makes a symbol");
        let mut current = CURRENT.load(Ordering::Acquire);
        // Another thread may have been faster.
        if let Some(symbol) = Symbol::find(current, hash, name) {
            return symbol;
        }
        let index = *count;
        let symbol = Symbol(NonZeroU32::new(index + 1).expect("fewer than 2^32 names fit in memory"));
        let (segment, offset) = position(index);
        let segment = NAMES[segment].get_or_init(|| {
            std::iter::repeat_with(|| AtomicValue::new(Value::NULL)).take((FIRST as usize) << segment).collect()
        });
        segment[offset].store(text, Ordering::Release);
        let mut table = TABLES[current].get_or_init(|| zeros(TABLE_FIRST << current));
        if (index as usize + 1) * 2 > table.len() {
            current += 1;
            table = TABLES[current].get_or_init(|| zeros(TABLE_FIRST << current));
            for index in 0..index {
                let old = Symbol(NonZeroU32::new(index + 1).expect("one more than an index is not zero"));
                insert(table, self::hash(old.name()), old);
            }
        }
        insert(table, hash, symbol);
        CURRENT.store(current, Ordering::Release);
        *count = index + 1;
        symbol
    }

    #[inline]
    pub fn name(self) -> &'static [u8] {
        self.value().as_string().map_or(&[], |name| name.bytes())
    }

    /// Returns the name as a string value; always the same one.
    #[inline]
    pub fn value(self) -> Value {
        let (segment, offset) = position(self.0.get() - 1);
        let segment = NAMES[segment].get().expect("a symbol exists only after its name was stored");
        segment[offset].load(Ordering::Acquire)
    }

    /// Returns the names of many symbols, in the same order.
    pub fn names(symbols: &[Symbol]) -> Vec<&'static [u8]> {
        symbols.iter().map(|symbol| symbol.name()).collect()
    }

    /// Returns a number from 1, dense over all symbols.
    pub fn index(self) -> u32 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_any_segment() {
        // More than the first segment and the first table hold; in Miri, the table.
        let count = if cfg!(miri) { 150 } else { 20_000 };
        let names: Vec<String> = (0..count).map(|n| format!("symbol-test-{n}")).collect();
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
    fn positions_are_dense() {
        assert_eq!(position(0), (0, 0));
        assert_eq!(position(1023), (0, 1023));
        assert_eq!(position(1024), (1, 0));
        assert_eq!(position(3071), (1, 2047));
        assert_eq!(position(3072), (2, 0));
    }
}
