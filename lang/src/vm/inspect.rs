//! Queries of embedders about values.

use super::Evaluator;
use crate::compile::code::DefaultValue;
use crate::error::{Error, ErrorKind, Mark, Result};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::text::attr_path::AttrPath;
use crate::value::{Attr, Attrs, Str, Value, View};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A derivation, as the attributes of a value describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivationRef {
    /// Logical path of the `.drv`.
    pub drv_path: String,
    pub name: String,
    /// The output of which the value is the path.
    pub output_name: String,
    pub outputs: Vec<String>,
}

/// Returns the error for an attribute that a set lacks.
#[cold]
#[inline(never)]
pub(crate) fn missing_attribute(set: Attrs, name: Symbol) -> Error {
    let first = set.iter().filter(|attr| !attr.pos.is_none()).min_by_key(|attr| attr.pos);
    let defined = first.map(|attr| Mark { pos: attr.pos, len: attr.name.name().len() as u32 });
    let error = Error::new(ErrorKind::MissingAttribute { name, set: defined });
    if set.contains(Symbol::new(b"langVersion"))
        && let Some(reason) = crate::error::absent::why_absent(name.name())
    {
        return error.help(reason);
    }
    error.suggest(name, set.iter().map(|attr| attr.name))
}

impl Evaluator {
    /// Returns the member at a path such as `a.b."c.d".2`. Numbers index lists; functions on the
    /// way are called with their defaults.
    pub fn select_path(&mut self, value: Value, path: &str) -> Result<Value> {
        self.select_path_with(value, path, &[])
    }

    /// Like [`Evaluator::select_path`]; functions on the way, but not the member itself, are called
    /// with those of `arguments` that they name.
    pub fn select_path_with(&mut self, value: Value, path: &str, arguments: &[(Symbol, Value)]) -> Result<Value> {
        let mut value = self.force(value)?;
        for part in split_attr_path(path)? {
            value = self.auto_call(value, arguments)?;
            let index: Option<usize> = part.parse().ok();
            let member = match (value.view(), index) {
                (View::Attrs(set), _) if index.is_none() || set.contains(Symbol::new(part.as_bytes())) => {
                    let name = Symbol::new(part.as_bytes());
                    set.get(name).ok_or_else(|| {
                        let text = format!("attribute '{part}' in selection path '{path}' not found");
                        let error = Error::other("lang::missing_attribute", text);
                        error.suggest(name, set.iter().map(|attr| attr.name))
                    })?
                }
                (View::List(list), Some(index)) => list.values().get(index).copied().ok_or_else(|| {
                    Error::other(
                        "lang::list_index",
                        format!("list index {index} in selection path '{path}' is out of range"),
                    )
                })?,
                _ => {
                    let wanted = if index.is_some() { "list" } else { "set" };
                    return Err(Error::type_mismatch(format!(
                        "the expression selected by the selection path '{path}' should be a {wanted} but is {}",
                        crate::value::type_with_article(value)
                    )));
                }
            };
            value = self.force(member)?;
        }
        Ok(value)
    }

    /// Calls a function that has a pattern, with those of `arguments` that the pattern names, and
    /// its own defaults. Returns all other values unchanged.
    pub fn auto_call(&mut self, value: Value, arguments: &[(Symbol, Value)]) -> Result<Value> {
        let value = self.force(value)?;
        match value.view() {
            View::Attrs(set) => match set.get(self.shared.names.functor) {
                Some(functor) => {
                    let function = self.call(functor, &[value])?;
                    self.on_large_stack(|ev| ev.nested(|ev| ev.auto_call(function, arguments)))
                }
                None => Ok(value),
            },
            View::Function(function) if function.code().arity == 1 => {
                let code = function.code().compiled();
                let Some(pattern) = code.pattern else { return Ok(value) };
                let pattern = code.module.pattern(pattern);
                let mut given: Vec<Attr> = Vec::new();
                if pattern.ellipsis {
                    given.extend(arguments.iter().map(|&(name, value)| Attr { name, pos: Default::default(), value }));
                } else {
                    for formal in &pattern.formals {
                        if let Some(&(name, value)) = arguments.iter().find(|(name, _)| *name == formal.name) {
                            given.push(Attr { name, pos: Default::default(), value });
                        } else if matches!(formal.default, DefaultValue::Required) {
                            let name = String::from_utf8_lossy(formal.name.name()).into_owned();
                            return Err(Error::other(
                                "lang::missing_argument",
                                format!("cannot evaluate a function that has an argument without a value ('{name}')"),
                            )
                            .help(format!("give it with `--arg {name} VALUE` or `--argstr {name} TEXT`"))
                            .at(formal.pos, 1));
                        }
                    }
                }
                self.call(value, &[Value::attrs(given)])
            }
            _ => Ok(value),
        }
    }

    /// Returns the derivation that a value is, if it is one.
    pub fn derivation_of(&mut self, value: Value) -> Result<Option<DerivationRef>> {
        let value = self.force(value)?;
        if !self.is_derivation(value)? {
            return Ok(None);
        }
        let names = &self.shared.names;
        let (drv_path, name, output_name, outputs) = (names.drv_path, names.name, names.output_name, names.outputs);
        let drv_path = self.select_slow(value, drv_path)?;
        let drv_path = self.string_of(drv_path)?;
        let name = match value.as_attrs().and_then(|set| set.get(name)) {
            Some(name) => self.string_of(name)?,
            None => String::new(),
        };
        let output_name = match value.as_attrs().and_then(|set| set.get(output_name)) {
            Some(output) => self.string_of(output)?,
            None => "out".to_owned(),
        };
        let outputs = match value.as_attrs().and_then(|set| set.get(outputs)) {
            Some(outputs) => self.strings_of(outputs)?,
            None => vec![output_name.clone()],
        };
        Ok(Some(DerivationRef { drv_path, name, output_name, outputs }))
    }

    /// Returns the value as a plain string, coerced as by interpolation.
    pub fn string_of(&mut self, value: Value) -> Result<String> {
        let text = self.coerce_str(value)?;
        Ok(String::from_utf8_lossy(text.bytes()).into_owned())
    }

    /// Returns the value as a string with its context, coerced as by interpolation (which copies
    /// paths to the store).
    pub fn coerce_str(&mut self, value: Value) -> Result<Str> {
        self.on_large_stack(|ev| ev.text_in_store(value))
    }

    pub fn strings_of(&mut self, value: Value) -> Result<Vec<String>> {
        let value = self.force(value)?;
        let Some(list) = value.as_list() else { return Err(self.mismatch("a list", value)) };
        list.values().iter().map(|&element| self.string_of(element)).collect()
    }

    /// Returns the attribute `name` of a set, in head form.
    pub fn attr(&mut self, value: Value, name: &str) -> Result<Option<Value>> {
        let value = self.force(value)?;
        match value.as_attrs().and_then(|set| set.get(Symbol::new(name.as_bytes()))) {
            Some(member) => Ok(Some(self.force(member)?)),
            None => Ok(None),
        }
    }

    /// Returns the position and parameters of a function; `None` for builtins.
    pub(crate) fn function_info(&self, value: Value) -> Option<FunctionInfo> {
        let (code, given) = match value.view() {
            View::Function(function) => (function.code().compiled(), 0),
            View::Partial(partial) => (partial.function().as_function()?.code().compiled(), partial.arguments().len()),
            _ => return None,
        };
        let pattern = code.pattern.filter(|_| given + 1 == code.arity as usize);
        let formals = pattern.map(|pattern| {
            let pattern = code.module.pattern(pattern);
            (pattern.formals.iter().map(|formal| formal.name).collect(), pattern.ellipsis)
        });
        let (argument, pos) = code.arguments.get(given).copied().unwrap_or((None, code.pos));
        Some(FunctionInfo { pos, argument, formals })
    }

    /// Returns the file and line where a value is defined: that of a function, the `meta.position`
    /// of a package, or a file itself.
    ///
    /// # Errors
    /// When `meta.position` does not evaluate.
    pub fn definition_of(&mut self, value: Value) -> Result<Option<(PathBuf, u32)>> {
        let value = self.force(value)?;
        if let Some(path) = value.as_path() {
            return Ok(Some((PathBuf::from(OsStr::from_bytes(path.bytes())), 1)));
        }
        if let Some(info) = self.function_info(value) {
            let place = self.locate(info.pos).filter(|(file, ..)| file.starts_with('/'));
            return Ok(place.map(|(file, line, _)| (PathBuf::from(file), line)));
        }
        let Some(meta) = self.attr_of_set(value, "meta")? else { return Ok(None) };
        let Some(position) = self.attr_of_set(meta, "position")? else { return Ok(None) };
        let position = self.string_of(position)?;
        Ok(match position.rsplit_once(':') {
            Some((file, line)) => line.parse().ok().map(|line| (PathBuf::from(file), line)),
            None => None,
        })
    }

    /// Returns an attribute in head form, if the value is a set that has it.
    fn attr_of_set(&mut self, value: Value, name: &str) -> Result<Option<Value>> {
        if value.as_attrs().is_some() { self.attr(value, name) } else { Ok(None) }
    }

    /// Returns the names of a function's pattern, with position, and true for those with a default.
    pub fn formal_positions(&mut self, value: Value) -> Vec<(Symbol, Pos, bool)> {
        let code = match value.view() {
            View::Function(function) if function.code().arity == 1 => Some(function.code().compiled()),
            View::Partial(partial) => partial
                .function()
                .as_function()
                .map(|function| function.code().compiled())
                .filter(|code| partial.arguments().len() + 1 == code.arity as usize),
            _ => None,
        };
        let Some((code, pattern)) = code.and_then(|code| Some((code, code.pattern?))) else { return Vec::new() };
        code.module
            .pattern(pattern)
            .formals
            .iter()
            .map(|formal| (formal.name, formal.pos, !matches!(formal.default, DefaultValue::Required)))
            .collect()
    }
}

pub(crate) struct FunctionInfo {
    pub pos: Pos,
    pub argument: Option<Symbol>,
    /// Names of the pattern, and true when it has an ellipsis.
    pub formals: Option<(Vec<Symbol>, bool)>,
}

/// Splits `a."b.c".d`.
fn split_attr_path(path: &str) -> Result<Vec<String>> {
    let parsed = AttrPath::parse(path).map_err(|error| Error::other("lang::attr_path", error.to_string()))?;
    Ok(parsed.into_names())
}
