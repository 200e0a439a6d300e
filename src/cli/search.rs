//! `search`: finds packages by name and description.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::print::say;
use crate::report::Failure;
use clap::Args;
use model::terminal::in_line;
use regex::{Regex, RegexBuilder};
use serde_json::json;
use workspace::outputs::Package;

#[derive(Debug, Args)]
pub struct Search {
    /// Flake, or a part of it such as `nixpkgs#python3Packages`
    #[arg(value_name = "INSTALLABLE")]
    pub installable: String,
    /// Regular expressions that the path, the name or the description matches, each of them;
    /// `^` matches all packages
    #[arg(value_name = "REGEX", required = true)]
    pub patterns: Vec<String>,
    /// Leave out packages that match this regular expression
    #[arg(short, long, value_name = "REGEX")]
    pub exclude: Vec<String>,
    /// Print JSON, in Nix's format
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

impl Search {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let patterns = expressions(&self.patterns)?;
        let exclusions = expressions(&self.exclude)?;
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let mut found = Vec::new();
        for installable in session.installables(std::slice::from_ref(&self.installable))? {
            let packages = session.packages(&installable)?.into_iter();
            found.extend(packages.filter(|package| {
                let matches = |pattern: &Regex| is_match(pattern, package);
                patterns.iter().all(matches) && !exclusions.iter().any(matches)
            }));
        }
        if self.json {
            let shown: serde_json::Map<_, _> = found
                .iter()
                .map(|package| {
                    let (pname, version) = split(&package.name);
                    let object = json!({ "pname": pname, "version": version, "description": package.description });
                    (package.path.clone(), object)
                })
                .collect();
            return say!("{}", serde_json::Value::from(shown));
        }
        for (number, package) in found.iter().enumerate() {
            let (_, version) = split(&package.name);
            let version = if version.is_empty() { String::new() } else { format!(" ({})", in_line(version)) };
            let gap = if number == 0 { "" } else { "\n" };
            say!("{gap}* {}{version}", in_line(&package.path))?;
            if !package.description.is_empty() {
                say!("  {}", in_line(&package.description))?;
            }
        }
        match found.is_empty() {
            true => {
                Err(Failure::new(format!("no package of `{}` matches", self.installable))
                    .help("`^` matches all packages"))
            }
            false => Ok(()),
        }
    }
}

fn expressions(texts: &[String]) -> Result<Vec<Regex>, Failure> {
    let expression = |text: &String| {
        let built = RegexBuilder::new(text).case_insensitive(true).build();
        built.map_err(|error| Failure::usage(format!("`{text}` is not a regular expression: {error}")))
    };
    texts.iter().map(expression).collect()
}

fn is_match(pattern: &Regex, package: &Package) -> bool {
    [&package.path, &package.name, &package.description].into_iter().any(|text| pattern.is_match(text))
}

/// Splits the name of a derivation into those of the package and of its version.
fn split(name: &str) -> (&str, &str) {
    super::store::split_version(name)
}
