# What builtins make of arguments that are not of the type they are mostly given.
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
  # A path becomes the text of its copy, other than where only its name is asked for.
  lengths = map builtins.stringLength [
    ./dir
    { outPath = "abc"; }
  ];
  cut = builtins.substring 0 11 ./dir;
  kept = builtins.hasContext (builtins.substring 0 0 "${./dir}");
  discarded = builtins.unsafeDiscardStringContext ./dir == builtins.unsafeDiscardStringContext "${./dir}";
  named = builtins.baseNameOf ./dir;
  json = builtins.toJSON { __toString = self: ./dir; } == builtins.toJSON (toString ./dir);
  # What is compared with itself is evaluated all the same.
  equal = map (test: (builtins.tryEval test).success) [
    ([ one ] == [ one ])
    ({ a = one; } == { a = one; })
  ];
  # Pieces of a text refer to nothing; the whole of it, where nothing is found, does.
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
  # The set that `derivation` gives is one of those in `all`.
  inherit derived;
}
