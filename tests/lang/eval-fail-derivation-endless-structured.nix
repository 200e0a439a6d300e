let f = n: { v = n; next = f (n + 1); }; in
(derivation { name = "endless"; system = "none"; builder = "none"; __structuredAttrs = true; attribute = f 0; }).drvPath
