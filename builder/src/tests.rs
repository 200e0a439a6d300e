//! Keys of the action cache that must never change by accident: what they key would be built again
//! everywhere.

use crate::attributes::{Attributes, TreeName};
use crate::builtin::{FetchTask, Task, union, write};
use crate::inputs::{InputTree, Inputs};
use crate::{action, derivation};
use model::tree::{Digest, Directories, Directory, MemoryDirectories, Node};
use model::{Derivation, HashAlgorithm, Ingestion, Output, StorePath, StorePathName};
use sandbox::request::SandboxMode;
use std::collections::{BTreeMap, BTreeSet};

#[track_caller]
fn check(found: &[(&str, Digest)], pinned: &str) {
    let found: String = found.iter().map(|(name, digest)| format!("{digest} {name}\n")).collect();
    let pinned: String = pinned.trim().lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(found, pinned);
}

fn recipe(builder: &str, env: &[(&str, &str)]) -> Derivation {
    Derivation {
        name: StorePathName::new("x").unwrap(),
        outputs: BTreeMap::from([("out".to_owned(), Output::Deferred)]),
        input_derivations: BTreeMap::new(),
        input_sources: BTreeSet::new(),
        system: b"x86_64-linux".to_vec(),
        builder: builder.as_bytes().to_vec(),
        args: vec![b"-c".to_vec(), b"exit".to_vec()],
        env: env.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect(),
    }
}

fn path(number: u8, name: &str) -> StorePath {
    StorePath::new([number; 20], StorePathName::new(name).unwrap())
}

fn tree(number: u8, node: Node) -> InputTree {
    InputTree { name: TreeName { path: path(number, "tree"), below: String::new() }, node, owner: "owner".into() }
}

fn file(text: &str) -> Node {
    Node::File { digest: Digest::of(text.as_bytes()), executable: false, size: text.len() as u64 }
}

#[test]
fn builtin_tasks() {
    let mut directory = Directory::new();
    directory.insert("a", file("a")).unwrap();
    let trees = || vec![tree(1, directory.node()), tree(2, Directory::new().node())];
    let hash = HashAlgorithm::Sha256.hash(b"x");
    let fetch = |ingestion, executable| {
        Task::Fetch(FetchTask { urls: vec!["file:///x".into()], executable, ingestion, hash, written: None })
    };
    let spec = |env: &[(&str, &str)]| union::UnionSpec::read(&Attributes::of(&recipe("", env)).unwrap()).unwrap();
    let full = spec(&[
        ("__overlap", "etc/** bin"),
        ("at", "opt/x"),
        ("subdir", "usr"),
        ("rules", r#"[["doc","share/doc/**"]]"#),
        ("domains", r#"["doc",""]"#),
        ("exclude", r#"["b*"]"#),
    ]);
    let files = r#"{"a/b": {"text": "x\u001b\"é", "executable": true}, "c": {"text": ""}, "l": {"link": "a"}, "d": {"directory": true}}"#;
    let write =
        |files: &str| Task::Write(write::read(&Attributes::of(&recipe("", &[("files", files)])).unwrap()).unwrap());
    let audit = |allow: &[(&str, &str)]| Task::Audit {
        tree: tree(1, directory.node()),
        prefix: "/opt/x".into(),
        allow: allow.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
    };
    let tasks = [
        ("builtin:fetchurl", "flat", fetch(Ingestion::Flat, false)),
        ("builtin:fetchurl", "executable", fetch(Ingestion::Recursive, true)),
        ("builtin:unpack", "one", Task::Unpack { archives: vec![tree(1, file("tar"))], strip: 1 }),
        ("builtin:unpack", "two", Task::Unpack { archives: vec![tree(1, file("a")), tree(2, file("b"))], strip: 0 }),
        ("builtin:union", "plain", Task::Union { trees: trees(), spec: spec(&[]) }),
        ("builtin:union", "full", Task::Union { trees: trees(), spec: full }),
        ("builtin:write", "empty", write("{}")),
        ("builtin:write", "full", write(files)),
        ("builtin:audit", "strict", audit(&[])),
        ("builtin:audit", "with exceptions", audit(&[("bin/*", "/etc"), ("a", "\"")])),
    ];
    let found: Vec<(String, Digest)> = tasks
        .iter()
        .map(|(builder, name, task)| {
            (format!("{builder} {name}"), task.action(&recipe(builder, &[])).unwrap().digest())
        })
        .collect();
    let found: Vec<(&str, Digest)> = found.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
    check(
        &found,
        "
        cf3615174f0cf2b139419a1f2ad14dc7e84eda1b9ee26fd2a3ab53325b3780a5 builtin:fetchurl flat
        c198bd79aa4c63dc16af5dd86a62380e44664560d15e734218ba47672ed6374a builtin:fetchurl executable
        c3ffc811234013dcb96e19cd96ebd88ea88534498dee7c42c8f142209f973660 builtin:unpack one
        1011624f30a4880960c68e2d44c224294e014dea8a8510eaf52d931eaa0afa79 builtin:unpack two
        f6993f4a596dcb86f41139d93f3c4cf743ea9a5bf9ceb02869c2987ccfe6ce47 builtin:union plain
        8be720690f7f1d080aff9a30ad7e49875091afed9394d24aed8a0e6fc6c9dc9e builtin:union full
        1cab41f25dbf51e2ec3e4d8d23f9fdbd487ebb409351dd466479f0dd55799627 builtin:write empty
        e0b63f53c36e6446c388f79a44a876863482c6bfa0ecf547d3680a470b17d5e5 builtin:write full
        751b42a52f775ee5be12b19d35af90e2494f7c6a5438034af1285c82d081a799 builtin:audit strict
        27200088e284af1e186758297da4b1ff4c0fd0014c5db1a144415a1aa483623b builtin:audit with exceptions
        ",
    );
}

/// The whole key of a build: its derivation as a command, and the contents of all that it sees as a
/// root.
#[test]
fn sandboxed_builds() {
    let directories = MemoryDirectories::new();
    let save = |entries: &[(&str, Node)]| {
        let mut directory = Directory::new();
        for (name, node) in entries {
            directory.insert(*name, node.clone()).unwrap();
        }
        directories.save(&directory).unwrap()
    };
    let inner = save(&[("store", save(&[("old", file("old"))])), ("kept", file("kept"))]);
    let base = save(&[("bin", save(&[("sh", file("sh"))])), ("eval", inner), ("build", file("no directory"))]);
    let outputs = BTreeMap::from([("out".to_owned(), path(8, "x")), ("dev".to_owned(), path(9, "x-dev"))]);
    let env = [("text", "in /eval/store/and"), ("passAsFile", "text"), ("name", "x"), ("__jobserver", "fifo")];
    let structured = [("__json", r#"{"name": "x", "list": ["a", 1], "__rootfs": "none"}"#)];
    let key = |env: &[(&str, &str)], rooted: bool, mode: SandboxMode| {
        let derivation = recipe("/bin/sh", env);
        let attributes = Attributes::of(&derivation).unwrap();
        let invocation = derivation::invocation(&derivation, &attributes, &outputs, rooted).unwrap();
        let inputs = Inputs {
            roots: rooted.then(|| vec![tree(1, base.clone())]),
            sources: if rooted { [("src".to_owned(), tree(2, file("source")))].into() } else { BTreeMap::new() },
            mounted: BTreeMap::from([(path(3, "input"), save(&[("i", file("i"))]))]),
        };
        let root = inputs.root_directory(&directories, rooted.then_some(&base), &invocation.build_files).unwrap();
        action::sandboxed(&derivation, &invocation, &root, mode).1.digest()
    };
    check(
        &[
            ("on a root", key(&env, true, SandboxMode::Strict)),
            ("in the store", key(&env, false, SandboxMode::Strict)),
            ("relaxed", key(&env, true, SandboxMode::Relaxed)),
            ("structured attributes", key(&structured, true, SandboxMode::Strict)),
        ],
        "
        95cd7d98f8b92710c8fcf54be196bbb407c83ca52afd3b8094f015a235becd78 on a root
        604835c596b1db442fabc0abd2546ee5145101c7b594cd48e7b95b611d160376 in the store
        efef69255ee08b899d2067c619bfc85cfb1d0fceb34d7b8a8ef3aaa75fcb289c relaxed
        9c563fd86851380694833b5440f3b581eb41a20ab2c8bf6421661288c6c2c649 structured attributes
        ",
    );
}
