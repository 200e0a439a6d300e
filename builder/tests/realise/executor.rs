//! Builds by another executor than the sandbox, as one on other machines would be.

use crate::common::{Recipe, World, recipe, text};
use builder::error::BuilderFailure;
use builder::{
    BuildError, Executed, ExecutionFailure, ExecutionWatcher, Executor, MadeOutput, PreparedAction, ResourceUsage,
};
use model::blobs::{Blobs, MemoryBlobs};
use model::reapi::{Action, Command};
use model::tree::{Digest, Directory, Node};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use store::LocalStore;

/// Runs nothing: returns outputs that list the files of the input root, as another machine would
/// see it.
struct Listing {
    store: Arc<LocalStore>,
    /// The end of each run; those beyond the list succeed.
    ends: Mutex<Vec<End>>,
    roots: Mutex<Vec<BTreeMap<String, String>>>,
}

enum End {
    Refused,
    Failed,
}

impl Executor for Listing {
    fn execute<'a>(
        &'a self,
        action: &PreparedAction<'_>,
        watcher: &mut dyn ExecutionWatcher,
    ) -> Result<Executed<'a>, ExecutionFailure<'a>> {
        let end = self.ends.lock().unwrap().pop();
        if let Some(End::Refused) = end {
            return Err(BuildError::Unsupported { what: "execution today".into() }.into());
        }
        let remote = MemoryBlobs::default();
        action.upload(&remote)?;
        watcher.started();
        let root = input_root(&remote, &action.action().digest());
        watcher.printed(b"@phase elsewhere\nlisting ");
        watcher.printed(format!("{} files\n", root.len()).as_bytes());
        if let Some(End::Failed) = end {
            return Err(BuildError::Builder(BuilderFailure::Exited(3)).into());
        }
        let listing: String = root.iter().map(|(path, contents)| format!("{path}: {contents}\n")).collect();
        let node = self.store.put_blob(listing.as_bytes(), false)?;
        self.roots.lock().unwrap().push(root);
        let outputs = action.places().keys().map(|name| (name.clone(), MadeOutput::stored(node.clone()))).collect();
        let usage = ResourceUsage { cpu: None, memory_peak_bytes: Some(7) };
        Ok(Executed { outputs, usage, directories: None })
    }
}

/// Reads an action and all that it needs from `blobs`, by nothing but its digest. Returns the files
/// of its input root by path.
fn input_root(blobs: &dyn Blobs, action: &Digest) -> BTreeMap<String, String> {
    let read = |digest: &Digest, size: u64| {
        let mut bytes = Vec::new();
        blobs.open(digest).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (*digest, size));
        bytes
    };
    let mut bytes = Vec::new();
    blobs.open(action).unwrap().read_to_end(&mut bytes).unwrap();
    let action = Action::decode(&bytes).unwrap();
    let command = Command::decode(&read(&action.command.digest, action.command.size_bytes)).unwrap();
    assert_eq!(command.output_paths, ["output/out"]);
    let mut files = BTreeMap::new();
    let mut todo = vec![(String::new(), action.input_root.digest, action.input_root.size_bytes)];
    while let Some((above, digest, size)) = todo.pop() {
        for (name, node) in Directory::decode(&read(&digest, size)).unwrap().iter() {
            let path = format!("{above}{}", str::from_utf8(name).unwrap());
            match node {
                Node::Directory { digest, size } => todo.push((format!("{path}/"), *digest, *size)),
                Node::File { digest, size, .. } => {
                    files.insert(path, String::from_utf8(read(digest, *size)).unwrap());
                }
                Node::Symlink { target } => {
                    files.insert(path, format!("-> {}", str::from_utf8(target).unwrap()));
                }
            }
        }
    }
    files
}

fn world(ends: Vec<End>) -> (World, Arc<Listing>) {
    let mut world = World::new();
    let store = Arc::clone(&world.store);
    let executor = Arc::new(Listing { store, ends: Mutex::new(ends), roots: Mutex::default() });
    world.executor = Some(executor.clone());
    (world, executor)
}

/// A build on the union of two trees, with a source, an input at its store path and a file in
/// `/build`.
fn listing(world: &World, name: &str) -> Recipe {
    let bottom = world.write("bottom", json!({"bin/sh": {"text": "shell"}, "lib/a": {"text": "a"}}));
    let top = world.write("top", json!({"lib/b": {"text": "b"}, "lib/c": {"link": "b"}}));
    let source = world.write("source", json!({"main.c": {"text": "main"}}));
    let input = world.write("input", json!({"share/x": {"text": "x"}}));
    let mut recipe = recipe("listing", "/bin/sh").root(world, &bottom).root(world, &top);
    let source = recipe.input(world, &source);
    let input = recipe.input(world, &input);
    recipe
        .set("__note", name)
        .set("__sources", json!({ "main": source }).to_string())
        .set("uses", input)
        .set("hint", "to be read from a file")
        .set("passAsFile", "hint")
}

#[test]
fn a_derivation_is_realised_by_another_executor() {
    let (mut world, executor) = world(Vec::new());
    let first = listing(&world, "first").add(&world);
    let out = text(&world.built(&first));
    let input = world.write("input", json!({"share/x": {"text": "x"}}));
    let input = world.output(&input, "out");
    let expected = [
        "bin/sh: shell".to_owned(),
        "build/.attr-hint: to be read from a file".to_owned(),
        format!("eval/store/{input}/share/x: x"),
        "lib/a: a".to_owned(),
        "lib/b: b".to_owned(),
        "lib/c: -> b".to_owned(),
        "source/main/main.c: main".to_owned(),
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    // Checks and registration are those of any build.
    let info = world.store.path_info(&world.output(&first, "out")).unwrap().unwrap();
    assert_eq!(info.references.into_iter().collect::<Vec<_>>(), [input]);
    assert_eq!(world.store.builds(&first).unwrap()[0].memory_peak_bytes, Some(7));
    assert_eq!(world.log(&first), "@phase elsewhere\nlisting 7 files\n");
    let events = world.events();
    for event in ["phase listing elsewhere", "log listing listing 7 files", "finished listing Built"] {
        assert!(events.iter().any(|sent| sent == event), "{event} is not in {events:?}");
    }

    // Another recipe with the same action is cut off; a second build of the first runs and is
    // compared.
    let second = listing(&world, "second").add(&world);
    assert_ne!(first, second);
    world.built(&second);
    assert_eq!(world.ended("listing"), "CutOff");
    assert_eq!(executor.roots.lock().unwrap().len(), 1);
    world.options.rebuild = true;
    world.built(&first);
    assert_eq!(world.ended("listing"), "Reproduced");
    assert_eq!(executor.roots.lock().unwrap().len(), 2);
}

#[test]
fn failures_of_another_executor_are_those_of_a_build() {
    let (world, _executor) = world(vec![End::Failed, End::Refused]);
    let drv = listing(&world, "x").add(&world);
    let failure = || match world.build(&[&drv]) {
        Err(BuildError::Failed(mut report)) => report.failures.remove(0),
        other => panic!("{other:?}"),
    };
    let refused = failure();
    assert_eq!(refused.to_string(), "`listing` failed: execution today is not supported");
    assert_eq!((refused.error.code(), refused.log.is_some()), ("build::derivation", false));
    let failed = failure();
    let expected = "`listing` failed: the builder exited with status 3\n  phase:       elsewhere\n  last lines of the log:\n  > listing 7 files";
    assert_eq!(failed.to_string(), expected);
    assert_eq!(failed.error.code(), "build::failed");
    assert_eq!(world.log(&drv), "@phase elsewhere\nlisting 7 files\n");
    // A failure is not recorded: the next build runs again, and succeeds.
    world.built(&drv);
    assert_eq!(world.ended("listing"), "Built");
}
