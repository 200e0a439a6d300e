//! Hashes in every common form: hex, Nix base 32, base 64 and SRI.
//!
//! A [`Hash`] is an algorithm and a digest of that algorithm's length; it does not remember its
//! written form.

use crate::base32::{self, Base32Error};
use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use std::str::FromStr;
use std::{fmt, io};

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
    Blake3,
}

impl HashAlgorithm {
    /// All of them, in the order of messages.
    pub const ALL: [HashAlgorithm; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512, Self::Blake3];

    /// Returns the name used in SRI, in derivations and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }

    /// Returns the length of a digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Returns the hash of `bytes`.
    pub fn hash(self, bytes: &[u8]) -> Hash {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HashAlgorithm {
    type Err = HashError;

    fn from_str(name: &str) -> Result<Self, HashError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| HashError::UnknownAlgorithm { name: name.to_owned() })
    }
}

/// Reasons why a text is not a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The algorithm is not in [`HashAlgorithm::ALL`].
    #[error("unknown hash algorithm `{name}`; known are md5, sha1, sha256, sha512 and blake3")]
    UnknownAlgorithm { name: String },
    /// Neither the text nor the caller names the algorithm.
    #[error(
        "hash `{text}` does not say its algorithm; write it as `sha256-…` or `sha256:…`, or give the algorithm beside it"
    )]
    NoAlgorithm { text: String },
    /// The text names one algorithm, the caller another.
    #[error("hash `{text}` is of {found}, but {expected} is expected here")]
    WrongAlgorithm { text: String, found: HashAlgorithm, expected: HashAlgorithm },
    /// The length fits no form.
    #[error(
        "hash `{text}` has {length} digits; {algorithm} has {} in hex, {} in Nix base 32 or {} in base 64",
        algorithm.digest_len() * 2, base32::encoded_len(algorithm.digest_len()), algorithm.digest_len().div_ceil(3) * 4
    )]
    Length { text: String, length: usize, algorithm: HashAlgorithm },
    /// The length is that of hex, the text is not.
    #[error("hash `{text}` has the length of hex, but a character that is no hex digit")]
    Hex { text: String },
    /// The length is that of Nix base 32, the text is not.
    #[error("hash `{text}` has the length of Nix base 32, but {reason}")]
    Base32 { text: String, reason: Base32Error },
    /// The text should be base 64 and is not.
    #[error("hash `{text}` is not valid base 64")]
    Base64 { text: String },
}

/// A digest and its algorithm.
#[derive(Clone, Copy)]
pub struct Hash {
    algorithm: HashAlgorithm,
    bytes: [u8; 64],
}

impl Hash {
    /// Returns the hash with this digest, or `None` when its length is not the algorithm's.
    pub fn new(algorithm: HashAlgorithm, digest: &[u8]) -> Option<Self> {
        (digest.len() == algorithm.digest_len()).then(|| {
            let mut bytes = [0; 64];
            bytes[..digest.len()].copy_from_slice(digest);
            Self { algorithm, bytes }
        })
    }

    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    pub fn digest(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_len()]
    }

    /// Returns the digest in hex, without the algorithm.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(self.digest())
    }

    /// Returns the digest in Nix base 32, without the algorithm.
    pub fn base32(&self) -> String {
        base32::encode(self.digest())
    }

    /// Returns the digest in base 64, without the algorithm.
    pub fn base64(&self) -> String {
        BASE64.encode(self.digest())
    }

    /// Returns `sha256-…`, the form of Subresource Integrity.
    pub fn sri(&self) -> String {
        format!("{}-{}", self.algorithm, self.base64())
    }

    /// Folds the digest to `N` bytes with exclusive or, as Nix does for store paths.
    pub fn compress<const N: usize>(&self) -> [u8; N] {
        let mut folded = [0; N];
        for (i, byte) in self.digest().iter().enumerate() {
            folded[i % N] ^= byte;
        }
        folded
    }

    /// Parses any form: `algorithm-base64`, `algorithm:digits`, or bare digits when the algorithm
    /// is expected.
    ///
    /// # Errors
    /// When the algorithm is missing, unknown or not the expected one, or the digits are none of
    /// the three forms.
    pub fn parse(text: &str, expected: Option<HashAlgorithm>) -> Result<Self, HashError> {
        let check = |name: &str| -> Result<HashAlgorithm, HashError> {
            let found: HashAlgorithm = name.parse()?;
            match expected {
                Some(expected) if expected != found => {
                    Err(HashError::WrongAlgorithm { text: text.to_owned(), found, expected })
                }
                _ => Ok(found),
            }
        };
        if let Some((name, digits)) = text.split_once('-') {
            return Self::from_base64(text, check(name)?, digits);
        }
        let (algorithm, digits) = match text.split_once(':') {
            Some((name, digits)) => (check(name)?, digits),
            None => (expected.ok_or_else(|| HashError::NoAlgorithm { text: text.to_owned() })?, text),
        };
        let size = algorithm.digest_len();
        if digits.len() == size * 2 {
            let digest =
                HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| HashError::Hex { text: text.to_owned() })?;
            Ok(Self::new(algorithm, &digest).expect("two hex digits are one byte"))
        } else if digits.len() == base32::encoded_len(size) {
            let digest = base32::decode(digits.as_bytes())
                .map_err(|reason| HashError::Base32 { text: text.to_owned(), reason })?;
            Ok(Self::new(algorithm, &digest).expect("the length was checked"))
        } else if digits.len() == size.div_ceil(3) * 4 {
            Self::from_base64(text, algorithm, digits)
        } else {
            Err(HashError::Length { text: text.to_owned(), length: digits.chars().count(), algorithm })
        }
    }

    fn from_base64(text: &str, algorithm: HashAlgorithm, digits: &str) -> Result<Self, HashError> {
        let digest = BASE64_NOPAD
            .decode(digits.trim_end_matches('=').as_bytes())
            .map_err(|_| HashError::Base64 { text: text.to_owned() })?;
        Self::new(algorithm, &digest).ok_or_else(|| HashError::Length {
            text: text.to_owned(),
            length: digits.chars().count(),
            algorithm,
        })
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.digest() == other.digest()
    }
}

impl Eq for Hash {}

impl PartialOrd for Hash {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Hash {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.algorithm, self.digest()).cmp(&(other.algorithm, other.digest()))
    }
}

impl std::hash::Hash for Hash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.algorithm, self.digest()).hash(state);
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

/// Prints the SRI form.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sri())
    }
}

/// Hashes a stream of bytes.
#[derive(Clone)]
pub struct Hasher(HasherState);

#[derive(Clone)]
enum HasherState {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self(match algorithm {
            HashAlgorithm::Md5 => HasherState::Md5(Default::default()),
            HashAlgorithm::Sha1 => HasherState::Sha1(Default::default()),
            HashAlgorithm::Sha256 => HasherState::Sha256(Default::default()),
            HashAlgorithm::Sha512 => HasherState::Sha512(Default::default()),
            HashAlgorithm::Blake3 => HasherState::Blake3(Box::new(blake3::Hasher::new())),
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        use sha2::Digest;
        match &mut self.0 {
            HasherState::Md5(state) => state.update(bytes),
            HasherState::Sha1(state) => state.update(bytes),
            HasherState::Sha256(state) => state.update(bytes),
            HasherState::Sha512(state) => state.update(bytes),
            HasherState::Blake3(state) => {
                state.update(bytes);
            }
        }
    }

    pub fn finish(self) -> Hash {
        use sha2::Digest;
        let new =
            |algorithm, digest: &[u8]| Hash::new(algorithm, digest).expect("a hasher makes digests of its length");
        match self.0 {
            HasherState::Md5(state) => new(HashAlgorithm::Md5, &state.finalize()),
            HasherState::Sha1(state) => new(HashAlgorithm::Sha1, &state.finalize()),
            HasherState::Sha256(state) => new(HashAlgorithm::Sha256, &state.finalize()),
            HasherState::Sha512(state) => new(HashAlgorithm::Sha512, &state.finalize()),
            HasherState::Blake3(state) => new(HashAlgorithm::Blake3, state.finalize().as_bytes()),
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Option<HashAlgorithm>) -> String {
        match Hash::parse(text, expected) {
            Ok(hash) => hash.sri(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn digests_are_those_of_other_tools() {
        for (algorithm, hex) in [
            (HashAlgorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (HashAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (HashAlgorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (HashAlgorithm::Blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ] {
            assert_eq!(algorithm.hash(b"abc").hex(), hex);
        }
        assert!(HashAlgorithm::Sha512.hash(b"abc").hex().starts_with("ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn errors_name_the_defect() {
        use HashAlgorithm::*;
        assert_snapshot!(check("sha3-abc", None), @"error: unknown hash algorithm `sha3`; known are md5, sha1, sha256, sha512 and blake3");
        assert_snapshot!(check("abc", None), @"error: hash `abc` does not say its algorithm; write it as `sha256-…` or `sha256:…`, or give the algorithm beside it");
        assert_snapshot!(check("md5:abc", Some(Sha1)), @"error: hash `md5:abc` is of md5, but sha1 is expected here");
        assert_snapshot!(check("abc", Some(Sha256)), @"error: hash `abc` has 3 digits; sha256 has 64 in hex, 52 in Nix base 32 or 44 in base 64");
        assert_snapshot!(check("md5:00000000000000000000000000000zzz", None), @"error: hash `md5:00000000000000000000000000000zzz` has the length of hex, but a character that is no hex digit");
        assert_snapshot!(check("md5:0000000000000000000000000e", None), @"error: hash `md5:0000000000000000000000000e` has the length of Nix base 32, but `e` at position 25 is not a digit of Nix base 32 (0-9 and a-z without e, o, u, t)");
        assert_snapshot!(check("md5-????", None), @"error: hash `md5-????` is not valid base 64");
    }

    proptest! {
        #[test]
        fn every_form_parses_back(bytes: Vec<u8>, which in 0usize..5) {
            let algorithm = HashAlgorithm::ALL[which];
            let hash = algorithm.hash(&bytes);
            for digits in [hash.hex(), hash.base32(), hash.base64(), hash.hex().to_uppercase()] {
                prop_assert_eq!(Hash::parse(&digits, Some(algorithm)).unwrap(), hash);
                prop_assert_eq!(Hash::parse(&format!("{algorithm}:{digits}"), None).unwrap(), hash);
            }
            prop_assert_eq!(Hash::parse(&hash.sri(), None).unwrap(), hash);
        }

        #[test]
        fn parsing_never_panics(text: String) {
            for algorithm in HashAlgorithm::ALL {
                let _ = Hash::parse(&text, Some(algorithm));
            }
        }
    }
}
