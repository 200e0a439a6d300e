//! Inputs of a derivation, from the context of its attributes.

use crate::builtins::expect::lossy;
use crate::error::Result;
use crate::value::{Context, ContextElement};
use crate::vm::Evaluator;
use model::{Derivation, StorePath};
use std::collections::BTreeSet;

pub(super) fn add_inputs(ev: &mut Evaluator, context: Context, derivation: &mut Derivation) -> Result<()> {
    for &element in context.elements() {
        let path = ev.store_path_of_element(element)?;
        match element {
            ContextElement::Opaque(_) => {
                derivation.input_sources.insert(path);
            }
            ContextElement::Built { output, .. } => {
                derivation.input_derivations.entry(path).or_default().insert(lossy(output.name()));
            }
            ContextElement::DerivationDeep(_) => add_closure(ev, path, derivation)?,
        }
    }
    Ok(())
}

/// Adds all outputs of a derivation, and of its whole closure, to the inputs.
fn add_closure(ev: &mut Evaluator, start: StorePath, derivation: &mut Derivation) -> Result<()> {
    let mut seen = BTreeSet::from([start.clone()]);
    let mut work = vec![start];
    while let Some(path) = work.pop() {
        let references: Vec<StorePath> = if path.is_derivation() {
            let input = ev.shared.host.read_derivation(&path)?;
            derivation.input_derivations.entry(path.clone()).or_default().extend(input.outputs.keys().cloned());
            // The `.drv` file itself is an input too.
            derivation.input_sources.insert(path);
            input.references().into_iter().collect()
        } else {
            derivation.input_sources.insert(path.clone());
            ev.shared.host.references(&path)?
        };
        work.extend(references.into_iter().filter(|reference| seen.insert(reference.clone())));
    }
    Ok(())
}
