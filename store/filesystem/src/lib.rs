//! File systems with metadata: images are made from them, and archives give them.
//!
//! A [`model::Node`] knows files, an executable bit, directories and symbolic links, so that equal
//! contents have equal digests and a build is cut off by content. Owners, permissions, times,
//! extended attributes, devices and hard links are not part of it; a [`Manifest`] keeps them beside
//! the tree, as a small text.
//!
//! ```text
//! Node + Manifest ──from_tree──▶ FileSystem ──send──▶ Sink: tar writer, other image writers
//!                 ◀──to_tree───      ▲
//! archive ──parser──▶ Sink: TreeBuilder, or a directory on a disk
//! ```
//!
//! Invariants: an image writer takes a [`FileSystem`] or a stream of [`Entry`], never a path of the
//! host, so no image depends on the user, the umask or the clock of the machine. Entries leave a
//! [`FileSystem`] in one order: a directory before its entries, names by their bytes. Nothing here
//! reads or writes a file.

mod path;
mod stat;

mod entry;
mod tree;

mod build;
mod manifest;
mod nodes;

mod tar_writer;

#[cfg(test)]
mod tests;

pub use build::{TreeBuildError, TreeBuilder};
pub use entry::{Entry, EntryKind, Sink};
pub use manifest::{Attributes, LineError, Manifest, ManifestError, Special};
pub use nodes::NodesError;
pub use path::{PathError, TreePath, printable};
pub use stat::{Defaults, Device, Stat, StatError, Time};
pub use tar_writer::{TarError, TarOptions, TarWriter, write_tar};
pub use tree::{BlobContents, Child, Content, Contents, Directory, FileSystem, Found, Inode, SendError, Visit};
