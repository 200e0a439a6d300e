let outer = "outer"; x = 1;
in {
  plain = rec { a = b + 1; b = 2; c = a * b; };
  shadow = rec { x = 2; y = x; };
  notRecursive = { x = 2; y = x; };
  inherited = rec { inherit outer; z = outer + "!"; };
  merged = (rec { a.b = c; c = 3; a.d = 4; }).a;
  mergedRec = { a = rec { b = 1; c = b; }; a.d = 5; };
  overrides = rec { a = b; b = 1; __overrides = { b = 2; }; };
  dynamic = rec { a = 1; ${"b"} = a; "${"c"}" = a + 1; };
  body = let { y = x; x = 10; body = x + y; };
}
