//! An output's name is the name of one file beside the others: it names no other directory and
//! leads to none.

use crate::common::{World, recipe, text};
use insta::assert_snapshot;

fn refused(world: &World, name: &str) -> String {
    world.error(&world.script("named", "echo x > $out").outputs(&["out", name]).add(world))
}

#[test]
fn that_stand_for_a_directory_are_refused() {
    let world = World::new();
    assert_snapshot!(refused(&world, "."), @"attribute `outputs`: of `named.drv`: `.` is not the name of an output but of a directory; give it another name");
    assert_snapshot!(refused(&world, ".."), @"attribute `outputs`: of `named.drv`: `..` is not the name of an output but of a directory; give it another name");
    assert_snapshot!(refused(&world, ""), @"attribute `outputs`: of `named.drv`: the name of an output must not be empty");
}

/// It becomes a variable, too.
#[test]
fn that_are_no_variables_are_refused() {
    let world = World::new();
    assert_snapshot!(refused(&world, "a=b"), @"attribute `outputs`: of `named.drv`: the name of an output must not contain '=', and `a=b` does");
}

/// Built-in builders put their outputs beside each other as well.
#[test]
fn are_refused_of_built_in_builders() {
    let world = World::new();
    let drv = recipe("named", "builtin:write").set("files", r#"{"a": "x"}"#).outputs(&["."]).add(&world);
    assert!(world.error(&drv).contains("is not the name of an output"), "{}", world.error(&drv));
}

#[test]
fn of_other_kinds_are_names_of_files() {
    let world = World::new();
    let names = ["out", "...", "-", "lib.a", "out_2", "x+y", "a?"];
    let script = "for o in ${out%/*}/out ${out%/*}/... ${out%/*}/- ${out%/*}/lib.a ${out%/*}/out_2 ${out%/*}/x+y ${out%/*}/a?; do echo x > \"$o\"; done";
    let drv = world.script("named", script).outputs(&names).add(&world);
    world.built(&drv);
    for name in names {
        assert_eq!(text(&world.physical(&drv, name)), "x\n", "{name}");
    }
}
