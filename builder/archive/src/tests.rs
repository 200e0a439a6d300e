//! Archives made by hand: ordinary ones in every wrapping, and hostile ones.

mod fuzz;
mod numbers;
mod trees;

use super::format::Compression;
use super::*;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tar::EntryType;

/// An entry of a test archive; names and targets go in as they are, however wrong.
#[derive(Clone)]
struct Entry<'a> {
    kind: EntryType,
    name: &'a str,
    target: &'a str,
    content: &'a [u8],
    mode: u32,
}

fn file<'a>(name: &'a str, content: &'a [u8]) -> Entry<'a> {
    Entry { kind: EntryType::Regular, name, target: "", content, mode: 0o644 }
}

fn odd<'a>(kind: EntryType, name: &'a str, target: &'a str) -> Entry<'a> {
    Entry { kind, name, target, content: b"", mode: 0o755 }
}

fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        let raw = header.as_mut_bytes();
        raw[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        raw[157..157 + entry.target.len()].copy_from_slice(entry.target.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn deb_of(data_name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = ar::MAGIC.to_vec();
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b"odd"), (data_name, data)] {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match compression {
        Compression::Gzip => flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out),
        Compression::Bzip2 => bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast()).read_to_end(&mut out),
        Compression::Xz => liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut out),
        Compression::Zstd => zstd::stream::read::Encoder::new(bytes, 1).unwrap().read_to_end(&mut out),
    }
    .unwrap();
    out
}

const COMPRESSIONS: [Compression; 4] = [Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd];

struct World {
    directory: tempfile::TempDir,
    options: Options,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("outside"), "untouched").unwrap();
        Self { directory, options: Options::default() }
    }

    fn dest(&self) -> PathBuf {
        self.directory.path().join("dest")
    }

    fn unpack(&self, archives: &[&[u8]]) -> Result<Stats, String> {
        let paths: Vec<PathBuf> = archives
            .iter()
            .enumerate()
            .map(|(number, bytes)| {
                let path = self.directory.path().join(format!("archive{number}"));
                fs::write(&path, bytes).unwrap();
                path
            })
            .collect();
        let result = unpack(&paths, &self.dest(), &self.options);
        assert_eq!(fs::read_to_string(self.directory.path().join("outside")).unwrap(), "untouched");
        let around = fs::read_dir(self.directory.path()).unwrap().count();
        assert!(around <= 2 + archives.len().max(2), "something was written beside the destination");
        result.map_err(|error| error.to_string().replace(&format!("{}/", self.directory.path().display()), ""))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dest().join(path)).unwrap()
    }
}

#[track_caller]
fn check_refused(entries: &[Entry], expected: &str) {
    let error = World::new().unpack(&[&tar_of(entries)]).unwrap_err();
    assert_eq!(error, format!("`archive0`: entry `{}` is refused: {expected}", entries.last().unwrap().name));
}

#[test]
fn every_wrapping() {
    let mut program = file("./bin/x", b"program");
    program.mode = 0o4711;
    let tar = tar_of(&[
        odd(EntryType::Directory, "./", ""),
        odd(EntryType::Directory, "./bin/", ""),
        program,
        file("./share/deep/doc", b"text"),
    ]);
    let mut archives = vec![tar.clone(), deb_of("data.tar", &tar)];
    for compression in COMPRESSIONS {
        let compressed = compress(compression, &tar);
        archives.extend([deb_of("data.tar.any", &compressed), compressed]);
    }
    for (number, archive) in archives.iter().enumerate() {
        let world = World::new();
        let stats = world.unpack(&[archive]).unwrap_or_else(|error| panic!("archive {number}: {error}"));
        assert_eq!(
            stats,
            Stats { files: 2, directories: 1, symlinks: 0, hard_links: 0, special: 0, bytes: 11, newest: 0 }
        );
        assert_eq!((world.read("bin/x"), world.read("share/deep/doc")), ("program".to_owned(), "text".to_owned()));
        let mode = |path: &str| fs::metadata(world.dest().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("bin/x"), mode("share/deep/doc"), mode("share"), mode("bin")), (0o755, 0o644, 0o755, 0o755));
    }
}

#[test]
fn several_streams_in_one_file() {
    let tar = tar_of(&[file("a", &[7; 3000])]);
    for compression in COMPRESSIONS {
        let (first, second) = tar.split_at(1000);
        let both = [compress(compression, first), compress(compression, second)].concat();
        let world = World::new();
        world.unpack(&[&both]).unwrap_or_else(|error| panic!("{}: {error}", compression.name()));
        assert_eq!(fs::read(world.dest().join("a")).unwrap(), [7; 3000]);
    }
    // Gzip may be followed by padding.
    let padded = [compress(Compression::Gzip, &tar), vec![0; 100]].concat();
    World::new().unpack(&[&padded]).unwrap();
}

#[test]
fn strip_and_several_archives() {
    let mut world = World::new();
    world.options.strip = 1;
    let first = tar_of(&[
        odd(EntryType::Directory, "x-1.0/", ""),
        file("x-1.0/a", b"one"),
        odd(EntryType::Link, "x-1.0/b", "x-1.0/a"),
        file("gone", b""),
    ]);
    let second = tar_of(&[file("y-2.0/a", b"two")]);
    let stats = world.unpack(&[&first, &second]).unwrap();
    assert_eq!(stats, Stats { files: 2, directories: 0, symlinks: 0, hard_links: 1, special: 0, bytes: 6, newest: 0 });
    assert_eq!((world.read("a"), world.read("b")), ("two".to_owned(), "one".to_owned()));
    assert!(!world.dest().join("gone").exists());
}

#[test]
fn paths_that_leave() {
    check_refused(&[file("../outside", b"x")], "its path contains `..`");
    check_refused(&[file("a/../../outside", b"x")], "its path contains `..`");
    check_refused(&[file("/outside", b"x")], "its path is absolute");
    check_refused(&[odd(EntryType::Link, "a", "../outside")], "its path contains `..`");
    check_refused(&[odd(EntryType::Link, "a", "/etc/passwd")], "its path is absolute");
    check_refused(&[odd(EntryType::Link, "a", "b")], "it is a hard link to `b`, which is not in the tree");
    check_refused(&[file("a", b""), file("a/b", b"")], "its parent `a` is not a directory");
}

/// A link first, then something through it: it ends inside the destination, as if that were the
/// root.
#[test]
fn links_that_leave() {
    for target in ["..", "../..", "/", "/../.."] {
        let world = World::new();
        let archive = tar_of(&[odd(EntryType::Symlink, "out", target), file("out/outside", b"caught")]);
        world.unpack(&[&archive]).unwrap();
        assert_eq!(world.read("outside"), "caught", "{target}");
    }
    let through = |kind, target| [odd(EntryType::Symlink, "out", ".."), odd(kind, "x", target)];
    check_refused(
        &through(EntryType::Link, "out/outside"),
        "it is a hard link to `out/outside`, which is not in the tree",
    );
    check_refused(
        &[odd(EntryType::Symlink, "d", "/nowhere"), file("d/x", b"")],
        "its parent `d` leads through a symbolic link to nowhere",
    );
    check_refused(
        &[odd(EntryType::Symlink, "d", "d"), file("d/x", b"")],
        "its parent `d` leads through a symbolic link that is not followed",
    );
}

/// The description of an entry is held in memory, unlike its contents.
#[test]
fn an_entry_described_at_length() {
    let described = |len: usize| {
        let mut builder = tar::Builder::new(Vec::new());
        let text = "x".repeat(len);
        builder.append_pax_extensions([("comment", text.as_bytes())]).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_path("file").unwrap();
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    World::new().unpack(&[&described(100 << 10)]).unwrap();
    let error = World::new().unpack(&[&described(2 << 20)]).unwrap_err();
    assert!(error.contains("the names and attributes of an entry take more than 1 MiB"), "{error}");
}

/// The last component is never followed: the entry there is replaced, not written through.
#[test]
fn names_that_are_links_are_replaced() {
    let world = World::new();
    let outside = world.directory.path().join("outside");
    let target = outside.to_str().unwrap();
    let archive = tar_of(&[
        odd(EntryType::Symlink, "a", target),
        file("a", b"file"),
        odd(EntryType::Symlink, "b", target),
        odd(EntryType::Link, "c", "b"),
        file("c", b"file"),
        odd(EntryType::Symlink, "a", "b"),
    ]);
    world.unpack(&[&archive]).unwrap();
    assert_eq!(fs::read_link(world.dest().join("a")).unwrap(), Path::new("b"));
    assert_eq!(fs::read_link(world.dest().join("b")).unwrap(), outside);
    assert_eq!(world.read("c"), "file");
}

#[test]
fn real_packages_put_files_through_links() {
    let world = World::new();
    let base = tar_of(&[odd(EntryType::Directory, "usr/lib/", ""), odd(EntryType::Symlink, "lib", "usr/lib")]);
    let other = tar_of(&[
        odd(EntryType::Directory, "lib/", ""),
        odd(EntryType::Directory, "lib/x/", ""),
        file("lib/x/y", b"z"),
    ]);
    world.unpack(&[&base, &other]).unwrap();
    assert_eq!(world.read("usr/lib/x/y"), "z");
    assert!(world.dest().join("lib").is_symlink());
}

/// The parent of the last entry is cached, and invalidated when a link is replaced.
#[test]
fn a_parent_that_changes() {
    let world = World::new();
    let archive = tar_of(&[
        odd(EntryType::Directory, "one/", ""),
        odd(EntryType::Directory, "two/", ""),
        odd(EntryType::Symlink, "link", "one"),
        file("link/a", b""),
        odd(EntryType::Symlink, "link", "two"),
        file("link/b", b""),
    ]);
    world.unpack(&[&archive]).unwrap();
    assert!(world.dest().join("one/a").exists() && world.dest().join("two/b").exists());
}

#[test]
fn kinds_that_are_refused() {
    check_refused(&[odd(EntryType::Char, "dev/null", "")], "it is a device");
    check_refused(&[odd(EntryType::Block, "dev/sda", "")], "it is a device");
    check_refused(&[odd(EntryType::Fifo, "pipe", "")], "it is a fifo");
    check_refused(&[odd(EntryType::Symlink, "a", "")], "it is a link without a target");
    check_refused(&[odd(EntryType::new(b'Q'), "a", "")], "its type `Q` is not known");
    check_refused(
        &[file("d/x", b""), odd(EntryType::Symlink, "d", "x")],
        "a directory with files in it has this name already",
    );
    check_refused(&[file("d/x", b""), file("d", b"")], "a directory with files in it has this name already");
}

#[test]
fn pax_names_and_sparse_maps() {
    let mut builder = tar::Builder::new(Vec::new());
    let long = "d/".repeat(60) + &"n".repeat(200);
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_pax_extensions([("path", long.as_bytes()), ("mtime", b"1.5")]).unwrap();
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let world = World::new();
    let stats = world.unpack(&[&builder.into_inner().unwrap()]).unwrap();
    assert_eq!((world.read(&long).as_str(), stats.newest), ("x", 1));

    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("GNU.sparse.major", &b"1"[..])]).unwrap();
    builder.append(&header, &b"x"[..]).unwrap();
    let error = World::new().unpack(&[&builder.into_inner().unwrap()]).unwrap_err();
    assert!(error.contains("it is a sparse file in pax format"), "{error}");
}

#[test]
fn truncated_anywhere_is_an_error() {
    let content: Vec<u8> = (0..20_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tar = tar_of(&[file("a", &content[..1500]), file("b", &content)]);
    let mut archives: Vec<(String, Vec<u8>)> =
        COMPRESSIONS.map(|compression| (compression.name().to_owned(), compress(compression, &tar))).to_vec();
    let data = compress(Compression::Gzip, &tar);
    let mut deb = deb_of("data.tar.gz", &data);
    // The padding of the last member may be missing; everything else counts.
    deb.truncate(deb.len() - data.len() % 2);
    archives.push(("deb".to_owned(), deb));
    // Of the two zero blocks at its end a tar may lose one.
    archives.push(("tar".to_owned(), tar[..tar.len() - 512].to_vec()));
    for (name, archive) in archives {
        World::new().unpack(&[&archive]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let step = archive.len() / 40;
        for len in (0..archive.len()).step_by(step).chain([archive.len() - 1, archive.len() - 4, 512, 1024]) {
            let world = World::new();
            let error = world.unpack(&[&archive[..len.min(archive.len() - 1)]]);
            assert!(error.is_err(), "{name} cut at {len} of {}", archive.len());
        }
    }
    let no_end = tar_of(&[file("a", &[0; 2048])]);
    let error = World::new().unpack(&[&no_end[..512 + 2048]]).unwrap_err();
    assert!(error.ends_with("the tar has no end mark"), "{error}");
    let cut = &compress(Compression::Xz, &tar)[..40_000];
    let error = World::new().unpack(&[cut]).unwrap_err();
    assert!(error.starts_with("`archive0` is truncated or damaged near byte 40000: "), "{error}");
}

#[test]
fn no_archives() {
    let reason = |bytes: &[u8]| World::new().unpack(&[bytes]).unwrap_err();
    assert!(reason(b"<html>not found</html>").contains("it is neither tar, deb nor zip"));
    assert!(reason(b"").contains("it is neither tar, deb nor zip"));
    assert_eq!(
        reason(&compress(Compression::Gzip, b"a patch")),
        "`archive0` cannot be unpacked: it is compressed with gzip but no tar is inside"
    );
    assert!(reason(ar::MAGIC).contains("not a Debian package"));
    let world = World::new();
    let missing = unpack(&[world.directory.path().join("missing")], &world.dest(), &world.options).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open `"), "{missing}");
}

#[test]
fn bombs() {
    let mut world = World::new();
    world.options.limits.entries_max = 2;
    let error = world.unpack(&[&tar_of(&[file("a", b""), file("b", b""), file("c", b"")])]).unwrap_err();
    assert_eq!(error, "`archive0`: at entry `c` the limit of 2 entries is exceeded");

    let mut world = World::new();
    world.options.limits.bytes_max = 1000;
    let error = world.unpack(&[&tar_of(&[file("a", &[0; 600]), file("b", &[0; 600])])]).unwrap_err();
    assert_eq!(error, "`archive0`: at entry `b` the limit of 1000 bytes is exceeded");

    let zeros = vec![0; 80 << 20];
    let bomb = compress(Compression::Zstd, &tar_of(&[file("zeros", &zeros)]));
    let error = World::new().unpack(&[&bomb]).unwrap_err();
    assert_eq!(error, "`archive0`: at entry `zeros` the limit of 2000 bytes out of one is exceeded");
}

fn zip_of(add: impl FnOnce(&mut zip::ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut writer);
    writer.finish().unwrap().into_inner()
}

#[test]
fn zip_files() {
    let plain = zip::write::SimpleFileOptions::default();
    let archive = zip_of(|zip| {
        zip.add_directory("d/", plain).unwrap();
        zip.start_file("d/program", plain.unix_permissions(0o755)).unwrap();
        zip.write_all(&[b'x'; 5000]).unwrap();
        zip.start_file("deep/er/text", plain.unix_permissions(0o600)).unwrap();
        zip.write_all(b"text").unwrap();
        zip.add_symlink("link", "d/program", plain).unwrap();
    });
    let world = World::new();
    let stats = world.unpack(&[&archive]).unwrap();
    assert_eq!(
        stats,
        Stats { files: 2, directories: 1, symlinks: 1, hard_links: 0, special: 0, bytes: 5004, newest: 0 }
    );
    assert_eq!((world.read("link").len(), world.read("deep/er/text")), (5000, "text".to_owned()));
    let mode = |path: &str| fs::metadata(world.dest().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("d/program"), mode("deep/er/text")), (0o755, 0o644));
    for len in [archive.len() - 1, archive.len() / 2, 30] {
        assert!(World::new().unpack(&[&archive[..len]]).is_err(), "cut at {len}");
    }

    let hostile = zip_of(|zip| {
        zip.start_file("../outside", plain).unwrap();
        zip.write_all(b"x").unwrap();
    });
    let error = World::new().unpack(&[&hostile]).unwrap_err();
    assert!(error.ends_with("is refused: its path contains `..`"), "{error}");
}

#[test]
fn cancelling() {
    let world = World::new();
    world.options.cancel.store(true, Ordering::Relaxed);
    assert_eq!(world.unpack(&[&tar_of(&[file("a", b"")])]).unwrap_err(), "unpacking `archive0` was cancelled");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any damage to an archive's bytes makes unpacking end without a panic, and nothing changes
    /// outside.
    #[test]
    fn damaged_archives(changes in proptest::collection::vec((0usize..8000, any::<u8>()), 1..20), which in 0usize..4) {
        let tar = tar_of(&[
            odd(EntryType::Directory, "d/", ""),
            file("d/a", &[1; 700]),
            odd(EntryType::Symlink, "d/l", "a"),
            odd(EntryType::Link, "d/h", "d/a"),
            file("e", b"text"),
        ]);
        let mut bytes = match which {
            0 => tar,
            1 => deb_of("data.tar.gz", &compress(Compression::Gzip, &tar)),
            2 => compress(Compression::Xz, &tar),
            _ => zip_of(|zip| {
                zip.start_file("a", zip::write::SimpleFileOptions::default()).unwrap();
                zip.write_all(b"text").unwrap();
            }),
        };
        let len = bytes.len();
        for (at, byte) in changes {
            bytes[at % len] = byte;
        }
        let _ = World::new().unpack(&[&bytes]);
    }
}

/// Root can do what an archive must not: as an ordinary user, too, all of it is refused for what it
/// is.
#[test]
fn as_an_ordinary_user() {
    test_support::ordinary::run_again(&["tests::"], &[]);
}
