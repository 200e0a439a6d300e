//! `derivation`: from a set to a store derivation.
//!
//! `derivation` itself only adds lazy attributes; `derivationStrict` evaluates everything, computes
//! the paths and hands the `.drv` to the host.

mod attributes;
mod inputs;
mod outputs;

use self::attributes::read_attributes;
use self::inputs::add_inputs;
use self::outputs::{fixed_output, floating_output, own_placeholder};
use super::expect::lossy;
use crate::compile::code::Code;
use crate::error::{Error, FrameKind, Result};
use crate::host::HostError;
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::{Attr, Attrs, Context, ContextBuilder, ContextElement, Str, Value};
use crate::vm::Evaluator;
use model::derivation::DerivationError;
use model::{Derivation, Output, StorePath, StorePathName};
use std::collections::{BTreeMap, BTreeSet};

pub(super) use outputs::downstream_placeholder;

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
    let mut unreadable = None;
    let load = |path: &StorePath| {
        shared.host.read_derivation(path).map_err(|error| {
            let reason = error.to_string();
            unreadable = Some(error);
            DerivationError::Load { path: model.print(path), reason }
        })
    };
    let completed = derivation.complete(model, &shared.hashes, load);
    let (path, text) = completed.map_err(|error| match unreadable {
        // The code, help and cause are those of the host.
        Some(host) => HostError { message: error.to_string(), ..host }.into(),
        None => failed(error),
    })?;
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
