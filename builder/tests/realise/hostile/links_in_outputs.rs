//! Links in an output are kept and not followed: neither the store's permissions nor its times
//! reach a file outside.

use super::Precious;
use crate::common::World;
use std::fs;

#[test]
fn are_not_followed() {
    let world = World::new();
    let precious = Precious::new();
    let script = format!(
        "mkdir $out; ln -s {0} $out/file; ln -s {1} $out/directory; ln -s / $out/root; ln -s ../../../../etc/passwd $out/up",
        precious.file().display(),
        precious.directory().display()
    );
    let built = world.built(&world.script("links", &script).add(&world));
    precious.assert_untouched();
    assert_eq!(fs::read_link(built.join("file")).unwrap(), precious.file());
    assert_eq!(fs::read_link(built.join("directory")).unwrap(), precious.directory());
    assert_eq!(fs::read_link(built.join("root")).unwrap().to_str(), Some("/"));
    assert_eq!(fs::read_link(built.join("up")).unwrap().to_str(), Some("../../../../etc/passwd"));
}

/// The target of a link is no part of the output.
#[test]
fn make_the_same_output_regardless_of_their_targets() {
    let precious = Precious::new();
    let made = |text: &str| {
        let world = World::new();
        fs::write(precious.file(), text).unwrap();
        let drv = world.script("link", &format!("ln -s {} $out", precious.file().display())).add(&world);
        world.built(&drv);
        world.store.tree_of(&world.output(&drv, "out")).unwrap()
    };
    assert_eq!(made("one"), made("two"));
}
