//! TOML documents as plain data; the grammar is crate `toml`'s.

/// A value in a document. Dates and times keep their text, since the language has no type for them.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    String(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Timestamp(String),
    Array(Vec<Value>),
    Table(Vec<(String, Value)>),
}

/// Returns the top-level table of a document, sorted by key.
///
/// # Errors
/// What is wrong and where, in the words of the parser.
pub fn parse(text: &str) -> Result<Vec<(String, Value)>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    Ok(entries(table))
}

fn entries(table: toml::Table) -> Vec<(String, Value)> {
    let mut entries: Vec<_> = table.into_iter().map(|(key, value)| (key, convert(value))).collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries
}

fn convert(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(value) => Value::Int(value),
        toml::Value::Float(value) => Value::Float(value),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(value) => Value::Timestamp(value.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(convert).collect()),
        toml::Value::Table(table) => Value::Table(entries(table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document() {
        let parsed = parse("b = 1\n[a]\nx = [1.5, true, \"s\"]\nt = 1979-05-27T07:32:00Z\n").unwrap();
        insta::assert_snapshot!(format!("{parsed:?}"), @r#"[("a", Table([("t", Timestamp("1979-05-27T07:32:00Z")), ("x", Array([Float(1.5), Bool(true), String("s")]))])), ("b", Int(1))]"#);
    }

    #[test]
    fn errors_say_where() {
        let error = parse("a = 1\nb = ").unwrap_err();
        assert!(error.starts_with("TOML parse error at line 2, column 5\n"), "{error}");
    }
}
