let f = n: { v = 1; next = f (n + 1); }; in f 0 == f 1
