# `==`, `deepSeq` and all other evaluations of a whole set follow the order of the names' bytes, independently of files read before. Nix follows
# the order in which the process met the names: here `b`, which differs or fails before `a` throws. Without a failure, both have the same result.
[
  (builtins.tryEval ({ b = "x"; a = throw "a"; } == { b = "y"; a = 1; }))
  (builtins.tryEval (builtins.deepSeq { c = throw "c"; b = throw "b"; } true))
]
