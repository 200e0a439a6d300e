//! The manifest: metadata of a tree's entries, and the entries that a tree cannot hold.
//!
//! The format is specified in `docs/src/manifest.md`. A manifest has one form: reading refuses each
//! text that printing would not give, so equal manifests have equal digests.

use crate::path::{COMPONENTS_MAX, printable};
use crate::stat::{PERMISSIONS, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX, check_xattr};
use crate::{Defaults, Device, PathError, Stat, Time, TreePath};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::str::FromStr;

/// The first line of a manifest.
const HEADER: &str = "eval-manifest 1";

/// The longest manifest that is read, in bytes: about a million entries.
pub const BYTES_MAX: usize = 128 << 20;

/// Metadata of the entries of a tree, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: BTreeMap<TreePath, Attributes>,
}

/// The facts of a manifest about one path. A part that is absent has the value of [`Defaults`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The kind of an object that a tree cannot express.
    pub special: Option<Special>,
    /// Permissions.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<Time>,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// An object that a [`model::Node`] cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Special {
    CharacterDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
    /// A further name of the object at this path, which comes before in the order of paths. The
    /// tree has an equal node at both; the metadata is that of the first.
    HardLink(TreePath),
}

/// A text that is not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has more than {BYTES_MAX} bytes")]
    TooLong,
    #[error("the manifest does not start with the line `{HEADER}`")]
    Header,
    #[error("the manifest lacks a final newline")]
    Truncated,
    #[error("line {line} of the manifest: {reason}")]
    Line {
        /// Counts from 1.
        line: usize,
        reason: LineError,
    },
}

/// The reason for which a line is not part of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("the path does not start with `/`")]
    Relative,
    #[error("the path is not valid: {0}")]
    Path(PathError),
    #[error("the path does not come after the one before it; entries are sorted, and each path comes once")]
    Order,
    #[error("`{field}` is not a field, or its value is not valid")]
    Field { field: String },
    #[error("a hard link has the metadata of `{target}` and no other")]
    HardLinkMetadata { target: TreePath },
    #[error("the root is a directory")]
    Root,
    #[error("the entry for `{path}` is empty")]
    Nothing { path: TreePath },
    #[error("it is not in canonical form, which is `{canonical}`")]
    Canonical { canonical: String },
}

impl Manifest {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the facts about `path`; returns those that they replace.
    ///
    /// # Errors
    /// [`LineError`] when a manifest cannot hold them.
    pub fn insert(&mut self, path: TreePath, attributes: Attributes) -> Result<Option<Attributes>, LineError> {
        attributes.check(&path)?;
        Ok(self.entries.insert(path, attributes))
    }

    /// Returns the facts about `path`.
    pub fn get(&self, path: &TreePath) -> Option<&Attributes> {
        self.entries.get(path)
    }

    /// Returns all facts, in order of path.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&TreePath, &Attributes)> {
        self.entries.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Attributes {
    /// Returns the metadata of an object that would have `mode` without a manifest.
    pub fn stat(&self, defaults: &Defaults, mode: u32) -> Stat {
        Stat {
            mode: self.mode.unwrap_or(mode),
            uid: self.uid.unwrap_or(defaults.uid),
            gid: self.gid.unwrap_or(defaults.gid),
            mtime: self.mtime.unwrap_or(defaults.mtime),
            xattrs: self.xattrs.clone(),
        }
    }

    /// Returns what `stat` says beyond the defaults: the opposite of [`Attributes::stat`].
    pub fn of_stat(stat: &Stat, defaults: &Defaults, mode: u32) -> Self {
        fn other<V: PartialEq>(value: V, default: V) -> Option<V> {
            (value != default).then_some(value)
        }
        Self {
            special: None,
            mode: other(stat.mode, mode),
            uid: other(stat.uid, defaults.uid),
            gid: other(stat.gid, defaults.gid),
            mtime: other(stat.mtime, defaults.mtime),
            xattrs: stat.xattrs.clone(),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self, path: &TreePath) -> Result<(), LineError> {
        if path.components().count() > COMPONENTS_MAX {
            return Err(LineError::Path(PathError::Depth));
        }
        let field = |field: String| Err(LineError::Field { field });
        match &self.special {
            Some(_) if path.is_root() => return Err(LineError::Root),
            Some(Special::HardLink(target)) => {
                let link = Self { special: self.special.clone(), ..Self::default() };
                if *self != link {
                    return Err(LineError::HardLinkMetadata { target: target.clone() });
                }
                if target >= path {
                    return field(format!("link={}", Escaped(target)));
                }
            }
            _ if self.is_empty() => return Err(LineError::Nothing { path: path.clone() }),
            _ => {}
        }
        if let Some(mode) = self.mode.filter(|mode| mode & !PERMISSIONS != 0) {
            return field(format!("mode={mode:04o}"));
        }
        for (name, value) in &self.xattrs {
            if check_xattr(name, value).is_err() {
                return field(format!("xattr.{}", escape(name)));
            }
        }
        Ok(())
    }
}

/// A path as a manifest writes it.
struct Escaped<'a>(&'a TreePath);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", escape(self.0.as_bytes()))
    }
}

/// Writes bytes as visible ASCII without `\` and `=`; all other bytes as `\` and two hex digits.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' | b'=' => write!(text, "\\{byte:02x}").expect("a string takes all"),
            0x21..=0x7e => text.push(char::from(*byte)),
            _ => write!(text, "\\{byte:02x}").expect("a string takes all"),
        }
    }
    text
}

/// Reads what [`escape`] writes. Accepts other forms of the same bytes, which the comparison of the
/// line then refuses.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    Some(bytes)
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        self.entries.iter().try_for_each(|(path, attributes)| writeln!(f, "{}", Line { path, attributes }))
    }
}

struct Line<'a> {
    path: &'a TreePath,
    attributes: &'a Attributes,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes { special, mode, uid, gid, mtime, xattrs } = self.attributes;
        write!(f, "{}", Escaped(self.path))?;
        match special {
            Some(Special::CharacterDevice(device)) => write!(f, " char={}:{}", device.major, device.minor)?,
            Some(Special::BlockDevice(device)) => write!(f, " block={}:{}", device.major, device.minor)?,
            Some(Special::Fifo) => f.write_str(" fifo")?,
            Some(Special::Socket) => f.write_str(" socket")?,
            Some(Special::HardLink(target)) => write!(f, " link={}", Escaped(target))?,
            None => {}
        }
        if let Some(mode) = mode {
            write!(f, " mode={mode:04o}")?;
        }
        if let Some(uid) = uid {
            write!(f, " uid={uid}")?;
        }
        if let Some(gid) = gid {
            write!(f, " gid={gid}")?;
        }
        if let Some(mtime) = mtime {
            write!(f, " mtime={mtime}")?;
        }
        xattrs.iter().try_for_each(|(name, value)| write!(f, " xattr.{}={}", escape(name), escape(value)))
    }
}

impl FromStr for Manifest {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, ManifestError> {
        if text.len() > BYTES_MAX {
            return Err(ManifestError::TooLong);
        }
        let lines = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')).ok_or(ManifestError::Header)?;
        let mut manifest = Self::new();
        if lines.is_empty() {
            return Ok(manifest);
        }
        let lines = lines.strip_suffix('\n').ok_or(ManifestError::Truncated)?;
        for (index, text) in lines.split('\n').enumerate() {
            let error = |reason| ManifestError::Line { line: index + 2, reason };
            let (path, attributes) = read_line(text).map_err(error)?;
            if manifest.entries.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(error(LineError::Order));
            }
            manifest.entries.insert(path, attributes);
        }
        Ok(manifest)
    }
}

fn read_line(text: &str) -> Result<(TreePath, Attributes), LineError> {
    let mut words = text.split(' ');
    let path = read_path(words.next().unwrap_or_default())?;
    let mut attributes = Attributes::default();
    for word in words {
        read_field(word, &mut attributes).ok_or_else(|| LineError::Field { field: shortened(word) })?;
    }
    attributes.check(&path)?;
    let canonical = Line { path: &path, attributes: &attributes }.to_string();
    if canonical != text {
        return Err(LineError::Canonical { canonical: shortened(&canonical) });
    }
    Ok((path, attributes))
}

fn read_path(text: &str) -> Result<TreePath, LineError> {
    let relative = text.strip_prefix('/').ok_or(LineError::Relative)?;
    if relative.is_empty() {
        return Ok(TreePath::ROOT);
    }
    let bytes = unescape(relative).ok_or_else(|| LineError::Field { field: shortened(text) })?;
    TreePath::parse(&bytes).map_err(LineError::Path)
}

fn read_field(word: &str, attributes: &mut Attributes) -> Option<()> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    match name {
        "char" => attributes.special = Some(Special::CharacterDevice(read_device(value)?)),
        "block" => attributes.special = Some(Special::BlockDevice(read_device(value)?)),
        "fifo" => attributes.special = Some(Special::Fifo),
        "socket" => attributes.special = Some(Special::Socket),
        "link" => attributes.special = Some(Special::HardLink(read_path(value).ok()?)),
        "mode" => attributes.mode = Some(u32::from_str_radix(value, 8).ok()?),
        "uid" => attributes.uid = Some(value.parse().ok()?),
        "gid" => attributes.gid = Some(value.parse().ok()?),
        "mtime" => attributes.mtime = Some(value.parse().ok()?),
        _ => {
            let name = name.strip_prefix("xattr.")?;
            // Three characters for each byte at most.
            if name.len() > 3 * XATTR_NAME_BYTES_MAX || value.len() > 3 * XATTR_VALUE_BYTES_MAX {
                return None;
            }
            attributes.xattrs.insert(unescape(name)?, unescape(value)?);
        }
    }
    Some(())
}

fn read_device(text: &str) -> Option<Device> {
    let (major, minor) = text.split_once(':')?;
    Some(Device { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// Returns the start of a text for a message.
fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    let start: String = text.chars().take(CHARACTERS_MAX).collect();
    let end = if start.len() < text.len() { "…" } else { "" };
    printable(start.as_bytes()) + end
}
