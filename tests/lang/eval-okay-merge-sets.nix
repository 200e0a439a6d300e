# Sets of one name merge, at every depth and in either notation.
let
  x = "outer x";
  source = {
    p = 1;
    q = 2;
    r = 3;
  };
in
{
  braces = { a = { b.c = 1; }; a = { b.d = 2; }; };
  nested = { a = { b = { c = 1; }; }; a = { b = { d = 2; }; }; };
  pathFirst = { a.b.c = 1; a = { b = { d = 2; }; }; };
  pathLast = { a = { b = { d = 2; }; }; a.b.c = 1; };
  deep = { a = { b = { c = { x = 1; }; }; }; a = { b = { c = { y = 2; }; }; }; };
  three = { a = { b = { c = 1; }; }; a = { b = { d = 2; }; }; a = { b = { e = 3; }; f = 4; }; };
  empty = { a = { b = { }; }; a = { b = { c = 1; }; }; a = { b = { }; }; };
  parenthesised = { a = ({ b = ({ c = 1; }); }); a = { b = { d = 2; }; }; };
  below = { a.b = { c.d = { e = 1; }; }; a.b.c = { d.f = 2; }; };
  inLet = let s = { t = { u = 1; }; }; s = { t = { v = 2; }; }; in s;
  many = {
    a = { s = { k01 = 1; k02 = 2; k03 = 3; k04 = 4; k05 = 5; k06 = 6; k07 = 7; }; };
    a = { s = { k08 = 8; k09 = 9; k10 = 10; k11 = 11; k12 = 12; k13 = 13; k14 = 14; }; };
    a = { s = { k15 = 15; }; };
  };

  # The first set of a name decides about `rec`, at its own depth only.
  recFirst = { a = rec { b = { c = 1; }; }; a = { b = { d = 2; }; }; };
  recInner = { a = { b = rec { c = 1; d = c; }; }; a = { b = { e = 2; f = d; }; }; };
  recOuterSeen = { a = rec { x = "rec x"; b = { }; }; a = { b = { y = x; }; }; };
  recSecond = { a = { b = { c = 1; }; }; a = rec { x = "lost"; b = { y = x; }; }; };
  recSecondInner = { a = { b = { x = "member"; }; }; a = { b = rec { y = x; }; }; };
  recBoth = { a = rec { b = rec { x = "inner"; }; }; a = rec { b = rec { y = x; }; }; };
  recPath = rec { a.b.c = 1; a = { b = { d = a.b.c + 1; }; }; };

  inherited = { a = { b = { inherit x; }; }; a = { b = { inherit (source) p; }; }; };
  inheritedTwice = { a = { b = { inherit (source) p; }; }; a = { b = { inherit (source) q; c = 1; }; }; };
  inheritedIntoRec =
    { a = { b = rec { x = "inner"; source.r = "inner r"; }; }; a = { b = { inherit (source) r; y = x; }; }; };
  inheritedPlainIntoRec = { a = rec { b = rec { y = x; }; }; a = { b = { inherit x; }; }; };

  dynamic = { a = { b = { ${"c" + ""} = 1; }; }; a = { b = { ${"d" + ""} = 2; e = 3; }; }; };
  dynamicKept = { a = { b = { c = 1; }; }; a = { ${"d" + ""} = { e = 2; }; }; };
  constantName = { a = { ${"b"} = { c = 1; }; }; a = { "b" = { d = 2; }; }; };
  overrides = { a = rec { b = { c = 1; }; d = b.c; }; a = { __overrides = { b = { c = 2; }; }; }; };

  order = builtins.attrNames { a = { z = { }; y = 1; }; a = { z = { b = 1; }; x = 2; }; }.a;
  positions =
    let
      s = {
        a = {
          b = { c = 1; };
        };
        a = {
          b = { d = 2; };
        };
      };
      line = name: set: (builtins.unsafeGetAttrPos name set).line;
      start = __curPos.line;
    in
    builtins.map (each: each - start) [ (line "a" s) (line "b" s.a) (line "c" s.a.b) (line "d" s.a.b) ];
}
