//! From installables to values and derivations, by way of the evaluation cache.

use crate::error::Error;
use crate::eval_cache::KeyWriter;
use crate::installable::{FlakeAttr, Installable, Outputs};
use crate::session::{Session, Wanted};
use crate::settings::{Access, Argument, EvalSettings, ExpressionSource, TextOrigin};
use lang::flake::FlakeRef;
use lang::host::FetchValue;
use lang::{Evaluator, Value};
use model::tree::Digest;
use model::{StoreModel, StorePath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Most symbolic links followed from an argument to a store path, as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// A [`Wanted`] as the evaluation cache stores it.
#[derive(Debug, Serialize, Deserialize)]
enum WantedRecord {
    Derivation { drv: String, outputs: BTreeSet<String> },
    Path(String),
}

impl Wanted {
    fn to_record(&self) -> WantedRecord {
        match self {
            Wanted::Derivation { drv, outputs } => {
                WantedRecord::Derivation { drv: drv.to_string(), outputs: outputs.clone() }
            }
            Wanted::Path(path) => WantedRecord::Path(path.to_string()),
        }
    }

    fn from_record(record: WantedRecord) -> Option<Wanted> {
        Some(match record {
            WantedRecord::Derivation { drv, outputs } => {
                Wanted::Derivation { drv: StorePath::parse(&drv).ok()?, outputs }
            }
            WantedRecord::Path(path) => Wanted::Path(StorePath::parse(&path).ok()?),
        })
    }

    fn path(&self) -> &StorePath {
        match self {
            Wanted::Derivation { drv: path, .. } | Wanted::Path(path) => path,
        }
    }
}

impl Session {
    /// Resolves `names`, and the attributes of the settings, to derivations and store paths.
    ///
    /// # Errors
    /// When something does not exist, does not evaluate, or is not a derivation.
    pub fn resolve(&self, names: &[String]) -> Result<Vec<Wanted>, Error> {
        let installables = self.installables(names)?;
        let key = self.cache_key(&installables);
        if let Some(wanted) = key.and_then(|key| self.cached(&key)) {
            self.editable.borrow_mut().extend(installables.iter().filter_map(|installable| match installable {
                Installable::Flake { reference, .. } => reference.local_path().map(PathBuf::from),
                _ => None,
            }));
            return Ok(wanted);
        }
        let mut wanted = Vec::new();
        for installable in &installables {
            match installable {
                Installable::StorePath { path, outputs } => wanted.push(self.store_path(path, outputs)?),
                Installable::Flake { outputs, .. } | Installable::Attr { outputs, .. } => {
                    let value = self.value(installable)?;
                    wanted.extend(self.derivations_of(value, outputs, &describe(installable))?);
                }
            }
        }
        self.write_derivations()?;
        if let (Some(key), Some(seen)) = (key, self.observer.seen()) {
            self.cache.insert(&key, seen, wanted.iter().map(Wanted::to_record).collect::<Vec<_>>());
        }
        Ok(wanted)
    }

    /// Returns the key of an evaluation: everything that decides it besides the observations;
    /// `None` when it cannot or should not be cached.
    fn cache_key(&self, installables: &[Installable]) -> Option<Digest> {
        // Neither the number of threads nor a limit on memory changes a result. A refresh changes
        // what is fetched without a hash, and such an evaluation is not cached.
        let EvalSettings {
            source,
            attributes,
            arguments,
            search_path: _,
            access,
            store_model,
            memory_max_bytes: _,
            jobs: _,
            use_caches,
            refresh: _,
            profile,
        } = &self.settings.evaluation;
        let evaluated = installables.iter().all(|installable| !matches!(installable, Installable::StorePath { .. }));
        let from_input = matches!(source, ExpressionSource::Text { origin: TextOrigin::StandardInput, .. });
        if !use_caches || *profile || from_input || !evaluated {
            return None;
        }
        let mut key = KeyWriter::new(self.settings.program.as_deref());
        key.text(store_model.store_dir());
        key.text(&self.system);
        key.path(&self.settings.directory);
        match source {
            ExpressionSource::Flake => key.case("flake"),
            ExpressionSource::File(file) => {
                key.case("file");
                key.path(file);
            }
            ExpressionSource::Text { text, .. } => {
                key.case("text");
                key.bytes(text);
            }
        }
        key.list(attributes, |key, attribute| key.text(attribute));
        key.list(arguments, |key, (name, argument)| {
            key.text(name);
            match argument {
                Argument::Expression(text) => {
                    key.case("expression");
                    key.text(text);
                }
                Argument::Text(text) => {
                    key.case("text");
                    key.text(text);
                }
            }
        });
        key.list(&self.settings.search_path(), |key, (name, place)| {
            key.text(name);
            key.text(place);
        });
        match access {
            Access::Pure => key.case("pure"),
            Access::Impure => key.case("impure"),
            Access::Restricted { uris } => {
                key.case("restricted");
                key.list(uris, |key, uri| key.text(uri));
            }
        }
        key.list(installables, write_installable);
        Some(key.finish())
    }

    /// Returns the cached result under `key`, protected from collection, if all of it still exists.
    fn cached(&self, key: &Digest) -> Option<Vec<Wanted>> {
        let records: Vec<WantedRecord> = self.cache.get(key, &self.host)?;
        let wanted: Vec<Wanted> = records.into_iter().map(Wanted::from_record).collect::<Option<_>>()?;
        if self.model() == StoreModel::Native {
            let paths = || wanted.iter().map(|wanted| wanted.path().clone());
            // Roots first: a path that is valid after that cannot be collected.
            self.store.temp_roots(paths()).ok()?;
            let valid = self.store.valid_among(paths()).ok()?;
            if !wanted.iter().all(|wanted| valid.contains(wanted.path())) {
                return None;
            }
        }
        Some(wanted)
    }

    /// Parses arguments, together with the attributes of the settings.
    ///
    /// # Errors
    /// When one cannot be parsed.
    pub fn installables(&self, names: &[String]) -> Result<Vec<Installable>, Error> {
        let EvalSettings { source, attributes, .. } = &self.settings.evaluation;
        let attr_mode = *source != ExpressionSource::Flake;
        if !attr_mode && !attributes.is_empty() {
            return Err(Error::AttributesWithoutSource);
        }
        let mut texts: Vec<&str> = attributes.iter().map(String::as_str).collect();
        texts.extend(names.iter().map(String::as_str).filter(|name| !attr_mode || *name != "."));
        if texts.is_empty() {
            texts.push(if attr_mode { "" } else { "." });
        }
        let directory = &self.settings.directory;
        texts.into_iter().map(|text| Ok(Installable::parse(text, attr_mode, directory)?)).collect()
    }

    /// Evaluates an installable to head form.
    ///
    /// # Errors
    /// When it does not exist or does not evaluate.
    pub fn value(&self, installable: &Installable) -> Result<Value, Error> {
        match installable {
            Installable::Flake { reference, attr, .. } => self.flake_value(reference, attr),
            Installable::Attr { path, .. } => {
                let root = self.source_value()?;
                self.evaluate(|evaluator| evaluator.select_path(root, path))
            }
            Installable::StorePath { path, .. } => Err(Error::NotAnExpression(path.clone())),
        }
    }

    fn flake_value(&self, reference: &FlakeRef, attr: &FlakeAttr) -> Result<Value, Error> {
        self.editable.borrow_mut().extend(reference.local_path().map(PathBuf::from));
        let outputs = self.evaluate(|evaluator| evaluator.eval_flake(reference))?;
        let candidates = attr.candidates(&self.system);
        for candidate in &candidates {
            if let Some(value) = self.evaluate(|evaluator| select(evaluator, outputs, candidate))? {
                return Ok(value);
            }
        }
        let similar = self.similar_output(outputs, attr);
        let flake = match (reference.local_path(), reference.text("dir")) {
            (Some(path), None) => path.to_owned(),
            _ => reference.to_url().unwrap_or_default(),
        };
        Err(Error::NoOutput { flake, candidates, similar })
    }

    fn similar_output(&self, outputs: Value, attr: &FlakeAttr) -> Option<String> {
        let FlakeAttr::Search(wanted) = attr else { return None };
        let packages = format!("packages.{}", self.system);
        let mut evaluator = self.evaluator();
        let packages = evaluator.select_path(outputs, &packages).ok()?;
        let names: Vec<String> =
            packages.as_attrs()?.iter().map(|attr| String::from_utf8_lossy(attr.name.name()).into_owned()).collect();
        lang::error::suggest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Returns the derivations that a value is or contains, or the store path that it is. Errors
    /// call it `name`.
    ///
    /// # Errors
    /// When it contains no derivation, or does not evaluate.
    pub fn derivations_of(&self, value: Value, outputs: &Outputs, name: &str) -> Result<Vec<Wanted>, Error> {
        // A list or a set of derivations means all of them, as with `-f` in Nix.
        let Some(found) = self.evaluate(|evaluator| crate::walk::derivations(evaluator, value, &[]))? else {
            let path = self.evaluate(|evaluator| evaluator.string_of(value)).ok();
            let path = path.and_then(|text| self.model().parse(&text).ok());
            return path.map(|path| vec![Wanted::Path(path)]).ok_or_else(|| Error::NotADerivation(name.to_owned()));
        };
        if found.is_empty() {
            return Err(Error::NoDerivation(name.to_owned()));
        }
        found
            .into_iter()
            .map(|derivation| {
                let drv = self.model().parse(&derivation.drv_path)?;
                let outputs = match outputs {
                    Outputs::Default => BTreeSet::from([derivation.output_name]),
                    Outputs::All => BTreeSet::new(),
                    Outputs::Named(names) => names.iter().cloned().collect(),
                };
                Ok(Wanted::Derivation { drv, outputs })
            })
            .collect()
    }

    /// Resolves a store path as it was typed: logical, physical, or a link such as `./result`.
    fn store_path(&self, path: &Path, outputs: &Outputs) -> Result<Wanted, Error> {
        let mut at = path.to_owned();
        for _ in 0..LINKS_MAX {
            match std::fs::read_link(&at) {
                Ok(target) if self.parse_store_path(&at).is_none() => {
                    at = at.parent().unwrap_or(Path::new("/")).join(target);
                }
                _ => break,
            }
        }
        let Some(found) = self.parse_store_path(&at) else {
            return Err(Error::OutsideStore { path: path.to_owned(), root: self.store.root().to_owned() });
        };
        if found.is_derivation() {
            let outputs = match outputs {
                Outputs::Named(names) => names.iter().cloned().collect(),
                Outputs::Default | Outputs::All => BTreeSet::new(),
            };
            return Ok(Wanted::Derivation { drv: found, outputs });
        }
        if self.store.is_valid(&found)? {
            return Ok(Wanted::Path(found));
        }
        Err(Error::NotInStore(StoreModel::Native.print(&found)))
    }

    fn parse_store_path(&self, path: &Path) -> Option<StorePath> {
        let inside = path
            .strip_prefix(StoreModel::Native.store_dir())
            .or_else(|_| path.strip_prefix(self.store.root().join("store")))
            .ok()?;
        StorePath::parse(inside.components().next()?.as_os_str().to_str()?).ok()
    }
}

/// Selects the member at a path; `None` when a set in the path has no such attribute.
fn select(evaluator: &mut Evaluator, mut value: Value, path: &str) -> lang::Result<Option<Value>> {
    if path.contains('"') {
        return evaluator.select_path(value, path).map(Some);
    }
    for name in path.split('.') {
        match evaluator.attr(value, name)? {
            Some(member) => value = member,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn write_installable(key: &mut KeyWriter, installable: &Installable) {
    let outputs = match installable {
        Installable::Flake { reference, attr, outputs } => {
            key.case("flake");
            key.list(&reference.attributes().iter().collect::<Vec<_>>(), |key, (name, value)| {
                key.text(name);
                write_attribute(key, value);
            });
            match attr {
                FlakeAttr::Search(attr) => {
                    key.case("search");
                    key.text(attr);
                }
                FlakeAttr::Exact(attr) => {
                    key.case("exact");
                    key.text(attr);
                }
            }
            outputs
        }
        Installable::Attr { path, outputs } => {
            key.case("attribute");
            key.text(path);
            outputs
        }
        Installable::StorePath { path, outputs } => {
            key.case("store path");
            key.path(path);
            outputs
        }
    };
    match outputs {
        Outputs::Default => key.case("default output"),
        Outputs::All => key.case("all outputs"),
        Outputs::Named(names) => {
            key.case("outputs");
            key.list(names, |key, name| key.text(name));
        }
    }
}

fn write_attribute(key: &mut KeyWriter, value: &FetchValue) {
    match value {
        FetchValue::String(text) => {
            key.case("string");
            key.text(text);
        }
        FetchValue::Int(number) => {
            key.case("integer");
            key.bytes(&number.to_le_bytes());
        }
        FetchValue::Bool(flag) => key.case(if *flag { "true" } else { "false" }),
    }
}

fn describe(installable: &Installable) -> String {
    match installable {
        Installable::Flake { attr: FlakeAttr::Search(attr) | FlakeAttr::Exact(attr), .. } => attr.clone(),
        Installable::Attr { path, .. } if path.is_empty() => "the expression".to_owned(),
        Installable::Attr { path, .. } => path.clone(),
        Installable::StorePath { path, .. } => path.display().to_string(),
    }
}
