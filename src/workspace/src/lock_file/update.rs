//! Locking: keeps the inputs that did not change, and resolves the others.
//!
//! The rules are Nix's. An input that is declared as it was when it was locked keeps its pin; one
//! that is new or whose declaration changed is fetched, and its own lock file pins its inputs. A
//! flake may override the inputs of its inputs, and the outermost override wins.

use super::{Edge, Node, wrong_input};
use crate::registry::RegistryError;
use lang::flake::{FlakeInput, FlakeRef, FlakeTree, InputPath, Pin};
use lang::{Error, Evaluator};
use std::collections::{BTreeMap, BTreeSet};

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
    fn concerns(&self, path: &[String]) -> bool {
        matches!(self, Update::Some(paths) if paths.contains(path))
    }

    fn concerns_below(&self, path: &[String]) -> bool {
        matches!(self, Update::Some(paths) if paths.iter().any(|updated| updated.len() > path.len() && updated.starts_with(path)))
    }
}

/// Changes that a lock shall have, and the caller's part in making it.
pub struct Request<'r> {
    pub update: &'r Update,
    /// References that inputs have instead of the declared ones.
    pub overrides: &'r BTreeMap<InputPath, FlakeRef>,
    /// Looks a name up in the registries that inputs may use.
    pub resolve: &'r dyn Fn(&FlakeRef) -> Result<FlakeRef, RegistryError>,
    /// Leave pins that do not fix their tree, which an evaluation refuses. Otherwise they are made
    /// again.
    pub keeps_unpinned: bool,
    /// Receives warnings about overrides of inputs that do not exist.
    pub warn: &'r mut dyn FnMut(String),
    /// Receives the inputs that no reference can name for good: working trees with changes.
    pub unlocked: &'r mut Vec<InputPath>,
}

/// Locks the inputs of the flake in `tree`. `before` has their old pins.
///
/// # Errors
/// When an input cannot be fetched, is not a flake although it must be, or needs itself.
pub fn lock(evaluator: &mut Evaluator, tree: &FlakeTree, before: &Node, request: Request<'_>) -> lang::Result<Node> {
    let Request { update, overrides, resolve, keeps_unpinned, warn, unlocked } = request;
    if let Update::Some(paths) = update
        && let Some(missing) = paths.iter().find(|path| !before.has(path))
    {
        return Err(wrong_input(format!("'{}' is not an input that is locked", missing.join("/"))));
    }
    let given = overrides.iter().map(|(path, reference)| {
        let input = FlakeInput { reference: Some(reference.clone()), ..FlakeInput::default() };
        (path.clone(), Override { input, tree: tree.clone(), path: Vec::new() })
    });
    let given: BTreeMap<InputPath, Override> = given.collect();
    let mut locking =
        Locking { evaluator, update, overrides: given, above: vec![tree.clone()], resolve, keeps_unpinned, unlocked };
    let inputs = locking.evaluator.flake_inputs(tree)?;
    let before = Some(before).filter(|_| *update != Update::All);
    let declarer = Declarer { path: Vec::new(), tree: tree.clone() };
    let inputs = locking.inputs(&inputs, &declarer, before.map(Before::of_root))?;
    let root = Node { pin: None, inputs };
    root.check_follows(&root, &mut Vec::new())?;
    for path in locking.overrides.keys().filter(|path| !root.has(path)) {
        if overrides.contains_key(path) {
            warn(format!("there is no input '{}', which `--override-input` names", path.join("/")));
        } else if let Some((name, input)) = path.split_last() {
            warn(format!("the input '{}' has no input '{name}', which is overridden", input.join("/")));
        }
    }
    Ok(root)
}

/// Flake that declares inputs.
struct Declarer {
    /// Path to it from the root.
    path: InputPath,
    tree: FlakeTree,
}

/// The old lock of a flake.
#[derive(Clone, Copy)]
struct Before<'n> {
    node: &'n Node,
    /// Path to the flake with the lock file, at which the paths of inputs that follow others start.
    prefix: &'n [String],
    /// True below a flake that keeps its pin: the flakes that declare what is in the lock are
    /// unchanged, so it need not be compared with them.
    is_trusted: bool,
}

impl<'n> Before<'n> {
    fn of_root(node: &'n Node) -> Before<'n> {
        Before { node, prefix: &[], is_trusted: false }
    }

    fn at(self, node: &'n Node) -> Before<'n> {
        Before { node, ..self }
    }
}

/// Override of an input of an input.
#[derive(Clone)]
struct Override {
    input: FlakeInput,
    tree: FlakeTree,
    path: InputPath,
}

struct Locking<'l> {
    evaluator: &'l mut Evaluator,
    update: &'l Update,
    /// By the path to the input. The first one, which is further outside, wins.
    overrides: BTreeMap<InputPath, Override>,
    /// The flakes that are being locked.
    above: Vec<FlakeTree>,
    resolve: &'l dyn Fn(&FlakeRef) -> Result<FlakeRef, RegistryError>,
    keeps_unpinned: bool,
    unlocked: &'l mut Vec<InputPath>,
}

impl Locking<'_> {
    fn inputs(
        &mut self,
        declared: &BTreeMap<String, FlakeInput>,
        declarer: &Declarer,
        before: Option<Before<'_>>,
    ) -> lang::Result<BTreeMap<String, Edge>> {
        for (name, input) in declared {
            self.add_overrides(input, &child(&declarer.path, name), declarer);
        }
        let mut edges = BTreeMap::new();
        for (name, input) in declared {
            let path = child(&declarer.path, name);
            edges.insert(name.clone(), self.input(name, input, &path, declarer, before)?);
        }
        Ok(edges)
    }

    fn add_overrides(&mut self, input: &FlakeInput, path: &InputPath, declarer: &Declarer) {
        for (name, given) in &input.inputs {
            let path = child(path, name);
            self.add_overrides(given, &path, declarer);
            if given.reference.is_some() || given.follows.is_some() {
                let given = Override { input: given.clone(), tree: declarer.tree.clone(), path: declarer.path.clone() };
                self.overrides.entry(path).or_insert(given);
            }
        }
    }

    fn input(
        &mut self,
        name: &str,
        declared: &FlakeInput,
        path: &InputPath,
        declarer: &Declarer,
        before: Option<Before<'_>>,
    ) -> lang::Result<Edge> {
        let edge = before.and_then(|before| before.node.inputs.get(name));
        let given = self.overrides.get(path).cloned();
        let (input, tree, parent) = match &given {
            Some(given) => (&given.input, &given.tree, &given.path),
            None => (declared, &declarer.tree, &declarer.path),
        };
        if let Some(follows) = &input.follows {
            return Ok(Edge::Follows([&parent[..], follows].concat()));
        }
        let original = match &input.reference {
            Some(reference) => reference.clone(),
            None => self.undeclared(name, path, edge)?,
        };
        let is_flake = declared.is_flake.unwrap_or(true);
        let parent = original.is_relative().then(|| parent.clone());
        let before = match (before, edge) {
            (Some(before), Some(Edge::Node(node))) if !self.update.concerns(path) => Some(before.at(node)),
            _ => None,
        };
        if let Some((node, lock)) = before.and_then(|before| Some((before, before.node.pin.as_ref()?)))
            && lock.original == original
            && lock.parent == parent
            && lock.is_flake == is_flake
            && (lock.locked.is_pinned() || lock.locked.is_relative() || self.keeps_unpinned)
        {
            let inputs = self.kept(node, lock, path, tree)?;
            return Ok(Edge::Node(Node { pin: Some(lock.clone()), inputs }));
        }
        let with_input = |error: Error| error.note(format!("while locking the input '{}'", path.join("/")));
        let resolved = self.resolved(&original).map_err(with_input)?;
        let (locked, tree) = self.evaluator.lock_reference(&resolved, tree).map_err(with_input)?;
        if locked.kind() == "git" && locked.text("rev").is_none() {
            self.unlocked.push(path.clone());
        }
        let mut inputs = BTreeMap::new();
        if is_flake {
            if self.above.contains(&tree) {
                return Err(wrong_input(format!("the input '{}' needs itself", path.join("/"))));
            }
            let declared = self.evaluator.flake_inputs(&tree).map_err(with_input)?;
            let own = match (&before, self.evaluator.flake_lock_text(&tree)?) {
                (None, Some(text)) => Some(Node::parse(&text).map_err(with_input)?),
                _ => None,
            };
            self.above.push(tree.clone());
            let own = own.as_ref().map(|node| Before { node, prefix: path, is_trusted: false });
            let before = before.map(|before| Before { is_trusted: false, ..before }).or(own);
            inputs = self.inputs(&declared, &Declarer { path: path.clone(), tree }, before)?;
            self.above.pop();
        }
        Ok(Edge::Node(Node { pin: Some(Pin { locked, original, is_flake, parent }), inputs }))
    }

    /// Returns the reference of an input that is declared without one: its name, if the registry has
    /// it or had it when it was locked.
    fn undeclared(&self, name: &str, path: &[String], before: Option<&Edge>) -> lang::Result<FlakeRef> {
        let was = match before {
            Some(Edge::Node(node)) => node.pin.as_ref().map(|pin| &pin.original),
            _ => None,
        };
        let by_name = FlakeRef::parse(&format!("flake:{name}")).ok();
        match by_name.filter(|reference| was == Some(reference) || (self.resolve)(reference).is_ok()) {
            Some(reference) => Ok(reference),
            None => Err(wrong_input(format!("the input '{}' has no 'url'", path.join("/")))
                .help(format!("add `inputs.{name}.url = \"…\";` to the flake.nix that names it"))),
        }
    }

    /// Returns the reference that a registry has for another.
    fn resolved(&self, reference: &FlakeRef) -> lang::Result<FlakeRef> {
        if reference.is_relative() {
            return Ok(reference.clone());
        }
        (self.resolve)(reference).map_err(|error| {
            let found = wrong_input(error.to_string());
            match (error, reference.text("id")) {
                (RegistryError::Unknown(_), Some(id)) => found.help(format!(
                    "write its place in flake.nix, as in `url = \"github:owner/{id}\";`: a user's registry names no inputs, as locks must not depend on it (`--flake-registry FILE` does)"
                )),
                (error, _) => match error.help() {
                    Some(help) => found.help(help),
                    None => found,
                },
            }
        })
    }

    /// Returns the inputs of one that keeps its pin. Its flake is fetched only if something is
    /// needed that the lock does not have.
    fn kept(
        &mut self,
        before: Before<'_>,
        lock: &Pin,
        path: &InputPath,
        tree: &FlakeTree,
    ) -> lang::Result<BTreeMap<String, Edge>> {
        if !lock.is_flake {
            return Ok(BTreeMap::new());
        }
        let declarer = |tree: FlakeTree| Declarer { path: path.clone(), tree };
        let edges = &before.node.inputs;
        let follows = |edge: &Edge| matches!(edge, Edge::Follows(_));
        // Follows another input because of an override that may be gone.
        let is_uncertain = !before.is_trusted
            && edges.iter().any(|(name, edge)| follows(edge) && !self.overrides.contains_key(&child(path, name)));
        // A flake in the same tree changes with it, regardless of its lock.
        if is_uncertain || self.update.concerns_below(path) || lock.locked.is_relative() {
            let (_, tree) = self.evaluator.lock_reference(&lock.locked, tree)?;
            let declared = self.evaluator.flake_inputs(&tree)?;
            return self.inputs(&declared, &declarer(tree), Some(Before { is_trusted: false, ..before }));
        }
        let mut declared = BTreeMap::new();
        for (name, edge) in edges {
            let mut input = FlakeInput::default();
            match edge {
                Edge::Node(node) => {
                    input.reference = node.pin.as_ref().map(|pin| pin.original.clone());
                    input.is_flake = node.pin.as_ref().map(|pin| pin.is_flake);
                }
                Edge::Follows(target) => {
                    let follows = Some([before.prefix, target].concat());
                    let kept = FlakeInput { follows, ..FlakeInput::default() };
                    let kept = Override { input: kept, tree: tree.clone(), path: Vec::new() };
                    self.overrides.entry(child(path, name)).or_insert(kept);
                }
            }
            declared.insert(name.clone(), input);
        }
        self.inputs(&declared, &declarer(tree.clone()), Some(Before { is_trusted: true, ..before }))
    }
}

fn child(path: &[String], name: &str) -> InputPath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}
