//! `flake show`: the outputs of a flake as a tree. Builds nothing, and evaluates no more of a package
//! than its name and description.

use super::kinds::Kind;
use super::picture::Branch;
use super::session::{FlakeArguments, OpenFlake, concerns_output, or_json, text_at};
use crate::cli::Global;
use crate::print::say;
use crate::report::Failure;
use clap::Args;
use lang::Value;
use lang::text::attr_path::AttrPath;
use serde_json::{Map, json};
use workspace::Error;
use workspace::environment::current_system;

#[derive(Debug, Args)]
pub struct Show {
    /// Show the packages of `legacyPackages`, of which there may be very many
    #[arg(long)]
    pub legacy: bool,
    /// Show the outputs for all systems
    #[arg(long)]
    pub all_systems: bool,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flake: FlakeArguments,
}

/// An output as it is shown.
enum Shown {
    Set(Vec<(String, Shown)>),
    /// Words, and the JSON object.
    Leaf(String, serde_json::Value),
    /// The flag that shows it.
    Omitted(&'static str),
    Failed(String),
}

struct Walk<'f> {
    show: &'f Show,
    flake: &'f OpenFlake,
    system: String,
    failed: Vec<String>,
}

impl Show {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let (name, shown, failed) = or_json(self.show(global), self.json)?;
        if self.json {
            let object = json!({
                "version": 1, "success": failed.is_empty(), "flake": name, "outputs": to_json(&shown), "failed": failed,
            });
            say!("{object}")?;
        } else {
            say!("{name}")?;
            for line in branch(String::new(), &shown).lines_below() {
                say!("{line}")?;
            }
        }
        match &failed[..] {
            [] => Ok(()),
            [one] => Err(Failure::new(format!("the output `{one}` cannot be evaluated"))
                .help("`ev flake check` shows where the error is")),
            many => Err(Failure::new(format!("{} outputs cannot be evaluated: `{}`", many.len(), many.join("`, `")))
                .help("`ev flake check` shows where the errors are")),
        }
    }
}

impl Show {
    /// Returns the name of the flake, its outputs, and the paths of those that fail.
    fn show(&self, global: &Global) -> Result<(String, Shown, Vec<String>), Failure> {
        let flake = self.flake.open(global)?;
        let outputs = flake.outputs()?;
        let mut walk = Walk { show: self, flake: &flake, system: current_system(), failed: Vec::new() };
        let shown = walk.output(&mut Vec::new(), outputs)?;
        Ok((flake.name(), shown, walk.failed))
    }
}

impl Walk<'_> {
    /// Returns the form of an output. An error of the output itself is a part of it.
    fn output(&mut self, path: &mut Vec<String>, value: Value) -> Result<Shown, Error> {
        match self.evaluated(path, value) {
            Ok(shown) => Ok(shown),
            Err(error) => {
                let message = concerns_output(error)?.to_string();
                self.failed.push(path.iter().collect::<AttrPath>().to_string());
                Ok(Shown::Failed(message.lines().next().unwrap_or_default().to_owned()))
            }
        }
    }

    fn evaluated(&mut self, path: &mut Vec<String>, value: Value) -> Result<Shown, Error> {
        let is_other = Kind::system(path).is_some_and(|system| *system != self.system);
        if is_other && !self.show.all_systems {
            return Ok(Shown::Omitted("--all-systems"));
        }
        let leaf = |words: &str, kind: &str| Shown::Leaf(words.to_owned(), json!({ "type": kind }));
        match Kind::of(path).unwrap_or(Kind::Unknown) {
            Kind::Set | Kind::System => self.set(path, value),
            Kind::Legacy if !self.show.legacy => Ok(Shown::Omitted("--legacy")),
            Kind::Legacy => self.packages(path, value, true),
            Kind::Jobs => self.packages(path, value, true),
            Kind::Derivation(word) => self.derivation(value, word)?.ok_or_else(|| not(path, "a derivation")),
            Kind::App => self.described("app", value, &["meta", "description"]),
            Kind::Template => self.described("template", value, &["description"]),
            Kind::Overlay => Ok(leaf("Nixpkgs overlay", "nixpkgs-overlay")),
            Kind::Module => Ok(leaf("NixOS module", "nixos-module")),
            Kind::Configuration => Ok(leaf("NixOS configuration", "nixos-configuration")),
            Kind::Library => Ok(leaf("library", "library")),
            Kind::Unknown => Ok(leaf("unknown", "unknown")),
        }
    }

    fn set(&mut self, path: &mut Vec<String>, value: Value) -> Result<Shown, Error> {
        let members = self.flake.members(value)?.ok_or_else(|| not(path, "a set"))?;
        let mut shown = Vec::new();
        for (name, member) in members {
            path.push(name.clone());
            shown.push((name, self.output(path, member)?));
            path.pop();
        }
        Ok(Shown::Set(shown))
    }

    /// Returns a derivation, or a set of derivations to any depth. Other values are left out.
    fn packages(&mut self, path: &mut Vec<String>, value: Value, is_top: bool) -> Result<Shown, Error> {
        let is_job = path.first().is_some_and(|kind| kind == "hydraJobs");
        if let Some(shown) = self.derivation(value, if is_job { "derivation" } else { "package" })? {
            return Ok(shown);
        }
        let Some(members) = self.flake.members(value)? else { return Ok(Shown::Set(Vec::new())) };
        let recurses = |members: &[(String, Value)]| {
            let flag = members.iter().find(|(name, _)| name == "recurseForDerivations");
            flag.is_some_and(|(_, flag)| {
                let forced = self.flake.session.evaluate(|evaluator| evaluator.force(*flag));
                forced.is_ok_and(|flag| flag.as_bool() == Some(true))
            })
        };
        if !is_top && !is_job && !recurses(&members) {
            return Ok(Shown::Set(Vec::new()));
        }
        let mut shown = Vec::new();
        for (name, member) in members {
            path.push(name.clone());
            let output = match self.packages(path, member, false) {
                Ok(output) => output,
                Err(error) => {
                    Shown::Failed(concerns_output(error)?.to_string().lines().next().unwrap_or_default().to_owned())
                }
            };
            path.pop();
            if !matches!(&output, Shown::Set(members) if members.is_empty()) {
                shown.push((name, output));
            }
        }
        Ok(Shown::Set(shown))
    }

    /// Returns a derivation with its name and description; `None` for other values.
    fn derivation(&self, value: Value, word: &str) -> Result<Option<Shown>, Error> {
        let found = self.flake.session.evaluate(|evaluator| {
            let value = evaluator.force(value)?;
            if text_at(evaluator, value, &["type"]).as_deref() != Some("derivation") {
                return Ok(None);
            }
            let name = match evaluator.attr(value, "name")? {
                Some(name) => evaluator.string_of(name)?,
                None => String::new(),
            };
            Ok(Some((name, text_at(evaluator, value, &["meta", "description"]))))
        })?;
        Ok(found.map(|(name, description)| {
            let words = format!("{word} '{name}'{}", dashed(description.as_deref()));
            let mut object = json!({ "type": "derivation", "name": name });
            if let Some(description) = description {
                object["description"] = description.into();
            }
            Shown::Leaf(words, object)
        }))
    }

    fn described(&self, kind: &str, value: Value, place: &[&str]) -> Result<Shown, Error> {
        let description = self.flake.session.evaluate(|evaluator| {
            let value = evaluator.force(value)?;
            Ok(text_at(evaluator, value, place))
        })?;
        let words = format!("{kind}{}", dashed(description.as_deref()));
        let mut object = json!({ "type": kind });
        if let Some(description) = description {
            object["description"] = description.into();
        }
        Ok(Shown::Leaf(words, object))
    }
}

/// Returns the first line of a description, in quotes after a dash.
fn dashed(description: Option<&str>) -> String {
    match description.and_then(|text| text.trim().lines().next()) {
        Some(line) => format!(" - '{line}'"),
        None => String::new(),
    }
}

fn not(path: &[String], wanted: &str) -> Error {
    Error::WrongOutput { path: path.iter().collect(), wanted: wanted.to_owned() }
}

fn branch(name: String, shown: &Shown) -> Branch {
    match shown {
        Shown::Set(members) => {
            let below = members.iter().map(|(name, shown)| branch(name.clone(), shown)).collect();
            Branch { text: name, below }
        }
        Shown::Leaf(words, _) => Branch::new(format!("{name}: {words}")),
        Shown::Omitted(flag) => Branch::new(format!("{name} omitted (use '{flag}' to show)")),
        Shown::Failed(message) => Branch::new(format!("{name}: error: {message}")),
    }
}

fn to_json(shown: &Shown) -> serde_json::Value {
    match shown {
        Shown::Set(members) => {
            let members: Map<_, _> = members.iter().map(|(name, shown)| (name.clone(), to_json(shown))).collect();
            members.into()
        }
        Shown::Leaf(_, object) => object.clone(),
        Shown::Omitted(_) => json!({}),
        Shown::Failed(message) => json!({ "type": "error", "error": message }),
    }
}
