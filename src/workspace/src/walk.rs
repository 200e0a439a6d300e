//! The derivations in a value, in Nix's order: a derivation is itself, a list is its elements, a
//! set is its attributes by name. Sets within sets are searched only when they have
//! `recurseForDerivations = true`.

use lang::error::Result;
use lang::{Ahead, DerivationRef, Evaluator, Symbol, Value};
use std::collections::HashSet;

/// Returns them, each set once; `None` when the value cannot contain derivations. Functions with
/// defaults are called.
///
/// # Errors
/// The errors of the evaluation.
pub fn derivations(
    evaluator: &mut Evaluator,
    value: Value,
    arguments: &[(Symbol, Value)],
) -> Result<Option<Vec<DerivationRef>>> {
    let mut walk = Walk { arguments, seen: HashSet::new(), found: Vec::new() };
    let any = evaluator.on_large_stack(|evaluator| walk.all_in(evaluator, value))?;
    Ok(any.then_some(walk.found))
}

struct Walk<'a> {
    arguments: &'a [(Symbol, Value)],
    /// [`Value::identity`] of the derivations found.
    seen: HashSet<u64>,
    found: Vec<DerivationRef>,
}

impl Walk<'_> {
    /// Returns whether the value can contain derivations, and records those it contains.
    fn all_in(&mut self, evaluator: &mut Evaluator, value: Value) -> Result<bool> {
        evaluator.nested(|evaluator| self.members_in(evaluator, value))
    }

    fn members_in(&mut self, evaluator: &mut Evaluator, value: Value) -> Result<bool> {
        let value = evaluator.auto_call(value, self.arguments)?;
        if self.take(evaluator, value)? {
            return Ok(true);
        }
        if let Some(list) = value.as_list() {
            evaluator.ahead(list.values().iter().copied(), Ahead::Derivation);
            for &element in list.values() {
                let element = evaluator.force(element)?;
                if !self.take(evaluator, element)? && !self.all_in(evaluator, element)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Some(set) = value.as_attrs() else { return Ok(false) };
        let all = set.contains(Symbol::new(b"_combineChannels"));
        let members: Vec<_> = set.sorted().filter(|attr| is_plain(attr.name.name())).collect();
        evaluator.ahead(members.iter().map(|attr| attr.value), Ahead::Derivation);
        for attr in members {
            let member = evaluator.force(attr.value)?;
            if all {
                self.all_in(evaluator, member)?;
            } else if !self.take(evaluator, member)?
                && let Some(recurse) = evaluator.attr(member, "recurseForDerivations")?
                && recurse.as_bool() == Some(true)
            {
                self.all_in(evaluator, member)?;
            }
        }
        Ok(true)
    }

    /// Returns whether the value is a derivation, and records it.
    fn take(&mut self, evaluator: &mut Evaluator, value: Value) -> Result<bool> {
        if self.seen.contains(&value.identity()) {
            return Ok(true);
        }
        let Some(derivation) = evaluator.derivation_of(value)? else { return Ok(false) };
        self.seen.insert(value.identity());
        self.found.push(derivation);
        Ok(true)
    }
}

/// Returns whether Nix considers the name: it skips those that need quotes.
fn is_plain(name: &[u8]) -> bool {
    name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_+".contains(byte))
}
