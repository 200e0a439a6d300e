//! JSON: a reader that gives a stream of events, and a writer of strings.
//!
//! The reader follows RFC 8259 strictly, as Nix's library does: UTF-8 only, no trailing commas, no
//! comments. It builds no tree and does not recurse; a level of depth costs one byte.

use std::borrow::Cow;

/// Receives a document in order. A key comes before its value; values of an object or array come
/// between its `begin` and `end`.
pub trait Visitor {
    type Error;
    fn null(&mut self) -> Result<(), Self::Error>;
    fn boolean(&mut self, value: bool) -> Result<(), Self::Error>;
    fn int(&mut self, value: i64) -> Result<(), Self::Error>;
    /// An integer above `i64::MAX` that fits in 64 bits without a sign; larger ones are floats.
    fn unsigned(&mut self, value: u64) -> Result<(), Self::Error>;
    fn float(&mut self, value: f64) -> Result<(), Self::Error>;
    /// Valid UTF-8 that may contain NUL.
    fn string(&mut self, value: Cow<'_, [u8]>) -> Result<(), Self::Error>;
    fn key(&mut self, value: Cow<'_, [u8]>) -> Result<(), Self::Error>;
    fn begin_array(&mut self) -> Result<(), Self::Error>;
    fn end_array(&mut self) -> Result<(), Self::Error>;
    fn begin_object(&mut self) -> Result<(), Self::Error>;
    fn end_object(&mut self) -> Result<(), Self::Error>;
}

/// Reason why reading stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError<E> {
    /// The text stops being JSON at this byte.
    Syntax { offset: usize, line: usize, column: usize, message: &'static str },
    /// The visitor returned an error.
    Visitor(E),
}

/// Reads one document, which must be the whole text.
///
/// # Errors
/// The position where the text stops being JSON, or the error of the visitor.
pub fn read<V: Visitor>(text: &[u8], visitor: &mut V) -> Result<(), ReadError<V::Error>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader { text, at: 0 };
    reader.document(visitor).map_err(|stop| match stop {
        Stop::Visitor(error) => ReadError::Visitor(error),
        Stop::Syntax(message) => {
            let before = &text[..reader.at.min(text.len())];
            let line = 1 + memchr::memchr_iter(b'\n', before).count();
            let column = 1 + before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
            ReadError::Syntax { offset: reader.at, line, column, message }
        }
    })
}

enum Stop<E> {
    Syntax(&'static str),
    Visitor(E),
}

impl<E> From<&'static str> for Stop<E> {
    fn from(message: &'static str) -> Self {
        Stop::Syntax(message)
    }
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Array,
    Object,
}

impl<'t> Reader<'t> {
    fn document<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Stop<V::Error>> {
        let mut levels: Vec<Level> = Vec::new();
        loop {
            // Read a value.
            self.skip_space();
            match self.peek() {
                Some(b'[') => {
                    self.at += 1;
                    visitor.begin_array().map_err(Stop::Visitor)?;
                    self.skip_space();
                    if self.peek() != Some(b']') {
                        levels.push(Level::Array);
                        continue;
                    }
                    self.at += 1;
                    visitor.end_array().map_err(Stop::Visitor)?;
                }
                Some(b'{') => {
                    self.at += 1;
                    visitor.begin_object().map_err(Stop::Visitor)?;
                    self.skip_space();
                    if self.peek() != Some(b'}') {
                        levels.push(Level::Object);
                        self.key(visitor)?;
                        continue;
                    }
                    self.at += 1;
                    visitor.end_object().map_err(Stop::Visitor)?;
                }
                _ => self.scalar(visitor)?,
            }
            // After a value come the ends of some levels, then a comma or the end of the text.
            loop {
                self.skip_space();
                let Some(&level) = levels.last() else {
                    return match self.peek() {
                        None => Ok(()),
                        Some(_) => Err("expected the end of the text".into()),
                    };
                };
                match (self.peek(), level) {
                    (Some(b','), _) => {
                        self.at += 1;
                        if level == Level::Object {
                            self.skip_space();
                            self.key(visitor)?;
                        }
                        break;
                    }
                    (Some(b']'), Level::Array) => visitor.end_array().map_err(Stop::Visitor)?,
                    (Some(b'}'), Level::Object) => visitor.end_object().map_err(Stop::Visitor)?,
                    (_, Level::Array) => return Err("expected `,` or `]`".into()),
                    (_, Level::Object) => return Err("expected `,` or `}`".into()),
                }
                self.at += 1;
                levels.pop();
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn key<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Stop<V::Error>> {
        if self.peek() != Some(b'"') {
            return Err("expected a key in double quotes".into());
        }
        let key = self.string()?;
        visitor.key(key).map_err(Stop::Visitor)?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err("expected `:`".into());
        }
        self.at += 1;
        Ok(())
    }

    fn scalar<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Stop<V::Error>> {
        let rest = &self.text[self.at..];
        let done = match rest.first() {
            Some(b'"') => {
                let text = self.string()?;
                visitor.string(text)
            }
            Some(b'-' | b'0'..=b'9') => return self.number(visitor),
            _ if rest.starts_with(b"null") => {
                self.at += 4;
                visitor.null()
            }
            _ if rest.starts_with(b"true") => {
                self.at += 4;
                visitor.boolean(true)
            }
            _ if rest.starts_with(b"false") => {
                self.at += 5;
                visitor.boolean(false)
            }
            None => return Err("unexpected end of the text".into()),
            Some(_) => return Err("expected a value".into()),
        };
        done.map_err(Stop::Visitor)
    }

    fn number<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), Stop<V::Error>> {
        let start = self.at;
        let mut whole = true;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = str::from_utf8(&self.text[start..self.at]).expect("digits and signs are ASCII");
        let done = if whole && let Ok(value) = text.parse::<i64>() {
            visitor.int(value)
        } else if whole && let Ok(value) = text.parse::<u64>() {
            visitor.unsigned(value)
        } else {
            let value: f64 = text.parse().map_err(|_| "number out of range")?;
            if value.is_infinite() {
                self.at = start;
                return Err("number out of range".into());
            }
            visitor.float(value)
        };
        done.map_err(Stop::Visitor)
    }

    fn digits(&mut self) -> Result<(), &'static str> {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err("expected a digit") } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'t, [u8]>, &'static str> {
        self.at += 1;
        let start = self.at;
        let rest = &self.text[start..];
        let Some(length) = rest.iter().position(|&byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) else {
            self.at = self.text.len();
            return Err("string without an end");
        };
        self.at += length;
        match self.text[self.at] {
            b'"' => {}
            b'\\' => return self.escaped(start),
            _ => return Err("control character in a string; write it as an escape"),
        }
        let end = self.at;
        let text = &self.text[start..end];
        self.check_utf8(start, text)?;
        self.at = end + 1;
        Ok(Cow::Borrowed(text))
    }

    fn check_utf8(&mut self, start: usize, text: &[u8]) -> Result<(), &'static str> {
        str::from_utf8(text).map(|_| ()).map_err(|error| {
            self.at = start + error.valid_up_to();
            "string is not UTF-8"
        })
    }

    /// Reads the rest of a string that contains escapes.
    fn escaped(&mut self, start: usize) -> Result<Cow<'t, [u8]>, &'static str> {
        let mut out = self.text[start..self.at].to_vec();
        loop {
            match self.peek() {
                None => return Err("string without an end"),
                Some(b'"') => {
                    self.at += 1;
                    self.check_utf8(start, &self.text[start..self.at])?;
                    // The check moves only on failure.
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let byte = self.peek().ok_or("string without an end")?;
                    self.at += 1;
                    out.push(match byte {
                        b'"' | b'\\' | b'/' => byte,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            let character = self.code_point()?;
                            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                            continue;
                        }
                        _ => {
                            self.at -= 1;
                            return Err("unknown escape");
                        }
                    });
                }
                Some(0..0x20) => return Err("control character in a string; write it as an escape"),
                Some(byte) => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn code_point(&mut self) -> Result<char, &'static str> {
        const UNPAIRED: &str = "half of a surrogate pair";
        let first = self.hex4()?;
        let code = match first {
            0xD800..0xDC00 => {
                if !self.text[self.at..].starts_with(b"\\u") {
                    return Err(UNPAIRED);
                }
                self.at += 2;
                let second = self.hex4()?;
                let low = second.checked_sub(0xDC00).filter(|&low| low < 0x400).ok_or(UNPAIRED)?;
                0x10000 + ((first - 0xD800) << 10) + low
            }
            code => code,
        };
        char::from_u32(code).ok_or(UNPAIRED)
    }

    fn hex4(&mut self) -> Result<u32, &'static str> {
        let digits = self.text.get(self.at..self.at + 4).ok_or("expected four hexadecimal digits")?;
        let mut value = 0;
        for &digit in digits {
            value = value * 16 + (digit as char).to_digit(16).ok_or("expected four hexadecimal digits")?;
        }
        self.at += 4;
        Ok(value)
    }
}

/// Appends a string in quotes, and escapes only the characters that JSON requires.
///
/// # Errors
/// The offset of the first byte that is not UTF-8, which JSON cannot represent.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    str::from_utf8(text).map_err(|error| error.valid_up_to())?;
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut copied = 0;
    for (index, &byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&text[copied..index]);
        copied = index + 1;
        match short {
            0 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            short => out.extend_from_slice(&[b'\\', short]),
        }
    }
    out.extend_from_slice(&text[copied..]);
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes the events back as compact JSON.
    #[derive(Default)]
    struct Echo {
        out: Vec<u8>,
    }

    impl Echo {
        fn comma(&mut self) {
            if !matches!(self.out.last(), None | Some(b'[' | b'{' | b':')) {
                self.out.push(b',');
            }
        }

        fn put(&mut self, text: &str) -> Result<(), ()> {
            self.comma();
            self.out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }

    impl Visitor for Echo {
        type Error = ();
        fn null(&mut self) -> Result<(), ()> {
            self.put("null")
        }
        fn boolean(&mut self, value: bool) -> Result<(), ()> {
            self.put(if value { "true" } else { "false" })
        }
        fn int(&mut self, value: i64) -> Result<(), ()> {
            self.put(&value.to_string())
        }
        fn unsigned(&mut self, value: u64) -> Result<(), ()> {
            self.put(&value.to_string())
        }
        fn float(&mut self, value: f64) -> Result<(), ()> {
            self.put(&super::super::number::json(value))
        }
        fn string(&mut self, value: Cow<'_, [u8]>) -> Result<(), ()> {
            self.comma();
            write_string(&value, &mut self.out).map_err(|_| ())
        }
        fn key(&mut self, value: Cow<'_, [u8]>) -> Result<(), ()> {
            self.string(value)?;
            self.out.push(b':');
            Ok(())
        }
        fn begin_array(&mut self) -> Result<(), ()> {
            self.put("[")
        }
        fn end_array(&mut self) -> Result<(), ()> {
            self.out.push(b']');
            Ok(())
        }
        fn begin_object(&mut self) -> Result<(), ()> {
            self.put("{")
        }
        fn end_object(&mut self) -> Result<(), ()> {
            self.out.push(b'}');
            Ok(())
        }
    }

    fn check(text: &str) -> String {
        let mut echo = Echo::default();
        match read(text.as_bytes(), &mut echo) {
            Ok(()) => String::from_utf8(echo.out).unwrap(),
            Err(ReadError::Syntax { line, column, message, .. }) => format!("{line}:{column}: {message}"),
            Err(ReadError::Visitor(())) => "refused".into(),
        }
    }

    #[test]
    fn documents_read() {
        assert_eq!(
            check(r#" [ 1, -2 , {"a" : [ ], "b":{}} , null,true,false ] "#),
            r#"[1,-2,{"a":[],"b":{}},null,true,false]"#
        );
        assert_eq!(check(r#""\u00e9\ud83d\ude00\n\u0001\/""#), "\"é😀\\n\\u0001/\"");
        assert_eq!(
            check("[1.0,1e3,18446744073709551615,18446744073709551616]"),
            "[1.0,1000.0,18446744073709551615,1.8446744073709552e+19]"
        );
        assert_eq!(check("-0"), "0");
    }

    #[test]
    fn errors_have_an_offset() {
        assert_eq!(check(""), "1:1: unexpected end of the text");
        assert_eq!(check("[1,]"), "1:4: expected a value");
        assert_eq!(check("[\n1 2]"), "2:3: expected `,` or `]`");
        assert_eq!(check("{\"a\" 1}"), "1:6: expected `:`");
        assert_eq!(check("{\"a\":1,}"), "1:8: expected a key in double quotes");
        assert_eq!(check("01"), "1:2: expected the end of the text");
        assert_eq!(check("1."), "1:3: expected a digit");
        assert_eq!(check("\"\\ud800\""), "1:8: half of a surrogate pair");
        assert_eq!(check("\"a"), "1:3: string without an end");
        assert_eq!(check("\"\n\""), "1:2: control character in a string; write it as an escape");
        assert_eq!(check("nul"), "1:1: expected a value");
        assert_eq!(check("1e999"), "1:1: number out of range");
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(check(&deep).len(), deep.len());
    }

    proptest! {
        #[test]
        fn strings_round_trip(text in ".{0,20}") {
            let mut written = Vec::new();
            write_string(text.as_bytes(), &mut written).unwrap();
            let parsed: String = serde_json::from_slice(&written).unwrap();
            prop_assert_eq!(parsed, text);
        }

        #[test]
        fn agrees_with_serde(text in r#"[\[\]{}:,"\\a1.e\-u0 ]{0,12}"#) {
            let ours = check(&text);
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(_) => prop_assert!(!ours.starts_with("1:"), "{}", ours),
                Err(_) => prop_assert!(ours.starts_with("1:"), "{}", ours),
            }
        }
    }
}
