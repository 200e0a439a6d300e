//! Random mutations of bytes, for tests of parsers: bits flipped, parts cut out, doubled, copied
//! from another input.
//!
//! Rounds are numbered, and a number always gives the same bytes. A test runs a fixed number of
//! rounds, from 1; with `FUZZ_SECS` it runs for that long, from `FUZZ_SEED` on, and the current
//! input is stored in the directory for temporary files as `fuzz-NAME`, in case the process dies of
//! it.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        // Mixes the seed, since seeds are small numbers.
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03);
        random.next_u64();
        random
    }

    pub fn next_u64(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    /// Returns two positions in order, usually close to each other.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let start = self.below(len + 1);
        let most = if self.one_in(4) { len - start } else { (len - start).min(16) };
        (start, start + self.below(most + 1))
    }
}

/// The rounds of a test.
pub struct Rounds {
    name: &'static str,
    next: u64,
    end: u64,
    until: Option<Instant>,
}

impl Rounds {
    pub fn new(name: &'static str, count: u64) -> Rounds {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        let first = number("FUZZ_SEED").unwrap_or(1);
        match number("FUZZ_SECS") {
            Some(secs) => {
                let until = Some(Instant::now() + Duration::from_secs(secs));
                Rounds { name, next: first, end: u64::MAX, until }
            }
            None => Rounds { name, next: first, end: first + count, until: None },
        }
    }

    /// Shows the input if the test panics or dies on it.
    pub fn watch<'i>(&self, input: &'i [u8]) -> Watched<'i> {
        if self.until.is_some() {
            std::fs::write(self.file(), input).expect("the directory for temporary files can be written to");
        }
        Watched { name: self.name, round: self.next - 1, input }
    }

    fn file(&self) -> PathBuf {
        std::env::temp_dir().join(format!("fuzz-{}", self.name))
    }
}

impl Iterator for Rounds {
    type Item = Random;

    fn next(&mut self) -> Option<Random> {
        if self.next == self.end || self.until.is_some_and(|until| Instant::now() > until) {
            if self.until.is_some() {
                println!("{}: up to round {}", self.name, self.next);
                let _ = std::fs::remove_file(self.file());
            }
            return None;
        }
        self.next += 1;
        Some(Random::new(self.next - 1))
    }
}

pub struct Watched<'i> {
    name: &'static str,
    round: u64,
    input: &'i [u8],
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, round {}, on these bytes: \"{}\"", self.name, self.round, self.input.escape_ascii());
        }
    }
}

/// Likely bounds of lengths and counts.
const NUMBERS: [u64; 12] =
    [0, 1, 7, 8, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX - 7, u64::MAX];

/// Returns `seed` with a few changes; inserted parts are from `other`, or one of `words`, the
/// keywords of the format.
pub fn mutate(seed: &[u8], other: &[u8], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(5) {
        let (start, end) = random.range(bytes.len());
        let (from, to) = random.range(other.len());
        match random.below(11) {
            0 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            1 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] = random.next_u64() as u8;
            }
            2 => bytes.truncate(start),
            3 => drop(bytes.drain(start..end)),
            4 => {
                let copy = bytes[start..end].to_vec();
                let at = random.below(bytes.len() + 1);
                bytes.splice(at..at, copy);
            }
            5 => drop(bytes.splice(start..end, other[from..to].iter().copied())),
            6 | 7 if !words.is_empty() => {
                let word = words[random.below(words.len())];
                let end = if random.one_in(2) { start } else { end };
                bytes.splice(start..end, word.iter().copied());
            }
            8 => {
                // A number over as many bytes, in either byte order.
                let number = NUMBERS[random.below(NUMBERS.len())];
                let width = [1, 2, 4, 8][random.below(4)];
                let number = if random.one_in(2) { number.to_le_bytes() } else { number.to_be_bytes() };
                let number = if random.one_in(2) { &number[..width] } else { &number[8 - width..] };
                let end = (start + width).min(bytes.len());
                bytes.splice(start..end, number.iter().copied());
            }
            9 => {
                // One part, repeated.
                let times = 1 << random.below(9);
                let copy = bytes[start..end].repeat(times);
                bytes.splice(start..start, copy);
            }
            _ => {
                let digits = random.below(40);
                let number = random.below(1 << digits).to_string();
                bytes.splice(start..end, number.bytes());
            }
        }
        bytes.truncate(1 << 20);
    }
    bytes
}
