//! `explain`: prints the meaning of an error code, from the book's page of errors.

use crate::print;
use crate::report::Failure;
use clap::Args;

const PAGE: &str = include_str!("../../docs/src/errors.md");

#[derive(Debug, Args)]
pub struct Explain {
    /// Error code, such as `lang::missing_attribute`; all codes are listed without one
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

impl Explain {
    pub fn run(self) -> Result<(), Failure> {
        let text = match &self.code {
            None => sections().map(|(code, _)| format!("{code}\n")).collect(),
            Some(wanted) => explanation(wanted)?,
        };
        print::bytes(text.as_bytes())
    }
}

/// Returns the codes and their sections of the page.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGE.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'))
}

fn explanation(wanted: &str) -> Result<String, Failure> {
    let found = sections()
        .find(|(code, _)| *code == wanted)
        .or_else(|| sections().find(|(code, _)| code.strip_prefix("lang::") == Some(wanted)));
    if let Some((code, text)) = found {
        return Ok(format!("{code}\n\n{}\n", text.trim_end()));
    }
    let failure = Failure::usage(format!("no error has the code `{wanted}`"));
    Err(match lang::error::suggest(wanted, sections().map(|(code, _)| code)) {
        Some(close) => failure.help(format!("did you mean `{close}`?")),
        None => failure.help("`ev explain` lists all codes"),
    })
}

#[cfg(test)]
mod tests {
    use super::sections;
    use crate::report::CODES;
    use builder::BuildError;
    use deliver::prefix::PrefixError;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use store::StoreError;

    #[test]
    fn every_code_is_explained_and_no_other() {
        let codes = CODES.into_iter().chain(StoreError::CODES).chain(PrefixError::CODES).chain(BuildError::CODES);
        let known: BTreeSet<&str> = codes.chain(lang::error::CODES.iter().copied()).collect();
        let sections: BTreeSet<&str> = sections().map(|(code, _)| code).collect();
        assert_eq!(known.difference(&sections).collect::<Vec<_>>(), [&""; 0], "not explained");
        assert_eq!(sections.difference(&known).collect::<Vec<_>>(), [&""; 0], "explained, but never reported");
    }

    /// No list decides this: every text of a crate that has the form of a code is explained.
    #[test]
    fn every_code_in_the_sources_is_explained() {
        let sections: BTreeSet<&str> = sections().map(|(code, _)| code).collect();
        let mut found = BTreeSet::new();
        let mut directories: Vec<PathBuf> =
            ["lang/src", "store", "builder", "src"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).into();
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    found.extend(text.split('"').filter(|text| is_code(text)).map(str::to_owned));
                }
            }
        }
        assert!(found.contains("build::network") && found.contains("lang::no_such_file"));
        let missing: Vec<_> = found.iter().filter(|code| !sections.contains(code.as_str())).collect();
        assert!(missing.is_empty(), "not explained: {missing:?}");
    }

    fn is_code(text: &str) -> bool {
        ["lang", "store", "prefix", "build"].iter().any(|library| {
            let name = text.strip_prefix(library).and_then(|rest| rest.strip_prefix("::"));
            name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        })
    }
}
