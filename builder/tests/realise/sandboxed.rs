use crate::common::{World, recipe, text};
use model::{Hash, HashAlgorithm, Ingestion, StoreModel};
use serde_json::json;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_trivial_build_makes_its_output() {
    let world = World::new();
    let drv = world.script("trivial", "echo hi > $out; echo @phase one; echo done").add(&world);
    assert_eq!(text(&world.built(&drv)), "hi\n");
    assert_eq!(
        world.events(),
        ["planned 1", "started trivial", "phase trivial one", "log trivial done", "finished trivial Built"]
    );
    let log = world.log(&drv);
    assert_eq!(log, "@phase one\ndone\n");
    assert!(world.plan(&[&drv]).is_empty());
}

#[test]
fn the_build_finds_what_the_contract_promises() {
    let world = World::new();
    let script = "mkdir $out; env > $out/env; pwd > $out/pwd; id -u > $out/uid; echo x > /tmp/x; ls / > $out/root";
    let drv = world.script("promises", script).set("shown", "yes").set("__hidden", "no").add(&world);
    let out = world.built(&drv);
    let env = text(&out.join("env"));
    for line in [
        "HOME=/build",
        "LC_ALL=C",
        "PATH=/usr/bin:/bin",
        "PWD=/build",
        "SOURCE_DATE_EPOCH=1700000000",
        "TERM=dumb",
        "TMPDIR=/tmp",
        "TZ=UTC",
        "name=promises",
        "out=/output/out",
        "shown=yes",
    ] {
        assert!(env.lines().any(|found| found == line), "no {line} in\n{env}");
    }
    assert!(env.contains("EVAL_CORES=") && env.contains("NIX_BUILD_CORES="));
    assert!(!env.contains("__") && !env.contains("/eval/store"), "{env}");
    assert_eq!(text(&out.join("pwd")), "/build\n");
    assert_eq!(text(&out.join("uid")), "1000\n");
}

#[test]
fn several_outputs_and_sources() {
    let world = World::new();
    let tree = world.write("tree", json!({"a": {"text": "A"}}));
    let drv = world.script("several", "cat /source/t/a > $out; mkdir $dev; ln -s a $dev/b").outputs(&["dev", "out"]);
    let mut drv = drv;
    let path = drv.input(&world, &tree);
    let drv = drv.set("__sources", json!({ "t": path }).to_string()).add(&world);
    assert_eq!(text(&world.built(&drv)), "A");
    assert_eq!(std::fs::read_link(world.physical(&drv, "dev").join("b")).unwrap().to_str(), Some("a"));
    let info = world.store.path_info(&world.output(&drv, "out")).unwrap().unwrap();
    assert!(info.references.is_empty());
}

#[test]
fn layers_make_one_root_in_which_no_file_has_two_names() {
    let world = World::new();
    let a = world.write("a", json!({"x/one": {"text": "same"}, "x/a": {"text": "a"}}));
    let b = world.write("b", json!({"x/two": {"text": "same"}, "x/one": {"text": "same"}}));
    let script =
        "cat /x/one /x/two /x/a > $out; stat -c %i /x/one /x/two > ino; { read i; read j; } < ino; [ $i != $j ]";
    let drv = world.script("layers", script).root(&world, &a).root(&world, &b).add(&world);
    assert_eq!(text(&world.built(&drv)), "samesamea");
}

#[test]
fn a_link_that_stands_for_a_directory_is_checked_out() {
    let world = World::new();
    let a = world.write("a", json!({"usr/share": {"directory": true}, "share": {"link": "usr/share"}}));
    let b = world.write("b", json!({"share/text": {"text": "below the link"}}));
    let drv = world.script("linked", "cat /usr/share/text > $out").root(&world, &a).root(&world, &b).add(&world);
    assert_eq!(text(&world.built(&drv)), "below the link");
}

#[test]
fn the_same_contents_are_not_built_twice() {
    let world = World::new();
    let build = |comment: &str| {
        let leaf = world.script("leaf", "mkdir $out; echo leaf > $out/leaf").set("comment", comment).add(&world);
        let above = world.script("above", "cat /leaf > $out").root(&world, &leaf).add(&world);
        let top = world.script("top", "echo top > $out").needs(&world, &above);
        let mut top = top;
        let path = top.input(&world, &above);
        (leaf, above, top.set("__sources", json!({ "above": path }).to_string()).add(&world))
    };
    let (_, _, first) = build("one");
    world.built(&first);
    let (leaf, above, second) = build("two");
    assert_ne!(first, second);
    world.built(&second);
    assert_eq!(world.ended("leaf"), "Built");
    assert_eq!(world.ended("above"), "CutOff");
    assert_eq!(world.ended("top"), "CutOff");
    assert_eq!(text(&world.physical(&above, "out")), "leaf\n");
    // Both leaves are the same files.
    assert!(std::fs::metadata(world.physical(&leaf, "out").join("leaf")).unwrap().nlink() >= 2);
}

#[test]
fn what_differs_is_built() {
    let world = World::new();
    let build = |content: &str| {
        let leaf = world.script("leaf", &format!("mkdir $out; echo {content} > $out/leaf")).add(&world);
        world.script("above", "cat /leaf > $out").root(&world, &leaf).add(&world)
    };
    assert_eq!(text(&world.built(&build("one"))), "one\n");
    assert_eq!(text(&world.built(&build("two"))), "two\n");
    assert_eq!(world.ended("above"), "Built");
}

#[test]
fn store_paths_are_mounted_and_found_in_outputs() {
    let world = World::new();
    let tree = world.write("tree", json!({"a": {"text": "A"}}));
    let other = world.write("other", json!({"a": {"text": "B"}}));
    let mut drv = world.script("mounted", "cat $tree/a; echo $tree > $out; ls /eval/store");
    let path = drv.input(&world, &tree);
    let unused = drv.input(&world, &other);
    let drv = drv.set("tree", path).set("unused", unused).add(&world);
    let out = text(&world.built(&drv));
    assert_eq!(out.trim(), StoreModel::Native.print(&world.output(&tree, "out")));
    let info = world.store.path_info(&world.output(&drv, "out")).unwrap().unwrap();
    assert_eq!(info.references.into_iter().collect::<Vec<_>>(), [world.output(&tree, "out")]);
    assert!(world.events().iter().any(|event| event.contains("-other")));
}

#[test]
fn without_a_root_the_output_is_a_store_path() {
    let world = World::new();
    // Nothing is there but store paths, so the shell is started through its loader, as a builder of
    // this kind must be when it is not linked statically.
    let shell = world.shell();
    let print = StoreModel::Native.print(&shell);
    let root = world.store.physical_path(&shell);
    let loader = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"]
        .into_iter()
        .find(|l| root.join(l).exists())
        .unwrap();
    let lib = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "usr/lib"]
        .map(|dir| format!("{print}/{dir}"))
        .join(":");
    let script = "echo hi $self > $out";
    let args = ["--library-path", &lib, &format!("{print}/bin/sh"), "-e", "-c", script].map(str::to_owned);
    let drv = recipe("stored", &format!("{print}/{loader}")).args(&args).source(&shell).add(&world);
    assert_eq!(text(&world.built(&drv)), "hi\n");
    assert_eq!(world.ended("stored"), "Built");
}

#[test]
fn own_references_are_kept() {
    let world = World::new();
    let drv = world.script("fixed", "echo -n x > $out");
    let hash = HashAlgorithm::Sha256.hash(b"x");
    let drv = drv.fixed(&hash.sri(), Ingestion::Flat).add(&world);
    assert_eq!(text(&world.built(&drv)), "x");
}

#[test]
fn a_fixed_output_that_differs_shows_both_hashes_as_they_were_written() {
    let world = World::new();
    let (wrong, right) = (HashAlgorithm::Sha256.hash(b"y"), HashAlgorithm::Sha256.hash(b"x"));
    for form in [Hash::sri, Hash::base32] {
        let drv = world.script("fixed", "echo -n x > $out").fixed_text(&form(&wrong), wrong).add(&world);
        let error = world.error(&drv);
        assert!(error.contains(&format!("specified: {}", form(&wrong))), "{error}");
        assert!(error.contains(&format!("got:       {}", form(&right))), "{error}");
        assert!(error.contains("`fixed` failed: the contents have another hash"), "{error}");
    }
}

#[test]
fn building_again_compares() {
    let world = World::new();
    let steady = world.script("steady", "mkdir $out; echo x > $out/x").add(&world);
    let flaky =
        world.script("flaky", "mkdir $out; echo same > $out/a; cat /proc/sys/kernel/random/uuid > $out/b").add(&world);
    world.built(&steady);
    world.built(&flaky);
    let mut again = world;
    again.options.rebuild = true;
    again.built(&steady);
    assert_eq!(again.ended("steady"), "Reproduced");
    let error = again.error(&flaky);
    assert!(
        error.contains("built again, the outputs differ:\n  out/b: other contents (37 bytes both times)"),
        "{error}"
    );
}

#[test]
fn references_can_be_forbidden() {
    let world = World::new();
    let tree = world.write("tree", json!({"a": {"text": "A"}}));
    let mut drv = world.script("refers", "echo $tree > $out").set("allowedReferences", "");
    let path = drv.input(&world, &tree);
    let drv = drv.set("tree", path.clone()).add(&world);
    let error = world.error(&drv);
    assert!(
        error.contains(&format!("the output `out` refers to `{path}`, which `allowedReferences` forbids")),
        "{error}"
    );
}

#[test]
fn two_builders_build_once() {
    let world = World::new();
    let drv = world.script("slow", "sleep 0.5; echo x > $out").add(&world);
    // Two stores on one root lock each other out as two processes do: locks belong to open files.
    let other = World::at(world.store.root());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| world.built(&drv));
        let second = scope.spawn(|| other.built(&drv));
        first.join().unwrap();
        second.join().unwrap();
    });
    let mut ended = [world.ended("slow"), other.ended("slow")];
    ended.sort();
    assert_eq!(ended, ["Built", "Found"]);
    let waited = world.events().iter().chain(&other.events()).any(|event| event.starts_with("waiting slow"));
    assert!(waited, "the one that waits says for whom");
}

/// A short log is stored with the outputs, a long one as a file; `open_log` returns that of the
/// last build.
#[test]
fn logs_of_builds_that_succeed_and_of_those_that_fail() {
    let world = World::new();
    let log = |drv| world.log(drv);
    let files = || std::fs::read_dir(world.store.log_dir()).unwrap().count();
    let short = world.script("short", "echo little; echo x > $out").add(&world);
    world.built(&short);
    assert_eq!((log(&short).as_str(), files()), ("little\n", 0));
    let long = world.script("long", "perl -e 'print qq(line $_\n) for 1..20000' && echo x > $out").add(&world);
    world.built(&long);
    assert!(log(&long).ends_with("line 20000\n"));
    assert_eq!(files(), 1);
    let failing = world.script("failing", "echo why; exit 1").add(&world);
    world.error(&failing);
    assert_eq!((log(&failing).as_str(), files()), ("why\n", 2));
    // A build that fails only in the checks of its output has a log, too.
    let nothing = world.script("nothing", "echo no output").add(&world);
    world.error(&nothing);
    assert_eq!((log(&nothing).as_str(), files()), ("no output\n", 3));
    // A file that an earlier, failed build has left gives way.
    let again = world.script("again", "echo better; echo x > $out").add(&world);
    std::fs::write(world.store.log_dir().join(format!("{again}.zst")), "of an earlier build").unwrap();
    world.built(&again);
    assert_eq!(log(&again), "better\n");
}

/// The memory of a build is the expected memory of the next one of its name, and builds that do not
/// fit together run one after the other.
#[test]
fn memory_is_remembered_and_shared_out() {
    let mut world = World::new();
    let script = |world: &World, name: &str, comment: &str| {
        let script = "echo begin; perl -e 'my $x = q(a) x 80_000_000; select(undef, undef, undef, 0.3)'; echo end; echo x > $out";
        world.script(name, script).set("comment", comment).add(world)
    };
    let names = ["a", "b", "c"];
    let first = names.map(|name| script(&world, name, "first"));
    assert!(world.plan(&first.each_ref()).nodes.iter().all(|node| node.memory_bytes.is_none()));
    world.build(&first.each_ref()).map_err(|error| error.to_string()).unwrap();

    let again = names.map(|name| script(&world, name, "again"));
    let plan = world.plan(&again.each_ref());
    assert!(plan.nodes.iter().all(|node| (80_000_000..1_000_000_000).contains(&node.memory_bytes.unwrap())));
    world.options.jobs = 3;
    world.options.memory_together_bytes = Some(100_000_000);
    world.build(&again.each_ref()).map_err(|error| error.to_string()).unwrap();
    let events = world.events();
    let logged = events.iter().filter_map(|event| event.strip_prefix("log ")?.split(' ').nth(1));
    assert_eq!(logged.collect::<Vec<_>>(), ["begin", "end"].repeat(3));
}

#[test]
fn the_first_target_comes_first_if_that_is_asked_for() {
    let mut world = World::new();
    let name = |drv: &model::StorePath| drv.name().as_str().trim_end_matches(".drv").to_owned();
    let below = world.script("below", "echo below > $out").add(&world);
    let long = world.script("long", "echo long > $out").needs(&world, &below).add(&world);
    let [small, late] = ["small", "late"].map(|name| world.script(name, "echo $name > $out").add(&world));
    let targets = [&small, &late, &long];
    let ranks = |world: &World| {
        let plan = world.plan(&targets);
        plan.nodes.iter().map(|node| (name(&node.drv), node.rank)).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert!(ranks(&world).values().all(|&rank| rank == 0));
    world.options.in_order = true;
    world.options.jobs = 1;
    let expected = [("below", 2), ("late", 1), ("long", 2), ("small", 0)].map(|(name, rank)| (name.to_owned(), rank));
    assert_eq!(ranks(&world).into_iter().collect::<Vec<_>>(), expected);
    world.build(&targets).unwrap();
    let started: Vec<String> =
        world.events().iter().filter_map(|event| event.strip_prefix("started ").map(str::to_owned)).collect();
    assert_eq!(started, ["small", "late", "below", "long"]);
}
