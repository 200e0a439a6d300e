//! Flake references, in both of their forms: a set of attributes and one line of text.
//!
//! ```text
//! { type = "github"; owner = "o"; repo = "r"; dir = "x"; }     github:o/r?dir=x
//! { type = "path"; path = "./a"; }                             path:./a    ./a
//! { type = "git"; url = "file:///r"; ref = "main"; }           git+file:///r?ref=main
//! { type = "indirect"; id = "nixpkgs"; }                       flake:nixpkgs    nixpkgs
//! ```

use crate::host::FetchValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::collections::BTreeMap;

/// The source tree that a flake or another input is in, as attributes; `type` says which others
/// have a meaning.
///
/// Attributes are checked when the tree is fetched, so a reference may lack some.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlakeRef {
    attributes: BTreeMap<String, FetchValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlakeRefError {
    #[error("'{text}' is not a valid flake reference: {why}")]
    Invalid { text: String, why: &'static str },
    #[error("attribute '{0}' is missing in a flake reference")]
    MissingAttribute(&'static str),
    #[error("flake references of type '{0}' are not known")]
    UnknownType(String),
    #[error("the parameter 'dir' of a flake reference, '{0}', leads out of its tree")]
    Outside(String),
    #[error("negative value given for flake ref attr {name}: {number}")]
    Negative { name: String, number: i64 },
}

/// Characters that stay as they are in paths and in values of parameters.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b':')
    .remove(b'@')
    .remove(b'/')
    .remove(b'?');

/// Ends of URLs that name an archive rather than a plain file.
const ARCHIVE_SUFFIXES: [&str; 7] = [".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"];

/// Schemes that stand before the scheme of the transport, as in `git+https:`, and the type each
/// means.
const TRANSPORT_PREFIXES: [(&str, &str); 4] =
    [("git+", "git"), ("hg+", "hg"), ("tarball+", "tarball"), ("file+", "file")];

impl FlakeRef {
    /// Returns the reference to a directory of this machine, or of the flake that has the
    /// reference.
    pub fn path(path: &str) -> FlakeRef {
        FlakeRef::default().with("type", "path").with("path", path)
    }

    /// Parses the form of one line.
    ///
    /// # Errors
    /// [`FlakeRefError::Invalid`] when it is neither a path, a URL nor a name.
    pub fn parse(text: &str) -> Result<FlakeRef, FlakeRefError> {
        let invalid = |why| FlakeRefError::Invalid { text: text.to_owned(), why };
        let (main, query) = text.split_once('?').unwrap_or((text, ""));
        if main.contains('#') {
            return Err(invalid("a fragment is not allowed here"));
        }
        let mut reference = without_query(main).map_err(invalid)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| invalid("a parameter has no value"))?;
            reference.attributes.insert(name.to_owned(), parameter(name, value));
        }
        Ok(reference)
    }

    /// Splits an argument such as `github:o/r?dir=x#a.b` into a reference and its fragment, which is
    /// decoded; `None` without `#`. A `%` that is no encoding stays.
    pub fn split_fragment(text: &str) -> (&str, Option<String>) {
        match text.split_once('#') {
            Some((reference, fragment)) => {
                (reference, Some(percent_decode_str(fragment).decode_utf8_lossy().into_owned()))
            }
            None => (text, None),
        }
    }

    /// Returns whether a word is a URL or a path in the form of a reference, and is
    /// never meant as an expression: `github:o/r`, `path:dir`, `.`, but neither a name nor `./file`.
    pub fn is_unmistakable(text: &str) -> bool {
        let scheme = text.split_once(':').is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_graphic()));
        matches!(text, "." | "..") || scheme && !text.contains(char::is_whitespace) && FlakeRef::parse(text).is_ok()
    }

    /// Prints the form of one line.
    ///
    /// # Errors
    /// When an attribute that the type needs is missing, or the type is not known.
    pub fn to_url(&self) -> Result<String, FlakeRefError> {
        let mut parts = BTreeMap::new();
        for (name, value) in &self.attributes {
            let text = match value {
                FetchValue::String(text) => text.clone(),
                &FetchValue::Int(number) if number < 0 => {
                    return Err(FlakeRefError::Negative { name: name.clone(), number });
                }
                FetchValue::Int(number) => number.to_string(),
                FetchValue::Bool(flag) => u8::from(*flag).to_string(),
            };
            parts.insert(name.as_str(), text);
        }
        let mut take = |name| parts.remove(name).ok_or(FlakeRefError::MissingAttribute(name));
        let kind = take("type")?;
        let mut url = match kind.as_str() {
            "path" => format!("path:{}", utf8_percent_encode(&take("path")?, ENCODED)),
            "github" | "gitlab" | "sourcehut" => format!("{kind}:{}/{}", take("owner")?, take("repo")?),
            "indirect" => format!("flake:{}", take("id")?),
            "git" | "hg" => format!("{kind}+{}", take("url")?),
            "tarball" | "file" => take("url")?,
            _ => return Err(FlakeRefError::UnknownType(kind)),
        };
        if self.is_forge() || kind == "indirect" {
            for name in ["ref", "rev"] {
                if let Some(value) = parts.remove(name) {
                    url.push('/');
                    url.push_str(&value);
                }
            }
        }
        for (index, (name, value)) in parts.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={}", utf8_percent_encode(value, ENCODED)));
        }
        Ok(url)
    }

    pub fn from_attributes(attributes: BTreeMap<String, FetchValue>) -> FlakeRef {
        FlakeRef { attributes }
    }

    pub fn attributes(&self) -> &BTreeMap<String, FetchValue> {
        &self.attributes
    }

    pub fn into_attributes(self) -> BTreeMap<String, FetchValue> {
        self.attributes
    }

    /// Returns the directory of the flake in its tree, which is at `root`: that of the parameter
    /// `dir`, taken below the tree also when it begins with a slash.
    ///
    /// # Errors
    /// [`FlakeRefError::Outside`] when it has a component `..`, by which a reference could leave its
    /// tree and read files that no pin covers.
    pub fn directory_in(&self, root: &[u8]) -> Result<Vec<u8>, FlakeRefError> {
        let mut path = root.to_owned();
        for component in self.text("dir").unwrap_or_default().split('/').filter(|name| !matches!(*name, "" | ".")) {
            if component == ".." {
                return Err(FlakeRefError::Outside(self.text("dir").unwrap_or_default().to_owned()));
            }
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(component.as_bytes());
        }
        Ok(path)
    }

    /// Returns an attribute that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(FetchValue::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The attribute `type`; empty when it is missing.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }

    pub fn insert(&mut self, name: &str, value: FetchValue) {
        self.attributes.insert(name.to_owned(), value);
    }

    pub fn remove(&mut self, name: &str) {
        self.attributes.remove(name);
    }

    fn with(mut self, name: &str, value: &str) -> FlakeRef {
        self.insert(name, FetchValue::String(value.to_owned()));
        self
    }

    /// The path of a reference of type `path`.
    pub fn local_path(&self) -> Option<&str> {
        if self.kind() == "path" { self.text("path") } else { None }
    }

    /// True for a path that starts at the flake that has the reference.
    pub fn is_relative(&self) -> bool {
        self.kind() == "path" && !self.text("path").unwrap_or_default().starts_with('/')
    }

    /// True for repositories that are named by owner and name.
    pub fn is_forge(&self) -> bool {
        matches!(self.kind(), "github" | "gitlab" | "sourcehut")
    }

    /// True when the reference names one tree only: by its hash, or by a revision where that is a
    /// hash. In references to archives and directories nothing checks the revision.
    pub fn is_pinned(&self) -> bool {
        pins_tree(&self.attributes)
    }
}

/// Returns the same as [`FlakeRef::is_pinned`], for attributes.
pub(crate) fn pins_tree(attributes: &BTreeMap<String, FetchValue>) -> bool {
    let text = |name: &str| match attributes.get(name) {
        Some(FetchValue::String(text)) => text.as_str(),
        _ => "",
    };
    let by_revision = ["git", "hg", "github", "gitlab", "sourcehut"];
    !text("narHash").is_empty() || by_revision.contains(&text("type")) && has_revision(attributes)
}

/// Returns true when the attributes name a revision; one of zeros alone means none.
pub(crate) fn has_revision(attributes: &BTreeMap<String, FetchValue>) -> bool {
    match attributes.get("rev") {
        Some(FetchValue::String(rev)) => rev.bytes().any(|byte| byte != b'0'),
        _ => false,
    }
}

/// Parses a reference up to its `?`.
fn without_query(text: &str) -> Result<FlakeRef, &'static str> {
    let of_type = |kind| FlakeRef::default().with("type", kind);
    if let Some(path) = text.strip_prefix("path:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(FlakeRef::path(&percent_decode_str(path).decode_utf8_lossy()));
    }
    if text.starts_with('/') || text.starts_with('.') {
        return Ok(FlakeRef::path(text));
    }
    if let Some((scheme @ ("github" | "gitlab" | "sourcehut"), rest)) = text.split_once(':') {
        let mut parts = rest.splitn(3, '/');
        let (Some(owner), Some(repo)) = (parts.next(), parts.next()) else {
            return Err("an owner and a repository are needed, as in 'github:owner/repo'");
        };
        return Ok(with_versions(of_type(scheme).with("owner", owner).with("repo", repo), parts));
    }
    for (prefix, kind) in TRANSPORT_PREFIXES {
        if let Some(url) = text.strip_prefix(prefix) {
            return Ok(of_type(kind).with("url", url));
        }
    }
    if text.starts_with("git://") || text.starts_with("ssh://") {
        return Ok(of_type("git").with("url", text));
    }
    if text.starts_with("file:") && !text.starts_with("file:/") {
        return Err("the scheme 'file' needs an absolute path");
    }
    if text.contains("://") {
        let is_archive = ARCHIVE_SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
        return Ok(of_type(if is_archive { "tarball" } else { "file" }).with("url", text));
    }
    let mut parts = text.strip_prefix("flake:").unwrap_or(text).splitn(3, '/');
    let id = parts.next().unwrap_or_default();
    let is_name = id.starts_with(|first: char| first.is_ascii_alphabetic())
        && id.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character));
    if !is_name {
        return Err("it is neither a path, a URL nor a name");
    }
    Ok(with_versions(of_type("indirect").with("id", id), parts))
}

/// Adds the parts of a path that are revisions or names of branches.
fn with_versions<'t>(reference: FlakeRef, parts: impl Iterator<Item = &'t str>) -> FlakeRef {
    parts.fold(reference, |reference, part| {
        let is_revision = part.len() == 40 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        reference.with(if is_revision { "rev" } else { "ref" }, part)
    })
}

fn parameter(name: &str, value: &str) -> FetchValue {
    match (name, value.parse::<i64>()) {
        ("lastModified" | "revCount", Ok(number)) => FetchValue::Int(number),
        ("submodules" | "shallow" | "allRefs" | "exportIgnore" | "lfs", _) => FetchValue::Bool(value == "1"),
        _ => FetchValue::String(percent_decode_str(value).decode_utf8_lossy().into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(text: &str) -> String {
        let shown = |(name, value): (&String, &FetchValue)| match value {
            FetchValue::String(text) => format!("{name}={text}"),
            FetchValue::Int(number) => format!("{name}={number}"),
            FetchValue::Bool(flag) => format!("{name}={flag}"),
        };
        match FlakeRef::parse(text) {
            Ok(reference) => reference.attributes().iter().map(shown).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    const REVISION: &str = "53b847f5f2705afc01ef70b6f60e323bf6f61421";

    #[test]
    fn one_line_gives_attributes() {
        for (text, expected) in [
            ("path:./a?dir=b", "dir=b path=./a type=path"),
            ("path:///a%20b", "path=/a b type=path"),
            ("./a%20b?dir=c%20d", "dir=c d path=./a%20b type=path"),
            ("github:o/r", "owner=o repo=r type=github"),
            ("gitlab:o/r/main?host=h", "host=h owner=o ref=main repo=r type=gitlab"),
            (&format!("sourcehut:~o/r/{REVISION}"), &format!("owner=~o repo=r rev={REVISION} type=sourcehut")),
            ("git+file:///r?submodules=1&revCount=3", "revCount=3 submodules=true type=git url=file:///r"),
            ("ssh://h/r", "type=git url=ssh://h/r"),
            ("https://h/a.tar.gz", "type=tarball url=https://h/a.tar.gz"),
            ("https://h/a", "type=file url=https://h/a"),
            ("tarball+https://h/a", "type=tarball url=https://h/a"),
            ("nixpkgs/main", "id=nixpkgs ref=main type=indirect"),
            ("", "'' is not a valid flake reference: it is neither a path, a URL nor a name"),
            ("a b", "'a b' is not a valid flake reference: it is neither a path, a URL nor a name"),
            (".#x", "'.#x' is not a valid flake reference: a fragment is not allowed here"),
            (".?x", "'.?x' is not a valid flake reference: a parameter has no value"),
            ("file:a", "'file:a' is not a valid flake reference: the scheme 'file' needs an absolute path"),
        ] {
            assert_eq!(attributes(text), expected, "{text}");
        }
    }

    #[test]
    fn printed_references_parse_to_themselves() {
        for text in [
            "path:./a?dir=b",
            "path:/a%20b%25c?narHash=sha256-DSveEV6bfrkQEDcIxUO5u1k42lXq1/86lsYFr+MU5to%3D",
            "github:o/r/main?dir=x%26y",
            "git+https://h/r?lastModified=17&ref=main&shallow=1",
            "https://h/a.tar.gz",
            "flake:nixpkgs/main",
        ] {
            let reference = FlakeRef::parse(text).unwrap();
            assert_eq!(reference.to_url().as_deref(), Ok(text));
            assert_eq!(FlakeRef::parse(&reference.to_url().unwrap()), Ok(reference));
        }
        assert_eq!(FlakeRef::default().to_url(), Err(FlakeRefError::MissingAttribute("type")));
        assert_eq!(FlakeRef::default().with("type", "x").to_url(), Err(FlakeRefError::UnknownType("x".into())));
    }

    #[test]
    fn fragments_are_decoded() {
        for (text, reference, fragment) in [
            ("github:o/r?dir=x#a.b", "github:o/r?dir=x", Some("a.b")),
            (".#", ".", Some("")),
            (".", ".", None),
            ("#a%20b", "", Some("a b")),
            (".#a#b", ".", Some("a#b")),
            (".#100%", ".", Some("100%")),
        ] {
            assert_eq!(FlakeRef::split_fragment(text), (reference, fragment.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn some_words_can_only_be_references() {
        for text in ["path:a", "github:o/r", "git+file:///r?dir=d", "https://h/a.tar.gz", "flake:n", ".", ".."] {
            assert!(FlakeRef::is_unmistakable(text), "{text}");
        }
        for text in ["a", "./a", "/a", "a:b", "x: x", "{ a }:1", "\"path:a\"", "github: o", "1"] {
            assert!(!FlakeRef::is_unmistakable(text), "{text}");
        }
    }

    #[test]
    fn hashes_and_revisions_pin_a_reference() {
        for (text, pinned) in [
            (format!("github:o/r/{REVISION}"), true),
            (format!("git+file:///r?rev={REVISION}"), true),
            (format!("git+file:///r?rev={}", "0".repeat(40)), false),
            (format!("https://h/a.tar?rev={REVISION}"), false),
            ("https://h/a.tar?narHash=sha256-x".to_owned(), true),
            ("path:/a?narHash=".to_owned(), false),
            (format!("nixpkgs/{REVISION}"), false),
        ] {
            assert_eq!(FlakeRef::parse(&text).unwrap().is_pinned(), pinned, "{text}");
        }
    }
}
