#!/usr/bin/env bash
# The Rust crate `tar` writes a pax record whose value has a line end, and cannot read it back.
#
# A pax record is "LENGTH KEY=VALUE\n", and the length alone says where it ends (POSIX.1-2001, pax, "Extended
# Header"). Values of extended attributes are bytes, and GNU tar and bsdtar write them as SCHILY.xattr.NAME with
# all bytes they have. The crate's reader splits the header at line ends before it looks at lengths, so the
# record is an error, while Python's tarfile reads the archive as it was meant.
#
# Seen with tar 0.4.46 and Python 3.11:
#   crate: error: malformed pax extension
#   python: 'first\nsecond'
#
# Needs cargo and python3. Exits with 1 when the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cargo -q init --name pax --vcs none .
cargo -q add tar@=0.4.46
cat >src/main.rs <<'RUST'
use std::io::Read;

fn main() {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("SCHILY.xattr.user.note", &b"first\nsecond"[..])]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, "file", &b"text"[..]).unwrap();
    let archive = builder.into_inner().unwrap();
    std::fs::write("note.tar", &archive).unwrap();

    let mut archive = tar::Archive::new(&archive[..]);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    for record in entry.pax_extensions().unwrap().expect("the entry has a pax header") {
        match record {
            Ok(record) => println!("crate: {:?}={:?}", record.key(), record.value()),
            Err(error) => println!("crate: error: {error}"),
        }
        break;
    }
    entry.read_to_end(&mut Vec::new()).unwrap();
}
RUST
cargo -q run >seen
python3 -c '
import tarfile
with tarfile.open("note.tar") as archive:
    print("python:", repr(archive.next().pax_headers["SCHILY.xattr.user.note"]))
' >>seen
cat seen
cat >expected <<'TEXT'
crate: error: malformed pax extension
python: 'first\nsecond'
TEXT
diff expected seen
