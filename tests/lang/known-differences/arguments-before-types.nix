# Arguments that a builtin needs in any case are evaluated before it is called, in their order, and their types are looked at after that; so are
# the parts of a string. The one that throws is told of here, and Nix tells of the type of the one before it. Both fail, but only what throws
# is caught.
map builtins.tryEval [
  (builtins.substring null (throw "second") "text")
  "${null}${throw "second"}"
]
