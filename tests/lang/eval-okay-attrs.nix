with builtins;
let s = { b = 2; a = 1; c.d.e = 3; "odd name" = 4; ${"dy" + "n"} = 5; }; boom = throw "forced";
in {
  inherit s;
  select = [ s.a s.c.d.e s."odd name" s.${"a"} s.dyn (s.x or "none") (s.a.b.c or "none") (s.c.d or boom).e (s.c.x.y or s.b) ];
  has = [ (s ? a) (s ? x) (s ? c.d.e) (s ? c.x.e) (s ? a.b) (s ? "odd name") (s ? ${"a"}) (1 ? a) ];
  update = [ ({ a = 1; b = 2; } // { b = 3; c = 4; }) ({ a.x = 1; } // { a.y = 2; }) ({ } // { }) ];
  nested = { a.b.c = 1; a.b.d = 2; a = { e = 3; }; a."f g" = 4; };
  null' = { ${null} = boom; a = 1; };
  names = [ (attrNames s) (attrValues { b = 1; a = 2; }) ];
  get = [ (getAttr "a" s) (hasAttr "a" s) (hasAttr "zz" s) ];
  remove = removeAttrs { a = 1; b = 2; c = 3; } [ "a" "c" "zz" ];
  list = listToAttrs [ { name = "x"; value = 1; } { name = "y"; value = 2; } { name = "x"; value = 3; } ];
  intersect = intersectAttrs { a = 1; b = 2; z = 3; } { b = "b"; a = "a"; q = "q"; };
  cat = catAttrs "a" [ { a = 1; } { b = 2; } { a = 3; } ];
  map = mapAttrs (name: value: name + toString value) { a = 1; b = 2; };
  zip = zipAttrsWith (name: values: { inherit name values; }) [ { a = 1; } { a = 2; b = 3; } { } ];
  equal = [ ({ a = 1; } == { a = 1; }) ({ a = 1; } == { a = 2; }) ({ a = 1; } == { b = 1; }) ({ } != { }) ];
  lazy = attrNames { a = boom; b = boom; };
  order = attrNames { b = 1; B = 1; a = 1; _ = 1; a1 = 1; "1" = 1; "" = 1; };
}
