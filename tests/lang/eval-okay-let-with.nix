let
  a = 1; b = a + c; c = 10;
  inherit (builtins) length;
  inherit (rec { x = 5; y = x * 2; }) x y;
  set = { a = "with a"; q = "with q"; map = "shadowed?"; };
in {
  let' = [ b (let a = 2; d = a; in d) (let inherit a; in a) x y (length [ 1 2 ]) ];
  with' = [ (with set; a) (with set; q) (with { q = "outer"; }; with set; q) (with set; with { q = "inner"; }; q) (with set; let q = "let"; in q) ];
  lazyWith = with throw "unused"; a;
  fallthrough = with { z = 1; }; with { w = 2; }; z + w;
  recWith = with rec { m = n; n = 3; }; m;
  nested = let f = x: let y = x; in z: y + z; in f 1 2;
}
