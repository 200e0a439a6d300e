//! The Nix archive format: a file tree as bytes, in the one form that its contents allow.
//!
//! Holds names, contents, executable bits and link targets; nothing else. A [`Writer`] turns events
//! into bytes and [`read`] turns bytes into events for a [`Sink`]; the `store` crate connects them
//! with files on disk. The reader does not trust its input: it refuses unsorted, duplicate and
//! invalid names, padding that is not zero, lengths beyond their bounds and nesting beyond
//! [`DEPTH_MAX`], before the sink receives them.

use crate::tree::{DEPTH_MAX, Digest, Directories, Node, TreeError, is_entry_name};
use std::io::{self, Read, Write};

const MAGIC: &[u8] = b"nix-archive-1";
/// The longest name and the longest link target, as in Linux.
const NAME_LEN_MAX: u64 = 255;
const TARGET_LEN_MAX: u64 = 4095;

/// Reasons why an archive cannot be written or read.
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
    #[error("the archive is truncated at byte {offset}")]
    Truncated { offset: u64 },
    #[error("cannot {action} the archive")]
    Stream { action: &'static str, source: io::Error },
    #[error("a file of the archive has {found} bytes, and {size} were announced")]
    Size { size: u64, found: u64 },
    #[error("cannot read a file for the archive")]
    Contents { source: io::Error },
}

fn write_error(source: io::Error) -> NarError {
    NarError::Stream { action: "write", source }
}

/// Writes the archive of a file with this text.
///
/// # Errors
/// When `out` fails.
pub fn write_text(text: &[u8], out: &mut dyn Write) -> Result<(), NarError> {
    let mut writer = Writer { out, buffer: Vec::new() };
    writer.strings(&[MAGIC, b"(", b"type", b"regular", b"contents", text, b")"])
}

/// Writes the archive of a tree; `open` returns the contents of a file by its digest.
///
/// # Errors
/// When a directory or file cannot be read, a file has another size than its node, or `out` fails.
pub fn write_node<E, R>(
    directories: &dyn Directories,
    node: &Node,
    open: &mut dyn FnMut(&Digest) -> Result<R, E>,
    out: &mut dyn Write,
) -> Result<(), E>
where
    E: From<NarError> + From<TreeError>,
    R: Read,
{
    Writer::new(out)?.tree_node(directories, node, open, 0)
}

/// Writes one archive as a series of events, in the order of the format.
///
/// One node is written: [`Writer::file`], [`Writer::link`], or [`Writer::enter`] and
/// [`Writer::leave`]. Between these two each entry is [`Writer::entry`], its node, and
/// [`Writer::end_entry`]; names come in order of their bytes.
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Starts an archive.
    ///
    /// # Errors
    /// When `out` fails, as all functions here.
    pub fn new(out: &'a mut dyn Write) -> Result<Self, NarError> {
        let mut writer = Self { out, buffer: vec![0; 1 << 16] };
        writer.strings(&[MAGIC])?;
        Ok(writer)
    }

    /// Enters a directory.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn enter(&mut self) -> Result<(), NarError> {
        self.strings(&[b"(", b"type", b"directory"])
    }

    /// Starts the entry `name` of the directory.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn entry(&mut self, name: &[u8]) -> Result<(), NarError> {
        self.strings(&[b"entry", b"(", b"name", name, b"node"])
    }

    /// Ends an entry, whose node has been written.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn end_entry(&mut self) -> Result<(), NarError> {
        self.strings(&[b")"])
    }

    /// Leaves the directory entered last.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn leave(&mut self) -> Result<(), NarError> {
        self.strings(&[b")"])
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn link(&mut self, target: &[u8]) -> Result<(), NarError> {
        self.strings(&[b"(", b"type", b"symlink", b"target", target, b")"])
    }

    /// Writes a file of `size` bytes.
    ///
    /// # Errors
    /// [`NarError::Size`] when `contents` has more or fewer, [`NarError::Contents`] when it cannot
    /// be read.
    pub fn file(&mut self, executable: bool, size: u64, contents: &mut dyn Read) -> Result<(), NarError> {
        self.strings(&[b"(", b"type", b"regular"])?;
        if executable {
            self.strings(&[b"executable", b""])?;
        }
        self.strings(&[b"contents"])?;
        self.out.write_all(&size.to_le_bytes()).map_err(write_error)?;
        let mut written = 0;
        loop {
            let read = match contents.read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(NarError::Contents { source }),
            };
            if read == 0 {
                break;
            }
            written += read as u64;
            if written > size {
                return Err(NarError::Size { size, found: written });
            }
            self.out.write_all(&self.buffer[..read]).map_err(write_error)?;
        }
        if written != size {
            return Err(NarError::Size { size, found: written });
        }
        self.out.write_all(&[0; 8][..padding(size)]).map_err(write_error)?;
        self.strings(&[b")"])
    }

    fn strings(&mut self, strings: &[&[u8]]) -> Result<(), NarError> {
        let mut bytes = Vec::with_capacity(strings.len() * 24);
        for string in strings {
            bytes.extend_from_slice(&(string.len() as u64).to_le_bytes());
            bytes.extend_from_slice(string);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        self.out.write_all(&bytes).map_err(write_error)
    }

    fn tree_node<E: From<NarError> + From<TreeError>, R: Read>(
        &mut self,
        directories: &dyn Directories,
        node: &Node,
        open: &mut dyn FnMut(&Digest) -> Result<R, E>,
        depth: usize,
    ) -> Result<(), E> {
        match node {
            Node::File { digest, executable, size } => Ok(self.file(*executable, *size, &mut open(digest)?)?),
            Node::Symlink { target } => Ok(self.link(target)?),
            Node::Directory { digest, .. } => {
                if depth > DEPTH_MAX {
                    return Err(NarError::Depth { path: digest.hex() }.into());
                }
                self.enter()?;
                for (name, node) in directories.load(digest)?.iter() {
                    self.entry(name)?;
                    self.tree_node(directories, node, open, depth + 1)?;
                    self.end_entry()?;
                }
                Ok(self.leave()?)
            }
        }
    }
}

fn padding(size: u64) -> usize {
    (size.wrapping_neg() % 8) as usize
}

/// Receiver of an archive's nodes. Names are empty for the root, and checked otherwise.
pub trait Sink {
    /// Errors of the archive, or of the receiver.
    type Error: From<NarError>;

    /// Enters the directory `name`, which contains all that follows until [`Sink::leave`].
    ///
    /// # Errors
    /// An error ends the reading.
    fn enter(&mut self, name: &[u8]) -> Result<(), Self::Error>;
    /// Leaves the directory entered last.
    ///
    /// # Errors
    /// An error ends the reading.
    fn leave(&mut self) -> Result<(), Self::Error>;
    /// Receives a file of `size` bytes; the rest of `contents` is skipped.
    ///
    /// # Errors
    /// An error ends the reading.
    fn file(&mut self, name: &[u8], executable: bool, size: u64, contents: &mut dyn Read) -> Result<(), Self::Error>;
    /// Receives a link.
    ///
    /// # Errors
    /// An error ends the reading.
    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), Self::Error>;
}

/// Reads one archive from `input` into `sink`, and no bytes after its end.
///
/// # Errors
/// When the archive is not in the one valid form, or `sink` fails. The sink has received the nodes
/// before the error.
pub fn read<S: Sink>(input: impl Read, sink: &mut S) -> Result<(), S::Error> {
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
        // The longest valid word bounds the reading of an invalid one.
        match self.string(16) {
            Ok(found) if found == what => Ok(()),
            Ok(_) | Err(NarError::Length { .. }) => Err(NarError::Syntax { offset, expected }),
            Err(error) => Err(error),
        }
    }

    fn node<S: Sink>(&mut self, sink: &mut S, name: &[u8], depth: usize) -> Result<(), S::Error> {
        if depth > DEPTH_MAX {
            return Err(NarError::Depth { path: String::from_utf8_lossy(name).into_owned() }.into());
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
                    _ => return Err(NarError::Syntax { offset, expected: "`contents` or `executable`" }.into()),
                };
                let offset = self.offset;
                let size = self.number()?;
                if size > i64::MAX as u64 {
                    return Err(NarError::Length { offset, length: size, max: i64::MAX as u64 }.into());
                }
                let mut contents = (&mut self.input).take(size);
                sink.file(name, executable, size, &mut contents)?;
                let rest = contents.limit();
                let skipped = io::copy(&mut contents, &mut io::sink())
                    .map_err(|source| NarError::Stream { action: "read", source })?;
                self.offset += size - rest + skipped;
                if skipped < rest {
                    return Err(NarError::Truncated { offset: self.offset }.into());
                }
                self.skip_padding(size)?;
                Ok(self.expect(b")", "`)`")?)
            }
            b"symlink" => {
                self.expect(b"target", "`target`")?;
                let offset = self.offset;
                let target = self.string(TARGET_LEN_MAX)?;
                if target.is_empty() || target.contains(&0) {
                    return Err(NarError::Syntax {
                        offset,
                        expected: "a link target that is not empty and without NUL",
                    }
                    .into());
                }
                sink.link(name, &target)?;
                Ok(self.expect(b")", "`)`")?)
            }
            b"directory" => {
                sink.enter(name)?;
                self.entries(sink, depth)?;
                sink.leave()
            }
            _ => Err(NarError::Syntax { offset, expected: "`regular`, `symlink` or `directory`" }.into()),
        }
    }

    fn entries<S: Sink>(&mut self, sink: &mut S, depth: usize) -> Result<(), S::Error> {
        let mut last: Vec<u8> = Vec::new();
        loop {
            let offset = self.offset;
            match self.string(16)?.as_slice() {
                b")" => return Ok(()),
                b"entry" => {}
                _ => return Err(NarError::Syntax { offset, expected: "`entry` or `)`" }.into()),
            }
            self.expect(b"(", "`(`")?;
            self.expect(b"name", "`name`")?;
            let offset = self.offset;
            let name = self.string(NAME_LEN_MAX)?;
            if !is_entry_name(&name) {
                return Err(NarError::Name { offset, name }.into());
            }
            if name <= last {
                return Err(NarError::Order { offset, name }.into());
            }
            self.expect(b"node", "`node`")?;
            self.node(sink, &name, depth + 1)?;
            self.expect(b")", "`)`")?;
            last = name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Prints events, one line a node.
    #[derive(Default)]
    struct Print(Vec<String>);

    impl Sink for Print {
        type Error = NarError;

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
        Writer { out: &mut bytes, buffer: Vec::new() }.strings(words).unwrap();
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
        assert_snapshot!(check(b""), @"error: the archive is truncated at byte 0");
        let mut deep = archive(&[MAGIC]);
        for _ in 0..100_000 {
            deep.extend(archive(&[b"(", b"type", b"directory", b"entry", b"(", b"name", b"a", b"node"]));
        }
        assert_snapshot!(check(&deep), @"error: a tree may have at most 256 nested directories; `a` has more");
    }

    proptest! {
        #[test]
        fn reading_never_panics(at in 0usize..400, byte: u8) {
            let mut bytes = entry(&[b"a", b"b"]);
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = read(bytes.as_slice(), &mut Print::default());
        }
    }
}
