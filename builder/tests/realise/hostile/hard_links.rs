//! Hard links are separated: no name in the store shares an inode that another process could
//! change.

use super::{assert_clean, not_normalised};
use crate::common::{World, text};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn within_an_output_come_apart() {
    let world = World::new();
    let drv = world.script("within", "mkdir $out; echo one > $out/a; ln $out/a $out/b").add(&world);
    let built = world.built(&drv);
    assert_ne!(fs::metadata(built.join("a")).unwrap().ino(), fs::metadata(built.join("b")).unwrap().ino());
    assert_eq!((text(&built.join("a")), text(&built.join("b"))), ("one\n".into(), "one\n".into()));
    assert_eq!(not_normalised(&built), Vec::<String>::new());
}

/// The output that is adopted first has another name in the second one, by which it could be
/// written to.
#[test]
fn between_outputs_come_apart() {
    let world = World::new();
    let script = "mkdir $out $dev; echo one > $out/a; ln $out/a $dev/b; echo two > $dev/c; ln $dev/c $out/d
        chmod 777 $out/a; chmod 666 $dev/c";
    let drv = world.script("between", script).outputs(&["dev", "out"]).add(&world);
    world.built(&drv);
    let outputs = ["out", "dev"].map(|name| world.physical(&drv, name));
    for output in &outputs {
        assert_eq!(not_normalised(output), Vec::<String>::new());
    }
    let [out, dev] = &outputs;
    for (file, content, executable) in [
        (out.join("a"), "one\n", true),
        (dev.join("b"), "one\n", true),
        (dev.join("c"), "two\n", false),
        (out.join("d"), "two\n", false),
    ] {
        assert_eq!((text(&file), fs::metadata(&file).unwrap().mode() & 0o111 != 0), (content.into(), executable));
    }
    assert_clean(&world);
    // All its names are in the store itself.
    let mut names = BTreeMap::new();
    count_names(world.store.root(), &mut names);
    for file in [out.join("a"), dev.join("b"), dev.join("c"), out.join("d")] {
        let meta = fs::metadata(&file).unwrap();
        assert_eq!(names.get(&meta.ino()), Some(&meta.nlink()), "{}", file.display());
    }
}

#[test]
fn to_other_places_of_a_build_cannot_be_made() {
    let world = World::new();
    let script = "mkdir $out; echo one > $out/a; for place in /build /tmp /dev/shm; do
            ln $out/a $place/kept 2>/dev/null && exit 9; echo two > $place/b; ln $place/b $out/b 2>/dev/null && exit 9
            cat $place/b > $out/b; done";
    let built = world.built(&world.script("places", script).add(&world));
    assert_eq!(text(&built.join("b")), "two\n", "copying works");
}

fn count_names(directory: &Path, names: &mut BTreeMap<u64, u64>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            count_names(&entry.path(), names);
        } else if kind.is_file() {
            *names.entry(entry.metadata().unwrap().ino()).or_default() += 1;
        }
    }
}
