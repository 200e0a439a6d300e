//! `store ls`: lists what is inside a store path.

use super::inside;
use crate::cli::Global;
use crate::print::{path_in_line, say};
use crate::report::Failure;
use clap::Args;
use serde_json::{Map, Value, json};
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Ls {
    /// Path in the store: a file or a directory, also through a link such as `./result/bin`
    pub path: PathBuf,
    /// List directories with everything below them
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Print kind, permission and size of each entry
    #[arg(short, long)]
    pub long: bool,
    /// List a directory itself, and not its entries
    #[arg(short, long)]
    pub directory: bool,
    /// Print JSON, in Nix's format
    #[arg(long, conflicts_with = "long")]
    pub json: bool,
}

impl Ls {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = inside::open(global)?;
        let (_, path) = inside::locate(&store, &self.path)?;
        if self.json {
            return say!("{}", to_json(&path, self.recursive, true)?);
        }
        let meta = metadata(&path)?;
        match meta.is_dir() && !self.directory {
            true => self.list(&path, Path::new(".")),
            false => self.line(&path, &meta, Path::new(path.file_name().unwrap_or_default())),
        }
    }

    fn list(&self, directory: &Path, name: &Path) -> Result<(), Failure> {
        for entry in entries(directory)? {
            let path = directory.join(&entry);
            let meta = metadata(&path)?;
            let name = name.join(&entry);
            self.line(&path, &meta, &name)?;
            if self.recursive && meta.is_dir() {
                self.list(&path, &name)?;
            }
        }
        Ok(())
    }

    fn line(&self, path: &Path, meta: &Metadata, name: &Path) -> Result<(), Failure> {
        if !self.long {
            return say!("{}", path_in_line(name));
        }
        let (kind, size) = match meta {
            meta if meta.is_dir() => ("dr-xr-xr-x", 0),
            meta if meta.is_symlink() => ("lrwxrwxrwx", 0),
            meta if is_executable(meta) => ("-r-xr-xr-x", meta.len()),
            meta => ("-r--r--r--", meta.len()),
        };
        let target = match meta.is_symlink() {
            true => format!(" -> {}", path_in_line(&link(path)?)),
            false => String::new(),
        };
        say!("{kind} {size:>20} {}{target}", path_in_line(name))
    }
}

/// Returns one entry in the format of Nix's listings.
fn to_json(path: &Path, recursive: bool, is_top: bool) -> Result<Value, Failure> {
    let meta = metadata(path)?;
    if meta.is_symlink() {
        return Ok(json!({ "type": "symlink", "target": link(path)? }));
    }
    if !meta.is_dir() {
        return Ok(json!({ "type": "regular", "executable": is_executable(&meta), "size": meta.len() }));
    }
    let mut object = json!({ "type": "directory" });
    if recursive || is_top {
        let mut shown = Map::new();
        for name in entries(path)? {
            let entry = match recursive {
                true => to_json(&path.join(&name), true, false)?,
                false => json!({}),
            };
            shown.insert(name.to_string_lossy().into_owned(), entry);
        }
        object["entries"] = shown.into();
    }
    Ok(object)
}

fn is_executable(meta: &Metadata) -> bool {
    meta.permissions().mode() & 0o100 != 0
}

fn metadata(path: &Path) -> Result<Metadata, Failure> {
    std::fs::symlink_metadata(path).map_err(|cause| Failure::io("cannot read", path, cause))
}

fn link(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::read_link(path).map_err(|cause| Failure::io("cannot read", path, cause))
}

/// Returns the names in a directory, in order.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || {
        let entries = std::fs::read_dir(directory)?;
        entries.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect::<std::io::Result<Vec<_>>>()
    };
    let mut names = read().map_err(|cause| Failure::io("cannot read", directory, cause))?;
    names.sort();
    Ok(names)
}
