//! Loading of flakes: `builtins.getFlake`, and the flakes that the user names.
//!
//! Inputs are those that `flake.lock` pins (`locked.rs`). Others are taken as declared: `path:`
//! inputs relative to the flake and read in place, `follows`, and everything else that the host can
//! fetch (pure evaluation requires a `rev` or `narHash` there). A directory that is locked by its
//! hash is copied to the store and checked, like other fetched trees (`tree.rs`).

use super::form;
use super::locked::{LockedInputs, check_unlocked};
use super::reference::FlakeRef;
use super::tree::{SourceTree, fetch_tree, reference_of_value, with_own_attributes};
use crate::builtins::expect::lossy;
use crate::builtins::features::require;
use crate::builtins::json::plain_attrs;
use crate::compile::code::Code;
use crate::error::{Error, Result};
use crate::host::{FetchValue, FileType};
use crate::symbol::Symbol;
use crate::value::{Attrs, Value, View};
use crate::vm::{Evaluator, LOCK};

/// The tree of an input, loaded when it is forced: reference (URL or set), the tree of the flake
/// that declares it, overrides of its inputs, true for a flake.
static INPUT: Code = Code::native(4, |ev, captures| {
    let reference = reference_of_value(ev, captures[0])?;
    let declarer = SourceTree::of_value(ev, captures[1])?;
    check_unlocked(ev, &reference)?;
    let overrides = ev.expect_attrs(captures[2])?;
    let is_flake = ev.expect_forced_bool(captures[3])?;
    let from = From::Flake { declarer: &declarer, overrides };
    if is_flake {
        return load(ev, &reference, &from)?.whole(ev);
    }
    from.tree(ev, &reference)?.plain_value(ev)
});
/// An input that follows another: the inputs of the flake that declares it, the path such as `a/b`,
/// that flake itself, which an empty path means, and the name of the input.
static FOLLOWS: Code = Code::native(4, |ev, captures| {
    let path = ev.expect_string(captures[1])?.bytes();
    let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    let mut value = captures[2];
    for (index, name) in names.iter().enumerate() {
        let inputs = match index {
            0 => captures[0],
            _ => {
                let set = ev.force(value)?;
                ev.select_slow(set, Symbol::new(b"inputs"))?
            }
        };
        let found = ev.expect_attrs(inputs)?.get(Symbol::new(name));
        value = match found {
            Some(found) => found,
            None => {
                let input = lossy(ev.expect_string(captures[3])?.bytes());
                return Err(follows_nothing(&input, &lossy(path)));
            }
        };
    }
    ev.force(value)
});

/// Makes the error for an input that follows one which does not exist.
pub(super) fn follows_nothing(input: &str, path: &str) -> Error {
    Error::other("lang::flake_input", format!("the input '{input}' follows '{path}', which is not there"))
}

/// The result of a flake's function `outputs`: the flake's own value, the function, its inputs.
static OUTPUTS: Code = Code::native(3, |ev, captures| {
    let inputs = ev.expect_attrs(captures[2])?;
    let own = plain_attrs(vec![("self".to_owned(), captures[0])]);
    let arguments = inputs.update(own.as_attrs().expect("a set was made just now"));
    ev.call(captures[1], &[arguments])
});
/// The flake itself: the attributes that each has, outputs, facts about its tree (null for one in
/// the tree of another).
static FLAKE: Code = Code::native(3, |ev, captures| {
    let own = ev.expect_attrs(captures[0])?;
    let outputs = ev.expect_attrs(captures[1])?;
    let described = match captures[2] {
        facts if facts.is_null() => outputs.value(),
        facts => outputs.update(ev.expect_attrs(facts)?),
    };
    Ok(ev.expect_attrs(described)?.update(own))
});

pub(crate) fn get_flake(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    require(ev.shared.options.features.flakes, "flakes")?;
    let value = ev.force(arguments[0])?;
    let text = match value.as_path() {
        Some(path) => lossy(path.bytes()),
        None => lossy(ev.text_of(value)?.bytes()),
    };
    let mut reference = FlakeRef::parse(&text)?;
    // The name of a store object is as good as a hash of it.
    let model = ev.shared.options.store_model;
    let is_in_store = reference.local_path().is_some_and(|path| model.split(path).is_ok());
    if ev.shared.options.pure && !reference.is_pinned() && !is_in_store {
        let message = format!("cannot call 'getFlake' on unlocked flake reference '{text}'");
        return Err(Error::other("lang::unlocked_fetch", message).help("use `--impure` to override"));
    }
    if text.starts_with('/') && reference.attributes().len() == 2 {
        reference = ev.reference_of_path(text.as_bytes())?;
    }
    let is_local = !ev.shared.options.pure && reference.local_directory().is_some();
    let asker = if is_local { Asker::User } else { Asker::Expression };
    load(ev, &reference, &From::Nothing(asker))?.whole(ev)
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
        self.on_large_stack(|ev| {
            let flake = load(ev, reference, &From::Nothing(Asker::User))?;
            let outputs = ev.expect_attrs(flake.outputs)?;
            let own = ev.expect_attrs(flake.own)?;
            Ok(outputs.update(own))
        })
    }
}

/// The origin of a reference, which decides whether it may name another tree tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// The command line, where pure evaluation starts.
    User,
    /// The declaration of an input in a flake of this machine, or the lock file.
    Flake,
    /// An expression, or a flake from elsewhere: pure evaluation requires a pinned reference.
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

/// Reads the text of the lock file in a flake's directory, if there is one.
pub(super) fn lock_text(ev: &mut Evaluator, dir: &[u8]) -> Result<Option<Vec<u8>>> {
    if let Some(text) = ev.shared.flake_locks.lock().expect(LOCK).get(dir) {
        return Ok(Some(text.clone()));
    }
    let path = [dir, b"/flake.lock"].concat();
    if ev.type_if_visible(&path, true)? != Some(FileType::Regular) {
        return Ok(None);
    }
    let path = ev.checked_path(&path)?;
    Ok(Some(ev.read_file(&path)?))
}

/// The place that a reference to a flake is written in.
enum From<'f> {
    Nothing(Asker),
    /// The flake that has it as an input, and gives, by the names of its inputs, their values
    /// (`value`) or overrides of their own inputs (`inputs`, in the same form).
    Flake {
        declarer: &'f SourceTree,
        overrides: Attrs,
    },
}

impl From<'_> {
    fn tree(&self, ev: &mut Evaluator, reference: &FlakeRef) -> Result<SourceTree> {
        match self {
            From::Nothing(asker) => fetch_tree(ev, reference, b"/", *asker),
            From::Flake { declarer, .. } if reference.is_relative() => {
                SourceTree::relative(ev, declarer, reference.local_path().unwrap_or_default())
            }
            From::Flake { declarer, .. } => {
                let asker = if declarer.is_in_store(ev) { Asker::Expression } else { Asker::Flake };
                fetch_tree(ev, reference, b"/", asker)
            }
        }
    }
}

/// A flake before its outputs are evaluated.
pub(super) struct LoadedFlake {
    /// The flake as its own function gets it.
    value: Value,
    outputs: Value,
    /// The attributes that each flake has besides its outputs and the facts about its tree.
    own: Value,
}

impl LoadedFlake {
    /// Evaluates the flake as an input of another one.
    pub fn whole(&self, ev: &mut Evaluator) -> Result<Value> {
        ev.force(self.value)
    }
}

/// Loads the flake that a reference names.
fn load(ev: &mut Evaluator, reference: &FlakeRef, from: &From<'_>) -> Result<LoadedFlake> {
    let mut tree = from.tree(ev, reference)?;
    let (mut flake, mut outputs) = read(ev, &tree)?;
    if let Some(reference) = with_own_attributes(ev, flake, reference)? {
        tree = from.tree(ev, &reference)?;
        (flake, outputs) = read(ev, &tree)?;
    }
    let overrides = match from {
        From::Nothing(asker) => {
            if *asker == Asker::User {
                form::check(ev, &tree.dir)?;
            }
            None
        }
        From::Flake { overrides, .. } => Some(*overrides),
    };
    flake_of(ev, &tree, outputs, |ev, own| {
        // An input is locked by the flake that has it, not by itself.
        let lock = if overrides.is_none() { LockedInputs::read(ev, &tree, own)? } else { None };
        let scope = Scope { own, all: Value::thunk_unfilled(&ALL_INPUTS), tree: &tree };
        scope.inputs(ev, flake, outputs, &InputSources { overrides, lock })
    })
}

/// Reads `flake.nix`, and returns its set and its function.
pub(super) fn read(ev: &mut Evaluator, tree: &SourceTree) -> Result<(Attrs, Value)> {
    let file = [&tree.dir, &b"/flake.nix"[..]].concat();
    let flake = match ev.import(&file) {
        Err(error) if error.is_missing_file() && matches!(ev.type_if_visible(&file, true), Ok(None)) => {
            let message = format!("there is no flake in '{}': it has no file 'flake.nix'", lossy(&tree.dir));
            return Err(Error::other("lang::flake_input", message));
        }
        imported => imported?,
    };
    let flake = ev.expect_attrs(flake)?;
    let outputs = ev.required(flake, "outputs", "getFlake")?;
    Ok((flake, ev.expect_function(outputs)?))
}

/// Returns the flake in a tree. `inputs` makes the set of its inputs, from the value of the flake,
/// which it must not force.
pub(super) fn flake_of(
    ev: &mut Evaluator,
    tree: &SourceTree,
    function: Value,
    inputs: impl FnOnce(&mut Evaluator, Value) -> Result<Value>,
) -> Result<LoadedFlake> {
    let value = Value::thunk_unfilled(&FLAKE);
    let inputs = inputs(ev, value)?;
    let outputs = Value::thunk(&OUTPUTS, &[value, function, inputs]);
    let members = [
        ("_type", Value::string(b"flake")),
        ("inputs", inputs),
        ("outPath", tree.out_path),
        ("outputs", outputs),
        ("sourceInfo", tree.info),
    ];
    let own = plain_attrs(members.map(|(name, value)| (name.to_owned(), value)).into());
    let facts = if tree.is_relative { Value::NULL } else { tree.info };
    ev.fill_thunk(value, &[own, outputs, facts]);
    Ok(LoadedFlake { value, outputs, own })
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
struct Scope<'t> {
    own: Value,
    /// The flake's inputs, once they are known.
    all: Value,
    tree: &'t SourceTree,
}

impl Scope<'_> {
    /// Returns the set of inputs: those that the flake declares, and those that its function takes
    /// by name.
    fn inputs(&self, ev: &mut Evaluator, flake: Attrs, outputs: Value, sources: &InputSources) -> Result<Value> {
        let mut members: Vec<(String, Value)> = Vec::new();
        if let Some(declared) = flake.get(Symbol::new(b"inputs")) {
            for attr in ev.expect_attrs(declared)?.sorted().filter(|attr| attr.name.name() != b"self") {
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
                let dir = lossy(&self.tree.dir);
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
        self.input(ev, &lossy(symbol.name()), declared, nested)?.ok_or_else(|| {
            let (name, dir) = (lossy(symbol.name()), lossy(&self.tree.dir));
            Error::other("lang::flake_input", format!("input '{name}' of the flake in '{dir}' has no 'url'"))
        })
    }

    /// Returns the value of an input as declared here; `None` when it has neither a reference nor
    /// `follows`. `nested` are overrides from outside of the input's own inputs, and win over those
    /// declared here.
    fn input(&self, ev: &mut Evaluator, name: &str, input: Attrs, nested: Option<Attrs>) -> Result<Option<Value>> {
        if let Some(follows) = input.get(Symbol::new(b"follows")) {
            return Ok(Some(Value::thunk(&FOLLOWS, &[self.all, follows, self.own, Value::string(name.as_bytes())])));
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
        let mut overrides = self.overrides(ev, name, input)?;
        if let Some(nested) = nested {
            overrides = overrides.as_attrs().map_or(overrides, |declared| declared.update(nested));
        }
        let is_flake = input.get(Symbol::new(b"flake")).unwrap_or(Value::TRUE);
        Ok(Some(Value::thunk(&INPUT, &[reference, self.tree.to_value(), overrides, is_flake])))
    }

    /// Returns the overrides in `inputs.<name>.inputs`, in the form that [`load`] takes.
    fn overrides(&self, ev: &mut Evaluator, name: &str, input: Attrs) -> Result<Value> {
        let mut members = Vec::new();
        if let Some(inputs) = input.get(Symbol::new(b"inputs")) {
            for attr in ev.expect_attrs(inputs)?.sorted() {
                let given = ev.expect_attrs(attr.value)?;
                let own = lossy(attr.name.name());
                let name = format!("{name}/{own}");
                let member = match self.input(ev, &name, given, None)? {
                    Some(value) => ("value".to_owned(), value),
                    None => ("inputs".to_owned(), self.overrides(ev, &name, given)?),
                };
                members.push((own, plain_attrs(vec![member])));
            }
        }
        Ok(plain_attrs(members))
    }
}

static ALL_INPUTS: Code = Code::native(1, |ev, captures| ev.force(captures[0]));
