//! TOML.

use super::json::{nul_byte, plain_attrs};
use crate::error::{Error, Result};
use crate::text::toml;
use crate::value::Value;
use crate::vm::Evaluator;

pub(super) fn from_toml(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = ev.expect_plain(arguments[0])?;
    let text = std::str::from_utf8(text)
        .map_err(|error| Error::other("lang::toml", format!("while parsing TOML: {error}")))?;
    let table =
        toml::parse(text).map_err(|error| Error::other("lang::toml", format!("while parsing TOML: {error}")))?;
    members(table, ev.shared.options.toml_timestamps)
}

fn members(table: Vec<(String, toml::Value)>, timestamps: bool) -> Result<Value> {
    let member = |(name, member): (String, toml::Value)| {
        without_nul(&name)?;
        Ok((name, value(member, timestamps)?))
    };
    let members: Result<Vec<(String, Value)>> = table.into_iter().map(member).collect();
    Ok(plain_attrs(members?))
}

fn without_nul(text: &str) -> Result<()> {
    if text.contains('\0') { Err(nul_byte(text.as_bytes())) } else { Ok(()) }
}

fn value(value: toml::Value, timestamps: bool) -> Result<Value> {
    Ok(match value {
        toml::Value::String(text) => {
            without_nul(&text)?;
            Value::string(text.as_bytes())
        }
        toml::Value::Int(number) => Value::int(number),
        toml::Value::Float(number) => Value::float(number),
        toml::Value::Bool(flag) => Value::bool(flag),
        toml::Value::Timestamp(text) if timestamps => plain_attrs(vec![
            ("_type".to_owned(), Value::string(b"timestamp")),
            ("value".to_owned(), Value::string(text.as_bytes())),
        ]),
        toml::Value::Timestamp(_) => {
            return Err(Error::other("lang::toml", "while parsing TOML: Dates and times are not supported"));
        }
        toml::Value::Array(elements) => {
            let elements: Result<Vec<Value>> =
                elements.into_iter().map(|element| self::value(element, timestamps)).collect();
            Value::list(&elements?)
        }
        toml::Value::Table(table) => members(table, timestamps)?,
    })
}
