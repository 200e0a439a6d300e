//! The attributes of a derivation as the builder reads them.
//!
//! With plain attributes each is an environment variable: lists are words, flags are `1` or empty.
//! With `__structuredAttrs` they are one JSON object. Here both look the same, and a value of the
//! wrong kind is an error that names the attribute.

use crate::error::{BuildError, attribute};
use model::{Derivation, StoreModel, StorePath};
use serde_json::Value;
use std::collections::BTreeMap;

/// A tree named by an attribute: a store path, or something below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeName {
    pub path: StorePath,
    /// Empty, or starts with a slash.
    pub below: String,
}

/// Reads the attributes of one derivation.
pub(crate) struct Attributes<'a> {
    derivation: &'a Derivation,
    structured: Option<serde_json::Map<String, Value>>,
}

impl<'a> Attributes<'a> {
    pub fn of(derivation: &'a Derivation) -> Result<Attributes<'a>, BuildError> {
        let structured = match derivation.env("__json") {
            None => None,
            Some(text) => match serde_json::from_slice(text) {
                Ok(Value::Object(map)) => Some(map),
                Ok(_) => return Err(attribute("__json", "is not a JSON object")),
                Err(e) => return Err(attribute("__json", format!("is not valid JSON: {e}"))),
            },
        };
        Ok(Attributes { derivation, structured })
    }

    /// Returns all attributes, when they are structured.
    pub fn structured(&self) -> Option<&serde_json::Map<String, Value>> {
        self.structured.as_ref()
    }

    pub fn text(&self, name: &str) -> Result<Option<String>, BuildError> {
        match &self.structured {
            Some(map) => match map.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(other) => Err(attribute(name, format!("expected a string, found {}", kind(other)))),
            },
            None => match self.derivation.env(name) {
                None => Ok(None),
                Some(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => Ok(Some(text.to_owned())),
                    Err(_) => Err(attribute(name, "is not UTF-8")),
                },
            },
        }
    }

    pub fn required_text(&self, name: &str) -> Result<String, BuildError> {
        self.text(name)?.ok_or_else(|| attribute(name, "is missing, and this builder needs it"))
    }

    pub fn flag(&self, name: &str) -> Result<bool, BuildError> {
        if let Some(Value::Bool(flag)) = self.structured.as_ref().and_then(|map| map.get(name)) {
            return Ok(*flag);
        }
        match self.text(name)?.as_deref() {
            None | Some("" | "0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(attribute(name, format!("expected true or false, found `{other}`"))),
        }
    }

    pub fn number(&self, name: &str) -> Result<Option<u64>, BuildError> {
        if let Some(value @ Value::Number(_)) = self.structured.as_ref().and_then(|map| map.get(name)) {
            return value
                .as_u64()
                .map(Some)
                .ok_or_else(|| attribute(name, "expected a whole number that is not negative"));
        }
        match self.text(name)? {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(attribute(name, format!("expected a whole number that is not negative, found `{text}`"))),
            },
        }
    }

    /// Returns a list of strings, or `None` when the attribute is not there.
    pub fn words(&self, name: &str) -> Result<Option<Vec<String>>, BuildError> {
        if let Some(Value::Array(items)) = self.structured.as_ref().and_then(|map| map.get(name)) {
            return strings(name, items).map(Some);
        }
        Ok(self.text(name)?.map(|text| text.split_ascii_whitespace().map(str::to_owned).collect()))
    }

    /// Returns a value that is given as JSON text, or as it is with structured attributes.
    pub fn json(&self, name: &str) -> Result<Option<Value>, BuildError> {
        if let Some(value) = self.structured.as_ref().and_then(|map| map.get(name))
            && !value.is_string()
        {
            return Ok(Some(value.clone()));
        }
        match self.text(name)? {
            None => Ok(None),
            // A null attribute becomes an empty text.
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => match serde_json::from_str(&text) {
                Ok(value) => Ok(Some(value)),
                Err(e) => Err(attribute(name, format!("is not valid JSON ({e}); give it as `builtins.toJSON …`"))),
            },
        }
    }

    /// Returns a JSON list of strings.
    pub fn json_strings(&self, name: &str) -> Result<Option<Vec<String>>, BuildError> {
        match self.json(name)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => strings(name, &items).map(Some),
            Some(other) => Err(attribute(name, format!("expected a list of strings, found {}", kind(&other)))),
        }
    }

    /// Returns a JSON list of pairs of strings.
    pub fn json_pairs(&self, name: &str) -> Result<Option<Vec<(String, String)>>, BuildError> {
        let items = match self.json(name)? {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(attribute(name, format!("expected a list of pairs, found {}", kind(&other)))),
        };
        let pair = |item: &Value| match item.as_array().map(Vec::as_slice) {
            Some([Value::String(a), Value::String(b)]) => Ok((a.clone(), b.clone())),
            _ => Err(attribute(name, format!("expected a pair of strings, found {item}"))),
        };
        items.iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// Returns a list of trees, or `None` when the attribute is not there.
    pub fn trees(&self, model: StoreModel, name: &str) -> Result<Option<Vec<TreeName>>, BuildError> {
        let Some(words) = self.words(name)? else { return Ok(None) };
        words.iter().map(|word| tree_name(model, name, word)).collect::<Result<_, _>>().map(Some)
    }

    pub fn tree(&self, model: StoreModel, name: &str) -> Result<TreeName, BuildError> {
        tree_name(model, name, &self.required_text(name)?)
    }

    /// Returns `__sources`: names and trees.
    pub fn sources(&self, model: StoreModel) -> Result<BTreeMap<String, TreeName>, BuildError> {
        const NAME: &str = "__sources";
        let map = match self.json(NAME)? {
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(attribute(NAME, format!("expected a set of trees, found {}", kind(&other)))),
        };
        let mut sources = BTreeMap::new();
        for (source, value) in map {
            if source.is_empty() || source == "." || source == ".." || source.contains(['/', '\0']) {
                return Err(attribute(NAME, format!("`{source}` cannot be the name of a directory entry")));
            }
            let Value::String(path) = &value else {
                return Err(attribute(NAME, format!("expected a tree for `{source}`, found {}", kind(&value))));
            };
            sources.insert(source, tree_name(model, NAME, path)?);
        }
        Ok(sources)
    }
}

fn tree_name(model: StoreModel, name: &str, text: &str) -> Result<TreeName, BuildError> {
    match model.split(text) {
        Ok((path, below)) => Ok(TreeName { path, below: below.trim_end_matches('/').to_owned() }),
        Err(e) => Err(attribute(name, format!("expected trees in the store: {e}"))),
    }
}

fn strings(name: &str, items: &[Value]) -> Result<Vec<String>, BuildError> {
    let string = |item: &Value| match item {
        Value::String(text) => Ok(text.clone()),
        other => Err(attribute(name, format!("expected a list of strings, found {} in it", kind(other)))),
    };
    items.iter().map(string).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a set",
    }
}

/// Returns `.attrs.sh`: bash declarations of those structured attributes that a shell can hold.
///
/// Strings, numbers, booleans (`1` or empty) and null (empty) become variables, lists of them
/// arrays and sets of them associative arrays; anything deeper is left to `.attrs.json`.
pub(crate) fn shell_declarations(attributes: &serde_json::Map<String, Value>) -> String {
    let mut script = String::new();
    for (name, value) in attributes {
        let variable = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !variable {
            continue;
        }
        let line = match value {
            Value::Array(items) => items.iter().map(word).collect::<Option<Vec<_>>>().map(|words| {
                let words: String = words.iter().map(|word| format!("{word} ")).collect();
                format!("declare -a {name}=({words})\n")
            }),
            Value::Object(map) => {
                let entries =
                    map.iter().map(|(key, value)| word(value).map(|word| format!("[{}]={word} ", quote(key))));
                entries.collect::<Option<String>>().map(|entries| format!("declare -A {name}=({entries})\n"))
            }
            simple => word(simple).map(|word| format!("declare {name}={word}\n")),
        };
        script.extend(line);
    }
    script
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(quote(text)),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::Bool(true) => Some("1".into()),
        Value::Bool(false) => Some(String::new()),
        Value::Null => Some("''".into()),
        _ => None,
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn shell_declarations_quote() {
        let json = serde_json::json!({
            "a": "it's", "b": 3, "c": true, "d": null, "e": ["x y", 1], "f": {"k'": "v"}, "g": [[1]], "not-a-name": 1, "h": 1.5
        });
        assert_snapshot!(shell_declarations(json.as_object().unwrap()), @r"
        declare a='it'\''s'
        declare b=3
        declare c=1
        declare d=''
        declare -a e=('x y' 1 )
        declare -A f=(['k'\''']='v' )
        ");
    }
}
