let
  id = x: x; const = a: b: a;
  formals = { a, b ? a + 1, ... }@args: [ a b (args.c or "no c") (builtins.attrNames args) ];
  before = args@{ x ? 1, y ? x + 1 }: { inherit x y; given = builtins.attrNames args; };
  fix = f: let x = f x; in x;
  fact = n: if n == 0 then 1 else n * fact (n - 1);
  compose = f: g: x: f (g x);
  functor = { __functor = self: x: self.base + x; base = 10; };
in {
  apply = [ (id 1) (const 1 (throw "unused")) ((x: y: x - y) 5 3) ((a: b: c: [ a b c ]) 1 2 3) ];
  formals = [ (formals { a = 1; }) (formals { a = 1; b = 5; c = 6; d = 7; }) ];
  before = [ (before { }) (before { x = 5; }) ];
  empty = ({ }: 1) { };
  fix = (fix (self: { a = 1; b = self.a + 1; })).b;
  fact = fact 15;
  compose = compose (x: x + 1) (x: x * 2) 5;
  partial = map (builtins.add 1) [ 1 2 ];
  functor = [ (functor 5) (map functor [ 1 2 ]) ((functor // { base = 20; }) 1) ];
  args = [ (builtins.functionArgs ({ a, b ? 1, ... }: a)) (builtins.functionArgs (x: x)) (builtins.functionArgs builtins.map) ];
  shadow = (x: (x: x) 2) 1;
  higher = (f: f f) (self: 42);
}
