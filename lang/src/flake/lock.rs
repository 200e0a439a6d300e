//! The text format of `flake.lock`, which pins the inputs of a flake and the inputs of those.
//!
//! Nix's format, version 7; versions 5 and 6 are read too. A lock is a graph of named nodes: an
//! input is the name of a node, or the path from the root to the input that it follows. Nodes may
//! be shared, but none may be an input of itself; the number of inputs along all paths is bounded,
//! so walking the graph as a tree is safe.

use super::reference::FlakeRef;
use crate::host::FetchValue;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// Names of inputs from the root to one of them; empty for the root itself.
pub type InputPath = Vec<String>;

#[derive(Debug, Clone, PartialEq)]
pub struct LockFile {
    /// The nodes that can be reached from the root.
    pub nodes: BTreeMap<String, LockNode>,
    pub root: String,
}

/// A flake, or another source tree that is an input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LockNode {
    /// `None` for the root, and for an entry that lacks `locked`.
    pub pin: Option<Pin>,
    pub inputs: BTreeMap<String, LockInput>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pin {
    pub locked: FlakeRef,
    /// The reference as the flake declared it when it was locked.
    pub original: FlakeRef,
    pub is_flake: bool,
    /// The flake at which a relative path starts.
    pub parent: Option<InputPath>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockInput {
    Node(String),
    Follows(InputPath),
}

/// A lock file that does not have the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'flake.lock' cannot be used: {0}")]
pub struct LockError(pub String);

fn unusable(why: impl std::fmt::Display) -> LockError {
    LockError(why.to_string())
}

/// Versions of the format that can be read.
const VERSIONS: std::ops::RangeInclusive<u64> = 5..=7;

/// The most inputs along all paths, for each node: a node to which many paths lead is counted for
/// each of them.
const INPUTS_PER_NODE_MAX: usize = 1000;

/// The longest path of inputs, and the longest chain of inputs that follow each other.
const DEPTH_MAX: usize = 500;

/// The most inputs looked up to find the node that one follows: each step may follow a path of its
/// own.
const LOOKUPS_MAX: usize = 100_000;

impl LockFile {
    /// Parses the text of a lock file.
    ///
    /// # Errors
    /// When it is not JSON of version 5 to 7, names nodes that it does not have, or has a cycle of
    /// nodes.
    pub fn parse(text: &[u8]) -> Result<LockFile, LockError> {
        let file: Value = serde_json::from_slice(text).map_err(unusable)?;
        if !file["version"].as_u64().is_some_and(|version| VERSIONS.contains(&version)) {
            return Err(unusable("its version is not supported"));
        }
        let root = file["root"].as_str().ok_or_else(|| unusable("it has no 'root'"))?;
        let nodes = file["nodes"].as_object().ok_or_else(|| unusable("it has no 'nodes'"))?;
        let mut reader = Reader { nodes, open: Vec::new(), read: BTreeMap::new(), sizes: HashMap::new() };
        let size = reader.node(root)?;
        if size.inputs > nodes.len().saturating_mul(INPUTS_PER_NODE_MAX) {
            return Err(unusable("it leads to the same nodes too often"));
        }
        Ok(LockFile { nodes: reader.read, root: root.to_owned() })
    }

    /// Prints the text of the lock file, in version 7.
    pub fn to_text(&self) -> String {
        let nodes: Map<String, Value> = self.nodes.iter().map(|(name, node)| (name.clone(), node.to_json())).collect();
        let file = json!({ "nodes": nodes, "root": self.root, "version": 7 });
        let text = serde_json::to_string_pretty(&file).expect("names and numbers are JSON");
        text + "\n"
    }

    /// # Errors
    /// When the file has no such node.
    pub fn node(&self, name: &str) -> Result<&LockNode, LockError> {
        self.nodes.get(name).ok_or_else(|| unusable(format!("it has no node '{name}'")))
    }

    /// Returns the name of the node that an input is.
    ///
    /// # Errors
    /// When it follows an input that does not exist, or inputs follow each other in a cycle.
    pub fn target<'l>(&'l self, input: &'l LockInput) -> Result<&'l str, LockError> {
        self.target_after(input, 0, &mut { LOOKUPS_MAX })
    }

    /// `steps` counts how often an input followed another before this call; `lookups` are left for
    /// all of it.
    fn target_after<'l>(
        &'l self,
        input: &'l LockInput,
        steps: usize,
        lookups: &mut usize,
    ) -> Result<&'l str, LockError> {
        let path = match input {
            LockInput::Node(name) => return Ok(name),
            LockInput::Follows(path) => path,
        };
        if steps > DEPTH_MAX {
            return Err(unusable("inputs follow each other in a cycle"));
        }
        let mut name = self.root.as_str();
        for input in path {
            *lookups = lookups.checked_sub(1).ok_or_else(|| unusable("inputs follow each other too often"))?;
            let next = self.node(name)?.inputs.get(input);
            let next = next.ok_or_else(|| unusable(format!("'{name}' has no input '{input}'")))?;
            name = self.target_after(next, steps + 1, lookups)?;
        }
        Ok(name)
    }
}

struct Reader<'f> {
    nodes: &'f Map<String, Value>,
    /// Names of the nodes on the path from the root to the current one.
    open: Vec<&'f str>,
    read: BTreeMap<String, LockNode>,
    /// Sizes of the nodes in `read`.
    sizes: HashMap<&'f str, Size>,
}

/// Extent of the tree below a node.
#[derive(Clone, Copy)]
struct Size {
    /// Inputs along all paths, the node included.
    inputs: usize,
    depth: usize,
}

impl<'f> Reader<'f> {
    fn node(&mut self, name: &'f str) -> Result<Size, LockError> {
        if self.open.contains(&name) {
            return Err(unusable(format!("'{name}' is an input of itself")));
        }
        let known = self.sizes.get(name).copied();
        if self.open.len() + known.map_or(0, |size| size.depth) > DEPTH_MAX {
            return Err(unusable(format!("it has a path of more than {DEPTH_MAX} inputs")));
        }
        if let Some(size) = known {
            return Ok(size);
        }
        let node = self.nodes.get(name).ok_or_else(|| unusable(format!("it has no node '{name}'")))?;
        let mut inputs = BTreeMap::new();
        let mut size = Size { inputs: 1, depth: 1 };
        self.open.push(name);
        for (input, target) in members(node.get("inputs"), || format!("the inputs of '{name}' are not a set"))? {
            let target = match target.as_str() {
                Some(target) => {
                    let below = self.node(target)?;
                    size.inputs = size.inputs.saturating_add(below.inputs);
                    size.depth = size.depth.max(below.depth + 1);
                    LockInput::Node(target.to_owned())
                }
                None => LockInput::Follows(input_path(target)?),
            };
            inputs.insert(input.clone(), target);
        }
        self.open.pop();
        let pin = node.get("locked").map(|locked| pin(node, locked)).transpose()?;
        self.read.insert(name.to_owned(), LockNode { pin, inputs });
        self.sizes.insert(name, size);
        Ok(size)
    }
}

fn pin(node: &Value, locked: &Value) -> Result<Pin, LockError> {
    Ok(Pin {
        locked: reference(locked)?,
        original: reference(node.get("original").unwrap_or(locked))?,
        is_flake: node.get("flake").and_then(Value::as_bool).unwrap_or(true),
        parent: node.get("parent").map(input_path).transpose()?,
    })
}

/// The members of a set that may be missing.
fn members(
    set: Option<&Value>,
    why: impl FnOnce() -> String,
) -> Result<impl Iterator<Item = (&String, &Value)>, LockError> {
    let set = set.map(|set| set.as_object().ok_or_else(|| unusable(why()))).transpose()?;
    Ok(set.into_iter().flatten())
}

fn input_path(value: &Value) -> Result<InputPath, LockError> {
    let names = value.as_array().ok_or_else(|| unusable("an input is neither a name nor a list of names"))?;
    let name = |name: &Value| {
        let name = name.as_str().ok_or_else(|| unusable("a list of names has another element"))?;
        Ok(name.to_owned())
    };
    names.iter().map(name).collect()
}

fn reference(value: &Value) -> Result<FlakeRef, LockError> {
    let mut reference = FlakeRef::default();
    for (name, value) in members(Some(value), || "a reference is not a set".to_owned())? {
        let value = match value {
            Value::String(text) => FetchValue::String(text.clone()),
            Value::Bool(flag) => FetchValue::Bool(*flag),
            Value::Number(number) => match number.as_i64() {
                Some(number) => FetchValue::Int(number),
                None => return Err(unusable(format!("the attribute '{name}' of a reference is no 64-bit integer"))),
            },
            _ => {
                let why = format!("the attribute '{name}' of a reference is neither string, number nor Boolean");
                return Err(unusable(why));
            }
        };
        reference.insert(name, value);
    }
    Ok(reference)
}

impl LockNode {
    fn to_json(&self) -> Value {
        let mut node = Map::new();
        if self.pin.as_ref().is_some_and(|pin| !pin.is_flake) {
            node.insert("flake".to_owned(), Value::Bool(false));
        }
        if !self.inputs.is_empty() {
            let input = |input: &LockInput| match input {
                LockInput::Node(name) => json!(name),
                LockInput::Follows(path) => json!(path),
            };
            let inputs: Map<String, Value> =
                self.inputs.iter().map(|(name, target)| (name.clone(), input(target))).collect();
            node.insert("inputs".to_owned(), Value::Object(inputs));
        }
        if let Some(pin) = &self.pin {
            node.insert("locked".to_owned(), reference_to_json(&pin.locked));
            node.insert("original".to_owned(), reference_to_json(&pin.original));
            if let Some(parent) = &pin.parent {
                node.insert("parent".to_owned(), json!(parent));
            }
        }
        Value::Object(node)
    }
}

fn reference_to_json(reference: &FlakeRef) -> Value {
    let value = |value: &FetchValue| match value {
        FetchValue::String(text) => json!(text),
        FetchValue::Int(number) => json!(number),
        FetchValue::Bool(flag) => json!(flag),
    };
    reference.attributes().iter().map(|(name, member)| (name.clone(), value(member))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the node that the input `a` of the root is, or the error.
    fn target(inputs: &str) -> Result<String, String> {
        let text = format!(
            "{{ \"nodes\": {{ \"root\": {{ \"inputs\": {{ {inputs} }} }}, \"n\": {{ \"inputs\": {{ \"top\": [ ] }} }} }}, \"root\": \"root\", \"version\": 7 }}"
        );
        let file = LockFile::parse(text.as_bytes()).unwrap();
        file.target(&file.nodes["root"].inputs["a"]).map(str::to_owned).map_err(|error| error.0)
    }

    #[test]
    fn inputs_are_found_by_what_they_follow() {
        assert_eq!(target(r#""a": "n""#), Ok("n".to_owned()));
        assert_eq!(target(r#""a": [ "b" ], "b": "n""#), Ok("n".to_owned()));
        assert_eq!(target(r#""a": [ "b", "top" ], "b": "n""#), Ok("root".to_owned()));
        assert_eq!(target(r#""a": [ "c" ], "b": "n""#), Err("'root' has no input 'c'".to_owned()));
    }

    #[test]
    fn following_ends() {
        let cycle = "inputs follow each other in a cycle".to_owned();
        assert_eq!(target(r#""a": [ "a" ]"#), Err(cycle.clone()));
        assert_eq!(target(r#""a": [ "b" ], "b": [ "a" ]"#), Err(cycle));
        // Each input follows the next one twice, so the paths have 2^40 steps together.
        let doubling: Vec<String> = (0..40).map(|n| format!(r#""i{n}": [ "i{0}", "i{0}" ]"#, n + 1)).collect();
        let inputs = format!(r#""a": [ "i0" ], {}, "i40": [ ]"#, doubling.join(", "));
        assert_eq!(target(&inputs), Err("inputs follow each other too often".to_owned()));
    }
}
