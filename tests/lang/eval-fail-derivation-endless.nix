let f = n: [ n (f (n + 1)) ]; in
(derivation { name = "endless"; system = "none"; builder = "none"; attribute = f 0; }).drvPath
