//! Times and permissions are the store's, not those that the build left.

use super::not_normalised;
use crate::common::{World, text};
use std::fs;
use std::time::{Duration, SystemTime};

#[test]
fn are_the_stores() {
    let world = World::new();
    let script = "mkdir -p $out/shut/deep $out/open; echo x > $out/shut/f; echo y > $out/g
        chmod 666 $out/g; chmod 777 $out/open; touch -d 2200-01-01 $out/g $out/open; touch -d 1903-01-01 $out/shut/f
        ln -s g $out/link; chmod 0 $out/shut/f; chmod 500 $out/shut/deep; chmod 100 $out/shut";
    let built = world.built(&world.script("odd", script).add(&world));
    assert_eq!(not_normalised(&built), Vec::<String>::new());
    assert_eq!(text(&built.join("shut/f")), "x\n");
}

/// The one permission that is kept.
#[test]
fn of_programs_let_them_be_run() {
    let world = World::new();
    let built = world.built(
        &world
            .script("run", "mkdir $out; cp_() { cat /bin/id > $1; }; cp_ $out/a; cp_ $out/b; chmod 711 $out/a")
            .add(&world),
    );
    let mode =
        |name: &str| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(built.join(name)).unwrap().permissions());
    assert_eq!((mode("a") & 0o7777, mode("b") & 0o7777), (0o555, 0o444));
}

/// Times in the future, as far as the file system can store them: of files, directories, links and
/// the output itself.
#[test]
fn in_the_future_are_the_stores_too() {
    let tree = "mkdir -p $out/d; echo x > $out/f; echo y > $out/d/g; ln -s f $out/l";
    let mut nodes = Vec::new();
    for (nr, touch) in [
        "true",
        "touch -d 2038-01-20 $out/f; touch -d 2107-01-01 $out/d/g $out/d; touch -h -d 2446-05-01 $out/l; touch -d 2400-01-01 $out",
        "touch -a -d 2300-01-01 $out/f $out/d/g; touch -m -d 1901-12-14 $out/f $out/d $out; touch -h -d 2107-01-01 $out/l",
    ]
    .into_iter()
    .enumerate()
    {
        let world = World::new();
        let seen = "stat -c %Y $out/f $out/l > /build/times; while read t; do echo $t; done < /build/times";
        let drv = world.script("times", &format!("{tree}; {touch}; {seen}")).add(&world);
        let built = world.built(&drv);
        let log = world.log(&drv);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let later = (now + Duration::from_secs(3600)).as_secs().to_string().parse::<i64>().unwrap();
        let future = log.lines().filter(|line| line.parse::<i64>().unwrap() > later).count();
        assert_eq!(future, [0, 2, 1][nr], "the build has set them: {log}");
        assert_eq!(not_normalised(&built), Vec::<String>::new());
        nodes.push(world.store.tree_of(&world.output(&drv, "out")).unwrap());
    }
    assert!(nodes.iter().all(|node| *node == nodes[0]), "the output is the same: {nodes:?}");
}
