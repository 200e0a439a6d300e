//! Tests of whole file systems: conversions to trees and back, manifests, and tar streams.

mod build;
mod manifest;
mod nodes;
mod random;
mod tar_writer;

use crate::{Child, Content, Defaults, Device, Directory, FileSystem, Inode, Stat, Time, TreePath};
use model::Digest;
use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::sync::Arc;

const DEFAULTS: Defaults = Defaults::writable(Time::of_seconds(1_000_000_000));

fn path(text: &str) -> TreePath {
    if text == "/" { TreePath::ROOT } else { TreePath::parse(text.trim_start_matches('/').as_bytes()).unwrap() }
}

fn inode(mode: u32, content: Content<Digest>) -> Inode<Digest> {
    Inode { stat: DEFAULTS.stat(mode), content }
}

/// A file system, and the contents of its files by digest.
struct Example {
    file_system: FileSystem<Digest>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Example {
    fn new() -> Self {
        Self { file_system: FileSystem::new(DEFAULTS.stat(0o755)), blobs: BTreeMap::new() }
    }

    fn file(&mut self, mode: u32, bytes: &[u8]) -> Inode<Digest> {
        let blob = Digest::of(bytes);
        self.blobs.insert(blob, bytes.to_owned());
        inode(mode, Content::File { size: bytes.len() as u64, blob })
    }

    fn insert(&mut self, at: &str, child: Child<Digest>) {
        let at = path(at);
        let mut parent = at.clone();
        parent.pop();
        self.file_system.directory_mut(&parent).unwrap().entries.insert(at.name().to_owned(), child);
    }

    fn add(&mut self, at: &str, inode: Inode<Digest>) {
        self.insert(at, Child::Inode(Arc::new(inode)));
    }

    fn add_directory(&mut self, at: &str) {
        self.insert(at, Child::Directory(Directory::new(DEFAULTS.stat(0o755))));
    }

    /// Contents as `write_tar` and `send` take them.
    fn contents(&self) -> impl Fn(&Digest) -> io::Result<Cursor<Vec<u8>>> + use<'_> {
        |blob| self.blobs.get(blob).cloned().map(Cursor::new).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// One of each kind, with all sorts of metadata.
fn example() -> Example {
    let mut example = Example::new();
    for directory in ["dev", "etc", "usr", "usr/bin", "usr/bin.d"] {
        example.add_directory(directory);
    }
    example.file_system.directory_mut(&path("etc")).unwrap().stat.mode = 0o1777;
    example.add("dev/null", inode(0o666, Content::CharacterDevice(Device { major: 1, minor: 3 })));
    example.add("dev/sda", inode(0o660, Content::BlockDevice(Device { major: 8, minor: 0 })));
    example.add("dev/initctl", inode(0o600, Content::Fifo));
    let mut shadow = example.file(0o640, b"root::1::::::\n");
    (shadow.stat.gid, shadow.stat.mtime) = (42, Time { seconds: -2, nanoseconds: 500_000_000 });
    example.add("etc/shadow", shadow);
    let mut ping = example.file(0o4755, b"program");
    ping.stat.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02\n\n=".to_vec());
    ping.stat.xattrs.insert(b"user.note".to_vec(), b"text".to_vec());
    (ping.stat.uid, ping.stat.gid) = (4_000_000_000, 3_000_000);
    let ping = Arc::new(ping);
    example.insert("usr/bin/ping", Child::Inode(ping.clone()));
    example.insert("usr/bin.d/again", Child::Inode(ping));
    example.add("usr/bin/sh", inode(0o777, Content::Symlink { target: b"bash".to_vec() }));
    example
}

fn stat(mode: u32) -> Stat {
    DEFAULTS.stat(mode)
}
