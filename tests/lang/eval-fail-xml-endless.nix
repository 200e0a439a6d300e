let f = n: { v = n; next = f (n + 1); }; in builtins.toXML (f 0)
