let f = n: { type = "derivation"; outPath = f (n + 1); }; in f 0 == f 1
