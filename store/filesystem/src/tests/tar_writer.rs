//! Tar streams: their bytes, and their reading by another library.

use super::*;
use crate::{Entry, EntryKind, Sink, TarOptions, TarWriter, write_tar};
use std::io::{Read, Write};
use tar::EntryType;

fn tar_of(example: &Example, options: TarOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_tar(&example.file_system, &example.contents(), options, &mut bytes).unwrap();
    bytes
}

fn member(entry: Entry<'_>, contents: &[u8]) -> Result<Vec<u8>, String> {
    let mut writer = TarWriter::new(Vec::new(), TarOptions::default());
    writer.entry(entry, &mut &contents[..]).map_err(|error| error.to_string())?;
    Ok(writer.finish().unwrap())
}

#[test]
fn equal_file_systems_have_equal_bytes() {
    let clamped = TarOptions { mtime_max: Some(Time::of_seconds(5)) };
    let digest = |options| blake3::hash(&tar_of(&example(), options)).to_hex();
    assert_eq!(
        digest(TarOptions::default()).as_str(),
        "e774fe3951614c534bafe7af0647b6a58916a1e913fa2e17a40c382801b5ad9f"
    );
    assert_eq!(digest(clamped).as_str(), "d807cc15062600059abc19f6a9478fa57a8fc88d1b103f37fedf1477ff6a9cd1");
    let mut empty = Vec::new();
    write_tar(&Example::new().file_system, &Example::new().contents(), TarOptions::default(), &mut empty).unwrap();
    assert_eq!((empty.len(), &empty[..3]), (1536, &b"./\0"[..]));
}

/// One line for each member, as the `tar` crate reads it.
fn listed(bytes: &[u8]) -> String {
    let mut text = String::new();
    for member in tar::Archive::new(bytes).entries().unwrap() {
        let mut member = member.unwrap();
        let header = member.header().clone();
        let kind = header.entry_type();
        text.push_str(&format!(
            "{} {:?} {:04o} {}:{} {}",
            member.path_bytes().escape_ascii(),
            kind,
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
        ));
        if let Some(target) = member.link_name_bytes() {
            text.push_str(&format!(" -> {}", target.escape_ascii()));
        }
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let numbers = (header.device_major().unwrap().unwrap(), header.device_minor().unwrap().unwrap());
            text.push_str(&format!(" {numbers:?}"));
        }
        let mut contents = String::new();
        member.read_to_string(&mut contents).unwrap();
        text.push_str(&format!(" {contents:?}\n"));
    }
    text
}

#[test]
fn another_library_reads_each_entry() {
    let mut example = example();
    // The record of an attribute with a line end is one that this library cannot read.
    for at in ["usr/bin", "usr/bin.d"] {
        example
            .file_system
            .directory_mut(&path(at))
            .unwrap()
            .entries
            .retain(|name, _| name != b"ping" && name != b"again");
    }
    insta::assert_snapshot!(listed(&tar_of(&example, TarOptions::default())), @r#"
    ./ Directory 0755 0:0 1000000000 ""
    dev/ Directory 0755 0:0 1000000000 ""
    dev/initctl Fifo 0600 0:0 1000000000 ""
    dev/null Char 0666 0:0 1000000000 (1, 3) ""
    dev/sda Block 0660 0:0 1000000000 (8, 0) ""
    etc/ Directory 1777 0:0 1000000000 ""
    etc/shadow Regular 0640 0:42 0 "root::1::::::\n"
    usr/ Directory 0755 0:0 1000000000 ""
    usr/bin/ Directory 0755 0:0 1000000000 ""
    usr/bin/sh Symlink 0777 0:0 1000000000 -> bash ""
    usr/bin.d/ Directory 0755 0:0 1000000000 ""
    "#);
}

#[test]
fn records_hold_values_that_headers_cannot() {
    let long = "n/".repeat(60) + "name";
    let target = "t".repeat(101);
    let mut owner = stat(0o755);
    (owner.uid, owner.gid, owner.mtime) = (1 << 21, u32::MAX, Time { seconds: 1, nanoseconds: 500_000_000 });
    owner.xattrs.insert(b"user.a".to_vec(), b"b\nc".to_vec());
    let bytes =
        member(Entry { path: &path(&long), stat: &owner, kind: EntryKind::Symlink { target: target.as_bytes() } }, b"");
    let bytes = bytes.unwrap();
    let records = String::from_utf8_lossy(&bytes[512..1024]).trim_end_matches('\0').to_owned();
    let expected = format!(
        "134 path={long}\n115 linkpath={target}\n15 uid=2097152\n18 gid=4294967295\n13 mtime=1.5\n27 SCHILY.xattr.user.a=b\nc\n"
    );
    assert_eq!(records, expected);
    assert_eq!(&bytes[..15], b"PaxHeaders/name");
    // Bytes that are no text fit into a header as they are, and need a record of their character
    // set if they do not.
    let binary = |name: &[u8]| {
        let mut at = TreePath::ROOT;
        at.push(name);
        member(Entry { path: &at, stat: &stat(0o644), kind: EntryKind::Fifo }, b"").unwrap()
    };
    assert_eq!(&binary(b"\xff")[..2], b"\xff\0");
    assert_eq!(&binary(&[0xff; 200])[512..540], b"21 hdrcharset=BINARY\n210 pat");
    let early = Stat { mtime: Time::of_seconds(-5), ..stat(0o644) };
    let bytes = member(Entry { path: &path("a"), stat: &early, kind: EntryKind::Fifo }, b"").unwrap();
    assert_eq!(&bytes[512..524], b"12 mtime=-5\n");
}

/// A writer with room for some bytes.
struct Room {
    bytes: Vec<u8>,
    left: usize,
}

impl Write for Room {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.left);
        self.bytes.extend_from_slice(&buffer[..count]);
        self.left -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn files_may_have_more_than_eight_gibibytes() {
    const SIZE: u64 = 9 << 30;
    let mut room = Room { bytes: Vec::new(), left: 4096 };
    let entry = Entry { path: &path("big"), stat: &stat(0o644), kind: EntryKind::File { size: SIZE } };
    let written = TarWriter::new(&mut room, TarOptions::default()).entry(entry, &mut io::repeat(b'x').take(SIZE));
    assert_eq!(written.unwrap_err().to_string(), "cannot write the tar stream");
    let mut archive = tar::Archive::new(room.bytes.as_slice());
    let member = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!((member.size(), member.path_bytes().as_ref()), (SIZE, &b"big"[..]));
}

#[test]
fn entries_that_do_not_fit_are_errors() {
    for size in [0, 2] {
        let file = Entry { path: &path("a"), stat: &stat(0o644), kind: EntryKind::File { size } };
        let error = member(file, b"x").unwrap_err();
        assert_eq!(error, format!("cannot write `/a`: its contents have fewer or more than {size} bytes"));
    }
    let refused = |kind| member(Entry { path: &path("a"), stat: &stat(0o644), kind }, b"").unwrap_err();
    assert_eq!(refused(EntryKind::Socket), "cannot write `/a`: tar has no sockets");
    let device = Device { major: 1 << 21, minor: 0 };
    assert_eq!(refused(EntryKind::BlockDevice(device)), "cannot write `/a`: tar has no device 2097152:0");
    let mut example = example();
    example.blobs.clear();
    let error = write_tar(&example.file_system, &example.contents(), TarOptions::default(), io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "cannot open the contents of `/etc/shadow`");
}
