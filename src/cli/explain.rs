//! `explain`: what an error's code means. The text is the book's page of errors.

use clap::Args;

use crate::print;
use crate::report::Failure;

const PAGE: &str = include_str!("../../docs/src/errors.md");

#[derive(Debug, Args)]
pub struct Explain {
    /// The code of an error, such as `lang::missing_attribute`; without one, all codes are listed
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

/// Codes and what the page says of them.
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
