//! Locking: keeps the inputs that did not change, and resolves the others.
//!
//! The rules are Nix's. An input that is declared as it was when it was locked keeps its pin; one that is new or declared
//! differently is fetched, and its own lock file pins its inputs. A flake may override the inputs of its inputs, and the
//! outermost override wins.

use std::collections::{BTreeMap, BTreeSet};

use lang::flake::{FlakeInput, FlakeTree, InputPath, Pin};
use lang::{Error, Evaluator};

use super::{Edge, Node, wrong_input};

/// Inputs to resolve again.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// Inputs that are not locked.
    Missing,
    /// All inputs that the flake itself declares; their own lock files pin the inputs below them.
    All,
    /// The inputs at the end of these paths, in the same way.
    Some(BTreeSet<InputPath>),
}

impl Update {
    fn concerns(&self, way: &[String]) -> bool {
        matches!(self, Update::Some(ways) if ways.contains(way))
    }

    fn concerns_below(&self, way: &[String]) -> bool {
        matches!(self, Update::Some(ways) if ways.iter().any(|updated| updated.len() > way.len() && updated.starts_with(way)))
    }
}

/// Locks the inputs of the flake in `tree`. `before` has their old pins; `warn` receives warnings about overrides of inputs
/// that do not exist.
///
/// # Errors
/// When an input cannot be fetched, is not a flake although it must be, or needs itself.
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
    let inputs = locking.inputs(&inputs, &Declarer { way: Vec::new(), tree: tree.clone() }, before)?;
    let root = Node { pin: None, inputs };
    root.check_ways(&root, &mut Vec::new())?;
    for way in locking.overrides.keys().filter(|way| !root.has(way)) {
        if let Some((name, input)) = way.split_last() {
            warn(format!("the input '{}' has no input '{name}', which is overridden", input.join("/")));
        }
    }
    Ok(root)
}

/// Flake that declares inputs.
struct Declarer {
    /// Path to it from the root.
    way: InputPath,
    tree: FlakeTree,
}

/// Override of an input of an input.
#[derive(Clone)]
struct Override {
    input: FlakeInput,
    tree: FlakeTree,
    way: InputPath,
}

struct Locking<'l> {
    evaluator: &'l mut Evaluator,
    update: &'l Update,
    /// By the path to the input. The first one, which is further outside, wins.
    overrides: BTreeMap<InputPath, Override>,
    /// The flakes that are being locked.
    above: Vec<FlakeTree>,
}

impl Locking<'_> {
    fn inputs(
        &mut self,
        declared: &BTreeMap<String, FlakeInput>,
        declarer: &Declarer,
        before: Option<&Node>,
    ) -> lang::Result<BTreeMap<String, Edge>> {
        for (name, input) in declared {
            self.add_overrides(input, &child(&declarer.way, name), declarer);
        }
        let mut edges = BTreeMap::new();
        for (name, input) in declared {
            let way = child(&declarer.way, name);
            let edge = self.input(name, input, &way, declarer, before.and_then(|before| before.inputs.get(name)));
            edges.insert(name.clone(), edge?);
        }
        Ok(edges)
    }

    fn add_overrides(&mut self, input: &FlakeInput, way: &InputPath, declarer: &Declarer) {
        for (name, given) in &input.inputs {
            let way = child(way, name);
            self.add_overrides(given, &way, declarer);
            if given.reference.is_some() || given.follows.is_some() {
                let given = Override { input: given.clone(), tree: declarer.tree.clone(), way: declarer.way.clone() };
                self.overrides.entry(way).or_insert(given);
            }
        }
    }

    fn input(
        &mut self,
        name: &str,
        declared: &FlakeInput,
        way: &InputPath,
        declarer: &Declarer,
        before: Option<&Edge>,
    ) -> lang::Result<Edge> {
        let given = self.overrides.get(way).cloned();
        let (input, tree, parent) = match &given {
            Some(given) => (&given.input, &given.tree, &given.way),
            None => (declared, &declarer.tree, &declarer.way),
        };
        if let Some(follows) = &input.follows {
            return Ok(Edge::Follows([&parent[..], follows].concat()));
        }
        let original = input.reference.clone().ok_or_else(|| {
            wrong_input(format!("the input '{}' has no 'url'", way.join("/")))
                .help(format!("add `inputs.{name}.url = \"…\";` to the flake.nix that names it"))
        })?;
        let is_flake = declared.is_flake.unwrap_or(true);
        let parent = original.is_relative().then(|| parent.clone());
        let before = match before {
            Some(Edge::Node(node)) if !self.update.concerns(way) => Some(node),
            _ => None,
        };
        if let Some((node, lock)) = before.and_then(|node| Some((node, node.pin.as_ref()?)))
            && lock.original == original
            && lock.parent == parent
            && lock.is_flake == is_flake
            // A pin that does not fix the tree is ignored.
            && (lock.locked.is_pinned() || lock.locked.is_relative())
        {
            let inputs = self.kept(node, lock, way, tree)?;
            return Ok(Edge::Node(Node { pin: Some(lock.clone()), inputs }));
        }
        let with_input = |error: Error| error.note(format!("while locking the input '{}'", way.join("/")));
        let (locked, tree) = self.evaluator.lock_reference(&original, tree).map_err(with_input)?;
        let mut inputs = BTreeMap::new();
        if is_flake {
            if self.above.contains(&tree) {
                return Err(wrong_input(format!("the input '{}' needs itself", way.join("/"))));
            }
            let declared = self.evaluator.flake_inputs(&tree).map_err(with_input)?;
            let own = match (before, self.evaluator.flake_lock_text(&tree)?) {
                (None, Some(text)) => Some(Node::parse(&text).map_err(with_input)?),
                _ => None,
            };
            self.above.push(tree.clone());
            inputs = self.inputs(&declared, &Declarer { way: way.clone(), tree }, before.or(own.as_ref()))?;
            self.above.pop();
        }
        Ok(Edge::Node(Node { pin: Some(Pin { locked, original, is_flake, parent }), inputs }))
    }

    /// Returns the inputs of one that keeps its pin. Its flake is fetched only if something is needed that the lock does not
    /// have.
    fn kept(
        &mut self,
        node: &Node,
        lock: &Pin,
        way: &InputPath,
        tree: &FlakeTree,
    ) -> lang::Result<BTreeMap<String, Edge>> {
        if !lock.is_flake {
            return Ok(BTreeMap::new());
        }
        // Follows another input because of an override that may be gone.
        let uncertain = node
            .inputs
            .iter()
            .any(|(name, edge)| matches!(edge, Edge::Follows(_)) && !self.overrides.contains_key(&child(way, name)));
        // A flake in the same tree changes with it, regardless of its lock.
        if uncertain || self.update.concerns_below(way) || lock.locked.is_relative() {
            let (_, tree) = self.evaluator.lock_reference(&lock.locked, tree)?;
            let declared = self.evaluator.flake_inputs(&tree)?;
            return self.inputs(&declared, &Declarer { way: way.clone(), tree }, Some(node));
        }
        let declared = node.inputs.iter().map(|(name, edge)| {
            let lock = match edge {
                Edge::Node(node) => node.pin.as_ref(),
                Edge::Follows(_) => None,
            };
            let input = FlakeInput {
                reference: lock.map(|lock| lock.original.clone()),
                is_flake: lock.map(|lock| lock.is_flake),
                ..FlakeInput::default()
            };
            (name.clone(), input)
        });
        self.inputs(&declared.collect(), &Declarer { way: way.clone(), tree: tree.clone() }, Some(node))
    }
}

fn child(way: &[String], name: &str) -> InputPath {
    way.iter().cloned().chain([name.to_owned()]).collect()
}
