//! TOML documents as plain data, parsed by the crate `toml`, in the forms of TOML 1.0.
//!
//! The crate reads TOML 1.1 as well. Nix does not, so a file with such forms would work here alone;
//! `newer_form` finds them.

use toml_parser::decoder::Encoding;
use toml_parser::parser::{EventReceiver, parse_document};
use toml_parser::{ErrorSink, Source, Span};

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
    match newer_form(text) {
        None => Ok(entries(table)),
        Some((offset, form)) => {
            let before = &text[..offset];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            Err(format!("TOML parse error at line {line}, column {column}\n{form} not in TOML 1.0, which Nix reads\n"))
        }
    }
}

/// Returns the place and kind of the first form that TOML 1.1 added, in a document that is valid in
/// TOML 1.1.
fn newer_form(text: &str) -> Option<(usize, &'static str)> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut forms = NewerForms { text, open: Vec::new(), separated: false, first: None };
    parse_document(&tokens, &mut forms, &mut ());
    forms.first
}

/// Looks for the forms of TOML 1.1 among the parts of a document.
struct NewerForms<'a> {
    text: &'a str,
    /// The arrays and inline tables around the place; true for an inline table.
    open: Vec<bool>,
    /// True after a comma, until the next key or value.
    separated: bool,
    first: Option<(usize, &'static str)>,
}

impl NewerForms<'_> {
    fn found(&mut self, offset: usize, form: &'static str) {
        self.first.get_or_insert((offset, form));
    }

    /// Looks at escape sequences in strings and keys, and at times.
    fn text(&mut self, span: Span, encoding: Option<Encoding>) {
        self.separated = false;
        let text = &self.text[span.start()..span.end()];
        match encoding {
            Some(Encoding::BasicString | Encoding::MlBasicString) => {
                let mut bytes = text.bytes().enumerate();
                while let Some((offset, byte)) = bytes.next() {
                    let escaped = if byte == b'\\' { bytes.next() } else { None };
                    match escaped {
                        Some((_, b'e')) => self.found(span.start() + offset, "the escape sequence `\\e` is"),
                        Some((_, b'x')) => self.found(span.start() + offset, "the escape sequence `\\x` is"),
                        _ => {}
                    }
                }
            }
            Some(Encoding::LiteralString | Encoding::MlLiteralString) => {}
            None => {
                let after_hour = text.split_once(':').map(|(_, rest)| rest);
                if after_hour.is_some_and(|rest| rest.as_bytes().get(2) != Some(&b':')) {
                    self.found(span.start(), "a time without seconds is");
                }
            }
        }
    }
}

impl EventReceiver for NewerForms<'_> {
    fn inline_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open.push(true);
        self.separated = false;
        true
    }

    fn inline_table_close(&mut self, span: Span, _: &mut dyn ErrorSink) {
        if self.separated {
            self.found(span.start(), "a comma at the end of an inline table is");
        }
        self.open.pop();
        self.separated = false;
    }

    fn array_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open.push(false);
        self.separated = false;
        true
    }

    fn array_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.open.pop();
        self.separated = false;
    }

    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, _: &mut dyn ErrorSink) {
        match encoding {
            Some(_) => self.text(span, encoding),
            None => self.separated = false,
        }
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, _: &mut dyn ErrorSink) {
        self.text(span, encoding);
    }

    fn value_sep(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.separated = true;
    }

    fn newline(&mut self, span: Span, _: &mut dyn ErrorSink) {
        if self.open.last() == Some(&true) {
            self.found(span.start(), "the end of a line in an inline table is");
        }
    }
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

    #[test]
    fn forms_of_toml_1_1_are_refused() {
        for (text, place) in [
            (r#"a = "\e""#, "line 1, column 6\nthe escape sequence `\\e`"),
            ("b = 1\na = \"\\\\e\\x41\"", "line 2, column 9\nthe escape sequence `\\x`"),
            ("a = \"\"\"\n\\e\"\"\"", "line 2, column 1\nthe escape sequence `\\e`"),
            (r#""\e" = 1"#, "line 1, column 2\nthe escape sequence"),
            ("a = { b = 1, }", "line 1, column 14\na comma"),
            ("a = [{ b = { c = 1, } }]", "line 1, column 21\na comma"),
            ("a = { b = 1,\n c = 2 }", "line 1, column 13\nthe end of a line"),
            ("a = {\n b = 1 }", "line 1, column 6\nthe end of a line"),
            ("a = { b = 1 # c\n }", "line 1, column 16\nthe end of a line"),
            ("a = 07:32", "line 1, column 5\na time without seconds"),
            ("a = 1979-05-27 07:32", "line 1, column 5\na time without seconds"),
            ("a = 1979-05-27T07:32Z", "line 1, column 5\na time without seconds"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(&format!("TOML parse error at {place}")), "{text}: {error}");
        }
        for text in [
            "a = { b = [1,\n2,\n] }",
            r"a = '\e'",
            r"a = '''\x41'''",
            r#"a = "\\e""#,
            "a = { b = \"\"\"\nx\"\"\" }",
            "a = { }",
            "a = 1979-05-27T07:32:00-07:00",
            "a = 07:32:00.5",
            "a = 1979-05-27",
            "a.b = 1",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
    }
}
