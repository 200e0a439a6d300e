# If both sides are the same function with no thunk between, they are equal here; Nix says false, as it copies the value for each side.
# The copies depend on the thunks that its evaluator happens to make.
let
  f = x: x;
  s = { g = x: x; };
  id = x: x;
  a = { inherit f; };
  b = { inherit f; };
  t = { f = s.g; };
  u = { f = s.g; };
  l = [ f ];
  deep = { x = s; };
in [
  ([ s.g ] == [ s.g ])
  ({ inherit (s) g; } == { inherit (s) g; })
  ({ inherit (s) g; } == s)
  (builtins.listToAttrs [ { name = "g"; value = s.g; } ] == s)
  (let q = s.g; in [ q ] == [ s.g ])
  (builtins.elem s.g [ s.g ])
  ([ builtins.map ] == [ builtins.map ])
  ((x: { a = x; }) s.g == (x: { a = x; }) s.g)
  (let r = rec { h = x: x; k = { inherit h; }; }; in r.k == { inherit (r) h; })
  (with s; { a = g; } == { a = g; })
]
