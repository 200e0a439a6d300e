//! Compiled code as bytes, so that a text that was compiled once need not be lexed, parsed and
//! compiled again.
//!
//! The bytes of a text hold the code of the text itself and of every piece of it that has run so
//! far ([`super::lazy`]); other pieces are compiled from the text when needed, as usual. The bytes
//! belong to one text and one build of this crate ([`key`]); they hold no address and no symbol of
//! the process that wrote them:
//!
//! ```text
//! [blake3 of the rest] [head: directory and home, names, root] [piece] [piece] …
//! ```
//!
//! Names are numbers in the table of the head. Sets are laid out in symbol order, and symbols are
//! numbered as they are interned. Loading interns names in their stored order, so layouts usually
//! match; where they do not, [`Module::orders`](super::code::Module::orders) holds the permutation.
//!
//! A checksum protects against damage, not against a writer of the cache's directory: that is the
//! user.

mod decode;
mod encode;
mod rows;

use super::code::Code;
use super::{File, Globals};
use crate::symbol::Symbol;
use crate::value::Value;
use decode::Decoder;
pub(crate) use encode::encode;
use hashbrown::HashMap;
use rows::{Head, Piece};
use rustc_hash::FxBuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Digest of the source of this crate.
const BUILD: &str = env!("LANG_SOURCE_HASH");

/// The bytes are written again when more than one part in so many of the text was compiled since.
const GROWTH: usize = 50;

const CHECKSUM_BYTES: usize = blake3::OUT_LEN;

/// Key of the code of a text.
pub(crate) type Key = [u8; blake3::OUT_LEN];

/// Returns the key of a text, compiled with these names by this build of the crate.
pub(crate) fn key(text: &[u8], globals: &Globals, pipe_operators: bool, exact_thunks: bool) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(BUILD.as_bytes());
    hasher.update(&[pipe_operators, exact_thunks, cfg!(debug_assertions)].map(u8::from));
    hasher.update(&globals.fingerprint());
    hasher.update(text);
    *hasher.finalize().as_bytes()
}

/// Returns directory and home of a file as one row of bytes.
fn surroundings(base_dir: &[u8], home: Option<&[u8]>) -> Vec<u8> {
    [base_dir, b"\0", &[u8::from(home.is_some())], home.unwrap_or_default()].concat()
}

/// The bytes of a text's code, read as far as the names.
pub(crate) struct Stored {
    bytes: Vec<u8>,
    /// Offset of the first piece.
    pieces: usize,
    symbols: Box<[Symbol]>,
    root: u32,
    /// Directory and home that it is valid for, when it depends on them.
    bound: Option<Vec<u8>>,
}

impl Stored {
    /// Opens bytes that [`encode`] made; `None` when they are damaged.
    pub(crate) fn open(bytes: Vec<u8>) -> Option<Stored> {
        let (checksum, rest) = bytes.split_at_checked(CHECKSUM_BYTES)?;
        if checksum != blake3::hash(rest).as_bytes() {
            return None;
        }
        let (head, pieces): (Head<'_>, &[u8]) = postcard::take_from_bytes(rest).ok()?;
        let mut symbols: Vec<Option<Symbol>> = vec![None; head.names.len()];
        for &name in &head.by_age {
            *symbols.get_mut(name as usize)? = Some(Symbol::new(head.names.get(name as usize)?.0));
        }
        let symbols = symbols.into_iter().collect::<Option<Box<[Symbol]>>>()?;
        let (root, bound) = (head.root, head.bound.map(|bound| bound.0.to_vec()));
        let pieces = bytes.len() - pieces.len();
        Some(Stored { bytes, pieces, symbols, root, bound })
    }

    /// Returns true when the code is valid for this directory and home.
    pub(crate) fn is_for(&self, base_dir: &[u8], home: Option<&[u8]>) -> bool {
        self.bound.as_ref().is_none_or(|bound| *bound == surroundings(base_dir, home))
    }

    /// Returns the code of the piece at this offset.
    fn piece(&self, at: u32, file: &Arc<File>) -> Option<&'static Code> {
        let bytes = self.bytes.get(self.pieces + at as usize..)?;
        let (piece, _): (Piece<'_>, &[u8]) = postcard::take_from_bytes(bytes).ok()?;
        Decoder { symbols: &self.symbols, file }.piece(piece)
    }
}

/// Code of a file that an earlier process stored, and notes taken while the file is compiled, for
/// [`encode`].
#[derive(Default)]
pub(crate) struct Kept {
    stored: Option<Stored>,
    /// Relative paths by [`Value::identity`]: their start and end in the text.
    paths: Mutex<HashMap<u64, (u32, u32), FxBuildHasher>>,
    /// Set when the code holds the directory of the file, or the home, other than as a relative
    /// path.
    bound: AtomicBool,
    /// Bytes of text compiled in this process.
    compiled: AtomicUsize,
}

const LOCK: &str = "no thread panics while it notes a path";

impl Kept {
    pub(crate) fn new(stored: Option<Stored>) -> Kept {
        let bound = stored.as_ref().is_some_and(|stored| stored.bound.is_some());
        Kept { stored, bound: AtomicBool::new(bound), ..Kept::default() }
    }

    pub(super) fn bind(&self) {
        self.bound.store(true, Ordering::Relaxed);
    }

    fn is_bound(&self) -> bool {
        self.bound.load(Ordering::Relaxed)
    }

    pub(super) fn compiled(&self, bytes: usize) {
        self.compiled.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns true when enough of the text was compiled in this process to store it.
    pub(crate) fn has_grown(&self, text_bytes: usize) -> bool {
        self.compiled.load(Ordering::Relaxed) > text_bytes / GROWTH
    }

    fn note_path(&self, value: Value, start: u32, end: u32) {
        self.paths.lock().expect(LOCK).insert(value.identity(), (start, end));
    }

    /// Returns start and end of a relative path in the text.
    fn range_of_path(&self, value: Value) -> Option<(u32, u32)> {
        self.paths.lock().expect(LOCK).get(&value.identity()).copied()
    }

    /// Returns the code of the text itself, if an earlier process stored it.
    pub(crate) fn root(&self, file: &Arc<File>) -> Option<&'static Code> {
        let stored = self.stored.as_ref()?;
        stored.piece(stored.root, file)
    }

    /// Returns the code of a piece of it, likewise.
    pub(super) fn piece(&self, at: u32, file: &Arc<File>) -> Option<&'static Code> {
        self.stored.as_ref()?.piece(at, file)
    }
}

impl File {
    /// Notes that a value is that of a relative path in the text.
    pub(super) fn note_path(&self, value: Value, path: &[u8]) {
        let start = (path.as_ptr() as usize).wrapping_sub(self.source.text.as_ptr() as usize);
        if self.source.text.get(start..start.saturating_add(path.len())) == Some(path) {
            self.kept.note_path(value, start as u32, (start + path.len()) as u32);
        } else {
            self.kept.bind();
        }
    }
}
