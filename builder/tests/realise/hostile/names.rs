//! Names are bytes: line ends and other than UTF-8 survive.

use super::assert_clean;
use crate::common::World;
use std::fs;
use std::os::unix::ffi::OsStrExt;

#[test]
fn are_bytes() {
    let world = World::new();
    let script = r#"mkdir $out; perl -e 'chdir $ENV{out}; for my $n ("new\nline", "bad\xff\xfe", "-rf", " ", "\\", "*", "a" x 255) {
        open F, ">", $n or die $!; print F "x" }'"#;
    let built = world.built(&world.script("names", script).add(&world));
    let mut names: Vec<Vec<u8>> =
        fs::read_dir(&built).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    let long = vec![b'a'; 255];
    let expected: [&[u8]; 7] = [b" ", b"*", b"-rf", b"\\", &long, b"bad\xff\xfe", b"new\nline"];
    assert_eq!(names, expected);
    assert_clean(&world);
}

/// So do the names of directories and links, and the targets of links.
#[test]
fn of_directories_and_links_are_bytes() {
    let world = World::new();
    let script = r#"mkdir $out; perl -e 'chdir $ENV{out}; mkdir "d\n\xff" or die; symlink "to\n\xfe", "d\n\xff/l\r\xfd" or die'"#;
    let built = world.built(&world.script("directories", script).add(&world));
    let name = |bytes: &'static [u8]| std::ffi::OsStr::from_bytes(bytes);
    let target = fs::read_link(built.join(name(b"d\n\xff")).join(name(b"l\r\xfd"))).unwrap();
    assert_eq!(target.as_os_str(), name(b"to\n\xfe"));
    assert_clean(&world);
}

/// A message names an entry beside the outputs, also when its name is hostile.
#[test]
fn that_are_refused_can_be_printed() {
    let world = World::new();
    let script = r#"echo x > $out; perl -e 'open F, ">", "/output/bad\n\xff" or die $!'"#;
    let error = world.error(&world.script("beside", script).add(&world));
    assert!(error.contains("not an output of this derivation"), "{error}");
}
