use crate::common::{World, recipe};
use builder::BuildError;
use insta::assert_snapshot;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Returns the error without the parts that differ from run to run.
#[track_caller]
fn check(world: &World, drv: &model::StorePath) -> String {
    world.error(drv).replace(&drv.to_string(), "DRV")
}

#[test]
fn a_failing_build_says_where() {
    let world = World::new();
    let script = "echo @phase compile; echo starting; set -x; ls /nowhere; echo never";
    let drv = world.script("broken", script).add(&world);
    assert_snapshot!(check(&world, &drv), @r#"
    `broken` failed: the builder exited with status 2
      phase:       compile
      command:     ls /nowhere
      first error: ls: cannot access '/nowhere': No such file or directory
      last lines of the log:
      > starting
      > + ls /nowhere
      > ls: cannot access '/nowhere': No such file or directory
    "#);
}

#[test]
fn an_output_that_is_not_made() {
    let world = World::new();
    let drv = world.script("lazy", "echo x > $out").outputs(&["dev", "out"]).add(&world);
    assert_snapshot!(check(&world, &drv), @r#"
    `lazy` failed: the builder succeeded but did not make the output `dev`: there is nothing at `/output/dev`
    "#);
}

#[test]
fn an_output_that_is_not_declared() {
    let world = World::new();
    let drv = world.script("eager", "echo x > $out; echo x > /output/doc").add(&world);
    assert_snapshot!(check(&world, &drv), @r#"
    `eager` failed: the builder made `/output/doc`, which is not an output of this derivation; its outputs are `out`
    "#);
}

#[test]
fn writing_outside_of_the_output() {
    let world = World::new();
    let drv = world.script("outside", "echo x > /etc/x").add(&world);
    assert_snapshot!(check(&world, &drv), @r#"
    `outside` failed: the builder exited with status 2
      first error: /bin/sh: 1: cannot create /etc/x: Read-only file system
      last lines of the log:
      > /bin/sh: 1: cannot create /etc/x: Read-only file system
    "#);
}

#[test]
fn trees_that_do_not_fit() {
    let world = World::new();
    let a = world.write("first", json!({"etc/x": {"text": "1"}}));
    let b = world.write("second", json!({"etc/x": {"text": "2"}}));
    let drv = world.script("conflict", "echo x > $out").root(&world, &a).root(&world, &b).add(&world);
    assert_snapshot!(check(&world, &drv), @r#"
    `conflict` failed: the trees do not fit over each other: `etc/x` is a file in first and a different file in second (add a path to `__overlap` to let the later tree win there)
    "#);
    let won = world.script("overlap", "cat /etc/x > $out").root(&world, &a).root(&world, &b).set("__overlap", "etc/*");
    assert_eq!(crate::common::text(&world.built(&won.add(&world))), "2");
}

#[test]
fn another_machine() {
    let world = World::new();
    let mut drv = recipe("foreign", "/bin/sh");
    drv.system("riscv64-linux");
    assert_snapshot!(check(&world, &drv.add(&world)), @r#"
    `foreign` failed: this derivation is for `riscv64-linux`, and this machine builds for `x86_64-linux`
    "#);
}

#[test]
fn reserved_attributes_that_are_not_known_here_are_refused() {
    let world = World::new();
    for (name, value) in [("__base", "x"), ("__metadata", "full"), ("__network", "1")] {
        let drv = world.script("reserved", "echo x > $out").set(name, value).add(&world);
        let error = world.error(&drv);
        assert!(error.contains(name) && error.contains("is not supported"), "{error}");
    }
}

#[test]
fn keep_going_builds_what_it_can_and_names_what_it_cannot() {
    let mut world = World::new();
    world.options.jobs = 1;
    let bad = world.script("bad", "exit 7").add(&world);
    let good = world.script("good", "echo x > $out").add(&world);
    let above = world.script("above", "echo x > $out").needs(&world, &bad).needs(&world, &good).add(&world);
    let error = world.build(&[&above]).unwrap_err().to_string();
    assert!(error.ends_with("not built, since it needs `bad`: `above`"), "{error}");
    world.options.keep_going = true;
    world.build(&[&above]).unwrap_err();
    assert!(world.store.is_valid(&world.output(&good, "out")).unwrap());
    assert!(world.events().contains(&"blocked above by bad".to_owned()));
}

#[test]
fn limits_end_a_build() {
    let world = World::new();
    let drv = world.script("forever", "echo x > $out; sleep 60").set("timeout", "1").add(&world);
    let error = check(&world, &drv);
    assert!(error.contains("the build took longer than its time limit of 1 second\n"), "{error}");
    let drv = world.script("quiet", "echo x > $out; sleep 60").set("maxSilent", "1").add(&world);
    let error = check(&world, &drv);
    assert!(error.contains("the builder printed nothing for 1 second"), "{error}");
}

#[test]
fn the_directories_of_a_failed_build_can_be_kept() {
    let mut world = World::new();
    world.options.keep_failed = true;
    let drv = world.script("kept", "echo left > note; exit 1").add(&world);
    assert!(world.error(&drv).contains("kept:        ROOT/failed/"));
    let dir = world.store.root().join("failed").join(drv.to_string());
    assert_eq!(crate::common::text(&dir.join("build/note")), "left\n");
    assert!(crate::common::text(&dir.join("request.json")).contains("\"argv\""));
}

#[test]
fn the_directories_of_the_latest_failed_builds_are_kept_within_bounds() {
    let mut world = World::new();
    world.options.keep_latest_failed = builder::FailedBounds { count: 2, bytes: 1 << 20 };
    let names = |world: &World| -> Vec<String> {
        builder::failed_builds(&world.store).unwrap().iter().map(builder::FailedBuild::short_name).collect()
    };
    for name in ["one", "two", "three"] {
        let drv = world.script(name, "echo left > note; exit 1").add(&world);
        let error = world.error(&drv);
        assert!(!error.contains("kept:") && error.contains(&format!("`{name}` failed")), "{error}");
    }
    assert_eq!(names(&world), ["three", "two"]);
    // One that is too large leaves the others.
    let large = world.script("large", "printf '%03000000d' 0 > big; exit 1").add(&world);
    world.error(&large);
    assert_eq!(names(&world), ["three", "two"]);
    // With the flag, neither number nor size counts.
    world.options.keep_failed = true;
    assert!(world.error(&large).contains("kept:        ROOT/failed/"));
    assert_eq!(names(&world), ["large", "three", "two"]);
}

#[test]
fn stopping_kills_the_build_and_leaves_no_failure() {
    let world = World::new();
    let drv = world.script("long", "sleep 60; echo x > $out").add(&world);
    let builder = world.builder();
    let flag = builder.cancel_flag();
    let plan = builder.plan(&[builder::Target::all(drv)]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            flag.store(true, Ordering::Relaxed);
        });
        let begin = std::time::Instant::now();
        let Err(BuildError::Failed(report)) = builder.realise(plan) else { panic!("it was stopped") };
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert!(report.cancelled && report.failures.is_empty());
        assert_eq!(BuildError::Failed(report).to_string(), "stopped on request");
    });
}
