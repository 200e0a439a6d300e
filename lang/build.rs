//! Gives the crate a fingerprint of its own source: compiled code in the cache is valid for one
//! source only (`compile/stored.rs`).

#![allow(clippy::disallowed_methods, reason = "a build script reads the source")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let mut files = Vec::new();
    gather(Path::new("src"), &mut files);
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        std::fs::read(&file).expect("a source file can be read").hash(&mut hasher);
    }
    println!("cargo::rustc-env=LANG_SOURCE_HASH={:016x}", hasher.finish());
}

fn gather(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the source directory can be read") {
        let path = entry.expect("the source directory can be read").path();
        if path.is_dir() {
            gather(&path, files);
        } else {
            files.push(path);
        }
    }
}
