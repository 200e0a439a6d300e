//! `match` and `split`.

use super::expect::lossy;
use crate::error::{Error, Result};
use crate::text::regex::{Groups, Regex, TooMuchMemory};
use crate::value::Value;
use crate::vm::{Evaluator, LOCK};
use std::sync::Arc;

impl Evaluator {
    /// Returns the compiled form of a pattern, from a cache.
    fn regex(&mut self, pattern: &[u8]) -> Result<Arc<Regex>> {
        let mut regexes = self.shared.regexes.lock().expect(LOCK);
        if let Some(regex) = regexes.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = Regex::new(pattern).map_err(|error| {
            let what = match error.is_too_large {
                true => "memory limit exceeded by regular expression",
                false => "invalid regular expression",
            };
            Error::other("lang::regex", format!("{what} '{}'", lossy(pattern))).help(error.to_string())
        })?;
        let regex = Arc::new(regex);
        regexes.insert(pattern.to_vec(), regex.clone());
        Ok(regex)
    }
}

fn too_much(error: TooMuchMemory, pattern: &[u8]) -> Error {
    Error::other("lang::regex", format!("{error} '{}'", lossy(pattern)))
}

fn groups(text: &[u8], groups: &Groups) -> Value {
    Value::list_from_fn(groups.len(), |index| match &groups[index] {
        Some(range) => Value::string(&text[range.clone()]),
        None => Value::NULL,
    })
}

pub(super) fn matches(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let pattern = ev.expect_plain(arguments[0])?;
    let regex = ev.regex(pattern)?;
    let text = ev.expect_string(arguments[1])?.bytes();
    let found = regex.match_whole(text).map_err(|error| too_much(error, pattern))?;
    Ok(found.map_or(Value::NULL, |found| groups(text, &found)))
}

pub(super) fn split(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let pattern = ev.expect_plain(arguments[0])?;
    let regex = ev.regex(pattern)?;
    let whole = ev.expect_string(arguments[1])?;
    let text = whole.bytes();
    let piece = |from: usize, to: usize| Value::string(&text[from..to]);
    let mut parts = Vec::new();
    let mut end = 0;
    for found in regex.matches(text) {
        let found = found.map_err(|error| too_much(error, pattern))?;
        parts.push(piece(end, found.range.start));
        parts.push(groups(text, &found.groups));
        end = found.range.end;
    }
    if parts.is_empty() {
        return Ok(Value::list(&[whole.value()]));
    }
    parts.push(piece(end, text.len()));
    Ok(Value::list(&parts))
}
