//! `derivation`: from a set to a store derivation.
//!
//! `derivation` itself only adds lazy attributes; `derivationStrict` evaluates everything, computes
//! the paths and hands the `.drv` to the host.

use std::collections::{BTreeMap, BTreeSet};

use model::derivation::DerivationError;
use model::path::Ingestion;
use model::{Derivation, Hash, HashAlgorithm, Output, StorePath, StorePathName};

use super::expect::lossy;
use super::features::require;
use crate::compile::code::Code;
use crate::error::{Error, FrameKind, Result};
use crate::host::Severity;
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::{Attr, Attrs, Context, ContextBuilder, ContextElement, Str, Value};
use crate::vm::Coercion;
use crate::vm::Evaluator;

/// `derivationStrict arguments`, evaluated when a path is needed.
static STRICT: Code = Code::native(1, derivation_strict);
/// An attribute of a set that is still a thunk: set, name.
static MEMBER: Code = Code::native(2, |ev, captures| {
    let set = ev.force(captures[0])?;
    let name = ev.expect_string(captures[1])?;
    ev.select_slow(set, Symbol::new(name.bytes()))
});
/// The list of all outputs' sets.
static ALL: Code = Code::native(1, |_, captures| Ok(captures[0]));
/// The set of one output: common attributes, strict set, name of the output.
static OUTPUT: Code = Code::native(3, |ev, captures| {
    let common = ev.expect_attrs(captures[0])?;
    let name = ev.expect_string(captures[2])?;
    Ok(output_set(ev, common, captures[1], name))
});

/// Returns the attributes that differ between the outputs' sets.
fn output_set(ev: &mut Evaluator, common: Attrs, strict: Value, name: Str) -> Value {
    let names = &ev.shared.names;
    let attr = |name: Symbol, value| Attr { name, pos: Pos::NONE, value };
    let own = Value::attrs(vec![
        attr(names.out_path, Value::thunk(&MEMBER, &[strict, name.value()])),
        attr(names.drv_path, Value::thunk(&MEMBER, &[strict, names.drv_path.value()])),
        attr(names.r#type, names.derivation.value()),
        attr(names.output_name, name.value()),
    ]);
    common.update(own.as_attrs().expect("a set was made just now"))
}

pub(super) fn derivation(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let outputs = match set.get(ev.shared.names.outputs) {
        Some(outputs) => ev.expect_list(outputs)?,
        None => Value::list(&[ev.shared.names.out.value()]).as_list().expect("a list was made just now"),
    };
    let strict = Value::thunk(&STRICT, &[set.value()]);
    let mut names = Vec::with_capacity(outputs.len());
    for &output in outputs.values() {
        names.push(ev.expect_string(output)?);
    }
    if names.is_empty() {
        return Err(Error::other("lang::derivation", "derivation cannot have an empty set of outputs"));
    }
    // The outputs' sets and the common attributes refer to each other, so the thunks are filled
    // after the set exists.
    let mut attrs = vec![Attr { name: Symbol::new(b"drvAttrs"), pos: Pos::NONE, value: set.value() }];
    let outputs: Vec<(Symbol, Value)> =
        names.iter().map(|name| (Symbol::new(name.bytes()), Value::thunk_unfilled(&OUTPUT))).collect();
    let all: Vec<Value> = outputs.iter().map(|&(_, value)| value).collect();
    attrs.push(Attr { name: Symbol::new(b"all"), pos: Pos::NONE, value: Value::thunk(&ALL, &[Value::list(&all)]) });
    for &(name, value) in &outputs {
        if !attrs.iter().any(|attr| attr.name == name) {
            attrs.push(Attr { name, pos: Pos::NONE, value });
        }
    }
    let extra = Value::attrs(attrs);
    let common = set.update(extra.as_attrs().expect("a set was made just now"));
    for (&(_, value), name) in outputs.iter().zip(&names) {
        ev.fill_thunk(value, &[common, strict, name.value()]);
    }
    // This is the same set as in `all`: printing distinguishes it from an equal one.
    ev.force(outputs[0].1)
}

/// Contents of the attributes, from which a [`Derivation`] is made.
#[derive(Default)]
struct Draft {
    builder: Option<Vec<u8>>,
    system: Option<Vec<u8>>,
    args: Vec<Vec<u8>>,
    /// Sorted by name, except `__json`.
    env: Vec<(Vec<u8>, Vec<u8>)>,
    outputs: Option<Vec<String>>,
    output_hash: Option<String>,
    output_hash_algorithm: Option<String>,
    output_hash_mode: Option<String>,
    /// Outputs are named by their content, which the build determines.
    content_addressed: bool,
    /// As `content_addressed`, and the builder has network access.
    impure: bool,
}

pub(super) fn derivation_strict(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let name_attr = set.get_attr(ev.shared.names.name);
    let Some(name_attr) = name_attr else {
        return Err(Error::other("lang::derivation", "attribute 'name' required in the argument of 'derivation'"));
    };
    let name = lossy(ev.expect_plain(name_attr.value).map_err(|error| {
        error
            .at(name_attr.pos, "name".len() as u32)
            .note("while evaluating the `name` attribute passed to builtins.derivationStrict")
    })?);
    strict(ev, set, &name).map_err(|error| {
        error
            .at(name_attr.pos, "name".len() as u32)
            .frame(name_attr.pos, FrameKind::Note(format!("while evaluating derivation '{name}'")))
    })
}

fn strict(ev: &mut Evaluator, set: Attrs, name: &str) -> Result<Value> {
    let store_name = StorePathName::new(name)
        .map_err(|error| Error::other("lang::derivation_name", format!("invalid derivation name '{name}': {error}")))?;
    if name.ends_with(".drv") {
        return Err(Error::other(
            "lang::derivation_name",
            "derivation names are allowed to end in '.drv' only if they produce a single derivation file",
        ));
    }
    let mut context = ContextBuilder::default();
    let draft = read_attributes(ev, set, name, &mut context)?;
    let model = ev.shared.options.store_model;

    let missing = |what: &str| Error::other("lang::derivation", format!("required attribute '{what}' missing"));
    let builder = draft.builder.filter(|text| !text.is_empty()).ok_or_else(|| missing("builder"))?;
    let system = draft.system.filter(|text| !text.is_empty()).ok_or_else(|| missing("system"))?;
    let output_names = draft.outputs.unwrap_or_else(|| vec!["out".to_owned()]);
    let outputs: BTreeMap<String, Output> = match &draft.output_hash {
        Some(hash) => {
            if output_names != ["out"] {
                return Err(Error::other(
                    "lang::derivation",
                    "multiple outputs are not supported in fixed-output derivations",
                ));
            }
            let (ingestion, hash) = fixed_output(
                ev,
                hash,
                draft.output_hash_algorithm.as_deref().unwrap_or_default(),
                draft.output_hash_mode.as_deref().unwrap_or_default(),
            )?;
            BTreeMap::from([("out".to_owned(), Output::Fixed { ingestion, hash })])
        }
        None if draft.content_addressed || draft.impure => {
            let (ingestion, algorithm) = floating_output(
                draft.output_hash_algorithm.as_deref().unwrap_or_default(),
                draft.output_hash_mode.as_deref(),
            )?;
            let output = match draft.impure {
                true => Output::Impure { ingestion, algorithm },
                false => Output::Floating { ingestion, algorithm },
            };
            output_names.into_iter().map(|name| (name, output.clone())).collect()
        }
        None => output_names.into_iter().map(|output| (output, Output::Deferred)).collect(),
    };

    let mut env: BTreeMap<Vec<u8>, Vec<u8>> = draft.env.into_iter().collect();
    for (output, kind) in &outputs {
        if matches!(kind, Output::Floating { .. } | Output::Impure { .. }) {
            env.insert(output.clone().into_bytes(), own_placeholder(output.as_bytes()));
        }
    }
    let mut derivation = Derivation {
        name: store_name,
        outputs,
        input_derivations: BTreeMap::new(),
        input_sources: BTreeSet::new(),
        system,
        builder,
        args: draft.args,
        env,
    };
    add_inputs(ev, context.finish(), &mut derivation)?;

    let failed = |error: DerivationError| Error::other("lang::derivation", error.to_string());
    let shared = ev.shared.clone();
    let load = |path: &StorePath| {
        shared
            .host
            .read_derivation(path)
            .map_err(|error| DerivationError::Load { path: model.print(path), reason: error.to_string() })
    };
    let (path, text) = derivation.complete(model, &shared.hashes, load).map_err(failed)?;
    if shared.options.write {
        shared.host.write_derivation(&path, &derivation, &text)?;
    }

    let path_text = model.print(&path);
    let path_symbol = Symbol::new(path_text.as_bytes());
    ev.store_paths.insert(path_symbol, path.clone());
    let mut attrs = vec![Attr {
        name: ev.shared.names.drv_path,
        pos: Pos::NONE,
        value: Value::string_with_context(
            path_text.as_bytes(),
            Context::one(ContextElement::DerivationDeep(path_symbol)),
        ),
    }];
    for (output, output_path) in derivation.output_paths(model).map_err(failed)? {
        let text = match output_path {
            Some(output_path) => model.print(&output_path).into_bytes(),
            None => downstream_placeholder(&path, &output)?,
        };
        let output = Symbol::new(output.as_bytes());
        let context = Context::one(ContextElement::Built { derivation: path_symbol, output });
        let value = Value::string_with_context(&text, context);
        attrs.push(Attr { name: output, pos: Pos::NONE, value });
    }
    Ok(Value::attrs(attrs))
}

fn read_attributes(ev: &mut Evaluator, set: Attrs, name: &str, context: &mut ContextBuilder) -> Result<Draft> {
    let flag = |ev: &mut Evaluator, name: &[u8]| match set.get(Symbol::new(name)) {
        Some(value) => ev.expect_forced_bool(value),
        None => Ok(false),
    };
    let structured = flag(ev, b"__structuredAttrs")?;
    let ignore_nulls = flag(ev, b"__ignoreNulls")?;
    let mut draft = Draft {
        content_addressed: flag(ev, b"__contentAddressed")?,
        impure: flag(ev, b"__impure")?,
        ..Draft::default()
    };
    let features = ev.shared.options.features;
    require(features.ca_derivations || !draft.content_addressed, "ca-derivations")?;
    require(features.impure_derivations || !draft.impure, "impure-derivations")?;
    if draft.content_addressed && draft.impure {
        return Err(Error::other("lang::derivation", "derivation cannot be both content-addressed and impure"));
    }
    let mut json: Vec<u8> = b"{".to_vec();
    for attr in set.sorted() {
        let key = attr.name.name();
        if ignore_nulls && ev.force(attr.value)?.is_null() {
            continue;
        }
        // Nix leaves these out of the environment, regardless of their value.
        if matches!(key, b"__ignoreNulls" | b"__contentAddressed" | b"__impure") {
            continue;
        }
        let read = read_attribute(ev, attr, structured, &mut draft, &mut json, context);
        read.map_err(|error| {
            let what = format!("while evaluating attribute '{}' of derivation '{name}'", lossy(key));
            error.at(attr.pos, key.len() as u32).frame(attr.pos, FrameKind::Note(what))
        })?;
    }
    if structured {
        json.push(b'}');
        draft.env.push((b"__json".to_vec(), json));
    }
    if let Some(outputs) = &draft.outputs {
        for (index, output) in outputs.iter().enumerate() {
            if outputs[..index].contains(output) {
                return Err(Error::other("lang::derivation", format!("duplicate derivation output '{output}'")));
            }
            // `drvPath` is another attribute of the result, and `drv` means the derivation in
            // references.
            if matches!(output.as_str(), "drv" | "drvPath") {
                return Err(Error::other("lang::derivation", format!("invalid derivation output name '{output}'")));
            }
        }
        if outputs.is_empty() {
            return Err(Error::other("lang::derivation", "derivation cannot have an empty set of outputs"));
        }
    }
    Ok(draft)
}

fn read_attribute(
    ev: &mut Evaluator,
    attr: Attr,
    structured: bool,
    draft: &mut Draft,
    json: &mut Vec<u8>,
    context: &mut ContextBuilder,
) -> Result<()> {
    let key = attr.name.name();
    let how = Coercion { copy_to_store: true, more: true };
    if key == b"args" {
        for &argument in ev.expect_list(attr.value)?.values() {
            let mut text = Vec::new();
            ev.coerce(argument, how, &mut text, context)?;
            draft.args.push(text);
        }
        return Ok(());
    }
    if structured {
        if key == b"__structuredAttrs" {
            return Ok(());
        }
        if json.len() > 1 {
            json.push(b',');
        }
        super::json::write_text(key, json)?;
        json.push(b':');
        ev.write_json(attr.value, true, json, context)?;
        let special: &[&[u8]] = &[b"builder", b"system", b"outputHash", b"outputHashAlgo", b"outputHashMode"];
        if key == b"outputs" {
            let mut outputs = Vec::new();
            for &output in ev.expect_list(attr.value)?.values() {
                outputs.push(lossy(ev.expect_string(output)?.bytes()));
            }
            draft.outputs = Some(outputs);
        } else if special.contains(&key) {
            let text = ev.expect_string(attr.value)?;
            context.add(text.context());
            set_special(draft, key, text.bytes())?;
        }
        return Ok(());
    }
    let mut text = Vec::new();
    ev.coerce(attr.value, how, &mut text, context)?;
    if key == b"outputs" {
        let words = lossy(&text);
        draft.outputs = Some(words.split_ascii_whitespace().map(str::to_owned).collect());
    } else {
        set_special(draft, key, &text)?;
    }
    draft.env.push((key.to_vec(), text));
    Ok(())
}

fn set_special(draft: &mut Draft, key: &[u8], text: &[u8]) -> Result<()> {
    match key {
        b"builder" => draft.builder = Some(text.to_vec()),
        b"system" => draft.system = Some(text.to_vec()),
        b"outputHash" => draft.output_hash = Some(lossy(text)),
        b"outputHashAlgo" => draft.output_hash_algorithm = Some(lossy(text)),
        b"outputHashMode" => {
            let mode = lossy(text);
            ingestion(&mode)?;
            draft.output_hash_mode = Some(mode);
        }
        _ => {}
    }
    Ok(())
}

/// Parses `outputHashMode`.
fn ingestion(mode: &str) -> Result<Ingestion> {
    match mode {
        "flat" => Ok(Ingestion::Flat),
        "recursive" | "nar" => Ok(Ingestion::Recursive),
        "text" => Ok(Ingestion::Text),
        other => {
            Err(Error::other("lang::derivation", format!("invalid value '{other}' for 'outputHashMode' attribute")))
        }
    }
}

/// Parses `outputHashAlgo`; `None` when the hash itself names its algorithm.
fn output_algorithm(name: &str) -> Result<Option<HashAlgorithm>> {
    match name {
        "" => Ok(None),
        name => name
            .parse()
            .map(Some)
            .map_err(|_| Error::other("lang::hash_algorithm", format!("unknown hash algorithm '{name}'"))),
    }
}

/// Returns the method and algorithm that hash outputs of unknown content: by default NAR and
/// SHA-256.
fn floating_output(algorithm: &str, mode: Option<&str>) -> Result<(Ingestion, HashAlgorithm)> {
    let ingestion = mode.map_or(Ok(Ingestion::Recursive), ingestion)?;
    Ok((ingestion, output_algorithm(algorithm)?.unwrap_or(HashAlgorithm::Sha256)))
}

/// Returns the text that stands for an output's path inside its own build.
fn own_placeholder(output: &[u8]) -> Vec<u8> {
    let hash = HashAlgorithm::Sha256.hash(&[b"nix-output:", output].concat());
    format!("/{}", hash.base32()).into_bytes()
}

/// Returns the text that stands for the path of a content-addressed output in its dependents, until
/// it is built.
pub(super) fn downstream_placeholder(drv: &StorePath, output: &str) -> Result<Vec<u8>> {
    let failed = |error: String| Error::other("lang::derivation", error);
    let name = model::derivation::name_of_path(drv).map_err(|error| failed(error.to_string()))?;
    let name = match output {
        "out" => name.to_string(),
        output => format!("{name}-{output}"),
    };
    let text = format!("nix-upstream-output:{}:{name}", drv.hash_text());
    Ok(format!("/{}", HashAlgorithm::Sha256.hash(text.as_bytes()).base32()).into_bytes())
}

fn fixed_output(ev: &Evaluator, hash: &str, algorithm: &str, mode: &str) -> Result<(Ingestion, Hash)> {
    let ingestion = if mode.is_empty() { Ingestion::Flat } else { ingestion(mode)? };
    let algorithm = output_algorithm(algorithm)?;
    if hash.is_empty() {
        // As in Nix, an empty hash means zeros, and the failing build then reports the right one.
        let algorithm = algorithm.ok_or_else(|| {
            Error::other("lang::hash", "empty hash requires explicit hash algorithm").help("set `outputHashAlgo`")
        })?;
        let zeros = vec![0; algorithm.digest_len()];
        let hash = Hash::new(algorithm, &zeros).expect("the digest has the algorithm's length");
        ev.shared.host.message(Severity::Warning, &format!("found empty hash, assuming '{}'", hash.sri()));
        return Ok((ingestion, hash));
    }
    let hash = Hash::parse(hash, algorithm).map_err(|error| Error::other("lang::hash", error.to_string()))?;
    Ok((ingestion, hash))
}

fn add_inputs(ev: &mut Evaluator, context: Context, derivation: &mut Derivation) -> Result<()> {
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

impl Evaluator {
    /// Returns the store path that a context element names.
    fn store_path_of_element(&mut self, element: ContextElement) -> Result<StorePath> {
        let symbol = element.symbol();
        if let Some(path) = self.store_paths.get(&symbol) {
            return Ok(path.clone());
        }
        let path = self.store_path_of(symbol.name())?;
        self.store_paths.insert(symbol, path.clone());
        Ok(path)
    }

    /// Parses a store path.
    pub(crate) fn store_path_of(&self, text: &[u8]) -> Result<StorePath> {
        let text = lossy(text);
        self.shared
            .options
            .store_model
            .parse(&text)
            .map_err(|error| Error::other("lang::store_path", error.to_string()))
    }
}

pub(super) fn placeholder(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let output = ev.expect_plain(arguments[0])?;
    Ok(Value::string(&own_placeholder(output)))
}
