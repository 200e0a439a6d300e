# Builtins with arguments of an unusual type.
let
  derived = derivation {
    name = "n";
    system = "s";
    builder = "b";
    outputs = [
      "out"
      "dev"
    ];
  };
  one = throw "evaluated";
in
{
  # A path becomes the text of its copy, except when only its name is needed.
  lengths = map builtins.stringLength [
    ./dir
    { outPath = "abc"; }
  ];
  cut = builtins.substring 0 11 ./dir;
  kept = builtins.hasContext (builtins.substring 0 0 "${./dir}");
  discarded = builtins.unsafeDiscardStringContext ./dir == builtins.unsafeDiscardStringContext "${./dir}";
  named = builtins.baseNameOf ./dir;
  json = builtins.toJSON { __toString = self: ./dir; } == builtins.toJSON (toString ./dir);
  # A value compared with itself is evaluated nevertheless.
  equal = map (test: (builtins.tryEval test).success) [
    ([ one ] == [ one ])
    ({ a = one; } == { a = one; })
  ];
  # Pieces of a text have no context; the unchanged text, without a match, keeps it.
  pieces = map (pattern: builtins.hasContext (builtins.head (builtins.split pattern "${./dir}"))) [
    "s"
    "%"
  ];
  # A single key need not be comparable.
  closure = builtins.length (
    builtins.genericClosure {
      startSet = [ { key = { }; } ];
      operator = item: [ ];
    }
  );
  # The result of `derivation` is one of the sets in `all`.
  inherit derived;
}
