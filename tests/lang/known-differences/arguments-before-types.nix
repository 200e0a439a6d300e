# Strict arguments of a builtin are evaluated before the call, in their order, and their types are checked after that; so are the parts of a
# string. The error here is that of the one that throws, and in Nix the type of the one before it. Both fail, but `tryEval` catches only
# the throw.
map builtins.tryEval [
  (builtins.substring null (throw "second") "text")
  "${null}${throw "second"}"
]
