//! `flake metadata`: the place, the age and the inputs of a flake.

use super::picture::Branch;
use super::session::{FlakeArguments, OpenFlake};
use crate::cli::Global;
use crate::print::say;
use crate::report::Failure;
use clap::Args;
use lang::flake::FlakeRef;
use lang::host::FetchValue;
use serde_json::{Map, Value, json};
use workspace::lock_file::{Edge, Node};
use workspace::registry::attributes;

#[derive(Debug, Args)]
pub struct Metadata {
    /// Print as JSON, with Nix's names
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flake: FlakeArguments,
}

impl Metadata {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let flake = self.flake.open(global)?;
        let original = flake.session.named_reference(&self.flake.flake)?;
        let facts = facts(&flake)?;
        let description = flake.session.evaluate(|evaluator| evaluator.flake_description(&flake.locked.tree))?;
        if self.json {
            return say!("{}", to_json(&flake, &original, &facts, description.as_deref())?);
        }
        let text = |name: &str| facts.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| facts.get(name).and_then(Value::as_i64);
        let lines = [
            ("Resolved URL", Some(flake.name())),
            ("Locked URL", Some(locked(&flake, &facts).to_url().unwrap_or_default())),
            ("Description", description),
            ("Path", text("outPath")),
            ("Revision", text("rev").or_else(|| text("dirtyRev"))),
            ("Revisions", number("revCount").map(|count| count.to_string())),
            ("Last modified", number("lastModified").map(date)),
        ];
        for (name, value) in lines {
            let Some(value) = value else { continue };
            say!("{:14} {value}", format!("{name}:"))?;
        }
        let inputs = Branch { text: String::new(), below: branches(&flake.locked.after) }.lines_below();
        if !inputs.is_empty() {
            say!("Inputs:")?;
        }
        for line in inputs {
            say!("{line}")?;
        }
        Ok(())
    }
}

/// Returns the known attributes of the flake's tree.
fn facts(flake: &OpenFlake) -> Result<Map<String, Value>, Failure> {
    let text = flake.session.evaluate(|evaluator| {
        let facts = evaluator.tree_facts(&flake.reference, &flake.locked.tree)?;
        let mut known = Vec::new();
        for attr in facts.as_attrs().into_iter().flat_map(|set| set.sorted()) {
            let value = evaluator.force(attr.value)?;
            // A set with an `outPath` prints as that alone.
            if value.as_attrs().is_none() {
                known.push((String::from_utf8_lossy(attr.name.name()).into_owned(), evaluator.json(value)?));
            }
        }
        Ok(known)
    })?;
    Ok(text.into_iter().map(|(name, json)| (name, serde_json::from_slice(&json).unwrap_or_default())).collect())
}

/// Returns the reference of the flake's present tree, as far as its attributes are known.
fn locked(flake: &OpenFlake, facts: &Map<String, Value>) -> FlakeRef {
    let mut locked = flake.reference.clone();
    for name in ["lastModified", "narHash", "rev", "revCount", "dirtyRev", "dirtyShortRev"] {
        match facts.get(name) {
            Some(Value::String(text)) => locked.insert(name, FetchValue::String(text.clone())),
            Some(Value::Number(number)) => locked.insert(name, FetchValue::Int(number.as_i64().unwrap_or_default())),
            _ => {}
        }
    }
    locked
}

fn to_json(
    flake: &OpenFlake,
    original: &FlakeRef,
    facts: &Map<String, Value>,
    description: Option<&str>,
) -> Result<Value, Failure> {
    let locked = locked(flake, facts);
    let url = |reference: &FlakeRef| reference.to_url().unwrap_or_default();
    let locks: Value = serde_json::from_str(&flake.locked.after.to_text()).unwrap_or_default();
    let mut object = json!({
        "version": 1,
        "original": attributes(original), "originalUrl": url(original),
        "resolved": attributes(&flake.reference), "resolvedUrl": url(&flake.reference),
        "locked": attributes(&locked), "url": url(&locked),
        "locks": locks,
    });
    if let Some(description) = description {
        object["description"] = description.into();
    }
    for (name, fact) in [
        ("path", "outPath"),
        ("revision", "rev"),
        ("dirtyRevision", "dirtyRev"),
        ("revCount", "revCount"),
        ("lastModified", "lastModified"),
    ] {
        if let Some(value) = facts.get(fact) {
            object[name] = value.clone();
        }
    }
    Ok(object)
}

fn branches(node: &Node) -> Vec<Branch> {
    let branch = |(name, edge): (&String, &Edge)| match edge {
        Edge::Follows(path) => Branch::new(format!("{name} follows input '{}'", path.join("/"))),
        Edge::Node(node) => {
            let pin = node.pin.as_ref();
            let url = pin.and_then(|pin| pin.locked.to_url().ok()).unwrap_or_default();
            let age = match pin.and_then(|pin| pin.locked.attributes().get("lastModified")) {
                Some(FetchValue::Int(seconds)) => format!(" ({})", date(*seconds)),
                _ => String::new(),
            };
            Branch { text: format!("{name}: {url}{age}"), below: branches(node) }
        }
    };
    node.inputs.iter().map(branch).collect()
}

/// Formats seconds since 1970 as a date and time of UTC; out of range, as they are.
fn date(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => seconds.to_string(),
    }
}
