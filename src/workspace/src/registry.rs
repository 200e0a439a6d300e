//! Registries of flakes: short names for references, as `nixpkgs` for `github:owner/nixpkgs`.
//!
//! ```text
//! --flake-registry FILE             wins, and the only one that inputs of flakes are looked up in
//! $XDG_CONFIG_HOME/eval/registry.json    the user's, which `ev registry` changes
//! /etc/eval/registry.json           the machine's
//! $XDG_CONFIG_HOME/nix/registry.json     those of Nix
//! /etc/nix/registry.json
//! ```
//!
//! The format of all of them is Nix's, version 2. Nothing is fetched: there is no global registry
//! on a server. A lock file must not depend on the user who writes it, so inputs are looked up in
//! the file of the flag alone.

use crate::environment::Environment;
use lang::flake::{FlakeRef, FlakeRefError};
use lang::host::FetchValue;
use os::private;
use serde_json::{Map, Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The most entries that lead from one to the next.
const STEPS_MAX: usize = 100;

/// One name.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub from: FlakeRef,
    pub to: FlakeRef,
    /// A branch or a revision in a request must be that of `from`.
    pub exact: bool,
}

/// Reader of a registry file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The file of `--flake-registry`.
    Flag,
    User,
    System,
    /// The user's of Nix.
    NixUser,
    /// The machine's of Nix.
    NixSystem,
}

impl Origin {
    /// Returns the word that a list of entries begins with.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Flag => "flag",
            Origin::User => "user",
            Origin::System => "system",
            Origin::NixUser => "nix-user",
            Origin::NixSystem => "nix-system",
        }
    }
}

/// The entries of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    pub origin: Origin,
    pub file: PathBuf,
    pub entries: Vec<Entry>,
}

/// Settings of the lookup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// A file that is asked before the others.
    pub file: Option<PathBuf>,
    /// Look nothing up.
    pub none: bool,
}

/// All registries of a user, in the order of the lookup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registries {
    pub registries: Vec<Registry>,
}

/// Extent of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// References on the command line.
    All,
    /// Inputs of flakes.
    Inputs,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("cannot read the registry of flakes `{}`: {cause}", file.display())]
    Read { file: PathBuf, cause: io::Error },
    #[error("cannot write the registry of flakes `{}`: {cause}", file.display())]
    Write { file: PathBuf, cause: io::Error },
    #[error("the registry of flakes `{}` is not valid: {why}", file.display())]
    Invalid { file: PathBuf, why: String },
    #[error("no registry has the flake '{0}'")]
    Unknown(String),
    #[error("the registries of flakes lead from '{0}' back to itself")]
    Cycle(String),
    #[error("there is no home directory for a registry of flakes")]
    NoHome,
    #[error(transparent)]
    Reference(#[from] FlakeRefError),
}

impl RegistryError {
    /// Returns the next step of the user.
    pub fn help(&self) -> Option<String> {
        match self {
            RegistryError::Unknown(name) => {
                let name = name.strip_prefix("flake:").unwrap_or(name);
                // Without the branch.
                let name = name.split(['/', '?']).next().unwrap_or(name);
                Some(format!(
                    "say where it is, as in `github:owner/{name}`, or name it once: `ev registry add {name} github:owner/{name}`"
                ))
            }
            RegistryError::Invalid { .. } => Some("`--no-registries` does without".to_owned()),
            _ => None,
        }
    }
}

impl Registries {
    /// Reads the files that exist.
    ///
    /// # Errors
    /// When one cannot be read, or does not have the format.
    pub fn read(settings: &RegistrySettings, environment: &Environment) -> Result<Registries, RegistryError> {
        if settings.none {
            return Ok(Registries::default());
        }
        let own = environment.user_directory("XDG_CONFIG_HOME", ".config");
        let below_config = own.as_ref().and_then(|own| own.parent());
        let files = [
            (Origin::Flag, settings.file.clone()),
            (Origin::User, user_file(environment)),
            (Origin::System, Some(PathBuf::from("/etc/eval/registry.json"))),
            (Origin::NixUser, below_config.map(|config| config.join("nix/registry.json"))),
            (Origin::NixSystem, Some(PathBuf::from("/etc/nix/registry.json"))),
        ];
        let mut registries = Vec::new();
        for (origin, file) in files {
            let Some(file) = file else { continue };
            match Registry::read(origin, &file) {
                Err(RegistryError::Read { cause, .. })
                    if origin != Origin::Flag && cause.kind() == io::ErrorKind::NotFound => {}
                read => registries.push(read?),
            }
        }
        Ok(Registries { registries })
    }

    /// Replaces a reference by that of the first entry for it, until there is none.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] for a name without an entry.
    pub fn resolve(&self, reference: &FlakeRef, scope: Scope) -> Result<FlakeRef, RegistryError> {
        let mut found = reference.clone();
        let shown = || reference.to_url().unwrap_or_default();
        for _ in 0..STEPS_MAX {
            let visible = self.registries.iter().filter(|one| scope == Scope::All || one.origin == Origin::Flag);
            match visible.flat_map(|registry| &registry.entries).find_map(|entry| entry.apply(&found)) {
                Some(next) => found = next,
                None if found.kind() == "indirect" => return Err(RegistryError::Unknown(shown())),
                None => return Ok(found),
            }
        }
        Err(RegistryError::Cycle(shown()))
    }
}

/// The registries of a session, read when they are needed first: a damaged one fails only the
/// commands that use names.
#[derive(Debug, Default)]
pub struct LazyRegistries {
    settings: RegistrySettings,
    environment: Environment,
    read: OnceLock<Registries>,
}

impl LazyRegistries {
    pub fn new(settings: RegistrySettings, environment: Environment) -> LazyRegistries {
        LazyRegistries { settings, environment, read: OnceLock::new() }
    }

    /// # Errors
    /// The errors of [`Registries::read`].
    pub fn get(&self) -> Result<&Registries, RegistryError> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let read = Registries::read(&self.settings, &self.environment)?;
        Ok(self.read.get_or_init(|| read))
    }

    /// # Errors
    /// The errors of [`Registries::read`] and [`Registries::resolve`].
    pub fn resolve(&self, reference: &FlakeRef, scope: Scope) -> Result<FlakeRef, RegistryError> {
        // A damaged registry does not concern references that it cannot have an entry for.
        let is_known = scope == Scope::Inputs && self.settings.file.is_none() || reference.kind() == "path";
        if is_known && reference.kind() != "indirect" {
            return Ok(reference.clone());
        }
        self.get()?.resolve(reference, scope)
    }
}

impl Entry {
    /// Returns the reference that this entry has for another; `None` when it is not for it.
    fn apply(&self, reference: &FlakeRef) -> Option<FlakeRef> {
        let versions = ["ref", "rev"];
        let mut wanted = reference.clone();
        wanted.remove("dir");
        let mut plain = wanted.clone();
        if !self.exact {
            versions.iter().for_each(|name| plain.remove(name));
        }
        if self.from != wanted && self.from != plain || self.to == wanted {
            return None;
        }
        let mut to = self.to.clone();
        for name in versions {
            if let (None, Some(value)) = (self.from.text(name), wanted.text(name)) {
                // A revision and a branch exclude each other.
                versions.iter().for_each(|other| to.remove(other));
                to.insert(name, FetchValue::String(value.to_owned()));
                to.remove("narHash");
                to.remove("lastModified");
            }
        }
        if let (None, Some(dir)) = (to.text("dir"), reference.text("dir")) {
            to.insert("dir", FetchValue::String(dir.to_owned()));
        }
        Some(to)
    }
}

/// Returns the file of the user's registry.
pub fn user_file(environment: &Environment) -> Option<PathBuf> {
    Some(environment.user_directory("XDG_CONFIG_HOME", ".config")?.join("registry.json"))
}

impl Registry {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or does not have the format.
    pub fn read(origin: Origin, file: &Path) -> Result<Registry, RegistryError> {
        let text = fs::read(file).map_err(|cause| RegistryError::Read { file: file.to_owned(), cause })?;
        let entries = entries(&text).map_err(|why| RegistryError::Invalid { file: file.to_owned(), why })?;
        Ok(Registry { origin, file: file.to_owned(), entries })
    }

    /// Reads the user's own registry, which may not exist yet.
    ///
    /// # Errors
    /// When there is no home directory, or the file cannot be read.
    pub fn of_user(environment: &Environment) -> Result<Registry, RegistryError> {
        let file = user_file(environment).ok_or(RegistryError::NoHome)?;
        match Registry::read(Origin::User, &file) {
            Err(RegistryError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                Ok(Registry { origin: Origin::User, file, entries: Vec::new() })
            }
            read => read,
        }
    }

    /// Adds an entry in the place of that for the same reference.
    pub fn add(&mut self, from: FlakeRef, to: FlakeRef) {
        self.remove(&from);
        self.entries.push(Entry { from, to, exact: false });
    }

    /// Removes the entry for a reference, and returns whether there was one.
    pub fn remove(&mut self, from: &FlakeRef) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.from != *from);
        self.entries.len() < before
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<(), RegistryError> {
        let failed = |cause| RegistryError::Write { file: self.file.clone(), cause };
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(failed)?;
        let fresh = self.file.with_extension(format!("json.{}", std::process::id()));
        let written = private::write_file(&fresh, self.to_text().as_bytes())
            .and_then(|()| fs::rename(&fresh, &self.file))
            .inspect_err(|_| drop(fs::remove_file(&fresh)));
        written.map_err(failed)
    }

    fn to_text(&self) -> String {
        let flakes: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| {
                let mut object = json!({ "from": attributes(&entry.from), "to": attributes(&entry.to) });
                if entry.exact {
                    object["exact"] = true.into();
                }
                object
            })
            .collect();
        let file = json!({ "flakes": flakes, "version": 2 });
        serde_json::to_string_pretty(&file).expect("names and numbers are JSON") + "\n"
    }
}

/// Returns the attributes of a reference as JSON.
pub fn attributes(reference: &FlakeRef) -> Map<String, Value> {
    let value = |value: &FetchValue| match value {
        FetchValue::String(text) => json!(text),
        FetchValue::Int(number) => json!(number),
        FetchValue::Bool(flag) => json!(flag),
    };
    reference.attributes().iter().map(|(name, member)| (name.clone(), value(member))).collect()
}

fn entries(text: &[u8]) -> Result<Vec<Entry>, String> {
    let file: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if file["version"] != 2 {
        return Err("its version is not 2".to_owned());
    }
    let flakes = file["flakes"].as_array().ok_or("it has no list 'flakes'")?;
    flakes.iter().map(entry).collect()
}

fn entry(value: &Value) -> Result<Entry, String> {
    let mut to = reference(&value["to"])?;
    // Nix has the directory beside the other attributes of the tree.
    if let Some(dir) = value["to"]["dir"].as_str() {
        to.insert("dir", FetchValue::String(dir.to_owned()));
    }
    Ok(Entry { from: reference(&value["from"])?, to, exact: value["exact"] == true })
}

fn reference(value: &Value) -> Result<FlakeRef, String> {
    let mut reference = FlakeRef::default();
    for (name, value) in value.as_object().ok_or("an entry has no references 'from' and 'to'")? {
        let value = match value {
            Value::String(text) => FetchValue::String(text.clone()),
            Value::Bool(flag) => FetchValue::Bool(*flag),
            Value::Number(number) if number.is_i64() => FetchValue::Int(number.as_i64().unwrap_or_default()),
            _ => return Err(format!("the attribute '{name}' is neither a string, an integer nor a Boolean")),
        };
        reference.insert(name, value);
    }
    if reference.kind().is_empty() {
        return Err("a reference has no 'type'".to_owned());
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FlakeRef {
        FlakeRef::parse(text).expect("it is a reference")
    }

    fn registry(origin: Origin, pairs: &[(&str, &str)]) -> Registry {
        let entries = pairs.iter().map(|(from, to)| Entry { from: parse(from), to: parse(to), exact: false }).collect();
        Registry { origin, file: "/r.json".into(), entries }
    }

    #[test]
    fn names_lead_to_references() {
        let registries = Registries {
            registries: vec![
                registry(Origin::Flag, &[("a", "b"), ("github:o/moved", "github:n/moved")]),
                registry(
                    Origin::User,
                    &[("b", "github:o/b/main?dir=sub"), ("c", "c2"), ("c2", "c"), ("b/x", "path:/x")],
                ),
                registry(Origin::System, &[("b", "path:/never"), ("s", "path:/s")]),
            ],
        };
        let resolve = |text: &str, scope| match registries.resolve(&parse(text), scope) {
            Ok(found) => found.to_url().expect("it can be printed"),
            Err(error) => error.to_string(),
        };
        for (text, expected) in [
            ("a", "github:o/b/main?dir=sub"),
            ("a/dev", "github:o/b/dev?dir=sub"),
            (
                "b/53b847f5f2705afc01ef70b6f60e323bf6f61421",
                "github:o/b/53b847f5f2705afc01ef70b6f60e323bf6f61421?dir=sub",
            ),
            ("s?dir=d", "path:/s?dir=d"),
            ("github:o/moved/v1", "github:n/moved/v1"),
            ("github:o/stays", "github:o/stays"),
            ("c", "the registries of flakes lead from 'flake:c' back to itself"),
            ("none", "no registry has the flake 'flake:none'"),
        ] {
            assert_eq!(resolve(text, Scope::All), expected, "{text}");
        }
        assert_eq!(resolve("s", Scope::Inputs), "no registry has the flake 'flake:s'");
        assert_eq!(resolve("github:o/moved", Scope::Inputs), "github:n/moved");
    }

    #[test]
    fn files_are_those_of_nix() {
        let text = br#"{ "flakes": [ { "exact": true, "from": { "id": "n", "type": "indirect" },
            "to": { "dir": "d", "lastModified": 1, "path": "/n", "type": "path" } } ], "version": 2 }"#;
        let read = entries(text).expect("it has the format");
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].to.to_url().as_deref(), Ok("path:/n?dir=d&lastModified=1"));
        assert!(read[0].exact);
        let registry = Registry { origin: Origin::User, file: "/r.json".into(), entries: read.clone() };
        assert_eq!(entries(registry.to_text().as_bytes()), Ok(read));
        for (text, why) in [
            ("{", "EOF while parsing an object at line 1 column 1"),
            ("{ \"version\": 1 }", "its version is not 2"),
            ("{ \"version\": 2 }", "it has no list 'flakes'"),
            ("{ \"version\": 2, \"flakes\": [ { } ] }", "an entry has no references 'from' and 'to'"),
            ("{ \"version\": 2, \"flakes\": [ { \"from\": { }, \"to\": { } } ] }", "a reference has no 'type'"),
            (
                "{ \"version\": 2, \"flakes\": [ { \"from\": { \"type\": [ ] }, \"to\": { \"type\": \"path\" } } ] }",
                "the attribute 'type' is neither a string, an integer nor a Boolean",
            ),
        ] {
            assert_eq!(entries(text.as_bytes()), Err(why.to_owned()));
        }
    }
}
