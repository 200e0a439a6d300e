//! Syntax tree to code.
//!
//! Scopes are resolved here, once: a variable is a register of its function, a capture, or a
//! constant; only names that `with` alone can give are looked up at run time. Functions and thunks
//! copy the variables they use (flat captures), so they keep nothing else alive, and reading a
//! variable is one load. Thunks are made only for unknown values: constants, variables and
//! functions are passed unchanged, and arithmetic, selections and `with` names are tried at once
//! when their operands are known already ([`op`]: `Spec…`).
//!
//! The machine runs the code without checks: [`crate::vm`] lists the duties of the compiler.
//!
//! - [`code`], [`op`]: the result
//! - [`function`]: one function being compiled: registers, captures, operations
//! - [`expression`]: expressions as operands and in tail position; [`operator`], [`call`],
//!   [`select`]: parts of it
//! - [`suspend`]: expressions that are not evaluated yet
//! - [`order`]: order of evaluation
//! - [`bindings`]: `let`, sets, recursion; [`lambda`]: functions and patterns
//! - [`lazy`]: compiling at the first run
//! - [`stored`]: code as bytes, kept from one process to the next

mod bindings;
mod call;
pub mod code;
mod expression;
mod function;
mod lambda;
pub(crate) mod lazy;
pub mod op;
mod operator;
mod order;
mod select;
pub(crate) mod stored;
mod suspend;

use crate::error::Error;
use crate::source::{Pos, SourceText, Span};
use crate::symbol::Symbol;
use crate::syntax::ast::{Expr, ExprKind};
use crate::value::{Attr, Value};
use crate::vm::Builtin;
use code::{Body, Code, Module};
use function::FunctionState;
use hashbrown::HashMap;
use op::{CodeIndex, ConstantIndex, Op, PatternIndex, Reg};
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};

/// Names that are in scope without a definition.
pub(crate) struct Globals {
    pub names: HashMap<Symbol, Value, FxBuildHasher>,
    /// The set `builtins`.
    pub builtins: Value,
    /// All builtins, those in scope and those that are not.
    pub table: &'static [Builtin],
    /// Returns the text of a file that is part of the language.
    pub internal_file: fn(&[u8]) -> Option<&'static [u8]>,
    fingerprint: OnceLock<[u8; blake3::OUT_LEN]>,
}

impl Globals {
    pub fn new(
        names: HashMap<Symbol, Value, FxBuildHasher>,
        builtins: Value,
        table: &'static [Builtin],
        internal_file: fn(&[u8]) -> Option<&'static [u8]>,
    ) -> Globals {
        Globals { names, builtins, table, internal_file, fingerprint: OnceLock::new() }
    }

    /// Returns a digest of the names.
    fn fingerprint(&self) -> [u8; blake3::OUT_LEN] {
        *self.fingerprint.get_or_init(|| {
            let members = self.builtins.as_attrs().into_iter().flat_map(|set| set.iter()).map(|attr| attr.name);
            let mut names: Vec<&[u8]> = self.names.keys().map(|name| name.name()).collect();
            let globals = names.len();
            names.extend(members.map(|name| name.name()));
            names[..globals].sort_unstable();
            names[globals..].sort_unstable();
            let mut hasher = blake3::Hasher::new();
            for name in names {
                hasher.update(&(name.len() as u64).to_le_bytes());
                hasher.update(name);
            }
            hasher.update(&(globals as u64).to_le_bytes());
            *hasher.finalize().as_bytes()
        })
    }
}

/// Location of a variable's value.
#[derive(Debug, Clone, Copy)]
enum Location {
    Register(Reg),
    Constant(ConstantIndex),
    /// Attribute of the set in a register, for variables of a `rec` with `__overrides`.
    Member {
        set: Reg,
    },
}

/// A name in scope: the depth of the function it belongs to, and the location there.
#[derive(Debug, Clone, Copy)]
struct ScopeEntry {
    function: usize,
    location: Location,
}

/// A text that is compiled, with its scope.
pub(crate) struct File {
    pub source: Arc<SourceText>,
    /// Position of the text's first byte.
    pub base: Pos,
    /// Directory of relative paths, canonical.
    pub base_dir: Box<[u8]>,
    /// Path of `~`, where it may be used.
    pub home: Option<Box<[u8]>>,
    pub globals: Arc<Globals>,
    pub pipe_operators: bool,
    /// [`EvalOptions::exact_thunks`](crate::EvalOptions::exact_thunks)
    pub exact_thunks: bool,
    pub kept: stored::Kept,
}

impl File {
    fn pos(&self, span: Span) -> Pos {
        Pos(self.base.0 + span.start)
    }

    /// Returns the value of a `__curPos` that begins at this byte.
    fn current_position(&self, start: u32) -> Value {
        let (line, column) = self.source.position(start);
        let file = crate::error::origin_name(&self.source.origin);
        let pos = self.pos(Span::new(start, start));
        let attr = |name: &[u8], value| Attr { name: Symbol::new(name), pos, value };
        Value::attrs(vec![
            attr(b"file", Value::string(file.as_bytes())),
            attr(b"line", Value::int(i64::from(line))),
            attr(b"column", Value::int(i64::from(column))),
        ])
    }
}

struct Compiler<'c> {
    file: &'c Arc<File>,
    /// Functions being compiled, innermost last.
    functions: Vec<FunctionState>,
    /// Finished functions, reused for their memory.
    spare: Vec<FunctionState>,
    /// Definitions in scope of each name, innermost last.
    names: HashMap<Symbol, SmallVec<[ScopeEntry; 2]>, FxBuildHasher>,
    /// The scopes of `with`, innermost last: function and register.
    withs: Vec<(usize, Reg)>,
    module: Module,
    ops: Vec<Op>,
    codes: Vec<CodeDraft>,
    /// Captures of all codes, one after the other.
    captures: Vec<Reg>,
    constants: HashMap<&'static [u8], ConstantIndex, FxBuildHasher>,
    error: Option<Error>,
    depth: usize,
    symbols: OperatorSymbols,
    /// The next function begins with this many captures, in the given order.
    given_captures: u16,
    /// The function that is the value of the file; it is compiled at once.
    root_lambda: Option<*const ()>,
    /// The most bytes of text that are compiled lazily.
    postponed_max: u32,
    /// The last expression that was too deep to be compiled lazily.
    deep_piece: Span,
}

/// Names of the builtins that operators call when they are shadowed.
#[derive(Clone, Copy)]
struct OperatorSymbols {
    sub: Symbol,
    mul: Symbol,
    div: Symbol,
    less_than: Symbol,
    find_file: Symbol,
    nix_path: Symbol,
    builtins: Symbol,
    overrides: Symbol,
}

impl OperatorSymbols {
    fn get() -> OperatorSymbols {
        static SYMBOLS: std::sync::OnceLock<OperatorSymbols> = std::sync::OnceLock::new();
        *SYMBOLS.get_or_init(|| OperatorSymbols {
            sub: Symbol::new(b"__sub"),
            mul: Symbol::new(b"__mul"),
            div: Symbol::new(b"__div"),
            less_than: Symbol::new(b"__lessThan"),
            find_file: Symbol::new(b"__findFile"),
            nix_path: Symbol::new(b"__nixPath"),
            builtins: Symbol::new(b"builtins"),
            overrides: Symbol::new(b"__overrides"),
        })
    }

    fn all(self) -> [Symbol; 7] {
        [self.sub, self.mul, self.div, self.less_than, self.find_file, self.nix_path, self.builtins]
    }
}

/// Emptied lists, reused for their memory.
#[derive(Default)]
struct Scratch {
    ops: Vec<Op>,
    captures: Vec<Reg>,
    constants: Vec<Value>,
    spans: Vec<(u32, u32, u32)>,
    functions: Vec<FunctionState>,
}

thread_local! {
    static SCRATCH: std::cell::Cell<Scratch> = std::cell::Cell::default();
}

impl Scratch {
    /// Keeps the lists for the next text, unless they are very long.
    fn keep(mut self) {
        const LEN_MAX: usize = 1 << 15;
        if self.ops.capacity() <= LEN_MAX && self.spans.capacity() <= LEN_MAX && self.constants.capacity() <= LEN_MAX {
            self.ops.clear();
            self.captures.clear();
            self.constants.clear();
            self.spans.clear();
            SCRATCH.set(self);
        }
    }
}

struct CodeDraft {
    first_op: u32,
    end_op: u32,
    first_capture: u32,
    end_capture: u32,
    arity: u8,
    pattern: Option<PatternIndex>,
    frame: u16,
    name: Option<Symbol>,
    pos: Pos,
    arguments: Vec<(Option<Symbol>, Pos)>,
    lazy: Option<Box<lazy::Lazy>>,
}

/// Compiles a text to the code of a thunk for its value. `extra` are names that `scopedImport` or a
/// caller adds, before the globals.
///
/// # Errors
/// Undefined variables, and texts that need more registers or nesting than there is.
pub(crate) fn compile(expr: Expr<'_>, file: &Arc<File>, extra: &[(Symbol, Value)]) -> Result<&'static Code, Error> {
    let mut compiler = Compiler::new(file, file.source.text.len());
    for &(name, value) in extra {
        let index = compiler.constant(value);
        compiler.names.entry(name).or_default().push(ScopeEntry { function: 0, location: Location::Constant(index) });
    }
    compiler.functions.push(FunctionState::default());
    compiler.root_lambda = root_lambda(expr);
    compiler.tail(expr);
    let root = compiler.finish_function(0, None, None, file.base, Vec::new());
    match compiler.error.take() {
        Some(error) => Err(error),
        None => {
            file.kept.compiled(file.source.text.len());
            Ok(compiler.link(root))
        }
    }
}

/// Returns the function that is the value of a text, if it is one: it will most likely be called.
fn root_lambda(mut expr: Expr<'_>) -> Option<*const ()> {
    loop {
        match expr.kind {
            ExprKind::Lambda(lambda) => return Some(std::ptr::from_ref(*lambda).cast()),
            ExprKind::Let { body, .. } | ExprKind::With { body, .. } | ExprKind::Assert { body, .. } => expr = *body,
            _ => return None,
        }
    }
}

impl<'c> Compiler<'c> {
    /// `bytes` is the length of the text to compile.
    fn new(file: &'c Arc<File>, bytes: usize) -> Compiler<'c> {
        let scratch = SCRATCH.take();
        Compiler {
            file,
            functions: Vec::new(),
            spare: scratch.functions,
            names: HashMap::default(),
            withs: Vec::new(),
            module: Module {
                constants: scratch.constants,
                codes: std::sync::OnceLock::new(),
                shapes: Vec::new(),
                orders: Vec::new(),
                sites: Vec::new(),
                withs: Vec::new(),
                patterns: Vec::new(),
                spans: scratch.spans,
                base: file.base,
            },
            ops: scratch.ops,
            codes: Vec::new(),
            captures: scratch.captures,
            constants: HashMap::default(),
            error: None,
            depth: 0,
            symbols: OperatorSymbols::get(),
            given_captures: 0,
            root_lambda: None,
            postponed_max: (bytes / 2) as u32,
            deep_piece: Span::default(),
        }
    }
}

impl Compiler<'_> {
    /// Turns the drafts into code that lives as long as the process.
    fn link(mut self, root: CodeIndex) -> &'static Code {
        // Copies have just the size they need; the growing lists are reused for the next text.
        let ops: &'static [Op] = Box::leak(self.ops.as_slice().into());
        let captures: &'static [Reg] = Box::leak(self.captures.as_slice().into());
        let (constants, spans) = (self.module.constants.clone(), self.module.spans.clone());
        let scratch = Scratch {
            ops: self.ops,
            captures: self.captures,
            constants: std::mem::replace(&mut self.module.constants, constants),
            spans: std::mem::replace(&mut self.module.spans, spans),
            functions: self.spare,
        };
        scratch.keep();
        self.module.sites.shrink_to_fit();
        self.module.shapes.shrink_to_fit();
        let module: &'static Module = Box::leak(Box::new(self.module));
        let codes: Vec<Code> = self
            .codes
            .into_iter()
            .map(|draft| Code {
                body: match draft.lazy {
                    Some(lazy) => Body::Lazy(Box::leak(lazy)),
                    None => Body::Ops(&ops[draft.first_op as usize..draft.end_op as usize]),
                },
                captures: &captures[draft.first_capture as usize..draft.end_capture as usize],
                module,
                arity: draft.arity,
                pattern: draft.pattern,
                frame: draft.frame,
                first_op: draft.first_op,
                name: draft.name,
                pos: draft.pos,
                arguments: draft.arguments,
            })
            .collect();
        let codes: &'static [Code] = Box::leak(codes.into_boxed_slice());
        assert!(module.codes.set(codes).is_ok(), "a module is linked once");
        &codes[root.index()]
    }

    fn pos(&self, span: Span) -> Pos {
        self.file.pos(span)
    }

    /// Keeps the first error. Compiling goes on, and its result is not used.
    fn fail(&mut self, span: Span, error: Error) {
        if self.error.is_none() {
            self.error = Some(error.at(self.pos(span), span.end - span.start));
        }
    }

    fn constant(&mut self, value: Value) -> ConstantIndex {
        self.module.constants.push(value);
        ConstantIndex::new(self.module.constants.len() - 1)
    }

    /// Returns a constant string; equal ones share one value.
    fn string_constant(&mut self, bytes: &[u8]) -> ConstantIndex {
        if let Some(&index) = self.constants.get(bytes) {
            return index;
        }
        let text = Value::string(bytes);
        let index = self.constant(text);
        self.constants.insert(text.as_string().map_or(&[], |text| text.bytes()), index);
        index
    }
}
