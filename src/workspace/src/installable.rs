//! What a command's argument names: a flake output `REF#ATTR^OUTPUTS`, an attribute `ATTR^OUTPUTS` of a file or expression, or a store path.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// One thing to build or look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installable {
    /// An output of the flake in a folder.
    Flake { folder: PathBuf, attr: FlakeAttr, outputs: Outputs },
    /// An attribute of what `-f` or `--expr` evaluates to; empty for the value itself.
    Attr { path: String, outputs: Outputs },
    /// A logical store path, or the path of a link or of a physical store path.
    StorePath { path: PathBuf, outputs: Outputs },
}

/// How a flake's attribute path is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlakeAttr {
    /// In `packages.<system>`, then `legacyPackages.<system>`, then as it stands. `default` when nothing was named.
    Search(String),
    /// As it stands only (`.#.x`).
    Exact(String),
}

impl FlakeAttr {
    /// Returns the attribute paths to try, first one first.
    pub fn candidates(&self, system: &str) -> Vec<String> {
        match self {
            FlakeAttr::Search(attr) if attr.is_empty() => {
                vec![format!("packages.{system}.default"), format!("defaultPackage.{system}")]
            }
            FlakeAttr::Search(attr) => {
                vec![format!("packages.{system}.{attr}"), format!("legacyPackages.{system}.{attr}"), attr.clone()]
            }
            FlakeAttr::Exact(attr) => vec![attr.clone()],
        }
    }
}

/// Which outputs of a derivation are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outputs {
    /// The one that the expression selects, `out` by default.
    Default,
    All,
    Named(Vec<String>),
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum InstallableError {
    #[error("`{0}` names no outputs after `^`")]
    NoOutputs(String),
    #[error("cannot find a `flake.nix` in `{0}`{1}")]
    NoFlake(String, &'static str),
    #[error(
        "`{0}` is a file outside the store; name a path in the store, a result link, or a folder with a `flake.nix`"
    )]
    PlainFile(String),
    #[error("flake reference `{0}` is of a kind that cannot be fetched yet; a path (`.`, `./dir`, `path:/dir`) can")]
    Unsupported(String),
}

impl Installable {
    /// Parses an argument; `attr_mode` when `-f` or `--expr` was given. Relative flake folders are taken from `cwd`.
    ///
    /// # Errors
    /// [`InstallableError`] when there is no flake at the place, or the reference is of an unknown kind.
    pub fn parse(text: &str, attr_mode: bool, cwd: &Path) -> Result<Installable, InstallableError> {
        let (head, outputs) = split_outputs(text)?;
        if attr_mode {
            return Ok(Installable::Attr { path: head.to_owned(), outputs });
        }
        let (reference, attr) = match head.split_once('#') {
            Some((reference, attr)) => (reference, attr),
            None => (head, ""),
        };
        if !head.contains('#') && is_store_path_like(head, cwd) {
            return Ok(Installable::StorePath { path: cwd.join(head), outputs });
        }
        let folder = flake_folder(reference, cwd)?;
        let attr = match attr.strip_prefix('.') {
            Some(exact) => FlakeAttr::Exact(exact.to_owned()),
            None => FlakeAttr::Search(attr.to_owned()),
        };
        Ok(Installable::Flake { folder, attr, outputs })
    }
}

fn split_outputs(text: &str) -> Result<(&str, Outputs), InstallableError> {
    let Some((head, outputs)) = text.rsplit_once('^') else { return Ok((text, Outputs::Default)) };
    match outputs {
        "*" => Ok((head, Outputs::All)),
        "" => Err(InstallableError::NoOutputs(text.to_owned())),
        names => Ok((head, Outputs::Named(names.split(',').map(str::to_owned).collect()))),
    }
}

/// A path counts as a store path when it is written below a store, or is a link (as `./result` is).
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

/// `.` and other relative references look for `flake.nix` in the folder and those above it, up to the root of the
/// repository (the folder with `.git`), as Nix does.
fn flake_folder(reference: &str, cwd: &Path) -> Result<PathBuf, InstallableError> {
    let (text, explicit) = match reference.strip_prefix("path:") {
        Some(path) => (path, true),
        None => (reference, false),
    };
    let looks_like_path = text.is_empty() || text.starts_with(['.', '/']) || explicit;
    if !looks_like_path {
        if cwd.join(text).join("flake.nix").is_file() {
            return Ok(cwd.join(text));
        }
        return Err(InstallableError::Unsupported(reference.to_owned()));
    }
    let start = lexically_normal(&cwd.join(if text.is_empty() { "." } else { text }));
    let shown = || start.display().to_string();
    if start.is_file() {
        return Err(InstallableError::PlainFile(shown()));
    }
    if explicit {
        return if start.join("flake.nix").is_file() { Ok(start) } else { Err(InstallableError::NoFlake(shown(), "")) };
    }
    for folder in start.ancestors() {
        if folder.join("flake.nix").is_file() {
            return Ok(folder.to_owned());
        }
        if folder.join(".git").exists() {
            break;
        }
    }
    Err(InstallableError::NoFlake(shown(), " or a folder above it"))
}

fn lexically_normal(path: &Path) -> PathBuf {
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
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path();
        std::fs::write(root.join("flake.nix"), "{ }").expect("written");
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        let parse = |text: &str| Installable::parse(text, false, &root.join("a/b"));
        let flake = |attr, outputs| Ok(Installable::Flake { folder: root.to_owned(), attr, outputs });
        assert_eq!(parse(".#x"), flake(FlakeAttr::Search("x".into()), Outputs::Default));
        assert_eq!(parse("../..#.x.y^*"), flake(FlakeAttr::Exact("x.y".into()), Outputs::All));
        assert_eq!(
            parse(".#x^dev,lib"),
            flake(FlakeAttr::Search("x".into()), Outputs::Named(vec!["dev".into(), "lib".into()]))
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
            InstallableError::NoFlake(root.join("a/b").display().to_string(), " or a folder above it")
        );
        assert_eq!(parse("x^").unwrap_err(), InstallableError::NoOutputs("x^".into()));
        assert_eq!(parse("github:a/b").unwrap_err(), InstallableError::Unsupported("github:a/b".into()));
        assert_eq!(
            FlakeAttr::Search("x".into()).candidates("s"),
            ["packages.s.x", "legacyPackages.s.x", "x"].map(str::to_owned)
        );
        assert_eq!(
            Installable::parse("a.b^dev", true, root),
            Ok(Installable::Attr { path: "a.b".into(), outputs: Outputs::Named(vec!["dev".into()]) })
        );
    }
}
