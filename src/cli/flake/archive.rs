//! `flake archive`: a flake and all its inputs, in the store.

use super::session::FlakeArguments;
use crate::cli::Global;
use crate::print::say;
use crate::report::Failure;
use clap::Args;
use lang::flake::FlakeTree;
use lang::{Evaluator, Result};
use model::StoreModel;
use serde_json::{Map, Value, json};
use workspace::lock_file::{Edge, Node};

#[derive(Debug, Args)]
pub struct Archive {
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flake: FlakeArguments,
}

/// A tree in the store, and those of its inputs.
struct Archived {
    path: String,
    inputs: Vec<(String, Archived)>,
}

impl Archive {
    pub fn run(self, global: &Global) -> std::result::Result<(), Failure> {
        let flake = self.flake.open(global)?;
        let archived = flake.session.evaluate(|evaluator| {
            let (_, tree) = evaluator.lock_reference(&flake.reference, &flake.locked.tree)?;
            let inputs = inputs(evaluator, &flake.locked.after, &tree)?;
            Ok(Archived { path: object_of(&tree), inputs })
        })?;
        if self.json {
            let mut object = to_json(&archived);
            object["version"] = 1.into();
            return say!("{object}");
        }
        let mut paths = Vec::new();
        list(&archived, &mut paths);
        paths.sort();
        paths.dedup();
        paths.iter().try_for_each(|path| say!("{path}"))
    }
}

fn inputs(evaluator: &mut Evaluator, node: &Node, parent: &FlakeTree) -> Result<Vec<(String, Archived)>> {
    let mut archived = Vec::new();
    for (name, edge) in &node.inputs {
        let Edge::Node(node) = edge else { continue };
        let Some(pin) = &node.pin else { continue };
        let (_, tree) = evaluator.lock_reference(&pin.locked, parent)?;
        let inputs = inputs(evaluator, node, &tree)?;
        archived.push((name.clone(), Archived { path: object_of(&tree), inputs }));
    }
    Ok(archived)
}

/// Returns the store object that a tree is in.
fn object_of(tree: &FlakeTree) -> String {
    let directory = tree.directory().to_string_lossy().into_owned();
    match StoreModel::Native.split(&directory) {
        Ok((object, _)) => StoreModel::Native.print(&object),
        Err(_) => directory,
    }
}

fn to_json(archived: &Archived) -> Value {
    let inputs: Map<_, _> = archived.inputs.iter().map(|(name, input)| (name.clone(), to_json(input))).collect();
    json!({ "path": archived.path, "inputs": inputs })
}

fn list(archived: &Archived, paths: &mut Vec<String>) {
    paths.push(archived.path.clone());
    archived.inputs.iter().for_each(|(_, input)| list(input, paths));
}
