//! From installables to values and derivations, by way of the evaluation cache.

use crate::error::Error;
use crate::eval_cache::KeyWriter;
use crate::installable::{FlakeAttr, Installable, Lookup, Outputs, flake_reference};
use crate::registry::{RegistryError, Scope};
use crate::session::{Session, Wanted};
use crate::settings::{Access, Argument, EvalSettings, ExpressionSource, LockSettings, TextOrigin};
use lang::flake::FlakeRef;
use lang::host::FetchValue;
use lang::text::attr_path::AttrPath;
use lang::{Attrs, Evaluator, Symbol, Value};
use model::tree::Digest;
use model::{StoreModel, StorePath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

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
        self.resolve_as(names, Lookup::Packages)
    }

    /// Does the same as [`Session::resolve`], and looks in other outputs of flakes first.
    ///
    /// # Errors
    /// The errors of [`Session::resolve`].
    pub fn resolve_as(&self, names: &[String], lookup: Lookup) -> Result<Vec<Wanted>, Error> {
        let installables = self.installables(names)?;
        let key = self.cache_key(&installables, lookup);
        if let Some(wanted) = key.and_then(|key| self.cached(&key)) {
            self.editable.borrow_mut().extend(installables.iter().filter_map(|installable| match installable {
                Installable::Flake { reference, .. } => reference.local_directory(),
                _ => None,
            }));
            return Ok(wanted);
        }
        let mut wanted = Vec::new();
        for installable in &installables {
            match installable {
                Installable::StorePath { path, outputs } => wanted.push(self.store_path(path, outputs)?),
                Installable::Flake { outputs, .. } | Installable::Attr { outputs, .. } => {
                    let value = self.value_as(installable, lookup)?;
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
    pub(crate) fn cache_key(&self, installables: &[Installable], lookup: Lookup) -> Option<Digest> {
        // Neither the number of threads nor a limit on memory changes a result. A refresh changes
        // what is fetched without a hash, and such an evaluation is not cached.
        let EvalSettings {
            source,
            attributes,
            arguments,
            search_path: _,
            access,
            store_model,
            // That of the session is part of the key.
            system: _,
            memory_max_bytes: _,
            jobs: _,
            use_caches,
            refresh: _,
            warn_dirty,
            profile,
        } = &self.settings.evaluation;
        let LockSettings { mode: _, overrides, update, recreate } = &self.settings.locks;
        let evaluated = installables.iter().all(|installable| !matches!(installable, Installable::StorePath { .. }));
        let from_input = matches!(source, ExpressionSource::Text { origin: TextOrigin::StandardInput, .. });
        // A lock that is made again is written, or made of what is fetched.
        if !use_caches || *profile || from_input || !evaluated || *recreate || !update.is_empty() {
            return None;
        }
        let mut key = KeyWriter::new(self.settings.program.as_deref());
        key.text(store_model.store_dir());
        key.text(&self.system);
        // Warnings are part of the result.
        key.case(if *warn_dirty { "warn dirty" } else { "quiet" });
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
        key.list(&overrides.iter().collect::<Vec<_>>(), |key, (path, reference)| {
            key.list(path, |key, name| key.text(name));
            write_reference(key, reference);
        });
        key.list(installables, write_installable);
        match lookup {
            Lookup::Packages => {}
            Lookup::Apps => key.case("apps"),
            Lookup::Shells => key.case("shells"),
        }
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
        let mut installables = Vec::new();
        for text in texts {
            let mut installable = Installable::parse(text, attr_mode, directory)?;
            if let Installable::Flake { reference, .. } = &mut installable {
                *reference = self.resolve_name(reference, text)?;
            }
            installables.push(installable);
        }
        Ok(installables)
    }

    /// Parses a flake reference without an attribute, and looks it up in the registries.
    ///
    /// # Errors
    /// When it cannot be parsed, or no registry has the name.
    pub fn flake_reference(&self, text: &str) -> Result<FlakeRef, Error> {
        let reference = flake_reference(text, &self.settings.directory)?;
        self.resolve_name(&reference, text)
    }

    /// Parses a flake reference, and leaves names as they are.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub fn named_reference(&self, text: &str) -> Result<FlakeRef, Error> {
        Ok(flake_reference(text, &self.settings.directory)?)
    }

    /// Evaluates the first of several outputs of a flake that exists, and passes it to `take`.
    ///
    /// # Errors
    /// When there is none of them, or `take` fails.
    pub fn output<T>(
        &self,
        reference: &FlakeRef,
        candidates: &[AttrPath],
        take: impl FnOnce(&mut Evaluator, Value) -> lang::Result<T>,
    ) -> Result<T, Error> {
        let outputs = self.evaluate(|evaluator| evaluator.eval_flake(reference))?;
        for candidate in candidates {
            if let Ok(value) = self.evaluate(|evaluator| walk(evaluator, outputs, candidate))? {
                return self.evaluate(|evaluator| take(evaluator, value));
            }
        }
        let flake = reference.to_url().unwrap_or_default();
        Err(Error::NoOutput { flake, candidates: candidates.to_vec(), similar: None })
    }

    /// Returns the reference that the registries have for one in the argument `text`.
    fn resolve_name(&self, reference: &FlakeRef, text: &str) -> Result<FlakeRef, Error> {
        match self.registries.resolve(reference, Scope::All) {
            Err(cause @ RegistryError::Unknown(_)) if !text.contains(['#', ':']) => {
                let help = match self.has_output(text) {
                    true => format!("did you mean `.#{text}`?"),
                    false => cause.help().unwrap_or_default(),
                };
                Err(Error::UnknownFlake { name: text.to_owned(), cause, help })
            }
            resolved => Ok(resolved?),
        }
    }

    /// Returns whether the flake at hand has an output, as far as that is known without locking its
    /// inputs.
    fn has_output(&self, attr: &str) -> bool {
        let Ok(reference) = flake_reference(".", &self.settings.directory) else { return false };
        let Ok(attr) = FlakeAttr::parse(attr) else { return false };
        let found = |evaluator: &mut Evaluator| {
            let outputs = evaluator.eval_flake(&reference)?;
            for path in attr.candidates(&self.system) {
                if walk(evaluator, outputs, &path)?.is_ok() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        self.evaluate(found).unwrap_or(false)
    }

    /// Evaluates an installable to head form.
    ///
    /// # Errors
    /// When it does not exist or does not evaluate.
    pub fn value(&self, installable: &Installable) -> Result<Value, Error> {
        self.value_as(installable, Lookup::Packages)
    }

    /// Does the same as [`Session::value`], and looks in other outputs of flakes first.
    ///
    /// # Errors
    /// The errors of [`Session::value`].
    pub fn value_as(&self, installable: &Installable, lookup: Lookup) -> Result<Value, Error> {
        match installable {
            Installable::Flake { reference, attr, .. } => self.flake_value(reference, attr, lookup),
            Installable::Attr { path, .. } => {
                let arguments = self.arguments()?;
                let root = self.source_value(&arguments)?;
                self.evaluate(|evaluator| evaluator.select_path_with(root, path, &arguments))
            }
            Installable::StorePath { path, .. } => Err(Error::NotAnExpression(path.clone())),
        }
    }

    fn flake_value(&self, reference: &FlakeRef, attr: &FlakeAttr, lookup: Lookup) -> Result<Value, Error> {
        self.editable.borrow_mut().extend(reference.local_directory());
        self.lock_flake(reference)?;
        let outputs = self.evaluate(|evaluator| evaluator.eval_flake(reference))?;
        let candidates = attr.candidates_of(&self.system, lookup);
        for candidate in &candidates {
            if let Ok(value) = self.evaluate(|evaluator| walk(evaluator, outputs, candidate))? {
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

    /// Returns the path that a missing one resembles, without the set that it is looked up in.
    fn similar_output(&self, outputs: Value, attr: &FlakeAttr) -> Option<AttrPath> {
        attr.places(&self.system).iter().find_map(|place| {
            let path = attr.path().below(place);
            let names = path.names();
            let (set, depth) = self.evaluate(|evaluator| walk(evaluator, outputs, &path)).ok()?.err()?;
            // A missing set such as `packages` is not what was mistyped.
            let own = depth.checked_sub(place.names().len())?;
            let has: Vec<String> =
                set?.sorted().map(|attr| String::from_utf8_lossy(attr.name.name()).into_owned()).collect();
            let similar = lang::error::suggest(&names[depth], has.iter().map(String::as_str))?;
            let (before, after) = (&attr.path().names()[..own], &attr.path().names()[own + 1..]);
            Some(before.iter().map(String::as_str).chain([similar]).chain(after.iter().map(String::as_str)).collect())
        })
    }

    /// Makes the error of a value without derivations. A whole file is named as the user did.
    fn no_derivation(&self, name: &str) -> Error {
        Error::NoDerivation(match &self.settings.evaluation.source {
            ExpressionSource::File(file) if name == WHOLE => file.display().to_string(),
            _ => name.to_owned(),
        })
    }

    /// Returns the derivations that a value is or contains, or the store path that it is. Errors
    /// call it `name`.
    ///
    /// # Errors
    /// When it contains no derivation, or does not evaluate.
    pub fn derivations_of(&self, value: Value, outputs: &Outputs, name: &str) -> Result<Vec<Wanted>, Error> {
        // A list or a set of derivations means all of them, as with `-f` in Nix.
        let arguments = match self.settings.evaluation.source {
            ExpressionSource::Flake => Vec::new(),
            ExpressionSource::File(_) | ExpressionSource::Text { .. } => self.arguments()?,
        };
        let Some(found) = self.evaluate(|evaluator| crate::walk::derivations(evaluator, value, &arguments))? else {
            let path = self.evaluate(|evaluator| evaluator.string_of(value)).ok();
            let path = path.and_then(|text| self.model().parse(&text).ok());
            return path.map(|path| vec![Wanted::Path(path)]).ok_or_else(|| Error::NotADerivation(name.to_owned()));
        };
        if found.is_empty() {
            return Err(self.no_derivation(name));
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
    pub(crate) fn store_path(&self, path: &Path, outputs: &Outputs) -> Result<Wanted, Error> {
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

/// Returns the member at a path, or the deepest value on the way if it is a set, with the number of
/// names that lead to it.
pub(crate) fn walk(
    evaluator: &mut Evaluator,
    mut value: Value,
    path: &AttrPath,
) -> lang::Result<Result<Value, (Option<Attrs>, usize)>> {
    for (depth, name) in path.names().iter().enumerate() {
        let set = evaluator.force(value)?.as_attrs();
        match set.and_then(|set| set.get(Symbol::new(name.as_bytes()))) {
            Some(member) => value = evaluator.force(member)?,
            None => return Ok(Err((set, depth))),
        }
    }
    Ok(Ok(value))
}

fn write_installable(key: &mut KeyWriter, installable: &Installable) {
    let outputs = match installable {
        Installable::Flake { reference, attr, outputs } => {
            key.case("flake");
            write_reference(key, reference);
            key.case(if matches!(attr, FlakeAttr::Search(_)) { "search" } else { "exact" });
            key.list(attr.path().names(), |key, name| key.text(name));
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

fn write_reference(key: &mut KeyWriter, reference: &FlakeRef) {
    key.list(&reference.attributes().iter().collect::<Vec<_>>(), |key, (name, value)| {
        key.text(name);
        write_attribute(key, value);
    });
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

/// Name of a file or expression that is taken as a whole.
const WHOLE: &str = "the expression";

pub(crate) fn describe(installable: &Installable) -> String {
    match installable {
        Installable::Flake { attr, .. } => attr.path().to_string(),
        Installable::Attr { path, .. } if path.is_empty() => WHOLE.to_owned(),
        Installable::Attr { path, .. } => path.clone(),
        Installable::StorePath { path, .. } => path.display().to_string(),
    }
}
