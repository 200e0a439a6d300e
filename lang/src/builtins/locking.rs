//! What a lock file is made from: the inputs that a flake declares, and what the trees are that references name.
//!
//! Which input is locked to what, and how the file is written, is the program's (`ev flake`); reading it is `lock.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use super::expect::lossy;
use super::flake::{Reference, allow, is_forge, local_path, parse_reference, reference_of_set, text};
use super::lock;
use crate::error::{Error, Result};
use crate::host::{FetchKind, FetchRequest, FetchValue};
use crate::symbol::Symbol;
use crate::value::{Attrs, Value};
use crate::vm::Evaluator;

/// An input as a flake declares it, or as one says what the inputs of its input are to be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlakeInput {
    /// What it names; nothing when it follows another, or when only something about its inputs is said.
    pub reference: Option<Reference>,
    /// The way to another input, from the flake that declares this one.
    pub follows: Option<Vec<String>>,
    /// Whether it is a flake, if that is said.
    pub is_flake: Option<bool>,
    pub inputs: BTreeMap<String, FlakeInput>,
}

/// Whether a reference names one tree for ever: by its hash, or by a revision where that is a hash. In a reference to an
/// archive or a folder a revision is a word that nothing checks.
pub fn is_pinned(reference: &Reference) -> bool {
    let by_revision = ["git", "hg", "github", "gitlab", "sourcehut"];
    let has_hash = text(reference, "narHash").is_some_and(|hash| !hash.is_empty());
    has_hash || text(reference, "type").is_some_and(|kind| by_revision.contains(&kind)) && has_revision(reference)
}

/// Whether a revision is named; that of nothing but zeros stands for none.
pub(super) fn has_revision(reference: &Reference) -> bool {
    text(reference, "rev").is_some_and(|rev| rev.bytes().any(|byte| byte != b'0'))
}

/// A tree in which a flake lies.
#[derive(Debug, Clone, PartialEq)]
pub struct FlakeTree {
    dir: Vec<u8>,
}

impl Evaluator {
    /// The flake in a folder of this machine, which is read where it lies.
    pub fn flake_folder(&mut self, folder: &Path) -> FlakeTree {
        let dir = folder.to_string_lossy().into_owned();
        self.allow(dir.clone().into());
        FlakeTree { dir: dir.into_bytes() }
    }

    /// The inputs that a flake declares, and those that its function asks for without their being declared.
    ///
    /// # Errors
    /// When there is no flake, or it declares something else than inputs.
    pub fn flake_inputs(&mut self, tree: &FlakeTree) -> Result<BTreeMap<String, FlakeInput>> {
        self.on_large_stack(|ev| {
            let flake = ev.import(&[&tree.dir, &b"/flake.nix"[..]].concat())?;
            let flake = ev.expect_attrs(flake)?;
            let mut inputs = match flake.get(Symbol::new(b"inputs")) {
                Some(declared) => declarations(ev, declared)?,
                None => BTreeMap::new(),
            };
            let outputs = ev.required(flake, "outputs", "getFlake")?;
            let outputs = ev.expect_function(outputs)?;
            for (symbol, _, optional) in ev.formal_positions(outputs) {
                let name = lossy(symbol.name());
                if name != "self" && !optional {
                    inputs.entry(name).or_default();
                }
            }
            Ok(inputs)
        })
    }

    /// The text of a flake's lock file, if it has one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn flake_lock_text(&mut self, tree: &FlakeTree) -> Result<Option<Vec<u8>>> {
        lock::text_in(self, &tree.dir)
    }

    /// What a reference names now: the reference that names nothing else ever, and the tree. A relative path is from the flake in
    /// `parent`, and stays as it is.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not something that can be named so, as a changed working tree.
    pub fn lock_reference(&mut self, reference: &Reference, parent: &FlakeTree) -> Result<(Reference, FlakeTree)> {
        let text = |name: &str| text(reference, name);
        let kind = text("type").unwrap_or_default();
        let mut locked = reference.clone();
        let root = match text("path") {
            Some(path) if kind == "path" && !path.starts_with('/') => {
                allow(self, reference, &parent.dir);
                local_path(path, &parent.dir)
            }
            _ => {
                let expected = super::fetch::nar_hash(reference)?;
                let name = Some("source".to_owned());
                let attributes = reference.clone();
                let fetched = self.fetch(&FetchRequest { kind: FetchKind::Tree, name, expected, attributes })?;
                let facts = &fetched.attributes;
                if kind == "git" && !facts.contains_key("rev") {
                    let why = "its working tree has changes, which no lock can name";
                    return Err(Error::other(
                        "lang::unlocked_fetch",
                        format!("'{}' cannot be locked: {why}", text("url").unwrap_or_default()),
                    )
                    .help("commit the changes, or give a `rev` or `ref`"));
                }
                for name in ["lastModified", "narHash", "rev", "revCount"] {
                    if let Some(fact) = facts.get(name) {
                        locked.insert(name.to_owned(), fact.clone());
                    }
                }
                if let Some(branch) = fetched.branch {
                    locked.insert("ref".to_owned(), FetchValue::String(branch));
                }
                if is_forge(kind) {
                    locked.remove("ref");
                }
                self.shared.options.store_model.print(&fetched.path).into_bytes()
            }
        };
        let dir = text("dir").map_or_else(|| root.clone(), |dir| local_path(dir, &root));
        Ok((locked, FlakeTree { dir }))
    }
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
            let way = lossy(ev.expect_string(follows)?.bytes());
            Some(way.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect())
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
    Ok(FlakeInput { reference: reference(ev, input)?, follows, is_flake, inputs })
}

/// What an input names by its `type`, `url` or `path`.
pub(super) fn reference(ev: &mut Evaluator, input: Attrs) -> Result<Option<Reference>> {
    let member = |name: &str| input.get(Symbol::new(name.as_bytes()));
    if member("type").is_some() {
        return reference_of_set(ev, input).map(Some);
    }
    if let Some(url) = member("url") {
        let url = lossy(ev.text_of(url)?.bytes());
        return parse_reference(&url).map(Some);
    }
    let Some(path) = member("path") else { return Ok(None) };
    let path = lossy(ev.text_of(path)?.bytes());
    let attributes = [("type", "path"), ("path", &path)];
    Ok(Some(attributes.map(|(name, value)| (name.to_owned(), FetchValue::String(value.to_owned()))).into()))
}
