//! The syntax tree of one file, allocated in one arena.
//!
//! Every node is a plain reference into a [`bumpalo::Bump`], so a tree costs one allocation per
//! page and is freed at once. Names are interned [`Symbol`]s; positions are [`Span`]s of bytes in
//! the file the tree was parsed from. The parser has already done the steps that need the text:
//! indentation of `''…''` strings is stripped, `a.b.c = …` bindings are merged into nested sets,
//! `<nixpkgs>` is kept unresolved. Scopes are resolved by `compile`.

use crate::source::Span;
use crate::symbol::Symbol;

/// An expression and its span.
#[derive(Debug, Clone, Copy)]
pub struct Expr<'a> {
    pub kind: &'a ExprKind<'a>,
    pub span: Span,
}

#[derive(Debug)]
pub enum ExprKind<'a> {
    Int(i64),
    Float(f64),
    /// A string without interpolation.
    Str(&'a [u8]),
    /// A string with interpolation, also an indented one; at least one part is an expression.
    Interpolation(&'a [StringPart<'a>]),
    /// `./a`, `/a`, `~/a` (home not yet expanded), without interpolation.
    Path(PathKind, &'a [u8]),
    /// A path with interpolation: `./a/${b}/c`. The first part is always text.
    PathInterpolation(PathKind, &'a [StringPart<'a>]),
    /// `<name/rest>` without the angle brackets.
    LookupPath(&'a [u8]),
    /// A bare URL literal.
    Uri(&'a [u8]),
    Variable(Symbol),
    /// `__curPos`
    CurrentPosition,
    Select {
        subject: Expr<'a>,
        path: &'a [AttrName<'a>],
        default: Option<Expr<'a>>,
    },
    HasAttr {
        subject: Expr<'a>,
        path: &'a [AttrName<'a>],
    },
    /// `f a b` is one call with two arguments.
    Call {
        function: Expr<'a>,
        arguments: &'a [Expr<'a>],
    },
    Lambda(&'a Lambda<'a>),
    Attrs(&'a Bindings<'a>),
    Let {
        bindings: &'a Bindings<'a>,
        body: Expr<'a>,
    },
    /// The old `let { …; body = …; }`.
    LetBody(&'a Bindings<'a>),
    List(&'a [Expr<'a>]),
    With {
        scope: Expr<'a>,
        body: Expr<'a>,
    },
    Assert {
        condition: Expr<'a>,
        body: Expr<'a>,
    },
    If {
        condition: Expr<'a>,
        then: Expr<'a>,
        otherwise: Expr<'a>,
    },
    Not(Expr<'a>),
    Negate(Expr<'a>),
    /// `operator` spans the operator's own text, for labels.
    Binary {
        operator: BinaryOperator,
        left: Expr<'a>,
        right: Expr<'a>,
        operator_span: Span,
    },
    /// Placeholder for text that the parser could not understand; the errors are in `Parsed`.
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Implies,
    Update,
    Concat,
    /// `a |> f`
    PipeInto,
    /// `f <| a`
    PipeFrom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    Absolute,
    /// Relative to the directory of the file.
    Relative,
    /// Starts with `~/`.
    Home,
}

#[derive(Debug, Clone, Copy)]
pub enum StringPart<'a> {
    Text(&'a [u8]),
    Expr(Expr<'a>),
}

/// One step of an attribute path.
#[derive(Debug, Clone, Copy)]
pub struct AttrName<'a> {
    pub kind: AttrNameKind<'a>,
    pub span: Span,
}

#[derive(Debug, Clone, Copy)]
pub enum AttrNameKind<'a> {
    /// Also `"quoted"` without interpolation.
    Static(Symbol),
    /// `${e}` or `"a${e}"`.
    Dynamic(Expr<'a>),
}

#[derive(Debug)]
pub struct Lambda<'a> {
    /// `x:` or the name beside `@`.
    pub argument: Option<(Symbol, Span)>,
    pub formals: Option<Formals<'a>>,
    pub body: Expr<'a>,
}

#[derive(Debug, Clone, Copy)]
pub struct Formals<'a> {
    /// The arguments in source order, names unique.
    pub entries: &'a [Formal<'a>],
    pub ellipsis: bool,
    pub span: Span,
}

#[derive(Debug, Clone, Copy)]
pub struct Formal<'a> {
    pub name: Symbol,
    pub default: Option<Expr<'a>>,
    pub span: Span,
}

/// The inside of `{ … }`, `rec { … }`, `let … in`: nested paths already merged.
#[derive(Debug)]
pub struct Bindings<'a> {
    pub recursive: bool,
    /// Set when all of it is in one pair of braces, and no paths or sets were merged: its text,
    /// parsed again, gives the same bindings.
    pub verbatim: bool,
    /// Source order, names unique.
    pub statics: &'a [Binding<'a>],
    /// `${e} = value`, source order.
    pub dynamics: &'a [DynamicBinding<'a>],
}

#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    pub name: Symbol,
    pub value: BindingValue<'a>,
    /// Span of the name, which `unsafeGetAttrPos` reports.
    pub span: Span,
}

#[derive(Debug, Clone, Copy)]
pub enum BindingValue<'a> {
    /// `name = e`; evaluated in the scope of the bindings when those are recursive.
    Expr(Expr<'a>),
    /// `inherit name;`: looked up in the scope that *encloses* the bindings.
    Inherit,
    /// `inherit (e) name;`: all names of one clause share the same `Expr` (pointer equal).
    InheritFrom(Expr<'a>),
}

#[derive(Debug, Clone, Copy)]
pub struct DynamicBinding<'a> {
    pub name: Expr<'a>,
    pub value: Expr<'a>,
    pub span: Span,
}
