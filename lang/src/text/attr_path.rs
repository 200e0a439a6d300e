//! Attribute paths as they are typed in arguments: `a.b`, `a."b.c"`, `"a.b".c`.
//!
//! Nix's form: names are separated by dots, and quotes protect the characters between them, from
//! the first of a name or in its middle. There are no escapes, so no name has a quote.

use std::fmt;

/// Names from a set to a member of it; empty for the set itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttrPath {
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttrPathError {
    #[error("empty attribute name in selection path '{0}'")]
    EmptyName(String),
    #[error("missing closing quote in selection path '{0}'")]
    OpenQuote(String),
}

impl AttrPath {
    /// Parses a path; an empty text is the empty path.
    ///
    /// # Errors
    /// When a name is empty and not quoted, or a quote is not closed.
    pub fn parse(text: &str) -> Result<AttrPath, AttrPathError> {
        let mut names = Vec::new();
        let mut name = String::new();
        let mut quoted = false;
        let mut any = false;
        for character in text.chars() {
            match character {
                '"' => {
                    quoted = !quoted;
                    any = true;
                }
                '.' if !quoted => {
                    if name.is_empty() && !any {
                        return Err(AttrPathError::EmptyName(text.to_owned()));
                    }
                    names.push(std::mem::take(&mut name));
                    any = false;
                }
                _ => name.push(character),
            }
        }
        if quoted {
            return Err(AttrPathError::OpenQuote(text.to_owned()));
        }
        if any || !name.is_empty() {
            names.push(name);
        } else if !names.is_empty() {
            return Err(AttrPathError::EmptyName(text.to_owned()));
        }
        Ok(AttrPath { names })
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn into_names(self) -> Vec<String> {
        self.names
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the path with `before` in front.
    #[must_use]
    pub fn below(&self, before: &AttrPath) -> AttrPath {
        AttrPath { names: before.names.iter().chain(&self.names).cloned().collect() }
    }
}

impl<T: Into<String>> FromIterator<T> for AttrPath {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> AttrPath {
        AttrPath { names: names.into_iter().map(Into::into).collect() }
    }
}

impl fmt::Display for AttrPath {
    /// Writes the form that [`AttrPath::parse`] reads, with quotes where it needs them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            match is_plain(name) {
                true => write!(f, "{dot}{name}")?,
                false => write!(f, "{dot}\"{name}\"")?,
            }
        }
        Ok(())
    }
}

/// Returns whether a name needs no quotes: in a path, in an installable with `#` and `^`, and in a
/// shell.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_alphanumeric() || "_-+'".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_protect_dots() {
        let names = |text| AttrPath::parse(text).map(AttrPath::into_names).map_err(|error| error.to_string());
        for (text, expected) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a.\"b.c\"", &["a", "b.c"]),
            ("\"a.b\".c", &["a.b", "c"]),
            ("a\".b\"c.d", &["a.bc", "d"]),
            ("a.\"\".b", &["a", "", "b"]),
            ("\"\"", &[""]),
            ("a.2", &["a", "2"]),
        ] {
            assert_eq!(names(text).unwrap(), expected, "{text}");
        }
        for text in [".a", "a..b", "a."] {
            assert_eq!(names(text), Err(format!("empty attribute name in selection path '{text}'")));
        }
        assert_eq!(names("a.\"b"), Err("missing closing quote in selection path 'a.\"b'".to_owned()));
    }

    proptest! {
        #[test]
        fn printed_paths_parse_to_themselves(names in prop::collection::vec("[^\"]{0,6}|[a-z.]{0,4}", 0..5)) {
            let path: AttrPath = names.into_iter().collect();
            prop_assert_eq!(AttrPath::parse(&path.to_string()), Ok(path));
        }
    }
}
