//! Locking of flakes: the pins of their inputs as a tree, and the rules by which they change.
//!
//! `lang::flake::LockFile` is the format. In the file the nodes have names of their own; here each
//! flake holds its inputs, and an input that follows another is the path to that one from the root.

mod in_use;
mod update;

#[cfg(test)]
mod tests;

use lang::Error;
use lang::flake::{FlakeRef, InputPath, LockError, LockFile, LockInput, LockNode, Pin};
use std::collections::{BTreeMap, BTreeSet};

pub use in_use::{Locked, place_of_lock};
pub use update::{Request, Update, lock};

/// A flake, or another source tree that is an input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// `None` for the root.
    pub pin: Option<Pin>,
    pub inputs: BTreeMap<String, Edge>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Edge {
    Node(Node),
    Follows(InputPath),
}

fn wrong_input(message: String) -> Error {
    Error::other("lang::flake_input", message)
}

impl Node {
    /// Parses a lock file.
    ///
    /// # Errors
    /// The errors of [`LockFile::parse`].
    pub fn parse(text: &[u8]) -> lang::Result<Node> {
        let file = LockFile::parse(text)?;
        Ok(Node::of_file(&file, &file.root)?)
    }

    /// Returns the tree below a node, which [`LockFile::parse`] keeps finite.
    fn of_file(file: &LockFile, name: &str) -> Result<Node, LockError> {
        let node = file.node(name)?;
        let edge = |input: &LockInput| match input {
            LockInput::Node(name) => Node::of_file(file, name).map(Edge::Node),
            LockInput::Follows(path) => Ok(Edge::Follows(path.clone())),
        };
        let inputs = node.inputs.iter().map(|(name, input)| Ok((name.clone(), edge(input)?)));
        Ok(Node { pin: node.pin.clone(), inputs: inputs.collect::<Result<_, _>>()? })
    }

    /// Prints the text of the lock file.
    pub fn to_text(&self) -> String {
        let mut writer = Writer { nodes: BTreeMap::new(), names: BTreeSet::new() };
        let root = writer.node("root", self);
        LockFile { nodes: writer.nodes, root }.to_text()
    }

    /// Returns all inputs by path, described for people.
    fn listed(&self) -> BTreeMap<InputPath, String> {
        let mut listed = BTreeMap::new();
        self.list(&mut Vec::new(), &mut listed);
        listed
    }

    fn list(&self, path: &mut InputPath, listed: &mut BTreeMap<InputPath, String>) {
        for (name, edge) in &self.inputs {
            path.push(name.clone());
            let words = match edge {
                Edge::Follows(other) => format!("follows '{}'", other.join("/")),
                Edge::Node(node) => {
                    node.list(path, listed);
                    node.pin.as_ref().map(|pin| shown(&pin.locked)).unwrap_or_default()
                }
            };
            listed.insert(path.clone(), words);
            path.pop();
        }
    }

    /// Returns the changes since `before`, in lines for people.
    pub fn changes_since(&self, before: &Node) -> Vec<String> {
        let (old, new) = (before.listed(), self.listed());
        let paths: BTreeSet<&InputPath> = old.keys().chain(new.keys()).collect();
        paths
            .into_iter()
            .filter_map(|path| {
                let name = path.join("/");
                match (old.get(path), new.get(path)) {
                    (None, Some(new)) => Some(format!("added '{name}': {new}")),
                    (Some(_), None) => Some(format!("removed '{name}'")),
                    (Some(old), Some(new)) if old != new => Some(format!("updated '{name}': {old}\n       → {new}")),
                    _ => None,
                }
            })
            .collect()
    }
}

/// Prints a locked reference for people, without attributes that follow from others.
fn shown(locked: &FlakeRef) -> String {
    let mut locked = locked.clone();
    let redundant: &[&str] = if locked.text("rev").is_some() { &["narHash"] } else { &[] };
    ["lastModified", "revCount"].iter().chain(redundant).for_each(|name| locked.remove(name));
    locked.to_url().unwrap_or_default()
}

struct Writer {
    nodes: BTreeMap<String, LockNode>,
    names: BTreeSet<String>,
}

impl Writer {
    /// Adds a node and those below it; returns its name, which is `name` or that with a number.
    fn node(&mut self, name: &str, node: &Node) -> String {
        let mut own = name.to_owned();
        for number in 2.. {
            if self.names.insert(own.clone()) {
                break;
            }
            own = format!("{name}_{number}");
        }
        let mut inputs = BTreeMap::new();
        for (name, edge) in &node.inputs {
            let input = match edge {
                Edge::Node(node) => LockInput::Node(self.node(name, node)),
                Edge::Follows(path) => LockInput::Follows(path.clone()),
            };
            inputs.insert(name.clone(), input);
        }
        self.nodes.insert(own.clone(), LockNode { pin: node.pin.clone(), inputs });
        own
    }
}

impl Node {
    fn has(&self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        match self.inputs.get(first) {
            Some(Edge::Node(node)) => node.has(rest),
            Some(Edge::Follows(_)) => true,
            None => false,
        }
    }

    /// Checks that every input that follows another leads to one.
    fn check_follows(&self, root: &Node, at: &mut InputPath) -> lang::Result<()> {
        for (name, edge) in &self.inputs {
            at.push(name.clone());
            match edge {
                Edge::Node(node) => node.check_follows(root, at)?,
                Edge::Follows(path) if !root.has(path) => {
                    let (at, path) = (at.join("/"), path.join("/"));
                    return Err(wrong_input(format!("the input '{at}' follows '{path}', which is not there")));
                }
                Edge::Follows(_) => {}
            }
            at.pop();
        }
        Ok(())
    }
}
