//! Paths below the root of a tree.

use std::cmp::Ordering;
use std::fmt;

/// The most components that a path from outside may have. Recursive tools fail far above it.
pub const COMPONENTS_MAX: usize = 200;

/// The longest name of an entry, in bytes, as Linux has it.
pub const NAME_BYTES_MAX: usize = 255;

/// A path below the root of a tree, in its canonical form: components joined by slashes, none of
/// them empty, `.` or `..`. The root is the empty path.
///
/// Paths are ordered by component, which is the order of a walk: `a`, `a/z`, `a.b`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TreePath(Vec<u8>);

/// The reason for which bytes are not a path below a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("its name is empty")]
    Empty,
    #[error("its path is absolute")]
    Absolute,
    #[error("its path contains a zero byte")]
    Zero,
    #[error("its path contains `..`")]
    Parent,
    #[error("a component of its path is longer than {NAME_BYTES_MAX} bytes")]
    Component,
    #[error("its path has more than {COMPONENTS_MAX} components")]
    Depth,
}

impl TreePath {
    /// The path of the root.
    pub const ROOT: TreePath = TreePath(Vec::new());

    /// Checks a path from outside, such as an archive's, and brings it into its canonical form.
    ///
    /// # Errors
    /// [`PathError`] when the path would leave the tree, or has parts that no file system takes.
    pub fn parse(path: &[u8]) -> Result<Self, PathError> {
        Self::parse_stripped(path, 0).map(Option::unwrap_or_default)
    }

    /// Does the same as [`TreePath::parse`], without the first `strip` components; `None` when the
    /// path has fewer.
    ///
    /// # Errors
    /// The errors of [`TreePath::parse`].
    pub fn parse_stripped(path: &[u8], strip: usize) -> Result<Option<Self>, PathError> {
        match path {
            [] => return Err(PathError::Empty),
            [b'/', ..] => return Err(PathError::Absolute),
            _ if path.contains(&0) => return Err(PathError::Zero),
            _ => {}
        }
        let mut joined = Vec::with_capacity(path.len());
        let mut count = 0;
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent),
                _ if component.len() > NAME_BYTES_MAX => return Err(PathError::Component),
                _ => count += 1,
            }
            if count > strip {
                push(&mut joined, component);
            }
        }
        if count > COMPONENTS_MAX {
            return Err(PathError::Depth);
        }
        Ok((count >= strip).then_some(Self(joined)))
    }

    /// Returns the components joined by slashes, without a slash at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the components, none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// Returns the path of the directory above as bytes; empty for the root and its entries.
    pub fn parent(&self) -> &[u8] {
        &self.0[..self.name_start().saturating_sub(1)]
    }

    /// Returns the last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        &self.0[self.name_start()..]
    }

    fn name_start(&self) -> usize {
        self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
    }

    /// Returns the path of the entry `name`, which must be the name of one, in this directory.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        let mut joined = Vec::with_capacity(self.0.len() + 1 + name.len());
        joined.extend_from_slice(&self.0);
        push(&mut joined, name);
        Self(joined)
    }

    /// Appends the name of an entry.
    pub(crate) fn push(&mut self, name: &[u8]) {
        push(&mut self.0, name);
    }

    /// Removes the last component.
    pub(crate) fn pop(&mut self) {
        self.0.truncate(self.parent().len());
    }
}

fn push(joined: &mut Vec<u8>, name: &[u8]) {
    if !joined.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // No component holds a zero byte, so a slash that sorts first gives the order of
        // components.
        let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prints the path as messages show it: absolute, and without control characters.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", printable(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Returns bytes from outside for a message: no control characters, no invalid text.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
