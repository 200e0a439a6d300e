//! Builtins that read files, and the search path.

use super::expect::lossy;
use super::features::require;
use crate::error::{Error, ErrorKind, Result};
use crate::flake::FlakeRef;
use crate::host::{FileType, Severity};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::text::path::{base_name, dir_name, normalise};
use crate::value::{Attr, Context, ContextElement, Value};
use crate::vm::Evaluator;
use model::StorePath;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Directory of the files that are part of the evaluator: `<nix/…>`.
const INTERNAL_DIR: &[u8] = b"/__corepkgs__/";

/// Returns the text of a file that is part of the evaluator.
pub(crate) fn internal_file(path: &[u8]) -> Option<&'static [u8]> {
    match path.strip_prefix(INTERNAL_DIR)? {
        b"fetchurl.nix" => Some(include_bytes!("fetchurl.nix")),
        _ => None,
    }
}

pub(super) fn base_name_of(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let value = ev.force(arguments[0])?;
    if let Some(path) = value.as_path() {
        return Ok(Value::string(base_name(path.bytes())));
    }
    let text = ev.text_of(value)?;
    Ok(Value::string_with_context(base_name(text.bytes()), text.context()))
}

pub(super) fn dir_of(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let value = ev.force(arguments[0])?;
    if let Some(path) = value.as_path() {
        return Ok(Value::path(dir_name(path.bytes())));
    }
    let text = ev.text_of(value)?;
    Ok(Value::string_with_context(dir_name(text.bytes()), text.context()))
}

pub(super) fn to_path(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let (path, context) = ev.coerce_to_path(arguments[0])?;
    Ok(Value::string_with_context(&normalise(&path), context))
}

pub(super) fn get_env(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let name = ev.expect_plain(arguments[0])?;
    let hidden = ev.shared.options.pure || ev.shared.options.restrict;
    let value = if hidden { None } else { ev.shared.host.env_var(name) };
    Ok(Value::string(&value.unwrap_or_default()))
}

pub(super) fn path_exists(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let value = ev.force(arguments[0])?;
    let (raw, context) = ev.coerce_to_path(value)?;
    ev.realise_context(context)?;
    let must_be_dir = value.as_path().is_none() && (raw.ends_with(b"/") || raw.ends_with(b"/."));
    let found = ev.type_if_visible(&normalise(&raw), must_be_dir)?;
    Ok(Value::bool(if must_be_dir { found == Some(FileType::Directory) } else { found.is_some() }))
}

pub(super) fn read_file(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let path = ev.realise_path(arguments[0])?;
    let path = ev.resolve_links(&path)?;
    if let Some(text) = internal_file(path.as_os_str().as_bytes()) {
        return Ok(Value::string(text));
    }
    let bytes = ev.read_file(&path)?;
    if memchr::memchr(0, &bytes).is_some() {
        return Err(Error::other(
            "lang::nul_byte",
            format!("the contents of the file '{}' cannot be represented as a Nix string", path.display()),
        ));
    }
    // A file of a store object may contain references of the object; the string then has them as
    // context.
    let model = ev.shared.options.store_model;
    let mut elements = Vec::new();
    if let Ok((object, _)) = model.split(&path.to_string_lossy()) {
        for reference in ev.shared.host.references(&object)? {
            if memchr::memmem::find(&bytes, reference.hash_text().as_bytes()).is_some() {
                elements.push(ContextElement::Opaque(Symbol::new(model.print(&reference).as_bytes())));
            }
        }
    }
    Ok(Value::string_with_context(&bytes, Context::from_elements(elements)))
}

pub(super) fn read_dir(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let path = ev.realise_path(arguments[0])?;
    let path = ev.resolve_links(&path)?;
    let entries = ev.shared.host.read_dir(&path)?;
    let attrs = entries
        .into_iter()
        .map(|(name, kind)| Attr {
            name: Symbol::new(&name),
            pos: Pos::NONE,
            value: Value::string(kind.name().as_bytes()),
        })
        .collect();
    Ok(Value::attrs(attrs))
}

pub(super) fn read_file_type(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let path = ev.realise_path(arguments[0])?;
    let path = ev.resolve_parents(&path)?;
    match ev.type_at(&path)? {
        Some(kind) => Ok(Value::string(kind.name().as_bytes())),
        None => Err(Error::other("lang::no_such_file", format!("path '{}' does not exist", path.display()))),
    }
}

pub(super) fn find_file(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let entries = ev.expect_list(arguments[0])?;
    let wanted = ev.expect_plain(arguments[1])?;
    for &entry in entries.values() {
        let entry = ev.expect_attrs(entry)?;
        let prefix = match entry.get(Symbol::new(b"prefix")) {
            Some(prefix) => ev.expect_plain(prefix)?,
            None => b"",
        };
        let rest = if prefix.is_empty() {
            Some(wanted)
        } else {
            match wanted.strip_prefix(prefix) {
                Some(b"") => Some(&b""[..]),
                Some([b'/', rest @ ..]) => Some(rest),
                _ => None,
            }
        };
        let Some(rest) = rest else { continue };
        let place = ev.required(entry, "path", "findFile")?;
        let place = ev.force(place)?;
        let (place, context) = match place.as_path() {
            Some(path) => (path.bytes().to_vec(), Context::EMPTY),
            None => {
                let text = ev.text_of(place)?;
                (text.bytes().to_vec(), text.context())
            }
        };
        ev.realise_context(context)?;
        let Some(root) = ev.search_path_root(&place)? else { continue };
        let full = normalise(&[root.as_os_str().as_bytes(), b"/", rest].concat());
        if ev.type_if_visible(&full, false)?.is_some() {
            return Ok(Value::path(&full));
        }
    }
    if let Some(rest) = wanted.strip_prefix(b"nix/") {
        let internal = [INTERNAL_DIR, rest].concat();
        if internal_file(&internal).is_some() {
            return Ok(Value::path(&internal));
        }
    }
    let wanted = lossy(wanted);
    let text = if ev.shared.options.pure {
        format!("cannot look up '<{wanted}>' in pure evaluation mode (use '--impure' to override)")
    } else {
        format!("file '{wanted}' was not found in the Nix search path (add it using $NIX_PATH or -I)")
    };
    Err(ErrorKind::LookupPath(text).into())
}

impl Evaluator {
    /// Returns the directory that a search path entry means. Archives are fetched once. An entry
    /// that does not exist, or cannot be fetched, is `None`, with one warning.
    ///
    /// # Errors
    /// When the entry may not be read, and interrupts.
    fn search_path_root(&mut self, place: &[u8]) -> Result<Option<PathBuf>> {
        let known = self.shared.lookups.lock().expect(crate::vm::LOCK).get(place).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let text = lossy(place);
        let root = if let Some(channel) = text.strip_prefix("channel:") {
            let url = format!("https://channels.nixos.org/{channel}/nixexprs.tar.xz");
            self.fetched_root(&text, |ev| ev.fetch_tarball_url(&url))?
        } else if ["http://", "https://", "file://"].iter().any(|scheme| text.starts_with(scheme)) {
            self.fetched_root(&text, |ev| ev.fetch_tarball_url(&text))?
        } else if let Some(reference) = text.strip_prefix("flake:") {
            require(self.shared.options.features.flakes, "flakes")?;
            let reference = FlakeRef::parse(reference)?;
            self.fetched_root(&text, |ev| ev.fetch_reference(&reference))?
        } else if place.first() != Some(&b'/') {
            None
        } else if self.type_if_visible(&normalise(place), true)?.is_some() {
            Some(PathBuf::from(OsStr::from_bytes(place)))
        } else {
            let path = self.checked_path(&normalise(place))?;
            self.resolve_links(&path)?;
            let message = format!("Nix search path entry '{text}' does not exist, ignoring");
            self.shared.host.message(Severity::Warning, &message);
            None
        };
        self.shared.lookups.lock().expect(crate::vm::LOCK).insert(place.to_vec(), root.clone());
        Ok(root)
    }

    fn fetched_root(
        &mut self,
        place: &str,
        fetch: impl FnOnce(&mut Evaluator) -> Result<StorePath>,
    ) -> Result<Option<PathBuf>> {
        match fetch(self) {
            Ok(fetched) => Ok(Some(PathBuf::from(self.shared.options.store_model.print(&fetched)))),
            Err(error) if self.account.is_interrupted() => Err(error),
            Err(error) => {
                let message = format!("Nix search path entry '{place}' cannot be downloaded, ignoring: {error}");
                self.shared.host.message(Severity::Warning, &message);
                Ok(None)
            }
        }
    }
}
