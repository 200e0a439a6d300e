//! Hashes every file below a directory, on all processors, and does nothing else: what `ev store verify` is measured by.
//!
//! `cargo run --release -p store --example hash -- DIRECTORY` prints how many files and bytes there were, and a digest over
//! all digests, so that none of the work can be left out.

use rayon::prelude::*;
use std::cell::RefCell;
use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::{Path, PathBuf};

const READ_BYTES: usize = 1 << 18;

fn files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn hash(path: &Path) -> Result<(blake3::Hash, u64)> {
    thread_local!(static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]));
    BUFFER.with_borrow_mut(|buffer| {
        let (mut file, mut hasher, mut size) = (File::open(path)?, blake3::Hasher::new(), 0);
        loop {
            match file.read(buffer)? {
                0 => return Ok((hasher.finalize(), size)),
                read => {
                    hasher.update(&buffer[..read]);
                    size += read as u64;
                }
            }
        }
    })
}

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).ok_or_else(|| Error::other("name a directory"))?;
    let mut found = Vec::new();
    files(Path::new(&directory), &mut found)?;
    let hashes: Vec<(blake3::Hash, u64)> = found.par_iter().map(|path| hash(path)).collect::<Result<_>>()?;
    let mut all = blake3::Hasher::new();
    let mut bytes = 0;
    for (hash, size) in &hashes {
        all.update(hash.as_bytes());
        bytes += size;
    }
    println!("{} files, {bytes} bytes: {}", hashes.len(), all.finalize());
    Ok(())
}
