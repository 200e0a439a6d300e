//! Fetchers. They check the arguments and make a request; the host fetches.

use super::expect::lossy;
use super::file_url;
use super::json::plain_attrs;
use crate::error::{Error, Result};
use crate::flake::{FlakeRef, has_revision, pins_tree};
use crate::host::{FetchKind, FetchRequest, FetchValue, Fetched};
use crate::text::path::base_name;
use crate::value::{Value, View};
use crate::vm::Evaluator;
use model::{Hash, HashAlgorithm, StorePath};
use std::collections::BTreeMap;

impl FetchValue {
    pub(crate) fn to_value(&self) -> Value {
        match self {
            FetchValue::String(text) => Value::string(text.as_bytes()),
            FetchValue::Int(number) => Value::int(*number),
            FetchValue::Bool(flag) => Value::bool(*flag),
        }
    }
}

impl Evaluator {
    /// Fetches and unpacks an archive without a hash.
    pub(super) fn fetch_tarball_url(&mut self, url: &str) -> Result<StorePath> {
        let request = FetchRequest {
            kind: FetchKind::Tarball,
            name: Some("source".to_owned()),
            expected: None,
            attributes: BTreeMap::from([("url".to_owned(), FetchValue::String(url.to_owned()))]),
        };
        Ok(self.fetch(&request)?.path)
    }

    /// Fetches the tree that a reference names now.
    pub(super) fn fetch_reference(&mut self, reference: &FlakeRef) -> Result<StorePath> {
        let request = FetchRequest {
            kind: FetchKind::Tree,
            name: Some("source".to_owned()),
            expected: nar_hash(reference.attributes())?,
            attributes: reference.attributes().clone(),
        };
        Ok(self.fetch(&request)?.path)
    }

    pub(crate) fn fetch(&mut self, request: &FetchRequest) -> Result<Fetched> {
        let is_pinned = request.expected.is_some()
            || match request.kind {
                FetchKind::File | FetchKind::Tarball => false,
                FetchKind::Git | FetchKind::Mercurial => has_revision(&request.attributes),
                FetchKind::Tree => pins_tree(&request.attributes),
            };
        if self.shared.options.pure && !is_pinned {
            let what = match request.attributes.get("url") {
                Some(FetchValue::String(url)) => format!("'{url}'"),
                _ => "an input".to_owned(),
            };
            return Err(Error::other(
                "lang::unlocked_fetch",
                format!("in pure evaluation mode, fetching {what} requires a hash or a revision"),
            )
            .help("add `sha256 = \"\"` and take the hash from the error that follows, or use `--impure`"));
        }
        self.fetch_unpinned(request)
    }

    /// Does the same as [`Evaluator::fetch`], for requests of the user: pure evaluation fetches
    /// them too when nothing pins them.
    pub(crate) fn fetch_unpinned(&mut self, request: &FetchRequest) -> Result<Fetched> {
        if let Some(FetchValue::String(url)) = request.attributes.get("url") {
            file_url::check(url, request.kind)?;
            self.check_uri(url)?;
        }
        Ok(self.shared.host.fetch(request)?)
    }

    /// Refuses URLs that restricted evaluation may not fetch.
    fn check_uri(&self, url: &str) -> Result<()> {
        if !self.shared.options.restrict {
            return Ok(());
        }
        // Check the decoded path, which is the one that the host reads.
        if let Some(path) = file_url::local_file(url) {
            // Only the kernel can resolve `..` after a link.
            if path.components().any(|part| part == std::path::Component::ParentDir) {
                return Err(forbidden(url));
            }
            return self.checked_path(path.as_os_str().as_encoded_bytes()).map(|_| ());
        }
        if self.shared.options.allowed_uris.iter().any(|allowed| is_below(url, allowed)) {
            return Ok(());
        }
        Err(forbidden(url).help("allow it, or a URL above it, with `--allowed-uris`"))
    }

    /// Returns the result of a fetcher: a set with the path and its known attributes.
    fn fetched_value(&mut self, fetched: &Fetched) -> Value {
        let mut members: Vec<(String, Value)> =
            fetched.attributes.iter().map(|(name, value)| (name.clone(), value.to_value())).collect();
        members.push(("outPath".to_owned(), self.store_value(&fetched.path)));
        plain_attrs(members)
    }

    fn fetch_attributes(&mut self, set: crate::value::Attrs, builtin: &str) -> Result<BTreeMap<String, FetchValue>> {
        let mut attributes = BTreeMap::new();
        for attr in set.sorted() {
            let value = self.force(attr.value)?;
            let value = match value.view() {
                View::String(text) => FetchValue::String(lossy(text.bytes())),
                View::Path(path) => FetchValue::String(lossy(path.bytes())),
                View::Int(number) if number < 0 => {
                    let name = lossy(attr.name.name());
                    return Err(Error::other(
                        "lang::fetch",
                        format!("negative value given for '{builtin}' argument '{name}': {number}"),
                    ));
                }
                View::Int(number) => FetchValue::Int(number),
                View::Bool(flag) => FetchValue::Bool(flag),
                View::Null => continue,
                _ => {
                    let what = format!("attribute '{}' in the argument of '{builtin}'", lossy(attr.name.name()));
                    return Err(self.wrong_type(value, &what));
                }
            };
            attributes.insert(lossy(attr.name.name()), value);
        }
        Ok(attributes)
    }
}

fn forbidden(url: &str) -> Error {
    Error::other("lang::restricted_uri", format!("access to URI '{url}' is forbidden in restricted mode"))
}

/// Returns true when `url` is `allowed` or below it: `https://a.org` allows `https://a.org/b`, but
/// not `https://a.organ`; a scheme with its colon allows everything of that scheme.
fn is_below(url: &str, allowed: &str) -> bool {
    match url.strip_prefix(allowed) {
        Some(rest) => {
            rest.is_empty()
                || allowed.ends_with('/')
                || rest.starts_with('/')
                || (allowed.ends_with(':') && !allowed.contains('/'))
        }
        None => false,
    }
}

/// Attributes of each type of tree, besides `type`.
const TREE_ATTRIBUTES: &[(&str, &[&str])] = &[
    (
        "git",
        &[
            "url",
            "ref",
            "rev",
            "shallow",
            "submodules",
            "lfs",
            "exportIgnore",
            "lastModified",
            "revCount",
            "narHash",
            "allRefs",
            "dirtyRev",
            "dirtyShortRev",
            "verifyCommit",
            "keytype",
            "publicKey",
            "publicKeys",
        ],
    ),
    ("hg", &["url", "ref", "rev", "revCount", "narHash"]),
    ("path", &["path", "rev", "revCount", "lastModified", "narHash"]),
    ("tarball", &["url", "rev", "revCount", "lastModified", "narHash", "unpack"]),
    ("file", &["url", "rev", "revCount", "lastModified", "narHash", "unpack"]),
    ("github", FORGE_ATTRIBUTES),
    ("gitlab", FORGE_ATTRIBUTES),
    ("sourcehut", FORGE_ATTRIBUTES),
    ("indirect", &["id", "ref", "rev", "narHash"]),
];

const FORGE_ATTRIBUTES: &[&str] = &["owner", "repo", "ref", "rev", "host", "lastModified", "narHash", "treeHash"];

/// Refuses attributes that a type of tree does not have. Unknown types are left to the host.
fn check_tree_attributes(kind: &str, attributes: &BTreeMap<String, FetchValue>) -> Result<()> {
    let Some((_, known)) = TREE_ATTRIBUTES.iter().find(|(name, _)| *name == kind) else { return Ok(()) };
    let general = ["type", "__final"];
    match attributes.keys().find(|name| !known.contains(&name.as_str()) && !general.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::other(
            "lang::unsupported_argument",
            format!("input attribute '{name}' not supported by scheme '{kind}'"),
        )),
    }
}

/// Makes a request from a URL, or from a set with `url`, `sha256` and `name`.
fn url_request(ev: &mut Evaluator, value: Value, kind: FetchKind, builtin: &str) -> Result<FetchRequest> {
    let value = ev.force(value)?;
    let (mut url, mut name, mut expected) = (None, None, None);
    if let Some(set) = value.as_attrs() {
        for attr in set.sorted() {
            match attr.name.name() {
                b"url" => url = Some(lossy(ev.text_of(attr.value)?.bytes())),
                b"name" => name = Some(lossy(ev.expect_plain(attr.value)?)),
                b"sha256" => {
                    let text = lossy(ev.expect_plain(attr.value)?);
                    let hash = if text.is_empty() {
                        Hash::new(HashAlgorithm::Sha256, &[0; 32]).expect("a sha256 digest has 32 bytes")
                    } else {
                        Hash::parse(&text, Some(HashAlgorithm::Sha256))
                            .map_err(|error| Error::other("lang::hash", error.to_string()))?
                    };
                    expected = Some(hash);
                }
                b"hash" => {
                    let error = ev.unsupported_attribute(b"hash", builtin);
                    return Err(error.help("it is called `sha256` here, and takes `sha256-…` as well"));
                }
                other => return Err(ev.unsupported_attribute(other, builtin)),
            }
        }
    } else {
        url = Some(lossy(ev.text_of(value)?.bytes()));
    }
    let Some(url) = url else {
        return Err(Error::other(
            "lang::missing_attribute",
            format!("'url' argument required in the argument of '{builtin}'"),
        ));
    };
    let advice = match (&name, value.as_attrs()) {
        (Some(_), _) => "change the value for the 'name' attribute",
        (None, Some(_)) => "add a valid 'name' attribute",
        (None, None) => "pass a set with 'url' and 'name'",
    };
    let name = name.unwrap_or_else(|| match kind {
        FetchKind::Tarball => "source".to_owned(),
        _ => lossy(base_name(url.as_bytes())),
    });
    ev.source_name(name.as_bytes()).map_err(|error| {
        Error::other("lang::store_name", format!("invalid store path name when fetching URL '{url}': {error}"))
            .help(advice)
    })?;
    Ok(FetchRequest {
        kind,
        name: Some(name),
        expected,
        attributes: BTreeMap::from([("url".to_owned(), FetchValue::String(url))]),
    })
}

pub(super) fn fetchurl(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let request = url_request(ev, arguments[0], FetchKind::File, "fetchurl")?;
    let fetched = ev.fetch(&request)?;
    Ok(ev.store_value(&fetched.path))
}

pub(super) fn fetch_tarball(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let request = url_request(ev, arguments[0], FetchKind::Tarball, "fetchTarball")?;
    let fetched = ev.fetch(&request)?;
    Ok(ev.store_value(&fetched.path))
}

pub(super) fn fetch_git(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    repository(ev, arguments[0], FetchKind::Git, "fetchGit")
}

pub(super) fn fetch_mercurial(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    repository(ev, arguments[0], FetchKind::Mercurial, "fetchMercurial")
}

fn repository(ev: &mut Evaluator, value: Value, kind: FetchKind, builtin: &str) -> Result<Value> {
    let value = ev.force(value)?;
    let mut attributes = match value.as_attrs() {
        Some(set) if !set.contains(ev.shared.names.out_path) => ev.fetch_attributes(set, builtin)?,
        _ => {
            let url = lossy(ev.text_of(value)?.bytes());
            BTreeMap::from([("url".to_owned(), FetchValue::String(url))])
        }
    };
    let name = match attributes.remove("name") {
        Some(FetchValue::String(name)) => name,
        _ => "source".to_owned(),
    };
    if kind == FetchKind::Git {
        check_tree_attributes("git", &attributes)?;
    }
    let expected = nar_hash(&attributes)?;
    let fetched = ev.fetch(&FetchRequest { kind, name: Some(name), expected, attributes })?;
    Ok(ev.fetched_value(&fetched))
}

pub(crate) fn nar_hash(attributes: &BTreeMap<String, FetchValue>) -> Result<Option<Hash>> {
    match attributes.get("narHash") {
        Some(FetchValue::String(text)) => Hash::parse(text, Some(HashAlgorithm::Sha256))
            .map(Some)
            .map_err(|error| Error::other("lang::hash", error.to_string())),
        _ => Ok(None),
    }
}

pub(super) fn fetch_tree(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let value = ev.force(arguments[0])?;
    let mut attributes = match value.as_attrs() {
        Some(set) => ev.fetch_attributes(set, "fetchTree")?,
        None => {
            let text = lossy(ev.text_of(value)?.bytes());
            FlakeRef::parse(&text)?.into_attributes()
        }
    };
    let Some(FetchValue::String(kind)) = attributes.get("type") else {
        return Err(Error::other("lang::missing_attribute", "attribute 'type' is missing in call to 'fetchTree'"));
    };
    let is_reference = value.as_attrs().is_none();
    if is_reference {
        attributes.remove("dir");
    } else {
        if attributes.contains_key("name") {
            return Err(Error::other(
                "lang::unsupported_argument",
                "argument 'name' isn’t supported in call to 'fetchTree'",
            ));
        }
        check_tree_attributes(kind, &attributes)?;
        // References in URL form fetch the history, as in Nix.
        if kind == "git" {
            attributes.entry("shallow".to_owned()).or_insert(FetchValue::Bool(true));
        }
    }
    let expected = nar_hash(&attributes)?;
    let name = Some("source".to_owned());
    let fetched = ev.fetch(&FetchRequest { kind: FetchKind::Tree, name, expected, attributes })?;
    Ok(ev.fetched_value(&fetched))
}
