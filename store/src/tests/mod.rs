//! Tests on real files, each with a store of its own.

mod basics;
mod collect;
mod concurrency;
pub mod crash;
pub(crate) mod fuzz;
mod migrations;
mod power;
mod private;
mod rebuild;
#[cfg(target_arch = "x86_64")]
mod stops;
mod swaps;

use crate::{ActionResult, BuildRecord, Durability, Imported, LocalStore, OpenOptions};
use model::{Digest, StorePath, StorePathName};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
pub use test_support::Temporary;

/// A store in a temporary directory, and space beside it.
pub struct TempStore {
    pub store: LocalStore,
    pub dir: Temporary,
}

impl std::ops::Deref for TempStore {
    type Target = LocalStore;

    fn deref(&self) -> &LocalStore {
        &self.store
    }
}

/// Steps of a registration by themselves.
impl LocalStore {
    pub fn record_action(&self, action: &Digest, result: &ActionResult) {
        self.database.write(|session| session.insert_action(action, &result.outputs, self.now())).unwrap();
    }

    pub fn record_build(&self, build: &BuildRecord) {
        self.database.write(|session| session.insert_build(build)).unwrap();
    }

    /// Adds a source of one file.
    pub fn add_file(&self, name: StorePathName, bytes: &[u8]) -> StorePath {
        let node = self.put_blob(bytes, false).unwrap();
        self.add_source_node(name, &Imported { node, bytes: bytes.len() as u64, files: 1 }).unwrap()
    }
}

pub fn open(root: &Path) -> LocalStore {
    LocalStore::open_with(root, OpenOptions { durability: Durability::Relaxed }).unwrap()
}

pub fn temp_store() -> TempStore {
    let dir = Temporary::new();
    TempStore { store: open(&dir.path().join("root")), dir }
}

pub fn name(text: &str) -> model::StorePathName {
    model::StorePathName::new(text).unwrap()
}

/// Makes files of a text: lines `path = content`, `path * content` (executable), `path -> target`,
/// `path/`.
pub fn make(root: &Path, text: &str) {
    std::fs::create_dir_all(root).unwrap();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (path, rest) = line.split_once(' ').unwrap_or((line, ""));
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = rest.get(2..).unwrap_or("").trim_start();
        if rest.starts_with("->") {
            std::os::unix::fs::symlink(content, path).unwrap();
        } else if line.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::write(&path, content).unwrap();
            let mode = if rest.starts_with('*') { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
}

/// Prints what is on disk below `root`, with permissions, in order of name.
pub fn show(root: &Path) -> String {
    fn visit(path: &Path, shown: &str, lines: &mut Vec<String>) {
        let meta = std::fs::symlink_metadata(path).unwrap();
        assert!(meta.mtime() == 1 || shown.is_empty(), "{}", path.display());
        if meta.is_symlink() {
            lines.push(format!("{shown} -> {}", std::fs::read_link(path).unwrap().display()));
        } else if meta.is_dir() {
            lines.push(format!("{shown}/ {:o}", meta.mode() & 0o7777));
            let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
            for name in names {
                visit(&path.join(&name), &format!("{shown}/{}", name.display()), lines);
            }
        } else {
            lines.push(format!("{shown} {:o} {}", meta.mode() & 0o7777, std::fs::read_to_string(path).unwrap()));
        }
    }
    let mut lines = Vec::new();
    visit(root, "", &mut lines);
    lines.join("\n")
}
