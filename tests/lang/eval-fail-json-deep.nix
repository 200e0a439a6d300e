# What is nested without end is told by its depth, before the stack ends.
builtins.toJSON (builtins.foldl' (inner: n: { inherit inner n; }) null (builtins.genList (n: n) 20000))
