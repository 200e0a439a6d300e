//! Archives read with full metadata, into a file system in memory.

use super::numbers::{ended, entry, pax, plain};
use super::*;
use filesystem::{Defaults, FileSystem, TarOptions, Time, TreeBuilder, write_tar};

const DEFAULTS: Defaults = Defaults::writable(Time::of_seconds(1));

/// A file system with the bytes of its files.
fn read_tree(archive: &[u8]) -> Result<(FileSystem<Vec<u8>>, Stats), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive");
    fs::write(&path, archive).unwrap();
    let keep = |_, contents: &mut dyn Read| {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes).map(|_| bytes)
    };
    let mut builder = TreeBuilder::new(DEFAULTS, keep);
    let stats = super::read(&[path], &mut builder, &Options::default());
    let text = |error: UnpackError| error.to_string().replace(&format!("{}/", directory.path().display()), "");
    stats.map_err(text).map(|stats| (builder.finish(), stats))
}

fn tar_of_tree(tree: &FileSystem<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let contents = |blob: &Vec<u8>| Ok(Cursor::new(blob.clone()));
    write_tar(tree, &contents, TarOptions::default(), &mut bytes).unwrap();
    bytes
}

/// The metadata of the object at a path.
fn stat_of(tree: &FileSystem<Vec<u8>>, path: &str) -> filesystem::Stat {
    match tree.get(&filesystem::TreePath::parse(path.as_bytes()).unwrap()).unwrap() {
        filesystem::Found::Directory(directory) => directory.stat.clone(),
        filesystem::Found::Inode(inode) => inode.stat.clone(),
    }
}

/// Members of each kind, in the order and form in which the writer gives them.
fn members() -> Vec<Vec<u8>> {
    let owner = |raw: &mut [u8]| {
        raw[100..108].copy_from_slice(b"0004755\0");
        raw[108..116].copy_from_slice(b"0000007\0");
        raw[116..124].copy_from_slice(b"0000052\0");
        raw[136..148].copy_from_slice(b"00000000014\0");
    };
    let device = |major: &'static [u8], minor: &'static [u8]| {
        move |raw: &mut [u8]| {
            raw[257..265].copy_from_slice(b"ustar\x0000");
            raw[329..337].copy_from_slice(major);
            raw[337..345].copy_from_slice(minor);
        }
    };
    let target = |target: &'static [u8]| move |raw: &mut [u8]| raw[157..157 + target.len()].copy_from_slice(target);
    let xattr: &[u8] = b"\x01\0\n\n20 path=../../x\n";
    vec![
        entry(b'5', b"./", b"", |raw| raw[100..108].copy_from_slice(b"0000700\0")),
        entry(b'5', b"dev/", b"", |_| {}),
        entry(b'6', b"dev/fifo", b"", |_| {}),
        entry(b'3', b"dev/null", b"", device(b"0000001\0", b"0000003\0")),
        entry(b'4', b"dev/sda", b"", device(b"0000010\0", b"0000000\0")),
        entry(b'5', b"usr/", b"", |_| {}),
        [pax(&[("SCHILY.xattr.security.capability", xattr)]), entry(b'0', b"usr/ping", b"program", owner)].concat(),
        entry(b'1', b"usr/ping4", b"", target(b"usr/ping")),
        entry(b'2', b"usr/sh", b"", target(b"bash")),
        [pax(&[("mtime", b"-1.5")]), plain(b"usr/text", b"text")].concat(),
    ]
}

#[test]
fn a_tar_of_a_tree_of_a_tar_is_the_same() {
    let (tree, stats) = read_tree(&ended(&members())).unwrap();
    let counts = Stats { files: 2, directories: 2, symlinks: 1, hard_links: 1, special: 3, bytes: 11, newest: 12 };
    assert_eq!(stats, counts);
    let ping = stat_of(&tree, "usr/ping");
    assert_eq!((ping.mode, ping.uid, ping.gid, ping.mtime), (0o4755, 7, 42, Time::of_seconds(12)));
    assert_eq!(ping.xattrs[&b"security.capability"[..]], b"\x01\0\n\n20 path=../../x\n");
    assert_eq!(stat_of(&tree, "usr/ping4"), ping);
    assert_eq!(tree.root.stat.mode, 0o700);
    let tar = tar_of_tree(&tree);
    let (again, counted) = read_tree(&tar).unwrap();
    assert!(again == tree && counted == stats);
    assert!(tar_of_tree(&again) == tar);
    // Compression and the wrapping of a package change nothing.
    let (packed, _) = read_tree(&deb_of("data.tar.xz", &compress(Compression::Xz, &tar))).unwrap();
    assert!(packed == tree);
}

/// Members in any order, with directories missing and names that come twice, are one tree.
#[test]
fn order_and_repetition_do_not_matter() {
    let (tree, _) = read_tree(&ended(&members())).unwrap();
    let mut mixed = members();
    mixed[5..].rotate_left(2);
    mixed.swap(0, 4);
    let (last, first) = (mixed.len() - 1, plain(b"usr/sh", b"not yet"));
    mixed.swap(last, 5);
    mixed.insert(0, first);
    // A hard link needs its file before it.
    let (file, link) = (members()[6].clone(), members()[7].clone());
    mixed.retain(|member| *member != file && *member != link);
    mixed.extend([file, link]);
    let (other, _) = read_tree(&ended(&mixed)).unwrap();
    assert!(other == tree);
}

/// A capability is bytes, and among them may be those of a line end.
#[test]
fn attributes_with_line_ends_unpack() {
    let world = World::new();
    assert_eq!(world.unpack(&[&ended(&[members()[6].clone()])]).map(|stats| stats.files), Ok(1));
    assert_eq!(world.read("usr/ping"), "program");
    let hidden = pax(&[("SCHILY.xattr.user.a", b"\n\n"), ("path", b"other")]);
    let error = World::new().unpack(&[&ended(&[hidden, plain(b"f", b"x")])]).unwrap_err();
    assert!(error.contains("its pax header can be read in two ways: `path`"), "{error}");
}

#[test]
fn metadata_with_two_readings_is_refused_and_unpacks() {
    let value: &[u8] = b"\n\n";
    let hidden = pax(&[("SCHILY.xattr.user.a", value), ("path", b"other")]);
    let cases: [(Vec<u8>, &str); 6] = [
        ([hidden, plain(b"f", b"x")].concat(), "its pax header can be read in two ways: `path`"),
        (
            [pax(&[("SCHILY.xattr.user.a", b"1"), ("SCHILY.xattr.user.a", b"2")]), plain(b"f", b"x")].concat(),
            "its pax header has two records `SCHILY.xattr.user.a`",
        ),
        (entry(b'0', b"f", b"x", |raw| raw[108..112].copy_from_slice(b"root")), "its owner is no number of 32 bits"),
        ([pax(&[("gid", b"4294967296")]), plain(b"f", b"x")].concat(), "its group is no number of 32 bits"),
        ([pax(&[("mtime", b"9223372036854775808")]), plain(b"f", b"x")].concat(), "its time is no number of 64 bits"),
        (entry(b'3', b"f", b"", |raw| raw[329..333].copy_from_slice(b"null")), "its device has no numbers"),
    ];
    for (member, reason) in cases {
        let error = read_tree(&ended(&[member])).map(|_| ()).unwrap_err();
        assert_eq!(error, format!("`archive`: entry `f` is refused: {reason}"));
    }
    // A file on a disk has none of it.
    let owner = entry(b'0', b"f", b"x", |raw| raw[108..112].copy_from_slice(b"root"));
    assert_eq!(World::new().unpack(&[&ended(&[owner])]).map(|stats| stats.files), Ok(1));
}

#[test]
fn hostile_members_do_not_leave_the_tree() {
    let link = |target: &'static [u8]| {
        entry(b'2', b"out", b"", move |raw| raw[157..157 + target.len()].copy_from_slice(target))
    };
    for target in [&b".."[..], b"../..", b"/"] {
        let (tree, _) = read_tree(&ended(&[link(target), plain(b"out/f", b"x")])).unwrap();
        assert_eq!(stat_of(&tree, "f").mode, 0o644);
    }
    for (name, reason) in [(&b"../f"[..], "its path contains `..`"), (b"/f", "its path is absolute")] {
        let error = read_tree(&ended(&[plain(name, b"x")])).map(|_| ()).unwrap_err();
        assert_eq!(error, format!("`archive`: entry `{}` is refused: {reason}", name.escape_ascii()));
    }
}

#[test]
fn zip_files_have_modes() {
    let options = zip::write::SimpleFileOptions::default();
    let archive = zip_of(|zip| {
        zip.add_directory("d/", options.unix_permissions(0o700)).unwrap();
        zip.start_file("d/program", options.unix_permissions(0o711)).unwrap();
        zip.write_all(b"x").unwrap();
        zip.add_symlink("link", "d/program", options).unwrap();
    });
    let (tree, _) = read_tree(&archive).unwrap();
    assert_eq!(["d", "d/program", "link"].map(|path| stat_of(&tree, path).mode), [0o700, 0o711, 0o777]);
}
