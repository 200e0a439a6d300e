//! Source trees of flakes and other inputs, and their facts as expressions see them.
//!
//! A tree that the user names, and a directory that no hash pins, is read in place. Its copy
//! in the store, its hash and its number of revisions are made when an expression asks for them:
//! each is a thunk of its own. Other trees are in the store, with facts that are known already.

use super::load::{Asker, reference_of_set};
use super::reference::{ENCODED, FlakeRef};
use crate::builtins::expect::lossy;
use crate::builtins::fetch::nar_hash;
use crate::builtins::json::plain_attrs;
use crate::builtins::local_file;
use crate::compile::code::Code;
use crate::error::{Error, Result};
use crate::host::{FetchKind, FetchRequest, FetchValue, FileType, LocalFact, LocalTree};
use crate::symbol::Symbol;
use crate::text::path::{normalise, resolve};
use crate::value::{Attrs, Value};
use crate::vm::{Evaluator, LOCK};
use model::StorePath;
use percent_encoding::utf8_percent_encode;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Most symbolic links followed on the way to a directory, as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// The set `sourceInfo` of the working tree of a Git repository: its root, true with submodules.
static GIT_INFO: Code = Code::native(2, |ev, captures| {
    let tree = captured_tree(ev, captures[0], true, captures[1])?;
    let facts = ev.shared.host.local(&tree, LocalFact::Attributes)?;
    let mut members: Vec<(String, Value)> =
        facts.attributes.iter().map(|(name, value)| (name.clone(), value.to_value())).collect();
    members.extend(costly_members(&tree));
    if facts.has_rev_count {
        members.push(("revCount".to_owned(), fact_thunk(&tree, "revCount")));
    }
    Ok(plain_attrs(members))
});

/// A fact of a tree that is read in place: its root, true for Git, true with submodules, its
/// name.
static FACT: Code = Code::native(4, |ev, captures| {
    let is_git = ev.expect_forced_bool(captures[1])?;
    let tree = captured_tree(ev, captures[0], is_git, captures[2])?;
    let name = lossy(ev.expect_string(captures[3])?.bytes());
    let fact = match name.as_str() {
        "outPath" => return Ok(ev.store_value(&ev.copied_tree(&tree)?)),
        "narHash" => LocalFact::NarHash,
        "revCount" => LocalFact::RevCount,
        _ => LocalFact::Attributes,
    };
    let facts = ev.shared.host.local(&tree, fact)?;
    Ok(facts.attributes.get(&name).map_or(Value::NULL, FetchValue::to_value))
});

/// A path below a directory that may not have been copied yet: that directory, the rest.
static BELOW: Code = Code::native(2, |ev, captures| {
    let directory = ev.expect_string(captures[0])?;
    let rest = ev.expect_string(captures[1])?;
    Ok(Value::string_with_context(&[directory.bytes(), rest.bytes()].concat(), directory.context()))
});

fn captured_tree(ev: &mut Evaluator, root: Value, is_git: bool, submodules: Value) -> Result<LocalTree> {
    let root = PathBuf::from(OsStr::from_bytes(ev.expect_string(root)?.bytes()));
    Ok(LocalTree { root, is_git, submodules: ev.expect_forced_bool(submodules)? })
}

fn fact_thunk(tree: &LocalTree, name: &str) -> Value {
    let root = Value::string(tree.root.as_os_str().as_bytes());
    Value::thunk(&FACT, &[root, Value::bool(tree.is_git), Value::bool(tree.submodules), Value::string(name.as_bytes())])
}

/// Facts that need all files of the tree.
fn costly_members(tree: &LocalTree) -> [(String, Value); 2] {
    ["narHash", "outPath"].map(|name| (name.to_owned(), fact_thunk(tree, name)))
}

/// A source tree that a reference names.
#[derive(Clone)]
pub(super) struct SourceTree {
    /// The directory that its files are read from.
    root: Vec<u8>,
    /// The directory of it that the reference means.
    pub dir: Vec<u8>,
    /// The set `sourceInfo`, which may be a thunk.
    pub info: Value,
    /// `dir` as expressions see it, which may be a thunk.
    pub out_path: Value,
    /// True for a directory in the tree of the flake that declares it.
    pub is_relative: bool,
}

impl SourceTree {
    /// Opens a tree that is read in place; `dir` is a directory in it.
    fn local(ev: &mut Evaluator, tree: &LocalTree, dir: Vec<u8>) -> Result<SourceTree> {
        ev.open_local_tree(tree)?;
        let root = tree.root.as_os_str().as_bytes().to_vec();
        let info = match tree.is_git {
            true => Value::thunk(&GIT_INFO, &[Value::string(&root), Value::bool(tree.submodules)]),
            false => {
                let dates = ["lastModified", "lastModifiedDate"].map(|name| (name.to_owned(), fact_thunk(tree, name)));
                plain_attrs(dates.into_iter().chain(costly_members(tree)).collect())
            }
        };
        let whole = fact_thunk(tree, "outPath");
        let out_path = below(whole, dir.strip_prefix(root.as_slice()).unwrap_or_default());
        Ok(SourceTree { root, dir, info, out_path, is_relative: false })
    }

    /// Returns the directory `path` in the tree of the flake `parent`.
    pub fn relative(ev: &mut Evaluator, parent: &SourceTree, path: &str) -> Result<SourceTree> {
        let dir = resolve(path.as_bytes(), &parent.dir);
        if Path::new(OsStr::from_bytes(&dir)).starts_with(OsStr::from_bytes(&parent.root)) {
            let rest = if path.is_empty() { Vec::new() } else { [b"/", path.as_bytes()].concat() };
            let out_path = below(parent.out_path, &rest);
            return Ok(SourceTree { dir, out_path, is_relative: true, ..parent.clone() });
        }
        if parent.is_in_store(ev) {
            let message = format!("the input 'path:{path}' leads out of the tree of the flake that declares it");
            return Err(Error::other("lang::flake_input", message)
                .help("the tree came from elsewhere, and names a directory that is on this machine alone"));
        }
        let tree = LocalTree { root: ev.real_path(&dir)?, is_git: false, submodules: false };
        let dir = tree.root.as_os_str().as_bytes().to_vec();
        SourceTree::local(ev, &tree, dir)
    }

    /// Returns whether it came from elsewhere, as opposed to a directory of the user.
    pub fn is_in_store(&self, ev: &Evaluator) -> bool {
        ev.shared.options.store_model.split(&lossy(&self.root)).is_ok()
    }

    /// Returns the tree as a value, for thunks to capture.
    pub fn to_value(&self) -> Value {
        let members = [
            ("root", Value::string(&self.root)),
            ("dir", Value::string(&self.dir)),
            ("info", self.info),
            ("outPath", self.out_path),
            ("relative", Value::bool(self.is_relative)),
        ];
        plain_attrs(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Reads what [`SourceTree::to_value`] made, forcing it if it is a thunk.
    pub fn of_value(ev: &mut Evaluator, value: Value) -> Result<SourceTree> {
        let set = ev.expect_attrs(value)?;
        let member = |name: &str| set.get(Symbol::new(name.as_bytes())).expect("all members were captured");
        Ok(SourceTree {
            root: ev.expect_string(member("root"))?.bytes().to_vec(),
            dir: ev.expect_string(member("dir"))?.bytes().to_vec(),
            info: member("info"),
            out_path: member("outPath"),
            is_relative: ev.expect_forced_bool(member("relative"))?,
        })
    }

    /// Returns the value of a tree that is an input without being a flake.
    pub fn plain_value(&self, ev: &mut Evaluator) -> Result<Value> {
        let info = ev.expect_attrs(self.info)?;
        let own = [("outPath", self.out_path), ("sourceInfo", self.info)];
        let own = plain_attrs(own.map(|(name, value)| (name.to_owned(), value)).into());
        Ok(info.update(own.as_attrs().expect("a set was made just now")))
    }
}

/// Returns a directory below another one that may be a thunk; `rest` begins with a slash, or is
/// empty.
fn below(directory: Value, rest: &[u8]) -> Value {
    if rest.is_empty() { directory } else { Value::thunk(&BELOW, &[directory, Value::string(rest)]) }
}

/// Returns the tree that a reference names, which starts at `base` if it is relative and the user's
/// own. Pure evaluation may read it from then on if `asker` may name it.
pub(super) fn fetch_tree(ev: &mut Evaluator, reference: &FlakeRef, base: &[u8], asker: Asker) -> Result<SourceTree> {
    if let Some((tree, dir)) = local_tree(ev, reference, base, asker)? {
        return SourceTree::local(ev, &tree, dir);
    }
    Ok(fetch_with_facts(ev, reference, base, asker)?.0)
}

/// Fetches the tree that a reference names to the store; returns its attributes as the host gives
/// them and, of a Git repository, the branch.
pub(super) fn fetch_with_facts(
    ev: &mut Evaluator,
    reference: &FlakeRef,
    base: &[u8],
    asker: Asker,
) -> Result<(SourceTree, BTreeMap<String, FetchValue>, Option<String>)> {
    let mut attributes = reference.attributes().clone();
    if let Some(path) = reference.local_path() {
        let path = ev.real_path(&resolve(path.as_bytes(), base))?;
        attributes.insert("path".to_owned(), FetchValue::String(path.to_string_lossy().into_owned()));
    }
    attributes.remove("dir");
    let request = FetchRequest {
        kind: FetchKind::Tree,
        name: Some("source".to_owned()),
        expected: nar_hash(reference.attributes())?,
        attributes,
    };
    let fetched = match asker {
        Asker::User => ev.fetch_unpinned(&request)?,
        Asker::Flake | Asker::Expression => ev.fetch(&request)?,
    };
    let facts = fetched.attributes.iter().map(|(name, value)| (name.clone(), value.to_value()));
    let (text, context) = ev.store_string(&fetched.path);
    let whole = Value::string_with_context(text.as_bytes(), context);
    let info = plain_attrs(facts.chain([("outPath".to_owned(), whole)]).collect());
    let root = text.into_bytes();
    let dir = reference.directory_in(&root)?;
    let out_path = match dir.strip_prefix(root.as_slice()) {
        Some(rest) if !rest.is_empty() => Value::string_with_context(&dir, context),
        _ => whole,
    };
    let tree = SourceTree { root, dir, info, out_path, is_relative: false };
    Ok((tree, fetched.attributes, fetched.branch))
}

/// Returns the tree and directory of a reference that is read in place: a directory that
/// nothing pins, or the working tree of a repository that the user names.
pub(super) fn local_tree(
    ev: &mut Evaluator,
    reference: &FlakeRef,
    base: &[u8],
    asker: Asker,
) -> Result<Option<(LocalTree, Vec<u8>)>> {
    let has = |name: &str| reference.attributes().contains_key(name);
    let tree = match reference.kind() {
        "path" if !has("narHash") => {
            let path = resolve(reference.local_path().unwrap_or_default().as_bytes(), base);
            let root = ev.real_path(&path)?;
            // Pure evaluation takes a directory that an expression names from the store alone, whose
            // names are as good as hashes.
            let is_in_store = ev.shared.options.store_model.split(&root.to_string_lossy()).is_ok();
            let may_be_named = asker != Asker::Expression || !ev.shared.options.pure || is_in_store;
            may_be_named.then_some(LocalTree { root, is_git: false, submodules: false })
        }
        "git" if asker == Asker::User && !["rev", "ref", "narHash"].iter().any(|name| has(name)) => {
            match reference.text("url").and_then(local_file) {
                Some(path) => {
                    let root = ev.real_path(&normalise(path.as_os_str().as_bytes()))?;
                    let found = ev.shared.host.git_tree_of(&root).filter(|tree| tree.root == root);
                    let submodules = reference.attributes().get("submodules") == Some(&FetchValue::Bool(true));
                    found.map(|tree| LocalTree { submodules, ..tree })
                }
                None => None,
            }
        }
        _ => None,
    };
    let Some(tree) = tree else { return Ok(None) };
    if tree.submodules && ev.shared.host.local(&tree, LocalFact::Opened)?.is_incomplete {
        return Ok(None);
    }
    let dir = reference.directory_in(tree.root.as_os_str().as_bytes())?;
    Ok(Some((tree, dir)))
}

impl FlakeRef {
    /// Returns the directory of this machine that the flake is read from, if it is read in
    /// place: that of a path, or of the working tree of a repository.
    pub fn local_directory(&self) -> Option<PathBuf> {
        let is_pinned = ["rev", "ref", "narHash"].iter().any(|name| self.attributes().contains_key(*name));
        let root = match self.kind() {
            "path" => PathBuf::from(self.local_path()?),
            "git" if !is_pinned => local_file(self.text("url")?)?,
            _ => return None,
        };
        let directory = self.directory_in(root.as_os_str().as_bytes()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(&directory)))
    }
}

/// Reads the attributes of `inputs.self`, and returns the reference with them, if they change it.
///
/// # Errors
/// When it has others than `submodules`, or asks for large files of Git.
pub(super) fn with_own_attributes(ev: &mut Evaluator, flake: Attrs, reference: &FlakeRef) -> Result<Option<FlakeRef>> {
    let Some(inputs) = flake.get(Symbol::new(b"inputs")) else { return Ok(None) };
    let Some(own) = ev.expect_attrs(inputs)?.get(Symbol::new(b"self")) else { return Ok(None) };
    let own = ev.expect_attrs(own)?;
    let mut wanted = reference.clone();
    for attr in own.sorted() {
        let name = lossy(attr.name.name());
        match name.as_str() {
            "submodules" if ev.expect_forced_bool(attr.value)? => {
                wanted.insert("submodules", FetchValue::Bool(true));
            }
            "submodules" => {}
            "lfs" if ev.expect_forced_bool(attr.value)? => {
                return Err(Error::other("lang::flake_input", "'inputs.self.lfs': Git LFS is not supported")
                    .help("a flake can do without it: fetch large files by their hash, as with `builtins.fetchurl`"));
            }
            "lfs" => {}
            _ => {
                let message = format!("flake 'self' attribute '{name}' is not supported");
                return Err(Error::other("lang::flake_input", message).help("`inputs.self` can have `submodules`"));
            }
        }
    }
    let changes = reference.kind() == "git" && wanted != *reference;
    Ok(changes.then_some(wanted))
}

impl Evaluator {
    /// Lets pure evaluation read a tree, which copies sources with its own files only.
    fn open_local_tree(&mut self, tree: &LocalTree) -> Result<()> {
        if !self.shared.local_trees.read().expect(LOCK).contains(tree) {
            self.shared.host.local(tree, LocalFact::Opened)?;
            self.allow(tree.root.clone());
            self.shared.local_trees.write().expect(LOCK).push(tree.clone());
        }
        Ok(())
    }

    /// Copies a tree that is read in place to the store.
    fn copied_tree(&self, tree: &LocalTree) -> Result<StorePath> {
        let facts = self.shared.host.local(tree, LocalFact::StorePath)?;
        facts.path.ok_or_else(|| Error::other("lang::host", "the tree has no path in the store"))
    }

    /// Returns the name of a copy of a source. The root of a flake that is read in place has
    /// the one that it has in Nix, where the flake is in the store already.
    pub(crate) fn copy_name(&self, source: &[u8]) -> Result<Vec<u8>> {
        let path = Path::new(OsStr::from_bytes(source));
        let tree = self.shared.local_trees.read().expect(LOCK).iter().rev().find(|tree| tree.root == path).cloned();
        match tree {
            Some(tree) => Ok(self.copied_tree(&tree)?.to_string().into_bytes()),
            None => Ok(crate::text::path::base_name(source).to_vec()),
        }
    }

    /// Follows all symbolic links in the path of a directory that the user or a flake names.
    pub(super) fn real_path(&mut self, path: &[u8]) -> Result<PathBuf> {
        let host = self.shared.host.clone();
        let mut done = PathBuf::from("/");
        let mut rest: Vec<std::ffi::OsString> = Path::new(OsStr::from_bytes(path))
            .components()
            .rev()
            .filter_map(|part| match part {
                Component::Normal(part) => Some(part.to_owned()),
                Component::ParentDir => Some("..".into()),
                _ => None,
            })
            .collect();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(&part);
            if host.file_type(&done)? != Some(FileType::Symlink) {
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                let message = format!("too many symbolic links in the path '{}'", lossy(path));
                return Err(Error::other("lang::link_loop", message));
            }
            let target = host.read_link(&done)?;
            done.pop();
            if target.is_absolute() {
                done = PathBuf::from("/");
            }
            for part in target.components().rev() {
                match part {
                    Component::Normal(part) => rest.push(part.to_owned()),
                    Component::ParentDir => rest.push("..".into()),
                    _ => {}
                }
            }
        }
        Ok(done)
    }

    /// Returns the reference that a path without a scheme means: the working tree of its
    /// repository, or the directory itself outside of one.
    pub(super) fn reference_of_path(&mut self, path: &[u8]) -> Result<FlakeRef> {
        let directory = self.real_path(path)?;
        let plain = FlakeRef::path(&directory.to_string_lossy());
        Ok(match self.shared.host.git_tree_of(&directory) {
            Some(tree) => git_reference(&tree.root, &directory).unwrap_or(plain),
            None => plain,
        })
    }
}

/// Returns the reference of a directory in the working tree at `root`; `None` when a path is not
/// UTF-8.
pub fn git_reference(root: &Path, directory: &Path) -> Option<FlakeRef> {
    let text = |name: &str, value: String| (name.to_owned(), FetchValue::String(value));
    let mut reference = FlakeRef::default();
    let encoded = utf8_percent_encode(root.to_str()?, ENCODED);
    let mut members = vec![text("type", "git".to_owned()), text("url", format!("file://{encoded}"))];
    let below = directory.strip_prefix(root).ok()?.to_str()?;
    if !below.is_empty() {
        members.push(text("dir", below.to_owned()));
    }
    members.into_iter().for_each(|(name, value)| reference.insert(&name, value));
    Some(reference)
}

/// Reads the reference of an input from the value that its declaration or its lock has.
pub(super) fn reference_of_value(ev: &mut Evaluator, value: Value) -> Result<FlakeRef> {
    let value = ev.force(value)?;
    match value.as_attrs() {
        Some(set) => reference_of_set(ev, set),
        None => Ok(FlakeRef::parse(&lossy(ev.expect_string(value)?.bytes()))?),
    }
}
