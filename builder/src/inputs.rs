//! The inputs of a build: the store paths that a derivation names, their contents, and the root
//! they make together.

use crate::attributes::{Attributes, TreeName};
use crate::error::BuildError;
use model::references::ReferenceScanner;
use model::tree::{self, Directories, Directory, Node, SizedDigest, TreeError};
use model::{Derivation, StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use store::LocalStore;

/// A tree that goes into a build.
#[derive(Clone, Debug)]
pub(crate) struct InputTree {
    pub name: TreeName,
    pub node: Node,
    /// The tree's name in messages.
    pub owner: String,
}

impl InputTree {
    /// Returns its path on this machine.
    pub fn host(&self, store: &LocalStore) -> PathBuf {
        let path = store.physical_path(&self.name.path);
        match self.name.below.strip_prefix('/') {
            Some(below) => path.join(below),
            None => path,
        }
    }
}

/// Looks up a tree that an attribute names.
pub(crate) fn resolve(store: &LocalStore, name: &TreeName) -> Result<InputTree, BuildError> {
    let info = store.path_info(&name.path)?.ok_or_else(|| BuildError::MissingInput { path: name.path.clone() })?;
    let node = tree::lookup(store, &info.node, name.below.as_bytes())?;
    Ok(InputTree { name: name.clone(), node, owner: format!("{}{}", name.path.name(), name.below) })
}

/// Everything a sandboxed build sees.
pub(crate) struct Inputs {
    /// The trees of `__rootfs`; `None` for a build that sees its inputs at their store paths only.
    pub roots: Option<Vec<InputTree>>,
    /// The trees at `/source/<name>`.
    pub sources: BTreeMap<String, InputTree>,
    /// The inputs at their store paths, closures included.
    pub mounted: BTreeMap<StorePath, Node>,
}

impl Inputs {
    /// Sorts the inputs of `derivation` by how the build sees them. `direct` are its input paths.
    pub fn of(
        store: &LocalStore,
        derivation: &Derivation,
        attributes: &Attributes,
        direct: &BTreeSet<StorePath>,
    ) -> Result<Inputs, BuildError> {
        let model = StoreModel::Native;
        let resolve_all =
            |names: &Vec<TreeName>| names.iter().map(|name| resolve(store, name)).collect::<Result<Vec<_>, _>>();
        let roots = attributes.trees(model, "__rootfs")?.as_ref().map(resolve_all).transpose()?;
        let sources: BTreeMap<String, InputTree> = attributes
            .sources(model)?
            .into_iter()
            .map(|(name, tree)| Ok((name, resolve(store, &tree)?)))
            .collect::<Result<_, BuildError>>()?;
        let mounted = if roots.is_some() || !sources.is_empty() {
            seen_by_path(derivation, attributes, direct, roots.iter().flatten().chain(sources.values()))
        } else {
            direct.clone()
        };
        let mut nodes = BTreeMap::new();
        if !mounted.is_empty() {
            for path in store.closure_of(&mounted)? {
                let info = store.path_info(&path)?.ok_or_else(|| BuildError::MissingInput { path: path.clone() })?;
                nodes.insert(path, info.node);
            }
        }
        Ok(Inputs { roots, sources, mounted: nodes })
    }

    /// Returns the root of the sandbox: `base`, the union of the root trees, with everything else
    /// at its path. Saves the directories that are not part of an input; with
    /// [`DigestsOnly`](model::tree::directories::DigestsOnly) only their digests are computed.
    pub fn root_directory(
        &self,
        directories: &dyn Directories,
        base: Option<&Node>,
        build_files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Node, TreeError> {
        let mut root = match base {
            Some(Node::Directory { digest, .. }) => (*directories.load(digest)?).clone(),
            _ => Directory::new(),
        };
        if !self.sources.is_empty() {
            let mut directory = below(directories, &root, b"source")?;
            for (name, tree) in &self.sources {
                directory.insert(name.as_bytes(), tree.node.clone())?;
            }
            root.insert("source", directories.save(&directory)?)?;
        }
        if !self.mounted.is_empty() {
            let mut eval = below(directories, &root, b"eval")?;
            let mut directory = below(directories, &eval, b"store")?;
            for (path, node) in &self.mounted {
                directory.insert(path.to_string(), node.clone())?;
            }
            eval.insert("store", directories.save(&directory)?)?;
            root.insert("eval", directories.save(&eval)?)?;
        }
        if !build_files.is_empty() {
            let mut directory = Directory::new();
            for (name, bytes) in build_files {
                directory.insert(name.as_bytes(), file(bytes))?;
            }
            root.insert("build", directories.save(&directory)?)?;
        }
        directories.save(&root)
    }
}

/// Returns the input paths that a rootfs build sees at their store paths: all but those that are
/// only trees of its root or sources. An input that is mentioned nowhere, but is in a context all
/// the same, is seen too.
fn seen_by_path<'a>(
    derivation: &Derivation,
    attributes: &Attributes,
    direct: &BTreeSet<StorePath>,
    placed: impl Iterator<Item = &'a InputTree>,
) -> BTreeSet<StorePath> {
    let mut scanner = ReferenceScanner::new(direct.iter().cloned());
    let mut scan = |bytes: &[u8]| {
        scanner.update(bytes);
        scanner.boundary();
    };
    scan(&derivation.builder);
    derivation.args.iter().for_each(|arg| scan(arg));
    match attributes.structured() {
        None => derivation.env.iter().filter(|(name, _)| !name.starts_with(b"__")).for_each(|(_, value)| scan(value)),
        Some(map) => map
            .iter()
            .filter(|(name, _)| !name.starts_with("__"))
            .for_each(|(_, value)| scan(value.to_string().as_bytes())),
    }
    let mentioned = scanner.finish();
    let placed: BTreeSet<&StorePath> = placed.map(|tree| &tree.name.path).collect();
    direct.iter().filter(|path| mentioned.contains(*path) || !placed.contains(path)).cloned().collect()
}

/// Returns the directory at `name`, or an empty one: mount points hide what trees have there.
fn below(directories: &dyn Directories, directory: &Directory, name: &[u8]) -> Result<Directory, TreeError> {
    match directory.get(name) {
        Some(Node::Directory { digest, .. }) => Ok((*directories.load(digest)?).clone()),
        _ => Ok(Directory::new()),
    }
}

fn file(bytes: &[u8]) -> Node {
    let SizedDigest { digest, size_bytes: size } = SizedDigest::of(bytes);
    Node::File { digest, executable: false, size }
}
