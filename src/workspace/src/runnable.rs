//! Programs to run: apps of flakes, and main programs of packages.

use crate::error::Error;
use crate::installable::{Installable, Lookup};
use crate::resolve::describe;
use crate::session::{Session, Wanted};
use lang::value::ContextElement;
use lang::{Evaluator, Value};
use std::collections::BTreeSet;

/// A program, and all that must be valid to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runnable {
    pub wanted: Vec<Wanted>,
    pub program: RunnableProgram,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnableProgram {
    /// The path that an app names.
    Path(String),
    /// The main program of a package: the first of these names that its `bin` has.
    OfPackage { names: Vec<String> },
}

impl Session {
    /// Finds the program that an argument means: an app, or a package.
    ///
    /// # Errors
    /// When it does not exist, does not evaluate, or is neither.
    pub fn runnable(&self, name: &str) -> Result<Runnable, Error> {
        let installables = self.installables(&[name.to_owned()])?;
        // There is one for each argument or attribute.
        let installable = installables.first().ok_or(Error::NothingToEvaluate)?;
        if let Installable::StorePath { path, outputs } = installable {
            let wanted = self.store_path(path, outputs)?;
            let path = match &wanted {
                Wanted::Derivation { drv: path, .. } | Wanted::Path(path) => path,
            };
            let name = path.name().as_str();
            let names = vec![without_version(name.strip_suffix(".drv").unwrap_or(name)).to_owned()];
            return Ok(Runnable { wanted: vec![wanted], program: RunnableProgram::OfPackage { names } });
        }
        let value = self.value_as(installable, Lookup::Apps)?;
        let runnable = match self.evaluate(|evaluator| app(evaluator, value))? {
            Some((program, elements)) => {
                let wanted = elements.into_iter().map(|element| self.wanted(element)).collect::<Result<_, _>>()?;
                Runnable { wanted, program: RunnableProgram::Path(program) }
            }
            None => {
                let (Installable::Flake { outputs, .. } | Installable::Attr { outputs, .. }) = installable else {
                    return Err(Error::NotRunnable(describe(installable)));
                };
                let names = self.evaluate(|evaluator| main_programs(evaluator, value))?;
                let wanted = self.derivations_of(value, outputs, &describe(installable))?;
                Runnable { wanted, program: RunnableProgram::OfPackage { names } }
            }
        };
        self.write_derivations()?;
        Ok(runnable)
    }

    fn wanted(&self, element: ContextElement) -> Result<Wanted, Error> {
        let path = self.model().parse(&String::from_utf8_lossy(element.path()))?;
        Ok(match element {
            ContextElement::Built { output, .. } => {
                let output = String::from_utf8_lossy(output.name()).into_owned();
                Wanted::Derivation { drv: path, outputs: BTreeSet::from([output]) }
            }
            ContextElement::DerivationDeep(_) => Wanted::Derivation { drv: path, outputs: BTreeSet::new() },
            ContextElement::Opaque(_) => Wanted::Path(path),
        })
    }
}

/// Returns the program of an app, with the context of its path; `None` when the value is none.
fn app(evaluator: &mut Evaluator, value: Value) -> lang::Result<Option<(String, Vec<ContextElement>)>> {
    let Some(kind) = evaluator.attr(value, "type")? else { return Ok(None) };
    if evaluator.string_of(kind)? != "app" {
        return Ok(None);
    }
    let program = evaluator.select_path(value, "program")?;
    let program = evaluator.coerce_str(program)?;
    Ok(Some((String::from_utf8_lossy(program.bytes()).into_owned(), program.context().elements().to_vec())))
}

/// Returns the names that the main program of a package may have.
fn main_programs(evaluator: &mut Evaluator, value: Value) -> lang::Result<Vec<String>> {
    if let Some(meta) = evaluator.attr(value, "meta")?
        && let Some(main) = evaluator.attr(meta, "mainProgram")?
    {
        return Ok(vec![evaluator.string_of(main)?]);
    }
    let mut names = Vec::new();
    if let Some(name) = evaluator.attr(value, "pname")? {
        names.push(evaluator.string_of(name)?);
    }
    if let Some(name) = evaluator.attr(value, "name")? {
        let name = evaluator.string_of(name)?;
        let name = without_version(&name).to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Returns the part of a package's name before the version, which starts with the first dash that
/// no letter follows.
fn without_version(name: &str) -> &str {
    let dashes = name.match_indices('-').map(|(at, _)| at);
    let mut ends = dashes.filter(|at| name[at + 1..].chars().next().is_some_and(|next| !next.is_alphabetic()));
    ends.next().map_or(name, |end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_versions() {
        for (name, short) in
            [("hello-2.12", "hello"), ("python-prefix", "python-prefix"), ("a-b-1", "a-b"), ("x", "x"), ("x-", "x-")]
        {
            assert_eq!(without_version(name), short);
        }
    }
}
