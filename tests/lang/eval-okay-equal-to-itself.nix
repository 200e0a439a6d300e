# Comparing a value with itself evaluates its members, but not their contents; of a derivation, its path.
let
  try = value: (builtins.tryEval value).success;
  bad = { a = throw "a"; };
  deep = { a.b = throw "b"; };
  list = [ (throw "c") ];
  drv = { type = "derivation"; outPath = throw "d"; };
  same = { type = "derivation"; outPath = "p"; more = throw "e"; };
  strange = { type = throw "f"; };
  number = 0.0 * 1.0e308 * 10;
in {
  evaluated = map try [ (bad == bad) (bad != bad) (list == list) (drv == drv) (strange == strange) ];
  not = [ (deep == deep) (same == same) ([ bad ] == [ bad ]) ({ inherit bad; } == { inherit bad; }) (builtins.elem bad [ bad ]) ];
  inFunction = try ((x: x == bad) bad);
  function = let f = x: x; s = { inherit f; }; in [ (f == f) (s == s) ([ f ] == [ f ]) ];
  numbers = [ (number == number) (let s = { inherit number; }; in s == s) ];
}
