# Endless nesting is an error about its depth, before the stack overflows.
builtins.toJSON (builtins.foldl' (inner: n: { inherit inner n; }) null (builtins.genList (n: n) 20000))
