//! Recovers from killed processes, and clears reserved names.
//!
//! Files that may be the user's are never removed, but moved aside to `kept-K`.

use super::error::Result;
use super::files::{self, List};
use super::marker::read_small;
use super::names::{self, COPYING, INCOMING, LINK, OUTGOING, REMOVING, SWITCHING};
use super::open::{Current, OpenPrefix, Shape};
use nix::errno::Errno;
use os::dir::{Dir, FileKind, kind};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The longest note: a name in the hidden directory.
const NOTE_BYTES_MAX: u64 = 64;

impl OpenPrefix {
    /// Finishes or undoes what a killed process left.
    pub(super) fn recover(&self) -> Result<()> {
        self.finish_switch()?;
        match self.shape(COPYING)? {
            Shape::Directory | Shape::Generation(_) => drop(self.hidden.remove_all(COPYING)?),
            _ => self.clear(COPYING)?,
        }
        match self.shape(INCOMING)? {
            // An exchanged generation, if its list exists; otherwise a partial copy of an earlier
            // version.
            Shape::Generation(marker) if !List::read(&self.hidden, marker.generation)?.is_empty() => {
                self.put_away(INCOMING)?;
            }
            Shape::Directory | Shape::Generation(_) => drop(self.hidden.remove_all(INCOMING)?),
            _ => self.clear(INCOMING)?,
        }
        for name in [LINK, OUTGOING] {
            self.put_away(name)?;
        }
        self.finish_removal()?;
        for number in self.numbered()? {
            self.check_number(number)?;
        }
        let current = self.current()?.number();
        for name in self.hidden.names()? {
            let Some(number) = names::number_of_list(&name) else { continue };
            let exists = current == Some(number) || self.hidden.find(number.to_string().as_bytes())?.is_some();
            match self.hidden.find(&name)?.map(|stat| kind(&stat)) {
                Some(FileKind::File) if exists => {}
                Some(FileKind::File) => self.hidden.remove_file(&name)?,
                _ => self.clear(&name)?,
            }
        }
        Ok(())
    }

    /// Finishes a noted switch in two renames.
    fn finish_switch(&self) -> Result<()> {
        let Some((staged, _)) = read_small(&self.hidden, SWITCHING, NOTE_BYTES_MAX)? else {
            return self.clear(SWITCHING);
        };
        // Only a whole generation is moved, regardless of the note.
        let is_link = staged == LINK || staged == INCOMING;
        if !is_link && names::number(&staged).is_none() {
            return self.clear(SWITCHING);
        }
        let is_staged = match self.shape(&staged)? {
            Shape::Generation(_) => !is_link,
            Shape::OwnLink => is_link,
            _ => false,
        };
        if is_staged && self.parent.find(&self.name)?.is_none() {
            self.hidden.rename(&staged, &self.parent, &self.name)?;
        }
        Ok(self.hidden.remove_file(SWITCHING)?)
    }

    /// Ensures that an entry with a number is the generation of that number.
    fn check_number(&self, number: u32) -> Result<()> {
        let name = number.to_string();
        let is_current = self.current()? == Current::Directory(number);
        match self.shape(name.as_bytes())? {
            Shape::Generation(marker) if marker.generation == number && !is_current => Ok(()),
            Shape::Link(target) if target.is_absolute() && !is_current => Ok(()),
            // A kill between the exchange and the renaming leaves the old generation under the new
            // one's number.
            _ => self.put_away(name.as_bytes()),
        }
    }

    /// Renames an exchanged entry to its own number.
    pub(super) fn put_away(&self, name: &[u8]) -> Result<()> {
        match self.shape(name)? {
            Shape::OwnLink => Ok(self.hidden.remove_file(name)?),
            Shape::Generation(marker) => {
                let own = marker.generation.to_string();
                let is_free =
                    self.hidden.find(own.as_bytes())?.is_none() && self.current()?.number() != Some(marker.generation);
                if is_free {
                    return self.move_new(name, own.as_bytes()).map(drop);
                }
                self.keep_aside(name)
            }
            Shape::Link(_) => self.keep_aside(name),
            Shape::Nothing | Shape::Directory | Shape::Other => self.clear(name),
        }
    }

    /// Clears a reserved name: removes an empty entry, and moves any other aside.
    pub(super) fn clear(&self, name: &[u8]) -> Result<()> {
        let Some(stat) = self.hidden.find(name)? else { return Ok(()) };
        match kind(&stat) {
            FileKind::Directory => match self.hidden.remove_empty_dir(name) {
                Err(error) if matches!(error.errno, Errno::ENOTEMPTY | Errno::EEXIST) => self.keep_aside(name),
                removed => Ok(removed?),
            },
            FileKind::File if stat.st_size > 0 => self.keep_aside(name),
            FileKind::File | FileKind::Symlink | FileKind::Other(_) => Ok(self.hidden.remove_file(name)?),
        }
    }

    /// Moves an entry of the hidden directory to a new name there, which no command uses.
    pub(super) fn keep_aside(&self, name: &[u8]) -> Result<()> {
        loop {
            let aside = self.aside()?;
            if self.move_new(name, &aside)? {
                self.kept.borrow_mut().push(self.shown(&aside));
                return Ok(());
            }
        }
    }

    /// Makes a directory for files of a generation that are moved aside.
    fn aside_dir(&self, generation: &Dir) -> Result<Dir> {
        let aside = self.aside()?;
        let dir = self.hidden.make_dir_with(&aside, generation.stat_self()?.st_mode & 0o777 | 0o700)?;
        self.kept.borrow_mut().push(self.shown(&aside));
        Ok(dir)
    }

    /// Returns a free name for files that are moved aside.
    fn aside(&self) -> Result<Vec<u8>> {
        let taken: BTreeSet<Vec<u8>> = self.hidden.names()?.into_iter().collect();
        let names = (1_u32..).map(|number| format!("kept-{number}").into_bytes());
        Ok(names.into_iter().find(|name| !taken.contains(name)).expect("a directory has fewer entries"))
    }

    /// Renames within the hidden directory, without replacing; returns true when the new name was
    /// free.
    fn move_new(&self, name: &[u8], new: &[u8]) -> Result<bool> {
        match self.hidden.rename_new(name, &self.hidden, new) {
            Err(error) if error.errno == Errno::EEXIST => Ok(false),
            // The file system cannot check this. No other process makes names here, since this one
            // has the lock.
            Err(error) if error.errno == Errno::EINVAL => {
                if self.hidden.find(new)?.is_some() {
                    return Ok(false);
                }
                self.hidden.rename(name, &self.hidden, new)?;
                Ok(true)
            }
            renamed => Ok(renamed.map(|()| true)?),
        }
    }

    /// Removes a generation that is not at the path; foreign files in it are moved aside.
    pub(super) fn remove_generation(&self, number: u32) -> Result<()> {
        let name = number.to_string();
        match self.shape(name.as_bytes())? {
            Shape::Generation(_) => {
                // Renamed first: a partial generation never has a number.
                self.hidden.rename(name.as_bytes(), &self.hidden, REMOVING)?;
                self.finish_removal()?;
            }
            Shape::Link(_) => self.hidden.remove_file(name.as_bytes())?,
            Shape::Nothing | Shape::OwnLink | Shape::Directory | Shape::Other => self.put_away(name.as_bytes())?,
        }
        self.remove_list(number)
    }

    fn finish_removal(&self) -> Result<()> {
        let marker = match self.shape(REMOVING)? {
            Shape::Generation(marker) => marker,
            // Foreign files were moved before the marker was removed.
            Shape::Directory => return Ok(self.hidden.remove_all(REMOVING).map(drop)?),
            _ => return self.clear(REMOVING),
        };
        let installed = List::read(&self.hidden, marker.generation)?;
        let generation = self.hidden.open_dir_as_is(REMOVING)?;
        let changed = files::changed(&generation, &installed)?;
        if installed.is_empty() && !changed.is_empty() {
            // The list of the installed files is lost.
            return self.keep_aside(REMOVING);
        }
        if !changed.is_empty() {
            files::move_to(&generation, &changed, &self.aside_dir(&generation)?)?;
        }
        self.hidden.remove_all(REMOVING)?;
        self.remove_list(marker.generation)
    }

    /// Removes a partial copy, with its list.
    pub(super) fn drop_copy(&self, number: u32) -> Result<()> {
        self.hidden.remove_all(COPYING)?;
        self.remove_list(number)
    }

    fn remove_list(&self, number: u32) -> Result<()> {
        match self.hidden.remove_file(&names::list(number)) {
            Err(error) if error.errno != Errno::ENOENT => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn shown(&self, name: &[u8]) -> PathBuf {
        self.path.with_file_name(OsStr::from_bytes(&self.hidden_name)).join(OsStr::from_bytes(name))
    }
}
