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
    use store::StoreError;

    #[test]
    fn every_code_is_explained_and_no_other() {
        let codes = CODES.into_iter().chain(StoreError::CODES).chain(PrefixError::CODES).chain(BuildError::CODES);
        let known: BTreeSet<&str> = codes.chain(lang::error::CODES.iter().copied()).collect();
        let sections: BTreeSet<&str> = sections().map(|(code, _)| code).collect();
        assert_eq!(known.difference(&sections).collect::<Vec<_>>(), [&""; 0], "not explained");
        assert_eq!(sections.difference(&known).collect::<Vec<_>>(), [&""; 0], "explained, but never reported");
    }
}
