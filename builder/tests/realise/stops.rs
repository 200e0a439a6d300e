//! Stops the process that builds at its N-th system call, by `kill -9`, and goes on in the store
//! that it left.
//!
//! After any call: registered paths stay, valid paths are whole, the same build succeeds and is
//! recorded once, and a collection removes all that the stopped process left.
//! `EVAL_STORE_STOPS=2000 cargo test -p builder --release stops` makes that many stops. The calls
//! of builds themselves are not counted: they are processes of their own, and die with this one.

use crate::common::{World, text};
use builder::BuildError;
use model::{StorePath, StorePathName};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use store::GcOptions;
use test_support::tracer::{DISK_FULL, Ended, Plan, run};

const ROOT: &str = "EVAL_BUILD_STOPS_ROOT";
const TARGET: &str = "EVAL_BUILD_STOPS_TARGET";
const STOPS: &str = "EVAL_STORE_STOPS";

/// Not a test by itself: the process that the test below starts.
#[test]
fn child() {
    if let (Ok(root), Ok(target)) = (std::env::var(ROOT), std::env::var(TARGET)) {
        println!("\nready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let target = StorePath::parse(&target).unwrap();
        let ended = World::try_at(Path::new(&root)).map_err(BuildError::from).and_then(|world| world.build(&[&target]));
        if let Err(error) = &ended {
            eprintln!("error: {error}");
        }
        std::process::exit(i32::from(ended.is_err()));
    }
}

/// Three builds above each other with a text of their own, so that no action is known: a tree
/// written by a built-in builder, one made from it in the sandbox, and another with two outputs.
fn graph(world: &World, number: u64) -> [StorePath; 3] {
    let files = serde_json::json!({"a": {"text": format!("a {number}")}, "d/b": {"text": format!("b {number}")}});
    let tree = world.write("tree", files);
    let middle = world.script("middle", "mkdir $out; cat /a /d/b > $out/c; echo log").root(world, &tree).add(world);
    let top = world.script("top", "cat /c > $out; mkdir $dev; cat /c > $dev/c").outputs(&["out", "dev"]);
    let top = top.root(world, &middle).add(world);
    [tree, middle, top]
}

fn start(root: &Path, target: &StorePath, plan: Plan) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "stops::child", "--test-threads=1", "--nocapture"]);
    command.env(ROOT, root).env(TARGET, target.to_string()).env("RAYON_NUM_THREADS", "2");
    run(&mut command, plan)
}

#[test]
fn a_build_that_is_stopped_anywhere_is_done_again() {
    let stops: u64 = std::env::var(STOPS).ok().map_or(12, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let world = World::at(&root);
    let kept = graph(&world, 0);
    let whole = start(&root, &kept[2], Plan::Count);
    assert_eq!(whole.status, Some(0), "{}", whole.printed);
    assert!(whole.calls > 200, "a build takes only {} calls", whole.calls);
    world.store.add_named_root(&StorePathName::new("kept").unwrap(), &world.output(&kept[2], "out")).unwrap();
    let mut killed = 0;
    for n in 0..stops {
        let drvs = graph(&world, n + 1);
        let at = n * whole.calls / stops;
        let ended = start(&root, &drvs[2], Plan::Stop(at));
        let case = format!("stopped at call {at} of {}", whole.calls);
        // The last calls differ from run to run.
        assert!(ended.status.is_none_or(|status| status == 0), "{case}: {}", ended.printed);
        killed += u64::from(ended.struck);

        let again = World::at(&root);
        assert!(again.store.is_valid(&world.output(&kept[2], "out")).unwrap(), "{case}: what is registered was lost");
        assert_eq!(again.store.verify(false).unwrap().damage, [], "{case}: something half was accepted");
        again.build(&[&drvs[2]]).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(text(&again.physical(&drvs[2], "dev").join("c")), format!("a {0}b {0}", n + 1), "{case}");
        for drv in &drvs {
            assert_eq!(again.store.builds(drv).unwrap().len(), 1, "{case}: {drv}");
        }
        if n % 8 == 7 || n + 1 == stops {
            collect(&again, &kept, &case);
        }
    }
    println!("{killed} builds stopped");
    assert!(killed * 10 >= stops * 9);
}

/// A call that fails is reported as an error, or was not needed; the same build succeeds
/// afterwards.
#[test]
fn a_build_that_meets_a_full_disk_says_so() {
    let faults = std::env::var(STOPS).ok().map_or(8, |text| text.parse::<u64>().expect("a number").div_ceil(8));
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let world = World::at(&root);
    let whole = start(&root, &graph(&world, 0)[2], Plan::Fail(u64::MAX - 1, &DISK_FULL));
    assert_eq!(whole.status, Some(0), "{}", whole.printed);
    let mut reported = 0;
    for n in 0..faults {
        let drvs = graph(&world, n + 1);
        let at = n * whole.calls / faults;
        let ended = start(&root, &drvs[2], Plan::Fail(at, &DISK_FULL));
        let case = format!("no space at call {at} of {}", whole.calls);
        match ended.status {
            Some(0) => {}
            Some(1) if ["ENOSPC", "No space left", "disk is full"].iter().any(|t| ended.printed.contains(t)) => {
                reported += 1
            }
            other => panic!("{case}: ended with {other:?}: {}", ended.printed),
        }
        let again = World::at(&root);
        assert_eq!(again.store.verify(false).unwrap().damage, [], "{case}: something half was accepted");
        again.build(&[&drvs[2]]).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(text(&again.physical(&drvs[2], "out")), format!("a {0}b {0}", n + 1), "{case}");
    }
    println!("{faults} calls failed, {reported} of them reported");
    assert!(reported > 0);
}

/// Checks that a collection leaves the rooted paths, and nothing else.
#[track_caller]
fn collect(world: &World, kept: &[StorePath; 3], case: &str) {
    // The last processes of a build may be dying still, and hold its directory.
    let begin = Instant::now();
    loop {
        world.store.gc(GcOptions::default(), &mut |_| {}).unwrap();
        let left = |dir: &str| std::fs::read_dir(world.store.root().join(dir)).unwrap().count();
        // This process has a directory of its own.
        if left("tmp") <= 2 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{case}: {} directories stay", left("tmp"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(world.store.is_valid(&world.output(&kept[2], "out")).unwrap(), "{case}");
    assert_eq!(world.store.verify(false).unwrap().damage, [], "{case}: after a collection");
}
