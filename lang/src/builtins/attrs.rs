//! Builtins over attribute sets.

use super::lists::APPLY_2;
use crate::error::Result;
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::attrs::Shape;
use crate::value::{Attr, Value};
use crate::vm::Evaluator;
use crate::vm::inspect::missing_attribute;
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

pub(super) fn attr_names(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let names: Vec<Value> = set.sorted().map(|attr| ev.symbol_string(attr.name)).collect();
    Ok(Value::list(&names))
}

pub(super) fn attr_values(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let values: Vec<Value> = set.sorted().map(|attr| attr.value).collect();
    Ok(Value::list(&values))
}

pub(super) fn get_attr(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let name = ev.expect_plain(arguments[0])?;
    let set = ev.force(arguments[1])?;
    ev.select_slow(set, Symbol::new(name))
}

pub(super) fn has_attr(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let name = ev.expect_plain(arguments[0])?;
    let set = ev.expect_attrs(arguments[1])?;
    Ok(Value::bool(set.contains(Symbol::new(name))))
}

pub(super) fn unsafe_get_attr_pos(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let name = ev.expect_plain(arguments[0])?;
    let set = ev.expect_attrs(arguments[1])?;
    Ok(match set.get_attr(Symbol::new(name)) {
        Some(attr) => ev.position_value(attr.pos),
        None => Value::NULL,
    })
}

impl Evaluator {
    /// Returns `{ file, line, column }`, or null for a position outside of files.
    pub(crate) fn position_value(&mut self, pos: Pos) -> Value {
        let Some((file, line, column)) = self.locate(pos) else { return Value::NULL };
        if file.starts_with('«') {
            return Value::NULL;
        }
        let attr = |name: &[u8], value| Attr { name: Symbol::new(name), pos: Pos::NONE, value };
        Value::attrs(vec![
            attr(b"file", Value::string(file.as_bytes())),
            attr(b"line", Value::int(i64::from(line))),
            attr(b"column", Value::int(i64::from(column))),
        ])
    }

    /// Returns a name as a string value.
    pub(crate) fn symbol_string(&mut self, name: Symbol) -> Value {
        name.value()
    }
}

pub(super) fn remove_attrs(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let list = ev.expect_list(arguments[1])?;
    let mut names: Vec<Symbol> = Vec::with_capacity(list.len());
    for &name in list.values() {
        names.push(Symbol::new(ev.expect_plain(name)?));
    }
    names.retain(|&name| set.contains(name));
    if names.is_empty() {
        return Ok(set.value());
    }
    names.sort_unstable();
    names.dedup();
    Ok(set.without(&names))
}

pub(super) fn list_to_attrs(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[0])?;
    let (name_symbol, value_symbol) = (ev.shared.names.name, ev.shared.names.value);
    let mut attrs = Vec::with_capacity(list.len());
    let mut seen: HashSet<Symbol, FxBuildHasher> = HashSet::default();
    for &item in list.values() {
        let item = ev.force(item)?;
        let name = ev.select_slow(item, name_symbol)?;
        let name = Symbol::new(ev.expect_plain(name)?);
        if !seen.insert(name) {
            continue;
        }
        let set = ev.expect_attrs(item)?;
        let Some(value) = set.get_attr(value_symbol) else {
            return Err(missing_attribute(set, value_symbol));
        };
        attrs.push(Attr { name, pos: value.pos, value: value.value });
    }
    Ok(Value::attrs(attrs))
}

pub(super) fn intersect_attrs(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let left = ev.expect_attrs(arguments[0])?;
    let right = ev.expect_attrs(arguments[1])?;
    // Walk the smaller side. Look names up in a large layered right side instead of merging its
    // layers.
    let left_len = left.len();
    let kept: Vec<Attr> = match right.shape_if_flat() {
        Some(shape) if shape.len() <= left_len => {
            let kept: Vec<Attr> = right.iter().filter(|attr| left.contains(attr.name)).collect();
            if kept.len() == shape.len() {
                return Ok(right.value());
            }
            kept
        }
        _ => left.iter().filter_map(|attr| right.get_attr(attr.name)).collect(),
    };
    Ok(Value::attrs_sorted(&kept))
}

pub(super) fn cat_attrs(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let name = Symbol::new(ev.expect_plain(arguments[0])?);
    let list = ev.expect_list(arguments[1])?;
    let mut found = Vec::new();
    for &item in list.values() {
        found.extend(ev.expect_attrs(item)?.get(name));
    }
    Ok(Value::list(&found))
}

pub(super) fn map_attrs(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[1])?;
    let flat = set.flat();
    let function = arguments[0];
    let names = flat.shape.names();
    // As in Nix, the new attributes have no positions.
    let shape = if flat.shape.positions().iter().all(|pos| pos.is_none()) {
        flat.shape
    } else {
        Shape::shared(names.len(), names.iter().map(|&name| (name, Pos::NONE)))
    };
    Ok(Value::attrs_from_fn(shape, |index| {
        Value::thunk(&APPLY_2, &[function, names[index].value(), flat.values[index]])
    }))
}

pub(super) fn zip_attrs_with(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let function = ev.expect_function(arguments[0])?;
    let list = ev.expect_list(arguments[1])?;
    let mut groups: HashMap<Symbol, Vec<Value>, FxBuildHasher> = HashMap::default();
    let mut order = Vec::new();
    for &item in list.values() {
        for attr in ev.expect_attrs(item)?.iter() {
            groups
                .entry(attr.name)
                .or_insert_with(|| {
                    order.push(attr.name);
                    Vec::new()
                })
                .push(attr.value);
        }
    }
    Ok(Value::attrs(
        order
            .into_iter()
            .map(|name| {
                let values = Value::list(&groups[&name]);
                let value = Value::thunk(&APPLY_2, &[function, name.value(), values]);
                Attr { name, pos: Pos::NONE, value }
            })
            .collect(),
    ))
}

pub(super) fn function_args(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let value = ev.force(arguments[0])?;
    if ev.expect_function(value).is_err() || value.as_attrs().is_some() {
        return Err(crate::error::Error::type_mismatch("'functionArgs' requires a function"));
    }
    let formals = ev.formal_positions(value);
    Ok(Value::attrs(
        formals.into_iter().map(|(name, pos, optional)| Attr { name, pos, value: Value::bool(optional) }).collect(),
    ))
}
