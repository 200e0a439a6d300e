//! A link at the path of an output is the output, and nothing is written to its target
//! (CVE-2026-39860).

use super::Precious;
use crate::common::{World, text};
use std::fs;

#[test]
fn are_taken_as_links() {
    let world = World::new();
    let precious = Precious::new();
    for (name, target) in [("to-directory", precious.directory()), ("to-file", precious.file())] {
        let built = world.built(&world.script(name, &format!("ln -s {} $out", target.display())).add(&world));
        assert_eq!(fs::read_link(&built).unwrap(), target);
    }
    precious.assert_untouched();
}

#[test]
fn that_gave_way_to_a_file_are_gone() {
    let world = World::new();
    let built = world.built(&world.script("file", "ln -s /etc/passwd $out; rm $out; echo x > $out").add(&world));
    assert!(fs::symlink_metadata(&built).unwrap().is_file());
    assert_eq!(text(&built), "x\n");
}
