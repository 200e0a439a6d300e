//! Builtins over string contexts.

use super::expect::lossy;
use crate::error::{Error, Result};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::{Attr, Context, ContextElement, Value};
use crate::vm::Evaluator;
use std::collections::BTreeMap;

pub(super) fn has_context(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    Ok(Value::bool(!ev.expect_string(arguments[0])?.context().is_empty()))
}

pub(super) fn discard(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.text_in_store(arguments[0])?;
    if text.context().is_empty() {
        return Ok(text.value());
    }
    Ok(Value::string(text.bytes()))
}

pub(super) fn discard_output_dependency(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.text_in_store(arguments[0])?;
    let elements = text
        .context()
        .elements()
        .iter()
        .map(|&element| match element {
            ContextElement::DerivationDeep(path) => ContextElement::Opaque(path),
            other => other,
        })
        .collect();
    Ok(Value::string_with_context(text.bytes(), Context::from_elements(elements)))
}

pub(super) fn add_drv_output_dependencies(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.text_in_store(arguments[0])?;
    let shown = lossy(text.bytes());
    let [element] = text.context().elements() else {
        return Err(Error::other(
            "lang::context",
            format!(
                "context of string '{shown}' must have exactly one element, but has {}",
                text.context().elements().len()
            ),
        ));
    };
    let element = match *element {
        ContextElement::DerivationDeep(_) => *element,
        ContextElement::Opaque(path) if path.name().ends_with(b".drv") => ContextElement::DerivationDeep(path),
        ContextElement::Opaque(path) => {
            return Err(Error::other("lang::context", format!("path '{}' is not a derivation", lossy(path.name()))));
        }
        ContextElement::Built { output, .. } => {
            return Err(Error::other(
                "lang::context",
                format!(
                    "`addDrvOutputDependencies` can only act on derivations, not on a derivation output such as '{}'",
                    lossy(output.name())
                ),
            ));
        }
    };
    Ok(Value::string_with_context(text.bytes(), Context::one(element)))
}

#[derive(Default)]
struct PathContext {
    path: bool,
    all_outputs: bool,
    outputs: Vec<Symbol>,
}

pub(super) fn get_context(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.expect_string(arguments[0])?;
    let mut infos: BTreeMap<Symbol, PathContext> = BTreeMap::new();
    for &element in text.context().elements() {
        match element {
            ContextElement::Opaque(path) => infos.entry(path).or_default().path = true,
            ContextElement::DerivationDeep(path) => infos.entry(path).or_default().all_outputs = true,
            ContextElement::Built { derivation, output } => {
                infos.entry(derivation).or_default().outputs.push(output);
            }
        }
    }
    let attr = |name: &[u8], value| Attr { name: Symbol::new(name), pos: Pos::NONE, value };
    let members = infos.into_iter().map(|(path, mut info)| {
        let mut members = Vec::new();
        if info.path {
            members.push(attr(b"path", Value::TRUE));
        }
        if info.all_outputs {
            members.push(attr(b"allOutputs", Value::TRUE));
        }
        if !info.outputs.is_empty() {
            info.outputs.sort_unstable_by_key(|output| output.name());
            let outputs: Vec<Value> = info.outputs.iter().map(|output| output.value()).collect();
            members.push(attr(b"outputs", Value::list(&outputs)));
        }
        Attr { name: path, pos: Pos::NONE, value: Value::attrs(members) }
    });
    Ok(Value::attrs(members.collect()))
}

pub(super) fn append_context(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.expect_string(arguments[0])?;
    let set = ev.expect_attrs(arguments[1])?;
    let mut elements = text.context().elements().to_vec();
    let model = ev.shared.options.store_model;
    for attr in set.sorted() {
        let path = lossy(attr.name.name());
        if model.parse(&path).is_err() {
            return Err(Error::other("lang::context", format!("context key '{path}' is not a store path")));
        }
        let info = ev.expect_attrs(attr.value)?;
        let is_derivation = path.ends_with(".drv");
        let not_derivation = |what: &str| {
            Error::other(
                "lang::context",
                format!("tried to add {what} context of {path}, which is not a derivation, to a string"),
            )
        };
        if let Some(flag) = info.get(ev.shared.names.path)
            && ev.expect_forced_bool(flag)?
        {
            elements.push(ContextElement::Opaque(attr.name));
        }
        if let Some(flag) = info.get(Symbol::new(b"allOutputs"))
            && ev.expect_forced_bool(flag)?
        {
            if !is_derivation {
                return Err(not_derivation("all-outputs"));
            }
            elements.push(ContextElement::DerivationDeep(attr.name));
        }
        if let Some(outputs) = info.get(ev.shared.names.outputs) {
            let outputs = ev.expect_list(outputs)?;
            if !outputs.is_empty() && !is_derivation {
                return Err(not_derivation("derivation output"));
            }
            for &output in outputs.values() {
                let output = Symbol::new(ev.expect_plain(output)?);
                elements.push(ContextElement::Built { derivation: attr.name, output });
            }
        }
    }
    Ok(Value::string_with_context(text.bytes(), Context::from_elements(elements)))
}

pub(super) fn output_of(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.text_of(arguments[0])?;
    let output = Symbol::new(ev.expect_plain(arguments[1])?);
    let [ContextElement::Opaque(derivation) | ContextElement::DerivationDeep(derivation)] = text.context().elements()
    else {
        return Err(Error::other(
            "lang::context",
            "'builtins.outputOf' needs a string that refers to one derivation and nothing else",
        ));
    };
    let model = ev.shared.options.store_model;
    let path =
        model.parse(&lossy(derivation.name())).map_err(|error| Error::other("lang::store_path", error.to_string()))?;
    let known = ev.shared.host.read_derivation(&path)?;
    let name = lossy(output.name());
    let Some(path) =
        known.output_path(model, &name).map_err(|error| Error::other("lang::derivation", error.to_string()))?
    else {
        return Err(Error::other(
            "lang::derivation",
            format!("the path of output '{name}' of '{}' is not known before it is built", lossy(derivation.name())),
        ));
    };
    let context = Context::one(ContextElement::Built { derivation: *derivation, output });
    Ok(Value::string_with_context(model.print(&path).as_bytes(), context))
}
