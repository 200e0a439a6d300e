//! The builtins: one table, one file for each family.
//!
//! A builtin receives its arguments unforced, and may return a thunk. In the table, `strict` has a
//! bit for each argument that is always evaluated, which the compiler then does not suspend;
//! `global` puts the name in scope without `builtins.` and without underscores.

mod attrs;
mod context;
mod control;
mod convert;
mod derivation;
pub(crate) mod expect;
pub(crate) mod features;
pub(crate) mod fetch;
mod file_url;
mod hash;
pub(crate) mod json;
pub(crate) mod lists;
mod numbers;
mod paths;
mod patterns;
mod sources;
mod strings;
mod xml;

pub use file_url::local_file;

use crate::compile::Globals;
use crate::compile::code::Code;
use crate::flake;
use crate::host::{EvalOptions, Host};
use crate::source::Pos;
use crate::symbol::Symbol;
use crate::value::{Attr, Value, View};
pub use crate::vm::Builtin;
use crate::vm::Evaluator;
use hashbrown::HashMap;
use paths::internal_file;
use std::sync::Arc;

/// Value of `builtins.nixVersion`: the version of Nix whose language this crate implements.
pub const NIX_VERSION: &str = "2.34.8";
pub const LANG_VERSION: i64 = 6;

/// Returns the builtin that a value is.
fn of_value(value: Value) -> Option<&'static Builtin> {
    match value.view() {
        View::Builtin(index) => Some(&TABLE[index]),
        _ => None,
    }
}

macro_rules! table {
    ($($name:literal $arity:literal $strict:literal $global:ident $run:path, $doc:literal;)*) => {
        pub static TABLE: &[Builtin] = &[$(Builtin {
            name: $name,
            arity: $arity,
            strict: $strict,
            global: table!(@$global),
            run: $run,
            doc: $doc,
        },)*];
    };
    (@global) => { true };
    (@member) => { false };
}

table! {
    "abort" 1 0b1 global control::abort, "ends the evaluation with a message; not caught by tryEval";
    "add" 2 0b11 member numbers::add, "sum of two numbers";
    "addDrvOutputDependencies" 1 0b1 member context::add_drv_output_dependencies, "turns a reference to a derivation into one to its closure";
    "addErrorContext" 2 0 member control::add_error_context, "adds a line to the trace of errors in the second argument";
    "all" 2 0b11 member lists::all, "true if the predicate holds for all elements";
    "any" 2 0b11 member lists::any, "true if the predicate holds for some element";
    "appendContext" 2 0b11 member context::append_context, "adds store paths to a string's context";
    "attrNames" 1 0b1 member attrs::attr_names, "names of a set, sorted";
    "attrValues" 1 0b1 member attrs::attr_values, "values of a set, in order of their names";
    "baseNameOf" 1 0b1 global paths::base_name_of, "last component of a path";
    "bitAnd" 2 0b11 member numbers::bit_and, "bitwise and";
    "bitOr" 2 0b11 member numbers::bit_or, "bitwise or";
    "bitXor" 2 0b11 member numbers::bit_xor, "bitwise exclusive or";
    "break" 1 0b1 global control::identity, "returns its argument; Nix's debugger stops here";
    "catAttrs" 2 0b11 member attrs::cat_attrs, "the named attribute of each set that has it";
    "ceil" 1 0b1 member numbers::ceil, "smallest integer not below";
    "compareVersions" 2 0b11 member strings::compare_versions, "-1, 0 or 1";
    "concatLists" 1 0b1 member lists::concat_lists, "one list of the elements of many";
    "concatMap" 2 0b11 member lists::concat_map, "maps to lists and joins them";
    "concatStringsSep" 2 0b11 member strings::concat_strings_sep, "strings with a separator between";
    "convertHash" 1 0b1 member hash::convert_hash, "a hash in another notation";
    "deepSeq" 2 0 member control::deep_seq, "evaluates the first argument fully, returns the second";
    "derivation" 1 0b1 global derivation::derivation, "describes a build";
    "derivationStrict" 1 0b1 global derivation::derivation_strict, "describes a build, evaluating all of it";
    "dirOf" 1 0b1 global paths::dir_of, "a path without its last component";
    "div" 2 0b11 member numbers::div, "quotient of two numbers";
    "elem" 2 0b10 member lists::elem, "true if a list has an element";
    "elemAt" 2 0b11 member lists::elem_at, "an element by its number, from 0";
    "exec" 1 0 member features::exec, "runs a program: refused";
    "fetchClosure" 1 0 member features::fetch_closure, "a closure from a binary cache: refused";
    "fetchGit" 1 0b1 global fetch::fetch_git, "a Git repository's files";
    "fetchMercurial" 1 0b1 global fetch::fetch_mercurial, "a Mercurial repository's files";
    "fetchTarball" 1 0b1 global fetch::fetch_tarball, "an archive from a URL, unpacked";
    "fetchTree" 1 0b1 global fetch::fetch_tree, "a tree of files, described by a set";
    "fetchurl" 1 0b1 member fetch::fetchurl, "a file from a URL";
    "filter" 2 0b10 member lists::filter, "the elements for which the predicate holds";
    "filterSource" 2 0 member sources::filter_source, "a copy in the store of the files a function chooses";
    "findFile" 2 0b11 member paths::find_file, "looks a name up in a search path";
    "flakeRefToString" 1 0b1 member flake::flake_ref_to_string, "a flake reference as a URL";
    "floor" 1 0b1 member numbers::floor, "largest integer not above";
    "foldl'" 3 0b101 member lists::foldl, "folds a list from the left, strictly";
    "fromJSON" 1 0b1 member json::from_json, "the value a JSON text describes";
    "fromTOML" 1 0b1 global convert::from_toml, "the value a TOML text describes";
    "functionArgs" 1 0b1 member attrs::function_args, "the names of a function's pattern, true for those with a default";
    "genList" 2 0b10 member lists::gen_list, "list of a function's values from 0";
    "genericClosure" 1 0b1 member lists::generic_closure, "all items that can be reached from some items";
    "getAttr" 2 0b11 member attrs::get_attr, "an attribute by its name";
    "getContext" 1 0b1 member context::get_context, "the context of a string";
    "getEnv" 1 0b1 member paths::get_env, "an environment variable, empty in pure mode";
    "getFlake" 1 0b1 member flake::get_flake, "outputs and metadata of a flake";
    "groupBy" 2 0b11 member lists::group_by, "lists of elements by the string a function gives for each";
    "hasAttr" 2 0b11 member attrs::has_attr, "true if a set has an attribute";
    "hasContext" 1 0b1 member context::has_context, "true if a string has a context";
    "hashFile" 2 0b11 member hash::hash_file, "hash of a file";
    "hashString" 2 0b11 member hash::hash_string, "hash of a string";
    "head" 1 0b1 member lists::head, "first element";
    "import" 1 0b1 global sources::import, "the value of a file";
    "importNative" 2 0 member features::import_native, "loads a shared object: refused";
    "intersectAttrs" 2 0b11 member attrs::intersect_attrs, "attributes of the second set whose names are in the first";
    "isAttrs" 1 0b1 member control::is_attrs, "true if a value is a set";
    "isBool" 1 0b1 member control::is_bool, "true if a value is a Boolean";
    "isFloat" 1 0b1 member control::is_float, "true if a value is a float";
    "isFunction" 1 0b1 member control::is_function, "true if a value is a function";
    "isInt" 1 0b1 member control::is_int, "true if a value is an integer";
    "isList" 1 0b1 member control::is_list, "true if a value is a list";
    "isNull" 1 0b1 global control::is_null, "true if a value is null";
    "isPath" 1 0b1 member control::is_path, "true if a value is a path";
    "isString" 1 0b1 member control::is_string, "true if a value is a string";
    "length" 1 0b1 member lists::length, "number of elements";
    "lessThan" 2 0b11 member numbers::less_than, "the order of `<`";
    "listToAttrs" 1 0b1 member attrs::list_to_attrs, "set from a list of names and values";
    "map" 2 0b10 global lists::map, "a function's values over a list";
    "mapAttrs" 2 0b10 member attrs::map_attrs, "a function's values over a set";
    "match" 2 0b11 member patterns::matches, "groups of a regular expression that matches a whole string";
    "mul" 2 0b11 member numbers::mul, "product of two numbers";
    "outputOf" 2 0b11 member context::output_of, "a placeholder for an output of a derivation that a build makes";
    "parseDrvName" 1 0b1 member strings::parse_drv_name, "name and version";
    "parseFlakeRef" 1 0b1 member flake::parse_flake_ref, "a flake reference as a set";
    "partition" 2 0b11 member lists::partition, "elements by whether the predicate holds";
    "path" 1 0b1 member sources::path, "a copy of files in the store";
    "pathExists" 1 0b1 member paths::path_exists, "true if a path exists";
    "placeholder" 1 0b1 global derivation::placeholder, "placeholder of an output's path in its own build";
    "readDir" 1 0b1 member paths::read_dir, "names and types of a directory's entries";
    "readFile" 1 0b1 member paths::read_file, "contents of a file";
    "readFileType" 1 0b1 member paths::read_file_type, "type of the file at a path";
    "removeAttrs" 2 0b11 global attrs::remove_attrs, "a set without some names";
    "replaceStrings" 3 0b011 member strings::replace_strings, "replaces all occurrences";
    "scopedImport" 2 0b10 global sources::scoped_import, "the value of a file with more names in scope";
    "seq" 2 0b01 member control::seq, "evaluates the first argument, returns the second";
    "sort" 2 0b10 member lists::sort, "a list in the order of a comparison, stable";
    "split" 2 0b11 member patterns::split, "texts between matches, and the matches' groups";
    "splitVersion" 1 0b1 member strings::split_version, "components of a version";
    "storePath" 1 0b1 member sources::store_path, "makes a store path a dependency";
    "stringLength" 1 0b1 member strings::string_length, "length in bytes";
    "sub" 2 0b11 member numbers::sub, "difference of two numbers";
    "substring" 3 0b11 member strings::substring, "part of a string, by byte offset and length";
    "tail" 1 0b1 member lists::tail, "all elements but the first";
    "throw" 1 0b1 global control::throw, "an error that tryEval catches";
    "toFile" 2 0b11 member sources::to_file, "a text as a file in the store";
    "toJSON" 1 0b1 member json::to_json, "a value as JSON";
    "toPath" 1 0b1 member paths::to_path, "an absolute path as a string";
    "toString" 1 0b1 global strings::to_string, "a value as a string";
    "toXML" 1 0b1 member xml::to_xml, "a value as XML";
    "trace" 2 0b01 member control::trace, "shows the first argument, returns the second";
    "traceVerbose" 2 0 member control::trace_verbose, "as trace, if enabled";
    "tryEval" 1 0 member control::try_eval, "a set of success and value; success is false if the argument throws";
    "typeOf" 1 0b1 member control::type_of, "the name of a value's type";
    "unsafeDiscardOutputDependency" 1 0b1 member context::discard_output_dependency, "turns references to derivations' closures into plain ones";
    "unsafeDiscardStringContext" 1 0b1 member context::discard, "a string without its context";
    "unsafeGetAttrPos" 2 0b11 member attrs::unsafe_get_attr_pos, "position of an attribute's definition";
    "warn" 2 0b01 member control::warn, "shows a warning, returns the second argument";
    "zipAttrsWith" 2 0b11 member attrs::zip_attrs_with, "one set of the values many sets have under each name";
}

/// Reads the clock lazily, so only an evaluation that uses the time depends on it.
static CURRENT_TIME: Code = Code::native(0, |ev, _| Ok(Value::int(ev.shared.host.current_time())));

/// Makes the set `builtins` and the global scope.
fn globals(host: &dyn Host, options: &EvalOptions) -> Globals {
    let mut names = HashMap::default();
    let mut members: Vec<Attr> = Vec::new();
    let mut member = |name: &str, value: Value| {
        members.push(Attr { name: Symbol::new(name.as_bytes()), pos: Pos::NONE, value });
    };
    for (index, builtin) in TABLE.iter().enumerate() {
        if !features::is_on(builtin.name, &options.features) {
            continue;
        }
        let value = Value::builtin(index);
        member(builtin.name, value);
        let global = if builtin.global { builtin.name.to_owned() } else { format!("__{}", builtin.name) };
        names.insert(Symbol::new(global.as_bytes()), value);
    }
    let search_path = if options.pure { Vec::new() } else { host.nix_path() };
    let entry = |name: &[u8], text: &str| Attr {
        name: Symbol::new(name),
        pos: Pos::NONE,
        value: Value::string(text.as_bytes()),
    };
    let entries: Vec<Value> = search_path
        .iter()
        .map(|(prefix, path)| Value::attrs(vec![entry(b"prefix", prefix), entry(b"path", path)]))
        .collect();
    let mut constants = vec![
        ("true", Value::TRUE, true),
        ("false", Value::FALSE, true),
        ("null", Value::NULL, true),
        ("nixPath", Value::list(&entries), false),
        ("nixVersion", Value::string(NIX_VERSION.as_bytes()), false),
        ("langVersion", Value::int(LANG_VERSION), false),
        ("storeDir", Value::string(options.store_model.store_dir().as_bytes()), false),
    ];
    if !options.pure {
        if let Some(system) = &options.system {
            constants.push(("currentSystem", Value::string(system.as_bytes()), false));
        }
        constants.push(("currentTime", Value::thunk(&CURRENT_TIME, &[]), false));
    }
    for (name, value, global) in constants {
        member(name, value);
        let global = if global { name.to_owned() } else { format!("__{name}") };
        names.insert(Symbol::new(global.as_bytes()), value);
    }
    // `builtins.builtins` is the set itself.
    let name = Symbol::new(b"builtins");
    let builtins = Value::attrs_with_own(name, members);
    names.insert(name, builtins);
    Globals::new(names, builtins, TABLE, internal_file)
}

impl Evaluator {
    /// Makes an evaluator with the builtins that the options allow.
    pub fn new(host: Arc<dyn Host>, options: EvalOptions) -> Evaluator {
        let globals = globals(&*host, &options);
        Evaluator::with_globals(host, options, globals)
    }
}
