//! The packages and the names below an installable, for searching and for completion.

use crate::error::Error;
use crate::eval_cache::KeyWriter;
use crate::installable::{FlakeAttr, Installable, Lookup, Outputs};
use crate::session::Session;
use lang::{Evaluator, Value};
use serde::{Deserialize, Serialize};

/// A package as a search finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Attribute path, such as `packages.x86_64-linux.hello`.
    pub path: String,
    pub name: String,
    pub description: String,
}

/// Most names returned for completion: more are of no use to a reader.
const NAMES_MAX: usize = 20_000;

impl Session {
    /// Returns the packages below an installable, in order of their paths: those of the flake's
    /// `packages` and `legacyPackages` when it names no attribute. Attributes that do not evaluate
    /// are left out, as are sets in sets of `legacyPackages` without `recurseForDerivations`.
    ///
    /// # Errors
    /// When the flake, file or expression does not evaluate.
    pub fn packages(&self, installable: &Installable) -> Result<Vec<Package>, Error> {
        self.cached_answer(installable, "packages", || {
            let mut found = Vec::new();
            for (path, value) in self.tops(installable)? {
                self.visit(value, &path, true, &mut found)?;
            }
            found.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(found)
        })
    }

    /// Returns the names that may follow a flake's attribute path: those of its packages, and of
    /// its outputs when the path is not found there.
    ///
    /// # Errors
    /// When the flake, file or expression does not evaluate.
    pub fn names_below(&self, installable: &Installable) -> Result<Vec<String>, Error> {
        self.cached_answer(installable, "names", || {
            let mut names = Vec::new();
            let mut tops: Vec<Value> = self.tops(installable)?.into_iter().map(|(_, value)| value).collect();
            if let Installable::Flake { reference, attr, .. } = installable
                && attr.path().is_empty()
            {
                let flake = self.evaluate(|evaluator| evaluator.eval_flake(reference))?;
                tops.extend(self.evaluate(|evaluator| evaluator.attr(flake, "outputs"))?);
            }
            for value in tops {
                let value = self.evaluate(|evaluator| evaluator.force(value))?;
                if let Some(set) = value.as_attrs() {
                    names.extend(set.iter().map(|attr| String::from_utf8_lossy(attr.name.name()).into_owned()));
                }
                names.truncate(NAMES_MAX);
            }
            names.sort();
            names.dedup();
            Ok(names)
        })
    }

    /// Returns the sets that an installable stands for, with their paths.
    fn tops(&self, installable: &Installable) -> Result<Vec<(String, Value)>, Error> {
        let Installable::Flake { reference, attr, .. } = installable else {
            let path = match installable {
                Installable::Attr { path, .. } => path.clone(),
                _ => String::new(),
            };
            return Ok(vec![(path, self.value(installable)?)]);
        };
        let mut tops = Vec::new();
        for path in attr.places(&self.system).iter().map(|place| attr.path().below(place)) {
            // The set of all outputs is no set of packages.
            if path.is_empty() {
                continue;
            }
            let exact = Installable::Flake {
                reference: reference.clone(),
                attr: FlakeAttr::Exact(path.clone()),
                outputs: Outputs::Default,
            };
            match self.value(&exact) {
                Ok(value) => tops.push((path.to_string(), value)),
                Err(Error::NoOutput { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tops)
    }

    fn visit(&self, value: Value, path: &str, is_top: bool, found: &mut Vec<Package>) -> Result<(), Error> {
        let Some(value) = self.unless_broken(|evaluator| evaluator.force(value))? else { return Ok(()) };
        let Some(set) = value.as_attrs() else { return Ok(()) };
        if self.text_of(value, "type")?.as_deref() == Some("derivation") {
            let Some(name) = self.text_of(value, "name")? else { return Ok(()) };
            let meta = self.unless_broken(|evaluator| evaluator.attr(value, "meta"))?.flatten();
            let description = match meta {
                Some(meta) => self.text_of(meta, "description")?.unwrap_or_default(),
                None => String::new(),
            };
            found.push(Package { path: path.to_owned(), name, description });
            return Ok(());
        }
        let depth = path.split('.').filter(|part| !part.is_empty()).count();
        let recurses = match path.split('.').next() {
            Some("packages") => depth <= 2,
            Some("legacyPackages") if depth <= 2 => true,
            _ if is_top => true,
            _ => self.unless_broken(|evaluator| evaluator.attr(value, "recurseForDerivations"))?.flatten().is_some_and(
                |flag| matches!(self.unless_broken(|evaluator| evaluator.force(flag)), Ok(Some(flag)) if flag.as_bool() == Some(true)),
            ),
        };
        if !recurses {
            return Ok(());
        }
        for attr in set.iter() {
            let name = String::from_utf8_lossy(attr.name.name());
            let path = if path.is_empty() { name.into_owned() } else { format!("{path}.{name}") };
            self.visit(attr.value, &path, false, found)?;
        }
        Ok(())
    }

    /// Returns an attribute that is a text.
    fn text_of(&self, value: Value, name: &str) -> Result<Option<String>, Error> {
        let text = self.unless_broken(|evaluator| match evaluator.attr(value, name)? {
            Some(text) => evaluator.string_of(text).map(Some),
            None => Ok(None),
        })?;
        Ok(text.flatten())
    }

    /// Runs `work`; `None` when the expression is wrong. Interrupts and a lack of memory are errors
    /// still.
    fn unless_broken<T>(&self, work: impl FnOnce(&mut Evaluator) -> lang::Result<T>) -> Result<Option<T>, Error> {
        match self.evaluate(work) {
            Ok(value) => Ok(Some(value)),
            Err(Error::Evaluation(report)) if matches!(report.code, "lang::interrupted" | "lang::out_of_memory") => {
                Err(Error::Evaluation(report))
            }
            Err(_) => Ok(None),
        }
    }

    /// Returns the cached answer to a question about an installable, or asks it.
    fn cached_answer<T>(
        &self,
        installable: &Installable,
        question: &str,
        ask: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error>
    where
        T: Serialize + for<'de> Deserialize<'de>,
    {
        let key = self.cache_key(std::slice::from_ref(installable), Lookup::Packages).map(|key| {
            let mut all = KeyWriter::new(self.settings.program.as_deref());
            all.case(question);
            all.bytes(key.hex().as_bytes());
            all.finish()
        });
        if let Some(answer) = key.and_then(|key| self.cache.get(&key, &self.host)) {
            return Ok(answer);
        }
        let answer = ask()?;
        if let (Some(key), Some(seen)) = (key, self.observer.seen()) {
            self.cache.insert(&key, seen, &answer);
        }
        Ok(answer)
    }
}
