//! `flake.lock`: what the inputs of a flake are, written down so that they stay that.
//!
//! The format is Nix's (version 7), and so are the rules: what is declared as it was when it was locked stays as it was; what is
//! new or declared otherwise is fetched, and takes the lock file of its own for its inputs; a flake may say what the
//! inputs of its inputs are, and the outermost word counts.
//!
//! A lock is a tree here. In the file its nodes have names of their own, and an input that follows another is the way to that one
//! from the root.

use std::collections::{BTreeMap, BTreeSet};

use lang::builtins::{FlakeInput, FlakeTree, Reference, reference_text};
use lang::host::FetchValue;
use lang::{Error, Evaluator};
use serde_json::{Map, Value, json};

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

/// Which inputs are to be looked up anew.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// Those that are not locked.
    Missing,
    /// All that the flake itself declares; what is below them is locked by the lock files that they have.
    All,
    /// In the same way those at the end of these ways.
    Some(BTreeSet<Way>),
}

impl Update {
    fn concerns(&self, way: &[String]) -> bool {
        matches!(self, Update::Some(ways) if ways.contains(way))
    }

    fn concerns_below(&self, way: &[String]) -> bool {
        matches!(self, Update::Some(ways) if ways.iter().any(|updated| updated.len() > way.len() && updated.starts_with(way)))
    }
}

/// Locks the inputs of the flake in `tree`. `before` is what they were locked to; `warn` is told what is said of inputs that do
/// not exist.
///
/// # Errors
/// When an input cannot be fetched, is no flake though it should be, or comes round to itself.
pub fn lock(
    evaluator: &mut Evaluator,
    tree: &FlakeTree,
    before: &Node,
    update: &Update,
    warn: &mut dyn FnMut(String),
) -> lang::Result<Node> {
    if let Update::Some(ways) = update
        && let Some(missing) = ways.iter().find(|way| !before.has(way))
    {
        return Err(wrong_input(format!("'{}' is not an input that is locked", missing.join("/"))));
    }
    let mut locking = Locking { evaluator, update, overrides: BTreeMap::new(), above: vec![tree.clone()] };
    let inputs = locking.evaluator.flake_inputs(tree)?;
    let before = Some(before).filter(|_| *update != Update::All);
    let inputs = locking.inputs(&inputs, &Place { way: Vec::new(), tree: tree.clone() }, before)?;
    let root = Node { lock: None, inputs };
    root.check_ways(&root, &mut Vec::new())?;
    for way in locking.overrides.keys().filter(|way| !root.has(way)) {
        if let Some((name, input)) = way.split_last() {
            warn(format!("the input '{}' has no input '{name}', and something is said of it", input.join("/")));
        }
    }
    Ok(root)
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

/// Where inputs are declared.
struct Place {
    /// The flake that declares them.
    way: Way,
    tree: FlakeTree,
}

/// What a flake says of an input of its input.
#[derive(Clone)]
struct Override {
    input: FlakeInput,
    tree: FlakeTree,
    way: Way,
}

struct Locking<'l> {
    evaluator: &'l mut Evaluator,
    update: &'l Update,
    /// By the way to the input that is meant. What was said first, further outside, counts.
    overrides: BTreeMap<Way, Override>,
    /// The flakes that are being locked.
    above: Vec<FlakeTree>,
}

impl Locking<'_> {
    fn inputs(
        &mut self,
        declared: &BTreeMap<String, FlakeInput>,
        place: &Place,
        before: Option<&Node>,
    ) -> lang::Result<BTreeMap<String, Edge>> {
        for (name, input) in declared {
            self.add_overrides(input, &child(&place.way, name), place);
        }
        let mut edges = BTreeMap::new();
        for (name, input) in declared {
            let way = child(&place.way, name);
            let edge = self.input(name, input, &way, place, before.and_then(|before| before.inputs.get(name)));
            edges.insert(name.clone(), edge?);
        }
        Ok(edges)
    }

    fn add_overrides(&mut self, input: &FlakeInput, way: &Way, place: &Place) {
        for (name, given) in &input.inputs {
            let way = child(way, name);
            self.add_overrides(given, &way, place);
            if given.reference.is_some() || given.follows.is_some() {
                let given = Override { input: given.clone(), tree: place.tree.clone(), way: place.way.clone() };
                self.overrides.entry(way).or_insert(given);
            }
        }
    }

    fn input(
        &mut self,
        name: &str,
        declared: &FlakeInput,
        way: &Way,
        place: &Place,
        before: Option<&Edge>,
    ) -> lang::Result<Edge> {
        let given = self.overrides.get(way).cloned();
        let (input, tree, parent) = match &given {
            Some(given) => (&given.input, &given.tree, &given.way),
            None => (declared, &place.tree, &place.way),
        };
        if let Some(follows) = &input.follows {
            return Ok(Edge::Follows([&parent[..], follows].concat()));
        }
        let original = input.reference.clone().ok_or_else(|| {
            wrong_input(format!("the input '{}' has no 'url'", way.join("/")))
                .help(format!("add `inputs.{name}.url = \"…\";` to the flake.nix that names it"))
        })?;
        let is_flake = declared.is_flake.unwrap_or(true);
        let parent = is_relative(&original).then(|| parent.clone());
        let before = match before {
            Some(Edge::Node(node)) if !self.update.concerns(way) => Some(node),
            _ => None,
        };
        if let Some((node, lock)) = before.and_then(|node| Some((node, node.lock.as_ref()?)))
            && lock.original == original
            && lock.parent == parent
            && lock.is_flake == is_flake
        {
            let inputs = self.kept(node, lock, way, tree)?;
            return Ok(Edge::Node(Node { lock: Some(lock.clone()), inputs }));
        }
        let place_of_error = |error: Error| error.note(format!("while locking the input '{}'", way.join("/")));
        let (locked, tree) = self.evaluator.lock_reference(&original, tree).map_err(place_of_error)?;
        let mut inputs = BTreeMap::new();
        if is_flake {
            if self.above.contains(&tree) {
                return Err(wrong_input(format!("the input '{}' comes round to itself", way.join("/"))));
            }
            let declared = self.evaluator.flake_inputs(&tree).map_err(place_of_error)?;
            let own = match (before, self.evaluator.flake_lock_text(&tree)?) {
                (None, Some(text)) => Some(Node::parse(&text).map_err(place_of_error)?),
                _ => None,
            };
            self.above.push(tree.clone());
            inputs = self.inputs(&declared, &Place { way: way.clone(), tree }, before.or(own.as_ref()))?;
            self.above.pop();
        }
        Ok(Edge::Node(Node { lock: Some(Lock { locked, original, is_flake, parent }), inputs }))
    }

    /// The inputs of one that stays locked as it was. Its flake is not fetched, unless something has to be known of it that the lock
    /// does not say.
    fn kept(&mut self, node: &Node, lock: &Lock, way: &Way, tree: &FlakeTree) -> lang::Result<BTreeMap<String, Edge>> {
        if !lock.is_flake {
            return Ok(BTreeMap::new());
        }
        // What follows something because another flake said so, which may say so no longer.
        let uncertain = node
            .inputs
            .iter()
            .any(|(name, edge)| matches!(edge, Edge::Follows(_)) && !self.overrides.contains_key(&child(way, name)));
        // A flake beside this one changes as this one does, whatever its lock says.
        if uncertain || self.update.concerns_below(way) || is_relative(&lock.locked) {
            let (_, tree) = self.evaluator.lock_reference(&lock.locked, tree)?;
            let declared = self.evaluator.flake_inputs(&tree)?;
            return self.inputs(&declared, &Place { way: way.clone(), tree }, Some(node));
        }
        let declared = node.inputs.iter().map(|(name, edge)| {
            let lock = match edge {
                Edge::Node(node) => node.lock.as_ref(),
                Edge::Follows(_) => None,
            };
            let input = FlakeInput {
                reference: lock.map(|lock| lock.original.clone()),
                is_flake: lock.map(|lock| lock.is_flake),
                ..FlakeInput::default()
            };
            (name.clone(), input)
        });
        self.inputs(&declared.collect(), &Place { way: way.clone(), tree: tree.clone() }, Some(node))
    }
}

fn child(way: &[String], name: &str) -> Way {
    way.iter().cloned().chain([name.to_owned()]).collect()
}

fn is_relative(reference: &Reference) -> bool {
    let text = |name: &str, wanted: fn(&str) -> bool| matches!(reference.get(name), Some(FetchValue::String(text)) if wanted(text));
    text("type", |kind| kind == "path") && text("path", |path| !path.starts_with('/'))
}
