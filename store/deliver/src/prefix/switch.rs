//! Moves a generation to the path: in one step or, where the file system cannot exchange, in two
//! renames, with a recovery file.

use super::SysError;
use super::error::{PrefixError, Result};
use super::names::{LINK, OUTGOING, SWITCHING};
use super::open::{Current, OpenPrefix, Shape};
use nix::errno::Errno;
use os::dir::{Dir, FileKind, kind};
use os::mode;
use std::io::Write;

impl OpenPrefix {
    /// Moves a generation to the path, and the old entry to its number.
    pub(super) fn switch_to(&self, number: u32, current: Current) -> Result<()> {
        let name = number.to_string().into_bytes();
        let staged = match self.shape(&name)? {
            Shape::Link(tree) => {
                if self.hidden.open_dir_or_link(&name).is_err() {
                    return Err(PrefixError::TreeGone { path: self.path.clone(), number, tree });
                }
                self.hidden.make_link(LINK, &self.link_text(number))?;
                LINK
            }
            _ => &name,
        };
        match current {
            Current::Nothing => {
                // An empty directory may be there; a rename of a directory replaces it, that of a
                // link does not.
                if staged == LINK && self.parent.find(&self.name)?.is_some() {
                    self.parent.remove_empty_dir(&self.name)?;
                }
                Ok(self.hidden.rename(staged, &self.parent, &self.name)?)
            }
            Current::Linked(_) if staged == LINK => Ok(self.hidden.rename(staged, &self.parent, &self.name)?),
            _ => {
                let old = self.exchange(staged)?;
                self.put_away(old)
            }
        }
    }

    /// Removes the current generation from the path.
    pub(super) fn take_away(&self, current: Current) -> Result<()> {
        match current {
            Current::Linked(_) => Ok(self.parent.remove_file(&self.name)?),
            // Renamed first, in one step: the path never holds a partial prefix.
            Current::Directory(number) => {
                make_movable(&self.parent, &self.name)?;
                Ok(self.parent.rename(&self.name, &self.hidden, number.to_string().as_bytes())?)
            }
            Current::Nothing | Current::Foreign => Ok(()),
        }
    }

    /// Exchanges `staged` and the entry at the path; returns the name of the old one.
    fn exchange<'a>(&self, staged: &'a [u8]) -> Result<&'a [u8]> {
        make_movable(&self.parent, &self.name)?;
        make_movable(&self.hidden, staged)?;
        match self.hidden.exchange(staged, &self.parent, &self.name) {
            Ok(()) => Ok(staged),
            Err(error) if matches!(error.errno, Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                self.exchange_in_two_steps(staged)?;
                Ok(OUTGOING)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn exchange_in_two_steps(&self, staged: &[u8]) -> Result<()> {
        let mut note = self.hidden.create_file(SWITCHING, mode::PRIVATE_FILE)?;
        let written = note.write_all(staged).and_then(|()| note.sync_all());
        written.map_err(|error| SysError::io("write", self.hidden.join(SWITCHING), &error))?;
        self.parent.rename(&self.name, &self.hidden, OUTGOING)?;
        self.hidden.rename(staged, &self.parent, &self.name)?;
        Ok(self.hidden.remove_file(SWITCHING)?)
    }
}

/// Makes a directory of this user movable, which requires write permission.
pub(super) fn make_movable(dir: &Dir, name: &[u8]) -> Result<()> {
    let stat = dir.stat(name)?;
    let is_own = stat.st_uid == nix::unistd::geteuid().as_raw();
    if kind(&stat) == FileKind::Directory && is_own && stat.st_mode & 0o200 == 0 {
        dir.chmod_dir(name, stat.st_mode & 0o777 | 0o700)?;
    }
    Ok(())
}
