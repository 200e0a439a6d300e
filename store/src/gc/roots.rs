//! Roots: the links below `gcroots/` that keep store objects alive.
//!
//! A direct root is a link into the store. An indirect one, below `gcroots/auto/`, is a link to a link elsewhere, such as
//! `result` in somebody's directory: when that is gone or leads elsewhere, so is the root.
//!
//! Roots are made while the collector's lock is held shared, over all steps of making one: a collection in between would
//! take the link below `auto/`, which leads nowhere yet, for one that is no longer in force.

use crate::error::StoreError;
use crate::local::LocalStore;
use model::path::{StorePath, StorePathName};
use model::tree::Digest;
use os::{Context, SysError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Something that keeps a store object alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// The link that leads into the store.
    pub link: PathBuf,
    pub path: StorePath,
}

/// Roots that are in force, and indirect ones that lead nowhere any more.
pub(super) struct Roots {
    pub live: Vec<Root>,
    pub stale: Vec<PathBuf>,
}

impl LocalStore {
    /// Makes `link` a symbolic link to a valid path, and a root while it is one. A link into the store that is there
    /// already is replaced, anything else is not.
    ///
    /// # Errors
    /// [`StoreError::NotValid`]; [`StoreError::Root`] when there is something else at `link`.
    pub fn add_root(&self, link: &Path, path: &StorePath) -> Result<PathBuf, StoreError> {
        let _shared = self.lock_shared()?;
        let link = absolute(link)?;
        match std::fs::read_link(&link) {
            Ok(target) if self.parse_any(&target.to_string_lossy()).is_ok() => {}
            Ok(_) => return Err(StoreError::Root { path: link, reason: "there is a link to somewhere else" }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Err(StoreError::Root { path: link, reason: "there is something else of that name" });
            }
            Err(error) => return Err(SysError::io("read link", link, &error).into()),
        }
        self.temp_root(path)?;
        if !self.is_valid(path)? {
            return Err(StoreError::NotValid { path: path.clone() });
        }
        // In this order: an indirect root that leads nowhere is cleaned up, a link that is no root would dangle one day.
        replace_link(&self.indirect(&link), &link)?;
        self.step("indirect root made");
        replace_link(&link, &self.physical_path(path))?;
        self.step("root made");
        Ok(link)
    }

    /// Calls `make`, which makes a link at `link` that leads into `path`: a root while it is there and does so.
    ///
    /// The collector waits meanwhile, and the root is made first: at no instant does the link lead to what may be removed.
    /// `link` is absolute, as it is found again by its name; nothing is written there but by `make`.
    ///
    /// # Errors
    /// [`StoreError::NotValid`]; those of `make`.
    pub fn root_of_link<T, E: From<StoreError>>(
        &self,
        link: &Path,
        path: &StorePath,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let _shared = self.lock_shared()?;
        if !self.is_valid(path)? {
            return Err(StoreError::NotValid { path: path.clone() }.into());
        }
        replace_link(&self.indirect(link), link).map_err(StoreError::from)?;
        make()
    }

    /// Where the indirect root for a link is.
    fn indirect(&self, link: &Path) -> PathBuf {
        let name = &Digest::of(link.as_os_str().as_encoded_bytes()).hex()[..40];
        self.root().join("gcroots/auto").join(name)
    }

    /// Makes `name` below `gcroots/` a root for a valid path; one of that name is replaced. It is in force when this
    /// returns, so links elsewhere that need the path are to be made after it, and removed before it.
    ///
    /// # Errors
    /// [`StoreError::NotValid`].
    pub fn add_named_root(&self, name: &StorePathName, path: &StorePath) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        if name.as_str() == "auto" {
            let path = self.root().join("gcroots/auto");
            return Err(StoreError::Root { path, reason: "the name `auto` is taken by indirect roots" });
        }
        self.temp_root(path)?;
        if !self.is_valid(path)? {
            return Err(StoreError::NotValid { path: path.clone() });
        }
        replace_link(&self.root().join("gcroots").join(name.as_str()), &self.physical_path(path))?;
        self.step("named root made");
        Ok(())
    }

    /// Removes a root of [`LocalStore::add_named_root`]; nothing there is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_named_root(&self, name: &StorePathName) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        remove_if_there(&self.root().join("gcroots").join(name.as_str()))?;
        self.step("named root removed");
        Ok(())
    }

    /// Returns all roots in force, sorted by link; those of running processes are not among them.
    ///
    /// # Errors
    /// When `gcroots/` cannot be read.
    pub fn roots(&self) -> Result<Vec<Root>, StoreError> {
        Ok(self.find_roots()?.live)
    }

    pub(super) fn find_roots(&self) -> Result<Roots, StoreError> {
        let top = self.root().join("gcroots");
        let auto = top.join("auto");
        let mut roots = Roots { live: Vec::new(), stale: Vec::new() };
        let mut todo = vec![top];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(&dir).context("read directory", &dir)? {
                let entry = entry.context("read directory", &dir)?;
                let link = entry.path();
                let kind = entry.file_type().context("stat", &link)?;
                if kind.is_dir() {
                    todo.push(link);
                } else if kind.is_symlink() {
                    let target = std::fs::read_link(&link).context("read link", &link)?;
                    if let Some(path) = self.object_at(&target) {
                        roots.live.push(Root { link, path });
                    } else if let Some(path) = std::fs::read_link(&target).ok().and_then(|inner| self.object_at(&inner))
                    {
                        roots.live.push(Root { link: target, path });
                    } else if dir == auto {
                        roots.stale.push(link);
                    }
                }
            }
        }
        roots.live.sort();
        roots.stale.sort();
        Ok(roots)
    }

    fn object_at(&self, target: &Path) -> Option<StorePath> {
        self.parse_any(target.to_str()?).ok().map(|(path, _)| path)
    }
}

/// Resolves all but the last component, which may be a link.
fn absolute(link: &Path) -> Result<PathBuf, StoreError> {
    let Some(name) = link.file_name() else {
        return Err(StoreError::Root { path: link.to_owned(), reason: "it has no file name" });
    };
    let parent = link.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(parent.canonicalize().context("resolve", parent)?.join(name))
}

fn remove_if_there(link: &Path) -> Result<(), SysError> {
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(SysError::io("remove", link, &error)),
        _ => Ok(()),
    }
}

/// Puts a link in place in one step.
fn replace_link(link: &Path, target: &Path) -> Result<(), SysError> {
    let mut scratch = link.as_os_str().to_owned();
    scratch.push(format!(".{}.new", std::process::id()));
    let scratch = PathBuf::from(scratch);
    remove_if_there(&scratch)?;
    std::os::unix::fs::symlink(target, &scratch).context("make link", &scratch)?;
    std::fs::rename(&scratch, link).context("rename to", link)
}
