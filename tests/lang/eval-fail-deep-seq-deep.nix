builtins.deepSeq (builtins.foldl' (inner: n: [ inner n ]) null (builtins.genList (n: n) 20000)) (throw "not reached")
