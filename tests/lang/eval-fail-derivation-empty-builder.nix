derivationStrict { name = "x"; builder = ""; system = "s"; }
