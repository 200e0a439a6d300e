//! Builtins over strings and versions.

use crate::error::{Error, Result};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::text::version;
use crate::value::{Attr, ContextBuilder, Value};
use crate::vm::{Coercion, Evaluator};

pub(super) fn to_string(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    Ok(ev.coerce_to_string(arguments[0], Coercion { copy_to_store: false, more: true })?.value())
}

pub(super) fn string_length(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    Ok(Value::int(ev.text_in_store(arguments[0])?.bytes().len() as i64))
}

pub(super) fn substring(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let start = ev.expect_int(arguments[0])?;
    let len = ev.expect_int(arguments[1])?;
    let Ok(start) = usize::try_from(start) else {
        return Err(Error::other("lang::substring_start", "negative start position in 'substring'"));
    };
    let text = ev.text_in_store(arguments[2])?;
    let bytes = text.bytes();
    let start = start.min(bytes.len());
    let end = usize::try_from(len).map_or(bytes.len(), |len| start.saturating_add(len).min(bytes.len()));
    if start == 0 && end == bytes.len() {
        return Ok(text.value());
    }
    Ok(Value::string_slice(text, start..end))
}

pub(super) fn concat_strings_sep(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let separator = ev.expect_string(arguments[0])?;
    let list = ev.expect_list(arguments[1])?;
    let mut context = ContextBuilder::default();
    context.add(separator.context());
    // The length is computed first, so the text is written once and in place.
    let mut parts = Vec::with_capacity(list.len());
    let mut len = separator.bytes().len().saturating_mul(list.len().saturating_sub(1));
    for &value in list.values() {
        let part = ev.text_in_store(value)?;
        context.add(part.context());
        len = len.saturating_add(part.bytes().len());
        parts.push(part);
    }
    ev.expect_room(len)?;
    let context = context.finish();
    match parts[..] {
        [] => Ok(Value::string_with_context(b"", context)),
        [only] if separator.context().is_empty() => Ok(only.value()),
        [only] => Ok(Value::string_with_context(only.bytes(), context)),
        [first, ref middle @ .., last] => {
            let between = separator.bytes();
            let middle = middle.iter().flat_map(|part| [between, part.bytes()]).chain([between]);
            Ok(Value::string_joined(len, context, first, middle, last))
        }
    }
}

pub(super) fn replace_strings(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let from = ev.expect_list(arguments[0])?;
    let to = ev.expect_list(arguments[1])?;
    if from.len() != to.len() {
        return Err(Error::other(
            "lang::list_length",
            "'from' and 'to' arguments passed to builtins.replaceStrings have different lengths",
        ));
    }
    let mut patterns: Vec<&'static [u8]> = Vec::with_capacity(from.len());
    for &pattern in from.values() {
        patterns.push(ev.expect_string(pattern)?.bytes());
    }
    let text = ev.expect_string(arguments[2])?;
    let bytes = text.bytes();
    // First bytes of the patterns: most offsets of most texts start no pattern.
    let mut starts = [false; 256];
    let mut has_empty = false;
    for pattern in &patterns {
        match pattern.first() {
            Some(&byte) => starts[byte as usize] = true,
            None => has_empty = true,
        }
    }
    let mut replacements: Vec<Option<&'static [u8]>> = vec![None; patterns.len()];
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut context = ContextBuilder::default();
    context.add(text.context());
    let mut at = 0;
    while at <= bytes.len() {
        if !has_empty {
            let skip = bytes[at..].iter().position(|&byte| starts[byte as usize]).unwrap_or(bytes.len() - at);
            out.extend_from_slice(&bytes[at..at + skip]);
            at += skip;
            if at == bytes.len() {
                break;
            }
        }
        match patterns.iter().position(|pattern| bytes[at..].starts_with(pattern)) {
            Some(index) => {
                let replacement = match replacements[index] {
                    Some(replacement) => replacement,
                    None => {
                        let replacement = ev.expect_string(to.values()[index])?;
                        context.add(replacement.context());
                        replacements[index] = Some(replacement.bytes());
                        replacement.bytes()
                    }
                };
                ev.expect_room(out.len().saturating_add(replacement.len()).saturating_mul(2))?;
                out.extend_from_slice(replacement);
                if patterns[index].is_empty() {
                    out.extend(bytes.get(at));
                    at += 1;
                } else {
                    at += patterns[index].len();
                }
            }
            None => {
                out.extend(bytes.get(at));
                at += 1;
            }
        }
    }
    Ok(Value::string_with_context(&out, context.finish()))
}

pub(super) fn split_version(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let version = ev.expect_plain(arguments[0])?;
    let parts: Vec<Value> = version::components(version).map(Value::string).collect();
    Ok(Value::list(&parts))
}

pub(super) fn compare_versions(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let left = ev.expect_plain(arguments[0])?;
    let right = ev.expect_plain(arguments[1])?;
    Ok(Value::int(version::compare(left, right) as i64))
}

pub(super) fn parse_drv_name(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let (name, version) = version::parse_drv_name(ev.expect_plain(arguments[0])?);
    let attr = |key: &[u8], text: &[u8]| Attr { name: Symbol::new(key), pos: Pos::NONE, value: Value::string(text) };
    Ok(Value::attrs(vec![attr(b"name", name), attr(b"version", version)]))
}
