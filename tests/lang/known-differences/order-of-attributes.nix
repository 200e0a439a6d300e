# `==`, `deepSeq` and what else evaluates all of a set go by the names' bytes, so that it does not matter which files were read before. Nix goes
# by which name the process met first: here `b`, which differs or fails before `a` throws. Where nothing fails, both come to the same.
[
  (builtins.tryEval ({ b = "x"; a = throw "a"; } == { b = "y"; a = 1; }))
  (builtins.tryEval (builtins.deepSeq { c = throw "c"; b = throw "b"; } true))
]
