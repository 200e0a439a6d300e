//! The builders that run in-process: they need no tool and no sandbox, since they run nothing that
//! was declared.
//!
//! Each is first read into a [`Task`], which checks all its attributes. The task is keyed as an
//! action over the *contents* of its inputs, so it is cut off like any other build. It makes one
//! output, `out`.

pub(crate) mod union;
pub(crate) mod write;

use crate::action::action;
use crate::attributes::{Attributes, TreeName};
use crate::error::{BuildError, attribute};
use crate::inputs::{InputTree, resolve};
use deliver::audit;
use model::reapi::{Action, Command};
use model::tree::{Directory, Node, SizedDigest};
use model::{Derivation, Hash, Ingestion, StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use store::LocalStore;

const KNOWN: [&str; 5] = ["builtin:audit", "builtin:fetchurl", "builtin:union", "builtin:unpack", "builtin:write"];

/// The work that one of these derivations asks for, with its inputs resolved.
pub(crate) enum Task {
    Fetch(FetchTask),
    Unpack { archives: Vec<InputTree>, strip: u64 },
    Union { trees: Vec<InputTree>, spec: union::UnionSpec },
    Write(write::TextTree),
    Audit { tree: InputTree, prefix: String, allow: Vec<(String, String)> },
}

/// A download with a hash that is known beforehand.
pub(crate) struct FetchTask {
    pub urls: Vec<String>,
    pub executable: bool,
    pub ingestion: Ingestion,
    pub hash: Hash,
    /// The hash as the user wrote it.
    pub written: Option<String>,
}

/// The result of a task.
pub(crate) enum TaskOutput {
    /// A tree whose blobs are in the store.
    Stored(Node),
    /// A tree on disk, which the store is to adopt.
    OnDisk(PathBuf),
}

impl Task {
    /// Reads the task of `derivation`.
    ///
    /// # Errors
    /// When an attribute is missing or wrong, or the builder unknown.
    pub fn read(store: &LocalStore, derivation: &Derivation, attributes: &Attributes) -> Result<Task, BuildError> {
        let builder = String::from_utf8_lossy(&derivation.builder).into_owned();
        if !KNOWN.contains(&builder.as_str()) {
            return Err(BuildError::UnknownBuiltin { builder, known: KNOWN.map(str::to_owned).to_vec() });
        }
        if derivation.outputs.len() != 1 || !derivation.outputs.contains_key("out") {
            return Err(attribute("outputs", format!("`{builder}` has exactly one output, `out`")));
        }
        let model = StoreModel::Native;
        let resolve_all =
            |names: Vec<TreeName>| names.iter().map(|name| resolve(store, name)).collect::<Result<Vec<_>, _>>();
        let needed = |name: &str| attribute(name, format!("is missing, and `{builder}` needs it"));
        match builder.as_str() {
            "builtin:fetchurl" => Ok(Task::Fetch(read_fetch(derivation, attributes)?)),
            "builtin:unpack" => {
                let names = attributes.trees(model, "srcs")?.ok_or_else(|| needed("srcs"))?;
                let archives = resolve_all(names)?;
                if archives.is_empty() {
                    return Err(attribute("srcs", "is an empty list; name at least one archive"));
                }
                for archive in &archives {
                    if !matches!(archive.node, Node::File { .. }) {
                        let problem = format!("`{}` is a {}, not an archive", archive.owner, archive.node.kind());
                        return Err(attribute("srcs", problem));
                    }
                }
                Ok(Task::Unpack { archives, strip: attributes.number("strip")?.unwrap_or(0) })
            }
            "builtin:union" => {
                let names = attributes.trees(model, "trees")?.ok_or_else(|| needed("trees"))?;
                Ok(Task::Union { trees: resolve_all(names)?, spec: union::UnionSpec::read(attributes)? })
            }
            "builtin:write" => Ok(Task::Write(write::read(attributes)?)),
            _ => {
                let tree = resolve(store, &attributes.tree(model, "tree")?)?;
                let prefix = attributes.required_text("prefix")?;
                if !prefix.starts_with('/') {
                    return Err(attribute("prefix", format!("`{prefix}` is not an absolute path")));
                }
                Ok(Task::Audit { tree, prefix, allow: attributes.json_pairs("allow")?.unwrap_or_default() })
            }
        }
    }

    /// Returns the action of this task: its parameters, and its input trees by number. The input of
    /// `builtin:write` is the tree itself.
    pub fn action(&self, derivation: &Derivation) -> Result<Action, BuildError> {
        let mut parameters: BTreeMap<&str, String> = BTreeMap::new();
        let mut inputs: Vec<&InputTree> = Vec::new();
        let mut root = Directory::new();
        match self {
            Task::Write(tree) => {
                root.insert("tree", tree.node()?)?;
            }
            // Where the bytes come from does not matter, so a file that another derivation has
            // fetched is known.
            Task::Fetch(task) => {
                parameters.insert("hash", format!("{}{}", task.ingestion.marker(), task.hash.sri()));
                parameters.insert("executable", task.executable.to_string());
            }
            Task::Unpack { archives, strip } => {
                inputs.extend(archives);
                parameters.insert("strip", strip.to_string());
            }
            Task::Union { trees, spec } => {
                inputs.extend(trees);
                spec.parameters(&mut parameters);
            }
            Task::Audit { tree, prefix, allow } => {
                inputs.push(tree);
                parameters.insert("prefix", prefix.clone());
                parameters.insert(
                    "allow",
                    serde_json::Value::from_iter(allow.iter().map(|(a, b)| vec![a.clone(), b.clone()])).to_string(),
                );
            }
        }
        for (number, tree) in inputs.iter().enumerate() {
            root.insert(format!("{number:06}"), tree.node.clone())?;
        }
        let command = Command {
            arguments: vec![derivation.builder.clone()],
            environment: parameters.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            output_paths: vec!["out".into()],
            working_directory: String::new(),
        };
        Ok(action(&command, SizedDigest::of(&root.encode()), BTreeMap::new()))
    }

    /// Runs the task; `scratch` is an empty directory for trees that have to be on disk. The
    /// caller, who has the fetcher, does the fetching.
    pub fn run(
        &self,
        store: &LocalStore,
        scratch: &Path,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<TaskOutput, BuildError> {
        match self {
            Task::Fetch(_) => Err(BuildError::Unsupported { what: "fetching without a fetcher".into() }),
            Task::Unpack { archives, strip } => {
                let dest = scratch.join("out");
                let archives: Vec<PathBuf> = archives.iter().map(|archive| archive.host(store)).collect();
                let strip = usize::try_from(*strip).unwrap_or(usize::MAX);
                let options = archive::Options { strip, cancel: Arc::clone(cancelled), ..Default::default() };
                archive::unpack(&archives, &dest, &options)?;
                Ok(TaskOutput::OnDisk(dest))
            }
            Task::Union { trees, spec } => Ok(TaskOutput::Stored(spec.unite(store, trees)?)),
            Task::Write(tree) => Ok(TaskOutput::Stored(tree.store(store)?)),
            Task::Audit { tree, prefix, allow } => {
                let policy = audit::Policy { allow: allow.clone(), ..Default::default() };
                let findings = audit::audit(&tree.host(store), Path::new(prefix), &policy)?;
                if findings.is_empty() {
                    Ok(TaskOutput::Stored(tree.node.clone()))
                } else {
                    Err(BuildError::AuditFindings {
                        findings: findings.iter().map(|finding| finding.to_string()).collect(),
                    })
                }
            }
        }
    }

    /// Returns the store paths that the output can mention: none when no input mentions any.
    pub fn reference_candidates(
        &self,
        store: &LocalStore,
        direct: &BTreeSet<StorePath>,
    ) -> Result<BTreeSet<StorePath>, BuildError> {
        let all = || -> Result<_, BuildError> { Ok(store.closure_of(direct)?) };
        match self {
            Task::Fetch(_) | Task::Unpack { .. } => Ok(BTreeSet::new()),
            Task::Write(_) => all(),
            Task::Union { .. } | Task::Audit { .. } => {
                for path in direct {
                    if store.path_info(path)?.is_some_and(|info| !info.references.is_empty()) {
                        return all();
                    }
                }
                Ok(BTreeSet::new())
            }
        }
    }
}

fn read_fetch(derivation: &Derivation, attributes: &Attributes) -> Result<FetchTask, BuildError> {
    let Some((ingestion, hash)) = derivation.fixed_output() else {
        return Err(attribute(
            "outputHash",
            "is missing: only what is known beforehand is fetched; any wrong hash will make the right one be shown",
        ));
    };
    let mut urls = attributes.words("urls")?.unwrap_or_default();
    urls.extend(attributes.text("url")?);
    if urls.is_empty() {
        return Err(attribute("urls", "is missing or empty; name at least one URL"));
    }
    let executable = attributes.flag("executable")?;
    if executable && ingestion != Ingestion::Recursive {
        return Err(attribute(
            "executable",
            "needs `outputHashMode = \"recursive\"`, as a flat hash does not cover the executable bit",
        ));
    }
    Ok(FetchTask { urls, executable, ingestion, hash: *hash, written: attributes.text("outputHash")? })
}
