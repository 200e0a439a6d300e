//! TOML documents as plain data, parsed by the crate `toml`.

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
/// The message of the parser, with the position.
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
        toml::Value::Datetime(value) => Value::Timestamp(timestamp(value)),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(convert).collect()),
        toml::Value::Table(table) => Value::Table(entries(table)),
    }
}

/// Formats a date, a time or both, with the fraction of a second in three, six or nine digits, as
/// few as suffice.
fn timestamp(mut value: toml::value::Datetime) -> String {
    let nanoseconds = value.time.as_mut().and_then(|time| time.nanosecond.take()).unwrap_or_default();
    let plain = value.to_string();
    if nanoseconds == 0 {
        return plain;
    }
    let fraction = match nanoseconds {
        _ if nanoseconds.is_multiple_of(1_000_000) => format!("{:03}", nanoseconds / 1_000_000),
        _ if nanoseconds.is_multiple_of(1000) => format!("{:06}", nanoseconds / 1000),
        _ => format!("{nanoseconds:09}"),
    };
    // The fraction is after the seconds, before the offset.
    let time_len = "hh:mm:ss".len() + if value.date.is_some() { "yyyy-mm-ddT".len() } else { 0 };
    let (time, offset) = plain.split_at(time_len.min(plain.len()));
    format!("{time}.{fraction}{offset}")
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
    fn fractions_of_seconds() {
        let parsed = parse("a = 00:32:00.1\nb = 1979-05-27 07:32:00.1234-07:00\nc = 1979-05-27T07:32:00.1234567891Z\n");
        insta::assert_snapshot!(format!("{:?}", parsed.unwrap()), @r#"[("a", Timestamp("00:32:00.100")), ("b", Timestamp("1979-05-27T07:32:00.123400-07:00")), ("c", Timestamp("1979-05-27T07:32:00.123456789Z"))]"#);
    }

    #[test]
    fn errors_say_where() {
        let error = parse("a = 1\nb = ").unwrap_err();
        assert!(error.starts_with("TOML parse error at line 2, column 5\n"), "{error}");
    }
}
