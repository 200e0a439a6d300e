//! Builtins over lists.

use crate::compile::code::{Body, Code};
use crate::compile::op::{Op, Reg};
use crate::error::{Error, FrameKind, Result};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::{Attr, Value, View};
use crate::vm::Evaluator;
use crate::vm::inspect::missing_attribute;
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;
use std::cmp::Ordering;

/// Suspended `f x`.
pub(crate) static APPLY: Code = Code::native(2, |ev, captures| ev.apply(captures[0], &captures[1..]));
/// Suspended `f x y`.
pub(crate) static APPLY_2: Code = Code::native(3, |ev, captures| ev.apply(captures[0], &captures[1..]));

/// Words of an element that is a suspended call: the element itself and a thunk with two captures.
const APPLIED_WORDS: usize = 4;

pub(super) fn length(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    Ok(Value::int(ev.expect_list(arguments[0])?.len() as i64))
}

pub(super) fn head(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    match ev.expect_list(arguments[0])?.values().first() {
        Some(&value) => Ok(value),
        None => Err(Error::other("lang::empty_list", "'builtins.head' called on an empty list")),
    }
}

pub(super) fn tail(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[0])?;
    if list.is_empty() {
        return Err(Error::other("lang::empty_list", "'builtins.tail' called on an empty list"));
    }
    Ok(Value::list_slice(list, 1))
}

pub(super) fn elem_at(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[0])?;
    let index = ev.expect_int(arguments[1])?;
    match usize::try_from(index).ok().and_then(|index| list.values().get(index)) {
        Some(&value) => Ok(value),
        None => Err(Error::other(
            "lang::list_index",
            format!("'builtins.elemAt' called with index {index} on a list of size {}", list.len()),
        )),
    }
}

pub(super) fn elem(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[1])?;
    for &value in list.values() {
        if ev.equal(arguments[0], value)? {
            return Ok(Value::TRUE);
        }
    }
    Ok(Value::FALSE)
}

/// Returns true when a function returns its argument unchanged, so its values need no thunks.
fn is_identity(function: Value) -> bool {
    function.as_function().is_some_and(|function| {
        let code = function.code();
        code.arity == 1 && matches!(code.body, Body::Ops([Op::Return { src: Reg::FIRST }]))
    })
}

pub(super) fn map(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[1])?;
    if list.is_empty() {
        return Ok(list.value());
    }
    let function = ev.expect_function(arguments[0])?;
    let values = list.values();
    ev.expect_room_for(values.len().saturating_mul(APPLIED_WORDS))?;
    Ok(Value::list_from_fn(values.len(), |index| Value::thunk(&APPLY, &[function, values[index]])))
}

pub(super) fn gen_list(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let len = ev.expect_int(arguments[1])?;
    let Ok(len) = usize::try_from(len) else {
        return Err(Error::other("lang::list_length", format!("cannot create list of size {len}")));
    };
    if len > 1 << 40 {
        return Err(Error::other("lang::list_length", format!("cannot create list of size {len}")));
    }
    let function = ev.expect_function(arguments[0])?;
    ev.expect_room_for(len.saturating_mul(APPLIED_WORDS))?;
    if is_identity(function) {
        return Ok(Value::list_from_fn(len, |index| Value::int(index as i64)));
    }
    Ok(Value::list_from_fn(len, |index| Value::thunk(&APPLY, &[function, Value::int(index as i64)])))
}

pub(super) fn filter(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[1])?;
    if list.is_empty() {
        return Ok(list.value());
    }
    let function = ev.expect_function(arguments[0])?;
    let mut kept = Vec::with_capacity(list.len());
    for &value in list.values() {
        let keep = ev.call(function, &[value])?;
        if ev.expect_bool(keep)? {
            kept.push(value);
        }
    }
    Ok(if kept.len() == list.len() { list.value() } else { Value::list(&kept) })
}

pub(super) fn partition(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let function = ev.expect_function(arguments[0])?;
    let list = ev.expect_list(arguments[1])?;
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for &value in list.values() {
        let keep = ev.call(function, &[value])?;
        if ev.expect_bool(keep)? { right.push(value) } else { wrong.push(value) }
    }
    let attr =
        |name: &[u8], values: &[Value]| Attr { name: Symbol::new(name), pos: Pos::NONE, value: Value::list(values) };
    Ok(Value::attrs(vec![attr(b"right", &right), attr(b"wrong", &wrong)]))
}

pub(super) fn all(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    quantify(ev, arguments, false)
}

pub(super) fn any(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    quantify(ev, arguments, true)
}

/// Returns `wanted` when the predicate gives it for some element, and its negation otherwise.
fn quantify(ev: &mut Evaluator, arguments: &[Value], wanted: bool) -> Result<Value> {
    let function = ev.expect_function(arguments[0])?;
    let list = ev.expect_list(arguments[1])?;
    for &value in list.values() {
        let holds = ev.call(function, &[value])?;
        if ev.expect_bool(holds)? == wanted {
            return Ok(Value::bool(wanted));
        }
    }
    Ok(Value::bool(!wanted))
}

pub(super) fn foldl(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let function = ev.expect_function(arguments[0])?;
    let list = ev.expect_list(arguments[2])?;
    let mut accumulator = arguments[1];
    for &value in list.values() {
        accumulator = ev.call(function, &[accumulator, value])?;
    }
    ev.force(accumulator)
}

pub(super) fn concat_lists(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[0])?;
    let mut parts = Vec::with_capacity(list.len());
    for &value in list.values() {
        parts.push(ev.expect_list(value)?);
    }
    parts.retain(|part| !part.is_empty());
    if let [only] = parts[..] {
        return Ok(only.value());
    }
    ev.expect_room_for(parts.iter().fold(0, |sum, part| part.len().saturating_add(sum)))?;
    Ok(Value::list_concat(&parts))
}

pub(super) fn concat_map(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let function = ev.expect_function(arguments[0])?;
    let list = ev.expect_list(arguments[1])?;
    let mut all: Vec<Value> = Vec::with_capacity(list.len());
    for &value in list.values() {
        let part = ev.call(function, &[value])?;
        let part = ev.expect_list(part)?;
        // The collected elements are copied once more at the end.
        ev.expect_room_for(all.len().saturating_add(part.len()).saturating_mul(2))?;
        all.extend_from_slice(part.values());
    }
    Ok(Value::list(&all))
}

pub(super) fn group_by(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let function = ev.expect_function(arguments[0])?;
    let list = ev.expect_list(arguments[1])?;
    let mut groups: hashbrown::HashMap<Symbol, Vec<Value>, FxBuildHasher> = hashbrown::HashMap::default();
    let mut order = Vec::new();
    for &value in list.values() {
        let name = ev.call(function, &[value])?;
        let name = Symbol::new(ev.expect_plain(name)?);
        groups
            .entry(name)
            .or_insert_with(|| {
                order.push(name);
                Vec::new()
            })
            .push(value);
    }
    Ok(Value::attrs(
        order.into_iter().map(|name| Attr { name, pos: Pos::NONE, value: Value::list(&groups[&name]) }).collect(),
    ))
}

pub(super) fn sort(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let list = ev.expect_list(arguments[1])?;
    if list.is_empty() {
        return Ok(list.value());
    }
    let function = ev.expect_function(arguments[0])?;
    let mut values = list.values().to_vec();
    if super::of_value(function).is_some_and(|builtin| builtin.name == "lessThan") {
        for value in &mut values {
            *value = ev.force(*value)?;
        }
        // Comparing numbers or strings cannot fail and needs no evaluator, and their order is
        // total.
        if values.iter().all(|value| matches!(value.view(), View::Int(_))) {
            values.sort_by_key(|value| value.as_int());
        } else if values.iter().all(|value| value.as_string().is_some()) {
            values.sort_by_key(|value| value.as_string().map(|text| text.bytes()));
        } else {
            merge_sort(&mut values, |a, b| ev.less_than(a, b))?;
        }
    } else {
        merge_sort(&mut values, |a, b| {
            let less = ev.call(function, &[a, b])?;
            ev.expect_bool(less)
        })?;
    }
    Ok(Value::list(&values))
}

/// Sorts stably. The comparison may fail; when it is not an order, the result is some permutation.
fn merge_sort(values: &mut [Value], mut less: impl FnMut(Value, Value) -> Result<bool>) -> Result<()> {
    /// Length up to which runs are sorted by insertion.
    const RUN: usize = 6;
    for run in values.chunks_mut(RUN) {
        for end in 1..run.len() {
            let mut at = end;
            while at > 0 && less(run[at], run[at - 1])? {
                run.swap(at, at - 1);
                at -= 1;
            }
        }
    }
    let mut buffer = values.to_vec();
    let mut width = RUN;
    while width < values.len() {
        for (source, target) in values.chunks(2 * width).zip(buffer.chunks_mut(2 * width)) {
            if source.len() <= width {
                target.copy_from_slice(source);
                continue;
            }
            let (left, right) = source.split_at(width);
            let (mut l, mut r) = (0, 0);
            for place in target {
                let take_right = l == left.len() || (r < right.len() && less(right[r], left[l])?);
                if take_right {
                    *place = right[r];
                    r += 1;
                } else {
                    *place = left[l];
                    l += 1;
                }
            }
        }
        values.copy_from_slice(&buffer);
        width *= 2;
    }
    Ok(())
}

/// Keys that a closure has seen: hashed for integers and strings, sorted for all others.
enum Keys {
    None,
    Ints(HashSet<i64, FxBuildHasher>),
    Strings(HashSet<&'static [u8], FxBuildHasher>),
    Sorted(Vec<Value>),
}

impl Keys {
    /// Adds a key and returns whether it is new.
    fn add(&mut self, ev: &mut Evaluator, key: Value) -> Result<bool> {
        match (&mut *self, key.view()) {
            (Keys::None, View::Int(number)) => *self = Keys::Ints(std::iter::once(number).collect()),
            (Keys::None, View::String(text)) => *self = Keys::Strings(std::iter::once(text.bytes()).collect()),
            (Keys::None, _) => *self = Keys::Sorted(vec![key]),
            (Keys::Ints(seen), View::Int(number)) => return Ok(seen.insert(number)),
            (Keys::Strings(seen), View::String(text)) => return Ok(seen.insert(text.bytes())),
            (Keys::Ints(seen), _) => {
                let mut numbers: Vec<i64> = seen.iter().copied().collect();
                numbers.sort_unstable();
                *self = Keys::Sorted(numbers.into_iter().map(Value::int).collect());
                return self.add(ev, key);
            }
            (Keys::Strings(seen), _) => {
                let mut texts: Vec<&[u8]> = seen.iter().copied().collect();
                texts.sort_unstable();
                *self = Keys::Sorted(texts.into_iter().map(Value::string).collect());
                return self.add(ev, key);
            }
            (Keys::Sorted(seen), _) => {
                let (mut low, mut high) = (0, seen.len());
                while low < high {
                    let middle = low + (high - low) / 2;
                    match ev.compare(key, seen[middle])? {
                        Some(Ordering::Equal) => return Ok(false),
                        Some(Ordering::Less) => high = middle,
                        _ => low = middle + 1,
                    }
                }
                seen.insert(low, key);
            }
        }
        Ok(true)
    }
}

pub(super) fn generic_closure(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let start = ev.required(set, "startSet", "genericClosure")?;
    let start = ev.expect_list(start)?;
    if start.is_empty() {
        return Ok(start.value());
    }
    let operator = ev.required(set, "operator", "genericClosure")?;
    let operator = ev.expect_function(operator)?;
    let mut keys = Keys::None;
    let mut found: Vec<Value> = Vec::new();
    let mut work: std::collections::VecDeque<Value> = start.values().iter().copied().collect();
    while let Some(item) = work.pop_front() {
        let item = ev.force(item)?;
        let attrs = ev.expect_attrs(item)?;
        let key_name = ev.shared.names.key;
        let Some(key) = attrs.get(key_name) else {
            return Err(missing_attribute(attrs, key_name).frame(
                Pos::NONE,
                FrameKind::Note(
                    "in one of the attrsets generated by (or initially passed to) builtins.genericClosure".into(),
                ),
            ));
        };
        let key = ev.force(key)?;
        if !keys.add(ev, key)? {
            continue;
        }
        found.push(item);
        let more = ev.call(operator, &[item])?;
        work.extend(ev.expect_list(more)?.values());
        // Items and keys are in tables of their own until the end.
        ev.expect_room_for((found.len() + work.len()).saturating_mul(3))?;
    }
    Ok(Value::list(&found))
}
