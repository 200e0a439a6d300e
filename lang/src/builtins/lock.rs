//! `flake.lock`: which trees the inputs of a flake are, and the inputs of those, all the way down.
//!
//! A lock file is read for the flake that was asked for; locks of its inputs count for nothing, as in Nix. An input whose
//! declaration has changed since it was locked is taken as declared, so pure evaluation refuses it instead of using what was
//! meant before.

use super::expect::lossy;
use super::flake::{Reference, allow, fetch_tree, flake_of, plain_tree, reference_of_set, text};
use super::json::plain_attrs;
use super::locking::{is_pinned, reference};
use crate::compile::code::Code;
use crate::error::{Error, Result};
use crate::symbol::Symbol;
use crate::value::{Attrs, Value, View};
use crate::vm::Evaluator;

/// The versions of the format that are understood.
const VERSIONS: std::ops::RangeInclusive<i64> = 5..=7;

/// A node of the lock file, fetched when asked for: all nodes as the file has them, their values, this one's name, the name of the root.
static NODE: Code = Code::native(4, |ev, captures| {
    let lock = Lock {
        nodes: ev.expect_attrs(captures[0])?,
        values: ev.expect_attrs(captures[1])?,
        root: Symbol::new(ev.expect_string(captures[3])?.bytes()),
    };
    let name = ev.expect_string(captures[2])?.bytes();
    lock.fetch(ev, Symbol::new(name))
});

/// A lock file.
pub(super) struct Lock {
    nodes: Attrs,
    /// What each node is, by name.
    values: Attrs,
    root: Symbol,
}

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::other("lang::flake_lock", format!("'flake.lock' cannot be used: {why}"))
        .help("`ev flake lock` writes it; without it, inputs are taken as flake.nix declares them")
}

/// An entry that does not say which tree it is: whoever changes what it names changes what is evaluated.
fn unlocked(name: Symbol, reference: &Reference) -> Error {
    let kind = text(reference, "type").unwrap_or_default();
    let lack = match kind {
        "path" | "tarball" | "file" => "no 'narHash'",
        _ => "neither a 'rev' nor a 'narHash'",
    };
    let name = lossy(name.name());
    let message =
        format!("in pure evaluation mode, the input '{name}' cannot be used: its entry in 'flake.lock' has {lack}");
    Error::other("lang::unlocked_fetch", message)
        .help("`ev flake lock` adds what is missing; `--impure` takes the entry as it is")
}

/// The text of the lock file in a flake's folder, if there is one.
pub(super) fn text_in(ev: &mut Evaluator, dir: &[u8]) -> Result<Option<Vec<u8>>> {
    let path = [dir, b"/flake.lock"].concat();
    if ev.type_if_visible(&path, true)? != Some(crate::host::FileType::Regular) {
        return Ok(None);
    }
    let path = ev.checked_path(&path)?;
    Ok(Some(ev.read_file(&path)?))
}

impl Lock {
    /// The lock file in a flake's folder. `own` is what that flake will be.
    pub(super) fn read(ev: &mut Evaluator, dir: &[u8], own: Value) -> Result<Option<Lock>> {
        let Some(text) = text_in(ev, dir)? else { return Ok(None) };
        let file = super::json::from_json(ev, &[Value::string(&text)]).map_err(|error| invalid(error.kind()))?;
        let file = file.as_attrs().ok_or_else(|| invalid("it holds no set"))?;
        let member = |name: &str| file.get(Symbol::new(name.as_bytes()));
        match member("version").map(|version| version.view()) {
            Some(View::Int(version)) if VERSIONS.contains(&version) => {}
            _ => return Err(invalid("its version is not known here")),
        }
        let nodes = member("nodes").and_then(|nodes| nodes.as_attrs()).ok_or_else(|| invalid("it has no 'nodes'"))?;
        let root = member("root").and_then(|root| root.as_string()).ok_or_else(|| invalid("it has no 'root'"))?;
        let root_name = Symbol::new(root.bytes());
        let thunk = |name: Symbol| if name == root_name { own } else { Value::thunk_unfilled(&NODE) };
        let members: Vec<_> = nodes.iter().map(|node| (node.name, thunk(node.name))).collect();
        let values = plain_attrs(members.iter().map(|(name, value)| (lossy(name.name()), *value)).collect());
        for (name, value) in members {
            if name != root_name {
                ev.fill_thunk(value, &[nodes.value(), values, Value::string(name.name()), root.value()]);
            }
        }
        let values = values.as_attrs().expect("a set was made just now");
        Ok(Some(Lock { nodes, values, root: root_name }))
    }

    /// What an input of the flake itself is locked to; `None` when it is not locked, or declared otherwise than it was then.
    pub(super) fn input(&self, ev: &mut Evaluator, name: Symbol, declared: Option<Attrs>) -> Result<Option<Value>> {
        let Some(locked) = self.inputs_of(self.root)?.and_then(|inputs| inputs.get(name)) else { return Ok(None) };
        let target = self.target(locked, 0)?;
        if let Some(declared) = declared
            && !self.is_as_declared(ev, declared, locked, target)?
        {
            return Ok(None);
        }
        self.value(target).map(Some)
    }

    fn is_as_declared(&self, ev: &mut Evaluator, declared: Attrs, locked: Value, target: Symbol) -> Result<bool> {
        if let Some(follows) = declared.get(Symbol::new(b"follows")) {
            let follows = ev.expect_string(follows)?.bytes();
            let Some(path) = locked.as_list() else { return Ok(false) };
            let words = follows.split(|&byte| byte == b'/').filter(|word| !word.is_empty());
            return Ok(words.eq(path.values().iter().filter_map(|name| name.as_string()).map(|name| name.bytes())));
        }
        let Some(wanted) = reference(ev, declared)? else { return Ok(true) };
        let original = self.node(target)?.get(Symbol::new(b"original")).and_then(|original| original.as_attrs());
        let Some(original) = original else { return Ok(true) };
        Ok(reference_of_set(ev, original)? == wanted)
    }

    fn node(&self, name: Symbol) -> Result<Attrs> {
        let node = self.nodes.get(name).and_then(|node| node.as_attrs());
        node.ok_or_else(|| invalid(format!("it has no node '{}'", lossy(name.name()))))
    }

    fn value(&self, name: Symbol) -> Result<Value> {
        self.values.get(name).ok_or_else(|| invalid(format!("it has no node '{}'", lossy(name.name()))))
    }

    fn inputs_of(&self, name: Symbol) -> Result<Option<Attrs>> {
        Ok(self.node(name)?.get(Symbol::new(b"inputs")).and_then(|inputs| inputs.as_attrs()))
    }

    /// The node that an input is: named, or by the way to it from the root. `steps` counts follows of follows.
    fn target(&self, input: Value, steps: usize) -> Result<Symbol> {
        if let Some(name) = input.as_string() {
            return Ok(Symbol::new(name.bytes()));
        }
        let path = input.as_list().ok_or_else(|| invalid("an input is neither a name nor a list of names"))?;
        if steps > self.nodes.len() {
            return Err(invalid("inputs follow each other in a circle"));
        }
        let mut node = self.root;
        for name in path.values() {
            let name = name.as_string().ok_or_else(|| invalid("a list of names holds something else"))?;
            let next = self.inputs_of(node)?.and_then(|inputs| inputs.get(Symbol::new(name.bytes())));
            let next = next
                .ok_or_else(|| invalid(format!("'{}' has no input '{}'", lossy(node.name()), lossy(name.bytes()))))?;
            node = self.target(next, steps + 1)?;
        }
        Ok(node)
    }

    fn fetch(&self, ev: &mut Evaluator, name: Symbol) -> Result<Value> {
        let node = self.node(name)?;
        let locked = node.get(Symbol::new(b"locked")).and_then(|locked| locked.as_attrs());
        let locked = locked.ok_or_else(|| invalid(format!("'{}' is not locked", lossy(name.name()))))?;
        let reference = reference_of_set(ev, locked)?;
        // A relative path is a part of the flake that has it.
        if ev.shared.options.pure && !is_relative(&reference) && !is_pinned(&reference) {
            return Err(unlocked(name, &reference));
        }
        let base = if is_relative(&reference) { self.parent_dir(ev, node)? } else { b"/".to_vec() };
        allow(ev, &reference, &base);
        let tree = fetch_tree(ev, &reference, &base)?;
        if matches!(node.get(Symbol::new(b"flake")).map(|flake| flake.view()), Some(View::Bool(false))) {
            return Ok(plain_tree(ev, tree));
        }
        let mut inputs = Vec::new();
        for input in self.inputs_of(name)?.into_iter().flat_map(|inputs| inputs.iter().collect::<Vec<_>>()) {
            inputs.push((lossy(input.name.name()), self.value(self.target(input.value, 0)?)?));
        }
        flake_of(ev, tree, |_, _, _, _, _| Ok(plain_attrs(inputs)))
    }

    /// Where the flake lies that a relative path starts from.
    fn parent_dir(&self, ev: &mut Evaluator, node: Attrs) -> Result<Vec<u8>> {
        let parent = match node.get(Symbol::new(b"parent")) {
            Some(path) => self.target(path, 0)?,
            None => self.root,
        };
        let parent = self.value(parent)?;
        let parent = ev.force(parent)?;
        let dir = ev.select_slow(parent, ev.shared.names.out_path)?;
        Ok(ev.text_of(dir)?.bytes().to_vec())
    }
}

fn is_relative(reference: &Reference) -> bool {
    text(reference, "type") == Some("path") && !text(reference, "path").unwrap_or_default().starts_with('/')
}
