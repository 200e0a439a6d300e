//! The rules that a derivation sets for its outputs: `allowedReferences`, `disallowedReferences`,
//! `allowedRequisites`, `disallowedRequisites`, `maxSize` and `maxClosureSize`. With structured
//! attributes they are under `outputChecks.<output>`.

use super::outputs::Checked;
use crate::BuildError;
use crate::attributes::Attributes;
use crate::error::attribute;
use model::{StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use store::LocalStore;

/// The attributes with the rules of a derivation, and the store and paths of its outputs.
pub(super) struct Rules<'a> {
    pub store: &'a LocalStore,
    pub attributes: &'a Attributes<'a>,
    pub paths: &'a BTreeMap<String, StorePath>,
}

/// Checks each output. Other outputs of the derivation are considered by their own references and
/// sizes.
pub(super) fn check_rules(rules: &Rules<'_>, checked: &Checked) -> Result<(), BuildError> {
    for (output, references) in &checked.references {
        for rule in ["allowedReferences", "disallowedReferences", "allowedRequisites", "disallowedRequisites"] {
            let Some(named) = rules.words(output, rule)? else { continue };
            let named = named.iter().map(|word| rules.path(rule, word)).collect::<Result<BTreeSet<_>, _>>()?;
            let requisites;
            let seen = if rule.ends_with("Requisites") {
                requisites = rules.requisites(output, checked)?;
                &requisites
            } else {
                references
            };
            let bad: Vec<String> = seen
                .iter()
                .filter(|path| named.contains(path) == rule.starts_with("dis"))
                .map(|path| StoreModel::Native.print(path))
                .collect();
            if !bad.is_empty() {
                return Err(BuildError::Reference { output: output.clone(), rule, paths: bad });
            }
        }
        for (rule, closure) in [("maxSize", false), ("maxClosureSize", true)] {
            let Some(max) = rules.number(output, rule)? else { continue };
            let actual = if closure { rules.closure_bytes(output, checked)? } else { checked.bytes[output] };
            if actual > max {
                return Err(BuildError::Size { output: output.clone(), rule, actual, max, closure });
            }
        }
    }
    Ok(())
}

impl Rules<'_> {
    fn words(&self, output: &str, rule: &str) -> Result<Option<Vec<String>>, BuildError> {
        let Some(structured) = self.attributes.structured() else { return self.attributes.words(rule) };
        let Some(value) = structured.get("outputChecks").and_then(|checks| checks.get(output)?.get(rule)) else {
            return Ok(None);
        };
        let words =
            value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        words.map(Some).ok_or_else(|| attribute(&format!("outputChecks.{output}.{rule}"), "expected a list of strings"))
    }

    fn number(&self, output: &str, rule: &str) -> Result<Option<u64>, BuildError> {
        let Some(structured) = self.attributes.structured() else { return self.attributes.number(rule) };
        let Some(value) = structured.get("outputChecks").and_then(|checks| checks.get(output)?.get(rule)) else {
            return Ok(None);
        };
        let number = value.as_u64().map(Some);
        number.ok_or_else(|| attribute(&format!("outputChecks.{output}.{rule}"), "expected a whole number"))
    }

    /// Returns the store path that a rule names, by path or by the name of an output.
    fn path(&self, rule: &str, word: &str) -> Result<StorePath, BuildError> {
        if let Some(path) = self.paths.get(word) {
            return Ok(path.clone());
        }
        StoreModel::Native
            .parse(word)
            .map_err(|_| attribute(rule, format!("`{word}` is neither a store path nor an output")))
    }

    /// Returns all paths that an output reaches, itself included only when it refers to itself.
    fn requisites(&self, output: &str, checked: &Checked) -> Result<BTreeSet<StorePath>, BuildError> {
        let own: BTreeMap<&StorePath, &String> = self.paths.iter().map(|(name, path)| (path, name)).collect();
        let mut seen = BTreeSet::new();
        let mut others = BTreeSet::new();
        let mut todo: Vec<StorePath> = checked.references[output].iter().cloned().collect();
        while let Some(path) = todo.pop() {
            if seen.insert(path.clone()) {
                match own.get(&path).and_then(|name| checked.references.get(*name)) {
                    Some(references) => todo.extend(references.iter().cloned()),
                    None => {
                        others.insert(path);
                    }
                }
            }
        }
        seen.extend(self.store.closure_of(&others)?);
        Ok(seen)
    }

    /// Returns the size of an output and of all that it reaches.
    fn closure_bytes(&self, output: &str, checked: &Checked) -> Result<u64, BuildError> {
        let mut total = checked.bytes[output];
        for path in self.requisites(output, checked)? {
            match self.paths.iter().find(|(_, own)| **own == path) {
                Some((own, _)) if own == output => {}
                Some((own, _)) => total += checked.bytes[own],
                None => total += self.store.path_info(&path)?.map_or(0, |info| info.bytes),
            }
        }
        Ok(total)
    }
}
