//! Archives changed at random: unpacking ends in a tree or an error, within its limits, and nothing
//! outside of the destination changes.
//!
//! ```text
//! FUZZ_SECS=600 FUZZ_SEED=1 cargo test -p archive fuzz -- --nocapture
//! ```

use super::*;
use std::collections::BTreeSet;
use test_support::mutate::{Rounds, mutate};

/// More than any archive here unpacks to by accident.
const BYTES_MAX: u64 = 1 << 20;
const ENTRIES_MAX: u64 = 1_000;

fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o755);
    header.set_cksum();
    builder.append_data(&mut header, "n/".repeat(70) + "long", &b"text"[..]).unwrap();
    builder.append_pax_extensions([("path", &b"pax/name"[..]), ("size", b"4"), ("linkpath", b"x")]).unwrap();
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, &b"pax!"[..]).unwrap();
    let mut bytes = tar_of(&[
        odd(EntryType::Directory, "d/", ""),
        file("d/a", &[1; 700]),
        odd(EntryType::Symlink, "d/l", "a"),
        odd(EntryType::Symlink, "up", ".."),
        odd(EntryType::Link, "d/h", "d/a"),
        file("d/l", b"text"),
        file("e", b"text"),
    ]);
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(builder.into_inner().unwrap());
    bytes
}

fn zip() -> Vec<u8> {
    zip_of(|zip| {
        for (number, method) in [
            zip::CompressionMethod::Stored,
            zip::CompressionMethod::Deflated,
            zip::CompressionMethod::Bzip2,
            zip::CompressionMethod::Zstd,
            zip::CompressionMethod::Xz,
        ]
        .into_iter()
        .enumerate()
        {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            zip.start_file(format!("d/{number}"), options.unix_permissions(0o755)).unwrap();
            zip.write_all(&[b'x'; 600]).unwrap();
        }
        zip.add_symlink("link", "d/1", zip::write::SimpleFileOptions::default()).unwrap();
        zip.add_directory("e/", zip::write::SimpleFileOptions::default()).unwrap();
    })
}

/// Corrects the checksums in tar headers, so that changes get past them.
fn correct_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Counts everything below a directory, and checks that archives may bring it.
fn check_tree(directory: &Path, files: &mut u64, bytes: &mut u64) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let kind = meta.file_type();
        assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "{}", entry.path().display());
        assert_eq!(meta.mode() & 0o7000, 0, "{}", entry.path().display());
        *files += 1;
        if kind.is_dir() {
            check_tree(&entry.path(), files, bytes);
        } else if kind.is_file() {
            *bytes += meta.len() / meta.nlink().max(1);
        }
    }
}

#[test]
fn changed_archives() {
    let plain = tar();
    let mut seeds = vec![plain.clone(), zip(), deb_of("data.tar", &plain)];
    for compression in COMPRESSIONS {
        let compressed = compress(compression, &plain);
        seeds.extend([deb_of("data.tar.any", &compressed), compressed]);
    }
    let mut size = vec![b'7'; 11];
    size.push(0);
    let words: [&[u8]; 20] = [
        b"../",
        b"/",
        b"..",
        b"\0",
        b"x\0",
        &size,
        b"\x80\0\0\0\xff\xff\xff\xff",
        b"ustar\x0000",
        b"ustar  \0",
        b"L",
        b"K",
        b"x",
        b"g",
        b"S",
        b"1",
        b"2",
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"18 path=../../x\n\n",
    ];
    let mut rounds = Rounds::new("unpack", 1_500);
    let (mut whole, mut reasons) = (0, BTreeSet::new());
    while let Some(mut random) = rounds.next() {
        let which = random.below(seeds.len());
        let mut bytes = mutate(&seeds[which], &seeds[random.below(seeds.len())], &words, &mut random);
        if which == 0 && !random.one_in(4) {
            correct_checksums(&mut bytes);
        }
        if random.one_in(5) {
            // The bytes in a compressed stream change more often than the stream.
            let mut inner = mutate(&plain, &plain, &words, &mut random);
            correct_checksums(&mut inner);
            bytes = compress(COMPRESSIONS[random.below(COMPRESSIONS.len())], &inner);
        }
        let _watched = rounds.watch(&bytes);
        let mut world = World::new();
        world.options.strip = random.below(3);
        world.options.limits = Limits { entries_max: ENTRIES_MAX, bytes_max: BYTES_MAX, ratio_max: 2_000 };
        match world.unpack(&[&bytes]) {
            Ok(_) => whole += 1,
            Err(error) => {
                reasons.insert(error.chars().filter(|c| c.is_ascii_lowercase()).take(60).collect::<String>());
            }
        }
        if world.dest().exists() {
            let (mut files, mut size) = (0, 0);
            check_tree(&world.dest(), &mut files, &mut size);
            // Directories that entries imply are not counted by the limit.
            assert!(files <= ENTRIES_MAX * 300 && size <= BYTES_MAX, "{files} files, {size} bytes");
        }
    }
    assert!(whole > 20 && reasons.len() > 10, "{whole} whole, {reasons:?}");
}

/// A link that comes first leads elsewhere for a moment only: each name is resolved when it is
/// used.
#[test]
fn a_link_and_a_directory_of_one_name() {
    let world = World::new();
    let archive = tar_of(&[
        odd(EntryType::Symlink, "a", ".."),
        odd(EntryType::Directory, "a/", ""),
        file("a/outside", b"caught"),
        odd(EntryType::Symlink, "b", "/"),
        odd(EntryType::Link, "c", "b"),
        file("c/outside", b"caught"),
    ]);
    let _ = world.unpack(&[&archive]);
    // `World::unpack` has looked at what is outside.
}

/// Names are held in memory, so one that unpacks to gigabytes must not be read to its end.
#[test]
fn a_name_without_end() {
    for kind in [b'L', b'K', b'x', b'g'] {
        let mut header = tar::Header::new_gnu();
        header.set_path("././@LongLink").unwrap();
        header.set_entry_type(EntryType::new(kind));
        header.set_size(1 << 30);
        header.set_cksum();
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(header.as_bytes()).unwrap();
        for _ in 0..1 << 10 {
            encoder.write_all(&[b'n'; 1 << 20]).unwrap();
        }
        let error = World::new().unpack(&[&encoder.finish().unwrap()]).unwrap_err();
        assert!(error.contains("more than 1 MiB"), "{error}");
    }
}

/// Bytes outside of files take time as well, so they count towards the ratio.
#[test]
fn padding_without_end() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&tar_of(&[file("a", b"text")])).unwrap();
    for _ in 0..1 << 10 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    let error = World::new().unpack(&[&encoder.finish().unwrap()]).unwrap_err();
    assert!(error.contains("one byte expands to more than"), "{error}");
}

#[test]
fn depth_is_bounded_by_the_length_of_names() {
    let world = World::new();
    let mut builder = tar::Builder::new(Vec::new());
    let deep = "d/".repeat(200_000) + "f";
    builder.append_pax_extensions([("path", deep.as_bytes())]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    let error = world.unpack(&[&builder.into_inner().unwrap()]).unwrap_err();
    assert!(error.contains("is refused"), "{error}");
}
