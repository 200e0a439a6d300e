//! The directories of a failed build are removed, or kept for its user alone (CVE-2025-52992).

use crate::common::{World, text};
use std::fs;
use std::os::unix::fs::MetadataExt;

const FAILING: &str =
    "mkdir $out; echo x > $out/f; chmod 777 $out $out/f /build; touch /build/tool; chmod 777 /build/tool; exit 1";

#[test]
fn leave_nothing_for_others() {
    let mut world = World::new();
    let drv = world.script("failing", FAILING).add(&world);
    world.error(&drv);
    assert!(!world.store.root().join("failed").exists());
    world.options.keep_failed = true;
    world.error(&drv);
    let failed = world.store.root().join("failed");
    let mode = fs::metadata(&failed).unwrap().mode();
    let inner = fs::metadata(failed.join(drv.to_string())).map_or(0o700, |stat| stat.mode());
    assert!(mode & 0o077 == 0 || inner & 0o077 == 0, "{mode:o} {inner:o}: others reach what a build made");
    // While it ran, no other user could enter it either.
    let temporary = fs::metadata(world.store.root().join("tmp")).unwrap().mode();
    assert_eq!(temporary & 0o022, 0, "{temporary:o}");
}

#[test]
fn make_nothing_valid_and_can_be_built_again() {
    let world = World::new();
    let half = "mkdir $out; echo half > $out/f; exit 1";
    let drv = world.script("half", half).add(&world);
    world.error(&drv);
    assert!(!world.store.is_valid(&world.output(&drv, "out")).unwrap());
    assert!(!world.physical(&drv, "out").exists());
    let whole = world.script("half", "mkdir $out; echo whole > $out/f").add(&world);
    assert_eq!(text(&world.built(&whole).join("f")), "whole\n");
}
