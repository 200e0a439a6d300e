//! `flake.lock`: what the inputs of a flake are, written down so that they stay that.
//!
//! The format is Nix's, version 7. A lock is a tree here. In the file its nodes have names of their own, and an input that follows another is the way to that one
//! from the root.

mod update;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use lang::Error;
use lang::builtins::{Reference, reference_text};
use lang::host::FetchValue;
use serde_json::{Map, Value, json};

pub use update::{Update, lock};

/// The way to an input from the root: names of inputs.
pub type Way = Vec<String>;

/// A flake, or something else that an input names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Nothing for the root.
    pub lock: Option<Lock>,
    pub inputs: BTreeMap<String, Edge>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Lock {
    pub locked: Reference,
    pub original: Reference,
    pub is_flake: bool,
    /// The flake from whose folder a relative path goes.
    pub parent: Option<Way>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Edge {
    Node(Node),
    Follows(Way),
}

/// What is wrong with a lock file.
fn unusable(why: impl std::fmt::Display) -> Error {
    Error::other("lang::flake_lock", format!("'flake.lock' cannot be used: {why}"))
        .help("without it, `ev flake lock` locks all inputs anew")
}

fn wrong_input(message: String) -> Error {
    Error::other("lang::flake_input", message)
}

impl Node {
    /// Reads a lock file.
    ///
    /// # Errors
    /// When it is not one of version 5 to 7, or leads to nodes that it does not have.
    pub fn parse(text: &[u8]) -> lang::Result<Node> {
        let file: Value = serde_json::from_slice(text).map_err(unusable)?;
        if !file["version"].as_u64().is_some_and(|version| (5..=7).contains(&version)) {
            return Err(unusable("its version is not known here"));
        }
        let root = file["root"].as_str().ok_or_else(|| unusable("it has no 'root'"))?;
        let nodes = file["nodes"].as_object().ok_or_else(|| unusable("it has no 'nodes'"))?;
        Reader {
            nodes,
            above: Vec::new(),
            left: nodes.len().saturating_mul(NODES_PER_NAME).saturating_add(NODES_PER_NAME),
        }
        .node(root)
    }

    /// The text of the lock file.
    pub fn to_text(&self) -> String {
        let mut writer = Writer { nodes: BTreeMap::new(), names: BTreeSet::new() };
        writer.node("root", self);
        let file = json!({ "nodes": writer.nodes, "root": "root", "version": 7 });
        let text = serde_json::to_string_pretty(&file).expect("names and numbers are JSON");
        text + "\n"
    }

    /// All inputs by the way to them, and in words what they are.
    fn listed(&self) -> BTreeMap<Way, String> {
        let mut listed = BTreeMap::new();
        self.list(&mut Vec::new(), &mut listed);
        listed
    }

    fn list(&self, way: &mut Way, listed: &mut BTreeMap<Way, String>) {
        for (name, edge) in &self.inputs {
            way.push(name.clone());
            let words = match edge {
                Edge::Follows(other) => format!("follows '{}'", other.join("/")),
                Edge::Node(node) => {
                    node.list(way, listed);
                    node.lock.as_ref().map(|lock| shown(&lock.locked)).unwrap_or_default()
                }
            };
            listed.insert(way.clone(), words);
            way.pop();
        }
    }

    /// What has changed from `before`, in lines for people.
    pub fn changes_since(&self, before: &Node) -> Vec<String> {
        let (old, new) = (before.listed(), self.listed());
        let ways: BTreeSet<&Way> = old.keys().chain(new.keys()).collect();
        ways.into_iter()
            .filter_map(|way| {
                let name = way.join("/");
                match (old.get(way), new.get(way)) {
                    (None, Some(new)) => Some(format!("added '{name}': {new}")),
                    (Some(_), None) => Some(format!("removed '{name}'")),
                    (Some(old), Some(new)) if old != new => Some(format!("updated '{name}': {old}\n       → {new}")),
                    _ => None,
                }
            })
            .collect()
    }
}

/// A locked reference for people: what can be told from the rest is left out.
fn shown(locked: &Reference) -> String {
    let mut locked = locked.clone();
    let told: &[&str] = if locked.contains_key("rev") { &["narHash"] } else { &[] };
    locked.retain(|name, _| !["lastModified", "revCount"].contains(&name.as_str()) && !told.contains(&name.as_str()));
    reference_text(&locked).unwrap_or_default()
}

/// How many nodes a tree may have for each that the file names: a name that many lead to counts many times.
const NODES_PER_NAME: usize = 1000;

/// How many inputs may lie in each other.
const DEPTH_MAX: usize = 500;

struct Reader<'f> {
    nodes: &'f Map<String, Value>,
    /// Names of the nodes that are being read.
    above: Vec<&'f str>,
    left: usize,
}

impl<'f> Reader<'f> {
    fn node(&mut self, name: &'f str) -> lang::Result<Node> {
        if self.above.contains(&name) {
            return Err(unusable(format!("'{name}' is an input of itself")));
        }
        if self.above.len() > DEPTH_MAX {
            return Err(unusable(format!("more than {DEPTH_MAX} inputs lie in each other")));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| unusable("it leads to the same nodes over and over"))?;
        let node = self.nodes.get(name).ok_or_else(|| unusable(format!("it has no node '{name}'")))?;
        let lock = match (node.get("locked"), node.get("original")) {
            (Some(locked), original) => Some(Lock {
                locked: reference(locked)?,
                original: reference(original.unwrap_or(locked))?,
                is_flake: node.get("flake").and_then(Value::as_bool).unwrap_or(true),
                parent: node.get("parent").map(way).transpose()?,
            }),
            (None, _) => None,
        };
        let mut inputs = BTreeMap::new();
        self.above.push(name);
        for (input, edge) in node.get("inputs").and_then(Value::as_object).into_iter().flatten() {
            let edge = match edge.as_str() {
                Some(target) => Edge::Node(self.node(target)?),
                None => Edge::Follows(way(edge)?),
            };
            inputs.insert(input.clone(), edge);
        }
        self.above.pop();
        Ok(Node { lock, inputs })
    }
}

fn way(value: &Value) -> lang::Result<Way> {
    let names = value.as_array().ok_or_else(|| unusable("an input is neither a name nor a list of names"))?;
    let name =
        |name: &Value| name.as_str().map(str::to_owned).ok_or_else(|| unusable("a list of names holds something else"));
    names.iter().map(name).collect()
}

fn reference(value: &Value) -> lang::Result<Reference> {
    let members = value.as_object().ok_or_else(|| unusable("a reference is no set"))?;
    let member = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => FetchValue::String(text.clone()),
            Value::Bool(flag) => FetchValue::Bool(*flag),
            Value::Number(number) if number.is_i64() => FetchValue::Int(number.as_i64().unwrap_or_default()),
            _ => {
                return Err(unusable(format!(
                    "the attribute '{name}' of a reference is neither string, number nor Boolean"
                )));
            }
        };
        Ok((name.clone(), value))
    };
    members.iter().map(member).collect()
}

struct Writer {
    nodes: BTreeMap<String, Value>,
    names: BTreeSet<String>,
}

impl Writer {
    /// Writes a node and what is below it; returns its name, which is `name` or that with a number.
    fn node(&mut self, name: &str, node: &Node) -> String {
        let mut own = name.to_owned();
        for number in 2.. {
            if self.names.insert(own.clone()) {
                break;
            }
            own = format!("{name}_{number}");
        }
        let mut written = Map::new();
        let mut inputs = Map::new();
        for (name, edge) in &node.inputs {
            let edge = match edge {
                Edge::Node(node) => Value::String(self.node(name, node)),
                Edge::Follows(way) => json!(way),
            };
            inputs.insert(name.clone(), edge);
        }
        if node.lock.as_ref().is_some_and(|lock| !lock.is_flake) {
            written.insert("flake".to_owned(), Value::Bool(false));
        }
        if !inputs.is_empty() {
            written.insert("inputs".to_owned(), Value::Object(inputs));
        }
        if let Some(lock) = &node.lock {
            written.insert("locked".to_owned(), to_json(&lock.locked));
            written.insert("original".to_owned(), to_json(&lock.original));
            if let Some(parent) = &lock.parent {
                written.insert("parent".to_owned(), json!(parent));
            }
        }
        self.nodes.insert(own.clone(), Value::Object(written));
        own
    }
}

fn to_json(reference: &Reference) -> Value {
    let value = |value: &FetchValue| match value {
        FetchValue::String(text) => json!(text),
        FetchValue::Int(number) => json!(number),
        FetchValue::Bool(flag) => json!(flag),
    };
    reference.iter().map(|(name, member)| (name.clone(), value(member))).collect()
}

impl Node {
    fn has(&self, way: &[String]) -> bool {
        let Some((first, rest)) = way.split_first() else { return true };
        match self.inputs.get(first) {
            Some(Edge::Node(node)) => node.has(rest),
            Some(Edge::Follows(_)) => true,
            None => false,
        }
    }

    /// Sees to it that whatever follows leads somewhere.
    fn check_ways(&self, root: &Node, at: &mut Way) -> lang::Result<()> {
        for (name, edge) in &self.inputs {
            at.push(name.clone());
            match edge {
                Edge::Node(node) => node.check_ways(root, at)?,
                Edge::Follows(way) if !root.has(way) => {
                    let (at, way) = (at.join("/"), way.join("/"));
                    return Err(wrong_input(format!("the input '{at}' follows '{way}', which is not there")));
                }
                Edge::Follows(_) => {}
            }
            at.pop();
        }
        Ok(())
    }
}
