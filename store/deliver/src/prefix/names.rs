//! Names: the path of a prefix, and the names reserved for its generations.
//!
//! No package can have any of these: a tree with [`MARKER`] at the top of its prefix is refused,
//! and so is a prefix below a directory whose name is that of a directory of generations.

use super::error::{PrefixError, Result};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The file in a generation that holds its number.
pub const MARKER: &str = ".eval-generation";

/// Locked while anything changes.
pub(super) const LOCK: &[u8] = b"lock";
/// A generation being copied.
pub(super) const COPYING: &[u8] = b"copying";
/// The link that moves to the path in symlink mode; after the exchange, the former entry of the
/// path.
pub(super) const LINK: &[u8] = b"link";
/// The former entry of the path, after the first of two renames.
pub(super) const OUTGOING: &[u8] = b"outgoing";
/// The note of a switch in two renames, which may need to be finished.
pub(super) const SWITCHING: &[u8] = b"switching";
/// A generation being removed.
pub(super) const REMOVING: &[u8] = b"removing";
/// The name, in earlier versions, of both a partial copy and the link that moves to the path.
pub(super) const INCOMING: &[u8] = b"incoming";

/// The highest number of a generation; higher ones are foreign.
pub(super) const NUMBER_MAX: u32 = 999_999_999;

/// Directories whose presence makes a directory a prefix, rather than a parent of one.
const PREFIX_DIRECTORIES: [&str; 8] = ["bin", "sbin", "lib", "lib64", "libexec", "include", "share", "etc"];

/// Parses the number of a generation, in its only valid form.
pub(super) fn number(name: &[u8]) -> Option<u32> {
    let number: u32 = std::str::from_utf8(name).ok()?.parse().ok()?;
    ((1..=NUMBER_MAX).contains(&number) && number.to_string().as_bytes() == name).then_some(number)
}

/// Returns the number of the generation whose list of files is called `name`.
pub(super) fn number_of_list(name: &[u8]) -> Option<u32> {
    number(name.strip_suffix(b".files")?)
}

/// Returns the name of a generation's list of files.
pub(super) fn list(number: u32) -> Vec<u8> {
    format!("{number}.files").into_bytes()
}

/// Returns the name of the directory with the generations of the prefix `name`.
pub(super) fn hidden(name: &[u8]) -> Vec<u8> {
    [b".", name, b".generations"].concat()
}

pub(super) fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".") && name.ends_with(b".generations")
}

/// Returns true when a package must not have this name at the top of its prefix; some file systems
/// ignore the case of letters.
pub(super) fn is_marker(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(MARKER.as_bytes())
}

/// A prefix's path: the names of its parents, and its own.
pub(super) struct Below<'a> {
    /// All but the last name.
    pub parents: Vec<&'a [u8]>,
    pub name: &'a [u8],
}

impl<'a> Below<'a> {
    /// Splits the path of a prefix.
    pub fn of(prefix: &'a Path) -> Result<Self> {
        let wrong = || PrefixError::NoPath { prefix: prefix.to_owned() };
        let below = prefix.strip_prefix("/").map_err(|_| wrong())?;
        let names = below.components().map(|part| match part {
            Component::Normal(name) => Ok(name.as_bytes()),
            _ => Err(wrong()),
        });
        let mut parents = names.collect::<Result<Vec<_>>>()?;
        if parents.iter().any(|name| is_hidden(name)) {
            let reason = "generations of another prefix are kept in directories called so";
            return Err(PrefixError::Reserved { path: prefix.to_owned(), reason });
        }
        let name = parents.pop().ok_or_else(wrong)?;
        Ok(Self { parents, name })
    }
}

/// Descends from the top of a prefix root, while each directory has one entry, to the first
/// directory that looks like a prefix.
///
/// # Errors
/// [`PrefixError::NoPrefix`] when there is none, or several.
pub fn find_prefix(tree: &Path) -> Result<PathBuf> {
    let mut path = PathBuf::from("/");
    let mut at = os::dir::Dir::open_typed(tree)?;
    loop {
        let names = at.names()?;
        let looks_like_one = names.iter().any(|name| PREFIX_DIRECTORIES.iter().any(|known| name == known.as_bytes()));
        if looks_like_one && path != Path::new("/") {
            return Ok(path);
        }
        let next = match names.as_slice() {
            [name] => at.open_dir_as_is(name).ok().map(|dir| (name, dir)),
            _ => None,
        };
        let Some((name, dir)) = next else {
            let reason = format!(
                "no single directory with `bin` or `lib` is found; `{}` holds {} entries",
                path.display(),
                names.len()
            );
            return Err(PrefixError::NoPrefix { tree: tree.to_owned(), reason });
        };
        path.push(std::ffi::OsStr::from_bytes(name));
        at = dir;
    }
}
