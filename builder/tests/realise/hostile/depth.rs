//! Trees deeper than the format allows are refused with a message, not with a crash.

use crate::common::World;

/// Makes an output of so many nested directories.
fn nested(world: &World, name: &str, depth: u32) -> model::StorePath {
    let script =
        format!("perl -e 'mkdir $ENV{{out}}; chdir $ENV{{out}}; for (1..{depth}) {{ mkdir q(d) or die; chdir q(d) }}'");
    world.script(name, &script).add(world)
}

#[test]
fn without_end_is_refused() {
    let world = World::new();
    for depth in [257, 2000] {
        let error = world.error(&nested(&world, "deep", depth));
        assert!(error.contains("nested deeper than the 256 directories"), "{depth}: {error}");
    }
}

#[test]
fn up_to_the_bound_is_taken_over() {
    let world = World::new();
    assert!(world.built(&nested(&world, "bound", 256)).join("d/".repeat(256)).is_dir());
}
