//! Arguments of commands: a flake output `REF#ATTR^OUTPUTS`, an attribute `ATTR^OUTPUTS` of a file
//! or expression, or a store path.

use crate::sources::reference_of_directory;
use lang::flake::{FlakeRef, FlakeRefError};
use lang::host::FetchValue;
use lang::text::attr_path::{AttrPath, AttrPathError};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// One thing to build or to inspect.
#[derive(Debug, Clone, PartialEq)]
pub enum Installable {
    /// An output of a flake. A reference to a directory is absolute.
    Flake { reference: FlakeRef, attr: FlakeAttr, outputs: Outputs },
    /// An attribute of the value of `-f` or `--expr`; empty for the value itself.
    Attr { path: String, outputs: Outputs },
    /// A logical store path, or the path of a link or of a physical store path.
    StorePath { path: PathBuf, outputs: Outputs },
}

/// Lookup of a flake's attribute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlakeAttr {
    /// In `packages.<system>`, then `legacyPackages.<system>`, then unchanged; an empty path is
    /// `default`.
    Search(AttrPath),
    /// Unchanged only (`.#.x`).
    Exact(AttrPath),
}

/// The outputs of a flake that a command looks in before packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    #[default]
    Packages,
    /// `apps.<system>`, for programs to run.
    Apps,
    /// `devShells.<system>`, for environments to work in.
    Shells,
}

impl FlakeAttr {
    /// Returns the attribute paths to try for a command, first one first.
    pub fn candidates_of(&self, system: &str, lookup: Lookup) -> Vec<AttrPath> {
        let (set, old) = match lookup {
            Lookup::Packages => return self.candidates(system),
            Lookup::Apps => ("apps", "defaultApp"),
            Lookup::Shells => ("devShells", "devShell"),
        };
        let mut candidates: Vec<AttrPath> = match self {
            FlakeAttr::Search(path) if path.is_empty() => {
                vec![[set, system, "default"].into_iter().collect(), [old, system].into_iter().collect()]
            }
            FlakeAttr::Search(path) => vec![path.below(&[set, system].into_iter().collect())],
            FlakeAttr::Exact(_) => Vec::new(),
        };
        candidates.extend(self.candidates(system));
        candidates
    }

    /// Parses the part after `#`.
    ///
    /// # Errors
    /// When it is not an attribute path.
    pub fn parse(text: &str) -> Result<FlakeAttr, InstallableError> {
        Ok(match text.strip_prefix('.') {
            Some(exact) => FlakeAttr::Exact(AttrPath::parse(exact)?),
            None => FlakeAttr::Search(AttrPath::parse(text)?),
        })
    }

    pub fn path(&self) -> &AttrPath {
        match self {
            FlakeAttr::Search(path) | FlakeAttr::Exact(path) => path,
        }
    }

    /// Returns the sets that a path is looked up in, first one first.
    pub fn places(&self, system: &str) -> Vec<AttrPath> {
        match self {
            FlakeAttr::Search(_) => {
                vec![
                    ["packages", system].into_iter().collect(),
                    ["legacyPackages", system].into_iter().collect(),
                    AttrPath::default(),
                ]
            }
            FlakeAttr::Exact(_) => vec![AttrPath::default()],
        }
    }

    /// Returns the attribute paths to try, first one first.
    pub fn candidates(&self, system: &str) -> Vec<AttrPath> {
        match self {
            FlakeAttr::Search(path) if path.is_empty() => {
                vec![
                    ["packages", system, "default"].into_iter().collect(),
                    ["defaultPackage", system].into_iter().collect(),
                ]
            }
            FlakeAttr::Search(path) | FlakeAttr::Exact(path) => {
                self.places(system).iter().map(|place| path.below(place)).collect()
            }
        }
    }
}

/// Selection of a derivation's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outputs {
    /// The one that the expression selects, `out` by default.
    Default,
    All,
    Named(Vec<String>),
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum InstallableError {
    #[error("`{0}` has no outputs after `^`")]
    NoOutputs(String),
    #[error("cannot find a `flake.nix` in `{0}`{1}")]
    NoFlake(String, &'static str),
    #[error(
        "`{0}` is a file outside the store; name a path in the store, a result link, or a directory with a `flake.nix`"
    )]
    PlainFile(String),
    #[error(transparent)]
    AttrPath(#[from] AttrPathError),
    #[error(transparent)]
    Reference(#[from] FlakeRefError),
}

impl Installable {
    /// Parses an argument; `attr_mode` when `-f` or `--expr` was given. Relative paths start at
    /// `cwd`.
    ///
    /// # Errors
    /// [`InstallableError`] when a path has no flake, or the reference cannot be parsed.
    pub fn parse(text: &str, attr_mode: bool, cwd: &Path) -> Result<Installable, InstallableError> {
        let (head, outputs) = split_outputs(text)?;
        if attr_mode {
            return Ok(Installable::Attr { path: head.to_owned(), outputs });
        }
        let (reference, attr) = FlakeRef::split_fragment(head);
        if attr.is_none() && is_store_path_like(head, cwd) {
            return Ok(Installable::StorePath { path: cwd.join(head), outputs });
        }
        let reference = flake_reference(reference, cwd)?;
        let attr = FlakeAttr::parse(attr.as_deref().unwrap_or_default())?;
        Ok(Installable::Flake { reference, attr, outputs })
    }
}

/// Splits off the outputs after the last `^` that is not part of a quoted name.
fn split_outputs(text: &str) -> Result<(&str, Outputs), InstallableError> {
    let Some((head, outputs)) = text.rsplit_once('^') else { return Ok((text, Outputs::Default)) };
    match outputs {
        name if name.contains('"') => Ok((text, Outputs::Default)),
        "*" => Ok((head, Outputs::All)),
        "" => Err(InstallableError::NoOutputs(text.to_owned())),
        names => Ok((head, Outputs::Named(names.split(',').map(str::to_owned).collect()))),
    }
}

/// Returns whether a path is treated as a store path: it is below a store, or a link such as
/// `./result`.
fn is_store_path_like(text: &str, cwd: &Path) -> bool {
    if text.starts_with("/eval/store/") || text.starts_with("/nix/store/") {
        return true;
    }
    let path = cwd.join(text);
    match std::fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_symlink() => true,
        Ok(meta) => text.contains("/store/") && (meta.is_dir() || meta.is_file()) && !path.join("flake.nix").exists(),
        Err(_) => false,
    }
}

/// Parses a flake reference, with a path made absolute.
///
/// Without `path:` and `dir`, a path is searched for `flake.nix` together with the directories
/// above it, up to the root of the repository (the directory with `.git`), as in Nix. A bare name
/// is a directory when that has a `flake.nix`.
///
/// # Errors
/// When a path has no flake, or the reference cannot be parsed.
pub fn flake_reference(text: &str, cwd: &Path) -> Result<FlakeRef, InstallableError> {
    let is_directory = text.is_empty() || cwd.join(text).join("flake.nix").is_file();
    let mut reference = if is_directory { FlakeRef::path(text) } else { FlakeRef::parse(text)? };
    let Some(path) = reference.local_path() else { return Ok(reference) };
    let start = lexically_normal(&cwd.join(path));
    if start.is_file() {
        return Err(InstallableError::PlainFile(start.display().to_string()));
    }
    if !start.exists() {
        return Err(InstallableError::NoFlake(start.display().to_string(), ", which does not exist"));
    }
    let found = if reference.text("dir").is_some() || text.starts_with("path:") {
        let flake = PathBuf::from(OsString::from_vec(reference.directory_in(start.as_os_str().as_bytes())?));
        match flake.join("flake.nix").is_file() {
            true => Some(start.as_path()),
            false => return Err(InstallableError::NoFlake(flake.display().to_string(), "")),
        }
    } else {
        flake_above(&start)
    };
    let found =
        found.ok_or_else(|| InstallableError::NoFlake(start.display().to_string(), " or a directory above it"))?;
    // As in Nix, a directory without a scheme is a part of its repository.
    if !text.starts_with("path:") && reference.text("dir").is_none() {
        return Ok(reference_of_directory(found));
    }
    reference.insert("path", FetchValue::String(found.to_string_lossy().into_owned()));
    Ok(reference)
}

/// Returns the first directory with a `flake.nix`, from `start` up to the root of the repository.
fn flake_above(start: &Path) -> Option<&Path> {
    for directory in start.ancestors() {
        if directory.join("flake.nix").is_file() {
            return Some(directory);
        }
        if directory.join(".git").exists() {
            break;
        }
    }
    None
}

/// Returns a path without `.` and `..`, which are resolved by name alone.
pub fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_outputs() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path();
        std::fs::write(root.join("flake.nix"), "{ }").expect("written");
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        let parse = |text: &str| Installable::parse(text, false, &root.join("a/b"));
        let here = FlakeRef::path(&root.display().to_string());
        let flake = |attr, outputs| Ok(Installable::Flake { reference: here.clone(), attr, outputs });
        assert_eq!(parse(".#x"), flake(FlakeAttr::Search(["x"].into_iter().collect()), Outputs::Default));
        assert_eq!(parse("../..#.x.y^*"), flake(FlakeAttr::Exact(["x", "y"].into_iter().collect()), Outputs::All));
        assert_eq!(
            parse(".#x^dev,lib"),
            flake(FlakeAttr::Search(["x"].into_iter().collect()), Outputs::Named(vec!["dev".into(), "lib".into()]))
        );
        assert_eq!(
            parse("path:.#x").unwrap_err(),
            InstallableError::NoFlake(root.join("a/b").display().to_string(), "")
        );
        assert_eq!(
            parse("../../flake.nix").unwrap_err(),
            InstallableError::PlainFile(root.join("flake.nix").display().to_string())
        );
        std::fs::create_dir_all(root.join("a/.git")).expect("made");
        assert_eq!(
            parse(".#x").unwrap_err(),
            InstallableError::NoFlake(root.join("a/b").display().to_string(), " or a directory above it")
        );
        assert_eq!(
            parse("./nowhere#x").unwrap_err(),
            InstallableError::NoFlake(root.join("a/b/nowhere").display().to_string(), ", which does not exist")
        );
        assert_eq!(parse("x^").unwrap_err(), InstallableError::NoOutputs("x^".into()));
        for (text, url) in [
            ("path:..?dir=b#x", format!("path:{}?dir=b", root.join("a").display())),
            ("github:a/b/main#x", "github:a/b/main".to_owned()),
            ("git+file:///a?dir=b", "git+file:///a?dir=b".to_owned()),
            ("nixpkgs#hello", "flake:nixpkgs".to_owned()),
        ] {
            std::fs::write(root.join("a/b/flake.nix"), "{ }").expect("written");
            let Ok(Installable::Flake { reference, .. }) = parse(text) else { panic!("{text} is a flake") };
            assert_eq!(reference.to_url(), Ok(url), "{text}");
        }
        assert_eq!(
            parse("a b").unwrap_err().to_string(),
            "'a b' is not a valid flake reference: it is neither a path, a URL nor a name"
        );
        assert_eq!(
            FlakeAttr::Search(["x"].into_iter().collect())
                .candidates("s")
                .iter()
                .map(AttrPath::to_string)
                .collect::<Vec<_>>(),
            ["packages.s.x", "legacyPackages.s.x", "x"]
        );
        for (text, candidates, outputs) in [
            (".#a.\"b.c\"", "a.\"b.c\"", Outputs::Default),
            (".#\"a.b\".c^dev", "\"a.b\".c", Outputs::Named(vec!["dev".into()])),
            (".#\"a^b\"", "\"a^b\"", Outputs::Default),
            (".#\"a^b\"^*", "\"a^b\"", Outputs::All),
            (".#.hosts.\"web.example.org\".config", "hosts.\"web.example.org\".config", Outputs::Default),
            (".#a%20b", "\"a b\"", Outputs::Default),
            (".#100%", "\"100%\"", Outputs::Default),
            (".#\"a#b\"", "\"a#b\"", Outputs::Default),
        ] {
            let Ok(Installable::Flake { attr, outputs: found, .. }) = parse(text) else { panic!("{text} is a flake") };
            assert_eq!(attr.candidates("s").pop().map(|path| path.to_string()).as_deref(), Some(candidates), "{text}");
            assert_eq!(found, outputs, "{text}");
        }
        assert_eq!(parse(".#a..b").unwrap_err().to_string(), "empty attribute name in selection path 'a..b'");
        assert_eq!(parse(".#\"a").unwrap_err().to_string(), "missing closing quote in selection path '\"a'");
        assert_eq!(
            Installable::parse("a.b^dev", true, root),
            Ok(Installable::Attr { path: "a.b".into(), outputs: Outputs::Named(vec!["dev".into()]) })
        );
    }
}
