derivationStrict { name = "x"; builder = "b"; system = "s"; outputs = [ "out" "drvPath" ]; }
