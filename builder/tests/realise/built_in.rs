use crate::common::{World, recipe, text};
use builder::Target;
use insta::assert_snapshot;
use model::{HashAlgorithm, Ingestion, StorePath};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn written_trees_are_united_and_split() {
    let world = World::new();
    let a = world.write("a", json!({"bin/a": {"text": "#!", "executable": true}, "share/doc/a": {"text": "doc"}, "empty": {"directory": true}}));
    let b = world.write("b", json!({"bin/b": {"link": "a"}, "lib/b.so": {"text": "b"}}));
    let rules = json!([["doc", "share/doc/**"], ["bin", "bin/*"]]).to_string();
    let bins = world.union("bins", &[&a, &b]).set("rules", &*rules).set("domains", json!(["bin", ""]).to_string());
    let out = world.built(&bins.set("at", "opt/x").add(&world)).join("opt/x");
    assert!(out.join("bin/a").is_file() && out.join("lib/b.so").is_file() && out.join("empty").is_dir());
    assert!(!out.join("share").exists());
    let sub = world.union("sub", &[&a, &b]).set("subdir", "/bin").set("exclude", json!(["bin/b"]).to_string());
    let out = world.built(&sub.add(&world));
    assert_eq!(std::fs::read_dir(out).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn conflicts_name_path_and_owners() {
    let world = World::new();
    let a = world.write("first", json!({"etc/x": {"text": "1"}}));
    let b = world.write("second", json!({"etc/x": {"text": "2"}}));
    assert_snapshot!(world.error(&world.union("both", &[&a, &b]).add(&world)), @r#"
    `both` failed: the trees do not fit over each other: `etc/x` is a file in first and a different file in second (add a path to `__overlap` to let the later tree win there)
    "#);
    let out = world.built(&world.union("over", &[&a, &b]).set("__overlap", "etc/**").add(&world));
    assert_eq!(text(&out.join("etc/x")), "2");
}

#[test]
fn mistakes_in_attributes_are_reported() {
    let world = World::new();
    let a = world.write("a", json!({"x": {"text": "1"}}));
    let error = |recipe: crate::common::Recipe| world.error(&recipe.add(&world));
    assert_snapshot!(error(recipe("nothing", "builtin:union")), @r#"
    `nothing` failed: attribute `trees`: is missing, and `builtin:union` needs it
    "#);
    assert_snapshot!(error(recipe("unknown", "builtin:download")), @r#"
    `unknown` failed: there is no built-in builder `builtin:download`; there are `builtin:audit`, `builtin:fetchurl`, `builtin:union`, `builtin:unpack`, `builtin:write`
    "#);
    assert_snapshot!(error(world.union("json", &[&a]).set("rules", "bin/*")), @r#"
    `json` failed: attribute `rules`: is not valid JSON (expected value at line 1 column 1); give it as `builtins.toJSON …`
    "#);
    assert_snapshot!(error(world.union("up", &[&a]).set("at", "a/../../b")), @r#"
    `up` failed: attribute `at`: `a/../../b` leads out of the tree
    "#);
    assert_snapshot!(error(recipe("tree", "builtin:union").set("trees", "/usr")), @r#"
    `tree` failed: attribute `trees`: expected trees in the store: `/usr` is not below the store directory `/eval/store`
    "#);
    assert_snapshot!(error(recipe("loose", "builtin:fetchurl").set("url", "file:///x")), @r#"
    `loose` failed: attribute `outputHash`: is missing: only what is known beforehand is fetched; any wrong hash will make the right one be shown
    "#);
}

#[test]
fn files_are_fetched_once_and_checked() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), "bytes").unwrap();
    let url = format!("file://{}/x", dir.path().display());
    let hash = HashAlgorithm::Sha256.hash(b"bytes");
    let fetch = |name: &str| {
        recipe(name, "builtin:fetchurl").set("urls", &*url).fixed(&hash.sri(), Ingestion::Flat).add(&world)
    };
    assert_eq!(text(&world.built(&fetch("x"))), "bytes");
    assert_eq!(world.ended("x"), "Fetched");
    // The same bytes under another name are known already.
    std::fs::remove_file(dir.path().join("x")).unwrap();
    assert_eq!(text(&world.built(&fetch("y"))), "bytes");
    assert_eq!(world.ended("y"), "CutOff");

    std::fs::write(dir.path().join("x"), "other").unwrap();
    let wrong = HashAlgorithm::Sha256.hash(b"expected").base32();
    let drv = recipe("wrong", "builtin:fetchurl")
        .set("urls", &*url)
        .fixed_text(&wrong, HashAlgorithm::Sha256.hash(b"expected"));
    let error = world.error(&drv.add(&world));
    assert!(error.contains(&format!("specified: {wrong}")), "{error}");
    assert!(error.contains(&format!("got:       {}", HashAlgorithm::Sha256.hash(b"other").base32())), "{error}");
    assert!(error.contains(&url), "{error}");
}

#[test]
fn archives_are_unpacked() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(std::fs::File::create(dir.path().join("x.tar")).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o755);
    tar.append_data(&mut header, "top/bin/tool", &b"#!"[..]).unwrap();
    tar.finish().unwrap();
    let bytes = std::fs::read(dir.path().join("x.tar")).unwrap();
    let hash = HashAlgorithm::Sha256.hash(&bytes);
    let url = format!("file://{}/x.tar", dir.path().display());
    let fetch = recipe("x.tar", "builtin:fetchurl").set("urls", &*url).fixed(&hash.sri(), Ingestion::Flat).add(&world);
    let mut unpack = recipe("x", "builtin:unpack").set("strip", "1");
    let path = unpack.input(&world, &fetch);
    let out = world.built(&unpack.set("srcs", path).add(&world));
    assert_eq!(text(&out.join("bin/tool")), "#!");
    assert!(world.store.path_info(&world.output(&fetch, "out")).unwrap().is_some());
}

#[test]
fn texts_that_mention_store_paths_refer_to_them() {
    let world = World::new();
    let tree = world.write("tree", json!({"a": {"text": "A"}}));
    let mut drv = recipe("wrapper", "builtin:write");
    let path = drv.input(&world, &tree);
    let drv = drv.set("files", json!({"bin/x": {"text": format!("exec {path}/a")}}).to_string()).add(&world);
    world.built(&drv);
    let info = world.store.path_info(&world.output(&drv, "out")).unwrap().unwrap();
    assert_eq!(info.references.into_iter().collect::<Vec<_>>(), [world.output(&tree, "out")]);
}

#[test]
fn a_thousand_small_trees_take_little_time() {
    let world = World::new();
    let drvs: Vec<_> =
        (0..1000).map(|i| world.write(&format!("t{i}"), json!({"x": {"text": i.to_string()}}))).collect();
    let all: Vec<_> = drvs.iter().collect();
    let begin = Instant::now();
    world.build(&all).map_err(|e| e.to_string()).unwrap();
    let built = begin.elapsed();
    let begin = Instant::now();
    assert!(world.plan(&all).is_empty());
    let planned = begin.elapsed();
    println!("1000 builtin:write: {built:?}, nothing to do: {planned:?}");
    assert!(built.as_secs() < 60 && planned.as_secs() < 5, "{built:?} {planned:?}");
    assert_eq!(text(&world.physical(&drvs[999], "out").join("x")), "999");
}

#[test]
fn a_deep_graph_takes_no_stack() {
    let world = World::new();
    let mut drv = world.write("d0", json!({"x": {"text": "bottom"}}));
    for i in 1..300 {
        drv = world.union(&format!("d{i}"), &[&drv]).add(&world);
    }
    let plan = world.plan(&[&drv]);
    assert_eq!(plan.nodes.len(), 300);
    assert!(plan.nodes.iter().enumerate().all(|(id, node)| node.needs.iter().all(|&need| need < id)));
    assert_eq!(plan.to_json()["nodes"][0]["name"], "d0");
    assert_eq!(text(&world.built(&drv).join("x")), "bottom");
}

#[test]
fn derivations_of_valid_outputs_are_not_read() {
    let mut world = World::new();
    let below = world.write("below", json!({"x": {"text": "bottom"}}));
    let above = world.union("above", &[&below]).add(&world);
    let out = || BTreeSet::from(["out".to_owned()]);
    let plan = |drv: &StorePath, outputs| {
        world.builder().plan(&[Target { drv: drv.clone(), outputs }]).map_err(|error| error.to_string())
    };
    assert_eq!(plan(&above, out()).unwrap().nodes.len(), 2);
    let bottom = world.output(&below, "out");
    world.built(&below);

    // Without the file of the derivation, only the database can know its outputs.
    let file = world.store.physical_path(&below);
    let away = file.with_extension("away");
    std::fs::rename(&file, &away).unwrap();
    let again = plan(&below, out()).unwrap();
    assert!(again.is_empty());
    assert_eq!((again.valid, again.targets[0].node, &again.targets[0].outputs["out"]), (1, None, &bottom));
    let up = plan(&above, out()).unwrap();
    assert_eq!((up.nodes.len(), up.valid, up.nodes[0].name.as_str()), (1, 1, "above"));
    // An unknown output, and all outputs, take a read of the derivation itself.
    for outputs in [BTreeSet::from(["out".to_owned(), "doc".to_owned()]), BTreeSet::new()] {
        assert!(plan(&below, outputs).is_err());
    }
    std::fs::rename(&away, &file).unwrap();
    let wrong = plan(&below, BTreeSet::from(["doc".to_owned()])).unwrap_err();
    assert!(wrong.contains("doc"), "{wrong}");
    assert!(plan(&below, BTreeSet::new()).unwrap().is_empty());

    // A collected path has to be made again.
    world.built(&above);
    assert!(plan(&above, out()).unwrap().is_empty());
    let roots = tempfile::tempdir().unwrap();
    world.store.add_root(&roots.path().join("above"), &above).unwrap();
    // Another process, since this one protects the paths that it made.
    let root = world.store.root().to_owned();
    let other = World::at(&root);
    drop(std::mem::replace(&mut world.store, Arc::clone(&other.store)));
    other.store.gc(store::GcOptions::default(), &mut |_| {}).unwrap();
    let again = other.builder().plan(&[Target { drv: above.clone(), outputs: out() }]).unwrap();
    assert_eq!(again.nodes.len(), 2);
}
