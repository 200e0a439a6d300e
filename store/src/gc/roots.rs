//! Roots: the links below `gcroots/` that keep store objects alive.
//!
//! A direct root is a link into the store. An indirect one, below `gcroots/auto/`, is a link to a
//! link elsewhere, such as `result` in a user's directory: when that is removed or leads elsewhere,
//! the root ends.
//!
//! All steps of making a root share the collector's lock: a collection in between would remove the
//! link below `auto/`, which leads nowhere yet, as stale.

use crate::error::StoreError;
use crate::local::LocalStore;
use model::path::{StorePath, StorePathName};
use model::tree::Digest;
use os::{Context, SysError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A link that keeps a store object alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// The link that leads into the store.
    pub link: PathBuf,
    pub path: StorePath,
}

/// Roots in force, and stale indirect ones.
pub(super) struct Roots {
    pub live: Vec<Root>,
    pub stale: Vec<PathBuf>,
}

impl LocalStore {
    /// Creates `link`, a symbolic link to a valid path and a root while it exists. Replaces a link
    /// into the store, and nothing else.
    ///
    /// # Errors
    /// [`StoreError::NotValid`]; [`StoreError::Root`] when something else is at `link`.
    pub fn add_root(&self, link: &Path, path: &StorePath) -> Result<PathBuf, StoreError> {
        let _shared = self.lock_shared()?;
        let link = self.check_root(link)?;
        self.temp_root(path)?;
        if !self.is_valid(path)? {
            return Err(StoreError::NotValid { path: path.clone() });
        }
        // The order matters: a stale indirect root is removed later, a link that is not a root
        // would dangle one day.
        replace_link(&self.indirect(&link), &link)?;
        self.step("indirect root made");
        replace_link(&link, &self.physical_path(path))?;
        self.step("root made");
        Ok(link)
    }

    /// Returns the absolute path of a link, when [`LocalStore::add_root`] can make it a root: there is
    /// nothing of that name, or a link to a path of a store.
    ///
    /// # Errors
    /// When something else has that name.
    pub fn check_root(&self, link: &Path) -> Result<PathBuf, StoreError> {
        let link = absolute(link)?;
        match std::fs::read_link(&link) {
            Ok(target) if self.parse_any(&target.to_string_lossy()).is_ok() => Ok(link),
            Ok(_) => Err(StoreError::Root { path: link, reason: "a link to elsewhere has that name" }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(link),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                Err(StoreError::Root { path: link, reason: "another file has that name" })
            }
            Err(error) => Err(SysError::io("read link", link, &error).into()),
        }
    }

    /// Calls `make`, which creates a link at `link` into `path`, and makes that link a root while
    /// it exists and leads there.
    ///
    /// The root exists first, and the collector waits: at no moment does the link lead to an object
    /// that may be removed. `link` is absolute, since the root names it; only `make` writes there.
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

    /// Returns the path of the indirect root for a link.
    fn indirect(&self, link: &Path) -> PathBuf {
        let name = &Digest::of(link.as_os_str().as_encoded_bytes()).hex()[..40];
        self.root().join("gcroots/auto").join(name)
    }

    /// Makes `name` below `gcroots/` a root for a valid path, in place of an older one. It is in
    /// force when this returns, so links elsewhere that need the path are created after it, and
    /// removed before it.
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

    /// Removes a root of [`LocalStore::add_named_root`]; a missing one is not an error.
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

/// Creates or replaces a link in one step.
fn replace_link(link: &Path, target: &Path) -> Result<(), SysError> {
    let mut scratch = link.as_os_str().to_owned();
    scratch.push(format!(".{}.new", std::process::id()));
    let scratch = PathBuf::from(scratch);
    remove_if_there(&scratch)?;
    std::os::unix::fs::symlink(target, &scratch).context("make link", &scratch)?;
    std::fs::rename(&scratch, link).context("rename to", link)
}
