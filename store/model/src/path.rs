//! Store paths: `<hash>-<name>`, and how the hash is made.
//!
//! A [`StorePath`] is the name of a store object within *a* store directory; it is neither a path
//! of this machine nor bound to a [`StoreModel`]. The model determines the directory and the hash
//! of the fingerprints; the fingerprints themselves are those of Nix in both models ("Store path
//! specification" of the Nix manual).

use crate::base32;
use crate::hash::{Hash, HashAlgorithm};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a store object, in bytes.
pub const NAME_LEN_MAX: usize = 211;
/// The bytes of a hash part, and the digits of its text.
pub const HASH_LEN: usize = 20;
pub const HASH_TEXT_LEN: usize = 32;

/// Reasons why a text is not a store path, or a path cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the name of a store path is empty")]
    EmptyName,
    #[error("the name `{name}` is longer than the {NAME_LEN_MAX} characters a store path may have")]
    LongName { name: String },
    #[error("the name `{name}` holds {character:?}; the name of a store path is made of letters, digits and `+-._?=`")]
    Character { name: String, character: char },
    #[error("the name `{name}` must not be `.` or `..`, nor start with `.-` or `..-`")]
    Dots { name: String },
    #[error("`{path}` is not below the store directory `{store_dir}`")]
    OutsideStore { path: String, store_dir: &'static str },
    #[error("`{path}` is not a store path but something below one")]
    Below { path: String },
    #[error("`{path}` is not a store path: it does not start with 32 digits of Nix base 32 and a dash")]
    HashPart { path: String },
    #[error("the fixed output `{name}` may not have references: only recursive sha256 and text may")]
    References { name: String },
}

/// The name of a store object: 1 to 211 characters of letters, digits and `+-._?=`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorePathName(Arc<str>);

impl StorePathName {
    /// Checks `name` by Nix's rules.
    ///
    /// # Errors
    /// When it is empty, too long, has other characters, or reads as `.` or `..` up to its first
    /// dash.
    pub fn new(name: &str) -> Result<Self, PathError> {
        if name.is_empty() {
            return Err(PathError::EmptyName);
        }
        if name.len() > NAME_LEN_MAX {
            return Err(PathError::LongName { name: name.to_owned() });
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'?' | b'=');
        if let Some(at) = name.bytes().position(|byte| !good(byte)) {
            let character = name[at..].chars().next().expect("the bytes before are ASCII, so a character starts here");
            return Err(PathError::Character { name: name.to_owned(), character });
        }
        if name.starts_with('.') && matches!(name.split('-').next(), Some("." | "..")) {
            return Err(PathError::Dots { name: name.to_owned() });
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorePathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StorePathName {
    type Err = PathError;

    fn from_str(name: &str) -> Result<Self, PathError> {
        Self::new(name)
    }
}

/// The name of a store object in its store directory: a hash of 20 bytes and a name. The hash is
/// stored as its digits, since they are printed far more often than the bytes are needed.
///
/// Sorts as its text, which is the order of everything that reaches a hash.
#[derive(Clone, PartialEq, Eq)]
pub struct StorePath {
    digits: [u8; HASH_TEXT_LEN],
    name: StorePathName,
}

/// The hash part alone is distinct enough as the key of a table.
impl std::hash::Hash for StorePath {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.digits);
    }
}

impl StorePath {
    pub fn new(hash: [u8; HASH_LEN], name: StorePathName) -> Self {
        let mut digits = [0; HASH_TEXT_LEN];
        base32::encode_into(&hash, &mut digits);
        Self { digits, name }
    }

    /// Parses `<hash>-<name>`, without a store directory.
    ///
    /// # Errors
    /// When the hash part is not 32 digits of base 32, or the name is not a [`StorePathName`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let bad = || PathError::HashPart { path: text.to_owned() };
        let Some((digits, [b'-', ..])) = text.as_bytes().split_first_chunk::<HASH_TEXT_LEN>() else {
            return Err(bad());
        };
        // 32 digits are 160 bits: every text of digits is that of some 20 bytes.
        if !digits.iter().all(|&digit| base32::is_digit(digit)) {
            return Err(bad());
        }
        Ok(Self { digits: *digits, name: StorePathName::new(&text[HASH_TEXT_LEN + 1..])? })
    }

    pub fn hash(&self) -> [u8; HASH_LEN] {
        let hash = base32::decode(&self.digits).ok().and_then(|hash| hash.try_into().ok());
        hash.expect("the digits were checked, or made from a hash")
    }

    /// Returns the 32 digits that a reference scan searches for.
    pub fn hash_text(&self) -> String {
        self.digits_text().to_owned()
    }

    /// The digits of the hash part, as [`StorePath::hash_text`].
    pub(crate) fn digits(&self) -> &[u8; HASH_TEXT_LEN] {
        &self.digits
    }

    fn digits_text(&self) -> &str {
        str::from_utf8(&self.digits).expect("digits are ASCII")
    }

    pub fn name(&self) -> &StorePathName {
        &self.name
    }

    /// Returns true when this is the path of a derivation.
    pub fn is_derivation(&self) -> bool {
        self.name.as_str().ends_with(".drv")
    }
}

impl Ord for StorePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.digits.cmp(&other.digits).then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for StorePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prints `<hash>-<name>`.
impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits_text())?;
        f.write_str("-")?;
        f.write_str(self.name.as_str())
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for StorePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

/// Methods of hashing a fixed output or an added source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ingestion {
    /// The bytes of one regular file.
    Flat,
    /// The NAR of a file tree (`recursive`, `nar`).
    Recursive,
    /// The bytes of one file that may have references (`text`).
    Text,
}

impl Ingestion {
    /// Returns the text before the algorithm in a derivation's output: empty, `r:` or `text:`.
    pub const fn marker(self) -> &'static str {
        match self {
            Self::Flat => "",
            Self::Recursive => "r:",
            Self::Text => "text:",
        }
    }
}

/// Naming scheme of store objects: the hash of the fingerprints, and the store directory in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StoreModel {
    /// blake3 and `/eval/store`, for builds.
    #[default]
    Native,
    /// sha256 and `/nix/store`: prints the same paths as Nix.
    Nix,
}

impl StoreModel {
    pub const fn store_dir(self) -> &'static str {
        match self {
            Self::Native => "/eval/store",
            Self::Nix => "/nix/store",
        }
    }

    /// Returns the hash of fingerprints, of texts and of derivations.
    pub const fn algorithm(self) -> HashAlgorithm {
        match self {
            Self::Native => HashAlgorithm::Blake3,
            Self::Nix => HashAlgorithm::Sha256,
        }
    }

    /// Returns the logical path, such as `/eval/store/<hash>-<name>`.
    pub fn print(self, path: &StorePath) -> String {
        let mut text = Vec::with_capacity(self.store_dir().len() + 2 + HASH_TEXT_LEN + path.name.as_str().len());
        self.print_to(path, &mut text);
        ascii(text)
    }

    /// Appends the logical path.
    pub(crate) fn print_to(self, path: &StorePath, text: &mut Vec<u8>) {
        text.extend_from_slice(self.store_dir().as_bytes());
        text.push(b'/');
        text.extend_from_slice(&path.digits);
        text.push(b'-');
        text.extend_from_slice(path.name.as_str().as_bytes());
    }

    /// Parses a logical path that is an immediate child of the store directory.
    ///
    /// # Errors
    /// When it is elsewhere, deeper, or not a store path.
    pub fn parse(self, text: &str) -> Result<StorePath, PathError> {
        let (path, rest) = self.split(text)?;
        if rest.is_empty() { Ok(path) } else { Err(PathError::Below { path: text.to_owned() }) }
    }

    /// Splits a logical path into its store path and the rest (empty, or starting with a slash).
    ///
    /// # Errors
    /// When it is not in the store directory, or its first component is not a store path.
    pub fn split(self, text: &str) -> Result<(StorePath, &str), PathError> {
        let inside = text
            .strip_prefix(self.store_dir())
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| PathError::OutsideStore { path: text.to_owned(), store_dir: self.store_dir() })?;
        let end = inside.find('/').unwrap_or(inside.len());
        Ok((StorePath::parse(&inside[..end])?, &inside[end..]))
    }

    /// Returns the path of the object with this fingerprint:
    /// `<kind>:<algorithm>:<hex>:<store dir>:<name>`.
    pub fn make_path(self, kind: &str, hash: &Hash, name: StorePathName) -> StorePath {
        let hex = hash.hex();
        let parts = [kind, ":", hash.algorithm().name(), ":", &hex, ":", self.store_dir(), ":", name.as_str()];
        let fingerprint = parts.concat();
        StorePath::new(self.algorithm().hash(fingerprint.as_bytes()).compress(), name)
    }

    /// Returns the path of output `output` of a derivation called `name`, whose hash modulo its
    /// inputs is `hash`.
    ///
    /// # Errors
    /// When `<name>-<output>` is not a valid name.
    pub fn make_output_path(self, output: &str, hash: &Hash, name: &str) -> Result<StorePath, PathError> {
        Ok(self.make_path(&format!("output:{output}"), hash, output_path_name(name, output)?))
    }

    /// Returns the path of an object named by its contents: `hash` is that of its bytes or of its
    /// NAR, according to `ingestion`.
    ///
    /// # Errors
    /// When references are given and the object may not have any (only recursive sha256 and text
    /// may).
    pub fn make_fixed_output_path(
        self,
        ingestion: Ingestion,
        hash: &Hash,
        name: StorePathName,
        references: &References,
    ) -> Result<StorePath, PathError> {
        match (ingestion, hash.algorithm()) {
            (Ingestion::Text, _) => return self.make_text_path_of(hash, name, references),
            (Ingestion::Recursive, HashAlgorithm::Sha256) => {
                return Ok(self.make_path(&self.kind("source", &references.others, references.itself), hash, name));
            }
            _ => {}
        }
        if references.itself || !references.others.is_empty() {
            return Err(PathError::References { name: name.to_string() });
        }
        let inner = format!("fixed:out:{}{}:{}:", ingestion.marker(), hash.algorithm(), hash.hex());
        Ok(self.make_path("output:out", &self.algorithm().hash(inner.as_bytes()), name))
    }

    /// Returns the path of a source tree. In the native model `hash` is the blake3 fingerprint of
    /// its root node; in Nix's it is the sha256 of its NAR.
    pub fn make_source_path(self, hash: &Hash, name: StorePathName, references: &References) -> StorePath {
        self.make_path(&self.kind("source", &references.others, references.itself), hash, name)
    }

    /// Returns the path of a text (such as a `.drv`) with its references, in order.
    pub fn make_text_path<'a>(
        self,
        name: StorePathName,
        text: &[u8],
        references: impl IntoIterator<Item = &'a StorePath>,
    ) -> StorePath {
        self.make_path(&self.kind("text", references, false), &self.algorithm().hash(text), name)
    }

    fn make_text_path_of(
        self,
        hash: &Hash,
        name: StorePathName,
        references: &References,
    ) -> Result<StorePath, PathError> {
        if references.itself {
            return Err(PathError::References { name: name.to_string() });
        }
        Ok(self.make_path(&self.kind("text", &references.others, references.itself), hash, name))
    }

    fn kind<'a>(self, base: &str, others: impl IntoIterator<Item = &'a StorePath>, itself: bool) -> String {
        let others = others.into_iter();
        let mut kind = Vec::with_capacity(base.len() + 5 + 96 * others.size_hint().0);
        kind.extend_from_slice(base.as_bytes());
        for path in others {
            kind.push(b':');
            self.print_to(path, &mut kind);
        }
        if itself {
            kind.extend_from_slice(b":self");
        }
        ascii(kind)
    }
}

fn ascii(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("store directories, digits and names are ASCII")
}

/// The references that are part of a content-addressed name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub others: BTreeSet<StorePath>,
    pub itself: bool,
}

/// Returns the name of output `output` of derivation `name`: the bare name for `out`.
///
/// # Errors
/// When the result is not a valid name.
pub fn output_path_name(name: &str, output: &str) -> Result<StorePathName, PathError> {
    if output == "out" { StorePathName::new(name) } else { StorePathName::new(&format!("{name}-{output}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str) -> String {
        match StoreModel::Nix.parse(text) {
            Ok(path) => path.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn store_paths_parse() {
        assert_snapshot!(check("/nix/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-hello-2.12"), @"vw46m23bizj4n8afrc0fj19wrp7mj3c0-hello-2.12");
        assert_snapshot!(check("/nix/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-a/bin"), @"error: `/nix/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-a/bin` is not a store path but something below one");
        assert_snapshot!(check("/eval/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-a"), @"error: `/eval/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-a` is not below the store directory `/nix/store`");
        assert_snapshot!(check("/nix/store/ew46m23bizj4n8afrc0fj19wrp7mj3c0-a"), @"error: `ew46m23bizj4n8afrc0fj19wrp7mj3c0-a` is not a store path: it does not start with 32 digits of Nix base 32 and a dash");
        assert_snapshot!(check("/nix/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-"), @"error: the name of a store path is empty");
        assert_snapshot!(check("/nix/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-a b"), @"error: the name `a b` holds ' '; the name of a store path is made of letters, digits and `+-._?=`");
        assert_snapshot!(check("/nix/store/vw46m23bizj4n8afrc0fj19wrp7mj3c0-..-b"), @"error: the name `..-b` must not be `.` or `..`, nor start with `.-` or `..-`");
        assert!(StorePathName::new(&"a".repeat(211)).is_ok());
        assert!(matches!(StorePathName::new(&"a".repeat(212)), Err(PathError::LongName { .. })));
        assert!(StorePathName::new(".gitignore").is_ok());
    }

    proptest! {
        #[test]
        fn round_trip_and_order(a: [u8; 20], b: [u8; 20], name in "[a-z+_?=][-a-zA-Z0-9+._?=]{0,40}") {
            let path = |hash| StorePath::new(hash, StorePathName::new(&name).unwrap());
            let (a, b) = (path(a), path(b));
            prop_assert_eq!(&StorePath::parse(&a.to_string()).unwrap(), &a);
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn parsing_never_panics(text: String) {
            let _ = StorePath::parse(&text);
            let _ = StoreModel::Nix.parse(&format!("/nix/store/{text}"));
        }
    }
}
