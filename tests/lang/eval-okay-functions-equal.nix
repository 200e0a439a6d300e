# A function equals itself only when both sides are one and the same value.
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
  (f == f)
  (a == b)
  (a == a)
  (t == u)
  (t == t)
  (s == s)
  (s // { } == s)
  ({ x = s; } == { x = s; })
  ([ f ] == [ f ])
  (l == l)
  (map id l == l)
  (map id [ f ] == map id [ f ])
  ([ (id f) ] == [ f ])
  ((id s) == s)
  ({ a = id s; } == { a = s; })
  (deep.x == s)
  ({ y = deep.x; } == { y = s; })
  (builtins.mapAttrs (_: v: v) s == s)
  (builtins.removeAttrs s [ ] == s)
  (let q = s.g; in { a = q; } == { a = q; })
  (let q = s.g; in q == q)
  (builtins.elem f [ f ])
  (builtins.tail [ 1 f ] == [ f ])
  ([ 1 ] ++ [ f ] == [ 1 ] ++ [ f ])
  (builtins.head [ f ] == f)
  ([ (builtins.head [ f ]) ] == [ f ])
  (builtins.map == builtins.map)
  ({ a = map; } == { a = map; })
  ((x: { a = x; }) f == (x: { a = x; }) f)
  (let p = (x: { a = x; }); g = s.g; in p g == p g)
  (let r = rec { h = x: x; k = { inherit h; }; m = { inherit h; }; }; in r.k == r.m)
  (({ h ? (x: x) }: { inherit h; } == { inherit h; }) { })
  (({ h }: { inherit h; } == { inherit h; }) { h = f; })
  (let p = s // { z = 1; }; in p // { } == p)
  (let p = s // { z = 1; }; q = s // { z = 1; }; in p == q)
  (let p = { c = s; }; in p.c // { } == (p // { d = 1; }).c)
]
