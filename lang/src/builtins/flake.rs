//! Flakes: references, and `getFlake` for flakes that are folders.
//!
//! Inputs are those that `flake.lock` says (`lock.rs`). What is not locked is taken as declared: `path:` inputs relative to the
//! flake, read where they lie, `follows`, and whatever else the host can fetch (pure evaluation asks for a `rev` or `narHash`
//! there). A folder that is locked by its hash is copied to the store and checked, as everything else that is fetched.

use std::collections::BTreeMap;

use super::expect::lossy;
use super::features::require;
use super::json::plain_attrs;
use super::lock::Lock;
use crate::compile::code::Code;
use crate::error::{Error, Result};
use crate::host::{FetchKind, FetchRequest, FetchValue};
use crate::symbol::Symbol;
use crate::text::path::normalise;
use crate::value::{Attrs, Value, View};
use crate::vm::Evaluator;

/// What an input names, loaded when asked for: reference (URL or set), base folder, overrides of its inputs, whether it
/// is a flake.
static INPUT: Code = Code::native(4, |ev, captures| {
    let value = ev.force(captures[0])?;
    let reference = match value.as_attrs() {
        Some(set) => reference_of_set(ev, set)?,
        None => parse_reference(&lossy(ev.expect_string(value)?.bytes()))?,
    };
    let base = ev.expect_string(captures[1])?.bytes();
    allow(ev, &reference, base);
    let overrides = ev.expect_attrs(captures[2])?;
    if ev.expect_forced_bool(captures[3])? {
        load(ev, &reference, base, Some(overrides))
    } else {
        let tree = fetch_tree(ev, &reference, base)?;
        Ok(plain_tree(ev, tree))
    }
});
/// An input that follows another: the inputs of the flake that says so, path such as `a/b`, that flake itself, which is
/// what an empty path means.
static FOLLOWS: Code = Code::native(3, |ev, captures| {
    let path = ev.expect_string(captures[1])?.bytes();
    if path.is_empty() {
        return ev.force(captures[2]);
    }
    let mut value = captures[0];
    for (index, name) in path.split(|&byte| byte == b'/').enumerate() {
        let symbol = Symbol::new(name);
        let set = ev.force(value)?;
        let inputs = if index == 0 { set } else { ev.select_slow(set, Symbol::new(b"inputs"))? };
        let inputs = ev.force(inputs)?;
        value = ev.select_slow(inputs, symbol)?;
    }
    ev.force(value)
});
/// What `outputs` returns: flake's own value, function, inputs.
static OUTPUTS: Code = Code::native(3, |ev, captures| {
    let inputs = ev.expect_attrs(captures[2])?;
    let own = plain_attrs(vec![("self".to_owned(), captures[0])]);
    let arguments = inputs.update(own.as_attrs().expect("a set was made just now"));
    ev.call(captures[1], &[arguments])
});
/// The flake itself: facts, outputs.
static FLAKE: Code = Code::native(2, |ev, captures| {
    let facts = ev.expect_attrs(captures[0])?;
    let outputs = ev.expect_attrs(captures[1])?;
    Ok(outputs.update(facts))
});

pub(super) fn get_flake(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    require(ev.shared.options.features.flakes, "flakes")?;
    let value = ev.force(arguments[0])?;
    let text = match value.as_path() {
        Some(path) => lossy(path.bytes()),
        None => lossy(ev.text_of(value)?.bytes()),
    };
    load(ev, &parse_reference(&text)?, b"/", None)
}

impl Evaluator {
    /// The flake in a folder: its outputs with `inputs`, `outputs`, `sourceInfo` and `outPath`.
    pub fn eval_flake(&mut self, dir: &std::path::Path) -> Result<Value> {
        let attributes = BTreeMap::from([
            ("type".to_owned(), FetchValue::String("path".to_owned())),
            ("path".to_owned(), FetchValue::String(dir.to_string_lossy().into_owned())),
        ]);
        allow(self, &attributes, b"/");
        self.on_large_stack(|ev| load(ev, &attributes, b"/", None))
    }
}

/// A flake reference: its attributes, `type` among them.
pub type Reference = BTreeMap<String, FetchValue>;

pub(super) fn text<'r>(reference: &'r Reference, name: &str) -> Option<&'r str> {
    match reference.get(name) {
        Some(FetchValue::String(text)) => Some(text),
        _ => None,
    }
}

/// A reference written as a set: `{ type = "github"; owner = …; }`.
pub(super) fn reference_of_set(ev: &mut Evaluator, set: Attrs) -> Result<Reference> {
    let mut reference = Reference::new();
    for attr in set.sorted() {
        if matches!(attr.name.name(), b"flake" | b"inputs" | b"follows") {
            continue;
        }
        let value = ev.force(attr.value)?;
        let value = match value.view() {
            View::String(text) => FetchValue::String(lossy(text.bytes())),
            View::Path(path) => FetchValue::String(lossy(path.bytes())),
            View::Int(number) => FetchValue::Int(number),
            View::Bool(flag) => FetchValue::Bool(flag),
            _ => {
                let what = format!("flake reference attribute '{}'", lossy(attr.name.name()));
                return Err(ev.wrong_type(value, &what));
            }
        };
        reference.insert(lossy(attr.name.name()), value);
    }
    Ok(reference)
}

/// A source tree that a reference names.
pub(super) struct Tree {
    /// What is known of it: `narHash`, `rev` ….
    facts: Vec<(String, Value)>,
    /// Where it begins.
    root: Vec<u8>,
    /// The folder of it that is meant.
    dir: Vec<u8>,
}

pub(super) fn local_path(path: &str, base: &[u8]) -> Vec<u8> {
    let path = path.as_bytes();
    normalise(&if path.starts_with(b"/") { path.to_vec() } else { [base, b"/", path].concat() })
}

/// Lets pure evaluation read the folder of a flake that the user named, or that a flake declares as its input. What an
/// expression makes up (`builtins.getFlake`) gets no such leave.
pub(super) fn allow(ev: &Evaluator, reference: &Reference, base: &[u8]) {
    if let (Some("path"), Some(path)) = (text(reference, "type"), text(reference, "path")) {
        ev.allow(lossy(&local_path(path, base)).into());
    }
}

pub(super) fn fetch_tree(ev: &mut Evaluator, reference: &Reference, base: &[u8]) -> Result<Tree> {
    let mut facts: Vec<(String, Value)> = Vec::new();
    let root: Vec<u8> = match (text(reference, "type"), text(reference, "path")) {
        (Some("path"), Some(path)) if !reference.contains_key("narHash") => local_path(path, base),
        (kind, path) => {
            let mut attributes = reference.clone();
            if let (Some("path"), Some(path)) = (kind, path) {
                let path = lossy(&local_path(path, base));
                attributes.insert("path".to_owned(), FetchValue::String(path));
            }
            let expected = super::fetch::nar_hash(reference)?;
            let fetched = ev.fetch(&FetchRequest {
                kind: FetchKind::Tree,
                name: Some("source".to_owned()),
                expected,
                attributes,
            })?;
            for (name, value) in &fetched.attributes {
                let value = match value {
                    FetchValue::String(text) => Value::string(text.as_bytes()),
                    FetchValue::Int(number) => Value::int(*number),
                    FetchValue::Bool(flag) => Value::bool(*flag),
                };
                facts.push((name.clone(), value));
            }
            ev.shared.options.store_model.print(&fetched.path).into_bytes()
        }
    };
    let dir = match text(reference, "dir") {
        Some(dir) => normalise(&[&root, &b"/"[..], dir.as_bytes()].concat()),
        None => root.clone(),
    };
    Ok(Tree { facts, root, dir })
}

/// A tree that is an input without being a flake.
pub(super) fn plain_tree(ev: &Evaluator, tree: Tree) -> Value {
    let mut facts = tree.facts;
    facts.push(("outPath".to_owned(), source_string(ev, &tree.dir)));
    facts.push(("sourceInfo".to_owned(), plain_attrs(facts.clone())));
    plain_attrs(facts)
}

/// Loads the flake a reference names. `overrides` says of its inputs, by name, what they are (`value`) or what their own
/// inputs are (`inputs`, of the same form).
fn load(ev: &mut Evaluator, reference: &Reference, base: &[u8], overrides: Option<Attrs>) -> Result<Value> {
    let tree = fetch_tree(ev, reference, base)?;
    flake_of(ev, tree, |ev, own, flake, outputs, dir| {
        // An input is locked by the flake that has it, not by itself.
        let lock = if overrides.is_none() { Lock::read(ev, dir, own)? } else { None };
        inputs(ev, own, flake, outputs, dir, overrides, lock.as_ref())
    })
}

/// The flake in a tree. `inputs` makes the set of its inputs, from the flake itself (not to be forced), what its file says,
/// its function, and the folder it lies in.
pub(super) fn flake_of(
    ev: &mut Evaluator,
    tree: Tree,
    inputs: impl FnOnce(&mut Evaluator, Value, Attrs, Value, &[u8]) -> Result<Value>,
) -> Result<Value> {
    let Tree { mut facts, root, dir } = tree;
    let flake = ev.import(&[&dir, &b"/flake.nix"[..]].concat())?;
    let flake = ev.expect_attrs(flake)?;
    let outputs = ev.required(flake, "outputs", "getFlake")?;
    let outputs = ev.expect_function(outputs)?;
    let own = Value::thunk_unfilled(&FLAKE);
    let inputs = inputs(ev, own, flake, outputs, &dir)?;

    // `sourceInfo.outPath` is the tree as a string; copying it to the store is left to who interpolates a path in it.
    facts.push(("outPath".to_owned(), source_string(ev, &root)));
    let source_info = plain_attrs(facts.clone());
    facts.push(("sourceInfo".to_owned(), source_info));
    facts.push(("inputs".to_owned(), inputs));
    facts.push(("_type".to_owned(), Value::string(b"flake")));
    let out_path = source_string(ev, &dir);
    facts.retain(|(name, _)| name != "outPath");
    facts.push(("outPath".to_owned(), out_path));
    let result = Value::thunk(&OUTPUTS, &[own, outputs, inputs]);
    facts.push(("outputs".to_owned(), result));
    ev.fill_thunk(own, &[plain_attrs(facts), result]);
    ev.force(own)
}

/// A folder as the string a flake sees: with context, when it is in the store.
fn source_string(ev: &Evaluator, path: &[u8]) -> Value {
    let model = ev.shared.options.store_model;
    match model.split(&lossy(path)) {
        Ok((object, rest)) => {
            let (text, context) = ev.store_string(&object);
            Value::string_with_context(format!("{text}{rest}").as_bytes(), context)
        }
        Err(_) => Value::string(path),
    }
}

/// The inputs of a flake: those it declares, and those its function asks for by name.
fn inputs(
    ev: &mut Evaluator,
    own: Value,
    flake: Attrs,
    outputs: Value,
    dir: &[u8],
    overrides: Option<Attrs>,
    lock: Option<&Lock>,
) -> Result<Value> {
    let scope = Scope { own, all: Value::thunk_unfilled(&ALL_INPUTS), dir };
    let mut members: Vec<(String, Value)> = Vec::new();
    if let Some(declared) = flake.get(Symbol::new(b"inputs")) {
        for attr in ev.expect_attrs(declared)?.sorted() {
            let name = lossy(attr.name.name());
            let from_outside = override_of(ev, overrides, attr.name)?;
            if let Some(value) = from_outside.and_then(|given| given.get(ev.shared.names.value)) {
                members.push((name, value));
                continue;
            }
            let input = ev.expect_attrs(attr.value)?;
            if let Some(value) = lock.map_or(Ok(None), |lock| lock.input(ev, attr.name, Some(input)))? {
                members.push((name, value));
                continue;
            }
            let nested = match from_outside.and_then(|given| given.get(Symbol::new(b"inputs"))) {
                Some(inputs) => Some(ev.expect_attrs(inputs)?),
                None => None,
            };
            let Some(value) = scope.input(ev, input, nested)? else {
                return Err(Error::other(
                    "lang::flake_input",
                    format!("input '{name}' of the flake in '{}' has no 'url'", lossy(dir)),
                ));
            };
            members.push((name, value));
        }
    }
    for (symbol, _, optional) in ev.formal_positions(outputs) {
        let name = lossy(symbol.name());
        if name == "self" || optional || members.iter().any(|(known, _)| *known == name) {
            continue;
        }
        if let Some(value) = override_of(ev, overrides, symbol)?.and_then(|given| given.get(ev.shared.names.value)) {
            members.push((name, value));
            continue;
        }
        if let Some(value) = lock.map_or(Ok(None), |lock| lock.input(ev, symbol, None))? {
            members.push((name, value));
            continue;
        }
        return Err(Error::other(
            "lang::flake_input",
            format!("the flake in '{}' uses the input '{name}' without declaring it", lossy(dir)),
        )
        .help(format!("add `inputs.{name}.url = \"…\";` to its flake.nix")));
    }
    let set = plain_attrs(members);
    ev.fill_thunk(scope.all, &[set]);
    Ok(set)
}

/// What is said of the input `name` by the flake that has this one as an input.
fn override_of(ev: &mut Evaluator, overrides: Option<Attrs>, name: Symbol) -> Result<Option<Attrs>> {
    match overrides.and_then(|overrides| overrides.get(name)) {
        Some(given) => Ok(Some(ev.expect_attrs(given)?)),
        None => Ok(None),
    }
}

/// A flake whose inputs are being read.
struct Scope<'d> {
    own: Value,
    /// Its inputs, once they are known.
    all: Value,
    dir: &'d [u8],
}

impl Scope<'_> {
    /// The value of an input as declared here; none when it says neither where it is nor what it follows. `nested` are
    /// overrides from outside of the input's own inputs, and win over those declared here.
    fn input(&self, ev: &mut Evaluator, input: Attrs, nested: Option<Attrs>) -> Result<Option<Value>> {
        if let Some(follows) = input.get(Symbol::new(b"follows")) {
            return Ok(Some(Value::thunk(&FOLLOWS, &[self.all, follows, self.own])));
        }
        let reference = if input.contains(ev.shared.names.r#type) {
            input.value()
        } else if let Some(url) = input.get(Symbol::new(b"url")) {
            url
        } else if let Some(path) = input.get(ev.shared.names.path) {
            Value::string(format!("path:{}", lossy(ev.text_of(path)?.bytes())).as_bytes())
        } else {
            return Ok(None);
        };
        let mut overrides = self.overrides(ev, input)?;
        if let Some(nested) = nested {
            overrides = overrides.as_attrs().map_or(overrides, |declared| declared.update(nested));
        }
        let is_flake = input.get(Symbol::new(b"flake")).unwrap_or(Value::TRUE);
        Ok(Some(Value::thunk(&INPUT, &[reference, Value::string(self.dir), overrides, is_flake])))
    }

    /// What `inputs.<name>.inputs` says, in the form [`load`] takes.
    fn overrides(&self, ev: &mut Evaluator, input: Attrs) -> Result<Value> {
        let mut members = Vec::new();
        if let Some(inputs) = input.get(Symbol::new(b"inputs")) {
            for attr in ev.expect_attrs(inputs)?.sorted() {
                let given = ev.expect_attrs(attr.value)?;
                let said = match self.input(ev, given, None)? {
                    Some(value) => ("value".to_owned(), value),
                    None => ("inputs".to_owned(), self.overrides(ev, given)?),
                };
                members.push((lossy(attr.name.name()), plain_attrs(vec![said])));
            }
        }
        Ok(plain_attrs(members))
    }
}

static ALL_INPUTS: Code = Code::native(1, |ev, captures| ev.force(captures[0]));

/// Whether references of this type name a repository by its owner and name.
pub(super) fn is_forge(kind: &str) -> bool {
    matches!(kind, "github" | "gitlab" | "sourcehut")
}

/// Takes a flake reference in URL form apart.
///
/// # Errors
/// When it is none.
pub fn parse_reference(reference: &str) -> Result<Reference> {
    let invalid = |why: &str| {
        Error::other("lang::flake_reference", format!("'{reference}' is not a valid flake reference: {why}"))
    };
    let mut result = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        result.insert(name.to_owned(), FetchValue::String(value.to_owned()));
    };
    let (main, query) = reference.split_once('?').unwrap_or((reference, ""));
    if main.contains('#') {
        return Err(invalid("a fragment is not allowed here"));
    }
    if let Some(path) = main.strip_prefix("path:") {
        set("type", "path");
        set("path", path.strip_prefix("//").unwrap_or(path));
    } else if main.starts_with('/') || main.starts_with('.') {
        set("type", "path");
        set("path", main);
    } else if let Some((scheme @ ("github" | "gitlab" | "sourcehut"), rest)) = main.split_once(':') {
        set("type", scheme);
        let mut parts = rest.splitn(3, '/');
        let (Some(owner), Some(repo)) = (parts.next(), parts.next()) else {
            return Err(invalid("an owner and a repository are needed, as in 'github:owner/repo'"));
        };
        set("owner", owner);
        set("repo", repo);
        if let Some(version) = parts.next() {
            set(if is_revision(version) { "rev" } else { "ref" }, version);
        }
    } else if let Some(url) = main.strip_prefix("git+") {
        set("type", "git");
        set("url", url);
    } else if let Some(url) = main.strip_prefix("hg+") {
        set("type", "hg");
        set("url", url);
    } else if let Some(url) = main.strip_prefix("tarball+") {
        set("type", "tarball");
        set("url", url);
    } else if let Some(url) = main.strip_prefix("file+") {
        set("type", "file");
        set("url", url);
    } else if main.starts_with("git://") || main.starts_with("ssh://") {
        set("type", "git");
        set("url", main);
    } else if main.starts_with("file:") && !main.starts_with("file:/") {
        return Err(invalid("the scheme 'file' needs an absolute path"));
    } else if main.contains("://") {
        let archive = [".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"];
        set("type", if archive.iter().any(|end| main.ends_with(end)) { "tarball" } else { "file" });
        set("url", main);
    } else {
        let main = main.strip_prefix("flake:").unwrap_or(main);
        let mut parts = main.splitn(3, '/');
        let id = parts.next().unwrap_or_default();
        let valid = id.starts_with(|first: char| first.is_ascii_alphabetic())
            && id.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character));
        if !valid {
            return Err(invalid("it is neither a path, a URL nor a name"));
        }
        set("type", "indirect");
        set("id", id);
        for part in parts {
            set(if is_revision(part) { "rev" } else { "ref" }, part);
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(invalid("a parameter has no value"));
        };
        let value = match (name, value.parse::<i64>()) {
            ("lastModified" | "revCount", Ok(number)) => FetchValue::Int(number),
            ("submodules" | "shallow" | "allRefs" | "exportIgnore" | "lfs", _) => FetchValue::Bool(value == "1"),
            _ => FetchValue::String(decode(value)),
        };
        result.insert(name.to_owned(), value);
    }
    Ok(result)
}

fn is_revision(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
            .flatten();
        match code {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    lossy(&out)
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ if b"-._~!$'()*+,;:@/?".contains(&byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

pub(super) fn parse_flake_ref(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let reference = lossy(ev.expect_plain(arguments[0])?);
    let members = parse_reference(&reference)?
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                FetchValue::String(text) => Value::string(text.as_bytes()),
                FetchValue::Int(number) => Value::int(number),
                FetchValue::Bool(flag) => Value::bool(flag),
            };
            (name, value)
        })
        .collect();
    Ok(plain_attrs(members))
}

pub(super) fn flake_ref_to_string(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let mut parts: BTreeMap<String, String> = BTreeMap::new();
    for attr in set.sorted() {
        let value = ev.force(attr.value)?;
        let value = match value.view() {
            View::String(text) => lossy(text.bytes()),
            View::Int(number) if number < 0 => {
                let name = lossy(attr.name.name());
                return Err(Error::other(
                    "lang::flake_reference",
                    format!("negative value given for flake ref attr {name}: {number}"),
                ));
            }
            View::Int(number) => number.to_string(),
            View::Bool(flag) => u8::from(flag).to_string(),
            _ => {
                let what = format!("flake reference attribute '{}'", lossy(attr.name.name()));
                return Err(ev.wrong_type(value, &what));
            }
        };
        parts.insert(lossy(attr.name.name()), value);
    }
    Ok(Value::string(url_of(parts)?.as_bytes()))
}

/// A flake reference in URL form.
///
/// # Errors
/// When attributes are missing, or its type is not known.
pub fn reference_text(reference: &Reference) -> Result<String> {
    let text = |value: &FetchValue| match value {
        FetchValue::String(text) => text.clone(),
        FetchValue::Int(number) => number.to_string(),
        FetchValue::Bool(flag) => u8::from(*flag).to_string(),
    };
    url_of(reference.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

fn url_of(mut parts: BTreeMap<String, String>) -> Result<String> {
    let missing = |name: &str| {
        Error::other("lang::flake_reference", format!("attribute '{name}' is missing in a flake reference"))
    };
    let mut take = |name: &str| parts.remove(name).ok_or_else(|| missing(name));
    let kind = take("type")?;
    let mut url = match kind.as_str() {
        "path" => format!("path:{}", encode(&take("path")?)),
        "github" | "gitlab" | "sourcehut" => format!("{kind}:{}/{}", take("owner")?, take("repo")?),
        "indirect" => format!("flake:{}", take("id")?),
        "git" | "hg" => format!("{kind}+{}", take("url")?),
        "tarball" | "file" => take("url")?,
        other => {
            return Err(Error::other(
                "lang::flake_reference",
                format!("flake references of type '{other}' are not known"),
            ));
        }
    };
    if is_forge(&kind) || kind == "indirect" {
        for name in ["ref", "rev"] {
            if let Some(value) = parts.remove(name) {
                url.push('/');
                url.push_str(&value);
            }
        }
    }
    for (index, (name, value)) in parts.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(&format!("{name}={}", encode(value)));
    }
    Ok(url)
}
