//! The Nix archive format: a file tree as bytes, in the one form that its contents allow.
//!
//! Keeps names, contents, executable bits and link targets; nothing else. Writing streams from disk, reading streams to
//! a [`Sink`], and neither trusts its input: the reader refuses names that are not sorted, not unique or not names,
//! padding that is not zero, lengths beyond their bounds and nesting beyond [`DEPTH_MAX`], before anything is made of them.

use crate::error::SysError;
use crate::sys::{Dir, Kind, finish_file, kind};
use crate::tree::{DEPTH_MAX, Digest, Directories, Node, TreeError, is_entry_name};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"nix-archive-1";
/// The longest name and the longest link target, as Linux has them.
const NAME_LEN_MAX: u64 = 255;
const TARGET_LEN_MAX: u64 = 4095;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    #[error("the archive is not valid at byte {offset}: expected {expected}")]
    Syntax { offset: u64, expected: &'static str },
    #[error("the archive is not valid at byte {offset}: `{}` cannot be the name of an entry", name.escape_ascii())]
    Name { offset: u64, name: Vec<u8> },
    #[error("the archive is not valid at byte {offset}: the entry `{}` does not come after the one before", name.escape_ascii())]
    Order { offset: u64, name: Vec<u8> },
    #[error("the archive is not valid at byte {offset}: a length of {length} bytes, where at most {max} are possible")]
    Length { offset: u64, length: u64, max: u64 },
    #[error("a tree may have at most {DEPTH_MAX} nested directories; `{path}` has more")]
    Depth { path: String },
    #[error("the archive ends at byte {offset}, in the middle")]
    Truncated { offset: u64 },
    #[error("cannot {action} the archive")]
    Stream { action: &'static str, source: io::Error },
    #[error("`{}` changed its size while it was archived", path.display())]
    Changed { path: PathBuf },
    #[error("`{}` is a {kind}; archives hold only regular files, directories and symbolic links", path.display())]
    SpecialFile { path: PathBuf, kind: &'static str },
    #[error(transparent)]
    Sys(#[from] SysError),
}

fn write_error(source: io::Error) -> NarError {
    NarError::Stream { action: "write", source }
}

/// Writes the archive of the file, directory or link at `path`. A link is archived as such; none is followed.
///
/// # Errors
/// When something cannot be read, is neither file, directory nor link, or changes meanwhile, or `out` fails.
pub fn write(path: &Path, out: &mut dyn Write) -> Result<(), NarError> {
    write_kept::<NarError>(path, out, None)
}

/// As [`write`], with only those entries that `keep` returns `true` for; it is asked with paths relative to `path`.
///
/// # Errors
/// As [`write`], or what `keep` fails with.
pub fn write_filtered<E: From<NarError>>(
    path: &Path,
    out: &mut dyn Write,
    keep: &mut dyn FnMut(&Path, Kind) -> Result<bool, E>,
) -> Result<(), E> {
    write_kept(path, out, Some(keep))
}

type Keep<'a, E> = Option<&'a mut dyn FnMut(&Path, Kind) -> Result<bool, E>>;

fn write_kept<E: From<NarError>>(path: &Path, out: &mut dyn Write, mut keep: Keep<'_, E>) -> Result<(), E> {
    let name = path.file_name().map(|name| name.as_bytes().to_vec());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut writer = NarWriter { out, buffer: vec![0; 1 << 16] };
    writer.strings(&[MAGIC])?;
    match name {
        Some(name) => {
            let parent = Dir::open(parent).map_err(NarError::from)?;
            writer.node(&parent, &name, Path::new(""), 0, &mut keep)
        }
        None => {
            let dir = Dir::open(path).map_err(NarError::from)?;
            writer.directory(&dir, Path::new(""), 0, &mut keep)
        }
    }
}

/// Writes the archive of a file with this text, which is on no disk.
///
/// # Errors
/// When `out` fails.
pub fn write_text(text: &[u8], out: &mut dyn Write) -> Result<(), NarError> {
    let mut writer = NarWriter { out, buffer: Vec::new() };
    writer.strings(&[MAGIC, b"(", b"type", b"regular", b"contents", text, b")"])
}

/// Writes the archive of a tree that is not on disk; `open` gives the contents of a file by its digest.
///
/// # Errors
/// When a directory or file cannot be read, a file has another size than its node says, or `out` fails.
pub fn write_node<E>(
    directories: &dyn Directories,
    node: &Node,
    open: &mut dyn FnMut(&Digest) -> Result<File, E>,
    out: &mut dyn Write,
) -> Result<(), E>
where
    E: From<NarError> + From<TreeError>,
{
    let mut writer = NarWriter { out, buffer: vec![0; 1 << 16] };
    writer.strings(&[MAGIC])?;
    writer.tree_node(directories, node, open, 0)
}

struct NarWriter<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl NarWriter<'_> {
    fn strings(&mut self, strings: &[&[u8]]) -> Result<(), NarError> {
        let mut bytes = Vec::with_capacity(strings.len() * 24);
        for string in strings {
            bytes.extend_from_slice(&(string.len() as u64).to_le_bytes());
            bytes.extend_from_slice(string);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        self.out.write_all(&bytes).map_err(write_error)
    }

    fn node<E: From<NarError>>(
        &mut self,
        parent: &Dir,
        name: &[u8],
        relative: &Path,
        depth: usize,
        keep: &mut Keep<'_, E>,
    ) -> Result<(), E> {
        match kind(&parent.stat(name).map_err(NarError::from)?) {
            Kind::Directory => {
                let dir = parent.open_dir_as_is(name).map_err(NarError::from)?;
                self.directory(&dir, relative, depth, keep)
            }
            Kind::Symlink => {
                let target = parent.read_link(name).map_err(NarError::from)?;
                Ok(self.strings(&[b"(", b"type", b"symlink", b"target", &target, b")"])?)
            }
            Kind::File => Ok(self.file(parent, name)?),
            Kind::Other(kind) => Err(NarError::SpecialFile { path: parent.join(name), kind }.into()),
        }
    }

    fn file(&mut self, parent: &Dir, name: &[u8]) -> Result<(), NarError> {
        let path = parent.join(name);
        let mut file = parent.open_file(name)?;
        let stat = nix::sys::stat::fstat(&file).map_err(|errno| SysError::new("stat", &path, errno))?;
        if kind(&stat) != Kind::File {
            return Err(NarError::Changed { path });
        }
        self.contents(&mut file, stat.st_mode & 0o100 != 0, stat.st_size as u64, &path)
    }

    fn contents(&mut self, file: &mut File, executable: bool, size: u64, path: &Path) -> Result<(), NarError> {
        self.strings(&[b"(", b"type", b"regular"])?;
        if executable {
            self.strings(&[b"executable", b""])?;
        }
        self.strings(&[b"contents"])?;
        self.out.write_all(&size.to_le_bytes()).map_err(write_error)?;
        let mut left = size;
        loop {
            let read = match file.read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(SysError::io("read", path, &error).into()),
            };
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or_else(|| NarError::Changed { path: path.to_owned() })?;
            self.out.write_all(&self.buffer[..read]).map_err(write_error)?;
        }
        if left != 0 {
            return Err(NarError::Changed { path: path.to_owned() });
        }
        self.out.write_all(&[0; 8][..padding(size)]).map_err(write_error)?;
        self.strings(&[b")"])
    }

    fn tree_node<E: From<NarError> + From<TreeError>>(
        &mut self,
        directories: &dyn Directories,
        node: &Node,
        open: &mut dyn FnMut(&Digest) -> Result<File, E>,
        depth: usize,
    ) -> Result<(), E> {
        match node {
            Node::File { digest, executable, size } => {
                Ok(self.contents(&mut open(digest)?, *executable, *size, Path::new(&digest.hex()))?)
            }
            Node::Symlink { target } => Ok(self.strings(&[b"(", b"type", b"symlink", b"target", target, b")"])?),
            Node::Directory { digest, .. } => {
                if depth > DEPTH_MAX {
                    return Err(NarError::Depth { path: digest.hex() }.into());
                }
                self.strings(&[b"(", b"type", b"directory"])?;
                for (name, node) in directories.load(digest)?.iter() {
                    self.strings(&[b"entry", b"(", b"name", name, b"node"])?;
                    self.tree_node(directories, node, open, depth + 1)?;
                    self.strings(&[b")"])?;
                }
                Ok(self.strings(&[b")"])?)
            }
        }
    }

    fn directory<E: From<NarError>>(
        &mut self,
        dir: &Dir,
        relative: &Path,
        depth: usize,
        keep: &mut Keep<'_, E>,
    ) -> Result<(), E> {
        if depth > DEPTH_MAX {
            return Err(NarError::Depth { path: dir.path().display().to_string() }.into());
        }
        self.strings(&[b"(", b"type", b"directory"])?;
        for name in dir.names().map_err(NarError::from)? {
            let relative = relative.join(OsStr::from_bytes(&name));
            if let Some(keep) = keep
                && !keep(&relative, kind(&dir.stat(&name).map_err(NarError::from)?))?
            {
                continue;
            }
            self.strings(&[b"entry", b"(", b"name", &name, b"node"])?;
            self.node(dir, &name, &relative, depth + 1, keep)?;
            self.strings(&[b")"])?;
        }
        Ok(self.strings(&[b")"])?)
    }
}

fn padding(size: u64) -> usize {
    (size.wrapping_neg() % 8) as usize
}

/// What an archive is read into. Names are empty for the root, and else have been checked.
pub trait Sink {
    /// Enters the directory `name`; what follows is in it, until [`Sink::leave`].
    ///
    /// # Errors
    /// What goes wrong ends the reading.
    fn enter(&mut self, name: &[u8]) -> Result<(), NarError>;
    /// Leaves the directory entered last.
    ///
    /// # Errors
    /// What goes wrong ends the reading.
    fn leave(&mut self) -> Result<(), NarError>;
    /// Takes a file of `size` bytes; what is not read of `contents` is skipped.
    ///
    /// # Errors
    /// What goes wrong ends the reading.
    fn file(&mut self, name: &[u8], executable: bool, size: u64, contents: &mut dyn Read) -> Result<(), NarError>;
    /// Takes a link.
    ///
    /// # Errors
    /// What goes wrong ends the reading.
    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), NarError>;
}

/// Reads one archive from `input` into `sink`; nothing after its end is read.
///
/// # Errors
/// When the archive is not in the one valid form, or `sink` fails. What came before has reached the sink by then.
pub fn read(input: impl Read, sink: &mut dyn Sink) -> Result<(), NarError> {
    let mut reader = NarReader { input, offset: 0 };
    reader.expect(MAGIC, "`nix-archive-1`")?;
    reader.node(sink, b"", 0)
}

struct NarReader<R> {
    input: R,
    offset: u64,
}

impl<R: Read> NarReader<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), NarError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(NarError::Truncated { offset: self.offset })
            }
            Err(source) => Err(NarError::Stream { action: "read", source }),
        }
    }

    fn number(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn string(&mut self, max: u64) -> Result<Vec<u8>, NarError> {
        let offset = self.offset;
        let length = self.number()?;
        if length > max {
            return Err(NarError::Length { offset, length, max });
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        self.skip_padding(length)?;
        Ok(bytes)
    }

    fn skip_padding(&mut self, length: u64) -> Result<(), NarError> {
        let offset = self.offset;
        let mut zeros = [0; 8];
        let zeros = &mut zeros[..padding(length)];
        self.fill(zeros)?;
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(NarError::Syntax { offset, expected: "padding of zeros" });
        }
        Ok(())
    }

    fn expect(&mut self, what: &[u8], expected: &'static str) -> Result<(), NarError> {
        let offset = self.offset;
        // The longest word there is bounds what is read of something else.
        match self.string(16) {
            Ok(found) if found == what => Ok(()),
            Ok(_) | Err(NarError::Length { .. }) => Err(NarError::Syntax { offset, expected }),
            Err(error) => Err(error),
        }
    }

    fn node(&mut self, sink: &mut dyn Sink, name: &[u8], depth: usize) -> Result<(), NarError> {
        if depth > DEPTH_MAX {
            return Err(NarError::Depth { path: String::from_utf8_lossy(name).into_owned() });
        }
        self.expect(b"(", "`(`")?;
        self.expect(b"type", "`type`")?;
        let offset = self.offset;
        match self.string(16)?.as_slice() {
            b"regular" => {
                let offset = self.offset;
                let executable = match self.string(16)?.as_slice() {
                    b"contents" => false,
                    b"executable" => {
                        self.expect(b"", "an empty string")?;
                        self.expect(b"contents", "`contents`")?;
                        true
                    }
                    _ => return Err(NarError::Syntax { offset, expected: "`contents` or `executable`" }),
                };
                let offset = self.offset;
                let size = self.number()?;
                if size > i64::MAX as u64 {
                    return Err(NarError::Length { offset, length: size, max: i64::MAX as u64 });
                }
                let mut contents = (&mut self.input).take(size);
                sink.file(name, executable, size, &mut contents)?;
                let rest = contents.limit();
                let skipped = io::copy(&mut contents, &mut io::sink())
                    .map_err(|source| NarError::Stream { action: "read", source })?;
                self.offset += size - rest + skipped;
                if skipped < rest {
                    return Err(NarError::Truncated { offset: self.offset });
                }
                self.skip_padding(size)?;
                self.expect(b")", "`)`")
            }
            b"symlink" => {
                self.expect(b"target", "`target`")?;
                let offset = self.offset;
                let target = self.string(TARGET_LEN_MAX)?;
                if target.is_empty() || target.contains(&0) {
                    return Err(NarError::Syntax {
                        offset,
                        expected: "a link target that is not empty and without NUL",
                    });
                }
                sink.link(name, &target)?;
                self.expect(b")", "`)`")
            }
            b"directory" => {
                sink.enter(name)?;
                self.entries(sink, depth)?;
                sink.leave()
            }
            _ => Err(NarError::Syntax { offset, expected: "`regular`, `symlink` or `directory`" }),
        }
    }

    fn entries(&mut self, sink: &mut dyn Sink, depth: usize) -> Result<(), NarError> {
        let mut last: Vec<u8> = Vec::new();
        loop {
            let offset = self.offset;
            match self.string(16)?.as_slice() {
                b")" => return Ok(()),
                b"entry" => {}
                _ => return Err(NarError::Syntax { offset, expected: "`entry` or `)`" }),
            }
            self.expect(b"(", "`(`")?;
            self.expect(b"name", "`name`")?;
            let offset = self.offset;
            let name = self.string(NAME_LEN_MAX)?;
            if !is_entry_name(&name) {
                return Err(NarError::Name { offset, name });
            }
            if name <= last {
                return Err(NarError::Order { offset, name });
            }
            self.expect(b"node", "`node`")?;
            self.node(sink, &name, depth + 1)?;
            self.expect(b")", "`)`")?;
            last = name;
        }
    }
}

/// Unpacks an archive to `path`, where there must be nothing yet. Everything gets the store's permissions and time.
///
/// # Errors
/// As [`read`]; what was unpacked until then stays for the caller to remove.
pub fn unpack(input: impl Read, path: &Path) -> Result<(), NarError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
    read(input, &mut Unpacker { root: name, stack: vec![Dir::open(parent)?] })
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
    fn enter(&mut self, name: &[u8]) -> Result<(), NarError> {
        let dir = self.here().make_dir(self.name(name))?;
        self.stack.push(dir);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), NarError> {
        let dir = self.stack.pop().expect("a directory was entered");
        Ok(dir.finish(0o555)?)
    }

    fn file(&mut self, name: &[u8], executable: bool, size: u64, contents: &mut dyn Read) -> Result<(), NarError> {
        let name = self.name(name);
        let path = self.here().join(name);
        let mut file: File = self.here().create_file(name, 0o600)?;
        let copied = io::copy(contents, &mut file).map_err(|error| SysError::io("write", &path, &error))?;
        if copied < size {
            return Err(NarError::Stream { action: "read", source: io::ErrorKind::UnexpectedEof.into() });
        }
        Ok(finish_file(&file, executable, &path)?)
    }

    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), NarError> {
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

    /// Prints what arrives, one line a node.
    #[derive(Default)]
    struct Print(Vec<String>);

    impl Sink for Print {
        fn enter(&mut self, name: &[u8]) -> Result<(), NarError> {
            self.0.push(format!("{}/", name.escape_ascii()));
            Ok(())
        }
        fn leave(&mut self) -> Result<(), NarError> {
            self.0.push("..".to_owned());
            Ok(())
        }
        fn file(&mut self, name: &[u8], executable: bool, size: u64, _: &mut dyn Read) -> Result<(), NarError> {
            self.0.push(format!("{} {size}{}", name.escape_ascii(), if executable { " x" } else { "" }));
            Ok(())
        }
        fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), NarError> {
            self.0.push(format!("{} -> {}", name.escape_ascii(), target.escape_ascii()));
            Ok(())
        }
    }

    fn archive(words: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        NarWriter { out: &mut bytes, buffer: Vec::new() }.strings(words).unwrap();
        bytes
    }

    #[track_caller]
    fn check(bytes: &[u8]) -> String {
        let mut print = Print::default();
        match read(bytes, &mut print) {
            Ok(()) => print.0.join(" | "),
            Err(error) => format!("error: {error}"),
        }
    }

    fn entry(names: &[&[u8]]) -> Vec<u8> {
        let mut words: Vec<&[u8]> = vec![MAGIC, b"(", b"type", b"directory"];
        for name in names {
            words.extend([
                &b"entry"[..],
                b"(",
                b"name",
                name,
                b"node",
                b"(",
                b"type",
                b"symlink",
                b"target",
                b"t",
                b")",
                b")",
            ]);
        }
        words.push(b")");
        archive(&words)
    }

    #[test]
    fn hostile_archives_are_refused() {
        use insta::assert_snapshot;
        assert_snapshot!(check(&entry(&[b"a", b"b"])), @"/ | a -> t | b -> t | ..");
        assert_snapshot!(check(&entry(&[b"b", b"a"])), @"error: the archive is not valid at byte 320: the entry `a` does not come after the one before");
        assert_snapshot!(check(&entry(&[b"a", b"a"])), @"error: the archive is not valid at byte 320: the entry `a` does not come after the one before");
        assert_snapshot!(check(&entry(&[b".."])), @"error: the archive is not valid at byte 128: `..` cannot be the name of an entry");
        assert_snapshot!(check(&entry(&[b"."])), @"error: the archive is not valid at byte 128: `.` cannot be the name of an entry");
        assert_snapshot!(check(&entry(&[b""])), @"error: the archive is not valid at byte 128: `` cannot be the name of an entry");
        assert_snapshot!(check(&entry(&[b"a/b"])), @"error: the archive is not valid at byte 128: `a/b` cannot be the name of an entry");
        assert_snapshot!(check(&entry(&[b"a\0"])), @r"error: the archive is not valid at byte 128: `a\x00` cannot be the name of an entry");
        let mut bytes = archive(&[MAGIC, b"(", b"type", b"regular", b"contents"]);
        bytes.extend_from_slice(&(u64::MAX - 7).to_le_bytes());
        assert_snapshot!(check(&bytes), @"error: the archive is not valid at byte 88: a length of 18446744073709551608 bytes, where at most 9223372036854775807 are possible");
        let mut bytes = archive(&[MAGIC]);
        bytes[23] = 1;
        assert_snapshot!(check(&bytes), @"error: the archive is not valid at byte 21: expected padding of zeros");
        assert_snapshot!(check(b""), @"error: the archive ends at byte 0, in the middle");
        let mut deep = archive(&[MAGIC]);
        for _ in 0..100_000 {
            deep.extend(archive(&[b"(", b"type", b"directory", b"entry", b"(", b"name", b"a", b"node"]));
        }
        assert_snapshot!(check(&deep), @"error: a tree may have at most 256 nested directories; `a` has more");
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(files in prop::collection::btree_map("[ab]{1,2}(/[cd]{1,2}){0,2}", (prop::collection::vec(any::<u8>(), 0..20), 0..3), 0..8)) {
            let temp = crate::tests::Temporary::new();
            let root = temp.path().join("root");
            std::fs::create_dir(&root).unwrap();
            let mut made = BTreeMap::new();
            for (path, (contents, kind)) in &files {
                let path = root.join(path);
                // A name may be taken by a file of another case.
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
                prop_assert!(read(&first[..end], &mut Print::default()).is_err());
            }
        }

        #[test]
        fn reading_never_panics(at in 0usize..400, byte: u8) {
            let mut bytes = entry(&[b"a", b"b"]);
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = read(bytes.as_slice(), &mut Print::default());
        }
    }
}
