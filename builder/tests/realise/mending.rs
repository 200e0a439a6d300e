//! What is damaged is found, made again, and never given out.

use crate::common::{World, text};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use store::{StoreModel, StorePathName};

fn tamper(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let length = std::fs::metadata(path).unwrap().len() as usize;
    std::fs::write(path, vec![b'!'; length]).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn what_a_root_needs_is_built_again() {
    let world = World::new();
    let below = world.script("below", "echo below > $out").add(&world);
    let path = StoreModel::Native.print(&world.output(&below, "out"));
    let above =
        world.script("above", &format!("echo {path} > $out")).needs(&world, &below).set("input", path).add(&world);
    let garbage = world.script("garbage", "echo garbage > $out").add(&world);
    for drv in [&above, &garbage] {
        world.built(drv);
    }
    world.store.add_named_root(&StorePathName::new("keep").unwrap(), &world.output(&above, "out")).unwrap();
    for drv in [&below, &garbage] {
        tamper(&world.physical(drv, "out"));
    }
    let report = world.store.verify(true).unwrap();
    let outputs = [&below, &above, &garbage].map(|drv| world.output(drv, "out"));
    assert_eq!(report.invalidated, outputs.iter().cloned().collect());
    let mended = world.builder().mend(&report.invalidated).unwrap();
    assert_eq!(mended.made, outputs[..2].iter().cloned().collect());
    assert!(mended.missing.is_empty() && mended.failures.is_empty());
    assert_eq!(text(&world.physical(&below, "out")), "below\n");
    assert_eq!(world.store.verify(false).unwrap().damage, []);
    assert!(!world.store.is_valid(&outputs[2]).unwrap(), "nothing needs it");
}

#[test]
fn a_result_that_was_tampered_with_is_not_taken() {
    let world = World::new();
    let first = world.script("same", "echo same > $out").add(&world);
    let blob = world.store.tree_of(&{
        world.built(&first);
        world.output(&first, "out")
    });
    let blob = world.store.blob_path(&blob.unwrap().digest().unwrap(), false);
    // Another derivation with the same action: its result is known.
    let second = world.script("same", "echo same > $out").set("__note", "another").add(&world);
    tamper(&blob);
    assert_eq!(text(&world.built(&second)), "same\n");
    assert_eq!(world.ended("same"), "Built");
    // Untouched, it is taken.
    let third = world.script("same", "echo same > $out").set("__note", "a third").add(&world);
    assert_eq!(text(&world.built(&third)), "same\n");
    assert_eq!(world.ended("same"), "CutOff");
}
