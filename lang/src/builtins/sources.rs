//! Builtins that import files or put them into the store.

use super::expect::lossy;
use crate::compile::code::Code;
use crate::error::{Error, Result};
use crate::host::{FileType, HostError, HostErrorKind};
use crate::symbol::Symbol;
use crate::text::path::normalise;
use crate::value::{Attr, Context, ContextElement, Value};
use crate::vm::Evaluator;
use model::path::Ingestion;
use model::{Hash, HashAlgorithm, StorePath};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) fn import(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let path = ev.realise_path(arguments[0])?;
    if let Some(derivation) = ev.derivation_set(&path)? {
        return Ok(derivation);
    }
    ev.import(path.as_os_str().as_bytes())
}

pub(super) fn scoped_import(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let path = ev.realise_path(arguments[1])?;
    let scope = ev.expect_attrs(arguments[0])?;
    let names: Vec<(Symbol, Value)> = scope.iter().map(|attr| (attr.name, attr.value)).collect();
    ev.import_scoped(path.as_os_str().as_bytes(), &names)
}

/// The set of one output of an imported derivation: common attributes, attributes of the output.
static IMPORTED_OUTPUT: Code = Code::native(2, |ev, captures| {
    let (common, own) = (ev.expect_attrs(captures[0])?, ev.expect_attrs(captures[1])?);
    Ok(common.update(own))
});

impl Evaluator {
    /// Returns the set of outputs that importing a `.drv` of the store gives.
    fn derivation_set(&mut self, path: &Path) -> Result<Option<Value>> {
        let model = self.shared.options.store_model;
        let text = path.to_string_lossy();
        let Ok(store_path) = model.parse(&text) else { return Ok(None) };
        if !store_path.is_derivation() {
            return Ok(None);
        }
        let derivation = self.shared.host.read_derivation(&store_path)?;
        let symbol = Symbol::new(text.as_bytes());
        let attr = |name: &[u8], value| Attr { name: Symbol::new(name), pos: crate::source::Pos::NONE, value };
        let deep = Context::one(ContextElement::DerivationDeep(symbol));
        let paths =
            derivation.output_paths(model).map_err(|error| Error::other("lang::derivation", error.to_string()))?;
        let mut attrs = vec![
            attr(b"drvPath", Value::string_with_context(text.as_bytes(), deep)),
            attr(b"name", Value::string(derivation.env("name").unwrap_or(derivation.name.as_str().as_bytes()))),
            attr(b"type", Value::string(b"derivation")),
        ];
        let outputs: Vec<Value> = paths.iter().map(|_| Value::thunk_unfilled(&IMPORTED_OUTPUT)).collect();
        attrs.push(attr(b"all", Value::list(&outputs)));
        for ((name, _), &value) in paths.iter().zip(&outputs) {
            attrs.retain(|attr| attr.name != Symbol::new(name.as_bytes()));
            attrs.push(attr(name.as_bytes(), value));
        }
        let common = Value::attrs(attrs);
        for ((name, path), &value) in paths.iter().zip(&outputs) {
            let built = ContextElement::Built { derivation: symbol, output: Symbol::new(name.as_bytes()) };
            let mut own = vec![attr(b"outputName", Value::string(name.as_bytes()))];
            if let Some(path) = path {
                let text = model.print(path);
                own.push(attr(b"outPath", Value::string_with_context(text.as_bytes(), Context::one(built))));
            }
            self.fill_thunk(value, &[common, Value::attrs(own)]);
        }
        match outputs.first() {
            Some(&first) => self.force(first).map(Some),
            None => Err(Error::other("lang::derivation", "derivation cannot have an empty set of outputs")),
        }
    }

    /// Copies the files that `filter` selects to the store, and returns the store path as a string.
    fn add_filtered(
        &mut self,
        source: &Path,
        name: &[u8],
        ingestion: Ingestion,
        filter: Option<Value>,
        expected: Option<Hash>,
    ) -> Result<Value> {
        let name = self.source_name(name)?;
        let host = self.shared.host.clone();
        let mut failure: Option<Error> = None;
        let result = match filter {
            None => host.add_source(source, &name, ingestion, None, expected.as_ref()),
            Some(filter) => {
                let mut choose = |path: &Path, kind: FileType| {
                    let path = Value::string(path.as_os_str().as_bytes());
                    let kind = Value::string(kind.name().as_bytes());
                    let chosen = self.call(filter, &[path, kind]).and_then(|chosen| self.expect_bool(chosen));
                    chosen.map_err(|error| {
                        failure = Some(error);
                        HostError::new(HostErrorKind::Stopped, "the filter function failed")
                    })
                };
                host.add_source(source, &name, ingestion, Some(&mut choose), expected.as_ref())
            }
        };
        match (failure, result) {
            (Some(error), _) => Err(error),
            (None, Ok(path)) => Ok(self.store_value(&path)),
            (None, Err(error)) => Err(error.into()),
        }
    }

    /// Returns a store path as a string with itself as context.
    pub(crate) fn store_value(&self, path: &StorePath) -> Value {
        let (text, context) = self.store_string(path);
        Value::string_with_context(text.as_bytes(), context)
    }
}

/// Returns the path of a source, which is a path or a string with context, and the same path before
/// links were followed, which its name comes from. As in Nix, a source that is a symbolic link is
/// the file or tree that the link leads to, with the link's name.
fn source_path(ev: &mut Evaluator, value: Value) -> Result<(PathBuf, PathBuf)> {
    let path = ev.realise_path(value)?;
    Ok((ev.resolve_links(&path)?, path))
}

pub(super) fn filter_source(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let (source, named) = source_path(ev, arguments[1])?;
    let filter = ev.expect_function(arguments[0])?;
    let name = ev.copy_name(named.as_os_str().as_bytes())?;
    ev.add_filtered(&source, &name, Ingestion::Recursive, Some(filter), None)
}

pub(super) fn path(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let (mut source, mut name, mut filter, mut recursive, mut expected) = (None, None, None, true, None);
    for attr in set.sorted() {
        match attr.name.name() {
            b"path" => source = Some(source_path(ev, attr.value)?),
            b"name" => name = Some(ev.expect_plain(attr.value)?.to_vec()),
            b"filter" => filter = Some(ev.expect_function(attr.value)?),
            b"recursive" => recursive = ev.expect_forced_bool(attr.value)?,
            b"sha256" => {
                let text = lossy(ev.expect_plain(attr.value)?);
                let hash = Hash::parse(&text, Some(HashAlgorithm::Sha256));
                expected = Some(hash.map_err(|error| Error::other("lang::hash", error.to_string()))?);
            }
            other => return Err(ev.unsupported_attribute(other, "builtins.path")),
        }
    }
    let Some((source, named)) = source else {
        return Err(Error::other(
            "lang::missing_attribute",
            "missing required 'path' attribute in the first argument to 'builtins.path'",
        ));
    };
    let name = match name {
        Some(name) => name,
        None => ev.copy_name(named.as_os_str().as_bytes())?,
    };
    let ingestion = if recursive { Ingestion::Recursive } else { Ingestion::Flat };
    ev.add_filtered(&source, &name, ingestion, filter, expected)
}

pub(super) fn to_file(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let name = ev.expect_plain(arguments[0])?;
    let name = ev.source_name(name)?;
    let text = ev.expect_string(arguments[1])?;
    let mut references = BTreeSet::new();
    for &element in text.context().elements() {
        match element {
            ContextElement::Opaque(path) => {
                references.insert(ev.store_path_of(path.name())?);
            }
            ContextElement::DerivationDeep(path) | ContextElement::Built { derivation: path, .. } => {
                return Err(Error::other(
                    "lang::to_file",
                    format!(
                        "files created by 'toFile' may not reference derivations, but {name} references {}",
                        lossy(path.name())
                    ),
                ));
            }
        }
    }
    let path = ev.shared.options.store_model.make_text_path(name, text.bytes(), &references);
    if ev.shared.options.write {
        let references: Vec<StorePath> = references.into_iter().collect();
        ev.shared.host.add_text(&path, text.bytes(), &references)?;
    }
    Ok(ev.store_value(&path))
}

pub(super) fn store_path(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    if ev.shared.options.pure {
        return Err(Error::other("lang::pure_path", "'builtins.storePath' is not allowed in pure evaluation mode"));
    }
    let (path, context) = ev.coerce_to_path(arguments[0])?;
    let path = normalise(&path);
    let model = ev.shared.options.store_model;
    let mut text = lossy(&path);
    if model.split(&text).is_err() {
        text = ev.resolve_links(Path::new(&text))?.to_string_lossy().into_owned();
    }
    let (object, rest) = model
        .split(&text)
        .map_err(|_| Error::other("lang::store_path", format!("path '{text}' is not in the Nix store")))?;
    let rest = rest.to_owned();
    ev.shared.host.ensure_path(&object)?;
    let (object, own) = ev.store_string(&object);
    Ok(Value::string_with_context(format!("{object}{rest}").as_bytes(), context.union(own)))
}
