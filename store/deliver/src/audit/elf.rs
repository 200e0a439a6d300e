//! Checks ELF programs and libraries: interpreter, search paths and needed libraries.
//!
//! Reads the program headers and the dynamic section only, as the loader does; sections, symbols
//! and debug information may be stripped or damaged. Relocatable objects have neither, and pass, as
//! do the separate debug files whose segments have no content.

use super::tree::{self, Tree};
use super::{FileFindings, LeakKind};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::Elf;
use goblin::elf::dynamic::{DF_1_PIE, DT_FLAGS_1, DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRTAB};
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, ProgramHeader};

const RPATH_HELP: &str = "link with -Wl,-rpath,PREFIX/lib or a path that starts with $ORIGIN";

/// Checks one file that starts with the ELF magic.
pub(super) fn check(content: &[u8], tree: &Tree, library_directories: &[Vec<u8>], report: &mut FileFindings) {
    match Object::parse(content) {
        Ok(Some(object)) => object.check(tree, library_directories, report),
        Ok(None) => {}
        Err(Damaged { offset, reason }) => report.add(
            Some(offset),
            LeakKind::BrokenElf,
            format!("the ELF file is damaged: {reason}"),
            "leave the file out of the prefix, or find out what wrote it",
        ),
    }
}

#[derive(Debug)]
struct Damaged {
    offset: u64,
    reason: String,
}

/// A string of the file, and its offset.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    offset: u64,
}

impl Text<'_> {
    fn shown(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }
}

/// The data that the loader uses.
#[derive(Debug, Default)]
struct Object<'a> {
    interpreter: Option<Text<'a>>,
    rpaths: Vec<Text<'a>>,
    runpaths: Vec<Text<'a>>,
    needed: Vec<Text<'a>>,
    is_library: bool,
}

impl<'a> Object<'a> {
    /// Parses a program or a shared library; returns none for other kinds of ELF files.
    fn parse(content: &'a [u8]) -> Result<Option<Self>, Damaged> {
        let damaged = |offset: u64, reason: &str| Damaged { offset, reason: reason.to_owned() };
        let header = Elf::parse_header(content).map_err(|error| damaged(0, &error.to_string()))?;
        if !matches!(header.e_type, ET_EXEC | ET_DYN) {
            return Ok(None);
        }
        let shape = Elf::lazy_parse(header).map_err(|error| damaged(0, &error.to_string()))?;
        let context = Ctx::new(
            if shape.is_64 { Container::Big } else { Container::Little },
            if shape.little_endian { Endian::Little } else { Endian::Big },
        );
        let headers_at = usize::try_from(header.e_phoff).unwrap_or(usize::MAX);
        let headers = ProgramHeader::parse(content, headers_at, usize::from(header.e_phnum), context)
            .map_err(|_| damaged(header.e_phoff, "its program headers are past its end"))?;

        let mut object = Object::default();
        for header in headers.iter().filter(|header| header.p_type == PT_INTERP && header.p_filesz > 0) {
            let bytes = slice(content, header.p_offset, header.p_filesz)
                .ok_or_else(|| damaged(header.p_offset, "its interpreter is past its end"))?;
            object.interpreter = Some(Text { bytes: until_zero(bytes), offset: header.p_offset });
        }
        let Some(dynamic) = headers.iter().find(|header| header.p_type == PT_DYNAMIC && header.p_filesz > 0) else {
            return Ok(Some(object));
        };
        let bytes = slice(content, dynamic.p_offset, dynamic.p_filesz)
            .ok_or_else(|| damaged(dynamic.p_offset, "its dynamic section is past its end"))?;
        let word = if shape.is_64 { 8 } else { 4 };
        let entries: Vec<(u64, u64)> = bytes
            .chunks_exact(2 * word)
            .map(|entry| (number(&entry[..word], shape.little_endian), number(&entry[word..], shape.little_endian)))
            .take_while(|(tag, _)| *tag != DT_NULL)
            .collect();

        let strings_at = entries.iter().find(|(tag, _)| *tag == DT_STRTAB).and_then(|(_, address)| {
            let segment = headers.iter().find(|header| {
                header.p_type == PT_LOAD && *address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz
            })?;
            segment.p_offset.checked_add(address - segment.p_vaddr)
        });
        let text = |value: u64| -> Result<Text<'a>, Damaged> {
            let offset = strings_at
                .and_then(|at| at.checked_add(value))
                .ok_or_else(|| damaged(dynamic.p_offset, "its dynamic section has no string table"))?;
            let bytes = usize::try_from(offset)
                .ok()
                .and_then(|offset| content.get(offset..))
                .ok_or_else(|| damaged(dynamic.p_offset, "a string of its dynamic section is past its end"))?;
            Ok(Text { bytes: until_zero(bytes), offset })
        };
        let mut has_soname = false;
        let mut is_pie = false;
        for (tag, value) in &entries {
            match *tag {
                DT_NEEDED => object.needed.push(text(*value)?),
                DT_RPATH => object.rpaths.push(text(*value)?),
                DT_RUNPATH => object.runpaths.push(text(*value)?),
                DT_SONAME => has_soname = true,
                DT_FLAGS_1 => is_pie = value & DF_1_PIE != 0,
                _ => {}
            }
        }
        // libc.so is a library that can be run too, and prints its version.
        object.is_library = has_soname && !is_pie;
        Ok(Some(object))
    }

    fn check(&self, tree: &Tree, library_directories: &[Vec<u8>], report: &mut FileFindings) {
        if let Some(interpreter) = self.interpreter {
            let path = tree::normalise(interpreter.bytes);
            let inside = interpreter.bytes.starts_with(b"/") && tree::is_inside(&path, tree.prefix());
            if !inside || !tree.is_file_inside(&path) {
                let what = if inside { "does not exist" } else { "is not in the prefix" };
                report.add(
                    Some(interpreter.offset),
                    LeakKind::Interpreter,
                    format!("the program is loaded by `{}`, which {what}", interpreter.shown()),
                    "link with the prefix's compiler wrapper, or with -Wl,--dynamic-linker=PREFIX/lib/ld-linux-x86-64.so.2",
                );
            }
        }
        for runpath in &self.runpaths {
            report.add(
                Some(runpath.offset),
                LeakKind::Runpath,
                format!("the search path `{}` is a DT_RUNPATH, which LD_LIBRARY_PATH overrides", runpath.shown()),
                "link with -Wl,--disable-new-dtags",
            );
        }
        let is_dynamic_program = self.interpreter.is_some() && !self.is_library && !self.needed.is_empty();
        if is_dynamic_program && self.rpaths.is_empty() && self.runpaths.is_empty() {
            report.add(
                self.interpreter.map(|interpreter| interpreter.offset),
                LeakKind::NoRpath,
                "the program has no rpath, so LD_LIBRARY_PATH chooses its libraries".to_owned(),
                RPATH_HELP,
            );
        }

        let mut directories: Vec<Vec<u8>> = Vec::new();
        for path in self.rpaths.iter().chain(&self.runpaths) {
            let mut start = 0;
            for entry in path.bytes.split(|byte| *byte == b':') {
                let offset = path.offset + start;
                start += entry.len() as u64 + 1;
                match expand(entry, tree::parent(report.path)) {
                    Some(directory) if tree::is_inside(&directory, tree.prefix()) => directories.push(directory),
                    _ => report.add(
                        Some(offset),
                        LeakKind::Rpath,
                        format!("the search path `{}` leads out of the prefix", String::from_utf8_lossy(entry)),
                        RPATH_HELP,
                    ),
                }
            }
        }
        directories.extend_from_slice(library_directories);
        for needed in &self.needed {
            let found = if needed.bytes.contains(&b'/') {
                needed.bytes.starts_with(b"/") && tree.is_file_inside(needed.bytes)
            } else {
                directories.iter().any(|directory| tree.is_file_inside(&tree::join(directory, needed.bytes)))
            };
            if !found {
                report.add(
                    Some(needed.offset),
                    LeakKind::Needed,
                    format!("the library `{}` it needs is not in the prefix", needed.shown()),
                    "add the package that has it to the prefix, or its directory to the rpath",
                );
            }
        }
    }
}

/// Expands an entry of a search path; none if it is empty (the working directory), relative, or not
/// fixed.
fn expand(entry: &[u8], origin: &[u8]) -> Option<Vec<u8>> {
    let rest = entry.strip_prefix(b"$ORIGIN").or_else(|| entry.strip_prefix(b"${ORIGIN}"));
    let path = match rest {
        Some(b"") => origin.to_vec(),
        Some(rest) if rest.starts_with(b"/") => tree::join(origin, &rest[1..]),
        Some(_) => return None,
        None => entry.to_vec(),
    };
    (path.starts_with(b"/") && !path.contains(&b'$')).then(|| tree::normalise(&path))
}

fn slice(content: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let offset = usize::try_from(offset).ok()?;
    content.get(offset..offset.checked_add(usize::try_from(len).ok()?)?)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

fn number(bytes: &[u8], little_endian: bool) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if little_endian { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
}
