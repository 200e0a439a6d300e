//! Packs trees on disk into Nix archives, and unpacks them.
//!
//! The format itself is [`model::nar`]. Neither direction trusts its input: no link is followed,
//! and a file that changes its size while it is read is an error.

use model::nar::{self, NarError, Sink, Writer};
use model::tree::DEPTH_MAX;
use os::dir::{Dir, FileKind, finish_file, kind};
use os::{SysError, mode};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Reasons why a tree cannot be archived or an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Nar(#[from] NarError),
    #[error("`{}` changed its size while it was archived", path.display())]
    Changed { path: PathBuf },
    #[error("`{}` is a {kind}; archives hold only regular files, directories and symbolic links", path.display())]
    SpecialFile { path: PathBuf, kind: &'static str },
    #[error(transparent)]
    Sys(#[from] SysError),
}

/// Writes the archive of the file, directory or link at `path`. A link is archived as such; none is
/// followed.
///
/// # Errors
/// When a file cannot be read, is neither file, directory nor link, or changes while it is read, or
/// when `out` fails.
pub fn write(path: &Path, out: &mut dyn Write) -> Result<(), ArchiveError> {
    write_kept::<ArchiveError>(path, out, None)
}

/// Does the same as [`write`], with only those entries for which `keep` returns `true`; their paths
/// are relative to `path`.
///
/// # Errors
/// The errors of [`write`] and of `keep`.
pub fn write_filtered<E: From<ArchiveError>>(
    path: &Path,
    out: &mut dyn Write,
    keep: &mut dyn FnMut(&Path, FileKind) -> Result<bool, E>,
) -> Result<(), E> {
    write_kept(path, out, Some(keep))
}

type Keep<'a, E> = Option<&'a mut dyn FnMut(&Path, FileKind) -> Result<bool, E>>;

fn write_kept<E: From<ArchiveError>>(path: &Path, out: &mut dyn Write, mut keep: Keep<'_, E>) -> Result<(), E> {
    let name = path.file_name().map(|name| name.as_bytes().to_vec());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut walk = Walk { writer: Writer::new(out).map_err(ArchiveError::from)? };
    match name {
        Some(name) => {
            let parent = Dir::open(parent).map_err(ArchiveError::from)?;
            walk.node(&parent, &name, Path::new(""), 0, &mut keep)
        }
        None => {
            let dir = Dir::open(path).map_err(ArchiveError::from)?;
            walk.directory(&dir, Path::new(""), 0, &mut keep)
        }
    }
}

/// Walks a tree on disk into an archive.
struct Walk<'a> {
    writer: Writer<'a>,
}

impl Walk<'_> {
    fn node<E: From<ArchiveError>>(
        &mut self,
        parent: &Dir,
        name: &[u8],
        relative: &Path,
        depth: usize,
        keep: &mut Keep<'_, E>,
    ) -> Result<(), E> {
        match kind(&parent.stat(name).map_err(ArchiveError::from)?) {
            FileKind::Directory => {
                let dir = parent.open_dir_as_is(name).map_err(ArchiveError::from)?;
                self.directory(&dir, relative, depth, keep)
            }
            FileKind::Symlink => {
                let target = parent.read_link(name).map_err(ArchiveError::from)?;
                Ok(self.writer.link(&target).map_err(ArchiveError::from)?)
            }
            FileKind::File => Ok(self.file(parent, name)?),
            FileKind::Other(kind) => Err(ArchiveError::SpecialFile { path: parent.join(name), kind }.into()),
        }
    }

    fn file(&mut self, parent: &Dir, name: &[u8]) -> Result<(), ArchiveError> {
        let path = parent.join(name);
        let mut file = parent.open_file(name)?;
        let stat = nix::sys::stat::fstat(&file).map_err(|errno| SysError::new("stat", &path, errno))?;
        if kind(&stat) != FileKind::File {
            return Err(ArchiveError::Changed { path });
        }
        match self.writer.file(mode::is_executable(stat.st_mode), stat.st_size as u64, &mut file) {
            Err(NarError::Size { .. }) => Err(ArchiveError::Changed { path }),
            Err(NarError::Contents { source }) => Err(SysError::io("read", &path, &source).into()),
            written => Ok(written?),
        }
    }

    fn directory<E: From<ArchiveError>>(
        &mut self,
        dir: &Dir,
        relative: &Path,
        depth: usize,
        keep: &mut Keep<'_, E>,
    ) -> Result<(), E> {
        if depth > DEPTH_MAX {
            let path = dir.path().display().to_string();
            return Err(ArchiveError::from(NarError::Depth { path }).into());
        }
        self.writer.enter().map_err(ArchiveError::from)?;
        for name in dir.names().map_err(ArchiveError::from)? {
            let relative = relative.join(OsStr::from_bytes(&name));
            if let Some(keep) = keep
                && !keep(&relative, kind(&dir.stat(&name).map_err(ArchiveError::from)?))?
            {
                continue;
            }
            self.writer.entry(&name).map_err(ArchiveError::from)?;
            self.node(dir, &name, &relative, depth + 1, keep)?;
            self.writer.end_entry().map_err(ArchiveError::from)?;
        }
        Ok(self.writer.leave().map_err(ArchiveError::from)?)
    }
}

/// Unpacks an archive to `path`, which must not exist. All entries get the store's permissions and
/// time.
///
/// # Errors
/// The errors of [`nar::read`]; the caller removes the partial tree.
pub fn unpack(input: impl Read, path: &Path) -> Result<(), ArchiveError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
    nar::read(input, &mut Unpacker { root: name, stack: vec![Dir::open(parent)?] })
}

struct Unpacker {
    root: Vec<u8>,
    stack: Vec<Dir>,
}

impl Unpacker {
    fn here(&self) -> &Dir {
        self.stack.last().expect("the parent stays open")
    }

    fn name<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        if name.is_empty() { &self.root } else { name }
    }
}

impl Sink for Unpacker {
    type Error = ArchiveError;

    fn enter(&mut self, name: &[u8]) -> Result<(), ArchiveError> {
        let dir = self.here().make_dir(self.name(name))?;
        self.stack.push(dir);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ArchiveError> {
        let dir = self.stack.pop().expect("a directory was entered");
        Ok(dir.finish(mode::OBJECT_DIRECTORY)?)
    }

    fn file(&mut self, name: &[u8], executable: bool, size: u64, contents: &mut dyn Read) -> Result<(), ArchiveError> {
        let name = self.name(name);
        let path = self.here().join(name);
        let mut file: File = self.here().create_file(name, mode::PRIVATE_FILE)?;
        let copied = io::copy(contents, &mut file).map_err(|error| SysError::io("write", &path, &error))?;
        if copied < size {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(NarError::Stream { action: "read", source }.into());
        }
        Ok(finish_file(&file, executable, &path)?)
    }

    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let name = self.name(name);
        self.here().make_link(name, target)?;
        Ok(self.here().touch(name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Takes an archive without keeping it.
    struct Ignored;

    impl Sink for Ignored {
        type Error = NarError;

        fn enter(&mut self, _: &[u8]) -> Result<(), NarError> {
            Ok(())
        }
        fn leave(&mut self) -> Result<(), NarError> {
            Ok(())
        }
        fn file(&mut self, _: &[u8], _: bool, _: u64, _: &mut dyn Read) -> Result<(), NarError> {
            Ok(())
        }
        fn link(&mut self, _: &[u8], _: &[u8]) -> Result<(), NarError> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn archives_unpack_to_the_same_tree(files in prop::collection::btree_map("[ab]{1,2}(/[cd]{1,2}){0,2}", (prop::collection::vec(any::<u8>(), 0..20), 0..3), 0..8)) {
            let temp = crate::tests::Temporary::new();
            let root = temp.path().join("root");
            std::fs::create_dir(&root).unwrap();
            let mut made = BTreeMap::new();
            for (path, (contents, kind)) in &files {
                let path = root.join(path);
                // A file of another case may have this name.
                if std::fs::create_dir_all(path.parent().unwrap()).is_err() || path.exists() { continue }
                match kind {
                    0 => std::fs::create_dir_all(&path).unwrap(),
                    1 => std::os::unix::fs::symlink("some/where", &path).unwrap(),
                    _ => std::fs::write(&path, contents).unwrap(),
                }
                made.insert(path, contents);
            }
            let mut first = Vec::new();
            write(&root, &mut first).unwrap();
            unpack(first.as_slice(), &temp.path().join("copy")).unwrap();
            let mut second = Vec::new();
            write(&temp.path().join("copy"), &mut second).unwrap();
            prop_assert_eq!(&first, &second);
            for end in 0..first.len() {
                prop_assert!(nar::read(&first[..end], &mut Ignored).is_err());
            }
        }
    }
}
