//! An output holds files, directories and symbolic links; pipes and sockets are refused.

use crate::common::{World, text};

#[test]
fn are_no_output() {
    let world = World::new();
    for (name, script) in [
        ("fifo", "mkdir $out; mkfifo $out/pipe"),
        ("fifo-alone", "mkfifo $out"),
        (
            "socket",
            r#"mkdir $out; perl -e 'socket(S, 1, 1, 0); bind(S, pack("S a*", 1, "$ENV{out}/socket")) or die $!'"#,
        ),
    ] {
        let error = world.error(&world.script(name, script).add(&world));
        assert!(error.contains("holds only regular files") && error.contains(name), "{error}");
    }
}

#[test]
fn in_the_build_directory_are_nobodys_business() {
    let world = World::new();
    let fine = world.script("fine", "mkfifo /build/pipe; echo x > $out").add(&world);
    assert_eq!(text(&world.built(&fine)), "x\n");
}
