//! The stream of entries that a parser or a file system gives and a writer takes.

use crate::{Device, Stat, TreePath};
use std::io::Read;

/// One entry of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub path: &'a TreePath,
    /// Metadata; for a hard link that of the file that it is a name of.
    pub stat: &'a Stat,
    pub kind: EntryKind<'a>,
}

/// The object that an entry puts at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind<'a> {
    Directory,
    /// A regular file of `size` bytes.
    File {
        size: u64,
    },
    /// A symbolic link; the target is not resolved.
    Symlink {
        target: &'a [u8],
    },
    /// A further name of an earlier entry that is not a directory.
    HardLink {
        target: &'a TreePath,
    },
    CharacterDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}

/// A consumer of entries, such as the writer of an image.
///
/// A [`FileSystem`](crate::FileSystem) gives each path once, a directory before its entries, names
/// by their bytes, and a file before its hard links. A parser gives entries as the archive has
/// them: a path may come twice, and directories may be missing.
pub trait Sink {
    type Error;

    /// Takes one entry. `contents` gives the bytes of a regular file, exactly as many as the entry
    /// says or an error, and nothing for other kinds.
    ///
    /// # Errors
    /// When the sink cannot keep the entry; the stream ends then.
    fn entry(&mut self, entry: Entry<'_>, contents: &mut dyn Read) -> Result<(), Self::Error>;
}
