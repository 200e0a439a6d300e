//! Small random programs from the grammar and the builtins: mostly well typed, so that they do more
//! than fail.
//!
//! A seed gives the same program until this file changes. Programs end: recursion is never
//! generated, and sizes multiply only a few times.

/// A linear generator: repeatable, and random enough here.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Int,
    Float,
    Bool,
    Text,
    Ints,
    Texts,
    Set,
    Function,
    Any,
}

use Type::*;

const NAMES: &[&str] = &["a", "b", "c", "d", "x", "y", "f", "v1", "a-b", "_'"];
const TEXTS: &[&str] =
    &["", "a", "b", "abc", "1.2.3", "foo-1.2", "a b", "\\n", "\\\"", "$", "$$", "\\${", "ü", "/x/y", "12", "2.3pre4"];
const REGEXES: &[&str] = &[
    "a",
    "(a)?b*",
    "[a-z]+",
    "([[:alpha:]]*)([0-9.]+)",
    ".*",
    "(a|ab)(c|bcd)?",
    "[^a]",
    "x{0,2}",
    "(.)(.)?",
    "[[:space:]]",
    "",
    "(a*)*",
    "\\\\.",
    "a|",
    "[]a]",
];

/// Templates: the type of the result, and the text, in which `%i` and the like are replaced by
/// parts of a type. `i` int, `n` float, `b` Boolean, `t` text, `l` ints, `s` texts, `e` set, `f`
/// function from and to ints, `a` anything, `k` a name, `I` digits, `R` a regular expression.
const TEMPLATES: &[(Type, &str)] = &[
    (Int, "(%i + %i)"),
    (Int, "(%i - %i)"),
    (Int, "(%i * %i)"),
    (Int, "(%i / %i)"),
    (Int, "(-%i)"),
    (Int, "(%f %i)"),
    (Int, "(if %b then %i else %i)"),
    (Int, "(assert %b; %i)"),
    (Int, "(with %e; %i)"),
    (Int, "(let inherit (%e) a; in %i)"),
    (Int, "(let { body = %i; x = %a; })"),
    (Int, "(%e.%k or %i)"),
    (Int, "(%e.\"${%t}\" or %i)"),
    (Int, "(builtins.add %i %i)"),
    (Int, "(builtins.sub %i %i)"),
    (Int, "(builtins.mul %i %i)"),
    (Int, "(builtins.div %i %i)"),
    (Int, "(builtins.bitAnd %i %i)"),
    (Int, "(builtins.bitOr %i %i)"),
    (Int, "(builtins.bitXor %i %i)"),
    (Int, "(builtins.length %l)"),
    (Int, "(builtins.length (builtins.attrNames %e))"),
    (Int, "(builtins.stringLength %t)"),
    (Int, "(builtins.head %l)"),
    (Int, "(builtins.elemAt %l %i)"),
    (Int, "(builtins.foldl' (p: q: p + q) %i %l)"),
    (Int, "(builtins.foldl' builtins.add %i %l)"),
    (Int, "(builtins.compareVersions %t %t)"),
    (Int, "(builtins.ceil %n)"),
    (Int, "(builtins.floor %n)"),
    (Int, "(builtins.seq %a %i)"),
    (Int, "(builtins.deepSeq %a %i)"),
    (Int, "((builtins.functionArgs ({ %k, b ? 1 }: b)).b or true)"),
    (Int, "(({ a ? %i, b ? a, ... }@args: a + b) %e)"),
    (Int, "(({ a, ... }: a) ({ a = %i; } // %e))"),
    (Int, "((x: y: x - y) %i %i)"),
    (Int, "({ __functor = self: q: q + self.k; k = %i; } %i)"),
    (Int, "(builtins.fromJSON \"%I\")"),
    (Int, "(builtins.getAttr \"%k\" %e)"),
    (Int, "(builtins.addErrorContext %t %i)"),
    (Int, "(builtins.tryEval %i).value"),
    (Int, "(let p = %i; q = p + 1; in q * p)"),
    (Int, "(rec { a = %i; b = a + 1; }).b"),
    (Int, "(rec { a = 1; b = a; __overrides = { a = %i; }; }).b"),
    (Int, "(builtins.head (builtins.sort builtins.lessThan %l))"),
    (Float, "(%n + %n)"),
    (Float, "(%n * %i)"),
    (Float, "(%i / %n)"),
    (Float, "(builtins.fromJSON \"1.5\")"),
    (Bool, "(%i < %i)"),
    (Bool, "(%i <= %n)"),
    (Bool, "(%t > %t)"),
    (Bool, "(%l >= %l)"),
    (Bool, "(%a == %a)"),
    (Bool, "(%a != %a)"),
    (Bool, "(%e == %e)"),
    (Bool, "(%l == %l)"),
    (Bool, "(let p = %a; in p == p)"),
    (Bool, "(let p = %l; in { a = p; } == { a = p; } && p == p)"),
    (Bool, "(!%b)"),
    (Bool, "(%b && %b)"),
    (Bool, "(%b || %b)"),
    (Bool, "(%b -> %b)"),
    (Bool, "(%e ? %k)"),
    (Bool, "(%e ? %k.b)"),
    (Bool, "(%e ? \"${%t}\")"),
    (Bool, "(builtins.hasAttr %t %e)"),
    (Bool, "(builtins.elem %i %l)"),
    (Bool, "(builtins.all (q: q < %i) %l)"),
    (Bool, "(builtins.any (q: q == %i) %l)"),
    (Bool, "(builtins.isInt %a)"),
    (Bool, "(builtins.isString %a)"),
    (Bool, "(builtins.isList %a)"),
    (Bool, "(builtins.isAttrs %a)"),
    (Bool, "(builtins.isFunction %a)"),
    (Bool, "(builtins.isBool %a)"),
    (Bool, "(builtins.isFloat %a)"),
    (Bool, "(builtins.isPath %a)"),
    (Bool, "(isNull %a)"),
    (Bool, "(builtins.hasContext %t)"),
    (Bool, "(builtins.tryEval %a).success"),
    (Bool, "(builtins.lessThan %i %i)"),
    (Text, "(%t + %t)"),
    (Text, "\"${%t}-${%t}\""),
    (Text, "''\n  ${%t}\n    x\n  y ''${z} ''$ '''\n''"),
    (Text, "''${%t}''"),
    (Text, "(toString %a)"),
    (Text, "(toString %l)"),
    (Text, "(builtins.typeOf %a)"),
    (Text, "(builtins.substring %i %i %t)"),
    (Text, "(builtins.concatStringsSep %t %s)"),
    (Text, "(builtins.replaceStrings [ %t \"a\" ] [ %t \"b\" ] %t)"),
    (Text, "(builtins.replaceStrings %s %s %t)"),
    (Text, "(builtins.hashString \"sha256\" %t)"),
    (Text, "(builtins.hashString \"md5\" %t)"),
    (Text, "(builtins.hashString \"sha1\" %t)"),
    (Text, "(builtins.toJSON %a)"),
    (Text, "(builtins.toJSON %e)"),
    (Text, "(builtins.toXML %e)"),
    (Text, "(builtins.baseNameOf %t)"),
    (Text, "(dirOf %t)"),
    (Text, "(builtins.parseDrvName %t).name"),
    (Text, "(builtins.unsafeDiscardStringContext %t)"),
    (Text, "\"${{ __toString = self: self.t; t = %t; }}\""),
    (Text, "\"${{ outPath = %t; }}\""),
    (Text, "(builtins.head %s)"),
    (Text, "(builtins.placeholder %t)"),
    (Text, "(builtins.toFile \"n\" %t)"),
    (Text, "(derivation { name = \"n\"; system = \"s\"; builder = %t; args = %s; x = %a; }).outPath"),
    (
        Text,
        "(derivation { name = \"n\"; system = \"s\"; builder = \"b\"; y = %t; outputs = [ \"out\" \"dev\" ]; }).drvPath",
    ),
    (Text, "(if %b then %t else throw %t)"),
    (Ints, "[ %i %i ]"),
    (Ints, "(%l ++ %l)"),
    (Ints, "(map %f %l)"),
    (Ints, "(builtins.filter (q: q < %i) %l)"),
    (Ints, "(builtins.tail %l)"),
    (Ints, "(builtins.genList %f 3)"),
    (Ints, "(builtins.sort builtins.lessThan %l)"),
    (Ints, "(builtins.sort (p: q: p > q) %l)"),
    (Ints, "(builtins.concatLists [ %l %l ])"),
    (Ints, "(builtins.concatMap (q: [ q %i ]) %l)"),
    (Ints, "(builtins.partition (q: q > %i) %l).right"),
    (
        Ints,
        "(map (q: q.key) (builtins.genericClosure { startSet = [ { key = %i; } ]; operator = n: if n.key > 3 then [ ] else [ { key = n.key + 1; } ]; }))",
    ),
    (Ints, "(builtins.fromJSON \"[1,2]\")"),
    (Texts, "[ %t %t ]"),
    (Texts, "(%s ++ [ %t ])"),
    (Texts, "(builtins.attrNames %e)"),
    (Texts, "(map toString %l)"),
    (Texts, "(builtins.splitVersion %t)"),
    (Texts, "(builtins.filter builtins.isString (builtins.split \"%R\" %t))"),
    (Texts, "(builtins.sort builtins.lessThan %s)"),
    (Set, "{ a = %i; b = %t; }"),
    (Set, "{ %k = %a; }"),
    (Set, "{ a.b = %i; a.c = %a; }"),
    (Set, "{ ${%t} = %i; }"),
    (Set, "{ \"${%t}\" = %a; %k = 1; }"),
    (Set, "rec { a = %i; b = [ a ]; c = [ a b ]; }"),
    (Set, "{ inherit (%e) a b; }"),
    (Set, "(%e // %e)"),
    (Set, "(removeAttrs %e %s)"),
    (Set, "(builtins.mapAttrs (n: v: n) %e)"),
    (Set, "(builtins.intersectAttrs %e %e)"),
    (Set, "(builtins.listToAttrs [ { name = %t; value = %i; } { name = \"a\"; value = %a; } ])"),
    (Set, "(builtins.listToAttrs (map (name: { inherit name; value = %i; }) %s))"),
    (Set, "(builtins.functionArgs ({ a, b ? %i, ... }: a))"),
    (Set, "(builtins.groupBy (q: if q > 1 then \"big\" else \"small\") %l)"),
    (Set, "(builtins.parseDrvName %t)"),
    (Set, "(builtins.fromJSON \"{\\\"a\\\":1,\\\"b\\\":[null,true]}\")"),
    (Set, "(builtins.fromTOML \"a = 1\\nb = \\\"x\\\"\\n[c]\\nd = [1, 2]\")"),
    (Set, "(builtins.partition (q: q > %i) %l)"),
    (Set, "(builtins.zipAttrsWith (n: vs: vs) [ %e %e ])"),
    (Set, "(builtins.tryEval %a)"),
    (Set, "(builtins.getContext %t)"),
    (Function, "(q: q + %i)"),
    (Function, "(builtins.add %i)"),
    (Function, "(q: if q < %i then q else %i)"),
    (Function, "(let k = %i; in q: q * k)"),
    (Function, "({ a ? 1, ... }: q: q + a) %e"),
    (Any, "null"),
    (Any, "%i"),
    (Any, "%n"),
    (Any, "%b"),
    (Any, "%t"),
    (Any, "%l"),
    (Any, "%s"),
    (Any, "%e"),
    (Any, "%f"),
    (Any, "[ %a %a ]"),
    (Any, "(builtins.attrValues %e)"),
    (Any, "(builtins.catAttrs \"%k\" [ %e %e ])"),
    (Any, "(builtins.match \"%R\" %t)"),
    (Any, "(builtins.split \"%R\" %t)"),
    (Any, "/x/y"),
    (Any, "(/x + \"/%I\")"),
    (Any, "(throw %t)"),
    (Any, "(import %a)"),
];

pub struct Generator {
    pub random: Random,
}

impl Generator {
    pub fn program(&mut self) -> String {
        let depth = 2 + self.random.below(4);
        self.make(Any, depth)
    }

    pub fn make(&mut self, wanted: Type, depth: usize) -> String {
        let wanted = if self.random.one_in(60) { Any } else { wanted };
        if depth == 0 || self.random.one_in(6) {
            return self.leaf(wanted);
        }
        let fitting: Vec<&str> =
            TEMPLATES.iter().filter(|(kind, _)| *kind == wanted).map(|(_, template)| *template).collect();
        let template = self.random.pick(&fitting);
        let mut out = String::new();
        let mut rest = template.chars();
        while let Some(next) = rest.next() {
            match next {
                '%' => match rest.next() {
                    Some('k') => out.push_str(self.random.pick(NAMES)),
                    Some('I') => out.push_str(&self.random.below(20).to_string()),
                    Some('R') => out.push_str(self.random.pick(REGEXES)),
                    Some(kind) => out.push_str(&self.make(type_of(kind), depth - 1)),
                    None => {}
                },
                other => out.push(other),
            }
        }
        out
    }

    fn leaf(&mut self, wanted: Type) -> String {
        match wanted {
            Int => self.random.below(6).to_string(),
            Float => self.random.pick(&["0.5", "1.0", "2.25", "1.5e3", ".5e-2"]).to_owned(),
            Bool => self.random.pick(&["true", "false"]).to_owned(),
            Text => format!("\"{}\"", self.random.pick(TEXTS)),
            Ints => self.random.pick(&["[ ]", "[ 1 2 ]", "[ 3 1 2 ]"]).to_owned(),
            Texts => self.random.pick(&["[ ]", "[ \"a\" ]", "[ \"b\" \"a\" \"c\" ]"]).to_owned(),
            Set => self.random.pick(&["{ }", "{ a = 1; }", "{ b = \"x\"; a = 2; }", "{ x.y = null; }"]).to_owned(),
            Function => self.random.pick(&["(q: q)", "(q: q * 2)"]).to_owned(),
            Any => {
                let kind = [Int, Float, Bool, Text, Ints, Texts, Set][self.random.below(7)];
                self.leaf(kind)
            }
        }
    }
}

fn type_of(letter: char) -> Type {
    match letter {
        'i' => Int,
        'n' => Float,
        'b' => Bool,
        't' => Text,
        'l' => Ints,
        's' => Texts,
        'e' => Set,
        'f' => Function,
        _ => Any,
    }
}
