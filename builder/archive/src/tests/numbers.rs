//! Names, numbers and their encodings where readers of archives disagree: anything that can be read
//! in two ways is refused, and the forms that GNU tar writes are read as GNU tar reads them.

use super::*;

/// A header with fields set to bytes, then its checksum.
fn header(kind: u8, name: &[u8], size: u64, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    let raw = header.as_mut_bytes();
    raw[..name.len()].copy_from_slice(name);
    raw[156] = kind;
    change(raw);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

/// An extension of one kind before an entry.
fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
    padded([header(kind, b"x", content.len() as u64, |_| {}), content.to_vec()].concat())
}

pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    extension(b'x', &records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
}

pub fn entry(kind: u8, name: &[u8], content: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    padded([header(kind, name, content.len() as u64, change), content.to_vec()].concat())
}

pub fn plain(name: &[u8], content: &[u8]) -> Vec<u8> {
    entry(b'0', name, content, |_| {})
}

pub fn ended(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

/// Unpacks, and returns the text and the time of `f`, or the error.
fn said(parts: &[Vec<u8>]) -> String {
    let world = World::new();
    match world.unpack(&[&ended(parts)]) {
        Ok(stats) => match fs::read_to_string(world.dest().join("f")) {
            Ok(text) => format!("f = {text}, {}", stats.newest),
            Err(_) => "nothing".to_owned(),
        },
        Err(error) => error,
    }
}

#[test]
fn numbers_of_pax_headers() {
    let cases: [(&str, &[u8], &str); 22] = [
        ("size", b"4", "f = text, 0"),
        ("size", b"0004", "f = text, 0"),
        ("size", b"", "no number"),
        ("size", b"x", "no number"),
        ("size", b"-4", "no number"),
        ("size", b"+4", "no number"),
        ("size", b" 4", "no number"),
        ("size", b"4.0", "no number"),
        ("size", b"0x4", "no number"),
        ("size", b"4\0", "no number"),
        ("size", b"99999999999999999999", "no number"),
        ("uid", b"0", "f = text, 0"),
        ("uid", b"root", "no number"),
        ("gid", b"-1", "no number"),
        ("mtime", b"12", "f = text, 12"),
        ("mtime", b"12.75", "f = text, 12"),
        ("mtime", b"-12.75", "f = text, 0"),
        ("mtime", b"12.", "f = text, 12"),
        ("mtime", b"", "no time"),
        ("mtime", b"soon", "no time"),
        ("mtime", b"1e3", "no time"),
        ("mtime", b"--1", "no time"),
    ];
    for (key, value, expected) in cases {
        let said = said(&[pax(&[(key, value)]), plain(b"f", b"text")]);
        let value = value.escape_ascii();
        assert!(said.contains(expected), "{key}={value}: {said}");
        if expected.starts_with("no ") {
            assert!(said.contains(&format!("the `{key}` of its pax header is {expected}: `{value}`")), "{said}");
        }
    }
}

#[test]
fn records_that_are_there_twice() {
    for (key, first, second) in [("size", "4", "3"), ("size", "4", "4"), ("path", "f", "g"), ("linkpath", "f", "g")] {
        let said = said(&[pax(&[(key, first.as_bytes()), (key, second.as_bytes())]), plain(b"f", b"text")]);
        assert!(said.contains(&format!("its pax header has two records `{key}`")), "{said}");
    }
    // Others are of no meaning here.
    let twice = pax(&[("comment", b"a"), ("comment", b"b"), ("mtime", b"1"), ("mtime", b"2")]);
    assert_eq!(said(&[twice, plain(b"f", b"text")]), "f = text, 2");
}

#[test]
fn headers_of_the_whole_archive() {
    let global = |records: &[(&str, &[u8])]| {
        extension(b'g', &records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
    };
    // The header that `git archive` writes.
    let comment: &[(&str, &[u8])] = &[("comment", b"0123456789012345678901234567890123456789"), ("mtime", b"5")];
    assert_eq!(said(&[global(comment), plain(b"f", b"text")]), "f = text, 0");
    for key in ["size", "path", "linkpath", "GNU.sparse.size"] {
        let said = said(&[global(&[(key, b"3")]), plain(b"f", b"text")]);
        assert!(said.contains(&format!("it sets `{key}` for all entries")), "{said}");
    }
}

#[test]
fn names_and_zero_bytes() {
    let long = |name: &[u8]| extension(b'L', name);
    let file = || plain(b"short", b"text");
    // GNU tar writes one zero byte after a long name, and reads it as C does.
    for name in [&b"f"[..], b"f\0", b"f\0\0", b"f\0\0\0\0\0\0\0"] {
        assert_eq!(said(&[long(name), file()]), "f = text, 0", "{}", name.escape_ascii());
    }
    for (parts, expected) in [
        (vec![long(b"f\0g\0"), file()], "zero byte"),
        (vec![long(b""), file()], "its name is empty"),
        (vec![long(b"\0\0"), file()], "its name is empty"),
        (vec![pax(&[("path", b"f\0")]), file()], "zero byte"),
        (vec![pax(&[("path", b"f\0g")]), file()], "zero byte"),
        (vec![pax(&[("path", b"")]), file()], "its name is empty"),
        (vec![plain(b"", b"text")], "its name is empty"),
        (vec![entry(b'5', b"", b"", |_| {})], "its name is empty"),
        (vec![plain(b".", b"text")], "it has the name of the whole tree"),
        (vec![plain(b"./", b"text")], "it has the name of the whole tree"),
        (vec![entry(b'2', b"./.", b"", |raw| raw[157] = b'x')], "it has the name of the whole tree"),
        (vec![entry(b'5', b"./", b"", |_| {}), plain(b"f", b"text")], "f = text, 0"),
    ] {
        let said = said(&parts);
        assert!(said.contains(expected), "expected {expected}: {said}");
    }
    // So with targets of links.
    let link = |kind: u8, extension: Vec<u8>| {
        let world = World::new();
        let ended = ended(&[plain(b"t", b"text"), extension, entry(kind, b"f", b"", |_| {})]);
        world.unpack(&[&ended]).map(|_| fs::read_to_string(world.dest().join("f")).unwrap_or_default())
    };
    for kind in *b"12" {
        assert_eq!(link(kind, extension(b'K', b"t\0\0\0")).as_deref(), Ok("text"));
        assert!(link(kind, extension(b'K', b"t\0x\0")).is_err_and(|error| error.contains("zero byte")));
        assert!(link(kind, pax(&[("linkpath", b"t\0")])).is_err_and(|error| error.contains("zero byte")));
    }
}

#[test]
fn numbers_of_headers() {
    let with = |range: std::ops::Range<usize>, bytes: &'static [u8]| {
        let change = move |raw: &mut [u8]| {
            raw[range.clone()].fill(0);
            raw[range.start..range.start + bytes.len()].copy_from_slice(bytes);
        };
        said(&[entry(b'0', b"f", b"text", change)])
    };
    let (mode, size, mtime) = (100..108, 124..136, 136..148);
    for (range, bytes, expected) in [
        (size.clone(), &b"00000000004\0"[..], "f = text, 0"),
        (size.clone(), b"4", "f = text, 0"),
        (size.clone(), b"         4 \0", "f = text, 0"),
        (size.clone(), b"\x80\0\0\0\0\0\0\0\0\0\0\x04", "f = text, 0"),
        (size.clone(), b"4x", "not a number"),
        (size.clone(), b"-4", "not a number"),
        (size, b"", "not a number"),
        (mtime.clone(), b"00000000014\0", "f = text, 12"),
        (mtime.clone(), b"\x80\0\0\0\0\0\0\0\0\0\0\x0c", "f = text, 12"),
        // Ten seconds before 1970, which is no time in the far future.
        (mtime.clone(), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf6", "f = text, 0"),
        (mtime.clone(), b"", "f = text, 0"),
        (mtime.clone(), b"           \0", "f = text, 0"),
        (mtime.clone(), b"99999999999\0", "its time is no number"),
        (mtime, b"x", "its time is no number"),
        (mode, b"rw", "not a number"),
    ] {
        let said = with(range.clone(), bytes);
        assert!(said.contains(expected), "{range:?} = {}: {said}", bytes.escape_ascii());
    }
}

#[test]
fn numbers_of_debian_packages() {
    let deb = |size: &str| {
        let data = ended(&[plain(b"f", b"text")]);
        let mut bytes = ar::MAGIC.to_vec();
        for (name, content, size) in [("debian-binary", &b"2.0\n"[..], "4"), ("data.tar", &data, size)] {
            let size = if size == "right" { data.len().to_string() } else { size.to_owned() };
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes());
            bytes.extend(content);
        }
        World::new().unpack(&[&bytes]).map(|stats| stats.files)
    };
    assert_eq!(deb("right"), Ok(1));
    for size in ["", "+2048", "-1", "0x800", "2048.0", "2e3"] {
        let said = deb(size);
        assert!(said.as_ref().is_err_and(|error| error.contains("has no valid size")), "`{size}`: {said:?}");
    }
}
