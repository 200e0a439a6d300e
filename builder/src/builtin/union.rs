//! `builtin:union`: a tree from trees, or from parts of them. Only Merkle nodes are worked on: no
//! file is touched.

use crate::attributes::Attributes;
use crate::error::{BuildError, attribute};
use crate::inputs::InputTree;
use model::tree::Node;
use model::tree::select::{Selection, select};
use model::tree::union::{Layer, Overlap, union};
use std::collections::BTreeMap;
use store::LocalStore;

/// The part of the union to take, and its path in the output.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnionSpec {
    overlap: String,
    at: String,
    subdir: String,
    rules: Vec<(String, String)>,
    domains: Option<Vec<String>>,
    exclude: Vec<String>,
}

impl UnionSpec {
    pub fn read(attributes: &Attributes) -> Result<UnionSpec, BuildError> {
        let spec = UnionSpec {
            overlap: attributes.words("__overlap")?.unwrap_or_default().join(" "),
            at: plain_path(attributes, "at")?,
            subdir: plain_path(attributes, "subdir")?,
            rules: attributes.json_pairs("rules")?.unwrap_or_default(),
            domains: attributes.json_strings("domains")?,
            exclude: attributes.json_strings("exclude")?.unwrap_or_default(),
        };
        spec.selection()?;
        Overlap::parse(&spec.overlap).map_err(|e| attribute("__overlap", e.to_string()))?;
        Ok(spec)
    }

    /// Adds all parameters of the result other than the trees.
    pub fn parameters(&self, to: &mut BTreeMap<&str, String>) {
        let json = |value: serde_json::Value| value.to_string();
        to.insert("overlap", self.overlap.clone());
        to.insert("at", self.at.clone());
        to.insert("subdir", self.subdir.clone());
        to.insert("rules", json(self.rules.iter().map(|(a, b)| vec![a.clone(), b.clone()]).collect()));
        to.insert("domains", json(self.domains.clone().into()));
        to.insert("exclude", json(self.exclude.clone().into()));
    }

    pub fn unite(&self, store: &LocalStore, trees: &[InputTree]) -> Result<Node, BuildError> {
        let layers: Vec<Layer> =
            trees.iter().map(|tree| Layer { root: tree.node.clone(), owner: tree.owner.clone() }).collect();
        let overlap = Overlap::parse(&self.overlap)?;
        let root = union(store, &layers, &overlap)?.root;
        Ok(select(store, &root, &self.selection()?)?)
    }

    fn selection(&self) -> Result<Selection, BuildError> {
        let domains = self.domains.clone().map(|domains| domains.into_iter().collect());
        let selection =
            Selection::default().domains(&self.rules, domains).map_err(|e| attribute("rules", e.to_string()))?;
        let exclude = selection.exclude(self.exclude.iter().map(String::as_str));
        let selection = exclude.map_err(|e| attribute("exclude", e.to_string()))?;
        Ok(selection.subdir(self.subdir.as_bytes()).at(self.at.as_bytes()))
    }
}

/// A path inside a tree, without leading and trailing slashes.
fn plain_path(attributes: &Attributes, name: &str) -> Result<String, BuildError> {
    let path = attributes.text(name)?.unwrap_or_default();
    let path = path.trim_matches('/');
    if path.split('/').any(|part| part == "..") || path.contains('\0') {
        return Err(attribute(name, format!("`{path}` leads out of the tree")));
    }
    Ok(path.to_owned())
}
