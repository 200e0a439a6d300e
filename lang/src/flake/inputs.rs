//! Inputs that flakes declare, and the trees that references name now: the data that lock files are
//! written from.
//!
//! The rules of locking are the command's (`ev flake`); `lock.rs` is the format.

use super::load::{Asker, lock_text, read, reference_of_set};
use super::lock::InputPath;
use super::reference::FlakeRef;
use super::tree::{SourceTree, fetch_tree, fetch_with_facts, with_own_attributes};
use crate::builtins::expect::lossy;
use crate::error::Result;
use crate::host::FetchValue;
use crate::symbol::Symbol;
use crate::value::{Attrs, Value};
use crate::vm::{Evaluator, LOCK};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An input as a flake declares it, or as it overrides an input of its input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlakeInput {
    /// `None` when the input follows another, or when only its own inputs are overridden.
    pub reference: Option<FlakeRef>,
    /// The path to another input, from the flake that declares this one.
    pub follows: Option<InputPath>,
    /// The attribute `flake`, when it is given.
    pub is_flake: Option<bool>,
    pub inputs: BTreeMap<String, FlakeInput>,
}

/// A directory with a flake.
#[derive(Clone)]
pub struct FlakeTree(SourceTree);

impl std::fmt::Debug for FlakeTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FlakeTree").field(&lossy(&self.0.dir)).finish()
    }
}

impl PartialEq for FlakeTree {
    fn eq(&self, other: &FlakeTree) -> bool {
        self.0.dir == other.0.dir
    }
}

impl FlakeTree {
    /// Returns the directory of `flake.nix`: a logical path in the store, or one of this machine.
    pub fn directory(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0.dir))
    }
}

impl Evaluator {
    /// Returns the flake in a directory of this machine, which is read in place.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn flake_directory(&mut self, directory: &Path) -> Result<FlakeTree> {
        let reference = self.reference_of_path(directory.as_os_str().as_bytes())?;
        self.flake_tree(&reference)
    }

    /// Returns the flake that a reference of the user names.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn flake_tree(&mut self, reference: &FlakeRef) -> Result<FlakeTree> {
        self.on_large_stack(|ev| {
            let tree = fetch_tree(ev, reference, b"/", Asker::User)?;
            let own = match has_flake(ev, &tree)? {
                true => {
                    let (flake, _) = read(ev, &tree)?;
                    with_own_attributes(ev, flake, reference)?
                }
                false => None,
            };
            match own {
                Some(reference) => fetch_tree(ev, &reference, b"/", Asker::User),
                None => Ok(tree),
            }
        })
        .map(FlakeTree)
    }

    /// Returns the known facts of the tree that a reference names, and its `outPath`. A relative
    /// path starts at the flake in `parent`.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn tree_facts(&mut self, reference: &FlakeRef, parent: &FlakeTree) -> Result<Value> {
        let tree = match reference.local_path().filter(|_| reference.is_relative()) {
            Some(path) => SourceTree::relative(self, &parent.0, path)?,
            None => self.flake_tree(reference)?.0,
        };
        self.on_large_stack(|ev| tree.plain_value(ev))
    }

    /// Returns the description in a flake's file.
    ///
    /// # Errors
    /// When there is no flake, or the description is not a string.
    pub fn flake_description(&mut self, tree: &FlakeTree) -> Result<Option<String>> {
        let (flake, _) = self.on_large_stack(|ev| read(ev, &tree.0))?;
        match flake.get(Symbol::new(b"description")) {
            Some(description) => Ok(Some(lossy(self.expect_string(description)?.bytes()))),
            None => Ok(None),
        }
    }

    /// Has a flake that is loaded from now on use this lock instead of its file.
    pub fn use_flake_lock(&mut self, tree: &FlakeTree, text: String) {
        self.shared.flake_locks.lock().expect(LOCK).insert(tree.0.dir.clone(), text.into_bytes());
    }

    /// Returns the inputs that a flake declares, and those that its function takes without a
    /// declaration.
    ///
    /// # Errors
    /// When there is no flake, or its `inputs` do not have the form of inputs.
    pub fn flake_inputs(&mut self, tree: &FlakeTree) -> Result<BTreeMap<String, FlakeInput>> {
        self.on_large_stack(|ev| {
            let (flake, outputs) = read(ev, &tree.0)?;
            let mut inputs = match flake.get(Symbol::new(b"inputs")) {
                Some(declared) => declarations(ev, declared)?,
                None => BTreeMap::new(),
            };
            // Attributes of the flake's own reference.
            inputs.remove("self");
            for (symbol, _, optional) in ev.formal_positions(outputs) {
                let name = lossy(symbol.name());
                if name != "self" && !optional {
                    inputs.entry(name).or_default();
                }
            }
            Ok(inputs)
        })
    }

    /// Returns the text of a flake's lock file, if it has one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn flake_lock_text(&mut self, tree: &FlakeTree) -> Result<Option<Vec<u8>>> {
        lock_text(self, &tree.0.dir)
    }

    /// Finds the tree that a reference names now, and returns a reference that names that tree for
    /// good. That of a Git working tree with changes has no revision. A relative path starts at the
    /// flake in `parent`, and stays as it is.
    ///
    /// # Errors
    /// When the tree cannot be fetched.
    pub fn lock_reference(&mut self, reference: &FlakeRef, parent: &FlakeTree) -> Result<(FlakeRef, FlakeTree)> {
        if let Some(path) = reference.local_path().filter(|_| reference.is_relative()) {
            return Ok((reference.clone(), FlakeTree(SourceTree::relative(self, &parent.0, path)?)));
        }
        let (locked, tree) = self.lock_fetched(reference)?;
        let own = match has_flake(self, &tree)? {
            true => {
                let (flake, _) = read(self, &tree)?;
                with_own_attributes(self, flake, reference)?
            }
            false => None,
        };
        match own {
            Some(reference) => self.lock_fetched(&reference).map(|(locked, tree)| (locked, FlakeTree(tree))),
            None => Ok((locked, FlakeTree(tree))),
        }
    }

    fn lock_fetched(&mut self, reference: &FlakeRef) -> Result<(FlakeRef, SourceTree)> {
        let mut locked = reference.clone();
        // The user asked for its present version.
        let (tree, facts, branch) = fetch_with_facts(self, reference, b"/", Asker::User)?;
        for name in ["lastModified", "narHash", "rev", "revCount"] {
            if let Some(fact) = facts.get(name) {
                locked.insert(name, fact.clone());
            }
        }
        if let Some(branch) = branch {
            locked.insert("ref", FetchValue::String(branch));
        }
        if reference.is_forge() {
            locked.remove("ref");
        }
        Ok((locked, tree))
    }
}

fn has_flake(ev: &mut Evaluator, tree: &SourceTree) -> Result<bool> {
    Ok(ev.type_if_visible(&[&tree.dir, &b"/flake.nix"[..]].concat(), true)?.is_some())
}

fn declarations(ev: &mut Evaluator, declared: Value) -> Result<BTreeMap<String, FlakeInput>> {
    let declared = ev.expect_attrs(declared)?.sorted();
    declared.map(|attr| Ok((lossy(attr.name.name()), declaration(ev, attr.value)?))).collect()
}

fn declaration(ev: &mut Evaluator, value: Value) -> Result<FlakeInput> {
    let input = ev.expect_attrs(value)?;
    let member = |name: &str| input.get(Symbol::new(name.as_bytes()));
    let follows = match member("follows") {
        Some(follows) => {
            let path = lossy(ev.expect_string(follows)?.bytes());
            Some(path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect())
        }
        None => None,
    };
    let is_flake = match member("flake") {
        Some(flag) => Some(ev.expect_forced_bool(flag)?),
        None => None,
    };
    let inputs = match member("inputs") {
        Some(inputs) => ev.nested(|ev| declarations(ev, inputs))?,
        None => BTreeMap::new(),
    };
    Ok(FlakeInput { reference: declared_reference(ev, input)?, follows, is_flake, inputs })
}

/// Returns the reference that an input's `type`, `url` or `path` gives.
pub(super) fn declared_reference(ev: &mut Evaluator, input: Attrs) -> Result<Option<FlakeRef>> {
    let member = |name: &str| input.get(Symbol::new(name.as_bytes()));
    if member("type").is_some() {
        return reference_of_set(ev, input).map(Some);
    }
    if let Some(url) = member("url") {
        let url = lossy(ev.text_of(url)?.bytes());
        return Ok(Some(FlakeRef::parse(&url)?));
    }
    let Some(path) = member("path") else { return Ok(None) };
    Ok(Some(FlakeRef::path(&lossy(ev.text_of(path)?.bytes()))))
}
