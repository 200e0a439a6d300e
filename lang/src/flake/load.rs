//! Loading of flakes: `builtins.getFlake`, and the flakes that the user names.
//!
//! Inputs are those that `flake.lock` pins (`locked.rs`). Others are taken as declared: `path:`
//! inputs relative to the flake and read in place, `follows`, and everything else that the host can
//! fetch (pure evaluation requires a `rev` or `narHash` there). A directory that is locked by its
//! hash is copied to the store and checked, like other fetched trees.

use super::locked::{LockedInputs, check_unlocked};
use super::reference::FlakeRef;
use crate::builtins::expect::lossy;
use crate::builtins::features::require;
use crate::builtins::fetch::nar_hash;
use crate::builtins::json::plain_attrs;
use crate::compile::code::Code;
use crate::error::{Error, Result};
use crate::host::{FetchKind, FetchRequest, FetchValue, FileType};
use crate::symbol::Symbol;
use crate::text::path::resolve;
use crate::value::{Attrs, Value, View};
use crate::vm::Evaluator;

/// The tree of an input, loaded when it is forced: reference (URL or set), directory it starts at,
/// overrides of its inputs, true for a flake.
static INPUT: Code = Code::native(4, |ev, captures| {
    let value = ev.force(captures[0])?;
    let reference = match value.as_attrs() {
        Some(set) => reference_of_set(ev, set)?,
        None => FlakeRef::parse(&lossy(ev.expect_string(value)?.bytes()))?,
    };
    let base = ev.expect_string(captures[1])?.bytes();
    allow(ev, &reference, base);
    check_unlocked(ev, &reference)?;
    let overrides = ev.expect_attrs(captures[2])?;
    if ev.expect_forced_bool(captures[3])? {
        load(ev, &reference, base, Some(overrides), Asker::Expression)
    } else {
        let tree = fetch_tree(ev, &reference, base, Asker::Expression)?;
        Ok(plain_tree(ev, tree))
    }
});
/// An input that follows another: the inputs of the flake that declares it, the path such as `a/b`,
/// that flake itself, which an empty path means.
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
/// The result of a flake's function `outputs`: the flake's own value, the function, its inputs.
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

pub(crate) fn get_flake(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    require(ev.shared.options.features.flakes, "flakes")?;
    let value = ev.force(arguments[0])?;
    let text = match value.as_path() {
        Some(path) => lossy(path.bytes()),
        None => lossy(ev.text_of(value)?.bytes()),
    };
    load(ev, &FlakeRef::parse(&text)?, b"/", None, Asker::Expression)
}

impl Evaluator {
    /// Loads the flake that the user named: its outputs with `inputs`, `outputs`, `sourceInfo` and
    /// `outPath`.
    ///
    /// Pure evaluation loads it too when nothing pins it.
    ///
    /// # Errors
    /// When it cannot be fetched, has no `flake.nix`, or cannot be evaluated.
    pub fn eval_flake(&mut self, reference: &FlakeRef) -> Result<Value> {
        allow(self, reference, b"/");
        self.on_large_stack(|ev| load(ev, reference, b"/", None, Asker::User))
    }
}

/// The origin of a reference, which decides whether it may name another tree tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// The command line, where pure evaluation starts.
    User,
    /// An expression: pure evaluation requires a pinned reference.
    Expression,
}

/// Reads a reference written as a set: `{ type = "github"; owner = …; }`. Attributes that only
/// inputs have are left out.
pub(crate) fn reference_of_set(ev: &mut Evaluator, set: Attrs) -> Result<FlakeRef> {
    let mut reference = FlakeRef::default();
    for attr in set.sorted() {
        if matches!(attr.name.name(), b"flake" | b"inputs" | b"follows") {
            continue;
        }
        let value = ev.force(attr.value)?;
        let name = lossy(attr.name.name());
        let value = match value.as_path() {
            Some(path) => FetchValue::String(lossy(path.bytes())),
            None => reference_attribute(ev, &name, value)?,
        };
        reference.insert(&name, value);
    }
    Ok(reference)
}

fn reference_attribute(ev: &mut Evaluator, name: &str, value: Value) -> Result<FetchValue> {
    match value.view() {
        View::String(text) => Ok(FetchValue::String(lossy(text.bytes()))),
        View::Int(number) => Ok(FetchValue::Int(number)),
        View::Bool(flag) => Ok(FetchValue::Bool(flag)),
        _ => Err(ev.wrong_type(value, &format!("flake reference attribute '{name}'"))),
    }
}

impl FlakeRef {
    /// Returns the set of attributes as the language sees it.
    pub(crate) fn to_value(&self) -> Value {
        plain_attrs(self.attributes().iter().map(|(name, value)| (name.clone(), value.to_value())).collect())
    }
}

pub(crate) fn parse_flake_ref(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let text = lossy(ev.expect_plain(arguments[0])?);
    Ok(FlakeRef::parse(&text)?.to_value())
}

pub(crate) fn flake_ref_to_string(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let mut reference = FlakeRef::default();
    for attr in set.sorted() {
        let value = ev.force(attr.value)?;
        let name = lossy(attr.name.name());
        reference.insert(&name, reference_attribute(ev, &name, value)?);
    }
    Ok(Value::string(reference.to_url()?.as_bytes()))
}

/// A source tree that a reference names.
pub(super) struct SourceTree {
    /// The tree's known attributes: `narHash`, `rev` ….
    facts: Vec<(String, Value)>,
    root: Vec<u8>,
    /// The directory of it that the reference means.
    dir: Vec<u8>,
}

/// Lets pure evaluation read the directory of a flake that the user named, or that a flake declares
/// as its input. A reference that an expression computes (`builtins.getFlake`) gets no such
/// permission.
pub(super) fn allow(ev: &Evaluator, reference: &FlakeRef, base: &[u8]) {
    if let Some(path) = reference.local_path() {
        ev.allow(lossy(&resolve(path.as_bytes(), base)).into());
    }
}

impl SourceTree {
    pub(super) fn into_directory(self) -> Vec<u8> {
        self.dir
    }
}

pub(super) fn fetch_tree(ev: &mut Evaluator, reference: &FlakeRef, base: &[u8], asker: Asker) -> Result<SourceTree> {
    let mut facts: Vec<(String, Value)> = Vec::new();
    let path = reference.local_path().map(|path| resolve(path.as_bytes(), base));
    let root = match path {
        Some(path) if !reference.attributes().contains_key("narHash") => path,
        path => {
            let mut attributes = reference.attributes().clone();
            if let Some(path) = path {
                attributes.insert("path".to_owned(), FetchValue::String(lossy(&path)));
            }
            let request = FetchRequest {
                kind: FetchKind::Tree,
                name: Some("source".to_owned()),
                expected: nar_hash(reference.attributes())?,
                attributes,
            };
            let fetched = match asker {
                Asker::User => ev.fetch_unpinned(&request)?,
                Asker::Expression => ev.fetch(&request)?,
            };
            facts.extend(fetched.attributes.iter().map(|(name, value)| (name.clone(), value.to_value())));
            ev.shared.options.store_model.print(&fetched.path).into_bytes()
        }
    };
    let dir = reference.directory_in(&root)?;
    Ok(SourceTree { facts, root, dir })
}

/// Reads the text of the lock file in a flake's directory, if there is one.
pub(super) fn lock_text(ev: &mut Evaluator, dir: &[u8]) -> Result<Option<Vec<u8>>> {
    if let Some(text) = ev.shared.flake_locks.lock().expect("no thread panics").get(dir) {
        return Ok(Some(text.clone()));
    }
    let path = [dir, b"/flake.lock"].concat();
    if ev.type_if_visible(&path, true)? != Some(FileType::Regular) {
        return Ok(None);
    }
    let path = ev.checked_path(&path)?;
    Ok(Some(ev.read_file(&path)?))
}

/// Returns the value of a tree that is an input without being a flake.
pub(super) fn plain_tree(ev: &Evaluator, tree: SourceTree) -> Value {
    let mut facts = tree.facts;
    facts.push(("outPath".to_owned(), source_string(ev, &tree.dir)));
    facts.push(("sourceInfo".to_owned(), plain_attrs(facts.clone())));
    plain_attrs(facts)
}

/// Loads the flake that a reference names. `overrides` gives, by the names of its inputs, their
/// values (`value`) or overrides of their own inputs (`inputs`, in the same form).
fn load(
    ev: &mut Evaluator,
    reference: &FlakeRef,
    base: &[u8],
    overrides: Option<Attrs>,
    asker: Asker,
) -> Result<Value> {
    let tree = fetch_tree(ev, reference, base, asker)?;
    flake_of(ev, tree, |ev, own, flake, outputs, dir| {
        // An input is locked by the flake that has it, not by itself.
        let lock = if overrides.is_none() { LockedInputs::read(ev, dir, own)? } else { None };
        let scope = Scope { own, all: Value::thunk_unfilled(&ALL_INPUTS), dir };
        scope.inputs(ev, flake, outputs, &InputSources { overrides, lock })
    })
}

/// Returns the value of the file `flake.nix` in a directory.
pub(super) fn flake_file(ev: &mut Evaluator, dir: &[u8]) -> Result<Value> {
    let file = [dir, b"/flake.nix"].concat();
    match ev.import(&file) {
        Err(error) if error.is_missing_file() && matches!(ev.type_if_visible(&file, true), Ok(None)) => {
            let message = format!("there is no flake in '{}': it has no file 'flake.nix'", lossy(dir));
            Err(Error::other("lang::flake_input", message))
        }
        imported => imported,
    }
}

/// Returns the value of the flake in a tree. `inputs` makes the set of its inputs, from the value
/// of the flake (which it must not force), the set in its file, its function, and its directory.
pub(super) fn flake_of(
    ev: &mut Evaluator,
    tree: SourceTree,
    inputs: impl FnOnce(&mut Evaluator, Value, Attrs, Value, &[u8]) -> Result<Value>,
) -> Result<Value> {
    let SourceTree { mut facts, root, dir } = tree;
    let flake = flake_file(ev, &dir)?;
    let flake = ev.expect_attrs(flake)?;
    let outputs = ev.required(flake, "outputs", "getFlake")?;
    let outputs = ev.expect_function(outputs)?;
    let own = Value::thunk_unfilled(&FLAKE);
    let inputs = inputs(ev, own, flake, outputs, &dir)?;

    // `sourceInfo.outPath` is the tree as a string; interpolating a path in it copies the tree to
    // the store.
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

/// Returns a directory as the string that a flake sees: with context, when it is in the store.
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

/// Sources of inputs that come before the flake's own declarations.
struct InputSources {
    /// Inputs that are set by the flake that has this one as an input.
    overrides: Option<Attrs>,
    lock: Option<LockedInputs>,
}

impl InputSources {
    /// Returns the override of an input.
    fn override_of(&self, ev: &mut Evaluator, name: Symbol) -> Result<Option<Attrs>> {
        match self.overrides.and_then(|overrides| overrides.get(name)) {
            Some(given) => Ok(Some(ev.expect_attrs(given)?)),
            None => Ok(None),
        }
    }

    /// Returns the value of an input that is overridden as a whole.
    fn overridden(&self, ev: &mut Evaluator, name: Symbol) -> Result<Option<Value>> {
        Ok(self.override_of(ev, name)?.and_then(|given| given.get(ev.shared.names.value)))
    }

    /// Returns the value of an input that is locked as it is declared.
    fn locked(&self, ev: &mut Evaluator, name: Symbol, declared: Option<Attrs>) -> Result<Option<Value>> {
        match &self.lock {
            Some(lock) => lock.input(ev, &lossy(name.name()), declared),
            None => Ok(None),
        }
    }
}

/// A flake whose inputs are being read.
struct Scope<'d> {
    own: Value,
    /// The flake's inputs, once they are known.
    all: Value,
    dir: &'d [u8],
}

impl Scope<'_> {
    /// Returns the set of inputs: those that the flake declares, and those that its function takes
    /// by name.
    fn inputs(&self, ev: &mut Evaluator, flake: Attrs, outputs: Value, sources: &InputSources) -> Result<Value> {
        let mut members: Vec<(String, Value)> = Vec::new();
        if let Some(declared) = flake.get(Symbol::new(b"inputs")) {
            for attr in ev.expect_attrs(declared)?.sorted() {
                members.push((lossy(attr.name.name()), self.declared_input(ev, attr.name, attr.value, sources)?));
            }
        }
        for (symbol, _, optional) in ev.formal_positions(outputs) {
            let name = lossy(symbol.name());
            if name == "self" || optional || members.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let mut value = sources.overridden(ev, symbol)?;
            if value.is_none() {
                value = sources.locked(ev, symbol, None)?;
            }
            let value = value.ok_or_else(|| {
                let dir = lossy(self.dir);
                let message = format!("the flake in '{dir}' uses the input '{name}' without declaring it");
                Error::other("lang::flake_input", message)
                    .help(format!("add `inputs.{name}.url = \"…\";` to its flake.nix"))
            })?;
            members.push((name, value));
        }
        let set = plain_attrs(members);
        ev.fill_thunk(self.all, &[set]);
        Ok(set)
    }

    fn declared_input(
        &self,
        ev: &mut Evaluator,
        symbol: Symbol,
        declared: Value,
        sources: &InputSources,
    ) -> Result<Value> {
        if let Some(value) = sources.overridden(ev, symbol)? {
            return Ok(value);
        }
        let declared = ev.expect_attrs(declared)?;
        if let Some(value) = sources.locked(ev, symbol, Some(declared))? {
            return Ok(value);
        }
        let nested = match sources.override_of(ev, symbol)?.and_then(|given| given.get(Symbol::new(b"inputs"))) {
            Some(inputs) => Some(ev.expect_attrs(inputs)?),
            None => None,
        };
        self.input(ev, declared, nested)?.ok_or_else(|| {
            let (name, dir) = (lossy(symbol.name()), lossy(self.dir));
            Error::other("lang::flake_input", format!("input '{name}' of the flake in '{dir}' has no 'url'"))
        })
    }

    /// Returns the value of an input as declared here; `None` when it has neither a reference nor
    /// `follows`. `nested` are overrides from outside of the input's own inputs, and win over those
    /// declared here.
    fn input(&self, ev: &mut Evaluator, input: Attrs, nested: Option<Attrs>) -> Result<Option<Value>> {
        if let Some(follows) = input.get(Symbol::new(b"follows")) {
            return Ok(Some(Value::thunk(&FOLLOWS, &[self.all, follows, self.own])));
        }
        let reference = if input.contains(ev.shared.names.r#type) {
            input.value()
        } else if let Some(url) = input.get(Symbol::new(b"url")) {
            url
        } else if let Some(path) = input.get(ev.shared.names.path) {
            FlakeRef::path(&lossy(ev.text_of(path)?.bytes())).to_value()
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

    /// Returns the overrides in `inputs.<name>.inputs`, in the form that [`load`] takes.
    fn overrides(&self, ev: &mut Evaluator, input: Attrs) -> Result<Value> {
        let mut members = Vec::new();
        if let Some(inputs) = input.get(Symbol::new(b"inputs")) {
            for attr in ev.expect_attrs(inputs)?.sorted() {
                let given = ev.expect_attrs(attr.value)?;
                let member = match self.input(ev, given, None)? {
                    Some(value) => ("value".to_owned(), value),
                    None => ("inputs".to_owned(), self.overrides(ev, given)?),
                };
                members.push((lossy(attr.name.name()), plain_attrs(vec![member])));
            }
        }
        Ok(plain_attrs(members))
    }
}

static ALL_INPUTS: Code = Code::native(1, |ev, captures| ev.force(captures[0]));
