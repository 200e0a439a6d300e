//! User names and passwords by host, as in `.netrc`.
//!
//! The words `machine`, `default`, `login`, `password` and `account` are known; macros (`macdef`)
//! end at an empty line and are skipped. Secrets are kept out of `Debug` output, and messages never
//! show them.

use std::fmt;

/// The entries of a `.netrc`, in the order of the file.
#[derive(Clone, Default)]
pub struct Netrc {
    entries: Vec<Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    /// `None` for `default`.
    machine: Option<String>,
    login: String,
    password: String,
}

impl Netrc {
    /// Reads the text of a `.netrc`; words it does not know are skipped.
    pub fn parse(text: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut in_macro = false;
        for line in text.lines() {
            if in_macro {
                in_macro = !line.trim().is_empty();
                continue;
            }
            let mut words = line.split_whitespace();
            while let Some(word) = words.next() {
                match word {
                    "machine" => {
                        entries.push(Entry { machine: words.next().map(str::to_owned), ..Entry::default() });
                    }
                    "default" => entries.push(Entry::default()),
                    "login" | "password" | "account" => {
                        let value = words.next().unwrap_or_default().to_owned();
                        match (word, entries.last_mut()) {
                            ("login", Some(entry)) => entry.login = value,
                            ("password", Some(entry)) => entry.password = value,
                            _ => {}
                        }
                    }
                    "macdef" => {
                        in_macro = true;
                        break;
                    }
                    word if word.starts_with('#') => break,
                    _ => {}
                }
            }
        }
        Self { entries }
    }

    /// Returns login and password for `host`: the first entry that names it, else the `default`
    /// entry.
    pub fn lookup(&self, host: &str) -> Option<(&str, &str)> {
        self.entries
            .iter()
            .find(|entry| entry.machine.as_deref().is_none_or(|machine| machine.eq_ignore_ascii_case(host)))
            .map(|entry| (entry.login.as_str(), entry.password.as_str()))
    }
}

impl fmt::Debug for Netrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.machine)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_on_one_line_and_on_many() {
        let netrc = Netrc::parse(
            "# mine\nmachine a.example login me password s3cret\nmacdef init\nmachine evil login x\n\nmachine b.example\n login you\n password p#w\n",
        );
        assert_eq!(netrc.lookup("A.example"), Some(("me", "s3cret")));
        assert_eq!(netrc.lookup("b.example"), Some(("you", "p#w")));
        assert_eq!(netrc.lookup("evil"), None);
        assert!(!format!("{netrc:?}").contains("s3cret"));
        assert_eq!(Netrc::parse("default login anonymous password x").lookup("any"), Some(("anonymous", "x")));
    }
}
