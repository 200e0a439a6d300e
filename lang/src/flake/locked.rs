//! Inputs of a flake as its lock file pins them.
//!
//! Only the lock file of the flake that was asked for is read; those of its inputs are ignored, as
//! in Nix. An input whose declaration has changed since it was locked is taken as declared, so pure
//! evaluation refuses it instead of using the tree that an older declaration named.

use super::inputs::declared_reference;
use super::load::{Asker, flake_of, lock_text, read};
use super::lock::{LockError, LockFile, LockInput, LockNode};
use super::reference::FlakeRef;
use super::tree::{SourceTree, fetch_tree, reference_of_value};
use crate::builtins::expect::lossy;
use crate::builtins::json::plain_attrs;
use crate::compile::code::Code;
use crate::error::{Error, Result};
use crate::host::{FetchValue, LocalFact, LocalTree};
use crate::symbol::Symbol;
use crate::value::{Attrs, Value};
use crate::vm::{Evaluator, LOCK};
use std::collections::BTreeMap;

/// A node of the lock file, fetched when it is forced: the thunk of its tree, its inputs (null when
/// it is not a flake).
static NODE: Code = Code::native(2, |ev, captures| {
    let tree = SourceTree::of_value(ev, captures[0])?;
    if captures[1].as_attrs().is_none() {
        return tree.plain_value(ev);
    }
    let (_, outputs) = read(ev, &tree)?;
    flake_of(ev, &tree, outputs, |_, _| Ok(captures[1]))?.whole(ev)
});

/// The tree of a node: its name, its locked reference, the tree of the flake at which a relative
/// path starts.
static NODE_TREE: Code = Code::native(3, |ev, captures| {
    let reference = reference_of_value(ev, captures[1])?;
    if reference.is_relative() {
        let parent = SourceTree::of_value(ev, captures[2])?;
        let path = reference.local_path().unwrap_or_default();
        return Ok(SourceTree::relative(ev, &parent, path)?.to_value());
    }
    if ev.shared.options.pure && !reference.is_pinned() {
        let name = lossy(ev.expect_string(captures[0])?.bytes());
        return Err(unpinned(&name, &reference));
    }
    warn_if_changed(ev, captures[0], &reference)?;
    Ok(fetch_tree(ev, &reference, b"/", Asker::Flake)?.to_value())
});

/// Warns when a directory was modified after it was locked: its locked copy is what is used.
fn warn_if_changed(ev: &mut Evaluator, name: Value, reference: &FlakeRef) -> Result<()> {
    let (Some(path), Some(FetchValue::Int(locked))) =
        (reference.local_path(), reference.attributes().get("lastModified").cloned())
    else {
        return Ok(());
    };
    let tree = LocalTree { root: ev.real_path(path.as_bytes())?, is_git: false, submodules: false };
    // A directory that is gone does not matter while its copy is in the store.
    let Ok(facts) = ev.shared.host.local(&tree, LocalFact::Attributes) else { return Ok(()) };
    if facts.attributes.get("lastModified").is_some_and(|now| matches!(now, FetchValue::Int(now) if *now > locked)) {
        let name = lossy(ev.expect_string(name)?.bytes());
        ev.warn_once(&format!(
            "'{path}' has changed since the input '{name}' was locked; `ev flake update {name}` takes it as it is now"
        ));
    }
    Ok(())
}

/// A node that the lock file does not describe well enough: the reason.
static BROKEN: Code = Code::native(1, |ev, captures| {
    let why = lossy(ev.expect_string(captures[0])?.bytes());
    Err(LockError(why).into())
});

/// The error for an entry that does not say which tree it is: it would change with the tree that
/// its reference names.
fn unpinned(name: &str, reference: &FlakeRef) -> Error {
    let lack = match reference.kind() {
        "path" | "tarball" | "file" => "no 'narHash'",
        _ => "neither a 'rev' nor a 'narHash'",
    };
    let message =
        format!("in pure evaluation mode, the input '{name}' cannot be used: its entry in 'flake.lock' has {lack}");
    Error::other("lang::unlocked_fetch", message)
        .help("`ev flake lock` adds what is missing; `--impure` takes the entry as it is")
}

/// Refuses an input in pure evaluation that nothing pins: neither a lock file nor its declaration.
pub(super) fn check_unlocked(ev: &Evaluator, reference: &FlakeRef) -> Result<()> {
    if !ev.shared.options.pure || reference.local_path().is_some() || reference.is_pinned() {
        return Ok(());
    }
    let message = format!(
        "in pure evaluation mode, the input '{}' cannot be used, as no 'flake.lock' pins it",
        reference.to_url().unwrap_or_default()
    );
    Err(Error::other("lang::unlocked_fetch", message)
        .help("`ev flake lock` in the directory of the flake that has it; `--impure` takes its present version"))
}

/// A lock file, and the values of its nodes.
pub(super) struct LockedInputs {
    file: LockFile,
    /// True for a lock that was made for this evaluation, and has every input as it is meant.
    is_fresh: bool,
    values: BTreeMap<String, Value>,
}

/// The nodes that a node refers to, by name.
struct Edges {
    inputs: Vec<(String, String)>,
    /// The flake at which a relative path starts.
    parent: Option<String>,
}

impl LockedInputs {
    /// Reads the lock file of the flake in a tree. `own` is the value of that flake.
    pub(super) fn read(ev: &mut Evaluator, tree: &SourceTree, own: Value) -> Result<Option<LockedInputs>> {
        let Some(text) = lock_text(ev, &tree.dir)? else { return Ok(None) };
        let is_fresh = ev.shared.flake_locks.lock().expect(LOCK).contains_key(&tree.dir);
        let file = LockFile::parse(&text)?;
        let edges: BTreeMap<&str, _> =
            file.nodes.iter().map(|(name, node)| (name.as_str(), edges(&file, name, node))).collect();
        let mut values = BTreeMap::new();
        let mut trees = BTreeMap::new();
        for (name, edges) in &edges {
            let (value, tree) = match edges {
                _ if *name == file.root => (own, tree.to_value()),
                Ok(_) => (Value::thunk_unfilled(&NODE), Value::thunk_unfilled(&NODE_TREE)),
                Err(LockError(why)) => {
                    let broken = Value::thunk(&BROKEN, &[Value::string(why.as_bytes())]);
                    (broken, broken)
                }
            };
            values.insert((*name).to_owned(), value);
            trees.insert(*name, tree);
        }
        for (name, edges) in edges.iter().filter(|(name, _)| **name != file.root) {
            let (Ok(edges), Some(pin)) = (edges, &file.nodes[*name].pin) else { continue };
            let parent = edges.parent.as_deref().map_or(Value::NULL, |parent| trees[parent]);
            ev.fill_thunk(trees[name], &[Value::string(name.as_bytes()), pin.locked.to_value(), parent]);
            let inputs = edges.inputs.iter().map(|(input, target)| (input.clone(), values[target.as_str()])).collect();
            let inputs = if pin.is_flake { plain_attrs(inputs) } else { Value::NULL };
            ev.fill_thunk(values[*name], &[trees[name], inputs]);
        }
        Ok(Some(LockedInputs { file, is_fresh, values }))
    }

    /// Returns the value of an input of the flake itself; `None` when it is not locked, or was
    /// declared otherwise when it was.
    pub(super) fn input(&self, ev: &mut Evaluator, name: &str, declared: Option<Attrs>) -> Result<Option<Value>> {
        let Some(input) = self.file.node(&self.file.root)?.inputs.get(name) else { return Ok(None) };
        let target = self.file.target(input)?;
        if let Some(declared) = declared
            && !self.is_fresh
            && !self.is_as_declared(ev, declared, input, target)?
        {
            return Ok(None);
        }
        Ok(Some(self.values[target]))
    }

    fn is_as_declared(&self, ev: &mut Evaluator, declared: Attrs, locked: &LockInput, target: &str) -> Result<bool> {
        if let Some(follows) = declared.get(Symbol::new(b"follows")) {
            let follows = lossy(ev.expect_string(follows)?.bytes());
            let LockInput::Follows(path) = locked else { return Ok(false) };
            return Ok(follows.split('/').filter(|name| !name.is_empty()).eq(path.iter().map(String::as_str)));
        }
        let Some(wanted) = declared_reference(ev, declared)? else { return Ok(true) };
        Ok(self.file.node(target)?.pin.as_ref().is_none_or(|pin| pin.original == wanted))
    }
}

fn edges(file: &LockFile, name: &str, node: &LockNode) -> std::result::Result<Edges, LockError> {
    let mut edges = Edges { inputs: Vec::new(), parent: None };
    let Some(pin) = &node.pin else { return Err(LockError(format!("'{name}' is not locked"))) };
    if pin.locked.is_relative() {
        let parent = pin
            .parent
            .clone()
            .map_or(Ok(file.root.clone()), |path| file.target(&LockInput::Follows(path)).map(str::to_owned));
        edges.parent = Some(parent?);
    }
    for (input, target) in &node.inputs {
        edges.inputs.push((input.clone(), file.target(target)?.to_owned()));
    }
    Ok(edges)
}
